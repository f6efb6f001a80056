/* The look-alikes of runtimes that follow the CUDA runtime, over the board: API(Malloc) is hipMalloc or musaMalloc.
 *
 * Strict where the real ones are: a device is current in each thread (0 at first); streams and events are used under the
 * device they were made on; a handle is not opened by its own process; an error stays until it is read, and is counted when
 * the next one finds it unread. Included once by each look-alike, which defines API, LAZY_PEERS and what differs. Threads: any, at
 * once. */
#ifndef LOOKALIKE_RUNTIME_H
#define LOOKALIKE_RUNTIME_H

#include "board.h"

#include <stdio.h>
#include <string.h>

enum {
  DONE = 0,
  INVALID_VALUE = 1,
  OUT_OF_MEMORY = 2,
  NOT_INITIALIZED = 3,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  INVALID_CONTEXT = 201,
  INVALID_HANDLE = 400,
  NOT_READY = 600,
  ILLEGAL_ADDRESS = 700,
  PEER_ALREADY = 704,
  ALREADY_REGISTERED = 712,
  NOT_REGISTERED = 713,
};

static _Thread_local int current;
static _Thread_local int last;

static int note(int error) {
  if (error != DONE) last = error;
  return error;
}

static int told(board_status_t status) {
  switch (status) {
  case BOARD_OK: return DONE;
  case BOARD_NOT_READY: return note(NOT_READY);
  case BOARD_BAD_DEVICE: return note(INVALID_DEVICE);
  case BOARD_NO_MEMORY: return note(OUT_OF_MEMORY);
  case BOARD_BAD_HANDLE: return note(INVALID_HANDLE);
  case BOARD_OTHER_DEVICE: return note(INVALID_HANDLE);
  case BOARD_OWN_PROCESS: return note(INVALID_CONTEXT);
  case BOARD_NO_ACCESS: return note(ILLEGAL_ADDRESS);
  case BOARD_ALREADY: return note(ALREADY_REGISTERED);
  case BOARD_FORKED: return note(NOT_INITIALIZED);
  default: return note(INVALID_VALUE);
  }
}

static int refuse(const char *what) {
  board_refuse(BOARD_BAD_ARGUMENT, what);
  return note(INVALID_VALUE);
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

LOOKALIKE_API int API(GetDeviceCount)(int *count) {
  int error = told(board_open(VENDOR));
  *count = error == DONE ? board_devices() : 0;
  return error == DONE && !*count ? note(NO_DEVICE) : error;
}

LOOKALIKE_API int API(GetDevice)(int *device) {
  *device = current;
  return DONE;
}

LOOKALIKE_API int API(SetDevice)(int device) {
  if (device < 0 || device >= board_devices()) return told(BOARD_BAD_DEVICE);
  current = device;
  return DONE;
}

LOOKALIKE_API const char *API(GetErrorString)(int error) {
  return error == OUT_OF_MEMORY ? "out of memory" : error == DONE ? "no error" : "an error of the look-alike";
}

LOOKALIKE_API int API(GetLastError)(void) {
  int error = last;
  last = DONE;
  return error;
}

LOOKALIKE_API int API(DeviceGetPCIBusId)(char *text, int length, int device) {
  int domain, bus, slot;
  if (device < 0 || device >= board_devices()) return told(BOARD_BAD_DEVICE);
  board_pci(device, &domain, &bus, &slot);
  snprintf(text, (size_t)length, "%04x:%02x:%02x.0", (unsigned)domain, (unsigned)bus, (unsigned)slot);
  return DONE;
}

LOOKALIKE_API int API(DeviceSynchronize)(void) { return told(board_device_synchronize(current)); }

LOOKALIKE_API int API(DeviceCanAccessPeer)(int *can, int device, int peer) {
  *can = board_peer_possible(device, peer);
  return DONE;
}

LOOKALIKE_API int API(DeviceEnablePeerAccess)(int peer, unsigned flags) {
  if (flags) return refuse("flags of peer access");
  board_status_t status = board_peer_enable(current, peer);
  return status == BOARD_ALREADY ? note(PEER_ALREADY) : told(status);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

LOOKALIKE_API int API(MemGetInfo)(size_t *free_bytes, size_t *total_bytes) {
  board_usage(current, free_bytes, total_bytes);
  return DONE;
}

LOOKALIKE_API int API(Malloc)(void **pointer, size_t size) { return told(board_allocate(current, size, pointer)); }
LOOKALIKE_API int API(Free)(void *pointer) { return told(board_free(pointer)); }

LOOKALIKE_API int API(HostRegister)(void *pointer, size_t size, unsigned flags) {
  return flags & ~15u ? refuse("flags of a registration") : told(board_host_register(pointer, size));
}

LOOKALIKE_API int API(HostUnregister)(void *pointer) {
  return board_host_unregister(pointer) == BOARD_OK ? DONE : note(NOT_REGISTERED);
}

static int allocate_host(void **pointer, size_t size, unsigned flags) {
  return flags & ~7u ? refuse("flags of host memory") : told(board_host_allocate(size, pointer));
}

static int free_host(void *pointer) { return told(board_host_free(pointer)); }

static int find_range(void **base, size_t *size, void *pointer) {
  board_range_t range;
  if (!board_find(pointer, &range)) return note(INVALID_VALUE);
  *base = range.base;
  *size = range.size;
  return DONE;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

LOOKALIKE_API int API(MemcpyAsync)(void *to, const void *from, size_t size, int kind, void *stream) {
  static const board_direction_t directions[] = {BOARD_HOST, BOARD_TO_DEVICE, BOARD_TO_HOST, BOARD_WITHIN, BOARD_ANY};
  if (kind < 0 || kind > 4) return refuse("a direction");
  return told(board_copy_async(current, stream, to, from, size, directions[kind], false));
}

LOOKALIKE_API int API(Memcpy)(void *to, const void *from, size_t size, int kind) {
  static const board_direction_t directions[] = {BOARD_HOST, BOARD_TO_DEVICE, BOARD_TO_HOST, BOARD_WITHIN, BOARD_ANY};
  if (kind < 0 || kind > 4) return refuse("a direction");
  return told(board_copy(current, to, from, size, directions[kind], false));
}

LOOKALIKE_API int API(MemsetAsync)(void *to, int value, size_t size, void *stream) {
  return told(board_fill_async(current, stream, to, value, size));
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */

LOOKALIKE_API int API(StreamCreateWithFlags)(void **stream, unsigned flags) {
  return flags > 1 ? refuse("a stream's flags") : told(board_stream_create(current, (board_stream_t **)stream));
}
LOOKALIKE_API int API(StreamDestroy)(void *stream) { return told(board_stream_destroy(stream)); }
LOOKALIKE_API int API(StreamSynchronize)(void *stream) { return told(board_stream_synchronize(current, stream)); }
LOOKALIKE_API int API(StreamQuery)(void *stream) { return told(board_stream_query(current, stream)); }

LOOKALIKE_API int API(EventCreateWithFlags)(void **event, unsigned flags) {
  return flags & ~7u ? refuse("an event's flags") : told(board_event_create(current, (board_event_t **)event));
}
LOOKALIKE_API int API(EventDestroy)(void *event) { return told(board_event_destroy(event)); }
LOOKALIKE_API int API(EventRecord)(void *event, void *stream) {
  return told(board_event_record(current, event, stream));
}
LOOKALIKE_API int API(EventQuery)(void *event) { return told(board_event_query(event)); }

/* ---- other processes --------------------------------------------------------------------------------------------- */

typedef struct ipc_handle {
  char reserved[64];
} ipc_handle_t;

LOOKALIKE_API int API(IpcGetMemHandle)(ipc_handle_t *handle, void *pointer) {
  board_export_t exported;
  int error = told(board_export(pointer, &exported));
  if (error != DONE) return error;
  memset(handle, 0, sizeof *handle);
  memcpy(handle, &exported, sizeof exported);
  return DONE;
}

LOOKALIKE_API int API(IpcOpenMemHandle)(void **pointer, ipc_handle_t handle, unsigned flags) {
  board_export_t exported;
  if (flags != LAZY_PEERS) return refuse("opening a handle without lazy peer access");
  memcpy(&exported, &handle, sizeof exported);
  return told(board_import(current, &exported, pointer));
}

LOOKALIKE_API int API(IpcCloseMemHandle)(void *pointer) { return told(board_import_close(pointer)); }

#endif
