/* Devices: finding them and their GIDs, and what connections on one share. */
#include "device.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
  FIRST_COMPLETIONS = 8 * VERBS_SEND_QUEUE,
  FLUSH_SIZE = 64,
  GIDS = 256,
  /* How Soft-RoCE and Soft-iWARP call themselves. */
  VENDOR_RXE = 0xffffff,
  VENDOR_SIW = 0x626d74,
};

/* ---- finding ----------------------------------------------------------------------------------------------------- */

bool hmci_verbs_device_is_software(const verbs_device_t *device) {
  return device->attributes.vendor_id == VENDOR_RXE || device->attributes.vendor_id == VENDOR_SIW;
}

/* HMC_RDMA_FLUSH. */
static bool stores_at_once(const verbs_device_t *device, const char *flush) {
  return strcmp(flush, "auto") == 0 ? hmci_verbs_device_is_software(device) : strcmp(flush, "no") == 0;
}

/* Is the device at the node of a processor that this process may run on? Where nothing is known of its node, no. */
static bool is_near(const struct ibv_device *handle) {
  char path[IBV_SYSFS_PATH_MAX + 64];
  int node = -1;
  cpu_set_t set;
  snprintf(path, sizeof path, "%s/device/numa_node", handle->ibdev_path);
  FILE *file = fopen(path, "re");
  if (file && fscanf(file, "%d", &node) != 1) node = -1;
  if (file) fclose(file);
  if (node < 0 || sched_getaffinity(0, sizeof set, &set)) return false;
  for (int i = 0; i < CPU_SETSIZE; i++) {
    snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpu%d", node, i);
    if (CPU_ISSET(i, &set) && access(path, F_OK) == 0) return true;
  }
  return false;
}

static void open_device(verbs_transport_t *transport, struct ibv_device *handle) {
  verbs_device_t *device = &transport->devices[transport->device_count];
  struct ibv_context *context = ibv_open_device(handle);
  if (!context) {
    hmci_log(HMC_LOG_INFO, "RDMA device %s cannot be opened: %s", ibv_get_device_name(handle), strerror(errno));
    return;
  }
  *device = (verbs_device_t){.transport = transport, .context = context, .watch.descriptor = -1};
  if (ibv_query_device(context, &device->attributes)) {
    hmci_log(HMC_LOG_INFO, "RDMA device %s does not answer", ibv_get_device_name(handle));
    ibv_close_device(context);
    return;
  }
  device->near = is_near(handle);
  device->stores_at_once = stores_at_once(device, transport->host->settings->verbs_flush);
  transport->device_count++;
}

static bool query_port(verbs_device_t *device, uint8_t number, struct ibv_port_attr *port) {
  return ibv_query_port(device->context, number, port) == 0;
}

bool hmci_verbs_port_is_up(const verbs_port_t *port) {
  struct ibv_port_attr attributes;
  return query_port(port->device, port->number, &attributes) && attributes.state == IBV_PORT_ACTIVE;
}

/* Is a GID a better one to offer? */
static bool is_better(const verbs_gid_t *gid, const verbs_gid_t *other) {
  unsigned worth = hmci_verbs_gid_worth(gid), others = hmci_verbs_gid_worth(other);
  return worth == others ? gid->near && !other->near : worth > others;
}

/* Keeps the best VERBS_OFFERS of all, best first. */
static void add_gid(verbs_transport_t *transport, const verbs_gid_t *gid, const verbs_port_t *port) {
  unsigned worth = hmci_verbs_gid_worth(gid);
  uint32_t place = transport->gid_count;
  while (place && is_better(gid, &transport->gids[place - 1])) place--;
  if (!worth || place == VERBS_OFFERS) return;
  if (transport->gid_count < VERBS_OFFERS) transport->gid_count++;
  uint32_t behind = transport->gid_count - place - 1;
  memmove(&transport->gids[place + 1], &transport->gids[place], behind * sizeof *gid);
  memmove(&transport->ports[place + 1], &transport->ports[place], behind * sizeof *port);
  transport->gids[place] = *gid;
  transport->ports[place] = *port;
}

static void list_gids(verbs_device_t *device) {
  struct ibv_gid_entry *entries = calloc(GIDS, sizeof *entries);
  ssize_t count = entries ? ibv_query_gid_table(device->context, entries, GIDS, 0) : 0;
  for (ssize_t i = 0; i < count; i++) {
    struct ibv_port_attr attributes;
    verbs_port_t port = {device, (uint8_t)entries[i].port_num, (uint16_t)entries[i].gid_index};
    if (!query_port(device, port.number, &attributes)) continue;
    enum ibv_mtu mtu = attributes.active_mtu ? attributes.active_mtu : attributes.max_mtu;
    verbs_gid_t gid = {.device = (uint8_t)(device - device->transport->devices),
                       .layer = attributes.link_layer,
                       .type = (uint8_t)entries[i].gid_type,
                       .mtu = (uint8_t)mtu,
                       .lid = attributes.lid,
                       .near = device->near};
    memcpy(gid.raw, entries[i].gid.raw, sizeof gid.raw);
    if (gid.type == IBV_GID_TYPE_ROCE_V2) gid.prefix = hmci_verbs_gid_prefix(gid.raw);
    if (gid.mtu >= IBV_MTU_256 && gid.mtu <= IBV_MTU_4096) add_gid(device->transport, &gid, &port);
  }
  free(entries);
}

/* Of the library that this module has, whichever version that is. */
static verbs_register_dmabuf_t *find_register_dmabuf(void) {
  union {
    void *symbol;
    verbs_register_dmabuf_t *function;
  } found = {NULL};
  void *library = dlopen("libibverbs.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (library) {
    found.symbol = dlsym(library, "ibv_reg_dmabuf_mr");
    dlclose(library);
  }
  return found.function;
}

hmc_status_t hmci_verbs_devices_open(verbs_transport_t *transport, const char *wanted) {
  transport->register_dmabuf = find_register_dmabuf();
  int count;
  struct ibv_device **list = ibv_get_device_list(&count);
  if (!list) return hmci_fail(HMC_UNSUPPORT, "RDMA devices cannot be listed: %s", strerror(errno));
  for (int i = 0; i < count && transport->device_count < VERBS_DEVICES; i++) {
    if (hmci_setting_lists(wanted, ibv_get_device_name(list[i]))) open_device(transport, list[i]);
  }
  ibv_free_device_list(list);
  for (uint32_t i = 0; i < transport->device_count; i++) list_gids(&transport->devices[i]);
  for (uint32_t i = 0; i < transport->gid_count; i++) transport->gids[i].place = (uint8_t)i;
  if (transport->gid_count) return HMC_SUCCESS;
  hmci_verbs_devices_close(transport);
  return hmci_fail(HMC_UNSUPPORT, "no RDMA device here%s%s that can be opened and has an address",
                   *wanted ? " of HMC_RDMA_DEVICE=" : "", wanted);
}

/* ---- starting ---------------------------------------------------------------------------------------------------- */

static bool make_non_blocking(int descriptor) {
  int flags = fcntl(descriptor, F_GETFL);
  return flags >= 0 && fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) == 0;
}

/* Not HMC_NO_MEMORY: what a device lacks must not keep AUTO from taking another way. */
static hmc_status_t fail(const verbs_device_t *device, const char *what) {
  return hmci_fail(HMC_UNSUPPORT, "%s on %s failed: %s", what, ibv_get_device_name(device->context->device),
                   strerror(errno));
}

/* HMC_RDMA_BUFFERS, as far as the device's queues can be so long. */
static uint32_t find_most_buffers(const verbs_device_t *device) {
  uint64_t most = device->transport->host->settings->verbs_buffers;
  uint64_t queue = (uint64_t)device->attributes.max_srq_wr, completions = (uint64_t)device->attributes.max_cqe / 2;
  if (queue && most > queue) most = queue;
  if (completions && most > completions) most = completions;
  return (uint32_t)most;
}

static hmc_status_t make_queues(verbs_device_t *device) {
  hmc_status_t status = HMC_UNSUPPORT;
  device->channel = ibv_create_comp_channel(device->context);
  if (!device->channel || !make_non_blocking(device->channel->fd) || !make_non_blocking(device->context->async_fd)) {
    fail(device, "a completion channel");
    goto err_channel;
  }
  device->sent = ibv_create_cq(device->context, FIRST_COMPLETIONS, NULL, device->channel, 0);
  uint32_t buffers = find_most_buffers(device);
  device->received = device->sent ? ibv_create_cq(device->context, 2 * (int)buffers, NULL, device->channel, 0) : NULL;
  device->buffers_most = buffers;
  if (!device->received) {
    fail(device, "a completion queue");
    goto err_queues;
  }
  struct ibv_srq_init_attr wanted = {.attr = {.max_wr = buffers, .max_sge = 1}};
  device->receives = ibv_create_srq(device->domain, &wanted);
  if (!device->receives) {
    fail(device, "a receive queue");
    goto err_queues;
  }
  return HMC_SUCCESS;

err_queues:
  if (device->received) ibv_destroy_cq(device->received);
  if (device->sent) ibv_destroy_cq(device->sent);
err_channel:
  if (device->channel) ibv_destroy_comp_channel(device->channel);
  return status;
}

static hmc_status_t make_flush_word(verbs_device_t *device) {
  device->flush_word = hmci_allocate_aligned(FLUSH_SIZE);
  if (!device->flush_word) return hmci_fail(HMC_NO_MEMORY, "no memory for an RDMA device");
  device->flush_address = (uint64_t)(uintptr_t)device->flush_word & ((uint64_t)sysconf(_SC_PAGESIZE) - 1);
  device->flush_memory = ibv_reg_mr_iova(device->domain, device->flush_word, FLUSH_SIZE, device->flush_address,
                                         IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_READ);
  if (device->flush_memory) return HMC_SUCCESS;
  free(device->flush_word);
  return fail(device, "registering memory (ulimit -l tells how much may be pinned)");
}

static void destroy_queues(verbs_device_t *device) {
  ibv_destroy_srq(device->receives);
  ibv_destroy_cq(device->received);
  ibv_destroy_cq(device->sent);
  ibv_destroy_comp_channel(device->channel);
}

hmc_status_t hmci_verbs_device_start(verbs_device_t *device) {
  hmci_loop_t *loop = device->transport->host->loop;
  if (device->started) return HMC_SUCCESS;
  hmci_timer_init(&device->look, device->transport->upward->look);
  device->domain = ibv_alloc_pd(device->context);
  if (!device->domain) return fail(device, "a protection domain");
  hmc_status_t status = make_queues(device);
  if (status != HMC_SUCCESS) goto err_domain;
  status = make_flush_word(device);
  if (status != HMC_SUCCESS) goto err_queues;
  status = hmci_verbs_stage_open(device);
  if (status != HMC_SUCCESS) goto err_flush;
  device->watch.ready = device->transport->upward->on_channel;
  status = hmci_loop_add(loop, &device->watch, device->channel->fd, EPOLLIN);
  if (status != HMC_SUCCESS) goto err_stage;
  device->events.ready = device->transport->upward->on_event;
  status = hmci_loop_add(loop, &device->events, device->context->async_fd, EPOLLIN);
  if (status != HMC_SUCCESS) {
    hmci_loop_silence(loop, &device->watch); /* the watch itself goes with the loop */
    goto err_stage;
  }
  device->completions_room = FIRST_COMPLETIONS;
  hmci_verbs_memory_open(device);
  device->started = true;
  return HMC_SUCCESS;

err_stage:
  hmci_verbs_stage_close(device);
err_flush:
  ibv_dereg_mr(device->flush_memory);
  free(device->flush_word);
err_queues:
  destroy_queues(device);
err_domain:
  ibv_dealloc_pd(device->domain);
  return status;
}

/* A completion queue that overflows is lost, and everything entered may come back as an error. */
hmc_status_t hmci_verbs_device_grow(verbs_device_t *device) {
  uint32_t needed = (device->rails + 1) * (VERBS_SEND_QUEUE + 1);
  if (needed > device->completions_room) {
    uint32_t room = device->completions_room;
    while (room < needed) room *= 2;
    if (room > (uint32_t)device->attributes.max_cqe) room = (uint32_t)device->attributes.max_cqe;
    if (room < needed || ibv_resize_cq(device->sent, (int)room)) {
      return hmci_fail(HMC_UNSUPPORT, "%s has no room for the completions of %u connections",
                       ibv_get_device_name(device->context->device), device->rails + 1);
    }
    device->completions_room = room;
  }
  device->rails++;
  if (hmci_verbs_buffers_are_short(device) || hmci_verbs_slots_are_short(device->transport))
    device->transport->upward->register_soon(device->transport);
  return HMC_SUCCESS;
}

void hmci_verbs_device_shrink(verbs_device_t *device) {
  if (--device->rails == 0) hmci_verbs_memory_drop(device, NULL, &device->transport->dropped);
}

/* ---- closing ----------------------------------------------------------------------------------------------------- */

static void stop(verbs_device_t *device) {
  hmci_loop_t *loop = device->transport->host->loop;
  hmci_loop_remove(loop, &device->watch);
  hmci_loop_remove(loop, &device->events);
  hmci_loop_clear_timer(loop, &device->look);
  hmci_verbs_memory_close(device);
  hmci_verbs_stage_close(device);
  ibv_dereg_mr(device->flush_memory);
  free(device->flush_word);
  destroy_queues(device);
  ibv_dealloc_pd(device->domain);
}

void hmci_verbs_devices_close(verbs_transport_t *transport) {
  for (uint32_t i = 0; i < transport->device_count; i++) {
    verbs_device_t *device = &transport->devices[i];
    if (device->started) stop(device);
    ibv_close_device(device->context);
  }
  transport->device_count = 0;
  hmci_verbs_slots_free(transport);
}
