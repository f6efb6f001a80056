/* What the contexts of a process have counted, for programs (hmc/stats.h) and for Prometheus.
 *
 * Locking: `lock` guards the list of contexts, and keeps those in it from being destroyed; it is outer to all of a
 * context's locks. */
#include "core.h"

#include <hmc/stats.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_list_t contexts = {&contexts, &contexts};

/* The child of a fork has none of them, and nobody who would let the lock go. */
static void begin_child(void) {
  pthread_mutex_init(&lock, NULL);
  hmci_list_init(&contexts);
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, begin_child); }

void hmci_metrics_enter(hmc_context_t *context) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch_fork);
  pthread_mutex_lock(&lock);
  hmci_list_append(&contexts, &context->link);
  pthread_mutex_unlock(&lock);
}

void hmci_metrics_leave(hmc_context_t *context) {
  pthread_mutex_lock(&lock);
  hmci_list_remove(&context->link);
  pthread_mutex_unlock(&lock);
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

static uint64_t count_regions(hmc_context_t *context) {
  uint64_t count = 0;
  pthread_mutex_lock(&context->region_lock);
  for (uint32_t id = 1; id < context->region_room; id++) count += context->regions[id].region != NULL;
  pthread_mutex_unlock(&context->region_lock);
  return count;
}

/* Adds up all of a context; returns the number of connected peers. */
static uint64_t sum_context(hmc_context_t *context, hmci_stats_t *sum) {
  uint64_t connected = 0;
  pthread_mutex_lock(&context->lock);
  hmci_stats_merge(sum, context->stats);
  for (hmci_list_t *link = context->peers.next; link != &context->peers; link = link->next) {
    const hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
    hmci_stats_merge(sum, peer->stats);
    connected += !peer->first && atomic_load(&peer->connected);
  }
  pthread_mutex_unlock(&context->lock);
  return connected;
}

hmc_status_t hmc_context_get_stats(hmc_context_t *context, hmc_stats_t *stats) {
  if (!context || !stats) return hmci_fail(HMC_INVALID_CONFIG, "hmc_context_get_stats: context or stats is NULL");
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_sized_check(stats, "hmc_stats_t");
  if (status != HMC_SUCCESS) return status;
  hmci_stats_t sum;
  memset(&sum, 0, sizeof sum);
  hmc_stats_t found;
  uint64_t connected = sum_context(context, &sum);
  hmci_stats_read(&sum, &found);
  found.peers = connected;
  found.regions = count_regions(context);
  hmci_sized_write(stats, &found, sizeof found);
  return HMC_SUCCESS;
}

hmc_status_t hmc_peer_get_stats(hmc_peer_t *peer, hmc_stats_t *stats) {
  if (!peer || !stats) return hmci_fail(HMC_INVALID_CONFIG, "hmc_peer_get_stats: peer or stats is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_status_t status = hmci_sized_check(stats, "hmc_stats_t");
  if (status != HMC_SUCCESS) return status;
  hmc_stats_t found;
  hmci_stats_read(peer->stats, &found);
  found.peers = atomic_load(&peer->connected);
  hmci_sized_write(stats, &found, sizeof found);
  return HMC_SUCCESS;
}

static hmc_status_t check_latency(const void *object, hmc_latency_kind_t kind, const hmc_latency_t *latency) {
  if (!object || !latency) return hmci_fail(HMC_INVALID_CONFIG, "a latency: context, peer or latency is NULL");
  if ((unsigned)kind >= HMCI_LATENCIES)
    return hmci_fail(HMC_INVALID_CONFIG, "a latency: there is no kind %d", (int)kind);
  return hmci_sized_check(latency, "hmc_latency_t");
}

hmc_status_t hmc_context_get_latency(hmc_context_t *context, hmc_latency_kind_t kind, hmc_latency_t *latency) {
  hmc_status_t status = check_latency(context, kind, latency);
  if (status != HMC_SUCCESS) return status;
  if (hmci_context_is_foreign(context)) return HMC_UNSUPPORT;
  hmci_stats_t sum;
  memset(&sum, 0, sizeof sum);
  sum_context(context, &sum);
  hmc_latency_t found;
  hmci_latency_read(&sum, kind, &found);
  hmci_sized_write(latency, &found, sizeof found);
  return HMC_SUCCESS;
}

hmc_status_t hmc_peer_get_latency(hmc_peer_t *peer, hmc_latency_kind_t kind, hmc_latency_t *latency) {
  hmc_status_t status = check_latency(peer, kind, latency);
  if (status != HMC_SUCCESS) return status;
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  hmc_latency_t found;
  hmci_latency_read(peer->stats, kind, &found);
  hmci_sized_write(latency, &found, sizeof found);
  return HMC_SUCCESS;
}

/* ---- the text ---------------------------------------------------------------------------------------------------- */

typedef struct text {
  char *at;
  size_t size, used; /* `used` counts on past the end of the room */
} text_t;

static void HMCI_PRINTF(2, 3) append(text_t *text, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  bool room = text->at && text->used < text->size;
  int length = vsnprintf(room ? text->at + text->used : NULL, room ? text->size - text->used : 0, format, arguments);
  va_end(arguments);
  if (length > 0) text->used += (size_t)length;
}

/* The value of a label: what would end it is escaped. */
static void append_value(text_t *text, const char *value) {
  for (; *value; value++) {
    if (*value == '\n')
      append(text, "\\n");
    else
      append(text, *value == '"' || *value == '\\' ? "\\%c" : "%c", *value);
  }
}

/* One row of the table of series: what it is called, what it says, and how to get it. */
typedef struct series {
  const char *name, *type, *help, *operation;
  size_t offset; /* in hmc_stats_t */
} series_t;

#define FIELD(field) offsetof(hmc_stats_t, field)
static const series_t all[] = {
    {"hmc_operations_total", "counter", "Operations started here.", "put", FIELD(puts)},
    {"hmc_operations_total", NULL, NULL, "get", FIELD(gets)},
    {"hmc_operations_total", NULL, NULL, "atomic", FIELD(atomics)},
    {"hmc_bytes_total", "counter", "Bytes that the operations move.", "put", FIELD(put_bytes)},
    {"hmc_bytes_total", NULL, NULL, "get", FIELD(get_bytes)},
    {"hmc_failures_total", "counter", "Operations that failed.", NULL, FIELD(failures)},
    {"hmc_timeouts_total", "counter", "Operations that their deadline ended.", NULL, FIELD(timeouts)},
    {"hmc_cancellations_total", "counter", "Operations that were cancelled here.", NULL, FIELD(cancellations)},
    {"hmc_notifications_received_total", "counter", "Notifications that came.", NULL, FIELD(notifications)},
    {"hmc_peer_connected", "gauge", "1 while the peer is connected.", NULL, FIELD(peers)},
};

static void append_labels(text_t *text, const hmc_peer_t *peer, const char *operation) {
  append(text, "{context=\"");
  append_value(text, peer->context->name);
  append(text, "\",peer=\"");
  append_value(text, peer->where);
  append(text, "\",name=\"");
  append_value(text, peer->name);
  append(text, "\",route=\"%s\"", hmci_transport_text(peer->transport->ops));
  if (operation) append(text, ",operation=\"%s\"", operation);
}

static void append_series(text_t *text, const series_t *series, const hmc_peer_t *peer) {
  hmc_stats_t stats;
  hmci_stats_read(peer->stats, &stats);
  stats.peers = atomic_load(&peer->connected);
  uint64_t value;
  memcpy(&value, (const char *)&stats + series->offset, sizeof value);
  append(text, "%s", series->name);
  append_labels(text, peer, series->operation);
  append(text, "} %llu\n", (unsigned long long)value);
}

/* The buckets of a peer's latencies, each with all below it. */
static void append_latency(text_t *text, const hmc_peer_t *peer, hmc_latency_kind_t kind, const char *operation) {
  hmc_latency_t latency;
  hmci_latency_read(peer->stats, kind, &latency);
  if (!latency.count) return;
  uint64_t below = 0;
  for (int i = 0; i < HMC_LATENCY_BUCKETS; i++) {
    if (!latency.buckets[i]) continue;
    below += latency.buckets[i];
    append(text, "hmc_latency_seconds_bucket");
    append_labels(text, peer, operation);
    append(text, ",le=\"%.9g\"} %llu\n", (double)(UINT64_C(2) << i) * 1e-9, (unsigned long long)below);
  }
  append(text, "hmc_latency_seconds_bucket");
  append_labels(text, peer, operation);
  append(text, ",le=\"+Inf\"} %llu\nhmc_latency_seconds_sum", (unsigned long long)latency.count);
  append_labels(text, peer, operation);
  append(text, "} %.9g\nhmc_latency_seconds_count", (double)latency.nanoseconds * 1e-9);
  append_labels(text, peer, operation);
  append(text, "} %llu\n", (unsigned long long)latency.count);
}

typedef void visit_t(text_t *text, const hmc_peer_t *peer, const void *argument);

/* With `lock` held. */
static void each_peer(text_t *text, visit_t *visit, const void *argument) {
  for (hmci_list_t *at = contexts.next; at != &contexts; at = at->next) {
    hmc_context_t *context = HMCI_CONTAINER(at, hmc_context_t, link);
    pthread_mutex_lock(&context->lock);
    for (hmci_list_t *link = context->peers.next; link != &context->peers; link = link->next) {
      const hmc_peer_t *peer = HMCI_CONTAINER(link, hmc_peer_t, link);
      if (!peer->first) visit(text, peer, argument);
    }
    pthread_mutex_unlock(&context->lock);
  }
}

static void visit_series(text_t *text, const hmc_peer_t *peer, const void *argument) {
  append_series(text, argument, peer);
}

static void visit_latencies(text_t *text, const hmc_peer_t *peer, const void *argument) {
  (void)argument;
  append_latency(text, peer, HMC_LATENCY_PUT, "put");
  append_latency(text, peer, HMC_LATENCY_GET, "get");
  append_latency(text, peer, HMC_LATENCY_ATOMIC, "atomic");
}

static void append_contexts(text_t *text) {
  append(text, "# HELP hmc_context_peers Peers that are connected.\n# TYPE hmc_context_peers gauge\n");
  for (hmci_list_t *at = contexts.next; at != &contexts; at = at->next) {
    hmc_context_t *context = HMCI_CONTAINER(at, hmc_context_t, link);
    hmci_stats_t sum;
    memset(&sum, 0, sizeof sum);
    uint64_t connected = sum_context(context, &sum);
    append(text, "hmc_context_peers{context=\"");
    append_value(text, context->name);
    append(text, "\"} %llu\n", (unsigned long long)connected);
  }
}

hmc_status_t hmc_metrics_text(char *buffer, size_t size, size_t *needed) {
  if (!buffer && size) return hmci_fail(HMC_INVALID_CONFIG, "hmc_metrics_text: text is NULL");
  text_t text = {.at = buffer, .size = size};
  if (size) buffer[0] = '\0';
  pthread_mutex_lock(&lock);
  append_contexts(&text);
  for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
    if (all[i].type) append(&text, "# HELP %s %s\n# TYPE %s %s\n", all[i].name, all[i].help, all[i].name, all[i].type);
    each_peer(&text, visit_series, &all[i]);
  }
  append(&text, "# HELP hmc_latency_seconds How long operations took, but for those done in mapped memory.\n"
                "# TYPE hmc_latency_seconds histogram\n");
  each_peer(&text, visit_latencies, NULL);
  pthread_mutex_unlock(&lock);
  if (needed) *needed = text.used + 1;
  return HMC_SUCCESS;
}
