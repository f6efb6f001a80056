/* Threads that wait for an operation, and poll the devices themselves (drivers); poll.c says when the loop does. */
#include "poll.h"

#include <sched.h>

static void drive(verbs_connection_t *connection, int change) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device) connection->rails[i].device->drivers += (uint32_t)change;
  }
}

/* A thread has seen the end of what it waited for. */
static void leave(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (connection->rails[i].device) connection->rails[i].device->looks++;
  }
  hmci_verbs_settle_soon(connection->transport);
}

/* A look at once: what is awaited has often come meanwhile. False: nothing yet, and the caller is a driver now. */
static bool look(verbs_connection_t *connection, hmci_operation_t *operation) {
  pthread_mutex_lock(&connection->transport->lock);
  hmci_verbs_poll_all(connection);
  bool complete = hmci_operation_is_complete(operation);
  if (complete) {
    leave(connection);
  } else {
    drive(connection, 1);
  }
  pthread_mutex_unlock(&connection->transport->lock);
  return complete;
}

hmc_status_t hmci_verbs_wait(void *block, hmci_operation_t *operation, uint64_t spin) {
  verbs_connection_t *connection = block;
  pthread_mutex_t *lock = &connection->transport->lock;
  hmc_status_t status = HMC_SUCCESS;
  uint64_t idle_since = 0;
  if (hmci_operation_is_complete(operation) || look(connection, operation)) return HMC_SUCCESS;

  while (!hmci_operation_is_complete(operation)) {
    bool moved = false;
    if (pthread_mutex_trylock(lock)) {
      sched_yield();
    } else {
      moved = hmci_verbs_poll_all(connection);
      pthread_mutex_unlock(lock);
    }
    if (moved && hmci_operation_is_complete(operation)) break;
    uint64_t now = hmci_now();
    if (now >= operation->deadline) {
      status = HMC_TIMEOUT;
      break;
    }
    if (moved || !idle_since) {
      idle_since = now;
    } else if (now - idle_since > spin) {
      status = HMC_IN_PROGRESS;
      break;
    }
  }

  pthread_mutex_lock(lock);
  drive(connection, -1);
  if (status == HMC_IN_PROGRESS) { /* it is going to sleep */
    hmci_verbs_settle(connection->transport);
  } else {
    leave(connection);
  }
  pthread_mutex_unlock(lock);
  return hmci_operation_is_complete(operation) ? HMC_SUCCESS : status;
}

void hmci_verbs_leave_alone(verbs_connection_t *connection) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_device_t *device = connection->rails[i].device;
    if (!device) continue;
    device->looks_seen = device->looks;
    device->will_look = false;
  }
}

/* Its caller may go to sleep somewhere else. */
void hmci_verbs_progress(void *block) {
  verbs_connection_t *connection = block;
  if (pthread_mutex_trylock(&connection->transport->lock)) return;
  if (hmci_verbs_poll_all(connection)) {
    hmci_verbs_settle(connection->transport);
  } else {
    hmci_verbs_leave_alone(connection);
    hmci_verbs_settle_soon(connection->transport);
  }
  pthread_mutex_unlock(&connection->transport->lock);
}
