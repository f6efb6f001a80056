/* Ending a wait of another thread: for threads that run somebody else's blocking work and may have to give it up.
 *
 * A thread follows one stop, or none. Every wait of this library that a followed stop has to end sleeps by
 * hmci_stop_poll, which returns at once when the stop is asked, and then looks at hmci_stop_is_asked.
 *
 * Threads: ask and clear by any thread, whose lock decides between them; the rest by the thread that follows. */
#ifndef HMCI_STOP_H
#define HMCI_STOP_H

#include "base.h"

#include <stdatomic.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

typedef struct hmci_stop {
  _Atomic bool asked;
  int descriptor; /* an eventfd */
} hmci_stop_t;

/* HMC_NO_MEMORY: no descriptor is left. */
hmc_status_t hmci_stop_open(hmci_stop_t *stop);
void hmci_stop_close(hmci_stop_t *stop);

/* The calling thread's waits end with this stop from now on; NULL: with none. */
void hmci_stop_follow(hmci_stop_t *stop);
/* Is the calling thread to give up? */
bool hmci_stop_is_asked(void);
/* The same where the thread is its program's own, which may have a say of its own (hmc/state.h). That runs the program's
 * code, which may wait for other threads: no lock may be held. */
bool hmci_stop_is_wanted(void);
/* May the calling thread's waits be ended at all? Those that cannot sleep by hmci_stop_poll then ask hmci_stop_is_wanted so
 * often. */
bool hmci_stop_is_possible(void);
#define HMCI_STOP_ASK_NS UINT64_C(20000000)
/* As poll() for one descriptor (-1: none), with a time in milliseconds; ends early, with any answer, when the stop is
 * asked, and now and then, as by a signal, where the thread's program wants to be asked. */
int hmci_stop_poll(int descriptor, short events, int timeout_ms);

void hmci_stop_ask(hmci_stop_t *stop);
/* It can be used again. */
void hmci_stop_clear(hmci_stop_t *stop);

#pragma GCC visibility pop

#endif
