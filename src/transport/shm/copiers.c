/* Copiers: threads of a context that do pulls beside its service thread, where there are processors for them: one core
 * copies less than two, and a service thread with a large put has other peers to serve.
 *
 * They are started when they are called first, as many as there are service threads beside the first one; so a host of few
 * processors has none. Who calls goes on by itself: a copier that comes late finds nothing.
 *
 * Locking: `lock` guards the calls and how many copiers are in a connection; nothing is copied under it. It is inner to
 * the loop's. */
#include "shm.h"

#include "../../base/thread.h"

#include <sched.h>

static void *run(void *argument) {
  shm_copiers_t *copiers = argument;
  pthread_mutex_lock(&copiers->lock);
  while (!copiers->ending) {
    if (hmci_list_is_empty(&copiers->calls)) {
      pthread_cond_wait(&copiers->wanted, &copiers->lock);
      continue;
    }
    shm_connection_t *connection = HMCI_CONTAINER(copiers->calls.next, shm_connection_t, call);
    if (--connection->called == 0) hmci_list_remove(&connection->call);
    connection->copied++;
    pthread_mutex_unlock(&copiers->lock);
    hmci_shm_copy_posted(connection);
    pthread_mutex_lock(&copiers->lock);
    if (--connection->copied == 0) pthread_cond_broadcast(&copiers->left);
  }
  pthread_mutex_unlock(&copiers->lock);
  return NULL;
}

/* With `lock` held. */
static void start_threads(shm_copiers_t *copiers) {
  copiers->tried = true;
  while (copiers->count < copiers->most && !hmci_thread_create(&copiers->threads[copiers->count], run, copiers)) {
    pthread_setname_np(copiers->threads[copiers->count], "hmc-pull");
    copiers->count++;
  }
}

void hmci_shm_copiers_open(shm_copiers_t *copiers, uint64_t service_threads) {
  cpu_set_t set;
  uint64_t processors = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint64_t)CPU_COUNT(&set) : 1;
  uint64_t most = service_threads ? service_threads - 1 : processors < 4 ? 0 : processors / 4;
  copiers->most = most < SHM_COPIERS ? (uint32_t)most : SHM_COPIERS;
  pthread_mutex_init(&copiers->lock, NULL);
  pthread_cond_init(&copiers->wanted, NULL);
  pthread_cond_init(&copiers->left, NULL);
  hmci_list_init(&copiers->calls);
}

void hmci_shm_copiers_close(shm_copiers_t *copiers) {
  pthread_mutex_lock(&copiers->lock);
  copiers->ending = true;
  pthread_cond_broadcast(&copiers->wanted);
  pthread_mutex_unlock(&copiers->lock);
  for (uint32_t i = 0; i < copiers->count; i++) pthread_join(copiers->threads[i], NULL);
  pthread_cond_destroy(&copiers->left);
  pthread_cond_destroy(&copiers->wanted);
  pthread_mutex_destroy(&copiers->lock);
}

void hmci_shm_copiers_call(shm_connection_t *connection, uint32_t count) {
  shm_copiers_t *copiers = &connection->transport->copiers;
  if (!copiers->most) return;
  pthread_mutex_lock(&copiers->lock);
  if (!copiers->tried) start_threads(copiers);
  connection->called = count < copiers->count ? count : copiers->count;
  hmci_list_remove(&connection->call);
  if (connection->called) hmci_list_append(&copiers->calls, &connection->call);
  pthread_cond_broadcast(&copiers->wanted);
  pthread_mutex_unlock(&copiers->lock);
}

void hmci_shm_copiers_leave(shm_connection_t *connection) {
  shm_copiers_t *copiers = &connection->transport->copiers;
  pthread_mutex_lock(&copiers->lock);
  hmci_list_remove(&connection->call);
  while (connection->copied) pthread_cond_wait(&copiers->left, &copiers->lock);
  pthread_mutex_unlock(&copiers->lock);
}
