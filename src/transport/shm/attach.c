/* Reading from the peer's process: many places by one call of the kernel's. */
#include "shm.h"

#include "../../base/guarded.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* The peer's number could be somebody else's once it is dead; its descriptor cannot. */
bool hmci_shm_is_alive(const shm_connection_t *connection) {
  struct pollfd dead = {.fd = connection->peer_pidfd, .events = POLLIN};
  return poll(&dead, 1, 0) == 0;
}

uint32_t hmci_shm_next_parts(shm_cursor_t *cursor, hmci_segment_t *parts, uint32_t most, uint64_t bytes) {
  uint32_t some = 0;
  while (some < most && bytes && cursor->index < cursor->count) {
    hmci_segment_t part = cursor->segments[cursor->index];
    uint64_t left = part.length - cursor->done;
    part.local += cursor->done;
    part.remote += cursor->done;
    part.length = left < bytes ? left : bytes;
    cursor->done += part.length;
    bytes -= part.length;
    if (part.length) parts[some++] = part;
    if (part.length < left) break;
    cursor->index++;
    cursor->done = 0;
  }
  return some;
}

/* Takes what has been read off the front of the list. */
static void advance(shm_read_t **reads, uint32_t *count, uint64_t done) {
  while (done) {
    shm_read_t *first = *reads;
    uint64_t part = done < first->length ? done : first->length;
    first->here += part;
    first->there += part;
    first->length -= part;
    done -= part;
    if (first->length) return;
    ++*reads;
    --*count;
  }
}

shm_fault_t hmci_shm_read(int process, shm_read_t *reads, uint32_t count) {
  while (count) {
    struct iovec here[SHM_READS], there[SHM_READS];
    uint32_t some = count < SHM_READS ? count : SHM_READS;
    for (uint32_t i = 0; i < some; i++) {
      here[i] = (struct iovec){reads[i].here, reads[i].length};
      there[i] = (struct iovec){(void *)(uintptr_t)reads[i].there, reads[i].length};
    }
    /* By its number: a thread sanitizer, which sees two mappings of a page as two memories, would find this write
     * unordered where both ends are in one process. */
    ssize_t done = syscall(SYS_process_vm_readv, process, here, (unsigned long)some, there, (unsigned long)some, 0ul);
    if (done > 0) {
      advance(&reads, &count, (uint64_t)done);
      continue;
    }
    /* Nothing was moved: it is the first one that fails. */
    if (done < 0 && errno == EFAULT)
      return hmci_guarded_is_writable(reads->here, reads->length) ? SHM_FAULT_THERE : SHM_FAULT_HERE;
    if (done == 0 || errno == ESRCH) return SHM_FAULT_DEAD;
    bool denied = errno == EPERM || errno == EACCES || errno == ENOSYS;
    hmci_fail(HMC_ERROR, "reaching into process %d: %s", process, strerror(errno));
    return denied ? SHM_FAULT_DENIED : SHM_FAULT_OTHER;
  }
  return SHM_FAULT_NONE;
}
