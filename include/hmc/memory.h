/* Memories: where bytes live. A memory is a kind and a device; every call takes it by value.
 *
 * Pointers to device memory are opaque to the host: reading or writing through them faults. Bytes get in and out by
 * hmc_memory_copy, which is complete when the call returns, or queued on a stream. All calls are thread-safe. No call
 * changes the calling thread's current device or context, and none but those that name a stream waits for streams of the
 * program's own. */
#ifndef HMC_MEMORY_H
#define HMC_MEMORY_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hmc_memory_kind {
  HMC_MEMORY_DEFAULT = 0, /* the first accelerator that works here, else CPU */
  HMC_MEMORY_CPU = 1,
  HMC_MEMORY_NVIDIA_GPU = 2,
  HMC_MEMORY_AMD_GPU = 3,
  HMC_MEMORY_CAMBRICON_MLU = 4,
  HMC_MEMORY_HUAWEI_ASCEND_NPU = 5,
  HMC_MEMORY_MOORE_GPU = 6,
  HMC_MEMORY_SIM =
      7, /* an accelerator in software: HMC_SIM_DEVICES, HMC_SIM_BANDWIDTH, HMC_SIM_LATENCY; never the default */
} hmc_memory_kind_t;

typedef struct hmc_memory {
  hmc_memory_kind_t kind;
  int device; /* 0 .. hmc_memory_devices() - 1; CPU has one device */
} hmc_memory_t;

/* What a pointer points to. */
typedef struct hmc_memory_info {
  size_t size; /* sizeof(hmc_memory_info_t); the caller sets it */
  hmc_memory_t memory;
  void *base;   /* start of the allocation, or NULL where the platform does not say (plain host memory) */
  size_t bytes; /* from `base` on; 0 where not known */
} hmc_memory_info_t;
#define HMC_MEMORY_INFO_INIT HMC_SIZED_INIT(hmc_memory_info_t)

/* "cpu", "nvidia", "amd", "mlu", "ascend", "moore", "sim", "default"; "unknown" otherwise. Static storage. */
HMC_API const char *hmc_memory_kind_name(hmc_memory_kind_t kind);

/* The kind with that name. Errors: HMC_NOT_FOUND. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_kind_parse(const char *name, hmc_memory_kind_t *kind);

/* The number of devices of a kind that work here. HMC_UNSUPPORT, and *devices untouched, where the kind does not work
 * here at all; the text says what is missing (driver, library, device). */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_devices(hmc_memory_kind_t kind, int *devices);

/* Resolves HMC_MEMORY_DEFAULT to the kind it stands for here and checks the device number.
 * Errors: HMC_UNSUPPORT, HMC_NOT_FOUND (no such device). */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_resolve(hmc_memory_t memory, hmc_memory_t *resolved);

/* Allocates `size` bytes, aligned to at least 256. Ownership: the caller's, until hmc_memory_free with the same memory.
 * Errors: HMC_INVALID_CONFIG (size 0, pointer NULL), HMC_UNSUPPORT, HMC_NOT_FOUND, HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_allocate(hmc_memory_t memory, size_t size, void **pointer);

/* Frees what hmc_memory_allocate gave; NULL is allowed. Errors: HMC_NOT_FOUND (not a live allocation of that
 * memory). */
HMC_API hmc_status_t hmc_memory_free(hmc_memory_t memory, void *pointer);

/* Copies `size` bytes between any two memories of this process, in any direction (host to device, device to host,
 * device to device, between kinds through the host). The ranges must not overlap unless both lie in one memory.
 * Errors: HMC_INVALID_CONFIG (NULL with size > 0), HMC_OUT_OF_RANGE (past a device allocation), HMC_UNSUPPORT. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_copy(void *destination, hmc_memory_t destination_memory, const void *source,
                                                 hmc_memory_t source_memory, size_t size);

/* A stream of a device: the vendor's own handle (CUstream or cudaStream_t, hipStream_t, cnrtQueue_t, musaStream_t,
 * aclrtStream), or one of hmc_memory_stream_create. NULL is the device's default stream. */
typedef void *hmc_memory_stream_t;

/* Queues a copy of `size` bytes on a stream, behind the work that the stream has, and returns. The stream is one of the
 * source's device, or of the destination's where the source is host memory; the other side is the host, or memory of the
 * same kind that the device reaches.
 * Completion: as of anything queued on that stream (hmc_memory_stream_wait, or the vendor's own calls). Ownership: both
 * ranges stay as they are until then. Threads: any. Blocking: no, but a driver may copy pageable host memory at once.
 * Errors: HMC_INVALID_CONFIG (NULL with size > 0; both sides are host memory), HMC_OUT_OF_RANGE, HMC_UNSUPPORT (the kind
 * has no streams; two kinds of device memory). */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_copy_async(void *destination, hmc_memory_t destination_memory,
                                                       const void *source, hmc_memory_t source_memory, size_t size,
                                                       hmc_memory_stream_t stream);

/* Makes a stream that does not wait for the default one. Ownership: the caller's, until hmc_memory_stream_destroy, which
 * waits for its work. Threads: any. Errors: HMC_UNSUPPORT, HMC_NOT_FOUND (device), HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_stream_create(hmc_memory_t memory, hmc_memory_stream_t *stream);
HMC_API hmc_status_t hmc_memory_stream_destroy(hmc_memory_t memory, hmc_memory_stream_t stream);

/* Returns when all that was queued on the stream is done. Blocking: yes, without a deadline: what is queued may be the
 * user's. Errors: that of the first piece of work that failed. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_stream_wait(hmc_memory_t memory, hmc_memory_stream_t stream);

/* As hmc_memory_allocate, for memory that processes of this host are to map, and devices and network adapters to reach,
 * as far as the platform can. Freed by hmc_memory_free. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_allocate_peerable(hmc_memory_t memory, size_t size, void **pointer);

/* Host memory that the device copies to and from at its full speed (pinned), on the device's NUMA node where it has one.
 * Ownership: the caller's, until hmc_memory_host_free with the same memory. For the CPU it is plain memory.
 * Threads: any. Errors: HMC_INVALID_CONFIG (size 0, pointer NULL), HMC_UNSUPPORT, HMC_NOT_FOUND, HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_host_allocate(hmc_memory_t memory, size_t size, void **pointer);
HMC_API hmc_status_t hmc_memory_host_free(hmc_memory_t memory, void *pointer);

/* Pins host memory that the caller has, for the device of `memory`, until hmc_memory_unpin with the same pointer. The
 * memory must stay allocated that long. Drivers pin whole pages and may refuse a range that shares one with another.
 * Threads: any. Errors: HMC_INVALID_CONFIG (NULL, size 0, pinned already), HMC_UNSUPPORT, HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_pin(hmc_memory_t memory, void *pointer, size_t size);
HMC_API HMC_CHECKED hmc_status_t hmc_memory_unpin(hmc_memory_t memory, void *pointer);

/* What a device's memory can do, as far as the driver and this build know. */
#define HMC_MEMORY_IPC 1u      /* processes of this host can map it */
#define HMC_MEMORY_DMABUF 2u   /* adapters reach it by dma-buf */
#define HMC_MEMORY_PEERABLE 4u /* hmc_memory_allocate_peerable gives memory of its own physical pages */
#define HMC_MEMORY_STREAMS 8u  /* copies can be queued on streams */
#define HMC_MEMORY_PINNING 16u /* host memory can be pinned for it */
#define HMC_MEMORY_BATCHES 32u /* many copies are one submission */

typedef struct hmc_memory_properties {
  size_t size; /* of this struct, as the caller knows it */
  hmc_memory_t memory;
  char name[64];        /* the device's, as the vendor gives it */
  char driver[64];      /* the runtime that serves it, with its version; empty for the CPU */
  char pci[16];         /* "0000:c1:00.0", or empty */
  int numa_node;        /* of the device, -1: not known, or only one */
  uint64_t total_bytes; /* 0: not known */
  uint64_t free_bytes;
  unsigned features; /* HMC_MEMORY_* */
} hmc_memory_properties_t;

#define HMC_MEMORY_PROPERTIES_INIT HMC_SIZED_INIT(hmc_memory_properties_t)

/* Describes a device. `properties->size` says how much of the struct the caller knows.
 * Threads: any. Errors: HMC_INVALID_CONFIG (NULL, size 0), HMC_UNSUPPORT, HMC_NOT_FOUND (no such device). */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_get_properties(hmc_memory_t memory, hmc_memory_properties_t *properties);

/* How a device reaches the memory of another, from the nearest to the farthest. */
typedef enum hmc_memory_link {
  HMC_MEMORY_LINK_SELF = 0,   /* the same memory */
  HMC_MEMORY_LINK_DIRECT = 1, /* it reads and writes it by itself */
  HMC_MEMORY_LINK_NODE = 2,   /* through host memory of one NUMA node */
  HMC_MEMORY_LINK_SYSTEM = 3, /* through host memory of two NUMA nodes, or of nodes that are not known */
} hmc_memory_link_t;

/* Threads: any. Errors: HMC_INVALID_CONFIG (NULL), HMC_UNSUPPORT, HMC_NOT_FOUND (no such device). */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_get_link(hmc_memory_t memory, hmc_memory_t other, hmc_memory_link_t *link);

/* "self", "direct", "node", "system"; "unknown" otherwise. Static storage. */
HMC_API const char *hmc_memory_link_name(hmc_memory_link_t link);

/* Tells which memory a pointer belongs to; a pointer that no accelerator knows is host memory.
 * Errors: HMC_INVALID_CONFIG (NULL, or `info` has no size). */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_query(const void *pointer, hmc_memory_info_t *info);

#ifdef __cplusplus
}
#endif
#endif
