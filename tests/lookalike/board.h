/* A device in software, which the look-alike vendor libraries share. Each library has a copy of its own.
 *
 * Device addresses lie in ranges without any access right, so that a load or store by the host faults. The bytes are in
 * memfds mapped elsewhere; copies translate. What is queued on a stream moves no byte before somebody asks whether it is
 * done, and the first who asks hears "not yet": a wait that is missing is seen.
 *
 * Misuse is refused rather than tolerated: freed memory, a host address where a device's belongs, a stream of another
 * device, a handle opened by the process that made it, a process that forked after it had opened the library. With
 * HMC_LOOKALIKE_TRACE set, each refusal is also written to stderr.
 *
 * Settings: HMC_LOOKALIKE_DEVICES (2), HMC_LOOKALIKE_LONE (devices do not reach each other), HMC_LOOKALIKE_FLUSH (cuda: how
 * adapters' writes can be flushed; 1). Threads: any, at once. */
#ifndef LOOKALIKE_BOARD_H
#define LOOKALIKE_BOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOOKALIKE_API __attribute__((visibility("default")))

typedef enum board_status {
  BOARD_OK,
  BOARD_NOT_READY,
  BOARD_BAD_ARGUMENT,
  BOARD_BAD_DEVICE,
  BOARD_BAD_POINTER, /* in no live allocation */
  BOARD_WRONG_SIDE,  /* a host address where a device's belongs, or the other way */
  BOARD_OUT_OF_RANGE,
  BOARD_NO_MEMORY,
  BOARD_BAD_HANDLE, /* a stream, an event, an export that is none */
  BOARD_OTHER_DEVICE,
  BOARD_OWN_PROCESS, /* an export that this process made itself */
  BOARD_NO_ACCESS,   /* another device's memory without peer access, or mapped without rights */
  BOARD_ALREADY,
  BOARD_FORKED,
} board_status_t;

typedef enum board_kind {
  BOARD_DEVICE = 1, /* allocated here */
  BOARD_IMPORT,     /* another process's */
  BOARD_MAPPED,     /* physical memory mapped at a reserved address */
  BOARD_PINNED,     /* host memory that the library allocated */
  BOARD_REGISTERED, /* host memory that the user registered */
} board_kind_t;

typedef struct board_range {
  board_kind_t kind;
  void *base;
  size_t size;
  int device;
} board_range_t;

typedef enum board_direction {
  BOARD_ANY, /* as the addresses say */
  BOARD_TO_DEVICE,
  BOARD_TO_HOST,
  BOARD_WITHIN, /* device to device */
  BOARD_HOST,
} board_direction_t;

/* Does what is needed before the first call; the name of the vendor appears in traces. */
board_status_t board_open(const char *vendor);
int board_devices(void);
/* Traces a refusal and gives it back. */
board_status_t board_refuse(board_status_t status, const char *what);
/* A made-up PCI address: "0000:<vendor number + device>:00.0". */
void board_pci(int device, int *domain, int *bus, int *slot);

/* ---- memory */
board_status_t board_allocate(int device, size_t size, void **pointer);
board_status_t board_free(void *pointer);
board_status_t board_host_allocate(size_t size, void **pointer);
board_status_t board_host_free(void *pointer);
board_status_t board_host_register(void *pointer, size_t size);
board_status_t board_host_unregister(void *pointer);
/* False: plain host memory, or none. */
bool board_find(const void *pointer, board_range_t *range);
void board_usage(int device, size_t *free_bytes, size_t *total_bytes);

/* The bytes of device memory. What plays a kernel uses them; NULL where [pointer, pointer + size) is not all reachable
 * from `device`. Valid while the allocation lives. */
uint8_t *board_bytes(int device, const void *pointer, size_t size);

/* ---- peers: devices that reach each other's memory, unless HMC_LOOKALIKE_LONE is set */
bool board_peer_possible(int device, int peer);
board_status_t board_peer_enable(int device, int peer);
bool board_peer_enabled(int device, int peer);

/* ---- streams and events. NULL is the default stream of `device`. */
typedef struct board_stream board_stream_t;
typedef struct board_event board_event_t;

board_status_t board_stream_create(int device, board_stream_t **stream);
board_status_t board_stream_destroy(board_stream_t *stream);
board_status_t board_stream_query(int device, board_stream_t *stream);
board_status_t board_stream_synchronize(int device, board_stream_t *stream);
board_status_t board_device_synchronize(int device);

/* Copies between devices need peer access where `need_peer` is set. */
board_status_t board_copy(int device, void *to, const void *from, size_t size, board_direction_t direction,
                          bool need_peer);
board_status_t board_copy_async(int device, board_stream_t *stream, void *to, const void *from, size_t size,
                                board_direction_t direction, bool need_peer);
board_status_t board_fill(int device, void *to, int value, size_t size);
board_status_t board_fill_async(int device, board_stream_t *stream, void *to, int value, size_t size);
/* `work` runs when the stream comes to it. `argument` is copied. */
board_status_t board_run_async(int device, board_stream_t *stream, board_status_t (*work)(int device, void *argument),
                               const void *argument, size_t size);

board_status_t board_event_create(int device, board_event_t **event);
board_status_t board_event_destroy(board_event_t *event);
board_status_t board_event_record(int device, board_event_t *event, board_stream_t *stream);
/* An event that was never recorded is complete, as the vendors have it. */
board_status_t board_event_query(board_event_t *event);
board_status_t board_event_synchronize(board_event_t *event);
board_status_t board_stream_wait(int device, board_stream_t *stream, board_event_t *event);

/* ---- other processes */
#define BOARD_EXPORT_MAGIC UINT32_C(0x4b4f4f4c)

typedef struct board_export {
  uint32_t magic, process, descriptor, device;
  uint64_t size, inode;
} board_export_t;

board_status_t board_export(const void *pointer, board_export_t *exported); /* of the allocation that it starts */
board_status_t board_import(int device, const board_export_t *exported, void **pointer);
board_status_t board_import_close(void *pointer);

/* A descriptor of the memory that holds a range, which begins at its start: what stands in for a dma-buf. */
board_status_t board_dmabuf(const void *pointer, size_t size, int *descriptor);

/* ---- physical memory and addresses */
typedef struct board_physical board_physical_t;
enum { BOARD_GRANULE = 2 << 20 };

board_status_t board_physical_create(int device, size_t size, board_physical_t **physical);
board_status_t board_physical_release(board_physical_t *physical);
board_status_t board_physical_export(board_physical_t *physical, int *descriptor);
board_status_t board_physical_import(int device, int descriptor, board_physical_t **physical);
board_status_t board_reserve(size_t size, void **address);
board_status_t board_unreserve(void *address, size_t size);
board_status_t board_map(void *address, size_t size, board_physical_t *physical);
board_status_t board_unmap(void *address);
board_status_t board_set_access(void *address, int device);
bool board_has_access(void *address, int device);
/* What is mapped at an address; counts one more user of it. */
board_status_t board_physical_retain(void *address, board_physical_t **physical);

#endif
