/* The software accelerator's own door, for tests. */
#ifndef HMCI_SIM_H
#define HMCI_SIM_H

#include "../memory.h"

/* Reads HMC_SIM_* again and empties the timelines of the copy engines; allocations and copies in progress stay.
 * Threads: none may be in a sim call. Errors: HMC_INVALID_CONFIG, and nothing changed. */
hmc_status_t hmci_sim_reread(void);

#pragma GCC visibility push(default) /* tests across libraries look */
/* How often a device was informed that adapters had written into its memory. */
uint64_t hmci_sim_settles(int device);
#pragma GCC visibility pop

#endif
