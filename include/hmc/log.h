/* Logging: one line per record, to stderr unless a callback takes it; never to stdout. A line on stderr says when (UTC),
 * by which process and thread, how serious it is, and what happened:
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

/**
 * Takes one record of the log. A thread that does nothing else calls it, for one record at a time and in their order,
 * soon after the event. So a slow callback delays nobody, but records may be left out during that time. It must not
 * call HMC.
 *
 * \param level How important the record is.
 * \param text One line without line end; valid during the call only.
 * \param user What hmc_log_set_callback got.
 */
typedef void (*hmc_log_callback_t)(hmc_log_level_t level, const char *text, void *user);

/**
 * Sends records to a callback. When the call returns, the former callback has received all earlier records, and does not run
 * any more. Threads: any; in the callback itself the call does not wait.
 *
 * \param callback The callback; NULL: records go to stderr again.
 * \param user For the callback.
 */
HMC_API void hmc_log_set_callback(hmc_log_callback_t callback, void *user);

/**
 * Adds a record of the program's own, in line with the library's. Threads: any. Never blocks.
 *
 * \param level How important the record is.
 * \param text One line.
 */
HMC_API void hmc_log_write(hmc_log_level_t level, const char *text);

/**
 * Sets what is logged, in place of what HMC_LOG says. Threads: any.
 *
 * \param level The least important level that is logged.
 */
HMC_API void hmc_log_set_level(hmc_log_level_t level);

/**
 * What is logged. Threads: any.
 *
 * \return The least important level that is logged.
 */
HMC_API hmc_log_level_t hmc_log_get_level(void);

#ifdef __cplusplus
}
#endif
#endif
