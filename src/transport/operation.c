/* Completing operations and sleeping for them. */
#include "transport.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Waits for a change of a word, at most until `deadline`. */
static void futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t deadline) {
  uint64_t now = hmci_now(), left = deadline > now ? deadline - now : 0;
  struct timespec time = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, deadline == HMCI_NEVER ? NULL : &time, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0); }

/* Whoever looks for the region by an address asks its owner again. */
static void note_stale(const hmci_remote_view_t *remote) {
  hmci_remote_view_t *noted = (hmci_remote_view_t *)(uintptr_t)remote;
  atomic_store(&noted->stale, true);
}

void hmci_operation_complete(hmci_operation_t *operation, hmc_status_t status) {
  if (HMCI_UNLIKELY(status == HMC_STALE) && operation->remote) note_stale(operation->remote);
  operation->status = status;
  if (operation->completed) operation->completed(operation);
  hmci_room_t *room = operation->room;
  _Atomic uint32_t *state = &operation->state;
  /* From here on the operation may be gone; waking an address that is nobody's is harmless. */
  if (atomic_exchange(state, HMCI_COMPLETE) == HMCI_PENDING_WITH_SLEEPER) futex_wake(state);
  if (room) hmci_room_tell(room);
}

void hmci_room_tell(hmci_room_t *room) {
  if (atomic_load(&room->sleepers)) { /* partner: hmci_room_enter */
    atomic_fetch_add(&room->completions, 1);
    futex_wake(&room->completions);
  }
  int event = atomic_load_explicit(&room->event, memory_order_acquire); /* partner: the store that made it */
  uint64_t one = 1;
  if (event >= 0 && write(event, &one, sizeof one) < 0) return; /* its count is full: it is readable already */
}

void hmci_room_sleep(hmci_room_t *room, uint32_t seen, uint64_t deadline) {
  if (atomic_load(&room->completions) == seen) futex_wait(&room->completions, seen, deadline);
}

bool hmci_operation_sleep(hmci_operation_t *operation, uint64_t deadline) {
  for (;;) {
    uint32_t pending = HMCI_PENDING;
    atomic_compare_exchange_strong(&operation->state, &pending, HMCI_PENDING_WITH_SLEEPER);
    if (hmci_operation_is_complete(operation)) return true;
    if (hmci_now() >= deadline) return false;
    futex_wait(&operation->state, HMCI_PENDING_WITH_SLEEPER, deadline);
  }
}
