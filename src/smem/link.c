/* Links to stores: one client of each store for all parts of the process, and the server where this process has it.
 *
 * Locking: `lock` guards the list, references and servers. A link that is being joined is in the list already, so that two
 * parts that begin at once share one; who wants it waits for `changed`. The lock is not held while a store is joined: that
 * takes as long as the store stays away, and other stores, and who serves this one, must not wait for it. */
#include "common.h"

#include <smem/host/smem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MOMENT_NS 20000000 /* between two looks at what this thread is to do */

struct hmci_smem_link {
  hmci_smem_link_t *next;
  char url[256];
  unsigned references;
  int is_joining;
  hmc_store_t *store; /* once it is joined */
};

/* A store that this process serves. */
typedef struct server {
  struct server *next;
  char url[256];
  int stays; /* until the process ends */
  hmc_store_server_t *server;
} server_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* a link was joined, or could not be */
static hmci_smem_link_t *links;
static server_t *servers;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* What the parent of a fork() has is not the child's. */
static void forget_all(void) {
  pthread_mutex_init(&lock, NULL);
  pthread_cond_init(&changed, NULL);
  links = NULL;
  servers = NULL;
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, forget_all); }

static server_t *find_server(const char *url) {
  server_t *at = servers;
  while (at != NULL && strcmp(at->url, url) != 0) {
    at = at->next;
  }
  return at;
}

/* With the lock held: serves the store, unless this process does already. */
static hmc_status_t serve(const hmci_smem_url_t *url, int stays, const hmci_smem_security_t *security) {
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  server_t *server = find_server(url->text);
  if (server != NULL) {
    server->stays = server->stays || stays;
    return HMC_SUCCESS;
  }
  server = calloc(1, sizeof(*server));
  if (server == NULL) {
    return HMC_NO_MEMORY;
  }
  snprintf(server->url, sizeof(server->url), "%s", url->text);
  server->stays = stays;
  options.ip = url->ip;
  options.port = url->port;
  options.certificates = hmci_smem_security_certificates(security);
  hmc_status_t status = hmc_store_server_start(&options, &server->server);
  if (status != HMC_SUCCESS) {
    free(server);
    return status;
  }
  server->next = servers;
  servers = server;
  return HMC_SUCCESS;
}

static void stop_server(const char *url) {
  server_t **at = &servers;
  while (*at != NULL && strcmp((*at)->url, url) != 0) {
    at = &(*at)->next;
  }
  server_t *server = *at;
  if (server != NULL && !server->stays) {
    *at = server->next;
    hmc_store_server_stop(server->server);
    free(server);
  }
}

int32_t hmci_smem_serve_for_good(const char *text) {
  hmci_smem_url_t url;
  int32_t code = hmci_smem_parse_url(text, &url);
  hmci_smem_security_t *security = NULL;
  if (code != SM_OK || url.port == 0) {
    return code;
  }
  code = hmci_smem_security_get(&security);
  if (code != SM_OK) {
    return code;
  }
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(&lock);
  hmc_status_t status = serve(&url, 1, security);
  pthread_mutex_unlock(&lock);
  hmci_smem_security_free(security);
  if (status != HMC_SUCCESS) {
    hmci_smem_fail_hmc(status, "the store %s cannot be served here", url.text);
    return SM_ERROR;
  }
  return SM_OK;
}

int32_t smem_create_config_store(const char *storeUrl) { return hmci_smem_serve_for_good(storeUrl); }

/* With the lock held: serves the store where the mode and the address say so. */
static int32_t serve_if_own(const hmci_smem_url_t *url, hmci_smem_serve_t mode, const hmci_smem_security_t *security) {
  if (mode == HMCI_SMEM_JOIN || url->port == 0 || !hmci_smem_is_own(url->ip)) {
    return SM_OK;
  }
  hmc_status_t status = serve(url, 0, security);
  /* A port in use: most likely by the store, which another process or tool serves; what answers there will tell. */
  return status != HMC_SUCCESS && mode == HMCI_SMEM_SERVE && status != HMC_ADDRESS_IN_USE
             ? hmci_smem_fail_hmc(status, "the store %s cannot be served here", url->text)
             : SM_OK;
}

static int32_t join(const hmci_smem_url_t *url, uint64_t timeout_ms, const hmci_smem_security_t *security,
                    hmc_store_t **store) {
  hmc_store_options_t options = HMC_STORE_OPTIONS_INIT;
  options.certificates = hmci_smem_security_certificates(security);
  hmc_status_t status = hmc_store_connect(url->text, &options, timeout_ms, store);
  if (status == HMC_SUCCESS) {
    return SM_OK;
  }
  int32_t code = hmci_smem_fail_hmc(
      status, "the store %s cannot be joined (rank 0 or hmc-store serves it, and has to run)", url->text);
  return code == SM_OBJECT_NOT_EXISTS ? SM_ERROR : code;
}

/* With the lock held. */
static hmci_smem_link_t *find_link(const char *url) {
  hmci_smem_link_t *at = links;
  while (at != NULL && strcmp(at->url, url) != 0) {
    at = at->next;
  }
  return at;
}

/* With the lock held. */
static void remove_link(hmci_smem_link_t *link) {
  hmci_smem_link_t **at = &links;
  while (*at != link) {
    at = &(*at)->next;
  }
  *at = link->next;
}

/* With the lock held, which it lets go of while it joins. */
static int32_t make_link(const hmci_smem_url_t *url, uint64_t timeout_ms, const hmci_smem_security_t *security,
                         hmci_smem_link_t **made) {
  hmci_smem_link_t *link = calloc(1, sizeof(*link));
  if (link == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a link to the store");
  }
  snprintf(link->url, sizeof(link->url), "%s", url->text);
  link->is_joining = 1;
  link->next = links;
  links = link;
  pthread_mutex_unlock(&lock);
  int32_t code = join(url, timeout_ms, security, &link->store);
  pthread_mutex_lock(&lock);
  link->is_joining = 0;
  pthread_cond_broadcast(&changed);
  if (code != SM_OK) {
    remove_link(link);
    free(link);
    return code;
  }
  *made = link;
  return SM_OK;
}

/* With the lock held: waits a moment for another thread that joins the store. */
static int32_t await_change(const char *url, uint64_t until_ms) {
  struct timespec end;
  if (hmci_smem_is_interrupted()) {
    return hmci_smem_fail(SM_ERROR, "joining the store %s was interrupted", url);
  }
  if (hmci_smem_now_ms() >= until_ms) {
    return hmci_smem_fail(SM_TIMEOUT,
                          "the store %s cannot be joined: another thread has been joining it for as long as this one "
                          "waits (rank 0 or hmc-store serves it, and has to run)",
                          url);
  }
  clock_gettime(CLOCK_REALTIME, &end);
  uint64_t nanoseconds = (uint64_t)end.tv_nsec + MOMENT_NS;
  end.tv_sec += (time_t)(nanoseconds / HMCI_SMEM_NS_PER_S);
  end.tv_nsec = (long)(nanoseconds % HMCI_SMEM_NS_PER_S);
  pthread_cond_timedwait(&changed, &lock, &end);
  return SM_OK;
}

static uint64_t left_of(uint64_t until_ms) {
  uint64_t now = hmci_smem_now_ms();
  return now < until_ms ? until_ms - now : 1;
}

/* With the lock held: there was no link of that URL, or one that is being joined. */
static int32_t make_or_await_link(const hmci_smem_url_t *url, hmci_smem_serve_t mode, uint64_t timeout_ms,
                                  const hmci_smem_security_t *security, hmci_smem_link_t **found) {
  uint64_t until_ms = hmci_smem_now_ms() + timeout_ms;
  int32_t code = SM_OK;
  for (*found = find_link(url->text); code == SM_OK && (*found == NULL || (*found)->is_joining);
       *found = find_link(url->text)) {
    code = serve_if_own(url, mode, security); /* which the one who joins may be waiting for */
    if (code == SM_OK) {
      code = *found == NULL ? make_link(url, left_of(until_ms), security, found) : await_change(url->text, until_ms);
    }
  }
  if (code != SM_OK && *found == NULL) {
    stop_server(url->text);
  }
  return code;
}

/* The same without the lock. */
static int32_t begin_link(const hmci_smem_url_t *url, hmci_smem_serve_t mode, uint64_t timeout_ms,
                          hmci_smem_link_t **acquired) {
  hmci_smem_security_t *security = NULL;
  hmci_smem_link_t *link = NULL;
  int32_t code = hmci_smem_security_get(&security);
  if (code != SM_OK) {
    return code;
  }
  pthread_mutex_lock(&lock);
  code = make_or_await_link(url, mode, timeout_ms, security, &link);
  if (code == SM_OK) {
    link->references++;
    *acquired = link;
  }
  pthread_mutex_unlock(&lock);
  hmci_smem_security_free(security);
  return code;
}

int32_t hmci_smem_link_acquire(const char *text, hmci_smem_serve_t mode, uint64_t timeout_ms,
                               hmci_smem_link_t **acquired) {
  hmci_smem_url_t url;
  int32_t code = hmci_smem_parse_url(text, &url);
  if (code != SM_OK) {
    return code;
  }
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(&lock);
  hmci_smem_link_t *link = find_link(url.text);
  int is_there = link != NULL && !link->is_joining;
  if (is_there) {
    link->references++;
    *acquired = link;
  }
  pthread_mutex_unlock(&lock);
  return is_there ? SM_OK : begin_link(&url, mode, timeout_ms, acquired);
}

void hmci_smem_link_release(hmci_smem_link_t *link) {
  if (link == NULL) {
    return;
  }
  pthread_mutex_lock(&lock);
  if (--link->references == 0) {
    remove_link(link);
    hmc_store_close(link->store);
    stop_server(link->url);
    free(link);
  }
  pthread_mutex_unlock(&lock);
}

hmc_store_t *hmci_smem_link_store(hmci_smem_link_t *link) { return link->store; }
