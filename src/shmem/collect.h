/* Collectives over a group, in bytes: what teams and active sets share. */
#ifndef HMCI_SHMEM_COLLECT_H
#define HMCI_SHMEM_COLLECT_H

#include "state.h"

/* `root` counts in the group. With `own`: the root's dest gets the data too. */
void hmci_broadcast(hmci_group_t *group, void *dest, const void *source, size_t size, int root, bool own);
/* Sizes may differ; blocks lie in the order of the members. */
void hmci_collect(hmci_group_t *group, void *dest, const void *source, size_t size);
void hmci_fcollect(hmci_group_t *group, void *dest, const void *source, size_t size);
/* Block j of `size` bytes goes to member j. */
void hmci_alltoall(hmci_group_t *group, void *dest, const void *source, size_t size);
/* Elements of `unit` bytes; strides in elements. */
void hmci_alltoalls(hmci_group_t *group, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,
                    size_t unit);

/* Element by element; `combine` takes counts of elements of `unit` bytes. */
void hmci_reduce(hmci_group_t *group, void *dest, const void *source, size_t count, size_t unit,
                 hmci_combine_t combine);
void hmci_scan(hmci_group_t *group, void *dest, const void *source, size_t count, size_t unit, hmci_combine_t combine,
               bool inclusive);

/* The group of a team for a collective, or NULL. Under checks the members must all be in the same one, `size` bytes must
 * lie at both addresses, and `root` must be a member. */
hmci_group_t *hmci_team_group(shmem_team_t team, const hmci_collective_t *collective);

/* The same for a collective whose members may bring different sizes. */
hmci_group_t *hmci_team_group_of_any_size(shmem_team_t team, const hmci_collective_t *collective);

/* The group of an active set. */
hmci_group_t hmci_active_set(const char *call, int start, int log_stride, int size, long *sync);

/* Under checks: ends the job where the group has no such member. */
void hmci_check_root(const char *call, const hmci_group_t *group, int root);

#endif
