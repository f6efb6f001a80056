/* Contexts: streams of operations. What goes by loads and stores needs none; they matter for far PEs.
 *
 * Locking: contexts_lock guards the lists of the teams. */
#include "alias.h"
#include "state.h"

#include <stdlib.h>

static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;

int shmem_team_create_ctx(shmem_team_t team, long options, shmem_ctx_t *ctx) {
  if (!ctx) return -1;
  *ctx = SHMEM_CTX_INVALID;
  hmci_team_t *found = hmci_team_find(team);
  if (!found) return -1;
  struct hmc_shmem_ctx *made = calloc(1, sizeof *made);
  if (!made) return -1;
  made->team = team;
  made->options = options;
  pthread_mutex_init(&made->lock, NULL);
  pthread_mutex_lock(&contexts_lock);
  made->next = found->contexts;
  found->contexts = made;
  pthread_mutex_unlock(&contexts_lock);
  *ctx = made;
  return 0;
}

int shmem_ctx_create(long options, shmem_ctx_t *ctx) { return shmem_team_create_ctx(SHMEM_TEAM_WORLD, options, ctx); }

static void unlink_context(struct hmc_shmem_ctx *ctx) {
  hmci_team_t *team = hmci_team_find(ctx->team);
  pthread_mutex_lock(&contexts_lock);
  struct hmc_shmem_ctx **at = team ? &team->contexts : NULL;
  while (at && *at && *at != ctx) at = &(*at)->next;
  if (at && *at) *at = ctx->next;
  pthread_mutex_unlock(&contexts_lock);
}

void shmem_ctx_destroy(shmem_ctx_t ctx) {
  if (ctx == SHMEM_CTX_INVALID) return;
  if (ctx == SHMEM_CTX_DEFAULT) {
    if (hmci_pe.checks) hmci_die("shmem_ctx_destroy: the default context cannot be destroyed: it ends with the job");
    return;
  }
  hmci_quiet(ctx);
  unlink_context(ctx);
  hmci_context_empty(ctx);
  free(ctx);
}

/* By the thread that leaves the job: no other one makes or ends a context then. */
void hmci_contexts_quiet(void) {
  for (int i = 0; i < HMCI_TEAMS; i++) {
    struct hmc_shmem_ctx *at = hmci_teams[i] ? hmci_teams[i]->contexts : NULL;
    for (; at; at = at->next) hmci_quiet(at);
  }
}

int shmem_ctx_get_team(shmem_ctx_t ctx, shmem_team_t *team) {
  if (!team) return -1;
  *team = SHMEM_TEAM_INVALID;
  if (ctx == SHMEM_CTX_INVALID) return -1;
  *team = hmci_context(ctx, NULL)->team;
  return 0;
}

/* Sessions are hints. In one of batches, what would be sent at once for somebody who may be waiting for it, a signal,
 * waits for company too; its end sends all. */
void shmem_ctx_session_start(shmem_ctx_t ctx, long options, const shmem_ctx_session_config_t *config,
                             long config_mask) {
  (void)config_mask;
  (void)config;
  if (ctx == SHMEM_CTX_INVALID) return;
  struct hmc_shmem_ctx *found = hmci_context(ctx, NULL);
  pthread_mutex_lock(&found->lock);
  found->session |= options;
  pthread_mutex_unlock(&found->lock);
}

void shmem_ctx_session_stop(shmem_ctx_t ctx) {
  if (ctx == SHMEM_CTX_INVALID) return;
  struct hmc_shmem_ctx *found = hmci_context(ctx, NULL);
  pthread_mutex_lock(&found->lock);
  found->session = 0;
  pthread_mutex_unlock(&found->lock);
  hmci_far_push(found);
}

PROFILED(shmem_ctx_create);
PROFILED(shmem_team_create_ctx);
PROFILED(shmem_ctx_destroy);
PROFILED(shmem_ctx_get_team);
PROFILED(shmem_ctx_session_start);
PROFILED(shmem_ctx_session_stop);
