/* A set of intervals that may overlap, found by what they hold: a search tree by their beginnings, in which each member
 * knows the furthest end below it.
 *
 * Members bring their own links, so that adding allocates nothing and neither adding nor removing fails. The tree keeps
 * its balance by random priorities (a treap: Aragon and Seidel, 1989): all takes logarithmic time, as expected. Not
 * thread-safe. NULL is the empty set. */
#ifndef HMCI_INTERVALS_H
#define HMCI_INTERVALS_H

#include "base.h"

typedef struct hmci_interval {
  struct hmci_interval *left, *right;
  uint64_t start, end;
  uint64_t furthest; /* end of this one and those below */
  uint32_t priority; /* not less than those below */
} hmci_interval_t;

/* Adds [start, end). The same interval may be there already, as another member. */
void hmci_intervals_add(hmci_interval_t **root, hmci_interval_t *member, uint64_t start, uint64_t end);
/* A member of the set. */
void hmci_intervals_remove(hmci_interval_t **root, hmci_interval_t *member);
/* Of those that hold all of [start, end), one that begins last; NULL: there is none. */
hmci_interval_t *hmci_intervals_find(hmci_interval_t *root, uint64_t start, uint64_t end);

#endif
