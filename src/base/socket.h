/* Sockets: addresses and the few calls that TCP and UNIX sockets need, non-blocking, close-on-exec, with deadlines and
 * texts. */
#ifndef HMCI_SOCKET_H
#define HMCI_SOCKET_H

#include "base.h"

#include <sys/socket.h>

/* "10.0.0.2:2025", "[fe80::1]:2025", "unix:/path" or "unix:@abstract". */
#define HMCI_ADDRESS_TEXT 128
void hmci_address_text(const struct sockaddr *address, socklen_t size, char text[HMCI_ADDRESS_TEXT]);

/* Where the TCP calls take `where`, it is an address or a host name, with a port or without (see resolve.h); a name makes
 * them ask the system's resolver, and its addresses are tried in order.
 *
 * Listens. HMC_ADDRESS_IN_USE, HMC_NOT_FOUND (no host of that name), HMC_INVALID_CONFIG (no address, or none of this
 * host's). SO_REUSEADDR is set so that a restarted server gets its port back at once. */
hmc_status_t hmci_socket_listen_tcp(const char *where, uint16_t port, int *descriptor, uint16_t *bound_port);

/* Listens on a UNIX socket: a path, or with a leading '@' an abstract name. A socket file nobody listens on is
 * replaced. */
hmc_status_t hmci_socket_listen_unix(const char *path, int *descriptor);

/* Connects, at most until `deadline`. HMC_NOT_FOUND (refused: nobody listens; no host of that name), HMC_TIMEOUT, HMC_INVALID_CONFIG,
 * HMC_PEER_LOST (no route). TCP_NODELAY is set. */
hmc_status_t hmci_socket_connect_tcp(const char *where, uint16_t port, uint64_t deadline, int *descriptor);
hmc_status_t hmci_socket_connect_unix(const char *path, uint64_t deadline, int *descriptor);
/* The same over TCP, with at most `each_ms` for each address of a name, see hmci_address_turn; looking up the name takes
 * until the deadline, if it must. */
hmc_status_t hmci_socket_connect_each(const char *where, uint16_t port, uint64_t each_ms, uint64_t deadline,
                                      int *descriptor);

/* How long one of several addresses may take to connect. */
enum { HMCI_EACH_MS = 3000 };

/* True where `where` is an address of this host, in this network namespace; false also where that is not known by the
 * deadline. */
bool hmci_socket_is_local(const char *where, uint64_t deadline);

/* Accepts one connection: HMC_IN_PROGRESS when none waits; HMC_NO_MEMORY when out of descriptors. Non-blocking, NODELAY
 * set. */
hmc_status_t hmci_socket_accept(int listener, int *descriptor, char peer[HMCI_ADDRESS_TEXT]);

/* TCP_USER_TIMEOUT and keepalives, so that a host that vanished is noticed within about `timeout_ms`. For connections
 * with little to say: TCP_USER_TIMEOUT ends those as well whose other end is alive and does not read. Nothing is set
 * where both ends have one address: this host is there, and thousands of probes at a time overflow the queue of its
 * loopback, which looks like a host that is not. */
void hmci_socket_set_liveness(int descriptor, uint64_t timeout_ms);

/* For connections that carry bulk, beside one of the above: a program at the other end that does not read, however
 * long, does not end them. */
void hmci_socket_let_be_slow(int descriptor);

/* Takes what comes for a conversation, so that the kernel waits for data to send its acknowledgements with: one for two
 * small messages that were read, instead of one for each. The kernel forgets it after a while. Nothing on other sockets. */
void hmci_socket_delay_acks(int descriptor);

/* The other host has acknowledged nothing for `timeout_ms` of what it was sent. Windows of zero are answers, too. */
bool hmci_socket_is_deserted(int descriptor, uint64_t timeout_ms);

/* Why a connection broke, from errno: `otherwise`, or a text that names the setting that decided it. */
const char *hmci_socket_loss(int error, const char *otherwise);

/* True where both ends of a connected socket have one address, this host's. */
bool hmci_socket_stays_here(int descriptor);

/* The congestion control of a TCP socket, by the kernel's name. HMC_INVALID_CONFIG: it has none of that name, or not
 * for this process. */
hmc_status_t hmci_socket_set_congestion(int descriptor, const char *name);

/* Sends or receives a few bytes together with at most one descriptor (-1: none) over a UNIX socket. The receiver owns
 * what comes. HMC_IN_PROGRESS, HMC_PEER_LOST. Message boundaries are not kept by stream sockets: use SOCK_SEQPACKET. */
hmc_status_t hmci_socket_send_descriptor(int socket, const void *data, size_t size, int descriptor);
hmc_status_t hmci_socket_receive_descriptor(int socket, void *data, size_t capacity, size_t *size, int *descriptor);

#endif
