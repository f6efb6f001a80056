/* The generic names of C11: the routine is chosen by the type of the pointer, and by the number of arguments whether a
 * context goes first. In older C only the calls that differ in their number of arguments are here. */
#ifndef SHMEM_GENERIC_H
#define SHMEM_GENERIC_H

#include <shmem/atomics.h>
#include <shmem/collectives.h>
#include <shmem/deprecated.h>
#include <shmem/rma.h>
#include <shmem/sync.h>
#include <shmem/teams.h>

#ifndef __cplusplus

/* Joins `prefix` and the number of the arguments behind it (1 to 10). */
#define HMC_SHMEM_TENTH(a, b, c, d, e, f, g, h, i, j, ...) j
#define HMC_SHMEM_COUNT(...) HMC_SHMEM_TENTH(__VA_ARGS__, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
#define HMC_SHMEM_JOIN_(a, b) a##b
#define HMC_SHMEM_JOIN(a, b) HMC_SHMEM_JOIN_(a, b)
#define HMC_SHMEM_BY_COUNT(prefix, ...) HMC_SHMEM_JOIN(prefix, HMC_SHMEM_COUNT(__VA_ARGS__))

/* ---- names that OpenSHMEM and SHMEM for Ascend both have, with other arguments ------------------------------------- */

#define shmem_barrier(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_barrier_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_barrier_1(team) hmc_shmem_team_barrier(team)
#define HMC_SHMEM_barrier_4(start, stride, size, sync) (shmem_barrier)(start, stride, size, sync)

#define shmem_sync(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_sync_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_sync_1(team) shmem_team_sync(team)
#define HMC_SHMEM_sync_4(start, stride, size, sync) (shmem_sync)(start, stride, size, sync)

#define shmem_team_split_strided(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_split_strided_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_split_strided_5(parent, start, stride, size, team)                                                   \
  (shmem_team_split_strided)(parent, start, stride, size, NULL, 0, team)
#define HMC_SHMEM_split_strided_7(parent, start, stride, size, config, mask, team)                                     \
  (shmem_team_split_strided)(parent, start, stride, size, config, mask, team)

#define shmem_team_split_2d(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_split_2d_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_split_2d_4(parent, range, x, y) (shmem_team_split_2d)(parent, range, NULL, 0, x, NULL, 0, y)
#define HMC_SHMEM_split_2d_8(parent, range, x_config, x_mask, x, y_config, y_mask, y)                                  \
  (shmem_team_split_2d)(parent, range, x_config, x_mask, x, y_config, y_mask, y)

#define shmem_team_get_config(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_get_config_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_get_config_2(team, config) (shmem_team_get_config)(team, SHMEM_TEAM_NUM_CONTEXTS, config)
#define HMC_SHMEM_get_config_3(team, mask, config) (shmem_team_get_config)(team, mask, config)

#if defined(__STDC_VERSION__) && __STDC_VERSION__ >= 201112L

/* The routine before<NAME>after for the type that `pointer` points to; qualifiers do not count. */
#define HMC_SHMEM_CASE(affixes, NAME, TYPE) , TYPE : HMC_SHMEM_CASE_NAME(NAME, HMC_SHMEM_OPEN affixes)
#define HMC_SHMEM_OPEN(before, after) before, after
#define HMC_SHMEM_CASE_NAME(NAME, ...) HMC_SHMEM_CASE_NAME_(NAME, __VA_ARGS__)
#define HMC_SHMEM_CASE_NAME_(NAME, before, after) before##NAME##after
#define HMC_SHMEM_TYPED(TABLE, pointer, before, after)                                                                 \
  _Generic(*(pointer)HMC_SHMEM_##TABLE(HMC_SHMEM_CASE, (before, after)))

/* ---- RMA and atomics --------------------------------------------------------------------------------------------- */

#define shmem_put(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_put_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_put_4(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _put)(dest, __VA_ARGS__)
#define HMC_SHMEM_put_5(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _put)(ctx, dest, __VA_ARGS__)
#define shmem_get(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_get_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_get_4(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _get)(dest, __VA_ARGS__)
#define HMC_SHMEM_get_5(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _get)(ctx, dest, __VA_ARGS__)
#define shmem_put_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_put_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_put_nbi_4(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _put_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_put_nbi_5(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _put_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_get_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_get_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_get_nbi_4(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _get_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_get_nbi_5(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _get_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_p(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_p_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_p_3(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _p)(dest, __VA_ARGS__)
#define HMC_SHMEM_p_4(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _p)(ctx, dest, __VA_ARGS__)
#define shmem_g(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_g_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_g_2(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _g)(dest, __VA_ARGS__)
#define HMC_SHMEM_g_3(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _g)(ctx, dest, __VA_ARGS__)
#define shmem_iput(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_iput_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_iput_6(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _iput)(dest, __VA_ARGS__)
#define HMC_SHMEM_iput_7(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _iput)(ctx, dest, __VA_ARGS__)
#define shmem_iget(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_iget_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_iget_6(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _iget)(dest, __VA_ARGS__)
#define HMC_SHMEM_iget_7(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _iget)(ctx, dest, __VA_ARGS__)
#define shmem_ibput(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_ibput_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_ibput_7(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _ibput)(dest, __VA_ARGS__)
#define HMC_SHMEM_ibput_8(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _ibput)(ctx, dest, __VA_ARGS__)
#define shmem_ibget(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_ibget_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_ibget_7(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _ibget)(dest, __VA_ARGS__)
#define HMC_SHMEM_ibget_8(ctx, dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _ibget)(ctx, dest, __VA_ARGS__)
#define shmem_put_signal(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_put_signal_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_put_signal_7(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _put_signal)(dest, __VA_ARGS__)
#define HMC_SHMEM_put_signal_8(ctx, dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _put_signal)(ctx, dest, __VA_ARGS__)
#define shmem_put_signal_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_put_signal_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_put_signal_nbi_7(dest, ...) HMC_SHMEM_TYPED(C_TYPES, dest, shmem_, _put_signal_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_put_signal_nbi_8(ctx, dest, ...)                                                                     \
  HMC_SHMEM_TYPED(C_TYPES, dest, shmem_ctx_, _put_signal_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_2(dest, ...)                                                                            \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_, _atomic_fetch)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_3(ctx, dest, ...)                                                                       \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_set(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_set_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_set_3(dest, ...)                                                                              \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_, _atomic_set)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_set_4(ctx, dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_ctx_, _atomic_set)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_swap(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_swap_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_swap_3(dest, ...)                                                                             \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_, _atomic_swap)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_swap_4(ctx, dest, ...)                                                                        \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_ctx_, _atomic_swap)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_nbi_3(dest, ...)                                                                        \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_, _atomic_fetch_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_nbi_4(ctx, dest, ...)                                                                   \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_swap_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_swap_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_swap_nbi_4(dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_, _atomic_swap_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_swap_nbi_5(ctx, dest, ...)                                                                    \
  HMC_SHMEM_TYPED(C_EXTENDED_AMO_TYPES, dest, shmem_ctx_, _atomic_swap_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_compare_swap(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_compare_swap_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_compare_swap_4(dest, ...)                                                                     \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_compare_swap)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_compare_swap_5(ctx, dest, ...)                                                                \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_compare_swap)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_inc(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_inc_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_inc_2(dest, ...)                                                                        \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_fetch_inc)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_inc_3(ctx, dest, ...)                                                                   \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_inc)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_inc(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_inc_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_inc_2(dest, ...) HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_inc)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_inc_3(ctx, dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_inc)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_add(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_add_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_add_3(dest, ...)                                                                        \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_fetch_add)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_add_4(ctx, dest, ...)                                                                   \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_add)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_add(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_add_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_add_3(dest, ...) HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_add)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_add_4(ctx, dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_add)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_compare_swap_nbi(...)                                                                             \
  HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_compare_swap_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_compare_swap_nbi_5(dest, ...)                                                                 \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_compare_swap_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_compare_swap_nbi_6(ctx, dest, ...)                                                            \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_compare_swap_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_inc_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_inc_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_inc_nbi_3(dest, ...)                                                                    \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_fetch_inc_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_inc_nbi_4(ctx, dest, ...)                                                               \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_inc_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_add_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_add_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_add_nbi_4(dest, ...)                                                                    \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_, _atomic_fetch_add_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_add_nbi_5(ctx, dest, ...)                                                               \
  HMC_SHMEM_TYPED(C_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_add_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_and(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_and_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_and_3(dest, ...)                                                                        \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_fetch_and)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_and_4(ctx, dest, ...)                                                                   \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_and)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_and(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_and_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_and_3(dest, ...)                                                                              \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_and)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_and_4(ctx, dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_and)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_and_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_and_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_and_nbi_4(dest, ...)                                                                    \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_fetch_and_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_and_nbi_5(ctx, dest, ...)                                                               \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_and_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_or(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_or_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_or_3(dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_fetch_or)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_or_4(ctx, dest, ...)                                                                    \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_or)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_or(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_or_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_or_3(dest, ...)                                                                               \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_or)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_or_4(ctx, dest, ...)                                                                          \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_or)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_or_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_or_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_or_nbi_4(dest, ...)                                                                     \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_fetch_or_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_or_nbi_5(ctx, dest, ...)                                                                \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_or_nbi)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_xor(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_xor_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_xor_3(dest, ...)                                                                        \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_fetch_xor)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_xor_4(ctx, dest, ...)                                                                   \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_xor)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_xor(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_xor_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_xor_3(dest, ...)                                                                              \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_xor)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_xor_4(ctx, dest, ...)                                                                         \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_xor)(ctx, dest, __VA_ARGS__)
#define shmem_atomic_fetch_xor_nbi(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_atomic_fetch_xor_nbi_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_xor_nbi_4(dest, ...)                                                                    \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_, _atomic_fetch_xor_nbi)(dest, __VA_ARGS__)
#define HMC_SHMEM_atomic_fetch_xor_nbi_5(ctx, dest, ...)                                                               \
  HMC_SHMEM_TYPED(C_BITWISE_AMO_TYPES, dest, shmem_ctx_, _atomic_fetch_xor_nbi)(ctx, dest, __VA_ARGS__)

/* ---- signals: a function without, a generic name with a context ----------------------------------------------------- */

#define shmem_signal_add(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_signal_add_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_signal_add_3(word, signal, pe) (shmem_signal_add)(word, signal, pe)
#define HMC_SHMEM_signal_add_4(ctx, word, signal, pe) shmem_ctx_signal_add(ctx, word, signal, pe)
#define shmem_signal_set(...) HMC_SHMEM_BY_COUNT(HMC_SHMEM_signal_set_, __VA_ARGS__)(__VA_ARGS__)
#define HMC_SHMEM_signal_set_3(word, signal, pe) (shmem_signal_set)(word, signal, pe)
#define HMC_SHMEM_signal_set_4(ctx, word, signal, pe) shmem_ctx_signal_set(ctx, word, signal, pe)

/* ---- waiting ------------------------------------------------------------------------------------------------------ */

#define HMC_SHMEM_SYNC(ivar, after) HMC_SHMEM_TYPED(C_SYNC_TYPES, ivar, shmem_, after)
#define shmem_wait_until(ivar, ...) HMC_SHMEM_SYNC(ivar, _wait_until)(ivar, __VA_ARGS__)
#define shmem_wait_until_all(ivars, ...) HMC_SHMEM_SYNC(ivars, _wait_until_all)(ivars, __VA_ARGS__)
#define shmem_wait_until_any(ivars, ...) HMC_SHMEM_SYNC(ivars, _wait_until_any)(ivars, __VA_ARGS__)
#define shmem_wait_until_some(ivars, ...) HMC_SHMEM_SYNC(ivars, _wait_until_some)(ivars, __VA_ARGS__)
#define shmem_wait_until_all_vector(ivars, ...) HMC_SHMEM_SYNC(ivars, _wait_until_all_vector)(ivars, __VA_ARGS__)
#define shmem_wait_until_any_vector(ivars, ...) HMC_SHMEM_SYNC(ivars, _wait_until_any_vector)(ivars, __VA_ARGS__)
#define shmem_wait_until_some_vector(ivars, ...) HMC_SHMEM_SYNC(ivars, _wait_until_some_vector)(ivars, __VA_ARGS__)
#define shmem_test(ivar, ...) HMC_SHMEM_SYNC(ivar, _test)(ivar, __VA_ARGS__)
#define shmem_test_all(ivars, ...) HMC_SHMEM_SYNC(ivars, _test_all)(ivars, __VA_ARGS__)
#define shmem_test_any(ivars, ...) HMC_SHMEM_SYNC(ivars, _test_any)(ivars, __VA_ARGS__)
#define shmem_test_some(ivars, ...) HMC_SHMEM_SYNC(ivars, _test_some)(ivars, __VA_ARGS__)
#define shmem_test_all_vector(ivars, ...) HMC_SHMEM_SYNC(ivars, _test_all_vector)(ivars, __VA_ARGS__)
#define shmem_test_any_vector(ivars, ...) HMC_SHMEM_SYNC(ivars, _test_any_vector)(ivars, __VA_ARGS__)
#define shmem_test_some_vector(ivars, ...) HMC_SHMEM_SYNC(ivars, _test_some_vector)(ivars, __VA_ARGS__)

/* ---- collectives -------------------------------------------------------------------------------------------------- */

#define HMC_SHMEM_COLLECTIVE(TABLE, after, team, dest, ...)                                                            \
  HMC_SHMEM_TYPED(TABLE, dest, shmem_, after)(team, dest, __VA_ARGS__)
#define shmem_broadcast(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _broadcast, team, dest, __VA_ARGS__)
#define shmem_collect(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _collect, team, dest, __VA_ARGS__)
#define shmem_fcollect(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _fcollect, team, dest, __VA_ARGS__)
#define shmem_alltoall(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _alltoall, team, dest, __VA_ARGS__)
#define shmem_alltoalls(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _alltoalls, team, dest, __VA_ARGS__)
#define shmem_and_reduce(team, dest, ...)                                                                              \
  HMC_SHMEM_COLLECTIVE(C_BITWISE_REDUCE_TYPES, _and_reduce, team, dest, __VA_ARGS__)
#define shmem_or_reduce(team, dest, ...)                                                                               \
  HMC_SHMEM_COLLECTIVE(C_BITWISE_REDUCE_TYPES, _or_reduce, team, dest, __VA_ARGS__)
#define shmem_xor_reduce(team, dest, ...)                                                                              \
  HMC_SHMEM_COLLECTIVE(C_BITWISE_REDUCE_TYPES, _xor_reduce, team, dest, __VA_ARGS__)
#define shmem_max_reduce(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _max_reduce, team, dest, __VA_ARGS__)
#define shmem_min_reduce(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_TYPES, _min_reduce, team, dest, __VA_ARGS__)
#define shmem_sum_reduce(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_NUMBERS, _sum_reduce, team, dest, __VA_ARGS__)
#define shmem_prod_reduce(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_NUMBERS, _prod_reduce, team, dest, __VA_ARGS__)
#define shmem_sum_inscan(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_NUMBERS, _sum_inscan, team, dest, __VA_ARGS__)
#define shmem_sum_exscan(team, dest, ...) HMC_SHMEM_COLLECTIVE(C_NUMBERS, _sum_exscan, team, dest, __VA_ARGS__)

/* ---- deprecated --------------------------------------------------------------------------------------------------- */

#define shmem_fetch(source, pe) HMC_SHMEM_TYPED(OLD_EXTENDED_AMO_TYPES, source, shmem_, _fetch)(source, pe)
#define shmem_set(dest, ...) HMC_SHMEM_TYPED(OLD_EXTENDED_AMO_TYPES, dest, shmem_, _set)(dest, __VA_ARGS__)
#define shmem_swap(dest, ...) HMC_SHMEM_TYPED(OLD_EXTENDED_AMO_TYPES, dest, shmem_, _swap)(dest, __VA_ARGS__)
#define shmem_cswap(dest, ...) HMC_SHMEM_TYPED(OLD_AMO_TYPES, dest, shmem_, _cswap)(dest, __VA_ARGS__)
#define shmem_finc(dest, pe) HMC_SHMEM_TYPED(OLD_AMO_TYPES, dest, shmem_, _finc)(dest, pe)
#define shmem_inc(dest, pe) HMC_SHMEM_TYPED(OLD_AMO_TYPES, dest, shmem_, _inc)(dest, pe)
#define shmem_fadd(dest, ...) HMC_SHMEM_TYPED(OLD_AMO_TYPES, dest, shmem_, _fadd)(dest, __VA_ARGS__)
#define shmem_add(dest, ...) HMC_SHMEM_TYPED(OLD_AMO_TYPES, dest, shmem_, _add)(dest, __VA_ARGS__)

#endif
#endif
#endif
