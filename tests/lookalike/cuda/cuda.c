/* The look-alike of libcuda.so.1, over the board: names, prototypes and values as in the CUDA Driver API reference manual.
 *
 * Strict where the real one is: nothing works before cuInit; most calls want a current context; streams and events are
 * used under the device they were made on; a handle is not opened by its own process; a kernel is the one that it knows.
 * Threads: any, at once; the stack of contexts is the thread's. */
#include "../board.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int CUresult;
typedef int CUdevice;
typedef struct context *CUcontext;
typedef unsigned long long CUdeviceptr;
typedef unsigned long long CUmemGenericAllocationHandle;

enum {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_ILLEGAL_ADDRESS = 700,
  CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
  CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
  CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
  CUDA_ERROR_NOT_SUPPORTED = 801,
};

enum { STACK = 16, DEVICES = 8 };

struct context {
  int device, retained;
};

/* LOOKALIKE_OLD: a driver of before the newer calls, to see what is done without them. */
#ifdef LOOKALIKE_OLD
#define NEWER_API __attribute__((visibility("hidden"), used))
#else
#define NEWER_API LOOKALIKE_API
#endif

static atomic_bool is_open;
static struct context primary[DEVICES];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local CUcontext stack[STACK];
static _Thread_local int depth;

#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    CUresult error_ = (call);                                                                                          \
    if (error_ != CUDA_SUCCESS) return error_;                                                                         \
  } while (0)

static CUresult fail(CUresult error, const char *text) {
  board_refuse(BOARD_BAD_ARGUMENT, text);
  return error;
}

static CUresult told(board_status_t status) {
  switch (status) {
  case BOARD_OK: return CUDA_SUCCESS;
  case BOARD_NOT_READY: return CUDA_ERROR_NOT_READY;
  case BOARD_BAD_DEVICE: return CUDA_ERROR_INVALID_DEVICE;
  case BOARD_NO_MEMORY: return CUDA_ERROR_OUT_OF_MEMORY;
  case BOARD_BAD_HANDLE: return CUDA_ERROR_INVALID_HANDLE;
  case BOARD_OTHER_DEVICE: return CUDA_ERROR_INVALID_HANDLE;
  case BOARD_OWN_PROCESS: return CUDA_ERROR_INVALID_CONTEXT;
  case BOARD_NO_ACCESS: return CUDA_ERROR_ILLEGAL_ADDRESS;
  case BOARD_ALREADY: return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  case BOARD_FORKED: return CUDA_ERROR_NOT_INITIALIZED;
  default: return CUDA_ERROR_INVALID_VALUE;
  }
}

/* The device of the current context. */
static CUresult here(int *device) {
  if (!atomic_load(&is_open)) return fail(CUDA_ERROR_NOT_INITIALIZED, "before cuInit");
  if (!depth || !stack[depth - 1]) return fail(CUDA_ERROR_INVALID_CONTEXT, "no current context");
  *device = stack[depth - 1]->device;
  return CUDA_SUCCESS;
}

static void *pointer_of(CUdeviceptr address) { return (void *)(uintptr_t)address; }

/* ---- devices and contexts ---------------------------------------------------------------------------------------- */

LOOKALIKE_API CUresult cuInit(unsigned flags) {
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  TRY(told(board_open("cuda")));
  if (!board_devices()) return CUDA_ERROR_NO_DEVICE;
  atomic_store(&is_open, true);
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDriverGetVersion(int *version) {
  *version = 12080;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDeviceGetCount(int *count) {
  if (!atomic_load(&is_open)) return CUDA_ERROR_NOT_INITIALIZED;
  *count = board_devices();
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  if (ordinal < 0 || ordinal >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDeviceGetName(char *name, int length, CUdevice device) {
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(name, (size_t)length, "NVIDIA look-alike");
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDeviceTotalMem_v2(size_t *bytes, CUdevice device) {
  size_t free_bytes;
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  board_usage(device, &free_bytes, bytes);
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDeviceGetPCIBusId(char *text, int length, CUdevice device) {
  int domain, bus, slot;
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  board_pci(device, &domain, &bus, &slot);
  snprintf(text, (size_t)length, "%04X:%02X:%02X.0", (unsigned)domain, (unsigned)bus, (unsigned)slot);
  return CUDA_SUCCESS;
}

/* How adapters' writes can be flushed: 1 by a call, 2 by operations of streams. */
static int flush_options(void) {
  const char *text = getenv("HMC_LOOKALIKE_FLUSH");
  return text ? atoi(text) : 1;
}

LOOKALIKE_API CUresult cuDeviceGetAttribute(int *value, int attribute, CUdevice device) {
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  switch (attribute) {
  case 102: /* virtual memory management */
  case 103: /* descriptors */
  case 124: /* dma-buf */ *value = 1; return CUDA_SUCCESS;
  case 117: *value = flush_options(); return CUDA_SUCCESS;
  default: *value = 0; return CUDA_SUCCESS;
  }
}

LOOKALIKE_API CUresult cuGetErrorString(CUresult error, const char **text) {
  static const struct {
    CUresult error;
    const char *text;
  } texts[] = {
      {CUDA_SUCCESS, "no error"},
      {CUDA_ERROR_INVALID_VALUE, "invalid argument"},
      {CUDA_ERROR_OUT_OF_MEMORY, "out of memory"},
      {CUDA_ERROR_NOT_INITIALIZED, "initialization error"},
      {CUDA_ERROR_INVALID_DEVICE, "invalid device ordinal"},
      {CUDA_ERROR_INVALID_CONTEXT, "invalid device context"},
      {CUDA_ERROR_INVALID_HANDLE, "invalid resource handle"},
      {CUDA_ERROR_ILLEGAL_ADDRESS, "an illegal memory access was encountered"},
      {CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED, "part or all of the requested memory range is already mapped"},
  };
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    if (texts[i].error != error) continue;
    *text = texts[i].text;
    return CUDA_SUCCESS;
  }
  *text = NULL;
  return CUDA_ERROR_INVALID_VALUE;
}

LOOKALIKE_API CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  pthread_mutex_lock(&lock);
  primary[device].device = device;
  primary[device].retained++;
  pthread_mutex_unlock(&lock);
  *context = &primary[device];
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) {
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  pthread_mutex_lock(&lock);
  bool held = primary[device].retained > 0;
  if (held) primary[device].retained--;
  pthread_mutex_unlock(&lock);
  return held ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

LOOKALIKE_API CUresult cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active) {
  if (device < 0 || device >= board_devices()) return CUDA_ERROR_INVALID_DEVICE;
  pthread_mutex_lock(&lock);
  *flags = 0;
  *active = primary[device].retained > 0;
  pthread_mutex_unlock(&lock);
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuCtxPushCurrent_v2(CUcontext context) {
  if (!context || depth == STACK) return fail(CUDA_ERROR_INVALID_CONTEXT, "pushing no context");
  stack[depth++] = context;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuCtxPopCurrent_v2(CUcontext *context) {
  if (!depth) return fail(CUDA_ERROR_INVALID_CONTEXT, "popping an empty stack of contexts");
  *context = stack[--depth];
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuCtxGetCurrent(CUcontext *context) {
  *context = depth ? stack[depth - 1] : NULL;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuCtxSetCurrent(CUcontext context) {
  if (!depth) depth = 1;
  stack[depth - 1] = context;
  if (!context) depth--;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuCtxSynchronize(void) {
  int device;
  TRY(here(&device));
  return told(board_device_synchronize(device));
}

LOOKALIKE_API CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer) {
  *can = board_peer_possible(device, peer);
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned flags) {
  int device;
  TRY(here(&device));
  if (!peer || flags) return CUDA_ERROR_INVALID_VALUE;
  board_status_t status = board_peer_enable(device, peer->device);
  return status == BOARD_ALREADY ? CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED : told(status);
}

NEWER_API CUresult cuFlushGPUDirectRDMAWrites(int target, int scope) {
  int device;
  TRY(here(&device));
  if (!(flush_options() & 1)) return CUDA_ERROR_NOT_SUPPORTED;
  return target == 0 && (scope == 100 || scope == 200) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

LOOKALIKE_API CUresult cuMemAlloc_v2(CUdeviceptr *pointer, size_t size) {
  int device;
  void *made = NULL;
  TRY(here(&device));
  TRY(told(board_allocate(device, size, &made)));
  *pointer = (CUdeviceptr)(uintptr_t)made;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuMemFree_v2(CUdeviceptr pointer) {
  int device;
  TRY(here(&device));
  return told(board_free(pointer_of(pointer)));
}

LOOKALIKE_API CUresult cuMemGetInfo_v2(size_t *free_bytes, size_t *total_bytes) {
  int device;
  TRY(here(&device));
  board_usage(device, free_bytes, total_bytes);
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuMemHostAlloc(void **pointer, size_t size, unsigned flags) {
  int device;
  TRY(here(&device));
  return flags & ~7u ? CUDA_ERROR_INVALID_VALUE : told(board_host_allocate(size, pointer));
}

LOOKALIKE_API CUresult cuMemFreeHost(void *pointer) { return told(board_host_free(pointer)); }

LOOKALIKE_API CUresult cuMemHostRegister_v2(void *pointer, size_t size, unsigned flags) {
  int device;
  TRY(here(&device));
  return flags & ~15u ? CUDA_ERROR_INVALID_VALUE : told(board_host_register(pointer, size));
}

LOOKALIKE_API CUresult cuMemHostUnregister(void *pointer) {
  return board_host_unregister(pointer) == BOARD_OK ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

/* What is not memory of the driver's has zeros for attributes, as the manual has it. */
LOOKALIKE_API CUresult cuPointerGetAttributes(unsigned count, const int *attributes, void **data, CUdeviceptr pointer) {
  board_range_t range = {0};
  if (!atomic_load(&is_open)) return CUDA_ERROR_NOT_INITIALIZED;
  bool found = board_find(pointer_of(pointer), &range);
  bool is_host = range.kind == BOARD_PINNED || range.kind == BOARD_REGISTERED;
  for (unsigned i = 0; i < count; i++) {
    switch (attributes[i]) {
    case 2: *(unsigned *)data[i] = !found ? 0 : is_host ? 1 : 2; break;
    case 9: *(int *)data[i] = found ? range.device : -2; break;
    case 11: *(CUdeviceptr *)data[i] = (CUdeviceptr)(uintptr_t)range.base; break;
    case 12: *(size_t *)data[i] = range.size; break;
    default: return fail(CUDA_ERROR_INVALID_VALUE, "a pointer's attribute");
    }
  }
  return CUDA_SUCCESS;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static CUresult copy(CUdeviceptr to, CUdeviceptr from, size_t size, board_direction_t direction, void *stream) {
  int device;
  TRY(here(&device));
  return told(board_copy_async(device, stream, pointer_of(to), pointer_of(from), size, direction, false));
}

LOOKALIKE_API CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, void *stream) {
  return copy(to, (CUdeviceptr)(uintptr_t)from, size, BOARD_TO_DEVICE, stream);
}

LOOKALIKE_API CUresult cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, void *stream) {
  return copy((CUdeviceptr)(uintptr_t)to, from, size, BOARD_TO_HOST, stream);
}

LOOKALIKE_API CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, void *stream) {
  return copy(to, from, size, BOARD_WITHIN, stream);
}

LOOKALIKE_API CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t size, void *stream) {
  int device;
  TRY(here(&device));
  return told(board_fill_async(device, stream, pointer_of(to), value, size));
}

typedef struct {
  size_t srcXInBytes, srcY;
  int srcMemoryType;
  const void *srcHost;
  CUdeviceptr srcDevice;
  void *srcArray;
  size_t srcPitch, dstXInBytes, dstY;
  int dstMemoryType;
  void *dstHost;
  CUdeviceptr dstDevice;
  void *dstArray;
  size_t dstPitch, WidthInBytes, Height;
} CUDA_MEMCPY2D;

LOOKALIKE_API CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *what, void *stream) {
  bool to_host = what->dstMemoryType == 1, from_host = what->srcMemoryType == 1;
  if (what->srcPitch < what->WidthInBytes || what->dstPitch < what->WidthInBytes || what->srcXInBytes || what->srcY ||
      what->dstXInBytes || what->dstY) {
    return fail(CUDA_ERROR_INVALID_VALUE, "a pitch that is less than the width");
  }
  const char *from = from_host ? what->srcHost : pointer_of(what->srcDevice);
  char *to = to_host ? what->dstHost : pointer_of(what->dstDevice);
  board_direction_t direction = to_host && from_host ? BOARD_HOST
                                : to_host            ? BOARD_TO_HOST
                                : from_host          ? BOARD_TO_DEVICE
                                                     : BOARD_WITHIN;
  int device;
  TRY(here(&device));
  for (size_t row = 0; row < what->Height; row++) {
    TRY(told(board_copy_async(device, stream, to + row * what->dstPitch, from + row * what->srcPitch,
                              what->WidthInBytes, direction, false)));
  }
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemcpyBatchAsync(CUdeviceptr *to, CUdeviceptr *from, size_t *sizes, size_t count, void *attributes,
                                      size_t *indices, size_t attribute_count, size_t *failed, void *stream) {
  int device;
  TRY(here(&device));
  if (!count || !attributes || attribute_count != 1 || indices[0] || !stream || *(int *)attributes != 1) {
    return fail(CUDA_ERROR_INVALID_VALUE, "a batch's attributes, or the default stream");
  }
  for (size_t i = 0; i < count; i++) {
    *failed = i;
    if (!sizes[i]) return fail(CUDA_ERROR_INVALID_VALUE, "an empty piece of a batch");
    TRY(told(board_copy_async(device, stream, pointer_of(to[i]), pointer_of(from[i]), sizes[i], BOARD_ANY, false)));
  }
  return CUDA_SUCCESS;
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */

LOOKALIKE_API CUresult cuStreamCreate(void **stream, unsigned flags) {
  int device;
  TRY(here(&device));
  return flags > 1 ? CUDA_ERROR_INVALID_VALUE : told(board_stream_create(device, (board_stream_t **)stream));
}

LOOKALIKE_API CUresult cuStreamDestroy_v2(void *stream) { return told(board_stream_destroy(stream)); }

LOOKALIKE_API CUresult cuStreamSynchronize(void *stream) {
  int device;
  TRY(here(&device));
  return told(board_stream_synchronize(device, stream));
}

LOOKALIKE_API CUresult cuStreamQuery(void *stream) {
  int device;
  TRY(here(&device));
  return told(board_stream_query(device, stream));
}

LOOKALIKE_API CUresult cuEventCreate(void **event, unsigned flags) {
  int device;
  TRY(here(&device));
  return flags & ~7u ? CUDA_ERROR_INVALID_VALUE : told(board_event_create(device, (board_event_t **)event));
}

LOOKALIKE_API CUresult cuEventDestroy_v2(void *event) { return told(board_event_destroy(event)); }

LOOKALIKE_API CUresult cuEventRecord(void *event, void *stream) {
  int device;
  TRY(here(&device));
  return told(board_event_record(device, event, stream));
}

LOOKALIKE_API CUresult cuEventQuery(void *event) { return told(board_event_query(event)); }
LOOKALIKE_API CUresult cuEventSynchronize(void *event) { return told(board_event_synchronize(event)); }

/* ---- other processes --------------------------------------------------------------------------------------------- */

typedef struct CUipcMemHandle {
  char reserved[64];
} CUipcMemHandle;

LOOKALIKE_API CUresult cuIpcGetMemHandle(CUipcMemHandle *handle, CUdeviceptr pointer) {
  int device;
  board_export_t exported;
  TRY(here(&device));
  TRY(told(board_export(pointer_of(pointer), &exported)));
  memset(handle, 0, sizeof *handle);
  memcpy(handle, &exported, sizeof exported);
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuIpcOpenMemHandle_v2(CUdeviceptr *pointer, CUipcMemHandle handle, unsigned flags) {
  int device;
  void *made = NULL;
  board_export_t exported;
  TRY(here(&device));
  if (flags != 1) return fail(CUDA_ERROR_INVALID_VALUE, "opening a handle without lazy peer access");
  memcpy(&exported, &handle, sizeof exported);
  TRY(told(board_import(device, &exported, &made)));
  *pointer = (CUdeviceptr)(uintptr_t)made;
  return CUDA_SUCCESS;
}

LOOKALIKE_API CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
  int device;
  TRY(here(&device));
  return told(board_import_close(pointer_of(pointer)));
}

/* ---- physical memory --------------------------------------------------------------------------------------------- */

typedef struct {
  int type, id;
} CUmemLocation;

typedef struct {
  int type, requestedHandleTypes;
  CUmemLocation location;
  void *win32HandleMetaData;
  unsigned char allocFlags[8];
} CUmemAllocationProp;

typedef struct {
  CUmemLocation location;
  int flags;
} CUmemAccessDesc;

static CUresult check_allocation(const CUmemAllocationProp *what) {
  bool fits = what->type == 1 && what->requestedHandleTypes == 1 && what->location.type == 1 &&
              what->location.id >= 0 && what->location.id < board_devices();
  return fits ? CUDA_SUCCESS : fail(CUDA_ERROR_INVALID_VALUE, "what physical memory is to be");
}

NEWER_API CUresult cuMemGetAllocationGranularity(size_t *granule, const CUmemAllocationProp *what, int option) {
  TRY(check_allocation(what));
  if (option < 0 || option > 1) return CUDA_ERROR_INVALID_VALUE;
  *granule = BOARD_GRANULE;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t size, const CUmemAllocationProp *what,
                               unsigned long long flags) {
  board_physical_t *physical;
  TRY(check_allocation(what));
  if (flags) return CUDA_ERROR_INVALID_VALUE;
  TRY(told(board_physical_create(what->location.id, size, &physical)));
  *handle = (CUmemGenericAllocationHandle)(uintptr_t)physical;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  return told(board_physical_release(pointer_of(handle)));
}

NEWER_API CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle *handle, void *address) {
  board_physical_t *physical;
  TRY(told(board_physical_retain(address, &physical)));
  *handle = (CUmemGenericAllocationHandle)(uintptr_t)physical;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemAddressReserve(CUdeviceptr *address, size_t size, size_t alignment, CUdeviceptr wanted,
                                       unsigned long long flags) {
  void *made = NULL;
  if (flags || wanted || alignment & (alignment - 1)) return CUDA_ERROR_INVALID_VALUE;
  TRY(told(board_reserve(size, &made)));
  *address = (CUdeviceptr)(uintptr_t)made;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemAddressFree(CUdeviceptr address, size_t size) {
  return told(board_unreserve(pointer_of(address), size));
}

NEWER_API CUresult cuMemMap(CUdeviceptr address, size_t size, size_t offset, CUmemGenericAllocationHandle handle,
                            unsigned long long flags) {
  if (offset || flags) return CUDA_ERROR_INVALID_VALUE;
  return told(board_map(pointer_of(address), size, pointer_of(handle)));
}

NEWER_API CUresult cuMemUnmap(CUdeviceptr address, size_t size) {
  board_range_t range;
  if (!board_find(pointer_of(address), &range) || range.size != size) return CUDA_ERROR_INVALID_VALUE;
  return told(board_unmap(pointer_of(address)));
}

NEWER_API CUresult cuMemSetAccess(CUdeviceptr address, size_t size, const CUmemAccessDesc *access, size_t count) {
  (void)size;
  for (size_t i = 0; i < count; i++) {
    if (access[i].flags != 3) return CUDA_ERROR_INVALID_VALUE;
    TRY(told(board_set_access(pointer_of(address), access[i].location.id)));
  }
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemGetAccess(unsigned long long *flags, const CUmemLocation *location, CUdeviceptr address) {
  *flags = board_has_access(pointer_of(address), location->id) ? 3 : 0;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemExportToShareableHandle(void *shareable, CUmemGenericAllocationHandle handle, int type,
                                                unsigned long long flags) {
  if (type != 1 || flags) return CUDA_ERROR_INVALID_VALUE;
  return told(board_physical_export(pointer_of(handle), shareable));
}

NEWER_API CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle *handle, void *shareable, int type) {
  board_physical_t *physical;
  if (type != 1) return CUDA_ERROR_INVALID_VALUE;
  TRY(told(board_physical_import(0, (int)(intptr_t)shareable, &physical)));
  *handle = (CUmemGenericAllocationHandle)(uintptr_t)physical;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuMemGetHandleForAddressRange(void *handle, CUdeviceptr address, size_t size, int type,
                                                 unsigned long long flags) {
  board_range_t range;
  if (type != 1 || flags || address % 4096 || size % 4096) {
    return fail(CUDA_ERROR_INVALID_VALUE, "a dma-buf of part of a page");
  }
  if (!board_find(pointer_of(address), &range)) return CUDA_ERROR_INVALID_VALUE;
  return told(board_dmabuf(pointer_of(address), size, handle));
}

/* ---- the kernel -------------------------------------------------------------------------------------------------- */

typedef struct piece {
  CUdeviceptr to, from;
  unsigned long long size;
} piece_t;

typedef struct gather {
  const piece_t *list;
  unsigned count;
} gather_t;

static char module, function;

NEWER_API CUresult cuModuleLoadData(void **made, const void *image) {
  int device;
  TRY(here(&device));
  if (strncmp(image, ".version ", 9) != 0 || !strstr(image, ".entry hmc_gather(.param .u64 list, .param .u32 count)")) {
    return fail(CUDA_ERROR_INVALID_IMAGE, "a module that is not known");
  }
  *made = &module;
  return CUDA_SUCCESS;
}

NEWER_API CUresult cuModuleGetFunction(void **made, void *of, const char *name) {
  if (of != &module || strcmp(name, "hmc_gather") != 0) return CUDA_ERROR_NOT_FOUND;
  *made = &function;
  return CUDA_SUCCESS;
}

/* Reads the list when the stream comes to it, as a kernel does. */
static board_status_t run_gather(int device, void *argument) {
  const gather_t *gather = argument;
  for (unsigned i = 0; i < gather->count; i++) {
    const piece_t *piece = &gather->list[i];
    uint8_t *to = board_bytes(device, pointer_of(piece->to), piece->size);
    const uint8_t *from = board_bytes(device, pointer_of(piece->from), piece->size);
    if (!to || !from) return BOARD_NO_ACCESS;
    memmove(to, from, piece->size);
  }
  return BOARD_OK;
}

NEWER_API CUresult cuLaunchKernel(void *what, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                                  unsigned block_y, unsigned block_z, unsigned shared, void *stream, void **parameters,
                                  void **extra) {
  int device;
  board_range_t range;
  TRY(here(&device));
  if (what != &function || !grid_x || grid_y != 1 || grid_z != 1 || !block_x || block_x > 1024 || block_y != 1 ||
      block_z != 1 || shared || extra) {
    return fail(CUDA_ERROR_INVALID_VALUE, "a launch");
  }
  gather_t gather = {*(piece_t **)parameters[0], *(unsigned *)parameters[1]};
  if (!board_find(gather.list, &range) || range.kind != BOARD_PINNED ||
      (const char *)(gather.list + gather.count) > (char *)range.base + range.size) {
    return fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a list that the device does not reach");
  }
  return told(board_run_async(device, stream, run_gather, &gather, sizeof gather));
}
