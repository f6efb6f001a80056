/* Operations on far PEs, through the engine's queues.
 *
 * A connection is made at the first operation on a PE. Each context has a queue, made at its first far operation: so
 * contexts complete and order apart from each other. Small puts are copied by the queue and need no answer before the
 * next quiet; what non-blocking atomics fetch is returned by it. An operation that fails ends the job: SHMEM has no way to report it.
 *
 * Locking: a context's lock is held while its queue is used, for any thread may use a context. */
#include "state.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH 4096 /* operations in progress per context: a stream of small puts seldom waits for the other end */

static void expect(hmc_status_t status, const char *what, int pe) {
  if (status != HMC_SUCCESS) hmci_die("%s PE %d: %s (%s)", what, pe, hmc_status_text(status), hmc_last_error());
}

/* ---- connections --------------------------------------------------------------------------------------------------- */

static hmci_far_t *meet(int pe) {
  hmci_far_t *far = calloc(1, sizeof *far);
  if (!far) hmci_die("no memory for a connection to PE %d", pe);
  const hmci_card_t *card = &hmci_pe.cards[pe];
  char ip[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, card->ip, ip, sizeof ip);
  expect(hmc_context_connect(hmci_pe.context, ip, card->port, HMC_CONNECTION_AUTO, 0, &far->peer), "connecting to", pe);
  expect(hmc_remote_open(far->peer, "shmem", 0, &far->remote), "opening the memory of", pe);
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

void hmci_far_close(void) {
  for (int i = 0; hmci_pe.far && i < hmci_pe.n; i++) {
    if (!hmci_pe.far[i]) continue;
    hmc_remote_close(hmci_pe.far[i]->remote);
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
    expect(hmc_queue_create(hmci_pe.context, &options, &(*ctx)->queue), "a queue of", hmci_pe.me);
  }
  return (*ctx)->queue;
}

static void leave(struct hmc_shmem_ctx *ctx) { pthread_mutex_unlock(&ctx->lock); }

/* Leaves after an operation that nobody waits for. */
static void leave_under_way(struct hmc_shmem_ctx *ctx) {
  atomic_store_explicit(&ctx->unsent, true, memory_order_relaxed);
  leave(ctx);
}

static void flush(hmc_queue_t *queue, hmc_peer_t *peer, int pe) {
  expect(hmc_queue_flush(queue, peer, 0), "completing operations at", pe);
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
    if (fetch->into) memcpy(fetch->into, &fetch->word, fetch->width);
    fetch->into = NULL;
  }
  ctx->n_fetches = kept;
}

static void flush_all(struct hmc_shmem_ctx *ctx) {
  hmc_status_t status = hmc_queue_flush(ctx->queue, NULL, 0);
  if (status != HMC_SUCCESS) hmci_die("a pending operation: %s (%s)", hmc_status_text(status), hmc_last_error());
  give_fetched(ctx, -1);
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
  flush(enter(&ctx), far->peer, pe);
  give_fetched(ctx, pe);
  leave(ctx);
}

void hmci_far_fence(struct hmc_shmem_ctx *ctx) {
  if (!ctx) ctx = hmci_own_context();
  if (!ctx->queue) return;
  expect(hmc_queue_fence(enter(&ctx)), "ordering the operations of", hmci_pe.me);
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

/* ---- operations ---------------------------------------------------------------------------------------------------- */

void hmci_far_put(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size, bool wait) {
  if (size == 0) return;
  hmci_far_t *far = far_of(pe);
  hmc_queue_t *queue = enter(&ctx);
  expect(hmc_queue_put(queue, source, far->remote, offset, size), "a put to", pe);
  if (wait && size > HMC_QUEUE_COPIED) flush(queue, far->peer, pe); /* else the source is free already */
  leave_under_way(ctx);
}

void hmci_far_put_signal(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size,
                         size_t word_offset, uint64_t signal, bool add, bool wait) {
  hmci_far_t *far = far_of(pe);
  hmc_queue_t *queue = enter(&ctx);
  hmc_signal_t word = {.remote = far->remote,
                       .offset = word_offset,
                       .operation = add ? HMC_ATOMIC_ADD : HMC_ATOMIC_SWAP,
                       .value = signal};
  expect(hmc_queue_put_signal(queue, source, far->remote, offset, size, &word), "a put with a signal to", pe);
  if (wait && size > HMC_QUEUE_COPIED) flush(queue, far->peer, pe);
  leave_under_way(ctx);
  if (!(ctx->session & SHMEM_CTX_SESSION_BATCH)) hmci_far_push(ctx); /* somebody may be waiting for it */
}

static bool is_word(size_t offset, size_t size) {
  return (size == 1 || size == 2 || size == 4 || size == 8) && offset % size == 0;
}

/* A word is fetched by itself, whatever else is in progress. */
void hmci_far_get(struct hmc_shmem_ctx *ctx, int pe, size_t offset, void *dest, size_t size, bool wait) {
  if (size == 0) return;
  hmci_far_t *far = far_of(pe);
  hmc_queue_t *queue = enter(&ctx);
  if (wait && is_word(offset, size)) {
    uint64_t word = 0;
    expect(hmc_queue_atomic_fetch(queue, far->remote, offset, HMC_ATOMIC_LOAD, (unsigned)size, 0, 0, &word),
           "a get from", pe);
    memcpy(dest, &word, size);
  } else {
    expect(hmc_queue_get(queue, dest, far->remote, offset, size), "a get from", pe);
    if (wait) flush(queue, far->peer, pe);
  }
  leave(ctx);
}

uint64_t hmci_far_atomic(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation,
                         unsigned width, uint64_t operand, uint64_t compare, bool fetch) {
  hmci_far_t *far = far_of(pe);
  hmc_queue_t *queue = enter(&ctx);
  uint64_t fetched = 0;
  hmc_status_t status =
      fetch ? hmc_queue_atomic_fetch(queue, far->remote, offset, operation, width, operand, compare, &fetched)
            : hmc_queue_atomic(queue, far->remote, offset, operation, width, operand, compare, NULL);
  expect(status, "an atomic at", pe);
  leave_under_way(ctx);
  return fetched;
}

void hmci_far_fetch(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation, unsigned width,
                    uint64_t operand, uint64_t compare, void *into) {
  hmci_far_t *far = far_of(pe);
  hmc_queue_t *queue = enter(&ctx);
  if (!ctx->fetches) ctx->fetches = calloc(HMCI_FETCHES, sizeof *ctx->fetches);
  if (!ctx->fetches) hmci_die("no memory for non-blocking atomics");
  if (ctx->n_fetches == HMCI_FETCHES) flush_all(ctx);
  hmci_fetch_t *fetch = &ctx->fetches[ctx->n_fetches++];
  *fetch = (hmci_fetch_t){.into = into, .width = width, .pe = pe};
  expect(hmc_queue_atomic(queue, far->remote, offset, operation, width, operand, compare, &fetch->word), "an atomic at",
         pe);
  leave_under_way(ctx);
}
