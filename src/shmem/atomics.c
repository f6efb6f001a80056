/* Atomics: the processor's where the PE is near, else the engine's; on words of 4 or 8 bytes.
 *
 * Near ones are sequentially consistent, so a ring behind them sees whether the PE sleeps. */
#include "alias.h"
#include "state.h"

#include <string.h>

typedef struct place {
  void *near;
  int pe;
  size_t offset;
  struct hmc_shmem_ctx *ctx;
} place_t;

static inline place_t find(const char *call, shmem_ctx_t ctx, const void *address, size_t size, int pe) {
  place_t place = {.pe = pe};
  if (ctx == SHMEM_CTX_DEFAULT) {
    place.near = hmc_shmem_near(address, pe);
    if (place.near) return place;
  }
  place.ctx = hmci_context(ctx, &place.pe);
  hmci_check(call, address, size, place.pe);
  place.offset = hmci_offset(address);
  if (place.offset == SIZE_MAX) {
    hmci_die(hmci_pe.levels ? "%s: %p is not symmetric" : "%s: called before shmem_init or after shmem_finalize (%p)",
             call, address);
  }
  char *base = hmci_pe.base[place.pe];
  if (base && !(place.offset & HMCI_IN_DEVICE)) place.near = base + place.offset;
  return place;
}

/* A seq_cst operation is a fence by itself on x86-64. */
static inline void ring(int pe) {
#if defined(__x86_64__)
  const hmci_control_t *control = hmci_control_of(pe);
  if (atomic_load_explicit(&control->asleep[HMCI_FOR_MEMORY], memory_order_relaxed)) hmc_shmem_wake(pe);
#else
  hmci_ring(pe, HMCI_FOR_MEMORY);
#endif
}

/* The bits of a value as the engine takes them, and back. */
static inline uint64_t bits_of(const void *value, size_t size) {
  uint64_t bits = 0;
  memcpy(&bits, value, size);
  return bits;
}

/* Each operation as a function of a pointer, by compiler builtins on the type. */
#define NEAR_FETCH(at, value) __atomic_load_n(at, __ATOMIC_SEQ_CST)
#define NEAR_SWAP(at, value) __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST)
#define NEAR_ADD(at, value) __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST)
#define NEAR_AND(at, value) __atomic_fetch_and(at, value, __ATOMIC_SEQ_CST)
#define NEAR_OR(at, value) __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST)
#define NEAR_XOR(at, value) __atomic_fetch_xor(at, value, __ATOMIC_SEQ_CST)

/* BITS: what the processor works on. Floats have no atomics of their own, and go as an integer of the same size. NEAR:
 * the operation on it; FAR: the engine's. */
#define DEFINE_FETCHING(NAME, TYPE, BITS, operation, NEAR, FAR)                                                        \
  TYPE shmem_ctx_##NAME##_atomic_##operation(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                        \
    place_t place = find("shmem_" #NAME "_atomic_" #operation, ctx, dest, sizeof value, pe);                           \
    BITS bits, old;                                                                                                    \
    memcpy(&bits, &value, sizeof bits);                                                                                \
    if (place.near) {                                                                                                  \
      old = NEAR((BITS *)place.near, bits);                                                                            \
      ring(place.pe);                                                                                                  \
    } else {                                                                                                           \
      old = (BITS)hmci_far_atomic(place.ctx, place.pe, place.offset, FAR, sizeof bits, bits_of(&bits, sizeof bits), 0, \
                                  true);                                                                               \
    }                                                                                                                  \
    memcpy(&value, &old, sizeof value);                                                                                \
    return value;                                                                                                      \
  }                                                                                                                    \
  TYPE shmem_##NAME##_atomic_##operation(TYPE *dest, TYPE value, int pe) {                                             \
    return shmem_ctx_##NAME##_atomic_##operation(SHMEM_CTX_DEFAULT, dest, value, pe);                                  \
  }                                                                                                                    \
  void shmem_ctx_##NAME##_atomic_##operation##_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE value, int pe) {     \
    place_t place = find("shmem_" #NAME "_atomic_" #operation "_nbi", ctx, dest, sizeof value, pe);                    \
    if (place.near) {                                                                                                  \
      value = shmem_ctx_##NAME##_atomic_##operation(ctx, dest, value, pe);                                             \
      hmci_move(fetch, &value, sizeof value);                                                                          \
    } else {                                                                                                           \
      hmci_far_fetch(place.ctx, place.pe, place.offset, FAR, sizeof value, bits_of(&value, sizeof value), 0, fetch);   \
    }                                                                                                                  \
  }                                                                                                                    \
  void shmem_##NAME##_atomic_##operation##_nbi(TYPE *fetch, TYPE *dest, TYPE value, int pe) {                          \
    shmem_ctx_##NAME##_atomic_##operation##_nbi(SHMEM_CTX_DEFAULT, fetch, dest, value, pe);                            \
  }                                                                                                                    \
  PROFILED(shmem_ctx_##NAME##_atomic_##operation);                                                                     \
  PROFILED(shmem_##NAME##_atomic_##operation);                                                                         \
  PROFILED(shmem_ctx_##NAME##_atomic_##operation##_nbi);                                                               \
  PROFILED(shmem_##NAME##_atomic_##operation##_nbi);

#define DEFINE_STORING(NAME, TYPE, BITS, operation, NEAR, FAR)                                                         \
  void shmem_ctx_##NAME##_atomic_##operation(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                        \
    place_t place = find("shmem_" #NAME "_atomic_" #operation, ctx, dest, sizeof value, pe);                           \
    BITS bits;                                                                                                         \
    memcpy(&bits, &value, sizeof bits);                                                                                \
    if (place.near) {                                                                                                  \
      (void)NEAR((BITS *)place.near, bits);                                                                            \
      ring(place.pe);                                                                                                  \
    } else {                                                                                                           \
      hmci_far_atomic(place.ctx, place.pe, place.offset, FAR, sizeof bits, bits_of(&bits, sizeof bits), 0, false);     \
    }                                                                                                                  \
  }                                                                                                                    \
  void shmem_##NAME##_atomic_##operation(TYPE *dest, TYPE value, int pe) {                                             \
    shmem_ctx_##NAME##_atomic_##operation(SHMEM_CTX_DEFAULT, dest, value, pe);                                         \
  }                                                                                                                    \
  PROFILED(shmem_ctx_##NAME##_atomic_##operation);                                                                     \
  PROFILED(shmem_##NAME##_atomic_##operation);

#define DEFINE_FETCH(NAME, TYPE, BITS)                                                                                 \
  TYPE shmem_ctx_##NAME##_atomic_fetch(shmem_ctx_t ctx, const TYPE *source, int pe) {                                  \
    place_t place = find("shmem_" #NAME "_atomic_fetch", ctx, source, sizeof(TYPE), pe);                               \
    BITS bits;                                                                                                         \
    if (place.near) {                                                                                                  \
      bits = NEAR_FETCH((BITS *)place.near, 0);                                                                        \
    } else {                                                                                                           \
      bits = (BITS)hmci_far_atomic(place.ctx, place.pe, place.offset, HMC_ATOMIC_ADD, sizeof bits, 0, 0, true);        \
    }                                                                                                                  \
    TYPE value;                                                                                                        \
    memcpy(&value, &bits, sizeof value);                                                                               \
    return value;                                                                                                      \
  }                                                                                                                    \
  TYPE shmem_##NAME##_atomic_fetch(const TYPE *source, int pe) {                                                       \
    return shmem_ctx_##NAME##_atomic_fetch(SHMEM_CTX_DEFAULT, source, pe);                                             \
  }                                                                                                                    \
  void shmem_ctx_##NAME##_atomic_fetch_nbi(shmem_ctx_t ctx, TYPE *fetch, const TYPE *source, int pe) {                 \
    place_t place = find("shmem_" #NAME "_atomic_fetch_nbi", ctx, source, sizeof(TYPE), pe);                           \
    if (place.near) {                                                                                                  \
      TYPE value = shmem_ctx_##NAME##_atomic_fetch(ctx, source, pe);                                                   \
      hmci_move(fetch, &value, sizeof value);                                                                          \
    } else {                                                                                                           \
      hmci_far_fetch(place.ctx, place.pe, place.offset, HMC_ATOMIC_ADD, sizeof(TYPE), 0, 0, fetch);                    \
    }                                                                                                                  \
  }                                                                                                                    \
  void shmem_##NAME##_atomic_fetch_nbi(TYPE *fetch, const TYPE *source, int pe) {                                      \
    shmem_ctx_##NAME##_atomic_fetch_nbi(SHMEM_CTX_DEFAULT, fetch, source, pe);                                         \
  }                                                                                                                    \
  PROFILED(shmem_ctx_##NAME##_atomic_fetch);                                                                           \
  PROFILED(shmem_##NAME##_atomic_fetch);                                                                               \
  PROFILED(shmem_ctx_##NAME##_atomic_fetch_nbi);                                                                       \
  PROFILED(shmem_##NAME##_atomic_fetch_nbi);

#define DEFINE_EXTENDED_AS(NAME, TYPE, BITS)                                                                           \
  DEFINE_FETCH(NAME, TYPE, BITS)                                                                                       \
  DEFINE_STORING(NAME, TYPE, BITS, set, NEAR_SWAP, HMC_ATOMIC_SWAP)                                                    \
  DEFINE_FETCHING(NAME, TYPE, BITS, swap, NEAR_SWAP, HMC_ATOMIC_SWAP)
#define DEFINE_EXTENDED(a, NAME, TYPE) DEFINE_EXTENDED_AS(NAME, TYPE, TYPE)
DEFINE_EXTENDED_AS(float, float, uint32_t)
DEFINE_EXTENDED_AS(double, double, uint64_t)
HMC_SHMEM_AMO_TYPES(DEFINE_EXTENDED, )

#define DEFINE_STANDARD(a, NAME, TYPE)                                                                                 \
  DEFINE_STORING(NAME, TYPE, TYPE, add, NEAR_ADD, HMC_ATOMIC_ADD)                                                      \
  DEFINE_FETCHING(NAME, TYPE, TYPE, fetch_add, NEAR_ADD, HMC_ATOMIC_ADD)                                               \
  TYPE shmem_ctx_##NAME##_atomic_fetch_inc(shmem_ctx_t ctx, TYPE *dest, int pe) {                                      \
    return shmem_ctx_##NAME##_atomic_fetch_add(ctx, dest, 1, pe);                                                      \
  }                                                                                                                    \
  TYPE shmem_##NAME##_atomic_fetch_inc(TYPE *dest, int pe) {                                                           \
    return shmem_ctx_##NAME##_atomic_fetch_add(SHMEM_CTX_DEFAULT, dest, 1, pe);                                        \
  }                                                                                                                    \
  void shmem_ctx_##NAME##_atomic_inc(shmem_ctx_t ctx, TYPE *dest, int pe) {                                            \
    shmem_ctx_##NAME##_atomic_add(ctx, dest, 1, pe);                                                                   \
  }                                                                                                                    \
  void shmem_##NAME##_atomic_inc(TYPE *dest, int pe) {                                                                 \
    shmem_ctx_##NAME##_atomic_add(SHMEM_CTX_DEFAULT, dest, 1, pe);                                                     \
  }                                                                                                                    \
  void shmem_ctx_##NAME##_atomic_fetch_inc_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, int pe) {                     \
    shmem_ctx_##NAME##_atomic_fetch_add_nbi(ctx, fetch, dest, 1, pe);                                                  \
  }                                                                                                                    \
  void shmem_##NAME##_atomic_fetch_inc_nbi(TYPE *fetch, TYPE *dest, int pe) {                                          \
    shmem_ctx_##NAME##_atomic_fetch_add_nbi(SHMEM_CTX_DEFAULT, fetch, dest, 1, pe);                                    \
  }                                                                                                                    \
  TYPE shmem_ctx_##NAME##_atomic_compare_swap(shmem_ctx_t ctx, TYPE *dest, TYPE cond, TYPE value, int pe) {            \
    place_t place = find("shmem_" #NAME "_atomic_compare_swap", ctx, dest, sizeof value, pe);                          \
    if (!place.near) {                                                                                                 \
      return (TYPE)hmci_far_atomic(place.ctx, place.pe, place.offset, HMC_ATOMIC_COMPARE_SWAP, sizeof value,           \
                                   bits_of(&value, sizeof value), bits_of(&cond, sizeof cond), true);                  \
    }                                                                                                                  \
    __atomic_compare_exchange_n((TYPE *)place.near, &cond, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);              \
    ring(place.pe);                                                                                                    \
    return cond;                                                                                                       \
  }                                                                                                                    \
  TYPE shmem_##NAME##_atomic_compare_swap(TYPE *dest, TYPE cond, TYPE value, int pe) {                                 \
    return shmem_ctx_##NAME##_atomic_compare_swap(SHMEM_CTX_DEFAULT, dest, cond, value, pe);                           \
  }                                                                                                                    \
  void shmem_ctx_##NAME##_atomic_compare_swap_nbi(shmem_ctx_t ctx, TYPE *fetch, TYPE *dest, TYPE cond, TYPE value,     \
                                                  int pe) {                                                            \
    place_t place = find("shmem_" #NAME "_atomic_compare_swap_nbi", ctx, dest, sizeof value, pe);                      \
    if (place.near) {                                                                                                  \
      value = shmem_ctx_##NAME##_atomic_compare_swap(ctx, dest, cond, value, pe);                                      \
      hmci_move(fetch, &value, sizeof value);                                                                          \
    } else {                                                                                                           \
      hmci_far_fetch(place.ctx, place.pe, place.offset, HMC_ATOMIC_COMPARE_SWAP, sizeof value,                         \
                     bits_of(&value, sizeof value), bits_of(&cond, sizeof cond), fetch);                               \
    }                                                                                                                  \
  }                                                                                                                    \
  void shmem_##NAME##_atomic_compare_swap_nbi(TYPE *fetch, TYPE *dest, TYPE cond, TYPE value, int pe) {                \
    shmem_ctx_##NAME##_atomic_compare_swap_nbi(SHMEM_CTX_DEFAULT, fetch, dest, cond, value, pe);                       \
  }                                                                                                                    \
  PROFILED(shmem_ctx_##NAME##_atomic_fetch_inc);                                                                       \
  PROFILED(shmem_##NAME##_atomic_fetch_inc);                                                                           \
  PROFILED(shmem_ctx_##NAME##_atomic_inc);                                                                             \
  PROFILED(shmem_##NAME##_atomic_inc);                                                                                 \
  PROFILED(shmem_ctx_##NAME##_atomic_fetch_inc_nbi);                                                                   \
  PROFILED(shmem_##NAME##_atomic_fetch_inc_nbi);                                                                       \
  PROFILED(shmem_ctx_##NAME##_atomic_compare_swap);                                                                    \
  PROFILED(shmem_##NAME##_atomic_compare_swap);                                                                        \
  PROFILED(shmem_ctx_##NAME##_atomic_compare_swap_nbi);                                                                \
  PROFILED(shmem_##NAME##_atomic_compare_swap_nbi);
HMC_SHMEM_AMO_TYPES(DEFINE_STANDARD, )

#define DEFINE_BITWISE(a, NAME, TYPE)                                                                                  \
  DEFINE_STORING(NAME, TYPE, TYPE, and, NEAR_AND, HMC_ATOMIC_AND)                                                      \
  DEFINE_FETCHING(NAME, TYPE, TYPE, fetch_and, NEAR_AND, HMC_ATOMIC_AND)                                               \
  DEFINE_STORING(NAME, TYPE, TYPE, or, NEAR_OR, HMC_ATOMIC_OR)                                                         \
  DEFINE_FETCHING(NAME, TYPE, TYPE, fetch_or, NEAR_OR, HMC_ATOMIC_OR)                                                  \
  DEFINE_STORING(NAME, TYPE, TYPE, xor, NEAR_XOR, HMC_ATOMIC_XOR)                                                      \
  DEFINE_FETCHING(NAME, TYPE, TYPE, fetch_xor, NEAR_XOR, HMC_ATOMIC_XOR)
HMC_SHMEM_BITWISE_AMO_TYPES(DEFINE_BITWISE, )
