/* What the tests of the control channel need to play a peer by hand, and to dial in a thread. Included once per test
 * program. */
#ifndef HMCI_CONTROL_IMPOSTOR_FIXTURE_H
#define HMCI_CONTROL_IMPOSTOR_FIXTURE_H

#include "control_fixture.h"

#include "../base/socket.h"
#include "inbox.h"
#include "link_handshake.h"
#include "secure.h"

typedef struct dialler {
  hmc_control_t *control;
  uint32_t peer, self;
  uint16_t port;
  pthread_barrier_t *barrier;
  hmc_status_t status;
  char text[HMCI_ERROR_TEXT];
} dialler_t;

static inline void *dial_peer(void *argument) {
  dialler_t *dialler = argument;
  pthread_barrier_wait(dialler->barrier);
  dialler->status = hmc_control_connect(dialler->control, dialler->peer, dialler->self, "127.0.0.1", dialler->port,
                                        NULL, PATIENCE_MS);
  memcpy(dialler->text, hmc_last_error(), sizeof(dialler->text));
  return NULL;
}

static hmci_secret_t no_secret = {.insecure = true, .source = "HMC_INSECURE"};

/* Speaks for a peer: up to the handshake. Port 0: by the UNIX socket. */
static inline hmci_secure_t *pose_as_peer(uint16_t port) {
  hmci_secure_t *stream;
  int descriptor;
  GOOD(port != 0 ? hmci_socket_connect_tcp("127.0.0.1", port, hmci_deadline(PATIENCE_MS), &descriptor)
                 : hmci_socket_connect_unix(path, hmci_deadline(PATIENCE_MS), &descriptor));
  GOOD(hmci_secure_open(&no_secret, descriptor, HMCI_SECURE_CLIENT, "the listener", &stream));
  GOOD(hmci_secure_handshake_wait(stream, hmci_deadline(PATIENCE_MS)));
  return stream;
}

static inline void send_all(hmci_secure_t *stream, const void *data, size_t size) {
  GOOD(hmci_secure_write_wait(stream, data, size, hmci_deadline(PATIENCE_MS)));
}

static inline void say_hello(hmci_secure_t *stream, const hmci_link_hello_t *hello, hmci_link_hello_t *answer) {
  uint8_t frame[HMCI_HELLO_FRAME];
  hmci_frame_header_t header;
  send_all(stream, frame, hmci_link_hello_encode(hello, frame));
  GOOD(hmci_secure_read_wait(stream, frame, HMCI_FRAME_HEADER, hmci_deadline(PATIENCE_MS)));
  GOOD(hmci_frame_decode(frame, HMCI_HELLO_BODY, &header));
  GOOD(hmci_secure_read_wait(stream, frame + HMCI_FRAME_HEADER, header.size, hmci_deadline(PATIENCE_MS)));
  GOOD(hmci_link_hello_decode(&header, frame + HMCI_FRAME_HEADER, answer));
}

static inline void assert_hung_up(hmci_secure_t *stream) {
  char byte;
  assert_int_equal(hmci_secure_read_wait(stream, &byte, 1, hmci_deadline(PATIENCE_MS)), HMC_PEER_LOST);
  hmci_secure_close(stream);
}

#endif
