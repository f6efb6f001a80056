/* Which operations are cut into parts, and which go by one stream. */
#include "tcp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

enum { LARGE = 1 << 20, SMALL = 4096 };

static bool is_striped(uint32_t streams, int kind, uint64_t first, uint64_t second, uint32_t count) {
  tcp_connection_t connection = {.count = streams};
  hmci_segment_t segments[2] = {{.length = first}, {.length = second}};
  hmci_operation_t operation = {.kind = kind, .segments = segments, .segment_count = second ? 2 : 1};
  return hmci_tcp_is_striped(&connection, &operation, count);
}

static void test_large_ones_are(void **state) {
  (void)state;
  assert_true(is_striped(2, HMCI_PUT, LARGE, 0, 1));
  assert_true(is_striped(16, HMCI_GET, LARGE, 0, 1));
  assert_true(is_striped(2, HMCI_PUT, LARGE / 2 - 1, 1, 1)); /* what counts is the sum of the segments */
}

static void test_small_ones_are_not(void **state) {
  (void)state;
  assert_false(is_striped(2, HMCI_PUT, SMALL, 0, 1));
  assert_false(is_striped(2, HMCI_PUT, SMALL, SMALL, 1));
  assert_false(is_striped(2, HMCI_PUT, LARGE / 2 - 1, 0, 1));
}

static void test_one_stream_carries_all(void **state) {
  (void)state;
  assert_false(is_striped(1, HMCI_PUT, LARGE, 0, 1));
  assert_false(is_striped(2, HMCI_PUT, LARGE, 0, 2)); /* a chain keeps its order */
  assert_false(is_striped(2, HMCI_ATOMIC, LARGE, 0, 1));
}

static void test_nothing_is_held_without_a_barrier(void **state) {
  (void)state;
  tcp_connection_t connection = {.count = 2};
  hmci_operation_t operation = {.kind = HMCI_PUT};
  hmci_tcp_barriers_open(&connection);
  assert_false(hmci_tcp_hold(&connection, &operation, 1));
  assert_false(hmci_tcp_held_cancel(&connection, &operation, HMC_CANCELLED));
  pthread_mutex_destroy(&connection.hold_lock);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_large_ones_are),
      cmocka_unit_test(test_small_ones_are_not),
      cmocka_unit_test(test_one_stream_carries_all),
      cmocka_unit_test(test_nothing_is_held_without_a_barrier),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
