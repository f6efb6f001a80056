/* Watches and waits over etcd (see store_etcd.h): what is there is read, and then the events from that revision on are
 * streamed. A stream that ends, and each one after a while, is followed by reading again, so that a member of the
 * cluster that hangs is noticed. A watch has a thread; a wait uses its caller's. */
#include "store_etcd.h"

#include "../../base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)

enum { STREAM_MS = 20000, READ_MS = 10000, AGAIN_MS = 100 };

/* Locking: `lock` guards all below it. The handle is the thread's; others only stop it. */
typedef struct etcd_watch {
  struct hmc_store_watch base;
  hmci_list_t member; /* of the client's, whose lock guards it */
  hmci_etcd_key_t prefix;
  size_t skip; /* of etcd's keys: the root of the store's */
  hmci_curl_t *handle;
  pthread_t thread;

  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool closing, is_interrupted, has_failed;
  hmci_store_view_t view;
} etcd_watch_t;

static etcd_watch_t *watch_of(hmc_store_watch_t *watch) { return HMCI_CONTAINER(watch, etcd_watch_t, base); }

/* Notes one key, as it is or gone. False: the watch is closing. */
static bool note_event(hmci_json_t kv, bool is_delete, void *user) {
  etcd_watch_t *watch = user;
  size_t key_size = 0, value_size = 0;
  char *key = (char *)hmci_json_bytes(hmci_json_get(kv, "key"), &key_size);
  uint8_t *value = hmci_json_bytes(hmci_json_get(kv, "value"), &value_size);
  pthread_mutex_lock(&watch->lock);
  if (key == NULL || value == NULL || key_size < watch->skip || key_size - watch->skip > HMC_STORE_KEY_MAX) {
    watch->has_failed = watch->has_failed || key == NULL || value == NULL;
  } else if (is_delete) {
    hmci_store_view_delete(&watch->view, key + watch->skip, key_size - watch->skip);
  } else if (hmci_store_view_put(&watch->view, key + watch->skip, key_size - watch->skip, value,
                                 (uint32_t)value_size) != HMC_SUCCESS) {
    watch->has_failed = true;
  }
  bool goes_on = !watch->closing;
  pthread_cond_broadcast(&watch->changed);
  pthread_mutex_unlock(&watch->lock);
  free(key);
  free(value);
  return goes_on;
}

/* Reads all that is there; *revision: that of the reading. */
static hmc_status_t read_all(etcd_watch_t *watch, uint64_t deadline, int64_t *revision) {
  hmci_text_t answer = {.data = NULL};
  hmc_status_t status =
      hmci_etcd_range(hmci_etcd_client_of(watch->base.store), &watch->prefix, true, deadline, &answer);
  if (status == HMC_SUCCESS) {
    hmci_json_t json = hmci_text_read(&answer), all = hmci_json_get(json, "kvs");
    *revision = hmci_json_number(hmci_json_get(json, "header.revision"));
    pthread_mutex_lock(&watch->lock);
    hmci_store_view_renew(&watch->view);
    pthread_mutex_unlock(&watch->lock);
    for (hmci_json_t at = hmci_json_next(all, NULL); at != NULL; at = hmci_json_next(all, at)) {
      (void)note_event(at, false, watch);
    }
    pthread_mutex_lock(&watch->lock);
    hmci_store_view_synced(&watch->view, true);
    pthread_cond_broadcast(&watch->changed);
    pthread_mutex_unlock(&watch->lock);
  }
  hmci_text_free(&answer);
  return status;
}

static bool is_closing(etcd_watch_t *watch) {
  pthread_mutex_lock(&watch->lock);
  bool closing = watch->closing;
  pthread_mutex_unlock(&watch->lock);
  return closing;
}

static void *run_watch(void *argument) {
  etcd_watch_t *watch = argument;
  hmci_etcd_client_t *client = hmci_etcd_client_of(watch->base.store);
  int64_t revision = 0;
  while (!is_closing(watch)) {
    if (read_all(watch, hmci_deadline(READ_MS), &revision) != HMC_SUCCESS) {
      hmci_etcd_pause(AGAIN_MS, HMCI_NEVER);
      continue;
    }
    hmc_status_t status = hmci_etcd_stream(&client->cluster, watch->handle, watch->prefix.text, watch->prefix.size,
                                           true, revision + 1, hmci_deadline(STREAM_MS), note_event, watch);
    if (status != HMC_TIMEOUT && !is_closing(watch)) {
      hmci_etcd_pause(AGAIN_MS, HMCI_NEVER);
    }
  }
  return NULL;
}

static void free_watch(etcd_watch_t *watch) {
  hmci_curl_free(watch->handle);
  hmci_store_view_clear(&watch->view);
  pthread_cond_destroy(&watch->changed);
  pthread_mutex_destroy(&watch->lock);
  free(watch);
}

hmc_status_t hmci_etcd_watch_start(hmc_store_t *store, const char *prefix, uint64_t deadline,
                                   hmc_store_watch_t **started) {
  hmci_etcd_client_t *client = hmci_etcd_client_of(store);
  etcd_watch_t *watch = calloc(1, sizeof(*watch));
  if (watch == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a watch");
  }
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&watch->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&watch->lock, NULL);
  hmci_store_view_init(&watch->view);
  watch->base.store = store;
  hmci_etcd_key_make(client, 'k', "", 0, &watch->prefix);
  watch->skip = watch->prefix.size;
  hmci_etcd_key_make(client, 'k', prefix, strlen(prefix), &watch->prefix);
  int64_t revision;
  hmc_status_t status = hmci_etcd_handle_take(&client->cluster, &watch->handle);
  if (status == HMC_SUCCESS) {
    status = read_all(watch, deadline, &revision); /* the thread reads again, which tells nothing twice */
  }
  if (status == HMC_SUCCESS && hmci_thread_create(&watch->thread, run_watch, watch) != 0) {
    status = hmci_fail(HMC_NO_MEMORY, "no thread for a watch of etcd");
  }
  if (status != HMC_SUCCESS) {
    free_watch(watch);
    return status;
  }
  pthread_mutex_lock(&client->lock);
  hmci_list_append(&client->watches, &watch->member);
  pthread_mutex_unlock(&client->lock);
  *started = &watch->base;
  return HMC_SUCCESS;
}

hmc_status_t hmci_etcd_watch_next(hmc_store_watch_t *held, hmc_store_event_t *event, uint64_t deadline) {
  etcd_watch_t *watch = watch_of(held);
  const struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S), .tv_nsec = (long)(deadline % NS_PER_S)};
  hmc_status_t status = HMC_NOT_FOUND;
  int waited = 0;
  pthread_mutex_lock(&watch->lock);
  while (status == HMC_NOT_FOUND) {
    if (watch->is_interrupted) {
      watch->is_interrupted = false;
      status = hmci_fail(HMC_CANCELLED, "the watch was interrupted");
    } else if (watch->has_failed) {
      status = hmci_fail(HMC_NO_MEMORY, "the watch has lost an event: there was no memory");
    } else {
      status = hmci_store_view_take(&watch->view, event);
    }
    if (status == HMC_NOT_FOUND && waited == ETIMEDOUT) {
      status = hmci_fail(HMC_TIMEOUT, "no event in time");
    } else if (status == HMC_NOT_FOUND) {
      waited = deadline == HMCI_NEVER ? pthread_cond_wait(&watch->changed, &watch->lock)
                                      : pthread_cond_timedwait(&watch->changed, &watch->lock, &until);
    }
  }
  pthread_mutex_unlock(&watch->lock);
  return status;
}

void hmci_etcd_watch_interrupt(hmc_store_watch_t *held) {
  etcd_watch_t *watch = watch_of(held);
  pthread_mutex_lock(&watch->lock);
  watch->is_interrupted = true;
  pthread_cond_broadcast(&watch->changed);
  pthread_mutex_unlock(&watch->lock);
}

void hmci_etcd_watches_end(hmci_etcd_client_t *client) {
  while (!hmci_list_is_empty(&client->watches)) { /* no other call is left that could change it */
    hmci_etcd_watch_stop(&HMCI_CONTAINER(client->watches.next, etcd_watch_t, member)->base);
  }
}

void hmci_etcd_watch_stop(hmc_store_watch_t *held) {
  etcd_watch_t *watch = watch_of(held);
  hmci_etcd_client_t *client = hmci_etcd_client_of(held->store);
  pthread_mutex_lock(&client->lock);
  hmci_list_remove(&watch->member);
  pthread_mutex_unlock(&client->lock);
  pthread_mutex_lock(&watch->lock);
  watch->closing = true;
  pthread_mutex_unlock(&watch->lock);
  hmci_curl_stop(watch->handle);
  pthread_join(watch->thread, NULL);
  free_watch(watch);
}

/* ---- waits ------------------------------------------------------------------------------------------------------- */

typedef struct waiting {
  hmci_store_result_t *result;
  hmc_status_t status;
} waiting_t;

static hmc_status_t take(hmci_json_t kv, hmci_store_result_t *result) {
  size_t size = 0;
  result->value = hmci_json_bytes(hmci_json_get(kv, "value"), &size);
  result->value_size = (uint32_t)size;
  return result->value != NULL ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory for a value of etcd's");
}

static bool end_wait(hmci_json_t kv, bool is_delete, void *user) {
  waiting_t *waiting = user;
  if (is_delete) {
    return true;
  }
  waiting->status = take(kv, waiting->result);
  return false;
}

hmc_status_t hmci_etcd_await(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, uint64_t deadline,
                             hmci_store_result_t *result) {
  hmci_curl_t *handle = NULL;
  hmc_status_t status = HMC_NOT_FOUND;
  while (status == HMC_NOT_FOUND) {
    hmci_text_t answer = {.data = NULL};
    status = hmci_etcd_range(client, key, false, deadline, &answer);
    hmci_json_t kv = hmci_etcd_first(&answer);
    int64_t revision = hmci_json_number(hmci_json_get(hmci_text_read(&answer), "header.revision"));
    if (status == HMC_SUCCESS) {
      status = kv != NULL ? take(kv, result) : HMC_NOT_FOUND;
    }
    hmci_text_free(&answer);
    if (status != HMC_NOT_FOUND) {
      break;
    }
    status = handle == NULL ? hmci_etcd_handle_take(&client->cluster, &handle) : HMC_SUCCESS;
    if (status == HMC_SUCCESS) {
      waiting_t waiting = {.result = result, .status = HMC_NOT_FOUND};
      uint64_t soon = hmci_deadline(STREAM_MS);
      hmc_status_t streamed = hmci_etcd_stream(&client->cluster, handle, key->text, key->size, false, revision + 1,
                                               soon < deadline ? soon : deadline, end_wait, &waiting);
      bool is_over =
          streamed == HMC_CANCELLED && waiting.status == HMC_NOT_FOUND; /* the program wants the thread back */
      status = is_over ? streamed : waiting.status;
    }
    if (status == HMC_NOT_FOUND && hmci_now() >= deadline) {
      status = hmci_fail(HMC_TIMEOUT, "nobody set the key in time");
    }
  }
  hmci_etcd_handle_give(&client->cluster, handle, false); /* a stream leaves its connection unfinished */
  return status;
}
