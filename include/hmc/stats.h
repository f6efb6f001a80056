/* What a context has moved: counters and latencies, per peer and in all.
 *
 * Counting never waits and takes no lock: a put of 8 bytes to a mapped peer pays one addition for it. Counters only
 * grow, and each is right in itself; those read together may be some operations apart. Where many threads use one peer,
 * a counter of mapped puts may miss a few.
 *
 * With HMC_METRICS a process shows the same to Prometheus and hmc-top; with HMC_RECORDER it keeps its last events in a
 * file that outlives it, for hmc-info --recorder. */
#ifndef HMC_STATS_H
#define HMC_STATS_H

#include <hmc/context.h>
#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hmc_stats {
  size_t size;   /* sizeof(hmc_stats_t); the caller sets it */
  uint64_t puts; /* started from here, batches counted as one; bytes likewise */
  uint64_t put_bytes;
  uint64_t gets;
  uint64_t get_bytes;
  uint64_t atomics;       /* signals not among them */
  uint64_t failures;      /* operations that did not end with HMC_SUCCESS, except those below */
  uint64_t timeouts;      /* ended by their deadline */
  uint64_t cancellations; /* ended by hmc_request_cancel, or because peer, region or context were closed here */
  uint64_t notifications; /* that came from there */
  uint64_t peers;         /* connected now; of a peer: 1 or 0 */
  uint64_t peers_lost;    /* gone without having been closed here */
  uint64_t regions;       /* of a context: that its peers may reach now */
} hmc_stats_t;
#define HMC_STATS_INIT HMC_SIZED_INIT(hmc_stats_t)

/**
 * The counters of a context: of the peers that it has and had. Threads: any. Never blocks.
 *
 * \param context The context.
 * \param stats Gets the counters; begin with HMC_STATS_INIT.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, or `stats` has no size.
 * \return HMC_UNSUPPORT This is a forked child.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_get_stats(hmc_context_t *context, hmc_stats_t *stats);

/**
 * The counters of a peer. Threads: any. Never blocks.
 *
 * \param peer The peer.
 * \param stats As hmc_context_get_stats.
 * \return As hmc_context_get_stats.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_get_stats(hmc_peer_t *peer, hmc_stats_t *stats);

typedef enum hmc_latency_kind {
  HMC_LATENCY_PUT = 0,
  HMC_LATENCY_GET = 1,
  HMC_LATENCY_ATOMIC = 2,
} hmc_latency_kind_t;

enum { HMC_LATENCY_BUCKETS = 48 };

/* How long operations took, from the call that starts them to their completion. Those that the calling thread does by
 * itself in mapped memory are counted above and not timed: reading the clock would cost more than they do. The same
 * goes for operations of queues. */
typedef struct hmc_latency {
  size_t size;                           /* sizeof(hmc_latency_t); the caller sets it */
  uint64_t count;                        /* operations that were timed */
  uint64_t nanoseconds;                  /* of all of them together */
  uint64_t longest;                      /* nanoseconds */
  uint64_t buckets[HMC_LATENCY_BUCKETS]; /* [i]: those of at least 2^i and less than 2^(i+1) nanoseconds; [0]: also 0 */
} hmc_latency_t;
#define HMC_LATENCY_INIT HMC_SIZED_INIT(hmc_latency_t)

/**
 * The latencies of a kind of operation, of all peers that a context has and had. Threads: any. Never blocks.
 *
 * \param context The context.
 * \param kind The kind.
 * \param latency Gets the latencies; begin with HMC_LATENCY_INIT.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL, an unknown kind, or `latency` has no size.
 * \return HMC_UNSUPPORT This is a forked child.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_context_get_latency(hmc_context_t *context, hmc_latency_kind_t kind,
                                                         hmc_latency_t *latency);

/**
 * The latencies of a kind of operation, of one peer. Threads: any. Never blocks.
 *
 * \param peer The peer.
 * \param kind As hmc_context_get_latency.
 * \param latency As hmc_context_get_latency.
 * \return As hmc_context_get_latency.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_peer_get_latency(hmc_peer_t *peer, hmc_latency_kind_t kind,
                                                      hmc_latency_t *latency);

/**
 * The time below which a share of the timed operations stayed, to within its bucket. Pure.
 *
 * \param latency The latencies.
 * \param share The share: 0.5 for the median, 0.99.
 * \return Nanoseconds; 0 where there are no timed operations.
 */
HMC_API uint64_t hmc_latency_quantile(const hmc_latency_t *latency, double share);

/**
 * The counters of all contexts of this process, as Prometheus reads them (text format 0.0.4), with the labels context,
 * peer, route and operation. Threads: any.
 *
 * \param text Gets the text with its end, cut where it is longer than `size`; NULL with size 0 asks for the size only.
 * \param size The size of `text` in bytes.
 * \param needed Gets the size of the whole text; may be NULL.
 * \return HMC_SUCCESS
 * \return HMC_INVALID_CONFIG NULL with a size.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_metrics_text(char *text, size_t size, size_t *needed);

#ifdef __cplusplus
}
#endif
#endif
