/* HYBM: copies (see hybm_entity.h). With the entity's lock held for reading. */
#include "hybm_entity.h"

#include <hybm/hybm_data_op.h>

#include <inttypes.h>
#include <stdlib.h>

enum { LOCAL = 1, GLOBAL = 2 };

/* An end of a copy: here, or in an import. */
typedef struct end {
  int kind, scopes; /* scopes: LOCAL, GLOBAL, or both: memory that the program has registered */
  void *pointer;    /* here */
  hmc_memory_t memory;
  hmc_region_t *region;             /* a slice's; NULL: none yet */
  const hmci_hybm_import_t *import; /* NULL: here */
  uint64_t offset;                  /* in region or import */
} end_t;

/* ---- what an address is ------------------------------------------------------------------------------------------ */

static int is_reserved(const hmci_hybm_entity_t *entity, uint64_t address) {
  for (int kind = 0; kind < HMCI_HYBM_KINDS; kind++) {
    if (entity->base[kind] != 0 && address >= entity->base[kind] &&
        address - entity->base[kind] < entity->space[kind] * entity->ranks) {
      return 1;
    }
  }
  return 0;
}

static int32_t find(const hmci_hybm_entity_t *entity, const void *pointer, uint64_t size, end_t *end) {
  uint64_t address = (uint64_t)(uintptr_t)pointer;
  for (const hmci_hybm_slice_t *at = entity->slices; at != NULL; at = at->next) {
    if (hmci_smem_holds(at->gva, at->size, address, size)) {
      uint64_t offset = address - at->gva;
      *end = (end_t){.kind = at->kind,
                     .scopes = at->is_registered ? LOCAL | GLOBAL : GLOBAL,
                     .pointer = (char *)at->pointer + offset,
                     .memory = at->memory,
                     .region = at->region,
                     .offset = offset};
      return SM_OK;
    }
  }
  for (const hmci_hybm_import_t *at = entity->imports; at != NULL; at = at->next) {
    if (hmci_smem_holds(at->gva, at->size, address, size)) {
      *end = (end_t){.kind = at->kind, .scopes = GLOBAL, .import = at, .offset = address - at->gva};
      return SM_OK;
    }
  }
  if (is_reserved(entity, address)) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%" PRIu64 " B from %p are in no slice of entity %u, or run past one: import its slice first",
                          size, pointer, entity->id);
  }
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  hmc_status_t status = hmc_memory_query(pointer, &info);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "what lies at %p is not known", pointer);
  }
  *end = (end_t){.kind = info.memory.kind == HMC_MEMORY_CPU ? HMCI_HYBM_HOST : HMCI_HYBM_DEVICE,
                 .scopes = LOCAL,
                 .pointer = (void *)(uintptr_t)pointer,
                 .memory = info.memory};
  return SM_OK;
}

static const struct {
  int from_scope, from_kind, to_scope, to_kind;
} directions[HYBM_DATA_COPY_DIRECTION_AUTO] = {
    [HYBM_LOCAL_HOST_TO_GLOBAL_HOST] = {LOCAL, HMCI_HYBM_HOST, GLOBAL, HMCI_HYBM_HOST},
    [HYBM_LOCAL_HOST_TO_GLOBAL_DEVICE] = {LOCAL, HMCI_HYBM_HOST, GLOBAL, HMCI_HYBM_DEVICE},
    [HYBM_LOCAL_DEVICE_TO_GLOBAL_HOST] = {LOCAL, HMCI_HYBM_DEVICE, GLOBAL, HMCI_HYBM_HOST},
    [HYBM_LOCAL_DEVICE_TO_GLOBAL_DEVICE] = {LOCAL, HMCI_HYBM_DEVICE, GLOBAL, HMCI_HYBM_DEVICE},
    [HYBM_GLOBAL_HOST_TO_GLOBAL_HOST] = {GLOBAL, HMCI_HYBM_HOST, GLOBAL, HMCI_HYBM_HOST},
    [HYBM_GLOBAL_HOST_TO_GLOBAL_DEVICE] = {GLOBAL, HMCI_HYBM_HOST, GLOBAL, HMCI_HYBM_DEVICE},
    [HYBM_GLOBAL_HOST_TO_LOCAL_HOST] = {GLOBAL, HMCI_HYBM_HOST, LOCAL, HMCI_HYBM_HOST},
    [HYBM_GLOBAL_HOST_TO_LOCAL_DEVICE] = {GLOBAL, HMCI_HYBM_HOST, LOCAL, HMCI_HYBM_DEVICE},
    [HYBM_GLOBAL_DEVICE_TO_GLOBAL_HOST] = {GLOBAL, HMCI_HYBM_DEVICE, GLOBAL, HMCI_HYBM_HOST},
    [HYBM_GLOBAL_DEVICE_TO_GLOBAL_DEVICE] = {GLOBAL, HMCI_HYBM_DEVICE, GLOBAL, HMCI_HYBM_DEVICE},
    [HYBM_GLOBAL_DEVICE_TO_LOCAL_HOST] = {GLOBAL, HMCI_HYBM_DEVICE, LOCAL, HMCI_HYBM_HOST},
    [HYBM_GLOBAL_DEVICE_TO_LOCAL_DEVICE] = {GLOBAL, HMCI_HYBM_DEVICE, LOCAL, HMCI_HYBM_DEVICE},
};

static int32_t find_ends(const hmci_hybm_entity_t *entity, const void *source, const void *target, uint64_t size,
                         hybm_data_copy_direction direction, end_t *from, end_t *to) {
  int32_t code = hmci_smem_check_copy(source, target, size);
  if (code == SM_OK) {
    code = find(entity, source, size, from);
  }
  if (code == SM_OK) {
    code = find(entity, target, size, to);
  }
  if (code == SM_OK && ((from->scopes | to->scopes) & GLOBAL) == 0) {
    code = hmci_smem_fail(
        SM_INVALID_PARAM,
        "neither %p nor %p is in a slice: hybm_alloc_local_memory makes them, hybm_import brings those of others",
        source, target);
  }
  if (code == SM_OK && direction != HYBM_DATA_COPY_DIRECTION_AUTO &&
      (from->kind != directions[direction].from_kind || (from->scopes & directions[direction].from_scope) == 0 ||
       to->kind != directions[direction].to_kind || (to->scopes & directions[direction].to_scope) == 0)) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "%p to %p is not of direction %d (HYBM_DATA_COPY_DIRECTION_AUTO finds it)",
                          source, target, (int)direction);
  }
  return code;
}

/* ---- one copy ---------------------------------------------------------------------------------------------------- */

static int32_t judge(hmc_status_t status) {
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "a copy failed");
}

/* Between an end here and one of a peer. With `list` it is started only. */
static int32_t copy_far(const hmci_hybm_entity_t *entity, const end_t *near, const end_t *far, uint64_t size,
                        int is_put, hmci_hybm_pending_t **list) {
  hmci_hybm_pending_t *pending = list != NULL ? calloc(1, sizeof(*pending)) : NULL;
  hmc_region_t *region = near->region, *lent = NULL;
  hmc_status_t status = HMC_SUCCESS;
  if (list != NULL && pending == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a copy");
  }
  if (region == NULL) {
    status = hmc_region_register(entity->context, near->pointer, size, NULL, 0, &lent);
    region = lent;
  }
  uint64_t offset = near->region != NULL ? near->offset : 0;
  hmc_remote_t *remote = far->import->remote;
  if (status == HMC_SUCCESS && list == NULL) {
    status = is_put ? hmc_put(region, offset, remote, far->offset, size)
                    : hmc_get(region, offset, remote, far->offset, size);
  } else if (status == HMC_SUCCESS) {
    status = is_put ? hmc_put_nb(region, offset, remote, far->offset, size, NULL, &pending->request)
                    : hmc_get_nb(region, offset, remote, far->offset, size, NULL, &pending->request);
  }
  int32_t code = judge(status);
  if (code == SM_OK && list != NULL) {
    pending->lent = lent;
    pending->next = *list;
    *list = pending;
    return SM_OK;
  }
  hmc_region_close(lent);
  free(pending);
  return code;
}

typedef struct between {
  const hmci_hybm_entity_t *entity;
  const end_t *from, *to;
} between_t;

static int32_t move_between(void *user, void *buffer, uint64_t done, uint64_t bytes) {
  const between_t *between = user;
  const end_t here = {.kind = HMCI_HYBM_HOST, .pointer = buffer, .memory = {.kind = HMC_MEMORY_CPU, .device = 0}};
  end_t source = *between->from, target = *between->to;
  source.offset += done;
  target.offset += done;
  int32_t code = copy_far(between->entity, &here, &source, bytes, 0, NULL);
  return code == SM_OK ? copy_far(between->entity, &here, &target, bytes, 1, NULL) : code;
}

static int32_t copy_one(const hmci_hybm_entity_t *entity, const void *source, void *target, uint64_t size,
                        hybm_data_copy_direction direction, hmci_hybm_pending_t **list) {
  end_t from, to;
  int32_t code = find_ends(entity, source, target, size, direction, &from, &to);
  if (code != SM_OK) {
    return code;
  }
  if (from.import == NULL && to.import == NULL) {
    return judge(hmc_memory_copy(to.pointer, to.memory, from.pointer, from.memory, size));
  }
  if (from.import != NULL && to.import != NULL) {
    between_t between = {.entity = entity, .from = &from, .to = &to};
    return hmci_smem_bounce(size, move_between, &between);
  }
  int is_put = to.import != NULL;
  return copy_far(entity, is_put ? &from : &to, is_put ? &to : &from, size, is_put, list);
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* Waits for each of a list and frees it; the first error in the order in which they were started. */
static int32_t finish(hmci_hybm_pending_t *list) {
  int32_t first = SM_OK;
  while (list != NULL) {
    hmci_hybm_pending_t *next = list->next;
    int32_t code = judge(hmc_request_wait(list->request));
    first = code != SM_OK ? code : first; /* the list begins with the last */
    hmc_request_free(list->request);
    hmc_region_close(list->lent);
    free(list);
    list = next;
  }
  return first;
}

static void leave(hmci_hybm_entity_t *entity, hmci_hybm_pending_t *list) {
  pthread_mutex_lock(&entity->pending_lock);
  while (list != NULL) {
    hmci_hybm_pending_t *next = list->next;
    list->next = entity->pending;
    entity->pending = list;
    list = next;
  }
  pthread_mutex_unlock(&entity->pending_lock);
}

static int32_t check_call(hybm_entity_t e, const void *params, hybm_data_copy_direction direction, void *stream,
                          hmci_hybm_entity_t **entity) {
  int32_t code = hmci_hybm_entity_of(e, entity);
  if (code == SM_OK && (params == NULL || (int)direction < 0 || direction >= HYBM_DATA_COPY_DIRECTION_BUTT)) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "%s, direction %d: parameters, and a direction up to AUTO, are needed",
                          params == NULL ? "no parameters" : "parameters", (int)direction);
  }
  if (code == SM_OK && stream != NULL) {
    code = judge(hmc_memory_stream_wait((*entity)->device, stream));
  }
  return code;
}

int32_t hybm_data_copy(hybm_entity_t e, hybm_copy_params *params, hybm_data_copy_direction direction, void *stream,
                       uint32_t flags) {
  hmci_hybm_entity_t *entity;
  hmci_hybm_pending_t *started = NULL;
  int32_t code = check_call(e, params, direction, stream, &entity);
  if (code != SM_OK) {
    return code;
  }
  pthread_rwlock_rdlock(&entity->lock);
  code = copy_one(entity, params->src, params->dest, params->dataSize, direction,
                  (flags & ASYNC_COPY_FLAG) != 0 ? &started : NULL);
  leave(entity, started);
  pthread_rwlock_unlock(&entity->lock);
  return code;
}

int32_t hybm_data_batch_copy(hybm_entity_t e, hybm_batch_copy_params *params, hybm_data_copy_direction direction,
                             void *stream, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  hmci_hybm_pending_t *started = NULL;
  int32_t first = check_call(e, params, direction, stream, &entity);
  if (first != SM_OK) {
    return first;
  }
  if (params->batchSize == 0 || params->sources == NULL || params->destinations == NULL || params->dataSizes == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a batch of %u pieces, or without a list", params->batchSize);
  }
  pthread_rwlock_rdlock(&entity->lock);
  for (uint32_t i = 0; i < params->batchSize; i++) {
    int32_t code =
        copy_one(entity, params->sources[i], params->destinations[i], params->dataSizes[i], direction, &started);
    first = first == SM_OK ? code : first;
  }
  if ((flags & ASYNC_COPY_FLAG) != 0) {
    leave(entity, started);
  } else {
    int32_t code = finish(started);
    first = first == SM_OK ? code : first;
  }
  pthread_rwlock_unlock(&entity->lock);
  return first;
}

int32_t hybm_wait(hybm_entity_t e) {
  hmci_hybm_entity_t *entity;
  int32_t code = hmci_hybm_entity_of(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  pthread_rwlock_rdlock(&entity->lock); /* what they go to must stay */
  pthread_mutex_lock(&entity->pending_lock);
  hmci_hybm_pending_t *list = entity->pending;
  entity->pending = NULL;
  pthread_mutex_unlock(&entity->pending_lock);
  code = finish(list);
  pthread_rwlock_unlock(&entity->lock);
  return code;
}
