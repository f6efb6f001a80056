/* Setups: connecting to a peer and opening its regions, as requests.
 *
 * A setup is the blocking call, run by a thread of the context's own; there are as many threads as setups in progress,
 * up to HMCI_SETUP_THREADS, and what comes then waits for its turn. Its request ends when the call returns, or earlier,
 * by a cancel or its deadline: then the thread is asked to give up (base/stop.h), and what it brings after that is
 * closed again.
 *
 * Locking: `lock` guards all. It is held while a request is completed, and while a thread is asked to stop; it lies
 * where `request_lock` does. */
#ifndef HMCI_SETUP_H
#define HMCI_SETUP_H

#include "../base/stop.h"

#include <hmc/operation.h>
#include <pthread.h>

enum { HMCI_SETUP_THREADS = 64 };

typedef struct hmci_setup_thread {
  pthread_t thread;
  hmci_stop_t stop;
  struct hmci_setups *setups;
} hmci_setup_thread_t;

typedef struct hmci_setups {
  pthread_mutex_t lock;
  pthread_cond_t wanted, left; /* there is something to do, or all is to end; a thread has finished one */
  hmci_list_t waiting, running;
  uint32_t waiting_count;
  hmci_setup_thread_t *threads[HMCI_SETUP_THREADS];
  uint32_t count, idle;
  bool ending;
} hmci_setups_t;

struct hmc_peer;

void hmci_setups_open(hmci_setups_t *setups);
/* Ends those of one peer; `wait`: no thread uses the peer any more when it returns. */
void hmci_setups_end(hmci_setups_t *setups, const struct hmc_peer *peer, hmc_status_t status, bool wait);
/* Ends all, and the threads: nothing is set up any more when it returns. */
void hmci_setups_stop(hmci_setups_t *setups);
void hmci_setups_close(hmci_setups_t *setups);

#endif
