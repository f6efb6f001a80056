/* Waiting for memory that other PEs change.
 *
 * A thread that waits looks at the word for a while, then yields the processor between looks, then sleeps on the futex
 * `bell` of its control block. Operations that go through a call (atomics, signals, flags, quiet) ring: they wake the
 * PE where it sleeps. So does the service thread that writes what far PEs send (hmci_wake_sleeper). Stores that
 * were inlined ring when their PE waits itself, or not at all, as what an RDMA adapter writes: therefore each sleep is
 * short, unless nobody but the service thread can write it. A PE without near ones does its service thread's work while it
 * waits, and sleeps on its sockets (drive); unless other threads may write what it waits for, and ring, or there are more
 * PEs than processors. It looks for a while first, where each PE has a processor; another PE that waits for far ones only
 * where each has two: its service thread needs one.
 * A thread that sleeps reads `bell`, sets `asleep` and looks once more (seq_cst, partner: the fence in hmci_ring), so no
 * ring is lost. Several threads of a PE may sleep for one reason: a ring wakes them all, and each that goes on waiting
 * says again that it sleeps. The last one to leave takes the word back. */
#include "state.h"

#include <hmc/poll.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SPINS 4000       /* looks before the first yield, where each PE has a processor */
#define SPINS_CROWDED 30 /* and where not: another PE is to write what this one waits for */
#define SPINS_ALONE 25   /* before others are woken */
#define YIELDS 20
#define YIELDS_FAR 1
#define YIELD_FAR 100000  /* ns of yields in all, where far PEs may write and there are processors enough */
#define FIRST_SLEEP 50000 /* ns */
#define LONGEST_SLEEP 1000000
#define FIRST_SLEEP_RUNG 1000000 /* where each change rings: only a look for the end of the job */
#define LONGEST_SLEEP_RUNG 16000000

static inline void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static _Atomic int here[3]; /* threads of this process that sleep, by hmci_sleep_t */

static void sleep_unless_rung(_Atomic uint32_t *bell, uint32_t seen, long nanoseconds) {
  struct timespec limit = {.tv_nsec = nanoseconds};
  syscall(SYS_futex, bell, FUTEX_WAIT, seen, &limit, NULL, 0);
}

/* True where nothing but the network, and no other thread, can bring what this one waits for. */
static bool waits_for_network(void) { return hmci_pe.n_locals <= 1 && hmci_pe.thread_level != SHMEM_THREAD_MULTIPLE; }

/* True where this thread takes that itself. Not with more PEs than processors: there it may not have one within the time
 * after which the service thread takes over, and the two would wake each other without end. */
static bool is_driver(void) { return waits_for_network() && !hmci_pe.oversubscribed; }

/* True where the service thread writes all that this one waits for, and rings. */
static bool is_always_rung(void) { return waits_for_network() && hmci_pe.oversubscribed && !hmci_pe.written_silently; }

/* Takes from the network itself what it waits for. False where something else can bring it. */
static bool drive(long nanoseconds) {
  if (!is_driver()) return false;
  hmc_context_progress(hmci_pe.context, (uint64_t)nanoseconds / 1000);
  return true;
}

/* False where it was interrupted. */
static bool sleep_until(hmci_condition_t holds, const void *argument, hmci_sleep_t reason) {
  hmci_control_t *mine = hmci_my_control();
  _Atomic uint32_t *sleepers = hmci_pe.n_locals > 0 ? &hmci_control_of(hmci_pe.locals[0])->sleepers[reason] : NULL;
  bool rung = is_always_rung();
  long pause = rung ? FIRST_SLEEP_RUNG : FIRST_SLEEP, longest = rung ? LONGEST_SLEEP_RUNG : LONGEST_SLEEP;
  for (;;) {
    if (sleepers) atomic_fetch_add(sleepers, 1);
    atomic_fetch_add(&here[reason], 1);
    uint32_t seen = atomic_load(&mine->bell);
    atomic_store(&mine->asleep[reason], 1);
    bool is_met = holds(argument);
    if (!is_met && !drive(pause)) sleep_unless_rung(&mine->bell, seen, pause);
    if (atomic_fetch_sub(&here[reason], 1) == 1) atomic_store(&mine->asleep[reason], 0);
    if (sleepers) atomic_fetch_sub(sleepers, 1);
    if (is_met || holds(argument)) return true;
    if (hmci_is_interrupted()) return false;
    hmci_heed_verdict();
    if (pause < longest) pause *= 2;
  }
}

/* True where the condition holds. What comes from far PEs takes a network's time; where this thread does not take it
 * itself, another one of this process does, which gets the processor by each yield. */
static bool yield_until(hmci_condition_t holds, const void *argument) {
  bool patient = !hmci_pe.all_near && (hmci_pe.is_roomy || is_driver());
  uint64_t until = patient ? hmci_now_ns() + YIELD_FAR : 0;
  int yields = hmci_pe.all_near ? YIELDS : hmci_pe.oversubscribed ? 0 : YIELDS_FAR;
  for (int i = 0; i < yields || (patient && hmci_now_ns() < until); i++) {
    if (!drive(0)) sched_yield();
    if (holds(argument)) return true;
  }
  return false;
}

static bool wait_for(hmci_condition_t holds, const void *argument, hmci_sleep_t reason) {
  if (!hmci_pe.all_near) {
    hmci_far_push(hmci_context(SHMEM_CTX_DEFAULT, NULL));
    hmci_far_push(NULL);
  }
  int spins = hmci_pe.oversubscribed || !hmci_pe.all_near ? SPINS_CROWDED : SPINS;
  if (is_driver()) spins = 1; /* nothing comes but by its own hands */
  if (atomic_load_explicit(&hmci_interrupted, memory_order_relaxed)) return holds(argument);
  for (int i = 0; i < spins; i++) {
    if (holds(argument)) return true;
    if (i == SPINS_ALONE)
      hmci_ring_all(HMCI_FOR_MEMORY); /* of the stores before this wait, somebody may be waiting for one */
    relax();
  }
  if (yield_until(holds, argument)) return true;
  hmci_heed_verdict();
  return sleep_until(holds, argument, reason);
}

bool hmci_wait(hmci_condition_t holds, const void *argument) { return wait_for(holds, argument, HMCI_FOR_MEMORY); }

typedef struct growing {
  _Atomic uint64_t *word;
  uint64_t value;
} growing_t;

static bool has_grown(const void *argument) {
  const growing_t *growing = argument;
  return atomic_load_explicit(growing->word, memory_order_acquire) >= growing->value; /* partner: who writes the word */
}

/* What this process waits for, where only one thread may: the service thread wakes it when it is there, and not for each of
 * several messages before. Seq_cst: a service thread that sees `asleep` set for a wait sees what it is for. */
static _Atomic(_Atomic uint64_t *) awaited;
static _Atomic uint64_t awaited_value;

static void await(const growing_t *growing) {
  if (hmci_pe.thread_level == SHMEM_THREAD_MULTIPLE) growing = NULL;
  if (growing) atomic_store(&awaited_value, growing->value);
  atomic_store(&awaited, growing ? growing->word : NULL);
}

static bool is_awaited(void) {
  _Atomic uint64_t *word = atomic_load(&awaited);
  return !word || atomic_load(word) >= atomic_load(&awaited_value);
}

void hmci_wait_word(_Atomic uint64_t *word, uint64_t value) {
  growing_t growing = {word, value};
  if (has_grown(&growing)) return;
  await(&growing);
  wait_for(has_grown, &growing, HMCI_FOR_FLAG);
  await(NULL);
}

static void wake(hmci_control_t *control, hmci_sleep_t reason) {
  if (!atomic_exchange(&control->asleep[reason], 0)) return;
  atomic_fetch_add(&control->bell, 1);
  syscall(SYS_futex, &control->bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void hmci_wake(int pe, hmci_sleep_t reason) { wake(hmci_control_of(pe), reason); }
void hmc_shmem_wake(int pe) { hmci_wake(pe, HMCI_FOR_MEMORY); }

void hmci_wake_sleeper(void *user) {
  (void)user;
  if (!__atomic_load_n(&hmci_pe.part, __ATOMIC_ACQUIRE)) return; /* partner: make_parts */
  atomic_thread_fence(memory_order_seq_cst);                     /* partner: the store of `asleep` */
  if (atomic_load(&hmci_my_control()->asleep[HMCI_FOR_FLAG]) && is_awaited()) hmci_wake(hmci_pe.me, HMCI_FOR_FLAG);
  hmci_ring(hmci_pe.me, HMCI_FOR_MEMORY);
}

void hmci_ring_all(hmci_sleep_t reason) {
  atomic_thread_fence(memory_order_seq_cst); /* partner: the store of `asleep` */
  if (hmci_pe.n_locals < 2) return;
  if (!atomic_load_explicit(&hmci_control_of(hmci_pe.locals[0])->sleepers[reason], memory_order_relaxed)) return;
  for (int i = 0; i < hmci_pe.n_locals; i++) {
    hmci_control_t *control = hmci_control_of(hmci_pe.locals[i]);
    if (atomic_load_explicit(&control->asleep[reason], memory_order_relaxed)) wake(control, reason);
  }
}
