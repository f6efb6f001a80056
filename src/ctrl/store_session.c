/* The thread of a store's client: it holds the connection up, sends what calls ask for, and takes what comes.
 *
 * When a connection is made, leases and their keys go first, then watches, then every call that has no answer yet, in
 * the order in which they were made. So an outage looks like a slow answer. See store_client.h for the locking. */
#include "store_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

enum {
  LOOK_UP_MS = 30000, /* of the store's name */
  HANDSHAKE_MS = 5000,
  HANDSHAKE_MOST_MS = 160000,
  FIRST_PAUSE_MS = 5,
  LONGEST_PAUSE_MS = 250,
  REFUSED_PAUSE_MS = 500
};
enum { BEATS_PER_TTL = 4 };
enum { SWEEP_MS = 3000 };  /* how long clients get to put the keys of their leases back into a store that is empty */
enum { SILENT_MS = 3000 }; /* without an answer to a heartbeat, at least */

void hmci_store_client_wake(hmci_store_client_t *client) {
  uint64_t one = 1;
  ssize_t written = write(client->wake, &one, sizeof(one));
  (void)written; /* a full counter wakes as well */
}

static uint64_t sooner(uint64_t a, uint64_t b) { return a < b ? a : b; }

static void take_wakes(hmci_store_client_t *client) {
  uint64_t count;
  ssize_t got = read(client->wake, &count, sizeof(count));
  (void)got;
}

/* Sleeps until the deadline or until somebody wakes the thread. A wake counts once: calls that wait for a store that is
 * away must not keep it awake. */
static void rest(hmci_store_client_t *client, uint64_t deadline) {
  struct pollfd wait = {.fd = client->wake, .events = POLLIN};
  poll(&wait, 1, hmci_poll_timeout(deadline));
  take_wakes(client);
}

static bool is_closing(hmci_store_client_t *client) {
  pthread_mutex_lock(&client->lock);
  bool closing = client->closing;
  pthread_mutex_unlock(&client->lock);
  return closing;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

/* Sends the hello and reads the welcome. */
static hmc_status_t greet(hmci_store_client_t *client, uint64_t deadline) {
  const hmci_store_message_t hello = {
      .type = HMCI_STORE_HELLO, .sequence = 1, .lease = client->id, .number = HMCI_STORE_VERSION};
  hmci_store_message_t welcome;
  short events = POLLOUT;
  hmc_status_t status = hmci_store_stream_send(&client->stream, &hello, NULL);
  while (status == HMC_SUCCESS || status == HMC_IN_PROGRESS) {
    status = hmci_store_stream_flush(&client->stream, &events);
    if (status == HMC_SUCCESS) {
      status = hmci_store_stream_receive(&client->stream, &welcome, &events);
      if (status == HMC_SUCCESS) {
        break;
      }
    }
    if (status == HMC_IN_PROGRESS && hmci_now() >= deadline) {
      return hmci_fail(HMC_TIMEOUT, "%s does not answer as a store does: it is another program, or it hangs",
                       client->address);
    }
    if (hmci_stop_is_asked()) {
      return hmci_fail(HMC_CANCELLED, "the client was closed");
    }
    hmci_stop_poll(hmci_secure_descriptor(client->stream.secure), events, hmci_poll_timeout(deadline));
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (welcome.type != HMCI_STORE_ANSWER || welcome.number != HMCI_STORE_VERSION || welcome.lease == 0) {
    return hmci_fail(HMC_UNSUPPORT, "%s is not a store of this version: use one HMC at both ends", client->address);
  }
  if (client->server != 0 && client->server != welcome.lease) {
    client->sweeps_at = hmci_deadline(SWEEP_MS);
  }
  client->server = welcome.lease;
  return HMC_SUCCESS;
}

/* The stream's end, and the socket's. */
static void hang_up(hmci_store_client_t *client) {
  hmci_loop_drop(NULL, &client->kept);
  hmci_store_stream_close(&client->stream);
}

static hmc_status_t dial(hmci_store_client_t *client) {
  int descriptor;
  hmci_secure_t *secure;
  hmc_status_t status =
      hmci_socket_connect_each(client->ip, client->port, HMCI_EACH_MS, hmci_deadline(LOOK_UP_MS), &descriptor);
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmci_loop_keep(NULL, &client->kept, descriptor);
  hmci_socket_set_liveness(descriptor, client->settings.peer_timeout / NS_PER_MS);
  status = hmci_secure_open(&client->secret, descriptor, HMCI_SECURE_CLIENT, client->address, &secure);
  if (status != HMC_SUCCESS) {
    hmci_loop_drop(NULL, &client->kept);
    close(descriptor);
    return status;
  }
  hmci_store_stream_init(&client->stream, secure, HMCI_STORE_ANSWER_MAX);
  uint64_t deadline = hmci_deadline(client->patience_ms);
  status = hmci_secure_handshake_wait(secure, deadline);
  if (status == HMC_SUCCESS) {
    status = greet(client, deadline);
  }
  /* A crowd waits in the server's queue: who gives its place up too soon finds itself at the end, time and again. */
  if (status == HMC_SUCCESS) {
    client->patience_ms = HANDSHAKE_MS;
  } else if (status == HMC_TIMEOUT && client->patience_ms < HANDSHAKE_MOST_MS) {
    client->patience_ms *= 2;
  }
  if (status != HMC_SUCCESS) {
    hang_up(client);
  }
  return status;
}

/* With the lock held: what this store can never answer ends at once. */
static void fail_calls(hmci_store_client_t *client, hmc_status_t status, const char *text) {
  hmci_list_t *at = client->calls.next;
  while (at != &client->calls) {
    hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    at = at->next;
    if (!call->is_detached) {
      hmci_store_call_end(call, status, text, strlen(text));
    }
  }
}

/* ---- what is asked again after an outage ------------------------------------------------------------------------- */

static void restore_lease(hmci_store_client_t *client, const hmci_store_client_lease_t *lease) {
  hmci_store_message_t request = {.type = HMCI_STORE_LEASE, .lease = lease->id, .number = (int64_t)lease->base.ttl_ms};
  hmc_status_t status = hmci_store_call_detached(client, &request);
  for (const hmci_store_entry_t *entry = lease->keys.first[0]; entry != NULL && status == HMC_SUCCESS;
       entry = entry->next[0]) {
    hmci_store_message_t restore = {.type = HMCI_STORE_RESTORE,
                                    .lease = lease->id,
                                    .key = entry->key,
                                    .key_size = entry->key_size,
                                    .value = entry->value,
                                    .value_size = entry->value_size};
    status = hmci_store_call_detached(client, &restore);
  }
}

static void renew_watch(hmci_store_client_t *client, hmci_store_client_watch_t *watch) {
  hmci_store_message_t request = {
      .type = HMCI_STORE_WATCH, .key = watch->prefix, .key_size = (uint16_t)watch->prefix_size};
  if (hmci_store_call_detached(client, &request) == HMC_SUCCESS) {
    watch->sequence = request.sequence;
    watch->sweep_at = HMCI_NEVER; /* all that it has seen is old now, until the store has reported it again */
    hmci_store_view_renew(&watch->view);
  }
}

/* With the lock held: drops what was asked on behalf of the former connection only. */
static void drop_stale(hmci_store_client_t *client) {
  hmci_list_t *at = client->calls.next;
  while (at != &client->calls) {
    hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    at = at->next;
    if (call->is_detached && call->type != HMCI_STORE_CANCEL && call->type != HMCI_STORE_UNWATCH &&
        call->type != HMCI_STORE_REVOKE) {
      hmci_list_remove(&call->member);
      hmci_store_call_free_detached(call);
    }
  }
}

/* With the lock held: what restores the client's state goes ahead of the calls that wait. */
static void restore_all(hmci_store_client_t *client) {
  drop_stale(client);
  const hmci_list_t *last = client->calls.previous;
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    const hmci_store_client_lease_t *lease = HMCI_CONTAINER(at, hmci_store_client_lease_t, member);
    if (!lease->is_lost) {
      restore_lease(client, lease);
    }
  }
  for (hmci_list_t *at = client->watches.next; at != &client->watches; at = at->next) {
    hmci_store_client_watch_t *watch = HMCI_CONTAINER(at, hmci_store_client_watch_t, member);
    if (watch->is_answered) {
      renew_watch(client, watch);
    }
  }
  while (last != &client->calls && client->calls.previous != last) {
    hmci_list_t *item = client->calls.previous;
    hmci_list_remove(item);
    hmci_list_append(client->calls.next, item); /* in front of all */
  }
}

/* ---- answers ----------------------------------------------------------------------------------------------------- */

static hmci_store_call_t *find_call(const hmci_store_client_t *client, uint64_t sequence) {
  for (hmci_list_t *at = client->calls.next; at != &client->calls; at = at->next) {
    hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    if (call->sequence == sequence) {
      return call;
    }
  }
  return NULL; /* it has ended by its deadline */
}

static hmci_store_client_watch_t *find_watch(const hmci_store_client_t *client, uint64_t sequence) {
  for (hmci_list_t *at = client->watches.next; at != &client->watches; at = at->next) {
    hmci_store_client_watch_t *watch = HMCI_CONTAINER(at, hmci_store_client_watch_t, member);
    if (watch->sequence == sequence) {
      return watch;
    }
  }
  return NULL;
}

/* A lease could not be taken up again. */
static void lose_lease(hmci_store_client_t *client, uint64_t id, const hmci_store_message_t *answer) {
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    hmci_store_client_lease_t *lease = HMCI_CONTAINER(at, hmci_store_client_lease_t, member);
    if (lease->id == id) {
      lease->is_lost = true;
      snprintf(lease->why, sizeof(lease->why), "%.*s", (int)answer->value_size, (const char *)answer->value);
    }
  }
  hmci_store_message_t revoke = {.type = HMCI_STORE_REVOKE, .lease = id};
  (void)hmci_store_call_detached(client, &revoke); /* else it ends by its TTL */
}

/* The server has taken a call back: who waits for that goes on. */
static void note_withdrawn(const hmci_store_client_t *client, uint64_t withdrawal) {
  for (hmci_list_t *at = client->calls.next; at != &client->calls; at = at->next) {
    hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    if (call->withdrawal == withdrawal) {
      call->withdrawal = 0;
      pthread_cond_signal(&call->done);
    }
  }
}

/* The watch has lost something: its reader hears of it. */
static void end_watch(hmci_store_client_watch_t *watch, hmc_status_t failure, const char *why, size_t size) {
  if (watch->failure == HMC_SUCCESS) {
    watch->failure = failure;
    snprintf(watch->why, sizeof(watch->why), "%.*s", (int)size, why);
    pthread_cond_signal(&watch->changed);
  }
}

static void take_detached(hmci_store_client_t *client, hmci_store_call_t *call, const hmci_store_message_t *answer) {
  hmci_store_client_watch_t *watch = call->type == HMCI_STORE_WATCH ? find_watch(client, call->sequence) : NULL;
  if (watch != NULL &&
      answer->status != HMC_SUCCESS) { /* an outage was before, and the store does not take it up again */
    end_watch(watch, (hmc_status_t)answer->status, answer->value, answer->value_size);
  }
  if (call->type == HMCI_STORE_CANCEL) {
    note_withdrawn(client, call->sequence);
  }
  if (answer->status != HMC_SUCCESS && call->lease != 0 && call->type != HMCI_STORE_REVOKE) {
    lose_lease(client, call->lease, answer);
  }
  hmci_list_remove(&call->member);
  hmci_store_call_free_detached(call);
}

static void take_answer(hmci_store_client_t *client, const hmci_store_message_t *answer) {
  hmci_store_call_t *call = find_call(client, answer->sequence);
  if (call == NULL) {
    return;
  }
  if (call->is_detached) {
    take_detached(client, call, answer);
    return;
  }
  if (answer->status != HMC_SUCCESS) {
    hmci_store_call_end(call, (hmc_status_t)answer->status, answer->value, answer->value_size);
    return;
  }
  hmc_status_t status = HMC_SUCCESS;
  if (call->result != NULL) {
    call->result->number = answer->number;
    if (answer->value_size > 0) {
      call->result->value = malloc(answer->value_size);
      if (call->result->value != NULL) {
        memcpy(call->result->value, answer->value, answer->value_size);
        call->result->value_size = answer->value_size;
      } else {
        status = HMC_NO_MEMORY;
      }
    }
  }
  hmci_store_client_watch_t *watch = call->type == HMCI_STORE_WATCH ? find_watch(client, call->sequence) : NULL;
  if (watch != NULL) {
    watch->is_answered = true; /* from here on an outage renews it, wherever its caller is */
  }
  if (status == HMC_SUCCESS) {
    status = hmci_store_call_note(client, call);
  }
  hmci_store_call_end(call, status, "no memory for the answer", 24);
}

static void take_entry(hmci_store_client_t *client, const hmci_store_message_t *entry) {
  hmci_store_call_t *call = find_call(client, entry->sequence);
  if (call != NULL && call->result != NULL &&
      hmci_store_map_set(&call->result->entries, entry->key, entry->key_size, entry->value, entry->value_size) ==
          NULL) {
    hmci_store_call_end(call, HMC_NO_MEMORY, "no memory for the list", 22);
  }
}

static void take_event(hmci_store_client_t *client, const hmci_store_message_t *event) {
  hmci_store_client_watch_t *watch = find_watch(client, event->sequence);
  if (watch == NULL) {
    return;
  }
  switch (event->flags) {
  case HMC_STORE_PUT:
    if (hmci_store_view_put(&watch->view, event->key, event->key_size, event->value, event->value_size) !=
        HMC_SUCCESS) {
      end_watch(watch, HMC_NO_MEMORY, "there was no memory for an event", 32);
    }
    break;
  case HMC_STORE_DELETE: hmci_store_view_delete(&watch->view, event->key, event->key_size); break;
  case HMC_STORE_SYNCED: {
    bool has_all = hmci_now() >= client->sweeps_at;
    hmci_store_view_synced(&watch->view, has_all);
    watch->sweep_at = has_all ? HMCI_NEVER : client->sweeps_at;
    break;
  }
  default: break; /* of a later version */
  }
  pthread_cond_signal(&watch->changed);
}

static void take(hmci_store_client_t *client, const hmci_store_message_t *message) {
  pthread_mutex_lock(&client->lock);
  switch (message->type) {
  case HMCI_STORE_ANSWER: take_answer(client, message); break;
  case HMCI_STORE_ENTRY: take_entry(client, message); break;
  case HMCI_STORE_EVENT: take_event(client, message); break;
  default: break; /* of a later version */
  }
  pthread_mutex_unlock(&client->lock);
}

/* ---- while connected --------------------------------------------------------------------------------------------- */

/* With the lock held: puts into the stream what has not been sent on this connection. */
static hmc_status_t queue_calls(hmci_store_client_t *client) {
  for (hmci_list_t *at = client->calls.next; at != &client->calls; at = at->next) {
    hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    if (call->sent_on != client->connection) {
      hmc_status_t status = hmci_store_stream_send_frame(&client->stream, call->frame, call->frame_size);
      if (status != HMC_SUCCESS) {
        return status;
      }
      if (call->sent_on != 0 && call->result != NULL) {
        hmci_store_map_clear(&call->result->entries); /* a list begins again */
      }
      call->sent_on = client->connection;
      call->since = hmci_now();
    }
  }
  return HMC_SUCCESS;
}

/* With the lock held: the time between two heartbeats, or HMCI_NEVER where there is no lease. */
static uint64_t heartbeat(const hmci_store_client_t *client) {
  uint64_t interval = HMCI_NEVER;
  for (hmci_list_t *at = client->leases.next; at != &client->leases; at = at->next) {
    const hmci_store_client_lease_t *lease = HMCI_CONTAINER(at, hmci_store_client_lease_t, member);
    interval = sooner(interval, hmci_store_beat(&client->base, lease->base.ttl_ms, BEATS_PER_TTL));
  }
  return interval;
}

/* With the lock held: the heartbeat that has no answer yet, or NULL. */
static const hmci_store_call_t *pending_heartbeat(const hmci_store_client_t *client) {
  for (hmci_list_t *at = client->calls.next; at != &client->calls; at = at->next) {
    const hmci_store_call_t *call = HMCI_CONTAINER(at, hmci_store_call_t, member);
    if (call->is_detached && call->type == HMCI_STORE_KEEP) {
      return call;
    }
  }
  return NULL;
}

/* With the lock held: sends a heartbeat where one is due, and notices a store that does not answer. A long answer that
 * comes slowly is a sign of life, and has the next heartbeat sent before the answer to the last. `next`: when to look
 * again. */
static hmc_status_t beat(hmci_store_client_t *client, uint64_t *last, uint64_t *next) {
  uint64_t interval = heartbeat(client), now = hmci_now();
  const hmci_store_call_t *pending = pending_heartbeat(client);
  *next = HMCI_NEVER;
  if (pending != NULL) {
    bool is_heard = client->heard > pending->since;
    uint64_t patience =
        interval != HMCI_NEVER && 2 * interval > SILENT_MS * NS_PER_MS ? 2 * interval : SILENT_MS * NS_PER_MS;
    *next = (is_heard ? client->heard : pending->since) + patience;
    if (now >= *next) {
      return hmci_fail(HMC_TIMEOUT, "%s does not answer a heartbeat: it hangs", client->address);
    }
    if (!is_heard) {
      return HMC_SUCCESS;
    }
  }
  if (interval == HMCI_NEVER) {
    return HMC_SUCCESS;
  }
  if (now >= *last + interval) {
    hmci_store_message_t keep = {.type = HMCI_STORE_KEEP};
    *last = now;
    (void)hmci_store_call_detached(client, &keep); /* else the next one */
  }
  *next = sooner(*next, *last + interval);
  return HMC_SUCCESS;
}

/* With the lock held: ends what an outage was the end of. When to look again. */
static uint64_t sweep(hmci_store_client_t *client) {
  uint64_t next = HMCI_NEVER, now = hmci_now();
  for (hmci_list_t *at = client->watches.next; at != &client->watches; at = at->next) {
    hmci_store_client_watch_t *watch = HMCI_CONTAINER(at, hmci_store_client_watch_t, member);
    if (watch->sweep_at <= now) {
      watch->sweep_at = HMCI_NEVER;
      hmci_store_view_sweep(&watch->view);
      pthread_cond_signal(&watch->changed);
    }
    next = sooner(next, watch->sweep_at);
  }
  return next;
}

/* Until the connection ends, with a status that says how, or the client is closed: HMC_CANCELLED. */
static hmc_status_t serve(hmci_store_client_t *client) {
  uint64_t last = hmci_now();
  for (;;) {
    uint64_t next = HMCI_NEVER;
    short events = POLLIN, out_events = 0;
    bool has_taken = false;
    hmci_store_message_t message;
    take_wakes(client);
    pthread_mutex_lock(&client->lock);
    hmc_status_t status = client->closing ? HMC_CANCELLED : beat(client, &last, &next);
    if (status == HMC_SUCCESS) {
      next = sooner(next, sweep(client));
      status = queue_calls(client);
    }
    pthread_mutex_unlock(&client->lock);
    if (status != HMC_SUCCESS) {
      return status;
    }
    status = hmci_store_stream_flush(&client->stream, &out_events);
    if (status != HMC_SUCCESS && status != HMC_IN_PROGRESS) {
      return status;
    }
    uint64_t before = client->stream.in_bytes;
    while ((status = hmci_store_stream_receive(&client->stream, &message, &events)) == HMC_SUCCESS) {
      take(client, &message);
      has_taken = true;
    }
    if (client->stream.in_bytes != before) {
      client->heard = hmci_now();
    }
    if (status != HMC_IN_PROGRESS) {
      return status;
    }
    if (has_taken) {
      continue; /* an answer may have changed what there is to wait for */
    }
    struct pollfd wait[2] = {{.fd = hmci_secure_descriptor(client->stream.secure), .events = events | out_events},
                             {.fd = client->wake, .events = POLLIN}};
    poll(wait, 2, hmci_poll_timeout(next));
  }
}

/* Says good-bye, so that the leases end now and not by their time. */
static void part(hmci_store_client_t *client) {
  const hmci_store_message_t bye = {.type = HMCI_STORE_BYE, .sequence = UINT64_MAX};
  uint64_t deadline = hmci_deadline(1000);
  short events = POLLOUT;
  if (hmci_store_stream_send(&client->stream, &bye, NULL) != HMC_SUCCESS) {
    return;
  }
  while (hmci_store_stream_flush(&client->stream, &events) == HMC_IN_PROGRESS && hmci_now() < deadline) {
    struct pollfd wait = {.fd = hmci_secure_descriptor(client->stream.secure), .events = events};
    poll(&wait, 1, hmci_poll_timeout(deadline));
  }
}

/* One connection, from dialling to its end. */
static hmc_status_t connect_and_serve(hmci_store_client_t *client, bool *was_up) {
  hmc_status_t status = dial(client);
  if (status != HMC_SUCCESS) {
    return status;
  }
  *was_up = true;
  client->connection++;
  pthread_mutex_lock(&client->lock);
  client->is_up = true;
  restore_all(client);
  pthread_mutex_unlock(&client->lock);
  status = serve(client);
  if (status == HMC_CANCELLED) {
    part(client);
  }
  hang_up(client);
  return status;
}

/* Repeating does not mend it. */
static bool is_final(hmc_status_t status) {
  return status == HMC_DENIED || status == HMC_INVALID_CONFIG || status == HMC_UNSUPPORT;
}

void *hmci_store_session_run(void *argument) {
  hmci_store_client_t *client = argument;
  uint64_t pause_ms = FIRST_PAUSE_MS;
  client->patience_ms = HANDSHAKE_MS;
  hmci_stop_follow(&client->stop);
  while (!is_closing(client)) {
    bool was_up = false;
    hmc_status_t status = connect_and_serve(client, &was_up);
    char text[HMCI_ERROR_TEXT];
    snprintf(text, sizeof(text), "%s", hmc_last_error());
    pthread_mutex_lock(&client->lock);
    client->is_up = false;
    memcpy(client->why, text, sizeof(client->why));
    bool closing = client->closing;
    if (is_final(status)) {
      fail_calls(client, status, text);
    }
    pthread_mutex_unlock(&client->lock);
    if (was_up && !closing) {
      hmci_log(HMC_LOG_INFO, "store: the connection to %s is lost: %s", client->address, text);
      pause_ms = FIRST_PAUSE_MS;
    }
    if (!closing) {
      rest(client, hmci_deadline(is_final(status) ? REFUSED_PAUSE_MS : pause_ms));
      pause_ms = pause_ms * 2 < LONGEST_PAUSE_MS ? pause_ms * 2 : LONGEST_PAUSE_MS;
    }
  }
  return NULL;
}
