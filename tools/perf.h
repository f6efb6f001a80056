/* The parts of hmc-perf.
 *
 * The server (perf_server.c) offers one region named PERF_REGION and greets each client with a notification; from then
 * on it does nothing: operations are one-sided. A client waits for that greeting, since a peer that leaves before it is
 * accepted is never returned, and a server that ends with its first client would wait for the next one. The client
 * (perf_client.c) goes through the sizes; for each, perf_load.c runs the operations on its threads and
 * perf_report.c prints one line. With --verify, perf_verify.c looks at the bytes.
 *
 * In a staged mode (mode.h) the server has work: it copies between its device and its host memory. A client orders that
 * by a notification and waits for another that answers (perf_order.c); perf_staged.c is the client's end, perf_orders.c
 * the server's. */
#ifndef HMC_PERF_H
#define HMC_PERF_H

#include "interrupt.h"
#include "mode.h"
#include "tool.h"

#include <pthread.h>

#define PERF_REGION "hmc-perf"
#define PERF_STAGE "hmc-perf.stage" /* the server's host memory beside the device's of PERF_REGION */
#define PERF_DOOR "hmc-perf.door"   /* the client's: the server says there that it has seen the client */
#define PERF_DEFAULT_PORT 2025
#define PERF_DEFAULT_REGION (64ull << 20)

enum { PERF_SIZES_MAX = 128, PERF_THREADS_MAX = 64, PERF_DEPTH_MAX = 4096, PERF_PEERS_MAX = 64, PERF_LAYERS_MAX = 80 };

typedef enum perf_format { PERF_TEXT, PERF_JSON, PERF_CSV } perf_format_t;

/* A list of blocks, by the name of what it is in: so many layers with two pieces each. */
typedef struct perf_blocks {
  const char *name;
  unsigned layers;
  unsigned pieces[2]; /* bytes */
} perf_blocks_t;

/* A server, as a client names it. */
typedef struct perf_target {
  const char *host;
  uint16_t port;
} perf_target_t;

typedef struct perf_options {
  perf_target_t targets[PERF_PEERS_MAX];
  unsigned target_count; /* 0: this is the server */
  const char *bind;      /* the server's address */
  uint16_t port;
  const tool_mode_t *mode; /* NULL: none is forced */
  uint64_t chunk;          /* of a chunked mode; 0: the default */
  bool self;               /* the server is forked here */
  bool once;               /* the server ends after one client */
  bool get;
  bool mix;        /* puts and gets at once */
  bool own_memory; /* of the program's own, which it registers */
  bool pinned;
  int processors[2];           /* of the client and of the server, where pinned */
  unsigned peers;              /* servers that --self forks */
  const perf_blocks_t *blocks; /* NULL: one piece */
  bool bandwidth;              /* several in flight and one figure, instead of one at a time and percentiles */
  bool verify;
  hmc_connection_type_t transport;
  hmc_memory_t memory;
  hmc_memory_t peer_memory; /* of the server that --self forks */
  uint64_t region;          /* bytes that the server offers; 0: the default, or what --self needs */
  uint64_t sizes[PERF_SIZES_MAX];
  size_t size_count;
  unsigned depth;      /* in flight per thread */
  unsigned threads;    /* of the client */
  uint64_t iterations; /* per thread; 0: go by `seconds` */
  double seconds;
  uint64_t warmup; /* operations per thread before the clock starts */
  perf_format_t format;
  bool goes_on;        /* one of several runs that make one table, and not the first */
  const char *plot;    /* the picture; NULL: none */
  const char *compare; /* a former run's lines; NULL: none */
} perf_options_t;

/* What the client does for one size. perf_move.c says which slots a thread has: no two threads touch the same byte. */
typedef struct perf_load {
  const perf_options_t *options;
  struct perf_staged *staged; /* NULL: a plain put or get */
  hmc_region_t *local;
  hmc_remote_t *remotes[PERF_PEERS_MAX];
  unsigned peer_count;
  hmc_batch_t **batches; /* by slots; NULL: there are no lists of blocks */
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
  double cpu_seconds; /* of this process, all threads, while the operations ran */
  double ratio;       /* of its bandwidth to the former run's; 0: there is none */
} perf_result_t;

typedef struct perf_names {
  const char *transport;
  char memory[32];
  char peer_memory[32];
} perf_names_t;

/* The memory at an end: `asked`, but where a mode is forced and `asked` is DEFAULT, the device that the mode is about;
 * `far` takes another one than the end beside it on this host. Answers an exit code; the text is out where the mode
 * cannot run here, and says what is missing. */
int perf_mode_memory(const perf_options_t *options, hmc_memory_t asked, bool far, hmc_memory_t *memory);

/* Serves until interrupted, or until the first client has left. `ready` is a pipe that gets the port when peers can
 * connect (-1: none; the server then says where it listens). Answers an exit code. */
int perf_serve(const perf_options_t *options, int ready);

/* Connects to all targets and measures all sizes. Answers an exit code. */
int perf_measure(const perf_options_t *options);

/* Keeps this process on the processor of its end (0: the client), where there is one. Before it has a context. */
int perf_pin(const perf_options_t *options, unsigned end);

/* As hmc_region_allocate, or of memory of the program's own. */
hmc_status_t perf_region(const perf_options_t *options, hmc_context_t *context, hmc_memory_t memory, uint64_t bytes,
                         const char *name, unsigned rights, hmc_region_t **region);

/* The peer of a slot, and whether its operations are gets. */
hmc_remote_t *perf_remote(const perf_load_t *load, uint64_t slot);
bool perf_is_get(const perf_load_t *load, uint64_t slot);

/* Moves the bytes of a slot, past all stages, or begins to. */
hmc_status_t perf_move(const perf_load_t *load, uint64_t slot, bool get);
hmc_status_t perf_start(const perf_load_t *load, uint64_t slot, bool get, hmc_request_t **request);

/* The list of that name, or NULL; its bytes; the batches of a load, which are made once for all operations. */
const perf_blocks_t *perf_blocks_find(const char *name);
uint64_t perf_blocks_bytes(const perf_blocks_t *blocks);
int perf_blocks_make(perf_load_t *load);
void perf_blocks_free(perf_load_t *load);

/* Runs one load on all threads. Answers an exit code; the text is out when it is not TOOL_DONE. */
int perf_run(const perf_load_t *load, perf_result_t *result);

/* Prepares the bytes before perf_run and compares them after it, every slot of every thread that was used. The load
 * must have as many remote slots as depth. Answers an exit code. */
int perf_verify_prepare(const perf_load_t *load);
int perf_verify_compare(const perf_load_t *load);

/* The client's end of a staged mode; for one thread, one transfer at a time. */
typedef struct perf_staged perf_staged_t;

/* Makes the host memory beside `device` at both ends, for transfers of up to `bytes`. The greeting must have been
 * received. Answers an exit code. */
int perf_staged_open(const perf_options_t *options, hmc_context_t *context, hmc_peer_t *peer, hmc_region_t *device,
                     hmc_remote_t *far, uint64_t bytes, perf_staged_t **staged);
void perf_staged_close(perf_staged_t *staged);

/* One transfer of `bytes`, complete when it returns. On a failure perf_staged_error has the text. */
hmc_status_t perf_staged_move(perf_staged_t *staged, uint64_t bytes);
const char *perf_staged_error(const perf_staged_t *staged);

/* The server's end: answers orders. `lock` guards the clients and is taken while an order is answered; `find_door`
 * answers, under it, where that peer reads its answers, or NULL when it is not a client (any more). */
typedef struct perf_orders perf_orders_t;
typedef hmc_remote_t *(*perf_find_door_t)(void *user, const hmc_peer_t *peer);
int perf_orders_open(hmc_context_t *context, hmc_region_t *device, pthread_mutex_t *lock, perf_find_door_t find_door,
                     void *user, perf_orders_t **orders);
void perf_orders_close(perf_orders_t *orders); /* without the lock; before the context goes */

/* What travels in notifications: orders "stage N", "load N OFFSET LENGTH" and "store N OFFSET LENGTH", answers "done N"
 * and "failed N TEXT". N is the client's number of the order. */
typedef enum perf_order_kind {
  PERF_ORDER_STAGE = 1, /* have a stage as large as the region */
  PERF_ORDER_LOAD,      /* copy from the device to the stage */
  PERF_ORDER_STORE,     /* copy from the stage to the device */
  PERF_ORDER_DONE,
  PERF_ORDER_FAILED,
} perf_order_kind_t;

typedef struct perf_order {
  perf_order_kind_t kind;
  uint64_t number, offset, length;
  char text[512]; /* FAILED: why */
} perf_order_t;

/* Writes an order or answer as text with its end; answers the bytes to send, the end not among them. */
size_t perf_order_format(const perf_order_t *order, char *text, size_t size);

/* Reads `size` bytes that need no end. False, and *order untouched, when they are neither order nor answer. */
bool perf_order_parse(const char *text, size_t size, perf_order_t *order);

/* Sends one to the peer whose region `door` is, and waits until it is there. */
hmc_status_t perf_order_send(hmc_region_t *any, hmc_remote_t *door, const perf_order_t *order);

/* perf_plot.c: whether a picture of that name can be made, else false with a text; a line per name, dashed for a former
 * run; then the picture. */
bool perf_plot_check(const char *path);
void perf_plot_add(const char *name, bool former, const perf_result_t *result);
int perf_plot_write(const char *path);

/* perf_compare.c: reads the former run; the ratio to it, which adds its line to the plot, too. */
int perf_compare_read(const char *path);
double perf_compare_ratio(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result);

void perf_report_begin(const perf_options_t *options, const perf_names_t *names);
/* How long it took until the first operation could start, and the first of all took. */
void perf_report_first(const perf_options_t *options, double connect_seconds, double first_seconds);
void perf_report(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result);
/* A bar on a terminal, while the size with that number is measured; perf_report wipes it off. */
void perf_report_progress(const perf_options_t *options, size_t number);
/* "put", "get" or "mix". */
const char *perf_operation(const perf_options_t *options);

#endif
