/* HTTP by libcurl (see curl.h). Option numbers and struct layouts are those of libcurl's stable ABI (SONAME 4). */
#include "curl.h"

#include "../../base/stop.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
  OPT_NOSIGNAL = 99,
  OPT_CONNECTTIMEOUT_MS = 156,
  OPT_TCP_KEEPALIVE = 213,
  OPT_WRITEDATA = 10001,
  OPT_URL = 10002,
  OPT_PROXY = 10004,
  OPT_ERRORBUFFER = 10010,
  OPT_POSTFIELDS = 10015,
  OPT_HTTPHEADER = 10023,
  OPT_SSLCERT = 10025,
  OPT_KEYPASSWD = 10026,
  OPT_CAINFO = 10065,
  OPT_SSLKEY = 10087,
  OPT_CRLFILE = 10169,
  OPT_WRITEFUNCTION = 20011,
  OPT_POSTFIELDSIZE_LARGE = 30120,
  OPT_SSLKEY_BLOB = 40292,
  INFO_RESPONSE_CODE = 0x200000 + 2,
  GLOBAL_ALL = 3,
  MESSAGE_DONE = 1,
  COULD_NOT_RESOLVE = 6,
  COULD_NOT_CONNECT = 7,
  ERROR_ROOM = 256,
  CONNECT_MS = 2000,
};

typedef struct message {
  int kind;
  void *easy;
  union {
    void *whatever;
    int result;
  } data;
} message_t;

typedef struct blob {
  const void *data;
  size_t size;
  unsigned flags;
} blob_t;

static struct {
  void *(*easy_init)(void);
  void (*easy_cleanup)(void *);
  int (*easy_setopt)(void *, int, ...);
  int (*easy_getinfo)(void *, int, ...);
  const char *(*easy_strerror)(int);
  int (*global_init)(long);
  void *(*slist_append)(void *, const char *);
  void (*slist_free_all)(void *);
  void *(*multi_init)(void);
  int (*multi_cleanup)(void *);
  int (*multi_add_handle)(void *, void *);
  int (*multi_remove_handle)(void *, void *);
  int (*multi_perform)(void *, int *);
  int (*multi_poll)(void *, void *, unsigned, int, int *);
  int (*multi_wakeup)(void *);
  message_t *(*multi_info_read)(void *, int *);
} curl;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char fault[256]; /* why it cannot be used; written once */

struct hmci_curl {
  void *easy, *multi, *headers;
  char error[ERROR_ROOM];
  atomic_bool stopped;
  hmci_curl_sink_t sink;
  void *user;
  bool sink_ended;
};

static void load(void) {
  static const struct {
    const char *name;
    void *to;
  } symbols[] = {
      {"curl_easy_init", &curl.easy_init},
      {"curl_easy_cleanup", &curl.easy_cleanup},
      {"curl_easy_setopt", &curl.easy_setopt},
      {"curl_easy_getinfo", &curl.easy_getinfo},
      {"curl_easy_strerror", &curl.easy_strerror},
      {"curl_global_init", &curl.global_init},
      {"curl_slist_append", &curl.slist_append},
      {"curl_slist_free_all", &curl.slist_free_all},
      {"curl_multi_init", &curl.multi_init},
      {"curl_multi_cleanup", &curl.multi_cleanup},
      {"curl_multi_add_handle", &curl.multi_add_handle},
      {"curl_multi_remove_handle", &curl.multi_remove_handle},
      {"curl_multi_perform", &curl.multi_perform},
      {"curl_multi_poll", &curl.multi_poll},
      {"curl_multi_wakeup", &curl.multi_wakeup},
      {"curl_multi_info_read", &curl.multi_info_read},
  };
  static const char *const names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};
  void *library = NULL;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && library == NULL; i++) {
    library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  }
  if (library == NULL) {
    snprintf(fault, sizeof(fault), "an etcd cluster as the store needs libcurl.so.4 (Debian: libcurl4)");
    return;
  }
  for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
    void *symbol = dlsym(library, symbols[i].name);
    if (symbol == NULL) {
      snprintf(fault, sizeof(fault), "the libcurl here is too old: it has no %s (7.68 has)", symbols[i].name);
      return;
    }
    memcpy(symbols[i].to, &symbol, sizeof(symbol));
  }
  if (curl.global_init(GLOBAL_ALL) != 0) {
    snprintf(fault, sizeof(fault), "libcurl does not start");
  }
}

static size_t take(char *data, size_t unit, size_t count, void *user) {
  hmci_curl_t *handle = user;
  if (!handle->sink(data, unit * count, handle->user)) {
    handle->sink_ended = true;
    return 0;
  }
  return unit * count;
}

static void use_certificates(hmci_curl_t *made, const hmc_store_certificates_t *certificates) {
  (void)curl.easy_setopt(made->easy, OPT_CAINFO, certificates->authorities);
  (void)curl.easy_setopt(made->easy, OPT_SSLCERT, certificates->certificate);
  if (certificates->key != NULL) {
    const blob_t key = {.data = certificates->key, .size = strlen(certificates->key), .flags = 1};
    (void)curl.easy_setopt(made->easy, OPT_SSLKEY_BLOB, &key);
  } else {
    (void)curl.easy_setopt(made->easy, OPT_SSLKEY, certificates->key_file);
  }
  if (certificates->key_password != NULL) {
    (void)curl.easy_setopt(made->easy, OPT_KEYPASSWD, certificates->key_password);
  }
  if (certificates->revocations != NULL && certificates->revocations[0] != '\0') {
    (void)curl.easy_setopt(made->easy, OPT_CRLFILE, certificates->revocations);
  }
}

hmc_status_t hmci_curl_create(const hmc_store_certificates_t *certificates, hmci_curl_t **created) {
  pthread_once(&once, load);
  if (fault[0] != '\0') {
    return hmci_fail(HMC_UNSUPPORT, "%s", fault);
  }
  hmci_curl_t *made = calloc(1, sizeof(*made));
  if (made == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a connection to etcd");
  }
  made->easy = curl.easy_init();
  made->multi = curl.multi_init();
  made->headers = curl.slist_append(NULL, "Content-Type: application/json");
  void *more = made->headers != NULL ? curl.slist_append(made->headers, "Expect:") : NULL; /* bodies are sent at once */
  if (made->easy == NULL || made->multi == NULL || more == NULL) {
    hmci_curl_free(made);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a connection to etcd");
  }
  made->headers = more;
  (void)curl.easy_setopt(made->easy, OPT_NOSIGNAL, 1L);
  (void)curl.easy_setopt(made->easy, OPT_TCP_KEEPALIVE, 1L);
  (void)curl.easy_setopt(made->easy, OPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
  (void)curl.easy_setopt(made->easy, OPT_PROXY, "");
  (void)curl.easy_setopt(made->easy, OPT_HTTPHEADER, made->headers);
  (void)curl.easy_setopt(made->easy, OPT_ERRORBUFFER, made->error);
  (void)curl.easy_setopt(made->easy, OPT_WRITEFUNCTION, take);
  (void)curl.easy_setopt(made->easy, OPT_WRITEDATA, made);
  if (certificates != NULL) {
    use_certificates(made, certificates);
  }
  *created = made;
  return HMC_SUCCESS;
}

void hmci_curl_free(hmci_curl_t *handle) {
  if (handle == NULL) {
    return;
  }
  if (handle->easy != NULL) {
    curl.easy_cleanup(handle->easy);
  }
  if (handle->multi != NULL) {
    curl.multi_cleanup(handle->multi);
  }
  curl.slist_free_all(handle->headers);
  free(handle);
}

/* True, and *result, when the request has ended. */
static bool has_ended(hmci_curl_t *handle, int *result) {
  int left = 0;
  for (message_t *message = curl.multi_info_read(handle->multi, &left); message != NULL;
       message = curl.multi_info_read(handle->multi, &left)) {
    if (message->kind == MESSAGE_DONE) {
      *result = message->data.result;
      return true;
    }
  }
  return false;
}

static hmc_status_t run(hmci_curl_t *handle, uint64_t deadline) {
  int running = 0, result = 0, ready = 0;
  uint64_t asks_at = hmci_stop_is_possible() ? hmci_now() + HMCI_STOP_ASK_NS : HMCI_NEVER;
  for (;;) {
    if (curl.multi_perform(handle->multi, &running) != 0) {
      return hmci_fail(HMC_ERROR, "libcurl fails");
    }
    if (has_ended(handle, &result)) {
      break;
    }
    if (atomic_load(&handle->stopped)) {
      return hmci_fail(HMC_CANCELLED, "the request was stopped");
    }
    uint64_t now = hmci_now();
    if (now >= deadline) {
      return hmci_fail(HMC_TIMEOUT, "no answer in time");
    }
    if (now >= asks_at) {
      if (hmci_stop_is_wanted()) {
        return hmci_fail(HMC_CANCELLED, "the call of the store was cancelled");
      }
      asks_at = now + HMCI_STOP_ASK_NS;
    }
    int timeout = hmci_poll_timeout(asks_at < deadline ? asks_at : deadline);
    (void)curl.multi_poll(handle->multi, NULL, 0, timeout < 0 || timeout > 1000 ? 1000 : timeout, &ready);
  }
  if (result == 0) {
    return HMC_SUCCESS;
  }
  if (handle->sink_ended) {
    return HMC_CANCELLED;
  }
  hmc_status_t status = result == COULD_NOT_RESOLVE || result == COULD_NOT_CONNECT ? HMC_PEER_LOST : HMC_ERROR;
  return hmci_fail(status, "%s", handle->error[0] != '\0' ? handle->error : curl.easy_strerror(result));
}

hmc_status_t hmci_curl_post(hmci_curl_t *handle, const char *url, const char *body, size_t size, uint64_t deadline,
                            hmci_curl_sink_t sink, void *user, long *code) {
  /* A TLS library writes by calls that may raise SIGPIPE; it is held back in this thread meanwhile, and taken. */
  sigset_t pipe_set, former, pending;
  sigemptyset(&pipe_set);
  sigaddset(&pipe_set, SIGPIPE);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &pipe_set, &former);
  handle->sink = sink;
  handle->user = user;
  handle->sink_ended = false;
  handle->error[0] = '\0';
  (void)curl.easy_setopt(handle->easy, OPT_URL, url);
  (void)curl.easy_setopt(handle->easy, OPT_POSTFIELDSIZE_LARGE, (int64_t)size);
  (void)curl.easy_setopt(handle->easy, OPT_POSTFIELDS, body);
  hmc_status_t status = HMC_ERROR;
  if (curl.multi_add_handle(handle->multi, handle->easy) == 0) {
    status = run(handle, deadline);
    *code = 0;
    (void)curl.easy_getinfo(handle->easy, INFO_RESPONSE_CODE, code);
    (void)curl.multi_remove_handle(handle->multi, handle->easy);
  }
  if (!sigismember(&pending, SIGPIPE)) {
    const struct timespec at_once = {.tv_sec = 0};
    (void)sigtimedwait(&pipe_set, NULL, &at_once);
  }
  pthread_sigmask(SIG_SETMASK, &former, NULL);
  return status;
}

void hmci_curl_stop(hmci_curl_t *handle) {
  atomic_store(&handle->stopped, true);
  (void)curl.multi_wakeup(handle->multi);
}
