/* Ending a wait of another thread (see stop.h). */
#include "stop.h"

#include <errno.h>
#include <hmc/state.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ASK_MS = HMCI_STOP_ASK_NS / 1000000 }; /* how often a program's own say is asked for */

static _Thread_local hmci_stop_t *followed;

hmc_status_t hmci_stop_open(hmci_stop_t *stop) {
  int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (descriptor < 0) return hmci_fail(HMC_NO_MEMORY, "eventfd failed: %s", strerror(errno));
  stop->descriptor = descriptor;
  atomic_init(&stop->asked, false);
  return HMC_SUCCESS;
}

void hmci_stop_close(hmci_stop_t *stop) { close(stop->descriptor); }

void hmci_stop_follow(hmci_stop_t *stop) { followed = stop; }

bool hmci_stop_is_asked(void) { return followed && atomic_load(&followed->asked); }

bool hmci_stop_is_wanted(void) {
  if (followed) return hmci_stop_is_asked();
  bool (*stop)(void) = hmc_state_of_thread()->stop;
  return stop && stop();
}

bool hmci_stop_is_possible(void) { return followed || hmc_state_of_thread()->stop; }

int hmci_stop_poll(int descriptor, short events, int timeout_ms) {
  struct pollfd waits[2] = {{.fd = descriptor, .events = events}, {.fd = -1, .events = POLLIN}};
  if (followed) waits[1].fd = followed->descriptor;
  bool is_asking = !followed && hmc_state_of_thread()->stop && (timeout_ms < 0 || timeout_ms > ASK_MS);
  int ready = poll(waits, followed ? 2 : 1, is_asking ? ASK_MS : timeout_ms);
  if (ready || !is_asking) return ready;
  errno = EINTR;
  return -1;
}

void hmci_stop_ask(hmci_stop_t *stop) {
  uint64_t one = 1;
  atomic_store(&stop->asked, true);
  ssize_t written = write(stop->descriptor, &one, sizeof one);
  (void)written; /* it holds a number already */
}

void hmci_stop_clear(hmci_stop_t *stop) {
  uint64_t number;
  atomic_store(&stop->asked, false);
  ssize_t got = read(stop->descriptor, &number, sizeof number);
  (void)got; /* it holds none */
}
