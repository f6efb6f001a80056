/* What the two files of the look-alike share: adapter.c plays the adapters, ibverbs.c has the entry points.
 *
 * One lock guards everything; the adapters' thread holds it while it carries out one work request. It does them in
 * order per queue pair, round robin between queue pairs, and checks what hardware checks: keys, ranges, rights, states,
 * room. */
#ifndef TESTS_RDMA_ADAPTER_H
#define TESTS_RDMA_ADAPTER_H

#include "ibverbs.h"

#include <infiniband/verbs.h>
#include <pthread.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova
#undef ibv_query_port

enum { MEMORIES = 4096, PAIRS = 1024, INLINE_MOST = 220, LAZY = 4096, EVENTS = 1024 };

typedef struct memory {
  struct ibv_mr shown; /* first */
  bool open;
  uint64_t address; /* the iova */
  int access;
  uint8_t *bytes;   /* where they are for the adapter */
  uint8_t *mapping; /* of a dma-buf, or NULL */
  size_t mapped;
} memory_t;

typedef struct queue {
  struct ibv_cq shown; /* first */
  struct ibv_wc *entries;
  uint32_t room, first, count;
  enum { IDLE, SOLICITED, ANY } armed;
} queue_t;

typedef struct channel {
  struct ibv_comp_channel shown; /* first */
  int write_end;
} channel_t;

typedef struct receives {
  struct ibv_srq shown; /* first */
  struct ibv_sge *pieces;
  uint64_t *ids;
  uint32_t room, first, count;
} receives_t;

typedef struct work {
  struct ibv_send_wr request;
  struct ibv_sge piece;
  uint8_t bytes[INLINE_MOST];
} work_t;

typedef struct pair {
  struct ibv_qp shown; /* first */
  struct ibv_qp_init_attr made;
  uint32_t peer;
  work_t *work;
  uint32_t first, count;
  uint32_t reported, acknowledged; /* its events that the program has taken, and is through with */
} pair_t;

typedef struct opened {
  struct ibv_context shown; /* first */
  int write_end;            /* of what shows its events */
} opened_t;

/* A queue pair's last receive is over: what devices say of each that fails and shares its receives. */
typedef struct event {
  opened_t *opened;
  pair_t *pair;
} event_t;

typedef struct held_write {
  uint8_t *to;
  size_t size;
  uint8_t *bytes;
} held_write_t;

/* On its way to a queue pair, though the one that sent it has failed. */
typedef struct stray_write {
  pair_t *pair;
  held_write_t write;
} stray_write_t;

typedef struct nic {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  memory_t *memories[MEMORIES]; /* by key, from 1 on; keys are not used again */
  pair_t *pairs[PAIRS];         /* by number */
  uint32_t memory_count, next_pair;
  nic_counts_t counts;
  struct {
    bool cut[NIC_DEVICES], port_down[NIC_DEVICES];
    bool pause, hold_flush, refuse_memory, can_dmabuf, lazy, hardware, stray;
    unsigned fail_every, delay, inline_most, devices, event_delay;
    uint64_t hold_memory;
  } faults;
  uint64_t requests_done;
  held_write_t held[LAZY];
  uint32_t held_count;
  stray_write_t strays[LAZY];
  uint32_t stray_count;
  event_t events[EVENTS]; /* that nobody has taken yet, the oldest first */
  uint32_t event_count;
} nic_t;
extern nic_t nic;

/* Which device; by its context. */
unsigned nic_device_of(const struct ibv_context *context);

/* With the lock held. */
void nic_land_held(void);     /* what was put is in memory now */
void nic_spoil(pair_t *pair); /* to the error state: everything queued is flushed */

void nic_start(void); /* the thread, once */

#endif
