/* The look-alike of libascendcl.so, over the board.
 *
 * Strict where the real one is: nothing works before aclInit; a thread has no device until it sets one; a stream and an
 * event belong to a device; a key is of the whole allocation, and is not opened by the process that made it. Threads: any,
 * at once; the current device is the thread's. */
#include "../board.h"

#include "acl/acl.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY = 65, IMPORTS = 1024 };

typedef struct context {
  int device;
} context_t;

static atomic_bool is_open;
static context_t primary[8];
static _Thread_local context_t *current;
static _Thread_local const char *recent = "";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  char key[KEY];
  void *pointer; /* NULL: exported from here */
  bool is_used;
} keys[IMPORTS]; /* lock */

#define TRY(call)                                                                                                      \
  do {                                                                                                                 \
    aclError error_ = (call);                                                                                          \
    if (error_ != ACL_SUCCESS) return error_;                                                                          \
  } while (0)

static aclError fail(aclError error, const char *text) {
  recent = text;
  if (error != ACL_SUCCESS) board_refuse(BOARD_BAD_ARGUMENT, text);
  return error;
}

static aclError told(board_status_t status) {
  switch (status) {
  case BOARD_OK: return ACL_SUCCESS;
  case BOARD_NOT_READY: return ACL_SUCCESS;
  case BOARD_BAD_DEVICE: return fail(ACL_ERROR_RT_INVALID_DEVICEID, "no such device");
  case BOARD_NO_MEMORY: return fail(ACL_ERROR_RT_MEMORY_ALLOCATION, "no memory");
  case BOARD_OTHER_DEVICE: return fail(ACL_ERROR_RT_STREAM_CONTEXT, "a stream or event of another context");
  case BOARD_BAD_HANDLE: return fail(ACL_ERROR_RT_INVALID_HANDLE, "no such handle");
  case BOARD_OWN_PROCESS: return fail(ACL_ERROR_RT_PARAM_INVALID, "a key that this process exported");
  case BOARD_FORKED: return fail(ACL_ERROR_RT_INTERNAL_ERROR, "used after fork");
  case BOARD_NO_ACCESS: return fail(ACL_ERROR_RT_INTERNAL_ERROR, "no peer access between the devices");
  default: return fail(ACL_ERROR_RT_PARAM_INVALID, "an address that is not what it should be");
  }
}

/* The thread's device. */
static aclError here(int *device) {
  if (!atomic_load(&is_open)) return fail(ACL_ERROR_UNINITIALIZE, "before aclInit");
  if (!current) return fail(ACL_ERROR_RT_CONTEXT_NULL, "no device was set in this thread");
  *device = current->device;
  return ACL_SUCCESS;
}

/* ---- the library and its devices --------------------------------------------------------------------------------- */

LOOKALIKE_API aclError aclInit(const char *configPath) {
  (void)configPath;
  if (atomic_exchange(&is_open, true)) return ACL_ERROR_REPEAT_INITIALIZE;
  return told(board_open("acl"));
}

LOOKALIKE_API aclError aclFinalize(void) {
  return atomic_exchange(&is_open, false) ? ACL_SUCCESS : fail(ACL_ERROR_UNINITIALIZE, "aclFinalize without aclInit");
}

LOOKALIKE_API const char *aclGetRecentErrMsg(void) { return recent; }

LOOKALIKE_API aclError aclrtGetVersion(int32_t *majorVersion, int32_t *minorVersion, int32_t *patchVersion) {
  *majorVersion = 1;
  *minorVersion = 13;
  *patchVersion = 0;
  return ACL_SUCCESS;
}

LOOKALIKE_API const char *aclrtGetSocName(void) { return "Ascend look-alike"; }

LOOKALIKE_API aclError aclrtGetRunMode(aclrtRunMode *runMode) {
  *runMode = ACL_HOST;
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtGetDeviceCount(uint32_t *count) {
  if (!atomic_load(&is_open)) return fail(ACL_ERROR_UNINITIALIZE, "before aclInit");
  *count = (uint32_t)board_devices();
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtSetDevice(int32_t deviceId) {
  if (!atomic_load(&is_open)) return fail(ACL_ERROR_UNINITIALIZE, "before aclInit");
  if (deviceId < 0 || deviceId >= board_devices()) return told(BOARD_BAD_DEVICE);
  primary[deviceId].device = deviceId;
  current = &primary[deviceId];
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtResetDevice(int32_t deviceId) {
  if (deviceId < 0 || deviceId >= board_devices()) return told(BOARD_BAD_DEVICE);
  if (current == &primary[deviceId]) current = NULL;
  return told(board_device_synchronize(deviceId));
}

LOOKALIKE_API aclError aclrtGetDevice(int32_t *deviceId) { return here(deviceId); }

LOOKALIKE_API aclError aclrtSynchronizeDevice(void) {
  int device;
  TRY(here(&device));
  return told(board_device_synchronize(device));
}

LOOKALIKE_API aclError aclrtCreateContext(aclrtContext *context, int32_t deviceId) {
  if (deviceId < 0 || deviceId >= board_devices()) return told(BOARD_BAD_DEVICE);
  context_t *made = malloc(sizeof *made);
  if (!made) return told(BOARD_NO_MEMORY);
  made->device = deviceId;
  *context = current = made;
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtDestroyContext(aclrtContext context) {
  if (!context) return fail(ACL_ERROR_RT_PARAM_INVALID, "destroying no context");
  for (int i = 0; i < 8; i++) {
    if (context == &primary[i]) return fail(ACL_ERROR_RT_PARAM_INVALID, "destroying a default context");
  }
  if (current == context) current = NULL;
  free(context);
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtSetCurrentContext(aclrtContext context) {
  if (!context) return fail(ACL_ERROR_RT_PARAM_INVALID, "setting no context");
  current = context;
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtGetCurrentContext(aclrtContext *context) {
  if (!current) return ACL_ERROR_RT_CONTEXT_NULL;
  *context = current;
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtDeviceCanAccessPeer(int32_t *canAccessPeer, int32_t deviceId, int32_t peerDeviceId) {
  if (deviceId < 0 || deviceId >= board_devices() || peerDeviceId < 0 || peerDeviceId >= board_devices()) {
    return told(BOARD_BAD_DEVICE);
  }
  *canAccessPeer = board_peer_possible(deviceId, peerDeviceId);
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtDeviceEnablePeerAccess(int32_t peerDeviceId, uint32_t flags) {
  int device;
  TRY(here(&device));
  if (flags) return fail(ACL_ERROR_RT_PARAM_INVALID, "flags of peer access");
  board_status_t status = board_peer_enable(device, peerDeviceId);
  return status == BOARD_ALREADY ? ACL_SUCCESS : told(status);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

LOOKALIKE_API aclError aclrtMalloc(void **devPtr, size_t size, aclrtMemMallocPolicy policy) {
  int device;
  TRY(here(&device));
  if (policy > ACL_MEM_MALLOC_NORMAL_ONLY_P2P) return fail(ACL_ERROR_RT_PARAM_INVALID, "no such policy");
  return told(board_allocate(device, size, devPtr));
}

LOOKALIKE_API aclError aclrtFree(void *devPtr) {
  int device;
  TRY(here(&device));
  return told(board_free(devPtr));
}

LOOKALIKE_API aclError aclrtMallocHost(void **hostPtr, size_t size) {
  int device;
  TRY(here(&device));
  return told(board_host_allocate(size, hostPtr));
}

LOOKALIKE_API aclError aclrtFreeHost(void *hostPtr) { return told(board_host_free(hostPtr)); }

LOOKALIKE_API aclError aclrtHostRegister(void *ptr, uint64_t size, aclrtHostRegisterType type, void **devPtr) {
  int device;
  TRY(here(&device));
  if (type != ACL_HOST_REGISTER_MAPPED || !devPtr) return fail(ACL_ERROR_RT_PARAM_INVALID, "a registration's type");
  TRY(told(board_host_register(ptr, (size_t)size)));
  *devPtr = ptr;
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtHostRegisterV2(void *ptr, uint64_t size, uint32_t flag) {
  int device;
  TRY(here(&device));
  if (!(flag & (ACL_HOST_REG_PINNED | ACL_HOST_REG_MAPPED)) || (uintptr_t)ptr % 4096) {
    return fail(ACL_ERROR_RT_PARAM_INVALID, "a registration's flags, or memory that begins inside a page");
  }
  return told(board_host_register(ptr, (size_t)size));
}

LOOKALIKE_API aclError aclrtHostUnregister(void *ptr) { return told(board_host_unregister(ptr)); }

LOOKALIKE_API aclError aclrtPointerGetAttributes(const void *ptr, aclrtPtrAttributes *attributes) {
  if (!ptr || !attributes) return fail(ACL_ERROR_RT_PARAM_INVALID, "attributes of nothing");
  board_range_t range;
  memset(attributes, 0, sizeof *attributes);
  attributes->location.type = ACL_MEM_LOCATION_TYPE_UNREGISTERED;
  if (!board_find(ptr, &range)) return ACL_SUCCESS;
  bool is_host = range.kind == BOARD_PINNED || range.kind == BOARD_REGISTERED;
  attributes->location.type = is_host ? ACL_MEM_LOCATION_TYPE_HOST : ACL_MEM_LOCATION_TYPE_DEVICE;
  attributes->location.id = (uint32_t)range.device;
  attributes->pageSize = 4096;
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtGetMemInfo(aclrtMemAttr attr, size_t *free_bytes, size_t *total) {
  int device;
  TRY(here(&device));
  if (attr > ACL_HBM_MEM_NORMAL) return fail(ACL_ERROR_RT_PARAM_INVALID, "no such kind of memory");
  board_usage(device, free_bytes, total);
  return ACL_SUCCESS;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static aclError direction_of(aclrtMemcpyKind kind, board_direction_t *direction) {
  static const board_direction_t directions[] = {BOARD_HOST, BOARD_TO_DEVICE, BOARD_TO_HOST, BOARD_WITHIN, BOARD_ANY};
  if ((unsigned)kind >= sizeof directions / sizeof *directions) {
    return fail(ACL_ERROR_RT_PARAM_INVALID, "no such direction");
  }
  *direction = directions[kind];
  return ACL_SUCCESS;
}

/* Peer access has a direction: from the memory that is read to the memory that is written. */
static aclError check_way(const void *dst, const void *src) {
  board_range_t to, from;
  if (!board_find(dst, &to) || !board_find(src, &from) || to.kind != BOARD_DEVICE || from.kind != BOARD_DEVICE ||
      to.device == from.device || board_peer_enabled(from.device, to.device)) {
    return ACL_SUCCESS;
  }
  return told(board_refuse(BOARD_NO_ACCESS, "a copy whose direction was not opened"));
}

LOOKALIKE_API aclError aclrtMemcpy(void *dst, size_t destMax, const void *src, size_t count, aclrtMemcpyKind kind) {
  int device;
  board_direction_t direction;
  TRY(here(&device));
  TRY(direction_of(kind, &direction));
  TRY(check_way(dst, src));
  if (count > destMax) return fail(ACL_ERROR_RT_PARAM_INVALID, "more bytes than the target has");
  return told(board_copy(device, dst, src, count, direction, true));
}

LOOKALIKE_API aclError aclrtMemcpyAsync(void *dst, size_t destMax, const void *src, size_t count, aclrtMemcpyKind kind,
                                        aclrtStream stream) {
  int device;
  board_direction_t direction;
  TRY(here(&device));
  TRY(direction_of(kind, &direction));
  TRY(check_way(dst, src));
  if (count > destMax) return fail(ACL_ERROR_RT_PARAM_INVALID, "more bytes than the target has");
  return told(board_copy_async(device, stream, dst, src, count, direction, true));
}

LOOKALIKE_API aclError aclrtMemset(void *devPtr, size_t maxCount, int32_t value, size_t count) {
  int device;
  TRY(here(&device));
  if (count > maxCount) return fail(ACL_ERROR_RT_PARAM_INVALID, "more bytes than the target has");
  return told(board_fill(device, devPtr, value, count));
}

LOOKALIKE_API aclError aclrtMemsetAsync(void *devPtr, size_t maxCount, int32_t value, size_t count,
                                        aclrtStream stream) {
  int device;
  TRY(here(&device));
  if (count > maxCount) return fail(ACL_ERROR_RT_PARAM_INVALID, "more bytes than the target has");
  return told(board_fill_async(device, stream, devPtr, value, count));
}

/* ---- streams and events ------------------------------------------------------------------------------------------ */

LOOKALIKE_API aclError aclrtCreateStream(aclrtStream *stream) {
  int device;
  TRY(here(&device));
  return told(board_stream_create(device, (board_stream_t **)stream));
}

LOOKALIKE_API aclError aclrtCreateStreamWithConfig(aclrtStream *stream, uint32_t priority, uint32_t flag) {
  if (priority > 7 || flag & ~(ACL_STREAM_FAST_LAUNCH | ACL_STREAM_FAST_SYNC)) {
    return fail(ACL_ERROR_RT_PARAM_INVALID, "a stream's priority or flags");
  }
  return aclrtCreateStream(stream);
}

LOOKALIKE_API aclError aclrtDestroyStream(aclrtStream stream) {
  int device;
  TRY(here(&device));
  return told(board_stream_destroy(stream));
}

LOOKALIKE_API aclError aclrtSynchronizeStream(aclrtStream stream) {
  int device;
  TRY(here(&device));
  return told(board_stream_synchronize(device, stream));
}

LOOKALIKE_API aclError aclrtSynchronizeStreamWithTimeout(aclrtStream stream, int32_t timeout) {
  if (timeout < -1) return fail(ACL_ERROR_RT_PARAM_INVALID, "a negative timeout");
  return aclrtSynchronizeStream(stream);
}

LOOKALIKE_API aclError aclrtStreamQuery(aclrtStream stream, aclrtStreamStatus *status) {
  int device;
  TRY(here(&device));
  board_status_t found = board_stream_query(device, stream);
  *status = found == BOARD_NOT_READY ? ACL_STREAM_STATUS_NOT_READY : ACL_STREAM_STATUS_COMPLETE;
  return told(found);
}

typedef struct callback {
  aclrtCallback function;
  void *argument;
} callback_t;

static board_status_t call_back(int device, void *argument) {
  (void)device;
  callback_t *callback = argument;
  callback->function(callback->argument);
  return BOARD_OK;
}

LOOKALIKE_API aclError aclrtLaunchCallback(aclrtCallback fn, void *userData, aclrtCallbackBlockType blockType,
                                           aclrtStream stream) {
  int device;
  TRY(here(&device));
  if (!fn || blockType > ACL_CALLBACK_BLOCK) return fail(ACL_ERROR_RT_PARAM_INVALID, "no callback");
  callback_t callback = {fn, userData};
  return told(board_run_async(device, stream, call_back, &callback, sizeof callback));
}

LOOKALIKE_API aclError aclrtCreateEvent(aclrtEvent *event) {
  int device;
  TRY(here(&device));
  return told(board_event_create(device, (board_event_t **)event));
}

LOOKALIKE_API aclError aclrtCreateEventWithFlag(aclrtEvent *event, uint32_t flag) {
  if (!flag) return fail(ACL_ERROR_RT_PARAM_INVALID, "an event without flags");
  return aclrtCreateEvent(event);
}

LOOKALIKE_API aclError aclrtDestroyEvent(aclrtEvent event) { return told(board_event_destroy(event)); }

LOOKALIKE_API aclError aclrtRecordEvent(aclrtEvent event, aclrtStream stream) {
  int device;
  TRY(here(&device));
  return told(board_event_record(device, event, stream));
}

LOOKALIKE_API aclError aclrtQueryEventStatus(aclrtEvent event, aclrtEventRecordedStatus *status) {
  board_status_t found = board_event_query(event);
  *status = found == BOARD_NOT_READY ? ACL_EVENT_RECORDED_STATUS_NOT_READY : ACL_EVENT_RECORDED_STATUS_COMPLETE;
  return told(found);
}

LOOKALIKE_API aclError aclrtSynchronizeEvent(aclrtEvent event) { return told(board_event_synchronize(event)); }

LOOKALIKE_API aclError aclrtStreamWaitEvent(aclrtStream stream, aclrtEvent event) {
  int device;
  TRY(here(&device));
  return told(board_stream_wait(device, stream, event));
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

/* A key: the export in hexadecimal, and a mark of whether anybody may open it. */
static void write_key(char *key, const board_export_t *exported, bool is_open_to_all) {
  snprintf(key, KEY, "%08x%08x%08x%08x%012llx%012llx%c", exported->magic, exported->process, exported->descriptor,
           exported->device, (unsigned long long)exported->size, (unsigned long long)exported->inode,
           is_open_to_all ? 'a' : 'p');
}

static bool read_key(const char *key, board_export_t *exported, char *who) {
  unsigned long long size, inode;
  if (sscanf(key, "%8x%8x%8x%8x%12llx%12llx%c", &exported->magic, &exported->process, &exported->descriptor,
             &exported->device, &size, &inode, who) != 7) {
    return false;
  }
  exported->size = size;
  exported->inode = inode;
  return true;
}

static bool remember(const char *key, void *pointer) {
  pthread_mutex_lock(&lock);
  int free_slot = -1;
  for (int i = 0; i < IMPORTS; i++) {
    if (!keys[i].is_used) free_slot = i;
  }
  if (free_slot >= 0) {
    snprintf(keys[free_slot].key, KEY, "%s", key);
    keys[free_slot].pointer = pointer;
    keys[free_slot].is_used = true;
  }
  pthread_mutex_unlock(&lock);
  return free_slot >= 0;
}

LOOKALIKE_API aclError aclrtIpcMemGetExportKey(void *devPtr, size_t size, char *key, size_t len, uint64_t flags) {
  int device;
  TRY(here(&device));
  board_range_t range;
  if (len < KEY || !key || !board_find(devPtr, &range) || size > range.size) {
    return fail(ACL_ERROR_RT_PARAM_INVALID, "a key for that memory");
  }
  board_export_t exported;
  TRY(told(board_export(devPtr, &exported)));
  write_key(key, &exported, flags & ACL_RT_IPC_MEM_EXPORT_FLAG_DISABLE_PID_VALIDATION);
  return remember(key, NULL) ? ACL_SUCCESS : told(BOARD_NO_MEMORY);
}

/* Only the exporter may name processes. Which ones it named the look-alike does not check when a key is opened. */
LOOKALIKE_API aclError aclrtIpcMemSetImportPid(const char *key, int32_t *pid, size_t num) {
  board_export_t exported;
  char who;
  if (!key || !pid || !num || !read_key(key, &exported, &who) || exported.process != (uint32_t)getpid()) {
    return fail(ACL_ERROR_RT_PARAM_INVALID, "naming the processes of a key");
  }
  return ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtIpcMemImportByKey(void **devPtr, const char *key, uint64_t flags) {
  (void)flags;
  int device;
  TRY(here(&device));
  board_export_t exported;
  char who;
  if (!key || !read_key(key, &exported, &who)) return fail(ACL_ERROR_RT_PARAM_INVALID, "no key");
  TRY(told(board_import(device, &exported, devPtr)));
  if (remember(key, *devPtr)) return ACL_SUCCESS;
  board_import_close(*devPtr);
  return told(BOARD_NO_MEMORY);
}

LOOKALIKE_API aclError aclrtIpcMemClose(const char *key) {
  void *pointer = NULL;
  bool found = false;
  pthread_mutex_lock(&lock);
  for (int i = 0; i < IMPORTS && !found; i++) {
    if (!keys[i].is_used || strncmp(keys[i].key, key, KEY) != 0) continue;
    found = true;
    pointer = keys[i].pointer;
    keys[i].is_used = false;
  }
  pthread_mutex_unlock(&lock);
  if (!found) return fail(ACL_ERROR_RT_PARAM_INVALID, "closing a key that is not open");
  return pointer ? told(board_import_close(pointer)) : ACL_SUCCESS;
}

LOOKALIKE_API aclError aclrtDeviceGetBareTgid(int32_t *pid) {
  *pid = (int32_t)getpid();
  return ACL_SUCCESS;
}
