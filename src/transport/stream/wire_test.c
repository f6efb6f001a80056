#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static const hmci_request_header_t full_request = {
    .type = HMCI_WIRE_PUT,
    .flags = HMCI_FLAG_LAST | HMCI_FLAG_CHECKSUM,
    .entries = 2,
    .crc = 0x01020304,
    .region = 5,
    .generation = 0xfffffffe,
    .sequence = UINT64_C(0x1122334455667788),
    .offset = UINT64_C(0x99aabbccddeeff00),
    .length = 4096,
    .lease = UINT64_C(0x0123456789abcd),
};

static hmc_status_t decode_request(hmci_request_header_t header) {
  uint8_t bytes[HMCI_REQUEST_HEADER];
  hmci_request_encode(bytes, &header);
  return hmci_request_decode(bytes, &header);
}

static void test_requests_come_back(void **state) {
  (void)state;
  uint8_t bytes[HMCI_REQUEST_HEADER];
  memset(bytes, 0xff, sizeof bytes);
  hmci_request_encode(bytes, &full_request);
  const uint8_t start[] = {1, 5, 2, 0, 4, 3, 2, 1, 5, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff, 0x88, 0x77};
  assert_memory_equal(bytes, start, sizeof start);
  hmci_request_header_t back;
  assert_int_equal(hmci_request_decode(bytes, &back), HMC_SUCCESS);
  assert_int_equal(back.type, full_request.type);
  assert_int_equal(back.flags, full_request.flags);
  assert_int_equal(back.entries, full_request.entries);
  assert_int_equal(back.crc, full_request.crc);
  assert_int_equal(back.region, full_request.region);
  assert_int_equal(back.generation, full_request.generation);
  assert_true(back.sequence == full_request.sequence && back.offset == full_request.offset);
  assert_int_equal(back.length, full_request.length);
  assert_true(back.lease == full_request.lease);
  for (unsigned at = 48; at < HMCI_REQUEST_HEADER; at++) {
    bytes[at] = 1;
    assert_int_equal(hmci_request_decode(bytes, &back), HMC_CORRUPT);
    bytes[at] = 0;
  }
}

static void test_requests_that_are_none(void **state) {
  (void)state;
  hmci_request_header_t header = full_request;
  for (unsigned type = 0; type < 256; type++) {
    header.type = (uint8_t)type;
    header.entries = type == HMCI_WIRE_ATOMIC ? 3 : 1;
    header.lease = type == HMCI_WIRE_NOTIFY ? 0 : 1;
    assert_int_equal(decode_request(header) == HMC_SUCCESS, type >= HMCI_WIRE_PUT && type <= HMCI_WIRE_NOTIFY);
  }
  const struct {
    uint8_t type, flags;
    uint16_t entries;
    uint32_t crc;
  } wrong[] = {
      {HMCI_WIRE_PUT, 32, 1, 0},
      {HMCI_WIRE_PUT, 0, 1, 7}, /* a CRC without its flag */
      {HMCI_WIRE_PUT, 0, 0, 0},
      {HMCI_WIRE_GET, 0, HMCI_FRAME_ENTRIES + 1, 0},
      {HMCI_WIRE_ATOMIC, 0, 2, 0},
      {HMCI_WIRE_ATOMIC, 0, 4, 0},
      {HMCI_WIRE_NOTIFY, 0, 2, 0},
      {HMCI_WIRE_ATOMIC, HMCI_FLAG_RUN, 3, 0},
      {HMCI_WIRE_NOTIFY, HMCI_FLAG_RUN, 1, 0},
      {HMCI_WIRE_GET, HMCI_FLAG_RUN, HMCI_FRAME_ENTRIES + 1, 0},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    header = (hmci_request_header_t){
        .type = wrong[i].type, .flags = wrong[i].flags, .entries = wrong[i].entries, .crc = wrong[i].crc, .length = 8};
    assert_int_equal(decode_request(header), HMC_CORRUPT);
  }
}

/* The entries of a request of that type, whose first one is `first`, further ones `second` and, for an atomic,
 * `third`. */
static hmc_status_t decode_entries(uint8_t type, hmci_segment_t first, hmci_segment_t second, hmci_segment_t third,
                                   uint64_t *total) {
  uint8_t table[2 * HMCI_REQUEST_ENTRY];
  hmci_segment_t segments[3];
  hmci_request_header_t header = {
      .type = type, .entries = type == HMCI_WIRE_ATOMIC ? 3 : 2, .offset = first.local, .length = first.length};
  hmci_request_encode_entry(table, second.local, second.length);
  hmci_request_encode_entry(table + HMCI_REQUEST_ENTRY, third.local, third.length);
  hmc_status_t status = hmci_request_decode_entries(&header, table, segments, total);
  if (status == HMC_SUCCESS) {
    assert_int_equal(segments[0].local, first.local);
    assert_int_equal(segments[1].local, second.local);
    assert_int_equal(segments[1].length, second.length);
  }
  return status;
}

#define PAIR(a, b) ((hmci_segment_t){.local = (a), .length = (b)})

static void test_entries_are_summed(void **state) {
  (void)state;
  uint64_t total = 0;
  assert_int_equal(decode_entries(HMCI_WIRE_PUT, PAIR(0, 100), PAIR(5000, 28), PAIR(0, 0), &total), HMC_SUCCESS);
  assert_int_equal(total, 128);
  assert_int_equal(decode_entries(HMCI_WIRE_GET, PAIR(0, UINT64_MAX), PAIR(0, 1), PAIR(0, 0), &total), HMC_CORRUPT);
  assert_int_equal(decode_entries(HMCI_WIRE_GET, PAIR(0, 0), PAIR(9, 0), PAIR(0, 0), &total), HMC_CORRUPT);
  assert_int_equal(decode_entries(HMCI_WIRE_PUT, PAIR(0, HMCI_FRAME_PAYLOAD), PAIR(0, 0), PAIR(0, 0), &total),
                   HMC_SUCCESS);
  assert_int_equal(decode_entries(HMCI_WIRE_PUT, PAIR(0, HMCI_FRAME_PAYLOAD), PAIR(0, 1), PAIR(0, 0), &total),
                   HMC_CORRUPT);
}

/* The entries of a run. */
static hmc_status_t decode_run(uint8_t type, uint16_t entries, hmci_segment_t first, uint64_t stride,
                               hmci_segment_t *segments, uint64_t *total) {
  uint8_t bytes[HMCI_REQUEST_HEADER];
  hmci_request_header_t header = {.type = type,
                                  .flags = HMCI_FLAG_RUN,
                                  .entries = entries,
                                  .offset = first.local,
                                  .length = first.length,
                                  .stride = stride};
  hmci_request_encode(bytes, &header);
  hmc_status_t status = hmci_request_decode(bytes, &header);
  assert_int_equal(hmci_request_table(&header), 0);
  return status == HMC_SUCCESS ? hmci_request_decode_entries(&header, NULL, segments, total) : status;
}

static void test_runs_are_written_out(void **state) {
  (void)state;
  static const uint16_t counts[] = {1, 2, 255, HMCI_FRAME_ENTRIES};
  static const uint64_t strides[] = {0, 1, 3, 4, 4096, UINT64_C(1) << 40};
  hmci_segment_t segments[HMCI_FRAME_ENTRIES];
  uint64_t total;
  for (size_t c = 0; c < sizeof counts / sizeof *counts; c++) {
    for (size_t s = 0; s < sizeof strides / sizeof *strides; s++) {
      assert_int_equal(decode_run(HMCI_WIRE_PUT, counts[c], PAIR(77, 3), strides[s], segments, &total), HMC_SUCCESS);
      assert_int_equal(total, 3 * counts[c]);
      for (uint64_t i = 0; i < counts[c]; i++)
        assert_true(segments[i].local == 77 + i * strides[s] && segments[i].length == 3);
    }
  }
}

/* No offset of a run, no end and no sum may overflow, not by one. */
static void test_runs_that_are_none(void **state) {
  (void)state;
  enum { PUT = HMCI_WIRE_PUT, GET = HMCI_WIRE_GET };
  const uint64_t most = UINT64_MAX, half = UINT64_C(1) << 63;
  hmci_segment_t segments[HMCI_FRAME_ENTRIES];
  uint64_t total;
  assert_int_equal(decode_run(PUT, 2, PAIR(0, 1), most - 1, segments, &total), HMC_SUCCESS);
  assert_int_equal(decode_run(PUT, 2, PAIR(0, 1), most, segments, &total), HMC_CORRUPT);
  assert_int_equal(decode_run(PUT, 2, PAIR(1, 1), most - 1, segments, &total), HMC_CORRUPT);
  assert_int_equal(decode_run(PUT, 2, PAIR(5, 1), most - 1, segments, &total), HMC_CORRUPT); /* comes round to 3 */
  assert_int_equal(decode_run(PUT, 3, PAIR(0, 1), half, segments, &total), HMC_CORRUPT);
  assert_int_equal(decode_run(GET, 256, PAIR(0, 1), most / 255 + 1, segments, &total), HMC_CORRUPT);
  assert_int_equal(decode_run(GET, 2, PAIR(0, half), 1, segments, &total), HMC_CORRUPT); /* the sum */
  assert_int_equal(decode_run(GET, 3, PAIR(0, half + 1), 1, segments, &total), HMC_CORRUPT);
  assert_int_equal(decode_run(GET, 2, PAIR(0, half - 1), 1, segments, &total), HMC_SUCCESS);
  assert_int_equal(decode_run(GET, 9, PAIR(0, 0), 1, segments, &total), HMC_CORRUPT);
  assert_int_equal(decode_run(PUT, 256, PAIR(0, HMCI_FRAME_PAYLOAD / 256), 1, segments, &total), HMC_SUCCESS);
  assert_int_equal(decode_run(PUT, 256, PAIR(0, HMCI_FRAME_PAYLOAD / 256 + 1), 1, segments, &total), HMC_CORRUPT);
}

static void test_atomics_are_checked(void **state) {
  (void)state;
  uint64_t total;
  const hmci_segment_t add = PAIR(HMC_ATOMIC_ADD, 3), old = PAIR(0, 1);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(16, 8), add, old, &total), HMC_SUCCESS);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(12, 4), add, old, &total), HMC_SUCCESS);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(12, 8), add, old, &total), HMC_CORRUPT); /* not aligned */
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(18, 2), add, old, &total), HMC_SUCCESS);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(17, 1), add, old, &total), HMC_SUCCESS);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(17, 2), add, old, &total), HMC_CORRUPT);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(18, 3), add, old, &total), HMC_CORRUPT);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(16, 8), PAIR(0, 3), old, &total), HMC_CORRUPT);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(16, 8), PAIR(HMC_ATOMIC_COMPARE_SWAP + 1, 3), old, &total),
                   HMC_CORRUPT);
  assert_int_equal(decode_entries(HMCI_WIRE_ATOMIC, PAIR(16, 8), add, PAIR(0, 2), &total), HMC_CORRUPT);
}

static hmc_status_t decode_reply(hmci_reply_header_t header) {
  uint8_t bytes[HMCI_REPLY_HEADER];
  hmci_reply_header_t back;
  hmci_reply_encode(bytes, &header);
  hmc_status_t status = hmci_reply_decode(bytes, &back);
  assert_true(back.type == header.type && back.flags == header.flags && back.status == header.status &&
              back.crc == header.crc && back.sequence == header.sequence && back.length == header.length);
  return status;
}

static void test_replies(void **state) {
  (void)state;
  const struct {
    hmci_reply_header_t reply;
    hmc_status_t status;
  } cases[] = {
      {{HMCI_WIRE_ACK, 0, HMC_SUCCESS, 0, 7, 0}, HMC_SUCCESS},
      {{HMCI_WIRE_ACK, 0, HMC_STALE, 0, 7, 0}, HMC_CORRUPT},
      {{HMCI_WIRE_ACK, 0, HMC_SUCCESS, 0, 7, 1}, HMC_CORRUPT},
      {{HMCI_WIRE_NAK, 0, HMC_STALE, 0, 7, 0}, HMC_SUCCESS},
      {{HMCI_WIRE_NAK, 0, HMC_SUCCESS, 0, 7, 0}, HMC_CORRUPT},
      {{HMCI_WIRE_NAK, 0, HMC_IN_PROGRESS, 0, 7, 0}, HMC_CORRUPT},
      {{HMCI_WIRE_NAK, 0, 999, 0, 7, 0}, HMC_SUCCESS}, /* of a newer peer */
      {{HMCI_WIRE_DATA, HMCI_FLAG_LAST, HMC_SUCCESS, 0, 7, HMCI_FRAME_PAYLOAD}, HMC_SUCCESS},
      {{HMCI_WIRE_DATA, HMCI_FLAG_CHECKSUM, HMC_SUCCESS, 9, 7, 1}, HMC_SUCCESS},
      {{HMCI_WIRE_DATA, 0, HMC_SUCCESS, 9, 7, 1}, HMC_CORRUPT},
      {{HMCI_WIRE_DATA, HMCI_FLAG_CHAINED, HMC_SUCCESS, 0, 7, 1}, HMC_CORRUPT},
      {{HMCI_WIRE_DATA, 0, HMC_SUCCESS, 0, 7, HMCI_FRAME_PAYLOAD + 1}, HMC_CORRUPT},
      {{HMCI_WIRE_RESULT, 0, HMC_SUCCESS, 0, 7, UINT64_MAX}, HMC_SUCCESS},
      {{HMCI_WIRE_RESULT, HMCI_FLAG_LAST, HMC_SUCCESS, 0, 7, 0}, HMC_CORRUPT},
      {{0, 0, HMC_SUCCESS, 0, 7, 0}, HMC_CORRUPT},
      {{HMCI_WIRE_PUT, 0, HMC_SUCCESS, 0, 7, 0}, HMC_CORRUPT},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_int_equal(decode_reply(cases[i].reply), cases[i].status);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_requests_come_back),
      cmocka_unit_test(test_requests_that_are_none),
      cmocka_unit_test(test_entries_are_summed),
      cmocka_unit_test(test_runs_are_written_out),
      cmocka_unit_test(test_runs_that_are_none),
      cmocka_unit_test(test_atomics_are_checked),
      cmocka_unit_test(test_replies),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
