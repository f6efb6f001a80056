/* Contexts and peers: who talks to whom.
 *
 * A context owns transports, regions, peers and service threads. These threads serve the one-sided operations of peers,
 * so the application at the target never has to call anything. A process can have several contexts. After fork() the
 * child cannot use its copy of a context: every call on it returns HMC_UNSUPPORT.
 *
 * Both ends of every connection prove that they know the secret (HMC_SECRET_FILE, HMC_SECRET, or ~/.hmc/secret) before
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

/* For any `timeout_ms`. HMC_FOREVER: no deadline. HMC_NO_WAIT: do not wait at all; the call does what it can do at once
 * and returns HMC_TIMEOUT where that is not everything. */
#define HMC_FOREVER UINT64_MAX
#define HMC_NO_WAIT (UINT64_MAX - 1)

typedef struct hmc_context hmc_context_t;
typedef struct hmc_peer hmc_peer_t;

/* X(NAME, value, "name"): the types of connection, in the order in which lists of them are shown. AUTO takes the fastest
 * that works between two peers. Values never change once released. */
#define HMC_CONNECTION_LIST(X)                                                                                         \
  X(AUTO, 0, "auto")                                                                                                   \
  X(SHM, 4, "shm")                                                                                                     \
  X(RDMA, 1, "rdma")                                                                                                   \
  X(TCP, 3, "tcp")                                                                                                     \
  X(UCX, 2, "ucx")

/* How to reach a peer. A required type fails with the reason; it never falls back to another one. */
typedef enum hmc_connection_type {
#define HMC_CONNECTION_ENUM(NAME, value, name) HMC_CONNECTION_##NAME = value,
  HMC_CONNECTION_LIST(HMC_CONNECTION_ENUM)
#undef HMC_CONNECTION_ENUM
} hmc_connection_type_t;

/**
 * The name of a connection type. Threads: any.
 *
 * \param type The type.
 * \return The name in HMC_CONNECTION_LIST; "unknown" for any other value. Static storage.
 */
HMC_API const char *hmc_connection_type_name(hmc_connection_type_t type);

/**
 * The connection type with a name. Threads: any.
 *
 * \param name The name, as hmc_connection_type_name gives it.
 * \param type Gets the type.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND No type has that name.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_connection_type_parse(const char *name, hmc_connection_type_t *type);

/**
 * Checks whether connections of a type can be made here. Threads: any.
 *
 * \param type The type.
 * \param reason Gets one line that says what is there or what is missing, with any result; may be NULL.
 * \param size The size of `reason` in bytes.
 * \return HMC_SUCCESS
 * \return HMC_UNSUPPORT They cannot.
 * \return HMC_INVALID_CONFIG A setting does not parse.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_connection_type_probe(hmc_connection_type_t type, char *reason, size_t size);

/* Flags of a context. */
enum {
  HMC_CONTEXT_SHARE_THREADS = 1 /* its service threads are those of all contexts of this process that have the flag */
};

/* Options of a context. Zero in a field: the setting of the same name decides. */
typedef struct hmc_context_options {
  size_t size;         /* sizeof(hmc_context_options_t) */
  const char *name;    /* for logs and texts; copied; NULL: the program's name */
  uint64_t timeout_ms; /* for each call and operation without its own; 0: HMC_TIMEOUT (30 s) */
  const char *secret;  /* that its peers must know, at most 255 bytes; copied; NULL: as at the head of this file */
  uint64_t flags;      /* HMC_CONTEXT_* */
} hmc_context_options_t;
#define HMC_CONTEXT_OPTIONS_INIT HMC_SIZED_INIT(hmc_context_options_t)

/**
 * Creates a context and starts its service threads.
 *
 * With HMC_CONTEXT_SHARE_THREADS a process may have hundreds: such a context costs no thread, and descriptors only for
 * its listeners, regions and peers. Those with the same HMC_SPIN share, and their callbacks run one at a time. In a
 * callback of one of them, what callbacks must not call is forbidden for all of them; and a callback must not wait for an
 * operation of another one of them, because it would wait for its own thread.
 *
 * Ownership: the context is the caller's until hmc_context_destroy. Threads: any. Never blocks.
 *
 * \param options The options; NULL: the defaults.
 * \param context Gets the context.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG A setting does not parse, or others can read the file with the secret.
 * \return HMC_UNSUPPORT A flag or an option that this version of the library does not know.
 * \return HMC_NO_MEMORY No memory, file descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_create(const hmc_context_options_t *options, hmc_context_t **context);

/**
 * Closes all peers, listeners and regions of a context, stops its threads and frees it. Handles of these objects and of
 * requests are invalid afterwards.
 *
 * Threads: not in a callback (there it only writes to the log). No other call on the context, its regions, peers or
 * requests may run at the same time, with one exception: threads that wait for requests, peers or events wake up,
 * return HMC_CANCELLED and have left the context when this call returns.
 *
 * \param context The context; NULL is allowed.
 */
HMC_API void hmc_context_destroy(hmc_context_t *context);

/**
 * Listens for peers on an address. Threads: any. Blocking: while a host name is looked up.
 *
 * \param context The context.
 * \param ip An IPv4 or IPv6 address or a host name, which may bring the port: "10.0.0.2", "fe80::1%eth0", "node7",
 * "node7:2025", "[::]:2025".
 * \param port The port; 0 picks a free one.
 * \param bound_port Gets the port; may be NULL.
 * \return HMC_SUCCESS
 * \return HMC_ADDRESS_IN_USE Somebody else listens there.
 * \return HMC_NOT_FOUND No host has that name.
 * \return HMC_INVALID_CONFIG NULL, not an address of this host, or two ports that differ.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_listen(hmc_context_t *context, const char *ip, uint16_t port,
                                                    uint16_t *bound_port);

/**
 * Stops listening on all addresses. Connected peers stay, and work in both directions as before.
 *
 * New peers are turned away from now on: HMC_NOT_FOUND, or HMC_PEER_LOST while the port is still there. A tcp peer to
 * which this side has not sent anything yet connects once more first, to the same port. So the port is free when this
 * call returns, unless such a peer stands still; then it comes free when that peer goes on or is gone, and until then
 * hmc_context_listen with the same `ip` and that port goes on with it.
 *
 * Threads: any. Blocking: for at most a second, while such peers connect; in a callback not at all, and the port comes
 * free afterwards.
 *
 * \param context The context; NULL is allowed.
 */
HMC_API void hmc_context_stop_listening(hmc_context_t *context);

/**
 * Connects to a context that listens, and chooses the transport. hmc_context_connect_nb does the same as a request.
 *
 * Ownership: the peer belongs to the context; hmc_peer_close gives it back early. Threads: any; in a callback it
 * returns HMC_UNSUPPORT. Blocking: for at most `timeout_ms`.
 *
 * \param context The context.
 * \param ip The peer's address, as for hmc_context_listen. The addresses of a host name are tried in order.
 * \param port Its port; 0: the port that `ip` brings.
 * \param type How to reach it.
 * \param timeout_ms How long to try; 0: the context's timeout.
 * \param peer Gets the peer.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT The peer did not answer in time.
 * \return HMC_NOT_FOUND Nobody listens there, or no host has that name.
 * \return HMC_DENIED The secrets differ.
 * \return HMC_UNSUPPORT The required type does not work between the two; the text says why.
 * \return HMC_PEER_LOST The peer hung up.
 * \return HMC_INVALID_CONFIG NULL, or an unknown type.
 * \return HMC_NO_MEMORY No memory or file descriptors are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_connect(hmc_context_t *context, const char *ip, uint16_t port,
                                                     hmc_connection_type_t type, uint64_t timeout_ms,
                                                     hmc_peer_t **peer);

/**
 * Waits for the next peer that connects to a listener of the context. Each peer is returned once. A peer that
 * disconnected before the call is not returned.
 *
 * Ownership: as for hmc_context_connect. Threads: any. Blocking: for at most `timeout_ms`.
 *
 * \param context The context.
 * \param timeout_ms How long to wait; 0: the context's timeout.
 * \param peer Gets the peer.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT No peer connected in time.
 * \return HMC_CANCELLED hmc_context_interrupt was called, or the context ends.
 * \return HMC_UNSUPPORT This is a callback, and no peer is there.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_accept(hmc_context_t *context, uint64_t timeout_ms, hmc_peer_t **peer);

typedef enum hmc_peer_state {
  HMC_PEER_CONNECTED = 0,
  HMC_PEER_GONE = 1, /* it died, hung up or was cut off: operations return HMC_PEER_LOST */
} hmc_peer_state_t;

typedef struct hmc_peer_info {
  size_t size; /* sizeof(hmc_peer_info_t); the caller sets it */
  hmc_peer_state_t state;
  hmc_connection_type_t type; /* the transport that was chosen, never AUTO */
  char ip[64];                /* the peer's address as this side sees it */
  uint16_t port;              /* the port this side dialled, or the peer's ephemeral port where the peer dialled */
  char name[64];              /* the name of its context */
  char host[64];              /* its host name */
  uint64_t incarnation;       /* differs for every context ever made: a restarted peer is a new one */
  int process;                /* its process id on its host */
} hmc_peer_info_t;
#define HMC_PEER_INFO_INIT HMC_SIZED_INIT(hmc_peer_info_t)

/**
 * Describes a peer. Threads: any. Never blocks.
 *
 * \param peer The peer.
 * \param info Gets the description; begin with HMC_PEER_INFO_INIT.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or `info` has no size.
 * \return HMC_UNSUPPORT This is a forked child.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_get_info(hmc_peer_t *peer, hmc_peer_info_t *info);

/**
 * Explains, in lines of text, how a peer is reached: transport, device, staging, and why not by the faster ways.
 * Threads: any.
 *
 * \param peer The peer.
 * \param text Gets the text with its end, cut where it is longer than `size`; NULL with size 0 asks for the size only.
 * \param size The size of `text` in bytes.
 * \param needed Gets the size of the whole text; may be NULL.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_explain(hmc_peer_t *peer, char *text, size_t size, size_t *needed);

/**
 * Disconnects a peer and frees it. Operations in flight end with HMC_CANCELLED before the call returns. The handle, and
 * the remote regions opened through it, are invalid afterwards. Requests stay valid until hmc_request_free.
 *
 * Threads: no other call may use the peer or its remote regions at the same time, so no blocking operation may run
 * there. Other threads may wait for, test and cancel requests that were started before.
 *
 * \param peer The peer; NULL is allowed.
 */
HMC_API void hmc_peer_close(hmc_peer_t *peer);

#ifdef __cplusplus
}
#endif
#endif
