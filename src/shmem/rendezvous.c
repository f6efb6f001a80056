/* A job whose PEs meet over the control channel of the engine, in a binomial tree.
 *
 * The parent of rank r is r without its lowest bit, so the ranks below r follow it without a gap. A gather goes up the
 * tree, each rank with the pieces of all below it, and the whole comes down again: 2 log2 N steps, and no rank has more
 * than log2 N links. On one host each rank's socket is known by its number. Else rank 0 introduces them (meeting.c). */
#include "boot.h"
#include "certificates.h"
#include "meeting.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PIECE = 300, WHOLE = 301 };

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

static bool gather_up(hmc_control_t *control, int rank, int size, size_t bytes, char *all) {
  int reach = hmci_reach_of(rank, size);
  size_t got;
  for (int step = 1; step < reach && rank + step < size; step *= 2) {
    int child = rank + step, below = size - child < step ? size - child : step;
    if (hmc_control_receive(control, (uint32_t)child, NULL, all + (size_t)child * bytes, (size_t)below * bytes, &got,
                            0) != HMC_SUCCESS ||
        got != (size_t)below * bytes) {
      return false;
    }
  }
  hmc_control_stop_listening(control); /* all are here; who comes later means the next job of these processes */
  if (!rank) return true;
  int own = size - rank < reach ? size - rank : reach;
  return hmc_control_send(control, (uint32_t)hmci_parent_of(rank), PIECE, all + (size_t)rank * bytes,
                          (size_t)own * bytes, 0) == HMC_SUCCESS;
}

static bool spread_down(hmc_control_t *control, int rank, int size, size_t bytes, char *all) {
  size_t got, whole = (size_t)size * bytes;
  if (rank && (hmc_control_receive(control, (uint32_t)hmci_parent_of(rank), NULL, all, whole, &got, 0) != HMC_SUCCESS ||
               got != whole)) {
    return false;
  }
  for (int step = hmci_reach_of(rank, size) / 2; step >= 1; step /= 2) {
    if (rank + step >= size) continue;
    if (hmc_control_send(control, (uint32_t)(rank + step), WHOLE, all, whole, 0) != HMC_SUCCESS) return false;
  }
  return true;
}

static bool gather(hmci_boot_t *boot, const void *mine, size_t bytes, void *all) {
  memcpy((char *)all + (size_t)boot->rank * bytes, mine, bytes);
  return gather_up(boot->state, boot->rank, boot->size, bytes, all) &&
         spread_down(boot->state, boot->rank, boot->size, bytes, all);
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

/* ---- meeting --------------------------------------------------------------------------------------------------------- */

static bool path_of(const place_t *place, int rank, char *path, size_t size) {
  return snprintf(path, size, "%s.%d", place->path, rank) < (int)size;
}

/* Each rank's socket lies beside the others'. */
static bool meet_by_paths(hmc_control_t *control, const place_t *place, int rank, int size) {
  char own[256], parents[256];
  if (!path_of(place, rank, own, sizeof own) || !path_of(place, hmci_parent_of(rank), parents, sizeof parents))
    return false;
  if (hmci_has_children(rank, size) && hmc_control_listen(control, NULL, 0, own, NULL) != HMC_SUCCESS) return false;
  return !rank || hmc_control_connect(control, (uint32_t)hmci_parent_of(rank), (uint32_t)rank, NULL, 0, parents, 0) ==
                      HMC_SUCCESS;
}

/* What hmci_boot_prepare has made; one thread calls it and init. */
static struct {
  char address[300];
  hmc_control_t *control;
} prepared;

static bool cannot_serve(const char *wish, const char *why) {
  fprintf(stderr, "shmem: no job can be met at %s: %s\n", wish, why);
  return false;
}

bool hmci_boot_prepare(const char *wish, char *address, size_t size) {
  place_t place;
  char why[600];
  hmc_control_destroy(prepared.control);
  prepared.control = NULL;
  if (strlen(wish) >= sizeof prepared.address - 8 || !parse(wish, &place) || place.path)
    return cannot_serve(wish, "that is not an address. Give IP:PORT");
  if (hmci_certificates()) {
    if (!hmci_store_prepare(place.ip, &place.port)) return cannot_serve(wish, hmc_last_error());
    return snprintf(address, size, "tcp://%s:%u", place.ip, (unsigned)place.port) < (int)size;
  }
  if (hmc_control_create(&prepared.control) != HMC_SUCCESS) return cannot_serve(wish, hmc_last_error());
  if (hmci_meeting_listen(prepared.control, place.ip, &place.port, why, sizeof why) != HMC_SUCCESS) {
    hmc_control_destroy(prepared.control);
    prepared.control = NULL;
    return cannot_serve(wish, why);
  }
  snprintf(prepared.address, sizeof prepared.address, "tcp://%s:%u", place.ip, (unsigned)place.port);
  return snprintf(address, size, "%s", prepared.address) < (int)size;
}

/* As hmci_meet, where each knows the others' places. */
static bool meet_at(hmci_meeting_t *meeting, const place_t *place) {
  if (!place->path) return hmci_meet(meeting);
  return meet_by_paths(meeting->control, place, meeting->rank, meeting->size) ||
         hmci_meeting_fails(meeting, "%s", hmc_last_error());
}

bool hmci_boot_by_rendezvous(hmci_boot_t *boot, int rank, int size, const char *address, uint64_t timeout_ms) {
  place_t place = {.port = 0};
  hmci_meeting_t meeting = {.address = address ? address : "no address", .ip = place.ip, .rank = rank, .size = size};
  meeting.timeout_ms = timeout_ms ? timeout_ms : hmci_meeting_timeout();
  if (!address || !parse(address, &place) || (!place.path && !place.port))
    return hmci_meeting_fails(
        &meeting, "that is not an address. Give all PEs tcp://IP:PORT, the host of PE 0 and a free port there");
  if (!place.path && hmci_certificates())
    return hmci_boot_by_store(boot, rank, size, place.ip, place.port, meeting.timeout_ms);
  meeting.port = place.port;
  meeting.listens = rank == 0 && prepared.control && strcmp(address, prepared.address) == 0;
  if (meeting.listens) {
    meeting.control = prepared.control;
    prepared.control = NULL;
  } else if (hmc_control_create(&meeting.control) != HMC_SUCCESS) {
    return hmci_meeting_fails(&meeting, "%s", hmc_last_error());
  }
  if (!meet_at(&meeting, &place)) {
    hmc_control_destroy(meeting.control);
    return false;
  }
  *boot = (hmci_boot_t){.name = "rendezvous",
                        .rank = rank,
                        .size = size,
                        .gather = gather,
                        .abort = abort_job,
                        .close = close_control,
                        .state = meeting.control};
  return true;
}
