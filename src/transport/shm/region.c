/* How the bytes of a region go, at the owner's and at the user's side (see shm.h).
 *
 * A region's key: u8 way, u64 address in the owner (host memory). In the descriptor of a region, which is made before
 * anybody asks, it goes on: u32 number of the file's descriptor in the owner or UINT32_MAX, u64 device and u64 inode of
 * the file, u64 offset of the region in it. Who may attach to the owner fetches the descriptor by that number, without
 * the owner's help (pidfd_getfd); others ask for it over the link. */
#include "shm.h"

#include "../../base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { KEY = 9, LONG_KEY = KEY + 28 };

static shm_way_t way_of(const hmci_region_view_t *region) {
  if (region->leased) return SHM_STREAM; /* the owner's thread alone */
  if (region->descriptor >= 0) return SHM_MAP;
  if (region->ops->export_range && (region->owned || region->ops->exports_foreign)) return SHM_IMPORT;
  return region->ops->host_accessible ? SHM_ATTACH : SHM_STREAM;
}

/* ---- the owner's side -------------------------------------------------------------------------------------------- */

static void write_key(shm_transport_t *transport, const hmci_region_view_t *region, hmci_blob_t *key) {
  atomic_store(&atomic_load(&transport->board)->generation[region->id], region->generation);
  key->size = KEY;
  key->data[0] = (uint8_t)way_of(region);
  hmci_store64(key->data + 1, region->ops->host_accessible && !region->leased ? (uint64_t)(uintptr_t)region->base : 0);
}

hmc_status_t hmci_shm_region_export(void *block, hmci_region_view_t *region, hmci_blob_t *key) {
  shm_connection_t *connection = block;
  write_key(connection->transport, region, key);
  return HMC_SUCCESS;
}

hmc_status_t hmci_shm_region_describe(void *transport, hmci_region_view_t *region, hmci_blob_t *key) {
  struct stat file = {0};
  hmc_status_t status = hmci_shm_need_board(transport);
  if (status != HMC_SUCCESS) return status;
  write_key(transport, region, key);
  bool writable = region->rights & (HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC); /* else it must not be had for writing */
  bool found = region->descriptor >= 0 && writable && !region->leased && fstat(region->descriptor, &file) == 0;
  hmci_store32(key->data + KEY, found ? (uint32_t)region->descriptor : UINT32_MAX);
  hmci_store64(key->data + KEY + 4, (uint64_t)file.st_dev);
  hmci_store64(key->data + KEY + 12, (uint64_t)file.st_ino);
  hmci_store64(key->data + KEY + 20, region->descriptor_offset);
  key->size = LONG_KEY;
  return HMC_SUCCESS;
}

void hmci_shm_region_revoke(void *block, hmci_region_view_t *region) {
  shm_connection_t *connection = block;
  atomic_store(&atomic_load(&connection->transport->board)->generation[region->id], 0); /* (c) of board.c */
  hmci_responder_t *responder = hmci_shm_responder(connection);
  if (responder) hmci_responder_revoke(responder, region);
}

void hmci_shm_lease_revoke(void *block, uint64_t number) {
  hmci_responder_t *responder = hmci_shm_responder(block);
  if (responder) hmci_responder_revoke_lease(responder, number);
}

bool hmci_shm_region_is_quiet(void *block, hmci_region_view_t *region) {
  return !hmci_shm_has_access(block, region->id);
}

/* Its key may be in hands that have not connected yet. */
void hmci_shm_region_forget(void *state, hmci_region_view_t *region) {
  shm_transport_t *transport = state;
  shm_board_t *board = atomic_load(&transport->board);
  if (board) atomic_store(&board->generation[region->id], 0);
}

/* ---- the user's side --------------------------------------------------------------------------------------------- */

/* Takes a copy of the owner's descriptor, where that is allowed and still is what the key says: -1 otherwise. */
static int fetch_descriptor(const shm_connection_t *connection, const shm_source_t *source) {
#ifdef SYS_pidfd_getfd
  struct stat file;
  if (source->descriptor < 0 || connection->peer_pidfd < 0) return -1;
  int descriptor = (int)syscall(SYS_pidfd_getfd, connection->peer_pidfd, source->descriptor, 0);
  if (descriptor < 0) return -1;
  bool same = fstat(descriptor, &file) == 0 && file.st_dev == source->device && file.st_ino == source->number;
  if (same) return descriptor;
  close(descriptor);
#else
  (void)connection, (void)source;
#endif
  return -1;
}

/* The file that holds a mapped region; the caller's to close. */
static hmc_status_t open_source(shm_connection_t *connection, shm_remote_t *remote, uint64_t deadline, int *out) {
  hmci_memory_export_t exported = {.descriptor = fetch_descriptor(connection, &remote->source)};
  hmc_status_t status = HMC_SUCCESS;
  if (exported.descriptor < 0)
    status =
        hmci_shm_ask_region(connection, remote->id, remote->generation, deadline, &exported, &remote->source.offset);
  if (status != HMC_SUCCESS) return status;
  uint64_t offset = remote->source.offset;
  if (offset > UINT64_MAX - remote->size || !hmci_shm_is_sound(exported.descriptor, offset + remote->size)) {
    if (exported.descriptor >= 0) close(exported.descriptor);
    return hmci_fail(HMC_CORRUPT, "the peer sent no memory of %llu B that it cannot take away again",
                     (unsigned long long)remote->size);
  }
  *out = exported.descriptor;
  return HMC_SUCCESS;
}

/* Maps a part of the region; see hmci_remote_mapping_t. */
static hmc_status_t map_part(shm_connection_t *connection, shm_remote_t *remote, uint64_t deadline,
                             hmci_remote_mapping_t *mapping) {
  int descriptor = -1;
  hmc_status_t status = open_source(connection, remote, deadline, &descriptor);
  if (status != HMC_SUCCESS) return status;
  bool writable = remote->rights & (HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC) && !mapping->read_only;
  uint64_t page = hmci_map_page(descriptor), from = remote->source.offset + mapping->offset, lead = from % page;
  mapping->mapped = hmci_round_up(lead + mapping->length, page);
  if (mapping->placed && (uintptr_t)mapping->pointer < lead) {
    status = hmci_fail(HMC_INVALID_CONFIG, "address %p is too low", (void *)mapping->pointer);
  } else {
    status = hmci_map(descriptor, from - lead, mapping->mapped, page, PROT_READ | (writable ? PROT_WRITE : 0),
                      mapping->placed ? mapping->pointer - lead : NULL, &mapping->base);
  }
  close(descriptor);
  if (status == HMC_SUCCESS) mapping->pointer = (uint8_t *)mapping->base + lead;
  return status;
}

static hmc_status_t map_region(shm_connection_t *connection, shm_remote_t *remote, uint64_t deadline) {
  hmci_remote_mapping_t whole = {.length = remote->size};
  hmc_status_t status = map_part(connection, remote, deadline, &whole);
  if (status != HMC_SUCCESS) return status;
  remote->pointer = whole.pointer; /* regions begin where pages do */
  remote->mapped = whole.mapped;
  return HMC_SUCCESS;
}

static hmc_status_t import_region(shm_connection_t *connection, shm_remote_t *remote, uint64_t deadline) {
  hmci_memory_export_t exported;
  uint64_t offset;
  hmc_status_t status = hmci_memory_find(remote->memory, &remote->ops);
  if (status != HMC_SUCCESS) return status;
  if (!remote->ops->import_range)
    return hmci_fail(HMC_UNSUPPORT, "%s memory cannot be imported here", remote->ops->name);
  status = hmci_shm_ask_region(connection, remote->id, remote->generation, deadline, &exported, &offset);
  if (status != HMC_SUCCESS) return status;
  status = remote->ops->import_range(remote->memory.device, &exported, remote->size, &remote->pointer);
  if (exported.descriptor >= 0) close(exported.descriptor);
  return status;
}

static hmc_status_t read_key(const hmci_blob_t *key, shm_remote_t *remote) {
  if (key->size != KEY && key->size != LONG_KEY) return hmci_fail(HMC_CORRUPT, "malformed key of a region");
  remote->way = (shm_way_t)key->data[0];
  if (remote->way > SHM_ATTACH) return hmci_fail(HMC_CORRUPT, "a region that is reached in an unknown way");
  remote->source = (shm_source_t){.address = hmci_load64(key->data + 1), .descriptor = -1};
  if (key->size == KEY) return HMC_SUCCESS;
  remote->source.descriptor = (int)hmci_load32(key->data + KEY);
  remote->source.device = hmci_load64(key->data + KEY + 4);
  remote->source.number = hmci_load64(key->data + KEY + 12);
  remote->source.offset = hmci_load64(key->data + KEY + 20);
  return HMC_SUCCESS;
}

/* What could not be mapped or imported is attached to, or goes by the stream. */
static void take_slower_way(shm_connection_t *connection, shm_remote_t *remote) {
  hmci_log(HMC_LOG_INFO, "a region of process %d is not mapped: %s", connection->peer_process, hmc_last_error());
  remote->way = remote->way == SHM_MAP && remote->source.address ? SHM_ATTACH : SHM_STREAM;
}

hmc_status_t hmci_shm_remote_open(void *block, void *state, const hmci_remote_view_t *view, const hmci_blob_t *key,
                                  uint64_t deadline, void **mapped, const _Atomic uint32_t **generation) {
  shm_connection_t *connection = block;
  shm_remote_t *remote = state;
  if (view->id >= SHM_REGIONS) return hmci_fail(HMC_CORRUPT, "a region of number %u", view->id);
  *remote = (shm_remote_t){.memory = view->memory,
                           .size = view->size,
                           .id = view->id,
                           .generation = view->generation,
                           .rights = view->rights};
  hmc_status_t status = read_key(key, remote);
  if (status != HMC_SUCCESS) return status;
  *generation = &connection->peer_board->generation[view->id];
  if (remote->way == SHM_MAP || remote->way == SHM_IMPORT) {
    status =
        remote->way == SHM_MAP ? map_region(connection, remote, deadline) : import_region(connection, remote, deadline);
    if (status == HMC_SUCCESS && remote->way == SHM_MAP) *mapped = remote->pointer;
    bool slower = status != HMC_SUCCESS && status != HMC_STALE && status != HMC_PEER_LOST && status != HMC_TIMEOUT &&
                  status != HMC_CORRUPT;
    if (!slower) return status;
    take_slower_way(connection, remote);
  }
  if (remote->way == SHM_ATTACH) {
    remote->pointer = (void *)(uintptr_t)remote->source.address;
    if (!connection->attach) remote->way = SHM_STREAM;
  }
  return HMC_SUCCESS;
}

void hmci_shm_remote_close(void *block, void *state) {
  (void)block;
  shm_remote_t *remote = state;
  if (remote->way == SHM_MAP) munmap(remote->pointer, remote->mapped);
  if (remote->way == SHM_IMPORT) remote->ops->release_import(remote->memory.device, remote->pointer, remote->size);
}

hmc_status_t hmci_shm_remote_map(void *block, void *state, uint64_t deadline, hmci_remote_mapping_t *mapping) {
  shm_connection_t *connection = block;
  shm_remote_t *remote = state;
  mapping->word = &connection->peer_board->generation[remote->id];
  mapping->value = remote->generation;
  if (atomic_load(mapping->word) != mapping->value) return hmci_fail(HMC_STALE, "the peer has closed it");
  if (remote->way == SHM_MAP) return map_part(connection, remote, deadline, mapping);
  if (remote->way != SHM_IMPORT) {
    return hmci_fail(HMC_UNSUPPORT,
                     "its owner neither allocated it by HMC nor gave it as a descriptor, so only the owner maps it");
  }
  if (mapping->placed) return hmci_fail(HMC_UNSUPPORT, "%s memory lies where its driver puts it", remote->ops->name);
  mapping->pointer = (uint8_t *)remote->pointer + mapping->offset;
  return HMC_SUCCESS;
}

void hmci_shm_remote_unmap(void *block, void *state, hmci_remote_mapping_t *mapping) {
  (void)block;
  const shm_remote_t *remote = state;
  if (remote->way == SHM_MAP) hmci_unmap(mapping->base, mapping->mapped, mapping->placed);
}

void hmci_shm_remote_explain(void *block, void *state, char *text, size_t size) {
  shm_connection_t *connection = block;
  const shm_remote_t *remote = state;
  switch (remote->way) {
  case SHM_MAP: snprintf(text, size, "mapped here: a put is a copy by the calling thread"); break;
  case SHM_IMPORT: snprintf(text, size, "imported here: the device copies, started by the calling thread"); break;
  case SHM_ATTACH:
    if (atomic_load(&remote->unreadable)) {
      snprintf(text, size, "staged through a UNIX socket, because no other process can read its memory");
      break;
    }
    snprintf(text, size, "copied by process_vm_readv: gets by the calling thread, puts by the owner's service thread");
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
  attached = attached && !atomic_load_explicit(&remote->unreadable, memory_order_relaxed);
  return remote->way == SHM_MAP || remote->way == SHM_IMPORT || attached;
}
