/* Options of public calls: structs that begin with their size, so that they can grow.
 *
 * A caller built with an older header passes a smaller struct: what it does not have keeps its default. One built with a
 * newer header passes a larger one: what this library does not know must be zero. */
#ifndef HMCI_OPTIONS_H
#define HMCI_OPTIONS_H

#include "base.h"

/* Takes what the caller gave into `own`, which holds the defaults and has `room` bytes; `least` is the size of the
 * struct in the first release that had it. NULL gives the defaults. HMC_INVALID_CONFIG, with the call's name in the
 * text, where the size is none of a release or a field that this library does not know is set. */
hmc_status_t hmci_options_take(void *own, size_t room, size_t least, const void *given, const char *call);

#endif
