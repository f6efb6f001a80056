/* The look-alike's adapters, and what tests can do to them (see adapter.h). */
#include "adapter.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

nic_t nic = {.lock = PTHREAD_MUTEX_INITIALIZER,
             .wake = PTHREAD_COND_INITIALIZER,
             .next_pair = 17,
             .faults = {.inline_most = INLINE_MOST, .devices = 1}};

/* ---- what tests can do ------------------------------------------------------------------------------------------- */

#define SET(field, value)                                                                                              \
  pthread_mutex_lock(&nic.lock);                                                                                       \
  nic.faults.field = (value);                                                                                          \
  pthread_cond_broadcast(&nic.wake);                                                                                   \
  pthread_mutex_unlock(&nic.lock)

void nic_cut_device(unsigned device, bool cut) { SET(cut[device], cut); }
void nic_cut(bool cut) {
  for (unsigned i = 0; i < NIC_DEVICES; i++) nic_cut_device(i, cut);
}
void nic_devices(unsigned devices) { SET(devices, devices); }
void nic_can_dmabuf(bool can) { SET(can_dmabuf, can); }
void nic_pause(bool pause_it) { SET(pause, pause_it); }
void nic_fail_every(unsigned n) { SET(fail_every, n); }
void nic_hold_flush(bool hold) { SET(hold_flush, hold); }
void nic_port_down_device(unsigned device, bool down) { SET(port_down[device], down); }
void nic_port_down(bool down) {
  for (unsigned i = 0; i < NIC_DEVICES; i++) nic_port_down_device(i, down);
}
void nic_refuse_memory(bool refuse) { SET(refuse_memory, refuse); }
void nic_hold_memory(uint64_t least) { SET(hold_memory, least); }
void nic_delay(unsigned microseconds) { SET(delay, microseconds); }
void nic_delay_events(unsigned microseconds) { SET(event_delay, microseconds); }
void nic_lazy_writes(bool lazy) { SET(lazy, lazy); }
void nic_in_software(bool software) { SET(hardware, !software); }
void nic_inline_most(unsigned bytes) { SET(inline_most, bytes < INLINE_MOST ? bytes : INLINE_MOST); }

void nic_land_held(void) {
  for (uint32_t i = 0; i < nic.held_count; i++) {
    memcpy(nic.held[i].to, nic.held[i].bytes, nic.held[i].size);
    free(nic.held[i].bytes);
  }
  nic.held_count = 0;
}

static void land_strays(void);

void nic_reset(void) {
  pthread_mutex_lock(&nic.lock);
  memset(&nic.faults, 0, sizeof nic.faults);
  nic.faults.inline_most = INLINE_MOST;
  nic.faults.devices = 1;
  for (unsigned i = 0; i < NIC_DEVICES; i++) nic_folder(i, "");
  nic.requests_done = 0;
  nic_land_held();
  land_strays();
  nic.counts.writes = nic.counts.reads = nic.counts.sends = nic.counts.doorbells = nic.counts.completions =
      nic.counts.events = 0;
  nic.counts.not_ready = 0;
  pthread_cond_broadcast(&nic.wake);
  pthread_mutex_unlock(&nic.lock);
}

nic_counts_t nic_counts(void) {
  pthread_mutex_lock(&nic.lock);
  nic_counts_t now = nic.counts;
  for (uint32_t number = 0; number < PAIRS; number++) {
    const pair_t *pair = nic.pairs[number];
    now.kept += pair && pair->count > 1 && pair->shown.state == IBV_QPS_ERR; /* one is what marks the end */
  }
  pthread_mutex_unlock(&nic.lock);
  return now;
}

/* ---- completions ------------------------------------------------------------------------------------------------- */

static void tell(queue_t *queue) {
  queue->armed = IDLE;
  nic.counts.events++;
  channel_t *channel = (channel_t *)(void *)queue->shown.channel;
  struct ibv_cq *shown = &queue->shown;
  ssize_t written = write(channel->write_end, &shown, sizeof shown);
  assert(written == sizeof shown);
}

static void complete(struct ibv_cq *shown, const struct ibv_wc *completion, bool solicited) {
  queue_t *queue = (queue_t *)(void *)shown;
  assert(queue->count < queue->room); /* an overflow loses the queue for good */
  queue->entries[(queue->first + queue->count++) % queue->room] = *completion;
  nic.counts.completions++;
  bool failed = completion->status != IBV_WC_SUCCESS;
  if (queue->armed == ANY || (queue->armed == SOLICITED && (solicited || failed))) tell(queue);
}

/* ---- the adapter ------------------------------------------------------------------------------------------------- */

/* Where [address, address + size) of memory registered with a device lies; NULL: no such key, range or right. */
static uint8_t *reach(const struct ibv_context *context, uint32_t key, uint64_t address, uint64_t size, int access) {
  memory_t *memory = key && key <= nic.memory_count ? nic.memories[key] : NULL;
  if (!memory || !memory->open || memory->shown.context->device != context->device ||
      (memory->access & access) != access)
    return NULL;
  if (address < memory->address || address + size > memory->address + memory->shown.length) return NULL;
  return memory->bytes + (address - memory->address);
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

static void tell_event(pair_t *pair) {
  opened_t *opened = (opened_t *)(void *)pair->shown.context;
  assert(nic.event_count < EVENTS);
  nic.events[nic.event_count++] = (event_t){opened, pair};
  ssize_t written = write(opened->write_end, "", 1);
  assert(written == 1);
}

/* The packets of a write are not lost, but late. */
static void stray(const pair_t *pair, const work_t *work) {
  const struct ibv_send_wr *request = &work->request;
  pair_t *peer = pair->peer < PAIRS ? nic.pairs[pair->peer] : NULL;
  if (request->opcode != IBV_WR_RDMA_WRITE || request->send_flags & IBV_SEND_INLINE || !peer) return;
  uint32_t size = work->piece.length;
  const uint8_t *here = reach(pair->shown.context, work->piece.lkey, work->piece.addr, size, 0);
  uint8_t *there =
      reach(peer->shown.context, request->wr.rdma.rkey, request->wr.rdma.remote_addr, size, IBV_ACCESS_REMOTE_WRITE);
  if (!here || !there) return;
  assert(nic.stray_count < LAZY);
  uint8_t *bytes = malloc(size);
  assert(bytes);
  memcpy(bytes, here, size);
  nic.strays[nic.stray_count++] = (stray_write_t){peer, {there, size, bytes}};
}

/* They arrive where the queue pair that they are for is there still. */
static void land_strays(void) {
  for (uint32_t i = 0; i < nic.stray_count; i++) {
    const stray_write_t *late = &nic.strays[i];
    bool there = false;
    for (uint32_t number = 0; number < PAIRS && !there; number++) there = nic.pairs[number] == late->pair;
    if (there && late->pair->shown.state != IBV_QPS_ERR) memcpy(late->write.to, late->write.bytes, late->write.size);
    free(late->write.bytes);
  }
  nic.stray_count = 0;
}

void nic_stray_writes(bool stray_now) {
  pthread_mutex_lock(&nic.lock);
  nic.faults.stray = stray_now;
  if (!stray_now) land_strays();
  pthread_mutex_unlock(&nic.lock);
}

/* To the error state: everything queued is flushed. */
void nic_spoil(pair_t *pair) {
  if (pair->shown.state != IBV_QPS_ERR) tell_event(pair);
  pair->shown.state = IBV_QPS_ERR;
  for (uint32_t i = 0; i < pair->count && nic.faults.stray; i++)
    stray(pair, &pair->work[(pair->first + i) % pair->made.cap.max_send_wr]);
  while (pair->count && !nic.faults.hold_flush) {
    report(pair, &pair->work[pair->first], IBV_WC_WR_FLUSH_ERR);
    drop_first(pair);
  }
}

static void store(uint8_t *to, const uint8_t *from, size_t size) {
  if (!nic.faults.lazy) {
    memcpy(to, from, size);
    return;
  }
  assert(nic.held_count < LAZY);
  uint8_t *bytes = malloc(size);
  assert(bytes);
  memcpy(bytes, from, size);
  nic.held[nic.held_count++] = (held_write_t){to, size, bytes};
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
    nic.counts.not_ready++;
    return IBV_WC_GENERAL_ERR;
  }
  struct ibv_sge piece = receives->pieces[receives->first];
  uint8_t *to = length <= piece.length
                    ? reach(peer->shown.context, piece.lkey, piece.addr, length, IBV_ACCESS_LOCAL_WRITE)
                    : NULL;
  if (!to) return IBV_WC_REM_INV_REQ_ERR;
  nic_land_held(); /* what a receive completion promises */
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
  uint8_t *here = request->send_flags & IBV_SEND_INLINE ? (uint8_t *)(uintptr_t)work->bytes
                                                        : reach(pair->shown.context, work->piece.lkey, work->piece.addr,
                                                                length, read ? IBV_ACCESS_LOCAL_WRITE : 0);
  if (!here) return IBV_WC_LOC_PROT_ERR;
  if (request->opcode == IBV_WR_SEND) {
    nic.counts.sends++;
    return deliver(peer, work, here);
  }
  uint8_t *there = reach(peer->shown.context, request->wr.rdma.rkey, request->wr.rdma.remote_addr, length,
                         read ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_WRITE);
  if (!there) {
    nic_spoil(peer);
    return IBV_WC_REM_ACCESS_ERR;
  }
  nic.counts.moved[nic_device_of(pair->shown.context)] += length;
  if (read) {
    nic.counts.reads++;
    nic_land_held();
    memcpy(here, there, length);
  } else {
    nic.counts.writes++;
    store(there, here, length);
  }
  return IBV_WC_SUCCESS;
}

/* The first work request of a pair. False: it has to wait. */
static bool step(pair_t *pair) {
  work_t *work = &pair->work[pair->first];
  pair_t *peer = pair->peer < PAIRS ? nic.pairs[pair->peer] : NULL;
  bool unlucky = nic.faults.fail_every && ++nic.requests_done % nic.faults.fail_every == 0;
  unsigned device = nic_device_of(pair->shown.context);
  bool lost = nic.faults.cut[device] || !is_connected(pair, peer),
       too_late = unlucky && nic.requests_done / nic.faults.fail_every % 2;
  enum ibv_wc_status status = IBV_WC_RETRY_EXC_ERR;
  if (!lost && (!unlucky || too_late)) status = carry_out(pair, peer, work);
  if (status == IBV_WC_GENERAL_ERR) return false;
  if (too_late && status == IBV_WC_SUCCESS) status = IBV_WC_RETRY_EXC_ERR;
  if (status == IBV_WC_SUCCESS) {
    report(pair, work, status);
    drop_first(pair);
    return true;
  }
  if (nic.faults.stray && lost) stray(pair, work);
  report(pair, work, status);
  drop_first(pair);
  nic_spoil(pair);
  return true;
}

static void *adapter(void *unused) {
  pthread_mutex_lock(&nic.lock);
  for (;;) {
    bool moved = false;
    for (uint32_t number = 0; number < PAIRS && !nic.faults.pause; number++) {
      pair_t *pair = nic.pairs[number];
      if (!pair || !pair->count || pair->shown.state != IBV_QPS_RTS) continue;
      if (nic.faults.delay) {
        unsigned delay = nic.faults.delay;
        pthread_mutex_unlock(&nic.lock);
        nanosleep(&(struct timespec){.tv_nsec = (long)delay * 1000}, NULL);
        pthread_mutex_lock(&nic.lock);
        pair = nic.pairs[number];
        if (!pair || !pair->count || pair->shown.state != IBV_QPS_RTS || nic.faults.pause) continue;
      }
      moved |= step(pair);
    }
    if (moved) { /* others want the lock, too */
      pthread_mutex_unlock(&nic.lock);
      sched_yield();
      pthread_mutex_lock(&nic.lock);
      continue;
    }
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 1000000;
    if (soon.tv_nsec >= 1000000000) soon = (struct timespec){soon.tv_sec + 1, soon.tv_nsec - 1000000000};
    pthread_cond_timedwait(&nic.wake, &nic.lock, &soon);
  }
  return unused;
}

static void start_thread(void) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, adapter, NULL) == 0) pthread_detach(thread);
}

void nic_start(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, start_thread);
}
