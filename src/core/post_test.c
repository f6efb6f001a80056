/* What waits for credit when its connection ends while it is being started, by the thread that posts it or, after an
 * event, by the loop's. Both ends are contexts of this process; the transport's `submit` is stood in for. */
#include "request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

enum { SECONDS_20 = 20000, LENGTH = 64 << 10, A_WHILE_US = 200000 };

static hmci_transport_ops_t changed;
static const hmci_transport_ops_t *real;
static hmc_peer_t *ended; /* the peer whose next data meet the end of its connection */
static _Atomic bool is_over, is_starting;
static _Atomic int callbacks;

static void *end_connection(void *peer) {
  hmci_post_end(peer, HMC_PEER_LOST);
  atomic_store(&is_over, true);
  return NULL;
}

/* The connection ends, and is known to have ended; a while later the transport finds that out. */
static hmc_status_t submit(void *connection, hmci_operation_t *operations, uint32_t count) {
  static pthread_t thread;
  if (!ended || operations->kind != HMCI_PUT) return real->submit(connection, operations, count);
  hmc_peer_t *peer = ended;
  ended = NULL;
  atomic_store(&is_starting, true);
  assert_int_equal(pthread_create(&thread, NULL, end_connection, peer), 0);
  pthread_detach(thread);
  usleep(A_WHILE_US);
  atomic_store(&is_starting, false);
  return HMC_PEER_LOST;
}

static void change_transport(hmc_context_t *context) {
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    if (slot->ops->type != HMC_CONNECTION_TCP) continue;
    real = slot->ops;
    changed = *real;
    changed.submit = submit;
    slot->ops = &changed;
  }
}

static void on_end(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request, (void)status, (void)user;
  atomic_fetch_add(&callbacks, 1);
}

static hmc_context_t *make_context(const char *name) {
  const hmc_context_options_t options = {.size = sizeof options, .name = name, .timeout_ms = SECONDS_20};
  hmc_context_t *context;
  assert_int_equal(hmc_context_create(&options, &context), HMC_SUCCESS);
  return context;
}

typedef struct scene {
  hmc_context_t *here, *there;
  hmc_region_t *near, *far;
  hmc_remote_t *remote;
} scene_t;

/* The peer has no credit left for notifications, and the connection ends with the next put. */
static void open_scene(scene_t *scene) {
  static uint8_t near_bytes[LENGTH], far_bytes[LENGTH];
  uint16_t port;
  hmc_peer_t *peer, *back;
  atomic_store(&is_over, false);
  atomic_store(&callbacks, 0);
  setenv("HMC_NOTIFICATIONS", "16", 1);
  scene->here = make_context("here");
  scene->there = make_context("there");
  change_transport(scene->here);
  assert_int_equal(hmc_context_listen(scene->there, "127.0.0.1", 0, &port), HMC_SUCCESS);
  assert_int_equal(hmc_context_connect(scene->here, "127.0.0.1", port, HMC_CONNECTION_TCP, 0, &peer), HMC_SUCCESS);
  assert_int_equal(hmc_context_accept(scene->there, 0, &back), HMC_SUCCESS);
  assert_int_equal(hmc_region_register(scene->here, near_bytes, LENGTH, NULL, 0, &scene->near), HMC_SUCCESS);
  assert_int_equal(hmc_region_register(scene->there, far_bytes, LENGTH, "far", HMC_REMOTE_ALL, &scene->far),
                   HMC_SUCCESS);
  assert_int_equal(hmc_remote_open(peer, "far", 0, &scene->remote), HMC_SUCCESS);
  while (hmci_post_charge(peer, 1)) continue; /* its application takes none */
  ended = peer;
}

/* Puts, and tells; the request has ended when this returns. */
static hmc_request_t *put_and_wait(const scene_t *scene, hmc_operation_options_t options) {
  hmc_request_t *request = NULL;
  options.notification = "x";
  options.notification_size = 1;
  assert_int_equal(hmc_put_nb(scene->near, 0, scene->remote, 0, LENGTH, &options, &request), HMC_SUCCESS);
  assert_int_equal(hmc_request_wait(request), HMC_PEER_LOST);
  assert_null(ended);
  return request;
}

static void close_scene(scene_t *scene) {
  for (int i = 0; i < SECONDS_20 && !atomic_load(&is_over); i++) usleep(1000);
  hmc_remote_close(scene->remote);
  hmc_context_destroy(scene->here);
  hmc_context_destroy(scene->there);
}

/* The caller hears of it once: a request that has ended has started. */
static void what_ends_has_started(void **state) {
  (void)state;
  scene_t scene;
  open_scene(&scene);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.callback = on_end;
  hmc_request_free(put_and_wait(&scene, options));
  assert_int_equal(atomic_load(&callbacks), 1);
  close_scene(&scene);
}

/* The loop starts it, and ends it before it has finished starting: until then it is not freed. */
static void what_begins_after_an_event_is_kept(void **state) {
  (void)state;
  static uint8_t bytes[LENGTH];
  const hmc_memory_t sim = {HMC_MEMORY_SIM, 0}, host = {HMC_MEMORY_CPU, 0};
  scene_t scene;
  hmc_memory_stream_t stream;
  void *device;
  open_scene(&scene);
  assert_int_equal(hmc_memory_stream_create(sim, &stream), HMC_SUCCESS);
  assert_int_equal(hmc_memory_allocate(sim, LENGTH, &device), HMC_SUCCESS);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.flags = HMC_OPERATION_AFTER_STREAM;
  options.stream_memory = sim;
  options.stream = stream;
  assert_int_equal(hmc_memory_copy_async(device, sim, bytes, host, LENGTH, stream), HMC_SUCCESS);
  hmc_request_t *request = put_and_wait(&scene, options);
  assert_true(request->delayed);
  hmc_request_free(request);
  assert_false(atomic_load(&is_starting));
  close_scene(&scene);
  HMC_IGNORE(hmc_memory_stream_destroy(sim, stream));
  hmc_memory_free(sim, device);
}

int main(void) {
  setenv("HMC_SIM_LATENCY", "200ms", 1);
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_ends_has_started),
                                     cmocka_unit_test(what_begins_after_an_event_is_kept)};
  return cmocka_run_group_tests_name("core.post", tests, NULL, NULL);
}
