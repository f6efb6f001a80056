/* The profiling interface of OpenSHMEM: every routine as pshmem_*, for tools that define shmem_* routines of their own.
 * Nothing is inlined where this header comes first, so that each call can be watched. */
#ifndef PSHMEM_H
#define PSHMEM_H

#ifndef SHMEM_NO_INLINE
#define SHMEM_NO_INLINE
#endif

#include <shmem.h>
#include <shmem/profiling.h>

#endif
