/* What all parts of SMEM share: failing with a code and a text, the log, URLs, and links to the store.
 *
 * SMEM stands on the public C API of HMC alone. Internal names begin with hmci_smem_. */
#ifndef HMCI_SMEM_COMMON_H
#define HMCI_SMEM_COMMON_H

#include <hmc.h>
#include <smem/host/smem_bm_def.h>

#include <pthread.h>

#define HMCI_SMEM_PAGE (UINT64_C(2) << 20) /* what sizes of parts are multiples of */
#define HMCI_SMEM_TIMEOUT_S 120            /* the timeouts of configs that say none */
#define HMCI_SMEM_GIVE_UP_MS 1000          /* for the store to take what this process leaves behind */
#define HMCI_SMEM_NS_PER_S UINT64_C(1000000000)

enum { HMCI_SMEM_DEBUG = 0, HMCI_SMEM_INFO = 1, HMCI_SMEM_WARNING = 2, HMCI_SMEM_ERROR = 3 };

/* Sets the thread's text, logs it, and returns `code`. */
int32_t hmci_smem_fail(int32_t code, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a call of HMC's that failed: the text goes on with HMC's own. */
int32_t hmci_smem_fail_hmc(hmc_status_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __clang_analyzer__
/* The analyzer looks at one file at a time: this shows it that the code comes back. */
#define hmci_smem_fail(code, ...) (hmci_smem_fail(code, __VA_ARGS__), (code))
#define hmci_smem_fail_hmc(status, ...) (hmci_smem_fail_hmc(status, __VA_ARGS__), SM_ERROR)
#endif

/* The code of a status. */
int32_t hmci_smem_code(hmc_status_t status);

void hmci_smem_log(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* "tcp://10.0.0.2:4100" as its parts. -2000. */
typedef struct hmci_smem_url {
  char ip[64];
  uint16_t port;
  char text[256]; /* "tcp://ip:port" or "etcd://...", as hmc_store_connect takes it */
} hmci_smem_url_t;
int32_t hmci_smem_parse_url(const char *text, hmci_smem_url_t *url);

/* "ip:port" or "[ipv6]:port". -2000. */
int32_t hmci_smem_parse_address(const char *text, hmci_smem_url_t *url);

/* The address of this host that others on the way to `ip` reach it by. */
void hmci_smem_own_ip(const char *ip, char own[64]);
/* True where `ip` is an address of this host. */
int hmci_smem_is_own(const char *ip);

/* Connects to a process whose address the store has. HMC_PEER_LOST also where another program answers there: the process
 * proved the secret to the store, so it has ended, and its port is another one's. */
hmc_status_t hmci_smem_connect(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                               hmc_peer_t **peer);

/* The accelerator that device memory is of: the default one's device `device_id`, else the software accelerator, which
 * stands in for as many as are named. */
int32_t hmci_smem_choose_device(uint16_t device_id, hmc_memory_t *device);

/* ---- common.c ---------------------------------------------------------------------------------------------------- */

uint64_t hmci_smem_now_ms(void); /* of a clock that only goes on */
/* A random number, not 0, by which memory is named that peers reach: a name is never given twice. -1. */
int32_t hmci_smem_new_tag(uint64_t *tag);
/* -2000: no addresses, or no bytes. */
int32_t hmci_smem_check_copy(const void *source, const void *destination, uint64_t size);
/* What a mask leaves of the ways to peers. */
hmc_connection_type_t hmci_smem_connection_type(smem_bm_data_op_type mask);

/* Does [begin, begin + bytes) hold [address, address + size)? */
static inline int hmci_smem_holds(uint64_t begin, uint64_t bytes, uint64_t address, uint64_t size) {
  return address - begin <= bytes && size <= bytes - (address - begin); /* below `begin` the difference is huge */
}

/* Has somebody asked for the end of this thread's calls? For waits that HMC does not do (interrupt.c). */
bool hmci_smem_is_interrupted(void);

/* As pthread_create, with all signals blocked in the new thread: they are the program's. */
int hmci_smem_thread_create(pthread_t *thread, void *(*run)(void *argument), void *argument);

/* A lock that a writer gets although others read without a pause. No thread may take it twice. */
void hmci_smem_rwlock_init(pthread_rwlock_t *lock);

/* A copy of `size` bytes between two peers, in pieces: `move` gets `bytes` of them from the one peer into the buffer, and
 * puts them to the other one, `done` bytes from the beginning. The first code that is not 0 ends it. */
typedef int32_t (*hmci_smem_bounce_t)(void *user, void *buffer, uint64_t done, uint64_t bytes);
int32_t hmci_smem_bounce(uint64_t size, hmci_smem_bounce_t move, void *user);

/* ---- links to the store ------------------------------------------------------------------------------------------ */

typedef enum hmci_smem_serve {
  HMCI_SMEM_JOIN,      /* another process serves the store */
  HMCI_SMEM_SERVE,     /* this process must, unless it does already */
  HMCI_SMEM_MAY_SERVE, /* the first one; the others join */
} hmci_smem_serve_t;

typedef struct hmci_smem_link hmci_smem_link_t;

/* security.c: what the store's TLS is set to, for one link or server; freed after it was made. -1: the password's handler
 * fails. */
typedef struct hmci_smem_security hmci_smem_security_t;
int32_t hmci_smem_security_get(hmci_smem_security_t **security);
const hmc_store_certificates_t *hmci_smem_security_certificates(const hmci_smem_security_t *security); /* NULL: none */
void hmci_smem_security_free(hmci_smem_security_t *security);
/* Takes the certificates that a pool's config names, for links that are made afterwards. -2000. */
int32_t hmci_smem_security_use(const smem_tls_config *config);
bool hmci_smem_security_is_set(void); /* by certificates */

/* A link to the store of that URL, shared by all parts of the process. -2000, -2004, -1. */
int32_t hmci_smem_link_acquire(const char *url, hmci_smem_serve_t serve, uint64_t timeout_ms, hmci_smem_link_t **link);
void hmci_smem_link_release(hmci_smem_link_t *link);
hmc_store_t *hmci_smem_link_store(hmci_smem_link_t *link);

/* Serves it until the process ends. */
int32_t hmci_smem_serve_for_good(const char *url);

/* ---- addresses --------------------------------------------------------------------------------------------------- */

/* Reserves [base, base + size), without access. NULL where something lies there. */
void *hmci_smem_reserve_at(uint64_t base, uint64_t size);
void hmci_smem_unreserve(void *base, uint64_t size);

/* Finds a base for `size` bytes that is free here and was given to nobody else of the store's world, and reserves it. */
int32_t hmci_smem_reserve_new(hmc_store_t *store, uint64_t size, uint64_t timeout_ms, void **base);

/* Shared memory of this process's own: a sealed memfd, mapped at `address` (reserved). `descriptor` gets it. */
int32_t hmci_smem_map_own(void *address, uint64_t size, int given, int *descriptor);
/* Reserves the range again. */
void hmci_smem_unmap(void *address, uint64_t size);

#endif
