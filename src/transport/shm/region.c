/* How the bytes of a region go, at the owner's and at the user's side (see shm.h). A region's key is the way (1 byte)
 * and, to attach, its address in the owner (8 bytes); descriptors and handles are asked for over the link. */
#include "shm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { KEY = 9 };

static shm_way_t way_of(const hmci_region_view_t *region) {
  if (region->descriptor >= 0) return SHM_MAP;
  if (region->owned && region->ops->export_range) return SHM_IMPORT;
  return region->ops->host_accessible ? SHM_ATTACH : SHM_STREAM;
}

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

hmc_status_t hmci_shm_region_export(void *block, hmci_region_view_t *region, hmci_blob_t *key) {
  shm_connection_t *connection = block;
  atomic_store(&connection->transport->board->generation[region->id], region->generation);
  shm_way_t way = way_of(region);
  key->size = KEY;
  key->data[0] = (uint8_t)way;
  hmci_store64(key->data + 1, way == SHM_ATTACH ? (uint64_t)(uintptr_t)region->base : 0);
  return HMC_SUCCESS;
}

void hmci_shm_region_revoke(void *block, hmci_region_view_t *region) {
  shm_connection_t *connection = block;
  atomic_store(&connection->transport->board->generation[region->id], 0); /* (c) of board.c */
  if (way_of(region) != SHM_MAP) hmci_shm_await_accesses(connection, region->id);
  if (atomic_load(&connection->has_responder)) hmci_responder_revoke(&connection->responder, region);
}

/* ---- the user's side --------------------------------------------------------------------------------------------- */

static hmc_status_t map_region(shm_remote_t *remote, const hmci_memory_export_t *exported, uint32_t rights) {
  struct stat file;
  if (exported->descriptor < 0 || fstat(exported->descriptor, &file) || (uint64_t)file.st_size < remote->size) {
    return hmci_fail(HMC_CORRUPT, "the peer sent no memory of %llu B", (unsigned long long)remote->size);
  }
  int protection = PROT_READ | (rights & (HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC) ? PROT_WRITE : 0);
  void *address = mmap(NULL, remote->size, protection, MAP_SHARED, exported->descriptor, 0);
  if (address == MAP_FAILED) {
    return hmci_fail(HMC_NO_MEMORY, "mapping %llu B of the peer: %s", (unsigned long long)remote->size,
                     strerror(errno));
  }
  remote->pointer = address;
  return HMC_SUCCESS;
}

static hmc_status_t import_region(shm_remote_t *remote, const hmci_memory_export_t *exported) {
  hmc_status_t status = hmci_memory_find(remote->memory, &remote->ops);
  if (status != HMC_SUCCESS) return status;
  if (!remote->ops->import_range)
    return hmci_fail(HMC_UNSUPPORT, "%s memory cannot be imported here", remote->ops->name);
  return remote->ops->import_range(remote->memory.device, exported, remote->size, &remote->pointer);
}

hmc_status_t hmci_shm_remote_open(void *block, void *state, const hmci_remote_view_t *view, const hmci_blob_t *key,
                                  uint64_t deadline, void **mapped, const _Atomic uint32_t **generation) {
  shm_connection_t *connection = block;
  shm_remote_t *remote = state;
  if (key->size != KEY || view->id >= SHM_REGIONS) return hmci_fail(HMC_CORRUPT, "malformed key of a region");
  *remote = (shm_remote_t){.way = (shm_way_t)key->data[0],
                           .memory = view->memory,
                           .size = view->size,
                           .id = view->id,
                           .generation = view->generation};
  *generation = &connection->peer_board->generation[view->id];
  if (remote->way == SHM_ATTACH) {
    remote->pointer = (void *)(uintptr_t)hmci_load64(key->data + 1);
    if (!connection->attach) remote->way = SHM_STREAM;
  }
  if (remote->way != SHM_MAP && remote->way != SHM_IMPORT) return HMC_SUCCESS;

  hmci_memory_export_t exported;
  hmc_status_t status = hmci_shm_ask_region(connection, view->id, view->generation, deadline, &exported);
  if (status != HMC_SUCCESS) return status;
  status = remote->way == SHM_MAP ? map_region(remote, &exported, view->rights) : import_region(remote, &exported);
  if (exported.descriptor >= 0) close(exported.descriptor);
  if (status != HMC_SUCCESS && remote->way == SHM_IMPORT) { /* a slower way remains */
    hmci_log(HMC_LOG_INFO, "a region of process %d goes by a socket: %s", connection->peer_process, hmc_last_error());
    remote->way = SHM_STREAM;
    return HMC_SUCCESS;
  }
  if (status == HMC_SUCCESS && remote->way == SHM_MAP) *mapped = remote->pointer;
  return status;
}

void hmci_shm_remote_close(void *block, void *state) {
  (void)block;
  shm_remote_t *remote = state;
  if (remote->way == SHM_MAP) munmap(remote->pointer, remote->size);
  if (remote->way == SHM_IMPORT) remote->ops->release_import(remote->memory.device, remote->pointer, remote->size);
}

void hmci_shm_remote_explain(void *block, void *state, char *text, size_t size) {
  shm_connection_t *connection = block;
  const shm_remote_t *remote = state;
  switch (remote->way) {
  case SHM_MAP: snprintf(text, size, "mapped here: a put is a copy by the calling thread"); break;
  case SHM_IMPORT: snprintf(text, size, "imported here: the device copies, started by the calling thread"); break;
  case SHM_ATTACH:
    snprintf(text, size, "read by process_vm_readv, by the calling thread; written through a UNIX socket");
    break;
  case SHM_STREAM:
    if (remote->pointer) {
      snprintf(text, size, "staged through a UNIX socket, for attaching does not work: %s", connection->attach_reason);
    } else {
      snprintf(text, size, "staged through a UNIX socket");
    }
  }
}

bool hmci_shm_remote_is_direct(void *block, void *state, const hmci_memory_ops_t *local, hmci_operation_kind_t kind) {
  (void)block;
  const shm_remote_t *remote = state;
  bool attached = remote->way == SHM_ATTACH && local->host_accessible && kind == HMCI_GET; /* put: see shm.h */
  return remote->way == SHM_MAP || remote->way == SHM_IMPORT || attached;
}
