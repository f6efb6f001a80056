/* What the two sides of a handshake share. */
#ifndef HMCI_HANDSHAKE_H
#define HMCI_HANDSHAKE_H

#include "core.h"

enum { HMCI_HANDSHAKE_BODY = 8 << 10 }; /* most bytes of a handshake's frame body */

/* Writes and reads the body of HELLO: who, and what transports with which offers (by the index of hmci_transports). */
void hmci_handshake_write_hello(const hmc_context_t *context, hmci_writer_t *writer);
hmc_status_t hmci_handshake_read_hello(hmc_peer_t *peer, hmci_reader_t *reader, hmci_blob_t offers[HMCI_TRANSPORTS],
                                       bool offered[HMCI_TRANSPORTS]);

/* The transport of that name as this context has it; NULL with a text in `reason`. */
hmci_transport_slot_t *hmci_transport_find(hmc_context_t *context, const char *name, char *reason, size_t size);

/* Turns the stream of an adopted data connection into a pipe, which takes it on success. */
hmc_status_t hmci_stream_pipe(const hmc_context_t *context, hmci_secure_t *stream, bool encrypt, hmci_pipe_t **pipe);

/* The same for a socket on which a ticket was shown and taken. */
hmc_status_t hmci_ticket_pipe(const hmc_peer_t *peer, int descriptor, const uint8_t hello[HMCI_TICKET_HELLO],
                              const uint8_t challenge[HMCI_TICKET_CHALLENGE], hmci_pipe_t **pipe);

/* The peer a data connection belongs to: one in its handshake, or a published one. In the loop's thread. */
hmc_peer_t *hmci_handshake_find_peer(hmc_context_t *context, uint64_t token, uint64_t incarnation);

/* Logs that a caller was turned away, and why: the text of this thread's error, which mostly begins with its name. */
void hmci_handshake_log_refusal(const char *from);

/* For the callback of a timer that ends such a connection: this process stood still meanwhile, so that the connection has
 * to get its time again. */
bool hmci_handshake_stood_still(const hmci_timer_t *timer);
/* Bytes wait in the socket to be looked at. */
bool hmci_handshake_has_bytes(int descriptor);

/* data_accept.c: does a socket begin as a data connection? HMC_SUCCESS: its hello is there, HMC_IN_PROGRESS: not all of
 * it, HMC_PEER_LOST: and the rest will not come, HMC_NOT_FOUND: it is something else. */
hmc_status_t hmci_data_knocks(int descriptor);
/* Takes such a socket. In the loop's thread. */
void hmci_data_accept(hmc_context_t *context, int descriptor, const char *from);
void hmci_data_cancel_all(hmc_context_t *context);

#endif
