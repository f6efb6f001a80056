/* The registrar: the thread of a context that registers memory, which takes long (see memory.c).
 *
 * It begins with the first job, does one after the other, and adds receive buffers and slots where peers have become more.
 * After each job everybody is asked to go on: one registration may be what several connections wait for. */
#include "verbs.h"

#include "../../base/thread.h"
#include "poll.h"

/* With the lock held. */
static bool add_pages(verbs_transport_t *transport) {
  if (hmci_verbs_slots_are_short(transport)) {
    hmci_verbs_slots_add(transport);
    return true;
  }
  for (uint32_t i = 0; i < transport->device_count; i++) {
    if (!hmci_verbs_buffers_are_short(&transport->devices[i])) continue;
    hmci_verbs_buffers_add(&transport->devices[i]);
    return true;
  }
  return false;
}

static void *run(void *argument) {
  verbs_transport_t *transport = argument;
  pthread_setname_np(pthread_self(), "hmc-register");
  pthread_mutex_lock(&transport->lock);
  while (!transport->registrar_ends) {
    if (hmci_verbs_memory_work(transport) || add_pages(transport)) {
      hmci_verbs_asks_answer(transport);
      hmci_verbs_touch_all(transport);
      hmci_verbs_settle(transport);
    } else {
      pthread_cond_wait(&transport->wanted, &transport->lock);
    }
  }
  pthread_mutex_unlock(&transport->lock);
  return NULL;
}

bool hmci_verbs_register_soon(verbs_transport_t *transport) {
  if (!transport->registrar_runs && hmci_thread_create(&transport->registrar, run, transport) == 0)
    transport->registrar_runs = true;
  if (!transport->registrar_runs)
    hmci_log(HMC_LOG_WARNING, "no thread that registers memory: what is not registered yet will be staged");
  pthread_cond_signal(&transport->wanted);
  return transport->registrar_runs;
}

void hmci_verbs_registrar_end(verbs_transport_t *transport) {
  pthread_mutex_lock(&transport->lock);
  transport->registrar_ends = true;
  bool runs = transport->registrar_runs;
  pthread_cond_signal(&transport->wanted);
  pthread_mutex_unlock(&transport->lock);
  if (runs) pthread_join(transport->registrar, NULL);
}
