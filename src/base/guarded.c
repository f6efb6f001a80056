/* Copies to and from memory that may not be there (see guarded.h).
 *
 * By process_vm_readv and process_vm_writev on this very process, which needs no right. What they do not reach goes
 * through a pipe of this thread's own: read() and write() answer EFAULT as well. That is all memory where the system
 * forbids those calls, and memory that a driver has mapped (a dma-buf) or that is secret (memfd_secret). */
#include "guarded.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { PIPE = 4096 }; /* bytes that a pipe takes in any case */

static _Atomic bool by_pipe; /* the calls are forbidden here */

static bool is_forbidden(void) {
  if (errno != EPERM && errno != ENOSYS && errno != EACCES) return false;
  atomic_store_explicit(&by_pipe, true, memory_order_relaxed);
  return true;
}

/* A pipe for one copy: rare enough, and nothing to be left behind. */
static bool copy_by_pipe(void *to, const void *from, uint64_t size) {
  int ends[2];
  bool done = pipe2(ends, O_CLOEXEC) == 0;
  if (!done) return false;
  while (done && size) {
    size_t length = size < PIPE ? (size_t)size : PIPE;
    ssize_t put = write(ends[1], from, length);
    for (ssize_t got = 0; put > 0 && got < put;) {
      ssize_t some = read(ends[0], (uint8_t *)to + got, (size_t)(put - got));
      if (some <= 0) put = -1;
      got += some;
    }
    done = put > 0;
    if (!done) break;
    to = (uint8_t *)to + put;
    from = (const uint8_t *)from + put;
    size -= (uint64_t)put;
  }
  close(ends[0]);
  close(ends[1]);
  return done;
}

static bool copy(void *to, const void *from, uint64_t size, bool reads) {
  while (size && !atomic_load_explicit(&by_pipe, memory_order_relaxed)) {
    size_t length = size < (1u << 30) ? (size_t)size : 1u << 30;
    void *sound = reads ? to : (void *)(uintptr_t)from, *doubtful = reads ? (void *)(uintptr_t)from : to;
    struct iovec here = {sound, length}, there = {doubtful, length};
    ssize_t done = reads ? process_vm_readv(getpid(), &here, 1, &there, 1, 0)
                         : process_vm_writev(getpid(), &here, 1, &there, 1, 0);
    if (done < 0 && is_forbidden()) break;
    if (done <= 0) break;
    to = (uint8_t *)to + done;
    from = (const uint8_t *)from + done;
    size -= (uint64_t)done;
  }
  return !size || copy_by_pipe(to, from, size);
}

bool hmci_guarded_read(void *to, const void *doubtful, uint64_t size) { return copy(to, doubtful, size, true); }
bool hmci_guarded_write(void *doubtful, const void *from, uint64_t size) { return copy(doubtful, from, size, false); }

/* `one`: the bytes of all parts, one behind the other. */
static bool copy_parts(const struct iovec *doubtful, int count, void *one, bool reads) {
  enum { PARTS = 256 }; /* fewer than the kernel takes at once */
  uint8_t *at = one;
  for (int first = 0; first < count; first += PARTS) {
    unsigned long some = count - first < PARTS ? (unsigned long)(count - first) : PARTS;
    uint64_t size = 0;
    for (unsigned long i = 0; i < some; i++) size += doubtful[first + (int)i].iov_len;
    struct iovec here = {at, size};
    bool whole = false;
    if (!atomic_load_explicit(&by_pipe, memory_order_relaxed)) {
      ssize_t done = reads ? process_vm_readv(getpid(), &here, 1, doubtful + first, some, 0)
                           : process_vm_writev(getpid(), &here, 1, doubtful + first, some, 0);
      whole = done == (ssize_t)size;
    }
    for (unsigned long i = 0; i < some; i++) { /* the calls are forbidden, or stopped early */
      const struct iovec *part = &doubtful[first + (int)i];
      void *to = reads ? at : part->iov_base;
      if (!whole && !copy(to, reads ? part->iov_base : at, part->iov_len, reads)) return false;
      at += part->iov_len;
    }
  }
  return true;
}

bool hmci_guarded_gather(void *to, const struct iovec *doubtful, int count) {
  return copy_parts(doubtful, count, to, true);
}

bool hmci_guarded_scatter(const struct iovec *doubtful, int count, const void *from) {
  return copy_parts(doubtful, count, (void *)(uintptr_t)from, false);
}

/* The kernel adds nothing to the word, atomically, and wakes nobody: an access for writing that changes nothing. */
bool hmci_guarded_is_word(void *doubtful) {
  int nothing = FUTEX_OP(FUTEX_OP_ADD, 0, FUTEX_OP_CMP_EQ, 0);
  uint32_t mine = 0;
  return syscall(SYS_futex, &mine, FUTEX_WAKE_OP_PRIVATE, 0, 0L, doubtful, nothing) >= 0 || errno != EFAULT;
}

/* The kernel reads a mask before it finds that there is no such way to set one: no call that reads costs less. What else it
 * answers, in a sandbox, says nothing. */
static bool is_page_there(const uint8_t *byte) {
  enum { NO_WAY = -1, MASK = 8 };
  const uint8_t *mask = byte - (uintptr_t)byte % MASK;
  if (syscall(SYS_rt_sigprocmask, NO_WAY, mask, NULL, MASK) < 0 && errno == EINVAL) return true;
  uint8_t read;
  return errno != EFAULT && hmci_guarded_read(&read, byte, 1);
}

bool hmci_guarded_is_there(const void *doubtful, uint64_t size) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  for (uint64_t at = 0; at < size; at += page - ((uintptr_t)doubtful + at) % page)
    if (!is_page_there((const uint8_t *)doubtful + at)) return false;
  return true;
}

bool hmci_guarded_is_writable(void *doubtful, uint64_t size) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  for (uint64_t at = 0; at < size;) {
    uint8_t *byte = (uint8_t *)doubtful + at;
    if (!hmci_guarded_is_word(byte - (uintptr_t)byte % 4)) return false;
    at += page - (uintptr_t)byte % page;
  }
  return true;
}
