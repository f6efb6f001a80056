#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "inbox.h"

#include <hmc/control.h>

#include <cmocka.h>

/* A stream being made: frames one after the other. */
typedef struct stream {
  uint8_t *data;
  size_t size;
} stream_t;

static uint8_t byte_at(uint16_t type, size_t index) { return (uint8_t)(type * 31 + index * 7 + (index >> 8)); }

static void add_frame(stream_t *stream, uint16_t frame_type, const void *body, size_t size) {
  stream->data = realloc(stream->data, stream->size + HMCI_FRAME_HEADER + size);
  assert_non_null(stream->data);
  hmci_frame_encode(stream->data + stream->size, frame_type, body, (uint32_t)size);
  if (size > 0) {
    memcpy(stream->data + stream->size + HMCI_FRAME_HEADER, body, size);
  }
  stream->size += HMCI_FRAME_HEADER + size;
}

/* `part` bytes from `offset` on of a message of `size` B. */
static void add_part(stream_t *stream, uint16_t type, size_t offset, size_t part, size_t size) {
  uint8_t *body = malloc(HMCI_DATA_PREFIX + part);
  assert_non_null(body);
  hmci_store16(body, type);
  hmci_store32(body + 2, (uint32_t)size);
  for (size_t i = 0; i < part; i++) {
    body[HMCI_DATA_PREFIX + i] = byte_at(type, offset + i);
  }
  add_frame(stream, HMCI_FRAME_DATA, body, HMCI_DATA_PREFIX + part);
  free(body);
}

static void add_message(stream_t *stream, uint16_t type, size_t size) {
  size_t offset = 0;
  do {
    size_t part = size - offset < HMCI_DATA_PART ? size - offset : HMCI_DATA_PART;
    add_part(stream, type, offset, part, size);
    offset += part;
  } while (offset < size);
}

static void assert_next(hmci_inbox_t *inbox, uint16_t type, size_t size) {
  const hmci_message_t *message = hmci_inbox_first(inbox);
  assert_non_null(message);
  assert_int_equal(message->type, type);
  assert_int_equal(message->size, size);
  for (size_t i = 0; i < size; i++) {
    if (message->data[i] != byte_at(type, i)) {
      fail_msg("byte %zu of %zu differs", i, size);
    }
  }
  hmci_inbox_remove_first(inbox);
}

static hmc_status_t feed_once(hmci_inbox_t *inbox, stream_t *stream) {
  hmci_inbox_init(inbox);
  hmc_status_t status = hmci_inbox_feed(inbox, stream->data, stream->size);
  free(stream->data);
  *stream = (stream_t){0};
  return status;
}

static void test_messages_however_they_are_cut(void **state) {
  (void)state;
  static const size_t steps[] = {1, 2, 3, 15, 16, 17, 21, 22, 23, 1000, 65536, SIZE_MAX};
  stream_t stream = {0};
  add_message(&stream, 1, 4);
  add_message(&stream, 2, 0);
  add_message(&stream, 65535, HMCI_DATA_PART);
  add_message(&stream, 3, HMCI_DATA_PART + 1);
  add_message(&stream, 4, 1);
  for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
    hmci_inbox_t inbox;
    hmci_inbox_init(&inbox);
    for (size_t at = 0; at < stream.size; at += steps[i] < stream.size ? steps[i] : stream.size) {
      size_t piece = stream.size - at < steps[i] ? stream.size - at : steps[i];
      uint8_t *copy = malloc(piece); /* so that reading past it is seen */
      memcpy(copy, stream.data + at, piece);
      assert_int_equal(hmci_inbox_feed(&inbox, copy, piece), HMC_SUCCESS);
      free(copy);
    }
    assert_next(&inbox, 1, 4);
    assert_next(&inbox, 2, 0);
    assert_next(&inbox, 65535, HMCI_DATA_PART);
    assert_next(&inbox, 3, HMCI_DATA_PART + 1);
    assert_next(&inbox, 4, 1);
    assert_null(hmci_inbox_first(&inbox));
    assert_int_equal(inbox.bytes, 0);
  }
  free(stream.data);
}

static void test_contents_can_be_read_to_their_place(void **state) {
  (void)state;
  stream_t stream = {0};
  hmci_inbox_t inbox;
  size_t at = 0, room = 0, placed = 0;
  add_message(&stream, 7, 3 * HMCI_DATA_PART);
  hmci_inbox_init(&inbox);
  assert_null(hmci_inbox_place(&inbox, &room));
  while (at < stream.size) {
    uint8_t *place = hmci_inbox_place(&inbox, &room);
    size_t piece = 1;
    if (place != NULL) {
      assert_true(room > 0);
      piece = room < 10000 ? room : 10000;
      memcpy(place, stream.data + at, piece);
      placed += piece;
    }
    assert_int_equal(hmci_inbox_feed(&inbox, place != NULL ? place : stream.data + at, piece), HMC_SUCCESS);
    at += piece;
  }
  assert_int_equal(placed, 3 * HMCI_DATA_PART);
  assert_next(&inbox, 7, 3 * HMCI_DATA_PART);
  free(stream.data);
}

static void test_a_message_that_was_given_up(void **state) {
  (void)state;
  stream_t stream = {0};
  hmci_inbox_t inbox;
  add_message(&stream, 1, 5);
  add_part(&stream, 2, 0, 100, 300);
  add_part(&stream, 2, 100, 100, 300);
  add_frame(&stream, HMCI_FRAME_DROP, NULL, 0);
  add_message(&stream, 3, 6);
  add_frame(&stream, HMCI_FRAME_DROP, NULL, 0); /* of nothing */
  add_message(&stream, 4, 7);
  assert_int_equal(feed_once(&inbox, &stream), HMC_SUCCESS);
  assert_next(&inbox, 1, 5);
  assert_next(&inbox, 3, 6);
  assert_next(&inbox, 4, 7);
  assert_null(hmci_inbox_first(&inbox));
}

static void refuse(stream_t *stream, hmc_status_t expected, const char *text) {
  hmci_inbox_t inbox;
  assert_int_equal(feed_once(&inbox, stream), expected);
  if (strstr(hmc_last_error(), text) == NULL) {
    fail_msg("\"%s\" does not say \"%s\"", hmc_last_error(), text);
  }
  hmci_inbox_clear(&inbox);
}

static void test_what_is_refused(void **state) {
  (void)state;
  stream_t stream = {0};
  add_frame(&stream, HMCI_FRAME_HELLO, "hello", 5);
  refuse(&stream, HMC_CORRUPT, "no place among messages");
  add_frame(&stream, HMCI_FRAME_DATA, "short", 5);
  refuse(&stream, HMC_CORRUPT, "no place among messages");
  add_frame(&stream, HMCI_FRAME_DROP, "x", 1);
  refuse(&stream, HMC_CORRUPT, "no place among messages");
  add_part(&stream, 1, 0, 0, 10); /* would go on for ever */
  refuse(&stream, HMC_CORRUPT, "does not belong");
  add_part(&stream, 1, 0, 11, 10);
  refuse(&stream, HMC_CORRUPT, "does not belong");
  add_part(&stream, 1, 0, 5, 10);
  add_part(&stream, 2, 5, 5, 10);
  refuse(&stream, HMC_CORRUPT, "does not belong");
  add_part(&stream, 1, 0, 5, 10);
  add_part(&stream, 1, 5, 5, 11);
  refuse(&stream, HMC_CORRUPT, "does not belong");
  add_part(&stream, 1, 0, 5, HMC_CONTROL_MESSAGE_MAX + 1);
  refuse(&stream, HMC_OUT_OF_RANGE, "16777217");
  add_part(&stream, 1, 0, HMCI_DATA_PART + 1, HMCI_DATA_PART + 1);
  refuse(&stream, HMC_OUT_OF_RANGE, "body");
  add_message(&stream, 1, 100);
  stream.data[4] = 9;
  refuse(&stream, HMC_UNSUPPORT, "version 9");
  for (size_t i = HMCI_FRAME_HEADER + HMCI_DATA_PREFIX; i < HMCI_FRAME_HEADER + HMCI_DATA_PREFIX + 100; i += 33) {
    add_message(&stream, 1, 100);
    stream.data[i] ^= 1;
    refuse(&stream, HMC_CORRUPT, "CRC");
  }
}

/* What was whole before the error is still there. */
static void test_messages_before_an_error_stay(void **state) {
  (void)state;
  stream_t stream = {0};
  hmci_inbox_t inbox;
  add_message(&stream, 1, 9);
  add_frame(&stream, 99, NULL, 0);
  assert_int_equal(feed_once(&inbox, &stream), HMC_CORRUPT);
  assert_next(&inbox, 1, 9);
  hmci_inbox_clear(&inbox);
}

static void test_inherit_and_clear(void **state) {
  (void)state;
  stream_t stream = {0};
  hmci_inbox_t old, new;
  add_message(&stream, 1, 10);
  add_message(&stream, 2, 20);
  add_part(&stream, 3, 0, 5, 10); /* stays behind */
  assert_int_equal(feed_once(&old, &stream), HMC_SUCCESS);
  add_message(&stream, 4, 40);
  assert_int_equal(feed_once(&new, &stream), HMC_SUCCESS);
  size_t bytes = old.bytes + new.bytes;
  hmci_inbox_inherit(&new, &old);
  assert_null(hmci_inbox_first(&old));
  assert_int_equal(old.bytes, 0);
  assert_int_equal(new.bytes, bytes);
  hmci_inbox_clear(&old);
  assert_next(&new, 1, 10);
  assert_next(&new, 2, 20);
  assert_next(&new, 4, 40);

  add_message(&stream, 1, 10);
  add_message(&stream, 2, 20);
  assert_int_equal(feed_once(&old, &stream), HMC_SUCCESS);
  hmci_inbox_clear(&old);
  assert_null(hmci_inbox_first(&old));
  assert_int_equal(old.bytes, 0);
}

/* Streams with a few bytes changed are taken or refused, but never read past their end (the sanitizers look). */
static void test_changed_bytes_do_no_harm(void **state) {
  (void)state;
  stream_t stream = {0};
  add_message(&stream, 1, 40);
  add_part(&stream, 2, 0, 10, 30);
  add_frame(&stream, HMCI_FRAME_DROP, NULL, 0);
  add_message(&stream, 3, 0);
  srand(7);
  for (int round = 0; round < 3000; round++) {
    hmci_inbox_t inbox;
    size_t size = stream.size - (size_t)(rand() % 20);
    uint8_t *copy = malloc(size);
    memcpy(copy, stream.data, size);
    for (int i = rand() % 4; i > 0; i--) {
      copy[(size_t)rand() % size] = (uint8_t)rand();
    }
    hmci_inbox_init(&inbox);
    size_t cut = (size_t)rand() % size;
    if (hmci_inbox_feed(&inbox, copy, cut) == HMC_SUCCESS) {
      (void)hmci_inbox_feed(&inbox, copy + cut, size - cut);
    }
    hmci_inbox_clear(&inbox);
    free(copy);
  }
  free(stream.data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_messages_however_they_are_cut), cmocka_unit_test(test_contents_can_be_read_to_their_place),
      cmocka_unit_test(test_a_message_that_was_given_up),   cmocka_unit_test(test_what_is_refused),
      cmocka_unit_test(test_messages_before_an_error_stay), cmocka_unit_test(test_inherit_and_clear),
      cmocka_unit_test(test_changed_bytes_do_no_harm),
  };
  return cmocka_run_group_tests_name("inbox", tests, NULL, NULL);
}
