/* The software accelerator's memory: allocations, what of them other processes get, and where a copy's bytes are.
 *
 * A device address lies in a reserved range without any access right, so that a load or store by the host faults. The
 * bytes are in a memfd mapped elsewhere in this process; copies translate. A page that belongs to nobody follows each
 * range, so that two allocations never touch.
 *
 * Invariants: live[i] = [device_address, device_address + size) of each allocation, and holds one of its references; a
 * copy holds one while its bytes move, and who gives back the last unmaps.
 *
 * Locking: `lock` guards `live` and `device_count`. It is held for lookups only, never while bytes move or somebody
 * waits, and across fork() so that the child finds it free; a child shares the bytes with its parent. References are
 * atomic, and are taken under `lock` only. */
#include "sim.h"

#include "../../base/map.h"
#include "../../base/settings.h"
#include "../ranges.h"
#include "engine.h"
#include "sim_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define HANDLE_MAGIC UINT32_C(0x53434d48)
#define HANDLE_SIZE 24 /* magic (4), device (4), size (8), offset in the descriptor (8) */

typedef struct allocation {
  void *device_address;
  size_t size;    /* as asked for */
  size_t mapped;  /* size in whole pages */
  uint8_t *bytes; /* `mapped` bytes that the host can reach */
  int descriptor; /* the memfd; -1 for an import, whose mapping is enough */
  int device;
  bool is_import;
  _Atomic int references;
} allocation_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_ranges_t live; /* guarded by lock; items are allocation_t */
static int device_count;   /* guarded by lock */
static atomic_bool has_handles;

static atomic_bool is_configured;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

/* ---- set-up ------------------------------------------------------------------------------------------------------ */

static void take_lock(void) { pthread_mutex_lock(&lock); }
static void drop_lock(void) { pthread_mutex_unlock(&lock); }
static void watch_fork(void) { pthread_atfork(take_lock, drop_lock, drop_lock); }

hmc_status_t hmci_sim_reread(void) {
  hmci_settings_t settings;
  hmc_status_t status = hmci_settings_read(&settings);
  if (status != HMC_SUCCESS) {
    return status;
  }
  pthread_once(&fork_once, watch_fork);
  take_lock();
  device_count = settings.sim_devices < HMCI_SIM_ENGINES ? (int)settings.sim_devices : HMCI_SIM_ENGINES;
  drop_lock();
  hmci_sim_engine_configure(settings.sim_bandwidth, settings.sim_latency);
  atomic_store(&has_handles, settings.sim_handles);
  explicit_bzero(&settings, sizeof(settings)); /* the secret is in it */
  atomic_store(&is_configured, true);
  return HMC_SUCCESS;
}

static hmc_status_t configure_once(void) {
  if (HMCI_LIKELY(atomic_load(&is_configured))) {
    return HMC_SUCCESS;
  }
  hmc_status_t status = hmci_sim_reread();
  return status == HMC_SUCCESS ? status : hmci_fail_prefix(status, "sim: ");
}

/* The caller holds `lock`. */
static hmc_status_t check_device_locked(int device) {
  if (device < 0 || device >= device_count) {
    return hmci_fail(HMC_NOT_FOUND, "sim:%d: there are %d (HMC_SIM_DEVICES)", device, device_count);
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_check_device(int device) {
  hmc_status_t status = configure_once();
  if (status == HMC_SUCCESS) {
    take_lock();
    status = check_device_locked(device);
    drop_lock();
  }
  return status;
}

hmc_status_t hmci_sim_open(int *devices) {
  hmc_status_t status = configure_once();
  if (status != HMC_SUCCESS) {
    return status;
  }
  take_lock();
  int found = device_count;
  drop_lock();
  if (found == 0) {
    return hmci_fail(HMC_UNSUPPORT, "sim: no devices, HMC_SIM_DEVICES is 0");
  }
  *devices = found;
  return HMC_SUCCESS;
}

/* ---- allocations ------------------------------------------------------------------------------------------------- */

static size_t page_size(void) { return (size_t)sysconf(_SC_PAGESIZE); }

/* 0 where it does not fit. */
static size_t round_to_pages(size_t size) {
  size_t page = page_size();
  return size > SIZE_MAX / 2 - page ? 0 : (size + page - 1) / page * page;
}

static hmc_status_t no_room(int device, size_t size) {
  return hmci_fail(HMC_NO_MEMORY, "sim:%d: no room for %zu bytes: %s", device, size, strerror(errno));
}

/* Maps the memfd, reserves a device address and makes both known. On success `*pointer` is set and `descriptor` belongs
 * to the allocation, unless it is an import's. */
static hmc_status_t publish(int device, size_t size, int descriptor, bool is_import, void **pointer) {
  allocation_t *allocation = malloc(sizeof(*allocation));
  if (allocation == NULL) {
    return no_room(device, size);
  }
  *allocation = (allocation_t){.size = size,
                               .mapped = round_to_pages(size),
                               .descriptor = is_import ? -1 : descriptor,
                               .device = device,
                               .is_import = is_import,
                               .references = 1};
  hmc_status_t status;
  void *bytes = mmap(NULL, allocation->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (bytes == MAP_FAILED) {
    status = no_room(device, size);
    goto err_free;
  }
  allocation->bytes = bytes;
  allocation->device_address =
      mmap(NULL, allocation->mapped + page_size(), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (allocation->device_address == MAP_FAILED) {
    status = no_room(device, size);
    goto err_unmap_bytes;
  }
  take_lock();
  status = hmci_ranges_insert(&live, allocation->device_address, size, allocation);
  drop_lock();
  if (status != HMC_SUCCESS) {
    goto err_unmap_device;
  }
  *pointer = allocation->device_address;
  return HMC_SUCCESS;

err_unmap_device:
  munmap(allocation->device_address, allocation->mapped + page_size());
err_unmap_bytes:
  munmap(allocation->bytes, allocation->mapped);
err_free:
  free(allocation);
  return status;
}

static void give_back(allocation_t *allocation) {
  if (allocation == NULL || atomic_fetch_sub(&allocation->references, 1) > 1) {
    return;
  }
  munmap(allocation->device_address, allocation->mapped + page_size());
  munmap(allocation->bytes, allocation->mapped);
  if (allocation->descriptor >= 0) {
    close(allocation->descriptor);
  }
  free(allocation);
}

/* The range that starts at `pointer` and is an allocation of that device, or that has it and is an import; else NULL. The
 * caller holds `lock`. */
static hmci_range_t *find_start(int device, const void *pointer, bool is_import) {
  hmci_range_t *range = hmci_ranges_find(&live, pointer);
  if (range == NULL) {
    return NULL;
  }
  const allocation_t *allocation = range->item;
  bool is_start = is_import || allocation->device_address == pointer; /* an import may begin inside */
  return is_start && allocation->device == device && allocation->is_import == is_import ? range : NULL;
}

static hmc_status_t no_such_start(int device, const void *pointer) {
  return hmci_fail(HMC_NOT_FOUND, "sim:%d: %p is not the start of a live allocation of this device", device, pointer);
}

/* Takes an allocation, or an import, out of the set; false where there is none. */
static bool retire(int device, const void *pointer, bool is_import) {
  allocation_t *allocation = NULL;
  take_lock();
  hmci_range_t *range = find_start(device, pointer, is_import);
  if (range != NULL) {
    allocation = range->item;
    hmci_ranges_remove(&live, range);
  }
  drop_lock();
  give_back(allocation);
  return allocation != NULL;
}

hmc_status_t hmci_sim_allocate(int device, size_t size, void **pointer) {
  hmc_status_t status = hmci_sim_check_device(device);
  if (status != HMC_SUCCESS) {
    return status;
  }
  size_t mapped = round_to_pages(size);
  if (mapped == 0) {
    errno = ENOMEM;
    return no_room(device, size);
  }
  int descriptor = memfd_create("hmc-sim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) {
    return no_room(device, size);
  }
  /* Sealed, so that a process that it is exported to cannot take the pages away. */
  if (hmci_map_resize(descriptor, mapped) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    status = no_room(device, size);
    goto err_close;
  }
  status = publish(device, size, descriptor, false, pointer);
  if (status != HMC_SUCCESS) {
    goto err_close;
  }
  return HMC_SUCCESS;

err_close:
  close(descriptor);
  return status;
}

hmc_status_t hmci_sim_free(int device, void *pointer) {
  return retire(device, pointer, false) ? HMC_SUCCESS : no_such_start(device, pointer);
}

hmc_status_t hmci_sim_query(const void *pointer, hmc_memory_info_t *info) {
  hmc_status_t status = HMC_NOT_FOUND;
  take_lock();
  const hmci_range_t *range = hmci_ranges_find(&live, pointer);
  if (range != NULL) {
    const allocation_t *allocation = range->item;
    info->memory = (hmc_memory_t){.kind = HMC_MEMORY_SIM, .device = allocation->device};
    info->base = allocation->device_address;
    info->bytes = allocation->size;
    status = HMC_SUCCESS;
  }
  drop_lock();
  return status;
}

bool hmci_sim_is_device(const void *pointer) {
  take_lock();
  bool is_device = hmci_ranges_find(&live, pointer) != NULL;
  drop_lock();
  return is_device;
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

/* One side of a copy, translated. */
typedef struct place {
  void *bytes;
  allocation_t *allocation; /* NULL: the host's */
} place_t;

/* The caller holds `lock`. */
static hmc_status_t translate_side(const void *pointer, bool is_host, size_t size, place_t *place) {
  const hmci_range_t *range = hmci_ranges_find(&live, pointer);
  if (is_host) {
    if (range != NULL) { /* moving the bytes would fault */
      return hmci_fail(HMC_INVALID_CONFIG, "sim: %p is sim memory, but was given as host memory", pointer);
    }
    *place = (place_t){.bytes = (void *)pointer};
    return HMC_SUCCESS;
  }
  if (range == NULL) {
    return hmci_fail(HMC_OUT_OF_RANGE, "sim: %p lies in no live allocation", pointer);
  }
  allocation_t *allocation = range->item;
  size_t offset = (uintptr_t)pointer - range->start;
  if (!hmci_range_fits(offset, size, range->size)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "sim:%d: %zu B at offset %zu run past the allocation's %zu B",
                     allocation->device, size, offset, range->size);
  }
  *place = (place_t){.bytes = allocation->bytes + offset, .allocation = allocation};
  return HMC_SUCCESS;
}

static bool is_on(const place_t *place, int device) {
  return place->allocation != NULL && place->allocation->device == device;
}

/* The caller holds `lock`. */
static hmc_status_t translate(const hmci_sim_transfer_t *transfer, place_t *to, place_t *from) {
  hmc_status_t status = translate_side(transfer->destination, transfer->is_to_host, transfer->size, to);
  if (status == HMC_SUCCESS) {
    status = translate_side(transfer->source, transfer->is_from_host, transfer->size, from);
  }
  if (status == HMC_SUCCESS && !is_on(to, transfer->device) && !is_on(from, transfer->device)) {
    status = hmci_fail(HMC_INVALID_CONFIG, "sim:%d: neither %p nor %p is memory of this device", transfer->device,
                       transfer->destination, transfer->source);
  }
  return status;
}

/* Checks a copy and books its time, where `due` is not NULL. */
hmc_status_t hmci_sim_begin(const hmci_sim_transfer_t *transfer, uint64_t *due) {
  hmc_status_t status = configure_once();
  if (status != HMC_SUCCESS) {
    return status;
  }
  place_t to, from;
  take_lock();
  status = check_device_locked(transfer->device);
  if (status == HMC_SUCCESS && transfer->size > 0) {
    status = translate(transfer, &to, &from);
  }
  if (status == HMC_SUCCESS && due != NULL) {
    *due = hmci_sim_engine_book(transfer->device, transfer->size);
  }
  drop_lock();
  return status;
}

static void hold(const place_t *place) {
  if (place->allocation != NULL) {
    atomic_fetch_add(&place->allocation->references, 1);
  }
}

/* As with hardware, an aligned word is one access, and what was written before it is seen with it: programs look at words
 * of a device while others write them. The other side of the copy is this process's own, or a word in the same way. */
static void move_bytes(void *to, const void *from, size_t size) {
  bool is_aligned = size && ((uintptr_t)to | (uintptr_t)from) % size == 0;
  if (size == 8 && is_aligned) {
    __atomic_store_n((uint64_t *)to, __atomic_load_n((const uint64_t *)from, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
  } else if (size == 4 && is_aligned) {
    __atomic_store_n((uint32_t *)to, __atomic_load_n((const uint32_t *)from, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
  } else if (size == 2 && is_aligned) {
    __atomic_store_n((uint16_t *)to, __atomic_load_n((const uint16_t *)from, __ATOMIC_ACQUIRE), __ATOMIC_RELEASE);
  } else {
    memmove(to, from, size);
  }
}

/* Translates again: what was live in hmci_sim_begin may have been freed since. */
hmc_status_t hmci_sim_move(const hmci_sim_transfer_t *transfer) {
  if (transfer->size == 0) {
    return HMC_SUCCESS;
  }
  place_t to, from;
  take_lock();
  hmc_status_t status = translate(transfer, &to, &from);
  if (status == HMC_SUCCESS) {
    hold(&to);
    hold(&from);
  }
  drop_lock();
  if (status == HMC_SUCCESS) {
    move_bytes(to.bytes, from.bytes, transfer->size);
    give_back(to.allocation);
    give_back(from.allocation);
  }
  return status;
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

hmc_status_t hmci_sim_export(int device, void *pointer, size_t size, hmci_memory_export_t *exported) {
  hmc_status_t status = HMC_SUCCESS;
  int descriptor = -1;
  place_t place;
  if (!atomic_load(&has_handles))
    return hmci_fail(HMC_UNSUPPORT, "sim:%d: its memory has no handles (HMC_SIM_HANDLES)", device);
  take_lock();
  if (translate_side(pointer, false, size, &place) != HMC_SUCCESS || !is_on(&place, device) ||
      place.allocation->descriptor < 0) {
    status =
        hmci_fail(HMC_NOT_FOUND, "sim:%d: %zu B at %p lie in no live allocation of this device", device, size, pointer);
  } else {
    descriptor = fcntl(place.allocation->descriptor, F_DUPFD_CLOEXEC, 0);
  }
  uint64_t offset = status == HMC_SUCCESS ? (uint64_t)((uint8_t *)place.bytes - place.allocation->bytes) : 0;
  drop_lock();
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (descriptor < 0) {
    return hmci_fail(HMC_NO_MEMORY, "sim:%d: cannot export %p: %s", device, pointer, strerror(errno));
  }
  *exported = (hmci_memory_export_t){.descriptor = descriptor, .size = HANDLE_SIZE};
  hmci_store32(exported->handle, HANDLE_MAGIC);
  hmci_store32(exported->handle + 4, (uint32_t)device);
  hmci_store64(exported->handle + 8, size);
  hmci_store64(exported->handle + 16, offset);
  return HMC_SUCCESS;
}

/* The handle comes from another process: nothing of it is believed. */
static hmc_status_t check_export(const hmci_memory_export_t *exported, size_t size, size_t *offset) {
  if (exported->size != HANDLE_SIZE || hmci_load32(exported->handle) != HANDLE_MAGIC) {
    return hmci_fail(HMC_CORRUPT, "sim: not a handle of sim memory");
  }
  uint64_t available = hmci_load64(exported->handle + 8);
  if (size == 0 || size > available) {
    return hmci_fail(HMC_OUT_OF_RANGE, "sim: import of %zu B, but %llu B are exported", size,
                     (unsigned long long)available);
  }
  *offset = (size_t)hmci_load64(exported->handle + 16);
  size_t mapped = *offset > SIZE_MAX / 4 ? 0 : round_to_pages(size + *offset);
  struct stat file;
  int seals = fcntl(exported->descriptor, F_GET_SEALS);
  if (mapped == 0 || seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(exported->descriptor, &file) != 0 ||
      file.st_size < 0 || (uint64_t)file.st_size < mapped) {
    return hmci_fail(HMC_CORRUPT, "sim: the descriptor that came with the handle does not hold %zu B of sim memory",
                     size);
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_sim_import(int device, const hmci_memory_export_t *exported, size_t size, void **pointer) {
  size_t offset = 0;
  void *start;
  hmc_status_t status = hmci_sim_check_device(device);
  if (status == HMC_SUCCESS) {
    status = check_export(exported, size, &offset);
  }
  if (status == HMC_SUCCESS) {
    status = publish(device, offset + size, exported->descriptor, true, &start);
  }
  if (status == HMC_SUCCESS) {
    *pointer = (uint8_t *)start + offset;
  }
  return status;
}

void hmci_sim_release_import(int device, void *pointer, size_t size) {
  if (pointer != NULL && !retire(device, pointer, true)) {
    hmci_log(HMC_LOG_WARNING, "sim:%d: release of %p (%zu B), which is not an import of this device", device, pointer,
             size);
  }
}

/* The memfd stands in for a dma-buf: what reads and writes memory by such a descriptor can be tried out with it. */
hmc_status_t hmci_sim_export_dmabuf(int device, void *pointer, size_t size, int *descriptor, uint64_t *offset) {
  hmc_status_t status = HMC_SUCCESS;
  place_t place;
  int copy = -1;
  take_lock();
  status = translate_side(pointer, false, size, &place);
  if (status == HMC_SUCCESS && (!is_on(&place, device) || place.allocation->descriptor < 0)) {
    status = hmci_fail(HMC_UNSUPPORT, "sim:%d: %p is memory of another device or process", device, pointer);
  }
  if (status == HMC_SUCCESS) {
    copy = fcntl(place.allocation->descriptor, F_DUPFD_CLOEXEC, 0);
    *offset = (uint64_t)((uint8_t *)place.bytes - place.allocation->bytes);
  }
  drop_lock();
  if (status == HMC_SUCCESS && copy < 0) {
    status = hmci_fail(HMC_NO_MEMORY, "sim:%d: no descriptor for %p: %s", device, pointer, strerror(errno));
  }
  if (status == HMC_SUCCESS) {
    *descriptor = copy;
  }
  return status;
}
