/* Logging: one line a record, to stderr unless a callback takes it; never to stdout. A line on stderr says when (UTC), by
 * which process and thread, how serious it is, and what happened:
 *
 *     hmc 21:30:01.123456Z 4711/4713 warning: ... */
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

/* Takes one record. `text` is one line without line end and is valid during the call only. A thread that does nothing
 * else calls it, for one record at a time and in their order, soon after what is logged has happened: a callback that
 * takes its time holds up nobody, but records that come meanwhile may be left out. It must not call back into HMC. */
typedef void (*hmc_log_callback_t)(hmc_log_level_t level, const char *text, void *user);

/* Sends records to `callback` from now on; NULL: back to stderr. Completion: when it returns, the former callback has
 * had all records from before, and no call of it is running. Threads: any; in the callback itself it does not wait. */
HMC_API void hmc_log_set_callback(hmc_log_callback_t callback, void *user);

/* Adds a record of the program's own, in line with the library's. Threads: any. Blocking: never. */
HMC_API void hmc_log_write(hmc_log_level_t level, const char *text);

/* Sets what is logged, over what HMC_LOG says. Threads: any. */
HMC_API void hmc_log_set_level(hmc_log_level_t level);
HMC_API hmc_log_level_t hmc_log_get_level(void);

#ifdef __cplusplus
}
#endif
#endif
