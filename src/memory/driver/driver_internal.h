/* What the files of the drivers' common part share. */
#ifndef HMCI_DRIVER_INTERNAL_H
#define HMCI_DRIVER_INTERNAL_H

#include "driver.h"

typedef enum known_type { KNOWN_ALLOCATED, KNOWN_PHYSICAL, KNOWN_IMPORT, KNOWN_PHYSICAL_IMPORT } known_type_t;

/* A range of device memory that was made here. `size` is what was asked for, `whole` what the vendor gave. */
typedef struct known {
  known_type_t type;
  void *base;
  size_t size, whole;
  int device;
  bool exported;                      /* known_lock; `handle` has been returned */
  uint32_t users;                     /* known_lock; of an import */
  uint64_t origin;                    /* of an import: the exporting process's token */
  uint8_t handle[HMCI_DRIVER_HANDLE]; /* known_lock until it is exported */
} known_t;

/* Adds to the ranges. */
hmc_status_t hmci_driver_know(hmci_driver_t *driver, const known_t *known);
/* Copies what is known of the range that an address lies in; false where nothing is. */
bool hmci_driver_look_up(hmci_driver_t *driver, const void *pointer, known_t *known);
/* Takes the range that begins at `base` and is of one of two types out; false where there is none. */
bool hmci_driver_forget(hmci_driver_t *driver, const void *base, known_type_t one, known_type_t other, known_t *known);

/* Fails where a symbol is missing that is needed for something. */
hmc_status_t hmci_driver_need(hmci_driver_t *driver, hmci_need_t need, const char *what);
static inline bool hmci_driver_has(const hmci_driver_t *driver, hmci_need_t need) { return !driver->lacking[need][0]; }

hmc_status_t hmci_driver_enter(hmci_driver_t *driver, int device, void **saved);
static inline void hmci_driver_leave(hmci_driver_t *driver, int device, void *saved) {
  driver->ops->leave(device, saved);
}

/* A stream for the caller alone, of the current device, and its return. */
hmc_status_t hmci_driver_take_stream(hmci_driver_t *driver, int device, void **stream);
void hmci_driver_give_stream(hmci_driver_t *driver, int device, void *stream);

/* Opens the library and fills in the functions. */
hmc_status_t hmci_driver_load(hmci_driver_t *driver);

/* The node of a PCI address ("0000:c1:00.0"), or -1. */
int hmci_driver_numa_node(const char *pci);

#endif
