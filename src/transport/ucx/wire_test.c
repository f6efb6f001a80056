/* Tests of what HMC sends through UCX. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "wire.h"

#include <string.h>

static const hmci_ucx_message_t sample = {.type = HMCI_UCX_DATA,
                                          .pipe = 0x01020304,
                                          .token = 0x1112131415161718,
                                          .position = 0x2122232425262728,
                                          .taken = 0x31};

static void a_message_has_its_layout(void **state) {
  (void)state;
  static const uint8_t expected[HMCI_UCX_HEADER] = {1,    0,    0,    0,    0x04, 0x03, 0x02, 0x01, 0x18, 0x17, 0x16,
                                                    0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24, 0x23,
                                                    0x22, 0x21, 0x31, 0,    0,    0,    0,    0,    0,    0};
  uint8_t bytes[HMCI_UCX_HEADER];
  memset(bytes, 0xff, sizeof bytes);
  hmci_ucx_message_encode(bytes, &sample);
  assert_memory_equal(bytes, expected, sizeof bytes);
}

static void a_message_comes_back(void **state) {
  (void)state;
  for (int type = HMCI_UCX_DATA; type <= HMCI_UCX_REVOKED; type++) {
    uint8_t bytes[HMCI_UCX_HEADER + 3] = {0};
    hmci_ucx_message_t message = sample, back;
    size_t size = type == HMCI_UCX_DATA ? 3 : 0;
    message.type = (hmci_ucx_type_t)type;
    hmci_ucx_message_encode(bytes, &message);
    assert_int_equal(hmci_ucx_message_decode(bytes, HMCI_UCX_HEADER + size, &back), HMC_SUCCESS);
    assert_int_equal(back.type, type);
    assert_int_equal(back.pipe, message.pipe);
    assert_true(back.token == message.token && back.position == message.position && back.taken == message.taken);
    assert_int_equal(back.size, size);
    assert_ptr_equal(back.bytes, bytes + HMCI_UCX_HEADER);
  }
}

static void expect_refused(const uint8_t *bytes, size_t size) {
  hmci_ucx_message_t untouched = {.pipe = 77};
  assert_int_equal(hmci_ucx_message_decode(bytes, size, &untouched), HMC_CORRUPT);
  assert_int_equal(untouched.pipe, 77);
}

static void malformed_messages_are_refused(void **state) {
  (void)state;
  uint8_t bytes[HMCI_UCX_HEADER + 8] = {0};
  hmci_ucx_message_encode(bytes, &sample);
  for (size_t size = 0; size < HMCI_UCX_HEADER; size++) expect_refused(bytes, size);
  expect_refused(bytes, HMCI_UCX_HEADER); /* DATA without bytes */
  bytes[0] = HMCI_UCX_CREDIT;
  expect_refused(bytes, HMCI_UCX_HEADER + 1); /* bytes that do not belong */
  bytes[0] = 0;
  expect_refused(bytes, HMCI_UCX_HEADER);
  bytes[0] = HMCI_UCX_REVOKED + 1;
  expect_refused(bytes, HMCI_UCX_HEADER);
  bytes[0] = HMCI_UCX_HELLO;
  for (int i = 1; i < 4; i++) {
    bytes[i] = 1;
    expect_refused(bytes, HMCI_UCX_HEADER);
    bytes[i] = 0;
  }
  bytes[0] = HMCI_UCX_DATA;
  hmci_store64(bytes + 16, UINT64_MAX - 7); /* the position after its 8 bytes overflows */
  expect_refused(bytes, HMCI_UCX_HEADER + 8);
}

/* ---- lanes ------------------------------------------------------------------------------------------------------- */

static const hmci_ucx_lane_address_t address = {
    .major = 1,
    .minor = 13,
    .name = "rc_verbs",
    .device_size = 3,
    .endpoint_size = 2,
    .device = {1, 2, 3},
    .endpoint = {4, 5},
};

static void addresses_of_a_lane_come_back(void **state) {
  (void)state;
  static const uint8_t expected[] = {1, 13, 8, 3, 2, 0, 0, 0, 'r', 'c', '_', 'v', 'e', 'r', 'b', 's', 1, 2, 3, 4, 5};
  uint8_t bytes[HMCI_UCX_LANE_MOST];
  hmci_ucx_lane_address_t back;
  assert_int_equal(hmci_ucx_lane_address_encode(bytes, &address), sizeof expected);
  assert_memory_equal(bytes, expected, sizeof expected);
  assert_int_equal(hmci_ucx_lane_address_decode(bytes, sizeof expected, &back), HMC_SUCCESS);
  assert_memory_equal(&back, &address, sizeof back);
}

static void the_longest_addresses_fit(void **state) {
  (void)state;
  uint8_t bytes[HMCI_UCX_LANE_MOST];
  hmci_ucx_lane_address_t most = {.device_size = HMCI_UCX_LANE_ADDRESS, .endpoint_size = HMCI_UCX_LANE_ADDRESS}, back;
  memset(most.name, 'n', HMCI_UCX_LANE_NAME - 1);
  size_t size = hmci_ucx_lane_address_encode(bytes, &most);
  assert_true(size <= HMCI_UCX_LANE_MOST);
  assert_int_equal(hmci_ucx_lane_address_decode(bytes, size, &back), HMC_SUCCESS);
  assert_memory_equal(&back, &most, sizeof back);
}

static void malformed_addresses_are_refused(void **state) {
  (void)state;
  uint8_t bytes[HMCI_UCX_LANE_MOST + 1] = {0};
  hmci_ucx_lane_address_t untouched = {.major = 77};
  size_t size = hmci_ucx_lane_address_encode(bytes, &address);
  for (size_t cut = 0; cut < size; cut++)
    assert_int_equal(hmci_ucx_lane_address_decode(bytes, cut, &untouched), HMC_CORRUPT);
  assert_int_equal(hmci_ucx_lane_address_decode(bytes, size + 1, &untouched), HMC_CORRUPT);
  for (int i = 2; i < 8; i++) { /* each size too large by so much, and the zeros */
    uint8_t before = bytes[i];
    bytes[i] = 255;
    assert_int_equal(hmci_ucx_lane_address_decode(bytes, size, &untouched), HMC_CORRUPT);
    assert_int_equal(hmci_ucx_lane_address_decode(bytes, sizeof bytes, &untouched), HMC_CORRUPT);
    bytes[i] = before;
  }
  assert_int_equal(untouched.major, 77);
}

/* ---- connections ------------------------------------------------------------------------------------------------- */

static void connection_data_come_back(void **state) {
  (void)state;
  hmci_blob_t blob = {0};
  hmci_ucx_end_t request = {7, 0x0102030405060708}, serve = {9, 0xf1f2f3f4f5f6f7f8}, request_back, serve_back;
  hmci_ucx_connection_encode(&blob, request, serve);
  assert_int_equal(blob.size, HMCI_UCX_CONNECTION);
  assert_int_equal(hmci_ucx_connection_decode(&blob, &request_back, &serve_back), HMC_SUCCESS);
  assert_true(request_back.pipe == 7 && request_back.token == request.token);
  assert_true(serve_back.pipe == 9 && serve_back.token == serve.token);
}

static void malformed_connection_data_are_refused(void **state) {
  (void)state;
  hmci_blob_t blob = {0};
  hmci_ucx_end_t request = {77, 77}, serve = {77, 77};
  hmci_ucx_connection_encode(&blob, (hmci_ucx_end_t){1, 2}, (hmci_ucx_end_t){3, 4});
  hmci_blob_t cut = blob, other = blob, stained = blob;
  for (cut.size = 1; cut.size < HMCI_UCX_CONNECTION; cut.size++) {
    assert_int_equal(hmci_ucx_connection_decode(&cut, &request, &serve), HMC_CORRUPT);
  }
  cut.size = HMCI_UCX_CONNECTION + 1;
  assert_int_equal(hmci_ucx_connection_decode(&cut, &request, &serve), HMC_CORRUPT);
  cut.size = 0;
  assert_int_equal(hmci_ucx_connection_decode(&cut, &request, &serve), HMC_UNSUPPORT);
  other.data[0]++;
  assert_int_equal(hmci_ucx_connection_decode(&other, &request, &serve), HMC_UNSUPPORT);
  stained.data[5] = 1;
  assert_int_equal(hmci_ucx_connection_decode(&stained, &request, &serve), HMC_CORRUPT);
  assert_true(request.pipe == 77 && serve.pipe == 77);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_message_has_its_layout),       cmocka_unit_test(a_message_comes_back),
      cmocka_unit_test(malformed_messages_are_refused), cmocka_unit_test(addresses_of_a_lane_come_back),
      cmocka_unit_test(the_longest_addresses_fit),      cmocka_unit_test(malformed_addresses_are_refused),
      cmocka_unit_test(connection_data_come_back),      cmocka_unit_test(malformed_connection_data_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
