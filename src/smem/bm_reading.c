/* Reading what other threads may take away, without a lock (see bm.h).
 *
 * Each thread has a count of its own, which is odd while it reads. Who has taken something out of reach makes all threads
 * see that, and then waits until those that were reading have stopped: what begins later does not find it any more. The
 * barrier that makes the store of a count and the loads after it keep their order is the waiting side's: it has the kernel
 * run one on all processors (membarrier), so that a reader pays for two plain stores. Where the kernel cannot, and under
 * the thread sanitizer, readers have a fence of their own.
 *
 * Invariant: counts are never freed; that of a thread that ended is another one's later. `thread` of a count has a thread's
 * number only while it is that thread's, so a count in a slot is a thread's own where it has its number.
 * Locking: none; the list is only added to. `hmci_smem_has_barrier` is written before there is a count. */
#include "bm.h"

#include <linux/membarrier.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { NAP_NS = 20000 };

_Atomic uint64_t hmci_smem_read_epoch;
_Atomic(hmci_smem_reader_t *) hmci_smem_reader_slots[HMCI_SMEM_SLOTS];
static _Thread_local hmci_smem_reader_t *own; /* NULL: the thread has not read yet */
int hmci_smem_has_barrier;
static _Atomic(hmci_smem_reader_t *) readers;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key; /* for the end of a thread alone */
static int has_key;

static long membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0); }

static void give_back(void *argument) {
  hmci_smem_reader_t *reader = argument;
  own = NULL; /* another destructor of this thread may copy */
  atomic_store(&reader->thread, 0);
}

/* In the child of a fork() there is one thread, and the others' counts stand still. */
static void forget_others(void) {
  for (hmci_smem_reader_t *at = atomic_load(&readers); at != NULL; at = at->next) {
    if (at != own) {
      atomic_store(&at->count, 0);
      atomic_store(&at->thread, 0);
    }
  }
  atomic_fetch_add(&hmci_smem_read_epoch, 1); /* the parent's pools are not the child's, nor are ways to them */
}

static void set_up(void) {
  has_key = pthread_key_create(&key, give_back) == 0;
  pthread_atfork(NULL, NULL, forget_others);
#if !defined(__SANITIZE_THREAD__)
  hmci_smem_has_barrier = membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
#endif
}

/* A library that is taken out of the process leaves no function behind to be called at the end of threads. */
__attribute__((destructor)) static void unset(void) {
  if (has_key) {
    pthread_key_delete(key);
  }
}

/* A count that a thread has left behind, or a new one. */
static hmci_smem_reader_t *make_reader(void) {
  hmci_smem_reader_t *at = atomic_load(&readers);
  uintptr_t nobody = 0;
  while (at != NULL && !atomic_compare_exchange_strong(&at->thread, &nobody, hmci_smem_thread())) {
    nobody = 0;
    at = at->next;
  }
  if (at != NULL) {
    return at;
  }
  at = aligned_alloc(_Alignof(hmci_smem_reader_t), sizeof(*at));
  if (at == NULL) {
    return NULL;
  }
  *at = (hmci_smem_reader_t){.thread = hmci_smem_thread(), .way.word_epoch = HMCI_SMEM_NO_EPOCH};
  at->next = atomic_load(&readers);
  while (!atomic_compare_exchange_weak(&readers, &at->next, at)) {
  }
  return at;
}

hmci_smem_reader_t *hmci_smem_reader_make(void) {
  pthread_once(&once, set_up);
  if (own == NULL) {
    own = make_reader();
    if (own != NULL && has_key) {
      pthread_setspecific(key, own);
    }
  }
  if (own != NULL && hmci_smem_has_barrier) { /* partner: hmci_smem_reader_find, of a thread with the same slot */
    atomic_store_explicit(hmci_smem_reader_slot(hmci_smem_thread()), own, memory_order_release);
  }
  return own;
}

void hmci_smem_nap(void) {
  const struct timespec nap = {.tv_nsec = NAP_NS};
  nanosleep(&nap, NULL);
}

void hmci_smem_read_wait(void) {
  pthread_once(&once, set_up);
  atomic_fetch_add(&hmci_smem_read_epoch, 1);
  if (hmci_smem_has_barrier &&
      membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) != 0) { /* a child of fork() may have to register */
    (void)membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED);
    (void)membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  }
  for (hmci_smem_reader_t *at = atomic_load(&readers); at != NULL; at = at->next) {
    uint64_t seen = atomic_load_explicit(&at->count, memory_order_acquire);
    while (seen % 2 == 1 && atomic_load_explicit(&at->count, memory_order_acquire) == seen) {
      hmci_smem_nap();
    }
  }
}
