/* Credits of notifications (see post.h). */
#include "core.h"

#include <stdlib.h>

enum { SETTLED_PART = 4 }; /* a peer is informed when so large a part of its bytes has been taken */
enum { AGAIN = 10000000 }; /* nanoseconds until a grant is tried again that the session had no room for */

/* ---- receiving --------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_post_arrive(hmci_post_t *post, size_t size) {
  uint64_t waiting = atomic_fetch_add(&post->arrived, 1) + 1 - atomic_load(&post->taken);
  uint64_t bytes = atomic_fetch_add(&post->arrived_bytes, size) + size - atomic_load(&post->taken_bytes);
  if (waiting <= 2 * post->most && bytes <= 2 * post->most_bytes) return HMC_SUCCESS;
  atomic_fetch_sub(&post->arrived, 1);
  atomic_fetch_sub(&post->arrived_bytes, size);
  return HMC_NO_MEMORY;
}

/* Half of the credit has come back, or the peer has none left. */
static bool is_due(hmci_post_t *post) {
  uint64_t taken = atomic_load(&post->taken), told = atomic_load(&post->told);
  uint64_t bytes = atomic_load(&post->taken_bytes) - atomic_load(&post->told_bytes);
  if ((taken - told) * 2 >= post->most || bytes * SETTLED_PART >= post->most_bytes) return true;
  return atomic_load(&post->arrived) >= told + post->most;
}

void hmci_post_take(hmc_peer_t *peer, size_t size) {
  hmci_post_t *post = &peer->post;
  atomic_fetch_add(&post->taken, 1);
  atomic_fetch_add(&post->taken_bytes, size);
  if (is_due(post)) hmci_loop_set_timer(peer->context->loop, &post->timer, 0);
}

static void tell(hmc_peer_t *peer) {
  hmci_post_t *post = &peer->post;
  uint64_t taken = atomic_load(&post->taken), bytes = atomic_load(&post->taken_bytes);
  if (!(peer->features & HMCI_FEATURE_GRANTS) || !atomic_load(&peer->connected)) return;
  if (atomic_load(&post->has_told) && taken == atomic_load(&post->told)) return;
  uint8_t body[4 * 8];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u64(&writer, taken + post->most);
  hmci_write_u64(&writer, bytes + post->most_bytes);
  hmci_write_u64(&writer, atomic_load(&post->arrived));
  hmci_write_u64(&writer, atomic_load(&post->arrived_bytes));
  hmc_status_t status = hmci_channel_send(&peer->channel, HMCI_GRANT, body, writer.size);
  if (status == HMC_NO_MEMORY) {
    hmci_loop_set_timer(peer->context->loop, &post->timer, hmci_now() + AGAIN);
    return;
  }
  atomic_store(&post->told, taken);
  atomic_store(&post->told_bytes, bytes);
  atomic_store(&post->has_told, true);
  hmci_peer_watch_for_room(peer);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* Another thread may charge meanwhile: what is too much then is taken back. */
static bool charge(hmc_peer_t *peer, size_t size) {
  hmci_post_t *post = &peer->post;
  if (!(peer->features & HMCI_FEATURE_GRANTS)) return true; /* its queue has one bound for all, and it refuses */
  bool fits = atomic_fetch_add(&post->sent, 1) < atomic_load(&post->granted);
  fits &= atomic_fetch_add(&post->sent_bytes, size) + size <= atomic_load(&post->granted_bytes);
  if (fits) return true;
  atomic_fetch_sub(&post->sent, 1);
  atomic_fetch_sub(&post->sent_bytes, size);
  return false;
}

bool hmci_post_charge(hmc_peer_t *peer, size_t size) {
  return !atomic_load(&peer->post.parked_count) && charge(peer, size);
}

void hmci_post_refund(hmc_peer_t *peer, size_t size) {
  if (!(peer->features & HMCI_FEATURE_GRANTS)) return;
  atomic_fetch_sub(&peer->post.sent, 1);
  atomic_fetch_sub(&peer->post.sent_bytes, size);
  hmci_waitset_tell(&peer->post.waitset);
  hmci_post_stir(peer);
}

void hmci_post_stir(hmc_peer_t *peer) {
  if (atomic_load(&peer->post.parked_count)) hmci_loop_set_timer(peer->context->loop, &peer->post.timer, 0);
}

hmc_status_t hmci_post_await(hmc_peer_t *peer, size_t size, uint64_t deadline) {
  hmci_post_t *post = &peer->post;
  hmc_status_t status = HMC_IN_PROGRESS;
  hmci_waitset_enter(&post->waitset);
  while (status == HMC_IN_PROGRESS) {
    uint32_t seen = atomic_load(&post->waitset.completions);
    if (hmci_post_charge(peer, size)) {
      status = HMC_SUCCESS;
    } else if (!atomic_load(&peer->connected)) {
      status = HMC_PEER_LOST;
    } else if (hmci_now() >= deadline) {
      status = HMC_TIMEOUT;
    } else {
      hmci_waitset_sleep(&post->waitset, seen, deadline);
    }
  }
  hmci_waitset_leave(&post->waitset);
  return status;
}

bool hmci_post_park(hmc_peer_t *peer, hmci_parked_t *parked) {
  hmci_post_t *post = &peer->post;
  pthread_mutex_lock(&post->lock);
  bool open = !post->over;
  if (open) {
    hmci_list_append(&post->parked, &parked->link);
    atomic_store(&parked->waits, true);
    atomic_fetch_add(&post->parked_count, 1);
  }
  pthread_mutex_unlock(&post->lock);
  return open;
}

/* Who waits in hmci_post_await goes on once nothing is parked before it. */
static void unlink_parked(hmci_post_t *post, hmci_parked_t *parked) {
  hmci_list_remove(&parked->link);
  atomic_store(&parked->waits, false);
  if (atomic_fetch_sub(&post->parked_count, 1) == 1) hmci_waitset_tell(&post->waitset);
}

bool hmci_post_unpark(hmc_peer_t *peer, hmci_parked_t *parked) {
  hmci_post_t *post = &peer->post;
  pthread_mutex_lock(&post->lock);
  bool was = !hmci_list_is_empty(&parked->link);
  if (was) unlink_parked(post, parked);
  pthread_mutex_unlock(&post->lock);
  return was;
}

static void complete_all(hmci_operation_t *operations, uint32_t count, hmc_status_t status) {
  for (uint32_t i = 0; i < count; i++) hmci_operation_complete(&operations[i], status);
}

/* Starts a parked one, or ends it where what it came after has failed. False: there is no credit for it, nor for those
 * behind it. With `lock` held. */
static bool start_parked(hmc_peer_t *peer, hmci_parked_t *parked) {
  hmci_post_t *post = &peer->post;
  hmci_operation_t *operations = parked->operations, *before = parked->before;
  uint32_t count = parked->count;
  hmc_status_t status = HMC_SUCCESS;
  if (before) {
    if (!atomic_load(&parked->due)) return true;
    while (!hmci_operation_is_complete(before)) hmci_pause();
    status = before->status;
  }
  if (status == HMC_SUCCESS) {
    bool notifies = operations[count - 1].kind == HMCI_NOTIFY;
    if (notifies && !charge(peer, operations[count - 1].message_size)) return false;
    *parked->charged = notifies;
  }
  if (status == HMC_SUCCESS) atomic_store(&parked->submitted, true);
  unlink_parked(post, parked); /* from here on it may be gone with its operations */
  operations[0].chained = false;
  if (status == HMC_SUCCESS) status = peer->transport->ops->submit(peer->connection->state, operations, count);
  if (status != HMC_SUCCESS) complete_all(operations, count, status);
  return true;
}

static void start_all(hmc_peer_t *peer) {
  hmci_post_t *post = &peer->post;
  pthread_mutex_lock(&post->lock);
  bool credit = true;
  for (hmci_list_t *link = post->parked.next; link != &post->parked && credit;) {
    hmci_parked_t *parked = HMCI_CONTAINER(link, hmci_parked_t, link);
    link = link->next;
    credit = start_parked(peer, parked);
  }
  pthread_mutex_unlock(&post->lock);
}

void hmci_post_turn(hmc_peer_t *peer) {
  if (atomic_load(&peer->post.parked_count)) start_all(peer);
}

void hmci_post_end(hmc_peer_t *peer, hmc_status_t status) {
  hmci_post_t *post = &peer->post;
  pthread_mutex_lock(&post->lock);
  post->over = true;
  while (!hmci_list_is_empty(&post->parked)) {
    hmci_parked_t *parked = HMCI_CONTAINER(post->parked.next, hmci_parked_t, link);
    hmci_operation_t *operations = parked->operations;
    uint32_t count = parked->count;
    unlink_parked(post, parked);
    if (parked->end) {
      parked->end(parked, status);
    } else {
      complete_all(operations, count, status);
    }
  }
  pthread_mutex_unlock(&post->lock);
  hmci_waitset_tell(&post->waitset);
}

static void raise_to(_Atomic uint64_t *counter, uint64_t value) {
  uint64_t seen = atomic_load(counter);
  while (seen < value && !atomic_compare_exchange_weak(counter, &seen, value)) continue;
}

hmc_status_t hmci_post_granted(hmc_peer_t *peer, hmci_reader_t *reader) {
  hmci_post_t *post = &peer->post;
  uint64_t granted = hmci_read_u64(reader), bytes = hmci_read_u64(reader);
  uint64_t arrived = hmci_read_u64(reader), arrived_bytes = hmci_read_u64(reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed grant of notifications");
  raise_to(&post->sent, arrived);
  raise_to(&post->sent_bytes, arrived_bytes);
  raise_to(&post->granted, granted);
  raise_to(&post->granted_bytes, bytes);
  hmci_waitset_tell(&post->waitset);
  start_all(peer);
  return HMC_SUCCESS;
}

static void on_timer(hmci_timer_t *timer) {
  hmc_peer_t *peer = HMCI_CONTAINER(timer, hmc_peer_t, post.timer);
  tell(peer);
  hmci_post_turn(peer);
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

void hmci_post_open(hmc_peer_t *peer) {
  hmci_post_t *post = &peer->post;
  const hmci_settings_t *settings = &peer->context->settings;
  post->most = settings->notifications;
  post->most_bytes = settings->notification_bytes;
  pthread_mutex_init(&post->lock, NULL);
  hmci_list_init(&post->parked);
  atomic_store(&post->granted, HMCI_POST_FIRST);
  atomic_store(&post->granted_bytes, HMCI_POST_FIRST_BYTES);
  atomic_store(&post->waitset.event, -1);
  hmci_timer_init(&post->timer, on_timer);
}

void hmci_post_close(hmc_peer_t *peer) {
  hmci_loop_clear_timer(peer->context->loop, &peer->post.timer);
  pthread_mutex_destroy(&peer->post.lock);
}
