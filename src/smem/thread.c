/* Threads of SMEM's own, and a lock for the program's. */
#include "common.h"

#include <signal.h>

int hmci_smem_thread_create(pthread_t *thread, void *(*run)(void *argument), void *argument) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int error = pthread_create(thread, NULL, run, argument);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error;
}

void hmci_smem_rwlock_init(pthread_rwlock_t *lock) {
  pthread_rwlockattr_t writers_first;
  pthread_rwlockattr_init(&writers_first);
  pthread_rwlockattr_setkind_np(&writers_first, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(lock, &writers_first);
  pthread_rwlockattr_destroy(&writers_first);
}
