/* The sorted map of the store (see store_map.h). Invariant: the entries of each level are sorted by the bytes of their
 * keys, and those of a level are among those of the level below. */
#include "store_map.h"

#include <stdlib.h>
#include <string.h>

enum { ENTRY_COST = 128 }; /* bytes that an entry counts for besides key and value */

void hmci_store_map_init(hmci_store_map_t *map) { *map = (hmci_store_map_t){.random = UINT64_C(0x9e3779b97f4a7c15)}; }

static void free_entry(hmci_store_entry_t *entry) {
  free(entry->value);
  free(entry);
}

void hmci_store_map_clear(hmci_store_map_t *map) {
  hmci_store_entry_t *entry = map->first[0];
  while (entry != NULL) {
    hmci_store_entry_t *next = entry->next[0];
    free_entry(entry);
    entry = next;
  }
  hmci_store_map_init(map);
}

static int compare(const hmci_store_entry_t *entry, const char *key, size_t size) {
  size_t shared = entry->key_size < size ? entry->key_size : size;
  int order = memcmp(entry->key, key, shared);
  return order != 0 ? order : (entry->key_size > size) - (entry->key_size < size);
}

/* For each level the link that leads to the first entry not below the key. */
static void find_links(hmci_store_map_t *map, const char *key, size_t size,
                       hmci_store_entry_t **links[HMCI_STORE_MAP_LEVELS]) {
  hmci_store_entry_t *before = NULL;
  for (int level = HMCI_STORE_MAP_LEVELS - 1; level >= 0; level--) {
    hmci_store_entry_t **link = before != NULL ? &before->next[level] : &map->first[level];
    while (*link != NULL && compare(*link, key, size) < 0) {
      before = *link;
      link = &before->next[level];
    }
    links[level] = link;
  }
}

hmci_store_entry_t *hmci_store_map_seek(const hmci_store_map_t *map, const char *key, size_t key_size) {
  const hmci_store_entry_t *before = NULL;
  hmci_store_entry_t *at = NULL;
  for (int level = HMCI_STORE_MAP_LEVELS - 1; level >= 0; level--) {
    at = before != NULL ? before->next[level] : map->first[level];
    while (at != NULL && compare(at, key, key_size) < 0) {
      before = at;
      at = at->next[level];
    }
  }
  return at;
}

hmci_store_entry_t *hmci_store_map_find(const hmci_store_map_t *map, const char *key, size_t key_size) {
  hmci_store_entry_t *entry = hmci_store_map_seek(map, key, key_size);
  return entry != NULL && compare(entry, key, key_size) == 0 ? entry : NULL;
}

bool hmci_store_entry_begins(const hmci_store_entry_t *entry, const char *prefix, size_t size) {
  return entry->key_size >= size && memcmp(entry->key, prefix, size) == 0;
}

/* One level, and one more with a chance of a quarter each time. */
static int choose_levels(hmci_store_map_t *map) {
  int levels = 1;
  map->random ^= map->random << 13;
  map->random ^= map->random >> 7;
  map->random ^= map->random << 17;
  for (uint64_t bits = map->random; levels < HMCI_STORE_MAP_LEVELS && (bits & 3) == 0; bits >>= 2) {
    levels++;
  }
  return levels;
}

static hmci_store_entry_t *add_entry(hmci_store_map_t *map, const char *key, size_t key_size) {
  hmci_store_entry_t **links[HMCI_STORE_MAP_LEVELS];
  int levels = choose_levels(map);
  size_t fixed = sizeof(hmci_store_entry_t) + (size_t)levels * sizeof(hmci_store_entry_t *);
  hmci_store_entry_t *entry = calloc(1, fixed + key_size + 1);
  if (entry == NULL) {
    return NULL;
  }
  entry->key = (char *)entry + fixed;
  memcpy(entry->key, key, key_size);
  entry->key_size = (uint16_t)key_size;
  entry->levels = levels;
  hmci_list_init(&entry->held);
  find_links(map, key, key_size, links);
  for (int level = 0; level < levels; level++) {
    entry->next[level] = *links[level];
    *links[level] = entry;
  }
  map->count++;
  map->bytes += ENTRY_COST + key_size;
  return entry;
}

hmci_store_entry_t *hmci_store_map_set(hmci_store_map_t *map, const char *key, size_t key_size, const void *value,
                                       uint32_t value_size) {
  hmci_store_entry_t *entry = hmci_store_map_find(map, key, key_size);
  uint8_t *copy = NULL;
  if (value_size > 0) {
    copy = malloc(value_size);
    if (copy == NULL) {
      return NULL;
    }
    memcpy(copy, value, value_size);
  }
  if (entry == NULL) {
    entry = add_entry(map, key, key_size);
    if (entry == NULL) {
      free(copy);
      return NULL;
    }
  }
  map->bytes += value_size;
  map->bytes -= entry->value_size;
  free(entry->value);
  entry->value = copy;
  entry->value_size = value_size;
  return entry;
}

void hmci_store_map_remove(hmci_store_map_t *map, hmci_store_entry_t *entry) {
  hmci_store_entry_t **links[HMCI_STORE_MAP_LEVELS];
  find_links(map, entry->key, entry->key_size, links);
  for (int level = 0; level < entry->levels; level++) {
    *links[level] = entry->next[level];
  }
  hmci_list_remove(&entry->held);
  map->count--;
  map->bytes -= ENTRY_COST + entry->key_size + entry->value_size;
  free_entry(entry);
}
