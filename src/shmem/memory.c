/* The collective calls of the heap: the allocator, and the barriers that the specification puts around it. */
#include "alias.h"
#include "state.h"

/* Under checks: the job runs, and all PEs are in the same call. `pointer`: a block, or NULL. */
static void check_call(const char *call, const void *pointer, size_t size) {
  if (hmci_pe.levels == 0) {
    if (hmci_wants_checks()) hmci_die("%s: called before shmem_init or after shmem_finalize: call it in between", call);
  } else {
    hmci_agree_all(&(hmci_collective_t){call, pointer, NULL, size, 0});
  }
}

/* Ends the job under checks where there was no room. */
static void *room_or_end(const char *call, shmemx_space_t space, void *pointer, size_t size) {
  if (pointer || !hmci_pe.checks) return pointer;
  if (space == SHMEMX_SPACE_HOST) {
    hmci_die("%s: the heap has no room for %zu B: it has %zu B in all; set SHMEM_SYMMETRIC_SIZE higher", call, size,
             hmci_pe.heap_size);
  }
  if (hmci_pe.device.size == 0) hmci_die("%s: there is no device heap: set SHMEM_DEVICE_SIZE to its bytes", call);
  hmci_die("%s: the device heap has no room for %zu B: it has %zu B in all; set SHMEM_DEVICE_SIZE higher", call, size,
           hmci_pe.device.size);
}

static void check_space(const char *call, shmemx_space_t space) {
  if (space != SHMEMX_SPACE_HOST && space != SHMEMX_SPACE_DEVICE)
    hmci_die("%s: %d is not a space: give SHMEMX_SPACE_HOST or SHMEMX_SPACE_DEVICE", call, (int)space);
}

static void *allocate(const char *call, shmemx_space_t space, size_t size, size_t alignment) {
  check_call(call, NULL, size);
  if (hmci_pe.levels == 0 || size == 0) return NULL;
  void *pointer = room_or_end(call, space, hmci_heap_allocate(space, size, alignment), size);
  shmem_barrier_all();
  return pointer;
}

static void *allocate_zeroed(const char *call, shmemx_space_t space, size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX; /* which no heap has room for */
  check_call(call, NULL, bytes);
  if (hmci_pe.levels == 0 || bytes == 0) return NULL;
  void *pointer = room_or_end(call, space, hmci_heap_allocate(space, bytes, 1), bytes);
  if (pointer) hmci_zero(pointer, bytes);
  shmem_barrier_all();
  return pointer;
}

static void *allocate_aligned(const char *call, shmemx_space_t space, size_t alignment, size_t size) {
  if (alignment == 0 || alignment & (alignment - 1) || alignment > 1ull << 30) {
    if (hmci_pe.checks) hmci_die("%s: %zu is not a power of two up to 2^30", call, alignment);
    return NULL;
  }
  return allocate(call, space, size, alignment);
}

void *shmem_malloc(size_t size) { return allocate("shmem_malloc", SHMEMX_SPACE_HOST, size, 1); }

/* All memory of the heaps does for atomics and signals. */
void *shmem_malloc_with_hints(size_t size, long hints) {
  shmemx_space_t space = hints & SHMEMX_MALLOC_DEVICE ? SHMEMX_SPACE_DEVICE : SHMEMX_SPACE_HOST;
  return allocate("shmem_malloc_with_hints", space, size, 1);
}

void *shmem_align(size_t alignment, size_t size) {
  return allocate_aligned("shmem_align", SHMEMX_SPACE_HOST, alignment, size);
}

void *shmem_calloc(size_t count, size_t size) {
  return allocate_zeroed("shmem_calloc", SHMEMX_SPACE_HOST, count, size);
}

void *shmemx_space_malloc(shmemx_space_t space, size_t size) {
  check_space("shmemx_space_malloc", space);
  return allocate("shmemx_space_malloc", space, size, 1);
}

void *shmemx_space_calloc(shmemx_space_t space, size_t count, size_t size) {
  check_space("shmemx_space_calloc", space);
  return allocate_zeroed("shmemx_space_calloc", space, count, size);
}

void *shmemx_space_align(shmemx_space_t space, size_t alignment, size_t size) {
  check_space("shmemx_space_align", space);
  return allocate_aligned("shmemx_space_align", space, alignment, size);
}

static void no_block(const char *call, const void *pointer) {
  if (!hmci_pe.checks) return;
  hmci_die("%s: %p is not the start of a block: give what shmem_malloc or its kin returned, and only once", call,
           pointer);
}

void shmem_free(void *pointer) {
  check_call("shmem_free", pointer, 0);
  if (hmci_pe.levels == 0 || !pointer) return;
  shmem_barrier_all();
  if (!hmci_heap_free(pointer)) no_block("shmem_free", pointer);
}

void *shmem_realloc(void *pointer, size_t size) {
  if (!pointer) return shmem_malloc(size);
  if (size == 0) {
    shmem_free(pointer);
    return NULL;
  }
  check_call("shmem_realloc", pointer, size);
  if (hmci_pe.levels == 0) return NULL;
  size_t old_size = hmci_heap_size_of(pointer);
  if (old_size == 0) {
    no_block("shmem_realloc", pointer);
    return NULL;
  }
  shmem_barrier_all();
  shmemx_space_t space = hmci_is_device(pointer) ? SHMEMX_SPACE_DEVICE : SHMEMX_SPACE_HOST;
  void *moved =
      size <= old_size ? pointer : room_or_end("shmem_realloc", space, hmci_heap_allocate(space, size, 1), size);
  if (moved && moved != pointer) {
    hmci_move(moved, pointer, old_size);
    hmci_heap_free(pointer);
  }
  shmem_barrier_all();
  return moved;
}

void *shmalloc(size_t size) { return shmem_malloc(size); }
void *shrealloc(void *pointer, size_t size) { return shmem_realloc(pointer, size); }
void *shmemalign(size_t alignment, size_t size) { return shmem_align(alignment, size); }
void shfree(void *pointer) { shmem_free(pointer); }

PROFILED(shmem_malloc);
PROFILED(shmem_malloc_with_hints);
PROFILED(shmem_align);
PROFILED(shmem_calloc);
PROFILED(shmem_free);
PROFILED(shmem_realloc);
PROFILED(shmemx_space_malloc);
PROFILED(shmemx_space_calloc);
PROFILED(shmemx_space_align);
