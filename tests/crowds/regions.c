/* Regions by the hundred thousand, and closing one under many readers that stand still. */
#include "suite.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

typedef struct pair {
  hmc_context_t *here, *there;
  hmc_peer_t *peer;
} pair_t;

static void pair_open(pair_t *pair) {
  uint16_t port = 0;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.timeout_ms = 60000;
  assert_success(hmc_context_create(&options, &pair->here));
  assert_success(hmc_context_create(&options, &pair->there));
  assert_success(hmc_context_listen(pair->there, "127.0.0.1", 0, &port));
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", port, crowd_type, 0, &pair->peer));
}

static void pair_close(pair_t *pair) {
  hmc_context_destroy(pair->here);
  hmc_context_destroy(pair->there);
}

/* Registers words of `memory` from index `from` on as regions, every `step`-th one. */
static void register_some(hmc_context_t *context, uint64_t *memory, hmc_region_t **regions, uint32_t count,
                          uint32_t from, uint32_t step) {
  char name[32];
  for (uint32_t i = from; i < count; i += step) {
    snprintf(name, sizeof name, "region %u", i);
    assert_success(hmc_region_register(context, &memory[i], sizeof *memory, name, HMC_REMOTE_ALL, &regions[i]));
  }
}

static void put_one(pair_t *pair, const test_buffer_t *local, uint32_t index, uint64_t word) {
  char name[32];
  hmc_remote_t *remote = NULL;
  snprintf(name, sizeof name, "region %u", index);
  assert_success(hmc_remote_open(pair->peer, name, 0, &remote));
  test_buffer_store(local, 0, &word, sizeof word);
  assert_success(hmc_put(local->region, 0, remote, 0, sizeof word));
  hmc_remote_close(remote);
}

static void assert_words(const uint64_t *memory, uint32_t count, uint32_t step, uint64_t more) {
  shared_begin();
  for (uint32_t i = 0; i < count; i += step) assert_int_equal(memory[i], i + more);
  shared_end();
}

void a_hundred_thousand_regions(void **state) {
  (void)state;
  enum { COUNT = SANITIZED ? 20000 : 100000, STEP = COUNT / 50 };
  static uint64_t memory[COUNT];
  static hmc_region_t *regions[COUNT];
  hmc_remote_t *none = NULL;
  pair_t pair;
  test_buffer_t local;
  pair_open(&pair);
  assert_success(test_buffer_open(&local, pair.here, cpu, 64, NULL, 0, false));
  register_some(pair.there, memory, regions, COUNT, 0, 1);
  for (uint32_t i = 0; i < COUNT; i += STEP) put_one(&pair, &local, i, i + 1);
  assert_words(memory, COUNT, STEP, 1);
  /* Every second one goes and comes again, and takes the place of another. */
  for (uint32_t i = 0; i < COUNT; i += 2) hmc_region_close(regions[i]);
  assert_status(hmc_remote_open(pair.peer, "region 0", 0, &none), HMC_NOT_FOUND);
  register_some(pair.there, memory, regions, COUNT, 0, 2);
  for (uint32_t i = 0; i < COUNT; i += STEP) put_one(&pair, &local, i, i + 2);
  assert_words(memory, COUNT, STEP, 2);
  assert_status(hmc_region_register(pair.there, memory, 8, "region 7", HMC_REMOTE_ALL, &regions[0]),
                HMC_INVALID_CONFIG);
  test_buffer_close(&local);
  pair_close(&pair);
}

/* Readers of registered memory copy by themselves where they can. Those that are stopped in the middle of a copy cost
 * the owner one second together, not one each; the others cost nothing. */
void closing_under_readers_that_stand_still(void **state) {
  (void)state;
  enum { READERS = 12, SIZE = 4 << 20, REST_MS = 300 };
  hmc_context_t *context = NULL;
  uint16_t port = 0;
  test_buffer_t lent;
  target_t readers[READERS];
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.timeout_ms = 60000;
  assert_success(hmc_context_create(&options, &context));
  assert_success(test_buffer_open(&lent, context, cpu, SIZE, "lent", HMC_REMOTE_ALL, true));
  assert_success(hmc_context_listen(context, "127.0.0.1", 0, &port));
  for (int i = 0; i < READERS; i++) {
    target_start(&readers[i], NULL);
    target_do(&readers[i], (command_t){.verb = VERB_CREATE, .timeout_ms = 60000});
    target_do(&readers[i], (command_t){.verb = VERB_CONNECT, .text = "127.0.0.1", .value = port, .type = crowd_type});
    target_do(&readers[i], (command_t){.verb = VERB_PLACE, .memory = cpu, .length = SIZE});
    target_do(&readers[i], (command_t){.verb = VERB_REMOTE_OPEN, .text = "lent"});
    target_send(&readers[i], &(command_t){.verb = VERB_GET, .length = SIZE, .value = 1000000});
  }
  sleep_ms(REST_MS);
  for (int i = 0; i < READERS; i++) assert_int_equal(kill(readers[i].process, SIGSTOP), 0);
  for (int i = 0; i < READERS; i++) {
    int status;
    assert_int_equal(waitpid(readers[i].process, &status, WUNTRACED), readers[i].process);
    assert_true(WIFSTOPPED(status));
  }
  uint64_t start = now_ms();
  test_buffer_withdraw(&lent);
  uint64_t took = now_ms() - start;
  for (int i = 0; i < READERS; i++) target_kill(&readers[i]);
  test_buffer_close(&lent);
  hmc_context_destroy(context);
  if (took > 1000 + SLACK_MS) fail_msg("the close took %d ms", (int)took); /* one second each would be twelve */
}
