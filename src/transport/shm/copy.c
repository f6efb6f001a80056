/* Moving bytes by the calling thread: mapped, imported and attached regions. */
#include "shm.h"

#include "../../base/stop.h"

#include <stdio.h>

enum {
  PIECE = 4 << 20, /* bytes that one announced access moves at most */
  NAP = 10000000,  /* nanoseconds until who waits for the stream looks again whether it is to end */
};

/* ---- reading registered memory ----------------------------------------------------------------------------------- */

/* HMC_UNSUPPORT: the peer's memory is none, or no other process can read it. */
static hmc_status_t read_lent(const shm_connection_t *connection, shm_read_t *reads, uint32_t count) {
  if (!hmci_shm_is_alive(connection)) return HMC_PEER_LOST;
  shm_fault_t fault = hmci_shm_read(connection->peer_process, reads, count);
  if (!hmci_shm_is_alive(connection)) return HMC_PEER_LOST; /* its number may have been another process's by then */
  switch (fault) {
  case SHM_FAULT_NONE: return HMC_SUCCESS;
  case SHM_FAULT_HERE: return HMC_INVALID_CONFIG;
  case SHM_FAULT_THERE:
  case SHM_FAULT_DENIED: return HMC_UNSUPPORT;
  case SHM_FAULT_DEAD: return HMC_PEER_LOST;
  case SHM_FAULT_OTHER: break;
  }
  return HMC_ERROR;
}

void hmci_shm_probe_attach(shm_connection_t *connection) {
  char *reason = connection->attach_reason;
  size_t size = sizeof connection->attach_reason;
  uint64_t seen = 0;
  connection->attach = false;
  shm_read_t nonce = {(uint8_t *)&seen, connection->peer_nonce_address, sizeof seen};
  if (!connection->transport->host->settings->shm_cma) {
    snprintf(reason, size, "HMC_SHM_CMA=no");
  } else if (connection->peer_pidfd < 0) {
    snprintf(reason, size, "no descriptor of the peer's process");
  } else if (read_lent(connection, &nonce, 1) != HMC_SUCCESS) {
    snprintf(reason, size, "%.127s", hmc_last_error());
  } else if (seen != connection->peer_nonce) {
    snprintf(reason, size, "process %d is another one here (process namespaces)", connection->peer_process);
  } else {
    connection->attach = true;
  }
  static _Atomic bool told; /* a downgrade is logged once */
  uint32_t pulls = connection->carries ? SHM_PULLS_CARRIED : SHM_PULLS_RUNG;
  if (connection->accesses)
    atomic_store(&connection->accesses->pulls_for[connection->role], connection->attach ? pulls : SHM_PULLS_NONE);
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

/* After an announced access: was the region there all the time? */
static hmc_status_t end_access(shm_connection_t *connection, const shm_remote_t *remote, uint32_t slot,
                               hmc_status_t status) {
  bool open = atomic_load(&connection->peer_board->generation[remote->id]) ==
              remote->generation; /* stopped meanwhile, it read what is not the region's */
  hmci_shm_end_access(connection, slot);
  if (atomic_load(&connection->failed)) return HMC_PEER_LOST;
  return status == HMC_SUCCESS && !open ? HMC_STALE : status;
}

static hmc_status_t copy_piece(shm_connection_t *connection, const hmci_operation_t *operation,
                               const shm_remote_t *remote, void *here, void *there, uint64_t length) {
  bool put = operation->kind == HMCI_PUT;
  if (remote->way == SHM_MAP) return copy_mapped(operation, put, here, there, length);
  uint32_t slot;
  hmc_status_t status = hmci_shm_begin_access(connection, remote, &slot);
  if (status != HMC_SUCCESS) return status;
  status = copy_imported(operation, remote, put, here, there, length);
  return end_access(connection, remote, slot, status);
}

/* Must what is not finished end here? */
static hmc_status_t look_for_end(const shm_connection_t *connection, const hmci_operation_t *operation) {
  if (atomic_load_explicit(&connection->failed, memory_order_relaxed)) return HMC_PEER_LOST;
  if (hmci_now() >= operation->deadline) return HMC_TIMEOUT;
  return atomic_load(&operation->stop) ? HMC_CANCELLED : HMC_SUCCESS;
}

static hmc_status_t copy_segment(shm_connection_t *connection, const hmci_operation_t *operation,
                                 const shm_remote_t *remote, const hmci_segment_t *segment) {
  uint8_t *here = operation->local->base + segment->local, *there = (uint8_t *)remote->pointer + segment->remote;
  for (uint64_t done = 0; done < segment->length;) {
    uint64_t length = segment->length - done < PIECE ? segment->length - done : PIECE;
    hmc_status_t status = copy_piece(connection, operation, remote, here + done, there + done, length);
    done += length;
    if (status == HMC_SUCCESS && done < segment->length) status = look_for_end(connection, operation);
    if (status != HMC_SUCCESS) return status;
  }
  return HMC_SUCCESS;
}

/* Some parts of a get from registered memory, under one announcement. */
static hmc_status_t read_parts(shm_connection_t *connection, const hmci_operation_t *operation,
                               const hmci_segment_t *parts, uint32_t count) {
  const shm_remote_t *remote = operation->remote_state;
  shm_read_t reads[SHM_READS];
  for (uint32_t i = 0; i < count; i++) {
    reads[i] = (shm_read_t){operation->local->base + parts[i].local,
                            (uint64_t)(uintptr_t)remote->pointer + parts[i].remote, parts[i].length};
  }
  uint32_t slot;
  hmc_status_t status = hmci_shm_begin_access(connection, remote, &slot);
  if (status != HMC_SUCCESS) return status;
  status = read_lent(connection, reads, count);
  return end_access(connection, remote, slot, status);
}

static hmc_status_t read_segments(shm_connection_t *connection, const hmci_operation_t *operation,
                                  const hmci_segment_t *segments, uint32_t count) {
  shm_cursor_t cursor = {.segments = segments, .count = count};
  hmci_segment_t parts[SHM_READS];
  hmc_status_t status = HMC_SUCCESS;
  uint32_t some;
  while (status == HMC_SUCCESS && (some = hmci_shm_next_parts(&cursor, parts, SHM_READS, PIECE))) {
    status = read_parts(connection, operation, parts, some);
    if (status == HMC_SUCCESS && cursor.index < count) status = look_for_end(connection, operation);
  }
  return status;
}

/* ---- memory that no other process can read ----------------------------------------------------------------------- */

/* Not noted of plain addresses: they are of all sorts. */
static void note_local(const shm_connection_t *connection, const hmci_region_view_t *local) {
  hmci_region_view_t *noted = (hmci_region_view_t *)(uintptr_t)local;
  if (local->anywhere || atomic_exchange(&noted->unreadable, true)) return;
  hmci_log(HMC_LOG_INFO, "process %d cannot read the memory at %p: what it gets from there goes through a socket",
           connection->peer_process, (void *)local->base);
}

static void note_remote(const shm_connection_t *connection, shm_remote_t *remote) {
  if (atomic_exchange(&remote->unreadable, true)) return;
  hmci_log(HMC_LOG_INFO, "a region of process %d cannot be read from here: what is read goes through a socket",
           connection->peer_process);
}

static bool is_unreadable(const hmci_operation_t *operation) {
  const shm_remote_t *remote = operation->remote_state;
  const _Atomic bool *noted = operation->kind == HMCI_PUT ? &operation->local->unreadable : &remote->unreadable;
  return atomic_load_explicit(noted, memory_order_relaxed);
}

/* Moves some parts of an operation by the stream, as an operation of their own, and waits for them. */
static hmc_status_t stream_parts(shm_connection_t *connection, const hmci_operation_t *whole,
                                 const hmci_segment_t *segments, uint32_t count) {
  uint64_t spin = connection->transport->host->settings->spin;
  hmci_operation_t own = {.kind = whole->kind,
                          .local = whole->local,
                          .remote = whole->remote,
                          .remote_state = whole->remote_state,
                          .segments = segments,
                          .segment_count = count,
                          .deadline = whole->deadline,
                          .awaited = true};
  hmc_status_t status = hmci_shm_need_stream(connection);
  if (status == HMC_SUCCESS) status = hmci_requester_submit(&connection->requester, &own, 1);
  if (status != HMC_SUCCESS) return status;
  while (!hmci_operation_is_complete(&own)) {
    status = hmci_requester_wait(&connection->requester, &own, spin);
    bool stops = atomic_load(&whole->stop) || (hmci_stop_is_possible() && hmci_stop_is_wanted());
    if (status == HMC_TIMEOUT || stops)
      hmci_requester_cancel(&connection->requester, &own, stops ? HMC_CANCELLED : HMC_TIMEOUT);
    uint64_t until = hmci_now() + NAP;
    hmci_operation_sleep(&own, until < whole->deadline ? until : whole->deadline);
  }
  return own.status;
}

/* ---- the table's entries ----------------------------------------------------------------------------------------- */

bool hmci_shm_copy(shm_connection_t *connection, const hmci_operation_t *operation, hmc_status_t *status) {
  shm_remote_t *remote = operation->remote_state;
  if (operation->kind != HMCI_PUT && operation->kind != HMCI_GET)
    return false;                        /* the owner's thread does those, in order */
  if (operation->checksum) return false; /* the stream has checksums */
  if (hmci_shm_pull(connection, operation, status)) return true;
  if (*status == HMC_INVALID_CONFIG) note_local(connection, operation->local);
  if (!hmci_shm_remote_is_direct(connection, operation->remote_state, operation->local->ops, operation->kind))
    return false;
  atomic_thread_fence(memory_order_acquire); /* partner: what made this thread look */
  *status = HMC_SUCCESS;
  bool attached = remote->way == SHM_ATTACH;
  if (attached) *status = read_segments(connection, operation, operation->segments, operation->segment_count);
  if (attached && *status == HMC_UNSUPPORT) {
    note_remote(connection, remote);
    return false;
  }
  bool by_device = remote->way == SHM_IMPORT && hmci_shm_copy_by_device(connection, operation, remote, status);
  for (uint32_t i = 0; i < operation->segment_count && *status == HMC_SUCCESS && !by_device && !attached; i++) {
    *status = copy_segment(connection, operation, remote, &operation->segments[i]);
  }
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  return true;
}

bool hmci_shm_moves(void *block, void *state, const hmci_memory_ops_t *local, hmci_operation_kind_t kind,
                    uint64_t length) {
  const shm_connection_t *connection = block;
  const shm_remote_t *remote = state;
  if (kind == HMCI_PUT) return length >= SHM_PULL_LEAST && hmci_shm_is_pulled(connection, remote, local);
  return kind == HMCI_GET && length >= SHM_READ_LEAST && hmci_shm_remote_is_direct(block, state, local, kind) &&
         remote->way == SHM_ATTACH;
}

hmc_status_t hmci_shm_move(void *block, const hmci_operation_t *operation, const hmci_segment_t *segments,
                           uint32_t count) {
  shm_connection_t *connection = block;
  bool put = operation->kind == HMCI_PUT;
  bool streams = is_unreadable(operation) || (put && hmci_shm_goes_behind(connection));
  hmc_status_t status = HMC_SUCCESS;
  atomic_thread_fence(memory_order_acquire); /* partner: what made this thread look */
  if (!streams)
    status = put ? hmci_shm_pull_parts(connection, operation, segments, count)
                 : read_segments(connection, operation, segments, count);
  if (status == (put ? HMC_INVALID_CONFIG : HMC_UNSUPPORT)) {
    put ? note_local(connection, operation->local) : note_remote(connection, operation->remote_state);
    streams = true;
  }
  if (streams) status = stream_parts(connection, operation, segments, count);
  atomic_thread_fence(memory_order_release); /* partner: whatever tells the target to look */
  bool closed = status == HMC_PEER_LOST && atomic_load(&connection->failed); /* maybe by this side */
  return closed ? (hmc_status_t)atomic_load(&connection->failure) : status;
}
