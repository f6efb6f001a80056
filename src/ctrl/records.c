/* Sealed records (see records.h). */
#include "records.h"

#include "../base/guarded.h"
#include "openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
  HEADER = 5,
  DATA = 16 << 10, /* the most that a record carries */
  TAG = 16,
  EXTRA = HEADER + 1 + TAG,
  WHOLE = DATA + EXTRA,
  FIRST = 4, /* records of a call, at first: so few that the other end soon has work, */
  MOST = 32, /* and of those that follow: so many that calls and wake-ups are few (2 to 64 were measured) */
  TYPE = 0x17,
  PARTS = 64, /* that are copied by one call */
  TRIALS = 5, /* of a cipher, to see how fast it is */
};

/* One direction. */
typedef struct direction {
  EVP_CIPHER_CTX *cipher;
  bool spoilt; /* the cipher failed at something that is not a wrong tag */
  uint8_t nonce[HMCI_RECORD_NONCE];
  uint64_t number; /* of the next record */
  uint8_t *buffer;
  size_t room, begin, end; /* bytes of the buffer that are in use */
} direction_t;

struct hmci_records {
  int descriptor;
  bool broken;
  direction_t out, in;
  size_t plain; /* bytes at in.begin that are opened, before whatever is still sealed */
  size_t gap;   /* bytes between those and what is still sealed: a tag */
  size_t bulk;  /* records that a call has room for: the more, the more comes at a time */
  bool drained; /* the last call took all that the socket had */
};

/* ---- the cipher -------------------------------------------------------------------------------------------------- */

static const char *const names[] = {[HMCI_RECORD_GCM] = "AES-128-GCM", [HMCI_RECORD_OCB] = "AES-128-OCB"};

const char *hmci_record_cipher_name(hmci_record_cipher_t cipher) { return names[cipher]; }

static bool direction_open(direction_t *direction, const uint8_t secret[HMCI_RECORD_SECRET],
                           hmci_record_cipher_t cipher, bool seals) {
  memcpy(direction->nonce, secret + HMCI_RECORD_KEY, HMCI_RECORD_NONCE);
  direction->cipher = EVP_CIPHER_CTX_new();
  EVP_CIPHER *kind = EVP_CIPHER_fetch(NULL, names[cipher], NULL);
  bool done =
      kind && direction->cipher && EVP_CipherInit_ex(direction->cipher, kind, NULL, secret, NULL, seals ? 1 : 0) == 1;
  EVP_CIPHER_free(kind);
  return done;
}

/* OpenSSL's OCB that found no memory for its table believes that it has the larger one, and would clear bytes behind the
 * one it has. Such a cipher is kept for good, in a chain, so that a leak checker knows why. */
static EVP_CIPHER_CTX *_Atomic spoilt;

static void keep(EVP_CIPHER_CTX *cipher) {
  EVP_CIPHER_CTX *before = atomic_load(&spoilt);
  do EVP_CIPHER_CTX_set_app_data(cipher, before);
  while (!atomic_compare_exchange_weak(&spoilt, &before, cipher));
}

static void direction_close(direction_t *direction) {
  if (direction->spoilt)
    keep(direction->cipher);
  else
    EVP_CIPHER_CTX_free(direction->cipher);
  free(direction->buffer);
}

/* One step of the cipher. */
static bool update(direction_t *direction, uint8_t *to, int *length, const uint8_t *from, size_t size) {
  bool done = EVP_CipherUpdate(direction->cipher, to, length, from, (int)size) == 1;
  if (!done) direction->spoilt = true;
  return done;
}

/* Makes the nonce of the next record, and begins with its header. A direction ends long before the number does. */
static bool begin_record(direction_t *direction, const uint8_t header[HEADER], int seals) {
  uint8_t nonce[HMCI_RECORD_NONCE];
  int length;
  memcpy(nonce, direction->nonce, sizeof nonce);
  for (int i = 0; i < 8; i++) nonce[HMCI_RECORD_NONCE - 1 - i] ^= (uint8_t)(direction->number >> 8 * i);
  if (direction->number == UINT64_MAX) return false;
  direction->number++;
  return EVP_CipherInit_ex(direction->cipher, NULL, NULL, NULL, nonce, seals) == 1 &&
         update(direction, NULL, &length, header, HEADER);
}

static void write_header(uint8_t header[HEADER], size_t size) {
  header[0] = TYPE;
  header[1] = header[2] = 3;
  header[3] = (uint8_t)(size >> 8);
  header[4] = (uint8_t)size;
}

/* A walk over the caller's parts. */
typedef struct walk {
  const struct iovec *parts;
  int count;
  size_t offset; /* of the first one */
} walk_t;

static size_t walk_next(walk_t *walk, size_t most, uint8_t **at) {
  while (walk->count && walk->offset == walk->parts->iov_len) {
    walk->parts++;
    walk->count--;
    walk->offset = 0;
  }
  if (!walk->count) return 0;
  size_t rest = walk->parts->iov_len - walk->offset;
  *at = (uint8_t *)walk->parts->iov_base + walk->offset;
  if (rest > most) rest = most;
  walk->offset += rest;
  return rest;
}

static size_t walk_left(const walk_t *walk) {
  size_t sum = 0;
  for (int i = 0; i < walk->count; i++) sum += walk->parts[i].iov_len;
  return sum - (walk->count ? walk->offset : 0);
}

/* Copies `size` bytes that may not be there, as far as they are: false, and the walk stays, where some are not. */
static bool gather(uint8_t *to, walk_t *walk, size_t size) {
  const walk_t before = *walk;
  while (size) {
    struct iovec parts[PARTS];
    size_t all = 0, piece;
    int count = 0;
    uint8_t *from = NULL;
    for (; count < PARTS && all < size; all += piece) {
      piece = walk_next(walk, size - all, &from);
      parts[count++] = (struct iovec){from, piece};
    }
    if (!hmci_guarded_gather(to, parts, count)) {
      *walk = before;
      return false;
    }
    to += all;
    size -= all;
  }
  return true;
}

/* Seals `size` bytes into one record at `to`; without a walk those that lie there already. */
static bool seal(direction_t *out, uint8_t *to, walk_t *walk, size_t size) {
  const uint8_t type = TYPE;
  uint8_t *at = to + HEADER, *from = at;
  int length;
  write_header(to, size + 1 + TAG);
  if (!begin_record(out, to, 1)) return false;
  for (size_t left = size, piece = size; left; left -= piece, at += length) { /* OCB keeps what does not fill a block */
    if (walk) piece = walk_next(walk, left, &from);
    if (!update(out, at, &length, from, piece)) return false;
  }
  if (!update(out, at, &length, &type, 1)) return false;
  at += length;
  return EVP_CipherFinal_ex(out->cipher, at, &length) == 1 &&
         EVP_CIPHER_CTX_ctrl(out->cipher, EVP_CTRL_AEAD_GET_TAG, TAG, to + HEADER + size + 1) == 1;
}

/* Opens the record at `record` where it lies. False: it is not what the other end sealed. */
static bool open_record(direction_t *in, uint8_t *record, size_t sealed) {
  uint8_t *at = record + HEADER;
  size_t size = sealed - TAG;
  int length, rest;
  return begin_record(in, record, 0) && update(in, at, &length, at, size) &&
         EVP_CIPHER_CTX_ctrl(in->cipher, EVP_CTRL_AEAD_SET_TAG, TAG, at + size) == 1 &&
         EVP_CipherFinal_ex(in->cipher, at + length, &rest) == 1 && at[size - 1] == TYPE;
}

/* ---- which one --------------------------------------------------------------------------------------------------- */

/* The shortest time in which one processor seals and opens a record; UINT64_MAX: OpenSSL here does not have the cipher. */
static uint64_t time_of(hmci_record_cipher_t cipher, uint8_t *record) {
  static const uint8_t secret[HMCI_RECORD_SECRET];
  direction_t out = {0}, in = {0};
  uint64_t best = UINT64_MAX;
  bool done = direction_open(&out, secret, cipher, true) && direction_open(&in, secret, cipher, false);
  for (int i = 0; i < TRIALS && done; i++) {
    uint64_t begin = hmci_now();
    done = seal(&out, record, NULL, DATA) && open_record(&in, record, DATA + 1 + TAG);
    uint64_t took = hmci_now() - begin;
    if (took < best) best = took;
  }
  direction_close(&out);
  direction_close(&in);
  return done ? best : UINT64_MAX;
}

static hmci_record_cipher_t faster = HMCI_RECORD_GCM; /* written once, by `measured` */
static pthread_once_t measured = PTHREAD_ONCE_INIT;

static void measure(void) {
  uint8_t *record = calloc(1, WHOLE);
  if (record && hmci_openssl_acquire()) {
    uint64_t gcm = time_of(HMCI_RECORD_GCM, record), ocb = time_of(HMCI_RECORD_OCB, record);
    if (ocb < gcm - gcm / 10) faster = HMCI_RECORD_OCB;
    ERR_clear_error();
    hmci_openssl_release();
  }
  free(record);
}

hmci_record_cipher_t hmci_records_faster(void) {
  pthread_once(&measured, measure);
  return faster;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

hmc_status_t hmci_records_open(int descriptor, const uint8_t out[HMCI_RECORD_SECRET],
                               const uint8_t in[HMCI_RECORD_SECRET], hmci_record_cipher_t cipher,
                               hmci_records_t **opened) {
  hmci_records_t *records = calloc(1, sizeof *records);
  if (!records) return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
  records->descriptor = descriptor;
  if (!hmci_openssl_acquire()) {
    free(records);
    return hmci_openssl_fail();
  }
  bool done = direction_open(&records->out, out, cipher, true) && direction_open(&records->in, in, cipher, false);
  if (!done) {
    direction_close(&records->out);
    direction_close(&records->in);
    free(records);
  }
  ERR_clear_error();
  hmci_openssl_release();
  if (!done) return hmci_fail(HMC_ERROR, "OpenSSL here does not do %s", names[cipher]);
  *opened = records;
  return HMC_SUCCESS;
}

void hmci_records_close(hmci_records_t *records) {
  if (!records || !hmci_openssl_acquire()) return; /* what OpenSSL keeps goes with the process */
  direction_close(&records->out);
  direction_close(&records->in);
  free(records);
  hmci_openssl_release();
}

/* ---- sending ----------------------------------------------------------------------------------------------------- */

/* Room for `size` more bytes behind what the buffer holds. */
static bool make_room(direction_t *direction, size_t size) {
  if (direction->begin)
    memmove(direction->buffer, direction->buffer + direction->begin, direction->end - direction->begin);
  direction->end -= direction->begin;
  direction->begin = 0;
  if (direction->room - direction->end >= size) return true;
  uint8_t *more = realloc(direction->buffer, direction->end + size);
  if (!more) return false;
  direction->buffer = more;
  direction->room = direction->end + size;
  return true;
}

static void give_back(direction_t *direction) {
  direction->begin = direction->end = 0;
  free(direction->buffer);
  direction->buffer = NULL;
  direction->room = 0;
}

int hmci_records_flush(hmci_records_t *records) {
  direction_t *out = &records->out;
  while (out->begin < out->end) {
    ssize_t sent =
        send(records->descriptor, out->buffer + out->begin, out->end - out->begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return -1;
    out->begin += (size_t)sent;
  }
  out->begin = out->end = 0;
  return 0;
}

/* Seals what one call takes, at most so many records. The bytes taken, or -1. */
static ssize_t seal_some(hmci_records_t *records, walk_t *walk, size_t count, bool doubtful) {
  direction_t *out = &records->out;
  size_t left = walk_left(walk), taken = 0;
  size_t most = left < count * DATA ? left : count * DATA;
  if (!make_room(out, most + (most / DATA + 1) * EXTRA)) {
    errno = ENOMEM;
    return -1;
  }
  while (taken < most) {
    size_t size = most - taken < DATA ? most - taken : DATA;
    if (doubtful && !gather(out->buffer + out->end + HEADER, walk, size)) {
      errno = EFAULT;
      return taken ? (ssize_t)taken : -1;
    }
    if (!seal(out, out->buffer + out->end, doubtful ? NULL : walk, size)) {
      records->broken = true;
      errno = EPIPE;
      return -1;
    }
    out->end += size + EXTRA;
    taken += size;
  }
  return (ssize_t)taken;
}

ssize_t hmci_records_send(hmci_records_t *records, const struct iovec *parts, int count, bool doubtful) {
  walk_t walk = {parts, count, 0};
  ssize_t taken = 0, some;
  size_t at_once = FIRST;
  if (records->broken) {
    errno = EPIPE;
    return -1;
  }
  if (hmci_records_flush(records) != 0) return -1;
  if (!hmci_openssl_acquire()) {
    errno = EPIPE;
    return -1;
  }
  do {
    some = seal_some(records, &walk, at_once, doubtful);
    if (some > 0) taken += some;
    if (at_once < MOST) at_once *= 2;
  } while (some > 0 && hmci_records_flush(records) == 0 && walk_left(&walk));
  int error = errno;
  hmci_openssl_release();
  if (records->out.end == records->out.begin) give_back(&records->out);
  errno = error;
  if (taken) return taken;
  return some;
}

/* ---- receiving --------------------------------------------------------------------------------------------------- */

/* The size of the sealed part of the record that begins behind the opened bytes, where all of it is here; 0: not yet;
 * -1: no record. One without data is none: it is never sent, and a flood of them would hold up the thread that reads. */
static ssize_t next_sealed(const hmci_records_t *records) {
  const direction_t *in = &records->in;
  size_t have = in->end - in->begin;
  if (have < HEADER) return 0;
  const uint8_t *record = in->buffer + in->begin;
  size_t sealed = (size_t)record[3] << 8 | record[4];
  if (record[0] != TYPE || record[1] != 3 || record[2] != 3 || sealed <= 1 + TAG || sealed > DATA + 1 + TAG) return -1;
  return have >= HEADER + sealed ? (ssize_t)sealed : 0;
}

/* Opens the next record that is here. 1: done; 0: there is none; -1. */
static int open_next(hmci_records_t *records) {
  direction_t *in = &records->in;
  ssize_t sealed = next_sealed(records);
  if (!sealed) return 0;
  if (sealed < 0 || !open_record(in, in->buffer + in->begin, (size_t)sealed)) {
    records->broken = true;
    errno = EBADMSG;
    return -1;
  }
  in->begin += HEADER;
  records->plain = (size_t)sealed - 1 - TAG;
  records->gap = 1 + TAG;
  return 1;
}

/* Reads what the socket has, as far as there is room. Bytes, 0 at the end, -1. */
static ssize_t fill(hmci_records_t *records) {
  direction_t *in = &records->in;
  size_t used = in->end - in->begin, wanted = (records->bulk ? records->bulk : 1) * WHOLE;
  if (!make_room(in, wanted > used ? wanted - used : WHOLE)) {
    errno = ENOMEM;
    return -1;
  }
  ssize_t got;
  do {
    got = recv(records->descriptor, in->buffer + in->end, in->room - in->end, MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got > 0) {
    records->drained = (size_t)got < in->room - in->end;
    if (!records->drained) {
      records->bulk = records->bulk < FIRST ? FIRST : records->bulk < MOST ? 2 * records->bulk : MOST;
    } else if (got <= WHOLE) {
      records->bulk = 1;
    }
    in->end += (size_t)got;
  }
  return got;
}

/* Gives opened bytes to the caller. */
static size_t give(hmci_records_t *records, walk_t *walk) {
  direction_t *in = &records->in;
  size_t given = 0, piece;
  uint8_t *to = NULL;
  while (records->plain && (piece = walk_next(walk, records->plain, &to))) {
    memcpy(to, in->buffer + in->begin, piece);
    in->begin += piece;
    records->plain -= piece;
    given += piece;
  }
  if (!records->plain) {
    in->begin += records->gap;
    records->gap = 0;
  }
  return given;
}

static ssize_t receive(hmci_records_t *records, walk_t *walk) {
  size_t given = 0;
  for (;;) {
    given += give(records, walk);
    if (records->plain || !walk_left(walk)) return (ssize_t)given;
    int opened = open_next(records);
    if (opened < 0) return given ? (ssize_t)given : -1;
    if (opened > 0) continue;
    ssize_t got = given && records->drained ? 0 : fill(records);
    if (got <= 0) {
      int error = errno;
      if (records->in.begin == records->in.end) give_back(&records->in);
      errno = error;
      return given ? (ssize_t)given : got;
    }
  }
}

ssize_t hmci_records_receive(hmci_records_t *records, const struct iovec *parts, int count) {
  walk_t walk = {parts, count, 0};
  if (records->broken || !hmci_openssl_acquire()) {
    errno = records->broken ? EBADMSG : EPIPE;
    return -1;
  }
  ssize_t got = receive(records, &walk);
  int error = errno;
  ERR_clear_error();
  hmci_openssl_release();
  errno = error;
  return got;
}

bool hmci_records_pending(const hmci_records_t *records) {
  return records->plain || (records->in.buffer && !records->broken && next_sealed(records) != 0);
}
