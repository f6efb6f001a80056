/* The clock, the repetition and the line protocol of the measuring programs; see bench.h. */
#include "bench.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BATCH_SECONDS 50e-6 /* the clock costs less than a thousandth of that */
enum { BATCHES_MAX = 1 << 16 };

double bench_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

void bench_pin(unsigned which) {
  static cpu_set_t
      allowed; /* as at the first call: the second is for a child that has inherited the first one's choice */
  static bool known;
  if (!known && sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  known = true;
  if (CPU_COUNT(&allowed) < 2) return;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; cpu++)
    if (CPU_ISSET(cpu, &allowed) && which-- == 0) {
      cpu_set_t one;
      CPU_ZERO(&one);
      CPU_SET(cpu, &one);
      sched_setaffinity(0, sizeof one, &one);
      return;
    }
}

bool bench_fail(bench_result_t *result, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(result->error, sizeof result->error, format, arguments);
  va_end(arguments);
  return false;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

bool bench_repeat(bench_operation_t operation, void *state, const bench_request_t *request, uint64_t least,
                  bench_result_t *result) {
  static double batches[BATCHES_MAX];
  size_t count = 0;
  uint64_t batch = least;
  double total = 0;
  for (bool warm = false; count == 0 || (total < request->seconds && count < BATCHES_MAX);) {
    double before = bench_clock();
    if (!operation(state, request, batch, result)) return false;
    double took = bench_clock() - before;
    if (took < BATCH_SECONDS && !count) { /* also after a first one that woke who slept, which is not a batch's size */
      batch *= 2;
      continue;
    }
    if (!warm) { /* the batch that found the size, or the first of large operations, only warms up */
      warm = true;
      continue;
    }
    total += took;
    batches[count++] = took / (double)batch;
  }
  qsort(batches, count, sizeof *batches, compare_doubles);
  result->median_ns = batches[count / 2] * 1e9;
  result->operations = batch * count;
  result->mean_ns = total / (double)result->operations * 1e9;
  return true;
}

bool bench_repeat_counted(bench_operation_t operation, void *state, const bench_request_t *request,
                          bench_result_t *result) {
  enum { PIECES = 5, TRIAL = 2000, LEAST = 3000 };
  double pieces[PIECES], before = bench_clock(), total = 0;
  if (!operation(state, request, TRIAL, result)) return false;
  double each = (bench_clock() - before) / TRIAL;
  uint64_t count = (uint64_t)(request->seconds / PIECES / each);
  if (count < LEAST) /* a disturbed trial; and the other end's waking up must not weigh */
    count = LEAST;
  for (unsigned i = 0; i < PIECES; i++) {
    before = bench_clock();
    if (!operation(state, request, count, result)) return false;
    pieces[i] = (bench_clock() - before) / (double)count;
    total += pieces[i];
  }
  qsort(pieces, PIECES, sizeof *pieces, compare_doubles);
  result->median_ns = pieces[PIECES / 2] * 1e9;
  result->mean_ns = total / PIECES * 1e9;
  result->operations = count * PIECES;
  return true;
}

void bench_serve(const char *hello, bench_answer_t answer, void *state) {
  char line[256];
  printf("%s\n", hello);
  fflush(stdout);
  while (fgets(line, sizeof line, stdin)) {
    bench_request_t request;
    bench_result_t result = {0};
    unsigned long long bytes;
    if (sscanf(line, "%31s %llu %u %lf", request.what, &bytes, &request.depth, &request.seconds) != 4) {
      printf("error not a request: %s\n", strtok(line, "\n"));
    } else {
      request.bytes = bytes;
      if (answer(state, &request, &result))
        printf("ok %.4f %.4f %llu\n", result.median_ns, result.mean_ns, (unsigned long long)result.operations);
      else
        printf("error %s\n", result.error);
    }
    fflush(stdout);
  }
}
