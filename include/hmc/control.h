/* The control channel: small messages between ranks, over TCP or a UNIX socket, apart from the data.
 *
 * A control channel has a rank of its own and links to others, each bound to the rank that the other side gave in its
 * greeting. Messages on a link arrive whole and in order. Links over TCP are authenticated and encrypted with the
 * secret (see context.h); on UNIX sockets the peer's credentials are checked.
 *
 * Threads: all calls are thread-safe; two threads that receive from one rank each get whole messages. Every blocking
 * call ends by its deadline: `timeout_ms`, 0 for HMC_TIMEOUT. */
#ifndef HMC_CONTROL_H
#define HMC_CONTROL_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_control hmc_control_t;

#define HMC_CONTROL_MESSAGE_MAX (16u << 20) /* bytes of one message */

/* The type travels with a message and is checked on receipt by the typed calls; bytes may use any value from 256 on. */
enum {
  HMC_CONTROL_INT = 1,    /* 32 bit, signed */
  HMC_CONTROL_STRUCT = 2, /* bytes of a plain struct, as they lie in memory */
  HMC_CONTROL_U64 = 3,
  HMC_CONTROL_BYTES = 4,
};

/* Creates a control channel without links. Ownership: the caller's, until hmc_control_destroy.
 * Errors: HMC_INVALID_CONFIG (settings, the secret), HMC_NO_MEMORY. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_create(hmc_control_t **control);

/* Closes all links and frees; NULL is allowed. Receivers that wait end with HMC_CANCELLED first. */
HMC_API void hmc_control_destroy(hmc_control_t *control);

/* Accepts links on TCP (`ip` with `port`; ip NULL: no TCP; port 0: a free one, see `bound_port`, may be NULL) and on a
 * UNIX socket (`uds_path`, NULL or "": none). A stale socket file nobody listens on is replaced.
 * Errors: HMC_ADDRESS_IN_USE, HMC_INVALID_CONFIG (a path too long, an address that is not this host's). */
HMC_API HMC_CHECKED hmc_status_t hmc_control_listen(hmc_control_t *control, const char *ip, uint16_t port,
                                                    const char *uds_path, uint16_t *bound_port);

/* Stops listening and removes the socket file; links stay. */
HMC_API void hmc_control_stop_listening(hmc_control_t *control);

/* Links to `peer_rank`, greeting with `self_rank`. With both a TCP address and a `uds_path` the UNIX socket is taken
 * when the peer is on this host and can be reached by it, else TCP; CTRL_TRANSPORT=tcp or =uds in the environment
 * forces one. A dial is repeated until the peer listens or the deadline passes.
 * Errors: HMC_TIMEOUT, HMC_DENIED, HMC_INVALID_CONFIG. A link to that rank that exists already is replaced. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_connect(hmc_control_t *control, uint32_t peer_rank, uint32_t self_rank,
                                                     const char *ip, uint16_t port, const char *uds_path,
                                                     uint64_t timeout_ms);

/* Sends one message; returns when the kernel has taken it. Waits for the link to `peer_rank` to come up, where the peer
 * has yet to dial. Errors: HMC_TIMEOUT, HMC_PEER_LOST, HMC_OUT_OF_RANGE (over HMC_CONTROL_MESSAGE_MAX). */
HMC_API HMC_CHECKED hmc_status_t hmc_control_send(hmc_control_t *control, uint32_t peer_rank, uint16_t type,
                                                  const void *data, size_t size, uint64_t timeout_ms);

/* Receives the next message from `peer_rank` into `data` (`capacity` bytes); `type` and `size` (may be NULL) get what
 * it is. Waits for the link to come up first. Errors: HMC_TIMEOUT, HMC_PEER_LOST (after all that had arrived was read),
 * HMC_OUT_OF_RANGE (larger than `capacity`: the message stays, *size tells how much it needs), HMC_CANCELLED. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive(hmc_control_t *control, uint32_t peer_rank, uint16_t *type,
                                                     void *data, size_t capacity, size_t *size, uint64_t timeout_ms);

/* Typed forms. The receiving ones answer HMC_CORRUPT, and leave the message, when the next one is of another type or
 * size. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_send_int(hmc_control_t *control, uint32_t peer_rank, int32_t value,
                                                      uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive_int(hmc_control_t *control, uint32_t peer_rank, int32_t *value,
                                                         uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_control_send_u64(hmc_control_t *control, uint32_t peer_rank, uint64_t value,
                                                      uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive_u64(hmc_control_t *control, uint32_t peer_rank, uint64_t *value,
                                                         uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_control_send_struct(hmc_control_t *control, uint32_t peer_rank, const void *object,
                                                         size_t size, uint64_t timeout_ms);
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive_struct(hmc_control_t *control, uint32_t peer_rank, void *object,
                                                            size_t size, uint64_t timeout_ms);

/* How a link runs: "tcp" or "uds". Errors: HMC_NOT_FOUND (no link to that rank), HMC_PEER_LOST. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_transport(hmc_control_t *control, uint32_t peer_rank,
                                                       const char **transport);

/* Finds the rank whose link comes from or goes to that IP address, waiting for one to come up; the oldest where there
 * are several. This is what the address-keyed calls of the C++ class stand on. Errors: HMC_TIMEOUT. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_find(hmc_control_t *control, const char *ip, uint64_t timeout_ms,
                                                  uint32_t *rank);

/* The socket of a link, for poll() only; it stays the channel's. Errors: HMC_NOT_FOUND. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_socket(hmc_control_t *control, uint32_t peer_rank, int *descriptor);

/* Closes one link; ends the waits on it with HMC_PEER_LOST. A rank without a link is fine. */
HMC_API void hmc_control_close(hmc_control_t *control, uint32_t peer_rank);

/* The customary socket path for a rank: "<directory>/hmc-ctrl-<uid>-<rank>.sock".
 * Errors: HMC_OUT_OF_RANGE when it does not fit into `size` or into a socket address. */
HMC_API HMC_CHECKED hmc_status_t hmc_control_uds_path(const char *directory, uint32_t rank, char *path, size_t size);

#ifdef __cplusplus
}
#endif
#endif
