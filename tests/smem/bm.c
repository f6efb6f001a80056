/* Tests of BM: every direction, batches, rows, members that join, leave and die, and bad input. */
#include "port.h"
#include "ranks.h"

#include <hmc.h>
#include <smem/host/smem_bm.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)
#define PART (4 * MIB)

enum { SIZE = 300001 };

static const hmc_memory_t cpu = {.kind = HMC_MEMORY_CPU, .device = 0};
static const hmc_memory_t sim = {.kind = HMC_MEMORY_SIM, .device = 0};

/* Listens for the other members at `port`; 0: at one that the kernel chooses. */
static void begin_at(uint32_t rank, uint16_t port) {
  smem_bm_config_t config;
  ANSWERS(0, smem_init(0));
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = PATIENCE_S;
  config.rankId = (uint16_t)rank;
  if (port != 0) {
    snprintf(config.hcomUrl, sizeof(config.hcomUrl), "tcp://127.0.0.1:%u", port);
  }
  ANSWERS(0, smem_bm_init(store_url, rank_count, (uint16_t)rank, &config));
  CHECK(smem_bm_get_rank_id() == rank);
}

static void begin(uint32_t rank) { begin_at(rank, 0); }

static smem_bm_t enter(uint32_t id, uint64_t host, uint64_t device) {
  smem_bm_t pool = smem_bm_create(id, 0, SMEMB_DATA_OP_SDMA, host, device, 0);
  if (pool == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  ANSWERS(0, smem_bm_join(pool, 0));
  return pool;
}

static int32_t copy(smem_bm_t pool, const void *from, void *to, uint64_t size, smem_bm_copy_type type) {
  smem_copy_params params = {.src = from, .dest = to, .dataSize = size};
  return smem_bm_copy(pool, &params, type, 0);
}

static char *host_of(smem_bm_t pool, uint32_t rank) {
  return smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)rank);
}

static char *device_of(smem_bm_t pool, uint32_t rank) {
  return smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_DEVICE, (uint16_t)rank);
}

/* ---- directions -------------------------------------------------------------------------------------------------- */

/* Sends `seed` by one direction to `there` and takes it back by the other one. */
static void there_and_back(smem_bm_t pool, char *there, void *near, hmc_memory_t memory, smem_bm_copy_type out,
                           smem_bm_copy_type back, uint64_t seed) {
  static uint8_t bytes[SIZE];
  fill(bytes, SIZE, seed);
  CHECK(hmc_memory_copy(near, memory, bytes, cpu, SIZE) == HMC_SUCCESS);
  ANSWERS(0, copy(pool, near, there, SIZE, out));
  memset(bytes, 0, SIZE);
  CHECK(hmc_memory_copy(near, memory, bytes, cpu, SIZE) == HMC_SUCCESS);
  ANSWERS(0, copy(pool, there, near, SIZE, back));
  CHECK(hmc_memory_copy(bytes, cpu, near, memory, SIZE) == HMC_SUCCESS);
  CHECK(is_filled(bytes, SIZE, seed));
}

static int every_direction(void) {
  begin(my_rank);
  smem_bm_t pool = enter(3, PART, PART);
  uint8_t *host = malloc(SIZE);
  void *device = NULL;
  CHECK(hmc_memory_allocate(sim, SIZE, &device) == HMC_SUCCESS);
  fence();
  for (uint32_t rank = 0; rank < rank_count; rank++) {
    uint64_t seed = my_rank * 100 + rank, offset = my_rank * 400000 + 7;
    char *gh = host_of(pool, rank) + offset, *gd = device_of(pool, rank) + offset;
    CHECK(smem_bm_get_rank_id_by_gva(pool, gh) == rank && smem_bm_get_rank_id_by_gva(pool, gd) == rank);
    there_and_back(pool, gh, host, cpu, SMEMB_COPY_H2GH, SMEMB_COPY_GH2H, seed + 1);
    there_and_back(pool, gh, host, cpu, SMEMB_COPY_H2G, SMEMB_COPY_G2H, seed + 2);
    there_and_back(pool, gd, host, cpu, SMEMB_COPY_H2G, SMEMB_COPY_G2H, seed + 3);
    there_and_back(pool, gd, device, sim, SMEMB_COPY_L2G, SMEMB_COPY_G2L, seed + 4);
    there_and_back(pool, gh, device, sim, SMEMB_COPY_L2GH, SMEMB_COPY_GH2L, seed + 5);
    there_and_back(pool, gd, device, sim, SMEMB_COPY_AUTO, SMEMB_COPY_AUTO, seed + 6);
    /* From one member's part to another's: host to device, and back to the host of a third. */
    uint32_t next = (rank + 1) % rank_count;
    ANSWERS(0, copy(pool, gd, host_of(pool, next) + offset, SIZE, SMEMB_COPY_G2G));
    ANSWERS(0, copy(pool, host_of(pool, next) + offset, host, SIZE, SMEMB_COPY_AUTO));
    CHECK(is_filled(host, SIZE, seed + 6));
  }
  fence();
  ANSWERS(-2000, copy(pool, host, device, SIZE, SMEMB_COPY_AUTO));
  SAYS("neither");
  ANSWERS(-2000, copy(pool, host, device_of(pool, 0), SIZE, SMEMB_COPY_H2GH));
  SAYS("H2GH");
  ANSWERS(-2000, copy(pool, host, host_of(pool, 0), SIZE, SMEMB_COPY_L2GH));
  CHECK(hmc_memory_free(sim, device) == HMC_SUCCESS);
  free(host);
  smem_bm_destroy(pool);
  fence();
  smem_bm_uninit(0);
  smem_uninit();
  return 0;
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

/* All create a pool at the same moment, one after another: nobody replaces the layout that another one begins to use. */
static int a_crowd_agrees(void) {
  enum { POOLS = 40 };
  begin(my_rank);
  for (uint32_t i = 0; i < POOLS; i++) {
    fence();
    smem_bm_t pool = smem_bm_create(100 + i % (POOLS / 2), 0, SMEMB_DATA_OP_SDMA, PART, PART, 0);
    if (pool == NULL) {
      fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
    }
    atomic_store(&shared->words[my_rank], (uint64_t)(uintptr_t)host_of(pool, 0));
    atomic_store(&shared->words[8 + my_rank], (uint64_t)(uintptr_t)device_of(pool, 0));
    fence();
    for (uint32_t rank = 0; rank < rank_count; rank++) {
      CHECK(atomic_load(&shared->words[rank]) == (uint64_t)(uintptr_t)host_of(pool, 0));
      CHECK(atomic_load(&shared->words[8 + rank]) == (uint64_t)(uintptr_t)device_of(pool, 0));
    }
    fence();
    smem_bm_destroy(pool);
  }
  fence();
  smem_bm_uninit(0);
  return 0;
}

static int addresses_are_the_same(void) {
  begin(my_rank);
  smem_bm_t pool = enter(7, my_rank == 1 ? 2 * PART : PART, my_rank == 2 ? 0 : PART);
  if (my_rank == 0) {
    atomic_store(&shared->words[0], (uint64_t)(uintptr_t)host_of(pool, 0));
    atomic_store(&shared->words[1], (uint64_t)(uintptr_t)device_of(pool, 0));
    atomic_store(&shared->words[2], (uint64_t)(uintptr_t)host_of(pool, 1));
  }
  fence();
  uint64_t host = atomic_load(&shared->words[0]), most = atomic_load(&shared->words[2]) - host;
  CHECK((uint64_t)(uintptr_t)device_of(pool, 0) == atomic_load(&shared->words[1]));
  for (uint32_t rank = 0; rank < rank_count; rank++) {
    CHECK((uint64_t)(uintptr_t)host_of(pool, rank) == host + most * rank);
  }
  CHECK(smem_bm_get_local_mem_size_by_mem_type(pool, SMEM_MEM_TYPE_HOST) == (my_rank == 1 ? 2 * PART : PART));
  CHECK(smem_bm_get_local_mem_size_by_mem_type(pool, SMEM_MEM_TYPE_LOCAL_DEVICE) == (my_rank == 2 ? 0 : PART));
  CHECK(smem_bm_get_local_mem_size(pool) == PART);
  CHECK(smem_bm_local_ptr(pool, SMEM_MEM_TYPE_LOCAL_HOST) == host_of(pool, my_rank));
  CHECK((smem_bm_local_ptr(pool, SMEM_MEM_TYPE_LOCAL_DEVICE) == NULL) == (my_rank == 2));
  CHECK(smem_bm_local_ptr(pool, SMEM_MEM_TYPE_HOST) == NULL);
  /* One's own host part is memory as any other, and what others copy there is seen in it. */
  uint32_t next = (my_rank + 1) % rank_count, before = (my_rank + rank_count - 1) % rank_count;
  fill(host_of(pool, my_rank), 1000, my_rank);
  ANSWERS(0, copy(pool, host_of(pool, my_rank), host_of(pool, next) + 1000, 1000, SMEMB_COPY_G2G));
  fence();
  CHECK(is_filled(host_of(pool, my_rank) + 1000, 1000, before));
  /* The part of a member of this host is memory too, whether it was copied to or only asked for. */
  CHECK(is_filled(host_of(pool, next), 1000, next));
  CHECK(is_filled(host_of(pool, before), 1000, before));
  fence();
  host_of(pool, next)[5000] = (char)(my_rank + 1);
  fence();
  CHECK((uint32_t)host_of(pool, my_rank)[5000] == before + 1);
  CHECK(smem_bm_get_rank_id_by_gva(pool, &pool) == UINT32_MAX);
  smem_bm_t second = enter(8, PART, 0);
  CHECK(host_of(second, 0) != host_of(pool, 0));
  smem_bm_destroy(second);
  smem_bm_destroy(pool);
  fence(); /* rank 0 has the store */
  smem_bm_uninit(0);
  return 0;
}

/* ---- batches ----------------------------------------------------------------------------------------------------- */

/* The block list of a KV cache: 61 large and 61 small ones, one behind the other here, apart there. */
static int batches_and_rows(void) {
  enum { BLOCKS = 122, LARGE = 131072, SMALL = 16384 };
  begin(my_rank);
  smem_bm_t pool = enter(1, 32 * MIB, 32 * MIB);
  uint8_t *local = malloc(16 * MIB);
  void *from[BLOCKS], *to[BLOCKS];
  uint64_t sizes[BLOCKS], offset = 0;
  uint32_t next = (my_rank + 1) % rank_count;
  smem_batch_copy_params params = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = BLOCKS};
  fence();
  for (uint32_t round = 0; round < 4; round++) {
    char *there = round % 2 == 0 ? host_of(pool, next) : device_of(pool, next);
    uint32_t flags = round >= 2 ? ASYNC_COPY_FLAG : 0;
    offset = 0;
    for (int i = 0; i < BLOCKS; i++) {
      sizes[i] = i % 2 == 0 ? LARGE : SMALL;
      from[i] = local + offset;
      to[i] = there + (uint64_t)(BLOCKS - 1 - i) * LARGE;
      offset += sizes[i];
    }
    fill(local, offset, my_rank + round);
    ANSWERS(0, smem_bm_copy_batch(pool, &params, SMEMB_COPY_H2G, flags));
    ANSWERS(0, smem_bm_wait(pool));
    memset(local, 0, offset);
    smem_batch_copy_params back = {.sources = to, .destinations = from, .dataSizes = sizes, .batchSize = BLOCKS};
    ANSWERS(0, smem_bm_copy_batch(pool, &back, SMEMB_COPY_AUTO, flags));
    ANSWERS(0, smem_bm_wait(pool));
    CHECK(is_filled(local, offset, my_rank + round));
  }
  /* Pieces far from each other, and registered memory. */
  uint8_t *apart = malloc(1000);
  from[0] = local;
  from[1] = apart;
  to[0] = host_of(pool, next);
  to[1] = device_of(pool, next);
  sizes[0] = sizes[1] = 1000;
  params.batchSize = 2;
  ANSWERS(0, smem_bm_register_user_mem(pool, (uint64_t)(uintptr_t)local, 16 * MIB));
  ANSWERS(0, smem_bm_register_user_mem(pool, (uint64_t)(uintptr_t)local, 16 * MIB));
  ANSWERS(-1, smem_bm_register_user_mem(pool, (uint64_t)(uintptr_t)local, MIB));
  fill(local, 1000, 5);
  fill(apart, 1000, 6);
  ANSWERS(0, smem_bm_copy_batch(pool, &params, SMEMB_COPY_H2G, 0));
  ANSWERS(0, copy(pool, to[1], local, 1000, SMEMB_COPY_G2H));
  CHECK(is_filled(local, 1000, 6));
  ANSWERS(0, copy(pool, to[0], apart, 1000, SMEMB_COPY_G2H));
  CHECK(is_filled(apart, 1000, 5));
  ANSWERS(0, smem_bm_unregister_user_mem(pool, (uint64_t)(uintptr_t)local));
  ANSWERS(0, smem_bm_unregister_user_mem(pool, (uint64_t)(uintptr_t)local));
  /* Rows. */
  smem_copy_2d_params rows = {
      .src = local, .spitch = 100, .dest = host_of(pool, next), .dpitch = 500, .width = 100, .height = 50};
  fill(local, 5000, 9);
  ANSWERS(0, smem_bm_copy_2d(pool, &rows, SMEMB_COPY_H2G, 0));
  memset(local, 0, 5000);
  ANSWERS(0, smem_bm_copy_2d(pool, host_of(pool, next), 500, local, 100, 100, 50, SMEMB_COPY_G2H, 0));
  CHECK(is_filled(local, 5000, 9));
  rows.width = 200;
  ANSWERS(-2000, smem_bm_copy_2d(pool, &rows, SMEMB_COPY_H2G, 0));
  params.batchSize = 0;
  ANSWERS(-2000, smem_bm_copy_batch(pool, &params, SMEMB_COPY_H2G, 0));
  fence();
  free(apart);
  free(local);
  smem_bm_destroy(pool);
  fence();
  smem_bm_uninit(0);
  return 0;
}

/* ---- members that come and go ------------------------------------------------------------------------------------ */

static int who_leaves_is_not_read(void) {
  uint8_t bytes[1000];
  begin(my_rank);
  smem_bm_t pool = enter(2, PART, PART);
  fill(host_of(pool, my_rank), 1000, my_rank);
  fence();
  ANSWERS(0, copy(pool, host_of(pool, 1), bytes, 1000, SMEMB_COPY_G2H));
  CHECK(is_filled(bytes, 1000, 1));
  fence();
  if (my_rank == 1) {
    ANSWERS(-2005, smem_bm_join(pool, 0));
    ANSWERS(0, smem_bm_leave(pool, 0));
    ANSWERS(-2003, smem_bm_leave(pool, 0));
    CHECK(is_filled(host_of(pool, 1), 1000, 1)); /* it is still its own */
    fill(host_of(pool, 1), 1000, 77);
  }
  fence();
  if (my_rank == 0) {
    ANSWERS(-2007, copy(pool, host_of(pool, 1), bytes, 1000, SMEMB_COPY_G2H));
    ANSWERS(-2007, copy(pool, bytes, device_of(pool, 1), 1000, SMEMB_COPY_H2G));
    SAYS("rank 1");
    (void)*(volatile char *)host_of(pool, 1); /* nothing that means anything, but no fault */
  }
  fence();
  if (my_rank == 1) {
    ANSWERS(0, smem_bm_join(pool, 0));
  }
  fence();
  ANSWERS(0, copy(pool, host_of(pool, 1), bytes, 1000, SMEMB_COPY_G2H));
  CHECK(is_filled(bytes, 1000, 77));
  /* One that has joined again is reached by the first copy, whether the store has reported it here or not. */
  for (uint64_t round = 100; round < 120; round++) {
    fence();
    if (my_rank == 1) {
      ANSWERS(0, smem_bm_leave(pool, 0));
      fill(host_of(pool, 1), 1000, round);
      ANSWERS(0, smem_bm_join(pool, 0));
    }
    fence();
    void *from[] = {host_of(pool, 1), host_of(pool, 1) + 500}, *to[] = {bytes, bytes + 500};
    uint64_t sizes[] = {500, 500};
    smem_batch_copy_params params = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = 2};
    ANSWERS(0, round % 2 == 0 ? copy(pool, from[0], bytes, 1000, SMEMB_COPY_G2H)
                              : smem_bm_copy_batch(pool, &params, SMEMB_COPY_G2H, 0));
    CHECK(is_filled(bytes, 1000, round));
  }
  fence();
  smem_bm_uninit(0); /* takes the pool with it */
  return 0;
}

/* At the port in words[2]; 0: at any. */
_Noreturn static int be_a_victim(void) {
  begin_at(2, (uint16_t)atomic_load(&shared->words[2]));
  smem_bm_t pool = enter(4, PART, PART);
  fill(host_of(pool, 2), 1000, atomic_fetch_add(&shared->words[0], 1) + 200);
  atomic_fetch_add(&shared->words[1], 1);
  for (;;) {
    pause();
  }
}

/* Until its death is noticed a member's memory is as it left it; then every copy says that it is gone. */
static void await_its_end(smem_bm_t pool, uint64_t seed) {
  uint8_t bytes[1000];
  int32_t code = 0;
  for (int i = 0; i < PATIENCE_S * 1000 && code == 0; i++) {
    memset(bytes, 0, sizeof(bytes));
    code = copy(pool, host_of(pool, 2), bytes, sizeof(bytes), SMEMB_COPY_G2H);
    CHECK(code != 0 || is_filled(bytes, sizeof(bytes), seed));
    sleep_ms(code == 0);
  }
  ANSWERS(-2007, code);
}

/* Rank 2 is a place for members that are killed; each that takes the rank again is a new one. */
static int the_dead_are_noticed(void) {
  uint8_t bytes[1000];
  smem_bm_t pool = NULL;
  if (my_rank < 2) {
    begin(my_rank);
    pool = enter(4, PART, PART);
  }
  fence();
  for (uint64_t round = 0; round < 3; round++) {
    pid_t victim = my_rank == 2 ? ranks_spawn(2, be_a_victim) : 0;
    while (my_rank == 2 && atomic_load(&shared->words[1]) < round + 1) {
      CHECK(waitpid(victim, NULL, WNOHANG) == 0);
      sleep_ms(1);
    }
    fence();
    if (my_rank < 2) {
      ANSWERS(0, copy(pool, host_of(pool, 2), bytes, 1000, SMEMB_COPY_G2H));
      CHECK(is_filled(bytes, 1000, 200 + round));
    }
    fence();
    if (my_rank == 2) {
      kill(victim, SIGKILL);
      waitpid(victim, NULL, 0);
    }
    fence();
    if (my_rank < 2) {
      await_its_end(pool, 200 + round);
      ANSWERS(-2007, copy(pool, host_of(pool, 2), bytes, 1000, SMEMB_COPY_G2H));
      ANSWERS(-2007, copy(pool, bytes, device_of(pool, 2), 1000, SMEMB_COPY_H2G));
    }
    fence();
  }
  smem_bm_uninit(0);
  return 0;
}

/* Turns down all who come, as a program does that knows nothing of pools. */
static void *be_a_stranger(void *listener) {
  static const char text[] = "HTTP/1.0 400 Bad Request\r\n\r\n";
  for (int client; (client = accept(*(int *)listener, NULL, NULL)) >= 0; close(client)) {
    CHECK(send(client, text, sizeof(text) - 1, MSG_NOSIGNAL) == (ssize_t)sizeof(text) - 1);
    shutdown(client, SHUT_WR);
    while (recv(client, &(char[1024]){0}, 1024, 0) > 0) {
    }
  }
  return NULL;
}

static int listen_at(uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;
  CHECK(setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
  CHECK(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(listener, 16) == 0);
  return listener;
}

static void *let_the_store_go_on(void *argument) {
  (void)argument;
  sleep_ms(500);
  kill(atomic_load(&shared->processes[0]), SIGCONT);
  return NULL;
}

static void copy_to_the_dead(smem_bm_t pool) {
  uint8_t bytes[1000] = {0};
  pthread_t stranger, waker;
  int listener = listen_at((uint16_t)atomic_load(&shared->words[2]));
  CHECK(pthread_create(&stranger, NULL, be_a_stranger, &listener) == 0);
  CHECK(pthread_create(&waker, NULL, let_the_store_go_on, NULL) == 0);
  ANSWERS(-2007, copy(pool, bytes, host_of(pool, 2), sizeof(bytes), SMEMB_COPY_H2G));
  pthread_join(waker, NULL);
  shutdown(listener, SHUT_RDWR);
  pthread_join(stranger, NULL);
  close(listener);
}

/* A member has died, the store does not know it yet, and another program has got its port. */
static int a_port_of_the_dead(void) {
  smem_bm_t pool = NULL;
  if (my_rank < 2) {
    begin(my_rank);
    pool = enter(4, PART, PART);
    fence();
  } else {
    atomic_store(&shared->words[2], free_port(AF_INET));
    pid_t store = atomic_load(&shared->processes[0]), victim = ranks_spawn(2, be_a_victim);
    while (atomic_load(&shared->words[1]) == 0) {
      CHECK(waitpid(victim, NULL, WNOHANG) == 0);
      sleep_ms(1);
    }
    fence();
    kill(store, SIGSTOP);
    kill(victim, SIGKILL);
    waitpid(victim, NULL, 0);
    atomic_store(&shared->words[3], 1);
  }
  while (my_rank == 1 && atomic_load(&shared->words[3]) == 0) {
    sleep_ms(1);
  }
  if (my_rank == 1) {
    copy_to_the_dead(pool);
  }
  fence();
  smem_bm_uninit(0);
  return 0;
}

/* A member that stands still keeps its connections; only its lease ends. Its rank is free then. */
static int the_stopped_are_noticed(void) {
  pid_t members[2] = {0, 0};
  smem_bm_t pool = NULL;
  if (my_rank == 0) {
    begin(0);
    pool = enter(4, PART, PART);
  }
  fence();
  for (uint64_t round = 0; round < 2; round++) {
    uint8_t bytes[1000];
    if (my_rank == 2) {
      members[round] = ranks_spawn(2, be_a_victim);
      while (atomic_load(&shared->words[1]) < round + 1) {
        CHECK(waitpid(members[round], NULL, WNOHANG) == 0);
        sleep_ms(1);
      }
    }
    fence();
    if (my_rank == 0) {
      ANSWERS(0, copy(pool, host_of(pool, 2), bytes, 1000, SMEMB_COPY_G2H));
      CHECK(is_filled(bytes, 1000, 200 + round));
    }
    fence();
    if (my_rank == 2) {
      kill(members[round], SIGSTOP);
    }
    if (my_rank == 0 && round == 0) {
      await_its_end(pool, 200);
    }
    fence();
  }
  for (int i = 0; my_rank == 2 && i < 2; i++) {
    kill(members[i], SIGKILL);
    waitpid(members[i], NULL, 0);
  }
  smem_bm_uninit(0);
  return 0;
}

static int ranks_are_handed_out(void) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  CHECK(config.startConfigStoreServer && config.unifiedAddressSpace && !config.autoRanking && config.rankId == 65535 &&
        config.initTimeout == 120);
  config.autoRanking = true;
  config.initTimeout = PATIENCE_S;
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  uint32_t rank = smem_bm_get_rank_id();
  CHECK(rank < rank_count);
  CHECK(atomic_fetch_add(&shared->words[rank], 1) == 0); /* each has its own */
  fence();
  smem_bm_uninit(0);
  fence();
  return 0;
}

/* ---- bad input --------------------------------------------------------------------------------------------------- */

static atomic_int lines;
static void count_line(int level, const char *text) {
  CHECK(level >= 0 && level <= 3 && text[0] != '\0');
  atomic_fetch_add(&lines, 1);
}

static int bad_input_is_named(void) {
  smem_bm_config_t config;
  uint8_t bytes[100];
  ANSWERS(-2000, smem_set_extern_logger(NULL));
  ANSWERS(0, smem_set_extern_logger(count_line));
  ANSWERS(-2000, smem_set_log_level(4));
  CHECK(atomic_load(&lines) == 0);
  ANSWERS(0, smem_set_log_level(0));
  ANSWERS(-2000, smem_bm_config_init(NULL));
  CHECK(atomic_load(&lines) > 0); /* failures are logged */
  ANSWERS(0, smem_bm_config_init(&config));
  CHECK(smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0) == NULL);
  SAYS("smem_bm_init");
  ANSWERS(-2008, smem_bm_join((void *)&config, 0));
  ANSWERS(-2000, smem_bm_join(NULL, 0));
  CHECK(smem_bm_get_rank_id() == UINT32_MAX);
  ANSWERS(-2000, smem_bm_init("tcp:://127.0.0.1:4000", 1, 0, &config));
  ANSWERS(-2000, smem_bm_init("127.0.0.1:4000", 1, 0, &config));
  SAYS("tcp://IP:PORT");
  ANSWERS(-2000, smem_bm_init("tcp://127.0.0.1:80", 1, 0, &config));
  ANSWERS(-2000, smem_bm_init(NULL, 1, 0, &config));
  ANSWERS(-2000, smem_bm_init(store_url, 0, 0, &config));
  ANSWERS(-2000, smem_bm_init(store_url, 1025, 0, &config));
  ANSWERS(-2000, smem_bm_init(store_url, 1, 0, NULL));
  config.rankId = 1;
  ANSWERS(-2000, smem_bm_init(store_url, 1, 0, &config));
  SAYS("ranks begin at 0");
  config.rankId = 0;
  config.unifiedAddressSpace = false;
  ANSWERS(-2000, smem_bm_init(store_url, 1, 0, &config));
  SAYS("leave it true");
  config.unifiedAddressSpace = true;
  config.initTimeout = 0;
  ANSWERS(-2000, smem_bm_init(store_url, 1, 0, &config));
  config.initTimeout = 1;
  config.startConfigStore = false;
  ANSWERS(-2004, smem_bm_init(unserved_url, 1, 0, &config));
  SAYS("away");
  SAYS("hmc-store");
  config.startConfigStore = true;
  ANSWERS(0, smem_bm_init(store_url, 1, 0, &config));
  smem_bm_t pool = enter(5, PART, PART);
  CHECK(smem_bm_create(5, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0) == NULL);
  SAYS("destroy it first");
  CHECK(smem_bm_create(6, 0, SMEMB_DATA_OP_SDMA, PART + 1, 0, 0) == NULL);
  SAYS("2 MiB");
  CHECK(smem_bm_create(6, 0, SMEMB_DATA_OP_SDMA, 0, 0, 0) == NULL);
  CHECK(smem_bm_create(6, 0, (smem_bm_data_op_type)0, PART, 0, 0) == NULL);
  CHECK(smem_bm_create2(6, NULL) == NULL);
  ANSWERS(-2000, copy(pool, bytes, host_of(pool, 0) + PART - 50, 100, SMEMB_COPY_H2G));
  SAYS("of rank 0's host part in pool 5, which has");
  ANSWERS(-2000, copy(pool, bytes, bytes + 50, 10, SMEMB_COPY_AUTO));
  SAYS("smem_bm_ptr");
  ANSWERS(-2000, copy(pool, bytes, NULL, 100, SMEMB_COPY_H2G));
  ANSWERS(-2000, copy(pool, bytes, host_of(pool, 0), 0, SMEMB_COPY_H2G));
  ANSWERS(-2000, copy(pool, bytes, host_of(pool, 0), 100, SMEMB_COPY_BUTT));
  ANSWERS(-2000, smem_bm_copy(pool, NULL, SMEMB_COPY_H2G, 0));
  ANSWERS(-2000, smem_bm_copy(NULL, bytes, host_of(pool, 0), 100, SMEMB_COPY_H2G, 0));
  CHECK(smem_bm_ptr(pool, 1) == NULL);
  CHECK(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_LOCAL_HOST, 0) == NULL);
  CHECK(smem_bm_get_local_mem_size_by_mem_type(pool, SMEM_MEM_TYPE_BUTT) == 0);
  CHECK(smem_bm_get_rank_id_by_gva(NULL, bytes) == (uint32_t)-2000);
  CHECK(smem_get_last_err_msg()[0] != '\0');
  CHECK(smem_get_and_clear_last_err_msg()[0] != '\0');
  CHECK(smem_get_last_err_msg()[0] == '\0');
  smem_bm_destroy(bytes);
  smem_bm_uninit(0);
  return 0;
}

/* Two processes want rank 0 of a store that a third one serves. */
static int one_of_two_gets_the_rank(void) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.rankId = 0;
  config.initTimeout = 2;
  config.startConfigStore = my_rank == 0;
  if (my_rank == 1) {
    fence();
  }
  int32_t code = smem_bm_init(store_url, 2, 0, &config);
  if (my_rank == 0) {
    ANSWERS(0, code);
    fence();
  } else {
    ANSWERS(-2006, code);
    SAYS("rank 0 is taken by a member that lives: give another");
  }
  fence();
  smem_bm_uninit(0);
  return 0;
}

int main(void) {
  ranks_set_up();
  bool good = ranks_run("bad input is named", 1, bad_input_is_named);
  good = ranks_run("one of two gets the rank", 2, one_of_two_gets_the_rank) && good;
  good = ranks_run("ranks are handed out", 5, ranks_are_handed_out) && good;
  good = ranks_run("a crowd agrees", 4, a_crowd_agrees) && good;
  good = ranks_run("addresses are the same", 4, addresses_are_the_same) && good;
  good = ranks_run("every direction", 4, every_direction) && good;
  good = ranks_run("batches and rows", 3, batches_and_rows) && good;
  good = ranks_run("who leaves is not read", 3, who_leaves_is_not_read) && good;
  good = ranks_run("the dead are noticed", 3, the_dead_are_noticed) && good;
  good = ranks_run("a port of the dead", 3, a_port_of_the_dead) && good;
  good = ranks_run("the stopped are noticed", 3, the_stopped_are_noticed) && good;
  return good ? 0 : 1;
}
