/* Memory that a device has registered: once for a region, with its rights, within the limit, and not under the lock. */
#include "memory_test.h"

static void test_a_region_is_registered_once(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_READ | HMC_REMOTE_WRITE);
  verbs_memory_t *first = use(scene, &region, 100, 10), *second = use(scene, &region, 0, MIB);
  assert_non_null(first);
  assert_ptr_equal(first, second);
  assert_int_equal(registered, 1);
  assert_int_equal(first->users, 2);
  assert_ptr_equal(last.base, region.base);
  assert_int_equal(last.size, MIB);
  assert_int_equal(last.access, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE);
  assert_int_equal(scene->transport.pinned, MIB);
}

/* Peers name bytes by their place in a page, not by where they are here. */
static void test_no_pointer_leaves(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_ALL);
  verbs_cause_t cause;
  verbs_memory_t *memory = lend(scene, &region, &cause);
  assert_non_null(memory);
  assert_int_equal(memory->address % 4096, 0x123);
  assert_int_not_equal(memory->address, (uintptr_t)region.base);
  assert_int_equal(last.address, memory->address);
}

static void test_rights_become_access(void **state) {
  scene_t *scene = *state;
  static const struct {
    uint32_t rights;
    int access;
  } cases[] = {
      {0, IBV_ACCESS_LOCAL_WRITE},
      {HMC_REMOTE_READ, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ},
      {HMC_REMOTE_WRITE, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE},
      {HMC_REMOTE_ATOMIC, IBV_ACCESS_LOCAL_WRITE}, /* messages do those */
  };
  for (uint32_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    hmci_region_view_t region = region_of(i, KIB, cases[i].rights);
    assert_non_null(use(scene, &region, 0, 1));
    assert_int_equal(last.access, cases[i].access);
  }
}

static void test_another_generation_is_another_region(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_READ), again = region;
  again.generation = 2;
  verbs_memory_t *first = use(scene, &region, 0, 1), *second = use(scene, &again, 0, 1);
  assert_ptr_not_equal(first, second);
  assert_int_equal(registered, 2);
  drop(scene, &region);
  assert_int_equal(registered, 1);
  assert_ptr_equal(use(scene, &again, 5, 5), second);
}

/* Two regions over one range, and one inside it; foreign memory, so that it goes with the last of them. */
static void test_what_peers_do_not_reach_is_shared(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, 0), same = region_of(2, MIB, 0), inside = region_of(3, KIB, 0);
  same.base = region.base;
  inside.base = region.base + 5 * KIB;
  verbs_memory_t *first = use(scene, &region, 0, 1), *second = use(scene, &same, 0, 1),
                 *third = use(scene, &inside, 7, 9);
  assert_int_equal(registered, 1);
  assert_int_equal(scene->transport.pinned, MIB);
  assert_ptr_equal(first->handle, second->handle);
  assert_ptr_equal(first->handle, third->handle);
  /* the same byte has the same place under the key, whichever region it is named by */
  assert_true(third->address + (uint64_t)(inside.base - third->base) == first->address + 5 * KIB);
  drop(scene, &region);
  drop(scene, &inside);
  assert_int_equal(registered, 1);
  drop(scene, &same);
  assert_int_equal(registered, 0);
}

/* Its key must be of no use once the region is closed. */
static void test_what_peers_reach_is_not_shared(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t one = region_of(1, MIB, HMC_REMOTE_READ), two = region_of(2, MIB, HMC_REMOTE_READ);
  hmci_region_view_t local = region_of(3, MIB, 0);
  verbs_cause_t cause;
  two.base = local.base = one.base;
  assert_non_null(use(scene, &local, 0, 1));
  verbs_memory_t *first = lend(scene, &one, &cause);
  verbs_memory_t *second = lend(scene, &two, &cause);
  assert_int_equal(registered, 3);
  assert_int_not_equal(first->handle->rkey, second->handle->rkey);
  drop(scene, &one);
  assert_int_equal(registered, 2);
}

/* Hardware uses keys again: what is on its way to a closed region must not fit into the next one. */
static void test_no_two_regions_are_called_the_same(void **state) {
  scene_t *scene = *state;
  uint64_t end = 0;
  for (uint32_t round = 1; round <= 100; round++) {
    hmci_region_view_t region = region_of(1, MIB + round, HMC_REMOTE_ALL);
    region.generation = round;
    verbs_cause_t cause;
    verbs_memory_t *memory = lend(scene, &region, &cause);
    assert_non_null(memory);
    assert_true(memory->address >= end); /* all of those before it are below */
    assert_int_equal(memory->address % 4096, (uintptr_t)region.base % 4096);
    end = memory->address + memory->size;
    drop(scene, &region);
  }
}

static void test_a_freed_allocation_is_let_go(void **state) {
  scene_t *scene = *state;
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  void *memory = NULL;
  hmci_region_view_t region = region_of(1, MIB, 0);
  assert_int_equal(hmc_memory_allocate(cpu, MIB, &memory), HMC_SUCCESS);
  region.base = memory;
  for (uint32_t round = 1; round <= 3; round++) { /* registered again and again, registered once */
    region.generation = round;
    assert_non_null(use(scene, &region, 0, 1));
    drop(scene, &region);
    assert_int_equal(registered, 1);
    assert_int_equal(attempts, 1);
  }
  hmc_memory_free(cpu, memory);
  assert_int_equal(registered, 0);
  assert_int_equal(scene->transport.pinned, 0);
}

static void test_idle_registrations_make_room(void **state) {
  scene_t *scene = *state;
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  void *memory = NULL;
  hmci_region_view_t region = region_of(1, MIB, 0), other = region_of(2, MIB, HMC_REMOTE_ALL);
  scene->settings.verbs_pinned_max = MIB;
  assert_int_equal(hmc_memory_allocate(cpu, MIB, &memory), HMC_SUCCESS);
  region.base = memory;
  assert_non_null(use(scene, &region, 0, 1));
  drop(scene, &region);
  assert_int_equal(registered, 1);
  assert_non_null(use(scene, &other, 0, 1));
  assert_int_equal(registered, 1);
  assert_int_equal(scene->transport.pinned, MIB);
  hmc_memory_free(cpu, memory);
}

static void test_read_only_memory_can_be_sent(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_READ);
  refuse_writing = true;
  assert_null(use(scene, &region, 0, 1));
  verbs_memory_t *memory = use_to(scene, &region, 0, 1, false);
  assert_non_null(memory);
  assert_int_equal(last.access, IBV_ACCESS_REMOTE_READ);
  verbs_cause_t cause;
  assert_ptr_equal(lend(scene, &region, &cause), memory);
  hmci_region_view_t writable = region_of(2, MIB, HMC_REMOTE_WRITE);
  assert_null(lend(scene, &writable, &cause));
  assert_int_equal(cause, VERBS_REFUSED_BY_DEVICE);
}

static void test_a_refusal_is_remembered(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, 0);
  hmc_log_level_t level = hmc_log_get_level();
  hmc_log_set_level(HMC_LOG_ERROR); /* the warning is meant */
  refuse_all = true;
  for (int i = 0; i < 10; i++) assert_null(use(scene, &region, 0, KIB));
  hmc_log_set_level(level);
  assert_int_equal(attempts, 1);
  assert_int_equal(scene->transport.pinned, 0);
}

static void test_the_least_recently_used_makes_room(void **state) {
  scene_t *scene = *state;
  scene->settings.verbs_pinned_max = 3 * MIB;
  hmci_region_view_t a = region_of(1, MIB, 0), b = region_of(2, MIB, 0), c = region_of(3, MIB, 0),
                     d = region_of(4, MIB, 0);
  verbs_memory_t *first = use(scene, &a, 0, 1), *second = use(scene, &b, 0, 1), *third = use(scene, &c, 0, 1);
  first->users = second->users = third->users = 0;
  assert_ptr_equal(use(scene, &a, 0, 1), first); /* now b is the oldest */
  first->users = 0;
  assert_non_null(use(scene, &d, 0, 1));
  assert_int_equal(registered, 3);
  assert_int_equal(scene->transport.pinned, 3 * MIB);
  assert_ptr_equal(use(scene, &a, 0, 1), first);
  assert_ptr_equal(use(scene, &c, 0, 1), third);
  assert_int_equal(attempts, 4);
}

static void test_what_is_in_use_or_exported_stays(void **state) {
  scene_t *scene = *state;
  scene->settings.verbs_pinned_max = 2 * MIB;
  hmci_region_view_t busy = region_of(1, MIB, 0), known = region_of(2, MIB, HMC_REMOTE_ALL),
                     third = region_of(3, MIB, HMC_REMOTE_ALL);
  verbs_cause_t cause;
  hmc_log_level_t level = hmc_log_get_level();
  hmc_log_set_level(HMC_LOG_ERROR);
  assert_non_null(use(scene, &busy, 0, 1));
  assert_non_null(lend(scene, &known, &cause));
  assert_null(use(scene, &third, 0, 1));
  assert_null(lend(scene, &third, &cause));
  assert_int_equal(cause, VERBS_PIN_LIMIT);
  assert_int_equal(registered, 2);
  drop(scene, &known); /* its owner closed it */
  assert_non_null(lend(scene, &third, &cause));
  hmc_log_set_level(level);
}

static void test_a_large_region_goes_in_blocks(void **state) {
  scene_t *scene = *state;
  scene->settings.verbs_pinned_max = 40 * MIB;
  hmci_region_view_t region = region_of(1, 100 * MIB, HMC_REMOTE_ALL);
  hmc_log_level_t level = hmc_log_get_level();
  hmc_log_set_level(HMC_LOG_ERROR);
  verbs_memory_t *block = use(scene, &region, 20 * MIB, MIB);
  assert_non_null(block);
  assert_ptr_equal(block->base, region.base + 16 * MIB);
  assert_int_equal(block->size, 16 * MIB);
  assert_int_equal(last.access, IBV_ACCESS_LOCAL_WRITE); /* no peer heard of it */
  assert_ptr_equal(use(scene, &region, 31 * MIB, MIB), block);
  block->users = 0;
  verbs_memory_t *across =
      use(scene, &region, 32 * MIB - 1, 2); /* makes room by the first one, 48 MiB being too much */
  assert_non_null(across);
  assert_int_equal(across->size, 32 * MIB);
  across->users = 0;
  verbs_memory_t *end = use(scene, &region, 100 * MIB - 1, 1);
  assert_non_null(end);
  assert_int_equal(end->size, 4 * MIB);
  verbs_cause_t cause;
  assert_null(lend(scene, &region, &cause));
  assert_int_equal(cause, VERBS_PIN_LIMIT);
  hmc_log_set_level(level);
}

/* Its owner uses it, and no key of it lets a peer in. */
static void test_a_leased_region_gives_no_rights(void **state) {
  scene_t *scene = *state;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_ALL);
  region.leased = true;
  assert_non_null(use(scene, &region, 0, 1));
  assert_int_equal(last.access, IBV_ACCESS_LOCAL_WRITE);
}

/* Is the transport's lock free while the device registers? The stand-in asks. */
static void test_nothing_is_registered_under_the_lock(void **state) {
  scene_t *scene = *state;
  verbs_cause_t cause;
  hmci_region_view_t local = region_of(1, MIB, 0), lent = region_of(2, MIB, HMC_REMOTE_ALL);
  watched = &scene->transport.lock;
  assert_non_null(use(scene, &local, 0, 1));
  assert_non_null(lend(scene, &lent, &cause));
  pthread_mutex_unlock(&scene->transport.lock);
  pthread_mutex_lock(&scene->transport.lock);
  assert_int_equal(registered, 2);
  assert_int_equal(held, 0);
}

static void test_one_job_for_all_who_wait(void **state) {
  scene_t *scene = *state;
  verbs_memory_t *memory;
  verbs_cause_t cause;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_ALL);
  for (uint64_t i = 0; i < 3; i++)
    assert_int_equal(hmci_verbs_memory_use(scene->device, &region, i, 1, true, &memory), HMC_IN_PROGRESS);
  assert_null(hmci_verbs_memory_export(scene->device, &region, &cause));
  assert_int_equal(cause, VERBS_LATER);
  assert_int_equal(attempts, 0);
  assert_true(hmci_verbs_memory_work(&scene->transport));
  assert_false(hmci_verbs_memory_work(&scene->transport));
  assert_int_equal(attempts, 1);
  assert_non_null(hmci_verbs_memory_export(scene->device, &region, &cause));
}

/* Before its job began, and while it runs. */
static void test_a_region_that_closes_meanwhile(void **state) {
  scene_t *scene = *state;
  verbs_memory_t *memory;
  hmci_region_view_t region = region_of(1, MIB, HMC_REMOTE_ALL);
  assert_int_equal(hmci_verbs_memory_use(scene->device, &region, 0, 1, true, &memory), HMC_IN_PROGRESS);
  drop(scene, &region);
  assert_false(hmci_verbs_memory_work(&scene->transport));
  assert_int_equal(hmci_verbs_memory_use(scene->device, &region, 0, 1, true, &memory), HMC_IN_PROGRESS);
  closing = scene;
  closing_region = &region;
  assert_true(hmci_verbs_memory_work(&scene->transport));
  assert_int_equal(attempts, 1);
  assert_int_equal(registered, 0);
  assert_int_equal(scene->transport.pinned, 0);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_scene, close_scene)
  const struct CMUnitTest tests[] = {
      TEST(test_a_region_is_registered_once),
      TEST(test_no_pointer_leaves),
      TEST(test_rights_become_access),
      TEST(test_another_generation_is_another_region),
      TEST(test_what_peers_do_not_reach_is_shared),
      TEST(test_what_peers_reach_is_not_shared),
      TEST(test_no_two_regions_are_called_the_same),
      TEST(test_a_freed_allocation_is_let_go),
      TEST(test_idle_registrations_make_room),
      TEST(test_read_only_memory_can_be_sent),
      TEST(test_a_refusal_is_remembered),
      TEST(test_a_leased_region_gives_no_rights),
      TEST(test_the_least_recently_used_makes_room),
      TEST(test_what_is_in_use_or_exported_stays),
      TEST(test_a_large_region_goes_in_blocks),
      TEST(test_nothing_is_registered_under_the_lock),
      TEST(test_one_job_for_all_who_wait),
      TEST(test_a_region_that_closes_meanwhile),
  };
#undef TEST
  return cmocka_run_group_tests(tests, NULL, NULL);
}
