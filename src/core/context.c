/* Contexts: making and ending them. */
#include "core.h"
#include "exporter.h"

#include "../base/recorder.h"
#include "../base/socket.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define NANOSECONDS_PER_MILLISECOND 1000000u

/* ---- making and ending ------------------------------------------------------------------------------------------- */

/* A word that is 1 here and 0 in a forked child. */
static hmc_status_t make_fork_mark(hmc_context_t *context) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  _Atomic uint32_t *mark = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mark == MAP_FAILED) return hmci_fail(HMC_NO_MEMORY, "mmap failed: %s", strerror(errno));
  if (madvise(mark, page, MADV_WIPEONFORK)) {
    hmc_status_t status =
        hmci_fail(HMC_UNSUPPORT, "this kernel has no MADV_WIPEONFORK (Linux 4.14): %s", strerror(errno));
    munmap(mark, page);
    return status;
  }
  atomic_store(mark, 1);
  context->here = mark;
  return HMC_SUCCESS;
}

static void free_fork_mark(hmc_context_t *context) {
  munmap((void *)(uintptr_t)context->here, (size_t)sysconf(_SC_PAGESIZE));
}

static void name_context(hmc_context_t *context, const char *name) {
  snprintf(context->name, sizeof context->name, "%s", name && *name ? name : program_invocation_short_name);
}

/* Tried on a socket of its own, so that a wrong name fails here and not by a connection that fails. */
static hmc_status_t check_congestion(const char *name) {
  if (strcmp(name, "auto") == 0) return HMC_SUCCESS;
  int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return hmci_fail(HMC_NO_MEMORY, "no socket: %s", strerror(errno));
  hmc_status_t status = hmci_socket_set_congestion(descriptor, name);
  close(descriptor);
  return status;
}

static void connection_lost(const hmci_host_t *host, void *connection, const char *reason) {
  (void)host;
  hmci_connection_lose(HMCI_CONTAINER(connection, hmci_connection_t, state), reason);
}

static const hmci_host_t *service_of(const hmci_host_t *host, void *connection) {
  (void)host;
  return HMCI_CONTAINER(connection, hmci_connection_t, state)->peer->service;
}

/* A transport that cannot be opened is not there, and says why; the context is made without it. */
static hmc_status_t open_transports(hmc_context_t *context) {
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    slot->ops = hmci_transports[i];
    void *state = hmci_allocate_aligned(slot->ops->transport_size);
    if (!state) return hmci_fail(HMC_NO_MEMORY, "no memory for a transport");
    if (hmci_transport_probe(slot->ops, context->settings.transports, slot->reason) == HMC_SUCCESS) {
      if (slot->ops->open(state, &context->host, &slot->offer) == HMC_SUCCESS) {
        slot->state = state;
        continue;
      }
      snprintf(slot->reason, sizeof slot->reason, "%s", hmc_last_error());
    }
    free(state);
  }
  return HMC_SUCCESS;
}

static void close_transports(hmc_context_t *context) {
  for (size_t i = 0; i < hmci_transport_count; i++) {
    hmci_transport_slot_t *slot = &context->transports[i];
    if (slot->state) slot->ops->close(slot->state);
    free(slot->state);
    slot->state = NULL;
  }
}

static void init_locks(hmc_context_t *context) {
  pthread_mutex_init(&context->lock, NULL);
  pthread_mutex_init(&context->region_lock, NULL);
  pthread_mutex_init(&context->request_lock, NULL);
  pthread_mutex_init(&context->blocking.lock, NULL);
  pthread_mutex_init(&context->delay.lock, NULL);
  pthread_mutex_init(&context->callback.lock, NULL);
  pthread_mutex_init(&context->checksum.lock, NULL);
  pthread_mutex_init(&context->queue.lock, NULL);
  hmci_events_open(&context->events);
  hmci_setups_open(&context->setups);
}

static void end_state(hmc_context_t *context) {
  hmci_staging_close(&context->staging);
  free(context->stats);
  hmci_table_close(&context->tokens);
  hmci_setups_close(&context->setups);
  hmci_events_close(&context->events);
  pthread_mutex_destroy(&context->queue.lock);
  pthread_mutex_destroy(&context->checksum.lock);
  pthread_mutex_destroy(&context->callback.lock);
  pthread_mutex_destroy(&context->delay.lock);
  pthread_mutex_destroy(&context->blocking.lock);
  pthread_mutex_destroy(&context->request_lock);
  hmci_requests_close(context);
  pthread_mutex_destroy(&context->region_lock);
  pthread_mutex_destroy(&context->lock);
}

/* Strangers take at most a quarter of the descriptors. */
static uint32_t count_stranger_room(void) {
  struct rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur / 4 > HMCI_STRANGERS) return HMCI_STRANGERS;
  return files.rlim_cur < 64 ? 16 : (uint32_t)(files.rlim_cur / 4);
}

/* All that cannot fail. */
static void init_state(hmc_context_t *context) {
  init_locks(context);
  hmci_staging_open(&context->staging, context->settings.staging);
  hmci_list_init(&context->accept.listeners);
  hmci_list_init(&context->accept.strangers);
  hmci_list_init(&context->accept.callers);
  hmci_list_init(&context->accept.handshakes);
  context->accept.stranger_room = count_stranger_room();
  context->accept.times = (hmci_accept_times_t)HMCI_ACCEPT_TIMES;
  hmci_list_init(&context->peers);
  hmci_list_init(&context->lease.list);
  hmci_requests_open(context);
  hmci_workers_open(&context->workers);
  hmci_list_init(&context->blocking.list);
  hmci_list_init(&context->callback.due);
  hmci_list_init(&context->checksum.list);
  hmci_list_init(&context->delay.list);
  hmci_list_init(&context->queue.list);
  hmci_timer_init(&context->request_timer, hmci_requests_expire);
  hmci_timer_init(&context->lease.timer, hmci_leases_expire);
  context->lease.next_look = HMCI_NEVER;
  hmci_timer_init(&context->callback.timer, hmci_requests_call_back);
  context->callback.timer.outside = true; /* the program's code may close what is another context's */
  hmci_timer_init(&context->checksum.timer, hmci_checksums_run);
  hmci_timer_init(&context->delay.timer, hmci_delays_run);
  hmci_timer_init(&context->accept.timer, hmci_listening_resume);
  hmci_timer_init(&context->accept.stop, hmci_listening_settle);
  atomic_store(&context->waitset.event, -1);
  atomic_init(&context->request_check, HMCI_NEVER);
  hmci_random(&context->generation, sizeof context->generation);
  hmci_random(&context->lease.serial, sizeof context->lease.serial);
  context->host = (hmci_host_t){
      .settings = &context->settings,
      .owner = context,
      .service = service_of,
      .staging = &context->staging,
      .region_acquire = hmci_region_acquire,
      .region_release = hmci_region_release,
      .lease_acquire = hmci_lease_acquire,
      .dial = hmci_handshake_dial_stream,
      .want = hmci_data_want,
      .notify = hmci_notification_put,
      .connection_lost = connection_lost,
  };
  hmci_random(&context->host.incarnation, sizeof context->host.incarnation);
}

/* A secret of the context's own takes the place of all that the environment says. */
static hmc_status_t set_secret(hmci_settings_t *settings, const char *secret) {
  if (!secret) return HMC_SUCCESS;
  size_t length = strlen(secret);
  if (!length || length >= sizeof settings->secret)
    return hmci_fail(HMC_INVALID_CONFIG, "a secret of %zu bytes: give 1 to %zu", length, sizeof settings->secret - 1);
  memcpy(settings->secret, secret, length + 1);
  settings->secret_file[0] = '\0';
  return HMC_SUCCESS;
}

hmc_status_t hmc_context_create(const hmc_context_options_t *given, hmc_context_t **out) {
  if (!out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_create: context is NULL");
  hmc_context_options_t options;
  hmc_status_t status = hmci_sized_read(&options, sizeof options, given, "hmc_context_options_t");
  if (status != HMC_SUCCESS) return status;
  if (options.flags & ~(uint64_t)HMC_CONTEXT_SHARE_THREADS)
    return hmci_fail(HMC_UNSUPPORT, "hmc_context_options_t: flags 0x%llx", (unsigned long long)options.flags);
  hmc_context_t *context = hmci_allocate_aligned(sizeof *context);
  if (!context) return hmci_fail(HMC_NO_MEMORY, "no memory for a context");
  hmci_list_init(&context->link);
  hmci_settings_warn();
  status = hmci_settings_read(&context->settings);
  if (status == HMC_SUCCESS) status = set_secret(&context->settings, options.secret);
  if (status == HMC_SUCCESS) status = hmci_transports_check(context->settings.transports);
  if (status == HMC_SUCCESS) status = check_congestion(context->settings.tcp_congestion);
  if (status == HMC_SUCCESS && context->settings.recorder[0]) status = hmci_recorder_open(context->settings.recorder);
  if (status != HMC_SUCCESS) goto err_free;
  status = hmci_secret_load(&context->settings, &context->secret);
  if (status != HMC_SUCCESS) goto err_free;
  name_context(context, options.name);
  context->timeout_ms =
      options.timeout_ms ? options.timeout_ms : context->settings.timeout / NANOSECONDS_PER_MILLISECOND;
  if (!context->timeout_ms) context->timeout_ms = 1;
  context->shares = options.flags & HMC_CONTEXT_SHARE_THREADS;
  status = make_fork_mark(context);
  if (status != HMC_SUCCESS) goto err_secret;

  init_state(context);
  context->stats = hmci_allocate_aligned(sizeof *context->stats);
  status = context->stats ? hmci_services_open(context) : hmci_fail(HMC_NO_MEMORY, "no memory for counters");
  if (status != HMC_SUCCESS) goto err_services;
  status = open_transports(context);
  if (status != HMC_SUCCESS) goto err_transports;
  hmci_metrics_enter(context);
  context->exported = hmci_exporter_enter(context->settings.metrics);
  hmci_record(HMC_RECORD_CONTEXT, HMC_SUCCESS, 0, 0, context->name);
  *out = context;
  return HMC_SUCCESS;

err_transports:
  close_transports(context);
err_services:
  hmci_services_close(context);
  end_state(context);
  free_fork_mark(context);
err_secret:
  hmci_secret_wipe(&context->secret);
err_free:
  free(context);
  return status;
}

/* Any peer, from now on the caller's to close: the loop takes back only those that nobody has accepted yet. */
static hmc_peer_t *take_peer(hmc_context_t *context) {
  hmc_peer_t *peer = NULL;
  hmci_loop_lock(context->loop);
  pthread_mutex_lock(&context->lock);
  if (!hmci_list_is_empty(&context->peers)) {
    peer = HMCI_CONTAINER(context->peers.next, hmc_peer_t, link);
    if (peer->first) peer = peer->first;
    hmci_event_drop(&context->events, &peer->arrival);
  }
  pthread_mutex_unlock(&context->lock);
  hmci_loop_unlock(context->loop);
  return peer;
}

void hmc_context_destroy(hmc_context_t *context) {
  if (!context) return;
  if (hmci_context_is_foreign(context)) return; /* all of it is the parent's; its descriptors close with exec or exit */
  hmc_status_t status = hmci_context_check_waiting(context, "hmc_context_destroy");
  if (status == HMC_SUCCESS && hmci_context_is_calling_back(context))
    status = hmci_fail(HMC_UNSUPPORT, "hmc_context_destroy in a callback would free its request: call it elsewhere");
  if (status != HMC_SUCCESS) {
    hmci_log(HMC_LOG_ERROR, "%s", hmc_last_error());
    return;
  }
  hmci_record(HMC_RECORD_CONTEXT, HMC_CANCELLED, 0, 0, context->name);
  if (context->exported) hmci_exporter_leave();
  hmci_metrics_leave(context);
  hmci_events_interrupt(&context->events, true);
  hmci_setups_stop(&context->setups);
  hmci_listening_end(context);
  hmci_handshake_cancel_all(context);
  hmc_peer_t *peer;
  while ((peer = take_peer(context))) hmc_peer_close(peer);
  hmci_queues_destroy(context);
  hmci_workers_close(&context->workers);
  hmci_requests_destroy(context);
  hmci_notifications_destroy(context);
  hmci_regions_close(context);
  hmci_leases_destroy(context);
  close_transports(context);
  hmci_services_close(context);
  end_state(context);
  free_fork_mark(context);
  hmci_secret_wipe(&context->secret);
  free(context);
}
