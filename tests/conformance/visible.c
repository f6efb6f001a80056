/* Complete means visible: what the target of that test does. It is in a file of its own because it must look at the
 * block the moment the control message is there, with nothing in between. */
#include "harness.h"

#include <stdio.h>

#define STEP_MS 20000

uint64_t visible_length(uint64_t round) { return 8 * (1 + mix(round) % (VISIBLE_BLOCK / 8)); }

static bool is_there(const place_t *place, uint64_t round) {
  uint64_t words[VISIBLE_BLOCK / 8], length = visible_length(round);
  shared_begin();
  place_load(place, round % VISIBLE_BURST * VISIBLE_BLOCK, words, length);
  shared_end();
  for (uint64_t i = 0; i < length / 8; i++)
    if (words[i] != round)
      return false;
  return true;
}

static hmc_status_t watch_rounds(const place_t *place, hmc_control_t *control, uint64_t rounds, uint64_t *stale) {
  for (uint64_t round = 1; round <= rounds; round++) {
    uint64_t told = 0;
    hmc_status_t status = hmc_control_receive_u64(control, 0, &told, STEP_MS);
    if (status != HMC_SUCCESS)
      return status;
    *stale += told != round || !is_there(place, round);
    if (round % VISIBLE_BURST == 0 || round == rounds)
      status = hmc_control_send_u64(control, 0, *stale, STEP_MS);
    if (status != HMC_SUCCESS)
      return status;
  }
  return HMC_SUCCESS;
}

hmc_status_t visible_watch(const place_t *place, const char *path, uint64_t rounds, uint64_t *stale) {
  hmc_control_t *control = NULL;
  *stale = 0;
  hmc_status_t status = hmc_control_create(&control);
  if (status != HMC_SUCCESS)
    return status;
  status = hmc_control_connect(control, 0, 1, NULL, 0, path, STEP_MS);
  if (status == HMC_SUCCESS)
    status = watch_rounds(place, control, rounds, stale);
  hmc_control_destroy(control);
  return status;
}
