/* tcp: one-sided operations over TCP sockets; works between any two hosts.
 *
 * What goes over a stream, from the request to its acknowledgement, is in ../stream: the requester is the end that asks, the
 * responder the owner's. Here are only the sockets.
 *
 * A connection has one or more streams in each direction, each a socket of its own, so that the answers to one side's
 * operations never wait behind the other side's payload. The dialling half opens all of them: purpose 2 i is its i-th
 * requester, 2 i + 1 its i-th responder, and the other way round at the accepting half. Of one stream in each direction
 * the accepting half's is opened when that half first has something to send (late.c).
 *
 * Locking: the arrays change only while the connection is made (the dialling thread, or the loop's thread, before the
 * core hands the connection to anybody else), but for the late stream, which comes under `hold_lock`; afterwards
 * requesters and responders lock for themselves. */
#include "tcp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hmc_status_t probe(char *reason, size_t size) {
  snprintf(reason, size, "tcp sockets, always here");
  return HMC_SUCCESS;
}

static hmc_status_t open_transport(void *self, const hmci_host_t *host, hmci_blob_t *offer) {
  tcp_transport_t *transport = self;
  transport->host = host;
  hmci_tcp_late_offer(offer);
  return HMC_SUCCESS;
}

static void close_transport(void *self) { (void)self; }

static hmc_status_t reachable(void *self, const hmci_blob_t *offer) {
  (void)self, (void)offer;
  return HMC_SUCCESS;
}

static uint32_t clamp_streams(uint64_t count) {
  return count < 1 ? 1 : count > TCP_STREAMS ? TCP_STREAMS : (uint32_t)count;
}

static hmc_status_t make_streams(tcp_connection_t *connection, uint32_t count) {
  connection->requesters = calloc(count, sizeof *connection->requesters);
  connection->responders = calloc(count, sizeof *connection->responders);
  if (!connection->requesters || !connection->responders) {
    free(connection->requesters);
    free(connection->responders);
    connection->requesters = NULL;
    connection->responders = NULL;
    return hmci_fail(HMC_NO_MEMORY, "no memory for the streams of a tcp connection");
  }
  connection->count = count;
  return HMC_SUCCESS;
}

static hmc_status_t connection_open(void *self, void *block, hmci_role_t role, hmci_blob_t *data) {
  tcp_connection_t *connection = block;
  connection->transport = self;
  connection->role = role;
  if (role == HMCI_DIALLED) {
    hmc_status_t status = make_streams(connection, clamp_streams(connection->transport->host->settings->tcp_streams));
    if (status != HMC_SUCCESS) return status;
  }
  pthread_mutex_init(&connection->stripe_lock, NULL);
  hmci_list_init(&connection->stripes);
  hmci_tcp_barriers_open(connection);
  data->size = 0;
  if (role == HMCI_DIALLED) {
    data->size = 1;
    data->data[0] = (uint8_t)connection->count;
  }
  return HMC_SUCCESS;
}

static hmc_status_t connection_accept(void *block, const hmci_blob_t *peer_data) {
  tcp_connection_t *connection = block;
  if (peer_data->size != 1) return hmci_fail(HMC_CORRUPT, "malformed tcp connection data");
  return make_streams(connection, clamp_streams(peer_data->data[0]));
}

static hmc_status_t open_stream(tcp_connection_t *connection, uint32_t index, bool request, hmci_pipe_t *pipe) {
  const hmci_host_t *host = connection->transport->host->service(connection->transport->host, connection);
  if (index >= connection->count) return hmci_fail(HMC_CORRUPT, "tcp stream %u of %u", index, connection->count);
  if (request) {
    if (connection->requesters[index].pipe) return hmci_fail(HMC_CORRUPT, "tcp stream %u came twice", index);
    return hmci_requester_open(&connection->requesters[index], host, connection, pipe);
  }
  if (connection->responders[index].pipe) return hmci_fail(HMC_CORRUPT, "tcp stream %u came twice", index);
  return hmci_responder_open(&connection->responders[index], host, connection, pipe);
}

/* What the loop's threads do with it from now on waits for `hold_lock` before it looks for the stream (has_responders). */
static hmc_status_t take_stream(tcp_connection_t *connection, uint32_t index, bool request, hmci_pipe_t *pipe) {
  pthread_mutex_lock(&connection->hold_lock);
  hmc_status_t status = connection->hold_failed ? hmci_fail(HMC_PEER_LOST, "the connection has ended")
                                                : open_stream(connection, index, request, pipe);
  if (status == HMC_SUCCESS) hmci_tcp_late_note(connection);
  pthread_mutex_unlock(&connection->hold_lock);
  return status;
}

static hmc_status_t dial_stream(tcp_connection_t *connection, uint32_t purpose, uint64_t deadline) {
  const hmci_host_t *host = connection->transport->host;
  hmci_pipe_t *pipe;
  hmc_status_t status = host->dial(host, connection, purpose, deadline, &pipe);
  if (status != HMC_SUCCESS) return status;
  status = take_stream(connection, purpose / 2, purpose % 2 == 0, pipe);
  if (status != HMC_SUCCESS) pipe->close(pipe);
  return status;
}

static hmc_status_t connection_dial(void *block, const hmci_blob_t *offer, const hmci_blob_t *peer_data,
                                    uint64_t deadline) {
  (void)peer_data;
  tcp_connection_t *connection = block;
  uint32_t purposes = connection->count == 1 && hmci_tcp_may_be_late(offer) ? 1 : 2 * connection->count;
  hmc_status_t status = HMC_SUCCESS;
  for (uint32_t purpose = 0; purpose < purposes && status == HMC_SUCCESS; purpose++)
    status = dial_stream(connection, purpose, deadline);
  for (uint32_t i = 0; i < connection->count && status == HMC_SUCCESS; i++) {
    connection->requesters[i].takes_easy = hmci_tcp_takes_easy(offer);
    connection->requesters[i].takes_runs = hmci_tcp_takes_runs(offer);
  }
  return status;
}

static hmc_status_t dial_late(void *block, uint32_t purpose, uint64_t deadline) {
  tcp_connection_t *connection = block;
  if (connection->role != HMCI_DIALLED || purpose != 1 || hmci_tcp_is_whole(connection))
    return hmci_fail(HMC_CORRUPT, "a peer wants tcp stream %u, which it has or cannot have", purpose);
  return dial_stream(connection, purpose, deadline);
}

static void dial_failed(void *block, uint32_t purpose, hmc_status_t status) {
  (void)purpose; /* there is one alone that comes late */
  hmci_tcp_late_failed(block, status);
}

static bool complete(void *block) { return hmci_tcp_late_complete(block); }

static hmc_status_t adopt(void *block, uint32_t purpose, hmci_pipe_t *pipe) {
  return take_stream(block, purpose / 2, purpose % 2 == 1, pipe);
}

/* Each stream of both directions has come, but for the one that may come later. */
static hmc_status_t connection_check(void *block) {
  const tcp_connection_t *connection = block;
  for (uint32_t i = 0; i < connection->count; i++) {
    bool back = connection->role == HMCI_DIALLED ? connection->responders[i].pipe : connection->requesters[i].pipe;
    bool there = connection->role == HMCI_DIALLED ? connection->requesters[i].pipe : connection->responders[i].pipe;
    if (there && (back || connection->count == 1)) continue;
    return hmci_fail(HMC_CORRUPT, "it is ready without its tcp stream %u of %u", i, connection->count);
  }
  return HMC_SUCCESS;
}

/* May other threads look at those of this side? One that comes late is there once it is noted (hold_lock). */
static bool has_requesters(tcp_connection_t *connection) {
  return connection->role == HMCI_DIALLED || connection->count > 1 || hmci_tcp_is_whole(connection);
}

static bool has_responders(tcp_connection_t *connection) {
  if (connection->role == HMCI_ACCEPTED || connection->count > 1 || hmci_tcp_is_whole(connection)) return true;
  pthread_mutex_lock(&connection->hold_lock); /* it may be on its way: then it serves, and is whole, after this */
  pthread_mutex_unlock(&connection->hold_lock);
  return hmci_tcp_is_whole(connection);
}

static void fail_streams(tcp_connection_t *connection, hmc_status_t status) {
  for (uint32_t i = 0; i < connection->count && has_requesters(connection); i++) {
    if (connection->requesters[i].pipe) hmci_requester_fail(&connection->requesters[i], status);
  }
  for (uint32_t i = 0; i < connection->count && has_responders(connection); i++)
    hmci_responder_fail(&connection->responders[i]);
}

/* Once more where one has come meanwhile: after held_fail none comes. */
static void connection_fail(void *block, hmc_status_t status) {
  tcp_connection_t *connection = block;
  bool whole = hmci_tcp_is_whole(connection);
  fail_streams(connection, status);
  hmci_tcp_held_fail(connection, status);
  if (!whole && hmci_tcp_is_whole(connection)) fail_streams(connection, status);
}

static void connection_close(void *block) {
  tcp_connection_t *connection = block;
  for (uint32_t i = 0; i < connection->count; i++) {
    hmci_requester_close(&connection->requesters[i]);
    hmci_responder_close(&connection->responders[i]);
  }
  hmci_tcp_barriers_close(connection);
  hmci_tcp_stripes_free(connection);
  free(connection->requesters);
  free(connection->responders);
  pthread_mutex_destroy(&connection->stripe_lock);
}

static void explain(void *block, char *text, size_t size) {
  tcp_connection_t *connection = block;
  const hmci_pipe_t *pipe =
      connection->role == HMCI_DIALLED ? connection->requesters[0].pipe : connection->responders[0].pipe;
  snprintf(text, size, "%u stream%s in each direction%s; the payload is %s", connection->count,
           connection->count == 1 ? "" : "s",
           hmci_tcp_is_whole(connection) ? "" : ", the accepting side's from its first operation on", pipe->protection);
}

static void region_revoke(void *block, hmci_region_view_t *region) {
  tcp_connection_t *connection = block;
  for (uint32_t i = 0; i < connection->count && has_responders(connection); i++)
    hmci_responder_revoke(&connection->responders[i], region);
}

static void lease_revoke(void *block, uint64_t number) {
  tcp_connection_t *connection = block;
  for (uint32_t i = 0; i < connection->count && has_responders(connection); i++)
    hmci_responder_revoke_lease(&connection->responders[i], number);
}

static void remote_explain(void *block, void *remote, char *text, size_t size) {
  (void)block, (void)remote;
  snprintf(text, size,
           "the target's service thread reads the socket straight into host memory, and stages for devices");
}

static hmc_status_t submit(void *block, hmci_operation_t *operations, uint32_t count) {
  tcp_connection_t *connection = block;
  if (!has_requesters(connection)) {
    bool taken;
    hmc_status_t status = hmci_tcp_late_submit(connection, operations, count, &taken);
    if (taken) return status;
  }
  if (connection->count > 1 && hmci_tcp_hold(connection, operations, count)) return HMC_SUCCESS;
  if (hmci_tcp_is_striped(connection, operations, count)) return hmci_tcp_stripe_submit(connection, operations);
  return hmci_requester_submit(&connection->requesters[0], operations, count);
}

static hmc_status_t wait_operation(void *block, hmci_operation_t *operation, uint64_t spin) {
  tcp_connection_t *connection = block;
  if (!has_requesters(connection)) return hmci_tcp_late_wait(connection, operation);
  if (hmci_tcp_was_striped(operation)) return hmci_tcp_stripe_wait(connection, operation, spin);
  return hmci_requester_wait(&connection->requesters[0], operation, spin);
}

static void progress(void *block) {
  tcp_connection_t *connection = block;
  if (!has_requesters(connection)) {
    hmci_tcp_late_look(connection);
    return;
  }
  for (uint32_t i = 0; i < connection->count; i++) hmci_requester_progress(&connection->requesters[i]);
}

static bool keeps_order(void *block) {
  const tcp_connection_t *connection = block;
  return connection->count == 1; /* each stream is a line of its own */
}

/* What is left on the first stream of a put or an atomic could come after what a later put brings by the others. */
static void cancel_first(tcp_connection_t *connection, hmci_operation_t *operation, hmc_status_t status) {
  bool lands = operation->kind == HMCI_PUT || operation->kind == HMCI_ATOMIC;
  bool held = connection->count == 1 || !lands || hmci_operation_is_complete(operation);
  tcp_barrier_t *barrier = NULL;
  if (!held) { /* raised first, as in hmci_tcp_stripe_cancel */
    barrier = hmci_tcp_barrier_raise(connection, operation->remote, 1);
    held = barrier != NULL;
  }
  hmci_requester_cancel(&connection->requesters[0], operation, status);
  if (barrier) hmci_tcp_barrier_send(barrier);
  const hmci_host_t *host = connection->transport->host;
  if (!held) host->connection_lost(host, connection, "no memory to cancel a transfer beside several streams");
}

static void cancel(void *block, hmci_operation_t *operation, hmc_status_t status) {
  tcp_connection_t *connection = block;
  if (hmci_tcp_was_striped(operation)) {
    hmci_tcp_stripe_cancel(connection, operation, status);
    return;
  }
  bool may_wait = connection->count > 1 || !has_requesters(connection);
  if (may_wait && hmci_tcp_held_cancel(connection, operation, status)) return;
  if (has_requesters(connection)) /* else it is complete: neither held nor sent */
    cancel_first(connection, operation, status);
}

const hmci_transport_ops_t hmci_transport_tcp = {
    .type = HMC_CONNECTION_TCP,
    .name = "tcp",
    .transport_size = sizeof(tcp_transport_t),
    .connection_size = sizeof(tcp_connection_t),
    .checksums = true,
    .probe = probe,
    .open = open_transport,
    .close = close_transport,
    .reachable = reachable,
    .connection_open = connection_open,
    .connection_accept = connection_accept,
    .connection_dial = connection_dial,
    .adopt = adopt,
    .dial_late = dial_late,
    .dial_failed = dial_failed,
    .complete = complete,
    .connection_check = connection_check,
    .connection_fail = connection_fail,
    .connection_close = connection_close,
    .explain = explain,
    .region_revoke = region_revoke,
    .lease_revoke = lease_revoke,
    .remote_explain = remote_explain,
    .submit = submit,
    .wait = wait_operation,
    .progress = progress,
    .keeps_order = keeps_order,
    .cancel = cancel,
};
