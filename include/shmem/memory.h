/* The symmetric heap. */
#ifndef SHMEM_MEMORY_H
#define SHMEM_MEMORY_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Allocate `size` bytes of the symmetric heap, at the same offset at every PE. Collective over all PEs, with the same
 * arguments; a barrier is in each of them. Aligned to 64 bytes at least. NULL for size 0 and where the heap is full.
 * Memory of shmem_calloc is zeroed; that of the others is not. Ownership: the caller's until shmem_free. */
SHMEM_API void *shmem_malloc(size_t size);
SHMEM_API void *shmem_calloc(size_t count, size_t size);
SHMEM_API void *shmem_align(size_t alignment, size_t size);
SHMEM_API void *shmem_malloc_with_hints(size_t size, long hints);

/* Changes the size; the contents stay, up to the smaller of both. NULL, and the old block stays, where there is no
 * room. */
SHMEM_API void *shmem_realloc(void *pointer, size_t size);

/* Gives a block back; NULL does nothing. What is not the start of a block is left alone. */
SHMEM_API void shmem_free(void *pointer);

/* A pointer by which this PE reaches `dest` at `pe` by loads and stores, or NULL where it cannot. */
SHMEM_API void *shmem_ptr(const void *dest, int pe);
SHMEM_API void *shmem_team_ptr(shmem_team_t team, const void *dest, int pe);

/* Which memory a symmetric heap lies in. */
typedef enum shmemx_space {
  SHMEMX_SPACE_HOST = 0,
  SHMEMX_SPACE_DEVICE = 1,
} shmemx_space_t;

#ifdef __cplusplus
}
#endif
#endif
