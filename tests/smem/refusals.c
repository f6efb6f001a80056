/* What SMEM refuses, as a table: the call, the code of the list in smem.h, and words of the text that name the remedy.
 *
 * Each table is run by one process: before anything was initialised, in a world of its own, and by two ranks. */
#include "port.h"
#include "ranks.h"

#include <hmc.h>
#include <smem/host/smem.h>
#include <smem/host/smem_bm.h>
#include <smem/host/smem_shm.h>
#include <smem/host/smem_trans.h>

#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PART (2 * MIB)

typedef struct refusal {
  const char *call;
  int32_t (*attempt)(void);
  int32_t code;       /* NOTHING: the call answers no code but NULL, which `attempt` maps to it */
  const char *remedy; /* words of the text */
} refusal_t;

enum { NOTHING = 12345 };

#define REFUSAL(code, remedy, attempt)                                                                                 \
  { #attempt, attempt, code, remedy }

/* All of a table, so that one run shows every fault. */
static void try_all(const refusal_t *table, size_t count) {
  unsigned faults = 0;
  for (size_t i = 0; i < count; i++) {
    (void)smem_get_and_clear_last_err_msg();
    int32_t code = table[i].attempt();
    const char *text = smem_get_last_err_msg();
    if (code != table[i].code || strstr(text, table[i].remedy) == NULL) {
      printf("%s: %d \"%s\", not %d with \"%s\"\n", table[i].call, code, text, table[i].code, table[i].remedy);
      faults++;
    }
  }
  fflush(stdout);
  CHECK(faults == 0);
}

#define TRY_ALL(table) try_all(table, sizeof(table) / sizeof((table)[0]))

static smem_bm_t pool;
static smem_shm_t object;
static smem_trans_t trans;
static char own_id[32], other_id[32];
static uint8_t bytes[4096];

static int32_t null_is_nothing(const void *made) { return made == NULL ? NOTHING : 0; }
static uint8_t *part(uint32_t rank) { return smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)rank); }

/* ---- before anything is initialised ------------------------------------------------------------------------------ */

static int32_t enter_bm(const char *url, uint32_t size, uint16_t device, uint16_t rank, bool serves) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = 1;
  config.rankId = rank;
  config.startConfigStoreServer = serves;
  return smem_bm_init(url, size, device, &config);
}
static int32_t bm_before_init(void) { return null_is_nothing(smem_bm_create(1, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0)); }
static int32_t bm_join_before_init(void) { return smem_bm_join(bytes, 0); }
static int32_t bm_rank_before_init(void) { return smem_bm_get_rank_id() == UINT32_MAX ? NOTHING : 0; }
static int32_t bm_no_url(void) { return enter_bm(NULL, 1, 0, 0, true); }
static int32_t bm_typo_of_the_documents(void) { return enter_bm("tcp:://127.0.0.1:4000", 1, 0, 0, true); }
static int32_t bm_low_port(void) { return enter_bm("tcp://127.0.0.1:1024", 1, 0, 0, true); }
static int32_t bm_no_world(void) { return enter_bm(store_url, 0, 0, 0, true); }
static int32_t bm_large_world(void) { return enter_bm(store_url, 1025, 0, 0, true); }
static int32_t bm_rank_outside(void) { return enter_bm(store_url, 2, 0, 2, true); }
static int32_t bm_no_store(void) { return enter_bm(unserved_url, 1, 0, 0, false); }
static int32_t bm_no_config(void) { return smem_bm_init(store_url, 1, 0, NULL); }
static int32_t bm_endless_nic(void) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  memset(config.hcomUrl, 'x', sizeof(config.hcomUrl));
  return smem_bm_init(store_url, 1, 0, &config);
}
static int32_t shm_before_init(void) {
  void *gva;
  return null_is_nothing(smem_shm_create(0, 1, 0, PART, SMEMS_DATA_OP_MTE, 0, &gva));
}
static int32_t shm_barrier_before_init(void) { return smem_shm_control_barrier(bytes); }
static int32_t enter_shm(const char *url, uint32_t timeout, uint32_t rank) {
  smem_shm_config_t config;
  ANSWERS(0, smem_shm_config_init(&config));
  config.shmInitTimeout = timeout;
  config.startConfigStoreServer = false;
  return smem_shm_init(url, 1, rank, 0, &config);
}
static int32_t shm_no_store(void) { return enter_shm(unserved_url, 1, 0); }
static int32_t shm_no_time(void) { return enter_shm(store_url, 0, 0); }
static int32_t shm_rank_outside(void) { return enter_shm(store_url, 1, 1); }
static int32_t trans_before_init(void) { return smem_trans_register_mem(bytes, bytes, 16, 0); }
static int32_t trans_no_config(void) { return smem_trans_init(NULL); }
static int32_t serve_nowhere(void) { return smem_create_config_store("tcp://192.0.2.1:4000"); }
static int32_t serve_no_url(void) { return smem_create_config_store("127.0.0.1:4000"); }
static int32_t no_logger(void) { return smem_set_extern_logger(NULL); }
static int32_t bad_level(void) { return smem_set_log_level(4); }
static int32_t no_certificates(void) { return smem_set_conf_store_tls(true, NULL, 0); }
static int32_t some_certificates(void) { return smem_set_conf_store_tls(true, "tlsCert: x;", 11); }
static int32_t no_key(void) { return smem_set_config_store_tls_key(NULL, 0, NULL, 0, NULL); }

static int nothing_is_initialised(void) {
  static const refusal_t table[] = {
      REFUSAL(NOTHING, "call smem_bm_init first", bm_before_init),
      REFUSAL(-2008, "call smem_bm_init first", bm_join_before_init),
      REFUSAL(NOTHING, "call smem_bm_init first", bm_rank_before_init),
      REFUSAL(-2000, "tcp://IP:PORT", bm_no_url),
      REFUSAL(-2000, "IP:PORT", bm_typo_of_the_documents),
      REFUSAL(-2000, "from 1025 on", bm_low_port),
      REFUSAL(-2000, "1 to 1024", bm_no_world),
      REFUSAL(-2000, "1 to 1024", bm_large_world),
      REFUSAL(-2000, "ranks begin at 0", bm_rank_outside),
      REFUSAL(-2004, "rank 0 or hmc-store serves it", bm_no_store),
      REFUSAL(-2000, "a config are needed", bm_no_config),
      REFUSAL(-2000, "63 bytes", bm_endless_nic),
      REFUSAL(NOTHING, "call smem_shm_init first", shm_before_init),
      REFUSAL(-2008, "call smem_shm_init first", shm_barrier_before_init),
      REFUSAL(-2004, "rank 0 or hmc-store serves it", shm_no_store),
      REFUSAL(-2000, "without a timeout of 0", shm_no_time),
      REFUSAL(-2000, "a rank in it", shm_rank_outside),
      REFUSAL(-2008, "call smem_trans_init first", trans_before_init),
      REFUSAL(-2000, "smem_trans_config_init", trans_no_config),
      REFUSAL(-1, "192.0.2.1", serve_nowhere),
      REFUSAL(-2000, "tcp://IP:PORT", serve_no_url),
      REFUSAL(-2000, "give one", no_logger),
      REFUSAL(-2000, "takes 0 (debug), 1 (info), 2 (warning) or 3 (error)", bad_level),
      REFUSAL(-2000, "tlsCaPath", no_certificates),
      REFUSAL(-2000, "tlsCaFile", some_certificates),
      REFUSAL(-2000, "a key is needed", no_key),
  };
  TRY_ALL(table);
  return 0;
}

/* ---- a world of one ---------------------------------------------------------------------------------------------- */

static int32_t make_pool(uint32_t id, uint64_t host, uint64_t device, unsigned type) {
  return null_is_nothing(smem_bm_create(id, 0, (smem_bm_data_op_type)type, host, device, 0));
}
static int32_t bm_id_twice(void) { return make_pool(5, PART, 0, SMEMB_DATA_OP_SDMA); }
static int32_t bm_odd_size(void) { return make_pool(6, PART + 1, 0, SMEMB_DATA_OP_SDMA); }
static int32_t bm_huge_size(void) { return make_pool(6, 0, (64ULL << 30) + PART, SMEMB_DATA_OP_SDMA); }
static int32_t bm_no_memory(void) { return make_pool(6, 0, 0, SMEMB_DATA_OP_SDMA); }
static int32_t bm_no_type(void) { return make_pool(6, PART, 0, 0); }
static int32_t bm_larger_than_its_max(void) {
  const smem_bm_create_option_t option = {
      .maxDramSize = PART, .localDRAMSize = 2 * PART, .dataOpType = SMEMB_DATA_OP_SDMA, .dramShmFd = -1};
  return null_is_nothing(smem_bm_create2(6, &option));
}
static int32_t bm_no_option(void) { return null_is_nothing(smem_bm_create2(6, NULL)); }
static int32_t bm_stale_handle(void) { return smem_bm_join(bytes, 0); }
static int32_t bm_no_handle(void) { return smem_bm_wait(NULL); }
static int32_t bm_join_twice(void) { return smem_bm_join(pool, 0); }
static int32_t bm_leave_twice(void) {
  ANSWERS(0, smem_bm_leave(pool, 0));
  int32_t code = smem_bm_leave(pool, 0);
  ANSWERS(0, smem_bm_join(pool, 0)); /* which leaves the text as it is */
  return code;
}
static int32_t copy(const void *source, void *target, uint64_t size, smem_bm_copy_type type) {
  smem_copy_params params = {.src = source, .dest = target, .dataSize = size};
  return smem_bm_copy(pool, &params, type, 0);
}
static int32_t bm_past_the_part(void) { return copy(bytes, part(0) + PART - 50, 100, SMEMB_COPY_H2G); }
static int32_t bm_beyond_the_part(void) { return copy(bytes, part(0) + 2 * PART, 100, SMEMB_COPY_H2G); }
static int32_t bm_outside_the_pool(void) { return copy(bytes, bytes + 64, 10, SMEMB_COPY_AUTO); }
static int32_t bm_to_null(void) { return copy(bytes, NULL, 10, SMEMB_COPY_H2G); }
static int32_t bm_no_bytes(void) { return copy(bytes, part(0), 0, SMEMB_COPY_H2G); }
static int32_t bm_wrong_way(void) { return copy(bytes, part(0), 10, SMEMB_COPY_G2H); }
static int32_t bm_no_direction(void) { return copy(bytes, part(0), 10, SMEMB_COPY_BUTT); }
static int32_t bm_no_parameters(void) { return smem_bm_copy(pool, NULL, SMEMB_COPY_H2G, 0); }
static int32_t bm_empty_batch(void) {
  smem_batch_copy_params params = {.batchSize = 0};
  return smem_bm_copy_batch(pool, &params, SMEMB_COPY_H2G, 0);
}
static int32_t bm_narrow_rows(void) {
  smem_copy_2d_params rows = {.src = bytes, .spitch = 8, .dest = part(0), .dpitch = 64, .width = 16, .height = 2};
  return smem_bm_copy_2d(pool, &rows, SMEMB_COPY_H2G, 0);
}
static int32_t bm_pointer_of_nobody(void) {
  return smem_bm_get_rank_id_by_gva(pool, bytes) == UINT32_MAX ? NOTHING : 0;
}
static int32_t bm_pointer_of_rank_9(void) { return null_is_nothing(smem_bm_ptr(pool, 9)); }
static int32_t bm_pointer_of_a_local_type(void) {
  return null_is_nothing(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_LOCAL_HOST, 0));
}
static int32_t bm_registered_with_another_size(void) {
  ANSWERS(0, smem_bm_register_user_mem(pool, (uint64_t)(uintptr_t)bytes, 1024));
  return smem_bm_register_user_mem(pool, (uint64_t)(uintptr_t)bytes, 2048);
}
static int32_t bm_registered_without_size(void) {
  return smem_bm_register_user_mem(pool, (uint64_t)(uintptr_t)bytes, 0);
}
static int one_has_a_pool(void) {
  static const refusal_t table[] = {
      REFUSAL(NOTHING, "destroy it first", bm_id_twice),
      REFUSAL(NOTHING, "multiples of 2 MiB", bm_odd_size),
      REFUSAL(NOTHING, "multiples of 2 MiB up to", bm_huge_size),
      REFUSAL(NOTHING, "give a host size", bm_no_memory),
      REFUSAL(NOTHING, "SMEMB_DATA_OP_", bm_no_type),
      REFUSAL(NOTHING, "make these larger", bm_larger_than_its_max),
      REFUSAL(NOTHING, "smem_bm_create2 needs them", bm_no_option),
      REFUSAL(-2000, "a handle of smem_bm_create that was not destroyed", bm_stale_handle),
      REFUSAL(-2000, "smem_bm_create makes one", bm_no_handle),
      REFUSAL(-2005, "call smem_bm_leave first", bm_join_twice),
      REFUSAL(-2003, "call smem_bm_join first", bm_leave_twice),
      REFUSAL(-2000, "ends within the part", bm_past_the_part),
      REFUSAL(-2000, "ends within the part", bm_beyond_the_part),
      REFUSAL(-2000, "smem_bm_ptr", bm_outside_the_pool),
      REFUSAL(-2000, "two addresses", bm_to_null),
      REFUSAL(-2000, "a size above 0", bm_no_bytes),
      REFUSAL(-2000, "SMEMB_COPY_AUTO finds it", bm_wrong_way),
      REFUSAL(-2000, "SMEMB_COPY_L2G to AUTO", bm_no_direction),
      REFUSAL(-2000, "parameters", bm_no_parameters),
      REFUSAL(-2000, "at least one are needed", bm_empty_batch),
      REFUSAL(-2000, "pitches of at least the width", bm_narrow_rows),
      REFUSAL(NOTHING, "smem_bm_ptr", bm_pointer_of_nobody),
      REFUSAL(NOTHING, "ranks begin at 0", bm_pointer_of_rank_9),
      REFUSAL(NOTHING, "takes SMEM_MEM_TYPE_DEVICE or SMEM_MEM_TYPE_HOST", bm_pointer_of_a_local_type),
      REFUSAL(-1, "call smem_bm_unregister_user_mem first", bm_registered_with_another_size),
      REFUSAL(-2000, "a size above 0", bm_registered_without_size),
  };
  ANSWERS(0, enter_bm(store_url, 1, 0, 0, true));
  pool = smem_bm_create(5, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0);
  CHECK(pool != NULL);
  ANSWERS(0, smem_bm_join(pool, 0));
  TRY_ALL(table);
  smem_bm_uninit(0);
  return 0;
}

/* ---- two of them ------------------------------------------------------------------------------------------------- */

static uint8_t *device_part(uint32_t rank) {
  return smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_DEVICE, (uint16_t)rank);
}
static int32_t bm_larger_than_the_others(void) { return make_pool(9, 3 * PART, 0, SMEMB_DATA_OP_SDMA); }
static int32_t bm_to_one_not_there(void) { return copy(bytes, part(1), 100, SMEMB_COPY_H2G); }
static int32_t bm_from_one_not_there(void) { return copy(part(1), bytes, 100, SMEMB_COPY_AUTO); }
static int32_t bm_past_a_smaller_part(void) { return copy(bytes, part(1) + PART - 50, 100, SMEMB_COPY_H2G); }
static int32_t bm_to_a_part_of_0_bytes(void) { return copy(bytes, device_part(1), 100, SMEMB_COPY_H2G); }
static int32_t bm_batch_past_a_part(void) {
  void *from[2] = {bytes, bytes + 100}, *to[2] = {part(1), part(1) + PART - 50};
  uint64_t sizes[2] = {100, 100};
  smem_batch_copy_params params = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = 2};
  return smem_bm_copy_batch(pool, &params, SMEMB_COPY_H2G, 0);
}

/* Rank 0 makes a pool for parts of at most two pages, which rank 1 joins with less. */
static int pools_of_two(void) {
  static const refusal_t alone[] = {
      REFUSAL(-2007, "copy when it is there again", bm_to_one_not_there),
      REFUSAL(-2007, "copy when it is there again", bm_from_one_not_there),
  };
  static const refusal_t both[] = {
      REFUSAL(-2000, "run past", bm_past_a_smaller_part),
      REFUSAL(-2000, "runs past", bm_batch_past_a_part),
      REFUSAL(-2000, "it was created with 0 B of that kind", bm_to_a_part_of_0_bytes),
  };
  static const refusal_t late[] = {
      REFUSAL(NOTHING, "give all the same max sizes", bm_larger_than_the_others),
  };
  const smem_bm_create_option_t option = {.maxDramSize = 2 * PART,
                                          .maxHbmSize = PART,
                                          .localDRAMSize = my_rank == 0 ? 2 * PART : PART,
                                          .localHBMSize = my_rank == 0 ? PART : 0,
                                          .dataOpType = SMEMB_DATA_OP_SDMA,
                                          .dramShmFd = -1};
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = PATIENCE_S;
  config.rankId = (uint16_t)my_rank;
  ANSWERS(0, smem_bm_init(store_url, 2, 0, &config));
  if (my_rank == 0) {
    pool = smem_bm_create2(9, &option);
    CHECK(pool != NULL);
    ANSWERS(0, smem_bm_join(pool, 0));
    TRY_ALL(alone);
  }
  fence();
  if (my_rank == 1) {
    TRY_ALL(late);
    pool = smem_bm_create2(9, &option);
    CHECK(pool != NULL);
    ANSWERS(0, smem_bm_join(pool, 0));
  }
  fence();
  if (my_rank == 0) {
    TRY_ALL(both);
  }
  fence();
  smem_bm_destroy(pool);
  fence();
  smem_bm_uninit(0);
  return 0;
}

static int32_t make_object(uint32_t id, uint32_t rank, uint64_t size, unsigned type, void **gva) {
  return null_is_nothing(smem_shm_create(id, 2, rank, size, (smem_shm_data_op_type)type, 0, gva));
}
static void *place;
static int32_t shm_large_id(void) { return make_object(64, my_rank, PART, SMEMS_DATA_OP_MTE, &place); }
static int32_t shm_odd_size(void) { return make_object(1, my_rank, MIB, SMEMS_DATA_OP_MTE, &place); }
static int32_t shm_rank_2_of_2(void) { return make_object(1, 2, PART, SMEMS_DATA_OP_MTE, &place); }
static int32_t shm_no_place(void) { return make_object(1, my_rank, PART, SMEMS_DATA_OP_MTE, NULL); }
static int32_t shm_no_type(void) { return make_object(1, my_rank, PART, 0, &place); }
static int32_t shm_id_twice(void) { return make_object(0, my_rank, PART, SMEMS_DATA_OP_MTE, &place); }
static int32_t shm_sizes_differ(void) {
  return make_object(2, my_rank, (1 + my_rank) * PART, SMEMS_DATA_OP_MTE, &place);
}
static int32_t shm_stale_handle(void) { return smem_shm_destroy(bytes, 0); }
static int32_t shm_large_context(void) { return smem_shm_set_extra_context(object, bytes, 65537); }
static int32_t shm_small_room(void) { return smem_shm_control_allgather(object, (char *)bytes, 16, (char *)bytes, 31); }
static int32_t shm_no_key(void) { return smem_shm_subgroup_barrier(object, "", 2, my_rank); }
static int32_t shm_rank_out_of_reach(void) {
  uint32_t reach;
  return smem_shm_topology_can_reach(object, 2, &reach);
}
static int32_t shm_large_limit(void) {
  uint32_t number;
  return smem_shm_atomic_alloc_value(object, 1025, &number);
}
static int32_t shm_no_number_left(void) {
  uint32_t number;
  int32_t code = 0;
  while (code == 0) {
    code = smem_shm_atomic_alloc_value(object, 1, &number);
  }
  return code;
}
static int32_t shm_bad_number(void) { return smem_shm_atomic_release_value(object, 1024); }
static void note_exit(int status) { (void)status; }
static int32_t shm_second_handler(void) {
  ANSWERS(0, smem_shm_register_exit(object, note_exit));
  return smem_shm_register_exit(object, note_exit);
}
static int32_t shm_no_handler(void) { return smem_shm_register_exit(object, NULL); }

static int objects_of_two(void) {
  static const refusal_t table[] = {
      REFUSAL(NOTHING, "an id below 64", shm_large_id),
      REFUSAL(NOTHING, "multiples of 2 MiB up to", shm_odd_size),
      REFUSAL(NOTHING, "a rank below the number of ranks", shm_rank_2_of_2),
      REFUSAL(NOTHING, "a place for the address", shm_no_place),
      REFUSAL(NOTHING, "SMEMS_DATA_OP_", shm_no_type),
      REFUSAL(NOTHING, "destroy it first", shm_id_twice),
      REFUSAL(NOTHING, "all give the same size", shm_sizes_differ),
      REFUSAL(-2000, "a handle of smem_shm_create that was not destroyed", shm_stale_handle),
      REFUSAL(-2000, "1 to 65536", shm_large_context),
      REFUSAL(-2000, "room for all", shm_small_room),
      REFUSAL(-2000, "a key", shm_no_key),
      REFUSAL(-2000, "a place for the answer", shm_rank_out_of_reach),
      REFUSAL(-2000, "limits of 1 to 1024", shm_large_limit),
      REFUSAL(-1, "release one, or give a larger limit", shm_no_number_left),
      REFUSAL(-2000, "0 to 1023", shm_bad_number),
      REFUSAL(-1, "it takes one for good", shm_second_handler),
      REFUSAL(-2000, "give one", shm_no_handler),
  };
  smem_shm_config_t config;
  ANSWERS(0, smem_shm_config_init(&config));
  ANSWERS(0, smem_shm_init(store_url, 2, my_rank, 0, &config));
  object = smem_shm_create(0, 2, my_rank, PART, SMEMS_DATA_OP_MTE, 0, &place);
  CHECK(object != NULL);
  TRY_ALL(table);
  fence();
  ANSWERS(0, smem_shm_destroy(object, 0));
  fence();
  smem_shm_uninit(0);
  return 0;
}

/* Both say that they are rank 0: one of them, at least, hears that somebody else is. */
static int a_rank_twice(void) {
  smem_shm_config_t config;
  ANSWERS(0, smem_shm_config_init(&config));
  config.shmCreateTimeout = 2;
  config.startConfigStoreServer = my_rank == 0;
  ANSWERS(0, smem_shm_init(store_url, 2, 0, 0, &config));
  fence();
  CHECK(smem_shm_create(3, 2, 0, PART, SMEMS_DATA_OP_MTE, 0, &place) == NULL);
  if (strstr(smem_get_last_err_msg(), "a rankId of its own") != NULL) {
    atomic_fetch_add(&shared->words[0], 1);
  }
  fence();
  CHECK(atomic_load(&shared->words[0]) > 0);
  smem_shm_uninit(0);
  return 0;
}

/* With a port that the handle takes in a moment. */
static void make_id(char id[32]) {
  unsigned port = free_port(AF_INET);
  CHECK(port != 0);
  snprintf(id, 32, "127.0.0.1:%u", port);
}

static int32_t transfer(const char *id, const void *from, void *to, size_t size, uint32_t flags) {
  return smem_trans_write(trans, from, id, to, size, flags);
}
static int32_t trans_to_nobody(void) { return transfer("127.0.0.1:1", bytes, bytes, 16, 0); }
static int32_t trans_to_no_id(void) { return transfer(NULL, bytes, bytes, 16, 0); }
static int32_t trans_to_null(void) { return transfer(other_id, bytes, NULL, 16, 0); }
static int32_t trans_no_bytes(void) { return transfer(other_id, bytes, bytes, 0, 0); }
static int32_t trans_bad_flags(void) { return transfer(other_id, bytes, bytes, 16, 1); }
static int32_t trans_unregistered(void) { return transfer(other_id, bytes, bytes + 8, 16, 0); }
static int32_t trans_same_role(void) { return transfer(own_id, bytes, bytes, 16, 0); }
static int32_t trans_overlap(void) {
  ANSWERS(0, smem_trans_register_mem(trans, bytes, 1024, 0));
  return smem_trans_register_mem(trans, bytes + 512, 1024, 0);
}
static int32_t trans_register_null(void) { return smem_trans_register_mem(trans, NULL, 16, 0); }
static int32_t trans_register_none(void) { return smem_trans_batch_register_mem(trans, NULL, NULL, 0, 0); }
static int32_t trans_no_stream(void) { return smem_trans_write_submit(trans, bytes, other_id, bytes, 16, NULL, 0); }
static int32_t trans_stale_handle(void) { return smem_trans_register_mem(bytes, bytes, 16, 0); }
static int32_t trans_too_much(void) { return null_is_nothing(smem_trans_malloc(trans, (size_t)16 << 40)); }
static int32_t trans_free_of_others(void) { return smem_trans_free(trans, bytes); }
static smem_trans_t make_trans(const char *id, smem_trans_role_t role) {
  smem_trans_config_t config;
  ANSWERS(0, smem_trans_config_init(&config));
  config.role = role;
  config.dataOpType = SMEMB_DATA_OP_SDMA;
  config.startConfigServer = true;
  return smem_trans_create(store_url, id, &config);
}
static int32_t trans_id_twice(void) { return null_is_nothing(make_trans(own_id, SMEM_TRANS_SENDER)); }
static int32_t trans_id_without_port(void) { return null_is_nothing(make_trans("127.0.0.1", SMEM_TRANS_SENDER)); }
static int32_t trans_no_role(void) { return null_is_nothing(make_trans(other_id, SMEM_TRANS_BUTT)); }

static int handles_of_transfers(void) {
  static const refusal_t table[] = {
      REFUSAL(-2000, "creates its handle first, at the same store", trans_to_nobody),
      REFUSAL(-2000, "its uniqueId", trans_to_no_id),
      REFUSAL(-2000, "two addresses", trans_to_null),
      REFUSAL(-2000, "a size above 0", trans_no_bytes),
      REFUSAL(-2000, "COPY_EXTEND_FLAG", trans_bad_flags),
      REFUSAL(-2000, "smem_trans_register_mem first", trans_unregistered),
      REFUSAL(-2000, "senders reach receivers", trans_same_role),
      REFUSAL(-2000, "deregister that first", trans_overlap),
      REFUSAL(-2000, "an address", trans_register_null),
      REFUSAL(-2000, "at least one", trans_register_none),
      REFUSAL(-2000, "*_submit calls need one", trans_no_stream),
      REFUSAL(-2000, "smem_trans_create", trans_stale_handle),
      REFUSAL(NOTHING, "are given", trans_too_much),
      REFUSAL(-2000, "smem_trans_malloc", trans_free_of_others),
      REFUSAL(NOTHING, "uniqueId", trans_id_twice),
      REFUSAL(NOTHING, "IP:PORT", trans_id_without_port),
      REFUSAL(NOTHING, "a config with a role", trans_no_role),
  };
  smem_trans_config_t config;
  ANSWERS(0, smem_trans_config_init(&config));
  ANSWERS(0, smem_trans_init(&config));
  make_id(own_id);
  make_id(other_id);
  trans = make_trans(own_id, SMEM_TRANS_SENDER);
  smem_trans_t receiver = make_trans(other_id, SMEM_TRANS_RECEIVER);
  CHECK(trans != NULL && receiver != NULL);
  TRY_ALL(table);
  smem_trans_destroy(receiver, 0);
  smem_trans_destroy(trans, 0);
  smem_trans_uninit(0);
  return 0;
}

int main(void) {
  ranks_set_up();
  bool good = ranks_run("nothing is initialised", 1, nothing_is_initialised);
  good = ranks_run("one has a pool", 1, one_has_a_pool) && good;
  good = ranks_run("pools of two", 2, pools_of_two) && good;
  good = ranks_run("objects of two", 2, objects_of_two) && good;
  good = ranks_run("a rank twice", 2, a_rank_twice) && good;
  good = ranks_run("handles of transfers", 1, handles_of_transfers) && good;
  return good ? 0 : 1;
}
