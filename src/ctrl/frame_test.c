#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "frame.h"

#include <cmocka.h>

static void test_header_bytes_are_as_documented(void **state) {
  (void)state;
  static const uint8_t expected[12] = {'H', 'M', 'C', '1', 1, 0, 0x34, 0x12, 9, 0, 0, 0};
  uint8_t header[HMCI_FRAME_HEADER];
  hmci_frame_encode(header, 0x1234, "123456789", 9);
  assert_memory_equal(header, expected, sizeof(expected));
  assert_int_equal(hmci_load32(header + 12), 0xe3069283); /* the check value of CRC-32C */
}

static void test_header_round_trip(void **state) {
  (void)state;
  uint8_t header[HMCI_FRAME_HEADER];
  hmci_frame_header_t decoded;
  hmci_frame_encode(header, 7, "abcd", 4);
  assert_int_equal(hmci_frame_decode(header, 4, &decoded), HMC_SUCCESS);
  assert_int_equal(decoded.version, HMCI_FRAME_VERSION);
  assert_int_equal(decoded.type, 7);
  assert_int_equal(decoded.size, 4);
  assert_int_equal(hmci_frame_check(&decoded, "abcd"), HMC_SUCCESS);

  hmci_frame_encode(header, 65535, NULL, 0);
  assert_int_equal(hmci_frame_decode(header, 0, &decoded), HMC_SUCCESS);
  assert_int_equal(decoded.type, 65535);
  assert_int_equal(hmci_frame_check(&decoded, NULL), HMC_SUCCESS);
}

static void test_decode_refuses_and_writes_nothing(void **state) {
  (void)state;
  uint8_t header[HMCI_FRAME_HEADER], broken[HMCI_FRAME_HEADER];
  hmci_frame_header_t decoded = {.type = 99, .size = 98, .crc = 97, .version = 96};
  hmci_frame_encode(header, 7, "abcd", 4);

  for (int i = 0; i < 4; i++) {
    memcpy(broken, header, sizeof(broken));
    broken[i] ^= 0x20;
    assert_int_equal(hmci_frame_decode(broken, 100, &decoded), HMC_CORRUPT);
  }
  memcpy(broken, header, sizeof(broken));
  broken[4] = 2;
  assert_int_equal(hmci_frame_decode(broken, 100, &decoded), HMC_UNSUPPORT);
  assert_non_null(strstr(hmc_last_error(), "version 2"));
  assert_non_null(strstr(hmc_last_error(), "version 1"));
  assert_int_equal(hmci_frame_decode(header, 3, &decoded), HMC_OUT_OF_RANGE);
  assert_non_null(strstr(hmc_last_error(), "4 B"));
  memset(broken + 8, 0xff, 4);
  broken[4] = 1;
  assert_int_equal(hmci_frame_decode(broken, 1u << 30, &decoded), HMC_OUT_OF_RANGE);
  assert_int_equal(decoded.type, 99);
  assert_int_equal(decoded.size, 98);
  assert_int_equal(decoded.crc, 97);
  assert_int_equal(decoded.version, 96);
}

static void test_check_sees_every_bit(void **state) {
  (void)state;
  uint8_t header[HMCI_FRAME_HEADER], body[16] = "control message";
  hmci_frame_header_t decoded;
  hmci_frame_encode(header, 1, body, sizeof(body));
  assert_int_equal(hmci_frame_decode(header, sizeof(body), &decoded), HMC_SUCCESS);
  for (size_t bit = 0; bit < 8 * sizeof(body); bit++) {
    body[bit / 8] ^= (uint8_t)(1u << bit % 8);
    assert_int_equal(hmci_frame_check(&decoded, body), HMC_CORRUPT);
    body[bit / 8] ^= (uint8_t)(1u << bit % 8);
  }
  assert_int_equal(hmci_frame_check(&decoded, body), HMC_SUCCESS);
}

static void test_fields_round_trip(void **state) {
  (void)state;
  uint8_t data[64], blob[3];
  char text[6];
  hmci_writer_t writer = {.data = data, .capacity = sizeof(data)};
  hmci_write_u8(&writer, 0xab);
  hmci_write_u16(&writer, 0x1234);
  hmci_write_u32(&writer, 0xdeadbeef);
  hmci_write_u64(&writer, UINT64_C(0x0123456789abcdef));
  hmci_write_blob(&writer, "\x00\x01\x02", 3);
  hmci_write_text(&writer, "hello");
  hmci_write_text(&writer, "");
  hmci_write_blob(&writer, NULL, 0);
  assert_false(writer.failed);
  assert_int_equal(writer.size, 1 + 2 + 4 + 8 + 5 + 7 + 2 + 2);
  assert_memory_equal(data, "\xab\x34\x12\xef\xbe\xad\xde", 7);

  hmci_reader_t reader = {.data = data, .size = writer.size};
  assert_int_equal(hmci_read_u8(&reader), 0xab);
  assert_int_equal(hmci_read_u16(&reader), 0x1234);
  assert_int_equal(hmci_read_u32(&reader), 0xdeadbeef);
  assert_true(hmci_read_u64(&reader) == UINT64_C(0x0123456789abcdef));
  assert_int_equal(hmci_read_blob(&reader, blob, sizeof(blob)), 3);
  assert_memory_equal(blob, "\x00\x01\x02", 3);
  hmci_read_text(&reader, text, sizeof(text));
  assert_string_equal(text, "hello");
  hmci_read_text(&reader, text, 1);
  assert_string_equal(text, "");
  assert_int_equal(hmci_read_blob(&reader, NULL, 0), 0);
  assert_false(reader.failed);
  assert_int_equal(reader.position, reader.size);
}

static void test_writer_out_of_room_stays_failed(void **state) {
  (void)state;
  uint8_t data[8];
  memset(data, 0x55, sizeof(data));
  hmci_writer_t writer = {.data = data, .capacity = 7};
  hmci_write_u64(&writer, 1);
  assert_true(writer.failed);
  hmci_write_u8(&writer, 1);
  assert_true(writer.failed);
  assert_int_equal(writer.size, 0);
  for (size_t i = 0; i < sizeof(data); i++) {
    assert_int_equal(data[i], 0x55);
  }

  writer = (hmci_writer_t){.data = data, .capacity = 7};
  hmci_write_blob(&writer, "abcdef", 6);
  assert_true(writer.failed);
  writer = (hmci_writer_t){.data = data, .capacity = 7};
  hmci_write_blob(&writer, "abcde", 5);
  assert_false(writer.failed);
  assert_int_equal(data[7], 0x55);

  char *long_text = test_malloc(UINT16_MAX + 2);
  memset(long_text, 'x', UINT16_MAX + 1);
  long_text[UINT16_MAX + 1] = '\0';
  uint8_t *room = test_malloc(2 * UINT16_MAX);
  writer = (hmci_writer_t){.data = room, .capacity = 2 * UINT16_MAX};
  hmci_write_text(&writer, long_text);
  assert_true(writer.failed);
  test_free(room);
  test_free(long_text);
}

static void test_reader_past_the_end_gives_zeros(void **state) {
  (void)state;
  uint8_t data[7] = {1, 1, 1, 1, 1, 1, 1};
  char text[16] = "before";
  hmci_reader_t reader = {.data = data, .size = sizeof(data)};
  assert_true(hmci_read_u64(&reader) == 0);
  assert_true(reader.failed);
  assert_int_equal(hmci_read_u8(&reader), 0);
  assert_int_equal(hmci_read_u16(&reader), 0);
  assert_int_equal(hmci_read_u32(&reader), 0);
  assert_int_equal(hmci_read_blob(&reader, text, sizeof(text)), 0);
  hmci_read_text(&reader, text, sizeof(text));
  assert_string_equal(text, "");
  assert_true(reader.failed);

  reader = (hmci_reader_t){.data = data, .size = 1}; /* half of a blob's size */
  assert_int_equal(hmci_read_blob(&reader, text, sizeof(text)), 0);
  assert_true(reader.failed);
}

static void test_reader_refuses_what_does_not_fit(void **state) {
  (void)state;
  uint8_t five[] = {5, 0, 'a', 'b', 'c', 'd', 'e'};
  char text[6];
  hmci_reader_t reader = {.data = five, .size = sizeof(five)};
  assert_int_equal(hmci_read_blob(&reader, text, 4), 0);
  assert_true(reader.failed);
  reader = (hmci_reader_t){.data = five, .size = sizeof(five)};
  hmci_read_text(&reader, text, 5); /* no room for the end */
  assert_true(reader.failed);
  assert_string_equal(text, "");
  reader = (hmci_reader_t){.data = five, .size = sizeof(five)};
  hmci_read_text(&reader, text, 6);
  assert_false(reader.failed);
  assert_string_equal(text, "abcde");
  reader = (hmci_reader_t){.data = five, .size = sizeof(five) - 1}; /* the last byte is missing */
  hmci_read_text(&reader, text, 6);
  assert_true(reader.failed);
  reader = (hmci_reader_t){.data = five, .size = sizeof(five)};
  hmci_read_text(&reader, text, 0);
  assert_true(reader.failed);

  five[4] = '\0';
  reader = (hmci_reader_t){.data = five, .size = sizeof(five)};
  hmci_read_text(&reader, text, 6);
  assert_true(reader.failed);
  assert_string_equal(text, "");
}

/* Every header and body of random bytes is looked at without reading past it (the sanitizers watch the exact
 * allocations). */
static void test_random_bytes_do_no_harm(void **state) {
  (void)state;
  srand(1);
  for (int round = 0; round < 2000; round++) {
    size_t size = (size_t)(rand() % 40);
    uint8_t *data = malloc(size > 0 ? size : 1);
    assert_non_null(data);
    for (size_t i = 0; i < size; i++) {
      data[i] = (uint8_t)(rand() % 5);
    }
    hmci_frame_header_t decoded;
    if (size >= HMCI_FRAME_HEADER) {
      memcpy(data, round % 2 ? "HMC1\x01" : "HMC1\x02", 5);
      (void)hmci_frame_decode(data, 1000, &decoded);
    }
    hmci_reader_t reader = {.data = data, .size = size};
    char text[8];
    while (!reader.failed) {
      (void)hmci_read_u8(&reader);
      hmci_read_text(&reader, text, sizeof(text));
      (void)hmci_read_blob(&reader, text, sizeof(text));
      assert_true(reader.position <= size);
    }
    free(data);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_header_bytes_are_as_documented),
      cmocka_unit_test(test_header_round_trip),
      cmocka_unit_test(test_decode_refuses_and_writes_nothing),
      cmocka_unit_test(test_check_sees_every_bit),
      cmocka_unit_test(test_fields_round_trip),
      cmocka_unit_test(test_writer_out_of_room_stays_failed),
      cmocka_unit_test(test_reader_past_the_end_gives_zeros),
      cmocka_unit_test(test_reader_refuses_what_does_not_fit),
      cmocka_unit_test(test_random_bytes_do_no_harm),
  };
  return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
