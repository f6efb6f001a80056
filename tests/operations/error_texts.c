/* What people read when something fails, and in the answer to how a peer is reached. */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

/* The text of a request is made when it is asked for, which may be long after its peer is closed. */
void text_of_a_request_names_both_ends(void **state) {
  context_pair_t *pair = *state;
  hmc_operation_options_t hasty = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 50};
  hmc_request_t *requests[2] = {NULL};
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  distant_t distant;
  distant_start(&distant, pair);
  assert_success(hmc_peer_get_info(distant.peer, &info));
  distant_stop(&distant);
  assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, &hasty, &requests[0]));
  assert_success(hmc_atomic_nb(distant.remote, 64, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &requests[1]));
  assert_status(hmc_request_wait(requests[0]), HMC_TIMEOUT);
  assert_error_names("'distant'");
  assert_error_names("HMC_TIMEOUT"); /* the remedy */
  assert_status(hmc_request_cancel(requests[1]), HMC_CANCELLED);
  hmc_peer_close(distant.peer);
  assert_status(hmc_request_wait(requests[1]), HMC_CANCELLED);
  assert_error_names(info.ip);
  assert_error_has_number(info.port);
  assert_error_names("'distant'");
  hmc_request_free(requests[0]);
  hmc_request_free(requests[1]);
  distant_continue(&distant);
  target_stop(&distant.target);
}

static void refused(hmc_status_t status, const char *part) {
  assert_status(status, HMC_DENIED);
  assert_error_names(part);
}

void text_of_a_refusal_says_what_is_missing(void **state) {
  context_pair_t *pair = *state;
  far_t reads = far_make(pair, (far_options_t){.name = "reads", .size = 64, .rights = HMC_REMOTE_READ});
  far_t writes = far_make(pair, (far_options_t){.name = "writes", .size = 64, .rights = HMC_REMOTE_WRITE});
  test_buffer_t local = near_make(pair, 64, false);
  hmc_signal_t signal = {.remote = writes.remote, .operation = HMC_ATOMIC_ADD, .value = 1};
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .signal = &signal};
  hmc_request_t *request = NULL;
  refused(hmc_put(local.region, 0, reads.remote, 0, 8), "HMC_REMOTE_WRITE");
  refused(hmc_get(local.region, 0, writes.remote, 0, 8), "HMC_REMOTE_READ");
  refused(hmc_atomic(writes.remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL), "HMC_REMOTE_ATOMIC");
  refused(hmc_put_nb(local.region, 0, writes.remote, 0, 8, &options, &request), "HMC_REMOTE_ATOMIC");
  assert_status(hmc_put(local.region, 60, writes.remote, 0, 8), HMC_OUT_OF_RANGE);
  assert_null(strstr(hmc_last_error(), "''")); /* it has no name */
  test_buffer_close(&local);
  far_close(&writes);
  far_close(&reads);
}

void text_of_a_batch_has_its_size(void **state) {
  context_pair_t *pair = *state;
  static const hmc_segment_t pieces[] = {{0, 0, 700}, {1000, 1000, 77}};
  far_t far = far_make(pair, (far_options_t){.name = "far", .size = 4 * KIB});
  test_buffer_t local = near_make(pair, 4 * KIB, false);
  hmc_batch_t *batch = NULL;
  assert_success(hmc_batch_create(local.region, far.remote, pieces, COUNT_OF(pieces), &batch));
  test_buffer_close(&far.place);
  assert_status(hmc_batch_put(batch), HMC_STALE);
  assert_error_has_number(777);
  assert_error_names("'far'");
  hmc_batch_free(batch);
  hmc_remote_close(far.remote);
  test_buffer_close(&local);
}

/* Gets from registered memory go another way than puts on shm. */
void text_explains_puts_and_gets(void **state) {
  context_pair_t *pair = *state;
  char text[4096];
  far_t far = far_make(pair, (far_options_t){.name = "lent\033[2J\nhere", .size = 4 * KIB, .registered = true});
  assert_success(hmc_peer_explain(pair->peer, text, sizeof text, NULL));
  const char *line = strstr(text, "'lent [2J here'");
  assert_non_null(line);
  bool apart = strstr(line, "put: the peer's service thread") != NULL;
  assert_int_equal(apart, stamp_is("shm") && stamp_is_host());
  far_close(&far);
}

/* A program that registers memory and unmaps it breaks its word; its peers learn of it before their deadline. */
void unmapped_memory_is_told_at_once(void **state) {
  context_pair_t *pair = *state;
  if (!stamp_is("tcp") && !stamp_is("shm")) return; /* elsewhere the processor itself looks there, and faults */
  uint8_t *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  assert_true(memory != MAP_FAILED);
  hmc_region_t *region = NULL;
  hmc_remote_t *remote = NULL;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  test_buffer_t local = near_make(pair, MIB, false);
  assert_success(hmc_region_register(pair->there, memory, MIB, "gone", HMC_REMOTE_ALL, &region));
  assert_success(hmc_remote_open(pair->peer, "gone", 0, &remote));
  assert_success(hmc_get(local.region, 0, remote, 0, MIB));
  assert_int_equal(mprotect(memory, MIB, PROT_NONE), 0); /* as good as gone, and nobody else's meanwhile */
  uint64_t start = now_ms();
  assert_status(hmc_get(local.region, 0, remote, 0, MIB), HMC_STALE);
  assert_took(start, 0, 0);
  if (stamp_is_host()) assert_error_names("unmapped");
  assert_success(hmc_peer_get_info(pair->peer, &info));
  assert_int_equal(info.state, HMC_PEER_CONNECTED);
  hmc_region_close(region);
  munmap(memory, MIB);
  test_buffer_close(&local);
}
