/* Transports that are loaded at run time: shared objects beside the library, for what needs other libraries that not
 * every machine has.
 *
 * A module is lib/hmc/libhmc-<name>.so. It is of the same build as the library, whose internal functions it calls
 * (symbol version HMC_PRIVATE), and shows one symbol, `hmci_transport_module`. */
#ifndef HMCI_MODULE_H
#define HMCI_MODULE_H

#include "transport.h"

#include <hmc/version.h>

/* Grows with every change that module and library must agree on and that no size below tells. */
enum { HMCI_MODULE_VERSION = 1 };

typedef struct hmci_module {
  uint32_t version, library_version;
  uint32_t ops_size, operation_size, settings_size, host_size; /* as the module was compiled */
  void (*library)(hmc_log_level_t level, const char *text,
                  ...); /* hmci_log as the module reaches it: the library's own, or of no use */
  const hmci_transport_ops_t *ops;
} hmci_module_t;

#define HMCI_MODULE_SYMBOL "hmci_transport_module"

/* What a module's source ends with. */
#define HMCI_MODULE(table)                                                                                             \
  extern const hmci_module_t hmci_transport_module;                                                                    \
  __attribute__((visibility("default"))) const hmci_module_t hmci_transport_module = {                                 \
      .version = HMCI_MODULE_VERSION,                                                                                  \
      .library_version = HMC_VERSION,                                                                                  \
      .ops_size = sizeof(hmci_transport_ops_t),                                                                        \
      .operation_size = sizeof(hmci_operation_t),                                                                      \
      .settings_size = sizeof(hmci_settings_t),                                                                        \
      .host_size = sizeof(hmci_host_t),                                                                                \
      .library = hmci_log,                                                                                             \
      .ops = &(table),                                                                                                 \
  }

/* Loads the module of that name from `folder` (NULL: HMC_MODULE_PATH, or beside the library). HMC_UNSUPPORT: it is
 * not there, or what it needs is not; the reason, with the remedy, goes to `reason`. A module stays loaded. Threads:
 * any. */
hmc_status_t hmci_module_load(const char *name, const char *folder, const hmci_transport_ops_t **ops, char *reason,
                              size_t size);

#endif
