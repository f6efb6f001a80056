/* The bell of those who wait for a signal (core/signal.c): rung by a thread that changes a word for a peer.
 *
 * Locking: none; see core/signal.c for the order. */
#ifndef HMCI_BELL_H
#define HMCI_BELL_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct hmci_bell {
  _Alignas(64) _Atomic uint32_t waiters;
  _Atomic uint32_t number; /* a futex; rings by changing */
} hmci_bell_t;

extern hmci_bell_t hmci_bell;

void hmci_bell_wake(void);

/* The word has been changed. Any lock. */
static inline void hmci_bell_ring(void) {
  if (atomic_load(&hmci_bell.waiters)) hmci_bell_wake();
}

#endif
