/* HYBM: slices of an entity's own (see hybm_entity.h). */
#include "hybm_entity.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

hmci_hybm_slice_t *hmci_hybm_slice_of(const hmci_hybm_entity_t *entity, hybm_mem_slice_t handle) {
  hmci_hybm_slice_t *at = entity->slices;
  while (at != NULL && at != handle) {
    at = at->next;
  }
  if (at == NULL) {
    hmci_smem_fail(SM_INVALID_PARAM,
                   "%p is not a slice of entity %u: give one of hybm_alloc_local_memory that was not freed", handle,
                   entity->id);
  }
  return at;
}

/* Undoes what was done of a slice, which is in no list. */
static void release(hmci_hybm_entity_t *entity, hmci_hybm_slice_t *slice) {
  hmc_region_close(slice->region);
  if (!slice->is_registered && slice->pointer != NULL) {
    if (slice->kind == HMCI_HYBM_HOST) {
      hmci_smem_unmap(slice->pointer, slice->size);
    } else {
      hmc_memory_free(entity->device, slice->pointer);
    }
  }
  if (slice->descriptor >= 0) {
    close(slice->descriptor);
  }
  free(slice);
}

void hmci_hybm_slice_free(hmci_hybm_entity_t *entity, hmci_hybm_slice_t *slice) {
  hmci_hybm_slice_t **at = &entity->slices;
  while (*at != slice) {
    at = &(*at)->next;
  }
  *at = slice->next;
  release(entity, slice);
  if (entity->slices == NULL) { /* addresses are given again once nobody has any */
    entity->used[HMCI_HYBM_HOST] = entity->used[HMCI_HYBM_DEVICE] = 0;
  }
}

/* A region of it, with all rights, by a name that others learn. */
static int32_t show(hmci_hybm_entity_t *entity, hmci_hybm_slice_t *slice) {
  char name[HMC_REGION_NAME_SIZE];
  slice->number = ++entity->numbers;
  snprintf(name, sizeof(name), "hybm/%016" PRIx64 "/%" PRIu64, entity->tag, slice->number);
  hmc_status_t status;
  if (slice->descriptor >= 0) {
    hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
    options.bytes = slice->size;
    options.descriptor = slice->descriptor;
    options.name = name;
    options.rights = HMC_REMOTE_ALL;
    status = hmc_region_create(entity->context, &options, &slice->region);
  } else {
    status = hmc_region_register(entity->context, slice->pointer, slice->size, name, HMC_REMOTE_ALL, &slice->region);
  }
  return status == HMC_SUCCESS
             ? SM_OK
             : hmci_smem_fail_hmc(status, "%" PRIu64 " B at %p cannot be a slice", slice->size, slice->pointer);
}

static int32_t allocate(hmci_hybm_entity_t *entity, hmci_hybm_slice_t *slice) {
  uint64_t left = entity->space[slice->kind] - entity->used[slice->kind];
  if (entity->base[slice->kind] == 0 || slice->size == 0 || slice->size % HMCI_SMEM_PAGE != 0 || slice->size > left) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "a slice of %" PRIu64 " B: multiples of 2 MiB are taken, and entity %u has %" PRIu64
                          " B of such addresses left for this rank%s",
                          slice->size, entity->id, left, entity->is_reserved ? "" : "; call hybm_reserve_mem_space");
  }
  slice->gva = entity->base[slice->kind] + entity->space[slice->kind] * entity->rank + entity->used[slice->kind];
  int32_t code;
  if (slice->kind == HMCI_HYBM_HOST) {
    void *address = (void *)(uintptr_t)slice->gva;
    slice->memory = (hmc_memory_t){.kind = HMC_MEMORY_CPU, .device = 0};
    code = hmci_smem_map_own(address, slice->size, -1, &slice->descriptor);
    slice->pointer = code == SM_OK ? address : NULL;
  } else {
    slice->memory = entity->device;
    hmc_status_t status = hmc_memory_allocate(entity->device, slice->size, &slice->pointer);
    code = status == HMC_SUCCESS
               ? SM_OK
               : hmci_smem_fail_hmc(status, "%" PRIu64 " B of device memory cannot be had", slice->size);
  }
  return code == SM_OK ? show(entity, slice) : code;
}

static int32_t lend(hmci_hybm_entity_t *entity, hmci_hybm_slice_t *slice) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  hmc_status_t status = hmc_memory_query(slice->pointer, &info);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "what lies at %p is not known", slice->pointer);
  }
  slice->memory = info.memory;
  slice->kind = info.memory.kind == HMC_MEMORY_CPU ? HMCI_HYBM_HOST : HMCI_HYBM_DEVICE;
  slice->gva = (uint64_t)(uintptr_t)slice->pointer;
  return show(entity, slice);
}

static hybm_mem_slice_t add(hybm_entity_t e, hmci_hybm_slice_t wanted,
                            int32_t (*make)(hmci_hybm_entity_t *, hmci_hybm_slice_t *)) {
  hmci_hybm_entity_t *entity;
  if (hmci_hybm_entity_change(e, &entity) != SM_OK) {
    return NULL;
  }
  hmci_hybm_slice_t *made = calloc(1, sizeof(*made));
  if (made == NULL) {
    hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a slice");
  } else {
    *made = wanted;
    made->descriptor = -1;
    if (make(entity, made) == SM_OK) {
      made->next = entity->slices;
      entity->slices = made;
      entity->used[made->kind] += made->is_registered ? 0 : made->size;
    } else {
      release(entity, made);
      made = NULL;
    }
  }
  pthread_rwlock_unlock(&entity->lock);
  return made;
}

hybm_mem_slice_t hybm_alloc_local_memory(hybm_entity_t e, hybm_mem_type mType, uint64_t size, uint32_t flags) {
  (void)flags;
  if (mType != HYBM_MEM_TYPE_DEVICE && mType != HYBM_MEM_TYPE_HOST) {
    hmci_smem_fail(SM_INVALID_PARAM, "memory type %d: HYBM_MEM_TYPE_DEVICE or HYBM_MEM_TYPE_HOST is taken", (int)mType);
    return NULL;
  }
  return add(e,
             (hmci_hybm_slice_t){.kind = mType == HYBM_MEM_TYPE_HOST ? HMCI_HYBM_HOST : HMCI_HYBM_DEVICE, .size = size},
             allocate);
}

hybm_mem_slice_t hybm_register_local_memory(hybm_entity_t e, const void *ptr, uint64_t size, uint32_t flags) {
  (void)flags;
  if (ptr == NULL || size == 0) {
    hmci_smem_fail(SM_INVALID_PARAM,
                   "%" PRIu64 " B at %p cannot be registered: an address and a size above 0 are needed", size, ptr);
    return NULL;
  }
  return add(e, (hmci_hybm_slice_t){.is_registered = 1, .pointer = (void *)(uintptr_t)ptr, .size = size}, lend);
}

int32_t hybm_free_local_memory(hybm_entity_t e, hybm_mem_slice_t slice, uint32_t count, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  const hybm_mem_slice_t *handles = count > 1 ? slice : &slice;
  uint32_t wanted = slice == NULL ? 0 : count > 1 ? count : 1;
  for (uint32_t i = 0; i < wanted && code == SM_OK; i++) {
    code = hmci_hybm_slice_of(entity, handles[i]) != NULL ? SM_OK : SM_INVALID_PARAM;
  }
  for (uint32_t i = 0; i < wanted && code == SM_OK; i++) {
    hmci_hybm_slice_t *found = hmci_hybm_slice_of(entity, handles[i]);
    if (found != NULL) { /* else it was named twice */
      hmci_hybm_slice_free(entity, found);
    }
  }
  while (slice == NULL && entity->slices != NULL) {
    hmci_hybm_slice_free(entity, entity->slices);
  }
  pthread_rwlock_unlock(&entity->lock);
  return code;
}

void *hybm_get_slice_va(hybm_entity_t e, hybm_mem_slice_t slice) {
  hmci_hybm_entity_t *entity;
  void *address = NULL;
  if (hmci_hybm_entity_of(e, &entity) == SM_OK) {
    pthread_rwlock_rdlock(&entity->lock);
    const hmci_hybm_slice_t *found = hmci_hybm_slice_of(entity, slice);
    address = found != NULL ? (void *)(uintptr_t)found->gva : NULL;
    pthread_rwlock_unlock(&entity->lock);
  }
  return address;
}
