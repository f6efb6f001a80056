/* What a client of a store stands on: HMC's own server (store_client.c), or an etcd cluster (etcd/). store.c checks arguments and calls through this table.
 *
 * Every entry is thread-safe; deadlines are hmci_now() based. Keys are ended texts that were checked. */
#ifndef HMCI_STORE_BACKEND_H
#define HMCI_STORE_BACKEND_H

#include "store_map.h"
#include "store_wire.h"

#include <sys/types.h>

typedef struct hmci_store_backend hmci_store_backend_t;

/* What calls and leases take that name no time of their own. */
typedef struct hmci_store_times {
  uint64_t timeout_ms, lease_ms;
  uint64_t heartbeat; /* nanoseconds; 0: a part of the lease's time */
} hmci_store_times_t;

struct hmc_store {
  const hmci_store_backend_t *backend;
  pid_t process;
  hmci_store_times_t times;
};

/* Nanoseconds between two heartbeats for a lease: the setting's, at most half of the lease's time; 0: one of `parts`. */
static inline uint64_t hmci_store_beat(const struct hmc_store *store, uint64_t ttl_ms, uint64_t parts) {
  uint64_t ttl = ttl_ms * UINT64_C(1000000), wanted = store->times.heartbeat;
  return wanted == 0 ? ttl / parts : wanted < ttl / 2 ? wanted : ttl / 2;
}

struct hmc_store_lease {
  hmc_store_t *store;
  uint64_t ttl_ms;
};

struct hmc_store_watch {
  hmc_store_t *store;
};

/* What a request came to; the backend fills it. `value` is the caller's to free, `entries` to clear. */
typedef struct hmci_store_result {
  int64_t number;
  uint8_t *value;
  uint32_t value_size;
  hmci_store_map_t entries; /* of a list */
} hmci_store_result_t;

struct hmci_store_backend {
  void (*close)(hmc_store_t *store);
  /* Requests of the types SET, GET, WAIT, ADD, SWAP, DELETE, LIST and ARRIVE, as in store_wire.h; `lease` may be NULL. */
  hmc_status_t (*call)(hmc_store_t *store, hmci_store_message_t *request, hmc_store_lease_t *lease, uint64_t deadline,
                       hmci_store_result_t *result);
  hmc_status_t (*lease_create)(hmc_store_t *store, uint64_t ttl_ms, uint64_t deadline, hmc_store_lease_t **lease);
  hmc_status_t (*lease_state)(hmc_store_lease_t *lease);
  void (*lease_release)(hmc_store_lease_t *lease, uint64_t deadline);
  hmc_status_t (*watch_start)(hmc_store_t *store, const char *prefix, uint64_t deadline, hmc_store_watch_t **watch);
  hmc_status_t (*watch_next)(hmc_store_watch_t *watch, hmc_store_event_t *event, uint64_t deadline);
  void (*watch_interrupt)(hmc_store_watch_t *watch);
  void (*watch_stop)(hmc_store_watch_t *watch);
};

/* Connects; `address` without the scheme. */
hmc_status_t hmci_store_client_connect(const char *address, const hmc_store_certificates_t *certificates,
                                       const hmci_store_times_t *times, uint64_t deadline, hmc_store_t **store);
hmc_status_t hmci_store_etcd_connect(const char *address, const hmc_store_certificates_t *certificates,
                                     const hmci_store_times_t *times, uint64_t deadline, hmc_store_t **store);

#endif
