/* Sleeping until a word changes: the kernel's futex.
 *
 * A wait may end early, for no reason; who calls looks at the word again. Waking an address that is nobody's any more is
 * harmless. Locking: none. */
#ifndef HMCI_FUTEX_H
#define HMCI_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

/* PRIVATE: all who use the word are threads of this process. SHARED: it lies in memory of several processes. */
typedef enum hmci_futex_reach { HMCI_FUTEX_PRIVATE, HMCI_FUTEX_SHARED } hmci_futex_reach_t;

/* Sleeps while the word has that value, for so many nanoseconds at most; HMCI_NEVER: without a limit. */
void hmci_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t nanoseconds, hmci_futex_reach_t reach);
/* Wakes all who sleep on the word. */
void hmci_futex_wake(_Atomic uint32_t *word, hmci_futex_reach_t reach);

#endif
