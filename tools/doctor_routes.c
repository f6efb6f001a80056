/* hmc-doctor's transfers: by every route inside this program, and from every device. */
#include "doctor.h"
#include "mode.h"

#include <stdlib.h>
#include <string.h>

enum { SHORT_ROUNDS = 64, LONG_ROUNDS = 4, TIMEOUT_MS = 20000 };

static const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};

/* Bytes that no former test has left. */
static void fill(unsigned char *bytes, size_t size, unsigned seed) {
  for (size_t i = 0; i < size; i++) bytes[i] = (unsigned char)(seed + i * 31 + (i >> 8));
}

static hmc_status_t set_bytes(hmc_region_t *region, const unsigned char *bytes) {
  return hmc_memory_copy(hmc_region_pointer(region), hmc_region_memory(region), bytes, cpu, DOCTOR_BYTES);
}

/* There and back, and looked at. */
static hmc_status_t round_trip(hmc_region_t *local, hmc_remote_t *remote, unsigned char *bytes, bool *same) {
  fill(bytes, DOCTOR_BYTES, 7);
  hmc_status_t status = set_bytes(local, bytes);
  if (status == HMC_SUCCESS) status = hmc_put(local, 0, remote, 0, DOCTOR_BYTES);
  memset(bytes, 0, DOCTOR_BYTES);
  if (status == HMC_SUCCESS) status = set_bytes(local, bytes);
  if (status == HMC_SUCCESS) status = hmc_get(local, 0, remote, 0, DOCTOR_BYTES);
  if (status == HMC_SUCCESS)
    status = hmc_memory_copy(bytes, cpu, hmc_region_pointer(local), hmc_region_memory(local), DOCTOR_BYTES);
  unsigned char *expected = malloc(DOCTOR_BYTES);
  if (!expected) return HMC_NO_MEMORY;
  fill(expected, DOCTOR_BYTES, 7);
  *same = status == HMC_SUCCESS && memcmp(bytes, expected, DOCTOR_BYTES) == 0;
  free(expected);
  return status;
}

/* The fastest of some puts, in seconds: the first ones touch new pages. */
static hmc_status_t fastest_put(hmc_region_t *local, hmc_remote_t *remote, uint64_t size, int rounds, double *seconds) {
  hmc_status_t status = HMC_SUCCESS;
  *seconds = 1e9;
  for (int i = 0; i < rounds && status == HMC_SUCCESS; i++) {
    double begun = tool_clock();
    status = hmc_put(local, 0, remote, 0, size);
    double took = tool_clock() - begun;
    if (took < *seconds) *seconds = took;
  }
  return status;
}

void doctor_try_peer(const char *what, hmc_context_t *context, hmc_peer_t *peer, hmc_memory_t memory) {
  hmc_region_t *local = NULL;
  hmc_remote_t *remote = NULL;
  double whole = 0, shortest = 0;
  bool same = false;
  unsigned char *bytes = malloc(DOCTOR_BYTES);
  hmc_status_t status = bytes ? HMC_SUCCESS : HMC_NO_MEMORY;
  if (status == HMC_SUCCESS) status = hmc_region_allocate(context, memory, DOCTOR_BYTES, NULL, 0, &local);
  if (status == HMC_SUCCESS) status = hmc_remote_open(peer, DOCTOR_REGION, 0, &remote);
  if (status == HMC_SUCCESS) status = round_trip(local, remote, bytes, &same);
  if (status == HMC_SUCCESS) status = fastest_put(local, remote, DOCTOR_BYTES, LONG_ROUNDS, &whole);
  if (status == HMC_SUCCESS) status = fastest_put(local, remote, 8, SHORT_ROUNDS, &shortest);
  const double rate = whole > 0 ? DOCTOR_BYTES / whole : 0;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  const char *by = hmc_peer_get_info(peer, &info) == HMC_SUCCESS ? hmc_connection_type_name(info.type) : "?";
  if (status != HMC_SUCCESS)
    doctor_say(DOCTOR_FAIL, what, "the text names the cause; docs/rdma.md and docs/ucx.md have more", "%s: %s", by,
               hmc_last_error());
  else if (!same)
    doctor_say(DOCTOR_FAIL, what, "do not use this route, and report it", "%s: WRONG BYTES came back", by);
  else
    doctor_say(DOCTOR_OK, what, NULL, "%s: 4 MiB there and back are right; %.*f %s, 8 B in %.*f %s", by,
               rate < 1e9 ? 0 : 1, rate / (rate < 1e9 ? 1e6 : 1e9), rate < 1e9 ? "MB/s" : "GB/s",
               shortest < 1e-6 ? 0 : 1, shortest * (shortest < 1e-6 ? 1e9 : 1e6), shortest < 1e-6 ? "ns" : "us");
  hmc_remote_close(remote);
  hmc_region_close(local);
  free(bytes);
}

/* Two contexts of this program, with a secret of their own, so that only the route is asked. */
typedef struct pair {
  hmc_context_t *near, *far;
  hmc_peer_t *peer;
} context_pair_t;

static hmc_status_t context_pair_open(context_pair_t *pair, hmc_connection_type_t type) {
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.name = "hmc-doctor";
  options.timeout_ms = TIMEOUT_MS;
  options.secret = "hmc-doctor's own pair of contexts";
  uint16_t port = 0;
  hmc_region_t *region;
  *pair = (context_pair_t){0};
  hmc_status_t status = hmc_context_create(&options, &pair->far);
  if (status == HMC_SUCCESS) status = hmc_context_create(&options, &pair->near);
  if (status == HMC_SUCCESS)
    status = hmc_region_allocate(pair->far, cpu, DOCTOR_BYTES, DOCTOR_REGION, HMC_REMOTE_ALL, &region);
  if (status == HMC_SUCCESS) status = hmc_context_listen(pair->far, "127.0.0.1", 0, &port);
  if (status == HMC_SUCCESS) status = hmc_context_connect(pair->near, "127.0.0.1", port, type, 0, &pair->peer);
  return status;
}

static void context_pair_close(context_pair_t *pair) {
  hmc_context_destroy(pair->near);
  hmc_context_destroy(pair->far);
}

void doctor_check_routes(void) {
  for (size_t i = 1; i < TOOL_TYPES; i++) { /* the first one is AUTO */
    context_pair_t pair;
    char reason[512] = "";
    if (hmc_connection_type_probe(tool_types[i], reason, sizeof reason) != HMC_SUCCESS) {
      if (!strstr(reason, "libhmc-"))
        doctor_say(DOCTOR_NOTE, "route", NULL, "%s is not possible here: %s", hmc_connection_type_name(tool_types[i]),
                   reason);
      continue;
    }
    if (context_pair_open(&pair, tool_types[i]) == HMC_SUCCESS)
      doctor_try_peer("route", pair.near, pair.peer, cpu);
    else
      doctor_say(DOCTOR_FAIL, "route", tool_type_remedy(tool_types[i]), "%s: %s",
                 hmc_connection_type_name(tool_types[i]), hmc_last_error());
    context_pair_close(&pair);
  }
}

/* All kinds; DEFAULT and CPU are not devices. */
static const hmc_memory_kind_t kinds[] = {
#define KIND(NAME, value, name) HMC_MEMORY_##NAME,
    HMC_MEMORY_LIST(KIND)
#undef KIND
};

void doctor_check_devices(void) {
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const hmc_memory_kind_t kind = kinds[i];
    int devices = 0;
    if (kind == HMC_MEMORY_DEFAULT || kind == HMC_MEMORY_CPU) continue;
    if (hmc_memory_devices(kind, &devices) != HMC_SUCCESS) continue;
    for (int device = 0; device < devices; device++) {
      context_pair_t pair;
      char name[48], what[32];
      hmc_memory_t memory = {kind, device};
      tool_format_memory(memory, name, sizeof name);
      snprintf(what, sizeof what, "%.30s", name);
      if (context_pair_open(&pair, HMC_CONNECTION_AUTO) == HMC_SUCCESS)
        doctor_try_peer(what, pair.near, pair.peer, memory);
      else
        doctor_say(DOCTOR_FAIL, what, NULL, "%s", hmc_last_error());
      context_pair_close(&pair);
    }
  }
}
