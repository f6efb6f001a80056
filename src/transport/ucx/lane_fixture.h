/* Two peers, here and there, joined by a pipe and a lane over a UCX and a UCT in software, for the tests of lanes. The
 * test moves both by itself, and the loop only calls back. Included by one test each, behind cmocka.h. */
#ifndef HMCI_UCX_LANE_FIXTURE_H
#define HMCI_UCX_LANE_FIXTURE_H

#include "fake_lane_fixture.h"
#include "lane.h"
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

static inline bool poll_half(half_t *half) {
  pthread_mutex_lock(&half->worker.lock);
  bool moved = hmci_ucx_worker_poll(&half->worker);
  pthread_mutex_unlock(&half->worker.lock);
  return moved;
}

/* Until nothing moves any more. */
static inline void pump(pair_t *pair) {
  for (bool moved = true; moved;) {
    moved = poll_half(&pair->here);
    moved |= poll_half(&pair->there);
  }
}

/* Until the loop has called so often. */
static inline void await(_Atomic int *calls, int count) {
  uint64_t deadline = hmci_deadline(SOON_MS);
  while (atomic_load(calls) < count && hmci_now() < deadline) nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
  assert_int_equal(atomic_load(calls), count);
}

static inline hmci_ucx_lane_state_t state_of(half_t *half) { return atomic_load(&half->lane.state); }

static inline void offer(pair_t *pair) {
  pthread_mutex_lock(&pair->here.worker.lock);
  hmci_ucx_lane_offer(&pair->here.lane, pair->here.pipe);
  pthread_mutex_unlock(&pair->here.worker.lock);
  pump(pair);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static inline uint8_t pattern(uint64_t position) { return (uint8_t)(position * 7 + position / 251); }

static inline void paint(half_t *half, uint64_t from, uint64_t size) {
  for (uint64_t i = from; i < from + size; i++) half->region.base[i] = pattern(i);
}

/* Fills in an operation of one segment at the same offset at both ends. */
static inline hmci_operation_t *prepare(pair_t *pair, hmci_operation_t *operation, hmci_operation_kind_t kind,
                                        uint64_t offset, uint64_t size) {
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

static inline bool submit(pair_t *pair, hmci_operation_t *operation) {
  return hmci_ucx_lane_submit(&pair->here.lane, operation);
}

static inline bool cancel(pair_t *pair, hmci_operation_t *operation) {
  return hmci_ucx_lane_cancel(&pair->here.lane, operation, HMC_CANCELLED);
}

static inline void expect_end(hmci_operation_t *operation, hmc_status_t status) {
  assert_true(hmci_operation_is_complete(operation));
  assert_int_equal(operation->status, status);
}

/* What the stream would do with it. */
static inline hmc_status_t instead(void *connection, hmci_operation_t *operation) {
  half_t *half = connection;
  hmci_operation_complete(operation, HMC_STALE);
  atomic_fetch_add(&half->instead, 1);
  return HMC_SUCCESS;
}

static inline void on_broken(void *connection) {
  half_t *half = connection;
  atomic_fetch_add(&half->go_on, 1);
}

static inline void on_reopened(void *connection) { hmci_ucx_pipe_reopened(((half_t *)connection)->pipe); }

/* Waits until the loop wants it for the `count`th time, and does it. */
static inline void go_on(pair_t *pair, half_t *half, int count) {
  await(&half->go_on, count);
  pthread_mutex_lock(&half->worker.lock);
  hmci_ucx_lane_go_on(&half->lane, half->pipe);
  pthread_mutex_unlock(&half->worker.lock);
  pump(pair);
}

/* ---- the fixture ------------------------------------------------------------------------------------------------- */

static inline bool never_busy(void *argument) {
  (void)argument;
  return false;
}

static inline void open_half(half_t *half, hmci_loop_t *loop) {
  half->library = fake_library_with_lanes();
  half->host = (hmci_host_t){.loop = loop, .settings = &half->settings};
  assert_int_equal(hmci_ucx_worker_open(&half->worker, &half->library, NULL, loop, 0, never_busy, NULL), HMC_SUCCESS);
  hmci_ucx_fabric_open(&half->fabric, &half->library, &half->settings, half->worker.events.descriptor,
                       hmci_ucx_lane_on_error);
  half->worker.fabric = &half->fabric;
  assert_int_equal(hmci_ucx_pipe_open(&half->worker, &half->pipe), HMC_SUCCESS);
  hmci_ucx_pipe_attend(half->pipe);
  half->lane.instead = instead;
  half->lane.go_on = on_broken;
  half->lane.reopened = on_reopened;
  strcpy(half->settings.verbs_flush, "auto");
  half->lane.connection = half;
  half->lane.stream = half->pipe;
  hmci_ucx_lane_open(&half->lane, &half->fabric, &half->host);
  hmci_ucx_pipe_set_lane(half->pipe, &half->lane);
  half->ops.host_accessible = true;
  half->region = (hmci_region_view_t){
      .base = calloc(1, REGION), .size = REGION, .ops = &half->ops, .id = 3, .generation = 9, .rights = RIGHTS};
}

static inline void close_half(half_t *half) {
  hmci_ucx_lane_fail(&half->lane, HMC_PEER_LOST);
  hmci_ucx_pipe_set_lane(half->pipe, NULL);
  hmci_ucx_lane_close(&half->lane);
  half->pipe->base.close(&half->pipe->base);
  hmci_ucx_worker_close(&half->worker);
  hmci_ucx_fabric_close(&half->fabric);
  free(half->region.base);
}

static inline int open_pair(void **state) {
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
static inline void open_remote(pair_t *pair) {
  hmci_blob_t key = {0};
  hmci_ucx_lane_export(&pair->there.lane, &pair->there.region, &key);
  pair->view = (hmci_remote_view_t){.size = REGION, .id = 3, .generation = 9, .rights = RIGHTS};
  assert_int_equal(hmci_ucx_lane_remote_open(&pair->here.lane, &pair->remote, &pair->view, &key), HMC_SUCCESS);
  pair->remote_open = true;
}

static inline int open_lane(void **state) {
  open_pair(state);
  offer(*state);
  open_remote(*state);
  return 0;
}

static inline int close_pair(void **state) {
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

#define PAIR_TEST(test) cmocka_unit_test_setup_teardown(test, open_pair, close_pair)
#define LANE_TEST(test) cmocka_unit_test_setup_teardown(test, open_lane, close_pair)

#endif
