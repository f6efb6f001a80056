/* Mapping files where a program wants them (see map.h). */
#include "map.h"

#include "file_limit.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { HUGETLBFS = 0x958458f6 };

uint64_t hmci_map_page(int descriptor) {
  struct statfs system;
  if (descriptor >= 0 && fstatfs(descriptor, &system) == 0 && (uint32_t)system.f_type == (uint32_t)HUGETLBFS) {
    return (uint64_t)system.f_bsize;
  }
  return (uint64_t)sysconf(_SC_PAGESIZE);
}

bool hmci_map_is_reserved(void *address, uint64_t length) {
  return msync(address, length, MS_ASYNC) == 0; /* looks at the mappings and does nothing else */
}

/* The range keeps its place, without memory behind it. */
static void reserve(void *address, uint64_t length) {
  void *kept = mmap(address, length, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (kept == MAP_FAILED) hmci_log(HMC_LOG_WARNING, "%p: the range cannot be reserved again", address);
}

hmc_status_t hmci_map(int descriptor, uint64_t offset, uint64_t length, uint64_t page, int protection, void *address,
                      void **pointer) {
  if ((uintptr_t)address % page || length > UINTPTR_MAX - (uintptr_t)address) {
    return hmci_fail(HMC_INVALID_CONFIG, "address %p: there are no %llu B from a multiple of %llu B", address,
                     (unsigned long long)length, (unsigned long long)page);
  }
  if (address && !hmci_map_is_reserved(address, length)) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "address %p: the program has not reserved all of %llu B there (mmap, PROT_NONE)", address,
                     (unsigned long long)length);
  }
  int flags = (descriptor >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE) | (address ? MAP_FIXED : 0);
  void *got = mmap(address, length, protection, flags, descriptor, (off_t)offset);
  if (got == MAP_FAILED) {
    hmc_status_t status = errno == EPERM || errno == EACCES ? HMC_DENIED : HMC_NO_MEMORY;
    hmci_fail(status, "mapping %llu B: %s", (unsigned long long)length, strerror(errno));
    if (address) reserve(address, length); /* the kernel may have taken away what was there */
    return status;
  }
  *pointer = got;
  return HMC_SUCCESS;
}

void hmci_unmap(void *pointer, uint64_t length, bool placed) {
  if (placed) {
    reserve(pointer, length);
  } else {
    munmap(pointer, length);
  }
}

int hmci_map_resize(int descriptor, uint64_t size) {
  return hmci_file_may_have(size) ? ftruncate(descriptor, (off_t)size) : -1;
}
