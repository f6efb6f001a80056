/* What blocking operations and requests share. */
#ifndef HMCI_OPERATION_H
#define HMCI_OPERATION_H

#include "core.h"

#include <string.h>

/* Of requests alone; no transport gets to see them. */
enum { HMCI_CONNECT = HMCI_NOTIFY + 1, HMCI_LOOK_UP };

const char *hmci_operation_name(hmci_operation_kind_t kind);

/* All that can be said before an operation starts, with a text. */
hmc_status_t hmci_operation_check(hmci_operation_kind_t kind, const hmc_region_t *local, uint64_t offset,
                                  const hmc_remote_t *remote, uint64_t remote_offset, uint64_t length);

/* The same of the far end of a put or get alone. */
hmc_status_t hmci_remote_check(hmci_operation_kind_t kind, const hmc_remote_t *remote, uint64_t offset,
                               uint64_t length);

/* A put or get that the caller waits for, with a deadline of its own (0: the context's). */
hmc_status_t hmci_transfer(hmci_operation_kind_t kind, hmc_region_t *local, uint64_t offset, hmc_remote_t *remote,
                           uint64_t remote_offset, uint64_t length, uint64_t timeout_ms);

/* Sets the text of a failed operation and returns its status. */
hmc_status_t hmci_operation_explain(hmci_operation_kind_t kind, hmc_status_t status, const hmc_remote_t *remote,
                                    uint64_t length);

/* What a text says of the far end of an operation whose peer may be closed. */
typedef struct hmci_far_end {
  char where[HMCI_WHERE_SIZE], region[HMC_REGION_NAME_SIZE];
} hmci_far_end_t;
/* The same, where there is no region. */
void hmci_far_end_of(hmci_far_end_t *end, const hmc_peer_t *peer);
void hmci_far_end_note(hmci_far_end_t *end, const hmc_remote_t *remote);
hmc_status_t hmci_far_end_explain(hmci_operation_kind_t kind, hmc_status_t status, const hmci_far_end_t *end,
                                  uint64_t length);

/* Fills in all but the segments, the atomic and the message. `local` and `remote` may be NULL where the kind has
 * none. */
void hmci_operation_prepare(hmci_operation_t *operation, hmci_operation_kind_t kind, hmc_region_t *local,
                            hmc_remote_t *remote, uint64_t deadline);

/* As check, for an atomic. */
hmc_status_t hmci_atomic_check(const hmc_remote_t *remote, uint64_t offset, hmc_atomic_operation_t operation,
                               unsigned width);

/* As it travels: to load is to OR 0, to store is to swap and fetch nothing. */
static inline hmci_atomic_t hmci_atomic_for_wire(hmc_atomic_operation_t operation, uint64_t operand, uint64_t compare,
                                                 bool fetch) {
  if (operation == HMC_ATOMIC_LOAD) return (hmci_atomic_t){.operation = HMC_ATOMIC_OR, .fetch = fetch};
  if (operation == HMC_ATOMIC_STORE) return (hmci_atomic_t){.operation = HMC_ATOMIC_SWAP, .operand = operand};
  return (hmci_atomic_t){.operation = operation, .fetch = fetch, .operand = operand, .compare = compare};
}

/* Waits for a submitted operation: HMC_SUCCESS once it is complete, HMC_TIMEOUT when its deadline has passed and it is
 * not. */
hmc_status_t hmci_operation_await(const hmc_peer_t *peer, hmci_operation_t *operation);

/* True where a segment is a copy by this thread. `local` is NULL for what is none. */
static inline bool hmci_is_mapped(const hmc_region_t *local, const hmc_remote_t *remote) {
  return local && remote->mapped && local->view.ops->host_accessible;
}
/* True where the peer of a mapped region is connected, this process made the context, and the region is open. Both words
 * are 1 or 0, so that one look does; where a peer writes another value into its own, the long way finds out. */
static inline bool hmci_remote_is_open(const hmc_remote_t *remote) {
  return HMCI_LIKELY(atomic_load_explicit(remote->connected, memory_order_relaxed) &
                     atomic_load_explicit(remote->here, memory_order_relaxed)) &&
         HMCI_LIKELY(atomic_load_explicit(remote->generation, memory_order_acquire) == remote->view.generation);
}
/* True where nothing stands against plain loads and stores of that range, by this thread and right away. */
static inline bool hmci_remote_is_plain(const hmc_remote_t *remote, uint64_t offset, uint64_t length, unsigned right) {
  return remote->mapped && remote->view.rights & right && hmci_range_fits(offset, length, remote->view.size) &&
         hmci_remote_is_open(remote);
}

/* A put of 8 bytes into mapped memory is one store; a call, here the copy's or the bookkeeping's, would cost more than the
 * bytes, so all others go by hmci_put_mapped. */
hmc_status_t hmci_put_mapped(const hmc_remote_t *remote, uint64_t offset, const void *from, uint64_t length);
static inline hmc_status_t hmci_put_plain(const hmc_remote_t *remote, uint64_t offset, const void *from,
                                          uint64_t length) {
  if (length != 8) return hmci_put_mapped(remote, offset, from, length);
  memcpy(remote->mapped + offset, from, 8);
  hmci_stats_add(&hmci_stats_stripe(remote->stats)->words, 1);
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  return HMC_SUCCESS;
}

/* A put copies from `here` to `there`, a get back; ordered towards what informs the target, or informed this thread. */
void hmci_copy_range(hmci_operation_kind_t kind, void *here, void *there, uint64_t length);
void hmci_copy_mapped(hmci_operation_kind_t kind, const hmc_region_t *local, const hmc_remote_t *remote,
                      const hmci_segment_t *segment);

#endif
