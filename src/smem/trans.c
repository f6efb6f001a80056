/* TRANS: handles, and the memory that they show to peers (see trans.h). */
#include "trans.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MALLOC_MOST (UINT64_C(4) << 40)

static pthread_mutex_t trans_lock = PTHREAD_MUTEX_INITIALIZER;
static int is_initialized;
static hmci_smem_trans_t *handles;

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

int32_t smem_trans_config_init(smem_trans_config_t *config) {
  if (config == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no config given to fill in: give the address of one");
  }
  config->role = SMEM_TRANS_SENDER;
  config->initTimeout = HMCI_SMEM_TIMEOUT_S;
  config->deviceId = UINT32_MAX;
  config->flags = 0;
  config->startConfigServer = false;
  return SM_OK;
}

int32_t smem_trans_init(const smem_trans_config_t *config) {
  if (config == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no config given: smem_trans_config_init fills one in");
  }
  pthread_mutex_lock(&trans_lock);
  is_initialized = 1;
  pthread_mutex_unlock(&trans_lock);
  return SM_OK;
}

void smem_trans_uninit(uint32_t flags) {
  hmci_smem_trans_t *at;
  do {
    pthread_mutex_lock(&trans_lock);
    at = handles;
    is_initialized = 0;
    pthread_mutex_unlock(&trans_lock);
    if (at != NULL) {
      smem_trans_destroy(at, flags);
    }
  } while (at != NULL);
}

hmci_smem_trans_t *hmci_smem_trans_of(smem_trans_t handle, int32_t *code) {
  pthread_mutex_lock(&trans_lock);
  hmci_smem_trans_t *at = handles;
  int is_there = is_initialized || handles != NULL;
  while (at != NULL && at != handle) {
    at = at->next;
  }
  pthread_mutex_unlock(&trans_lock);
  if (at == NULL) {
    *code = handle != NULL && !is_there
                ? hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_trans_init first")
                : hmci_smem_fail(SM_INVALID_PARAM, "%p is not a handle of smem_trans_create that was not destroyed",
                                 handle);
  }
  return at;
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

static void free_trans(hmci_smem_trans_t *trans) {
  hmci_smem_partners_close(trans);
  while (trans->ranges != NULL) {
    hmci_smem_range_t *range = trans->ranges;
    trans->ranges = range->next;
    hmc_region_close(range->region);
    free(range);
  }
  hmc_store_lease_release(trans->lease, HMCI_SMEM_GIVE_UP_MS);
  hmc_context_destroy(trans->context);
  hmci_smem_link_release(trans->link);
  pthread_rwlock_destroy(&trans->lock);
  free(trans);
}

/* Tells others that the id is here. A former handle of that id may take a moment to go. */
static int32_t tell_id(hmci_smem_trans_t *trans) {
  char key[128], text[40];
  int swapped = 0, tries = 0;
  snprintf(key, sizeof(key), "smem/trans/%s/id", trans->id);
  int size = snprintf(text, sizeof(text), "%016" PRIx64 " %d", trans->tag, (int)trans->role);
  do {
    const struct timespec pause = {.tv_nsec = tries > 0 ? 50000000 : 0};
    nanosleep(&pause, NULL);
    hmc_status_t status = hmc_store_compare_swap(trans->store, key, NULL, 0, text, (size_t)size, trans->lease, &swapped,
                                                 trans->timeout_ms);
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "%s cannot be sent to others", trans->id);
    }
  } while (!swapped && ++tries < 100);
  return swapped ? SM_OK
                 : hmci_smem_fail(SM_DUPLICATED_OBJECT, "another handle has the id %s: give each its own uniqueId",
                                  trans->id);
}

static int32_t enter(hmci_smem_trans_t *trans, const char *url, const hmci_smem_url_t *own,
                     const smem_trans_config_t *config) {
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  int32_t code = hmci_smem_new_tag(&trans->tag);
  if (code == SM_OK) {
    code = hmci_smem_choose_device(config->deviceId == UINT32_MAX ? 0 : (uint16_t)config->deviceId, &trans->device);
  }
  if (code == SM_OK) {
    code = hmci_smem_link_acquire(url, config->startConfigServer ? HMCI_SMEM_MAY_SERVE : HMCI_SMEM_JOIN,
                                  trans->timeout_ms, &trans->link);
  }
  if (code != SM_OK) {
    return code;
  }
  trans->store = hmci_smem_link_store(trans->link);
  options.name = "smem-trans";
  options.timeout_ms = trans->timeout_ms;
  hmc_status_t status = hmc_context_create(&options, &trans->context);
  if (status == HMC_SUCCESS) {
    status = hmc_context_listen(trans->context, own->ip, own->port, NULL);
  }
  if (status == HMC_SUCCESS) {
    status = hmc_store_lease_create(trans->store, 0, trans->timeout_ms, &trans->lease);
  }
  return status == HMC_SUCCESS ? tell_id(trans)
                               : hmci_smem_fail_hmc(status,
                                                    "%s cannot be a point of transfers; its uniqueId is a free port of "
                                                    "this host, and the store is there",
                                                    trans->id);
}

static int32_t check_create(const char *id, const smem_trans_config_t *config, hmci_smem_url_t *own) {
  pthread_mutex_lock(&trans_lock);
  int is_ready = is_initialized;
  pthread_mutex_unlock(&trans_lock);
  if (!is_ready) {
    return hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_trans_init first");
  }
  if (config == NULL || config->initTimeout == 0 || (int)config->role < SMEM_TRANS_NONE ||
      config->role >= SMEM_TRANS_BUTT) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a config with a role and a timeout above 0 is needed");
  }
  return hmci_smem_parse_address(id, own);
}

smem_trans_t smem_trans_create(const char *storeUrl, const char *uniqueId, const smem_trans_config_t *config) {
  hmci_smem_url_t own;
  if (check_create(uniqueId, config, &own) != SM_OK) {
    return NULL;
  }
  hmci_smem_trans_t *trans = calloc(1, sizeof(*trans));
  if (trans == NULL) {
    hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a handle");
    return NULL;
  }
  trans->role = config->role;
  trans->type = hmci_smem_connection_type(config->dataOpType);
  trans->timeout_ms = (uint64_t)config->initTimeout * 1000;
  snprintf(trans->id, sizeof(trans->id), "%s", uniqueId);
  hmci_smem_rwlock_init(&trans->lock);
  if (enter(trans, storeUrl, &own, config) != SM_OK) {
    free_trans(trans);
    return NULL;
  }
  pthread_mutex_lock(&trans_lock);
  trans->next = handles;
  handles = trans;
  pthread_mutex_unlock(&trans_lock);
  return trans;
}

void smem_trans_destroy(smem_trans_t handle, uint32_t flags) {
  int32_t code = SM_OK;
  (void)flags;
  if (hmci_smem_trans_of(handle, &code) == NULL) {
    hmci_smem_log(HMCI_SMEM_WARNING, "smem_trans_destroy: %s", smem_get_last_err_msg());
    return;
  }
  pthread_mutex_lock(&trans_lock);
  hmci_smem_trans_t **at = &handles;
  while (*at != handle) {
    at = &(*at)->next;
  }
  hmci_smem_trans_t *trans = *at;
  *at = trans->next;
  pthread_mutex_unlock(&trans_lock);
  free_trans(trans);
}

/* ---- memory that peers reach ------------------------------------------------------------------------------------- */

const hmci_smem_range_t *hmci_smem_range_find(const hmci_smem_trans_t *trans, uint64_t address, uint64_t size) {
  const hmci_smem_range_t *at = trans->ranges;
  while (at != NULL && !hmci_smem_holds(at->address, at->size, address, size)) {
    at = at->next;
  }
  return at;
}

static void range_key(const hmci_smem_trans_t *trans, uint64_t address, char key[160]) {
  snprintf(key, 160, "smem/trans/%s/mem/%016" PRIx64, trans->id, address);
}

/* Makes the region of a range and tells of it; `size` bytes at `address`, or with address 0 of new memory. */
static int32_t show_range(hmci_smem_trans_t *trans, uint64_t address, uint64_t size, hmci_smem_range_t **shown) {
  uint64_t tag;
  char name[HMC_REGION_NAME_SIZE], key[160], text[64];
  const hmc_memory_t host = {.kind = HMC_MEMORY_CPU, .device = 0};
  int32_t code = hmci_smem_new_tag(&tag);
  if (code != SM_OK) {
    return code;
  }
  hmci_smem_range_t *range = calloc(1, sizeof(*range));
  if (range == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory to register memory by");
  }
  snprintf(name, sizeof(name), "smem-trans/%016" PRIx64, tag);
  range->is_ours = address == 0;
  hmc_status_t status =
      range->is_ours
          ? hmc_region_allocate(trans->context, host, size, name, HMC_REMOTE_ALL, &range->region)
          : hmc_region_register(trans->context, (void *)(uintptr_t)address, size, name, HMC_REMOTE_ALL, &range->region);
  if (status == HMC_SUCCESS) {
    range->address = (uint64_t)(uintptr_t)hmc_region_pointer(range->region);
    range->size = size;
    range_key(trans, range->address, key);
    int length = snprintf(text, sizeof(text), "%016" PRIx64 " %" PRIu64, tag, size);
    status = hmc_store_set(trans->store, key, text, (size_t)length, trans->lease, trans->timeout_ms);
  }
  if (status != HMC_SUCCESS) {
    code = hmci_smem_fail_hmc(status, "%" PRIu64 " B cannot be offered to peers", size);
    hmc_region_close(range->region);
    free(range);
    return code;
  }
  range->next = trans->ranges;
  trans->ranges = range;
  *shown = range;
  return SM_OK;
}

static int overlaps(const hmci_smem_trans_t *trans, uint64_t address, uint64_t size) {
  const hmci_smem_range_t *at = trans->ranges;
  while (at != NULL && !(address < at->address + at->size && at->address < address + size)) {
    at = at->next;
  }
  return at != NULL;
}

/* `is_new`: whether it was not registered before. */
static int32_t register_range(smem_trans_t handle, void *address, size_t capacity, uint32_t flags, uint8_t *is_new) {
  int32_t code = SM_OK;
  hmci_smem_range_t *range;
  hmci_smem_trans_t *trans = hmci_smem_trans_of(handle, &code);
  uint64_t begin = (uint64_t)(uintptr_t)address;
  *is_new = 0;
  if (trans == NULL) {
    return code;
  }
  if (address == NULL || capacity == 0 || begin + capacity < begin || (flags & ~(uint32_t)COPY_EXTEND_FLAG) != 0) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%zu B at %p with flags 0x%x cannot be registered: an address, a size above 0, and flags 0 "
                          "or COPY_EXTEND_FLAG, are needed",
                          capacity, address, flags);
  }
  pthread_rwlock_wrlock(&trans->lock);
  const hmci_smem_range_t *same = hmci_smem_range_find(trans, begin, capacity);
  if (same != NULL && same->address == begin && same->size == capacity) {
    code = SM_OK; /* once more */
  } else if (overlaps(trans, begin, capacity)) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "%zu B at %p overlap memory that is registered: deregister that first",
                          capacity, address);
  } else {
    code = show_range(trans, begin, capacity, &range);
    *is_new = code == SM_OK;
  }
  pthread_rwlock_unlock(&trans->lock);
  return code;
}

int32_t smem_trans_register_mem(smem_trans_t handle, void *address, size_t capacity, uint32_t flags) {
  uint8_t is_new;
  return register_range(handle, address, capacity, flags, &is_new);
}

int32_t smem_trans_batch_register_mem(smem_trans_t handle, void *addresses[], size_t capacities[], uint32_t count,
                                      uint32_t flags) {
  if (addresses == NULL || capacities == NULL || count == 0) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "%u ranges, or no list of them: addresses and sizes of at least one are needed", count);
  }
  uint8_t *are_new = malloc(count);
  if (are_new == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory to register %u ranges by", count);
  }
  int32_t code = SM_OK;
  uint32_t done = 0;
  while (done < count && code == SM_OK) {
    code = register_range(handle, addresses[done], capacities[done], flags, &are_new[done]);
    done += code == SM_OK;
  }
  while (code != SM_OK && done > 0) { /* all or none, and what was registered before stays so */
    if (are_new[--done]) {
      smem_trans_deregister_mem(handle, addresses[done]);
    }
  }
  free(are_new);
  return code;
}

/* Takes a range back; `ours` says whether it must be of smem_trans_malloc. */
static int32_t hide_range(hmci_smem_trans_t *trans, uint64_t address, int ours) {
  char key[160];
  pthread_rwlock_wrlock(&trans->lock);
  hmci_smem_range_t **at = &trans->ranges;
  while (*at != NULL && ((*at)->address != address || (*at)->is_ours != ours)) {
    at = &(*at)->next;
  }
  hmci_smem_range_t *range = *at;
  if (range != NULL) {
    *at = range->next;
    range_key(trans, address, key);
    if (hmc_store_delete(trans->store, key, trans->timeout_ms) != HMC_SUCCESS) {
      hmci_smem_log(HMCI_SMEM_INFO, "the store keeps %s until the handle ends: %s", key, hmc_last_error());
    }
    hmc_region_close(range->region);
    free(range);
  }
  pthread_rwlock_unlock(&trans->lock);
  return range != NULL;
}

int32_t smem_trans_deregister_mem(smem_trans_t handle, void *address) {
  int32_t code = SM_OK;
  hmci_smem_trans_t *trans = hmci_smem_trans_of(handle, &code);
  if (trans == NULL) {
    return code;
  }
  if (address == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no address given: give one of smem_trans_register_mem");
  }
  hide_range(trans, (uint64_t)(uintptr_t)address, 0);
  return SM_OK;
}

void *smem_trans_malloc(smem_trans_t handle, size_t capacity) {
  int32_t code = SM_OK;
  hmci_smem_range_t *range = NULL;
  hmci_smem_trans_t *trans = hmci_smem_trans_of(handle, &code);
  if (trans == NULL) {
    return NULL;
  }
  if (capacity == 0 || capacity > MALLOC_MOST) {
    hmci_smem_fail(SM_INVALID_PARAM, "%zu B of memory: 1 to %" PRIu64 " are given", capacity, MALLOC_MOST);
    return NULL;
  }
  pthread_rwlock_wrlock(&trans->lock);
  code = show_range(trans, 0, capacity, &range);
  pthread_rwlock_unlock(&trans->lock);
  return code == SM_OK ? (void *)(uintptr_t)range->address : NULL;
}

int32_t smem_trans_free(smem_trans_t handle, void *address) {
  int32_t code = SM_OK;
  hmci_smem_trans_t *trans = hmci_smem_trans_of(handle, &code);
  if (trans == NULL) {
    return code;
  }
  return hide_range(trans, (uint64_t)(uintptr_t)address, 1)
             ? SM_OK
             : hmci_smem_fail(SM_INVALID_PARAM, "%p is not memory of smem_trans_malloc", address);
}
