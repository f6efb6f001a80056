/* Teams, contexts and sessions. */
#ifndef SHMEM_TEAMS_H
#define SHMEM_TEAMS_H

#include <shmem/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* This PE's number in the team and the team's size; -1 for SHMEM_TEAM_INVALID. */
SHMEM_API int shmem_team_my_pe(shmem_team_t team);
SHMEM_API int shmem_team_n_pes(shmem_team_t team);

/* The number in `dest_team` of the PE that is `src_pe` in `src_team`; -1 where it is not a member. */
SHMEM_API int shmem_team_translate_pe(shmem_team_t src_team, int src_pe, shmem_team_t dest_team);

/* Fills the fields that `config_mask` names. 0, or non-zero for an invalid team. */
SHMEM_API int shmem_team_get_config(shmem_team_t team, long config_mask, shmem_team_config_t *config);

/* Makes a team of PEs start, start + stride, ... of the parent. Collective over the parent; PEs outside the new team
 * get SHMEM_TEAM_INVALID. Returns 0, or non-zero at all PEs where the triplet does not fit the parent or the 256 teams
 * of a PE are used up. `stride` may be negative. */
SHMEM_API int shmem_team_split_strided(shmem_team_t parent_team, int start, int stride, int size,
                                       const shmem_team_config_t *config, long config_mask, shmem_team_t *new_team);

/* Makes this PE's row and column of the parent laid out in rows of `xrange`. */
SHMEM_API int shmem_team_split_2d(shmem_team_t parent_team, int xrange, const shmem_team_config_t *xaxis_config,
                                  long xaxis_mask, shmem_team_t *xaxis_team, const shmem_team_config_t *yaxis_config,
                                  long yaxis_mask, shmem_team_t *yaxis_team);

/* Ends a team and its shareable contexts. Collective over the team. The predefined teams stay. */
SHMEM_API void shmem_team_destroy(shmem_team_t team);

/* Makes a context over all PEs, or over a team, whose numbers are then meant by `pe`. 0, or non-zero and
 * SHMEM_CTX_INVALID. */
SHMEM_API int shmem_ctx_create(long options, shmem_ctx_t *ctx);
SHMEM_API int shmem_team_create_ctx(shmem_team_t team, long options, shmem_ctx_t *ctx);

/* Completes what was started on the context and ends it. SHMEM_CTX_INVALID does nothing. */
SHMEM_API void shmem_ctx_destroy(shmem_ctx_t ctx);

/* The team that a context was made over; SHMEM_TEAM_WORLD for the default one. 0, or non-zero and SHMEM_TEAM_INVALID for
 * SHMEM_CTX_INVALID. */
SHMEM_API int shmem_ctx_get_team(shmem_ctx_t ctx, shmem_team_t *team);

/* Hints that many small operations follow, which may wait for company on their way to other hosts. Completion and
 * order stay what they are. */
SHMEM_API void shmem_ctx_session_start(shmem_ctx_t ctx, long options, const shmem_ctx_session_config_t *config,
                                       long config_mask);
SHMEM_API void shmem_ctx_session_stop(shmem_ctx_t ctx);

#ifdef __cplusplus
}
#endif
#endif
