/* SHMEM from kernels: one source for CUDA and for kernels that run as threads of the processor.
 *
 * A kernel reaches the PEs' memory by loads and stores, through a view that the host makes once (shmem_device_open) and
 * hands to it by value. That needs all PEs on one host. On a GPU the heap is host memory that the GPU has mapped: the
 * host registers it with the vendor's runtime (shmem_device_memory says what), or the system lets GPUs reach all memory.
 * Device heaps (shmemx_space_malloc) are reached where the device maps them; kernels that are threads reach none.
 *
 * Scopes: a call is made by one thread; `_warp` and `_block` ones by all threads of a warp (32 of a block that follow
 * each other) or block, which share the work; they return when it is done for all. Without a suffix: one thread.
 *
 * Kernels are written as SHMEM_KERNEL void name(shmem_device_t view, ...), and started with SHMEM_LAUNCH(blocks,
 * threads, name, view, ...), which returns when they have ended. In C++. A thread of a kernel asks for its numbers with
 * shmem_device_thread and its kin. */
#ifndef SHMEM_DEVICE_H
#define SHMEM_DEVICE_H

#include <shmem/types.h>
#include <string.h>

#if defined(__CUDACC__)
#define SHMEM_DEVICE static __device__ __forceinline__
#define SHMEM_KERNEL static __global__
#else
#define SHMEM_DEVICE static inline
#define SHMEM_KERNEL static
#endif

/* What a kernel knows of the job, or of a team of it: PE i of the view is PE start + i * stride of the job. */
typedef struct shmem_device {
  int me, n;
  int start, stride;
  char *own;      /* this PE's part, as the host's pointers into the heap have it */
  char *parts;    /* all parts, one behind the other */
  size_t size;    /* bytes of a part */
  uint64_t *sync; /* symmetric: [0] at PE 0 of the view counts arrivals, [1] counts this PE's barriers */
  char *heap;     /* this PE's device heap, which may be NULL */
  char **heaps;   /* by PE of the job: its device heap for this PE's device, or NULL; in the symmetric heap */
} shmem_device_t;

#ifdef __cplusplus
extern "C" {
#endif

/* Makes the view of the job, or of a team whose members are equally far apart. Collective over all PEs, as a heap
 * allocation is in it. 0, or non-zero where PEs are on other hosts, or the team's members are not. Ownership: the
 * caller's until shmem_device_close, which is collective too. */
SHMEM_API int shmem_device_open(shmem_team_t team, shmem_device_t *view);
SHMEM_API void shmem_device_close(shmem_device_t *view);

/* The memory that a GPU must be able to reach: all parts, and this PE's own view of its part. */
SHMEM_API void shmem_device_memory(const shmem_device_t *view, void **parts, size_t *parts_size, void **own,
                                   size_t *own_size);

#ifdef __cplusplus
}
#endif

/* ---- where a thread is --------------------------------------------------------------------------------------------- */

#if defined(__CUDACC__)
SHMEM_DEVICE int shmem_device_thread(void) { return (int)threadIdx.x; }
SHMEM_DEVICE int shmem_device_threads(void) { return (int)blockDim.x; }
SHMEM_DEVICE int shmem_device_block(void) { return (int)blockIdx.x; }
SHMEM_DEVICE int shmem_device_blocks(void) { return (int)gridDim.x; }
SHMEM_DEVICE void shmem_device_sync_block(void) { __syncthreads(); }
SHMEM_DEVICE void shmem_device_sync_warp(void) { __syncwarp(); }
SHMEM_DEVICE void hmc_shmem_device_fence(void) { __threadfence_system(); }
SHMEM_DEVICE void hmc_shmem_device_relax(void) {}
#else
/* Of the thread that runs a part of a kernel; set by SHMEM_LAUNCH. */
typedef struct hmc_shmem_device_numbers {
  int thread, threads, block, blocks;
  void *barriers; /* of the block: [0], and of its warps from [1] on */
} hmc_shmem_device_numbers_t;
#ifdef __cplusplus
extern "C" {
#endif
SHMEM_API hmc_shmem_device_numbers_t *hmc_shmem_device_self(void);
SHMEM_API void hmc_shmem_device_wait_for(int barrier); /* 0: the block, else that warp + 1 */
SHMEM_API void hmc_shmem_device_relax(void);
/* Runs `run(argument)` in blocks x threads threads, block after block; returns when all have ended. */
SHMEM_API void hmc_shmem_device_run(int blocks, int threads, void (*run)(void *argument), void *argument);
#ifdef __cplusplus
}
#endif
SHMEM_DEVICE int shmem_device_thread(void) { return hmc_shmem_device_self()->thread; }
SHMEM_DEVICE int shmem_device_threads(void) { return hmc_shmem_device_self()->threads; }
SHMEM_DEVICE int shmem_device_block(void) { return hmc_shmem_device_self()->block; }
SHMEM_DEVICE int shmem_device_blocks(void) { return hmc_shmem_device_self()->blocks; }
SHMEM_DEVICE void shmem_device_sync_block(void) { hmc_shmem_device_wait_for(0); }
SHMEM_DEVICE void shmem_device_sync_warp(void) { hmc_shmem_device_wait_for(1 + shmem_device_thread() / 32); }
SHMEM_DEVICE void hmc_shmem_device_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
#endif

/* ---- PEs and teams -------------------------------------------------------------------------------------------------- */

SHMEM_DEVICE int shmem_device_my_pe(shmem_device_t view) { return view.me; }
SHMEM_DEVICE int shmem_device_n_pes(shmem_device_t view) { return view.n; }

/* The number in `to` of PE `pe` of `from`, or -1. */
SHMEM_DEVICE int shmem_device_translate_pe(shmem_device_t from, int pe, shmem_device_t to) {
  int distance = from.start + pe * from.stride - to.start;
  int number = to.stride ? distance / to.stride : 0;
  return pe >= 0 && pe < from.n && number >= 0 && number < to.n && number * to.stride == distance ? number : -1;
}

/* The address at `pe` of the view; NULL for one of the device heap where this PE's device does not reach that PE's. */
SHMEM_DEVICE void *shmem_device_ptr(shmem_device_t view, const void *address, int pe) {
  int world = view.start + pe * view.stride;
  size_t offset = (size_t)((const char *)address - view.own);
  if (offset < view.size) return view.parts + (size_t)world * view.size + offset;
  char *base = view.heaps ? view.heaps[world] : NULL;
  return base ? base + ((const char *)address - view.heap) : NULL;
}

/* ---- order ---------------------------------------------------------------------------------------------------------- */

SHMEM_DEVICE void shmem_device_fence(void) { hmc_shmem_device_fence(); }
SHMEM_DEVICE void shmem_device_quiet(void) { hmc_shmem_device_fence(); }

/* ---- copies: `first` and `step` share out 8-byte words and the rest among the threads of a scope ---------------------- */

SHMEM_DEVICE void hmc_shmem_device_copy(void *to, const void *from, size_t size, size_t first, size_t step) {
  size_t words = ((uintptr_t)to | (uintptr_t)from) % 8 ? 0 : size / 8;
  for (size_t i = first; i < words; i += step) ((uint64_t *)to)[i] = ((const uint64_t *)from)[i];
  for (size_t i = words * 8 + first; i < size; i += step) ((char *)to)[i] = ((const char *)from)[i];
}

SHMEM_DEVICE void shmem_device_putmem(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  hmc_shmem_device_copy(shmem_device_ptr(view, dest, pe), source, size, 0, 1);
}
SHMEM_DEVICE void shmem_device_getmem(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  hmc_shmem_device_copy(dest, shmem_device_ptr(view, source, pe), size, 0, 1);
}
SHMEM_DEVICE void shmem_device_putmem_warp(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  hmc_shmem_device_copy(shmem_device_ptr(view, dest, pe), source, size, (size_t)shmem_device_thread() % 32, 32);
  hmc_shmem_device_fence();
  shmem_device_sync_warp();
}
SHMEM_DEVICE void shmem_device_getmem_warp(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  hmc_shmem_device_copy(dest, shmem_device_ptr(view, source, pe), size, (size_t)shmem_device_thread() % 32, 32);
  shmem_device_sync_warp();
}
SHMEM_DEVICE void shmem_device_putmem_block(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  hmc_shmem_device_copy(shmem_device_ptr(view, dest, pe), source, size, (size_t)shmem_device_thread(),
                        (size_t)shmem_device_threads());
  hmc_shmem_device_fence();
  shmem_device_sync_block();
}
SHMEM_DEVICE void shmem_device_getmem_block(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  hmc_shmem_device_copy(dest, shmem_device_ptr(view, source, pe), size, (size_t)shmem_device_thread(),
                        (size_t)shmem_device_threads());
  shmem_device_sync_block();
}
/* The forms that may return early: complete by the next quiet. Stores are on their way anyhow. */
SHMEM_DEVICE void shmem_device_putmem_nbi(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  shmem_device_putmem(view, dest, source, size, pe);
}
SHMEM_DEVICE void shmem_device_getmem_nbi(shmem_device_t view, void *dest, const void *source, size_t size, int pe) {
  shmem_device_getmem(view, dest, source, size, pe);
}
SHMEM_DEVICE void shmem_device_putmem_nbi_warp(shmem_device_t view, void *dest, const void *source, size_t size,
                                               int pe) {
  hmc_shmem_device_copy(shmem_device_ptr(view, dest, pe), source, size, (size_t)shmem_device_thread() % 32, 32);
}
SHMEM_DEVICE void shmem_device_putmem_nbi_block(shmem_device_t view, void *dest, const void *source, size_t size,
                                                int pe) {
  hmc_shmem_device_copy(shmem_device_ptr(view, dest, pe), source, size, (size_t)shmem_device_thread(),
                        (size_t)shmem_device_threads());
}

/* ---- scalars, words ---------------------------------------------------------------------------------------------------- */

#define HMC_SHMEM_DEVICE_TYPES(X)                                                                                      \
  X(int, int)                                                                                                          \
  X(uint, unsigned int)                                                                                                \
  X(long, long)                                                                                                        \
  X(ulong, unsigned long)                                                                                              \
  X(longlong, long long)                                                                                               \
  X(ulonglong, unsigned long long)                                                                                     \
  X(float, float)                                                                                                      \
  X(double, double)

#define HMC_SHMEM_DEVICE_SCALARS(NAME, TYPE)                                                                           \
  SHMEM_DEVICE void shmem_device_##NAME##_p(shmem_device_t view, TYPE *dest, TYPE value, int pe) {                     \
    *(volatile TYPE *)shmem_device_ptr(view, dest, pe) = value;                                                        \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_g(shmem_device_t view, const TYPE *source, int pe) {                         \
    return *(volatile TYPE *)shmem_device_ptr(view, source, pe);                                                       \
  }                                                                                                                    \
  SHMEM_DEVICE void shmem_device_##NAME##_put(shmem_device_t view, TYPE *dest, const TYPE *source, size_t nelems,      \
                                              int pe) {                                                                \
    shmem_device_putmem(view, dest, source, nelems * sizeof(TYPE), pe);                                                \
  }                                                                                                                    \
  SHMEM_DEVICE void shmem_device_##NAME##_get(shmem_device_t view, TYPE *dest, const TYPE *source, size_t nelems,      \
                                              int pe) {                                                                \
    shmem_device_getmem(view, dest, source, nelems * sizeof(TYPE), pe);                                                \
  }
HMC_SHMEM_DEVICE_TYPES(HMC_SHMEM_DEVICE_SCALARS)

/* Atomics on words of 32 and 64 bits, across PEs and towards the hosts' processors. */
#if defined(__CUDACC__)
#define HMC_SHMEM_DEVICE_ADD(at, value) atomicAdd_system(at, value)
#define HMC_SHMEM_DEVICE_SWAP(at, value) atomicExch_system(at, value)
#define HMC_SHMEM_DEVICE_CAS(at, old, value) atomicCAS_system(at, old, value)
#define HMC_SHMEM_DEVICE_AND(at, value) atomicAnd_system(at, value)
#define HMC_SHMEM_DEVICE_OR(at, value) atomicOr_system(at, value)
#define HMC_SHMEM_DEVICE_XOR(at, value) atomicXor_system(at, value)
#else
#define HMC_SHMEM_DEVICE_ADD(at, value) __atomic_fetch_add(at, value, __ATOMIC_SEQ_CST)
#define HMC_SHMEM_DEVICE_SWAP(at, value) __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST)
#define HMC_SHMEM_DEVICE_CAS(at, old, value) __sync_val_compare_and_swap(at, old, value)
#define HMC_SHMEM_DEVICE_AND(at, value) __atomic_fetch_and(at, value, __ATOMIC_SEQ_CST)
#define HMC_SHMEM_DEVICE_OR(at, value) __atomic_fetch_or(at, value, __ATOMIC_SEQ_CST)
#define HMC_SHMEM_DEVICE_XOR(at, value) __atomic_fetch_xor(at, value, __ATOMIC_SEQ_CST)
#endif

/* WORD: the type that CUDA's atomics take. */
#define HMC_SHMEM_DEVICE_AMO(NAME, TYPE, WORD)                                                                         \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_fetch_add(shmem_device_t view, TYPE *dest, TYPE value, int pe) {      \
    return (TYPE)HMC_SHMEM_DEVICE_ADD((WORD *)shmem_device_ptr(view, dest, pe), (WORD)value);                          \
  }                                                                                                                    \
  SHMEM_DEVICE void shmem_device_##NAME##_atomic_add(shmem_device_t view, TYPE *dest, TYPE value, int pe) {            \
    (void)shmem_device_##NAME##_atomic_fetch_add(view, dest, value, pe);                                               \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_fetch_inc(shmem_device_t view, TYPE *dest, int pe) {                  \
    return shmem_device_##NAME##_atomic_fetch_add(view, dest, 1, pe);                                                  \
  }                                                                                                                    \
  SHMEM_DEVICE void shmem_device_##NAME##_atomic_inc(shmem_device_t view, TYPE *dest, int pe) {                        \
    (void)shmem_device_##NAME##_atomic_fetch_add(view, dest, 1, pe);                                                   \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_swap(shmem_device_t view, TYPE *dest, TYPE value, int pe) {           \
    return (TYPE)HMC_SHMEM_DEVICE_SWAP((WORD *)shmem_device_ptr(view, dest, pe), (WORD)value);                         \
  }                                                                                                                    \
  SHMEM_DEVICE void shmem_device_##NAME##_atomic_set(shmem_device_t view, TYPE *dest, TYPE value, int pe) {            \
    (void)shmem_device_##NAME##_atomic_swap(view, dest, value, pe);                                                    \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_fetch(shmem_device_t view, const TYPE *source, int pe) {              \
    return shmem_device_##NAME##_g(view, source, pe);                                                                  \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_compare_swap(shmem_device_t view, TYPE *dest, TYPE cond, TYPE value,  \
                                                              int pe) {                                                \
    return (TYPE)HMC_SHMEM_DEVICE_CAS((WORD *)shmem_device_ptr(view, dest, pe), (WORD)cond, (WORD)value);              \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_fetch_and(shmem_device_t view, TYPE *dest, TYPE value, int pe) {      \
    return (TYPE)HMC_SHMEM_DEVICE_AND((WORD *)shmem_device_ptr(view, dest, pe), (WORD)value);                          \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_fetch_or(shmem_device_t view, TYPE *dest, TYPE value, int pe) {       \
    return (TYPE)HMC_SHMEM_DEVICE_OR((WORD *)shmem_device_ptr(view, dest, pe), (WORD)value);                           \
  }                                                                                                                    \
  SHMEM_DEVICE TYPE shmem_device_##NAME##_atomic_fetch_xor(shmem_device_t view, TYPE *dest, TYPE value, int pe) {      \
    return (TYPE)HMC_SHMEM_DEVICE_XOR((WORD *)shmem_device_ptr(view, dest, pe), (WORD)value);                          \
  }
HMC_SHMEM_DEVICE_AMO(int, int, unsigned int)
HMC_SHMEM_DEVICE_AMO(uint, unsigned int, unsigned int)
HMC_SHMEM_DEVICE_AMO(long, long, unsigned long long)
HMC_SHMEM_DEVICE_AMO(ulong, unsigned long, unsigned long long)
HMC_SHMEM_DEVICE_AMO(longlong, long long, unsigned long long)
HMC_SHMEM_DEVICE_AMO(ulonglong, unsigned long long, unsigned long long)

/* ---- waiting and signals ------------------------------------------------------------------------------------------------ */

#define HMC_SHMEM_DEVICE_WAIT(NAME, TYPE)                                                                              \
  SHMEM_DEVICE int shmem_device_##NAME##_test(TYPE *ivar, int cmp, TYPE value) {                                       \
    TYPE now = *(volatile TYPE *)ivar;                                                                                 \
    int holds = cmp == SHMEM_CMP_EQ   ? now == value                                                                   \
                : cmp == SHMEM_CMP_NE ? now != value                                                                   \
                : cmp == SHMEM_CMP_GT ? now > value                                                                    \
                : cmp == SHMEM_CMP_GE ? now >= value                                                                   \
                : cmp == SHMEM_CMP_LT ? now < value                                                                    \
                                      : now <= value;                                                                  \
    hmc_shmem_device_fence();                                                                                          \
    return holds;                                                                                                      \
  }                                                                                                                    \
  SHMEM_DEVICE void shmem_device_##NAME##_wait_until(TYPE *ivar, int cmp, TYPE value) {                                \
    while (!shmem_device_##NAME##_test(ivar, cmp, value)) hmc_shmem_device_relax();                                    \
  }
HMC_SHMEM_DEVICE_TYPES(HMC_SHMEM_DEVICE_WAIT)

SHMEM_DEVICE void shmem_device_signal(shmem_device_t view, uint64_t *sig_addr, uint64_t signal, int sig_op, int pe) {
  unsigned long long *at = (unsigned long long *)shmem_device_ptr(view, sig_addr, pe);
  hmc_shmem_device_fence(); /* the data before the signal */
  if (sig_op == SHMEM_SIGNAL_ADD) {
    (void)HMC_SHMEM_DEVICE_ADD(at, (unsigned long long)signal);
  } else {
    (void)HMC_SHMEM_DEVICE_SWAP(at, (unsigned long long)signal);
  }
}
SHMEM_DEVICE uint64_t shmem_device_signal_wait_until(uint64_t *sig_addr, int cmp, uint64_t value) {
  shmem_device_ulonglong_wait_until((unsigned long long *)sig_addr, cmp, (unsigned long long)value);
  return *(volatile uint64_t *)sig_addr;
}
SHMEM_DEVICE void shmem_device_putmem_signal(shmem_device_t view, void *dest, const void *source, size_t size,
                                             uint64_t *sig_addr, uint64_t signal, int sig_op, int pe) {
  shmem_device_putmem(view, dest, source, size, pe);
  shmem_device_signal(view, sig_addr, signal, sig_op, pe);
}
SHMEM_DEVICE void shmem_device_putmem_signal_block(shmem_device_t view, void *dest, const void *source, size_t size,
                                                   uint64_t *sig_addr, uint64_t signal, int sig_op, int pe) {
  shmem_device_putmem_block(view, dest, source, size, pe);
  if (shmem_device_thread() == 0) shmem_device_signal(view, sig_addr, signal, sig_op, pe);
}

/* ---- barriers: by all threads of one block of each PE of the view -------------------------------------------------------- */

SHMEM_DEVICE void shmem_device_sync(shmem_device_t view) {
  shmem_device_sync_block();
  if (shmem_device_thread() == 0) {
    unsigned long long *count = (unsigned long long *)shmem_device_ptr(view, view.sync, 0);
    unsigned long long goal = (unsigned long long)++view.sync[1] * (unsigned long long)view.n;
    (void)HMC_SHMEM_DEVICE_ADD(count, 1ull);
    shmem_device_ulonglong_wait_until(count, SHMEM_CMP_GE, goal);
  }
  shmem_device_sync_block();
}
SHMEM_DEVICE void shmem_device_barrier(shmem_device_t view) {
  hmc_shmem_device_fence();
  shmem_device_sync(view);
}

/* ---- starting kernels ------------------------------------------------------------------------------------------------------ */

#if defined(__CUDACC__)
#define SHMEM_LAUNCH(blocks, threads, kernel, ...)                                                                     \
  do {                                                                                                                 \
    kernel<<<blocks, threads>>>(__VA_ARGS__);                                                                          \
    cudaDeviceSynchronize();                                                                                           \
  } while (0)
#elif defined(__cplusplus)
template <typename Call> inline void hmc_shmem_device_call(void *argument) { (*static_cast<Call *>(argument))(); }
template <typename Call> inline void hmc_shmem_device_launch(int blocks, int threads, Call call) {
  hmc_shmem_device_run(blocks, threads, hmc_shmem_device_call<Call>, &call);
}
#define SHMEM_LAUNCH(blocks, threads, kernel, ...)                                                                     \
  hmc_shmem_device_launch(blocks, threads, [&] { kernel(__VA_ARGS__); })
#endif

#endif
