/* Tests of lanes over a UCX and a UCT in software. Two peers, here and there, are joined by a pipe and a lane; the test
 * moves both by itself, and the loop only calls back. */
#include "lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "fake_lane_testing.h"
#include "listener.h"

#include <time.h>

enum { REGION = 12 << 20, RIGHTS = HMC_REMOTE_READ | HMC_REMOTE_WRITE, SOON_MS = 20000 };

/* One peer: half of a connection. */
typedef struct half {
  hmci_ucx_library_t library;
  hmci_settings_t settings;
  hmci_host_t host;
  hmci_ucx_worker_t worker;
  hmci_ucx_fabric_t fabric;
  hmci_ucx_pipe_t *pipe;
  hmci_ucx_lane_t lane;
  hmci_memory_ops_t ops;
  hmci_region_view_t region;
  _Atomic int instead, go_on; /* calls */
} half_t;

typedef struct pair {
  hmci_loop_t *loop;
  half_t here, there; /* here offers */
  hmci_remote_view_t view;
  hmci_ucx_remote_t remote; /* there's region, as here knows it */
  bool remote_open;
} pair_t;

/* ---- moving ------------------------------------------------------------------------------------------------------ */

static bool poll_half(half_t *half) {
  pthread_mutex_lock(&half->worker.lock);
  bool moved = hmci_ucx_worker_poll(&half->worker);
  pthread_mutex_unlock(&half->worker.lock);
  return moved;
}

/* Until nothing moves any more. */
static void pump(pair_t *pair) {
  for (bool moved = true; moved;) {
    moved = poll_half(&pair->here);
    moved |= poll_half(&pair->there);
  }
}

/* Until the loop has called so often. */
static void await(_Atomic int *calls, int count) {
  uint64_t deadline = hmci_deadline(SOON_MS);
  while (atomic_load(calls) < count && hmci_now() < deadline) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  assert_int_equal(atomic_load(calls), count);
}

static hmci_ucx_lane_state_t state_of(half_t *half) { return atomic_load(&half->lane.state); }

static void offer(pair_t *pair) {
  pthread_mutex_lock(&pair->here.worker.lock);
  hmci_ucx_lane_offer(&pair->here.lane, pair->here.pipe);
  pthread_mutex_unlock(&pair->here.worker.lock);
  pump(pair);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static uint8_t pattern(uint64_t position) { return (uint8_t)(position * 7 + position / 251); }

static void paint(half_t *half, uint64_t from, uint64_t size) {
  for (uint64_t i = from; i < from + size; i++) half->region.base[i] = pattern(i);
}

/* Fills in an operation of one segment at the same offset at both ends. */
static hmci_operation_t *prepare(pair_t *pair, hmci_operation_t *operation, hmci_operation_kind_t kind, uint64_t offset,
                                 uint64_t size) {
  *operation = (hmci_operation_t){.kind = kind,
                                  .local = &pair->here.region,
                                  .remote = &pair->view,
                                  .remote_state = &pair->remote,
                                  .segment_count = 1,
                                  .single = {offset, offset, size},
                                  .deadline = hmci_deadline(SOON_MS)};
  operation->segments = &operation->single;
  return operation;
}

static bool submit(pair_t *pair, hmci_operation_t *operation) {
  return hmci_ucx_lane_submit(&pair->here.lane, operation);
}

static bool cancel(pair_t *pair, hmci_operation_t *operation) {
  return hmci_ucx_lane_cancel(&pair->here.lane, operation, HMC_CANCELLED);
}

static void expect_end(hmci_operation_t *operation, hmc_status_t status) {
  assert_true(hmci_operation_is_complete(operation));
  assert_int_equal(operation->status, status);
}

/* What the stream would do with it. */
static hmc_status_t instead(void *connection, hmci_operation_t *operation) {
  half_t *half = connection;
  hmci_operation_complete(operation, HMC_STALE);
  atomic_fetch_add(&half->instead, 1);
  return HMC_SUCCESS;
}

static void on_broken(void *connection) {
  half_t *half = connection;
  atomic_fetch_add(&half->go_on, 1);
}

/* Waits until the loop wants it for the `count`th time, and does it. */
static void go_on(pair_t *pair, half_t *half, int count) {
  await(&half->go_on, count);
  pthread_mutex_lock(&half->worker.lock);
  hmci_ucx_lane_go_on(&half->lane, half->pipe);
  pthread_mutex_unlock(&half->worker.lock);
  pump(pair);
}

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

static bool never_busy(void *argument) {
  (void)argument;
  return false;
}

static void open_half(half_t *half, hmci_loop_t *loop) {
  half->library = fake_library_with_lanes();
  half->host = (hmci_host_t){.loop = loop, .settings = &half->settings};
  assert_int_equal(hmci_ucx_worker_open(&half->worker, &half->library, NULL, loop, 0, never_busy, NULL), HMC_SUCCESS);
  hmci_ucx_fabric_open(&half->fabric, &half->library, &half->settings, half->worker.events.descriptor);
  half->worker.fabric = &half->fabric;
  assert_int_equal(hmci_ucx_pipe_open(&half->worker, &half->pipe), HMC_SUCCESS);
  hmci_ucx_pipe_attend(half->pipe);
  half->lane.instead = instead;
  half->lane.go_on = on_broken;
  strcpy(half->settings.verbs_flush, "auto");
  half->lane.connection = half;
  hmci_ucx_lane_open(&half->lane, &half->fabric, &half->host);
  hmci_ucx_pipe_set_lane(half->pipe, &half->lane);
  half->ops.host_accessible = true;
  half->region = (hmci_region_view_t){
      .base = calloc(1, REGION), .size = REGION, .ops = &half->ops, .id = 3, .generation = 9, .rights = RIGHTS};
}

static void close_half(half_t *half) {
  hmci_ucx_lane_fail(&half->lane, HMC_PEER_LOST);
  hmci_ucx_pipe_set_lane(half->pipe, NULL);
  hmci_ucx_lane_close(&half->lane);
  half->pipe->base.close(&half->pipe->base);
  hmci_ucx_worker_close(&half->worker);
  hmci_ucx_fabric_close(&half->fabric);
  free(half->region.base);
}

static int open_pair(void **state) {
  pair_t *pair = calloc(1, sizeof *pair);
  *state = pair;
  fake.way = "rc_verbs/fake0:1";
  assert_int_equal(hmci_loop_create(0, "test", &pair->loop), HMC_SUCCESS);
  open_half(&pair->here, pair->loop);
  open_half(&pair->there, pair->loop);
  pair->here.lane.dialled = true;
  struct sockaddr_storage address = {0};
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  uint16_t port = 0;
  memcpy(&address, &any, sizeof any);
  assert_int_equal(hmci_ucx_worker_listen(&pair->there.worker, &address, &port), HMC_SUCCESS);
  hmci_ucx_address_set_port(&address, port);
  hmci_ucx_pipe_t *near = pair->here.pipe, *far = pair->there.pipe;
  hmci_ucx_pipe_expect(far, (hmci_ucx_end_t){near->number, near->token});
  assert_int_equal(hmci_ucx_pipe_connect(near, (hmci_ucx_end_t){far->number, far->token}, &address), HMC_SUCCESS);
  pump(pair);
  fake_release(UCS_OK); /* HELLO waited for the connection */
  pump(pair);
  return 0;
}

/* Opens `there`'s region here. */
static void open_remote(pair_t *pair) {
  hmci_blob_t key = {0};
  hmci_ucx_lane_export(&pair->there.lane, &pair->there.region, &key);
  pair->view = (hmci_remote_view_t){.size = REGION, .id = 3, .generation = 9, .rights = RIGHTS};
  assert_int_equal(hmci_ucx_lane_remote_open(&pair->here.lane, &pair->remote, &pair->view, &key), HMC_SUCCESS);
  pair->remote_open = true;
}

static int open_lane(void **state) {
  open_pair(state);
  offer(*state);
  open_remote(*state);
  return 0;
}

static int close_pair(void **state) {
  pair_t *pair = *state;
  if (pair->remote_open) hmci_ucx_lane_remote_close(&pair->here.lane, &pair->remote);
  close_half(&pair->here);
  close_half(&pair->there);
  hmci_loop_destroy(pair->loop);
  int left = fake.endpoints + fake_lanes.open + fake_lanes.registered + fake_lanes.write_count;
  fake_end();
  memset(&fake_lanes, 0, sizeof fake_lanes);
  free(pair);
  return left;
}

/* ---- making a lane ----------------------------------------------------------------------------------------------- */

static void both_halves_are_ready(void **state) {
  pair_t *pair = *state;
  char text[HMCI_UCX_LANE_TEXT];
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_READY);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_READY);
  assert_true(pair->here.lane.answered);
  hmci_ucx_lane_explain(&pair->there.lane, text, sizeof text);
  assert_non_null(strstr(text, "RDMA of rc_verbs/fake0:1"));
}

static void expect_none(pair_t *pair, const char *reason) {
  char text[HMCI_UCX_LANE_TEXT];
  hmci_operation_t operation;
  offer(pair);
  assert_true(pair->here.lane.answered);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_NONE);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_NONE);
  hmci_ucx_lane_explain(&pair->here.lane, text, sizeof text);
  assert_non_null(strstr(text, reason));
  open_remote(pair);
  assert_null(pair->remote.device);
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, REGION)));
}

static void no_lane_without_a_device(void **state) {
  pair_t *pair = *state;
  snprintf(pair->here.pipe->way, sizeof pair->here.pipe->way, "tcp/eth0");
  expect_none(pair, "tcp/eth0 has no remote access in hardware");
}

static void no_lane_where_the_peer_has_none(void **state) {
  pair_t *pair = *state;
  pair->there.library.has_lanes = false;
  expect_none(pair, "the peer has none");
}

static void no_lane_between_releases(void **state) {
  pair_t *pair = *state;
  pair->there.library.minor = 14;
  expect_none(pair, "the peer has none");
}

static void no_lane_out_of_reach(void **state) {
  fake_lanes.unreachable = true;
  expect_none(*state, "the peer has none");
}

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

static void a_put_writes_there(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  uint64_t size = REGION - 4097; /* more pieces than there may be at a time */
  paint(&pair->here, 0, REGION);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 4096, size)));
  assert_false(hmci_operation_is_complete(&operation));
  assert_true(hmci_ucx_lane_is_busy(&pair->here.lane));
  assert_int_equal(fake_lanes.write_count, HMCI_UCX_PIECES);
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_false(hmci_ucx_lane_is_busy(&pair->here.lane));
  assert_memory_equal(pair->there.region.base + 4096, pair->here.region.base + 4096, size);
  assert_int_equal(pair->there.region.base[4095], 0);
  assert_int_equal(pair->there.region.base[REGION - 1], 0);
}

static void a_get_reads_there(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  paint(&pair->there, 0, REGION);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_GET, 1, 3 << 20)));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_memory_equal(pair->here.region.base + 1, pair->there.region.base + 1, 3 << 20);
}

/* Devices do not read a few bytes without a copy. */
static void no_piece_is_small(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  uint64_t size = 2 * HMCI_UCX_PIECE + 3;
  paint(&pair->there, 0, REGION);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_GET, 0, size)));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_memory_equal(pair->here.region.base, pair->there.region.base, size);
  assert_int_equal(pair->here.region.base[size], 0);
}

static void segments_go_each_to_its_place(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  hmci_segment_t segments[] = {{0, 1 << 20, 20000}, {500000, 3, 300000}, {60000, 5 << 20, HMCI_UCX_LANE_LEAST}};
  paint(&pair->here, 0, REGION);
  prepare(pair, &operation, HMCI_PUT, 0, 0);
  operation.segments = segments;
  operation.segment_count = 3;
  assert_true(submit(pair, &operation));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  for (int i = 0; i < 3; i++) {
    assert_memory_equal(pair->there.region.base + segments[i].remote, pair->here.region.base + segments[i].local,
                        segments[i].length);
  }
  segments[1].length = HMCI_UCX_LANE_LEAST - 1; /* one that is small is enough */
  prepare(pair, &operation, HMCI_PUT, 0, 0);
  operation.segments = segments;
  operation.segment_count = 3;
  assert_false(submit(pair, &operation));
}

static void a_full_device_is_asked_again(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second;
  fake_lanes.room = 2;
  paint(&pair->here, 0, REGION);
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 2 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_PUT, 2 << 20, 1 << 20)));
  assert_int_equal(fake_lanes.write_count, 2);
  pump(pair);
  expect_end(&first, HMC_SUCCESS);
  expect_end(&second, HMC_SUCCESS);
  assert_memory_equal(pair->there.region.base, pair->here.region.base, 3 << 20);
}

static void the_rest_is_for_the_stream(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, HMCI_UCX_LANE_LEAST - 1)));
  prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)->checksum = true;
  assert_false(submit(pair, &operation));
  assert_false(submit(pair, prepare(pair, &operation, HMCI_ATOMIC, 0, 1 << 20)));
  assert_false(submit(pair, prepare(pair, &operation, HMCI_NOTIFY, 0, 1 << 20)));
  pair->here.ops.host_accessible = false;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  assert_int_equal(fake_lanes.posted, 0);
}

/* Where the owner's device asks for it, a put is through with a read behind it. */
static void a_read_follows_a_put(void **state) {
  pair_t *pair = *state;
  hmci_operation_t put, get;
  pair->there.fabric.devices[0].stores_at_once = false;
  hmci_ucx_lane_remote_close(&pair->here.lane, &pair->remote);
  open_remote(pair);
  fake_lanes.hold = true;
  fake_lanes.room = 4;
  assert_true(submit(pair, prepare(pair, &put, HMCI_PUT, 0, 1 << 20)));
  assert_int_equal(fake_lanes.posted, 4);
  fake_lanes.hold = false;
  for (int i = 0; i < 4; i++) poll_half(&pair->here);
  assert_memory_equal(pair->there.region.base, pair->here.region.base, 1 << 20);
  assert_false(hmci_operation_is_complete(&put));
  pump(pair);
  expect_end(&put, HMC_SUCCESS);
  assert_int_equal(fake_lanes.reads, 1);
  assert_true(submit(pair, prepare(pair, &get, HMCI_GET, 0, 1 << 20)));
  pump(pair);
  expect_end(&get, HMC_SUCCESS);
  assert_int_equal(fake_lanes.reads, 1);
}

/* ---- registrations ----------------------------------------------------------------------------------------------- */

static void a_region_is_registered_once(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  assert_int_equal(fake_lanes.registered, 1); /* there's, by its export */
  for (int i = 0; i < 3; i++) {
    assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
    pump(pair);
  }
  assert_int_equal(fake_lanes.registered, 2);
  hmci_ucx_lane_forget(&pair->here.lane, &pair->here.region);
  assert_int_equal(fake_lanes.registered, 1);
}

static void memory_that_is_refused_goes_in_messages(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  fake_lanes.refuse = true;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  fake_lanes.refuse = false;
  assert_false(submit(pair, &operation)); /* not asked again */
}

static void the_ceiling_holds(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  pair->here.settings.verbs_pinned_max = REGION - 1;
  assert_false(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
}

/* UCX's keys let peers read and write. */
static void only_what_may_be_written_gets_a_key(void **state) {
  pair_t *pair = *state;
  hmci_blob_t key = {.size = 77};
  pair->there.region.rights = HMC_REMOTE_READ;
  hmci_ucx_lane_export(&pair->there.lane, &pair->there.region, &key);
  assert_int_equal(key.size, 0);
}

static void a_malformed_key_is_refused(void **state) {
  pair_t *pair = *state;
  hmci_ucx_remote_t remote = {0};
  hmci_blob_t key = {0};
  hmci_ucx_lane_export(&pair->there.lane, &pair->there.region, &key);
  assert_int_equal(key.size, 24);
  key.size--;
  assert_int_equal(hmci_ucx_lane_remote_open(&pair->here.lane, &remote, &pair->view, &key), HMC_CORRUPT);
  key.size += 2;
  assert_int_equal(hmci_ucx_lane_remote_open(&pair->here.lane, &remote, &pair->view, &key), HMC_CORRUPT);
}

static void a_closed_region_is_known(void **state) {
  pair_t *pair = *state;
  half_t *there = &pair->there;
  pthread_mutex_lock(&there->worker.lock);
  hmci_ucx_pipe_tell(there->pipe, HMCI_UCX_REVOKED, 3ull << 32 | 8, NULL, 0); /* an older one */
  pthread_mutex_unlock(&there->worker.lock);
  pump(pair);
  assert_int_equal(atomic_load(&pair->remote.generation), 9);
  pthread_mutex_lock(&there->worker.lock);
  hmci_ucx_pipe_tell(there->pipe, HMCI_UCX_REVOKED, 3ull << 32 | 9, NULL, 0);
  pthread_mutex_unlock(&there->worker.lock);
  pump(pair);
  assert_int_equal(atomic_load(&pair->remote.generation), 0);
}

/* ---- breaking ---------------------------------------------------------------------------------------------------- */

/* The owner's device refuses, and all that was under way goes in messages once both ends are gone. */
static void what_broke_goes_in_messages(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second, third;
  hmci_ucx_lane_forget(&pair->there.lane, &pair->there.region);
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_GET, 0, 10 << 20))); /* of which some has to wait */
  assert_true(submit(pair, prepare(pair, &third, HMCI_PUT, 0, 1 << 20)));
  fake_lanes.hold = false;
  pump(pair);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_NONE);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_READY);
  assert_int_equal(fake_lanes.write_count, 0);
  await(&pair->here.go_on, 1);
  assert_int_equal(atomic_load(&pair->here.instead), 0);
  go_on(pair, &pair->here, 1);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_NONE);
  await(&pair->here.instead, 3);
  expect_end(&first, HMC_STALE);
  expect_end(&second, HMC_STALE);
  expect_end(&third, HMC_STALE);
  assert_false(hmci_ucx_lane_is_busy(&pair->here.lane));
  assert_false(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
}

/* As a device finds it. */
static void break_at(half_t *half) {
  pthread_mutex_lock(&half->fabric.lock);
  hmci_ucx_lane_lose(&half->lane);
  pthread_mutex_unlock(&half->fabric.lock);
}

static void expect_use(pair_t *pair) {
  hmci_operation_t operation;
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_READY);
  assert_int_equal(state_of(&pair->there), HMCI_UCX_LANE_READY);
  paint(&pair->here, 0, 1 << 20);
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  pump(pair);
  expect_end(&operation, HMC_SUCCESS);
  assert_memory_equal(pair->there.region.base, pair->here.region.base, 1 << 20);
}

static void a_lane_is_made_anew(void **state) {
  pair_t *pair = *state;
  break_at(&pair->here);
  go_on(pair, &pair->here, 1); /* says so */
  go_on(pair, &pair->here, 2); /* offers */
  expect_use(pair);
}

/* The end that has not dialled breaks. */
static void a_lane_lost_there_is_made_anew(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)));
  break_at(&pair->there);
  go_on(pair, &pair->there, 1);
  fake_lanes.hold = false;
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_NONE);
  await(&pair->here.instead, 1); /* at once, for the other end was gone before */
  expect_end(&operation, HMC_STALE);
  go_on(pair, &pair->here, 1);
  expect_use(pair);
}

/* Both ends break, and say so at the same time. */
static void a_lane_lost_at_both_ends_is_made_anew(void **state) {
  pair_t *pair = *state;
  break_at(&pair->here);
  break_at(&pair->there);
  await(&pair->here.go_on, 1);
  await(&pair->there.go_on, 1);
  half_t *halves[] = {&pair->here, &pair->there};
  for (int i = 0; i < 2; i++) {
    pthread_mutex_lock(&halves[i]->worker.lock);
    hmci_ucx_lane_go_on(&halves[i]->lane, halves[i]->pipe);
    pthread_mutex_unlock(&halves[i]->worker.lock);
  }
  pump(pair);
  go_on(pair, &pair->here, 2);
  expect_use(pair);
}

/* What is said of a former lane does nothing to this one. */
static void an_old_loss_is_none(void **state) {
  pair_t *pair = *state;
  half_t *there = &pair->there;
  static const hmci_ucx_type_t types[] = {HMCI_UCX_LOST, HMCI_UCX_GONE, HMCI_UCX_READY};
  for (int i = 0; i < 3; i++) {
    pthread_mutex_lock(&there->worker.lock);
    hmci_ucx_pipe_tell(there->pipe, types[i], 0, NULL, 0);
    pthread_mutex_unlock(&there->worker.lock);
  }
  pump(pair);
  expect_use(pair);
}

static void a_failed_connection_ends_all(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second;
  fake_lanes.hold = true;
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 10 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_GET, 0, 1 << 20)));
  hmci_ucx_lane_fail(&pair->here.lane, HMC_PEER_LOST);
  expect_end(&first, HMC_PEER_LOST);
  expect_end(&second, HMC_PEER_LOST);
  assert_int_equal(fake_lanes.write_count, 0);
  assert_false(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
  offer(pair);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_ENDED);
}

/* ---- cancelling -------------------------------------------------------------------------------------------------- */

static void a_cancel_waits_for_its_pieces(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, second, other;
  fake_lanes.room = 6;
  assert_true(submit(pair, prepare(pair, &first, HMCI_PUT, 0, 1 << 20)));
  assert_true(submit(pair, prepare(pair, &second, HMCI_PUT, 0, 8 << 20))); /* begun */
  assert_true(submit(pair, prepare(pair, &other, HMCI_PUT, 0, 1 << 20)));
  assert_false(cancel(pair, &(hmci_operation_t){.kind = HMCI_PUT}));
  assert_true(cancel(pair, &second));
  expect_end(&second, HMC_CANCELLED);
  int posted = fake_lanes.posted;
  assert_true(posted < 16);
  pump(pair);
  expect_end(&first, HMC_SUCCESS);
  expect_end(&other, HMC_SUCCESS);
  assert_int_equal(state_of(&pair->here), HMCI_UCX_LANE_READY);
}

static int ends;

static void count_end(hmci_operation_t *operation) {
  (void)operation;
  ends++;
}

static void a_cancelled_operation_ends_once(void **state) {
  pair_t *pair = *state;
  hmci_operation_t operation;
  prepare(pair, &operation, HMCI_PUT, 0, 1 << 20)->completed = count_end;
  ends = 0;
  assert_true(submit(pair, &operation));
  assert_true(cancel(pair, &operation)); /* all is posted: its pieces end meanwhile */
  expect_end(&operation, HMC_CANCELLED);
  assert_int_equal(ends, 1);
}

/* A device that does not come to an end has to let go. */
static void a_cancel_comes_to_an_end(void **state) {
  pair_t *pair = *state;
  hmci_operation_t first, other;
  fake_lanes.hold = true;
  pair->here.lane.patience = 1000000;
  assert_true(submit(pair, prepare(pair, &first, HMCI_GET, 0, 1 << 20)));
  assert_true(submit(pair, prepare(pair, &other, HMCI_GET, 0, 1 << 20)));
  assert_true(cancel(pair, &first));
  expect_end(&first, HMC_CANCELLED);
  assert_int_equal(fake_lanes.write_count, 0);
  go_on(pair, &pair->here, 1);
  await(&pair->here.instead, 1); /* the other one */
  expect_end(&other, HMC_STALE);
}

#define PAIR_TEST(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
#define LANE_TEST(test) cmocka_unit_test_setup_teardown(test, open_lane, close_pair)

int main(void) {
  const struct CMUnitTest tests[] = {
      LANE_TEST(both_halves_are_ready),
      PAIR_TEST(no_lane_without_a_device),
      PAIR_TEST(no_lane_where_the_peer_has_none),
      PAIR_TEST(no_lane_between_releases),
      PAIR_TEST(no_lane_out_of_reach),
      LANE_TEST(a_put_writes_there),
      LANE_TEST(a_get_reads_there),
      LANE_TEST(no_piece_is_small),
      LANE_TEST(segments_go_each_to_its_place),
      LANE_TEST(a_full_device_is_asked_again),
      LANE_TEST(the_rest_is_for_the_stream),
      LANE_TEST(a_read_follows_a_put),
      LANE_TEST(a_region_is_registered_once),
      LANE_TEST(memory_that_is_refused_goes_in_messages),
      LANE_TEST(the_ceiling_holds),
      LANE_TEST(only_what_may_be_written_gets_a_key),
      LANE_TEST(a_malformed_key_is_refused),
      LANE_TEST(a_closed_region_is_known),
      LANE_TEST(what_broke_goes_in_messages),
      LANE_TEST(a_lane_is_made_anew),
      LANE_TEST(a_lane_lost_there_is_made_anew),
      LANE_TEST(a_lane_lost_at_both_ends_is_made_anew),
      LANE_TEST(an_old_loss_is_none),
      LANE_TEST(a_failed_connection_ends_all),
      LANE_TEST(a_cancel_waits_for_its_pieces),
      LANE_TEST(a_cancelled_operation_ends_once),
      LANE_TEST(a_cancel_comes_to_an_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
