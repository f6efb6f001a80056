/* Places of memory, and the patterns that tell one byte from another.
 *
 * Byte i of a pattern is byte i % 8 of a word that is mixed from the seed and i / 8, so that a byte that moved, came
 * twice or belongs to another transfer is seen. Device memory goes through a bounce buffer of the host. */
#include "harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REGISTERED_MARGIN 4096u
#define BOUNCE MIB
#define GUARD_SEED UINT64_C(0x6a09e667f3bcc908)

uint64_t mix(uint64_t value) {
  value = (value ^ (value >> 31)) * UINT64_C(0xbf58476d1ce4e5b9);
  return value ^ (value >> 29);
}

#define BLOCK                                                                                                          \
  1024u /* bytes that are made or compared at a time: by the C library, which is quick under a sanitizer, too */

/* Words of a pattern, from number `first` on. Each access being checked would take a sanitizer longer than what the tests
 * are about; the bytes of places go through memcpy and memcmp, which it checks. */
__attribute__((no_sanitize_address, no_sanitize_thread)) static void pattern_make(uint64_t *words, uint64_t first,
                                                                                  uint64_t count, uint64_t seed) {
  for (uint64_t i = 0; i < count; i++) {
    uint64_t word = (first + i + seed * UINT64_C(0x9e3779b97f4a7c15)) * UINT64_C(0xd6e8feb86659fd93);
    words[i] = word ^ (word >> 32);
  }
}

/* The pattern's bytes from `index` on: how many of the wanted ones the block has; `*bytes` gets the first. */
static uint64_t pattern_block(uint64_t words[BLOCK / 8], uint64_t index, uint64_t wanted, uint64_t seed,
                              const uint8_t **bytes) {
  uint64_t skew = index % 8, length = wanted < BLOCK - skew ? wanted : BLOCK - skew;
  pattern_make(words, index / 8, (skew + length + 7) / 8, seed);
  *bytes = (const uint8_t *)words + skew;
  return length;
}

static void pattern_write(uint8_t *data, uint64_t index, uint64_t length, uint64_t seed) {
  uint64_t words[BLOCK / 8];
  const uint8_t *bytes;
  for (uint64_t done = 0, piece; done < length; done += piece) {
    piece = pattern_block(words, index + done, length - done, seed, &bytes);
    memcpy(data + done, bytes, piece);
  }
}

/* The position in `data` of the first other byte, or PATTERN_SAME. */
static uint64_t pattern_check(const uint8_t *data, uint64_t index, uint64_t length, uint64_t seed) {
  uint64_t words[BLOCK / 8];
  const uint8_t *bytes;
  for (uint64_t done = 0, piece; done < length; done += piece) {
    piece = pattern_block(words, index + done, length - done, seed, &bytes);
    if (memcmp(data + done, bytes, piece) == 0) continue;
    for (uint64_t i = 0; i < piece; i++)
      if (data[done + i] != bytes[i]) return done + i;
  }
  return PATTERN_SAME;
}

/* ---- what the thread sanitizer cannot see ------------------------------------------------------------------------ */

#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

void shared_begin(void) {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

void shared_end(void) {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
void shared_begin(void) {}
void shared_end(void) {}
#endif

/* ---- places ------------------------------------------------------------------------------------------------------ */

static bool is_host(const test_buffer_t *place) { return place->memory.kind == HMC_MEMORY_CPU; }

/* A copy that fails here is a broken test set-up or a broken memory backend; there is nothing to go on with. */
static void copy_or_die(void *to, hmc_memory_t to_memory, const void *from, hmc_memory_t from_memory, uint64_t length) {
  if (hmc_memory_copy(to, to_memory, from, from_memory, length) == HMC_SUCCESS) return;
  fprintf(stderr, "%d: hmc_memory_copy of %llu B: %s\n", (int)getpid(), (unsigned long long)length, hmc_last_error());
  abort();
}

static const hmc_memory_t host_memory = {HMC_MEMORY_CPU, 0};

/* `offset` counts from place->whole. */
static void store(const test_buffer_t *place, uint64_t offset, const void *data, uint64_t length) {
  if (is_host(place))
    memcpy(place->whole + offset, data, length);
  else
    copy_or_die(place->whole + offset, place->memory, data, host_memory, length);
}

static void load(const test_buffer_t *place, uint64_t offset, void *data, uint64_t length) {
  if (is_host(place))
    memcpy(data, place->whole + offset, length);
  else
    copy_or_die(data, host_memory, place->whole + offset, place->memory, length);
}

void test_buffer_store(const test_buffer_t *place, uint64_t offset, const void *data, uint64_t length) {
  store(place, place->margin + offset, data, length);
}

void test_buffer_load(const test_buffer_t *place, uint64_t offset, void *data, uint64_t length) {
  load(place, place->margin + offset, data, length);
}

hmc_status_t test_buffer_open(test_buffer_t *place, hmc_context_t *context, hmc_memory_t memory, uint64_t size,
                              const char *name, unsigned rights, bool registered) {
  *place = (test_buffer_t){.memory = memory, .size = size, .margin = registered ? REGISTERED_MARGIN : 0};
  hmc_status_t status;
  if (!registered) {
    status = hmc_region_allocate(context, memory, size, name, rights, &place->region);
    place->whole = status == HMC_SUCCESS ? hmc_region_pointer(place->region) : NULL;
    return status;
  }
  void *whole = NULL;
  status = hmc_memory_allocate(memory, size + 2 * REGISTERED_MARGIN, &whole);
  if (status != HMC_SUCCESS) return status;
  status = hmc_region_register(context, (uint8_t *)whole + REGISTERED_MARGIN, size, name, rights, &place->region);
  if (status != HMC_SUCCESS)
    hmc_memory_free(memory, whole);
  else
    place->whole = whole;
  return status;
}

void test_buffer_withdraw(test_buffer_t *place) {
  hmc_region_close(place->region);
  place->region = NULL;
  if (place->margin == 0) place->whole = NULL;
}

void test_buffer_close(test_buffer_t *place) {
  test_buffer_withdraw(place);
  if (place->whole) hmc_memory_free(place->memory, place->whole);
  *place = (test_buffer_t){0};
}

/* ---- what lies in them ------------------------------------------------------------------------------------------- */

/* Runs over a range in pieces that the host can touch; `work` tells whether to go on. */
typedef bool piece_work_t(void *argument, uint8_t *data, uint64_t position, uint64_t length);

static void for_pieces(const test_buffer_t *place, uint64_t offset, uint64_t length, bool keep, piece_work_t *work,
                       void *argument) {
  if (is_host(place)) {
    work(argument, place->whole + offset, 0, length);
    return;
  }
  uint8_t *bounce = malloc(length < BOUNCE ? length + 1 : BOUNCE);
  for (uint64_t done = 0, piece; bounce && done < length; done += piece) {
    piece = length - done < BOUNCE ? length - done : BOUNCE;
    if (!keep) load(place, offset + done, bounce, piece);
    bool more = work(argument, bounce, done, piece);
    if (keep) store(place, offset + done, bounce, piece);
    if (!more) break;
  }
  if (!bounce) abort();
  free(bounce);
}

typedef struct pattern_work {
  uint64_t index, seed, found;
} pattern_work_t;

static bool write_piece(void *argument, uint8_t *data, uint64_t position, uint64_t length) {
  pattern_work_t *work = argument;
  pattern_write(data, work->index + position, length, work->seed);
  return true;
}

static bool check_piece(void *argument, uint8_t *data, uint64_t position, uint64_t length) {
  pattern_work_t *work = argument;
  uint64_t found = pattern_check(data, work->index + position, length, work->seed);
  if (found != PATTERN_SAME) work->found = position + found;
  return found == PATTERN_SAME;
}

/* A frame in coordinates of place->whole: guard [begin, from), pattern [from, to), guard [to, end). */
typedef struct frame {
  uint64_t begin, from, to, end;
} frame_t;

static frame_t frame_of(const test_buffer_t *place, uint64_t offset, uint64_t length) {
  frame_t frame = {.from = place->margin + offset, .to = place->margin + offset + length};
  uint64_t limit = place->size + 2 * place->margin;
  if (frame.to > limit) abort();
  frame.begin = frame.from > FRAME_GUARD ? frame.from - FRAME_GUARD : 0;
  frame.end = limit - frame.to > FRAME_GUARD ? frame.to + FRAME_GUARD : limit;
  return frame;
}

void frame_write(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed) {
  frame_t frame = frame_of(place, offset, length);
  pattern_work_t before = {frame.begin, GUARD_SEED, 0}, inside = {0, seed, 0}, after = {frame.to, GUARD_SEED, 0};
  for_pieces(place, frame.begin, frame.from - frame.begin, true, write_piece, &before);
  for_pieces(place, frame.from, length, true, write_piece, &inside);
  for_pieces(place, frame.to, frame.end - frame.to, true, write_piece, &after);
}

uint64_t frame_check(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed) {
  frame_t frame = frame_of(place, offset, length);
  pattern_work_t before = {frame.begin, GUARD_SEED, PATTERN_SAME}, inside = {0, seed, PATTERN_SAME};
  pattern_work_t after = {frame.to, GUARD_SEED, PATTERN_SAME};
  for_pieces(place, frame.begin, frame.from - frame.begin, false, check_piece, &before);
  if (before.found != PATTERN_SAME) return frame.begin + before.found - frame.from;
  for_pieces(place, frame.from, length, false, check_piece, &inside);
  if (inside.found != PATTERN_SAME) return inside.found;
  for_pieces(place, frame.to, frame.end - frame.to, false, check_piece, &after);
  return after.found == PATTERN_SAME ? PATTERN_SAME : length + after.found;
}

typedef struct byte_work {
  uint8_t one, two;
  uint64_t others;
} byte_work_t;

static bool fill_piece(void *argument, uint8_t *data, uint64_t position, uint64_t length) {
  (void)position;
  memset(data, ((byte_work_t *)argument)->one, length);
  return true;
}

static bool count_piece(void *argument, uint8_t *data, uint64_t position, uint64_t length) {
  (void)position;
  byte_work_t *work = argument;
  uint8_t one[BLOCK], two[BLOCK];
  memset(one, work->one, length < BLOCK ? length : BLOCK);
  memset(two, work->two, length < BLOCK ? length : BLOCK);
  for (uint64_t done = 0, piece; done < length; done += piece) {
    piece = length - done < BLOCK ? length - done : BLOCK;
    if (memcmp(data + done, one, piece) == 0 || memcmp(data + done, two, piece) == 0) continue;
    for (uint64_t i = done; i < done + piece; i++) work->others += data[i] != work->one && data[i] != work->two;
  }
  return true;
}

void bytes_fill(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t value) {
  byte_work_t work = {value, value, 0};
  for_pieces(place, place->margin + offset, length, true, fill_piece, &work);
}

uint64_t bytes_other(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t one, uint8_t two) {
  byte_work_t work = {one, two, 0};
  for_pieces(place, place->margin + offset, length, false, count_piece, &work);
  return work.others;
}

/* ---- there and back ---------------------------------------------------------------------------------------------- */

hmc_status_t exchange(const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                      uint64_t room, uint64_t rounds, uint64_t seed) {
  uint64_t most = room - 3 * FRAME_GUARD;
  for (uint64_t round = 0; round < rounds; round++) {
    uint64_t random = mix(seed + round), length = random % (round % 4 ? 1 + most / 16 : most) + 1;
    uint64_t from = offset + FRAME_GUARD + random % 61, to = remote_offset + FRAME_GUARD + random % 59;
    uint64_t back = offset + room + FRAME_GUARD + random % 53;
    frame_write(local, from, length, seed + round);
    hmc_status_t status = hmc_put(local->region, from, remote, to, length);
    if (status != HMC_SUCCESS) return status;
    frame_write(local, back, length, ~(seed + round));
    status = hmc_get(local->region, back, remote, to, length);
    if (status != HMC_SUCCESS) return status;
    uint64_t wrong = frame_check(local, back, length, seed + round);
    if (wrong != PATTERN_SAME) {
      fprintf(stderr, "exchange: round %llu, %llu B put at %llu: byte %lld came back wrong\n",
              (unsigned long long)round, (unsigned long long)length, (unsigned long long)to, (long long)wrong);
      return HMC_CORRUPT;
    }
  }
  return HMC_SUCCESS;
}
