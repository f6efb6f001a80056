/* The list of connection types, as names and back, and what HMC_TRANSPORTS takes. */
#include "core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static void test_names_lead_back(void **state) {
  (void)state;
  for (unsigned i = 0; i < HMCI_CONNECTION_TYPES; i++) {
    hmc_connection_type_t type = HMC_CONNECTION_AUTO;
    const char *name = hmc_connection_type_name((hmc_connection_type_t)i);
    assert_non_null(name);
    assert_int_equal(hmc_connection_type_parse(name, &type), HMC_SUCCESS);
    assert_int_equal(type, i);
  }
}

/* Values never change once released. */
static void test_values_stay(void **state) {
  (void)state;
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)0), "auto");
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)1), "rdma");
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)2), "ucx");
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)3), "tcp");
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)4), "shm");
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)HMCI_CONNECTION_TYPES), "unknown");
  assert_string_equal(hmc_connection_type_name((hmc_connection_type_t)-1), "unknown");
}

static void test_other_names_are_refused(void **state) {
  (void)state;
  hmc_connection_type_t type = HMC_CONNECTION_TCP;
  assert_int_equal(hmc_connection_type_parse("infiniband", &type), HMC_NOT_FOUND);
  assert_non_null(strstr(hmc_last_error(), "'infiniband' (auto, shm, rdma, tcp, ucx)"));
  assert_int_equal(type, HMC_CONNECTION_TCP);
  assert_int_equal(hmc_connection_type_parse(NULL, &type), HMC_INVALID_CONFIG);
}

static void test_lists_of_transports(void **state) {
  (void)state;
  static const char *const good[] = {"", "tcp", "shm,tcp", "ucx,rdma,shm,tcp", "tcp,"};
  static const char *const bad[] = {"auto", "tc", "tcpx", "shm;tcp", ",", "shm,,tcp", "TCP"};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) assert_int_equal(hmci_transports_check(good[i]), HMC_SUCCESS);
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    assert_int_equal(hmci_transports_check(bad[i]), HMC_INVALID_CONFIG);
    assert_non_null(strstr(hmc_last_error(), "none of shm, rdma, tcp, ucx"));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names_lead_back),
      cmocka_unit_test(test_values_stay),
      cmocka_unit_test(test_other_names_are_refused),
      cmocka_unit_test(test_lists_of_transports),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
