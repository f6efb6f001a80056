/* Frames over a secure stream (see channel.h). */
#include "channel.h"

#include "../base/stop.h"

#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

void hmci_channel_open(hmci_channel_t *channel, hmci_secure_t *stream) {
  *channel = (hmci_channel_t){.stream = stream};
  pthread_mutex_init(&channel->lock, NULL);
}

void hmci_channel_close(hmci_channel_t *channel) {
  hmci_secure_close(channel->stream);
  free(channel->body);
  free(channel->out);
  pthread_mutex_destroy(&channel->lock);
  *channel = (hmci_channel_t){0};
}

void hmci_channel_hang_up(hmci_channel_t *channel) {
  if (channel->stream) shutdown(hmci_secure_descriptor(channel->stream), SHUT_RDWR);
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

static hmc_status_t flush(hmci_channel_t *channel) {
  while (channel->out_sent < channel->out_size) {
    size_t done;
    short events;
    hmc_status_t status = hmci_secure_write(channel->stream, channel->out + channel->out_sent,
                                            channel->out_size - channel->out_sent, &done, &events);
    if (status != HMC_SUCCESS) return status;
    channel->out_sent += done;
  }
  free(channel->out);
  channel->out = NULL;
  channel->out_size = channel->out_sent = 0;
  return HMC_SUCCESS;
}

hmc_status_t hmci_channel_send(hmci_channel_t *channel, uint16_t type, const void *body, size_t size) {
  pthread_mutex_lock(&channel->lock);
  hmc_status_t status = HMC_NO_MEMORY;
  size_t needed = channel->out_size + HMCI_FRAME_HEADER + size;
  uint8_t *out = needed <= HMCI_CHANNEL_BACKLOG ? realloc(channel->out, needed) : NULL;
  if (!out) {
    hmci_fail(status, "%zu B wait for a peer that does not read", channel->out_size - channel->out_sent);
    goto out;
  }
  hmci_frame_encode(out + channel->out_size, type, body, (uint32_t)size);
  if (size) memcpy(out + channel->out_size + HMCI_FRAME_HEADER, body, size);
  channel->out = out;
  channel->out_size = needed;
  status = flush(channel);
  if (status == HMC_IN_PROGRESS) status = HMC_SUCCESS;
out:
  pthread_mutex_unlock(&channel->lock);
  return status;
}

hmc_status_t hmci_channel_flush(hmci_channel_t *channel) {
  pthread_mutex_lock(&channel->lock);
  hmc_status_t status = flush(channel);
  pthread_mutex_unlock(&channel->lock);
  return status;
}

hmc_status_t hmci_channel_reseal(hmci_channel_t *channel) {
  pthread_mutex_lock(&channel->lock);
  hmc_status_t status = flush(channel);
  if (status == HMC_IN_PROGRESS) status = hmci_fail(HMC_PEER_LOST, "the peer does not read its welcome");
  if (status == HMC_SUCCESS) status = hmci_secure_reseal(channel->stream);
  pthread_mutex_unlock(&channel->lock);
  return status;
}

bool hmci_channel_is_blocked(hmci_channel_t *channel) {
  pthread_mutex_lock(&channel->lock);
  bool blocked = channel->out_sent < channel->out_size;
  pthread_mutex_unlock(&channel->lock);
  return blocked;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* Reads on until `size` bytes are there. */
static hmc_status_t fill(hmci_channel_t *channel, uint8_t *to, uint32_t *have, uint32_t size) {
  while (*have < size) {
    size_t done;
    short events;
    hmc_status_t status = hmci_secure_read(channel->stream, to + *have, size - *have, &done, &events);
    if (status != HMC_SUCCESS) return status;
    *have += (uint32_t)done;
  }
  return HMC_SUCCESS;
}

static hmc_status_t receive(hmci_channel_t *channel, uint16_t *type, hmci_reader_t *reader) {
  if (channel->header_size < HMCI_FRAME_HEADER) {
    hmc_status_t status = fill(channel, channel->header, &channel->header_size, HMCI_FRAME_HEADER);
    if (status != HMC_SUCCESS) return status;
    status = hmci_frame_decode(channel->header, HMCI_CHANNEL_BODY, &channel->frame);
    if (status != HMC_SUCCESS) return status;
    free(channel->body);
    channel->body_size = 0;
    channel->body = malloc(channel->frame.size + 1);
    if (!channel->body) return hmci_fail(HMC_NO_MEMORY, "no memory for a frame of %u B", channel->frame.size);
  }
  hmc_status_t status = fill(channel, channel->body, &channel->body_size, channel->frame.size);
  if (status != HMC_SUCCESS) return status;
  channel->header_size = 0;
  status = hmci_frame_check(&channel->frame, channel->body);
  if (status != HMC_SUCCESS) return status;
  *type = channel->frame.type;
  *reader = (hmci_reader_t){.data = channel->body, .size = channel->frame.size};
  return HMC_SUCCESS;
}

hmc_status_t hmci_channel_receive(hmci_channel_t *channel, uint16_t *type, hmci_reader_t *reader) {
  pthread_mutex_lock(&channel->lock);
  hmc_status_t status = receive(channel, type, reader);
  pthread_mutex_unlock(&channel->lock);
  return status;
}

/* ---- blocking forms ---------------------------------------------------------------------------------------------- */

static hmc_status_t wait_ready(hmci_channel_t *channel, short events, uint64_t deadline) {
  if (hmci_now() >= deadline) return hmci_fail(HMC_TIMEOUT, "no answer within the deadline");
  if (hmci_stop_is_asked()) return hmci_fail(HMC_CANCELLED, "cancelled");
  hmci_stop_poll(hmci_secure_descriptor(channel->stream), events, hmci_poll_timeout(deadline));
  return HMC_SUCCESS;
}

hmc_status_t hmci_channel_flush_wait(hmci_channel_t *channel, uint64_t deadline) {
  hmc_status_t status;
  while ((status = hmci_channel_flush(channel)) == HMC_IN_PROGRESS) {
    status = wait_ready(channel, POLLOUT, deadline);
    if (status != HMC_SUCCESS) break;
  }
  return status;
}

hmc_status_t hmci_channel_receive_wait(hmci_channel_t *channel, uint64_t deadline, uint16_t *type,
                                       hmci_reader_t *reader) {
  hmc_status_t status;
  while ((status = hmci_channel_receive(channel, type, reader)) == HMC_IN_PROGRESS) {
    status = wait_ready(channel, POLLIN, deadline);
    if (status != HMC_SUCCESS) break;
  }
  return status;
}
