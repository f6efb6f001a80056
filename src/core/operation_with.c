/* Blocking operations with options: each is a request that is waited for and freed. */
#include "core.h"

/* Waits for a request that was started, and gives it back. */
static hmc_status_t finish(hmc_status_t status, hmc_request_t **request) {
  if (status != HMC_SUCCESS) return status;
  status = hmc_request_wait(*request);
  hmc_request_free(*request);
  return status;
}

hmc_status_t hmc_put_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                          uint64_t length, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  return finish(hmc_put_nb(local, offset, remote, remote_offset, length, options, &request), &request);
}

hmc_status_t hmc_get_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                          uint64_t length, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  return finish(hmc_get_nb(local, offset, remote, remote_offset, length, options, &request), &request);
}

hmc_status_t hmc_atomic_with(hmc_remote_t *remote, uint64_t remote_offset, hmc_atomic_operation_t operation,
                             unsigned width, uint64_t operand, uint64_t compare, uint64_t *fetched,
                             const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  return finish(hmc_atomic_nb(remote, remote_offset, operation, width, operand, compare, fetched, options, &request),
                &request);
}

hmc_status_t hmc_batch_put_with(hmc_batch_t *batch, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  return finish(hmc_batch_put_nb(batch, options, &request), &request);
}

hmc_status_t hmc_batch_get_with(hmc_batch_t *batch, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  return finish(hmc_batch_get_nb(batch, options, &request), &request);
}
