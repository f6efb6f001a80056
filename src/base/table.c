/* Hash tables (see table.h): chains in buckets, twice as many buckets whenever there are more members than buckets. */
#include "table.h"

#include <stdlib.h>

enum { FIRST_ROOM = 16 };

static hmci_member_t **bucket_of(const hmci_table_t *table, uint64_t hash) {
  return &table->buckets[hash & (table->room - 1)];
}

static void widen(hmci_table_t *table) {
  hmci_table_t wider = {.room = table->room ? table->room * 2 : FIRST_ROOM, .count = table->count};
  wider.buckets = calloc(wider.room, sizeof(hmci_member_t *));
  if (!wider.buckets) return;
  for (size_t i = 0; i < table->room; i++) {
    while (table->buckets[i]) {
      hmci_member_t *member = table->buckets[i], **bucket = bucket_of(&wider, member->hash);
      table->buckets[i] = member->next;
      member->next = *bucket;
      *bucket = member;
    }
  }
  free(table->buckets);
  *table = wider;
}

void hmci_table_close(hmci_table_t *table) {
  free(table->buckets);
  *table = (hmci_table_t){0};
}

bool hmci_table_add(hmci_table_t *table, hmci_member_t *member, uint64_t hash) {
  if (table->count >= table->room) widen(table);
  if (!table->room) return false;
  hmci_member_t **bucket = bucket_of(table, hash);
  *member = (hmci_member_t){.next = *bucket, .hash = hash};
  *bucket = member;
  table->count++;
  return true;
}

void hmci_table_remove(hmci_table_t *table, hmci_member_t *member) {
  hmci_member_t **at = bucket_of(table, member->hash);
  while (*at != member) at = &(*at)->next;
  *at = member->next;
  table->count--;
}

hmci_member_t *hmci_table_next(const hmci_table_t *table, uint64_t hash, hmci_member_t *before) {
  if (!table->room) return NULL;
  hmci_member_t *member = before ? before->next : *bucket_of(table, hash);
  while (member && member->hash != hash) member = member->next;
  return member;
}

uint64_t hmci_hash_number(uint64_t number) { /* the finalizer of splitmix64 */
  number = (number ^ (number >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  number = (number ^ (number >> 27)) * UINT64_C(0x94d049bb133111eb);
  return number ^ (number >> 31);
}

uint64_t hmci_hash_text(const char *text) { /* FNV-1a, and mixed, because its low bits are weak */
  uint64_t hash = UINT64_C(0xcbf29ce484222325);
  for (; *text; text++) hash = (hash ^ (uint8_t)*text) * UINT64_C(0x100000001b3);
  return hmci_hash_number(hash);
}
