/* Passing descriptors over UNIX sockets (see socket.h). Invariant: a descriptor that came and is refused is closed. No
 * locking: no state. */
#include "socket.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

/* A control message with room for one descriptor; its alignment pads it to room for two. */
typedef union rights {
  struct cmsghdr header;
  char bytes[CMSG_SPACE(sizeof(int))];
} rights_t;

hmc_status_t hmci_socket_send_descriptor(int socket, const void *data, size_t size, int descriptor) {
  struct iovec part = {.iov_base = (void *)data, .iov_len = size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  rights_t rights = {0};
  if (descriptor >= 0) {
    message.msg_control = rights.bytes;
    message.msg_controllen = sizeof(rights.bytes);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &descriptor, sizeof(int));
  }
  ssize_t sent;
  do {
    sent = sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
  } while (sent < 0 && errno == EINTR);
  if (sent == (ssize_t)size) {
    return HMC_SUCCESS;
  }
  if (sent >= 0) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%zu B are too many to go with a descriptor", size);
  }
  switch (errno) {
  case EAGAIN: return HMC_IN_PROGRESS;
  case EPIPE:
  case ECONNRESET:
  case ENOTCONN: return hmci_fail(HMC_PEER_LOST, "sending a descriptor: %s", strerror(errno));
  case ETOOMANYREFS: /* too many descriptors are in progress */
  case ENOBUFS:
  case ENOMEM: return hmci_fail(HMC_NO_MEMORY, "sending a descriptor: %s", strerror(errno));
  case EMSGSIZE: return hmci_fail(HMC_OUT_OF_RANGE, "%zu B are too many to go with a descriptor", size);
  default: return hmci_fail(HMC_ERROR, "sending a descriptor: %s", strerror(errno));
  }
}

/* The first descriptor that came, or -1; others, which we never send, are closed. Returns how many there were. */
static int take_descriptors(struct msghdr *message, int *first) {
  int count = 0;
  *first = -1;
  for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
      continue;
    }
    size_t here = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < here; i++) {
      int descriptor;
      memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      if (count++ == 0) {
        *first = descriptor;
      } else {
        close(descriptor);
      }
    }
  }
  return count;
}

hmc_status_t hmci_socket_receive_descriptor(int socket, void *data, size_t capacity, size_t *size, int *descriptor) {
  struct iovec part = {.iov_base = data, .iov_len = capacity};
  rights_t rights = {0};
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = rights.bytes, .msg_controllen = sizeof(rights.bytes)};
  ssize_t got;
  do {
    got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && errno == EAGAIN) {
    return HMC_IN_PROGRESS;
  }
  if (got < 0) {
    return hmci_fail(HMC_PEER_LOST, "receiving a descriptor: %s", strerror(errno));
  }
  int first, count = take_descriptors(&message, &first);
  hmc_status_t status = HMC_SUCCESS;
  if (got == 0) {
    status = hmci_fail(HMC_PEER_LOST, "the other end of the UNIX socket hung up");
  } else if (message.msg_flags & MSG_TRUNC) {
    status = hmci_fail(HMC_CORRUPT, "a message of more than %zu B came with a descriptor", capacity);
  } else if (count == 0 && message.msg_flags & MSG_CTRUNC) {
    status = hmci_fail(HMC_NO_MEMORY, "no free descriptor for the one that came with a message");
  } else if (count > 1 || message.msg_flags & MSG_CTRUNC) {
    status = hmci_fail(HMC_CORRUPT, "more than one descriptor came with a message");
  }
  if (status != HMC_SUCCESS) {
    goto err_close;
  }
  *size = (size_t)got;
  *descriptor = first;
  return HMC_SUCCESS;

err_close:
  if (first >= 0) {
    close(first);
  }
  return status;
}
