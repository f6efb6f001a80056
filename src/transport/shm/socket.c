/* The sockets of shm: finding each other, passing descriptors, asking for regions and streams.
 *
 * All are SOCK_SEQPACKET, so a message is one packet. A context listens on an abstract name that only authenticated
 * peers learn; who comes must be the same user (or root) and present the token of a connection. Nothing
 * lies in the file system.
 *
 * A message: u32 type, u32 number, u32 status, u32 region, u32 generation, u32 0, u64 token (of an answer to REGION:
 * where the region begins in the descriptor's file); then a device's handle. At most one descriptor with it. Questions are answered in the loop's thread of the other end; a late answer to a
 * question that was given up is known by its number. */
#include "shm.h"

#include "../../base/socket.h"
#include "../../base/stop.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { MESSAGE = 32, MESSAGE_MAX = MESSAGE + HMCI_MEMORY_EXPORT_MAX };

typedef enum message_type {
  HELLO = 1, /* token; the socket on which the acceptor asks */
  BOARD,     /* the dialler's board */
  ACCESSES,  /* the page of announcements */
  LINKED,    /* the acceptor's board */
  REGION,    /* region, generation */
  STREAM,    /* a socket that carries the sender's requests */
  ANSWER,
  BELL, /* there are pulls to be done; no answer */
} message_type_t;

typedef struct message {
  uint32_t type, number, status, region, generation;
  uint64_t token;
  uint32_t size; /* of the handle */
  uint8_t handle[HMCI_MEMORY_EXPORT_MAX];
} message_t;

typedef struct visitor {
  hmci_list_t link;
  hmci_watch_t watch;
  shm_transport_t *transport;
} visitor_t;

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static hmc_status_t send_message(int socket, const message_t *message, int descriptor) {
  uint8_t bytes[MESSAGE_MAX];
  hmci_store32(bytes, message->type);
  hmci_store32(bytes + 4, message->number);
  hmci_store32(bytes + 8, message->status);
  hmci_store32(bytes + 12, message->region);
  hmci_store32(bytes + 16, message->generation);
  hmci_store32(bytes + 20, 0);
  hmci_store64(bytes + 24, message->token);
  memcpy(bytes + MESSAGE, message->handle, message->size);
  hmc_status_t status = hmci_socket_send_descriptor(socket, bytes, MESSAGE + message->size, descriptor);
  return status == HMC_IN_PROGRESS ? hmci_fail(HMC_PEER_LOST, "the peer does not read its socket") : status;
}

static hmc_status_t receive_message(int socket, message_t *message, int *descriptor) {
  uint8_t bytes[MESSAGE_MAX];
  size_t size;
  hmc_status_t status = hmci_socket_receive_descriptor(socket, bytes, sizeof bytes, &size, descriptor);
  if (status != HMC_SUCCESS) return status;
  if (size < MESSAGE) {
    if (*descriptor >= 0) close(*descriptor);
    return hmci_fail(HMC_CORRUPT, "a message of %zu B on a link", size);
  }
  *message = (message_t){
      .type = hmci_load32(bytes),
      .number = hmci_load32(bytes + 4),
      .status = hmci_load32(bytes + 8),
      .region = hmci_load32(bytes + 12),
      .generation = hmci_load32(bytes + 16),
      .token = hmci_load64(bytes + 24),
      .size = (uint32_t)(size - MESSAGE),
  };
  memcpy(message->handle, bytes + MESSAGE, message->size);
  return HMC_SUCCESS;
}

static hmc_status_t receive_wait(int socket, uint64_t deadline, message_t *message, int *descriptor) {
  hmc_status_t status;
  while ((status = receive_message(socket, message, descriptor)) == HMC_IN_PROGRESS) {
    if (hmci_now() >= deadline) return hmci_fail(HMC_TIMEOUT, "process did not answer within the deadline");
    if (hmci_stop_is_asked()) return hmci_fail(HMC_CANCELLED, "cancelled");
    hmci_stop_poll(socket, POLLIN, hmci_poll_timeout(deadline));
  }
  return status;
}

/* ---- asking ------------------------------------------------------------------------------------------------------ */

static uint32_t next_number(void) {
  static _Atomic uint32_t numbers;
  return atomic_fetch_add(&numbers, 1);
}

/* Sends a question and waits for its answer; `*descriptor` goes out and, where one comes with the answer, comes
 * back. */
static hmc_status_t ask(shm_connection_t *connection, message_t *message, int *descriptor, uint64_t deadline) {
  uint32_t number = next_number();
  int got = -1;
  message->number = number;
  pthread_mutex_lock(&connection->ask_lock);
  hmc_status_t status = send_message(connection->ask, message, *descriptor);
  while (status == HMC_SUCCESS) {
    status = receive_wait(connection->ask, deadline, message, &got);
    if (status != HMC_SUCCESS || (message->type == ANSWER && message->number == number)) break;
    if (got >= 0) close(got);
    got = -1;
  }
  pthread_mutex_unlock(&connection->ask_lock);
  *descriptor = got;
  if (status != HMC_SUCCESS || message->status == HMC_SUCCESS) return status;
  if (got >= 0) close(got);
  *descriptor = -1;
  return hmci_fail(message->status <= HMC_ADDRESS_IN_USE ? (hmc_status_t)message->status : HMC_CORRUPT,
                   "process %d refused: %s", connection->peer_process, hmc_status_text((hmc_status_t)message->status));
}

hmc_status_t hmci_shm_ask_region(shm_connection_t *connection, uint32_t id, uint32_t generation, uint64_t deadline,
                                 hmci_memory_export_t *exported, uint64_t *offset) {
  message_t message = {.type = REGION, .region = id, .generation = generation};
  int descriptor = -1;
  hmc_status_t status = ask(connection, &message, &descriptor, deadline);
  if (status != HMC_SUCCESS) return status;
  exported->descriptor = descriptor;
  *offset = message.token;
  exported->size = message.size;
  memcpy(exported->handle, message.handle, message.size);
  return HMC_SUCCESS;
}

static const hmci_host_t *service_of(shm_connection_t *connection) {
  return connection->transport->host->service(connection->transport->host, connection);
}

/* One end for the peer, the other as a pipe. Nobody waits for the answer: what is sent meanwhile lies in the socket,
 * and a peer that refuses closes its end; the answer, when it comes, is to a question that nobody asks any more. */
static hmc_status_t make_stream(shm_connection_t *connection) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) {
    return hmci_fail(HMC_NO_MEMORY, "socketpair failed: %s", strerror(errno));
  }
  message_t message = {.type = STREAM, .number = next_number()};
  hmci_pipe_t *pipe = NULL;
  /* A packet is whole, so no lock: who has it may wait for an answer, and nobody waits here. */
  hmc_status_t status = send_message(connection->ask, &message, ends[1]);
  close(ends[1]);
  if (status == HMC_SUCCESS) status = hmci_pipe_open(ends[0], &pipe);
  if (status != HMC_SUCCESS) {
    close(ends[0]);
    return status;
  }
  status = hmci_requester_open(&connection->requester, service_of(connection), connection, pipe);
  if (status != HMC_SUCCESS) pipe->close(pipe);
  return status;
}

hmc_status_t hmci_shm_need_stream(shm_connection_t *connection) {
  if (atomic_load_explicit(&connection->has_requester, memory_order_acquire))
    return HMC_SUCCESS; /* partner: the store below */
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&connection->stream_lock);
  if (!atomic_load(&connection->has_requester)) {
    status = atomic_load(&connection->failed) ? HMC_PEER_LOST : make_stream(connection);
    if (status == HMC_SUCCESS) {
      atomic_store_explicit(&connection->has_requester, true, memory_order_release);
      if (atomic_load(&connection->failed)) hmci_requester_fail(&connection->requester, HMC_PEER_LOST);
    }
  }
  pthread_mutex_unlock(&connection->stream_lock);
  return status;
}

bool hmci_shm_goes_behind(const shm_connection_t *connection) {
  return atomic_load_explicit(&connection->has_requester, memory_order_acquire) && /* partner: the store above */
         hmci_requester_is_late(&connection->requester);
}

void hmci_shm_ring(shm_connection_t *connection) {
  message_t bell = {.type = BELL};
  shm_accesses_t *accesses = connection->accesses;
  bool hears = atomic_load_explicit(&accesses->pulls_for[!connection->role], memory_order_relaxed) >= SHM_PULLS_RUNG;
  _Atomic uint32_t *rung = &accesses->rung[connection->role];
  if (hears && atomic_exchange(rung, 1)) return; /* (e) one is enough: many would fill the socket */
  /* A packet is whole, so no lock; a full socket wakes the peer as well. */
  if (send_message(connection->ask, &bell, -1) != HMC_SUCCESS) atomic_store(rung, 0);
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

/* A descriptor of the region's memory; one that cannot be written through where peers may not write. */
static hmc_status_t share_descriptor(const hmci_region_view_t *region, hmci_memory_export_t *exported) {
  exported->size = 0;
  int seals = fcntl(region->descriptor, F_GET_SEALS);
  bool sealed = seals >= 0 && seals & (F_SEAL_FUTURE_WRITE | F_SEAL_WRITE);
  if (sealed || region->rights & (HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC)) {
    exported->descriptor = fcntl(region->descriptor, F_DUPFD_CLOEXEC, 0);
  } else {
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", region->descriptor);
    exported->descriptor = open(path, O_RDONLY | O_CLOEXEC);
  }
  return exported->descriptor >= 0 ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "sharing a region: %s", strerror(errno));
}

static hmc_status_t answer_region(shm_connection_t *connection, const message_t *question) {
  const hmci_host_t *host = connection->transport->host;
  hmci_memory_export_t exported = {.descriptor = -1};
  hmci_region_view_t *region;
  message_t answer = {.type = ANSWER, .number = question->number};
  hmc_status_t status = host->region_acquire(host, question->region, question->generation, 0, &region);
  if (status == HMC_SUCCESS) {
    if (region->leased) {
      status = HMC_DENIED;
    } else if (region->descriptor >= 0) {
      answer.token = region->descriptor_offset;
      status = share_descriptor(region, &exported);
    } else if (region->ops->export_range && (region->owned || region->ops->exports_foreign)) {
      status = region->ops->export_range(region->memory.device, region->base, region->size, &exported);
    } else {
      status = HMC_UNSUPPORT;
    }
    host->region_release(host, region);
  }
  answer.status = (uint32_t)status;
  if (status == HMC_SUCCESS) {
    answer.size = exported.size;
    memcpy(answer.handle, exported.handle, exported.size);
  }
  status = send_message(connection->serve.descriptor, &answer, exported.descriptor);
  if (exported.descriptor >= 0) close(exported.descriptor);
  return status;
}

hmci_responder_t *hmci_shm_responder(shm_connection_t *connection) {
  pthread_mutex_lock(&connection->answer_lock);
  hmci_responder_t *responder = connection->has_responder ? &connection->responder : NULL;
  pthread_mutex_unlock(&connection->answer_lock);
  return responder;
}

static hmc_status_t answer_stream(shm_connection_t *connection, const message_t *question, int *descriptor) {
  message_t answer = {.type = ANSWER, .number = question->number};
  hmc_status_t status = HMC_CORRUPT;
  hmci_pipe_t *pipe;
  pthread_mutex_lock(&connection->answer_lock);
  if (*descriptor >= 0 && !connection->has_responder) {
    fcntl(*descriptor, F_SETFL, O_NONBLOCK);
    status = hmci_pipe_open(*descriptor, &pipe);
    if (status == HMC_SUCCESS) {
      *descriptor = -1;
      status = hmci_responder_open(&connection->responder, service_of(connection), connection, pipe);
      if (status != HMC_SUCCESS) pipe->close(pipe);
    }
    connection->has_responder = status == HMC_SUCCESS;
  }
  pthread_mutex_unlock(&connection->answer_lock);
  answer.status = (uint32_t)status;
  return send_message(connection->serve.descriptor, &answer, -1);
}

/* The accepting half has all it needs: probes, and says so. */
static hmc_status_t finish_accept(shm_connection_t *connection) {
  if (!connection->peer_board || !connection->accesses) return hmci_fail(HMC_CORRUPT, "a link without its pages");
  hmci_shm_probe_attach(connection);
  connection->linked = true;
  message_t message = {.type = LINKED};
  return send_message(connection->serve.descriptor, &message, connection->transport->board_descriptor);
}

static hmc_status_t take_question(shm_connection_t *connection, const message_t *message, int *descriptor) {
  hmc_status_t status;
  switch (message->type) {
  case BOARD:
    if (connection->peer_board) break;
    return hmci_shm_board_map(*descriptor, &connection->peer_board);
  case ACCESSES:
    if (connection->accesses) break;
    status = hmci_shm_accesses_map(*descriptor, &connection->accesses, &connection->carries);
    return status == HMC_SUCCESS ? finish_accept(connection) : status;
  case REGION: return answer_region(connection, message);
  case STREAM: return answer_stream(connection, message, descriptor);
  case BELL: return HMC_SUCCESS; /* on_question looks at the pulls in any case */
  }
  return hmci_fail(HMC_CORRUPT, "unexpected message %u on a link", message->type);
}

static bool on_question(hmci_watch_t *watch, uint32_t events) {
  shm_connection_t *connection = HMCI_CONTAINER(watch, shm_connection_t, serve);
  if (atomic_load(&connection->failed)) { /* what hangs up then must not call again and again */
    hmci_loop_set_polled(connection->transport->host->loop, watch, false);
    hmci_loop_silence(connection->transport->host->loop, watch);
    return false;
  }
  if (!events) return hmci_shm_serve_pulls(connection);
  hmc_status_t status;
  do {
    message_t message;
    int descriptor = -1;
    status = receive_message(watch->descriptor, &message, &descriptor);
    if (status != HMC_SUCCESS) break;
    status = take_question(connection, &message, &descriptor);
    if (descriptor >= 0) close(descriptor);
  } while (status == HMC_SUCCESS);
  if (status != HMC_IN_PROGRESS) {
    const char *reason = status == HMC_PEER_LOST ? "the process ended or hung up" : hmc_last_error();
    hmci_loop_silence(connection->transport->host->loop, watch);
    connection->transport->host->connection_lost(connection->transport->host, connection, reason);
    return false;
  }
  if (connection->accesses) atomic_store(&connection->accesses->rung[!connection->role], 0); /* (f) */
  return hmci_shm_serve_pulls(connection);
}

/* Begins to answer on a socket, which the connection then owns. */
static hmc_status_t serve(shm_connection_t *connection, int socket) {
  connection->serve.ready = on_question;
  return hmci_loop_add(connection->transport->host->loop, &connection->serve, socket, EPOLLIN | EPOLLRDHUP);
}

/* ---- finding each other ------------------------------------------------------------------------------------------ */

static socklen_t abstract_address(struct sockaddr_un *address, const char *name) {
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  size_t length = strlen(name);
  memcpy(address->sun_path + 1, name, length);
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length);
}

/* Whose process is at the other end; it must be the same user, or root. */
static hmc_status_t know_peer(shm_connection_t *connection, int socket) {
  struct ucred credentials;
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size)) {
    return hmci_fail(HMC_DENIED, "no credentials of the peer: %s", strerror(errno));
  }
  if (credentials.uid != geteuid() && credentials.uid != 0) {
    return hmci_fail(HMC_DENIED, "process %d belongs to user %u", (int)credentials.pid, (unsigned)credentials.uid);
  }
  connection->peer_process = credentials.pid;
  connection->peer_pidfd = credentials.pid > 0 ? (int)syscall(SYS_pidfd_open, credentials.pid, 0) : -1;
  return HMC_SUCCESS;
}

static bool on_death(hmci_watch_t *watch, uint32_t events) {
  shm_connection_t *connection = HMCI_CONTAINER(watch, shm_connection_t, death);
  const hmci_host_t *host = connection->transport->host;
  if (!events) return false;
  hmci_loop_silence(host->loop, watch);
  host->connection_lost(host, connection, "its process ended");
  return false;
}

/* Without a descriptor of the process the sockets alone tell of its end. */
static hmc_status_t watch_process(shm_connection_t *connection) {
  connection->death.ready = on_death;
  if (connection->peer_pidfd < 0) return HMC_SUCCESS;
  return hmci_loop_add(connection->transport->host->loop, &connection->death, connection->peer_pidfd, EPOLLIN);
}

static void end_visit(visitor_t *visitor, bool keep_socket) {
  shm_transport_t *transport = visitor->transport;
  hmci_loop_remove(transport->host->loop, &visitor->watch);
  if (!keep_socket) close(visitor->watch.descriptor);
  hmci_list_remove(&visitor->link);
  transport->visitor_count--;
  free(visitor);
}

static shm_connection_t *find_token(shm_transport_t *transport, uint64_t token) {
  shm_connection_t *found = NULL;
  pthread_mutex_lock(&transport->lock);
  for (hmci_list_t *link = transport->connections.next; link != &transport->connections && !found; link = link->next) {
    shm_connection_t *connection = HMCI_CONTAINER(link, shm_connection_t, link);
    if (connection->role == HMCI_ACCEPTED && connection->token == token && connection->ask < 0) found = connection;
  }
  pthread_mutex_unlock(&transport->lock);
  return found;
}

static bool on_visitor(hmci_watch_t *watch, uint32_t events) {
  visitor_t *visitor = HMCI_CONTAINER(watch, visitor_t, watch);
  if (!events) return false;
  message_t message;
  int descriptor = -1, socket = watch->descriptor;
  hmc_status_t status = receive_message(socket, &message, &descriptor);
  if (status == HMC_IN_PROGRESS) return false;
  shm_connection_t *connection = NULL;
  if (status == HMC_SUCCESS && message.type == HELLO && descriptor >= 0)
    connection = find_token(visitor->transport, message.token);
  bool known = connection && know_peer(connection, socket) == HMC_SUCCESS;
  end_visit(visitor, known);
  if (!known) {
    if (descriptor >= 0) close(descriptor);
    return false;
  }
  fcntl(descriptor, F_SETFL, O_NONBLOCK);
  connection->ask = descriptor;
  hmci_loop_keep(connection->transport->host->loop, &connection->kept_ask, descriptor);
  if (watch_process(connection) != HMC_SUCCESS)
    hmci_log(HMC_LOG_INFO, "the end of process %d is not watched: %s", connection->peer_process, hmc_last_error());
  if (serve(connection, socket) != HMC_SUCCESS) close(socket); /* the dialler sees it close */
  return false;
}

static bool on_arrival(hmci_watch_t *watch, uint32_t events) {
  shm_transport_t *transport = HMCI_CONTAINER(watch, shm_transport_t, listener);
  if (!events) return false;
  int socket = accept4(watch->descriptor, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket < 0) return false;
  if (transport->visitor_count == SHM_VISITORS) {
    end_visit(HMCI_CONTAINER(transport->visitors.next, visitor_t, link), false); /* the oldest makes room */
  }
  visitor_t *visitor = calloc(1, sizeof *visitor);
  if (!visitor) {
    close(socket);
    return false;
  }
  visitor->transport = transport;
  visitor->watch.ready = on_visitor;
  hmci_list_append(&transport->visitors, &visitor->link);
  transport->visitor_count++;
  if (hmci_loop_add(transport->host->loop, &visitor->watch, socket, EPOLLIN) != HMC_SUCCESS) {
    visitor->watch.descriptor = socket;
    end_visit(visitor, false);
  }
  return false;
}

void hmci_shm_name(shm_transport_t *transport) {
  uint64_t random[2];
  hmci_random(random, sizeof random);
  snprintf(transport->name, sizeof transport->name, "hmc-%016llx%016llx", (unsigned long long)random[0],
           (unsigned long long)random[1]);
}

hmc_status_t hmci_shm_listen(shm_transport_t *transport) {
  struct sockaddr_un address;
  socklen_t size = abstract_address(&address, transport->name);
  int socket_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ < 0) return hmci_fail(HMC_UNSUPPORT, "no UNIX sockets: %s", strerror(errno));
  hmc_status_t status = HMC_SUCCESS;
  if (bind(socket_, (struct sockaddr *)&address, size) || listen(socket_, SOMAXCONN)) {
    status = hmci_fail(HMC_UNSUPPORT, "no abstract UNIX socket: %s", strerror(errno));
  }
  transport->listener.ready = on_arrival;
  if (status == HMC_SUCCESS) status = hmci_loop_add(transport->host->loop, &transport->listener, socket_, EPOLLIN);
  if (status != HMC_SUCCESS) close(socket_);
  return status;
}

void hmci_shm_stop_listening(shm_transport_t *transport) {
  hmci_loop_remove(transport->host->loop, &transport->listener);
  close(transport->listener.descriptor);
  hmci_loop_lock(transport->host->loop);
  while (!hmci_list_is_empty(&transport->visitors)) {
    end_visit(HMCI_CONTAINER(transport->visitors.next, visitor_t, link), false);
  }
  hmci_loop_unlock(transport->host->loop);
}

static hmc_status_t connect_abstract(const char *name, uint64_t deadline, int *out) {
  struct sockaddr_un address;
  socklen_t size = abstract_address(&address, name);
  int socket_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (socket_ < 0) return hmci_fail(HMC_UNSUPPORT, "no UNIX sockets: %s", strerror(errno));
  while (connect(socket_, (struct sockaddr *)&address, size)) {
    if (errno == EAGAIN && hmci_now() < deadline && !hmci_stop_is_asked()) { /* its queue is full */
      hmci_stop_poll(-1, 0, 1);
      continue;
    }
    hmc_status_t status = hmci_fail(
        HMC_UNSUPPORT, "its UNIX socket cannot be reached, as between network namespaces: %s", strerror(errno));
    close(socket_);
    return status;
  }
  *out = socket_;
  return HMC_SUCCESS;
}

/* Sends the three messages that make a link, and takes the acceptor's board. */
static hmc_status_t greet(shm_connection_t *connection, uint64_t token, int reverse, int accesses, uint64_t deadline) {
  message_t hello = {.type = HELLO, .token = token}, board = {.type = BOARD}, pages = {.type = ACCESSES}, answer;
  hmc_status_t status = send_message(connection->ask, &hello, reverse);
  if (status == HMC_SUCCESS) status = send_message(connection->ask, &board, connection->transport->board_descriptor);
  if (status == HMC_SUCCESS) status = send_message(connection->ask, &pages, accesses);
  if (status != HMC_SUCCESS) return status;
  int descriptor = -1;
  status = receive_wait(connection->ask, deadline, &answer, &descriptor);
  if (status != HMC_SUCCESS) return status;
  status = answer.type == LINKED ? hmci_shm_board_map(descriptor, &connection->peer_board)
                                 : hmci_fail(HMC_CORRUPT, "unexpected message %u on a link", answer.type);
  if (descriptor >= 0) close(descriptor);
  return status;
}

hmc_status_t hmci_shm_dial(shm_connection_t *connection, const char *name, uint64_t token, uint64_t deadline) {
  int ends[2], accesses;
  hmc_status_t status = connect_abstract(name, deadline, &connection->ask);
  if (status != HMC_SUCCESS) return status;
  hmci_loop_keep(connection->transport->host->loop, &connection->kept_ask, connection->ask);
  status = know_peer(connection, connection->ask);
  if (status == HMC_SUCCESS) status = watch_process(connection);
  if (status != HMC_SUCCESS) return status;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends)) {
    return hmci_fail(HMC_NO_MEMORY, "socketpair failed: %s", strerror(errno));
  }
  status = serve(connection, ends[0]);
  if (status != HMC_SUCCESS) {
    close(ends[0]);
    goto out;
  }
  status = hmci_shm_accesses_create(&connection->accesses, &accesses);
  if (status != HMC_SUCCESS) goto out;
  connection->carries = true;
  status = greet(connection, token, ends[1], accesses, deadline);
  close(accesses);
  if (status == HMC_SUCCESS) {
    hmci_shm_probe_attach(connection);
    connection->linked = true;
  }
out:
  close(ends[1]);
  return status;
}
