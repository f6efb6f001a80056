/* An authenticated peer's requests: the input is what comes on the stream. Requests are put together from it, so that
 * most are nearly right; some bytes come as they are. Afterwards nothing of the region may be in use. */
#include "fuzz.h"

#include "../../src/transport/stream/stream_fixture.h"
#include "../../src/transport/stream/wire.h"

#include <sys/epoll.h>

enum { SIZE = 8192 };

static size_t put_frame(input_t *input, uint8_t *to) {
  hmci_request_header_t header = {.type = 1 + take(input) % 4,
                                  .flags = take(input) % 32,
                                  .entries = 1 + take(input) % 4,
                                  .region = take(input) < 240,
                                  .generation = 1,
                                  .sequence = take(input),
                                  .offset = (uint64_t)take(input) * 33,
                                  .length = (uint64_t)take(input) * (take(input) % 2 ? 33 : 1)};
  if (header.type > HMCI_WIRE_GET) header.flags &= (uint8_t)~HMCI_FLAG_RUN;
  if (header.flags & HMCI_FLAG_RUN) { /* many small ones, near the end of the region, and strides that overflow */
    header.entries = 1 + take(input);
    header.length %= 256;
    header.stride = take(input);
    if (take(input) % 16 == 0) header.stride = (UINT64_MAX >> take(input) % 64) - header.stride;
  }
  if (header.type == HMCI_WIRE_ATOMIC) header.entries = 3;
  if (header.type == HMCI_WIRE_NOTIFY) header.entries = 1;
  hmci_request_encode(to, &header);
  size_t size = HMCI_REQUEST_HEADER;
  for (int i = 1; i < header.entries && hmci_request_table(&header); i++, size += HMCI_REQUEST_ENTRY)
    hmci_request_encode_entry(to + size, take(input) % 64 * (i == 1 && header.type == HMCI_WIRE_ATOMIC ? 1 : 128),
                              take(input));
  return size;
}

static void hear(stream_stand_t *stand) {
  uint8_t answers[65536];
  while (recv(stand->far, answers, sizeof answers, MSG_DONTWAIT) > 0) continue;
}

static void say(stream_stand_t *stand, hmci_responder_t *responder, const uint8_t *bytes, size_t size, bool listen) {
  while (size && !responder->failed) {
    ssize_t sent = send(stand->far, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) bytes += sent, size -= (size_t)sent;
    for (int i = 0; i < 4; i++) responder->watch.ready(&responder->watch, EPOLLIN);
    if (listen || sent <= 0) hear(stand);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input_t input = {data, size};
  stream_stand_t stand;
  hmci_responder_t responder;
  stand_open(&stand, SIZE);
  stand.region.owned = take(&input) % 2;
  hmci_loop_lock(stand.host.loop); /* this thread plays the loop's */
  MUST(hmci_responder_open(&responder, &stand.host, NULL, stand.pipe) == HMC_SUCCESS);
  while (input.size && !responder.failed) {
    uint8_t frame[HMCI_REQUEST_HEADER + 4 * HMCI_REQUEST_ENTRY], what = take(&input);
    size_t length;
    if (what % 8 == 7) hmci_responder_revoke(&responder, &stand.region);
    if (what % 8) say(&stand, &responder, frame, put_frame(&input, frame), what & 16);
    const uint8_t *bytes = take_some(&input, what % 8 ? take(&input) : 100, &length);
    say(&stand, &responder, bytes, length, what & 32);
  }
  hmci_responder_close(&responder);
  MUST(atomic_load(&stand.region.users) == 0);
  hmci_loop_unlock(stand.host.loop);
  stand_close(&stand);
  return 0;
}
