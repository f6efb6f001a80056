#include "connection.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void test_whose_fault_it_was(void **state) {
  (void)state;
  static const struct {
    enum ibv_wc_status status;
    verbs_completion_status_t kind;
  } cases[] = {
      {IBV_WC_RETRY_EXC_ERR, VERBS_PATH},     {IBV_WC_RNR_RETRY_EXC_ERR, VERBS_PATH},
      {IBV_WC_WR_FLUSH_ERR, VERBS_PATH},      {IBV_WC_LOC_QP_OP_ERR, VERBS_PATH},
      {IBV_WC_FATAL_ERR, VERBS_PATH},         {IBV_WC_RESP_TIMEOUT_ERR, VERBS_PATH},
      {IBV_WC_GENERAL_ERR, VERBS_PATH},       {IBV_WC_REM_ACCESS_ERR, VERBS_ACCESS},
      {IBV_WC_REM_INV_REQ_ERR, VERBS_ACCESS}, {IBV_WC_LOC_PROT_ERR, VERBS_OPERATION},
      {IBV_WC_LOC_LEN_ERR, VERBS_OPERATION},  {IBV_WC_LOC_ACCESS_ERR, VERBS_OPERATION},
      {IBV_WC_REM_OP_ERR, VERBS_OPERATION},   {IBV_WC_BAD_RESP_ERR, VERBS_OPERATION},
      {(enum ibv_wc_status)99, VERBS_PATH},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(hmci_verbs_completion_status(cases[i].status), cases[i].kind);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_whose_fault_it_was)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
