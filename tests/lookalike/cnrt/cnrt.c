/* The look-alike of libcnrt.so, over the board: names, prototypes and values as in CNRT 6.14's cnrt.h.
 *
 * Strict where the real one is: a device is current in each thread (0 at first); queues and notifiers are used under the
 * device they were made on; a copy inside one device does not reach another one, cnrtMemcpyPeerAsync does; a handle has
 * eight bytes. LOOKALIKE_OLD: as CNRT 6.0, without the calls for pointers and handles. Threads: any, at once. */
#include "../board.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  cnrtSuccess = 0,
  cnrtErrorNotReady = 1,
  cnrtErrorNoDevice = 100004,
  cnrtErrorDeviceInvalid = 100005,
  cnrtErrorArgsInvalid = 100006,
  cnrtErrorInvalidResourceHandle = 100014,
  cnrtErrorNoMem = 100100,
  cnrtErrorDevice = 632006,
  cnrtErrorCndrvFuncCall = 632015,
};

static _Thread_local int current;
static _Thread_local int last;

static int note(int error) {
  if (error != cnrtSuccess) last = error;
  return error;
}

static int told(board_status_t status) {
  switch (status) {
  case BOARD_OK: return cnrtSuccess;
  case BOARD_NOT_READY: return note(cnrtErrorNotReady);
  case BOARD_BAD_DEVICE: return note(cnrtErrorDeviceInvalid);
  case BOARD_NO_MEMORY: return note(cnrtErrorNoMem);
  case BOARD_BAD_HANDLE: return note(cnrtErrorInvalidResourceHandle);
  case BOARD_OTHER_DEVICE: return note(cnrtErrorDevice);
  case BOARD_FORKED:
  case BOARD_OWN_PROCESS:
  case BOARD_NO_ACCESS: return note(cnrtErrorCndrvFuncCall);
  default: return note(cnrtErrorArgsInvalid);
  }
}

static int refuse(const char *what) { return told(board_refuse(BOARD_BAD_ARGUMENT, what)); }

/* ---- devices ----------------------------------------------------------------------------------------------------- */

LOOKALIKE_API int cnrtGetDeviceCount(unsigned *count) {
  int error = told(board_open("cnrt"));
  *count = error == cnrtSuccess ? (unsigned)board_devices() : 0;
  return error == cnrtSuccess && !*count ? note(cnrtErrorNoDevice) : error;
}

LOOKALIKE_API int cnrtGetDevice(int *device) {
  *device = current;
  return cnrtSuccess;
}

LOOKALIKE_API int cnrtSetDevice(int device) {
  if (device < 0 || device >= board_devices()) return told(BOARD_BAD_DEVICE);
  current = device;
  return cnrtSuccess;
}

LOOKALIKE_API int cnrtGetLibVersion(int *major, int *minor, int *patch) {
  *major = 6;
  *minor = 14;
  *patch = 1;
  return cnrtSuccess;
}

LOOKALIKE_API const char *cnrtGetErrorStr(int error) {
  return error == cnrtErrorNoMem ? "no memory" : "an error of the look-alike";
}

LOOKALIKE_API int cnrtGetLastError(void) {
  int error = last;
  last = cnrtSuccess;
  return error;
}

LOOKALIKE_API int cnrtDeviceGetPCIBusId(char *text, int length, int device) {
  int domain, bus, slot;
  if (device < 0 || device >= board_devices()) return told(BOARD_BAD_DEVICE);
  board_pci(device, &domain, &bus, &slot);
  snprintf(text, (size_t)length, "%04x:%02x:%02x.0", (unsigned)domain, (unsigned)bus, (unsigned)slot);
  return cnrtSuccess;
}

LOOKALIKE_API int cnrtSyncDevice(void) { return told(board_device_synchronize(current)); }

LOOKALIKE_API int cnrtGetPeerAccessibility(unsigned *can, int device, int peer) {
  *can = board_peer_possible(device, peer);
  return cnrtSuccess;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

LOOKALIKE_API int cnrtMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
  board_usage(current, free_bytes, total_bytes);
  return cnrtSuccess;
}

LOOKALIKE_API int cnrtMalloc(void **pointer, size_t size) { return told(board_allocate(current, size, pointer)); }
LOOKALIKE_API int cnrtFree(void *pointer) { return told(board_free(pointer)); }
LOOKALIKE_API int cnrtHostMalloc(void **pointer, size_t size) { return told(board_host_allocate(size, pointer)); }
LOOKALIKE_API int cnrtFreeHost(void *pointer) { return told(board_host_free(pointer)); }

#ifndef LOOKALIKE_OLD
typedef struct cnrtPointerAttributes {
  int type, device;
  size_t size;
  void *devicePointer, *hostPointer;
  int cacheMode;
  void *deviceBasePointer;
} cnrtPointerAttributes_t;

LOOKALIKE_API int cnrtPointerGetAttributes(cnrtPointerAttributes_t *attributes, const void *pointer) {
  board_range_t range;
  memset(attributes, 0, sizeof *attributes);
  if (!board_find(pointer, &range)) return cnrtSuccess; /* unregistered */
  bool is_host = range.kind == BOARD_PINNED || range.kind == BOARD_REGISTERED;
  attributes->type = is_host ? 1 : 2;
  attributes->device = range.device;
  attributes->size = range.size;
  attributes->devicePointer = (void *)pointer;
  attributes->deviceBasePointer = is_host ? NULL : range.base;
  return cnrtSuccess;
}
#endif

/* ---- copies ------------------------------------------------------------------------------------------------------ */

/* Inside one device: both sides are the current one's, or mapped for it. */
static bool is_here(const void *pointer) {
  board_range_t range;
  return board_find(pointer, &range) && (range.device == current || range.kind == BOARD_IMPORT);
}

static int copy_async(void *to, void *from, size_t size, void *queue, int direction) {
  static const board_direction_t directions[] = {BOARD_TO_DEVICE, BOARD_WITHIN, BOARD_TO_HOST, BOARD_HOST};
  if (direction < 0 || direction > 3) return refuse("a direction");
  if (direction == 1 && (!is_here(to) || !is_here(from))) return refuse("a copy inside a device that leaves it");
  return told(board_copy_async(current, queue, to, from, size, directions[direction], false));
}

/* Three names of one call; the newest is not in older versions. */
LOOKALIKE_API int cnrtMemcpyAsync(void *to, void *from, size_t size, void *queue, int direction) {
  return copy_async(to, from, size, queue, direction);
}
#ifndef LOOKALIKE_OLD
LOOKALIKE_API int cnrtMemcpyAsync_V2(void *to, void *from, size_t size, void *queue, int direction) {
  return copy_async(to, from, size, queue, direction);
}
LOOKALIKE_API int cnrtMemcpyAsync_V3(void *to, void *from, size_t size, void *queue, int direction) {
  return copy_async(to, from, size, queue, direction);
}
#endif

LOOKALIKE_API int cnrtMemcpyPeerAsync(void *to, int to_device, void *from, int from_device, size_t size, void *queue) {
  board_range_t target, source;
  if (!board_find(to, &target) || !board_find(from, &source) || target.device != to_device ||
      source.device != from_device) {
    return refuse("a copy between devices that the memory is not on");
  }
  if (to_device != from_device && !board_peer_possible(to_device, from_device))
    return refuse("a copy between devices that do not reach each other");
  return told(board_copy_async(current, queue, to, from, size, BOARD_WITHIN, false));
}

LOOKALIKE_API int cnrtMemsetAsync(void *to, int value, size_t size, void *queue) {
  return told(board_fill_async(current, queue, to, value, size));
}

/* ---- queues and notifiers ---------------------------------------------------------------------------------------- */

LOOKALIKE_API int cnrtQueueCreate(void **queue) { return told(board_stream_create(current, (board_stream_t **)queue)); }
LOOKALIKE_API int cnrtQueueDestroy(void *queue) { return told(board_stream_destroy(queue)); }
LOOKALIKE_API int cnrtQueueSync(void *queue) { return told(board_stream_synchronize(current, queue)); }
LOOKALIKE_API int cnrtQueueQuery(void *queue) { return told(board_stream_query(current, queue)); }
LOOKALIKE_API int cnrtNotifierCreate(void **made) { return told(board_event_create(current, (board_event_t **)made)); }
LOOKALIKE_API int cnrtNotifierDestroy(void *notifier) { return told(board_event_destroy(notifier)); }
LOOKALIKE_API int cnrtPlaceNotifier(void *notifier, void *queue) {
  return told(board_event_record(current, notifier, queue));
}
LOOKALIKE_API int cnrtQueryNotifier(void *notifier) { return told(board_event_query(notifier)); }

/* ---- other processes --------------------------------------------------------------------------------------------- */

#ifndef LOOKALIKE_OLD
/* Eight bytes: process (22 bits), descriptor (17), device (3), what the inode ends with (22). */
LOOKALIKE_API int cnrtAcquireMemHandle(void **handle, void *pointer) {
  board_export_t exported;
  int error = told(board_export(pointer, &exported));
  if (error != cnrtSuccess) return error;
  uint64_t packed = (uint64_t)exported.process << 42 | (uint64_t)(exported.descriptor & 0x1ffff) << 25 |
                    (uint64_t)(exported.device & 7) << 22 | (exported.inode & 0x3fffff);
  *handle = (void *)(uintptr_t)packed;
  return cnrtSuccess;
}

LOOKALIKE_API int cnrtMapMemHandle(void **pointer, void *handle, int flags) {
  uint64_t packed = (uint64_t)(uintptr_t)handle;
  char path[64];
  struct stat file;
  if (flags) return refuse("flags of a mapping");
  board_export_t from = {.magic = BOARD_EXPORT_MAGIC,
                         .process = (uint32_t)(packed >> 42),
                         .descriptor = (uint32_t)(packed >> 25 & 0x1ffff),
                         .device = (uint32_t)(packed >> 22 & 7)};
  snprintf(path, sizeof path, "/proc/%u/fd/%u", from.process, from.descriptor);
  if (stat(path, &file) || ((uint64_t)file.st_ino & 0x3fffff) != (packed & 0x3fffff)) {
    return told(board_refuse(BOARD_BAD_HANDLE, "the exported memory is gone"));
  }
  from.size = (uint64_t)file.st_size;
  from.inode = (uint64_t)file.st_ino;
  return told(board_import(current, &from, pointer));
}

LOOKALIKE_API int cnrtUnMapMemHandle(void *pointer) { return told(board_import_close(pointer)); }
#endif
