#include "cache.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

enum { KIB = 1 << 10 };

/* ---- what is made, counted --------------------------------------------------------------------------------------- */

typedef struct maker {
  _Atomic uint32_t made, live;
  _Atomic uint64_t bytes;
  bool refuses;
  void *_Atomic frees; /* meanwhile */
} maker_t;

static hmc_status_t make(void *owner, uint8_t *base, uint64_t size, uint32_t traits, void **thing) {
  maker_t *maker = owner;
  (void)base;
  if (maker->refuses) return hmci_fail(HMC_UNSUPPORT, "it does not want to");
  void *freed = atomic_exchange(&maker->frees, NULL);
  if (freed) assert_int_equal(hmc_memory_free((hmc_memory_t){HMC_MEMORY_CPU, 0}, freed), HMC_SUCCESS);
  maker->made++;
  maker->live++;
  maker->bytes += size;
  *thing = (void *)(uintptr_t)(1000 + traits);
  return HMC_SUCCESS;
}

static void drop(void *owner, void *thing, uint64_t size) {
  maker_t *maker = owner;
  assert_true((uintptr_t)thing >= 1000);
  maker->live--;
  maker->bytes -= size;
}

static const hmci_cache_ops_t ops = {make, drop};

typedef struct scene {
  maker_t maker;
  hmci_cache_t cache;
  uint8_t *memory; /* 64 KiB that HMC allocated */
} scene_t;

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

static int open_scene(void **state) {
  scene_t *scene = calloc(1, sizeof(*scene));
  void *memory = NULL;
  assert_int_equal(hmc_memory_allocate(cpu, 64 * KIB, &memory), HMC_SUCCESS);
  scene->memory = memory;
  hmci_cache_open(&scene->cache, &ops, &scene->maker, 32 * KIB);
  *state = scene;
  return 0;
}

static int close_scene(void **state) {
  scene_t *scene = *state;
  hmci_cache_close(&scene->cache);
  bool clean = scene->maker.live == 0 && scene->maker.bytes == 0;
  hmc_memory_free(cpu, scene->memory);
  free(scene);
  return clean ? 0 : -1;
}

static hmci_registration_t *acquire(scene_t *scene, const uint8_t *base, uint64_t size, uint32_t traits) {
  hmci_registration_t *registration = NULL;
  assert_int_equal(hmci_cache_acquire(&scene->cache, (uint8_t *)(uintptr_t)base, size, traits, &registration),
                   HMC_SUCCESS);
  assert_true(registration->base <= base && base + size <= registration->base + registration->size);
  assert_int_equal(registration->traits, traits);
  return registration;
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void test_a_range_is_registered_once(void **state) {
  scene_t *scene = *state;
  hmci_registration_t *first = acquire(scene, scene->memory, 8 * KIB, 0);
  assert_ptr_equal(acquire(scene, scene->memory, 8 * KIB, 0), first);
  assert_ptr_equal(acquire(scene, scene->memory + 100, 8 * KIB - 100, 0), first); /* inside */
  assert_ptr_equal(acquire(scene, scene->memory, 1, 0), first);
  assert_int_equal(scene->maker.made, 1);
  for (int i = 0; i < 4; i++) hmci_cache_release(&scene->cache, first);
  assert_ptr_equal(acquire(scene, scene->memory + 5, 5, 0), first); /* it was kept */
  assert_int_equal(scene->maker.made, 1);
  hmci_cache_release(&scene->cache, first);
}

static void test_another_range_is_another_one(void **state) {
  scene_t *scene = *state;
  hmci_registration_t *middle = acquire(scene, scene->memory + 8 * KIB, 8 * KIB, 0);
  hmci_registration_t *longer = acquire(scene, scene->memory + 8 * KIB, 8 * KIB + 1, 0);
  hmci_registration_t *before = acquire(scene, scene->memory + 8 * KIB - 1, 8 * KIB, 0);
  hmci_registration_t *other = acquire(scene, scene->memory + 8 * KIB, 8 * KIB, 1); /* other traits */
  assert_ptr_not_equal(middle, longer);
  assert_ptr_not_equal(before, longer);
  assert_ptr_not_equal(other, longer);
  assert_int_equal(scene->maker.made, 4);
  hmci_cache_release(&scene->cache, middle);
  hmci_cache_release(&scene->cache, longer);
  hmci_cache_release(&scene->cache, before);
  hmci_cache_release(&scene->cache, other);
}

/* One that contains the range is found behind any number that do not. */
static void test_overlapping_ranges(void **state) {
  scene_t *scene = *state;
  hmci_registration_t *all = acquire(scene, scene->memory, 64 * KIB, 7), *parts[60];
  for (uint64_t i = 0; i < 60; i++) parts[i] = acquire(scene, scene->memory + 1000 * i, 900, (uint32_t)(i % 3));
  assert_int_equal(scene->maker.made, 61);
  for (uint64_t i = 0; i < 60; i++) {
    assert_ptr_equal(acquire(scene, scene->memory + 1000 * i + 1, 899, (uint32_t)(i % 3)), parts[i]);
    assert_ptr_equal(acquire(scene, scene->memory + 1000 * i + 1, 3000, 7), all);
  }
  assert_int_equal(scene->maker.made, 61);
  for (int i = 0; i < 60; i++) {
    hmci_cache_release(&scene->cache, parts[i]);
    hmci_cache_release(&scene->cache, parts[i]);
    hmci_cache_release(&scene->cache, all);
  }
  hmci_cache_release(&scene->cache, all);
}

/* HMC hooks no allocator: nobody would tell when this memory goes. */
static void test_foreign_memory_is_not_kept(void **state) {
  scene_t *scene = *state;
  uint8_t *memory = calloc(4, KIB);
  hmci_registration_t *first = acquire(scene, memory, 4 * KIB, 0), *second = acquire(scene, memory, 4 * KIB, 0);
  assert_ptr_equal(first, second);
  hmci_cache_release(&scene->cache, first);
  assert_int_equal(scene->maker.live, 1);
  hmci_cache_release(&scene->cache, second);
  assert_int_equal(scene->maker.live, 0);
  free(memory);
  /* nor is what reaches past an allocation */
  hmci_registration_t *beyond = acquire(scene, scene->memory + 32 * KIB, 32 * KIB + 1, 0);
  hmci_cache_release(&scene->cache, beyond);
  assert_int_equal(scene->maker.live, 0);
}

static void test_freeing_drops(void **state) {
  scene_t *scene = *state;
  void *memory = NULL;
  assert_int_equal(hmc_memory_allocate(cpu, 16 * KIB, &memory), HMC_SUCCESS);
  hmci_registration_t *kept = acquire(scene, scene->memory, KIB, 0);
  hmci_cache_release(&scene->cache, kept);
  hmci_cache_release(&scene->cache, acquire(scene, memory, KIB, 0));
  hmci_cache_release(&scene->cache, acquire(scene, (uint8_t *)memory + 2 * KIB, KIB, 0));
  assert_int_equal(scene->maker.live, 3);
  hmc_memory_free(cpu, memory);
  assert_int_equal(scene->maker.live, 1);
  assert_ptr_equal(acquire(scene, scene->memory, KIB, 0), kept);
  hmci_cache_release(&scene->cache, kept);
}

/* Freed under its users, which is wrong, but must not be found by the one who gets those addresses next. */
static void test_freeing_under_users(void **state) {
  scene_t *scene = *state;
  void *memory = NULL;
  assert_int_equal(hmc_memory_allocate(cpu, 16 * KIB, &memory), HMC_SUCCESS);
  hmci_registration_t *lost = acquire(scene, memory, 16 * KIB, 0);
  hmc_memory_free(cpu, memory);
  assert_int_equal(scene->maker.live, 1);
  hmci_cache_note_allocated(HMC_MEMORY_CPU, memory, 16 * KIB); /* the same addresses again */
  hmci_registration_t *next = acquire(scene, memory, 16 * KIB, 0);
  assert_ptr_not_equal(next, lost);
  hmci_cache_release(&scene->cache, lost);
  assert_int_equal(scene->maker.live, 1);
  hmci_cache_release(&scene->cache, next);
  assert_int_equal(scene->maker.live, 1);
  hmci_cache_note_freed(HMC_MEMORY_CPU, memory);
  assert_int_equal(scene->maker.live, 0);
}

/* No lock is held while it is made. If its memory is freed meanwhile, no other user gets it. */
static void test_freeing_while_it_is_made(void **state) {
  scene_t *scene = *state;
  void *memory = NULL;
  assert_int_equal(hmc_memory_allocate(cpu, KIB, &memory), HMC_SUCCESS);
  scene->maker.frees = memory;
  hmci_registration_t *old = acquire(scene, memory, KIB, 0), *next = acquire(scene, memory, KIB, 0);
  assert_ptr_not_equal(old, next);
  assert_int_equal(scene->maker.live, 2);
  hmci_cache_release(&scene->cache, old);
  assert_int_equal(scene->maker.live, 1);
  hmci_cache_release(&scene->cache, next);
  assert_int_equal(scene->maker.live, 0);
}

static void test_idle_ones_have_a_ceiling(void **state) {
  scene_t *scene = *state;
  hmci_registration_t *parts[5];
  for (uint64_t i = 0; i < 5; i++) parts[i] = acquire(scene, scene->memory + i * 12 * KIB, 12 * KIB, 0);
  for (int i = 0; i < 5; i++) hmci_cache_release(&scene->cache, parts[i]);
  assert_int_equal(scene->maker.live, 2); /* 24 of at most 32 KiB */
  assert_ptr_equal(acquire(scene, scene->memory + 4 * 12 * KIB, 1, 0), parts[4]);
  hmci_registration_t *again = acquire(scene, scene->memory, KIB, 0); /* the oldest went */
  assert_int_equal(scene->maker.made, 6);
  assert_true(hmci_cache_trim(&scene->cache));
  assert_false(hmci_cache_trim(&scene->cache));
  assert_int_equal(scene->maker.live, 2);
  hmci_cache_release(&scene->cache, parts[4]);
  hmci_cache_release(&scene->cache, again);
}

static void test_a_refusal_leaves_nothing(void **state) {
  scene_t *scene = *state;
  hmci_registration_t *untouched = (hmci_registration_t *)scene, *registration = untouched;
  scene->maker.refuses = true;
  assert_int_equal(hmci_cache_acquire(&scene->cache, scene->memory, KIB, 0, &registration), HMC_UNSUPPORT);
  assert_ptr_equal(registration, untouched);
  scene->maker.refuses = false;
  hmci_cache_release(&scene->cache, acquire(scene, scene->memory, KIB, 0));
}

typedef struct worker {
  pthread_t thread;
  scene_t *scene;
  uint32_t number;
} worker_t;

static void *work(void *argument) {
  worker_t *worker = argument;
  for (uint32_t i = 0; i < 2000; i++) {
    hmci_registration_t *held[3];
    for (uint32_t k = 0; k < 3; k++) {
      uint32_t at = (i * 7 + k * 13 + worker->number) % 32;
      if (hmci_cache_acquire(&worker->scene->cache, worker->scene->memory + at * KIB, (1 + k) * KIB, k, &held[k]))
        return worker;
    }
    for (uint32_t k = 0; k < 3; k++) hmci_cache_release(&worker->scene->cache, held[k]);
    void *memory;
    if (i % 16 == 0 && hmc_memory_allocate(cpu, KIB, &memory) == HMC_SUCCESS) {
      if (hmci_cache_acquire(&worker->scene->cache, memory, KIB, 0, &held[0])) return worker;
      hmci_cache_release(&worker->scene->cache, held[0]);
      hmc_memory_free(cpu, memory);
    }
  }
  return NULL;
}

static void test_many_threads(void **state) {
  scene_t *scene = *state;
  worker_t workers[4];
  for (uint32_t i = 0; i < 4; i++) {
    workers[i] = (worker_t){.scene = scene, .number = i};
    assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
  }
  for (int i = 0; i < 4; i++) {
    void *failed;
    pthread_join(workers[i].thread, &failed);
    assert_null(failed);
  }
  assert_true(scene->maker.bytes <= 32 * KIB);
}

/* The parent's caches are none of a child's business, but its memory is. */
static void test_after_fork(void **state) {
  scene_t *scene = *state;
  hmci_registration_t *kept = acquire(scene, scene->memory, KIB, 0);
  hmci_cache_release(&scene->cache, kept);
  pid_t child = fork();
  if (child == 0) {
    void *memory;
    bool fine = hmc_memory_allocate(cpu, KIB, &memory) == HMC_SUCCESS && hmc_memory_free(cpu, memory) == HMC_SUCCESS &&
                hmc_memory_free(cpu, scene->memory) == HMC_SUCCESS;
    _exit(fine && scene->maker.live == 1 ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_ptr_equal(acquire(scene, scene->memory, KIB, 0), kept);
  hmci_cache_release(&scene->cache, kept);
}

int main(void) {
  alarm(280);
#define IN_SCENE(test) cmocka_unit_test_setup_teardown(test, open_scene, close_scene)
  const struct CMUnitTest tests[] = {
      IN_SCENE(test_a_range_is_registered_once),
      IN_SCENE(test_another_range_is_another_one),
      IN_SCENE(test_overlapping_ranges),
      IN_SCENE(test_foreign_memory_is_not_kept),
      IN_SCENE(test_freeing_drops),
      IN_SCENE(test_freeing_under_users),
      IN_SCENE(test_freeing_while_it_is_made),
      IN_SCENE(test_idle_ones_have_a_ceiling),
      IN_SCENE(test_a_refusal_leaves_nothing),
      IN_SCENE(test_many_threads),
      IN_SCENE(test_after_fork),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
