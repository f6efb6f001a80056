/* HTTP by libcurl, which is opened when it is first needed; its header is not: what is used of its stable interface is
 * written down in curl.c.
 *
 * A handle is used by one thread at a time; hmci_curl_stop by any. No proxy of the environment is used, and no signal. */
#ifndef HMCI_ETCD_CURL_H
#define HMCI_ETCD_CURL_H

#include "../../base/base.h"

#include <hmc/store.h>

typedef struct hmci_curl hmci_curl_t;

/* Takes what comes of an answer; false ends the request with HMC_CANCELLED. */
typedef bool (*hmci_curl_sink_t)(const char *data, size_t size, void *user);

/* `certificates` may be NULL; its texts stay the caller's, while the handle lives. HMC_UNSUPPORT: this machine has no
 * libcurl. */
hmc_status_t hmci_curl_create(const hmc_store_certificates_t *certificates, hmci_curl_t **curl);
void hmci_curl_free(hmci_curl_t *curl); /* NULL is allowed */

/* Posts a JSON text and gives what is answered to `sink`; `code` gets the HTTP status. HMC_PEER_LOST: nothing was sent.
 * HMC_TIMEOUT, HMC_ERROR: it may have arrived. HMC_CANCELLED: the sink or hmci_curl_stop ended it. The text says why. */
hmc_status_t hmci_curl_post(hmci_curl_t *curl, const char *url, const char *body, size_t size, uint64_t deadline,
                            hmci_curl_sink_t sink, void *user, long *code);

/* Ends the request that is running, and every later one. */
void hmci_curl_stop(hmci_curl_t *curl);

#endif
