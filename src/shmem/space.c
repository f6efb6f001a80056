/* The device heap: a symmetric heap in the memory of each PE's device, beside the one in host memory.
 *
 * It is a region of the engine's, which other PEs open at their first operation on it (far.c). The host never loads from
 * it or stores into it: bytes come and go by copies of the device. Near PEs map it, where their device can reach it.
 *
 * Locking: the wishes are written before init, in one thread; the heap by init and finalize only. */
#include "alias.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GRAIN (2ull << 20)

static uint64_t wanted_size;       /* by shmemx_set_device_heap; 0: the environment decides */
static char wanted_device[64 + 1]; /* the same; empty: the environment decides */

int shmemx_set_device_heap(uint64_t size, const char *device) {
  if (hmci_pe.levels || (device && strlen(device) >= sizeof wanted_device)) return -1;
  wanted_size = size;
  snprintf(wanted_device, sizeof wanted_device, "%s", device ? device : "");
  return 0;
}

size_t hmci_device_wanted(void) {
  size_t size = wanted_size ? wanted_size : hmci_size_setting("SHMEM_DEVICE_SIZE", NULL, 0);
  return (size + GRAIN - 1) / GRAIN * GRAIN;
}

void hmci_region_create(void *pointer, size_t size, hmc_memory_t memory, const char *name, hmc_region_t **region) {
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.memory = memory;
  options.pointer = pointer;
  options.bytes = size;
  options.name = name;
  options.rights = HMC_REMOTE_ALL;
  options.written = hmci_wake_sleeper;
  if (hmc_region_create(hmci_pe.context, &options, region) != HMC_SUCCESS)
    hmci_die("the symmetric heap (SHMEM_SYMMETRIC_SIZE; a device's: SHMEM_DEVICE_SIZE): %s", hmc_last_error());
}

/* ---- which device ------------------------------------------------------------------------------------------------------ */

static const char *device_wish(void) {
  const char *wish = wanted_device[0] ? wanted_device : getenv("SHMEM_DEVICE");
  return wish && *wish ? wish : "default";
}

/* This PE's place among those of its host: PEs take the host's devices in turn. */
static int place_here(void) {
  int place = 0;
  for (int i = 0; i < hmci_pe.me; i++) place += memcmp(hmci_pe.cards[i].ip, hmci_pe.cards[hmci_pe.me].ip, 4) == 0;
  return place;
}

/* "kind" or "kind:number". */
static hmc_memory_t parse_device(const char *wish) {
  char kind[64];
  size_t length = strcspn(wish, ":");
  snprintf(kind, sizeof kind, "%.*s", (int)length, wish);
  hmc_memory_t memory = {.device = 0};
  char *end = NULL;
  bool is_numbered = wish[length] == ':';
  if (is_numbered) memory.device = (int)strtol(wish + length + 1, &end, 10);
  if (hmc_memory_kind_parse(kind, &memory.kind) != HMC_SUCCESS || (is_numbered && (*end || end == wish + length + 1))) {
    hmci_die("SHMEM_DEVICE=%s is not a device: give a kind (nvidia, amd, ascend, mlu, moore, sim), or \"kind:number\"",
             wish);
  }
  int devices = 0;
  hmc_status_t status = hmc_memory_resolve(memory, &memory);
  if (status == HMC_SUCCESS) status = hmc_memory_devices(memory.kind, &devices);
  if (status != HMC_SUCCESS || hmci_is_host(memory)) {
    hmci_die("the device heap (SHMEM_DEVICE_SIZE): there is no device %s here: %s; take a heap of 0 B, or another "
             "SHMEM_DEVICE",
             wish, status == HMC_SUCCESS ? "no accelerator works" : hmc_last_error());
  }
  if (!is_numbered) memory.device = place_here() % devices;
  return memory;
}

/* ---- the heap -------------------------------------------------------------------------------------------------------- */

/* All PEs must have the same heap, or allocations would differ. */
static void check_sizes(void) {
  for (int i = 0; i < hmci_pe.n; i++) {
    size_t size = hmci_pe.cards[i].device_grains * GRAIN;
    if (size != hmci_pe.device.size) {
      hmci_die("the device heap has %zu B here, but %zu B at PE %d: give all PEs the same SHMEM_DEVICE_SIZE",
               hmci_pe.device.size, size, i);
    }
  }
}

void hmci_device_open(void) {
  hmci_device_t *device = &hmci_pe.device;
  size_t size = hmci_pe.cards[hmci_pe.me].device_grains * GRAIN;
  device->size = size;
  check_sizes();
  if (size == 0) return;
  device->size = 0; /* nothing lies in it yet */
  device->memory = parse_device(device_wish());
  hmci_region_create(NULL, size, device->memory, "shmem.device", &device->region);
  device->start = hmc_region_pointer(device->region);
  device->size = size;
  hmci_heap_open(SHMEMX_SPACE_DEVICE, device->start, size);
}

void hmci_device_close(void) {
  hmci_heap_close(SHMEMX_SPACE_DEVICE);
  hmc_region_close(hmci_pe.device.region);
  wanted_size = 0;
  wanted_device[0] = 0;
}

/* ---- questions ------------------------------------------------------------------------------------------------------- */

int shmemx_space_of(const void *address) {
  if (hmci_pe.levels == 0) return -1;
  size_t offset = hmci_offset(address);
  if (offset == SIZE_MAX) return -1;
  return offset & HMCI_IN_DEVICE ? SHMEMX_SPACE_DEVICE : SHMEMX_SPACE_HOST;
}

void *shmemx_space_base(shmemx_space_t space, size_t *size) {
  bool is_there = hmci_pe.levels > 0 && (space == SHMEMX_SPACE_HOST || space == SHMEMX_SPACE_DEVICE);
  bool in_device = space == SHMEMX_SPACE_DEVICE;
  if (size) *size = !is_there ? 0 : in_device ? hmci_pe.device.size : hmci_pe.heap_size;
  if (!is_there) return NULL;
  return in_device ? hmci_pe.device.start : hmci_pe.part + hmci_pe.heap_at;
}

PROFILED(shmemx_set_device_heap);
PROFILED(shmemx_space_of);
PROFILED(shmemx_space_base);
