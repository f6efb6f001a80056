/* Mappings of peers' regions at the program's request.
 *
 * A mapping is in its remote region's list, under the peer's lock, and ends with that at the latest. Its first words are
 * public (hmc_mapping_is_live). */
#include "core.h"

#include <hmc/mapping.h>
#include <stdlib.h>

/* The struct in its first release. */
enum { OPTIONS_LEAST = offsetof(hmc_mapping_options_t, flags) + sizeof(unsigned) };

struct hmc_mapping {
  struct hmc_mapping_head head; /* first: read by inline code in programs */
  hmc_remote_t *remote;
  hmci_list_t link; /* remote->mappings */
  hmci_remote_mapping_t part;
};

static hmc_status_t check_part(const hmc_remote_t *remote, hmc_mapping_options_t *options) {
  const hmci_remote_view_t *view = &remote->view;
  if (options->flags & ~(unsigned)HMC_MAPPING_READ_ONLY)
    return hmci_fail(HMC_INVALID_CONFIG, "unknown flags 0x%x of a mapping", options->flags);
  if (!options->length && options->offset < view->size) options->length = view->size - options->offset;
  if (!options->length || !hmci_range_fits(options->offset, options->length, view->size)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "mapping %llu B at offset %llu of region '%s', which has %llu B",
                     (unsigned long long)options->length, (unsigned long long)options->offset, remote->name,
                     (unsigned long long)view->size);
  }
  if (!(view->rights & HMC_REMOTE_READ))
    return hmci_fail(HMC_DENIED, "region '%s' gives peers no right to read", remote->name);
  const hmc_peer_t *peer = remote->peer;
  if (!atomic_load(&peer->connected))
    return hmci_fail(HMC_PEER_LOST, "%s is gone: %s", peer->where, hmci_peer_lost_reason(peer));
  if (!peer->transport->ops->remote_map)
    return hmci_fail(HMC_UNSUPPORT, "%s is reached by %s, which maps nothing: that takes shm", peer->where,
                     hmci_transport_text(peer->transport->ops));
  return HMC_SUCCESS;
}

hmc_status_t hmc_remote_map_range(hmc_remote_t *remote, const hmc_mapping_options_t *given, hmc_mapping_t **out) {
  hmc_mapping_options_t options = HMC_MAPPING_OPTIONS_INIT;
  if (!remote || !out) return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_map_range: remote or mapping is NULL");
  hmc_peer_t *peer = remote->peer;
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_sized_take(&options, sizeof options, OPTIONS_LEAST, given, "hmc_mapping_options_t");
  if (status == HMC_SUCCESS) status = check_part(remote, &options);
  if (status != HMC_SUCCESS) return status;
  hmc_mapping_t *mapping = calloc(1, sizeof *mapping);
  if (!mapping) return hmci_fail(HMC_NO_MEMORY, "no memory for a mapping");
  mapping->remote = remote;
  mapping->part = (hmci_remote_mapping_t){.offset = options.offset,
                                          .length = options.length,
                                          .pointer = options.address,
                                          .placed = options.address != NULL,
                                          .read_only = options.flags & HMC_MAPPING_READ_ONLY};
  status = peer->transport->ops->remote_map(peer->connection->state, remote->state,
                                            hmci_context_deadline(peer->context, 0), &mapping->part);
  if (status != HMC_SUCCESS) {
    free(mapping);
    return hmci_fail_prefix(status, "mapping region '%s' of %s: ", remote->name, peer->where);
  }
  mapping->head.word = (const uint32_t *)(const void *)mapping->part.word;
  mapping->head.value = mapping->part.value;
  pthread_mutex_lock(&peer->lock);
  hmci_list_append(&remote->mappings, &mapping->link);
  pthread_mutex_unlock(&peer->lock);
  *out = mapping;
  return HMC_SUCCESS;
}

static void unmap(hmc_mapping_t *mapping) {
  const hmc_peer_t *peer = mapping->remote->peer;
  peer->transport->ops->remote_unmap(peer->connection->state, mapping->remote->state, &mapping->part);
  free(mapping);
}

void hmci_mappings_close(hmc_remote_t *remote) {
  while (!hmci_list_is_empty(&remote->mappings)) {
    hmc_mapping_t *mapping = HMCI_CONTAINER(remote->mappings.next, hmc_mapping_t, link);
    hmci_list_remove(&mapping->link);
    unmap(mapping);
  }
}

void hmc_mapping_close(hmc_mapping_t *mapping) {
  if (!mapping) return;
  hmc_peer_t *peer = mapping->remote->peer;
  if (hmci_context_is_foreign(peer->context)) return;
  pthread_mutex_lock(&peer->lock);
  hmci_list_remove(&mapping->link);
  pthread_mutex_unlock(&peer->lock);
  unmap(mapping);
}

void *hmc_mapping_pointer(const hmc_mapping_t *mapping) { return mapping ? mapping->part.pointer : NULL; }
uint64_t hmc_mapping_length(const hmc_mapping_t *mapping) { return mapping ? mapping->part.length : 0; }
