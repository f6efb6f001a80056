/* UCT in software for the unit tests of lanes, beside the UCX of fake_ucx_fixture.h: one device, "rc_verbs/fake0:1", whose
 * connections copy memory when their worker is polled, and can be made to hold it back, to be full, or to refuse. */
#ifndef HMCI_UCX_FAKE_LANE_FIXTURE_H
#define HMCI_UCX_FAKE_LANE_FIXTURE_H

#include "fake_ucx_fixture.h"

enum { FAKE_KEYS = 64, FAKE_WRITES = 256, FAKE_ENDS = 64, FAKE_DEVICE_ADDRESS = 5, FAKE_LEAST_READ = 128 };

typedef struct fake_interface {
  uct_iface_t base; /* first */
  uct_worker_h worker;
  uct_error_handler_t on_error;
  void *argument;
  int descriptor;
} fake_interface_t;

/* One end of a connection. */
typedef struct fake_end {
  uct_ep_t base; /* first */
  uint32_t number, peer;
} fake_end_t;

/* A write or read in progress. */
typedef struct fake_write {
  fake_end_t *end;
  bool put;
  uint8_t *local, *remote;
  size_t size;
  uct_rkey_t key;
  uct_completion_t *completion;
} fake_write_t;

static struct fake_lanes {
  bool hold;            /* nothing gets through */
  bool refuse;          /* no memory is registered */
  bool unreachable;     /* no device reaches another */
  void (*memory)(void); /* called while memory is registered or deregistered */
  int room;             /* pieces that the device takes at a time; 0: FAKE_WRITES */
  struct {
    uint8_t *base;
    size_t size;
  } keys[FAKE_KEYS]; /* size 0: free */
  fake_write_t writes[FAKE_WRITES];
  int write_count, posted, reads, registered; /* in progress; all so far; reads of a few bytes among them; now */
  fake_end_t *ends[FAKE_ENDS];                /* by number; NULL: destroyed */
  uint32_t end_count;
  int open; /* ends, interfaces, domains, workers */
} fake_lanes;

/* ---- moving ------------------------------------------------------------------------------------------------------ */

static inline void fake_end_write(int index, ucs_status_t status) {
  uct_completion_t *completion = fake_lanes.writes[index].completion;
  fake_lanes.write_count--;
  memmove(&fake_lanes.writes[index], &fake_lanes.writes[index + 1],
          (size_t)(fake_lanes.write_count - index) * sizeof(fake_write_t));
  completion->status = status;
  completion->func(completion);
}

/* What is in progress on a connection is lost. */
static inline void fake_purge(const fake_end_t *end, ucs_status_t status) {
  for (int i = 0; i < fake_lanes.write_count;) {
    if (fake_lanes.writes[i].end == end) {
      fake_end_write(i, status);
    } else {
      i++;
    }
  }
}

static inline bool fake_do_write(const fake_write_t *write) {
  size_t size = fake_lanes.keys[write->key].size;
  const uint8_t *base = fake_lanes.keys[write->key].base;
  bool connected = write->end->peer && fake_lanes.ends[write->end->peer];
  if (!connected || !size || write->remote < base || write->remote + write->size > base + size) return false;
  if (write->size)
    memcpy(write->put ? write->remote : write->local, write->put ? write->local : write->remote, write->size);
  return true;
}

/* One piece at a time. */
static inline unsigned fake_lane_progress(void *worker) {
  for (int i = 0; i < fake_lanes.write_count && !fake_lanes.hold; i++) {
    fake_end_t *end = fake_lanes.writes[i].end;
    fake_interface_t *interface = (fake_interface_t *)(void *)end->base.iface;
    if (interface->worker != worker) continue;
    if (fake_do_write(&fake_lanes.writes[i])) {
      fake_end_write(i, UCS_OK);
    } else {
      fake_purge(end, UCS_ERR_ENDPOINT_TIMEOUT);
      interface->on_error(interface->argument, &end->base, UCS_ERR_ENDPOINT_TIMEOUT);
    }
    return 1;
  }
  return 0;
}

static inline ucs_status_t fake_post(uct_ep_h end, const uct_iov_t *iov, uint64_t remote, uct_rkey_t key,
                                     uct_completion_t *completion, bool put) {
  if (fake_lanes.write_count >= (fake_lanes.room ? fake_lanes.room : FAKE_WRITES)) return UCS_ERR_NO_RESOURCE;
  fake_lanes.posted++;
  fake_lanes.writes[fake_lanes.write_count++] = (fake_write_t){.end = (fake_end_t *)(void *)end,
                                                               .put = put,
                                                               .local = iov->buffer,
                                                               .remote = (uint8_t *)(uintptr_t)remote,
                                                               .size = iov->length,
                                                               .key = key,
                                                               .completion = completion};
  return UCS_INPROGRESS;
}

static inline ucs_status_t fake_put_zcopy(uct_ep_h end, const uct_iov_t *iov, size_t count, uint64_t remote,
                                          uct_rkey_t key, uct_completion_t *completion) {
  (void)count;
  return fake_post(end, iov, remote, key, completion, true);
}

/* Reads nothing: it is only waited for. */
static inline ucs_status_t fake_get_bcopy(uct_ep_h end, uct_unpack_callback_t unpack, void *argument, size_t size,
                                          uint64_t remote, uct_rkey_t key, uct_completion_t *completion) {
  (void)unpack, (void)argument, (void)size;
  ucs_status_t status = fake_post(end, &(uct_iov_t){.length = 0}, remote, key, completion, false);
  if (status == UCS_INPROGRESS) fake_lanes.reads++;
  return status;
}

static inline ucs_status_t fake_get_zcopy(uct_ep_h end, const uct_iov_t *iov, size_t count, uint64_t remote,
                                          uct_rkey_t key, uct_completion_t *completion) {
  (void)count;
  if (iov->length < FAKE_LEAST_READ) return UCS_ERR_INVALID_PARAM;
  return fake_post(end, iov, remote, key, completion, false);
}

/* ---- the device -------------------------------------------------------------------------------------------------- */

static inline ucs_status_t fake_async_create(ucs_async_mode_t mode, ucs_async_context_t **async) {
  (void)mode;
  *async = (ucs_async_context_t *)(void *)&fake_lanes;
  return UCS_OK;
}

static inline void fake_async_destroy(ucs_async_context_t *async) { (void)async; }

static inline ucs_status_t fake_query_components(uct_component_h **components, unsigned *count) {
  static uct_component_h component = (uct_component_h)(void *)&fake_lanes;
  *components = &component;
  *count = 1;
  return UCS_OK;
}

static inline void fake_release_components(uct_component_h *components) { (void)components; }

static inline ucs_status_t fake_component_query(uct_component_h component, uct_component_attr_t *attributes) {
  (void)component;
  if (attributes->field_mask & UCT_COMPONENT_ATTR_FIELD_NAME) strcpy(attributes->name, "ib");
  if (attributes->field_mask & UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT) attributes->md_resource_count = 1;
  if (attributes->field_mask & UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES)
    strcpy(attributes->md_resources[0].md_name, "fake0");
  return UCS_OK;
}

static inline ucs_status_t fake_md_config_read(uct_component_h component, const char *prefix, const char *file,
                                               uct_md_config_t **config) {
  (void)component, (void)prefix, (void)file;
  *config = NULL;
  return UCS_OK;
}

static inline ucs_status_t fake_iface_config_read(uct_md_h domain, const char *transport, const char *prefix,
                                                  const char *file, uct_iface_config_t **config) {
  (void)domain, (void)transport, (void)prefix, (void)file;
  *config = NULL;
  return UCS_OK;
}

static inline ucs_status_t fake_config_modify(void *config, const char *name, const char *value) {
  (void)config;
  bool registers = strcmp(name, "REG_METHODS") == 0 && strcmp(value, "direct") == 0;
  bool orders = strcmp(name, "PCI_RELAXED_ORDERING") == 0 && strcmp(value, "off") == 0;
  return registers || orders ? UCS_OK : UCS_ERR_NO_ELEM;
}

static inline void fake_config_release(void *config) { (void)config; }

static inline ucs_status_t fake_md_open(uct_component_h component, const char *name, const uct_md_config_t *config,
                                        uct_md_h *domain) {
  (void)component, (void)name, (void)config;
  *domain = (uct_md_h)(void *)&fake_lanes;
  fake_lanes.open++;
  return UCS_OK;
}

static inline void fake_md_close(uct_md_h domain) {
  (void)domain;
  fake_lanes.open--;
}

static inline ucs_status_t fake_md_query(uct_md_h domain, uct_md_attr_t *attributes) {
  (void)domain;
  *attributes = (uct_md_attr_t){.rkey_packed_size = sizeof(uint64_t)};
  return UCS_OK;
}

static inline ucs_status_t fake_query_resources(uct_md_h domain, uct_tl_resource_desc_t **resources, unsigned *count) {
  static uct_tl_resource_desc_t all[2] = {{.tl_name = "ud_verbs", .dev_name = "fake0:1"},
                                          {.tl_name = "rc_verbs", .dev_name = "fake0:1"}};
  (void)domain;
  *resources = all;
  *count = 2;
  return UCS_OK;
}

static inline void fake_release_resources(uct_tl_resource_desc_t *resources) { (void)resources; }

static inline ucs_status_t fake_uct_worker_create(ucs_async_context_t *async, ucs_thread_mode_t mode,
                                                  uct_worker_h *worker) {
  (void)async, (void)mode;
  *worker = calloc(1, sizeof **worker);
  (*worker)->progress_q.fast_elems[0] = (ucs_callbackq_elem_t){.cb = fake_lane_progress, .arg = *worker};
  fake_lanes.open++;
  return UCS_OK;
}

static inline void fake_uct_worker_destroy(uct_worker_h worker) {
  free(worker);
  fake_lanes.open--;
}

static inline void fake_progress_enable(uct_iface_h interface, unsigned flags) { (void)interface, (void)flags; }

static inline ucs_status_t fake_iface_open(uct_md_h domain, uct_worker_h worker, const uct_iface_params_t *params,
                                           const uct_iface_config_t *config, uct_iface_h *out) {
  (void)domain, (void)config;
  fake_interface_t *interface = calloc(1, sizeof *interface);
  interface->base.ops.ep_put_zcopy = fake_put_zcopy;
  interface->base.ops.ep_get_zcopy = fake_get_zcopy;
  interface->base.ops.ep_get_bcopy = fake_get_bcopy;
  interface->base.ops.iface_progress_enable = fake_progress_enable;
  interface->worker = worker;
  interface->on_error = params->err_handler;
  interface->argument = params->err_handler_arg;
  interface->descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  *out = &interface->base;
  fake_lanes.open++;
  return UCS_OK;
}

static inline void fake_iface_close(uct_iface_h interface) {
  close(((fake_interface_t *)(void *)interface)->descriptor);
  free(interface);
  fake_lanes.open--;
}

static inline ucs_status_t fake_iface_query(uct_iface_h interface, uct_iface_attr_t *attributes) {
  (void)interface;
  *attributes = (uct_iface_attr_t){.device_addr_len = FAKE_DEVICE_ADDRESS, .ep_addr_len = sizeof(uint32_t)};
  attributes->cap.flags = UCT_IFACE_FLAG_PUT_ZCOPY | UCT_IFACE_FLAG_GET_ZCOPY | UCT_IFACE_FLAG_GET_BCOPY |
                          UCT_IFACE_FLAG_CONNECT_TO_EP | UCT_IFACE_FLAG_ERRHANDLE_PEER_FAILURE;
  attributes->cap.event_flags = UCT_IFACE_FLAG_EVENT_SEND_COMP;
  attributes->cap.get.min_zcopy = FAKE_LEAST_READ;
  attributes->cap.put.max_zcopy = attributes->cap.get.max_zcopy = 1 << 30;
  return UCS_OK;
}

static inline ucs_status_t fake_get_device_address(uct_iface_h interface, uct_device_addr_t *address) {
  (void)interface;
  memcpy(address, "fake0", FAKE_DEVICE_ADDRESS);
  return UCS_OK;
}

static inline int fake_is_reachable(const uct_iface_h interface, const uct_device_addr_t *device,
                                    const uct_iface_addr_t *address) {
  (void)interface, (void)address;
  return !fake_lanes.unreachable && memcmp(device, "fake0", FAKE_DEVICE_ADDRESS) == 0;
}

static inline ucs_status_t fake_event_fd(uct_iface_h interface, int *descriptor) {
  *descriptor = ((fake_interface_t *)(void *)interface)->descriptor;
  return UCS_OK;
}

static inline ucs_status_t fake_event_arm(uct_iface_h interface, unsigned events) {
  (void)interface, (void)events;
  return fake_lanes.write_count && !fake_lanes.hold ? UCS_ERR_BUSY : UCS_OK;
}

/* ---- ends of connections ----------------------------------------------------------------------------------------- */

static inline ucs_status_t fake_end_create(const uct_ep_params_t *params, uct_ep_h *out) {
  fake_end_t *end = calloc(1, sizeof *end);
  end->base.iface = params->iface;
  end->number = ++fake_lanes.end_count;
  fake_lanes.ends[end->number] = end;
  *out = &end->base;
  fake_lanes.open++;
  return UCS_OK;
}

static inline void fake_end_destroy(uct_ep_h base) {
  fake_end_t *end = (fake_end_t *)(void *)base;
  fake_purge(end, UCS_ERR_CANCELED);
  fake_lanes.ends[end->number] = NULL;
  free(end);
  fake_lanes.open--;
}

static inline ucs_status_t fake_end_address(uct_ep_h end, uct_ep_addr_t *address) {
  memcpy(address, &((fake_end_t *)(void *)end)->number, sizeof(uint32_t));
  return UCS_OK;
}

static inline ucs_status_t fake_end_connect(uct_ep_h end, const uct_device_addr_t *device,
                                            const uct_ep_addr_t *address) {
  (void)device;
  memcpy(&((fake_end_t *)(void *)end)->peer, address, sizeof(uint32_t));
  return UCS_OK;
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

static inline ucs_status_t fake_mem_reg(uct_md_h domain, void *base, size_t size, unsigned flags, uct_mem_h *handle) {
  (void)domain, (void)flags;
  if (fake_lanes.memory) fake_lanes.memory();
  if (fake_lanes.refuse) return UCS_ERR_NO_MEMORY;
  int key = 1;
  while (fake_lanes.keys[key].size) key++;
  fake_lanes.keys[key].base = base;
  fake_lanes.keys[key].size = size;
  fake_lanes.registered++;
  *handle = (uct_mem_h)&fake_lanes.keys[key];
  return UCS_OK;
}

static inline uint64_t fake_key_of(uct_mem_h handle) {
  uint64_t key = 1;
  while ((uct_mem_h)&fake_lanes.keys[key] != handle) key++;
  return key;
}

static inline ucs_status_t fake_mem_dereg(uct_md_h domain, uct_mem_h handle) {
  (void)domain;
  if (fake_lanes.memory) fake_lanes.memory();
  fake_lanes.keys[fake_key_of(handle)].size = 0;
  fake_lanes.registered--;
  return UCS_OK;
}

static inline ucs_status_t fake_mkey_pack(uct_md_h domain, uct_mem_h handle, void *to) {
  (void)domain;
  uint64_t key = fake_key_of(handle);
  memcpy(to, &key, sizeof key);
  return UCS_OK;
}

static inline ucs_status_t fake_rkey_unpack(uct_component_h component, const void *from, uct_rkey_bundle_t *bundle) {
  (void)component;
  uint64_t key;
  memcpy(&key, from, sizeof key);
  bundle->rkey = key;
  fake_lanes.open++;
  return UCS_OK;
}

static inline ucs_status_t fake_rkey_release(uct_component_h component, const uct_rkey_bundle_t *bundle) {
  (void)component, (void)bundle;
  fake_lanes.open--;
  return UCS_OK;
}

/* The UCX of fake_ucx_fixture.h, with lanes. */
static inline hmci_ucx_library_t fake_library_with_lanes(void) {
  hmci_ucx_library_t library = fake_library;
  library.has_lanes = true;
  library.major = 1;
  library.minor = 13;
  library.ucs_async_context_create = fake_async_create;
  library.ucs_async_context_destroy = fake_async_destroy;
  library.uct_query_components = fake_query_components;
  library.uct_release_component_list = fake_release_components;
  library.uct_component_query = fake_component_query;
  library.uct_md_config_read = fake_md_config_read;
  library.uct_md_iface_config_read = fake_iface_config_read;
  library.uct_config_modify = fake_config_modify;
  library.uct_config_release = fake_config_release;
  library.uct_md_open = fake_md_open;
  library.uct_md_close = fake_md_close;
  library.uct_md_query = fake_md_query;
  library.uct_md_query_tl_resources = fake_query_resources;
  library.uct_release_tl_resource_list = fake_release_resources;
  library.uct_md_mem_reg = fake_mem_reg;
  library.uct_md_mem_dereg = fake_mem_dereg;
  library.uct_md_mkey_pack = fake_mkey_pack;
  library.uct_rkey_unpack = fake_rkey_unpack;
  library.uct_rkey_release = fake_rkey_release;
  library.uct_worker_create = fake_uct_worker_create;
  library.uct_worker_destroy = fake_uct_worker_destroy;
  library.uct_iface_open = fake_iface_open;
  library.uct_iface_close = fake_iface_close;
  library.uct_iface_query = fake_iface_query;
  library.uct_iface_get_device_address = fake_get_device_address;
  library.uct_iface_is_reachable = fake_is_reachable;
  library.uct_iface_event_fd_get = fake_event_fd;
  library.uct_iface_event_arm = fake_event_arm;
  library.uct_ep_create = fake_end_create;
  library.uct_ep_destroy = fake_end_destroy;
  library.uct_ep_get_address = fake_end_address;
  library.uct_ep_connect_to_ep = fake_end_connect;
  return library;
}

#endif
