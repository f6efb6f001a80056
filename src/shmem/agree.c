/* Under checks: the members of a team must make the same collective call, with arguments that fit each other.
 *
 * Before the call itself each member says in its slot what it is about to do, and compares that with what the first one
 * says. A slot's data are those of the round: the first member writes them again two rounds later, which it reaches only
 * when all others have read them (see combine_everywhere in barrier.c). */
#include "state.h"

#include <string.h>

typedef struct claim {
  char call[48];
  uint64_t dest, source; /* offsets in a part; SIZE_MAX: none, or it does not matter */
  uint64_t size;         /* bytes; SIZE_MAX as above */
  int64_t root;
} claim_t;

_Static_assert(sizeof(claim_t) <= HMCI_SLOT_BYTES, "a claim lies in a slot");

static claim_t claim_of(const hmci_collective_t *collective) {
  claim_t claim = {.size = collective->size, .root = collective->root};
  strncpy(claim.call, collective->call, sizeof claim.call - 1);
  claim.dest = collective->dest ? hmci_offset(collective->dest) : SIZE_MAX;
  claim.source = collective->source ? hmci_offset(collective->source) : SIZE_MAX;
  return claim;
}

static void read_first(const hmci_group_t *group, const void *mine, claim_t *theirs) {
  int pe = hmci_member(group, 0);
  size_t offset = (size_t)((const char *)mine - hmci_pe.part);
  if (hmci_pe.base[pe]) {
    memcpy(theirs, hmci_pe.base[pe] + offset, sizeof *theirs);
  } else {
    hmci_far_get(NULL, pe, offset, theirs, sizeof *theirs, true);
  }
}

static void compare_address(const char *call, const char *what, uint64_t mine, uint64_t theirs, int first) {
  if (mine == theirs || mine == SIZE_MAX || theirs == SIZE_MAX) return;
  hmci_die("%s: PE %d gives another address as %s: pass the same symmetric object at all members of the team, and make "
           "all collective allocations in the same order everywhere",
           call, first, what);
}

static void compare(const char *call, const claim_t *mine, const claim_t *theirs, int first) {
  if (strcmp(mine->call, theirs->call) != 0) {
    hmci_die("%s: PE %d is in %s: the members of a team must make the same collective calls in the same order", call,
             first, theirs->call);
  }
  compare_address(call, "dest", mine->dest, theirs->dest, first);
  compare_address(call, "source", mine->source, theirs->source, first);
  if (mine->size != theirs->size && mine->size != SIZE_MAX) {
    hmci_die("%s: %llu B here, but %llu B at PE %d: give the same size at all members of the team", call,
             (unsigned long long)mine->size, (unsigned long long)theirs->size, first);
  }
  if (mine->root != theirs->root) {
    hmci_die("%s: the root or start is %lld here, but %lld at PE %d: give the same one at all members of the team",
             call, (long long)mine->root, (long long)theirs->root, first);
  }
}

void hmci_agree(hmci_group_t *group, const hmci_collective_t *collective) {
  if (!hmci_pe.checks || group->n == 1 || group->slot < 0) return;
  claim_t mine = claim_of(collective), theirs;
  void *own = hmci_my_control()->slots[group->slot].own[(*group->rounds + 1) & 1].data;
  memcpy(own, &mine, sizeof mine);
  hmci_group_sync(group);
  if (hmci_is_interrupted()) return;
  read_first(group, own, &theirs);
  theirs.call[sizeof theirs.call - 1] = 0;
  compare(collective->call, &mine, &theirs, hmci_member(group, 0));
}

void hmci_agree_all(const hmci_collective_t *collective) {
  if (hmci_pe.checks) hmci_agree(&hmci_team_find(SHMEM_TEAM_WORLD)->group, collective);
}
