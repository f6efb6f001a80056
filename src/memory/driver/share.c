/* Drivers: device memory in other processes of this host (see driver.h).
 *
 * What travels, little-endian: magic (4), kind (1), way (1), size of the vendor's handle (2), the exporting process's
 * token (8), its address of the allocation (8), the allocation's size (8), the range's offset in it and size (8, 8), the
 * device's PCI address (8, mixed), the vendor's handle. The address is for the process that exported, where the vendors'
 * calls refuse what it made itself: a range of another context of the process is reached without them. It is not believed
 * anywhere else.
 *
 * An allocation is imported once, however many ranges of it are: imports are counted, and found by the handle. What a vendor
 * does with the second import of a handle, or with one that is being closed, differs, and is not relied on. */
#include "driver_internal.h"

#include <stdlib.h>
#include <string.h>

#define MAGIC UINT32_C(0x44434d48)

enum { HEADER = 56, BY_HANDLE = 1, BY_DESCRIPTOR = 2 };

typedef struct export {
  uint8_t way;
  uint16_t handle_size;
  uint64_t token, base, whole, offset, size, address;
  uint8_t handle[HMCI_DRIVER_HANDLE];
}
export_t;

/* ---- the handle -------------------------------------------------------------------------------------------------- */

static void write_export(const hmci_driver_t *driver, const export_t *from, hmci_memory_export_t *to) {
  uint8_t *at = to->handle;
  hmci_store32(at, MAGIC);
  at[4] = (uint8_t)driver->ops->kind;
  at[5] = from->way;
  hmci_store16(at + 6, from->handle_size);
  hmci_store64(at + 8, from->token);
  hmci_store64(at + 16, from->base);
  hmci_store64(at + 24, from->whole);
  hmci_store64(at + 32, from->offset);
  hmci_store64(at + 40, from->size);
  hmci_store64(at + 48, from->address);
  memcpy(at + HEADER, from->handle, from->handle_size);
  to->size = HEADER + from->handle_size;
}

/* It comes from another process: nothing of it is believed. */
static hmc_status_t read_export(const hmci_driver_t *driver, const hmci_memory_export_t *from, export_t *to) {
  const uint8_t *at = from->handle;
  if (from->size < HEADER || from->size > HMCI_MEMORY_EXPORT_MAX || hmci_load32(at) != MAGIC ||
      at[4] != (uint8_t)driver->ops->kind || (at[5] != BY_HANDLE && at[5] != BY_DESCRIPTOR)) {
    return hmci_fail(HMC_CORRUPT, "%s: not a handle of this kind of memory", driver->ops->name);
  }
  *to = (export_t){.way = at[5],
                   .handle_size = hmci_load16(at + 6),
                   .token = hmci_load64(at + 8),
                   .base = hmci_load64(at + 16),
                   .whole = hmci_load64(at + 24),
                   .offset = hmci_load64(at + 32),
                   .size = hmci_load64(at + 40),
                   .address = hmci_load64(at + 48)};
  uint32_t expected = to->way == BY_HANDLE ? driver->ops->handle_size : 0;
  if (to->handle_size != expected || from->size != HEADER + expected ||
      (to->way == BY_HANDLE) != (from->descriptor < 0) || !hmci_range_fits(to->offset, to->size, to->whole)) {
    return hmci_fail(HMC_CORRUPT, "%s: a malformed handle of device memory", driver->ops->name);
  }
  memcpy(to->handle, at + HEADER, to->handle_size);
  return HMC_SUCCESS;
}

/* ---- exporting --------------------------------------------------------------------------------------------------- */

/* The vendor's handle of an allocation. Those of our own are asked for once: some vendors give one only once. */
static hmc_status_t handle_of(hmci_driver_t *driver, known_t *known, bool mine) {
  hmc_status_t status = HMC_SUCCESS;
  if (!mine) return driver->ops->export(known->base, known->size, known->handle);
  pthread_rwlock_wrlock(&driver->known_lock);
  hmci_range_t *range = hmci_ranges_find(&driver->known, known->base);
  known_t *item = range ? range->item : NULL;
  if (!item || item->base != known->base) {
    status = hmci_fail(HMC_NOT_FOUND, "%s: %p was freed meanwhile", driver->ops->name, known->base);
  } else if (!item->exported) {
    status = driver->ops->export(item->base, item->size, item->handle);
    item->exported = status == HMC_SUCCESS;
  }
  if (status == HMC_SUCCESS) memcpy(known->handle, item->handle, sizeof known->handle);
  pthread_rwlock_unlock(&driver->known_lock);
  return status;
}

/* Finds the allocation that a range lies in. */
static hmc_status_t find_allocation(hmci_driver_t *driver, int device, void *pointer, size_t size, known_t *known,
                                    bool *mine) {
  const hmci_driver_ops_t *ops = driver->ops;
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  *mine = hmci_driver_look_up(driver, pointer, known);
  if (*mine && (known->type == KNOWN_IMPORT || known->type == KNOWN_PHYSICAL_IMPORT)) {
    return hmci_fail(HMC_NOT_FOUND, "%s:%d: %p is memory of another process", ops->name, device, pointer);
  }
  if (!*mine) {
    hmc_status_t status = hmci_driver_query(driver, pointer, &info);
    if (status != HMC_SUCCESS) return status;
    if (!ops->exports_foreign || !info.base) {
      return hmci_fail(HMC_UNSUPPORT, "%s: memory that HMC did not allocate cannot be shared", ops->name);
    }
    *known = (known_t){.base = info.base, .size = info.bytes, .device = info.memory.device};
  }
  uint64_t offset = (uint64_t)((uint8_t *)pointer - (uint8_t *)known->base);
  if (known->device == device && hmci_range_fits(offset, size, known->size)) return HMC_SUCCESS;
  return hmci_fail(HMC_NOT_FOUND, "%s:%d: %zu B at %p lie in no live allocation of this device", ops->name, device,
                   size, pointer);
}

hmc_status_t hmci_driver_export(hmci_driver_t *driver, int device, void *pointer, size_t size,
                                hmci_memory_export_t *exported) {
  void *saved;
  known_t known;
  bool mine;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  export_t made = {.way = BY_HANDLE, .token = driver->token, .address = driver->device[device].address};
  int descriptor = -1;
  status = find_allocation(driver, device, pointer, size, &known, &mine);
  if (status != HMC_SUCCESS) goto out;
  if (mine && known.type == KNOWN_PHYSICAL) {
    made.way = BY_DESCRIPTOR;
    status = driver->ops->physical_export(known.base, &descriptor);
  } else if (!driver->ops->export) {
    status = hmci_fail(HMC_UNSUPPORT, "%s memory cannot be shared between processes", driver->ops->name);
  } else {
    made.handle_size = (uint16_t)driver->ops->handle_size;
    status = hmci_driver_need(driver, HMCI_NEED_IPC, "be shared between processes");
    if (status == HMC_SUCCESS) status = handle_of(driver, &known, mine);
  }
  if (status != HMC_SUCCESS) goto out;
  made.base = (uint64_t)(uintptr_t)known.base;
  made.whole = known.size;
  made.offset = (uint64_t)((uint8_t *)pointer - (uint8_t *)known.base);
  made.size = size;
  memcpy(made.handle, known.handle, sizeof made.handle);
  *exported = (hmci_memory_export_t){.descriptor = descriptor};
  write_export(driver, &made, exported);
out:
  hmci_driver_leave(driver, device, saved);
  return status;
}

/* ---- importing --------------------------------------------------------------------------------------------------- */

/* The device that has the exporter's PCI address; the exporter's number where addresses are not known. */
static hmc_status_t find_device(hmci_driver_t *driver, uint64_t address, int *device) {
  if (!address && *device >= 0 && *device < driver->devices) return HMC_SUCCESS;
  for (int i = 0; i < driver->devices && address; i++) {
    if (driver->device[i].address != address) continue;
    *device = i;
    return HMC_SUCCESS;
  }
  return hmci_fail(HMC_NOT_FOUND, "%s: the peer's device is not visible in this process", driver->ops->name);
}

/* Counts one more user of an allocation that is imported already. */
static void *find_import(hmci_driver_t *driver, const export_t *from) {
  void *base = NULL;
  pthread_rwlock_wrlock(&driver->known_lock);
  for (size_t i = 0; i < driver->known.count && !base; i++) {
    known_t *known = driver->known.sorted[i].item;
    if (known->type != KNOWN_IMPORT || known->origin != from->token || known->size != from->whole ||
        memcmp(known->handle, from->handle, sizeof known->handle) != 0)
      continue;
    known->users++;
    base = known->base;
  }
  pthread_rwlock_unlock(&driver->known_lock);
  return base;
}

/* The vendor knows how much it mapped, where it can be asked. */
static hmc_status_t check_whole(hmci_driver_t *driver, void *base, uint64_t whole) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  if (!driver->ops->query || !hmci_driver_has(driver, HMCI_NEED_QUERY)) return HMC_SUCCESS;
  if (driver->ops->query(base, &info) != HMC_SUCCESS || !info.bytes || info.bytes >= whole) return HMC_SUCCESS;
  return hmci_fail(HMC_CORRUPT, "%s: the peer's allocation has %zu B, not %llu", driver->ops->name, info.bytes,
                   (unsigned long long)whole);
}

static void close_import(hmci_driver_t *driver, const known_t *known) {
  if (known->type == KNOWN_PHYSICAL_IMPORT) {
    driver->ops->physical_free(known->base, known->whole);
  } else {
    driver->ops->close_import(known->base, known->handle);
  }
}

static hmc_status_t open_import(hmci_driver_t *driver, int device, const export_t *from, int descriptor, void **base) {
  const hmci_driver_ops_t *ops = driver->ops;
  known_t known = {
      .size = (size_t)from->whole, .whole = (size_t)from->whole, .device = device, .users = 1, .origin = from->token};
  memcpy(known.handle, from->handle, sizeof known.handle);
  hmc_status_t status;
  if (from->way == BY_HANDLE) {
    known.type = KNOWN_IMPORT;
    status = hmci_driver_need(driver, HMCI_NEED_IPC, "import memory of another process");
    if (status == HMC_SUCCESS) status = ops->import(from->handle, &known.base);
  } else {
    known.type = KNOWN_PHYSICAL_IMPORT;
    known.whole = (known.size + ops->granule - 1) / ops->granule * ops->granule;
    status = ops->physical_import(device, descriptor, known.whole, &known.base);
  }
  if (status != HMC_SUCCESS) return status;
  status = check_whole(driver, known.base, from->whole);
  if (status == HMC_SUCCESS) status = hmci_driver_know(driver, &known);
  if (status == HMC_SUCCESS) *base = known.base;
  if (status != HMC_SUCCESS) close_import(driver, &known);
  return status;
}

static hmc_status_t import_whole(hmci_driver_t *driver, int device, const export_t *from, int descriptor, void **base) {
  const hmci_driver_ops_t *ops = driver->ops;
  bool possible = from->way == BY_HANDLE ? ops->import != NULL : ops->physical_import && ops->granule;
  if (!possible) return hmci_fail(HMC_UNSUPPORT, "%s memory cannot be imported", ops->name);
  if (from->whole > SIZE_MAX / 2) return hmci_fail(HMC_CORRUPT, "%s: an impossible size", ops->name);
  *base = from->way == BY_HANDLE ? find_import(driver, from) : NULL;
  if (*base) return HMC_SUCCESS;
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = open_import(driver, device, from, descriptor, base);
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_import(hmci_driver_t *driver, int device, const hmci_memory_export_t *exported, size_t size,
                                void **pointer) {
  export_t from;
  int devices;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status == HMC_SUCCESS) status = read_export(driver, exported, &from);
  if (status != HMC_SUCCESS) return status;
  if (!size || size > from.size) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%s: import of %zu B, but %llu B are exported", driver->ops->name, size,
                     (unsigned long long)from.size);
  }
  if (from.token == driver->token) { /* this process's own: nothing to be mapped */
    *pointer = (uint8_t *)(uintptr_t)from.base + from.offset;
    return HMC_SUCCESS;
  }
  void *base = NULL;
  status = find_device(driver, from.address, &device);
  pthread_mutex_lock(&driver->import_lock);
  if (status == HMC_SUCCESS) status = import_whole(driver, device, &from, exported->descriptor, &base);
  pthread_mutex_unlock(&driver->import_lock);
  if (status == HMC_SUCCESS) *pointer = (uint8_t *)base + from.offset;
  return status;
}

/* Counts a user less; true when it was the last one, and the import is known no more. */
static bool leave_import(hmci_driver_t *driver, const void *pointer, known_t *known) {
  bool last = false;
  pthread_rwlock_wrlock(&driver->known_lock);
  hmci_range_t *range = hmci_ranges_find(&driver->known, pointer);
  known_t *item = range ? range->item : NULL;
  if (item && (item->type == KNOWN_IMPORT || item->type == KNOWN_PHYSICAL_IMPORT)) last = --item->users == 0;
  if (last) {
    *known = *item;
    hmci_ranges_remove(&driver->known, range);
    free(item);
  }
  pthread_rwlock_unlock(&driver->known_lock);
  return last;
}

void hmci_driver_release_import(hmci_driver_t *driver, int device, void *pointer, size_t size) {
  known_t known;
  void *saved;
  (void)device, (void)size;
  if (!pointer) return;
  pthread_mutex_lock(&driver->import_lock);
  bool last = leave_import(driver, pointer, &known); /* else others use it, or it is this process's own */
  if (last && hmci_driver_enter(driver, known.device, &saved) == HMC_SUCCESS) {
    close_import(driver, &known);
    hmci_driver_leave(driver, known.device, saved);
  }
  pthread_mutex_unlock(&driver->import_lock);
}

/* ---- adapters ---------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_driver_dmabuf(hmci_driver_t *driver, int device, void *pointer, size_t size, int *descriptor,
                                uint64_t *offset) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  if (!driver->ops->dmabuf) {
    status = hmci_fail(HMC_UNSUPPORT, "%s memory has no dma-buf", driver->ops->name);
  } else {
    status = hmci_driver_need(driver, HMCI_NEED_DMABUF, "give a dma-buf");
  }
  if (status == HMC_SUCCESS) status = driver->ops->dmabuf(pointer, size, descriptor, offset);
  hmci_driver_leave(driver, device, saved);
  return status;
}
