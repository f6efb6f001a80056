/* Starting under PMIx: Slurm's srun, Open MPI's mpirun, PRRTE.
 *
 * The client library is opened at run time, and what is needed of its interface is declared here: the calls and
 * structures of PMIx 3 to 5, whose layout its ABI keeps. A gather is a put, a commit and a fence that brings the data
 * along; the launcher's daemons carry it in O(log N) rounds. */
#include "boot.h"
#include "state.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

typedef struct proc {
  char nspace[256];
  uint32_t rank;
} proc_t;

/* A value: of the union, what is used here; its size is that of the largest member, three pointers. */
typedef struct value {
  uint16_t type;
  union {
    bool flag;
    uint32_t uint32;
    struct {
      char *bytes;
      size_t size;
    } object;
    void *room[3];
  } data;
} value_t;

typedef struct info {
  char key[512];
  uint32_t flags;
  value_t value;
} info_t;

enum { TYPE_BOOL = 1, TYPE_UINT32 = 14, TYPE_OBJECT = 27, SCOPE_GLOBAL = 3 };
#define RANK_ANY (UINT32_MAX - 1)

typedef struct pmix {
  void *library;
  proc_t me;
  int gathers; /* each has a key of its own */
  int (*init)(proc_t *, info_t *, size_t);
  int (*finalize)(const info_t *, size_t);
  int (*put)(uint8_t, const char *, value_t *);
  int (*commit)(void);
  int (*fence)(const proc_t *, size_t, const info_t *, size_t);
  int (*get)(const proc_t *, const char *, const info_t *, size_t, value_t **);
  int (*abort)(int, const char *, proc_t *, size_t);
} pmix_t;

static bool load(pmix_t *pmix) {
  static const char *const names[] = {"libpmix.so.2", "libpmix.so"};
  for (size_t i = 0; !pmix->library && i < sizeof names / sizeof names[0]; i++) {
    pmix->library = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
  }
  if (!pmix->library) return false;
  struct {
    const char *name;
    void *into;
  } calls[] = {{"PMIx_Init", &pmix->init},     {"PMIx_Finalize", &pmix->finalize}, {"PMIx_Put", &pmix->put},
               {"PMIx_Commit", &pmix->commit}, {"PMIx_Fence", &pmix->fence},       {"PMIx_Get", &pmix->get},
               {"PMIx_Abort", &pmix->abort}};
  for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
    void *found = dlsym(pmix->library, calls[i].name);
    if (!found) return false;
    memcpy(calls[i].into, &found, sizeof found);
  }
  return true;
}

static bool get_object(pmix_t *pmix, uint32_t rank, const char *key, char *into, size_t bytes) {
  proc_t of = pmix->me;
  of.rank = rank;
  value_t *value = NULL;
  if (pmix->get(&of, key, NULL, 0, &value) != 0 || !value) return false;
  bool fits = value->type == TYPE_OBJECT && value->data.object.size == bytes;
  if (fits) memcpy(into, value->data.object.bytes, bytes);
  if (value->type == TYPE_OBJECT) free(value->data.object.bytes);
  free(value);
  return fits;
}

static bool gather(hmci_boot_t *boot, const void *mine, size_t bytes, void *all) {
  pmix_t *pmix = boot->state;
  char key[32];
  snprintf(key, sizeof key, "hmc.shmem.%d", pmix->gathers++);
  value_t value = {.type = TYPE_OBJECT};
  value.data.object.bytes = (char *)(uintptr_t)mine;
  value.data.object.size = bytes;
  info_t collect = {.key = "pmix.collect", .value = {.type = TYPE_BOOL, .data = {.flag = true}}};
  proc_t job = pmix->me;
  job.rank = RANK_ANY;
  if (pmix->put(SCOPE_GLOBAL, key, &value) || pmix->commit() || pmix->fence(&job, 1, &collect, 1)) return false;
  for (int i = 0; i < boot->size; i++) {
    if (!get_object(pmix, (uint32_t)i, key, (char *)all + (size_t)i * bytes, bytes)) return false;
  }
  return true;
}

static void abort_job(hmci_boot_t *boot, int status) {
  pmix_t *pmix = boot->state;
  pmix->abort(status, "shmem_global_exit", NULL, 0);
}

/* The library stays loaded: it may have threads. */
static void close_pmix(hmci_boot_t *boot) {
  pmix_t *pmix = boot->state;
  pmix->finalize(NULL, 0);
  free(pmix);
}

static int size_of_job(pmix_t *pmix) {
  proc_t job = pmix->me;
  job.rank = RANK_ANY;
  value_t *value = NULL;
  if (pmix->get(&job, "pmix.job.size", NULL, 0, &value) != 0 || !value) return 0;
  int size = value->type == TYPE_UINT32 ? (int)value->data.uint32 : 0;
  free(value);
  return size;
}

/* The PEs need a common secret; PMIx has authenticated them to each other already, so the first one makes it. */
static bool agree_on_secret(hmci_boot_t *boot) {
  if (getenv("HMC_SECRET") || getenv("HMC_SECRET_FILE")) return true;
  enum { BYTES = 32 };
  unsigned char mine[BYTES];
  unsigned char *all = malloc((size_t)boot->size * BYTES);
  bool works = all && getrandom(mine, sizeof mine, 0) == BYTES && gather(boot, mine, BYTES, all);
  char text[2 * BYTES + 1];
  for (int i = 0; works && i < BYTES; i++) snprintf(text + 2 * i, 3, "%02x", all[i]);
  free(all);
  return works && setenv("HMC_SECRET", text, 1) == 0;
}

bool hmci_boot_by_pmix(hmci_boot_t *boot) {
  if (!getenv("PMIX_RANK") || !getenv("PMIX_NAMESPACE")) return false;
  pmix_t *pmix = calloc(1, sizeof *pmix);
  if (!pmix) return false;
  if (!load(pmix)) {
    hmci_die("started under PMIx, but its client library does not load: %s; install libpmix2", dlerror());
  }
  if (pmix->init(&pmix->me, NULL, 0) != 0) hmci_die("started under PMIx, but its server does not answer");
  *boot = (hmci_boot_t){.name = "PMIx",
                        .rank = (int)pmix->me.rank,
                        .size = size_of_job(pmix),
                        .gather = gather,
                        .abort = abort_job,
                        .close = close_pmix,
                        .state = pmix};
  if (boot->size < 1 || !agree_on_secret(boot)) hmci_die("PMIx does not bring the PEs together");
  return true;
}
