/* Operations on far PEs, through the engine.
 *
 * A connection is made at the first operation on a PE. A put needs a region at this side too: the own part where the
 * source lies there, else one that is made for the operation. What is not waited for is kept in the context's list until
 * the next quiet. An operation that fails ends the job: SHMEM has no way to report it. */
#include "state.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void expect(hmc_status_t status, const char *what, int pe) {
  if (status != HMC_SUCCESS) {
    hmci_die("%s PE %d: %s (%s)", what, pe, hmc_status_text(status), hmc_last_error());
  }
}

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

/* ---- the local side ------------------------------------------------------------------------------------------------ */

typedef struct near_end {
  hmc_region_t *region;
  uint64_t offset;
  bool is_made; /* for this operation */
} near_end_t;

static near_end_t near_end_of(const void *address, size_t size) {
  hmc_region_t *own = hmci_pe.exposed ? hmci_pe.exposed : hmci_pe.region;
  size_t offset = hmci_offset(address);
  if (own && offset != SIZE_MAX && size <= hmci_pe.part_size - offset) return (near_end_t){own, offset, false};
  near_end_t end = {.is_made = true};
  hmc_status_t status = hmc_region_register(hmci_pe.context, (void *)(uintptr_t)address, size, NULL, 0, &end.region);
  expect(status, "registering memory for an operation on", hmci_pe.me);
  return end;
}

static void near_end_close(near_end_t *end) {
  if (end->is_made) hmc_region_close(end->region);
}

/* ---- what is under way --------------------------------------------------------------------------------------------- */

static void keep(struct hmc_shmem_ctx *ctx, hmc_request_t *request) {
  pthread_mutex_lock(&ctx->lock);
  if (ctx->n_started == ctx->room) {
    ctx->room = ctx->room ? 2 * ctx->room : 64;
    ctx->started = realloc(ctx->started, ctx->room * sizeof *ctx->started);
    if (!ctx->started) hmci_die("no memory for %zu operations under way", ctx->room);
  }
  ctx->started[ctx->n_started++] = request;
  pthread_mutex_unlock(&ctx->lock);
}

void hmci_far_quiet(struct hmc_shmem_ctx *ctx) {
  if (!ctx->n_started) return;
  pthread_mutex_lock(&ctx->lock);
  hmc_status_t status = hmc_request_wait_all(ctx->started, ctx->n_started);
  if (status != HMC_SUCCESS) hmci_die("an operation under way: %s (%s)", hmc_status_text(status), hmc_last_error());
  for (size_t i = 0; i < ctx->n_started; i++) hmc_request_free(ctx->started[i]);
  ctx->n_started = 0;
  pthread_mutex_unlock(&ctx->lock);
}

void hmci_far_put(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size, bool wait) {
  if (size == 0) return;
  hmci_far_t *far = far_of(pe);
  near_end_t end = near_end_of(source, size);
  if (wait || end.is_made) {
    expect(hmc_put(end.region, end.offset, far->remote, offset, size), "a put to", pe);
  } else {
    hmc_request_t *request;
    expect(hmc_put_nb(end.region, end.offset, far->remote, offset, size, NULL, &request), "a put to", pe);
    keep(ctx, request);
  }
  near_end_close(&end);
}

void hmci_far_get(struct hmc_shmem_ctx *ctx, int pe, size_t offset, void *dest, size_t size, bool wait) {
  if (size == 0) return;
  hmci_far_t *far = far_of(pe);
  near_end_t end = near_end_of(dest, size);
  if (wait || end.is_made) {
    expect(hmc_get(end.region, end.offset, far->remote, offset, size), "a get from", pe);
  } else {
    hmc_request_t *request;
    expect(hmc_get_nb(end.region, end.offset, far->remote, offset, size, NULL, &request), "a get from", pe);
    keep(ctx, request);
  }
  near_end_close(&end);
}

uint64_t hmci_far_atomic(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation,
                         unsigned width, uint64_t operand, uint64_t compare, bool fetch) {
  hmci_far_t *far = far_of(pe);
  uint64_t fetched = 0;
  if (fetch || !ctx) {
    expect(hmc_atomic(far->remote, offset, operation, width, operand, compare, &fetched), "an atomic at", pe);
    return fetched;
  }
  hmc_request_t *request;
  hmc_status_t status = hmc_atomic_nb(far->remote, offset, operation, width, operand, compare, NULL, NULL, &request);
  expect(status, "an atomic at", pe);
  keep(ctx, request);
  return 0;
}
