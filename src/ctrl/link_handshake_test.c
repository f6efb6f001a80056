#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inbox.h"
#include "link_handshake.h"

#include <cmocka.h>

static hmci_link_hello_t example(void) {
  return (hmci_link_hello_t){.kind = HMCI_LINK_HELLO_WELCOME,
                             .rank = 0xfffffffe,
                             .peer_rank = 7,
                             .incarnation = UINT64_C(0x1122334455667788),
                             .serial = UINT64_MAX,
                             .text = "a reason"};
}

static hmc_status_t decode(const uint8_t *frame, size_t size, hmci_link_hello_t *hello) {
  hmci_frame_header_t header = {0};
  hmc_status_t status = hmci_frame_decode(frame, HMCI_HELLO_BODY, &header);
  if (status == HMC_SUCCESS && header.size != size - HMCI_FRAME_HEADER) {
    return HMC_ERROR;
  }
  return status != HMC_SUCCESS ? status : hmci_link_hello_decode(&header, frame + HMCI_FRAME_HEADER, hello);
}

static void test_round_trip(void **state) {
  (void)state;
  uint8_t frame[HMCI_HELLO_FRAME];
  hmci_link_hello_t hello = example(), decoded = {0};
  size_t size = hmci_link_hello_encode(&hello, frame);
  assert_int_equal(size, HMCI_FRAME_HEADER + 27 + 8);
  assert_int_equal(decode(frame, size, &decoded), HMC_SUCCESS);
  assert_int_equal(decoded.kind, hello.kind);
  assert_int_equal(decoded.rank, hello.rank);
  assert_int_equal(decoded.peer_rank, hello.peer_rank);
  assert_true(decoded.incarnation == hello.incarnation);
  assert_true(decoded.serial == hello.serial);
  assert_string_equal(decoded.text, hello.text);

  memset(hello.text, 'x', sizeof(hello.text) - 1); /* the longest */
  hello.text[sizeof(hello.text) - 1] = '\0';
  size = hmci_link_hello_encode(&hello, frame);
  assert_true(size <= sizeof(frame));
  assert_int_equal(decode(frame, size, &decoded), HMC_SUCCESS);
  assert_string_equal(decoded.text, hello.text);
}

static void test_bytes_are_fixed(void **state) {
  (void)state;
  static const uint8_t expected[] = {2,    0xfe, 0xff, 0xff, 0xff, 7,    0,    0,    0,    0x88, 0x77, 0x66, 0x55, 0x44,
                                     0x33, 0x22, 0x11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 8,    0,    'a'};
  uint8_t frame[HMCI_HELLO_FRAME];
  hmci_link_hello_t hello = example();
  hmci_link_hello_encode(&hello, frame);
  assert_int_equal(hmci_load16(frame + 6), HMCI_FRAME_HELLO);
  assert_memory_equal(frame + HMCI_FRAME_HEADER, expected, sizeof(expected));
}

static void refuse(uint16_t frame_type, uint8_t *body, uint32_t size, bool right_sum) {
  uint8_t frame[HMCI_HELLO_FRAME];
  hmci_link_hello_t decoded = {.rank = 4711};
  hmci_frame_encode(frame, frame_type, body, size);
  memcpy(frame + HMCI_FRAME_HEADER, body, size);
  frame[12] ^= right_sum ? 0 : 1;
  assert_int_equal(decode(frame, HMCI_FRAME_HEADER + size, &decoded), HMC_CORRUPT);
  assert_int_equal(decoded.rank, 4711);
}

static void test_what_is_refused(void **state) {
  (void)state;
  uint8_t frame[HMCI_HELLO_FRAME], *body = frame + HMCI_FRAME_HEADER;
  hmci_link_hello_t hello = example();
  uint32_t size = (uint32_t)(hmci_link_hello_encode(&hello, frame) - HMCI_FRAME_HEADER);
  refuse(HMCI_FRAME_DATA, body, size, true);
  refuse(HMCI_FRAME_HELLO, body, size, false);
  refuse(HMCI_FRAME_HELLO, body, size - 1, true);
  refuse(HMCI_FRAME_HELLO, body, 0, true);
  body[0] = 0;
  refuse(HMCI_FRAME_HELLO, body, size, true);
  body[0] = 5;
  refuse(HMCI_FRAME_HELLO, body, size, true);
  body[0] = 1;
  body[28] = '\0'; /* inside the text */
  refuse(HMCI_FRAME_HELLO, body, size, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip),
      cmocka_unit_test(test_bytes_are_fixed),
      cmocka_unit_test(test_what_is_refused),
  };
  return cmocka_run_group_tests_name("hello", tests, NULL, NULL);
}
