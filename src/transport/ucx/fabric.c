/* RDMA devices through UCT (see fabric.h). */
#include "fabric.h"

#include "lane.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

typedef struct registration {
  hmci_list_t link; /* of its bucket */
  const hmci_ucx_device_t *device;
  uint32_t region, generation;
  uint64_t size;
  uct_mem_h handle; /* NULL: the device did not take it */
  bool making;      /* by a thread without the lock, which keeps it until then */
  bool orphan;      /* its device is not used any more: that thread ends it */
} registration_t;

/* ---- finding a device -------------------------------------------------------------------------------------------- */

/* Does the domain have that transport and device? */
static bool has_device(const hmci_ucx_library_t *ucx, uct_md_h domain, const char *name) {
  uct_tl_resource_desc_t *resources;
  unsigned count;
  bool has = false;
  if (ucx->uct_md_query_tl_resources(domain, &resources, &count) != UCS_OK) return false;
  for (unsigned i = 0; i < count && !has; i++) {
    char text[HMCI_UCX_DEVICE_NAME];
    snprintf(text, sizeof text, "%s/%s", resources[i].tl_name, resources[i].dev_name);
    has = strcmp(text, name) == 0;
  }
  ucx->uct_release_tl_resource_list(resources);
  return has;
}

/* A domain that registers directly and with strict order. */
static uct_md_h open_domain(const hmci_ucx_library_t *ucx, uct_component_h component, const char *name) {
  uct_md_config_t *config;
  uct_md_h domain = NULL;
  if (ucx->uct_md_config_read(component, NULL, NULL, &config) != UCS_OK) return NULL;
  if (ucx->uct_config_modify(config, "REG_METHODS", "direct") == UCS_OK &&
      ucx->uct_config_modify(config, "PCI_RELAXED_ORDERING", "off") == UCS_OK &&
      ucx->uct_md_open(component, name, config, &domain) != UCS_OK) {
    domain = NULL;
  }
  ucx->uct_config_release(config);
  return domain;
}

/* Looks among the domains of a component for the one with the device. */
static uct_md_h find_in_component(const hmci_ucx_library_t *ucx, uct_component_h component, const char *name) {
  uct_component_attr_t attributes = {.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCE_COUNT};
  if (ucx->uct_component_query(component, &attributes) != UCS_OK || !attributes.md_resource_count) return NULL;
  uct_md_resource_desc_t *domains = calloc(attributes.md_resource_count, sizeof *domains);
  if (!domains) return NULL;
  attributes.field_mask = UCT_COMPONENT_ATTR_FIELD_MD_RESOURCES;
  attributes.md_resources = domains;
  unsigned count = ucx->uct_component_query(component, &attributes) == UCS_OK ? attributes.md_resource_count : 0;
  uct_md_h found = NULL;
  for (unsigned i = 0; i < count && !found; i++) {
    found = open_domain(ucx, component, domains[i].md_name);
    if (!found || has_device(ucx, found, name)) continue;
    ucx->uct_md_close(found);
    found = NULL;
  }
  free(domains);
  return found;
}

static bool find_domain(const hmci_ucx_library_t *ucx, hmci_ucx_device_t *device) {
  uct_component_h *components;
  unsigned count;
  if (ucx->uct_query_components(&components, &count) != UCS_OK) return false;
  for (unsigned i = 0; i < count && !device->domain; i++) {
    uct_component_attr_t attributes = {.field_mask = UCT_COMPONENT_ATTR_FIELD_NAME};
    bool is_rdma = ucx->uct_component_query(components[i], &attributes) == UCS_OK && !strcmp(attributes.name, "ib");
    if (is_rdma) device->domain = find_in_component(ucx, components[i], device->name);
    device->component = components[i];
  }
  ucx->uct_release_component_list(components);
  return device->domain != NULL;
}

/* ---- opening one ------------------------------------------------------------------------------------------------- */

static ucs_status_t open_interface(hmci_ucx_fabric_t *fabric, hmci_ucx_device_t *device) {
  const hmci_ucx_library_t *ucx = fabric->ucx;
  char transport[HMCI_UCX_DEVICE_NAME];
  snprintf(transport, sizeof transport, "%.*s", (int)strcspn(device->name, "/"), device->name);
  uct_iface_config_t *config;
  ucs_status_t status = ucx->uct_md_iface_config_read(device->domain, transport, NULL, NULL, &config);
  if (status != UCS_OK) return status;
  uct_iface_params_t params = {
      .field_mask = UCT_IFACE_PARAM_FIELD_OPEN_MODE | UCT_IFACE_PARAM_FIELD_DEVICE | UCT_IFACE_PARAM_FIELD_ERR_HANDLER |
                    UCT_IFACE_PARAM_FIELD_ERR_HANDLER_ARG | UCT_IFACE_PARAM_FIELD_ERR_HANDLER_FLAGS |
                    UCT_IFACE_PARAM_FIELD_FEATURES,
      .open_mode = UCT_IFACE_OPEN_MODE_DEVICE,
      .mode.device = {.tl_name = transport, .dev_name = device->name + strlen(transport) + 1},
      .err_handler = fabric->on_error,
      .err_handler_arg = fabric,
      .features = UCT_IFACE_FEATURE_PUT | UCT_IFACE_FEATURE_GET,
  };
  status = ucx->uct_iface_open(device->domain, fabric->worker, &params, config, &device->interface);
  ucx->uct_config_release(config);
  return status;
}

static bool is_suitable(const uct_iface_attr_t *attributes) {
  uint64_t flags = UCT_IFACE_FLAG_PUT_ZCOPY | UCT_IFACE_FLAG_GET_ZCOPY | UCT_IFACE_FLAG_GET_BCOPY |
                   UCT_IFACE_FLAG_CONNECT_TO_EP | UCT_IFACE_FLAG_ERRHANDLE_PEER_FAILURE;
  bool able = (attributes->cap.flags & flags) == flags && attributes->cap.event_flags & UCT_IFACE_FLAG_EVENT_SEND_COMP;
  bool writes = attributes->cap.put.min_zcopy <= HMCI_UCX_LANE_LEAST && attributes->cap.put.max_zcopy >= HMCI_UCX_PIECE;
  bool reads = attributes->cap.get.min_zcopy <= HMCI_UCX_LANE_LEAST && attributes->cap.get.max_zcopy >= HMCI_UCX_PIECE;
  bool tells = attributes->device_addr_len <= HMCI_UCX_LANE_ADDRESS && attributes->ep_addr_len <= HMCI_UCX_LANE_ADDRESS;
  return able && writes && reads && tells;
}

/* Soft-RoCE and Soft-iWARP, which are not devices of a bus. */
static bool is_software(const hmci_ucx_device_t *device) {
  char path[64 + HMCI_UCX_DEVICE_NAME];
  const char *name = strchr(device->name, '/') + 1;
  snprintf(path, sizeof path, "/sys/class/infiniband/%.*s/device", (int)strcspn(name, ":"), name);
  return access(path, F_OK) != 0;
}

static bool stores_at_once(const hmci_ucx_device_t *device, const char *flush) {
  return strcmp(flush, "auto") == 0 ? is_software(device) : strcmp(flush, "no") == 0;
}

/* Its sizes, and its descriptor into the epoll set. */
static ucs_status_t prepare(hmci_ucx_fabric_t *fabric, hmci_ucx_device_t *device) {
  const hmci_ucx_library_t *ucx = fabric->ucx;
  uct_iface_attr_t attributes;
  uct_md_attr_t domain;
  int descriptor;
  ucs_status_t status = ucx->uct_iface_query(device->interface, &attributes);
  if (status == UCS_OK) status = ucx->uct_md_query(device->domain, &domain);
  if (status != UCS_OK) return status;
  if (!is_suitable(&attributes) || domain.rkey_packed_size > HMCI_UCX_KEY) return UCS_ERR_UNSUPPORTED;
  status = ucx->uct_iface_event_fd_get(device->interface, &descriptor);
  if (status != UCS_OK) return status;
  struct epoll_event event = {.events = EPOLLIN};
  if (epoll_ctl(fabric->events, EPOLL_CTL_ADD, descriptor, &event)) return UCS_ERR_IO_ERROR;
  device->stores_at_once = stores_at_once(device, fabric->settings->verbs_flush);
  device->key_size = domain.rkey_packed_size;
  device->address_size = attributes.device_addr_len;
  device->endpoint_size = attributes.ep_addr_len;
  uct_iface_progress_enable(device->interface, UCT_PROGRESS_SEND);
  return UCS_OK;
}

static bool start(hmci_ucx_fabric_t *fabric) {
  const hmci_ucx_library_t *ucx = fabric->ucx;
  if (fabric->async) return true;
  if (ucx->ucs_async_context_create(UCS_ASYNC_MODE_THREAD_SPINLOCK, &fabric->async) != UCS_OK) goto err_async;
  if (ucx->uct_worker_create(fabric->async, UCS_THREAD_MODE_SERIALIZED, &fabric->worker) != UCS_OK) goto err_worker;
  return true;

err_worker:
  ucx->ucs_async_context_destroy(fabric->async);
err_async:
  fabric->async = NULL;
  return false;
}

hmci_ucx_device_t *hmci_ucx_fabric_device(hmci_ucx_fabric_t *fabric, const char *name) {
  const hmci_ucx_library_t *ucx = fabric->ucx;
  for (uint32_t i = 0; i < fabric->device_count; i++) {
    if (strcmp(fabric->devices[i].name, name) == 0) return &fabric->devices[i];
  }
  hmci_ucx_device_t *device = &fabric->devices[fabric->device_count];
  if (strncmp(name, "rc_", 3) != 0) {
    hmci_fail(HMC_UNSUPPORT, "%s has no remote access in hardware", name);
    return NULL;
  }
  if (!ucx->has_lanes) {
    hmci_fail(HMC_UNSUPPORT, "UCX %s is not the release that HMC was built with", ucx->version);
    return NULL;
  }
  if (fabric->device_count == HMCI_UCX_DEVICES || !start(fabric)) {
    hmci_fail(HMC_NO_MEMORY, "no room for another device");
    return NULL;
  }
  *device = (hmci_ucx_device_t){0};
  snprintf(device->name, sizeof device->name, "%s", name);
  ucs_status_t status = UCS_ERR_NO_DEVICE;
  if (!find_domain(ucx, device)) goto err_text;
  status = open_interface(fabric, device);
  if (status != UCS_OK) goto err_domain;
  status = prepare(fabric, device);
  if (status != UCS_OK) goto err_interface;
  fabric->device_count++;
  return device;

err_interface:
  ucx->uct_iface_close(device->interface);
err_domain:
  ucx->uct_md_close(device->domain);
err_text:
  hmci_fail(HMC_UNSUPPORT, "UCX does not open %s once more: %s", name, ucx->ucs_status_string(status));
  return NULL;
}

bool hmci_ucx_fabric_arm(hmci_ucx_fabric_t *fabric) {
  for (uint32_t i = 0; i < fabric->device_count; i++) {
    if (fabric->ucx->uct_iface_event_arm(fabric->devices[i].interface, UCT_EVENT_SEND_COMP) != UCS_OK) return false;
  }
  return true;
}

/* ---- registrations ----------------------------------------------------------------------------------------------- */

static registration_t *registration_of(hmci_list_t *link) { return HMCI_CONTAINER(link, registration_t, link); }

/* Once nobody is making it. NULL: nobody has. */
static registration_t *find(hmci_ucx_fabric_t *fabric, const hmci_ucx_device_t *device,
                            const hmci_region_view_t *region) {
  hmci_list_t *bucket = &fabric->registrations[region->id % HMCI_UCX_BUCKETS];
  for (hmci_list_t *link = bucket->next; link != bucket; link = link->next) {
    registration_t *known = registration_of(link);
    if (known->region != region->id || known->generation != region->generation) continue;
    if (device && known->device != device) continue;
    if (!known->making) return known;
    pthread_cond_wait(&fabric->made, &fabric->lock);
    link = bucket; /* it may be gone: from the start */
  }
  return NULL;
}

/* Without the lock meanwhile. */
static uct_mem_h make_handle(hmci_ucx_fabric_t *fabric, hmci_ucx_device_t *device, const hmci_region_view_t *region) {
  uint64_t most = fabric->settings->verbs_pinned_max;
  uct_mem_h handle;
  if (most && region->size > (most > fabric->pinned ? most - fabric->pinned : 0)) return NULL;
  fabric->pinned += region->size;
  pthread_mutex_unlock(&fabric->lock);
  pthread_mutex_lock(&fabric->memory);
  ucs_status_t status = fabric->ucx->uct_md_mem_reg(device->domain, region->base, region->size,
                                                    UCT_MD_MEM_ACCESS_RMA | UCT_MD_MEM_FLAG_HIDE_ERRORS, &handle);
  pthread_mutex_unlock(&fabric->memory);
  pthread_mutex_lock(&fabric->lock);
  if (status == UCS_OK) return handle;
  fabric->pinned -= region->size;
  hmci_log(HMC_LOG_WARNING,
           "%llu B of memory cannot be registered by UCX and will go in messages: %s (ulimit -l tells how much may be "
           "pinned)",
           (unsigned long long)region->size, fabric->ucx->ucs_status_string(status));
  return NULL;
}

/* Of a registration that is in no list any more. With the lock or without it. */
static void end_registration(hmci_ucx_fabric_t *fabric, registration_t *registration) {
  if (registration->handle) {
    pthread_mutex_lock(&fabric->memory);
    ucs_status_t status = fabric->ucx->uct_md_mem_dereg(registration->device->domain, registration->handle);
    pthread_mutex_unlock(&fabric->memory);
    if (status != UCS_OK) {
      hmci_log(HMC_LOG_ERROR, "UCX did not deregister %llu B: %s", (unsigned long long)registration->size,
               fabric->ucx->ucs_status_string(status));
    }
  }
  free(registration);
}

static void unlist(hmci_ucx_fabric_t *fabric, registration_t *registration) {
  hmci_list_remove(&registration->link);
  if (registration->handle) fabric->pinned -= registration->size;
}

uct_mem_h hmci_ucx_fabric_register(hmci_ucx_fabric_t *fabric, hmci_ucx_device_t *device,
                                   const hmci_region_view_t *region) {
  registration_t *registration = find(fabric, device, region);
  if (registration) return registration->handle;
  registration = calloc(1, sizeof *registration);
  if (!registration) return NULL;
  hmci_region_note_reached(region);
  *registration = (registration_t){
      .device = device, .region = region->id, .generation = region->generation, .size = region->size, .making = true};
  hmci_list_append(&fabric->registrations[region->id % HMCI_UCX_BUCKETS], &registration->link);
  registration->handle = make_handle(fabric, device, region);
  registration->making = false;
  pthread_cond_broadcast(&fabric->made);
  if (!registration->orphan) return registration->handle;
  unlist(fabric, registration);
  end_registration(fabric, registration);
  return NULL;
}

void hmci_ucx_fabric_forget(hmci_ucx_fabric_t *fabric, const hmci_region_view_t *region) {
  registration_t *registration;
  pthread_mutex_lock(&fabric->lock);
  while ((registration = find(fabric, NULL, region))) {
    unlist(fabric, registration);
    pthread_mutex_unlock(&fabric->lock);
    end_registration(fabric, registration);
    pthread_mutex_lock(&fabric->lock);
  }
  pthread_mutex_unlock(&fabric->lock);
}

void hmci_ucx_fabric_drop(hmci_ucx_fabric_t *fabric, const hmci_ucx_device_t *device) {
  for (int i = 0; i < HMCI_UCX_BUCKETS; i++) {
    hmci_list_t *bucket = &fabric->registrations[i];
    for (hmci_list_t *link = bucket->next; link != bucket;) {
      registration_t *registration = registration_of(link);
      link = link->next;
      if (registration->device != device) continue;
      if (registration->making) {
        registration->orphan = true;
      } else {
        unlist(fabric, registration);
        end_registration(fabric, registration);
      }
    }
  }
}

/* ---- opening and closing ----------------------------------------------------------------------------------------- */

void hmci_ucx_fabric_open(hmci_ucx_fabric_t *fabric, const hmci_ucx_library_t *ucx, const hmci_settings_t *settings,
                          int events, uct_error_handler_t on_error) {
  *fabric = (hmci_ucx_fabric_t){.ucx = ucx, .settings = settings, .events = events, .on_error = on_error};
  pthread_mutex_init(&fabric->lock, NULL);
  pthread_mutex_init(&fabric->memory, NULL);
  pthread_cond_init(&fabric->made, NULL);
  for (int i = 0; i < HMCI_UCX_BUCKETS; i++) hmci_list_init(&fabric->registrations[i]);
  hmci_list_init(&fabric->lanes);
  hmci_list_init(&fabric->active);
}

void hmci_ucx_fabric_close(hmci_ucx_fabric_t *fabric) {
  const hmci_ucx_library_t *ucx = fabric->ucx;
  for (uint32_t i = 0; i < fabric->device_count; i++) {
    hmci_ucx_device_t *device = &fabric->devices[i];
    hmci_ucx_fabric_drop(fabric, device);
    ucx->uct_iface_close(device->interface);
    ucx->uct_md_close(device->domain);
  }
  if (fabric->async) {
    ucx->uct_worker_destroy(fabric->worker);
    ucx->ucs_async_context_destroy(fabric->async);
  }
  pthread_cond_destroy(&fabric->made);
  pthread_mutex_destroy(&fabric->memory);
  pthread_mutex_destroy(&fabric->lock);
}
