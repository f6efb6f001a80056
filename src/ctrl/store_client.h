/* A client of HMC's own store from inside: what store_client.c (calls, leases, watches) and store_session.c (the thread
 * that owns the connection) share.
 *
 * Locking: `lock` guards everything below it. The thread does all that can block on the network without it. A call lies
 * on its caller's stack, or on the heap where nobody waits for it. */
#ifndef HMCI_STORE_CLIENT_H
#define HMCI_STORE_CLIENT_H

#include "../base/loop.h"
#include "../base/settings.h"
#include "../base/socket.h"
#include "../base/stop.h"
#include "certificates.h"
#include "store_backend.h"
#include "store_stream.h"
#include "store_view.h"

#include <pthread.h>

struct hmci_store_client_lease;

/* A request on its way. */
typedef struct hmci_store_call {
  hmci_list_t member; /* of `calls`, in the order in which they are sent */
  uint64_t sequence;
  uint64_t sent_on; /* the connection that it was sent on; 0: none */
  uint16_t type;
  uint64_t lease;      /* of a LEASE or RESTORE that is sent after an outage */
  uint64_t since;      /* when it was first sent */
  uint64_t withdrawal; /* the CANCEL that takes this one back, and is not answered; 0: none */
  uint8_t *frame;
  size_t frame_size;
  bool is_detached; /* on the heap; its answer frees it */
  bool is_done;
  const hmci_store_message_t *request;    /* the caller's; NULL where nobody waits */
  struct hmci_store_client_lease *holder; /* of the key that it sets, or NULL */
  hmc_status_t status;
  hmci_store_result_t *result;
  char *text; /* of a failure */
  pthread_cond_t done;
} hmci_store_call_t;

typedef struct hmci_store_client_lease {
  struct hmc_store_lease base;
  hmci_list_t member;
  uint64_t id;
  bool is_lost;
  char why[256];
  hmci_store_map_t keys;
} hmci_store_client_lease_t;

typedef struct hmci_store_client_watch {
  struct hmc_store_watch base;
  hmci_list_t member;
  uint64_t sequence; /* of the request that asked for it on this connection */
  bool is_answered, is_interrupted;
  hmc_status_t failure; /* HMC_SUCCESS: it tells all there is to tell */
  char why[160];        /* of a failure */
  uint64_t sweep_at;    /* HMCI_NEVER: nothing is to be swept */
  hmci_store_view_t view;
  pthread_cond_t changed;
  size_t prefix_size;
  char prefix[HMC_STORE_KEY_MAX + 1];
} hmci_store_client_watch_t;

typedef struct hmci_store_client {
  struct hmc_store base;
  hmci_settings_t settings;
  hmci_secret_t secret;
  hmci_certificates_t *certificates; /* the secret's, or NULL */
  char ip[64], address[HMCI_ADDRESS_TEXT];
  uint16_t port;
  uint64_t id;
  int wake;         /* an eventfd */
  hmci_stop_t stop; /* ends the thread's waits while it connects */
  pthread_t thread;

  /* The thread's alone. */
  hmci_store_stream_t stream;
  hmci_kept_t kept;     /* its socket, which a forked child closes */
  uint64_t connection;  /* counts them */
  uint64_t patience_ms; /* for the next handshake */
  uint64_t heard;       /* when bytes came last */
  uint64_t server;      /* incarnation of the one that was met last */
  uint64_t sweeps_at;   /* until then it may lack what other clients put back; 0: it is the first one */

  pthread_mutex_t lock;
  bool closing, is_up;
  char why[HMCI_ERROR_TEXT]; /* why the store is away */
  uint64_t sequences;
  hmci_list_t calls, leases, watches;
} hmci_store_client_t;

/* store_session.c */
void *hmci_store_session_run(void *client);
void hmci_store_client_wake(hmci_store_client_t *client);

/* store_client.c, all with the lock held. Makes a call's frame and puts it into `calls`. HMC_NO_MEMORY. */
hmc_status_t hmci_store_call_begin(hmci_store_client_t *client, hmci_store_call_t *call, hmci_store_message_t *request);
/* One that nobody waits for. */
hmc_status_t hmci_store_call_detached(hmci_store_client_t *client, hmci_store_message_t *request);
void hmci_store_call_end(hmci_store_call_t *call, hmc_status_t status, const char *text, size_t text_size);
/* The call has succeeded: notes what it changed of this client's leases. In the order of the answers, and before the
 * connection that brought this one can end: what is put back after an outage is what the store had. HMC_NO_MEMORY. */
hmc_status_t hmci_store_call_note(hmci_store_client_t *client, const hmci_store_call_t *call);
void hmci_store_call_free_detached(hmci_store_call_t *call);

#endif
