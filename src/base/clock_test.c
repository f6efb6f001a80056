#include "base.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>
#include <cmocka.h>

#define NS_PER_MS UINT64_C(1000000)

static void test_now_counts_nanoseconds(void **state) {
  (void)state;
  uint64_t before = hmci_now();
  struct timespec pause = {.tv_nsec = 3000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
  uint64_t passed = hmci_now() - before;
  assert_in_range(passed, 3 * NS_PER_MS, 10000 * NS_PER_MS);
}

static void test_deadline_lies_ahead_and_saturates(void **state) {
  (void)state;
  uint64_t before = hmci_now();
  uint64_t deadline = hmci_deadline(250);
  assert_in_range(deadline, before + 250 * NS_PER_MS, hmci_now() + 250 * NS_PER_MS);
  before = hmci_now();
  deadline = hmci_deadline(5000); /* by another clock, which may be a tick or two behind */
  assert_in_range(deadline, before + 4900 * NS_PER_MS, hmci_now() + 5100 * NS_PER_MS);
  assert_true(hmci_deadline(UINT64_MAX) == HMCI_NEVER);
  assert_true(hmci_deadline(UINT64_MAX / NS_PER_MS) == HMCI_NEVER);
  assert_true(hmci_deadline(UINT64_MAX / NS_PER_MS + 1) == HMCI_NEVER);
}

static void test_poll_timeout_rounds_up(void **state) {
  (void)state;
  assert_int_equal(hmci_poll_timeout(HMCI_NEVER), -1);
  assert_int_equal(hmci_poll_timeout(0), 0);
  assert_int_equal(hmci_poll_timeout(hmci_now()), 0);
  assert_int_equal(hmci_poll_timeout(hmci_now() + 10000 * NS_PER_MS), 10000);
  assert_int_equal(hmci_poll_timeout(hmci_now() + 10000 * NS_PER_MS + NS_PER_MS - 1), 10001);
  assert_int_equal(hmci_poll_timeout(HMCI_NEVER - 1), INT_MAX);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_now_counts_nanoseconds),
      cmocka_unit_test(test_deadline_lies_ahead_and_saturates),
      cmocka_unit_test(test_poll_timeout_rounds_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
