/* Bytes of small puts, which travel in the pages that both ends map. That costs two short calls of the kernel, one at each
 * end, less than the one that reads them from the other process.
 *
 * Neither end trusts the memory that the program named. Who puts asks the kernel whether it can be read, then copies.
 * The owner copies to memory of its own that has a descriptor, and reads that descriptor into the region: the kernel
 * writes then, and says so where there is nothing to write to. */
#include "shm.h"

#include "../../base/guarded.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* A few bytes travel in the line that has to come anyhow. */
static uint8_t *bytes_of(const shm_connection_t *connection, int role, uint32_t pull, uint64_t length) {
  shm_accesses_t *accesses = connection->accesses;
  shm_pull_t *line = &accesses->pulls[role][pull];
  return length <= sizeof line->bytes ? line->bytes : accesses->bytes[role][pull];
}

bool hmci_shm_load(shm_connection_t *connection, uint32_t pull, const uint8_t *from, uint64_t length) {
  if (!hmci_guarded_is_there(from, length)) return false;
  memcpy(bytes_of(connection, connection->role, pull, length), from, length);
  return true;
}

/* NULL where there is no shared memory for it. */
static uint8_t *need_bounce(shm_transport_t *transport) {
  shm_bounce_t *bounce = &transport->bounce;
  uint8_t *bytes = atomic_load_explicit(&bounce->bytes, memory_order_acquire); /* partner: below */
  if (bytes) return bytes;
  void *made;
  pthread_mutex_lock(&transport->lock);
  bytes = atomic_load(&bounce->bytes);
  if (!bytes &&
      hmci_shm_memory_create("hmc-bounce", SHM_BOUNCES * SHM_PULL_BYTES, 0, &made, &bounce->descriptor) == HMC_SUCCESS)
    atomic_store_explicit(&bounce->bytes, bytes = made, memory_order_release);
  pthread_mutex_unlock(&transport->lock);
  return bytes;
}

bool hmci_shm_unload(shm_connection_t *connection, uint32_t pull, uint8_t *to, uint64_t length) {
  const uint8_t *from = bytes_of(connection, !connection->role, pull, length);
  shm_bounce_t *bounce = &connection->transport->bounce;
  uint8_t *bytes = need_bounce(connection->transport);
  int mine = 0;
  while (bytes && mine < SHM_BOUNCES && atomic_exchange(&bounce->taken[mine], true)) mine++;
  if (!bytes || mine == SHM_BOUNCES) return hmci_guarded_write(to, from, length);
  memcpy(bytes + (size_t)mine * SHM_PULL_BYTES, from, length);
  /* By its number: a thread sanitizer would find this write unordered where both ends are in one process. */
  long done = syscall(SYS_pread64, bounce->descriptor, to, length, (long)mine * SHM_PULL_BYTES);
  atomic_store_explicit(&bounce->taken[mine], false, memory_order_release);
  return done == (long)length;
}

void hmci_shm_bounce_close(shm_bounce_t *bounce) {
  uint8_t *bytes = atomic_load(&bounce->bytes);
  if (!bytes) return;
  munmap(bytes, SHM_BOUNCES * SHM_PULL_BYTES);
  close(bounce->descriptor);
}
