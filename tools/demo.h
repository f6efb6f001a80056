/* The parts of hmc-demo.
 *
 * Two processes. The holder (demo_holder.c) reads the file into its accelerator and lends it; the receiver
 * (demo_receiver.c) gets it into its own accelerator, or has the holder put it there, and compares the SHA-256 of what
 * arrived with the one that the holder took while reading. The two agree on what comes next over a socket pair, one
 * message each way; the file's bytes travel through HMC alone. */
#ifndef HMC_DEMO_H
#define HMC_DEMO_H

#include "tool.h"

#define DEMO_SOURCE "hmc-demo.source"
#define DEMO_SINK "hmc-demo.sink"
#define DEMO_CHUNK (4ull << 20)

enum { DEMO_DIGEST = 32, DEMO_IN_FLIGHT = 8 };

typedef enum demo_kind {
  DEMO_HOLD = 1, /* receiver -> holder: read the file into `memory` */
  DEMO_READY,    /* holder -> receiver: `port`, `bytes`, `digest`, `memory` */
  DEMO_ROUTE,    /* receiver -> holder: I am connected: take me up; the sink is open for you */
  DEMO_PUT,      /* receiver -> holder: put the file into the sink; `text` labels the progress bar */
  DEMO_DONE,     /* holder -> receiver: that is done; `seconds` */
  DEMO_FAILED,   /* holder -> receiver: it is over; `text` says why */
} demo_kind_t;

typedef struct demo_message {
  demo_kind_t kind;
  uint16_t port;
  uint64_t bytes;
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

/* One line on stderr that shows how far something is; nothing where stderr is no terminal. */
typedef struct demo_progress {
  const char *label;
  uint64_t total;
  double begin, drawn;
  bool shown;
} demo_progress_t;

void demo_progress_begin(demo_progress_t *progress, const char *label, uint64_t total);
void demo_progress_update(demo_progress_t *progress, uint64_t done);
void demo_progress_end(demo_progress_t *progress);

/* Moves all bytes of `local` to or from `remote`, in chunks with several in flight; `seconds` gets the time it took. */
hmc_status_t demo_transfer(hmc_region_t *local, hmc_remote_t *remote, bool get, const char *label, double *seconds);

/* The child's life; answers its exit code. */
int demo_hold(int socket, const char *file);

/* The parent's part; answers the program's exit code. */
int demo_receive_file(int socket, const demo_options_t *options);

#endif
