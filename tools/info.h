/* What the files of hmc-info share. */
#ifndef HMC_INFO_H
#define HMC_INFO_H

#include <hmc.h>

#include <stdbool.h>

/* Connects by that type, to another context of this process or to one that listens at `where` (NULL: none), and prints
 * how bytes go. Answers an exit code. */
int info_try(hmc_connection_type_t type, const char *where);

/* Prints what a recorder's file holds, as lines or as a trace that Chrome and Perfetto show. Answers an exit code. */
int info_recorder(const char *path, bool trace);

/* Prints the devices, their links and their adapters, as text and as members of a JSON object. */
void info_show_devices(void);
void info_json_devices(void);

typedef void info_adapter_visit_t(const char *name, const char *distance, void *argument);

/* Visits each RDMA adapter of this machine with its distance from the device at that PCI address ("": none is visited):
 * switch, complex, node or system. False where the distances are not known: hwloc does not show the device, or this
 * program was built without hwloc. */
bool info_visit_adapters(const char *pci, info_adapter_visit_t *visit, void *argument);

#endif
