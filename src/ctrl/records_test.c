/* Sealed records: all sizes and ways to cut them, and whatever was changed, cut off, or said again on the way. */
#include "records.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static const uint8_t there[HMCI_RECORD_SECRET] = {1, 2, 3}, back[HMCI_RECORD_SECRET] = {4, 5, 6};

typedef struct pair {
  int sockets[2];
  hmci_records_t *one, *two;
} pair_t;

static hmci_record_cipher_t cipher; /* of the pairs that are opened */

static void pair_open(pair_t *pair) {
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair->sockets), 0);
  assert_int_equal(hmci_records_open(pair->sockets[0], there, back, cipher, &pair->one), HMC_SUCCESS);
  assert_int_equal(hmci_records_open(pair->sockets[1], back, there, cipher, &pair->two), HMC_SUCCESS);
}

static void pair_close(pair_t *pair) {
  hmci_records_close(pair->one);
  hmci_records_close(pair->two);
  close(pair->sockets[0]);
  close(pair->sockets[1]);
}

static uint8_t value_at(size_t at) { return (uint8_t)(at * 31 + at / 977); }

/* Parts of odd sizes over a range of bytes; returns how many. */
static int cut(uint8_t *data, size_t size, size_t step, struct iovec *parts, int room) {
  int count = 0;
  for (size_t at = 0; at < size && count < room; count++) {
    size_t length = size - at < step ? size - at : step;
    parts[count] = (struct iovec){data + at, length};
    at += length;
  }
  return count;
}

/* Sends `size` bytes in one direction, cut one way, and receives them cut in another. */
static void move(hmci_records_t *from, hmci_records_t *to, size_t size, size_t out_step, size_t in_step) {
  uint8_t *data = malloc(size), *got = malloc(size);
  struct iovec parts[64];
  size_t sent = 0, received = 0;
  for (size_t i = 0; i < size; i++) data[i] = value_at(i);
  while (received < size) {
    if (sent < size) {
      ssize_t done = hmci_records_send(from, parts, cut(data + sent, size - sent, out_step, parts, 64), sent % 2);
      assert_true(done > 0 || (done < 0 && errno == EAGAIN));
      if (done > 0) sent += (size_t)done;
    } else {
      assert_true(hmci_records_flush(from) == 0 || errno == EAGAIN);
    }
    ssize_t done = hmci_records_receive(to, parts, cut(got + received, size - received, in_step, parts, 64));
    assert_true(done > 0 || (done < 0 && errno == EAGAIN));
    if (done > 0) received += (size_t)done;
  }
  assert_memory_equal(data, got, size);
  assert_false(hmci_records_pending(to));
  free(data);
  free(got);
}

static void test_all_sizes(void **state) {
  (void)state;
  const size_t sizes[] = {1, 17, 500, 16383, 16384, 16385, 65536, 65537, 1 << 20, (8 << 20) + 3};
  const size_t steps[] = {1000, 16384, 77777, 8 << 20};
  pair_t pair;
  pair_open(&pair);
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (size_t k = 0; k < 4; k++) {
      move(pair.one, pair.two, sizes[i], steps[k], steps[3 - k]);
      move(pair.two, pair.one, sizes[i], steps[k], steps[k]);
    }
  }
  pair_close(&pair);
}

/* What is there before a hole is sealed; the hole is EFAULT, and the stream goes on behind it. */
static void test_holes(void **state) {
  (void)state;
  enum { BEFORE = 3 * 16384, AFTER = 5000, SIZE = 1 << 20 };
  pair_t pair;
  pair_open(&pair);
  uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), head[7] = "header";
  assert_true(memory != MAP_FAILED);
  memset(memory, 5, SIZE);
  assert_int_equal(mprotect(memory + BEFORE, SIZE / 2, PROT_NONE), 0);
  struct iovec whole = {memory, SIZE};
  ssize_t taken = hmci_records_send(pair.one, &whole, 1, true);
  assert_int_equal(taken, BEFORE);
  struct iovec rest[] = {{head, sizeof head}, {memory + BEFORE, SIZE - BEFORE}};
  assert_int_equal(hmci_records_send(pair.one, rest, 2, true), -1);
  assert_int_equal(errno, EFAULT);
  struct iovec sound[] = {{head, sizeof head}, {memory + SIZE - AFTER, AFTER}};
  assert_int_equal(hmci_records_send(pair.one, sound, 2, true), sizeof head + AFTER);
  assert_int_equal(hmci_records_flush(pair.one), 0);
  uint8_t *got = malloc(SIZE);
  size_t received = 0, expected = BEFORE + sizeof head + AFTER;
  while (received < expected) {
    ssize_t some = hmci_records_receive(pair.two, &(struct iovec){got + received, SIZE - received}, 1);
    assert_true(some > 0);
    received += (size_t)some;
  }
  assert_int_equal(received, expected);
  for (size_t i = 0; i < expected; i++) {
    size_t at = i - BEFORE;
    assert_int_equal(got[i], i >= BEFORE && at < sizeof head ? head[at] : 5);
  }
  free(got);
  munmap(memory, SIZE);
  pair_close(&pair);
}

static void test_ends(void **state) {
  (void)state;
  pair_t pair;
  char byte = 1;
  pair_open(&pair);
  assert_int_equal(hmci_records_receive(pair.two, &(struct iovec){&byte, 1}, 1), -1);
  assert_int_equal(errno, EAGAIN);
  shutdown(pair.sockets[0], SHUT_WR);
  assert_int_equal(hmci_records_receive(pair.two, &(struct iovec){&byte, 1}, 1), 0);
  pair_close(&pair);
}

/* What one record of four bytes looks like on the way. */
static size_t capture(pair_t *pair, uint8_t *wire, size_t room) {
  char text[] = "abc";
  assert_int_equal(hmci_records_send(pair->one, &(struct iovec){text, sizeof text}, 1, false), sizeof text);
  ssize_t got = recv(pair->sockets[1], wire, room, 0);
  assert_true(got > 0);
  return (size_t)got;
}

static void expect_broken(pair_t *pair) {
  char text[4] = "";
  for (int i = 0; i < 2; i++) {
    assert_int_equal(hmci_records_receive(pair->two, &(struct iovec){text, sizeof text}, 1), -1);
    assert_int_equal(errno, EBADMSG);
    assert_int_equal(text[0], 0);
  }
}

static void test_changed_bytes(void **state) {
  (void)state;
  size_t size = 26;
  for (size_t at = 0; at < size; at++) {
    pair_t pair;
    uint8_t wire[64];
    pair_open(&pair);
    size = capture(&pair, wire, sizeof wire);
    assert_int_equal(size, 5 + 4 + 1 + 16);
    wire[at] ^= at == 4 ? 0x01 : 0x10; /* the length: one byte less, so that it is whole all the same */
    assert_int_equal(send(pair.sockets[0], wire, size, 0), (ssize_t)size);
    if (at == 3) { /* a length of another 4 KiB: waits for those */
      uint8_t more[4096] = {0};
      assert_int_equal(send(pair.sockets[0], more, sizeof more, 0), (ssize_t)sizeof more);
    }
    if (at == 4) assert_int_equal(send(pair.sockets[0], wire, 2, 0), 2);
    expect_broken(&pair);
    pair_close(&pair);
  }
}

static void test_said_again(void **state) {
  (void)state;
  pair_t pair;
  uint8_t wire[64];
  char text[4];
  pair_open(&pair);
  size_t size = capture(&pair, wire, sizeof wire);
  send(pair.sockets[0], wire, size, 0);
  assert_int_equal(hmci_records_receive(pair.two, &(struct iovec){text, sizeof text}, 1), 4);
  send(pair.sockets[0], wire, size, 0);
  expect_broken(&pair);
  pair_close(&pair);
}

/* What one cipher has sealed the other one does not open, although key and nonce are the same. */
static void test_ciphers_differ(void **state) {
  (void)state;
  uint8_t by_gcm[64], by_ocb[64];
  pair_t pair;
  cipher = HMCI_RECORD_OCB;
  pair_open(&pair);
  size_t size = capture(&pair, by_ocb, sizeof by_ocb);
  pair_close(&pair);
  cipher = HMCI_RECORD_GCM;
  pair_open(&pair);
  assert_int_equal(capture(&pair, by_gcm, sizeof by_gcm), size);
  assert_int_equal(send(pair.sockets[0], by_ocb, size, 0), (ssize_t)size);
  expect_broken(&pair);
  pair_close(&pair);
  hmci_record_cipher_t first = hmci_records_faster();
  assert_true(first == HMCI_RECORD_GCM || first == HMCI_RECORD_OCB);
  assert_int_equal(hmci_records_faster(), first);
}

/* OpenSSL's memory in this test: each piece has a fence behind it, and one allocation can be made to fail. */
enum { HEAD = 16, FENCE = 512, FENCE_BYTE = 0xA5 };
static long allocations_left; /* the one that counts down to 0 fails */
static bool fence_broken;

static void *fenced(size_t size) {
  uint8_t *piece = --allocations_left == 0 ? NULL : malloc(HEAD + size + FENCE);
  if (!piece) return NULL;
  memcpy(piece, &size, sizeof size);
  memset(piece + HEAD + size, FENCE_BYTE, FENCE);
  return piece + HEAD;
}

static size_t fenced_size(const uint8_t *bytes) {
  size_t size;
  memcpy(&size, bytes - HEAD, sizeof size);
  return size;
}

static void fenced_free(void *bytes, const char *file, int line) {
  (void)file, (void)line;
  if (!bytes) return;
  const uint8_t *fence = (uint8_t *)bytes + fenced_size(bytes);
  for (int i = 0; i < FENCE; i++) fence_broken |= fence[i] != FENCE_BYTE;
  free((uint8_t *)bytes - HEAD);
}

static void *fenced_malloc(size_t size, const char *file, int line) {
  (void)file, (void)line;
  return size ? fenced(size) : NULL;
}

static void *fenced_realloc(void *bytes, size_t size, const char *file, int line) {
  void *more = fenced(size);
  if (more && bytes) memcpy(more, bytes, fenced_size(bytes) < size ? fenced_size(bytes) : size);
  if (more) fenced_free(bytes, file, line);
  return more;
}

/* Whichever allocation fails while records are sealed and opened, the streams end with an error and no memory is hurt. */
static void test_no_memory(void **state) {
  (void)state;
  uint8_t data[32 << 10] = {0}, got[32 << 10];
  bool failed = true;
  for (long which = 1; failed; which++) {
    pair_t pair;
    pair_open(&pair);
    struct iovec from = {data, sizeof data}, to = {got, sizeof got};
    allocations_left = which;
    ssize_t sent = hmci_records_send(pair.one, &from, 1, false), received = -1;
    if (sent == (ssize_t)sizeof data) received = hmci_records_receive(pair.two, &to, 1);
    failed = allocations_left <= 0;
    allocations_left = 0;
    if (!failed) assert_int_equal(received, sizeof data);
    pair_close(&pair);
    assert_false(fence_broken);
    assert_true(which < 1000);
  }
}

/* A record without data, as no HMC sends it: many of them would keep a reader busy and give it nothing. */
static void test_empty_records_are_refused(void **state) {
  (void)state;
  enum { SEALED = 1 + 16 };
  uint8_t record[5 + SEALED] = {0x17, 3, 3, 0, SEALED}, type = 0x17, got[8];
  int length;
  pair_t pair;
  pair_open(&pair);
  EVP_CIPHER *kind = EVP_CIPHER_fetch(NULL, hmci_record_cipher_name(cipher), NULL);
  EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
  assert_int_equal(EVP_EncryptInit_ex(context, kind, NULL, there, there + HMCI_RECORD_KEY), 1);
  assert_int_equal(EVP_EncryptUpdate(context, NULL, &length, record, 5), 1);
  assert_int_equal(EVP_EncryptUpdate(context, record + 5, &length, &type, 1), 1);
  assert_int_equal(EVP_EncryptFinal_ex(context, record + 5 + length, &length), 1);
  assert_int_equal(EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, 16, record + 6), 1);
  EVP_CIPHER_CTX_free(context);
  EVP_CIPHER_free(kind);
  assert_int_equal(send(pair.sockets[0], record, sizeof record, MSG_NOSIGNAL), sizeof record);
  assert_int_equal(hmci_records_receive(pair.two, &(struct iovec){got, sizeof got}, 1), -1);
  assert_int_equal(errno, EBADMSG);
  pair_close(&pair);
}

static int use_ocb(void **state) {
  (void)state;
  cipher = HMCI_RECORD_OCB;
  return 0;
}

static int use_gcm(void **state) {
  (void)state;
  cipher = HMCI_RECORD_GCM;
  return 0;
}

int main(void) {
  if (!CRYPTO_set_mem_functions(fenced_malloc, fenced_realloc, fenced_free)) return 1;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_sizes),
      cmocka_unit_test(test_holes),
      cmocka_unit_test(test_ends),
      cmocka_unit_test(test_changed_bytes),
      cmocka_unit_test(test_said_again),
      cmocka_unit_test(test_no_memory),
      cmocka_unit_test(test_empty_records_are_refused),
      cmocka_unit_test(test_ciphers_differ), /* leaves another cipher behind */
  };
  return cmocka_run_group_tests_name("ctrl.records, gcm", tests, use_gcm, NULL) |
         cmocka_run_group_tests_name("ctrl.records, ocb", tests, use_ocb, NULL);
}
