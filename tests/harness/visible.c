/* Complete means visible: what the target of that test does. It is in a file of its own because it must look at the
 * block the moment the control message is there, with nothing in between. */
#include "harness.h"

#include <sched.h>

#define STEP_MS 20000

uint64_t visible_length(uint64_t round) { return 8 * (1 + mix(round) % (VISIBLE_BLOCK / 8)); }

static bool is_there(const test_buffer_t *place, uint64_t offset, uint64_t round) {
  uint64_t words[VISIBLE_BLOCK / 8], length = visible_length(round);
  shared_begin();
  test_buffer_load(place, offset, words, length);
  shared_end();
  for (uint64_t i = 0; i < length / 8; i++)
    if (words[i] != round) return false;
  return true;
}

static hmc_status_t watch_rounds(const test_buffer_t *place, hmc_control_t *control, uint64_t rounds, uint64_t *stale) {
  for (uint64_t round = 1; round <= rounds; round++) {
    uint64_t told = 0;
    hmc_status_t status = hmc_control_receive_u64(control, 0, &told, STEP_MS);
    if (status != HMC_SUCCESS) return status;
    *stale += told != round || !is_there(place, round % VISIBLE_BURST * VISIBLE_BLOCK, round);
    if (round % VISIBLE_BURST == 0 || round == rounds) status = hmc_control_send_u64(control, 0, *stale, STEP_MS);
    if (status != HMC_SUCCESS) return status;
  }
  return HMC_SUCCESS;
}

hmc_status_t visible_watch(const test_buffer_t *place, const char *path, uint64_t rounds, uint64_t *stale) {
  hmc_control_t *control = NULL;
  *stale = 0;
  hmc_status_t status = hmc_control_create(&control);
  if (status != HMC_SUCCESS) return status;
  status = hmc_control_connect(control, 0, 1, NULL, 0, path, STEP_MS);
  if (status == HMC_SUCCESS) status = watch_rounds(place, control, rounds, stale);
  hmc_control_destroy(control);
  return status;
}

/* ---- signals ----------------------------------------------------------------------------------------------------- */

/* The owner's own view of a word that peers change atomically. */
static uint64_t look_at_word(const test_buffer_t *place, uint64_t offset) {
  uint64_t word;
  if (place->memory.kind == HMC_MEMORY_CPU)
    return __atomic_load_n((uint64_t *)(void *)(place->whole + place->margin + offset), __ATOMIC_ACQUIRE);
  test_buffer_load(place, offset, &word, sizeof word);
  return word;
}

uint64_t signal_data(uint64_t round) { return SIGNAL_DATA + round % VISIBLE_BURST * VISIBLE_BLOCK; }

hmc_status_t signal_watch(const test_buffer_t *place, uint64_t rounds, uint64_t *stale) {
  *stale = 0;
  for (uint64_t round = 1; round <= rounds;) {
    uint64_t limit = now_ms() + STEP_MS, word;
    shared_begin();
    while ((word = look_at_word(place, SIGNAL_WORD)) < round && now_ms() < limit)
      sched_yield(); /* the service thread may need this processor */
    bool sound = word >= round && word < round + VISIBLE_BURST && word <= rounds;
    for (; sound && round <= word; round++) *stale += !is_there(place, signal_data(round), round);
    test_buffer_store(place, SIGNAL_SEEN, &word, sizeof word);
    shared_end();
    if (!sound) return word < round ? HMC_TIMEOUT : HMC_CORRUPT;
  }
  return HMC_SUCCESS;
}
