/* Setups: the threads that run them, and their end (see setup.h). What they do stands in setup_start.c. */
#include "../base/thread.h"
#include "setup_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- running ----------------------------------------------------------------------------------------------------- */

/* Its request ends with that status. With `lock` held; the request may be gone when it returns. */
static void complete(hmci_setup_t *setup, hmc_status_t status, const char *text) {
  hmc_request_t *request = setup->request;
  setup->request = NULL;
  request->setup = NULL;
  if (status != HMC_SUCCESS && text) request->text = strdup(text); /* without memory for it the status speaks alone */
  hmci_operation_complete(hmci_request_last(request), status);
}

/* What a thread brings; true: the program has taken it. With `lock` held. */
static bool deliver(hmci_setup_t *setup, hmc_status_t status, const hmci_setup_result_t *result) {
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
  hmci_setup_result_t result = {0};
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
    setup->drop(&result);
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

hmc_status_t hmci_setups_add_thread(hmci_setups_t *setups) {
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

hmc_status_t hmci_setup_enqueue(hmci_setup_t *setup, const char *call) {
  hmci_setups_t *setups = &setup->context->setups;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&setups->lock);
  if (setups->ending) status = hmci_fail(HMC_CANCELLED, "%s: the context ends", call);
  bool busy = setups->waiting_count >= setups->idle && setups->count < HMCI_SETUP_THREADS;
  if (status == HMC_SUCCESS && busy) status = hmci_setups_add_thread(setups);
  if (status != HMC_SUCCESS && setups->count && !setups->ending)
    status = HMC_SUCCESS; /* another thread does it, later */
  if (status == HMC_SUCCESS) {
    hmci_list_append(&setups->waiting, &setup->link);
    setups->waiting_count++;
    pthread_cond_signal(&setups->wanted);
  }
  pthread_mutex_unlock(&setups->lock);
  return status;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

/* With `lock` held. The setup may be gone when it returns. */
static void end(hmci_setup_t *setup, hmc_status_t status) {
  char text[HMCI_REASON_SIZE + HMCI_WHERE_SIZE];
  bool runs = setup->thread;
  if (runs) hmci_stop_ask(&setup->thread->stop);
  if (runs && setup->peer) hmci_peer_stir(setup->peer);
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
