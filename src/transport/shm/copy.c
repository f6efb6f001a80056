/* Moving bytes by the calling thread: mapped, imported and attached regions. */
#include "shm.h"

#include "../../base/guarded.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

enum { PIECE = 4 << 20 }; /* bytes that one announced access moves at most */

/* ---- reading lent memory ----------------------------------------------------------------------------------------- */

/* The peer's number could be somebody else's once it is dead; its descriptor cannot. */
static bool is_alive(const shm_connection_t *connection) {
  struct pollfd dead = {.fd = connection->peer_pidfd, .events = POLLIN};
  return poll(&dead, 1, 0) == 0;
}

static hmc_status_t attach_piece(const shm_connection_t *connection, void *here, void *there, uint64_t length) {
  while (length) {
    struct iovec local = {here, length}, remote = {there, length};
    if (!is_alive(connection)) return HMC_PEER_LOST;
    ssize_t done = process_vm_readv(connection->peer_process, &local, 1, &remote, 1, 0);
    if (done <= 0) {
      int error = errno;
      if (done < 0 && error == ESRCH) return HMC_PEER_LOST;
      if (done < 0 && error == EFAULT) return hmci_guarded_is_there(here, length) ? HMC_STALE : HMC_INVALID_CONFIG;
      return hmci_fail(HMC_ERROR, "reaching into process %d: %s", connection->peer_process, strerror(error));
    }
    if (!is_alive(connection)) return HMC_PEER_LOST; /* its number may have been another process's by then */
    here = (uint8_t *)here + done;
    there = (uint8_t *)there + done;
    length -= (uint64_t)done;
  }
  return HMC_SUCCESS;
}

void hmci_shm_probe_attach(shm_connection_t *connection) {
  char *reason = connection->attach_reason;
  size_t size = sizeof connection->attach_reason;
  uint64_t seen = 0;
  connection->attach = false;
  if (!connection->transport->host->settings->shm_cma) {
    snprintf(reason, size, "HMC_SHM_CMA=no");
  } else if (connection->peer_pidfd < 0) {
    snprintf(reason, size, "no descriptor of the peer's process");
  } else if (attach_piece(connection, &seen, (void *)(uintptr_t)connection->peer_nonce_address, sizeof seen) !=
             HMC_SUCCESS) {
    snprintf(reason, size, "%.127s", hmc_last_error());
  } else if (seen != connection->peer_nonce) {
    snprintf(reason, size, "process %d is another one here (process namespaces)", connection->peer_process);
  } else {
    connection->attach = true;
  }
  static _Atomic bool told; /* a downgrade is logged once */
  if (connection->accesses) atomic_store(&connection->accesses->pulls_for[connection->role], connection->attach);
  if (!connection->attach && connection->transport->host->settings->shm_cma && !atomic_exchange(&told, true)) {
    hmci_log(HMC_LOG_WARNING,
             "registered memory of processes on this host goes through sockets, because attaching does not work: %s",
             reason);
  }
}

/* ---- copies ------------------------------------------------------------------------------------------------------ */

static hmc_status_t copy_mapped(const hmci_operation_t *operation, bool put, void *here, void *there, uint64_t length) {
  const hmci_memory_ops_t *ops = operation->local->ops;
  int device = operation->local->memory.device;
  if (put) return ops->copy_to_host(device, there, here, length);
  return ops->copy_from_host(device, here, there, length);
}

static hmc_status_t copy_imported(const hmci_operation_t *operation, const shm_remote_t *remote, bool put, void *here,
                                  void *there, uint64_t length) {
  hmc_memory_t local = operation->local->memory;
  return put ? hmc_memory_copy(there, remote->memory, here, local, length)
             : hmc_memory_copy(here, local, there, remote->memory, length);
}

static hmc_status_t copy_piece(shm_connection_t *connection, const hmci_operation_t *operation,
                               const shm_remote_t *remote, void *here, void *there, uint64_t length) {
  bool put = operation->kind == HMCI_PUT;
  if (remote->way == SHM_MAP) return copy_mapped(operation, put, here, there, length);
  uint32_t slot;
  hmc_status_t status = hmci_shm_begin_access(connection, remote, &slot);
  if (status != HMC_SUCCESS) return status;
  status = remote->way == SHM_IMPORT ? copy_imported(operation, remote, put, here, there, length)
                                     : attach_piece(connection, here, there, length);
  bool open = atomic_load(&connection->peer_board->generation[remote->id]) ==
              remote->generation; /* stopped meanwhile, it read what is not the region's */
  hmci_shm_end_access(connection, slot);
  if (atomic_load(&connection->failed)) return HMC_PEER_LOST;
  return status == HMC_SUCCESS && !open ? HMC_STALE : status;
}

static hmc_status_t copy_segment(shm_connection_t *connection, const hmci_operation_t *operation,
                                 const shm_remote_t *remote, const hmci_segment_t *segment) {
  uint8_t *here = operation->local->base + segment->local, *there = (uint8_t *)remote->pointer + segment->remote;
  for (uint64_t done = 0; done < segment->length;) {
    uint64_t length = segment->length - done < PIECE ? segment->length - done : PIECE;
    hmc_status_t status = copy_piece(connection, operation, remote, here + done, there + done, length);
    if (status != HMC_SUCCESS) return status;
    done += length;
    if (atomic_load_explicit(&connection->failed, memory_order_relaxed)) return HMC_PEER_LOST;
    if (done < segment->length && hmci_now() >= operation->deadline) return HMC_TIMEOUT;
  }
  return HMC_SUCCESS;
}

bool hmci_shm_copy(shm_connection_t *connection, const hmci_operation_t *operation, hmc_status_t *status) {
  const shm_remote_t *remote = operation->remote_state;
  if (operation->kind != HMCI_PUT && operation->kind != HMCI_GET)
    return false;                        /* the owner's thread does those, in order */
  if (operation->checksum) return false; /* the stream has checksums */
  if (hmci_shm_pull(connection, operation, status)) return true;
  if (!hmci_shm_remote_is_direct(connection, operation->remote_state, operation->local->ops, operation->kind))
    return false;
  atomic_thread_fence(memory_order_acquire); /* partner: whatever told this thread to look */
  *status = HMC_SUCCESS;
  bool by_device = remote->way == SHM_IMPORT && hmci_shm_copy_by_device(connection, operation, remote, status);
  for (uint32_t i = 0; i < operation->segment_count && *status == HMC_SUCCESS && !by_device; i++) {
    *status = copy_segment(connection, operation, remote, &operation->segments[i]);
  }
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  return true;
}
