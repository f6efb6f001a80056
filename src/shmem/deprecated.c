/* Old names of the atomics and of wait; caches that were not coherent. */
#include "alias.h"
#include "state.h"

#define DEFINE_OLD_EXTENDED(a, NAME, TYPE)                                                                             \
  TYPE shmem_##NAME##_fetch(const TYPE *source, int pe) { return shmem_##NAME##_atomic_fetch(source, pe); }            \
  void shmem_##NAME##_set(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_set(dest, value, pe); }              \
  TYPE shmem_##NAME##_swap(TYPE *dest, TYPE value, int pe) { return shmem_##NAME##_atomic_swap(dest, value, pe); }     \
  PROFILED(shmem_##NAME##_fetch);                                                                                      \
  PROFILED(shmem_##NAME##_set);                                                                                        \
  PROFILED(shmem_##NAME##_swap);
HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(DEFINE_OLD_EXTENDED, )

#define DEFINE_OLD(a, NAME, TYPE)                                                                                      \
  TYPE shmem_##NAME##_cswap(TYPE *dest, TYPE cond, TYPE value, int pe) {                                               \
    return shmem_##NAME##_atomic_compare_swap(dest, cond, value, pe);                                                  \
  }                                                                                                                    \
  TYPE shmem_##NAME##_finc(TYPE *dest, int pe) { return shmem_##NAME##_atomic_fetch_inc(dest, pe); }                   \
  void shmem_##NAME##_inc(TYPE *dest, int pe) { shmem_##NAME##_atomic_inc(dest, pe); }                                 \
  TYPE shmem_##NAME##_fadd(TYPE *dest, TYPE value, int pe) {                                                           \
    return shmem_##NAME##_atomic_fetch_add(dest, value, pe);                                                           \
  }                                                                                                                    \
  void shmem_##NAME##_add(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_add(dest, value, pe); }              \
  PROFILED(shmem_##NAME##_cswap);                                                                                      \
  PROFILED(shmem_##NAME##_finc);                                                                                       \
  PROFILED(shmem_##NAME##_inc);                                                                                        \
  PROFILED(shmem_##NAME##_fadd);                                                                                       \
  PROFILED(shmem_##NAME##_add);
HMC_SHMEM_OLD_AMO_TYPES(DEFINE_OLD, )

#define DEFINE_OLD_WAIT(a, NAME, TYPE)                                                                                 \
  void shmem_##NAME##_wait(TYPE *ivar, TYPE cmp_value) { shmem_##NAME##_wait_until(ivar, SHMEM_CMP_NE, cmp_value); }   \
  PROFILED(shmem_##NAME##_wait);
DEFINE_OLD_WAIT(, short, short)
HMC_SHMEM_OLD_AMO_TYPES(DEFINE_OLD_WAIT, )

void shmem_wait(long *ivar, long cmp_value) { shmem_long_wait_until(ivar, SHMEM_CMP_NE, cmp_value); }
void shmem_wait_until(long *ivar, int cmp, long cmp_value) { shmem_long_wait_until(ivar, cmp, cmp_value); }

PROFILED(shmem_wait);
PROFILED(shmem_wait_until);

void shmem_set_cache_inv(void) {}
void shmem_set_cache_line_inv(void *dest) { (void)dest; }
void shmem_clear_cache_inv(void) {}
void shmem_clear_cache_line_inv(void *dest) { (void)dest; }
void shmem_udcflush(void) {}
void shmem_udcflush_line(void *dest) { (void)dest; }

PROFILED(shmem_set_cache_inv);
PROFILED(shmem_set_cache_line_inv);
PROFILED(shmem_clear_cache_inv);
PROFILED(shmem_clear_cache_line_inv);
PROFILED(shmem_udcflush);
PROFILED(shmem_udcflush_line);
