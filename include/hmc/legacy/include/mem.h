/* <mem.h>: a name of the first HMC's headers. Programs that include it add hmc/legacy/include to their search path. */
#ifndef HMC_LEGACY_MEM_H
#define HMC_LEGACY_MEM_H
#include <hmc.h>
#endif
