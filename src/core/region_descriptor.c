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
#include <stdlib.h>
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

/* Reads a descriptor of the peer's; an unnamed region gets a name for people. */
static hmc_status_t read_of_peer(hmc_peer_t *peer, const void *bytes, size_t size,
                                 hmci_region_descriptor_t *descriptor) {
  if (!bytes) return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_import: descriptor is NULL");
  hmc_status_t status = hmci_region_descriptor_read(bytes, size, peer->transport->ops->type, descriptor);
  if (status != HMC_SUCCESS) return status;
  if (descriptor->incarnation != peer->incarnation)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_import: that region belongs to another context than %s",
                     peer->where);
  if (!descriptor->name[0]) snprintf(descriptor->name, sizeof descriptor->name, "#%u", descriptor->found.view.id);
  return HMC_SUCCESS;
}

/* Asks, in one round trip, for the keys that the descriptors lack; `*at` is the one that failed. */
static hmc_status_t ask_for_keys(hmc_peer_t *peer, hmci_region_descriptor_t *descriptors, size_t count,
                                 uint64_t deadline, size_t *at) {
  hmci_key_question_t questions[HMCI_KEY_QUESTIONS];
  size_t asked = 0, indices[HMCI_KEY_QUESTIONS];
  if (!peer->transport->ops->region_export) return HMC_SUCCESS;
  for (size_t i = 0; i < count; i++) {
    if (descriptors[i].has_key) continue;
    questions[asked] = (hmci_key_question_t){descriptors[i].name, &descriptors[i].found};
    indices[asked++] = i;
  }
  if (!asked) return HMC_SUCCESS;
  size_t failed = 0;
  hmc_status_t status = hmci_context_check_waiting(peer->context, "hmc_remote_import");
  if (status == HMC_SUCCESS) status = hmci_session_lookup_keys(peer, questions, asked, deadline, &failed);
  *at = indices[failed];
  return status;
}

/* At most HMCI_KEY_QUESTIONS. `*at`: how many were imported. */
static hmc_status_t import_some(hmc_peer_t *peer, const void *const *bytes, const size_t *sizes, size_t count,
                                uint64_t deadline, hmc_remote_t **out, size_t *at) {
  hmci_region_descriptor_t descriptors[HMCI_KEY_QUESTIONS];
  size_t bad = 0, made = 0;
  hmc_status_t status = HMC_SUCCESS;
  for (bad = 0; bad < count; bad++) {
    status = read_of_peer(peer, bytes[bad], sizes[bad], &descriptors[bad]);
    if (status != HMC_SUCCESS) break;
  }
  if (status == HMC_SUCCESS) status = ask_for_keys(peer, descriptors, count, deadline, &bad);
  for (; made < count && status == HMC_SUCCESS; made++) {
    bad = made;
    status = hmci_remote_create(peer, descriptors[made].name, &descriptors[made].found, deadline, &out[made]);
    if (status != HMC_SUCCESS) break;
    hmci_remote_choose(out[made], deadline);
  }
  *at = status == HMC_SUCCESS ? count : bad;
  for (size_t i = 0; i < made && status != HMC_SUCCESS; i++) hmci_remote_release(out[i]);
  return status;
}

/* `made` gets all handles, or what it holds is of no use. */
static hmc_status_t import_all(hmc_peer_t *peer, const void *const *bytes, const size_t *sizes, size_t count,
                               hmc_remote_t **made) {
  uint64_t deadline = hmci_context_deadline(peer->context, 0);
  hmc_status_t status = HMC_SUCCESS;
  size_t done = 0, at = 0;
  if (!atomic_load(&peer->connected))
    return hmci_fail(HMC_PEER_LOST, "%s is gone: %s", peer->where, hmci_peer_lost_reason(peer));
  while (done < count) {
    size_t some = count - done < HMCI_KEY_QUESTIONS ? count - done : HMCI_KEY_QUESTIONS;
    status = import_some(peer, bytes + done, sizes + done, some, deadline, made + done, &at);
    if (status != HMC_SUCCESS) break;
    done += some;
  }
  if (status != HMC_SUCCESS && count > 1) hmci_fail_prefix(status, "descriptor %zu of %zu: ", done + at, count);
  for (size_t i = 0; i < done && status != HMC_SUCCESS; i++) hmci_remote_release(made[i]);
  return status;
}

hmc_status_t hmc_remote_import(hmc_peer_t *peer, const void *bytes, size_t size, hmc_remote_t **out) {
  hmc_remote_t *made;
  if (!peer || !bytes || !out)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_import: peer, descriptor or remote is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_status_t status = import_all(peer, &bytes, &size, 1, &made);
  if (status == HMC_SUCCESS) *out = made;
  return status;
}

hmc_status_t hmc_remote_import_many(hmc_peer_t *peer, const void *const *descriptors, const size_t *sizes, size_t count,
                                    hmc_remote_t **remotes) {
  if (!peer || (count && (!descriptors || !sizes || !remotes)))
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_import_many: peer, descriptors, bytes or remotes is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  if (!count) return HMC_SUCCESS;
  hmc_remote_t **made = calloc(count, sizeof *made);
  if (!made) return hmci_fail(HMC_NO_MEMORY, "hmc_remote_import_many: no memory for %zu handles", count);
  hmc_status_t status = import_all(peer, descriptors, sizes, count, made);
  if (status == HMC_SUCCESS) memcpy(remotes, made, count * sizeof *made);
  free(made);
  return status;
}
