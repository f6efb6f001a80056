/* NVIDIA GPUs, by the CUDA driver (libcuda).
 *
 * The runtime's primary contexts are used, so that pointers and streams of programs and frameworks are ours too. Each is
 * retained when the device is first used; the calling thread's stack of contexts is as it was after each call. */
#include "../../base/settings.h"
#include "../driver/table.h"
#include "api.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  DONE = 0,
  PEER_ALREADY = 704,
  NOT_READY = 600,
  NOT_SUPPORTED = 801,

  NON_BLOCKING = 1, /* CU_STREAM_NON_BLOCKING */
  NO_TIMING = 2,    /* CU_EVENT_DISABLE_TIMING */
  PORTABLE = 1,     /* CU_MEMHOSTREGISTER_PORTABLE, CU_MEMHOSTALLOC_PORTABLE */
  LAZY_PEERS = 1,   /* CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS */
  DESCRIPTOR = 1,   /* CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD */
  ON_DEVICE = 1,    /* CU_MEM_LOCATION_TYPE_DEVICE */
  PINNED = 1,       /* CU_MEM_ALLOCATION_TYPE_PINNED */
  READ_WRITE = 3,   /* CU_MEM_ACCESS_FLAGS_PROT_READWRITE */
  HOST_SIDE = 1,    /* CU_MEMORYTYPE_HOST */
  DEVICE_SIDE = 2,  /* CU_MEMORYTYPE_DEVICE */
  STREAM_ORDER = 1, /* CU_MEMCPY_SRC_ACCESS_ORDER_STREAM */

  /* CUdevice_attribute */
  HAS_VMM = 102,
  HAS_DESCRIPTORS = 103,
  HAS_RDMA_WITH_VMM = 110,
  FLUSH_OPTIONS = 117, /* FLUSH_BY_CALL, or operations of streams only */
  WRITES_ORDERING = 118,
  HAS_DMABUF = 124,

  FLUSH_BY_CALL = 1, /* CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_HOST */

  /* CUpointer_attribute */
  POINTER_MEMORY_TYPE = 2,
  POINTER_DEVICE = 9,
  POINTER_START = 11,
  POINTER_SIZE = 12,

  /* when a kernel is worth it: this many pieces, of so many bytes in the mean */
  GATHER_LEAST = 64,
  GATHER_MEAN_MOST = 32 << 10,
  MAX_PITCH = 0x7fffffff,
};

#define SLOT(member) offsetof(cuda_functions_t, member)
static const hmci_symbol_t symbols[] = {
    {"cuInit", SLOT(init), HMCI_NEED_BASE},
    {"cuDriverGetVersion", SLOT(version), HMCI_NEED_BASE},
    {"cuDeviceGetCount", SLOT(device_count), HMCI_NEED_BASE},
    {"cuDeviceGet", SLOT(device_get), HMCI_NEED_BASE},
    {"cuDeviceGetName", SLOT(device_name), HMCI_NEED_PROPERTIES},
    {"cuDeviceTotalMem_v2", SLOT(device_bytes), HMCI_NEED_PROPERTIES},
    {"cuDeviceGetPCIBusId", SLOT(device_pci), HMCI_NEED_PROPERTIES},
    {"cuDeviceGetAttribute", SLOT(device_attribute), HMCI_NEED_BASE},
    {"cuGetErrorString", SLOT(error_string), HMCI_NEED_BASE},
    {"cuDevicePrimaryCtxRetain", SLOT(context_retain), HMCI_NEED_BASE},
    {"cuDevicePrimaryCtxGetState", SLOT(context_state), HMCI_NEED_PROPERTIES},
    {"cuCtxPushCurrent_v2", SLOT(context_push), HMCI_NEED_BASE},
    {"cuCtxPopCurrent_v2", SLOT(context_pop), HMCI_NEED_BASE},
    {"cuMemAlloc_v2", SLOT(allocate), HMCI_NEED_BASE},
    {"cuMemFree_v2", SLOT(free), HMCI_NEED_BASE},
    {"cuMemGetInfo_v2", SLOT(memory_info), HMCI_NEED_PROPERTIES},
    {"cuMemsetD8Async", SLOT(set), HMCI_NEED_BASE},
    {"cuMemcpyHtoDAsync_v2", SLOT(copy_from_host), HMCI_NEED_BASE},
    {"cuMemcpyDtoHAsync_v2", SLOT(copy_to_host), HMCI_NEED_BASE},
    {"cuMemcpyDtoDAsync_v2", SLOT(copy_within), HMCI_NEED_BASE},
    {"cuMemcpy2DAsync_v2", SLOT(copy_2d), HMCI_NEED_BASE},
    {"cuMemcpyBatchAsync", SLOT(batch), HMCI_NEED_BATCH},
    {"cuMemcpyBatchAsync_v2", SLOT(batch_13), HMCI_NEED_BATCH_LATER},
    {"cuStreamCreate", SLOT(stream_create), HMCI_NEED_BASE},
    {"cuStreamDestroy_v2", SLOT(stream_destroy), HMCI_NEED_BASE},
    {"cuStreamSynchronize", SLOT(stream_wait), HMCI_NEED_BASE},
    {"cuEventCreate", SLOT(event_create), HMCI_NEED_BASE},
    {"cuEventDestroy_v2", SLOT(event_destroy), HMCI_NEED_BASE},
    {"cuEventRecord", SLOT(event_record), HMCI_NEED_BASE},
    {"cuEventQuery", SLOT(event_query), HMCI_NEED_BASE},
    {"cuMemHostRegister_v2", SLOT(pin), HMCI_NEED_PINNING},
    {"cuMemHostUnregister", SLOT(unpin), HMCI_NEED_PINNING},
    {"cuMemHostAlloc", SLOT(host_allocate), HMCI_NEED_HOST},
    {"cuMemFreeHost", SLOT(host_free), HMCI_NEED_HOST},
    {"cuPointerGetAttributes", SLOT(attributes), HMCI_NEED_QUERY},
    {"cuIpcGetMemHandle", SLOT(ipc_get), HMCI_NEED_IPC},
    {"cuIpcOpenMemHandle_v2", SLOT(ipc_open), HMCI_NEED_IPC},
    {"cuIpcCloseMemHandle", SLOT(ipc_close), HMCI_NEED_IPC},
    {"cuMemGetAllocationGranularity", SLOT(granularity), HMCI_NEED_PHYSICAL},
    {"cuMemCreate", SLOT(create), HMCI_NEED_PHYSICAL},
    {"cuMemRelease", SLOT(release), HMCI_NEED_PHYSICAL},
    {"cuMemRetainAllocationHandle", SLOT(retain), HMCI_NEED_PHYSICAL},
    {"cuMemAddressReserve", SLOT(reserve), HMCI_NEED_PHYSICAL},
    {"cuMemAddressFree", SLOT(unreserve), HMCI_NEED_PHYSICAL},
    {"cuMemMap", SLOT(map), HMCI_NEED_PHYSICAL},
    {"cuMemUnmap", SLOT(unmap), HMCI_NEED_PHYSICAL},
    {"cuMemSetAccess", SLOT(set_access), HMCI_NEED_PHYSICAL},
    {"cuMemExportToShareableHandle", SLOT(export_handle), HMCI_NEED_PHYSICAL},
    {"cuMemImportFromShareableHandle", SLOT(import_handle), HMCI_NEED_PHYSICAL},
    {"cuMemGetHandleForAddressRange", SLOT(range_handle), HMCI_NEED_DMABUF},
    {"cuDeviceCanAccessPeer", SLOT(can_access), HMCI_NEED_PEERS},
    {"cuCtxEnablePeerAccess", SLOT(enable_peer), HMCI_NEED_PEERS},
    {"cuFlushGPUDirectRDMAWrites", SLOT(flush_writes), HMCI_NEED_SETTLE},
    {"cuModuleLoadData", SLOT(module_load), HMCI_NEED_GATHER},
    {"cuModuleGetFunction", SLOT(module_function), HMCI_NEED_GATHER},
    {"cuLaunchKernel", SLOT(launch), HMCI_NEED_GATHER},
    {NULL, 0, 0},
};
static const char *const files[] = {"libcuda.so.1", "libcuda.so", NULL};

typedef struct device {
  int handle;
  _Atomic(void *) context; /* contexts_lock to make */
  bool has_vmm, has_rdma_with_vmm, has_dmabuf, needs_flush;
} device_t;

static bool uses_gather; /* constant after `start`, as is gpu_count */
static int gpu_count;
static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;
static device_t gpus[HMCI_DRIVER_DEVICES];
static hmci_driver_ops_t operations;

#define told hmci_cuda_told

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static int attribute_of(int device, int attribute) {
  int value = 0;
  return hmci_cuda.device_attribute(&value, attribute, device) == DONE ? value : 0;
}

static bool has(int device, int attribute) { return attribute_of(device, attribute) != 0; }

static void look_at(device_t *device) {
  int value = 0;
  device->has_vmm = has(device->handle, HAS_VMM) && has(device->handle, HAS_DESCRIPTORS);
  device->has_rdma_with_vmm = has(device->handle, HAS_RDMA_WITH_VMM);
  device->has_dmabuf = has(device->handle, HAS_DMABUF);
  device->needs_flush = hmci_cuda.device_attribute(&value, WRITES_ORDERING, device->handle) == DONE && value == 0 &&
                        attribute_of(device->handle, FLUSH_OPTIONS) & FLUSH_BY_CALL;
}

static cuda_allocation_t describe_allocation(int device) {
  return (cuda_allocation_t){.type = PINNED,
                             .handle_types = DESCRIPTOR,
                             .location = {ON_DEVICE, gpus[device].handle},
                             .flags = {.gpu_direct_rdma = gpus[device].has_rdma_with_vmm}};
}

/* All devices must have physical memory to share, because the granule is one. */
static void find_granule(int count) {
  size_t most = 0;
  for (int i = 0; i < count; i++) {
    size_t granule = 0;
    cuda_allocation_t allocation = describe_allocation(i);
    if (!gpus[i].has_vmm || !hmci_cuda.granularity || hmci_cuda.granularity(&granule, &allocation, 0) != DONE) return;
    if (granule > most) most = granule;
  }
  operations.granule = most;
}

/* What is wrong with other settings is for others to say. */
static bool wants_gather(void) {
  hmci_settings_t settings;
  bool wanted = hmci_settings_read(&settings) != HMC_SUCCESS || settings.cuda_gather;
  explicit_bzero(&settings, sizeof settings); /* the secret is in it */
  return wanted;
}

static hmc_status_t start(int *found, char *version, size_t size) {
  hmc_status_t status = told(hmci_cuda.init(0), "cuInit");
  if (status != HMC_SUCCESS) return status;
  int number = 0, count = 0;
  status = told(hmci_cuda.version(&number), "cuDriverGetVersion");
  if (status == HMC_SUCCESS) status = told(hmci_cuda.device_count(&count), "cuDeviceGetCount");
  if (status != HMC_SUCCESS) return status;
  snprintf(version, size, "CUDA driver %d.%d", number / 1000, number % 1000 / 10);
  if (count > HMCI_DRIVER_DEVICES) count = HMCI_DRIVER_DEVICES;
  for (int i = 0; i < count; i++) {
    status = told(hmci_cuda.device_get(&gpus[i].handle, i), "cuDeviceGet");
    if (status != HMC_SUCCESS) return status;
    look_at(&gpus[i]);
  }
  find_granule(count);
  uses_gather = wants_gather() && hmci_cuda.module_load && hmci_cuda.module_function && hmci_cuda.launch &&
                hmci_cuda.host_allocate;
  *found = gpu_count = count;
  return HMC_SUCCESS;
}

static hmc_status_t retain(device_t *device) {
  void *context;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&contexts_lock);
  if (!atomic_load(&device->context)) {
    status = told(hmci_cuda.context_retain(&context, device->handle), "cuDevicePrimaryCtxRetain");
    if (status == HMC_SUCCESS) atomic_store(&device->context, context);
  }
  pthread_mutex_unlock(&contexts_lock);
  return status;
}

static hmc_status_t enter(int device, void **saved) {
  *saved = NULL;
  hmc_status_t status = atomic_load(&gpus[device].context) ? HMC_SUCCESS : retain(&gpus[device]);
  if (status != HMC_SUCCESS) return status;
  return told(hmci_cuda.context_push(atomic_load(&gpus[device].context)), "cuCtxPushCurrent");
}

static void leave(int device, void *saved) {
  void *context;
  (void)device, (void)saved;
  hmci_cuda.context_pop(&context);
}

/* Free memory is looked at only where a context is there: making one costs hundreds of megabytes. */
static hmc_status_t describe(int device, hmc_memory_properties_t *properties) {
  size_t bytes = 0, free_bytes = 0;
  unsigned flags;
  int active = 0;
  void *saved;
  hmc_status_t status = told(hmci_cuda.device_name(properties->name, (int)sizeof properties->name, gpus[device].handle),
                             "cuDeviceGetName");
  if (status == HMC_SUCCESS) status = told(hmci_cuda.device_bytes(&bytes, gpus[device].handle), "cuDeviceTotalMem");
  if (status != HMC_SUCCESS) return status;
  properties->total_bytes = bytes;
  if (!gpus[device].has_dmabuf) properties->features &= ~HMC_MEMORY_DMABUF;
  if (hmci_cuda.context_state(gpus[device].handle, &flags, &active) != DONE || !active) return HMC_SUCCESS;
  if (enter(device, &saved) != HMC_SUCCESS) return HMC_SUCCESS;
  if (hmci_cuda.memory_info(&free_bytes, &bytes) == DONE) properties->free_bytes = free_bytes;
  leave(device, saved);
  return HMC_SUCCESS;
}

static void pci(int device, char *text, size_t size) {
  if (hmci_cuda.device_pci(text, (int)size, gpus[device].handle) != DONE) text[0] = '\0';
}

static hmc_status_t reaches(int device, int other, bool *can) {
  int answer = 0;
  hmc_status_t status =
      told(hmci_cuda.can_access(&answer, gpus[device].handle, gpus[other].handle), "cuDeviceCanAccessPeer");
  *can = answer;
  return status;
}

/* The program may have done so itself. */
static hmc_status_t let_in(int device, int other) {
  (void)device;
  hmc_status_t status = atomic_load(&gpus[other].context) ? HMC_SUCCESS : retain(&gpus[other]);
  if (status != HMC_SUCCESS) return status;
  int error = hmci_cuda.enable_peer(atomic_load(&gpus[other].context), 0);
  return error == PEER_ALREADY ? HMC_SUCCESS : told(error, "cuCtxEnablePeerAccess");
}

static hmc_status_t settle(int device) {
  enum { THIS_CONTEXT = 0, ALL_DEVICES = 200 };
  if (!gpus[device].needs_flush) return HMC_SUCCESS;
  return told(hmci_cuda.flush_writes(THIS_CONTEXT, ALL_DEVICES), "cuFlushGPUDirectRDMAWrites");
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static hmc_status_t allocate(size_t size, void **pointer) {
  return told(hmci_cuda.allocate(pointer, size), "cuMemAlloc");
}
static hmc_status_t free_(void *pointer) { return told(hmci_cuda.free(pointer), "cuMemFree"); }
static hmc_status_t clear(void *pointer, size_t size, void *stream) {
  return told(hmci_cuda.set(pointer, 0, size, stream), "cuMemsetD8Async");
}
static hmc_status_t pin(void *pointer, size_t size) {
  return told(hmci_cuda.pin(pointer, size, PORTABLE), "cuMemHostRegister");
}
static hmc_status_t unpin(void *pointer) { return told(hmci_cuda.unpin(pointer), "cuMemHostUnregister"); }
static hmc_status_t host_allocate(size_t size, void **pointer) {
  return told(hmci_cuda.host_allocate(pointer, size, PORTABLE), "cuMemHostAlloc");
}
static hmc_status_t host_free(void *pointer) { return told(hmci_cuda.host_free(pointer), "cuMemFreeHost"); }

static hmc_status_t query(const void *pointer, hmc_memory_info_t *info) {
  static const int wanted[] = {POINTER_MEMORY_TYPE, POINTER_DEVICE, POINTER_START, POINTER_SIZE};
  unsigned type = 0;
  int device = 0;
  void *base = NULL;
  size_t size = 0;
  void *values[] = {&type, &device, &base, &size};
  if (hmci_cuda.attributes(4, wanted, values, pointer) != DONE || type != DEVICE_SIDE || device < 0 ||
      device >= HMCI_DRIVER_DEVICES) {
    return hmci_fail(HMC_NOT_FOUND, "nvidia: %p is not device memory", pointer);
  }
  *info =
      (hmc_memory_info_t){.size = sizeof *info, .memory = {HMC_MEMORY_NVIDIA_GPU, device}, .base = base, .bytes = size};
  return HMC_SUCCESS;
}

/* ---- streams, events, copies ------------------------------------------------------------------------------------- */

static hmc_status_t stream_create(void **stream) {
  return told(hmci_cuda.stream_create(stream, NON_BLOCKING), "cuStreamCreate");
}
static hmc_status_t stream_destroy(void *stream) { return told(hmci_cuda.stream_destroy(stream), "cuStreamDestroy"); }
static hmc_status_t stream_wait(void *stream) { return told(hmci_cuda.stream_wait(stream), "cuStreamSynchronize"); }
static hmc_status_t event_create(void **event) {
  return told(hmci_cuda.event_create(event, NO_TIMING), "cuEventCreate");
}
static hmc_status_t event_destroy(void *event) { return told(hmci_cuda.event_destroy(event), "cuEventDestroy"); }
static hmc_status_t event_record(void *event, void *stream) {
  return told(hmci_cuda.event_record(event, stream), "cuEventRecord");
}
static hmc_status_t event_query(void *event) {
  int error = hmci_cuda.event_query(event);
  return error == NOT_READY ? HMC_IN_PROGRESS : told(error, "cuEventQuery");
}

static hmc_status_t copy(const hmci_driver_copy_t *what, void *stream) {
  switch (what->direction) {
  case HMCI_COPY_FROM_HOST:
    return told(hmci_cuda.copy_from_host(what->destination, what->source, what->size, stream), "cuMemcpyHtoDAsync");
  case HMCI_COPY_TO_HOST:
    return told(hmci_cuda.copy_to_host(what->destination, what->source, what->size, stream), "cuMemcpyDtoHAsync");
  case HMCI_COPY_WITHIN: break;
  }
  return told(hmci_cuda.copy_within(what->destination, what->source, what->size, stream), "cuMemcpyDtoDAsync");
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* Blocks of one size at one distance from each other, on both sides. */
static bool is_strided(const hmci_copy_piece_t *pieces, uint32_t count, size_t *to_pitch, size_t *from_pitch) {
  uintptr_t to = (uintptr_t)pieces[0].destination, from = (uintptr_t)pieces[0].source;
  *to_pitch = (uintptr_t)pieces[1].destination - to;
  *from_pitch = (uintptr_t)pieces[1].source - from;
  if (*to_pitch < pieces[0].size || *from_pitch < pieces[0].size || *to_pitch > MAX_PITCH || *from_pitch > MAX_PITCH)
    return false;
  for (uint32_t i = 1; i < count; i++) {
    if (pieces[i].size != pieces[0].size || (uintptr_t)pieces[i].destination != to + i * *to_pitch ||
        (uintptr_t)pieces[i].source != from + i * *from_pitch)
      return false;
  }
  return true;
}

static hmc_status_t copy_strided(const hmci_copy_piece_t *pieces, uint32_t count, hmci_copy_direction_t direction,
                                 size_t to_pitch, size_t from_pitch, void *stream) {
  bool to_host = direction == HMCI_COPY_TO_HOST, from_host = direction == HMCI_COPY_FROM_HOST;
  cuda_copy_2d_t what = {.source_type = from_host ? HOST_SIDE : DEVICE_SIDE,
                         .source_pitch = from_pitch,
                         .destination_type = to_host ? HOST_SIDE : DEVICE_SIDE,
                         .destination_pitch = to_pitch,
                         .width = pieces[0].size,
                         .height = count};
  if (from_host) what.source_host = pieces[0].source;
  if (!from_host) what.source_device = pieces[0].source;
  if (to_host) what.destination_host = pieces[0].destination;
  if (!to_host) what.destination_device = pieces[0].destination;
  return told(hmci_cuda.copy_2d(&what, stream), "cuMemcpy2DAsync");
}

static hmc_status_t copy_batch(const hmci_copy_piece_t *pieces, uint32_t count, void *stream) {
  void **lists = malloc(count * 3 * sizeof *lists);
  if (!lists) return HMC_UNSUPPORT;
  void **to = lists;
  const void **from = (const void **)(lists + count);
  size_t *sizes = (size_t *)(lists + 2 * (size_t)count), first = 0, failed = 0;
  for (uint32_t i = 0; i < count; i++) {
    to[i] = pieces[i].destination;
    from[i] = pieces[i].source;
    sizes[i] = pieces[i].size;
  }
  cuda_copy_attributes_t attributes = {.source_order = STREAM_ORDER};
  int error = hmci_cuda.batch
                  ? hmci_cuda.batch(to, (void **)from, sizes, count, &attributes, &first, 1, &failed, stream)
                  : hmci_cuda.batch_13(to, from, sizes, count, &attributes, &first, 1, stream);
  free(lists);
  return error == NOT_SUPPORTED ? HMC_UNSUPPORT : told(error, "cuMemcpyBatchAsync");
}

/* A kernel needs processors of the GPU, which a user's kernel may have taken for long: it is for many small blocks only,
 * which copy engines are slow with, and a setting turns it off. */
static bool is_for_gather(const hmci_copy_piece_t *pieces, uint32_t count, hmci_copy_direction_t direction,
                          bool one_device) {
  uint64_t bytes = 0;
  if (!uses_gather || direction != HMCI_COPY_WITHIN || !one_device || count < GATHER_LEAST) return false;
  for (uint32_t i = 0; i < count; i++) bytes += pieces[i].size;
  return bytes / count <= GATHER_MEAN_MOST;
}

static hmc_status_t batch(int device, const hmci_copy_piece_t *pieces, uint32_t count, hmci_copy_direction_t direction,
                          bool one_device, void *stream) {
  size_t to_pitch, from_pitch;
  hmc_status_t status = HMC_UNSUPPORT;
  if (is_strided(pieces, count, &to_pitch, &from_pitch))
    return copy_strided(pieces, count, direction, to_pitch, from_pitch, stream);
  if (is_for_gather(pieces, count, direction, one_device)) status = hmci_cuda_gather(device, pieces, count, stream);
  if (status == HMC_UNSUPPORT && (hmci_cuda.batch || hmci_cuda.batch_13)) status = copy_batch(pieces, count, stream);
  return status;
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

static hmc_status_t export(void *base, size_t size, uint8_t *handle) {
  cuda_ipc_handle_t made;
  (void)size;
  hmc_status_t status = told(hmci_cuda.ipc_get(&made, base), "cuIpcGetMemHandle");
  if (status == HMC_SUCCESS) memcpy(handle, made.bytes, sizeof made.bytes);
  return status;
}
static hmc_status_t import(const uint8_t *handle, void **base) {
  cuda_ipc_handle_t from;
  memcpy(from.bytes, handle, sizeof from.bytes);
  return told(hmci_cuda.ipc_open(base, from, LAZY_PEERS), "cuIpcOpenMemHandle");
}
static void close_import(void *base, const uint8_t *handle) {
  (void)handle;
  hmci_cuda.ipc_close(base);
}

/* ---- physical memory --------------------------------------------------------------------------------------------- */

/* Peer access does not cover physical memory: each mapping names the devices. What cannot reach it is left out. */
static void let_others_in(int device, void *address, size_t size) {
  cuda_access_t access[HMCI_DRIVER_DEVICES];
  size_t count = 0;
  for (int i = 0; i < gpu_count && hmci_cuda.can_access; i++) {
    int can = 0;
    if (i == device || hmci_cuda.can_access(&can, gpus[i].handle, gpus[device].handle) != DONE || !can) continue;
    access[count++] = (cuda_access_t){{ON_DEVICE, gpus[i].handle}, READ_WRITE};
  }
  if (count) hmci_cuda.set_access(address, size, access, count);
}

static hmc_status_t map(int device, unsigned long long handle, size_t size, void **pointer) {
  void *address = NULL;
  cuda_access_t access = {{ON_DEVICE, gpus[device].handle}, READ_WRITE};
  hmc_status_t status = told(hmci_cuda.reserve(&address, size, 0, NULL, 0), "cuMemAddressReserve");
  if (status != HMC_SUCCESS) return status;
  status = told(hmci_cuda.map(address, size, 0, handle, 0), "cuMemMap");
  if (status != HMC_SUCCESS) goto err_address;
  status = told(hmci_cuda.set_access(address, size, &access, 1), "cuMemSetAccess");
  if (status != HMC_SUCCESS) goto err_map;
  let_others_in(device, address, size);
  *pointer = address;
  return HMC_SUCCESS;

err_map:
  hmci_cuda.unmap(address, size);
err_address:
  hmci_cuda.unreserve(address, size);
  return status;
}

/* The mapping keeps the memory: the handle is let go of. */
static hmc_status_t physical_allocate(int device, size_t size, void **pointer) {
  unsigned long long handle;
  cuda_allocation_t allocation = describe_allocation(device);
  hmc_status_t status = told(hmci_cuda.create(&handle, size, &allocation, 0), "cuMemCreate");
  if (status != HMC_SUCCESS) return status;
  status = map(device, handle, size, pointer);
  hmci_cuda.release(handle);
  return status;
}

static void physical_free(void *pointer, size_t size) {
  hmci_cuda.unmap(pointer, size);
  hmci_cuda.unreserve(pointer, size);
}

static hmc_status_t physical_export(void *pointer, int *descriptor) {
  unsigned long long handle;
  hmc_status_t status = told(hmci_cuda.retain(&handle, pointer), "cuMemRetainAllocationHandle");
  if (status != HMC_SUCCESS) return status;
  status = told(hmci_cuda.export_handle(descriptor, handle, DESCRIPTOR, 0), "cuMemExportToShareableHandle");
  hmci_cuda.release(handle);
  return status;
}

static hmc_status_t physical_import(int device, int descriptor, size_t size, void **pointer) {
  unsigned long long handle;
  hmc_status_t status = told(hmci_cuda.import_handle(&handle, (void *)(intptr_t)descriptor, DESCRIPTOR),
                             "cuMemImportFromShareableHandle");
  if (status != HMC_SUCCESS) return status;
  status = map(device, handle, size, pointer);
  hmci_cuda.release(handle);
  return status;
}

/* The driver takes whole pages of the host's size only. */
static hmc_status_t dmabuf(void *pointer, size_t size, int *descriptor, uint64_t *offset) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = (uintptr_t)pointer / page * page;
  uintptr_t to = ((uintptr_t)pointer + size + page - 1) / page * page;
  hmc_status_t status =
      told(hmci_cuda.range_handle(descriptor, (void *)from, to - from, DESCRIPTOR, 0), "cuMemGetHandleForAddressRange");
  if (status == HMC_SUCCESS) *offset = (uintptr_t)pointer - from;
  return status;
}

static hmci_driver_ops_t operations = {
    .kind = HMC_MEMORY_NVIDIA_GPU,
    .name = "nvidia",
    .variable = "HMC_CUDA_LIBRARY",
    .files = files,
    .symbols = symbols,
    .functions = &hmci_cuda,
    .copies_across = true,
    .handle_size = sizeof(cuda_ipc_handle_t),
    .exports_foreign = true,
    .start = start,
    .enter = enter,
    .leave = leave,
    .allocate = allocate,
    .free = free_,
    .clear = clear,
    .stream_create = stream_create,
    .stream_destroy = stream_destroy,
    .stream_wait = stream_wait,
    .event_create = event_create,
    .event_destroy = event_destroy,
    .event_record = event_record,
    .event_query = event_query,
    .copy = copy,
    .batch = batch,
    .query = query,
    .host_allocate = host_allocate,
    .host_free = host_free,
    .pin = pin,
    .unpin = unpin,
    .export = export,
    .import = import,
    .close_import = close_import,
    .physical_allocate = physical_allocate,
    .physical_free = physical_free,
    .physical_export = physical_export,
    .physical_import = physical_import,
    .dmabuf = dmabuf,
    .describe = describe,
    .pci = pci,
    .reaches = reaches,
    .let_in = let_in,
    .settle = settle,
};
static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

HMCI_DRIVER_TABLE(cuda, HMC_MEMORY_NVIDIA_GPU, "nvidia", true);
