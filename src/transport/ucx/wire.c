/* What HMC sends through UCX (see wire.h). */
#include "wire.h"

#include <string.h>

void hmci_ucx_message_encode(uint8_t *to, const hmci_ucx_message_t *message) {
  memset(to, 0, HMCI_UCX_HEADER);
  to[0] = (uint8_t)message->type;
  hmci_store32(to + 4, message->pipe);
  hmci_store64(to + 8, message->token);
  hmci_store64(to + 16, message->position);
  hmci_store64(to + 24, message->taken);
}

hmc_status_t hmci_ucx_message_decode(const void *from, size_t size, hmci_ucx_message_t *message) {
  const uint8_t *bytes = from;
  if (size < HMCI_UCX_HEADER) return hmci_fail(HMC_CORRUPT, "a UCX message of %zu B", size);
  hmci_ucx_message_t decoded = {
      .type = (hmci_ucx_type_t)bytes[0],
      .pipe = hmci_load32(bytes + 4),
      .token = hmci_load64(bytes + 8),
      .position = hmci_load64(bytes + 16),
      .taken = hmci_load64(bytes + 24),
      .bytes = bytes + HMCI_UCX_HEADER,
      .size = size - HMCI_UCX_HEADER,
  };
  bool known = decoded.type >= HMCI_UCX_DATA && decoded.type <= HMCI_UCX_REVOKED;
  bool zero = !bytes[1] && !bytes[2] && !bytes[3];
  bool fits = decoded.type == HMCI_UCX_LANE ||
              ((decoded.type == HMCI_UCX_DATA) == (decoded.size > 0) && decoded.position <= UINT64_MAX - decoded.size);
  if (!known || !zero || !fits)
    return hmci_fail(HMC_CORRUPT, "a malformed UCX message, type %u, %zu B", bytes[0], size);
  *message = decoded;
  return HMC_SUCCESS;
}

size_t hmci_ucx_lane_address_encode(uint8_t *to, const hmci_ucx_lane_address_t *address) {
  size_t name = strlen(address->name);
  memset(to, 0, 8);
  to[0] = address->major;
  to[1] = address->minor;
  to[2] = (uint8_t)name;
  to[3] = (uint8_t)address->device_size;
  to[4] = (uint8_t)address->endpoint_size;
  memcpy(to + 8, address->name, name);
  memcpy(to + 8 + name, address->device, address->device_size);
  memcpy(to + 8 + name + address->device_size, address->endpoint, address->endpoint_size);
  return 8 + name + address->device_size + address->endpoint_size;
}

hmc_status_t hmci_ucx_lane_address_decode(const uint8_t *from, size_t size, hmci_ucx_lane_address_t *address) {
  hmci_ucx_lane_address_t decoded = {0};
  bool sound = size >= 8 && !from[5] && !from[6] && !from[7];
  size_t name = sound ? from[2] : 0;
  if (sound) {
    decoded.major = from[0];
    decoded.minor = from[1];
    decoded.device_size = from[3];
    decoded.endpoint_size = from[4];
    sound = name < HMCI_UCX_LANE_NAME && decoded.device_size <= HMCI_UCX_LANE_ADDRESS &&
            decoded.endpoint_size <= HMCI_UCX_LANE_ADDRESS &&
            size == 8 + name + decoded.device_size + decoded.endpoint_size;
  }
  if (!sound) return hmci_fail(HMC_CORRUPT, "malformed addresses of a lane, %zu B", size);
  memcpy(decoded.name, from + 8, name);
  memcpy(decoded.device, from + 8 + name, decoded.device_size);
  memcpy(decoded.endpoint, from + 8 + name + decoded.device_size, decoded.endpoint_size);
  *address = decoded;
  return HMC_SUCCESS;
}

void hmci_ucx_connection_encode(hmci_blob_t *to, hmci_ucx_end_t request, hmci_ucx_end_t serve) {
  to->size = HMCI_UCX_CONNECTION;
  memset(to->data, 0, HMCI_UCX_CONNECTION);
  to->data[0] = HMCI_UCX_VERSION;
  hmci_store32(to->data + 8, request.pipe);
  hmci_store32(to->data + 12, serve.pipe);
  hmci_store64(to->data + 16, request.token);
  hmci_store64(to->data + 24, serve.token);
}

hmc_status_t hmci_ucx_connection_decode(const hmci_blob_t *from, hmci_ucx_end_t *request, hmci_ucx_end_t *serve) {
  static const uint8_t zeros[7];
  const uint8_t *data = from->data;
  if (from->size < 1 || data[0] != HMCI_UCX_VERSION) {
    return hmci_fail(HMC_UNSUPPORT, "the peer speaks another version of HMC over UCX");
  }
  if (from->size != HMCI_UCX_CONNECTION || memcmp(data + 1, zeros, sizeof zeros) != 0) {
    return hmci_fail(HMC_CORRUPT, "malformed UCX connection data");
  }
  *request = (hmci_ucx_end_t){hmci_load32(data + 8), hmci_load64(data + 16)};
  *serve = (hmci_ucx_end_t){hmci_load32(data + 12), hmci_load64(data + 24)};
  return HMC_SUCCESS;
}
