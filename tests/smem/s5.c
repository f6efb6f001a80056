/* A program of the newest generation, in C; and the values of all names, which programs may have compiled in. */
#include "ranks.h"

#include "smem.h"
#include "smem_bm.h"
#include "smem_shm.h"
#include "smem_trans.h"

#include <sys/mman.h>
#include <unistd.h>

#define VALUE(name, value) _Static_assert((long long)(name) == (long long)(value), #name)
VALUE(ASYNC_COPY_FLAG, 1);
VALUE(COPY_EXTEND_FLAG, 2);
VALUE(SMEM_WORLD_SIZE_MAX, 1024);
VALUE(SMEM_INVALID_DEV_ID, -1);
VALUE(SMEM_BM_TIMEOUT_MAX, UINT32_MAX);
VALUE(SMEM_SHM_TIMEOUT_MAX, UINT32_MAX);
VALUE(SMEM_TLS_PATH_SIZE, 256);
VALUE(SMEM_BM_INIT_GVM_FLAG, 2);
VALUE(SMEM_BM_PERFORMANCE_MODE_FLAG_INDEX, 7);
VALUE(SMEM_BM_PERFORMANCE_MODE_FLAG_LEN, 1);
VALUE(SMEM_BM_BIND_NUMA_FLAG_INDEX, 0);
VALUE(SMEM_BM_BIND_NUMA_FLAG_LEN, 7);
VALUE(SMEM_BM_FLAG_CREATE_WITH_SHM, 256);
VALUE(SMEM_SHM_ATOMIC_NUM_LIMIT, 1024);
VALUE(SMEMB_DATA_OP_SDMA, 1);
VALUE(SMEMB_DATA_OP_HOST_RDMA, 2);
VALUE(SMEMB_DATA_OP_ROCE, 2);
VALUE(SMEMB_DATA_OP_HOST_TCP, 4);
VALUE(SMEMB_DATA_OP_DEVICE_RDMA, 8);
VALUE(SMEMB_DATA_OP_HOST_URMA, 16);
VALUE(SMEMB_DATA_OP_BUTT, 17);
VALUE(SMEMB_COPY_L2G, 0);
VALUE(SMEMB_COPY_G2L, 1);
VALUE(SMEMB_COPY_G2H, 2);
VALUE(SMEMB_COPY_H2G, 3);
VALUE(SMEMB_COPY_L2GH, 4);
VALUE(SMEMB_COPY_GH2L, 5);
VALUE(SMEMB_COPY_GH2H, 6);
VALUE(SMEMB_COPY_H2GH, 7);
VALUE(SMEMB_COPY_G2G, 8);
VALUE(SMEMB_COPY_AUTO, 9);
VALUE(SMEMB_COPY_BUTT, 10);
VALUE(SMEM_MEM_TYPE_LOCAL_DEVICE, 0);
VALUE(SMEM_MEM_TYPE_LOCAL_HOST, 1);
VALUE(SMEM_MEM_TYPE_DEVICE, 2);
VALUE(SMEM_MEM_TYPE_HOST, 3);
VALUE(SMEM_MEM_TYPE_BUTT, 4);
VALUE(SMEMS_DATA_OP_MTE, 1);
VALUE(SMEMS_DATA_OP_SDMA, 2);
VALUE(SMEMS_DATA_OP_RDMA, 4);
VALUE(SMEMS_DATA_OP_ROCE, 4);
VALUE(SMEM_TRANS_NONE, 0);
VALUE(SMEM_TRANS_SENDER, 1);
VALUE(SMEM_TRANS_RECEIVER, 2);
VALUE(SMEM_TRANS_BOTH, 3);
VALUE(SMEM_TRANS_BUTT, 4);

/* Every field is there. */
static void set_fields(smem_bm_config_t *config, smem_bm_create_option_t *option) {
  const smem_tls_config tls = {.tlsEnable = false,
                               .caPath = "",
                               .crlPath = "",
                               .certPath = "",
                               .keyPath = "",
                               .keyPassPath = "",
                               .packagePath = "",
                               .decrypterLibPath = ""};
  const smem_shm_config_t shm = {.shmInitTimeout = 1, .shmCreateTimeout = 1, .controlOperationTimeout = 1};
  const smem_trans_config_t trans = {.role = SMEM_TRANS_BOTH, .deviceId = 0, .startConfigServer = false};
  const smem_bm_mem_type kind = SMEM_MEM_TYPE_HOST;
  const smem_trans_role_t role = SMEM_TRANS_BOTH;
  smem_decrypt_handler handler = NULL;
  CHECK(kind == SMEM_MEM_TYPE_HOST && trans.role == role);
  CHECK(shm.shmInitTimeout == 1 && trans.role == SMEM_TRANS_BOTH && handler == NULL);
  config->hcomTlsConfig = config->storeTlsConfig = tls;
  config->startConfigStoreServer = true;
  config->startConfigStoreOnly = config->dynamicWorldSize = false;
  config->unifiedAddressSpace = true;
  config->autoRanking = false;
  config->rankId = (uint16_t)my_rank;
  snprintf(config->hcomUrl, sizeof(config->hcomUrl), "tcp://127.0.0.1");
  *option = (smem_bm_create_option_t){.maxDramSize = 4u << 20,
                                      .maxHbmSize = 4u << 20,
                                      .localDRAMSize = 2u << 20,
                                      .localHBMSize = 2u << 20,
                                      .dataOpType = SMEMB_DATA_OP_HOST_TCP,
                                      .flags = SMEM_BM_FLAG_CREATE_WITH_SHM,
                                      .tag = "tag",
                                      .tagOpInfo = ""};
}

static int sample(void) {
  smem_bm_config_t config;
  smem_bm_create_option_t option;
  char sent[5000], got[5000] = "";
  ANSWERS(0, smem_bm_config_init(&config));
  set_fields(&config, &option);
  option.dramShmFd = memfd_create("part", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  CHECK(option.dramShmFd >= 0 && ftruncate(option.dramShmFd, 2 << 20) == 0);
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  smem_bm_t pool = smem_bm_create2(0, &option);
  if (pool == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  ANSWERS(0, smem_bm_join(pool, 0));
  fence();
  fill(sent, sizeof(sent), my_rank);
  smem_copy_params out = {.src = sent,
                          .dest = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)(1 - my_rank)),
                          .dataSize = sizeof(sent)};
  ANSWERS(0, smem_bm_copy(pool, &out, SMEMB_COPY_H2GH, ASYNC_COPY_FLAG));
  ANSWERS(0, smem_bm_wait(pool));
  fence();
  CHECK(pread(option.dramShmFd, got, sizeof(got), 0) == sizeof(got)); /* the part is the given file */
  CHECK(is_filled(got, sizeof(got), 1 - my_rank));
  fence();
  smem_bm_destroy(pool);
  fence();
  smem_bm_uninit(0);
  close(option.dramShmFd);
  return 0;
}

int main(void) {
  ranks_set_up();
  return ranks_run("a sample of the newest generation", 2, sample) ? 0 : 1;
}
