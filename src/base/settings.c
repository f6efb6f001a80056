/* Reading the settings from the environment. Rows and struct come from the one list in settings.h. */
#include "settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

typedef enum setting_kind { DURATION, SIZE, COUNT, RATE, SWITCH, TEXT } setting_kind_t;

typedef struct row {
  setting_kind_t kind;
  size_t offset; /* of the field in hmci_settings_t */
  const char *variable;
  const char *default_value;
  const char *documentation;
} row_t;

static const row_t rows[] = {
#define ROW(kind, field, variable, default_value, documentation)                                                       \
  {kind, offsetof(hmci_settings_t, field), variable, default_value, documentation},
    HMCI_SETTINGS_LIST(ROW)
#undef ROW
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))
#define NS_PER_MS UINT64_C(1000000)
#define NS_PER_S UINT64_C(1000000000)
#define TEXT_SIZE 256 /* of the TEXT fields */

static const struct {
  const char *name;  /* as hmc_setting_t says it */
  const char *takes; /* for people */
} kinds[] = {
    [DURATION] = {"duration", "a time with its unit such as 30s, 5ms, 20us or 100ns"},
    [SIZE] = {"size", "a size in bytes such as 4096, 64K, 16M or 1G"},
    [COUNT] = {"count", "a whole number"},
    [RATE] = {"rate", "bytes per second such as 1000000, 64K, 16M or 8G (0: without limit)"},
    [SWITCH] = {"switch", "yes, on, true or 1, or no, off, false or 0"},
    [TEXT] = {"text", "a text of at most 255 bytes"},
};

/* Numbers that take less than all. */
static const struct {
  const char *variable;
  uint64_t least, most;
  const char *takes;
} ranges[] = {
    {"HMC_TIMEOUT", 1, UINT64_MAX, "a time above 0 with its unit such as 30s, 5ms, 20us or 100ns"},
    {"HMC_SERVICE_THREADS", 1, 64, "a whole number from 1 to 64, or 0"},
    {"HMC_TCP_STREAMS", 1, 16, "a whole number from 1 to 16"},
    {"HMC_TCP_BUFFER", UINT64_C(64) << 10, UINT64_C(1) << 30, "a size in bytes from 64K to 1G, or 0"},
    {"HMC_STAGING", UINT64_C(1) << 20, UINT64_C(1) << 40, "a size in bytes from 1M to 1T"},
    {"HMC_CHUNK", UINT64_C(64) << 10, UINT64_C(1) << 20, "a size in bytes from 64K to 1M, or 0"},
    {"HMC_DEPTH", 1, 8, "a whole number from 1 to 8"},
    {"HMC_NOTIFICATIONS", 16, UINT64_C(1) << 20, "a whole number from 16 to 1048576"},
    {"HMC_NOTIFICATION_BYTES", UINT64_C(4) << 20, UINT64_C(1) << 40, "a size in bytes from 4M to 1T"},
    {"HMC_REQUESTS", 16, UINT64_C(16) << 20, "a whole number from 16 to 16777216"},
    {"HMC_STORE_LEASE", 100 * NS_PER_MS, 3600 * NS_PER_S, "a time from 100ms to 3600s, such as 3s or 500ms"},
    {"HMC_STORE_HEARTBEAT", 10 * NS_PER_MS, 3600 * NS_PER_S, "a time from 10ms to 3600s, such as 1s or 500ms, or 0"},
    {"HMC_STORE_GRACE", NS_PER_MS, 3600 * NS_PER_S, "a time from 1ms to 3600s, such as 1s or 500ms"},
    {"HMC_STORE_MEMORY", 4096, UINT64_C(64) << 40, "a size in bytes from 4K to 64T"},
    {"HMC_STORE_CLIENTS", 1, 1048576, "a whole number from 1 to 1048576"},
    {"HMC_SIM_DEVICES", 0, 8, "a whole number from 0 to 8"},
    {"HMC_RDMA_RAILS", 1, 4, "a whole number from 1 to 4"},
    {"HMC_RDMA_BUFFERS", 4, 65536, "a whole number from 4 to 65536"},
    {"HMC_RDMA_TRAFFIC_CLASS", 0, 255, "a whole number from 0 to 255"},
};

/* Texts that take some words only; HMC_LOG knows its own. */
static const struct {
  const char *variable, *words[4], *takes;
} choices[] = {
    {"HMC_RDMA_FLUSH", {"auto", "yes", "no"}, "auto, yes or no"},
    {"HMC_CIPHER", {"auto", "gcm", "ocb"}, "auto, gcm or ocb"},
};

typedef struct unit {
  const char *suffix;
  uint64_t factor;
} unit_t;

static const unit_t duration_units[] = {
    {"s", 1000000000}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}, {NULL, 0},
};
static const unit_t size_units[] = {
    {"", 1},   {"K", UINT64_C(1) << 10}, {"M", UINT64_C(1) << 20}, {"G", UINT64_C(1) << 30}, {"T", UINT64_C(1) << 40},
    {NULL, 0},
};
static const unit_t count_units[] = {{"", 1}, {NULL, 0}};

/* Only zero means the same in every unit. */
static bool lacks_unit(const row_t *row, const char *text) {
  return row->kind == DURATION && *text && strspn(text, "0123456789") == strlen(text) &&
         strspn(text, "0") != strlen(text);
}

/* Digits and one of the suffixes (case does not matter), nothing else; false for the rest and for what does not fit. */
static bool parse_number(const char *text, const unit_t *units, uint64_t *number) {
  uint64_t value = 0;
  const char *at = text;
  for (; *at >= '0' && *at <= '9'; at++) {
    if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
        __builtin_add_overflow(value, (uint64_t)(*at - '0'), &value)) {
      return false;
    }
  }
  if (at == text) {
    return false;
  }
  for (; units->suffix != NULL; units++) {
    if (strcasecmp(at, units->suffix) == 0) {
      return !__builtin_mul_overflow(value, units->factor, number);
    }
  }
  return false;
}

static bool parse_switch(const char *text, bool *on) {
  static const char *const words[][2] = {{"no", "yes"}, {"off", "on"}, {"false", "true"}, {"0", "1"}};
  for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
    for (int value = 0; value <= 1; value++) {
      if (strcasecmp(text, words[i][value]) == 0) {
        *on = value == 1;
        return true;
      }
    }
  }
  return false;
}

static bool is_secret(const row_t *row) { return strcmp(row->variable, "HMC_SECRET") == 0; }

/* Every failure goes through here; `value` is cut, and a secret is not shown. */
static hmc_status_t refuse(const row_t *row, const char *value, const char *takes) {
  return hmci_fail(HMC_INVALID_CONFIG, "%s=%.64s: takes %s", row->variable, is_secret(row) ? "(hidden)" : value, takes);
}

/* A number in the row's range; 0 is in it where it is the default. */
static hmc_status_t parse_in_range(const row_t *row, const unit_t *units, const char *text, uint64_t *field) {
  uint64_t value = 0, least = 0, most = UINT64_MAX;
  const char *takes = kinds[row->kind].takes;
  for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
    if (strcmp(ranges[i].variable, row->variable) == 0) {
      least = ranges[i].least;
      most = ranges[i].most;
      takes = ranges[i].takes;
    }
  }
  if (lacks_unit(row, text)) {
    return hmci_fail(HMC_INVALID_CONFIG, "%s=%.64s: a time needs its unit: say %.64ss or %.64sms", row->variable, text,
                     text, text);
  }
  bool is_number = parse_number(text, units, &value) || (row->kind == DURATION && *text && !text[strspn(text, "0")]);
  bool is_default = value == 0 && strcmp(row->default_value, "0") == 0;
  if (!is_number || (!is_default && (value < least || value > most))) {
    return refuse(row, text, takes);
  }
  *field = value;
  return HMC_SUCCESS;
}

/* False where the row takes some words only and this is none of them; `takes` then says which. */
static bool is_choice(const row_t *row, const char *text, const char **takes) {
  for (size_t i = 0; i < sizeof(choices) / sizeof(choices[0]); i++) {
    if (strcmp(choices[i].variable, row->variable) != 0) {
      continue;
    }
    *takes = choices[i].takes;
    for (const char *const *word = choices[i].words; *word != NULL; word++) {
      if (strcmp(*word, text) == 0) {
        return true;
      }
    }
    return false;
  }
  return true;
}

static hmc_status_t parse_text(const row_t *row, const char *text, char *field) {
  hmc_log_level_t level;
  const char *takes;
  if (strcmp(row->variable, "HMC_LOG") == 0 && !hmci_log_level_parse(text, &level)) {
    return refuse(row, text, "none, error, warning, info or debug");
  }
  if (!is_choice(row, text, &takes)) {
    return refuse(row, text, takes);
  }
  size_t length = strlen(text);
  if (length >= TEXT_SIZE) {
    return refuse(row, text, kinds[TEXT].takes);
  }
  memcpy(field, text, length + 1);
  return HMC_SUCCESS;
}

/* Writes the field only on success. */
static hmc_status_t parse_row(const row_t *row, const char *text, hmci_settings_t *settings) {
  void *field = (char *)settings + row->offset;
  bool is_parsed = false;
  switch (row->kind) {
  case DURATION: return parse_in_range(row, duration_units, text, field);
  case SIZE: return parse_in_range(row, size_units, text, field);
  case RATE: is_parsed = parse_number(text, size_units, field); break;
  case COUNT: return parse_in_range(row, count_units, text, field);
  case SWITCH: is_parsed = parse_switch(text, field); break;
  case TEXT: return parse_text(row, text, field);
  }
  return is_parsed ? HMC_SUCCESS : refuse(row, text, kinds[row->kind].takes);
}

/* The variable's value, or NULL; an empty one counts as not set, as in `HMC_X= command`. */
static const char *environment_value(const row_t *row) {
  const char *value = getenv(row->variable);
  return value == NULL || value[0] == '\0' ? NULL : value;
}

hmc_status_t hmci_settings_read(hmci_settings_t *settings) {
  hmci_settings_t read;
  memset(&read, 0, sizeof(read));
  hmc_status_t status = HMC_SUCCESS;
  for (size_t i = 0; i < ROWS && status == HMC_SUCCESS; i++) {
    const char *value = environment_value(&rows[i]);
    status = parse_row(&rows[i], value != NULL ? value : rows[i].default_value, &read);
  }
  if (status == HMC_SUCCESS) {
    *settings = read;
  }
  explicit_bzero(&read, sizeof(read)); /* the secret is in it */
  return status;
}

bool hmci_setting_lists(const char *list, const char *name) {
  size_t length = strlen(name);
  if (!*list) return true;
  while (*list) {
    size_t entry = strcspn(list, ",");
    if (entry == length && strncmp(list, name, length) == 0) return true;
    list += entry + (list[entry] == ',');
  }
  return false;
}

size_t hmc_settings_count(void) { return ROWS; }

hmc_status_t hmc_settings_get(size_t index, hmc_setting_t *setting) {
  if (setting == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_settings_get: setting is NULL");
  }
  if (index >= ROWS) {
    return hmci_fail(HMC_OUT_OF_RANGE, "setting %zu: there are %zu", index, ROWS);
  }
  if (hmci_sized_check(setting, "hmc_setting_t") != HMC_SUCCESS) {
    return HMC_INVALID_CONFIG;
  }
  const row_t *row = &rows[index];
  const char *value = environment_value(row);
  hmci_settings_t parsed;
  hmc_status_t status = parse_row(row, value != NULL ? value : row->default_value, &parsed);
  explicit_bzero(&parsed, sizeof(parsed));
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmc_setting_t found = {
      .name = row->variable,
      .kind = kinds[row->kind].name,
      .default_value = row->default_value,
      .documentation = row->documentation,
      .is_set = value != NULL,
  };
  const char *shown = value == NULL ? row->default_value : is_secret(row) ? "(hidden)" : value;
  snprintf(found.value, sizeof(found.value), "%s", shown);
  hmci_text_clean(found.value);
  hmci_sized_write(setting, &found, sizeof(found));
  return HMC_SUCCESS;
}
