/* The table of HMC_* settings, for programs that show it (hmc-info --config). */
#ifndef HMC_SETTINGS_H
#define HMC_SETTINGS_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* One setting. All texts are static storage, except `value`. */
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

/**
 * How many settings there are. Threads: any.
 *
 * \return Their number.
 */
HMC_API size_t hmc_settings_count(void);

/**
 * Describes a setting. It reads the environment: no other thread may change that at the same time.
 *
 * \param index Which setting: 0 to hmc_settings_count() - 1.
 * \param setting Gets the description; begin with HMC_SETTING_INIT.
 * \return HMC_SUCCESS
 * \return HMC_OUT_OF_RANGE There are fewer settings.
 * \return HMC_INVALID_CONFIG The environment has a value that does not parse; the text names it.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_settings_get(size_t index, hmc_setting_t *setting);

/**
 * What is wrong with the environment although a context can be made: variables that begin with HMC_ and are not
 * settings. The first context of a process logs each of them. It reads the environment: no other thread may change that
 * at the same time.
 *
 * \param index Which of them, from 0.
 * \param text Gets one line that names the variable and the setting that is probably meant.
 * \param size The size of `text` in bytes.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND There are fewer.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_settings_unknown(size_t index, char *text, size_t size);

/**
 * Where the secret of a context made now would come from. The user's own secret is made, as a context would make it.
 * Threads: any. Blocking: for a small file.
 *
 * \param text Gets a path, "HMC_SECRET", "HMC_SECRET_FILE=..." or "HMC_INSECURE"; may be NULL.
 * \param size The size of `text` in bytes.
 * \return As hmc_context_create, with its texts.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_secret_source(char *text, size_t size);

#ifdef __cplusplus
}
#endif
#endif
