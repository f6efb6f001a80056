/* Types of BM, the pool (smem_bm.h), in all generations of the interface. */
#ifndef SMEM_BM_DEF_H
#define SMEM_BM_DEF_H

#include "smem.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void *smem_bm_t;

#define SMEM_BM_TIMEOUT_MAX UINT32_MAX
#define SMEM_TLS_PATH_SIZE 256
#define SMEM_BM_INIT_GVM_FLAG (1ULL << 1)
#define SMEM_BM_PERFORMANCE_MODE_FLAG_INDEX 7U
#define SMEM_BM_PERFORMANCE_MODE_FLAG_LEN 1U
#define SMEM_BM_BIND_NUMA_FLAG_INDEX 0U
#define SMEM_BM_BIND_NUMA_FLAG_LEN 7U
#define SMEM_BM_FLAG_CREATE_WITH_SHM (1U << 8)

/* How members may reach each other: a mask. HMC finds the fastest way that is allowed by itself; HOST_TCP alone keeps to
 * tcp, HOST_RDMA and DEVICE_RDMA alone to RDMA. */
typedef enum {
  SMEMB_DATA_OP_SDMA = 1U << 0,
  SMEMB_DATA_OP_HOST_RDMA = 1U << 1,
  SMEMB_DATA_OP_ROCE = 1U << 1, /* its name in the first generation */
  SMEMB_DATA_OP_HOST_TCP = 1U << 2,
  SMEMB_DATA_OP_DEVICE_RDMA = 1U << 3,
  SMEMB_DATA_OP_HOST_URMA = 1U << 4,
  SMEMB_DATA_OP_BUTT
} smem_bm_data_op_type;

/* From where to where. L: device memory of this process; H: host memory of this process; G: the pool, or GH where its
 * host part is meant and G its device part. */
typedef enum {
  SMEMB_COPY_L2G = 0,
  SMEMB_COPY_G2L = 1,
  SMEMB_COPY_G2H = 2,
  SMEMB_COPY_H2G = 3,
  SMEMB_COPY_L2GH = 4,
  SMEMB_COPY_GH2L = 5,
  SMEMB_COPY_GH2H = 6,
  SMEMB_COPY_H2GH = 7,
  SMEMB_COPY_G2G = 8,
  SMEMB_COPY_AUTO = 9, /* as the two addresses say */
  SMEMB_COPY_BUTT
} smem_bm_copy_type;

typedef enum {
  SMEM_MEM_TYPE_LOCAL_DEVICE = 0,
  SMEM_MEM_TYPE_LOCAL_HOST = 1,
  SMEM_MEM_TYPE_DEVICE = 2,
  SMEM_MEM_TYPE_HOST = 3,
  SMEM_MEM_TYPE_BUTT
} smem_bm_mem_type;

/* Certificates. In storeTlsConfig: of the store's connections, in place of the job's secret. In hcomTlsConfig, where
 * only tlsEnable counts: members prove to each other a secret that the store gives to those alone whose certificates it
 * took. */
typedef struct {
  bool tlsEnable;
  char caPath[SMEM_TLS_PATH_SIZE];      /* PEM files of who may sign, separated by commas */
  char crlPath[SMEM_TLS_PATH_SIZE];     /* of revoked certificates; "": none */
  char certPath[SMEM_TLS_PATH_SIZE];    /* one's own, with its chain */
  char keyPath[SMEM_TLS_PATH_SIZE];     /* its private key */
  char keyPassPath[SMEM_TLS_PATH_SIZE]; /* a file with the key's password; "": the key is not encrypted */
  char packagePath[SMEM_TLS_PATH_SIZE]; /* taken and not used */
  char decrypterLibPath
      [SMEM_TLS_PATH_SIZE]; /* a library whose DecryptPassword(cipher text, its bytes, room, bytes of the
                                                room) makes plain text of the password; "": it is plain */
} smem_tls_config;

typedef struct {
  uint32_t initTimeout;             /* seconds, of smem_bm_init */
  uint32_t createTimeout;           /* seconds, of smem_bm_create and join */
  uint32_t controlOperationTimeout; /* seconds, of all else */
  union {
    bool startConfigStore; /* rank 0, or with autoRanking who owns the URL's address, serves the store */
    bool startConfigStoreServer;
  };
  bool startConfigStoreOnly; /* serve the store, and be no member */
  bool dynamicWorldSize;     /* taken; members always come and go as they like */
  bool unifiedAddressSpace;  /* must be true */
  bool autoRanking;          /* the store gives the rank; also where rankId stays 65535 */
  uint16_t rankId;
  uint32_t flags;
  char hcomUrl[64]; /* "tcp://ip:port" or an address: where peers reach this member; "", 0.0.0.0: found by itself */
  smem_tls_config hcomTlsConfig;
  smem_tls_config storeTlsConfig;
} smem_bm_config_t;

typedef struct {
  uint64_t maxDramSize; /* the most that any member brings; 0: from this member's */
  uint64_t maxHbmSize;
  uint64_t localDRAMSize;
  uint64_t localHBMSize;
  smem_bm_data_op_type dataOpType;
  uint32_t flags;
  char tag[32];
  char tagOpInfo[256];
  int dramShmFd; /* a memfd for the host part, with SMEM_BM_FLAG_CREATE_WITH_SHM */
} smem_bm_create_option_t;

typedef struct {
  const void *src;
  void *dest;
  size_t dataSize;
} smem_copy_params;

typedef struct {
#ifdef __cplusplus
  const void *const *sources; /* takes void ** and const void **, as programs of either generation have it */
  void *const *destinations;
#else
  void **sources;
  void **destinations;
#endif
  const uint64_t *dataSizes;
  uint32_t batchSize;
} smem_batch_copy_params;

typedef struct {
  const void *src;
  uint64_t spitch; /* bytes from one row to the next */
  void *dest;
  uint64_t dpitch;
  uint64_t width; /* bytes of a row */
  uint64_t height;
} smem_copy_2d_params;

#ifdef __cplusplus
}
#endif

#endif
