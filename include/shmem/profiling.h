/* The profiling names: pshmem_X does what shmem_X does. A tool that wants to see the calls defines shmem_X itself, in a
 * library that is linked or loaded before libshmem.so, and calls pshmem_X. Programs to be profiled are compiled with
 * SHMEM_NO_INLINE, or without optimisation, so that each call is one. */
#ifndef SHMEM_PROFILING_H
#define SHMEM_PROFILING_H

#include <shmem/atomics.h>
#include <shmem/collectives.h>
#include <shmem/deprecated.h>
#include <shmem/library.h>
#include <shmem/memory.h>
#include <shmem/rma.h>
#include <shmem/sync.h>
#include <shmem/teams.h>

#ifdef __cplusplus
extern "C" {
#endif

/* clang-format 14 lays these lists out in another way each time that it runs. */
/* clang-format off */
#define HMC_SHMEM_PROFILED(name) SHMEM_API __typeof__(name) p##name;

/* Those without a type. */
#define HMC_SHMEM_PLAIN_ROUTINES(X)                                                                                    \
  X(shmem_init) X(shmemx_set_device_heap) X(shmemx_space_malloc) X(shmemx_space_calloc) X(shmemx_space_align) X(shmemx_space_of) X(shmemx_space_base)                                                                                                        \
  X(shmem_init_thread) X(shmem_query_thread) X(shmem_query_initialized) X(shmem_finalize) X(shmem_my_pe)               \
      X(shmem_n_pes) X(shmem_pe_accessible) X(shmem_addr_accessible) X(shmem_info_get_version) X(shmem_info_get_name)  \
          X(shmem_malloc) X(shmem_calloc) X(shmem_align) X(shmem_malloc_with_hints) X(shmem_realloc) X(shmem_free)     \
              X(shmem_ptr) X(shmem_team_ptr) X(shmem_team_my_pe) X(shmem_team_n_pes) X(shmem_team_translate_pe)        \
                  X(shmem_team_get_config) X(shmem_team_split_strided) X(shmem_team_split_2d) X(shmem_team_destroy)    \
                      X(shmem_ctx_create) X(shmem_team_create_ctx) X(shmem_ctx_destroy) X(shmem_ctx_get_team)          \
                          X(shmem_ctx_session_start) X(shmem_ctx_session_stop) X(shmem_signal_add) X(shmem_signal_set) \
                              X(shmem_ctx_signal_add) X(shmem_ctx_signal_set) X(shmem_signal_fetch)                    \
                                  X(shmem_signal_wait_until) X(shmem_fence) X(shmem_ctx_fence) X(shmem_quiet)          \
                                      X(shmem_ctx_quiet) X(shmem_pe_quiet) X(shmem_ctx_pe_quiet) X(shmem_set_lock)     \
                                          X(shmem_clear_lock) X(shmem_test_lock) X(shmem_barrier_all)                  \
                                              X(shmem_sync_all) X(shmem_team_sync) X(shmem_broadcastmem)               \
                                                  X(shmem_collectmem) X(shmem_fcollectmem) X(shmem_alltoallmem)        \
                                                      X(shmem_alltoallsmem) X(start_pes) X(shmem_barrier)              \
                                                          X(shmem_sync) X(shmem_wait) X(shmem_wait_until)           \
  X(shmem_pcontrol) X(shmem_query_interoperability) X(shmem_set_cache_inv) X(shmem_set_cache_line_inv)                 \
      X(shmem_clear_cache_inv) X(shmem_clear_cache_line_inv) X(shmem_udcflush) X(shmem_udcflush_line)
HMC_SHMEM_PLAIN_ROUTINES(HMC_SHMEM_PROFILED)
SHMEM_API void pshmem_global_exit(int status) SHMEM_NORETURN;

#define HMC_SHMEM_PROFILED_RMA(a, NAME, TYPE)                                                                          \
  HMC_SHMEM_PROFILED(shmem_##NAME##_put)                                                                               \
  HMC_SHMEM_PROFILED(shmem_##NAME##_get) HMC_SHMEM_PROFILED(shmem_##NAME##_put_nbi)                                    \
      HMC_SHMEM_PROFILED(shmem_##NAME##_get_nbi) HMC_SHMEM_PROFILED(shmem_##NAME##_p)                                  \
          HMC_SHMEM_PROFILED(shmem_##NAME##_g) HMC_SHMEM_PROFILED(shmem_##NAME##_iput)                                 \
              HMC_SHMEM_PROFILED(shmem_##NAME##_iget) HMC_SHMEM_PROFILED(shmem_##NAME##_ibput)                         \
                  HMC_SHMEM_PROFILED(shmem_##NAME##_ibget) HMC_SHMEM_PROFILED(shmem_##NAME##_put_signal)               \
                      HMC_SHMEM_PROFILED(shmem_##NAME##_put_signal_nbi) HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_put)     \
                          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_get) HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_put_nbi)    \
                              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_get_nbi) HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_p)  \
                                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_g) HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_iput) \
                                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_iget)                                      \
                                          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_ibput)                                 \
                                              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_ibget)                             \
                                                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_put_signal)                    \
                                                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_put_signal_nbi)
HMC_SHMEM_RMA_TYPES(HMC_SHMEM_PROFILED_RMA, )

#define HMC_SHMEM_PROFILED_SIZED(a, bits, bytes)                                                                       \
  HMC_SHMEM_PROFILED(shmem_put##bits)                                                                                  \
  HMC_SHMEM_PROFILED(shmem_get##bits) HMC_SHMEM_PROFILED(shmem_put##bits##_nbi)                                        \
      HMC_SHMEM_PROFILED(shmem_get##bits##_nbi) HMC_SHMEM_PROFILED(shmem_put##bits##_signal) HMC_SHMEM_PROFILED(       \
          shmem_put##bits##_signal_nbi) HMC_SHMEM_PROFILED(shmem_iput##bits) HMC_SHMEM_PROFILED(shmem_iget##bits)      \
          HMC_SHMEM_PROFILED(shmem_ibput##bits) HMC_SHMEM_PROFILED(shmem_ibget##bits)                                  \
              HMC_SHMEM_PROFILED(shmem_ctx_put##bits) HMC_SHMEM_PROFILED(shmem_ctx_get##bits)                          \
                  HMC_SHMEM_PROFILED(shmem_ctx_put##bits##_nbi) HMC_SHMEM_PROFILED(shmem_ctx_get##bits##_nbi)          \
                      HMC_SHMEM_PROFILED(shmem_ctx_put##bits##_signal)                                                 \
                          HMC_SHMEM_PROFILED(shmem_ctx_put##bits##_signal_nbi)                                         \
                              HMC_SHMEM_PROFILED(shmem_ctx_iput##bits) HMC_SHMEM_PROFILED(shmem_ctx_iget##bits)        \
                                  HMC_SHMEM_PROFILED(shmem_ctx_ibput##bits) HMC_SHMEM_PROFILED(shmem_ctx_ibget##bits)
HMC_SHMEM_SIZES(HMC_SHMEM_PROFILED_SIZED, )

#define HMC_SHMEM_PROFILED_MEM                                                                                         \
  HMC_SHMEM_PROFILED(shmem_putmem)                                                                                     \
  HMC_SHMEM_PROFILED(shmem_getmem) HMC_SHMEM_PROFILED(shmem_putmem_nbi) HMC_SHMEM_PROFILED(shmem_getmem_nbi)           \
      HMC_SHMEM_PROFILED(shmem_putmem_signal) HMC_SHMEM_PROFILED(shmem_putmem_signal_nbi)                              \
          HMC_SHMEM_PROFILED(shmem_ctx_putmem) HMC_SHMEM_PROFILED(shmem_ctx_getmem)                                    \
              HMC_SHMEM_PROFILED(shmem_ctx_putmem_nbi) HMC_SHMEM_PROFILED(shmem_ctx_getmem_nbi)                        \
                  HMC_SHMEM_PROFILED(shmem_ctx_putmem_signal) HMC_SHMEM_PROFILED(shmem_ctx_putmem_signal_nbi)
HMC_SHMEM_PROFILED_MEM

#define HMC_SHMEM_PROFILED_EXTENDED_AMO(a, NAME, TYPE)                                                                 \
  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch)                                                                      \
  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_set) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_swap)                         \
      HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_nbi) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_swap_nbi)           \
          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch) HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_set)        \
              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_swap)                                                       \
                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_nbi)                                              \
                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_swap_nbi)
HMC_SHMEM_EXTENDED_AMO_TYPES(HMC_SHMEM_PROFILED_EXTENDED_AMO, )

#define HMC_SHMEM_PROFILED_AMO(a, NAME, TYPE)                                                                          \
  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_compare_swap)                                                               \
  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_inc) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_inc)                    \
      HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_add) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_add)                \
          HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_compare_swap_nbi)                                                   \
              HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_inc_nbi)                                                  \
                  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_add_nbi)                                              \
                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_compare_swap)                                       \
                          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_inc)                                      \
                              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_inc)                                        \
                                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_add)                              \
                                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_add)                                \
                                          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_compare_swap_nbi)               \
                                              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_inc_nbi)              \
                                                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_add_nbi)
HMC_SHMEM_AMO_TYPES(HMC_SHMEM_PROFILED_AMO, )

#define HMC_SHMEM_PROFILED_BITWISE_AMO(a, NAME, TYPE)                                                                  \
  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_and)                                                                  \
  HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_and) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_and_nbi)                \
      HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_or) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_or)                  \
          HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_or_nbi) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_xor)   \
              HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_xor) HMC_SHMEM_PROFILED(shmem_##NAME##_atomic_fetch_xor_nbi)    \
                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_and)                                              \
                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_and)                                                \
                          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_and_nbi)                                  \
                              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_or)                                   \
                                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_or)                                     \
                                      HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_or_nbi)                       \
                                          HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_xor)                      \
                                              HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_xor)                        \
                                                  HMC_SHMEM_PROFILED(shmem_ctx_##NAME##_atomic_fetch_xor_nbi)
HMC_SHMEM_BITWISE_AMO_TYPES(HMC_SHMEM_PROFILED_BITWISE_AMO, )

#define HMC_SHMEM_PROFILED_SYNC(a, NAME, TYPE)                                                                         \
  HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until)                                                                        \
  HMC_SHMEM_PROFILED(shmem_##NAME##_test) HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until_all)                            \
      HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until_any) HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until_some)             \
          HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until_all_vector)                                                     \
              HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until_any_vector)                                                 \
                  HMC_SHMEM_PROFILED(shmem_##NAME##_wait_until_some_vector)                                            \
                      HMC_SHMEM_PROFILED(shmem_##NAME##_test_all) HMC_SHMEM_PROFILED(shmem_##NAME##_test_any)          \
                          HMC_SHMEM_PROFILED(shmem_##NAME##_test_some)                                                 \
                              HMC_SHMEM_PROFILED(shmem_##NAME##_test_all_vector)                                       \
                                  HMC_SHMEM_PROFILED(shmem_##NAME##_test_any_vector)                                   \
                                      HMC_SHMEM_PROFILED(shmem_##NAME##_test_some_vector)
HMC_SHMEM_SYNC_TYPES(HMC_SHMEM_PROFILED_SYNC, )

#define HMC_SHMEM_PROFILED_COLLECTIVE(a, NAME, TYPE)                                                                   \
  HMC_SHMEM_PROFILED(shmem_##NAME##_broadcast)                                                                         \
  HMC_SHMEM_PROFILED(shmem_##NAME##_collect) HMC_SHMEM_PROFILED(shmem_##NAME##_fcollect)                               \
      HMC_SHMEM_PROFILED(shmem_##NAME##_alltoall) HMC_SHMEM_PROFILED(shmem_##NAME##_alltoalls)
HMC_SHMEM_RMA_TYPES(HMC_SHMEM_PROFILED_COLLECTIVE, )

#define HMC_SHMEM_PROFILED_REDUCE(operation, NAME, TYPE) HMC_SHMEM_PROFILED(shmem_##NAME##_##operation##_reduce)
HMC_SHMEM_BITWISE_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, and)
HMC_SHMEM_BITWISE_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, or)
HMC_SHMEM_BITWISE_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, xor)
HMC_SHMEM_MINMAX_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, max)
HMC_SHMEM_MINMAX_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, min)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, sum)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(HMC_SHMEM_PROFILED_REDUCE, prod)

#define HMC_SHMEM_PROFILED_SCAN(a, NAME, TYPE)                                                                         \
  HMC_SHMEM_PROFILED(shmem_##NAME##_sum_inscan) HMC_SHMEM_PROFILED(shmem_##NAME##_sum_exscan)
HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(HMC_SHMEM_PROFILED_SCAN, )

#define HMC_SHMEM_PROFILED_TO_ALL(operation, NAME, TYPE) HMC_SHMEM_PROFILED(shmem_##NAME##_##operation##_to_all)
HMC_SHMEM_OLD_INTEGER_TYPES(HMC_SHMEM_PROFILED_TO_ALL, and)
HMC_SHMEM_OLD_INTEGER_TYPES(HMC_SHMEM_PROFILED_TO_ALL, or)
HMC_SHMEM_OLD_INTEGER_TYPES(HMC_SHMEM_PROFILED_TO_ALL, xor)
HMC_SHMEM_OLD_ORDERED_TYPES(HMC_SHMEM_PROFILED_TO_ALL, max)
HMC_SHMEM_OLD_ORDERED_TYPES(HMC_SHMEM_PROFILED_TO_ALL, min)
HMC_SHMEM_OLD_NUMBER_TYPES(HMC_SHMEM_PROFILED_TO_ALL, sum)
HMC_SHMEM_OLD_NUMBER_TYPES(HMC_SHMEM_PROFILED_TO_ALL, prod)

#define HMC_SHMEM_PROFILED_ACTIVE_SET(bits)                                                                            \
  HMC_SHMEM_PROFILED(shmem_broadcast##bits)                                                                            \
  HMC_SHMEM_PROFILED(shmem_collect##bits) HMC_SHMEM_PROFILED(shmem_fcollect##bits)                                     \
      HMC_SHMEM_PROFILED(shmem_alltoall##bits) HMC_SHMEM_PROFILED(shmem_alltoalls##bits)
HMC_SHMEM_PROFILED_ACTIVE_SET(32)
HMC_SHMEM_PROFILED_ACTIVE_SET(64)

#define HMC_SHMEM_PROFILED_OLD_EXTENDED_AMO(a, NAME, TYPE)                                                             \
  HMC_SHMEM_PROFILED(shmem_##NAME##_fetch)                                                                             \
  HMC_SHMEM_PROFILED(shmem_##NAME##_set) HMC_SHMEM_PROFILED(shmem_##NAME##_swap)
HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(HMC_SHMEM_PROFILED_OLD_EXTENDED_AMO, )

#define HMC_SHMEM_PROFILED_OLD_AMO(a, NAME, TYPE)                                                                      \
  HMC_SHMEM_PROFILED(shmem_##NAME##_cswap)                                                                             \
  HMC_SHMEM_PROFILED(shmem_##NAME##_finc) HMC_SHMEM_PROFILED(shmem_##NAME##_inc)                                       \
      HMC_SHMEM_PROFILED(shmem_##NAME##_fadd) HMC_SHMEM_PROFILED(shmem_##NAME##_add)                                   \
          HMC_SHMEM_PROFILED(shmem_##NAME##_wait)
HMC_SHMEM_OLD_AMO_TYPES(HMC_SHMEM_PROFILED_OLD_AMO, )
HMC_SHMEM_PROFILED(shmem_short_wait)

#ifdef __cplusplus
}
#endif
#endif
