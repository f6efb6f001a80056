/* TRANS from inside: what trans.c (handles, registering) and trans_copy.c (transfers) share.
 *
 * What a handle has registered is in the store, one key for each range; a peer reads it when it meets an address that it
 * does not know. Locking: `lock` is held for reading by a thread that transfers, and for writing by one that registers,
 * takes back, or learns of a peer's ranges, so that nothing closes under a transfer. */
#ifndef HMCI_SMEM_TRANS_H
#define HMCI_SMEM_TRANS_H

#include "common.h"

#include <smem/host/smem_trans.h>

/* Memory here. */
typedef struct hmci_smem_range {
  struct hmci_smem_range *next;
  uint64_t address, size;
  hmc_region_t *region;
  int is_ours; /* smem_trans_malloc's */
} hmci_smem_range_t;

/* Memory of a peer. */
typedef struct hmci_smem_remote {
  struct hmci_smem_remote *next;
  uint64_t address, size, tag;
  hmc_remote_t *remote;
} hmci_smem_remote_t;

typedef struct hmci_smem_partner {
  struct hmci_smem_partner *next;
  char id[96];
  uint64_t tag; /* of its handle: a restarted one has another */
  hmc_peer_t *peer;
  hmci_smem_remote_t *remotes;
} hmci_smem_partner_t;

typedef struct hmci_smem_trans {
  struct hmci_smem_trans *next;
  hmci_smem_link_t *link;
  hmc_store_t *store;
  hmc_store_lease_t *lease;
  hmc_context_t *context;
  smem_trans_role_t role;
  hmc_connection_type_t type;
  hmc_memory_t device;
  uint64_t timeout_ms;
  char id[96];
  uint64_t tag;
  pthread_rwlock_t lock;
  hmci_smem_range_t *ranges;
  hmci_smem_partner_t *partners;
} hmci_smem_trans_t;

/* The handle's own, or NULL with a text (-2000 or -2008 in `code`). */
hmci_smem_trans_t *hmci_smem_trans_of(smem_trans_t handle, int32_t *code);

/* With the lock held, for reading or writing: the range that holds these bytes, or NULL. */
const hmci_smem_range_t *hmci_smem_range_find(const hmci_smem_trans_t *trans, uint64_t address, uint64_t size);

/* trans_peer.c: with the lock held for reading, the peer's memory that holds these bytes. With `may_ask` it lets go of the
 * lock and takes it again where it has to ask the store. -2000: it is registered nowhere; -2007: the peer is gone. */
int32_t hmci_smem_partner_find(hmci_smem_trans_t *trans, const char *id, uint64_t address, uint64_t size, int may_ask,
                               hmc_remote_t **remote, uint64_t *offset);
/* A transfer said that the peer's memory is gone: what is known of it is forgotten. With the lock held for reading, which
 * it lets go of. True where the memory is there again: then the transfer is worth another try. */
int hmci_smem_partner_forget(hmci_smem_trans_t *trans, const char *id);
void hmci_smem_partners_close(hmci_smem_trans_t *trans);

#endif
