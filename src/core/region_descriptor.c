/* A region's description in bytes, which its owner exports and a peer imports.
 *
 * Little-endian: "HMCR"; u16 version; u64 incarnation of the owner's context; u32 region, u32 generation; u64 size; u32
 * kind and u32 device of its memory; u32 rights; text: name; u16 number of keys; for each: u16 transport (its connection
 * type), blob: key. A key is what the peer's transport would have got with the answer to an opening; transports that
 * make keys for each connection leave none here, and theirs is asked for.
 *
 * The parser is a pure function: the bytes may come from anywhere. */
#include "region_descriptor.h"
#include "core.h"

#include <stdio.h>
#include <string.h>

enum { VERSION = 1 };
static const uint8_t magic[4] = {'H', 'M', 'C', 'R'};

/* ---- exporting --------------------------------------------------------------------------------------------------- */

static void write_keys(hmc_region_t *region, hmci_writer_t *writer) {
  hmc_context_t *context = region->context;
  uint16_t count = 0;
  size_t at = writer->size;
  hmci_write_u16(writer, 0);
  for (size_t i = 0; i < hmci_transport_count; i++) {
    const hmci_transport_slot_t *slot = &context->transports[i];
    hmci_blob_t key = {0};
    if (!slot->state || !slot->ops->region_describe) continue;
    if (slot->ops->region_describe(slot->state, &region->view, &key) != HMC_SUCCESS) continue;
    hmci_write_u16(writer, (uint16_t)slot->ops->type);
    hmci_write_blob(writer, key.data, key.size);
    count++;
  }
  if (!writer->failed) hmci_store16(writer->data + at, count);
}

hmc_status_t hmc_region_export(hmc_region_t *region, void *descriptor, size_t capacity, size_t *bytes) {
  if (!region || !bytes || (!descriptor && capacity))
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_export: region, descriptor or bytes is NULL");
  if (hmci_context_is_foreign(region->context)) return HMC_UNSUPPORT;
  if (!region->view.rights)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_region_export: peers have no rights to this region");
  hmci_region_note_reached(&region->view);
  uint8_t body[HMC_REGION_DESCRIPTOR_MAX];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  memcpy(body, magic, sizeof magic);
  writer.size = sizeof magic;
  hmci_write_u16(&writer, VERSION);
  hmci_write_u64(&writer, region->context->host.incarnation);
  hmci_write_u32(&writer, region->view.id);
  hmci_write_u32(&writer, region->view.generation);
  hmci_write_u64(&writer, region->view.size);
  hmci_write_u32(&writer, (uint32_t)region->view.memory.kind);
  hmci_write_u32(&writer, (uint32_t)region->view.memory.device);
  hmci_write_u32(&writer, region->view.rights | (region->view.leased ? HMCI_REMOTE_LEASED : 0));
  hmci_write_text(&writer, region->name);
  write_keys(region, &writer);
  if (writer.failed) return hmci_fail(HMC_ERROR, "hmc_region_export: %d B are too few", HMC_REGION_DESCRIPTOR_MAX);
  *bytes = writer.size;
  if (!descriptor) return HMC_SUCCESS;
  if (capacity < writer.size)
    return hmci_fail(HMC_OUT_OF_RANGE, "hmc_region_export: room for %zu B of %zu", capacity, writer.size);
  memcpy(descriptor, body, writer.size);
  return HMC_SUCCESS;
}

/* ---- importing --------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_region_descriptor_read(const void *bytes, size_t size, hmc_connection_type_t type,
                                         hmci_region_descriptor_t *descriptor) {
  hmci_reader_t reader = {.data = bytes, .size = size};
  *descriptor = (hmci_region_descriptor_t){0};
  if (size < sizeof magic || memcmp(bytes, magic, sizeof magic) != 0)
    return hmci_fail(HMC_CORRUPT, "%zu B that are not a region's descriptor", size);
  reader.position = sizeof magic;
  uint16_t version = hmci_read_u16(&reader);
  descriptor->incarnation = hmci_read_u64(&reader);
  hmci_remote_view_t *view = &descriptor->found.view;
  view->id = hmci_read_u32(&reader);
  view->generation = hmci_read_u32(&reader);
  view->size = hmci_read_u64(&reader);
  view->memory.kind = (hmc_memory_kind_t)hmci_read_u32(&reader);
  view->memory.device = (int)hmci_read_u32(&reader);
  view->rights = hmci_read_u32(&reader);
  hmci_read_text(&reader, descriptor->name, sizeof descriptor->name);
  uint16_t count = hmci_read_u16(&reader);
  for (uint16_t i = 0; i < count && !reader.failed; i++) {
    uint16_t owner = hmci_read_u16(&reader);
    hmci_blob_t key;
    key.size = hmci_read_blob(&reader, key.data, sizeof key.data);
    if (owner != (uint16_t)type || reader.failed) continue;
    descriptor->found.key = key;
    descriptor->has_key = true;
  }
  bool sound = version == VERSION && !reader.failed && reader.position == size && view->size && view->generation &&
               view->rights && !(view->rights & ~(uint32_t)(HMC_REMOTE_ALL | HMCI_REMOTE_LEASED));
  return sound ? HMC_SUCCESS : hmci_fail(HMC_CORRUPT, "%zu B that are not a descriptor of version %d", size, VERSION);
}

hmc_status_t hmc_remote_import(hmc_peer_t *peer, const void *bytes, size_t size, hmc_remote_t **out) {
  if (!peer || !bytes || !out)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_import: peer, descriptor or remote is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  const hmci_transport_ops_t *ops = peer->transport->ops;
  hmci_region_descriptor_t descriptor;
  hmc_status_t status = hmci_region_descriptor_read(bytes, size, ops->type, &descriptor);
  if (status != HMC_SUCCESS) return status;
  if (descriptor.incarnation != peer->incarnation)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_import: that region belongs to another context than %s",
                     peer->where);
  if (!atomic_load(&peer->connected))
    return hmci_fail(HMC_PEER_LOST, "%s is gone: %s", peer->where, hmci_peer_lost_reason(peer));
  char name[HMC_REGION_NAME_SIZE];
  snprintf(name, sizeof name, descriptor.name[0] ? "%s" : "%s#%u", descriptor.name, descriptor.found.view.id);
  uint64_t deadline = hmci_context_deadline(peer->context, 0);
  if (ops->region_export && !descriptor.has_key) {
    status = hmci_context_check_waiting(peer->context, "hmc_remote_import");
    if (status == HMC_SUCCESS) status = hmci_session_lookup_key(peer, name, deadline, &descriptor.found);
  }
  if (status == HMC_SUCCESS) status = hmci_remote_create(peer, name, &descriptor.found, deadline, out);
  if (status == HMC_SUCCESS) hmci_remote_choose(*out, deadline);
  return status;
}
