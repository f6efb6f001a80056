/* HYBM: entities of several processes that exchange what they export, copy in every direction, and part. */
#include "ranks.h"

#include <hmc.h>
#include <hybm/hybm_big_mem.h>
#include <hybm/hybm_data_op.h>
#include <smem/host/smem.h>

#include <stdlib.h>
#include <sys/mman.h>

#define MIB (UINT64_C(1) << 20)

enum { RANKS = 3, SPACE = 8 << 20, SIZE = 300000, PARTS = 4, HOST = 0, DEVICE = 1, PROGRAM = 2, ENTITY = 3 };

/* What ranks tell one another. */
static struct {
  hybm_exchange_info info[RANKS][PARTS];
  uint64_t address[RANKS][PARTS];
} * board;

static hybm_options options_of(uint32_t rank, uint32_t ranks) {
  hybm_options options = {.bmType = HYBM_TYPE_HOST_INITIATE,
                          .memType = (hybm_mem_type)(HYBM_MEM_TYPE_HOST | HYBM_MEM_TYPE_DEVICE),
                          .rankCount = (uint16_t)ranks,
                          .rankId = (uint16_t)rank,
                          .deviceVASpace = SPACE,
                          .hostVASpace = SPACE,
                          .globalUniqueAddress = true};
  return options;
}

static hybm_entity_t enter(uint16_t id, hybm_data_op_type op) {
  hybm_options options = options_of(my_rank, rank_count);
  options.bmDataOpType = op;
  ANSWERS(0, hybm_init(0, HYBM_INIT_GVM_FLAG));
  hybm_entity_t entity = hybm_create_entity(id, &options, 0);
  if (entity == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  ANSWERS(0, hybm_reserve_mem_space(entity, 0));
  return entity;
}

static int32_t copy(hybm_entity_t entity, const void *from, void *to, uint64_t size,
                    hybm_data_copy_direction direction) {
  hybm_copy_params params = {.src = (void *)(uintptr_t)from, .dest = to, .dataSize = size};
  return hybm_data_copy(entity, &params, direction, NULL, 0);
}

static void show(hybm_entity_t entity, int part, hybm_mem_slice_t slice) {
  if (slice == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  ANSWERS(0, hybm_export(entity, slice, 0, &board->info[my_rank][part]));
  board->address[my_rank][part] = (uint64_t)(uintptr_t)hybm_get_slice_va(entity, slice);
}

/* From a rank's part to local memory and back, through every direction; what comes back is what was sent. */
static void go_round(hybm_entity_t entity, uint32_t rank, char *own_host, char *own_device) {
  const hmc_memory_t sim = {.kind = HMC_MEMORY_SIM, .device = 0};
  char *host = malloc(SIZE), *got = malloc(SIZE), *there = (char *)(uintptr_t)board->address[rank][HOST] + MIB + 5;
  char *there_device = (char *)(uintptr_t)board->address[rank][DEVICE] + MIB + 7;
  void *device = NULL;
  CHECK(hmc_memory_allocate(sim, SIZE, &device) == HMC_SUCCESS);
  struct {
    void *from, *to;
    hybm_data_copy_direction direction;
  } steps[] = {
      {host, there, HYBM_LOCAL_HOST_TO_GLOBAL_HOST},
      {there, there_device, HYBM_GLOBAL_HOST_TO_GLOBAL_DEVICE},
      {there_device, device, HYBM_GLOBAL_DEVICE_TO_LOCAL_DEVICE},
      {device, there, HYBM_LOCAL_DEVICE_TO_GLOBAL_HOST},
      {there, own_host, HYBM_GLOBAL_HOST_TO_GLOBAL_HOST},
      {own_host, device, HYBM_GLOBAL_HOST_TO_LOCAL_DEVICE},
      {device, there_device, HYBM_LOCAL_DEVICE_TO_GLOBAL_DEVICE},
      {there_device, own_device, HYBM_GLOBAL_DEVICE_TO_GLOBAL_DEVICE},
      {own_device, there, HYBM_GLOBAL_DEVICE_TO_GLOBAL_HOST},
      {there, got, HYBM_GLOBAL_HOST_TO_LOCAL_HOST},
      {got, there_device, HYBM_LOCAL_HOST_TO_GLOBAL_DEVICE},
      {there_device, host, HYBM_GLOBAL_DEVICE_TO_LOCAL_HOST},
  };
  for (int is_auto = 0; is_auto < 2; is_auto++) {
    fill(host, SIZE, my_rank * 10 + rank + (uint64_t)is_auto * 100);
    memset(got, 0, SIZE);
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
      if (i == 11) {
        memset(host, 0, SIZE);
      }
      ANSWERS(0, copy(entity, steps[i].from, steps[i].to, SIZE,
                      is_auto ? HYBM_DATA_COPY_DIRECTION_AUTO : steps[i].direction));
    }
    CHECK(is_filled(got, SIZE, my_rank * 10 + rank + (uint64_t)is_auto * 100));
    CHECK(is_filled(host, SIZE, my_rank * 10 + rank + (uint64_t)is_auto * 100));
  }
  ANSWERS(-2000, copy(entity, host, there, SIZE, HYBM_LOCAL_DEVICE_TO_GLOBAL_HOST));
  SAYS("AUTO");
  CHECK(hmc_memory_free(sim, device) == HMC_SUCCESS);
  free(host);
  free(got);
}

/* Lists and copies that are waited for later, into memory that the program of another rank has. */
static void send_lists(hybm_entity_t entity, uint32_t rank, char *named) {
  enum { PIECES = 20, PIECE = 5000 };
  char *sent = malloc(PIECES * PIECE), *got = calloc(PIECES, PIECE);
  void *from[PIECES], *to[PIECES], *back[PIECES];
  uint64_t sizes[PIECES];
  for (int i = 0; i < PIECES; i++) {
    from[i] = sent + i * PIECE;
    to[i] = named + (PIECES - 1 - i) * PIECE;
    back[i] = got + i * PIECE;
    sizes[i] = PIECE;
  }
  fill(sent, PIECES * PIECE, 500 + rank);
  hybm_batch_copy_params out = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = PIECES};
  hybm_batch_copy_params in = {.sources = to, .destinations = back, .dataSizes = sizes, .batchSize = PIECES};
  ANSWERS(0, hybm_data_batch_copy(entity, &out, HYBM_LOCAL_HOST_TO_GLOBAL_HOST, NULL, ASYNC_COPY_FLAG));
  ANSWERS(0, hybm_wait(entity));
  ANSWERS(0, hybm_data_batch_copy(entity, &in, HYBM_DATA_COPY_DIRECTION_AUTO, NULL, 0));
  CHECK(is_filled(got, PIECES * PIECE, 500 + rank));
  free(sent);
  free(got);
}

static int slices_reach_all(void) {
  hybm_entity_t entity = enter(3, my_rank == 0 ? HYBM_DOP_TYPE_DEFAULT : HYBM_DOP_TYPE_SDMA);
  char *program = malloc(MIB), *base = hybm_get_memory_ptr(entity, HYBM_MEM_TYPE_HOST);
  hybm_mem_slice_t host = hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_HOST, 4 * MIB, 0);
  hybm_mem_slice_t device = hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_DEVICE, 4 * MIB, 0);
  show(entity, HOST, host);
  show(entity, DEVICE, device);
  show(entity, PROGRAM, hybm_register_local_memory(entity, program, MIB, 0));
  ANSWERS(0, hybm_export(entity, NULL, HYBM_FLAG_EXPORT_ENTITY, &board->info[my_rank][ENTITY]));
  char *own = hybm_get_slice_va(entity, host), *own_device = hybm_get_slice_va(entity, device);
  CHECK(own == base + (uint64_t)my_rank * SPACE);
  CHECK(own_device == (char *)hybm_get_memory_ptr(entity, HYBM_MEM_TYPE_DEVICE) + (uint64_t)my_rank * SPACE);
  fill(own, 1000, my_rank);
  fence();
  for (uint32_t step = 1; step < rank_count; step++) {
    uint32_t rank = (my_rank + step) % rank_count;
    void *addresses[PARTS];
    hybm_data_op_type reach;
    ANSWERS(0, hybm_entity_reach_types(entity, rank, &reach, 0));
    CHECK(reach == HYBM_DOP_TYPE_DEFAULT);
    ANSWERS(-2000, copy(entity, program, base + (uint64_t)rank * SPACE, 100, HYBM_DATA_COPY_DIRECTION_AUTO));
    SAYS("import");
    ANSWERS(0, hybm_import(entity, board->info[rank], PARTS, addresses, 0));
    CHECK((uint64_t)(uintptr_t)addresses[HOST] == board->address[rank][HOST]);
    CHECK((uint64_t)(uintptr_t)addresses[DEVICE] == board->address[rank][DEVICE] && addresses[ENTITY] == NULL);
    ANSWERS(0, hybm_entity_reach_types(entity, rank, &reach, 0));
    CHECK((reach & HYBM_DOP_TYPE_MTE) != 0);
    go_round(entity, rank, own + MIB * 3, own_device + MIB * 3);
    send_lists(entity, rank, addresses[PROGRAM]);
    ANSWERS(0, hybm_mmap(entity, 0));
    CHECK(is_filled(addresses[HOST], 1000, rank));
    fence();
  }
  hybm_unmap(entity, 0);
  /* Between two other ranks, through this one. */
  if (my_rank == 0) {
    ANSWERS(0, copy(entity, base + SPACE, base + UINT64_C(2) * SPACE + 2 * MIB, 1000, HYBM_GLOBAL_HOST_TO_GLOBAL_HOST));
  }
  fence();
  CHECK(my_rank != 2 || is_filled(own + 2 * MIB, 1000, 1));
  ANSWERS(-2009, hybm_unreserve_mem_space(entity, 0));
  /* One whose slice is freed, and one that was forgotten here. */
  if (my_rank == 1) {
    ANSWERS(0, hybm_free_local_memory(entity, host, 1, 0));
    ANSWERS(-2000, hybm_free_local_memory(entity, host, 1, 0));
  }
  fence();
  if (my_rank != 1) {
    ANSWERS(-2007, copy(entity, base + SPACE, program, 100, HYBM_DATA_COPY_DIRECTION_AUTO));
    ANSWERS(0, hybm_remove_imported(entity, 1, 0));
    ANSWERS(-2000, hybm_remove_imported(entity, 1, 0));
    ANSWERS(-2000, copy(entity, base + SPACE, program, 100, HYBM_DATA_COPY_DIRECTION_AUTO));
  }
  fence();
  ANSWERS(0, hybm_free_local_memory(entity, NULL, 0, 0));
  for (uint32_t rank = 0; rank < rank_count; rank++) {
    (void)hybm_remove_imported(entity, rank, 0);
  }
  ANSWERS(0, hybm_unreserve_mem_space(entity, 0));
  hybm_destroy_entity(entity, 0);
  hybm_uninit();
  free(program);
  return 0;
}

/* By tcp alone nothing is mapped, and everything is copied. */
static int tcp_alone(void) {
  hybm_entity_t entity = enter(4, HYBM_DOP_TYPE_HOST_TCP);
  show(entity, HOST, hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_HOST, 4 * MIB, 0));
  show(entity, DEVICE, hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_DEVICE, 4 * MIB, 0));
  char *own = (char *)(uintptr_t)board->address[my_rank][HOST];
  char *own_device = (char *)(uintptr_t)board->address[my_rank][DEVICE];
  hybm_data_op_type reach;
  fence();
  ANSWERS(0, hybm_import(entity, board->info[1 - my_rank], 2, NULL, 0));
  ANSWERS(0, hybm_entity_reach_types(entity, 1 - my_rank, &reach, 0));
  CHECK(reach == HYBM_DOP_TYPE_HOST_TCP);
  if (my_rank == 0) {
    go_round(entity, 1, own + MIB * 3, own_device + MIB * 3);
  }
  fence();
  hybm_destroy_entity(entity, 0);
  hybm_uninit();
  return 0;
}

static void count_line(int level, const char *text) { CHECK(level >= 0 && text != NULL); }

static int bad_input_is_named(void) {
  hybm_options options = options_of(0, 1);
  hybm_exchange_info nonsense = {.desc = "hybm1 1 2 3", .descLen = 11};
  uint32_t size = 0;
  size_t most = 0;
  char bytes[64] = "x";
  CHECK(hybm_create_entity(1, &options, 0) == NULL);
  SAYS("hybm_init");
  ANSWERS(0, hybm_init(0, 0));
  ANSWERS(-2000, hybm_init(1, 0));
  ANSWERS(0, hybm_init(0, 0));
  hybm_uninit();
  ANSWERS(-2000, hybm_set_extern_logger(NULL));
  ANSWERS(0, hybm_set_extern_logger(count_line));
  ANSWERS(-2000, hybm_set_log_level(9));
  ANSWERS(0, hybm_set_log_level(3));
  CHECK(strcmp(hybm_get_error_string(-2004), "the deadline passed") == 0 && hybm_get_error_string(-1234) == NULL);
  CHECK(hybm_create_entity(1, NULL, 0) == NULL);
  options.rankId = 1;
  CHECK(hybm_create_entity(1, &options, 0) == NULL);
  SAYS("below the count");
  options = options_of(0, 1);
  options.hostVASpace = 5;
  CHECK(hybm_create_entity(1, &options, 0) == NULL);
  SAYS("multiples of 2 MiB");
  options = options_of(0, 1);
  options.globalUniqueAddress = false;
  CHECK(hybm_create_entity(1, &options, 0) == NULL);
  options = options_of(0, 1);
  snprintf(options.transUrl, sizeof(options.transUrl), "somewhere");
  CHECK(hybm_create_entity(1, &options, 0) == NULL);
  options.transUrl[0] = '\0';
  const unsigned ways[] = {HYBM_DOP_TYPE_HOST_RDMA | HYBM_DOP_TYPE_DEVICE_RDMA, HYBM_DOP_TYPE_HOST_URMA};
  for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]);
       i++) { /* taken; whether a peer can be reached so, importing tells */
    options.bmDataOpType = (hybm_data_op_type)ways[i];
    hybm_entity_t alone = hybm_create_entity((uint16_t)(20 + i), &options, 0);
    CHECK(alone != NULL);
    hybm_destroy_entity(alone, 0);
  }
  hybm_entity_t entity = hybm_create_entity(1, &options, 0), other = hybm_create_entity(8, &options, 0);
  CHECK(entity != NULL && other != NULL);
  CHECK(hybm_get_memory_ptr(entity, HYBM_MEM_TYPE_HOST) == NULL);
  CHECK(hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_HOST, 2 * MIB, 0) == NULL);
  SAYS("hybm_reserve_mem_space");
  ANSWERS(-2003, hybm_unreserve_mem_space(entity, 0));
  ANSWERS(0, hybm_reserve_mem_space(entity, 0));
  ANSWERS(-2005, hybm_reserve_mem_space(entity, 0));
  ANSWERS(-2001, hybm_reserve_mem_space(other, 0)); /* 8 has the addresses of 1 */
  SAYS("another id");
  CHECK(hybm_get_memory_ptr(entity, HYBM_MEM_TYPE_BUTT) == NULL);
  CHECK(hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_BUTT, 2 * MIB, 0) == NULL);
  CHECK(hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_HOST, MIB, 0) == NULL);
  CHECK(hybm_alloc_local_memory(entity, HYBM_MEM_TYPE_HOST, 10 * MIB, 0) == NULL);
  CHECK(hybm_register_local_memory(entity, NULL, 10, 0) == NULL);
  ANSWERS(-2000, hybm_export(entity, bytes, 0, &nonsense));
  ANSWERS(-2000, hybm_export(entity, NULL, 0, NULL));
  ANSWERS(-2000, hybm_import(entity, NULL, 1, NULL, 0));
  ANSWERS(-2000, hybm_import(entity, &nonsense, 1, NULL, 0));
  SAYS("hybm_export");
  ANSWERS(0, hybm_export(other, NULL, 0, &nonsense));
  ANSWERS(-2000, hybm_import(entity, &nonsense, 1, NULL, 0)); /* another id */
  ANSWERS(0, hybm_export_slice_size(entity, &most));
  CHECK(most == sizeof(nonsense));
  ANSWERS(-2000, copy(entity, bytes, bytes + 32, 8, HYBM_DATA_COPY_DIRECTION_AUTO));
  ANSWERS(-2000, copy(entity, bytes, NULL, 8, HYBM_DATA_COPY_DIRECTION_AUTO));
  ANSWERS(-2000, copy(entity, bytes, bytes, 8, HYBM_DATA_COPY_DIRECTION_BUTT));
  ANSWERS(-2000, copy(bytes, bytes, bytes, 8, HYBM_DATA_COPY_DIRECTION_AUTO));
  ANSWERS(-2000, hybm_set_extra_context(entity, bytes, 65537));
  CHECK(hybm_get_extra_context(entity, &size) == NULL && size == 0);
  ANSWERS(0, hybm_set_extra_context(entity, bytes, 64));
  CHECK(hybm_get_extra_context(entity, &size) != NULL && size == 64);
  hybm_destroy_entity(bytes, 0); /* logged */
  hybm_destroy_entity(other, 0);
  hybm_destroy_entity(entity, 0);
  hybm_uninit();
  return 0;
}

int main(void) {
  ranks_set_up();
  board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  CHECK(board != MAP_FAILED);
  bool good = ranks_run("bad input is named", 1, bad_input_is_named);
  good = ranks_run("slices reach all", RANKS, slices_reach_all) && good;
  good = ranks_run("tcp alone", 2, tcp_alone) && good;
  return good ? 0 : 1;
}
