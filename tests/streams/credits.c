/* Full sockets: both ends ask much of each other through narrow buffers, and both keep reading. What is in progress is
 * bounded by credits: a peer that asked for more would be no longer read from, and its window updates with it. */
#include "suite.h"

#include <pthread.h>
#include <string.h>

#define ASKED 4000u
#define LENGTH 15000u

typedef struct asker {
  pthread_t thread;
  hmc_remote_t *remote;
  test_buffer_t local;
  hmc_status_t status;
} asker_t;

/* Starts many gets and refused puts at once, and takes their ends only then. */
static void *ask(void *argument) {
  asker_t *asker = argument;
  static _Thread_local hmc_request_t *requests[ASKED];
  hmc_operation_options_t patient = {.size = sizeof(hmc_operation_options_t), .timeout_ms = 60000};
  uint32_t count = 0;
  for (uint32_t i = 0; i < ASKED && asker->status == HMC_SUCCESS; i++) {
    uint64_t at = i % 64 * LENGTH;
    asker->status = i % 2 ? hmc_put_nb(asker->local.region, at, asker->remote, at, LENGTH, &patient, &requests[count])
                          : hmc_get_nb(asker->local.region, at, asker->remote, at, LENGTH, &patient, &requests[count]);
    if (asker->status == HMC_SUCCESS) count++;
  }
  for (uint32_t i = 0; i < count; i++) {
    hmc_status_t status = hmc_request_wait(requests[i]);
    if (asker->status == HMC_SUCCESS) asker->status = status;
    hmc_request_free(requests[i]);
  }
  return NULL;
}

void credits_keep_both_directions_going(void **state) {
  (void)state;
  context_pair_t pair;
  asker_t askers[2] = {{.status = HMC_SUCCESS}, {.status = HMC_SUCCESS}};
  test_buffer_t places[2];
  context_pair_open(&pair, (const char *const[]){"HMC_TCP_BUFFER", "64K", "HMC_PEER_TIMEOUT", "2s", NULL});
  for (int i = 0; i < 2; i++) {
    hmc_context_t *owner = i ? pair.here : pair.there, *user = i ? pair.there : pair.here;
    assert_success(test_buffer_open(&places[i], owner, stamp.far, MIB, "asked", HMC_REMOTE_ALL, true));
    assert_success(test_buffer_open(&askers[i].local, user, stamp.near, MIB, NULL, 0, true));
    assert_success(hmc_remote_open(i ? pair.back : pair.peer, "asked", 0, &askers[i].remote));
  }
  for (int i = 0; i < 2; i++) assert_int_equal(pthread_create(&askers[i].thread, NULL, ask, &askers[i]), 0);
  for (int i = 0; i < 2; i++) pthread_join(askers[i].thread, NULL);
  assert_connected(pair.peer);
  assert_connected(pair.back);
  for (int i = 0; i < 2; i++) {
    assert_status(askers[i].status, HMC_SUCCESS);
    hmc_remote_close(askers[i].remote);
    test_buffer_close(&askers[i].local);
    test_buffer_close(&places[i]);
  }
  context_pair_close(&pair);
}

/* Fifty thousand pieces in one get, through the narrowest of sockets: it is asked for bit by bit. */
void credits_bound_a_batch_of_pieces(void **state) {
  (void)state;
  enum { PIECES = 50000, PIECE = 16 };
  static hmc_segment_t pieces[PIECES];
  context_pair_t pair;
  context_pair_open(&pair, (const char *const[]){"HMC_TCP_BUFFER", "64K", NULL});
  far_t far = far_make(&pair, (far_options_t){.name = "pieces", .size = PIECES * PIECE * 2, .registered = true});
  test_buffer_t local = near_make(&pair, PIECES * PIECE * 2, true);
  for (uint64_t i = 0; i < PIECES; i++) pieces[i] = (hmc_segment_t){i * PIECE * 2, i * PIECE * 2, PIECE};
  owner_fill(&far.place, 0, far.place.size, 5);
  bytes_fill(&local, 0, local.size, 6);
  hmc_batch_t *batch = NULL;
  hmc_request_t *requests[3] = {NULL};
  assert_success(hmc_batch_create(local.region, far.remote, pieces, PIECES, &batch));
  for (int i = 0; i < 3; i++) assert_success(hmc_batch_get_nb(batch, NULL, &requests[i]));
  for (int i = 0; i < 3; i++) assert_success(finish(requests[i]));
  for (uint64_t i = 0; i < PIECES; i += 997) {
    assert_int_equal(bytes_other(&local, i * PIECE * 2, PIECE, 5, 5), 0);
    assert_int_equal(bytes_other(&local, i * PIECE * 2 + PIECE, PIECE, 6, 6), 0);
  }
  hmc_batch_free(batch);
  test_buffer_close(&local);
  far_close(&far);
  context_pair_close(&pair);
}
