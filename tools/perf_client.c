/* The client of hmc-perf: connects to the servers, opens their regions and goes through the sizes. */
#include "perf.h"

#include <string.h>

enum { GREETING_MS = 10000 };

/* What the library says, and what to do about it. */
static int fail_to_connect(const perf_options_t *options, hmc_status_t status) {
  if (status == HMC_NOT_FOUND && strstr(hmc_last_error(), "nobody listens"))
    return tool_fail("connecting: %s: start hmc-perf there first, or say its port by --port", hmc_last_error());
  if (status == HMC_UNSUPPORT && options->transport != HMC_CONNECTION_AUTO)
    return tool_fail("connecting: %s; %s", hmc_last_error(), tool_type_remedy(options->transport));
  return tool_fail_hmc("connecting", status);
}

/* HOST may bring its port, which counts then. */
static int connect_target(const perf_options_t *options, hmc_context_t *context, const perf_target_t *target,
                          hmc_peer_t **peer) {
  const char *host = target->host, *colon = strchr(host, ':');
  bool has_port = strstr(host, "]:") || (colon && colon == strrchr(host, ':'));
  hmc_status_t status = hmc_context_connect(context, host, has_port ? 0 : target->port, options->transport, 0, peer);
  return status == HMC_SUCCESS ? TOOL_DONE : fail_to_connect(options, status);
}

/* Waits until the server has taken this client up. */
static int await_greeting(hmc_context_t *context) {
  char greeting[8];
  size_t size;
  hmc_status_t status = hmc_notification_receive(context, greeting, sizeof greeting, &size, NULL, GREETING_MS);
  return status == HMC_SUCCESS ? TOOL_DONE : tool_fail_hmc("the server has not answered", status);
}

static uint64_t largest_size(const perf_options_t *options) {
  uint64_t largest = 0;
  for (size_t i = 0; i < options->size_count; i++) largest = options->sizes[i] > largest ? options->sizes[i] : largest;
  return largest;
}

/* How many slots of the remote region each thread gets; 0, with a text, when the region is too small. */
static uint64_t remote_slots(const perf_options_t *options, uint64_t bytes, uint64_t lent) {
  uint64_t slots = lent / bytes / options->threads;
  uint64_t wanted = options->verify ? options->depth : 1;
  if (slots >= wanted) return slots < options->depth ? slots : options->depth;
  uint64_t needed = bytes * options->threads * wanted;
  char offered[32];
  tool_format_bytes(lent, offered, sizeof offered);
  tool_fail("the server offers %s, and %llu bytes are needed: start it with --region %lluM", offered,
            (unsigned long long)needed, (unsigned long long)((needed + (1 << 20) - 1) >> 20));
  return 0;
}

static int measure_size(const perf_options_t *options, perf_load_t *load, perf_result_t *result) {
  load->remote_slots = load->depth;
  for (unsigned i = 0; i < load->peer_count; i++) {
    uint64_t slots = remote_slots(options, load->bytes, hmc_remote_size(load->remotes[i]));
    if (slots < load->remote_slots) load->remote_slots = slots;
  }
  int code = load->remote_slots ? TOOL_DONE : TOOL_FAILED;
  if (code == TOOL_DONE && options->blocks) code = perf_blocks_make(load);
  if (code == TOOL_DONE && options->verify) code = perf_verify_prepare(load);
  if (code == TOOL_DONE) code = perf_run(load, result);
  if (code == TOOL_DONE && options->verify) {
    code = perf_verify_compare(load);
    result->verified = code == TOOL_DONE;
  }
  perf_blocks_free(load);
  return code;
}

/* The first operation of a connection often pays for what the others find ready. */
static double time_first(const perf_options_t *options, const perf_load_t *load) {
  uint64_t bytes = options->sizes[0];
  hmc_remote_t *remote = load->remotes[0];
  if (load->staged || hmc_remote_size(remote) < bytes) return 0;
  double begun = tool_clock();
  hmc_status_t status =
      options->get ? hmc_get(load->local, 0, remote, 0, bytes) : hmc_put(load->local, 0, remote, 0, bytes);
  return status == HMC_SUCCESS ? tool_clock() - begun : 0; /* what fails will fail again, with a text */
}

static int measure_sizes(const perf_options_t *options, hmc_peer_t *peer, perf_load_t *load, double connect_seconds) {
  perf_names_t names;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  hmc_status_t status = hmc_peer_get_info(peer, &info);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the server", status);
  names.transport = hmc_connection_type_name(info.type);
  tool_format_memory(hmc_region_memory(load->local), names.memory, sizeof names.memory);
  tool_format_memory(hmc_remote_memory(load->remotes[0]), names.peer_memory, sizeof names.peer_memory);
  perf_report_first(options, connect_seconds, time_first(options, load));
  perf_report_begin(options, &names);
  for (size_t i = 0; i < options->size_count; i++) {
    perf_result_t result;
    load->bytes = options->sizes[i];
    perf_report_progress(options, i);
    int code = measure_size(options, load, &result);
    if (code != TOOL_DONE) return code;
    result.ratio = options->compare ? perf_compare_ratio(options, &names, &result) : 0;
    if (options->plot) perf_plot_add(options->mode ? options->mode->name : names.transport, false, &result);
    perf_report(options, &names, &result);
  }
  return TOOL_DONE;
}

/* With --self the server's region lies on this host too. */
static bool fits(const perf_options_t *options, uint64_t bytes, const hmc_remote_t *remote) {
  uint64_t total = tool_is_host_memory(options->memory) ? bytes : 0;
  if (options->self && tool_is_host_memory(hmc_remote_memory(remote)))
    total += options->peers * hmc_remote_size(remote);
  return tool_fits_host(options->mode && options->mode->is_staged ? 2 * total : total);
}

/* Is the memory that the server offers what the mode is about? */
static int check_mode(const perf_options_t *options, const hmc_remote_t *remote) {
  hmc_memory_t there = hmc_remote_memory(remote);
  if (!options->mode || options->mode->is_host == (there.kind == HMC_MEMORY_CPU)) return TOOL_DONE;
  return tool_fail("the server offers %s memory, and mode %s is between %s: start it with --mode %s too",
                   hmc_memory_kind_name(there.kind), options->mode->name,
                   options->mode->is_host ? "the hosts' memories" : "devices", options->mode->name);
}

/* Reaches a server: its region, and its greeting. */
static int meet(const perf_options_t *options, hmc_context_t *context, const perf_target_t *target, perf_load_t *load,
                hmc_peer_t **peer) {
  int code = connect_target(options, context, target, peer);
  if (code != TOOL_DONE) return code;
  hmc_remote_t **remote = &load->remotes[load->peer_count];
  hmc_status_t status = hmc_remote_open(*peer, PERF_REGION, 0, remote);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the server's region (is it an hmc-perf?)", status);
  load->peer_count++;
  code = await_greeting(context);
  return code == TOOL_DONE ? check_mode(options, *remote) : code;
}

/* All that is needed once the servers have been reached; its end is the context's. */
static int measure_servers(const perf_options_t *options, hmc_context_t *context, hmc_memory_t memory) {
  uint64_t bytes = largest_size(options) * options->depth * options->threads;
  perf_load_t load = {.options = options, .depth = options->depth};
  hmc_peer_t *peer = NULL;
  double begun = tool_clock(), connected = 0;
  int code = TOOL_DONE;
  for (unsigned i = 0; i < options->target_count && code == TOOL_DONE; i++) {
    code = meet(options, context, &options->targets[i], &load, &peer);
    if (i == 0) connected = tool_clock() - begun;
  }
  if (code != TOOL_DONE) return code;
  if (!fits(options, bytes, load.remotes[0])) return TOOL_FAILED;
  hmc_status_t status = perf_region(options, context, memory, bytes, NULL, 0, &load.local);
  if (status != HMC_SUCCESS) return tool_fail_hmc("memory for the operations in flight", status);
  if (options->mode && options->mode->is_staged)
    code = perf_staged_open(options, context, peer, load.local, load.remotes[0], bytes, &load.staged);
  if (code == TOOL_DONE) code = measure_sizes(options, peer, &load, connected);
  perf_staged_close(load.staged);
  return code;
}

int perf_measure(const perf_options_t *options) {
  hmc_context_t *context;
  hmc_region_t *door;
  hmc_memory_t memory;
  int code = perf_pin(options, 0);
  if (code == TOOL_DONE) code = perf_mode_memory(options, options->memory, false, &memory);
  if (code != TOOL_DONE) return code;
  hmc_status_t status =
      hmc_context_create(&(hmc_context_options_t){.size = sizeof(hmc_context_options_t), .name = "hmc-perf"}, &context);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the context", status);
  status = hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, 8, PERF_DOOR, HMC_REMOTE_WRITE, &door);
  code = status == HMC_SUCCESS ? measure_servers(options, context, memory)
                               : tool_fail_hmc("the region for the greeting", status);
  if (code == TOOL_INTERRUPTED) tool_fail("interrupted");
  hmc_context_destroy(context);
  return code;
}
