/* What the programs of this suite share: pairs, the distant end, and small things (see suite.h). */
#include "suite.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

stamp_t stamp;

bool stamp_parse(const char *transport, const char *memory) {
  int devices = 0;
  stamp.transport = transport;
  if (!transport_parse(transport, &stamp.type) || hmc_memory_kind_parse(memory, &stamp.near.kind) != HMC_SUCCESS ||
      hmc_memory_devices(stamp.near.kind, &devices) != HMC_SUCCESS)
    return false;
  stamp.far = (hmc_memory_t){stamp.near.kind, devices - 1};
  return true;
}

bool stamp_is_host(void) { return stamp.far.kind == HMC_MEMORY_CPU; }
bool stamp_is(const char *transport) { return strcmp(stamp.transport, transport) == 0; }
bool stamp_is_plain(void) { return stamp_is_host() && !strchr(stamp.transport, '_'); }

/* ---- pairs */

#define CONTEXTS_MAX 32
static hmc_context_t *contexts[CONTEXTS_MAX]; /* the live ones, for the end of a test that failed */

static hmc_context_t *context_make(const char *name) {
  size_t place = 0;
  while (place < CONTEXTS_MAX && contexts[place]) place++;
  assert_true(place < CONTEXTS_MAX);
  assert_success(hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), name, PATIENCE_MS},
                                    &contexts[place]));
  return contexts[place];
}

static void context_end(hmc_context_t *context) {
  for (size_t i = 0; i < CONTEXTS_MAX; i++)
    if (contexts[i] == context) contexts[i] = NULL;
  hmc_context_destroy(context);
}

void context_pairs_end(void) {
  for (size_t i = 0; i < CONTEXTS_MAX; i++)
    if (contexts[i]) context_end(contexts[i]);
}

#define SETTINGS_MAX 4
typedef struct settings_kept {
  char *values[SETTINGS_MAX]; /* as they were; NULL: not set */
} settings_kept_t;

static settings_kept_t settings_apply(const char *const *settings) {
  settings_kept_t kept = {{NULL}};
  for (size_t i = 0; settings && settings[2 * i]; i++) {
    assert_true(i < SETTINGS_MAX);
    const char *value = getenv(settings[2 * i]);
    kept.values[i] = value ? strdup(value) : NULL;
    setenv(settings[2 * i], settings[2 * i + 1], 1);
  }
  return kept;
}

/* The stamp's own settings stay for what comes later. */
static void settings_restore(const char *const *settings, settings_kept_t *kept) {
  for (size_t i = 0; settings && settings[2 * i]; i++) {
    if (kept->values[i])
      setenv(settings[2 * i], kept->values[i], 1);
    else
      unsetenv(settings[2 * i]);
    free(kept->values[i]);
  }
}

void context_pair_open(context_pair_t *pair, const char *const *settings) {
  settings_kept_t kept = settings_apply(settings);
  pair->here = context_make("here");
  pair->there = context_make("there");
  settings_restore(settings, &kept);
  assert_success(hmc_context_listen(pair->there, "127.0.0.1", 0, &pair->port));
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", pair->port, stamp.type, 0, &pair->peer));
  assert_success(hmc_context_accept(pair->there, 0, &pair->back));
}

void context_pair_close(context_pair_t *pair) {
  context_end(pair->here);
  context_end(pair->there);
}

int pair_case_open(void **state) {
  static context_pair_t pair;
  crash_handlers_set();
  watch(program_invocation_short_name, 600);
  pair = (context_pair_t){0};
  context_pair_open(&pair, NULL);
  *state = &pair;
  return 0;
}

int pair_case_close(void **state) {
  (void)state;
  context_pairs_end();
  watch_end();
  return 0;
}

far_t far_make(context_pair_t *pair, far_options_t options) {
  far_t far = {.remote = NULL};
  unsigned rights = options.rights ? options.rights : HMC_REMOTE_ALL;
  assert_success(
      test_buffer_open(&far.place, pair->there, stamp.far, options.size, options.name, rights, options.registered));
  assert_success(hmc_remote_open(pair->peer, options.name, 0, &far.remote));
  return far;
}

void far_close(far_t *far) {
  hmc_remote_close(far->remote);
  test_buffer_close(&far->place);
}

test_buffer_t near_make(context_pair_t *pair, uint64_t size, bool registered) {
  test_buffer_t place;
  assert_success(test_buffer_open(&place, pair->here, stamp.near, size, NULL, 0, registered));
  return place;
}

uint64_t word_load(const test_buffer_t *place, uint64_t offset) {
  uint64_t word = 0;
  if (place->memory.kind == HMC_MEMORY_CPU)
    return __atomic_load_n((uint64_t *)(void *)(place->whole + place->margin + offset), __ATOMIC_ACQUIRE);
  shared_begin();
  test_buffer_load(place, offset, &word, sizeof word);
  shared_end();
  return word;
}

void word_store(const test_buffer_t *place, uint64_t offset, uint64_t word) {
  if (place->memory.kind == HMC_MEMORY_CPU) {
    __atomic_store_n((uint64_t *)(void *)(place->whole + place->margin + offset), word, __ATOMIC_RELEASE);
    return;
  }
  shared_begin();
  test_buffer_store(place, offset, &word, sizeof word);
  shared_end();
}

void owner_fill(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t value) {
  shared_begin();
  bytes_fill(place, offset, length, value);
  shared_end();
}

uint64_t owner_others(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t one, uint8_t two) {
  shared_begin();
  uint64_t others = bytes_other(place, offset, length, one, two);
  shared_end();
  return others;
}

void owner_frame_write(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed) {
  shared_begin();
  frame_write(place, offset, length, seed);
  shared_end();
}

uint64_t owner_frame_check(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed) {
  shared_begin();
  uint64_t wrong = frame_check(place, offset, length, seed);
  shared_end();
  return wrong;
}

/* ---- a distant end */

void distant_start(distant_t *distant, context_pair_t *pair) {
  *distant = (distant_t){.peer = NULL};
  target_start(&distant->target, NULL);
  target_do(&distant->target, (command_t){.verb = VERB_CREATE, .timeout_ms = PATIENCE_MS});
  uint16_t port = (uint16_t)target_do(&distant->target, (command_t){.verb = VERB_LISTEN, .text = "127.0.0.1"});
  target_do(&distant->target, (command_t){.verb = VERB_PLACE,
                                          .memory = stamp.far,
                                          .length = DISTANT_SIZE,
                                          .rights = HMC_REMOTE_ALL,
                                          .registered = true,
                                          .text = "distant"});
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", port, stamp.type, 0, &distant->peer));
  assert_success(hmc_remote_open(distant->peer, "distant", 0, &distant->remote));
  assert_success(hmc_atomic(distant->remote, 0, HMC_ATOMIC_ADD, 8, 0, 0, NULL)); /* the way is open */
}

void distant_stop(distant_t *distant) {
  int status = 0;
  assert_int_equal(kill(distant->target.process, SIGSTOP), 0);
  assert_int_equal(waitpid(distant->target.process, &status, WUNTRACED), distant->target.process);
  assert_true(WIFSTOPPED(status));
}

void distant_continue(distant_t *distant) { assert_int_equal(kill(distant->target.process, SIGCONT), 0); }

void distant_end(distant_t *distant) {
  hmc_peer_close(distant->peer);
  target_stop(&distant->target);
}

/* ---- small things */

hmc_status_t finish(hmc_request_t *request) {
  hmc_status_t status = hmc_request_wait(request);
  hmc_request_free(request);
  return status;
}

hmc_status_t put_with(const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                      uint64_t length, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_put_nb(local->region, offset, remote, remote_offset, length, options, &request);
  return status == HMC_SUCCESS ? finish(request) : status;
}

hmc_status_t get_with(const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                      uint64_t length, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  hmc_status_t status = hmc_get_nb(local->region, offset, remote, remote_offset, length, options, &request);
  return status == HMC_SUCCESS ? finish(request) : status;
}

void assert_no_notification(hmc_context_t *context) {
  uint8_t data[8];
  size_t size = 0;
  assert_status(hmc_notification_receive(context, data, sizeof data, &size, NULL, 20), HMC_TIMEOUT);
}

void assert_took(uint64_t since, uint64_t least, uint64_t most) {
  uint64_t took = now_ms() - since;
  if (took + 1 < least || took > most + SLACK_MS) /* both clocks are cut to milliseconds */
    fail_msg("took %d ms, not %d to %d ms", (int)took, (int)least, (int)(most + SLACK_MS));
}

uint64_t draw(uint64_t *state) { return mix(*state += UINT64_C(0x9e3779b97f4a7c15)); }

uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void spin_ns(uint64_t nanoseconds) {
  uint64_t until = now_ns() + nanoseconds;
  while (now_ns() < until)
    ;
}
