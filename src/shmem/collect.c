/* Moving collectives. All push: who has data puts them where they belong, and a sync ends the call. Little that goes to all
 * goes along a tree where some are far. The caller has seen to it that `dest` is ready everywhere, as the specification
 * demands. */
#include "collect.h"
#include "alias.h"
#include "tree.h"

#include <string.h>

static void push(const hmci_group_t *group, int to, void *dest, const void *source, size_t size) {
  int pe = hmci_member(group, to);
  if (pe == hmci_pe.me) {
    if (dest != source) hmci_move(dest, source, size);
  } else {
    hmci_put(SHMEM_CTX_DEFAULT, dest, source, size, pe, false);
  }
}

static void complete(hmci_group_t *group) {
  shmem_quiet();
  hmci_group_sync(group);
}

void hmci_broadcast(hmci_group_t *group, void *dest, const void *source, size_t size, int root, bool own) {
  if (group->me == root) {
    for (int i = 1; i < group->n; i++) push(group, (root + i) % group->n, dest, source, size);
    if (own) push(group, root, dest, source, size);
  }
  complete(group);
}

static void push_to_all(hmci_group_t *group, void *dest, const void *source, size_t size) {
  for (int i = 0; size && i < group->n; i++) push(group, (group->me + i) % group->n, dest, source, size);
  complete(group);
}

#define FEW_BYTES 16384 /* in all; more are not passed on by others */

static bool has_tree(const hmci_group_t *group) { return !group->near && group->slot >= 0; }

static bool goes_by_tree(const hmci_group_t *group, const void *dest, uint64_t all) {
  return has_tree(group) && all && all <= FEW_BYTES && !hmci_is_device(dest);
}

void hmci_fcollect(hmci_group_t *group, void *dest, const void *source, size_t size) {
  if (goes_by_tree(group, dest, size * (uint64_t)group->n)) {
    hmci_blocks_t blocks = hmci_tree_equal_blocks(group, size);
    hmci_tree_collect(group, dest, source, &blocks);
  } else {
    push_to_all(group, (char *)dest + (size_t)group->me * size, source, size);
  }
}

void hmci_collect(hmci_group_t *group, void *dest, const void *source, size_t size) {
  if (!has_tree(group)) {
    push_to_all(group, (char *)dest + hmci_group_before(group, size), source, size);
    return;
  }
  hmci_blocks_t blocks = hmci_tree_blocks(group, size);
  if (goes_by_tree(group, dest, blocks.all)) {
    hmci_tree_collect(group, dest, source, &blocks);
  } else {
    push_to_all(group, (char *)dest + blocks.before, source, size);
  }
}

void hmci_alltoall(hmci_group_t *group, void *dest, const void *source, size_t size) {
  char *mine = (char *)dest + (size_t)group->me * size;
  for (int i = 0; i < group->n; i++) {
    int to = (group->me + i) % group->n;
    push(group, to, mine, (const char *)source + (size_t)to * size, size);
  }
  complete(group);
}

void hmci_alltoalls(hmci_group_t *group, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,
                    size_t unit) {
  ptrdiff_t from_step = sst * (ptrdiff_t)unit, to_step = dst * (ptrdiff_t)unit;
  char *mine = (char *)dest + (ptrdiff_t)group->me * (ptrdiff_t)nelems * to_step;
  for (int i = 0; i < group->n; i++) {
    int to = (group->me + i) % group->n;
    const char *block = (const char *)source + (ptrdiff_t)to * (ptrdiff_t)nelems * from_step;
    hmci_put_blocks(SHMEM_CTX_DEFAULT, mine, block, to_step, from_step, unit, nelems, hmci_member(group, to));
  }
  hmci_strided_end(hmci_context(SHMEM_CTX_DEFAULT, NULL));
  complete(group);
}

/* ---- groups -------------------------------------------------------------------------------------------------------- */

void hmci_check_root(const char *call, const hmci_group_t *group, int root) {
  if (hmci_pe.checks && (root < 0 || root >= group->n)) {
    hmci_die("%s: there is no member %d to be the root: they count from 0 to %d in their team or active set", call,
             root, group->n - 1);
  }
}

static hmci_group_t *find_group(shmem_team_t team, const hmci_collective_t *collective, bool may_differ) {
  hmci_team_t *found = hmci_team_find(team);
  if (!hmci_pe.checks) return found ? &found->group : NULL;
  const char *call = collective->call;
  if (!found) hmci_die("%s: %d is not a team: give what a split made, or SHMEM_TEAM_WORLD", call, team);
  hmci_check(call, collective->dest, collective->size, hmci_pe.me);
  hmci_check(call, collective->source, collective->size, hmci_pe.me);
  hmci_check_root(call, &found->group, collective->root);
  hmci_collective_t common = *collective;
  if (may_differ) common.size = SIZE_MAX;
  hmci_agree(&found->group, &common);
  return &found->group;
}

hmci_group_t *hmci_team_group(shmem_team_t team, const hmci_collective_t *collective) {
  return find_group(team, collective, false);
}

hmci_group_t *hmci_team_group_of_any_size(shmem_team_t team, const hmci_collective_t *collective) {
  return find_group(team, collective, true);
}

hmci_group_t hmci_active_set(const char *call, int start, int log_stride, int size, long *sync) {
  hmci_check(call, sync, SHMEM_SYNC_SIZE * sizeof *sync, hmci_pe.me);
  hmci_check_host(call, sync);
  int stride = 1 << log_stride;
  hmci_group_t group = {.n = size, .start = start, .stride = stride, .slot = -1, .sync = sync};
  group.me = (hmci_pe.me - start) / stride;
  if (hmci_pe.checks) {
    if (start < 0 || size < 1 || log_stride < 0 || start + (size - 1) * stride >= hmci_pe.n) {
      hmci_die("%s: the active set %d, 2^%d, %d does not fit the %d PEs of the job: "
               "start + (size - 1) * 2^stride must be below their number",
               call, start, log_stride, size, hmci_pe.n);
    }
    if (hmci_pe.me < start || (hmci_pe.me - start) % stride || group.me >= size) {
      hmci_die("%s: called by PE %d, which is not of the active set", call, hmci_pe.me);
    }
  }
  return group;
}

/* ---- barriers ------------------------------------------------------------------------------------------------------- */

void shmem_sync_all(void) {
  if (hmci_pe.levels == 0)
    hmci_die("shmem_sync_all: called before shmem_init or after shmem_finalize: call it in between");
  hmci_agree_all(&(hmci_collective_t){.call = "shmem_sync_all"});
  hmci_group_sync(&hmci_team_find(SHMEM_TEAM_WORLD)->group);
}

void shmem_barrier_all(void) {
  if (hmci_pe.levels == 0)
    hmci_die("shmem_barrier_all: called before shmem_init or after shmem_finalize: call it in between");
  shmem_quiet();
  hmci_agree_all(&(hmci_collective_t){.call = "shmem_barrier_all"});
  hmci_group_sync(&hmci_team_find(SHMEM_TEAM_WORLD)->group);
}

void hmc_shmem_team_barrier(shmem_team_t team) {
  shmem_quiet();
  shmem_team_sync(team);
}

PROFILED(shmem_sync_all);
PROFILED(shmem_barrier_all);

/* ---- over teams ------------------------------------------------------------------------------------------------------ */

/* `T` the type of the pointers, `unit` bytes an element. */
#define DEFINE_COLLECTIVES(before, after, T, unit)                                                                     \
  int shmem_##before##broadcast##after(shmem_team_t team, T *dest, const T *source, size_t nelems, int PE_root) {      \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #before "broadcast" #after, dest, source, nelems * (unit), PE_root});      \
    if (!group) return -1;                                                                                             \
    hmci_broadcast(group, dest, source, nelems *(unit), PE_root, true);                                                \
    return 0;                                                                                                          \
  }                                                                                                                    \
  int shmem_##before##collect##after(shmem_team_t team, T *dest, const T *source, size_t nelems) {                     \
    hmci_group_t *group = hmci_team_group_of_any_size(                                                                 \
        team, &(hmci_collective_t){"shmem_" #before "collect" #after, dest, source, nelems * (unit), 0});              \
    if (!group) return -1;                                                                                             \
    hmci_collect(group, dest, source, nelems *(unit));                                                                 \
    return 0;                                                                                                          \
  }                                                                                                                    \
  int shmem_##before##fcollect##after(shmem_team_t team, T *dest, const T *source, size_t nelems) {                    \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #before "fcollect" #after, dest, source, nelems * (unit), 0});             \
    if (!group) return -1;                                                                                             \
    hmci_fcollect(group, dest, source, nelems *(unit));                                                                \
    return 0;                                                                                                          \
  }                                                                                                                    \
  int shmem_##before##alltoall##after(shmem_team_t team, T *dest, const T *source, size_t nelems) {                    \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #before "alltoall" #after, dest, source, nelems * (unit), 0});             \
    if (!group) return -1;                                                                                             \
    hmci_alltoall(group, dest, source, nelems *(unit));                                                                \
    return 0;                                                                                                          \
  }                                                                                                                    \
  int shmem_##before##alltoalls##after(shmem_team_t team, T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst,      \
                                       size_t nelems) {                                                                \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #before "alltoalls" #after, dest, source, nelems * (unit), 0});            \
    if (!group) return -1;                                                                                             \
    hmci_alltoalls(group, dest, source, dst, sst, nelems, unit);                                                       \
    return 0;                                                                                                          \
  }                                                                                                                    \
  PROFILED(shmem_##before##broadcast##after);                                                                          \
  PROFILED(shmem_##before##collect##after);                                                                            \
  PROFILED(shmem_##before##fcollect##after);                                                                           \
  PROFILED(shmem_##before##alltoall##after);                                                                           \
  PROFILED(shmem_##before##alltoalls##after);

#define DEFINE_TYPED(a, NAME, TYPE) DEFINE_COLLECTIVES(NAME##_, , TYPE, sizeof(TYPE))

HMC_SHMEM_RMA_TYPES(DEFINE_TYPED, )
DEFINE_COLLECTIVES(, mem, void, (size_t)1)

/* ---- over active sets ------------------------------------------------------------------------------------------------ */

void shmem_barrier(int PE_start, int logPE_stride, int PE_size, long *pSync) {
  hmci_group_t group = hmci_active_set("shmem_barrier", PE_start, logPE_stride, PE_size, pSync);
  shmem_quiet();
  hmci_group_sync(&group);
}

void shmem_sync(int PE_start, int logPE_stride, int PE_size, long *pSync) {
  hmci_group_t group = hmci_active_set("shmem_sync", PE_start, logPE_stride, PE_size, pSync);
  hmci_group_sync(&group);
}

PROFILED(shmem_barrier);
PROFILED(shmem_sync);

#define DEFINE_ACTIVE(bits)                                                                                            \
  void shmem_broadcast##bits(void *dest, const void *source, size_t nelems, int PE_root, int PE_start,                 \
                             int logPE_stride, int PE_size, long *pSync) {                                             \
    hmci_group_t group = hmci_active_set("shmem_broadcast" #bits, PE_start, logPE_stride, PE_size, pSync);             \
    hmci_check_root("shmem_broadcast" #bits, &group, PE_root);                                                         \
    hmci_broadcast(&group, dest, source, nelems *(bits / 8), PE_root, false);                                          \
  }                                                                                                                    \
  void shmem_collect##bits(void *dest, const void *source, size_t nelems, int PE_start, int logPE_stride, int PE_size, \
                           long *pSync) {                                                                              \
    hmci_group_t group = hmci_active_set("shmem_collect" #bits, PE_start, logPE_stride, PE_size, pSync);               \
    hmci_collect(&group, dest, source, nelems *(bits / 8));                                                            \
  }                                                                                                                    \
  void shmem_fcollect##bits(void *dest, const void *source, size_t nelems, int PE_start, int logPE_stride,             \
                            int PE_size, long *pSync) {                                                                \
    hmci_group_t group = hmci_active_set("shmem_fcollect" #bits, PE_start, logPE_stride, PE_size, pSync);              \
    hmci_fcollect(&group, dest, source, nelems *(bits / 8));                                                           \
  }                                                                                                                    \
  void shmem_alltoall##bits(void *dest, const void *source, size_t nelems, int PE_start, int logPE_stride,             \
                            int PE_size, long *pSync) {                                                                \
    hmci_group_t group = hmci_active_set("shmem_alltoall" #bits, PE_start, logPE_stride, PE_size, pSync);              \
    hmci_alltoall(&group, dest, source, nelems *(bits / 8));                                                           \
  }                                                                                                                    \
  void shmem_alltoalls##bits(void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,              \
                             int PE_start, int logPE_stride, int PE_size, long *pSync) {                               \
    hmci_group_t group = hmci_active_set("shmem_alltoalls" #bits, PE_start, logPE_stride, PE_size, pSync);             \
    hmci_alltoalls(&group, dest, source, dst, sst, nelems, bits / 8);                                                  \
  }                                                                                                                    \
  PROFILED(shmem_broadcast##bits);                                                                                     \
  PROFILED(shmem_collect##bits);                                                                                       \
  PROFILED(shmem_fcollect##bits);                                                                                      \
  PROFILED(shmem_alltoall##bits);                                                                                      \
  PROFILED(shmem_alltoalls##bits);

DEFINE_ACTIVE(32)
DEFINE_ACTIVE(64)
