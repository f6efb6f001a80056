/* What the files of hmc-top share. */
#ifndef HMC_TOP_H
#define HMC_TOP_H

#include "tool.h"

enum { TOP_ROWS = 512, TOP_BUCKETS = 64 };

/* Latencies as Prometheus has them: how many took less than each limit. */
typedef struct top_latency {
  size_t buckets;
  double limit[TOP_BUCKETS], below[TOP_BUCKETS]; /* seconds, rising */
} top_latency_t;

/* One peer of one process, as it counts. */
typedef struct top_row {
  char process[64], context[64], peer[80], name[64], route[16];
  double puts, gets, atomics, put_bytes, get_bytes, failures, timeouts;
  top_latency_t put, get;
  bool connected;
} top_row_t;

typedef struct top_table {
  size_t count;
  top_row_t rows[TOP_ROWS];
} top_table_t;

/* True where a text has the form unix:PATH or HOST:PORT. */
bool top_is_address(const char *text);

/* Asks the process that shows its counters at `where` (unix:PATH or HOST:PORT) and adds its rows. False, with a text in
 * `problem` and the cause in errno (0: another program answers), where it does not. */
bool top_fetch(const char *where, top_table_t *table, char *problem, size_t size);

#endif
