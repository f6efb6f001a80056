/* Remote memory access: put, get, p, g, strided and in blocks, non-blocking, and with a signal.
 *
 * `dest` of a put and `source` of a get are symmetric; the other side is any memory of the caller's. A put returns when
 * `source` can be used again, and has arrived after the next quiet or barrier; a get returns with the data. The _nbi
 * forms return at once, and both sides are the library's until the next quiet. `nelems` counts elements of the type or
 * size; the `mem` forms count bytes. Strides count elements too. A put with signal changes the 64-bit word `sig_addr`
 * at `pe` (SHMEM_SIGNAL_SET, SHMEM_SIGNAL_ADD) after its data are there.
 *
 * Where the caller reaches `pe`'s memory by loads and stores, the small forms below are inlined as such. A program that
 * wants to see each call (profiling by symbol interposition) defines SHMEM_NO_INLINE. */
#ifndef SHMEM_RMA_H
#define SHMEM_RMA_H

#include <shmem/types.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HMC_SHMEM_DECLARE_RMA(a, NAME, TYPE)                                                                           \
  SHMEM_API void shmem_##NAME##_put(TYPE *dest, const TYPE *source, size_t nelems, int pe);                            \
  SHMEM_API void shmem_##NAME##_get(TYPE *dest, const TYPE *source, size_t nelems, int pe);                            \
  SHMEM_API void shmem_##NAME##_put_nbi(TYPE *dest, const TYPE *source, size_t nelems, int pe);                        \
  SHMEM_API void shmem_##NAME##_get_nbi(TYPE *dest, const TYPE *source, size_t nelems, int pe);                        \
  SHMEM_API void shmem_##NAME##_p(TYPE *dest, TYPE value, int pe);                                                     \
  SHMEM_API TYPE shmem_##NAME##_g(const TYPE *source, int pe);                                                         \
  SHMEM_API void shmem_##NAME##_iput(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,      \
                                     int pe);                                                                          \
  SHMEM_API void shmem_##NAME##_iget(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,      \
                                     int pe);                                                                          \
  SHMEM_API void shmem_##NAME##_ibput(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize,      \
                                      size_t nblocks, int pe);                                                         \
  SHMEM_API void shmem_##NAME##_ibget(TYPE *dest, const TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize,      \
                                      size_t nblocks, int pe);                                                         \
  SHMEM_API void shmem_##NAME##_put_signal(TYPE *dest, const TYPE *source, size_t nelems, uint64_t *sig_addr,          \
                                           uint64_t signal, int sig_op, int pe);                                       \
  SHMEM_API void shmem_##NAME##_put_signal_nbi(TYPE *dest, const TYPE *source, size_t nelems, uint64_t *sig_addr,      \
                                               uint64_t signal, int sig_op, int pe);                                   \
  SHMEM_API void shmem_ctx_##NAME##_put(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe);       \
  SHMEM_API void shmem_ctx_##NAME##_get(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe);       \
  SHMEM_API void shmem_ctx_##NAME##_put_nbi(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe);   \
  SHMEM_API void shmem_ctx_##NAME##_get_nbi(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems, int pe);   \
  SHMEM_API void shmem_ctx_##NAME##_p(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe);                                \
  SHMEM_API TYPE shmem_ctx_##NAME##_g(shmem_ctx_t ctx, const TYPE *source, int pe);                                    \
  SHMEM_API void shmem_ctx_##NAME##_iput(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst,               \
                                         ptrdiff_t sst, size_t nelems, int pe);                                        \
  SHMEM_API void shmem_ctx_##NAME##_iget(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst,               \
                                         ptrdiff_t sst, size_t nelems, int pe);                                        \
  SHMEM_API void shmem_ctx_##NAME##_ibput(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst,              \
                                          ptrdiff_t sst, size_t bsize, size_t nblocks, int pe);                        \
  SHMEM_API void shmem_ctx_##NAME##_ibget(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, ptrdiff_t dst,              \
                                          ptrdiff_t sst, size_t bsize, size_t nblocks, int pe);                        \
  SHMEM_API void shmem_ctx_##NAME##_put_signal(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems,         \
                                               uint64_t *sig_addr, uint64_t signal, int sig_op, int pe);               \
  SHMEM_API void shmem_ctx_##NAME##_put_signal_nbi(shmem_ctx_t ctx, TYPE *dest, const TYPE *source, size_t nelems,     \
                                                   uint64_t *sig_addr, uint64_t signal, int sig_op, int pe);

HMC_SHMEM_RMA_TYPES(HMC_SHMEM_DECLARE_RMA, )

#define HMC_SHMEM_DECLARE_SIZED(suffix)                                                                                \
  SHMEM_API void shmem_put##suffix(void *dest, const void *source, size_t nelems, int pe);                             \
  SHMEM_API void shmem_get##suffix(void *dest, const void *source, size_t nelems, int pe);                             \
  SHMEM_API void shmem_put##suffix##_nbi(void *dest, const void *source, size_t nelems, int pe);                       \
  SHMEM_API void shmem_get##suffix##_nbi(void *dest, const void *source, size_t nelems, int pe);                       \
  SHMEM_API void shmem_put##suffix##_signal(void *dest, const void *source, size_t nelems, uint64_t *sig_addr,         \
                                            uint64_t signal, int sig_op, int pe);                                      \
  SHMEM_API void shmem_put##suffix##_signal_nbi(void *dest, const void *source, size_t nelems, uint64_t *sig_addr,     \
                                                uint64_t signal, int sig_op, int pe);                                  \
  SHMEM_API void shmem_ctx_put##suffix(shmem_ctx_t ctx, void *dest, const void *source, size_t nelems, int pe);        \
  SHMEM_API void shmem_ctx_get##suffix(shmem_ctx_t ctx, void *dest, const void *source, size_t nelems, int pe);        \
  SHMEM_API void shmem_ctx_put##suffix##_nbi(shmem_ctx_t ctx, void *dest, const void *source, size_t nelems, int pe);  \
  SHMEM_API void shmem_ctx_get##suffix##_nbi(shmem_ctx_t ctx, void *dest, const void *source, size_t nelems, int pe);  \
  SHMEM_API void shmem_ctx_put##suffix##_signal(shmem_ctx_t ctx, void *dest, const void *source, size_t nelems,        \
                                                uint64_t *sig_addr, uint64_t signal, int sig_op, int pe);              \
  SHMEM_API void shmem_ctx_put##suffix##_signal_nbi(shmem_ctx_t ctx, void *dest, const void *source, size_t nelems,    \
                                                    uint64_t *sig_addr, uint64_t signal, int sig_op, int pe);

#define HMC_SHMEM_DECLARE_STRIDED(a, bits, bytes)                                                                      \
  HMC_SHMEM_DECLARE_SIZED(bits)                                                                                        \
  SHMEM_API void shmem_iput##bits(void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,         \
                                  int pe);                                                                             \
  SHMEM_API void shmem_iget##bits(void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems,         \
                                  int pe);                                                                             \
  SHMEM_API void shmem_ibput##bits(void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize,         \
                                   size_t nblocks, int pe);                                                            \
  SHMEM_API void shmem_ibget##bits(void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize,         \
                                   size_t nblocks, int pe);                                                            \
  SHMEM_API void shmem_ctx_iput##bits(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst,   \
                                      size_t nelems, int pe);                                                          \
  SHMEM_API void shmem_ctx_iget##bits(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst,   \
                                      size_t nelems, int pe);                                                          \
  SHMEM_API void shmem_ctx_ibput##bits(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst,  \
                                       size_t bsize, size_t nblocks, int pe);                                          \
  SHMEM_API void shmem_ctx_ibget##bits(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst,  \
                                       size_t bsize, size_t nblocks, int pe);

HMC_SHMEM_DECLARE_SIZED(mem)
HMC_SHMEM_SIZES(HMC_SHMEM_DECLARE_STRIDED, )

/* ---- by loads and stores ----------------------------------------------------------------------------------------- */

/* What the inlined forms look at; written by init and finalize only. */
typedef struct hmc_shmem_here {
  uintptr_t heap;    /* where this PE's part of the address space begins */
  size_t size;       /* its bytes; 0 while nothing is to be inlined */
  char *const *base; /* by PE: where its part begins in this process; NULL where it is not mapped */
  uintptr_t globals; /* where the executable's globals begin, their bytes, and where in a part they lie */
  size_t globals_size, globals_at;
  size_t bytes_size, bytes_globals_size; /* for copies: 0 where the other side may be memory of a device */
} hmc_shmem_here_t;

SHMEM_API extern hmc_shmem_here_t hmc_shmem_here;

/* The address at `pe`, or NULL where the library has to look further. */
SHMEM_API void *hmc_shmem_near(const void *address, int pe);

/* The same for copies, whose other side must be host memory. */
SHMEM_API void *hmc_shmem_near_bytes(const void *address, int pe);

/* Either of them, by its bounds in hmc_shmem_here: inlined here, and in the library for calls that were not. */
#define HMC_SHMEM_DEFINE_NEAR(KIND, NAME, SIZE, GLOBALS_SIZE)                                                          \
  KIND void *NAME(const void *address, int pe) {                                                                       \
    size_t offset = (uintptr_t)address - hmc_shmem_here.heap;                                                          \
    if (HMC_SHMEM_SELDOM(offset >= hmc_shmem_here.SIZE)) {                                                             \
      offset = (uintptr_t)address - hmc_shmem_here.globals;                                                            \
      if (offset >= hmc_shmem_here.GLOBALS_SIZE) return NULL;                                                          \
      offset += hmc_shmem_here.globals_at;                                                                             \
    }                                                                                                                  \
    char *base = hmc_shmem_here.base[pe];                                                                              \
    return HMC_SHMEM_SELDOM(base == NULL) ? NULL : base + offset;                                                      \
  }
#define HMC_SHMEM_SELDOM(condition) __builtin_expect(condition, 0)

/* Wakes a PE of this host that waits for its heap or globals. A part begins with words of 4 bytes, of which this one is 1
 * where its PE does. */
SHMEM_API void hmc_shmem_wake(int pe);
#define HMC_SHMEM_FOR_MEMORY 2

#if defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(SHMEM_NO_INLINE) && !defined(__CUDACC__)

#define HMC_SHMEM_INLINE extern inline __attribute__((gnu_inline))

HMC_SHMEM_DEFINE_NEAR(HMC_SHMEM_INLINE, hmc_shmem_near, size, globals_size)
HMC_SHMEM_DEFINE_NEAR(HMC_SHMEM_INLINE, hmc_shmem_near_bytes, bytes_size, bytes_globals_size)

/* The scalars are single accesses that no compiler leaves out: a loop around shmem_g sees each change. What fits a
 * register is never seen in halves. */
#define HMC_SHMEM_IS_WORD(TYPE) (sizeof(TYPE) <= sizeof(uint64_t))
#define HMC_SHMEM_INLINE_RMA(a, NAME, TYPE)                                                                            \
  HMC_SHMEM_INLINE void shmem_##NAME##_p(TYPE *dest, TYPE value, int pe) {                                             \
    TYPE *at = (TYPE *)hmc_shmem_near(dest, pe);                                                                       \
    if (!at) {                                                                                                         \
      shmem_ctx_##NAME##_p(SHMEM_CTX_DEFAULT, dest, value, pe);                                                        \
    } else if (HMC_SHMEM_IS_WORD(TYPE)) {                                                                              \
      __atomic_store(at, &value, __ATOMIC_RELAXED);                                                                    \
    } else {                                                                                                           \
      *(volatile TYPE *)at = value;                                                                                    \
    }                                                                                                                  \
  }                                                                                                                    \
  HMC_SHMEM_INLINE TYPE shmem_##NAME##_g(const TYPE *source, int pe) {                                                 \
    TYPE *at = (TYPE *)hmc_shmem_near(source, pe);                                                                     \
    if (!at) return shmem_ctx_##NAME##_g(SHMEM_CTX_DEFAULT, source, pe);                                               \
    TYPE value;                                                                                                        \
    if (HMC_SHMEM_IS_WORD(TYPE)) {                                                                                     \
      __atomic_load(at, &value, __ATOMIC_RELAXED);                                                                     \
    } else {                                                                                                           \
      value = *(volatile TYPE *)at;                                                                                    \
    }                                                                                                                  \
    return value;                                                                                                      \
  }                                                                                                                    \
  HMC_SHMEM_INLINE void shmem_##NAME##_put(TYPE *dest, const TYPE *source, size_t nelems, int pe) {                    \
    void *at = hmc_shmem_near_bytes(dest, pe);                                                                         \
    if (at) {                                                                                                          \
      memcpy(at, source, nelems * sizeof(TYPE));                                                                       \
    } else {                                                                                                           \
      shmem_ctx_##NAME##_put(SHMEM_CTX_DEFAULT, dest, source, nelems, pe);                                             \
    }                                                                                                                  \
  }                                                                                                                    \
  HMC_SHMEM_INLINE void shmem_##NAME##_get(TYPE *dest, const TYPE *source, size_t nelems, int pe) {                    \
    const void *at = hmc_shmem_near_bytes(source, pe);                                                                 \
    if (at) {                                                                                                          \
      memcpy(dest, at, nelems * sizeof(TYPE));                                                                         \
    } else {                                                                                                           \
      shmem_ctx_##NAME##_get(SHMEM_CTX_DEFAULT, dest, source, nelems, pe);                                             \
    }                                                                                                                  \
  }

HMC_SHMEM_RMA_TYPES(HMC_SHMEM_INLINE_RMA, )

HMC_SHMEM_INLINE void shmem_putmem(void *dest, const void *source, size_t nelems, int pe) {
  void *at = hmc_shmem_near_bytes(dest, pe);
  if (at) {
    memcpy(at, source, nelems);
  } else {
    shmem_ctx_putmem(SHMEM_CTX_DEFAULT, dest, source, nelems, pe);
  }
}

HMC_SHMEM_INLINE void shmem_getmem(void *dest, const void *source, size_t nelems, int pe) {
  const void *at = hmc_shmem_near_bytes(source, pe);
  if (at) {
    memcpy(dest, at, nelems);
  } else {
    shmem_ctx_getmem(SHMEM_CTX_DEFAULT, dest, source, nelems, pe);
  }
}
#endif

#ifdef __cplusplus
}
#endif
#endif
