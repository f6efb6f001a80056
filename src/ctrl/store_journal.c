/* The journal of a store (see store_journal.h). Invariant: the file begins with `magic`, whole records follow, and the
 * descriptor stands at their end. */
#include "store_journal.h"

#include "../base/file_limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { MAGIC = 8, RECORD_MAX = HMCI_STORE_FIXED + HMC_STORE_KEY_MAX + HMC_STORE_GATHER_MAX + (4 << 20) };

static const char magic[MAGIC + 1] = "HMCSTOR1";

struct hmci_store_journal {
  int descriptor;
  uint64_t size;
  char path[4096];
};

static hmc_status_t fail_file(const char *path, const char *what) {
  return hmci_fail(HMC_INVALID_CONFIG, "the store's journal %s cannot be %s: %s", path, what, strerror(errno));
}

/* Is it still what lies there? A server that wrote its journal again has put another file in its place. */
static bool is_in_place(const hmci_store_journal_t *journal) {
  struct stat mine, there;
  return fstat(journal->descriptor, &mine) == 0 && lstat(journal->path, &there) == 0 && mine.st_ino == there.st_ino &&
         mine.st_dev == there.st_dev;
}

/* A new handle of a locked file. */
static hmc_status_t open_file(const char *path, int flags, hmci_store_journal_t **opened) {
  hmci_store_journal_t *journal = calloc(1, sizeof(*journal));
  if (journal == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a journal");
  }
  hmc_status_t status = HMC_SUCCESS;
  int length = snprintf(journal->path, sizeof(journal->path), "%s", path);
  journal->descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (length < 0 || (size_t)length >= sizeof(journal->path) || journal->descriptor < 0) {
    status = fail_file(path, "opened");
  } else if (flock(journal->descriptor, LOCK_EX | LOCK_NB) != 0 || !is_in_place(journal)) {
    status = hmci_fail(HMC_ADDRESS_IN_USE, "another server has the journal %s", path);
  }
  if (status != HMC_SUCCESS) {
    hmci_store_journal_close(journal);
    return status;
  }
  *opened = journal;
  return HMC_SUCCESS;
}

void hmci_store_journal_close(hmci_store_journal_t *journal) {
  if (journal != NULL) {
    if (journal->descriptor >= 0) {
      close(journal->descriptor);
    }
    free(journal);
  }
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

/* Reads `size` bytes at `offset`; false at the end of the file. */
static bool read_at(const hmci_store_journal_t *journal, void *data, size_t size, uint64_t offset) {
  size_t filled = 0;
  while (filled < size) {
    ssize_t got = pread(journal->descriptor, (uint8_t *)data + filled, size - filled, (off_t)(offset + filled));
    if (got < 0 && errno == EINTR) {
      continue;
    }
    if (got <= 0) {
      return false;
    }
    filled += (size_t)got;
  }
  return true;
}

/* Reads one record. HMC_NOT_FOUND: what follows is none, or not whole. */
static hmc_status_t read_record(const hmci_store_journal_t *journal, uint64_t offset, uint8_t **body,
                                hmci_store_message_t *record, uint64_t *size) {
  uint8_t head[HMCI_FRAME_HEADER];
  hmci_frame_header_t header;
  if (!read_at(journal, head, sizeof(head), offset) || hmci_frame_decode(head, RECORD_MAX, &header) != HMC_SUCCESS) {
    return HMC_NOT_FOUND;
  }
  uint8_t *room = realloc(*body, header.size > 0 ? header.size : 1);
  if (room == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a record of %u B", header.size);
  }
  *body = room;
  if (!read_at(journal, *body, header.size, offset + sizeof(head)) || hmci_frame_check(&header, *body) != HMC_SUCCESS ||
      hmci_store_decode(&header, *body, record) != HMC_SUCCESS) {
    return HMC_NOT_FOUND;
  }
  *size = sizeof(head) + header.size;
  return HMC_SUCCESS;
}

static hmc_status_t read_all(hmci_store_journal_t *journal, uint64_t end, hmci_store_replay_t replay, void *user) {
  uint8_t *body = NULL;
  hmc_status_t status;
  do {
    hmci_store_message_t record;
    uint64_t size = 0;
    status = read_record(journal, journal->size, &body, &record, &size);
    if (status == HMC_SUCCESS) {
      status = replay(user, &record);
      journal->size += size;
    }
  } while (status == HMC_SUCCESS);
  free(body);
  if (status == HMC_NOT_FOUND) {
    if (journal->size < end) {
      hmci_log(HMC_LOG_WARNING, "store: the journal %s ends in %llu B that are not a whole record; they are dropped",
               journal->path, (unsigned long long)(end - journal->size));
    }
    status = HMC_SUCCESS;
  }
  return status;
}

static hmc_status_t start_file(hmci_store_journal_t *journal) {
  if (!hmci_file_may_have(MAGIC) || pwrite(journal->descriptor, magic, MAGIC, 0) != MAGIC) {
    return fail_file(journal->path, "written");
  }
  journal->size = MAGIC;
  return HMC_SUCCESS;
}

static hmc_status_t read_file(hmci_store_journal_t *journal, hmci_store_replay_t replay, void *user) {
  struct stat file;
  char begin[MAGIC];
  if (fstat(journal->descriptor, &file) != 0) {
    return fail_file(journal->path, "read");
  }
  if (file.st_size == 0) {
    return start_file(journal);
  }
  if (!read_at(journal, begin, MAGIC, 0) || memcmp(begin, magic, MAGIC) != 0) {
    return hmci_fail(HMC_CORRUPT, "%s is not a journal of a store: name another file, or move this one away",
                     journal->path);
  }
  journal->size = MAGIC;
  hmc_status_t status = read_all(journal, (uint64_t)file.st_size, replay, user);
  if (status == HMC_SUCCESS && ftruncate(journal->descriptor, (off_t)journal->size) != 0) {
    status = fail_file(journal->path, "cut");
  }
  return status;
}

hmc_status_t hmci_store_journal_open(const char *path, hmci_store_replay_t replay, void *user,
                                     hmci_store_journal_t **opened) {
  hmci_store_journal_t *journal;
  hmc_status_t status = open_file(path, 0, &journal);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = read_file(journal, replay, user);
  if (status != HMC_SUCCESS) {
    hmci_store_journal_close(journal);
    return status;
  }
  *opened = journal;
  return HMC_SUCCESS;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Writes both parts; a record that the disk takes in part only is taken back. */
static bool write_parts(hmci_store_journal_t *journal, struct iovec parts[2]) {
  uint64_t size = parts[0].iov_len + parts[1].iov_len, written = 0;
  if (!hmci_file_may_have(journal->size + size)) {
    return false;
  }
  while (written < size) {
    ssize_t done = pwritev(journal->descriptor, parts, 2, (off_t)(journal->size + written));
    if (done < 0 && errno == EINTR) {
      continue;
    }
    if (done <= 0) {
      return false;
    }
    written += (uint64_t)done;
    for (int i = 0; i < 2; i++) {
      size_t taken = (size_t)done < parts[i].iov_len ? (size_t)done : parts[i].iov_len;
      parts[i].iov_base = (uint8_t *)parts[i].iov_base + taken;
      parts[i].iov_len -= taken;
      done -= (ssize_t)taken;
    }
  }
  journal->size += size;
  return true;
}

hmc_status_t hmci_store_journal_write(hmci_store_journal_t *journal, const hmci_store_message_t *record) {
  uint8_t head[HMCI_FRAME_HEADER + HMCI_STORE_FIXED + HMC_STORE_KEY_MAX];
  hmci_store_encode_head(record, head);
  struct iovec parts[2] = {{head, hmci_store_head_size(record)},
                           {(void *)(uintptr_t)record->value, record->value_size}};
  if (!write_parts(journal, parts)) {
    int error = errno;
    int ignored = ftruncate(journal->descriptor, (off_t)journal->size);
    (void)ignored; /* the reader drops what is not whole */
    return hmci_fail(HMC_ERROR, "the journal %s takes no record: %s", journal->path, strerror(error));
  }
  return HMC_SUCCESS;
}

/* ---- a fresh one ------------------------------------------------------------------------------------------------- */

uint64_t hmci_store_journal_size(const hmci_store_journal_t *journal) { return journal->size; }

hmc_status_t hmci_store_journal_begin(hmci_store_journal_t *journal, hmci_store_journal_t **fresh) {
  char path[sizeof(journal->path)];
  int length = snprintf(path, sizeof(path), "%s.new", journal->path);
  if (length < 0 || (size_t)length >= sizeof(path)) {
    return hmci_fail(HMC_INVALID_CONFIG, "the journal's path is too long: %s", journal->path);
  }
  hmci_store_journal_t *made;
  hmc_status_t status = open_file(path, O_TRUNC, &made);
  if (status == HMC_SUCCESS) {
    status = start_file(made);
    if (status != HMC_SUCCESS) {
      unlink(path);
      hmci_store_journal_close(made);
      return status;
    }
    *fresh = made;
  }
  return status;
}

hmc_status_t hmci_store_journal_end(hmci_store_journal_t **journal, hmci_store_journal_t *fresh, bool keep) {
  hmc_status_t status = HMC_SUCCESS;
  if (keep && rename(fresh->path, (*journal)->path) != 0) {
    status = fail_file((*journal)->path, "replaced");
    keep = false;
  }
  if (!keep) {
    unlink(fresh->path);
    hmci_store_journal_close(fresh);
    return status;
  }
  memcpy(fresh->path, (*journal)->path, sizeof(fresh->path));
  hmci_store_journal_close(*journal);
  *journal = fresh;
  return HMC_SUCCESS;
}
