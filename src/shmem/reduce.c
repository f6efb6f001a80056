/* Reductions and scans.
 *
 * Small ones over teams go with the synchronisation itself. Large ones: each member reduces its share of the
 * elements, reading all sources and writing all dests; as nobody else touches that share, it works in place too. Where
 * members are far, or elements lie in memory of devices, the share is read whole before anybody writes. All add in the order of the members, so all get the
 * same result. */
#include "alias.h"
#include "collect.h"
#include "tree.h"

#include <stdlib.h>
#include <string.h>

#define CHUNK 8192 /* bytes that are worked on at a time: they stay in the first cache */

static const char *at_member(const hmci_group_t *group, int number, const void *address) {
  return hmci_pe.base[hmci_member(group, number)] + hmci_offset(address);
}

/* The elements that member `me` reduces. */
static void share_of(const hmci_group_t *group, size_t count, size_t *start, size_t *end) {
  size_t each = (count + (size_t)group->n - 1) / (size_t)group->n;
  *start = (size_t)group->me * each < count ? (size_t)group->me * each : count;
  *end = *start + each < count ? *start + each : count;
}

static void reduce_chunk(const hmci_group_t *group, void *dest, const void *source, size_t offset, size_t count,
                         size_t unit, hmci_combine_t combine) {
  _Alignas(64) char sum[CHUNK];
  size_t bytes = count * unit;
  memcpy(sum, at_member(group, 0, source) + offset, bytes);
  for (int i = 1; i < group->n; i++) combine(sum, at_member(group, i, source) + offset, count);
  for (int i = 0; i < group->n; i++) {
    memcpy((char *)(uintptr_t)at_member(group, (group->me + i) % group->n, dest) + offset, sum, bytes);
  }
}

static void reduce_near(hmci_group_t *group, void *dest, const void *source, size_t count, size_t unit,
                        hmci_combine_t combine) {
  size_t start, end, step = CHUNK / unit;
  share_of(group, count, &start, &end);
  hmci_group_sync(group); /* all sources are ready */
  for (size_t at = start; at < end; at += step) {
    reduce_chunk(group, dest, source, at * unit, end - at < step ? end - at : step, unit, combine);
  }
  hmci_group_sync(group);
}

/* Reads `count` elements of all members from `offset` on, one behind the other, and combines those before `members`. */
static void gather(const hmci_group_t *group, const void *source, size_t offset, size_t bytes, int members,
                   char *buffer) {
  for (int i = 0; i < members; i++) {
    hmci_get(SHMEM_CTX_DEFAULT, buffer + (size_t)i * bytes, (const char *)source + offset, bytes, hmci_member(group, i),
             false);
  }
  shmem_quiet();
}

static void *allocate(size_t size) {
  void *pointer = malloc(size ? size : 1);
  if (!pointer) hmci_die("no memory for %zu B of a collective", size);
  return pointer;
}

static void reduce_far(hmci_group_t *group, void *dest, const void *source, size_t count, size_t unit,
                       hmci_combine_t combine) {
  size_t start, end;
  share_of(group, count, &start, &end);
  size_t bytes = (end - start) * unit;
  char *buffer = allocate(bytes * (size_t)group->n);
  hmci_group_sync(group);
  gather(group, source, start * unit, bytes, group->n, buffer);
  for (int i = 1; i < group->n; i++) combine(buffer, buffer + (size_t)i * bytes, end - start);
  hmci_group_sync(group); /* all sources have been read */
  for (int i = 0; bytes && i < group->n; i++) {
    hmci_put(SHMEM_CTX_DEFAULT, (char *)dest + start * unit, buffer, bytes, hmci_member(group, i), false);
  }
  shmem_quiet();
  hmci_group_sync(group);
  free(buffer);
}

void hmci_reduce(hmci_group_t *group, void *dest, const void *source, size_t count, size_t unit,
                 hmci_combine_t combine) {
  size_t size = count * unit;
  bool on_device = hmci_is_device(dest) || hmci_is_device(source);
  if (group->n == 1) {
    if (dest != source) hmci_move(dest, source, size);
  } else if (!on_device && group->slot >= 0 && size <= HMCI_SLOT_BYTES) {
    hmci_group_combine(group, dest, source, size, count, combine);
  } else if (on_device || !group->near) {
    reduce_far(group, dest, source, count, unit, combine);
  } else {
    reduce_near(group, dest, source, count, unit, combine);
  }
}

static void scan_by_tree(hmci_group_t *group, void *dest, const void *source, size_t count, size_t bytes,
                         hmci_combine_t combine, bool inclusive) {
  _Alignas(16) uint8_t before[HMCI_SLOT_BYTES], mine[HMCI_SLOT_BYTES];
  memcpy(mine, source, bytes);
  hmci_tree_scan(group, before, mine, bytes, count, combine);
  if (inclusive && group->me > 0) combine(before, mine, count);
  memcpy(dest, inclusive && group->me == 0 ? mine : before, bytes);
}

void hmci_scan(hmci_group_t *group, void *dest, const void *source, size_t count, size_t unit, hmci_combine_t combine,
               bool inclusive) {
  size_t bytes = count * unit;
  bool is_small = bytes && bytes <= HMCI_SLOT_BYTES && !hmci_is_device(dest) && !hmci_is_device(source);
  if (is_small && !group->near && group->slot >= 0) {
    scan_by_tree(group, dest, source, count, bytes, combine, inclusive);
    return;
  }
  int members = group->me + (inclusive ? 1 : 0);
  char *buffer = allocate(bytes * (size_t)(members ? members : 1));
  hmci_group_sync(group);
  gather(group, source, 0, bytes, members, buffer);
  hmci_group_sync(group);
  for (int i = 1; i < members; i++) combine(buffer, buffer + (size_t)i * bytes, count);
  if (!members) memset(buffer, 0, bytes); /* all zero bits are 0 in each of the types */
  hmci_move(dest, buffer, bytes);
  free(buffer);
}

/* ---- the operations --------------------------------------------------------------------------------------------------- */

/* What arithmetic on an integer works with: signed ones wrap around, as the same bits without a sign do; narrower ones would
 * become int. */
#define WRAPPING(a)                                                                                                    \
  _Generic((a), short                                                                                                  \
           : (unsigned)(a), unsigned short                                                                             \
           : (unsigned)(a), int                                                                                        \
           : (unsigned)(a), long                                                                                       \
           : (unsigned long)(a), long long                                                                             \
           : (unsigned long long)(a), default                                                                          \
           : (a))

#define EXPRESSION_and(a, b) (a) & (b)
#define EXPRESSION_or(a, b) (a) | (b)
#define EXPRESSION_xor(a, b) (a) ^ (b)
#define EXPRESSION_max(a, b) (a) > (b) ? (a) : (b)
#define EXPRESSION_min(a, b) (a) < (b) ? (a) : (b)
#define EXPRESSION_sum(a, b) WRAPPING(a) + WRAPPING(b)
#define EXPRESSION_prod(a, b) WRAPPING(a) * WRAPPING(b)

#define DEFINE_COMBINE(operation, NAME, TYPE)                                                                          \
  static void NAME##_##operation(void *into, const void *from, size_t count) {                                         \
    TYPE *restrict left = into;                                                                                        \
    const TYPE *restrict right = from;                                                                                 \
    for (size_t i = 0; i < count; i++) left[i] = (TYPE)(EXPRESSION_##operation(left[i], right[i]));                    \
  }

#define DEFINE_REDUCE(operation, NAME, TYPE)                                                                           \
  DEFINE_COMBINE(operation, NAME, TYPE)                                                                                \
  int shmem_##NAME##_##operation##_reduce(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nreduce) {         \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #NAME "_" #operation "_reduce", dest, source, nreduce * sizeof(TYPE), 0}); \
    if (!group) return -1;                                                                                             \
    hmci_reduce(group, dest, source, nreduce, sizeof(TYPE), NAME##_##operation);                                       \
    return 0;                                                                                                          \
  }                                                                                                                    \
  PROFILED(shmem_##NAME##_##operation##_reduce);

HMC_SHMEM_BITWISE_REDUCE_TYPES(DEFINE_REDUCE, and)
HMC_SHMEM_BITWISE_REDUCE_TYPES(DEFINE_REDUCE, or)
HMC_SHMEM_BITWISE_REDUCE_TYPES(DEFINE_REDUCE, xor)
HMC_SHMEM_MINMAX_REDUCE_TYPES(DEFINE_REDUCE, max)
HMC_SHMEM_MINMAX_REDUCE_TYPES(DEFINE_REDUCE, min)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(DEFINE_REDUCE, sum)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(DEFINE_REDUCE, prod)

#define DEFINE_SCAN(a, NAME, TYPE)                                                                                     \
  int shmem_##NAME##_sum_inscan(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                    \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #NAME "_sum_inscan", dest, source, nelems * sizeof(TYPE), 0});             \
    if (!group) return -1;                                                                                             \
    hmci_scan(group, dest, source, nelems, sizeof(TYPE), NAME##_sum, true);                                            \
    return 0;                                                                                                          \
  }                                                                                                                    \
  int shmem_##NAME##_sum_exscan(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                    \
    hmci_group_t *group = hmci_team_group(                                                                             \
        team, &(hmci_collective_t){"shmem_" #NAME "_sum_exscan", dest, source, nelems * sizeof(TYPE), 0});             \
    if (!group) return -1;                                                                                             \
    hmci_scan(group, dest, source, nelems, sizeof(TYPE), NAME##_sum, false);                                           \
    return 0;                                                                                                          \
  }                                                                                                                    \
  PROFILED(shmem_##NAME##_sum_inscan);                                                                                 \
  PROFILED(shmem_##NAME##_sum_exscan);

HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(DEFINE_SCAN, )

/* The bitwise operations of active sets are on types that those of teams do not have. */
#define DEFINE_TO_ALL(operation, NAME, TYPE)                                                                           \
  void shmem_##NAME##_##operation##_to_all(TYPE *dest, const TYPE *source, int nreduce, int PE_start,                  \
                                           int logPE_stride, int PE_size, TYPE *pWrk, long *pSync) {                   \
    (void)pWrk;                                                                                                        \
    hmci_group_t group = hmci_active_set("shmem_" #operation "_to_all", PE_start, logPE_stride, PE_size, pSync);       \
    hmci_reduce(&group, dest, source, (size_t)nreduce, sizeof(TYPE), NAME##_##operation);                              \
  }                                                                                                                    \
  PROFILED(shmem_##NAME##_##operation##_to_all);

HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_COMBINE, and)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_COMBINE, or)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_COMBINE, xor)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_TO_ALL, and)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_TO_ALL, or)
HMC_SHMEM_OLD_INTEGER_TYPES(DEFINE_TO_ALL, xor)
HMC_SHMEM_OLD_ORDERED_TYPES(DEFINE_TO_ALL, max)
HMC_SHMEM_OLD_ORDERED_TYPES(DEFINE_TO_ALL, min)
HMC_SHMEM_OLD_NUMBER_TYPES(DEFINE_TO_ALL, sum)
HMC_SHMEM_OLD_NUMBER_TYPES(DEFINE_TO_ALL, prod)
