/* The memory under a region that HMC maps (see region_memory.h).
 *
 * Invariant: `mapped` bytes from `view.base` on are this region's mapping, a whole number of pages. Allocated memory is
 * a memfd without a name anywhere, of sparse pages, sealed so that nobody can cut it off under the others; where peers
 * may not write it is sealed against further writable mappings as well. */
#include "region_memory.h"

#include "../base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  DMA_BUF = 0x444d4142, /* the type of their file system */
  PREFERRED = 1,        /* MPOL_PREFERRED of mbind */
  NODES = 1024,
};

static bool may_write(const hmc_region_t *region) {
  return region->view.rights & (HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC);
}

/* ---- allocating -------------------------------------------------------------------------------------------------- */

static uint64_t system_page(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }

static hmc_status_t check_page(uint64_t page) {
  if (page == system_page() || page == UINT64_C(2) << 20 || page == UINT64_C(1) << 30) return HMC_SUCCESS;
  return hmci_fail(HMC_INVALID_CONFIG, "pages of %llu B: there are those of %llu B, 2 MiB and 1 GiB",
                   (unsigned long long)page, (unsigned long long)system_page());
}

/* -1 where the system has none to give; `error` says why. */
static int make_file(uint64_t page, int *error) {
  unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  if (page != system_page()) flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(page) << MFD_HUGE_SHIFT;
  int file = memfd_create("hmc-region", flags);
  *error = errno;
  return file;
}

static hmc_status_t no_huge_pages(uint64_t bytes, uint64_t page, int error) {
  return hmci_fail(HMC_NO_MEMORY, "no huge pages of %llu KiB for %llu B: %s (sysctl vm.nr_hugepages)",
                   (unsigned long long)page >> 10, (unsigned long long)bytes, strerror(error));
}

static hmc_status_t set_node(void *base, uint64_t length, int node) {
  unsigned long mask[NODES / (8 * sizeof(unsigned long))] = {0};
  if (node < 0) return HMC_SUCCESS;
  if (node >= NODES) return hmci_fail(HMC_NOT_FOUND, "there is no NUMA node %d", node);
  mask[(size_t)node / (8 * sizeof *mask)] = 1ul << ((size_t)node % (8 * sizeof *mask));
  if (syscall(SYS_mbind, base, length, PREFERRED, mask, NODES, 0) == 0) return HMC_SUCCESS;
  if (node == 0 && (errno == ENOSYS || errno == EPERM)) return HMC_SUCCESS; /* where all memory is on one node */
  return hmci_fail(HMC_NOT_FOUND, "memory on NUMA node %d: %s", node, strerror(errno));
}

/* Commits all pages, so that a lack of memory is an answer and not the end of the thread that touches one. */
static hmc_status_t populate(const hmc_region_t *region) {
  const hmci_region_view_t *view = &region->view;
  int failed = view->descriptor >= 0 ? posix_fallocate(view->descriptor, 0, (off_t)region->mapped) : 0;
  if (failed == EOPNOTSUPP || failed == EINVAL) failed = 0;
  if (!failed && madvise(view->base, region->mapped, MADV_POPULATE_WRITE) && errno != EINVAL) failed = errno;
  return failed
             ? hmci_fail(HMC_NO_MEMORY, "committing %llu B: %s", (unsigned long long)region->mapped, strerror(failed))
             : HMC_SUCCESS;
}

/* A private file is what a forbidden memfd_create is replaced by: nothing. */
static hmc_status_t open_file(hmc_region_t *region, uint64_t page) {
  hmci_region_view_t *view = &region->view;
  int error;
  view->descriptor = make_file(page, &error);
  if (view->descriptor < 0 && page != system_page()) return no_huge_pages(view->size, page, error);
  if (view->descriptor < 0 && error != ENOSYS && error != EPERM && error != EACCES)
    return hmci_fail(HMC_NO_MEMORY, "memfd_create failed: %s", strerror(error));
  if (view->descriptor < 0) {
    static _Atomic bool told;
    if (!atomic_exchange(&told, true)) {
      hmci_log(HMC_LOG_WARNING,
               "allocated memory cannot be mapped by peers, because memfd_create is not allowed here: %s",
               strerror(error));
    }
    return HMC_SUCCESS;
  }
  if (hmci_map_resize(view->descriptor, region->mapped)) {
    return hmci_fail(HMC_NO_MEMORY, "%llu B of shared memory: %s%s", (unsigned long long)view->size, strerror(errno),
                     errno == EFBIG ? " for this process (ulimit -f)" : "");
  }
  fcntl(view->descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
  return HMC_SUCCESS;
}

static void close_file(hmci_region_view_t *view) {
  if (view->descriptor >= 0) close(view->descriptor);
  view->descriptor = -1;
}

hmc_status_t hmci_region_memory_allocate(hmc_region_t *region, const hmc_region_options_t *options) {
  hmci_region_view_t *view = &region->view;
  uint64_t page = options->page_size ? options->page_size : system_page();
  hmc_status_t status = check_page(page);
  if (status != HMC_SUCCESS) return status;
  if (view->size > INT64_MAX - page)
    return hmci_fail(HMC_NO_MEMORY, "no room for %llu B", (unsigned long long)view->size);
  region->mapped = hmci_round_up(view->size, page);
  region->placed = options->address != NULL;
  status = open_file(region, page);
  if (status != HMC_SUCCESS) goto err_file;
  void *base;
  status = hmci_map(view->descriptor, 0, region->mapped, page, PROT_READ | PROT_WRITE, options->address, &base);
  if (status != HMC_SUCCESS) {
    if (status == HMC_NO_MEMORY && page != system_page()) status = no_huge_pages(view->size, page, ENOMEM);
    goto err_file;
  }
  view->base = base;
  if (view->descriptor >= 0 && !may_write(region)) fcntl(view->descriptor, F_ADD_SEALS, F_SEAL_FUTURE_WRITE);
  status = set_node(base, region->mapped, options->numa_node);
  if (status == HMC_SUCCESS && options->flags & HMC_REGION_POPULATE) status = populate(region);
  if (status == HMC_SUCCESS) return status;
  hmci_unmap(base, region->mapped, region->placed);
err_file:
  close_file(view);
  return status;
}

/* ---- adopting ---------------------------------------------------------------------------------------------------- */

/* What holds memory that nobody can take away; `size` gets all of it. */
static hmc_status_t look_at(int descriptor, uint64_t *size) {
  struct stat file;
  struct statfs system;
  int seals = fcntl(descriptor, F_GET_SEALS);
  if (fstat(descriptor, &file) || fstatfs(descriptor, &system)) {
    return hmci_fail(HMC_INVALID_CONFIG, "descriptor %d: %s", descriptor, strerror(errno));
  }
  if ((uint32_t)system.f_type == (uint32_t)DMA_BUF) {
    off_t end = lseek(descriptor, 0, SEEK_END);
    if (end <= 0) return hmci_fail(HMC_INVALID_CONFIG, "descriptor %d: a dma-buf without a size", descriptor);
    *size = (uint64_t)end;
    return HMC_SUCCESS;
  }
  if (seals < 0) return hmci_fail(HMC_INVALID_CONFIG, "descriptor %d is neither a memfd nor a dma-buf", descriptor);
  if (!(seals & F_SEAL_SHRINK)) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "descriptor %d: a memfd that can be cut off kills all who map it: seal it by F_SEAL_SHRINK",
                     descriptor);
  }
  *size = (uint64_t)file.st_size;
  return HMC_SUCCESS;
}

hmc_status_t hmci_region_memory_adopt(hmc_region_t *region, const hmc_region_options_t *options) {
  hmci_region_view_t *view = &region->view;
  uint64_t size, offset = options->descriptor_offset, page = hmci_map_page(options->descriptor);
  hmc_status_t status = look_at(options->descriptor, &size);
  if (status != HMC_SUCCESS) return status;
  if (offset % page) {
    return hmci_fail(HMC_INVALID_CONFIG, "descriptor_offset %llu is not a multiple of a page, %llu B",
                     (unsigned long long)offset, (unsigned long long)page);
  }
  if (!view->size && offset < size) view->size = size - offset;
  if (!view->size || !hmci_range_fits(offset, view->size, size)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%llu B at offset %llu run past the descriptor's %llu B",
                     (unsigned long long)view->size, (unsigned long long)offset, (unsigned long long)size);
  }
  view->descriptor = fcntl(options->descriptor, F_DUPFD_CLOEXEC, 0);
  if (view->descriptor < 0) return hmci_fail(HMC_NO_MEMORY, "no descriptor is left: %s", strerror(errno));
  view->descriptor_offset = offset;
  region->mapped = hmci_round_up(view->size, page);
  region->placed = options->address != NULL;
  void *base;
  status = hmci_map(view->descriptor, offset, region->mapped, page, PROT_READ | PROT_WRITE, options->address, &base);
  if (status == HMC_DENIED && !may_write(region)) /* sealed against writing */
    status = hmci_map(view->descriptor, offset, region->mapped, page, PROT_READ, options->address, &base);
  if (status != HMC_SUCCESS) {
    close_file(view);
    return status;
  }
  view->base = base;
  return HMC_SUCCESS;
}

void hmci_region_memory_free(hmc_region_t *region) {
  hmci_unmap(region->view.base, region->mapped, region->placed);
  close_file(&region->view);
}
