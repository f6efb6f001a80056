/* The process that receives the file, by each way of this host in turn, and prints what came of it. */
#include "demo.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { ROUNDS = 5, ROUNDS_MAX = 1000 };
#define ENOUGH_SECONDS 2.0 /* no further round of a row after that, unless the rounds were asked for */

enum { EXPLAINED = 2048 };

int demo_order(demo_receiver_t *receiver, const demo_message_t *order, demo_message_t *done) {
  demo_message_t answer;
  demo_kind_t due = order->kind == DEMO_HOLD ? DEMO_READY : DEMO_DONE;
  if (!demo_send(receiver->socket, order) || !demo_receive(receiver->socket, &answer))
    return tool_fail("the process that holds the file ended and did not say why");
  if (answer.kind == DEMO_FAILED) return tool_fail("%s", answer.text);
  if (answer.kind != due) return tool_fail("the two processes are out of step");
  if (done) *done = answer;
  return TOOL_DONE;
}

static int set_up(demo_receiver_t *receiver, hmc_memory_t memory) {
  hmc_status_t status = hmc_context_create(
      &(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "hmc-demo receiver"}, &receiver->context);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the receiver's context", status);
  status = hmc_region_allocate(receiver->context, memory, receiver->held.bytes, DEMO_SINK, HMC_REMOTE_WRITE,
                               &receiver->sink);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the receiver's memory", status);
  receiver->piece = malloc(DEMO_CHUNK);
  return receiver->piece ? TOOL_DONE : tool_fail("out of memory");
}

hmc_status_t demo_take_route(demo_receiver_t *receiver, hmc_connection_type_t route) {
  hmc_peer_close(receiver->peer);
  receiver->peer = NULL;
  receiver->route = HMC_CONNECTION_AUTO;
  hmc_status_t status =
      hmc_context_connect(receiver->context, "127.0.0.1", receiver->held.port, route, 0, &receiver->peer);
  if (status == HMC_SUCCESS) status = hmc_remote_open(receiver->peer, DEMO_SOURCE, 0, &receiver->source);
  if (status == HMC_SUCCESS) receiver->route = route;
  return status;
}

static int transfer(demo_receiver_t *receiver, const demo_row_t *row, const char *label, double *seconds) {
  if (!row->get) {
    demo_message_t order = {.kind = DEMO_PUT}, done = {0};
    snprintf(order.text, sizeof order.text, "%s", label);
    int code = demo_order(receiver, &order, &done);
    *seconds = code == TOOL_DONE ? done.seconds : 0;
    return code;
  }
  demo_progress_t progress;
  char why[DEMO_WHY];
  demo_progress_begin(&progress, label, receiver->held.bytes, 1);
  double begin = tool_clock();
  hmc_status_t status = demo_transfer(receiver->sink, receiver->source, true, 0, receiver->held.bytes, &progress, why);
  *seconds = tool_clock() - begin;
  demo_progress_end(&progress);
  return status == HMC_SUCCESS ? TOOL_DONE : tool_fail("%s: %s", label, why);
}

static int compare_doubles(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

/* 80 columns. */
void demo_print_header(const char *second) {
  printf("\n%-5s %-8s %-20s %10s %6s %9s %7s %s\n", "route", second, "memory", "bytes", "rounds", "median", "GB/s",
         "verified");
  fflush(stdout);
}

static void print_row(const demo_receiver_t *receiver, const demo_row_t *row, unsigned rounds, double seconds) {
  char from[32], to[32], memories[72], time[32];
  tool_format_memory(row->from, from, sizeof from);
  tool_format_memory(hmc_region_memory(row->target), to, sizeof to);
  snprintf(memories, sizeof memories, "%s -> %s", from, to);
  snprintf(time, sizeof time,
           seconds < 1e-3 ? "%.1f us"
           : seconds < 1  ? "%.2f ms"
                          : "%.2f s",
           seconds < 1e-3 ? seconds * 1e6
           : seconds < 1  ? seconds * 1e3
                          : seconds);
  printf("%-5s %-8s %-20s %10llu %6u %9s %7.3f sha256\n", row->route, row->name, memories,
         (unsigned long long)receiver->held.bytes, rounds, time, (double)receiver->held.bytes / seconds / 1e9);
  fflush(stdout);
}

int demo_run_row(demo_receiver_t *receiver, const demo_row_t *row) {
  unsigned asked = receiver->options->rounds, wanted = asked ? asked : ROUNDS, done = 0;
  double times[ROUNDS_MAX], begin = tool_clock();
  while (done < wanted && (done == 0 || asked || tool_clock() - begin < ENOUGH_SECONDS)) {
    char moving[64], checking[64];
    snprintf(moving, sizeof moving, "%s %s, round %u of %u", row->route, row->name, done + 1, wanted);
    snprintf(checking, sizeof checking, "%s %s, checking", row->route, row->name);
    int code = demo_clear(receiver, row->target);
    if (code == TOOL_DONE) code = row->move(receiver, row, moving, &times[done]);
    if (code == TOOL_DONE) code = demo_verify(receiver, row->target, checking);
    if (code != TOOL_DONE) return code;
    done++;
  }
  qsort(times, done, sizeof *times, compare_doubles);
  print_row(receiver, row, done, times[done / 2]);
  return TOOL_DONE;
}

static void print_file(const demo_receiver_t *receiver) {
  char size[32], digest[2 * DEMO_DIGEST + 1];
  tool_format_bytes(receiver->held.bytes, size, sizeof size);
  demo_format_digest(receiver->held.digest, digest);
  printf("file    %s (%s)\nsha256  %s\n", receiver->options->file, size, digest);
}

static unsigned line_width(void) {
  struct winsize window;
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) != 0 || window.ws_col == 0) return 80;
  return window.ws_col < 60 ? 60 : window.ws_col > 120 ? 120 : window.ws_col;
}

void demo_print_wrapped(const char *text, size_t length, unsigned column, unsigned indent) {
  unsigned width = line_width();
  bool fresh = true; /* nothing of the text on this line yet */
  for (size_t at = 0; at < length;) {
    size_t word = at;
    while (word < length && text[word] != ' ') word++;
    unsigned size = (unsigned)(word - at);
    if (!fresh && column + 1 + size > width) {
      printf("\n%*s", (int)indent, "");
      column = indent;
      fresh = true;
    }
    column += (unsigned)printf("%s%.*s", fresh ? "" : " ", (int)size, text + at);
    fresh = false;
    at = word + (word < length);
  }
  putchar('\n');
}

/* The library's own words, indented. */
static void print_explained(hmc_connection_type_t route, const char *explained) {
  printf("\n%s:\n", hmc_connection_type_name(route));
  for (const char *line = explained; *line; line += strspn(line, "\n")) {
    size_t length = strcspn(line, "\n"), spaces = strspn(line, " ");
    printf("%*s", (int)(2 + spaces), "");
    demo_print_wrapped(line + spaces, length - spaces, (unsigned)(2 + spaces), (unsigned)(4 + spaces));
    line += length;
  }
}

/* Both operations by one way. One that does not work here leaves `explained` empty; shm and tcp always do. */
static int run_route(demo_receiver_t *receiver, hmc_connection_type_t route, char explained[EXPLAINED]) {
  const char *name = hmc_connection_type_name(route);
  hmc_status_t status = hmc_connection_type_probe(route, NULL, 0);
  if (status == HMC_SUCCESS) status = demo_take_route(receiver, route);
  if (status == HMC_SUCCESS) status = hmc_peer_explain(receiver->peer, explained, EXPLAINED, NULL);
  if (status != HMC_SUCCESS)
    return route == HMC_CONNECTION_RDMA || route == HMC_CONNECTION_UCX ? TOOL_DONE : tool_fail_hmc(name, status);
  int code = demo_order(receiver, &(demo_message_t){.kind = DEMO_ROUTE}, NULL);
  for (int get = 1; get >= 0 && code == TOOL_DONE; get--)
    code = demo_run_row(receiver, &(demo_row_t){.route = name,
                                                .name = get ? "get" : "put",
                                                .from = receiver->held.memory,
                                                .target = receiver->sink,
                                                .move = transfer,
                                                .get = get});
  return code;
}

static int run(demo_receiver_t *receiver) {
  static char explained[TOOL_TYPES][EXPLAINED];
  hmc_memory_t from, to;
  hmc_status_t status = tool_choose_devices(receiver->options->kind, &from, &to);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the memory", status);
  int code = demo_order(receiver, &(demo_message_t){.kind = DEMO_HOLD, .memory = from}, &receiver->held);
  if (code == TOOL_DONE) code = set_up(receiver, to);
  if (code != TOOL_DONE) return code;
  print_file(receiver);
  demo_print_header("op");
  /* Those that do not work here are passed over: the table of modes says why. */
  for (size_t i = 1; i < TOOL_TYPES && code == TOOL_DONE; i++) code = run_route(receiver, tool_types[i], explained[i]);
  if (code == TOOL_DONE) code = demo_run_modes(receiver);
  for (size_t i = 1; i < TOOL_TYPES && code == TOOL_DONE; i++)
    if (explained[i][0]) print_explained(tool_types[i], explained[i]);
  return code;
}

int demo_receive_file(int socket, const demo_options_t *options) {
  demo_receiver_t receiver = {.socket = socket, .options = options};
  int code = run(&receiver);
  hmc_context_destroy(receiver.context);
  free(receiver.piece);
  return code;
}
