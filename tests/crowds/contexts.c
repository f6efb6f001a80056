/* Hundreds of contexts in one process, which share their service threads. */
#include "suite.h"

#include <stdio.h>
#include <sys/resource.h>

enum { COUNT = 500, LIMIT = 1024, PAIRS = 4 };

static rlim_t descriptors_limit(rlim_t limit) {
  struct rlimit files;
  assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
  rlim_t before = files.rlim_cur;
  files.rlim_cur = limit;
  assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
  return before;
}

static hmc_context_t *open_shared(void) {
  hmc_context_t *context;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.timeout_ms = 60000;
  options.flags = HMC_CONTEXT_SHARE_THREADS;
  assert_success(hmc_context_create(&options, &context));
  return context;
}

/* Moves a word from one context of this process to another. */
static void put_word(hmc_context_t *here, hmc_context_t *there, uint16_t port, uint64_t word) {
  test_buffer_t from, to;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  assert_success(test_buffer_open(&to, there, cpu, sizeof word, "word", HMC_REMOTE_ALL, false));
  assert_success(test_buffer_open(&from, here, cpu, sizeof word, NULL, 0, false));
  assert_success(hmc_context_connect(here, "127.0.0.1", port, crowd_type, 0, &peer));
  assert_success(hmc_remote_open(peer, "word", 0, &remote));
  test_buffer_store(&from, 0, &word, sizeof word);
  assert_success(hmc_put(from.region, 0, remote, 0, sizeof word));
  uint64_t got = 0;
  test_buffer_load(&to, 0, &got, sizeof got);
  assert_int_equal(got, word);
  hmc_peer_close(peer);
  test_buffer_close(&from);
  test_buffer_close(&to);
}

/* All listen, over the descriptor limit that most systems have. Those that end leave the others working. */
void hundreds_of_contexts_share_their_threads(void **state) {
  (void)state;
  static hmc_context_t *contexts[COUNT];
  static uint16_t ports[COUNT];
  rlim_t limit = descriptors_limit(LIMIT);
  uint64_t files = open_files(), threads = 0;
  for (int i = 0; i < COUNT; i++) {
    contexts[i] = open_shared();
    assert_success(hmc_context_listen(contexts[i], "127.0.0.1", 0, &ports[i]));
    if (i == 0) threads = running_threads();
  }
  assert_int_equal(running_threads(), threads);
  put_word(contexts[0], contexts[COUNT - 1], ports[COUNT - 1], 1);
  for (int i = 0; i < COUNT; i += 2) hmc_context_destroy(contexts[i]);
  for (int i = 1; i < 1 + 2 * PAIRS; i += 2) put_word(contexts[i], contexts[i + 2], ports[i + 2], (uint64_t)i);
  for (int i = 1; i < COUNT; i += 2) hmc_context_destroy(contexts[i]);
  assert_int_equal(open_files(), files);
  descriptors_limit(limit);
}

/* A later one finds threads again, and flags are checked. */
void contexts_that_share_come_and_go(void **state) {
  (void)state;
  uint64_t threads = running_threads();
  for (int i = 0; i < 3; i++) {
    hmc_context_t *one = open_shared(), *two = open_shared();
    assert_true(running_threads() > threads);
    hmc_context_destroy(i % 2 ? one : two);
    uint16_t port;
    hmc_context_t *left = i % 2 ? two : one, *three = open_shared();
    assert_success(hmc_context_listen(left, "127.0.0.1", 0, &port));
    put_word(three, left, port, 7);
    hmc_context_destroy(left);
    hmc_context_destroy(three);
    assert_int_equal(running_threads(), threads);
  }
  hmc_context_t *none = NULL;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.flags = UINT64_C(1) << 40;
  assert_status(hmc_context_create(&options, &none), HMC_UNSUPPORT);
  assert_null(none);
}
