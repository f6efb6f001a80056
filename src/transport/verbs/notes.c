/* The link: the pipe on which both ends exchange notes (see wire.h).
 *
 * It belongs to the loop's thread for reading; the thread that holds the lock may send. What the pipe does not take at
 * once waits in `out`, which is bounded: a peer that does not read is lost. */
#include "notes.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

enum { BACKLOG = 1 << 20 };

void hmci_verbs_lose(verbs_connection_t *connection, const char *reason) {
  if (connection->pipe) hmci_loop_silence(connection->transport->host->loop, &connection->watch);
  if (!connection->refusal[0]) snprintf(connection->refusal, sizeof connection->refusal, "%s", reason);
  connection->transport->host->connection_lost(connection->transport->host, connection, reason);
  connection->cut = true;
  pthread_cond_broadcast(&connection->changed);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static void watch_for_room(verbs_connection_t *connection, bool blocked) {
  if (blocked == connection->blocked) return;
  connection->blocked = blocked;
  hmci_loop_modify(connection->transport->host->loop, &connection->watch, EPOLLIN | (blocked ? EPOLLOUT : 0));
}

static void flush(verbs_connection_t *connection) {
  hmci_pipe_t *pipe = connection->pipe;
  uint32_t gone = 0;
  bool blocked = false;
  while (gone < connection->out_size && !blocked) {
    struct iovec part = {connection->out + gone, connection->out_size - gone};
    ssize_t sent = pipe->send(pipe, &part, 1);
    if (sent > 0) gone += (uint32_t)sent;
    blocked = sent <= 0;
  }
  int error = blocked ? errno : 0;
  if (!blocked && pipe->flush && pipe->flush(pipe)) {
    error = errno;
    blocked = true;
  }
  connection->out_size -= gone;
  memmove(connection->out, connection->out + gone, connection->out_size);
  if (blocked && error != EAGAIN && error != EWOULDBLOCK && error != EINTR) {
    hmci_verbs_lose(connection, "its link broke while sending");
  } else {
    watch_for_room(connection, blocked);
  }
}

void hmci_verbs_notes_send(verbs_connection_t *connection, const verbs_note_t *note) {
  if (!connection->pipe || connection->cut || connection->failed) return;
  uint32_t needed = connection->out_size + VERBS_NOTE;
  if (needed > connection->out_room) {
    uint8_t *out = needed <= BACKLOG ? realloc(connection->out, needed) : NULL;
    if (!out) {
      hmci_verbs_lose(connection, "it does not read its link");
      return;
    }
    connection->out = out;
    connection->out_room = needed;
  }
  hmci_verbs_note_encode(connection->out + connection->out_size, note);
  connection->out_size = needed;
  flush(connection);
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

static void receive(verbs_connection_t *connection) {
  hmci_pipe_t *pipe = connection->pipe;
  while (!connection->cut && !connection->failed) {
    struct iovec part = {connection->in + connection->in_size, VERBS_NOTE - connection->in_size};
    ssize_t got = pipe->receive(pipe, &part, 1);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) return;
    if (got <= 0) {
      hmci_verbs_lose(connection, got == 0 ? "it closed its link" : "its link broke while receiving");
      return;
    }
    connection->in_size += (uint32_t)got;
    if (connection->in_size < VERBS_NOTE) continue;
    connection->in_size = 0;
    verbs_note_t note;
    if (hmci_verbs_note_decode(connection->in, &note) != HMC_SUCCESS) {
      hmci_log(HMC_LOG_WARNING, "a link is closed: %s", hmc_last_error());
      hmci_verbs_lose(connection, "it broke the protocol");
      return;
    }
    connection->transport->upward->take_note(connection, &note);
  }
}

static bool on_ready(hmci_watch_t *watch, uint32_t events) {
  verbs_connection_t *connection = HMCI_CONTAINER(watch, verbs_connection_t, watch);
  if (!events) return false;
  pthread_mutex_lock(&connection->transport->lock);
  if (!connection->cut && !connection->failed) receive(connection);
  if (!connection->cut && !connection->failed && connection->blocked) flush(connection);
  connection->transport->upward->settle(connection->transport);
  pthread_mutex_unlock(&connection->transport->lock);
  return false; /* links are quiet: no reason to spin */
}

hmc_status_t hmci_verbs_notes_open(verbs_connection_t *connection, hmci_pipe_t *pipe) {
  connection->watch.ready = on_ready;
  connection->pipe = pipe;
  hmc_status_t status = hmci_loop_add(connection->transport->host->loop, &connection->watch, pipe->descriptor, EPOLLIN);
  if (status != HMC_SUCCESS) connection->pipe = NULL;
  return status;
}

void hmci_verbs_notes_close(verbs_connection_t *connection) {
  if (!connection->pipe) return;
  hmci_loop_remove(connection->transport->host->loop, &connection->watch);
  connection->pipe->close(connection->pipe);
  connection->pipe = NULL;
  free(connection->out);
  connection->out = NULL;
}
