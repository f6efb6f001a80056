/* The second pass over the data, with transports that are set to have no checksums of their own. Both ends are
 * contexts of this process, so that a byte can be damaged between its arrival and the pass. */
#include "request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { KIB = 1 << 10, MIB = 1 << 20, ROOM = 5 * MIB, SECONDS_20 = 20000 };

/* The bytes of a put arrive by another thread's system call, and the word of it by a socket: an order that the thread
 * sanitizer does not see. */
#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
static void shared_begin(void) {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
static void shared_end(void) {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
static void shared_begin(void) {}
static void shared_end(void) {}
#endif

/* ---- a transport without checksums, and with damage -------------------------------------------------------------- */

static hmci_transport_ops_t plain;
static const hmci_transport_ops_t *real;
static uint8_t *damaged; /* flipped when the next data are complete; NULL: none */
static hmc_memory_t damaged_memory;
static void (*completed)(hmci_operation_t *operation);

static void flip(uint8_t *byte, hmc_memory_t memory) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  uint8_t value;
  shared_begin();
  HMC_IGNORE(hmc_memory_copy(&value, cpu, byte, memory, 1));
  value ^= 0x40;
  HMC_IGNORE(hmc_memory_copy(byte, memory, &value, cpu, 1));
  shared_end();
}

static void damage_and_go_on(hmci_operation_t *operation) {
  if (operation->status == HMC_SUCCESS) flip(damaged, damaged_memory);
  damaged = NULL;
  completed(operation);
}

static hmc_status_t submit(void *connection, hmci_operation_t *operations, uint32_t count) {
  assert_false(operations->checksum);
  if (damaged && operations->kind <= HMCI_GET) {
    completed = operations->completed;
    operations->completed = damage_and_go_on;
  }
  return real->submit(connection, operations, count);
}

/* ---- two contexts ------------------------------------------------------------------------------------------------ */

typedef struct way {
  hmc_connection_type_t type;
  hmc_memory_kind_t kind;
} way_t;

static const way_t ways[] = {{HMC_CONNECTION_TCP, HMC_MEMORY_CPU},
                             {HMC_CONNECTION_TCP, HMC_MEMORY_SIM},
                             {HMC_CONNECTION_SHM, HMC_MEMORY_CPU},
                             {HMC_CONNECTION_SHM, HMC_MEMORY_SIM}};
enum { WAYS = sizeof ways / sizeof *ways };

typedef struct scene {
  hmc_context_t *here, *there;
  hmc_peer_t *peer, *back;
  hmc_memory_t memory;
  bool lent; /* the far bytes */
  void *near_bytes, *far_bytes;
  hmc_region_t *near, *far, *words;
  hmc_remote_t *remote, *word;
  uint8_t *image; /* what was last written to the source */
} scene_t;

static void take_checksums(hmc_context_t *context, hmc_connection_type_t type) {
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    if (slot->ops->type != type) continue;
    real = slot->ops;
    plain = *real;
    plain.checksums = false;
    plain.submit = submit;
    slot->ops = &plain;
  }
}

static void open_scene(scene_t *scene, way_t way) {
  uint16_t port;
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  *scene = (scene_t){.memory = {way.kind, 0}};
  assert_int_equal(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "here", SECONDS_20},
                         &scene->here),
      HMC_SUCCESS);
  assert_int_equal(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "there", SECONDS_20},
                         &scene->there),
      HMC_SUCCESS);
  take_checksums(scene->here, way.type);
  assert_int_equal(hmc_context_listen(scene->there, "127.0.0.1", 0, &port), HMC_SUCCESS);
  assert_int_equal(hmc_context_connect(scene->here, "127.0.0.1", port, way.type, 0, &scene->peer), HMC_SUCCESS);
  assert_int_equal(hmc_context_accept(scene->there, 0, &scene->back), HMC_SUCCESS);
  assert_int_equal(hmc_memory_allocate(scene->memory, ROOM, &scene->near_bytes), HMC_SUCCESS);
  assert_int_equal(hmc_region_register(scene->here, scene->near_bytes, ROOM, NULL, 0, &scene->near), HMC_SUCCESS);
  scene->lent =
      way.kind == HMC_MEMORY_CPU; /* what HMC allocates would be mapped; a device's, which shm copies, only that is */
  if (scene->lent) {
    assert_int_equal(hmc_memory_allocate(scene->memory, ROOM, &scene->far_bytes), HMC_SUCCESS);
    assert_int_equal(hmc_region_register(scene->there, scene->far_bytes, ROOM, "far", HMC_REMOTE_ALL, &scene->far),
                     HMC_SUCCESS);
  } else {
    assert_int_equal(hmc_region_allocate(scene->there, scene->memory, ROOM, "far", HMC_REMOTE_ALL, &scene->far),
                     HMC_SUCCESS);
    scene->far_bytes = hmc_region_pointer(scene->far);
  }
  assert_int_equal(hmc_region_allocate(scene->there, cpu, 64, "words", HMC_REMOTE_ALL, &scene->words), HMC_SUCCESS);
  assert_int_equal(hmc_remote_open(scene->peer, "far", 0, &scene->remote), HMC_SUCCESS);
  assert_int_equal(hmc_remote_open(scene->peer, "words", 0, &scene->word), HMC_SUCCESS);
  assert_null(scene->remote->mapped);
  scene->image = malloc(ROOM);
  assert_non_null(scene->image);
}

static void close_scene(scene_t *scene) {
  hmc_context_destroy(scene->here);
  hmc_context_destroy(scene->there);
  hmc_memory_free(scene->memory, scene->near_bytes);
  if (scene->lent) hmc_memory_free(scene->memory, scene->far_bytes);
  free(scene->image);
}

/* New bytes at the source, and none of them where they go. */
static void fill(scene_t *scene, bool put, uint32_t seed) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  shared_begin();
  for (uint32_t i = 0; i < ROOM; i++) scene->image[i] = (uint8_t)((i * 2654435761u + seed * 97) >> 13);
  HMC_IGNORE(hmc_memory_copy(put ? scene->near_bytes : scene->far_bytes, scene->memory, scene->image, cpu, ROOM));
  for (uint32_t i = 0; i < ROOM; i++) scene->image[i] ^= 0xff;
  HMC_IGNORE(hmc_memory_copy(put ? scene->far_bytes : scene->near_bytes, scene->memory, scene->image, cpu, ROOM));
  for (uint32_t i = 0; i < ROOM; i++) scene->image[i] ^= 0xff;
  shared_end();
}

static void assert_moved(scene_t *scene, bool put, uint64_t from, uint64_t to, uint64_t length) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  uint8_t *bytes = malloc(length + 1);
  assert_non_null(bytes);
  shared_begin();
  HMC_IGNORE(
      hmc_memory_copy(bytes, cpu, (uint8_t *)(put ? scene->far_bytes : scene->near_bytes) + to, scene->memory, length));
  shared_end();
  bool same = memcmp(bytes, scene->image + from, length) == 0;
  free(bytes);
  assert_true(same);
}

static hmc_status_t start(scene_t *scene, bool put, uint64_t here, uint64_t there, uint64_t length,
                          const hmc_operation_options_t *options, hmc_request_t **request) {
  return put ? hmc_put_nb(scene->near, here, scene->remote, there, length, options, request)
             : hmc_get_nb(scene->near, here, scene->remote, there, length, options, request);
}

static hmc_status_t move(scene_t *scene, bool put, uint64_t here, uint64_t there, uint64_t length,
                         const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  hmc_status_t status = start(scene, put, here, there, length, options, &request);
  if (status == HMC_SUCCESS) status = hmc_request_wait(request);
  hmc_request_free(request);
  return status;
}

static const hmc_operation_options_t checked = {.size = sizeof(hmc_operation_options_t),
                                                .flags = HMC_OPERATION_CHECKSUM};

static uint64_t word_of(scene_t *scene) {
  uint64_t word = 0;
  assert_int_equal(hmc_atomic(scene->word, 8, HMC_ATOMIC_ADD, 8, 0, 0, &word), HMC_SUCCESS);
  return word;
}

static hmc_status_t receive(scene_t *scene, uint64_t timeout_ms) {
  uint8_t text[16];
  size_t size;
  return hmc_notification_receive(scene->there, text, sizeof text, &size, NULL, timeout_ms);
}

/* ---- tests ------------------------------------------------------------------------------------------------------- */

static void each_way(void (*test)(scene_t *scene)) {
  for (size_t i = 0; i < WAYS; i++) {
    scene_t scene;
    open_scene(&scene, ways[i]);
    test(&scene);
    close_scene(&scene);
  }
}

static void move_sound_data(scene_t *scene) {
  static const uint64_t lengths[] = {0, 1, 4097, MIB - 1, MIB, MIB + 1, 4 * MIB + 5};
  for (int put = 0; put < 2; put++) {
    fill(scene, put, (uint32_t)put);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
      uint64_t here = 3 + i, there = 2 * i + 1;
      assert_int_equal(move(scene, put, here, there, lengths[i], &checked), HMC_SUCCESS);
      assert_moved(scene, put, put ? here : there, put ? there : here, lengths[i]);
    }
  }
}

static void test_sound_data_pass(void **state) {
  (void)state;
  each_way(move_sound_data);
}

/* Thousands of pieces: more than fit into one question. */
static void move_pieces(scene_t *scene) {
  enum { PIECES = 1500, STEP = 2000 };
  hmc_segment_t *pieces = calloc(PIECES, sizeof *pieces);
  hmc_batch_t *batch;
  assert_non_null(pieces);
  for (uint64_t i = 0; i < PIECES; i++) pieces[i] = (hmc_segment_t){i * STEP, (PIECES - 1 - i) * STEP, 1 + i % 1500};
  pieces[7].length = 0;
  assert_int_equal(hmc_batch_create(scene->near, scene->remote, pieces, PIECES, &batch), HMC_SUCCESS);
  for (int put = 0; put < 2; put++) {
    hmc_request_t *request;
    fill(scene, put, 7);
    assert_int_equal(put ? hmc_batch_put_nb(batch, &checked, &request) : hmc_batch_get_nb(batch, &checked, &request),
                     HMC_SUCCESS);
    assert_int_equal(hmc_request_wait(request), HMC_SUCCESS);
    hmc_request_free(request);
    const hmc_segment_t *last = &pieces[PIECES - 1];
    assert_moved(scene, put, put ? last->local_offset : last->remote_offset,
                 put ? last->remote_offset : last->local_offset, last->length);
    damaged =
        (uint8_t *)(put ? scene->far_bytes : scene->near_bytes) + (put ? last->remote_offset : last->local_offset);
    damaged_memory = scene->memory;
    assert_int_equal(put ? hmc_batch_put_nb(batch, &checked, &request) : hmc_batch_get_nb(batch, &checked, &request),
                     HMC_SUCCESS);
    assert_int_equal(hmc_request_wait(request), HMC_CORRUPT);
    hmc_request_free(request);
  }
  hmc_batch_free(batch);
  free(pieces);
}

static void test_lists_of_pieces(void **state) {
  (void)state;
  each_way(move_pieces);
}

static void find_damage(scene_t *scene) {
  static const struct {
    uint64_t length, at;
  } cases[] = {{1, 0}, {5000, 4999}, {3 * MIB + 7, 0}, {3 * MIB + 7, MIB}, {3 * MIB + 7, 3 * MIB + 6}};
  hmc_signal_t signal = {scene->word, 8, HMC_ATOMIC_ADD, 1};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                     .flags = HMC_OPERATION_CHECKSUM,
                                     .signal = &signal,
                                     .notification = "over",
                                     .notification_size = 4};
  for (int put = 0; put < 2; put++) {
    fill(scene, put, 3);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
      uint64_t before = word_of(scene);
      damaged = (uint8_t *)(put ? scene->far_bytes : scene->near_bytes) + 11 + cases[i].at;
      damaged_memory = scene->memory;
      assert_int_equal(move(scene, put, 11, 11, cases[i].length, &options), HMC_CORRUPT);
      assert_non_null(strstr(hmc_last_error(), hmc_status_text(HMC_CORRUPT)));
      assert_int_equal(word_of(scene), before); /* what was to follow stays away */
      assert_int_equal(receive(scene, 1), HMC_TIMEOUT);
      assert_int_equal(move(scene, put, 11, 11, cases[i].length, &options), HMC_SUCCESS); /* and the peers go on */
      assert_int_equal(word_of(scene), before + 1);
      assert_int_equal(receive(scene, 0), HMC_SUCCESS);
    }
  }
}

static void test_damage_is_found(void **state) {
  (void)state;
  each_way(find_damage);
}

static void on_complete(hmc_request_t *request, hmc_status_t status, void *user) {
  hmc_request_free(request);
  if (status == HMC_SUCCESS) atomic_fetch_add((_Atomic uint32_t *)user, 1);
}

/* Many at once, by all ways to learn of the end. */
static void check_many(scene_t *scene) {
  enum { MANY = 32 };
  hmc_request_t *requests[MANY];
  _Atomic uint32_t calls = 0;
  hmc_operation_options_t called = {.size = sizeof(hmc_operation_options_t),
                                    .flags = HMC_OPERATION_CHECKSUM,
                                    .callback = on_complete,
                                    .user = (void *)&calls};
  fill(scene, true, 9);
  for (uint64_t i = 0; i < MANY; i++)
    assert_int_equal(start(scene, true, i * 70000, i * 70000, 69999, &checked, &requests[i]), HMC_SUCCESS);
  size_t left = MANY, index;
  while (left--) {
    assert_int_equal(hmc_request_wait_any(requests, MANY, &index), HMC_SUCCESS);
    assert_moved(scene, true, index * 70000, index * 70000, 69999);
    hmc_request_free(requests[index]);
    requests[index] = NULL;
  }
  for (uint64_t i = 0; i < MANY; i++)
    assert_int_equal(start(scene, true, i, i * 70000, 50000, &called, &requests[i]), HMC_SUCCESS);
  assert_int_equal(hmc_peer_flush(scene->peer, 0), HMC_SUCCESS);
  for (uint64_t limit = hmci_deadline(SECONDS_20); atomic_load(&calls) < MANY && hmci_now() < limit;) usleep(1000);
  assert_int_equal(atomic_load(&calls), MANY);
}

static void test_many_under_way(void **state) {
  (void)state;
  each_way(check_many);
}

/* Wherever a cancel comes, the request ends once, and the peers go on. */
static void cancel_anywhere(scene_t *scene) {
  uint32_t random = 1, ended = 0;
  fill(scene, true, 5);
  for (int round = 0; round < 60; round++) {
    hmc_signal_t signal = {scene->word, 8, HMC_ATOMIC_SWAP, (uint64_t)round + 1};
    hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM, .signal = &signal};
    hmc_request_t *request;
    uint64_t at = round % 2 ? 0 : 2 * MIB; /* what is left of a put may still arrive where it goes */
    assert_int_equal(start(scene, round % 2, at, at, 300000 + (uint64_t)round, &options, &request), HMC_SUCCESS);
    random = random * 1103515245 + 12345;
    for (uint64_t until = hmci_now() + (random >> 8) % 600000; hmci_now() < until;) hmci_pause();
    hmc_status_t status = hmc_request_cancel(request);
    if (status != HMC_SUCCESS) assert_int_equal(status, HMC_CANCELLED);
    assert_int_equal(hmc_request_test(request), status);
    ended += status == HMC_CANCELLED;
    hmc_request_free(request);
    if (status == HMC_SUCCESS) assert_int_equal(word_of(scene), round + 1);
  }
  assert_true(ended > 0);
  fill(scene, true, 6);
  assert_int_equal(move(scene, true, 0, 0, 2 * MIB, &checked), HMC_SUCCESS);
  assert_moved(scene, true, 0, 0, 2 * MIB);
}

static void test_cancelled_anywhere(void **state) {
  (void)state;
  each_way(cancel_anywhere);
}

/* ---- an owner who does not answer -------------------------------------------------------------------------------- */

/* Between device memories of one host the data need nobody there; the question does. */
static const way_t silent_way = {HMC_CONNECTION_SHM, HMC_MEMORY_SIM};

static void await_question(hmc_request_t *request) {
  uint64_t limit = hmci_deadline(SECONDS_20);
  bool asked = false;
  while (!asked && hmci_now() < limit) {
    pthread_mutex_lock(&request->context->checksum.lock);
    asked = request->context->checksum.current != request && request->checksum.phase == HMCI_CHECKSUM_SLICES;
    pthread_mutex_unlock(&request->context->checksum.lock);
    usleep(200);
  }
  assert_true(asked);
}

static void test_no_answer_ends_at_the_deadline(void **state) {
  (void)state;
  scene_t scene;
  hmc_request_t *request, *forgotten;
  hmc_operation_options_t brief = {
      .size = sizeof(hmc_operation_options_t), .flags = HMC_OPERATION_CHECKSUM, .timeout_ms = 60};
  open_scene(&scene, silent_way);
  hmci_loop_lock(scene.there->loop);
  assert_int_equal(start(&scene, true, 0, 0, MIB, &brief, &request), HMC_SUCCESS);
  assert_int_equal(start(&scene, true, 0, 0, MIB, &brief, &forgotten), HMC_SUCCESS);
  assert_int_equal(hmc_request_wait(request), HMC_TIMEOUT);
  uint64_t limit = hmci_deadline(SECONDS_20);
  while (!hmci_request_is_complete(forgotten) && hmci_now() < limit) usleep(200);
  assert_true(hmci_request_is_complete(forgotten)); /* nobody has asked about it */
  assert_int_equal(hmc_request_test(forgotten), HMC_TIMEOUT);
  hmci_loop_unlock(scene.there->loop);
  hmc_request_free(request);
  hmc_request_free(forgotten);
  assert_int_equal(move(&scene, true, 0, 0, MIB, &checked), HMC_SUCCESS); /* late answers do no harm */
  close_scene(&scene);
}

static void test_cancelled_while_asking(void **state) {
  (void)state;
  scene_t scene;
  hmc_request_t *request;
  open_scene(&scene, silent_way);
  hmci_loop_lock(scene.there->loop);
  assert_int_equal(start(&scene, true, 0, 0, MIB, &checked, &request), HMC_SUCCESS);
  await_question(request);
  assert_int_equal(hmc_request_cancel(request), HMC_CANCELLED);
  hmc_request_free(request);
  assert_int_equal(start(&scene, true, 0, 0, MIB, &checked, &request), HMC_SUCCESS);
  await_question(request);
  hmc_peer_close(scene.peer);
  assert_int_equal(hmc_request_wait(request), HMC_CANCELLED);
  hmci_loop_unlock(scene.there->loop);
  hmc_request_free(request);
  close_scene(&scene);
}

static void test_peer_lost_while_asking(void **state) {
  (void)state;
  scene_t scene;
  hmc_request_t *request;
  open_scene(&scene, silent_way);
  hmci_loop_lock(scene.there->loop);
  assert_int_equal(start(&scene, true, 0, 0, MIB, &checked, &request), HMC_SUCCESS);
  await_question(request);
  shutdown(hmci_secure_descriptor(scene.back->channel.stream), SHUT_RDWR);
  assert_int_equal(hmc_request_wait(request), HMC_PEER_LOST);
  hmci_loop_unlock(scene.there->loop);
  hmc_request_free(request);
  close_scene(&scene);
}

static void test_region_closed_while_asking(void **state) {
  (void)state;
  scene_t scene;
  hmc_request_t *request;
  open_scene(&scene, silent_way);
  hmci_loop_lock(scene.there->loop);
  assert_int_equal(start(&scene, true, 0, 0, MIB, &checked, &request), HMC_SUCCESS);
  await_question(request);
  hmc_region_close(scene.far);
  hmci_loop_unlock(scene.there->loop);
  assert_int_equal(hmc_request_wait(request), HMC_STALE);
  hmc_request_free(request);
  close_scene(&scene);
}

/* Who asks about bytes gets to know them: no right to read, no checksum. */
static void test_takes_the_right_to_read(void **state) {
  (void)state;
  scene_t scene;
  hmc_region_t *region;
  hmc_remote_t *remote;
  hmc_request_t *request;
  static uint8_t bytes[64];
  open_scene(&scene, ways[0]);
  assert_int_equal(hmc_region_register(scene.there, bytes, sizeof bytes, "letterbox", HMC_REMOTE_WRITE, &region),
                   HMC_SUCCESS);
  assert_int_equal(hmc_remote_open(scene.peer, "letterbox", 0, &remote), HMC_SUCCESS);
  assert_int_equal(hmc_put_nb(scene.near, 0, remote, 0, 64, &checked, &request), HMC_DENIED);
  assert_non_null(strstr(hmc_last_error(), "letterbox"));
  assert_int_equal(hmc_put(scene.near, 0, remote, 0, 64), HMC_SUCCESS);

  remote->view.rights |= HMC_REMOTE_READ; /* a peer that lies to itself */
  assert_int_equal(hmc_put_nb(scene.near, 0, remote, 0, 64, &checked, &request), HMC_SUCCESS);
  assert_int_equal(hmc_request_wait(request), HMC_DENIED);
  hmc_request_free(request);
  close_scene(&scene);
}

/* What comes from outside is looked at. */
static void test_malformed_questions(void **state) {
  (void)state;
  scene_t scene;
  uint8_t body[64];
  open_scene(&scene, ways[0]);
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u64(&writer, 1);
  hmci_write_u32(&writer, scene.far->view.id);
  hmci_write_u32(&writer, scene.far->view.generation);
  hmci_write_u32(&writer, 2);
  hmci_write_u64(&writer, 0);
  hmci_write_u64(&writer, 8);
  for (size_t size = 0; size <= writer.size; size++) { /* the second range is missing */
    hmci_reader_t reader = {.data = body, .size = size};
    hmci_loop_lock(scene.there->loop);
    assert_int_equal(hmci_checksum_answer(scene.back, &reader), HMC_CORRUPT);
    hmci_loop_unlock(scene.there->loop);
  }
  hmci_store32(body + 16, 100000);
  hmci_reader_t reader = {.data = body, .size = writer.size};
  assert_int_equal(hmci_checksum_answer(scene.back, &reader), HMC_CORRUPT);
  reader = (hmci_reader_t){.data = body, .size = 15};
  assert_int_equal(hmci_checksum_answered(scene.peer, &reader), HMC_CORRUPT);
  reader = (hmci_reader_t){.data = body, .size = 16};
  hmci_store32(body + 8, 999); /* a status of a newer peer */
  assert_int_equal(hmci_checksum_answered(scene.peer, &reader), HMC_SUCCESS);

  hmc_segment_t beyond = {0, 0, 64}; /* past the region, as its owner knows it */
  hmc_batch_t *batch;
  hmc_request_t *request;
  assert_int_equal(hmc_batch_create(scene.near, scene.word, &beyond, 1, &batch), HMC_SUCCESS);
  scene.words->view.size = 32;
  assert_int_equal(hmc_batch_get_nb(batch, &checked, &request), HMC_SUCCESS);
  assert_int_not_equal(hmc_request_wait(request), HMC_SUCCESS);
  hmc_request_free(request);
  hmc_batch_free(batch);
  scene.words->view.size = 64;
  close_scene(&scene);
}

int main(void) {
  setenv("HMC_SECRET", "the test's own secret", 1);
  setenv("HMC_LOG", "error", 1);
  alarm(280);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sound_data_pass),
      cmocka_unit_test(test_lists_of_pieces),
      cmocka_unit_test(test_damage_is_found),
      cmocka_unit_test(test_many_under_way),
      cmocka_unit_test(test_cancelled_anywhere),
      cmocka_unit_test(test_no_answer_ends_at_the_deadline),
      cmocka_unit_test(test_cancelled_while_asking),
      cmocka_unit_test(test_peer_lost_while_asking),
      cmocka_unit_test(test_region_closed_while_asking),
      cmocka_unit_test(test_takes_the_right_to_read),
      cmocka_unit_test(test_malformed_questions),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
