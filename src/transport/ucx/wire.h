/* What HMC sends through UCX. Little-endian, version 1 (in the connection data).
 *
 * A pipe is one stream of bytes each way between two workers. Its messages are active messages of one id, each with the
 * whole of:
 *    0  u8 type   1  u8[3] 0   4  u32 pipe, the receiver's number   8  u64 token, the receiver's
 *   16  u64 position   24  u64 taken   32  bytes
 *   DATA    bytes of the stream from `position` on
 *   CREDIT  no bytes; only `taken` counts
 *   HELLO   the first message of a connection, by the end that made it; shows whose connection it is
 *   WELCOME its answer
 *   LANE    the addresses of a device and of a connection there (below), or no bytes: there is no lane; see lane.h. Of
 *           this and the next three `position` is the number of the lane, which the offering half counts.
 *   READY   the answer to an answer with LANE
 *   LOST    the sender's end of the lane is gone, and the receiver is to give up its own
 *   GONE    the answer: it is gone too
 *   REVOKED the sender's region of that generation (the lower half of `position`) and id (the upper) is closed
 * `taken` of every message: so many bytes of the other direction have been taken by the sender of the message, and make
 * room for as many more. The token is what the receiver has given to this peer over the authenticated handshake: a
 * message without it is dropped, for UCX itself takes connections from anybody.
 *
 * Addresses of a lane:
 *    0  u8 major   1  u8 minor, of UCX's version   2  u8 name size   3  u8 device size   4  u8 connection size
 *    5  u8[3] 0   8  name of UCT's transport   then the device's address   then the connection's
 *
 * Connection data: what one half tells the other, inside the handshake.
 *    0  u8 version   1  u8[7] 0   8  u32 request pipe   12  u32 serve pipe   16  u64 request token   24  u64 serve
 * token One half's request pipe is connected with the other half's serve pipe.
 *
 * Ports: what the accepting half says on the socket that the dialling half has dialled for it: where, at the address it
 * dialled, the workers listen.
 *    0  u16 port of the request worker   2  u16 port of the serve worker */
#ifndef HMCI_UCX_WIRE_H
#define HMCI_UCX_WIRE_H

#include "../transport.h"

enum { HMCI_UCX_VERSION = 1, HMCI_UCX_HEADER = 32, HMCI_UCX_CONNECTION = 32, HMCI_UCX_PORTS = 4 };

typedef enum hmci_ucx_type {
  HMCI_UCX_DATA = 1,
  HMCI_UCX_CREDIT = 2,
  HMCI_UCX_HELLO = 3,
  HMCI_UCX_WELCOME = 4,
  HMCI_UCX_LANE = 5,
  HMCI_UCX_READY = 6,
  HMCI_UCX_LOST = 7,
  HMCI_UCX_GONE = 8,
  HMCI_UCX_REVOKED = 9,
} hmci_ucx_type_t;

typedef struct hmci_ucx_message {
  hmci_ucx_type_t type;
  uint32_t pipe;
  uint64_t token, position, taken;
  const uint8_t *bytes;
  size_t size;
} hmci_ucx_message_t;

/* Writes the header; the bytes go behind it. */
void hmci_ucx_message_encode(uint8_t *to, const hmci_ucx_message_t *message);
/* HMC_CORRUPT: too short, an unknown type, bytes where none belong or none where some do, or a position that overflows.
 */
hmc_status_t hmci_ucx_message_decode(const void *from, size_t size, hmci_ucx_message_t *message);

enum { HMCI_UCX_LANE_NAME = 32, HMCI_UCX_LANE_ADDRESS = 64 };
enum { HMCI_UCX_LANE_MOST = 8 + HMCI_UCX_LANE_NAME + 2 * HMCI_UCX_LANE_ADDRESS };

/* What one half must know to connect its end of a lane. Addresses are UCX's own; there are zeros behind them. */
typedef struct hmci_ucx_lane_address {
  uint8_t major, minor;
  char name[HMCI_UCX_LANE_NAME];
  size_t device_size, endpoint_size;
  _Alignas(8) uint8_t device[HMCI_UCX_LANE_ADDRESS];
  _Alignas(8) uint8_t endpoint[HMCI_UCX_LANE_ADDRESS];
} hmci_ucx_lane_address_t;

/* Returns how many bytes it wrote, at most HMCI_UCX_LANE_MOST. */
size_t hmci_ucx_lane_address_encode(uint8_t *to, const hmci_ucx_lane_address_t *address);
/* HMC_CORRUPT: it is none. */
hmc_status_t hmci_ucx_lane_address_decode(const uint8_t *from, size_t size, hmci_ucx_lane_address_t *address);

/* One end of a pipe, as the other end must name it. */
typedef struct hmci_ucx_end {
  uint32_t pipe;
  uint64_t token;
} hmci_ucx_end_t;

void hmci_ucx_connection_encode(hmci_blob_t *to, hmci_ucx_end_t request, hmci_ucx_end_t serve);
/* HMC_CORRUPT; HMC_UNSUPPORT: another version. */
hmc_status_t hmci_ucx_connection_decode(const hmci_blob_t *from, hmci_ucx_end_t *request, hmci_ucx_end_t *serve);

#endif
