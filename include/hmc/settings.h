/* The table of HMC_* settings, for programs that show it (hmc-info --config). */
#ifndef HMC_SETTINGS_H
#define HMC_SETTINGS_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One setting. All texts are static storage, but for `value`. */
typedef struct hmc_setting {
  size_t size;               /* sizeof(hmc_setting_t); the caller sets it */
  const char *name;          /* the environment variable: "HMC_TIMEOUT" */
  const char *kind;          /* "duration", "size", "rate", "count", "switch", "text" */
  const char *default_value; /* as one would write it: "30s" */
  const char *documentation; /* one or two sentences */
  char value[128]; /* the value in force for a context made now, cut where longer; a secret reads "(hidden)" */
  int is_set;      /* 1: from the environment, 0: the default */
} hmc_setting_t;
#define HMC_SETTING_INIT HMC_SIZED_INIT(hmc_setting_t)

/* The number of settings. Threads: any. */
HMC_API size_t hmc_settings_count(void);

/* Describes setting `index` (0 .. count - 1). Reads the environment: not while another thread changes it.
 * Errors: HMC_OUT_OF_RANGE; HMC_INVALID_CONFIG when the environment holds a value that does not parse (the text names
 * it). */
HMC_API HMC_CHECKED hmc_status_t hmc_settings_get(size_t index, hmc_setting_t *setting);

/* What is wrong with the environment though a context can be made: the `index`-th variable that begins with HMC_ and is
 * no setting. `text` (at most `size` bytes with the end) gets one line that names it, and the setting that is probably
 * meant. A context that is made logs each of them once per process. Reads the environment: not while another thread
 * changes it. Errors: HMC_NOT_FOUND (there are not so many). */
HMC_API HMC_CHECKED hmc_status_t hmc_settings_unknown(size_t index, char *text, size_t size);

/* Where the secret of a context made now would come from: a path, "HMC_SECRET", "HMC_SECRET_FILE=..." or
 * "HMC_INSECURE". The user's own is made, as a context would make it. `text` (may be NULL) gets at most `size` bytes with
 * the end. Blocks for a small file. Errors: as of hmc_context_create, with its texts. Threads: any. */
HMC_API HMC_CHECKED hmc_status_t hmc_secret_source(char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
