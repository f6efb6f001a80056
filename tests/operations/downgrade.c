/* No silent slow path: where the fastest way fails although it should work, the next one is taken, and the log says so
 * once. This program's connect(), socketpair() and getsockopt() hide the system's, so that shm can be kept from meeting
 * its peer in several ways. */
#include "suite.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static _Atomic bool refuse_unix;

int connect(int descriptor, const struct sockaddr *address, socklen_t size) {
  if (atomic_load(&refuse_unix) && address->sa_family == AF_UNIX) {
    errno = ECONNREFUSED; /* as from another network namespace */
    return -1;
  }
  return (int)syscall(SYS_connect, descriptor, address, size);
}

/* No descriptors for this process. */
static _Atomic bool refuse_pairs;

int socketpair(int domain, int type, int protocol, int ends[2]) {
  if (atomic_load(&refuse_pairs)) {
    errno = EMFILE;
    return -1;
  }
  return (int)syscall(SYS_socketpair, domain, type, protocol, ends);
}

/* In the service threads: the peer's user cannot be known, as of another user's process. */
static _Atomic bool refuse_users;
static _Thread_local bool is_main;

int getsockopt(int descriptor, int level, int option, void *value, socklen_t *size) {
  if (atomic_load(&refuse_users) && !is_main && level == SOL_SOCKET && option == SO_PEERCRED) {
    errno = EPERM;
    return -1;
  }
  return (int)syscall(SYS_getsockopt, descriptor, level, option, value, size);
}

static _Atomic uint32_t warnings;
static char warning[512];

static void on_line(hmc_log_level_t level, const char *text, void *user) {
  (void)user;
  if (level > HMC_LOG_WARNING) return;
  if (atomic_fetch_add(&warnings, 1) == 0) strncpy(warning, text, sizeof warning - 1);
}

static void slower_way_is_told_once(void **state) {
  (void)state;
  hmc_context_t *here = NULL, *there = NULL;
  hmc_peer_t *peers[3] = {NULL}, *none = NULL;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  char text[4096];
  uint16_t port = 0;
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "here", PATIENCE_MS}, &here));
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "there", PATIENCE_MS}, &there));
  assert_success(hmc_context_listen(there, "127.0.0.1", 0, &port));
  hmc_log_set_callback(on_line, NULL);
  hmc_log_set_level(HMC_LOG_WARNING);
  atomic_store(&refuse_unix, true);
  for (size_t i = 0; i < COUNT_OF(peers); i++) {
    assert_success(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_AUTO, 0, &peers[i]));
    assert_success(hmc_peer_get_info(peers[i], &info));
    assert_int_not_equal(info.type, HMC_CONNECTION_SHM);
    assert_success(hmc_peer_explain(peers[i], text, sizeof text, NULL));
    assert_non_null(strstr(text, "not by shm: ")); /* each time it is asked */
  }
  hmc_log_set_callback(on_line, NULL); /* has had all so far */
  assert_int_equal(atomic_load(&warnings), 1);
  assert_non_null(strstr(warning, "127.0.0.1"));
  assert_non_null(strstr(warning, "shm"));

  /* Required, it fails with the reason instead, and that is not a downgrade. */
  assert_int_not_equal(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_SHM, 0, &none), HMC_SUCCESS);
  assert_null(none);
  assert_string_not_equal(hmc_last_error(), "");
  atomic_store(&refuse_unix, false);
  assert_success(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_AUTO, 0, &none));
  assert_success(hmc_peer_get_info(none, &info));
  assert_int_equal(info.type, HMC_CONNECTION_SHM);
  hmc_log_set_callback(on_line, NULL);
  assert_int_equal(atomic_load(&warnings), 1);
  hmc_context_destroy(here);
  hmc_context_destroy(there);
  hmc_log_set_callback(NULL, NULL);
}

/* However a way fails, its own link or the other side's half of it, the next one is taken; both ends can say why. */
static void any_failure_falls_back(void **state) {
  (void)state;
  _Atomic bool *const failures[] = {&refuse_unix, &refuse_pairs, &refuse_users};
  hmc_context_t *here = NULL, *there = NULL;
  uint16_t port = 0;
  is_main = true;
  assert_success(
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "here", PATIENCE_MS}, &here));
  assert_success(hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), "there", PATIENCE_MS}, &there));
  assert_success(hmc_context_listen(there, "127.0.0.1", 0, &port));
  for (size_t i = 0; i < COUNT_OF(failures); i++) {
    hmc_peer_t *peer = NULL, *back = NULL;
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    char text[4096];
    atomic_store(failures[i], true);
    assert_success(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_AUTO, 0, &peer));
    atomic_store(failures[i], false);
    assert_success(hmc_context_accept(there, 0, &back));
    hmc_peer_t *ends[] = {peer, back};
    for (size_t end = 0; end < 2; end++) {
      assert_success(hmc_peer_get_info(ends[end], &info));
      assert_int_equal(info.type, HMC_CONNECTION_TCP);
      assert_int_equal(info.state, HMC_PEER_CONNECTED);
      assert_success(hmc_peer_explain(ends[end], text, sizeof text, NULL));
      assert_non_null(strstr(text, "not by shm: "));
    }
    hmc_region_t *target = NULL, *local = NULL;
    hmc_remote_t *remote = NULL;
    hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
    assert_success(hmc_region_allocate(there, cpu, 64, "target", HMC_REMOTE_ALL, &target));
    assert_success(hmc_region_allocate(here, cpu, 64, NULL, 0, &local));
    assert_success(hmc_remote_open(peer, "target", 0, &remote));
    memset(hmc_region_pointer(local), (int)i + 1, 64);
    assert_success(hmc_put(local, 0, remote, 0, 64));
    assert_memory_equal(hmc_region_pointer(target), hmc_region_pointer(local), 64);
    hmc_region_close(local);
    hmc_region_close(target);
    hmc_peer_close(peer);
    hmc_peer_close(back);
  }
  hmc_context_destroy(here);
  hmc_context_destroy(there);
}

/* The owner learns who was refused and why, and the text names the caller once. */
static void a_refusal_is_logged(void **state) {
  (void)state;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  hmc_context_t *here = NULL, *there = NULL;
  hmc_peer_t *peer = NULL;
  uint16_t port = 0;
  options.timeout_ms = PATIENCE_MS;
  options.secret = "a secret of the one end";
  assert_success(hmc_context_create(&options, &there));
  options.secret = "and one of the other end";
  assert_success(hmc_context_create(&options, &here));
  assert_success(hmc_context_listen(there, "127.0.0.1", 0, &port));
  hmc_log_set_callback(on_line, NULL);
  atomic_store(&warnings, 0);
  memset(warning, 0, sizeof warning);
  assert_status(hmc_context_connect(here, "127.0.0.1", port, HMC_CONNECTION_AUTO, 0, &peer), HMC_DENIED);
  for (uint64_t start = now_ms(); !atomic_load(&warnings) && now_ms() - start < PATIENCE_MS;) usleep(1000);
  hmc_log_set_callback(NULL, NULL);
  assert_int_equal(atomic_load(&warnings), 1);
  const char begin[] = "turned away: 127.0.0.1:";
  assert_memory_equal(warning, begin, sizeof begin - 1);
  assert_null(strstr(warning + sizeof begin, "127.0.0.1:"));
  assert_non_null(strstr(warning, "has another secret"));
  hmc_context_destroy(here);
  hmc_context_destroy(there);
}

static int open_case(void **state) {
  (void)state;
  crash_handlers_set();
  watch("downgrade", 250);
  return 0;
}

static int close_case(void **state) {
  (void)state;
  watch_end();
  return 0;
}

int main(void) {
  environment_open();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(slower_way_is_told_once, open_case, close_case),
      cmocka_unit_test_setup_teardown(any_failure_falls_back, open_case, close_case),
      cmocka_unit_test_setup_teardown(a_refusal_is_logged, open_case, close_case),
  };
  return _cmocka_run_group_tests("operations.downgrade", tests, COUNT_OF(tests), NULL, NULL) == 0 ? 0 : 1;
}
