/* What the backends of real accelerators have in common: finding the vendor's library, its devices, streams of our own,
 * copies on them, exports and imports. A backend says by a table of small functions what its vendor's calls are.
 *
 * The library is opened once, when first asked for: by the path in the backend's setting, or else under the vendor's file
 * names. A symbol that is missing disables only what needs it; the backend's table names that need.
 *
 * Copies run on streams of the driver's own, which do not wait for the vendor's default stream: a kernel that spins until
 * HMC's bytes arrive holds nobody up. Asynchronous ones share one stream per direction, so that they end in order; blocking
 * ones take a stream for themselves.
 *
 * What is allocated or imported here is known by its range: its bounds, its device, and how it was made. The user's own
 * device memory is known to the vendor's library only, and is asked about where it matters.
 *
 * Locking: `lock` guards opening, and the making of streams; `known_lock` guards the ranges, for reading on every copy;
 * `import_lock`, outer to it, is held while an import is looked for and made, or given up, so that there is one of each; each device's `pool_lock` guards its spare streams and events. None is held while bytes move or a vendor's call may
 * block, opening and the making of things excepted. A child of fork() has no use of the library: every call fails there. */
#ifndef HMCI_DRIVER_H
#define HMCI_DRIVER_H

#include "../memory.h"
#include "../ranges.h"

#include <pthread.h>
#include <stdatomic.h>

enum { HMCI_DRIVER_DEVICES = 32, HMCI_DRIVER_HANDLE = 72, HMCI_DRIVER_SPARE = 64 };

/* What symbols are needed for; all of those of HMCI_NEED_BASE must be there. */
typedef enum hmci_need {
  HMCI_NEED_BASE,
  HMCI_NEED_QUERY,       /* telling whose memory a pointer is */
  HMCI_NEED_RANGE,       /* telling where a pointer's allocation begins */
  HMCI_NEED_IPC,         /* exports and imports by handle */
  HMCI_NEED_PHYSICAL,    /* memory of its own physical pages, shared by descriptor */
  HMCI_NEED_DMABUF,      /* */
  HMCI_NEED_PINNING,     /* */
  HMCI_NEED_HOST,        /* allocating pinned host memory */
  HMCI_NEED_BATCH,       /* */
  HMCI_NEED_BATCH_LATER, /* the same by a later version's call */
  HMCI_NEED_GATHER,      /* a kernel of our own */
  HMCI_NEED_PEERS,       /* */
  HMCI_NEED_PROPERTIES,  /* */
  HMCI_NEED_SETTLE,      /* */
  HMCI_NEEDS,
} hmci_need_t;

typedef struct hmci_symbol {
  const char *name; /* where versions name one call differently: all names, the preferred first, as "new|old" */
  size_t slot;      /* offset of the function pointer in the backend's `functions` */
  hmci_need_t need;
} hmci_symbol_t;

/* One copy, with the devices of both sides (-1: the host). */
typedef struct hmci_driver_copy {
  void *destination;
  const void *source;
  size_t size;
  hmci_copy_direction_t direction;
  int to_device, from_device;
} hmci_driver_copy_t;

/* The vendor's part. Entries that are NULL do not exist there. All but `start`, `query`, `describe`, `pci` and `reaches` are called
 * between enter and leave of the device concerned. */
typedef struct hmci_driver_ops {
  hmc_memory_kind_t kind;
  const char *name;             /* of the memory: "nvidia" */
  const char *variable;         /* the setting with the library's path: "HMC_CUDA_LIBRARY" */
  const char *const *files;     /* names to try, ended by NULL */
  const hmci_symbol_t *symbols; /* ended by a name of NULL */
  void *functions;              /* the struct that `slot` counts in */
  bool copies_across;           /* copies between two devices need no peer access, but may be faster with it */
  uint32_t handle_size;         /* of an IPC handle, at most HMCI_DRIVER_HANDLE */
  bool exports_foreign;         /* memory that it did not allocate for HMC can be exported too */
  size_t granule;               /* of physical memory; set by `start` where it has some */

  /* The symbols are there: initialises, looks at the version, counts devices. `version` is for people. */
  hmc_status_t (*start)(int *devices, char *version, size_t size);
  /* Makes the device the calling thread's, and back. */
  hmc_status_t (*enter)(int device, void **saved);
  void (*leave)(int device, void *saved);

  hmc_status_t (*allocate)(size_t size, void **pointer);
  hmc_status_t (*free)(void *pointer);
  hmc_status_t (*clear)(void *pointer, size_t size, void *stream);

  hmc_status_t (*stream_create)(void **stream);
  hmc_status_t (*stream_destroy)(void *stream);
  hmc_status_t (*stream_wait)(void *stream);
  hmc_status_t (*event_create)(void **event);
  hmc_status_t (*event_destroy)(void *event);
  hmc_status_t (*event_record)(void *event, void *stream);
  hmc_status_t (*event_query)(void *event); /* HMC_IN_PROGRESS: not yet */

  hmc_status_t (*copy)(const hmci_driver_copy_t *copy, void *stream);
  /* Many as one, none of them empty; HMC_UNSUPPORT: not these, one by one then. Nothing was queued on failure. `one_device`:
   * all of both sides is known to be memory of the current device. */
  hmc_status_t (*batch)(int device, const hmci_copy_piece_t *pieces, uint32_t count, hmci_copy_direction_t direction,
                        bool one_device, void *stream);

  hmc_status_t (*query)(const void *pointer, hmc_memory_info_t *info); /* HMC_NOT_FOUND */
  hmc_status_t (*host_allocate)(size_t size, void **pointer);
  hmc_status_t (*host_free)(void *pointer);
  hmc_status_t (*pin)(void *pointer, size_t size);
  hmc_status_t (*unpin)(void *pointer);

  hmc_status_t (*export)(void *base, size_t size, uint8_t *handle);
  void (*unexport)(const uint8_t *handle);
  hmc_status_t (*import)(const uint8_t *handle, void **base);
  void (*close_import)(void *base, const uint8_t *handle);

  /* Physical memory of a multiple of `granule`, mapped and accessible; by descriptor to other processes. */
  hmc_status_t (*physical_allocate)(int device, size_t size, void **pointer);
  void (*physical_free)(void *pointer, size_t size);
  hmc_status_t (*physical_export)(void *pointer, int *descriptor);
  hmc_status_t (*physical_import)(int device, int descriptor, size_t size, void **pointer);
  hmc_status_t (*dmabuf)(void *pointer, size_t size, int *descriptor, uint64_t *offset);

  hmc_status_t (*describe)(int device, hmc_memory_properties_t *properties); /* name, bytes */
  void (*pci)(int device, char *text, size_t size); /* "0000:c1:00.0", or nothing; makes no use of the device */
  hmc_status_t (*reaches)(int device, int other, bool *reaches);
  hmc_status_t (*let_in)(int device, int other); /* peer access of the current device to another */
  hmc_status_t (*settle)(int device);
} hmci_driver_ops_t;

typedef struct hmci_driver_device {
  pthread_mutex_t pool_lock;
  void *ordered[3];                   /* driver lock to make; one per hmci_copy_direction_t */
  void *streams[HMCI_DRIVER_SPARE];   /* pool_lock */
  void *events[HMCI_DRIVER_SPARE];    /* pool_lock */
  unsigned stream_count, event_count; /* pool_lock */
  _Atomic uint32_t lets_in;           /* devices that it has peer access to: a bit each */
  _Atomic uint32_t tried;             /* devices that it asked for peer access to, where copies go without it too */
  uint64_t address;                   /* of its PCI address, to know it by in other processes; 0: not known */
} hmci_driver_device_t;

typedef struct hmci_driver {
  const hmci_driver_ops_t *ops;
  pthread_mutex_t lock;
  _Atomic int state;    /* 0: not yet opened, 1: works, 2: does not */
  hmc_status_t failure; /* constant from then on, as all below */
  char reason[256];     /* why it does not work */
  char file[256], version[64];
  char lacking[HMCI_NEEDS][48]; /* the first symbol that is missing; empty: none */
  int devices, process;
  uint64_t token; /* tells this process's exports */
  pthread_mutex_t import_lock;
  pthread_rwlock_t known_lock;
  hmci_ranges_t known; /* known_lock; items: driver_known_t of share.h */
  hmci_driver_device_t device[HMCI_DRIVER_DEVICES];
} hmci_driver_t;

#define HMCI_DRIVER_INIT(operations)                                                                                   \
  {                                                                                                                    \
    .ops = &(operations), .lock = PTHREAD_MUTEX_INITIALIZER, .import_lock = PTHREAD_MUTEX_INITIALIZER,                 \
    .known_lock = PTHREAD_RWLOCK_INITIALIZER                                                                           \
  }

/* What a setting of the library's has, or an empty text. */
void hmci_driver_setting(const char *variable, char text[256]);

/* The memory table's entries, each with the driver in front: see table.h. */
hmc_status_t hmci_driver_open(hmci_driver_t *driver, int *devices);
hmc_status_t hmci_driver_allocate(hmci_driver_t *driver, int device, size_t size, void **pointer);
hmc_status_t hmci_driver_allocate_peerable(hmci_driver_t *driver, int device, size_t size, void **pointer);
hmc_status_t hmci_driver_free(hmci_driver_t *driver, int device, void *pointer);
hmc_status_t hmci_driver_query(hmci_driver_t *driver, const void *pointer, hmc_memory_info_t *info);
hmc_status_t hmci_driver_host_allocate(hmci_driver_t *driver, int device, size_t size, void **pointer);
hmc_status_t hmci_driver_host_free(hmci_driver_t *driver, int device, void *pointer);
hmc_status_t hmci_driver_pin(hmci_driver_t *driver, int device, void *pointer, size_t size);
hmc_status_t hmci_driver_unpin(hmci_driver_t *driver, int device, void *pointer);
hmc_status_t hmci_driver_properties(hmci_driver_t *driver, int device, hmc_memory_properties_t *properties);
hmc_status_t hmci_driver_reaches(hmci_driver_t *driver, int device, int other, bool *reaches);
hmc_status_t hmci_driver_settle(hmci_driver_t *driver, int device);

hmc_status_t hmci_driver_copy(hmci_driver_t *driver, int device, void *destination, const void *source, size_t size,
                              hmci_copy_direction_t direction);
hmc_status_t hmci_driver_copy_start(hmci_driver_t *driver, int device, const hmci_copy_piece_t *pieces, uint32_t count,
                                    hmci_copy_direction_t direction, hmci_copy_t *copy);
hmc_status_t hmci_driver_copy_done(hmci_driver_t *driver, hmci_copy_t *copy);
/* Which way a copy goes that may come from the host or from the device. */
hmci_copy_direction_t hmci_driver_direction(hmci_driver_t *driver, const void *source, bool to_host);
hmc_status_t hmci_driver_stream_create(hmci_driver_t *driver, int device, void **stream);
hmc_status_t hmci_driver_stream_destroy(hmci_driver_t *driver, int device, void *stream);
hmc_status_t hmci_driver_stream_wait(hmci_driver_t *driver, int device, void *stream);
hmc_status_t hmci_driver_copy_on_stream(hmci_driver_t *driver, int device, void *destination, const void *source,
                                        size_t size, void *stream);
hmc_status_t hmci_driver_event_record(hmci_driver_t *driver, int device, void *stream, hmci_event_t *event);
hmc_status_t hmci_driver_event_done(hmci_driver_t *driver, hmci_event_t *event);

hmc_status_t hmci_driver_export(hmci_driver_t *driver, int device, void *pointer, size_t size,
                                hmci_memory_export_t *exported);
hmc_status_t hmci_driver_import(hmci_driver_t *driver, int device, const hmci_memory_export_t *exported, size_t size,
                                void **pointer);
void hmci_driver_release_import(hmci_driver_t *driver, int device, void *pointer, size_t size);
hmc_status_t hmci_driver_dmabuf(hmci_driver_t *driver, int device, void *pointer, size_t size, int *descriptor,
                                uint64_t *offset);

#endif
