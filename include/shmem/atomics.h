/* Atomic memory operations on symmetric words, and signals.
 *
 * The fetching forms return the word as it was; the others may return before the word has changed, and have changed it
 * after the next quiet or barrier. The _nbi forms deliver to `fetch` by the next quiet. */
#ifndef SHMEM_ATOMICS_H
#define SHMEM_ATOMICS_H

#include <shmem/rma.h>
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

/* ---- by the processor's atomics, as the scalars of rma.h ----------------------------------------------------------- */

#ifdef HMC_SHMEM_INLINE

/* The words at the start of a near PE's part. An atomic asks for them first: behind it, the loads that lead to them would
 * wait until it is done. */
HMC_SHMEM_INLINE const uint32_t *hmc_shmem_words(int pe) {
  return (const uint32_t *)(const void *)hmc_shmem_here.base[pe];
}

/* Behind an atomic: wakes the PE, whose words they are, where it waits for its memory. */
HMC_SHMEM_INLINE void hmc_shmem_ring(const uint32_t *words, int pe) {
#ifndef __x86_64__ /* there a seq_cst operation is a fence */
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
#endif
  if (__builtin_expect(__atomic_load_n(&words[HMC_SHMEM_FOR_MEMORY], __ATOMIC_RELAXED) != 0, 0)) hmc_shmem_wake(pe);
}

/* `builtin` gives the word as it was. */
#define HMC_SHMEM_INLINE_FETCHING(NAME, TYPE, operation, builtin)                                                      \
  HMC_SHMEM_INLINE TYPE shmem_##NAME##_atomic_##operation(TYPE *dest, TYPE value, int pe) {                            \
    TYPE *at = (TYPE *)hmc_shmem_near(dest, pe);                                                                       \
    if (!at) return shmem_ctx_##NAME##_atomic_##operation(SHMEM_CTX_DEFAULT, dest, value, pe);                         \
    const uint32_t *words = hmc_shmem_words(pe);                                                                       \
    value = builtin(at, value, __ATOMIC_SEQ_CST);                                                                      \
    hmc_shmem_ring(words, pe);                                                                                         \
    return value;                                                                                                      \
  }

#define HMC_SHMEM_INLINE_STORING(NAME, TYPE, operation, builtin)                                                       \
  HMC_SHMEM_INLINE void shmem_##NAME##_atomic_##operation(TYPE *dest, TYPE value, int pe) {                            \
    TYPE *at = (TYPE *)hmc_shmem_near(dest, pe);                                                                       \
    if (at) {                                                                                                          \
      const uint32_t *words = hmc_shmem_words(pe);                                                                     \
      (void)builtin(at, value, __ATOMIC_SEQ_CST);                                                                      \
      hmc_shmem_ring(words, pe);                                                                                       \
    } else {                                                                                                           \
      shmem_ctx_##NAME##_atomic_##operation(SHMEM_CTX_DEFAULT, dest, value, pe);                                       \
    }                                                                                                                  \
  }

#define HMC_SHMEM_INLINE_AMO(a, NAME, TYPE)                                                                            \
  HMC_SHMEM_INLINE TYPE shmem_##NAME##_atomic_fetch(const TYPE *source, int pe) {                                      \
    const TYPE *at = (const TYPE *)hmc_shmem_near(source, pe);                                                         \
    return at ? __atomic_load_n(at, __ATOMIC_SEQ_CST)                                                                  \
              : shmem_ctx_##NAME##_atomic_fetch(SHMEM_CTX_DEFAULT, source, pe);                                        \
  }                                                                                                                    \
  HMC_SHMEM_INLINE_STORING(NAME, TYPE, set, __atomic_exchange_n)                                                       \
  HMC_SHMEM_INLINE_FETCHING(NAME, TYPE, swap, __atomic_exchange_n)                                                     \
  HMC_SHMEM_INLINE_STORING(NAME, TYPE, add, __atomic_fetch_add)                                                        \
  HMC_SHMEM_INLINE_FETCHING(NAME, TYPE, fetch_add, __atomic_fetch_add)                                                 \
  HMC_SHMEM_INLINE void shmem_##NAME##_atomic_inc(TYPE *dest, int pe) { shmem_##NAME##_atomic_add(dest, 1, pe); }      \
  HMC_SHMEM_INLINE TYPE shmem_##NAME##_atomic_fetch_inc(TYPE *dest, int pe) {                                          \
    return shmem_##NAME##_atomic_fetch_add(dest, 1, pe);                                                               \
  }                                                                                                                    \
  HMC_SHMEM_INLINE TYPE shmem_##NAME##_atomic_compare_swap(TYPE *dest, TYPE cond, TYPE value, int pe) {                \
    TYPE *at = (TYPE *)hmc_shmem_near(dest, pe);                                                                       \
    if (!at) return shmem_ctx_##NAME##_atomic_compare_swap(SHMEM_CTX_DEFAULT, dest, cond, value, pe);                  \
    const uint32_t *words = hmc_shmem_words(pe);                                                                       \
    __atomic_compare_exchange_n(at, &cond, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                              \
    hmc_shmem_ring(words, pe);                                                                                         \
    return cond;                                                                                                       \
  }
HMC_SHMEM_AMO_TYPES(HMC_SHMEM_INLINE_AMO, )

#define HMC_SHMEM_INLINE_BITWISE_AMO(a, NAME, TYPE)                                                                    \
  HMC_SHMEM_INLINE_STORING(NAME, TYPE, and, __atomic_fetch_and)                                                        \
  HMC_SHMEM_INLINE_FETCHING(NAME, TYPE, fetch_and, __atomic_fetch_and)                                                 \
  HMC_SHMEM_INLINE_STORING(NAME, TYPE, or, __atomic_fetch_or)                                                          \
  HMC_SHMEM_INLINE_FETCHING(NAME, TYPE, fetch_or, __atomic_fetch_or)                                                   \
  HMC_SHMEM_INLINE_STORING(NAME, TYPE, xor, __atomic_fetch_xor)                                                        \
  HMC_SHMEM_INLINE_FETCHING(NAME, TYPE, fetch_xor, __atomic_fetch_xor)
HMC_SHMEM_BITWISE_AMO_TYPES(HMC_SHMEM_INLINE_BITWISE_AMO, )
#endif

#ifdef __cplusplus
}
#endif
#endif
