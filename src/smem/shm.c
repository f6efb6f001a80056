/* SHM: the world, and symmetric objects (see shm.h).
 *
 * An object is made in two gathers of the store. In the first each rank says where it can be reached, and rank 0 which
 * addresses it has reserved; the second tells all whether all could do their part, so that an object is there everywhere
 * or nowhere. Other objects are made and used meanwhile: the world's lock is not held. */
#include "shm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PART_MOST (UINT64_C(1) << 41)
enum { CONTEXT_MOST = 65536 };

/* What kernels in this process look at: see smem/device/smem_shm_device.h. */
smem_shm_device_object_t smem_shm_device_objects[SMEM_SHM_DEVICE_OBJECTS];

/* Ids of objects that are being made, and how many these are; with the lock. */
static int is_making[HMCI_SMEM_OBJECTS];
static unsigned making;
static pthread_cond_t made_one = PTHREAD_COND_INITIALIZER;

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void forget_world(void) {
  pthread_mutex_init(&hmci_smem_shm_lock, NULL);
  pthread_cond_init(&made_one, NULL);
  memset(is_making, 0, sizeof(is_making));
  making = 0;
  hmci_smem_shm_world = NULL;
  memset(hmci_smem_shm_objects, 0, sizeof(hmci_smem_shm_objects));
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, forget_world); }

/* ---- the world --------------------------------------------------------------------------------------------------- */

int32_t smem_shm_config_init(smem_shm_config_t *config) {
  if (config == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no config given to fill in: give the address of one");
  }
  *config = (smem_shm_config_t){.shmInitTimeout = HMCI_SMEM_TIMEOUT_S,
                                .shmCreateTimeout = HMCI_SMEM_TIMEOUT_S,
                                .controlOperationTimeout = HMCI_SMEM_TIMEOUT_S,
                                .startConfigStore = true};
  return SM_OK;
}

static void free_world(hmci_smem_shm_world_t *ended) {
  hmc_store_lease_release(ended->lease, HMCI_SMEM_GIVE_UP_MS);
  hmc_context_destroy(ended->context);
  hmci_smem_link_release(ended->link);
  free(ended);
}

static int32_t enter_world(hmci_smem_shm_world_t *made, const char *text, const smem_shm_config_t *config) {
  uint64_t init_ms = (uint64_t)config->shmInitTimeout * 1000;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  hmci_smem_url_t url;
  int32_t code = hmci_smem_parse_url(text, &url);
  if (code == SM_OK) {
    hmci_smem_serve_t serve = config->startConfigStore && made->rank == 0 ? HMCI_SMEM_SERVE : HMCI_SMEM_JOIN;
    code = hmci_smem_link_acquire(text, serve, init_ms, &made->link);
  }
  if (code != SM_OK) {
    return code;
  }
  made->store = hmci_smem_link_store(made->link);
  options.name = "smem-shm";
  options.timeout_ms = made->control_ms;
  hmc_status_t status = hmc_context_create(&options, &made->context);
  if (status == HMC_SUCCESS) {
    hmci_smem_own_ip(url.ip, made->ip);
    status = hmc_context_listen(made->context, made->ip, 0, &made->port);
  }
  if (status == HMC_SUCCESS) {
    status = hmc_store_lease_create(made->store, 0, init_ms, &made->lease);
  }
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "this process cannot join the world");
}

int32_t smem_shm_init(const char *configStoreIpPort, uint32_t worldSize, uint32_t rankId, uint16_t deviceId,
                      smem_shm_config_t *config) {
  (void)deviceId; /* parts lie in host memory, which every device reaches */
  if (config == NULL || worldSize == 0 || worldSize > SMEM_WORLD_SIZE_MAX || rankId >= worldSize ||
      config->shmInitTimeout == 0 || config->shmCreateTimeout == 0 || config->controlOperationTimeout == 0) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "rank %u of %u: a world of 1 to %u, a rank in it, and a config without a timeout of 0, are "
                          "needed",
                          rankId, worldSize, SMEM_WORLD_SIZE_MAX);
  }
  pthread_once(&fork_once, watch_fork);
  int32_t code = SM_OK;
  pthread_mutex_lock(&hmci_smem_shm_lock);
  if (hmci_smem_shm_world == NULL) {
    hmci_smem_shm_world_t *made = calloc(1, sizeof(*made));
    if (made == NULL) {
      code = hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a world");
    } else {
      made->size = worldSize;
      made->rank = rankId;
      made->create_ms = (uint64_t)config->shmCreateTimeout * 1000;
      made->control_ms = (uint64_t)config->controlOperationTimeout * 1000;
      code = enter_world(made, configStoreIpPort, config);
      if (code == SM_OK) {
        hmci_smem_shm_world = made;
      } else {
        free_world(made);
      }
    }
  }
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  return code;
}

uint32_t smem_shm_query_support_data_operation(void) { return SMEMS_DATA_OP_MTE; }

/* ---- making an object -------------------------------------------------------------------------------------------- */

/* What a rank brings to the first gather. */
typedef struct card {
  uint64_t tag, base, bytes;
  char ip[64];
  uint32_t port;
  int32_t code; /* of what it has done so far */
} card_t;

static void region_name(uint64_t tag, char name[HMC_REGION_NAME_SIZE]) {
  snprintf(name, HMC_REGION_NAME_SIZE, "smem-shm/%016" PRIx64, tag);
}

static void *part_of(const hmci_smem_shm_t *object, uint32_t rank) {
  return (char *)object->base + (uint64_t)rank * object->bytes;
}

static int32_t gather(const hmci_smem_shm_t *object, const char *step, const void *piece, size_t size, void *all) {
  char name[64];
  snprintf(name, sizeof(name), "smem/shm/%u/%s", object->id, step);
  hmc_status_t status = hmc_store_gather(object->world->store, name, object->size, object->rank, piece, size, all,
                                         object->world->create_ms);
  return status == HMC_SUCCESS
             ? SM_OK
             : hmci_smem_fail_hmc(
                   status,
                   "object %u: the %u ranks do not meet; each calls with a rankId of its own and the same rankSize",
                   object->id, object->size);
}

/* Allocates this rank's part and shows it. */
static int32_t show_part(hmci_smem_shm_t *object, uint64_t tag) {
  char name[HMC_REGION_NAME_SIZE];
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  int32_t code = hmci_smem_map_own(part_of(object, object->rank), object->bytes, -1, &object->descriptor);
  if (code != SM_OK) {
    return code;
  }
  region_name(tag, name);
  options.memory.kind = HMC_MEMORY_CPU;
  options.bytes = object->bytes;
  options.descriptor = object->descriptor;
  options.name = name;
  options.rights = HMC_REMOTE_ALL;
  hmc_status_t status = hmc_region_create(object->world->context, &options, &object->region);
  return status == HMC_SUCCESS
             ? SM_OK
             : hmci_smem_fail_hmc(status, "object %u: the part cannot be offered to peers", object->id);
}

/* Connects to a rank, and maps its part where it is on this host. */
static int32_t reach(hmci_smem_shm_t *object, uint32_t rank, const card_t *card) {
  hmci_smem_shm_peer_t *peer = &object->peers[rank];
  hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
  char name[HMC_REGION_NAME_SIZE];
  region_name(card->tag, name);
  options.address = part_of(object, rank);
  hmc_status_t status = hmc_context_connect(object->world->context, card->ip, (uint16_t)card->port, HMC_CONNECTION_AUTO,
                                            object->world->create_ms, &peer->peer);
  if (status == HMC_SUCCESS) {
    status = hmc_remote_open(peer->peer, name, object->world->create_ms, &peer->remote);
  }
  if (status == HMC_SUCCESS) {
    status = hmc_remote_map_range(peer->remote, &options, &peer->mapping);
    if (status == HMC_UNSUPPORT) {
      hmci_smem_log(HMCI_SMEM_INFO, "object %u: rank %u is not mapped: %s", object->id, rank, hmc_last_error());
      status = HMC_SUCCESS;
    }
  }
  return status == HMC_SUCCESS ? SM_OK
                               : hmci_smem_fail_hmc(status, "object %u: rank %u is not reached", object->id, rank);
}

/* With all cards on the table: takes the addresses that rank 0 has reserved. */
static int32_t take_addresses(hmci_smem_shm_t *object, const card_t *cards) {
  for (uint32_t rank = 0; rank < object->size; rank++) {
    if (cards[rank].code != SM_OK || cards[rank].bytes != object->bytes) {
      return hmci_smem_fail(cards[rank].code != SM_OK ? cards[rank].code : SM_INVALID_PARAM,
                            "object %u: rank %u brings %" PRIu64 " B and code %d, this one %" PRIu64
                            " B: all give the same size",
                            object->id, rank, cards[rank].bytes, cards[rank].code, object->bytes);
    }
  }
  if (object->rank != 0) {
    object->base = hmci_smem_reserve_at(cards[0].base, object->bytes * object->size);
    if (object->base == NULL) {
      return hmci_smem_fail(SM_MALLOC_FAILED,
                            "object %u: its addresses are in use in this process: create it before they are",
                            object->id);
    }
  }
  return SM_OK;
}

/* All ranks have come this far, with these codes. */
static int32_t agree(const hmci_smem_shm_t *object, const char *step, int32_t code) {
  int32_t *codes = calloc(object->size, sizeof(*codes));
  if (codes == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for object %u", object->id);
  }
  int32_t met = gather(object, step, &code, sizeof(code), codes);
  for (uint32_t rank = 0; rank < object->size && met == SM_OK && code == SM_OK; rank++) {
    if (codes[rank] != SM_OK) {
      code = hmci_smem_fail(SM_NEW_OBJECT_FAILED, "object %u: rank %u failed with %d; its own text says why",
                            object->id, rank, codes[rank]);
    }
  }
  free(codes);
  return code != SM_OK ? code : met;
}

static int32_t build(hmci_smem_shm_t *object, card_t *cards) {
  card_t own = {.bytes = object->bytes, .port = object->world->port};
  own.code = hmci_smem_new_tag(&own.tag);
  memcpy(own.ip, object->world->ip, sizeof(own.ip));
  if (object->rank == 0 && own.code == SM_OK) {
    hmci_smem_shm_forget_exit(object);
    own.code = hmci_smem_reserve_new(object->world->store, object->bytes * object->size, object->world->create_ms,
                                     &object->base);
    own.base = (uint64_t)(uintptr_t)object->base;
  }
  int32_t code = gather(object, "cards", &own, sizeof(own), cards);
  if (code != SM_OK) {
    return code;
  }
  code = take_addresses(object, cards);
  if (code == SM_OK) {
    code = show_part(object, own.tag);
  }
  code = agree(object, "shown", code);
  for (uint32_t rank = 0; rank < object->size && code == SM_OK; rank++) {
    code = rank == object->rank ? SM_OK : reach(object, rank, &cards[rank]);
  }
  return agree(object, "reached", code);
}

static void free_object(hmci_smem_shm_t *object) {
  for (uint32_t rank = 0; object->peers != NULL && rank < object->size; rank++) {
    hmc_mapping_close(object->peers[rank].mapping);
    hmc_remote_close(object->peers[rank].remote);
    hmc_peer_close(object->peers[rank].peer);
  }
  hmc_region_close(object->region);
  if (object->descriptor >= 0) {
    close(object->descriptor);
  }
  hmci_smem_unreserve(object->base, object->bytes * object->size);
  pthread_mutex_destroy(&object->lock);
  free(object->peers);
  free(object);
}

/* With the lock held. */
static int32_t check_create(uint32_t id, uint32_t rank_size, uint32_t rank, uint64_t bytes, smem_shm_data_op_type type,
                            void **gva) {
  if (hmci_smem_shm_world == NULL) {
    return hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_shm_init first");
  }
  if (id >= HMCI_SMEM_OBJECTS || rank_size == 0 || rank_size > hmci_smem_shm_world->size || rank >= rank_size ||
      gva == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "object %u, rank %u of %u, in a world of %u: an id below %d, a rank below the number of "
                          "ranks, and a place for the address, are needed",
                          id, rank, rank_size, hmci_smem_shm_world->size, HMCI_SMEM_OBJECTS);
  }
  if (bytes == 0 || bytes % HMCI_SMEM_PAGE != 0 || bytes > PART_MOST) {
    return hmci_smem_fail(SM_INVALID_PARAM, "parts of %" PRIu64 " B: multiples of 2 MiB up to %" PRIu64 " B are taken",
                          bytes, PART_MOST);
  }
  if ((int)type <= 0 || (int)type >= 2 * SMEMS_DATA_OP_RDMA) {
    return hmci_smem_fail(SM_INVALID_PARAM, "data op type %d: takes a mask of SMEMS_DATA_OP_*", (int)type);
  }
  return hmci_smem_shm_objects[id] == NULL && !is_making[id]
             ? SM_OK
             : hmci_smem_fail(SM_DUPLICATED_OBJECT, "this process has object %u already: destroy it first", id);
}

static void tell_kernels(const hmci_smem_shm_t *object) {
  smem_shm_device_object_t *seen = &smem_shm_device_objects[object->id];
  seen->base = object->base;
  seen->symmetric_size = object->bytes;
  seen->rank = object->rank;
  seen->rank_size = object->size;
}

/* Keeps the id, and the world, for an object that is being made. */
static int32_t begin_create(uint32_t id, uint32_t rank_size, uint32_t rank, uint64_t bytes, smem_shm_data_op_type type,
                            void **gva) {
  pthread_mutex_lock(&hmci_smem_shm_lock);
  int32_t code = check_create(id, rank_size, rank, bytes, type, gva);
  if (code == SM_OK) {
    is_making[id] = 1;
    making++;
  }
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  return code;
}

/* `object`: NULL where there is none. */
static void end_create(uint32_t id, hmci_smem_shm_t *object) {
  pthread_mutex_lock(&hmci_smem_shm_lock);
  if (object != NULL) {
    hmci_smem_shm_objects[id] = object;
    tell_kernels(object);
  }
  is_making[id] = 0;
  making--;
  pthread_cond_broadcast(&made_one);
  pthread_mutex_unlock(&hmci_smem_shm_lock);
}

static hmci_smem_shm_t *make_object(uint32_t id, uint32_t rank_size, uint32_t rank, uint64_t bytes) {
  hmci_smem_shm_t *object = calloc(1, sizeof(*object));
  hmci_smem_shm_peer_t *peers = calloc(rank_size, sizeof(*peers));
  card_t *cards = calloc(rank_size, sizeof(*cards));
  if (object == NULL || peers == NULL || cards == NULL) {
    hmci_smem_fail(SM_MALLOC_FAILED, "no memory for object %u", id);
    free(object);
    free(peers);
    free(cards);
    return NULL;
  }
  *object = (hmci_smem_shm_t){.world = hmci_smem_shm_world, /* which stays while an object is being made */
                              .id = id,
                              .size = rank_size,
                              .rank = rank,
                              .bytes = bytes,
                              .descriptor = -1,
                              .peers = peers};
  pthread_mutex_init(&object->lock, NULL);
  if (build(object, cards) != SM_OK) {
    free_object(object);
    object = NULL;
  }
  free(cards);
  return object;
}

smem_shm_t smem_shm_create(uint32_t id, uint32_t rankSize, uint32_t rankId, uint64_t symmetricSize,
                           smem_shm_data_op_type dataOpType, uint32_t flags, void **gva) {
  (void)flags;
  if (begin_create(id, rankSize, rankId, symmetricSize, dataOpType, gva) != SM_OK) {
    return NULL;
  }
  hmci_smem_shm_t *object = make_object(id, rankSize, rankId, symmetricSize);
  if (object != NULL) {
    *gva = object->base;
  }
  end_create(id, object);
  return object;
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

int32_t smem_shm_destroy(smem_shm_t handle, uint32_t flags) {
  hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  (void)flags;
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  hmci_smem_shm_end_watch(object);
  pthread_mutex_lock(&hmci_smem_shm_lock);
  hmci_smem_shm_objects[object->id] = NULL;
  smem_shm_device_object_t *seen = &smem_shm_device_objects[object->id];
  free(seen->context);
  memset(seen, 0, sizeof(*seen));
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  free_object(object);
  return SM_OK;
}

/* An object that is left, when none is being made; NULL: there is none, and no world any more, which `ended` gets. */
static hmci_smem_shm_t *next_to_end(hmci_smem_shm_world_t **ended) {
  hmci_smem_shm_t *object = NULL;
  pthread_mutex_lock(&hmci_smem_shm_lock);
  while (making > 0) {
    pthread_cond_wait(&made_one, &hmci_smem_shm_lock);
  }
  for (int id = 0; id < HMCI_SMEM_OBJECTS && object == NULL; id++) {
    object = hmci_smem_shm_objects[id];
  }
  if (object == NULL) {
    *ended = hmci_smem_shm_world;
    hmci_smem_shm_world = NULL;
  }
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  return object;
}

void smem_shm_uninit(uint32_t flags) {
  (void)flags;
  hmci_smem_shm_world_t *ended = NULL;
  for (hmci_smem_shm_t *object; (object = next_to_end(&ended)) != NULL;) {
    smem_shm_destroy(object, 0);
  }
  if (ended != NULL) {
    free_world(ended);
  }
}

int32_t smem_shm_set_extra_context(smem_shm_t handle, const void *context, uint32_t size) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  if (context == NULL || size == 0 || size > CONTEXT_MOST) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a context of %u B: 1 to %d are taken", size, CONTEXT_MOST);
  }
  void *copy = malloc(size);
  if (copy == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a context of %u B", size);
  }
  memcpy(copy, context, size);
  pthread_mutex_lock(&hmci_smem_shm_lock);
  smem_shm_device_object_t *seen = &smem_shm_device_objects[object->id];
  void *former = seen->context;
  seen->context = copy;
  seen->context_size = size;
  pthread_mutex_unlock(&hmci_smem_shm_lock);
  free(former);
  return SM_OK;
}

uint32_t smem_shm_get_global_rank(smem_shm_t handle) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  if (object == NULL) {
    hmci_smem_shm_bad_handle(handle);
  }
  return object != NULL ? object->rank : UINT32_MAX;
}

uint32_t smem_shm_get_global_rank_size(smem_shm_t handle) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  if (object == NULL) {
    hmci_smem_shm_bad_handle(handle);
  }
  return object != NULL ? object->size : UINT32_MAX;
}

int32_t smem_shm_topology_can_reach(smem_shm_t handle, uint32_t remoteRank, uint32_t *reachInfo) {
  const hmci_smem_shm_t *object = hmci_smem_shm_of(handle);
  if (object == NULL) {
    return hmci_smem_shm_bad_handle(handle);
  }
  if (remoteRank >= object->size || reachInfo == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "rank %u of %u, and a place for the answer, are needed", remoteRank,
                          object->size);
  }
  int is_mapped = remoteRank == object->rank || object->peers[remoteRank].mapping != NULL;
  *reachInfo = is_mapped ? SMEMS_DATA_OP_MTE : 0;
  return SM_OK;
}
