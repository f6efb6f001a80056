/* What programs that were written for MemFabric Hybrid rely on beside results: defaults, what calls answer before init and
 * for a second time, the limits of sizes, flags, forms of URLs. */
#include "port.h"
#include "ranks.h"

#include <hybm/hybm.h>
#include <smem/host/smem.h>
#include <smem/host/smem_bm.h>
#include <smem/host/smem_shm.h>
#include <smem/host/smem_trans.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
#define PART (2 * MIB)

static uint8_t bytes[4096];

/* ---- defaults ---------------------------------------------------------------------------------------------------- */

static int is_zero(const void *data, size_t size) {
  const uint8_t *at = data;
  while (size > 0 && at[size - 1] == 0) {
    size--;
  }
  return size == 0;
}

static int defaults_are_those_of_the_list(void) {
  smem_bm_config_t bm;
  smem_shm_config_t shm;
  smem_trans_config_t trans;
  memset(&bm, 0xa5, sizeof(bm));
  ANSWERS(0, smem_bm_config_init(&bm));
  CHECK(bm.initTimeout == 120 && bm.createTimeout == 120 && bm.controlOperationTimeout == 120);
  CHECK(bm.startConfigStore && bm.startConfigStoreServer && !bm.startConfigStoreOnly && !bm.dynamicWorldSize);
  CHECK(bm.unifiedAddressSpace && !bm.autoRanking && bm.rankId == 65535 && bm.flags == 0);
  CHECK(is_zero(bm.hcomUrl, sizeof(bm.hcomUrl)) && is_zero(&bm.hcomTlsConfig, sizeof(bm.hcomTlsConfig)) &&
        is_zero(&bm.storeTlsConfig, sizeof(bm.storeTlsConfig)));
  memset(&shm, 0xa5, sizeof(shm));
  ANSWERS(0, smem_shm_config_init(&shm));
  CHECK(shm.shmInitTimeout == 120 && shm.shmCreateTimeout == 120 && shm.controlOperationTimeout == 120);
  CHECK(shm.startConfigStore && shm.startConfigStoreServer && shm.flags == 0);
  memset(&trans, 0xa5, sizeof(trans));
  trans.dataOpType = SMEMB_DATA_OP_DEVICE_RDMA;
  ANSWERS(0, smem_trans_config_init(&trans));
  CHECK(trans.role == SMEM_TRANS_SENDER && trans.initTimeout == 120 && trans.deviceId == UINT32_MAX);
  CHECK(trans.flags == 0 && !trans.startConfigServer && trans.dataOpType == SMEMB_DATA_OP_DEVICE_RDMA);
  ANSWERS(-2000, smem_shm_config_init(NULL));
  ANSWERS(-2000, smem_trans_config_init(NULL));
  CHECK(SMEMB_DATA_OP_ROCE == 2 && SMEMB_DATA_OP_HOST_URMA == 16 && SMEMB_COPY_G2G == 8 && SMEMB_COPY_BUTT == 10);
  CHECK(SMEM_MEM_TYPE_HOST == 3 && SMEMS_DATA_OP_ROCE == 4 && SMEM_TRANS_BOTH == 3);
  CHECK(strcmp(hybm_get_error_string(0), "success") == 0 && hybm_get_error_string(-2000) != NULL &&
        hybm_get_error_string(17) == NULL);
  return 0;
}

/* ---- before init, and after it ------------------------------------------------------------------------------------ */

static void answers_without_init(void) {
  smem_copy_params one = {.src = bytes, .dest = bytes + 8, .dataSize = 8};
  void *from[1] = {bytes}, *to[1] = {bytes + 8};
  uint64_t sizes[1] = {8};
  smem_batch_copy_params some = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = 1};
  uint64_t address = (uint64_t)(uintptr_t)bytes;
  ANSWERS(-2008, smem_bm_leave(bytes, 0));
  ANSWERS(-2008, smem_bm_copy(bytes, &one, SMEMB_COPY_AUTO, 0));
  ANSWERS(-2008, smem_bm_copy(bytes, &one, SMEMB_COPY_AUTO, ASYNC_COPY_FLAG));
  ANSWERS(-2008, smem_bm_copy_batch(bytes, &some, SMEMB_COPY_AUTO, 0));
  ANSWERS(-2008, smem_bm_copy_2d(bytes, bytes, 8, bytes + 8, 8, 8, 1, SMEMB_COPY_AUTO, 0));
  ANSWERS(-2008, smem_bm_wait(bytes));
  ANSWERS(-2008, smem_bm_register_user_mem(bytes, address, 8));
  ANSWERS(-2008, smem_bm_unregister_user_mem(bytes, address));
  ANSWERS(-2000, smem_bm_copy(NULL, &one, SMEMB_COPY_AUTO, 0));
  CHECK(smem_bm_get_rank_id_by_gva(bytes, bytes) == (uint32_t)-2008);
  CHECK(smem_bm_get_rank_id_by_gva(NULL, bytes) == (uint32_t)-2000);
  CHECK(smem_bm_ptr(bytes, 0) == NULL && smem_bm_ptr(NULL, 0) == NULL);
  CHECK(smem_bm_get_local_mem_size(bytes) == 0 && smem_bm_get_local_mem_size(NULL) == 0);
  CHECK(smem_bm_get_rank_id() == UINT32_MAX);
  CHECK(smem_shm_get_global_rank(bytes) == UINT32_MAX && smem_shm_get_global_rank_size(NULL) == UINT32_MAX);
  ANSWERS(-2008, smem_shm_destroy(bytes, 0));
  ANSWERS(-2000, smem_shm_destroy(NULL, 0));
  CHECK(smem_shm_query_support_data_operation() == SMEMS_DATA_OP_MTE);
  ANSWERS(-2008, smem_trans_deregister_mem(bytes, bytes));
  ANSWERS(-2000, smem_trans_deregister_mem(NULL, bytes));
  smem_bm_destroy(NULL);
  smem_trans_destroy(NULL, 0);
  smem_bm_uninit(0);
  smem_shm_uninit(0);
  smem_trans_uninit(0);
  smem_uninit();
}

static void enter(const char *url) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = PATIENCE_S;
  config.createTimeout = UINT32_MAX; /* the largest that is taken */
  config.dynamicWorldSize = true;
  config.rankId = 0;
  ANSWERS(0, smem_bm_init(url, 1, 0, &config));
  ANSWERS(0, smem_bm_init(url, 1, 0, &config));
}

static int calls_know_where_they_stand(void) {
  ANSWERS(0, smem_init(0));
  ANSWERS(0, smem_init(77));
  for (int turn = 0; turn < 2; turn++) {
    answers_without_init();
    enter(store_url);
    CHECK(smem_bm_get_rank_id() == 0);
    smem_bm_uninit(0);
  }
  return 0;
}

/* ---- sizes, flags, a second time ---------------------------------------------------------------------------------- */

static void sizes_have_limits(void) {
  CHECK(smem_bm_create(1, 0, SMEMB_DATA_OP_SDMA, 2048 * GIB + PART, 0, 0) == NULL); /* 2 TiB of host memory */
  SAYS("multiples of 2 MiB up to");
  CHECK(smem_bm_create(1, 0, SMEMB_DATA_OP_SDMA, 0, 64 * GIB + PART, 0) == NULL);
  SAYS("multiples of 2 MiB up to");
  CHECK(smem_bm_create(1, 0, (smem_bm_data_op_type)32, PART, 0, 0) == NULL);
  smem_bm_t large = smem_bm_create(UINT32_MAX, 99, SMEMB_DATA_OP_SDMA, 64 * GIB, 0, 0); /* no page of it is touched */
  CHECK(large != NULL && smem_bm_get_local_mem_size(large) == 64 * GIB);
  CHECK(smem_bm_ptr(large, 0) == smem_bm_ptr_by_mem_type(large, SMEM_MEM_TYPE_HOST, 0));
  smem_bm_destroy(large);
}

static void flags_are_taken(smem_bm_t pool) {
  char *part = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, 0);
  smem_copy_params one = {.src = bytes, .dest = part, .dataSize = sizeof(bytes)};
  fill(bytes, sizeof(bytes), 3);
  ANSWERS(0, smem_bm_copy(pool, &one, SMEMB_COPY_H2G, COPY_EXTEND_FLAG));
  CHECK(is_filled(part, sizeof(bytes), 3));
  one.dest = part + sizeof(bytes);
  ANSWERS(0, smem_bm_copy(pool, &one, SMEMB_COPY_AUTO, ASYNC_COPY_FLAG | COPY_EXTEND_FLAG));
  ANSWERS(0, smem_bm_wait(pool));
  ANSWERS(0, smem_bm_wait(pool));
  CHECK(is_filled(part + sizeof(bytes), sizeof(bytes), 3));
  ANSWERS(-2000, smem_bm_copy(pool, &one, (smem_bm_copy_type)-1, 0));
  CHECK(smem_bm_get_rank_id_by_gva(pool, part + PART - 1) == 0);
}

static void a_second_time(smem_bm_t pool) {
  uint64_t address = (uint64_t)(uintptr_t)bytes;
  void *gva = NULL;
  ANSWERS(0, smem_bm_register_user_mem(pool, address, 1024));
  ANSWERS(0, smem_bm_register_user_mem(pool, address, 1024));
  ANSWERS(-1, smem_bm_register_user_mem(pool, address, 2048));
  ANSWERS(0, smem_bm_unregister_user_mem(pool, address));
  ANSWERS(0, smem_bm_unregister_user_mem(pool, address));
  ANSWERS(0, smem_bm_leave(pool, 0));
  ANSWERS(0, smem_bm_join(pool, 0, &gva)); /* the first generation's three arguments */
  CHECK(gva == smem_bm_ptr(pool, 0));
}

static int pools_behave(void) {
  enter(store_url);
  sizes_have_limits();
  smem_bm_t pool = smem_bm_create(0, 77, SMEMB_DATA_OP_SDMA, PART, PART, 0);
  CHECK(pool != NULL);
  ANSWERS(0, smem_bm_join(pool, 0));
  CHECK(smem_bm_ptr(pool, 0) == smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_DEVICE, 0)); /* without a kind: HBM */
  flags_are_taken(pool);
  a_second_time(pool);
  smem_bm_destroy(pool);
  ANSWERS(-2000, smem_bm_wait(pool));
  pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0); /* the id is free again */
  CHECK(pool != NULL);
  smem_bm_uninit(0);
  return 0;
}

static int objects_behave(void) {
  smem_shm_config_t config;
  void *gva = NULL;
  uint32_t reach = 0, number = 9;
  static char large[65536 + 1], back[65536 + 1];
  ANSWERS(0, smem_shm_config_init(&config));
  ANSWERS(0, smem_shm_init(store_url, 1, 0, 0, &config));
  ANSWERS(0, smem_shm_init(store_url, 1, 0, 0, &config));
  smem_shm_t object = smem_shm_create(63, 1, 0, PART, SMEMS_DATA_OP_RDMA, 0, &gva);
  CHECK(object != NULL && gva != NULL);
  CHECK(smem_shm_get_global_rank(object) == 0 && smem_shm_get_global_rank_size(object) == 1);
  ANSWERS(0, smem_shm_set_extra_context(object, large, 65536));
  ANSWERS(-2000, smem_shm_set_extra_context(object, large, 0));
  ANSWERS(-2000, smem_shm_set_extra_context(object, NULL, 1));
  fill(large, 65536, 5);
  ANSWERS(0, smem_shm_control_allgather(object, large, 65536, back, 65536));
  CHECK(is_filled(back, 65536, 5));
  ANSWERS(-2000, smem_shm_control_allgather(object, large, 65537, back, 65537));
  ANSWERS(0, smem_shm_topology_can_reach(object, 0, &reach));
  CHECK(reach == SMEMS_DATA_OP_MTE);
  for (uint32_t wanted = 0; wanted < 3; wanted++) {
    ANSWERS(0, smem_shm_atomic_alloc_value(object, 3, &number));
    CHECK(number == wanted);
  }
  ANSWERS(-1, smem_shm_atomic_alloc_value(object, 3, &number));
  ANSWERS(0, smem_shm_atomic_release_value(object, 1));
  ANSWERS(0, smem_shm_atomic_alloc_value(object, 3, &number));
  CHECK(number == 1); /* the smallest that is free */
  ANSWERS(0, smem_shm_subgroup_barrier(object, "alone", 1, 0));
  ANSWERS(0, smem_shm_control_barrier(object));
  smem_shm_uninit(0);
  return 0;
}

/* ---- transfers, forms of addresses -------------------------------------------------------------------------------- */

static int transfers_behave(void) {
  smem_trans_config_t config;
  char id[32];
  ANSWERS(0, smem_trans_config_init(&config));
  config.dataOpType = SMEMB_DATA_OP_SDMA;
  config.role = SMEM_TRANS_BOTH;
  config.startConfigServer = true;
  snprintf(id, sizeof(id), "127.0.0.1:%u", free_port(AF_INET));
  CHECK(smem_trans_create(store_url, id, &config) == NULL);
  SAYS("call smem_trans_init first");
  ANSWERS(0, smem_trans_init(&config));
  ANSWERS(0, smem_trans_init(&config));
  CHECK(smem_trans_create(store_url, "127.0.0.1:1024", &config) == NULL);
  SAYS("from 1025 on");
  smem_trans_t trans = smem_trans_create(store_url, id, &config);
  CHECK(trans != NULL);
  ANSWERS(0, smem_trans_deregister_mem(trans, bytes)); /* what is not registered */
  ANSWERS(0, smem_trans_register_mem(trans, bytes, sizeof(bytes), COPY_EXTEND_FLAG));
  ANSWERS(0, smem_trans_register_mem(trans, bytes, sizeof(bytes), 0));
  const uint64_t sizes[] = {128 * MIB, 128 * GIB};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    char *made = smem_trans_malloc(trans, sizes[i]);
    CHECK(made != NULL);
    made[sizes[i] - 1] = 1;
    ANSWERS(0, smem_trans_free(trans, made));
  }
  CHECK(smem_trans_malloc(trans, 16384 * GIB) == NULL);
  CHECK(smem_trans_malloc(trans, 0) == NULL);
  ANSWERS(-2000, smem_trans_free(trans, NULL));
  smem_trans_destroy(trans, 0);
  smem_trans_destroy(trans, 0); /* a warning in the log */
  smem_trans_uninit(0);
  return 0;
}

/* Both ways to write an IPv6 address, of the second generation and the fourth. */
static int urls_have_two_forms(void) {
  static const char *const forms[] = {"tcp://[::1]:%u", "tcp6://[::1]:%u"};
  unsigned port = free_port(AF_INET6);
  char url[64];
  for (int i = 0; i < 2 && port != 0; i++) {
    snprintf(url, sizeof(url), forms[i], port);
    enter(url);
    smem_bm_uninit(0);
  }
  ANSWERS(-2000, smem_create_config_store("tcp://::1:4000"));
  SAYS("[IPV6]:PORT");
  ANSWERS(-2000, smem_create_config_store("tcp6://127.0.0.1:4000"));
  ANSWERS(-2000, smem_create_config_store("tcp://127.0.0.1:65536"));
  ANSWERS(-2000, smem_create_config_store("tcp://127.0.0.1:4000x"));
  ANSWERS(-2000, smem_create_config_store("tcp://localhost:4000"));
  return 0;
}

static char other_url[64], point_id[64];
static atomic_int points;

static void *make_point(void *unused) {
  smem_trans_config_t config;
  ANSWERS(0, smem_trans_config_init(&config));
  config.initTimeout = PATIENCE_S;
  config.dataOpType = SMEMB_DATA_OP_SDMA;
  ANSWERS(0, smem_trans_init(&config));
  smem_trans_t point = smem_trans_create(other_url, point_id, &config);
  CHECK(point != NULL);
  atomic_fetch_add(&points, 1);
  smem_trans_destroy(point, 0);
  return unused;
}

static void *make_object(void *unused) {
  smem_shm_config_t config;
  ANSWERS(0, smem_shm_config_init(&config));
  config.shmInitTimeout = PATIENCE_S;
  config.startConfigStore = false;
  ANSWERS(0, smem_shm_init(store_url, 1, 0, 0, &config));
  return unused;
}

/* Threads wait for stores that are not served yet: one for that of this process's pool, and one for another. */
static int parts_begin_by_themselves(void) {
  pthread_t point, object;
  snprintf(other_url, sizeof(other_url), "tcp://127.0.0.1:%u", (unsigned)free_port(AF_INET));
  snprintf(point_id, sizeof(point_id), "127.0.0.1:%u", (unsigned)free_port(AF_INET));
  CHECK(pthread_create(&point, NULL, make_point, NULL) == 0 && pthread_create(&object, NULL, make_object, NULL) == 0);
  sleep_ms(300);
  enter(store_url);
  CHECK(pthread_join(object, NULL) == 0 && atomic_load(&points) == 0);
  ANSWERS(0, smem_create_config_store(other_url));
  CHECK(pthread_join(point, NULL) == 0 && atomic_load(&points) == 1);
  smem_shm_uninit(0);
  smem_bm_uninit(0);
  smem_trans_uninit(0);
  return 0;
}

/* As samples have it: the address that stands for all of a host's, and a port that one of them gets. */
static int ranks_have_one_config(void) {
  smem_bm_config_t config;
  uint32_t other = 1 - my_rank;
  if (my_rank == 0) {
    atomic_store(&shared->words[0], free_port(AF_INET));
  }
  fence();
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = PATIENCE_S;
  config.rankId = (uint16_t)my_rank;
  snprintf(config.hcomUrl, sizeof(config.hcomUrl), "tcp://0.0.0.0:%u", (unsigned)atomic_load(&shared->words[0]));
  ANSWERS(0, smem_bm_init(store_url, 2, 0, &config));
  smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_HOST_TCP, PART, 0, 0);
  CHECK(pool != NULL);
  ANSWERS(0, smem_bm_join(pool, 0));
  fence();
  fill(bytes, sizeof(bytes), my_rank);
  smem_copy_params params = {.src = bytes, .dest = smem_bm_ptr(pool, (uint16_t)other), .dataSize = sizeof(bytes)};
  ANSWERS(0, smem_bm_copy(pool, &params, SMEMB_COPY_H2G, 0));
  fence();
  CHECK(is_filled(smem_bm_ptr(pool, (uint16_t)my_rank), sizeof(bytes), other));
  fence();
  smem_bm_uninit(0);
  return 0;
}

int main(void) {
  ranks_set_up();
  bool good = ranks_run("defaults are those of the list", 1, defaults_are_those_of_the_list);
  good = ranks_run("calls know where they stand", 1, calls_know_where_they_stand) && good;
  good = ranks_run("pools behave", 1, pools_behave) && good;
  good = ranks_run("objects behave", 1, objects_behave) && good;
  good = ranks_run("transfers behave", 1, transfers_behave) && good;
  good = ranks_run("urls have two forms", 1, urls_have_two_forms) && good;
  good = ranks_run("parts begin by themselves", 1, parts_begin_by_themselves) && good;
  good = ranks_run("ranks have one config", 2, ranks_have_one_config) && good;
  return good ? 0 : 1;
}
