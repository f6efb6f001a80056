/* Setups: connecting and opening as requests (see setup.h). */
#include "setup.h"
#include "../base/thread.h"
#include "handshake.h"
#include "request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a setup brings. */
typedef struct result {
  hmc_peer_t *peer;
  hmc_remote_t *remote;
  uint64_t offset;
} result_t;

typedef struct hmci_setup {
  hmci_list_t link;            /* setups->waiting or running */
  hmc_request_t *request;      /* NULL: it has ended, and nobody wants what comes of it */
  hmci_setup_thread_t *thread; /* that runs it */
  hmc_context_t *context;
  uint64_t deadline;

  hmc_status_t (*run)(struct hmci_setup *setup, result_t *result);
  hmc_peer_t *peer; /* whose region is opened; NULL: it connects */
  char name[HMC_REGION_NAME_SIZE];
  uint64_t address, bytes;
  char host[HMCI_HOST_TEXT];
  uint16_t port;
  hmc_connection_type_t type;

  /* Where the program wants the result. */
  hmc_peer_t **peer_out;
  hmc_remote_t **remote_out;
  uint64_t *offset_out;
} hmci_setup_t;

/* ---- running ----------------------------------------------------------------------------------------------------- */

static hmc_status_t run_connect(hmci_setup_t *setup, result_t *result) {
  return hmci_handshake_connect(setup->context, setup->host, setup->port, setup->type, setup->deadline, &result->peer);
}

static hmc_status_t run_open(hmci_setup_t *setup, result_t *result) {
  return hmci_remote_open(setup->peer, setup->name, setup->deadline, &result->remote);
}

static hmc_status_t run_find(hmci_setup_t *setup, result_t *result) {
  return hmci_remote_find(setup->peer, setup->address, setup->bytes, setup->deadline, &result->remote, &result->offset);
}

static void drop_result(const result_t *result) {
  hmc_peer_close(result->peer);
  hmc_remote_close(result->remote);
}

/* Its request ends with that status. With `lock` held; the request may be gone when it returns. */
static void complete(hmci_setup_t *setup, hmc_status_t status, const char *text) {
  hmc_request_t *request = setup->request;
  setup->request = NULL;
  request->setup = NULL;
  if (status != HMC_SUCCESS && text) request->text = strdup(text); /* without memory for it the status speaks alone */
  hmci_operation_complete(hmci_request_last(request), status);
}

/* What a thread brings; true: the program has taken it. With `lock` held. */
static bool deliver(hmci_setup_t *setup, hmc_status_t status, const result_t *result) {
  if (!setup->request) return false;
  if (status == HMC_SUCCESS && setup->peer_out) *setup->peer_out = result->peer;
  if (status == HMC_SUCCESS && setup->remote_out) *setup->remote_out = result->remote;
  if (status == HMC_SUCCESS && setup->offset_out) *setup->offset_out = result->offset;
  setup->request->peer_made = result->peer;
  setup->request->remote = result->remote;
  complete(setup, status, status == HMC_SUCCESS ? NULL : hmc_last_error());
  return true;
}

/* Runs the oldest one. With `lock` held, which it lets go meanwhile. */
static void run_oldest(hmci_setups_t *setups, hmci_setup_thread_t *thread) {
  hmci_setup_t *setup = HMCI_CONTAINER(setups->waiting.next, hmci_setup_t, link);
  result_t result = {0};
  hmci_list_remove(&setup->link);
  setups->waiting_count--;
  hmci_list_append(&setups->running, &setup->link);
  setup->thread = thread;
  pthread_mutex_unlock(&setups->lock);
  hmc_status_t status = setup->run(setup, &result);
  pthread_mutex_lock(&setups->lock);
  bool taken = deliver(setup, status, &result);
  if (!taken && status == HMC_SUCCESS) { /* it stays among those that run: its peer is used until this is done */
    pthread_mutex_unlock(&setups->lock);
    drop_result(&result);
    pthread_mutex_lock(&setups->lock);
  }
  hmci_list_remove(&setup->link);
  hmci_stop_clear(&thread->stop);
  free(setup);
  pthread_cond_broadcast(&setups->left);
}

static void *serve(void *argument) {
  hmci_setup_thread_t *thread = argument;
  hmci_setups_t *setups = thread->setups;
  hmci_stop_follow(&thread->stop);
  pthread_mutex_lock(&setups->lock);
  for (;;) {
    while (!setups->ending && hmci_list_is_empty(&setups->waiting)) {
      setups->idle++;
      pthread_cond_wait(&setups->wanted, &setups->lock);
      setups->idle--;
    }
    if (setups->ending) break;
    run_oldest(setups, thread);
  }
  pthread_mutex_unlock(&setups->lock);
  return NULL;
}

/* One thread more, with all signals blocked: they are the program's. With `lock` held. */
static hmc_status_t add_thread(hmci_setups_t *setups) {
  hmci_setup_thread_t *thread = calloc(1, sizeof *thread);
  if (!thread) return hmci_fail(HMC_NO_MEMORY, "no memory for a thread that connects");
  thread->setups = setups;
  hmc_status_t status = hmci_stop_open(&thread->stop);
  if (status != HMC_SUCCESS) {
    free(thread);
    return status;
  }
  int error = hmci_thread_create(&thread->thread, serve, thread);
  if (error) {
    hmci_stop_close(&thread->stop);
    free(thread);
    return hmci_fail(HMC_NO_MEMORY, "no thread to connect by: %s", strerror(error));
  }
  pthread_setname_np(thread->thread, "hmc-setup");
  setups->threads[setups->count++] = thread;
  return HMC_SUCCESS;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* With `lock` held. The setup may be gone when it returns. */
static void end(hmci_setup_t *setup, hmc_status_t status) {
  char text[HMCI_REASON_SIZE + HMCI_WHERE_SIZE];
  bool runs = setup->thread;
  if (runs) hmci_stop_ask(&setup->thread->stop);
  if (runs && setup->peer) hmci_session_stir(setup->peer);
  if (setup->request) {
    const hmci_far_end_t *far = &setup->request->end;
    snprintf(text, sizeof text, "%s %s%s%s: %s", hmci_operation_name(setup->request->chain[0].kind), far->where,
             far->region[0] ? ", " : "", far->region, status == HMC_TIMEOUT ? "deadline passed" : "cancelled");
    complete(setup, status, text);
  }
  if (runs) return;
  hmci_list_remove(&setup->link);
  setup->context->setups.waiting_count--;
  free(setup);
}

void hmci_setup_end(hmc_request_t *request, hmc_status_t status) {
  hmci_setups_t *setups = &request->context->setups;
  pthread_mutex_lock(&setups->lock);
  if (request->setup) end(request->setup, status);
  pthread_mutex_unlock(&setups->lock);
}

/* Ends those of a peer, or all (NULL), in one of the lists. */
static void end_list(hmci_list_t *list, const hmc_peer_t *peer, hmc_status_t status) {
  for (hmci_list_t *link = list->next; link != list;) {
    hmci_setup_t *setup = HMCI_CONTAINER(link, hmci_setup_t, link);
    link = link->next;
    if (!peer || setup->peer == peer) end(setup, status);
  }
}

static bool is_running(const hmci_setups_t *setups, const hmc_peer_t *peer) {
  for (const hmci_list_t *link = setups->running.next; link != &setups->running; link = link->next) {
    if (HMCI_CONTAINER(link, hmci_setup_t, link)->peer == peer) return true;
  }
  return false;
}

void hmci_setups_end(hmci_setups_t *setups, const hmc_peer_t *peer, hmc_status_t status, bool wait) {
  pthread_mutex_lock(&setups->lock);
  end_list(&setups->waiting, peer, status);
  end_list(&setups->running, peer, status);
  while (wait && is_running(setups, peer)) pthread_cond_wait(&setups->left, &setups->lock);
  pthread_mutex_unlock(&setups->lock);
}

void hmci_setups_stop(hmci_setups_t *setups) {
  pthread_mutex_lock(&setups->lock);
  setups->ending = true;
  end_list(&setups->waiting, NULL, HMC_CANCELLED);
  end_list(&setups->running, NULL, HMC_CANCELLED);
  pthread_cond_broadcast(&setups->wanted);
  pthread_mutex_unlock(&setups->lock);
  for (uint32_t i = 0; i < setups->count; i++) {
    pthread_join(setups->threads[i]->thread, NULL);
    hmci_stop_close(&setups->threads[i]->stop);
    free(setups->threads[i]);
  }
  setups->count = 0;
}

void hmci_setups_open(hmci_setups_t *setups) {
  pthread_mutex_init(&setups->lock, NULL);
  pthread_cond_init(&setups->wanted, NULL);
  pthread_cond_init(&setups->left, NULL);
  hmci_list_init(&setups->waiting);
  hmci_list_init(&setups->running);
}

void hmci_setups_close(hmci_setups_t *setups) {
  pthread_cond_destroy(&setups->left);
  pthread_cond_destroy(&setups->wanted);
  pthread_mutex_destroy(&setups->lock);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* There is no data, so nothing that goes with it. */
static hmc_status_t check_options(const hmc_operation_options_t *options, const char *call) {
  if (options->flags & ~(unsigned)HMC_OPERATION_EVENT || options->signal || options->notification_size ||
      options->lease || options->event)
    return hmci_fail(HMC_INVALID_CONFIG, "%s: of the options only a deadline, HMC_OPERATION_EVENT and a callback apply",
                     call);
  return HMC_SUCCESS;
}

/* Takes the setup, in any case. */
static hmc_status_t start(hmci_setup_t *setup, const hmc_operation_options_t *given, const char *call,
                          hmc_request_t **out) {
  hmc_context_t *context = setup->context;
  hmci_setups_t *setups = &context->setups;
  hmc_operation_options_t options;
  hmc_status_t status = hmci_sized_read(&options, sizeof options, given, "hmc_operation_options_t");
  if (status == HMC_SUCCESS) status = check_options(&options, call);
  hmc_request_t *request = NULL;
  setup->deadline = hmci_context_deadline(context, status == HMC_SUCCESS ? options.timeout_ms : 0);
  if (status == HMC_SUCCESS && !(request = hmci_request_take(context, setup->peer, NULL, setup->deadline)))
    status = HMC_NO_MEMORY;
  if (status != HMC_SUCCESS) goto err_setup;
  hmci_request_init(request, &options);
  request->is_setup = true;
  request->remote = NULL;
  request->peer_made = NULL;
  hmci_request_make_single(request, (hmci_operation_kind_t)(setup->peer ? HMCI_LOOK_UP : HMCI_CONNECT));
  hmci_where(request->end.where, setup->host, setup->port);
  if (setup->peer) memcpy(request->end.where, setup->peer->where, sizeof request->end.where);
  snprintf(request->end.region, sizeof request->end.region, "%s", setup->name);
  request->setup = setup;
  setup->request = request;
  *out = request; /* before the callback can run */
  pthread_mutex_lock(&setups->lock);
  if (setups->ending) status = hmci_fail(HMC_CANCELLED, "%s: the context ends", call);
  bool busy = setups->waiting_count >= setups->idle && setups->count < HMCI_SETUP_THREADS;
  if (status == HMC_SUCCESS && busy) status = add_thread(setups);
  if (status != HMC_SUCCESS && setups->count && !setups->ending)
    status = HMC_SUCCESS; /* another thread does it, later */
  if (status == HMC_SUCCESS) {
    hmci_list_append(&setups->waiting, &setup->link);
    setups->waiting_count++;
    pthread_cond_signal(&setups->wanted);
  }
  pthread_mutex_unlock(&setups->lock);
  if (status != HMC_SUCCESS) goto err_request;
  hmci_requests_set_timer(context, request->deadline);
  hmci_request_started(request);
  return HMC_SUCCESS;

err_request:
  *out = NULL;
  request->setup = NULL;
  atomic_store(&request->starting, false);
  hmci_request_give(request);
err_setup:
  free(setup);
  return status;
}

static hmci_setup_t *make(hmc_context_t *context, hmc_peer_t *peer) {
  hmci_setup_t *setup = calloc(1, sizeof *setup);
  if (!setup) {
    hmci_fail(HMC_NO_MEMORY, "no memory to connect or open");
    return NULL;
  }
  hmci_list_init(&setup->link);
  setup->context = context;
  setup->peer = peer;
  return setup;
}

hmc_status_t hmc_context_connect_nb(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                                    const hmc_operation_options_t *options, hmc_peer_t **peer,
                                    hmc_request_t **request) {
  if (!context || !ip || !peer || !request)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_connect_nb: context, ip, peer or request is NULL");
  char host[HMCI_HOST_TEXT];
  hmc_status_t status = hmci_handshake_check(context, ip, type, host, &port);
  if (status != HMC_SUCCESS) return status;
  hmci_setup_t *setup = make(context, NULL);
  if (!setup) return HMC_NO_MEMORY;
  memcpy(setup->host, host, sizeof host);
  setup->run = run_connect;
  setup->port = port;
  setup->type = type;
  setup->peer_out = peer;
  return start(setup, options, "hmc_context_connect_nb", request);
}

hmc_status_t hmc_remote_open_nb(hmc_peer_t *peer, const char *name, const hmc_operation_options_t *options,
                                hmc_remote_t **remote, hmc_request_t **request) {
  if (!peer || !name || !remote || !request)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_open_nb: peer, name, remote or request is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_remote_check_name(name);
  if (status != HMC_SUCCESS) return status;
  hmci_setup_t *setup = make(peer->context, peer);
  if (!setup) return HMC_NO_MEMORY;
  snprintf(setup->name, sizeof setup->name, "%s", name);
  setup->run = run_open;
  setup->remote_out = remote;
  return start(setup, options, "hmc_remote_open_nb", request);
}

hmc_status_t hmc_remote_find_nb(hmc_peer_t *peer, uint64_t address, uint64_t bytes,
                                const hmc_operation_options_t *options, hmc_remote_t **remote, uint64_t *offset,
                                hmc_request_t **request) {
  if (!peer || !remote || !offset || !request)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_find_nb: peer, remote, offset or request is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmci_setup_t *setup = make(peer->context, peer);
  if (!setup) return HMC_NO_MEMORY;
  setup->run = run_find;
  setup->address = address;
  setup->bytes = bytes;
  setup->remote_out = remote;
  setup->offset_out = offset;
  return start(setup, options, "hmc_remote_find_nb", request);
}
