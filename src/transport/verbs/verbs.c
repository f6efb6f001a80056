/* verbs: the table. See verbs.h for how it works. */
#include "verbs.h"

#include "../../base/stop.h"
#include "../module.h"
#include "notes.h"
#include "pairing.h"
#include "poll.h"
#include "pump.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum { ALLOWANCE_LEAST = 64 << 20 };
enum { STOP_LOOK = 100000000 }; /* nanoseconds between looks at whether to give up */

/* ---- the transport ----------------------------------------------------------------------------------------------- */

/* Pinning is not limited for who has this capability. */
static bool may_lock_all(void) {
  enum { IPC_LOCK = 14 };
  char line[128];
  unsigned long long effective = 0;
  FILE *file = fopen("/proc/self/status", "re");
  while (file && fgets(line, sizeof line, file) && sscanf(line, "CapEff: %llx", &effective) != 1) continue;
  if (file) fclose(file);
  return effective >> IPC_LOCK & 1;
}

/* Says so where too little may be pinned for staging and for regions worth the name. */
static void add_allowance(char *reason, size_t size) {
  struct rlimit limit;
  size_t used = strlen(reason);
  if (getrlimit(RLIMIT_MEMLOCK, &limit) || limit.rlim_cur >= ALLOWANCE_LEAST || may_lock_all()) return;
  snprintf(reason + used, size - used,
           "; but only %llu KiB may be pinned (ulimit -l), and more is staged or fails: raise memlock (docs/rdma.md)",
           (unsigned long long)limit.rlim_cur >> 10);
}

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
  if (count) add_allowance(reason, size);
  return count ? HMC_SUCCESS : HMC_UNSUPPORT;
}

static hmc_status_t check_settings(const hmci_settings_t *settings) {
  const char *flush = settings->verbs_flush;
  if (strcmp(flush, "auto") != 0 && strcmp(flush, "yes") != 0 && strcmp(flush, "no") != 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "HMC_RDMA_FLUSH=%.64s: takes auto, yes or no", flush);
  }
  if (settings->encrypt) return hmci_fail(HMC_UNSUPPORT, "HMC_ENCRYPT is on here, and RDMA cannot encrypt");
  return HMC_SUCCESS;
}

static const verbs_upward_t upward = {
    .look = hmci_verbs_look,
    .on_channel = hmci_verbs_on_channel,
    .on_event = hmci_verbs_on_event,
    .take_note = hmci_verbs_take_note,
    .settle = hmci_verbs_settle,
    .register_soon = hmci_verbs_register_soon,
};

static hmc_status_t open_transport(void *self, const hmci_host_t *host, hmci_blob_t *offer) {
  verbs_transport_t *transport = self;
  transport->host = host;
  transport->upward = &upward;
  hmc_status_t status = check_settings(host->settings);
  if (status == HMC_SUCCESS) status = hmci_verbs_devices_open(transport, host->settings->verbs_device);
  if (status != HMC_SUCCESS) return status;
  hmci_list_init(&transport->connections);
  hmci_list_init(&transport->touched);
  pthread_mutex_init(&transport->lock, NULL);
  pthread_cond_init(&transport->wanted, NULL);
  pthread_cond_init(&transport->registered, NULL);
  hmci_verbs_memory_begin(transport);
  hmci_verbs_offer_encode(offer, transport->gids, transport->gid_count, (uint8_t)host->settings->verbs_rails);
  return HMC_SUCCESS;
}

static void close_transport(void *self) {
  verbs_transport_t *transport = self;
  hmci_verbs_registrar_end(transport);
  hmci_verbs_memory_tidy(transport);
  hmci_verbs_devices_close(transport);
  free(transport->numbers);
  pthread_cond_destroy(&transport->registered);
  pthread_cond_destroy(&transport->wanted);
  pthread_mutex_destroy(&transport->lock);
}

/* What is left of two offers once the devices of a rail are taken. */
typedef struct choice {
  verbs_gid_t here[VERBS_OFFERS], there[VERBS_OFFERS];
  uint32_t here_count, there_count, rails;
} choice_t;

/* This side's GIDs whose port is up, and the peer's. */
static hmc_status_t list_choice(verbs_transport_t *transport, const hmci_blob_t *offer, choice_t *choice) {
  uint8_t rails;
  choice->here_count = 0;
  hmc_status_t status = hmci_verbs_offer_decode(offer, choice->there, &choice->there_count, &rails);
  if (status != HMC_SUCCESS) return status;
  for (uint32_t i = 0; i < transport->gid_count; i++) {
    if (hmci_verbs_port_is_up(&transport->ports[i])) choice->here[choice->here_count++] = transport->gids[i];
  }
  if (!choice->here_count)
    return hmci_fail(HMC_UNSUPPORT, "no port of an RDMA device is up here (ibv_devinfo shows the states: a cable, a "
                                    "driver, on InfiniBand a subnet manager)");
  uint64_t mine = transport->host->settings->verbs_rails;
  choice->rails = rails < mine ? rails : (uint32_t)mine;
  return HMC_SUCCESS;
}

static void take_device(verbs_gid_t *gids, uint32_t *count, uint8_t device) {
  uint32_t kept = 0;
  for (uint32_t i = 0; i < *count; i++) {
    if (gids[i].device != device) gids[kept++] = gids[i];
  }
  *count = kept;
}

/* The best pair of GIDs of devices that no rail has yet. */
static hmc_status_t choose(choice_t *choice, verbs_gid_t *mine, verbs_gid_t *theirs) {
  uint32_t my_choice, their_choice;
  hmc_status_t status = hmci_verbs_gid_choose(choice->here, choice->here_count, choice->there, choice->there_count,
                                              hmci_verbs_route, &my_choice, &their_choice);
  if (status != HMC_SUCCESS) return status;
  *mine = choice->here[my_choice];
  *theirs = choice->there[their_choice];
  take_device(choice->here, &choice->here_count, mine->device);
  take_device(choice->there, &choice->there_count, theirs->device);
  return HMC_SUCCESS;
}

/* What the first rail to the peer of that offer would go by. */
static hmc_status_t choose_first(verbs_transport_t *transport, const hmci_blob_t *offer, verbs_gid_t *mine) {
  choice_t choice;
  verbs_gid_t theirs;
  hmc_status_t status = list_choice(transport, offer, &choice);
  return status == HMC_SUCCESS ? choose(&choice, mine, &theirs) : status;
}

static hmc_status_t reachable(void *self, const hmci_blob_t *offer) {
  verbs_gid_t mine;
  return choose_first(self, offer, &mine);
}

/* A device in software sends what it gets packet by packet through the network stack of the kernel, which takes tcp's
 * bytes 64 KiB at a time; docs/rdma.md has figures. */
static hmc_status_t suits_auto(void *self, const hmci_blob_t *offer) {
  verbs_transport_t *transport = self;
  verbs_gid_t mine;
  hmc_status_t status = choose_first(transport, offer, &mine);
  if (status != HMC_SUCCESS) return status;
  const verbs_device_t *device = &transport->devices[mine.device];
  if (!hmci_verbs_device_is_software(device)) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT, "%s is a device in software, slower than tcp; require rdma to use it all the same",
                   ibv_get_device_name(device->context->device));
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void init_rails(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < VERBS_RAILS; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    rail->connection = connection;
    rail->index = i;
    hmci_timer_init(&rail->retry, hmci_verbs_on_retry);
  }
}

static hmc_status_t connection_open(void *self, void *block, hmci_role_t role, hmci_blob_t *data) {
  verbs_transport_t *transport = self;
  verbs_connection_t *connection = block;
  connection->transport = transport;
  connection->role = role;
  connection->request_first = connection->request_next = 1;
  connection->window = VERBS_WINDOW;
  hmci_list_init(&connection->touch);
  hmci_list_init(&connection->remotes);
  hmci_list_init(&connection->queue);
  init_rails(connection);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&connection->changed, &monotonic);
  pthread_condattr_destroy(&monotonic);
  pthread_mutex_lock(&transport->lock);
  hmci_list_append(&transport->connections, &connection->link);
  hmci_verbs_slots_join(transport);
  pthread_mutex_unlock(&transport->lock);
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
                            : hmci_verbs_notes_open(connection, pipe);
  pthread_mutex_unlock(&connection->transport->lock);
  return status;
}

/* Has each rail been tried? `up`: one of them at least with success. */
static bool is_settled(const verbs_connection_t *connection, bool *up) {
  bool tried = true;
  *up = false;
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    tried = tried && connection->rails[i].tried;
    *up = *up || connection->rails[i].phase == VERBS_UP;
  }
  return tried;
}

/* Waits until the first round of all rails has shown whether packets get through. */
static hmc_status_t wait_until_settled(verbs_connection_t *connection, uint64_t deadline) {
  bool up, settled;
  while (!(settled = is_settled(connection, &up)) && !connection->failed && !connection->cut && hmci_now() < deadline) {
    if (hmci_stop_is_asked()) return hmci_fail(HMC_CANCELLED, "cancelled");
    uint64_t look = hmci_now() + STOP_LOOK, next = look < deadline ? look : deadline;
    struct timespec until = {.tv_sec = (time_t)(next / 1000000000u), .tv_nsec = (long)(next % 1000000000u)};
    pthread_cond_timedwait(&connection->changed, &connection->transport->lock, &until);
  }
  if (connection->failed || connection->cut) return hmci_fail(HMC_PEER_LOST, "the peer hung up");
  if (up) return HMC_SUCCESS;
  if (settled) return hmci_fail(HMC_UNSUPPORT, "%s", connection->refusal);
  return hmci_fail(HMC_TIMEOUT, "no answer within the deadline");
}

/* As many rails as both ends want and have devices for; one at least. */
static hmc_status_t add_rails(verbs_connection_t *connection, choice_t *choice) {
  hmc_status_t status = HMC_SUCCESS;
  while (status == HMC_SUCCESS && connection->rail_count < choice->rails) {
    verbs_gid_t mine, theirs;
    status = choose(choice, &mine, &theirs);
    if (status == HMC_SUCCESS) status = hmci_verbs_pairing_add(connection, &mine, &theirs);
  }
  return connection->rail_count ? HMC_SUCCESS : status;
}

static hmc_status_t connection_dial(void *block, const hmci_blob_t *offer, const hmci_blob_t *peer_data,
                                    uint64_t deadline) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  choice_t choice;
  hmci_pipe_t *pipe;
  hmc_status_t status = connection_accept(block, peer_data);
  if (status == HMC_SUCCESS) status = list_choice(transport, offer, &choice);
  if (status == HMC_SUCCESS) status = transport->host->dial(transport->host, connection, 0, deadline, &pipe);
  if (status != HMC_SUCCESS) return status;
  pthread_mutex_lock(&transport->lock);
  status = hmci_verbs_notes_open(connection, pipe);
  if (status != HMC_SUCCESS) {
    pipe->close(pipe);
    goto out;
  }
  status = add_rails(connection, &choice);
  if (status == HMC_SUCCESS) status = hmci_verbs_pairing_begin(connection);
  if (status == HMC_SUCCESS) status = wait_until_settled(connection, deadline);
out:
  pthread_mutex_unlock(&transport->lock);
  return status;
}

static void connection_close(void *block) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  hmci_verbs_notes_close(connection);
  for (uint32_t i = 0; i < VERBS_RAILS; i++) hmci_loop_clear_timer(transport->host->loop, &connection->rails[i].retry);
  pthread_mutex_lock(&transport->lock);
  for (uint32_t i = 0; i < VERBS_RAILS; i++) hmci_verbs_rail_close(&connection->rails[i]);
  hmci_list_remove(&connection->link);
  hmci_list_remove(&connection->touch);
  hmci_verbs_slots_leave(transport);
  hmci_verbs_asks_forget(connection);
  pthread_mutex_unlock(&transport->lock);
  pthread_cond_destroy(&connection->changed);
  hmci_verbs_memory_tidy(transport);
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

static hmc_status_t submit(void *block, hmci_operation_t *operations, uint32_t count) {
  verbs_connection_t *connection = block;
  pthread_mutex_lock(&connection->transport->lock);
  hmc_status_t status = connection->failed;
  if (status == HMC_SUCCESS) {
    bool awaited = operations->awaited, told = hmci_operation_is_told(&operations[count - 1]);
    for (uint32_t i = 0; i < count; i++) hmci_verbs_pump_add(connection, &operations[i]);
    hmci_verbs_pump(connection); /* what completes at once may be gone now */
    if (!awaited) {
      if (told || hmci_verbs_pump_is_waiting(connection)) hmci_verbs_leave_alone(connection);
      hmci_verbs_reap(connection); /* often the end of the operation before it, and who waits for that need not look */
      hmci_verbs_settle_soon(connection->transport);
    }
  }
  pthread_mutex_unlock(&connection->transport->lock);
  return status == HMC_SUCCESS ? status : hmci_fail(status, "the peer is gone");
}

static hmc_status_t wait_operation(void *connection, hmci_operation_t *operation, uint64_t spin) {
  hmci_verbs_stand_in(connection);
  return hmci_verbs_wait(connection, operation, spin);
}

static void progress(void *connection) {
  hmci_verbs_stand_in(connection);
  hmci_verbs_progress(connection);
}

static const hmci_transport_ops_t table = {
    .type = HMC_CONNECTION_RDMA,
    .name = "verbs",
    .transport_size = sizeof(verbs_transport_t),
    .connection_size = sizeof(verbs_connection_t),
    .remote_size = sizeof(verbs_remote_t),
    .checksums = true,
    .notification_most = VERBS_STAGE,
    .probe = probe,
    .open = open_transport,
    .close = close_transport,
    .reachable = reachable,
    .suits_auto = suits_auto,
    .connection_open = connection_open,
    .connection_accept = connection_accept,
    .connection_dial = connection_dial,
    .adopt = adopt,
    .connection_fail = hmci_verbs_fail,
    .connection_close = connection_close,
    .explain = hmci_verbs_explain,
    .region_export = hmci_verbs_region_export,
    .region_revoke = hmci_verbs_region_revoke,
    .lease_revoke = hmci_verbs_lease_revoke,
    .remote_open = hmci_verbs_remote_open,
    .remote_close = hmci_verbs_remote_close,
    .remote_explain = hmci_verbs_remote_explain,
    .reaches_devices = true,
    .remote_is_staged = hmci_verbs_remote_is_staged,
    .submit = submit,
    .wait = wait_operation,
    .progress = progress,
    .cancel = hmci_verbs_cancel,
};

HMCI_MODULE(table);
