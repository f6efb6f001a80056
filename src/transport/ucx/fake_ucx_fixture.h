/* A UCX in software for the unit tests: workers, listeners and endpoints of one process that pass messages to each
 * other, and can be made to hold them, to mix them up, or to break. Nothing moves but in ucp_worker_progress, and there
 * one thing at a time. Included by one test each. */
#ifndef HMCI_UCX_FAKE_FIXTURE_H
#define HMCI_UCX_FAKE_FIXTURE_H

#include "library.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { FAKE_ROOM = 512 };

typedef struct fake_message {
  ucp_ep_h from; /* the endpoint here that it came over */
  size_t size;
  uint32_t flags;
  uint8_t *bytes;
} fake_message_t;

/* A send that UCX holds. */
typedef struct fake_request {
  ucp_send_nbx_callback_t sent;
  void *user;
  ucp_ep_h endpoint;
  ucs_status_t status;
  uint32_t flags;
  size_t size;
  uint8_t *bytes; /* the caller's: read when the send is through */
} fake_request_t;

struct ucp_worker {
  int descriptor; /* an eventfd, readable when something has come since it was armed */
  ucp_am_recv_callback_t on_message;
  void *argument;
  ucp_listener_conn_handler_t on_connection;
  fake_message_t messages[FAKE_ROOM]; /* have come */
  ucp_ep_h callers[FAKE_ROOM];        /* clients that are not taken yet */
  ucp_ep_h broken[FAKE_ROOM];         /* endpoints whose error is to be reported */
  fake_request_t *through[FAKE_ROOM]; /* held sends that are through */
  int message_count, caller_count, broken_count, through_count;
};

struct ucp_ep {
  ucp_worker_h worker;
  ucp_ep_h peer; /* NULL: not taken yet, or closed */
  ucp_err_handler_t on_error;
  bool closed;
};

/* What a test sets and looks at. */
typedef struct fake {
  bool hold;       /* sends stay with UCX until fake_release */
  bool reverse;    /* messages are handed in last first */
  const char *way; /* what carries messages; NULL: tcp/eth0 */
  bool blind;      /* the next arming does not see what has come, as with an RDMA device */
  ucs_status_t send_status, endpoint_status, listener_status;
  int endpoints, closed, sends; /* open now; closed, and messages sent so far */
  fake_request_t *held[FAKE_ROOM];
  int held_count;
  ucp_worker_h workers[4]; /* as they were made */
  int worker_count;
  ucp_ep_h graves[FAKE_ROOM]; /* closed endpoints, for requests still name them */
} fake_t;
static fake_t fake;
static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER; /* what lies in workers; not held while they call back */

/* ---- workers ----------------------------------------------------------------------------------------------------- */

static inline ucs_status_t fake_worker_create(ucp_context_h context, const ucp_worker_params_t *params,
                                              ucp_worker_h *out) {
  (void)context, (void)params;
  ucp_worker_h worker = calloc(1, sizeof *worker);
  worker->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  fake.workers[fake.worker_count++] = *out = worker;
  return UCS_OK;
}

static inline void fake_worker_destroy(ucp_worker_h worker) {
  for (int i = 0; i < worker->message_count; i++) free(worker->messages[i].bytes);
  for (int i = 0; i < worker->through_count; i++) free(worker->through[i]);
  close(worker->descriptor);
  free(worker);
}

static inline ucs_status_t fake_worker_get_efd(ucp_worker_h worker, int *descriptor) {
  *descriptor = worker->descriptor;
  return UCS_OK;
}

static inline ucs_status_t fake_worker_set_handler(ucp_worker_h worker, const ucp_am_handler_param_t *param) {
  worker->on_message = param->cb;
  worker->argument = param->arg;
  return UCS_OK;
}

static inline bool fake_is_idle(ucp_worker_h worker) {
  return !worker->message_count && !worker->caller_count && !worker->broken_count && !worker->through_count;
}

static inline ucs_status_t fake_worker_arm(ucp_worker_h worker) {
  uint64_t value;
  ssize_t got = read(worker->descriptor, &value, sizeof value);
  pthread_mutex_lock(&fake_lock);
  bool idle = fake_is_idle(worker), blind = fake.blind;
  fake.blind = false;
  pthread_mutex_unlock(&fake_lock);
  return blind || (idle && got < 0) ? UCS_OK : UCS_ERR_BUSY;
}

/* With the lock held: something has come. */
static inline void fake_wake(ucp_worker_h worker) {
  uint64_t one = 1;
  if (write(worker->descriptor, &one, sizeof one) != sizeof one) abort();
}

static inline void fake_push(ucp_ep_h at, const void *bytes, size_t size, uint32_t flags) {
  ucp_worker_h worker = at->worker;
  pthread_mutex_lock(&fake_lock);
  if (worker->message_count == FAKE_ROOM) abort();
  fake_message_t *message = &worker->messages[worker->message_count++];
  *message = (fake_message_t){.from = at, .size = size, .flags = flags, .bytes = malloc(size ? size : 1)};
  memcpy(message->bytes, bytes, size);
  fake_wake(worker);
  pthread_mutex_unlock(&fake_lock);
}

static inline void fake_hand_in(ucp_worker_h worker, const fake_message_t *message) {
  ucp_am_recv_param_t param = {0};
  if (message->flags & UCP_AM_SEND_FLAG_REPLY) {
    param.recv_attr |= UCP_AM_RECV_ATTR_FIELD_REPLY_EP;
    param.reply_ep = message->from;
  }
  if (message->flags & UCP_AM_SEND_FLAG_RNDV) param.recv_attr |= UCP_AM_RECV_ATTR_FLAG_RNDV;
  worker->on_message(worker->argument, NULL, 0, message->bytes, message->size, &param);
  free(message->bytes);
}

static inline void fake_finish_send(fake_request_t *request) {
  ucp_ep_h peer = request->endpoint->peer;
  if (request->status == UCS_OK && peer) fake_push(peer, request->bytes, request->size, request->flags);
  request->sent(request, request->status, request->user); /* which frees it */
}

static inline unsigned fake_worker_progress(ucp_worker_h worker) {
  fake_request_t *request = NULL;
  fake_message_t message = {0};
  ucp_ep_h broken = NULL, caller = NULL;
  pthread_mutex_lock(&fake_lock);
  bool idle = fake_is_idle(worker);
  if (worker->through_count) {
    request = worker->through[0];
    worker->through_count--;
    memmove(&worker->through[0], &worker->through[1], (size_t)worker->through_count * sizeof request);
  } else if (worker->broken_count) {
    broken = worker->broken[--worker->broken_count];
  } else if (worker->caller_count) {
    caller = worker->callers[--worker->caller_count];
  } else if (worker->message_count) {
    int index = fake.reverse ? worker->message_count - 1 : 0;
    message = worker->messages[index];
    worker->message_count--;
    memmove(&worker->messages[index], &worker->messages[index + 1],
            (size_t)(worker->message_count - index) * sizeof message);
  }
  pthread_mutex_unlock(&fake_lock);
  if (request) fake_finish_send(request);
  if (broken && !broken->closed) broken->on_error.cb(broken->on_error.arg, broken, UCS_ERR_CONNECTION_RESET);
  if (caller) worker->on_connection.cb((ucp_conn_request_h)(void *)caller, worker->on_connection.arg);
  if (message.bytes) fake_hand_in(worker, &message);
  return !idle;
}

/* ---- listeners and endpoints ------------------------------------------------------------------------------------- */

/* The port of a listener says whose it is: 1000 + the number of the worker. */
static inline ucs_status_t fake_listener_create(ucp_worker_h worker, const ucp_listener_params_t *params,
                                                ucp_listener_h *out) {
  if (fake.listener_status != UCS_OK) return fake.listener_status;
  worker->on_connection = params->conn_handler;
  *out = (ucp_listener_h)(void *)worker;
  return UCS_OK;
}

static inline void fake_listener_destroy(ucp_listener_h listener) { (void)listener; }

static inline ucs_status_t fake_listener_query(ucp_listener_h listener, ucp_listener_attr_t *attributes) {
  int number = 0;
  while ((void *)fake.workers[number] != (void *)listener) number++;
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)(1000 + number))};
  memcpy(&attributes->sockaddr, &address, sizeof address);
  return UCS_OK;
}

static inline ucs_status_t fake_listener_reject(ucp_listener_h listener, ucp_conn_request_h request) {
  (void)listener, (void)request;
  return UCS_OK;
}

static inline ucs_status_t fake_ep_create(ucp_worker_h worker, const ucp_ep_params_t *params, ucp_ep_h *out) {
  if (fake.endpoint_status != UCS_OK) return fake.endpoint_status;
  ucp_ep_h endpoint = calloc(1, sizeof *endpoint);
  endpoint->worker = worker;
  endpoint->on_error = params->err_handler;
  fake.endpoints++;
  if (params->field_mask & UCP_EP_PARAM_FIELD_CONN_REQUEST) {
    endpoint->peer = (ucp_ep_h)(void *)params->conn_request;
    endpoint->peer->peer = endpoint;
  } else {
    struct sockaddr_in address;
    memcpy(&address, params->sockaddr.addr, sizeof address);
    ucp_worker_h there = fake.workers[ntohs(address.sin_port) - 1000];
    pthread_mutex_lock(&fake_lock);
    there->callers[there->caller_count++] = endpoint;
    fake_wake(there);
    pthread_mutex_unlock(&fake_lock);
  }
  *out = endpoint;
  return UCS_OK;
}

static inline ucs_status_ptr_t fake_ep_close(ucp_ep_h endpoint, const ucp_request_param_t *param) {
  (void)param;
  endpoint->closed = true;
  fake.graves[fake.closed++] = endpoint;
  fake.endpoints--;
  if (endpoint->peer) {
    ucp_worker_h there = endpoint->peer->worker;
    pthread_mutex_lock(&fake_lock);
    there->broken[there->broken_count++] = endpoint->peer;
    endpoint->peer->peer = NULL;
    fake_wake(there);
    pthread_mutex_unlock(&fake_lock);
  }
  return NULL;
}

static inline void fake_ep_print_info(ucp_ep_h endpoint, FILE *stream) {
  (void)endpoint;
  fprintf(stream,
          "#\n#  lane[0]: cm rdmacm\n"
          "#  lane[1]:  0:rc_verbs/rxe0:1.0 md[0] -> md[0]/ib rma_bw#0\n"
          "#  lane[2]:  3:%s.0 md[1]  -> md[1]/tcp/sysdev[255] am am_bw#0 wireup\n#\n",
          fake.way ? fake.way : "tcp/eth0");
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static inline ucs_status_ptr_t fake_am_send(ucp_ep_h endpoint, unsigned id, const void *header, size_t header_size,
                                            const void *bytes, size_t size, const ucp_request_param_t *param) {
  (void)id, (void)header, (void)header_size;
  if (fake.send_status != UCS_OK) return UCS_STATUS_PTR(fake.send_status);
  fake.sends++;
  if (!fake.hold && endpoint->peer) {
    fake_push(endpoint->peer, bytes, size, param->flags);
    return NULL;
  }
  fake_request_t *request = malloc(sizeof *request);
  *request = (fake_request_t){.sent = param->cb.send,
                              .user = param->user_data,
                              .endpoint = endpoint,
                              .flags = param->flags,
                              .size = size,
                              .bytes = (uint8_t *)(uintptr_t)bytes};
  fake.held[fake.held_count++] = request;
  return request;
}

/* All sends held are through, with `status`, at the next progress of their workers. */
static inline void fake_release(ucs_status_t status) {
  pthread_mutex_lock(&fake_lock);
  for (int i = 0; i < fake.held_count; i++) {
    ucp_worker_h worker = fake.held[i]->endpoint->worker;
    fake.held[i]->status = status;
    worker->through[worker->through_count++] = fake.held[i];
    fake_wake(worker);
  }
  fake.held_count = 0;
  pthread_mutex_unlock(&fake_lock);
}

static inline ucs_status_t fake_check_status(void *request) {
  (void)request;
  return UCS_OK;
}

static inline void fake_request_free(void *request) { free(request); }

static inline const char *fake_status_string(ucs_status_t status) {
  return status == UCS_ERR_CONNECTION_RESET ? "reset" : "some error";
}

static const hmci_ucx_library_t fake_library = {
    .ucp_worker_create = fake_worker_create,
    .ucp_worker_destroy = fake_worker_destroy,
    .ucp_worker_get_efd = fake_worker_get_efd,
    .ucp_worker_arm = fake_worker_arm,
    .ucp_worker_progress = fake_worker_progress,
    .ucp_worker_set_am_recv_handler = fake_worker_set_handler,
    .ucp_listener_create = fake_listener_create,
    .ucp_listener_destroy = fake_listener_destroy,
    .ucp_listener_query = fake_listener_query,
    .ucp_listener_reject = fake_listener_reject,
    .ucp_ep_create = fake_ep_create,
    .ucp_ep_close_nbx = fake_ep_close,
    .ucp_ep_print_info = fake_ep_print_info,
    .ucp_am_send_nbx = fake_am_send,
    .ucp_request_check_status = fake_check_status,
    .ucp_request_free = fake_request_free,
    .ucs_status_string = fake_status_string,
};

static inline void fake_end(void) {
  for (int i = 0; i < fake.closed; i++) free(fake.graves[i]);
  for (int i = 0; i < fake.held_count; i++) free(fake.held[i]);
  fake = (fake_t){0};
}

#endif
