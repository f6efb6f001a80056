/* Registered memory: a cache over the ranges of regions that adapters reach.
 *
 * A region is registered as a whole when it is first used, by an operation of this side or by a peer that opens it, and
 * stays so until it closes. Where that would pin more than HMC_RDMA_PINNED_MAX, what was used least recently goes;
 * where even that does not make room, operations of this side use blocks of the region, and peers get it staged.
 * Entries are found by region and generation, never by address: memory that is freed and registered again is another
 * region.
 *
 * To register a GiB takes a good part of a second, so nothing is registered or deregistered under the transport's lock,
 * which all peers share, nor in the loop's thread. Who needs memory that is not registered leaves a job, which the
 * registrar does (registrar.c), and comes again when that is done. Invariant: an entry is in the table once it is
 * registered, or known to be refused, and has left it before it is deregistered. A job knows all that it needs of its
 * region, which may close meanwhile: then nobody gets what it makes.
 *
 * A registration that peers have the key of belongs to one region and ends with it, because that is what keeps peers out.
 * What only this side uses is shared by range, with other regions and with those to come (memory/cache.h).
 *
 * Device memory is registered by a dma-buf, or by its address (peer memory), where it and the adapter can do that;
 * which of the two a kind does not take is remembered. A region that the program made of a dma-buf's descriptor is host
 * memory; where the kernel does not pin it by its address it is registered by that descriptor.
 *
 * What is registered of a leased region gives peers no rights: they reach it by messages alone (answer.c).
 *
 * `pinned` counts the bytes of entries, of all devices. */
#include "device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 16 << 20 }; /* of a region that is too large as a whole */

typedef struct verbs_handle {
  struct ibv_mr *handle;
  uint64_t address; /* as in verbs_memory_t */
  verbs_way_t way;
  bool writable;
} verbs_handle_t;

/* Memory of a kind and device, as a number that is not 0 but for the host's. */
static uint32_t traits_of(hmc_memory_t memory, const hmci_memory_ops_t *ops) {
  return ops->host_accessible ? 0 : ((uint32_t)memory.kind + 1) << 16 | (uint32_t)memory.device;
}

static hmci_list_t *bucket_of(verbs_device_t *device, uint32_t region) {
  return &device->buckets[region % VERBS_BUCKETS];
}

static void deregister(verbs_device_t *device, struct ibv_mr *handle, uint64_t size) {
  int error = ibv_dereg_mr(handle);
  if (error) hmci_log(HMC_LOG_ERROR, "deregistering %llu B failed: %s", (unsigned long long)size, strerror(error));
  device->transport->pinned -= size;
}

/* Takes an entry out of the table. */
static void detach(verbs_memory_t *memory, hmci_list_t *dropped) {
  hmci_list_remove(&memory->bucket);
  hmci_list_remove(&memory->age);
  hmci_list_append(dropped, &memory->age);
}

static void destroy(verbs_memory_t *memory) {
  if (memory->shared) {
    hmci_cache_release(&memory->device->cache, memory->shared);
  } else if (memory->handle) {
    deregister(memory->device, memory->handle, memory->size);
  }
  free(memory);
}

void hmci_verbs_memory_free(hmci_list_t *dropped) {
  while (!hmci_list_is_empty(dropped)) {
    verbs_memory_t *memory = HMCI_CONTAINER(dropped->next, verbs_memory_t, age);
    hmci_list_remove(&memory->age);
    destroy(memory);
  }
}

/* What was used least recently and may go; NULL: nothing. */
static verbs_memory_t *find_oldest(verbs_device_t *device) {
  for (hmci_list_t *link = device->ages.next; link != &device->ages; link = link->next) {
    verbs_memory_t *memory = HMCI_CONTAINER(link, verbs_memory_t, age);
    if (memory->handle && !memory->users && !memory->exported) return memory;
  }
  return NULL;
}

/* Makes room for `size` more pinned bytes. False: there is none. Lets go of the lock meanwhile. */
static bool make_room(verbs_device_t *device, uint64_t size) {
  verbs_transport_t *transport = device->transport;
  uint64_t most = transport->host->settings->verbs_pinned_max;
  if (!most) return true;
  while (transport->pinned > most - size) {
    hmci_list_t dropped;
    hmci_list_init(&dropped);
    pthread_mutex_unlock(&transport->lock);
    bool trimmed = hmci_cache_trim(&device->cache); /* what nobody needs goes first */
    pthread_mutex_lock(&transport->lock);
    if (trimmed) continue;
    verbs_memory_t *oldest = find_oldest(device);
    if (!oldest) return false;
    detach(oldest, &dropped);
    pthread_mutex_unlock(&transport->lock);
    hmci_verbs_memory_free(&dropped);
    pthread_mutex_lock(&transport->lock);
  }
  return true;
}

static void say_limit(verbs_transport_t *transport, uint64_t size) {
  if (transport->told_of_the_limit) return;
  transport->told_of_the_limit = true;
  hmci_log(HMC_LOG_WARNING,
           "%llu B more would exceed HMC_RDMA_PINNED_MAX (%llu B): such memory is registered in parts, or staged",
           (unsigned long long)size, (unsigned long long)transport->host->settings->verbs_pinned_max);
}

static struct ibv_mr *register_range(verbs_device_t *device, uint8_t *base, uint64_t size, uint64_t address,
                                     unsigned rights, bool *writable) {
  int access = rights & HMC_REMOTE_READ ? IBV_ACCESS_REMOTE_READ : 0;
  int write = IBV_ACCESS_LOCAL_WRITE | (rights & HMC_REMOTE_WRITE ? IBV_ACCESS_REMOTE_WRITE : 0);
  *writable = true;
  struct ibv_mr *handle = ibv_reg_mr_iova(device->domain, base, size, address, access | write);
  if (handle || (errno != EFAULT && errno != EACCES && errno != EPERM)) return handle;
  *writable = false; /* memory that may only be read can still be sent */
  return ibv_reg_mr_iova(device->domain, base, size, address, access);
}

/* Host memory that the kernel does not pin by its address, because a driver has mapped it: by its dma-buf. */
static struct ibv_mr *register_mapped(const verbs_device_t *device, const hmci_region_view_t *region,
                                      uint64_t address) {
  const verbs_transport_t *transport = device->transport;
  int access = IBV_ACCESS_LOCAL_WRITE | (region->rights & HMC_REMOTE_READ ? IBV_ACCESS_REMOTE_READ : 0) |
               (region->rights & HMC_REMOTE_WRITE ? IBV_ACCESS_REMOTE_WRITE : 0);
  if (region->descriptor < 0 || !transport->register_dmabuf) return NULL;
  return transport->register_dmabuf(device->domain, region->descriptor_offset, region->size, address,
                                    region->descriptor, access);
}

static struct ibv_mr *register_dmabuf(verbs_device_t *device, const hmci_memory_ops_t *ops, int number, uint8_t *base,
                                      uint64_t size, uint64_t address, int access) {
  const verbs_transport_t *transport = device->transport;
  int descriptor;
  uint64_t offset;
  if (!ops->export_dmabuf || !transport->register_dmabuf) {
    errno = ENOSYS;
    return NULL;
  }
  hmc_status_t status = ops->export_dmabuf(number, base, size, &descriptor, &offset);
  if (status != HMC_SUCCESS) {
    errno = status == HMC_NO_MEMORY ? ENOMEM : EOPNOTSUPP;
    return NULL;
  }
  struct ibv_mr *handle = transport->register_dmabuf(device->domain, offset, size, address, descriptor, access);
  int error = errno;
  close(descriptor); /* the registration keeps what it needs */
  errno = error;
  return handle;
}

/* Device memory: by a dma-buf, or by its address where the driver of that memory is known to the kernel's RDMA. What a
 * kind does not take is remembered; a lack of memory is not the kind's fault. */
static struct ibv_mr *register_foreign(verbs_device_t *device, const hmci_memory_ops_t *ops, int number, uint8_t *base,
                                       uint64_t size, uint64_t address, unsigned rights, verbs_way_t *way) {
  int access = IBV_ACCESS_LOCAL_WRITE | (rights & HMC_REMOTE_READ ? IBV_ACCESS_REMOTE_READ : 0) |
               (rights & HMC_REMOTE_WRITE ? IBV_ACCESS_REMOTE_WRITE : 0);
  _Atomic int *no_dmabuf = &device->no_dmabuf[ops->kind], *no_peer_memory = &device->no_peer_memory[ops->kind];
  struct ibv_mr *handle = NULL;
  if (!*no_dmabuf) {
    *way = VERBS_BY_DMABUF;
    handle = register_dmabuf(device, ops, number, base, size, address, access);
    if (!handle && errno != ENOMEM) *no_dmabuf = errno;
  }
  if (!handle && !*no_peer_memory) {
    *way = VERBS_BY_PEER_MEMORY;
    handle = ibv_reg_mr_iova(device->domain, base, size, address, access);
    if (!handle && errno != ENOMEM) *no_peer_memory = errno;
  }
  if (handle) device->reached[ops->kind] = true;
  return handle;
}

static const char *why_no_dmabuf(const verbs_device_t *device, const hmci_memory_ops_t *ops) {
  int error = device->no_dmabuf[ops->kind];
  if (!ops->export_dmabuf) return "HMC exports none of that memory";
  if (!device->transport->register_dmabuf) return "libibverbs is too old";
  return strerror(error);
}

void hmci_verbs_memory_why(const verbs_device_t *device, const hmci_memory_ops_t *ops, char *text, size_t size) {
  text[0] = 0;
  if (ops->host_accessible || !device->no_dmabuf[ops->kind]) return;
  snprintf(text, size, "dma-buf: %s", why_no_dmabuf(device, ops));
  size_t used = strlen(text);
  if (device->no_peer_memory[ops->kind])
    snprintf(text + used, size - used, "; peer memory: %s", strerror(device->no_peer_memory[ops->kind]));
}

bool hmci_verbs_memory_is_reached(const verbs_device_t *device, const hmci_memory_ops_t *ops) {
  if (ops->host_accessible) return true;
  return (int)ops->kind < VERBS_KINDS && !(device->no_dmabuf[ops->kind] && device->no_peer_memory[ops->kind]);
}

void hmci_verbs_memory_begin(verbs_transport_t *transport) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), start;
  hmci_random(&start, sizeof start);
  transport->next_address = (start >> 2) / page * page; /* the other three quarters are to be used */
  hmci_list_init(&transport->jobs);
  hmci_list_init(&transport->asks);
  hmci_list_init(&transport->dropped);
}

/* A name for memory towards peers, with the offset in a page that hardware asks for. No two registrations of a context
 * ever share a byte of what they are called: hardware gives the key of a closed region out again, and a write that was
 * on its way to the old one must not fit into the new one. No pointer of ours leaves the process either. */
static uint64_t take_address(verbs_transport_t *transport, const uint8_t *base, uint64_t size) {
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), inside = (uint64_t)(uintptr_t)base & (page - 1);
  return atomic_fetch_add(&transport->next_address, (inside + size + page - 1) / page * page) + inside;
}

static hmc_status_t register_own(verbs_device_t *device, uint8_t *base, uint64_t size, uint32_t traits, unsigned rights,
                                 verbs_handle_t *made) {
  const hmci_memory_ops_t *ops;
  made->address = take_address(device->transport, base, size);
  if (!traits) {
    made->handle = register_range(device, base, size, made->address, rights, &made->writable);
  } else {
    hmc_memory_t memory = {(hmc_memory_kind_t)((traits >> 16) - 1), (int)(traits & 0xffff)};
    hmc_status_t status = hmci_memory_find(memory, &ops);
    if (status != HMC_SUCCESS) return status;
    made->handle = register_foreign(device, ops, memory.device, base, size, made->address, rights, &made->way);
    made->writable = true;
  }
  if (!made->handle) return hmci_fail(HMC_UNSUPPORT, "%s", strerror(errno));
  device->transport->pinned += size;
  return HMC_SUCCESS;
}

/* A whole region that peers reach, where its address does not do. */
static bool register_by_descriptor(verbs_device_t *device, const hmci_region_view_t *region, verbs_handle_t *made) {
  made->handle = register_mapped(device, region, made->address);
  if (!made->handle) return false;
  made->way = VERBS_BY_DMABUF;
  made->writable = true;
  device->transport->pinned += region->size;
  return true;
}

/* ---- what only this side uses, by range -------------------------------------------------------------------------- */

static hmc_status_t make_shared(void *owner, uint8_t *base, uint64_t size, uint32_t traits, void **thing) {
  verbs_handle_t *made = calloc(1, sizeof *made);
  if (!made) return hmci_fail(HMC_NO_MEMORY, "no memory");
  hmc_status_t status = register_own(owner, base, size, traits, 0, made);
  if (status == HMC_SUCCESS) {
    *thing = made;
  } else {
    free(made);
  }
  return status;
}

static void drop_shared(void *owner, void *thing, uint64_t size) {
  deregister(owner, ((verbs_handle_t *)thing)->handle, size);
  free(thing);
}

static const hmci_cache_ops_t shared_ops = {make_shared, drop_shared};

void hmci_verbs_memory_open(verbs_device_t *device) {
  for (int i = 0; i < VERBS_BUCKETS; i++) hmci_list_init(&device->buckets[i]);
  hmci_list_init(&device->ages);
  hmci_cache_open(&device->cache, &shared_ops, device, device->transport->host->settings->registration_cache);
}

void hmci_verbs_memory_close(verbs_device_t *device) {
  hmci_list_t dropped;
  hmci_list_init(&dropped);
  hmci_verbs_memory_drop(device, NULL, &dropped);
  hmci_verbs_memory_free(&dropped);
  hmci_cache_close(&device->cache);
}

static hmc_status_t acquire_shared(verbs_device_t *device, uint8_t *base, uint64_t size, uint32_t traits,
                                   verbs_memory_t *memory, verbs_handle_t *found) {
  hmc_status_t status = hmci_cache_acquire(&device->cache, base, size, traits, &memory->shared);
  if (status != HMC_SUCCESS) return status;
  *found = *(const verbs_handle_t *)memory->shared->thing;
  memory->base = memory->shared->base;
  memory->size = memory->shared->size;
  return HMC_SUCCESS;
}

/* ---- what belongs to regions ------------------------------------------------------------------------------------- */

static bool is_of(const hmci_region_view_t *region, uint32_t id, uint32_t generation) {
  return region->id == id && region->generation == generation;
}

static verbs_memory_t *find(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset, uint64_t size) {
  hmci_list_t *bucket = bucket_of(device, region->id);
  for (hmci_list_t *link = bucket->next; link != bucket; link = link->next) {
    verbs_memory_t *memory = HMCI_CONTAINER(link, verbs_memory_t, bucket);
    if (!is_of(region, memory->region, memory->generation)) continue;
    if (memory->base <= region->base + offset && region->base + offset + size <= memory->base + memory->size)
      return memory;
  }
  return NULL;
}

/* Registers [offset, offset + size) of a region, and enters it into nothing yet. What has no handle then remembers that
 * the device does not take this region. Comes without the lock. */
static verbs_memory_t *make(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset, uint64_t size) {
  verbs_memory_t *memory = calloc(1, sizeof *memory);
  if (!memory) return NULL;
  *memory = (verbs_memory_t){.device = device,
                             .region = region->id,
                             .generation = region->generation,
                             .base = region->base + offset,
                             .size = size};
  hmci_list_init(&memory->bucket);
  hmci_list_init(&memory->age);
  bool whole = offset == 0 && size == region->size,
       exports = whole && !region->leased && region->rights & (HMC_REMOTE_READ | HMC_REMOTE_WRITE);
  verbs_handle_t handle = {0};
  uint32_t traits = traits_of(region->memory, region->ops);
  hmc_status_t status = exports ? register_own(device, memory->base, size, traits, region->rights, &handle)
                                : acquire_shared(device, memory->base, size, traits, memory, &handle);
  if (status != HMC_SUCCESS && exports && !traits && register_by_descriptor(device, region, &handle))
    status = HMC_SUCCESS;
  if (status != HMC_SUCCESS) {
    hmci_log(traits ? HMC_LOG_DEBUG : HMC_LOG_WARNING,
             "%llu B of %s memory cannot be registered and will be staged: %s (ulimit -l tells how much may be pinned)",
             (unsigned long long)size, region->ops->name, hmc_last_error());
  }
  memory->handle = handle.handle;
  memory->address = handle.address;
  memory->way = handle.way;
  memory->writable = handle.writable;
  return memory;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

static void end_job(verbs_job_t *job) {
  hmci_list_remove(&job->link);
  if (job->region.descriptor >= 0) close(job->region.descriptor);
  free(job);
}

static verbs_job_t *find_job(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset, uint64_t size) {
  hmci_list_t *jobs = &device->transport->jobs;
  for (hmci_list_t *link = jobs->next; link != jobs; link = link->next) {
    verbs_job_t *job = HMCI_CONTAINER(link, verbs_job_t, link);
    if (job->device != device || job->orphan || !is_of(region, job->region.id, job->region.generation)) continue;
    if (job->offset <= offset && offset + size <= job->offset + job->size) return job;
  }
  return NULL;
}

/* One that stays open though the region closes; -1 where there is none. */
static int copy_descriptor(const hmci_region_view_t *region) {
  return region->descriptor >= 0 ? fcntl(region->descriptor, F_DUPFD_CLOEXEC, 0) : -1;
}

/* Has a range registered. HMC_IN_PROGRESS: it is being done. HMC_UNSUPPORT: there is no room for it, or nobody to do
 * it. */
static hmc_status_t want(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset, uint64_t size) {
  verbs_transport_t *transport = device->transport;
  uint64_t most = transport->host->settings->verbs_pinned_max;
  if (most && size > most) {
    say_limit(transport, size);
    return HMC_UNSUPPORT;
  }
  verbs_job_t *job = find_job(device, region, offset, size);
  if (job && job->phase != VERBS_JOB_NO_ROOM) return HMC_IN_PROGRESS;
  if (job) {
    end_job(job);
    return HMC_UNSUPPORT;
  }
  if (!transport->upward->register_soon(transport) || !(job = calloc(1, sizeof *job))) return HMC_UNSUPPORT;
  hmci_region_note_reached(region);
  *job = (verbs_job_t){.device = device,
                       .region = {.base = region->base,
                                  .size = region->size,
                                  .memory = region->memory,
                                  .ops = region->ops,
                                  .id = region->id,
                                  .generation = region->generation,
                                  .rights = region->rights,
                                  .leased = region->leased,
                                  .descriptor = copy_descriptor(region),
                                  .descriptor_offset = region->descriptor_offset},
                       .offset = offset,
                       .size = size};
  hmci_list_append(&transport->jobs, &job->link);
  return HMC_IN_PROGRESS;
}

static verbs_job_t *find_waiting(verbs_transport_t *transport) {
  for (hmci_list_t *link = transport->jobs.next; link != &transport->jobs; link = link->next) {
    verbs_job_t *job = HMCI_CONTAINER(link, verbs_job_t, link);
    if (job->phase == VERBS_JOB_WAITS) return job;
  }
  return NULL;
}

/* One that runs stays until it has seen that nobody wants it any more. */
static void orphan_jobs(verbs_device_t *device, const hmci_region_view_t *region) {
  hmci_list_t *jobs = &device->transport->jobs, *link = jobs->next;
  while (link != jobs) {
    verbs_job_t *job = HMCI_CONTAINER(link, verbs_job_t, link);
    link = link->next;
    if (job->device != device || (region && !is_of(region, job->region.id, job->region.generation))) continue;
    job->orphan = true;
    if (job->phase != VERBS_JOB_RUNS) end_job(job);
  }
}

/* A driver must not be asked about device memory that its owner has freed. */
static void await_orphans(verbs_device_t *device, const hmci_region_view_t *region) {
  verbs_transport_t *transport = device->transport;
  bool some = true;
  while (some) {
    some = false;
    for (hmci_list_t *link = transport->jobs.next; link != &transport->jobs; link = link->next) {
      const verbs_job_t *job = HMCI_CONTAINER(link, verbs_job_t, link);
      some |= job->device == device && is_of(region, job->region.id, job->region.generation);
    }
    if (some) pthread_cond_wait(&transport->registered, &transport->lock);
  }
}

bool hmci_verbs_memory_work(verbs_transport_t *transport) {
  verbs_job_t *job = find_waiting(transport);
  if (!job) return false;
  verbs_device_t *device = job->device;
  verbs_memory_t *made = NULL;
  hmci_list_t dropped;
  hmci_list_init(&dropped);
  job->phase = VERBS_JOB_RUNS;
  bool room = make_room(device, job->size);
  if (room && !job->orphan) {
    pthread_mutex_unlock(&transport->lock);
    made = make(device, &job->region, job->offset, job->size);
    pthread_mutex_lock(&transport->lock);
  }
  if (made && job->orphan) {
    hmci_list_append(&dropped, &made->age);
  } else if (made) {
    hmci_list_append(bucket_of(device, made->region), &made->bucket);
    hmci_list_append(&device->ages, &made->age);
  }
  if (made || job->orphan) {
    end_job(job);
  } else {
    job->phase = VERBS_JOB_NO_ROOM;
    say_limit(transport, job->size);
  }
  if (!hmci_list_is_empty(&dropped)) {
    pthread_mutex_unlock(&transport->lock);
    hmci_verbs_memory_free(&dropped);
    pthread_mutex_lock(&transport->lock);
  }
  pthread_cond_broadcast(&transport->registered);
  return true;
}

/* ---- using ------------------------------------------------------------------------------------------------------- */

/* The whole region where it fits, else blocks around the range. */
static hmc_status_t want_part(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset,
                              uint64_t size) {
  hmc_status_t status = want(device, region, 0, region->size);
  if (status != HMC_UNSUPPORT) return status;
  uint64_t start = offset / BLOCK * BLOCK, end = (offset + size + BLOCK - 1) / BLOCK * BLOCK;
  if (end > region->size) end = region->size;
  return end - start < region->size ? want(device, region, start, end - start) : status;
}

hmc_status_t hmci_verbs_memory_use(verbs_device_t *device, const hmci_region_view_t *region, uint64_t offset,
                                   uint64_t size, bool write, verbs_memory_t **used) {
  *used = NULL;
  if (region->anywhere || !hmci_verbs_memory_is_reached(device, region->ops)) return HMC_SUCCESS;
  verbs_memory_t *memory = find(device, region, offset, size);
  if (!memory) return want_part(device, region, offset, size) == HMC_IN_PROGRESS ? HMC_IN_PROGRESS : HMC_SUCCESS;
  if (!memory->handle || (write && !memory->writable)) return HMC_SUCCESS;
  if (device->ages.previous != &memory->age) {
    hmci_list_remove(&memory->age);
    hmci_list_append(&device->ages, &memory->age);
  }
  memory->users++;
  *used = memory;
  return HMC_SUCCESS;
}

/* What makes puts to memory of a device visible is a read of that memory. */
static bool cannot_be_flushed(const verbs_device_t *device, const hmci_region_view_t *region) {
  return !device->stores_at_once && region->rights & HMC_REMOTE_WRITE && !(region->rights & HMC_REMOTE_READ);
}

verbs_memory_t *hmci_verbs_memory_export(verbs_device_t *device, const hmci_region_view_t *region,
                                         verbs_cause_t *cause) {
  bool foreign = !region->ops->host_accessible;
  *cause = VERBS_DEVICE_MEMORY;
  if (!hmci_verbs_memory_is_reached(device, region->ops)) return NULL;
  if (foreign && cannot_be_flushed(device, region)) return NULL;
  verbs_memory_t *memory = find(device, region, 0, region->size);
  if (!memory) {
    *cause = want(device, region, 0, region->size) == HMC_IN_PROGRESS ? VERBS_LATER : VERBS_PIN_LIMIT;
    return NULL;
  }
  *cause = foreign ? VERBS_DEVICE_MEMORY : VERBS_REFUSED_BY_DEVICE;
  if (!memory->handle || (region->rights & HMC_REMOTE_WRITE && !memory->writable)) return NULL;
  if (memory->way != VERBS_BY_PAGES && cannot_be_flushed(device, region)) return NULL;
  memory->exported = true;
  return memory;
}

/* ---- ending ------------------------------------------------------------------------------------------------------ */

void hmci_verbs_memory_drop(verbs_device_t *device, const hmci_region_view_t *region, hmci_list_t *dropped) {
  orphan_jobs(device, region);
  if (region && !region->ops->host_accessible) await_orphans(device, region);
  hmci_list_t *link = device->ages.next;
  while (link != &device->ages) {
    verbs_memory_t *memory = HMCI_CONTAINER(link, verbs_memory_t, age);
    link = link->next;
    if (!region || is_of(region, memory->region, memory->generation)) detach(memory, dropped);
  }
}

void hmci_verbs_memory_tidy(verbs_transport_t *transport) {
  hmci_list_t dropped;
  bool idle[VERBS_DEVICES] = {false};
  hmci_list_init(&dropped);
  pthread_mutex_lock(&transport->lock);
  while (!hmci_list_is_empty(&transport->dropped)) {
    hmci_list_t *link = transport->dropped.next;
    hmci_list_remove(link);
    hmci_list_append(&dropped, link);
  }
  for (uint32_t i = 0; i < transport->device_count; i++)
    idle[i] = transport->devices[i].started && !transport->devices[i].rails;
  pthread_mutex_unlock(&transport->lock);
  hmci_verbs_memory_free(&dropped);
  for (uint32_t i = 0; i < VERBS_DEVICES; i++) {
    while (idle[i] && hmci_cache_trim(&transport->devices[i].cache)) continue;
  }
}
