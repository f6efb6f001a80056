/* The look-alike of libamdhip64.so, over the board: names and values as in ROCm's hip_runtime_api.h. LOOKALIKE_OLD: as it
 * was before HIP 6, when the kinds of memory had other numbers, and lazy peer access was the flag 0. */
#define VENDOR "hip"
#define API(name) hip##name
#ifdef LOOKALIKE_OLD
#define LAZY_PEERS 0
#else
#define LAZY_PEERS 1
#endif
#include "../runtime.h"

#ifdef LOOKALIKE_OLD
enum { VERSION = 50220000, HOST = 0, DEVICE = 1 };
#else
enum { VERSION = 60300000, HOST = 1, DEVICE = 2 };
#endif

LOOKALIKE_API int hipRuntimeGetVersion(int *version) {
  *version = VERSION;
  return DONE;
}

LOOKALIKE_API int hipDeviceGetName(char *name, int length, int device) {
  if (device < 0 || device >= board_devices()) return told(BOARD_BAD_DEVICE);
  snprintf(name, (size_t)length, "AMD look-alike");
  return DONE;
}
LOOKALIKE_API int hipHostMalloc(void **pointer, size_t size, unsigned flags) {
  return allocate_host(pointer, size, flags);
}
LOOKALIKE_API int hipHostFree(void *pointer) { return free_host(pointer); }
LOOKALIKE_API int hipMemGetAddressRange(void **base, size_t *size, void *pointer) {
  return find_range(base, size, pointer);
}

typedef struct hipPointerAttribute_t {
  int type, device;
  void *devicePointer, *hostPointer;
  int isManaged;
  unsigned allocationFlags;
} hipPointerAttribute_t;

/* What it does not know is an error before HIP 6, and "unregistered" since. */
LOOKALIKE_API int hipPointerGetAttributes(hipPointerAttribute_t *attributes, const void *pointer) {
  board_range_t range;
  bool found = board_find(pointer, &range);
  memset(attributes, 0, sizeof *attributes);
#ifdef LOOKALIKE_OLD
  if (!found) return note(INVALID_VALUE);
#endif
  if (!found) return DONE;
  bool is_host = range.kind == BOARD_PINNED || range.kind == BOARD_REGISTERED;
  attributes->type = is_host ? HOST : DEVICE;
  attributes->device = range.device;
  attributes->devicePointer = (void *)pointer;
  return DONE;
}

#ifndef LOOKALIKE_OLD
LOOKALIKE_API int hipMemGetHandleForAddressRange(void *handle, void *pointer, size_t size, int type,
                                                 unsigned long long flags) {
  if (type != 1 || flags || (uintptr_t)pointer % 4096 || size % 4096) return refuse("a dma-buf of part of a page");
  return told(board_dmabuf(pointer, size, handle));
}
#endif
