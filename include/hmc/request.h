/* Requests: operations that were started and go on by themselves, and connecting and opening in the same way.
 *
 * A request is complete with one result, which stays until hmc_request_free. It ends by its deadline at the latest. */
#ifndef HMC_REQUEST_H
#define HMC_REQUEST_H

#include <hmc/context.h>
#include <hmc/export.h>
#include <hmc/operation.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Looks whether a request is complete, and makes progress. Threads: any. Never blocks.
 *
 * \param request The request.
 * \return HMC_IN_PROGRESS It is not complete.
 * \return Its result.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_test(hmc_request_t *request);

/**
 * Waits until a request is complete. At its deadline the operation ends with HMC_TIMEOUT; as after hmc_request_cancel,
 * it does not read or write the caller's memory any more then. Threads: any, several at once.
 *
 * \param request The request.
 * \return Its result.
 * \return HMC_UNSUPPORT It connects or opens, and this is a callback.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait(hmc_request_t *request);

/**
 * Waits until all of several requests are complete.
 *
 * \param requests The requests; NULL entries are skipped.
 * \param count How many entries.
 * \return HMC_SUCCESS All have succeeded.
 * \return The status of the first one in the list that failed.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_all(hmc_request_t *const *requests, size_t count);

/**
 * Waits until one of several requests is complete.
 *
 * \param requests The requests; NULL entries are skipped.
 * \param count How many entries.
 * \param index Gets the place of the complete one; `count` where there is none.
 * \return Its result.
 * \return HMC_NOT_FOUND All entries are NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_any(hmc_request_t *const *requests, size_t count, size_t *index);

/**
 * Waits until at least one of several requests is complete, and lists all that are. Each request reports its own result
 * (hmc_request_test).
 *
 * \param requests The requests; NULL entries are skipped.
 * \param count How many entries.
 * \param indices Gets the places of those that are complete; has room for `count`.
 * \param done Gets how many there are.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND All entries are NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_some(hmc_request_t *const *requests, size_t count, size_t *indices,
                                                       size_t *done);

/**
 * hmc_request_wait for a limited time. When the time is over the request continues, and can be waited for again.
 *
 * \param request The request.
 * \param timeout_ms How long to wait; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return As hmc_request_wait.
 * \return HMC_IN_PROGRESS The time is over and the request is not complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_for(hmc_request_t *request, uint64_t timeout_ms);

/**
 * hmc_request_wait_all for a limited time.
 *
 * \param requests As hmc_request_wait_all.
 * \param count As hmc_request_wait_all.
 * \param timeout_ms As hmc_request_wait_for.
 * \return As hmc_request_wait_all.
 * \return HMC_IN_PROGRESS The time is over and not all are complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_all_for(hmc_request_t *const *requests, size_t count,
                                                          uint64_t timeout_ms);

/**
 * hmc_request_wait_any for a limited time.
 *
 * \param requests As hmc_request_wait_any.
 * \param count As hmc_request_wait_any.
 * \param index As hmc_request_wait_any.
 * \param timeout_ms As hmc_request_wait_for.
 * \return As hmc_request_wait_any.
 * \return HMC_IN_PROGRESS The time is over and none is complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_any_for(hmc_request_t *const *requests, size_t count, size_t *index,
                                                          uint64_t timeout_ms);

/**
 * hmc_request_wait_some for a limited time.
 *
 * \param requests As hmc_request_wait_some.
 * \param count As hmc_request_wait_some.
 * \param indices As hmc_request_wait_some.
 * \param done As hmc_request_wait_some.
 * \param timeout_ms As hmc_request_wait_for.
 * \return As hmc_request_wait_some.
 * \return HMC_IN_PROGRESS The time is over and none is complete.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_request_wait_some_for(hmc_request_t *const *requests, size_t count,
                                                           size_t *indices, size_t *done, uint64_t timeout_ms);

/**
 * Ends a request with HMC_CANCELLED unless it is complete already. When the call returns, the operation does not touch
 * the caller's memory any more. A part of a put may have arrived at the target. Threads: any.
 *
 * \param request The request.
 * \return Its result.
 */
HMC_API hmc_status_t hmc_request_cancel(hmc_request_t *request);

/**
 * Frees a request, and cancels it first where it is not complete. Its callback has been called when this returns: one
 * that is still due is called here; one that runs in the service thread is waited for, so the caller must not hold what
 * the callback needs. In a callback the call waits for no other callback. Threads: no other call may use the request.
 *
 * \param request The request; NULL is allowed.
 */
HMC_API void hmc_request_free(hmc_request_t *request);

/**
 * Waits until every request that was started to a peer before the call is complete. Each request reports its own
 * result.
 *
 * \param peer The peer.
 * \param timeout_ms How long to wait; 0: the context's timeout; HMC_NO_WAIT: not at all.
 * \return HMC_SUCCESS
 * \return HMC_TIMEOUT Some are still pending.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_flush(hmc_peer_t *peer, uint64_t timeout_ms);

/**
 * An eventfd for poll loops that becomes readable when a request of the context completes or a notification arrives:
 * read it, then test the requests. The first call begins the counting; it may count a completion shortly before it too.
 * See hmc_context_poll_descriptor for one that tells of events.
 *
 * Ownership: the context's.
 *
 * \param context The context.
 * \param descriptor Gets the descriptor.
 * \return HMC_SUCCESS
 * \return HMC_NO_MEMORY No descriptors are left.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_event_descriptor(hmc_context_t *context, int *descriptor);

/* ---- connecting and opening as requests -------------------------------------------------------------------------- */

/**
 * Starts hmc_context_connect and returns at once with a request. A context runs up to 64 such requests, and those of
 * hmc_remote_open_nb and hmc_remote_find_nb, at a time; others wait for their turn.
 *
 * Completion: as for operations (wait, test, callback, hmc_poll). A request that was cancelled, or whose deadline
 * passed, leaves no peer. Ownership: the peer belongs to the context, the request to the caller. Threads: any,
 * callbacks included. Never blocks.
 *
 * \param context The context.
 * \param ip The peer's address, as for hmc_context_connect; copied.
 * \param port Its port; 0: the port that `ip` brings.
 * \param type How to reach it.
 * \param options A deadline, HMC_OPERATION_EVENT, a callback and `user` may be set; NULL: the defaults.
 * \param peer Gets the peer before the request is complete with HMC_SUCCESS; must stay valid until then. hmc_poll
 * returns the peer too.
 * \param request Gets the request.
 * \return HMC_SUCCESS The request was started; its result is that of hmc_context_connect.
 * \return HMC_INVALID_CONFIG NULL, not an address, an unknown type, or an option that does not apply.
 * \return HMC_UNSUPPORT The required type does not work here.
 * \return HMC_NO_MEMORY No memory, descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_connect_nb(hmc_context_t *context, const char *ip, uint16_t port,
                                                        hmc_connection_type_t type,
                                                        const hmc_operation_options_t *options, hmc_peer_t **peer,
                                                        hmc_request_t **request);

/**
 * Starts hmc_remote_open and returns at once with a request.
 *
 * Completion, threads and blocking: as hmc_context_connect_nb. Ownership: the handle belongs to the peer until
 * hmc_remote_close, the request to the caller.
 *
 * \param peer The peer.
 * \param name The region's name; copied.
 * \param options As hmc_context_connect_nb.
 * \param remote Gets the handle before the request is complete with HMC_SUCCESS; must stay valid until then. hmc_poll
 * returns it too.
 * \param request Gets the request.
 * \return HMC_SUCCESS The request was started; its result is that of hmc_remote_open.
 * \return HMC_INVALID_CONFIG NULL, or an option that does not apply.
 * \return HMC_NOT_FOUND No region can have that name.
 * \return HMC_NO_MEMORY No memory, descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_open_nb(hmc_peer_t *peer, const char *name,
                                                    const hmc_operation_options_t *options, hmc_remote_t **remote,
                                                    hmc_request_t **request);

/**
 * Starts hmc_remote_find and returns at once with a request.
 *
 * Completion, ownership, threads and blocking: as hmc_remote_open_nb.
 *
 * \param peer The peer.
 * \param address The first byte, as the peer's process knows it.
 * \param bytes How many bytes the region must hold from there.
 * \param options As hmc_context_connect_nb.
 * \param remote Gets the handle before the request is complete with HMC_SUCCESS; must stay valid until then.
 * \param offset Gets the offset of the address in the region; like `remote`.
 * \param request Gets the request.
 * \return HMC_SUCCESS The request was started; its result is that of hmc_remote_find.
 * \return HMC_INVALID_CONFIG NULL, or an option that does not apply.
 * \return HMC_NO_MEMORY No memory, descriptors or threads are left.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_remote_find_nb(hmc_peer_t *peer, uint64_t address, uint64_t bytes,
                                                    const hmc_operation_options_t *options, hmc_remote_t **remote,
                                                    uint64_t *offset, hmc_request_t **request);

#ifdef __cplusplus
}
#endif
#endif
