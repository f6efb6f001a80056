/* The look-alike of libmusart.so, over the board. LOOKALIKE_OLD: without the driver's call that finds an allocation. */
#define VENDOR "musa"
#define API(name) musa##name
#define LAZY_PEERS 1
#include "../runtime.h"

enum { HOST = 1, DEVICE = 2 };

LOOKALIKE_API int musaRuntimeGetVersion(int *version) {
  *version = 40100;
  return DONE;
}

LOOKALIKE_API int musaHostAlloc(void **pointer, size_t size, unsigned flags) {
  return allocate_host(pointer, size, flags);
}
LOOKALIKE_API int musaFreeHost(void *pointer) { return free_host(pointer); }

#ifndef LOOKALIKE_OLD
LOOKALIKE_API int muMemGetAddressRange_v2(void **base, size_t *size, void *pointer) {
  return find_range(base, size, pointer);
}
#endif

struct musaPointerAttributes {
  int type, device;
  void *devicePointer, *hostPointer;
};

LOOKALIKE_API int musaPointerGetAttributes(struct musaPointerAttributes *attributes, const void *pointer) {
  board_range_t range;
  memset(attributes, 0, sizeof *attributes);
  if (!board_find(pointer, &range)) return note(INVALID_VALUE);
  bool is_host = range.kind == BOARD_PINNED || range.kind == BOARD_REGISTERED;
  attributes->type = is_host ? HOST : DEVICE;
  attributes->device = range.device;
  attributes->devicePointer = (void *)pointer;
  return DONE;
}
