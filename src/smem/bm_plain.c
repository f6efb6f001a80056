/* The public calls of copies of BM (see bm.h). */
#include "bm.h"

int32_t smem_bm_copy_plain(smem_bm_t handle, const void *src, void *dest, uint64_t size, smem_bm_copy_type t,
                           uint32_t flags) {
  return hmci_smem_copy(handle, src, dest, size, t, flags);
}

int32_t(smem_bm_copy)(smem_bm_t handle, smem_copy_params *params, smem_bm_copy_type t, uint32_t flags) {
  return params != NULL ? hmci_smem_copy(handle, params->src, params->dest, params->dataSize, t, flags)
                        : hmci_smem_copy_fail(handle);
}

int32_t smem_bm_copy_batch(smem_bm_t handle, smem_batch_copy_params *params, smem_bm_copy_type t, uint32_t flags) {
  return params != NULL ? hmci_smem_copy_batch(handle, params, t, flags) : hmci_smem_copy_fail(handle);
}
