/* The codec of the store's messages (see store_wire.h). */
#include "store_wire.h"

#include <string.h>

void hmci_store_encode_head(const hmci_store_message_t *message, uint8_t *head) {
  uint8_t *body = head + HMCI_FRAME_HEADER;
  hmci_store64(body, message->sequence);
  hmci_store64(body + 8, message->floor);
  hmci_store64(body + 16, message->lease);
  hmci_store64(body + 24, (uint64_t)message->number);
  hmci_store32(body + 32, message->index);
  hmci_store32(body + 36, message->value_size);
  hmci_store16(body + 40, message->key_size);
  body[42] = message->status;
  body[43] = message->flags;
  if (message->key_size > 0) {
    memcpy(body + HMCI_STORE_FIXED, message->key, message->key_size);
  }
  uint32_t size = HMCI_STORE_FIXED + message->key_size;
  uint32_t crc = hmci_crc32c(0, body, size);
  crc = hmci_crc32c(crc, message->value, message->value_size);
  hmci_frame_encode_checked(head, message->type, size + message->value_size, crc);
}

hmc_status_t hmci_store_decode(const hmci_frame_header_t *header, const uint8_t *body, hmci_store_message_t *message) {
  if (header->size < HMCI_STORE_FIXED) {
    return hmci_fail(HMC_CORRUPT, "a message of %u B: the store's have %d at least", header->size, HMCI_STORE_FIXED);
  }
  uint32_t value_size = hmci_load32(body + 36);
  uint16_t key_size = hmci_load16(body + 40);
  if ((uint64_t)HMCI_STORE_FIXED + key_size + value_size != header->size) {
    return hmci_fail(HMC_CORRUPT, "a message of %u B that names a key of %u B and a value of %u B", header->size,
                     key_size, value_size);
  }
  if (key_size > HMC_STORE_KEY_MAX || memchr(body + HMCI_STORE_FIXED, '\0', key_size) != NULL) {
    return hmci_fail(HMC_CORRUPT, "a key of %u B that is too long, or has a NUL in it", key_size);
  }
  *message = (hmci_store_message_t){.type = header->type,
                                    .sequence = hmci_load64(body),
                                    .floor = hmci_load64(body + 8),
                                    .lease = hmci_load64(body + 16),
                                    .number = (int64_t)hmci_load64(body + 24),
                                    .index = hmci_load32(body + 32),
                                    .value_size = value_size,
                                    .key_size = key_size,
                                    .status = body[42],
                                    .flags = body[43],
                                    .key = (const char *)body + HMCI_STORE_FIXED,
                                    .value = body + HMCI_STORE_FIXED + key_size};
  return HMC_SUCCESS;
}
