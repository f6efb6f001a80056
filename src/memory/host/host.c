/* Host memory: pages of this process. One device; plain loads and stores reach it.
 *
 * Locking: `lock` guards `live`. It is held for a lookup only, and across fork() so that the child finds it free. */
#include "../memory.h"
#include "../ranges.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_ranges_t live; /* guarded by lock; what host_allocate gave, with the sizes that were mapped */
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void lock_live(void) { pthread_mutex_lock(&lock); }
static void unlock_live(void) { pthread_mutex_unlock(&lock); }
static void watch_fork(void) { pthread_atfork(lock_live, unlock_live, unlock_live); }

static hmc_status_t host_open(int *devices) {
  *devices = 1;
  return HMC_SUCCESS;
}

static hmc_status_t host_allocate(int device, size_t size, void **pointer) {
  (void)device;
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  if (size > SIZE_MAX - page) {
    return hmci_fail(HMC_NO_MEMORY, "cpu: no room for %zu bytes", size);
  }
  size_t mapped = (size + page - 1) / page * page;
  void *start = mmap(NULL, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) {
    return hmci_fail(HMC_NO_MEMORY, "cpu: no room for %zu bytes: %s", size, strerror(errno));
  }
  pthread_once(&fork_once, watch_fork);
  lock_live();
  hmc_status_t status = hmci_ranges_insert(&live, start, mapped, NULL);
  unlock_live();
  if (status != HMC_SUCCESS) {
    munmap(start, mapped);
    return status;
  }
  *pointer = start;
  return HMC_SUCCESS;
}

static hmc_status_t host_free(int device, void *pointer) {
  (void)device;
  lock_live();
  hmci_range_t *range = hmci_ranges_find(&live, pointer);
  bool is_start = range != NULL && range->start == (uintptr_t)pointer;
  size_t mapped = is_start ? range->size : 0;
  if (is_start) {
    hmci_ranges_remove(&live, range);
  }
  unlock_live();
  if (!is_start) {
    return hmci_fail(HMC_NOT_FOUND, "cpu: %p is not the start of a live allocation", pointer);
  }
  munmap(pointer, mapped);
  return HMC_SUCCESS;
}

static hmc_status_t host_copy(int device, void *destination, const void *source, size_t size) {
  (void)device;
  memmove(destination, source, size);
  return HMC_SUCCESS;
}

/* The registry takes a pointer that nobody knows for host memory, so the host itself need not know any. */
static hmc_status_t host_query(const void *pointer, hmc_memory_info_t *info) {
  (void)pointer;
  (void)info;
  return HMC_NOT_FOUND;
}

const hmci_memory_ops_t hmci_memory_host = {
    .kind = HMC_MEMORY_CPU,
    .name = "cpu",
    .host_accessible = true,
    .open = host_open,
    .allocate = host_allocate,
    .free = host_free,
    .copy_from_host = host_copy,
    .copy_to_host = host_copy,
    .copy_within = host_copy,
    .query = host_query,
};
