/* What the two measuring programs share.
 *
 * bench/run starts hmc-bench-engine (HMC) and hmc-bench-limits (plain system calls and memory accesses) once each and
 * asks them in turn, many short slices each, so that both see the same weather on the machine. A request is a line on
 * stdin <what> <bytes> <depth> <seconds> and its answer a line on stdout ok <ns per operation, median> <ns per
 * operation, mean> <operations>     or     error <text> Between requests neither program, nor the process it forked,
 * uses the processor. */
#ifndef HMC_BENCH_H
#define HMC_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct bench_request {
  char what[32];
  uint64_t bytes;
  unsigned depth;
  double seconds;
} bench_request_t;

typedef struct bench_result {
  double median_ns; /* over batches of operations: what the operation takes when nobody disturbs */
  double mean_ns;   /* over all: what averaging programs would say */
  uint64_t operations;
  char error[512];
} bench_result_t;

/* Does the operation `count` times. False when it fails; result->error is set then. */
typedef bool (*bench_operation_t)(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result);

/* Answers one request. False when it fails; result->error is set then. */
typedef bool (*bench_answer_t)(void *state, const bench_request_t *request, bench_result_t *result);

/* Seconds on the monotonic clock. */
double bench_clock(void);

/* Binds this process, and the threads it makes from now on, to the first (0) or second (1) processor that it may use,
 * so that the two ends do not share one. With a single processor it does nothing. */
void bench_pin(unsigned which);

/* Repeats `operation` for the time that the request asks for, in batches of at least `least` operations. */
bool bench_repeat(bench_operation_t operation, void *state, const bench_request_t *request, uint64_t least,
                  bench_result_t *result);

/* As bench_repeat for an operation that both processes must count alike: runs it by a number of times found by trying.
 */
bool bench_repeat_counted(bench_operation_t operation, void *state, const bench_request_t *request,
                          bench_result_t *result);

/* Sets result->error; answers false. */
bool bench_fail(bench_result_t *result, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Answers requests until stdin ends. `hello` is the first line printed. */
void bench_serve(const char *hello, bench_answer_t answer, void *state);

#endif
