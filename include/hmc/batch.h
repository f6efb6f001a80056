/* Batches: many ranges that move as one operation.
 *
 * A list is checked once and started as often as wanted. Between two regions it is all put or all get (hmc_batch_create);
 * over several regions and peers each piece has its own direction (hmc_batch_create_pieces). Results, completion and
 * threads: as in hmc/operation.h. */
#ifndef HMC_BATCH_H
#define HMC_BATCH_H

#include <hmc/export.h>
#include <hmc/operation.h>
#include <hmc/region.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_batch hmc_batch_t;

/* One part of a batch: bytes that are contiguous at both ends. */
typedef struct hmc_segment {
  uint64_t local_offset, remote_offset, length;
} hmc_segment_t;

/* A block of `count[2]` x `count[1]` x `count[0]` elements; count 0 stands for 1. Along dimension 0 the elements lie
 * one behind the other; `stride[0]` is the distance in bytes from one row (dimension 1) to the next, `stride[1]` from
 * one plane (dimension 2) to the next. */
typedef struct hmc_strided {
  uint64_t element; /* bytes of an element */
  uint64_t count[3];
  uint64_t local_offset, local_stride[2];
  uint64_t remote_offset, remote_stride[2];
} hmc_strided_t;

/**
 * Prepares a list of segments between two regions, to be moved as one operation, as often as wanted. The list is copied
 * and checked here, once.
 *
 * Ownership: the batch is the caller's until hmc_batch_free; the regions must stay open until then. Never blocks.
 *
 * \param local The local region.
 * \param remote The peer's region.
 * \param segments The segments.
 * \param count How many.
 * \param batch Gets the batch.
 * \return HMC_SUCCESS
 * \return HMC_OUT_OF_RANGE A segment runs past one of the regions; the text names it.
 * \return HMC_INVALID_CONFIG NULL, no segments, or regions of different contexts.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create(hmc_region_t *local, hmc_remote_t *remote,
                                                  const hmc_segment_t *segments, size_t count, hmc_batch_t **batch);

/**
 * hmc_batch_create for a regular shape.
 *
 * \param local The local region.
 * \param remote The peer's region.
 * \param shape The shape; read during the call only.
 * \param batch Gets the batch.
 * \return As hmc_batch_create.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create_strided(hmc_region_t *local, hmc_remote_t *remote,
                                                          const hmc_strided_t *shape, hmc_batch_t **batch);

enum {
  HMC_PIECE_GET = 1, /* from the peer; else it is put */
};

/* One piece of a batch over several regions: a segment with its regions and its direction. */
typedef struct hmc_piece {
  hmc_region_t *local;
  hmc_remote_t *remote; /* of any peer of the context */
  uint64_t local_offset, remote_offset, length;
  unsigned flags; /* HMC_PIECE_* */
} hmc_piece_t;

/**
 * Prepares a list of pieces between any local regions and regions of any peers of one context, puts and gets mixed, to
 * be moved as one operation by hmc_batch_start. The list is copied and checked here, once.
 *
 * Ownership: as hmc_batch_create. Never blocks.
 *
 * \param pieces The pieces.
 * \param count How many.
 * \param batch Gets the batch.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, no pieces, unknown flags, or regions of different contexts.
 * \return HMC_OUT_OF_RANGE A piece runs past one of its regions; the text names it.
 * \return HMC_NO_MEMORY
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_create_pieces(const hmc_piece_t *pieces, size_t count, hmc_batch_t **batch);

/**
 * Starts all pieces of a batch over several regions. Signal and notification go to the peer of the first piece, once
 * all pieces are complete at all peers, and only if none has failed. A batch may be started again while it is pending.
 *
 * \param batch A batch of hmc_batch_create_pieces.
 * \param options As hmc_put_nb.
 * \param request Gets the request. It is complete when all pieces are; its status is that of the first failure.
 * \return As hmc_put_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_start_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                    hmc_request_t **request);

/**
 * hmc_batch_start_nb, and waits.
 *
 * \param batch A batch of hmc_batch_create_pieces.
 * \param options As hmc_put_nb.
 * \return The status of the first failure; HMC_SUCCESS if there was none.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_start(hmc_batch_t *batch, const hmc_operation_options_t *options);

/**
 * Frees a batch. None of its requests may be pending.
 *
 * \param batch The batch; NULL is allowed.
 */
HMC_API void hmc_batch_free(hmc_batch_t *batch);

/**
 * How much one start of a batch moves. Threads: any.
 *
 * \param batch The batch.
 * \return The bytes; 0 for NULL.
 */
HMC_API uint64_t hmc_batch_size(const hmc_batch_t *batch);

/**
 * Moves all segments of a batch to the peer, and waits. A batch may be started again while it is pending.
 *
 * \param batch A batch of hmc_batch_create or hmc_batch_create_strided.
 * \return As hmc_put.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put(hmc_batch_t *batch);

/**
 * Moves all segments of a batch from the peer, and waits.
 *
 * \param batch As hmc_batch_put.
 * \return As hmc_get.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get(hmc_batch_t *batch);

/**
 * hmc_batch_put with options.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \return As hmc_put_with.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put_with(hmc_batch_t *batch, const hmc_operation_options_t *options);

/**
 * hmc_batch_get with options.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \return As hmc_get_with.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get_with(hmc_batch_t *batch, const hmc_operation_options_t *options);

/**
 * hmc_batch_put as a request, which is complete when all segments are.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \param request Gets the request.
 * \return As hmc_put_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_put_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                  hmc_request_t **request);

/**
 * hmc_batch_get as a request, which is complete when all segments are.
 *
 * \param batch As hmc_batch_put.
 * \param options As hmc_put_nb.
 * \param request Gets the request.
 * \return As hmc_get_nb.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_batch_get_nb(hmc_batch_t *batch, const hmc_operation_options_t *options,
                                                  hmc_request_t **request);

#ifdef __cplusplus
}
#endif
#endif
