/* The measured loops of hmc-perf.
 *
 * One at a time: blocking calls, each timed. Where calls take less than BATCH_SECONDS the clock would cost as much as
 * the call, so a sample is the mean of a batch of calls; the batch doubles until it takes that long. At most
 * SAMPLES_MAX samples are kept per thread: when they are full every second one is dropped and from then on half as many
 * are taken, so that they stay spread evenly over the run.
 *
 * Several in flight: a ring of requests; the oldest is waited for and replaced.
 *
 * Threads: each worker writes only its own struct; all start at one gate. `stop` is set by the worker that fails, read
 * by the others between operations. */
#include "perf.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_SECONDS 2e-6
enum { SAMPLES_MAX = 1 << 16, BATCH_MAX = 1024 };

typedef struct samples {
  double *values;
  size_t count;
  uint64_t stride; /* one of so many is kept */
  uint64_t seen;
} samples_t;

typedef struct run {
  const perf_load_t *load;
  pthread_mutex_t lock; /* of the two counts below */
  pthread_cond_t open;
  unsigned arrived; /* workers at the gate */
  unsigned awaited; /* it opens when so many are there; 0: it stands open */
  atomic_bool stop; /* relaxed: nothing is read on its word but itself */
} run_t;

typedef struct worker {
  run_t *run;
  pthread_t thread;
  uint64_t first_slot;
  samples_t samples;
  hmc_request_t **ring;
  uint64_t issued; /* since the start of the warm-up: picks the slot */
  uint64_t operations;
  double begin;
  double end;
  hmc_status_t status;
  char error[512];
} worker_t;

static void sample_add(samples_t *samples, double value) {
  if (samples->seen++ % samples->stride) return;
  if (samples->count == SAMPLES_MAX) {
    for (size_t i = 0; i < SAMPLES_MAX / 2; i++) samples->values[i] = samples->values[2 * i];
    samples->count = SAMPLES_MAX / 2;
    samples->stride *= 2;
  }
  samples->values[samples->count++] = value;
}

static bool failed(worker_t *worker, hmc_status_t status) {
  if (status == HMC_SUCCESS) return false;
  const perf_staged_t *staged = worker->run->load->staged;
  const char *text = staged ? perf_staged_error(staged) : hmc_last_error();
  worker->status = status;
  snprintf(worker->error, sizeof worker->error, "%s", text[0] ? text : hmc_status_text(status));
  atomic_store_explicit(&worker->run->stop, true, memory_order_relaxed);
  return true;
}

static bool stopped(const worker_t *worker) {
  return atomic_load_explicit(&tool_interrupted, memory_order_relaxed) ||
         atomic_load_explicit(&worker->run->stop, memory_order_relaxed);
}

/* Waits until all workers are here. */
static void pass_gate(run_t *run) {
  pthread_mutex_lock(&run->lock);
  if (++run->arrived >= run->awaited) pthread_cond_broadcast(&run->open);
  while (run->arrived < run->awaited) pthread_cond_wait(&run->open, &run->lock);
  pthread_mutex_unlock(&run->lock);
}

/* Lets the workers through without waiting for more, only for them to end. */
static void open_gate(run_t *run) {
  atomic_store_explicit(&run->stop, true, memory_order_relaxed);
  pthread_mutex_lock(&run->lock);
  run->awaited = 0;
  pthread_cond_broadcast(&run->open);
  pthread_mutex_unlock(&run->lock);
}

static uint64_t next_slot(worker_t *worker) { return worker->first_slot + worker->issued++ % worker->run->load->depth; }

static hmc_status_t one(worker_t *worker) {
  const perf_load_t *load = worker->run->load;
  uint64_t slot = next_slot(worker);
  if (load->staged) return perf_staged_move(load->staged, load->bytes);
  return perf_move(load, slot, perf_is_get(load, slot));
}

static hmc_status_t one_started(worker_t *worker, hmc_request_t **request) {
  const perf_load_t *load = worker->run->load;
  uint64_t slot = next_slot(worker);
  return perf_start(load, slot, perf_is_get(load, slot), request);
}

/* True while the worker shall go on: by count, else by time. */
static bool more(const worker_t *worker, uint64_t limit, double until, double now) {
  return !stopped(worker) && (limit ? worker->operations < limit : now < until);
}

static void run_blocking(worker_t *worker) {
  const perf_options_t *options = worker->run->load->options;
  uint64_t batch = 1;
  double until = worker->begin + options->seconds, now = worker->begin;
  while (more(worker, options->iterations, until, now)) {
    uint64_t left = options->iterations ? options->iterations - worker->operations : batch;
    uint64_t calls = left < batch ? left : batch;
    double before = now;
    for (uint64_t i = 0; i < calls; i++)
      if (failed(worker, one(worker))) return;
    worker->operations += calls;
    now = tool_clock();
    sample_add(&worker->samples, (now - before) / (double)calls);
    if (now - before < BATCH_SECONDS && batch < BATCH_MAX) batch *= 2;
  }
}

/* Starts up to `limit` operations (0: by time) with `depth` in flight and waits for all of them. */
static void run_in_flight(worker_t *worker, uint64_t limit, double until) {
  unsigned depth = worker->run->load->depth;
  uint64_t first = 0, last = 0; /* requests first .. last - 1 are in flight */
  double now = tool_clock();
  while (more(worker, limit, until, now) || first < last) {
    while (last - first < depth && more(worker, limit, until, now)) {
      if (failed(worker, one_started(worker, &worker->ring[last % depth]))) goto undo;
      last++;
      worker->operations++;
    }
    if (first == last) break;
    hmc_request_t *oldest = worker->ring[first % depth];
    hmc_status_t status = hmc_request_wait(oldest);
    bool bad = failed(worker, status); /* before the free, which may leave a text of its own */
    hmc_request_free(oldest);
    first++;
    if (bad) goto undo;
    now = tool_clock();
  }
  return;
undo:
  for (; first < last; first++) hmc_request_free(worker->ring[first % depth]);
}

static void warm_up(worker_t *worker) {
  const perf_options_t *options = worker->run->load->options;
  if (options->bandwidth && options->warmup) run_in_flight(worker, options->warmup, 0);
  for (uint64_t i = 0; !options->bandwidth && i < options->warmup && !stopped(worker); i++)
    if (failed(worker, one(worker))) break;
}

static void *work(void *argument) {
  worker_t *worker = argument;
  const perf_options_t *options = worker->run->load->options;
  warm_up(worker);
  worker->operations = 0;
  pass_gate(worker->run);
  worker->begin = tool_clock();
  if (options->bandwidth)
    run_in_flight(worker, options->iterations, worker->begin + options->seconds);
  else
    run_blocking(worker);
  worker->end = tool_clock();
  return NULL;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void percentiles(const worker_t *workers, unsigned threads, perf_result_t *result) {
  size_t total = 0;
  for (unsigned t = 0; t < threads; t++) total += workers[t].samples.count;
  double *all = total ? malloc(total * sizeof *all) : NULL;
  if (!all) return;
  size_t used = 0;
  for (unsigned t = 0; t < threads; t++) {
    memcpy(all + used, workers[t].samples.values, workers[t].samples.count * sizeof *all);
    used += workers[t].samples.count;
  }
  qsort(all, total, sizeof *all, compare_doubles);
  result->median_us = all[total / 2] * 1e6;
  result->p99_us = all[(size_t)((double)(total - 1) * 0.99 + 0.5)] * 1e6;
  free(all);
}

static int prepare_worker(worker_t *worker, run_t *run, unsigned index) {
  const perf_load_t *load = run->load;
  worker->run = run;
  worker->first_slot = (uint64_t)index * load->depth;
  worker->samples.stride = 1;
  worker->samples.values = malloc(SAMPLES_MAX * sizeof *worker->samples.values);
  worker->ring = calloc(load->depth, sizeof *worker->ring);
  return worker->samples.values && worker->ring ? TOOL_DONE : tool_fail("out of memory");
}

static int gather(const worker_t *workers, unsigned threads, const perf_load_t *load, perf_result_t *result) {
  double begin = workers[0].begin, end = workers[0].end;
  *result = (perf_result_t){.bytes = load->bytes};
  for (unsigned t = 0; t < threads; t++) {
    if (workers[t].status != HMC_SUCCESS)
      return tool_fail("%s of %llu bytes: %s", load->options->mix ? "put or get" : perf_operation(load->options),
                       (unsigned long long)load->bytes, workers[t].error);
    begin = workers[t].begin < begin ? workers[t].begin : begin;
    end = workers[t].end > end ? workers[t].end : end;
    result->operations += workers[t].operations;
  }
  if (tool_interrupted) return TOOL_INTERRUPTED;
  result->seconds = end > begin ? end - begin : 1e-9;
  percentiles(workers, threads, result);
  return TOOL_DONE;
}

/* Runs all workers; the last one on this thread, so that a single one means no thread switch at all. */
static int run_workers(run_t *run, worker_t *workers, unsigned threads) {
  unsigned started = 0;
  while (started + 1 < threads && pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0)
    started++;
  bool all = started + 1 == threads;
  if (all)
    work(&workers[threads - 1]);
  else
    open_gate(run);
  for (unsigned t = 0; t < started; t++) pthread_join(workers[t].thread, NULL);
  return all ? TOOL_DONE : tool_fail("thread %u of %u could not be started", started + 1, threads);
}

/* Of all threads of this process, the library's among them; warming up counts, too. */
static double cpu_seconds(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (double)used.tv_sec + (double)used.tv_nsec * 1e-9;
}

int perf_run(const perf_load_t *load, perf_result_t *result) {
  unsigned threads = load->options->threads;
  run_t run = {.load = load, .awaited = threads};
  worker_t *workers = calloc(threads, sizeof *workers);
  if (!workers) return tool_fail("out of memory");
  int code = TOOL_DONE;
  pthread_mutex_init(&run.lock, NULL);
  pthread_cond_init(&run.open, NULL);
  for (unsigned t = 0; code == TOOL_DONE && t < threads; t++) code = prepare_worker(&workers[t], &run, t);
  double used = cpu_seconds();
  if (code == TOOL_DONE) code = run_workers(&run, workers, threads);
  used = cpu_seconds() - used;
  if (code == TOOL_DONE) code = gather(workers, threads, load, result);
  if (code == TOOL_DONE) result->cpu_seconds = used;
  for (unsigned t = 0; t < threads; t++) {
    free(workers[t].samples.values);
    free(workers[t].ring);
  }
  free(workers);
  pthread_cond_destroy(&run.open);
  pthread_mutex_destroy(&run.lock);
  return code;
}
