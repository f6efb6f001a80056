/* Views of a watch (see store_view.h). Invariant: an entry that is gone (`lease` marks it) is in `changed` until its
 * end has been reported. */
#include "store_view.h"

#include <stdlib.h>
#include <string.h>

static char gone; /* its address in an entry's `lease` */

void hmci_store_view_init(hmci_store_view_t *view) {
  *view = (hmci_store_view_t){.generation = 1};
  hmci_store_map_init(&view->map);
  hmci_list_init(&view->changed);
  hmci_list_init(&view->synced);
}

void hmci_store_view_clear(hmci_store_view_t *view) {
  hmci_store_map_clear(&view->map);
  free(view->value);
  view->value = NULL;
}

static void mark_changed(hmci_store_view_t *view, hmci_store_entry_t *entry) {
  if (hmci_list_is_empty(&entry->held)) {
    hmci_list_append(&view->changed, &entry->held);
  }
}

hmc_status_t hmci_store_view_put(hmci_store_view_t *view, const char *key, size_t key_size, const void *value,
                                 uint32_t value_size) {
  hmci_store_entry_t *entry = hmci_store_map_find(&view->map, key, key_size);
  bool is_same = entry != NULL && entry->lease == NULL && entry->value_size == value_size &&
                 (value_size == 0 || memcmp(entry->value, value, value_size) == 0);
  if (!is_same) {
    entry = hmci_store_map_set(&view->map, key, key_size, value, value_size);
    if (entry == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for an event of a watch");
    }
    entry->lease = NULL;
  }
  if (!is_same || entry->mark == view->generation) { /* else it is what it was before the outage */
    mark_changed(view, entry);
  }
  entry->mark = view->generation;
  return HMC_SUCCESS;
}

static void mark_gone(hmci_store_view_t *view, hmci_store_entry_t *entry) {
  entry->lease = &gone;
  mark_changed(view, entry);
}

void hmci_store_view_delete(hmci_store_view_t *view, const char *key, size_t key_size) {
  hmci_store_entry_t *entry = hmci_store_map_find(&view->map, key, key_size);
  if (entry != NULL && entry->lease == NULL) {
    mark_gone(view, entry);
  }
}

void hmci_store_view_renew(hmci_store_view_t *view) { view->generation++; }

void hmci_store_view_synced(hmci_store_view_t *view, bool sweep_now) {
  if (!view->was_synced) {
    view->was_synced = true;
    hmci_list_append(&view->changed, &view->synced);
  }
  if (sweep_now) {
    hmci_store_view_sweep(view);
  }
}

void hmci_store_view_sweep(hmci_store_view_t *view) {
  for (hmci_store_entry_t *entry = view->map.first[0]; entry != NULL; entry = entry->next[0]) {
    if (entry->lease == NULL && entry->mark != view->generation) {
      mark_gone(view, entry);
    }
  }
}

hmc_status_t hmci_store_view_take(hmci_store_view_t *view, hmc_store_event_t *event) {
  if (hmci_list_is_empty(&view->changed)) {
    return HMC_NOT_FOUND;
  }
  hmci_list_t *first = view->changed.next;
  hmci_list_remove(first);
  free(view->value);
  view->value = NULL;
  if (first == &view->synced) {
    *event = (hmc_store_event_t){.kind = HMC_STORE_SYNCED};
    return HMC_SUCCESS;
  }
  hmci_store_entry_t *entry = HMCI_CONTAINER(first, hmci_store_entry_t, held);
  memcpy(view->key, entry->key, (size_t)entry->key_size + 1);
  *event = (hmc_store_event_t){.kind = HMC_STORE_DELETE, .key = view->key};
  if (entry->lease == &gone) {
    hmci_store_map_remove(&view->map, entry);
    return HMC_SUCCESS;
  }
  view->value = malloc(entry->value_size > 0 ? entry->value_size : 1);
  if (view->value == NULL) {
    hmci_list_append(&view->changed, &entry->held);
    return hmci_fail(HMC_NO_MEMORY, "no memory for an event of a watch");
  }
  if (entry->value_size > 0) {
    memcpy(view->value, entry->value, entry->value_size);
  }
  event->kind = HMC_STORE_PUT;
  event->value = view->value;
  event->value_size = entry->value_size;
  return HMC_SUCCESS;
}
