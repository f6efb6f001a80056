/* The inbox of a link (see inbox.h).
 *
 * Invariants: header_size bytes of the coming frame's header (with its prefix, for a data frame) are in `header`; once
 * all of them are, part_left bytes are still to come. partial_size <= partial->size. */
#include "inbox.h"

#include <hmc/control.h>
#include <stdlib.h>
#include <string.h>

void hmci_inbox_init(hmci_inbox_t *inbox) {
  memset(inbox, 0, sizeof(*inbox));
  hmci_list_init(&inbox->messages);
}

static void drop_partial(hmci_inbox_t *inbox) {
  free(inbox->partial);
  inbox->partial = NULL;
  inbox->partial_size = 0;
}

void hmci_inbox_clear(hmci_inbox_t *inbox) {
  while (hmci_inbox_first(inbox) != NULL) {
    hmci_inbox_remove_first(inbox);
  }
  drop_partial(inbox);
}

hmci_message_t *hmci_inbox_first(const hmci_inbox_t *inbox) {
  return hmci_list_is_empty(&inbox->messages) ? NULL : HMCI_CONTAINER(inbox->messages.next, hmci_message_t, member);
}

static size_t occupied(const hmci_message_t *message) { return sizeof(*message) + message->size; }

void hmci_inbox_remove_first(hmci_inbox_t *inbox) {
  hmci_message_t *message = hmci_inbox_first(inbox);
  inbox->bytes -= occupied(message);
  hmci_list_remove(&message->member);
  free(message);
}

void hmci_inbox_inherit(hmci_inbox_t *to, hmci_inbox_t *from) {
  while (!hmci_list_is_empty(&to->messages)) { /* so that all are behind what `from` has */
    hmci_list_t *member = to->messages.next;
    hmci_list_remove(member);
    hmci_list_append(&from->messages, member);
  }
  while (!hmci_list_is_empty(&from->messages)) {
    hmci_list_t *member = from->messages.next;
    hmci_list_remove(member);
    hmci_list_append(&to->messages, member);
  }
  to->bytes += from->bytes;
  from->bytes = 0;
}

/* ---- the parser -------------------------------------------------------------------------------------------------- */

/* Bytes that belong before the part's: only data frames have a prefix. */
static size_t header_needed(const hmci_inbox_t *inbox) {
  bool is_data = inbox->header_size >= HMCI_FRAME_HEADER && inbox->frame.type == HMCI_FRAME_DATA;
  return HMCI_FRAME_HEADER + (is_data ? HMCI_DATA_PREFIX : 0);
}

static hmc_status_t take_frame_header(hmci_inbox_t *inbox) {
  hmc_status_t status = hmci_frame_decode(inbox->header, HMCI_DATA_PREFIX + HMCI_DATA_PART, &inbox->frame);
  if (status != HMC_SUCCESS) {
    return status;
  }
  inbox->crc = 0;
  inbox->part_left = 0;
  if (inbox->frame.type == HMCI_FRAME_DATA && inbox->frame.size >= HMCI_DATA_PREFIX) {
    return HMC_SUCCESS;
  }
  if (inbox->frame.type == HMCI_FRAME_DROP && inbox->frame.size == 0) {
    return HMC_SUCCESS;
  }
  return hmci_fail(HMC_CORRUPT, "a frame of type %u with %u B has no place among messages", inbox->frame.type,
                   inbox->frame.size);
}

/* The prefix is there: begins a message or goes on with the one at hand. */
static hmc_status_t take_prefix(hmci_inbox_t *inbox) {
  const uint8_t *prefix = inbox->header + HMCI_FRAME_HEADER;
  uint16_t type = hmci_load16(prefix);
  uint32_t size = hmci_load32(prefix + 2);
  inbox->crc = hmci_crc32c(0, prefix, HMCI_DATA_PREFIX);
  inbox->part_left = inbox->frame.size - HMCI_DATA_PREFIX;
  if (inbox->partial == NULL) {
    if (size > HMC_CONTROL_MESSAGE_MAX) {
      return hmci_fail(HMC_OUT_OF_RANGE, "a message of %u B where at most %u B are taken", size,
                       HMC_CONTROL_MESSAGE_MAX);
    }
    inbox->partial = malloc(sizeof(*inbox->partial) + size);
    if (inbox->partial == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for a message of %u B", size);
    }
    inbox->partial->type = type;
    inbox->partial->size = size;
    inbox->partial_size = 0;
  }
  /* A part brings something, unless the message is empty as a whole. */
  if (inbox->partial->type != type || inbox->partial->size != size || inbox->part_left > size - inbox->partial_size ||
      (inbox->part_left == 0 && size > 0)) {
    return hmci_fail(HMC_CORRUPT, "a part of %u B does not belong to the message of %u B at hand", inbox->part_left,
                     inbox->partial->size);
  }
  return HMC_SUCCESS;
}

/* All of a frame is there. */
static hmc_status_t finish_frame(hmci_inbox_t *inbox) {
  inbox->header_size = 0;
  if (inbox->crc != inbox->frame.crc) {
    return hmci_fail(HMC_CORRUPT, "a frame of %u B has CRC-32C %08x instead of %08x", inbox->frame.size, inbox->crc,
                     inbox->frame.crc);
  }
  if (inbox->frame.type == HMCI_FRAME_DROP) {
    drop_partial(inbox);
  } else if (inbox->partial_size == inbox->partial->size) {
    hmci_list_append(&inbox->messages, &inbox->partial->member);
    inbox->bytes += occupied(inbox->partial);
    inbox->partial = NULL;
  }
  return HMC_SUCCESS;
}

/* Takes bytes of the header until it is whole; returns how many. */
static size_t fill_header(hmci_inbox_t *inbox, const uint8_t *data, size_t size, hmc_status_t *status) {
  size_t missing = header_needed(inbox) - inbox->header_size;
  size_t taken = size < missing ? size : missing;
  memcpy(inbox->header + inbox->header_size, data, taken);
  inbox->header_size += taken;
  *status = HMC_SUCCESS;
  if (taken == missing) {
    *status = inbox->header_size == HMCI_FRAME_HEADER ? take_frame_header(inbox) : take_prefix(inbox);
  }
  return taken;
}

static size_t fill_part(hmci_inbox_t *inbox, const uint8_t *data, size_t size) {
  size_t taken = size < inbox->part_left ? size : inbox->part_left;
  uint8_t *place = inbox->partial->data + inbox->partial_size;
  if (place != data) {
    memcpy(place, data, taken);
  }
  inbox->crc = hmci_crc32c(inbox->crc, data, taken);
  inbox->partial_size += (uint32_t)taken;
  inbox->part_left -= (uint32_t)taken;
  return taken;
}

static bool header_is_whole(const hmci_inbox_t *inbox) {
  return inbox->header_size >= HMCI_FRAME_HEADER && inbox->header_size == header_needed(inbox);
}

hmc_status_t hmci_inbox_feed(hmci_inbox_t *inbox, const void *data, size_t size) {
  const uint8_t *at = data;
  hmc_status_t status = HMC_SUCCESS;
  while (size > 0 && status == HMC_SUCCESS) {
    size_t taken = header_is_whole(inbox) ? fill_part(inbox, at, size) : fill_header(inbox, at, size, &status);
    at += taken;
    size -= taken;
    if (status == HMC_SUCCESS && header_is_whole(inbox) && inbox->part_left == 0) {
      status = finish_frame(inbox);
    }
  }
  return status;
}

void *hmci_inbox_place(hmci_inbox_t *inbox, size_t *size) {
  if (!header_is_whole(inbox)) {
    return NULL;
  }
  *size = inbox->part_left;
  return inbox->partial->data + inbox->partial_size;
}
