/* The end of a job before its time: by shmem_global_exit, or by a PE that is gone without having left.
 *
 * SHMEM has no way to go on without a PE: the others would wait for it without end, in a call or in a loop of their own. A
 * thread of each PE sleeps until the engine reports a peer that is gone, so that it does not matter what the program does
 * meanwhile. A PE that hears of one tells all that it knows, by the verdict in their control blocks, and those tell others,
 * so that all name the PE that was lost and not one that ended for it. Nobody is overlooked: in init's last barrier each far
 * PE was dialled by those 1, 2, 4, ... before it, and each near one has dialled the first of its host. Then each waits until
 * the launcher has collected that PE, gives it a moment, because it knows how the PE ended, and ends. The thread stops before any PE leaves in order.
 *
 * Locking: none; the first thread that ends the job does it alone. */
#include "boot.h"
#include "state.h"

#include <arpa/inet.h>
#include <hmc/poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAPS 200    /* of a millisecond, until the engine says which peer it was */
#define TELL 100    /* ms; a PE that stands still does not answer */
#define GRACE 300   /* ms in which a verdict may come: the PE that is gone may have heard of it first */
#define LINGER 500  /* ms; others learn of it meanwhile, and see no loss of this PE before that */
#define ENDING 5000 /* ms; a process closes its sockets some time before its parent hears of its end */

/* ---- telling ----------------------------------------------------------------------------------------------------------- */

static uint64_t verdict_of(int status, int lost) {
  return (uint64_t)(uint32_t)(lost + 1) << 32 | ((uint32_t)(status & 0xff) + 1);
}

/* They look at it after each of their short sleeps. */
static void tell_near(uint64_t verdict) {
  for (int i = 0; i < hmci_pe.n_locals; i++) {
    int pe = hmci_pe.locals[i];
    if (pe != hmci_pe.me && hmci_pe.base[pe]) atomic_store(&hmci_control_of(pe)->verdict, verdict);
  }
}

/* By a queue of its own, because the caller may have the lock of any context. */
static void tell_far(uint64_t verdict) {
  hmc_queue_options_t options = HMC_QUEUE_OPTIONS_INIT;
  options.depth = (uint32_t)hmci_pe.n;
  hmc_queue_t *queue = NULL;
  for (int pe = 0; hmci_pe.far && pe < hmci_pe.n; pe++) {
    hmci_far_t *far = __atomic_load_n(&hmci_pe.far[pe], __ATOMIC_ACQUIRE); /* partner: far_of */
    if (!far || !far->remote) continue;
    if (!queue && hmc_queue_create(hmci_pe.context, &options, &queue) != HMC_SUCCESS) return;
    HMC_IGNORE(
        hmc_queue_atomic(queue, far->remote, offsetof(hmci_control_t, verdict), HMC_ATOMIC_STORE, 8, verdict, 0, NULL));
  }
  if (queue) HMC_IGNORE(hmc_queue_flush(queue, NULL, TELL));
}

static void tell(uint64_t verdict) {
  tell_near(verdict);
  tell_far(verdict);
}

void hmci_tell_end(int status) { tell(verdict_of(status, -1)); }

/* ---- ending ------------------------------------------------------------------------------------------------------------ */

/* One thread ends the job; others that come here wait for that. */
static void be_the_one(void) {
  static _Atomic bool taken;
  while (atomic_exchange(&taken, true)) pause();
}

static void nap(long ms) {
  struct timespec moment = {.tv_nsec = ms * 1000000};
  nanosleep(&moment, NULL);
}

/* The PE whose connection is gone, of those this one has dialled; -1: none. */
static int find_gone(void) {
  for (int pe = 0; hmci_pe.far && pe < hmci_pe.n; pe++) {
    hmci_far_t *far = __atomic_load_n(&hmci_pe.far[pe], __ATOMIC_ACQUIRE); /* partner: far_of */
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    if (far && hmc_peer_get_info(far->peer, &info) == HMC_SUCCESS && info.state == HMC_PEER_GONE) return pe;
  }
  return -1;
}

/* Waits until the launcher has collected that PE, and so knows how it ended. Without a launcher on this host it returns at
 * once. */
static void await_collected(int pe) {
  for (int i = 0; hmci_boot.one_host && i < ENDING && kill(hmci_pe.cards[pe].process, 0) == 0; i++) nap(1);
}

static void end_without(int pe, const char *why) __attribute__((noreturn));
static void end_without(int pe, const char *why) {
  be_the_one();
  char ip[INET_ADDRSTRLEN] = "";
  inet_ntop(AF_INET, hmci_pe.cards[pe].ip, ip, sizeof ip);
  fflush(stdout);
  fprintf(stderr, "shmem: PE %d: PE %d (process %d at %s) is gone (%s): the job ends with it\n", hmci_pe.me, pe,
          (int)hmci_pe.cards[pe].process, ip, why);
  tell(verdict_of(1, pe));
  await_collected(pe);
  nap(LINGER);
  hmci_end_job(1);
}

void hmci_heed_verdict(void) {
  uint64_t verdict = atomic_load(&hmci_my_control()->verdict);
  if (!verdict) return;
  int lost = (int)(verdict >> 32) - 1, status = (int)(verdict & 0xffffffff) - 1;
  if (lost >= 0 && lost < hmci_pe.n) end_without(lost, "another PE said so");
  be_the_one();
  tell(verdict);
  hmci_end_job(status); /* the launcher may not have heard of it yet from the PE that ended the job */
}

void hmci_end_without(int pe, const char *why) {
  hmci_heed_verdict(); /* this PE may have learned of another one, without which that one has ended */
  char text[512];
  snprintf(text, sizeof text, "%s", why);
  for (int i = 0; pe == hmci_pe.me && i < NAPS; i++) {
    int gone = find_gone();
    if (gone >= 0) pe = gone;
    if (gone < 0) nap(1); /* data connections end a little before the peer does */
  }
  if (pe == hmci_pe.me) return;
  for (int i = 0; i < GRACE; i++) {
    hmci_heed_verdict();
    nap(1);
  }
  end_without(pe, text);
}

/* ---- looking ----------------------------------------------------------------------------------------------------------- */

void hmci_name_context(char *name, size_t size) { snprintf(name, size, "shmem PE %d", hmci_pe.me); }

/* The PE behind a connection; -1: none of this job. */
static int pe_of(hmc_peer_t *peer) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  int pe;
  if (hmc_peer_get_info(peer, &info) != HMC_SUCCESS || sscanf(info.name, "shmem PE %d", &pe) != 1) return -1;
  return pe >= 0 && pe < hmci_pe.n && hmci_pe.cards[pe].process == info.process ? pe : -1;
}

void hmci_note_transport(hmc_peer_t *peer) {
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  if (hmc_peer_get_info(peer, &info) == HMC_SUCCESS && info.type != HMC_CONNECTION_TCP)
    atomic_store(&hmci_pe.written_silently, true);
}

/* Takes arrivals too: the engine drops, without a word, a peer that is gone before it was taken, unless somebody waits for
 * it. False where it was interrupted. */
static bool look(void) {
  unsigned kinds = HMC_EVENT_BIT(HMC_EVENT_PEER_LOST) | HMC_EVENT_BIT(HMC_EVENT_ARRIVAL);
  hmc_event_t event = HMC_EVENT_INIT;
  size_t count;
  if (hmc_poll_kinds(hmci_pe.context, kinds, &event, 1, &count, HMC_FOREVER) != HMC_SUCCESS) return false;
  if (event.kind == HMC_EVENT_ARRIVAL) hmci_note_transport(event.peer);
  int pe = event.kind == HMC_EVENT_PEER_LOST ? pe_of(event.peer) : -1;
  if (pe >= 0) hmci_end_without(pe, "it ended without shmem_finalize");
  return true;
}

static pthread_t watcher;
static bool is_watching;

static void *watch(void *unused) {
  while (look()) continue;
  return unused;
}

void hmci_watch_begin(void) {
  if (hmci_pe.n == 1) return;
  sigset_t all, before; /* the program's signals are for its own threads */
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  is_watching = pthread_create(&watcher, NULL, watch, NULL) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!is_watching) hmci_die("no thread can be started: raise the limit of threads or of memory");
}

void hmci_watch_end(void) {
  if (!is_watching) return;
  hmc_context_interrupt(hmci_pe.context);
  pthread_join(watcher, NULL);
  is_watching = false;
}
