/* HYBM: types of the layer below SMEM's pool (hybm_big_mem.h). Names, values and layouts are those of MemFabric Hybrid. */
#ifndef HYBM_DEF_H
#define HYBM_DEF_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef void *hybm_entity_t;
typedef void *hybm_mem_slice_t;

#define HYBM_FLAG_EXPORT_ENTITY 1U /* hybm_export, hybm_import: an entity instead of a slice */
#define HYBM_TLS_PATH_SIZE 256
#define HYBM_PERFORMANCE_MODE_FLAG_INDEX 7
#define HYBM_PERFORMANCE_MODE_FLAG_LEN 1
#define HYBM_BIND_NUMA_FLAG_INDEX 0
#define HYBM_BIND_NUMA_FLAG_LEN 7

/* Who begins a copy: a kernel, or the host. */
typedef enum { HYBM_TYPE_AI_CORE_INITIATE = 0, HYBM_TYPE_HOST_INITIATE, HYBM_TYPE_BUTT } hybm_type;

/* How bytes may travel, as a mask; DEFAULT: however HMC finds best. */
typedef enum {
  HYBM_DOP_TYPE_DEFAULT = 0U,
  HYBM_DOP_TYPE_MTE = 1U << 0,
  HYBM_DOP_TYPE_SDMA = 1U << 1,
  HYBM_DOP_TYPE_DEVICE_RDMA = 1U << 2,
  HYBM_DOP_TYPE_HOST_RDMA = 1U << 3,
  HYBM_DOP_TYPE_HOST_TCP = 1U << 4,
  HYBM_DOP_TYPE_HOST_URMA = 1U << 5,
  HYBM_DOP_TYPE_BUTT
} hybm_data_op_type;

typedef enum { HYBM_SCOPE_IN_NODE = 0U, HYBM_SCOPE_CROSS_NODE, HYBM_SCOPE_BUTT } hybm_scope;

typedef enum { HYBM_MEM_TYPE_DEVICE = 1U << 0, HYBM_MEM_TYPE_HOST = 1U << 1, HYBM_MEM_TYPE_BUTT } hybm_mem_type;

typedef enum { HYBM_ROLE_PEER = 0, HYBM_ROLE_SENDER, HYBM_ROLE_RECEIVER, HYBM_ROLE_BUTT } hybm_role_type;

/* What one entity exports and others import: bytes that the program carries there. */
typedef struct {
  uint8_t desc[512L];
  uint32_t descLen;
} hybm_exchange_info;

/* Taken and not used: connections are authenticated by the job's secret. */
typedef struct {
  bool tlsEnable;
  char caPath[HYBM_TLS_PATH_SIZE];
  char crlPath[HYBM_TLS_PATH_SIZE];
  char certPath[HYBM_TLS_PATH_SIZE];
  char keyPath[HYBM_TLS_PATH_SIZE];
  char keyPassPath[HYBM_TLS_PATH_SIZE];
  char packagePath[HYBM_TLS_PATH_SIZE];
  char decrypterLibPath[HYBM_TLS_PATH_SIZE];
} hybm_tls_config;

typedef struct {
  hybm_type bmType;
  hybm_mem_type memType; /* a mask */
  hybm_data_op_type bmDataOpType;
  hybm_scope bmScope;
  uint16_t rankCount;
  uint16_t rankId;
  uint16_t devId;
  uint64_t deviceVASpace; /* bytes of addresses for each rank's device memory: a multiple of 2 MiB; 0: none */
  uint64_t hostVASpace;
  bool globalUniqueAddress; /* must be true */
  hybm_role_type role;      /* taken; everybody may do everything */
  uint32_t flags;
  char transUrl[64]; /* "tcp://ip:port" where peers reach this entity; "": found by itself */
  char tag[32];
  char tagOpInfo[128];
  hybm_tls_config tlsOption;
} hybm_options;

/* LOCAL is memory of this process, GLOBAL memory of a slice, this entity's or an imported one. */
typedef enum {
  HYBM_LOCAL_HOST_TO_GLOBAL_HOST = 0,
  HYBM_LOCAL_HOST_TO_GLOBAL_DEVICE = 1,
  HYBM_LOCAL_DEVICE_TO_GLOBAL_HOST = 2,
  HYBM_LOCAL_DEVICE_TO_GLOBAL_DEVICE = 3,
  HYBM_GLOBAL_HOST_TO_GLOBAL_HOST = 4,
  HYBM_GLOBAL_HOST_TO_GLOBAL_DEVICE = 5,
  HYBM_GLOBAL_HOST_TO_LOCAL_HOST = 6,
  HYBM_GLOBAL_HOST_TO_LOCAL_DEVICE = 7,
  HYBM_GLOBAL_DEVICE_TO_GLOBAL_HOST = 8,
  HYBM_GLOBAL_DEVICE_TO_GLOBAL_DEVICE = 9,
  HYBM_GLOBAL_DEVICE_TO_LOCAL_HOST = 10,
  HYBM_GLOBAL_DEVICE_TO_LOCAL_DEVICE = 11,
  HYBM_DATA_COPY_DIRECTION_AUTO = 12, /* found from the addresses */
  HYBM_DATA_COPY_DIRECTION_BUTT
} hybm_data_copy_direction;

typedef struct {
  void *src;
  void *dest;
  uint64_t dataSize;
} hybm_copy_params;

typedef struct {
  void **sources;
  void **destinations;
  const uint64_t *dataSizes;
  uint32_t batchSize;
} hybm_batch_copy_params;

#ifdef __cplusplus
}
#endif

#endif
