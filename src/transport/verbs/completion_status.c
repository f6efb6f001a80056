/* What an error completion says about whose fault it was. */
#include "connection.h"

verbs_completion_status_t hmci_verbs_completion_status(enum ibv_wc_status status) {
  switch (status) {
  case IBV_WC_REM_ACCESS_ERR: /* no such key, or not these rights: most often the region was closed meanwhile */
  case IBV_WC_REM_INV_REQ_ERR: return VERBS_ACCESS;
  case IBV_WC_LOC_LEN_ERR:
  case IBV_WC_LOC_PROT_ERR: /* the local memory is not what was registered */
  case IBV_WC_LOC_ACCESS_ERR:
  case IBV_WC_REM_OP_ERR:
  case IBV_WC_BAD_RESP_ERR: return VERBS_OPERATION;
  default:
    return VERBS_PATH; /* retries exceeded, queue pair in error, flushed, and what a cable that is out comes to */
  }
}
