/* The calls of the CUDA driver that HMC makes. Names, prototypes and values as NVIDIA documents them (CUDA Driver API
 * reference manual); each was compared with a public copy of cuda.h:
 *   devices, contexts, memory, streams, events, IPC: github.com/NVIDIA/cuda-python, cuda_bindings (cydriver)
 *   cuMemcpyBatchAsync, CUmemcpyAttributes: github.com/InternLM/lmdeploy, src/turbomind/core/copy.cc, which has them of
 *   cudaTypedefs.h (PFN_cuMemcpyBatchAsync_v12080); without its failIdx from CUDA 13 on (..._v2)
 * A CUdeviceptr is an address of 64 bits, which is a pointer here. */
#ifndef HMCI_CUDA_API_H
#define HMCI_CUDA_API_H

#include "../memory.h"

#include <stddef.h>
#include <stdint.h>

typedef struct cuda_location {
  int type; /* 1: a device */
  int id;
} cuda_location_t;

typedef struct cuda_allocation {
  int type;         /* 1: pinned */
  int handle_types; /* 1: a descriptor */
  cuda_location_t location;
  void *windows;
  struct {
    unsigned char compression, gpu_direct_rdma;
    unsigned short usage;
    unsigned char reserved[4];
  } flags;
} cuda_allocation_t;

typedef struct cuda_access {
  cuda_location_t location;
  int flags; /* 3: read and write */
} cuda_access_t;

typedef struct cuda_copy_attributes {
  int source_order; /* 1: as the stream has it */
  cuda_location_t source_hint, destination_hint;
  unsigned flags;
} cuda_copy_attributes_t;

typedef struct cuda_copy_2d {
  size_t source_x, source_y;
  int source_type; /* 1: host, 2: device */
  const void *source_host;
  const void *source_device;
  void *source_array;
  size_t source_pitch;
  size_t destination_x, destination_y;
  int destination_type;
  void *destination_host;
  void *destination_device;
  void *destination_array;
  size_t destination_pitch;
  size_t width, height;
} cuda_copy_2d_t;

typedef struct cuda_ipc_handle {
  unsigned char bytes[64];
} cuda_ipc_handle_t;

typedef struct cuda_functions {
  int (*init)(unsigned flags);
  int (*version)(int *version);
  int (*device_count)(int *count);
  int (*device_get)(int *device, int ordinal);
  int (*device_name)(char *name, int size, int device);
  int (*device_bytes)(size_t *bytes, int device);
  int (*device_pci)(char *text, int size, int device);
  int (*device_attribute)(int *value, int attribute, int device);
  int (*error_string)(int error, const char **text);

  int (*context_retain)(void **context, int device);
  int (*context_state)(int device, unsigned *flags, int *active);
  int (*context_push)(void *context);
  int (*context_pop)(void **context);

  int (*allocate)(void **pointer, size_t size);
  int (*free)(void *pointer);
  int (*memory_info)(size_t *free_bytes, size_t *total_bytes);
  int (*set)(void *pointer, unsigned char value, size_t size, void *stream);
  int (*copy_from_host)(void *to, const void *from, size_t size, void *stream);
  int (*copy_to_host)(void *to, const void *from, size_t size, void *stream);
  int (*copy_within)(void *to, const void *from, size_t size, void *stream);
  int (*copy_2d)(const cuda_copy_2d_t *copy, void *stream);
  int (*batch)(void **to, void **from, size_t *sizes, size_t count, cuda_copy_attributes_t *attributes,
               size_t *attribute_of, size_t attribute_count, size_t *failed, void *stream);
  int (*batch_13)(void **to, const void **from, size_t *sizes, size_t count, cuda_copy_attributes_t *attributes,
                  size_t *attribute_of, size_t attribute_count, void *stream);

  int (*stream_create)(void **stream, unsigned flags);
  int (*stream_destroy)(void *stream);
  int (*stream_wait)(void *stream);
  int (*event_create)(void **event, unsigned flags);
  int (*event_destroy)(void *event);
  int (*event_record)(void *event, void *stream);
  int (*event_query)(void *event);

  int (*pin)(void *pointer, size_t size, unsigned flags);
  int (*unpin)(void *pointer);
  int (*host_allocate)(void **pointer, size_t size, unsigned flags);
  int (*host_free)(void *pointer);

  int (*attributes)(unsigned count, const int *attributes, void **values, const void *pointer);
  int (*ipc_get)(cuda_ipc_handle_t *handle, void *pointer);
  int (*ipc_open)(void **pointer, cuda_ipc_handle_t handle, unsigned flags);
  int (*ipc_close)(void *pointer);

  int (*granularity)(size_t *granule, const cuda_allocation_t *allocation, int option);
  int (*create)(unsigned long long *handle, size_t size, const cuda_allocation_t *allocation, unsigned long long flags);
  int (*release)(unsigned long long handle);
  int (*retain)(unsigned long long *handle, void *pointer);
  int (*reserve)(void **pointer, size_t size, size_t alignment, void *wanted, unsigned long long flags);
  int (*unreserve)(void *pointer, size_t size);
  int (*map)(void *pointer, size_t size, size_t offset, unsigned long long handle, unsigned long long flags);
  int (*unmap)(void *pointer, size_t size);
  int (*set_access)(void *pointer, size_t size, const cuda_access_t *access, size_t count);
  int (*export_handle)(void *shareable, unsigned long long handle, int type, unsigned long long flags);
  int (*import_handle)(unsigned long long *handle, void *shareable, int type);
  int (*range_handle)(void *handle, void *pointer, size_t size, int type, unsigned long long flags);

  int (*can_access)(int *can, int device, int peer);
  int (*enable_peer)(void *context, unsigned flags);
  int (*flush_writes)(int target, int scope);

  int (*module_load)(void **module, const void *image);
  int (*module_function)(void **function, void *module, const char *name);
  int (*launch)(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                unsigned block_z, unsigned shared, void *stream, void **parameters, void **extra);
} cuda_functions_t;

extern cuda_functions_t hmci_cuda;

/* An error of the driver's as a status with a text. */
hmc_status_t hmci_cuda_told(int error, const char *call);

/* gather.c: many small copies by one kernel. HMC_UNSUPPORT: it is not to be used for these. */
hmc_status_t hmci_cuda_gather(int device, const hmci_copy_piece_t *pieces, uint32_t count, void *stream);

#endif
