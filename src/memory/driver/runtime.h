/* Vendors whose runtime follows the CUDA runtime call for call (HIP, MUSA): the part of a backend that is the same.
 *
 * Included once by each such backend, which says what the calls are named (a table of symbols into `runtime`), and how a
 * pointer is asked about. The values of errors, flags and directions are the CUDA runtime's with all of them. */
#ifndef HMCI_DRIVER_RUNTIME_H
#define HMCI_DRIVER_RUNTIME_H

#include "table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
  RUNTIME_DONE = 0,
  RUNTIME_INVALID_VALUE = 1,
  RUNTIME_OUT_OF_MEMORY = 2,
  RUNTIME_NO_DEVICE = 100,
  RUNTIME_INVALID_DEVICE = 101,
  RUNTIME_NOT_READY = 600,
  RUNTIME_PEER_ALREADY = 704,
  RUNTIME_ALREADY_REGISTERED = 712,
  RUNTIME_NOT_SUPPORTED = 801,

  RUNTIME_NON_BLOCKING = 1,
  RUNTIME_NO_TIMING = 2,
  RUNTIME_PORTABLE = 1,
  RUNTIME_LAZY_PEERS = 1,
  RUNTIME_DMABUF = 1,
};

typedef struct runtime_ipc_handle {
  unsigned char bytes[64];
} runtime_ipc_handle_t;

static struct {
  int (*device_count)(int *count);
  int (*get_device)(int *device);
  int (*set_device)(int device);
  int (*version)(int *version);
  const char *(*error_string)(int error);
  int (*last_error)(void);
  int (*device_pci)(char *text, int size, int device);
  int (*device_name)(char *text, int size, int device); /* NULL: the vendor has no such call */
  int (*memory_info)(size_t *free_bytes, size_t *total_bytes);
  int (*allocate)(void **pointer, size_t size);
  int (*free)(void *pointer);
  int (*set)(void *pointer, int value, size_t size, void *stream);
  int (*copy)(void *to, const void *from, size_t size, int kind, void *stream);
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
  int (*attributes)(void *attributes, const void *pointer); /* runtime_attributes_t */
  int (*range)(void **base, size_t *size, void *pointer);
  int (*ipc_get)(runtime_ipc_handle_t *handle, void *pointer);
  int (*ipc_open)(void **pointer, runtime_ipc_handle_t handle, unsigned flags);
  int (*ipc_close)(void *pointer);
  int (*range_handle)(void *handle, void *pointer, size_t size, int type, unsigned long long flags);
  int (*can_access)(int *can, int device, int peer);
  int (*enable_peer)(int peer, unsigned flags);
} runtime;

#define RUNTIME_SLOT(member) offsetof(__typeof__(runtime), member)

#define RUNTIME_SYMBOL(name, member, need)                                                                             \
  { name, RUNTIME_SLOT(member), need }

/* The calls that are named alike but for the vendor's prefix. */
#define RUNTIME_SYMBOLS(vendor)                                                                                        \
  RUNTIME_SYMBOL(vendor "GetDeviceCount", device_count, HMCI_NEED_BASE),                                               \
      RUNTIME_SYMBOL(vendor "GetDevice", get_device, HMCI_NEED_BASE),                                                  \
      RUNTIME_SYMBOL(vendor "SetDevice", set_device, HMCI_NEED_BASE),                                                  \
      RUNTIME_SYMBOL(vendor "RuntimeGetVersion", version, HMCI_NEED_BASE),                                             \
      RUNTIME_SYMBOL(vendor "GetErrorString", error_string, HMCI_NEED_BASE),                                           \
      RUNTIME_SYMBOL(vendor "GetLastError", last_error, HMCI_NEED_BASE),                                               \
      RUNTIME_SYMBOL(vendor "DeviceGetPCIBusId", device_pci, HMCI_NEED_PROPERTIES),                                    \
      RUNTIME_SYMBOL(vendor "MemGetInfo", memory_info, HMCI_NEED_PROPERTIES),                                          \
      RUNTIME_SYMBOL(vendor "Malloc", allocate, HMCI_NEED_BASE), RUNTIME_SYMBOL(vendor "Free", free, HMCI_NEED_BASE),  \
      RUNTIME_SYMBOL(vendor "MemsetAsync", set, HMCI_NEED_BASE),                                                       \
      RUNTIME_SYMBOL(vendor "MemcpyAsync", copy, HMCI_NEED_BASE),                                                      \
      RUNTIME_SYMBOL(vendor "StreamCreateWithFlags", stream_create, HMCI_NEED_BASE),                                   \
      RUNTIME_SYMBOL(vendor "StreamDestroy", stream_destroy, HMCI_NEED_BASE),                                          \
      RUNTIME_SYMBOL(vendor "StreamSynchronize", stream_wait, HMCI_NEED_BASE),                                         \
      RUNTIME_SYMBOL(vendor "EventCreateWithFlags", event_create, HMCI_NEED_BASE),                                     \
      RUNTIME_SYMBOL(vendor "EventDestroy", event_destroy, HMCI_NEED_BASE),                                            \
      RUNTIME_SYMBOL(vendor "EventRecord", event_record, HMCI_NEED_BASE),                                              \
      RUNTIME_SYMBOL(vendor "EventQuery", event_query, HMCI_NEED_BASE),                                                \
      RUNTIME_SYMBOL(vendor "HostRegister", pin, HMCI_NEED_PINNING),                                                   \
      RUNTIME_SYMBOL(vendor "HostUnregister", unpin, HMCI_NEED_PINNING),                                               \
      RUNTIME_SYMBOL(vendor "PointerGetAttributes", attributes, HMCI_NEED_QUERY),                                      \
      RUNTIME_SYMBOL(vendor "IpcGetMemHandle", ipc_get, HMCI_NEED_IPC),                                                \
      RUNTIME_SYMBOL(vendor "IpcOpenMemHandle", ipc_open, HMCI_NEED_IPC),                                              \
      RUNTIME_SYMBOL(vendor "IpcCloseMemHandle", ipc_close, HMCI_NEED_IPC),                                            \
      RUNTIME_SYMBOL(vendor "DeviceCanAccessPeer", can_access, HMCI_NEED_PEERS),                                       \
      RUNTIME_SYMBOL(vendor "DeviceEnablePeerAccess", enable_peer, HMCI_NEED_PEERS)

/* The errors of most calls stay until somebody reads them, and the user's next check would find ours. */
static hmc_status_t runtime_told(int error, const char *call) {
  if (error == RUNTIME_DONE) return HMC_SUCCESS;
  const char *text = runtime.error_string(error);
  runtime.last_error();
  hmc_status_t status = error == RUNTIME_OUT_OF_MEMORY                                 ? HMC_NO_MEMORY
                        : error == RUNTIME_NO_DEVICE || error == RUNTIME_NOT_SUPPORTED ? HMC_UNSUPPORT
                        : error == RUNTIME_INVALID_DEVICE                              ? HMC_NOT_FOUND
                        : error == RUNTIME_ALREADY_REGISTERED                          ? HMC_INVALID_CONFIG
                                                                                       : HMC_ERROR;
  return hmci_fail(status, "%s: %s (error %d)", call, text ? text : "unknown", error);
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static hmc_status_t runtime_enter(int device, void **saved) {
  int before = device;
  hmc_status_t status = runtime_told(runtime.get_device(&before), "asking for the current device");
  *saved = (void *)(intptr_t)before;
  if (status != HMC_SUCCESS || before == device) return status;
  return runtime_told(runtime.set_device(device), "setting the current device");
}

static void runtime_leave(int device, void *saved) {
  int before = (int)(intptr_t)saved;
  if (before != device) runtime.set_device(before);
}

static void runtime_pci(int device, char *text, size_t size) {
  if (runtime.device_pci(text, (int)size, device) != RUNTIME_DONE) text[0] = '\0';
}

static hmc_status_t runtime_describe(int device, hmc_memory_properties_t *properties) {
  void *saved;
  size_t free_bytes, total_bytes;
  char name[sizeof properties->name] = "";
  hmc_status_t status = runtime_enter(device, &saved);
  if (status != HMC_SUCCESS) return status;
  if (runtime.device_name && runtime.device_name(name, (int)sizeof name, device) == RUNTIME_DONE && name[0])
    memcpy(properties->name, name, sizeof name);
  status = runtime_told(runtime.memory_info(&free_bytes, &total_bytes), "asking for free memory");
  if (status == HMC_SUCCESS) {
    properties->free_bytes = free_bytes;
    properties->total_bytes = total_bytes;
  }
  runtime_leave(device, saved);
  return status;
}

static hmc_status_t runtime_reaches(int device, int other, bool *can) {
  int answer = 0;
  hmc_status_t status = runtime_told(runtime.can_access(&answer, device, other), "asking for peer access");
  *can = answer;
  return status;
}

static hmc_status_t runtime_let_in(int device, int other) {
  (void)device;
  int error = runtime.enable_peer(other, 0);
  if (error == RUNTIME_PEER_ALREADY) {
    runtime.last_error();
    return HMC_SUCCESS;
  }
  return runtime_told(error, "enabling peer access");
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static hmc_status_t runtime_allocate(size_t size, void **pointer) {
  return runtime_told(runtime.allocate(pointer, size), "allocating device memory");
}
static hmc_status_t runtime_free(void *pointer) { return runtime_told(runtime.free(pointer), "freeing device memory"); }
static hmc_status_t runtime_clear(void *pointer, size_t size, void *stream) {
  return runtime_told(runtime.set(pointer, 0, size, stream), "clearing device memory");
}
static hmc_status_t runtime_pin(void *pointer, size_t size) {
  return runtime_told(runtime.pin(pointer, size, RUNTIME_PORTABLE), "pinning host memory");
}
static hmc_status_t runtime_unpin(void *pointer) { return runtime_told(runtime.unpin(pointer), "unpinning"); }
static hmc_status_t runtime_host_allocate(size_t size, void **pointer) {
  return runtime_told(runtime.host_allocate(pointer, size, RUNTIME_PORTABLE), "allocating pinned host memory");
}
static hmc_status_t runtime_host_free(void *pointer) {
  return runtime_told(runtime.host_free(pointer), "freeing pinned host memory");
}

/* Where a pointer's allocation begins, as far as the runtime says. */
static void runtime_find_range(const void *pointer, hmc_memory_info_t *info) {
  void *base = NULL;
  size_t size = 0;
  if (!runtime.range || runtime.range(&base, &size, (void *)pointer) != RUNTIME_DONE) {
    runtime.last_error();
    return;
  }
  info->base = base;
  info->bytes = size;
}

/* What the attributes of a pointer begin with, and room for what later versions add. */
typedef struct runtime_attributes {
  int type, device;
  void *device_pointer, *host_pointer;
  uint64_t rest[8];
} runtime_attributes_t;

/* `on_device` is the type of device memory, `kind` and `name` the backend's. */
static hmc_status_t runtime_query(const void *pointer, hmc_memory_kind_t kind, const char *name, int on_device,
                                  hmc_memory_info_t *info) {
  runtime_attributes_t found = {0};
  int error = runtime.attributes(&found, pointer);
  if (error != RUNTIME_DONE) runtime.last_error();
  if (error != RUNTIME_DONE || found.type != on_device) {
    return hmci_fail(HMC_NOT_FOUND, "%s: %p is not device memory", name, pointer);
  }
  *info = (hmc_memory_info_t){.size = sizeof *info, .memory = {kind, found.device}};
  runtime_find_range(pointer, info);
  return HMC_SUCCESS;
}

/* ---- streams, events, copies ------------------------------------------------------------------------------------- */

static hmc_status_t runtime_stream_create(void **stream) {
  return runtime_told(runtime.stream_create(stream, RUNTIME_NON_BLOCKING), "making a stream");
}
static hmc_status_t runtime_stream_destroy(void *stream) {
  return runtime_told(runtime.stream_destroy(stream), "destroying a stream");
}
static hmc_status_t runtime_stream_wait(void *stream) {
  return runtime_told(runtime.stream_wait(stream), "waiting for a stream");
}
static hmc_status_t runtime_event_create(void **event) {
  return runtime_told(runtime.event_create(event, RUNTIME_NO_TIMING), "making an event");
}
static hmc_status_t runtime_event_destroy(void *event) {
  return runtime_told(runtime.event_destroy(event), "destroying an event");
}
static hmc_status_t runtime_event_record(void *event, void *stream) {
  return runtime_told(runtime.event_record(event, stream), "recording an event");
}
static hmc_status_t runtime_event_query(void *event) {
  int error = runtime.event_query(event);
  if (error != RUNTIME_NOT_READY) return runtime_told(error, "asking an event");
  runtime.last_error();
  return HMC_IN_PROGRESS;
}

static hmc_status_t runtime_copy(const hmci_driver_copy_t *what, void *stream) {
  static const int kinds[] = {1, 2, 3}; /* host to device, device to host, device to device */
  return runtime_told(runtime.copy(what->destination, what->source, what->size, kinds[what->direction], stream),
                      "queueing a copy");
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

static hmc_status_t runtime_export(void *base, size_t size, uint8_t *handle) {
  runtime_ipc_handle_t made;
  (void)size;
  hmc_status_t status = runtime_told(runtime.ipc_get(&made, base), "exporting device memory");
  if (status == HMC_SUCCESS) memcpy(handle, made.bytes, sizeof made.bytes);
  return status;
}
/* hipIpcMemLazyEnablePeerAccess is 0 in the headers of HIP 5, and 1 as the CUDA runtime's later; either refuses the other. */
static hmc_status_t runtime_import(const uint8_t *handle, void **base) {
  runtime_ipc_handle_t from;
  memcpy(from.bytes, handle, sizeof from.bytes);
  int error = runtime.ipc_open(base, from, RUNTIME_LAZY_PEERS);
  if (error == RUNTIME_INVALID_VALUE) {
    runtime.last_error();
    error = runtime.ipc_open(base, from, 0);
  }
  return runtime_told(error, "importing device memory");
}
static void runtime_close_import(void *base, const uint8_t *handle) {
  (void)handle;
  runtime_told(runtime.ipc_close(base), "closing imported device memory");
}

/* The fields that all such backends have the same. */
#define RUNTIME_OPERATIONS                                                                                             \
  .functions = &runtime, .copies_across = true, .handle_size = sizeof(runtime_ipc_handle_t), .exports_foreign = true,  \
  .enter = runtime_enter, .leave = runtime_leave, .allocate = runtime_allocate, .free = runtime_free,                  \
  .clear = runtime_clear, .stream_create = runtime_stream_create, .stream_destroy = runtime_stream_destroy,            \
  .stream_wait = runtime_stream_wait, .event_create = runtime_event_create, .event_destroy = runtime_event_destroy,    \
  .event_record = runtime_event_record, .event_query = runtime_event_query, .copy = runtime_copy,                      \
  .host_allocate = runtime_host_allocate, .host_free = runtime_host_free, .pin = runtime_pin, .unpin = runtime_unpin,  \
  .export = runtime_export, .import = runtime_import, .close_import = runtime_close_import,                            \
  .describe = runtime_describe, .pci = runtime_pci, .reaches = runtime_reaches, .let_in = runtime_let_in

#endif
