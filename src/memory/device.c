/* The public calls on devices: streams, pinned host memory, properties and links, over the ops tables.
 *
 * The host has no entries of these in its table: what they mean for it is said here. No locking: backends lock for
 * themselves. */
#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HOST_ALIGNMENT = 4096 };

static hmc_status_t lacks(const hmci_memory_ops_t *ops, const char *what) {
  return hmci_fail(HMC_UNSUPPORT, "%s memory has no way to %s", ops->name, what);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_memory_copy_async(void *destination, hmc_memory_t destination_memory, const void *source,
                                   hmc_memory_t source_memory, size_t size, hmc_memory_stream_t stream) {
  const hmci_memory_ops_t *to, *from;
  hmc_status_t status = hmci_memory_find(destination_memory, &to);
  if (status == HMC_SUCCESS) status = hmci_memory_find(source_memory, &from);
  if (status != HMC_SUCCESS) return status;
  if (size && (!destination || !source)) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_copy_async: %s is NULL", destination ? "source" : "destination");
  }
  const hmci_memory_ops_t *ops = from->host_accessible ? to : from;
  if (ops->host_accessible) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_copy_async: both sides are host memory, which has no streams");
  }
  if (to != ops && !to->host_accessible) {
    return hmci_fail(HMC_UNSUPPORT, "no stream of %s memory copies to %s memory", from->name, to->name);
  }
  if (!ops->copy_on_stream) return lacks(ops, "copy on a stream");
  int device = from->host_accessible ? destination_memory.device : source_memory.device;
  return ops->copy_on_stream(device, destination, source, size, stream);
}

hmc_status_t hmc_memory_stream_create(hmc_memory_t memory, hmc_memory_stream_t *stream) {
  if (!stream) return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_stream_create: stream is NULL");
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  return ops->stream_create ? ops->stream_create(memory.device, stream) : lacks(ops, "make streams");
}

hmc_status_t hmc_memory_stream_destroy(hmc_memory_t memory, hmc_memory_stream_t stream) {
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  return ops->stream_destroy ? ops->stream_destroy(memory.device, stream) : lacks(ops, "make streams");
}

hmc_status_t hmc_memory_stream_wait(hmc_memory_t memory, hmc_memory_stream_t stream) {
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  return ops->stream_wait ? ops->stream_wait(memory.device, stream) : lacks(ops, "wait for streams");
}

/* ---- host memory ------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_memory_host_allocate(hmc_memory_t memory, size_t size, void **pointer) {
  if (!size || !pointer) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_host_allocate: %s", size ? "pointer is NULL" : "size is 0");
  }
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  if (ops->host_allocate) return ops->host_allocate(memory.device, size, pointer);
  if (!ops->host_accessible) return lacks(ops, "allocate pinned host memory");
  size_t whole = size > SIZE_MAX / 2 ? 0 : (size + HOST_ALIGNMENT - 1) / HOST_ALIGNMENT * HOST_ALIGNMENT;
  void *made = whole ? aligned_alloc(HOST_ALIGNMENT, whole) : NULL;
  if (!made) return hmci_fail(HMC_NO_MEMORY, "no %zu B of host memory", size);
  *pointer = made;
  return HMC_SUCCESS;
}

hmc_status_t hmc_memory_host_free(hmc_memory_t memory, void *pointer) {
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS || !pointer) return status;
  if (ops->host_free) return ops->host_free(memory.device, pointer);
  if (!ops->host_accessible) return lacks(ops, "allocate pinned host memory");
  free(pointer);
  return HMC_SUCCESS;
}

hmc_status_t hmc_memory_pin(hmc_memory_t memory, void *pointer, size_t size) {
  if (!pointer || !size) {
    return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_pin: %s", pointer ? "size is 0" : "pointer is NULL");
  }
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  return ops->pin ? ops->pin(memory.device, pointer, size) : lacks(ops, "pin host memory");
}

hmc_status_t hmc_memory_unpin(hmc_memory_t memory, void *pointer) {
  if (!pointer) return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_unpin: pointer is NULL");
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  return ops->unpin ? ops->unpin(memory.device, pointer) : lacks(ops, "pin host memory");
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_memory_get_properties(hmc_memory_t memory, hmc_memory_properties_t *properties) {
  if (!properties) return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_get_properties: properties is NULL");
  hmc_status_t status = hmci_sized_check(properties, "hmc_memory_properties_t");
  if (status != HMC_SUCCESS) return status;
  const hmci_memory_ops_t *ops;
  status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  hmc_memory_properties_t found = {.size = sizeof found, .memory = {ops->kind, memory.device}, .numa_node = -1};
  if (ops->properties) {
    status = ops->properties(memory.device, &found);
    if (status != HMC_SUCCESS) return status;
  } else {
    snprintf(found.name, sizeof found.name, "%s", ops->host_accessible ? "host memory" : ops->name);
  }
  hmci_sized_write(properties, &found, sizeof found);
  return HMC_SUCCESS;
}

static int node_of(hmc_memory_t memory) {
  hmc_memory_properties_t properties = HMC_MEMORY_PROPERTIES_INIT;
  return hmc_memory_get_properties(memory, &properties) == HMC_SUCCESS ? properties.numa_node : -1;
}

hmc_status_t hmc_memory_get_link(hmc_memory_t memory, hmc_memory_t other, hmc_memory_link_t *link) {
  if (!link) return hmci_fail(HMC_INVALID_CONFIG, "hmc_memory_get_link: link is NULL");
  const hmci_memory_ops_t *here, *there;
  hmc_status_t status = hmci_memory_find(memory, &here);
  if (status == HMC_SUCCESS) status = hmci_memory_find(other, &there);
  if (status != HMC_SUCCESS) return status;
  if (here == there && memory.device == other.device) {
    *link = HMC_MEMORY_LINK_SELF;
    return HMC_SUCCESS;
  }
  bool reaches = false;
  if (here == there && here->reaches) status = here->reaches(memory.device, other.device, &reaches);
  if (status != HMC_SUCCESS) return status;
  int node = node_of(memory);
  *link = reaches                               ? HMC_MEMORY_LINK_DIRECT
          : node >= 0 && node == node_of(other) ? HMC_MEMORY_LINK_NODE
                                                : HMC_MEMORY_LINK_SYSTEM;
  return HMC_SUCCESS;
}

const char *hmc_memory_link_name(hmc_memory_link_t link) {
  static const char *const names[] = {"self", "direct", "node", "system"};
  return (unsigned)link < sizeof names / sizeof *names ? names[link] : "unknown";
}
