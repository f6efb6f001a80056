/* Fence, quiet, and locks.
 *
 * Near stores are ordered by the processor's fence; they ring where somebody sleeps, for the inlined ones do not. */
#include "alias.h"
#include "state.h"

void hmci_quiet(struct hmc_shmem_ctx *ctx) {
  hmci_far_quiet(ctx);
  hmci_ring_all(HMCI_FOR_MEMORY);
}

void shmem_ctx_quiet(shmem_ctx_t ctx) {
  if (ctx != SHMEM_CTX_INVALID) hmci_quiet(hmci_context(ctx, NULL));
}
void shmem_quiet(void) { hmci_quiet(hmci_context(SHMEM_CTX_DEFAULT, NULL)); }

void shmem_ctx_pe_quiet(shmem_ctx_t ctx, const int *target_pes, size_t npes) {
  if (ctx == SHMEM_CTX_INVALID) return;
  for (size_t i = 0; i < npes; i++) {
    int pe = target_pes[i];
    struct hmc_shmem_ctx *found = hmci_context(ctx, &pe);
    hmci_check("shmem_pe_quiet", NULL, 0, pe);
    hmci_far_quiet_pe(found, pe);
  }
  hmci_ring_all(HMCI_FOR_MEMORY);
}
void shmem_pe_quiet(const int *target_pes, size_t npes) { shmem_ctx_pe_quiet(SHMEM_CTX_DEFAULT, target_pes, npes); }

void shmem_ctx_fence(shmem_ctx_t ctx) {
  if (ctx == SHMEM_CTX_INVALID) return;
  hmci_far_fence(hmci_context(ctx, NULL));
  hmci_ring_all(HMCI_FOR_MEMORY);
}
void shmem_fence(void) { shmem_ctx_fence(SHMEM_CTX_DEFAULT); }

PROFILED(shmem_quiet);
PROFILED(shmem_ctx_quiet);
PROFILED(shmem_pe_quiet);
PROFILED(shmem_ctx_pe_quiet);
PROFILED(shmem_fence);
PROFILED(shmem_ctx_fence);

/* ---- locks: a queue of PEs (Mellor-Crummey and Scott 1991) ------------------------------------------------------------
 *
 * The lock's word at its home, PE 0, holds the last PE of the queue, plus one. Each PE's own copy of the word has its
 * upper half for who comes after it, plus one, and bit 0 of the lower half for "wait". At the home both are in one long:
 * the lower 32 bits are for the home's own place in the queue, the upper for the tail. A copy is 0 while its PE is not in
 * the queue, so that who tests the lock leaves its own alone: it may be the holder's. */

typedef struct lock_words {
  int32_t *place; /* this PE's: the next PE plus one, shifted by 1, and the wait bit */
  int32_t *tail;  /* of the home */
} lock_words_t;

static lock_words_t words_of(long *lock) {
  return (lock_words_t){(int32_t *)(void *)lock, (int32_t *)(void *)lock + 1};
}

#define LOCK_HOME 0
#define IS_WAITING 1

static bool need_not_wait(const void *place) {
  return !(__atomic_load_n((const int32_t *)place, __ATOMIC_ACQUIRE) & IS_WAITING);
}
static bool has_next(const void *place) { return __atomic_load_n((const int32_t *)place, __ATOMIC_ACQUIRE) >> 1; }

void shmem_set_lock(long *lock) {
  lock_words_t words = words_of(lock);
  hmci_check("shmem_set_lock", lock, sizeof *lock, LOCK_HOME);
  hmci_check_host("shmem_set_lock", lock);
  __atomic_store_n(words.place, IS_WAITING, __ATOMIC_SEQ_CST);
  int32_t before = shmem_int32_atomic_swap(words.tail, hmci_pe.me + 1, LOCK_HOME);
  if (before == 0) {
    __atomic_fetch_and(words.place, ~IS_WAITING, __ATOMIC_SEQ_CST);
    return;
  }
  shmem_int32_atomic_add(words.place, (hmci_pe.me + 1) << 1, before - 1);
  hmci_wait(need_not_wait, words.place);
}

int shmem_test_lock(long *lock) {
  lock_words_t words = words_of(lock);
  hmci_check("shmem_test_lock", lock, sizeof *lock, LOCK_HOME);
  hmci_check_host("shmem_test_lock", lock);
  return shmem_int32_atomic_compare_swap(words.tail, 0, hmci_pe.me + 1, LOCK_HOME) != 0;
}

void shmem_clear_lock(long *lock) {
  lock_words_t words = words_of(lock);
  hmci_check("shmem_clear_lock", lock, sizeof *lock, LOCK_HOME);
  hmci_check_host("shmem_clear_lock", lock);
  shmem_quiet();
  if (shmem_int32_atomic_compare_swap(words.tail, hmci_pe.me + 1, 0, LOCK_HOME) == hmci_pe.me + 1) return;
  hmci_wait(has_next, words.place);
  int next = (__atomic_exchange_n(words.place, 0, __ATOMIC_SEQ_CST) >> 1) - 1;
  shmem_int32_atomic_add(words.place, -IS_WAITING, next);
}

PROFILED(shmem_set_lock);
PROFILED(shmem_test_lock);
PROFILED(shmem_clear_lock);
