/* Tests of the codec of the store's messages: what is written is read, and what is not a message is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "store_wire.h"

#include <cmocka.h>

static uint8_t frame[256];

static size_t write_frame(void) {
  const hmci_store_message_t message = {.type = HMCI_STORE_SET,
                                        .status = 3,
                                        .flags = 2,
                                        .index = 7,
                                        .sequence = 11,
                                        .floor = 9,
                                        .lease = 13,
                                        .number = -5,
                                        .key = "key",
                                        .key_size = 3,
                                        .value = "value",
                                        .value_size = 5};
  hmci_store_encode_head(&message, frame);
  memcpy(frame + hmci_store_head_size(&message), "value", 5);
  return hmci_store_head_size(&message) + 5;
}

static void what_is_written_is_read(void **state) {
  (void)state;
  hmci_frame_header_t header;
  hmci_store_message_t read;
  size_t size = write_frame();
  assert_int_equal(hmci_frame_decode(frame, HMCI_STORE_REQUEST_MAX, &header), HMC_SUCCESS);
  assert_int_equal(header.size + HMCI_FRAME_HEADER, size);
  assert_int_equal(hmci_frame_check(&header, frame + HMCI_FRAME_HEADER), HMC_SUCCESS);
  assert_int_equal(hmci_store_decode(&header, frame + HMCI_FRAME_HEADER, &read), HMC_SUCCESS);
  assert_int_equal(read.type, HMCI_STORE_SET);
  assert_int_equal(read.status, 3);
  assert_int_equal(read.flags, 2);
  assert_int_equal(read.index, 7);
  assert_int_equal(read.sequence, 11);
  assert_int_equal(read.floor, 9);
  assert_int_equal(read.lease, 13);
  assert_int_equal(read.number, -5);
  assert_memory_equal(read.key, "key", 3);
  assert_memory_equal(read.value, "value", 5);
}

/* Each cut, and each byte of the sizes changed, is refused or agrees with the sizes; nothing is read past the end. */
static void lengths_that_do_not_agree_are_refused(void **state) {
  (void)state;
  hmci_frame_header_t header;
  hmci_store_message_t read;
  size_t size = write_frame() - HMCI_FRAME_HEADER;
  for (uint32_t cut = 0; cut < size; cut++) {
    uint8_t *body = malloc(cut + 1); /* so that a sanitizer sees a read past the end */
    memcpy(body, frame + HMCI_FRAME_HEADER, cut);
    header = (hmci_frame_header_t){.type = HMCI_STORE_SET, .size = cut};
    assert_int_equal(hmci_store_decode(&header, body, &read), HMC_CORRUPT);
    free(body);
  }
  for (size_t at = 36; at < 42; at++) {
    uint8_t body[sizeof(frame)];
    memcpy(body, frame + HMCI_FRAME_HEADER, size);
    body[at] ^= 0x81;
    header = (hmci_frame_header_t){.type = HMCI_STORE_SET, .size = (uint32_t)size};
    assert_int_equal(hmci_store_decode(&header, body, &read), HMC_CORRUPT);
  }
}

static void a_key_with_a_nul_is_refused(void **state) {
  (void)state;
  hmci_store_message_t read;
  size_t size = write_frame() - HMCI_FRAME_HEADER;
  hmci_frame_header_t header = {.type = HMCI_STORE_SET, .size = (uint32_t)size};
  frame[HMCI_FRAME_HEADER + HMCI_STORE_FIXED + 1] = '\0';
  assert_int_equal(hmci_store_decode(&header, frame + HMCI_FRAME_HEADER, &read), HMC_CORRUPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_is_written_is_read),
      cmocka_unit_test(lengths_that_do_not_agree_are_refused),
      cmocka_unit_test(a_key_with_a_nul_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
