/* The directions of BM's copies: what their ends have to be (see bm.h). */
#include "bm.h"

enum { ANY_POOL = 1, HOST_POOL = 2, LOCAL = 4, HOST = 8 };

static const struct {
  const char *name;
  int from, to;
} directions[SMEMB_COPY_BUTT] = {
    [SMEMB_COPY_L2G] = {"L2G", LOCAL, ANY_POOL},    [SMEMB_COPY_G2L] = {"G2L", ANY_POOL, LOCAL},
    [SMEMB_COPY_G2H] = {"G2H", ANY_POOL, HOST},     [SMEMB_COPY_H2G] = {"H2G", HOST, ANY_POOL},
    [SMEMB_COPY_L2GH] = {"L2GH", LOCAL, HOST_POOL}, [SMEMB_COPY_GH2L] = {"GH2L", HOST_POOL, LOCAL},
    [SMEMB_COPY_GH2H] = {"GH2H", HOST_POOL, HOST},  [SMEMB_COPY_H2GH] = {"H2GH", HOST, HOST_POOL},
    [SMEMB_COPY_G2G] = {"G2G", ANY_POOL, ANY_POOL}, [SMEMB_COPY_AUTO] = {"AUTO", 0, 0},
};

static int is_what(const hmci_smem_end_t *end, int wanted) {
  switch (wanted) {
  case ANY_POOL: return end->is_pool;
  case HOST_POOL: return end->is_pool && end->kind == HMCI_SMEM_HOST;
  case LOCAL: return !end->is_pool && end->kind == HMCI_SMEM_DEVICE;
  case HOST: return !end->is_pool && end->kind == HMCI_SMEM_HOST;
  default: return 1;
  }
}

static const char *what(const hmci_smem_end_t *end) {
  static const char *const names[2][2] = {{"host memory of this process", "device memory of this process"},
                                          {"the pool's host memory", "the pool's device memory"}};
  return names[end->is_pool ? 1 : 0][end->kind];
}

static int32_t check_direction(const hmci_smem_end_t *from, const hmci_smem_end_t *to, smem_bm_copy_type type) {
  if (!from->is_pool && !to->is_pool) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "neither address is in the pool: smem_bm_ptr tells where a member's part begins");
  }
  if (!is_what(from, directions[type].from) || !is_what(to, directions[type].to)) {
    return hmci_smem_fail(SM_INVALID_PARAM, "%s from %s to %s: the direction is another (SMEMB_COPY_AUTO finds it)",
                          directions[type].name, what(from), what(to));
  }
  return SM_OK;
}

int32_t hmci_smem_find_ends(const hmci_smem_object_t *object, const void *source, const void *destination,
                            uint64_t size, smem_bm_copy_type type, hmci_smem_end_t *from, hmci_smem_end_t *to) {
  int32_t code = hmci_smem_check_copy(source, destination, size);
  if (code == SM_OK) {
    code = hmci_smem_find(object, source, size, from);
  }
  if (code == SM_OK) {
    code = hmci_smem_find(object, destination, size, to);
  }
  return code == SM_OK ? check_direction(from, to, type) : code;
}
