/* Cambricon MLUs, by the Cambricon runtime (libcnrt).
 *
 * A copy between two devices is a call of its own there. Host memory cannot be pinned where it is, only allocated pinned.
 * Handles of exports are given for allocations of our own only, for older drivers give one only once.
 *
 * Prototypes and values: cnrt.h of CNRT 6.0 and 6.14 (Cambricon CNToolkit), as github.com/Cambricon/torch_mlu and the mlu
 * adaptor of github.com/FlagOpen/FlagCX use it. The copy on a queue has had three names with one prototype; 6.14 announces the
 * end of the older two. */
#include "../driver/table.h"

#include <stdio.h>
#include <string.h>

enum {
  DONE = 0,
  NOT_READY = 1,          /* cnrtErrorNotReady */
  NO_DEVICE = 100004,     /* cnrtErrorNoDevice */
  BAD_DEVICE = 100005,    /* cnrtErrorDeviceInvalid */
  NOT_SUPPORTED = 100050, /* cnrtErrorNotSupport */
  NO_MEMORY = 100100,     /* cnrtErrorNoMem */
  BUSY = 632014,          /* cnrtErrorBusy: what older ones say for NOT_READY */
  HOST_TO_DEVICE = 0,     /* cnrtMemTransDir_t */
  WITHIN_DEVICE = 1,
  DEVICE_TO_HOST = 2,
  ON_DEVICE = 2, /* cnrtMemTypeDevice */
};

/* cnrtPointerAttributes_t, with room behind it for what later versions add. */
typedef struct pointer_attributes {
  int type, device;
  size_t size;
  void *device_pointer, *host_pointer;
  int cache_mode;
  void *base;
  uint64_t rest[8];
} pointer_attributes_t;

static struct {
  int (*device_count)(unsigned *count);
  int (*get_device)(int *device);
  int (*set_device)(int device);
  int (*version)(int *major, int *minor, int *patch);
  const char *(*error_string)(int error);
  int (*last_error)(void);
  int (*device_pci)(char *text, int size, int device);
  int (*memory_info)(size_t *free_bytes, size_t *total_bytes);
  int (*allocate)(void **pointer, size_t size);
  int (*free)(void *pointer);
  int (*host_allocate)(void **pointer, size_t size);
  int (*host_free)(void *pointer);
  int (*attributes)(pointer_attributes_t *attributes, const void *pointer);
  int (*copy)(void *to, void *from, size_t size, void *queue, int direction);
  int (*copy_between)(void *to, int to_device, void *from, int from_device, size_t size, void *queue);
  int (*set)(void *pointer, int value, size_t size, void *queue);
  int (*queue_create)(void **queue);
  int (*queue_destroy)(void *queue);
  int (*queue_wait)(void *queue);
  int (*notifier_create)(void **notifier);
  int (*notifier_destroy)(void *notifier);
  int (*notifier_place)(void *notifier, void *queue);
  int (*notifier_query)(void *notifier);
  int (*acquire)(void **handle, void *pointer);
  int (*map)(void **pointer, void *handle, int flags);
  int (*unmap)(void *pointer);
  int (*can_access)(unsigned *can, int device, int peer);
} cnrt;

#define SLOT(member) offsetof(__typeof__(cnrt), member)
static const hmci_symbol_t symbols[] = {
    {"cnrtGetDeviceCount", SLOT(device_count), HMCI_NEED_BASE},
    {"cnrtGetDevice", SLOT(get_device), HMCI_NEED_BASE},
    {"cnrtSetDevice", SLOT(set_device), HMCI_NEED_BASE},
    {"cnrtGetLibVersion", SLOT(version), HMCI_NEED_PROPERTIES},
    {"cnrtGetErrorStr", SLOT(error_string), HMCI_NEED_BASE},
    {"cnrtGetLastError", SLOT(last_error), HMCI_NEED_BASE},
    {"cnrtDeviceGetPCIBusId", SLOT(device_pci), HMCI_NEED_PROPERTIES},
    {"cnrtMemGetInfo", SLOT(memory_info), HMCI_NEED_PROPERTIES},
    {"cnrtMalloc", SLOT(allocate), HMCI_NEED_BASE},
    {"cnrtFree", SLOT(free), HMCI_NEED_BASE},
    {"cnrtHostMalloc", SLOT(host_allocate), HMCI_NEED_HOST},
    {"cnrtFreeHost", SLOT(host_free), HMCI_NEED_HOST},
    {"cnrtPointerGetAttributes", SLOT(attributes), HMCI_NEED_QUERY},
    {"cnrtMemcpyAsync_V3|cnrtMemcpyAsync_V2|cnrtMemcpyAsync", SLOT(copy), HMCI_NEED_BASE},
    {"cnrtMemcpyPeerAsync", SLOT(copy_between), HMCI_NEED_PEERS},
    {"cnrtMemsetAsync", SLOT(set), HMCI_NEED_BASE},
    {"cnrtQueueCreate", SLOT(queue_create), HMCI_NEED_BASE},
    {"cnrtQueueDestroy", SLOT(queue_destroy), HMCI_NEED_BASE},
    {"cnrtQueueSync", SLOT(queue_wait), HMCI_NEED_BASE},
    {"cnrtNotifierCreate", SLOT(notifier_create), HMCI_NEED_BASE},
    {"cnrtNotifierDestroy", SLOT(notifier_destroy), HMCI_NEED_BASE},
    {"cnrtPlaceNotifier", SLOT(notifier_place), HMCI_NEED_BASE},
    {"cnrtQueryNotifier", SLOT(notifier_query), HMCI_NEED_BASE},
    {"cnrtAcquireMemHandle", SLOT(acquire), HMCI_NEED_IPC},
    {"cnrtMapMemHandle", SLOT(map), HMCI_NEED_IPC},
    {"cnrtUnMapMemHandle", SLOT(unmap), HMCI_NEED_IPC},
    {"cnrtGetPeerAccessibility", SLOT(can_access), HMCI_NEED_PEERS},
    {NULL, 0, 0},
};
static const char *const files[] = {"libcnrt.so", NULL};

static hmc_status_t told(int error, const char *call) {
  if (error == DONE) return HMC_SUCCESS;
  const char *text = cnrt.error_string(error);
  cnrt.last_error(); /* it stays there for the user's next check otherwise */
  hmc_status_t status = error == NO_MEMORY                             ? HMC_NO_MEMORY
                        : error == BAD_DEVICE                          ? HMC_NOT_FOUND
                        : error == NO_DEVICE || error == NOT_SUPPORTED ? HMC_UNSUPPORT
                                                                       : HMC_ERROR;
  return hmci_fail(status, "mlu: %s: %s (error %d)", call, text ? text : "unknown", error);
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static hmc_status_t start(int *devices, char *version, size_t size) {
  unsigned count = 0;
  hmc_status_t status = told(cnrt.device_count(&count), "cnrtGetDeviceCount");
  if (status != HMC_SUCCESS) return status;
  *devices = (int)count;
  int major = 0, minor = 0, patch = 0;
  if (cnrt.version) cnrt.version(&major, &minor, &patch);
  snprintf(version, size, "CNRT %d.%d.%d", major, minor, patch);
  return HMC_SUCCESS;
}

static hmc_status_t enter(int device, void **saved) {
  int before = device;
  hmc_status_t status = told(cnrt.get_device(&before), "cnrtGetDevice");
  *saved = (void *)(intptr_t)before;
  return status != HMC_SUCCESS || before == device ? status : told(cnrt.set_device(device), "cnrtSetDevice");
}

static void leave(int device, void *saved) {
  int before = (int)(intptr_t)saved;
  if (before != device) cnrt.set_device(before);
}

static void pci(int device, char *text, size_t size) {
  if (cnrt.device_pci(text, (int)size, device) != DONE) text[0] = '\0';
}

static hmc_status_t describe(int device, hmc_memory_properties_t *properties) {
  void *saved;
  size_t free_bytes, total_bytes;
  hmc_status_t status = enter(device, &saved);
  if (status != HMC_SUCCESS) return status;
  snprintf(properties->name, sizeof properties->name, "Cambricon MLU");
  status = told(cnrt.memory_info(&free_bytes, &total_bytes), "cnrtMemGetInfo");
  if (status == HMC_SUCCESS) {
    properties->free_bytes = free_bytes;
    properties->total_bytes = total_bytes;
  }
  leave(device, saved);
  return status;
}

static hmc_status_t reaches(int device, int other, bool *can) {
  unsigned answer = 0;
  hmc_status_t status = told(cnrt.can_access(&answer, device, other), "cnrtGetPeerAccessibility");
  *can = answer;
  return status;
}

/* There is nothing to open, but the runtime copies only between devices that reach each other. */
static hmc_status_t let_in(int device, int other) {
  (void)device, (void)other;
  return HMC_SUCCESS;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static hmc_status_t allocate(size_t size, void **pointer) { return told(cnrt.allocate(pointer, size), "cnrtMalloc"); }
static hmc_status_t free_(void *pointer) { return told(cnrt.free(pointer), "cnrtFree"); }
static hmc_status_t clear(void *pointer, size_t size, void *queue) {
  return told(cnrt.set(pointer, 0, size, queue), "cnrtMemsetAsync");
}
static hmc_status_t host_allocate(size_t size, void **pointer) {
  return told(cnrt.host_allocate(pointer, size), "cnrtHostMalloc");
}
static hmc_status_t host_free(void *pointer) { return told(cnrt.host_free(pointer), "cnrtFreeHost"); }

static hmc_status_t query(const void *pointer, hmc_memory_info_t *info) {
  pointer_attributes_t found = {0};
  int error = cnrt.attributes(&found, pointer);
  if (error != DONE) cnrt.last_error();
  if (error != DONE || found.type != ON_DEVICE) {
    return hmci_fail(HMC_NOT_FOUND, "mlu: %p is not device memory", pointer);
  }
  *info = (hmc_memory_info_t){.size = sizeof *info, .memory = {HMC_MEMORY_CAMBRICON_MLU, found.device}};
  if (found.base) {
    info->base = found.base;
    info->bytes = found.size;
  }
  return HMC_SUCCESS;
}

/* ---- queues, notifiers, copies ----------------------------------------------------------------------------------- */

static hmc_status_t queue_create(void **queue) { return told(cnrt.queue_create(queue), "cnrtQueueCreate"); }
static hmc_status_t queue_destroy(void *queue) { return told(cnrt.queue_destroy(queue), "cnrtQueueDestroy"); }
static hmc_status_t queue_wait(void *queue) { return told(cnrt.queue_wait(queue), "cnrtQueueSync"); }
static hmc_status_t notifier_create(void **made) { return told(cnrt.notifier_create(made), "cnrtNotifierCreate"); }
static hmc_status_t notifier_destroy(void *made) { return told(cnrt.notifier_destroy(made), "cnrtNotifierDestroy"); }
static hmc_status_t notifier_place(void *notifier, void *queue) {
  return told(cnrt.notifier_place(notifier, queue), "cnrtPlaceNotifier");
}
static hmc_status_t notifier_query(void *notifier) {
  int error = cnrt.notifier_query(notifier);
  if (error != NOT_READY && error != BUSY) return told(error, "cnrtQueryNotifier");
  cnrt.last_error();
  return HMC_IN_PROGRESS;
}

static hmc_status_t copy(const hmci_driver_copy_t *what, void *queue) {
  static const int directions[] = {HOST_TO_DEVICE, DEVICE_TO_HOST, WITHIN_DEVICE};
  void *from = (void *)what->source;
  if (what->direction == HMCI_COPY_WITHIN && what->to_device != what->from_device) {
    return told(cnrt.copy_between(what->destination, what->to_device, from, what->from_device, what->size, queue),
                "cnrtMemcpyPeerAsync");
  }
  return told(cnrt.copy(what->destination, from, what->size, queue, directions[what->direction]), "cnrtMemcpyAsync");
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

static hmc_status_t export(void *base, size_t size, uint8_t *handle) {
  void *made = NULL;
  (void)size;
  hmc_status_t status = told(cnrt.acquire(&made, base), "cnrtAcquireMemHandle");
  if (status == HMC_SUCCESS) memcpy(handle, &made, sizeof made);
  return status;
}
static hmc_status_t import(const uint8_t *handle, void **base) {
  void *from;
  memcpy(&from, handle, sizeof from);
  return told(cnrt.map(base, from, 0), "cnrtMapMemHandle");
}
static void close_import(void *base, const uint8_t *handle) {
  (void)handle;
  told(cnrt.unmap(base), "cnrtUnMapMemHandle");
}

static const hmci_driver_ops_t operations = {
    .kind = HMC_MEMORY_CAMBRICON_MLU,
    .name = "mlu",
    .variable = "HMC_CNRT_LIBRARY",
    .files = files,
    .symbols = symbols,
    .functions = &cnrt,
    .handle_size = sizeof(void *),
    .start = start,
    .enter = enter,
    .leave = leave,
    .allocate = allocate,
    .free = free_,
    .clear = clear,
    .stream_create = queue_create,
    .stream_destroy = queue_destroy,
    .stream_wait = queue_wait,
    .event_create = notifier_create,
    .event_destroy = notifier_destroy,
    .event_record = notifier_place,
    .event_query = notifier_query,
    .copy = copy,
    .query = query,
    .host_allocate = host_allocate,
    .host_free = host_free,
    .export = export,
    .import = import,
    .close_import = close_import,
    .describe = describe,
    .pci = pci,
    .reaches = reaches,
    .let_in = let_in,
};
static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

HMCI_DRIVER_TABLE(cnrt, HMC_MEMORY_CAMBRICON_MLU, "mlu", false);
