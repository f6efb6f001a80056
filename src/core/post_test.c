/* What waits for credit when its connection ends while it is being started. Both ends are contexts of this process; the
 * transport's `submit` is stood in for. */
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
static _Atomic bool is_over;
static _Atomic int callbacks;

static void *end_connection(void *peer) {
  hmci_post_end(peer, HMC_PEER_LOST);
  atomic_store(&is_over, true);
  return NULL;
}

/* The connection ends, and is known to have ended; then the transport finds that out. */
static hmc_status_t submit(void *connection, hmci_operation_t *operations, uint32_t count) {
  static pthread_t thread;
  if (!ended || operations->kind != HMCI_PUT) return real->submit(connection, operations, count);
  assert_int_equal(pthread_create(&thread, NULL, end_connection, ended), 0);
  pthread_detach(thread);
  ended = NULL;
  for (int i = 0; i < A_WHILE_US / 1000 && !atomic_load(&is_over); i++) usleep(1000);
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

/* The caller hears of it once: a request that has ended has started. */
static void what_ends_has_started(void **state) {
  (void)state;
  static uint8_t near_bytes[LENGTH], far_bytes[LENGTH];
  uint16_t port;
  hmc_peer_t *peer, *back;
  hmc_region_t *near, *far;
  hmc_remote_t *remote;
  hmc_request_t *request = NULL;
  setenv("HMC_NOTIFICATIONS", "16", 1);
  hmc_context_t *here = make_context("here"), *there = make_context("there");
  change_transport(here);
  assert_int_equal(hmc_context_listen(there, "127.0.0.1", 0, &port), HMC_SUCCESS);
  assert_int_equal(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_TCP, 0, &peer), HMC_SUCCESS);
  assert_int_equal(hmc_context_accept(there, 0, &back), HMC_SUCCESS);
  assert_int_equal(hmc_region_register(here, near_bytes, LENGTH, NULL, 0, &near), HMC_SUCCESS);
  assert_int_equal(hmc_region_register(there, far_bytes, LENGTH, "far", HMC_REMOTE_ALL, &far), HMC_SUCCESS);
  assert_int_equal(hmc_remote_open(peer, "far", 0, &remote), HMC_SUCCESS);
  while (hmci_post_charge(peer, 1)) continue; /* its application takes none */

  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.notification = "x";
  options.notification_size = 1;
  options.callback = on_end;
  ended = peer;
  assert_int_equal(hmc_put_nb(near, 0, remote, 0, LENGTH, &options, &request), HMC_SUCCESS);
  assert_null(ended);
  assert_int_equal(hmc_request_wait(request), HMC_PEER_LOST);
  for (int i = 0; i < SECONDS_20 && !atomic_load(&is_over); i++) usleep(1000);
  hmc_request_free(request);
  assert_int_equal(atomic_load(&callbacks), 1);

  hmc_remote_close(remote);
  hmc_context_destroy(here);
  hmc_context_destroy(there);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(what_ends_has_started)};
  return cmocka_run_group_tests_name("core.post", tests, NULL, NULL);
}
