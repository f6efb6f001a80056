/* ucx: the stream protocol through UCX, for fabrics that HMC does not drive itself, and beside it lanes for large puts and
 * gets of host memory where both ends have RDMA devices.
 *
 * Why not UCX's own put and get, those of UCP. They carry raw addresses, and a context that may use them plays the target
 * in software for anyone who connects: over tcp, or by any message, it writes what comes to whatever address came with
 * it; over shared memory one process reaches into the other by its process number. A region that was closed would be
 * written to, by design or by a race. A rendezvous has the same faults the other way round: the peer reads the caller's
 * memory by itself, perhaps after a cancel. None of this keeps promises 3, 5 and 7 of docs/architecture.md. So UCX
 * carries messages, which it does everywhere, and the stream protocol (../stream) does the rest: the target's service
 * thread checks region, generation, rights and bounds, and copies. Complete means that it has copied, so it is visible.
 * What it costs is one copy more at each end.
 *
 * Where the messages go by RDMA, large blocks need no copy: a lane (lane.h) is a connection of two devices of its own,
 * made by UCT, the lower half of UCX, over which nobody but that peer reaches what it has keys for. Operations that are
 * chained to others, checksums, small segments and device memory go as messages there too.
 *
 * A context has two workers, made with its first connection. Requests go out from the request worker, moved by the
 * threads that wait; the peer's serve worker takes and answers them, moved by its service thread. Both of a
 * connection's pipes are connected by the half that dials, as clients to UCX's listeners: the other way UCX has, by
 * worker addresses, makes both ends connect at once, and UCX 1.13 aborts the process where an endpoint is closed or a
 * peer dies in the middle of that; over RDMA it also depends on datagrams, which Soft-RoCE does not get past UCX's own
 * check. The listeners take connections over sockets first: see prefer_sockets. Shared memory is left out by UCX unless
 * UCX_POSIX_ERROR_HANDLING=y: all senders share one queue there, and one that is killed at the wrong moment stops it
 * for the others. Processes of one host have type shm.
 *
 * Authentication. UCX's own connections prove nothing. Each pipe's number and token go to the authenticated peer
 * only; who connects and does not know them is cut off. That does not reach the ports that UCX's tcp opens besides, at
 * which it takes anybody's word: in a network that is not trusted, use type tcp or rdma, or leave tcp out by UCX_TLS. A
 * context that makes no connection by UCX opens no port. */
#include "../../base/stop.h"
#include "../module.h"
#include "../stream/requester.h"
#include "../stream/responder.h"
#include "lane.h"
#include "listener.h"
#include "pipe.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OFFER = 2 };
/* Nanoseconds that a slow device takes for a block: so much longer a waiting thread polls. */
#define BLOCK_TIME 1000000u

typedef struct ucx_transport {
  const hmci_host_t *host;
  const hmci_ucx_library_t *ucx;
  _Atomic bool started; /* what follows is there; it is made under the loop's lock */
  ucp_context_h context;
  hmci_ucx_worker_t request, serve;
  hmci_ucx_fabric_t fabric;
  pthread_mutex_t lock;    /* inner to the loop's, outer to all others here */
  hmci_list_t connections; /* lock */
} ucx_transport_t;

typedef struct ucx_connection {
  hmci_list_t link; /* transport->connections */
  ucx_transport_t *transport;
  hmci_ucx_pipe_t *request_pipe, *serve_pipe;
  hmci_requester_t requester;
  hmci_responder_t responder;
  hmci_ucx_lane_t lane;
  _Atomic bool linked; /* requester and responder are open */
} ucx_connection_t;

/* ---- the transport ----------------------------------------------------------------------------------------------- */

static hmc_status_t probe(char *reason, size_t size) {
  const hmci_ucx_library_t *ucx;
  hmc_status_t status = hmci_ucx_library_load(&ucx);
  if (status == HMC_SUCCESS) {
    snprintf(reason, size, "UCX %s; UCX_TLS and UCX_NET_DEVICES say what it may use", ucx->version);
  } else {
    snprintf(reason, size, "%s", hmc_last_error());
  }
  return status;
}

static hmc_status_t open_transport(void *self, const hmci_host_t *host, hmci_blob_t *offer) {
  ucx_transport_t *transport = self;
  hmc_status_t status = hmci_ucx_library_load(&transport->ucx);
  if (status != HMC_SUCCESS) return status;
  transport->host = host;
  hmci_list_init(&transport->connections);
  pthread_mutex_init(&transport->lock, NULL);
  offer->size = OFFER;
  offer->data[0] = HMCI_UCX_VERSION;
  offer->data[1] = host->settings->encrypt;
  return HMC_SUCCESS;
}

static void close_transport(void *self) {
  ucx_transport_t *transport = self;
  hmci_ucx_worker_close(&transport->request);
  hmci_ucx_worker_close(&transport->serve);
  if (atomic_load(&transport->started)) hmci_ucx_fabric_close(&transport->fabric);
  if (transport->context) transport->ucx->ucp_cleanup(transport->context);
  pthread_mutex_destroy(&transport->lock);
}

static hmc_status_t reachable(void *self, const hmci_blob_t *offer) {
  ucx_transport_t *transport = self;
  if (offer->size != OFFER || offer->data[0] != HMCI_UCX_VERSION) {
    return hmci_fail(HMC_UNSUPPORT, "the peer speaks another version of HMC over UCX");
  }
  if (transport->host->settings->encrypt || offer->data[1]) {
    return hmci_fail(HMC_UNSUPPORT, "HMC_ENCRYPT is on %s, and UCX cannot encrypt",
                     offer->data[1] ? "at the peer" : "here");
  }
  return HMC_SUCCESS;
}

/* Is something in progress? Also where a thread waits just now: it may be for something else, and the worker has its
 * drivers to tell. */
static bool has_work(void *argument) {
  ucx_transport_t *transport = argument;
  bool work = false;
  pthread_mutex_lock(&transport->lock);
  for (hmci_list_t *link = transport->connections.next; link != &transport->connections && !work; link = link->next) {
    ucx_connection_t *connection = HMCI_CONTAINER(link, ucx_connection_t, link);
    if (!atomic_load(&connection->linked)) continue;
    hmci_requester_t *requester = &connection->requester;
    work = hmci_requester_has_work(requester);
    work = work || hmci_ucx_pipe_is_busy(connection->request_pipe) || hmci_ucx_lane_is_busy(&connection->lane);
  }
  pthread_mutex_unlock(&transport->lock);
  return work;
}

/* Sockets first. Where our handshake has come through TCP they get through too, and they carry the addresses of RDMA
 * devices as well; UCX's own first choice, rdmacm, goes where the kernel finds a device for the address that was
 * dialled, and takes any for 127.0.0.1. It comes second: for who has left tcp out by UCX_TLS. */
static void prefer_sockets(const hmci_ucx_library_t *ucx, ucp_config_t *config) {
  if (hmci_ucx_library_is_set("UCX_SOCKADDR_TLS_PRIORITY")) return;
  ucs_status_t status = ucx->ucp_config_modify(config, "SOCKADDR_TLS_PRIORITY", "tcp,*");
  if (status != UCS_OK) hmci_log(HMC_LOG_INFO, "UCX connects its own way first: %s", ucx->ucs_status_string(status));
}

/* UCX has a thread of its own, which a forked child lacks, and does not start another one there. */
static hmc_status_t check_process(void) {
  static _Atomic pid_t user;
  pid_t nobody = 0, own = getpid();
  if (atomic_compare_exchange_strong(&user, &nobody, own) || nobody == own) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT, "UCX was used before this process was forked, and does not work in a child");
}

static hmc_status_t make_context(ucx_transport_t *transport) {
  const hmci_ucx_library_t *ucx = transport->ucx;
  hmc_status_t usable = check_process();
  if (usable != HMC_SUCCESS) return usable;
  ucp_config_t *config;
  ucs_status_t status = ucx->ucp_config_read(NULL, NULL, &config);
  if (status != UCS_OK) return hmci_fail(HMC_INVALID_CONFIG, "UCX_*: %s", ucx->ucs_status_string(status));
  prefer_sockets(ucx, config);
  ucp_params_t params = {
      .field_mask = UCP_PARAM_FIELD_FEATURES | UCP_PARAM_FIELD_MT_WORKERS_SHARED,
      .features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP,
      .mt_workers_shared = 1, /* two workers, two threads */
  };
  status = ucx->ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &transport->context);
  ucx->ucp_config_release(config);
  if (status == UCS_OK) return HMC_SUCCESS;
  transport->context = NULL;
  return hmci_fail(HMC_UNSUPPORT, "UCX does not start: %s", ucx->ucs_status_string(status));
}

/* Makes UCX's context and the workers. With the loop's lock held. */
static hmc_status_t make_workers(ucx_transport_t *transport) {
  const hmci_host_t *host = transport->host;
  uint64_t spin = host->settings->spin;
  hmc_status_t status = make_context(transport);
  if (status != HMC_SUCCESS) return status;
  status = hmci_ucx_worker_open(&transport->request, transport->ucx, transport->context, host->loop, spin, has_work,
                                transport);
  if (status != HMC_SUCCESS) goto err_context;
  status = hmci_ucx_worker_open(&transport->serve, transport->ucx, transport->context, host->loop, spin, NULL, NULL);
  if (status != HMC_SUCCESS) goto err_request;
  hmci_ucx_fabric_open(&transport->fabric, transport->ucx, host->settings, transport->request.events.descriptor,
                       hmci_ucx_lane_on_error);
  transport->request.fabric = &transport->fabric;
  return HMC_SUCCESS;

err_request:
  hmci_ucx_worker_close(&transport->request);
err_context:
  transport->ucx->ucp_cleanup(transport->context);
  transport->context = NULL;
  return status;
}

static hmc_status_t start(ucx_transport_t *transport) {
  if (atomic_load(&transport->started)) return HMC_SUCCESS;
  hmci_loop_t *loop = transport->host->loop;
  bool take = !hmci_loop_is_held(loop);
  if (take) hmci_loop_lock(loop);
  hmc_status_t status = atomic_load(&transport->started) ? HMC_SUCCESS : make_workers(transport);
  if (status == HMC_SUCCESS) atomic_store(&transport->started, true);
  if (take) hmci_loop_unlock(loop);
  return status;
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

/* The lane broke, and an operation goes as messages after all. */
static hmc_status_t go_as_messages(void *block, hmci_operation_t *operation) {
  ucx_connection_t *connection = block;
  hmc_status_t status = hmci_requester_submit(&connection->requester, operation, 1);
  if (status == HMC_SUCCESS) hmci_ucx_worker_want(&connection->transport->request);
  return status;
}

static void on_lane_broken(void *block) {
  ucx_connection_t *connection = block;
  hmci_ucx_pipe_t *pipe = connection->request_pipe;
  pthread_mutex_lock(&pipe->worker->lock);
  hmci_ucx_lane_go_on(&connection->lane, pipe);
  pthread_mutex_unlock(&pipe->worker->lock);
  hmci_ucx_worker_want(pipe->worker);
}

static void on_stream_reopened(void *block) { hmci_ucx_pipe_reopened(((ucx_connection_t *)block)->request_pipe); }

static hmci_ucx_end_t end_of(const hmci_ucx_pipe_t *pipe) { return (hmci_ucx_end_t){pipe->number, pipe->token}; }

static hmc_status_t connection_open(void *self, void *block, hmci_role_t role, hmci_blob_t *data) {
  ucx_connection_t *connection = block;
  ucx_transport_t *transport = self;
  connection->transport = transport;
  hmc_status_t status = start(transport);
  if (status != HMC_SUCCESS) return status;
  status = hmci_ucx_pipe_open(&transport->request, &connection->request_pipe);
  if (status != HMC_SUCCESS) return status;
  status = hmci_ucx_pipe_open(&transport->serve, &connection->serve_pipe);
  if (status != HMC_SUCCESS) {
    connection->request_pipe->base.close(&connection->request_pipe->base);
    return status;
  }
  hmci_ucx_connection_encode(data, end_of(connection->request_pipe), end_of(connection->serve_pipe));
  connection->lane = (hmci_ucx_lane_t){.instead = go_as_messages,
                                       .go_on = on_lane_broken,
                                       .reopened = on_stream_reopened,
                                       .connection = connection,
                                       .dialled = role == HMCI_DIALLED,
                                       .stream = connection->request_pipe};
  hmci_ucx_lane_open(&connection->lane, &transport->fabric, transport->host);
  hmci_ucx_pipe_set_lane(connection->request_pipe, &connection->lane);
  hmci_ucx_pipe_set_lane(connection->serve_pipe, &connection->lane);
  pthread_mutex_lock(&transport->lock);
  hmci_list_append(&transport->connections, &connection->link);
  pthread_mutex_unlock(&transport->lock);
  return HMC_SUCCESS;
}

/* Puts the stream protocol on the pipes; bytes go once they are connected. */
static hmc_status_t open_streams(ucx_connection_t *connection) {
  const hmci_host_t *host = connection->transport->host;
  hmc_status_t status = hmci_requester_open(&connection->requester, host, connection, &connection->request_pipe->base);
  if (status != HMC_SUCCESS) return status;
  hmci_ucx_pipe_set_reader(connection->request_pipe, &connection->requester.watch, true);
  status = hmci_responder_open(&connection->responder, host, connection, &connection->serve_pipe->base);
  if (status != HMC_SUCCESS) return status;
  hmci_ucx_pipe_set_reader(connection->serve_pipe, &connection->responder.watch, false);
  atomic_store(&connection->linked, true);
  return HMC_SUCCESS;
}

static hmc_status_t connection_accept(void *block, const hmci_blob_t *peer_data) {
  ucx_connection_t *connection = block;
  hmci_ucx_end_t request, serve;
  if (connection->transport->host->settings->encrypt) {
    return hmci_fail(HMC_UNSUPPORT, "HMC_ENCRYPT is on at the peer, and UCX cannot encrypt");
  }
  hmc_status_t status = hmci_ucx_connection_decode(peer_data, &request, &serve);
  if (status == HMC_SUCCESS) status = open_streams(connection);
  if (status != HMC_SUCCESS) return status;
  hmci_ucx_pipe_expect(connection->request_pipe, serve);
  hmci_ucx_pipe_expect(connection->serve_pipe, request);
  return HMC_SUCCESS;
}

/* The accepting half: listens where the peer has reached it, and says at which ports. */
static hmc_status_t adopt(void *block, uint32_t purpose, hmci_pipe_t *pipe) {
  ucx_connection_t *connection = block;
  ucx_transport_t *transport = connection->transport;
  struct sockaddr_storage address = {0};
  socklen_t size = sizeof address;
  uint16_t request, serve;
  if (purpose != 0) return hmci_fail(HMC_CORRUPT, "unknown purpose %u of a socket for UCX", purpose);
  if (getsockname(pipe->descriptor, (struct sockaddr *)&address, &size)) {
    return hmci_fail(HMC_ERROR, "getsockname failed: %s", strerror(errno));
  }
  hmc_status_t status = hmci_ucx_worker_listen(&transport->request, &address, &request);
  if (status == HMC_SUCCESS) status = hmci_ucx_worker_listen(&transport->serve, &address, &serve);
  if (status != HMC_SUCCESS) return status;
  uint8_t ports[HMCI_UCX_PORTS];
  hmci_store16(ports, request);
  hmci_store16(ports + 2, serve);
  struct iovec part = {ports, sizeof ports};
  if (pipe->send(pipe, &part, 1) != sizeof ports) return hmci_fail(HMC_PEER_LOST, "a socket for UCX took no answer");
  pipe->close(pipe);
  return HMC_SUCCESS;
}

/* The dialling half: learns where the peer's workers listen. */
static hmc_status_t ask_ports(ucx_connection_t *connection, uint64_t deadline, struct sockaddr_storage *request,
                              struct sockaddr_storage *serve) {
  const hmci_host_t *host = connection->transport->host;
  hmci_pipe_t *pipe;
  uint8_t ports[HMCI_UCX_PORTS];
  size_t have = 0;
  socklen_t size = sizeof *request;
  hmc_status_t status = host->dial(host, connection, 0, deadline, &pipe);
  if (status != HMC_SUCCESS) return status;
  memset(request, 0, sizeof *request);
  if (getpeername(pipe->descriptor, (struct sockaddr *)request, &size)) {
    status = hmci_fail(HMC_PEER_LOST, "getpeername failed: %s", strerror(errno));
  }
  while (status == HMC_SUCCESS && have < sizeof ports) {
    struct iovec part = {ports + have, sizeof ports - have};
    ssize_t got = pipe->receive(pipe, &part, 1);
    if (got > 0) {
      have += (size_t)got;
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
      status = hmci_fail(HMC_UNSUPPORT, "UCX does not listen at the peer: its log says why");
    } else if (hmci_now() >= deadline) {
      status = hmci_fail(HMC_TIMEOUT, "no answer within the deadline");
    } else if (hmci_stop_is_asked()) {
      status = hmci_fail(HMC_CANCELLED, "cancelled");
    } else {
      hmci_stop_poll(pipe->descriptor, POLLIN, hmci_poll_timeout(deadline));
    }
  }
  pipe->close(pipe);
  if (status != HMC_SUCCESS) return status;
  *serve = *request;
  hmci_ucx_address_set_port(request, hmci_load16(ports));
  hmci_ucx_address_set_port(serve, hmci_load16(ports + 2));
  return HMC_SUCCESS;
}

/* Offers a lane and waits for the answer; that there is none is not a failure. */
static hmc_status_t make_lane(ucx_connection_t *connection, uint64_t deadline) {
  hmci_ucx_pipe_t *pipe = connection->request_pipe;
  pthread_mutex_lock(&pipe->worker->lock);
  hmci_ucx_lane_offer(&connection->lane, pipe);
  pthread_mutex_unlock(&pipe->worker->lock);
  return hmci_ucx_pipe_await(pipe, &connection->lane.answered, deadline);
}

static hmc_status_t connection_dial(void *block, const hmci_blob_t *offer, const hmci_blob_t *peer_data,
                                    uint64_t deadline) {
  (void)offer;
  ucx_connection_t *connection = block;
  hmci_ucx_pipe_t *request_pipe = connection->request_pipe, *serve_pipe = connection->serve_pipe;
  hmci_ucx_end_t request, serve;
  struct sockaddr_storage request_address, serve_address;
  hmc_status_t status = hmci_ucx_connection_decode(peer_data, &request, &serve);
  if (status == HMC_SUCCESS) status = ask_ports(connection, deadline, &request_address, &serve_address);
  if (status == HMC_SUCCESS) status = open_streams(connection);
  if (status == HMC_SUCCESS) status = hmci_ucx_pipe_connect(request_pipe, serve, &serve_address);
  if (status == HMC_SUCCESS) status = hmci_ucx_pipe_connect(serve_pipe, request, &request_address);
  if (status == HMC_SUCCESS) status = hmci_ucx_pipe_await_welcome(request_pipe, deadline);
  if (status == HMC_SUCCESS) status = hmci_ucx_pipe_await_welcome(serve_pipe, deadline);
  if (status == HMC_SUCCESS) status = make_lane(connection, deadline);
  return status;
}

static bool is_transient(void *block) {
  ucx_connection_t *connection = block;
  return hmci_ucx_pipe_is_transient(connection->request_pipe) && hmci_ucx_pipe_is_transient(connection->serve_pipe);
}

static void connection_fail(void *block, hmc_status_t status) {
  ucx_connection_t *connection = block;
  hmci_ucx_pipe_mute(connection->request_pipe);
  hmci_ucx_pipe_mute(connection->serve_pipe);
  hmci_ucx_lane_fail(&connection->lane, status);
  if (connection->requester.pipe) hmci_requester_fail(&connection->requester, status);
  hmci_responder_fail(&connection->responder);
}

/* Closes a pipe that no requester or responder has taken. */
static void close_bare(hmci_loop_t *loop, hmci_ucx_pipe_t *pipe) {
  bool take = !hmci_loop_is_held(loop);
  if (take) hmci_loop_lock(loop);
  pipe->base.close(&pipe->base);
  if (take) hmci_loop_unlock(loop);
}

static void connection_close(void *block) {
  ucx_connection_t *connection = block;
  ucx_transport_t *transport = connection->transport;
  pthread_mutex_lock(&transport->lock);
  hmci_list_remove(&connection->link);
  pthread_mutex_unlock(&transport->lock);
  hmci_ucx_pipe_set_lane(connection->request_pipe, NULL);
  hmci_ucx_pipe_set_lane(connection->serve_pipe, NULL);
  hmci_ucx_lane_close(&connection->lane);
  bool asks = connection->requester.pipe, serves = connection->responder.pipe;
  hmci_requester_close(&connection->requester);
  hmci_responder_close(&connection->responder);
  if (!asks) close_bare(transport->host->loop, connection->request_pipe);
  if (!serves) close_bare(transport->host->loop, connection->serve_pipe);
}

static void explain(void *block, char *text, size_t size) {
  ucx_connection_t *connection = block;
  char lane[HMCI_UCX_LANE_TEXT];
  hmci_ucx_lane_explain(&connection->lane, lane, sizeof lane);
  snprintf(text, size, "UCX %s by %s; messages, copied by the service thread at the target; %s",
           connection->transport->ucx->version, connection->request_pipe->way, lane);
}

/* ---- regions ----------------------------------------------------------------------------------------------------- */

static hmc_status_t region_export(void *block, hmci_region_view_t *region, hmci_blob_t *key) {
  ucx_connection_t *connection = block;
  if (region->leased) return HMC_SUCCESS; /* no key: the owner's thread alone */
  hmci_ucx_lane_export(&connection->lane, region, key);
  return HMC_SUCCESS;
}

/* The peer is informed before its device is refused. */
static void region_revoke(void *block, hmci_region_view_t *region) {
  ucx_connection_t *connection = block;
  hmci_ucx_worker_t *worker = connection->request_pipe->worker;
  hmci_responder_revoke(&connection->responder, region);
  if (hmci_ucx_lane_has_keys(&connection->lane)) {
    pthread_mutex_lock(&worker->lock);
    hmci_ucx_pipe_tell(connection->request_pipe, HMCI_UCX_REVOKED, (uint64_t)region->id << 32 | region->generation,
                       NULL, 0);
    hmci_ucx_worker_update(worker);
    pthread_mutex_unlock(&worker->lock);
  }
  hmci_ucx_lane_forget(&connection->lane, region);
}

static void lease_revoke(void *block, uint64_t number) {
  ucx_connection_t *connection = block;
  hmci_responder_revoke_lease(&connection->responder, number);
}

static hmc_status_t remote_open(void *block, void *state, const hmci_remote_view_t *view, const hmci_blob_t *key,
                                uint64_t deadline, void **mapped, const _Atomic uint32_t **generation) {
  (void)deadline, (void)mapped;
  ucx_connection_t *connection = block;
  hmci_ucx_remote_t *remote = state;
  hmc_status_t status = hmci_ucx_lane_remote_open(&connection->lane, remote, view, key);
  if (status == HMC_SUCCESS) *generation = &remote->generation;
  return status;
}

static void remote_close(void *block, void *state) {
  ucx_connection_t *connection = block;
  hmci_ucx_lane_remote_close(&connection->lane, state);
}

static void remote_explain(void *block, void *state, char *text, size_t size) {
  (void)block;
  const hmci_ucx_remote_t *remote = state;
  const char *copies = "the target's service thread copies between UCX's buffers and the region";
  if (remote->device) {
    snprintf(text, size, "host memory straight, by RDMA write and read, from %d KiB on; else %s",
             HMCI_UCX_LANE_LEAST >> 10, copies);
  } else {
    snprintf(text, size, "%s", copies);
  }
}

/* ---- operations -------------------------------------------------------------------------------------------------- */

/* Is something in progress whose end a callback or a descriptor tells? Then the loop is to move it at once. */
static bool is_told(ucx_connection_t *connection) {
  pthread_mutex_lock(&connection->requester.lock);
  bool told = connection->requester.told;
  pthread_mutex_unlock(&connection->requester.lock);
  return told;
}

static hmc_status_t submit(void *block, hmci_operation_t *operations, uint32_t count) {
  ucx_connection_t *connection = block;
  hmci_ucx_worker_t *worker = &connection->transport->request;
  bool awaited = operations->awaited, told = hmci_operation_is_told(operations), by_device = false;
  bool late = operations->kind == HMCI_PUT && hmci_requester_is_late(&connection->requester);
  if (count == 1 && !late && hmci_ucx_lane_submit(&connection->lane, operations)) {
    by_device = !hmci_ucx_lane_is_waiting(&connection->lane);
  } else {
    hmc_status_t status = hmci_requester_submit(&connection->requester, operations, count);
    if (status != HMC_SUCCESS) return status;
    told = is_told(connection);
  }
  if (awaited) return HMC_SUCCESS;
  if (told) {
    hmci_ucx_worker_want(worker);
  } else if (!by_device) { /* what the device has is through without us; one who wants to know asks */
    hmci_ucx_worker_want_soon(worker);
  }
  return HMC_SUCCESS;
}

/* As hmci_requester_wait, where the lane has operations too. */
static hmc_status_t wait_with_lane(ucx_connection_t *connection, hmci_operation_t *operation, uint64_t spin) {
  hmci_ucx_worker_t *worker = &connection->transport->request;
  hmc_status_t status = HMC_SUCCESS;
  uint64_t idle_since = hmci_now(), allowed = spin ? spin + BLOCK_TIME : 0;
  while (!hmci_operation_is_complete(operation) && status == HMC_SUCCESS) {
    pthread_mutex_lock(&worker->lock);
    bool moved = hmci_ucx_worker_drive(worker);
    pthread_mutex_unlock(&worker->lock);
    if (hmci_ucx_pipe_calls_for_reader(connection->request_pipe)) hmci_requester_progress(&connection->requester);
    uint64_t now = hmci_now();
    if (moved) idle_since = now;
    if (now >= operation->deadline) {
      status = HMC_TIMEOUT;
    } else if (now - idle_since > allowed || hmci_ucx_pipe_has_failed(connection->request_pipe)) {
      status = HMC_IN_PROGRESS; /* the loop goes on, and finds that the peer is gone */
    }
  }
  return hmci_operation_is_complete(operation) ? HMC_SUCCESS : status;
}

/* In a callback this is the loop's own thread, and nobody else ends a lane that broke. */
static void stand_in_for_loop(ucx_connection_t *connection) {
  hmci_ucx_worker_t *worker = &connection->transport->request;
  if (!hmci_loop_is_own(worker->loop) || !hmci_ucx_lane_stand_in(&connection->lane)) return;
  pthread_mutex_lock(&worker->lock);
  hmci_ucx_worker_poll(worker);
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
}

static hmc_status_t wait_operation(void *block, hmci_operation_t *operation, uint64_t spin) {
  ucx_connection_t *connection = block;
  hmci_ucx_worker_t *worker = &connection->transport->request;
  stand_in_for_loop(connection); /* a callback comes here again and again */
  hmci_ucx_pipe_attend(connection->request_pipe);
  hmc_status_t status = hmci_ucx_lane_is_busy(&connection->lane)
                            ? wait_with_lane(connection, operation, spin)
                            : hmci_requester_wait(&connection->requester, operation, spin);
  if (status != HMC_SUCCESS) {
    hmci_ucx_worker_want(worker); /* it goes on without us */
  } else if (is_told(connection)) {
    hmci_ucx_worker_review(worker);
  } else {
    hmci_ucx_worker_spare(worker);
  }
  hmci_ucx_pipe_leave(connection->request_pipe);
  return status;
}

static void progress(void *block) {
  ucx_connection_t *connection = block;
  stand_in_for_loop(connection);
  hmci_requester_progress(&connection->requester);
  if (hmci_ucx_lane_is_busy(&connection->lane)) hmci_ucx_lanes_poll(&connection->transport->fabric);
}

static void cancel(void *block, hmci_operation_t *operation, hmc_status_t status) {
  ucx_connection_t *connection = block;
  if (hmci_ucx_lane_cancel(&connection->lane, operation, status)) return;
  hmci_requester_cancel(&connection->requester, operation, status);
}

static const hmci_transport_ops_t table = {
    .type = HMC_CONNECTION_UCX,
    .name = "ucx",
    .transport_size = sizeof(ucx_transport_t),
    .connection_size = sizeof(ucx_connection_t),
    .remote_size = sizeof(hmci_ucx_remote_t),
    .checksums = true,
    .probe = probe,
    .open = open_transport,
    .close = close_transport,
    .reachable = reachable,
    .connection_open = connection_open,
    .connection_accept = connection_accept,
    .connection_dial = connection_dial,
    .is_transient = is_transient,
    .adopt = adopt,
    .connection_fail = connection_fail,
    .connection_close = connection_close,
    .explain = explain,
    .region_export = region_export,
    .region_revoke = region_revoke,
    .lease_revoke = lease_revoke,
    .remote_open = remote_open,
    .remote_close = remote_close,
    .remote_explain = remote_explain,
    .submit = submit,
    .wait = wait_operation,
    .progress = progress,
    .cancel = cancel,
};

HMCI_MODULE(table);
