/* The generic names of OpenSHMEM as overloads, for C++: one per type of C, with and without a context. */
#ifndef SHMEM_OVERLOADS_HPP
#define SHMEM_OVERLOADS_HPP

#include <shmem/atomics.h>
#include <shmem/collectives.h>
#include <shmem/deprecated.h>
#include <shmem/rma.h>
#include <shmem/sync.h>
#include <shmem/teams.h>

#define HMC_SHMEM_OVERLOAD_RMA(a, NAME, TYPE)                                                                          \
  inline void shmem_put(TYPE *dest, const TYPE *source, size_t nelems, int pe) {                                       \
    shmem_##NAME##_put(dest, source, nelems, pe);                                                                      \
  }                                                                                                                    \
  inline void shmem_put(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe) {                      \
    shmem_ctx_##NAME##_put(ctx, dest, source, nelems, pe);                                                             \
  }                                                                                                                    \
  inline void shmem_get(TYPE *dest, const TYPE *source, size_t nelems, int pe) {                                       \
    shmem_##NAME##_get(dest, source, nelems, pe);                                                                      \
  }                                                                                                                    \
  inline void shmem_get(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe) {                      \
    shmem_ctx_##NAME##_get(ctx, dest, source, nelems, pe);                                                             \
  }                                                                                                                    \
  inline void shmem_put_nbi(TYPE *dest, const TYPE *source, size_t nelems, int pe) {                                   \
    shmem_##NAME##_put_nbi(dest, source, nelems, pe);                                                                  \
  }                                                                                                                    \
  inline void shmem_put_nbi(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe) {                  \
    shmem_ctx_##NAME##_put_nbi(ctx, dest, source, nelems, pe);                                                         \
  }                                                                                                                    \
  inline void shmem_get_nbi(TYPE *dest, const TYPE *source, size_t nelems, int pe) {                                   \
    shmem_##NAME##_get_nbi(dest, source, nelems, pe);                                                                  \
  }                                                                                                                    \
  inline void shmem_get_nbi(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe) {                  \
    shmem_ctx_##NAME##_get_nbi(ctx, dest, source, nelems, pe);                                                         \
  }                                                                                                                    \
  inline void shmem_p(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_p(dest, value, pe); }                           \
  inline void shmem_p(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) { shmem_ctx_##NAME##_p(ctx, dest, value, pe); } \
  inline TYPE shmem_g(const TYPE *source, int pe) { return shmem_##NAME##_g(source, pe); }                             \
  inline TYPE shmem_g(shmem_ctx_t ctx, const TYPE *source, int pe) { return shmem_ctx_##NAME##_g(ctx, source, pe); }   \
  inline void shmem_iput(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {        \
    shmem_##NAME##_iput(dest, source, dst, sst, nelems, pe);                                                           \
  }                                                                                                                    \
  inline void shmem_iput(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, \
                         int pe) {                                                                                     \
    shmem_ctx_##NAME##_iput(ctx, dest, source, dst, sst, nelems, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_iget(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {        \
    shmem_##NAME##_iget(dest, source, dst, sst, nelems, pe);                                                           \
  }                                                                                                                    \
  inline void shmem_iget(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, \
                         int pe) {                                                                                     \
    shmem_ctx_##NAME##_iget(ctx, dest, source, dst, sst, nelems, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_ibput(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize, size_t nblocks,  \
                          int pe) {                                                                                    \
    shmem_##NAME##_ibput(dest, source, dst, sst, bsize, nblocks, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_ibput(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize, \
                          size_t nblocks, int pe) {                                                                    \
    shmem_ctx_##NAME##_ibput(ctx, dest, source, dst, sst, bsize, nblocks, pe);                                         \
  }                                                                                                                    \
  inline void shmem_ibget(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize, size_t nblocks,  \
                          int pe) {                                                                                    \
    shmem_##NAME##_ibget(dest, source, dst, sst, bsize, nblocks, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_ibget(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize, \
                          size_t nblocks, int pe) {                                                                    \
    shmem_ctx_##NAME##_ibget(ctx, dest, source, dst, sst, bsize, nblocks, pe);                                         \
  }                                                                                                                    \
  inline void shmem_put_signal(TYPE *dest, const TYPE *source, size_t nelems, uint64_t *sig_addr, uint64_t signal,     \
                               int sig_op, int pe) {                                                                   \
    shmem_##NAME##_put_signal(dest, source, nelems, sig_addr, signal, sig_op, pe);                                     \
  }                                                                                                                    \
  inline void shmem_put_signal(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, uint64_t *sig_addr,     \
                               uint64_t signal, int sig_op, int pe) {                                                  \
    shmem_ctx_##NAME##_put_signal(ctx, dest, source, nelems, sig_addr, signal, sig_op, pe);                            \
  }                                                                                                                    \
  inline void shmem_put_signal_nbi(TYPE *dest, const TYPE *source, size_t nelems, uint64_t *sig_addr, uint64_t signal, \
                                   int sig_op, int pe) {                                                               \
    shmem_##NAME##_put_signal_nbi(dest, source, nelems, sig_addr, signal, sig_op, pe);                                 \
  }                                                                                                                    \
  inline void shmem_put_signal_nbi(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, uint64_t *sig_addr, \
                                   uint64_t signal, int sig_op, int pe) {                                              \
    shmem_ctx_##NAME##_put_signal_nbi(ctx, dest, source, nelems, sig_addr, signal, sig_op, pe);                        \
  }
HMC_SHMEM_C_TYPES(HMC_SHMEM_OVERLOAD_RMA, )
#undef HMC_SHMEM_OVERLOAD_RMA

#define HMC_SHMEM_OVERLOAD_EXTENDED_AMO(a, NAME, TYPE)                                                                 \
  inline TYPE shmem_atomic_fetch(const TYPE *source, int pe) { return shmem_##NAME##_atomic_fetch(source, pe); }       \
  inline TYPE shmem_atomic_fetch(shmem_ctx_t ctx, const TYPE *source, int pe) {                                        \
    return shmem_ctx_##NAME##_atomic_fetch(ctx, source, pe);                                                           \
  }                                                                                                                    \
  inline void shmem_atomic_set(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_set(dest, value, pe); }         \
  inline void shmem_atomic_set(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                      \
    shmem_ctx_##NAME##_atomic_set(ctx, dest, value, pe);                                                               \
  }                                                                                                                    \
  inline TYPE shmem_atomic_swap(TYPE *dest, TYPE value, int pe) {                                                      \
    return shmem_##NAME##_atomic_swap(dest, value, pe);                                                                \
  }                                                                                                                    \
  inline TYPE shmem_atomic_swap(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                     \
    return shmem_ctx_##NAME##_atomic_swap(ctx, dest, value, pe);                                                       \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_nbi(TYPE *fetch, const TYPE *source, int pe) {                                        \
    shmem_##NAME##_atomic_fetch_nbi(fetch, source, pe);                                                                \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_nbi(shmem_ctx_t ctx, TYPE *fetch, const TYPE *source, int pe) {                       \
    shmem_ctx_##NAME##_atomic_fetch_nbi(ctx, fetch, source, pe);                                                       \
  }                                                                                                                    \
  inline void shmem_atomic_swap_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe) {                                     \
    shmem_##NAME##_atomic_swap_nbi(fetch, dest, value, pe);                                                            \
  }                                                                                                                    \
  inline void shmem_atomic_swap_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe) {                    \
    shmem_ctx_##NAME##_atomic_swap_nbi(ctx, fetch, dest, value, pe);                                                   \
  }
HMC_SHMEM_C_EXTENDED_AMO_TYPES(HMC_SHMEM_OVERLOAD_EXTENDED_AMO, )
#undef HMC_SHMEM_OVERLOAD_EXTENDED_AMO

#define HMC_SHMEM_OVERLOAD_AMO(a, NAME, TYPE)                                                                          \
  inline TYPE shmem_atomic_compare_swap(TYPE *dest, TYPE cond, TYPE value, int pe) {                                   \
    return shmem_##NAME##_atomic_compare_swap(dest, cond, value, pe);                                                  \
  }                                                                                                                    \
  inline TYPE shmem_atomic_compare_swap(shmem_ctx_t ctx, TYPE *dest, TYPE cond, TYPE value, int pe) {                  \
    return shmem_ctx_##NAME##_atomic_compare_swap(ctx, dest, cond, value, pe);                                         \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_inc(TYPE *dest, int pe) { return shmem_##NAME##_atomic_fetch_inc(dest, pe); }         \
  inline TYPE shmem_atomic_fetch_inc(shmem_ctx_t ctx, TYPE *dest, int pe) {                                            \
    return shmem_ctx_##NAME##_atomic_fetch_inc(ctx, dest, pe);                                                         \
  }                                                                                                                    \
  inline void shmem_atomic_inc(TYPE *dest, int pe) { shmem_##NAME##_atomic_inc(dest, pe); }                            \
  inline void shmem_atomic_inc(shmem_ctx_t ctx, TYPE *dest, int pe) { shmem_ctx_##NAME##_atomic_inc(ctx, dest, pe); }  \
  inline TYPE shmem_atomic_fetch_add(TYPE *dest, TYPE value, int pe) {                                                 \
    return shmem_##NAME##_atomic_fetch_add(dest, value, pe);                                                           \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_add(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                \
    return shmem_ctx_##NAME##_atomic_fetch_add(ctx, dest, value, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_atomic_add(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_add(dest, value, pe); }         \
  inline void shmem_atomic_add(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                      \
    shmem_ctx_##NAME##_atomic_add(ctx, dest, value, pe);                                                               \
  }                                                                                                                    \
  inline void shmem_atomic_compare_swap_nbi(TYPE *fetch, TYPE *dest, TYPE cond, TYPE value, int pe) {                  \
    shmem_##NAME##_atomic_compare_swap_nbi(fetch, dest, cond, value, pe);                                              \
  }                                                                                                                    \
  inline void shmem_atomic_compare_swap_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE cond, TYPE value, int pe) { \
    shmem_ctx_##NAME##_atomic_compare_swap_nbi(ctx, fetch, dest, cond, value, pe);                                     \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_inc_nbi(TYPE *fetch, TYPE *dest, int pe) {                                            \
    shmem_##NAME##_atomic_fetch_inc_nbi(fetch, dest, pe);                                                              \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_inc_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, int pe) {                           \
    shmem_ctx_##NAME##_atomic_fetch_inc_nbi(ctx, fetch, dest, pe);                                                     \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_add_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe) {                                \
    shmem_##NAME##_atomic_fetch_add_nbi(fetch, dest, value, pe);                                                       \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_add_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe) {               \
    shmem_ctx_##NAME##_atomic_fetch_add_nbi(ctx, fetch, dest, value, pe);                                              \
  }
HMC_SHMEM_C_AMO_TYPES(HMC_SHMEM_OVERLOAD_AMO, )
#undef HMC_SHMEM_OVERLOAD_AMO

#define HMC_SHMEM_OVERLOAD_BITWISE_AMO(a, NAME, TYPE)                                                                  \
  inline TYPE shmem_atomic_fetch_and(TYPE *dest, TYPE value, int pe) {                                                 \
    return shmem_##NAME##_atomic_fetch_and(dest, value, pe);                                                           \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_and(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                \
    return shmem_ctx_##NAME##_atomic_fetch_and(ctx, dest, value, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_atomic_and(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_and(dest, value, pe); }         \
  inline void shmem_atomic_and(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                      \
    shmem_ctx_##NAME##_atomic_and(ctx, dest, value, pe);                                                               \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_and_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe) {                                \
    shmem_##NAME##_atomic_fetch_and_nbi(fetch, dest, value, pe);                                                       \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_and_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe) {               \
    shmem_ctx_##NAME##_atomic_fetch_and_nbi(ctx, fetch, dest, value, pe);                                              \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_or(TYPE *dest, TYPE value, int pe) {                                                  \
    return shmem_##NAME##_atomic_fetch_or(dest, value, pe);                                                            \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_or(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                 \
    return shmem_ctx_##NAME##_atomic_fetch_or(ctx, dest, value, pe);                                                   \
  }                                                                                                                    \
  inline void shmem_atomic_or(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_or(dest, value, pe); }           \
  inline void shmem_atomic_or(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                       \
    shmem_ctx_##NAME##_atomic_or(ctx, dest, value, pe);                                                                \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_or_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe) {                                 \
    shmem_##NAME##_atomic_fetch_or_nbi(fetch, dest, value, pe);                                                        \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_or_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe) {                \
    shmem_ctx_##NAME##_atomic_fetch_or_nbi(ctx, fetch, dest, value, pe);                                               \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_xor(TYPE *dest, TYPE value, int pe) {                                                 \
    return shmem_##NAME##_atomic_fetch_xor(dest, value, pe);                                                           \
  }                                                                                                                    \
  inline TYPE shmem_atomic_fetch_xor(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                \
    return shmem_ctx_##NAME##_atomic_fetch_xor(ctx, dest, value, pe);                                                  \
  }                                                                                                                    \
  inline void shmem_atomic_xor(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_atomic_xor(dest, value, pe); }         \
  inline void shmem_atomic_xor(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                      \
    shmem_ctx_##NAME##_atomic_xor(ctx, dest, value, pe);                                                               \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_xor_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe) {                                \
    shmem_##NAME##_atomic_fetch_xor_nbi(fetch, dest, value, pe);                                                       \
  }                                                                                                                    \
  inline void shmem_atomic_fetch_xor_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe) {               \
    shmem_ctx_##NAME##_atomic_fetch_xor_nbi(ctx, fetch, dest, value, pe);                                              \
  }
HMC_SHMEM_C_BITWISE_AMO_TYPES(HMC_SHMEM_OVERLOAD_BITWISE_AMO, )
#undef HMC_SHMEM_OVERLOAD_BITWISE_AMO

inline void shmem_signal_add(shmem_ctx_t ctx, uint64_t *sig_addr, uint64_t signal, int pe) {
  shmem_ctx_signal_add(ctx, sig_addr, signal, pe);
}
inline void shmem_signal_set(shmem_ctx_t ctx, uint64_t *sig_addr, uint64_t signal, int pe) {
  shmem_ctx_signal_set(ctx, sig_addr, signal, pe);
}

#define HMC_SHMEM_OVERLOAD_SYNC(a, NAME, TYPE)                                                                         \
  inline int shmem_test(TYPE *ivar, int cmp, TYPE cmp_value) { return shmem_##NAME##_test(ivar, cmp, cmp_value); }     \
  inline void shmem_wait_until_all(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {           \
    shmem_##NAME##_wait_until_all(ivars, nelems, status, cmp, cmp_value);                                              \
  }                                                                                                                    \
  inline size_t shmem_wait_until_any(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {         \
    return shmem_##NAME##_wait_until_any(ivars, nelems, status, cmp, cmp_value);                                       \
  }                                                                                                                    \
  inline size_t shmem_wait_until_some(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,         \
                                      TYPE cmp_value) {                                                                \
    return shmem_##NAME##_wait_until_some(ivars, nelems, indices, status, cmp, cmp_value);                             \
  }                                                                                                                    \
  inline int shmem_test_all(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {                  \
    return shmem_##NAME##_test_all(ivars, nelems, status, cmp, cmp_value);                                             \
  }                                                                                                                    \
  inline size_t shmem_test_any(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {               \
    return shmem_##NAME##_test_any(ivars, nelems, status, cmp, cmp_value);                                             \
  }                                                                                                                    \
  inline size_t shmem_test_some(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,               \
                                TYPE cmp_value) {                                                                      \
    return shmem_##NAME##_test_some(ivars, nelems, indices, status, cmp, cmp_value);                                   \
  }                                                                                                                    \
  inline void shmem_wait_until_all_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                      \
                                          const TYPE *cmp_values) {                                                    \
    shmem_##NAME##_wait_until_all_vector(ivars, nelems, status, cmp, cmp_values);                                      \
  }                                                                                                                    \
  inline size_t shmem_wait_until_any_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                    \
                                            const TYPE *cmp_values) {                                                  \
    return shmem_##NAME##_wait_until_any_vector(ivars, nelems, status, cmp, cmp_values);                               \
  }                                                                                                                    \
  inline size_t shmem_wait_until_some_vector(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,  \
                                             const TYPE *cmp_values) {                                                 \
    return shmem_##NAME##_wait_until_some_vector(ivars, nelems, indices, status, cmp, cmp_values);                     \
  }                                                                                                                    \
  inline int shmem_test_all_vector(TYPE *ivars, size_t nelems, const int *status, int cmp, const TYPE *cmp_values) {   \
    return shmem_##NAME##_test_all_vector(ivars, nelems, status, cmp, cmp_values);                                     \
  }                                                                                                                    \
  inline size_t shmem_test_any_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                          \
                                      const TYPE *cmp_values) {                                                        \
    return shmem_##NAME##_test_any_vector(ivars, nelems, status, cmp, cmp_values);                                     \
  }                                                                                                                    \
  inline size_t shmem_test_some_vector(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,        \
                                       const TYPE *cmp_values) {                                                       \
    return shmem_##NAME##_test_some_vector(ivars, nelems, indices, status, cmp, cmp_values);                           \
  }
HMC_SHMEM_C_SYNC_TYPES(HMC_SHMEM_OVERLOAD_SYNC, )
#undef HMC_SHMEM_OVERLOAD_SYNC

/* The deprecated C function is the one for long. */
#define HMC_SHMEM_OVERLOAD_WAIT(a, NAME, TYPE)                                                                         \
  inline void shmem_wait_until(TYPE *ivar, int cmp, TYPE cmp_value) { shmem_##NAME##_wait_until(ivar, cmp, cmp_value); }
HMC_SHMEM_OVERLOAD_WAIT(, short, short)
HMC_SHMEM_OVERLOAD_WAIT(, ushort, unsigned short)
HMC_SHMEM_OVERLOAD_WAIT(, int, int)
HMC_SHMEM_OVERLOAD_WAIT(, longlong, long long)
HMC_SHMEM_OVERLOAD_WAIT(, uint, unsigned int)
HMC_SHMEM_OVERLOAD_WAIT(, ulong, unsigned long)
HMC_SHMEM_OVERLOAD_WAIT(, ulonglong, unsigned long long)
#undef HMC_SHMEM_OVERLOAD_WAIT

#define HMC_SHMEM_OVERLOAD_COLLECTIVE(a, NAME, TYPE)                                                                   \
  inline int shmem_broadcast(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems, int PE_root) {          \
    return shmem_##NAME##_broadcast(team, dest, source, nelems, PE_root);                                              \
  }                                                                                                                    \
  inline int shmem_collect(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                         \
    return shmem_##NAME##_collect(team, dest, source, nelems);                                                         \
  }                                                                                                                    \
  inline int shmem_fcollect(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                        \
    return shmem_##NAME##_fcollect(team, dest, source, nelems);                                                        \
  }                                                                                                                    \
  inline int shmem_alltoall(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                        \
    return shmem_##NAME##_alltoall(team, dest, source, nelems);                                                        \
  }                                                                                                                    \
  inline int shmem_alltoalls(shmem_team_t team, TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst,          \
                             size_t nelems) {                                                                          \
    return shmem_##NAME##_alltoalls(team, dest, source, dst, sst, nelems);                                             \
  }
HMC_SHMEM_C_TYPES(HMC_SHMEM_OVERLOAD_COLLECTIVE, )
#undef HMC_SHMEM_OVERLOAD_COLLECTIVE

#define HMC_SHMEM_OVERLOAD_REDUCE(operation, NAME, TYPE)                                                               \
  inline int shmem_##operation##_reduce(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nreduce) {           \
    return shmem_##NAME##_##operation##_reduce(team, dest, source, nreduce);                                           \
  }
HMC_SHMEM_C_BITWISE_REDUCE_TYPES(HMC_SHMEM_OVERLOAD_REDUCE, and)
HMC_SHMEM_C_BITWISE_REDUCE_TYPES(HMC_SHMEM_OVERLOAD_REDUCE, or)
HMC_SHMEM_C_BITWISE_REDUCE_TYPES(HMC_SHMEM_OVERLOAD_REDUCE, xor)
HMC_SHMEM_C_TYPES(HMC_SHMEM_OVERLOAD_REDUCE, max)
HMC_SHMEM_C_TYPES(HMC_SHMEM_OVERLOAD_REDUCE, min)
HMC_SHMEM_C_NUMBERS(HMC_SHMEM_OVERLOAD_REDUCE, sum)
HMC_SHMEM_C_NUMBERS(HMC_SHMEM_OVERLOAD_REDUCE, prod)
#undef HMC_SHMEM_OVERLOAD_REDUCE

#define HMC_SHMEM_OVERLOAD_SCAN(a, NAME, TYPE)                                                                         \
  inline int shmem_sum_inscan(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                      \
    return shmem_##NAME##_sum_inscan(team, dest, source, nelems);                                                      \
  }                                                                                                                    \
  inline int shmem_sum_exscan(shmem_team_t team, TYPE *dest, const TYPE *source, size_t nelems) {                      \
    return shmem_##NAME##_sum_exscan(team, dest, source, nelems);                                                      \
  }
HMC_SHMEM_C_NUMBERS(HMC_SHMEM_OVERLOAD_SCAN, )
#undef HMC_SHMEM_OVERLOAD_SCAN

#define HMC_SHMEM_OVERLOAD_OLD_EXTENDED_AMO(a, NAME, TYPE)                                                             \
  inline TYPE shmem_fetch(const TYPE *source, int pe) { return shmem_##NAME##_fetch(source, pe); }                     \
  inline void shmem_set(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_set(dest, value, pe); }                       \
  inline TYPE shmem_swap(TYPE *dest, TYPE value, int pe) { return shmem_##NAME##_swap(dest, value, pe); }
HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(HMC_SHMEM_OVERLOAD_OLD_EXTENDED_AMO, )
#undef HMC_SHMEM_OVERLOAD_OLD_EXTENDED_AMO

#define HMC_SHMEM_OVERLOAD_OLD_AMO(a, NAME, TYPE)                                                                      \
  inline TYPE shmem_cswap(TYPE *dest, TYPE cond, TYPE value, int pe) {                                                 \
    return shmem_##NAME##_cswap(dest, cond, value, pe);                                                                \
  }                                                                                                                    \
  inline TYPE shmem_finc(TYPE *dest, int pe) { return shmem_##NAME##_finc(dest, pe); }                                 \
  inline void shmem_inc(TYPE *dest, int pe) { shmem_##NAME##_inc(dest, pe); }                                          \
  inline TYPE shmem_fadd(TYPE *dest, TYPE value, int pe) { return shmem_##NAME##_fadd(dest, value, pe); }              \
  inline void shmem_add(TYPE *dest, TYPE value, int pe) { shmem_##NAME##_add(dest, value, pe); }
HMC_SHMEM_OLD_AMO_TYPES(HMC_SHMEM_OVERLOAD_OLD_AMO, )
#undef HMC_SHMEM_OVERLOAD_OLD_AMO

/* Names that SHMEM for Ascend has too, with fewer arguments. */
inline int shmem_sync(shmem_team_t team) { return shmem_team_sync(team); }
inline void shmem_barrier(shmem_team_t team) { hmc_shmem_team_barrier(team); }
inline int shmem_team_split_strided(shmem_team_t parent_team, int start, int stride, int size, shmem_team_t *new_team) {
  return shmem_team_split_strided(parent_team, start, stride, size, nullptr, 0, new_team);
}
inline int shmem_team_split_2d(shmem_team_t parent_team, int xrange, shmem_team_t *xaxis_team,
                               shmem_team_t *yaxis_team) {
  return shmem_team_split_2d(parent_team, xrange, nullptr, 0, xaxis_team, nullptr, 0, yaxis_team);
}
inline int shmem_team_get_config(shmem_team_t team, shmem_team_config_t *config) {
  return shmem_team_get_config(team, SHMEM_TEAM_NUM_CONTEXTS, config);
}

#endif
