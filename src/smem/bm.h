/* BM from inside: the world that this process is a member of, its objects, and the other members as seen from here.
 *
 * The world is one per process. An object has two ranges of addresses, for host and for device memory; rank r's part of
 * a kind begins at base + most * r. Which members have joined an object is in the store, one key for each; a thread per
 * object watches them.
 *
 * Locking: `hmci_smem_bm_lock` guards the world pointer, its objects and references to it. An object's `lock` guards its
 * members and what is in progress. A far part is counted: who copies holds a reference, so that it is closed only when
 * nobody uses it. Order: the world's, then an object's. */
#ifndef HMCI_SMEM_BM_H
#define HMCI_SMEM_BM_H

#include "common.h"

#include <smem/host/smem_bm.h>

#define HMCI_SMEM_MAGIC UINT32_C(0x534d424d)

enum { HMCI_SMEM_HOST = 0, HMCI_SMEM_DEVICE = 1, HMCI_SMEM_KINDS = 2 };

/* A member's part of an object, as its key in the store says. */
typedef struct hmci_smem_member {
  uint64_t tag; /* differs for each join; 0: has not joined */
  char ip[64];
  uint16_t port;
  uint64_t size[HMCI_SMEM_KINDS];
} hmci_smem_member_t;

/* The connection to a member's part. */
typedef struct hmci_smem_far {
  unsigned references; /* the object's lock */
  uint64_t tag;
  hmc_peer_t *peer;
  hmc_remote_t *remote[HMCI_SMEM_KINDS];
} hmci_smem_far_t;

/* A rank's place. The mapping belongs to the thread that connects, and to who ends the object; it stays when the member
 * goes, so that a pointer of the program never loses its page, until another member's part takes the place. */
typedef struct hmci_smem_place {
  hmci_smem_member_t member;
  hmci_smem_far_t *far; /* one reference; NULL: not connected */
  uint64_t lost;        /* the tag of the last one that a copy found gone; 0: none */
  int is_connecting;
  hmc_mapping_t *mapping;  /* of the host part, at its global address; NULL: none */
  hmci_smem_far_t *mapped; /* what the mapping is of: one reference */
} hmci_smem_place_t;

/* An operation that was started with ASYNC_COPY_FLAG, or is part of a batch. */
typedef struct hmci_smem_pending {
  struct hmci_smem_pending *next;
  hmc_request_t *request;
  hmc_batch_t *batch;   /* NULL: none; freed with it */
  hmc_region_t *region; /* registered for it alone; NULL: none */
  hmci_smem_far_t *far;
} hmci_smem_pending_t;

typedef struct hmci_smem_user {
  struct hmci_smem_user *next;
  uint64_t address, size;
  hmc_region_t *region;
} hmci_smem_user_t;

typedef struct hmci_smem_world {
  hmci_smem_link_t *link;
  hmc_store_t *store;
  hmc_store_lease_t *lease;
  hmc_context_t *context;
  uint32_t size, rank;
  uint64_t create_ms, control_ms;
  hmc_memory_t device;
  char ip[64];
  uint16_t port;
  struct hmci_smem_object *objects;
} hmci_smem_world_t;

typedef struct hmci_smem_object {
  uint32_t magic;
  uint32_t id;
  struct hmci_smem_object *next;
  hmci_smem_world_t *world;
  hmc_connection_type_t type;
  uint64_t base[HMCI_SMEM_KINDS], most[HMCI_SMEM_KINDS], size[HMCI_SMEM_KINDS]; /* base 0: no such range */
  void *pointer[HMCI_SMEM_KINDS];       /* this member's part; of the host kind at its global address */
  int descriptor;                       /* the host part's memfd */
  hmc_region_t *own[HMCI_SMEM_KINDS];   /* for this side's use, while the object lives */
  hmc_region_t *shown[HMCI_SMEM_KINDS]; /* for peers, while joined */
  int has_joined;
  hmc_store_watch_t *watch;
  pthread_t watcher;

  pthread_mutex_t lock;
  pthread_cond_t changed;
  int closing;
  hmci_smem_place_t *places; /* world->size of them */
  hmci_smem_pending_t *pending;
  hmci_smem_user_t *users;
} hmci_smem_object_t;

/* ---- bm_world.c -------------------------------------------------------------------------------------------------- */

extern pthread_mutex_t hmci_smem_bm_lock;
extern hmci_smem_world_t *hmci_smem_bm_world; /* NULL: none */
/* Gives the rank back and frees; the world has no objects any more. */
void hmci_smem_world_free(hmci_smem_world_t *world);

/* ---- bm.c -------------------------------------------------------------------------------------------------------- */

/* The object of a handle. -2000: this process has no such object; -2008. */
int32_t hmci_smem_object_of(smem_bm_t handle, hmci_smem_object_t **object);

/* ---- bm_layout.c ------------------------------------------------------------------------------------------------- */

/* Agrees with the others on a layout, reserves its addresses, and says in the store that this member uses it, which so
 * stays; `most` says how large members' parts can be (0: find a number). -2000: this member's parts do not fit the layout
 * of the others. -2004. */
int32_t hmci_smem_layout_agree(hmci_smem_object_t *object, const uint64_t most[HMCI_SMEM_KINDS]);
/* Takes that back. */
void hmci_smem_layout_leave(hmci_smem_object_t *object);
/* Removes a key that goes with this member's lease anyhow. */
void hmci_smem_forget_key(const hmci_smem_object_t *object, const char *key, uint64_t timeout_ms);

/* ---- bm_join.c --------------------------------------------------------------------------------------------------- */

/* Hides this member's part, where it has joined. */
void hmci_smem_leave(hmci_smem_object_t *object, uint64_t timeout_ms);

/* ---- bm_member.c ------------------------------------------------------------------------------------------------- */

/* Begins and ends watching who has joined. */
int32_t hmci_smem_members_start(hmci_smem_object_t *object);
void hmci_smem_members_stop(hmci_smem_object_t *object);

/* This member's key. */
void hmci_smem_member_key(const hmci_smem_object_t *object, uint32_t rank, char key[64]);
int hmci_smem_member_write(const hmci_smem_member_t *member, char text[200]);

/* The connection to a member's part, counted. -2007: it has not joined, has left, or died. */
int32_t hmci_smem_far_acquire(hmci_smem_object_t *object, uint32_t rank, hmci_smem_far_t **far);
void hmci_smem_far_release(hmci_smem_object_t *object, hmci_smem_far_t *far);
/* Maps the host part of a member of this host, where it has joined: its global address is a pointer then. */
void hmci_smem_far_map(hmci_smem_object_t *object, uint32_t rank);
/* An operation on it failed so that the next one should connect again. */
void hmci_smem_far_drop(hmci_smem_object_t *object, uint32_t rank, const hmci_smem_far_t *far);
/* True where the rank's last part that was found gone has a successor, which the store may not have reported yet. */
int hmci_smem_far_is_renewed(hmci_smem_object_t *object, uint32_t rank);

/* ---- bm_near.c --------------------------------------------------------------------------------------------------- */

/* An end of a copy. */
typedef struct hmci_smem_end {
  enum { HMCI_SMEM_NEAR, HMCI_SMEM_FAR } where;
  int is_pool, kind; /* kind: HMCI_SMEM_HOST or DEVICE */
  uint32_t rank;     /* of the pool */
  uint64_t offset;   /* in the rank's part */
  void *pointer;     /* near: where the bytes are for this process */
  hmc_memory_t memory;
} hmci_smem_end_t;

/* Finds out what [address, address + size) is. -2000: it is in nobody's part, or runs past one. */
int32_t hmci_smem_find(const hmci_smem_object_t *object, const void *address, uint64_t size, hmci_smem_end_t *end);

/* A region that holds a near end: the object's own, one of registered user memory, or one registered for the copy
 * (the last parameter, to be closed after it). */
int32_t hmci_smem_near_region(hmci_smem_object_t *object, const hmci_smem_end_t *end, uint64_t size,
                              hmc_region_t **region, uint64_t *offset, hmc_region_t **lent);

#endif
