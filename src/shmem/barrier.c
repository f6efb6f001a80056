/* Synchronising a group, with and without data.
 *
 * Four ways: by one counter (more PEs than processors: each PE waits once, and the last one wakes all), by a
 * dissemination of flags (log2 n rounds, each over one pair; far PEs too), by a tree (tree.c: more PEs than processors, some
 * far; or far ones with data), and by the caller's pSync for active sets.
 * Flags and counters hold the number of the round, so they are never reset. */
#include "state.h"
#include "tree.h"

#include <string.h>

static hmci_slot_t *slot_of(const hmci_group_t *group, int number) {
  return &hmci_control_of(hmci_member(group, number))->slots[group->slot];
}

static hmci_slot_t *my_slot(const hmci_group_t *group) { return &hmci_my_control()->slots[group->slot]; }

/* Sets a word of `pe`'s part, given by its address in this PE's. A far one by an atomic: it must not be seen in halves. */
static void set_word(int pe, _Atomic uint64_t *mine, uint64_t value) {
  size_t offset = (size_t)((char *)mine - hmci_pe.part);
  if (hmci_pe.base[pe]) {
    _Atomic uint64_t *word = (_Atomic uint64_t *)(void *)(hmci_pe.base[pe] + offset);
    atomic_store_explicit(word, value, memory_order_release); /* partner: hmci_wait_word */
    hmci_ring(pe, HMCI_FOR_FLAG);
  } else {
    hmci_far_atomic(NULL, pe, offset, HMC_ATOMIC_STORE, 8, value, 0, false);
    hmci_far_push(NULL);
  }
}

static void sync_by_flags(const hmci_group_t *group, uint64_t round) {
  hmci_slot_t *slot = my_slot(group);
  for (int step = 1, i = 0; step < group->n; step *= 2, i++) {
    set_word(hmci_member(group, (group->me + step) % group->n), &slot->flags[i], round);
    hmci_wait_word(&slot->flags[i], round);
  }
}

/* True for the last one; the others return when it has called `release`. */
static bool arrive(const hmci_group_t *group, uint64_t round) {
  hmci_slot_t *first = slot_of(group, 0);
  uint64_t count = atomic_fetch_add_explicit(&first->arrived, 1, memory_order_acq_rel) + 1; /* partner: itself */
  if (count == round * (uint64_t)group->n) return true;
  hmci_wait_word(&first->released, round);
  return false;
}

static void release(const hmci_group_t *group, uint64_t round) {
  atomic_store_explicit(&slot_of(group, 0)->released, round, memory_order_release); /* partner: hmci_wait_word */
  hmci_ring_all(HMCI_FOR_FLAG);
}

/* ---- active sets -------------------------------------------------------------------------------------------------- */

typedef struct word {
  _Atomic long *at;
  long value;
} word_t;

static bool is_equal(const void *argument) {
  const word_t *word = argument;
  return atomic_load_explicit(word->at, memory_order_acquire) == word->value;
}

static void wait_for_equal(long *at, long value) {
  word_t word = {(_Atomic long *)at, value};
  hmci_wait(is_equal, &word);
}

/* All count up at the first one's sync[0], which then sets everybody's sync[1]; each resets its own words. */
static void sync_by_array(const hmci_group_t *group) {
  long *sync = group->sync;
  if (group->me != 0) {
    shmem_long_atomic_add(&sync[0], 1, hmci_member(group, 0));
    wait_for_equal(&sync[1], 1);
    atomic_store_explicit((_Atomic long *)&sync[1], SHMEM_SYNC_VALUE, memory_order_relaxed);
    return;
  }
  wait_for_equal(&sync[0], group->n - 1);
  atomic_store_explicit((_Atomic long *)&sync[0], SHMEM_SYNC_VALUE, memory_order_relaxed);
  for (int i = 1; i < group->n; i++) shmem_long_atomic_set(&sync[1], 1, hmci_member(group, i));
}

/* ---- for the other files ------------------------------------------------------------------------------------------ */

void hmci_group_sync(hmci_group_t *group) {
  if (group->n == 1) return;
  if (group->slot < 0) {
    sync_by_array(group);
    return;
  }
  if (group->by_tree) {
    hmci_tree_sync(group);
    return;
  }
  uint64_t round = ++*group->rounds;
  if (!group->near || !group->central) {
    sync_by_flags(group, round);
  } else if (arrive(group, round)) {
    release(group, round);
  }
}

/* Each one's data are in its slot when it arrives; the last one combines them for all. */
static void combine_centrally(const hmci_group_t *group, uint64_t round, void *into, size_t size, size_t count,
                              hmci_combine_t combine) {
  hmci_slot_t *first = slot_of(group, 0);
  uint8_t *result = first->result[round & 1];
  if (arrive(group, round)) {
    memcpy(result, first->own[round & 1].data, size);
    for (int i = 1; i < group->n; i++) combine(result, slot_of(group, i)->own[round & 1].data, count);
    release(group, round);
  }
  memcpy(into, result, size);
}

/* Each reads all others' data as soon as they are there. A PE writes the data of round r + 2 only when all others have
 * written those of r + 1, hence have read those of r. */
static void combine_everywhere(const hmci_group_t *group, uint64_t round, void *into, size_t size, size_t count,
                               hmci_combine_t combine) {
  atomic_store_explicit(&my_slot(group)->own[round & 1].round, round,
                        memory_order_release); /* partner: hmci_wait_word */
  hmci_ring_all(HMCI_FOR_FLAG);
  for (int i = 0; i < group->n; i++) {
    hmci_slot_t *slot = slot_of(group, i);
    hmci_wait_word(&slot->own[round & 1].round, round);
    if (i == 0) {
      memcpy(into, slot->own[round & 1].data, size);
    } else {
      combine(into, slot->own[round & 1].data, count);
    }
  }
}

void hmci_group_combine(hmci_group_t *group, void *into, const void *from, size_t size, size_t count,
                        hmci_combine_t combine) {
  if (!size) { /* a reduction of no elements, whose arrays may be NULL, still is a collective */
    hmci_group_sync(group);
    return;
  }
  if (!group->near) {
    hmci_tree_combine(group, into, from, size, count, combine);
    return;
  }
  uint64_t round = ++*group->rounds;
  memcpy(my_slot(group)->own[round & 1].data, from, size);
  if (group->central) {
    combine_centrally(group, round, into, size, count, combine);
  } else {
    combine_everywhere(group, round, into, size, count, combine);
  }
}

/* ---- prefix sums -------------------------------------------------------------------------------------------------- */

static void send_sum(const hmci_group_t *group, int to, int i, uint64_t round, uint64_t value) {
  slot_of(group, to)->sums[i].value = value;
  set_word(hmci_member(group, to), &my_slot(group)->sums[i].round, round);
}

/* Without a slot, hence without a place for values: each reads what the members before it have in their sync[2]. */
static uint64_t before_by_array(hmci_group_t *group, uint64_t value) {
  long *mine = &group->sync[2];
  *mine = (long)value;
  hmci_group_sync(group);
  uint64_t sum = 0;
  for (int i = 0; i < group->me; i++) sum += (uint64_t)shmem_long_atomic_fetch(mine, hmci_member(group, i));
  hmci_group_sync(group);
  *mine = SHMEM_SYNC_VALUE;
  return sum;
}

uint64_t hmci_group_before(hmci_group_t *group, uint64_t value) {
  if (group->n == 1) return 0;
  if (group->slot < 0) return before_by_array(group, value);
  uint64_t round = *group->rounds + 1; /* of the sync that ends the collective: unique among the prefix sums */
  hmci_slot_t *slot = my_slot(group);
  uint64_t before = 0;
  for (int step = 1, i = 0; step < group->n; step *= 2, i++) {
    if (group->me + step < group->n) send_sum(group, group->me + step, i, round, before + value);
    if (group->me - step >= 0) {
      hmci_wait_word(&slot->sums[i].round, round);
      before += slot->sums[i].value;
    }
  }
  return before;
}
