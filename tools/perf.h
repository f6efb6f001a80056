/* The parts of hmc-perf.
 *
 * The server (perf_server.c) lends one region named PERF_REGION and greets each client with a notification; from then
 * on it does nothing: operations are one-sided. A client waits for that greeting, since a peer that leaves before it is
 * accepted is never handed out, and a server that ends with its first client would wait for the next one. The client
 * (perf_client.c) goes through the sizes; for each, perf_load.c runs the operations on its threads and
 * perf_report.c prints one line. With --verify, perf_verify.c looks at the bytes. */
#ifndef HMC_PERF_H
#define HMC_PERF_H

#include "tool.h"

#define PERF_REGION "hmc-perf"
#define PERF_DOOR "hmc-perf.door" /* the client's: the server says there that it has seen the client */
#define PERF_DEFAULT_PORT 2025
#define PERF_DEFAULT_REGION (64ull << 20)

enum { PERF_SIZES_MAX = 128, PERF_THREADS_MAX = 64, PERF_DEPTH_MAX = 4096 };

typedef enum perf_format { PERF_TEXT, PERF_JSON, PERF_CSV } perf_format_t;

typedef struct perf_options {
  const char *host; /* NULL: this is the server */
  const char *bind; /* the server's address */
  uint16_t port;
  bool self; /* the server is forked here */
  bool once; /* the server ends after one client */
  bool get;
  bool bandwidth; /* several in flight and one figure, instead of one at a time and percentiles */
  bool verify;
  hmc_connection_type_t transport;
  hmc_memory_t memory;
  hmc_memory_t peer_memory; /* of the server that --self forks */
  uint64_t region;          /* bytes that the server lends; 0: the default, or what --self needs */
  uint64_t sizes[PERF_SIZES_MAX];
  size_t size_count;
  unsigned depth;      /* in flight per thread */
  unsigned threads;    /* of the client */
  uint64_t iterations; /* per thread; 0: go by `seconds` */
  double seconds;
  uint64_t warmup; /* operations per thread before the clock starts */
  perf_format_t format;
} perf_options_t;

/* What one thread of the client does for one size. Thread t owns the local bytes from t * depth * bytes on, one slot
 * per operation in flight, and the remote slots from `remote_base` on: no two threads touch the same byte. */
typedef struct perf_load {
  const perf_options_t *options;
  hmc_region_t *local;
  hmc_remote_t *remote;
  uint64_t bytes;
  uint64_t remote_slots; /* per thread, 1 .. depth; with fewer than depth, operations in flight share them */
  unsigned depth;
} perf_load_t;

typedef struct perf_result {
  uint64_t bytes;
  uint64_t operations; /* all threads */
  double seconds;      /* from the common start to the last thread's end */
  double median_us;    /* one at a time only */
  double p99_us;
  bool verified;
} perf_result_t;

typedef struct perf_names {
  const char *transport;
  char memory[32];
  char peer_memory[32];
} perf_names_t;

/* Serves until interrupted, or until the first client has left. `ready` is a pipe that gets the port when peers can
 * connect (-1: none; the server then says where it listens). Answers an exit code. */
int perf_serve(const perf_options_t *options, int ready);

/* Connects to `host` and measures all sizes. Answers an exit code. */
int perf_measure(const perf_options_t *options, const char *host, uint16_t port);

/* Runs one load on all threads. Answers an exit code; the text is out when it is not TOOL_DONE. */
int perf_run(const perf_load_t *load, perf_result_t *result);

/* Prepares the bytes before perf_run and compares them after it, every slot of every thread that was used. The load
 * must have as many remote slots as depth. Answers an exit code. */
int perf_verify_prepare(const perf_load_t *load);
int perf_verify_compare(const perf_load_t *load);

void perf_report_begin(const perf_options_t *options);
void perf_report(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result);

#endif
