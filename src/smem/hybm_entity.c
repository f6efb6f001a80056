/* HYBM: set-up and entities (see hybm_entity.h). */
#include "hybm_entity.h"

#include <smem/host/smem.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where entities reserve addresses: one slot for an id, its first half for host memory. Below SMEM's own windows; the
 * thread sanitizer ends a program that asks for such addresses, and has others. */
#if defined(__SANITIZE_THREAD__)
#define WINDOW UINT64_C(0x7e8000000000)
#define SLOT (UINT64_C(8) << 30)
#else
#define WINDOW UINT64_C(0x110000000000)
#define SLOT (UINT64_C(2) << 40)
#endif
enum { SLOTS = 7, CONTEXT_MOST = 65536 };

static pthread_mutex_t setup_lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned inits;
static uint16_t device_id;

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

int32_t hybm_init(uint16_t deviceId, uint64_t flags) {
  hmc_memory_t device;
  int32_t code = hmci_smem_choose_device(deviceId, &device);
  (void)flags;
  if (code != SM_OK) {
    return code;
  }
  pthread_mutex_lock(&setup_lock);
  if (inits > 0 && deviceId != device_id) {
    code = hmci_smem_fail(SM_INVALID_PARAM, "device %u: this process uses device %u; call hybm_uninit first", deviceId,
                          device_id);
  } else {
    device_id = deviceId;
    inits++;
  }
  pthread_mutex_unlock(&setup_lock);
  return code;
}

void hybm_uninit(void) {
  pthread_mutex_lock(&setup_lock);
  inits -= inits > 0;
  pthread_mutex_unlock(&setup_lock);
}

int32_t hybm_set_extern_logger(void (*logger)(int level, const char *msg)) { return smem_set_extern_logger(logger); }

int32_t hybm_set_log_level(int level) { return smem_set_log_level(level); }

const char *hybm_get_error_string(int32_t errCode) {
  switch (errCode) {
#define ERROR_TEXT(name, value, text)                                                                                  \
  case value: return text;
    SMEM_ERROR_LIST(ERROR_TEXT)
#undef ERROR_TEXT
  default: return NULL;
  }
}

/* ---- entities ---------------------------------------------------------------------------------------------------- */

static int32_t check_options(const hybm_options *options) {
  if (options == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no options given: hybm_create_entity needs them");
  }
  if (options->rankCount == 0 || options->rankCount > SMEM_WORLD_SIZE_MAX || options->rankId >= options->rankCount) {
    return hmci_smem_fail(SM_INVALID_PARAM, "rank %u of %u: a rank is below the count, which is at most %u",
                          options->rankId, options->rankCount, SMEM_WORLD_SIZE_MAX);
  }
  const uint64_t spaces[] = {options->hostVASpace, options->deviceVASpace};
  for (int kind = 0; kind < HMCI_HYBM_KINDS; kind++) {
    if (spaces[kind] % HMCI_SMEM_PAGE != 0 || spaces[kind] > SLOT / 2 / options->rankCount) {
      return hmci_smem_fail(SM_INVALID_PARAM,
                            "%" PRIu64 " B of addresses for each of %u ranks: multiples of 2 MiB up to %" PRIu64
                            " B for all are taken",
                            spaces[kind], options->rankCount, SLOT / 2);
    }
  }
  if (!options->globalUniqueAddress) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "globalUniqueAddress must be true: addresses are the same in every process");
  }
  return SM_OK;
}

static hmc_connection_type_t type_of(hybm_data_op_type wanted) {
  const unsigned rdma = HYBM_DOP_TYPE_DEVICE_RDMA | HYBM_DOP_TYPE_HOST_RDMA;
  unsigned mask = (unsigned)wanted;
  return mask == HYBM_DOP_TYPE_HOST_TCP     ? HMC_CONNECTION_TCP
         : mask != 0 && (mask & ~rdma) == 0 ? HMC_CONNECTION_RDMA
                                            : HMC_CONNECTION_AUTO;
}

/* Listens where the options say, or where this host is reached from others. */
static int32_t listen_for_peers(hmci_hybm_entity_t *entity, const hybm_options *options) {
  hmci_smem_url_t url = {.port = 0};
  if (options->transUrl[0] != '\0') {
    if (memchr(options->transUrl, '\0', sizeof(options->transUrl)) == NULL) {
      return hmci_smem_fail(SM_INVALID_PARAM, "transUrl has no end: it takes 63 bytes and a zero");
    }
    int32_t code = hmci_smem_parse_url(options->transUrl, &url);
    if (code != SM_OK) {
      return code;
    }
  } else if (options->bmScope == HYBM_SCOPE_CROSS_NODE) {
    hmci_smem_own_ip("192.0.2.1", url.ip); /* an address of nobody: the way there is the way out of this host */
  } else {
    snprintf(url.ip, sizeof(url.ip), "127.0.0.1");
  }
  memcpy(entity->ip, url.ip, sizeof(entity->ip));
  hmc_status_t status = hmc_context_listen(entity->context, url.ip, url.port, &entity->port);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "peers cannot reach entity %u", entity->id);
}

static int32_t create(uint16_t id, const hybm_options *options, hmci_hybm_entity_t **created) {
  int32_t code = check_options(options);
  if (code != SM_OK) {
    return code;
  }
  pthread_mutex_lock(&setup_lock);
  uint16_t device = device_id;
  int is_ready = inits > 0;
  pthread_mutex_unlock(&setup_lock);
  if (!is_ready) {
    return hmci_smem_fail(SM_NOT_INITIALIZED, "call hybm_init first");
  }
  hmci_hybm_entity_t *made = calloc(1, sizeof(*made));
  if (made == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for an entity");
  }
  *made = (hmci_hybm_entity_t){.id = id,
                               .rank = options->rankId,
                               .ranks = options->rankCount,
                               .type = type_of(options->bmDataOpType),
                               .space = {options->hostVASpace, options->deviceVASpace}};
  code = hmci_smem_choose_device(device, &made->device);
  if (code == SM_OK) {
    code = hmci_smem_new_tag(&made->tag);
  }
  if (code == SM_OK) {
    hmc_status_t status = hmc_context_create(NULL, &made->context);
    code = status == HMC_SUCCESS ? listen_for_peers(made, options)
                                 : hmci_smem_fail_hmc(status, "entity %u cannot be made", id);
  }
  if (code != SM_OK) {
    hmc_context_destroy(made->context);
    free(made);
    return code;
  }
  pthread_rwlock_init(&made->lock, NULL);
  pthread_mutex_init(&made->pending_lock, NULL);
  *created = made;
  return SM_OK;
}

hybm_entity_t hybm_create_entity(uint16_t id, const hybm_options *options, uint32_t flags) {
  hmci_hybm_entity_t *made = NULL;
  (void)flags;
  if (create(id, options, &made) != SM_OK) {
    return NULL;
  }
  hmci_hybm_entity_add(made);
  return made;
}

static void unreserve(hmci_hybm_entity_t *entity) {
  for (int kind = 0; kind < HMCI_HYBM_KINDS; kind++) {
    hmci_smem_unreserve((void *)(uintptr_t)entity->base[kind], entity->space[kind] * entity->ranks);
    entity->base[kind] = entity->used[kind] = 0;
  }
  entity->is_reserved = 0;
}

void hybm_destroy_entity(hybm_entity_t e, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  if (hmci_hybm_entity_take(e, &entity) != SM_OK) {
    hmci_smem_log(HMCI_SMEM_WARNING, "hybm_destroy_entity: %s", smem_get_last_err_msg());
    return;
  }
  while (entity->pending != NULL) {
    hmci_hybm_pending_t *pending = entity->pending;
    entity->pending = pending->next;
    hmci_hybm_await(pending->request);
    hmc_request_free(pending->request);
    hmc_region_close(pending->lent);
    free(pending);
  }
  while (entity->slices != NULL) {
    hmci_hybm_slice_free(entity, entity->slices);
  }
  hmci_hybm_peer_forget(entity, NULL);
  hmc_context_destroy(entity->context);
  if (entity->extra != NULL) {
    hmc_memory_free(entity->device, entity->extra);
  }
  unreserve(entity);
  pthread_rwlock_destroy(&entity->lock);
  pthread_mutex_destroy(&entity->pending_lock);
  free(entity);
}

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static int32_t reserve(hmci_hybm_entity_t *entity) {
  if (entity->is_reserved) {
    return hmci_smem_fail(SM_REPEAT_CALL,
                          "the addresses of entity %u are reserved already: call hybm_unreserve_mem_space first",
                          entity->id);
  }
  entity->is_reserved = 1;
  for (int kind = 0; kind < HMCI_HYBM_KINDS; kind++) {
    uint64_t size = entity->space[kind] * entity->ranks;
    uint64_t base = WINDOW + entity->id % SLOTS * SLOT + (uint64_t)kind * (SLOT / 2);
    if (size > 0 && hmci_smem_reserve_at(base, size) == NULL) {
      unreserve(entity);
      return hmci_smem_fail(SM_MALLOC_FAILED,
                            "%" PRIu64 " B of addresses from 0x%" PRIx64
                            " are in use in this process: take another id, or destroy the entity that has them",
                            size, base);
    }
    entity->base[kind] = size > 0 ? base : 0;
  }
  return SM_OK;
}

int32_t hybm_reserve_mem_space(hybm_entity_t e, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code == SM_OK) {
    code = reserve(entity);
    pthread_rwlock_unlock(&entity->lock);
  }
  return code;
}

int32_t hybm_unreserve_mem_space(hybm_entity_t e, uint32_t flags) {
  hmci_hybm_entity_t *entity;
  (void)flags;
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  if (!entity->is_reserved) {
    code = hmci_smem_fail(SM_NOT_STARTED, "entity %u has reserved no addresses: call hybm_reserve_mem_space first",
                          entity->id);
  } else if (entity->slices != NULL || entity->imports != NULL) {
    code =
        hmci_smem_fail(SM_RESOURCE_IN_USE, "entity %u has slices or imports: free and remove them first", entity->id);
  } else {
    unreserve(entity);
  }
  pthread_rwlock_unlock(&entity->lock);
  return code;
}

void *hybm_get_memory_ptr(hybm_entity_t e, hybm_mem_type mType) {
  hmci_hybm_entity_t *entity;
  if (hmci_hybm_entity_of(e, &entity) != SM_OK) {
    return NULL;
  }
  if (mType != HYBM_MEM_TYPE_DEVICE && mType != HYBM_MEM_TYPE_HOST) {
    hmci_smem_fail(SM_INVALID_PARAM, "memory type %d: HYBM_MEM_TYPE_DEVICE or HYBM_MEM_TYPE_HOST is taken", (int)mType);
    return NULL;
  }
  pthread_rwlock_rdlock(&entity->lock);
  uint64_t base = entity->base[mType == HYBM_MEM_TYPE_HOST ? HMCI_HYBM_HOST : HMCI_HYBM_DEVICE];
  pthread_rwlock_unlock(&entity->lock);
  if (base == 0) {
    hmci_smem_fail(SM_NOT_STARTED, "entity %u has no such addresses: call hybm_reserve_mem_space", entity->id);
  }
  return (void *)(uintptr_t)base;
}

/* ---- the extra context ------------------------------------------------------------------------------------------- */

int32_t hybm_set_extra_context(hybm_entity_t e, const void *context, uint32_t size) {
  hmci_hybm_entity_t *entity;
  const hmc_memory_t host = {.kind = HMC_MEMORY_CPU, .device = 0};
  if (context == NULL || size == 0 || size > CONTEXT_MOST) {
    return hmci_smem_fail(SM_INVALID_PARAM, "%u B of context: 1 to %d B are taken", context != NULL ? size : 0,
                          CONTEXT_MOST);
  }
  int32_t code = hmci_hybm_entity_change(e, &entity);
  if (code != SM_OK) {
    return code;
  }
  hmc_status_t status = HMC_SUCCESS;
  if (entity->extra == NULL) {
    status = hmc_memory_allocate(entity->device, CONTEXT_MOST, &entity->extra);
  }
  if (status == HMC_SUCCESS) {
    status = hmc_memory_copy(entity->extra, entity->device, context, host, size);
  }
  if (status == HMC_SUCCESS) {
    entity->extra_size = size;
  } else {
    code = hmci_smem_fail_hmc(status, "the context of entity %u cannot be set", entity->id);
  }
  pthread_rwlock_unlock(&entity->lock);
  return code;
}

void *hybm_get_extra_context(hybm_entity_t e, uint32_t *size) {
  hmci_hybm_entity_t *entity;
  void *extra = NULL;
  if (hmci_hybm_entity_of(e, &entity) == SM_OK) {
    pthread_rwlock_rdlock(&entity->lock);
    extra = entity->extra_size > 0 ? entity->extra : NULL;
    if (size != NULL) {
      *size = entity->extra_size;
    }
    pthread_rwlock_unlock(&entity->lock);
  }
  return extra;
}
