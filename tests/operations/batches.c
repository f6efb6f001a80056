/* Batches against a reference: two arrays of the host that hold what the near and the far region should. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

/* ---- the reference */

typedef struct reference {
  uint64_t size;
  uint8_t *here, *there, *look;
  test_buffer_t near;
  far_t far;
} reference_t;

static void reference_open(reference_t *reference, context_pair_t *pair, uint64_t size, bool registered) {
  *reference = (reference_t){.size = size, .here = malloc(size), .there = malloc(size), .look = malloc(size)};
  assert_true(reference->here && reference->there && reference->look);
  reference->near = near_make(pair, size, !registered);
  reference->far = far_make(pair, (far_options_t){.name = "batched", .size = size, .registered = registered});
}

static void reference_close(reference_t *reference) {
  test_buffer_close(&reference->near);
  far_close(&reference->far);
  free(reference->here);
  free(reference->there);
  free(reference->look);
}

/* New bytes at both ends. */
static void reference_fill(reference_t *reference, uint64_t seed) {
  for (uint64_t i = 0; i < reference->size; i += 8) {
    uint64_t one = mix(seed * 31 + i), two = mix(~one + i), rest = reference->size - i;
    memcpy(reference->here + i, &one, rest < 8 ? rest : 8);
    memcpy(reference->there + i, &two, rest < 8 ? rest : 8);
  }
  shared_begin();
  test_buffer_store(&reference->near, 0, reference->here, reference->size);
  test_buffer_store(&reference->far.place, 0, reference->there, reference->size);
  shared_end();
}

static void reference_check(reference_t *reference) {
  shared_begin();
  test_buffer_load(&reference->near, 0, reference->look, reference->size);
  int here = memcmp(reference->look, reference->here, reference->size);
  test_buffer_load(&reference->far.place, 0, reference->look, reference->size);
  int there = memcmp(reference->look, reference->there, reference->size);
  shared_end();
  assert_int_equal(here, 0);
  assert_int_equal(there, 0);
}

static void reference_move(reference_t *reference, bool put, uint64_t here, uint64_t there, uint64_t length) {
  if (put)
    memcpy(reference->there + there, reference->here + here, length);
  else
    memcpy(reference->here + here, reference->there + there, length);
}

static void reference_move_list(reference_t *reference, bool put, const hmc_segment_t *pieces, size_t count) {
  for (size_t i = 0; i < count; i++)
    reference_move(reference, put, pieces[i].local_offset, pieces[i].remote_offset, pieces[i].length);
}

/* Puts or gets a list and looks at every byte of both regions. */
static void try_list(reference_t *reference, const hmc_segment_t *pieces, size_t count, uint64_t seed) {
  hmc_batch_t *batch = NULL;
  uint64_t size = 0;
  for (size_t i = 0; i < count; i++) size += pieces[i].length;
  assert_success(hmc_batch_create(reference->near.region, reference->far.remote, pieces, count, &batch));
  assert_int_equal(hmc_batch_size(batch), size);
  for (int put = 0; put < 2; put++) {
    reference_fill(reference, 2 * seed + (uint64_t)put);
    assert_success(put ? hmc_batch_put(batch) : hmc_batch_get(batch));
    reference_move_list(reference, put, pieces, count);
    reference_check(reference);
  }
  hmc_batch_free(batch);
}

/* ---- lists */

static void shuffle(uint32_t *order, size_t count, uint64_t *random) {
  for (size_t i = 0; i < count; i++) order[i] = (uint32_t)i;
  for (size_t i = count; i > 1; i--) {
    size_t k = draw(random) % i;
    uint32_t other = order[k];
    order[k] = order[i - 1];
    order[i - 1] = other;
  }
}

/* Lays pieces out one behind the other in a random order, with gaps of up to `gap` bytes; nothing overlaps. */
static void lay_out(hmc_segment_t *pieces, size_t count, bool local, uint64_t gap, uint64_t *random) {
  uint32_t *order = malloc(count * sizeof *order);
  uint64_t at = 0;
  assert_non_null(order);
  shuffle(order, count, random);
  for (size_t i = 0; i < count; i++) {
    hmc_segment_t *piece = &pieces[order[i]];
    at += gap ? draw(random) % (gap + 1) : 0;
    *(local ? &piece->local_offset : &piece->remote_offset) = at;
    at += piece->length;
  }
  free(order);
}

/* Random lengths that add up to at most `room`: mostly small, some large, some none. */
static size_t draw_lengths(hmc_segment_t *pieces, size_t most, uint64_t room, uint64_t *random) {
  size_t count = 1 + draw(random) % most;
  for (size_t i = 0; i < count; i++) {
    uint64_t number = draw(random), limit = number % 13 == 0 ? room / 8 : number % 3 ? 64 : 1500;
    uint64_t length = (number >> 8) % (limit + 1);
    pieces[i] = (hmc_segment_t){.length = length < room ? length : room};
    room -= pieces[i].length;
  }
  return count;
}

void batch_random_lists(void **state) {
  enum { MOST = 3000 };
  const uint64_t gap = 40, room = 2 * MIB;
  hmc_segment_t *pieces = malloc(MOST * sizeof *pieces);
  assert_non_null(pieces);
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    uint64_t random = 5 + (uint64_t)registered;
    reference_open(&reference, *state, room + MOST * gap + 1, registered);
    for (uint64_t round = 0; round < (SANITIZED ? 5 : 9); round++) {
      size_t count = draw_lengths(pieces, round % 3 ? MOST : 8, room, &random);
      lay_out(pieces, count, true, gap, &random);
      lay_out(pieces, count, false, gap, &random);
      try_list(&reference, pieces, count, round);
    }
    reference_close(&reference);
  }
  free(pieces);
}

/* Pieces that follow each other at both ends, at one end, at none. */
void batch_adjacent_pieces(void **state) {
  enum { COUNT = 600, LENGTH = 100 };
  hmc_segment_t pieces[COUNT];
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    reference_open(&reference, *state, COUNT * 2 * LENGTH, registered);
    for (uint64_t shape = 0; shape < 5; shape++) {
      for (uint64_t i = 0; i < COUNT; i++) {
        uint64_t dense = i * LENGTH, loose = i * (LENGTH + 3), reverse = (COUNT - 1 - i) * LENGTH;
        uint64_t pairs = i / 2 * 2 * (LENGTH + 1) + i % 2 * LENGTH;
        const uint64_t ends[5][2] = {{dense, dense}, {dense, loose}, {loose, dense}, {reverse, dense}, {pairs, pairs}};
        pieces[i] = (hmc_segment_t){ends[shape][0], ends[shape][1], LENGTH};
      }
      try_list(&reference, pieces, COUNT, shape);
    }
    reference_close(&reference);
  }
}

/* Thousands of pieces of one byte, through sockets that hold few of them. */
void batch_of_single_bytes(void **state) {
  (void)state;
  static const char *const narrow[] = {"HMC_TCP_BUFFER", "64K", NULL};
  size_t count = stamp_is_host() ? 12000 : 4000;
  if (SANITIZED) count /= 2;
  hmc_segment_t *pieces = calloc(count, sizeof *pieces);
  assert_non_null(pieces);
  context_pair_t pair;
  context_pair_open(&pair, narrow);
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    reference_open(&reference, &pair, 3 * count, registered);
    for (size_t i = 0; i < count; i++) /* no two of them adjacent, and no two in order */
      pieces[i] = (hmc_segment_t){2 * i, 3 * ((i * 7919 + 11) % count) + i % 3, 1};
    try_list(&reference, pieces, count, 1);
    reference_close(&reference);
  }
  context_pair_close(&pair);
  free(pieces);
}

/* What an inference engine moves for one page of its cache: 61 layers of 128 KiB and 61 of 16 KiB, paged here, dense
 * there. */
void batch_of_a_cache(void **state) {
  enum { LAYERS = 61 };
  const uint64_t keys = 128 * KIB, ropes = 16 * KIB;
  hmc_segment_t pieces[2 * LAYERS];
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    uint64_t random = 3, dense = 5;
    reference_open(&reference, *state, LAYERS * (keys + ropes) + 2 * LAYERS * 64, registered);
    for (size_t i = 0; i < 2 * LAYERS; i++) {
      pieces[i] = (hmc_segment_t){.remote_offset = dense, .length = i % 2 ? ropes : keys};
      dense += pieces[i].length;
    }
    lay_out(pieces, COUNT_OF(pieces), true, 64, &random);
    try_list(&reference, pieces, COUNT_OF(pieces), 1);
    reference_close(&reference);
  }
}

/* ---- blocks */

static uint64_t or_one(uint64_t count) { return count ? count : 1; }

static void reference_move_block(reference_t *reference, bool put, const hmc_strided_t *shape) {
  for (uint64_t z = 0; z < or_one(shape->count[2]); z++)
    for (uint64_t y = 0; y < or_one(shape->count[1]); y++)
      for (uint64_t x = 0; x < or_one(shape->count[0]); x++)
        reference_move(
            reference, put,
            shape->local_offset + z * shape->local_stride[1] + y * shape->local_stride[0] + x * shape->element,
            shape->remote_offset + z * shape->remote_stride[1] + y * shape->remote_stride[0] + x * shape->element,
            shape->element);
}

static void try_block(reference_t *reference, const hmc_strided_t *shape, bool both, uint64_t seed) {
  hmc_batch_t *batch = NULL;
  assert_success(hmc_batch_create_strided(reference->near.region, reference->far.remote, shape, &batch));
  assert_int_equal(hmc_batch_size(batch),
                   shape->element * or_one(shape->count[0]) * or_one(shape->count[1]) * or_one(shape->count[2]));
  for (int put = 0; put < 1 + both; put++) {
    reference_fill(reference, 2 * seed + (uint64_t)put);
    assert_success(put ? hmc_batch_put(batch) : hmc_batch_get(batch));
    reference_move_block(reference, put, shape);
    reference_check(reference);
  }
  hmc_batch_free(batch);
}

/* Strides that leave up to `gap` bytes between rows, and between planes. */
static void draw_strides(const hmc_strided_t *shape, uint64_t gap, uint64_t stride[2], uint64_t *random) {
  stride[0] = shape->element * or_one(shape->count[0]) + draw(random) % (gap + 1);
  stride[1] = stride[0] * or_one(shape->count[1]) + draw(random) % (gap + 1);
}

void batch_random_blocks(void **state) {
  static const uint64_t elements[] = {1, 2, 4, 8, 12, 64, 1000};
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    uint64_t random = 11 + (uint64_t)registered;
    reference_open(&reference, *state, 2 * MIB, registered);
    for (uint64_t round = 0; round < (SANITIZED ? 8 : 12); round++) {
      hmc_strided_t shape = {.element = elements[draw(&random) % COUNT_OF(elements)],
                             .count = {draw(&random) % 20, draw(&random) % 16, round % 2 ? draw(&random) % 5 : 0},
                             .local_offset = draw(&random) % 100,
                             .remote_offset = draw(&random) % 100};
      uint64_t gap = round % 4 == 0 ? 0 : 30;
      draw_strides(&shape, gap, shape.local_stride, &random);
      draw_strides(&shape, gap, shape.remote_stride, &random);
      try_block(&reference, &shape, true, round);
    }
    /* one row of theirs into all rows here, and planes that lie between each other's rows */
    hmc_strided_t spread = {.element = 16, .count = {4, 50, 3}, .local_stride = {100, 5000}, .remote_offset = 7};
    try_block(&reference, &spread, false, 77);
    hmc_strided_t woven = {.element = 10, .count = {1, 40, 5}, .local_stride = {50, 10}, .remote_stride = {60, 12}};
    try_block(&reference, &woven, true, 78);
    reference_close(&reference);
  }
}

/* Elements of 1 to 16 bytes at equal distances: as many as a frame of a stream holds, fewer, more, one short of a frame. */
void batch_runs(void **state) {
  static const uint64_t counts[] = {1, 2, 7, 8, 9, 255, 256, 257, 600, 1024};
  enum { GAPS = 4 };
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    uint64_t seed = 1000;
    reference_open(&reference, *state, 64 * KIB, registered);
    for (uint64_t element = 1; element <= 16; element++) {
      for (uint64_t i = 0; i < COUNT_OF(counts); i++, seed++) {
        uint64_t gap = (element + i) % GAPS * 7 % 11; /* 0: they are one piece there */
        hmc_strided_t shape = {.element = element,
                               .count = {1, counts[i], 1},
                               .local_offset = seed % 5,
                               .local_stride = {element + (seed % 3 ? 0 : 5)},
                               .remote_offset = seed % 7,
                               .remote_stride = {element + gap}};
        try_block(&reference, &shape, true, seed);
      }
    }
    /* what is not one run: rows of some hundred bytes and planes, and a last element of its own */
    hmc_strided_t planes = {.element = 3, .count = {1, 300, 7}, .local_stride = {4, 1300}, .remote_stride = {7, 2111}};
    try_block(&reference, &planes, true, seed);
    hmc_segment_t pieces[513];
    for (uint64_t i = 0; i < COUNT_OF(pieces); i++) pieces[i] = (hmc_segment_t){4 * i, 9 * i, 4};
    pieces[511].remote_offset += 1;
    pieces[512].length = 3;
    try_list(&reference, pieces, COUNT_OF(pieces), seed);
    for (uint64_t i = 0; i < COUNT_OF(pieces); i++)
      pieces[i].remote_offset = 9 * (COUNT_OF(pieces) - i); /* backwards */
    try_list(&reference, pieces, COUNT_OF(pieces), seed + 1);
    reference_close(&reference);
  }
}

/* ---- again and again */

#define AT_ONCE 8u

void batch_restarted(void **state) {
  enum { COUNT = 300 };
  hmc_segment_t pieces[COUNT];
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    hmc_batch_t *batch = NULL;
    uint64_t random = 23;
    reference_open(&reference, *state, COUNT * 400, registered);
    for (size_t i = 0; i < COUNT; i++) pieces[i] = (hmc_segment_t){.length = 1 + draw(&random) % 350};
    lay_out(pieces, COUNT, true, 20, &random);
    lay_out(pieces, COUNT, false, 20, &random);
    assert_success(hmc_batch_create(reference.near.region, reference.far.remote, pieces, COUNT, &batch));
    for (uint64_t round = 0; round < (SANITIZED ? 6 : 20); round++) {
      reference_fill(&reference, round);
      assert_success(round % 2 ? hmc_batch_put(batch) : hmc_batch_get(batch));
      reference_move_list(&reference, round % 2, pieces, COUNT);
      reference_check(&reference);
    }
    for (uint64_t round = 0; round < 6; round++) {
      hmc_request_t *requests[AT_ONCE];
      reference_fill(&reference, 100 + round);
      for (size_t i = 0; i < AT_ONCE; i++)
        assert_success(round % 2 ? hmc_batch_put_nb(batch, NULL, &requests[i])
                                 : hmc_batch_get_nb(batch, NULL, &requests[i]));
      for (size_t i = 0; i < AT_ONCE; i++) assert_success(finish(requests[(i * 5 + 3) % AT_ONCE]));
      reference_move_list(&reference, round % 2, pieces, COUNT);
      reference_check(&reference);
    }
    hmc_batch_free(batch);
    reference_close(&reference);
  }
}

/* ---- what is refused */

#define SMALL UINT64_C(1000)

static void refuse_piece(const reference_t *reference, hmc_segment_t bad) {
  hmc_batch_t *untouched = (hmc_batch_t *)(uintptr_t)reference, *batch = untouched;
  hmc_segment_t pieces[] = {{0, 0, 10}, {100, 100, 10}, {200, 200, 0}, bad, {300, 300, 10}};
  hmc_status_t status =
      hmc_batch_create(reference->near.region, reference->far.remote, pieces, COUNT_OF(pieces), &batch);
  assert_status(status, HMC_OUT_OF_RANGE);
  assert_error_names("piece 3");
  assert_ptr_equal(batch, untouched);
}

void batch_bounds(void **state) {
  context_pair_t *pair = *state;
  reference_t reference;
  reference_open(&reference, pair, SMALL, false);
  static const hmc_segment_t good[] = {
      {0, 0, SMALL}, {SMALL, 0, 0}, {0, SMALL, 0}, {SMALL - 1, 0, 1}, {0, SMALL - 1, 1}};
  for (size_t i = 0; i < COUNT_OF(good); i++) try_list(&reference, &good[i], 1, i);
  static const hmc_segment_t bad[] = {
      {0, 0, SMALL + 1},  {1, 0, SMALL},      {0, 1, SMALL},          {SMALL, 0, 1},          {0, SMALL, 1},
      {SMALL + 1, 0, 0},  {0, SMALL + 1, 0},  {UINT64_MAX, 0, 1},     {0, UINT64_MAX, 1},     {0, 0, UINT64_MAX},
      {UINT64_MAX, 0, 2}, {0, UINT64_MAX, 2}, {5, 0, UINT64_MAX - 4}, {0, 5, UINT64_MAX - 4}, {UINT64_MAX, 0, 0},
      {INT64_MAX, 0, 1},  {0, INT64_MAX, 1},
  };
  for (size_t i = 0; i < COUNT_OF(bad); i++) refuse_piece(&reference, bad[i]);

  hmc_segment_t piece = {0, 0, 8};
  hmc_batch_t *batch = NULL;
  test_buffer_t alien;
  hmc_region_t *local = reference.near.region;
  assert_success(test_buffer_open(&alien, pair->there, stamp.near, SMALL, NULL, 0, false));
  assert_status(hmc_batch_create(alien.region, reference.far.remote, &piece, 1, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(NULL, reference.far.remote, &piece, 1, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(local, NULL, &piece, 1, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(local, reference.far.remote, NULL, 1, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create(local, reference.far.remote, &piece, 1, NULL), HMC_INVALID_CONFIG);
  assert_null(batch);
  test_buffer_close(&alien);

  /* rights are asked when it starts */
  far_t shut = far_make(pair, (far_options_t){.name = "shut", .size = SMALL, .rights = HMC_REMOTE_READ});
  assert_success(hmc_batch_create(local, shut.remote, &piece, 1, &batch));
  assert_status(hmc_batch_put(batch), HMC_DENIED);
  assert_success(hmc_batch_get(batch));
  hmc_batch_free(batch);
  far_close(&shut);
  reference_close(&reference);
}

/* No pieces are not a batch; pieces of no bytes are one that moves nothing. */
void batch_of_nothing(void **state) {
  context_pair_t *pair = *state;
  reference_t reference;
  reference_open(&reference, pair, SMALL, true);
  hmc_segment_t pieces[] = {{5, 7, 0}, {SMALL, 0, 0}, {0, SMALL, 0}};
  hmc_batch_t *batch = NULL;
  hmc_request_t *request = NULL;
  assert_status(hmc_batch_create(reference.near.region, reference.far.remote, pieces, 0, &batch), HMC_INVALID_CONFIG);
  assert_null(batch);
  assert_int_equal(hmc_batch_size(NULL), 0);
  reference_fill(&reference, 1);
  for (int strided = 0; strided < 2; strided++) {
    hmc_strided_t shape = {.element = 0, .count = {4, 5, 6}, .local_stride = {9, 9}, .remote_stride = {9, 9}};
    assert_success(strided ? hmc_batch_create_strided(reference.near.region, reference.far.remote, &shape, &batch)
                           : hmc_batch_create(reference.near.region, reference.far.remote, pieces, 3, &batch));
    assert_int_equal(hmc_batch_size(batch), 0);
    assert_success(hmc_batch_put(batch));
    assert_success(hmc_batch_get(batch));
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .notification = "empty", .notification_size = 5};
    assert_success(hmc_batch_put_nb(batch, &options, &request));
    assert_success(finish(request));
    uint8_t got[8];
    size_t size = 0;
    assert_success(hmc_notification_receive(pair->there, got, sizeof got, &size, NULL, 0));
    assert_int_equal(size, 5);
    hmc_batch_free(batch);
    reference_check(&reference);
  }
  reference_close(&reference);
}

/* Shapes whose far corner cannot be counted, or whose rows nobody could list: refused, and soon. */
void batch_strides_overflow(void **state) {
  reference_t reference;
  reference_open(&reference, *state, SMALL, false);
  const uint64_t huge = UINT64_C(1) << 40, top = UINT64_C(1) << 63;
  const hmc_strided_t shapes[] = {
      {.element = 8, .count = {huge, 1, 1}},
      {.element = top, .count = {2, 1, 1}},
      {.element = huge, .count = {huge, 1, 1}},
      {.element = UINT64_MAX, .count = {1, 1, 1}},
      {.element = 1, .count = {1, 3, 1}, .local_stride = {top, 0}, .remote_stride = {1, 0}},
      {.element = 1, .count = {1, 3, 1}, .local_stride = {1, 0}, .remote_stride = {top, 0}},
      {.element = 1, .count = {1, 2, 3}, .local_stride = {1, top}, .remote_stride = {1, 2}},
      {.element = 1, .count = {1, 2, 3}, .local_stride = {1, 2}, .remote_stride = {top, top}},
      {.element = 1, .count = {1, 2, 1}, .local_stride = {UINT64_MAX, 0}, .remote_stride = {1, 0}, .local_offset = 2},
      {.element = 1, .count = {1, 2, 1}, .local_stride = {1, 0}, .remote_stride = {UINT64_MAX, 0}, .remote_offset = 2},
      {.element = 1, .count = {1, 500, 3}, .local_stride = {1, 500}, .remote_stride = {1, 1}},
      {.element = 1, .count = {SMALL + 1, 0, 0}},
      {.element = 1, .local_offset = SMALL},
      {.element = 1, .remote_offset = UINT64_MAX},
      {.element = 1, .count = {1, huge, huge}},
      {.element = 1, .count = {1, 1, top}},
      {.element = 1, .count = {1, top, 2}},
  };
  for (size_t i = 0; i < COUNT_OF(shapes); i++) {
    hmc_batch_t *batch = NULL;
    uint64_t start = now_ms();
    hmc_status_t status = hmc_batch_create_strided(reference.near.region, reference.far.remote, &shapes[i], &batch);
    if (status != HMC_OUT_OF_RANGE && status != HMC_NO_MEMORY)
      fail_msg("shape %d: %s", (int)i, hmc_status_name(status));
    assert_string_not_equal(hmc_last_error(), "");
    assert_null(batch);
    assert_took(start, 0, 0);
  }
  uint64_t start = now_ms(); /* no bytes, however many of them */
  hmc_batch_t *batch = NULL;
  hmc_strided_t none = {.element = 0, .count = {huge, huge, huge}};
  hmc_status_t status = hmc_batch_create_strided(reference.near.region, reference.far.remote, &none, &batch);
  if (status == HMC_SUCCESS) assert_int_equal(hmc_batch_size(batch), 0);
  assert_took(start, 0, 0);
  hmc_batch_free(batch);
  reference_close(&reference);
}

/* ---- with what may go along */

void batch_with_all_options(void **state) {
  enum { COUNT = 400 };
  context_pair_t *pair = *state;
  hmc_segment_t pieces[COUNT];
  far_t words = far_make(pair, (far_options_t){.name = "words", .size = 64});
  for (int registered = 0; registered < 2; registered++) {
    reference_t reference;
    hmc_batch_t *batch = NULL;
    uint64_t random = 41;
    reference_open(&reference, pair, COUNT * 5000, registered);
    for (size_t i = 0; i < COUNT; i++) pieces[i] = (hmc_segment_t){.length = 1 + draw(&random) % 4900};
    lay_out(pieces, COUNT, true, 50, &random);
    lay_out(pieces, COUNT, false, 50, &random);
    assert_success(hmc_batch_create(reference.near.region, reference.far.remote, pieces, COUNT, &batch));
    for (uint64_t round = 1; round <= 6; round++) {
      bool put = round % 2;
      hmc_signal_t signal = {words.remote, 8, HMC_ATOMIC_SWAP, round + 10 * (uint64_t)registered};
      hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                         .flags = HMC_OPERATION_CHECKSUM,
                                         .timeout_ms = PATIENCE_MS,
                                         .signal = &signal,
                                         .notification = &round,
                                         .notification_size = sizeof round};
      hmc_request_t *request = NULL;
      uint64_t told = 0;
      size_t size = 0;
      reference_fill(&reference, round);
      assert_success(put ? hmc_batch_put_nb(batch, &options, &request) : hmc_batch_get_nb(batch, &options, &request));
      assert_success(hmc_notification_receive(pair->there, &told, sizeof told, &size, NULL, 0));
      assert_int_equal(told, round);
      assert_int_equal(word_load(&words.place, 8), round + 10 * (uint64_t)registered);
      assert_success(finish(request));
      reference_move_list(&reference, put, pieces, COUNT);
      reference_check(&reference);
    }
    hmc_batch_free(batch);
    reference_close(&reference);
  }
  far_close(&words);
}

/* ---- over several regions and peers */

#define SPREAD_SIZE (300 * KIB)
#define SPREAD_REGIONS 3u

/* A second far end, beside the pair's. */
typedef struct third {
  hmc_context_t *context;
  hmc_peer_t *peer;
  test_buffer_t place;
  hmc_remote_t *remote;
} third_t;

static third_t third_open(context_pair_t *pair) {
  third_t third = {.peer = NULL};
  uint16_t port = 0;
  hmc_context_options_t options = {.size = sizeof options, .name = "third", .timeout_ms = PATIENCE_MS};
  assert_success(hmc_context_create(&options, &third.context));
  assert_success(hmc_context_listen(third.context, "127.0.0.1", 0, &port));
  assert_success(test_buffer_open(&third.place, third.context, stamp.far, SPREAD_SIZE, "third", HMC_REMOTE_ALL, true));
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", port, stamp.type, 0, &third.peer));
  assert_success(hmc_remote_open(third.peer, "third", 0, &third.remote));
  return third;
}

static void third_close(third_t *third) {
  hmc_peer_close(third->peer);
  test_buffer_close(&third->place);
  hmc_context_destroy(third->context);
}

/* Puts to the even kilobytes and gets of the odd ones, of each region; all pieces between changing ends. */
void batch_over_many_regions(void **state) {
  context_pair_t *pair = *state;
  third_t third = third_open(pair);
  far_t one = far_make(pair, (far_options_t){.name = "one", .size = SPREAD_SIZE});
  far_t two = far_make(pair, (far_options_t){.name = "two", .size = SPREAD_SIZE, .registered = true});
  hmc_remote_t *remotes[SPREAD_REGIONS] = {one.remote, two.remote, third.remote};
  const test_buffer_t *owners[SPREAD_REGIONS] = {&one.place, &two.place, &third.place};
  test_buffer_t locals[SPREAD_REGIONS];
  static hmc_piece_t pieces[SPREAD_REGIONS * (SPREAD_SIZE / KIB)];
  size_t count = 0;
  for (size_t i = 0; i < SPREAD_REGIONS; i++) locals[i] = near_make(pair, SPREAD_SIZE, i == 1);
  for (uint64_t at = 0; at < SPREAD_SIZE; at += KIB)
    for (size_t i = 0; i < SPREAD_REGIONS; i++)
      pieces[count++] = (hmc_piece_t){.local = locals[(i + at / KIB / 2) % SPREAD_REGIONS].region,
                                      .remote = remotes[i],
                                      .local_offset = at,
                                      .remote_offset = at,
                                      .length = KIB,
                                      .flags = at / KIB % 2 ? HMC_PIECE_GET : 0};
  hmc_batch_t *batch = NULL;
  assert_success(hmc_batch_create_pieces(pieces, count, &batch));
  assert_int_equal(hmc_batch_size(batch), SPREAD_REGIONS * SPREAD_SIZE);
  assert_status(hmc_batch_put(batch), HMC_INVALID_CONFIG);
  for (uint8_t round = 1; round <= 4; round++) {
    hmc_operation_options_t options = {
        .size = sizeof options, .notification = &round, .notification_size = 1, .flags = HMC_OPERATION_EVENT};
    uint8_t told = 0;
    size_t size = 0;
    for (size_t i = 0; i < SPREAD_REGIONS; i++) {
      bytes_fill(&locals[i], 0, SPREAD_SIZE, round);
      owner_fill(owners[i], 0, SPREAD_SIZE, (uint8_t)(100 + round));
    }
    hmc_request_t *request = NULL;
    if (round % 2) {
      assert_success(hmc_batch_start_nb(batch, &options, &request));
    } else {
      assert_success(hmc_batch_start(batch, &options));
    }
    assert_success(hmc_notification_receive(pair->there, &told, 1, &size, NULL, 0)); /* after all, at all peers */
    assert_int_equal(told, round);
    shared_begin(); /* the order came by way of the other context: the thread sanitizer does not see it */
    for (uint64_t at = 0; at < SPREAD_SIZE; at += KIB)
      for (size_t i = 0; i < SPREAD_REGIONS; i++) {
        bool get = at / KIB % 2;
        uint8_t wanted = get ? (uint8_t)(100 + round) : round;
        assert_int_equal(owner_others(owners[i], at, KIB, wanted, wanted), 0);
        assert_int_equal(bytes_other(&locals[i], at, KIB, wanted, wanted), 0);
      }
    shared_end();
    if (!request) continue;
    hmc_event_t event = HMC_EVENT_INIT;
    size_t events = 0;
    assert_success(hmc_poll(pair->here, &event, 1, &events, 0));
    assert_ptr_equal(event.request, request);
    assert_success(finish(request));
  }
  hmc_batch_free(batch);
  pieces[count / 2].remote_offset = SPREAD_SIZE - 1;
  assert_status(hmc_batch_create_pieces(pieces, count, &batch), HMC_OUT_OF_RANGE);
  assert_error_has_number(count / 2);
  pieces[0].flags = 8;
  assert_status(hmc_batch_create_pieces(pieces, count, &batch), HMC_INVALID_CONFIG);
  assert_status(hmc_batch_create_pieces(pieces, 0, &batch), HMC_INVALID_CONFIG);
  for (size_t i = 0; i < SPREAD_REGIONS; i++) test_buffer_close(&locals[i]);
  third_close(&third);
  far_close(&one);
  far_close(&two);
}

/* One peer's failure is the batch's, and nothing is announced; a cancelled batch is over at all of them. */
void batch_over_peers_that_fail(void **state) {
  context_pair_t *pair = *state;
  if (stamp_is("shm") && !stamp_is_host())
    return; /* this side's device moves the bytes: a stopped peer holds up none */
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = SPREAD_SIZE, .registered = true});
  test_buffer_t local = near_make(pair, SPREAD_SIZE, false);
  distant_t distant;
  distant_start(&distant, pair);
  hmc_piece_t pieces[] = {{local.region, far.remote, 0, 0, SPREAD_SIZE, 0},
                          {local.region, distant.remote, 0, 0, SPREAD_SIZE, 0}};
  hmc_batch_t *batch = NULL;
  hmc_request_t *request = NULL;
  hmc_operation_options_t options = {.size = sizeof options, .notification = "x", .notification_size = 1};
  assert_success(hmc_batch_create_pieces(pieces, 2, &batch));
  distant_stop(&distant);
  assert_success(hmc_batch_start_nb(batch, &options, &request));
  assert_status(hmc_request_wait_for(request, 50), HMC_IN_PROGRESS);
  assert_status(hmc_request_cancel(request), HMC_CANCELLED);
  hmc_request_free(request);
  options.timeout_ms = 100;
  assert_status(hmc_batch_start(batch, &options), HMC_TIMEOUT);
  options.timeout_ms = 0;
  assert_success(hmc_batch_start_nb(batch, &options, &request));
  hmc_peer_close(distant.peer);
  assert_status(finish(request), HMC_CANCELLED);
  assert_no_notification(pair->there);
  hmc_batch_free(batch);
  distant_continue(&distant);
  target_stop(&distant.target);
  test_buffer_close(&local);
  far_close(&far);
}

/* With its first peer a batch ends at the others, too: when it is complete, none of them reads this side's memory. */
void batch_over_peers_ends_at_all(void **state) {
  context_pair_t *pair = *state;
  if (stamp_is("shm") && !stamp_is_host()) return; /* as above */
  const uint64_t length = DISTANT_SIZE - 64;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 64, .registered = true});
  test_buffer_t local = near_make(pair, DISTANT_SIZE, true);
  distant_t distant;
  distant_start(&distant, pair);
  for (int lost = 0; lost < 2; lost++) {
    hmc_peer_t *first = NULL, *back = NULL;
    hmc_remote_t *remote = NULL;
    hmc_batch_t *batch = NULL;
    hmc_request_t *request = NULL;
    hmc_operation_options_t options = {.size = sizeof options, .notification = "x", .notification_size = 1};
    target_do(&distant.target, (command_t){.verb = VERB_BYTES_FILL, .offset = 64, .length = length, .value = 0});
    assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &first));
    assert_success(hmc_context_accept(pair->there, 0, &back));
    assert_success(hmc_remote_open(first, "far", 0, &remote));
    hmc_piece_t pieces[] = {{local.region, remote, 0, 0, 64, 0}, {local.region, distant.remote, 64, 64, length, 0}};
    assert_success(hmc_batch_create_pieces(pieces, 2, &batch));
    bytes_fill(&local, 0, DISTANT_SIZE, 1);
    distant_stop(&distant);
    assert_success(hmc_batch_start_nb(batch, &options, &request));
    hmc_peer_close(lost ? back : first);
    assert_status(hmc_request_wait_for(request, PATIENCE_MS / 3), lost ? HMC_PEER_LOST : HMC_CANCELLED);
    bytes_fill(&local, 0, DISTANT_SIZE, 2);
    distant_continue(&distant);
    sleep_ms(100);
    assert_success(hmc_atomic(distant.remote, 0, HMC_ATOMIC_ADD, 8, 0, 0, NULL));
    command_t look = {.verb = VERB_BYTES_OTHER, .offset = 64, .length = length, .value = 1 << 8};
    assert_int_equal(target_do(&distant.target, look), 0); /* what it had before, and what was sent before it ended */
    hmc_request_free(request);
    hmc_batch_free(batch);
    hmc_peer_close(lost ? first : back);
  }
  distant_end(&distant);
  test_buffer_close(&local);
  far_close(&far);
}

/* ---- more pieces than are asked for at a time */

#define VERY_MANY 50000u

static hmc_batch_t *batch_of_very_many(const test_buffer_t *local, const far_t *far) {
  hmc_segment_t *pieces = malloc(VERY_MANY * sizeof *pieces);
  hmc_batch_t *batch = NULL;
  assert_non_null(pieces);
  for (uint64_t i = 0; i < VERY_MANY; i++) pieces[i] = (hmc_segment_t){16 * i, 16 * i + i % 2, 8};
  assert_success(hmc_batch_create(local->region, far->remote, pieces, VERY_MANY, &batch));
  free(pieces);
  return batch;
}

/* A region that is gone is an answer at once, though the last pieces have not been asked for. */
void batch_of_very_many_is_refused_at_once(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 16 * VERY_MANY + 16, .registered = true});
  test_buffer_t local = near_make(pair, 16 * VERY_MANY, true);
  hmc_batch_t *batch = batch_of_very_many(&local, &far);
  hmc_operation_options_t options = {.size = sizeof options, .timeout_ms = PATIENCE_MS / 3};
  test_buffer_withdraw(&far.place);
  for (int i = 0; i < 3; i++) {
    assert_status(hmc_batch_get_with(batch, &options), HMC_STALE);
    assert_status(hmc_batch_put_with(batch, &options), HMC_STALE);
  }
  hmc_batch_free(batch);
  test_buffer_close(&local);
  far_close(&far);
  far = far_make(pair, (far_options_t){.name = "next", .size = 64, .registered = true});
  local = near_make(pair, 64, true);
  assert_success(hmc_put(local.region, 0, far.remote, 0, 64));
  test_buffer_close(&local);
  far_close(&far);
}

/* One that is cancelled before its last pieces are asked for counts no more, however many operations come later. */
void batch_of_very_many_leaves_nothing_behind(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 16 * VERY_MANY + 16, .registered = true});
  test_buffer_t local = near_make(pair, 16 * VERY_MANY, true);
  hmc_batch_t *batch = batch_of_very_many(&local, &far);
  hmc_operation_options_t options = {.size = sizeof options, .timeout_ms = PATIENCE_MS / 3};
  const int puts = SANITIZED ? 5000 : 10000;
  owner_fill(&far.place, 0, far.place.size, 1);
  for (int i = 0; i < 3; i++) {
    hmc_request_t *request = NULL;
    assert_success(hmc_batch_get_nb(batch, NULL, &request));
    hmc_status_t status = hmc_request_cancel(request);
    assert_true(status == HMC_CANCELLED || status == HMC_SUCCESS);
    hmc_request_free(request);
  }
  bytes_fill(&local, 0, 64, 2);
  for (int i = 0; i < puts; i++) assert_success(put_with(&local, 0, far.remote, 0, 8, &options));
  assert_int_equal(owner_others(&far.place, 0, 8, 2, 2), 0);
  assert_success(hmc_batch_get(batch));
  assert_int_equal(bytes_other(&local, 16, 8, 1, 1), 0);
  hmc_batch_free(batch);
  test_buffer_close(&local);
  far_close(&far);
}
