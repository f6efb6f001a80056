/* The state of a PE, and what the files of this room share.
 *
 * The address space of the job: each PE has a *part*: a control block, the globals of its executable, and its heap, at
 * the same offsets everywhere. On one host all parts lie in one region, the *arena*, which the host's first PE (its
 * leader) allocates and all others map: so one connection per PE gives loads and stores to all. PEs on other hosts, and
 * all where shared memory is not to be used, are *far*: their part is a region of their own, reached through the engine
 * over a connection that is made at the first operation.
 *
 * Beside it each PE may have a heap in the memory of its device, a region of its own too (space.c). A symmetric address
 * becomes an *offset*: in a part, or in the device heap with HMCI_IN_DEVICE added.
 *
 * Locking: `hmci_pe` is written by init and finalize only, in one thread. What changes in between has its lock beside
 * it. */
#ifndef HMCI_SHMEM_STATE_H
#define HMCI_SHMEM_STATE_H

#include "control.h"
#include <hmc/context.h>
#include <hmc/mapping.h>
#include <hmc/memory.h>
#include <hmc/operation.h>
#include <hmc/queue.h>
#include <hmc/region.h>
#include <pthread.h>
#include <shmem/atomics.h>
#include <shmem/collectives.h>
#include <shmem/deprecated.h>
#include <shmem/library.h>
#include <shmem/memory.h>
#include <shmem/rma.h>
#include <shmem/sync.h>
#include <shmem/teams.h>
#include <stdatomic.h>
#include <stdbool.h>

/* What each PE publishes to all others at start-up; 32 bytes. */
typedef struct hmci_card {
  uint64_t host;         /* equal for PEs that can share memory */
  uint64_t globals_size; /* bytes of the executable's globals */
  uint8_t ip[4];
  uint16_t port; /* where its context listens */
  uint16_t flags;
  int32_t process;
  uint32_t device_grains; /* bytes of its device heap, in units of 2 MiB */
} hmci_card_t;

/* A PE that has been talked to through the engine: a far one, or a near one for its device heap. Made once, under
 * far_lock; then read by all. */
typedef struct hmci_far {
  hmc_peer_t *peer;
  hmc_remote_t *remote;       /* its part; NULL at a near one */
  hmc_remote_t *device;       /* its device heap; NULL where the job has none */
  hmc_mapping_t *mapping;     /* of a near one's device heap; NULL where this PE's device does not reach it */
  hmc_memory_t mapped_memory; /* where that lies */
} hmci_far_t;

/* The device heap of this PE. */
typedef struct hmci_device {
  size_t size; /* the same at all PEs; 0: there is none */
  char *start; /* an address of the device: the host must not touch what lies there */
  hmc_memory_t memory;
  hmc_region_t *region;
} hmci_device_t;

/* Numbers on either side of the PEs' for which the table of parts has NULL: the inlined forms look there before anything
 * checks the number, and so leave one that is a little off to what does. */
#define HMCI_NO_PES 64

typedef struct hmci_pe {
  void (*end)(int status); /* ends the job; never returns */
  int me, n;
  int levels;                    /* how often init was called and not finalized */
  int thread_level;              /* SHMEM_THREAD_* */
  bool checks;                   /* misuse is looked for */
  bool oversubscribed;           /* more PEs than processors on this host */
  bool is_crowded;               /* the same on one of the hosts; equal at all PEs */
  _Atomic bool written_silently; /* by an adapter: no service thread sees what some far PEs write; only set */
  bool is_roomy;                 /* each PE has a processor for its service thread too */
  hmci_card_t *cards;            /* by PE */

  hmc_context_t *context;
  hmc_region_t *region;  /* the arena at a leader, the part at a far PE; NULL elsewhere */
  hmc_region_t *exposed; /* the part inside the arena, for PEs on other hosts; NULL in a job of one host */
  hmc_peer_t *leader;
  hmc_remote_t *arena; /* the leader's region as seen from here; NULL at a leader */

  char *parts;         /* all parts of this host, in the order of `locals`; as the engine mapped them */
  char *part;          /* this PE's */
  size_t part_size;    /* the same everywhere */
  size_t globals_at;   /* offsets in a part */
  size_t globals_size; /* room for globals; the largest of all executables */
  size_t heap_at, heap_size;
  hmci_device_t device;
  char **base; /* by PE: its part in this process, or NULL */
  int *locals; /* the PEs of this host, ascending */
  int n_locals;
  bool all_near; /* every PE's part is mapped */

  hmci_far_t **far; /* by PE; NULL until the first operation. Entries: far_lock to write, acquire to read */
  pthread_mutex_t far_lock;
} hmci_pe_t;

extern hmci_pe_t hmci_pe;
void hmci_state_reset(void); /* as before init */

/* Whether the environment switches something on. `old_name`: NULL, or a name that counts where the other is not set. */
bool hmci_is_on(const char *name, const char *old_name);

/* A size of the environment, or `normal` where it has none; 0 is a size only where `normal` is. */
size_t hmci_size_setting(const char *name, const char *old_name, size_t normal);

/* Whether the environment asks for checks; `checks` says it while the job runs. */
bool hmci_wants_checks(void);

static inline hmci_control_t *hmci_control_of(int pe) { return (hmci_control_t *)(void *)hmci_pe.base[pe]; }
static inline hmci_control_t *hmci_my_control(void) { return (hmci_control_t *)(void *)hmci_pe.part; }

/* Ends the job with a text on stderr: for calls that cannot return an error. */
void hmci_die(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Ends the job with that exit status; says nothing (boot.c). */
void hmci_end_job(int status) __attribute__((noreturn));

/* ---- the end before its time (lost.c) ----------------------------------------------------------------------------- */

/* Tells the PEs that this one knows that the job ends with that status. */
void hmci_tell_end(int status);

/* Ends the job, with a text, because a PE is gone; this PE's own number: one of those that it has dialled. `why`: what showed
 * it. Returns where none of them is gone. */
void hmci_end_without(int pe, const char *why);

/* Ends this PE where another one has said that the job ends. */
void hmci_heed_verdict(void);

/* A thread that ends the job when a PE is gone, whatever the program is doing. It must have ended when the first PE
 * leaves the job in order. */
void hmci_watch_begin(void);
void hmci_watch_end(void);

/* Takes note of how a far PE is reached. */
void hmci_note_transport(hmc_peer_t *peer);

/* A name for this PE's context, by which others know whose connection has ended. */
void hmci_name_context(char *name, size_t size);

/* ---- addresses (address.c) ---------------------------------------------------------------------------------------- */

#define HMCI_IN_DEVICE ((size_t)1 << 63) /* in an offset: of the device heap */

/* Whether it is an address of this PE's device heap. */
static inline bool hmci_is_device(const void *address) {
  return (uintptr_t)address - (uintptr_t)hmci_pe.device.start < hmci_pe.device.size;
}

/* The offset of a symmetric address; SIZE_MAX where it is none. */
size_t hmci_offset(const void *address);

/* Ends the job where the PE does not exist and, under checks, where the range is not symmetric. */
void hmci_check(const char *call, const void *address, size_t size, int pe);

/* Always: ends the job where the address is one of the device heap, for words that the library itself looks at. */
void hmci_check_host(const char *call, const void *address);

/* ---- globals (globals.c) ------------------------------------------------------------------------------------------ */

/* The executable's writable data, whole pages: their start and size; 0 where they are to be left alone. */
size_t hmci_globals_find(char **start);

/* Puts the pages at `shared`, with what the globals hold, in the place of the globals; false where it does not work. */
bool hmci_globals_share(char *start, size_t size, char *shared);

/* Gives the globals private pages again, with what they hold. */
void hmci_globals_unshare(void);

/* ---- the heaps (heap.c) ------------------------------------------------------------------------------------------- */

void hmci_heap_open(shmemx_space_t space, char *start, size_t size);
void hmci_heap_close(shmemx_space_t space);
/* Without a barrier, as the collective calls need it; NULL where there is no room. */
void *hmci_heap_allocate(shmemx_space_t space, size_t size, size_t alignment);
bool hmci_heap_free(void *pointer);
/* The bytes of the block that starts there; 0 where none does. */
size_t hmci_heap_size_of(const void *pointer);

/* ---- memory of devices (space.c) ------------------------------------------------------------------------------------ */

/* A region of this PE that all others may reach: of `pointer`, or, where that is NULL, of new memory. */
void hmci_region_create(void *pointer, size_t size, hmc_memory_t memory, const char *name, hmc_region_t **region);

/* The bytes of each PE's device heap, by shmemx_set_device_heap or the environment; 0: none. */
size_t hmci_device_wanted(void);
/* Makes this PE's device heap, where one is wanted; before any PE opens it. The peers' are opened at first use (far.c). */
void hmci_device_open(void);
void hmci_device_close(void);

/* Copies, and where bytes lie (copy.c).
 *
 * Where this process's bytes lie. Asks the drivers for addresses outside the heaps, so it is slow; without a device heap
 * all is host memory. */
hmc_memory_t hmci_memory_among_devices(const void *address);
static inline hmc_memory_t hmci_memory_of(const void *address) {
  if (hmci_pe.device.size) return hmci_memory_among_devices(address);
  return (hmc_memory_t){.kind = HMC_MEMORY_CPU, .device = 0};
}

static inline bool hmci_is_host(hmc_memory_t memory) { return memory.kind == HMC_MEMORY_CPU; }

/* memmove, between any memories. */
void hmci_copy(void *dest, hmc_memory_t dest_memory, const void *source, hmc_memory_t source_memory, size_t size);
void hmci_move(void *dest, const void *source, size_t size);
void hmci_zero(void *dest, size_t size);

/* Reads a word of this PE's device heap. */
uint64_t hmci_device_word(const void *address, size_t size);

/* ---- groups: who takes part in a collective ------------------------------------------------------------------------- */

/* A team, or an active set. `slot` is the team's place in the control blocks, or -1 where `sync` (pSync) serves. */
typedef struct hmci_group {
  int me, n;
  int start, stride;  /* where `members` is NULL: PE i is start + i * stride */
  const int *members; /* by number in the group */
  int slot;
  long *sync;
  uint64_t *rounds; /* how many synchronisations there were; the team's */
  uint64_t *climbs; /* and how many collectives along the tree */
  bool near;        /* all members' parts are mapped */
  bool central;     /* one counter serves better than a flag per pair: more PEs than processors */
  bool by_tree;     /* the same where some are far: a tree serves better */
} hmci_group_t;

static inline int hmci_member(const hmci_group_t *group, int number) {
  return group->members ? group->members[number] : group->start + number * group->stride;
}

/* Waits for all members (barrier.c). */
void hmci_group_sync(hmci_group_t *group);

/* Like a sync, and combines `size` bytes (at most HMCI_SLOT_BYTES) of each: combine(into, from, count), in the order of
 * the members. Only where the group is a team. */
typedef void (*hmci_combine_t)(void *into, const void *from, size_t count);
void hmci_group_combine(hmci_group_t *group, void *into, const void *from, size_t size, size_t count,
                        hmci_combine_t combine);

/* The sum of `value` over the members before this one; the caller syncs before the next. Not of a team with far PEs. */
uint64_t hmci_group_before(hmci_group_t *group, uint64_t value);

/* ---- agreement (agree.c) ------------------------------------------------------------------------------------------- */

/* What a member of a collective is about to do. */
typedef struct hmci_collective {
  const char *call;
  const void *dest, *source; /* NULL: none */
  uint64_t size;             /* bytes; SIZE_MAX: may differ */
  int root;
} hmci_collective_t;

/* Under checks: ends the job where the members of the team are about to do different things. Collective. */
void hmci_agree(hmci_group_t *group, const hmci_collective_t *collective);

/* The same over all PEs. */
void hmci_agree_all(const hmci_collective_t *collective);

/* ---- teams (team.c) ------------------------------------------------------------------------------------------------ */

typedef struct hmci_team {
  hmci_group_t group;
  int *own_members;
  uint64_t round_count, climb_count;
  int32_t num_contexts;
  struct hmc_shmem_ctx *contexts; /* the shareable ones, which end with the team */
} hmci_team_t;

extern hmci_team_t *hmci_teams[HMCI_TEAMS]; /* by handle (handles.c) */
/* NULL for a handle that is none (handles.c). */
hmci_team_t *hmci_team_find(shmem_team_t team);
void hmci_teams_open(void);
void hmci_teams_close(void);

/* ---- contexts (handles.c) ------------------------------------------------------------------------------------------ */

/* What a non-blocking atomic will have fetched; the engine writes 8 bytes, the program may want 4. */
typedef struct hmci_fetch {
  uint64_t word;
  void *into;
  unsigned width;
  int pe;
} hmci_fetch_t;

#define HMCI_FETCHES 512 /* in progress at a time, per context */

struct hmc_shmem_ctx {
  shmem_team_t team;
  long options;
  long session;          /* the options of the session that is open; 0: none */
  _Atomic bool unsent;   /* operations may be kept back; a hint */
  pthread_mutex_t lock;  /* guards what follows; the list belongs to the team */
  hmc_queue_t *queue;    /* for far PEs and device heaps; NULL until the first operation on one */
  bool has_near;         /* operations on device heaps of near PEs may be pending in it */
  hmci_fetch_t *fetches; /* HMCI_FETCHES of them, or NULL */
  size_t n_fetches;
  struct hmci_slots *slots; /* strided.c; NULL until the first strided transfer with a far PE, as what it uses */
  hmc_region_t *slots_region;
  struct hmc_shmem_ctx *next;
};

/* The context behind a handle, and the PE of the job behind `pe`, which counts in the context's team. */
struct hmc_shmem_ctx *hmci_context(shmem_ctx_t ctx, int *pe);
/* The context of the library's own operations. */
struct hmc_shmem_ctx *hmci_own_context(void);
void hmci_contexts_open(void);
/* Frees what a context has, but not the context; nothing is in progress. */
void hmci_context_empty(struct hmc_shmem_ctx *ctx);
void hmci_contexts_close(void);
/* Completes what the program's contexts have pending (context.c). */
void hmci_contexts_quiet(void);

/* ---- far PEs, and device heaps (far.c): the job's numbers of PEs, offsets of hmci_offset ------------------------------- */

/* The address of `pe`'s device heap for this PE's device; NULL where it does not reach it. Makes the connection. */
char *hmci_device_base(int pe);

void hmci_far_put(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size, bool wait);
void hmci_far_get(struct hmc_shmem_ctx *ctx, int pe, size_t offset, void *dest, size_t size, bool wait);
uint64_t hmci_far_atomic(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation,
                         unsigned width, uint64_t operand, uint64_t compare, bool fetch);
/* As hmci_far_atomic; what was there is in `into` after the next quiet. */
void hmci_far_fetch(struct hmc_shmem_ctx *ctx, int pe, size_t offset, hmc_atomic_operation_t operation, unsigned width,
                    uint64_t operand, uint64_t compare, void *into);
void hmci_far_put_signal(struct hmc_shmem_ctx *ctx, int pe, size_t offset, const void *source, size_t size,
                         size_t word_offset, uint64_t signal, bool add, bool wait);
void hmci_far_quiet(struct hmc_shmem_ctx *ctx);
void hmci_far_quiet_pe(struct hmc_shmem_ctx *ctx, int pe);
void hmci_far_fence(struct hmc_shmem_ctx *ctx);
/* Sends what is kept back for company. NULL, here and above: the library's own operations. Waits for nothing. */
void hmci_far_push(struct hmc_shmem_ctx *ctx);
void hmci_far_close(void);
/* The region of a far PE's part; makes the connection. */
hmc_remote_t *hmci_far_remote(int pe);
/* Ends the job where an operation has failed: "`what` PE `pe`: ...". */
void hmci_far_expect(hmc_status_t status, const char *what, int pe);

/* ---- strided transfers with far PEs (strided.c) ----------------------------------------------------------------------- */

/* `count` blocks of `block` bytes. */
typedef struct hmci_strided {
  bool is_get;
  int pe;                /* the job's number */
  size_t offset;         /* of the first block there */
  char *local;           /* and here; a put only reads it */
  ptrdiff_t there, here; /* bytes from one block to the next */
  size_t block, count;
} hmci_strided_t;

/* Whether a list serves: the blocks are small, and in host memory at both ends. */
bool hmci_strided_fits(const hmci_strided_t *what);
/* Starts a transfer that fits, after what the context has pending at that PE. The local bytes are the caller's again when
 * hmci_strided_end has returned, and all is complete then. */
void hmci_strided_start(struct hmc_shmem_ctx *ctx, const hmci_strided_t *what);
void hmci_strided_end(struct hmc_shmem_ctx *ctx);

/* ---- the calls without types --------------------------------------------------------------------------------------- */

/* rma.c: on a context's PE number. */
void hmci_put(shmem_ctx_t ctx, void *dest, const void *source, size_t size, int pe, bool wait);
void hmci_get(shmem_ctx_t ctx, void *dest, const void *source, size_t size, int pe, bool wait);
/* Blocks that lie `dst` and `sst` bytes from one to the next. Complete when hmci_strided_end and, where some went by
 * themselves, a quiet have returned. */
void hmci_put_blocks(shmem_ctx_t ctx, void *dest, const void *source, ptrdiff_t dst, ptrdiff_t sst, size_t block,
                     size_t count, int pe);

/* order.c */
void hmci_quiet(struct hmc_shmem_ctx *ctx);

/* ---- waiting (wait.c) ---------------------------------------------------------------------------------------------- */

typedef bool (*hmci_condition_t)(const void *argument);

/* Returns when the condition, on the heap or globals, holds. It looks again and again: spins, yields, then sleeps. False
 * where this PE was interrupted. */
bool hmci_wait(hmci_condition_t holds, const void *argument);

/* Interrupts: see hmc_shmem_set_interrupt_hook. Whether a call that waits must return; asks the hook at times. */
bool hmci_is_interrupted(void);
extern _Atomic bool hmci_interrupted; /* what that has found so far; only set */
bool hmci_may_be_interrupted(void);
uint64_t hmci_now_ns(void); /* on the monotonic clock */
#define HMCI_SLICE 50       /* ms: the longest wait without asking, where there is a hook */

/* Waits until the word, of the control block, is at least `value`; words that only grow. */
void hmci_wait_word(_Atomic uint64_t *word, uint64_t value);

/* Wakes the threads of `pe` that sleep for that reason. Near PEs only. */
void hmci_wake(int pe, hmci_sleep_t reason);

/* Wakes those of this host that sleep for that reason; after a change of their words. */
void hmci_ring_all(hmci_sleep_t reason);

/* Of a region: a far PE has written to this one, which may be asleep. In a service thread. */
void hmci_wake_sleeper(void *user);

/* Wakes a near PE where it sleeps for that reason; after a change of its words. */
static inline void hmci_ring(int pe, hmci_sleep_t reason) {
  atomic_thread_fence(memory_order_seq_cst); /* partner: the store of `asleep` */
  if (atomic_load_explicit(&hmci_control_of(pe)->asleep[reason], memory_order_relaxed)) hmci_wake(pe, reason);
}

#endif
