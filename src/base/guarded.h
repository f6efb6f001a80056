/* Copies to and from memory that may not be there: a region over memory that its owner has unmapped meanwhile, or that
 * never was any. The kernel looks, and says so; a plain copy would end the process.
 *
 * A copy by the kernel costs a call, so memory that HMC itself keeps mapped is copied plainly. */
#ifndef HMCI_GUARDED_H
#define HMCI_GUARDED_H

#include "base.h"

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

/* False: some of the bytes on the doubtful side could not be read, or written; those before them may have been. Any
 * thread. */
bool hmci_guarded_read(void *to, const void *doubtful, uint64_t size);
bool hmci_guarded_write(void *doubtful, const void *from, uint64_t size);

/* True where an atomic may change an aligned word of 4 bytes or more. */
bool hmci_guarded_is_word(void *doubtful);

/* True where a range is mapped now; one call for each MiB. */
bool hmci_guarded_is_mapped(const void *doubtful, uint64_t size);

/* True where every page of a range can be read now: a call for each page. */
bool hmci_guarded_is_there(const void *doubtful, uint64_t size);

#pragma GCC visibility pop

#endif
