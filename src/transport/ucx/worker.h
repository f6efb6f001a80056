/* A UCX worker: what moves it, and the pipes that live in it.
 *
 * Who moves it. UCX does nothing by itself. A thread that waits for an operation polls the worker (it is a driver
 * then); while none does, and something is in progress (`wanted`), the service loop polls it, for as long as the loop
 * spins, and then arms it and sleeps. Arming costs system calls at both ends, so it is done before sleeping and not
 * after every message.
 *
 * Invariants, whenever `lock` is free (outside the loop's own round; there, at its end):
 *   attention == wanted && drivers == 0 && !napping
 *   enabled   == attention                                    the loop watches the descriptor of UCX
 *   signalled == (attention && !armed) || some pipe is ready  the loop is called at once, again and again
 *   armed: nothing was moved since ucp_worker_arm succeeded, and it was polled since, so UCX makes its descriptor
 *          readable when something comes
 *
 * Locking. `lock` guards everything in here, in the pipes, and every call of UCX on the worker; UCX calls back under
 * it. It is inner to the locks of requesters and responders, and so their `ready` is called without it, by the loop's
 * thread alone. */
#ifndef HMCI_UCX_WORKER_H
#define HMCI_UCX_WORKER_H

#include "../../base/loop.h"
#include "fabric.h"

#include <pthread.h>

typedef struct hmci_ucx_pipe hmci_ucx_pipe_t;
typedef struct hmci_ucx_worker hmci_ucx_worker_t;

struct hmci_ucx_worker {
  const hmci_ucx_library_t *ucx;
  ucp_worker_h handle;
  hmci_ucx_fabric_t *fabric; /* whose lanes move with it; NULL: none */

  hmci_loop_t *loop;
  uint64_t spin;
  /* Is anything in progress? NULL: always. Called without `lock`. */
  bool (*busy)(void *argument);
  void *argument;
  hmci_watch_t events; /* on an epoll set with UCX's descriptor, and those of the fabric */
  hmci_watch_t awake;  /* on an eventfd that is readable while `signalled` */
  hmci_timer_t nap;

  pthread_mutex_t lock;
  bool wanted, armed, enabled, signalled, napping;
  bool stepping; /* the loop is in its round */
  uint32_t drivers;
  uint64_t wishes;         /* counts what sets `wanted` */
  uint64_t linger;         /* it is wanted until then */
  uint64_t polls, moves;   /* calls of ucp_worker_progress, and those that moved something */
  uint64_t moved_at;       /* when the loop, or arming, last saw something move */
  uint32_t fruitless;      /* how often in a row it was woken for nothing */
  hmci_ucx_pipe_t **pipes; /* by number; NULL: free */
  uint32_t pipe_room;
  hmci_list_t ready;                            /* pipes whose reader is to be called */
  hmci_ucx_pipe_t *hot;                         /* the one called last */
  hmci_list_t spare_small, spare_large, posted; /* frames, see pipe.c */
  uint64_t staged;                              /* bytes of the frames that UCX holds */
  uint32_t starved;                             /* pipes that found no room among them */
  hmci_list_t listeners, strangers;             /* see listener.c */
  uint32_t stranger_count;
  bool has_dead; /* some strangers are to be closed */
};

/* Makes a worker and takes it into the loop. `busy` NULL: it is wanted for ever. */
hmc_status_t hmci_ucx_worker_open(hmci_ucx_worker_t *worker, const hmci_ucx_library_t *ucx, ucp_context_h context,
                                  hmci_loop_t *loop, uint64_t spin, bool (*busy)(void *argument), void *argument);
/* All its pipes must be closed. NULL handle: it was never opened. */
void hmci_ucx_worker_close(hmci_ucx_worker_t *worker);

/* With `lock` held: moves what can move; true when something did. */
bool hmci_ucx_worker_poll(hmci_ucx_worker_t *worker);
/* The same for a thread that drives it: what came for others, whom nobody attends, calls the loop. */
bool hmci_ucx_worker_drive(hmci_ucx_worker_t *worker);
/* With `lock` held: arms it; false: it is not armed. Polls it then, for an RDMA device tells only of what comes after
 * it was armed, and UCX does not look whether something came just before. */
bool hmci_ucx_worker_arm(hmci_ucx_worker_t *worker);
/* With `lock` held: restores the invariants. Does nothing while the loop is in its round, which ends with it. */
void hmci_ucx_worker_update(hmci_ucx_worker_t *worker);
/* Something is in progress that nobody waits for: the loop is to look after it. */
void hmci_ucx_worker_want(hmci_ucx_worker_t *worker);
/* The same, but within 200 us and not at once: a program that starts several operations and waits for one after the
 * other is back before that, and the loop would only take his processor. */
void hmci_ucx_worker_want_soon(hmci_ucx_worker_t *worker);
/* A thread that has moved it is through; what is left, if any, is the loop's, but not at once. */
void hmci_ucx_worker_spare(hmci_ucx_worker_t *worker);
/* With `lock` held: it is wanted for a moment, for something was closed and UCX tidies up when it is polled. */
void hmci_ucx_worker_linger(hmci_ucx_worker_t *worker);
/* Perhaps it no longer is. */
void hmci_ucx_worker_review(hmci_ucx_worker_t *worker);

#endif
