/* Ending a thread's calls from outside, for languages whose programs may be interrupted: see hmc_smem_interruptible. Calls no
 * other file of this room.
 *
 * Locking: none; `asked` is the thread's own, what it points to is atomic. */
#include "common.h"

#include <hmc/state.h>
#include <smem/host/smem.h>

static _Thread_local const int32_t *asked; /* NULL: nobody asks */

bool hmci_smem_is_interrupted(void) { return asked != NULL && __atomic_load_n(asked, __ATOMIC_ACQUIRE) != 0; }

void hmc_smem_interruptible(const int32_t *word) {
  asked = word;
  hmc_state_of_thread()->stop = word != NULL ? hmci_smem_is_interrupted : NULL;
}
