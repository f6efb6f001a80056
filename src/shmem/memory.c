/* The collective calls of the heap: the allocator, and the barriers that the specification puts around it. */
#include "alias.h"
#include "state.h"

#include <string.h>

/* Under checks: the job runs, and all PEs are in the same call. `pointer`: a block, or NULL. */
static void check_call(const char *call, const void *pointer, size_t size) {
  if (hmci_pe.levels == 0) {
    if (hmci_wants_checks()) hmci_die("%s: called before shmem_init or after shmem_finalize: call it in between", call);
  } else {
    hmci_agree_all(&(hmci_collective_t){call, pointer, NULL, size, 0});
  }
}

static void *room_or_end(const char *call, void *pointer, size_t size) {
  if (!pointer && hmci_pe.checks) {
    hmci_die("%s: the heap has no room for %zu B: it has %zu B in all; set SHMEM_SYMMETRIC_SIZE higher", call, size,
             hmci_pe.heap_size);
  }
  return pointer;
}

static void *allocate(const char *call, size_t size, size_t alignment) {
  check_call(call, NULL, size);
  if (hmci_pe.levels == 0 || size == 0) return NULL;
  void *pointer = room_or_end(call, hmci_heap_allocate(SHMEMX_SPACE_HOST, size, alignment), size);
  shmem_barrier_all();
  return pointer;
}

void *shmem_malloc(size_t size) { return allocate("shmem_malloc", size, 1); }

void *shmem_malloc_with_hints(size_t size, long hints) {
  (void)hints; /* all memory of the heap does for atomics and signals */
  return allocate("shmem_malloc_with_hints", size, 1);
}

void *shmem_align(size_t alignment, size_t size) {
  if (alignment == 0 || alignment & (alignment - 1) || alignment > 1ull << 30) {
    if (hmci_pe.checks) hmci_die("shmem_align: %zu is not a power of two up to 2^30", alignment);
    return NULL;
  }
  return allocate("shmem_align", size, alignment);
}

void *shmem_calloc(size_t count, size_t size) {
  size_t bytes;
  if (__builtin_mul_overflow(count, size, &bytes)) bytes = SIZE_MAX; /* which no heap has room for */
  check_call("shmem_calloc", NULL, bytes);
  if (hmci_pe.levels == 0 || bytes == 0) return NULL;
  void *pointer = room_or_end("shmem_calloc", hmci_heap_allocate(SHMEMX_SPACE_HOST, bytes, 1), bytes);
  if (pointer) memset(pointer, 0, bytes);
  shmem_barrier_all();
  return pointer;
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
  void *moved =
      size <= old_size ? pointer : room_or_end("shmem_realloc", hmci_heap_allocate(SHMEMX_SPACE_HOST, size, 1), size);
  if (moved && moved != pointer) {
    memcpy(moved, pointer, old_size);
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
