/* libucp, opened when it is first needed and never linked, so that everything else works where it is missing.
 *
 * What loading it must not do to the host program, and what is done about it:
 *   it patches mmap and its kin in the running program        UCX_MEM_EVENTS=n
 *   it installs handlers for SIGSEGV, SIGBUS, SIGFPE, SIGILL  UCX_HANDLE_ERRORS=none
 *   it writes its messages to stdout                          UCX_LOG_FILE=stderr until our log handler is in place
 * UCX reads these variables in its constructors and nowhere else, so they stand in a second environment while it is
 * loaded (see library.c). A variable that the user has set is left as it is: UCX_* pass through. */
#ifndef HMCI_UCX_LIBRARY_H
#define HMCI_UCX_LIBRARY_H

#include "../../base/base.h"

#include <ucp/api/ucp.h>
#include <ucs/async/async_fwd.h>
#include <ucs/debug/log_def.h>
#include <uct/api/uct.h>

/* Every function of UCX that is called, by the name it has there. */
#define HMCI_UCX_FUNCTIONS(X)                                                                                          \
  X(ucp_get_version)                                                                                                   \
  X(ucp_config_modify)                                                                                                 \
  X(ucp_config_read)                                                                                                   \
  X(ucp_config_release)                                                                                                \
  X(ucp_init_version)                                                                                                  \
  X(ucp_cleanup)                                                                                                       \
  X(ucp_worker_create)                                                                                                 \
  X(ucp_worker_destroy)                                                                                                \
  X(ucp_worker_get_efd)                                                                                                \
  X(ucp_worker_arm)                                                                                                    \
  X(ucp_worker_progress)                                                                                               \
  X(ucp_worker_set_am_recv_handler)                                                                                    \
  X(ucp_listener_create)                                                                                               \
  X(ucp_listener_destroy)                                                                                              \
  X(ucp_listener_query)                                                                                                \
  X(ucp_listener_reject)                                                                                               \
  X(ucp_ep_create)                                                                                                     \
  X(ucp_ep_close_nbx)                                                                                                  \
  X(ucp_ep_print_info)                                                                                                 \
  X(ucp_am_send_nbx)                                                                                                   \
  X(ucp_request_check_status)                                                                                          \
  X(ucp_request_free)                                                                                                  \
  X(ucs_status_string)                                                                                                 \
  X(ucs_log_push_handler)

/* Those that lanes take besides (see fabric.h). */
#define HMCI_UCX_LANE_FUNCTIONS(X)                                                                                     \
  X(ucs_async_context_create)                                                                                          \
  X(ucs_async_context_destroy)                                                                                         \
  X(uct_query_components)                                                                                              \
  X(uct_release_component_list)                                                                                        \
  X(uct_component_query)                                                                                               \
  X(uct_md_config_read)                                                                                                \
  X(uct_md_iface_config_read)                                                                                          \
  X(uct_config_modify)                                                                                                 \
  X(uct_config_release)                                                                                                \
  X(uct_md_open)                                                                                                       \
  X(uct_md_close)                                                                                                      \
  X(uct_md_query)                                                                                                      \
  X(uct_md_query_tl_resources)                                                                                         \
  X(uct_release_tl_resource_list)                                                                                      \
  X(uct_md_mem_reg)                                                                                                    \
  X(uct_md_mem_dereg)                                                                                                  \
  X(uct_md_mkey_pack)                                                                                                  \
  X(uct_rkey_unpack)                                                                                                   \
  X(uct_rkey_release)                                                                                                  \
  X(uct_worker_create)                                                                                                 \
  X(uct_worker_destroy)                                                                                                \
  X(uct_iface_open)                                                                                                    \
  X(uct_iface_close)                                                                                                   \
  X(uct_iface_query)                                                                                                   \
  X(uct_iface_get_device_address)                                                                                      \
  X(uct_iface_is_reachable)                                                                                            \
  X(uct_iface_event_fd_get)                                                                                            \
  X(uct_iface_event_arm)                                                                                               \
  X(uct_ep_create)                                                                                                     \
  X(uct_ep_destroy)                                                                                                    \
  X(uct_ep_get_address)                                                                                                \
  X(uct_ep_connect_to_ep)

typedef struct hmci_ucx_library {
#define HMCI_UCX_FIELD(name) __typeof__(name) *name;
  HMCI_UCX_FUNCTIONS(HMCI_UCX_FIELD)
  HMCI_UCX_LANE_FUNCTIONS(HMCI_UCX_FIELD)
#undef HMCI_UCX_FIELD
  unsigned major, minor;
  char version[32]; /* "1.13.1" */
  bool has_lanes;   /* the functions of lanes are there, of the release that HMC was built with */
} hmci_ucx_library_t;

/* The library, loaded by the first call and kept. HMC_UNSUPPORT with a text: it is missing or too old. Any thread. */
hmc_status_t hmci_ucx_library_load(const hmci_ucx_library_t **library);
/* For tests: the same from a file of that name, if it is the first call of the two. */
hmc_status_t hmci_ucx_library_load_from(const char *name, const hmci_ucx_library_t **library);
/* Has the user set the variable of that name (what follows a = does not count)? */
bool hmci_ucx_library_is_set(const char *setting);

#endif
