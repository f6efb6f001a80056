/* TRANS: transfers between memory here and memory that a peer registered, by the peer's unique id ("ip:port") and the
 * pointer that is valid in its process. What a pointer may reach is checked against what its owner registered.
 *
 * Threads: any; destroy must not run beside other calls on its handle. */
#ifndef SMEM_TRANS_H
#define SMEM_TRANS_H

#include "smem_trans_def.h"

#ifdef __cplusplus
extern "C" {
#define SMEM_TRANS_DEFAULT_FLAGS = 0
#else
#define SMEM_TRANS_DEFAULT_FLAGS
#endif

/* Fills in the defaults: SENDER, 120 s, deviceId UINT32_MAX, flags 0; dataOpType stays as it is. -2000: NULL. */
SMEM_API int32_t smem_trans_config_init(smem_trans_config_t *config);

/* Begins TRANS in this process: before smem_trans_create. Again: 0. Errors: -2000 (NULL). */
SMEM_API int32_t smem_trans_init(const smem_trans_config_t *config);

/* Destroys all points that are left, and ends TRANS. `flags` is not used. */
SMEM_API void smem_trans_uninit(uint32_t flags);

/* Makes a point of transfers. uniqueId: "ip:port" or "[ipv6]:port" of this host, port above 1024: peers connect to it
 * there. NULL: it failed (before smem_trans_init; the URL; a port in use; no store). */
SMEM_API smem_trans_t smem_trans_create(const char *storeUrl, const char *uniqueId, const smem_trans_config_t *config);

/* Takes back all memory that was registered there, and frees the point. Anything but a handle is only logged. */
SMEM_API void smem_trans_destroy(smem_trans_t handle, uint32_t flags);

/* Lets peers reach memory of this process, of any kind. It works when the call returns. Errors: -2000 (NULL, no bytes, an
 * overlap with other registered memory). */
SMEM_API int32_t smem_trans_register_mem(smem_trans_t handle, void *address, size_t capacity, uint32_t flags);
SMEM_API int32_t smem_trans_batch_register_mem(smem_trans_t handle, void *addresses[], size_t capacities[],
                                               uint32_t count, uint32_t flags);

/* Takes it back: when it returns no peer reads or writes it any more. What is not registered: 0. */
SMEM_API int32_t smem_trans_deregister_mem(smem_trans_t handle, void *address);

/* Host memory that peers can reach without more, and on the same host fastest. NULL: there is not so much. */
SMEM_API void *smem_trans_malloc(smem_trans_t handle, size_t capacity);

/* Frees memory of smem_trans_malloc, which peers cannot reach any more when it returns. Errors: -2000 (it is none). */
SMEM_API int32_t smem_trans_free(smem_trans_t handle, void *address);

/* Writes to a peer's memory, or reads from it; when it returns 0 the bytes are there. flags: 0 or COPY_EXTEND_FLAG.
 * Errors: -2000 (NULL, no bytes, flags, an id nobody has, an address that its owner has not registered), -2004, -2007
 * (the peer is gone). Of a batch, all pieces end; the first error is returned. */
SMEM_API int32_t smem_trans_write(smem_trans_t handle, const void *localAddr, const char *remoteUniqueId,
                                  void *remoteAddr, size_t dataSize, uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);
SMEM_API int32_t smem_trans_batch_write(smem_trans_t handle, const void *localAddrs[], const char *remoteUniqueId,
                                        void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize,
                                        uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);
SMEM_API int32_t smem_trans_read(smem_trans_t handle, void *localAddr, const char *remoteUniqueId,
                                 const void *remoteAddr, size_t dataSize, uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);
SMEM_API int32_t smem_trans_batch_read(smem_trans_t handle, void *localAddrs[], const char *remoteUniqueId,
                                       const void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize,
                                       uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/* The same in the order of a stream of the device's runtime. Errors besides: -2000 (stream NULL). */
SMEM_API int32_t smem_trans_write_submit(smem_trans_t handle, const void *localAddr, const char *remoteUniqueId,
                                         void *remoteAddr, size_t dataSize, void *stream,
                                         uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);
SMEM_API int32_t smem_trans_read_submit(smem_trans_t handle, void *localAddr, const char *remoteUniqueId,
                                        const void *remoteAddr, size_t dataSize, void *stream,
                                        uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);
SMEM_API int32_t smem_trans_batch_write_submit(smem_trans_t handle, const void *localAddrs[],
                                               const char *remoteUniqueId, void *remoteAddrs[], size_t dataSizes[],
                                               uint32_t batchSize, void *stream,
                                               uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);
SMEM_API int32_t smem_trans_batch_read_submit(smem_trans_t handle, void *localAddrs[], const char *remoteUniqueId,
                                              const void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize,
                                              void *stream, uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

#ifdef __cplusplus
}
#else
/* The generation before took no flags: where they are missing they are 0. */
#define SMEM_TRANS_SIX(a, b, c, d, e, f, ...) (a, b, c, d, e, f)
#define SMEM_TRANS_SEVEN(a, b, c, d, e, f, g, ...) (a, b, c, d, e, f, g)
#define SMEM_TRANS_EIGHT(a, b, c, d, e, f, g, h, ...) (a, b, c, d, e, f, g, h)
#define smem_trans_write(...) smem_trans_write SMEM_TRANS_SIX(__VA_ARGS__, 0, 0)
#define smem_trans_read(...) smem_trans_read SMEM_TRANS_SIX(__VA_ARGS__, 0, 0)
#define smem_trans_batch_write(...) smem_trans_batch_write SMEM_TRANS_SEVEN(__VA_ARGS__, 0, 0)
#define smem_trans_batch_read(...) smem_trans_batch_read SMEM_TRANS_SEVEN(__VA_ARGS__, 0, 0)
#define smem_trans_write_submit(...) smem_trans_write_submit SMEM_TRANS_SEVEN(__VA_ARGS__, 0, 0)
#define smem_trans_read_submit(...) smem_trans_read_submit SMEM_TRANS_SEVEN(__VA_ARGS__, 0, 0)
#define smem_trans_batch_write_submit(...) smem_trans_batch_write_submit SMEM_TRANS_EIGHT(__VA_ARGS__, 0, 0)
#define smem_trans_batch_read_submit(...) smem_trans_batch_read_submit SMEM_TRANS_EIGHT(__VA_ARGS__, 0, 0)
#endif

#endif
