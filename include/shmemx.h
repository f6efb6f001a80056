/* Extensions of OpenSHMEM, under the name that programs expect. There are none in C: what HMC has beyond the specification
 * comes with <shmem.h> and <shmem/device.h>. */
#ifndef SHMEMX_H
#define SHMEMX_H

#include <shmem.h>

#endif
