/* The version of the headers and of the library. */
#ifndef HMC_VERSION_H
#define HMC_VERSION_H

#include <hmc/export.h>

#define HMC_VERSION_MAJOR 0
#define HMC_VERSION_MINOR 1
#define HMC_VERSION_PATCH 0

/* One comparable number: major * 10000 + minor * 100 + patch. */
#define HMC_VERSION (HMC_VERSION_MAJOR * 10000 + HMC_VERSION_MINOR * 100 + HMC_VERSION_PATCH)

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The version of the library that is loaded. Threads: any.
 *
 * \return As HMC_VERSION.
 */
HMC_API int hmc_version(void);

/**
 * The same as text. Threads: any.
 *
 * \return "0.1.0" or the like. Static storage.
 */
HMC_API const char *hmc_version_text(void);

#ifdef __cplusplus
}
#endif
#endif
