/* All service loops of a process: what becomes of them in a forked child, and which are shared (see loop.h).
 *
 * Lock order: `all_lock` before the loops' tables; fork() happens with all of them held, so that the child finds the
 * tables whole. */
#include "loop_internal.h"

#include <unistd.h>

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_list_t all = {&all, &all};       /* all_lock; outer to the tables */
static hmci_list_t loose = {&loose, &loose}; /* all_lock; what is kept and is of no loop */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void before_fork(void) {
  pthread_mutex_lock(&all_lock);
  for (hmci_list_t *link = all.next; link != &all; link = link->next)
    pthread_mutex_lock(&HMCI_CONTAINER(link, hmci_loop_t, all)->table);
}

static void after_fork(void) {
  for (hmci_list_t *link = all.next; link != &all; link = link->next)
    pthread_mutex_unlock(&HMCI_CONTAINER(link, hmci_loop_t, all)->table);
  pthread_mutex_unlock(&all_lock);
}

static void close_kept(const hmci_list_t *list) {
  for (hmci_list_t *kept = list->next; kept != list; kept = kept->next)
    close(HMCI_CONTAINER(kept, hmci_kept_t, link)->descriptor);
}

/* The peers must see the parent's sockets close when the parent ends, and its ports must be free then. Nothing here
 * frees: what hangs on a loop is not the child's to use. */
static void after_fork_in_child(void) {
  for (hmci_list_t *link = all.next; link != &all; link = link->next) {
    hmci_loop_t *loop = HMCI_CONTAINER(link, hmci_loop_t, all);
    for (uint32_t slot = 1; slot < loop->slot_count; slot++) {
      if (loop->slots[slot].watch) close(loop->slots[slot].watch->descriptor);
    }
    close_kept(&loop->kept);
    hmci_loop_close_descriptors(loop);
  }
  close_kept(&loose);
  after_fork();
  hmci_list_init(&all);
  hmci_list_init(&loose);
}

static void watch_fork(void) { pthread_atfork(before_fork, after_fork, after_fork_in_child); }

void hmci_loop_enlist(hmci_loop_t *loop) {
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(&all_lock);
  hmci_list_append(&all, &loop->all);
  pthread_mutex_unlock(&all_lock);
}

void hmci_loop_delist(hmci_loop_t *loop) {
  pthread_mutex_lock(&all_lock);
  hmci_list_remove(&loop->all);
  pthread_mutex_unlock(&all_lock);
}

/* ---- sharing ----------------------------------------------------------------------------------------------------- */

/* Counts one more user of a shared loop; `made` becomes one where there is none yet. NULL: there is none. */
static hmci_loop_t *join(uint64_t spin, uint32_t index, hmci_loop_t *made) {
  hmci_loop_t *found = made;
  pthread_mutex_lock(&all_lock);
  for (hmci_list_t *link = all.next; link != &all; link = link->next) {
    hmci_loop_t *loop = HMCI_CONTAINER(link, hmci_loop_t, all);
    if (loop->users && loop->index == index && loop->spin == spin) found = loop;
  }
  if (found) {
    found->users++;
    found->index = index;
  }
  pthread_mutex_unlock(&all_lock);
  return found;
}

hmc_status_t hmci_loop_share(uint64_t spin, const char *name, uint32_t index, hmci_loop_t **loop) {
  hmci_loop_t *made;
  *loop = join(spin, index, NULL);
  if (*loop) return HMC_SUCCESS;
  hmc_status_t status = hmci_loop_create(spin, name, &made);
  if (status != HMC_SUCCESS) return status;
  *loop = join(spin, index, made);
  if (*loop != made) hmci_loop_destroy(made); /* another thread was faster */
  return HMC_SUCCESS;
}

bool hmci_loop_leave(hmci_loop_t *loop) {
  pthread_mutex_lock(&all_lock);
  bool others = loop->users > 1;
  if (loop->users) loop->users--; /* at 0 it is no longer found */
  pthread_mutex_unlock(&all_lock);
  return others;
}

/* ---- descriptors that no loop watches ---------------------------------------------------------------------------- */

void hmci_loop_keep(hmci_loop_t *loop, hmci_kept_t *kept, int descriptor) {
  pthread_mutex_t *lock = loop ? &loop->table : &all_lock;
  kept->descriptor = descriptor;
  pthread_once(&fork_once, watch_fork);
  pthread_mutex_lock(lock);
  hmci_list_append(loop ? &loop->kept : &loose, &kept->link);
  pthread_mutex_unlock(lock);
}

void hmci_loop_drop(hmci_loop_t *loop, hmci_kept_t *kept) {
  pthread_mutex_t *lock = loop ? &loop->table : &all_lock;
  pthread_mutex_lock(lock);
  hmci_list_remove(&kept->link);
  pthread_mutex_unlock(lock);
}
