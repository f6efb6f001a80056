/* "../src/resource_manager/gpu_interface.h": as mem_type.h. */
#ifndef HMC_LEGACY_GPU_INTERFACE_H
#define HMC_LEGACY_GPU_INTERFACE_H
#include <hmc.h>
#endif
