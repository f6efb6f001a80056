/* What BM, SHM, TRANS and HYBM look at alike (see common.h). */
#include "common.h"

#include <inttypes.h>
#include <sys/random.h>
#include <time.h>

uint64_t hmci_smem_now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

int32_t hmci_smem_new_tag(uint64_t *tag) {
  *tag = 0;
  while (*tag == 0) {
    if (getrandom(tag, sizeof(*tag), 0) != (ssize_t)sizeof(*tag)) {
      return hmci_smem_fail(SM_ERROR, "the system gives no random numbers, which names of memory are made of");
    }
  }
  return SM_OK;
}

int32_t hmci_smem_check_copy(const void *source, const void *destination, uint64_t size) {
  return source != NULL && destination != NULL && size > 0
             ? SM_OK
             : hmci_smem_fail(SM_INVALID_PARAM,
                              "a copy of %" PRIu64 " B from %p to %p: two addresses and a size above 0 are needed",
                              size, source, destination);
}

hmc_connection_type_t hmci_smem_connection_type(smem_bm_data_op_type mask) {
  const unsigned rdma = SMEMB_DATA_OP_HOST_RDMA | SMEMB_DATA_OP_DEVICE_RDMA;
  unsigned wanted = (unsigned)mask;
  return wanted == SMEMB_DATA_OP_HOST_TCP       ? HMC_CONNECTION_TCP
         : wanted != 0 && (wanted & ~rdma) == 0 ? HMC_CONNECTION_RDMA
                                                : HMC_CONNECTION_AUTO;
}
