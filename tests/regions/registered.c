/* Puts into memory that its owner has registered: over shm the owner's service thread reads them from this process. */
#include "regions.h"

#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

void registered_puts_of_all_sizes(void **state) {
  context_pair_t *pair = *state;
  const uint64_t room = 6 * MIB;
  const uint64_t sizes[] = {1,     7,         8,       64,  100,     4095,    4096,
                            65537, 256 * KIB, MIB - 1, MIB, MIB + 1, 3 * MIB, 5 * MIB + 3};
  far_t far = far_make(pair, (far_options_t){.name = "registered", .size = room, .registered = true});
  test_buffer_t near = near_make(pair, room, true);
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    uint64_t from = 3 * i, to = FRAME_GUARD + 5 * i, length = sizes[i];
    owner_frame_write(&far.place, to, length, 1000 + i); /* the guards around it, too */
    frame_write(&near, from, length, 2000 + i);
    assert_success(hmc_put(near.region, from, far.remote, to, length));
    uint8_t *got = malloc(length), *sent = malloc(length);
    test_buffer_load(&near, from, sent, length);
    shared_begin();
    test_buffer_load(&far.place, to, got, length);
    shared_end();
    assert_memory_equal(got, sent, length);
    free(got);
    free(sent);
  }
  far_close(&far);
  test_buffer_close(&near);
}

enum { THREADS = 24, PUTS = 200 }; /* more than pulls are in progress at a time */
typedef struct putter {
  pthread_t thread;
  const test_buffer_t *near;
  hmc_remote_t *remote;
  uint64_t number;
  hmc_status_t status;
} putter_t;

static void *run_putter(void *argument) {
  putter_t *putter = argument;
  uint64_t offset = putter->number * PAGE;
  putter->status = HMC_SUCCESS;
  for (uint64_t i = 1; i <= PUTS && putter->status == HMC_SUCCESS; i++) {
    uint64_t word = putter->number << 32 | i;
    test_buffer_store(putter->near, offset, &word, sizeof word);
    putter->status = hmc_put(putter->near->region, offset, putter->remote, offset, i % 2 ? 8 : PAGE);
  }
  return NULL;
}

void registered_puts_of_many_threads(void **state) {
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "registered", .size = THREADS * PAGE, .registered = true});
  test_buffer_t near = near_make(pair, THREADS * PAGE, true);
  putter_t putters[THREADS];
  for (uint64_t i = 0; i < THREADS; i++) {
    putters[i] = (putter_t){.near = &near, .remote = far.remote, .number = i};
    assert_int_equal(pthread_create(&putters[i].thread, NULL, run_putter, &putters[i]), 0);
  }
  for (uint64_t i = 0; i < THREADS; i++) pthread_join(putters[i].thread, NULL);
  for (uint64_t i = 0; i < THREADS; i++) {
    assert_success(putters[i].status);
    assert_int_equal(word_load(&far.place, i * PAGE), i << 32 | PUTS);
  }
  far_close(&far);
  test_buffer_close(&near);
}

/* Small requests go by a socket and may be there, unread, when they are cancelled. A put that the owner does by itself
 * must not come before them: it would be overwritten. */
void registered_put_comes_after_cancelled_ones(void **state) {
  enum { ROUNDS = 3000, REQUESTS = 8 };
  context_pair_t *pair = *state;
  far_t far = far_make(pair, (far_options_t){.name = "registered", .size = PAGE, .registered = true});
  test_buffer_t near = near_make(pair, 2 * PAGE, true);
  hmc_operation_options_t checked = HMC_OPERATION_OPTIONS_INIT;
  checked.flags = HMC_OPERATION_CHECKSUM; /* by the socket, behind what lies there */
  for (uint64_t round = 1; round <= ROUNDS; round++) {
    uint64_t before = 2 * round, after = before + 1;
    hmc_request_t *requests[REQUESTS];
    test_buffer_store(&near, 0, &before, sizeof before);
    for (int i = 0; i < REQUESTS; i++)
      assert_success(hmc_put_nb(near.region, 0, far.remote, 0, PAGE, NULL, &requests[i]));
    for (int i = 0; i < REQUESTS; i++) hmc_request_free(requests[i]); /* cancels it */
    test_buffer_store(&near, 0, &after, sizeof after);
    assert_success(hmc_put(near.region, 0, far.remote, 0, sizeof after));
    assert_success(hmc_get_with(near.region, PAGE, far.remote, 0, sizeof after, &checked));
    assert_int_equal(word_load(&far.place, 0), after);
  }
  far_close(&far);
  test_buffer_close(&near);
}

/* A context whose operations end soon, and its peer. */
typedef struct brief {
  hmc_context_t *context;
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  hmc_region_t *region;
  uint64_t words[512];
} brief_t;

static void brief_open(brief_t *brief, const owner_t *owner, uint64_t timeout_ms) {
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.timeout_ms = timeout_ms;
  assert_success(hmc_context_create(&options, &brief->context));
  assert_success(hmc_context_connect(brief->context, "127.0.0.1", owner->port, stamp.type, PATIENCE_MS, &brief->peer));
  assert_success(hmc_remote_open(brief->peer, "registered", PATIENCE_MS, &brief->remote));
  assert_success(hmc_region_register(brief->context, brief->words, sizeof brief->words, NULL, 0, &brief->region));
}

void registered_put_ends_though_the_owner_stands(void **state) {
  context_pair_t *pair = *state;
  brief_t brief;
  owner_t owner;
  owner_start(&owner, pair);
  brief_open(&brief, &owner, 300);
  brief.words[0] = 1;
  hmc_status_t status = HMC_TIMEOUT;
  for (int i = 0; i < 50 && status == HMC_TIMEOUT; i++) /* on a busy machine 300 ms can be short */
    status = hmc_put(brief.region, 0, brief.remote, 0, 8);
  assert_success(status);
  owner_stop(&owner);
  brief.words[0] = 2;
  uint64_t since = now_ms();
  assert_status(hmc_put(brief.region, 0, brief.remote, 0, 8), HMC_TIMEOUT);
  assert_took(since, 200, 1000);
  brief.words[0] = 3; /* is not read any more: 2 may come, over a socket, but not 3 */
  owner_continue(&owner);
  for (int i = 0; i < 50; i++) {
    status = hmc_get(brief.region, 8, brief.remote, 0, 8);
    assert_true(status == HMC_TIMEOUT || brief.words[1] == 1 || brief.words[1] == 2);
    sleep_ms(1);
  }
  hmc_context_destroy(brief.context);
  hmc_peer_close(owner.peer);
  owner_kill(&owner);
}

/* Each put rings for its owner, which does not hear it; what is asked of the owner next must still find room. */
void registered_puts_leave_room_for_questions(void **state) {
  enum { PUTS_IN_VAIN = 1000 };
  context_pair_t *pair = *state;
  brief_t brief;
  owner_t owner;
  hmc_request_t *request = NULL;
  hmc_operation_options_t hasty = HMC_OPERATION_OPTIONS_INIT;
  hasty.timeout_ms = 1;
  if (!stamp_is("shm")) return;
  owner_start(&owner, pair);
  brief_open(&brief, &owner, PATIENCE_MS);
  owner_stop(&owner);
  for (int i = 0; i < PUTS_IN_VAIN; i++)
    assert_status(hmc_put_with(brief.region, 0, brief.remote, 0, 8, &hasty), HMC_TIMEOUT);
  assert_success(
      hmc_put_nb(brief.region, 0, brief.remote, 0, 8, NULL, &request)); /* by a stream, which is made for it */
  owner_continue(&owner);
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  hmc_context_destroy(brief.context);
  hmc_peer_close(owner.peer);
  owner_kill(&owner);
}

typedef struct question {
  hmc_remote_t *remote;
  _Atomic bool asks, answered;
  hmc_status_t status;
} question_t;

static void *ask_for_a_mapping(void *argument) {
  question_t *question = argument;
  hmc_mapping_t *mapping = NULL;
  atomic_store(&question->asks, true);
  question->status = hmc_remote_map_range(question->remote, NULL, &mapping);
  atomic_store(&question->answered, true);
  return NULL;
}

/* While one thread waits for an answer of the owner, another one starts the first put that needs a stream: that asks as
 * well, and waits for nobody. */
void registered_requests_do_not_wait_for_questions(void **state) {
  enum { ANSWER_MS = 5000 };
  context_pair_t *pair = *state;
  brief_t brief;
  owner_t owner;
  pthread_t thread;
  question_t question = {.status = HMC_SUCCESS};
  hmc_request_t *request = NULL;
  hmc_operation_options_t hasty = HMC_OPERATION_OPTIONS_INIT;
  hasty.timeout_ms = 100;
  owner_start(&owner, pair);
  brief_open(&brief, &owner, ANSWER_MS);
  assert_success(hmc_remote_open(brief.peer, "owned", PATIENCE_MS, &question.remote));
  owner_stop(&owner);
  assert_int_equal(pthread_create(&thread, NULL, ask_for_a_mapping, &question), 0);
  while (!atomic_load(&question.asks)) sleep_ms(1);
  sleep_ms(100);
  assert_success(hmc_put_nb(brief.region, 0, brief.remote, 0, 8, &hasty, &request));
  assert_status(hmc_request_wait(request), HMC_TIMEOUT);
  assert_true(!stamp_is("shm") || !atomic_load(&question.answered)); /* it is waiting still */
  hmc_request_free(request);
  pthread_join(thread, NULL);
  assert_status(question.status, stamp.type == HMC_CONNECTION_SHM ? HMC_TIMEOUT : HMC_UNSUPPORT);
  hmc_context_destroy(brief.context);
  hmc_peer_close(owner.peer);
  owner_kill(&owner);
}

typedef struct last_put {
  brief_t *brief;
  hmc_status_t status;
} last_put_t;

static void *put_until_it_fails(void *argument) {
  last_put_t *last = argument;
  while ((last->status = hmc_put(last->brief->region, 0, last->brief->remote, 0, 4096)) == HMC_SUCCESS) continue;
  return NULL;
}

void registered_put_ends_when_the_owner_dies(void **state) {
  context_pair_t *pair = *state;
  brief_t brief;
  owner_t owner;
  pthread_t thread;
  last_put_t last = {.brief = &brief};
  owner_start(&owner, pair);
  brief_open(&brief, &owner, 60000);
  owner_stop(&owner);
  assert_int_equal(pthread_create(&thread, NULL, put_until_it_fails, &last), 0);
  sleep_ms(20);
  uint64_t since = now_ms();
  owner_kill(&owner);
  pthread_join(thread, NULL);
  assert_status(last.status, HMC_PEER_LOST);
  assert_took(since, 0, 1000);
  hmc_context_destroy(brief.context);
  hmc_peer_close(owner.peer);
}

/* What is unmapped at either end fails the operation and nothing else. (Over sockets: tests/streams.) */
void registered_memory_that_is_unmapped(void **state) {
  context_pair_t *pair = *state;
  const uint64_t sizes[] = {8, PAGE, 300 * KIB, 2 * MIB};
  const uint64_t room = 4 * MIB;
  if (!stamp_is("shm")) return;
  uint8_t *theirs = reserve(room), *ours = reserve(room);
  hmc_region_t *far, *near;
  hmc_remote_t *remote;
  assert_success(hmc_region_register(pair->there, theirs, room, "none", HMC_REMOTE_ALL, &far)); /* cannot be touched */
  assert_success(hmc_region_register(pair->here, ours, room, NULL, 0, &near));
  assert_success(hmc_remote_open(pair->peer, "none", 0, &remote));
  far_t sound = far_make(pair, (far_options_t){.name = "sound", .size = room, .registered = true});
  test_buffer_t local = near_make(pair, room, true);
  for (size_t i = 0; i < COUNT_OF(sizes); i++) {
    assert_status(hmc_put(local.region, 0, remote, 0, sizes[i]), HMC_STALE); /* the owner's is none */
    assert_status(hmc_get(local.region, 0, remote, 0, sizes[i]), HMC_STALE);
    assert_status(hmc_put(near, 0, sound.remote, 0, sizes[i]), HMC_INVALID_CONFIG); /* this side's is none */
    assert_status(hmc_get(near, 0, sound.remote, 0, sizes[i]), HMC_INVALID_CONFIG);
    assert_success(hmc_put(local.region, 0, sound.remote, 0, sizes[i])); /* and all go on */
  }
  far_close(&sound);
  hmc_region_close(far);
  hmc_region_close(near);
  test_buffer_close(&local);
  munmap(theirs, room);
  munmap(ours, room);
}

static void protect(uint8_t *theirs, uint8_t *ours, uint64_t size, int protection) {
  assert_int_equal(mprotect(theirs, size, protection), 0);
  assert_int_equal(mprotect(ours, size, protection), 0);
}

/* Mapped still, but not to be touched, or not to be written. */
void registered_memory_that_is_protected(void **state) {
  context_pair_t *pair = *state;
  const uint64_t sizes[] = {8, PAGE, 300 * KIB, 2 * MIB};
  const uint64_t room = 4 * MIB;
  const int protections[] = {PROT_NONE, PROT_READ};
  if (!stamp_is("shm")) return;
  uint8_t *theirs = reserve(room), *ours = reserve(room);
  hmc_region_t *far, *near;
  hmc_remote_t *remote;
  uint64_t word = 0;
  protect(theirs, ours, room, PROT_READ | PROT_WRITE);
  memset(theirs, 3, room);
  memset(ours, 3, room);
  assert_success(hmc_region_register(pair->there, theirs, room, "protected", HMC_REMOTE_ALL, &far));
  assert_success(hmc_region_register(pair->here, ours, room, NULL, 0, &near));
  assert_success(hmc_remote_open(pair->peer, "protected", 0, &remote));
  far_t sound = far_make(pair, (far_options_t){.name = "sound", .size = room, .registered = true});
  test_buffer_t local = near_make(pair, room, true);
  for (size_t k = 0; k < COUNT_OF(protections); k++) {
    bool readable = protections[k] == PROT_READ;
    protect(theirs, ours, room, protections[k]);
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
      assert_status(hmc_put(local.region, 0, remote, 0, sizes[i]), HMC_STALE);
      assert_status(hmc_get(local.region, 0, remote, 0, sizes[i]), readable ? HMC_SUCCESS : HMC_STALE);
      assert_status(hmc_put(near, 0, sound.remote, 0, sizes[i]), readable ? HMC_SUCCESS : HMC_INVALID_CONFIG);
      assert_status(hmc_get(near, 0, sound.remote, 0, sizes[i]), HMC_INVALID_CONFIG);
      assert_success(hmc_put(local.region, 0, sound.remote, 0, sizes[i])); /* and all go on */
    }
    assert_status(hmc_atomic(remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL), HMC_STALE);
    assert_status(hmc_atomic(remote, 64, HMC_ATOMIC_LOAD, 8, 0, 0, &word), readable ? HMC_SUCCESS : HMC_STALE);
  }
  protect(theirs, ours, room, PROT_READ | PROT_WRITE);
  assert_success(hmc_put(local.region, 0, remote, 0, room));
  far_close(&sound);
  hmc_remote_close(remote);
  hmc_region_close(far);
  hmc_region_close(near);
  test_buffer_close(&local);
  munmap(theirs, room);
  munmap(ours, room);
}

/* Does a thread of that name run in the process? */
static bool has_thread(pid_t process, const char *name) {
  char path[64], comm[32];
  bool found = false;
  snprintf(path, sizeof path, "/proc/%d/task", (int)process);
  DIR *tasks = opendir(path);
  assert_non_null(tasks);
  for (struct dirent *task; !found && (task = readdir(tasks));) {
    char file[PATH_MAX];
    snprintf(file, sizeof file, "%s/%s/comm", path, task->d_name);
    FILE *stream = fopen(file, "r");
    found = stream && fgets(comm, sizeof comm, stream) && strncmp(comm, name, strlen(name)) == 0;
    if (stream) fclose(stream);
  }
  closedir(tasks);
  return found;
}

/* An owner with processors enough, as HMC_SERVICE_THREADS says here, copies the pieces of a large put side by side. */
void registered_puts_are_shared_by_copiers(void **state) {
  context_pair_t *pair = *state;
  owner_t owner;
  hmc_remote_t *remote;
  setenv("HMC_SERVICE_THREADS", "4", 1);
  owner_start(&owner, pair);
  unsetenv("HMC_SERVICE_THREADS");
  assert_success(hmc_remote_open(owner.peer, "registered", 20000, &remote));
  test_buffer_t near = near_make(pair, OWNER_BYTES, true), back = near_make(pair, OWNER_BYTES, true);
  for (uint64_t round = 0; round < 20; round++) {
    uint64_t length = OWNER_BYTES - 2 * FRAME_GUARD - round;
    frame_write(&near, FRAME_GUARD, length, round);
    assert_success(hmc_put(near.region, 0, remote, 0, OWNER_BYTES));
    assert_success(hmc_get(back.region, 0, remote, 0, OWNER_BYTES));
    assert_true(frame_check(&back, FRAME_GUARD, length, round) == PATTERN_SAME);
  }
  if (stamp_is("shm")) assert_true(has_thread(owner.process, "hmc-pull"));
  hmc_peer_close(owner.peer);
  owner_kill(&owner);
  test_buffer_close(&near);
  test_buffer_close(&back);
}
