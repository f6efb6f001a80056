/* What a watch has seen and has yet to tell: the keys under its prefix, and those of them that changed since the reader
 * looked last. A key that changes twice in between is reported once, as it is now; so a reader that is slow costs no
 * more than the keys themselves. No locking. */
#ifndef HMCI_STORE_VIEW_H
#define HMCI_STORE_VIEW_H

#include "store_map.h"

#include <hmc/store.h>

typedef struct hmci_store_view {
  hmci_store_map_t map;
  hmci_list_t changed; /* entries by `held`, and `synced` */
  hmci_list_t synced;  /* stands for HMC_STORE_SYNCED, once */
  bool was_synced;
  uint64_t generation; /* counts the renewals; an entry's `mark` is the last one that had it */
  char key[HMC_STORE_KEY_MAX + 1];
  uint8_t *value; /* of the event that was taken last */
} hmci_store_view_t;

void hmci_store_view_init(hmci_store_view_t *view);
void hmci_store_view_clear(hmci_store_view_t *view);

/* HMC_NO_MEMORY. */
hmc_status_t hmci_store_view_put(hmci_store_view_t *view, const char *key, size_t key_size, const void *value,
                                 uint32_t value_size);
void hmci_store_view_delete(hmci_store_view_t *view, const char *key, size_t key_size);

/* Everything is going to be reported again. */
void hmci_store_view_renew(hmci_store_view_t *view);

/* All has been reported; what was there before and was not reported is gone: at once, or when sweep is called. */
void hmci_store_view_synced(hmci_store_view_t *view, bool sweep_now);
void hmci_store_view_sweep(hmci_store_view_t *view);

/* Takes the next event, which is valid until the next call. HMC_NOT_FOUND: there is none. */
hmc_status_t hmci_store_view_take(hmci_store_view_t *view, hmc_store_event_t *event);

#endif
