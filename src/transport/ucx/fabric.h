/* RDMA devices through UCT, the lower half of UCX: what lanes (lane.h) are made of. UCX's put and get of the upper half
 * take raw addresses from anybody who connects (see ucx.c); a reliable connection of UCT's, made with the addresses that
 * two authenticated peers have sent each other, takes nothing from anybody else, and the device checks every key.
 *
 * A device is opened when the first connection uses it, by the name that UCX has given there ("rc_verbs/mlx5_0:1"). Its
 * registrations are our own, of whole regions, found by region and generation, never by address. UCX's cache of them is
 * turned off, so that a region's memory is out of the device's reach when the region closes, and so is relaxed ordering
 * on the bus, which would let data come after what tells of them. They end with the region, or with the last lane of
 * the device.
 *
 * UCT's calls are inline functions over tables that change from one release of UCX to the next: there are devices only
 * where UCX is the release that HMC was built with, and lanes only between peers of one release.
 *
 * Locking. `lock` guards everything in here and in lanes, and every call of UCT, which calls back under it, but for those
 * that register and deregister memory: they take long, and who needs `lock` goes on meanwhile. UCP has them run beside
 * connections of the same device as well, one at a time, which `memory` sees to. `lock` is inner to the workers' locks;
 * `memory` is innermost. */
#ifndef HMCI_UCX_FABRIC_H
#define HMCI_UCX_FABRIC_H

#include "../transport.h"
#include "library.h"

#include <pthread.h>

enum { HMCI_UCX_DEVICES = 8, HMCI_UCX_DEVICE_NAME = 64, HMCI_UCX_BUCKETS = 64, HMCI_UCX_KEY = 64 };

typedef struct hmci_ucx_device {
  char name[HMCI_UCX_DEVICE_NAME];
  uct_component_h component;
  uct_md_h domain;
  uct_iface_h interface;
  uint32_t lanes;      /* that use it */
  bool stores_at_once; /* what it has acknowledged is visible: it needs no read behind a put (HMC_RDMA_FLUSH) */
  size_t key_size, address_size, endpoint_size;
} hmci_ucx_device_t;

typedef struct hmci_ucx_fabric {
  const hmci_ucx_library_t *ucx;
  const hmci_settings_t *settings;
  int events;                   /* an epoll set that gets the devices' descriptors */
  uct_error_handler_t on_error; /* an endpoint on one of them has failed; gets the fabric */

  pthread_mutex_t lock;
  ucs_async_context_t *async; /* NULL: no device was opened yet */
  uct_worker_h worker;
  hmci_ucx_device_t devices[HMCI_UCX_DEVICES];
  uint32_t device_count;
  pthread_mutex_t memory; /* held while memory is registered or deregistered */
  pthread_cond_t made;    /* with `lock`: a registration is made, or could not be */
  uint64_t pinned;        /* bytes */
  hmci_list_t registrations[HMCI_UCX_BUCKETS];
  hmci_list_t lanes;     /* all of them */
  hmci_list_t active;    /* lanes that have operations */
  _Atomic uint32_t busy; /* how many these are */
} hmci_ucx_fabric_t;

void hmci_ucx_fabric_open(hmci_ucx_fabric_t *fabric, const hmci_ucx_library_t *ucx, const hmci_settings_t *settings,
                          int events, uct_error_handler_t on_error);
/* All lanes must be closed. */
void hmci_ucx_fabric_close(hmci_ucx_fabric_t *fabric);

/* With `lock` held: the device of that name, opened if need be. NULL with a text: there is none. */
hmci_ucx_device_t *hmci_ucx_fabric_device(hmci_ucx_fabric_t *fabric, const char *name);
/* With `lock` held: a region's registration, made if need be, without `lock` meanwhile: what the caller knew of its lane is
 * to be looked at again. NULL: the device does not take it. */
uct_mem_h hmci_ucx_fabric_register(hmci_ucx_fabric_t *fabric, hmci_ucx_device_t *device,
                                   const hmci_region_view_t *region);
/* Without `lock`: ends the registrations of a region. One that is being made is waited for. */
void hmci_ucx_fabric_forget(hmci_ucx_fabric_t *fabric, const hmci_region_view_t *region);
/* With `lock` held: ends all of a device that no lane uses. */
void hmci_ucx_fabric_drop(hmci_ucx_fabric_t *fabric, const hmci_ucx_device_t *device);

/* With `lock` held: makes the devices wake the epoll set with the next completion. False: one has come meanwhile. */
bool hmci_ucx_fabric_arm(hmci_ucx_fabric_t *fabric);

#endif
