/* Reading options that begin with their size (see options.h). Pure. */
#include "options.h"

#include <string.h>

hmc_status_t hmci_options_take(void *own, size_t room, size_t least, const void *given, const char *call) {
  if (!given) return HMC_SUCCESS;
  size_t size;
  memcpy(&size, given, sizeof size);
  if (size < least || size > SIZE_MAX / 2) {
    return hmci_fail(HMC_INVALID_CONFIG, "%s: options of %zu B, at least %zu: begin with their _INIT macro", call, size,
                     least);
  }
  const uint8_t *bytes = given;
  for (size_t i = room; i < size; i++) {
    if (bytes[i]) {
      return hmci_fail(HMC_INVALID_CONFIG,
                       "%s: byte %zu of the options is set, and this library knows %zu: it is older than the program",
                       call, i, room);
    }
  }
  memcpy(own, given, size < room ? size : room);
  memcpy(own, &room, sizeof room);
  return HMC_SUCCESS;
}
