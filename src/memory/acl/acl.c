/* Huawei Ascend NPUs, by the Ascend Computing Language (libascendcl).
 *
 * A thread has no device there until it sets one, and cannot be without one afterwards: a thread that had none keeps the
 * device that HMC set in it. Memory between two devices is copied after each was let into the other. Keys of exports are
 * given for allocations of our own only, because they must be closed before the memory is freed.
 *
 * Prototypes and values: github.com/Ascend/pytorch, third_party/acl/inc/acl/acl.h, acl_base.h and acl_rt.h, and CANN's
 * AscendCL application development guide (aclrtIpcMemGetExportKey, aclrtHostRegisterV2, aclrtPointerGetAttributes). */
#include "../driver/table.h"

#include <stdio.h>
#include <string.h>

enum {
  DONE = 0,             /* ACL_SUCCESS */
  REPEATED = 100002,    /* ACL_ERROR_REPEAT_INITIALIZE */
  BAD_DEVICE = 107001,  /* ACL_ERROR_RT_INVALID_DEVICEID */
  UNSUPPORTED = 207000, /* ACL_ERROR_RT_FEATURE_NOT_SUPPORT */
  NO_MEMORY = 207001,   /* ACL_ERROR_RT_MEMORY_ALLOCATION */
  HUGE_FIRST = 0,       /* aclrtMemMallocPolicy */
  HOST_TO_DEVICE = 1,
  DEVICE_TO_HOST = 2,
  DEVICE_TO_DEVICE = 3, /* aclrtMemcpyKind */
  RECORDED = 1,         /* ACL_EVENT_RECORDED_STATUS_COMPLETE */
  EVENT_SYNC = 1,       /* ACL_EVENT_SYNC */
  ON_DEVICE = 1,        /* ACL_MEM_LOCATION_TYPE_DEVICE */
  HBM = 1,              /* ACL_HBM_MEM */
  PINNED = 0x10000000,  /* ACL_HOST_REG_PINNED */
  KEY = 65,
  OPEN_TO_ALL = 1, /* ACL_RT_IPC_MEM_EXPORT_FLAG_DISABLE_PID_VALIDATION */
  PEER_ACCESS = 1, /* ACL_RT_IPC_MEM_IMPORT_FLAG_ENABLE_PEER_ACCESS */
};

/* aclrtPtrAttributes, with room behind it for what later versions add. */
typedef struct pointer_attributes {
  uint32_t id;
  int type;
  uint32_t rest[16];
} pointer_attributes_t;

static struct {
  int (*init)(const char *config);
  const char *(*recent_error)(void);
  int (*get_version)(int32_t *major, int32_t *minor, int32_t *patch);
  const char *(*soc_name)(void);
  int (*device_count)(uint32_t *count);
  int (*set_device)(int32_t device);
  int (*get_context)(void **context);
  int (*set_context)(void *context);
  int (*allocate)(void **pointer, size_t size, int policy);
  int (*free)(void *pointer);
  int (*allocate_host)(void **pointer, size_t size);
  int (*free_host)(void *pointer);
  int (*register_host)(void *pointer, uint64_t size, uint32_t flag);
  int (*unregister_host)(void *pointer);
  int (*attributes)(const void *pointer, pointer_attributes_t *attributes);
  int (*memory_info)(int attribute, size_t *free_bytes, size_t *total_bytes);
  int (*copy_async)(void *to, size_t room, const void *from, size_t size, int kind, void *stream);
  int (*set_async)(void *to, size_t room, int32_t value, size_t size, void *stream);
  int (*stream_create)(void **stream);
  int (*stream_destroy)(void *stream);
  int (*stream_wait)(void *stream);
  int (*event_create)(void **event, uint32_t flag);
  int (*event_destroy)(void *event);
  int (*event_record)(void *event, void *stream);
  int (*event_status)(void *event, int *status);
  int (*export_key)(void *pointer, size_t size, char *key, size_t length, uint64_t flags);
  int (*import_key)(void **pointer, const char *key, uint64_t flags);
  int (*close_key)(const char *key);
  int (*can_access)(int32_t *can, int32_t device, int32_t peer);
  int (*enable_peer)(int32_t peer, uint32_t flags);
} acl;

#define SLOT(member) offsetof(__typeof__(acl), member)
static const hmci_symbol_t symbols[] = {
    {"aclInit", SLOT(init), HMCI_NEED_BASE},
    {"aclGetRecentErrMsg", SLOT(recent_error), HMCI_NEED_PROPERTIES},
    {"aclrtGetVersion", SLOT(get_version), HMCI_NEED_PROPERTIES},
    {"aclrtGetSocName", SLOT(soc_name), HMCI_NEED_PROPERTIES},
    {"aclrtGetDeviceCount", SLOT(device_count), HMCI_NEED_BASE},
    {"aclrtSetDevice", SLOT(set_device), HMCI_NEED_BASE},
    {"aclrtGetCurrentContext", SLOT(get_context), HMCI_NEED_BASE},
    {"aclrtSetCurrentContext", SLOT(set_context), HMCI_NEED_BASE},
    {"aclrtMalloc", SLOT(allocate), HMCI_NEED_BASE},
    {"aclrtFree", SLOT(free), HMCI_NEED_BASE},
    {"aclrtMallocHost", SLOT(allocate_host), HMCI_NEED_HOST},
    {"aclrtFreeHost", SLOT(free_host), HMCI_NEED_HOST},
    {"aclrtHostRegisterV2", SLOT(register_host), HMCI_NEED_PINNING},
    {"aclrtHostUnregister", SLOT(unregister_host), HMCI_NEED_PINNING},
    {"aclrtPointerGetAttributes", SLOT(attributes), HMCI_NEED_QUERY},
    {"aclrtGetMemInfo", SLOT(memory_info), HMCI_NEED_PROPERTIES},
    {"aclrtMemcpyAsync", SLOT(copy_async), HMCI_NEED_BASE},
    {"aclrtMemsetAsync", SLOT(set_async), HMCI_NEED_BASE},
    {"aclrtCreateStream", SLOT(stream_create), HMCI_NEED_BASE},
    {"aclrtDestroyStream", SLOT(stream_destroy), HMCI_NEED_BASE},
    {"aclrtSynchronizeStream", SLOT(stream_wait), HMCI_NEED_BASE},
    {"aclrtCreateEventWithFlag", SLOT(event_create), HMCI_NEED_BASE},
    {"aclrtDestroyEvent", SLOT(event_destroy), HMCI_NEED_BASE},
    {"aclrtRecordEvent", SLOT(event_record), HMCI_NEED_BASE},
    {"aclrtQueryEventStatus", SLOT(event_status), HMCI_NEED_BASE},
    {"aclrtIpcMemGetExportKey", SLOT(export_key), HMCI_NEED_IPC},
    {"aclrtIpcMemImportByKey", SLOT(import_key), HMCI_NEED_IPC},
    {"aclrtIpcMemClose", SLOT(close_key), HMCI_NEED_IPC},
    {"aclrtDeviceCanAccessPeer", SLOT(can_access), HMCI_NEED_PEERS},
    {"aclrtDeviceEnablePeerAccess", SLOT(enable_peer), HMCI_NEED_PEERS},
    {NULL, 0, 0},
};
static const char *const files[] = {"libascendcl.so", NULL};

static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(void *) contexts[HMCI_DRIVER_DEVICES]; /* the default one of each device; made under the lock, once */
static _Atomic uint32_t ways[HMCI_DRIVER_DEVICES];    /* devices that each has access to: a bit each; never goes back */

static hmc_status_t told(int error, const char *call) {
  if (error == DONE) return HMC_SUCCESS;
  const char *text = acl.recent_error ? acl.recent_error() : NULL;
  hmc_status_t status = error == NO_MEMORY     ? HMC_NO_MEMORY
                        : error == BAD_DEVICE  ? HMC_NOT_FOUND
                        : error == UNSUPPORTED ? HMC_UNSUPPORT
                                               : HMC_ERROR;
  return hmci_fail(status, "ascend: %s: error %d%s%.200s", call, error, text && *text ? ": " : "", text ? text : "");
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static hmc_status_t start(int *devices, char *version, size_t size) {
  int error = acl.init(NULL);
  if (error != DONE && error != REPEATED) return told(error, "aclInit");
  uint32_t count = 0;
  hmc_status_t status = told(acl.device_count(&count), "aclrtGetDeviceCount");
  if (status != HMC_SUCCESS) return status;
  *devices = (int)count;
  int32_t major = 0, minor = 0, patch = 0;
  if (acl.get_version) acl.get_version(&major, &minor, &patch);
  snprintf(version, size, "AscendCL %d.%d.%d", (int)major, (int)minor, (int)patch);
  return HMC_SUCCESS;
}

/* A device's default context comes into being when a thread sets the device. */
static hmc_status_t make_context(int device) {
  void *made = NULL;
  pthread_mutex_lock(&contexts_lock);
  hmc_status_t status = HMC_SUCCESS;
  if (!atomic_load(&contexts[device])) {
    status = told(acl.set_device(device), "aclrtSetDevice");
    if (status == HMC_SUCCESS) status = told(acl.get_context(&made), "aclrtGetCurrentContext");
    if (status == HMC_SUCCESS) atomic_store(&contexts[device], made);
  }
  pthread_mutex_unlock(&contexts_lock);
  return status;
}

static hmc_status_t enter(int device, void **saved) {
  *saved = NULL;
  if (acl.get_context(saved) != DONE) *saved = NULL;
  hmc_status_t status = atomic_load(&contexts[device]) ? HMC_SUCCESS : make_context(device);
  if (status != HMC_SUCCESS || *saved == atomic_load(&contexts[device])) return status;
  return told(acl.set_context(atomic_load(&contexts[device])), "aclrtSetCurrentContext");
}

static void leave(int device, void *saved) {
  if (saved && saved != atomic_load(&contexts[device])) acl.set_context(saved);
}

static hmc_status_t describe(int device, hmc_memory_properties_t *properties) {
  void *saved;
  size_t free_bytes, total_bytes;
  hmc_status_t status = enter(device, &saved);
  if (status != HMC_SUCCESS) return status;
  const char *name = acl.soc_name();
  snprintf(properties->name, sizeof properties->name, "%s", name ? name : "Ascend NPU");
  status = told(acl.memory_info(HBM, &free_bytes, &total_bytes), "aclrtGetMemInfo");
  if (status == HMC_SUCCESS) {
    properties->free_bytes = free_bytes;
    properties->total_bytes = total_bytes;
  }
  leave(device, saved);
  return status;
}

static hmc_status_t reaches(int device, int other, bool *can) {
  int32_t answer = 0;
  hmc_status_t status = told(acl.can_access(&answer, device, other), "aclrtDeviceCanAccessPeer");
  *can = answer;
  return status;
}

/* What the current device, `device`, has not yet. */
static hmc_status_t open_way(int device, int other) {
  uint32_t bit = UINT32_C(1) << other;
  if (atomic_load(&ways[device]) & bit) return HMC_SUCCESS;
  hmc_status_t status = told(acl.enable_peer(other, 0), "aclrtDeviceEnablePeerAccess");
  if (status == HMC_SUCCESS) atomic_fetch_or(&ways[device], bit);
  return status;
}

/* Each call opens one direction, and the bytes of a copy may go in either. */
static hmc_status_t let_in(int device, int other) {
  void *saved;
  hmc_status_t status = open_way(device, other);
  if (status == HMC_SUCCESS) status = enter(other, &saved);
  if (status != HMC_SUCCESS) return status;
  status = open_way(other, device);
  leave(other, saved);
  return status;
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static hmc_status_t allocate(size_t size, void **pointer) {
  return told(acl.allocate(pointer, size, HUGE_FIRST), "aclrtMalloc");
}
static hmc_status_t free_(void *pointer) { return told(acl.free(pointer), "aclrtFree"); }
static hmc_status_t clear(void *pointer, size_t size, void *stream) {
  return told(acl.set_async(pointer, size, 0, size, stream), "aclrtMemsetAsync");
}
static hmc_status_t host_allocate(size_t size, void **pointer) {
  return told(acl.allocate_host(pointer, size), "aclrtMallocHost");
}
static hmc_status_t host_free(void *pointer) { return told(acl.free_host(pointer), "aclrtFreeHost"); }
static hmc_status_t pin(void *pointer, size_t size) {
  if ((uintptr_t)pointer % 4096) {
    return hmci_fail(HMC_INVALID_CONFIG, "ascend: %p does not begin a page: pin whole pages", pointer);
  }
  return told(acl.register_host(pointer, size, PINNED), "aclrtHostRegisterV2");
}
static hmc_status_t unpin(void *pointer) { return told(acl.unregister_host(pointer), "aclrtHostUnregister"); }

/* The library tells where memory is, but not where its allocation begins. */
static hmc_status_t query(const void *pointer, hmc_memory_info_t *info) {
  pointer_attributes_t found = {0};
  if (acl.attributes(pointer, &found) != DONE || found.type != ON_DEVICE) {
    return hmci_fail(HMC_NOT_FOUND, "ascend: %p is not device memory", pointer);
  }
  *info = (hmc_memory_info_t){.size = sizeof *info, .memory = {HMC_MEMORY_HUAWEI_ASCEND_NPU, (int)found.id}};
  return HMC_SUCCESS;
}

/* ---- streams, events, copies ------------------------------------------------------------------------------------- */

static hmc_status_t stream_create(void **stream) { return told(acl.stream_create(stream), "aclrtCreateStream"); }
static hmc_status_t stream_destroy(void *stream) { return told(acl.stream_destroy(stream), "aclrtDestroyStream"); }
static hmc_status_t stream_wait(void *stream) { return told(acl.stream_wait(stream), "aclrtSynchronizeStream"); }
static hmc_status_t event_create(void **event) {
  return told(acl.event_create(event, EVENT_SYNC), "aclrtCreateEventWithFlag");
}
static hmc_status_t event_destroy(void *event) { return told(acl.event_destroy(event), "aclrtDestroyEvent"); }
static hmc_status_t event_record(void *event, void *stream) {
  return told(acl.event_record(event, stream), "aclrtRecordEvent");
}
static hmc_status_t event_query(void *event) {
  int status = 0, error = acl.event_status(event, &status);
  if (error != DONE) return told(error, "aclrtQueryEventStatus");
  return status == RECORDED ? HMC_SUCCESS : HMC_IN_PROGRESS;
}

static hmc_status_t copy(const hmci_driver_copy_t *what, void *stream) {
  static const int kinds[] = {HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE};
  return told(acl.copy_async(what->destination, what->size, what->source, what->size, kinds[what->direction], stream),
              "aclrtMemcpyAsync");
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

static hmc_status_t export(void *base, size_t size, uint8_t *handle) {
  return told(acl.export_key(base, size, (char *)handle, KEY, OPEN_TO_ALL), "aclrtIpcMemGetExportKey");
}
static void unexport(const uint8_t *handle) { acl.close_key((const char *)handle); }
static hmc_status_t import(const uint8_t *handle, void **base) {
  char key[KEY + 1] = "";
  memcpy(key, handle, KEY);
  return told(acl.import_key(base, key, PEER_ACCESS), "aclrtIpcMemImportByKey");
}
static void close_import(void *base, const uint8_t *handle) {
  char key[KEY + 1] = "";
  (void)base;
  memcpy(key, handle, KEY);
  acl.close_key(key);
}

static const hmci_driver_ops_t operations = {
    .kind = HMC_MEMORY_HUAWEI_ASCEND_NPU,
    .name = "ascend",
    .variable = "HMC_ACL_LIBRARY",
    .files = files,
    .symbols = symbols,
    .functions = &acl,
    .handle_size = KEY,
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
    .query = query,
    .host_allocate = host_allocate,
    .host_free = host_free,
    .pin = pin,
    .unpin = unpin,
    .export = export,
    .unexport = unexport,
    .import = import,
    .close_import = close_import,
    .describe = describe,
    .reaches = reaches,
    .let_in = let_in,
};
static hmci_driver_t driver = HMCI_DRIVER_INIT(operations);

HMCI_DRIVER_TABLE(acl, HMC_MEMORY_HUAWEI_ASCEND_NPU, "ascend", false);
