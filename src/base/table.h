/* A hash table whose members bring their own links: adding one allocates at most the wider array of buckets, and
 * removing one never fails. Not thread-safe. */
#ifndef HMCI_TABLE_H
#define HMCI_TABLE_H

#include "base.h"

typedef struct hmci_member {
  struct hmci_member *next;
  uint64_t hash;
} hmci_member_t;

typedef struct hmci_table {
  hmci_member_t **buckets;
  size_t room, count; /* room: a power of 2, or 0 before the first member */
} hmci_table_t;

/* A table of zeros is an empty one. Frees the buckets; the members are their owners'. */
void hmci_table_close(hmci_table_t *table);

/* False, and nothing changed, where there is no memory. Where only wider buckets cannot be had, chains grow longer. */
bool hmci_table_add(hmci_table_t *table, hmci_member_t *member, uint64_t hash);
/* A member of the table. */
void hmci_table_remove(hmci_table_t *table, hmci_member_t *member);

/* The members of that hash, one after the other: NULL begins; returns NULL at the end. */
hmci_member_t *hmci_table_next(const hmci_table_t *table, uint64_t hash, hmci_member_t *before);

/* Of a text; of a number that is not random. */
uint64_t hmci_hash_text(const char *text);
uint64_t hmci_hash_number(uint64_t number);

#endif
