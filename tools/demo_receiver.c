/* The process that receives the file, by each route in turn, and prints what came of it. */
#include "demo.h"

#include <openssl/evp.h>

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 5, ROUNDS_MAX = 1000, ROWS_MAX = 8 };
#define ENOUGH_SECONDS 10.0 /* no further round of a row after that, unless the rounds were asked for */

static const hmc_connection_type_t routes[] = {HMC_CONNECTION_SHM, HMC_CONNECTION_TCP};
enum { ROUTES = sizeof routes / sizeof routes[0] };

/* When the holder puts, this process's service thread may write the sink. What keeps that apart from the two functions
 * named below are messages through the holder, which the thread sanitizer does not see: it looks into one process. */
#ifdef __SANITIZE_THREAD__
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void) { return "race:^clear_sink$\nrace:^digest_sink$\n"; }
#endif

typedef struct receiver {
  int socket;
  const demo_options_t *options;
  demo_message_t held; /* what the holder said: bytes, digest, port, memory */
  hmc_context_t *context;
  hmc_region_t *sink;
  hmc_peer_t *peer;
  hmc_remote_t *source;
  unsigned char *piece; /* DEMO_CHUNK bytes of host memory */
  char explained[ROUTES][2048];
} receiver_t;

/* The holder's answer, of the kind that is due. */
static int await(receiver_t *receiver, demo_kind_t kind, demo_message_t *message) {
  if (!demo_receive(receiver->socket, message))
    return tool_fail("the process that holds the file has ended without a word");
  if (message->kind == DEMO_FAILED)
    return tool_fail("%s", message->text);
  return message->kind == kind ? TOOL_DONE : tool_fail("the two processes have lost step");
}

static int tell(receiver_t *receiver, const demo_message_t *message) {
  return demo_send(receiver->socket, message) ? TOOL_DONE : tool_fail("the process that holds the file has ended");
}

/* The memory for both ends: what was asked for, else a real accelerator, else the one in software. */
static int choose_memory(const demo_options_t *options, hmc_memory_t *from, hmc_memory_t *to) {
  int devices;
  hmc_memory_t memory = {options->kind, 0};
  hmc_status_t status = hmc_memory_resolve(memory, &memory);
  if (status == HMC_SUCCESS && options->kind == HMC_MEMORY_DEFAULT && memory.kind == HMC_MEMORY_CPU) {
    memory.kind = HMC_MEMORY_SIM;
    status = hmc_memory_resolve(memory, &memory);
  }
  if (status == HMC_SUCCESS)
    status = hmc_memory_devices(memory.kind, &devices);
  if (status != HMC_SUCCESS)
    return tool_fail_hmc("the memory", status);
  *from = memory;
  *to = (hmc_memory_t){memory.kind, devices > 1 ? 1 : 0};
  return TOOL_DONE;
}

static int set_up(receiver_t *receiver, hmc_memory_t memory) {
  hmc_status_t status = hmc_context_create(&(hmc_context_options_t){.name = "hmc-demo receiver"}, &receiver->context);
  if (status != HMC_SUCCESS)
    return tool_fail_hmc("the receiver's context", status);
  status = hmc_region_allocate(receiver->context, memory, receiver->held.bytes, DEMO_SINK, HMC_REMOTE_WRITE,
                               &receiver->sink);
  if (status != HMC_SUCCESS)
    return tool_fail_hmc("the receiver's memory", status);
  receiver->piece = malloc(DEMO_CHUNK);
  return receiver->piece ? TOOL_DONE : tool_fail("out of memory");
}

/* Connects by one route, both ways, in place of the former one. */
static int take_route(receiver_t *receiver, size_t index) {
  const char *name = hmc_connection_type_name(routes[index]);
  hmc_peer_close(receiver->peer);
  receiver->peer = NULL;
  hmc_status_t status =
      hmc_context_connect(receiver->context, "127.0.0.1", receiver->held.port, routes[index], 0, &receiver->peer);
  if (status == HMC_SUCCESS)
    status = hmc_remote_open(receiver->peer, DEMO_SOURCE, 0, &receiver->source);
  if (status == HMC_SUCCESS)
    status = hmc_peer_explain(receiver->peer, receiver->explained[index], sizeof receiver->explained[index], NULL);
  if (status != HMC_SUCCESS)
    return tool_fail_hmc(name, status);
  demo_message_t answer;
  int code = tell(receiver, &(demo_message_t){.kind = DEMO_ROUTE});
  return code == TOOL_DONE ? await(receiver, DEMO_DONE, &answer) : code;
}

/* So that no round passes with the bytes of the one before. */
static int clear_sink(receiver_t *receiver) {
  hmc_memory_t memory = hmc_region_memory(receiver->sink);
  unsigned char *device = hmc_region_pointer(receiver->sink);
  memset(receiver->piece, 0xa5, DEMO_CHUNK);
  for (uint64_t offset = 0; offset < receiver->held.bytes; offset += DEMO_CHUNK) {
    uint64_t left = receiver->held.bytes - offset;
    hmc_status_t status = hmc_memory_copy(device + offset, memory, receiver->piece, (hmc_memory_t){HMC_MEMORY_CPU, 0},
                                          left < DEMO_CHUNK ? left : DEMO_CHUNK);
    if (status != HMC_SUCCESS)
      return tool_fail_hmc("clearing the receiver's memory", status);
  }
  return TOOL_DONE;
}

/* The digest of what lies in the receiver's accelerator. */
static int digest_sink(receiver_t *receiver, const char *label, EVP_MD_CTX *digest, unsigned char *result) {
  demo_progress_t progress;
  demo_progress_begin(&progress, label, receiver->held.bytes);
  hmc_memory_t memory = hmc_region_memory(receiver->sink);
  const unsigned char *device = hmc_region_pointer(receiver->sink);
  int code = EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 ? TOOL_DONE : tool_fail("SHA-256 does not work here");
  for (uint64_t offset = 0; code == TOOL_DONE && offset < receiver->held.bytes; offset += DEMO_CHUNK) {
    uint64_t left = receiver->held.bytes - offset, length = left < DEMO_CHUNK ? left : DEMO_CHUNK;
    hmc_status_t status =
        hmc_memory_copy(receiver->piece, (hmc_memory_t){HMC_MEMORY_CPU, 0}, device + offset, memory, length);
    if (status != HMC_SUCCESS)
      code = tool_fail_hmc("reading the receiver's memory", status);
    else if (EVP_DigestUpdate(digest, receiver->piece, length) != 1)
      code = tool_fail("SHA-256 failed");
    demo_progress_update(&progress, offset + length);
  }
  if (code == TOOL_DONE && EVP_DigestFinal_ex(digest, result, NULL) != 1)
    code = tool_fail("SHA-256 failed");
  demo_progress_end(&progress);
  return code;
}

static void format_digest(const unsigned char *digest, char *text) {
  for (size_t i = 0; i < DEMO_DIGEST; i++)
    snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

static int verify(receiver_t *receiver, const char *label) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  int code = context ? digest_sink(receiver, label, context, digest) : tool_fail("out of memory");
  EVP_MD_CTX_free(context);
  if (code != TOOL_DONE || memcmp(digest, receiver->held.digest, DEMO_DIGEST) == 0)
    return code;
  char arrived[2 * DEMO_DIGEST + 1];
  format_digest(digest, arrived);
  return tool_fail("%s: WRONG BYTES ARRIVED: their SHA-256 is %s", label, arrived);
}

static int transfer(receiver_t *receiver, bool get, const char *label, double *seconds) {
  if (get) {
    hmc_status_t status = demo_transfer(receiver->sink, receiver->source, true, label, seconds);
    return status == HMC_SUCCESS ? TOOL_DONE : tool_fail_hmc(label, status);
  }
  demo_message_t order = {.kind = DEMO_PUT}, done;
  snprintf(order.text, sizeof order.text, "%s", label);
  int code = tell(receiver, &order);
  if (code == TOOL_DONE)
    code = await(receiver, DEMO_DONE, &done);
  if (code == TOOL_DONE)
    *seconds = done.seconds;
  return code;
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void print_header(void) {
  printf("%-6s %-4s %-22s %14s %7s %12s %9s  %s\n", "route", "op", "memory", "bytes", "rounds", "median", "GB/s",
         "verified");
  fflush(stdout);
}

static void print_row(const receiver_t *receiver, const char *route, bool get, unsigned rounds, double seconds) {
  char from[32], to[32], memories[72], time[32];
  tool_format_memory(receiver->held.memory, from, sizeof from);
  tool_format_memory(hmc_region_memory(receiver->sink), to, sizeof to);
  snprintf(memories, sizeof memories, "%s -> %s", from, to);
  snprintf(time, sizeof time,
           seconds < 1e-3 ? "%.1f us"
           : seconds < 1  ? "%.2f ms"
                          : "%.2f s",
           seconds < 1e-3 ? seconds * 1e6
           : seconds < 1  ? seconds * 1e3
                          : seconds);
  printf("%-6s %-4s %-22s %14llu %7u %12s %9.3f  sha256\n", route, get ? "get" : "put", memories,
         (unsigned long long)receiver->held.bytes, rounds, time, (double)receiver->held.bytes / seconds / 1e9);
  fflush(stdout);
}

/* All rounds of one row of the table. */
static int run_row(receiver_t *receiver, const char *route, bool get) {
  unsigned wanted = receiver->options->rounds ? receiver->options->rounds : ROUNDS, done = 0;
  double times[ROUNDS_MAX], begin = tool_clock();
  while (done < wanted && (done == 0 || receiver->options->rounds || tool_clock() - begin < ENOUGH_SECONDS)) {
    char moving[64], checking[64];
    snprintf(moving, sizeof moving, "%s %s, round %u of %u", route, get ? "get" : "put", done + 1, wanted);
    snprintf(checking, sizeof checking, "%s %s, checking", route, get ? "get" : "put");
    int code = clear_sink(receiver);
    if (code == TOOL_DONE)
      code = transfer(receiver, get, moving, &times[done]);
    if (code == TOOL_DONE)
      code = verify(receiver, checking);
    if (code != TOOL_DONE)
      return code;
    done++;
  }
  qsort(times, done, sizeof *times, compare_doubles);
  print_row(receiver, route, get, done, times[done / 2]);
  return TOOL_DONE;
}

static void print_file(const receiver_t *receiver) {
  char size[32], digest[2 * DEMO_DIGEST + 1];
  tool_format_bytes(receiver->held.bytes, size, sizeof size);
  format_digest(receiver->held.digest, digest);
  printf("file    %s (%s)\nsha256  %s\n\n", receiver->options->file, size, digest);
}

/* The library's own words, indented. */
static void print_explained(const receiver_t *receiver) {
  for (size_t i = 0; i < ROUTES; i++) {
    printf("\n%s:\n", hmc_connection_type_name(routes[i]));
    for (const char *line = receiver->explained[i]; *line; line += strspn(line, "\n")) {
      int length = (int)strcspn(line, "\n");
      printf("  %.*s\n", length, line);
      line += length;
    }
  }
}

static int run(receiver_t *receiver) {
  hmc_memory_t from = {HMC_MEMORY_DEFAULT, 0}, to = from;
  int code = choose_memory(receiver->options, &from, &to);
  if (code == TOOL_DONE)
    code = tell(receiver, &(demo_message_t){.kind = DEMO_HOLD, .memory = from});
  if (code == TOOL_DONE)
    code = await(receiver, DEMO_READY, &receiver->held);
  if (code == TOOL_DONE)
    code = set_up(receiver, to);
  if (code != TOOL_DONE)
    return code;
  print_file(receiver);
  print_header();
  for (size_t i = 0; i < ROUTES && code == TOOL_DONE; i++) {
    code = take_route(receiver, i);
    for (int get = 1; get >= 0 && code == TOOL_DONE; get--)
      code = run_row(receiver, hmc_connection_type_name(routes[i]), get);
  }
  if (code == TOOL_DONE)
    print_explained(receiver);
  return code;
}

int demo_receive_file(int socket, const demo_options_t *options) {
  receiver_t receiver = {.socket = socket, .options = options};
  int code = run(&receiver);
  hmc_context_destroy(receiver.context);
  free(receiver.piece);
  return code;
}
