/* Public structs that grow: each begins with its size as the caller's headers know it.
 *
 * Invariant: a struct only ever gets fields at its end, and a zeroed field means what its absence meant. So the fields
 * that an older caller lacks read as zero, and those that this library does not know must be zero. For that, what is added
 * leaves no padding behind it. No state. */
#include "base.h"

#include <string.h>

enum { SIZE_MOST = 1 << 16 }; /* bytes of a struct of any release: more is not a size */

static hmc_status_t check_size(size_t size, size_t least, const char *name) {
  if (size >= least && size <= SIZE_MOST) return HMC_SUCCESS;
  return hmci_fail(HMC_INVALID_CONFIG, "%s: its size is %zu; initialise it with its _INIT macro", name, size);
}

/* Does this library know all that the caller has set? */
static hmc_status_t check_known(const void *given, size_t own_size, size_t least, const char *name) {
  size_t size = own_size;
  if (given) memcpy(&size, given, sizeof size);
  hmc_status_t status = check_size(size, least, name);
  for (size_t i = own_size; i < size && status == HMC_SUCCESS; i++) {
    if (((const uint8_t *)given)[i])
      status = hmci_fail(HMC_UNSUPPORT, "%s: a field at byte %zu is set that this version of the library does not know",
                         name, i);
  }
  return status;
}

static void take(void *own, size_t own_size, const void *given) {
  size_t size = 0;
  if (given) memcpy(&size, given, sizeof size);
  if (given) memcpy(own, given, size < own_size ? size : own_size);
  memcpy(own, &own_size, sizeof own_size);
}

hmc_status_t hmci_sized_take(void *own, size_t own_size, size_t least, const void *given, const char *name) {
  hmc_status_t status = check_known(given, own_size, least, name);
  if (status == HMC_SUCCESS) take(own, own_size, given);
  return status;
}

hmc_status_t hmci_sized_read(void *own, size_t own_size, const void *given, const char *name) {
  hmc_status_t status = check_known(given, own_size, sizeof own_size, name);
  if (status != HMC_SUCCESS) return status;
  memset(own, 0, own_size);
  take(own, own_size, given);
  return HMC_SUCCESS;
}

hmc_status_t hmci_sized_check(const void *given, const char *name) {
  size_t size;
  memcpy(&size, given, sizeof size);
  return check_size(size, sizeof size, name);
}

void hmci_sized_write(void *given, const void *own, size_t own_size) {
  size_t size;
  memcpy(&size, given, sizeof size);
  size_t known = size < own_size ? size : own_size;
  memcpy((uint8_t *)given + sizeof size, (const uint8_t *)own + sizeof size, known - sizeof size);
  if (size > own_size) memset((uint8_t *)given + own_size, 0, size - own_size);
}
