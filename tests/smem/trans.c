/* Tests of TRANS: transfers by unique id and raw pointers, batches, streams, what is not registered, and peers that go. */
#include "port.h"
#include "ranks.h"

#include <hmc.h>
#include <smem/host/smem_trans.h>

#include <pthread.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define MIB (UINT64_C(1) << 20)

enum { SIZE = 200001 };

static char ids[2][64];
static smem_trans_config_t begun_with;

/* A port that the handle takes in a moment. */
static void make_id(uint32_t rank) {
  unsigned port = free_port(AF_INET);
  CHECK(port != 0);
  atomic_store(&shared->words[60 + rank], port);
}

static smem_trans_t begin(void) {
  smem_trans_config_t config;
  ANSWERS(0, smem_trans_config_init(&config));
  CHECK(config.role == SMEM_TRANS_SENDER && config.deviceId == UINT32_MAX && !config.startConfigServer);
  config.role = my_rank == 0 ? SMEM_TRANS_SENDER : SMEM_TRANS_RECEIVER;
  config.initTimeout = PATIENCE_S;
  config.dataOpType = SMEMB_DATA_OP_SDMA;
  if (my_rank == 0) {
    ANSWERS(0, smem_create_config_store(store_url));
  }
  make_id(my_rank);
  fence();
  for (uint32_t rank = 0; rank < 2; rank++) {
    snprintf(ids[rank], sizeof(ids[rank]), "127.0.0.1:%u", (unsigned)atomic_load(&shared->words[60 + rank]));
  }
  ANSWERS(0, smem_trans_init(&config));
  begun_with = config;
  smem_trans_t trans = smem_trans_create(store_url, ids[my_rank], &config);
  if (trans == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  return trans;
}

static void end(smem_trans_t trans) {
  fence();
  smem_trans_destroy(trans, 0);
  fence();
  smem_trans_uninit(0);
}

static int pointers_reach_what_is_registered(void) {
  smem_trans_t trans = begin();
  uint8_t *own = malloc(MIB), *given = smem_trans_malloc(trans, 4 * MIB);
  void *device = NULL;
  const hmc_memory_t sim = {.kind = HMC_MEMORY_SIM, .device = 0}, cpu = {.kind = HMC_MEMORY_CPU, .device = 0};
  CHECK(given != NULL && hmc_memory_allocate(sim, MIB, &device) == HMC_SUCCESS);
  if (my_rank == 1) {
    void *both[] = {own, device};
    size_t sizes[] = {MIB, MIB};
    ANSWERS(0, smem_trans_batch_register_mem(trans, both, sizes, 2, 0));
    ANSWERS(0, smem_trans_register_mem(trans, own, MIB, 0));
    ANSWERS(-2000, smem_trans_register_mem(trans, own + 10, MIB, 0));
    SAYS("overlap");
    void *some[] = {own, device, NULL}; /* a list that fails takes back only what it has registered itself */
    size_t some_sizes[] = {MIB, MIB, 16};
    ANSWERS(-2000, smem_trans_batch_register_mem(trans, some, some_sizes, 3, 0));
    atomic_store(&shared->words[0], (uint64_t)(uintptr_t)own);
    atomic_store(&shared->words[1], (uint64_t)(uintptr_t)device);
    atomic_store(&shared->words[2], (uint64_t)(uintptr_t)given);
  }
  fence();
  if (my_rank == 0) {
    for (int i = 0; i < 3; i++) {
      char *there = (char *)(uintptr_t)atomic_load(&shared->words[i]) + 17;
      fill(own, SIZE, 50 + (uint64_t)i);
      ANSWERS(0, smem_trans_write(trans, own, ids[1], there, SIZE, 0));
      memset(own, 0, SIZE);
      ANSWERS(0, smem_trans_read(trans, own, ids[1], there, SIZE));
      CHECK(is_filled(own, SIZE, 50 + (uint64_t)i));
    }
    /* On a stream, from device memory. */
    hmc_memory_stream_t stream = NULL;
    CHECK(hmc_memory_stream_create(sim, &stream) == HMC_SUCCESS);
    char *there = (char *)(uintptr_t)atomic_load(&shared->words[0]);
    fill(own, SIZE, 90);
    CHECK(hmc_memory_copy_async(device, sim, own, cpu, SIZE, stream) == HMC_SUCCESS);
    ANSWERS(0, smem_trans_write_submit(trans, device, ids[1], there, SIZE, stream, 0));
    memset(own, 0, SIZE);
    ANSWERS(0, smem_trans_read_submit(trans, own, ids[1], there, SIZE, stream));
    CHECK(is_filled(own, SIZE, 90));
    const void *locals[] = {device, own}, *there_too[] = {there, there + MIB / 2};
    void *theirs[] = {there, there + MIB / 2}, *mine[] = {own, own + MIB / 2};
    size_t two_sizes[] = {1000, 2000};
    ANSWERS(0, smem_trans_batch_write_submit(trans, locals, ids[1], theirs, two_sizes, 2, stream, 0));
    ANSWERS(0, smem_trans_batch_read_submit(trans, mine, ids[1], there_too, two_sizes, 2, stream, 0));
    CHECK(is_filled(own, 1000, 90) && is_filled(own + MIB / 2, 1000, 90));
    ANSWERS(-2000, smem_trans_write_submit(trans, device, ids[1], there, SIZE, NULL, 0));
    CHECK(hmc_memory_stream_destroy(sim, stream) == HMC_SUCCESS);
  }
  fence();
  if (my_rank == 1) {
    CHECK(is_filled(own, SIZE, 90));
    CHECK(is_filled(given + 17, SIZE, 52));
    ANSWERS(0, smem_trans_deregister_mem(trans, own));
    ANSWERS(0, smem_trans_deregister_mem(trans, own));
  }
  fence();
  if (my_rank == 0) {
    char *there = (char *)(uintptr_t)atomic_load(&shared->words[0]);
    int32_t code = smem_trans_read(trans, own, ids[1], there, SIZE, 0);
    CHECK(code == -2007 || code == -2000);
    ANSWERS(-2000, smem_trans_read(trans, own, ids[1], there, SIZE, 0));
    SAYS("not registered");
  }
  end(trans);
  CHECK(hmc_memory_free(sim, device) == HMC_SUCCESS);
  free(own);
  return 0;
}

static int batches_go_as_one(void) {
  enum { BLOCKS = 122, LARGE = 131072, SMALL = 16384 };
  smem_trans_t trans = begin();
  uint8_t *own = smem_trans_malloc(trans, 32 * MIB), *plain = malloc(16 * MIB);
  CHECK(own != NULL);
  atomic_store(&shared->words[my_rank], (uint64_t)(uintptr_t)own);
  fence();
  const void *from[BLOCKS];
  void *to[BLOCKS], *back[BLOCKS];
  size_t sizes[BLOCKS];
  for (int way = 0; way < 2; way++) {
    uint64_t offset = 0;
    uint8_t *near = way == 0 ? own : plain;
    char *there = (char *)(uintptr_t)atomic_load(&shared->words[1 - my_rank]) + 16 * MIB;
    for (int i = 0; i < BLOCKS; i++) {
      sizes[i] = i % 2 == 0 ? LARGE : SMALL;
      from[i] = back[i] = near + offset;
      to[i] = there + (uint64_t)(BLOCKS - 1 - i) * LARGE;
      offset += sizes[i];
    }
    fill(near, offset, my_rank + 3);
    ANSWERS(0, smem_trans_batch_write(trans, from, ids[1 - my_rank], to, sizes, BLOCKS, 0));
    memset(near, 0, offset);
    ANSWERS(0, smem_trans_batch_read(trans, back, ids[1 - my_rank], (const void **)to, sizes, BLOCKS));
    CHECK(is_filled(near, offset, my_rank + 3));
    fence();
  }
  to[5] = (char *)to[5] + 64 * MIB;
  ANSWERS(-2000, smem_trans_batch_write(trans, from, ids[1 - my_rank], to, sizes, BLOCKS, 0));
  fence();
  ANSWERS(0, smem_trans_free(trans, own));
  ANSWERS(-2000, smem_trans_free(trans, own));
  end(trans);
  free(plain);
  return 0;
}

/* Memory that the peer took back and registered again, or that its next handle of the same id has registered, is reached by
 * the first transfer after it. */
static int what_is_registered_again_is_reached(void) {
  smem_trans_t trans = begin();
  uint8_t *own = malloc(MIB);
  uint64_t seed = 70;
  atomic_store(&shared->words[my_rank], (uint64_t)(uintptr_t)own);
  if (my_rank == 1) {
    ANSWERS(0, smem_trans_register_mem(trans, own, MIB, 0));
  }
  for (int round = 0; round < 4; round++, seed++) {
    fence();
    if (my_rank == 0) {
      char *there = (char *)(uintptr_t)atomic_load(&shared->words[1]);
      const void *from[] = {own, own + SIZE};
      void *to[] = {there, there + SIZE};
      size_t sizes[] = {SIZE, SIZE};
      fill(own, SIZE, seed);
      fill(own + SIZE, SIZE, seed + 10);
      ANSWERS(0, smem_trans_batch_write(trans, from, ids[1], to, sizes, 2, 0));
    }
    fence();
    if (my_rank == 1) {
      CHECK(is_filled(own, SIZE, seed) && is_filled(own + SIZE, SIZE, seed + 10));
      if (round % 2 == 0) {
        ANSWERS(0, smem_trans_deregister_mem(trans, own));
      } else {
        smem_trans_destroy(trans, 0);
        trans = smem_trans_create(store_url, ids[1], &begun_with);
        CHECK(trans != NULL);
      }
      ANSWERS(0, smem_trans_register_mem(trans, own, MIB, 0));
    }
  }
  end(trans);
  free(own);
  return 0;
}

enum { MOVERS = 4, MOVED_S = 10 };

typedef struct mover {
  pthread_t thread;
  smem_trans_t trans;
  uint64_t until_ms;
} mover_t;

static atomic_int movers_end;

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void *move_without_a_pause(void *argument) {
  const mover_t *mover = argument;
  char bytes[4096] = "";
  while (!atomic_load(&movers_end) && now_ms() < mover->until_ms) {
    ANSWERS(0, smem_trans_write(mover->trans, bytes, ids[1], (char *)(uintptr_t)atomic_load(&shared->words[1]),
                                sizeof(bytes), 0));
  }
  return NULL;
}

/* Threads that transfer all the time do not keep another one from registering memory. */
static int memory_is_registered_beside_transfers(void) {
  smem_trans_t trans = begin();
  uint8_t *own = malloc(MIB);
  atomic_store(&shared->words[my_rank], (uint64_t)(uintptr_t)own);
  if (my_rank == 1) {
    ANSWERS(0, smem_trans_register_mem(trans, own, MIB, 0));
  }
  fence();
  if (my_rank == 0) {
    mover_t movers[MOVERS];
    for (int i = 0; i < MOVERS; i++) {
      movers[i] = (mover_t){.trans = trans, .until_ms = now_ms() + (uint64_t)MOVED_S * 1000};
      CHECK(pthread_create(&movers[i].thread, NULL, move_without_a_pause, &movers[i]) == 0);
    }
    for (int i = 0; i < 5; i++) {
      sleep_ms(20);
      ANSWERS(0, smem_trans_register_mem(trans, own, MIB, 0));
      ANSWERS(0, smem_trans_deregister_mem(trans, own));
    }
    CHECK(now_ms() < movers[0].until_ms);
    atomic_store(&movers_end, 1);
    for (int i = 0; i < MOVERS; i++) {
      CHECK(pthread_join(movers[i].thread, NULL) == 0);
    }
  }
  end(trans);
  free(own);
  return 0;
}

static int bad_input_is_named(void) {
  smem_trans_config_t config;
  uint8_t bytes[16];
  ANSWERS(-2000, smem_trans_config_init(NULL));
  ANSWERS(0, smem_trans_config_init(&config));
  config.dataOpType = SMEMB_DATA_OP_SDMA;
  CHECK(smem_trans_create(store_url, "127.0.0.1:4000", &config) == NULL);
  SAYS("smem_trans_init");
  ANSWERS(-2008, smem_trans_register_mem((void *)bytes, bytes, 16, 0));
  ANSWERS(-2000, smem_trans_init(NULL));
  smem_trans_t trans = begin();
  CHECK(smem_trans_create(store_url, "127.0.0.1:80", &config) == NULL);
  CHECK(smem_trans_create(store_url, "localhost", &config) == NULL);
  CHECK(smem_trans_create("tcp:://x", "127.0.0.1:4000", &config) == NULL);
  ANSWERS(-2000, smem_trans_register_mem(trans, NULL, 16, 0));
  ANSWERS(-2000, smem_trans_register_mem(trans, bytes, 0, 0));
  ANSWERS(-2000, smem_trans_write(trans, bytes, "127.0.0.1:1", bytes, 16, 0));
  ANSWERS(-2000, smem_trans_write(trans, bytes, NULL, bytes, 16, 0));
  ANSWERS(-2000, smem_trans_write(trans, bytes, ids[1], NULL, 16, 0));
  ANSWERS(-2000, smem_trans_write(trans, bytes, ids[1], bytes, 0, 0));
  ANSWERS(-2000, smem_trans_write(trans, bytes, ids[1], bytes, 16, 1));
  CHECK(smem_trans_malloc(trans, (size_t)16 << 40) == NULL);
  ANSWERS(-2000, smem_trans_free(trans, bytes));
  smem_trans_destroy(bytes, 0);
  end(trans);
  return 0;
}

int main(void) {
  ranks_set_up();
  bool good = ranks_run("bad input is named", 2, bad_input_is_named);
  good = ranks_run("pointers reach what is registered", 2, pointers_reach_what_is_registered) && good;
  good = ranks_run("batches go as one", 2, batches_go_as_one) && good;
  good = ranks_run("what is registered again is reached", 2, what_is_registered_again_is_reached) && good;
  good = ranks_run("memory is registered beside transfers", 2, memory_is_registered_beside_transfers) && good;
  return good ? 0 : 1;
}
