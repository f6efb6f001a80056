/* Threads of the library's own. */
#ifndef HMCI_THREAD_H
#define HMCI_THREAD_H

#include <pthread.h>

#pragma GCC visibility push(default) /* modules call this: see hmc.map */

/* As pthread_create, with all signals blocked in the new thread: they are the program's, and its handlers run in its own
 * threads. */
int hmci_thread_create(pthread_t *thread, void *(*run)(void *argument), void *argument);

#pragma GCC visibility pop

#endif
