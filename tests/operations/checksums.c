/* The checksum flag: sound data pass on every way, a damaged byte is found on every way. */
#include "proxy.h"
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

static const hmc_operation_options_t checked = {.size = sizeof(hmc_operation_options_t),
                                                .flags = HMC_OPERATION_CHECKSUM};

/* ---- sound data */

void checksum_of_good_data(void **state) {
  context_pair_t *pair = *state;
  static const uint64_t lengths[] = {0, 1, 511, 512, 513, 4099, 65537, MIB, MIB + 1, 3 * MIB + 5};
  const uint64_t room = 3 * MIB + 2048;
  for (int registered = 0; registered < 2; registered++) {
    far_t far = far_make(pair, (far_options_t){.name = "summed", .size = room, .registered = registered});
    test_buffer_t local = near_make(pair, room, registered);
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
      uint64_t here = 300 + i, there = 301 + 2 * i, length = lengths[i];
      frame_write(&local, here, length, i);
      owner_frame_write(&far.place, there, length, ~i);
      assert_success(put_with(&local, here, far.remote, there, length, &checked));
      assert_int_equal(owner_frame_check(&far.place, there, length, i), PATTERN_SAME);
      owner_frame_write(&far.place, there, length, i + 100);
      assert_success(get_with(&local, here, far.remote, there, length, &checked));
      assert_true(frame_check(&local, here, length, i + 100) == PATTERN_SAME);
    }
    hmc_request_t *requests[24]; /* many in progress, by turns with and without */
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
      const hmc_operation_options_t *options = i % 3 ? &checked : NULL;
      frame_write(&local, i * 100000, 90000, i);
      assert_success(hmc_put_nb(local.region, i * 100000, far.remote, i * 100000, 90000, options, &requests[i]));
    }
    for (size_t i = 0; i < COUNT_OF(requests); i++) assert_success(finish(requests[i]));
    for (size_t i = 0; i < COUNT_OF(requests); i++) bytes_fill(&local, i * 100000, 90000, 0);
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
      const hmc_operation_options_t *options = i % 3 ? &checked : NULL;
      assert_success(hmc_get_nb(local.region, i * 100000, far.remote, i * 100000, 90000, options, &requests[i]));
    }
    for (size_t i = 0; i < COUNT_OF(requests); i++) assert_success(finish(requests[i]));
    for (size_t i = 0; i < COUNT_OF(requests); i++)
      assert_true(frame_check(&local, i * 100000, 90000, i) == PATTERN_SAME);
    test_buffer_close(&local);
    far_close(&far);
  }
}

/* ---- a damaged byte on tcp */

/* A second connection of the pair, which goes through the proxy. */
typedef struct detour {
  proxy_t *proxy;
  hmc_peer_t *peer, *back;
  hmc_remote_t *remote; /* of the region "victim" */
  far_t victim, words;
  hmc_remote_t *word;
  test_buffer_t local;
} detour_t;

#define VICTIM_SIZE (3 * MIB)

static void detour_open(detour_t *detour, context_pair_t *pair) {
  uint16_t port = 0;
  detour->victim = far_make(pair, (far_options_t){.name = "victim", .size = VICTIM_SIZE, .registered = true});
  detour->words = far_make(pair, (far_options_t){.name = "words", .size = 64});
  detour->local = near_make(pair, VICTIM_SIZE, false);
  detour->proxy = proxy_start(pair->port, &port);
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", port, stamp.type, 0, &detour->peer));
  assert_success(hmc_context_accept(pair->there, 0, &detour->back));
  assert_success(hmc_remote_open(detour->peer, "victim", 0, &detour->remote));
  assert_success(hmc_remote_open(detour->peer, "words", 0, &detour->word));
}

static void detour_close(detour_t *detour) {
  hmc_peer_close(detour->peer);
  hmc_peer_close(detour->back);
  proxy_stop(detour->proxy);
  test_buffer_close(&detour->local);
  far_close(&detour->words);
  far_close(&detour->victim);
}

/* Writes a pattern with a mark in it; the byte behind the mark lies at `at` + PROXY_MARK_SIZE. */
static void write_marked(const test_buffer_t *place, uint64_t length, uint64_t at, uint64_t seed) {
  owner_frame_write(place, 0, length, seed);
  shared_begin();
  test_buffer_store(place, at, PROXY_MARK, PROXY_MARK_SIZE);
  shared_end();
}

/* Are the ranges of both ends the same? */
static bool is_same(const detour_t *detour, uint64_t length) {
  static uint8_t here[VICTIM_SIZE], there[VICTIM_SIZE];
  shared_begin();
  test_buffer_load(&detour->local, 0, here, length);
  test_buffer_load(&detour->victim.place, 0, there, length);
  bool same = memcmp(here, there, length) == 0;
  shared_end();
  return same;
}

/* A put or a get of `length` bytes with a mark at `at`: one piece, or a list that cuts the mark in two. */
static hmc_status_t move_marked(detour_t *detour, bool put, bool list, uint64_t length, uint64_t at,
                                const hmc_operation_options_t *options, uint64_t seed) {
  write_marked(put ? &detour->local : &detour->victim.place, length, at, seed);
  owner_frame_write(put ? &detour->victim.place : &detour->local, 0, length, ~seed);
  if (!list)
    return put ? put_with(&detour->local, 0, detour->remote, 0, length, options)
               : get_with(&detour->local, 0, detour->remote, 0, length, options);
  hmc_segment_t pieces[] = {{0, 0, at + 3}, {at + 4, at + 4, length - at - 4}, {at + 3, at + 3, 1}};
  hmc_batch_t *batch = NULL;
  hmc_request_t *request = NULL;
  assert_success(hmc_batch_create(detour->local.region, detour->remote, pieces, COUNT_OF(pieces), &batch));
  hmc_status_t status = put ? hmc_batch_put_nb(batch, options, &request) : hmc_batch_get_nb(batch, options, &request);
  if (status == HMC_SUCCESS) status = finish(request);
  hmc_batch_free(batch);
  return status;
}

static void damage_one(context_pair_t *pair, detour_t *detour, bool put, uint64_t length, uint64_t at, uint64_t seed) {
  /* unchecked, the damage goes unseen: the proxy does what it is here for */
  uint32_t damages = proxy_damages(detour->proxy);
  proxy_damage_marked(detour->proxy, 1);
  assert_success(move_marked(detour, put, false, length, at, NULL, seed));
  assert_int_equal(proxy_damages(detour->proxy), damages + 1);
  assert_false(is_same(detour, length));
  /* checked, it is found, and what was to follow stays away */
  uint64_t word = word_load(&detour->words.place, 8);
  hmc_signal_t signal = {detour->word, 8, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                     .flags = HMC_OPERATION_CHECKSUM,
                                     .signal = &signal,
                                     .notification = "over",
                                     .notification_size = 4};
  proxy_damage_marked(detour->proxy, 1);
  assert_status(move_marked(detour, put, false, length, at, &options, seed + 1), HMC_CORRUPT);
  assert_string_not_equal(hmc_last_error(), "");
  assert_int_equal(proxy_damages(detour->proxy), damages + 2);
  assert_true(word_load(&detour->words.place, 8) == word);
  assert_no_notification(pair->there);
  /* the peers go on */
  assert_success(move_marked(detour, put, false, length, at, &checked, seed + 2));
  assert_true(is_same(detour, length));
  assert_success(move_marked(detour, put, true, length, at, &options, seed + 3));
  assert_true(is_same(detour, length));
  assert_true(word_load(&detour->words.place, 8) == word + 1);
  uint8_t note[8];
  size_t size = 0;
  assert_success(hmc_notification_receive(pair->there, note, sizeof note, &size, NULL, 0));
}

/* One of many in progress is damaged: it alone fails. */
static void damage_among_many(detour_t *detour, bool put) {
  enum { COUNT = 20, LENGTH = 50000, VICTIM = 13 };
  hmc_request_t *requests[COUNT];
  const test_buffer_t *source = put ? &detour->local : &detour->victim.place;
  owner_frame_write(source, 0, COUNT * LENGTH, 5);
  shared_begin();
  test_buffer_store(source, VICTIM * LENGTH + 20000, PROXY_MARK, PROXY_MARK_SIZE);
  shared_end();
  owner_fill(put ? &detour->victim.place : &detour->local, 0, COUNT * LENGTH, 0);
  proxy_damage_marked(detour->proxy, 1);
  for (uint64_t i = 0; i < COUNT; i++) {
    uint64_t at = i * LENGTH;
    hmc_region_t *local = detour->local.region;
    assert_success(put ? hmc_put_nb(local, at, detour->remote, at, LENGTH, &checked, &requests[i])
                       : hmc_get_nb(local, at, detour->remote, at, LENGTH, &checked, &requests[i]));
  }
  for (size_t i = 0; i < COUNT; i++) assert_status(finish(requests[i]), i == VICTIM ? HMC_CORRUPT : HMC_SUCCESS);
}

static void damage_on_tcp(context_pair_t *pair) {
  static const uint64_t cases[][2] = {{100, 30}, {513, 1}, {5000, 4000}, {3 * MIB, 10}, {3 * MIB, 3 * MIB / 2 + 1}};
  detour_t detour;
  detour_open(&detour, pair);
  for (int put = 0; put < 2; put++) {
    for (uint64_t i = 0; i < COUNT_OF(cases); i++) damage_one(pair, &detour, put, cases[i][0], cases[i][1], 10 * i);
    damage_among_many(&detour, put);
  }
  /* the last byte of all, because it comes with the end */
  proxy_damage_marked(detour.proxy, 1);
  uint64_t length = VICTIM_SIZE, at = VICTIM_SIZE - PROXY_MARK_SIZE - 1;
  assert_status(move_marked(&detour, true, false, length, at, &checked, 3), HMC_CORRUPT);
  detour_close(&detour);
}

/* Encrypted payload protects itself: a damaged stream is given up, and other peers do not notice. */
static void damage_encrypted(context_pair_t *pair) {
  detour_t detour;
  detour_open(&detour, pair);
  assert_success(move_marked(&detour, true, false, VICTIM_SIZE, 50, NULL, 1));
  assert_true(is_same(&detour, VICTIM_SIZE));
  proxy_damage_chunk(detour.proxy, 8192);
  assert_status(move_marked(&detour, true, false, VICTIM_SIZE, 50, NULL, 2), HMC_PEER_LOST);
  assert_int_equal(proxy_damages(detour.proxy), 1);
  char text[4096]; /* the end that found it knows why */
  assert_success(hmc_peer_explain(detour.back, text, sizeof text, NULL));
  assert_non_null(strstr(text, "changed on the way"));
  assert_success(put_with(&detour.local, 0, detour.victim.remote, 0, VICTIM_SIZE, &checked));
  assert_true(is_same(&detour, VICTIM_SIZE));
  detour_close(&detour);
}

/* ---- a damaged byte on one host */

/* Changes bytes of a place that is being transferred, again and again. Between two rounds it sleeps for less than a
 * transfer takes, and comes before other threads where that is permitted: on a busy machine a thread that always runs
 * waits for its turn, and changes nothing in the moment between a copy and its check. */
typedef struct scribbler {
  pthread_t thread;
  const test_buffer_t *place;
  _Atomic bool stop;
} scribbler_t;

static void *scribble(void *argument) {
  scribbler_t *scribbler = argument;
  volatile uint8_t *bytes = scribbler->place->whole + scribbler->place->margin;
  shared_begin();
  pthread_setschedparam(pthread_self(), SCHED_FIFO, &(struct sched_param){.sched_priority = 1});
  prctl(PR_SET_TIMERSLACK, 1ul, 0, 0, 0);
  for (uint8_t value = 0; !atomic_load_explicit(&scribbler->stop, memory_order_relaxed); value++) {
    for (uint64_t at = 0; at < scribbler->place->size; at += 256) bytes[at] = value;
    nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
  }
  shared_end();
  return NULL;
}

/* Moves bytes while somebody scribbles on them, until that was found; then, undisturbed, all is well. Through UCX it is
 * the source that changes: what arrives is checked before it is in memory that its owner could unmap. */
static void scribble_on(context_pair_t *pair, bool put, bool registered) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  const uint64_t size = MIB + 11;
  test_buffer_t there, here;
  hmc_remote_t *remote = NULL;
  assert_success(test_buffer_open(&there, pair->there, cpu, size, "scribbled", HMC_REMOTE_ALL, registered));
  assert_success(test_buffer_open(&here, pair->here, put ? stamp.near : cpu, size, NULL, 0, false));
  assert_success(hmc_remote_open(pair->peer, "scribbled", 0, &remote));
  owner_fill(&there, 0, size, 0x33);
  bytes_fill(&here, 0, size, 0x44);
  bool at_source = stamp.type == HMC_CONNECTION_UCX;
  scribbler_t scribbler = {.place = put == at_source ? &here : &there};
  assert_int_equal(pthread_create(&scribbler.thread, NULL, scribble, &scribbler), 0);
  hmc_status_t status = HMC_SUCCESS;
  uint64_t limit = now_ms() + 60000;
  while (status == HMC_SUCCESS && now_ms() < limit)
    status = put ? put_with(&here, 0, remote, 0, size, &checked) : get_with(&here, 0, remote, 0, size, &checked);
  atomic_store(&scribbler.stop, true);
  pthread_join(scribbler.thread, NULL);
  assert_status(status, HMC_CORRUPT);
  owner_fill(&there, 0, size, 0x33);
  bytes_fill(&here, 0, size, 0x44);
  assert_success(put ? put_with(&here, 0, remote, 0, size, &checked) : get_with(&here, 0, remote, 0, size, &checked));
  assert_int_equal(owner_others(put ? &there : &here, 0, size, put ? 0x44 : 0x33, put ? 0x44 : 0x33), 0);
  hmc_remote_close(remote);
  test_buffer_close(&here);
  test_buffer_close(&there);
}

static void damage_on_one_host(context_pair_t *pair) {
  for (int registered = 0; registered < 2; registered++) {
    scribble_on(pair, true, registered);
    if (stamp_is_host()) /* a device's bytes are checked before they are there */
      scribble_on(pair, false, registered);
  }
}

void checksum_finds_damage(void **state) {
  if (stamp.type == HMC_CONNECTION_SHM || stamp.type == HMC_CONNECTION_UCX) /* UCX makes connections past the proxy */
    damage_on_one_host(*state);
  else if (stamp_is("tcp_encrypted"))
    damage_encrypted(*state);
  else
    damage_on_tcp(*state);
}
