/* A client of HMC's own store: its calls, leases and watches (see store_client.h). The connection is in
 * store_session.c. */
#include "store_client.h"

#include "../base/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S UINT64_C(1000000000)
#define WITHDRAWAL UINT64_C(300000000) /* ns that a cancelled call waits for the server to take it back */

static hmci_store_client_t *client_of(hmc_store_t *store) { return HMCI_CONTAINER(store, hmci_store_client_t, base); }

static void init_condition(pthread_cond_t *condition) {
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(condition, &attributes);
  pthread_condattr_destroy(&attributes);
}

/* HMC_TIMEOUT at the deadline. */
static hmc_status_t wait_until(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline) {
  struct timespec until = {.tv_sec = (time_t)(deadline / NS_PER_S), .tv_nsec = (long)(deadline % NS_PER_S)};
  int result =
      deadline == HMCI_NEVER ? pthread_cond_wait(condition, lock) : pthread_cond_timedwait(condition, lock, &until);
  return result == ETIMEDOUT ? HMC_TIMEOUT : HMC_SUCCESS;
}

/* The same for a call, which also ends where the thread's program wants that (HMC_CANCELLED). It is asked without the
 * lock. */
static hmc_status_t wait_or_stop(pthread_cond_t *condition, pthread_mutex_t *lock, uint64_t deadline) {
  if (!hmci_stop_is_possible()) {
    return wait_until(condition, lock, deadline);
  }
  uint64_t next = hmci_now() + HMCI_STOP_ASK_NS;
  hmc_status_t status = wait_until(condition, lock, next < deadline ? next : deadline);
  if (status != HMC_TIMEOUT || next >= deadline) {
    return status;
  }
  pthread_mutex_unlock(lock);
  bool is_wanted = hmci_stop_is_wanted();
  pthread_mutex_lock(lock);
  return is_wanted ? HMC_CANCELLED : HMC_SUCCESS;
}

/* ---- calls ------------------------------------------------------------------------------------------------------- */

/* The lowest sequence that an answer is still wanted for. */
static uint64_t floor_of(const hmci_store_client_t *client) {
  uint64_t floor = client->sequences;
  for (hmci_list_t *at = client->calls.next; at != &client->calls; at = at->next) {
    const hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    floor = call->sequence < floor ? call->sequence : floor;
  }
  return floor;
}

hmc_status_t hmci_store_call_begin(hmci_store_client_t *client, hmci_store_call_t *call,
                                   hmci_store_message_t *request) {
  request->sequence = call->sequence = ++client->sequences;
  request->floor = floor_of(client);
  call->type = request->type;
  call->lease = request->lease;
  size_t head = hmci_store_head_size(request);
  call->frame_size = head + request->value_size;
  call->frame = malloc(call->frame_size);
  if (call->frame == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a request of %zu B", call->frame_size);
  }
  hmci_store_encode_head(request, call->frame);
  if (request->value_size > 0) {
    memcpy(call->frame + head, request->value, request->value_size);
  }
  hmci_list_append(&client->calls, &call->member);
  return HMC_SUCCESS;
}

hmc_status_t hmci_store_call_detached(hmci_store_client_t *client, hmci_store_message_t *request) {
  hmci_store_call_t *call = calloc(1, sizeof(*call));
  if (call == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a request");
  }
  call->is_detached = true;
  hmc_status_t status = hmci_store_call_begin(client, call, request);
  if (status != HMC_SUCCESS) {
    free(call);
  }
  return status;
}

void hmci_store_call_free_detached(hmci_store_call_t *call) {
  free(call->frame);
  free(call);
}

void hmci_store_call_end(hmci_store_call_t *call, hmc_status_t status, const char *text, size_t text_size) {
  hmci_list_remove(&call->member);
  call->status = status;
  call->text = status != HMC_SUCCESS ? strndup(text, text_size) : NULL;
  call->is_done = true;
  pthread_cond_signal(&call->done);
}

/* Why a call that the store has, and has not answered, is still pending. */
static const char *pending_for(uint16_t type) {
  switch (type) {
  case HMCI_STORE_WAIT: return "nobody has set the key";
  case HMCI_STORE_ARRIVE: return "not all have come to the barrier";
  default: return "the store has not answered";
  }
}

/* Has the server take a call back that it keeps until something happens. */
static void withdraw(hmci_store_client_t *client, hmci_store_call_t *call) {
  if (call->sent_on != 0 && (call->type == HMCI_STORE_WAIT || call->type == HMCI_STORE_ARRIVE)) {
    hmci_store_message_t cancel = {.type = HMCI_STORE_CANCEL, .number = (int64_t)call->sequence};
    hmc_status_t status = hmci_store_call_detached(client, &cancel); /* else it stays until the client goes */
    call->withdrawal = status == HMC_SUCCESS ? cancel.sequence : 0;
    hmci_store_client_wake(client);
  }
}

/* Until the server has taken the call back, or has answered it before: others who hear of the end of a cancelled barrier
 * must not meet it there. */
static void await_withdrawal(hmci_store_client_t *client, hmci_store_call_t *call) {
  uint64_t limit = hmci_now() + WITHDRAWAL;
  hmc_status_t status = HMC_SUCCESS;
  while (call->withdrawal != 0 && client->is_up && !call->is_done && status == HMC_SUCCESS) {
    status = wait_until(&call->done, &client->lock, limit);
  }
}

/* The call has not ended in time, or was cancelled: nobody waits for its answer any more. */
static hmc_status_t give_up(hmci_store_client_t *client, hmci_store_call_t *call, hmc_status_t status) {
  hmci_list_remove(&call->member);
  if (call->result != NULL) {
    hmci_store_map_clear(&call->result->entries);
  }
  if (status == HMC_CANCELLED) {
    return hmci_fail(status, "the call of the store at %s was cancelled", client->address);
  }
  return client->is_up ? hmci_fail(HMC_TIMEOUT, "store at %s: %s in time", client->address, pending_for(call->type))
                       : hmci_fail(HMC_TIMEOUT, "the store at %s is away: %s", client->address,
                                   client->why[0] != '\0' ? client->why
                                                          : "no answer so far: check that a store listens there, and "
                                                            "not another program");
}

/* With the lock held: waits for the end of a call that has begun, and frees what it holds. */
static hmc_status_t finish(hmci_store_client_t *client, hmci_store_call_t *call, uint64_t deadline) {
  hmc_status_t status = HMC_SUCCESS;
  hmci_store_client_wake(client);
  while (!call->is_done && status == HMC_SUCCESS) {
    status = wait_or_stop(&call->done, &client->lock, deadline);
  }
  if (!call->is_done) {
    withdraw(client, call);
  }
  if (!call->is_done && status == HMC_CANCELLED) {
    await_withdrawal(client, call);
  }
  if (!call->is_done) {
    status = give_up(client, call, status);
  } else if (call->status != HMC_SUCCESS) {
    status = hmci_fail(call->status, "%s", call->text != NULL ? call->text : "the store refused the request");
    if (call->result != NULL) {
      hmci_store_map_clear(&call->result->entries);
    }
  } else {
    status = HMC_SUCCESS;
  }
  free(call->text);
  free(call->frame);
  return status;
}

/* With the lock held. `holder`: the lease of the key that the request sets, or NULL. */
static hmc_status_t run_call(hmci_store_client_t *client, hmci_store_message_t *request,
                             hmci_store_client_lease_t *holder, uint64_t deadline, hmci_store_result_t *result) {
  hmci_store_call_t call = {.request = request, .holder = holder, .result = result};
  init_condition(&call.done);
  hmc_status_t status = hmci_store_call_begin(client, &call, request);
  if (status == HMC_SUCCESS) {
    status = finish(client, &call, deadline);
  }
  pthread_cond_destroy(&call.done);
  return status;
}

/* ---- keys of leases ---------------------------------------------------------------------------------------------- */

static hmci_store_client_lease_t *lease_of(hmc_store_lease_t *lease) {
  return HMCI_CONTAINER(lease, hmci_store_client_lease_t, base);
}

static hmc_status_t fail_lost(const hmci_store_client_lease_t *lease) { return hmci_fail(HMC_STALE, "%s", lease->why); }

/* The key belongs to no lease of this client any more. */
static void forget_key(hmci_store_client_t *client, const hmci_store_message_t *request) {
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    hmci_store_client_lease_t *lease = HMCI_CONTAINER(at, hmci_store_client_lease_t, member);
    hmci_store_entry_t *entry = hmci_store_map_find(&lease->keys, request->key, request->key_size);
    if (entry != NULL) {
      hmci_store_map_remove(&lease->keys, entry);
    }
  }
}

/* A counter stays with its lease. */
static hmc_status_t note_sum(hmci_store_client_t *client, const hmci_store_message_t *request, int64_t sum) {
  char text[24];
  uint32_t size = (uint32_t)snprintf(text, sizeof(text), "%" PRId64, sum);
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    hmci_store_client_lease_t *lease = HMCI_CONTAINER(at, hmci_store_client_lease_t, member);
    if (hmci_store_map_find(&lease->keys, request->key, request->key_size) != NULL) {
      return hmci_store_map_set(&lease->keys, request->key, request->key_size, text, size) != NULL ? HMC_SUCCESS
                                                                                                   : HMC_NO_MEMORY;
    }
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_store_call_note(hmci_store_client_t *client, const hmci_store_call_t *call) {
  const hmci_store_message_t *request = call->request;
  if (request == NULL) {
    return HMC_SUCCESS;
  }
  uint32_t expected = request->type == HMCI_STORE_SWAP ? request->index : 0;
  bool is_set = request->type == HMCI_STORE_SET || (request->type == HMCI_STORE_SWAP && call->result->number == 1);
  if (is_set || request->type == HMCI_STORE_DELETE) {
    forget_key(client, request);
  }
  if (request->type == HMCI_STORE_ADD) {
    return note_sum(client, request, call->result->number);
  }
  if (is_set && call->holder != NULL &&
      hmci_store_map_set(&call->holder->keys, request->key, request->key_size,
                         (const uint8_t *)request->value + expected, request->value_size - expected) == NULL) {
    return HMC_NO_MEMORY;
  }
  return HMC_SUCCESS;
}

static hmc_status_t call(hmc_store_t *store, hmci_store_message_t *request, hmc_store_lease_t *held, uint64_t deadline,
                         hmci_store_result_t *result) {
  hmci_store_client_t *client = client_of(store);
  hmci_store_client_lease_t *lease = held != NULL ? lease_of(held) : NULL;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&client->lock);
  if (lease != NULL) {
    request->lease = lease->id;
    status = lease->is_lost ? fail_lost(lease) : HMC_SUCCESS;
  }
  if (status == HMC_SUCCESS) {
    status = run_call(client, request, lease, deadline, result);
  }
  pthread_mutex_unlock(&client->lock);
  return status;
}

/* ---- leases ------------------------------------------------------------------------------------------------------ */

static void free_lease(hmci_store_client_lease_t *lease) {
  hmci_list_remove(&lease->member);
  hmci_store_map_clear(&lease->keys);
  free(lease);
}

static hmc_status_t lease_create(hmc_store_t *store, uint64_t ttl_ms, uint64_t deadline, hmc_store_lease_t **created) {
  hmci_store_client_t *client = client_of(store);
  hmci_store_client_lease_t *lease = calloc(1, sizeof(*lease));
  if (lease == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a lease");
  }
  lease->base = (struct hmc_store_lease){.store = store, .ttl_ms = ttl_ms};
  hmci_store_map_init(&lease->keys);
  hmci_random(&lease->id, sizeof(lease->id));
  lease->id |= 1; /* 0 means none */
  hmci_store_message_t request = {.type = HMCI_STORE_LEASE, .lease = lease->id, .number = (int64_t)ttl_ms};
  hmci_store_result_t result = {.number = 0};
  pthread_mutex_lock(&client->lock);
  hmci_list_append(&client->leases, &lease->member);
  hmc_status_t status = run_call(client, &request, NULL, deadline, &result);
  if (status != HMC_SUCCESS) {
    hmci_store_message_t revoke = {.type = HMCI_STORE_REVOKE, .lease = lease->id};
    (void)hmci_store_call_detached(client, &revoke); /* the request may have come through */
    free_lease(lease);
  }
  pthread_mutex_unlock(&client->lock);
  if (status == HMC_SUCCESS) {
    *created = &lease->base;
  }
  return status;
}

static hmc_status_t lease_state(hmc_store_lease_t *held) {
  hmci_store_client_t *client = client_of(held->store);
  pthread_mutex_lock(&client->lock);
  hmc_status_t status = lease_of(held)->is_lost ? fail_lost(lease_of(held)) : HMC_SUCCESS;
  pthread_mutex_unlock(&client->lock);
  return status;
}

static void lease_release(hmc_store_lease_t *held, uint64_t deadline) {
  hmci_store_client_t *client = client_of(held->store);
  hmci_store_message_t revoke = {.type = HMCI_STORE_REVOKE, .lease = lease_of(held)->id};
  hmci_store_result_t result = {.number = 0};
  pthread_mutex_lock(&client->lock);
  hmci_list_remove(&lease_of(held)->member); /* an outage does not bring it back */
  if (run_call(client, &revoke, NULL, deadline, &result) != HMC_SUCCESS) {
    /* Once the store is back: else what the client says for its other leases would keep this one, too. */
    hmci_store_message_t again = {.type = HMCI_STORE_REVOKE, .lease = lease_of(held)->id};
    (void)hmci_store_call_detached(client, &again);
  }
  free_lease(lease_of(held));
  pthread_mutex_unlock(&client->lock);
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

static hmci_store_client_watch_t *watch_of(hmc_store_watch_t *watch) {
  return HMCI_CONTAINER(watch, hmci_store_client_watch_t, base);
}

static void free_watch(hmci_store_client_watch_t *watch) {
  hmci_list_remove(&watch->member);
  hmci_store_view_clear(&watch->view);
  pthread_cond_destroy(&watch->changed);
  free(watch);
}

static void end_watch(hmci_store_client_t *client, hmci_store_client_watch_t *watch) {
  hmci_store_message_t request = {.type = HMCI_STORE_UNWATCH, .number = (int64_t)watch->sequence};
  (void)hmci_store_call_detached(client, &request); /* else its events are not looked at */
  hmci_store_client_wake(client);
  free_watch(watch);
}

static hmc_status_t watch_start(hmc_store_t *store, const char *prefix, uint64_t deadline,
                                hmc_store_watch_t **started) {
  hmci_store_client_t *client = client_of(store);
  hmci_store_client_watch_t *watch = calloc(1, sizeof(*watch));
  if (watch == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a watch");
  }
  watch->base.store = store;
  watch->sweep_at = HMCI_NEVER;
  watch->prefix_size = strlen(prefix);
  memcpy(watch->prefix, prefix, watch->prefix_size + 1);
  hmci_store_view_init(&watch->view);
  init_condition(&watch->changed);
  hmci_store_message_t request = {
      .type = HMCI_STORE_WATCH, .key = watch->prefix, .key_size = (uint16_t)watch->prefix_size};
  hmci_store_call_t call = {.result = NULL};
  init_condition(&call.done);
  pthread_mutex_lock(&client->lock);
  hmc_status_t status = hmci_store_call_begin(client, &call, &request);
  watch->sequence = request.sequence;
  hmci_list_append(&client->watches, &watch->member);
  if (status == HMC_SUCCESS) {
    status = finish(client, &call, deadline);
  }
  if (status != HMC_SUCCESS) {
    end_watch(client, watch);
  }
  pthread_mutex_unlock(&client->lock);
  pthread_cond_destroy(&call.done);
  if (status == HMC_SUCCESS) {
    *started = &watch->base;
  }
  return status;
}

static hmc_status_t watch_next(hmc_store_watch_t *held, hmc_store_event_t *event, uint64_t deadline) {
  hmci_store_client_t *client = client_of(held->store);
  hmci_store_client_watch_t *watch = watch_of(held);
  hmc_status_t waited = HMC_SUCCESS, status;
  pthread_mutex_lock(&client->lock);
  for (;;) {
    if (watch->is_interrupted) {
      watch->is_interrupted = false;
      status = hmci_fail(HMC_CANCELLED, "the watch of \"%s\" was interrupted", watch->prefix);
      break;
    }
    if (watch->failure != HMC_SUCCESS) {
      status = hmci_fail(watch->failure, "the watch of \"%s\" has ended: %s", watch->prefix, watch->why);
      break;
    }
    status = hmci_store_view_take(&watch->view, event);
    if (status != HMC_NOT_FOUND) {
      break;
    }
    if (waited == HMC_TIMEOUT) {
      status = hmci_fail(HMC_TIMEOUT, "nothing happened to \"%s\" in time", watch->prefix);
      break;
    }
    waited = wait_until(&watch->changed, &client->lock, deadline);
  }
  pthread_mutex_unlock(&client->lock);
  return status;
}

static void watch_interrupt(hmc_store_watch_t *held) {
  hmci_store_client_t *client = client_of(held->store);
  pthread_mutex_lock(&client->lock);
  watch_of(held)->is_interrupted = true;
  pthread_cond_signal(&watch_of(held)->changed);
  pthread_mutex_unlock(&client->lock);
}

static void watch_stop(hmc_store_watch_t *held) {
  hmci_store_client_t *client = client_of(held->store);
  pthread_mutex_lock(&client->lock);
  end_watch(client, watch_of(held));
  pthread_mutex_unlock(&client->lock);
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

/* "10.0.0.2:4100" or "[fd00::2]:4100". */
static hmc_status_t parse_address(const char *text, hmci_store_client_t *client) {
  const char *colon = strrchr(text, ':');
  const char *begin = text, *end = colon;
  char *rest = NULL;
  if (text[0] == '[' && colon != NULL && colon > text && colon[-1] == ']') {
    begin = text + 1;
    end = colon - 1;
  }
  errno = 0;
  unsigned long port = colon != NULL ? strtoul(colon + 1, &rest, 10) : 0;
  if (colon == NULL || rest == colon + 1 || *rest != '\0' || port == 0 || port > UINT16_MAX || end == begin ||
      (size_t)(end - begin) >= sizeof(client->ip)) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "\"%.80s\" is not the address of a store: tcp://IP:PORT and etcd://HOST:PORT,... are", text);
  }
  memcpy(client->ip, begin, (size_t)(end - begin));
  client->port = (uint16_t)port;
  snprintf(client->address, sizeof(client->address), "%.100s", text);
  return HMC_SUCCESS;
}

static void free_client(hmci_store_client_t *client) {
  if (client->wake >= 0) {
    close(client->wake);
  }
  if (client->stop.descriptor >= 0) {
    hmci_stop_close(&client->stop);
  }
  pthread_mutex_destroy(&client->lock);
  hmci_secret_wipe(&client->secret);
  hmci_certificates_free(client->certificates);
  explicit_bzero(client->settings.secret, sizeof(client->settings.secret));
  free(client);
}

static void close_client(hmc_store_t *store) {
  hmci_store_client_t *client = client_of(store);
  pthread_mutex_lock(&client->lock);
  client->closing = true;
  if (!client->is_up) {
    hmci_stop_ask(&client->stop); /* connecting would take its time */
  }
  pthread_mutex_unlock(&client->lock);
  hmci_store_client_wake(client);
  pthread_join(client->thread, NULL);
  while (!hmci_list_is_empty(&client->calls)) { /* detached: the callers are gone */
    hmci_store_call_t *call = HMCI_CONTAINER(client->calls.next, hmci_store_call_t, member);
    hmci_list_remove(&call->member);
    hmci_store_call_free_detached(call);
  }
  while (!hmci_list_is_empty(&client->leases)) {
    free_lease(HMCI_CONTAINER(client->leases.next, hmci_store_client_lease_t, member));
  }
  while (!hmci_list_is_empty(&client->watches)) {
    free_watch(HMCI_CONTAINER(client->watches.next, hmci_store_client_watch_t, member));
  }
  free_client(client);
}

static const hmci_store_backend_t backend = {
    .close = close_client,
    .call = call,
    .lease_create = lease_create,
    .lease_state = lease_state,
    .lease_release = lease_release,
    .watch_start = watch_start,
    .watch_next = watch_next,
    .watch_interrupt = watch_interrupt,
    .watch_stop = watch_stop,
};

static hmc_status_t prepare(hmci_store_client_t *client, const char *address,
                            const hmc_store_certificates_t *certificates) {
  client->stop.descriptor = -1;
  client->wake = -1;
  hmci_random(&client->id, sizeof(client->id));
  client->id |= 1;
  client->sequences = 1; /* the hello's */
  pthread_mutex_init(&client->lock, NULL);
  hmci_list_init(&client->calls);
  hmci_list_init(&client->leases);
  hmci_list_init(&client->watches);
  hmc_status_t status = parse_address(address, client);
  if (status == HMC_SUCCESS) {
    status = hmci_settings_read(&client->settings);
  }
  if (status == HMC_SUCCESS) {
    status = hmci_certificates_create(certificates, &client->certificates);
  }
  if (status == HMC_SUCCESS && client->certificates == NULL) {
    status = hmci_secret_load(&client->settings, &client->secret);
  }
  if (status == HMC_SUCCESS) {
    hmci_certificates_use(&client->secret, client->certificates);
    status = hmci_secure_check(&client->secret, HMCI_SECURE_CLIENT);
  }
  if (status == HMC_SUCCESS) {
    client->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (client->wake < 0) {
      status = hmci_fail(HMC_NO_MEMORY, "no descriptor for a client of the store: %s", strerror(errno));
    }
  }
  return status == HMC_SUCCESS ? hmci_stop_open(&client->stop) : status;
}

hmc_status_t hmci_store_client_connect(const char *address, const hmc_store_certificates_t *certificates,
                                       const hmci_store_times_t *times, uint64_t deadline, hmc_store_t **store) {
  hmci_store_client_t *client = calloc(1, sizeof(*client));
  if (client == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a client of the store");
  }
  client->base = (struct hmc_store){.backend = &backend, .process = getpid(), .times = *times};
  hmc_status_t status = prepare(client, address, certificates);
  if (status != HMC_SUCCESS) {
    goto err_free;
  }
  int error = hmci_thread_create(&client->thread, hmci_store_session_run, client);
  if (error != 0) {
    status = hmci_fail(HMC_NO_MEMORY, "no thread for a client of the store: %s", strerror(error));
    goto err_free;
  }
  hmci_store_message_t keep = {.type = HMCI_STORE_KEEP};
  hmci_store_result_t result = {.number = 0};
  pthread_mutex_lock(&client->lock);
  status = run_call(client, &keep, NULL, deadline, &result);
  pthread_mutex_unlock(&client->lock);
  if (status != HMC_SUCCESS) {
    char text[HMCI_ERROR_TEXT];
    memcpy(text, hmc_last_error(), sizeof(text));
    close_client(&client->base);
    return hmci_fail(status, "%s", text);
  }
  *store = &client->base;
  return HMC_SUCCESS;

err_free:
  free_client(client);
  return status;
}
