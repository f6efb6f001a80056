/* Contexts and peers: who talks to whom.
 *
 * A context owns transports, regions, peers and one service thread that answers the peers' one-sided operations, so
 * that a target's application never has to call anything. Several contexts can live in one process. After fork() the
 * child's copy of a context is unusable and every call on it answers HMC_UNSUPPORT.
 *
 * Every connection is authenticated at both ends by the secret (HMC_SECRET_FILE, HMC_SECRET, else ~/.hmc/secret) before
 * any other byte counts. */
#ifndef HMC_CONTEXT_H
#define HMC_CONTEXT_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* For any `timeout_ms`. HMC_FOREVER: without a deadline. HMC_NO_WAIT: do not wait at all; the call does what it can do
 * at once, and answers HMC_TIMEOUT where that is not all. */
#define HMC_FOREVER UINT64_MAX
#define HMC_NO_WAIT (UINT64_MAX - 1)

typedef struct hmc_context hmc_context_t;
typedef struct hmc_peer hmc_peer_t;

/* How a peer is to be reached. Required types fail with the reason instead of falling back. */
typedef enum hmc_connection_type {
  HMC_CONNECTION_AUTO = 0, /* the fastest that works: shm on one host, else tcp */
  HMC_CONNECTION_RDMA = 1,
  HMC_CONNECTION_UCX = 2,
  HMC_CONNECTION_TCP = 3,
  HMC_CONNECTION_SHM = 4,
} hmc_connection_type_t;

/* "auto", "rdma", "ucx", "tcp", "shm"; "unknown" otherwise. Static storage. Threads: any. */
HMC_API const char *hmc_connection_type_name(hmc_connection_type_t type);

/* The type with that name. Errors: HMC_NOT_FOUND. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_connection_type_parse(const char *name, hmc_connection_type_t *type);

/* Says whether connections of this type can be made here. Returns HMC_SUCCESS, HMC_UNSUPPORT, or HMC_INVALID_CONFIG (a
 * setting is not understood); in each case `reason` (at most `size` bytes with the end, may be NULL) gets one line that
 * says what there is or what is missing. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_connection_type_probe(hmc_connection_type_t type, char *reason, size_t size);

/* What can be set for one context; zero in a field means the setting of the same name decides. */
typedef struct hmc_context_options {
  size_t size;         /* sizeof(hmc_context_options_t) */
  const char *name;    /* for logs and texts; copied; NULL: the program's name */
  uint64_t timeout_ms; /* deadline of every operation on this context without its own; 0: HMC_TIMEOUT (30 s) */
  const char *secret;  /* what its peers have to know, at most 255 bytes; copied; NULL: as the head of this file says */
} hmc_context_options_t;
#define HMC_CONTEXT_OPTIONS_INIT HMC_SIZED_INIT(hmc_context_options_t)

/* Creates a context and starts its service thread. `options` may be NULL.
 * Ownership: the caller's, until hmc_context_destroy. Errors: HMC_INVALID_CONFIG (a setting does not parse; the
 * secret's file can be read by others), HMC_NO_MEMORY (file descriptors, threads). */
HMC_API HMC_CHECKED hmc_status_t hmc_context_create(const hmc_context_options_t *options, hmc_context_t **context);

/* Closes all peers, listeners and regions of the context, ends its thread and frees it; handles of them, and of its
 * requests, are invalid then. NULL is allowed. Threads: not in a callback (it does nothing there but say so in the
 * log); no other call on the context, its regions, peers or requests may run or follow, with one exception: threads
 * that wait for requests meanwhile (hmc_request_wait and its kin) are woken and get HMC_CANCELLED, and have left the
 * context when it returns. */
HMC_API void hmc_context_destroy(hmc_context_t *context);

/* Accepts peers on an address from now on. `ip` is an IPv4 or IPv6 address or a host name, and may bring the port:
 * "10.0.0.2", "fe80::1%eth0", "node7", "node7:2025", "[::]:2025". Port 0 picks a free one; `bound_port` (may be NULL)
 * gets it. Blocks while a name is looked up. Errors: HMC_ADDRESS_IN_USE, HMC_NOT_FOUND (no host of that name),
 * HMC_INVALID_CONFIG (not an address of this host, or two ports that differ). Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_context_listen(hmc_context_t *context, const char *ip, uint16_t port,
                                                    uint16_t *bound_port);

/* Stops all listening; connected peers stay. Threads: any. */
HMC_API void hmc_context_stop_listening(hmc_context_t *context);

/* Connects to a listening context and settles the route. `ip`: as of hmc_context_listen; the addresses of a name are tried
 * in order. Blocks until done, at most `timeout_ms` (0: the context's).
 * Ownership: the peer belongs to the context; hmc_peer_close gives it back early.
 * Errors: HMC_TIMEOUT, HMC_NOT_FOUND (nobody listens there, or no host has that name), HMC_DENIED (the secrets differ), HMC_UNSUPPORT (the
 * required type does not work between the two; the text says why), HMC_PEER_LOST (it hung up meanwhile). Threads:
 * any. */
HMC_API HMC_CHECKED hmc_status_t hmc_context_connect(hmc_context_t *context, const char *ip, uint16_t port,
                                                     hmc_connection_type_t type, uint64_t timeout_ms,
                                                     hmc_peer_t **peer);

/* Waits for the next peer that connected to a listener of this context and was not handed out yet.
 * One that went again before this was called is not handed out. Blocks at most `timeout_ms` (0: the context's). Errors:
 * HMC_TIMEOUT. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_context_accept(hmc_context_t *context, uint64_t timeout_ms, hmc_peer_t **peer);

typedef enum hmc_peer_state {
  HMC_PEER_CONNECTED = 0,
  HMC_PEER_GONE = 1, /* it died, hung up or was cut off: operations answer HMC_PEER_LOST */
} hmc_peer_state_t;

typedef struct hmc_peer_info {
  size_t size; /* sizeof(hmc_peer_info_t); the caller sets it */
  hmc_peer_state_t state;
  hmc_connection_type_t type; /* the one that was settled, never AUTO */
  char ip[64];                /* the peer's address as this side sees it */
  uint16_t port;              /* the port dialled, or the peer's ephemeral one where it dialled */
  char name[64];              /* the name of its context */
  char host[64];              /* its host name */
  uint64_t incarnation;       /* differs for every context ever made: a restarted peer is a new one */
  int process;                /* its process id on its host */
} hmc_peer_info_t;
#define HMC_PEER_INFO_INIT HMC_SIZED_INIT(hmc_peer_info_t)

/* Errors: none but HMC_INVALID_CONFIG (NULL, or `info` has no size), and HMC_UNSUPPORT after fork(). Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_get_info(hmc_peer_t *peer, hmc_peer_info_t *info);

/* How the peer is reached: transport, device, staging, and why not the faster ways, as lines of text. Writes at most
 * `size` bytes with the end; `needed` (may be NULL) gets the size of the whole text. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_explain(hmc_peer_t *peer, char *text, size_t size, size_t *needed);

/* Hangs up. Operations in flight end with HMC_CANCELLED before it returns; the handle, and the remote regions opened
 * through it, are invalid then. Its requests stay valid until hmc_request_free. NULL is allowed. Threads: no other call
 * may use the peer or its remote regions meanwhile, and so no blocking operation may be under way there; but other
 * threads may wait for, test and cancel requests that were started before. */
HMC_API void hmc_peer_close(hmc_peer_t *peer);

#ifdef __cplusplus
}
#endif
#endif
