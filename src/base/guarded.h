/* Copies to and from memory that may not be there: a region over memory that its owner has unmapped or protected
 * meanwhile, or that never was any. The kernel looks, and says so; a plain copy would end the process.
 *
 * A copy by the kernel costs a call, so memory that HMC itself keeps mapped is copied plainly. */
#ifndef HMCI_GUARDED_H
#define HMCI_GUARDED_H

#include "base.h"

#include <sys/uio.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

/* False: some of the bytes on the doubtful side could not be read, or written; those before them may have been. Any
 * thread. */
bool hmci_guarded_read(void *to, const void *doubtful, uint64_t size);
bool hmci_guarded_write(void *doubtful, const void *from, uint64_t size);

/* The same of all bytes of some parts, in their order, into one place, or from one. */
bool hmci_guarded_gather(void *to, const struct iovec *doubtful, int count);
bool hmci_guarded_scatter(const struct iovec *doubtful, int count, const void *from);

/* True where an atomic may change an aligned word of 4 bytes or more. */
bool hmci_guarded_is_word(void *doubtful);

/* True where every page of a range can be read, or written, now: a call for each page. */
bool hmci_guarded_is_there(const void *doubtful, uint64_t size);
bool hmci_guarded_is_writable(void *doubtful, uint64_t size);

#pragma GCC visibility pop

#endif
