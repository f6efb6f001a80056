/* Leases of etcd, and the thread that keeps them (see store_etcd.h).
 *
 * etcd knows whole seconds, and no TTL below two. A lease that etcd has lost, because this process stood still or the
 * cluster was away, is made again with its keys, unless somebody else has set one of them meanwhile. */
#include "store_etcd.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NS_PER_S UINT64_C(1000000000)
#define NS_PER_MS UINT64_C(1000000)

enum { LEAST_TTL_S = 2, KEEPS_PER_TTL = 3, REVOKE_MS = 2000 };

static hmci_etcd_lease_t *lease_of(hmc_store_lease_t *lease) { return HMCI_CONTAINER(lease, hmci_etcd_lease_t, base); }

static uint64_t keep_every(const hmci_etcd_lease_t *lease) {
  return hmci_store_beat(lease->base.store, lease->base.ttl_ms, KEEPS_PER_TTL);
}

static hmc_status_t grant(hmci_etcd_client_t *client, uint64_t ttl_ms, uint64_t deadline, int64_t *id) {
  hmci_text_t body = {.data = NULL}, answer = {.data = NULL};
  uint64_t seconds = (ttl_ms + 999) / 1000;
  hmci_text_print(&body, "{\"TTL\":\"%" PRIu64 "\"}", seconds < LEAST_TTL_S ? LEAST_TTL_S : seconds);
  hmc_status_t status = hmci_etcd_call(&client->cluster, "lease/grant", &body, deadline, &answer, NULL);
  if (status == HMC_SUCCESS) {
    *id = hmci_json_number(hmci_json_get(hmci_text_read(&answer), "ID"));
    status = *id != 0 ? HMC_SUCCESS : hmci_fail(HMC_ERROR, "etcd grants no lease");
  }
  hmci_text_free(&body);
  hmci_text_free(&answer);
  return status;
}

hmc_status_t hmci_etcd_lease_create(hmc_store_t *store, uint64_t ttl_ms, uint64_t deadline,
                                    hmc_store_lease_t **created) {
  hmci_etcd_client_t *client = hmci_etcd_client_of(store);
  hmci_etcd_lease_t *lease = calloc(1, sizeof(*lease));
  if (lease == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a lease");
  }
  lease->base =
      (struct hmc_store_lease){.store = store, .ttl_ms = ttl_ms > LEAST_TTL_S * 1000 ? ttl_ms : LEAST_TTL_S * 1000};
  hmci_store_map_init(&lease->keys);
  hmc_status_t status = grant(client, ttl_ms, deadline, &lease->id);
  if (status != HMC_SUCCESS) {
    free(lease);
    return status;
  }
  lease->next_ns = hmci_now() + keep_every(lease);
  pthread_mutex_lock(&client->lock);
  hmci_list_append(&client->leases, &lease->member);
  pthread_cond_broadcast(&client->changed);
  pthread_mutex_unlock(&client->lock);
  *created = &lease->base;
  return HMC_SUCCESS;
}

hmc_status_t hmci_etcd_lease_number(hmci_etcd_lease_t *lease, int64_t *number) {
  hmci_etcd_client_t *client = hmci_etcd_client_of(lease->base.store);
  pthread_mutex_lock(&client->lock);
  *number = lease->id;
  hmc_status_t status = lease->is_lost ? hmci_fail(HMC_STALE, "%s", lease->why) : HMC_SUCCESS;
  pthread_mutex_unlock(&client->lock);
  return status;
}

hmc_status_t hmci_etcd_lease_state(hmc_store_lease_t *held) {
  int64_t number;
  return hmci_etcd_lease_number(lease_of(held), &number);
}

void hmci_etcd_lease_doubt(hmci_etcd_lease_t *lease) {
  hmci_etcd_client_t *client = hmci_etcd_client_of(lease->base.store);
  pthread_mutex_lock(&client->lock);
  lease->is_doubted = true;
  pthread_cond_broadcast(&client->changed);
  pthread_mutex_unlock(&client->lock);
}

/* Where etcd does not hear it, the lease ends by its TTL. */
static void revoke(hmci_etcd_client_t *client, int64_t id, uint64_t deadline) {
  hmci_text_t body = {.data = NULL}, answer = {.data = NULL};
  hmci_text_print(&body, "{\"ID\":\"%" PRId64 "\"}", id);
  (void)hmci_etcd_call(&client->cluster, "lease/revoke", &body, deadline, &answer, NULL);
  hmci_text_free(&body);
  hmci_text_free(&answer);
}

void hmci_etcd_lease_release(hmc_store_lease_t *held, uint64_t deadline) {
  hmci_etcd_lease_t *lease = lease_of(held);
  hmci_etcd_client_t *client = hmci_etcd_client_of(held->store);
  uint64_t patience = hmci_deadline(REVOKE_MS);
  pthread_mutex_lock(&client->lock);
  while (lease->is_busy) {
    pthread_cond_wait(&client->changed, &client->lock); /* its requests end by deadlines */
  }
  hmci_list_remove(&lease->member);
  pthread_mutex_unlock(&client->lock);
  deadline = deadline < patience ? deadline : patience;
  revoke(client, lease->id, deadline);
  if (lease->next_id != 0) {
    revoke(client, lease->next_id, deadline);
  }
  hmci_store_map_clear(&lease->keys);
  free(lease);
}

hmc_status_t hmci_etcd_lease_note(hmci_etcd_client_t *client, hmci_etcd_lease_t *lease, const hmci_etcd_key_t *key,
                                  const void *value, uint32_t size) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&client->lock);
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    hmci_etcd_lease_t *other = HMCI_CONTAINER(at, hmci_etcd_lease_t, member);
    hmci_store_entry_t *entry = hmci_store_map_find(&other->keys, key->text, key->size);
    if (entry != NULL) {
      hmci_store_map_remove(&other->keys, entry);
    }
  }
  if (lease != NULL && hmci_store_map_set(&lease->keys, key->text, key->size, value, size) == NULL) {
    status = hmci_fail(HMC_NO_MEMORY, "no memory for a key of a lease");
  }
  pthread_mutex_unlock(&client->lock);
  return status;
}

hmc_status_t hmci_etcd_lease_note_sum(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, int64_t sum) {
  char text[24];
  uint32_t size = (uint32_t)snprintf(text, sizeof(text), "%" PRId64, sum);
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&client->lock);
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    hmci_etcd_lease_t *lease = HMCI_CONTAINER(at, hmci_etcd_lease_t, member);
    if (hmci_store_map_find(&lease->keys, key->text, key->size) != NULL &&
        hmci_store_map_set(&lease->keys, key->text, key->size, text, size) == NULL) {
      status = hmci_fail(HMC_NO_MEMORY, "no memory for a key of a lease");
    }
  }
  pthread_mutex_unlock(&client->lock);
  return status;
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

/* Puts one key back where nobody has it. HMC_STALE: somebody else has. */
static hmc_status_t put_back(hmci_etcd_client_t *client, const hmci_store_entry_t *entry, int64_t id,
                             uint64_t deadline) {
  hmci_text_t body = {.data = NULL}, answer = {.data = NULL};
  hmci_etcd_key_t key = {.size = entry->key_size};
  memcpy(key.text, entry->key, entry->key_size);
  hmci_text_print(&body, "{\"compare\":[{");
  hmci_etcd_key_print(&body, &key, false);
  hmci_text_print(&body,
                  ",\"target\":\"VERSION\",\"result\":\"EQUAL\",\"version\":\"0\"}],\"success\":[{\"request_put\":{");
  hmci_etcd_key_print(&body, &key, false);
  hmci_text_print(&body, ",\"value\":");
  hmci_text_bytes(&body, entry->value, entry->value_size);
  hmci_text_print(&body, ",\"lease\":\"%" PRId64 "\"}}],\"failure\":[{\"request_range\":{", id);
  hmci_etcd_key_print(&body, &key, false);
  hmci_text_print(&body, "}}]}");
  hmc_status_t status = hmci_etcd_call(&client->cluster, "kv/txn", &body, deadline, &answer, NULL);
  hmci_json_t json = hmci_text_read(&answer);
  if (status == HMC_SUCCESS && !hmci_json_is_true(hmci_json_get(json, "succeeded"))) {
    hmci_json_t kvs = hmci_json_get(hmci_json_next(hmci_json_get(json, "responses"), NULL), "response_range.kvs");
    hmci_json_t kv = hmci_json_next(kvs, NULL);
    if (hmci_json_number(hmci_json_get(kv, "lease")) != id) { /* else a repetition of ours */
      status = HMC_STALE;
    }
  }
  hmci_text_free(&body);
  hmci_text_free(&answer);
  return status;
}

/* A copy of the lease's keys, for work without the lock. False: no memory. */
static bool copy_keys(hmci_etcd_client_t *client, const hmci_etcd_lease_t *lease, hmci_store_map_t *copy) {
  bool is_good = true;
  hmci_store_map_init(copy);
  pthread_mutex_lock(&client->lock);
  for (const hmci_store_entry_t *at = lease->keys.first[0]; at != NULL && is_good; at = at->next[0]) {
    is_good = hmci_store_map_set(copy, at->key, at->key_size, at->value, at->value_size) != NULL;
  }
  pthread_mutex_unlock(&client->lock);
  return is_good;
}

/* One heartbeat. HMC_NOT_FOUND: etcd does not know the lease. */
static hmc_status_t renew(hmci_etcd_client_t *client, int64_t id, uint64_t deadline) {
  hmci_text_t body = {.data = NULL}, answer = {.data = NULL};
  hmci_text_print(&body, "{\"ID\":\"%" PRId64 "\"}", id);
  hmc_status_t status = hmci_etcd_call(&client->cluster, "lease/keepalive", &body, deadline, &answer, NULL);
  if (status == HMC_SUCCESS && hmci_json_number(hmci_json_get(hmci_text_read(&answer), "result.TTL")) <= 0) {
    status = HMC_NOT_FOUND;
  }
  hmci_text_free(&body);
  hmci_text_free(&answer);
  return status;
}

/* The number under which a lease is made again. An attempt that could not put all keys back goes on under the number that it
 * has got: what it put back would else look like somebody else's. */
static hmc_status_t get_next(hmci_etcd_client_t *client, hmci_etcd_lease_t *lease, uint64_t deadline) {
  if (lease->next_id != 0) {
    hmc_status_t status = renew(client, lease->next_id, deadline);
    if (status != HMC_NOT_FOUND) {
      return status;
    }
  }
  lease->next_id = 0;
  return grant(client, lease->base.ttl_ms, deadline, &lease->next_id);
}

/* Makes a lease again that etcd does not know any more. */
static hmc_status_t revive(hmci_etcd_client_t *client, hmci_etcd_lease_t *lease, uint64_t deadline) {
  hmci_store_map_t keys;
  hmc_status_t status = copy_keys(client, lease, &keys) ? get_next(client, lease, deadline) : HMC_NO_MEMORY;
  for (const hmci_store_entry_t *at = keys.first[0]; at != NULL && status == HMC_SUCCESS; at = at->next[0]) {
    status = put_back(client, at, lease->next_id, deadline);
  }
  int64_t lost = status == HMC_STALE ? lease->next_id : 0;
  pthread_mutex_lock(&client->lock);
  if (status == HMC_SUCCESS) {
    lease->id = lease->next_id;
    lease->next_id = 0;
  } else if (status == HMC_STALE) {
    lease->next_id = 0;
    lease->is_lost = true;
    snprintf(lease->why, sizeof(lease->why), "the lease ran out, and somebody else has set one of its keys meanwhile");
  }
  pthread_mutex_unlock(&client->lock);
  if (lost != 0) {
    revoke(client, lost, hmci_deadline(REVOKE_MS)); /* with those keys that were put back */
  }
  hmci_store_map_clear(&keys);
  return status;
}

/* Without the lock: one heartbeat. */
static void keep(hmci_etcd_client_t *client, hmci_etcd_lease_t *lease, int64_t id) {
  hmc_status_t status = renew(client, id, hmci_now() + keep_every(lease));
  if (status == HMC_NOT_FOUND) {
    status = revive(client, lease, hmci_now() + lease->base.ttl_ms * NS_PER_MS);
  }
  if (status != HMC_SUCCESS) {
    hmci_log(HMC_LOG_INFO, "a lease of etcd could not be kept: %s", hmc_last_error());
  }
}

/* With the lock held: the lease that is to be kept first, or NULL. */
static hmci_etcd_lease_t *next_lease(hmci_etcd_client_t *client) {
  hmci_etcd_lease_t *first = NULL;
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    hmci_etcd_lease_t *lease = HMCI_CONTAINER(at, hmci_etcd_lease_t, member);
    if (!lease->is_lost && (first == NULL || lease->is_doubted || lease->next_ns < first->next_ns)) {
      first = lease;
    }
    if (first != NULL && first->is_doubted) {
      break;
    }
  }
  return first;
}

void *hmci_etcd_keep(void *argument) {
  hmci_etcd_client_t *client = argument;
  pthread_mutex_lock(&client->lock);
  while (!client->closing) {
    hmci_etcd_lease_t *lease = next_lease(client);
    if (lease == NULL) {
      pthread_cond_wait(&client->changed, &client->lock);
    } else if (!lease->is_doubted && lease->next_ns > hmci_now()) {
      struct timespec until = {.tv_sec = (time_t)(lease->next_ns / NS_PER_S),
                               .tv_nsec = (long)(lease->next_ns % NS_PER_S)};
      pthread_cond_timedwait(&client->changed, &client->lock, &until);
    } else {
      int64_t id = lease->id;
      lease->is_busy = true;
      lease->is_doubted = false;
      lease->next_ns = hmci_now() + keep_every(lease);
      pthread_mutex_unlock(&client->lock);
      keep(client, lease, id);
      pthread_mutex_lock(&client->lock);
      lease->is_busy = false;
      pthread_cond_broadcast(&client->changed);
    }
  }
  pthread_mutex_unlock(&client->lock);
  return NULL;
}
