/* Requests to an etcd cluster by its v3 gateway (HTTP and JSON): whichever of its members answers.
 *
 * Locking: `lock` guards the idle handles; `current` is atomic. */
#ifndef HMCI_ETCD_CLUSTER_H
#define HMCI_ETCD_CLUSTER_H

#include "curl.h"
#include "json.h"

#include <pthread.h>
#include <stdatomic.h>

enum { HMCI_ETCD_MEMBERS = 16, HMCI_ETCD_PREFIX = 128 };

typedef struct hmci_etcd_cluster {
  char members[HMCI_ETCD_MEMBERS][96]; /* "host:port" */
  unsigned count;
  char prefix[HMCI_ETCD_PREFIX]; /* before all keys */
  char name[256];                /* of the cluster, for texts */
  char *certificates[6];         /* copies of what `secure` points to */
  hmc_store_certificates_t secure;
  bool is_secure;
  atomic_uint current; /* the member that answered last */
  pthread_mutex_t lock;
  hmci_curl_t *idle[8];
  unsigned idle_count;
} hmci_etcd_cluster_t;

/* "host:port,host:port/prefix". HMC_INVALID_CONFIG, HMC_NO_MEMORY. */
hmc_status_t hmci_etcd_cluster_init(hmci_etcd_cluster_t *cluster, const char *address,
                                    const hmc_store_certificates_t *certificates);
void hmci_etcd_cluster_clear(hmci_etcd_cluster_t *cluster);

/* A text with the member's answer, to be freed. `path` as "kv/put". Tries the members in turns until the deadline.
 * `is_doubtful`, which may be NULL, becomes true where an attempt failed that may have taken effect all the same.
 * HMC_NOT_FOUND: a lease that etcd does not know. HMC_TIMEOUT: no member answered; HMC_DENIED, HMC_NO_MEMORY (etcd is
 * full), HMC_ERROR. */
hmc_status_t hmci_etcd_call(hmci_etcd_cluster_t *cluster, const char *path, const hmci_text_t *body, uint64_t deadline,
                            hmci_text_t *answer, bool *is_doubtful);

/* One event: a put, or a delete (`is_delete`), of a key of this store. False ends the stream. */
typedef bool (*hmci_etcd_event_t)(hmci_json_t kv, bool is_delete, void *user);

/* Streams the events of [key, range_end) from `revision` on, in the calling thread, until the callback ends it
 * (HMC_CANCELLED), the deadline (HMC_TIMEOUT), or the member (another status; what was missed has to be read again).
 * `handle`: of its own, so that it can be stopped. Keys are those of etcd. */
hmc_status_t hmci_etcd_stream(hmci_etcd_cluster_t *cluster, hmci_curl_t *handle, const char *key, size_t key_size,
                              bool is_prefix, int64_t revision, uint64_t deadline, hmci_etcd_event_t event, void *user);

/* Handles for streams. */
hmc_status_t hmci_etcd_handle_take(hmci_etcd_cluster_t *cluster, hmci_curl_t **handle);
void hmci_etcd_handle_give(hmci_etcd_cluster_t *cluster, hmci_curl_t *handle, bool is_good);

/* Waits a moment, not past the deadline. */
void hmci_etcd_pause(uint64_t ms, uint64_t deadline);

#endif
