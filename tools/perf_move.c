/* One operation of hmc-perf: which slot it takes at both ends, at which peer, in which direction, and as what.
 *
 * A slot is the bytes of one operation in flight; thread t has the slots t * depth .. t * depth + depth - 1. Slots are
 * dealt to the peers in turn, and with --op mix every second round of them is a get. */
#include "perf.h"

#include <stdlib.h>
#include <string.h>

typedef struct place {
  uint64_t local, remote;
} place_t;

static place_t place_of(const perf_load_t *load, uint64_t slot) {
  uint64_t thread = slot / load->depth, turn = slot % load->depth;
  return (place_t){.local = slot * load->bytes,
                   .remote = (thread * load->remote_slots + turn % load->remote_slots) * load->bytes};
}

hmc_remote_t *perf_remote(const perf_load_t *load, uint64_t slot) { return load->remotes[slot % load->peer_count]; }

bool perf_is_get(const perf_load_t *load, uint64_t slot) {
  const perf_options_t *options = load->options;
  return options->mix ? slot / load->peer_count % 2 == 1 : options->get;
}

hmc_status_t perf_move(const perf_load_t *load, uint64_t slot, bool get) {
  if (load->batches) return get ? hmc_batch_get(load->batches[slot]) : hmc_batch_put(load->batches[slot]);
  place_t at = place_of(load, slot);
  hmc_remote_t *remote = perf_remote(load, slot);
  return get ? hmc_get(load->local, at.local, remote, at.remote, load->bytes)
             : hmc_put(load->local, at.local, remote, at.remote, load->bytes);
}

hmc_status_t perf_start(const perf_load_t *load, uint64_t slot, bool get, hmc_request_t **request) {
  if (load->batches)
    return get ? hmc_batch_get_nb(load->batches[slot], NULL, request)
               : hmc_batch_put_nb(load->batches[slot], NULL, request);
  place_t at = place_of(load, slot);
  hmc_remote_t *remote = perf_remote(load, slot);
  return get ? hmc_get_nb(load->local, at.local, remote, at.remote, load->bytes, NULL, request)
             : hmc_put_nb(load->local, at.local, remote, at.remote, load->bytes, NULL, request);
}

/* ---- lists of blocks --------------------------------------------------------------------------------------------- */

/* What one block of tokens is in the cache of a model: so many layers, each with pieces of these sizes. */
static const perf_blocks_t lists[] = {
    {"deepseek", 61, {128 << 10, 16 << 10}}, /* 61 layers, latent cache in two parts of different sizes */
    {"llama-8b", 32, {32 << 10, 32 << 10}},  /* keys and values of 8 heads of 128, 16 tokens, 16 bits */
    {"llama-70b", 80, {32 << 10, 32 << 10}},
};

const perf_blocks_t *perf_blocks_find(const char *name) {
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    if (strcmp(lists[i].name, name) == 0) return &lists[i];
  return NULL;
}

uint64_t perf_blocks_bytes(const perf_blocks_t *blocks) {
  return blocks->layers * (uint64_t)(blocks->pieces[0] + blocks->pieces[1]);
}

/* The pieces lie one behind the other here and in the opposite order there, so that no two of them are one. */
static hmc_status_t make_batch(const perf_load_t *load, uint64_t slot, hmc_batch_t **batch) {
  const perf_blocks_t *blocks = load->options->blocks;
  place_t at = place_of(load, slot);
  hmc_segment_t segments[2 * PERF_LAYERS_MAX];
  uint64_t done = 0;
  for (unsigned i = 0; i < 2 * blocks->layers; i++) {
    uint64_t length = blocks->pieces[i % 2];
    done += length;
    segments[i] = (hmc_segment_t){at.local + done - length, at.remote + load->bytes - done, length};
  }
  return hmc_batch_create(load->local, perf_remote(load, slot), segments, 2 * blocks->layers, batch);
}

int perf_blocks_make(perf_load_t *load) {
  uint64_t slots = (uint64_t)load->options->threads * load->depth;
  load->batches = calloc(slots, sizeof *load->batches);
  if (!load->batches) return tool_fail("out of memory");
  for (uint64_t slot = 0; slot < slots; slot++) {
    hmc_status_t status = make_batch(load, slot, &load->batches[slot]);
    if (status != HMC_SUCCESS) return tool_fail_hmc("the list of blocks", status);
  }
  return TOOL_DONE;
}

void perf_blocks_free(perf_load_t *load) {
  uint64_t slots = (uint64_t)load->options->threads * load->depth;
  for (uint64_t slot = 0; load->batches && slot < slots; slot++) hmc_batch_free(load->batches[slot]);
  free(load->batches);
  load->batches = NULL;
}
