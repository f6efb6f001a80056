/* An etcd cluster as the store: connecting, and requests on keys (see store_etcd.h). */
#include "store_etcd.h"

#include "../../base/thread.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OWN_TTL_MS = 10000, AGAIN_MS = 20, CLOSE_MS = 2000 };

/* ---- keys and answers -------------------------------------------------------------------------------------------- */

void hmci_etcd_key_make(const hmci_etcd_client_t *client, char room, const char *name, size_t size,
                        hmci_etcd_key_t *key) {
  int head = snprintf(key->text, sizeof(key->text), "%s%c/", client->cluster.prefix, room);
  size_t left = sizeof(key->text) - (size_t)head;
  size = size < left ? size : left; /* keys were checked: it fits */
  memcpy(key->text + head, name, size);
  key->size = (size_t)head + size;
}

void hmci_etcd_key_print(hmci_text_t *text, const hmci_etcd_key_t *key, bool is_prefix) {
  hmci_text_print(text, "\"key\":");
  hmci_text_bytes(text, key->text, key->size);
  if (is_prefix) {
    hmci_etcd_key_t end = *key;
    end.text[end.size - 1]++; /* a prefix ends in a character of a key, none of which is 255 in UTF-8 */
    hmci_text_print(text, ",\"range_end\":");
    hmci_text_bytes(text, end.text, end.size);
  }
}

hmci_json_t hmci_etcd_first(hmci_text_t *answer) {
  return hmci_json_next(hmci_json_get(hmci_text_read(answer), "kvs"), NULL);
}

hmc_status_t hmci_etcd_range(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, bool is_prefix, uint64_t deadline,
                             hmci_text_t *answer) {
  hmci_text_t body = {.data = NULL};
  hmci_text_print(&body, "{");
  hmci_etcd_key_print(&body, key, is_prefix);
  hmci_text_print(&body, "}");
  hmc_status_t status = hmci_etcd_call(&client->cluster, "kv/range", &body, deadline, answer, NULL);
  hmci_text_free(&body);
  return status;
}

static hmc_status_t take_value(hmci_json_t kv, hmci_store_result_t *result) {
  size_t size = 0;
  result->value = hmci_json_bytes(hmci_json_get(kv, "value"), &size);
  if (result->value == NULL || size > HMC_STORE_VALUE_MAX) {
    free(result->value);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a value of etcd's");
  }
  result->value_size = (uint32_t)size;
  return HMC_SUCCESS;
}

static hmc_status_t get(hmci_etcd_client_t *client, const hmci_store_message_t *request, const hmci_etcd_key_t *key,
                        uint64_t deadline, hmci_store_result_t *result) {
  hmci_text_t answer = {.data = NULL};
  hmc_status_t status = hmci_etcd_range(client, key, false, deadline, &answer);
  if (status == HMC_SUCCESS) {
    hmci_json_t kv = hmci_etcd_first(&answer);
    status = kv != NULL ? take_value(kv, result)
                        : hmci_fail(HMC_NOT_FOUND, "there is no key \"%.*s\"", request->key_size, request->key);
  }
  hmci_text_free(&answer);
  return status;
}

static hmc_status_t list(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, uint64_t deadline,
                         hmci_store_result_t *result) {
  hmci_etcd_key_t root;
  hmci_text_t answer = {.data = NULL};
  hmci_etcd_key_make(client, 'k', "", 0, &root);
  hmc_status_t status = hmci_etcd_range(client, key, true, deadline, &answer);
  hmci_json_t all = hmci_json_get(hmci_text_read(&answer), "kvs");
  for (hmci_json_t at = hmci_json_next(all, NULL); at != NULL && status == HMC_SUCCESS; at = hmci_json_next(all, at)) {
    size_t key_size = 0, value_size = 0;
    char *name = (char *)hmci_json_bytes(hmci_json_get(at, "key"), &key_size);
    uint8_t *value = hmci_json_bytes(hmci_json_get(at, "value"), &value_size);
    if (name == NULL || value == NULL || key_size < root.size ||
        hmci_store_map_set(&result->entries, name + root.size, key_size - root.size, value, (uint32_t)value_size) ==
            NULL) {
      status = hmci_fail(HMC_NO_MEMORY, "no memory for a list of keys");
    }
    free(name);
    free(value);
  }
  if (status != HMC_SUCCESS) {
    hmci_store_map_clear(&result->entries);
  }
  hmci_text_free(&answer);
  return status;
}

/* ---- changes ----------------------------------------------------------------------------------------------------- */

void hmci_etcd_put_print(hmci_text_t *body, const hmci_etcd_key_t *key, const void *value, size_t size, int64_t lease) {
  hmci_text_print(body, "{\"request_put\":{");
  hmci_etcd_key_print(body, key, false);
  hmci_text_print(body, ",\"value\":");
  hmci_text_bytes(body, value, size);
  hmci_text_print(body, ",\"lease\":\"%" PRId64 "\"}}", lease);
}

void hmci_etcd_delete_print(hmci_text_t *body, const hmci_etcd_key_t *key) {
  hmci_text_print(body, "{\"request_delete_range\":{");
  hmci_etcd_key_print(body, key, false);
  hmci_text_print(body, "}}");
}

/* A number of this thread among those of the process: a thread has one request in progress. */
static uint64_t thread_number(void) {
  static _Atomic uint64_t count;
  static _Thread_local uint64_t mine;
  if (mine == 0) {
    mine = ++count;
  }
  return mine;
}

/* The thread's marks, and the one of that number among them. */
static void mark_keys(const hmci_etcd_client_t *client, uint64_t number, hmci_etcd_key_t *all, hmci_etcd_key_t *mark) {
  char name[80];
  int size = snprintf(name, sizeof(name), "%016" PRIx64 ".%" PRIu64 "/", client->id, thread_number());
  hmci_etcd_key_make(client, 'o', name, (size_t)size, all);
  size += snprintf(name + size, sizeof(name) - (size_t)size, "%016" PRIx64, number);
  hmci_etcd_key_make(client, 'o', name, (size_t)size, mark);
}

static void print_change(hmci_text_t *body, const hmci_text_t *compare, const hmci_text_t *effect,
                         const hmci_etcd_key_t *all, const hmci_etcd_key_t *mark, int64_t own) {
  hmci_etcd_key_t end = *all;
  end.text[end.size - 1]++; /* of the slash */
  hmci_text_print(body, "{\"compare\":[{");
  hmci_etcd_key_print(body, mark, false);
  hmci_text_print(body, ",\"range_end\":");
  hmci_text_bytes(body, end.text, end.size);
  hmci_text_print(body, ",\"target\":\"VERSION\",\"result\":\"EQUAL\",\"version\":\"0\"}%s",
                  compare->size > 0 ? ",{" : "");
  hmci_text_add(body, compare->data, compare->size);
  hmci_text_print(body, "%s],\"success\":[{\"request_delete_range\":{", compare->size > 0 ? "}" : "");
  hmci_etcd_key_print(body, all, false);
  hmci_text_print(body, ",\"range_end\":");
  hmci_text_bytes(body, mark->text, mark->size);
  hmci_text_print(body, "}},");
  hmci_etcd_put_print(body, mark, "", 0, own);
  hmci_text_print(body, "%s", effect->size > 0 ? "," : "");
  hmci_text_add(body, effect->data, effect->size);
  hmci_text_print(body, "],\"failure\":[{\"request_range\":{");
  hmci_etcd_key_print(body, mark, false);
  hmci_text_print(body, "}}]}");
  body->has_failed = body->has_failed || compare->has_failed || effect->has_failed;
}

static void take_outcome(hmci_json_t answer, hmci_etcd_outcome_t *outcome) {
  hmci_json_t response = hmci_json_next(hmci_json_get(answer, "responses"), NULL);
  hmci_json_t mark = hmci_json_next(hmci_json_get(response, "response_range.kvs"), NULL);
  outcome->is_fresh = hmci_json_is_true(hmci_json_get(answer, "succeeded"));
  outcome->is_done = outcome->is_fresh || mark != NULL;
  outcome->revision = outcome->is_fresh ? hmci_json_number(hmci_json_get(answer, "header.revision"))
                                        : hmci_json_number(hmci_json_get(mark, "mod_revision"));
  outcome->is_doubtful = false;
}

hmc_status_t hmci_etcd_change(hmci_etcd_client_t *client, const hmci_text_t *compare, const hmci_text_t *effect,
                              uint64_t deadline, hmci_etcd_outcome_t *outcome) {
  hmci_text_t body = {.data = NULL}, answer = {.data = NULL};
  hmci_etcd_key_t all, mark;
  int64_t own;
  *outcome = (hmci_etcd_outcome_t){.is_done = false};
  hmc_status_t status = hmci_etcd_lease_number(client->own, &own);
  if (status != HMC_SUCCESS) {
    return status;
  }
  pthread_mutex_lock(&client->lock);
  uint64_t number = ++client->sequence;
  pthread_mutex_unlock(&client->lock);
  mark_keys(client, number, &all, &mark);
  print_change(&body, compare, effect, &all, &mark, own);
  status = hmci_etcd_call(&client->cluster, "kv/txn", &body, deadline, &answer, &outcome->is_doubtful);
  outcome->is_doubtful = outcome->is_doubtful || status == HMC_CANCELLED;
  if (status == HMC_SUCCESS) {
    take_outcome(hmci_text_read(&answer), outcome);
  } else if (status == HMC_NOT_FOUND) {
    hmci_etcd_lease_doubt(client->own);
  }
  hmci_text_free(&body);
  hmci_text_free(&answer);
  return status;
}

static hmc_status_t set(hmci_etcd_client_t *client, const hmci_store_message_t *request, const hmci_etcd_key_t *key,
                        int64_t lease, uint64_t deadline) {
  hmci_text_t always = {.data = NULL}, effect = {.data = NULL};
  hmci_etcd_outcome_t outcome;
  hmci_etcd_put_print(&effect, key, request->value, request->value_size, lease);
  hmc_status_t status = hmci_etcd_change(client, &always, &effect, deadline, &outcome);
  hmci_text_free(&effect);
  return status;
}

/* result->number: whether there was such a key. */
static hmc_status_t delete_key(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, uint64_t deadline,
                               hmci_store_result_t *result) {
  hmci_text_t compare = {.data = NULL}, effect = {.data = NULL};
  hmci_etcd_outcome_t outcome;
  hmci_etcd_key_print(&compare, key, false);
  hmci_text_print(&compare, ",\"target\":\"VERSION\",\"result\":\"GREATER\",\"version\":\"0\"");
  hmci_etcd_delete_print(&effect, key);
  hmc_status_t status = hmci_etcd_change(client, &compare, &effect, deadline, &outcome);
  result->number = outcome.is_done;
  hmci_text_free(&compare);
  hmci_text_free(&effect);
  return status;
}

static hmc_status_t swap(hmci_etcd_client_t *client, const hmci_store_message_t *request, const hmci_etcd_key_t *key,
                         int64_t lease, uint64_t deadline, hmci_store_result_t *result) {
  hmci_text_t compare = {.data = NULL}, effect = {.data = NULL};
  hmci_etcd_outcome_t outcome;
  hmci_etcd_key_print(&compare, key, false);
  if ((request->flags & HMCI_STORE_ABSENT) != 0) {
    hmci_text_print(&compare, ",\"target\":\"VERSION\",\"result\":\"EQUAL\",\"version\":\"0\"");
  } else {
    hmci_text_print(&compare, ",\"target\":\"VALUE\",\"result\":\"EQUAL\",\"value\":");
    hmci_text_bytes(&compare, request->value, request->index);
  }
  hmci_etcd_put_print(&effect, key, (const uint8_t *)request->value + request->index,
                      request->value_size - request->index, lease);
  hmc_status_t status = hmci_etcd_change(client, &compare, &effect, deadline, &outcome);
  hmci_text_free(&compare);
  hmci_text_free(&effect);
  result->number = outcome.is_done;
  return status;
}

/* A counter as it is now; 0 and revision 0 where there is none. */
static hmc_status_t read_counter(hmci_etcd_client_t *client, const hmci_store_message_t *request,
                                 const hmci_etcd_key_t *key, uint64_t deadline, int64_t *value, int64_t *revision,
                                 int64_t *lease) {
  hmci_text_t answer = {.data = NULL};
  hmc_status_t status = hmci_etcd_range(client, key, false, deadline, &answer);
  hmci_json_t kv = hmci_etcd_first(&answer);
  *value = *revision = *lease = 0;
  if (status == HMC_SUCCESS && kv != NULL) {
    size_t size = 0;
    char *text = (char *)hmci_json_bytes(hmci_json_get(kv, "value"), &size), *end = NULL;
    *value = text != NULL ? strtoll(text, &end, 10) : 0;
    *revision = hmci_json_number(hmci_json_get(kv, "mod_revision"));
    *lease = hmci_json_number(hmci_json_get(kv, "lease"));
    if (text == NULL || size == 0 || end != text + size) {
      status = hmci_fail(HMC_CORRUPT, "the value of \"%.*s\" is not a number", request->key_size, request->key);
    }
    free(text);
  }
  hmci_text_free(&answer);
  return status;
}

static hmc_status_t add(hmci_etcd_client_t *client, const hmci_store_message_t *request, const hmci_etcd_key_t *key,
                        uint64_t deadline, hmci_store_result_t *result) {
  for (;;) {
    int64_t value, revision, lease;
    hmci_etcd_outcome_t outcome;
    char text[24];
    hmc_status_t status = read_counter(client, request, key, deadline, &value, &revision, &lease);
    if (status != HMC_SUCCESS) {
      return status;
    }
    result->number = (int64_t)((uint64_t)value + (uint64_t)request->number);
    int size = snprintf(text, sizeof(text), "%" PRId64, result->number);
    hmci_text_t compare = {.data = NULL}, effect = {.data = NULL};
    hmci_etcd_key_print(&compare, key, false);
    hmci_text_print(&compare, ",\"target\":\"MOD\",\"result\":\"EQUAL\",\"mod_revision\":\"%" PRId64 "\"", revision);
    hmci_etcd_put_print(&effect, key, text, (size_t)size, lease);
    status = hmci_etcd_change(client, &compare, &effect, deadline, &outcome);
    hmci_text_free(&compare);
    hmci_text_free(&effect);
    if (status != HMC_SUCCESS || outcome.is_done) {
      return status;
    }
    uint8_t random;
    hmci_random(&random, 1);
    hmci_etcd_pause(1 + random % 8, deadline); /* somebody else was faster */
  }
}

static hmc_status_t change(hmci_etcd_client_t *client, const hmci_store_message_t *request, const hmci_etcd_key_t *key,
                           hmci_etcd_lease_t *lease, uint64_t deadline, hmci_store_result_t *result) {
  for (;;) {
    int64_t number = 0;
    hmc_status_t status = lease != NULL ? hmci_etcd_lease_number(lease, &number) : HMC_SUCCESS;
    if (status == HMC_SUCCESS) {
      status = request->type == HMCI_STORE_SET      ? set(client, request, key, number, deadline)
               : request->type == HMCI_STORE_SWAP   ? swap(client, request, key, number, deadline, result)
               : request->type == HMCI_STORE_DELETE ? delete_key(client, key, deadline, result)
                                                    : add(client, request, key, deadline, result);
    }
    if (status != HMC_NOT_FOUND || hmci_now() >= deadline) {
      return status == HMC_NOT_FOUND ? HMC_TIMEOUT : status;
    }
    if (lease != NULL) {
      hmci_etcd_lease_doubt(lease);
    }
    hmci_etcd_pause(AGAIN_MS, deadline); /* the thread makes the lease again, or finds it lost */
  }
}

static hmc_status_t note(hmci_etcd_client_t *client, const hmci_store_message_t *request, const hmci_etcd_key_t *key,
                         hmci_etcd_lease_t *lease, const hmci_store_result_t *result) {
  uint32_t skip = request->type == HMCI_STORE_SWAP ? request->index : 0;
  if (request->type == HMCI_STORE_DELETE) {
    return hmci_etcd_lease_note(client, NULL, key, NULL, 0);
  }
  if (request->type == HMCI_STORE_ADD) {
    return hmci_etcd_lease_note_sum(client, key, result->number);
  }
  if (request->type == HMCI_STORE_SET || (request->type == HMCI_STORE_SWAP && result->number == 1)) {
    return hmci_etcd_lease_note(client, lease, key, (const uint8_t *)request->value + skip, request->value_size - skip);
  }
  return HMC_SUCCESS;
}

static hmc_status_t call(hmc_store_t *store, hmci_store_message_t *request, hmc_store_lease_t *held, uint64_t deadline,
                         hmci_store_result_t *result) {
  hmci_etcd_client_t *client = hmci_etcd_client_of(store);
  hmci_etcd_lease_t *lease = held != NULL ? HMCI_CONTAINER(held, hmci_etcd_lease_t, base) : NULL;
  hmci_etcd_key_t key;
  hmc_status_t status;
  hmci_etcd_key_make(client, 'k', request->key, request->key_size, &key);
  switch (request->type) {
  case HMCI_STORE_GET: return get(client, request, &key, deadline, result);
  case HMCI_STORE_WAIT: return hmci_etcd_await(client, &key, deadline, result);
  case HMCI_STORE_LIST: return list(client, &key, deadline, result);
  case HMCI_STORE_ARRIVE: return hmci_etcd_arrive(client, request, deadline, result);
  default: status = change(client, request, &key, lease, deadline, result); break;
  }
  if (status == HMC_SUCCESS) {
    status = note(client, request, &key, lease, result);
  }
  bool had_key = request->type != HMCI_STORE_DELETE || result->number == 1;
  return status != HMC_SUCCESS || had_key
             ? status
             : hmci_fail(HMC_NOT_FOUND, "there is no key \"%.*s\"", request->key_size, request->key);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static void free_client(hmci_etcd_client_t *client) {
  hmci_etcd_cluster_clear(&client->cluster);
  pthread_cond_destroy(&client->changed);
  pthread_mutex_destroy(&client->lock);
  free(client);
}

static void close_client(hmc_store_t *store) {
  hmci_etcd_client_t *client = hmci_etcd_client_of(store);
  uint64_t deadline = hmci_deadline(CLOSE_MS);
  pthread_mutex_lock(&client->lock);
  client->closing = true;
  pthread_cond_broadcast(&client->changed);
  pthread_mutex_unlock(&client->lock);
  pthread_join(client->keeper, NULL);
  hmci_etcd_watches_end(client);
  while (!hmci_list_is_empty(&client->leases)) { /* the client's own among them */
    hmci_etcd_lease_release(&HMCI_CONTAINER(client->leases.next, hmci_etcd_lease_t, member)->base, deadline);
  }
  free_client(client);
}

static const hmci_store_backend_t backend = {
    .close = close_client,
    .call = call,
    .lease_create = hmci_etcd_lease_create,
    .lease_state = hmci_etcd_lease_state,
    .lease_release = hmci_etcd_lease_release,
    .watch_start = hmci_etcd_watch_start,
    .watch_next = hmci_etcd_watch_next,
    .watch_interrupt = hmci_etcd_watch_interrupt,
    .watch_stop = hmci_etcd_watch_stop,
};

/* The client's own lease, and the key that says that it lives. */
static hmc_status_t show_life(hmci_etcd_client_t *client, uint64_t deadline) {
  hmc_store_lease_t *own;
  char name[24];
  hmci_etcd_key_t key;
  int64_t number;
  hmc_status_t status = hmci_etcd_lease_create(&client->base, OWN_TTL_MS, deadline, &own);
  if (status != HMC_SUCCESS) {
    return status;
  }
  client->own = HMCI_CONTAINER(own, hmci_etcd_lease_t, base);
  int size = snprintf(name, sizeof(name), "%016" PRIx64, client->id);
  hmci_etcd_key_make(client, 'h', name, (size_t)size, &key);
  status = hmci_etcd_lease_number(client->own, &number);
  if (status == HMC_SUCCESS) {
    const hmci_store_message_t request = {.value = "", .value_size = 0};
    status = set(client, &request, &key, number, deadline);
  }
  return status == HMC_SUCCESS ? hmci_etcd_lease_note(client, client->own, &key, "", 0) : status;
}

hmc_status_t hmci_store_etcd_connect(const char *address, const hmc_store_certificates_t *certificates,
                                     const hmci_store_times_t *times, uint64_t deadline, hmc_store_t **store) {
  hmci_etcd_client_t *client = calloc(1, sizeof(*client));
  if (client == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a client of etcd");
  }
  client->base = (hmc_store_t){.backend = &backend, .process = getpid(), .times = *times};
  hmci_random(&client->id, sizeof(client->id));
  hmci_list_init(&client->leases);
  hmci_list_init(&client->watches);
  pthread_mutex_init(&client->lock, NULL);
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&client->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  hmc_status_t status = hmci_etcd_cluster_init(&client->cluster, address, certificates);
  if (status != HMC_SUCCESS) {
    free_client(client);
    return status;
  }
  if (hmci_thread_create(&client->keeper, hmci_etcd_keep, client) != 0) {
    free_client(client);
    return hmci_fail(HMC_NO_MEMORY, "no thread for the leases of etcd");
  }
  status = show_life(client, deadline);
  if (status != HMC_SUCCESS) {
    char why[HMCI_ERROR_TEXT];
    snprintf(why, sizeof(why), "%s", hmc_last_error());
    close_client(&client->base);
    return hmci_fail(status, "%s", why);
  }
  *store = &client->base;
  return HMC_SUCCESS;
}
