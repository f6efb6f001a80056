/* Tests of SHM: symmetric objects, what ranks do together, kernels on threads of the host, and bad input. */
#include "port.h"
#include "ranks.h"

#include <smem/device/smem_shm_device.h>
#include <smem/host/smem_bm.h>
#include <smem/host/smem_shm.h>

#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

static void begin(void) {
  smem_shm_config_t config;
  ANSWERS(0, smem_shm_config_init(&config));
  CHECK(config.startConfigStore && config.shmInitTimeout == 120 && config.flags == 0);
  config.shmInitTimeout = config.shmCreateTimeout = config.controlOperationTimeout = PATIENCE_S;
  ANSWERS(0, smem_shm_init(store_url, rank_count, my_rank, (uint16_t)my_rank, &config));
  ANSWERS(0, smem_shm_init(store_url, rank_count, my_rank, (uint16_t)my_rank, &config));
}

static smem_shm_t make(uint32_t id, void **gva) {
  smem_shm_t object = smem_shm_create(id, rank_count, my_rank, 2 * MIB, SMEMS_DATA_OP_MTE, 0, gva);
  if (object == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  CHECK(smem_shm_get_global_rank(object) == my_rank && smem_shm_get_global_rank_size(object) == rank_count);
  return object;
}

static void end(smem_shm_t object) {
  ANSWERS(0, smem_shm_control_barrier(object));
  ANSWERS(0, smem_shm_destroy(object, 0));
  fence(); /* rank 0 has the store */
  smem_shm_uninit(0);
}

/* A kernel on a thread of the host: writes to the next rank's part, and looks at its extra context. */
static void *kernel(void *argument) {
  const smem_shm_device_object_t *object = smem_shm_device_get(5);
  uint64_t *next = smem_shm_device_address(5, (object->rank + 1) % object->rank_size, 4096);
  const uint64_t value = object->rank * 10 + *(const uint64_t *)object->context;
  smem_shm_device_copy(next, &value, sizeof(value));
  *(uint32_t *)argument = object->context_size;
  return NULL;
}

static int parts_lie_side_by_side(void) {
  void *gva = NULL;
  uint32_t reach = 0, context_size = 0;
  uint64_t extra = 7;
  pthread_t thread;
  begin();
  CHECK(smem_shm_query_support_data_operation() == SMEMS_DATA_OP_MTE);
  smem_shm_t object = make(5, &gva);
  if (my_rank == 0) {
    atomic_store(&shared->words[0], (uint64_t)(uintptr_t)gva);
  }
  fence();
  CHECK(atomic_load(&shared->words[0]) == (uint64_t)(uintptr_t)gva);
  char *parts = gva;
  fill(parts + my_rank * 2 * MIB, 1000, my_rank);
  ANSWERS(0, smem_shm_set_extra_context(object, &extra, sizeof(extra)));
  ANSWERS(0, smem_shm_control_barrier(object));
  for (uint32_t rank = 0; rank < rank_count; rank++) {
    ANSWERS(0, smem_shm_topology_can_reach(object, rank, &reach));
    CHECK((reach & SMEMS_DATA_OP_MTE) != 0);
    CHECK(is_filled(parts + rank * 2 * MIB, 1000, rank));
  }
  CHECK(pthread_create(&thread, NULL, kernel, &context_size) == 0);
  pthread_join(thread, NULL);
  CHECK(context_size == sizeof(extra));
  ANSWERS(0, smem_shm_control_barrier(object));
  uint64_t got;
  memcpy(&got, parts + my_rank * 2 * MIB + 4096, sizeof(got));
  CHECK(got == (my_rank + rank_count - 1) % rank_count * 10 + 7);
  end(object);
  return 0;
}

static int ranks_meet(void) {
  void *gva = NULL;
  uint32_t all[RANKS_MOST], slot = 99;
  char group[16];
  begin();
  smem_shm_t object = make(0, &gva);
  for (uint32_t round = 0; round < 10; round++) {
    uint32_t mine = my_rank * 100 + round;
    ANSWERS(0, smem_shm_control_allgather(object, (char *)&mine, sizeof(mine), (char *)all, sizeof(all)));
    for (uint32_t rank = 0; rank < rank_count; rank++) {
      CHECK(all[rank] == rank * 100 + round);
    }
    /* Two groups, of the even and the odd ranks. */
    uint32_t members = (rank_count + 1 - my_rank % 2) / 2, place = my_rank / 2;
    snprintf(group, sizeof(group), "%u", my_rank % 2);
    ANSWERS(0, smem_shm_subgroup_barrier(object, group, members, place));
    ANSWERS(0, smem_shm_subgroup_allgather(object, group, members, place, (char *)&mine, sizeof(mine), (char *)all,
                                           sizeof(all)));
    for (uint32_t i = 0; i < members; i++) {
      CHECK(all[i] == (2 * i + my_rank % 2) * 100 + round);
    }
  }
  /* Each gets a number of its own; when all are taken there is none. */
  ANSWERS(0, smem_shm_atomic_alloc_value(object, rank_count, &slot));
  CHECK(slot < rank_count && atomic_fetch_add(&shared->words[slot], 1) == 0);
  fence();
  uint32_t more;
  ANSWERS(-1, smem_shm_atomic_alloc_value(object, rank_count, &more));
  fence();
  if (slot == 1) {
    ANSWERS(0, smem_shm_atomic_release_value(object, 1));
  }
  fence();
  if (my_rank == 0) {
    ANSWERS(0, smem_shm_atomic_alloc_value(object, SMEM_SHM_ATOMIC_NUM_LIMIT, &more));
    CHECK(more == 1);
  }
  end(object);
  return 0;
}

static atomic_int exit_status;
static void note_exit(int status) { atomic_store(&exit_status, status); }

static int one_ends_all(void) {
  void *gva = NULL;
  begin();
  smem_shm_t object = make(1, &gva);
  ANSWERS(0, smem_shm_register_exit(object, note_exit));
  ANSWERS(-1, smem_shm_register_exit(object, note_exit));
  ANSWERS(-2000, smem_shm_register_exit(object, NULL));
  ANSWERS(0, smem_shm_control_barrier(object));
  if (my_rank == 1) {
    smem_shm_global_exit(object, 42);
  }
  for (int i = 0; i < PATIENCE_S * 1000 && atomic_load(&exit_status) != 42; i++) {
    sleep_ms(1);
  }
  CHECK(atomic_load(&exit_status) == 42);
  end(object);
  return 0;
}

/* BM and SHM of one process live on one store, as in every sample. */
static int both_live_on_one_store(void) {
  smem_bm_config_t config;
  void *gva = NULL;
  begin();
  ANSWERS(0, smem_bm_config_init(&config));
  config.rankId = (uint16_t)my_rank;
  config.initTimeout = PATIENCE_S;
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, 2 * MIB, 0, 0);
  CHECK(pool != NULL);
  smem_shm_t object = make(2, &gva);
  ANSWERS(0, smem_bm_join(pool, 0));
  ANSWERS(0, smem_shm_control_barrier(object));
  char *next = smem_bm_ptr(pool, (uint16_t)((my_rank + 1) % rank_count));
  char *own = smem_bm_ptr(pool, (uint16_t)my_rank);
  uint8_t byte = (uint8_t)(my_rank + 1);
  ANSWERS(0, smem_bm_copy(pool, &byte, next, 1, SMEMB_COPY_H2G, 0));
  ANSWERS(0, smem_shm_control_barrier(object));
  CHECK((uint32_t)own[0] == (my_rank + rank_count - 1) % rank_count + 1);
  ANSWERS(0, smem_shm_control_barrier(object));
  smem_bm_uninit(0);
  end(object);
  return 0;
}

static int bad_input_is_named(void) {
  smem_shm_config_t config;
  void *gva = NULL;
  uint32_t value;
  char bytes[16];
  ANSWERS(-2000, smem_shm_config_init(NULL));
  CHECK(smem_shm_create(0, 1, 0, 2 * MIB, SMEMS_DATA_OP_MTE, 0, &gva) == NULL);
  SAYS("smem_shm_init");
  ANSWERS(-2008, smem_shm_control_barrier(&gva));
  ANSWERS(-2000, smem_shm_control_barrier(NULL));
  ANSWERS(0, smem_shm_config_init(&config));
  ANSWERS(-2000, smem_shm_init(store_url, 1, 1, 0, &config));
  ANSWERS(-2000, smem_shm_init("nowhere", 1, 0, 0, &config));
  config.shmInitTimeout = 0;
  ANSWERS(-2000, smem_shm_init(store_url, 1, 0, 0, &config));
  begin();
  CHECK(smem_shm_create(64, 1, 0, 2 * MIB, SMEMS_DATA_OP_MTE, 0, &gva) == NULL);
  CHECK(smem_shm_create(0, 1, 0, MIB, SMEMS_DATA_OP_MTE, 0, &gva) == NULL);
  SAYS("2 MiB");
  CHECK(smem_shm_create(0, 1, 1, 2 * MIB, SMEMS_DATA_OP_MTE, 0, &gva) == NULL);
  CHECK(smem_shm_create(0, 1, 0, 2 * MIB, SMEMS_DATA_OP_MTE, 0, NULL) == NULL);
  CHECK(smem_shm_create(0, 1, 0, 2 * MIB, (smem_shm_data_op_type)0, 0, &gva) == NULL);
  smem_shm_t object = make(3, &gva);
  CHECK(smem_shm_create(3, 1, 0, 2 * MIB, SMEMS_DATA_OP_MTE, 0, &gva) == NULL);
  SAYS("already");
  ANSWERS(-2000, smem_shm_set_extra_context(object, bytes, 65537));
  ANSWERS(-2000, smem_shm_control_allgather(object, bytes, 0, bytes, 16));
  ANSWERS(-2000, smem_shm_control_allgather(object, bytes, 16, bytes, 15));
  ANSWERS(-2000, smem_shm_topology_can_reach(object, 1, &value));
  ANSWERS(-2000, smem_shm_atomic_alloc_value(object, 1025, &value));
  ANSWERS(-2000, smem_shm_atomic_release_value(object, -1));
  ANSWERS(-2000, smem_shm_subgroup_barrier(object, "", 1, 0));
  ANSWERS(-2000, smem_shm_destroy(bytes, 0));
  CHECK(smem_shm_get_global_rank(NULL) == UINT32_MAX && smem_shm_get_global_rank_size(NULL) == UINT32_MAX);
  end(object);
  return 0;
}

/* Rank 1 is in the worlds of two stores, whose other members know nothing of each other: the store of rank 0 has a pool,
 * that of rank 2 an object. */
static int worlds_of_two_stores(void) {
  smem_bm_config_t bm;
  smem_shm_config_t shm;
  smem_bm_t pool = NULL;
  smem_shm_t object = NULL;
  char other_url[64];
  void *gva = NULL;
  if (my_rank == 2) {
    atomic_store(&shared->words[0], free_port(AF_INET));
  }
  if (my_rank < 2) {
    ANSWERS(0, smem_bm_config_init(&bm));
    bm.rankId = (uint16_t)my_rank;
    bm.initTimeout = bm.createTimeout = bm.controlOperationTimeout = PATIENCE_S;
    ANSWERS(0, smem_bm_init(store_url, 2, 0, &bm));
    pool = smem_bm_create2(0, &(smem_bm_create_option_t){.maxDramSize = 2 * MIB,
                                                         .maxHbmSize = 2 * MIB,
                                                         .localDRAMSize = 2 * MIB,
                                                         .dataOpType = SMEMB_DATA_OP_SDMA});
    CHECK(pool != NULL);
    ANSWERS(0, smem_bm_join(pool, 0));
  }
  fence();
  snprintf(other_url, sizeof(other_url), "tcp://127.0.0.1:%u", (unsigned)atomic_load(&shared->words[0]));
  if (my_rank > 0) {
    ANSWERS(0, smem_shm_config_init(&shm));
    shm.shmInitTimeout = shm.shmCreateTimeout = shm.controlOperationTimeout = PATIENCE_S;
    ANSWERS(0, smem_shm_init(other_url, 2, 2 - my_rank, 0, &shm));
    object = smem_shm_create(0, 2, 2 - my_rank, 2 * MIB, SMEMS_DATA_OP_MTE, 0, &gva);
    if (object == NULL) {
      fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
    }
  }
  if (my_rank == 2) {
    fill(gva, 1000, 5);
  }
  fence();
  if (my_rank == 1) { /* from the one world to the other */
    smem_copy_params params = {.src = gva, .dest = smem_bm_ptr(pool, 0), .dataSize = 1000};
    ANSWERS(0, smem_bm_copy(pool, &params, SMEMB_COPY_H2G, 0));
  }
  fence();
  CHECK(my_rank != 0 || is_filled(smem_bm_ptr(pool, 0), 1000, 5));
  fence();
  smem_bm_uninit(0);
  if (my_rank > 0) {
    ANSWERS(0, smem_shm_control_barrier(object));
    ANSWERS(0, smem_shm_destroy(object, 0));
  }
  fence();
  smem_shm_uninit(0);
  return 0;
}

static void *make_one(void *id) {
  void *gva = NULL;
  return make((uint32_t)(uintptr_t)id, &gva);
}

/* Each rank makes two objects by threads of its own, and each begins with another one. */
static int objects_are_made_by_threads(void) {
  pthread_t thread;
  smem_shm_t other = NULL;
  begin();
  void *gva = NULL;
  smem_shm_t all = make(9, &gva);
  ANSWERS(0, smem_shm_control_barrier(all));
  CHECK(pthread_create(&thread, NULL, make_one, (void *)(uintptr_t)my_rank) == 0);
  sleep_ms(300);
  ANSWERS(0, smem_shm_control_barrier(all)); /* an object of before can be used meanwhile */
  smem_shm_t own = make(1 - my_rank, &gva);
  CHECK(pthread_join(thread, &other) == 0 && other != NULL && own != other);
  ANSWERS(0, smem_shm_destroy(own, 0));
  ANSWERS(0, smem_shm_destroy(other, 0));
  end(all);
  return 0;
}

int main(void) {
  ranks_set_up();
  bool good = ranks_run("bad input is named", 1, bad_input_is_named);
  good = ranks_run("parts lie side by side", 4, parts_lie_side_by_side) && good;
  good = ranks_run("ranks meet", 5, ranks_meet) && good;
  good = ranks_run("one ends all", 3, one_ends_all) && good;
  good = ranks_run("both live on one store", 3, both_live_on_one_store) && good;
  good = ranks_run("worlds of two stores", 3, worlds_of_two_stores) && good;
  good = ranks_run("objects are made by threads", 2, objects_are_made_by_threads) && good;
  return good ? 0 : 1;
}
