/* The parsers of bytes from outside, each by itself: they write nothing but what they say, and read nothing beyond. */
#include "fuzz.h"

#include "../../src/ctrl/frame.h"
#include "../../src/ctrl/inbox.h"
#include "../../src/ctrl/link_handshake.h"
#include "../../src/ctrl/records.h"
#include "../../src/ctrl/ticket.h"
#include "../../src/transport/stream/wire.h"

#include <sys/socket.h>
#include <unistd.h>

/* A copy of exactly that size, so that the sanitizer sees a byte too much. */
static uint8_t *copy_of(input_t *input, size_t size) {
  uint8_t *copy = calloc(1, size);
  size_t taken;
  MUST(copy);
  const uint8_t *bytes = take_some(input, size, &taken);
  if (taken) memcpy(copy, bytes, taken);
  return copy;
}

static void read_frame(input_t *input) {
  uint8_t *header = copy_of(input, HMCI_FRAME_HEADER);
  hmci_frame_header_t frame;
  if (hmci_frame_decode(header, 1000, &frame) == HMC_SUCCESS) {
    MUST(frame.size <= 1000);
    uint8_t *body = copy_of(input, frame.size ? frame.size : 1);
    hmci_link_hello_t hello;
    hmci_frame_check(&frame, body);
    hmci_frame_encode(header, HMCI_FRAME_HELLO, body, frame.size);
    MUST(hmci_frame_decode(header, 1000, &frame) == HMC_SUCCESS);
    if (hmci_link_hello_decode(&frame, body, &hello) == HMC_SUCCESS) MUST(strlen(hello.text) < HMCI_LINK_HELLO_TEXT);
    free(body);
  }
  free(header);
}

static void read_stream(input_t *input) {
  uint8_t *bytes = copy_of(input, HMCI_REQUEST_HEADER);
  hmci_request_header_t request;
  hmci_reply_header_t reply;
  hmci_reply_decode(bytes, &reply);
  if (hmci_request_decode(bytes, &request) == HMC_SUCCESS) {
    hmci_segment_t segments[HMCI_FRAME_ENTRIES];
    uint64_t total;
    uint8_t *table = copy_of(input, hmci_request_table(&request) + 1);
    if (hmci_request_decode_entries(&request, table, segments, &total) == HMC_SUCCESS) {
      MUST(total > 0);
      for (unsigned i = 0; request.flags & HMCI_FLAG_RUN && i < request.entries; i++)
        MUST(segments[i].length <= UINT64_MAX - segments[i].local && segments[i].local >= request.offset);
    }
    free(table);
  }
  free(bytes);
}

static void read_ticket(input_t *input) {
  uint8_t *hello = copy_of(input, HMCI_TICKET_HELLO), *verdict = copy_of(input, HMCI_TICKET_ANSWER);
  hmci_ticket_t ticket;
  hmci_ticket_read(hello, &ticket);
  hmci_ticket_judged(verdict);
  free(hello);
  free(verdict);
}

static void read_records(input_t *input, hmci_record_cipher_t cipher) {
  static const uint8_t secret[HMCI_RECORD_SECRET];
  hmci_records_t *records;
  int ends[2];
  uint8_t got[300];
  size_t taken;
  MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0);
  MUST(hmci_records_open(ends[0], secret, secret, cipher, &records) == HMC_SUCCESS);
  const uint8_t *bytes = take_some(input, SIZE_MAX, &taken);
  if (taken) MUST(send(ends[1], bytes, taken, 0) >= 0);
  shutdown(ends[1], SHUT_WR);
  while (hmci_records_receive(records, &(struct iovec){got, sizeof got}, 1) > 0) continue;
  hmci_records_close(records);
  close(ends[0]);
  close(ends[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input_t input = {data, size};
  switch (take(&input) % 5) {
  case 0: read_frame(&input); break;
  case 1: read_stream(&input); break;
  case 2: read_ticket(&input); break;
  case 3: read_records(&input, HMCI_RECORD_GCM); break;
  default: read_records(&input, HMCI_RECORD_OCB); break;
  }
  return 0;
}
