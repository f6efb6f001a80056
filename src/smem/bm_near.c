/* The ends of a copy: what an address is, and regions for the ends that lie in this process (see bm.h). */
#include "bm.h"

#include <inttypes.h>
#include <stdlib.h>

/* An address of the pool. */
static int32_t find_in_pool(const hmci_smem_object_t *object, int kind, uint64_t address, uint64_t size,
                            hmci_smem_end_t *end) {
  uint64_t distance = address - object->base[kind];
  int shift = object->shift[kind]; /* a division takes as long as a small copy */
  uint32_t rank = (uint32_t)(shift >= 0 ? distance >> shift : distance / object->most[kind]);
  uint64_t offset = distance - rank * object->most[kind];
  int is_own = rank == object->world->rank;
  uint64_t limit = is_own ? object->size[kind] : object->most[kind];
  if (offset > limit || size > limit - offset) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%" PRIu64 " B from 0x%" PRIx64 ", offset %" PRIu64 " of rank %u's %s part in pool %u, which "
                          "has %" PRIu64 " B: a copy ends within the part",
                          size, address, offset, rank, kind == HMCI_SMEM_HOST ? "host" : "device", object->id, limit);
  }
  *end = (hmci_smem_end_t){.where = is_own ? HMCI_SMEM_NEAR : HMCI_SMEM_FAR,
                           .is_pool = 1,
                           .kind = kind,
                           .rank = rank,
                           .offset = offset,
                           .room = limit};
  if (kind == HMCI_SMEM_DEVICE) {
    end->memory = object->world->device;
  } else {
    end->memory = (hmc_memory_t){.kind = HMC_MEMORY_CPU, .device = 0};
  }
  if (is_own) {
    end->pointer = (char *)object->pointer[kind] + offset;
    end->region = object->own[kind];
  }
  return SM_OK;
}

/* The registered memory that holds the range, or NULL. */
static const hmci_smem_user_t *find_user(const hmci_smem_object_t *object, uint64_t address, uint64_t size) {
  const hmci_smem_user_t *at = atomic_load_explicit(&object->users, memory_order_acquire);
  while (at != NULL && !hmci_smem_holds(at->address, at->size, address, size)) {
    at = atomic_load_explicit(&at->next, memory_order_acquire); /* partner: smem_bm_register_user_mem */
  }
  return at;
}

/* Memory of this process outside the pool. */
static int32_t find_outside(const hmci_smem_object_t *object, const void *pointer, uint64_t size,
                            hmci_smem_end_t *end) {
  const hmci_smem_user_t *user = find_user(object, (uint64_t)(uintptr_t)pointer, size);
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  *end = (hmci_smem_end_t){.where = HMCI_SMEM_NEAR, .pointer = (void *)(uintptr_t)pointer};
  if (user != NULL) {
    end->region = user->region;
    end->offset = (uint64_t)(uintptr_t)pointer - user->address;
    end->room = user->size;
    end->memory = user->memory;
  } else {
    hmc_status_t status = hmc_memory_query(pointer, &info);
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "what lies at %p is not known", pointer);
    }
    end->memory = info.memory;
  }
  end->kind = end->memory.kind == HMC_MEMORY_CPU ? HMCI_SMEM_HOST : HMCI_SMEM_DEVICE;
  return SM_OK;
}

int32_t hmci_smem_find(const hmci_smem_object_t *object, const void *pointer, uint64_t size, hmci_smem_end_t *end) {
  uint64_t address = (uint64_t)(uintptr_t)pointer;
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    if (address >= object->base[kind] && address - object->base[kind] < object->most[kind] * object->world->size) {
      return find_in_pool(object, kind, address, size, end);
    }
  }
  return find_outside(object, pointer, size, end);
}

int32_t hmci_smem_near_region(const hmci_smem_object_t *object, const hmci_smem_end_t *end, uint64_t size,
                              hmc_region_t **region, uint64_t *offset, hmc_region_t **lent) {
  *lent = NULL;
  *region = end->region;
  *offset = end->offset;
  if (end->region != NULL) {
    return SM_OK;
  }
  hmc_status_t status = hmc_region_register(object->world->context, end->pointer, size, NULL, 0, lent);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "%" PRIu64 " B at %p cannot be copied", size, end->pointer);
  }
  *region = *lent;
  *offset = 0;
  return SM_OK;
}

/* ---- registered user memory -------------------------------------------------------------------------------------- */

/* With the object's lock. */
static _Atomic(hmci_smem_user_t *) *find_address(hmci_smem_object_t *object, uint64_t address) {
  _Atomic(hmci_smem_user_t *) *at = &object->users;
  while (atomic_load(at) != NULL && atomic_load(at)->address != address) {
    at = &atomic_load(at)->next;
  }
  return at;
}

/* With the object's lock: makes it known. */
static int32_t add_user(hmci_smem_object_t *object, uint64_t address, uint64_t size) {
  void *pointer = (void *)(uintptr_t)address;
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  hmci_smem_user_t *user = calloc(1, sizeof(*user));
  if (user == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory to register user memory by");
  }
  hmc_status_t status = hmc_memory_query(pointer, &info);
  if (status == HMC_SUCCESS) {
    status = hmc_region_register(object->world->context, pointer, size, NULL, 0, &user->region);
  }
  if (status != HMC_SUCCESS) {
    free(user);
    return hmci_smem_fail_hmc(status, "%" PRIu64 " B at 0x%" PRIx64 " cannot be registered", size, address);
  }
  user->address = address;
  user->size = size;
  user->memory = info.memory;
  atomic_init(&user->next, atomic_load(&object->users));
  atomic_store(&object->users, user); /* partner: find_user */
  return SM_OK;
}

int32_t smem_bm_register_user_mem(smem_bm_t handle, uint64_t addr, uint64_t size) {
  hmci_smem_object_t *object;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code != SM_OK) {
    return code;
  }
  if (addr == 0 || size == 0) {
    code = hmci_smem_fail(
        SM_INVALID_PARAM,
        "%" PRIu64 " B at 0x%" PRIx64 " cannot be registered: an address and a size above 0 are needed", size, addr);
    goto out;
  }
  pthread_mutex_lock(&object->lock);
  const hmci_smem_user_t *known = atomic_load(find_address(object, addr));
  if (known == NULL) {
    code = add_user(object, addr, size);
  } else if (known->size != size) {
    code = hmci_smem_fail(SM_ERROR,
                          "0x%" PRIx64 " is registered with %" PRIu64 " B, not %" PRIu64
                          ": call smem_bm_unregister_user_mem first",
                          addr, known->size, size);
  }
  pthread_mutex_unlock(&object->lock);
out:
  hmci_smem_object_release(object);
  return code;
}

int32_t smem_bm_unregister_user_mem(smem_bm_t handle, uint64_t addr) {
  hmci_smem_object_t *object;
  int32_t code = hmci_smem_object_hold(handle, &object);
  if (code != SM_OK) {
    return code;
  }
  pthread_mutex_lock(&object->lock);
  _Atomic(hmci_smem_user_t *) *at = find_address(object, addr);
  hmci_smem_user_t *user = atomic_load(at);
  if (user != NULL) {
    atomic_store(at, atomic_load(&user->next));
  }
  pthread_mutex_unlock(&object->lock);
  if (user != NULL) {
    hmci_smem_read_wait();
    hmc_region_close(user->region);
    free(user);
  }
  hmci_smem_object_release(object);
  return SM_OK;
}
