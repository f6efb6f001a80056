/* OpenSHMEM 1.6 over HMC: a partitioned global address space of N processing elements (PEs).
 *
 * Include this header alone. It gives the C interface, in C11 the generic names (shmem_put and its kin), in C++ their
 * overloads, and in C++ also the host interface of SHMEM for Ascend (aclshmem_*, <shmem/ascend.hpp>). Every routine also
 * exists under its profiling name (pshmem_*, <shmem/profiling.h>).
 *
 * What goes for all routines: PEs are numbered from 0 to shmem_n_pes() - 1; a symmetric address is one inside the
 * symmetric heap or of a global or static variable of the executable; misuse is undefined behaviour, and ends the job
 * with a text under SHMEM_DEBUG or HMC_SHMEM_CHECK=1. Threads: any number, at any level. */
#ifndef SHMEM_H
#define SHMEM_H

#include <shmem/types.h>

#include <shmem/library.h>

#include <shmem/memory.h>

#include <shmem/teams.h>

#include <shmem/rma.h>

#include <shmem/atomics.h>

#include <shmem/sync.h>

#include <shmem/collectives.h>

#include <shmem/deprecated.h>

#include <shmem/profiling.h>

#ifdef __cplusplus
#include <shmem/overloads.hpp>

#include <shmem/ascend.hpp>
#else
#include <shmem/generic.h>
#endif

#endif
