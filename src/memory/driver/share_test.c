/* Tests of imports by several threads: by a vendor that only counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "driver_internal.h"

#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>

enum { SIZE = 64, THREADS = 4, ROUNDS = 10, TAKES_US = 2000 };

/* ---- the vendor -------------------------------------------------------------------------------------------------- */

static uint8_t memory[SIZE], imported[SIZE];
static atomic_int imports, inside; /* open ones; calls of this vendor's in progress */
static atomic_bool has_two, overlaps;

static hmc_status_t enter(int device, void **saved) {
  (void)device, (void)saved;
  return HMC_SUCCESS;
}
static void leave(int device, void *saved) { (void)device, (void)saved; }
static hmc_status_t export(void *base, size_t size, uint8_t *handle) {
  (void)base, (void)size;
  memset(handle, 7, 8);
  return HMC_SUCCESS;
}
static void begin(void) {
  if (atomic_fetch_add(&inside, 1) > 0) atomic_store(&overlaps, true);
  usleep(TAKES_US);
}
static hmc_status_t import(const uint8_t *handle, void **base) {
  (void)handle;
  begin();
  if (atomic_fetch_add(&imports, 1) > 0) atomic_store(&has_two, true);
  *base = imported;
  atomic_fetch_sub(&inside, 1);
  return HMC_SUCCESS;
}
static void close_import(void *base, const uint8_t *handle) {
  (void)base, (void)handle;
  begin();
  atomic_fetch_sub(&imports, 1);
  atomic_fetch_sub(&inside, 1);
}

static const hmci_driver_ops_t operations = {
    .kind = HMC_MEMORY_NVIDIA_GPU,
    .name = "counting",
    .handle_size = 8,
    .enter = enter,
    .leave = leave,
    .export = export,
    .import = import,
    .close_import = close_import,
};

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static hmci_driver_t owner = HMCI_DRIVER_INIT(operations), user = HMCI_DRIVER_INIT(operations);
static hmci_memory_export_t exported;
static atomic_int failures;

static void open_driver(hmci_driver_t *driver, uint64_t token) {
  driver->devices = 1;
  driver->process = (int)getpid();
  driver->token = token;
  atomic_store(&driver->state, 1);
}

static void *import_and_release(void *unused) {
  (void)unused;
  for (int i = 0; i < ROUNDS; i++) {
    void *pointer = NULL;
    if (hmci_driver_import(&user, 0, &exported, SIZE, &pointer) != HMC_SUCCESS || pointer != imported) {
      atomic_fetch_add(&failures, 1);
      break;
    }
    hmci_driver_release_import(&user, 0, pointer, SIZE);
  }
  return NULL;
}

/* Threads open and close ranges of one allocation: it is never imported twice, nor while it is being closed. */
static void an_allocation_is_imported_once(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  known_t known = {.type = KNOWN_ALLOCATED, .base = memory, .size = SIZE, .whole = SIZE}, left;
  open_driver(&owner, 1);
  open_driver(&user, 2);
  assert_int_equal(hmci_driver_know(&owner, &known), HMC_SUCCESS);
  assert_int_equal(hmci_driver_export(&owner, 0, memory, SIZE, &exported), HMC_SUCCESS);
  for (int i = 0; i < THREADS; i++) {
    assert_int_equal(pthread_create(&threads[i], NULL, import_and_release, NULL), 0);
  }
  for (int i = 0; i < THREADS; i++) {
    pthread_join(threads[i], NULL);
  }
  assert_int_equal(atomic_load(&failures), 0);
  assert_int_equal(atomic_load(&imports), 0);
  assert_false(atomic_load(&has_two));
  assert_false(atomic_load(&overlaps));
  assert_false(hmci_driver_look_up(&user, imported, &left));
  assert_true(hmci_driver_forget(&owner, memory, KNOWN_ALLOCATED, KNOWN_PHYSICAL, &left));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(an_allocation_is_imported_once)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
