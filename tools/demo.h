/* The parts of hmc-demo.
 *
 * Two processes. The holder (demo_holder.c) reads the file into its accelerator and offers it; the receiver
 * (demo_receiver.c) gets it into its own accelerator, or has the holder put it there, and compares the SHA-256 of what
 * arrived (demo_check.c) with the one that the holder took while reading. demo_modes.c does the same in each mode of
 * mode.h, the holder copying to host memory beside its accelerator where a mode wants that. The two agree on what comes
 * next over a socket pair, one message each way; the file's bytes travel through HMC alone. */
#ifndef HMC_DEMO_H
#define HMC_DEMO_H

#include "mode.h"
#include "tool.h"

#define DEMO_SOURCE "hmc-demo.source"
#define DEMO_STAGE "hmc-demo.stage" /* the holder's host memory beside the accelerator */
#define DEMO_SINK "hmc-demo.sink"
#define DEMO_CHUNK (4ull << 20)

enum { DEMO_DIGEST = 32, DEMO_IN_FLIGHT = 8 };

typedef enum demo_kind {
  DEMO_HOLD = 1, /* receiver -> holder: read the file into `memory` */
  DEMO_READY,    /* holder -> receiver: `port`, `bytes`, `digest`, `memory` */
  DEMO_ROUTE,    /* receiver -> holder: I am connected: take me up; the sink is open for you */
  DEMO_PUT,      /* receiver -> holder: put the file into the sink; `text` labels the progress bar */
  DEMO_MAKE,     /* receiver -> holder: have a stage, for modes that want one */
  DEMO_LOAD,     /* receiver -> holder: copy `bytes` at `offset` from the accelerator to the stage */
  DEMO_DONE,     /* holder -> receiver: that is done; `seconds` */
  DEMO_FAILED,   /* holder -> receiver: it is over; `text` says why */
} demo_kind_t;

typedef struct demo_message {
  demo_kind_t kind;
  uint16_t port;
  uint64_t offset, bytes;
  double seconds;
  hmc_memory_t memory;
  unsigned char digest[DEMO_DIGEST];
  char text[512];
} demo_message_t;

/* What the command line said. */
typedef struct demo_options {
  const char *file;
  hmc_memory_kind_t kind; /* DEFAULT: an accelerator if there is one, else sim */
  unsigned rounds;        /* 0: five, fewer when they take long */
} demo_options_t;

/* Sends or receives one message; false when the other process is gone. */
bool demo_send(int socket, const demo_message_t *message);
bool demo_receive(int socket, demo_message_t *message);

/* One line on stderr that shows how far something is; nothing where stderr is not a terminal. What takes several
 * `steps` one after the other adds the bytes of each. */
typedef struct demo_progress {
  const char *label;
  uint64_t total, done; /* bytes of all steps */
  unsigned steps;
  double begin, drawn;
  bool shown;
} demo_progress_t;

void demo_progress_begin(demo_progress_t *progress, const char *label, uint64_t bytes, unsigned steps);
void demo_progress_add(demo_progress_t *progress, uint64_t bytes);
void demo_progress_end(demo_progress_t *progress);

/* Moves `length` bytes at `offset` between `local` and `remote`, in chunks with several in flight. Where that fails,
 * `why` says what the library said of the chunk that failed. */
enum { DEMO_WHY = 400 };
hmc_status_t demo_transfer(hmc_region_t *local, hmc_remote_t *remote, bool get, uint64_t offset, uint64_t length,
                           demo_progress_t *progress, char why[DEMO_WHY]);

/* The receiving end. Functions that answer an exit code have put out their text where it is not TOOL_DONE. */
typedef struct demo_receiver {
  int socket;
  const demo_options_t *options;
  demo_message_t held; /* what the holder said: bytes, digest, port, memory */
  hmc_context_t *context;
  hmc_region_t *sink;
  hmc_region_t *stage; /* host memory beside the sink; NULL: not made */
  hmc_peer_t *peer;
  hmc_connection_type_t route; /* of the peer; AUTO: there is none */
  hmc_remote_t *source;
  unsigned char *piece; /* DEMO_CHUNK bytes of host memory */
} demo_receiver_t;

/* Connects by one way, both directions, in place of the former one. What fails leaves its text in hmc_last_error. */
hmc_status_t demo_take_route(demo_receiver_t *receiver, hmc_connection_type_t route);

/* Sends `order`, and waits until the holder has done it; `done` (may be NULL) gets its answer. */
int demo_order(demo_receiver_t *receiver, const demo_message_t *order, demo_message_t *done);

/* One row of a table: its rounds, each checked, and its line. `move` does one round; `target` gets the bytes. */
typedef struct demo_row {
  const char *route, *name; /* the first two columns */
  hmc_memory_t from;
  hmc_region_t *target;
  int (*move)(demo_receiver_t *receiver, const struct demo_row *row, const char *label, double *seconds);
  const tool_mode_t *mode; /* what `move` may want to know */
  bool get;
} demo_row_t;

void demo_print_header(const char *second);
int demo_run_row(demo_receiver_t *receiver, const demo_row_t *row);

/* Overwrites the region, so that no round passes with the bytes of the one before. */
int demo_clear(demo_receiver_t *receiver, hmc_region_t *region);

/* Are the bytes in the region the file's? Their SHA-256 says. */
int demo_verify(demo_receiver_t *receiver, hmc_region_t *region, const char *label);
void demo_format_digest(const unsigned char *digest, char text[2 * DEMO_DIGEST + 1]);

/* The table of modes. */
int demo_run_modes(demo_receiver_t *receiver);

/* Prints text that begins in column `column` (from 0) in lines as wide as the terminal, the further ones indented by
 * `indent`. */
void demo_print_wrapped(const char *text, size_t length, unsigned column, unsigned indent);

/* The child's life; answers its exit code. */
int demo_hold(int socket, const char *file);

/* The parent's part; answers the program's exit code. */
int demo_receive_file(int socket, const demo_options_t *options);

#endif
