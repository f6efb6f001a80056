/* The flight recorder (see recorder.h).
 *
 * Invariant: a record whose `time` is not 0 is whole, or was torn by a writer that died in the middle of it; who reads
 * looks at each by itself. Locking: `lock` guards the opening; writers share nothing but the counter. */
#include "recorder.h"

#include "file_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RECORDS = 1 << 14, VERSION = 1, TEXT_SIZE = 32, HEAD_SIZE = 4096 };

static const char magic[8] = "HMCRECRD";

typedef struct slot {
  _Atomic uint64_t time; /* nanoseconds since 1970; 0: nothing is here */
  uint64_t duration, bytes;
  uint16_t kind, status;
  uint32_t thread;
  char text[TEXT_SIZE];
} slot_t;

typedef struct hmci_ring_file {
  char magic[8];
  uint32_t version, slot_size, slots, process;
  _Atomic uint64_t next;
  _Alignas(HEAD_SIZE) slot_t ring[RECORDS];
} ring_file_t;

ring_file_t *_Atomic hmci_recorder;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

hmc_status_t hmci_path_expand(const char *path, char *expanded, size_t size) {
  const char *mark = strstr(path, "%p");
  int length = mark ? snprintf(expanded, size, "%.*s%d%s", (int)(mark - path), path, (int)getpid(), mark + 2)
                    : snprintf(expanded, size, "%s", path);
  return length >= 0 && (size_t)length < size ? HMC_SUCCESS
                                              : hmci_fail(HMC_INVALID_CONFIG, "the path %.64s... is too long", path);
}

/* A child of fork writes into a file of its own, or not at all: the ring is the parent's. */
static void begin_child(void) {
  pthread_mutex_init(&lock, NULL);
  atomic_store(&hmci_recorder, NULL);
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, begin_child); }

/* A recorder's file of before makes way; another process may still write to it, so that it is not truncated. Anything
 * else stays. */
static void make_way(const char *path) {
  char start[sizeof magic] = "";
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (file < 0) return;
  if (read(file, start, sizeof start) == (ssize_t)sizeof start && memcmp(start, magic, sizeof magic) == 0) unlink(path);
  close(file);
}

static hmc_status_t map_file(const char *path) {
  make_way(path);
  int file = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0 && errno == EEXIST)
    return hmci_fail(HMC_INVALID_CONFIG, "HMC_RECORDER=%s: it is there and not a recorder's file: name another one",
                     path);
  if (file < 0) return hmci_fail(HMC_INVALID_CONFIG, "HMC_RECORDER=%s: it cannot be made: %s", path, strerror(errno));
  /* Its room is taken now: a full disk must not end the program later. */
  int error = hmci_file_may_have(sizeof(ring_file_t)) ? posix_fallocate(file, 0, sizeof(ring_file_t)) : errno;
  void *memory = error ? MAP_FAILED : mmap(NULL, sizeof(ring_file_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (!error && memory == MAP_FAILED) error = errno;
  close(file);
  if (error) {
    unlink(path); /* an empty file is in the way of the next one */
    return hmci_fail(HMC_INVALID_CONFIG, "HMC_RECORDER=%s: %s", path, strerror(error));
  }
  ring_file_t *ring = memory;
  ring->version = VERSION;
  ring->slot_size = sizeof(slot_t);
  ring->slots = RECORDS;
  ring->process = (uint32_t)getpid();
  memcpy(ring->magic, magic, sizeof magic);
  atomic_store(&hmci_recorder, ring);
  return HMC_SUCCESS;
}

hmc_status_t hmci_recorder_open(const char *path) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  char expanded[512];
  hmc_status_t status = hmci_path_expand(path, expanded, sizeof expanded);
  if (status != HMC_SUCCESS) return status;
  pthread_once(&once, watch_fork);
  pthread_mutex_lock(&lock);
  if (!atomic_load(&hmci_recorder)) status = map_file(expanded);
  pthread_mutex_unlock(&lock);
  return status;
}

void hmci_recorder_write(hmc_record_kind_t kind, hmc_status_t status, uint64_t bytes, uint64_t duration,
                         const char *text) {
  ring_file_t *ring = atomic_load(&hmci_recorder);
  if (!ring) return;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  slot_t *slot = &ring->ring[atomic_fetch_add_explicit(&ring->next, 1, memory_order_relaxed) % RECORDS];
  atomic_store(&slot->time, 0);
  slot->duration = duration;
  slot->bytes = bytes;
  slot->kind = (uint16_t)kind;
  slot->status = (uint16_t)status;
  slot->thread = (uint32_t)gettid();
  size_t length = strlen(text);
  if (length >= TEXT_SIZE) length = TEXT_SIZE - 1;
  memcpy(slot->text, text, length);
  slot->text[length] = '\0';
  atomic_store(&slot->time, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static hmc_status_t open_file(const char *path, const ring_file_t **ring) {
  struct stat found;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return hmci_fail(HMC_NOT_FOUND, "%s: %s", path, strerror(errno));
  bool fits = fstat(file, &found) == 0 && (size_t)found.st_size >= sizeof(ring_file_t);
  void *memory = fits ? mmap(NULL, sizeof(ring_file_t), PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
  close(file);
  if (memory == MAP_FAILED) return hmci_fail(HMC_CORRUPT, "%s is not a recorder's file: it is too short", path);
  const ring_file_t *there = memory;
  if (memcmp(there->magic, magic, sizeof magic) != 0 || there->version != VERSION ||
      there->slot_size != sizeof(slot_t) || there->slots != RECORDS) {
    munmap(memory, sizeof(ring_file_t));
    return hmci_fail(HMC_CORRUPT, "%s is not a recorder's file, or one of another version", path);
  }
  *ring = there;
  return HMC_SUCCESS;
}

static bool take(const ring_file_t *ring, uint64_t index, hmc_record_t *record) {
  const slot_t *slot = &ring->ring[index % RECORDS];
  *record = (hmc_record_t){.size = sizeof *record, .nanoseconds = atomic_load(&slot->time)};
  if (!record->nanoseconds) return false;
  record->duration = slot->duration;
  record->bytes = slot->bytes;
  record->kind = (hmc_record_kind_t)slot->kind;
  record->status = hmci_status_known(slot->status);
  record->process = (int)ring->process;
  record->thread = (int)slot->thread;
  memcpy(record->text, slot->text, TEXT_SIZE - 1);
  hmci_text_clean(record->text);
  return atomic_load(&slot->time) == record->nanoseconds; /* else it was written meanwhile */
}

hmc_status_t hmc_recorder_read(const char *path, hmc_record_visit_t visit, void *user) {
  if (!path || !visit) return hmci_fail(HMC_INVALID_CONFIG, "hmc_recorder_read: path or visit is NULL");
  const ring_file_t *ring = NULL;
  hmc_status_t status = open_file(path, &ring);
  if (status != HMC_SUCCESS) return status;
  uint64_t end = atomic_load(&ring->next), begin = end > RECORDS ? end - RECORDS : 0;
  for (uint64_t index = begin; index < end; index++) {
    hmc_record_t record;
    if (take(ring, index, &record)) visit(&record, user);
  }
  munmap((void *)(uintptr_t)ring, sizeof(ring_file_t));
  return HMC_SUCCESS;
}
