/* The collective calls of the heap: the allocator, and the barriers that the specification puts around it. */
#include "alias.h"
#include "state.h"

#include <string.h>

static void need_init(const char *call) {
  if (hmci_pe.checks && hmci_pe.levels == 0) hmci_die("%s: called before shmem_init or after shmem_finalize", call);
}

static void *allocate(const char *call, size_t size, size_t alignment) {
  need_init(call);
  if (hmci_pe.levels == 0 || size == 0) return NULL;
  void *pointer = hmci_heap_allocate(size, alignment);
  if (!pointer && hmci_pe.checks) {
    hmci_die("%s: the heap of %zu B (SHMEM_SYMMETRIC_SIZE) has no room for %zu B", call, hmci_pe.heap_size, size);
  }
  shmem_barrier_all();
  return pointer;
}

void *shmem_malloc(size_t size) { return allocate("shmem_malloc", size, 1); }

void *shmem_malloc_with_hints(size_t size, long hints) {
  (void)hints; /* all memory of the heap does for atomics and signals */
  return allocate("shmem_malloc_with_hints", size, 1);
}

void *shmem_align(size_t alignment, size_t size) {
  if (alignment == 0 || alignment & (alignment - 1) || alignment > 1ull << 30) return NULL;
  return allocate("shmem_align", size, alignment);
}

void *shmem_calloc(size_t count, size_t size) {
  need_init("shmem_calloc");
  size_t bytes;
  if (hmci_pe.levels == 0 || __builtin_mul_overflow(count, size, &bytes) || bytes == 0) return NULL;
  void *pointer = hmci_heap_allocate(bytes, 1);
  if (pointer) memset(pointer, 0, bytes);
  shmem_barrier_all();
  return pointer;
}

void shmem_free(void *pointer) {
  need_init("shmem_free");
  if (hmci_pe.levels == 0 || !pointer) return;
  shmem_barrier_all();
  if (!hmci_heap_free(pointer) && hmci_pe.checks) hmci_die("shmem_free: %p is not the start of a block", pointer);
}

void *shmem_realloc(void *pointer, size_t size) {
  need_init("shmem_realloc");
  if (!pointer) return shmem_malloc(size);
  if (size == 0) {
    shmem_free(pointer);
    return NULL;
  }
  size_t old_size = hmci_heap_size_of(pointer);
  if (hmci_pe.levels == 0 || old_size == 0) return NULL;
  shmem_barrier_all();
  void *moved = size <= old_size ? pointer : hmci_heap_allocate(size, 1);
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
