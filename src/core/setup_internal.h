/* A setup, as its threads and those who start it know it (setup.c, setup_start.c). */
#ifndef HMCI_SETUP_INTERNAL_H
#define HMCI_SETUP_INTERNAL_H

#include "request.h"

/* What a setup brings. */
typedef struct hmci_setup_result {
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  uint64_t offset;
} hmci_setup_result_t;

typedef struct hmci_setup {
  hmci_list_t link;            /* setups->waiting or running */
  hmc_request_t *request;      /* NULL: it has ended, and nobody wants what comes of it */
  hmci_setup_thread_t *thread; /* that runs it */
  hmc_context_t *context;
  uint64_t deadline;

  hmc_status_t (*run)(struct hmci_setup *setup, hmci_setup_result_t *result);
  void (*drop)(const hmci_setup_result_t *result); /* closes what nobody wants */
  hmc_peer_t *peer;                                /* whose region is opened; NULL: it connects */
  char name[HMC_REGION_NAME_SIZE];
  uint64_t address, bytes;
  uint32_t purpose; /* of the data connection that is dialled */
  char host[HMCI_HOST_TEXT];
  uint16_t port;
  hmc_connection_type_t type;

  /* Where the program wants the result. */
  hmc_peer_t **peer_out;
  hmc_remote_t **remote_out;
  uint64_t *offset_out;
} hmci_setup_t;

/* Gives a setup to a thread, which may be a busy one. HMC_NO_MEMORY, HMC_CANCELLED: the setup is the caller's. `call`
 * is for texts. */
hmc_status_t hmci_setup_enqueue(hmci_setup_t *setup, const char *call);
/* One thread more, with all signals blocked: they are the program's. With `lock` held. */
hmc_status_t hmci_setups_add_thread(hmci_setups_t *setups);

#endif
