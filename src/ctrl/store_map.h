/* A sorted map from keys to values, for the server's keys and for what a client's watch has seen. A skip list. No
 * locking. */
#ifndef HMCI_STORE_MAP_H
#define HMCI_STORE_MAP_H

#include "../base/base.h"

enum { HMCI_STORE_MAP_LEVELS = 20 };

typedef struct hmci_store_entry {
  char *key; /* ended; with the entry */
  uint16_t key_size;
  uint32_t value_size;
  uint8_t *value; /* NULL where it is empty */
  uint64_t revision;
  uint64_t mark;    /* the owner's */
  void *lease;      /* the owner's */
  hmci_list_t held; /* the owner's: the lease's keys; an empty ring where there is none */
  int levels;
  struct hmci_store_entry *next[];
} hmci_store_entry_t;

typedef struct hmci_store_map {
  hmci_store_entry_t *first[HMCI_STORE_MAP_LEVELS];
  uint64_t random; /* of the levels */
  size_t count, bytes;
} hmci_store_map_t;

void hmci_store_map_init(hmci_store_map_t *map);
void hmci_store_map_clear(hmci_store_map_t *map);

/* The entry of a key, or NULL. */
hmci_store_entry_t *hmci_store_map_find(const hmci_store_map_t *map, const char *key, size_t key_size);

/* The first entry whose key is not below `key`, or NULL; the next one is next[0]. */
hmci_store_entry_t *hmci_store_map_seek(const hmci_store_map_t *map, const char *key, size_t key_size);

/* True where the entry's key begins with the prefix. */
bool hmci_store_entry_begins(const hmci_store_entry_t *entry, const char *prefix, size_t size);

/* Sets a value, making the entry where there is none. NULL: no memory, and nothing has changed. */
hmci_store_entry_t *hmci_store_map_set(hmci_store_map_t *map, const char *key, size_t key_size, const void *value,
                                       uint32_t value_size);

/* Takes the entry out and frees it. */
void hmci_store_map_remove(hmci_store_map_t *map, hmci_store_entry_t *entry);

#endif
