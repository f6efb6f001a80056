/* HYBM: what entities tell one another, and what has been imported (see hybm_entity.h).
 *
 * A description is a text: who exports, where it is reached, and of a slice where it lies. It names no memory that its
 * owner does not show by a region, and opens nothing without an authenticated connection. */
#include "hybm_entity.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { TEXT_MOST = 200 };

typedef struct description {
  unsigned id, rank, port;
  uint64_t tag;
  char ip[64];
  uint64_t number; /* of a slice; 0: of the entity itself */
  unsigned kind, is_registered;
  uint64_t gva, size;
} description_t;

/* ---- exporting --------------------------------------------------------------------------------------------------- */

static int write_description(const description_t *what, char text[TEXT_MOST]) {
  return snprintf(text, TEXT_MOST, "hybm1 %u %u %016" PRIx64 " %s %u %" PRIu64 " %u %u %" PRIx64 " %" PRIx64, what->id,
                  what->rank, what->tag, what->ip, what->port, what->number, what->kind, what->is_registered, what->gva,
                  what->size);
}

static int read_description(const hybm_exchange_info *info, description_t *what) {
  char text[TEXT_MOST];
  int used = 0;
  if (info->descLen >= sizeof(text)) {
    return 0;
  }
  memcpy(text, info->desc, info->descLen);
  text[info->descLen] = '\0';
  *what = (description_t){.id = 0};
  return sscanf(text, "hybm1 %5u %4u %16" SCNx64 " %63s %5u %20" SCNu64 " %1u %1u %16" SCNx64 " %16" SCNx64 "%n",
                &what->id, &what->rank, &what->tag, what->ip, &what->port, &what->number, &what->kind,
                &what->is_registered, &what->gva, &what->size, &used) == 10 &&
         (uint32_t)used == info->descLen && what->port > 0 && what->port <= UINT16_MAX &&
         what->kind < HMCI_HYBM_KINDS && (what->number == 0 || what->size > 0);
}

int32_t hybm_export(hybm_entity_t e, hybm_mem_slice_t slice, uint32_t flags, hybm_exchange_info *exInfo) {
  hmci_hybm_entity_t *entity;
  char text[TEXT_MOST];
  if (exInfo == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "no place given for what is exported: give the address of a hybm_exchange_info");
  }
  int32_t code = hmci_hybm_entity_of(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  description_t what = {.id = entity->id, .rank = entity->rank, .tag = entity->tag, .port = entity->port};
  memcpy(what.ip, entity->ip, sizeof(what.ip));
  pthread_rwlock_rdlock(&entity->lock);
  if (slice != NULL && (flags & HYBM_FLAG_EXPORT_ENTITY) == 0) {
    const hmci_hybm_slice_t *found = hmci_hybm_slice_of(entity, slice);
    code = found != NULL ? SM_OK : SM_INVALID_PARAM;
    if (found != NULL) {
      what.number = found->number;
      what.kind = (unsigned)found->kind;
      what.is_registered = (unsigned)found->is_registered;
      what.gva = found->gva;
      what.size = found->size;
    }
  }
  pthread_rwlock_unlock(&entity->lock);
  if (code == SM_OK) {
    exInfo->descLen = (uint32_t)write_description(&what, text);
    memcpy(exInfo->desc, text, exInfo->descLen);
  }
  return code;
}

int32_t hybm_export_slice_size(hybm_entity_t e, size_t *size) {
  hmci_hybm_entity_t *entity;
  int32_t code = hmci_hybm_entity_of(e, &entity);
  if (code == SM_OK && size == NULL) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "no place given for the size");
  }
  if (code == SM_OK) {
    *size = sizeof(hybm_exchange_info);
  }
  return code;
}

/* ---- importing --------------------------------------------------------------------------------------------------- */

static void forget_import(hmci_hybm_import_t *import) {
  hmc_mapping_close(import->mapping);
  hmc_remote_close(import->remote);
  if (import->is_registered) {
    hmci_smem_unreserve((void *)(uintptr_t)import->gva, import->size);
  }
  free(import);
}

void hmci_hybm_peer_forget(hmci_hybm_entity_t *entity, const hmci_hybm_peer_t *peer) {
  for (hmci_hybm_import_t **at = &entity->imports; *at != NULL;) {
    hmci_hybm_import_t *import = *at;
    if (peer == NULL || import->peer == peer) {
      *at = import->next;
      forget_import(import);
    } else {
      at = &import->next;
    }
  }
  for (hmci_hybm_peer_t **at = &entity->peers; *at != NULL;) {
    hmci_hybm_peer_t *known = *at;
    if (peer == NULL || known == peer) {
      *at = known->next;
      hmc_peer_close(known->peer);
      free(known);
    } else {
      at = &known->next;
    }
  }
}

static hmci_hybm_peer_t *find_peer(const hmci_hybm_entity_t *entity, uint32_t rank) {
  hmci_hybm_peer_t *at = entity->peers;
  while (at != NULL && at->rank != rank) {
    at = at->next;
  }
  return at;
}

/* The connection to who described it. One that was made for the rank's former process is given up. */
static int32_t meet(hmci_hybm_entity_t *entity, const description_t *what, hmci_hybm_peer_t **met) {
  hmci_hybm_peer_t *known = find_peer(entity, what->rank);
  if (known != NULL && known->tag != what->tag) {
    hmci_hybm_peer_forget(entity, known);
    known = NULL;
  }
  if (known == NULL) {
    known = calloc(1, sizeof(*known));
    if (known == NULL) {
      return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a connection to rank %u", what->rank);
    }
    hmc_status_t status =
        hmc_context_connect(entity->context, what->ip, (uint16_t)what->port, entity->type, 0, &known->peer);
    if (status != HMC_SUCCESS) {
      free(known);
      return hmci_smem_fail_hmc(status, "rank %u of entity %u cannot be reached", what->rank, entity->id);
    }
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    known->is_near = hmc_peer_get_info(known->peer, &info) == HMC_SUCCESS && info.type == HMC_CONNECTION_SHM;
    known->rank = what->rank;
    known->tag = what->tag;
    known->next = entity->peers;
    entity->peers = known;
  }
  *met = known;
  return SM_OK;
}

/* True where an allocated slice lies within its rank's addresses. */
static int is_in_place(const hmci_hybm_entity_t *entity, const description_t *what) {
  uint64_t begin = entity->base[what->kind] + entity->space[what->kind] * what->rank, space = entity->space[what->kind];
  return entity->base[what->kind] != 0 && what->gva >= begin && what->gva - begin <= space &&
         what->size <= space - (what->gva - begin);
}

static int32_t check_slice(const hmci_hybm_entity_t *entity, const description_t *what) {
  if (what->number == 0 || what->is_registered || is_in_place(entity, what)) {
    return SM_OK;
  }
  return hmci_smem_fail(SM_INVALID_PARAM,
                        "a slice of rank %u, %" PRIu64 " B at 0x%" PRIx64
                        ", is outside that rank's addresses: give all "
                        "entities the same options, and call hybm_reserve_mem_space before hybm_import",
                        what->rank, what->size, what->gva);
}

static int32_t open_slice(hmci_hybm_entity_t *entity, const description_t *what, hmci_hybm_peer_t *peer,
                          void **address) {
  for (const hmci_hybm_import_t *at = entity->imports; at != NULL; at = at->next) {
    if (at->peer == peer && at->number == what->number) {
      *address = (void *)(uintptr_t)at->gva;
      return SM_OK;
    }
  }
  hmci_hybm_import_t *made = calloc(1, sizeof(*made));
  if (made == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for an import");
  }
  char name[HMC_REGION_NAME_SIZE];
  *made = (hmci_hybm_import_t){.peer = peer,
                               .kind = (int)what->kind,
                               .is_registered = (int)what->is_registered,
                               .number = what->number,
                               .gva = what->gva,
                               .size = what->size};
  snprintf(name, sizeof(name), "hybm/%016" PRIx64 "/%" PRIu64, what->tag, what->number);
  hmc_status_t status = hmc_remote_open(peer->peer, name, 0, &made->remote);
  int32_t code = status == HMC_SUCCESS ? SM_OK
                                       : hmci_smem_fail_hmc(status, "a slice of rank %u of entity %u cannot be opened",
                                                            what->rank, entity->id);
  if (code == SM_OK && hmc_remote_size(made->remote) < what->size) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "a slice of rank %u has %zu B, not %" PRIu64, what->rank,
                          hmc_remote_size(made->remote), what->size);
  }
  if (code == SM_OK && made->is_registered) {
    void *name_only = mmap(NULL, what->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    made->gva = (uint64_t)(uintptr_t)name_only;
    code = name_only != MAP_FAILED ? SM_OK
                                   : hmci_smem_fail(SM_MALLOC_FAILED, "no addresses for %" PRIu64 " B", what->size);
  }
  if (code != SM_OK) {
    hmc_remote_close(made->remote);
    free(made);
    return code;
  }
  made->next = entity->imports;
  entity->imports = made;
  *address = (void *)(uintptr_t)made->gva;
  return SM_OK;
}

static int32_t import_one(hmci_hybm_entity_t *entity, const description_t *what, void **address) {
  hmci_hybm_peer_t *peer = NULL;
  *address = NULL;
  if (what->rank == entity->rank && what->tag == entity->tag) {
    *address = (void *)(uintptr_t)what->gva;
    return SM_OK;
  }
  int32_t code = meet(entity, what, &peer);
  return code == SM_OK && what->number != 0 ? open_slice(entity, what, peer, address) : code;
}

int32_t hybm_import(hybm_entity_t e, const hybm_exchange_info allExInfo[], uint32_t count, void *addresses[],
                    uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags; /* a description says what it is of */
  if (allExInfo == NULL || count == 0) {
    return hmci_smem_fail(SM_INVALID_PARAM, "nothing to import: give what hybm_export filled in, and a count above 0");
  }
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  description_t *all = calloc(count, sizeof(*all));
  code = all != NULL ? SM_OK : hmci_smem_fail(SM_MALLOC_FAILED, "no memory for %u imports", count);
  for (uint32_t i = 0; i < count && code == SM_OK; i++) {
    if (!read_description(&allExInfo[i], &all[i]) || all[i].id != entity->id || all[i].rank >= entity->ranks ||
        (all[i].rank == entity->rank && all[i].tag != entity->tag)) {
      code = hmci_smem_fail(SM_INVALID_PARAM,
                            "element %u is not what an entity of id %u and of another rank has exported by hybm_export",
                            i, entity->id);
    } else {
      code = check_slice(entity, &all[i]);
    }
  }
  for (uint32_t i = 0; i < count && code == SM_OK; i++) {
    void *address = NULL;
    code = import_one(entity, &all[i], &address);
    if (code == SM_OK && addresses != NULL) {
      addresses[i] = address;
    }
  }
  free(all);
  pthread_rwlock_unlock(&entity->lock);
  return code;
}

/* ---- mapping ----------------------------------------------------------------------------------------------------- */

int32_t hybm_mmap(hybm_entity_t e, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  for (hmci_hybm_import_t *at = entity->imports; at != NULL && code == SM_OK; at = at->next) {
    if (at->mapping != NULL || at->is_registered || at->kind != HMCI_HYBM_HOST || !at->peer->is_near) {
      continue;
    }
    hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
    options.address = (void *)(uintptr_t)at->gva;
    options.length = at->size;
    hmc_status_t status = hmc_remote_map_range(at->remote, &options, &at->mapping);
    if (status != HMC_SUCCESS) {
      at->mapping = NULL;
      code = status == HMC_UNSUPPORT ? SM_OK /* copies reach it */
                                     : hmci_smem_fail_hmc(status, "a slice of rank %u of entity %u cannot be mapped",
                                                          at->peer->rank, entity->id);
    }
  }
  pthread_rwlock_unlock(&entity->lock);
  return code;
}

void hybm_unmap(hybm_entity_t e, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  if (hmci_hybm_entity_change(e, &entity) == SM_OK) {
    for (hmci_hybm_import_t *at = entity->imports; at != NULL; at = at->next) {
      hmc_mapping_close(at->mapping);
      at->mapping = NULL;
    }
    pthread_rwlock_unlock(&entity->lock);
  }
}

int32_t hybm_entity_reach_types(hybm_entity_t e, uint32_t rank, hybm_data_op_type *reachTypes, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  int32_t code = hmci_hybm_entity_of(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  if (reachTypes == NULL || rank >= entity->ranks) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "rank %u of %u, or no place for the mask: a rank below the count, and a place, are needed",
                          rank, entity->ranks);
  }
  unsigned mask = rank == entity->rank ? HYBM_DOP_TYPE_MTE | HYBM_DOP_TYPE_SDMA : 0;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  pthread_rwlock_rdlock(&entity->lock);
  const hmci_hybm_peer_t *peer = find_peer(entity, rank);
  if (peer != NULL && hmc_peer_get_info(peer->peer, &info) == HMC_SUCCESS) {
    mask |= info.type == HMC_CONNECTION_SHM    ? HYBM_DOP_TYPE_MTE | HYBM_DOP_TYPE_SDMA
            : info.type == HMC_CONNECTION_RDMA ? HYBM_DOP_TYPE_HOST_RDMA | HYBM_DOP_TYPE_DEVICE_RDMA
                                               : HYBM_DOP_TYPE_HOST_TCP;
  }
  pthread_rwlock_unlock(&entity->lock);
  *reachTypes = (hybm_data_op_type)mask;
  return SM_OK;
}

int32_t hybm_remove_imported(hybm_entity_t e, uint32_t rank, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  const hmci_hybm_peer_t *peer = find_peer(entity, rank);
  if (peer != NULL) {
    hmci_hybm_peer_forget(entity, peer);
  } else {
    code = hmci_smem_fail(SM_INVALID_PARAM, "nothing of rank %u is imported into entity %u: call hybm_import first",
                          rank, entity->id);
  }
  pthread_rwlock_unlock(&entity->lock);
  return code;
}
