/* Puts into registered memory, done by its owner: one copy, straight from the memory of who puts.
 *
 * Who puts must not write there itself: stopped between its check and its copy it would write into memory whose region
 * has long been closed. So it posts a pull in the page that both ends map, and the owner's service thread, which checks
 * the region and counts among its users, reads the bytes from the peer's process by process_vm_readv; memory that is
 * unmapped at either end is an answer of the kernel, not a signal. Large puts are posted in pieces, some at a time, which
 * the owner's copiers share (copiers.c); many small parts are one pull, of a list that the owner reads from the peer as
 * well. The bytes of a small put travel in the page itself (carry.c).
 *
 * States of a pull, each a step of the end named: FREE, POSTED (who puts), BUSY (owner), DONE (owner), POSTED (who puts)
 * and so on; or POSTED, FREE: cancelled. Between POSTED and DONE the memory of who puts stays; so an operation that ends early
 * takes the pull back, or waits until the owner, which is copying at most a piece, is done.
 *
 * Waking each other. The owner polls the page for a while after a pull and says so in `attentive`; it clears that (a) and
 * looks at the pulls once more (b), while who puts posts (c) and then looks at `attentive` (d); all sequentially
 * consistent, so one of the two sees the other, and the bell, a message on the link, is rung when needed: once (e) until
 * the owner has heard it (f), after which it looks at the pulls. Who puts polls for HMC_SPIN, unless the owner runs on
 * this very processor, and sleeps on the pull's state then.
 *
 * What the page holds may be a lie: fields are read once, and name nothing but the liar's own memory and a region that is
 * checked. */
#include "shm.h"

#include "../../base/futex.h"
#include "../../base/processor.h"
#include "../../base/stop.h"

#include <sched.h>

enum {
  PIECE = 1 << 20,     /* bytes of one pull */
  LINGER = 2000,       /* nanoseconds that the owner's callback looks for the next pull before others get their turn */
  LOOK_AT_CLOCK = 64,  /* looks at the state between two at the clock */
  LOOK_AT_ALL = 8,     /* looks of the owner at the pull that came last between two at all of them */
  LOOKS_PER_PAUSE = 4, /* of the owner */
  HEAD_START = 10,     /* pauses before who puts looks, see await: no call of the kernel ends sooner */
  NAP = 20000000,      /* nanoseconds that who puts sleeps at most, to see that the connection failed */
  SURE = 1000000,      /* nanoseconds in which no process ends and its number comes round */
  SHARED_LEAST = 256 << 10, /* bytes of a pull that is worth waking a copier */
  WINDOW = 4,               /* pulls of one put at a time */
  COPYING = 400000,         /* nanoseconds that who puts polls beyond HMC_SPIN for a piece that is being copied */
  BUSY_LIMIT = 1000000000,  /* nanoseconds that the owner may need for a piece once it has begun */
};
enum { FREE = 0, POSTED, BUSY, DONE };

static uint32_t own_processor(void) { return (uint32_t)sched_getcpu() + 1; }

/* ---- the owner --------------------------------------------------------------------------------------------------- */

/* The parts of a pull, so many as it says; a list of them is read from the peer. */
static hmc_status_t find_parts(const shm_connection_t *connection, const volatile shm_pull_t *pull,
                               shm_pull_part_t parts[SHM_READS], uint32_t *count) {
  parts[0] = (shm_pull_part_t){pull->address, pull->offset, pull->length};
  if (!*count) {
    *count = 1;
    return HMC_SUCCESS;
  }
  if (*count > SHM_READS) return HMC_CORRUPT;
  shm_read_t list = {(uint8_t *)parts, parts[0].address, *count * sizeof(*parts)};
  shm_fault_t fault = hmci_shm_read(connection->peer_process, &list, 1);
  if (fault == SHM_FAULT_DENIED) return HMC_INVALID_CONFIG;
  if (fault != SHM_FAULT_NONE) return HMC_PEER_LOST;
  /* Who puts leaves its list only after it has closed the connection. */
  return atomic_load(&connection->accesses->open) ? HMC_SUCCESS : HMC_PEER_LOST;
}

static hmc_status_t copy_pulled(const shm_connection_t *connection, const hmci_region_view_t *region,
                                const shm_pull_part_t *parts, uint32_t count) {
  shm_read_t reads[SHM_READS];
  uint64_t all = 0;
  for (uint32_t i = 0; i < count; i++) {
    if (!hmci_range_fits(parts[i].offset, parts[i].length, region->size) || parts[i].length > PIECE || !parts[i].length)
      return HMC_OUT_OF_RANGE;
    reads[i] = (shm_read_t){region->base + parts[i].offset, parts[i].address, parts[i].length};
    all += parts[i].length;
  }
  if (all > PIECE) return HMC_OUT_OF_RANGE;
  switch (hmci_shm_read(connection->peer_process, reads, count)) {
  case SHM_FAULT_NONE: return HMC_SUCCESS;
  case SHM_FAULT_HERE: return HMC_STALE;
  case SHM_FAULT_THERE:
  case SHM_FAULT_DENIED: return HMC_INVALID_CONFIG;
  default: return HMC_PEER_LOST;
  }
}

static hmc_status_t copy_carried(shm_connection_t *connection, const hmci_region_view_t *region, uint32_t pull,
                                 uint64_t offset, uint64_t length) {
  if (!connection->carries) return HMC_CORRUPT;
  if (!length || length > SHM_PULL_BYTES || !hmci_range_fits(offset, length, region->size)) return HMC_OUT_OF_RANGE;
  return hmci_shm_unload(connection, pull, region->base + offset, length) ? HMC_SUCCESS : HMC_STALE;
}

static hmc_status_t copy_to(shm_connection_t *connection, const hmci_region_view_t *region, uint32_t i) {
  const volatile shm_pull_t *pull = &connection->accesses->pulls[!connection->role][i]; /* each field is read once */
  shm_pull_part_t parts[SHM_READS];
  uint32_t count = pull->count;
  if (!region->ops->host_accessible) return HMC_UNSUPPORT;
  if (count == SHM_CARRIED) return copy_carried(connection, region, i, pull->offset, pull->length);
  hmc_status_t status = find_parts(connection, pull, parts, &count);
  return status == HMC_SUCCESS ? copy_pulled(connection, region, parts, count) : status;
}

static void answer(shm_pull_t *pull, hmc_status_t status) {
  pull->status = (uint32_t)status;
  atomic_store(&pull->state, DONE);
  if (atomic_load(&pull->sleepers)) hmci_futex_wake(&pull->state, HMCI_FUTEX_SHARED);
}

/* Copiers take part where there are large ones beside that one. */
static void share_posted(shm_connection_t *connection, const shm_pull_t *pulls, uint32_t taken) {
  uint32_t more = 0;
  for (uint32_t i = 0; i < SHM_PULLS; i++) {
    bool posted = i != taken && atomic_load_explicit(&pulls[i].state, memory_order_relaxed) == POSTED;
    more += posted && pulls[i].length >= SHARED_LEAST;
  }
  if (more) hmci_shm_copiers_call(connection, more);
}

/* What was posted after the last look was posted by a living process. Was that so long ago that its number could be
 * another one's by now? `looks`: this is the thread that looks. */
static bool is_sure(shm_connection_t *connection, bool looks) {
  uint64_t now = hmci_now();
  bool sure = (looks && now - connection->looked <= SURE) || hmci_shm_is_alive(connection);
  if (looks && sure) connection->looked = now;
  return sure;
}

/* Does a pull if it is posted; returns its bytes, and 1. `shares`: copiers are called for what is large. Who puts goes on
 * before this end has left the region. */
static uint64_t serve_pull(shm_connection_t *connection, uint32_t i, bool shares) {
  const hmci_host_t *host = connection->transport->host;
  shm_pull_t *pulls = connection->accesses->pulls[!connection->role], *pull = &pulls[i];
  uint32_t posted = POSTED;
  if (atomic_load_explicit(&pull->state, memory_order_relaxed) != POSTED) return 0;
  if (connection->carries) __builtin_prefetch(connection->accesses->bytes[!connection->role][i]);
  if (!atomic_compare_exchange_strong(&pull->state, &posted, BUSY)) return 0;
  uint64_t length = pull->length;
  if (shares && length >= SHARED_LEAST) share_posted(connection, pulls, i);
  hmci_region_view_t *region = NULL;
  hmc_status_t status = is_sure(connection, shares) ? HMC_SUCCESS : HMC_PEER_LOST;
  if (status == HMC_SUCCESS)
    status = host->region_acquire(host, pull->region, pull->generation, HMC_REMOTE_WRITE, &region);
  if (region) status = copy_to(connection, region, i);
  if (region && status == HMC_SUCCESS) hmci_region_tell(region);
  answer(pull, status);
  if (region) host->region_release(host, region);
  return (length < PIECE ? length : PIECE) + 1;
}

void hmci_shm_copy_posted(shm_connection_t *connection) {
  for (uint32_t i = 0; i < SHM_PULLS; i++) serve_pull(connection, i, false);
}

/* Does what is posted, each in its turn, until that has been about a piece's bytes; returns those. */
static uint64_t serve_posted(shm_connection_t *connection) {
  uint64_t done = 0;
  for (uint32_t looks = 0; looks < SHM_PULLS && done < PIECE; looks++) {
    uint64_t some = serve_pull(connection, connection->next_pull, true);
    if (some) connection->last_pull = connection->next_pull;
    connection->next_pull = (connection->next_pull + 1) % SHM_PULLS;
    done += some;
  }
  return done;
}

/* Does pulls and waits a little for more, until others shall have their turn. True when there were some; `more`: there
 * may be more. Most looks are at the pull that came last: who puts one by one uses it again and again. */
static bool serve_for_a_while(shm_connection_t *connection, bool *more) {
  uint64_t until = 0, done = 0;
  atomic_store_explicit(&connection->accesses->processor[connection->role], own_processor(), memory_order_relaxed);
  for (uint32_t looks = 0;; looks++) {
    uint64_t some =
        looks % LOOK_AT_ALL ? serve_pull(connection, connection->last_pull, true) : serve_posted(connection);
    done += some;
    *more = done >= PIECE;
    if (*more || !done) return done;
    if (some) {
      until = 0;
    } else if (looks % LOOK_AT_CLOCK) {
      if (looks % LOOKS_PER_PAUSE == 1) hmci_pause();
    } else {
      uint64_t now = hmci_now();
      if (!until) until = now + LINGER;
      if (now >= until) return true;
    }
  }
}

/* Polling helps nobody who has to wait for this processor. */
static bool shares_processor(const shm_connection_t *connection) {
  const shm_accesses_t *accesses = connection->accesses;
  uint32_t theirs = atomic_load_explicit(&accesses->processor[!connection->role], memory_order_relaxed);
  return theirs == own_processor() || hmci_processor_is_single();
}

static void set_attentive(shm_connection_t *connection, bool attentive) {
  atomic_store(&connection->accesses->attentive[connection->role], attentive); /* (a) */
  hmci_loop_set_polled(connection->transport->host->loop, &connection->serve, attentive);
  connection->attentive = attentive;
}

bool hmci_shm_serve_pulls(shm_connection_t *connection) {
  if (!connection->linked || !connection->attach || atomic_load(&connection->failed)) return false;
  bool more, moved = serve_for_a_while(connection, &more);
  uint64_t now = connection->looked = hmci_now(), spin = connection->transport->host->settings->spin;
  if (moved) connection->attentive_until = now + spin;
  bool attentive = more || (now < connection->attentive_until && !shares_processor(connection));
  if (attentive != connection->attentive) set_attentive(connection, attentive);
  if (attentive) return moved;
  for (uint32_t i = 0; i < SHM_PULLS; i++) moved = serve_pull(connection, i, true) || moved; /* (b) */
  return moved;
}

/* ---- who puts ---------------------------------------------------------------------------------------------------- */

void hmci_shm_fail_pulls(shm_connection_t *connection) {
  for (uint32_t i = 0; i < SHM_PULLS; i++)
    hmci_futex_wake(&connection->accesses->pulls[connection->role][i].state, HMCI_FUTEX_SHARED);
}

/* Does the program of the thread that puts want it to end? It is asked now and then while the thread sleeps. */
static bool is_given_up(uint64_t now, uint64_t *asked) {
  if (now - *asked < HMCI_STOP_ASK_NS) return false;
  *asked = now;
  return hmci_stop_is_wanted();
}

/* Waits until the owner is done, has not begun when the deadline has come or it is stopped, or the connection fails;
 * `ends`: only until the owner is done, if it has begun. `limit`: 0, or when that takes too long. */
static hmc_status_t await(shm_connection_t *connection, shm_pull_t *pull, const hmci_operation_t *operation, bool ends,
                          uint64_t *limit) {
  uint64_t deadline = operation->deadline;
  uint64_t spin = shares_processor(connection) ? 0 : connection->transport->host->settings->spin;
  uint64_t begun = 0, asked = 0;
  bool may_stop = hmci_stop_is_possible(), given_up = false;
  /* A look takes the line of the state away from the owner, who has to fetch it again to write there. */
  for (int i = 0; spin && i < HEAD_START; i++) hmci_pause();
  for (uint32_t looks = 1;; looks++) {
    uint32_t state = atomic_load(&pull->state);
    if (state == DONE) return HMC_SUCCESS;
    if (looks % LOOK_AT_CLOCK && spin && !ends) {
      hmci_pause();
      continue;
    }
    uint64_t now = hmci_now();
    if (!begun) begun = asked = now;
    if (may_stop && !given_up) given_up = is_given_up(now, &asked);
    bool stops = given_up || atomic_load(&operation->stop);
    ends = ends || now >= deadline || stops || atomic_load(&connection->failed);
    uint32_t posted = POSTED;
    if (ends && atomic_compare_exchange_strong(&pull->state, &posted, FREE))
      return now >= deadline ? HMC_TIMEOUT : stops ? HMC_CANCELLED : HMC_PEER_LOST;
    if (ends && !hmci_shm_is_alive(connection)) return HMC_PEER_LOST; /* it died in the middle of a piece */
    if (ends && !*limit) *limit = now + BUSY_LIMIT;
    if (*limit && now >= *limit) return HMC_IN_PROGRESS; /* stopped in the middle of a piece */
    /* A piece that the owner copies takes longer than it is worth to poll for an owner that may sleep. */
    if (now - begun < (spin && state == BUSY ? spin + COPYING : spin)) continue;
    spin = 0;
    atomic_store(&pull->sleepers, 1);
    state = atomic_load(&pull->state);
    uint64_t rest = now < deadline && deadline - now < NAP ? deadline - now : NAP;
    if (state == POSTED || state == BUSY) hmci_futex_wait(&pull->state, state, rest, HMCI_FUTEX_SHARED);
  }
}

static int take_pull(shm_connection_t *connection, int most) {
  for (int i = 0; i < most; i++)
    if (!atomic_exchange(&connection->pulling[i], true)) return i;
  return -1;
}

/* A put on its way: pulls in a ring, some of them posted behind the one that the owner is at, so that it does not wait
 * for this end between two, and copies several at a time where it has processors. */
typedef struct window {
  shm_connection_t *connection;
  const hmci_operation_t *operation;
  shm_cursor_t cursor;
  uint32_t first, posted; /* the oldest one in progress, and how many are */
  uint32_t count;         /* of the pulls that this put has taken */
  int slots[WINDOW];
  shm_pull_t *pulls[WINDOW];
  shm_pull_part_t parts[WINDOW][SHM_READS];
} window_t;

/* Posts the next parts, one piece at most; false: there are none. */
static bool post_next(window_t *window) {
  const hmci_operation_t *operation = window->operation;
  const shm_remote_t *remote = operation->remote_state;
  shm_connection_t *connection = window->connection;
  uint32_t does = atomic_load_explicit(&connection->accesses->pulls_for[!connection->role], memory_order_relaxed);
  hmci_segment_t segments[SHM_READS];
  uint32_t count = hmci_shm_next_parts(&window->cursor, segments, does >= SHM_PULLS_LISTS ? SHM_READS : 1, PIECE);
  if (!count) return false;
  uint32_t place = (window->first + window->posted++) % window->count;
  shm_pull_part_t *parts = window->parts[place];
  shm_pull_t *pull = window->pulls[place];
  pull->length = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint8_t *from = operation->local->base + segments[i].local;
    parts[i] = (shm_pull_part_t){(uint64_t)(uintptr_t)from, segments[i].remote, segments[i].length};
    pull->length += segments[i].length;
  }
  pull->region = remote->id;
  pull->generation = remote->generation;
  pull->count = count > 1 ? count : 0;
  pull->address = count > 1 ? (uint64_t)(uintptr_t)parts : parts[0].address;
  pull->offset = parts[0].offset;
  bool small = count == 1 && parts[0].length <= SHM_PULL_BYTES && does >= SHM_PULLS_CARRIED && connection->carries;
  const uint8_t *first = operation->local->base + segments[0].local;
  if (small && hmci_shm_load(connection, window->slots[place], first, parts[0].length)) pull->count = SHM_CARRIED;
  atomic_store_explicit(&pull->sleepers, 0, memory_order_relaxed);
  atomic_store(&pull->state, POSTED); /* (c) */
  return true;
}

/* Posts what there is room for, and wakes the owner where it has to be. */
static void post_some(window_t *window) {
  const shm_connection_t *connection = window->connection;
  shm_accesses_t *accesses = connection->accesses;
  bool some = false;
  atomic_store_explicit(&accesses->processor[connection->role], own_processor(), memory_order_relaxed);
  while (window->posted < window->count && post_next(window)) some = true;
  if (some && !atomic_load(&accesses->attentive[!connection->role])) hmci_shm_ring(window->connection); /* (d) */
}

/* Has the owner do what `window` is about, whose pulls are this thread's. HMC_IN_PROGRESS: it may go on with some. */
static hmc_status_t run_window(window_t *window) {
  hmc_status_t status = HMC_SUCCESS;
  uint64_t limit = 0;
  bool lost = false;
  post_some(window);
  while (window->posted) {
    shm_pull_t *pull = window->pulls[window->first];
    hmc_status_t ended = await(window->connection, pull, window->operation, status != HMC_SUCCESS, &limit);
    lost |= ended == HMC_IN_PROGRESS;
    if (ended == HMC_SUCCESS) ended = (hmc_status_t)pull->status;
    if (status == HMC_SUCCESS) status = ended;
    window->first = (window->first + 1) % window->count;
    window->posted--;
    if (status == HMC_SUCCESS) post_some(window);
  }
  return lost ? HMC_IN_PROGRESS : status;
}

/* Takes a pull for each piece, as far as there are; false: there is none. The half is left to others. */
static bool take_pulls(window_t *window, const hmci_segment_t *segments, uint32_t count) {
  shm_connection_t *connection = window->connection;
  uint64_t all = 0;
  for (uint32_t i = 0; i < count; i++) all += segments[i].length;
  uint64_t wanted = 1 + (all - 1) / PIECE + count / SHM_READS;
  for (window->count = 0; window->count < WINDOW && window->count < wanted; window->count++) {
    int slot = take_pull(connection, window->count ? SHM_PULLS / 2 : SHM_PULLS);
    if (slot < 0) break;
    window->pulls[window->count] = &connection->accesses->pulls[connection->role][slot];
    window->slots[window->count] = slot;
  }
  return window->count;
}

static hmc_status_t pull_segments(window_t *window, const hmci_segment_t *segments, uint32_t count) {
  shm_connection_t *connection = window->connection;
  window->cursor = (shm_cursor_t){.segments = segments, .count = count};
  window->first = window->posted = 0;
  hmc_status_t status = run_window(window);
  if (status != HMC_IN_PROGRESS) {
    for (uint32_t i = 0; i < window->count; i++) /* partner: take_pull */
      atomic_store_explicit(&connection->pulling[window->slots[i]], false, memory_order_release);
    return status;
  }
  /* The pulls stay taken: the owner may go on with them. */
  const hmci_host_t *host = connection->transport->host;
  atomic_store(&connection->accesses->open, 0);
  host->connection_lost(host, connection, "its process was stopped while it copied from this one");
  return HMC_TIMEOUT;
}

bool hmci_shm_is_pulled(const shm_connection_t *connection, const shm_remote_t *remote,
                        const hmci_memory_ops_t *local) {
  return remote->way == SHM_ATTACH && local->host_accessible && connection->accesses->pulls_for[!connection->role];
}

bool hmci_shm_pull(shm_connection_t *connection, const hmci_operation_t *operation, hmc_status_t *status) {
  bool fits = operation->kind == HMCI_PUT && operation->awaited && !operation->checksum;
  if (!fits || atomic_load_explicit(&operation->local->unreadable, memory_order_relaxed)) return false;
  if (!hmci_shm_is_pulled(connection, operation->remote_state, operation->local->ops)) return false;
  if (hmci_shm_goes_behind(connection)) return false;
  if (hmci_loop_is_own(connection->transport->host->loop)) return false; /* a callback: the peer may be this context */
  window_t window;
  window.connection = connection;
  window.operation = operation;
  if (!take_pulls(&window, operation->segments, operation->segment_count)) return false;
  *status = pull_segments(&window, operation->segments, operation->segment_count);
  return *status != HMC_INVALID_CONFIG;
}

hmc_status_t hmci_shm_pull_parts(shm_connection_t *connection, const hmci_operation_t *operation,
                                 const hmci_segment_t *segments, uint32_t count) {
  window_t window;
  window.connection = connection;
  window.operation = operation;
  while (!take_pulls(&window, segments, count)) { /* others wait for theirs: each ends */
    if (hmci_now() >= operation->deadline) return HMC_TIMEOUT;
    if (atomic_load(&operation->stop)) return HMC_CANCELLED;
    if (atomic_load(&connection->failed)) return HMC_PEER_LOST;
    sched_yield();
  }
  return pull_segments(&window, segments, count);
}
