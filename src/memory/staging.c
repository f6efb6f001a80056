/* The staging pool, and how large its buffers should be (see staging.h). */
#include "staging.h"

#include <stdlib.h>

enum { PAGE = 4096, SMALL = 4 << 10, LARGE = 256 << 10, ROUNDS = 3, DEVICES = 64, KINDS = 16, OVERHEAD_SHARE = 16 };

void hmci_staging_open(hmci_staging_t *staging, uint64_t limit) {
  *staging = (hmci_staging_t){.limit = limit};
  pthread_mutex_init(&staging->lock, NULL);
}

/* The page before each buffer: how it was made. */
typedef struct head {
  void *whole;
  const hmci_memory_ops_t *ops; /* whose pinned memory it is; NULL: plain */
  int device;
} head_t;

static head_t *head_of(void *buffer) { return (head_t *)(void *)((char *)buffer - PAGE); }

void hmci_staging_pin_for(hmci_staging_t *staging, const hmci_memory_ops_t *ops, int device) {
  if (!ops->host_allocate || !ops->host_free) return;
  pthread_mutex_lock(&staging->lock);
  if (!staging->ops) {
    staging->ops = ops;
    staging->device = device;
  }
  pthread_mutex_unlock(&staging->lock);
}

/* Plain memory does where pinned is not to be had: a device copies it, only slower. The caller holds the lock. */
static void *make_buffer(const hmci_staging_t *staging, uint64_t size) {
  uint64_t whole = (size + PAGE - 1) / PAGE * PAGE + PAGE;
  void *made = NULL;
  const hmci_memory_ops_t *ops = staging->ops;
  if (ops && ops->host_allocate(staging->device, whole, &made) != HMC_SUCCESS) {
    hmci_log(HMC_LOG_INFO, "staging buffers are not pinned: %s", hmc_last_error());
    ops = NULL;
  }
  if (!ops) made = aligned_alloc(PAGE, whole);
  if (!made) return NULL;
  void *buffer = (char *)made + PAGE;
  *head_of(buffer) = (head_t){made, ops, staging->device};
  return buffer;
}

static void free_buffer(void *buffer) {
  head_t head = *head_of(buffer);
  if (head.ops) {
    head.ops->host_free(head.device, head.whole);
  } else {
    free(head.whole);
  }
}

/* Frees the newest kept buffer. */
static void drop_kept(hmci_staging_t *staging) {
  staging->kept--;
  staging->allocated -= staging->keep[staging->kept].size;
  free_buffer(staging->keep[staging->kept].buffer);
}

void hmci_staging_close(hmci_staging_t *staging) {
  while (staging->kept) drop_kept(staging);
  pthread_mutex_destroy(&staging->lock);
}

/* A kept buffer of that size, or NULL. */
static void *take_kept(hmci_staging_t *staging, uint64_t size) {
  for (uint32_t i = staging->kept; i-- > 0;) {
    if (staging->keep[i].size != size) continue;
    void *buffer = staging->keep[i].buffer;
    staging->keep[i] = staging->keep[--staging->kept];
    return buffer;
  }
  return NULL;
}

void *hmci_staging_take(hmci_staging_t *staging, uint64_t size) {
  pthread_mutex_lock(&staging->lock);
  void *buffer = take_kept(staging, size);
  if (!buffer) {
    while (staging->kept && staging->allocated + size > staging->limit) drop_kept(staging);
    bool room = size <= staging->limit && staging->allocated <= staging->limit - size;
    buffer = room ? make_buffer(staging, size) : NULL;
    if (buffer) staging->allocated += size;
  }
  pthread_mutex_unlock(&staging->lock);
  return buffer;
}

void hmci_staging_give(hmci_staging_t *staging, void *buffer, uint64_t size) {
  if (!buffer) return;
  pthread_mutex_lock(&staging->lock);
  if (staging->kept < HMCI_STAGING_KEPT) {
    staging->keep[staging->kept].buffer = buffer;
    staging->keep[staging->kept].size = size;
    staging->kept++;
  } else {
    staging->allocated -= size;
    free_buffer(buffer);
  }
  pthread_mutex_unlock(&staging->lock);
}

/* ---- speed ------------------------------------------------------------------------------------------------------- */

static pthread_mutex_t measure_lock = PTHREAD_MUTEX_INITIALIZER;
static hmci_copy_speed_t known[KINDS][DEVICES]; /* measure_lock; rate 0: not yet */

/* The best of a few copies to the host. */
static hmc_status_t time_copy(const hmci_memory_ops_t *ops, int device, void *host, const void *there, size_t size,
                              uint64_t *best) {
  *best = UINT64_MAX;
  for (int i = 0; i < ROUNDS; i++) {
    uint64_t start = hmci_now();
    hmc_status_t status = ops->copy_to_host(device, host, there, size);
    if (status != HMC_SUCCESS) return status;
    uint64_t time = hmci_now() - start;
    if (time < *best) *best = time;
  }
  return HMC_SUCCESS;
}

static hmc_status_t measure(const hmci_memory_ops_t *ops, int device, hmci_copy_speed_t *speed) {
  void *there, *host = malloc(LARGE);
  if (!host) return hmci_fail(HMC_NO_MEMORY, "no memory to measure a device");
  hmc_status_t status = ops->allocate(device, LARGE, &there);
  if (status != HMC_SUCCESS) goto out_host;
  uint64_t small, large;
  status = time_copy(ops, device, host, there, SMALL, &small);
  if (status == HMC_SUCCESS) status = time_copy(ops, device, host, there, LARGE, &large);
  if (status == HMC_SUCCESS) {
    uint64_t bytes_time = large > small ? large - small : 1;
    speed->rate = (uint64_t)((double)(LARGE - SMALL) * 1e9 / (double)bytes_time);
    uint64_t small_time = (uint64_t)((double)SMALL * 1e9 / (double)speed->rate);
    speed->latency = small > small_time ? small - small_time : 0;
  }
  ops->free(device, there);
out_host:
  free(host);
  return status;
}

hmc_status_t hmci_copy_speed_measure(hmc_memory_t memory, hmci_copy_speed_t *speed) {
  const hmci_memory_ops_t *ops;
  hmc_status_t status = hmci_memory_find(memory, &ops);
  if (status != HMC_SUCCESS) return status;
  bool kept = (unsigned)memory.kind < KINDS && (unsigned)memory.device < DEVICES;
  pthread_mutex_lock(&measure_lock);
  if (kept && known[memory.kind][memory.device].rate) {
    *speed = known[memory.kind][memory.device];
  } else {
    status = measure(ops, memory.device, speed);
    if (kept && status == HMC_SUCCESS) known[memory.kind][memory.device] = *speed;
  }
  pthread_mutex_unlock(&measure_lock);
  return status;
}

uint64_t hmci_chunk_size(const hmci_copy_speed_t *speed) {
  double wanted = (double)speed->latency * OVERHEAD_SHARE * (double)speed->rate / 1e9;
  uint64_t chunk = HMCI_CHUNK_LEAST;
  while (chunk < HMCI_CHUNK_MOST && (double)chunk < wanted) chunk *= 2;
  return chunk;
}
