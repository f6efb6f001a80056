/* Peers: who they are, how they are reached, and that a required way is kept. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void info_tells_who(void **state) {
  pair_t *pair = *state;
  char host[64] = "";
  gethostname(host, sizeof host - 1);
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  assert_success(hmc_peer_get_info(pair->peer, &info));
  assert_int_equal(info.state, HMC_PEER_CONNECTED);
  assert_int_equal(info.type, stamp.type);
  assert_string_equal(info.ip, "127.0.0.1");
  assert_int_equal(info.port, pair->port);
  assert_string_equal(info.name, "target");
  assert_string_equal(info.host, host);
  assert_int_equal(info.process, pair->target.process);
  uint64_t incarnation = info.incarnation;

  target_do(&pair->target, (command_t){.verb = VERB_ACCEPT});
  answer_t answer = target_call(&pair->target, (command_t){.verb = VERB_PEER_INFO});
  assert_int_equal(answer.status, HMC_SUCCESS);
  assert_int_equal(answer.info.state, HMC_PEER_CONNECTED);
  assert_int_equal(answer.info.type, stamp.type);
  assert_string_equal(answer.info.name, "initiator");
  assert_int_equal(answer.info.process, getpid());
  assert_true(answer.info.incarnation != incarnation);

  target_kill(&pair->target);
  uint64_t limit = now_ms() + SLACK_MS;
  do {
    assert_success(hmc_peer_get_info(pair->peer, &info));
    sleep_ms(5);
  } while (info.state == HMC_PEER_CONNECTED && now_ms() < limit);
  assert_int_equal(info.state, HMC_PEER_GONE);
  assert_true(info.incarnation == incarnation);
}

/* What UCX calls the way that a stamp wants; "" where it may take any. */
static const char *way_of_stamp(void) {
  static const char *const ways[][2] = {
      {"ucx-tcp", " by tcp/"}, {"ucx-shm", " by posix/"}, {"ucx-rc", " by rc_verbs/"}, {"ucx-ud", " by ud_verbs/"}};
  for (size_t i = 0; i < COUNT_OF(ways); i++) {
    if (strcmp(stamp.transport, ways[i][0]) == 0) return ways[i][1];
  }
  return "";
}

void explain_names_the_transport(void **state) {
  pair_t *pair = *state;
  char text[4096], part[16];
  size_t needed = 0, again = 0;
  assert_success(hmc_peer_explain(pair->peer, text, sizeof text, &needed));
  assert_int_equal(needed, strlen(text) + 1);
  if (!strstr(text, hmc_connection_type_name(stamp.type)))
    fail_msg("no \"%s\" in: %s", hmc_connection_type_name(stamp.type), text);
  if (!strstr(text, way_of_stamp())) fail_msg("not%s: %s", way_of_stamp(), text);
  memset(part, '#', sizeof part);
  assert_success(hmc_peer_explain(pair->peer, part, 8, &again));
  assert_int_equal(again, needed);
  assert_int_equal(strlen(part), 7);
  assert_memory_equal(part, text, 7);
  assert_int_equal(part[8], '#');
  assert_success(hmc_peer_explain(pair->peer, NULL, 0, &again));
  assert_int_equal(again, needed);
  assert_success(hmc_peer_explain(pair->peer, text, sizeof text, NULL));
}

void required_type_is_kept(void **state) {
  pair_t *pair = *state;
  static const hmc_connection_type_t types[] = {HMC_CONNECTION_RDMA, HMC_CONNECTION_UCX, HMC_CONNECTION_TCP,
                                                HMC_CONNECTION_SHM};
  for (size_t i = 0; i < COUNT_OF(types); i++) {
    char reason[256] = "";
    hmc_peer_t *untouched = (hmc_peer_t *)pair, *peer = untouched;
    hmc_status_t here = hmc_connection_type_probe(types[i], reason, sizeof reason);
    assert_true(here == HMC_SUCCESS || here == HMC_UNSUPPORT);
    assert_string_not_equal(reason, "");
    hmc_status_t status = hmc_context_connect(pair->context, "127.0.0.1", pair->port, types[i], 0, &peer);
    if (types[i] == HMC_CONNECTION_UCX && getenv("HMC_ENCRYPT")) here = HMC_UNSUPPORT; /* it cannot encrypt */
    assert_status(status, here);
    if (here != HMC_SUCCESS) {
      assert_ptr_equal(peer, untouched);
      assert_error_names(hmc_connection_type_name(types[i]));
      continue;
    }
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    assert_success(hmc_peer_get_info(peer, &info));
    assert_int_equal(info.type, types[i]);
    hmc_peer_close(peer);
  }
  hmc_peer_t *none = NULL;
  hmc_connection_type_t unknown = (hmc_connection_type_t)99;
  assert_status(hmc_context_connect(pair->context, "127.0.0.1", pair->port, unknown, 0, &none), HMC_INVALID_CONFIG);
  assert_null(none);
}

void automatic_type_is_shm_here(void **state) {
  pair_t *pair = *state;
  hmc_peer_t *peer = NULL;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  assert_success(hmc_context_connect(pair->context, "127.0.0.1", pair->port, HMC_CONNECTION_AUTO, 0, &peer));
  assert_success(hmc_peer_get_info(peer, &info));
  assert_int_equal(info.type, HMC_CONNECTION_SHM);
  hmc_remote_t *remote = remote_make(pair, "automatic", (there_t){.size = 64 * KIB}), *automatic = NULL;
  test_buffer_t local = local_make(pair, 128 * KIB, false);
  assert_success(hmc_remote_open(peer, "automatic", 0, &automatic));
  assert_success(exchange(&local, 0, automatic, 0, 64 * KIB, 5, 1));
  assert_success(exchange(&local, 0, remote, 0, 64 * KIB, 5, 2));
  hmc_peer_close(peer);
  assert_success(exchange(&local, 0, remote, 0, 64 * KIB, 5, 3));
  hmc_remote_close(remote);
  test_buffer_close(&local);
}

void accept_gives_each_peer_once(void **state) {
  pair_t *pair = *state;
  uint16_t port = 0;
  hmc_peer_t *peers[3] = {NULL}, *none = NULL;
  assert_success(hmc_context_listen(pair->context, "127.0.0.1", 0, &port));
  for (uint32_t i = 0; i < COUNT_OF(peers); i++)
    target_do(&pair->target,
              (command_t){.verb = VERB_CONNECT, .slot = i, .text = "127.0.0.1", .value = port, .type = stamp.type});
  for (size_t i = 0; i < COUNT_OF(peers); i++) {
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    assert_success(hmc_context_accept(pair->context, 0, &peers[i]));
    assert_success(hmc_peer_get_info(peers[i], &info));
    assert_int_equal(info.type, stamp.type);
    assert_int_equal(info.process, pair->target.process);
    for (size_t k = 0; k < i; k++) assert_ptr_not_equal(peers[i], peers[k]);
  }
  uint64_t start = now_ms();
  assert_status(hmc_context_accept(pair->context, 100, &none), HMC_TIMEOUT);
  uint64_t took = now_ms() - start;
  assert_true(took >= 99 && took < 100 + SLACK_MS);
  assert_null(none);

  hmc_context_stop_listening(pair->context);
  command_t again = {.verb = VERB_CONNECT,
                     .slot = 4,
                     .text = "127.0.0.1",
                     .value = port,
                     .type = stamp.type,
                     .timeout_ms = PATIENCE_MS};
  assert_int_equal(target_call(&pair->target, again).status, HMC_NOT_FOUND);
  target_do(&pair->target, (command_t){.verb = VERB_PLACE,
                                       .slot = 1,
                                       .memory = stamp.remote,
                                       .length = 64,
                                       .rights = HMC_REMOTE_ALL,
                                       .text = "after"});
  hmc_remote_t *remote = NULL; /* peers that came before stay */
  assert_success(hmc_remote_open(peers[1], "after", 0, &remote));
}
