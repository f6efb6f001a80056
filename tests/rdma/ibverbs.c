/* The look-alike (see ibverbs.h): the entry points that the verbs transport calls, and a thread that plays the
 * adapter.
 *
 * One lock guards everything; the adapter holds it while it carries out one work request. It does them in order per
 * queue pair, round robin between queue pairs, and checks what hardware checks: keys, ranges, rights, states, room. */
#include "ibverbs.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <infiniband/verbs.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#undef ibv_reg_mr
#undef ibv_reg_mr_iova
#undef ibv_query_port

enum { MEMORIES = 4096, PAIRS = 1024, INLINE_MOST = 220, LAZY = 4096, RXE = 0xffffff };

typedef struct memory {
  struct ibv_mr shown; /* first */
  bool open;
  uint64_t address; /* the iova */
  int access;
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
} pair_t;

typedef struct held_write {
  uint8_t *to;
  size_t size;
  uint8_t *bytes;
} held_write_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wake = PTHREAD_COND_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static memory_t *memories[MEMORIES]; /* by key, from 1 on; keys are not used again */
static pair_t *pairs[PAIRS];         /* by number */
static uint32_t memory_count, next_pair = 17;
static nic_counts_t counts;
static struct {
  bool cut, pause, port_down, refuse_memory, lazy, hardware;
  unsigned fail_every, delay, inline_most;
} faults = {.inline_most = INLINE_MOST};
static uint64_t requests_done;
static held_write_t held[LAZY];
static uint32_t held_count;

/* ---- what tests can do ------------------------------------------------------------------------------------------- */

#define SET(field, value)                                                                                              \
  pthread_mutex_lock(&lock);                                                                                           \
  faults.field = (value);                                                                                              \
  pthread_cond_broadcast(&wake);                                                                                       \
  pthread_mutex_unlock(&lock)

void nic_cut(bool cut) { SET(cut, cut); }
void nic_pause(bool pause_it) { SET(pause, pause_it); }
void nic_fail_every(unsigned n) { SET(fail_every, n); }
void nic_port_down(bool down) { SET(port_down, down); }
void nic_refuse_memory(bool refuse) { SET(refuse_memory, refuse); }
void nic_delay(unsigned microseconds) { SET(delay, microseconds); }
void nic_lazy_writes(bool lazy) { SET(lazy, lazy); }
void nic_in_software(bool software) { SET(hardware, !software); }
void nic_inline_most(unsigned bytes) { SET(inline_most, bytes < INLINE_MOST ? bytes : INLINE_MOST); }

static void land_held(void) {
  for (uint32_t i = 0; i < held_count; i++) {
    memcpy(held[i].to, held[i].bytes, held[i].size);
    free(held[i].bytes);
  }
  held_count = 0;
}

void nic_reset(void) {
  pthread_mutex_lock(&lock);
  memset(&faults, 0, sizeof faults);
  faults.inline_most = INLINE_MOST;
  requests_done = 0;
  land_held();
  counts.writes = counts.reads = counts.sends = counts.doorbells = counts.completions = counts.events = 0;
  counts.not_ready = 0;
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&lock);
}

nic_counts_t nic_counts(void) {
  pthread_mutex_lock(&lock);
  nic_counts_t now = counts;
  pthread_mutex_unlock(&lock);
  return now;
}

/* ---- completions ------------------------------------------------------------------------------------------------- */

static void tell(queue_t *queue) {
  queue->armed = IDLE;
  counts.events++;
  channel_t *channel = (channel_t *)(void *)queue->shown.channel;
  struct ibv_cq *shown = &queue->shown;
  ssize_t written = write(channel->write_end, &shown, sizeof shown);
  assert(written == sizeof shown);
}

static void complete(struct ibv_cq *shown, const struct ibv_wc *completion, bool solicited) {
  queue_t *queue = (queue_t *)(void *)shown;
  assert(queue->count < queue->room); /* an overflow loses the queue for good */
  queue->entries[(queue->first + queue->count++) % queue->room] = *completion;
  counts.completions++;
  bool failed = completion->status != IBV_WC_SUCCESS;
  if (queue->armed == ANY || (queue->armed == SOLICITED && (solicited || failed))) tell(queue);
}

static int poll_queue(struct ibv_cq *shown, int room, struct ibv_wc *completions) {
  queue_t *queue = (queue_t *)(void *)shown;
  int taken = 0;
  pthread_mutex_lock(&lock);
  for (; taken < room && queue->count; taken++) {
    completions[taken] = queue->entries[queue->first];
    queue->first = (queue->first + 1) % queue->room;
    queue->count--;
  }
  pthread_mutex_unlock(&lock);
  return taken;
}

static int arm_queue(struct ibv_cq *shown, int solicited_only) {
  queue_t *queue = (queue_t *)(void *)shown;
  pthread_mutex_lock(&lock);
  if (queue->armed != ANY) queue->armed = solicited_only ? SOLICITED : ANY;
  pthread_mutex_unlock(&lock);
  return 0;
}

/* ---- the adapter ------------------------------------------------------------------------------------------------- */

/* Where [address, address + size) of a registered memory lies; NULL: no such key, range or right. */
static uint8_t *reach(uint32_t key, uint64_t address, uint64_t size, int access) {
  memory_t *memory = key && key <= memory_count ? memories[key] : NULL;
  if (!memory || !memory->open || (memory->access & access) != access) return NULL;
  if (address < memory->address || address + size > memory->address + memory->shown.length) return NULL;
  return (uint8_t *)memory->shown.addr + (address - memory->address);
}

static void report(pair_t *pair, const work_t *work, enum ibv_wc_status status) {
  if (status == IBV_WC_SUCCESS && !(work->request.send_flags & IBV_SEND_SIGNALED)) return;
  struct ibv_wc completion = {.wr_id = work->request.wr_id, .status = status, .qp_num = pair->shown.qp_num};
  complete(pair->made.send_cq, &completion, false);
}

static void drop_first(pair_t *pair) {
  pair->first = (pair->first + 1) % pair->made.cap.max_send_wr;
  pair->count--;
}

/* To the error state: everything queued is flushed. */
static void spoil(pair_t *pair) {
  pair->shown.state = IBV_QPS_ERR;
  while (pair->count) {
    report(pair, &pair->work[pair->first], IBV_WC_WR_FLUSH_ERR);
    drop_first(pair);
  }
}

static void store(uint8_t *to, const uint8_t *from, size_t size) {
  if (!faults.lazy) {
    memcpy(to, from, size);
    return;
  }
  assert(held_count < LAZY);
  uint8_t *bytes = malloc(size);
  assert(bytes);
  memcpy(bytes, from, size);
  held[held_count++] = (held_write_t){to, size, bytes};
}

static bool is_connected(const pair_t *pair, const pair_t *peer) {
  return peer && (peer->shown.state == IBV_QPS_RTR || peer->shown.state == IBV_QPS_RTS) &&
         peer->peer == pair->shown.qp_num;
}

/* IBV_WC_GENERAL_ERR stands for: not now, the receiver is not ready. */
static enum ibv_wc_status deliver(pair_t *peer, const work_t *work, const uint8_t *bytes) {
  receives_t *receives = (receives_t *)(void *)peer->made.srq;
  uint32_t length = work->piece.length;
  if (!receives->count) {
    counts.not_ready++;
    return IBV_WC_GENERAL_ERR;
  }
  struct ibv_sge piece = receives->pieces[receives->first];
  uint8_t *to = length <= piece.length ? reach(piece.lkey, piece.addr, length, IBV_ACCESS_LOCAL_WRITE) : NULL;
  if (!to) return IBV_WC_REM_INV_REQ_ERR;
  land_held(); /* what a receive completion promises */
  memcpy(to, bytes, length);
  struct ibv_wc completion = {.wr_id = receives->ids[receives->first],
                              .status = IBV_WC_SUCCESS,
                              .opcode = IBV_WC_RECV,
                              .byte_len = length,
                              .qp_num = peer->shown.qp_num};
  receives->first = (receives->first + 1) % receives->room;
  receives->count--;
  complete(peer->made.recv_cq, &completion, work->request.send_flags & IBV_SEND_SOLICITED);
  return IBV_WC_SUCCESS;
}

static enum ibv_wc_status carry_out(pair_t *pair, pair_t *peer, const work_t *work) {
  const struct ibv_send_wr *request = &work->request;
  bool read = request->opcode == IBV_WR_RDMA_READ;
  uint32_t length = work->piece.length;
  uint8_t *here = request->send_flags & IBV_SEND_INLINE
                      ? (uint8_t *)(uintptr_t)work->bytes
                      : reach(work->piece.lkey, work->piece.addr, length, read ? IBV_ACCESS_LOCAL_WRITE : 0);
  (void)pair;
  if (!here) return IBV_WC_LOC_PROT_ERR;
  if (request->opcode == IBV_WR_SEND) {
    counts.sends++;
    return deliver(peer, work, here);
  }
  uint8_t *there = reach(request->wr.rdma.rkey, request->wr.rdma.remote_addr, length,
                         read ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE);
  if (!there) {
    spoil(peer);
    return IBV_WC_REM_ACCESS_ERR;
  }
  if (read) {
    counts.reads++;
    land_held();
    memcpy(here, there, length);
  } else {
    counts.writes++;
    store(there, here, length);
  }
  return IBV_WC_SUCCESS;
}

/* The first work request of a pair. False: it has to wait. */
static bool step(pair_t *pair) {
  work_t *work = &pair->work[pair->first];
  pair_t *peer = pair->peer < PAIRS ? pairs[pair->peer] : NULL;
  bool unlucky = faults.fail_every && ++requests_done % faults.fail_every == 0;
  bool lost = faults.cut || !is_connected(pair, peer), too_late = unlucky && requests_done / faults.fail_every % 2;
  enum ibv_wc_status status = IBV_WC_RETRY_EXC_ERR;
  if (!lost && (!unlucky || too_late)) status = carry_out(pair, peer, work);
  if (status == IBV_WC_GENERAL_ERR) return false;
  if (too_late && status == IBV_WC_SUCCESS) status = IBV_WC_RETRY_EXC_ERR;
  if (status == IBV_WC_SUCCESS) {
    report(pair, work, status);
    drop_first(pair);
    return true;
  }
  report(pair, work, status);
  drop_first(pair);
  spoil(pair);
  return true;
}

static void *adapter(void *unused) {
  pthread_mutex_lock(&lock);
  for (;;) {
    bool moved = false;
    for (uint32_t number = 0; number < PAIRS && !faults.pause; number++) {
      pair_t *pair = pairs[number];
      if (!pair || !pair->count || pair->shown.state != IBV_QPS_RTS) continue;
      if (faults.delay) {
        unsigned delay = faults.delay;
        pthread_mutex_unlock(&lock);
        nanosleep(&(struct timespec){.tv_nsec = (long)delay * 1000}, NULL);
        pthread_mutex_lock(&lock);
        pair = pairs[number];
        if (!pair || !pair->count || pair->shown.state != IBV_QPS_RTS || faults.pause) continue;
      }
      moved |= step(pair);
    }
    if (moved) { /* others want the lock, too */
      pthread_mutex_unlock(&lock);
      sched_yield();
      pthread_mutex_lock(&lock);
      continue;
    }
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 1000000;
    if (soon.tv_nsec >= 1000000000) soon = (struct timespec){soon.tv_sec + 1, soon.tv_nsec - 1000000000};
    pthread_cond_timedwait(&wake, &lock, &soon);
  }
  return unused;
}

static void start_adapter(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, adapter, NULL) == 0) pthread_detach(thread);
}

static int post_work(struct ibv_qp *shown, struct ibv_send_wr *request, struct ibv_send_wr **refused) {
  pair_t *pair = (pair_t *)(void *)shown;
  int error = 0;
  pthread_mutex_lock(&lock);
  counts.doorbells++;
  for (; request && !error; request = error ? request : request->next) {
    *refused = request;
    uint32_t room = pair->made.cap.max_send_wr;
    bool is_inline = request->send_flags & IBV_SEND_INLINE;
    if (shown->state != IBV_QPS_RTS && shown->state != IBV_QPS_ERR) error = EINVAL;
    if (pair->count == room) error = ENOMEM;
    if (is_inline && request->sg_list->length > pair->made.cap.max_inline_data) error = EINVAL;
    if (error) break;
    work_t *work = &pair->work[(pair->first + pair->count++) % room];
    work->request = *request;
    work->piece = request->num_sge ? *request->sg_list : (struct ibv_sge){0};
    if (is_inline) memcpy(work->bytes, (const void *)(uintptr_t)work->piece.addr, work->piece.length);
  }
  if (shown->state == IBV_QPS_ERR) spoil(pair);
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&lock);
  return error;
}

static int post_buffer(struct ibv_srq *shown, struct ibv_recv_wr *request, struct ibv_recv_wr **refused) {
  receives_t *receives = (receives_t *)(void *)shown;
  int error = 0;
  pthread_mutex_lock(&lock);
  if (receives->count == receives->room) {
    *refused = request;
    error = ENOMEM;
  } else {
    uint32_t place = (receives->first + receives->count++) % receives->room;
    receives->pieces[place] = *request->sg_list;
    receives->ids[place] = request->wr_id;
  }
  pthread_mutex_unlock(&lock);
  return error;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static struct ibv_device device = {.node_type = IBV_NODE_CA, .transport_type = IBV_TRANSPORT_IB, .name = "loop0"};

struct ibv_device **ibv_get_device_list(int *count) {
  struct ibv_device **list = calloc(2, sizeof *list);
  if (!list) return NULL;
  list[0] = &device;
  if (count) *count = 1;
  return list;
}

void ibv_free_device_list(struct ibv_device **list) { free(list); }
const char *ibv_get_device_name(struct ibv_device *shown) { return shown->name; }

static int event_ends[2] = {-1, -1}; /* nothing ever comes */

static void start(void) {
  start_adapter();
  if (pipe2(event_ends, O_CLOEXEC)) abort();
}

struct ibv_context *ibv_open_device(struct ibv_device *shown) {
  pthread_once(&once, start);
  struct ibv_context *context = calloc(1, sizeof *context);
  if (!context) return NULL;
  context->device = shown;
  context->ops.poll_cq = poll_queue;
  context->ops.req_notify_cq = arm_queue;
  context->ops.post_send = post_work;
  context->ops.post_srq_recv = post_buffer;
  context->async_fd = dup(event_ends[0]);
  return context;
}

int ibv_close_device(struct ibv_context *context) {
  close(context->async_fd);
  free(context);
  return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attributes) {
  (void)context;
  pthread_mutex_lock(&lock);
  *attributes = (struct ibv_device_attr){.vendor_id = faults.hardware ? 0x2c9 : RXE,
                                         .max_qp_rd_atom = 16,
                                         .max_qp_init_rd_atom = 16,
                                         .max_cqe = 1 << 20,
                                         .phys_port_cnt = 1};
  pthread_mutex_unlock(&lock);
  return 0;
}

int ibv_query_port(struct ibv_context *context, uint8_t number, struct _compat_ibv_port_attr *shown) {
  struct ibv_port_attr *attributes = (struct ibv_port_attr *)(void *)shown;
  (void)context;
  if (number != 1) return EINVAL;
  pthread_mutex_lock(&lock);
  attributes->state = faults.port_down ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
  pthread_mutex_unlock(&lock);
  attributes->max_mtu = attributes->active_mtu = IBV_MTU_4096;
  attributes->link_layer = IBV_LINK_LAYER_ETHERNET;
  return 0;
}

/* A link-local address first, as adapters have it. */
ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t room, uint32_t flags,
                             size_t size) {
  (void)context, (void)flags;
  assert(size == sizeof *entries && room >= 2);
  memset(entries, 0, 2 * sizeof *entries);
  for (uint32_t i = 0; i < 2; i++) {
    entries[i].gid_index = i;
    entries[i].port_num = 1;
    entries[i].gid_type = IBV_GID_TYPE_ROCE_V2;
  }
  inet_pton(AF_INET6, "fe80::1", entries[0].gid.raw);
  inet_pton(AF_INET6, "::ffff:127.0.0.1", entries[1].gid.raw);
  return 2;
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event) {
  char byte;
  (void)event;
  return read(context->async_fd, &byte, 1) == 1 ? 0 : -1;
}

void ibv_ack_async_event(struct ibv_async_event *event) { (void)event; }
const char *ibv_event_type_str(enum ibv_event_type type) { return type == IBV_EVENT_DEVICE_FATAL ? "fatal" : "event"; }
const char *ibv_wc_status_str(enum ibv_wc_status status) { return status == IBV_WC_SUCCESS ? "success" : "failure"; }

/* ---- memory ------------------------------------------------------------------------------------------------------ */

struct ibv_pd *ibv_alloc_pd(struct ibv_context *context) {
  struct ibv_pd *domain = calloc(1, sizeof *domain);
  if (domain) domain->context = context;
  return domain;
}

int ibv_dealloc_pd(struct ibv_pd *domain) {
  free(domain);
  return 0;
}

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *domain, void *base, size_t size, uint64_t address, int access) {
  memory_t *memory = NULL;
  pthread_mutex_lock(&lock);
  if (faults.refuse_memory || memory_count + 1 >= MEMORIES) {
    errno = ENOMEM;
  } else if ((memory = calloc(1, sizeof *memory))) {
    uint32_t key = ++memory_count;
    *memory = (memory_t){
        .shown = {.context = domain->context, .pd = domain, .addr = base, .length = size, .lkey = key, .rkey = key},
        .open = true,
        .address = address,
        .access = access};
    memories[key] = memory;
    counts.memories++;
    counts.registered += size;
  }
  pthread_mutex_unlock(&lock);
  return memory ? &memory->shown : NULL;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *domain, void *base, size_t size, uint64_t address, unsigned access) {
  return ibv_reg_mr_iova(domain, base, size, address, (int)access);
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *domain, void *base, size_t size, int access) {
  return ibv_reg_mr_iova(domain, base, size, (uintptr_t)base, access);
}

int ibv_dereg_mr(struct ibv_mr *shown) {
  memory_t *memory = (memory_t *)(void *)shown;
  pthread_mutex_lock(&lock);
  land_held();
  memories[memory->shown.rkey] = NULL;
  counts.memories--;
  counts.registered -= memory->shown.length;
  pthread_mutex_unlock(&lock);
  free(memory);
  return 0;
}

/* ---- queues ------------------------------------------------------------------------------------------------------ */

struct ibv_comp_channel *ibv_create_comp_channel(struct ibv_context *context) {
  channel_t *channel = calloc(1, sizeof *channel);
  int ends[2];
  if (!channel || pipe2(ends, O_CLOEXEC)) {
    free(channel);
    return NULL;
  }
  channel->shown.context = context;
  channel->shown.fd = ends[0];
  channel->write_end = ends[1];
  return &channel->shown;
}

int ibv_destroy_comp_channel(struct ibv_comp_channel *shown) {
  channel_t *channel = (channel_t *)(void *)shown;
  close(channel->shown.fd);
  close(channel->write_end);
  free(channel);
  return 0;
}

int ibv_get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **queue, void **context) {
  if (read(channel->fd, queue, sizeof *queue) != sizeof *queue) return -1;
  *context = (*queue)->cq_context;
  return 0;
}

void ibv_ack_cq_events(struct ibv_cq *queue, unsigned count) { (void)queue, (void)count; }

struct ibv_cq *ibv_create_cq(struct ibv_context *context, int room, void *user, struct ibv_comp_channel *channel,
                             int vector) {
  queue_t *queue = calloc(1, sizeof *queue);
  (void)vector;
  if (!queue) return NULL;
  queue->shown = (struct ibv_cq){.context = context, .channel = channel, .cq_context = user, .cqe = room};
  queue->room = (uint32_t)room;
  queue->entries = calloc((size_t)room, sizeof *queue->entries);
  return &queue->shown;
}

int ibv_resize_cq(struct ibv_cq *shown, int room) {
  queue_t *queue = (queue_t *)(void *)shown;
  struct ibv_wc *entries = calloc((size_t)room, sizeof *entries);
  if (!entries) return ENOMEM;
  pthread_mutex_lock(&lock);
  for (uint32_t i = 0; i < queue->count; i++) entries[i] = queue->entries[(queue->first + i) % queue->room];
  free(queue->entries);
  queue->entries = entries;
  queue->room = (uint32_t)room;
  queue->first = 0;
  pthread_mutex_unlock(&lock);
  return 0;
}

int ibv_destroy_cq(struct ibv_cq *shown) {
  queue_t *queue = (queue_t *)(void *)shown;
  free(queue->entries);
  free(queue);
  return 0;
}

struct ibv_srq *ibv_create_srq(struct ibv_pd *domain, struct ibv_srq_init_attr *wanted) {
  receives_t *receives = calloc(1, sizeof *receives);
  if (!receives) return NULL;
  receives->shown.context = domain->context;
  receives->room = wanted->attr.max_wr;
  receives->pieces = calloc(receives->room, sizeof *receives->pieces);
  receives->ids = calloc(receives->room, sizeof *receives->ids);
  return &receives->shown;
}

int ibv_destroy_srq(struct ibv_srq *shown) {
  receives_t *receives = (receives_t *)(void *)shown;
  free(receives->pieces);
  free(receives->ids);
  free(receives);
  return 0;
}

/* ---- queue pairs ------------------------------------------------------------------------------------------------- */

struct ibv_qp *ibv_create_qp(struct ibv_pd *domain, struct ibv_qp_init_attr *wanted) {
  pair_t *pair = NULL;
  pthread_mutex_lock(&lock);
  if (wanted->cap.max_inline_data > faults.inline_most) {
    errno = EINVAL;
    goto out;
  }
  uint32_t tries = 0;
  while (pairs[next_pair] && tries++ < PAIRS) next_pair = (next_pair + 1) % PAIRS;
  pair = pairs[next_pair] ? NULL : calloc(1, sizeof *pair);
  if (!pair) {
    errno = ENOMEM;
    goto out;
  }
  pair->made = *wanted;
  pair->work = calloc(wanted->cap.max_send_wr, sizeof *pair->work);
  pair->shown = (struct ibv_qp){.context = domain->context, .pd = domain, .qp_num = next_pair, .state = IBV_QPS_RESET};
  pair->peer = UINT32_MAX;
  pairs[next_pair] = pair;
  next_pair = (next_pair + 1) % PAIRS;
  counts.queue_pairs++;
out:
  pthread_mutex_unlock(&lock);
  return pair ? &pair->shown : NULL;
}

int ibv_modify_qp(struct ibv_qp *shown, struct ibv_qp_attr *wanted, int mask) {
  pair_t *pair = (pair_t *)(void *)shown;
  int error = 0;
  pthread_mutex_lock(&lock);
  if (wanted->qp_state == IBV_QPS_RTR && faults.port_down) error = ENETUNREACH;
  if (!error && mask & IBV_QP_DEST_QPN) pair->peer = wanted->dest_qp_num;
  if (!error && mask & IBV_QP_STATE) shown->state = wanted->qp_state;
  if (!error && shown->state == IBV_QPS_ERR) spoil(pair);
  pthread_cond_broadcast(&wake);
  pthread_mutex_unlock(&lock);
  return error;
}

int ibv_destroy_qp(struct ibv_qp *shown) {
  pair_t *pair = (pair_t *)(void *)shown;
  pthread_mutex_lock(&lock);
  pairs[shown->qp_num] = NULL;
  counts.queue_pairs--;
  pthread_mutex_unlock(&lock);
  free(pair->work);
  free(pair);
  return 0;
}
