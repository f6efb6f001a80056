/* Options that begin with their size: older and newer callers. */
#include "options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

typedef struct options {
  size_t size;
  uint64_t first, second;
} options_t;
#define DEFAULTS                                                                                                       \
  { sizeof(options_t), 7, 8 }
enum { LEAST = offsetof(options_t, second) };

static void nothing_gives_the_defaults(void **state) {
  (void)state;
  options_t own = DEFAULTS;
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, NULL, "call"), HMC_SUCCESS);
  assert_int_equal(own.first, 7);
  assert_int_equal(own.second, 8);
}

static void an_older_caller_leaves_defaults(void **state) {
  (void)state;
  options_t own = DEFAULTS, given = {LEAST, 1, 2};
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, &given, "call"), HMC_SUCCESS);
  assert_int_equal(own.size, sizeof own);
  assert_int_equal(own.first, 1);
  assert_int_equal(own.second, 8);
}

static void a_newer_caller_may_set_what_is_known_only(void **state) {
  (void)state;
  struct {
    options_t known;
    uint64_t unknown;
  } given = {{sizeof given, 1, 2}, 0};
  options_t own = DEFAULTS;
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, &given, "call"), HMC_SUCCESS);
  assert_int_equal(own.second, 2);
  given.unknown = UINT64_C(1) << 63;
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, &given, "the_call"), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "the_call"));
}

static void a_size_of_no_release_is_refused(void **state) {
  (void)state;
  options_t own = DEFAULTS, given = {0, 1, 2};
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, &given, "call"), HMC_INVALID_CONFIG);
  given.size = LEAST - 1;
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, &given, "call"), HMC_INVALID_CONFIG);
  given.size = SIZE_MAX;
  assert_int_equal(hmci_options_take(&own, sizeof own, LEAST, &given, "call"), HMC_INVALID_CONFIG);
  assert_int_equal(own.first, 7);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(nothing_gives_the_defaults),
      cmocka_unit_test(an_older_caller_leaves_defaults),
      cmocka_unit_test(a_newer_caller_may_set_what_is_known_only),
      cmocka_unit_test(a_size_of_no_release_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
