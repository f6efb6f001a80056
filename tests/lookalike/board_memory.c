/* The board's memory: allocations, host memory that it knows, exports, and physical memory at reserved addresses.
 *
 * Locking: `lock` guards the table of areas and the matrix of peers. References are atomic and are taken under it. */
#include "board_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOTAL_BYTES (UINT64_C(8) << 30)

enum { PAGE = 4096 };

struct board_physical {
  int descriptor, device;
  size_t size;
  _Atomic int references;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static board_area_t **areas; /* by start */
static size_t count, capacity;
static uint64_t used[BOARD_DEVICES_MOST];
static bool peers[BOARD_DEVICES_MOST][BOARD_DEVICES_MOST];

static int devices;
static _Atomic int process;
static const char *vendor_name = "lookalike";

/* ---- the board as a whole ---------------------------------------------------------------------------------------- */

board_status_t board_refuse(board_status_t status, const char *what) {
  if (status != BOARD_OK && status != BOARD_NOT_READY && getenv("HMC_LOOKALIKE_TRACE")) {
    fprintf(stderr, "%s look-alike: refused (%d): %s\n", vendor_name, (int)status, what);
  }
  return status;
}

board_status_t board_open(const char *vendor) {
  int nobody = 0;
  if (!atomic_compare_exchange_strong(&process, &nobody, (int)getpid())) {
    return nobody == (int)getpid() ? BOARD_OK : board_refuse(BOARD_FORKED, "opened before fork");
  }
  vendor_name = vendor;
  const char *text = getenv("HMC_LOOKALIKE_DEVICES");
  int wanted = text && *text ? atoi(text) : 2;
  devices = wanted < 0 ? 0 : wanted > BOARD_DEVICES_MOST ? BOARD_DEVICES_MOST : wanted;
  return BOARD_OK;
}

int board_devices(void) { return devices; }

board_status_t board_check(int device) {
  if (atomic_load(&process) != (int)getpid()) return board_refuse(BOARD_FORKED, "used in a process that forked");
  return device >= 0 && device < devices ? BOARD_OK : board_refuse(BOARD_BAD_DEVICE, "no such device");
}

void board_pci(int device, int *domain, int *bus, int *slot) {
  unsigned sum = 0;
  for (const char *at = vendor_name; *at; at++) sum = sum * 31 + (unsigned char)*at;
  *domain = 0;
  *bus = (int)(0x40 + sum % 0x80 + (unsigned)device);
  *slot = 0;
}

/* ---- areas ------------------------------------------------------------------------------------------------------- */

static size_t pages(size_t size) { return size > SIZE_MAX / 2 ? 0 : (size + PAGE - 1) / PAGE * PAGE; }

/* The index of the first area that starts behind `address`. */
static size_t upper(uintptr_t address) {
  size_t low = 0, high = count;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (areas[middle]->start <= address) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static board_area_t *find_locked(const void *pointer) {
  uintptr_t address = (uintptr_t)pointer;
  size_t index = upper(address);
  if (!index) return NULL;
  board_area_t *area = areas[index - 1];
  return address - area->start < area->size ? area : NULL;
}

static bool enter(board_area_t *area) {
  pthread_mutex_lock(&lock);
  if (count == capacity) {
    size_t room = capacity ? capacity * 2 : 64;
    board_area_t **grown = realloc(areas, room * sizeof(board_area_t *));
    if (!grown) {
      pthread_mutex_unlock(&lock);
      return false;
    }
    areas = grown;
    capacity = room;
  }
  size_t index = upper(area->start);
  memmove(areas + index + 1, areas + index, (count - index) * sizeof(board_area_t *));
  areas[index] = area;
  count++;
  pthread_mutex_unlock(&lock);
  return true;
}

/* Takes the area that starts at `pointer` and is of one of the kinds out of the table. */
static board_area_t *leave(const void *pointer, unsigned kinds) {
  pthread_mutex_lock(&lock);
  board_area_t *area = find_locked(pointer);
  if (area && (area->start != (uintptr_t)pointer || !(kinds & 1u << area->kind))) area = NULL;
  if (area) {
    size_t index = upper(area->start) - 1;
    memmove(areas + index, areas + index + 1, (count - index - 1) * sizeof(board_area_t *));
    count--;
    if (area->kind == BOARD_DEVICE) used[area->device] -= area->mapped;
  }
  pthread_mutex_unlock(&lock);
  return area;
}

static void release_physical(board_physical_t *physical) {
  if (!physical || atomic_fetch_sub(&physical->references, 1) > 1) return;
  close(physical->descriptor);
  free(physical);
}

void board_drop(board_area_t *area) {
  if (!area || atomic_fetch_sub(&area->references, 1) > 1) return;
  bool is_host = area->kind == BOARD_REGISTERED || area->kind == BOARD_PINNED;
  if (area->kind == BOARD_PINNED) munmap(area->bytes, area->mapped);
  if (!is_host) munmap(area->bytes, area->mapped);
  if (!is_host && !area->keeps_address) munmap((void *)area->start, area->mapped + PAGE);
  if (area->descriptor >= 0) close(area->descriptor);
  release_physical(area->physical);
  free(area);
}

/* A range of addresses that nobody may touch, with a page behind it that belongs to nobody. */
static void *reserve(size_t size) {
  void *address = mmap(NULL, size + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return address == MAP_FAILED ? NULL : address;
}

static board_area_t *new_area(board_kind_t kind, int device, size_t size, int descriptor) {
  board_area_t *area = calloc(1, sizeof *area);
  if (!area) return NULL;
  *area = (board_area_t){
      .kind = kind, .device = device, .size = size, .mapped = pages(size), .descriptor = -1, .references = 1};
  if (descriptor < 0) return area;
  void *bytes = mmap(NULL, area->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
  if (bytes == MAP_FAILED) {
    free(area);
    return NULL;
  }
  area->bytes = bytes;
  return area;
}

/* Device memory over a descriptor, at an address of its own. */
static board_status_t publish(board_kind_t kind, int device, size_t size, int descriptor, void **pointer) {
  board_area_t *area = new_area(kind, device, size, descriptor);
  if (!area) return BOARD_NO_MEMORY;
  void *address = reserve(area->mapped);
  if (!address) goto err_area;
  area->start = (uintptr_t)address;
  area->accessible = 1u << device;
  if (!enter(area)) goto err_address;
  *pointer = address;
  return BOARD_OK;

err_address:
  munmap(address, area->mapped + PAGE);
err_area:
  munmap(area->bytes, area->mapped);
  free(area);
  return BOARD_NO_MEMORY;
}

static int new_memory(size_t size) {
  int descriptor = memfd_create("hmc-lookalike", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return -1;
  if (ftruncate(descriptor, (off_t)size) || fcntl(descriptor, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
    close(descriptor);
    return -1;
  }
  return descriptor;
}

board_status_t board_allocate(int device, size_t size, void **pointer) {
  board_status_t status = board_check(device);
  if (status != BOARD_OK) return status;
  if (!size || !pointer) return board_refuse(BOARD_BAD_ARGUMENT, "an allocation of nothing");
  size_t mapped = pages(size);
  pthread_mutex_lock(&lock);
  bool fits = mapped && mapped <= TOTAL_BYTES - used[device];
  if (fits) used[device] += mapped;
  pthread_mutex_unlock(&lock);
  if (!fits) return BOARD_NO_MEMORY;
  int descriptor = new_memory(mapped);
  status = descriptor < 0 ? BOARD_NO_MEMORY : publish(BOARD_DEVICE, device, size, descriptor, pointer);
  if (status == BOARD_OK) {
    pthread_mutex_lock(&lock);
    find_locked(*pointer)->descriptor = descriptor;
    pthread_mutex_unlock(&lock);
    return BOARD_OK;
  }
  if (descriptor >= 0) close(descriptor);
  pthread_mutex_lock(&lock);
  used[device] -= mapped;
  pthread_mutex_unlock(&lock);
  return status;
}

board_status_t board_free(void *pointer) {
  board_area_t *area = leave(pointer, 1u << BOARD_DEVICE);
  if (!area) return board_refuse(BOARD_BAD_POINTER, "free of what is no live allocation");
  board_drop(area);
  return BOARD_OK;
}

board_status_t board_host_allocate(size_t size, void **pointer) {
  if (!size || !pointer) return board_refuse(BOARD_BAD_ARGUMENT, "host memory of no size");
  board_area_t *area = new_area(BOARD_PINNED, 0, size, -1);
  if (!area) return BOARD_NO_MEMORY;
  void *bytes = mmap(NULL, area->mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  area->bytes = bytes;
  area->start = (uintptr_t)bytes;
  if (bytes == MAP_FAILED || !enter(area)) {
    if (bytes != MAP_FAILED) munmap(bytes, area->mapped);
    free(area);
    return BOARD_NO_MEMORY;
  }
  *pointer = bytes;
  return BOARD_OK;
}

board_status_t board_host_free(void *pointer) {
  board_area_t *area = leave(pointer, 1u << BOARD_PINNED);
  if (!area) return board_refuse(BOARD_BAD_POINTER, "free of host memory that was not allocated here");
  board_drop(area);
  return BOARD_OK;
}

board_status_t board_host_register(void *pointer, size_t size) {
  if (!pointer || !size) return board_refuse(BOARD_BAD_ARGUMENT, "registering nothing");
  pthread_mutex_lock(&lock);
  size_t index = upper((uintptr_t)pointer);
  bool overlaps = find_locked(pointer) || (index < count && areas[index]->start - (uintptr_t)pointer < size);
  pthread_mutex_unlock(&lock);
  if (overlaps) return board_refuse(BOARD_ALREADY, "registering what is known already");
  board_area_t *area = new_area(BOARD_REGISTERED, 0, size, -1);
  if (!area) return BOARD_NO_MEMORY;
  area->bytes = pointer;
  area->start = (uintptr_t)pointer;
  if (enter(area)) return BOARD_OK;
  free(area);
  return BOARD_NO_MEMORY;
}

board_status_t board_host_unregister(void *pointer) {
  board_area_t *area = leave(pointer, 1u << BOARD_REGISTERED);
  if (!area) return board_refuse(BOARD_BAD_POINTER, "unregistering what is not registered");
  board_drop(area);
  return BOARD_OK;
}

bool board_find(const void *pointer, board_range_t *range) {
  pthread_mutex_lock(&lock);
  const board_area_t *area = find_locked(pointer);
  if (area) {
    *range =
        (board_range_t){.kind = area->kind, .base = (void *)area->start, .size = area->size, .device = area->device};
  }
  pthread_mutex_unlock(&lock);
  return area;
}

void board_usage(int device, size_t *free_bytes, size_t *total_bytes) {
  pthread_mutex_lock(&lock);
  *free_bytes = TOTAL_BYTES - used[device];
  pthread_mutex_unlock(&lock);
  *total_bytes = TOTAL_BYTES;
}

/* ---- reaching it ------------------------------------------------------------------------------------------------- */

static bool is_host_kind(const board_area_t *area) {
  return !area || area->kind == BOARD_PINNED || area->kind == BOARD_REGISTERED;
}

static bool reaches_locked(int device, const board_area_t *area, bool need_peer) {
  if (area->kind == BOARD_MAPPED) return area->accessible & (need_peer ? 1u << device : ~0u);
  return !need_peer || area->device == device || peers[device][area->device];
}

board_status_t board_take(int device, const void *pointer, size_t size, board_direction_t direction, bool is_target,
                          bool need_peer, board_place_t *place) {
  bool wants_device = direction == BOARD_WITHIN || direction == (is_target ? BOARD_TO_DEVICE : BOARD_TO_HOST);
  board_status_t status = BOARD_OK;
  pthread_mutex_lock(&lock);
  board_area_t *area = find_locked(pointer);
  if (!pointer) {
    status = BOARD_BAD_ARGUMENT;
  } else if (direction != BOARD_ANY && wants_device == is_host_kind(area)) {
    status = BOARD_WRONG_SIDE;
  } else if (!is_host_kind(area) && size > area->size - ((uintptr_t)pointer - area->start)) {
    status = BOARD_OUT_OF_RANGE;
  } else if (!is_host_kind(area) && !reaches_locked(device, area, need_peer)) {
    status = BOARD_NO_ACCESS;
  } else if (is_host_kind(area)) {
    *place = (board_place_t){.bytes = (uint8_t *)pointer};
  } else {
    atomic_fetch_add(&area->references, 1);
    *place = (board_place_t){.bytes = area->bytes + ((uintptr_t)pointer - area->start), .area = area};
  }
  pthread_mutex_unlock(&lock);
  return board_refuse(status, is_target ? "the target of a copy" : "the source of a copy");
}

uint8_t *board_bytes(int device, const void *pointer, size_t size) {
  board_place_t place;
  if (board_take(device, pointer, size, BOARD_WITHIN, true, true, &place) != BOARD_OK) return NULL;
  board_drop(place.area);
  return place.bytes;
}

bool board_peer_possible(int device, int peer) { return device != peer && !getenv("HMC_LOOKALIKE_LONE"); }

board_status_t board_peer_enable(int device, int peer) {
  board_status_t status = board_check(device);
  if (status == BOARD_OK) status = board_check(peer);
  if (status != BOARD_OK) return status;
  if (device == peer) return board_refuse(BOARD_BAD_DEVICE, "peer access of a device to itself");
  if (!board_peer_possible(device, peer)) return board_refuse(BOARD_NO_ACCESS, "the devices do not reach each other");
  pthread_mutex_lock(&lock);
  bool already = peers[device][peer];
  peers[device][peer] = true;
  pthread_mutex_unlock(&lock);
  return already ? BOARD_ALREADY : BOARD_OK;
}

bool board_peer_enabled(int device, int peer) {
  pthread_mutex_lock(&lock);
  bool enabled = peers[device][peer];
  pthread_mutex_unlock(&lock);
  return enabled;
}

/* ---- other processes --------------------------------------------------------------------------------------------- */

board_status_t board_export(const void *pointer, board_export_t *exported) {
  board_status_t status = BOARD_BAD_POINTER;
  pthread_mutex_lock(&lock);
  const board_area_t *area = find_locked(pointer);
  struct stat file;
  if (area && area->kind == BOARD_DEVICE && area->start == (uintptr_t)pointer && !fstat(area->descriptor, &file)) {
    *exported = (board_export_t){.magic = BOARD_EXPORT_MAGIC,
                                 .process = (uint32_t)getpid(),
                                 .descriptor = (uint32_t)area->descriptor,
                                 .device = (uint32_t)area->device,
                                 .size = area->size,
                                 .inode = (uint64_t)file.st_ino};
    status = BOARD_OK;
  }
  pthread_mutex_unlock(&lock);
  return board_refuse(status, "export of what starts no allocation");
}

board_status_t board_import(int device, const board_export_t *exported, void **pointer) {
  board_status_t status = board_check(device);
  if (status != BOARD_OK) return status;
  if (exported->magic != BOARD_EXPORT_MAGIC || (int)exported->device >= devices) {
    return board_refuse(BOARD_BAD_HANDLE, "a handle that nobody exported");
  }
  if (exported->process == (uint32_t)getpid()) return board_refuse(BOARD_OWN_PROCESS, "a handle of this process");
  char path[64];
  snprintf(path, sizeof path, "/proc/%u/fd/%u", exported->process, exported->descriptor);
  int descriptor = open(path, O_RDWR | O_CLOEXEC);
  struct stat file;
  if (descriptor < 0 || fstat(descriptor, &file) || (uint64_t)file.st_ino != exported->inode ||
      (uint64_t)file.st_size < exported->size) {
    if (descriptor >= 0) close(descriptor);
    return board_refuse(BOARD_BAD_HANDLE, "the exported memory is gone");
  }
  status = publish(BOARD_IMPORT, (int)exported->device, (size_t)exported->size, descriptor, pointer);
  close(descriptor);
  if (status == BOARD_OK && device != (int)exported->device) board_peer_enable(device, (int)exported->device);
  return status;
}

board_status_t board_import_close(void *pointer) {
  board_area_t *area = leave(pointer, 1u << BOARD_IMPORT);
  if (!area) return board_refuse(BOARD_BAD_POINTER, "closing what was not imported");
  board_drop(area);
  return BOARD_OK;
}

board_status_t board_dmabuf(const void *pointer, size_t size, int *descriptor) {
  board_status_t status = BOARD_BAD_POINTER;
  pthread_mutex_lock(&lock);
  const board_area_t *area = find_locked(pointer);
  if (area && area->descriptor >= 0 && (uintptr_t)pointer == area->start && size <= area->mapped) {
    *descriptor = fcntl(area->descriptor, F_DUPFD_CLOEXEC, 0);
    status = *descriptor < 0 ? BOARD_NO_MEMORY : BOARD_OK;
  }
  pthread_mutex_unlock(&lock);
  return board_refuse(status, "a dma-buf of what starts no allocation");
}

/* ---- physical memory --------------------------------------------------------------------------------------------- */

static board_status_t new_physical(int device, size_t size, int descriptor, board_physical_t **physical) {
  board_physical_t *made = malloc(sizeof *made);
  if (!made) return BOARD_NO_MEMORY;
  *made = (board_physical_t){.descriptor = descriptor, .device = device, .size = size, .references = 1};
  *physical = made;
  return BOARD_OK;
}

board_status_t board_physical_create(int device, size_t size, board_physical_t **physical) {
  board_status_t status = board_check(device);
  if (status != BOARD_OK) return status;
  if (!size || size % BOARD_GRANULE) return board_refuse(BOARD_BAD_ARGUMENT, "physical memory of part of a granule");
  int descriptor = new_memory(size);
  if (descriptor < 0) return BOARD_NO_MEMORY;
  status = new_physical(device, size, descriptor, physical);
  if (status != BOARD_OK) close(descriptor);
  return status;
}

board_status_t board_physical_release(board_physical_t *physical) {
  if (!physical) return board_refuse(BOARD_BAD_HANDLE, "release of no physical memory");
  release_physical(physical);
  return BOARD_OK;
}

board_status_t board_physical_export(board_physical_t *physical, int *descriptor) {
  *descriptor = fcntl(physical->descriptor, F_DUPFD_CLOEXEC, 0);
  return *descriptor < 0 ? BOARD_NO_MEMORY : BOARD_OK;
}

board_status_t board_physical_import(int device, int descriptor, board_physical_t **physical) {
  struct stat file;
  int seals = fcntl(descriptor, F_GET_SEALS);
  if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(descriptor, &file) || file.st_size % BOARD_GRANULE) {
    return board_refuse(BOARD_BAD_HANDLE, "a descriptor of something else");
  }
  int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return BOARD_NO_MEMORY;
  board_status_t status = new_physical(device, (size_t)file.st_size, copy, physical);
  if (status != BOARD_OK) close(copy);
  return status;
}

board_status_t board_reserve(size_t size, void **address) {
  if (!size || size % BOARD_GRANULE) return board_refuse(BOARD_BAD_ARGUMENT, "addresses for part of a granule");
  *address = reserve(size);
  return *address ? BOARD_OK : BOARD_NO_MEMORY;
}

board_status_t board_unreserve(void *address, size_t size) {
  board_range_t range;
  if (board_find(address, &range)) return board_refuse(BOARD_ALREADY, "addresses with memory mapped at them");
  munmap(address, size + PAGE);
  return BOARD_OK;
}

board_status_t board_map(void *address, size_t size, board_physical_t *physical) {
  board_range_t range;
  if (!physical || size > physical->size || board_find(address, &range)) {
    return board_refuse(BOARD_BAD_ARGUMENT, "mapping of physical memory");
  }
  board_area_t *area = new_area(BOARD_MAPPED, physical->device, size, physical->descriptor);
  if (!area) return BOARD_NO_MEMORY;
  area->start = (uintptr_t)address;
  area->keeps_address = true;
  area->physical = physical;
  atomic_fetch_add(&physical->references, 1);
  if (enter(area)) return BOARD_OK;
  board_drop(area);
  return BOARD_NO_MEMORY;
}

board_status_t board_unmap(void *address) {
  board_area_t *area = leave(address, 1u << BOARD_MAPPED);
  if (!area) return board_refuse(BOARD_BAD_POINTER, "unmapping of what is not mapped");
  board_drop(area);
  return BOARD_OK;
}

board_status_t board_set_access(void *address, int device) {
  board_status_t status = BOARD_BAD_POINTER;
  pthread_mutex_lock(&lock);
  board_area_t *area = find_locked(address);
  if (area && area->kind == BOARD_MAPPED) {
    area->accessible |= 1u << device;
    status = BOARD_OK;
  }
  pthread_mutex_unlock(&lock);
  return board_refuse(status, "rights to what is not mapped");
}

bool board_has_access(void *address, int device) {
  pthread_mutex_lock(&lock);
  board_area_t *area = find_locked(address);
  bool has = area && area->kind == BOARD_MAPPED && area->accessible >> device & 1;
  pthread_mutex_unlock(&lock);
  return has;
}

board_status_t board_physical_retain(void *address, board_physical_t **physical) {
  board_status_t status = BOARD_BAD_POINTER;
  pthread_mutex_lock(&lock);
  board_area_t *area = find_locked(address);
  if (area && area->kind == BOARD_MAPPED) {
    atomic_fetch_add(&area->physical->references, 1);
    *physical = area->physical;
    status = BOARD_OK;
  }
  pthread_mutex_unlock(&lock);
  return status;
}
