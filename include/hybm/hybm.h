/* HYBM: set-up, log and texts of errors of the layer below SMEM's pool (hybm_big_mem.h, hybm_data_op.h).
 *
 * An entity is a process's part in a pool that the program builds by itself: it reserves addresses that are the same in
 * every process, allocates or registers slices, and carries what entities export to the others, by any means of its own.
 * SMEM's pool (smem_bm.h) does all of that with a store.
 *
 * Calls that return int32_t return 0 or one of SMEM_ERROR_LIST in smem.h; smem_get_last_err_msg has a text with the cause
 * and the remedy. The functions are in libmf_smem.so, which also has the name libmf_hybm_core.so. */
#ifndef HYBM_HYBM_H
#define HYBM_HYBM_H

#include <stdint.h>

#if defined(__GNUC__)
#define HYBM_API __attribute__((visibility("default")))
#else
#define HYBM_API
#endif

#define HYBM_INIT_GVM_FLAG (1ULL << 1) /* taken; host memory is always there */

#ifdef __cplusplus
extern "C" {
#endif

/* Chooses the accelerator of this process, `deviceId`. Again with the same device: 0; each call wants its own
 * hybm_uninit. flags: HYBM_INIT_GVM_FLAG or 0. Threads: any. Errors: -2000 (no such device, or another one than before). */
HYBM_API int32_t hybm_init(uint16_t deviceId, uint64_t flags);

/* Takes a hybm_init back. Entities that are left keep working. Threads: any. */
HYBM_API void hybm_uninit(void);

/* The log and its level, as smem_set_extern_logger and smem_set_log_level, which they share. */
HYBM_API int32_t hybm_set_extern_logger(void (*logger)(int level, const char *msg));
HYBM_API int32_t hybm_set_log_level(int level);

/* What a code means; NULL: it is none. Threads: any. */
HYBM_API const char *hybm_get_error_string(int32_t errCode);

#ifdef __cplusplus
}
#endif

#endif
