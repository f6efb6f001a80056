/* The memory table: one folder per kind of memory, one ops table each.
 *
 * Locking: backends lock for themselves; every op may be called from any thread at once. A backend that lacks an op
 * leaves it NULL and the registry answers HMC_UNSUPPORT with a text.
 *
 * Order and visibility. A copy that is over is there for all who look, whatever stream or kernel that is. Copies that
 * `copy_start` began on one device in one direction end in the order in which they began; others are in no order. No op
 * but those that name a stream waits for, or holds up, work of the user's streams: a kernel that spins until HMC's bytes
 * arrive must not stop them. Every op leaves the calling thread's current device and context as it found them.
 *
 * Vendor runtimes are opened with dlopen when `open` is first called, never linked. */
#ifndef HMCI_MEMORY_H
#define HMCI_MEMORY_H

#include "list.h"

#include "../base/base.h"

#include <hmc/memory.h>

/* Bytes that lead another process on this host to a range of an allocation: what the vendor's IPC handle is, and where
 * in it the range lies. */
#define HMCI_MEMORY_EXPORT_MAX 128

typedef struct hmci_memory_export {
  int descriptor; /* to be passed over a UNIX socket, or -1; the receiver of the struct owns it */
  uint32_t size;  /* bytes used of `handle` */
  uint8_t handle[HMCI_MEMORY_EXPORT_MAX];
} hmci_memory_export_t;

/* A copy in progress. Backends without asynchronous copies leave `copy_start` NULL. */
typedef struct hmci_copy {
  void *state[4];
} hmci_copy_t;

/* One piece of a batch. */
typedef struct hmci_copy_piece {
  void *destination;
  const void *source;
  uint64_t size;
} hmci_copy_piece_t;

typedef enum hmci_copy_direction { HMCI_COPY_FROM_HOST, HMCI_COPY_TO_HOST, HMCI_COPY_WITHIN } hmci_copy_direction_t;

/* A place in a stream: what was queued before it. */
typedef struct hmci_event {
  void *state[2];
} hmci_event_t;

typedef struct hmci_memory_ops {
  hmc_memory_kind_t kind;
  const char *name;
  bool host_accessible; /* plain loads and stores reach it */
  bool exports_foreign; /* export_range takes memory, too, that `allocate` did not give */

  /* Finds the driver and counts devices, once. HMC_UNSUPPORT with a text that says what is missing. */
  hmc_status_t (*open)(int *devices);

  /* Zeroed memory, aligned to 256 or more. */
  hmc_status_t (*allocate)(int device, size_t size, void **pointer);
  hmc_status_t (*free)(int device, void *pointer);

  /* Between this memory and the host, and inside this memory (also between two devices of the kind). Blocking. */
  hmc_status_t (*copy_from_host)(int device, void *destination, const void *source, size_t size);
  hmc_status_t (*copy_to_host)(int device, void *destination, const void *source, size_t size);
  hmc_status_t (*copy_within)(int device, void *destination, const void *source, size_t size);

  /* The same, started on the device's copy engine: `copy_done` answers HMC_IN_PROGRESS until the bytes are there, then
   * releases the copy's resources and answers HMC_SUCCESS or an error, exactly once. Either side of `copy_start` may be
   * the host. The bytes may move as late as in the call of copy_done that answers HMC_SUCCESS: do not read the
   * destination earlier. */
  hmc_status_t (*copy_start)(int device, void *destination, const void *source, size_t size, bool to_host,
                             hmci_copy_t *copy);
  hmc_status_t (*copy_done)(hmci_copy_t *copy);

  /* Starts many copies of one direction as one submission, which `copy_done` ends as one copy. The pieces are read before
   * it returns. Their order is open, so no piece may overlap another's destination. A failure means that none counts as
   * copied. */
  hmc_status_t (*copy_batch_start)(int device, const hmci_copy_piece_t *pieces, uint32_t count,
                                   hmci_copy_direction_t direction, hmci_copy_t *copy);

  /* Streams of the user's: the vendor's own handles (CUstream, hipStream_t, cnrtQueue_t, musaStream_t, aclrtStream), NULL:
   * the device's default one. `copy_on_stream` queues a copy behind what the stream has; either side may be the host.
   * `stream_wait` returns when the stream has done all that was queued. `event_record` notes the place that the stream has
   * come to; `event_done` answers HMC_IN_PROGRESS until the stream is past it, then releases it and answers HMC_SUCCESS or
   * an error, exactly once. */
  hmc_status_t (*stream_create)(int device, void **stream);
  hmc_status_t (*stream_destroy)(int device, void *stream);
  hmc_status_t (*stream_wait)(int device, void *stream);
  hmc_status_t (*copy_on_stream)(int device, void *destination, const void *source, size_t size, void *stream);
  hmc_status_t (*event_record)(int device, void *stream, hmci_event_t *event);
  hmc_status_t (*event_done)(hmci_event_t *event);

  /* Host memory that the device's copy engines reach without a copy by the driver, on the device's NUMA node where there
   * is one; and the same for memory that exists. What is pinned is whole pages: the driver may refuse a range that shares
   * a page with one that is pinned already (HMC_INVALID_CONFIG). */
  hmc_status_t (*host_allocate)(int device, size_t size, void **pointer);
  hmc_status_t (*host_free)(int device, void *pointer);
  hmc_status_t (*pin)(int device, void *pointer, size_t size);
  hmc_status_t (*unpin)(int device, void *pointer);

  /* As `allocate`, and processes that get its export can map it, and devices and adapters reach it, as far as the platform
   * can: memory of its own physical pages where the driver has such, else as `allocate`. Freed by `free`. */
  hmc_status_t (*allocate_peerable)(int device, size_t size, void **pointer);

  /* What the device is. `properties` is zeroed but for its size and memory. */
  hmc_status_t (*properties)(int device, hmc_memory_properties_t *properties);
  /* May `device` read and write memory of `other` by itself? */
  hmc_status_t (*reaches)(int device, int other, bool *reaches);

  /* Bytes that others wrote into the device's memory by themselves (an adapter, another device) are there for whatever
   * runs on the device from now on, a kernel that is running included. NULL: they always are. */
  hmc_status_t (*settle)(int device);

  /* HMC_NOT_FOUND when the pointer is none of this memory's. */
  hmc_status_t (*query)(const void *pointer, hmc_memory_info_t *info);

  /* For other processes of this host: export a range that lies in one allocation; import gives a pointer to where the
   * range begins that this kind's copies take; release undoes import. `device` is the number that the exporting process
   * has for the device, which another one may have under another number: a backend finds it by the handle. */
  hmc_status_t (*export_range)(int device, void *pointer, size_t size, hmci_memory_export_t *exported);
  hmc_status_t (*import_range)(int device, const hmci_memory_export_t *exported, size_t size, void **pointer);
  void (*release_import)(int device, void *pointer, size_t size);

  /* For devices that read and write this memory by themselves: a dma-buf with a range that lies in one allocation, and
   * where in it the range begins. The descriptor is the caller's. HMC_UNSUPPORT: this memory has none. */
  hmc_status_t (*export_dmabuf)(int device, void *pointer, size_t size, int *descriptor, uint64_t *offset);
} hmci_memory_ops_t;

/* The tables, one per folder. */
#define HMCI_DECLARE(folder, KIND, needs) extern const hmci_memory_ops_t hmci_memory_##folder;
HMCI_MEMORY_LIST(HMCI_DECLARE)
#undef HMCI_DECLARE

#pragma GCC visibility push(default) /* modules call this: see hmc.map */
/* The table of a resolved memory, opened. Errors: HMC_UNSUPPORT, HMC_NOT_FOUND (device number). */
hmc_status_t hmci_memory_find(hmc_memory_t memory, const hmci_memory_ops_t **ops);
#pragma GCC visibility pop

/* One reference more, which hmc_memory_event_free gives back. */
void hmci_memory_event_retain(hmc_memory_event_t *event);

/* For tests: puts a table in the place of that kind's (NULL: none), and returns what was there. Threads: no other call
 * of this room may run. */
const hmci_memory_ops_t *hmci_memory_replace(hmc_memory_kind_t kind, const hmci_memory_ops_t *ops);

#endif
