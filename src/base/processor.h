/* Processors: is there more than one to run on, and does the other end of a connection run on this one?
 *
 * Polling for an answer is worth it only where the thread that gives it runs meanwhile. On one processor, or where the
 * scheduler has put both ends on one, it keeps the other end from running: then who waits sleeps at once. */
#ifndef HMCI_PROCESSOR_H
#define HMCI_PROCESSOR_H

#include "base.h"

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

/* True where both ends of a host have to share one processor: the host has no other, or the control group gives no time
 * for two. A process that is bound to one is not such a case: its peer may be bound to another. Looks again from time
 * to time; costs a few nanoseconds. Any thread. */
bool hmci_processor_is_single(void);

/* How long to poll, in nanoseconds, before asking whether the other end shares the processor: at once where this thread
 * is bound to one. As above. */
uint64_t hmci_processor_look_after(void);

/* True where what comes in by a socket of this host is put there by the processor that this thread runs on: the other
 * end shares it. False where that is not known. */
bool hmci_processor_is_shared(int descriptor);

/* How long to poll before sleeping: `spin`, or 0 where that would be useless. */
static inline uint64_t hmci_processor_spin(uint64_t spin) { return spin && !hmci_processor_is_single() ? spin : 0; }

#pragma GCC visibility pop

#endif
