/* The host interface of SHMEM for Ascend, for C++: all its generations beside OpenSHMEM, in one header.
 *
 * Where the two have a name in common with other arguments, both are here, distinguished by their arguments. Signals of
 * OpenSHMEM are uint64_t, those of Ascend int32_t (uint8_t * in its typed calls, which is the address of one too): the
 * width of the pointer's type is kept. DEVICE_SIDE is the device heap where the job has one (shmemx_set_device_heap);
 * else HOST_SIDE and DEVICE_SIDE are one, in host memory. Its first generation had some enumerators without the prefix ACL that OpenSHMEM
 * does not have: define SHMEM_ASCEND_G0 for those. */
#ifndef SHMEM_ASCEND_HPP
#define SHMEM_ASCEND_HPP

#include <shmem/ascend.h>
#include <shmem/library.h>
#include <shmem/memory.h>
#include <shmem/overloads.hpp>

typedef int (*aclshmem_decrypt_handler)(const char *cipherText, size_t cipherTextLen, char *plainText,
                                        size_t &plainTextLen);

/* ---- names without the prefix -------------------------------------------------------------------------------------- */

typedef aclshmem_error_code_t shmem_error_code_t;
typedef aclshmemx_bootstrap_t shmemx_bootstrap_t;
typedef aclshmemx_init_status_t shmem_init_status_t;
typedef aclshmem_handle_t shmem_handle_t;
typedef aclshmemx_init_attr_t shmem_init_attr_t;
typedef aclshmemx_uniqueid_t shmemx_uniqueid_t;

#ifdef SHMEM_ASCEND_G0
enum {
  SHMEM_SUCCESS = 0,
  SHMEM_INVALID_PARAM = -1,
  SHMEM_INVALID_VALUE = -2,
  SHMEM_SMEM_ERROR = -3,
  SHMEM_INNER_ERROR = -4,
  SHMEM_NOT_INITED = -5,
  SHMEM_BOOTSTRAP_ERROR = -6,
  SHMEM_TIMEOUT_ERROR = -7,
  SHMEM_NOT_SUPPORTED = -100,
  SHMEM_STATUS_NOT_INITIALIZED = 0,
  SHMEM_STATUS_SHM_CREATED = 1,
  SHMEM_STATUS_IS_INITIALIZED = 2,
  SHMEM_STATUS_INVALID = 0x7fffffff,
  SHMEM_DATA_OP_MTE = 1,
  SHMEM_DATA_OP_SDMA = 2,
  SHMEM_DATA_OP_ROCE = 4,
  SHMEM_TRANSPORT_MTE = 1,
  SHMEM_TRANSPORT_ROCE = 2,
  SHMEMX_INIT_WITH_UNIQUEID = ACLSHMEMX_INIT_WITH_UNIQUEID,
  SHMEMX_INIT_WITH_MPI = ACLSHMEMX_INIT_WITH_MPI,
  SHMEMX_INIT_WITH_DEFAULT = ACLSHMEMX_INIT_WITH_DEFAULT,
};
#endif

/* Defines a call under both names. */
#define HMC_SHMEM_BOTH(RET, name, alias, params, body) inline RET name params body inline RET alias params body

/* ---- starting ------------------------------------------------------------------------------------------------------ */

inline int shmem_init_attr(aclshmemx_bootstrap_t flags, aclshmemx_init_attr_t *attributes) {
  return aclshmemx_init_attr(flags, attributes);
}
HMC_SHMEM_BOTH(int, aclshmemx_init_status, shmem_init_status, (), { return hmc_shmem_init_status(); })
inline int shmem_get_uniqueid(aclshmemx_uniqueid_t *uid) { return aclshmemx_get_uniqueid(uid); }
inline int shmem_set_attr_uniqueid_args(int my_pe, int n_pes, int64_t local_mem_size, aclshmemx_uniqueid_t *uid,
                                        aclshmemx_init_attr_t *attributes) {
  return aclshmemx_set_attr_uniqueid_args(my_pe, n_pes, local_mem_size, uid, attributes);
}
HMC_SHMEM_BOTH(int, aclshmemx_finalize, shmemx_finalize, (uint64_t instance_id),
               { return instance_id == 0 ? aclshmem_finalize() : ACLSHMEM_NOT_SUPPORTED; })
inline void aclshmem_global_exit(int status) { shmem_global_exit(status); }
inline int32_t aclshmemx_set_conf_store_tls(bool enable, const char *tls_info, const uint32_t tls_info_len) {
  return shmem_set_conf_store_tls(enable, tls_info, tls_info_len);
}
HMC_SHMEM_BOTH(int32_t, aclshmemx_set_config_store_tls_key, shmem_set_config_store_tls_key,
               (const char *tls_pk, const uint32_t tls_pk_len, const char *tls_pk_pw, const uint32_t tls_pk_pw_len,
                const aclshmem_decrypt_handler h),
               {
                 char plain[1024];
                 size_t size = sizeof plain - 1;
                 if (!h || !tls_pk_pw_len) {
                   return hmc_shmem_set_tls_key(tls_pk, tls_pk_len, tls_pk_pw, tls_pk_pw_len, nullptr);
                 }
                 if (h(tls_pk_pw, tls_pk_pw_len, plain, size) != 0 || size >= sizeof plain) {
                   return ACLSHMEM_INVALID_PARAM;
                 }
                 return hmc_shmem_set_tls_key(tls_pk, tls_pk_len, plain, (uint32_t)size, nullptr);
               })
inline int32_t shmem_set_extern_logger(void (*func)(int level, const char *msg)) {
  return aclshmemx_set_extern_logger(func);
}
inline int32_t shmem_set_log_level(int level) { return aclshmemx_set_log_level(level); }
inline void aclshmemx_get_prof(aclshmem_prof_pe_t **out_profs, bool verbose = false) {
  (void)verbose;
  hmc_shmem_get_prof(out_profs);
}
inline uint64_t shmemx_get_ffts_config() { return util_get_ffts_config(); }

/* ---- the heap ------------------------------------------------------------------------------------------------------- */

inline void *aclshmemx_malloc(size_t size, aclshmem_mem_type_t side = DEVICE_SIDE) {
  return hmc_shmem_side_malloc(size, side);
}
inline void *aclshmemx_calloc(size_t count, size_t size, aclshmem_mem_type_t side = DEVICE_SIDE) {
  return hmc_shmem_side_calloc(count, size, side);
}
inline void *aclshmemx_align(size_t alignment, size_t size, aclshmem_mem_type_t side = DEVICE_SIDE) {
  return hmc_shmem_side_align(alignment, size, side);
}
inline void aclshmemx_free(void *pointer, aclshmem_mem_type_t = DEVICE_SIDE) { shmem_free(pointer); }
inline void *aclshmemx_get_heap_base(aclshmem_mem_type_t side = DEVICE_SIDE) { return hmc_shmem_side_base(side); }
inline void *aclshmem_malloc(size_t size) { return aclshmemx_malloc(size); }
inline void *aclshmem_calloc(size_t nmemb, size_t size) { return aclshmemx_calloc(nmemb, size); }
inline void *aclshmem_align(size_t alignment, size_t size) { return aclshmemx_align(alignment, size); }
inline void aclshmem_free(void *pointer) { shmem_free(pointer); }
inline void *aclshmem_ptr(void *pointer, int pe) { return shmem_ptr(pointer, pe); }

/* ---- teams ---------------------------------------------------------------------------------------------------------- */

inline int aclshmem_my_pe() { return shmem_my_pe(); }
inline int aclshmem_n_pes() { return shmem_n_pes(); }
inline int aclshmem_team_my_pe(aclshmem_team_t team) { return shmem_team_my_pe(team); }
inline int aclshmem_team_n_pes(aclshmem_team_t team) { return shmem_team_n_pes(team); }
inline int aclshmem_team_split_strided(aclshmem_team_t parent_team, int pe_start, int pe_stride, int pe_size,
                                       aclshmem_team_t *new_team) {
  if (new_team) *new_team = ACLSHMEM_TEAM_INVALID;
  if (pe_stride < 1) return ACLSHMEM_INVALID_PARAM;
  return shmem_team_split_strided(parent_team, pe_start, pe_stride, pe_size, new_team);
}
inline int aclshmem_team_split_2d(aclshmem_team_t parent_team, int x_range, aclshmem_team_t *x_team,
                                  aclshmem_team_t *y_team) {
  return shmem_team_split_2d(parent_team, x_range, x_team, y_team);
}
inline int aclshmem_team_translate_pe(aclshmem_team_t src_team, int src_pe, aclshmem_team_t dest_team) {
  return shmem_team_translate_pe(src_team, src_pe, dest_team);
}
inline int aclshmem_team_get_config(aclshmem_team_t team, aclshmem_team_config_t *config) {
  return config ? shmem_team_get_config(team, config) : static_cast<int>(ACLSHMEM_INVALID_PARAM);
}
inline void aclshmem_team_destroy(aclshmem_team_t team) { shmem_team_destroy(team); }

inline void aclshmem_barrier(aclshmem_team_t team) { hmc_shmem_team_barrier(team); }
inline void aclshmem_barrier_all() { shmem_barrier_all(); }
inline void aclshmem_sync(aclshmem_team_t team) { shmem_team_sync(team); }
inline void aclshmem_sync_all() { shmem_sync_all(); }

/* ---- moving bytes --------------------------------------------------------------------------------------------------- */

inline void aclshmem_putmem(void *dst, void *src, size_t elem_size, int32_t pe) {
  shmem_putmem(dst, src, elem_size, pe);
  shmem_quiet();
}
inline void aclshmem_getmem(void *dst, void *src, size_t elem_size, int32_t pe) {
  shmem_getmem(dst, src, elem_size, pe);
}
inline void aclshmem_putmem_nbi(void *dst, void *src, size_t elem_size, int32_t pe) {
  shmem_putmem_nbi(dst, src, elem_size, pe);
}
inline void aclshmem_getmem_nbi(void *dst, void *src, size_t elem_size, int32_t pe) {
  shmem_getmem_nbi(dst, src, elem_size, pe);
}

/* A signal of 32 bits, after what was put before. */
inline void hmc_shmem_signal32(void *sig_addr, int32_t signal, int sig_op, int pe) {
  shmem_fence();
  if (sig_op == ACLSHMEM_SIGNAL_ADD) {
    shmem_int32_atomic_add(static_cast<int32_t *>(sig_addr), signal, pe);
  } else {
    shmem_int32_atomic_set(static_cast<int32_t *>(sig_addr), signal, pe);
  }
}
#define HMC_SHMEM_PUTMEM_SIGNAL(name, POINTER)                                                                         \
  inline void name(void *dst, void *src, size_t elem_size, POINTER sig_addr, int32_t signal, int sig_op, int pe) {     \
    shmem_putmem(dst, src, elem_size, pe);                                                                             \
    hmc_shmem_signal32(sig_addr, signal, sig_op, pe);                                                                  \
  }
HMC_SHMEM_PUTMEM_SIGNAL(aclshmemx_putmem_signal, void *)
HMC_SHMEM_PUTMEM_SIGNAL(aclshmemx_putmem_signal_nbi, void *)
HMC_SHMEM_PUTMEM_SIGNAL(shmem_putmem_signal, void *)
HMC_SHMEM_PUTMEM_SIGNAL(shmem_putmem_signal_nbi, void *)
HMC_SHMEM_PUTMEM_SIGNAL(shmem_putmem_signal, int32_t *)
HMC_SHMEM_PUTMEM_SIGNAL(shmem_putmem_signal_nbi, int32_t *)
HMC_SHMEM_PUTMEM_SIGNAL(shmem_putmem_signal, uint8_t *)
HMC_SHMEM_PUTMEM_SIGNAL(shmem_putmem_signal_nbi, uint8_t *)
#undef HMC_SHMEM_PUTMEM_SIGNAL

#define HMC_SHMEM_ASCEND_TYPES(X)                                                                                      \
  X(float, float)                                                                                                      \
  X(double, double)                                                                                                    \
  X(int8, int8_t)                                                                                                      \
  X(int16, int16_t)                                                                                                    \
  X(int32, int32_t)                                                                                                    \
  X(int64, int64_t)                                                                                                    \
  X(uint8, uint8_t)                                                                                                    \
  X(uint16, uint16_t)                                                                                                  \
  X(uint32, uint32_t)                                                                                                  \
  X(uint64, uint64_t)                                                                                                  \
  X(char, char)

/* Under the name of the newer generations, of the seed's, and of its alias. */
#define HMC_SHMEM_ASCEND_MOVE(direction, after, NAME, TYPE)                                                            \
  inline void aclshmem_##NAME##_##direction##after(TYPE *dest, TYPE *source, size_t nelems, int pe) {                  \
    shmem_##NAME##_##direction##after(dest, source, nelems, pe);                                                       \
  }                                                                                                                    \
  inline void aclshmem_##direction##_##NAME##_mem##after(TYPE *dest, TYPE *source, size_t nelems, int pe) {            \
    shmem_##NAME##_##direction##after(dest, source, nelems, pe);                                                       \
  }                                                                                                                    \
  inline void shmem_##direction##_##NAME##_mem##after(TYPE *dest, TYPE *source, size_t nelems, int pe) {               \
    shmem_##NAME##_##direction##after(dest, source, nelems, pe);                                                       \
  }
#define HMC_SHMEM_ASCEND_SIGNAL(after, NAME, TYPE, POINTER)                                                            \
  inline void aclshmem_##NAME##_put_signal##after(TYPE *dst, TYPE *src, size_t nelems, POINTER sig_addr,               \
                                                  int32_t signal, int sig_op, int pe) {                                \
    shmem_##NAME##_put(dst, src, nelems, pe);                                                                          \
    hmc_shmem_signal32(sig_addr, signal, sig_op, pe);                                                                  \
  }                                                                                                                    \
  inline void aclshmem_put_##NAME##_mem_signal##after(TYPE *dst, TYPE *src, size_t nelems, POINTER sig_addr,           \
                                                      int32_t signal, int sig_op, int pe) {                            \
    shmem_##NAME##_put(dst, src, nelems, pe);                                                                          \
    hmc_shmem_signal32(sig_addr, signal, sig_op, pe);                                                                  \
  }                                                                                                                    \
  inline void shmem_put_##NAME##_mem_signal##after(TYPE *dst, TYPE *src, size_t nelems, POINTER sig_addr,              \
                                                   int32_t signal, int sig_op, int pe) {                               \
    shmem_##NAME##_put(dst, src, nelems, pe);                                                                          \
    hmc_shmem_signal32(sig_addr, signal, sig_op, pe);                                                                  \
  }
#define HMC_SHMEM_ASCEND_RMA(NAME, TYPE)                                                                               \
  HMC_SHMEM_ASCEND_MOVE(put, , NAME, TYPE)                                                                             \
  HMC_SHMEM_ASCEND_MOVE(put, _nbi, NAME, TYPE)                                                                         \
  HMC_SHMEM_ASCEND_MOVE(get, , NAME, TYPE)                                                                             \
  HMC_SHMEM_ASCEND_MOVE(get, _nbi, NAME, TYPE)                                                                         \
  HMC_SHMEM_ASCEND_SIGNAL(, NAME, TYPE, uint8_t *)                                                                     \
  HMC_SHMEM_ASCEND_SIGNAL(_nbi, NAME, TYPE, uint8_t *)                                                                 \
  HMC_SHMEM_ASCEND_SIGNAL(, NAME, TYPE, int32_t *)                                                                     \
  HMC_SHMEM_ASCEND_SIGNAL(_nbi, NAME, TYPE, int32_t *)                                                                 \
  inline void aclshmem_##NAME##_p(TYPE *dst, const TYPE value, int pe) { shmem_##NAME##_p(dst, value, pe); }           \
  inline TYPE aclshmem_##NAME##_g(TYPE *src, int32_t pe) { return shmem_##NAME##_g(src, pe); }                         \
  inline void aclshmem_##NAME##_iput(TYPE *dest, TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {  \
    shmem_##NAME##_iput(dest, source, dst, sst, nelems, pe);                                                           \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_iget(TYPE *dest, TYPE *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {  \
    shmem_##NAME##_iget(dest, source, dst, sst, nelems, pe);                                                           \
  }
HMC_SHMEM_ASCEND_TYPES(HMC_SHMEM_ASCEND_RMA)

#define HMC_SHMEM_ASCEND_SIZED(a, BITS, BYTES)                                                                         \
  inline void aclshmem_put##BITS(void *dst, void *src, uint32_t elem_size, int32_t pe) {                               \
    shmem_put##BITS(dst, src, elem_size, pe);                                                                          \
  }                                                                                                                    \
  inline void aclshmem_get##BITS(void *dst, void *src, uint32_t elem_size, int32_t pe) {                               \
    shmem_get##BITS(dst, src, elem_size, pe);                                                                          \
  }                                                                                                                    \
  inline void aclshmem_put##BITS##_nbi(void *dst, void *src, uint32_t elem_size, int32_t pe) {                         \
    shmem_put##BITS##_nbi(dst, src, elem_size, pe);                                                                    \
  }                                                                                                                    \
  inline void aclshmem_get##BITS##_nbi(void *dst, void *src, uint32_t elem_size, int32_t pe) {                         \
    shmem_get##BITS##_nbi(dst, src, elem_size, pe);                                                                    \
  }                                                                                                                    \
  inline void aclshmem_iput##BITS(void *dest, void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {     \
    shmem_iput##BITS(dest, source, dst, sst, nelems, pe);                                                              \
  }                                                                                                                    \
  inline void aclshmem_iget##BITS(void *dest, void *source, ptrdiff_t dst, ptrdiff_t sst, size_t nelems, int pe) {     \
    shmem_iget##BITS(dest, source, dst, sst, nelems, pe);                                                              \
  }                                                                                                                    \
  inline void aclshmem_put##BITS##_signal(void *dst, void *src, size_t nelems, int32_t *sig_addr, int32_t signal,      \
                                          int sig_op, int pe) {                                                        \
    shmem_put##BITS(dst, src, nelems, pe);                                                                             \
    hmc_shmem_signal32(sig_addr, signal, sig_op, pe);                                                                  \
  }                                                                                                                    \
  inline void aclshmem_put##BITS##_signal_nbi(void *dst, void *src, size_t nelems, int32_t *sig_addr, int32_t signal,  \
                                              int sig_op, int pe) {                                                    \
    shmem_put##BITS(dst, src, nelems, pe);                                                                             \
    hmc_shmem_signal32(sig_addr, signal, sig_op, pe);                                                                  \
  }
HMC_SHMEM_SIZES(HMC_SHMEM_ASCEND_SIZED, )

/* ---- on a stream ------------------------------------------------------------------------------------------------------ */

HMC_SHMEM_BOTH(void, aclshmemx_putmem_on_stream, shmemx_putmem_on_stream,
               (void *dst, void *src, size_t elem_size, int32_t pe, aclrtStream stream), {
                 hmc_shmem_stream_wait(stream);
                 aclshmem_putmem(dst, src, elem_size, pe);
               })
HMC_SHMEM_BOTH(void, aclshmemx_getmem_on_stream, shmemx_getmem_on_stream,
               (void *dst, void *src, size_t elem_size, int32_t pe, aclrtStream stream), {
                 hmc_shmem_stream_wait(stream);
                 aclshmem_getmem(dst, src, elem_size, pe);
               })
HMC_SHMEM_BOTH(void, aclshmemx_signal_op_on_stream, shmem_signal_op_on_stream,
               (int32_t * sig_addr, int32_t signal, int sig_op, int pe, aclrtStream stream), {
                 hmc_shmem_stream_wait(stream);
                 hmc_shmem_signal32(sig_addr, signal, sig_op, pe);
               })
HMC_SHMEM_BOTH(void, aclshmem_signal_wait_until, shmem_signal_wait_until,
               (int32_t * sig_addr, int cmp, int32_t cmp_val), { shmem_int32_wait_until(sig_addr, cmp, cmp_val); })
HMC_SHMEM_BOTH(void, aclshmemx_signal_wait_until_on_stream, shmem_signal_wait_until_on_stream,
               (int32_t * sig_addr, int cmp, int32_t cmp_val, aclrtStream stream), {
                 hmc_shmem_stream_wait(stream);
                 shmem_int32_wait_until(sig_addr, cmp, cmp_val);
               })
HMC_SHMEM_BOTH(void, aclshmemx_barrier_on_stream, shmemx_barrier_on_stream, (aclshmem_team_t team, aclrtStream stream),
               {
                 hmc_shmem_stream_wait(stream);
                 hmc_shmem_team_barrier(team);
               })
HMC_SHMEM_BOTH(void, aclshmemx_barrier_all_on_stream, shmemx_barrier_all_on_stream, (aclrtStream stream), {
  hmc_shmem_stream_wait(stream);
  shmem_barrier_all();
})
HMC_SHMEM_BOTH(void, aclshmemx_quiet_on_stream, shmemx_quiet_on_stream, (aclrtStream stream), {
  hmc_shmem_stream_wait(stream);
  shmem_quiet();
})
HMC_SHMEM_BOTH(void, aclshmemx_handle_wait, shmem_handle_wait, (aclshmem_handle_t handle, aclrtStream stream), {
  hmc_shmem_stream_wait(stream);
  hmc_shmem_team_barrier(handle.team_id);
})

/* Scratch memory of the copy engines: there is none to set here. */
inline int hmc_shmem_engine_config(uint64_t, uint32_t ub_size, uint32_t) {
  return ub_size ? ACLSHMEM_SUCCESS : ACLSHMEM_INVALID_PARAM;
}
#define HMC_SHMEM_ENGINE(name)                                                                                         \
  inline int name(uint64_t offset, uint32_t ub_size, uint32_t sync_id) {                                               \
    return hmc_shmem_engine_config(offset, ub_size, sync_id);                                                          \
  }
HMC_SHMEM_ENGINE(aclshmemx_set_mte_config)
HMC_SHMEM_ENGINE(aclshmemx_set_sdma_config)
HMC_SHMEM_ENGINE(aclshmemx_set_rdma_config)
HMC_SHMEM_ENGINE(aclshmemx_set_udma_config)
HMC_SHMEM_ENGINE(shmem_mte_set_ub_params)
HMC_SHMEM_ENGINE(shmem_rdma_set_ub_params)
#undef HMC_SHMEM_ENGINE

/* ---- waiting: results by out parameter --------------------------------------------------------------------------------- */

/* Looks at `n` words; `step` 0: all against values[0]. Lists what compares; returns how many, of how many that count. */
template <typename T>
inline size_t hmc_shmem_search(T *ivars, size_t n, const int *status, int cmp, const T *values, size_t step,
                               size_t *indices, size_t *considered) {
  size_t found = 0;
  *considered = 0;
  for (size_t i = 0; i < n; i++) {
    if (status && status[i]) continue;
    ++*considered;
    T room, now = *static_cast<const volatile T *>(hmc_shmem_readable(&ivars[i], &room, sizeof room));
    T value = values[i * step];
    bool holds = cmp == ACLSHMEM_CMP_EQ   ? now == value
                 : cmp == ACLSHMEM_CMP_NE ? now != value
                 : cmp == ACLSHMEM_CMP_GT ? now > value
                 : cmp == ACLSHMEM_CMP_GE ? now >= value
                 : cmp == ACLSHMEM_CMP_LT ? now < value
                                          : now <= value;
    if (!holds) continue;
    if (indices) indices[found] = i;
    found++;
  }
  shmem_fence(); /* what was written before the word is seen after it */
  return found;
}
template <typename T>
inline size_t hmc_shmem_first(T *ivars, size_t n, const int *status, int cmp, const T *values, size_t step, bool wait) {
  for (size_t i = 0, considered = 1, any; considered; hmc_shmem_pause()) {
    any = SIZE_MAX;
    considered = 0;
    for (i = 0; i < n && any == SIZE_MAX; i++) {
      if (status && status[i]) continue;
      considered++;
      size_t one;
      if (hmc_shmem_search(&ivars[i], 1, nullptr, cmp, &values[i * step], 0, nullptr, &one)) any = i;
    }
    if (any != SIZE_MAX || !wait) return any;
  }
  return SIZE_MAX;
}
template <typename T>
inline size_t hmc_shmem_some(T *ivars, size_t n, size_t *indices, const int *status, int cmp, const T *values,
                             size_t step, bool wait) {
  for (size_t considered;; hmc_shmem_pause()) {
    size_t found = hmc_shmem_search(ivars, n, status, cmp, values, step, indices, &considered);
    if (found || !considered || !wait) return found;
  }
}
template <typename T>
inline bool hmc_shmem_all(T *ivars, size_t n, const int *status, int cmp, const T *values, size_t step, bool wait) {
  for (size_t considered;; hmc_shmem_pause()) {
    bool all = hmc_shmem_search<T>(ivars, n, status, cmp, values, step, nullptr, &considered) == considered;
    if (all || !wait) return all;
  }
}

#define HMC_SHMEM_ASCEND_WAIT_TYPES(X)                                                                                 \
  X(float, float)                                                                                                      \
  X(int8, int8_t)                                                                                                      \
  X(int16, int16_t)                                                                                                    \
  X(int32, int32_t)                                                                                                    \
  X(int64, int64_t)                                                                                                    \
  X(uint8, uint8_t)                                                                                                    \
  X(uint16, uint16_t)                                                                                                  \
  X(uint32, uint32_t)                                                                                                  \
  X(uint64, uint64_t)                                                                                                  \
  X(char, char)

#define HMC_SHMEM_ASCEND_WAIT(NAME, T)                                                                                 \
  inline void aclshmem_##NAME##_wait_until(T *ivar, int cmp, T value) {                                                \
    hmc_shmem_all(ivar, 1, nullptr, cmp, &value, 0, true);                                                             \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait(T *ivar, T value) {                                                               \
    hmc_shmem_all(ivar, 1, nullptr, ACLSHMEM_CMP_NE, &value, 0, true);                                                 \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_test(T *ivars, int cmp, T value, int *res_out) {                                       \
    *res_out = hmc_shmem_all(ivars, 1, nullptr, cmp, &value, 0, false);                                                \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait_until_all(T *ivars, size_t n, const int *status, int cmp, T value) {              \
    hmc_shmem_all(ivars, n, status, cmp, &value, 0, true);                                                             \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait_until_any(T *ivars, size_t n, const int *status, int cmp, T value,                \
                                               size_t *res_out) {                                                      \
    *res_out = hmc_shmem_first(ivars, n, status, cmp, &value, 0, true);                                                \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_test_any(T *ivars, size_t n, const int *status, int cmp, T value, size_t *res_out) {   \
    *res_out = hmc_shmem_first(ivars, n, status, cmp, &value, 0, false);                                               \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait_until_some(T *ivars, size_t n, size_t *indices, const int *status, int cmp,       \
                                                T value, size_t *res_out) {                                            \
    *res_out = hmc_shmem_some(ivars, n, indices, status, cmp, &value, 0, true);                                        \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_test_some(T *ivars, size_t n, size_t *indices, const int *status, int cmp, T value,    \
                                          size_t *res_out) {                                                           \
    *res_out = hmc_shmem_some(ivars, n, indices, status, cmp, &value, 0, false);                                       \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait_until_all_vector(T *ivars, size_t n, const int *status, int cmp, T *values) {     \
    hmc_shmem_all<T>(ivars, n, status, cmp, values, 1, true);                                                          \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_test_all_vector(T *ivars, size_t n, const int *status, int cmp, T *values,             \
                                                int *res_out) {                                                        \
    *res_out = hmc_shmem_all<T>(ivars, n, status, cmp, values, 1, false);                                              \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait_until_any_vector(T *ivars, size_t n, const int *status, int cmp, T *values,       \
                                                      size_t *res_out) {                                               \
    *res_out = hmc_shmem_first<T>(ivars, n, status, cmp, values, 1, true);                                             \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_test_any_vector(T *ivars, size_t n, const int *status, int cmp, T *values,             \
                                                size_t *res_out) {                                                     \
    *res_out = hmc_shmem_first<T>(ivars, n, status, cmp, values, 1, false);                                            \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_wait_until_some_vector(T *ivars, size_t n, size_t *indices, const int *status,         \
                                                       int cmp, T *values, size_t *res_out) {                          \
    *res_out = hmc_shmem_some<T>(ivars, n, indices, status, cmp, values, 1, true);                                     \
  }                                                                                                                    \
  inline void aclshmem_##NAME##_test_some_vector(T *ivars, size_t n, size_t *indices, const int *status, int cmp,      \
                                                 T *values, size_t *res_out) {                                         \
    *res_out = hmc_shmem_some<T>(ivars, n, indices, status, cmp, values, 1, false);                                    \
  }
HMC_SHMEM_ASCEND_WAIT_TYPES(HMC_SHMEM_ASCEND_WAIT)

#undef HMC_SHMEM_BOTH
#endif
