/* The hello (see link_handshake.h). No state, no locking. */
#include "link_handshake.h"

#include "inbox.h"

#include <string.h>

size_t hmci_link_hello_encode(const hmci_link_hello_t *hello, uint8_t frame[HMCI_HELLO_FRAME]) {
  hmci_writer_t writer = {.data = frame + HMCI_FRAME_HEADER, .capacity = HMCI_HELLO_BODY};
  hmci_write_u8(&writer, (uint8_t)hello->kind);
  hmci_write_u32(&writer, hello->rank);
  hmci_write_u32(&writer, hello->peer_rank);
  hmci_write_u64(&writer, hello->incarnation);
  hmci_write_u64(&writer, hello->serial);
  hmci_write_text(&writer, hello->text);
  hmci_frame_encode(frame, HMCI_FRAME_HELLO, writer.data, (uint32_t)writer.size);
  return HMCI_FRAME_HEADER + writer.size;
}

hmc_status_t hmci_link_hello_decode(const hmci_frame_header_t *header, const uint8_t *body, hmci_link_hello_t *hello) {
  hmci_link_hello_t decoded;
  hmci_reader_t reader = {.data = body, .size = header->size};
  if (header->type != HMCI_FRAME_HELLO) {
    return hmci_fail(HMC_CORRUPT, "a frame of type %u where a hello belongs", header->type);
  }
  hmc_status_t status = hmci_frame_check(header, body);
  if (status != HMC_SUCCESS) {
    return status;
  }
  decoded.kind = (hmci_link_hello_kind_t)hmci_read_u8(&reader);
  decoded.rank = hmci_read_u32(&reader);
  decoded.peer_rank = hmci_read_u32(&reader);
  decoded.incarnation = hmci_read_u64(&reader);
  decoded.serial = hmci_read_u64(&reader);
  hmci_read_text(&reader, decoded.text, sizeof(decoded.text));
  if (reader.failed || decoded.kind < HMCI_LINK_HELLO_DIAL || decoded.kind > HMCI_LINK_HELLO_REFUSED) {
    return hmci_fail(HMC_CORRUPT, "a hello of %u B that makes no sense", header->size);
  }
  *hello = decoded;
  return HMC_SUCCESS;
}
