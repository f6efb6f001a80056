/* Visibility of the public symbols. */
#ifndef HMC_EXPORT_H
#define HMC_EXPORT_H

#if defined(__GNUC__)
#define HMC_API __attribute__((visibility("default")))
#else
#define HMC_API
#endif

#endif
