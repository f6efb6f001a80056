/* What the tests of registered memory share: a device that registers what the test lets it, by standing in for
 * libibverbs, and a transport around it. Included by them only, after nothing but this.
 *
 * The tests run with the transport's lock, as its callers do. */
#ifndef HMCI_VERBS_MEMORY_TEST_H
#define HMCI_VERBS_MEMORY_TEST_H

#include "device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* ---- a device that registers everything, or what the test lets it ------------------------------------------------ */

static uint32_t registered, attempts;
static bool refuse_writing, refuse_all, refuse_foreign, refuse_mapped;
static struct {
  void *base;
  size_t size;
  uint64_t address;
  int access;
} last;

/* What happens while it registers: a look at this lock; and a region that closes. */
static pthread_mutex_t *watched;
static uint32_t held;
static struct scene *closing;
static const hmci_region_view_t *closing_region;
static inline void close_meanwhile(void);

static inline void look_at_lock(void) {
  if (!watched) return;
  if (pthread_mutex_trylock(watched)) {
    held++;
  } else {
    pthread_mutex_unlock(watched);
  }
}

#undef ibv_reg_mr_iova

struct ibv_mr *ibv_reg_mr_iova(struct ibv_pd *domain, void *base, size_t size, uint64_t address, int access) {
  (void)domain;
  attempts++;
  look_at_lock();
  if (closing) close_meanwhile();
  if (refuse_foreign || (refuse_mapped && base)) {
    errno = EFAULT;
    return NULL;
  }
  if (refuse_all || (refuse_writing && access & (IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE))) {
    errno = refuse_all ? ENOMEM : EFAULT;
    return NULL;
  }
  struct ibv_mr *handle = calloc(1, sizeof *handle);
  assert_non_null(handle);
  handle->lkey = 1000 + attempts;
  handle->rkey = 2000 + attempts;
  last.base = base;
  last.size = size;
  last.address = address;
  last.access = access;
  registered++;
  return handle;
}

struct ibv_mr *ibv_reg_mr_iova2(struct ibv_pd *domain, void *base, size_t size, uint64_t address, unsigned access) {
  return ibv_reg_mr_iova(domain, base, size, address, (int)access);
}

int ibv_dereg_mr(struct ibv_mr *handle) {
  look_at_lock();
  registered--;
  free(handle);
  return 0;
}

/* ---- fixture ----------------------------------------------------------------------------------------------------- */

enum { KIB = 1 << 10, MIB = 1 << 20 };

typedef struct scene {
  hmci_settings_t settings;
  hmci_host_t host;
  verbs_transport_t transport;
  verbs_device_t *device;
} scene_t;

static inline bool register_soon(verbs_transport_t *transport) {
  (void)transport;
  return true; /* the tests do the jobs themselves */
}
static const verbs_upward_t upward = {.register_soon = register_soon};

static inline int open_scene(void **state) {
  scene_t *scene = calloc(1, sizeof *scene);
  registered = attempts = 0;
  refuse_writing = refuse_all = refuse_foreign = refuse_mapped = false;
  watched = NULL;
  held = 0;
  closing = NULL;
  scene->host.settings = &scene->settings;
  scene->transport.host = &scene->host;
  scene->device = &scene->transport.devices[0];
  scene->device->transport = &scene->transport;
  scene->settings.registration_cache = 4 * MIB;
  scene->transport.upward = &upward;
  pthread_mutex_init(&scene->transport.lock, NULL);
  pthread_cond_init(&scene->transport.registered, NULL);
  hmci_verbs_memory_begin(&scene->transport);
  hmci_verbs_memory_open(scene->device);
  pthread_mutex_lock(&scene->transport.lock);
  *state = scene;
  return 0;
}

static inline int close_scene(void **state) {
  scene_t *scene = *state;
  pthread_mutex_unlock(&scene->transport.lock);
  hmci_verbs_memory_close(scene->device);
  pthread_cond_destroy(&scene->transport.registered);
  pthread_mutex_destroy(&scene->transport.lock);
  bool clean = registered == 0 && scene->transport.pinned == 0;
  free(scene);
  return clean ? 0 : -1;
}

/* Nothing here touches the bytes, so that any address will do. */
static inline hmci_region_view_t region_of(uint32_t id, uint64_t size, uint32_t rights) {
  return (hmci_region_view_t){.base = (uint8_t *)(uintptr_t)(UINT64_C(0x100000000) * (id + 1) + 0x123),
                              .size = size,
                              .id = id,
                              .generation = 1,
                              .rights = rights,
                              .descriptor = -1,
                              .ops = &hmci_memory_host};
}

static inline verbs_memory_t *use_to(scene_t *scene, const hmci_region_view_t *region, uint64_t offset, uint64_t size,
                                     bool write) {
  verbs_memory_t *memory;
  while (hmci_verbs_memory_use(scene->device, region, offset, size, write, &memory) == HMC_IN_PROGRESS)
    assert_true(hmci_verbs_memory_work(&scene->transport));
  return memory;
}

static inline verbs_memory_t *use(scene_t *scene, const hmci_region_view_t *region, uint64_t offset, uint64_t size) {
  return use_to(scene, region, offset, size, true);
}

static inline verbs_memory_t *lend(scene_t *scene, const hmci_region_view_t *region, verbs_cause_t *cause) {
  verbs_memory_t *memory;
  while (!(memory = hmci_verbs_memory_export(scene->device, region, cause)) && *cause == VERBS_LATER)
    assert_true(hmci_verbs_memory_work(&scene->transport));
  return memory;
}

static inline void drop(scene_t *scene, const hmci_region_view_t *region) {
  hmci_list_t dropped;
  hmci_list_init(&dropped);
  hmci_verbs_memory_drop(scene->device, region, &dropped);
  hmci_verbs_memory_free(&dropped);
}

static inline void close_meanwhile(void) {
  scene_t *scene = closing;
  closing = NULL;
  pthread_mutex_lock(&scene->transport.lock);
  drop(scene, closing_region);
  pthread_mutex_unlock(&scene->transport.lock);
}

#endif
