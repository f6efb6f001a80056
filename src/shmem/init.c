/* Joining and leaving a job.
 *
 * Order of init: the launcher says who this PE is; the PEs exchange their cards; the first PE of each host allocates the
 * arena, the others map it; each puts its globals into its part. Where the arena cannot be had (shared memory is not
 * wanted, or not possible), each PE's part is a region of its own and all are far. */
#include "alias.h"
#include "boot.h"
#include "state.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEFAULT_HEAP (16ull << 30)
#define ALIGNMENT (1ull << 30) /* of each PE's own view of its part: the same at all, so that alignments agree */
#define GRAIN (2ull << 20)     /* of what lies in a part */

static uint64_t wanted_heap; /* by attributes; 0: the environment decides */

static void expect(hmc_status_t status, const char *what) {
  if (status != HMC_SUCCESS) hmci_die("%s: %s", what, hmc_last_error());
}

static void exchange(const void *mine, size_t bytes, void *all, const char *what) {
  if (!hmci_boot.gather(&hmci_boot, mine, bytes, all))
    hmci_die("%s with the other PEs (%s): %s", what, hmci_boot.name, hmc_last_error());
}

static size_t round_up(size_t value, size_t unit) { return (value + unit - 1) / unit * unit; }

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

static size_t size_of_heap(void) {
  return wanted_heap ? wanted_heap : hmci_size_setting("SHMEM_SYMMETRIC_SIZE", "SMA_SYMMETRIC_SIZE", DEFAULT_HEAP);
}

static void print_info(void) {
  if (hmci_pe.me != 0) return;
  if (hmci_is_on("SHMEM_VERSION", "SMA_VERSION")) {
    fprintf(stderr, "%s, OpenSHMEM %d.%d\n", SHMEM_VENDOR_STRING, SHMEM_MAJOR_VERSION, SHMEM_MINOR_VERSION);
  }
  if (hmci_is_on("SHMEM_INFO", "SMA_INFO")) {
    fprintf(stderr,
            "SHMEM_VERSION         print the version at start-up\n"
            "SHMEM_INFO            print this list\n"
            "SHMEM_SYMMETRIC_SIZE  bytes of the heap of each PE, with K, M, G or T behind (now %zu)\n"
            "SHMEM_DEVICE_SIZE     bytes of the heap of each PE in the memory of its device (now %zu)\n"
            "SHMEM_DEVICE          that device: a kind, or kind:number; default: the first kind that works here\n"
            "SHMEM_DEBUG           look for misuse (HMC_SHMEM_CHECK=1 too)\n"
            "HMC_SHMEM_GLOBALS     0: globals are not symmetric; 1: also where the executable does not need libshmem\n"
            "HMC_SHMEM_ADDRESS     the IPv4 address at which PEs of other hosts reach this one\n",
            hmci_pe.heap_size, hmci_pe.device.size);
  }
}

/* ---- the card ---------------------------------------------------------------------------------------------------------- */

static uint64_t hash(uint64_t value, const void *bytes, size_t size) {
  const unsigned char *at = bytes;
  for (size_t i = 0; i < size; i++) value = (value ^ at[i]) * 1099511628211u;
  return value;
}

/* PEs share memory within one boot of one kernel and one network namespace; another namespace counts as another host. */
static uint64_t host_print(void) {
  uint64_t print = 14695981039346656037u;
  char boot_id[64] = "";
  FILE *file = fopen("/proc/sys/kernel/random/boot_id", "r");
  if (file) {
    if (!fgets(boot_id, sizeof boot_id, file)) boot_id[0] = 0;
    fclose(file);
  }
  print = hash(print, boot_id, sizeof boot_id);
  struct stat namespace_of;
  if (stat("/proc/self/ns/net", &namespace_of) == 0) {
    print = hash(print, &namespace_of.st_ino, sizeof namespace_of.st_ino);
  }
  return print;
}

/* The first address that other hosts may know, or 127.0.0.1. */
static void find_address(uint8_t ip[4]) {
  const char *wish = getenv("HMC_SHMEM_ADDRESS");
  if (wish && inet_pton(AF_INET, wish, ip) == 1) return;
  if (wish) hmci_die("HMC_SHMEM_ADDRESS=%s is not an IPv4 address", wish);
  static const uint8_t loopback[4] = {127, 0, 0, 1};
  memcpy(ip, loopback, 4);
  struct ifaddrs *list;
  if (hmci_boot.one_host || getifaddrs(&list) != 0) return;
  for (struct ifaddrs *at = list; at; at = at->ifa_next) {
    if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || at->ifa_flags & IFF_LOOPBACK ||
        !(at->ifa_flags & IFF_UP)) {
      continue;
    }
    memcpy(ip, &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, 4);
    break;
  }
  freeifaddrs(list);
}

static bool may_share_memory(void) {
  const char *transports = getenv("HMC_TRANSPORTS");
  return !transports || !*transports || strstr(transports, "shm");
}

static void exchange_cards(void) {
  hmci_card_t card = {.host = host_print(),
                      .process = getpid(),
                      .globals_size = hmc_shmem_here.globals_size,
                      .device_grains = (uint32_t)(hmci_device_wanted() / GRAIN)};
  if (!may_share_memory()) card.host += (uint64_t)hmci_pe.me + 1; /* a host of its own */
  find_address(card.ip);
  expect(hmc_context_listen(hmci_pe.context, hmci_boot.one_host ? "127.0.0.1" : "0.0.0.0", 0, &card.port), "listening");
  hmci_pe.cards = calloc((size_t)hmci_pe.n, sizeof card);
  if (!hmci_pe.cards) hmci_die("no memory for %d PEs", hmci_pe.n);
  exchange(&card, sizeof card, hmci_pe.cards, "exchanging addresses");
}

static void find_locals(void) {
  hmci_pe.locals = calloc((size_t)hmci_pe.n, sizeof *hmci_pe.locals);
  char **base = calloc((size_t)hmci_pe.n + 2 * HMCI_NO_PES, sizeof *base);
  hmci_pe.base = base ? base + HMCI_NO_PES : NULL;
  hmci_pe.far = calloc((size_t)hmci_pe.n, sizeof *hmci_pe.far);
  if (!hmci_pe.locals || !hmci_pe.base || !hmci_pe.far) hmci_die("no memory for %d PEs", hmci_pe.n);
  hmci_pe.n_locals = 0;
  for (int i = 0; i < hmci_pe.n; i++) {
    if (hmci_pe.cards[i].host == hmci_pe.cards[hmci_pe.me].host) hmci_pe.locals[hmci_pe.n_locals++] = i;
  }
  int here = 0; /* PEs that share this processor's host, whether or not they share memory */
  for (int i = 0; i < hmci_pe.n; i++) here += memcmp(hmci_pe.cards[i].ip, hmci_pe.cards[hmci_pe.me].ip, 4) == 0;
  hmci_pe.oversubscribed = here > sysconf(_SC_NPROCESSORS_ONLN);
  hmci_pe.is_roomy = 2 * here <= sysconf(_SC_NPROCESSORS_ONLN);
}

/* ---- memory ------------------------------------------------------------------------------------------------------------ */

static void lay_out_part(void) {
  size_t globals = 0;
  for (int i = 0; i < hmci_pe.n; i++) {
    if (hmci_pe.cards[i].globals_size > globals) globals = hmci_pe.cards[i].globals_size;
  }
  hmci_pe.globals_at = round_up(sizeof(hmci_control_t), GRAIN);
  hmci_pe.globals_size = globals;
  hmci_pe.heap_at = round_up(hmci_pe.globals_at + globals, GRAIN);
  hmci_pe.heap_size = round_up(size_of_heap(), GRAIN);
  hmci_pe.part_size = hmci_pe.heap_at + hmci_pe.heap_size;
}

/* Another view of `size` bytes at `from`, at a multiple of ALIGNMENT. */
static char *aligned_view(char *from, size_t size) {
  char *room = mmap(NULL, size + ALIGNMENT, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (room == MAP_FAILED) hmci_die("no address space for %zu B of heap", size);
  char *start = (char *)round_up((uintptr_t)room, ALIGNMENT);
  if (mremap(from, 0, size, MREMAP_MAYMOVE | MREMAP_FIXED, start) != (void *)start) {
    hmci_die("no address space for %zu B of heap", size);
  }
  if (start > room) munmap(room, (size_t)(start - room));
  munmap(start + size, (size_t)(room + size + ALIGNMENT - (start + size)));
  madvise(start + hmci_pe.heap_at, size - hmci_pe.heap_at, MADV_HUGEPAGE); /* where the system allows it for memfds */
  return start;
}

static void create_region(void *pointer, size_t size, const char *name, hmc_region_t **region) {
  hmci_region_create(pointer, size, (hmc_memory_t){.kind = HMC_MEMORY_CPU}, name, region);
}

static char *allocate_region(size_t size, const char *name) {
  create_region(NULL, size, name, &hmci_pe.region);
  return hmc_region_pointer(hmci_pe.region);
}

enum { SHARES_MEMORY = 1, IS_CROWDED = 2 };

/* Waits for all PEs. What any of them says, in bits. */
static unsigned meet_all(unsigned mine, const char *what) {
  uint8_t word = (uint8_t)mine;
  uint8_t *words = calloc((size_t)hmci_pe.n, 1);
  if (!words) hmci_die("no memory for %d PEs", hmci_pe.n);
  exchange(&word, 1, words, what);
  unsigned any = 0;
  for (int i = 0; i < hmci_pe.n; i++) any |= words[i];
  free(words);
  return any;
}

/* The arena is there when all have met. */
static unsigned meet_at_arena(unsigned mine) {
  int leader = hmci_pe.locals[0];
  char *arena = NULL;
  if (leader == hmci_pe.me) arena = allocate_region((size_t)hmci_pe.n_locals * hmci_pe.part_size, "shmem.arena");
  unsigned any = meet_all(mine | SHARES_MEMORY, "meeting");
  if (leader != hmci_pe.me) {
    hmc_status_t status = hmc_context_connect(hmci_pe.context, "127.0.0.1", hmci_pe.cards[leader].port,
                                              HMC_CONNECTION_SHM, 0, &hmci_pe.leader);
    expect(status, "connecting to the first PE of this host");
    expect(hmc_remote_open(hmci_pe.leader, "shmem.arena", 0, &hmci_pe.arena), "opening the memory of this host");
    void *mapped;
    expect(hmc_remote_map(hmci_pe.arena, &mapped), "mapping the memory of this host");
    arena = mapped;
  }
  hmci_pe.parts = arena;
  for (int i = 0; i < hmci_pe.n_locals; i++) {
    hmci_pe.base[hmci_pe.locals[i]] = arena + (size_t)i * hmci_pe.part_size;
  }
  return any;
}

static unsigned be_far(unsigned mine) {
  hmci_pe.base[hmci_pe.me] = hmci_pe.parts = allocate_region(hmci_pe.part_size, "shmem");
  return meet_all(mine, "meeting");
}

static void make_parts(void) {
  unsigned mine = hmci_pe.oversubscribed ? IS_CROWDED : 0;
  unsigned any = hmci_pe.n_locals > 1 ? meet_at_arena(mine) : be_far(mine);
  hmci_pe.is_crowded = any & IS_CROWDED;
  hmci_pe.all_near = hmci_pe.n_locals == hmci_pe.n;
  char *part = aligned_view(hmci_pe.base[hmci_pe.me], hmci_pe.part_size);
  hmci_pe.base[hmci_pe.me] = part;
  __atomic_store_n(&hmci_pe.part, part, __ATOMIC_RELEASE); /* partner: wake_sleeper */
  if (hmci_pe.all_near || !(any & SHARES_MEMORY)) return;
  /* PEs of other hosts may ask for a part as soon as they have started. */
  if (hmci_pe.n_locals > 1) create_region(part, hmci_pe.part_size, "shmem", &hmci_pe.exposed);
  meet_all(0, "exposing the heap");
}

static void share_globals(char *start, size_t size) {
  if (size && !hmci_globals_share(start, size, hmci_pe.part + hmci_pe.globals_at)) {
    hmci_die("the globals of the executable cannot be mapped from shared memory (%s): HMC_SHMEM_GLOBALS=0, at all PEs, "
             "starts without",
             strerror(errno));
  }
  hmc_shmem_here.globals = (uintptr_t)start; /* NULL with a size of 0 */
}

static void open_fast_path(void) {
  hmc_shmem_here.base = hmci_pe.base;
  hmc_shmem_here.globals_at = hmci_pe.globals_at;
  hmc_shmem_here.heap = (uintptr_t)hmci_pe.part;
  hmc_shmem_here.size = hmci_pe.checks ? 0 : hmci_pe.part_size; /* under checks each call is looked at */
  if (hmci_pe.checks) hmc_shmem_here.globals_size = 0;
  bool may_copy = hmci_pe.device.size == 0; /* else the bytes on the other side may be a device's */
  hmc_shmem_here.bytes_size = may_copy ? hmc_shmem_here.size : 0;
  hmc_shmem_here.bytes_globals_size = may_copy ? hmc_shmem_here.globals_size : 0;
}

/* ---- init and finalize ------------------------------------------------------------------------------------------------- */

/* Where PEs share processors, a thread that polls takes its processor from the one that would bring what it polls for. */
static void create_context(void) {
  bool crowded = hmci_boot.one_host && hmci_boot.size > sysconf(_SC_NPROCESSORS_ONLN) && !getenv("HMC_SPIN");
  if (crowded) setenv("HMC_SPIN", "0", 1);
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  char name[32];
  hmci_name_context(name, sizeof name);
  options.name = name;
  expect(hmc_context_create(&options, &hmci_pe.context), "starting");
  if (crowded) unsetenv("HMC_SPIN");
}

static void join_job(void) {
  hmci_pe.me = hmci_boot.rank;
  hmci_pe.n = hmci_boot.size;
  hmci_pe.checks = hmci_wants_checks();
  char *globals = NULL;
  size_t globals_size = hmci_globals_find(&globals);
  hmc_shmem_here.globals_size = globals_size; /* for the card */
  create_context();
  exchange_cards();
  find_locals();
  lay_out_part();
  make_parts();
  share_globals(globals, globals_size);
  hmci_heap_open(SHMEMX_SPACE_HOST, hmci_pe.part + hmci_pe.heap_at, hmci_pe.heap_size);
  hmci_device_open();
  if (hmci_pe.device.size) meet_all(0, "making the device heap"); /* others look for it from now on */
  hmci_contexts_open();
  hmci_teams_open();
  open_fast_path();
  hmci_pe.levels = 1;
  print_info();
  hmci_watch_begin();
  shmem_sync_all();
}

static pid_t joined_as; /* a child of fork() has no job to leave */

/* A program may return from main without shmem_finalize: then that is done here. One that ends with a fault does not wait
 * for the others, which its launcher ends. */
static void leave_at_exit(int status, void *unused) {
  (void)unused;
  if (status || hmci_pe.levels == 0 || getpid() != joined_as) return;
  fflush(NULL); /* the others may take their time */
  hmci_pe.levels = 1;
  shmem_finalize();
}

/* Once in a process; the library stays loaded for it. */
static void watch_exit(void) {
  joined_as = getpid();
  static bool is_watched;
  Dl_info info;
  if (is_watched || !dladdr(&hmci_boot, &info) || !dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE))
    return;
  is_watched = on_exit(leave_at_exit, NULL) == 0;
}

int shmem_init_thread(int requested, int *provided) {
  if (hmci_pe.levels++ == 0) {
    hmci_pe.end = shmem_global_exit;
    hmci_boot_open(&hmci_boot);
    join_job();
    watch_exit();
  }
  if (requested > hmci_pe.thread_level) hmci_pe.thread_level = requested;
  if (provided) *provided = SHMEM_THREAD_MULTIPLE;
  return 0;
}

void shmem_init(void) { shmem_init_thread(SHMEM_THREAD_SINGLE, NULL); }
void start_pes(int npes) {
  (void)npes;
  if (hmci_pe.levels == 0) shmem_init();
}

int shmem_init_with_attr(const shmem_attr_t *attributes) {
  if (hmci_pe.levels) return -4; /* as SHMEM for Ascend says: an inner error */
  wanted_heap = attributes ? attributes->mem_size : 0;
  shmem_init();
  return 0;
}

bool hmci_join_as(const hmci_boot_wish_t *wish, size_t heap) {
  wanted_heap = heap;
  hmci_pe.end = shmem_global_exit;
  if (wish) {
    if (!hmci_boot_open_as(&hmci_boot, wish)) return false;
  } else {
    hmci_boot_open(&hmci_boot);
  }
  join_job();
  watch_exit();
  return true;
}

void shmem_query_thread(int *provided) { *provided = SHMEM_THREAD_MULTIPLE; }
void shmem_query_initialized(int *initialized) { *initialized = hmci_pe.levels > 0; }

static void leave_job(void) {
  hmc_shmem_here.size = hmc_shmem_here.bytes_size = 0;
  hmc_shmem_here.globals_size = hmc_shmem_here.bytes_globals_size = 0;
  hmci_globals_unshare();
  hmci_teams_close();
  hmci_contexts_close();
  hmci_heap_close(SHMEMX_SPACE_HOST);
  hmci_far_close();
  hmci_device_close();
  hmc_region_close(hmci_pe.exposed);
  hmc_region_close(hmci_pe.region);
  munmap(hmci_pe.part, hmci_pe.part_size); /* nobody looks into it any more: see wake_sleeper */
  hmc_remote_close(hmci_pe.arena);
  hmc_context_destroy(hmci_pe.context);
  free(hmci_pe.cards);
  free(hmci_pe.locals);
  free(hmci_pe.base - HMCI_NO_PES);
  hmci_boot.close(&hmci_boot);
  hmci_boot = (hmci_boot_t){0};
  wanted_heap = 0;
  hmci_state_reset();
  hmc_shmem_here = (hmc_shmem_here_t){0};
}

int shmem_finalize(void) {
  if (hmci_pe.levels == 0) return 0;
  if (hmci_pe.levels > 1) {
    hmci_pe.levels--;
    return 0;
  }
  hmci_contexts_quiet(); /* of contexts too nothing is pending when the others leave */
  shmem_barrier_all();
  hmci_watch_end(); /* whose connections end from now on has left */
  /* All have arrived and none needs another's memory; but the leader's connection serves until all have left. */
  if (!hmci_is_interrupted()) meet_all(0, "leaving");
  leave_job();
  return 0;
}

int shmem_my_pe(void) { return hmci_pe.me; }
int shmem_n_pes(void) { return hmci_pe.n; }
int _my_pe(void) { return hmci_pe.me; }
int _num_pes(void) { return hmci_pe.n; }

PROFILED(shmem_init);
PROFILED(shmem_init_thread);
PROFILED(start_pes);
PROFILED(shmem_query_thread);
PROFILED(shmem_query_initialized);
PROFILED(shmem_finalize);
PROFILED(shmem_my_pe);
PROFILED(shmem_n_pes);
