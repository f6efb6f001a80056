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

/**
 * Fills in the defaults: SENDER, 120 s, deviceId UINT32_MAX, flags 0; dataOpType stays as it is.
 *
 * \param config The config to fill in.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL.
 */
SMEM_API int32_t smem_trans_config_init(smem_trans_config_t *config);

/**
 * Begins TRANS in this process, before smem_trans_create. Does nothing when called again.
 *
 * \param config What smem_trans_config_init filled in.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL.
 */
SMEM_API int32_t smem_trans_init(const smem_trans_config_t *config);

/**
 * Destroys all points that are left, and ends TRANS.
 *
 * \param flags Not used.
 */
SMEM_API void smem_trans_uninit(uint32_t flags);

/**
 * Makes a point of transfers.
 *
 * \param storeUrl Where the store is: "tcp://ip:port" or "etcd://host:port,...".
 * \param uniqueId Where peers connect to this point: "ip:port" or "[ipv6]:port" of this host, with a port above 1024.
 * \param config Its role, and its timeout above 0.
 * \return The point.
 * \return NULL: it failed (before smem_trans_init, the URL, a port in use, no store); the text says why.
 */
SMEM_API smem_trans_t smem_trans_create(const char *storeUrl, const char *uniqueId, const smem_trans_config_t *config);

/**
 * Takes back all memory that was registered there, and frees the point. What is not a point is only logged.
 *
 * \param handle The point.
 * \param flags Not used.
 */
SMEM_API void smem_trans_destroy(smem_trans_t handle, uint32_t flags);

/**
 * Lets peers reach memory of this process, of any kind. They can when the call returns.
 *
 * \param handle The point.
 * \param address Where it begins.
 * \param capacity Its bytes.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return SM_OK Also where just this is registered.
 * \return SM_INVALID_PARAM NULL, no bytes, an overlap with other registered memory, or no point.
 * \return SM_NOT_INITIALIZED smem_trans_init comes first.
 * \return SM_MALLOC_FAILED
 */
SMEM_API int32_t smem_trans_register_mem(smem_trans_t handle, void *address, size_t capacity, uint32_t flags);

/**
 * Registers several pieces of memory, all or none.
 *
 * \param handle The point.
 * \param addresses Where they begin.
 * \param capacities Their bytes.
 * \param count How many.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_register_mem.
 */
SMEM_API int32_t smem_trans_batch_register_mem(smem_trans_t handle, void *addresses[], size_t capacities[],
                                               uint32_t count, uint32_t flags);

/**
 * Takes registered memory back: when it returns, no peer reads or writes it any more.
 *
 * \param handle The point.
 * \param address Where it begins.
 * \return SM_OK Also where nothing is registered there.
 * \return SM_INVALID_PARAM NULL, or no point.
 */
SMEM_API int32_t smem_trans_deregister_mem(smem_trans_t handle, void *address);

/**
 * Allocates host memory that peers can reach at once, and on the same host fastest.
 *
 * \param handle The point.
 * \param capacity Its bytes.
 * \return The memory.
 * \return NULL: there is not so much.
 */
SMEM_API void *smem_trans_malloc(smem_trans_t handle, size_t capacity);

/**
 * Frees memory of smem_trans_malloc. Peers cannot reach it any more when it returns.
 *
 * \param handle The point.
 * \param address The memory.
 * \return SM_OK
 * \return SM_INVALID_PARAM It is not memory of smem_trans_malloc.
 */
SMEM_API int32_t smem_trans_free(smem_trans_t handle, void *address);

/**
 * Writes to a peer's memory. When it returns SM_OK, the bytes are there.
 *
 * \param handle The point.
 * \param localAddr Where the bytes are here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddr Where they go.
 * \param dataSize How many bytes.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return SM_OK
 * \return SM_INVALID_PARAM NULL, no bytes, unknown flags, an unknown id, or an address that its owner has not
 *   registered.
 * \return SM_NOT_INITIALIZED smem_trans_init comes first.
 * \return SM_TIMEOUT The deadline passed.
 * \return SM_OBJECT_NOT_EXISTS The peer is gone.
 */
SMEM_API int32_t smem_trans_write(smem_trans_t handle, const void *localAddr, const char *remoteUniqueId,
                                  void *remoteAddr, size_t dataSize, uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * Writes to a peer's memory, in several pieces. All of them end. When it returns SM_OK, the bytes are there.
 *
 * \param handle The point.
 * \param localAddrs Where the bytes are here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddrs Where they go.
 * \param dataSizes How many bytes each.
 * \param batchSize How many pieces.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_write: the first error among the pieces.
 */
SMEM_API int32_t smem_trans_batch_write(smem_trans_t handle, const void *localAddrs[], const char *remoteUniqueId,
                                        void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize,
                                        uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * Reads a peer's memory. When it returns SM_OK, the bytes are here.
 *
 * \param handle The point.
 * \param localAddr Where the bytes go here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddr Where they are.
 * \param dataSize How many bytes.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_write.
 */
SMEM_API int32_t smem_trans_read(smem_trans_t handle, void *localAddr, const char *remoteUniqueId,
                                 const void *remoteAddr, size_t dataSize, uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * Reads a peer's memory, in several pieces. All of them end. When it returns SM_OK, the bytes are here.
 *
 * \param handle The point.
 * \param localAddrs Where the bytes go here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddrs Where they are.
 * \param dataSizes How many bytes each.
 * \param batchSize How many pieces.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_write: the first error among the pieces.
 */
SMEM_API int32_t smem_trans_batch_read(smem_trans_t handle, void *localAddrs[], const char *remoteUniqueId,
                                       const void *remoteAddrs[], size_t dataSizes[], uint32_t batchSize,
                                       uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * As smem_trans_write, after all that the stream has been given before; work that the stream is given later comes
 * after the bytes.
 *
 * \param handle The point.
 * \param localAddr Where the bytes are here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddr Where they go.
 * \param dataSize How many bytes.
 * \param stream A stream of the device's runtime.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_write; SM_INVALID_PARAM also where `stream` is NULL.
 */
SMEM_API int32_t smem_trans_write_submit(smem_trans_t handle, const void *localAddr, const char *remoteUniqueId,
                                         void *remoteAddr, size_t dataSize, void *stream,
                                         uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * As smem_trans_read, after all that the stream has been given before; work that the stream is given later comes
 * after the bytes.
 *
 * \param handle The point.
 * \param localAddr Where the bytes go here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddr Where they are.
 * \param dataSize How many bytes.
 * \param stream A stream of the device's runtime.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_read; SM_INVALID_PARAM also where `stream` is NULL.
 */
SMEM_API int32_t smem_trans_read_submit(smem_trans_t handle, void *localAddr, const char *remoteUniqueId,
                                        const void *remoteAddr, size_t dataSize, void *stream,
                                        uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * As smem_trans_batch_write, after all that the stream has been given before; work that the stream is given later
 * comes after the bytes.
 *
 * \param handle The point.
 * \param localAddrs Where the bytes are here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddrs Where they go.
 * \param dataSizes How many bytes each.
 * \param batchSize How many pieces.
 * \param stream A stream of the device's runtime.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_batch_write; SM_INVALID_PARAM also where `stream` is NULL.
 */
SMEM_API int32_t smem_trans_batch_write_submit(smem_trans_t handle, const void *localAddrs[],
                                               const char *remoteUniqueId, void *remoteAddrs[], size_t dataSizes[],
                                               uint32_t batchSize, void *stream,
                                               uint32_t flags SMEM_TRANS_DEFAULT_FLAGS);

/**
 * As smem_trans_batch_read, after all that the stream has been given before; work that the stream is given later
 * comes after the bytes.
 *
 * \param handle The point.
 * \param localAddrs Where the bytes go here.
 * \param remoteUniqueId The peer's id.
 * \param remoteAddrs Where they are.
 * \param dataSizes How many bytes each.
 * \param batchSize How many pieces.
 * \param stream A stream of the device's runtime.
 * \param flags 0 or COPY_EXTEND_FLAG.
 * \return As smem_trans_batch_read; SM_INVALID_PARAM also where `stream` is NULL.
 */
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
