/* The types of connection: their names, and which of them work here. */
#include "core.h"

#include <stdio.h>
#include <string.h>

static const char *const type_names[HMCI_CONNECTION_TYPES] = {
#define TYPE_NAME(NAME, value, name) [value] = name,
    HMC_CONNECTION_LIST(TYPE_NAME)
#undef TYPE_NAME
};

/* The same in one text, for errors: ", auto, shm, ...". */
#define TYPE_TEXT(NAME, value, name) ", " name
static const char all_names[] = HMC_CONNECTION_LIST(TYPE_TEXT);
#undef TYPE_TEXT

const char *hmc_connection_type_name(hmc_connection_type_t type) {
  return (unsigned)type < HMCI_CONNECTION_TYPES ? type_names[type] : "unknown";
}

hmc_status_t hmc_connection_type_parse(const char *name, hmc_connection_type_t *type) {
  if (!name || !type) return hmci_fail(HMC_INVALID_CONFIG, "connection type: name or type is NULL");
  for (unsigned i = 0; i < HMCI_CONNECTION_TYPES; i++) {
    if (strcmp(name, type_names[i]) == 0) {
      *type = (hmc_connection_type_t)i;
      return HMC_SUCCESS;
    }
  }
  return hmci_fail(HMC_NOT_FOUND, "no connection type '%s' (%s)", name, all_names + 2);
}

static const hmci_transport_ops_t *ops_of(hmc_connection_type_t type) {
  for (size_t i = 0; i < hmci_transport_count; i++) {
    if (hmci_transports[i]->type == type) return hmci_transports[i];
  }
  return NULL;
}

/* HMC_TRANSPORTS: a name that is none would leave out what it was to allow. */
hmc_status_t hmci_transports_check(const char *list) {
  for (const char *at = list; *at;) {
    int length = (int)strcspn(at, ",");
    bool known = false;
    for (size_t i = 0; i < hmci_transport_count && !known; i++) {
      const char *name = hmc_connection_type_name(hmci_transports[i]->type);
      known = strlen(name) == (size_t)length && strncmp(at, name, (size_t)length) == 0;
    }
    if (!known)
      return hmci_fail(HMC_INVALID_CONFIG, "HMC_TRANSPORTS=%.64s: '%.*s' is none of %s", list, length, at,
                       all_names + sizeof ", auto, " - 1);
    at += length;
    at += *at == ',';
  }
  return HMC_SUCCESS;
}

/* Does HMC_TRANSPORTS allow it, and does it work here? */
hmc_status_t hmci_transport_probe(const hmci_transport_ops_t *ops, const char *allowed, char reason[HMCI_REASON_SIZE]) {
  if (hmci_setting_lists(allowed, hmc_connection_type_name(ops->type))) return ops->probe(reason, HMCI_REASON_SIZE);
  snprintf(reason, HMCI_REASON_SIZE, "HMC_TRANSPORTS=%.64s leaves it out", allowed);
  return HMC_UNSUPPORT;
}

static hmc_status_t probe(hmc_connection_type_t type, char text[HMCI_REASON_SIZE]) {
  hmci_settings_t settings;
  const hmci_transport_ops_t *ops = ops_of(type);
  hmc_status_t status = hmci_settings_read(&settings);
  if (status == HMC_SUCCESS) status = hmci_transports_check(settings.transports);
  if (status != HMC_SUCCESS) {
    snprintf(text, HMCI_REASON_SIZE, "%s", hmc_last_error());
    return status;
  }
  if (type == HMC_CONNECTION_AUTO) {
    snprintf(text, HMCI_REASON_SIZE, "the fastest that works between two peers");
    return HMC_SUCCESS;
  }
  if (!ops) {
    snprintf(text, HMCI_REASON_SIZE, "this build of HMC has no %s transport", hmc_connection_type_name(type));
    return HMC_UNSUPPORT;
  }
  return hmci_transport_probe(ops, settings.transports, text);
}

hmc_status_t hmc_connection_type_probe(hmc_connection_type_t type, char *reason, size_t size) {
  char text[HMCI_REASON_SIZE];
  hmc_status_t status = probe(type, text);
  if (reason && size) snprintf(reason, size, "%s", text);
  return status == HMC_SUCCESS ? status : hmci_fail(status, "%s", text);
}
