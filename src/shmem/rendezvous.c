/* A job that meets at rank 0, over the control channel of the engine.
 *
 * Each other rank has one link to rank 0, which gathers by receiving from all and sending the whole to all. */
#include "boot.h"
#include "state.h"

#include <hmc/control.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 300, WHOLE = 301 };

static bool gather_at_root(hmc_control_t *control, int size, const void *mine, size_t bytes, char *all) {
  memcpy(all, mine, bytes);
  for (int i = 1; i < size; i++) {
    size_t got;
    if (hmc_control_receive(control, (uint32_t)i, NULL, all + (size_t)i * bytes, bytes, &got, 0) != HMC_SUCCESS) {
      return false;
    }
  }
  hmc_control_stop_listening(control); /* all are here; who comes later means the next job of these processes */
  for (int i = 1; i < size; i++) {
    if (hmc_control_send(control, (uint32_t)i, WHOLE, all, (size_t)size * bytes, 0) != HMC_SUCCESS) return false;
  }
  return true;
}

static bool gather(hmci_boot_t *boot, const void *mine, size_t bytes, void *all) {
  hmc_control_t *control = boot->state;
  if (boot->rank == 0) return gather_at_root(control, boot->size, mine, bytes, all);
  size_t got;
  return hmc_control_send(control, 0, PIECE, mine, bytes, 0) == HMC_SUCCESS &&
         hmc_control_receive(control, 0, NULL, all, (size_t)boot->size * bytes, &got, 0) == HMC_SUCCESS;
}

static void abort_job(hmci_boot_t *boot, int status) {
  (void)boot;
  (void)status;
}

static void close_control(hmci_boot_t *boot) {
  hmc_control_destroy(boot->state);
  boot->state = NULL;
}

typedef struct place {
  char ip[256];
  uint16_t port;
  const char *path;
} place_t;

static bool parse(const char *address, place_t *place) {
  *place = (place_t){.port = 0};
  if (strncmp(address, "unix:", 5) == 0) {
    place->path = address + 5;
    return true;
  }
  if (strncmp(address, "tcp://", 6) == 0) address += 6;
  const char *colon = strrchr(address, ':');
  if (!colon || colon == address || (size_t)(colon - address) >= sizeof place->ip) return false;
  memcpy(place->ip, address, (size_t)(colon - address));
  long port = strtol(colon + 1, NULL, 10);
  if (port < 0 || port > 65535) return false; /* 0: any free one, for who listens */
  place->port = (uint16_t)port;
  return true;
}

static hmc_status_t join(hmc_control_t *control, const place_t *place, int rank) {
  const char *ip = place->path ? NULL : place->ip;
  if (rank == 0) return hmc_control_listen(control, ip, place->port, place->path, NULL);
  return hmc_control_connect(control, 0, (uint32_t)rank, ip, place->port, place->path, 0);
}

/* What hmci_boot_prepare has made; one thread calls it and init. */
static struct {
  char address[300];
  hmc_control_t *control;
} prepared;

bool hmci_boot_prepare(const char *wish, char *address, size_t size) {
  place_t place;
  uint16_t port;
  if (strlen(wish) >= sizeof prepared.address - 8) return false;
  hmc_control_destroy(prepared.control);
  prepared.control = NULL;
  if (!parse(wish, &place) || place.path || hmc_control_create(&prepared.control) != HMC_SUCCESS) return false;
  if (hmc_control_listen(prepared.control, place.ip, place.port, NULL, &port) != HMC_SUCCESS) {
    hmc_control_destroy(prepared.control);
    prepared.control = NULL;
    return false;
  }
  snprintf(prepared.address, sizeof prepared.address, "tcp://%s:%u", place.ip, (unsigned)port);
  return snprintf(address, size, "%s", prepared.address) < (int)size;
}

bool hmci_boot_by_rendezvous(hmci_boot_t *boot, int rank, int size, const char *address) {
  place_t place;
  hmc_control_t *control;
  if (!address) return false;
  if (rank == 0 && prepared.control && strcmp(address, prepared.address) == 0) {
    *boot = (hmci_boot_t){.name = "rendezvous",
                          .rank = rank,
                          .size = size,
                          .gather = gather,
                          .abort = abort_job,
                          .close = close_control,
                          .state = prepared.control};
    prepared.control = NULL;
    return true;
  }
  if (!parse(address, &place) || hmc_control_create(&control) != HMC_SUCCESS) return false;
  if (join(control, &place, rank) != HMC_SUCCESS) {
    hmc_control_destroy(control);
    return false;
  }
  *boot = (hmci_boot_t){.name = "rendezvous",
                        .rank = rank,
                        .size = size,
                        .gather = gather,
                        .abort = abort_job,
                        .close = close_control,
                        .state = control};
  return true;
}
