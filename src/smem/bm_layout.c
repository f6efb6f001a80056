/* BM: the layout of an object, which all its members agree on by the store, and the addresses reserved by it (see bm.h). */
#include "bm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT_LEAST (UINT64_C(16) << 30) /* room for a member, where there is enough for all */
#define RANGE_WANTED (UINT64_C(8) << 40)

/* What all members of an object must agree on. */
typedef struct layout {
  uint64_t base[HMCI_SMEM_KINDS], most[HMCI_SMEM_KINDS];
} layout_t;

static int write_layout(const layout_t *layout, char text[128]) {
  return snprintf(text, 128, "%" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, layout->base[0], layout->most[0],
                  layout->base[1], layout->most[1]);
}

static int read_layout(const char *text, size_t size, layout_t *layout) {
  char copy[128];
  if (size >= sizeof(copy)) {
    return 0;
  }
  memcpy(copy, text, size);
  copy[size] = '\0';
  return sscanf(copy, "%" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, &layout->base[0], &layout->most[0],
                &layout->base[1], &layout->most[1]) == 4;
}

static uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

/* The layout that this member would give the object. */
static void propose_layout(const hmci_smem_object_t *object, const uint64_t most[HMCI_SMEM_KINDS], layout_t *layout) {
  uint64_t share = RANGE_WANTED / object->world->size;
  uint64_t least = share < SLOT_LEAST ? share : SLOT_LEAST;
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    uint64_t wanted = most[kind] > 0 ? most[kind] : object->size[kind] > least ? object->size[kind] : least;
    layout->most[kind] = round_up(wanted, HMCI_SMEM_PAGE);
    layout->base[kind] = 0;
  }
}

typedef struct others {
  uint32_t rank; /* this member's */
  int are_there;
  layout_t layout; /* theirs */
} others_t;

static void note_other(const char *key, const void *value, size_t size, void *user) {
  others_t *others = user;
  const char *slash = strrchr(key, '/');
  layout_t layout;
  if (slash != NULL && strtoul(slash + 1, NULL, 10) != others->rank && read_layout(value, size, &layout)) {
    others->are_there = 1;
    others->layout = layout;
  }
}

/* Reserves both ranges; where the layout gives no bases, finds some. */
static int32_t reserve(hmci_smem_object_t *object, layout_t *layout) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    uint64_t size = layout->most[kind] * object->world->size;
    void *base = NULL;
    int32_t code = SM_OK;
    if (layout->base[kind] == 0) {
      code = hmci_smem_reserve_new(object->world->store, size, object->world->create_ms, &base);
    } else {
      base = hmci_smem_reserve_at(layout->base[kind], size);
      if (base == NULL) {
        code = hmci_smem_fail(SM_MALLOC_FAILED,
                              "the addresses of pool %u, %" PRIu64 " B from 0x%" PRIx64
                              ", are in use in this process: create the pool before they are",
                              object->id, size, layout->base[kind]);
      }
    }
    if (code != SM_OK) {
      return code;
    }
    layout->base[kind] = object->base[kind] = (uint64_t)(uintptr_t)base;
    object->most[kind] = layout->most[kind];
  }
  return SM_OK;
}

static void unreserve(hmci_smem_object_t *object) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    if (object->base[kind] != 0) {
      hmci_smem_unreserve((void *)(uintptr_t)object->base[kind], object->most[kind] * object->world->size);
      object->base[kind] = 0;
    }
  }
}

static int32_t check_fit(const hmci_smem_object_t *object, const layout_t *layout) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    if (object->size[kind] > layout->most[kind]) {
      return hmci_smem_fail(SM_INVALID_PARAM,
                            "a %s part of %" PRIu64 " B: the others made pool %u for parts of at most %" PRIu64
                            " B; give all the same max sizes (smem_bm_create2)",
                            kind == HMCI_SMEM_HOST ? "host" : "device", object->size[kind], object->id,
                            layout->most[kind]);
    }
  }
  return SM_OK;
}

/* Agrees with the others on a layout, and reserves it. The layout's key stays when all have gone; who comes then, alone,
 * makes a new one. A user's key, which goes with its member, has the layout too, for a store that was restarted. */
int32_t hmci_smem_layout_agree(hmci_smem_object_t *object, const uint64_t most[HMCI_SMEM_KINDS]) {
  hmci_smem_world_t *in = object->world;
  char key[64], users[64], text[128], old[128];
  size_t old_size = 0;
  others_t others = {.rank = in->rank};
  layout_t layout = {.base = {0, 0}};
  snprintf(key, sizeof(key), "smem/bm/%u/layout", object->id);
  snprintf(users, sizeof(users), "smem/bm/%u/user/", object->id);
  for (;;) {
    int swapped = 0;
    hmc_status_t status = hmc_store_get(in->store, key, old, sizeof(old), &old_size, in->create_ms);
    int is_there = status == HMC_SUCCESS;
    if (is_there || status == HMC_NOT_FOUND) {
      others.are_there = 0;
      status = hmc_store_list(in->store, users, note_other, &others, in->create_ms);
    }
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "the layout of pool %u is not known", object->id);
    }
    int is_new = !others.are_there;
    if (others.are_there) {
      layout = others.layout;
    } else {
      propose_layout(object, most, &layout);
    }
    int32_t code = check_fit(object, &layout);
    if (code == SM_OK) {
      code = reserve(object, &layout);
    }
    if (code != SM_OK) {
      unreserve(object);
      return code;
    }
    int size = write_layout(&layout, text);
    if (!is_new) {
      return SM_OK;
    }
    status = hmc_store_compare_swap(in->store, key, is_there ? old : NULL, is_there ? old_size : 0, text, (size_t)size,
                                    NULL, &swapped, in->create_ms);
    if (status == HMC_SUCCESS && swapped) {
      return SM_OK;
    }
    unreserve(object);
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "the layout of pool %u cannot be agreed on", object->id);
    }
  }
}

int32_t hmci_smem_layout_use(const hmci_smem_object_t *object) {
  layout_t layout = {.base = {object->base[0], object->base[1]}, .most = {object->most[0], object->most[1]}};
  char key[64], text[128];
  snprintf(key, sizeof(key), "smem/bm/%u/user/%u", object->id, object->world->rank);
  int size = write_layout(&layout, text);
  hmc_status_t status =
      hmc_store_set(object->world->store, key, text, (size_t)size, object->world->lease, object->world->create_ms);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "pool %u cannot be used", object->id);
}
void hmci_smem_forget_key(const hmci_smem_object_t *object, const char *key, uint64_t timeout_ms) {
  hmc_status_t status = hmc_store_delete(object->world->store, key, timeout_ms);
  if (status != HMC_SUCCESS && status != HMC_NOT_FOUND) {
    hmci_smem_log(HMCI_SMEM_INFO, "the store keeps %s until this member's lease ends: %s", key, hmc_last_error());
  }
}

void hmci_smem_layout_leave(hmci_smem_object_t *object) {
  char key[64];
  if (object->base[0] != 0) {
    snprintf(key, sizeof(key), "smem/bm/%u/user/%u", object->id, object->world->rank);
    hmci_smem_forget_key(object, key, HMCI_SMEM_GIVE_UP_MS);
  }
  unreserve(object);
}
