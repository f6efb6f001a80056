/* Drivers: opening, devices, spare streams, allocations, host memory (see driver.h). */
#include "driver_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { UNOPENED, WORKS, FAILED, PAGE = 4096, PREFERRED = 1 /* MPOL_PREFERRED */ };

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static void find_pci(const hmci_driver_t *driver, int device, char *text, size_t size) {
  text[0] = '\0';
  if (driver->ops->pci && hmci_driver_has(driver, HMCI_NEED_PROPERTIES)) driver->ops->pci(device, text, size);
  for (char *at = text; *at; at++) {
    if (*at >= 'A' && *at <= 'F') *at = (char)(*at - 'A' + 'a'); /* as the kernel writes it */
  }
}

static uint64_t address_of(const hmci_driver_t *driver, int device) {
  char pci[16];
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  find_pci(driver, device, pci, sizeof pci);
  for (const char *at = pci; *at; at++) sum = (sum ^ (uint8_t)*at) * UINT64_C(0x100000001b3);
  return pci[0] ? sum : 0;
}

static hmc_status_t start(hmci_driver_t *driver) {
  hmc_status_t status = hmci_driver_load(driver);
  if (status != HMC_SUCCESS) return status;
  int devices = 0;
  status = driver->ops->start(&devices, driver->version, sizeof driver->version);
  if (status != HMC_SUCCESS) return hmci_fail_prefix(status, "%s memory: ", driver->ops->name);
  if (devices <= 0) return hmci_fail(HMC_UNSUPPORT, "%s memory: the driver finds no device", driver->ops->name);
  driver->devices = devices < HMCI_DRIVER_DEVICES ? devices : HMCI_DRIVER_DEVICES;
  for (int i = 0; i < driver->devices; i++) {
    pthread_mutex_init(&driver->device[i].pool_lock, NULL);
    driver->device[i].address = address_of(driver, i);
  }
  driver->process = (int)getpid();
  hmci_random(&driver->token, sizeof driver->token);
  return HMC_SUCCESS;
}

/* Starts the driver and keeps the reason where it fails, also where the caller wants no text; that one's stays. */
static void start_with_reason(hmci_driver_t *driver) {
  char before[HMCI_ERROR_TEXT];
  snprintf(before, sizeof before, "%s", hmc_last_error());
  bool was_silent = hmci_fail_silently(false);
  driver->failure = start(driver);
  if (driver->failure != HMC_SUCCESS) snprintf(driver->reason, sizeof driver->reason, "%.255s", hmc_last_error());
  hmci_fail(driver->failure, "%s", before);
  hmci_fail_silently(was_silent);
}

static void open_once(hmci_driver_t *driver) {
  pthread_mutex_lock(&driver->lock);
  if (atomic_load(&driver->state) == UNOPENED) {
    start_with_reason(driver);
    atomic_store_explicit(&driver->state, driver->failure == HMC_SUCCESS ? WORKS : FAILED,
                          memory_order_release); /* partner: hmci_driver_open */
  }
  pthread_mutex_unlock(&driver->lock);
}

hmc_status_t hmci_driver_open(hmci_driver_t *driver, int *devices) {
  int state = atomic_load_explicit(&driver->state, memory_order_acquire); /* partner: open_once */
  if (state == UNOPENED) {
    open_once(driver);
    state = atomic_load_explicit(&driver->state, memory_order_acquire);
  }
  if (state == FAILED) return hmci_fail(driver->failure, "%s", driver->reason);
  if (driver->process != (int)getpid()) {
    return hmci_fail(HMC_UNSUPPORT, "%s memory: its driver was opened before fork(), and does not work in the child",
                     driver->ops->name);
  }
  *devices = driver->devices;
  return HMC_SUCCESS;
}

hmc_status_t hmci_driver_enter(hmci_driver_t *driver, int device, void **saved) {
  int devices = 0;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status != HMC_SUCCESS) return status;
  if (device < 0 || device >= devices) {
    return hmci_fail(HMC_NOT_FOUND, "%s:%d: there are %d devices", driver->ops->name, device, devices);
  }
  return driver->ops->enter(device, saved);
}

/* ---- what is known ----------------------------------------------------------------------------------------------- */

hmc_status_t hmci_driver_know(hmci_driver_t *driver, const known_t *known) {
  known_t *item = malloc(sizeof *item);
  if (!item) return hmci_fail(HMC_NO_MEMORY, "no memory to note an allocation");
  *item = *known;
  pthread_rwlock_wrlock(&driver->known_lock);
  hmc_status_t status = hmci_ranges_insert(&driver->known, known->base, known->size, item);
  pthread_rwlock_unlock(&driver->known_lock);
  if (status != HMC_SUCCESS) free(item);
  return status;
}

bool hmci_driver_look_up(hmci_driver_t *driver, const void *pointer, known_t *known) {
  pthread_rwlock_rdlock(&driver->known_lock);
  const hmci_range_t *range = hmci_ranges_find(&driver->known, pointer);
  if (range) *known = *(const known_t *)range->item;
  pthread_rwlock_unlock(&driver->known_lock);
  return range;
}

bool hmci_driver_forget(hmci_driver_t *driver, const void *base, known_type_t one, known_type_t other, known_t *known) {
  known_t *item = NULL;
  pthread_rwlock_wrlock(&driver->known_lock);
  hmci_range_t *range = hmci_ranges_find(&driver->known, base);
  if (range) item = range->item;
  if (item && (item->base != base || (item->type != one && item->type != other))) item = NULL;
  if (item) hmci_ranges_remove(&driver->known, range);
  pthread_rwlock_unlock(&driver->known_lock);
  if (!item) return false;
  *known = *item;
  free(item);
  return true;
}

/* ---- spare streams ----------------------------------------------------------------------------------------------- */

hmc_status_t hmci_driver_take_stream(hmci_driver_t *driver, int device, void **stream) {
  hmci_driver_device_t *pool = &driver->device[device];
  pthread_mutex_lock(&pool->pool_lock);
  bool spare = pool->stream_count;
  if (spare) *stream = pool->streams[--pool->stream_count];
  pthread_mutex_unlock(&pool->pool_lock);
  return spare ? HMC_SUCCESS : driver->ops->stream_create(stream);
}

void hmci_driver_give_stream(hmci_driver_t *driver, int device, void *stream) {
  hmci_driver_device_t *pool = &driver->device[device];
  pthread_mutex_lock(&pool->pool_lock);
  bool kept = pool->stream_count < HMCI_DRIVER_SPARE;
  if (kept) pool->streams[pool->stream_count++] = stream;
  pthread_mutex_unlock(&pool->pool_lock);
  if (!kept) driver->ops->stream_destroy(stream);
}

/* ---- allocations ------------------------------------------------------------------------------------------------- */

static hmc_status_t clear(hmci_driver_t *driver, int device, void *pointer, size_t size) {
  void *stream;
  hmc_status_t status = hmci_driver_take_stream(driver, device, &stream);
  if (status != HMC_SUCCESS) return status;
  status = driver->ops->clear(pointer, size, stream);
  if (status == HMC_SUCCESS) status = driver->ops->stream_wait(stream);
  hmci_driver_give_stream(driver, device, stream);
  return status;
}

static void give_back(hmci_driver_t *driver, const known_t *known) {
  if (known->type == KNOWN_PHYSICAL) {
    driver->ops->physical_free(known->base, known->whole);
  } else {
    driver->ops->free(known->base);
  }
}

static bool has_physical(const hmci_driver_t *driver) {
  return driver->ops->physical_allocate && driver->ops->granule && hmci_driver_has(driver, HMCI_NEED_PHYSICAL);
}

static hmc_status_t allocate(hmci_driver_t *driver, int device, size_t size, known_type_t type, void **pointer) {
  const hmci_driver_ops_t *ops = driver->ops;
  known_t known = {.type = type, .size = size, .whole = size, .device = device};
  if (type == KNOWN_PHYSICAL) {
    if (size > SIZE_MAX / 2) return hmci_fail(HMC_NO_MEMORY, "%s:%d: no room for %zu B", ops->name, device, size);
    known.whole = (size + ops->granule - 1) / ops->granule * ops->granule;
  }
  hmc_status_t status = type == KNOWN_PHYSICAL ? ops->physical_allocate(device, known.whole, &known.base)
                                               : ops->allocate(size, &known.base);
  if (status != HMC_SUCCESS) return status;
  status = clear(driver, device, known.base, size);
  if (status == HMC_SUCCESS) status = hmci_driver_know(driver, &known);
  if (status != HMC_SUCCESS) {
    give_back(driver, &known);
    return status;
  }
  *pointer = known.base;
  return HMC_SUCCESS;
}

static hmc_status_t enter_and_allocate(hmci_driver_t *driver, int device, size_t size, known_type_t type,
                                       void **pointer) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = allocate(driver, device, size, type, pointer);
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_allocate(hmci_driver_t *driver, int device, size_t size, void **pointer) {
  return enter_and_allocate(driver, device, size, KNOWN_ALLOCATED, pointer);
}

hmc_status_t hmci_driver_allocate_peerable(hmci_driver_t *driver, int device, size_t size, void **pointer) {
  int devices;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status != HMC_SUCCESS) return status;
  return enter_and_allocate(driver, device, size, has_physical(driver) ? KNOWN_PHYSICAL : KNOWN_ALLOCATED, pointer);
}

hmc_status_t hmci_driver_free(hmci_driver_t *driver, int device, void *pointer) {
  known_t known;
  void *saved;
  bool mine = hmci_driver_look_up(driver, pointer, &known) && known.device == device &&
              hmci_driver_forget(driver, pointer, KNOWN_ALLOCATED, KNOWN_PHYSICAL, &known);
  if (!mine) {
    return hmci_fail(HMC_NOT_FOUND, "%s:%d: %p is not the start of a live allocation of this device", driver->ops->name,
                     device, pointer);
  }
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  if (known.exported && driver->ops->unexport) driver->ops->unexport(known.handle);
  if (known.type == KNOWN_PHYSICAL) {
    driver->ops->physical_free(known.base, known.whole);
  } else {
    status = driver->ops->free(known.base);
  }
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_query(hmci_driver_t *driver, const void *pointer, hmc_memory_info_t *info) {
  known_t known;
  if (hmci_driver_look_up(driver, pointer, &known)) {
    *info = (hmc_memory_info_t){
        .size = sizeof *info, .memory = {driver->ops->kind, known.device}, .base = known.base, .bytes = known.size};
    return HMC_SUCCESS;
  }
  if (!driver->ops->query || !hmci_driver_has(driver, HMCI_NEED_QUERY)) {
    return hmci_fail(HMC_NOT_FOUND, "%s: %p was not allocated here", driver->ops->name, pointer);
  }
  return driver->ops->query(pointer, info);
}

/* ---- host memory ------------------------------------------------------------------------------------------------- */

static size_t pages(size_t size) { return size > SIZE_MAX / 2 ? 0 : (size + PAGE - 1) / PAGE * PAGE; }

int hmci_driver_numa_node(const char *pci) {
  char path[64];
  int node = -1;
  if (!pci[0]) return -1;
  snprintf(path, sizeof path, "/sys/bus/pci/devices/%.16s/numa_node", pci);
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  if (fscanf(file, "%d", &node) != 1) node = -1;
  fclose(file);
  return node;
}

/* Memory on the device's node, where that is known; a preference that fails costs speed only. */
static void *map_near(hmci_driver_t *driver, int device, size_t size) {
  void *made = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (made == MAP_FAILED) return NULL;
  hmc_memory_properties_t properties = {.size = sizeof properties};
  if (hmci_driver_properties(driver, device, &properties) == HMC_SUCCESS && properties.numa_node >= 0 &&
      properties.numa_node < 64) {
    unsigned long nodes = 1ul << properties.numa_node;
    syscall(SYS_mbind, made, size, PREFERRED, &nodes, 64ul, 0u);
  }
  return made;
}

/* Where the driver pins, it is given memory on the right node; where it only allocates, it decides. Its size is kept in a
 * page before it. */
hmc_status_t hmci_driver_host_allocate(hmci_driver_t *driver, int device, size_t size, void **pointer) {
  void *saved, *made;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  if (!driver->ops->pin || !hmci_driver_has(driver, HMCI_NEED_PINNING)) {
    status = hmci_driver_need(driver, HMCI_NEED_HOST, "allocate pinned host memory");
    if (status == HMC_SUCCESS) status = driver->ops->host_allocate(size, pointer);
    hmci_driver_leave(driver, device, saved);
    return status;
  }
  size_t whole = pages(size);
  made = whole ? map_near(driver, device, PAGE + whole) : NULL;
  if (!made) {
    status = hmci_fail(HMC_NO_MEMORY, "%s:%d: no %zu B of host memory", driver->ops->name, device, size);
  } else {
    *(size_t *)made = whole;
    status = driver->ops->pin((char *)made + PAGE, whole);
    if (status == HMC_SUCCESS) *pointer = (char *)made + PAGE;
    if (status != HMC_SUCCESS) munmap(made, PAGE + whole);
  }
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_host_free(hmci_driver_t *driver, int device, void *pointer) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  if (!driver->ops->pin || !hmci_driver_has(driver, HMCI_NEED_PINNING)) {
    status = driver->ops->host_free(pointer);
  } else {
    status = driver->ops->unpin(pointer);
    char *made = (char *)pointer - PAGE;
    if (status == HMC_SUCCESS) munmap(made, PAGE + *(size_t *)(void *)made);
  }
  hmci_driver_leave(driver, device, saved);
  return status;
}

static hmc_status_t need_pinning(hmci_driver_t *driver) {
  if (!driver->ops->pin) return hmci_fail(HMC_UNSUPPORT, "%s memory cannot pin host memory", driver->ops->name);
  return hmci_driver_need(driver, HMCI_NEED_PINNING, "pin host memory");
}

hmc_status_t hmci_driver_pin(hmci_driver_t *driver, int device, void *pointer, size_t size) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = need_pinning(driver);
  if (status == HMC_SUCCESS) status = driver->ops->pin(pointer, size);
  hmci_driver_leave(driver, device, saved);
  return status;
}

hmc_status_t hmci_driver_unpin(hmci_driver_t *driver, int device, void *pointer) {
  void *saved;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  status = need_pinning(driver);
  if (status == HMC_SUCCESS) status = driver->ops->unpin(pointer);
  hmci_driver_leave(driver, device, saved);
  return status;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static unsigned features_of(const hmci_driver_t *driver) {
  const hmci_driver_ops_t *ops = driver->ops;
  unsigned features = HMC_MEMORY_STREAMS;
  if (ops->export && hmci_driver_has(driver, HMCI_NEED_IPC)) features |= HMC_MEMORY_IPC;
  if (ops->dmabuf && hmci_driver_has(driver, HMCI_NEED_DMABUF)) features |= HMC_MEMORY_DMABUF;
  if (has_physical(driver)) features |= HMC_MEMORY_PEERABLE;
  if (ops->pin && hmci_driver_has(driver, HMCI_NEED_PINNING)) features |= HMC_MEMORY_PINNING;
  bool batches = hmci_driver_has(driver, HMCI_NEED_BATCH) || hmci_driver_has(driver, HMCI_NEED_BATCH_LATER);
  if (ops->batch && batches) features |= HMC_MEMORY_BATCHES;
  return features;
}

hmc_status_t hmci_driver_properties(hmci_driver_t *driver, int device, hmc_memory_properties_t *properties) {
  int devices;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  if (status != HMC_SUCCESS) return status;
  snprintf(properties->driver, sizeof properties->driver, "%s", driver->version);
  snprintf(properties->name, sizeof properties->name, "%s", driver->ops->name);
  properties->features = features_of(driver);
  properties->numa_node = -1;
  if (!hmci_driver_has(driver, HMCI_NEED_PROPERTIES)) return HMC_SUCCESS;
  find_pci(driver, device, properties->pci, sizeof properties->pci);
  properties->numa_node = hmci_driver_numa_node(properties->pci);
  return driver->ops->describe(device, properties);
}

hmc_status_t hmci_driver_reaches(hmci_driver_t *driver, int device, int other, bool *reaches) {
  int devices;
  hmc_status_t status = hmci_driver_open(driver, &devices);
  *reaches = device == other;
  if (status != HMC_SUCCESS || *reaches || !driver->ops->reaches || !hmci_driver_has(driver, HMCI_NEED_PEERS))
    return status;
  return driver->ops->reaches(device, other, reaches);
}

hmc_status_t hmci_driver_settle(hmci_driver_t *driver, int device) {
  void *saved;
  if (!driver->ops->settle) return HMC_SUCCESS;
  hmc_status_t status = hmci_driver_enter(driver, device, &saved);
  if (status != HMC_SUCCESS) return status;
  if (hmci_driver_has(driver, HMCI_NEED_SETTLE)) status = driver->ops->settle(device);
  hmci_driver_leave(driver, device, saved);
  return status;
}
