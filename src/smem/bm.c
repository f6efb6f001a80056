/* BM: the world, its objects, joining and leaving (see bm.h; copies are in bm_copy.c). */
#include "bm.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOST_MOST (UINT64_C(2) << 40) /* bytes of one member's parts */
#define DEVICE_MOST (UINT64_C(64) << 30)
#define SLOT_LEAST (UINT64_C(16) << 30) /* room for a member, where there is enough for all */
#define RANGE_WANTED (UINT64_C(8) << 40)

enum { LEASE_MS = 3000, DEFAULT_TIMEOUT = 120, GIVE_UP_MS = 1000, RANK_PATIENCE_MS = 5000 };

static pthread_mutex_t world_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_smem_world_t *world;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* A child made by fork() is no member: its world is the parent's, and it may become a member by itself. */
static void forget_world(void) {
  pthread_mutex_init(&world_lock, NULL);
  world = NULL;
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, forget_world); }

/* ---- the world --------------------------------------------------------------------------------------------------- */

int32_t smem_bm_config_init(smem_bm_config_t *config) {
  if (config == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no config given to fill in");
  }
  memset(config, 0, sizeof(*config));
  config->initTimeout = config->createTimeout = config->controlOperationTimeout = DEFAULT_TIMEOUT;
  config->startConfigStore = true;
  config->unifiedAddressSpace = true;
  config->rankId = UINT16_MAX;
  return SM_OK;
}

static int32_t check_config(uint32_t world_size, const smem_bm_config_t *config) {
  if (config == NULL || world_size == 0 || world_size > SMEM_WORLD_SIZE_MAX) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a world of %u, %s config: 1 to %u and a config are needed", world_size,
                          config == NULL ? "and no" : "with a", SMEM_WORLD_SIZE_MAX);
  }
  if (config->initTimeout == 0 || config->createTimeout == 0 || config->controlOperationTimeout == 0) {
    return hmci_smem_fail(SM_INVALID_PARAM, "a timeout of 0 s: 1 to %u are taken", SMEM_BM_TIMEOUT_MAX);
  }
  if (!config->unifiedAddressSpace) {
    return hmci_smem_fail(SM_INVALID_PARAM, "unifiedAddressSpace is false: there is no other address space");
  }
  if (!config->autoRanking && config->rankId != UINT16_MAX && config->rankId >= world_size) {
    return hmci_smem_fail(SM_INVALID_PARAM, "rank %u in a world of %u", config->rankId, world_size);
  }
  if (memchr(config->hcomUrl, '\0', sizeof(config->hcomUrl)) == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "hcomUrl has no end");
  }
  return SM_OK;
}

static int is_automatic(const smem_bm_config_t *config) { return config->autoRanking || config->rankId == UINT16_MAX; }

static void pause_ms(long ms) {
  const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&pause, NULL);
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* Tries to take a rank. */
static int32_t claim(hmci_smem_world_t *made, uint32_t rank, uint64_t timeout_ms, int *has_it) {
  char key[64], text[100];
  snprintf(key, sizeof(key), "smem/bm/rank/%u", rank);
  int size = snprintf(text, sizeof(text), "%s %u %d", made->ip, made->port, (int)getpid());
  hmc_status_t status =
      hmc_store_compare_swap(made->store, key, NULL, 0, text, (size_t)size, made->lease, has_it, timeout_ms);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "rank %u cannot be taken", rank);
}

/* Takes the config's rank, or the first that is free. A rank whose member has just died becomes free in a moment. */
static int32_t take_rank(hmci_smem_world_t *made, const smem_bm_config_t *config) {
  uint64_t timeout_ms = (uint64_t)config->initTimeout * 1000;
  uint64_t until = now_ms() + (timeout_ms < RANK_PATIENCE_MS ? timeout_ms : RANK_PATIENCE_MS);
  int is_any = is_automatic(config), has_it = 0;
  for (;;) {
    uint32_t rank = is_any ? 0 : config->rankId, end = is_any ? made->size : rank + 1;
    for (; rank < end; rank++) {
      int32_t code = claim(made, rank, timeout_ms, &has_it);
      if (code != SM_OK || has_it) {
        made->rank = rank;
        return code;
      }
    }
    if (now_ms() >= until) {
      return is_any ? hmci_smem_fail(SM_DUPLICATED_OBJECT,
                                     "all %u ranks are taken: start fewer, or give a larger world", made->size)
                    : hmci_smem_fail(SM_DUPLICATED_OBJECT, "rank %u is taken by a member that lives: give another",
                                     config->rankId);
    }
    pause_ms(50);
  }
}

/* Where peers reach this member: the config's address, or that of the way to the store. */
static int32_t listen_for_peers(hmci_smem_world_t *made, const hmci_smem_url_t *url, const smem_bm_config_t *config) {
  const char *given = strstr(config->hcomUrl, "://");
  given = given != NULL ? given + 3 : config->hcomUrl;
  uint16_t port = 0;
  if (given[0] != '\0') {
    hmci_smem_url_t own;
    if (hmci_smem_parse_address(given, &own) == SM_OK) {
      snprintf(made->ip, sizeof(made->ip), "%s", own.ip);
      port = own.port;
    } else {
      snprintf(made->ip, sizeof(made->ip), "%.*s", (int)strcspn(given, "/:"), given);
    }
  } else {
    hmci_smem_own_ip(url->ip, made->ip);
  }
  hmc_status_t status = hmc_context_listen(made->context, made->ip, port, &made->port);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "peers cannot reach this member at %s", made->ip);
}

static void free_world(hmci_smem_world_t *ended) {
  hmc_store_lease_release(ended->lease, GIVE_UP_MS);
  hmc_context_destroy(ended->context);
  hmci_smem_link_release(ended->link);
  free(ended);
}

static int32_t enter_world(hmci_smem_world_t *made, const char *url_text, uint16_t device_id,
                           const smem_bm_config_t *config) {
  uint64_t init_ms = (uint64_t)config->initTimeout * 1000;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  hmci_smem_url_t url;
  options.name = "smem-bm";
  options.timeout_ms = made->control_ms;
  hmci_smem_serve_t serve = !config->startConfigStore ? HMCI_SMEM_JOIN
                            : is_automatic(config)    ? HMCI_SMEM_MAY_SERVE
                            : config->rankId == 0     ? HMCI_SMEM_SERVE
                                                      : HMCI_SMEM_JOIN;
  int32_t code = hmci_smem_parse_url(url_text, &url);
  if (code == SM_OK) {
    code = hmci_smem_choose_device(device_id, &made->device);
  }
  if (code == SM_OK) {
    code = hmci_smem_link_acquire(url_text, serve, init_ms, &made->link);
  }
  if (code != SM_OK) {
    return code;
  }
  made->store = hmci_smem_link_store(made->link);
  hmc_status_t status = hmc_context_create(&options, &made->context);
  if (status == HMC_SUCCESS) {
    status = hmc_store_lease_create(made->store, LEASE_MS, init_ms, &made->lease);
  }
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "this process cannot become a member");
  }
  code = listen_for_peers(made, &url, config);
  return code == SM_OK ? take_rank(made, config) : code;
}

int32_t smem_bm_init(const char *storeURL, uint32_t worldSize, uint16_t deviceId, const smem_bm_config_t *config) {
  int32_t code = check_config(worldSize, config);
  if (code != SM_OK) {
    return code;
  }
  if (config->startConfigStoreOnly) {
    return hmci_smem_serve_for_good(storeURL);
  }
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(&world_lock);
  if (world != NULL) {
    goto out;
  }
  hmci_smem_world_t *made = calloc(1, sizeof(*made));
  if (made == NULL) {
    code = hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a world");
    goto out;
  }
  made->size = worldSize;
  made->create_ms = (uint64_t)config->createTimeout * 1000;
  made->control_ms = (uint64_t)config->controlOperationTimeout * 1000;
  code = enter_world(made, storeURL, deviceId, config);
  if (code == SM_OK) {
    world = made;
  } else {
    free_world(made);
  }
out:
  pthread_mutex_unlock(&world_lock);
  return code;
}

uint32_t smem_bm_get_rank_id(void) {
  pthread_mutex_lock(&world_lock);
  uint32_t rank = world != NULL ? world->rank : UINT32_MAX;
  pthread_mutex_unlock(&world_lock);
  if (rank == UINT32_MAX) {
    hmci_smem_fail(SM_NOT_INITIALIZED, "smem_bm_init comes first");
  }
  return rank;
}

/* ---- the layout of an object ------------------------------------------------------------------------------------- */

/* What all members of an object must agree on. */
typedef struct layout {
  uint64_t base[HMCI_SMEM_KINDS], most[HMCI_SMEM_KINDS];
} layout_t;

static int write_layout(const layout_t *layout, char text[128]) {
  return snprintf(text, 128, "%" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, layout->base[0], layout->most[0],
                  layout->base[1], layout->most[1]);
}

static int read_layout(const char *text, size_t size, layout_t *layout) {
  char copy[128];
  if (size >= sizeof(copy)) {
    return 0;
  }
  memcpy(copy, text, size);
  copy[size] = '\0';
  return sscanf(copy, "%" SCNx64 " %" SCNx64 " %" SCNx64 " %" SCNx64, &layout->base[0], &layout->most[0],
                &layout->base[1], &layout->most[1]) == 4;
}

static uint64_t round_up(uint64_t value, uint64_t unit) { return (value + unit - 1) / unit * unit; }

/* The layout that this member would give the object. */
static void propose_layout(const hmci_smem_object_t *object, const uint64_t most[HMCI_SMEM_KINDS], layout_t *layout) {
  uint64_t share = RANGE_WANTED / object->world->size;
  uint64_t least = share < SLOT_LEAST ? share : SLOT_LEAST;
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    uint64_t wanted = most[kind] > 0 ? most[kind] : object->size[kind] > least ? object->size[kind] : least;
    layout->most[kind] = round_up(wanted, HMCI_SMEM_PAGE);
    layout->base[kind] = 0;
  }
}

typedef struct others {
  uint32_t rank; /* this member's */
  int are_there;
  layout_t layout; /* theirs */
} others_t;

static void note_other(const char *key, const void *value, size_t size, void *user) {
  others_t *others = user;
  const char *slash = strrchr(key, '/');
  layout_t layout;
  if (slash != NULL && strtoul(slash + 1, NULL, 10) != others->rank && read_layout(value, size, &layout)) {
    others->are_there = 1;
    others->layout = layout;
  }
}

/* Reserves both ranges; where the layout gives no bases, finds some. */
static int32_t reserve(hmci_smem_object_t *object, layout_t *layout) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    uint64_t size = layout->most[kind] * object->world->size;
    void *base = NULL;
    int32_t code = SM_OK;
    if (layout->base[kind] == 0) {
      code = hmci_smem_reserve_new(object->world->store, size, object->world->create_ms, &base);
    } else {
      base = hmci_smem_reserve_at(layout->base[kind], size);
      if (base == NULL) {
        code = hmci_smem_fail(SM_MALLOC_FAILED,
                              "the addresses of pool %u, %" PRIu64 " B from 0x%" PRIx64
                              ", are in use in this process: create the pool before they are",
                              object->id, size, layout->base[kind]);
      }
    }
    if (code != SM_OK) {
      return code;
    }
    layout->base[kind] = object->base[kind] = (uint64_t)(uintptr_t)base;
    object->most[kind] = layout->most[kind];
  }
  return SM_OK;
}

static void unreserve(hmci_smem_object_t *object) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    if (object->base[kind] != 0) {
      hmci_smem_unreserve((void *)(uintptr_t)object->base[kind], object->most[kind] * object->world->size);
      object->base[kind] = 0;
    }
  }
}

static int32_t check_fit(const hmci_smem_object_t *object, const layout_t *layout) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    if (object->size[kind] > layout->most[kind]) {
      return hmci_smem_fail(SM_INVALID_PARAM,
                            "a %s part of %" PRIu64 " B: the others made pool %u for parts of at most %" PRIu64
                            " B; give all the same max sizes (smem_bm_create2)",
                            kind == HMCI_SMEM_HOST ? "host" : "device", object->size[kind], object->id,
                            layout->most[kind]);
    }
  }
  return SM_OK;
}

/* Agrees with the others on a layout, and reserves it. The layout's key stays when all have gone; who comes then, alone,
 * makes a new one. A user's key, which goes with its member, has the layout too, for a store that was restarted. */
static int32_t agree(hmci_smem_object_t *object, const uint64_t most[HMCI_SMEM_KINDS]) {
  hmci_smem_world_t *in = object->world;
  char key[64], users[64], text[128], old[128];
  size_t old_size = 0;
  others_t others = {.rank = in->rank};
  layout_t layout = {.base = {0, 0}};
  snprintf(key, sizeof(key), "smem/bm/%u/layout", object->id);
  snprintf(users, sizeof(users), "smem/bm/%u/user/", object->id);
  for (;;) {
    int swapped = 0;
    hmc_status_t status = hmc_store_get(in->store, key, old, sizeof(old), &old_size, in->create_ms);
    int is_there = status == HMC_SUCCESS;
    if (is_there || status == HMC_NOT_FOUND) {
      others.are_there = 0;
      status = hmc_store_list(in->store, users, note_other, &others, in->create_ms);
    }
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "the layout of pool %u is not known", object->id);
    }
    int is_new = !others.are_there;
    if (others.are_there) {
      layout = others.layout;
    } else {
      propose_layout(object, most, &layout);
    }
    int32_t code = check_fit(object, &layout);
    if (code == SM_OK) {
      code = reserve(object, &layout);
    }
    if (code != SM_OK) {
      unreserve(object);
      return code;
    }
    int size = write_layout(&layout, text);
    if (!is_new) {
      return SM_OK;
    }
    status = hmc_store_compare_swap(in->store, key, is_there ? old : NULL, is_there ? old_size : 0, text, (size_t)size,
                                    NULL, &swapped, in->create_ms);
    if (status == HMC_SUCCESS && swapped) {
      return SM_OK;
    }
    unreserve(object);
    if (status != HMC_SUCCESS) {
      return hmci_smem_fail_hmc(status, "the layout of pool %u cannot be agreed on", object->id);
    }
  }
}

static int32_t tell_use(const hmci_smem_object_t *object) {
  layout_t layout = {.base = {object->base[0], object->base[1]}, .most = {object->most[0], object->most[1]}};
  char key[64], text[128];
  snprintf(key, sizeof(key), "smem/bm/%u/user/%u", object->id, object->world->rank);
  int size = write_layout(&layout, text);
  hmc_status_t status =
      hmc_store_set(object->world->store, key, text, (size_t)size, object->world->lease, object->world->create_ms);
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "pool %u cannot be used", object->id);
}

static void forget_key(const hmci_smem_object_t *object, const char *key, uint64_t timeout_ms) {
  hmc_status_t status = hmc_store_delete(object->world->store, key, timeout_ms);
  if (status != HMC_SUCCESS && status != HMC_NOT_FOUND) {
    hmci_smem_log(HMCI_SMEM_INFO, "the store keeps %s until this member's lease ends: %s", key, hmc_last_error());
  }
}

/* ---- objects ----------------------------------------------------------------------------------------------------- */

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
  char key[64];
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    hmc_region_close(object->own[kind]);
  }
  while (object->users != NULL) {
    hmci_smem_user_t *user = object->users;
    object->users = user->next;
    hmc_region_close(user->region);
    free(user);
  }
  if (object->pointer[HMCI_SMEM_DEVICE] != NULL) {
    hmc_memory_free(in->device, object->pointer[HMCI_SMEM_DEVICE]);
  }
  if (object->descriptor >= 0) {
    close(object->descriptor);
  }
  if (object->base[0] != 0) {
    snprintf(key, sizeof(key), "smem/bm/%u/user/%u", object->id, in->rank);
    forget_key(object, key, GIVE_UP_MS);
  }
  unreserve(object);
  pthread_cond_destroy(&object->changed);
  pthread_mutex_destroy(&object->lock);
  free(object->places);
  object->magic = 0;
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
    return hmci_smem_fail(SM_INVALID_PARAM, "a part is larger than the largest that it says members have");
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

/* What the mask leaves of the ways to peers. */
static hmc_connection_type_t type_of(smem_bm_data_op_type mask) {
  if (mask == SMEMB_DATA_OP_HOST_TCP) {
    return HMC_CONNECTION_TCP;
  }
  unsigned rdma = SMEMB_DATA_OP_HOST_RDMA | SMEMB_DATA_OP_DEVICE_RDMA;
  return ((unsigned)mask & ~rdma) == 0 ? HMC_CONNECTION_RDMA : HMC_CONNECTION_AUTO;
}

static int32_t begin_object(hmci_smem_object_t *object, const smem_bm_create_option_t *option) {
  const uint64_t most[HMCI_SMEM_KINDS] = {option->maxDramSize, option->maxHbmSize};
  int given = (option->flags & SMEM_BM_FLAG_CREATE_WITH_SHM) != 0 ? option->dramShmFd : -1;
  object->places = calloc(object->world->size, sizeof(*object->places));
  if (object->places == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for the members of pool %u", object->id);
  }
  int32_t code = agree(object, most);
  if (code == SM_OK) {
    code = tell_use(object);
  }
  if (code == SM_OK) {
    code = allocate(object, given);
  }
  return code == SM_OK ? hmci_smem_members_start(object) : code;
}

/* With the world's lock held. */
static int32_t create(uint32_t id, const smem_bm_create_option_t *option, hmci_smem_object_t **created) {
  if (world == NULL) {
    return hmci_smem_fail(SM_NOT_INITIALIZED, "smem_bm_init comes first");
  }
  for (const hmci_smem_object_t *at = world->objects; at != NULL; at = at->next) {
    if (at->id == id) {
      return hmci_smem_fail(SM_DUPLICATED_OBJECT, "this process has pool %u already: destroy it first", id);
    }
  }
  int32_t code = check_sizes(option);
  if (code != SM_OK) {
    return code;
  }
  hmci_smem_object_t *object = calloc(1, sizeof(*object));
  if (object == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for pool %u", id);
  }
  *object = (hmci_smem_object_t){.magic = HMCI_SMEM_MAGIC,
                                 .id = id,
                                 .world = world,
                                 .type = type_of(option->dataOpType),
                                 .size = {option->localDRAMSize, option->localHBMSize},
                                 .descriptor = -1};
  pthread_mutex_init(&object->lock, NULL);
  pthread_cond_init(&object->changed, NULL);
  code = begin_object(object, option);
  if (code != SM_OK) {
    free_object(object);
    return code;
  }
  object->next = world->objects;
  world->objects = object;
  *created = object;
  return SM_OK;
}

smem_bm_t smem_bm_create2(uint32_t id, const smem_bm_create_option_t *option) {
  hmci_smem_object_t *object = NULL;
  if (option == NULL) {
    hmci_smem_fail(SM_INVALID_PARAM, "no options given for pool %u", id);
    return NULL;
  }
  pthread_mutex_lock(&world_lock);
  int32_t code = create(id, option, &object);
  pthread_mutex_unlock(&world_lock);
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

int32_t hmci_smem_object_of(smem_bm_t handle, hmci_smem_object_t **object) {
  if (handle == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no pool given");
  }
  pthread_mutex_lock(&world_lock);
  hmci_smem_object_t *at = world != NULL ? world->objects : NULL;
  int is_there = world != NULL;
  while (at != NULL && at != handle) {
    at = at->next;
  }
  pthread_mutex_unlock(&world_lock);
  if (!is_there) {
    return hmci_smem_fail(SM_NOT_INITIALIZED, "smem_bm_init comes first");
  }
  if (at == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "%p is no pool of this process", handle);
  }
  *object = at;
  return SM_OK;
}

/* ---- joining and leaving ----------------------------------------------------------------------------------------- */

static void hide(hmci_smem_object_t *object) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    hmc_region_close(object->shown[kind]);
    object->shown[kind] = NULL;
  }
}

static int32_t show(hmci_smem_object_t *object, uint64_t tag) {
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    char name[HMC_REGION_NAME_SIZE];
    snprintf(name, sizeof(name), "smem-bm/%016" PRIx64 "/%d", tag, kind);
    hmc_status_t status = object->size[kind] == 0
                              ? HMC_SUCCESS
                              : hmc_region_register(object->world->context, object->pointer[kind], object->size[kind],
                                                    name, HMC_REMOTE_ALL, &object->shown[kind]);
    if (status != HMC_SUCCESS) {
      hide(object);
      return hmci_smem_fail_hmc(status, "this member's part of pool %u cannot be shown", object->id);
    }
  }
  return SM_OK;
}

static uint64_t new_tag(const hmci_smem_object_t *object) {
  static _Atomic uint64_t count;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t mixed = (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
  return ((mixed << 8) ^ ((uint64_t)getpid() << 40) ^ ((uint64_t)object->world->rank << 20) ^ ++count) | 1;
}

int32_t smem_bm_join(smem_bm_t handle, uint32_t flags) {
  hmci_smem_object_t *object;
  (void)flags;
  int32_t code = hmci_smem_object_of(handle, &object);
  if (code != SM_OK) {
    return code;
  }
  if (object->has_joined) {
    return hmci_smem_fail(SM_REPEAT_CALL, "this member is in pool %u already", object->id);
  }
  hmci_smem_member_t member = {
      .tag = new_tag(object), .port = object->world->port, .size = {object->size[0], object->size[1]}};
  memcpy(member.ip, object->world->ip, sizeof(member.ip));
  code = show(object, member.tag);
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

int32_t smem_bm_join_gva(smem_bm_t handle, uint32_t flags, void **localGvaAddress) {
  if (localGvaAddress == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no place given for the address");
  }
  int32_t code = (smem_bm_join)(handle, flags);
  if (code == SM_OK) {
    *localGvaAddress = smem_bm_ptr(handle, (uint16_t)smem_bm_get_rank_id());
  }
  return code;
}

static void leave(hmci_smem_object_t *object, uint64_t timeout_ms) {
  char key[64];
  if (object->has_joined) {
    hmci_smem_member_key(object, object->world->rank, key);
    forget_key(object, key, timeout_ms);
    hide(object);
    object->has_joined = 0;
  }
}

int32_t smem_bm_leave(smem_bm_t handle, uint32_t flags) {
  hmci_smem_object_t *object;
  (void)flags;
  int32_t code = hmci_smem_object_of(handle, &object);
  if (code != SM_OK) {
    return code;
  }
  if (!object->has_joined) {
    return hmci_smem_fail(SM_NOT_STARTED, "this member is not in pool %u", object->id);
  }
  leave(object, object->world->control_ms);
  return SM_OK;
}

static void end_object(hmci_smem_object_t *object, uint64_t timeout_ms) {
  leave(object, timeout_ms);
  (void)smem_bm_wait(object); /* of the others' failures, their own calls have told */
  hmci_smem_members_stop(object);
}

void smem_bm_destroy(smem_bm_t handle) {
  hmci_smem_object_t *object;
  if (hmci_smem_object_of(handle, &object) != SM_OK) {
    hmci_smem_log(HMCI_SMEM_WARNING, "smem_bm_destroy: %s", smem_get_last_err_msg());
    return;
  }
  end_object(object, GIVE_UP_MS);
  pthread_mutex_lock(&world_lock);
  hmci_smem_object_t **at = &world->objects;
  while (*at != object) {
    at = &(*at)->next;
  }
  *at = object->next;
  pthread_mutex_unlock(&world_lock);
  free_object(object);
}

void smem_bm_uninit(uint32_t flags) {
  (void)flags;
  pthread_mutex_lock(&world_lock);
  hmci_smem_world_t *ended = world;
  hmci_smem_object_t *object = ended != NULL ? ended->objects : NULL;
  pthread_mutex_unlock(&world_lock);
  while (object != NULL) {
    hmci_smem_object_t *next = object->next;
    smem_bm_destroy(object);
    object = next;
  }
  pthread_mutex_lock(&world_lock);
  world = NULL;
  pthread_mutex_unlock(&world_lock);
  if (ended != NULL) {
    free_world(ended);
  }
}

/* ---- sizes and addresses ----------------------------------------------------------------------------------------- */

/* The kind that the calls without one mean. */
static int main_kind(const hmci_smem_object_t *object) {
  return object->size[HMCI_SMEM_DEVICE] > 0 ? HMCI_SMEM_DEVICE : HMCI_SMEM_HOST;
}

uint64_t smem_bm_get_local_mem_size(smem_bm_t handle) {
  hmci_smem_object_t *object;
  return hmci_smem_object_of(handle, &object) == SM_OK ? object->size[main_kind(object)] : 0;
}

uint64_t smem_bm_get_local_mem_size_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType) {
  hmci_smem_object_t *object;
  if (hmci_smem_object_of(handle, &object) != SM_OK) {
    return 0;
  }
  switch (memType) {
  case SMEM_MEM_TYPE_DEVICE:
  case SMEM_MEM_TYPE_LOCAL_DEVICE: return object->size[HMCI_SMEM_DEVICE];
  case SMEM_MEM_TYPE_HOST:
  case SMEM_MEM_TYPE_LOCAL_HOST: return object->size[HMCI_SMEM_HOST];
  default: hmci_smem_fail(SM_INVALID_PARAM, "memory type %d", (int)memType); return 0;
  }
}

static void *pointer_of(const hmci_smem_object_t *object, int kind, uint16_t rank) {
  if (rank >= object->world->size) {
    hmci_smem_fail(SM_INVALID_PARAM, "rank %u in a world of %u", rank, object->world->size);
    return NULL;
  }
  return (void *)(uintptr_t)(object->base[kind] + object->most[kind] * rank);
}

void *smem_bm_ptr(smem_bm_t handle, uint16_t peerRankId) {
  hmci_smem_object_t *object;
  return hmci_smem_object_of(handle, &object) == SM_OK ? pointer_of(object, main_kind(object), peerRankId) : NULL;
}

void *smem_bm_ptr_by_mem_type(smem_bm_t handle, smem_bm_mem_type memType, uint16_t peerRankId) {
  hmci_smem_object_t *object;
  if (hmci_smem_object_of(handle, &object) != SM_OK) {
    return NULL;
  }
  if (memType != SMEM_MEM_TYPE_DEVICE && memType != SMEM_MEM_TYPE_HOST) {
    hmci_smem_fail(SM_INVALID_PARAM, "memory type %d: takes SMEM_MEM_TYPE_DEVICE or SMEM_MEM_TYPE_HOST", (int)memType);
    return NULL;
  }
  return pointer_of(object, memType == SMEM_MEM_TYPE_DEVICE ? HMCI_SMEM_DEVICE : HMCI_SMEM_HOST, peerRankId);
}

uint32_t smem_bm_get_rank_id_by_gva(smem_bm_t handle, void *gva) {
  hmci_smem_object_t *object;
  int32_t code = hmci_smem_object_of(handle, &object);
  if (code != SM_OK) {
    return (uint32_t)code;
  }
  uint64_t address = (uint64_t)(uintptr_t)gva;
  for (int kind = 0; kind < HMCI_SMEM_KINDS; kind++) {
    uint64_t offset = address - object->base[kind];
    if (address >= object->base[kind] && offset < object->most[kind] * object->world->size) {
      return (uint32_t)(offset / object->most[kind]);
    }
  }
  hmci_smem_fail(SM_INVALID_PARAM, "%p is in nobody's part of pool %u", gva, object->id);
  return UINT32_MAX;
}
