/* A pipe through UCX: from opening to closing (see pipe.h). */
#include "pipe.h"

#include "../../base/stop.h"
#include "listener.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define CLOSE_LIMIT 50000000u /* nanoseconds that closing waits for UCX to be through with the endpoint */
enum {
  HELLO_NAP = 10, /* milliseconds between two looks for an answer, should UCX not wake us */
  FIRST_ROOM = 16,
  MOST_PIPES = 1 << 20,
  FRAGMENT = 8000, /* what UCX's other transports than tcp send in one piece by default */
};

/* ---- numbers ----------------------------------------------------------------------------------------------------- */

static bool take_number(hmci_ucx_worker_t *worker, hmci_ucx_pipe_t *pipe) {
  uint32_t number = 0;
  while (number < worker->pipe_room && worker->pipes[number]) number++;
  if (number == worker->pipe_room) {
    uint32_t room = number ? number * 2 : FIRST_ROOM;
    hmci_ucx_pipe_t **pipes = room <= MOST_PIPES ? realloc(worker->pipes, room * sizeof(*pipes)) : NULL;
    if (!pipes) return false;
    memset(pipes + number, 0, (room - number) * sizeof(*pipes));
    worker->pipes = pipes;
    worker->pipe_room = room;
  }
  worker->pipes[number] = pipe;
  pipe->number = number;
  return true;
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

void hmci_ucx_endpoint_close(hmci_ucx_worker_t *worker, ucp_ep_h endpoint) {
  const hmci_ucx_library_t *ucx = worker->ucx;
  ucp_request_param_t param = {.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS, .flags = UCP_EP_CLOSE_FLAG_FORCE};
  ucs_status_ptr_t request = ucx->ucp_ep_close_nbx(endpoint, &param);
  uint64_t limit = hmci_now() + CLOSE_LIMIT;
  while (UCS_PTR_IS_PTR(request) && ucx->ucp_request_check_status(request) == UCS_INPROGRESS && hmci_now() < limit) {
    hmci_ucx_worker_poll(worker);
  }
  if (UCS_PTR_IS_PTR(request)) ucx->ucp_request_free(request);
}

static void pipe_close(hmci_pipe_t *base) {
  hmci_ucx_pipe_t *pipe = (hmci_ucx_pipe_t *)base;
  hmci_ucx_worker_t *worker = pipe->worker;
  pthread_mutex_lock(&worker->lock);
  worker->pipes[pipe->number] = NULL;
  pipe->muted = true;
  hmci_list_remove(&pipe->ready);
  if (worker->hot == pipe) worker->hot = NULL;
  hmci_ucx_pipe_forget(pipe);
  if (pipe->endpoint) {
    hmci_ucx_endpoint_close(worker, pipe->endpoint);
    hmci_ucx_worker_linger(worker);
  }
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
  close(base->descriptor);
  free(pipe);
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_ucx_pipe_open(hmci_ucx_worker_t *worker, hmci_ucx_pipe_t **out) {
  hmci_ucx_pipe_t *pipe = calloc(1, sizeof *pipe);
  if (!pipe) return hmci_fail(HMC_NO_MEMORY, "no memory for a UCX pipe");
  pipe->base = (hmci_pipe_t){
      .send = hmci_ucx_pipe_send,
      .send_guarded = hmci_ucx_pipe_send_guarded,
      .receive = hmci_ucx_pipe_receive,
      .pending = hmci_ucx_pipe_pending,
      .close = pipe_close,
      .hidden = true,
      .copies = true,
      .protection = "sent in clear after authentication: UCX does not encrypt",
      .descriptor = epoll_create1(EPOLL_CLOEXEC),
  };
  pipe->worker = worker;
  hmci_list_init(&pipe->ready);
  hmci_list_init(&pipe->chunks);
  hmci_random(&pipe->token, sizeof pipe->token);
  pipe->frame_room = FRAGMENT;
  if (pipe->base.descriptor < 0) {
    hmci_fail(HMC_NO_MEMORY, "epoll_create1 failed: %s", strerror(errno));
    goto err_pipe;
  }
  pthread_mutex_lock(&worker->lock);
  bool numbered = take_number(worker, pipe);
  pthread_mutex_unlock(&worker->lock);
  if (!numbered) {
    hmci_fail(HMC_NO_MEMORY, "no memory for another UCX pipe");
    goto err_descriptor;
  }
  *out = pipe;
  return HMC_SUCCESS;

err_descriptor:
  close(pipe->base.descriptor);
err_pipe:
  free(pipe);
  return HMC_NO_MEMORY;
}

/* ---- what UCX has chosen ----------------------------------------------------------------------------------------- */

/* UCX tells which transport and device an endpoint uses as text for people only: lines like
 * "lane[1]:  0:tcp/lo.0 md[0]  -> md[0]/tcp/sysdev[255] rma_bw#0 am am_bw#0 wireup". What is not found is left out. */
static void look_at_lane(hmci_ucx_pipe_t *pipe, const char *line) {
  const char *name = strstr(line, "lane[");
  name = name && strstr(line, " am ") ? strstr(name, "]:") : NULL;
  name = name ? strchr(name + 2, ':') : NULL;
  if (!name) return;
  name++;
  size_t length = strcspn(name, " ");
  const char *path = memrchr(name, '.', length); /* "tcp/lo.0": the number is UCX's own */
  if (path) length = (size_t)(path - name);
  snprintf(pipe->way, sizeof pipe->way, "%.*s", (int)length, name);
  if (strncmp(name, "tcp/", 4) == 0) pipe->frame_room = HMCI_UCX_FRAME - HMCI_UCX_HEADER;
}

void hmci_ucx_pipe_look(hmci_ucx_pipe_t *pipe) {
  char *text = NULL, *rest = NULL;
  size_t size = 0;
  FILE *stream = open_memstream(&text, &size);
  if (!stream) return;
  pipe->worker->ucx->ucp_ep_print_info(pipe->endpoint, stream);
  fclose(stream);
  for (char *line = text ? strtok_r(text, "\n", &rest) : NULL; line; line = strtok_r(NULL, "\n", &rest)) {
    look_at_lane(pipe, line);
  }
  free(text);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

static void expect(hmci_ucx_pipe_t *pipe, hmci_ucx_end_t peer) {
  pipe->peer_number = peer.pipe;
  pipe->peer_token = peer.token;
  pipe->expecting = true;
}

void hmci_ucx_pipe_expect(hmci_ucx_pipe_t *pipe, hmci_ucx_end_t peer) {
  pthread_mutex_lock(&pipe->worker->lock);
  expect(pipe, peer);
  pthread_mutex_unlock(&pipe->worker->lock);
  hmci_ucx_worker_want(pipe->worker);
}

hmc_status_t hmci_ucx_pipe_connect(hmci_ucx_pipe_t *pipe, hmci_ucx_end_t peer, const struct sockaddr_storage *address) {
  hmci_ucx_worker_t *worker = pipe->worker;
  ucp_ep_params_t params = {
      .field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE |
                    UCP_EP_PARAM_FIELD_ERR_HANDLER,
      .flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER,
      .sockaddr = {.addr = (const struct sockaddr *)address, .addrlen = hmci_ucx_address_size(address)},
      .err_mode = UCP_ERR_HANDLING_MODE_PEER,
      .err_handler = {.cb = hmci_ucx_worker_on_error, .arg = worker},
  };
  pthread_mutex_lock(&worker->lock);
  expect(pipe, peer);
  ucs_status_t status = worker->ucx->ucp_ep_create(worker->handle, &params, &pipe->endpoint);
  if (status == UCS_OK) {
    hmci_ucx_pipe_hello(pipe);
  } else {
    pipe->endpoint = NULL;
  }
  hmci_ucx_worker_update(worker);
  pthread_mutex_unlock(&worker->lock);
  if (status == UCS_OK) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT, "UCX finds no way to the peer (%s): see UCX_TLS and UCX_NET_DEVICES at both ends",
                   worker->ucx->ucs_status_string(status));
}

/* ---- waiting for a welcome --------------------------------------------------------------------------------------- */

/* Sleeps a moment, or until UCX has something. With the lock held, which it lets go in any case: the loop may want
 * it. */
static void doze(hmci_ucx_worker_t *worker, uint64_t deadline) {
  struct pollfd wake = {.fd = worker->events.descriptor, .events = POLLIN};
  int left = hmci_poll_timeout(deadline);
  bool armed = hmci_ucx_worker_arm(worker);
  hmci_ucx_worker_update(worker); /* arming polls, too */
  pthread_mutex_unlock(&worker->lock);
  if (armed) {
    poll(&wake, 1, left < 0 || left > HELLO_NAP ? HELLO_NAP : left);
  } else {
    sched_yield();
  }
  pthread_mutex_lock(&worker->lock);
}

bool hmci_ucx_pipe_is_busy(hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&pipe->worker->lock);
  bool busy = ((pipe->expecting && !pipe->open) || pipe->held) && !pipe->failed && !pipe->muted;
  pthread_mutex_unlock(&pipe->worker->lock);
  return busy;
}

hmc_status_t hmci_ucx_pipe_await_welcome(hmci_ucx_pipe_t *pipe, uint64_t deadline) {
  return hmci_ucx_pipe_await(pipe, &pipe->open, deadline);
}

hmc_status_t hmci_ucx_pipe_await(hmci_ucx_pipe_t *pipe, const bool *answered, uint64_t deadline) {
  hmci_ucx_worker_t *worker = pipe->worker;
  hmc_status_t status = HMC_SUCCESS;
  hmci_ucx_pipe_attend(pipe);
  pthread_mutex_lock(&worker->lock);
  uint64_t idle_since = hmci_now();
  while (!*answered && !pipe->failed && status == HMC_SUCCESS) {
    uint64_t now = hmci_now();
    if (hmci_ucx_worker_drive(worker)) {
      idle_since = now;
    } else if (hmci_stop_is_asked()) {
      status = hmci_fail(HMC_CANCELLED, "cancelled");
    } else if (now >= deadline) {
      status = hmci_fail(HMC_TIMEOUT, "no answer through UCX within the deadline");
    } else if (now - idle_since >= worker->spin) {
      doze(worker, deadline);
    }
  }
  if (pipe->failed) {
    status = hmci_fail(
        HMC_UNSUPPORT,
        "UCX does not get through to the peer (%s): it takes tcp in UCX_TLS, and the interface of that address in "
        "UCX_NET_DEVICES, or the address of an RDMA device; see docs/ucx.md",
        pipe->failure);
  }
  pthread_mutex_unlock(&worker->lock);
  hmci_ucx_pipe_leave(pipe);
  return status;
}
