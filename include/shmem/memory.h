/* The symmetric heaps: one in host memory and, where the job asks for it, one in the memory of each PE's device. */
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

/* A pointer by which this PE reaches `dest` at `pe` by loads and stores, or NULL where it cannot. For an address of the
 * device heap it is one for this PE's device, in kernels and copies; never for the host. */
SHMEM_API void *shmem_ptr(const void *dest, int pe);
SHMEM_API void *shmem_team_ptr(shmem_team_t team, const void *dest, int pe);

/* ---- spaces --------------------------------------------------------------------------------------------------------- */

/* Which memory a symmetric heap lies in. The device heap is there where SHMEM_DEVICE_SIZE or shmemx_set_device_heap asks
 * for it. Its addresses are symmetric as those of the other heap: they go to put, get, atomics, signals, waits and
 * collectives, in any mix of both, but not to locks and pSync arrays. Other memory of a device may be the local side of
 * put and get then. The host must not touch what lies there itself. */
typedef enum shmemx_space {
  SHMEMX_SPACE_HOST = 0,
  SHMEMX_SPACE_DEVICE = 1,
} shmemx_space_t;

/* Among the hints of shmem_malloc_with_hints: from the device heap. */
#define SHMEMX_MALLOC_DEVICE (1l << 16)

/* Asks for a device heap of `size` bytes per PE, before init; 0: SHMEM_DEVICE_SIZE decides. `device`: "nvidia",
 * "nvidia:1", "sim" and so on; NULL: SHMEM_DEVICE, else the first kind that works here. Without a number PEs of one host
 * take its devices in turn. All PEs give the same size. It holds for the next init only. Returns 0; -1 after init, or
 * where the name is too long. */
SHMEM_API int shmemx_set_device_heap(uint64_t size, const char *device);

/* As shmem_malloc, shmem_calloc and shmem_align, from that space. shmem_free and shmem_realloc take either. NULL also
 * where there is no such heap. */
SHMEM_API void *shmemx_space_malloc(shmemx_space_t space, size_t size);
SHMEM_API void *shmemx_space_calloc(shmemx_space_t space, size_t count, size_t size);
SHMEM_API void *shmemx_space_align(shmemx_space_t space, size_t alignment, size_t size);

/* The space of a symmetric address (globals are host memory), or -1 where it is none. */
SHMEM_API int shmemx_space_of(const void *address);

/* Where this PE's heap of that space begins; NULL where there is none. `size`, unless NULL, gets its bytes. */
SHMEM_API void *shmemx_space_base(shmemx_space_t space, size_t *size);

#ifdef __cplusplus
}
#endif
#endif
