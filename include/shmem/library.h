/* Starting, ending and asking. */
#ifndef SHMEM_LIBRARY_H
#define SHMEM_LIBRARY_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Joins the job: finds the other PEs through the launcher (hmcrun, PMIx, torchrun's environment; a single PE without
 * any), makes the symmetric heap, and returns when all PEs have done so. Further calls count, and shmem_finalize counts
 * back. A failure ends the process with a text: the call has no way to return one. Threads: one. Blocking: at most
 * HMC_TIMEOUT for each step. */
SHMEM_API void shmem_init(void);

/* The same, with a thread level (SHMEM_THREAD_*); `provided` gets what is given, which is at least what was asked for.
 * Returns 0. */
SHMEM_API int shmem_init_thread(int requested, int *provided);
SHMEM_API void shmem_query_thread(int *provided);
SHMEM_API void shmem_query_initialized(int *initialized);

/* Completes all operations, waits for all PEs, and gives the heap back when it has been called as often as the init
 * routines. Returns 0, or a negative error code of SHMEM for Ascend where it was not initialised. */
SHMEM_API int shmem_finalize(void);

/* Ends all PEs of the job with `status`, from any PE. */
SHMEM_API void shmem_global_exit(int status) SHMEM_NORETURN;

SHMEM_API int shmem_my_pe(void);
SHMEM_API int shmem_n_pes(void);

/* 1 where `pe` can be reached, and where `address` is symmetric and can be reached at `pe`. */
SHMEM_API int shmem_pe_accessible(int pe);
SHMEM_API int shmem_addr_accessible(const void *address, int pe);

SHMEM_API void shmem_info_get_version(int *major, int *minor);
/* `name` has room for SHMEM_MAX_NAME_LEN bytes. */
SHMEM_API void shmem_info_get_name(char *name);

/* For tools that watch calls: the library itself does nothing. Levels: 0 or less turns profiling off, 1 on, 2 on with a
 * flush of the tool's buffers; what follows is the tool's. */
SHMEM_API void shmem_pcontrol(const int level, ...);

/* A property for shmem_query_interoperability: communication of MPI makes progress without calls of MPI. */
#define SHMEM_PROGRESS_MPI 1

/* 1 where the library has the property, else 0. HMC does not know of MPI, so SHMEM_PROGRESS_MPI gives 0. */
SHMEM_API int shmem_query_interoperability(int property);

/* What shmem_init_with_attr takes: 0 in a field means the default. */
typedef struct shmem_attr_t {
  uint64_t mem_size; /* bytes of the symmetric heap of each PE; 0: SHMEM_SYMMETRIC_SIZE, else 16 GiB */
} shmem_attr_t;

/* shmem_init with attributes; NULL: none. Returns 0, or a negative error code where the library was initialised
 * before. */
SHMEM_API int shmem_init_with_attr(const shmem_attr_t *attributes);

/* Whether the bootstrap and the connections between hosts are authenticated and encrypted. Before init only; 0, or a
 * negative error code afterwards. `tls_info` may be NULL; SHMEM_TLS_DISABLE=1 in the environment disables too. */
SHMEM_API int32_t shmem_set_conf_store_tls(int enable, const char *tls_info, uint32_t tls_info_len);

#ifdef __cplusplus
}
#endif
#endif
