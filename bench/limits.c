/* hmc-bench-limits: what the machine itself gives, without any library.
 *
 *   pingpong   one cache line each way between two processes; the time is for one way
 *   pull       a cache line to the other process, which reads the bytes from this one by process_vm_readv, and one back:
 *              what a put into memory that only its owner may write cannot be without
 *   tcp_put    8-byte header and the bytes over a loopback socket, answered by 8 bytes; both ends poll non-blocking
 * sockets tcp_get    8-byte header, answered by the bytes
 *   tcp_gcm    AES-128-GCM and the socket alone: the bytes in records of 16 KiB, sealed, sent, opened and then copied to
 *              where they belong, `depth` times `bytes` on the way; tcp_ocb: the same by AES-128-OCB
 *
 *   store      8 bytes into shared memory by a function that is called, which checks place, right and an end mark and counts:
 *              what a put to mapped memory cannot be without. depth: of so many words, in turn
 *   store_two  the same by two threads, each with words and a counter of its own; the time is for one store of either
 *
 * The other end is a forked process on another processor; between requests it sleeps. */
#include "bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define BYTES_MAX (64ull << 20)
#define WINDOW (1u << 20)
#define SPIN_SECONDS 10.0 /* an end that waits longer has lost the other */

/* The header of a message to the other end: what to do, and with how many bytes. */
#define HEADER_GET (1ull << 63)
#define HEADER_SLEEP (1ull << 62)    /* no answer: sleep until the next header */
#define HEADER_PINGPONG (1ull << 61) /* so many rounds over shared memory; no answer */
#define HEADER_SEALED (1ull << 60)   /* of so many bytes each, sealed; how many, and how, follows in two words */
#define HEADER_PULL (1ull << 59)     /* so many pulls; their size and the address follow in two words; no answer */
#define HEADER_COUNT (HEADER_PULL - 1)

/* A sealed record: how many bytes follow (2, big-endian), those, and a tag. */
enum { RECORD = 16 << 10, PREFIX = 2, TAG = 16, WHOLE = PREFIX + RECORD + TAG, AT_ONCE = 32, KEY = 16, NONCE = 12 };

/* Each word has a cache line, and the neighbour that prefetchers take along, to itself. */
typedef struct lines {
  _Alignas(256) atomic_uint_fast64_t to_child;
  _Alignas(256) atomic_uint_fast64_t to_parent;
} lines_t;

/* What a put has to look at, and what it changes. */
typedef struct window {
  _Alignas(256) unsigned char *bytes;
  uint64_t size;
  unsigned rights;
  const atomic_uint *word; /* another process's: what it holds while the window is open */
  unsigned value;
  _Alignas(256) atomic_uint_fast64_t count;
} window_t;

typedef struct ends {
  int socket;
  unsigned char *window; /* two of WINDOW bytes, shared */
  unsigned char *bytes;  /* 8 for a header, then BYTES_MAX */
  lines_t *lines;
  uint64_t round; /* of the ping-pong, counted alike at both ends */
} ends_t;

static bool receive_all(int socket, void *to, uint64_t length) {
  for (unsigned char *at = to; length > 0;) {
    ssize_t got = recv(socket, at, length, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (got <= 0) return false;
    at += got;
    length -= (uint64_t)got;
  }
  return true;
}

static bool send_all(int socket, const void *from, uint64_t length) {
  for (const unsigned char *at = from; length > 0;) {
    ssize_t sent = send(socket, at, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    if (sent < 0) return false;
    at += sent;
    length -= (uint64_t)sent;
  }
  return true;
}

/* Spins until the word is `value`. */
static bool await_word(atomic_uint_fast64_t *word, uint64_t value) {
  for (double begin = 0;;) {
    for (unsigned i = 0; i < 1u << 20; i++)
      if (atomic_load_explicit(word, memory_order_acquire) == value) /* partner: the other end's release store */
        return true;
    double now = bench_clock();
    if (begin == 0) begin = now;
    if (now - begin > SPIN_SECONDS) return false;
  }
}

static bool answer_pingpong(ends_t *ends, uint64_t rounds) {
  for (uint64_t i = 0; i < rounds; i++) {
    ends->round++;
    if (!await_word(&ends->lines->to_child, ends->round)) return false;
    atomic_store_explicit(&ends->lines->to_parent, ends->round, memory_order_release); /* partner: await_word */
  }
  return true;
}

/* Each round brings the bytes at `order[1]` of the other process here. */
static bool answer_pull(ends_t *ends, uint64_t rounds) {
  uint64_t order[2];
  if (!receive_all(ends->socket, order, sizeof order)) return false;
  pid_t parent = getppid();
  for (uint64_t i = 0; i < rounds; i++) {
    struct iovec here = {ends->bytes, order[0]}, there = {(void *)(uintptr_t)order[1], order[0]};
    ends->round++;
    if (!await_word(&ends->lines->to_child, ends->round)) return false;
    if (process_vm_readv(parent, &here, 1, &there, 1, 0) != (ssize_t)order[0]) return false;
    atomic_store_explicit(&ends->lines->to_parent, ends->round, memory_order_release); /* partner: await_word */
  }
  return true;
}

/* ---- sealed ------------------------------------------------------------------------------------------------------ */

/* One end of a stream of records. Nothing is secret here: keys and nonces come again with the next stream. */
typedef struct sealer {
  EVP_CIPHER_CTX *cipher;
  uint64_t number;
  unsigned char *buffer;
} sealer_t;

static bool open_sealer(sealer_t *sealer, uint64_t ocb, int seals) {
  static const unsigned char key[KEY];
  *sealer = (sealer_t){.cipher = EVP_CIPHER_CTX_new(), .buffer = malloc((size_t)AT_ONCE * WHOLE)};
  EVP_CIPHER *kind = EVP_CIPHER_fetch(NULL, ocb ? "AES-128-OCB" : "AES-128-GCM", NULL);
  bool good =
      kind && sealer->cipher && sealer->buffer && EVP_CipherInit_ex(sealer->cipher, kind, NULL, key, NULL, seals) == 1;
  EVP_CIPHER_free(kind);
  return good;
}

static void close_sealer(sealer_t *sealer) {
  EVP_CIPHER_CTX_free(sealer->cipher);
  free(sealer->buffer);
}

static bool next_nonce(sealer_t *sealer, int seals) {
  unsigned char nonce[NONCE] = {0};
  memcpy(nonce, &sealer->number, sizeof sealer->number);
  sealer->number++;
  return EVP_CipherInit_ex(sealer->cipher, NULL, NULL, NULL, nonce, seals) == 1;
}

static bool seal(sealer_t *sealer, unsigned char *to, const unsigned char *from, size_t size) {
  int some, rest;
  to[0] = (unsigned char)(size >> 8);
  to[1] = (unsigned char)size;
  return next_nonce(sealer, 1) && EVP_CipherUpdate(sealer->cipher, to + PREFIX, &some, from, (int)size) == 1 &&
         EVP_CipherFinal_ex(sealer->cipher, to + PREFIX + some, &rest) == 1 &&
         EVP_CIPHER_CTX_ctrl(sealer->cipher, EVP_CTRL_AEAD_GET_TAG, TAG, to + PREFIX + size) == 1;
}

static bool unseal(sealer_t *sealer, unsigned char *record, size_t size) {
  int some, rest;
  unsigned char *at = record + PREFIX;
  return next_nonce(sealer, 0) && EVP_CipherUpdate(sealer->cipher, at, &some, at, (int)size) == 1 &&
         EVP_CIPHER_CTX_ctrl(sealer->cipher, EVP_CTRL_AEAD_SET_TAG, TAG, at + size) == 1 &&
         EVP_CipherFinal_ex(sealer->cipher, at + some, &rest) == 1;
}

static bool send_sealed(int socket, sealer_t *sealer, const unsigned char *from, uint64_t length) {
  while (length > 0) {
    size_t used = 0;
    for (int i = 0; i < AT_ONCE && length > 0; i++) {
      size_t size = length < RECORD ? (size_t)length : RECORD;
      if (!seal(sealer, sealer->buffer + used, from, size)) return false;
      used += PREFIX + size + TAG;
      from += size;
      length -= size;
    }
    if (!send_all(socket, sealer->buffer, used)) return false;
  }
  return true;
}

/* Opens the whole records of `have` bytes, and copies what they hold. Returns what they take; 0: none is whole; -1. */
static ssize_t take_records(sealer_t *sealer, size_t have, unsigned char *to, uint64_t *placed) {
  size_t used = 0;
  while (have - used >= PREFIX) {
    unsigned char *record = sealer->buffer + used;
    size_t size = (size_t)record[0] << 8 | record[1];
    if (size > RECORD || have - used < PREFIX + size + TAG) break;
    if (!unseal(sealer, record, size)) return -1;
    memcpy(to + *placed, record + PREFIX, size);
    *placed += size;
    used += PREFIX + size + TAG;
  }
  return (ssize_t)used;
}

/* The other end: `count` times `bytes`, each answered by 8 bytes. They never share a record. */
static bool answer_sealed(ends_t *ends, uint64_t bytes) {
  uint64_t order[2], slots = BYTES_MAX / bytes, placed = 0, done = 0;
  sealer_t sealer;
  if (!receive_all(ends->socket, order, sizeof order)) return false;
  bool good = open_sealer(&sealer, order[1], 0);
  for (size_t have = 0; good && done < order[0];) {
    uint64_t left = bytes - placed, records = left / RECORD + (left % RECORD != 0),
             most = left + records * (PREFIX + TAG);
    if (most > (uint64_t)AT_ONCE * WHOLE) most = (uint64_t)AT_ONCE * WHOLE;
    ssize_t got = recv(ends->socket, sealer.buffer + have, most - have, MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) continue;
    have += got > 0 ? (size_t)got : 0;
    ssize_t used = got > 0 ? take_records(&sealer, have, ends->bytes + done % slots * bytes, &placed) : -1;
    good = used >= 0;
    if (used > 0) memmove(sealer.buffer, sealer.buffer + used, have -= (size_t)used);
    if (good && placed == bytes) {
      placed = 0;
      done++;
      good = send_all(ends->socket, &done, sizeof done);
    }
  }
  close_sealer(&sealer);
  return good;
}

/* The child's life, until the socket closes. */
static void answer(ends_t *ends) {
  bool asleep = true;
  for (bool good = true; good;) {
    uint64_t header;
    struct pollfd wait = {.fd = ends->socket, .events = POLLIN};
    if (asleep && poll(&wait, 1, -1) < 0) continue;
    asleep = false;
    if (!receive_all(ends->socket, &header, sizeof header)) return;
    if (header & HEADER_SLEEP)
      asleep = true;
    else if (header & HEADER_PINGPONG)
      good = answer_pingpong(ends, header & HEADER_COUNT);
    else if (header & HEADER_PULL)
      good = answer_pull(ends, header & HEADER_COUNT);
    else if (header & HEADER_SEALED)
      good = answer_sealed(ends, header & HEADER_COUNT);
    else if (header & HEADER_GET)
      good = send_all(ends->socket, ends->bytes + sizeof header, header & HEADER_COUNT);
    else
      good = receive_all(ends->socket, ends->bytes + sizeof header, header) &&
             send_all(ends->socket, &header, sizeof header);
  }
}

static bool lost(bench_result_t *result) { return bench_fail(result, "the other process is gone"); }

static bool tcp_put(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  ends_t *ends = state;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t reply;
    memcpy(ends->bytes, &request->bytes, sizeof request->bytes);
    if (!send_all(ends->socket, ends->bytes, sizeof reply + request->bytes) ||
        !receive_all(ends->socket, &reply, sizeof reply))
      return lost(result);
  }
  return true;
}

static bool tcp_get(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  ends_t *ends = state;
  uint64_t header = HEADER_GET | request->bytes;
  for (uint64_t i = 0; i < count; i++)
    if (!send_all(ends->socket, &header, sizeof header) ||
        !receive_all(ends->socket, ends->bytes + sizeof header, request->bytes))
      return lost(result);
  return true;
}

static bool tcp_sealed(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  ends_t *ends = state;
  uint64_t ocb = strcmp(request->what, "tcp_ocb") == 0, slots = BYTES_MAX / request->bytes, answer;
  const uint64_t order[3] = {HEADER_SEALED | request->bytes, count, ocb};
  sealer_t sealer;
  if (!open_sealer(&sealer, ocb, 1)) {
    close_sealer(&sealer);
    return bench_fail(result, "OpenSSL here does not have that cipher");
  }
  char pacing[16] = "";
  socklen_t size = sizeof pacing;
  getsockopt(ends->socket, IPPROTO_TCP, TCP_CONGESTION, pacing, &size);
  setsockopt(ends->socket, IPPROTO_TCP, TCP_CONGESTION, "reno", 4); /* which does not pace, as HMC within a host */
  bool good = send_all(ends->socket, order, sizeof order);
  for (uint64_t sent = 0, done = 0; good && done < count;) {
    if (sent < count && sent - done < request->depth) {
      good = send_sealed(ends->socket, &sealer, ends->bytes + sent++ % slots * request->bytes, request->bytes);
    } else {
      good = receive_all(ends->socket, &answer, sizeof answer);
      done++;
    }
  }
  setsockopt(ends->socket, IPPROTO_TCP, TCP_CONGESTION, pacing, strnlen(pacing, size));
  close_sealer(&sealer);
  return good || lost(result);
}

static bool play(ends_t *ends, uint64_t rounds, bench_result_t *result) {
  for (uint64_t i = 0; i < rounds; i++) {
    ends->round++;
    atomic_store_explicit(&ends->lines->to_child, ends->round, memory_order_release); /* partner: await_word */
    if (!await_word(&ends->lines->to_parent, ends->round)) return lost(result);
  }
  return true;
}

static bool pingpong(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  ends_t *ends = state;
  uint64_t header = HEADER_PINGPONG | count;
  (void)request;
  return send_all(ends->socket, &header, sizeof header) ? play(ends, count, result) : lost(result);
}

static bool pull(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  ends_t *ends = state;
  const uint64_t order[3] = {HEADER_PULL | count, request->bytes, (uint64_t)(uintptr_t)ends->bytes};
  return send_all(ends->socket, order, sizeof order) ? play(ends, count, result) : lost(result);
}

/* ---- stores ------------------------------------------------------------------------------------------------------ */

__attribute__((noinline)) static int store(window_t *window, const void *from, uint64_t offset, uint64_t length) {
  if (offset > window->size || length > window->size - offset || !(window->rights & 2)) return 1;
  if (atomic_load_explicit(window->word, memory_order_relaxed) != window->value) return 2;
  if (length != 8) return 3;
  memcpy(window->bytes + offset, from, 8);
  uint64_t count = atomic_load_explicit(&window->count, memory_order_relaxed);
  atomic_store_explicit(&window->count, count + 1, memory_order_relaxed);
  atomic_thread_fence(memory_order_release);
  return 0;
}

typedef struct storer {
  window_t window;
  uint64_t count;
  unsigned depth;
  bool good;
} storer_t;

static void *run_storer(void *argument) {
  static const unsigned char bytes[8] = {1};
  storer_t *storer = argument;
  storer->good = true;
  for (uint64_t i = 0; i < storer->count;) {
    uint64_t until = i + storer->depth < storer->count ? i + storer->depth : storer->count;
    for (uint64_t offset = 0; i < until; i++, offset += 8)
      storer->good &= store(&storer->window, bytes, offset, 8) == 0;
  }
  return NULL;
}

static void *run_second(void *argument) {
  bench_pin(1);
  return run_storer(argument);
}

static bool stores(void *state, const bench_request_t *request, uint64_t count, bench_result_t *result) {
  static storer_t storers[2];
  static atomic_uint word = 1;
  const ends_t *ends = state;
  bool two = strcmp(request->what, "store_two") == 0;
  pthread_t thread;
  for (int i = 0; i < 2; i++) {
    unsigned char *bytes = ends->window + (size_t)i * WINDOW;
    storers[i] = (storer_t){
        .window = {bytes, WINDOW, 3, &word, 1, 0}, .count = two ? count / 2 : count, .depth = request->depth};
  }
  if (two && pthread_create(&thread, NULL, run_second, &storers[1]) != 0) return bench_fail(result, "no thread");
  run_storer(&storers[0]);
  if (two) pthread_join(thread, NULL);
  return storers[0].good || bench_fail(result, "a store failed");
}

static bool measure(void *state, const bench_request_t *request, bench_result_t *result) {
  ends_t *ends = state;
  uint64_t header = HEADER_SLEEP;
  bool good = false;
  if (request->bytes == 0 || request->bytes > BYTES_MAX) return bench_fail(result, "1 to %llu bytes", BYTES_MAX);
  if (strcmp(request->what, "tcp_put") == 0) {
    good = bench_repeat(tcp_put, ends, request, 1, result);
  } else if (strcmp(request->what, "tcp_get") == 0) {
    good = bench_repeat(tcp_get, ends, request, 1, result);
  } else if (strcmp(request->what, "store") == 0 || strcmp(request->what, "store_two") == 0) {
    if (request->depth * 8ull > WINDOW) return bench_fail(result, "so many words are too many");
    good = bench_repeat(stores, ends, request, strcmp(request->what, "store") == 0 ? 16 * request->depth : 1 << 24,
                        result);
  } else if (strcmp(request->what, "tcp_gcm") == 0 || strcmp(request->what, "tcp_ocb") == 0) {
    uint64_t least = request->bytes > 1 << 20 ? request->depth : 16 * request->depth; /* as hmc-bench-engine's */
    good = bench_repeat(tcp_sealed, ends, request, least, result);
  } else if (strcmp(request->what, "pull") == 0) {
    good = bench_repeat_counted(pull, ends, request, result);
  } else if (strcmp(request->what, "pingpong") == 0) {
    good = bench_repeat_counted(pingpong, ends, request, result);
    result->median_ns /= 2;
    result->mean_ns /= 2;
  } else {
    return bench_fail(result, "nothing is called %s", request->what);
  }
  return good && (send_all(ends->socket, &header, sizeof header) || lost(result));
}

/* Two connected loopback sockets. */
static bool connect_ends(int sockets[2]) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int one = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockets[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listener < 0 || sockets[0] < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
      connect(sockets[0], (struct sockaddr *)&address, sizeof address) != 0)
    return false;
  sockets[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
  close(listener);
  return sockets[1] >= 0 && setsockopt(sockets[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0 &&
         setsockopt(sockets[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0;
}

int main(void) {
  int sockets[2];
  ends_t ends = {0};
  ends.lines = mmap(NULL, sizeof *ends.lines, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ends.window = mmap(NULL, 2 * WINDOW, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (ends.lines == MAP_FAILED || (void *)ends.window == MAP_FAILED || !connect_ends(sockets)) {
    perror("hmc-bench-limits");
    return 1;
  }
  bench_pin(0);
  pid_t child = fork();
  if (child < 0) {
    perror("hmc-bench-limits");
    return 1;
  }
  ends.bytes = aligned_alloc(2 << 20, BYTES_MAX + (2 << 20)); /* after the fork: each end has its own pages */
  if (!ends.bytes) return 1;
  madvise(ends.bytes, BYTES_MAX + 4096, MADV_HUGEPAGE); /* as hmc-bench-engine's */
  memset(ends.bytes, 1, BYTES_MAX + 4096);
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    bench_pin(1);
    close(sockets[0]);
    close(STDIN_FILENO);
    ends.socket = sockets[1];
    answer(&ends);
    free(ends.bytes);
    return 0;
  }
  close(sockets[1]);
  ends.socket = sockets[0];
  bench_serve("hmc-bench-limits", measure, &ends);
  close(ends.socket);
  waitpid(child, NULL, 0);
  free(ends.bytes);
  return 0;
}
