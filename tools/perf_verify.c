/* hmc-perf --verify: every slot gets bytes of its own before the run, and afterwards they must have arrived at the
 * other end. The bytes depend on the slot, the size and the moment, so that what an earlier run left behind does not
 * pass. */
#include "perf.h"

#include <stdlib.h>
#include <string.h>

static uint64_t moment; /* of the last perf_verify_prepare */

static void fill(unsigned char *bytes, uint64_t size, uint64_t slot) {
  uint64_t state = (moment ^ (size << 32)) + (slot + 1) * 0x9e3779b97f4a7c15u;
  for (uint64_t i = 0; i < size; i += sizeof state) {
    state ^= state << 13; /* xorshift: cheap, and no two slots look alike */
    state ^= state >> 7;
    state ^= state << 17;
    memcpy(bytes + i, &state, size - i < sizeof state ? size - i : sizeof state);
  }
}

static int move(const perf_load_t *load, uint64_t slot, unsigned char *host, bool into_region) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, memory = hmc_region_memory(load->local);
  unsigned char *at = (unsigned char *)hmc_region_pointer(load->local) + slot * load->bytes;
  hmc_status_t status = into_region ? hmc_memory_copy(at, memory, host, cpu, load->bytes)
                                    : hmc_memory_copy(host, cpu, at, memory, load->bytes);
  return status == HMC_SUCCESS ? TOOL_DONE : tool_fail_hmc("verify", status);
}

static int clear(const perf_load_t *load, uint64_t slot, unsigned char *host) {
  memset(host, 0, load->bytes);
  return move(load, slot, host, true);
}

/* Slots are the same at both ends: thread t has t * depth .. t * depth + depth - 1. */
static int prepare_slot(const perf_load_t *load, uint64_t slot, unsigned char *host) {
  fill(host, load->bytes, slot);
  int code = move(load, slot, host, true);
  if (code != TOOL_DONE || !perf_is_get(load, slot)) return code;
  hmc_status_t status = perf_move(load, slot, false);
  return status == HMC_SUCCESS ? clear(load, slot, host) : tool_fail_hmc("verify: putting the bytes to get", status);
}

static int compare_slot(const perf_load_t *load, uint64_t slot, unsigned char *host, unsigned char *expected) {
  int code = TOOL_DONE;
  if (!perf_is_get(load, slot)) { /* what was put is fetched back, over a cleared slot */
    code = clear(load, slot, host);
    if (code != TOOL_DONE) return code;
    hmc_status_t status = perf_move(load, slot, true);
    if (status != HMC_SUCCESS) return tool_fail_hmc("verify: fetching what was put", status);
  }
  code = move(load, slot, host, false);
  if (code != TOOL_DONE) return code;
  fill(expected, load->bytes, slot);
  if (memcmp(host, expected, load->bytes) == 0) return TOOL_DONE;
  uint64_t at = 0;
  while (host[at] == expected[at]) at++;
  return tool_fail("verify: WRONG BYTES: slot %llu, byte %llu of %llu is 0x%02x, not 0x%02x", (unsigned long long)slot,
                   (unsigned long long)at, (unsigned long long)load->bytes, host[at], expected[at]);
}

int perf_verify_prepare(const perf_load_t *load) {
  moment = (uint64_t)(tool_clock() * 1e9);
  unsigned char *host = malloc(load->bytes);
  if (!host) return tool_fail("out of memory for --verify");
  int code = TOOL_DONE;
  uint64_t slots = (uint64_t)load->options->threads * load->depth;
  for (uint64_t slot = 0; code == TOOL_DONE && slot < slots; slot++) code = prepare_slot(load, slot, host);
  free(host);
  return code;
}

int perf_verify_compare(const perf_load_t *load) {
  const perf_options_t *options = load->options;
  unsigned char *host = malloc(load->bytes), *expected = malloc(load->bytes);
  int code = TOOL_DONE;
  uint64_t used = options->iterations ? options->warmup + options->iterations : load->depth;
  if (used > load->depth) used = load->depth;
  if (!host || !expected) code = tool_fail("out of memory for --verify");
  for (unsigned t = 0; host && expected && t < options->threads; t++)
    for (uint64_t slot = 0; code == TOOL_DONE && slot < used; slot++)
      code = compare_slot(load, (uint64_t)t * load->depth + slot, host, expected);
  free(host);
  free(expected);
  return code;
}
