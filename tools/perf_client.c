/* The client of hmc-perf: connects, opens the server's region and goes through the sizes. */
#include "perf.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <string.h>

enum { GREETING_MS = 10000 };

/* Tries the addresses of `host` in the resolver's order. */
static int connect_host(const perf_options_t *options, hmc_context_t *context, const char *host, uint16_t port,
                        hmc_peer_t **peer) {
  struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
  int error = getaddrinfo(host, NULL, &hints, &found);
  if (error)
    return tool_fail("the host '%s' is not known: %s", host, gai_strerror(error));
  hmc_status_t status = HMC_NOT_FOUND;
  for (struct addrinfo *at = found; at && status != HMC_SUCCESS; at = at->ai_next) {
    char ip[INET6_ADDRSTRLEN];
    if (getnameinfo(at->ai_addr, at->ai_addrlen, ip, sizeof ip, NULL, 0, NI_NUMERICHOST) == 0)
      status = hmc_context_connect(context, ip, port, options->transport, 0, peer);
  }
  freeaddrinfo(found);
  return status == HMC_SUCCESS ? TOOL_DONE : tool_fail_hmc("connecting", status);
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
  for (size_t i = 0; i < options->size_count; i++)
    largest = options->sizes[i] > largest ? options->sizes[i] : largest;
  return largest;
}

/* How many slots of the remote region each thread gets; 0, with a text, when the region is too small. */
static uint64_t remote_slots(const perf_options_t *options, uint64_t bytes, uint64_t lent) {
  uint64_t slots = lent / bytes / options->threads;
  uint64_t wanted = options->verify ? options->depth : 1;
  if (slots >= wanted)
    return slots < options->depth ? slots : options->depth;
  uint64_t needed = bytes * options->threads * wanted;
  char offered[32];
  tool_format_bytes(lent, offered, sizeof offered);
  tool_fail("the server lends %s, and %llu bytes are needed: start it with --region %lluM", offered,
            (unsigned long long)needed, (unsigned long long)((needed + (1 << 20) - 1) >> 20));
  return 0;
}

static int measure_size(const perf_options_t *options, perf_load_t *load, perf_result_t *result) {
  load->remote_slots = remote_slots(options, load->bytes, hmc_remote_size(load->remote));
  int code = load->remote_slots ? TOOL_DONE : TOOL_FAILED;
  if (code == TOOL_DONE && options->verify)
    code = perf_verify_prepare(load);
  if (code == TOOL_DONE)
    code = perf_run(load, result);
  if (code == TOOL_DONE && options->verify) {
    code = perf_verify_compare(load);
    result->verified = code == TOOL_DONE;
  }
  return code;
}

static int measure_sizes(const perf_options_t *options, hmc_peer_t *peer, hmc_region_t *local, hmc_remote_t *remote) {
  perf_load_t load = {.options = options, .local = local, .remote = remote, .depth = options->depth};
  perf_names_t names;
  hmc_peer_info_t info;
  hmc_status_t status = hmc_peer_get_info(peer, &info);
  if (status != HMC_SUCCESS)
    return tool_fail_hmc("the server", status);
  names.transport = hmc_connection_type_name(info.type);
  tool_format_memory(hmc_region_memory(local), names.memory, sizeof names.memory);
  tool_format_memory(hmc_remote_memory(remote), names.peer_memory, sizeof names.peer_memory);
  perf_report_begin(options);
  for (size_t i = 0; i < options->size_count; i++) {
    perf_result_t result;
    load.bytes = options->sizes[i];
    int code = measure_size(options, &load, &result);
    if (code != TOOL_DONE)
      return code;
    perf_report(options, &names, &result);
  }
  return TOOL_DONE;
}

/* With --self the server's region lies on this host too. */
static bool fits(const perf_options_t *options, uint64_t bytes, const hmc_remote_t *remote) {
  uint64_t total = tool_is_host_memory(options->memory) ? bytes : 0;
  if (options->self && tool_is_host_memory(hmc_remote_memory(remote)))
    total += hmc_remote_size(remote);
  return tool_fits_host(total);
}

int perf_measure(const perf_options_t *options, const char *host, uint16_t port) {
  uint64_t bytes = largest_size(options) * options->depth * options->threads;
  hmc_context_t *context;
  hmc_peer_t *peer = NULL;
  hmc_region_t *local, *door;
  hmc_remote_t *remote;
  hmc_status_t status = hmc_context_create(&(hmc_context_options_t){.name = "hmc-perf"}, &context);
  if (status != HMC_SUCCESS)
    return tool_fail_hmc("the context", status);
  int code = TOOL_FAILED;
  status = hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, 8, PERF_DOOR, HMC_REMOTE_WRITE, &door);
  if (status != HMC_SUCCESS) {
    tool_fail_hmc("the region for the greeting", status);
    goto out;
  }
  code = connect_host(options, context, host, port, &peer);
  if (code != TOOL_DONE)
    goto out;
  code = TOOL_FAILED;
  status = hmc_remote_open(peer, PERF_REGION, 0, &remote);
  if (status != HMC_SUCCESS) {
    tool_fail_hmc("the server's region (is it an hmc-perf?)", status);
    goto out;
  }
  code = await_greeting(context);
  if (code != TOOL_DONE)
    goto out;
  code = TOOL_FAILED;
  if (!fits(options, bytes, remote))
    goto out;
  status = hmc_region_allocate(context, options->memory, bytes, NULL, 0, &local);
  if (status != HMC_SUCCESS) {
    tool_fail_hmc("memory for the operations in flight", status);
    goto out;
  }
  code = measure_sizes(options, peer, local, remote);
  if (code == TOOL_INTERRUPTED)
    tool_fail("interrupted");
out:
  hmc_context_destroy(context);
  return code;
}
