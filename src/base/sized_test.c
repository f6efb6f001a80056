#include "base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* A struct as an older header, this library's, and a newer header know it. */
typedef struct {
  size_t size;
  uint32_t first;
} older_t;

typedef struct {
  size_t size;
  uint32_t first, second;
} ours_t;

typedef struct {
  size_t size;
  uint32_t first, second;
  uint64_t third;
} newer_t;

static void test_read_takes_our_own_size(void **state) {
  (void)state;
  ours_t own, given = {sizeof given, 1, 2};
  assert_int_equal(hmci_sized_read(&own, sizeof own, &given, "ours"), HMC_SUCCESS);
  assert_memory_equal(&own, &given, sizeof own);
}

static void test_read_zeroes_what_an_older_caller_lacks(void **state) {
  (void)state;
  ours_t own = {7, 7, 7};
  older_t given = {offsetof(older_t, first) + sizeof(uint32_t), 1};
  assert_int_equal(hmci_sized_read(&own, sizeof own, &given, "ours"), HMC_SUCCESS);
  assert_int_equal(own.size, sizeof own);
  assert_int_equal(own.first, 1);
  assert_int_equal(own.second, 0);
}

static void test_read_refuses_what_a_newer_caller_sets(void **state) {
  (void)state;
  ours_t own;
  newer_t given = {sizeof given, 1, 2, 0};
  assert_int_equal(hmci_sized_read(&own, sizeof own, &given, "ours"), HMC_SUCCESS);
  assert_int_equal(own.second, 2);
  given.third = 1;
  assert_int_equal(hmci_sized_read(&own, sizeof own, &given, "ours"), HMC_UNSUPPORT);
  assert_non_null(strstr(hmc_last_error(), "ours: a field at byte"));
}

static void test_read_refuses_a_struct_without_size(void **state) {
  (void)state;
  ours_t own = {7, 7, 7}, given = {0, 1, 2};
  assert_int_equal(hmci_sized_read(&own, sizeof own, &given, "ours"), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "_INIT"));
  assert_int_equal(own.first, 7);
}

static void test_read_of_null_is_all_defaults(void **state) {
  (void)state;
  ours_t own = {7, 7, 7};
  assert_int_equal(hmci_sized_read(&own, sizeof own, NULL, "ours"), HMC_SUCCESS);
  assert_int_equal(own.size, sizeof own);
  assert_int_equal(own.first, 0);
}

/* Where the defaults are not zero. */
static void test_take_keeps_defaults(void **state) {
  (void)state;
  enum { LEAST = offsetof(ours_t, second) };
  ours_t own = {sizeof own, 7, 8}, given = {LEAST, 1, 2};
  assert_int_equal(hmci_sized_take(&own, sizeof own, LEAST, NULL, "ours"), HMC_SUCCESS);
  assert_int_equal(own.first, 7);
  assert_int_equal(hmci_sized_take(&own, sizeof own, LEAST, &given, "ours"), HMC_SUCCESS);
  assert_int_equal(own.size, sizeof own);
  assert_int_equal(own.first, 1);
  assert_int_equal(own.second, 8);
  given = (ours_t){LEAST - 1, 3, 4};
  assert_int_equal(hmci_sized_take(&own, sizeof own, LEAST, &given, "ours"), HMC_INVALID_CONFIG);
  given.size = SIZE_MAX;
  assert_int_equal(hmci_sized_take(&own, sizeof own, LEAST, &given, "ours"), HMC_INVALID_CONFIG);
  newer_t newer = {sizeof newer, 5, 6, 1};
  assert_int_equal(hmci_sized_take(&own, sizeof own, LEAST, &newer, "ours"), HMC_UNSUPPORT);
  assert_int_equal(own.first, 1);
}

static void test_write_stays_inside_an_older_struct(void **state) {
  (void)state;
  const ours_t own = {sizeof own, 1, 2};
  ours_t given = {offsetof(ours_t, second), 7, 7};
  assert_int_equal(hmci_sized_check(&given, "ours"), HMC_SUCCESS);
  hmci_sized_write(&given, &own, sizeof own);
  assert_int_equal(given.size, offsetof(ours_t, second));
  assert_int_equal(given.first, 1);
  assert_int_equal(given.second, 7);
}

static void test_write_zeroes_the_rest_of_a_newer_struct(void **state) {
  (void)state;
  const ours_t own = {sizeof own, 1, 2};
  newer_t given = {sizeof given, 7, 7, 7};
  hmci_sized_write(&given, &own, sizeof own);
  assert_int_equal(given.size, sizeof given);
  assert_int_equal(given.second, 2);
  assert_int_equal(given.third, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_read_takes_our_own_size),
      cmocka_unit_test(test_read_zeroes_what_an_older_caller_lacks),
      cmocka_unit_test(test_read_refuses_what_a_newer_caller_sets),
      cmocka_unit_test(test_read_refuses_a_struct_without_size),
      cmocka_unit_test(test_read_of_null_is_all_defaults),
      cmocka_unit_test(test_take_keeps_defaults),
      cmocka_unit_test(test_write_stays_inside_an_older_struct),
      cmocka_unit_test(test_write_zeroes_the_rest_of_a_newer_struct),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
