/* The driver's functions, once they are loaded (cuda.c), and what its errors mean. */
#include "api.h"

#include "../../base/base.h"

/* CUresult */
enum {
  DONE = 0,
  OUT_OF_MEMORY = 2,
  NO_DEVICE = 100,
  INVALID_DEVICE = 101,
  ALREADY_REGISTERED = 712,
  NOT_SUPPORTED = 801,
};

cuda_functions_t hmci_cuda;

hmc_status_t hmci_cuda_told(int error, const char *call) {
  if (error == DONE) return HMC_SUCCESS;
  const char *text = NULL;
  if (hmci_cuda.error_string(error, &text) != DONE) text = NULL;
  hmc_status_t status = error == OUT_OF_MEMORY                         ? HMC_NO_MEMORY
                        : error == NO_DEVICE || error == NOT_SUPPORTED ? HMC_UNSUPPORT
                        : error == INVALID_DEVICE                      ? HMC_NOT_FOUND
                        : error == ALREADY_REGISTERED                  ? HMC_INVALID_CONFIG
                                                                       : HMC_ERROR;
  return hmci_fail(status, "nvidia: %s: %s (error %d)", call, text ? text : "unknown", error);
}
