/* BM: joining and leaving an object: this member's part is shown to peers, and hidden (see bm.h). */
#include "bm.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void hide(hmci_smem_object_t *object) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    hmc_region_close(object->shown[kind]);
    object->shown[kind] = NULL;
  }
}

/* The host part is shown by its file, so that peers of this host can map it; a file that somebody gave and that may
 * shrink cannot be, and is shown as memory. */
static hmc_status_t show_kind(hmci_smem_object_t *object, int kind, const char *name) {
  hmc_context_t *context = object->world->context;
  if (kind == HMCI_SMEM_HOST) {
    hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
    options.memory.kind = HMC_MEMORY_CPU;
    options.bytes = object->size[kind];
    options.descriptor = object->descriptor;
    options.name = name;
    options.rights = HMC_REMOTE_ALL;
    hmc_status_t status = hmc_region_create(context, &options, &object->shown[kind]);
    if (status != HMC_INVALID_CONFIG) {
      return status;
    }
  }
  return hmc_region_register(context, object->pointer[kind], object->size[kind], name, HMC_REMOTE_ALL,
                             &object->shown[kind]);
}

static int32_t show(hmci_smem_object_t *object, uint64_t tag) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    char name[HMC_REGION_NAME_SIZE];
    snprintf(name, sizeof(name), "smem-bm/%016" PRIx64 "/%d", tag, kind);
    hmc_status_t status = object->size[kind] == 0 ? HMC_SUCCESS : show_kind(object, kind, name);
    if (status != HMC_SUCCESS) {
      hide(object);
      return hmci_smem_fail_hmc(status, "this member's part of pool %u cannot be offered to peers", object->id);
    }
  }
  return SM_OK;
}

/* In this member's turn. */
static int32_t join(hmci_smem_object_t *object) {
  if (object->has_joined) {
    return hmci_smem_fail(SM_REPEAT_CALL, "this member is in pool %u already: call smem_bm_leave first", object->id);
  }
  hmci_smem_member_t member = {.port = object->world->port, .size = {object->size[0], object->size[1]}};
  memcpy(member.ip, object->world->ip, sizeof(member.ip));
  int32_t code = hmci_smem_new_tag(&member.tag);
  if (code == SM_OK) {
    code = show(object, member.tag);
  }
  if (code != SM_OK) {
    return code;
  }
  char key[64], text[200];
  hmci_smem_member_key(object, object->world->rank, key);
  int size = hmci_smem_member_write(&member, text);
  hmc_status_t status =
      hmc_store_set(object->world->store, key, text, (size_t)size, object->world->lease, object->world->create_ms);
  if (status != HMC_SUCCESS) {
    hide(object);
    return hmci_smem_fail_hmc(status, "pool %u cannot be joined", object->id);
  }
  object->has_joined = 1;
  return SM_OK;
}

int32_t smem_bm_join(smem_bm_t handle, uint32_t flags) {
  hmci_smem_object_t *object;
  (void)flags;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code == SM_OK) {
    pthread_mutex_lock(&object->turn);
    code = join(object);
    pthread_mutex_unlock(&object->turn);
    hmci_smem_object_release(object);
  }
  return code;
}

int32_t smem_bm_join_gva(smem_bm_t handle, uint32_t flags, void **localGvaAddress) {
  if (localGvaAddress == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "no place given for the address: give one, or use the call with two arguments");
  }
  int32_t code = (smem_bm_join)(handle, flags);
  if (code == SM_OK) {
    *localGvaAddress = smem_bm_ptr(handle, (uint16_t)smem_bm_get_rank_id());
  }
  return code;
}

void hmci_smem_leave(hmci_smem_object_t *object, uint64_t timeout_ms) {
  char key[64];
  if (object->has_joined) {
    hmci_smem_member_key(object, object->world->rank, key);
    hmci_smem_forget_key(object, key, timeout_ms);
    hide(object);
    object->has_joined = 0;
  }
}

int32_t smem_bm_leave(smem_bm_t handle, uint32_t flags) {
  hmci_smem_object_t *object;
  (void)flags;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code != SM_OK) {
    return code;
  }
  pthread_mutex_lock(&object->turn);
  if (object->has_joined) {
    hmci_smem_leave(object, object->world->control_ms);
  } else {
    code = hmci_smem_fail(SM_NOT_STARTED, "this member is not in pool %u: call smem_bm_join first", object->id);
  }
  pthread_mutex_unlock(&object->turn);
  hmci_smem_object_release(object);
  return code;
}
