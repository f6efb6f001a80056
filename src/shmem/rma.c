/* Put, get and their kin: by a copy where the PE is near, else by the engine. */
#include "alias.h"
#include "state.h"

#include <string.h>

/* Where a symmetric range of a context's PE lies: a pointer, or a PE of the job and an offset. */
typedef struct place {
  char *near;
  int pe;
  size_t offset;
  struct hmc_shmem_ctx *ctx;
} place_t;

static place_t find(const char *call, shmem_ctx_t ctx, const void *address, size_t size, int pe) {
  place_t place = {.pe = pe};
  place.ctx = hmci_context(ctx, &place.pe);
  hmci_check(call, address, size, place.pe);
  place.offset = hmci_offset(address);
  if (place.offset == SIZE_MAX) {
    if (size == 0) {
      place.offset = 0;
    } else {
      hmci_die(hmci_pe.levels ? "%s: %p is not symmetric" : "%s: called before shmem_init or after shmem_finalize (%p)",
               call, address);
    }
  }
  char *base = hmci_pe.base[place.pe];
  if (base && !(place.offset & HMCI_IN_DEVICE)) place.near = base + place.offset;
  return place;
}

void hmci_put(shmem_ctx_t ctx, void *dest, const void *source, size_t size, int pe, bool wait) {
  place_t place = find("shmem_put", ctx, dest, size, pe);
  if (place.near) {
    hmci_move(place.near, source, size); /* the PE itself may put over itself */
  } else {
    hmci_far_put(place.ctx, place.pe, place.offset, source, size, wait);
  }
}

void hmci_get(shmem_ctx_t ctx, void *dest, const void *source, size_t size, int pe, bool wait) {
  place_t place = find("shmem_get", ctx, source, size, pe);
  if (place.near) {
    hmci_move(dest, place.near, size);
  } else {
    hmci_far_get(place.ctx, place.pe, place.offset, dest, size, wait);
  }
}

/* ---- strided, in blocks of `block` bytes, `dst` and `sst` bytes from one to the next -------------------------------- */

/* Starts it as a list where that serves. */
static bool start_list(const char *call, shmem_ctx_t ctx, const void *there, hmci_strided_t *what, int pe) {
  if (!what->block || !what->count) return true;
  const char *last = (const char *)there + (ptrdiff_t)(what->count - 1) * what->there;
  place_t place = find(call, ctx, there, what->block, pe);
  what->pe = place.pe;
  what->offset = place.offset;
  if (!hmci_strided_fits(what)) return false;
  if (hmci_offset(last) - place.offset != (size_t)(last - (const char *)there)) return false; /* not of one area */
  for (size_t i = 0; hmci_pe.checks && i < what->count; i++) {
    hmci_check(call, (const char *)there + (ptrdiff_t)i * what->there, what->block, place.pe);
  }
  hmci_strided_start(place.ctx, what);
  return true;
}

void hmci_put_blocks(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t block,
                     size_t count, int pe) {
  hmci_strided_t list = {.local = (char *)(uintptr_t)source, .there = dst, .here = sst, .block = block, .count = count};
  if (start_list("shmem_put", ctx, dest, &list, pe)) return;
  for (size_t i = 0; i < count; i++) {
    hmci_put(ctx, (char *)dest + (ptrdiff_t)i * dst, (const char *)source + (ptrdiff_t)i * sst, block, pe, false);
  }
}

static void get_blocks(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t block,
                       size_t count, int pe) {
  hmci_strided_t list = {.is_get = true, .local = dest, .there = sst, .here = dst, .block = block, .count = count};
  if (start_list("shmem_get", ctx, source, &list, pe)) return;
  for (size_t i = 0; i < count; i++) {
    hmci_get(ctx, (char *)dest + (ptrdiff_t)i * dst, (const char *)source + (ptrdiff_t)i * sst, block, pe, false);
  }
}

/* The local bytes are the program's again. */
static void end_blocks(shmem_ctx_t ctx) {
  struct hmc_shmem_ctx *found = hmci_context(ctx, NULL);
  hmci_strided_end(found);
  hmci_far_quiet(found);
}

static void strided_put(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t block,
                        size_t count, int pe) {
  hmci_put_blocks(ctx, dest, source, dst, sst, block, count, pe);
  if (count) end_blocks(ctx);
}

static void strided_get(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t block,
                        size_t count, int pe) {
  get_blocks(ctx, dest, source, dst, sst, block, count, pe);
  if (count) end_blocks(ctx);
}

/* ---- with a signal -------------------------------------------------------------------------------------------------- */

static void signal_word(shmem_ctx_t ctx, uint64_t *word, uint64_t signal, int operation, int pe) {
  if (operation == SHMEM_SIGNAL_ADD) {
    shmem_ctx_uint64_atomic_add(ctx, word, signal, pe);
  } else {
    shmem_ctx_uint64_atomic_set(ctx, word, signal, pe);
  }
}

/* Data first: near ones are stores before an atomic; far ones the engine keeps in order. */
static void put_signal(shmem_ctx_t ctx, void *dest, const void *source, size_t size, uint64_t *word, uint64_t signal,
                       int operation, int pe, bool wait) {
  place_t place = find("shmem_put_signal", ctx, dest, size, pe);
  if (place.near) {
    hmci_move(place.near, source, size);
    signal_word(ctx, word, signal, operation, pe);
    return;
  }
  if (hmci_pe.base[place.pe] || !hmci_is_host(hmci_memory_of(source))) { /* the engine does not have it as one */
    hmci_far_put(place.ctx, place.pe, place.offset, source, size, true);
    hmci_far_quiet_pe(place.ctx, place.pe);
    signal_word(ctx, word, signal, operation, pe);
    return;
  }
  place_t signalled = find("shmem_put_signal", ctx, word, sizeof *word, pe);
  hmci_far_put_signal(place.ctx, place.pe, place.offset, source, size, signalled.offset, signal,
                      operation == SHMEM_SIGNAL_ADD, wait);
}

void shmem_ctx_signal_add(shmem_ctx_t ctx, uint64_t *sig_addr, uint64_t signal, int pe) {
  signal_word(ctx, sig_addr, signal, SHMEM_SIGNAL_ADD, pe);
}
void shmem_ctx_signal_set(shmem_ctx_t ctx, uint64_t *sig_addr, uint64_t signal, int pe) {
  signal_word(ctx, sig_addr, signal, SHMEM_SIGNAL_SET, pe);
}
void shmem_signal_add(uint64_t *sig_addr, uint64_t signal, int pe) {
  signal_word(SHMEM_CTX_DEFAULT, sig_addr, signal, SHMEM_SIGNAL_ADD, pe);
}
void shmem_signal_set(uint64_t *sig_addr, uint64_t signal, int pe) {
  signal_word(SHMEM_CTX_DEFAULT, sig_addr, signal, SHMEM_SIGNAL_SET, pe);
}
uint64_t shmem_signal_fetch(const uint64_t *sig_addr) {
  if (hmci_is_device(sig_addr)) return hmci_device_word(sig_addr, sizeof *sig_addr);
  return __atomic_load_n(sig_addr, __ATOMIC_ACQUIRE);
}

PROFILED(shmem_ctx_signal_add);
PROFILED(shmem_ctx_signal_set);
PROFILED(shmem_signal_add);
PROFILED(shmem_signal_set);
PROFILED(shmem_signal_fetch);

/* ---- the families: with a context, and without ----------------------------------------------------------------------- */

/* `unit` bytes an element; T the type of the pointers, `after` what follows put or get in the name. */
#define DEFINE_CONTIGUOUS(pre, after, T, unit)                                                                         \
  void shmem_ctx_##pre##put##after(shmem_ctx_t ctx, T *dest, const T *source, size_t nelems, int pe) {                 \
    hmci_put(ctx, dest, source, nelems *(unit), pe, true);                                                             \
  }                                                                                                                    \
  void shmem_ctx_##pre##get##after(shmem_ctx_t ctx, T *dest, const T *source, size_t nelems, int pe) {                 \
    hmci_get(ctx, dest, source, nelems *(unit), pe, true);                                                             \
  }                                                                                                                    \
  void shmem_ctx_##pre##put##after##_nbi(shmem_ctx_t ctx, T *dest, const T *source, size_t nelems, int pe) {           \
    hmci_put(ctx, dest, source, nelems *(unit), pe, false);                                                            \
  }                                                                                                                    \
  void shmem_ctx_##pre##get##after##_nbi(shmem_ctx_t ctx, T *dest, const T *source, size_t nelems, int pe) {           \
    hmci_get(ctx, dest, source, nelems *(unit), pe, false);                                                            \
  }                                                                                                                    \
  void shmem_ctx_##pre##put##after##_signal(shmem_ctx_t ctx, T *dest, const T *source, size_t nelems,                  \
                                            uint64_t *sig_addr, uint64_t signal, int sig_op, int pe) {                 \
    put_signal(ctx, dest, source, nelems *(unit), sig_addr, signal, sig_op, pe, true);                                 \
  }                                                                                                                    \
  void shmem_ctx_##pre##put##after##_signal_nbi(shmem_ctx_t ctx, T *dest, const T *source, size_t nelems,              \
                                                uint64_t *sig_addr, uint64_t signal, int sig_op, int pe) {             \
    put_signal(ctx, dest, source, nelems *(unit), sig_addr, signal, sig_op, pe, false);                                \
  }                                                                                                                    \
  void shmem_##pre##put##after(T *dest, const T *source, size_t nelems, int pe) {                                      \
    hmci_put(SHMEM_CTX_DEFAULT, dest, source, nelems *(unit), pe, true);                                               \
  }                                                                                                                    \
  void shmem_##pre##get##after(T *dest, const T *source, size_t nelems, int pe) {                                      \
    hmci_get(SHMEM_CTX_DEFAULT, dest, source, nelems *(unit), pe, true);                                               \
  }                                                                                                                    \
  void shmem_##pre##put##after##_nbi(T *dest, const T *source, size_t nelems, int pe) {                                \
    hmci_put(SHMEM_CTX_DEFAULT, dest, source, nelems *(unit), pe, false);                                              \
  }                                                                                                                    \
  void shmem_##pre##get##after##_nbi(T *dest, const T *source, size_t nelems, int pe) {                                \
    hmci_get(SHMEM_CTX_DEFAULT, dest, source, nelems *(unit), pe, false);                                              \
  }                                                                                                                    \
  void shmem_##pre##put##after##_signal(T *dest, const T *source, size_t nelems, uint64_t *sig_addr, uint64_t signal,  \
                                        int sig_op, int pe) {                                                          \
    put_signal(SHMEM_CTX_DEFAULT, dest, source, nelems *(unit), sig_addr, signal, sig_op, pe, true);                   \
  }                                                                                                                    \
  void shmem_##pre##put##after##_signal_nbi(T *dest, const T *source, size_t nelems, uint64_t *sig_addr,               \
                                            uint64_t signal, int sig_op, int pe) {                                     \
    put_signal(SHMEM_CTX_DEFAULT, dest, source, nelems *(unit), sig_addr, signal, sig_op, pe, false);                  \
  }                                                                                                                    \
  PROFILED(shmem_ctx_##pre##put##after);                                                                               \
  PROFILED(shmem_ctx_##pre##get##after);                                                                               \
  PROFILED(shmem_ctx_##pre##put##after##_nbi);                                                                         \
  PROFILED(shmem_ctx_##pre##get##after##_nbi);                                                                         \
  PROFILED(shmem_ctx_##pre##put##after##_signal);                                                                      \
  PROFILED(shmem_ctx_##pre##put##after##_signal_nbi);                                                                  \
  PROFILED(shmem_##pre##put##after);                                                                                   \
  PROFILED(shmem_##pre##get##after);                                                                                   \
  PROFILED(shmem_##pre##put##after##_nbi);                                                                             \
  PROFILED(shmem_##pre##get##after##_nbi);                                                                             \
  PROFILED(shmem_##pre##put##after##_signal);                                                                          \
  PROFILED(shmem_##pre##put##after##_signal_nbi);

#define DEFINE_STRIDED(pre, after, T, unit)                                                                            \
  void shmem_ctx_##pre##iput##after(shmem_ctx_t ctx, T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst,           \
                                    size_t nelems, int pe) {                                                           \
    strided_put(ctx, dest, source, dst *(ptrdiff_t)(unit), sst *(ptrdiff_t)(unit), unit, nelems, pe);                  \
  }                                                                                                                    \
  void shmem_ctx_##pre##iget##after(shmem_ctx_t ctx, T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst,           \
                                    size_t nelems, int pe) {                                                           \
    strided_get(ctx, dest, source, dst *(ptrdiff_t)(unit), sst *(ptrdiff_t)(unit), unit, nelems, pe);                  \
  }                                                                                                                    \
  void shmem_ctx_##pre##ibput##after(shmem_ctx_t ctx, T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst,          \
                                     size_t bsize, size_t nblocks, int pe) {                                           \
    strided_put(ctx, dest, source, dst *(ptrdiff_t)(unit), sst *(ptrdiff_t)(unit), bsize *(unit), nblocks, pe);        \
  }                                                                                                                    \
  void shmem_ctx_##pre##ibget##after(shmem_ctx_t ctx, T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst,          \
                                     size_t bsize, size_t nblocks, int pe) {                                           \
    strided_get(ctx, dest, source, dst *(ptrdiff_t)(unit), sst *(ptrdiff_t)(unit), bsize *(unit), nblocks, pe);        \
  }                                                                                                                    \
  void shmem_##pre##iput##after(T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {       \
    shmem_ctx_##pre##iput##after(SHMEM_CTX_DEFAULT, dest, source, dst, sst, nelems, pe);                               \
  }                                                                                                                    \
  void shmem_##pre##iget##after(T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {       \
    shmem_ctx_##pre##iget##after(SHMEM_CTX_DEFAULT, dest, source, dst, sst, nelems, pe);                               \
  }                                                                                                                    \
  void shmem_##pre##ibput##after(T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize, size_t nblocks, \
                                 int pe) {                                                                             \
    shmem_ctx_##pre##ibput##after(SHMEM_CTX_DEFAULT, dest, source, dst, sst, bsize, nblocks, pe);                      \
  }                                                                                                                    \
  void shmem_##pre##ibget##after(T *dest, const T *source, ptrdiff_t dst, ptrdiff_t sst, size_t bsize, size_t nblocks, \
                                 int pe) {                                                                             \
    shmem_ctx_##pre##ibget##after(SHMEM_CTX_DEFAULT, dest, source, dst, sst, bsize, nblocks, pe);                      \
  }                                                                                                                    \
  PROFILED(shmem_ctx_##pre##iput##after);                                                                              \
  PROFILED(shmem_ctx_##pre##iget##after);                                                                              \
  PROFILED(shmem_ctx_##pre##ibput##after);                                                                             \
  PROFILED(shmem_ctx_##pre##ibget##after);                                                                             \
  PROFILED(shmem_##pre##iput##after);                                                                                  \
  PROFILED(shmem_##pre##iget##after);                                                                                  \
  PROFILED(shmem_##pre##ibput##after);                                                                                 \
  PROFILED(shmem_##pre##ibget##after);

#define DEFINE_TYPED(a, NAME, TYPE)                                                                                    \
  DEFINE_CONTIGUOUS(NAME##_, , TYPE, sizeof(TYPE))                                                                     \
  DEFINE_STRIDED(NAME##_, , TYPE, sizeof(TYPE))                                                                        \
  void shmem_ctx_##NAME##_p(shmem_ctx_t ctx, TYPE *dest, TYPE value, int pe) {                                         \
    place_t place = find("shmem_p", ctx, dest, sizeof value, pe);                                                      \
    if (place.near) {                                                                                                  \
      *(volatile TYPE *)(void *)place.near = value;                                                                    \
    } else {                                                                                                           \
      hmci_far_put(place.ctx, place.pe, place.offset, &value, sizeof value, true);                                     \
    }                                                                                                                  \
  }                                                                                                                    \
  TYPE shmem_ctx_##NAME##_g(shmem_ctx_t ctx, const TYPE *source, int pe) {                                             \
    place_t place = find("shmem_g", ctx, source, sizeof(TYPE), pe);                                                    \
    if (place.near) return *(volatile TYPE *)(void *)place.near;                                                       \
    TYPE value;                                                                                                        \
    hmci_far_get(place.ctx, place.pe, place.offset, &value, sizeof value, true);                                       \
    return value;                                                                                                      \
  }                                                                                                                    \
  void shmem_##NAME##_p(TYPE *dest, TYPE value, int pe) { shmem_ctx_##NAME##_p(SHMEM_CTX_DEFAULT, dest, value, pe); }  \
  TYPE shmem_##NAME##_g(const TYPE *source, int pe) { return shmem_ctx_##NAME##_g(SHMEM_CTX_DEFAULT, source, pe); }    \
  PROFILED(shmem_ctx_##NAME##_p);                                                                                      \
  PROFILED(shmem_ctx_##NAME##_g);                                                                                      \
  PROFILED(shmem_##NAME##_p);                                                                                          \
  PROFILED(shmem_##NAME##_g);

#define DEFINE_BITS(a, bits, bytes)                                                                                    \
  DEFINE_CONTIGUOUS(, bits, void, (size_t)bytes)                                                                       \
  DEFINE_STRIDED(, bits, void, (size_t)bytes)

HMC_SHMEM_RMA_TYPES(DEFINE_TYPED, )
HMC_SHMEM_SIZES(DEFINE_BITS, )
DEFINE_CONTIGUOUS(, mem, void, (size_t)1)
