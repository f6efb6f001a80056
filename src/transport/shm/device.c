/* Moving bytes by the device's copy engines, started by the calling thread: imported regions.
 *
 * The segments of an operation go in groups, each of which is one submission and one announced access. Two are in
 * progress at a time, so that the device does not wait for the thread that sees one end and starts the next. What a
 * device has begun cannot be called back: an operation whose deadline passes returns when its groups are over, a piece
 * of GROUP_BYTES later at most. */
#include "shm.h"

#include <sched.h>
#include <stdlib.h>
#include <time.h>

enum {
  GROUP_BYTES = 32 << 20,
  GROUP_PIECES = 4096,
  FEW = 16,      /* pieces that lie on the stack */
  UNDER_WAY = 2, /* groups */
  SPIN_NS = 50000,
  YIELD_NS = 2000000,
  NAP_NS = 50000,
};

typedef struct group {
  hmci_copy_piece_t *pieces; /* room for as many as the walk says */
  uint32_t count, slot;
  hmci_copy_t copy;
} group_t;

/* Where in an operation's segments the next group begins. */
typedef struct walk {
  shm_connection_t *connection;
  const hmci_operation_t *operation;
  const shm_remote_t *remote;
  hmci_copy_direction_t direction;
  uint32_t index, room;
  uint64_t offset;
} walk_t;

static bool direction_of(const hmci_operation_t *operation, const shm_remote_t *remote,
                         hmci_copy_direction_t *direction) {
  const hmci_memory_ops_t *local = operation->local->ops;
  bool put = operation->kind == HMCI_PUT;
  if (!remote->ops->copy_batch_start) return false;
  *direction = local == remote->ops ? HMCI_COPY_WITHIN : put ? HMCI_COPY_FROM_HOST : HMCI_COPY_TO_HOST;
  return local == remote->ops || local->host_accessible;
}

static void fill(walk_t *walk, group_t *group) {
  uint64_t bytes = 0;
  bool put = walk->operation->kind == HMCI_PUT;
  group->count = 0;
  while (walk->index < walk->operation->segment_count && group->count < walk->room && bytes < GROUP_BYTES) {
    const hmci_segment_t *segment = &walk->operation->segments[walk->index];
    uint64_t length = segment->length - walk->offset;
    if (length > GROUP_BYTES - bytes) length = GROUP_BYTES - bytes;
    uint8_t *here = walk->operation->local->base + segment->local + walk->offset;
    uint8_t *there = (uint8_t *)walk->remote->pointer + segment->remote + walk->offset;
    if (length) group->pieces[group->count++] = (hmci_copy_piece_t){put ? there : here, put ? here : there, length};
    bytes += length;
    walk->offset += length;
    if (walk->offset < segment->length) continue;
    walk->index++;
    walk->offset = 0;
  }
}

static hmc_status_t start(walk_t *walk, group_t *group) {
  hmc_status_t status = hmci_shm_begin_access(walk->connection, walk->remote, &group->slot);
  if (status != HMC_SUCCESS) return status;
  status = walk->remote->ops->copy_batch_start(walk->remote->memory.device, group->pieces, group->count,
                                               walk->direction, &group->copy);
  if (status != HMC_SUCCESS) hmci_shm_end_access(walk->connection, group->slot);
  return status;
}

static hmc_status_t wait_for(const shm_remote_t *remote, hmci_copy_t *copy) {
  uint64_t begun = hmci_now(), waited;
  hmc_status_t status;
  while ((status = remote->ops->copy_done(copy)) == HMC_IN_PROGRESS) {
    waited = hmci_now() - begun;
    struct timespec nap = {.tv_nsec = NAP_NS};
    if (waited < SPIN_NS) {
      hmci_pause();
    } else if (waited < YIELD_NS) {
      sched_yield();
    } else {
      nanosleep(&nap, NULL);
    }
  }
  return status;
}

static hmc_status_t finish(const walk_t *walk, group_t *group) {
  shm_connection_t *connection = walk->connection;
  hmc_status_t status = wait_for(walk->remote, &group->copy);
  bool open = atomic_load(&connection->peer_board->generation[walk->remote->id]) == walk->remote->generation;
  hmci_shm_end_access(connection, group->slot);
  if (atomic_load(&connection->failed)) return HMC_PEER_LOST;
  return status == HMC_SUCCESS && !open ? HMC_STALE : status;
}

/* Starts groups and ends them in the same order. */
static hmc_status_t run(walk_t *walk, group_t groups[UNDER_WAY]) {
  hmc_status_t status = HMC_SUCCESS;
  uint32_t started = 0, finished = 0;
  for (;;) {
    if (status == HMC_SUCCESS && started - finished < UNDER_WAY && walk->index < walk->operation->segment_count) {
      group_t *group = &groups[started % UNDER_WAY];
      if (started && hmci_now() >= walk->operation->deadline) {
        status = HMC_TIMEOUT;
        continue;
      }
      fill(walk, group);
      if (!group->count) continue;
      status = start(walk, group);
      if (status == HMC_SUCCESS) started++;
      continue;
    }
    if (started == finished) return status;
    hmc_status_t ended = finish(walk, &groups[finished++ % UNDER_WAY]);
    if (status == HMC_SUCCESS || ended == HMC_STALE || ended == HMC_PEER_LOST) {
      if (ended != HMC_SUCCESS) status = ended;
    }
  }
}

bool hmci_shm_copy_by_device(shm_connection_t *connection, const hmci_operation_t *operation,
                             const shm_remote_t *remote, hmc_status_t *status) {
  hmci_copy_piece_t few[UNDER_WAY][FEW], *many = NULL;
  walk_t walk = {.connection = connection, .operation = operation, .remote = remote, .room = FEW};
  group_t groups[UNDER_WAY];
  if (!direction_of(operation, remote, &walk.direction)) return false;
  if (operation->segment_count > FEW) {
    walk.room = operation->segment_count < GROUP_PIECES ? operation->segment_count : GROUP_PIECES;
    many = malloc(UNDER_WAY * walk.room * sizeof *many);
    if (!many) walk.room = FEW; /* it takes more groups */
  }
  for (uint32_t i = 0; i < UNDER_WAY; i++) groups[i].pieces = many ? many + i * walk.room : few[i];
  *status = run(&walk, groups);
  free(many);
  if (*status != HMC_UNSUPPORT) return true;
  *status = HMC_SUCCESS; /* two devices that do not reach each other */
  return false;
}
