/* BM: the world that this process is a member of, and its rank there (see bm.h).
 *
 * Locking: `hmci_smem_bm_lock` guards the pointer to the world and is held while a world is entered. What a world has is
 * written then, and only read afterwards. */
#include "bm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

/* A dead member's rank is free when its lease has ended, and the store has had this long to say so. */
enum { RANK_PATIENCE_MS = 2000, SECRET_BYTES = 32 };

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* A child made by fork() is not a member: its world is the parent's, and it may become a member by itself. */
static void forget_world(void) {
  pthread_mutex_init(&hmci_smem_bm_lock, NULL);
  hmci_smem_bm_world = NULL;
  hmci_smem_objects_forget();
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, forget_world); }

int32_t smem_bm_config_init(smem_bm_config_t *config) {
  if (config == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no config given to fill in: give the address of one");
  }
  memset(config, 0, sizeof(*config));
  config->initTimeout = config->createTimeout = config->controlOperationTimeout = HMCI_SMEM_TIMEOUT_S;
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
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "unifiedAddressSpace is false: leave it true, there is no other address space");
  }
  if (!config->autoRanking && config->rankId != UINT16_MAX && config->rankId >= world_size) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "rank %u in a world of %u: ranks begin at 0, and 65535 leaves the choice to the store",
                          config->rankId, world_size);
  }
  if (config->hcomTlsConfig.tlsEnable && !config->storeTlsConfig.tlsEnable && !hmci_smem_security_is_set()) {
    return hmci_smem_fail(SM_INVALID_PARAM, "hcomTlsConfig needs certificates for the store too: set storeTlsConfig");
  }
  if (memchr(config->hcomUrl, '\0', sizeof(config->hcomUrl)) == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "hcomUrl has no end: it takes 63 bytes and a zero");
  }
  return SM_OK;
}

static int is_automatic(const smem_bm_config_t *config) { return config->autoRanking || config->rankId == UINT16_MAX; }

static void pause_ms(long ms) {
  const struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
  nanosleep(&pause, NULL);
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
  uint64_t patience_ms = hmc_store_lease_ttl(made->lease) + RANK_PATIENCE_MS;
  uint64_t until = hmci_smem_now_ms() + (timeout_ms < patience_ms ? timeout_ms : patience_ms);
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
    if (hmci_smem_now_ms() >= until) {
      return is_any ? hmci_smem_fail(SM_DUPLICATED_OBJECT,
                                     "all %u ranks are taken: start fewer, or give a larger world", made->size)
                    : hmci_smem_fail(SM_DUPLICATED_OBJECT, "rank %u is taken by a member that lives: give another",
                                     config->rankId);
    }
    if (hmci_smem_is_interrupted()) {
      return hmci_smem_fail(SM_ERROR, "taking a rank was interrupted");
    }
    pause_ms(50);
  }
}

/* At a port of the config's, unless another process of this host has it: several ranks of one host may have one config, and
 * the store says where each is. */
static hmc_status_t listen_at(hmci_smem_world_t *made, uint16_t port) {
  hmc_status_t status = hmc_context_listen(made->context, made->ip, port, &made->port);
  if (status == HMC_ADDRESS_IN_USE && port != 0) {
    hmci_smem_log(HMCI_SMEM_WARNING, "hcomUrl: %s; peers reach this member at another port", hmc_last_error());
    status = hmc_context_listen(made->context, made->ip, 0, &made->port);
  }
  return status;
}

/* Where peers reach this member: the config's address, or that of the way to the store; also where the config has the address
 * that stands for all of a host's, as upstream's samples do ("tcp://0.0.0.0/0:10005"). */
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
  hmc_status_t status = listen_at(made, port);
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "peers cannot reach this member at %s", made->ip);
  }
  if (strcmp(made->ip, "0.0.0.0") == 0 || strcmp(made->ip, "::") == 0) {
    hmci_smem_own_ip(url->ip, made->ip);
  }
  return SM_OK;
}

void hmci_smem_world_free(hmci_smem_world_t *ended) {
  hmc_store_lease_release(ended->lease, HMCI_SMEM_GIVE_UP_MS);
  hmc_context_destroy(ended->context);
  hmci_smem_link_release(ended->link);
  free(ended);
}

/* The secret of this world, which the store gives to those whose certificates it takes, and to nobody else: members
 * prove it to each other. The first one makes it. */
static int32_t share_secret(const hmci_smem_world_t *made, char secret[2 * SECRET_BYTES + 1], uint64_t timeout_ms) {
  unsigned char random[SECRET_BYTES];
  size_t size = 0;
  int swapped = 0;
  if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random)) {
    return hmci_smem_fail(SM_ERROR, "there are no random bytes for a secret");
  }
  for (size_t i = 0; i < sizeof(random); i++) {
    snprintf(secret + 2 * i, 3, "%02x", random[i]);
  }
  hmc_status_t status = hmc_store_compare_swap(made->store, "smem/bm/secret", NULL, 0, secret, 2 * (size_t)SECRET_BYTES,
                                               NULL, &swapped, timeout_ms);
  if (status == HMC_SUCCESS && !swapped) {
    status = hmc_store_get(made->store, "smem/bm/secret", secret, 2 * (size_t)SECRET_BYTES, &size, timeout_ms);
  }
  return status == HMC_SUCCESS ? SM_OK : hmci_smem_fail_hmc(status, "the members' secret cannot be had");
}

static int32_t enter_world(hmci_smem_world_t *made, const char *url_text, uint16_t device_id,
                           const smem_bm_config_t *config) {
  uint64_t init_ms = (uint64_t)config->initTimeout * 1000;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  char secret[2 * SECRET_BYTES + 1];
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
  if (config->hcomTlsConfig.tlsEnable) {
    code = share_secret(made, secret, init_ms);
    if (code != SM_OK) {
      return code;
    }
    options.secret = secret;
  }
  hmc_status_t status = hmc_context_create(&options, &made->context);
  explicit_bzero(secret, sizeof(secret));
  if (status == HMC_SUCCESS) {
    status = hmc_store_lease_create(made->store, 0, init_ms, &made->lease);
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
  if (config->storeTlsConfig.tlsEnable) {
    code = hmci_smem_security_use(&config->storeTlsConfig);
    if (code != SM_OK) {
      return code;
    }
  }
  if (config->startConfigStoreOnly) {
    return hmci_smem_serve_for_good(storeURL);
  }
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(&hmci_smem_bm_lock);
  if (hmci_smem_bm_world != NULL) {
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
    hmci_smem_bm_world = made;
  } else {
    hmci_smem_world_free(made);
  }
out:
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  return code;
}

uint32_t smem_bm_get_rank_id(void) {
  pthread_mutex_lock(&hmci_smem_bm_lock);
  uint32_t rank = hmci_smem_bm_world != NULL ? hmci_smem_bm_world->rank : UINT32_MAX;
  pthread_mutex_unlock(&hmci_smem_bm_lock);
  if (rank == UINT32_MAX) {
    hmci_smem_fail(SM_NOT_INITIALIZED, "call smem_bm_init first");
  }
  return rank;
}
