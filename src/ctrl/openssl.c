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

static void begin(void) {
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
  OPENSSL_atexit(on_cleanup);
  pthread_atfork(NULL, NULL, forget_callers);
}

bool hmci_openssl_acquire(void) {
  pthread_once(&once, begin);
  atomic_fetch_add(&callers, 1);
  if (!atomic_load(&over)) {
    return true;
  }
  atomic_fetch_sub(&callers, 1);
  return false;
}

void hmci_openssl_release(void) { atomic_fetch_sub(&callers, 1); }
