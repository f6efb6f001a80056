/* Tests of a driver's copies where a call of the vendor's fails: by a vendor that only counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "driver_internal.h"

#include <unistd.h>

#include <cmocka.h>

/* ---- the vendor -------------------------------------------------------------------------------------------------- */

static unsigned pending, events; /* copies that may still move bytes; events that are not destroyed */
static bool fails_to_record;
static unsigned fails_to_copy; /* the copy with that number, from 1 on; 0: none */
static int thing;

static hmc_status_t enter(int device, void **saved) {
  (void)device, (void)saved;
  return HMC_SUCCESS;
}
static void leave(int device, void *saved) { (void)device, (void)saved; }
static hmc_status_t stream_create(void **stream) {
  *stream = &thing;
  return HMC_SUCCESS;
}
static hmc_status_t stream_destroy(void *stream) {
  (void)stream;
  return HMC_SUCCESS;
}
static hmc_status_t stream_wait(void *stream) {
  (void)stream;
  pending = 0;
  return HMC_SUCCESS;
}
static hmc_status_t event_create(void **event) {
  *event = &thing;
  events++;
  return HMC_SUCCESS;
}
static hmc_status_t event_destroy(void *event) {
  (void)event;
  events--;
  return HMC_SUCCESS;
}
static hmc_status_t event_record(void *event, void *stream) {
  (void)event, (void)stream;
  return fails_to_record ? hmci_fail(HMC_ERROR, "no event is recorded") : HMC_SUCCESS;
}
static hmc_status_t event_query(void *event) {
  (void)event;
  pending = 0;
  return HMC_SUCCESS;
}
static hmc_status_t copy(const hmci_driver_copy_t *what, void *stream) {
  (void)what, (void)stream;
  if (fails_to_copy && !--fails_to_copy) return hmci_fail(HMC_ERROR, "no copy is queued");
  pending++;
  return HMC_SUCCESS;
}

static const hmci_driver_ops_t operations = {
    .kind = HMC_MEMORY_NVIDIA_GPU,
    .name = "counting",
    .enter = enter,
    .leave = leave,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_wait = stream_wait,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_query = event_query,
    .copy = copy,
};

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

static int open_driver(void **state) {
  (void)state;
  driver.devices = 1;
  driver.process = (int)getpid();
  atomic_store(&driver.state, 1);
  pending = fails_to_copy = 0;
  fails_to_record = false;
  return 0;
}

static hmc_status_t copy_three(hmci_copy_t *started) {
  static char here[3], there[3];
  hmci_copy_piece_t pieces[3];
  for (int i = 0; i < 3; i++) pieces[i] = (hmci_copy_piece_t){&there[i], &here[i], 1};
  return hmci_driver_copy_start(&driver, 0, pieces, 3, HMCI_COPY_FROM_HOST, started);
}

static void what_was_started_ends(void **state) {
  (void)state;
  hmci_copy_t started;
  assert_int_equal(copy_three(&started), HMC_SUCCESS);
  assert_int_equal(pending, 3);
  assert_int_equal(hmci_driver_copy_done(&driver, &started), HMC_SUCCESS);
  assert_int_equal(hmci_driver_copy_done(&driver, &started), HMC_INVALID_CONFIG);
}

/* The one who gets the failure uses the memory for something else. */
static void nothing_moves_once_a_start_has_failed(void **state) {
  (void)state;
  hmci_copy_t started;
  fails_to_copy = 3;
  assert_int_equal(copy_three(&started), HMC_ERROR);
  assert_int_equal(pending, 0);
  fails_to_record = true;
  assert_int_equal(copy_three(&started), HMC_ERROR);
  assert_int_equal(pending, 0);
  assert_string_equal(hmc_last_error(), "no event is recorded");
  assert_true(events <= 1); /* it is used again */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(what_was_started_ends, open_driver),
      cmocka_unit_test_setup(nothing_moves_once_a_start_has_failed, open_driver),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
