/* A pipe over a secure stream: data connections whose payload is encrypted.
 *
 * What `send` takes is copied into a record first. The stream may have encrypted bytes that the socket did not take
 * yet; they must follow, whatever becomes of the operation they are from, so they must be the pipe's. */
#include "core.h"

#include "../base/guarded.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD = 16 << 10 }; /* the most that one TLS record carries */

typedef struct secure_pipe {
  hmci_pipe_t pipe;
  pthread_mutex_t lock; /* the stream takes one call at a time */
  hmci_secure_t *stream;
  size_t size, sent;
  uint8_t record[RECORD];
} secure_pipe_t;

static secure_pipe_t *of(hmci_pipe_t *pipe) { return HMCI_CONTAINER(pipe, secure_pipe_t, pipe); }

/* Hands the record on to the stream: 0 when it is gone, -1 with errno. */
static int flush_record(secure_pipe_t *self) {
  while (self->sent < self->size) {
    size_t done;
    short events;
    hmc_status_t status =
        hmci_secure_write(self->stream, self->record + self->sent, self->size - self->sent, &done, &events);
    if (status != HMC_SUCCESS) {
      errno = status == HMC_IN_PROGRESS ? EAGAIN : EPIPE;
      return -1;
    }
    self->sent += done;
  }
  self->size = self->sent = 0;
  return 0;
}

static int secure_flush(hmci_pipe_t *pipe) {
  secure_pipe_t *self = of(pipe);
  pthread_mutex_lock(&self->lock);
  int failed = flush_record(self);
  pthread_mutex_unlock(&self->lock);
  return failed;
}

/* Fills the record, as far as the parts are there. False: not even the first bytes are. */
static bool fill_record(secure_pipe_t *self, const struct iovec *parts, int count, bool doubtful) {
  for (int i = 0; i < count && self->size < sizeof self->record; i++) {
    size_t room = sizeof self->record - self->size;
    size_t length = parts[i].iov_len < room ? parts[i].iov_len : room;
    uint8_t *to = self->record + self->size;
    if (doubtful && !hmci_guarded_read(to, parts[i].iov_base, length)) return self->size;
    if (!doubtful) memcpy(to, parts[i].iov_base, length);
    self->size += length;
  }
  return true;
}

static ssize_t send_parts(secure_pipe_t *self, const struct iovec *parts, int count, bool doubtful) {
  pthread_mutex_lock(&self->lock);
  ssize_t taken = flush_record(self);
  if (taken == 0 && !fill_record(self, parts, count, doubtful)) {
    taken = -1;
    errno = EFAULT;
  }
  if (taken == 0) {
    taken = (ssize_t)self->size;
    if (flush_record(self) && errno != EAGAIN) taken = -1;
  }
  int error = errno;
  pthread_mutex_unlock(&self->lock);
  errno = error;
  return taken;
}

static ssize_t secure_send(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  return send_parts(of(pipe), parts, count, false);
}

static ssize_t secure_send_guarded(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  return send_parts(of(pipe), parts, count, true);
}

static ssize_t secure_receive(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  secure_pipe_t *self = of(pipe);
  size_t sum = 0;
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&self->lock);
  for (int i = 0; i < count && status == HMC_SUCCESS; i++) {
    size_t left = parts[i].iov_len, done;
    while (left && status == HMC_SUCCESS) {
      short events;
      status = hmci_secure_read(self->stream, (uint8_t *)parts[i].iov_base + (parts[i].iov_len - left), left, &done,
                                &events);
      if (status == HMC_SUCCESS) left -= done, sum += done;
    }
  }
  pthread_mutex_unlock(&self->lock);
  if (sum) return (ssize_t)sum;
  if (status == HMC_PEER_LOST) return 0;
  errno = status == HMC_IN_PROGRESS ? EAGAIN : EPIPE;
  return -1;
}

static bool secure_pending(hmci_pipe_t *pipe) {
  secure_pipe_t *self = of(pipe);
  pthread_mutex_lock(&self->lock);
  bool pending = hmci_secure_pending(self->stream);
  pthread_mutex_unlock(&self->lock);
  return pending;
}

static void secure_close(hmci_pipe_t *pipe) {
  secure_pipe_t *self = of(pipe);
  hmci_secure_close(self->stream);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

hmc_status_t hmci_secure_pipe_open(hmci_secure_t *stream, hmci_pipe_t **out) {
  secure_pipe_t *self = calloc(1, sizeof *self);
  if (!self) return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
  self->pipe = (hmci_pipe_t){
      .send = secure_send,
      .send_guarded = secure_send_guarded,
      .receive = secure_receive,
      .pending = secure_pending,
      .flush = secure_flush,
      .close = secure_close,
      .descriptor = hmci_secure_descriptor(stream),
      .copies = true,
      .protection = "encrypted by TLS 1.3",
  };
  self->stream = stream;
  pthread_mutex_init(&self->lock, NULL);
  *out = &self->pipe;
  return HMC_SUCCESS;
}
