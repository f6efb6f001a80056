/* The host's side of kernels: views, and kernels that run as threads of the processor. */
#include "state.h"

#include <sched.h>
#include <shmem/device.h>
#include <stdlib.h>

/* Where all PEs share memory, teams come of the world by strides, so they have one. */
static void find_stride(const hmci_group_t *group, int *start, int *stride) {
  *start = hmci_member(group, 0);
  *stride = group->n > 1 ? hmci_member(group, 1) - *start : 1;
  for (int i = 1; i < group->n; i++) {
    if (hmci_member(group, i) != *start + i * *stride)
      hmci_die("shmem_device_open: the members of the team are not equally far apart: make a view of a team that is");
  }
}

/* All PEs' device heaps, as this PE's device has them, where kernels can read it; NULL where there are none. By all PEs. */
static char **list_heaps(void) {
  if (hmci_pe.device.size == 0) return NULL;
  char **heaps = shmem_calloc((size_t)hmci_pe.n, sizeof *heaps);
  for (int i = 0; heaps && i < hmci_pe.n; i++) heaps[i] = hmci_device_base(i);
  return heaps;
}

int shmem_device_open(shmem_team_t team, shmem_device_t *view) {
  if (hmci_pe.levels == 0) return -1;
  if (!view) hmci_die("shmem_device_open: there is no place for the view: give a pointer to one");
  if (!hmci_pe.all_near) return -1;               /* as at all PEs */
  uint64_t *sync = shmem_calloc(2, sizeof *sync); /* by all PEs, members or not; NULL at all of them or at none */
  if (!sync) return -1;
  char **heaps = list_heaps();
  if (hmci_pe.device.size && !heaps) {
    shmem_free(sync);
    return -1;
  }
  hmci_team_t *found = hmci_team_find(team);
  int start = 0, stride = 1;
  if (found) find_stride(&found->group, &start, &stride);
  *view = (shmem_device_t){.me = found ? found->group.me : -1,
                           .n = found ? found->group.n : 0,
                           .start = start,
                           .stride = stride,
                           .own = hmci_pe.part,
                           .parts = hmci_pe.parts,
                           .size = hmci_pe.part_size,
                           .sync = sync,
                           .heap = hmci_pe.device.start,
                           .heaps = heaps};
  return 0;
}

void shmem_device_close(shmem_device_t *view) {
  if (!view) return;
  shmem_free(view->heaps);
  shmem_free(view->sync);
  *view = (shmem_device_t){.me = -1};
}

void shmem_device_memory(const shmem_device_t *view, void **parts, size_t *parts_size, void **own, size_t *own_size) {
  *parts = view->parts;
  *parts_size = view->size * (size_t)hmci_pe.n;
  *own = view->own;
  *own_size = view->size;
}

/* ---- kernels as threads ------------------------------------------------------------------------------------------------- */

static _Thread_local hmc_shmem_device_numbers_t self;

hmc_shmem_device_numbers_t *hmc_shmem_device_self(void) { return &self; }
void hmc_shmem_device_relax(void) { sched_yield(); }

void hmc_shmem_device_wait_for(int barrier) { pthread_barrier_wait((pthread_barrier_t *)self.barriers + barrier); }

typedef struct work {
  hmc_shmem_device_numbers_t self;
  void (*run)(void *argument);
  void *argument;
  pthread_t thread;
} work_t;

static void *run_thread(void *argument) {
  work_t *work = argument;
  self = work->self;
  work->run(work->argument);
  return NULL;
}

static void run_block(work_t *works, int threads) {
  for (int i = 0; i < threads; i++) {
    if (pthread_create(&works[i].thread, NULL, run_thread, &works[i])) hmci_die("no thread for a kernel");
  }
  for (int i = 0; i < threads; i++) pthread_join(works[i].thread, NULL);
}

void hmc_shmem_device_run(int blocks, int threads, void (*run)(void *argument), void *argument) {
  int warps = (threads + 31) / 32;
  work_t *works = calloc((size_t)threads, sizeof *works);
  pthread_barrier_t *barriers = calloc((size_t)warps + 1, sizeof *barriers);
  if (!works || !barriers) hmci_die("no memory for a kernel");
  pthread_barrier_init(&barriers[0], NULL, (unsigned)threads);
  for (int i = 0; i < warps; i++) {
    int left = threads - 32 * i;
    pthread_barrier_init(&barriers[1 + i], NULL, (unsigned)(left < 32 ? left : 32));
  }
  for (int block = 0; block < blocks; block++) {
    for (int i = 0; i < threads; i++) {
      works[i] = (work_t){.self = {i, threads, block, blocks, barriers}, .run = run, .argument = argument};
    }
    run_block(works, threads);
  }
  for (int i = 0; i <= warps; i++) pthread_barrier_destroy(&barriers[i]);
  free(barriers);
  free(works);
}
