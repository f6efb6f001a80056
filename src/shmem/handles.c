/* What stands behind the handles of teams and contexts. Calls no other file but the state's, for all of them look here.
 *
 * Locking: the table is written by team.c, under its lock; a handle that is in use stays as it is. */
#include "state.h"

#include <stdlib.h>

hmci_team_t *hmci_teams[HMCI_TEAMS];

static struct hmc_shmem_ctx default_context;
static struct hmc_shmem_ctx own_context; /* the library's */

hmci_team_t *hmci_team_find(shmem_team_t team) { return team < 0 || team >= HMCI_TEAMS ? NULL : hmci_teams[team]; }

static void open_context(struct hmc_shmem_ctx *context) {
  *context = (struct hmc_shmem_ctx){.team = SHMEM_TEAM_WORLD};
  pthread_mutex_init(&context->lock, NULL);
}

void hmci_context_empty(struct hmc_shmem_ctx *ctx) {
  hmc_queue_destroy(ctx->queue);
  ctx->queue = NULL;
  hmc_region_close(ctx->slots_region);
  ctx->slots_region = NULL;
  free(ctx->slots);
  ctx->slots = NULL;
  free(ctx->fetches);
  ctx->fetches = NULL;
  pthread_mutex_destroy(&ctx->lock);
}

void hmci_contexts_open(void) {
  open_context(&default_context);
  open_context(&own_context);
}

void hmci_contexts_close(void) {
  hmci_context_empty(&default_context);
  hmci_context_empty(&own_context);
}

struct hmc_shmem_ctx *hmci_own_context(void) {
  return &own_context;
}

struct hmc_shmem_ctx *hmci_context(shmem_ctx_t ctx, int *pe) {
  if (ctx == SHMEM_CTX_DEFAULT) return &default_context;
  if (ctx == SHMEM_CTX_INVALID) hmci_die("an operation on SHMEM_CTX_INVALID: look at what made the context returned");
  if (pe && ctx->team != SHMEM_TEAM_WORLD) {
    hmci_team_t *team = hmci_team_find(ctx->team);
    if (!team || *pe < 0 || *pe >= team->group.n) {
      hmci_die("PE %d is not of the team of the context: such a context counts the members of its team from 0", *pe);
    }
    *pe = hmci_member(&team->group, *pe);
  }
  return ctx;
}
