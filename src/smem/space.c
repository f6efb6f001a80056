/* Global addresses: ranges that are reserved at the same place in every process (see common.h). */
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Windows of addresses that programs leave alone, the widest first; the later ones are for systems and sanitizers with
 * less room. What was given away in one is counted in the store, from a place on that differs from store to store: stores
 * do not know of each other, and a process can be in the worlds of several, or meet one that has lost its count. */
static const struct {
  const char *key;
  uint64_t base, size;
} windows[] = {
    {"smem/va/0", UINT64_C(0x200000000000), UINT64_C(0x300000000000)},
    {"smem/va/1", UINT64_C(0x7e9000000000), UINT64_C(0x010000000000)},
    {"smem/va/2", UINT64_C(0x1000000000), UINT64_C(0x3000000000)},
};

/* The thread sanitizer ends a program that asks for addresses like those of the first window. */
#if defined(__SANITIZE_THREAD__)
enum { FIRST_WINDOW = 1 };
#else
enum { FIRST_WINDOW = 0 };
#endif
enum { WINDOWS = sizeof(windows) / sizeof(windows[0]), TRIES = 16 };

void *hmci_smem_reserve_at(uint64_t base, uint64_t size) {
  void *wanted = (void *)(uintptr_t)base;
  void *got = mmap(wanted, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);
  if (got == MAP_FAILED) {
    return NULL;
  }
  if (got != wanted) {
    munmap(got, size);
    return NULL;
  }
  return got;
}

void hmci_smem_unreserve(void *base, uint64_t size) {
  if (base != NULL) {
    munmap(base, size);
  }
}

/* Where this store begins, as a random number: the first one who asks makes it. */
static hmc_status_t find_place(hmc_store_t *store, uint64_t timeout_ms, uint64_t *place) {
  static const char key[] = "smem/va/place";
  char text[20] = "";
  int swapped = 0;
  int size = snprintf(text, sizeof(text), "%016" PRIx64, *place);
  hmc_status_t status = hmc_store_compare_swap(store, key, NULL, 0, text, (size_t)size, NULL, &swapped, timeout_ms);
  if (status == HMC_SUCCESS && !swapped) {
    memset(text, 0, sizeof(text));
    status = hmc_store_get(store, key, text, sizeof(text) - 1, NULL, timeout_ms);
    *place = strtoull(text, NULL, 16);
  }
  return status;
}

int32_t hmci_smem_reserve_new(hmc_store_t *store, uint64_t size, uint64_t timeout_ms, void **base) {
  uint64_t place;
  int32_t code = hmci_smem_new_tag(&place);
  hmc_status_t found = code == SM_OK ? find_place(store, timeout_ms, &place) : HMC_SUCCESS;
  if (code != SM_OK || found != HMC_SUCCESS) {
    return code != SM_OK ? code : hmci_smem_fail_hmc(found, "no addresses could be agreed on");
  }
  for (size_t i = FIRST_WINDOW; i < WINDOWS; i++) {
    for (int tries = 0; tries < TRIES && size <= windows[i].size; tries++) {
      int64_t end;
      hmc_status_t status = hmc_store_add(store, windows[i].key, (int64_t)size, &end, timeout_ms);
      if (status != HMC_SUCCESS) {
        return hmci_smem_fail_hmc(status, "no addresses could be agreed on");
      }
      /* The window is used in turns: what was given back is given away again after all the rest. The last try is for a
       * range that is nearly as large as the window, and fits at its beginning only. */
      uint64_t first = place % (windows[i].size / HMCI_SMEM_PAGE) * HMCI_SMEM_PAGE;
      uint64_t start = tries + 1 < TRIES ? (first + (uint64_t)end - size) % windows[i].size : 0;
      *base = start + size <= windows[i].size ? hmci_smem_reserve_at(windows[i].base + start, size) : NULL;
      if (*base != NULL) {
        return SM_OK;
      }
    }
  }
  return hmci_smem_fail(SM_MALLOC_FAILED, "no range of %" PRIu64 " B of addresses is free here: make the parts smaller",
                        size);
}

/* A file above the limit of the process (ulimit -f) is an error here; the kernel would end the process by SIGXFSZ. */
static int resize(int file, uint64_t size) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
    errno = EFBIG;
    return -1;
  }
  return ftruncate(file, (off_t)size);
}

int32_t hmci_smem_map_own(void *address, uint64_t size, int given, int *descriptor) {
  struct stat file;
  int made = given >= 0 ? fcntl(given, F_DUPFD_CLOEXEC, 0) : memfd_create("smem", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (made < 0) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no descriptor for %" PRIu64 " B: %s", size, strerror(errno));
  }
  if ((given < 0 && resize(made, size) != 0) || fstat(made, &file) != 0 || (uint64_t)file.st_size < size) {
    close(made);
    return hmci_smem_fail(SM_MALLOC_FAILED, "%" PRIu64 " B of shared memory could not be made: %s", size,
                          given >= 0 ? "the given file is smaller" : strerror(errno));
  }
  (void)fcntl(made, F_ADD_SEALS, F_SEAL_SHRINK); /* what somebody else's file does not allow, it does not */
  if (mmap(address, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, made, 0) == MAP_FAILED) {
    int error = errno;
    close(made);
    return hmci_smem_fail(SM_MALLOC_FAILED, "%" PRIu64 " B could not be mapped: %s", size, strerror(error));
  }
  *descriptor = made;
  return SM_OK;
}

void hmci_smem_unmap(void *address, uint64_t size) {
  (void)mmap(address, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
}
