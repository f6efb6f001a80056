/* A pipe over sealed records: data connections whose payload is encrypted (see ctrl/records.h).
 *
 * Locking: `lock` guards the records, which take one call at a time for each direction. */
#include "core.h"

#include "../base/socket.h"
#include "../ctrl/records.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct sealed_pipe {
  hmci_pipe_t pipe;
  pthread_mutex_t lock;
  hmci_records_t *records;
  bool damaged; /* and the log says so */
  char where[HMCI_WHERE_SIZE];
} sealed_pipe_t;

static sealed_pipe_t *of(hmci_pipe_t *pipe) { return HMCI_CONTAINER(pipe, sealed_pipe_t, pipe); }

static ssize_t send_parts(sealed_pipe_t *self, const struct iovec *parts, int count, bool doubtful) {
  pthread_mutex_lock(&self->lock);
  ssize_t taken = hmci_records_send(self->records, parts, count, doubtful);
  pthread_mutex_unlock(&self->lock);
  return taken;
}

static ssize_t sealed_send(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  return send_parts(of(pipe), parts, count, false);
}

static ssize_t sealed_send_guarded(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  return send_parts(of(pipe), parts, count, true);
}

static int sealed_flush(hmci_pipe_t *pipe) {
  sealed_pipe_t *self = of(pipe);
  pthread_mutex_lock(&self->lock);
  int failed = hmci_records_flush(self->records);
  pthread_mutex_unlock(&self->lock);
  return failed;
}

/* The other end sees no more than that this one hangs up, so this one's log is where people find the cause. */
static ssize_t sealed_receive(hmci_pipe_t *pipe, const struct iovec *parts, int count) {
  sealed_pipe_t *self = of(pipe);
  pthread_mutex_lock(&self->lock);
  ssize_t got = hmci_records_receive(self->records, parts, count);
  int error = errno;
  bool found = got < 0 && error == EBADMSG && !self->damaged;
  if (found) self->damaged = true;
  pthread_mutex_unlock(&self->lock);
  if (found) hmci_log(HMC_LOG_WARNING, "%s: %s", self->where, hmci_socket_loss(error, ""));
  errno = error;
  return got;
}

static bool sealed_pending(hmci_pipe_t *pipe) {
  sealed_pipe_t *self = of(pipe);
  pthread_mutex_lock(&self->lock);
  bool pending = hmci_records_pending(self->records);
  pthread_mutex_unlock(&self->lock);
  return pending;
}

static void sealed_close(hmci_pipe_t *pipe) {
  sealed_pipe_t *self = of(pipe);
  hmci_records_close(self->records);
  close(pipe->descriptor);
  pthread_mutex_destroy(&self->lock);
  free(self);
}

static const char *const protections[] = {
    [HMCI_RECORD_GCM] = "encrypted and authenticated by AES-128-GCM, with keys of the peers' TLS 1.3 handshake",
    [HMCI_RECORD_OCB] = "encrypted and authenticated by AES-128-OCB, with keys of the peers' TLS 1.3 handshake",
};

hmc_status_t hmci_sealed_pipe_open(int descriptor, const uint8_t out[HMCI_RECORD_SECRET],
                                   const uint8_t in[HMCI_RECORD_SECRET], hmci_record_cipher_t cipher, const char *where,
                                   hmci_pipe_t **opened) {
  sealed_pipe_t *self = calloc(1, sizeof *self);
  if (!self) return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
  hmc_status_t status = hmci_records_open(descriptor, out, in, cipher, &self->records);
  if (status != HMC_SUCCESS) {
    free(self);
    return status;
  }
  self->pipe = (hmci_pipe_t){
      .send = sealed_send,
      .send_guarded = sealed_send_guarded,
      .receive = sealed_receive,
      .pending = sealed_pending,
      .flush = sealed_flush,
      .close = sealed_close,
      .descriptor = descriptor,
      .copies = true,
      .protection = protections[cipher],
  };
  snprintf(self->where, sizeof self->where, "%s", where);
  pthread_mutex_init(&self->lock, NULL);
  *opened = &self->pipe;
  return HMC_SUCCESS;
}
