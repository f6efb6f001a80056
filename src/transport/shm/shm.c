/* shm: the table. See shm.h for how it works. */
#include "shm.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HOST_ID = 16, NAME = 36, OFFER = HOST_ID + NAME, DATA = 24 };
enum {
  LAST_ACCESSES = 1000000000,
  LOOK = 50000
}; /* nanoseconds that closing waits for a peer's copies, and at a time */

/* The kernel's boot id: the same for all that share its memory, containers included. All zero where /proc does not say:
 * then only trying tells who is on this host, which a socket's name of 128 random bits does for certain. */
static void read_host_id(uint8_t id[HOST_ID]) {
  char text[64] = "";
  int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  ssize_t got = file >= 0 ? read(file, text, sizeof text - 1) : -1;
  if (file >= 0) close(file);
  memset(id, 0, HOST_ID);
  unsigned byte;
  const char *from = text;
  for (int i = 0; got >= 36 && i < HOST_ID; i++) {
    if (*from == '-') from++;
    if (sscanf(from, "%2x", &byte) != 1) break;
    id[i] = (uint8_t)byte;
    from += 2;
  }
}

static bool is_known(const uint8_t id[HOST_ID]) {
  static const uint8_t unknown[HOST_ID];
  return memcmp(id, unknown, HOST_ID) != 0;
}

static hmc_status_t probe(char *reason, size_t size) {
  uint8_t id[HOST_ID];
  read_host_id(id);
  snprintf(reason, size, "shared mappings between processes of one host%s",
           is_known(id) ? "" : " (which /proc does not name here: peers are tried)");
  return HMC_SUCCESS;
}

/* What takes a descriptor is made with the first connection: a process may have hundreds of contexts, most of them
 * without peers. */
static hmc_status_t prepare(shm_transport_t *transport, hmci_role_t role) {
  hmc_status_t status = hmci_shm_need_board(transport);
  if (status != HMC_SUCCESS || role != HMCI_ACCEPTED) return status;
  pthread_mutex_lock(&transport->lock);
  if (!transport->listens) status = hmci_shm_listen(transport);
  transport->listens |= status == HMC_SUCCESS;
  pthread_mutex_unlock(&transport->lock);
  return status;
}

static hmc_status_t open_transport(void *self, const hmci_host_t *host, hmci_blob_t *offer) {
  shm_transport_t *transport = self;
  transport->host = host;
  transport->board_descriptor = -1;
  hmci_list_init(&transport->connections);
  hmci_list_init(&transport->visitors);
  read_host_id(offer->data);
  hmc_status_t status = hmci_shm_board_probe();
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_init(&transport->lock, NULL);
  hmci_shm_copiers_open(&transport->copiers, host->settings->service_threads);
  hmci_shm_name(transport);
  memcpy(offer->data + HOST_ID, transport->name, NAME);
  offer->size = OFFER;
  return HMC_SUCCESS;
}

static void close_transport(void *self) {
  shm_transport_t *transport = self;
  shm_board_t *board = atomic_load(&transport->board);
  if (transport->listens) hmci_shm_stop_listening(transport);
  hmci_shm_copiers_close(&transport->copiers);
  hmci_shm_bounce_close(&transport->bounce);
  if (board) hmci_shm_board_destroy(board, transport->board_descriptor);
  pthread_mutex_destroy(&transport->lock);
}

static hmc_status_t reachable(void *self, const hmci_blob_t *offer) {
  (void)self;
  uint8_t id[HOST_ID];
  read_host_id(id);
  if (offer->size != OFFER) return hmci_fail(HMC_CORRUPT, "malformed shm offer");
  if (is_known(id) && is_known(offer->data) && memcmp(id, offer->data, HOST_ID) != 0)
    return hmci_fail(HMC_UNSUPPORT, "it is on another host");
  return HMC_SUCCESS;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static hmc_status_t connection_open(void *self, void *block, hmci_role_t role, hmci_blob_t *data) {
  shm_connection_t *connection = block;
  hmc_status_t status = prepare(self, role);
  if (status != HMC_SUCCESS) return status;
  connection->transport = self;
  connection->role = role;
  connection->ask = connection->peer_pidfd = -1;
  connection->serve.descriptor = -1;
  hmci_list_init(&connection->kept_ask.link);
  hmci_list_init(&connection->call);
  hmci_random(&connection->token, sizeof connection->token);
  hmci_random(&connection->nonce, sizeof connection->nonce);
  pthread_mutex_init(&connection->ask_lock, NULL);
  pthread_mutex_init(&connection->stream_lock, NULL);
  pthread_mutex_init(&connection->answer_lock, NULL);
  data->size = DATA;
  hmci_store64(data->data, connection->token);
  hmci_store64(data->data + 8, connection->nonce);
  hmci_store64(data->data + 16, (uint64_t)(uintptr_t)&connection->nonce);
  pthread_mutex_lock(&connection->transport->lock);
  hmci_list_append(&connection->transport->connections, &connection->link);
  pthread_mutex_unlock(&connection->transport->lock);
  return HMC_SUCCESS;
}

static hmc_status_t connection_accept(void *block, const hmci_blob_t *peer_data) {
  shm_connection_t *connection = block;
  if (peer_data->size != DATA) return hmci_fail(HMC_CORRUPT, "malformed shm connection data");
  connection->peer_nonce = hmci_load64(peer_data->data + 8);
  connection->peer_nonce_address = hmci_load64(peer_data->data + 16);
  return HMC_SUCCESS;
}

static hmc_status_t connection_check(void *block) {
  const shm_connection_t *connection = block;
  return connection->linked ? HMC_SUCCESS : hmci_fail(HMC_CORRUPT, "a peer is ready without its link");
}

static hmc_status_t connection_dial(void *block, const hmci_blob_t *offer, const hmci_blob_t *peer_data,
                                    uint64_t deadline) {
  shm_connection_t *connection = block;
  hmc_status_t status = connection_accept(block, peer_data);
  if (status != HMC_SUCCESS) return status;
  char name[NAME + 1] = "";
  memcpy(name, offer->data + HOST_ID, NAME);
  return hmci_shm_dial(connection, name, hmci_load64(peer_data->data), deadline);
}

static void connection_fail(void *block, hmc_status_t status) {
  shm_connection_t *connection = block;
  uint32_t none = HMC_SUCCESS;
  atomic_compare_exchange_strong(&connection->failure, &none, (uint32_t)status);
  if (!atomic_exchange(&connection->failed, true)) {
    if (connection->accesses) atomic_store(&connection->accesses->open, 0);
    if (connection->linked) hmci_shm_board_blank(connection->peer_board);
    if (connection->linked) hmci_shm_fail_pulls(connection);
  }
  if (connection->ask >= 0) shutdown(connection->ask, SHUT_RDWR); /* ends a wait for an answer */
  if (atomic_load(&connection->has_requester)) hmci_requester_fail(&connection->requester, status);
  hmci_responder_t *responder = hmci_shm_responder(connection);
  if (responder) hmci_responder_fail(responder);
}

/* Waits until the peer is through with the copies that it had announced: later nobody could, when their regions close. A
 * second at most, where its process stands; and not where the loop waits. */
static void await_accesses(const shm_connection_t *connection) {
  const struct timespec look = {.tv_nsec = LOOK};
  bool waits = !hmci_loop_is_held(connection->transport->host->loop);
  uint64_t limit = hmci_now() + LAST_ACCESSES;
  while (waits && hmci_shm_has_accesses(connection) && hmci_shm_is_alive(connection) && hmci_now() < limit)
    nanosleep(&look, NULL);
}

static void connection_close(void *block) {
  shm_connection_t *connection = block;
  shm_transport_t *transport = connection->transport;
  pthread_mutex_lock(&transport->lock);
  hmci_list_remove(&connection->link);
  pthread_mutex_unlock(&transport->lock);
  hmci_loop_remove(transport->host->loop, &connection->serve);
  hmci_shm_copiers_leave(connection); /* the service thread calls none any more */
  hmci_loop_remove(transport->host->loop, &connection->death);
  hmci_loop_drop(transport->host->loop, &connection->kept_ask);
  await_accesses(connection);
  if (connection->serve.descriptor >= 0) close(connection->serve.descriptor);
  if (connection->ask >= 0) close(connection->ask);
  if (connection->peer_pidfd >= 0) close(connection->peer_pidfd);
  if (atomic_load(&connection->has_requester)) hmci_requester_close(&connection->requester);
  if (connection->has_responder) hmci_responder_close(&connection->responder);
  if (connection->peer_board) hmci_shm_board_destroy(connection->peer_board, -1);
  if (connection->accesses) hmci_shm_accesses_unmap(connection->accesses);
  pthread_mutex_destroy(&connection->answer_lock);
  pthread_mutex_destroy(&connection->stream_lock);
  pthread_mutex_destroy(&connection->ask_lock);
}

static void explain(void *block, char *text, size_t size) {
  shm_connection_t *connection = block;
  if (connection->attach) {
    snprintf(text, size, "shared mappings; registered memory is copied by process_vm_readv, by the receiving end");
  } else {
    snprintf(text, size, "shared mappings; registered memory through a socket (%s)", connection->attach_reason);
  }
}

static const _Atomic uint32_t *connected_word(void *block) {
  shm_connection_t *connection = block;
  return &connection->accesses->open;
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static hmc_status_t submit(void *block, hmci_operation_t *operations, uint32_t count) {
  shm_connection_t *connection = block;
  if (atomic_load_explicit(&connection->failed, memory_order_relaxed)) return HMC_PEER_LOST;
  hmc_status_t status = count > 1 ? hmci_shm_need_stream(connection) : HMC_SUCCESS;
  if (status != HMC_SUCCESS) return status;
  if (hmci_shm_copy(connection, operations, &status)) {
    hmci_operation_complete(operations, status);
    operations++;
    count--;
    if (status != HMC_SUCCESS) {
      for (; count; operations++, count--) hmci_operation_complete(operations, status);
    }
    if (!count) return HMC_SUCCESS;
    operations->chained = false; /* what it came after is done */
    status = hmci_requester_submit(&connection->requester, operations, count);
    for (; status != HMC_SUCCESS && count; operations++, count--) hmci_operation_complete(operations, status);
    return HMC_SUCCESS;
  }
  status = hmci_shm_need_stream(connection);
  return status == HMC_SUCCESS ? hmci_requester_submit(&connection->requester, operations, count) : status;
}

static hmc_status_t wait_operation(void *block, hmci_operation_t *operation, uint64_t spin) {
  shm_connection_t *connection = block;
  if (hmci_operation_is_complete(operation)) return HMC_SUCCESS;
  return hmci_requester_wait(&connection->requester, operation, spin);
}

static void progress(void *block) {
  shm_connection_t *connection = block;
  if (atomic_load(&connection->has_requester)) hmci_requester_progress(&connection->requester);
}

static void cancel(void *block, hmci_operation_t *operation, hmc_status_t status) {
  shm_connection_t *connection = block;
  if (atomic_load(&connection->has_requester)) hmci_requester_cancel(&connection->requester, operation, status);
}

const hmci_transport_ops_t hmci_transport_shm = {
    .type = HMC_CONNECTION_SHM,
    .name = "shm",
    .transport_size = sizeof(shm_transport_t),
    .connection_size = sizeof(shm_connection_t),
    .remote_size = sizeof(shm_remote_t),
    .checksums = true,
    .probe = probe,
    .open = open_transport,
    .close = close_transport,
    .reachable = reachable,
    .connection_open = connection_open,
    .connection_accept = connection_accept,
    .connection_dial = connection_dial,
    .connection_check = connection_check,
    .connection_fail = connection_fail,
    .connection_close = connection_close,
    .explain = explain,
    .connected_word = connected_word,
    .region_export = hmci_shm_region_export,
    .region_revoke = hmci_shm_region_revoke,
    .lease_revoke = hmci_shm_lease_revoke,
    .region_is_quiet = hmci_shm_region_is_quiet,
    .region_forget = hmci_shm_region_forget,
    .remote_open = hmci_shm_remote_open,
    .remote_close = hmci_shm_remote_close,
    .region_describe = hmci_shm_region_describe,
    .remote_map = hmci_shm_remote_map,
    .remote_unmap = hmci_shm_remote_unmap,
    .remote_explain = hmci_shm_remote_explain,
    .remote_is_direct = hmci_shm_remote_is_direct,
    .moves = hmci_shm_moves,
    .move = hmci_shm_move,
    .submit = submit,
    .wait = wait_operation,
    .progress = progress,
    .cancel = cancel,
};
