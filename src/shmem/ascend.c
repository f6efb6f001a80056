/* The host interface of SHMEM for Ascend over the rest of this room: starting by attributes, unique ids, settings. */
#include "boot.h"
#include "certificates.h"
#include "state.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <hmc/log.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <sched.h>
#include <shmem/ascend.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

_Static_assert(sizeof(aclshmemx_uniqueid_t) == 136, "a unique id travels as bytes");
_Static_assert(sizeof(aclshmem_team_config_t) == 64, "programs lay it out themselves");

/* ---- unique ids ------------------------------------------------------------------------------------------------------ */

/* In `internal`: "tcp://ip:port", its end, and the secret in hexadecimal digits with its end. */
enum { SECRET_BYTES = 24 };

static bool take_named_interface(char ip[INET_ADDRSTRLEN]) {
  const char *wish = getenv("SHMEM_UID_SOCK_IFNAME"); /* "eth0" or "eth0:inet4" */
  if (!wish) wish = getenv("ACLSHMEM_UID_SOCK_IFNAME");
  struct ifaddrs *list;
  if (getifaddrs(&list)) return false;
  size_t length = wish ? strcspn(wish, ":") : 0;
  bool found = false;
  for (struct ifaddrs *at = list; at && !found; at = at->ifa_next) {
    if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || !(at->ifa_flags & IFF_UP)) continue;
    bool fits =
        wish ? strncmp(at->ifa_name, wish, length) == 0 && at->ifa_name[length] == 0 : !(at->ifa_flags & IFF_LOOPBACK);
    if (!fits) continue;
    found = inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, ip, INET_ADDRSTRLEN) != NULL;
  }
  freeifaddrs(list);
  if (!found && wish)
    fprintf(stderr,
            "shmem: SHMEM_UID_SOCK_IFNAME=%s: there is no such interface here that is up and has an IPv4 address\n",
            wish);
  return found || !wish;
}

static void write_secret(char *into, size_t room) {
  unsigned char bytes[SECRET_BYTES];
  const char *own = getenv("HMC_SECRET");
  if (own || getenv("HMC_SECRET_FILE") || getrandom(bytes, sizeof bytes, 0) != SECRET_BYTES) {
    into[0] = 0; /* all have one already */
    return;
  }
  for (size_t i = 0; i < SECRET_BYTES && 2 * i + 2 < room; i++) snprintf(into + 2 * i, 3, "%02x", bytes[i]);
  setenv("HMC_SECRET", into, 1);
}

int aclshmemx_get_uniqueid(aclshmemx_uniqueid_t *uid) {
  if (!uid) return ACLSHMEM_INVALID_PARAM;
  *uid = (aclshmemx_uniqueid_t)ACLSHMEM_UNIQUEID_INITIALIZER;
  const char *session = getenv("SHMEM_UID_SESSION_ID"); /* "ip:port" */
  if (!session) session = getenv("ACLSHMEM_UID_SESSION_ID");
  char wish[80];
  if (session) {
    snprintf(wish, sizeof wish, "tcp://%.64s", session);
  } else {
    char ip[INET_ADDRSTRLEN] = "127.0.0.1";
    if (!take_named_interface(ip)) return ACLSHMEM_INVALID_VALUE;
    snprintf(wish, sizeof wish, "tcp://%s:0", ip);
  }
  char secret[2 * SECRET_BYTES + 1];
  write_secret(secret, sizeof secret);
  char address[64];
  if (!hmci_boot_prepare(wish, address, sizeof address)) return ACLSHMEM_BOOTSTRAP_ERROR;
  size_t length = strlen(address);
  memcpy(uid->internal, address, length + 1);
  memcpy(uid->internal + length + 1, secret, strlen(secret) + 1);
  return ACLSHMEM_SUCCESS;
}

int aclshmemx_set_attr_uniqueid_args(int my_pe, int n_pes, int64_t local_mem_size, aclshmemx_uniqueid_t *uid,
                                     aclshmemx_init_attr_t *aclshmem_attr) {
  if (!uid || !aclshmem_attr) return ACLSHMEM_INVALID_PARAM;
  aclshmem_init_optional_attr_t defaults = {
      (1 << 16) + (int)sizeof defaults, ACLSHMEM_DATA_OP_MTE, DEFAULT_TIMEOUT, DEFAULT_TIMEOUT, DEFAULT_TIMEOUT, -1};
  memset(aclshmem_attr->ip_port, 0, sizeof aclshmem_attr->ip_port);
  aclshmem_attr->my_pe = my_pe;
  aclshmem_attr->n_pes = n_pes;
  aclshmem_attr->local_mem_size = (uint64_t)local_mem_size;
  aclshmem_attr->option_attr = defaults;
  aclshmem_attr->comm_args = uid;
  uid->my_pe = my_pe;
  uid->n_pes = n_pes;
  return ACLSHMEM_SUCCESS;
}

/* ---- init ------------------------------------------------------------------------------------------------------------ */

static int check_attributes(const aclshmemx_init_attr_t *attributes) {
  if (hmci_pe.levels) return ACLSHMEM_INNER_ERROR;
  if (!attributes) return ACLSHMEM_INVALID_PARAM;
  const aclshmem_init_optional_attr_t *options = &attributes->option_attr;
  if (attributes->my_pe < 0 || attributes->n_pes <= 0 || attributes->n_pes > ACLSHMEM_MAX_PES ||
      attributes->local_mem_size == 0 || attributes->local_mem_size > ACLSHMEM_MAX_LOCAL_SIZE ||
      options->shm_init_timeout == 0 || options->shm_create_timeout == 0 || options->control_operation_timeout == 0 ||
      (options->data_op_engine_type & ~15) || options->data_op_engine_type == 0) {
    return ACLSHMEM_INVALID_VALUE;
  }
  return attributes->my_pe >= attributes->n_pes ? ACLSHMEM_INVALID_PARAM : ACLSHMEM_SUCCESS;
}

/* The address of a unique id, or of the attributes; NULL where they have none. */
static const char *address_of(aclshmemx_bootstrap_t flags, const aclshmemx_init_attr_t *attributes) {
  const aclshmemx_uniqueid_t *uid = attributes->comm_args;
  bool has_uid = uid && strncmp(uid->internal, "tcp://", 6) == 0;
  if (flags != ACLSHMEMX_INIT_WITH_UNIQUEID && attributes->ip_port[0]) return attributes->ip_port;
  if (!has_uid) return NULL;
  const char *secret = uid->internal + strlen(uid->internal) + 1;
  if (*secret && !getenv("HMC_SECRET") && !getenv("HMC_SECRET_FILE")) setenv("HMC_SECRET", secret, 1);
  return uid->internal;
}

int aclshmemx_init_attr(aclshmemx_bootstrap_t bootstrap_flags, aclshmemx_init_attr_t *attributes) {
  int fault = check_attributes(attributes);
  if (fault) return fault;
  const char *address = bootstrap_flags == ACLSHMEMX_INIT_WITH_MPI ? NULL : address_of(bootstrap_flags, attributes);
  hmci_boot_wish_t wish = {.rank = attributes->my_pe, .size = attributes->n_pes, .address = address};
  uint32_t seconds = attributes->option_attr.shm_init_timeout;
  wish.timeout_ms = seconds == DEFAULT_TIMEOUT ? 0 : (uint64_t)seconds * 1000;
  if (attributes->n_pes > 1 && !address && !hmci_boot_is_launched()) return ACLSHMEM_INVALID_PARAM;
  bool by_launcher = attributes->n_pes > 1 && !address;
  return hmci_join_as(by_launcher ? NULL : &wish, attributes->local_mem_size) ? ACLSHMEM_SUCCESS
                                                                              : ACLSHMEM_BOOTSTRAP_ERROR;
}

aclshmemx_init_status_t hmc_shmem_init_status(void) {
  return hmci_pe.levels ? ACLSHMEM_STATUS_IS_INITIALIZED : ACLSHMEM_STATUS_NOT_INITIALIZED;
}

int aclshmem_finalize(void) {
  shmem_finalize();
  return ACLSHMEM_SUCCESS;
}

void aclshmem_info_get_version(int *major, int *minor) {
  if (!major || !minor) return;
  *major = ACLSHMEM_MAJOR_VERSION;
  *minor = ACLSHMEM_MINOR_VERSION;
}

void aclshmem_info_get_name(char *name) {
  if (name) memcpy(name, "ACLSHMEM v1.1.1", sizeof "ACLSHMEM v1.1.1");
}

static aclshmem_instance_ctx the_instance;

int aclshmemx_instance_ctx_set(uint64_t instance_id) {
  return instance_id == 0 ? ACLSHMEM_SUCCESS : ACLSHMEM_NOT_SUPPORTED;
}

aclshmem_instance_ctx *aclshmemx_instance_ctx_get(void) {
  the_instance.instance = hmci_pe.levels ? &hmci_pe : NULL;
  return &the_instance;
}

/* ---- settings --------------------------------------------------------------------------------------------------------- */

int32_t shmem_set_conf_store_tls(int enable, const char *tls_info, uint32_t tls_info_len) {
  if (hmci_pe.levels) return ACLSHMEM_INNER_ERROR;
  if (!enable) {
    hmci_certificates_clear();
    return setenv("HMC_INSECURE", "1", 1) ? ACLSHMEM_INNER_ERROR : ACLSHMEM_SUCCESS;
  }
  if (tls_info && tls_info_len && !hmci_certificates_set(tls_info, tls_info_len)) return ACLSHMEM_INVALID_PARAM;
  return unsetenv("HMC_INSECURE") ? ACLSHMEM_INNER_ERROR : ACLSHMEM_SUCCESS;
}

int32_t hmc_shmem_set_tls_key(const char *key, uint32_t key_len, const char *password, uint32_t password_len,
                              hmc_shmem_decrypt_t decrypt) {
  if (hmci_pe.levels) return ACLSHMEM_INNER_ERROR;
  if (key_len && !key) return ACLSHMEM_INVALID_PARAM;
  return hmci_certificates_set_key(key_len ? key : "", key_len, password, password_len, decrypt)
             ? ACLSHMEM_SUCCESS
             : ACLSHMEM_INVALID_PARAM;
}

/* Ours runs 0 (debug) to 4 (fatal), the engine's 4 (debug) to 1 (error). */
static void (*extern_logger)(int level, const char *message);

static void pass_on(hmc_log_level_t level, const char *text, void *user) {
  (void)user;
  extern_logger(level >= HMC_LOG_DEBUG ? 0 : 4 - (int)level, text);
}

int32_t aclshmemx_set_extern_logger(void (*func)(int level, const char *msg)) {
  if (!func) return ACLSHMEM_INVALID_PARAM;
  extern_logger = func;
  hmc_log_set_callback(pass_on, NULL);
  return ACLSHMEM_SUCCESS;
}

int32_t aclshmemx_set_log_level(int level) {
  static const hmc_log_level_t levels[] = {HMC_LOG_DEBUG, HMC_LOG_INFO, HMC_LOG_WARNING, HMC_LOG_ERROR, HMC_LOG_ERROR};
  if (level >= 0 && level < 5) hmc_log_set_level(levels[level]);
  return ACLSHMEM_SUCCESS;
}

/* ---- what a host without kernels has ------------------------------------------------------------------------------------ */

void aclshmemx_show_prof(void) { fputs("shmem: no kernel was counted\n", stderr); }

void hmc_shmem_get_prof(aclshmem_prof_pe_t **out_profs) {
  static aclshmem_prof_pe_t none;
  none.pe_id = hmci_pe.me;
  if (out_profs) *out_profs = &none;
}

uint64_t util_get_ffts_config(void) { return 0; }

void hmc_shmem_stream_wait(aclrtStream stream) {
  if (!stream) return;
  int (*synchronize)(aclrtStream);
  void *found = dlsym(RTLD_DEFAULT, "aclrtSynchronizeStream");
  memcpy(&synchronize, &found, sizeof found);
  if (synchronize) synchronize(stream);
}

/* ---- the heaps --------------------------------------------------------------------------------------------------------- */

static shmemx_space_t space_of(aclshmem_mem_type_t side) {
  return side == DEVICE_SIDE && hmci_pe.device.size ? SHMEMX_SPACE_DEVICE : SHMEMX_SPACE_HOST;
}

void *hmc_shmem_side_malloc(size_t size, aclshmem_mem_type_t side) { return shmemx_space_malloc(space_of(side), size); }
void *hmc_shmem_side_calloc(size_t count, size_t size, aclshmem_mem_type_t side) {
  return shmemx_space_calloc(space_of(side), count, size);
}
void *hmc_shmem_side_align(size_t alignment, size_t size, aclshmem_mem_type_t side) {
  return shmemx_space_align(space_of(side), alignment, size);
}
const void *hmc_shmem_readable(const void *at, void *room, size_t size) {
  if (!hmci_is_device(at)) return at;
  hmci_move(room, at, size);
  return room;
}

void *hmc_shmem_side_base(aclshmem_mem_type_t side) { return shmemx_space_base(space_of(side), NULL); }

void hmc_shmem_pause(void) { sched_yield(); }
