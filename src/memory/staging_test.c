#include "staging.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define MIB (UINT64_C(1) << 20)

static void test_the_limit_holds(void **state) {
  (void)state;
  hmci_staging_t staging;
  void *buffers[16];
  hmci_staging_open(&staging, 16 * MIB);
  for (int round = 0; round < 2; round++) {
    for (int i = 0; i < 16; i++) {
      buffers[i] = hmci_staging_take(&staging, MIB);
      assert_non_null(buffers[i]);
      assert_int_equal((uintptr_t)buffers[i] % 4096, 0);
      memset(buffers[i], i, MIB); /* it is ours, all of it */
    }
    assert_null(hmci_staging_take(&staging, MIB));
    assert_null(hmci_staging_take(&staging, 1));
    assert_int_equal(staging.allocated, 16 * MIB);
    for (int i = 0; i < 16; i++) hmci_staging_give(&staging, buffers[i], MIB);
  }
  assert_null(hmci_staging_take(&staging, 16 * MIB + 1));
  hmci_staging_close(&staging);
}

static void test_kept_buffers_make_room(void **state) {
  (void)state;
  hmci_staging_t staging;
  hmci_staging_open(&staging, 4 * MIB);
  void *small[4], *large;
  for (int i = 0; i < 4; i++) small[i] = hmci_staging_take(&staging, MIB);
  for (int i = 0; i < 4; i++) hmci_staging_give(&staging, small[i], MIB);
  assert_int_equal(staging.allocated, 4 * MIB); /* kept for the next taker */
  large = hmci_staging_take(&staging, 3 * MIB);
  assert_non_null(large);
  assert_true(staging.allocated <= 4 * MIB);
  small[0] = hmci_staging_take(&staging, MIB);
  assert_non_null(small[0]);
  assert_null(hmci_staging_take(&staging, MIB));
  hmci_staging_give(&staging, small[0], MIB);
  hmci_staging_give(&staging, large, 3 * MIB);
  hmci_staging_give(&staging, NULL, MIB); /* nothing */
  hmci_staging_close(&staging);
}

static void test_more_are_given_back_than_kept(void **state) {
  (void)state;
  enum { MANY = HMCI_STAGING_KEPT + 8 };
  hmci_staging_t staging;
  void *buffers[MANY];
  hmci_staging_open(&staging, MANY * 4096);
  for (int i = 0; i < MANY; i++) assert_non_null(buffers[i] = hmci_staging_take(&staging, 4096));
  for (int i = 0; i < MANY; i++) hmci_staging_give(&staging, buffers[i], 4096);
  assert_int_equal(staging.allocated, HMCI_STAGING_KEPT * 4096);
  hmci_staging_close(&staging);
}

/* A chunk's copy takes several times the latency, within bounds. */
/* Pinned by the first device that asked; what was made before stays as it is. */
static void test_buffers_are_pinned(void **state) {
  (void)state;
  const hmci_memory_ops_t *sim;
  hmci_staging_t staging;
  assert_int_equal(hmci_memory_find((hmc_memory_t){HMC_MEMORY_SIM, 0}, &sim), HMC_SUCCESS);
  hmci_staging_open(&staging, 4 * MIB);
  void *plain = hmci_staging_take(&staging, MIB);
  hmci_staging_pin_for(&staging, &hmci_memory_host, 0); /* it has none: nothing happens */
  hmci_staging_pin_for(&staging, sim, 0);
  void *pinned = hmci_staging_take(&staging, MIB);
  memset(pinned, 1, MIB);
  assert_int_equal((uintptr_t)pinned % 4096, 0);
  assert_int_equal(sim->pin(0, plain, MIB), HMC_SUCCESS);
  assert_int_equal(sim->unpin(0, plain), HMC_SUCCESS);
  assert_int_equal(sim->pin(0, pinned, MIB), HMC_INVALID_CONFIG); /* it is already */
  hmci_staging_give(&staging, plain, MIB);
  hmci_staging_give(&staging, pinned, MIB);
  hmci_staging_close(&staging);
  assert_int_equal(sim->pin(0, pinned, MIB), HMC_SUCCESS); /* and is no more */
  assert_int_equal(sim->unpin(0, pinned), HMC_SUCCESS);
}

static void test_chunks(void **state) {
  (void)state;
  const struct {
    uint64_t latency, rate, chunk;
  } cases[] = {
      {0, 1, HMCI_CHUNK_LEAST},
      {100, UINT64_C(1000000000), HMCI_CHUNK_LEAST},
      {10000, UINT64_C(2000000000), 512 << 10}, /* 16 times 20,000 B */
      {10000, UINT64_C(20000000000), HMCI_CHUNK_MOST},
      {UINT64_C(1000000000), UINT64_MAX, HMCI_CHUNK_MOST},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    hmci_copy_speed_t speed = {cases[i].latency, cases[i].rate};
    assert_int_equal(hmci_chunk_size(&speed), cases[i].chunk);
  }
}

static void test_speed_is_measured(void **state) {
  (void)state;
  hmci_copy_speed_t slow, again;
  setenv("HMC_SIM_BANDWIDTH", "1G", 1);
  const hmc_memory_t sim = {HMC_MEMORY_SIM, 0}, nowhere = {HMC_MEMORY_SIM, 63};
  assert_int_equal(hmci_copy_speed_measure(sim, &slow), HMC_SUCCESS);
  assert_in_range(slow.rate, 1, UINT64_C(1200000000)); /* never faster than the device */
  assert_int_equal(hmci_copy_speed_measure(sim, &again), HMC_SUCCESS);
  assert_memory_equal(&slow, &again, sizeof slow); /* once */
  assert_int_not_equal(hmci_copy_speed_measure(nowhere, &again), HMC_SUCCESS);
  unsetenv("HMC_SIM_BANDWIDTH");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_limit_holds),
      cmocka_unit_test(test_kept_buffers_make_room),
      cmocka_unit_test(test_more_are_given_back_than_kept),
      cmocka_unit_test(test_chunks),
      cmocka_unit_test(test_speed_is_measured), /* before anybody has made use of sim: it reads its settings once */
      cmocka_unit_test(test_buffers_are_pinned),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
