/* The tree of PEs, and meeting at PE 0 where no launcher has introduced them (meeting.c). */
#ifndef HMCI_SHMEM_MEETING_H
#define HMCI_SHMEM_MEETING_H

#include <hmc/control.h>
#include <stdbool.h>

/* How far the ranks below this one reach: they are fewer than `reach` after it. */
static inline int hmci_reach_of(int rank, int size) {
  if (rank) return rank & -rank;
  int reach = 1;
  while (reach < size) reach *= 2;
  return reach;
}

static inline int hmci_parent_of(int rank) { return rank & (rank - 1); }
static inline bool hmci_has_children(int rank, int size) { return hmci_reach_of(rank, size) > 1 && rank + 1 < size; }

typedef struct hmci_meeting {
  hmc_control_t *control;
  const char *address, *ip; /* of PE 0: as the program gave it, and its host alone */
  uint16_t port;
  int rank, size;
  bool listens; /* PE 0 does already */
  uint64_t timeout_ms;
} hmci_meeting_t;

/* Links this PE to its parent, and to its children by their calls. False with a text on stderr, by the timeout. */
bool hmci_meet(const hmci_meeting_t *meeting);

/* For what ends a start: "shmem: PE 1 of 2 does not meet the others at ADDRESS: ..." on stderr. Returns false. */
bool hmci_meeting_fails(const hmci_meeting_t *meeting, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Listens at an address as PE 0; `port` gets the port. HMC_ADDRESS_IN_USE and others; `why` gets the cause and a remedy. */
hmc_status_t hmci_meeting_listen(hmc_control_t *control, const char *ip, uint16_t *port, char *why, size_t size);

/* The timeout of a start in milliseconds where the program gives none: that of HMC_TIMEOUT. */
uint64_t hmci_meeting_timeout(void);

#endif
