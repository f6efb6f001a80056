/* An etcd cluster as the store: what its rooms share. store_etcd.c has the keys, leases.c the leases and the thread that
 * keeps them, watches.c the watches and waits, meetings.c barriers and gathers.
 *
 * Keys are kept below the cluster's prefix: "k/" those of the program, "h/" one per client that lives, "o/" the mark of
 * each thread's last change, "m/" meetings, "p/" pieces of gathers.
 *
 * Locking: `lock` guards the leases, what they hold, the list of watches, and the sequence; it is not held across a request. */
#ifndef HMCI_STORE_ETCD_H
#define HMCI_STORE_ETCD_H

#include "../store_backend.h"
#include "../store_view.h"
#include "cluster.h"

enum { HMCI_ETCD_KEY = HMC_STORE_KEY_MAX + HMCI_ETCD_PREFIX + 32 };

/* A key as etcd has it. */
typedef struct hmci_etcd_key {
  char text[HMCI_ETCD_KEY];
  size_t size;
} hmci_etcd_key_t;

typedef struct hmci_etcd_lease {
  struct hmc_store_lease base;
  hmci_list_t member;
  int64_t id;       /* etcd's; another one after it was lost */
  int64_t next_id;  /* the one it is getting, which may have some of the keys; 0: none. While `is_busy`, the thread's */
  uint64_t next_ns; /* when it is kept next */
  bool is_busy;     /* the thread works with it */
  bool is_doubted;  /* etcd did not know it: the thread looks at once */
  bool is_lost;
  char why[256];
  hmci_store_map_t keys; /* etcd's keys */
} hmci_etcd_lease_t;

typedef struct hmci_etcd_client {
  struct hmc_store base;
  hmci_etcd_cluster_t cluster;
  uint64_t id;
  pthread_t keeper;
  hmci_etcd_lease_t *own; /* the client's, for "h/" and "o/" */
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool closing;
  uint64_t sequence;
  hmci_list_t leases, watches;
} hmci_etcd_client_t;

static inline hmci_etcd_client_t *hmci_etcd_client_of(hmc_store_t *store) {
  return HMCI_CONTAINER(store, hmci_etcd_client_t, base);
}

/* The key of that room ('k', 'h', 'o', 'm' or 'p'). */
void hmci_etcd_key_make(const hmci_etcd_client_t *client, char room, const char *name, size_t size,
                        hmci_etcd_key_t *key);

/* `"key": <that>` and, with `is_prefix`, `"range_end"`. */
void hmci_etcd_key_print(hmci_text_t *text, const hmci_etcd_key_t *key, bool is_prefix);

/* `{"request_put":{...}}`, an operation of a transaction. */
void hmci_etcd_put_print(hmci_text_t *text, const hmci_etcd_key_t *key, const void *value, size_t size, int64_t lease);

void hmci_etcd_delete_print(hmci_text_t *text, const hmci_etcd_key_t *key);

typedef struct hmci_etcd_outcome {
  bool is_done;     /* it has taken effect */
  bool is_fresh;    /* the answer to it came; else one was lost, and other changes may have followed */
  bool is_doubtful; /* the call failed, and it may have taken effect */
  int64_t revision; /* its own, where it has */
} hmci_etcd_outcome_t;

/* A transaction that does not take effect twice, though it may be sent again by this library or by libcurl, or lie in a
 * member of the cluster that stands still: `effect`, operations, where `compare`, the members of a condition, holds. Both
 * may be empty; without effect it only keeps the thread's earlier ones from taking effect any more. Each leaves its
 * mark among the thread's "o/" keys, and takes effect only where there is none of its own or of a later one. HMC_NOT_FOUND:
 * etcd does not know a lease, the client's own or one in `effect`. */
hmc_status_t hmci_etcd_change(hmci_etcd_client_t *client, const hmci_text_t *compare, const hmci_text_t *effect,
                              uint64_t deadline, hmci_etcd_outcome_t *outcome);

/* Reads one key, or all with a prefix; the answer's "kvs" has them. */
hmc_status_t hmci_etcd_range(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, bool is_prefix, uint64_t deadline,
                             hmci_text_t *answer);
hmci_json_t hmci_etcd_first(hmci_text_t *answer); /* of a range: its first key, or none */

/* ---- leases.c ---------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_etcd_lease_create(hmc_store_t *store, uint64_t ttl_ms, uint64_t deadline, hmc_store_lease_t **lease);
hmc_status_t hmci_etcd_lease_state(hmc_store_lease_t *lease);
void hmci_etcd_lease_release(hmc_store_lease_t *lease, uint64_t deadline);
/* The thread; ends when `closing`. */
void *hmci_etcd_keep(void *client);
/* etcd's number of the lease now. HMC_STALE: it is lost. */
hmc_status_t hmci_etcd_lease_number(hmci_etcd_lease_t *lease, int64_t *number);
/* etcd did not know the number: it is looked into. */
void hmci_etcd_lease_doubt(hmci_etcd_lease_t *lease);
/* Notes that the lease (NULL: none) has a key with that value now; value NULL: the key is gone. */
hmc_status_t hmci_etcd_lease_note(hmci_etcd_client_t *client, hmci_etcd_lease_t *lease, const hmci_etcd_key_t *key,
                                  const void *value, uint32_t size);
/* Notes what a counter has come to, where a lease has it. */
hmc_status_t hmci_etcd_lease_note_sum(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, int64_t sum);

/* ---- watches.c --------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_etcd_watch_start(hmc_store_t *store, const char *prefix, uint64_t deadline,
                                   hmc_store_watch_t **watch);
hmc_status_t hmci_etcd_watch_next(hmc_store_watch_t *watch, hmc_store_event_t *event, uint64_t deadline);
void hmci_etcd_watch_interrupt(hmc_store_watch_t *watch);
void hmci_etcd_watch_stop(hmc_store_watch_t *watch);
/* Stops all that the client has. */
void hmci_etcd_watches_end(hmci_etcd_client_t *client);
/* Returns when the key is there. */
hmc_status_t hmci_etcd_await(hmci_etcd_client_t *client, const hmci_etcd_key_t *key, uint64_t deadline,
                             hmci_store_result_t *result);

/* ---- meetings.c -------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_etcd_arrive(hmci_etcd_client_t *client, const hmci_store_message_t *request, uint64_t deadline,
                              hmci_store_result_t *result);

#endif
