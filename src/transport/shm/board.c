/* The shared words of shm: the owner's board of generations, and the announcements of accesses.
 *
 * Closing a region while a peer copies. The peer announces the access (a), then looks at the board (b); the owner
 * clears the board's word (c), then looks at the announcements (d). All four are sequentially consistent, so either the
 * peer sees the region closed, or the owner sees the access and waits for its end. Mapped regions need none of this:
 * their memory is HMC's, and a late copy lands in pages nobody else has. */
#include "shm.h"

#include "../../base/map.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

hmc_status_t hmci_shm_memory_create(const char *name, size_t size, int seals, void **memory, int *descriptor) {
  int file = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return hmci_fail(HMC_NO_MEMORY, "memfd_create failed: %s", strerror(errno));
  void *address = MAP_FAILED;
  if (hmci_map_resize(file, size) == 0) address = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (address == MAP_FAILED || fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | seals)) {
    hmc_status_t status = hmci_fail(HMC_NO_MEMORY, "%zu B of shared memory: %s", size, strerror(errno));
    if (address != MAP_FAILED) munmap(address, size);
    close(file);
    return status;
  }
  *memory = address;
  *descriptor = file;
  return HMC_SUCCESS;
}

enum { DMA_BUF = 0x444d4142 }; /* the type of their file system; their size is fixed */

bool hmci_shm_is_sound(int descriptor, uint64_t size) {
  struct stat file;
  struct statfs system;
  if (descriptor < 0 || fstat(descriptor, &file) || fstatfs(descriptor, &system)) return false;
  if ((uint32_t)system.f_type == (uint32_t)DMA_BUF) return (uint64_t)lseek(descriptor, 0, SEEK_END) >= size;
  int seals = fcntl(descriptor, F_GET_SEALS);
  return seals >= 0 && seals & F_SEAL_SHRINK && (uint64_t)file.st_size >= size;
}

/* Without shared memory the peers of this host are reached in another way; said once. */
static hmc_status_t say_once(hmc_status_t status) {
  static _Atomic bool told;
  if (status != HMC_SUCCESS && !atomic_exchange(&told, true))
    hmci_log(HMC_LOG_WARNING, "peers on this host are not reached by shm: %s", hmc_last_error());
  return status;
}

hmc_status_t hmci_shm_board_probe(void) {
  int file = memfd_create("hmc-board", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) return say_once(hmci_fail(HMC_NO_MEMORY, "memfd_create failed: %s", strerror(errno)));
  close(file);
  return HMC_SUCCESS;
}

hmc_status_t hmci_shm_board_create(shm_board_t **board, int *descriptor) {
  void *memory;
  hmc_status_t status = hmci_shm_memory_create("hmc-board", sizeof **board, F_SEAL_FUTURE_WRITE, &memory, descriptor);
  if (status == HMC_SUCCESS) *board = memory;
  return status;
}

hmc_status_t hmci_shm_need_board(shm_transport_t *transport) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&transport->lock);
  if (!atomic_load(&transport->board)) {
    shm_board_t *board;
    status = say_once(hmci_shm_board_create(&board, &transport->board_descriptor));
    if (status == HMC_SUCCESS) atomic_store(&transport->board, board);
  }
  pthread_mutex_unlock(&transport->lock);
  return status;
}

void hmci_shm_board_destroy(shm_board_t *board, int descriptor) {
  munmap(board, sizeof *board);
  if (descriptor >= 0) close(descriptor);
}

/* Maps what a peer sent, which must be sealed: a thread that touches a file that was cut off dies of it. What an older
 * peer sends may be shorter, of `least` bytes; behind those there are zeros of this process, and `*whole` is false. */
static hmc_status_t map_shared(int descriptor, size_t size, size_t least, int protection, void **memory, bool *whole) {
  struct stat file;
  if (!hmci_shm_is_sound(descriptor, least) || fstat(descriptor, &file))
    return hmci_fail(HMC_CORRUPT, "the peer sent no shared memory of %zu B, sealed against shrinking", least);
  *whole = (uint64_t)file.st_size >= size;
  void *address = mmap(NULL, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED ||
      mmap(address, *whole ? size : least, protection, MAP_SHARED | MAP_FIXED, descriptor, 0) == MAP_FAILED) {
    hmc_status_t status = hmci_fail(HMC_NO_MEMORY, "mapping %zu B of the peer: %s", size, strerror(errno));
    if (address != MAP_FAILED) munmap(address, size);
    return status;
  }
  *memory = address;
  return HMC_SUCCESS;
}

/* The board of release 0.3 is shorter: behind it all words are 0, and no region is open. */
hmc_status_t hmci_shm_board_map(int descriptor, shm_board_t **board) {
  void *memory;
  bool whole;
  hmc_status_t status =
      map_shared(descriptor, sizeof **board, SHM_REGIONS_BEFORE * sizeof(uint32_t), PROT_READ, &memory, &whole);
  if (status == HMC_SUCCESS) *board = memory;
  return status;
}

/* One step for those who look meanwhile. By its number: a thread sanitizer takes the call for a plain write. */
void hmci_shm_board_blank(shm_board_t *board) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
  if (syscall(SYS_mmap, board, sizeof *board, PROT_READ, flags, -1, 0) == -1)
    hmci_log(HMC_LOG_WARNING, "the words of a lost peer stay as they were: %s", strerror(errno));
}

hmc_status_t hmci_shm_accesses_create(shm_accesses_t **accesses, int *descriptor) {
  void *memory;
  hmc_status_t status = hmci_shm_memory_create("hmc-accesses", sizeof **accesses, 0, &memory, descriptor);
  if (status != HMC_SUCCESS) return status;
  *accesses = memory;
  atomic_store(&(*accesses)->open, 1);
  return status;
}

hmc_status_t hmci_shm_accesses_map(int descriptor, shm_accesses_t **accesses, bool *carries) {
  void *memory;
  size_t least = offsetof(shm_accesses_t, open); /* release 0.3 has no more; the rest of the page is there */
  hmc_status_t status = map_shared(descriptor, sizeof **accesses, least, PROT_READ | PROT_WRITE, &memory, carries);
  if (status != HMC_SUCCESS) return status;
  *accesses = memory;
  atomic_store(&(*accesses)->open, 1);
  return status;
}

void hmci_shm_accesses_unmap(shm_accesses_t *accesses) { munmap(accesses, sizeof *accesses); }

hmc_status_t hmci_shm_begin_access(shm_connection_t *connection, const shm_remote_t *remote, uint32_t *slot) {
  _Atomic uint32_t *mine = connection->accesses->region[connection->role];
  for (uint32_t i = 0;; i = (i + 1) % SHM_ACCESSES) {
    if (!atomic_exchange(&connection->announcing[i], true)) {
      atomic_store(&mine[i], remote->id); /* (a) */
      *slot = i;
      break;
    }
    if (i == SHM_ACCESSES - 1) sched_yield();
  }
  bool open = atomic_load(&connection->accesses->open);
  if (open && atomic_load(&connection->peer_board->generation[remote->id]) == remote->generation) /* (b) */
    return HMC_SUCCESS;
  hmci_shm_end_access(connection, *slot);
  return open ? HMC_STALE : HMC_PEER_LOST;
}

void hmci_shm_end_access(shm_connection_t *connection, uint32_t slot) {
  atomic_store(&connection->accesses->region[connection->role][slot], 0);
  atomic_store(&connection->announcing[slot], false);
}

/* 0: any. */
static bool has_announced(const shm_connection_t *connection, uint32_t id) {
  const _Atomic uint32_t *theirs = connection->accesses->region[!connection->role];
  for (uint32_t i = 0; i < SHM_ACCESSES; i++) {
    uint32_t one = atomic_load(&theirs[i]); /* (d) */
    if (one && (!id || one == id)) return true;
  }
  return false;
}

/* One whose connection has failed is not through with its copies by that; one that is dead is. */
bool hmci_shm_has_access(shm_connection_t *connection, uint32_t id) {
  if (!connection->accesses || !has_announced(connection, id)) return false;
  return !atomic_load(&connection->failed) || hmci_shm_is_alive(connection);
}

bool hmci_shm_has_accesses(const shm_connection_t *connection) {
  return connection->accesses && has_announced(connection, 0);
}
