/* Workers: threads of a context that move the bytes of large requests to and from mapped regions, and to and from those
 * that a transport moves by a thread which waits (its `move`), so that the call which starts such a request returns at
 * once, and it can be cancelled.
 *
 * A request's bytes are taken in pieces, by the workers and by threads that wait for the request, in parallel. Who
 * finishes the last piece goes on with the chain. Stopping one drops the pieces that nobody has taken; copies under way
 * are finished, what a transport moves ends early, and then the request ends with the status it was stopped with. So
 * does one of whose pieces one fails.
 *
 * Locking: `lock` guards all. It is inner to the shards' locks, and no copy and no transport's call is made under it. */
#ifndef HMCI_WORK_H
#define HMCI_WORK_H

#include "../base/base.h"

#include <pthread.h>
#include <stdatomic.h>

struct hmc_request;

enum {
  HMCI_WORKERS = 4,            /* most threads */
  HMCI_WORK_LEAST = 128 << 10, /* bytes from which on a copy is theirs */
};

/* COPYING: there are pieces to be taken, or under way. GOING_ON: all are done, and one thread is on the way to end the
 * request, or to hand its rest to the transport. OVER: no thread of the workers touches it any more. */
typedef enum hmci_work_phase { HMCI_WORK_OVER = 0, HMCI_WORK_COPYING, HMCI_WORK_GOING_ON } hmci_work_phase_t;

/* What a request has for it. */
typedef struct hmci_work {
  hmci_list_t link;       /* workers->jobs, while there are pieces to be taken */
  _Atomic uint32_t phase; /* changes with `lock`, but for the last step to OVER */
  uint32_t active;        /* pieces under way */
  uint32_t index;         /* the next piece: segment, */
  uint64_t offset;        /* and place in it */
  int status;             /* not HMC_SUCCESS: it was stopped, or has failed */
  bool moved;             /* constant: by the transport, not by a copy here */
} hmci_work_t;

typedef struct hmci_workers {
  pthread_mutex_t lock;
  pthread_cond_t wanted;
  hmci_list_t jobs;
  pthread_t threads[HMCI_WORKERS];
  uint32_t count; /* of threads */
  bool tried;     /* to start them */
  bool ending;
} hmci_workers_t;

void hmci_workers_open(hmci_workers_t *workers);
/* Ends the threads; nothing is to be copied any more. */
void hmci_workers_close(hmci_workers_t *workers);

/* Gives a request's data to the workers; `moved`: the transport moves them. False: there are no workers. */
bool hmci_work_start(struct hmc_request *request, bool moved);
/* Takes pieces of that request until none are left, or that moment has passed. In the loop's thread, where no transport
 * may wait, at most copies. */
void hmci_work_help(struct hmc_request *request, uint64_t limit);
/* Stops the copying. True: it was under way, and ends the request by itself, maybe a moment later. False: it is over,
 * and what the request has left is the transport's. */
bool hmci_work_stop(struct hmc_request *request, int status);
/* Waits until no worker touches the request any more, which is complete. */
void hmci_work_leave(struct hmc_request *request);

#endif
