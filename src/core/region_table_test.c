/* The table of regions: slots are used again, generations are not, and rights are looked at before anything is given. */
#include "core.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { SIZE = 64, MANY = 200 };

static int make_context(void **state) {
  setenv("HMC_INSECURE", "yes", 1);
  return hmc_context_create(NULL, (hmc_context_t **)state) == HMC_SUCCESS ? 0 : -1;
}

static int destroy_context(void **state) {
  hmc_context_destroy(*state);
  return 0;
}

static hmc_region_t *make_region(hmc_context_t *context, const char *name, unsigned rights) {
  hmc_region_t *region = NULL;
  assert_int_equal(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SIZE, name, rights, &region),
                   HMC_SUCCESS);
  return region;
}

static hmc_status_t acquire(hmc_context_t *context, uint32_t id, uint32_t generation, uint32_t rights) {
  const hmci_host_t host = {.owner = context};
  hmci_region_view_t *view = NULL;
  hmc_status_t status = hmci_region_acquire(&host, id, generation, rights, &view);
  if (status == HMC_SUCCESS) hmci_region_release(&host, view);
  return status;
}

static void test_a_slot_is_used_again_with_another_generation(void **state) {
  hmc_region_t *first = make_region(*state, "a", HMC_REMOTE_READ);
  uint32_t id = first->view.id, generation = first->view.generation;
  assert_int_equal(acquire(*state, id, generation, HMC_REMOTE_READ), HMC_SUCCESS);
  hmc_region_close(first);
  assert_int_equal(acquire(*state, id, generation, HMC_REMOTE_READ), HMC_STALE);

  hmc_region_t *second = make_region(*state, "a", HMC_REMOTE_READ);
  assert_int_equal(second->view.id, id);
  assert_int_not_equal(second->view.generation, generation);
  assert_int_equal(acquire(*state, id, generation, HMC_REMOTE_READ), HMC_STALE);
  assert_int_equal(acquire(*state, id, second->view.generation, HMC_REMOTE_READ), HMC_SUCCESS);
  hmc_region_close(second);
}

static void *close_region(void *region) {
  hmc_region_close(region);
  return NULL;
}

/* Until a region has ended, transports take notes under its number: a new region must not have that. */
static void test_the_id_of_an_ending_region_is_not_free(void **state) {
  const hmci_host_t host = {.owner = *state};
  hmci_region_view_t *used = NULL;
  pthread_t closer;
  hmc_region_t *first = make_region(*state, "a", HMC_REMOTE_READ);
  uint32_t id = first->view.id, generation = first->view.generation;
  assert_int_equal(hmci_region_acquire(&host, id, generation, HMC_REMOTE_READ, &used), HMC_SUCCESS);
  assert_int_equal(pthread_create(&closer, NULL, close_region, first), 0);
  while (acquire(*state, id, generation, HMC_REMOTE_READ) != HMC_STALE) sched_yield(); /* it waits for its user now */
  hmc_region_t *second = make_region(*state, "a", HMC_REMOTE_READ);
  assert_int_not_equal(second->view.id, id);
  hmci_region_release(&host, used);
  assert_int_equal(pthread_join(closer, NULL), 0);
  hmc_region_t *third = make_region(*state, "b", HMC_REMOTE_READ);
  assert_int_equal(third->view.id, id);
  hmc_region_close(third);
  hmc_region_close(second);
}

static void test_rights_are_looked_at(void **state) {
  hmc_region_t *region = make_region(*state, "a", HMC_REMOTE_READ), *hidden = make_region(*state, NULL, 0);
  uint32_t id = region->view.id, generation = region->view.generation;
  assert_int_equal(acquire(*state, id, generation, 0), HMC_SUCCESS);
  assert_int_equal(acquire(*state, id, generation, HMC_REMOTE_WRITE), HMC_DENIED);
  assert_int_equal(acquire(*state, id, generation, HMC_REMOTE_READ | HMC_REMOTE_ATOMIC), HMC_DENIED);
  assert_int_equal(acquire(*state, hidden->view.id, hidden->view.generation, 0), HMC_STALE);
  hmc_region_close(hidden);
  hmc_region_close(region);
}

static void test_ids_that_nobody_has(void **state) {
  hmc_region_t *region = make_region(*state, "a", HMC_REMOTE_READ);
  uint32_t generation = region->view.generation;
  assert_int_equal(acquire(*state, 0, generation, 0), HMC_STALE);
  assert_int_equal(acquire(*state, region->view.id + 1, generation, 0), HMC_STALE);
  assert_int_equal(acquire(*state, UINT32_MAX, generation, 0), HMC_STALE);
  assert_int_equal(acquire(*state, region->view.id, generation + 1, 0), HMC_STALE);
  hmc_region_close(region);
}

/* More than the table has room for at first; ids stay apart, and names find their own. */
static void test_it_grows(void **state) {
  hmc_region_t *regions[MANY];
  char name[32];
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "region %d", i);
    regions[i] = make_region(*state, name, HMC_REMOTE_READ);
    for (int j = 0; j < i; j++) assert_int_not_equal(regions[i]->view.id, regions[j]->view.id);
  }
  const hmci_host_t host = {.owner = *state};
  for (int i = 0; i < MANY; i++) {
    snprintf(name, sizeof name, "region %d", i);
    hmc_region_t *found = hmci_region_find(*state, name);
    assert_ptr_equal(found, regions[i]);
    hmci_region_release(&host, &found->view);
  }
  assert_null(hmci_region_find(*state, "region"));
  assert_null(hmci_region_find(*state, ""));
  for (int i = 0; i < MANY; i++) hmc_region_close(regions[i]);
}

static void test_a_name_is_given_once(void **state) {
  hmc_region_t *region = make_region(*state, "a", HMC_REMOTE_READ), *other = NULL;
  assert_int_equal(hmc_region_allocate(*state, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SIZE, "a", 0, &other),
                   HMC_INVALID_CONFIG);
  assert_null(other);
  hmc_region_close(region);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_a_slot_is_used_again_with_another_generation, make_context, destroy_context),
      cmocka_unit_test_setup_teardown(test_the_id_of_an_ending_region_is_not_free, make_context, destroy_context),
      cmocka_unit_test_setup_teardown(test_rights_are_looked_at, make_context, destroy_context),
      cmocka_unit_test_setup_teardown(test_ids_that_nobody_has, make_context, destroy_context),
      cmocka_unit_test_setup_teardown(test_it_grows, make_context, destroy_context),
      cmocka_unit_test_setup_teardown(test_a_name_is_given_once, make_context, destroy_context),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
