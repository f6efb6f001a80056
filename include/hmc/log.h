/* Logging: one line a record, to stderr unless a callback takes it; never to stdout. */
#ifndef HMC_LOG_H
#define HMC_LOG_H

#include <hmc/export.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hmc_log_level {
  HMC_LOG_NONE = 0,
  HMC_LOG_ERROR = 1,
  HMC_LOG_WARNING = 2, /* the default */
  HMC_LOG_INFO = 3,
  HMC_LOG_DEBUG = 4,
} hmc_log_level_t;

/* Takes one record. `text` is one line without line end and is valid during the call only. May be called from any
 * thread, from several at once, and from the service thread: it must not call back into HMC and should not block. */
typedef void (*hmc_log_callback_t)(hmc_log_level_t level, const char *text, void *user);

/* Sends records to `callback` from now on; NULL: back to stderr. Completion: when it returns, no call of the former
 * callback is running. Threads: any. */
HMC_API void hmc_log_set_callback(hmc_log_callback_t callback, void *user);

/* Sets what is logged, over what HMC_LOG says. Threads: any. */
HMC_API void hmc_log_set_level(hmc_log_level_t level);
HMC_API hmc_log_level_t hmc_log_get_level(void);

#ifdef __cplusplus
}
#endif
#endif
