/* One of several ranks of a pool, on one host or several: every rank writes to the host and the device part of every
 * other one, single and as a list, reads that back, and finds what the others wrote to it. Parts of ranks on the same
 * host are read by loads too, where the way allows it.
 *
 * usage: smem_eight URL WORLD RANK auto|tcp|rdma FIRST_OF_HOST RANKS_OF_HOST */
#include <smem/host/smem_bm.h>
#include <smem/host/smem_shm.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIB (UINT64_C(1) << 20)

enum { PATIENCE_S = 120, PIECES = 20, LARGE = 128 << 10, SMALL = 16 << 10, AREA = 512 << 10 };

static uint32_t rank, world;
static smem_bm_t pool;

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "rank %u: line %d: %s: %s\n", rank, __LINE__, #condition, smem_get_last_err_msg());              \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

static void fill(char *bytes, size_t size, uint32_t from, uint32_t to, int kind) {
  for (size_t i = 0; i < size; i++) {
    bytes[i] = (char)(i * 31 + i / 257 + from * 7 + to * 13 + (uint32_t)kind * 5);
  }
}

static char *part_of(uint32_t of, int kind) {
  return smem_bm_ptr_by_mem_type(pool, kind == 0 ? SMEM_MEM_TYPE_HOST : SMEM_MEM_TYPE_DEVICE, (uint16_t)of);
}

/* A rank that gets no processor for seconds is taken for dead, and is back when it runs: true where to copy again. */
static int is_to_repeat(int32_t code) {
  static int repeated;
  const struct timespec pause = {.tv_nsec = 100000000};
  return code == -2007 && repeated++ < PATIENCE_S * 10 && nanosleep(&pause, NULL) == 0;
}

static void copy(const void *from, void *to, uint64_t size) {
  smem_copy_params params = {.src = from, .dest = to, .dataSize = size};
  int32_t code;
  do {
    code = smem_bm_copy(pool, &params, SMEMB_COPY_AUTO, 0);
  } while (is_to_repeat(code));
  CHECK(code == 0);
}

/* Pieces large and small, in turns, one behind the other here and apart there. */
static void copy_list(char *local, char *there, int is_out) {
  void *here[PIECES], *far[PIECES];
  uint64_t sizes[PIECES], offset = 0, far_offset = 0;
  for (int i = 0; i < PIECES; i++) {
    sizes[i] = i % 2 == 0 ? LARGE / 8 : SMALL / 8;
    here[i] = local + offset;
    far[i] = there + far_offset;
    offset += sizes[i];
    far_offset += LARGE / 8;
  }
  smem_batch_copy_params params = {
      .sources = is_out ? here : far, .destinations = is_out ? far : here, .dataSizes = sizes, .batchSize = PIECES};
  int32_t code;
  do {
    code = smem_bm_copy_batch(pool, &params, is_out ? SMEMB_COPY_H2G : SMEMB_COPY_G2H, 0);
  } while (is_to_repeat(code));
  CHECK(code == 0);
}

static void exchange(smem_shm_t meeting, uint32_t first, uint32_t count, int may_load) {
  static char sent[AREA], got[AREA];
  for (uint32_t step = 1; step < world; step++) {
    uint32_t other = (rank + step) % world;
    for (int kind = 0; kind < 2; kind++) {
      char *there = part_of(other, kind) + (uint64_t)rank * AREA;
      fill(sent, AREA, rank, other, kind);
      copy_list(sent, there, 1);
      memset(got, 0, sizeof(got));
      copy_list(got, there, 0);
      CHECK(memcmp(sent, got, PIECES / 2 * (LARGE + SMALL) / 8) == 0);
      copy(sent, there, AREA);
    }
  }
  CHECK(smem_shm_control_barrier(meeting) == 0);
  for (uint32_t step = 1; step < world; step++) {
    uint32_t other = (rank + step) % world;
    for (int kind = 0; kind < 2; kind++) {
      fill(sent, AREA, other, rank, kind);
      copy(part_of(rank, kind) + (uint64_t)other * AREA, got, AREA);
      CHECK(memcmp(sent, got, AREA) == 0);
    }
    if (may_load && other >= first && other < first + count) {
      fill(sent, AREA, rank, other, 0);
      CHECK(memcmp(part_of(other, 0) + (uint64_t)rank * AREA, sent, AREA) == 0);
    }
  }
}

int main(int count, char **arguments) {
  if (count != 7) {
    fprintf(stderr, "usage: smem_eight URL WORLD RANK auto|tcp|rdma FIRST_OF_HOST RANKS_OF_HOST\n");
    return 2;
  }
  smem_bm_data_op_type op = strcmp(arguments[4], "tcp") == 0    ? SMEMB_DATA_OP_HOST_TCP
                            : strcmp(arguments[4], "rdma") == 0 ? SMEMB_DATA_OP_HOST_RDMA
                                                                : SMEMB_DATA_OP_SDMA;
  smem_bm_config_t config;
  smem_shm_config_t shm_config;
  void *base;
  uint32_t reach = 0;
  world = (uint32_t)atoi(arguments[2]);
  rank = (uint32_t)atoi(arguments[3]);
  uint32_t first = (uint32_t)atoi(arguments[5]), near = (uint32_t)atoi(arguments[6]);
  CHECK(smem_bm_config_init(&config) == 0 && smem_shm_config_init(&shm_config) == 0);
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = PATIENCE_S;
  config.rankId = (uint16_t)rank;
  const char *own_url = getenv("HCOM_URL");
  snprintf(config.hcomUrl, sizeof(config.hcomUrl), "%s", own_url != NULL ? own_url : "");
  CHECK(smem_bm_init(arguments[1], world, 0, &config) == 0);
  CHECK(smem_shm_init(arguments[1], world, rank, 0, &shm_config) == 0);
  smem_shm_t meeting = smem_shm_create(0, world, rank, 2 * MIB, SMEMS_DATA_OP_MTE, 0, &base);
  CHECK(meeting != NULL);
  pool = smem_bm_create(0, 0, op, 8 * MIB, 8 * MIB, 0);
  CHECK(pool != NULL && smem_bm_join(pool, 0) == 0);
  CHECK(smem_shm_control_barrier(meeting) == 0);
  for (uint32_t other = 0; other < world; other++) {
    CHECK(smem_shm_topology_can_reach(meeting, other, &reach) == 0);
    CHECK((reach != 0) == (other >= first && other < first + near));
  }
  exchange(meeting, first, near, op == SMEMB_DATA_OP_SDMA);
  CHECK(smem_shm_control_barrier(meeting) == 0);
  smem_bm_destroy(pool);
  CHECK(smem_shm_control_barrier(meeting) == 0);
  CHECK(smem_shm_destroy(meeting, 0) == 0);
  smem_bm_uninit(0);
  smem_shm_uninit(0);
  printf("rank %u is done\n", rank);
  return 0;
}
