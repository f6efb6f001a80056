/* The control block: how the PEs of a job synchronise. One at the start of each part; zeroed at first.
 *
 * A team has a slot in the blocks of its members, the same number at each; teams without a member in common may have
 * the same one. All words only grow: nobody has to reset them, and a PE that is late finds a larger value.
 *
 * Ordering: who waits loads with acquire, who writes stores with release (or by the engine, which makes it visible after
 * what went before). */
#ifndef HMCI_SHMEM_CONTROL_H
#define HMCI_SHMEM_CONTROL_H

#include <shmem/rma.h>
#include <stdatomic.h>
#include <stdint.h>

#define HMCI_TEAMS 256      /* slots */
#define HMCI_ROUNDS 24      /* of a dissemination: 2^24 PEs */
#define HMCI_SLOT_BYTES 256 /* of data that go with a synchronisation */
#define HMCI_FAN 8          /* children of a node in a tree */
#define HMCI_CACHE_LINE 64

/* Why a PE sleeps. Those who change a word wake only PEs that wait for one of its kind: a PE in a barrier sleeps on while
 * others work on its memory. */
typedef enum hmci_sleep {
  HMCI_FOR_FLAG = 1,                      /* for a word of its control block */
  HMCI_FOR_MEMORY = HMC_SHMEM_FOR_MEMORY, /* for its heap or globals */
} hmci_sleep_t;

typedef struct hmci_slot {
  /* One counter for all: used at the team's first PE. In a team with far PEs: at each, for its children in the tree. */
  _Alignas(HMCI_CACHE_LINE) _Atomic uint64_t arrived;
  _Alignas(HMCI_CACHE_LINE) _Atomic uint64_t released; /* the rounds that all have reached */

  /* Dissemination: flags[r] is written by the PE 2^r before this one. */
  _Alignas(HMCI_CACHE_LINE) _Atomic uint64_t flags[HMCI_ROUNDS];

  /* A prefix sum, in the same pattern: the value is there when the round is. */
  struct {
    uint64_t value;
    _Atomic uint64_t round;
  } sums[HMCI_ROUNDS];

  /* Data of this PE for round r, in [r & 1]; ready when `round` is at least r. Few data share its cache line. */
  struct {
    _Alignas(HMCI_CACHE_LINE) _Atomic uint64_t round;
    _Alignas(16) uint8_t data[HMCI_SLOT_BYTES]; /* of any type */
  } own[2];
  /* What they come to; at the team's first PE, by the last one that arrived. In a tree: by the parent. */
  _Alignas(HMCI_CACHE_LINE) uint8_t result[2][HMCI_SLOT_BYTES];
  /* By the children in a tree. */
  _Alignas(HMCI_CACHE_LINE) uint8_t inbox[HMCI_FAN][HMCI_SLOT_BYTES];
} hmci_slot_t;

typedef struct hmci_control {
  /* By hmci_sleep_t: 1 where threads of this PE sleep for that reason. First, for the inlined forms: see atomics.h. */
  _Alignas(HMCI_CACHE_LINE) _Atomic uint32_t asleep[3];
  _Atomic uint32_t bell; /* the futex they sleep on; one more with each ring */
  /* Not 0: the job ends. The lower half is its status plus 1, the upper one the PE that was lost, plus 1, or 0. */
  _Atomic uint64_t verdict;
  _Atomic uint32_t sleepers[3]; /* at the first PE of a host: how many threads sleep there, for each reason */
  hmci_slot_t slots[HMCI_TEAMS];
} hmci_control_t;

#endif
