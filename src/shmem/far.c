/* Operations on far PEs, and on device heaps, through the engine's queues.
 *
 * A connection is made at the first operation on a PE. Each context has a queue, made at its first far operation: so
 * contexts complete and order apart from each other. Small puts are copied by the queue and need no answer before the
 * next quiet; what non-blocking atomics fetch is returned by it. An operation that fails ends the job: SHMEM has no way to report it.
 *
 * Device heaps. A near PE's is reached by copies of the device where it is mapped here, else as a far one's. Queues take
 * host memory at this side: bytes that this PE has in memory of a device go as blocking operations between regions, after
 * what the context has pending at that PE.
 *
 * Locking: a context's lock is held while its queue is used, for any thread may use a context. */
#include "state.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 4096 /* operations in progress per context: a stream of small puts seldom waits for the other end */

void hmci_far_expect(hmc_status_t status, const char *what, int pe) {
  if (status == HMC_PEER_LOST) hmci_end_without(pe, hmc_last_error());
  if (status != HMC_SUCCESS) hmci_die("%s PE %d: %s (%s)", what, pe, hmc_status_text(status), hmc_last_error());
}

/* ---- connections --------------------------------------------------------------------------------------------------- */

static void meet_device(hmci_far_t *far, int pe, bool is_near) {
  hmci_far_expect(hmc_remote_open(far->peer, "shmem.device", 0, &far->device), "opening the device heap of", pe);
  if (!is_near || hmc_remote_map_range(far->device, NULL, &far->mapping) != HMC_SUCCESS) return;
  /* This process may number devices in another way than the owner. */
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  hmci_far_expect(hmc_memory_query(hmc_mapping_pointer(far->mapping), &info), "looking at the device heap of", pe);
  far->mapped_memory = info.memory;
}

static hmci_far_t *meet(int pe) {
  hmci_far_t *far = calloc(1, sizeof *far);
  if (!far) hmci_die("no memory for a connection to PE %d", pe);
  const hmci_card_t *card = &hmci_pe.cards[pe];
  char ip[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, card->ip, ip, sizeof ip);
  hmc_status_t status = hmc_context_connect(hmci_pe.context, ip, card->port, HMC_CONNECTION_AUTO, 0, &far->peer);
  if (status == HMC_NOT_FOUND) hmci_end_without(pe, hmc_last_error()); /* it has listened, hence it is gone */
  hmci_far_expect(status, "connecting to", pe);
  hmci_note_transport(far->peer);
  bool is_near = hmci_pe.base[pe];
  if (!is_near) hmci_far_expect(hmc_remote_open(far->peer, "shmem", 0, &far->remote), "opening the memory of", pe);
  if (hmci_pe.device.size) meet_device(far, pe, is_near);
  return far;
}

static hmci_far_t *far_of(int pe) {
  hmci_far_t *far = __atomic_load_n(&hmci_pe.far[pe], __ATOMIC_ACQUIRE); /* partner: the release below */
  if (far) return far;
  pthread_mutex_lock(&hmci_pe.far_lock);
  far = hmci_pe.far[pe];
  if (!far) {
    far = meet(pe);
    __atomic_store_n(&hmci_pe.far[pe], far, __ATOMIC_RELEASE);
  }
  pthread_mutex_unlock(&hmci_pe.far_lock);
  return far;
}

hmc_remote_t *hmci_far_remote(int pe) { return far_of(pe)->remote; }

void hmci_far_close(void) {
  for (int i = 0; hmci_pe.far && i < hmci_pe.n; i++) {
    if (!hmci_pe.far[i]) continue;
    hmc_remote_close(hmci_pe.far[i]->remote);
    hmc_remote_close(hmci_pe.far[i]->device);
    hmc_peer_close(hmci_pe.far[i]->peer);
    free(hmci_pe.far[i]);
  }
  free(hmci_pe.far);
  hmci_pe.far = NULL;
}

/* ---- queues -------------------------------------------------------------------------------------------------------- */

/* The context's queue, with its lock held. NULL stands for the library's own operations: what they set at others need
 * not be complete before a quiet of the program's returns, so they have a context that no quiet waits for. */
static hmc_queue_t *enter(struct hmc_shmem_ctx **ctx) {
  if (!*ctx) *ctx = hmci_own_context();
  pthread_mutex_lock(&(*ctx)->lock);
  if (!(*ctx)->queue) {
    hmc_queue_options_t options = HMC_QUEUE_OPTIONS_INIT;
    options.depth = DEPTH;
    if (*ctx == hmci_own_context()) options.flags = HMC_QUEUE_SELDOM_FLUSHED; /* no quiet waits for it */
    hmci_far_expect(hmc_queue_create(hmci_pe.context, &options, &(*ctx)->queue), "a queue of", hmci_pe.me);
  }
  return (*ctx)->queue;
}

static void leave(struct hmc_shmem_ctx *ctx) { pthread_mutex_unlock(&ctx->lock); }

/* Leaves after an operation on `pe` that nobody waits for. */
static void leave_under_way(struct hmc_shmem_ctx *ctx, int pe) {
  if (hmci_pe.base[pe]) ctx->has_near = true;
  atomic_store_explicit(&ctx->unsent, true, memory_order_relaxed);
  leave(ctx);
}

/* The end of a slice has the status of an operation whose own deadline passed, and another text. */
static bool is_slice_over(hmc_status_t status) {
  return status == HMC_TIMEOUT && strncmp(hmc_last_error(), "flush:", 6) == 0;
}

/* Waits in slices where somebody may interrupt. What is in progress then is cancelled, and the program's memory left
 * alone: the queue goes. */
static hmc_status_t flush_queue(struct hmc_shmem_ctx *ctx, hmc_peer_t *peer) {
  if (!hmci_may_be_interrupted()) return hmc_queue_flush(ctx->queue, peer, 0);
  do {
    hmc_status_t status = hmc_queue_flush(ctx->queue, peer, HMCI_SLICE);
    if (!is_slice_over(status)) return status;
  } while (!hmci_is_interrupted());
  hmc_queue_destroy(ctx->queue);
  ctx->queue = NULL;
  return HMC_SUCCESS;
}

static void flush(struct hmc_shmem_ctx *ctx, hmc_peer_t *peer, int pe) {
  hmci_far_expect(flush_queue(ctx, peer), "completing operations at", pe);
}

/* Hands out what atomics at that PE have fetched, at all with -1. They are complete. */
static void give_fetched(struct hmc_shmem_ctx *ctx, int pe) {
  size_t kept = 0;
  for (size_t i = 0; i < ctx->n_fetches; i++) {
    hmci_fetch_t *fetch = &ctx->fetches[i];
    if (pe >= 0 && fetch->pe != pe) { /* the engine may still write into it: it keeps its place */
      kept = i + 1;
      continue;
    }
    if (fetch->into) hmci_move(fetch->into, &fetch->word, fetch->width);
    fetch->into = NULL;
  }
  ctx->n_fetches = kept;
}

static void flush_all(struct hmc_shmem_ctx *ctx) {
  hmc_status_t status = flush_queue(ctx, NULL);
  if (status == HMC_PEER_LOST) hmci_end_without(hmci_pe.me, hmc_last_error());
  if (status != HMC_SUCCESS) hmci_die("a pending operation: %s (%s)", hmc_status_text(status), hmc_last_error());
  give_fetched(ctx, -1);
  ctx->has_near = false;
}

void hmci_far_quiet(struct hmc_shmem_ctx *ctx) {
  if (!ctx->queue) return;
  enter(&ctx);
  flush_all(ctx);
  leave(ctx);
}

void hmci_far_quiet_pe(struct hmc_shmem_ctx *ctx, int pe) {
  hmci_far_t *far = ctx->queue ? __atomic_load_n(&hmci_pe.far[pe], __ATOMIC_ACQUIRE) : NULL;
  if (!far) return;
  enter(&ctx);
  flush(ctx, far->peer, pe);
  give_fetched(ctx, pe);
  leave(ctx);
}

void hmci_far_fence(struct hmc_shmem_ctx *ctx) {
  if (!ctx) ctx = hmci_own_context();
  if (!ctx->queue) return;
  hmc_queue_t *queue = enter(&ctx);
  if (ctx->has_near) { /* stores to a near one's host memory, which may follow, do not go by the queue */
    flush_all(ctx);
  } else {
    hmci_far_expect(hmc_queue_fence(queue), "ordering the operations of", hmci_pe.me);
  }
  leave(ctx);
}

/* Small operations may be kept back for company; this sends them. */
void hmci_far_push(struct hmc_shmem_ctx *ctx) {
  if (!ctx) ctx = hmci_own_context();
  if (!atomic_load_explicit(&ctx->unsent, memory_order_relaxed)) return; /* this thread's own are in its sight */
  if (pthread_mutex_trylock(&ctx->lock)) return;                         /* who has it sends, or waits for the end */
  atomic_store_explicit(&ctx->unsent, false, memory_order_relaxed);
  hmc_queue_pending(ctx->queue);
  leave(ctx);
}

/* ---- memory of devices ----------------------------------------------------------------------------------------------- */

/* Where an offset leads: a region of the PE's, or memory of a device that copies reach. */
typedef struct target {
  hmci_far_t *far; /* NULL: this PE's own device heap, which needs no connection */
  hmc_remote_t *remote;
  size_t offset;
  char *mapped; /* NULL: by the engine */
  hmc_memory_t memory;
} target_t;

static target_t by_engine(int pe, size_t offset) {
  hmci_far_t *far = far_of(pe);
  bool in_device = offset & HMCI_IN_DEVICE;
  return (target_t){.far = far, .remote = in_device ? far->device : far->remote, .offset = offset & ~HMCI_IN_DEVICE};
}

static target_t find(int pe, size_t offset) {
  if (offset & HMCI_IN_DEVICE && pe == hmci_pe.me) {
    return (target_t){.mapped = hmci_pe.device.start + (offset & ~HMCI_IN_DEVICE), .memory = hmci_pe.device.memory};
  }
  target_t target = by_engine(pe, offset);
  if (offset & HMCI_IN_DEVICE && target.far->mapping) {
    target.mapped = (char *)hmc_mapping_pointer(target.far->mapping) + target.offset;
    target.memory = target.far->mapped_memory;
  }
  return target;
}

char *hmci_device_base(int pe) { return hmci_pe.device.size ? find(pe, HMCI_IN_DEVICE).mapped : NULL; }

/* A region around bytes that this PE has in memory of a device: the heap's own, or one to be given back. */
static hmc_region_t *region_around(const void *bytes, size_t size, uint64_t *at) {
  if (hmci_is_device(bytes)) {
    *at = (uint64_t)((const char *)bytes - hmci_pe.device.start);
    return hmci_pe.device.region;
  }
  hmc_region_t *region;
  *at = 0;
  hmci_far_expect(hmc_region_register(hmci_pe.context, (void *)(uintptr_t)bytes, size, NULL, 0, &region),
                  "device memory of", hmci_pe.me);
  return region;
}

static void move_from_device(struct hmc_shmem_ctx *ctx, const target_t *target, int pe, const void *source,
                             size_t size) {
  uint64_t at;
  hmc_region_t *region = region_around(source, size, &at);
  hmci_far_quiet_pe(ctx ? ctx : hmci_own_context(), pe);
  hmci_far_expect(hmc_put(region, at, target->remote, target->offset, size), "a put to", pe);
  if (region != hmci_pe.device.region) hmc_region_close(region);
}

static void move_to_device(struct hmc_shmem_ctx *ctx, const target_t *target, int pe, void *dest, size_t size) {
  uint64_t at;
  hmc_region_t *region = region_around(dest, size, &at);
  hmci_far_quiet_pe(ctx ? ctx : hmci_own_context(), pe);
  hmci_far_expect(hmc_get(region, at, target->remote, target->offset, size), "a get from", pe);
  if (region != hmci_pe.device.region) hmc_region_close(region);
}

/* ---- operations ---------------------------------------------------------------------------------------------------- */

void hmci_far_put(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size, bool wait) {
  if (size == 0) return;
  target_t to = find(pe, offset);
  hmc_memory_t from = hmci_memory_of(source);
  if (to.mapped) {
    hmci_copy(to.mapped, to.memory, source, from, size);
    return;
  }
  if (!hmci_is_host(from)) {
    move_from_device(ctx, &to, pe, source, size);
    return;
  }
  hmc_queue_t *queue = enter(&ctx);
  hmci_far_expect(hmc_queue_put(queue, source, to.remote, to.offset, size), "a put to", pe);
  if (wait && size > HMC_QUEUE_COPIED) flush(ctx, far_of(pe)->peer, pe); /* else the source is free already */
  leave_under_way(ctx, pe);
}

void hmci_far_put_signal(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size,
                         size_t word_offset, uint64_t signal, bool add, bool wait) {
  target_t to = by_engine(pe, offset), signalled = by_engine(pe, word_offset);
  hmc_queue_t *queue = enter(&ctx);
  hmc_signal_t word = {.remote = signalled.remote,
                       .offset = signalled.offset,
                       .operation = add ? HMC_ATOMIC_ADD : HMC_ATOMIC_SWAP,
                       .value = signal};
  hmci_far_expect(hmc_queue_put_signal(queue, source, to.remote, to.offset, size, &word), "a put with a signal to", pe);
  if (wait && size > HMC_QUEUE_COPIED) flush(ctx, to.far->peer, pe);
  leave_under_way(ctx, pe);
  if (!(ctx->session & SHMEM_CTX_SESSION_BATCH)) hmci_far_push(ctx); /* somebody may be waiting for it */
}

static bool is_word(size_t offset, size_t size) {
  return (size == 1 || size == 2 || size == 4 || size == 8) && offset % size == 0;
}

/* A word is fetched by itself, whatever else is in progress. */
void hmci_far_get(struct hmc_shmem_ctx *ctx, int pe, size_t offset, void *dest, size_t size, bool wait) {
  if (size == 0) return;
  target_t from = find(pe, offset);
  hmc_memory_t to = hmci_memory_of(dest);
  if (from.mapped) {
    hmci_copy(dest, to, from.mapped, from.memory, size);
    return;
  }
  if (!hmci_is_host(to)) {
    move_to_device(ctx, &from, pe, dest, size);
    return;
  }
  hmc_queue_t *queue = enter(&ctx);
  if (wait && is_word(from.offset, size) && !hmci_may_be_interrupted()) {
    uint64_t word = 0;
    hmci_far_expect(
        hmc_queue_atomic_fetch(queue, from.remote, from.offset, HMC_ATOMIC_LOAD, (unsigned)size, 0, 0, &word),
        "a get from", pe);
    memcpy(dest, &word, size);
  } else {
    hmci_far_expect(hmc_queue_get(queue, dest, from.remote, from.offset, size), "a get from", pe);
    if (wait) flush(ctx, far_of(pe)->peer, pe);
  }
  leave(ctx);
}

uint64_t hmci_far_atomic(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation,
                         unsigned width, uint64_t operand, uint64_t compare, bool fetch) {
  target_t at = by_engine(pe, offset);
  hmc_queue_t *queue = enter(&ctx);
  uint64_t fetched = 0;
  bool slices = fetch && hmci_may_be_interrupted();
  hmc_status_t status =
      fetch && !slices
          ? hmc_queue_atomic_fetch(queue, at.remote, at.offset, operation, width, operand, compare, &fetched)
          : hmc_queue_atomic(queue, at.remote, at.offset, operation, width, operand, compare, slices ? &fetched : NULL);
  hmci_far_expect(status, "an atomic at", pe);
  if (slices) flush(ctx, at.far->peer, pe);
  leave_under_way(ctx, pe);
  return fetched;
}

void hmci_far_fetch(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation, unsigned width,
                    uint64_t operand, uint64_t compare, void *into) {
  target_t at = by_engine(pe, offset);
  hmc_queue_t *queue = enter(&ctx);
  if (!ctx->fetches) ctx->fetches = calloc(HMCI_FETCHES, sizeof *ctx->fetches);
  if (!ctx->fetches) hmci_die("no memory for non-blocking atomics");
  if (ctx->n_fetches == HMCI_FETCHES) flush_all(ctx);
  hmci_fetch_t *fetch = &ctx->fetches[ctx->n_fetches++];
  *fetch = (hmci_fetch_t){.into = into, .width = width, .pe = pe};
  hmci_far_expect(hmc_queue_atomic(queue, at.remote, at.offset, operation, width, operand, compare, &fetch->word),
                  "an atomic at", pe);
  leave_under_way(ctx, pe);
}
