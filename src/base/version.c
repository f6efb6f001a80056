/* The version of the library, as it was when this file was compiled. */
#include <hmc/version.h>

#define TEXT_OF(x) #x
#define TEXT(x) TEXT_OF(x)

int hmc_version(void) { return HMC_VERSION; }

const char *hmc_version_text(void) {
  return TEXT(HMC_VERSION_MAJOR) "." TEXT(HMC_VERSION_MINOR) "." TEXT(HMC_VERSION_PATCH);
}
