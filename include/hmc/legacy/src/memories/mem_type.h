/* "../src/memories/mem_type.h": the first HMC's own programs include it, and use nothing of it but what <hmc.h> has. */
#ifndef HMC_LEGACY_MEM_TYPE_H
#define HMC_LEGACY_MEM_TYPE_H
#include <hmc.h>
#endif
