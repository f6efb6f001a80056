/* Streams of store messages (see store_stream.h).
 *
 * Invariant: the first chunk's `done` bytes are through; a chunk that has begun to go out may grow, but keeps its
 * bytes where they are, as hmci_secure_write wants it. */
#include "store_stream.h"

#include <stdlib.h>
#include <string.h>

enum { IN_FIRST = 4096, CHUNK = 4096 };

typedef struct chunk {
  hmci_list_t member;
  hmci_store_shared_t *shared; /* then the bytes are there */
  size_t size, capacity, done;
  uint8_t data[];
} chunk_t;

hmci_store_shared_t *hmci_store_shared_create(uint32_t size) {
  hmci_store_shared_t *shared = calloc(1, sizeof(*shared) + size);
  if (shared != NULL) {
    shared->references = 1;
    shared->size = size;
  }
  return shared;
}

hmci_store_shared_t *hmci_store_shared_acquire(hmci_store_shared_t *shared) {
  shared->references++;
  return shared;
}

void hmci_store_shared_release(hmci_store_shared_t *shared) {
  if (shared != NULL && --shared->references == 0) {
    free(shared);
  }
}

void hmci_store_stream_init(hmci_store_stream_t *stream, hmci_secure_t *secure, uint32_t limit) {
  *stream = (hmci_store_stream_t){.secure = secure, .limit = limit};
  hmci_list_init(&stream->out);
}

static void free_chunk(hmci_store_stream_t *stream, chunk_t *chunk) {
  stream->out_bytes -= chunk->size;
  hmci_list_remove(&chunk->member);
  hmci_store_shared_release(chunk->shared);
  free(chunk);
}

void hmci_store_stream_close(hmci_store_stream_t *stream) {
  while (!hmci_list_is_empty(&stream->out)) {
    free_chunk(stream, HMCI_CONTAINER(stream->out.next, chunk_t, member));
  }
  hmci_secure_close(stream->secure);
  stream->secure = NULL;
  free(stream->in);
  stream->in = NULL;
  stream->in_begin = stream->in_end = stream->in_capacity = 0;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* Makes room for a frame of `size` bytes that begins at in_begin. */
static hmc_status_t make_room(hmci_store_stream_t *stream, size_t size) {
  if (stream->in_begin > 0) {
    memmove(stream->in, stream->in + stream->in_begin, stream->in_end - stream->in_begin);
    stream->in_end -= stream->in_begin;
    stream->in_begin = 0;
  }
  if (size > stream->in_capacity) {
    uint8_t *in = realloc(stream->in, size);
    if (in == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for a message of %zu B", size);
    }
    stream->in = in;
    stream->in_capacity = size;
  }
  return HMC_SUCCESS;
}

/* An empty buffer that once held a large message gives its memory back. */
static void shrink(hmci_store_stream_t *stream) {
  if (stream->in_begin == stream->in_end) {
    stream->in_begin = stream->in_end = 0;
    if (stream->in_capacity > IN_FIRST) {
      free(stream->in);
      stream->in = NULL;
      stream->in_capacity = 0;
    }
  }
}

hmc_status_t hmci_store_stream_receive(hmci_store_stream_t *stream, hmci_store_message_t *message, short *events) {
  hmci_frame_header_t header;
  shrink(stream);
  for (;;) {
    size_t filled = stream->in_end - stream->in_begin, needed = HMCI_FRAME_HEADER;
    if (filled >= needed) {
      hmc_status_t status = hmci_frame_decode(stream->in + stream->in_begin, stream->limit, &header);
      if (status != HMC_SUCCESS) {
        return status;
      }
      needed += header.size;
    }
    if (filled >= needed && filled >= HMCI_FRAME_HEADER) {
      const uint8_t *body = stream->in + stream->in_begin + HMCI_FRAME_HEADER;
      hmc_status_t status = hmci_frame_check(&header, body);
      stream->in_begin += needed;
      return status == HMC_SUCCESS ? hmci_store_decode(&header, body, message) : status;
    }
    hmc_status_t status = make_room(stream, needed > IN_FIRST ? needed : IN_FIRST);
    size_t done = 0;
    if (status == HMC_SUCCESS) {
      status = hmci_secure_read(stream->secure, stream->in + stream->in_end, stream->in_capacity - stream->in_end,
                                &done, events);
    }
    if (status != HMC_SUCCESS) {
      return status;
    }
    stream->in_end += done;
    stream->in_bytes += done;
  }
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* A new chunk at the end; `shared` (may be NULL) is counted. */
static chunk_t *add_chunk(hmci_store_stream_t *stream, size_t capacity, hmci_store_shared_t *shared) {
  chunk_t *chunk = malloc(sizeof(*chunk) + capacity);
  if (chunk != NULL) {
    *chunk = (chunk_t){.capacity = capacity};
    if (shared != NULL) {
      chunk->shared = hmci_store_shared_acquire(shared);
      chunk->size = shared->size;
      stream->out_bytes += shared->size;
    }
    hmci_list_append(&stream->out, &chunk->member);
  }
  return chunk;
}

/* Room for `size` bytes at the end, in one piece; the chunk whose size then grows goes to `chunk`. */
static uint8_t *reserve(hmci_store_stream_t *stream, size_t size, chunk_t **chunk) {
  if (!hmci_list_is_empty(&stream->out)) {
    *chunk = HMCI_CONTAINER(stream->out.previous, chunk_t, member);
    if ((*chunk)->shared == NULL && (*chunk)->capacity - (*chunk)->size >= size) {
      return (*chunk)->data + (*chunk)->size;
    }
  }
  *chunk = add_chunk(stream, size > CHUNK ? size : CHUNK, NULL);
  return *chunk != NULL ? (*chunk)->data : NULL;
}

static hmc_status_t fail_send(size_t size) {
  return hmci_fail(HMC_NO_MEMORY, "no memory for a message of %zu B to send", size);
}

hmc_status_t hmci_store_stream_send_frame(hmci_store_stream_t *stream, const void *frame, size_t size) {
  chunk_t *chunk;
  uint8_t *place = reserve(stream, size, &chunk);
  if (place == NULL) {
    return fail_send(size);
  }
  memcpy(place, frame, size);
  chunk->size += size;
  stream->out_bytes += size;
  return HMC_SUCCESS;
}

hmc_status_t hmci_store_stream_send(hmci_store_stream_t *stream, const hmci_store_message_t *message,
                                    hmci_store_shared_t *shared) {
  hmci_store_message_t whole = *message;
  chunk_t *chunk, *tail = NULL;
  if (shared != NULL) {
    whole.value = shared->data;
    whole.value_size = shared->size;
  }
  size_t head = hmci_store_head_size(&whole), size = head + (shared != NULL ? 0 : whole.value_size);
  uint8_t *place = reserve(stream, size, &chunk);
  if (place != NULL && shared != NULL && shared->size > 0) {
    tail = add_chunk(stream, 0, shared);
  }
  if (place == NULL || (shared != NULL && shared->size > 0 && tail == NULL)) {
    return fail_send(size);
  }
  hmci_store_encode_head(&whole, place);
  if (shared == NULL && whole.value_size > 0) {
    memcpy(place + head, whole.value, whole.value_size);
  }
  chunk->size += size;
  stream->out_bytes += size;
  return HMC_SUCCESS;
}

hmc_status_t hmci_store_stream_flush(hmci_store_stream_t *stream, short *events) {
  while (!hmci_list_is_empty(&stream->out)) {
    chunk_t *chunk = HMCI_CONTAINER(stream->out.next, chunk_t, member);
    const uint8_t *data = chunk->shared != NULL ? chunk->shared->data : chunk->data;
    while (chunk->done < chunk->size) {
      size_t done = 0;
      hmc_status_t status =
          hmci_secure_write(stream->secure, data + chunk->done, chunk->size - chunk->done, &done, events);
      if (status != HMC_SUCCESS) {
        return status;
      }
      chunk->done += done;
    }
    free_chunk(stream, chunk);
  }
  return HMC_SUCCESS;
}
