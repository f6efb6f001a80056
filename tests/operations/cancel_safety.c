/* Cancelled and timed-out operations leave the caller's memory alone: it is used again at once, ten thousand times
 * under load (a thousand times in stamps that are not plain), through sockets so narrow that most cancels hit a frame
 * that is half sent.
 *
 * Puts: the value of round r goes to slot r % SLOTS of the far region, and only there; the source is filled with the
 * next round's value the moment a cancel returns. So a slot may hold the values of its own rounds and no other, and a
 * byte of the next value in it has been read too late. Gets: a slot of the local region is filled by the test once the
 * get is over, and must stay so until its next turn. */
#include "suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SLOTS_USED 5u
#define VALUES 250u /* a multiple of SLOTS_USED */
#define WORKERS 2u
#define REFILL 0xee

static const char *const narrow[] = {"HMC_TCP_BUFFER", "64K", "HMC_SHM_CMA", "no", NULL};

/* Bytes of a slot, and what the load moves at most: over several streams where the connection has them. */
static uint64_t slot_length(void) { return stamp_is("tcp_streams") ? 600 * KIB : 192 * KIB; }
static uint64_t load_room(void) { return stamp_is("tcp_streams") ? 700 * KIB : 32 * KIB; }

/* Sockets of this process with the buffer that was asked for, which the kernel doubles. */
static uint32_t narrow_sockets(void) {
  uint32_t count = 0;
  for (int descriptor = 3; descriptor < 256; descriptor++) {
    int bytes = 0;
    socklen_t size = sizeof bytes;
    count += getsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &bytes, &size) == 0 && bytes == 2 * (64 << 10);
  }
  return count;
}

/* ---- load */

typedef struct load {
  pthread_t thread;
  far_t far;
  test_buffer_t local;
  _Atomic bool stop;
  uint64_t rounds;
  hmc_status_t status;
} load_t;

static void *run_load(void *argument) {
  load_t *load = argument;
  while (!atomic_load(&load->stop) && load->status == HMC_SUCCESS)
    load->status = exchange(&load->local, 0, load->far.remote, 0, load_room(), 1, ++load->rounds);
  return NULL;
}

static void load_start(load_t *load, context_pair_t *pair) {
  *load = (load_t){.far = far_make(pair, (far_options_t){.name = "load", .size = load_room(), .registered = true}),
                   .local = near_make(pair, 2 * load_room(), false)};
  assert_int_equal(pthread_create(&load->thread, NULL, run_load, load), 0);
}

static void load_end(load_t *load) {
  atomic_store(&load->stop, true);
  pthread_join(load->thread, NULL);
  assert_status(load->status, HMC_SUCCESS);
  assert_true(load->rounds > 0);
  test_buffer_close(&load->local);
  far_close(&load->far);
}

/* ---- workers */

/* What a worker does in a round. */
typedef enum manner { BY_CANCEL, BY_TIMEOUT, BY_FREE } manner_t;

typedef struct worker {
  pthread_t thread;
  manner_t manner;
  bool batches;
  far_t far;
  test_buffer_t local;
  hmc_batch_t *batch[SLOTS_USED];
  uint64_t length, rounds, random, pause_ns;
  uint64_t succeeded, ended, wrong; /* completed; cancelled or timed out; bytes that should not be */
  hmc_status_t status;              /* of a call that should not have failed */
} worker_t;

/* Ends a request in the worker's manner. */
static void end_request(worker_t *worker, hmc_request_t *request) {
  hmc_status_t status = HMC_CANCELLED, wanted = HMC_CANCELLED;
  if (worker->manner == BY_TIMEOUT) {
    status = hmc_request_wait(request);
    wanted = HMC_TIMEOUT;
  } else {
    spin_ns(draw(&worker->random) % worker->pause_ns);
    if (worker->manner == BY_CANCEL) status = hmc_request_cancel(request);
  }
  hmc_request_free(request);
  worker->succeeded += status == HMC_SUCCESS;
  worker->ended += status != HMC_SUCCESS;
  if (status != HMC_SUCCESS && status != wanted) worker->status = status;
}

static bool is_foreign(uint8_t byte, uint64_t slot) { return byte && (byte - 1u) % SLOTS_USED != slot; }

/* Most of them lie in runs of one value. */
static uint64_t foreign_bytes(const test_buffer_t *place, uint64_t slot, uint64_t length) {
  const uint64_t run = 1024;
  uint8_t *bytes = malloc(length);
  uint64_t wrong = 0;
  if (!bytes) return length;
  shared_begin();
  test_buffer_load(place, slot * length, bytes, length);
  shared_end();
  for (uint64_t done = 0, piece; done < length; done += piece) {
    piece = length - done < run ? length - done : run;
    if (!is_foreign(bytes[done], slot) && memcmp(bytes + done, bytes + done + 1, piece - 1) == 0) continue;
    for (uint64_t i = done; i < done + piece; i++) wrong += is_foreign(bytes[i], slot);
  }
  free(bytes);
  return wrong;
}

static void look_at_slots(worker_t *worker) {
  for (uint64_t slot = 0; slot < SLOTS_USED; slot++)
    worker->wrong += foreign_bytes(&worker->far.place, slot, worker->length);
}

static void *put_rounds(void *argument) {
  worker_t *worker = argument;
  const hmc_operation_options_t manners[] = {
      {.size = sizeof(hmc_operation_options_t), .timeout_ms = worker->manner == BY_TIMEOUT},
      {.size = sizeof(hmc_operation_options_t),
       .timeout_ms = worker->manner == BY_TIMEOUT,
       .flags = HMC_OPERATION_CHECKSUM}};
  for (uint64_t round = 0; round < worker->rounds && worker->status == HMC_SUCCESS && !worker->wrong; round++) {
    uint64_t slot = round % SLOTS_USED;
    const hmc_operation_options_t *options = &manners[round / SLOTS_USED % 2];
    hmc_request_t *request = NULL;
    bytes_fill(&worker->local, 0, worker->length, (uint8_t)(1 + round % VALUES));
    worker->status = worker->batches ? hmc_batch_put_nb(worker->batch[slot], options, &request)
                                     : hmc_put_nb(worker->local.region, 0, worker->far.remote, slot * worker->length,
                                                  worker->length, options, &request);
    if (worker->status == HMC_SUCCESS) end_request(worker, request);
    if (round % 100 == 99) look_at_slots(worker);
  }
  return NULL;
}

static void *get_rounds(void *argument) {
  worker_t *worker = argument;
  hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t),
                                     .timeout_ms = worker->manner == BY_TIMEOUT};
  uint64_t length = worker->length;
  bytes_fill(&worker->local, 0, SLOTS_USED * length, REFILL);
  for (uint64_t round = 0; round < worker->rounds && worker->status == HMC_SUCCESS && !worker->wrong; round++) {
    uint64_t at = round % SLOTS_USED * length, succeeded = worker->succeeded;
    hmc_request_t *request = NULL;
    worker->wrong += bytes_other(&worker->local, at, length, REFILL, REFILL);
    options.flags = round / SLOTS_USED % 2 ? HMC_OPERATION_CHECKSUM : 0;
    worker->status = worker->batches
                         ? hmc_batch_get_nb(worker->batch[round % SLOTS_USED], &options, &request)
                         : hmc_get_nb(worker->local.region, at, worker->far.remote, 0, length, &options, &request);
    if (worker->status != HMC_SUCCESS) break;
    end_request(worker, request);
    if (worker->succeeded > succeeded)
      worker->wrong += bytes_other(&worker->local, at, length, 0x11, worker->batches ? REFILL : 0x11);
    bytes_fill(&worker->local, at, length, REFILL);
  }
  return NULL;
}

/* A hundred pieces, with gaps, that lie in one slot of the region with slots. */
static hmc_batch_t *slot_batch(const worker_t *worker, uint64_t slot, bool put) {
  hmc_segment_t pieces[100];
  uint64_t length = worker->length / COUNT_OF(pieces);
  for (uint64_t i = 0; i < COUNT_OF(pieces); i++) {
    uint64_t dense = i * length, at = slot * worker->length + dense;
    pieces[i] = (hmc_segment_t){put ? dense : at, put ? at : dense, length - 1 - i % 50};
  }
  hmc_batch_t *batch = NULL;
  assert_success(hmc_batch_create(worker->local.region, worker->far.remote, pieces, COUNT_OF(pieces), &batch));
  return batch;
}

static void worker_open(worker_t *worker, context_pair_t *pair, bool put, const char *name) {
  uint64_t many = SLOTS_USED * worker->length, one = worker->length;
  worker->far = far_make(pair, (far_options_t){.name = name, .size = put ? many : one, .registered = true});
  worker->local = near_make(pair, put ? one : many, true);
  owner_fill(&worker->far.place, 0, put ? many : one, put ? 0 : 0x11);
  for (uint64_t slot = 0; slot < SLOTS_USED && worker->batches; slot++)
    worker->batch[slot] = slot_batch(worker, slot, put);
}

static void worker_close(worker_t *worker, bool put) {
  if (put)
    look_at_slots(worker);
  else if (!worker->wrong)
    worker->wrong += bytes_other(&worker->local, 0, SLOTS_USED * worker->length, REFILL, REFILL);
  assert_status(worker->status, HMC_SUCCESS);
  assert_int_equal(worker->wrong, 0);
  for (size_t slot = 0; slot < SLOTS_USED; slot++) hmc_batch_free(worker->batch[slot]);
  test_buffer_close(&worker->local);
  far_close(&worker->far);
}

/* Runs workers like `model` beside a load. Unless all went too fast to be caught, some must have been ended early. */
static void quiet(worker_t model, bool put) {
  context_pair_t pair;
  load_t load;
  worker_t workers[WORKERS];
  uint64_t ended = 0;
  context_pair_open(&pair, narrow);
  if (stamp.type == HMC_CONNECTION_TCP) assert_true(narrow_sockets() >= 4); /* one each way, both ends of both */
  load_start(&load, &pair);
  for (size_t i = 0; i < WORKERS; i++) {
    workers[i] = model;
    workers[i].random = i;
    worker_open(&workers[i], &pair, put, i ? "second" : "first");
  }
  for (size_t i = 0; i < WORKERS; i++)
    assert_int_equal(pthread_create(&workers[i].thread, NULL, put ? put_rounds : get_rounds, &workers[i]), 0);
  for (size_t i = 0; i < WORKERS; i++) pthread_join(workers[i].thread, NULL);
  load_end(&load);
  sleep_ms(20); /* whatever is still to come */
  for (size_t i = 0; i < WORKERS; i++) ended += workers[i].ended;
  for (size_t i = 0; i < WORKERS; i++) worker_close(&workers[i], put);
  assert_true(ended > 0);
  context_pair_close(&pair);
}

/* Of each worker. */
static uint64_t rounds(void) { return stamp_is_plain() ? (SANITIZED ? 400 : 5000) : (SANITIZED ? 150 : 500); }

void quiet_after_cancelled_puts(void **state) {
  (void)state;
  quiet((worker_t){.manner = BY_CANCEL, .length = slot_length(), .rounds = rounds(), .pause_ns = 150000}, true);
}

void quiet_after_cancelled_gets(void **state) {
  (void)state;
  quiet((worker_t){.manner = BY_CANCEL, .length = slot_length(), .rounds = rounds(), .pause_ns = 150000}, false);
}

void quiet_after_timeouts(void **state) {
  (void)state;
  for (int put = 0; put < 2; put++)
    quiet((worker_t){.manner = BY_TIMEOUT, .length = 6 * MIB, .rounds = SANITIZED ? 10 : 15}, put);
}

void quiet_batches(void **state) {
  (void)state;
  for (int put = 0; put < 2; put++)
    quiet((worker_t){.manner = BY_FREE,
                     .batches = true,
                     .length = slot_length(),
                     .rounds = rounds() / 10 + 50,
                     .pause_ns = 150000},
          put);
}
