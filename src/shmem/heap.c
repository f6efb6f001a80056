/* The symmetric heap: an allocator whose books lie outside the heap.
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

static char *heap_start;
static block_t *first;
static block_t *bins[BINS];
static block_t *buckets[BUCKETS];

static int bin_of(size_t size) {
  int bin = 63 - __builtin_clzll(size / GRAIN);
  return bin < BINS ? bin : BINS - 1;
}

static block_t **bucket_of(size_t offset) { return &buckets[(offset / GRAIN * 2654435761u) % BUCKETS]; }

static void bin_insert(block_t *block) {
  block_t **at = &bins[bin_of(block->size)];
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

static void bin_remove(block_t *block) {
  block_t **at = block->bin_before ? &block->bin_before->bin_after : &bins[bin_of(block->size)];
  *at = block->bin_after;
  if (block->bin_after) block->bin_after->bin_before = block->bin_before;
  block->is_free = false;
}

/* Cuts `block` (in no bin) behind `size` bytes; the rest becomes a block in no bin. NULL without memory for it. */
static block_t *split(block_t *block, size_t size) {
  block_t *rest = calloc(1, sizeof *rest);
  if (!rest) return NULL;
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

void hmci_heap_open(char *start, size_t size) {
  heap_start = start;
  first = calloc(1, sizeof *first);
  if (!first) hmci_die("no memory for the books of the heap");
  first->size = size / GRAIN * GRAIN;
  bin_insert(first);
}

void hmci_heap_close(void) {
  while (first) {
    block_t *next = first->after;
    free(first);
    first = next;
  }
  for (int i = 0; i < BINS; i++) bins[i] = NULL;
  for (int i = 0; i < BUCKETS; i++) buckets[i] = NULL;
}

/* The bytes to leave free at the start of a block so that what follows is aligned. */
static size_t lead_of(const block_t *block, size_t alignment) {
  uintptr_t start = (uintptr_t)heap_start + block->offset;
  return (alignment - start % alignment) % alignment;
}

static block_t *find_room(size_t size, size_t alignment) {
  for (int bin = bin_of(size); bin < BINS; bin++) {
    for (block_t *block = bins[bin]; block; block = block->bin_after) {
      size_t lead = lead_of(block, alignment);
      if (lead <= block->size && block->size - lead >= size) return block;
    }
  }
  return NULL;
}

void *hmci_heap_allocate(size_t size, size_t alignment) {
  if (size == 0 || size > SIZE_MAX / 2) return NULL;
  size = (size + GRAIN - 1) / GRAIN * GRAIN;
  if (alignment < GRAIN) alignment = GRAIN;
  block_t *block = find_room(size, alignment);
  if (!block) return NULL;
  bin_remove(block);
  size_t lead = lead_of(block, alignment);
  if (lead) {
    block_t *rest = split(block, lead);
    bin_insert(block);
    if (!rest) return NULL;
    block = rest;
  }
  if (block->size > size) {
    block_t *rest = split(block, size);
    if (rest) bin_insert(rest);
  }
  block_t **bucket = bucket_of(block->offset);
  block->chain = *bucket;
  *bucket = block;
  return heap_start + block->offset;
}

static block_t **find_used(const void *pointer) {
  size_t offset = (size_t)((const char *)pointer - heap_start);
  block_t **at = bucket_of(offset);
  while (*at && (*at)->offset != offset) at = &(*at)->chain;
  return at;
}

size_t hmci_heap_size_of(const void *pointer) {
  block_t *block = *find_used(pointer);
  return block ? block->size : 0;
}

bool hmci_heap_free(void *pointer) {
  block_t **at = find_used(pointer);
  block_t *block = *at;
  if (!block) return false;
  *at = block->chain;
  if (block->after && block->after->is_free) {
    bin_remove(block->after);
    swallow(block);
  }
  if (block->before && block->before->is_free) {
    block = block->before;
    bin_remove(block);
    swallow(block);
  }
  bin_insert(block);
  return true;
}
