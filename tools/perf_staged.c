/* The client's end of a staged mode: the stage here, the steps of a transfer, and orders to the server for its half of
 * them. */
#include "perf.h"

#include <stdlib.h>
#include <string.h>

enum { LOOK_MS = 100, ANSWER_MS = 30000 };

struct perf_staged {
  const perf_options_t *options;
  hmc_context_t *context;
  hmc_peer_t *peer;
  hmc_region_t *device; /* here */
  hmc_remote_t *far;    /* the device there */
  hmc_region_t *stage;
  hmc_remote_t *far_stage;
  uint64_t orders; /* given so far: the number of the last one */
  char error[640];
};

static hmc_status_t fail(perf_staged_t *staged, hmc_status_t status, const char *what, const char *why) {
  snprintf(staged->error, sizeof staged->error, "%s: %s", what, why[0] ? why : hmc_status_text(status));
  return status;
}

/* Takes the next message; ends soon where the server is gone, because nobody who waits for messages hears of that. */
static hmc_status_t receive(perf_staged_t *staged, char *text, size_t room, size_t *size) {
  hmc_status_t status = HMC_TIMEOUT;
  for (unsigned waited = 0; status == HMC_TIMEOUT && waited < ANSWER_MS; waited += LOOK_MS) {
    hmc_peer_info_t server = HMC_PEER_INFO_INIT;
    status = hmc_notification_receive(staged->context, text, room, size, NULL, LOOK_MS);
    if (status == HMC_TIMEOUT && hmc_peer_get_info(staged->peer, &server) == HMC_SUCCESS &&
        server.state == HMC_PEER_GONE)
      return fail(staged, HMC_PEER_LOST, "the server's half", "the server is gone");
  }
  return status == HMC_SUCCESS ? status : fail(staged, status, "the server's half", hmc_last_error());
}

/* Has the server do something, and waits until it is done. Answers to orders that were given up are passed over. */
static hmc_status_t order(perf_staged_t *staged, perf_order_kind_t kind, uint64_t offset, uint64_t length) {
  perf_order_t sent = {.kind = kind, .number = ++staged->orders, .offset = offset, .length = length}, answer = {0};
  hmc_status_t status = perf_order_send(staged->device, staged->far, &sent);
  if (status != HMC_SUCCESS) return fail(staged, status, "the server's half", hmc_last_error());
  while (answer.number != sent.number) {
    char text[4096];
    size_t size;
    status = receive(staged, text, sizeof text, &size);
    if (status != HMC_SUCCESS) return status;
    if (!perf_order_parse(text, size, &answer)) answer.number = 0;
  }
  return answer.kind == PERF_ORDER_DONE ? HMC_SUCCESS : fail(staged, HMC_ERROR, "the server's half", answer.text);
}

static hmc_status_t copy_here(perf_staged_t *staged, bool to_stage, uint64_t offset, uint64_t length) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, memory = hmc_region_memory(staged->device);
  unsigned char *device = (unsigned char *)hmc_region_pointer(staged->device) + offset;
  unsigned char *stage = (unsigned char *)hmc_region_pointer(staged->stage) + offset;
  hmc_status_t status = to_stage ? hmc_memory_copy(stage, cpu, device, memory, length)
                                 : hmc_memory_copy(device, memory, stage, cpu, length);
  return status == HMC_SUCCESS ? status : fail(staged, status, "copying here", hmc_last_error());
}

static hmc_status_t load(void *user, uint64_t offset, uint64_t length) {
  perf_staged_t *staged = user;
  return staged->options->get ? order(staged, PERF_ORDER_LOAD, offset, length)
                              : copy_here(staged, true, offset, length);
}

static hmc_status_t carry(void *user, uint64_t offset, uint64_t length) {
  perf_staged_t *staged = user;
  hmc_status_t status = staged->options->get ? hmc_get(staged->stage, offset, staged->far_stage, offset, length)
                                             : hmc_put(staged->stage, offset, staged->far_stage, offset, length);
  return status == HMC_SUCCESS ? status : fail(staged, status, "between the stages", hmc_last_error());
}

static hmc_status_t store(void *user, uint64_t offset, uint64_t length) {
  perf_staged_t *staged = user;
  return staged->options->get ? copy_here(staged, false, offset, length)
                              : order(staged, PERF_ORDER_STORE, offset, length);
}

hmc_status_t perf_staged_move(perf_staged_t *staged, uint64_t bytes) {
  const tool_steps_t steps = {.user = staged, .load = load, .carry = carry, .store = store};
  return tool_mode_move(staged->options->mode, &steps, bytes, staged->options->chunk);
}

const char *perf_staged_error(const perf_staged_t *staged) { return staged->error; }

int perf_staged_open(const perf_options_t *options, hmc_context_t *context, hmc_peer_t *peer, hmc_region_t *device,
                     hmc_remote_t *far, uint64_t bytes, perf_staged_t **staged) {
  perf_staged_t *made = calloc(1, sizeof *made);
  if (!made) return tool_fail("out of memory");
  made->options = options;
  made->context = context;
  made->peer = peer;
  made->device = device;
  made->far = far;
  hmc_status_t status = hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, bytes, NULL, 0, &made->stage);
  if (status != HMC_SUCCESS) {
    tool_fail_hmc("the stage in host memory", status);
    goto err_made;
  }
  if (order(made, PERF_ORDER_STAGE, 0, 0) != HMC_SUCCESS) {
    tool_fail("the server's stage: %s", made->error);
    goto err_made;
  }
  status = hmc_remote_open(peer, PERF_STAGE, 0, &made->far_stage);
  if (status != HMC_SUCCESS) {
    tool_fail_hmc("the server's stage", status);
    goto err_made;
  }
  *staged = made;
  return TOOL_DONE;
err_made:
  perf_staged_close(made);
  return TOOL_FAILED;
}

/* The regions are the context's. */
void perf_staged_close(perf_staged_t *staged) { free(staged); }
