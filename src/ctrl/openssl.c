/* When OpenSSL may be called (see openssl.h).
 *
 * Locking: none. A caller counts itself before it looks at `over`; the handler sets `over` before it looks at the
 * count. Both are sequentially consistent, so that one of the two sees the other. */
#include "openssl.h"

#include <openssl/crypto.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#define PATIENCE_MS 1000 /* a thread that never comes back must not keep the process from ending */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool has_started; /* constant after `once` */
static _Atomic uint32_t callers;
static _Atomic bool over;

/* Runs first when OpenSSL takes itself apart. */
static void on_cleanup(void) {
  uint64_t deadline = hmci_deadline(PATIENCE_MS);
  atomic_store(&over, true);
  while (atomic_load(&callers) != 0 && hmci_now() < deadline) {
    sched_yield();
  }
}

/* A child made by fork() has none of the threads that were counted. */
static void forget_callers(void) { atomic_store(&callers, 0); }

/* OpenSSL makes its default library context once. Where it had no memory for that, it uses the empty one all the same,
 * and the first digest goes through a lock that is not there. */
static void begin(void) {
  has_started = OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL) == 1 && OSSL_LIB_CTX_get0_global_default() != NULL;
  if (has_started) {
    OPENSSL_atexit(on_cleanup);
    pthread_atfork(NULL, NULL, forget_callers);
  }
}

bool hmci_openssl_acquire(void) {
  pthread_once(&once, begin);
  if (!has_started) {
    return false;
  }
  atomic_fetch_add(&callers, 1);
  if (!atomic_load(&over)) {
    return true;
  }
  atomic_fetch_sub(&callers, 1);
  return false;
}

void hmci_openssl_release(void) { atomic_fetch_sub(&callers, 1); }

hmc_status_t hmci_openssl_fail(void) {
  if (!has_started) {
    return hmci_fail(HMC_NO_MEMORY, "OpenSSL found no memory when it started in this process, and it starts only once: "
                                    "start the program again");
  }
  return hmci_fail(HMC_ERROR, "this process is ending, and OpenSSL has ended already");
}
