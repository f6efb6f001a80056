/* Small copies to a member on this host, which take no lock, while what they use is taken away by other threads and
 * members: the pool, the member's part, registered memory. */
#include "ranks.h"

#include <smem/host/smem_bm.h>

#include <pthread.h>
#include <stdlib.h>

#define PART (UINT64_C(8) << 20)

enum { SIZE = 4096, WORD = sizeof(uint64_t), COPIERS = 4, POOLS = 15, LIVES = 40, PIECES = 300 };

static void begin(void) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = config.createTimeout = config.controlOperationTimeout = PATIENCE_S;
  config.rankId = (uint16_t)my_rank;
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
}

static smem_bm_t enter(uint32_t id) {
  smem_bm_t pool = smem_bm_create(id, 0, SMEMB_DATA_OP_SDMA, PART, PART, 0);
  if (pool == NULL) {
    fail_at(__FILE__, __LINE__, smem_get_last_err_msg());
  }
  ANSWERS(0, smem_bm_join(pool, 0));
  return pool;
}

static char *part_of(smem_bm_t pool, uint32_t rank) {
  return smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)rank);
}

static int32_t copy(smem_bm_t pool, const void *from, void *to, uint64_t size, uint32_t flags) {
  smem_copy_params params = {.src = from, .dest = to, .dataSize = size};
  return (smem_bm_copy)(pool, &params, SMEMB_COPY_AUTO, flags);
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

typedef struct copier {
  pthread_t thread;
  smem_bm_t pool;
  char *own, *other;
  uint32_t number;
  unsigned long done;
} copier_t;

/* One round of what a thread copies, by its number. */
static int32_t copy_somehow(copier_t *copier, char *buffer) {
  if (copier->number == 0) {
    return copy(copier->pool, copier->own, copier->other, copier->done % 2 ? WORD : SIZE, 0);
  }
  if (copier->number == 1) {
    void *from[2] = {copier->other + 6 * SIZE, copier->other + 7 * SIZE};
    void *to[2] = {copier->own + SIZE, copier->own + 3 * SIZE};
    uint64_t sizes[2] = {SIZE / 2, SIZE / 4};
    smem_batch_copy_params params = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = 2};
    return smem_bm_copy_batch(copier->pool, &params, SMEMB_COPY_AUTO, 0);
  }
  if (copier->number == 2) { /* too large to be done while reading */
    return copy(copier->pool, copier->own + PART / 2, copier->other + PART / 2, PART / 2, 0);
  }
  int32_t code = smem_bm_register_user_mem(copier->pool, (uint64_t)(uintptr_t)buffer, SIZE);
  code = code == 0 ? copy(copier->pool, buffer, copier->other + 4 * SIZE, SIZE, 0) : code;
  code = code == 0 ? copy(copier->pool, buffer, copier->other + 5 * SIZE, SIZE, ASYNC_COPY_FLAG) : code;
  code = code == 0 ? smem_bm_wait(copier->pool) : code;
  return code == 0 ? smem_bm_unregister_user_mem(copier->pool, (uint64_t)(uintptr_t)buffer) : code;
}

static void *copy_until_destroyed(void *argument) {
  copier_t *copier = argument;
  char *buffer = calloc(1, SIZE);
  int32_t code;
  CHECK(buffer != NULL);
  while ((code = copy_somehow(copier, buffer)) == 0) {
    copier->done++;
    atomic_fetch_add(&shared->words[0], 1);
  }
  ANSWERS(-2000, code);
  SAYS("is not a pool of this process");
  free(buffer);
  return NULL;
}

static void destroy_under_copiers(uint32_t id) {
  copier_t copiers[COPIERS];
  smem_bm_t pool = enter(id);
  fence();
  for (uint32_t i = 0; i < COPIERS; i++) {
    copiers[i] = (copier_t){.pool = pool, .own = part_of(pool, 0), .other = part_of(pool, 1), .number = i};
    CHECK(pthread_create(&copiers[i].thread, NULL, copy_until_destroyed, &copiers[i]) == 0);
  }
  uint64_t wanted = atomic_load(&shared->words[0]) + 100;
  while (atomic_load(&shared->words[0]) < wanted) {
    sleep_ms(1);
  }
  smem_bm_destroy(pool);
  for (uint32_t i = 0; i < COPIERS; i++) {
    CHECK(pthread_join(copiers[i].thread, NULL) == 0);
  }
}

static int destroyed_under_copiers(void) {
  begin();
  for (uint32_t id = 0; id < POOLS; id++) {
    if (my_rank == 0) {
      destroy_under_copiers(id);
    } else {
      smem_bm_t pool = enter(id);
      fence();
      fence();
      smem_bm_destroy(pool);
    }
    if (my_rank == 0) {
      fence();
    }
  }
  fence();
  smem_bm_uninit(0);
  return 0;
}

/* ---- the member's part ------------------------------------------------------------------------------------------- */

enum {
  PHASE = 0,
  END = 1,
  SEEN = 2
}; /* words; rank 1 is in the pool in phases 0, 4, ..., and not in phases 2, 6, ... */

/* What one copy has to bring, where the phase was the same all the time. */
static void look_once(smem_bm_t pool, const char *from, char *to, uint64_t size) {
  unsigned long long before = atomic_load(&shared->words[PHASE]);
  int32_t code = copy(pool, from, to, size, 0);
  if (before % 2 == 1 || atomic_load(&shared->words[PHASE]) != before) {
    CHECK(code == 0 || code == -2007);
  } else if (before % 4 == 0) {
    ANSWERS(0, code);
    CHECK(is_filled(to, size, before));
  } else {
    ANSWERS(-2007, code);
  }
  atomic_store(&shared->words[SEEN], before + 1);
}

static void *look_until_the_end(void *argument) {
  copier_t *copier = argument;
  while (!atomic_load(&shared->words[END])) {
    look_once(copier->pool, copier->other, copier->own + copier->number * SIZE, copier->number % 2 ? WORD : SIZE);
  }
  return NULL;
}

static void await_look(unsigned long long phase) {
  while (atomic_load(&shared->words[SEEN]) < phase + 1 && atomic_load(&shared->failures) == 0) {
    sleep_ms(1);
  }
}

static void live_and_leave(smem_bm_t pool) {
  char *own = part_of(pool, 1);
  for (unsigned long long phase = 0; phase < 4 * LIVES; phase += 4) {
    await_look(phase);
    atomic_store(&shared->words[PHASE], phase + 1);
    ANSWERS(0, smem_bm_leave(pool, 0));
    memset(own, 0x5a, SIZE);
    atomic_store(&shared->words[PHASE], phase + 2);
    await_look(phase + 2);
    atomic_store(&shared->words[PHASE], phase + 3);
    fill(own, SIZE, phase + 4);
    ANSWERS(0, smem_bm_join(pool, 0));
    atomic_store(&shared->words[PHASE], phase + 4);
  }
  atomic_store(&shared->words[END], 1);
}

static int who_leaves_is_not_copied(void) {
  copier_t copiers[COPIERS];
  begin();
  smem_bm_t pool = smem_bm_create(50, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0);
  CHECK(pool != NULL);
  fill(part_of(pool, my_rank), SIZE, 0);
  ANSWERS(0, smem_bm_join(pool, 0));
  fence();
  if (my_rank == 1) {
    live_and_leave(pool);
  }
  for (uint32_t i = 0; my_rank == 0 && i < COPIERS; i++) {
    copiers[i] = (copier_t){.pool = pool, .own = part_of(pool, 0), .other = part_of(pool, 1), .number = i};
    CHECK(pthread_create(&copiers[i].thread, NULL, look_until_the_end, &copiers[i]) == 0);
  }
  for (uint32_t i = 0; my_rank == 0 && i < COPIERS; i++) {
    CHECK(pthread_join(copiers[i].thread, NULL) == 0);
  }
  fence();
  smem_bm_destroy(pool);
  smem_bm_uninit(0);
  return 0;
}

/* ---- what a thread keeps ----------------------------------------------------------------------------------------- */

typedef struct pools {
  smem_bm_t first, second;
  char *own, *other, *there; /* parts: of the first, of the second at the other member */
} pools_t;

/* A thread keeps the way of its last copy; another direction, pool, range or member is another one. */
static void change_ways(const pools_t *pools, uint64_t size) {
  char *own = pools->own, *other = pools->other, *here = part_of(pools->second, my_rank) + SIZE;
  memset(own + SIZE, 0, SIZE);
  memset(here, 0, SIZE);
  ANSWERS(0, copy(pools->first, other, own + SIZE, size, 0));
  CHECK(is_filled(own + SIZE, size, 10 + (1 - my_rank)) && own[SIZE + size] == 0);
  ANSWERS(0, copy(pools->second, pools->there, here, size, 0));
  CHECK(is_filled(here, size, 20 + (1 - my_rank)) && here[size] == 0);
  smem_copy_params params = {.src = other, .dest = own + SIZE, .dataSize = size};
  ANSWERS(-2000, (smem_bm_copy)(pools->first, &params, SMEMB_COPY_H2G, 0));
  ANSWERS(-2000, copy(pools->second, other, own + SIZE, size, 0)); /* of the other pool: it is anybody's memory here */
  ANSWERS(0, copy(pools->first, other, own + SIZE, size, 0));
  ANSWERS(-2000, copy(pools->first, other, own + PART - size / 2, size, 0));
  SAYS("ends within the part");
  ANSWERS(-2000, copy(NULL, other, own + SIZE, size, 0)); /* what failed leaves no way that this one could take */
  ANSWERS(0, copy(pools->first, other + PART - size, own + PART - size, size, 0));
  ANSWERS(-2000, copy(pools->first, other + PART - size / 2, own, size, 0));
  ANSWERS(-2000, copy(pools->first, other, own, 0, 0));
}

static int ways_are_kept_apart(void) {
  begin();
  pools_t pools = {.first = enter(60), .second = enter(61)};
  pools.own = part_of(pools.first, my_rank);
  pools.other = part_of(pools.first, 1 - my_rank);
  pools.there = part_of(pools.second, 1 - my_rank);
  fill(pools.own, SIZE, 10 + my_rank);
  fill(part_of(pools.second, my_rank), SIZE, 20 + my_rank);
  fence();
  for (int round = 0; round < 3; round++) {
    change_ways(&pools, WORD);
    change_ways(&pools, SIZE / 2);
  }
  fence();
  smem_bm_destroy(pools.first);
  ANSWERS(-2000, copy(pools.first, pools.other, pools.own + SIZE, SIZE, 0));
  ANSWERS(0, copy(pools.second, pools.there, part_of(pools.second, my_rank) + SIZE, SIZE, 0));
  fence();
  smem_bm_destroy(pools.second);
  smem_bm_uninit(0);
  return 0;
}

/* One bad piece, and none is copied; more pieces than a thread's stack has room for. */
static int batches_are_looked_at_first(void) {
  void *from[PIECES], *to[PIECES];
  uint64_t sizes[PIECES];
  begin();
  smem_bm_t pool = enter(70);
  char *own = part_of(pool, my_rank), *other = part_of(pool, 1 - my_rank);
  fill(own, PIECES * 64, my_rank);
  fence();
  for (uint32_t i = 0; i < PIECES; i++) {
    from[i] = other + (size_t)i * 64;
    to[i] = own + PART / 2 + (size_t)i * 64;
    sizes[i] = 64;
  }
  smem_batch_copy_params params = {.sources = from, .destinations = to, .dataSizes = sizes, .batchSize = PIECES};
  from[PIECES - 1] = other + PART - 10;
  ANSWERS(-2000, smem_bm_copy_batch(pool, &params, SMEMB_COPY_AUTO, 0));
  CHECK(own[PART / 2] == 0 && memcmp(own + PART / 2, own + PART / 2 + 1, PIECES * 64 - 1) == 0);
  from[PIECES - 1] = other + (PIECES - 1) * (size_t)64;
  ANSWERS(0, smem_bm_copy_batch(pool, &params, SMEMB_COPY_AUTO, 0));
  CHECK(is_filled(own + PART / 2, PIECES * 64, 1 - my_rank));
  fence();
  smem_bm_destroy(pool);
  smem_bm_uninit(0);
  return 0;
}

typedef struct joiner {
  pthread_t thread;
  pthread_barrier_t *barrier;
  smem_bm_t pool;
  int32_t joined, left;
} joiner_t;

static void *join_and_leave(void *argument) {
  joiner_t *joiner = argument;
  pthread_barrier_wait(joiner->barrier);
  joiner->joined = (smem_bm_join)(joiner->pool, 0);
  pthread_barrier_wait(joiner->barrier);
  joiner->left = smem_bm_leave(joiner->pool, 0);
  return NULL;
}

/* A member joins and leaves once, however many of its threads ask for it. */
static int threads_take_turns(void) {
  joiner_t joiners[COPIERS];
  pthread_barrier_t barrier;
  begin();
  smem_bm_t pool = smem_bm_create(80, 0, SMEMB_DATA_OP_SDMA, PART, PART, 0);
  CHECK(pool != NULL && pthread_barrier_init(&barrier, NULL, COPIERS) == 0);
  for (int round = 0; round < 20; round++) {
    int joined = 0, left = 0;
    for (int i = 0; i < COPIERS; i++) {
      joiners[i] = (joiner_t){.pool = pool, .barrier = &barrier};
      CHECK(pthread_create(&joiners[i].thread, NULL, join_and_leave, &joiners[i]) == 0);
    }
    for (int i = 0; i < COPIERS; i++) {
      CHECK(pthread_join(joiners[i].thread, NULL) == 0);
      CHECK(joiners[i].joined == 0 || joiners[i].joined == -2005);
      CHECK(joiners[i].left == 0 || joiners[i].left == -2003);
      joined += joiners[i].joined == 0;
      left += joiners[i].left == 0;
    }
    CHECK(joined == 1 && left == 1);
  }
  pthread_barrier_destroy(&barrier);
  smem_bm_destroy(pool);
  smem_bm_uninit(0);
  return 0;
}

int main(void) {
  ranks_set_up();
  return !(ranks_run("destroyed under copiers", 2, destroyed_under_copiers) &&
           ranks_run("who leaves is not copied", 2, who_leaves_is_not_copied) &&
           ranks_run("ways are kept apart", 2, ways_are_kept_apart) &&
           ranks_run("batches are looked at first", 2, batches_are_looked_at_first) &&
           ranks_run("threads take turns", 1, threads_take_turns));
}
