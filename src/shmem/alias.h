/* Profiling names: pshmem_X is another name of shmem_X, in the same object file. A tool defines shmem_X itself and calls
 * pshmem_X. */
#ifndef HMCI_SHMEM_ALIAS_H
#define HMCI_SHMEM_ALIAS_H

#define PROFILED(name) extern __typeof__(name) p##name __attribute__((alias(#name), visibility("default")))

#endif
