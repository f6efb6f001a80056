/* The transports of this build, best first. A new one is one folder and one line here. */
#include "transport.h"

const hmci_transport_ops_t *const hmci_transports[] = {
    &hmci_transport_shm,
    &hmci_transport_tcp,
};

const size_t hmci_transport_count = sizeof hmci_transports / sizeof *hmci_transports;
