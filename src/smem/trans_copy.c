/* TRANS: transfers (see trans.h). A single one is a batch of one piece. */
#include "trans.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* What a call moves, and what was found of its pieces. */
typedef struct move {
  hmci_smem_trans_t *trans;
  const char *id;
  const void *const *local;
  const void *const *remote;
  const size_t *sizes;
  uint32_t count;
  int is_write;
} move_t;

/* An operation in progress. */
typedef struct part {
  hmc_request_t *request;
  hmc_batch_t *batch;
  hmc_region_t *lent;
} part_t;

static int32_t check_move(const move_t *move, uint32_t flags) {
  if (move->id == NULL || move->local == NULL || move->remote == NULL || move->sizes == NULL || move->count == 0) {
    return hmci_smem_fail(
        SM_INVALID_PARAM,
        "a transfer without a peer's id, or without pieces: its uniqueId, addresses and sizes are needed");
  }
  if ((flags & ~(uint32_t)COPY_EXTEND_FLAG) != 0) {
    return hmci_smem_fail(SM_INVALID_PARAM, "flags 0x%x: 0 or COPY_EXTEND_FLAG are taken", flags);
  }
  for (uint32_t i = 0; i < move->count; i++) {
    if (move->local[i] == NULL || move->remote[i] == NULL || move->sizes[i] == 0) {
      return hmci_smem_fail(SM_INVALID_PARAM,
                            "piece %u: %zu B between %p and %p: two addresses and a size above 0 are needed", i,
                            move->sizes[i], move->local[i], move->remote[i]);
    }
  }
  return SM_OK;
}

/* With the lock held for reading: makes sure that all of the peer's memory is known. */
static int32_t know_remotes(const move_t *move) {
  int32_t code = SM_OK;
  for (uint32_t i = 0; i < move->count && code == SM_OK; i++) {
    hmc_remote_t *remote;
    uint64_t offset;
    code = hmci_smem_partner_find(move->trans, move->id, (uint64_t)(uintptr_t)move->remote[i], move->sizes[i], 1,
                                  &remote, &offset);
  }
  return code;
}

/* The region of a piece's near end, registered for it where none is registered. */
static int32_t near_region(const move_t *move, uint32_t i, hmc_region_t **region, uint64_t *offset, part_t *part) {
  uint64_t address = (uint64_t)(uintptr_t)move->local[i];
  const hmci_smem_range_t *range = hmci_smem_range_find(move->trans, address, move->sizes[i]);
  if (range != NULL) {
    *region = range->region;
    *offset = address - range->address;
    return SM_OK;
  }
  hmc_status_t status = hmc_region_register(move->trans->context, (void *)(uintptr_t)move->local[i], move->sizes[i],
                                            NULL, 0, &part->lent);
  *region = part->lent;
  *offset = 0;
  return status == HMC_SUCCESS
             ? SM_OK
             : hmci_smem_fail_hmc(status, "%zu B at %p cannot be moved", move->sizes[i], move->local[i]);
}

/* Starts piece `i` and those behind it that lie in the same two regions; how many to *taken. */
static hmc_status_t start_run(const move_t *move, hmc_region_t *region, hmc_remote_t *remote,
                              const hmc_segment_t *segments, uint32_t count, part_t *part) {
  hmc_status_t status = hmc_batch_create(region, remote, segments, count, &part->batch);
  if (status == HMC_SUCCESS) {
    status = move->is_write ? hmc_batch_put_nb(part->batch, NULL, &part->request)
                            : hmc_batch_get_nb(part->batch, NULL, &part->request);
  }
  return status;
}

static hmc_status_t start_one(const move_t *move, hmc_region_t *region, hmc_remote_t *remote,
                              const hmc_segment_t *segment, part_t *part) {
  return move->is_write ? hmc_put_nb(region, segment->local_offset, remote, segment->remote_offset, segment->length,
                                     NULL, &part->request)
                        : hmc_get_nb(region, segment->local_offset, remote, segment->remote_offset, segment->length,
                                     NULL, &part->request);
}

/* Collects pieces from `first` on that go as one; *taken of them. */
static int32_t collect(const move_t *move, uint32_t first, hmc_segment_t *segments, hmc_region_t **region,
                       hmc_remote_t **remote, uint32_t *taken, part_t *part) {
  *taken = 0;
  for (uint32_t i = first; i < move->count; i++) {
    hmc_remote_t *there = NULL;
    hmc_region_t *here = NULL;
    uint64_t offset = 0, remote_offset = 0;
    part_t lent = {.lent = NULL};
    int32_t code = hmci_smem_partner_find(move->trans, move->id, (uint64_t)(uintptr_t)move->remote[i], move->sizes[i],
                                          0, &there, &remote_offset);
    if (code == SM_OK && (i == first || there == *remote)) {
      if (i > first && part->lent != NULL) {
        break; /* a region that was registered for one piece holds no other */
      }
      code = near_region(move, i, &here, &offset, &lent);
    }
    if (code != SM_OK) {
      return code;
    }
    if (i > first && (there != *remote || here != *region)) {
      hmc_region_close(lent.lent);
      break;
    }
    part->lent = i == first ? lent.lent : part->lent;
    *remote = there;
    *region = here;
    segments[(*taken)++] =
        (hmc_segment_t){.local_offset = offset, .remote_offset = remote_offset, .length = move->sizes[i]};
  }
  return SM_OK;
}

static int32_t judge(const move_t *move, hmc_status_t status, int *is_gone) {
  if (status == HMC_SUCCESS) {
    return SM_OK;
  }
  int32_t code = hmci_smem_fail_hmc(status, "the transfer with %s failed", move->id);
  *is_gone = *is_gone || code == SM_OBJECT_NOT_EXISTS;
  return code;
}

static int32_t finish(const move_t *move, part_t *parts, uint32_t count, int *is_gone) {
  int32_t first = SM_OK;
  for (uint32_t i = 0; i < count; i++) {
    int32_t code = judge(move, parts[i].request != NULL ? hmc_request_wait(parts[i].request) : HMC_SUCCESS, is_gone);
    first = first == SM_OK ? code : first;
    hmc_request_free(parts[i].request);
    hmc_batch_free(parts[i].batch);
    hmc_region_close(parts[i].lent);
  }
  return first;
}

/* With the lock held for reading: starts all, waits for all. */
static int32_t move_all(const move_t *move, part_t *parts, hmc_segment_t *segments, int *is_gone) {
  uint32_t done = 0, started = 0;
  int32_t code = SM_OK;
  while (done < move->count && code == SM_OK) {
    hmc_region_t *region = NULL;
    hmc_remote_t *remote = NULL;
    uint32_t taken = 0;
    part_t *part = &parts[started++];
    code = collect(move, done, segments, &region, &remote, &taken, part);
    if (code == SM_OK) {
      code = judge(move,
                   taken == 1 ? start_one(move, region, remote, segments, part)
                              : start_run(move, region, remote, segments, taken, part),
                   is_gone);
    }
    done += taken;
  }
  int32_t finished = finish(move, parts, started, is_gone);
  return code == SM_OK ? finished : code;
}

/* With the lock held for reading. `is_renewed`: memory that was gone is there again, so it is worth another try. */
static int32_t try(const move_t *move, part_t *parts, hmc_segment_t *segments, int *is_renewed) {
  int is_gone = 0;
  memset(parts, 0, move->count * sizeof(*parts));
  int32_t code = know_remotes(move);
  if (code == SM_OK) {
    code = move_all(move, parts, segments, &is_gone);
  }
  *is_renewed = is_gone && hmci_smem_partner_forget(move->trans, move->id); /* the next one looks again */
  return code;
}

static int32_t transfer(smem_trans_t handle, move_t *move, uint32_t flags) {
  int32_t code = SM_OK;
  int is_renewed = 0;
  move->trans = hmci_smem_trans_of(handle, &code);
  if (move->trans == NULL) {
    return code;
  }
  code = check_move(move, flags);
  if (code != SM_OK) {
    return code;
  }
  part_t *parts = calloc(move->count, sizeof(*parts));
  hmc_segment_t *segments = calloc(move->count, sizeof(*segments));
  if (parts == NULL || segments == NULL) {
    code = hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a transfer of %u pieces", move->count);
  } else {
    pthread_rwlock_rdlock(&move->trans->lock);
    code = try(move, parts, segments, &is_renewed);
    if (is_renewed && code == SM_OBJECT_NOT_EXISTS) {
      code = try(move, parts, segments, &is_renewed);
    }
    pthread_rwlock_unlock(&move->trans->lock);
  }
  free(parts);
  free(segments);
  return code;
}

/* Behind what the stream has been given so far; what it is given later comes after. */
static int32_t transfer_on_stream(smem_trans_t handle, move_t *move, void *stream, uint32_t flags) {
  int32_t code = SM_OK;
  const hmci_smem_trans_t *trans = hmci_smem_trans_of(handle, &code);
  if (trans == NULL) {
    return code;
  }
  if (stream == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no stream given: *_submit calls need one, the others none");
  }
  hmc_status_t status = hmc_memory_stream_wait(trans->device, stream);
  return status == HMC_SUCCESS ? transfer(handle, move, flags)
                               : hmci_smem_fail_hmc(status, "the stream's work before the transfer failed");
}

/* ---- the calls --------------------------------------------------------------------------------------------------- */

#define PIECES(locals, id_, remotes, sizes_, count_, writes)                                                           \
  {                                                                                                                    \
    .id = (id_), .local = (const void *const *)(locals), .remote = (const void *const *)(remotes), .sizes = (sizes_),  \
    .count = (count_), .is_write = (writes)                                                                            \
  }

int32_t(smem_trans_write)(smem_trans_t handle, const void *localAddr, const char *remoteUniqueId, void *remoteAddr,
                          size_t dataSize, uint32_t flags) {
  move_t move = PIECES(&localAddr, remoteUniqueId, &remoteAddr, &dataSize, 1, 1);
  return transfer(handle, &move, flags);
}

int32_t(smem_trans_batch_write)(smem_trans_t handle, const void *localAddrs[], const char *remoteUniqueId,
                                void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize, uint32_t flags) {
  move_t move = PIECES(localAddrs, remoteUniqueId, remoteAddrs, dataSizes, batchSize, 1);
  return transfer(handle, &move, flags);
}

int32_t(smem_trans_read)(smem_trans_t handle, void *localAddr, const char *remoteUniqueId, const void *remoteAddr,
                         size_t dataSize, uint32_t flags) {
  move_t move = PIECES(&localAddr, remoteUniqueId, &remoteAddr, &dataSize, 1, 0);
  return transfer(handle, &move, flags);
}

int32_t(smem_trans_batch_read)(smem_trans_t handle, void *localAddrs[], const char *remoteUniqueId,
                               const void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize, uint32_t flags) {
  move_t move = PIECES(localAddrs, remoteUniqueId, remoteAddrs, dataSizes, batchSize, 0);
  return transfer(handle, &move, flags);
}

int32_t(smem_trans_write_submit)(smem_trans_t handle, const void *localAddr, const char *remoteUniqueId,
                                 void *remoteAddr, size_t dataSize, void *stream, uint32_t flags) {
  move_t move = PIECES(&localAddr, remoteUniqueId, &remoteAddr, &dataSize, 1, 1);
  return transfer_on_stream(handle, &move, stream, flags);
}

int32_t(smem_trans_read_submit)(smem_trans_t handle, void *localAddr, const char *remoteUniqueId,
                                const void *remoteAddr, size_t dataSize, void *stream, uint32_t flags) {
  move_t move = PIECES(&localAddr, remoteUniqueId, &remoteAddr, &dataSize, 1, 0);
  return transfer_on_stream(handle, &move, stream, flags);
}

int32_t(smem_trans_batch_write_submit)(smem_trans_t handle, const void *localAddrs[], const char *remoteUniqueId,
                                       void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize, void *stream,
                                       uint32_t flags) {
  move_t move = PIECES(localAddrs, remoteUniqueId, remoteAddrs, dataSizes, batchSize, 1);
  return transfer_on_stream(handle, &move, stream, flags);
}

int32_t(smem_trans_batch_read_submit)(smem_trans_t handle, void *localAddrs[], const char *remoteUniqueId,
                                      const void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize, void *stream,
                                      uint32_t flags) {
  move_t move = PIECES(localAddrs, remoteUniqueId, remoteAddrs, dataSizes, batchSize, 0);
  return transfer_on_stream(handle, &move, stream, flags);
}
