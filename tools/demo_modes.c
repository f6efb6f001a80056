/* The same bytes in each mode (mode.h), between the two processes as between two hosts: by RDMA where that works, else
 * by TCP. The receiver takes all steps; what the holder has to copy, the receiver asks it to. */
#include "demo.h"

#include <string.h>

#define CHUNK (1ull << 20) /* of the mode that moves one after the other */

typedef struct transport {
  demo_receiver_t *receiver;
  const tool_mode_t *mode;
  demo_progress_t progress;
  hmc_remote_t *stage; /* the holder's */
  int code;            /* of a step that is not the library's */
  char why[DEMO_WHY];  /* a step of the library failed */
} transport_t;

static hmc_status_t load(void *user, uint64_t offset, uint64_t length) {
  transport_t *transport = user;
  transport->code =
      demo_order(transport->receiver, &(demo_message_t){.kind = DEMO_LOAD, .offset = offset, .bytes = length}, NULL);
  demo_progress_add(&transport->progress, length);
  return transport->code == TOOL_DONE ? HMC_SUCCESS : HMC_ERROR;
}

static hmc_status_t carry(void *user, uint64_t offset, uint64_t length) {
  transport_t *transport = user;
  const demo_receiver_t *receiver = transport->receiver;
  bool by_stage = transport->mode->is_staged || transport->mode->is_host;
  return demo_transfer(by_stage ? receiver->stage : receiver->sink, by_stage ? transport->stage : receiver->source,
                       true, offset, length, &transport->progress, transport->why);
}

static hmc_status_t store(void *user, uint64_t offset, uint64_t length) {
  transport_t *transport = user;
  const demo_receiver_t *receiver = transport->receiver;
  demo_progress_add(&transport->progress, length);
  hmc_status_t status = hmc_memory_copy(
      (unsigned char *)hmc_region_pointer(receiver->sink) + offset, hmc_region_memory(receiver->sink),
      (const unsigned char *)hmc_region_pointer(receiver->stage) + offset, (hmc_memory_t){HMC_MEMORY_CPU, 0}, length);
  if (status != HMC_SUCCESS) snprintf(transport->why, sizeof transport->why, "copying here: %s", hmc_last_error());
  return status;
}

/* One round. What a mode between the hosts' memories finds in the holder's is not part of its time. */
static int move(demo_receiver_t *receiver, const demo_row_t *row, const char *label, double *seconds) {
  transport_t transport = {.receiver = receiver, .mode = row->mode};
  const tool_steps_t steps = {.user = &transport, .load = load, .carry = carry, .store = store};
  uint64_t bytes = receiver->held.bytes;
  hmc_status_t status = HMC_SUCCESS;
  if (row->mode->is_staged || row->mode->is_host) {
    int code = demo_clear(receiver, receiver->stage);
    if (code == TOOL_DONE && row->mode->is_host)
      code = demo_order(receiver, &(demo_message_t){.kind = DEMO_LOAD, .bytes = bytes}, NULL);
    if (code != TOOL_DONE) return code;
    status = hmc_remote_open(receiver->peer, DEMO_STAGE, 0, &transport.stage);
    if (status != HMC_SUCCESS) return tool_fail_hmc("the holder's stage", status);
  }
  demo_progress_begin(&transport.progress, label, bytes, row->mode->is_staged ? 3 : 1);
  double begin = tool_clock();
  status = tool_mode_move(row->mode, &steps, bytes, CHUNK);
  *seconds = tool_clock() - begin;
  demo_progress_end(&transport.progress);
  hmc_remote_close(transport.stage);
  if (transport.code != TOOL_DONE) return transport.code;
  return status == HMC_SUCCESS ? TOOL_DONE : tool_fail("%s: %s", label, transport.why);
}

static int make_stages(demo_receiver_t *receiver) {
  hmc_status_t status = hmc_region_allocate(receiver->context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, receiver->held.bytes,
                                            NULL, 0, &receiver->stage);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the receiver's stage in host memory", status);
  return demo_order(receiver, &(demo_message_t){.kind = DEMO_MAKE}, NULL);
}

/* Reaches the holder by `route`; false, with the reason, where that does not work. */
static bool reach(demo_receiver_t *receiver, hmc_connection_type_t route, char *reason, size_t size) {
  if (receiver->route == route) return true;
  if (hmc_connection_type_probe(route, reason, size) != HMC_SUCCESS) return false;
  hmc_status_t status = demo_take_route(receiver, route);
  if (status != HMC_SUCCESS)
    snprintf(reason, size, "%s", hmc_last_error()[0] ? hmc_last_error() : hmc_status_text(status));
  return status == HMC_SUCCESS;
}

static int run_mode(demo_receiver_t *receiver, const tool_mode_t *mode, hmc_connection_type_t route) {
  const char *name = hmc_connection_type_name(route);
  char reason[512], line[576];
  if (!reach(receiver, route, reason, sizeof reason)) {
    if (mode->type == HMC_CONNECTION_AUTO) return tool_fail("%s: %s", name, reason);
    int column = printf("%-5s %-8s ", name, mode->name);
    snprintf(line, sizeof line, "not here: %s", reason);
    demo_print_wrapped(line, strlen(line), (unsigned)column, (unsigned)column);
    return TOOL_DONE;
  }
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  return demo_run_row(receiver, &(demo_row_t){.route = name,
                                              .name = mode->name,
                                              .from = mode->is_host ? cpu : receiver->held.memory,
                                              .target = mode->is_host ? receiver->stage : receiver->sink,
                                              .move = move,
                                              .mode = mode});
}

int demo_run_modes(demo_receiver_t *receiver) {
  size_t count;
  const tool_mode_t *modes = tool_modes(&count);
  char reason[512];
  hmc_connection_type_t network =
      reach(receiver, HMC_CONNECTION_RDMA, reason, sizeof reason) ? HMC_CONNECTION_RDMA : HMC_CONNECTION_TCP;
  demo_print_header("mode");
  int code = make_stages(receiver);
  for (size_t i = 0; i < count && code == TOOL_DONE; i++)
    code = run_mode(receiver, &modes[i], modes[i].type == HMC_CONNECTION_AUTO ? network : modes[i].type);
  fflush(stdout);
  return code;
}
