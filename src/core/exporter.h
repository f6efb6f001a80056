/* Showing the counters at a socket (HMC_METRICS). */
#ifndef HMCI_EXPORTER_H
#define HMCI_EXPORTER_H

#include "../base/base.h"

/* A context wants it; the first one starts it. False, and a warning, where it cannot be; `where` "": nowhere. */
bool hmci_exporter_enter(const char *where);
/* For each that entered; the last one ends it. With no lock held that hmc_metrics_text takes. */
void hmci_exporter_leave(void);

#endif
