/* Workers: threads of a context that move the bytes of large requests and of a queue's flights to and from mapped regions, and to and from those
 * that a transport moves by a thread which waits (its `move`), so that the call which starts such a request returns at
 * once, and it can be cancelled.
 *
 * A work is the first operation of either. Its bytes are taken in pieces, by the workers and by threads that wait for it,
 * in parallel. Who finishes the last piece goes on with what comes behind. Stopping one drops the pieces that nobody
 * has taken; copies in progress are finished, what a transport moves ends early, and then it ends with the status it
 * was stopped with. So does one of whose pieces one fails.
 *
 * Locking: `lock` guards all. It is inner to the shards' locks, and no copy and no transport's call is made under it. */
#ifndef HMCI_WORK_H
#define HMCI_WORK_H

#include "../base/base.h"

#include <pthread.h>
#include <stdatomic.h>

struct hmc_peer;
struct hmci_operation;
typedef struct hmci_work hmci_work_t;
typedef struct hmci_workers hmci_workers_t;

enum {
  HMCI_WORKERS = 4,            /* most threads */
  HMCI_WORK_LEAST = 128 << 10, /* bytes from which on a copy is theirs */
  HMCI_WORK_PIECE = 1 << 20,   /* bytes that one thread takes at a time */
};

/* COPYING: there are pieces to be taken, or in progress. GOING_ON: all are done, and one thread is on the way to end
 * the request, or to hand its rest to the transport. OVER: no thread of the workers touches it any more. */
typedef enum hmci_work_phase { HMCI_WORK_OVER = 0, HMCI_WORK_COPYING, HMCI_WORK_GOING_ON } hmci_work_phase_t;

/* What a request or a flight has for it. */
struct hmci_work {
  hmci_list_t link;       /* workers->jobs, while there are pieces to be taken */
  hmci_list_t member;     /* workers->works, until it is OVER */
  _Atomic uint32_t phase; /* changes with `lock` */
  uint32_t active;        /* pieces in progress */
  uint32_t index;         /* the next piece: segment, */
  uint64_t offset;        /* and place in it */
  int status;             /* not HMC_SUCCESS: it was stopped, or has failed */

  /* Constant from its start to its end. */
  hmci_workers_t *workers;
  struct hmci_operation *operation; /* whose bytes are moved; `parts` of it are the transport's */
  struct hmc_peer *peer;
  uint8_t *mapped; /* where the remote region is here; NULL: the transport moves the bytes */
  void (*go_on)(hmci_work_t *work, hmc_status_t status); /* all pieces are done: ends the operation, and goes on */
};

struct hmci_workers {
  pthread_mutex_t lock;
  pthread_cond_t wanted;
  hmci_list_t jobs, works;
  pthread_t threads[HMCI_WORKERS];
  uint32_t count; /* of threads */
  bool tried;     /* to start them */
  bool ending;
};

void hmci_workers_open(hmci_workers_t *workers);
/* Ends the threads; nothing is to be copied any more. */
void hmci_workers_close(hmci_workers_t *workers);

/* Once, before a work is started for the first time. */
void hmci_work_init(hmci_work_t *work);
/* Gives an operation to the workers; the constant fields but for `workers` are set. False: there are no workers. Else it
 * may be over when this returns. */
bool hmci_work_start(hmci_workers_t *workers, hmci_work_t *work);
/* Takes pieces of a work until none are left, or that moment has passed; what a transport moves may take longer. `in_loop`: this is the loop's thread, where no
 * transport may wait: copies at most. */
void hmci_work_help(hmci_work_t *work, uint64_t limit, bool in_loop);
/* Stops a work. True: it was in progress, and ends by itself, maybe a moment later. False: it is over, and what comes
 * behind is the transport's. */
bool hmci_work_stop(hmci_work_t *work, hmc_status_t status);
/* Waits until no worker touches it any more; its operation is complete. */
void hmci_work_leave(hmci_work_t *work);
/* Stops all works to a peer; `wait`: they are over when it returns. */
void hmci_works_end(hmci_workers_t *workers, const struct hmc_peer *peer, hmc_status_t status, bool wait);

#endif
