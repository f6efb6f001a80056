/* Logging.
 *
 * Invariants: `level` is NOT_READ until the first use reads HMC_LOG; hmc_log_set_level may come first. A record is one
 * line.
 *
 * Locking: `sink_lock` guards `sink`. It is held for reading while a callback runs, so that who changes the callback
 * (writing) waits for those calls; callbacks run beside each other. A child made by fork() starts with a fresh lock:
 * the calls that held it are not in the child. */
#include "base.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NOT_READ (-1)
#define RECORD_SIZE 2048

static const char *const level_names[] = {"none", "error", "warning", "info", "debug"};

static _Atomic int level = NOT_READ;

static pthread_rwlock_t sink_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct {
  hmc_log_callback_t callback; /* NULL: stderr */
  void *user;
} sink; /* guarded by sink_lock */

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void renew_lock(void) { pthread_rwlock_init(&sink_lock, NULL); }
static void watch_fork(void) { pthread_atfork(NULL, NULL, renew_lock); }

bool hmci_log_level_parse(const char *name, hmc_log_level_t *parsed) {
  for (int i = HMC_LOG_NONE; i <= HMC_LOG_DEBUG; i++) {
    if (strcmp(name, level_names[i]) == 0) {
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

void hmc_log_set_callback(hmc_log_callback_t callback, void *user) {
  pthread_once(&fork_once, watch_fork);
  pthread_rwlock_wrlock(&sink_lock);
  sink.callback = callback;
  sink.user = user;
  pthread_rwlock_unlock(&sink_lock);
}

/* One write, so that lines of several threads and processes do not run into each other. */
static void write_line(hmc_log_level_t record_level, const char *text) {
  char line[RECORD_SIZE + 32];
  int length = snprintf(line, sizeof(line), "hmc: %s: %s\n", level_names[record_level], text);
  if (length > 0) {
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length);
    (void)ignored;
  }
}

void hmci_log(hmc_log_level_t record_level, const char *format, ...) {
  if (record_level == HMC_LOG_NONE || record_level > hmc_log_get_level()) {
    return;
  }
  int saved_errno = errno;
  char text[RECORD_SIZE];
  va_list arguments;
  va_start(arguments, format);
  int wanted = vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  if (wanted < 0) {
    text[0] = '\0';
  }
  hmci_text_clean(text);
  pthread_once(&fork_once, watch_fork);
  pthread_rwlock_rdlock(&sink_lock);
  if (sink.callback != NULL) {
    sink.callback(record_level, text, sink.user);
  } else {
    write_line(record_level, text);
  }
  pthread_rwlock_unlock(&sink_lock);
  errno = saved_errno;
}
