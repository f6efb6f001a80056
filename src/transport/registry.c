/* The tables of the transports that list.h names, in its order.
 *
 * One that comes as a module is known here by name and type. Its table is filled in by the first call of `probe`, once
 * per process; the core reads nothing else of a table before its probe has succeeded, but for the size of the
 * transport's state, which is a fixed one for modules. */
#include "module.h"

#include <stdio.h>
#include <string.h>

enum { MODULE_STATE = 64 << 10 };

typedef struct late_table {
  hmci_transport_ops_t *table;
  hmc_status_t status;
  char reason[256];
  const hmci_transport_ops_t *ops; /* the module's */
} late_table_t;

/* Leaves name, type and probe, which other threads may be reading. */
static void load(late_table_t *late) {
  late->status = hmci_module_load(late->table->name, NULL, &late->ops, late->reason, sizeof late->reason);
  if (late->status != HMC_SUCCESS) return;
  if (late->ops->transport_size > MODULE_STATE) {
    late->status = HMC_UNSUPPORT;
    snprintf(late->reason, sizeof late->reason, "the module of %s needs more state than there is", late->table->name);
    return;
  }
  size_t kept = offsetof(hmci_transport_ops_t, open);
  late->table->connection_size = late->ops->connection_size;
  late->table->remote_size = late->ops->remote_size;
  late->table->checksums = late->ops->checksums;
  late->table->reaches_devices = late->ops->reaches_devices;
  late->table->notification_most = late->ops->notification_most;
  memcpy((uint8_t *)late->table + kept, (const uint8_t *)late->ops + kept, sizeof *late->table - kept);
}

static hmc_status_t probe(const late_table_t *late, char *reason, size_t size) {
  if (late->status == HMC_SUCCESS) return late->ops->probe(reason, size);
  snprintf(reason, size, "%s", late->reason);
  return late->status;
}

#define MODULE_TABLE(folder, TYPE, called, package)                                                                    \
  static pthread_once_t folder##_once = PTHREAD_ONCE_INIT;                                                             \
  static late_table_t late_##folder;                                                                                   \
  static void load_##folder(void) { load(&late_##folder); }                                                            \
  static hmc_status_t probe_##folder(char *reason, size_t size) {                                                      \
    pthread_once(&folder##_once, load_##folder);                                                                       \
    return probe(&late_##folder, reason, size);                                                                        \
  }                                                                                                                    \
  static hmci_transport_ops_t hmci_transport_##folder = {                                                              \
      .type = HMC_CONNECTION_##TYPE, .name = #folder, .transport_size = MODULE_STATE, .probe = probe_##folder};        \
  static late_table_t late_##folder = {.table = &hmci_transport_##folder};
HMCI_TRANSPORT_LIST(HMCI_TRANSPORT_NONE, MODULE_TABLE)

#define ENTRY(folder, ...) &hmci_transport_##folder,
const hmci_transport_ops_t *const hmci_transports[] = {HMCI_TRANSPORT_LIST(ENTRY, ENTRY)};

const size_t hmci_transport_count = sizeof hmci_transports / sizeof *hmci_transports;
