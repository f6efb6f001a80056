/* The process that holds the file: reads it into its accelerator once, then serves the receiver's routes one after the
 * other. For a get it does nothing at all; for a put it is asked when, and puts. */
#include "demo.h"

#include <openssl/evp.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COPIES = 4 }; /* of the file in this host's memory: a device in software and a stage at both ends */

typedef struct holder {
  int socket;
  const char *name; /* of the file */
  int file;
  uint64_t bytes;
  hmc_context_t *context;
  hmc_region_t *source;
  hmc_region_t *stage; /* host memory beside it; NULL: not made */
  hmc_peer_t *peer;    /* of the route in progress */
  hmc_remote_t *sink;  /* there */
  demo_message_t reply;
} holder_t;

/* The receiver prints the text: one voice for both processes. Answers false for `return`. */
static bool give_up(holder_t *holder, const char *what, const char *why) {
  demo_message_t message = {.kind = DEMO_FAILED};
  snprintf(message.text, sizeof message.text, "%s: %s", what, why);
  demo_send(holder->socket, &message);
  return false;
}

static bool open_file(holder_t *holder) {
  struct stat status;
  holder->file = open(holder->name, O_RDONLY | O_CLOEXEC);
  if (holder->file < 0 || fstat(holder->file, &status) != 0) return give_up(holder, holder->name, strerror(errno));
  if (S_ISDIR(status.st_mode)) return give_up(holder, holder->name, strerror(EISDIR));
  if (!S_ISREG(status.st_mode)) return give_up(holder, holder->name, "not a regular file: copy it into one first");
  if (status.st_size == 0) return give_up(holder, holder->name, "the file is empty: there is nothing to move");
  holder->bytes = (uint64_t)status.st_size;
  return true;
}

static bool open_region(holder_t *holder, hmc_memory_t memory, uint16_t *port) {
  if (tool_is_host_memory(memory) && holder->bytes > tool_host_bytes() / COPIES)
    return give_up(holder, holder->name, "the four copies of it that this takes do not fit into this host's memory");
  hmc_context_options_t options = {.size = sizeof(hmc_context_options_t), .name = "hmc-demo holder"};
  if (hmc_context_create(&options, &holder->context) != HMC_SUCCESS)
    return give_up(holder, "the holder's context", hmc_last_error());
  if (hmc_region_allocate(holder->context, memory, holder->bytes, DEMO_SOURCE, HMC_REMOTE_READ, &holder->source) !=
      HMC_SUCCESS)
    return give_up(holder, "the holder's memory", hmc_last_error());
  if (hmc_context_listen(holder->context, "127.0.0.1", 0, port) != HMC_SUCCESS)
    return give_up(holder, "the holder's port", hmc_last_error());
  return true;
}

/* Reads one piece at `offset` in full. */
static bool read_piece(holder_t *holder, unsigned char *piece, uint64_t offset, size_t length) {
  for (size_t used = 0; used < length;) {
    ssize_t got = pread(holder->file, piece + used, length - used, (off_t)(offset + used));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return give_up(holder, holder->name, got < 0 ? strerror(errno) : "the file became shorter while it was read");
    used += (size_t)got;
  }
  return true;
}

/* File to accelerator, piece by piece, with the digest of what was read. */
static bool load_file(holder_t *holder, EVP_MD_CTX *digest, unsigned char *piece) {
  demo_progress_t progress;
  demo_progress_begin(&progress, "reading the file", holder->bytes, 1);
  hmc_memory_t memory = hmc_region_memory(holder->source);
  unsigned char *device = hmc_region_pointer(holder->source);
  bool good = true;
  for (uint64_t offset = 0; good && offset < holder->bytes; offset += DEMO_CHUNK) {
    size_t length = holder->bytes - offset < DEMO_CHUNK ? holder->bytes - offset : DEMO_CHUNK;
    good = read_piece(holder, piece, offset, length);
    if (good && EVP_DigestUpdate(digest, piece, length) != 1)
      good = give_up(holder, "SHA-256", "the digest could not be taken");
    if (good &&
        hmc_memory_copy(device + offset, memory, piece, (hmc_memory_t){HMC_MEMORY_CPU, 0}, length) != HMC_SUCCESS)
      good = give_up(holder, "copying the file into the accelerator", hmc_last_error());
    demo_progress_add(&progress, length);
  }
  demo_progress_end(&progress);
  return good;
}

static bool load(holder_t *holder) {
  EVP_MD_CTX *digest = EVP_MD_CTX_new();
  unsigned char *piece = malloc(DEMO_CHUNK);
  bool good = digest && piece && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1;
  good = good ? load_file(holder, digest, piece) : give_up(holder, "reading the file", "out of memory");
  if (good && EVP_DigestFinal_ex(digest, holder->reply.digest, NULL) != 1)
    good = give_up(holder, "SHA-256", "the digest could not be taken");
  free(piece);
  EVP_MD_CTX_free(digest);
  return good;
}

/* The receiver has connected by another route: its sink is reached by that one from now on. */
static bool take_up(holder_t *holder) {
  hmc_peer_close(holder->peer);
  holder->peer = NULL;
  if (hmc_context_accept(holder->context, 0, &holder->peer) != HMC_SUCCESS)
    return give_up(holder, "accepting the receiver", hmc_last_error());
  if (hmc_remote_open(holder->peer, DEMO_SINK, 0, &holder->sink) != HMC_SUCCESS)
    return give_up(holder, "the receiver's region", hmc_last_error());
  return demo_send(holder->socket, &(demo_message_t){.kind = DEMO_DONE});
}

static bool put(holder_t *holder, const char *label) {
  demo_message_t done = {.kind = DEMO_DONE};
  demo_progress_t progress;
  demo_progress_begin(&progress, label, holder->bytes, 1);
  double begin = tool_clock();
  char why[DEMO_WHY];
  hmc_status_t status = demo_transfer(holder->source, holder->sink, false, 0, holder->bytes, &progress, why);
  done.seconds = tool_clock() - begin;
  demo_progress_end(&progress);
  if (status != HMC_SUCCESS) return give_up(holder, "put", why);
  return demo_send(holder->socket, &done);
}

static bool make_stage(holder_t *holder) {
  if (!holder->stage && hmc_region_allocate(holder->context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, holder->bytes,
                                            DEMO_STAGE, HMC_REMOTE_READ, &holder->stage) != HMC_SUCCESS)
    return give_up(holder, "the holder's stage in host memory", hmc_last_error());
  return demo_send(holder->socket, &(demo_message_t){.kind = DEMO_DONE});
}

static bool load_stage(holder_t *holder, uint64_t offset, uint64_t length) {
  unsigned char *stage = (unsigned char *)hmc_region_pointer(holder->stage) + offset;
  const unsigned char *device = (const unsigned char *)hmc_region_pointer(holder->source) + offset;
  tool_shared_begin();
  hmc_status_t status =
      hmc_memory_copy(stage, (hmc_memory_t){HMC_MEMORY_CPU, 0}, device, hmc_region_memory(holder->source), length);
  tool_shared_end();
  if (status != HMC_SUCCESS) return give_up(holder, "copying from the holder's accelerator", hmc_last_error());
  return demo_send(holder->socket, &(demo_message_t){.kind = DEMO_DONE});
}

static bool follow(holder_t *holder, const demo_message_t *order) {
  switch (order->kind) {
  case DEMO_ROUTE: return take_up(holder);
  case DEMO_MAKE: return make_stage(holder);
  case DEMO_LOAD: return load_stage(holder, order->offset, order->bytes);
  default: return put(holder, order->text);
  }
}

/* Until the receiver has hung up: all is done then. */
static bool serve(holder_t *holder) {
  demo_message_t order;
  while (demo_receive(holder->socket, &order))
    if (!follow(holder, &order)) return false;
  return true;
}

int demo_hold(int socket, const char *file) {
  holder_t holder = {.socket = socket, .name = file, .file = -1, .reply = {.kind = DEMO_READY}};
  demo_message_t order;
  bool good = demo_receive(socket, &order) && open_file(&holder) &&
              open_region(&holder, order.memory, &holder.reply.port) && load(&holder);
  if (good) {
    holder.reply.bytes = holder.bytes;
    holder.reply.memory = hmc_region_memory(holder.source);
    good = demo_send(socket, &holder.reply) && serve(&holder);
  }
  hmc_context_destroy(holder.context);
  if (holder.file >= 0) close(holder.file);
  return good ? TOOL_DONE : TOOL_FAILED;
}
