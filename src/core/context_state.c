/* What all of core asks of a context, and what needs nothing of core in turn. */
#include "core.h"

bool hmci_context_is_foreign(const hmc_context_t *context) {
  if (HMCI_LIKELY(atomic_load_explicit(context->here, memory_order_relaxed))) return false;
  hmci_fail(HMC_UNSUPPORT, "this context belongs to the parent process: make a new one after fork()");
  return true;
}

uint64_t hmci_context_deadline(const hmc_context_t *context, uint64_t timeout_ms) {
  if (timeout_ms == HMC_NO_WAIT) return 0;
  return hmci_deadline(timeout_ms ? timeout_ms : context->timeout_ms);
}

hmc_status_t hmci_context_check_waiting(const hmc_context_t *context, const char *call) {
  if (!hmci_loop_is_own(context->loop)) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT,
                   "%s in a callback would wait for the service thread, which runs the callback: call it elsewhere",
                   call);
}
