/* A job whose PEs meet over the control channel of the engine, in a binomial tree.
 *
 * The parent of rank r is r without its lowest bit, so the ranks below r follow it without a gap. A gather goes up the
 * tree, each rank with the pieces of all below it, and the whole comes down again: 2 log2 N steps, and no rank has more
 * than log2 N links. On one host each rank's socket is known by its number. Else all ask rank 0, which they can dial, where
 * their parent listens; that is one small message each way, and the link to rank 0 ends with it. */
#include "boot.h"
#include "certificates.h"
#include "state.h"

#include <arpa/inet.h>
#include <hmc/control.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PIECE = 300, WHOLE = 301, PLACE = 302 };

/* ---- the tree ------------------------------------------------------------------------------------------------------ */

/* How far the ranks below this one reach: they are fewer than `reach` after it. */
static int reach_of(int rank, int size) {
  if (rank) return rank & -rank;
  int reach = 1;
  while (reach < size) reach *= 2;
  return reach;
}

static int parent_of(int rank) { return rank & (rank - 1); }
static bool has_children(int rank, int size) { return reach_of(rank, size) > 1 && rank + 1 < size; }

static bool gather_up(hmc_control_t *control, int rank, int size, size_t bytes, char *all) {
  int reach = reach_of(rank, size);
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
  return hmc_control_send(control, (uint32_t)parent_of(rank), PIECE, all + (size_t)rank * bytes, (size_t)own * bytes,
                          0) == HMC_SUCCESS;
}

static bool spread_down(hmc_control_t *control, int rank, int size, size_t bytes, char *all) {
  size_t got, whole = (size_t)size * bytes;
  if (rank && (hmc_control_receive(control, (uint32_t)parent_of(rank), NULL, all, whole, &got, 0) != HMC_SUCCESS ||
               got != whole)) {
    return false;
  }
  for (int step = reach_of(rank, size) / 2; step >= 1; step /= 2) {
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
  if (!path_of(place, rank, own, sizeof own) || !path_of(place, parent_of(rank), parents, sizeof parents)) return false;
  if (has_children(rank, size) && hmc_control_listen(control, NULL, 0, own, NULL) != HMC_SUCCESS) return false;
  return !rank ||
         hmc_control_connect(control, (uint32_t)parent_of(rank), (uint32_t)rank, NULL, 0, parents, 0) == HMC_SUCCESS;
}

/* Where a rank listens; as it travels. */
typedef struct listener {
  uint8_t ip[4];
  uint8_t port[2]; /* network order; 0: it has no children */
} listener_t;

/* Rank 0: learns where each listens and says where its parent does, which has a smaller number and so is known. */
static bool introduce_all(hmc_control_t *control, int size) {
  listener_t *places = calloc((size_t)size, sizeof *places);
  bool works = places;
  for (int i = 1; works && i < size; i++) {
    size_t got;
    uint32_t rank = (uint32_t)i;
    works = hmc_control_receive(control, rank, NULL, &places[i], sizeof *places, &got, 0) == HMC_SUCCESS &&
            got == sizeof *places;
    if (works && parent_of(i)) {
      works = hmc_control_send(control, rank, PLACE, &places[parent_of(i)], sizeof *places, 0) == HMC_SUCCESS;
    }
  }
  free(places);
  return works;
}

/* This host's address on the way to rank 0, which children can reach too. False with a text on stderr. */
static bool find_own_address(const place_t *place, char *ip, size_t size) {
  struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_DGRAM}, *found = NULL;
  struct sockaddr_in own;
  socklen_t length = sizeof own;
  int descriptor = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool works = descriptor >= 0 && getaddrinfo(place->ip, "1", &hints, &found) == 0 &&
               connect(descriptor, found->ai_addr, found->ai_addrlen) == 0 && /* sends nothing */
               getsockname(descriptor, (struct sockaddr *)(void *)&own, &length) == 0 &&
               inet_ntop(AF_INET, &own.sin_addr, ip, (socklen_t)size);
  if (!works) fprintf(stderr, "shmem: there is no way to %s\n", place->ip);
  if (found) freeaddrinfo(found);
  if (descriptor >= 0) close(descriptor);
  return works;
}

/* Listens where children will come. */
static bool open_listener(hmc_control_t *control, const place_t *place, int rank, int size, listener_t *listener) {
  *listener = (listener_t){.port = {0}};
  if (!has_children(rank, size)) return true;
  char ip[INET_ADDRSTRLEN];
  uint16_t port;
  if (!find_own_address(place, ip, sizeof ip) || hmc_control_listen(control, ip, 0, NULL, &port) != HMC_SUCCESS) {
    return false;
  }
  inet_pton(AF_INET, ip, listener->ip);
  listener->port[0] = (uint8_t)(port >> 8);
  listener->port[1] = (uint8_t)port;
  return true;
}

static bool find_parent(hmc_control_t *control, const place_t *place, int rank, int size) {
  listener_t own, parents;
  size_t got;
  if (hmc_control_connect(control, 0, (uint32_t)rank, place->ip, place->port, NULL, 0) != HMC_SUCCESS ||
      !open_listener(control, place, rank, size, &own) ||
      hmc_control_send(control, 0, PLACE, &own, sizeof own, 0) != HMC_SUCCESS) {
    return false;
  }
  if (!parent_of(rank)) return true; /* the link to rank 0 is a part of the tree */
  if (hmc_control_receive(control, 0, NULL, &parents, sizeof parents, &got, 0) != HMC_SUCCESS ||
      got != sizeof parents) {
    return false;
  }
  hmc_control_close(control, 0);
  char ip[INET_ADDRSTRLEN];
  inet_ntop(AF_INET, parents.ip, ip, sizeof ip);
  uint16_t port = (uint16_t)(parents.port[0] << 8 | parents.port[1]);
  return hmc_control_connect(control, (uint32_t)parent_of(rank), (uint32_t)rank, ip, port, NULL, 0) == HMC_SUCCESS;
}

/* `listens`: rank 0 does already. */
static bool meet(hmc_control_t *control, const place_t *place, int rank, int size, bool listens) {
  if (place->path) return meet_by_paths(control, place, rank, size);
  if (rank) return find_parent(control, place, rank, size);
  if (!listens && hmc_control_listen(control, place->ip, place->port, NULL, NULL) != HMC_SUCCESS) return false;
  return introduce_all(control, size);
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
  if (!parse(wish, &place) || place.path) return false;
  if (hmci_certificates()) {
    return hmci_store_prepare(place.ip, &place.port) &&
           snprintf(address, size, "tcp://%s:%u", place.ip, (unsigned)place.port) < (int)size;
  }
  if (hmc_control_create(&prepared.control) != HMC_SUCCESS) return false;
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
  hmc_control_t *control = NULL;
  if (!address || !parse(address, &place)) return false;
  if (!place.path && hmci_certificates()) return hmci_boot_by_store(boot, rank, size, place.ip, place.port);
  bool listens = rank == 0 && prepared.control && strcmp(address, prepared.address) == 0;
  if (listens) {
    control = prepared.control;
    prepared.control = NULL;
  } else if (hmc_control_create(&control) != HMC_SUCCESS) {
    return false;
  }
  if (!meet(control, &place, rank, size, listens)) {
    fprintf(stderr, "shmem: PE %d does not meet the others at %s: %s\n", rank, address, hmc_last_error());
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
