/* The public calls on memories, over the ops tables.
 *
 * Everything that all kinds have in common is checked here: arguments, devices, missing ops. No locking: `kinds`
 * changes only in tests; backends lock for themselves. */
#include "memory.h"

#include "cache.h"

#include <stdlib.h>
#include <string.h>

#define BOUNCE_SIZE (UINT64_C(1) << 20) /* host memory that a copy between two kinds takes at most */

static struct {
  const char *name;
  const hmci_memory_ops_t *ops; /* NULL: not in this build */
  const char *needs;            /* what a build without it lacks */
} kinds[] = {
#define NAME(KIND, value, called) [HMC_MEMORY_##KIND].name = called,
#define TABLE(folder, KIND, lacks) [HMC_MEMORY_##KIND].ops = &hmci_memory_##folder, [HMC_MEMORY_##KIND].needs = lacks,
    HMC_MEMORY_LIST(NAME) HMCI_MEMORY_LIST(TABLE)
#undef NAME
#undef TABLE
};

#define KINDS ((int)(sizeof(kinds) / sizeof(kinds[0])))

/* ---- kinds and devices ------------------------------------------------------------------------------------------- */

static bool is_kind(hmc_memory_kind_t kind) { return (int)kind >= 0 && (int)kind < KINDS; }

const char *hmc_memory_kind_name(hmc_memory_kind_t kind) { return is_kind(kind) ? kinds[kind].name : "unknown"; }

hmc_status_t hmc_memory_kind_parse(const char *name, hmc_memory_kind_t *kind) {
  if (name == NULL || kind == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_kind_parse: %s is NULL", name == NULL ? "name" : "kind");
  }
  for (int i = 0; i < KINDS; i++) {
    if (strcmp(name, kinds[i].name) == 0) {
      *kind = (hmc_memory_kind_t)i;
      return HMC_SUCCESS;
    }
  }
#define AND_NAME(KIND, value, called) " " called
  return hmci_fail(HMC_NOT_FOUND, "no kind of memory is called \"%.64s\": there are" HMC_MEMORY_LIST(AND_NAME), name);
#undef AND_NAME
}

const hmci_memory_ops_t *hmci_memory_replace(hmc_memory_kind_t kind, const hmci_memory_ops_t *ops) {
  const hmci_memory_ops_t *former = kinds[kind].ops;
  kinds[kind].ops = ops;
  return former;
}

/* The opened table of a kind other than DEFAULT. */
static hmc_status_t open_kind(hmc_memory_kind_t kind, const hmci_memory_ops_t **ops, int *devices) {
  if (!is_kind(kind) || kind == HMC_MEMORY_DEFAULT) {
    return hmci_fail(HMC_UNSUPPORT, "%d is not a kind of memory", (int)kind);
  }
  const hmci_memory_ops_t *found = kinds[kind].ops;
  if (found == NULL) {
    return hmci_fail(HMC_UNSUPPORT, "%s memory: this build of HMC lacks %s", kinds[kind].name, kinds[kind].needs);
  }
  hmc_status_t status = found->open(devices);
  if (status == HMC_SUCCESS) {
    *ops = found;
  }
  return status;
}

/* Asking around among kinds fails often without anybody's call failing: the thread's error text stays as it was. */
static bool try_open(hmc_memory_kind_t kind, const hmci_memory_ops_t **ops, int *devices) {
  if (kinds[kind].ops == NULL) {
    return false;
  }
  bool was_silent = hmci_fail_silently(true);
  hmc_status_t status = open_kind(kind, ops, devices);
  hmci_fail_silently(was_silent);
  return status == HMC_SUCCESS;
}

static bool try_query(const hmci_memory_ops_t *ops, const void *pointer, hmc_memory_info_t *info) {
  if (ops->query == NULL) {
    return false;
  }
  bool was_silent = hmci_fail_silently(true);
  hmc_status_t status = ops->query(pointer, info);
  hmci_fail_silently(was_silent);
  return status == HMC_SUCCESS;
}

static bool is_accelerator(int kind) { return kind != HMC_MEMORY_DEFAULT && kind != HMC_MEMORY_CPU; }

static hmc_memory_kind_t resolve_kind(hmc_memory_kind_t kind) {
  if (kind != HMC_MEMORY_DEFAULT) {
    return kind;
  }
  for (int i = 0; i < KINDS; i++) {
    const hmci_memory_ops_t *ops;
    int devices;
    if (!is_accelerator(i) || i == HMC_MEMORY_SIM) continue;
    if (try_open((hmc_memory_kind_t)i, &ops, &devices) && devices > 0) {
      return (hmc_memory_kind_t)i;
    }
  }
  return HMC_MEMORY_CPU;
}

hmc_status_t hmci_memory_find(hmc_memory_t memory, const hmci_memory_ops_t **ops) {
  const hmci_memory_ops_t *found;
  int devices;
  hmc_status_t status = open_kind(resolve_kind(memory.kind), &found, &devices);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (memory.device < 0 || memory.device >= devices) {
    return hmci_fail(HMC_NOT_FOUND, "%s memory has no device %d: there %s %d", found->name, memory.device,
                     devices == 1 ? "is" : "are", devices);
  }
  *ops = found;
  return HMC_SUCCESS;
}

hmc_status_t hmc_memory_devices(hmc_memory_kind_t kind, int *devices) {
  if (devices == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_devices: devices is NULL");
  }
  const hmci_memory_ops_t *ops;
  return open_kind(resolve_kind(kind), &ops, devices);
}

hmc_status_t hmc_memory_resolve(hmc_memory_t memory, hmc_memory_t *resolved) {
  if (resolved == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_resolve: resolved is NULL");
  }
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status == HMC_SUCCESS) {
    *resolved = (hmc_memory_t){.kind = ops->kind, .device = memory.device};
  }
  return status;
}

static hmc_status_t lacks(const hmci_memory_ops_t *ops, const char *what) {
  return hmci_fail(HMC_UNSUPPORT, "%s memory has no way to %s", ops->name, what);
}

/* ---- allocating -------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_memory_allocate(hmc_memory_t memory, size_t size, void **pointer) {
  if (size == 0 || pointer == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_allocate: %s", size == 0 ? "size is 0" : "pointer is NULL");
  }
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (ops->allocate == NULL) {
    return lacks(ops, "allocate");
  }
  status = ops->allocate(memory.device, size, pointer);
  if (status == HMC_SUCCESS) {
    hmci_cache_note_allocated(ops->kind, *pointer, size);
  }
  return status;
}

hmc_status_t hmc_memory_allocate_peerable(hmc_memory_t memory, size_t size, void **pointer) {
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (ops->allocate_peerable == NULL) {
    return hmc_memory_allocate(memory, size, pointer);
  }
  if (size == 0 || pointer == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_allocate_peerable: %s",
                     size == 0 ? "size is 0" : "pointer is NULL");
  }
  status = ops->allocate_peerable(memory.device, size, pointer);
  if (status == HMC_SUCCESS) {
    hmci_cache_note_allocated(ops->kind, *pointer, size);
  }
  return status;
}

hmc_status_t hmc_memory_free(hmc_memory_t memory, void *pointer) {
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS || pointer == NULL) {
    return status;
  }
  if (ops->free == NULL) {
    return lacks(ops, "free");
  }
  hmci_cache_note_freed(ops->kind, pointer); /* first: what is registered must not be unmapped */
  return ops->free(memory.device, pointer);
}

hmc_status_t hmc_memory_query(const void *pointer, hmc_memory_info_t *info) {
  if (pointer == NULL || info == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_query: %s is NULL", pointer == NULL ? "pointer" : "info");
  }
  if (hmci_sized_check(info, "hmc_memory_info_t") != HMC_SUCCESS) {
    return HMC_INVALID_CONFIG;
  }
  hmc_memory_info_t found = HMC_MEMORY_INFO_INIT;
  for (int i = 0; i < KINDS; i++) {
    const hmci_memory_ops_t *ops;
    int devices;
    if (is_accelerator(i) && try_open((hmc_memory_kind_t)i, &ops, &devices) && try_query(ops, pointer, &found)) {
      hmci_sized_write(info, &found, sizeof(found));
      return HMC_SUCCESS;
    }
  }
  found = (hmc_memory_info_t){.size = sizeof(hmc_memory_info_t), .memory = {.kind = HMC_MEMORY_CPU, .device = 0}};
  hmci_sized_write(info, &found, sizeof(found));
  return HMC_SUCCESS;
}

/* ---- copying ----------------------------------------------------------------------------------------------------- */

/* One side of a copy. */
typedef struct side {
  const hmci_memory_ops_t *ops;
  int device;
  char *bytes;
} side_t;

/* A copy in pieces would notice a range that is too long only after the pieces that fit. */
static hmc_status_t check_range(const side_t *side, size_t size) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  if (!try_query(side->ops, side->bytes, &info) || info.bytes == 0) {
    return HMC_SUCCESS;
  }
  size_t offset = (size_t)(side->bytes - (char *)info.base);
  if (!hmci_range_fits(offset, size, info.bytes)) {
    return hmci_fail(HMC_OUT_OF_RANGE, "%s:%d: %zu B at offset %zu run past the allocation's %zu B", side->ops->name,
                     side->device, size, offset, info.bytes);
  }
  return HMC_SUCCESS;
}

static hmc_status_t copy_by_bounce(const side_t *to, const side_t *from, size_t size) {
  if (from->ops->copy_to_host == NULL || to->ops->copy_from_host == NULL) {
    return lacks(from->ops->copy_to_host == NULL ? from->ops : to->ops, "copy to and from the host");
  }
  hmc_status_t status = check_range(to, size);
  if (status == HMC_SUCCESS) {
    status = check_range(from, size);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  size_t room = size < BOUNCE_SIZE ? size : BOUNCE_SIZE;
  void *bounce = malloc(room);
  if (bounce == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no %zu B of host memory for a copy from %s to %s memory", room, from->ops->name,
                     to->ops->name);
  }
  bool is_backward = to->bytes > from->bytes; /* within one memory the ranges may overlap */
  for (size_t done = 0; done < size && status == HMC_SUCCESS; done += room) {
    size_t piece = size - done < room ? size - done : room;
    size_t at = is_backward ? size - done - piece : done;
    status = from->ops->copy_to_host(from->device, bounce, from->bytes + at, piece);
    if (status == HMC_SUCCESS) {
      status = to->ops->copy_from_host(to->device, to->bytes + at, bounce, piece);
    }
  }
  free(bounce);
  return status;
}

static hmc_status_t copy_between(const side_t *to, const side_t *from, size_t size) {
  if (to->ops->host_accessible && from->ops->host_accessible) {
    memmove(to->bytes, from->bytes, size);
    return HMC_SUCCESS;
  }
  if (to->ops == from->ops && to->ops->copy_within != NULL) {
    hmc_status_t status = to->ops->copy_within(to->device, to->bytes, from->bytes, size);
    if (status != HMC_UNSUPPORT || to->device == from->device) return status;
    return copy_by_bounce(to, from, size); /* two devices that do not reach each other */
  }
  if (to->ops->host_accessible) {
    return from->ops->copy_to_host == NULL ? lacks(from->ops, "copy to the host")
                                           : from->ops->copy_to_host(from->device, to->bytes, from->bytes, size);
  }
  if (from->ops->host_accessible) {
    return to->ops->copy_from_host == NULL ? lacks(to->ops, "copy from the host")
                                           : to->ops->copy_from_host(to->device, to->bytes, from->bytes, size);
  }
  return copy_by_bounce(to, from, size);
}

hmc_status_t hmc_memory_copy(void *destination, hmc_memory_t destination_memory, const void *source,
                             hmc_memory_t source_memory, size_t size) {
  side_t to = {.device = destination_memory.device, .bytes = destination};
  side_t from = {.device = source_memory.device, .bytes = (char *)source};
  hmc_status_t status = hmci_memory_find(destination_memory, &to.ops);
  if (status == HMC_SUCCESS) {
    status = hmci_memory_find(source_memory, &from.ops);
  }
  if (status != HMC_SUCCESS || size == 0) {
    return status;
  }
  if (destination == NULL || source == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_copy: %s is NULL", destination == NULL ? "destination" : "source");
  }
  return copy_between(&to, &from, size);
}
