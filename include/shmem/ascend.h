/* The host interface of SHMEM for Ascend: types, and the calls that are not one of OpenSHMEM under another name.
 *
 * <shmem/ascend.hpp>, which C++ programs get with <shmem.h>, has the rest: the typed families, default arguments and
 * the names without the prefix acl. Calls return 0 or a negative aclshmem_error_code_t. */
#ifndef SHMEM_ASCEND_H
#define SHMEM_ASCEND_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  ACLSHMEM_SUCCESS = 0,
  ACLSHMEM_INVALID_PARAM = -1,
  ACLSHMEM_INVALID_VALUE = -2,
  ACLSHMEM_SMEM_ERROR = -3,
  ACLSHMEM_INNER_ERROR = -4,
  ACLSHMEM_NOT_INITED = -5,
  ACLSHMEM_BOOTSTRAP_ERROR = -6,
  ACLSHMEM_TIMEOUT_ERROR = -7,
  ACLSHMEM_MALLOC_FAILED = -8,
  ACLSHMEM_DL_FUNC_FAILED = -9,
  ACLSHMEM_INNER_TIMEOUT = -10,
  ACLSHMEM_UNDER_API_UNLOAD = -11,
  ACLSHMEM_NOT_SUPPORTED = -100,
};
typedef int aclshmem_error_code_t;

/* How the PEs find each other: at an address (ip_port, or the unique id in comm_args), by MPI's launcher, by a unique
 * id. */
enum {
  ACLSHMEMX_INIT_WITH_DEFAULT = 1,
  ACLSHMEMX_INIT_WITH_MPI = 2,
  ACLSHMEMX_INIT_WITH_UNIQUEID = 8,
};
typedef unsigned aclshmemx_bootstrap_t;

typedef enum aclshmemx_init_status_t {
  ACLSHMEM_STATUS_NOT_INITIALIZED = 0,
  ACLSHMEM_STATUS_SHM_CREATED = 1,
  ACLSHMEM_STATUS_IS_INITIALIZED = 2,
  ACLSHMEM_STATUS_INVALID = 0x7fffffff,
} aclshmemx_init_status_t;

typedef enum data_op_engine_type_t {
  ACLSHMEM_DATA_OP_MTE = 1,
  ACLSHMEM_DATA_OP_SDMA = 2,
  ACLSHMEM_DATA_OP_ROCE = 4,
  ACLSHMEM_DATA_OP_UDMA = 8,
} data_op_engine_type_t;

enum {
  ACLSHMEM_TRANSPORT_MTE = 1,
  ACLSHMEM_TRANSPORT_ROCE = 2,
  ACLSHMEM_TRANSPORT_SDMA = 4,
  ACLSHMEM_TRANSPORT_UDMA = 8
};
typedef uint8_t aclshmem_transport_t;

enum { ACLSHMEM_TEAM_INVALID = -1, ACLSHMEM_TEAM_WORLD = 0 };
typedef enum aclshmem_mem_type_t { HOST_SIDE = 0, DEVICE_SIDE = 1 } aclshmem_mem_type_t;
enum { ACLSHMEM_SIGNAL_SET = 0, ACLSHMEM_SIGNAL_ADD = 1 };
enum {
  ACLSHMEM_CMP_EQ = 0,
  ACLSHMEM_CMP_NE = 1,
  ACLSHMEM_CMP_GT = 2,
  ACLSHMEM_CMP_GE = 3,
  ACLSHMEM_CMP_LT = 4,
  ACLSHMEM_CMP_LE = 5,
};
enum { NO_NBI = 0, NBI = 1 };

#define ACLSHMEM_MAX_PES 16384
#define ACLSHMEM_MAX_TEAMS 2048
#define ACLSHMEM_MAX_LOCAL_SIZE (40ULL * 1024 * 1024 * 1024)
#define ACLSHMEM_MAX_IP_PORT_LEN 64
#define ACLSHMEM_MAX_NAME_LEN 256
#define ACLSHMEM_MAJOR_VERSION 1
#define ACLSHMEM_MINOR_VERSION 1
#define ACLSHMEM_VENDOR_MAJOR_VER 1
#define ACLSHMEM_VENDOR_MINOR_VER 1
#define ACLSHMEM_VENDOR_PATCH_VER 1
#define ACLSHMEM_UNIQUE_ID_INNER_LEN 124
#define ACLSHMEM_SIGNAL_SIZE 8
#define DEFAULT_TIMEOUT 120
#ifndef ACLSHMEM_HOST_API
#define ACLSHMEM_HOST_API SHMEM_API
#endif

typedef shmem_team_t aclshmem_team_t;
typedef uint64_t aclshmemx_team_uniqueid_t;
typedef shmem_team_config_t aclshmem_team_config_t;
typedef struct aclshmem_handle_t {
  aclshmem_team_t team_id;
} aclshmem_handle_t;

/* A stream of the vendor's runtime, or NULL. Calls on a stream wait for what the stream has, and are done when they
 * return. */
typedef void *aclrtStream;

typedef struct aclshmem_init_optional_attr_t {
  int version;
  data_op_engine_type_t data_op_engine_type;
  uint32_t shm_init_timeout; /* seconds for all PEs to meet; DEFAULT_TIMEOUT: HMC_TIMEOUT says how long */
  uint32_t shm_create_timeout;
  uint32_t control_operation_timeout;
  int32_t sockFd;
} aclshmem_init_optional_attr_t;

#ifdef __cplusplus
#define HMC_SHMEM_DEFAULT(...) = __VA_ARGS__
#else
#define HMC_SHMEM_DEFAULT(...)
#endif

typedef struct aclshmemx_init_attr_t {
  int my_pe;
  int n_pes;
  char ip_port[ACLSHMEM_MAX_IP_PORT_LEN] HMC_SHMEM_DEFAULT({}); /* "tcp://ip:port": where PE 0 is met */
  uint64_t local_mem_size;                                      /* bytes of each PE's heap */
  aclshmem_init_optional_attr_t option_attr HMC_SHMEM_DEFAULT({(1 << 16) + sizeof(aclshmem_init_optional_attr_t),
                                                               ACLSHMEM_DATA_OP_MTE, DEFAULT_TIMEOUT, DEFAULT_TIMEOUT,
                                                               DEFAULT_TIMEOUT, -1});
  void *comm_args HMC_SHMEM_DEFAULT(nullptr); /* a unique id, or NULL */
  uint64_t instance_id HMC_SHMEM_DEFAULT(0);
} aclshmemx_init_attr_t;

typedef struct aclshmemx_uniqueid_t {
  int32_t version;
  int my_pe;
  int n_pes;
  char internal[ACLSHMEM_UNIQUE_ID_INNER_LEN];
} aclshmemx_uniqueid_t;
#define ACLSHMEM_UNIQUEID_VERSION ((1 << 16) + (int)sizeof(aclshmemx_uniqueid_t))
#define ACLSHMEM_UNIQUEID_INITIALIZER                                                                                  \
  {                                                                                                                    \
    ACLSHMEM_UNIQUEID_VERSION, 0, 0, { 0 }                                                                             \
  }

typedef struct aclshmem_prof_block_t {
  int64_t ccount[1024], cycles[1024];
} aclshmem_prof_block_t;
typedef struct aclshmem_prof_pe_t {
  int32_t pe_id;
  aclshmem_prof_block_t block_prof[64];
} aclshmem_prof_pe_t;
typedef struct aclshmem_instance_ctx {
  uint64_t id;
  void *instance;
} aclshmem_instance_ctx;

/* ---- starting -------------------------------------------------------------------------------------------------------- */

/* Joins the job of `attributes->n_pes` PEs. Errors: ACLSHMEM_INNER_ERROR (initialised already), ACLSHMEM_INVALID_PARAM
 * (NULL, my_pe >= n_pes), ACLSHMEM_INVALID_VALUE (a number out of its range, no such engine), ACLSHMEM_BOOTSTRAP_ERROR
 * (the PEs do not meet). */
SHMEM_API int aclshmemx_init_attr(aclshmemx_bootstrap_t bootstrap_flags, aclshmemx_init_attr_t *attributes);
SHMEM_API aclshmemx_init_status_t hmc_shmem_init_status(void);

/* For languages whose programs may be interrupted (Ctrl-C), as the Python package does it: while the thread that has set it
 * sleeps in a call of SHMEM, it calls `hook` about ten times a second. Where that returns anything but 0, or
 * hmc_shmem_interrupt is called, all calls of this PE that wait for others return, and what they should have brought is
 * undefined: such a PE must end, after shmem_finalize or without, and its launcher ends the job. NULL, the default: nothing
 * interrupts. Threads: the hook is set before shmem_init; any thread may interrupt. Never blocks. */
typedef int (*hmc_shmem_hook_t)(void);
SHMEM_API void hmc_shmem_set_interrupt_hook(hmc_shmem_hook_t hook);
SHMEM_API void hmc_shmem_interrupt(void);

/* PE 0 makes an id, which the program brings to all as bytes. It holds where PE 0 is met, and a secret. */
SHMEM_API int aclshmemx_get_uniqueid(aclshmemx_uniqueid_t *uid);
SHMEM_API int aclshmemx_set_attr_uniqueid_args(int my_pe, int n_pes, int64_t local_mem_size, aclshmemx_uniqueid_t *uid,
                                               aclshmemx_init_attr_t *aclshmem_attr);
SHMEM_API int aclshmem_finalize(void);
SHMEM_API void aclshmem_info_get_version(int *major, int *minor);
SHMEM_API void aclshmem_info_get_name(char *name);

/* The one instance has number 0. */
SHMEM_API int aclshmemx_instance_ctx_set(uint64_t instance_id);
SHMEM_API aclshmem_instance_ctx *aclshmemx_instance_ctx_get(void);

/* The key of certificates, and the level and receiver of log lines; before init. */
typedef int (*hmc_shmem_decrypt_t)(const char *cipher_text, size_t cipher_text_len, char *plain_text,
                                   size_t *plain_text_len);
SHMEM_API int32_t hmc_shmem_set_tls_key(const char *key, uint32_t key_len, const char *password, uint32_t password_len,
                                        hmc_shmem_decrypt_t decrypt);
SHMEM_API int32_t aclshmemx_set_extern_logger(void (*func)(int level, const char *msg));
SHMEM_API int32_t aclshmemx_set_log_level(int level);

/* Counters of kernels; the host has none, so all are zero. */
SHMEM_API void aclshmemx_show_prof(void);
SHMEM_API void hmc_shmem_get_prof(aclshmem_prof_pe_t **out_profs);
SHMEM_API uint64_t util_get_ffts_config(void);

/* Waits until the stream is idle, by the vendor's runtime where the process has one. */
SHMEM_API void hmc_shmem_stream_wait(aclrtStream stream);

/* Lets other PEs run, between two looks at a word. */
SHMEM_API void hmc_shmem_pause(void);

/* Where the host can read what is at `at`: there, or, for the device heap, in `room`, to which it copies the bytes. */
SHMEM_API const void *hmc_shmem_readable(const void *at, void *room, size_t size);

/* The heap of that side. Without a device heap (shmemx_set_device_heap) both sides are the heap in host memory. */
SHMEM_API void *hmc_shmem_side_malloc(size_t size, aclshmem_mem_type_t side);
SHMEM_API void *hmc_shmem_side_calloc(size_t count, size_t size, aclshmem_mem_type_t side);
SHMEM_API void *hmc_shmem_side_align(size_t alignment, size_t size, aclshmem_mem_type_t side);
SHMEM_API void *hmc_shmem_side_base(aclshmem_mem_type_t side); /* its first byte */

#ifdef __cplusplus
}
#endif
#endif
