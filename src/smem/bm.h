/* BM from inside: the world that this process is a member of, its objects, and the other members as seen from here.
 *
 * The world is one per process. An object has two ranges of addresses, for host and for device memory; rank r's part of
 * a kind begins at base + most * r. Which members have joined an object is in the store, one key for each; a thread per
 * object watches them.
 *
 * Locking: `hmci_smem_bm_lock` guards the world pointer and the list of objects. An object's `lock` guards its members and
 * what is in progress; its `turn` that this member joins or leaves. Order: the world's, then an object's.
 *
 * Copies take neither. They find the object, the far part and registered memory by atomic pointers, while they read
 * (hmci_smem_read_begin); who takes one of these away waits for all who read, and then closes it. A small copy to a member
 * on this host goes on reading until it is done (bm_plain.c). All others may last: an object counts the calls that use it,
 * and a far part the operations on it, so that it is closed only when nobody uses it. */
#ifndef HMCI_SMEM_BM_H
#define HMCI_SMEM_BM_H

#include "common.h"

#include <smem/host/smem_bm.h>
#include <stdatomic.h>

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
  atomic_uint references;
  uint32_t rank;
  uint64_t tag;
  int is_here; /* a member on this host, reached by memory: small copies last no longer than the bytes take */
  hmc_peer_t *peer;
  hmc_remote_t *remote[HMCI_SMEM_KINDS];
  _Atomic(const hmc_mapping_t *) mapping; /* the place's, of the host part at its global address; NULL: none */
} hmci_smem_far_t;

/* A rank's place. The mapping belongs to the thread that connects, and to who ends the object; it stays when the member
 * goes, so that a pointer of the program never loses its page, until another member's part takes the place. */
typedef struct hmci_smem_place {
  hmci_smem_member_t member;
  _Atomic(hmci_smem_far_t *) far; /* one reference; NULL: not connected; changed with the object's lock */
  uint64_t lost;                  /* the tag of the last one that a copy found gone; 0: none */
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

/* Memory that the program has registered. Changed with the object's lock. */
typedef struct hmci_smem_user {
  _Atomic(struct hmci_smem_user *) next;
  uint64_t address, size;
  hmc_memory_t memory;
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
} hmci_smem_world_t;

typedef struct hmci_smem_object {
  uint32_t id;
  _Atomic(struct hmci_smem_object *) next;
  atomic_int is_ending; /* no call finds it any more */
  atomic_uint calls;    /* those that use it, without those that only read */
  hmci_smem_world_t *world;
  hmc_connection_type_t type;
  uint64_t base[HMCI_SMEM_KINDS], most[HMCI_SMEM_KINDS], size[HMCI_SMEM_KINDS]; /* base 0: no such range */
  int shift[HMCI_SMEM_KINDS];           /* where `most` is a power of two: which; else -1 */
  void *pointer[HMCI_SMEM_KINDS];       /* this member's part; of the host kind at its global address */
  int descriptor;                       /* the host part's memfd */
  hmc_region_t *own[HMCI_SMEM_KINDS];   /* for this side's use, while the object lives */
  pthread_mutex_t turn;                 /* held while this member joins or leaves; guards the two below */
  hmc_region_t *shown[HMCI_SMEM_KINDS]; /* for peers, while joined */
  int has_joined;
  hmc_store_watch_t *watch;
  pthread_t watcher;

  pthread_mutex_t lock;
  pthread_cond_t changed;
  hmci_smem_place_t *places; /* world->size of them */
  hmci_smem_pending_t *pending;
  _Atomic(hmci_smem_user_t *) users;
} hmci_smem_object_t;

/* ---- bm_world.c -------------------------------------------------------------------------------------------------- */

/* Gives the rank back and frees; the world has no objects any more. */
void hmci_smem_world_free(hmci_smem_world_t *world);

/* ---- bm_reading.c ------------------------------------------------------------------------------------------------ */

#define HMCI_SMEM_NO_EPOCH UINT64_MAX

/* What a copy that was done while reading has found out about its ends: the same holds for others between the same ranges,
 * as long as `epoch` is the present one. Both ranges begin at offset 0 of a region or part. */
typedef struct hmci_smem_way {
  smem_bm_t handle; /* NULL: none */
  smem_bm_copy_type type;
  int is_put;
  uint64_t epoch;
  uint64_t source, source_size, destination, destination_size;
  /* Up to so many bytes go straight: while the mapping is live, addresses plus these are pointers of this process. Both
   * ranges have as many. 0: none do, and there is no mapping. */
  uint64_t straight;
  /* The same for words of 8 bytes, which may begin so far into either range. The epoch is HMCI_SMEM_NO_EPOCH where they
   * do not go straight: one look for both. */
  uint64_t word_epoch, source_word, destination_word;
  const hmc_mapping_t *mapping;
  uint64_t source_shift, destination_shift;
  hmc_region_t *region;
  hmc_remote_t *remote;
} hmci_smem_way_t;

typedef struct hmci_smem_reader {
  _Alignas(64) _Atomic uint64_t count; /* odd while the thread reads */
  _Atomic uintptr_t thread;            /* whose it is: hmci_smem_thread; 0: nobody's */
  hmci_smem_way_t way;                 /* its last one */
  struct hmci_smem_reader *next;
} hmci_smem_reader_t;

/* Where threads find their counts without the call that a thread-local variable of a library takes. Threads may share a
 * slot: whose the count in it is says the count itself. Without the kernel's barrier all are empty. */
enum { HMCI_SMEM_SLOTS = 64, HMCI_SMEM_SLOT_SHIFT = 64 - 6 };
extern _Atomic(hmci_smem_reader_t *) hmci_smem_reader_slots[HMCI_SMEM_SLOTS];
extern int hmci_smem_has_barrier;
/* The thread's, from a thread-local variable, or a new one; and leaves it in the thread's slot. NULL: no memory. */
hmci_smem_reader_t *hmci_smem_reader_make(void);

/* A number of the calling thread's own, never 0: the address of its control block. */
static inline uintptr_t hmci_smem_thread(void) {
#if defined(__x86_64__)
  uintptr_t self;
  __asm__("mov %%fs:0, %0" : "=r"(self)); /* System V ABI, x86-64: the block begins with its own address */
  return self;
#elif defined(__aarch64__)
  return (uintptr_t)__builtin_thread_pointer();
#else
  return (uintptr_t)pthread_self();
#endif
}

/* Control blocks lie one stack and a page apart: multiplying by the golden ratio spreads such numbers evenly. */
static inline _Atomic(hmci_smem_reader_t *) *hmci_smem_reader_slot(uintptr_t thread) {
  return &hmci_smem_reader_slots[(uint64_t)thread * 0x9e3779b97f4a7c15u >> HMCI_SMEM_SLOT_SHIFT];
}

/* NULL: it is not in the thread's slot. */
static inline hmci_smem_reader_t *hmci_smem_reader_find(void) {
  uintptr_t self = hmci_smem_thread();
  hmci_smem_reader_t *reader =
      atomic_load_explicit(hmci_smem_reader_slot(self), memory_order_acquire); /* partner: hmci_smem_reader_make */
  /* Nobody but this thread writes its own number there, and nobody but this thread takes it away. */
  return reader != NULL && atomic_load_explicit(&reader->thread, memory_order_relaxed) == self ? reader : NULL;
}

/* NULL: no memory. */
static inline hmci_smem_reader_t *hmci_smem_reader_get(void) {
  hmci_smem_reader_t *reader = hmci_smem_reader_find();
  return reader != NULL ? reader : hmci_smem_reader_make();
}

/* Between enter and leave, what this thread finds by an atomic pointer is not freed. It is short: no waiting for peers of
 * other hosts or for the store, and no hmci_smem_read_wait. Returns what leave takes. */
static inline uint64_t hmci_smem_read_enter(hmci_smem_reader_t *reader) {
  uint64_t count = atomic_load_explicit(&reader->count, memory_order_relaxed) + 1; /* this thread's own */
  if (hmci_smem_has_barrier) {
    atomic_store_explicit(&reader->count, count, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* partner: the barrier of hmci_smem_read_wait */
  } else {
    atomic_exchange(&reader->count, count); /* partner: what was taken out before hmci_smem_read_wait */
  }
  return count;
}

/* The same for a count that was found in a slot. */
static inline uint64_t hmci_smem_read_enter_found(hmci_smem_reader_t *reader) {
  uint64_t count = atomic_load_explicit(&reader->count, memory_order_relaxed) + 1;
  atomic_store_explicit(&reader->count, count, memory_order_relaxed);
  atomic_signal_fence(memory_order_seq_cst); /* partner: the barrier of hmci_smem_read_wait */
  return count;
}

static inline void hmci_smem_read_leave(hmci_smem_reader_t *reader, uint64_t count) {
  atomic_store_explicit(&reader->count, count + 1, memory_order_release); /* partner: hmci_smem_read_wait */
}

/* The same where the count need not be kept. NULL: no memory, and nothing has begun. */
static inline hmci_smem_reader_t *hmci_smem_read_begin(void) {
  hmci_smem_reader_t *reader = hmci_smem_reader_get();
  if (reader != NULL) {
    (void)hmci_smem_read_enter(reader);
  }
  return reader;
}

static inline void hmci_smem_read_end(hmci_smem_reader_t *reader) {
  hmci_smem_read_leave(reader, atomic_load_explicit(&reader->count, memory_order_relaxed));
}

/* Begins a new epoch, and waits until nobody reads any more who may have found what the caller has taken out of reach. */
void hmci_smem_read_wait(void);
extern _Atomic uint64_t hmci_smem_read_epoch;
void hmci_smem_nap(void); /* between two looks at what another thread will soon have done */

/* ---- bm_handle.c ------------------------------------------------------------------------------------------------- */

extern pthread_mutex_t hmci_smem_bm_lock;
extern hmci_smem_world_t *hmci_smem_bm_world; /* NULL: none */

/* While reading: the object of a handle; NULL: this process has no such object. */
hmci_smem_object_t *hmci_smem_object_find(smem_bm_t handle);
/* The same for a call that may last, and destroying it waits for. -2000: no such object; -2008. */
int32_t hmci_smem_object_hold(smem_bm_t handle, hmci_smem_object_t **object);
void hmci_smem_object_release(hmci_smem_object_t *object);

/* With the world's lock: is there one of that id? Makes one known. */
int hmci_smem_object_has(uint32_t id);
void hmci_smem_object_add(hmci_smem_object_t *object);
/* Makes an object one that no call finds any more, and waits for those that use it; each ends, by its deadline at the
 * latest. -2000, also where another thread has; -2008. */
int32_t hmci_smem_object_end(smem_bm_t handle, hmci_smem_object_t **object);
/* Then its id is free, and so may be its memory. */
void hmci_smem_object_remove(hmci_smem_object_t *object);
smem_bm_t hmci_smem_object_first(void); /* NULL: none */
void hmci_smem_objects_forget(void);    /* in the child of a fork(), which has none */

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

/* In this member's turn, or at the object's end: hides this member's part, where it has joined. */
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
void hmci_smem_far_release(hmci_smem_far_t *far);
/* Maps the host part of a member of this host, where it has joined: its global address is a pointer then. */
void hmci_smem_far_map(hmci_smem_object_t *object, uint32_t rank);
/* An operation on it failed so that the next one should connect again. */
void hmci_smem_far_drop(hmci_smem_object_t *object, const hmci_smem_far_t *far);
/* True where the rank's last part that was found gone has a successor, which the store may not have reported yet. */
int hmci_smem_far_is_renewed(hmci_smem_object_t *object, uint32_t rank);

/* ---- bm_near.c --------------------------------------------------------------------------------------------------- */

/* An end of a copy. */
typedef struct hmci_smem_end {
  enum { HMCI_SMEM_NEAR, HMCI_SMEM_FAR } where;
  int is_pool, kind;     /* kind: HMCI_SMEM_HOST or DEVICE */
  uint32_t rank;         /* of the pool */
  uint64_t offset, room; /* in the rank's part, or in `region`; and the bytes of that at most */
  void *pointer;         /* near: where the bytes are for this process */
  hmc_region_t *region;  /* near: the own part's, or that of registered memory; NULL: none */
  hmc_memory_t memory;
} hmci_smem_end_t;

/* While reading: finds out what [address, address + size) is. -2000: it is in nobody's part, or runs past one. */
int32_t hmci_smem_find(const hmci_smem_object_t *object, const void *address, uint64_t size, hmci_smem_end_t *end);

/* A region that holds a near end: its own, or one registered for the copy (the last parameter, to be closed after it). */
int32_t hmci_smem_near_region(const hmci_smem_object_t *object, const hmci_smem_end_t *end, uint64_t size,
                              hmc_region_t **region, uint64_t *offset, hmc_region_t **lent);

/* ---- bm_direction.c ---------------------------------------------------------------------------------------------- */

/* While reading: finds both ends of a copy, and whether they are what the direction says. -2000. */
int32_t hmci_smem_find_ends(const hmci_smem_object_t *object, const void *source, const void *destination,
                            uint64_t size, smem_bm_copy_type type, hmci_smem_end_t *from, hmci_smem_end_t *to);

/* ---- bm_copy.c --------------------------------------------------------------------------------------------------- */

/* Waits for what was started with ASYNC_COPY_FLAG; the first error. */
int32_t hmci_smem_finish(hmci_smem_object_t *object);
/* Copies of every kind; bm_plain.c is before them. */
int32_t hmci_smem_copy(smem_bm_t handle, const void *source, void *destination, uint64_t size, smem_bm_copy_type type,
                       uint32_t flags);
int32_t hmci_smem_copy_batch(smem_bm_t handle, const smem_batch_copy_params *params, smem_bm_copy_type type,
                             uint32_t flags);
int32_t hmci_smem_copy_fail(smem_bm_t handle); /* one without parameters */

#endif
