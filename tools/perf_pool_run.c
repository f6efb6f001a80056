/* hmc-perf pool: measures one direction (see pool.h). */
#include "pool.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { HOST, DEVICE, FAR_HOST, FAR_DEVICE, WARMUP = 3, LEAST_ROUNDS = 5, ROUNDS_MOST = 1 << 20, REPEATS_MOST = 4096 };
#define LEAST_SECONDS 10e-6 /* of what is timed: reading the clock takes as long as a copy of 1 KiB */
enum { KV_LARGE = 128 << 10, KV_SMALL = 16 << 10 };

static const struct {
  const char *name;
  int from, to;
} types[POOL_TYPES] = {
    {"H2D", HOST, DEVICE},        {"D2H", DEVICE, HOST},        {"H2RD", HOST, FAR_DEVICE}, {"H2RH", HOST, FAR_HOST},
    {"D2RH", DEVICE, FAR_HOST},   {"D2RD", DEVICE, FAR_DEVICE}, {"RH2D", FAR_HOST, DEVICE}, {"RH2H", FAR_HOST, HOST},
    {"RD2D", FAR_DEVICE, DEVICE}, {"RD2H", FAR_DEVICE, HOST},
};

const char *pool_type_name(unsigned type) { return types[type].name; }

unsigned pool_type_of(const char *name, size_t length) {
  unsigned type = 0;
  while (type < POOL_TYPES &&
         (strlen(types[type].name) != length || strncasecmp(types[type].name, name, length) != 0)) {
    type++;
  }
  return type;
}

/* ---- the pieces -------------------------------------------------------------------------------------------------- */

/* Pieces lie one behind the other at their source, and in another order, apart, where they go to. */
typedef struct list {
  uint32_t count;
  uint64_t bytes;
  void **from, **to;
  uint64_t *sizes;
  hmc_segment_t *segments; /* the same for hmc_batch_create: local, remote */
} list_t;

static uint64_t piece_bytes(const pool_options_t *options, uint32_t i) {
  return !options->kv ? options->bytes : i % 2 == 0 ? KV_LARGE : KV_SMALL;
}

static uint32_t piece_count(const pool_options_t *options) {
  return options->kv ? POOL_KV_BLOCKS : (uint32_t)options->batch;
}

uint64_t pool_part_bytes(const pool_options_t *options) {
  const uint64_t page = UINT64_C(2) << 20;
  uint64_t most = options->kv ? KV_LARGE : options->bytes;
  return (piece_count(options) * most + page - 1) / page * page;
}

static void free_list(list_t *list) {
  free(list->from);
  free(list->to);
  free(list->sizes);
  free(list->segments);
}

static bool make_list(const pool_t *pool, unsigned type, list_t *list) {
  const pool_options_t *options = pool->options;
  uint64_t slot = options->kv ? KV_LARGE : options->bytes;
  *list = (list_t){.count = piece_count(options)};
  list->from = calloc(list->count, sizeof(*list->from));
  list->to = calloc(list->count, sizeof(*list->to));
  list->sizes = calloc(list->count, sizeof(*list->sizes));
  list->segments = calloc(list->count, sizeof(*list->segments));
  if (!list->from || !list->to || !list->sizes || !list->segments) {
    free_list(list);
    tool_fail("no memory for a list of %u pieces", list->count);
    return false;
  }
  bool is_get = types[type].from >= FAR_HOST;
  for (uint32_t i = 0; i < list->count; i++) {
    uint64_t there = (list->count - 1 - i) * slot;
    list->sizes[i] = piece_bytes(options, i);
    list->from[i] = pool->part[types[type].from] + list->bytes;
    list->to[i] = pool->part[types[type].to] + there;
    list->segments[i] = (hmc_segment_t){.local_offset = is_get ? there : list->bytes,
                                        .remote_offset = is_get ? list->bytes : there,
                                        .length = list->sizes[i]};
    list->bytes += list->sizes[i];
  }
  return true;
}

/* ---- one copy ---------------------------------------------------------------------------------------------------- */

static bool fail_copy(const char *what, int32_t code) {
  if (code != 0) tool_fail("%s: %d: %s", what, (int)code, smem_get_last_err_msg());
  return code == 0;
}

static bool copy_once(const pool_t *pool, unsigned type, const list_t *list) {
  if (list->count == 1) {
    smem_copy_params one = {.src = list->from[0], .dest = list->to[0], .dataSize = list->sizes[0]};
    return fail_copy(types[type].name, smem_bm_copy(pool->handle, &one, SMEMB_COPY_AUTO, 0));
  }
  smem_batch_copy_params all = {
      .sources = list->from, .destinations = list->to, .dataSizes = list->sizes, .batchSize = list->count};
  return fail_copy(types[type].name, smem_bm_copy_batch(pool->handle, &all, SMEMB_COPY_AUTO, 0));
}

/* The same by HMC's own calls. */
static bool put_once(const pool_t *pool, unsigned type, const list_t *list) {
  bool is_get = types[type].from >= FAR_HOST;
  hmc_region_t *local = pool->local[(is_get ? types[type].to : types[type].from) % 2];
  hmc_remote_t *remote = pool->remote[(is_get ? types[type].from : types[type].to) % 2];
  const hmc_segment_t *first = &list->segments[0];
  hmc_status_t status;
  if (list->count == 1) {
    status = is_get ? hmc_get(local, first->local_offset, remote, first->remote_offset, first->length)
                    : hmc_put(local, first->local_offset, remote, first->remote_offset, first->length);
  } else {
    hmc_batch_t *batch = NULL;
    status = hmc_batch_create(local, remote, list->segments, list->count, &batch);
    if (status == HMC_SUCCESS) status = is_get ? hmc_batch_get(batch) : hmc_batch_put(batch);
    hmc_batch_free(batch);
  }
  if (status != HMC_SUCCESS) tool_fail_hmc("the same by HMC", status);
  return status == HMC_SUCCESS;
}

/* ---- looking at the bytes ---------------------------------------------------------------------------------------- */

/* Fills the source by the pool's own copies, which reach every kind of memory. */
static bool fill_and_look(const pool_t *pool, unsigned type, const list_t *list) {
  char *sent = malloc(list->bytes), *got = malloc(list->bytes);
  bool is_good = sent != NULL && got != NULL;
  if (!is_good) tool_fail("no memory to look at the bytes");
  for (uint64_t i = 0; i < list->bytes && is_good; i++) sent[i] = (char)(i * 31 + i / 4093 + type);
  if (is_good) {
    smem_copy_params fill = {.src = sent, .dest = list->from[0], .dataSize = list->bytes};
    is_good =
        fail_copy("filling", smem_bm_copy(pool->handle, &fill, SMEMB_COPY_AUTO, 0)) && copy_once(pool, type, list);
  }
  uint64_t at = 0;
  for (uint32_t i = 0; i < list->count && is_good; i++) {
    smem_copy_params look = {.src = list->to[i], .dest = got + at, .dataSize = list->sizes[i]};
    is_good = fail_copy("looking", smem_bm_copy(pool->handle, &look, SMEMB_COPY_AUTO, 0));
    at += list->sizes[i];
  }
  if (is_good && memcmp(sent, got, list->bytes) != 0) {
    tool_fail("%s brought other bytes", types[type].name);
    is_good = false;
  }
  free(sent);
  free(got);
  return is_good;
}

/* ---- measuring --------------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
  double first = *(const double *)a, second = *(const double *)b;
  return first < second ? -1 : first > second;
}

static double median(double *times, uint64_t count) {
  qsort(times, count, sizeof(*times), by_value);
  return times[count / 2];
}

typedef bool move_t(const pool_t *pool, unsigned type, const list_t *list);

/* Seconds of one of `repeats` moves, one behind the other. */
static bool time_it(move_t *move, const pool_t *pool, unsigned type, const list_t *list, uint64_t repeats,
                    double *seconds) {
  bool is_good = true;
  double begin = tool_clock();
  for (uint64_t i = 0; i < repeats && is_good; i++) is_good = move(pool, type, list);
  *seconds = (tool_clock() - begin) / (double)repeats;
  return is_good;
}

/* Moves that take too little time for the clock are timed several at once; at most as many as are wanted (0: any). */
static bool warm_up(const pool_t *pool, unsigned type, const list_t *list, bool compares, uint64_t wanted,
                    uint64_t *repeats) {
  double seconds = 0, total = 0;
  bool is_good = true;
  *repeats = 1;
  for (int i = 0; i < WARMUP && is_good; i++) is_good = !compares || put_once(pool, type, list);
  for (int i = 0; i < WARMUP && is_good; i++) is_good = copy_once(pool, type, list);
  while (is_good && total < LEAST_SECONDS && *repeats < REPEATS_MOST) {
    *repeats *= 2;
    is_good = time_it(copy_once, pool, type, list, *repeats, &seconds);
    total = seconds * (double)*repeats;
  }
  if (wanted > 0 && *repeats > wanted) *repeats = wanted;
  return is_good;
}

bool pool_measure(pool_t *pool, unsigned type, pool_result_t *result) {
  const pool_options_t *options = pool->options;
  bool compares = options->compare && (types[type].from >= FAR_HOST || types[type].to >= FAR_HOST);
  double *times = malloc(3 * ROUNDS_MOST * sizeof(*times));
  double *puts = times + ROUNDS_MOST, *ratios = puts + ROUNDS_MOST;
  uint64_t rounds = 0, done = 0, repeats = 1, wanted = options->iterations;
  list_t list;
  if (times == NULL) {
    tool_fail("no memory for figures");
    return false;
  }
  if (!make_list(pool, type, &list)) {
    free(times);
    return false;
  }
  bool is_good = warm_up(pool, type, &list, compares, wanted, &repeats);
  double end = tool_clock() + options->seconds;
  while (is_good && rounds < ROUNDS_MOST &&
         (wanted > 0 ? done < wanted : rounds < LEAST_ROUNDS || tool_clock() < end)) {
    if (wanted > 0 && wanted - done < repeats) repeats = wanted - done;
    /* In turns, and each as often first: what comes second finds the bytes in the processor's cache. */
    bool puts_first = compares && rounds % 2 == 1;
    is_good = !puts_first || time_it(put_once, pool, type, &list, repeats, &puts[rounds]);
    is_good = is_good && time_it(copy_once, pool, type, &list, repeats, &times[rounds]);
    is_good = is_good && (!compares || puts_first || time_it(put_once, pool, type, &list, repeats, &puts[rounds]));
    if (is_good && compares) ratios[rounds] = puts[rounds] / times[rounds];
    rounds++;
    done += repeats;
  }
  *result = (pool_result_t){.bytes = list.bytes, .iterations = done};
  if (is_good) {
    double middle = median(times, rounds);
    result->median_us = middle * 1e6;
    result->gbytes_per_second = (double)list.bytes / middle / 1e9;
    result->put_us = compares ? median(puts, rounds) * 1e6 : 0;
    result->of_hmc = compares ? median(ratios, rounds) : 0;
  }
  if (is_good && options->verify) is_good = result->is_verified = fill_and_look(pool, type, &list);
  free_list(&list);
  free(times);
  return is_good;
}
