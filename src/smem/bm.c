/* BM: its objects, from create to destroy (see bm.h). */
#include "bm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#define HOST_MOST (UINT64_C(2) << 40) /* bytes of one member's parts */
#define DEVICE_MOST (UINT64_C(64) << 30)

/* ---- making one -------------------------------------------------------------------------------------------------- */

/* Allocates this member's parts. */
static int32_t allocate(hmci_smem_object_t *object, int given) {
  hmci_smem_world_t *in = object->world;
  if (object->size[HMCI_SMEM_HOST] > 0) {
    void *address = (char *)(uintptr_t)object->base[HMCI_SMEM_HOST] + object->most[HMCI_SMEM_HOST] * in->rank;
    int32_t code = hmci_smem_map_own(address, object->size[HMCI_SMEM_HOST], given, &object->descriptor);
    if (code != SM_OK) {
      return code;
    }
    object->pointer[HMCI_SMEM_HOST] = address;
  }
  if (object->size[HMCI_SMEM_DEVICE] > 0) {
    hmc_status_t status =
        hmc_memory_allocate(in->device, object->size[HMCI_SMEM_DEVICE], &object->pointer[HMCI_SMEM_DEVICE]);
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "%" PRIu64 " B of device memory cannot be had", object->size[HMCI_SMEM_DEVICE]);
    }
  }
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    if (object->size[kind] > 0) {
      hmc_status_t status =
          hmc_region_register(in->context, object->pointer[kind], object->size[kind], NULL, 0, &object->own[kind]);
      if (status != HMC_SUCCESS) {
        return hmci_smem_fail_hmc(status, "this member's part of pool %u cannot be used", object->id);
      }
    }
  }
  return SM_OK;
}

/* Undoes what was done of create, in any state. */
static void free_object(hmci_smem_object_t *object) {
  hmci_smem_world_t *in = object->world;
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    hmc_region_close(object->own[kind]);
  }
  for (hmci_smem_user_t *user = atomic_load(&object->users), *next; user != NULL; user = next) {
    next = atomic_load(&user->next);
    hmc_region_close(user->region);
    free(user);
  }
  if (object->pointer[HMCI_SMEM_DEVICE] != NULL) {
    hmc_memory_free(in->device, object->pointer[HMCI_SMEM_DEVICE]);
  }
  if (object->descriptor >= 0) {
    close(object->descriptor);
  }
  hmci_smem_layout_leave(object);
  pthread_cond_destroy(&object->changed);
  pthread_mutex_destroy(&object->turn);
  pthread_mutex_destroy(&object->lock);
  free(object->places);
  free(object);
}

static int32_t check_sizes(const smem_bm_create_option_t *option) {
  const uint64_t sizes[] = {option->localDRAMSize, option->localHBMSize, option->maxDramSize, option->maxHbmSize};
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    uint64_t most = i % 2 == 0 ? HOST_MOST : DEVICE_MOST;
    if (sizes[i] % HMCI_SMEM_PAGE != 0 || sizes[i] > most) {
      return hmci_smem_fail(SM_INVALID_PARAM,
                            "a part of %" PRIu64 " B: multiples of 2 MiB up to %" PRIu64 " B are taken", sizes[i],
                            most);
    }
  }
  if ((option->maxDramSize != 0 && option->localDRAMSize > option->maxDramSize) ||
      (option->maxHbmSize != 0 && option->localHBMSize > option->maxHbmSize)) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "a part is larger than maxDramSize or maxHbmSize allows: make these larger");
  }
  if (option->localDRAMSize == 0 && option->localHBMSize == 0 && option->maxDramSize == 0 && option->maxHbmSize == 0) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a pool without memory: give a host size, a device size, or the max sizes");
  }
  if ((int)option->dataOpType <= 0 || (int)option->dataOpType >= 2 * SMEMB_DATA_OP_HOST_URMA) {
    return hmci_smem_fail(SM_INVALID_PARAM, "data op type %d: takes a mask of SMEMB_DATA_OP_*",
                          (int)option->dataOpType);
  }
  return SM_OK;
}

static int32_t begin_object(hmci_smem_object_t *object, const smem_bm_create_option_t *option) {
  const uint64_t most[HMCI_SMEM_KINDS] = {option->maxDramSize, option->maxHbmSize};
  int given = (option->flags & SMEM_BM_FLAG_CREATE_WITH_SHM) != 0 ? option->dramShmFd : -1;
  object->places = calloc(object->world->size, sizeof(*object->places));
  if (object->places == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for the members of pool %u", object->id);
  }
  int32_t code = hmci_smem_layout_agree(object, most);
  if (code == SM_OK) {
    code = allocate(object, given);
  }
  return code == SM_OK ? hmci_smem_members_start(object) : code;
}

/* With the world's lock held. */
static int32_t create(uint32_t id, const smem_bm_create_option_t *option, hmci_smem_object_t **created) {
  if (hmci_smem_bm_world == NULL) {
    return hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_bm_init first");
  }
  if (hmci_smem_object_has(id)) {
    return hmci_smem_fail(SM_DUPLICATED_OBJECT, "this process has pool %u already: destroy it first", id);
  }
  int32_t code = check_sizes(option);
  if (code != SM_OK) {
    return code;
  }
  hmci_smem_object_t *object = calloc(1, sizeof(*object));
  if (object == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for pool %u", id);
  }
  *object = (hmci_smem_object_t){.id = id,
                                 .world = hmci_smem_bm_world,
                                 .type = hmci_smem_connection_type(option->dataOpType),
                                 .size = {option->localDRAMSize, option->localHBMSize},
                                 .descriptor = -1};
  pthread_mutex_init(&object->lock, NULL);
  pthread_mutex_init(&object->turn, NULL);
  pthread_cond_init(&object->changed, NULL);
  code = begin_object(object, option);
  if (code != SM_OK) {
    free_object(object);
    return code;
  }
  hmci_smem_object_add(object);
  *created = object;
  return SM_OK;
}

smem_bm_t smem_bm_create2(uint32_t id, const smem_bm_create_option_t *option) {
  hmci_smem_object_t *object = NULL;
  if (option == NULL) {
    hmci_smem_fail(SM_INVALID_PARAM, "no options given for pool %u: smem_bm_create2 needs them", id);
    return NULL;
  }
  pthread_mutex_lock(&hmci_smem_bm_lock);
  int32_t code = create(id, option, &object);
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  return code == SM_OK ? object : NULL;
}

smem_bm_t smem_bm_create(uint32_t id, uint32_t memberSize, smem_bm_data_op_type dataOpType, uint64_t localDRAMSize,
                         uint64_t localHBMSize, uint32_t flags) {
  const smem_bm_create_option_t option = {.localDRAMSize = localDRAMSize,
                                          .localHBMSize = localHBMSize,
                                          .dataOpType = dataOpType,
                                          .flags = flags & ~SMEM_BM_FLAG_CREATE_WITH_SHM};
  (void)memberSize;
  return smem_bm_create2(id, &option);
}

/* ---- ending one -------------------------------------------------------------------------------------------------- */

void smem_bm_destroy(smem_bm_t handle) {
  hmci_smem_object_t *object;
  if (hmci_smem_object_end(handle, &object) != SM_OK) {
    hmci_smem_log(HMCI_SMEM_WARNING, "smem_bm_destroy: %s", smem_get_last_err_msg());
    return;
  }
  hmci_smem_leave(object, HMCI_SMEM_GIVE_UP_MS);
  (void)hmci_smem_finish(object); /* of the others' failures, their own calls have reported */
  hmci_smem_members_stop(object);
  hmci_smem_object_remove(object);
  free_object(object);
}

void smem_bm_uninit(uint32_t flags) {
  (void)flags;
  pthread_mutex_lock(&hmci_smem_bm_lock);
  hmci_smem_world_t *ended = hmci_smem_bm_world;
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  for (smem_bm_t object = hmci_smem_object_first(); object != NULL; object = hmci_smem_object_first()) {
    smem_bm_destroy(object);
  }
  pthread_mutex_lock(&hmci_smem_bm_lock);
  hmci_smem_bm_world = NULL;
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  if (ended != NULL) {
    hmci_smem_world_free(ended);
  }
}
