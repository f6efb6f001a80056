/* Memories: where bytes live. A memory is a kind and a device; every call takes it by value.
 *
 * Pointers to device memory are opaque to the host: reading or writing through them faults. Use hmc_memory_copy, which
 * is complete when the call returns, or copies queued on a stream. Threads: any, for all calls. No call changes the
 * calling thread's current device or context. Only calls that name a stream wait for streams of the program. */
#ifndef HMC_MEMORY_H
#define HMC_MEMORY_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(NAME, value, "name"): the kinds of memory. DEFAULT is the first accelerator that works here, else CPU. SIM is an
 * accelerator in software (HMC_SIM_DEVICES, HMC_SIM_BANDWIDTH, HMC_SIM_LATENCY), and never the default. Values never
 * change once released. */
#define HMC_MEMORY_LIST(X)                                                                                             \
  X(DEFAULT, 0, "default")                                                                                             \
  X(CPU, 1, "cpu")                                                                                                     \
  X(NVIDIA_GPU, 2, "nvidia")                                                                                           \
  X(AMD_GPU, 3, "amd")                                                                                                 \
  X(CAMBRICON_MLU, 4, "mlu")                                                                                           \
  X(HUAWEI_ASCEND_NPU, 5, "ascend")                                                                                    \
  X(MOORE_GPU, 6, "moore")                                                                                             \
  X(SIM, 7, "sim")

typedef enum hmc_memory_kind {
#define HMC_MEMORY_ENUM(NAME, value, name) HMC_MEMORY_##NAME = value,
  HMC_MEMORY_LIST(HMC_MEMORY_ENUM)
#undef HMC_MEMORY_ENUM
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

/**
 * The name of a kind.
 *
 * \param kind The kind.
 * \return The name in HMC_MEMORY_LIST; "unknown" for any other value. Static storage.
 */
HMC_API const char *hmc_memory_kind_name(hmc_memory_kind_t kind);

/**
 * The kind with a name.
 *
 * \param name The name, as hmc_memory_kind_name gives it.
 * \param kind Gets the kind.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND No kind has that name.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_kind_parse(const char *name, hmc_memory_kind_t *kind);

/**
 * How many devices of a kind work here.
 *
 * \param kind The kind.
 * \param devices Gets their number; unchanged after a failure.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The kind does not work here; the text says what is missing (driver, library, device).
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_devices(hmc_memory_kind_t kind, int *devices);

/**
 * Replaces HMC_MEMORY_DEFAULT by the kind that it stands for here, and checks the device number.
 *
 * \param memory The memory.
 * \param resolved Gets it with its kind.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The kind does not work here.
 * \return HMC_NOT_FOUND The device does not exist.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_resolve(hmc_memory_t memory, hmc_memory_t *resolved);

/**
 * Allocates memory, zeroed and aligned to at least 256 bytes.
 *
 * Ownership: the caller's, until hmc_memory_free with the same memory.
 *
 * \param memory Which memory.
 * \param size How many bytes.
 * \param pointer Gets the address.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or size 0.
 * \return HMC_UNSUPPORT The kind does not work here.
 * \return HMC_NOT_FOUND The device does not exist.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_allocate(hmc_memory_t memory, size_t size, void **pointer);

/**
 * Frees memory of hmc_memory_allocate or hmc_memory_allocate_peerable.
 *
 * \param memory As it was allocated.
 * \param pointer The address; NULL is allowed.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND It is not a live allocation of that memory.
 */
HMC_API hmc_status_t hmc_memory_free(hmc_memory_t memory, void *pointer);

/**
 * Copies between any two memories of this process, in any direction; between different kinds of devices through the
 * host. The ranges must not overlap unless both lie in one memory. Blocking: until the copy is complete.
 *
 * \param destination Where the bytes go.
 * \param destination_memory Its memory.
 * \param source Where they are.
 * \param source_memory Its memory.
 * \param size How many bytes.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL with size > 0.
 * \return HMC_OUT_OF_RANGE The range runs past a device's allocation.
 * \return HMC_UNSUPPORT A kind does not work here.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_copy(void *destination, hmc_memory_t destination_memory, const void *source,
                                                 hmc_memory_t source_memory, size_t size);

/* A stream of a device: the vendor's own handle (CUstream or cudaStream_t, hipStream_t, cnrtQueue_t, musaStream_t,
 * aclrtStream), or one of hmc_memory_stream_create. NULL is the device's default stream. */
typedef void *hmc_memory_stream_t;

/**
 * Queues a copy on a stream, behind the work that the stream has, and returns. The stream belongs to the device of the
 * source, or to that of the destination where the source is host memory. The other side is the host, or memory of the
 * same kind that the device reaches.
 *
 * Completion: like any work on that stream (hmc_memory_stream_wait, hmc_memory_event_record, or the vendor's own
 * calls). Ownership: both ranges must stay as they are until then. Never blocks, but a driver may copy pageable host
 * memory at once.
 *
 * \param destination Where the bytes go.
 * \param destination_memory Its memory.
 * \param source Where they are.
 * \param source_memory Its memory.
 * \param size How many bytes.
 * \param stream The stream.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL with size > 0, or both sides are host memory.
 * \return HMC_OUT_OF_RANGE The range runs past a device's allocation.
 * \return HMC_UNSUPPORT The kind has no streams, or the two are different kinds of device memory.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_copy_async(void *destination, hmc_memory_t destination_memory,
                                                       const void *source, hmc_memory_t source_memory, size_t size,
                                                       hmc_memory_stream_t stream);

/**
 * Makes a stream that does not wait for the default one.
 *
 * Ownership: the caller's, until hmc_memory_stream_destroy.
 *
 * \param memory The device.
 * \param stream Gets the stream.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The kind has no streams.
 * \return HMC_NOT_FOUND The device does not exist.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_stream_create(hmc_memory_t memory, hmc_memory_stream_t *stream);

/**
 * Waits for the work of a stream and frees it.
 *
 * \param memory The device.
 * \param stream A stream of hmc_memory_stream_create.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The kind has no streams.
 * \return HMC_NOT_FOUND The device or the stream does not exist.
 */
HMC_API hmc_status_t hmc_memory_stream_destroy(hmc_memory_t memory, hmc_memory_stream_t stream);

/**
 * Waits until all work that was queued on a stream is done. Blocking: yes, without a deadline, because the work may be
 * the program's own.
 *
 * \param memory The device.
 * \param stream The stream.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The kind has no streams.
 * \return The error of the first work that failed.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_stream_wait(hmc_memory_t memory, hmc_memory_stream_t stream);

typedef struct hmc_memory_event hmc_memory_event_t;

/**
 * Records an event on a stream: it comes once all work is done that the stream has now. Operations can wait for it
 * (hmc_operation_options_t.event).
 *
 * Ownership: the caller's, until hmc_memory_event_free. Never blocks.
 *
 * \param memory The device.
 * \param stream One of its streams; NULL: the default one.
 * \param event Gets the event.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG `event` is NULL.
 * \return HMC_UNSUPPORT The kind of memory has no streams.
 * \return HMC_NOT_FOUND The device or the stream does not exist.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_event_record(hmc_memory_t memory, hmc_memory_stream_t stream,
                                                         hmc_memory_event_t **event);

/**
 * Tells whether an event has come. Never blocks.
 *
 * \param event The event.
 * \return HMC_SUCCESS It has come.
 * \return HMC_IN_PROGRESS It has not.
 * \return HMC_INVALID_CONFIG NULL.
 * \return The error of the work before it that failed.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_event_test(hmc_memory_event_t *event);

/**
 * Frees an event. It may still be to come, and operations may still wait for it: they keep it as long as they need it.
 * Never blocks.
 *
 * \param event The event; NULL is allowed.
 */
HMC_API void hmc_memory_event_free(hmc_memory_event_t *event);

/**
 * Allocates memory that other processes of this host can map, and other devices and network adapters can reach, as far
 * as the platform allows. Freed by hmc_memory_free.
 *
 * \param memory As hmc_memory_allocate.
 * \param size As hmc_memory_allocate.
 * \param pointer As hmc_memory_allocate.
 * \return As hmc_memory_allocate.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_allocate_peerable(hmc_memory_t memory, size_t size, void **pointer);

/**
 * Allocates host memory that a device copies to and from at its full speed (pinned), on the device's NUMA node where it
 * has one. For the CPU it is plain memory.
 *
 * Ownership: the caller's, until hmc_memory_host_free with the same memory.
 *
 * \param memory The device.
 * \param size How many bytes.
 * \param pointer Gets the address.
 * \return As hmc_memory_allocate.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_host_allocate(hmc_memory_t memory, size_t size, void **pointer);

/**
 * Frees memory of hmc_memory_host_allocate.
 *
 * \param memory As it was allocated.
 * \param pointer The address; NULL is allowed.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT The kind does not work here.
 */
HMC_API hmc_status_t hmc_memory_host_free(hmc_memory_t memory, void *pointer);

/**
 * Pins the caller's host memory for a device, until hmc_memory_unpin with the same pointer. The memory must stay
 * allocated until then. Drivers pin whole pages and may refuse a range that shares a page with another one.
 *
 * \param memory The device.
 * \param pointer The memory.
 * \param size Its bytes.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, size 0, or pinned already.
 * \return HMC_UNSUPPORT The kind pins no host memory.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_pin(hmc_memory_t memory, void *pointer, size_t size);

/**
 * Undoes hmc_memory_pin.
 *
 * \param memory The device.
 * \param pointer As it was pinned.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or it is not pinned.
 * \return HMC_UNSUPPORT The kind pins no host memory.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_unpin(hmc_memory_t memory, void *pointer);

/* What the memory of a device can do, as far as the driver and this build know. */
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

/**
 * Describes a device.
 *
 * \param memory The device.
 * \param properties Gets the description; begin with HMC_MEMORY_PROPERTIES_INIT.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or `properties` has no size.
 * \return HMC_UNSUPPORT The kind does not work here.
 * \return HMC_NOT_FOUND The device does not exist.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_get_properties(hmc_memory_t memory, hmc_memory_properties_t *properties);

/* How a device reaches the memory of another, from the nearest to the farthest. */
typedef enum hmc_memory_link {
  HMC_MEMORY_LINK_SELF = 0,   /* the same memory */
  HMC_MEMORY_LINK_DIRECT = 1, /* it reads and writes it by itself */
  HMC_MEMORY_LINK_NODE = 2,   /* through host memory of one NUMA node */
  HMC_MEMORY_LINK_SYSTEM = 3, /* through host memory of two NUMA nodes, or of nodes that are not known */
} hmc_memory_link_t;

/**
 * How a device reaches the memory of another.
 *
 * \param memory The device.
 * \param other The other one.
 * \param link Gets the way.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL.
 * \return HMC_UNSUPPORT A kind does not work here.
 * \return HMC_NOT_FOUND A device does not exist.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_get_link(hmc_memory_t memory, hmc_memory_t other, hmc_memory_link_t *link);

/**
 * The name of a way.
 *
 * \param link The way.
 * \return "self", "direct", "node" or "system"; "unknown" for any other value. Static storage.
 */
HMC_API const char *hmc_memory_link_name(hmc_memory_link_t link);

/**
 * Finds out which memory a pointer belongs to. A pointer that no accelerator knows is host memory.
 *
 * \param pointer The pointer.
 * \param info Gets the answer; begin with HMC_MEMORY_INFO_INIT.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or `info` has no size.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_memory_query(const void *pointer, hmc_memory_info_t *info);

#ifdef __cplusplus
}
#endif
#endif
