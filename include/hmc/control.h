/* The control channel: small messages between ranks, over TCP or a UNIX socket, apart from the data.
 *
 * A control channel has links to other ranks. Each link belongs to the rank that the other side gave in its greeting.
 * Messages on a link arrive whole and in order. Links over TCP are authenticated and encrypted with the secret (see
 * context.h); on UNIX sockets the peer's credentials are checked too.
 *
 * Threads: all calls are thread-safe; two threads that receive from one rank each get whole messages. Every blocking
 * call ends by its deadline: `timeout_ms`, 0 for HMC_TIMEOUT.
 *
 * Results that all calls share: HMC_INVALID_CONFIG for NULL, HMC_NO_MEMORY, and HMC_UNSUPPORT in a forked child. */
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

/* The type travels with a message; the typed calls check it on receipt. Bytes may use any value from 256 on. */
enum {
  HMC_CONTROL_INT = 1,    /* 32 bit, signed */
  HMC_CONTROL_STRUCT = 2, /* bytes of a plain struct, as they lie in memory */
  HMC_CONTROL_U64 = 3,
  HMC_CONTROL_BYTES = 4,
};

/**
 * Creates a control channel without links. Ownership: the caller's, until hmc_control_destroy.
 *
 * \param control Gets the channel.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG A setting or the secret does not parse.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_create(hmc_control_t **control);

/**
 * Closes all links and frees the channel. Calls that wait end with HMC_CANCELLED first.
 *
 * \param control The channel; NULL is allowed.
 */
HMC_API void hmc_control_destroy(hmc_control_t *control);

/**
 * Accepts links on TCP and on a UNIX socket. A socket file that nobody listens on is replaced.
 *
 * \param control The channel.
 * \param ip The address for TCP; NULL: no TCP.
 * \param port Its port; 0: a free one.
 * \param uds_path The path of the UNIX socket; NULL or "": none.
 * \param bound_port Gets the port of TCP; may be NULL.
 * \return HMC_SUCCESS
 * \return HMC_ADDRESS_IN_USE Somebody else listens there.
 * \return HMC_INVALID_CONFIG The path is too long, or the address is not this host's.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_listen(hmc_control_t *control, const char *ip, uint16_t port,
                                                    const char *uds_path, uint16_t *bound_port);

/**
 * Stops listening and removes the socket file. Links stay.
 *
 * \param control The channel; NULL is allowed.
 */
HMC_API void hmc_control_stop_listening(hmc_control_t *control);

/**
 * Makes a link to a rank, and dials until the peer listens or the deadline passes. With both a TCP address and a UNIX
 * socket the UNIX socket is taken where it can be reached, else TCP; CTRL_TRANSPORT=tcp or =uds in the environment
 * forces one. A link to that rank that exists already is replaced.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param self_rank The rank that this side gives in its greeting.
 * \param ip The peer's TCP address; NULL: none.
 * \param port Its port.
 * \param uds_path The peer's UNIX socket; NULL or "": none.
 * \param timeout_ms How long to try.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT Nobody answered in time.
 * \return HMC_DENIED The secrets differ.
 * \return HMC_INVALID_CONFIG No address, or one that does not parse.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_connect(hmc_control_t *control, uint32_t peer_rank, uint32_t self_rank,
                                                     const char *ip, uint16_t port, const char *uds_path,
                                                     uint64_t timeout_ms);

/**
 * Sends one message, and returns when the kernel has taken it. Where the peer has yet to dial, it waits for the link.
 *
 * \param control The channel.
 * \param peer_rank Who gets it.
 * \param type The message's type.
 * \param data Its bytes.
 * \param size How many; at most HMC_CONTROL_MESSAGE_MAX.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT No link came up, or the peer does not read.
 * \return HMC_PEER_LOST The link is gone.
 * \return HMC_OUT_OF_RANGE It is too large.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_send(hmc_control_t *control, uint32_t peer_rank, uint16_t type,
                                                  const void *data, size_t size, uint64_t timeout_ms);

/**
 * Receives the next message from a rank. It waits for the link first.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param type Gets the message's type; may be NULL.
 * \param data Gets the bytes.
 * \param capacity Its size in bytes.
 * \param size Gets the message's size; may be NULL.
 * \param timeout_ms How long to wait.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT No message came in time.
 * \return HMC_PEER_LOST The link is gone, and all messages that had arrived were read.
 * \return HMC_OUT_OF_RANGE The message is larger than `capacity`; it stays, and *size is its size.
 * \return HMC_CANCELLED The channel is being destroyed.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive(hmc_control_t *control, uint32_t peer_rank, uint16_t *type,
                                                     void *data, size_t capacity, size_t *size, uint64_t timeout_ms);

/**
 * Sends a number of 32 bits.
 *
 * \param control The channel.
 * \param peer_rank Who gets it.
 * \param value The number.
 * \param timeout_ms How long to wait.
 * \return As hmc_control_send.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_send_int(hmc_control_t *control, uint32_t peer_rank, int32_t value,
                                                      uint64_t timeout_ms);

/**
 * Receives a number of 32 bits.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param value Gets the number.
 * \param timeout_ms How long to wait.
 * \return As hmc_control_receive.
 * \return HMC_CORRUPT The next message has another type or size; it stays.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive_int(hmc_control_t *control, uint32_t peer_rank, int32_t *value,
                                                         uint64_t timeout_ms);

/**
 * Sends a number of 64 bits.
 *
 * \param control The channel.
 * \param peer_rank Who gets it.
 * \param value The number.
 * \param timeout_ms How long to wait.
 * \return As hmc_control_send.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_send_u64(hmc_control_t *control, uint32_t peer_rank, uint64_t value,
                                                      uint64_t timeout_ms);

/**
 * Receives a number of 64 bits.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param value Gets the number.
 * \param timeout_ms How long to wait.
 * \return As hmc_control_receive_int.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive_u64(hmc_control_t *control, uint32_t peer_rank, uint64_t *value,
                                                         uint64_t timeout_ms);

/**
 * Sends the bytes of a plain struct.
 *
 * \param control The channel.
 * \param peer_rank Who gets it.
 * \param object The struct.
 * \param size Its size in bytes.
 * \param timeout_ms How long to wait.
 * \return As hmc_control_send.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_send_struct(hmc_control_t *control, uint32_t peer_rank, const void *object,
                                                         size_t size, uint64_t timeout_ms);

/**
 * Receives a plain struct of exactly that size.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param object Gets the struct.
 * \param size Its size in bytes.
 * \param timeout_ms How long to wait.
 * \return As hmc_control_receive_int.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_receive_struct(hmc_control_t *control, uint32_t peer_rank, void *object,
                                                            size_t size, uint64_t timeout_ms);

/**
 * The transport of a link.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param transport Gets "tcp" or "uds"; static storage.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND There is no link to that rank.
 * \return HMC_PEER_LOST The link is gone.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_transport(hmc_control_t *control, uint32_t peer_rank,
                                                       const char **transport);

/**
 * Finds the rank of a link that comes from or goes to an IP address, the oldest where there are several. It waits until
 * there is one. The calls of the C++ class that name an address use it.
 *
 * \param control The channel.
 * \param ip The address.
 * \param timeout_ms How long to wait.
 * \param rank Gets the rank.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT None came up in time.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_find(hmc_control_t *control, const char *ip, uint64_t timeout_ms,
                                                  uint32_t *rank);

/**
 * The socket of a link, for poll() only. Ownership: the channel's.
 *
 * \param control The channel.
 * \param peer_rank The rank.
 * \param descriptor Gets the socket.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND There is no link to that rank.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_socket(hmc_control_t *control, uint32_t peer_rank, int *descriptor);

/**
 * Closes one link. Calls that wait on it end with HMC_PEER_LOST.
 *
 * \param control The channel.
 * \param peer_rank The rank; it need not have a link.
 */
HMC_API void hmc_control_close(hmc_control_t *control, uint32_t peer_rank);

/**
 * The customary socket path of a rank: "<directory>/hmc-ctrl-<uid>-<rank>.sock".
 *
 * \param directory The directory.
 * \param rank The rank.
 * \param path Gets the path.
 * \param size The size of `path` in bytes.
 * \return HMC_SUCCESS
 * \return HMC_OUT_OF_RANGE It does not fit into `size` or into a socket address.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_control_uds_path(const char *directory, uint32_t rank, char *path, size_t size);

#ifdef __cplusplus
}
#endif
#endif
