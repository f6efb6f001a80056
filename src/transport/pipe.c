/* A pipe over a bare, connected socket. */
#include "transport.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t pipe_send(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  if (count == 1) return send(pipe->descriptor, parts->iov_base, parts->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
  return sendmsg(pipe->descriptor, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t pipe_receive(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  if (count == 1) return recv(pipe->descriptor, parts->iov_base, parts->iov_len, MSG_DONTWAIT);
  struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)parts, .msg_iovlen = (size_t)count};
  return recvmsg(pipe->descriptor, &message, MSG_DONTWAIT);
}

static void pipe_close(hmci_pipe_t *pipe) {
  close(pipe->descriptor);
  free(pipe);
}

hmc_status_t hmci_pipe_open(int descriptor, hmci_pipe_t **out) {
  hmci_pipe_t *pipe = malloc(sizeof *pipe);
  if (!pipe) return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
  *pipe = (hmci_pipe_t){.send = pipe_send,
                        .receive = pipe_receive,
                        .close = pipe_close,
                        .descriptor = descriptor,
                        .protection = "sent in clear after authentication (HMC_ENCRYPT=yes encrypts it)"};
  *out = pipe;
  return HMC_SUCCESS;
}
