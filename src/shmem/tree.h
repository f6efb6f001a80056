/* Collectives of groups with far members, which have a slot, along a tree (tree.c). */
#ifndef HMCI_SHMEM_TREE_H
#define HMCI_SHMEM_TREE_H

#include "state.h"

void hmci_tree_sync(hmci_group_t *group);

/* As hmci_group_combine. */
void hmci_tree_combine(hmci_group_t *group, void *into, const void *from, size_t size, size_t count,
                       hmci_combine_t combine);

/* What `from` of all members before this one comes to; zeros at the first one. At most HMCI_SLOT_BYTES. */
void hmci_tree_scan(hmci_group_t *group, void *before, const void *from, size_t size, size_t count,
                    hmci_combine_t combine);

/* Where the block of a member lies when all have been collected; in bytes. */
typedef struct hmci_blocks {
  uint64_t before; /* of the members before it */
  uint64_t size;   /* its own */
  uint64_t below;  /* of the members that its node of the tree stands for, its own too */
  uint64_t all;
} hmci_blocks_t;

/* Collective: each member brings its size. */
hmci_blocks_t hmci_tree_blocks(hmci_group_t *group, uint64_t size);
/* All have that size. */
hmci_blocks_t hmci_tree_equal_blocks(const hmci_group_t *group, uint64_t size);

/* All blocks, in the order of the members, to all. `dest` is host memory. */
void hmci_tree_collect(hmci_group_t *group, void *dest, const void *source, const hmci_blocks_t *blocks);

#endif
