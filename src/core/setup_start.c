/* Connecting and opening as requests: what a setup does, and the public calls that start one. */
#include "handshake.h"
#include "setup_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hmc_status_t run_connect(hmci_setup_t *setup, hmci_setup_result_t *result) {
  return hmci_handshake_connect(setup->context, setup->host, setup->port, setup->type, setup->deadline, &result->peer);
}

static hmc_status_t run_open(hmci_setup_t *setup, hmci_setup_result_t *result) {
  return hmci_remote_open(setup->peer, setup->name, setup->deadline, &result->remote);
}

static hmc_status_t run_find(hmci_setup_t *setup, hmci_setup_result_t *result) {
  return hmci_remote_find(setup->peer, setup->address, setup->bytes, setup->deadline, &result->remote, &result->offset);
}

static void drop_result(const hmci_setup_result_t *result) {
  hmc_peer_close(result->peer);
  hmc_remote_close(result->remote);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

/* There is no data, so nothing that goes with it. */
static hmc_status_t check_options(const hmc_operation_options_t *options, const char *call) {
  if (options->flags & ~(unsigned)HMC_OPERATION_EVENT || options->signal || options->notification_size ||
      options->lease || options->event)
    return hmci_fail(HMC_INVALID_CONFIG, "%s: of the options only a deadline, HMC_OPERATION_EVENT and a callback apply",
                     call);
  return HMC_SUCCESS;
}

/* Takes the setup, in any case. */
static hmc_status_t start(hmci_setup_t *setup, const hmc_operation_options_t *given, const char *call,
                          hmc_request_t **out) {
  hmc_context_t *context = setup->context;
  hmc_operation_options_t options;
  hmc_status_t status = hmci_sized_read(&options, sizeof options, given, "hmc_operation_options_t");
  if (status == HMC_SUCCESS) status = check_options(&options, call);
  hmc_request_t *request = NULL;
  setup->deadline = hmci_context_deadline(context, status == HMC_SUCCESS ? options.timeout_ms : 0);
  if (status == HMC_SUCCESS && !(request = hmci_request_take(context, setup->peer, NULL, setup->deadline)))
    status = HMC_NO_MEMORY;
  if (status != HMC_SUCCESS) goto err_setup;
  hmci_request_init(request, &options);
  request->is_setup = true;
  request->remote = NULL;
  request->peer_made = NULL;
  hmci_request_make_single(request, (hmci_operation_kind_t)(setup->peer ? HMCI_LOOK_UP : HMCI_CONNECT));
  hmci_where(request->end.where, setup->host, setup->port);
  if (setup->peer) memcpy(request->end.where, setup->peer->where, sizeof request->end.where);
  snprintf(request->end.region, sizeof request->end.region, "%s", setup->name);
  request->setup = setup;
  setup->request = request;
  *out = request; /* before the callback can run */
  status = hmci_setup_enqueue(setup, call);
  if (status != HMC_SUCCESS) goto err_request;
  hmci_requests_set_timer(context, request->deadline);
  hmci_request_started(request);
  return HMC_SUCCESS;

err_request:
  *out = NULL;
  request->setup = NULL;
  atomic_store(&request->starting, false);
  hmci_request_give(request);
err_setup:
  free(setup);
  return status;
}

static hmci_setup_t *make(hmc_context_t *context, hmc_peer_t *peer) {
  hmci_setup_t *setup = calloc(1, sizeof *setup);
  if (!setup) {
    hmci_fail(HMC_NO_MEMORY, "no memory to connect or open");
    return NULL;
  }
  hmci_list_init(&setup->link);
  setup->context = context;
  setup->peer = peer;
  return setup;
}

hmc_status_t hmc_context_connect_nb(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                                    const hmc_operation_options_t *options, hmc_peer_t **peer,
                                    hmc_request_t **request) {
  if (!context || !ip || !peer || !request)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_connect_nb: context, ip, peer or request is NULL");
  char host[HMCI_HOST_TEXT];
  hmc_status_t status = hmci_handshake_check(context, ip, type, host, &port);
  if (status != HMC_SUCCESS) return status;
  hmci_setup_t *setup = make(context, NULL);
  if (!setup) return HMC_NO_MEMORY;
  memcpy(setup->host, host, sizeof host);
  setup->run = run_connect;
  setup->drop = drop_result;
  setup->port = port;
  setup->type = type;
  setup->peer_out = peer;
  return start(setup, options, "hmc_context_connect_nb", request);
}

hmc_status_t hmc_remote_open_nb(hmc_peer_t *peer, const char *name, const hmc_operation_options_t *options,
                                hmc_remote_t **remote, hmc_request_t **request) {
  if (!peer || !name || !remote || !request)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_open_nb: peer, name, remote or request is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_remote_check_name(name);
  if (status != HMC_SUCCESS) return status;
  hmci_setup_t *setup = make(peer->context, peer);
  if (!setup) return HMC_NO_MEMORY;
  snprintf(setup->name, sizeof setup->name, "%s", name);
  setup->run = run_open;
  setup->drop = drop_result;
  setup->remote_out = remote;
  return start(setup, options, "hmc_remote_open_nb", request);
}

hmc_status_t hmc_remote_find_nb(hmc_peer_t *peer, uint64_t address, uint64_t bytes,
                                const hmc_operation_options_t *options, hmc_remote_t **remote, uint64_t *offset,
                                hmc_request_t **request) {
  if (!peer || !remote || !offset || !request)
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_remote_find_nb: peer, remote, offset or request is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmci_setup_t *setup = make(peer->context, peer);
  if (!setup) return HMC_NO_MEMORY;
  setup->run = run_find;
  setup->drop = drop_result;
  setup->address = address;
  setup->bytes = bytes;
  setup->remote_out = remote;
  setup->offset_out = offset;
  return start(setup, options, "hmc_remote_find_nb", request);
}
