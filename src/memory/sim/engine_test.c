#include "sim_test.h"

#include "engine.h"

static void test_a_copy_takes_latency_and_size_over_bandwidth(void **state) {
  (void)state;
  char *pointer = allocate(0, 1 << 20);
  static char bytes[1 << 20];
  configure("2", "64M", "0"); /* 1 MiB: 15.625 ms */
  uint64_t before = hmci_now();
  assert_int_equal(sim->copy_from_host(0, pointer, bytes, sizeof(bytes)), HMC_SUCCESS);
  assert_in_range(hmci_now() - before, 15625000, 10000 * NS_PER_MS);
  configure("2", "0", "8ms");
  before = hmci_now();
  assert_int_equal(sim->copy_to_host(0, bytes, pointer, 1), HMC_SUCCESS);
  assert_in_range(hmci_now() - before, 8 * NS_PER_MS, 10000 * NS_PER_MS);
  configure("2", "64M", "8ms");
  before = hmci_now();
  assert_int_equal(sim->copy_within(0, pointer, pointer, 1 << 20), HMC_SUCCESS);
  assert_in_range(hmci_now() - before, 8 * NS_PER_MS + 15625000, 10000 * NS_PER_MS);
  two_fast_devices(NULL);
  release(0, pointer);
}

static void test_bytes_move_when_done_says_so(void **state) {
  (void)state;
  configure("1", "0", "20ms");
  char *pointer = allocate(0, 100);
  hmci_copy_t to_device, to_host;
  char source[100], destination[100];
  memset(source, 5, sizeof(source));
  memset(destination, 0, sizeof(destination));
  uint64_t before = hmci_now();
  assert_int_equal(sim->copy_start(0, pointer, source, 100, false, &to_device), HMC_SUCCESS);
  hmc_status_t at_once = sim->copy_done(&to_device);
  if (hmci_now() - before < 20 * NS_PER_MS) {
    assert_int_equal(at_once, HMC_IN_PROGRESS);
  }
  assert_int_equal(finish(&to_device), HMC_SUCCESS);
  assert_true(hmci_now() - before >= 20 * NS_PER_MS);

  assert_int_equal(sim->copy_start(0, destination, pointer, 100, true, &to_host), HMC_SUCCESS);
  struct timespec pause = {.tv_nsec = 25000000};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
  assert_int_equal(destination[0], 0); /* due, but nobody has asked */
  assert_int_equal(sim->copy_done(&to_host), HMC_SUCCESS);
  assert_memory_equal(destination, source, 100);
  assert_int_equal(sim->copy_done(&to_host), HMC_INVALID_CONFIG); /* exactly once */
  release(0, pointer);
}

/* A call that comes in the middle of a copy moves its first half at most; the end never moves before its time. */
static void test_bytes_move_as_their_time_passes(void **state) {
  (void)state;
  enum { SIZE = 8 << 20 };
  configure("1", "64M", "0"); /* 125 ms */
  char *pointer = allocate(0, SIZE), *bytes = malloc(SIZE);
  memset(bytes, 1, SIZE);
  assert_int_equal(sim->copy_from_host(0, pointer, bytes, SIZE), HMC_SUCCESS);
  memset(bytes, 0, SIZE);
  hmci_copy_t copy;
  uint64_t before = hmci_now();
  assert_int_equal(sim->copy_start(0, bytes, pointer, SIZE, true, &copy), HMC_SUCCESS);
  assert_int_equal(bytes[0], 0);
  while (sim->copy_done(&copy) == HMC_IN_PROGRESS) {
    bool halfway = hmci_now() - before > 80 * NS_PER_MS;
    if (sim->copy_done(&copy) != HMC_IN_PROGRESS) break;
    assert_int_equal(bytes[SIZE - 1], 0);
    if (halfway) assert_int_equal(bytes[0], 1);
  }
  assert_true(hmci_now() - before >= 125 * NS_PER_MS);
  for (int i = 0; i < SIZE; i += 4096) assert_int_equal(bytes[i], 1);
  assert_int_equal(bytes[SIZE - 1], 1);
  two_fast_devices(NULL);
  free(bytes);
  release(0, pointer);
}

static void test_copies_queue_on_their_devices_engine(void **state) {
  (void)state;
  configure("2", "0", "15ms");
  char *pointer = allocate(0, 300);
  char bytes[3] = {1, 2, 3};
  hmci_copy_t copies[3];
  uint64_t before = hmci_now();
  for (int i = 0; i < 3; i++) {
    assert_int_equal(sim->copy_start(0, pointer + i, bytes + i, 1, false, &copies[i]), HMC_SUCCESS);
  }
  assert_int_equal(finish(&copies[2]), HMC_SUCCESS);
  assert_true(hmci_now() - before >= 45 * NS_PER_MS);
  assert_int_equal(sim->copy_done(&copies[0]), HMC_SUCCESS); /* due long ago */
  assert_int_equal(sim->copy_done(&copies[1]), HMC_SUCCESS);
  before = hmci_now();
  assert_int_equal(sim->copy_start(0, pointer, bytes, 1, false, &copies[0]), HMC_SUCCESS);
  assert_int_equal(sim->copy_to_host(0, bytes, pointer, 1), HMC_SUCCESS); /* waits for its turn */
  assert_true(hmci_now() - before >= 30 * NS_PER_MS);
  assert_int_equal(sim->copy_done(&copies[0]), HMC_SUCCESS);
  two_fast_devices(NULL);
  release(0, pointer);
}

static void test_devices_have_engines_of_their_own(void **state) {
  (void)state;
  configure("2", "1K", "0");
  char *slow = allocate(0, 512), *quick = allocate(1, 1);
  char bytes[512] = {9};
  hmci_copy_t copy;
  assert_int_equal(sim->copy_start(0, slow, bytes, 512, false, &copy), HMC_SUCCESS); /* 500 ms */
  assert_int_equal(sim->copy_from_host(1, quick, bytes, 1), HMC_SUCCESS);
  assert_int_equal(sim->copy_done(&copy), HMC_IN_PROGRESS);
  assert_int_equal(finish(&copy), HMC_SUCCESS);
  two_fast_devices(NULL);
  assert_filled(1, quick, 9, 1);
  release(0, slow);
  release(1, quick);
}

static void test_bookings_queue_and_saturate(void **state) {
  (void)state;
  hmci_sim_engine_configure(0, 0);
  assert_int_equal(hmci_sim_engine_book(0, SIZE_MAX), 0); /* not throttled */
  hmci_sim_engine_configure(1000, 50 * NS_PER_MS);
  uint64_t before = hmci_now();
  uint64_t first = hmci_sim_engine_book(7, 100);
  uint64_t after = hmci_now();
  assert_in_range(first, before + 150 * NS_PER_MS, after + 150 * NS_PER_MS);
  assert_true(hmci_sim_engine_book(7, 1000000) == first + 1000050 * NS_PER_MS);
  uint64_t other = hmci_sim_engine_book(6, 0);
  assert_in_range(other, before + 50 * NS_PER_MS, hmci_now() + 50 * NS_PER_MS);
  hmci_sim_engine_configure(1, 0);
  assert_true(hmci_sim_engine_book(7, 1) < after + 600000 * NS_PER_MS); /* the queue was emptied */
  assert_true(hmci_sim_engine_book(0, SIZE_MAX) == UINT64_MAX);
  hmci_sim_engine_configure(0, UINT64_MAX);
  assert_true(hmci_sim_engine_book(1, 0) == UINT64_MAX);
  assert_true(hmci_sim_engine_book(1, 0) == UINT64_MAX);
}

int main(void) {
#define WITH_TWO_DEVICES(test) cmocka_unit_test_setup(test, two_fast_devices)
  const struct CMUnitTest tests[] = {
      WITH_TWO_DEVICES(test_a_copy_takes_latency_and_size_over_bandwidth),
      WITH_TWO_DEVICES(test_bytes_move_when_done_says_so),
      WITH_TWO_DEVICES(test_bytes_move_as_their_time_passes),
      WITH_TWO_DEVICES(test_copies_queue_on_their_devices_engine),
      WITH_TWO_DEVICES(test_devices_have_engines_of_their_own),
      WITH_TWO_DEVICES(test_bookings_queue_and_saturate),
  };
  return cmocka_run_group_tests(tests, clear_environment, clear_environment);
}
