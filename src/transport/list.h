/* The transports of this build, best first: the one list that names them.
 *
 * BUILT_IN(folder, TYPE)                       its table is hmci_transport_<folder>
 * MODULE(folder, TYPE, for people, package)    loaded at run time (module.h); the package is what a build without it lacked
 *
 * The folder is that of its source, and the name of the table. TYPE is one of HMC_CONNECTION_LIST. ucx comes last: tcp,
 * which always works, is preferred to it, so it is used where it is asked for. */
#ifndef HMCI_TRANSPORT_LIST_H
#define HMCI_TRANSPORT_LIST_H

#define HMCI_TRANSPORT_LIST(BUILT_IN, MODULE)                                                                          \
  BUILT_IN(shm, SHM)                                                                                                   \
  MODULE(verbs, RDMA, "RDMA", "libibverbs-dev")                                                                        \
  BUILT_IN(tcp, TCP)                                                                                                   \
  MODULE(ucx, UCX, "UCX", "libucx-dev")

#define HMCI_TRANSPORT_NONE(...)

#endif
