/* Secure streams: the blocking forms. Each waits for the socket between calls that do not block, and gives up where its
 * thread is asked to stop. */
#include "secure_internal.h"

#include "../base/stop.h"

/* Waits until the socket is ready; HMC_TIMEOUT at the deadline; HMC_CANCELLED when this thread is to give up. */
static hmc_status_t wait_ready(const hmci_secure_t *stream, short events, uint64_t deadline) {
  if (hmci_stop_is_wanted()) return HMC_CANCELLED;
  int ready = hmci_stop_poll(stream->descriptor, events, hmci_poll_timeout(deadline));
  return ready == 0 ? HMC_TIMEOUT : HMC_SUCCESS; /* an error shows in the call that follows; a signal just repeats it */
}

hmc_status_t hmci_secure_handshake_wait(hmci_secure_t *stream, uint64_t deadline) {
  for (;;) {
    short events = 0;
    hmc_status_t status = hmci_secure_handshake(stream, &events);
    if (status != HMC_IN_PROGRESS) {
      return status;
    }
    status = wait_ready(stream, events, deadline);
    if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
    if (status == HMC_TIMEOUT) {
      return hmci_fail(HMC_TIMEOUT, "%s did not finish the handshake in time: it is not HMC, or it hangs",
                       stream->name);
    }
  }
}

hmc_status_t hmci_secure_read_wait(hmci_secure_t *stream, void *data, size_t size, uint64_t deadline) {
  size_t filled = 0;
  while (filled < size) {
    short events = 0;
    size_t done = 0;
    hmc_status_t status = hmci_secure_read(stream, (uint8_t *)data + filled, size - filled, &done, &events);
    if (status == HMC_IN_PROGRESS) {
      status = wait_ready(stream, events, deadline);
      if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
      if (status == HMC_TIMEOUT) {
        return hmci_fail(HMC_TIMEOUT, "%s sent %zu of %zu B in time", stream->name, filled, size);
      }
    } else if (status != HMC_SUCCESS) {
      return status;
    }
    filled += done;
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_secure_write_wait(hmci_secure_t *stream, const void *data, size_t size, uint64_t deadline) {
  size_t taken = 0;
  while (taken < size) {
    short events = 0;
    size_t done = 0;
    hmc_status_t status = hmci_secure_write(stream, (const uint8_t *)data + taken, size - taken, &done, &events);
    if (status == HMC_IN_PROGRESS) {
      status = wait_ready(stream, events, deadline);
      if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
      if (status == HMC_TIMEOUT) {
        return hmci_fail(HMC_TIMEOUT, "%s took %zu of %zu B in time", stream->name, taken, size);
      }
    } else if (status != HMC_SUCCESS) {
      return status;
    }
    taken += done;
  }
  return HMC_SUCCESS;
}
