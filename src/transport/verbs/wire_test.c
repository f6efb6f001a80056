#include "wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* ---- notes ------------------------------------------------------------------------------------------------------- */

static const verbs_note_t full_note = {
    .type = VERBS_CONNECT,
    .epoch = 0x01020304,
    .number = 5,
    .region = 6,
    .generation = 0xfffffffe,
    .queue_pair = 0xabcdef,
    .packet = 0xffffff,
    .flush_key = 0x80000001,
    .rights = 3,
    .flush_address = UINT64_C(0x1122334455667788),
    .lid = 0xbeef,
    .mtu = 5,
    .reads = 16,
    .from = 1,
    .to = 19,
    .gid = {0xfe, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8},
    .text = "some text",
};

static void test_note_comes_back(void **state) {
  (void)state;
  uint8_t bytes[VERBS_NOTE];
  verbs_note_t back;
  memset(bytes, 0xee, sizeof bytes);
  hmci_verbs_note_encode(bytes, &full_note);
  assert_int_equal(hmci_verbs_note_decode(bytes, &back), HMC_SUCCESS);
  assert_memory_equal(&back, &full_note, sizeof back);
  assert_int_equal(bytes[0], VERBS_CONNECT); /* little-endian, whatever the host is */
  assert_int_equal(bytes[4], 4);
  assert_int_equal(bytes[40], 0x88);
}

static void test_long_text_is_cut(void **state) {
  (void)state;
  uint8_t bytes[VERBS_NOTE];
  verbs_note_t note = {.type = VERBS_REFUSED}, back;
  memset(note.text, 'x', sizeof note.text);
  hmci_verbs_note_encode(bytes, &note);
  assert_int_equal(hmci_verbs_note_decode(bytes, &back), HMC_SUCCESS);
  assert_int_equal(strlen(back.text), VERBS_NOTE_TEXT - 1);
}

/* One byte of a sound note changed. */
static hmc_status_t decode_spoilt(const verbs_note_t *note, size_t place, uint8_t value) {
  uint8_t bytes[VERBS_NOTE];
  verbs_note_t back;
  hmci_verbs_note_encode(bytes, note);
  bytes[place] = value;
  return hmci_verbs_note_decode(bytes, &back);
}

static void test_malformed_notes_are_refused(void **state) {
  (void)state;
  const verbs_note_t verdict = {.type = VERBS_VERDICT, .status = HMC_STALE};
  assert_int_equal(decode_spoilt(&full_note, 0, VERBS_CONNECT), HMC_SUCCESS);
  assert_int_equal(decode_spoilt(&full_note, 0, 0), HMC_CORRUPT);
  assert_int_equal(decode_spoilt(&full_note, 0, VERBS_KEY + 1), HMC_CORRUPT);
  assert_int_equal(decode_spoilt(&full_note, 1, 1), HMC_CORRUPT);  /* a type over 255 */
  assert_int_equal(decode_spoilt(&full_note, 27, 1), HMC_CORRUPT); /* a queue pair over 24 bits */
  assert_int_equal(decode_spoilt(&full_note, 31, 1), HMC_CORRUPT); /* a packet number over 24 bits */
  assert_int_equal(decode_spoilt(&full_note, 50, 0), HMC_CORRUPT); /* no MTU */
  assert_int_equal(decode_spoilt(&full_note, 50, 6), HMC_CORRUPT);
  assert_int_equal(decode_spoilt(&full_note, 54, 3), HMC_SUCCESS); /* another rail */
  assert_int_equal(decode_spoilt(&full_note, 55, 1), HMC_CORRUPT);
  assert_int_equal(decode_spoilt(&full_note, VERBS_NOTE - 1, 'x'), HMC_CORRUPT);
  assert_int_equal(decode_spoilt(&verdict, 12, HMC_STALE), HMC_SUCCESS);
  assert_int_equal(decode_spoilt(&verdict, 12, HMC_IN_PROGRESS), HMC_CORRUPT);
  assert_int_equal(decode_spoilt(&verdict, 12, 200), HMC_SUCCESS); /* of a newer peer */
}

/* ---- messages ---------------------------------------------------------------------------------------------------- */

static const struct {
  verbs_message_t message;
  size_t payload;
} sound[] = {
    {{.type = VERBS_PUT, .number = 7, .region = 8, .generation = 9, .offset = UINT64_C(1) << 40, .length = 1}, 1},
    {{.type = VERBS_PUT, .chained = true, .checksum = true, .length = VERBS_STAGE, .value = 0xdeadbeef}, VERBS_STAGE},
    {{.type = VERBS_GET, .checksum = true, .offset = 3, .length = VERBS_STAGE}, 0},
    {{.type = VERBS_PUT, .length = 1, .lease = (UINT64_C(1) << 56) - 1}, 1},
    {{.type = VERBS_GET, .length = 1, .lease = 5}, 0},
    {{.type = VERBS_ATOMIC,
      .operation = HMC_ATOMIC_COMPARE_SWAP,
      .chained = true,
      .offset = 16,
      .length = 8,
      .value = 1,
      .compare = UINT64_MAX,
      .lease = (UINT64_C(1) << 56) - 1},
     0},
    {{.type = VERBS_ATOMIC, .operation = HMC_ATOMIC_ADD, .offset = 12, .length = 4}, 0},
    {{.type = VERBS_NOTIFY, .length = VERBS_STAGE}, VERBS_STAGE},
    {{.type = VERBS_DONE, .number = UINT32_MAX, .value = 77}, 0},
    {{.type = VERBS_DONE, .status = HMC_STALE}, 0},
    {{.type = VERBS_DATA, .checksum = true, .length = 5, .value = 1}, 5},
};

static uint8_t packet[VERBS_HEADER + VERBS_STAGE + 1];

static hmc_status_t pass(const verbs_message_t *message, size_t payload, verbs_message_t *back) {
  hmci_verbs_message_encode(packet, message);
  return hmci_verbs_message_decode(packet, VERBS_HEADER + payload, back);
}

static void test_messages_come_back(void **state) {
  (void)state;
  verbs_message_t back;
  for (size_t i = 0; i < sizeof sound / sizeof *sound; i++) {
    assert_int_equal(pass(&sound[i].message, sound[i].payload, &back), HMC_SUCCESS);
    assert_int_equal(back.type, sound[i].message.type);
    assert_int_equal(back.operation, sound[i].message.operation);
    assert_int_equal(back.chained, sound[i].message.chained);
    assert_int_equal(back.checksum, sound[i].message.checksum);
    assert_int_equal(back.status, sound[i].message.status);
    assert_int_equal(back.number, sound[i].message.number);
    assert_int_equal(back.region, sound[i].message.region);
    assert_int_equal(back.generation, sound[i].message.generation);
    assert_true(back.offset == sound[i].message.offset && back.length == sound[i].message.length);
    assert_true(back.value == sound[i].message.value && back.compare == sound[i].message.compare);
    assert_true(back.lease == sound[i].message.lease);
  }
}

static void test_payload_must_match(void **state) {
  (void)state;
  verbs_message_t back;
  for (size_t i = 0; i < sizeof sound / sizeof *sound; i++) {
    assert_int_equal(pass(&sound[i].message, sound[i].payload + 1, &back), HMC_CORRUPT);
    if (sound[i].payload) assert_int_equal(pass(&sound[i].message, sound[i].payload - 1, &back), HMC_CORRUPT);
  }
  for (size_t size = 0; size < VERBS_HEADER; size++)
    assert_int_equal(hmci_verbs_message_decode(packet, size, &back), HMC_CORRUPT);
}

static void test_malformed_messages_are_refused(void **state) {
  (void)state;
  static const verbs_message_t bad[] = {
      {.type = 0},
      {.type = VERBS_NOTIFY + 1},
      {.type = VERBS_DATA + 1},
      {.type = VERBS_GET, .length = 0},
      {.type = VERBS_GET, .length = VERBS_STAGE + 1},
      {.type = VERBS_GET, .length = 1, .status = 1},
      {.type = VERBS_GET, .length = 1, .operation = HMC_ATOMIC_ADD},
      {.type = VERBS_DONE, .status = HMC_IN_PROGRESS},
      {.type = VERBS_DONE, .chained = true},
      {.type = VERBS_DONE, .checksum = true},
      {.type = VERBS_DONE, .length = 1},
      {.type = VERBS_ATOMIC, .operation = 0, .length = 8},
      {.type = VERBS_ATOMIC, .operation = HMC_ATOMIC_COMPARE_SWAP + 1, .length = 8},
      {.type = VERBS_ATOMIC, .operation = HMC_ATOMIC_ADD, .length = 3},
      {.type = VERBS_ATOMIC, .operation = HMC_ATOMIC_ADD, .length = 8, .offset = 4},
      {.type = VERBS_ATOMIC, .operation = HMC_ATOMIC_ADD, .length = 8, .checksum = true},
  };
  verbs_message_t back;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_int_equal(pass(&bad[i], 0, &back), HMC_CORRUPT);
  verbs_message_t large = {.type = VERBS_NOTIFY, .length = VERBS_STAGE + 1};
  assert_int_equal(pass(&large, VERBS_STAGE + 1, &back), HMC_CORRUPT);
  large = (verbs_message_t){.type = VERBS_PUT, .length = VERBS_STAGE + 1};
  assert_int_equal(pass(&large, VERBS_STAGE + 1, &back), HMC_CORRUPT);
}

/* ---- offers ------------------------------------------------------------------------------------------------------ */

static void test_offers_come_back(void **state) {
  (void)state;
  verbs_gid_t gids[VERBS_OFFERS + 1], back[VERBS_OFFERS];
  hmci_blob_t offer;
  uint32_t count;
  uint8_t rails;
  memset(gids, 0, sizeof gids);
  for (uint32_t i = 0; i < VERBS_OFFERS + 1; i++) {
    gids[i] = (verbs_gid_t){.place = (uint8_t)i,
                            .device = (uint8_t)(i / 3),
                            .layer = 2,
                            .type = 1,
                            .mtu = (uint8_t)(1 + i % 5),
                            .lid = (uint16_t)(i * 1000)};
    memset(gids[i].raw, (int)i, sizeof gids[i].raw);
  }
  for (uint32_t n = 0; n <= VERBS_OFFERS + 1; n++) {
    hmci_verbs_offer_encode(&offer, gids, n, 3);
    assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_SUCCESS);
    assert_int_equal(count, n > VERBS_OFFERS ? VERBS_OFFERS : n); /* more than fit are left out */
    assert_int_equal(rails, 3);
    for (uint32_t i = 0; i < count; i++) {
      assert_int_equal(back[i].place, gids[i].place);
      assert_int_equal(back[i].device, gids[i].device);
      assert_int_equal(back[i].layer, gids[i].layer);
      assert_int_equal(back[i].type, gids[i].type);
      assert_int_equal(back[i].mtu, gids[i].mtu);
      assert_int_equal(back[i].lid, gids[i].lid);
      assert_memory_equal(back[i].raw, gids[i].raw, 16);
    }
  }
}

static void test_malformed_offers_are_refused(void **state) {
  (void)state;
  verbs_gid_t gid = {.mtu = 5}, back[VERBS_OFFERS];
  hmci_blob_t offer;
  uint32_t count;
  uint8_t rails;
  hmci_verbs_offer_encode(&offer, &gid, 1, 1);
  offer.size--;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_CORRUPT);
  offer.size += 2;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_CORRUPT);
  offer.size--;
  offer.data[1] = 2;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_CORRUPT);
  offer.data[1] = 255;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_CORRUPT);
  offer.data[1] = 1;
  offer.data[8] = 6; /* the MTU */
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_CORRUPT);
  offer.data[8] = 5;
  offer.data[2] = 0; /* not a single rail */
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_CORRUPT);
  offer.data[2] = 1;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_SUCCESS);
  offer.data[0] = VERBS_VERSION + 1;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_UNSUPPORT);
  offer.size = 0;
  assert_int_equal(hmci_verbs_offer_decode(&offer, back, &count, &rails), HMC_UNSUPPORT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_note_comes_back),
      cmocka_unit_test(test_long_text_is_cut),
      cmocka_unit_test(test_malformed_notes_are_refused),
      cmocka_unit_test(test_messages_come_back),
      cmocka_unit_test(test_payload_must_match),
      cmocka_unit_test(test_malformed_messages_are_refused),
      cmocka_unit_test(test_offers_come_back),
      cmocka_unit_test(test_malformed_offers_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
