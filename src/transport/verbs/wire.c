/* Encoding and decoding of what verbs sends (see wire.h). Pure functions. */
#include "wire.h"

#include <string.h>

enum { OFFER_HEAD = 4, OFFER_ENTRY = 24, CHAINED = 0x80, CHECKSUM = 0x40 };

/* A status that is unknown here comes from a newer peer. */
static bool is_status(uint32_t value) { return value != HMC_IN_PROGRESS; }

/* ---- notes ------------------------------------------------------------------------------------------------------- */

void hmci_verbs_note_encode(uint8_t to[VERBS_NOTE], const verbs_note_t *note) {
  const uint32_t words[] = {note->type,       note->epoch,      note->number, note->status,    note->region,
                            note->generation, note->queue_pair, note->packet, note->flush_key, note->rights};
  memset(to, 0, VERBS_NOTE);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) hmci_store32(to + 4 * i, words[i]);
  hmci_store64(to + 40, note->flush_address);
  hmci_store16(to + 48, note->lid);
  to[50] = note->mtu;
  to[51] = note->reads;
  to[52] = note->from;
  to[53] = note->to;
  to[54] = note->rail;
  memcpy(to + 56, note->gid, sizeof note->gid);
  size_t length = strnlen(note->text, VERBS_NOTE_TEXT - 1);
  memcpy(to + 72, note->text, length);
}

hmc_status_t hmci_verbs_note_decode(const uint8_t from[VERBS_NOTE], verbs_note_t *note) {
  *note = (verbs_note_t){
      .type = hmci_load32(from),
      .epoch = hmci_load32(from + 4),
      .number = hmci_load32(from + 8),
      .status = hmci_load32(from + 12),
      .region = hmci_load32(from + 16),
      .generation = hmci_load32(from + 20),
      .queue_pair = hmci_load32(from + 24),
      .packet = hmci_load32(from + 28),
      .flush_key = hmci_load32(from + 32),
      .rights = hmci_load32(from + 36),
      .flush_address = hmci_load64(from + 40),
      .lid = hmci_load16(from + 48),
      .mtu = from[50],
      .reads = from[51],
      .from = from[52],
      .to = from[53],
      .rail = from[54],
  };
  memcpy(note->gid, from + 56, sizeof note->gid);
  memcpy(note->text, from + 72, sizeof note->text);
  bool connects = note->type == VERBS_CONNECT || note->type == VERBS_CONNECTED;
  bool sound = note->type >= VERBS_CONNECT && note->type <= VERBS_KEY && is_status(note->status) && from[55] == 0 &&
               note->text[VERBS_NOTE_TEXT - 1] == 0;
  if (connects)
    sound = sound && note->mtu >= 1 && note->mtu <= 5 && note->queue_pair <= 0xffffff && note->packet <= 0xffffff;
  if (!sound) return hmci_fail(HMC_CORRUPT, "malformed note of type %u", note->type);
  hmci_text_clean(note->text);
  return HMC_SUCCESS;
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

void hmci_verbs_message_encode(uint8_t to[VERBS_HEADER], const verbs_message_t *message) {
  to[0] = message->type;
  to[1] = message->operation | (message->chained ? CHAINED : 0) | (message->checksum ? CHECKSUM : 0);
  hmci_store16(to + 2, message->status);
  hmci_store32(to + 4, message->number);
  hmci_store32(to + 8, message->region);
  hmci_store32(to + 12, message->generation);
  hmci_store64(to + 16, message->offset);
  bool atomic = message->type == VERBS_ATOMIC, moves = message->type == VERBS_PUT || message->type == VERBS_GET;
  hmci_store64(to + 24, atomic ? message->length | message->lease << 8 : message->length);
  hmci_store64(to + 32, message->value);
  hmci_store64(to + 40, moves ? message->lease : message->compare);
}

static bool is_width(uint64_t bytes) { return bytes == 1 || bytes == 2 || bytes == 4 || bytes == 8; }

/* Does what a message says about its payload match the `payload` bytes that came with it? */
static bool payload_matches(const verbs_message_t *message, size_t payload) {
  switch (message->type) {
  case VERBS_PUT:
  case VERBS_DATA:
  case VERBS_NOTIFY: return message->length > 0 && message->length <= VERBS_STAGE && message->length == payload;
  case VERBS_GET: return message->length > 0 && message->length <= VERBS_STAGE && payload == 0;
  case VERBS_ATOMIC: return is_width(message->length) && message->offset % message->length == 0 && payload == 0;
  case VERBS_DONE: return message->length == 0 && payload == 0;
  default: return false;
  }
}

hmc_status_t hmci_verbs_message_decode(const uint8_t *from, size_t size, verbs_message_t *message) {
  if (size < VERBS_HEADER) return hmci_fail(HMC_CORRUPT, "a message of %zu B", size);
  *message = (verbs_message_t){
      .type = from[0],
      .operation = from[1] & ~(CHAINED | CHECKSUM),
      .chained = from[1] & CHAINED,
      .checksum = from[1] & CHECKSUM,
      .status = hmci_load16(from + 2),
      .number = hmci_load32(from + 4),
      .region = hmci_load32(from + 8),
      .generation = hmci_load32(from + 12),
      .offset = hmci_load64(from + 16),
      .length = hmci_load64(from + 24),
      .value = hmci_load64(from + 32),
      .compare = hmci_load64(from + 40),
  };
  bool atomic = message->type == VERBS_ATOMIC;
  if (atomic) {
    message->lease = message->length >> 8;
    message->length &= 0xff;
  } else if (message->type == VERBS_PUT || message->type == VERBS_GET) {
    message->lease = message->compare;
    message->compare = 0;
  }
  bool operation = atomic ? message->operation >= HMC_ATOMIC_ADD && message->operation <= HMC_ATOMIC_COMPARE_SWAP
                          : message->operation == 0;
  bool status = message->type == VERBS_DONE ? is_status(message->status) : message->status == 0;
  bool bytes = message->type == VERBS_PUT || message->type == VERBS_GET || message->type == VERBS_DATA;
  bool flags = !(message->chained && message->type >= VERBS_DONE) && !(message->checksum && !bytes);
  if (status) message->status = (uint16_t)hmci_status_known(message->status);
  if (operation && status && flags && payload_matches(message, size - VERBS_HEADER)) return HMC_SUCCESS;
  return hmci_fail(HMC_CORRUPT, "malformed message of type %u", message->type);
}

/* ---- offers ------------------------------------------------------------------------------------------------------ */

void hmci_verbs_offer_encode(hmci_blob_t *offer, const verbs_gid_t *gids, uint32_t count, uint8_t rails) {
  if (count > VERBS_OFFERS) count = VERBS_OFFERS;
  offer->data[0] = VERBS_VERSION;
  offer->data[1] = (uint8_t)count;
  offer->data[2] = rails;
  offer->data[3] = 0;
  uint8_t *to = offer->data + OFFER_HEAD;
  for (uint32_t i = 0; i < count; i++, to += OFFER_ENTRY) {
    to[0] = gids[i].place;
    to[1] = gids[i].device;
    to[2] = gids[i].layer;
    to[3] = gids[i].type;
    to[4] = gids[i].mtu;
    to[5] = 0;
    hmci_store16(to + 6, gids[i].lid);
    memcpy(to + 8, gids[i].raw, sizeof gids[i].raw);
  }
  offer->size = (uint16_t)(to - offer->data);
}
_Static_assert(OFFER_HEAD + VERBS_OFFERS * OFFER_ENTRY <= HMCI_BLOB_MAX, "an offer fits into a blob");

hmc_status_t hmci_verbs_offer_decode(const hmci_blob_t *offer, verbs_gid_t gids[VERBS_OFFERS], uint32_t *count,
                                     uint8_t *rails) {
  if (offer->size < OFFER_HEAD || offer->data[0] != VERBS_VERSION) {
    return hmci_fail(HMC_UNSUPPORT, "the peer speaks version %u of verbs, not %d", offer->size ? offer->data[0] : 0,
                     VERBS_VERSION);
  }
  uint32_t entries = offer->data[1];
  if (entries > VERBS_OFFERS || !offer->data[2] || offer->size != OFFER_HEAD + entries * OFFER_ENTRY)
    return hmci_fail(HMC_CORRUPT, "malformed verbs offer");
  const uint8_t *from = offer->data + OFFER_HEAD;
  for (uint32_t i = 0; i < entries; i++, from += OFFER_ENTRY) {
    gids[i] = (verbs_gid_t){.place = from[0],
                            .device = from[1],
                            .layer = from[2],
                            .type = from[3],
                            .mtu = from[4],
                            .lid = hmci_load16(from + 6)};
    memcpy(gids[i].raw, from + 8, sizeof gids[i].raw);
    if (gids[i].mtu < 1 || gids[i].mtu > 5) return hmci_fail(HMC_CORRUPT, "malformed verbs offer");
  }
  *count = entries;
  *rails = offer->data[2];
  return HMC_SUCCESS;
}
