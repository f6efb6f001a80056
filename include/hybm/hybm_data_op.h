/* HYBM: copies between memory of this process and slices of any entity (see hybm_big_mem.h). Threads: any. */
#ifndef HYBM_DATA_OP_H
#define HYBM_DATA_OP_H

#include "hybm.h"
#include "hybm_def.h"

#ifndef ASYNC_COPY_FLAG
#define ASYNC_COPY_FLAG (1UL << 0) /* started only: hybm_wait waits for it */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Copies. `stream`, where given, is one of the entity's device: what it was given before is waited for. When it returns
 * 0 without ASYNC_COPY_FLAG the bytes are at their destination, for all to see. Errors: -2000 (NULL, no bytes, addresses
 * that are not what `direction` says, a range past its slice or in none), -2004, -2007 (the peer or its slice is gone). */
HYBM_API int32_t hybm_data_copy(hybm_entity_t e, hybm_copy_params *params, hybm_data_copy_direction direction,
                                void *stream, uint32_t flags);

/* A list of them; each ends as by itself, and the first error is returned. */
HYBM_API int32_t hybm_data_batch_copy(hybm_entity_t e, hybm_batch_copy_params *params,
                                      hybm_data_copy_direction direction, void *stream, uint32_t flags);

/* Waits for all copies of the entity that were started with ASYNC_COPY_FLAG; the first error among them. */
HYBM_API int32_t hybm_wait(hybm_entity_t e);

#ifdef __cplusplus
}
#endif

#endif
