/* The symmetric heaps: an allocator whose books lie outside the heap, which may be memory of a device.
 *
 * All PEs make the same calls in the same order, and the allocator is a function of these alone: so a block lies at the
 * same offset everywhere. Blocks are kept in order of address; free ones also in bins by the power of two below their
 * size, and the lowest address of a bin that fits is taken. No two free blocks are neighbours.
 *
 * Locking: none; the collective calls come one at a time. */
#include "state.h"

#include <stdlib.h>

#define GRAIN 64 /* bytes: sizes and addresses are multiples */
#define BINS 48
#define BUCKETS 4096 /* a power of two */

typedef struct block {
  size_t offset, size;
  bool is_free;
  struct block *before, *after;         /* neighbours in memory */
  struct block *bin_before, *bin_after; /* of a free block; by address */
  struct block *chain;                  /* of a used block: the next in its bucket */
} block_t;

typedef struct heap {
  char *start;
  block_t *first;
  block_t *bins[BINS];
  block_t *buckets[BUCKETS];
} heap_t;

static heap_t heaps[2]; /* by shmemx_space_t */

static int bin_of(size_t size) {
  int bin = 63 - __builtin_clzll(size / GRAIN);
  return bin < BINS ? bin : BINS - 1;
}

static block_t **bucket_of(heap_t *heap, size_t offset) {
  return &heap->buckets[(offset / GRAIN * 2654435761u) % BUCKETS];
}

static void bin_insert(heap_t *heap, block_t *block) {
  block_t **at = &heap->bins[bin_of(block->size)];
  block_t *before = NULL;
  while (*at && (*at)->offset < block->offset) {
    before = *at;
    at = &(*at)->bin_after;
  }
  block->is_free = true;
  block->bin_before = before;
  block->bin_after = *at;
  if (*at) (*at)->bin_before = block;
  *at = block;
}

static void bin_remove(heap_t *heap, block_t *block) {
  block_t **at = block->bin_before ? &block->bin_before->bin_after : &heap->bins[bin_of(block->size)];
  *at = block->bin_after;
  if (block->bin_after) block->bin_after->bin_before = block->bin_before;
  block->is_free = false;
}

/* The other PEs would go on with other books than this one. */
static block_t *new_block(void) {
  block_t *block = calloc(1, sizeof *block);
  if (!block) hmci_die("no memory for the books of the heap");
  return block;
}

/* Cuts `block` (in no bin) behind `size` bytes; the rest becomes a block in no bin. */
static block_t *split(block_t *block, size_t size) {
  block_t *rest = new_block();
  rest->offset = block->offset + size;
  rest->size = block->size - size;
  rest->before = block;
  rest->after = block->after;
  if (rest->after) rest->after->before = rest;
  block->after = rest;
  block->size = size;
  return rest;
}

/* Takes the neighbour behind it into `block`; both in no bin. */
static void swallow(block_t *block) {
  block_t *gone = block->after;
  block->size += gone->size;
  block->after = gone->after;
  if (block->after) block->after->before = block;
  free(gone);
}

void hmci_heap_open(shmemx_space_t space, char *start, size_t size) {
  heap_t *heap = &heaps[space];
  heap->start = start;
  heap->first = new_block();
  heap->first->size = size / GRAIN * GRAIN;
  bin_insert(heap, heap->first);
}

void hmci_heap_close(shmemx_space_t space) {
  heap_t *heap = &heaps[space];
  while (heap->first) {
    block_t *next = heap->first->after;
    free(heap->first);
    heap->first = next;
  }
  *heap = (heap_t){0};
}

/* The bytes to leave free at the start of a block so that what follows is aligned. */
static size_t lead_of(const heap_t *heap, const block_t *block, size_t alignment) {
  uintptr_t start = (uintptr_t)heap->start + block->offset;
  return (alignment - start % alignment) % alignment;
}

static block_t *find_room(const heap_t *heap, size_t size, size_t alignment) {
  for (int bin = bin_of(size); bin < BINS; bin++) {
    for (block_t *block = heap->bins[bin]; block; block = block->bin_after) {
      size_t lead = lead_of(heap, block, alignment);
      if (lead <= block->size && block->size - lead >= size) return block;
    }
  }
  return NULL;
}

void *hmci_heap_allocate(shmemx_space_t space, size_t size, size_t alignment) {
  if (size == 0 || size > SIZE_MAX / 2) return NULL;
  heap_t *heap = &heaps[space];
  size = (size + GRAIN - 1) / GRAIN * GRAIN;
  if (alignment < GRAIN) alignment = GRAIN;
  block_t *block = find_room(heap, size, alignment);
  if (!block) return NULL;
  bin_remove(heap, block);
  size_t lead = lead_of(heap, block, alignment);
  if (lead) {
    block_t *rest = split(block, lead);
    bin_insert(heap, block);
    block = rest;
  }
  if (block->size > size) bin_insert(heap, split(block, size));
  block_t **bucket = bucket_of(heap, block->offset);
  block->chain = *bucket;
  *bucket = block;
  return heap->start + block->offset;
}

static heap_t *heap_of(const void *pointer) {
  return &heaps[hmci_is_device(pointer) ? SHMEMX_SPACE_DEVICE : SHMEMX_SPACE_HOST];
}

static block_t **find_used(heap_t *heap, const void *pointer) {
  size_t offset = (uintptr_t)pointer - (uintptr_t)heap->start;
  block_t **at = bucket_of(heap, offset);
  while (*at && (*at)->offset != offset) at = &(*at)->chain;
  return at;
}

size_t hmci_heap_size_of(const void *pointer) {
  block_t *block = *find_used(heap_of(pointer), pointer);
  return block ? block->size : 0;
}

bool hmci_heap_free(void *pointer) {
  heap_t *heap = heap_of(pointer);
  block_t **at = find_used(heap, pointer);
  block_t *block = *at;
  if (!block) return false;
  *at = block->chain;
  if (block->after && block->after->is_free) {
    bin_remove(heap, block->after);
    swallow(block);
  }
  if (block->before && block->before->is_free) {
    block = block->before;
    bin_remove(heap, block);
    swallow(block);
  }
  bin_insert(heap, block);
  return true;
}
