/* A program that does not read is not a host that is gone: however long it stands still, its peers wait, and what they
 * asked for comes when it goes on. A host that is gone is named with the setting that decided it (tests/vm/network looks
 * at real ones). */
#include "suite.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#define PEER_TIMEOUT_MS 1000u
#define REST_MS (4 * PEER_TIMEOUT_MS)

static const char *const impatient[] = {"HMC_PEER_TIMEOUT", "1s", NULL};

/* The target stands for a multiple of HMC_PEER_TIMEOUT, its windows shut, while a put and a get are in progress. */
void slow_peer_outlives_the_peer_timeout(void **state) {
  (void)state;
  context_pair_t pair;
  distant_t distant;
  hmc_request_t *put = NULL, *get = NULL, *more = NULL;
  hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 60000};
  context_pair_open(&pair, impatient);
  distant_start(&distant, &pair);
  test_buffer_t local = near_make(&pair, 2 * DISTANT_SIZE, true);
  frame_write(&local, FRAME_GUARD, DISTANT_SIZE - 2 * FRAME_GUARD, 1);
  distant_stop(&distant);
  assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, DISTANT_SIZE, &patient, &put));
  assert_success(hmc_put_nb(local.region, 0, distant.remote, 0, DISTANT_SIZE, &patient, &more));
  assert_success(hmc_get_nb(local.region, DISTANT_SIZE, distant.remote, 0, DISTANT_SIZE, &patient, &get));
  sleep_ms(REST_MS);
  assert_connected(distant.peer);
  distant_continue(&distant);
  assert_success(finish(put));
  assert_success(finish(more));
  assert_success(finish(get));
  assert_int_equal(frame_check(&local, FRAME_GUARD, DISTANT_SIZE - 2 * FRAME_GUARD, 1), PATTERN_SAME);
  assert_connected(distant.peer);
  distant_end(&distant);
  test_buffer_close(&local);
  context_pair_close(&pair);
}

/* The answers of gets that nobody waits for any more come, and are dropped. */
void slow_rest_after_a_cancelled_get(void **state) {
  (void)state;
  context_pair_t pair;
  context_pair_open(&pair, impatient);
  far_t far = far_make(&pair, (far_options_t){.name = "large", .size = 32 * MIB, .registered = true});
  test_buffer_t local = near_make(&pair, 32 * MIB, true);
  for (int i = 0; i < 4; i++) {
    hmc_request_t *request = NULL;
    assert_success(hmc_get_nb(local.region, 0, far.remote, 0, 32 * MIB, NULL, &request));
    hmc_request_cancel(request);
    hmc_request_free(request);
  }
  sleep_ms(REST_MS);
  assert_connected(pair.peer);
  assert_connected(pair.back);
  assert_success(exchange(&local, 0, far.remote, 0, MIB, 3, 1));
  far_close(&far); /* which waits for nobody: the owner's side has finished with the region */
  test_buffer_close(&local);
  context_pair_close(&pair);
}

/* Sockets of this process that are TCP, connected, and end connections whose other end does not read. */
static unsigned impatient_sockets(void) {
  unsigned count = 0;
  for (int descriptor = 3; descriptor < 256; descriptor++) {
    unsigned milliseconds = 0;
    socklen_t size = sizeof milliseconds;
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof peer;
    if (getpeername(descriptor, (struct sockaddr *)&peer, &peer_size) != 0) continue;
    count += getsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, &size) == 0 && milliseconds;
  }
  return count;
}

/* Whether a host is there is asked of the peers' session alone, and each end asks; but nobody asks for this very host,
 * which two ends with one address are on. The second address of the loopback passes for another host's. */
void slow_loss_names_its_setting(void **state) {
  (void)state;
  const char *const hosts[] = {"127.0.0.1", "127.0.0.2"};
  for (unsigned i = 0; i < 2; i++) {
    hmc_context_t *here, *there;
    hmc_peer_t *peer;
    uint16_t port = 0;
    assert_success(hmc_context_create(NULL, &here));
    assert_success(hmc_context_create(NULL, &there));
    assert_success(hmc_context_listen(there, hosts[i], 0, &port));
    assert_success(hmc_context_connect(here, hosts[i], port, stamp.type, 60000, &peer));
    assert_int_equal(impatient_sockets(), 2 * i);
    hmc_context_destroy(here);
    hmc_context_destroy(there);
  }
}
