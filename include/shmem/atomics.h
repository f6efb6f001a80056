/* Atomic memory operations on symmetric words, and signals.
 *
 * The fetching forms return the word as it was; the others may return before the word has changed, and have changed it
 * after the next quiet or barrier. The _nbi forms deliver to `fetch` by the next quiet. */
#ifndef SHMEM_ATOMICS_H
#define SHMEM_ATOMICS_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HMC_SHMEM_DECLARE_EXTENDED_AMO(a, NAME, TYPE)                                                                  \
  SHMEM_API TYPE shmem_##NAME##_atomic_fetch(const TYPE *source, int pe);                                              \
  SHMEM_API void shmem_##NAME##_atomic_set(TYPE *dest, TYPE value, int pe);                                            \
  SHMEM_API TYPE shmem_##NAME##_atomic_swap(TYPE *dest, TYPE value, int pe);                                           \
  SHMEM_API void shmem_##NAME##_atomic_fetch_nbi(TYPE *fetch, const TYPE *source, int pe);                             \
  SHMEM_API void shmem_##NAME##_atomic_swap_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe);                          \
  SHMEM_API TYPE shmem_ctx_##NAME##_atomic_fetch(shmem_ctx_t ctx, const TYPE *source, int pe);                         \
  SHMEM_API void shmem_ctx_##NAME##_atomic_set(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);                       \
  SHMEM_API TYPE shmem_ctx_##NAME##_atomic_swap(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);                      \
  SHMEM_API void shmem_ctx_##NAME##_atomic_fetch_nbi(shmem_ctx_t ctx, TYPE *fetch, const TYPE *source, int pe);        \
  SHMEM_API void shmem_ctx_##NAME##_atomic_swap_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe);

#define HMC_SHMEM_DECLARE_AMO(a, NAME, TYPE)                                                                           \
  SHMEM_API TYPE shmem_##NAME##_atomic_compare_swap(TYPE *dest, TYPE cond, TYPE value, int pe);                        \
  SHMEM_API TYPE shmem_##NAME##_atomic_fetch_inc(TYPE *dest, int pe);                                                  \
  SHMEM_API void shmem_##NAME##_atomic_inc(TYPE *dest, int pe);                                                        \
  SHMEM_API TYPE shmem_##NAME##_atomic_fetch_add(TYPE *dest, TYPE value, int pe);                                      \
  SHMEM_API void shmem_##NAME##_atomic_add(TYPE *dest, TYPE value, int pe);                                            \
  SHMEM_API void shmem_##NAME##_atomic_compare_swap_nbi(TYPE *fetch, TYPE *dest, TYPE cond, TYPE value, int pe);       \
  SHMEM_API void shmem_##NAME##_atomic_fetch_inc_nbi(TYPE *fetch, TYPE *dest, int pe);                                 \
  SHMEM_API void shmem_##NAME##_atomic_fetch_add_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe);                     \
  SHMEM_API TYPE shmem_ctx_##NAME##_atomic_compare_swap(shmem_ctx_t ctx, TYPE *dest, TYPE cond, TYPE value, int pe);   \
  SHMEM_API TYPE shmem_ctx_##NAME##_atomic_fetch_inc(shmem_ctx_t ctx, TYPE *dest, int pe);                             \
  SHMEM_API void shmem_ctx_##NAME##_atomic_inc(shmem_ctx_t ctx, TYPE *dest, int pe);                                   \
  SHMEM_API TYPE shmem_ctx_##NAME##_atomic_fetch_add(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);                 \
  SHMEM_API void shmem_ctx_##NAME##_atomic_add(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);                       \
  SHMEM_API void shmem_ctx_##NAME##_atomic_compare_swap_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE cond,       \
                                                            TYPE value, int pe);                                       \
  SHMEM_API void shmem_ctx_##NAME##_atomic_fetch_inc_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, int pe);            \
  SHMEM_API void shmem_ctx_##NAME##_atomic_fetch_add_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe);

#define HMC_SHMEM_DECLARE_ONE_BITWISE(NAME, TYPE, operation)                                                           \
  SHMEM_API TYPE shmem_##NAME##_atomic_fetch_##operation(TYPE *dest, TYPE value, int pe);                              \
  SHMEM_API void shmem_##NAME##_atomic_##operation(TYPE *dest, TYPE value, int pe);                                    \
  SHMEM_API void shmem_##NAME##_atomic_fetch_##operation##_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe);           \
  SHMEM_API TYPE shmem_ctx_##NAME##_atomic_fetch_##operation(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);         \
  SHMEM_API void shmem_ctx_##NAME##_atomic_##operation(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);               \
  SHMEM_API void shmem_ctx_##NAME##_atomic_fetch_##operation##_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest,           \
                                                                   TYPE value, int pe);
#define HMC_SHMEM_DECLARE_BITWISE_AMO(a, NAME, TYPE)                                                                   \
  HMC_SHMEM_DECLARE_ONE_BITWISE(NAME, TYPE, and)                                                                       \
  HMC_SHMEM_DECLARE_ONE_BITWISE(NAME, TYPE, or)                                                                        \
  HMC_SHMEM_DECLARE_ONE_BITWISE(NAME, TYPE, xor)

HMC_SHMEM_EXTENDED_AMO_TYPES(HMC_SHMEM_DECLARE_EXTENDED_AMO, )
HMC_SHMEM_AMO_TYPES(HMC_SHMEM_DECLARE_AMO, )
HMC_SHMEM_BITWISE_AMO_TYPES(HMC_SHMEM_DECLARE_BITWISE_AMO, )

/* Signal words: written atomically, and read on the own PE. */
SHMEM_API void shmem_signal_add(uint64_t *sig_addr, uint64_t signal, int pe);
SHMEM_API void shmem_signal_set(uint64_t *sig_addr, uint64_t signal, int pe);
SHMEM_API void shmem_ctx_signal_add(shmem_ctx_t ctx, uint64_t *sig_addr, uint64_t signal, int pe);
SHMEM_API void shmem_ctx_signal_set(shmem_ctx_t ctx, uint64_t *sig_addr, uint64_t signal, int pe);
SHMEM_API uint64_t shmem_signal_fetch(const uint64_t *sig_addr);

#ifdef __cplusplus
}
#endif
#endif
