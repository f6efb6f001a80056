/* Logging. A thread that logs never waits: neither for the reader of stderr nor for the program's callback.
 *
 * Invariants: `level` is NOT_READ until the first use reads HMC_LOG; hmc_log_set_level may come first. A record is one
 * line. A record goes to stderr at once where that does not block and nothing waits before it; else it waits in a ring
 * of RING records, which a thread of its own empties. When the ring is full records are left out and counted. Of one
 * message, which is to say one format, at most BURST records pass in WINDOW; the next one that passes says how many were
 * left out.
 *
 * Locking: `lock` guards all but the level and is never held while something is written or called. A child made by
 * fork() starts with an empty ring and without the thread: what waited is the parent's. */
#include "base.h"
#include "recorder.h"
#include "thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define NOT_READ (-1)
#define RECORD_SIZE 2048
#define LINE_SIZE (RECORD_SIZE + 96)
#define WINDOW 10000000000u /* nanoseconds */
#define FLUSH_AT_EXIT 200u  /* milliseconds that the end of the program waits for what is still to be written */

enum { RING = 128, BURST = 10, MESSAGES = 128 };

static const char *const level_names[] = {"none", "error", "warning", "info", "debug"};

static _Atomic int level = NOT_READ;

typedef struct record {
  hmc_log_level_t level;
  pid_t thread;
  struct timespec time; /* of the clock on the wall */
  char text[RECORD_SIZE];
} record_t;

/* How often a message came. Two formats may share a place: then the later one takes it. */
typedef struct message {
  const char *format;
  uint64_t since;
  uint32_t count, left_out;
} message_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER; /* the ring, or what is being written */
static struct {
  hmc_log_callback_t callback; /* NULL: stderr */
  void *user;
} sink;
static record_t ring[RING];
static uint32_t ring_first, ring_count;
static uint64_t ring_left_out;
static bool has_thread;
static uint32_t writing; /* records on their way: one out of the ring, and those that threads write to stderr at once */
static message_t messages[MESSAGES];

static _Thread_local bool is_writer;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static void begin_child(void) {
  pthread_mutex_init(&lock, NULL);
  pthread_cond_init(&changed, NULL);
  ring_count = 0;
  ring_left_out = 0;
  has_thread = false;
  writing = 0;
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, begin_child); }

bool hmci_log_level_parse(const char *name, hmc_log_level_t *parsed) {
  for (int i = HMC_LOG_NONE; i <= HMC_LOG_DEBUG; i++) {
    if (strcasecmp(name, level_names[i]) == 0) {
      *parsed = (hmc_log_level_t)i;
      return true;
    }
  }
  return false;
}

hmc_log_level_t hmc_log_get_level(void) {
  int current = atomic_load(&level);
  if (HMCI_LIKELY(current != NOT_READ)) {
    return (hmc_log_level_t)current;
  }
  hmc_log_level_t wanted = HMC_LOG_WARNING;
  const char *name = getenv("HMC_LOG");
  bool is_known = name == NULL || name[0] == '\0' || hmci_log_level_parse(name, &wanted);
  if (!atomic_compare_exchange_strong(&level, &current, (int)wanted)) {
    return (hmc_log_level_t)current;
  }
  if (!is_known) {
    hmci_log(HMC_LOG_WARNING, "HMC_LOG=%s: takes none, error, warning, info or debug; warning is used", name);
  }
  return wanted;
}

void hmc_log_set_level(hmc_log_level_t wanted) {
  int value = (int)wanted;
  atomic_store(&level, value < HMC_LOG_NONE ? HMC_LOG_NONE : value > HMC_LOG_DEBUG ? HMC_LOG_DEBUG : value);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Who wrote it is part of the line, because several processes and threads often share one stderr. UTC: the zone's rules
 * would take a lock of the C library. */
static size_t make_line(const record_t *record, char line[LINE_SIZE]) {
  unsigned second = (unsigned)(record->time.tv_sec % 86400);
  int length = snprintf(line, LINE_SIZE, "hmc %02u:%02u:%02u.%06ldZ %d/%d %s: %s\n", second / 3600, second / 60 % 60,
                        second % 60, record->time.tv_nsec / 1000, (int)getpid(), (int)record->thread,
                        level_names[record->level], record->text);
  return length > 0 ? (size_t)length : 0;
}

/* One write, so that lines of several threads and processes do not run into each other. */
static void write_line(const record_t *record) {
  char line[LINE_SIZE];
  ssize_t ignored = write(STDERR_FILENO, line, make_line(record, line));
  (void)ignored;
}

/* Writing to a pipe without a reader raises SIGPIPE, and writing past the file size limit raises SIGXFSZ; both end most
 * programs. The signal `raises` is blocked in this thread during the write, and taken afterwards. */
static bool write_quietly(const struct iovec *part, int raises, int flags) {
  sigset_t raised, before, pending;
  sigemptyset(&raised);
  sigaddset(&raised, raises);
  sigpending(&pending);
  pthread_sigmask(SIG_BLOCK, &raised, &before);
  bool done = pwritev2(STDERR_FILENO, part, 1, -1, flags) > 0;
  if (!done && (errno == EPIPE || errno == EFBIG) && !sigismember(&pending, raises))
    sigtimedwait(&raised, NULL, &(struct timespec){0});
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return done;
}

/* False: it would block, or nobody can tell. */
static bool write_at_once(const record_t *record) {
  char line[LINE_SIZE];
  struct stat file;
  struct iovec part = {line, make_line(record, line)};
  if (fstat(STDERR_FILENO, &file)) return true; /* there is no stderr */
  if (S_ISREG(file.st_mode)) return write_quietly(&part, SIGXFSZ, 0);
  if (S_ISSOCK(file.st_mode)) return send(STDERR_FILENO, line, part.iov_len, MSG_DONTWAIT | MSG_NOSIGNAL) > 0;
  return S_ISFIFO(file.st_mode) && write_quietly(&part, SIGPIPE, RWF_NOWAIT);
}

/* With `lock` held. A child that was forked in a callback counts nothing. */
static void end_writing(void) {
  if (writing > 0) writing--;
  pthread_cond_broadcast(&changed);
}

static void *write_ring(void *unused) {
  (void)unused;
  is_writer = true;
  static record_t record; /* the one writer's */
  pthread_mutex_lock(&lock);
  for (;;) {
    while (!ring_count) pthread_cond_wait(&changed, &lock);
    record = ring[ring_first];
    ring_first = (ring_first + 1) % RING;
    ring_count--;
    writing++;
    hmc_log_callback_t callback = sink.callback;
    void *user = sink.user;
    pthread_mutex_unlock(&lock);
    if (callback) {
      callback(record.level, record.text, user);
    } else {
      write_line(&record);
    }
    pthread_mutex_lock(&lock);
    end_writing();
  }
  return NULL;
}

static bool start_thread(void) {
  pthread_t thread;
  if (hmci_thread_create(&thread, write_ring, NULL) != 0) return false;
  pthread_setname_np(thread, "hmc-log");
  pthread_detach(thread);
  return true;
}

/* With `lock` held. */
static void put_into_ring(const record_t *record) {
  if (!has_thread) has_thread = start_thread();
  if (!has_thread || ring_count == RING) {
    ring_left_out++;
    return;
  }
  record_t *slot = &ring[(ring_first + ring_count) % RING];
  slot->level = record->level;
  slot->thread = record->thread;
  slot->time = record->time;
  int length = snprintf(slot->text, sizeof slot->text, "%s", record->text);
  if (ring_left_out && length > 0 && (size_t)length < sizeof slot->text) {
    snprintf(slot->text + length, sizeof slot->text - (size_t)length, " (%llu lines before this one were left out)",
             (unsigned long long)ring_left_out);
    ring_left_out = 0;
  }
  ring_count++;
  pthread_cond_broadcast(&changed);
}

/* Waits until all is written, at most so long. With `lock` held. */
static bool drain(uint64_t timeout_ms) {
  uint64_t deadline = hmci_deadline(timeout_ms);
  while (ring_count || writing) {
    uint64_t now = hmci_now();
    if (now >= deadline) return false;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t nanoseconds = (uint64_t)until.tv_nsec + (deadline - now < 10000000u ? deadline - now : 10000000u);
    until.tv_sec += (time_t)(nanoseconds / 1000000000u);
    until.tv_nsec = (long)(nanoseconds % 1000000000u);
    pthread_cond_timedwait(&changed, &lock, &until);
  }
  return true;
}

bool hmci_log_flush(uint64_t timeout_ms) {
  pthread_mutex_lock(&lock);
  bool done = is_writer || drain(timeout_ms);
  pthread_mutex_unlock(&lock);
  return done;
}

/* The end of the program: what waits still comes out, unless nobody takes it. */
__attribute__((destructor)) static void flush_at_exit(void) { hmci_log_flush(FLUSH_AT_EXIT); }

void hmc_log_set_callback(hmc_log_callback_t callback, void *user) {
  pthread_once(&once, watch_fork);
  pthread_mutex_lock(&lock);
  if (!is_writer) drain(sink.callback ? UINT64_MAX : FLUSH_AT_EXIT);
  sink.callback = callback;
  sink.user = user;
  pthread_mutex_unlock(&lock);
}

/* ---- logging ----------------------------------------------------------------------------------------------------- */

/* May this message pass? `left_out` gets how many did not before it. With `lock` held. */
static bool may_pass(hmc_log_level_t record_level, const char *format, uint32_t *left_out) {
  *left_out = 0;
  if (record_level == HMC_LOG_DEBUG) return true;
  message_t *message = &messages[((uintptr_t)format >> 3) % MESSAGES];
  uint64_t now = hmci_now();
  if (message->format != format || now - message->since > WINDOW) {
    *left_out = message->format == format ? message->left_out : 0;
    *message = (message_t){.format = format, .since = now};
  }
  bool passes = message->count < BURST;
  passes ? message->count++ : message->left_out++;
  return passes;
}

/* With `lock` held, which is let go while stderr is written to. */
static void deliver(const record_t *record) {
  if (sink.callback || ring_count || writing) {
    put_into_ring(record);
    return;
  }
  writing++;
  pthread_mutex_unlock(&lock);
  bool done = write_at_once(record);
  pthread_mutex_lock(&lock);
  if (!done) put_into_ring(record);
  end_writing();
}

void hmc_log_write(hmc_log_level_t record_level, const char *text) {
  if (text) hmci_log(record_level, "%s", text);
}

void hmci_log(hmc_log_level_t record_level, const char *format, ...) {
  if (record_level == HMC_LOG_NONE || record_level > hmc_log_get_level()) {
    return;
  }
  int saved_errno = errno;
  uint32_t left_out;
  pthread_once(&once, watch_fork);
  pthread_mutex_lock(&lock);
  bool passes = may_pass(record_level, format, &left_out);
  pthread_mutex_unlock(&lock);
  if (passes) {
    record_t record = {.level = record_level, .thread = gettid()};
    clock_gettime(CLOCK_REALTIME, &record.time);
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(record.text, sizeof record.text, format, arguments);
    va_end(arguments);
    if (length < 0) {
      record.text[0] = '\0';
    } else if (left_out && (size_t)length < sizeof record.text) {
      snprintf(record.text + length, sizeof record.text - (size_t)length, " (and %u more like this one)", left_out);
    }
    hmci_text_clean(record.text);
    if (record_level <= HMC_LOG_WARNING) hmci_record(HMC_RECORD_LOG, HMC_SUCCESS, 0, 0, record.text);
    pthread_mutex_lock(&lock);
    deliver(&record);
    pthread_mutex_unlock(&lock);
  }
  errno = saved_errno;
}
