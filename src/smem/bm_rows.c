/* BM: copies in two dimensions, which are batches of rows (see bm.h). */
#include "bm.h"

#include <inttypes.h>
#include <stdlib.h>

int32_t smem_bm_copy_2d_plain(smem_bm_t handle, const void *src, uint64_t spitch, void *dest, uint64_t dpitch,
                              uint64_t width, uint64_t height, smem_bm_copy_type t, uint32_t flags) {
  hmci_smem_object_t *object;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code != SM_OK) {
    return code;
  }
  hmci_smem_object_release(object); /* the copy finds it again */
  if (width == 0 || height == 0 || height > UINT32_MAX || spitch < width || dpitch < width || src == NULL ||
      dest == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%" PRIu64 " rows of %" PRIu64 " B, every %" PRIu64 " to every %" PRIu64
                          " B: pitches of at least the width, and no 0, are needed",
                          height, width, spitch, dpitch);
  }
  if (spitch == width && dpitch == width) {
    return smem_bm_copy_plain(handle, src, dest, width * height, t, flags);
  }
  void **from = calloc(height, sizeof(*from)), **to = calloc(height, sizeof(*to));
  uint64_t *sizes = calloc(height, sizeof(*sizes));
  if (from == NULL || to == NULL || sizes == NULL) {
    code = hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a copy of %" PRIu64 " rows", height);
  }
  for (uint64_t row = 0; row < height && code == SM_OK; row++) {
    from[row] = (char *)(uintptr_t)src + row * spitch;
    to[row] = (char *)dest + row * dpitch;
    sizes[row] = width;
  }
  if (code == SM_OK) {
    smem_batch_copy_params params = {
        .sources = from, .destinations = to, .dataSizes = sizes, .batchSize = (uint32_t)height};
    code = smem_bm_copy_batch(handle, &params, t, flags);
  }
  free(from);
  free(to);
  free(sizes);
  return code;
}

int32_t(smem_bm_copy_2d)(smem_bm_t handle, smem_copy_2d_params *params, smem_bm_copy_type t, uint32_t flags) {
  return params != NULL ? smem_bm_copy_2d_plain(handle, params->src, params->spitch, params->dest, params->dpitch,
                                                params->width, params->height, t, flags)
                        : hmci_smem_copy_fail(handle);
}
