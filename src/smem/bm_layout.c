/* BM: the layout of an object, which all its members agree on by the store, and the addresses reserved by it (see bm.h). */
#include "bm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SLOT_LEAST (UINT64_C(16) << 30) /* room for a member, where there is enough for all */
#define RANGE_WANTED (UINT64_C(8) << 40)

enum { MARK_TTL_MS = 5000 };

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

static void user_key(const hmci_smem_object_t *object, char key[64]) {
  snprintf(key, 64, "smem/bm/%u/user/%u", object->id, object->world->rank);
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
  uint32_t rank;          /* this member's */
  const layout_t *wanted; /* NULL: none */
  int are_there, use_wanted;
  layout_t layout; /* theirs */
} others_t;

static void note_other(const char *key, const void *value, size_t size, void *user) {
  others_t *others = user;
  const char *slash = strrchr(key, '/');
  layout_t layout;
  if (slash != NULL && strtoul(slash + 1, NULL, 10) != others->rank && read_layout(value, size, &layout)) {
    others->are_there = 1;
    others->layout = layout;
    others->use_wanted |= others->wanted != NULL && memcmp(others->wanted, &layout, sizeof(layout)) == 0;
  }
}

/* -1: not a power of two. */
static int shift_of(uint64_t value) { return (value & (value - 1)) == 0 ? __builtin_ctzll(value) : -1; }

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
    object->shift[kind] = shift_of(layout->most[kind]);
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

/* ---- agreeing ---------------------------------------------------------------------------------------------------- */

/* Who agrees: the store's key of the layout and what it holds, and this member's key as a user of it. */
typedef struct agreement {
  hmci_smem_object_t *object;
  char key[64], users[64], own[64];
  char text[128]; /* of the layout's key, as read last */
  size_t size;    /* 0: there is none */
  char mark[128]; /* what this member writes there while it makes a new layout */
  size_t mark_size;
  hmc_store_lease_t *lease; /* the mark's own: a member whose mark is lost is a member all the same */
  uint64_t deadline_ms;
} agreement_t;

/* A member that makes a layout marks the key meanwhile. */
static int is_marked(const agreement_t *agreement) { return agreement->size > 0 && agreement->text[0] == '!'; }

static hmc_status_t read_key(agreement_t *agreement) {
  const hmci_smem_world_t *in = agreement->object->world;
  hmc_status_t status = hmc_store_get(in->store, agreement->key, agreement->text, sizeof(agreement->text),
                                      &agreement->size, in->create_ms);
  if (status == HMC_NOT_FOUND) {
    agreement->size = 0;
    status = HMC_SUCCESS;
  }
  return status;
}

/* What others use; `wanted`, where it is used, before all else. */
static hmc_status_t read_users(const agreement_t *agreement, const layout_t *wanted, others_t *others) {
  const hmci_smem_world_t *in = agreement->object->world;
  *others = (others_t){.rank = in->rank, .wanted = wanted};
  return hmc_store_list(in->store, agreement->users, note_other, others, in->create_ms);
}

static hmc_status_t swap_key(const agreement_t *agreement, const char *from, size_t from_size, const char *to,
                             size_t to_size, int is_mark, int *swapped) {
  const hmci_smem_world_t *in = agreement->object->world;
  return hmc_store_compare_swap(in->store, agreement->key, from_size > 0 ? from : NULL, from_size, to, to_size,
                                is_mark ? agreement->lease : NULL, swapped, in->create_ms);
}

static int32_t fail_agreement(const agreement_t *agreement, hmc_status_t status) {
  return hmci_smem_fail_hmc(status, "the layout of pool %u cannot be agreed on", agreement->object->id);
}

/* Takes the mark away again, where it is this member's: the key is what it was, or "-", which is none. */
static void unmark(const agreement_t *agreement) {
  int swapped = 0;
  const char *text = agreement->size > 0 ? agreement->text : "-";
  size_t size = agreement->size > 0 ? agreement->size : 1;
  hmc_status_t status = swap_key(agreement, agreement->mark, agreement->mark_size, text, size, 0, &swapped);
  if (status != HMC_SUCCESS) {
    hmci_smem_log(HMCI_SMEM_INFO, "the store keeps %s until the mark's lease ends: %s", agreement->key,
                  hmc_last_error());
  }
}

/* Reserves the layout and says in the store that this member uses it. */
static int32_t use(const agreement_t *agreement, layout_t *layout) {
  hmci_smem_object_t *object = agreement->object;
  const hmci_smem_world_t *in = object->world;
  char text[128];
  int32_t code = check_fit(object, layout);
  if (code == SM_OK) {
    code = reserve(object, layout);
  }
  if (code == SM_OK) {
    int size = write_layout(layout, text);
    hmc_status_t status = hmc_store_set(in->store, agreement->own, text, (size_t)size, in->lease, in->create_ms);
    code = status == HMC_SUCCESS ? SM_OK : fail_agreement(agreement, status);
  }
  if (code != SM_OK) {
    unreserve(object);
  }
  return code;
}

static void stop_using(const agreement_t *agreement) {
  hmci_smem_forget_key(agreement->object, agreement->own, agreement->object->world->create_ms);
  unreserve(agreement->object);
}

/* Joins those who use the key's layout. *is_done stays 0 where it is being replaced. */
static int32_t follow(agreement_t *agreement, layout_t *layout, int *is_done) {
  char before[sizeof(agreement->text)];
  size_t before_size = agreement->size;
  memcpy(before, agreement->text, before_size);
  int32_t code = use(agreement, layout);
  if (code != SM_OK) {
    return code;
  }
  hmc_status_t status = read_key(agreement);
  *is_done =
      status == HMC_SUCCESS && agreement->size == before_size && memcmp(agreement->text, before, before_size) == 0;
  if (!*is_done) {
    stop_using(agreement);
  }
  return status == HMC_SUCCESS ? SM_OK : fail_agreement(agreement, status);
}

/* With the key marked by this member: gives the object a layout, that of others, where the store has forgotten it. */
static int32_t lead(agreement_t *agreement, const uint64_t most[HMCI_SMEM_KINDS], int *is_done) {
  layout_t layout, old;
  others_t others;
  char text[128];
  int swapped = 0;
  int has_old = agreement->size > 0 && read_layout(agreement->text, agreement->size, &old);
  hmc_status_t status = read_users(agreement, has_old ? &old : NULL, &others);
  if (status != HMC_SUCCESS || others.use_wanted) { /* somebody has come to use the old one meanwhile */
    unmark(agreement);
    return status == HMC_SUCCESS ? SM_OK : fail_agreement(agreement, status);
  }
  propose_layout(agreement->object, most, &layout);
  layout = others.are_there ? others.layout : layout;
  int32_t code = use(agreement, &layout);
  if (code == SM_OK) {
    int size = write_layout(&layout, text);
    status = swap_key(agreement, agreement->mark, agreement->mark_size, text, (size_t)size, 0, &swapped);
    code = status == HMC_SUCCESS ? SM_OK : fail_agreement(agreement, status);
    *is_done = code == SM_OK && swapped; /* else the mark went with its lease */
  }
  if (!*is_done) {
    stop_using(agreement);
    unmark(agreement);
  }
  return code;
}

static int32_t mark_and_lead(agreement_t *agreement, const uint64_t most[HMCI_SMEM_KINDS], int *is_done) {
  hmci_smem_world_t *in = agreement->object->world;
  int swapped = 0;
  hmc_status_t status = hmc_store_lease_create(in->store, MARK_TTL_MS, in->create_ms, &agreement->lease);
  if (status != HMC_SUCCESS) {
    return fail_agreement(agreement, status);
  }
  status = swap_key(agreement, agreement->text, agreement->size, agreement->mark, agreement->mark_size, 1, &swapped);
  int32_t code = status == HMC_SUCCESS || status == HMC_STALE ? SM_OK : fail_agreement(agreement, status);
  if (status == HMC_SUCCESS && swapped) {
    code = lead(agreement, most, is_done);
  }
  hmc_store_lease_release(agreement->lease, HMCI_SMEM_GIVE_UP_MS); /* and the mark, where it is left */
  return code;
}

/* One attempt. *is_done stays 0 where another member was quicker. */
static int32_t try_to_agree(agreement_t *agreement, const uint64_t most[HMCI_SMEM_KINDS], int *is_done) {
  layout_t layout;
  others_t others;
  hmc_status_t status = read_key(agreement);
  if (status == HMC_SUCCESS && is_marked(agreement)) {
    const struct timespec pause = {.tv_nsec = 5000000};
    nanosleep(&pause, NULL);
    return SM_OK;
  }
  if (status == HMC_SUCCESS && agreement->size > 0 && read_layout(agreement->text, agreement->size, &layout)) {
    status = read_users(agreement, &layout, &others);
    if (status == HMC_SUCCESS && others.use_wanted) {
      return follow(agreement, &layout, is_done);
    }
  }
  return status == HMC_SUCCESS ? mark_and_lead(agreement, most, is_done) : fail_agreement(agreement, status);
}

/* The key of a layout stays when all have gone; who comes then makes a new one. So that nobody replaces a layout that
 * somebody else begins to use: who replaces marks the key first, and then looks at the users; who uses writes its own key
 * first, and then looks at the layout's. A mark goes with a lease of its own. The users' keys have the layout too, for a
 * store that was restarted. */
int32_t hmci_smem_layout_agree(hmci_smem_object_t *object, const uint64_t most[HMCI_SMEM_KINDS]) {
  agreement_t agreement = {.object = object, .deadline_ms = hmci_smem_now_ms() + object->world->create_ms};
  int32_t code = SM_OK;
  int is_done = 0;
  snprintf(agreement.key, sizeof(agreement.key), "smem/bm/%u/layout", object->id);
  snprintf(agreement.users, sizeof(agreement.users), "smem/bm/%u/user/", object->id);
  user_key(object, agreement.own);
  agreement.mark_size = (size_t)snprintf(agreement.mark, sizeof(agreement.mark), "!%u", object->world->rank);
  while (code == SM_OK && !is_done) {
    code = try_to_agree(&agreement, most, &is_done);
    if (code == SM_OK && !is_done && hmci_smem_now_ms() > agreement.deadline_ms) {
      code = hmci_smem_fail(SM_TIMEOUT, "the members of pool %u did not agree on a layout in time: createTimeout",
                            object->id);
    }
  }
  return code;
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
    user_key(object, key);
    hmci_smem_forget_key(object, key, HMCI_SMEM_GIVE_UP_MS);
  }
  unreserve(object);
}
