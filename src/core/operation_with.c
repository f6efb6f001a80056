/* Blocking operations with options: each is a request that is waited for and freed, but for short ones that have no more
 * to them than a deadline. */
#include "core.h"
#include "operation.h"

/* Longer copies to mapped peers are a request's: its workers look at the deadline. */
enum { AT_ONCE = 128 << 10 };

/* Waits for a request that was started, and gives it back. */
static hmc_status_t finish(hmc_status_t status, hmc_request_t **request) {
  if (status != HMC_SUCCESS) return status;
  status = hmc_request_wait(*request);
  hmc_request_free(*request);
  return status;
}

/* Do they say when to give up, and nothing else? What is wrong with options is the request's to say. */
static bool is_deadline_only(const hmc_operation_options_t *given, uint64_t *timeout_ms) {
  hmc_operation_options_t options;
  *timeout_ms = 0;
  if (!given) return true;
  if (hmci_sized_read(&options, sizeof options, given, "hmc_operation_options_t") != HMC_SUCCESS) return false;
  *timeout_ms = options.timeout_ms;
  return options.timeout_ms != HMC_NO_WAIT && !options.flags && !options.signal && !options.notification_size &&
         !options.callback && !options.lease && !options.event;
}

hmc_status_t hmc_put_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                          uint64_t length, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  uint64_t timeout_ms;
  if (length <= AT_ONCE && is_deadline_only(options, &timeout_ms))
    return hmci_transfer(HMCI_PUT, local, offset, remote, remote_offset, length, timeout_ms);
  return finish(hmc_put_nb(local, offset, remote, remote_offset, length, options, &request), &request);
}

hmc_status_t hmc_get_with(hmc_region_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                          uint64_t length, const hmc_operation_options_t *options) {
  hmc_request_t *request = NULL;
  uint64_t timeout_ms;
  if (length <= AT_ONCE && is_deadline_only(options, &timeout_ms))
    return hmci_transfer(HMCI_GET, local, offset, remote, remote_offset, length, timeout_ms);
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
