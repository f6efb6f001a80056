/* BM: sizes of parts, and global addresses (see bm.h). */
#include "bm.h"

/* The kind that the calls without one mean. */
static int main_kind(const hmci_smem_object_t *object) {
  return object->size[HMCI_SMEM_DEVICE] > 0 ? HMCI_SMEM_DEVICE : HMCI_SMEM_HOST;
}

uint64_t smem_bm_get_local_mem_size(smem_bm_t handle) {
  hmci_smem_object_t *object;
  if (hmci_smem_object_hold(handle, &object) != SM_OK) {
    return 0;
  }
  uint64_t size = object->size[main_kind(object)];
  hmci_smem_object_release(object);
  return size;
}

uint64_t smem_bm_get_local_mem_size_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType) {
  hmci_smem_object_t *object;
  uint64_t size = 0;
  if (hmci_smem_object_hold(handle, &object) != SM_OK) {
    return 0;
  }
  switch (memType) {
  case SMEM_MEM_TYPE_DEVICE:
  case SMEM_MEM_TYPE_LOCAL_DEVICE: size = object->size[HMCI_SMEM_DEVICE]; break;
  case SMEM_MEM_TYPE_HOST:
  case SMEM_MEM_TYPE_LOCAL_HOST: size = object->size[HMCI_SMEM_HOST]; break;
  default: hmci_smem_fail(SM_INVALID_PARAM, "memory type %d: takes one of SMEM_MEM_TYPE_*", (int)memType);
  }
  hmci_smem_object_release(object);
  return size;
}

/* The part of a member on this host is mapped with the first question where it lies. */
static void *pointer_of(hmci_smem_object_t *object, int kind, uint16_t rank) {
  if (rank >= object->world->size) {
    hmci_smem_fail(SM_INVALID_PARAM, "rank %u in a world of %u: ranks begin at 0", rank, object->world->size);
    return NULL;
  }
  if (kind == HMCI_SMEM_HOST) {
    hmci_smem_far_map(object, rank);
  }
  return (void *)(uintptr_t)(object->base[kind] + object->most[kind] * rank);
}

void *smem_bm_ptr(smem_bm_t handle, uint16_t peerRankId) {
  hmci_smem_object_t *object;
  if (hmci_smem_object_hold(handle, &object) != SM_OK) {
    return NULL;
  }
  void *pointer = pointer_of(object, main_kind(object), peerRankId);
  hmci_smem_object_release(object);
  return pointer;
}

void *smem_bm_ptr_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType, uint16_t peerRankId) {
  hmci_smem_object_t *object;
  void *pointer = NULL;
  if (hmci_smem_object_hold(handle, &object) != SM_OK) {
    return NULL;
  }
  if (memType == SMEM_MEM_TYPE_DEVICE || memType == SMEM_MEM_TYPE_HOST) {
    pointer = pointer_of(object, memType == SMEM_MEM_TYPE_DEVICE ? HMCI_SMEM_DEVICE : HMCI_SMEM_HOST, peerRankId);
  } else {
    hmci_smem_fail(SM_INVALID_PARAM, "memory type %d: takes SMEM_MEM_TYPE_DEVICE or SMEM_MEM_TYPE_HOST", (int)memType);
  }
  hmci_smem_object_release(object);
  return pointer;
}

void *smem_bm_local_ptr(smem_bm_t handle, smem_bm_mem_type memType) {
  hmci_smem_object_t *object;
  void *pointer = NULL;
  if (hmci_smem_object_hold(handle, &object) != SM_OK) {
    return NULL;
  }
  if (memType == SMEM_MEM_TYPE_LOCAL_DEVICE || memType == SMEM_MEM_TYPE_LOCAL_HOST) {
    pointer = object->pointer[memType == SMEM_MEM_TYPE_LOCAL_DEVICE ? HMCI_SMEM_DEVICE : HMCI_SMEM_HOST];
  } else {
    hmci_smem_fail(SM_INVALID_PARAM, "memory type %d: takes SMEM_MEM_TYPE_LOCAL_DEVICE or SMEM_MEM_TYPE_LOCAL_HOST",
                   (int)memType);
  }
  hmci_smem_object_release(object);
  return pointer;
}

static uint32_t rank_at(const hmci_smem_object_t *object, const void *pointer) {
  uint64_t address = (uint64_t)(uintptr_t)pointer;
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    uint64_t offset = address - object->base[kind];
    if (address >= object->base[kind] && offset < object->most[kind] * object->world->size) {
      return (uint32_t)(offset / object->most[kind]);
    }
  }
  hmci_smem_fail(SM_INVALID_PARAM, "%p is in nobody's part of pool %u: smem_bm_ptr tells where a part begins", pointer,
                 object->id);
  return UINT32_MAX;
}

uint32_t smem_bm_get_rank_id_by_gva(smem_bm_t handle, void *gva) {
  hmci_smem_object_t *object;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code != SM_OK) {
    return (uint32_t)code;
  }
  uint32_t rank = rank_at(object, gva);
  hmci_smem_object_release(object);
  return rank;
}
