/* The look-alike's entry points: those that the verbs transport calls (see adapter.h). */
#include "adapter.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

enum { RXE = 0xffffff };

/* ---- queues, as adapters' drivers play them ---------------------------------------------------------------------- */

static int poll_queue(struct ibv_cq *shown, int room, struct ibv_wc *completions) {
  queue_t *queue = (queue_t *)(void *)shown;
  int taken = 0;
  pthread_mutex_lock(&nic.lock);
  for (; taken < room && queue->count; taken++) {
    completions[taken] = queue->entries[queue->first];
    queue->first = (queue->first + 1) % queue->room;
    queue->count--;
  }
  pthread_mutex_unlock(&nic.lock);
  return taken;
}

static int arm_queue(struct ibv_cq *shown, int solicited_only) {
  queue_t *queue = (queue_t *)(void *)shown;
  pthread_mutex_lock(&nic.lock);
  if (queue->armed != ANY) queue->armed = solicited_only ? SOLICITED : ANY;
  pthread_mutex_unlock(&nic.lock);
  return 0;
}

static int post_work(struct ibv_qp *shown, struct ibv_send_wr *request, struct ibv_send_wr **refused) {
  pair_t *pair = (pair_t *)(void *)shown;
  int error = 0;
  pthread_mutex_lock(&nic.lock);
  nic.counts.doorbells++;
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
    const void *from = (const void *)(uintptr_t)work->piece.addr;
    if (is_inline && from) memcpy(work->bytes, from, work->piece.length);
  }
  if (shown->state == IBV_QPS_ERR) nic_spoil(pair);
  pthread_cond_broadcast(&nic.wake);
  pthread_mutex_unlock(&nic.lock);
  return error;
}

static int post_buffer(struct ibv_srq *shown, struct ibv_recv_wr *request, struct ibv_recv_wr **refused) {
  receives_t *receives = (receives_t *)(void *)shown;
  int error = 0;
  pthread_mutex_lock(&nic.lock);
  if (receives->count == receives->room) {
    *refused = request;
    error = ENOMEM;
  } else {
    uint32_t place = (receives->first + receives->count++) % receives->room;
    receives->pieces[place] = *request->sg_list;
    receives->ids[place] = request->wr_id;
  }
  pthread_mutex_unlock(&nic.lock);
  return error;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

static struct ibv_device devices[NIC_DEVICES] = {
    {.node_type = IBV_NODE_CA, .transport_type = IBV_TRANSPORT_IB, .name = "loop0"},
    {.node_type = IBV_NODE_CA, .transport_type = IBV_TRANSPORT_IB, .name = "loop1"},
};

void nic_folder(unsigned device, const char *path) {
  snprintf(devices[device].ibdev_path, sizeof devices[device].ibdev_path, "%s", path);
}

unsigned nic_device_of(const struct ibv_context *context) { return (unsigned)(context->device - devices); }

struct ibv_device **ibv_get_device_list(int *count) {
  struct ibv_device **list = calloc(NIC_DEVICES + 1, sizeof *list);
  if (!list) return NULL;
  pthread_mutex_lock(&nic.lock);
  for (unsigned i = 0; i < nic.faults.devices; i++) list[i] = &devices[i];
  if (count) *count = (int)nic.faults.devices;
  pthread_mutex_unlock(&nic.lock);
  return list;
}

void ibv_free_device_list(struct ibv_device **list) { free(list); }
const char *ibv_get_device_name(struct ibv_device *shown) { return shown->name; }

struct ibv_context *ibv_open_device(struct ibv_device *shown) {
  nic_start();
  opened_t *opened = calloc(1, sizeof *opened);
  int ends[2];
  if (!opened || pipe2(ends, O_CLOEXEC)) {
    free(opened);
    return NULL;
  }
  struct ibv_context *context = &opened->shown;
  context->device = shown;
  context->ops.poll_cq = poll_queue;
  context->ops.req_notify_cq = arm_queue;
  context->ops.post_send = post_work;
  context->ops.post_srq_recv = post_buffer;
  context->async_fd = ends[0];
  opened->write_end = ends[1];
  return context;
}

int ibv_close_device(struct ibv_context *context) {
  opened_t *opened = (opened_t *)(void *)context;
  close(context->async_fd);
  close(opened->write_end);
  free(opened);
  return 0;
}

int ibv_query_device(struct ibv_context *context, struct ibv_device_attr *attributes) {
  (void)context;
  pthread_mutex_lock(&nic.lock);
  *attributes = (struct ibv_device_attr){.vendor_id = nic.faults.hardware ? 0x2c9 : RXE,
                                         .max_qp_rd_atom = 16,
                                         .max_qp_init_rd_atom = 16,
                                         .max_cqe = 1 << 20,
                                         .phys_port_cnt = 1};
  pthread_mutex_unlock(&nic.lock);
  return 0;
}

int ibv_query_port(struct ibv_context *context, uint8_t number, struct _compat_ibv_port_attr *shown) {
  struct ibv_port_attr *attributes = (struct ibv_port_attr *)(void *)shown;
  if (number != 1) return EINVAL;
  pthread_mutex_lock(&nic.lock);
  attributes->state = nic.faults.port_down[nic_device_of(context)] ? IBV_PORT_DOWN : IBV_PORT_ACTIVE;
  pthread_mutex_unlock(&nic.lock);
  attributes->max_mtu = attributes->active_mtu = IBV_MTU_4096;
  attributes->link_layer = IBV_LINK_LAYER_ETHERNET;
  return 0;
}

/* A link-local address first, as adapters have it. */
ssize_t _ibv_query_gid_table(struct ibv_context *context, struct ibv_gid_entry *entries, size_t room, uint32_t flags,
                             size_t size) {
  char link_local[] = "fe80::1", routed[] = "::ffff:127.0.0.1";
  link_local[sizeof link_local - 2] = routed[sizeof routed - 2] = (char)('1' + nic_device_of(context));
  (void)flags;
  assert(size == sizeof *entries && room >= 2);
  memset(entries, 0, 2 * sizeof *entries);
  for (uint32_t i = 0; i < 2; i++) {
    entries[i].gid_index = i;
    entries[i].port_num = 1;
    entries[i].gid_type = IBV_GID_TYPE_ROCE_V2;
  }
  inet_pton(AF_INET6, link_local, entries[0].gid.raw);
  inet_pton(AF_INET6, routed, entries[1].gid.raw);
  return 2;
}

/* Takes those out that fit, or the first of them; NULL: there is none. With the lock held. */
static pair_t *take_events(const opened_t *opened, const pair_t *of, bool all) {
  pair_t *taken = NULL;
  uint32_t kept = 0;
  for (uint32_t i = 0; i < nic.event_count; i++) {
    event_t event = nic.events[i];
    bool fits = event.opened == opened && (!of || event.pair == of) && (all || !taken);
    if (fits && !taken) taken = event.pair;
    if (!fits) nic.events[kept++] = event;
  }
  nic.event_count = kept;
  return taken;
}

int ibv_get_async_event(struct ibv_context *context, struct ibv_async_event *event) {
  char byte;
  if (read(context->async_fd, &byte, 1) != 1) return -1;
  pthread_mutex_lock(&nic.lock);
  pair_t *pair = take_events((opened_t *)(void *)context, NULL, false);
  if (pair) pair->reported++;
  unsigned delay = nic.faults.event_delay;
  pthread_mutex_unlock(&nic.lock);
  if (!pair) return -1; /* it went with its queue pair */
  event->event_type = IBV_EVENT_QP_LAST_WQE_REACHED;
  event->element.qp = &pair->shown;
  if (delay) usleep(delay);
  return 0;
}

void ibv_ack_async_event(struct ibv_async_event *event) {
  pair_t *pair = (pair_t *)(void *)event->element.qp;
  pthread_mutex_lock(&nic.lock);
  pair->acknowledged++;
  pthread_cond_broadcast(&nic.wake);
  pthread_mutex_unlock(&nic.lock);
}

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

/* `bytes`: where the memory is for the adapter. */
static struct ibv_mr *add_memory(struct ibv_pd *domain, void *base, size_t size, uint64_t address, int access,
                                 uint8_t *bytes) {
  memory_t *memory = NULL;
  pthread_mutex_lock(&nic.lock);
  nic.counts.waiting++;
  while (nic.faults.hold_memory && size >= nic.faults.hold_memory) pthread_cond_wait(&nic.wake, &nic.lock);
  nic.counts.waiting--;
  if (nic.faults.refuse_memory || nic.memory_count + 1 >= MEMORIES) {
    errno = ENOMEM;
  } else if ((memory = calloc(1, sizeof *memory))) {
    uint32_t key = ++nic.memory_count;
    *memory = (memory_t){
        .shown = {.context = domain->context, .pd = domain, .addr = base, .length = size, .lkey = key, .rkey = key},
        .open = true,
        .address = address,
        .access = access,
        .bytes = bytes};
    nic.memories[key] = memory;
    nic.counts.memories++;
    nic.counts.registered += size;
  }
  pthread_mutex_unlock(&nic.lock);
  return memory ? &memory->shown : NULL;
}

/* As the kernel: memory that a processor does not reach is refused. */
struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *domain, void *base, size_t size, uint64_t address, int access) {
  struct iovec here = {&(char){0}, 1}, there = {base, 1};
  if (process_vm_readv(getpid(), &here, 1, &there, 1, 0) < 0 && errno == EFAULT) return NULL;
  return add_memory(domain, base, size, address, access, base);
}

struct ibv_mr *ibv_reg_dmabuf_mr(struct ibv_pd *domain, uint64_t offset, size_t size, uint64_t address, int descriptor,
                                 int access) {
  uint64_t inside = offset % (uint64_t)sysconf(_SC_PAGESIZE);
  if (!nic.faults.can_dmabuf || inside != address % (uint64_t)sysconf(_SC_PAGESIZE)) {
    errno = nic.faults.can_dmabuf ? EINVAL : EOPNOTSUPP;
    return NULL;
  }
  uint8_t *mapping =
      mmap(NULL, size + inside, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, (off_t)(offset - inside));
  if (mapping == MAP_FAILED) return NULL;
  struct ibv_mr *shown = add_memory(domain, NULL, size, address, access, mapping + inside);
  if (!shown) {
    munmap(mapping, size + inside);
    return NULL;
  }
  memory_t *memory = (memory_t *)(void *)shown;
  memory->mapping = mapping;
  memory->mapped = size + inside;
  pthread_mutex_lock(&nic.lock);
  nic.counts.dmabufs++;
  pthread_mutex_unlock(&nic.lock);
  return shown;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *domain, void *base, size_t size, uint64_t address, unsigned access) {
  return ibv_reg_mr_iova(domain, base, size, address, (int)access);
}

struct ibv_mr *ibv_reg_mr(struct ibv_pd *domain, void *base, size_t size, int access) {
  return ibv_reg_mr_iova(domain, base, size, (uintptr_t)base, access);
}

int ibv_dereg_mr(struct ibv_mr *shown) {
  memory_t *memory = (memory_t *)(void *)shown;
  pthread_mutex_lock(&nic.lock);
  nic_land_held();
  nic.memories[memory->shown.rkey] = NULL;
  nic.counts.memories--;
  nic.counts.registered -= memory->shown.length;
  if (memory->mapping) nic.counts.dmabufs--;
  pthread_mutex_unlock(&nic.lock);
  if (memory->mapping) munmap(memory->mapping, memory->mapped);
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
  pthread_mutex_lock(&nic.lock);
  for (uint32_t i = 0; i < queue->count; i++) entries[i] = queue->entries[(queue->first + i) % queue->room];
  free(queue->entries);
  queue->entries = entries;
  queue->room = (uint32_t)room;
  queue->first = 0;
  pthread_mutex_unlock(&nic.lock);
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
  pthread_mutex_lock(&nic.lock);
  if (wanted->cap.max_inline_data > nic.faults.inline_most) {
    errno = EINVAL;
    goto out;
  }
  uint32_t tries = 0;
  while (nic.pairs[nic.next_pair] && tries++ < PAIRS) nic.next_pair = (nic.next_pair + 1) % PAIRS;
  pair = nic.pairs[nic.next_pair] ? NULL : calloc(1, sizeof *pair);
  if (!pair) {
    errno = ENOMEM;
    goto out;
  }
  pair->made = *wanted;
  pair->work = calloc(wanted->cap.max_send_wr, sizeof *pair->work);
  pair->shown =
      (struct ibv_qp){.context = domain->context, .pd = domain, .qp_num = nic.next_pair, .state = IBV_QPS_RESET};
  pair->peer = UINT32_MAX;
  nic.pairs[nic.next_pair] = pair;
  nic.next_pair = (nic.next_pair + 1) % PAIRS;
  nic.counts.queue_pairs++;
out:
  pthread_mutex_unlock(&nic.lock);
  return pair ? &pair->shown : NULL;
}

int ibv_modify_qp(struct ibv_qp *shown, struct ibv_qp_attr *wanted, int mask) {
  pair_t *pair = (pair_t *)(void *)shown;
  int error = 0;
  pthread_mutex_lock(&nic.lock);
  if (wanted->qp_state == IBV_QPS_RTR && nic.faults.port_down[nic_device_of(shown->context)]) error = ENETUNREACH;
  if (!error && mask & IBV_QP_DEST_QPN) pair->peer = wanted->dest_qp_num;
  bool fails = mask & IBV_QP_STATE && wanted->qp_state == IBV_QPS_ERR;
  if (!error && fails) nic_spoil(pair);
  if (!error && mask & IBV_QP_STATE) shown->state = wanted->qp_state;
  pthread_cond_broadcast(&nic.wake);
  pthread_mutex_unlock(&nic.lock);
  return error;
}

/* As the real one: not before its events that were taken are acknowledged. */
int ibv_destroy_qp(struct ibv_qp *shown) {
  pair_t *pair = (pair_t *)(void *)shown;
  pthread_mutex_lock(&nic.lock);
  nic.pairs[shown->qp_num] = NULL;
  nic.counts.queue_pairs--;
  take_events((opened_t *)(void *)shown->context, pair, true);
  while (pair->acknowledged != pair->reported) pthread_cond_wait(&nic.wake, &nic.lock);
  pthread_mutex_unlock(&nic.lock);
  free(pair->work);
  free(pair);
  return 0;
}
