/* TRANS: what is known of peers: their connections, and the memory that they have registered (see trans.h). */
#include "trans.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ASK_MS 2000

static void close_remotes(hmci_smem_partner_t *partner) {
  while (partner->remotes != NULL) {
    hmci_smem_remote_t *remote = partner->remotes;
    partner->remotes = remote->next;
    hmc_remote_close(remote->remote);
    free(remote);
  }
}

/* Closes one that is not in the list any more; the lock may be held or not. */
static void close_partner(hmci_smem_partner_t *partner) {
  if (partner != NULL) {
    close_remotes(partner);
    hmc_peer_close(partner->peer);
    free(partner);
  }
}

void hmci_smem_partners_close(hmci_smem_trans_t *trans) {
  while (trans->partners != NULL) {
    hmci_smem_partner_t *partner = trans->partners;
    trans->partners = partner->next;
    close_partner(partner);
  }
}

static hmci_smem_partner_t *find_partner(const hmci_smem_trans_t *trans, const char *id) {
  hmci_smem_partner_t *at = trans->partners;
  while (at != NULL && strcmp(at->id, id) != 0) {
    at = at->next;
  }
  return at;
}

/* ---- with the lock held for writing ------------------------------------------------------------------------------ */

/* Takes it out; NULL: there is none. */
static hmci_smem_partner_t *take_partner(hmci_smem_trans_t *trans, const char *id) {
  hmci_smem_partner_t **at = &trans->partners;
  while (*at != NULL && strcmp((*at)->id, id) != 0) {
    at = &(*at)->next;
  }
  hmci_smem_partner_t *partner = *at;
  if (partner != NULL) {
    *at = partner->next;
  }
  return partner;
}

/* Who has the id now. -2000: nobody. */
static int32_t ask_id(const hmci_smem_trans_t *trans, const char *id, uint64_t *tag, int *role) {
  char key[128], text[64] = "";
  snprintf(key, sizeof(key), "smem/trans/%s/id", id);
  hmc_status_t status = hmc_store_get(trans->store, key, text, sizeof(text) - 1, NULL, trans->timeout_ms);
  if (status == HMC_NOT_FOUND || (status == HMC_SUCCESS && sscanf(text, "%16" SCNx64 " %d", tag, role) != 2)) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "nobody has the id %s: the peer creates its handle first, at the same store", id);
  }
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "whether somebody has the id %s is not known", id);
}

static int32_t connect_partner(hmci_smem_trans_t *trans, const char *id, uint64_t tag, hmci_smem_partner_t **made) {
  hmci_smem_url_t url;
  int32_t code = hmci_smem_parse_address(id, &url);
  if (code != SM_OK) {
    return code;
  }
  hmci_smem_partner_t *partner = calloc(1, sizeof(*partner));
  if (partner == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a peer");
  }
  snprintf(partner->id, sizeof(partner->id), "%s", id);
  partner->tag = tag;
  hmc_status_t status = hmci_smem_connect(trans->context, url.ip, url.port, trans->type, &partner->peer);
  if (status != HMC_SUCCESS) {
    free(partner);
    return hmci_smem_fail_hmc(status, "%s cannot be reached", id);
  }
  partner->next = trans->partners;
  trans->partners = partner;
  *made = partner;
  return SM_OK;
}

/* The partner of an id as it is now. */
static int32_t refresh_partner(hmci_smem_trans_t *trans, const char *id, hmci_smem_partner_t **partner) {
  uint64_t tag;
  int role;
  int32_t code = ask_id(trans, id, &tag, &role);
  if (code != SM_OK) {
    return code;
  }
  if (role != SMEM_TRANS_BOTH && trans->role != SMEM_TRANS_BOTH && role == (int)trans->role) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%s and this handle are both %s: senders reach receivers, and receivers senders", id,
                          role == SMEM_TRANS_SENDER ? "senders" : "receivers");
  }
  *partner = find_partner(trans, id);
  if (*partner != NULL && (*partner)->tag != tag) {
    close_partner(take_partner(trans, id));
    *partner = NULL;
  }
  return *partner != NULL ? SM_OK : connect_partner(trans, id, tag, partner);
}

/* Memory of a peer as the store has it. */
typedef struct range {
  uint64_t address, size, tag;
} range_t;

static int read_range(const char *key, const void *value, size_t value_size, range_t *range) {
  const char *slash = strrchr(key, '/');
  char text[64] = "";
  range->address = slash != NULL ? strtoull(slash + 1, NULL, 16) : 0;
  memcpy(text, value, value_size < sizeof(text) ? value_size : sizeof(text) - 1);
  return sscanf(text, "%16" SCNx64 " %" SCNu64, &range->tag, &range->size) == 2;
}

static hmc_status_t list_ranges(const hmci_smem_trans_t *trans, const char *id, hmc_store_list_callback_t each,
                                void *user, uint64_t timeout_ms) {
  char prefix[128];
  snprintf(prefix, sizeof(prefix), "smem/trans/%s/mem/", id);
  return hmc_store_list(trans->store, prefix, each, user, timeout_ms);
}

typedef struct wish {
  uint64_t address, size; /* what is looked for */
  range_t found;
  int is_found;
} wish_t;

static void look_at_range(const char *key, const void *value, size_t value_size, void *user) {
  wish_t *wish = user;
  range_t range;
  if (read_range(key, value, value_size, &range) &&
      hmci_smem_holds(range.address, range.size, wish->address, wish->size)) {
    wish->found = range;
    wish->is_found = 1;
  }
}

static int32_t open_remote(hmci_smem_partner_t *partner, const wish_t *wish, uint64_t timeout_ms) {
  char name[HMC_REGION_NAME_SIZE];
  hmci_smem_remote_t *remote = calloc(1, sizeof(*remote));
  if (remote == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a peer's memory");
  }
  *remote = (hmci_smem_remote_t){.address = wish->found.address, .size = wish->found.size, .tag = wish->found.tag};
  snprintf(name, sizeof(name), "smem-trans/%016" PRIx64, wish->found.tag);
  hmc_status_t status = hmc_remote_open(partner->peer, name, timeout_ms, &remote->remote);
  if (status != HMC_SUCCESS) {
    free(remote);
    return hmci_smem_fail_hmc(status, "the memory of %s cannot be reached", partner->id);
  }
  remote->next = partner->remotes;
  partner->remotes = remote;
  return SM_OK;
}

/* Asks the store who has registered what. */
static int32_t learn(hmci_smem_trans_t *trans, const char *id, uint64_t address, uint64_t size) {
  hmci_smem_partner_t *partner = NULL;
  wish_t wish = {.address = address, .size = size};
  int32_t code = refresh_partner(trans, id, &partner);
  if (code != SM_OK) {
    return code;
  }
  hmc_status_t status = list_ranges(trans, id, look_at_range, &wish, trans->timeout_ms);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "what %s has registered is not known", id);
  }
  if (!wish.is_found) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%s has not registered the %" PRIu64 " B at 0x%" PRIx64
                          ": it calls smem_trans_register_mem first",
                          id, size, address);
  }
  return open_remote(partner, &wish, trans->timeout_ms);
}

/* ---- the interface ----------------------------------------------------------------------------------------------- */

static const hmci_smem_remote_t *find_remote(const hmci_smem_trans_t *trans, const char *id, uint64_t address,
                                             uint64_t size) {
  const hmci_smem_partner_t *partner = find_partner(trans, id);
  const hmci_smem_remote_t *at = partner != NULL ? partner->remotes : NULL;
  while (at != NULL && !hmci_smem_holds(at->address, at->size, address, size)) {
    at = at->next;
  }
  return at;
}

int32_t hmci_smem_partner_find(hmci_smem_trans_t *trans, const char *id, uint64_t address, uint64_t size, int may_ask,
                               hmc_remote_t **remote, uint64_t *offset) {
  const hmci_smem_remote_t *found = find_remote(trans, id, address, size);
  int32_t code = SM_OK;
  if (found == NULL && !may_ask) {
    return hmci_smem_fail(SM_OBJECT_NOT_EXISTS, "%s has just gone: transfer when it is there again", id);
  }
  if (found == NULL) {
    pthread_rwlock_unlock(&trans->lock);
    pthread_rwlock_wrlock(&trans->lock);
    if (find_remote(trans, id, address, size) == NULL) {
      code = learn(trans, id, address, size);
    }
    pthread_rwlock_unlock(&trans->lock);
    pthread_rwlock_rdlock(&trans->lock);
    found = code == SM_OK ? find_remote(trans, id, address, size) : NULL;
    if (code == SM_OK && found == NULL) {
      code = hmci_smem_fail(SM_OBJECT_NOT_EXISTS, "%s has just gone: transfer when it is there again", id);
    }
  }
  if (code == SM_OK) {
    *remote = found->remote;
    *offset = address - found->address;
  }
  return code;
}

typedef struct renewal {
  const hmci_smem_partner_t *partner;
  int is_there;
} renewal_t;

static void look_for_renewed(const char *key, const void *value, size_t value_size, void *user) {
  renewal_t *renewal = user;
  range_t range;
  if (!read_range(key, value, value_size, &range)) {
    return;
  }
  for (const hmci_smem_remote_t *at = renewal->partner->remotes; at != NULL; at = at->next) {
    int overlaps = range.address < at->address + at->size && at->address < range.address + range.size;
    renewal->is_there = renewal->is_there || (overlaps && at->tag != range.tag);
  }
}

/* Whether the store knows memory in the place of what is known here: registered again, by the same handle or the next. */
static int is_renewed(const hmci_smem_trans_t *trans, const hmci_smem_partner_t *partner) {
  renewal_t renewal = {.partner = partner};
  uint64_t patience = trans->timeout_ms < ASK_MS ? trans->timeout_ms : ASK_MS; /* the store may have gone as well */
  return list_ranges(trans, partner->id, look_for_renewed, &renewal, patience) == HMC_SUCCESS && renewal.is_there;
}

int hmci_smem_partner_forget(hmci_smem_trans_t *trans, const char *id) {
  pthread_rwlock_unlock(&trans->lock);
  pthread_rwlock_wrlock(&trans->lock);
  hmci_smem_partner_t *partner = take_partner(trans, id);
  pthread_rwlock_unlock(&trans->lock);                         /* transfers with others do not wait for the store */
  int renewed = partner == NULL || is_renewed(trans, partner); /* or another thread has forgotten it meanwhile */
  close_partner(partner);
  pthread_rwlock_rdlock(&trans->lock);
  return renewed;
}
