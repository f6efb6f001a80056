/* Status codes and the error text.
 *
 * One list gives codes, names and texts. The C++ enumeration derives from it, and layout.lists compares Python's.
 */
#ifndef HMC_STATUS_H
#define HMC_STATUS_H

#include <hmc/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(name, value, text). The first six are the historical codes of HMC; values never change once released. */
#define HMC_STATUS_LIST(X)                                                                                             \
  X(SUCCESS, 0, "success")                                                                                             \
  X(ERROR, 1, "general error")                                                                                         \
  X(UNSUPPORT, 2, "not supported here")                                                                                \
  X(INVALID_CONFIG, 3, "invalid argument or configuration")                                                            \
  X(TIMEOUT, 4, "deadline passed")                                                                                     \
  X(NOT_FOUND, 5, "not found")                                                                                         \
  X(IN_PROGRESS, 6, "still in progress")                                                                               \
  X(PEER_LOST, 7, "the peer is gone")                                                                                  \
  X(CANCELLED, 8, "cancelled")                                                                                         \
  X(OUT_OF_RANGE, 9, "outside the region")                                                                             \
  X(STALE, 10, "the region was closed, or a lease is over")                                                            \
  X(CORRUPT, 11, "data or protocol corrupted")                                                                         \
  X(DENIED, 12, "not allowed")                                                                                         \
  X(NO_MEMORY, 13, "out of memory or of another resource")                                                             \
  X(ADDRESS_IN_USE, 14, "address already in use")

typedef enum hmc_status {
#define HMC_STATUS_ENUM(name, value, text) HMC_##name = value,
  HMC_STATUS_LIST(HMC_STATUS_ENUM)
#undef HMC_STATUS_ENUM
} hmc_status_t;

/**
 * The name of a code. Threads: any.
 *
 * \param status The code.
 * \return Its name as in the source, without the prefix ("PEER_LOST"); "UNKNOWN" for any other value. Static storage.
 */
HMC_API const char *hmc_status_name(hmc_status_t status);

/**
 * One sentence about a code, for people. Threads: any.
 *
 * \param status The code.
 * \return The sentence. Static storage.
 */
HMC_API const char *hmc_status_text(hmc_status_t status);

/**
 * What went wrong in the last call of this thread that did not return HMC_SUCCESS: the object, the cause and the
 * remedy. Threads: each has its own.
 *
 * \return One line of UTF-8; "" when no call has failed yet. It belongs to the thread, whose next failing call
 * overwrites it.
 */
HMC_API const char *hmc_last_error(void);

#ifdef __cplusplus
}
#endif
#endif
