/* What tests of one end of a stream stand on: a host with one region, a loop, and a socket whose other end the test
 * plays. */
#ifndef HMCI_STREAM_FIXTURE_H
#define HMCI_STREAM_FIXTURE_H

#include "requester.h"
#include "responder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct stream_stand {
  hmci_host_t host;
  hmci_settings_t settings;
  hmci_region_view_t region; /* id 1, generation 1, all rights */
  _Atomic uint32_t lost;     /* times that the host was informed */
  char reason[256];
  int far; /* the test's end of the socket */
  hmci_pipe_t *pipe;
} stream_stand_t;

static hmc_status_t stand_acquire(const hmci_host_t *host, uint32_t id, uint32_t generation, uint32_t rights,
                                  hmci_region_view_t **region) {
  stream_stand_t *stand = HMCI_CONTAINER((uintptr_t)host, stream_stand_t, host);
  (void)rights;
  if (id != 1 || generation != 1) return HMC_STALE;
  atomic_fetch_add(&stand->region.users, 1);
  *region = &stand->region;
  return HMC_SUCCESS;
}

static void stand_release(const hmci_host_t *host, hmci_region_view_t *region) {
  (void)host;
  atomic_fetch_sub(&region->users, 1);
}

static hmc_status_t stand_notify(const hmci_host_t *host, void *connection, const void *data, size_t size) {
  (void)host, (void)connection, (void)data;
  return size % 2 ? HMC_NO_MEMORY : HMC_SUCCESS;
}

static void stand_lost(const hmci_host_t *host, void *connection, const char *reason) {
  stream_stand_t *stand = HMCI_CONTAINER((uintptr_t)host, stream_stand_t, host);
  (void)connection;
  snprintf(stand->reason, sizeof stand->reason, "%s", reason);
  atomic_fetch_add(&stand->lost, 1);
}

/* Asserts by abort(): what is missing here is not a finding. */
static inline void stand_open(stream_stand_t *stand, uint64_t size) {
  int ends[2];
  memset(stand, 0, sizeof *stand);
  stand->settings.depth = 4;
  stand->settings.peer_timeout = UINT64_C(10000000000);
  void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) != 0 ||
      hmci_loop_create(0, "stand", &stand->host.loop) != HMC_SUCCESS ||
      hmci_pipe_open(ends[0], &stand->pipe) != HMC_SUCCESS || !(stand->host.scratch = malloc(HMCI_SCRATCH)))
    abort();
  stand->far = ends[1];
  stand->host.settings = &stand->settings;
  stand->host.region_acquire = stand_acquire;
  stand->host.region_release = stand_release;
  stand->host.notify = stand_notify;
  stand->host.connection_lost = stand_lost;
  stand->region = (hmci_region_view_t){.base = base,
                                       .size = size,
                                       .memory = {HMC_MEMORY_CPU, 0},
                                       .ops = &hmci_memory_host,
                                       .id = 1,
                                       .generation = 1,
                                       .rights = HMC_REMOTE_ALL,
                                       .descriptor = -1};
}

/* After the end that the stand was for. */
static inline void stand_close(stream_stand_t *stand) {
  close(stand->far);
  hmci_loop_destroy(stand->host.loop);
  munmap(stand->region.base, stand->region.size);
  free(stand->host.scratch);
}

#endif
