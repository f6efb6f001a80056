/* verbs: the table. See verbs.h for how it works. */
#include "verbs.h"

#include "../module.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FIRST_NUMBERS = 64 };

/* ---- the transport ----------------------------------------------------------------------------------------------- */

static hmc_status_t probe(char *reason, size_t size) {
  int count = 0;
  struct ibv_device **list = ibv_get_device_list(&count);
  if (!list) {
    snprintf(reason, size, "no RDMA in this kernel: %s (modprobe ib_uverbs; docs/rdma.md)", strerror(errno));
    return HMC_UNSUPPORT;
  }
  size_t used =
      (size_t)snprintf(reason, size, "%s",
                       count ? "RDMA devices:"
                             : "no RDMA device here: rdma link shows what the kernel has, docs/rdma.md how to get one");
  for (int i = 0; i < count && used < size; i++) {
    used += (size_t)snprintf(reason + used, size - used, "%s %s", i ? "," : "", ibv_get_device_name(list[i]));
  }
  ibv_free_device_list(list);
  return count ? HMC_SUCCESS : HMC_UNSUPPORT;
}

static hmc_status_t check_settings(const hmci_settings_t *settings) {
  const char *flush = settings->verbs_flush;
  if (strcmp(flush, "auto") != 0 && strcmp(flush, "yes") != 0 && strcmp(flush, "no") != 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "HMC_VERBS_FLUSH=%.64s: takes auto, yes or no", flush);
  }
  if (settings->encrypt) return hmci_fail(HMC_UNSUPPORT, "HMC_ENCRYPT is on here, and RDMA cannot encrypt");
  return HMC_SUCCESS;
}

static hmc_status_t open_transport(void *self, const hmci_host_t *host, hmci_blob_t *offer) {
  verbs_transport_t *transport = self;
  transport->host = host;
  hmc_status_t status = check_settings(host->settings);
  if (status == HMC_SUCCESS) status = hmci_verbs_devices_open(transport, host->settings->verbs_device);
  if (status != HMC_SUCCESS) return status;
  hmci_list_init(&transport->connections);
  pthread_mutex_init(&transport->lock, NULL);
  hmci_verbs_offer_encode(offer, transport->gids, transport->gid_count);
  return HMC_SUCCESS;
}

static void close_transport(void *self) {
  verbs_transport_t *transport = self;
  hmci_verbs_devices_close(transport);
  free(transport->numbers);
  pthread_mutex_destroy(&transport->lock);
}

/* The best pair of GIDs whose port is up here. */
static hmc_status_t choose(verbs_transport_t *transport, const hmci_blob_t *offer, verbs_gid_t *mine,
                           verbs_gid_t *theirs) {
  verbs_gid_t here[VERBS_OFFERS], there[VERBS_OFFERS];
  uint32_t here_count = 0, there_count, my_choice, their_choice;
  hmc_status_t status = hmci_verbs_offer_decode(offer, there, &there_count);
  if (status != HMC_SUCCESS) return status;
  for (uint32_t i = 0; i < transport->gid_count; i++) {
    if (hmci_verbs_port_is_up(&transport->ports[i])) here[here_count++] = transport->gids[i];
  }
  if (!here_count) return hmci_fail(HMC_UNSUPPORT, "no port of an RDMA device is up here");
  status = hmci_verbs_gid_choose(here, here_count, there, there_count, hmci_verbs_route, &my_choice, &their_choice);
  if (status != HMC_SUCCESS) return status;
  *mine = here[my_choice];
  *theirs = there[their_choice];
  return HMC_SUCCESS;
}

static hmc_status_t reachable(void *self, const hmci_blob_t *offer) {
  verbs_gid_t mine, theirs;
  return choose(self, offer, &mine, &theirs);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

/* A number that no completion names yet. */
static bool take_number(verbs_transport_t *transport, verbs_connection_t *connection) {
  uint32_t number = 0;
  while (number < transport->number_room && transport->numbers[number]) number++;
  if (number == transport->number_room) {
    uint32_t room = number ? number * 2 : FIRST_NUMBERS;
    verbs_connection_t **numbers = realloc(transport->numbers, room * sizeof *numbers);
    if (!numbers) return false;
    memset(numbers + number, 0, (room - number) * sizeof *numbers);
    transport->numbers = numbers;
    transport->number_room = room;
  }
  transport->numbers[number] = connection;
  connection->number = number;
  return true;
}

static void init(verbs_connection_t *connection, verbs_transport_t *transport, hmci_role_t role) {
  connection->transport = transport;
  connection->role = role;
  connection->request_first = connection->request_next = 1;
  connection->window = VERBS_WINDOW;
  hmci_list_init(&connection->touch);
  hmci_list_init(&connection->remotes);
  hmci_list_init(&connection->queue);
  hmci_timer_init(&connection->retry, hmci_verbs_pairing_retry);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&connection->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
}

static hmc_status_t connection_open(void *self, void *block, hmci_role_t role, hmci_blob_t *data) {
  verbs_transport_t *transport = self;
  verbs_connection_t *connection = block;
  verbs_entry_t *entries = calloc(VERBS_SEND_QUEUE, sizeof *entries);
  pthread_mutex_lock(&transport->lock);
  bool numbered = entries && take_number(transport, connection);
  if (numbered) {
    init(connection, transport, role);
    connection->entries = entries;
    hmci_list_append(&transport->connections, &connection->link);
  }
  pthread_mutex_unlock(&transport->lock);
  if (!numbered) {
    free(entries);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
  }
  data->data[0] = VERBS_VERSION;
  data->size = 1;
  return HMC_SUCCESS;
}

static hmc_status_t connection_accept(void *block, const hmci_blob_t *peer_data) {
  (void)block;
  if (peer_data->size == 1 && peer_data->data[0] == VERBS_VERSION) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT, "the peer speaks another version of verbs than %d", VERBS_VERSION);
}

static hmc_status_t adopt(void *block, uint32_t purpose, hmci_pipe_t *pipe) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  hmc_status_t status = purpose != 0 || connection->pipe || connection->role != HMCI_ACCEPTED
                            ? hmci_fail(HMC_CORRUPT, "a link of verbs came twice")
                            : hmci_verbs_link_open(connection, pipe);
  pthread_mutex_unlock(&connection->transport->lock);
  return status;
}

/* Waits until the first round has shown that packets get through. */
static hmc_status_t wait_until_proven(verbs_connection_t *connection, uint64_t deadline) {
  struct timespec until = {.tv_sec = (time_t)(deadline / 1000000000u), .tv_nsec = (long)(deadline % 1000000000u)};
  int error = 0;
  while (connection->probe != VERBS_PROVEN && !connection->failed && !connection->cut && !connection->refusal[0] &&
         !error) {
    error = pthread_cond_timedwait(&connection->changed, &connection->transport->lock, &until);
  }
  if (connection->probe == VERBS_PROVEN) return HMC_SUCCESS;
  if (connection->failed || connection->cut) return hmci_fail(HMC_PEER_LOST, "the peer hung up");
  if (connection->refusal[0]) return hmci_fail(HMC_UNSUPPORT, "%s", connection->refusal);
  return hmci_fail(HMC_TIMEOUT, "no answer within the deadline");
}

static hmc_status_t begin(verbs_connection_t *connection, const verbs_gid_t *mine, const verbs_gid_t *theirs) {
  verbs_device_t *device = connection->transport->ports[mine->place].device;
  hmc_status_t status = hmci_verbs_device_start(device);
  if (status == HMC_SUCCESS) status = hmci_verbs_device_grow(device);
  if (status != HMC_SUCCESS) return status;
  connection->device = device;
  connection->mine = mine->place;
  connection->theirs = theirs->place;
  connection->peer_gid = *theirs;
  return hmci_verbs_pairing_begin(connection);
}

static hmc_status_t connection_dial(void *block, const hmci_blob_t *offer, const hmci_blob_t *peer_data,
                                    uint64_t deadline) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  verbs_gid_t mine, theirs;
  hmci_pipe_t *pipe;
  hmc_status_t status = connection_accept(block, peer_data);
  if (status == HMC_SUCCESS) status = choose(transport, offer, &mine, &theirs);
  if (status == HMC_SUCCESS) status = transport->host->dial(transport->host, connection, 0, deadline, &pipe);
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_lock(&transport->lock);
  status = hmci_verbs_link_open(connection, pipe);
  if (status != HMC_SUCCESS) {
    pipe->close(pipe);
    goto out;
  }
  status = begin(connection, &mine, &theirs);
  if (status == HMC_SUCCESS) status = wait_until_proven(connection, deadline);
out:
  pthread_mutex_unlock(&transport->lock);
  return status;
}

static void connection_close(void *block) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  hmci_verbs_link_close(connection);
  hmci_loop_clear_timer(transport->host->loop, &connection->retry);
  pthread_mutex_lock(&transport->lock);
  hmci_verbs_pair_destroy(connection);
  hmci_list_remove(&connection->link);
  hmci_list_remove(&connection->touch);
  transport->numbers[connection->number] = NULL;
  if (connection->device) hmci_verbs_device_shrink(connection->device);
  pthread_mutex_unlock(&transport->lock);
  free(connection->entries);
  pthread_cond_destroy(&connection->changed);
}

static void explain(void *block, char *text, size_t size) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  pthread_mutex_lock(&transport->lock);
  char here[VERBS_GID_TEXT], there[VERBS_GID_TEXT];
  hmci_verbs_gid_text(transport->gids[connection->mine].raw, here);
  hmci_verbs_gid_text(connection->peer_gid.raw, there);
  const verbs_device_t *device = connection->device;
  snprintf(text, size, "rdma from %s (%s port %u) to %s, path MTU %u; %s; %u queue pairs, %llu B registered%s", here,
           ibv_get_device_name(device->context->device), transport->ports[connection->mine].number, there,
           128u << connection->mtu,
           connection->peer_stores_at_once ? "what is acknowledged is visible"
                                           : "a read behind each put makes it visible",
           device->connections, (unsigned long long)transport->pinned,
           connection->phase == VERBS_UP ? "" : "; being made anew");
  pthread_mutex_unlock(&transport->lock);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static hmc_status_t submit(void *block, hmci_operation_t *operations, uint32_t count) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  hmc_status_t status = connection->failed;
  if (status == HMC_SUCCESS) {
    bool awaited = operations->awaited;
    for (uint32_t i = 0; i < count; i++) hmci_verbs_queue_add(connection, &operations[i]);
    hmci_verbs_queue_pump(connection); /* what completes at once may be gone now */
    if (!awaited) hmci_verbs_settle_soon(connection->device);
  }
  pthread_mutex_unlock(&connection->transport->lock);
  return status == HMC_SUCCESS ? status : hmci_fail(status, "the peer is gone");
}

static const hmci_transport_ops_t table = {
    .type = HMC_CONNECTION_RDMA,
    .name = "verbs",
    .transport_size = sizeof(verbs_transport_t),
    .connection_size = sizeof(verbs_connection_t),
    .remote_size = sizeof(verbs_remote_t),
    .checksums = true,
    .probe = probe,
    .open = open_transport,
    .close = close_transport,
    .reachable = reachable,
    .connection_open = connection_open,
    .connection_accept = connection_accept,
    .connection_dial = connection_dial,
    .adopt = adopt,
    .connection_fail = hmci_verbs_fail,
    .connection_close = connection_close,
    .explain = explain,
    .region_export = hmci_verbs_region_export,
    .region_revoke = hmci_verbs_region_revoke,
    .remote_open = hmci_verbs_remote_open,
    .remote_close = hmci_verbs_remote_close,
    .remote_explain = hmci_verbs_remote_explain,
    .submit = submit,
    .wait = hmci_verbs_wait,
    .progress = hmci_verbs_progress,
    .cancel = hmci_verbs_cancel,
};

HMCI_MODULE(table);
