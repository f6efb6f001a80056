/* A KV cache in everybody's memory: writers put blocks into a pool of host memory that all members give, readers take
 * them out and check them, and one member comes and goes meanwhile. On a terminal it shows what happens as it happens.
 *
 *     kv_pool [SECONDS]          two writers, two readers and a visitor on this host, for 10 s
 *
 * Every member's part has a row of slots for each writer: a head, which says which block lies there, and the block. A
 * writer makes the head odd, copies the block, and then the head that is right again; so a reader that sees one even
 * head before and after its copy has the whole block. Block i goes to member i % world. Who is gone answers -2007. */
#define _DEFAULT_SOURCE /* usleep, anonymous mappings, also with -std=c11 */

#include <hmc.h>
#include <smem/host/smem_bm.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WRITERS = 2, READERS = 2, WORLD = WRITERS + READERS + 1, VISITOR = WORLD - 1, SLOTS = 16, BLOCK = 144 << 10 };
enum { SLOT = BLOCK + 64, PART = 6 << 20, GONE = -2007 };
_Static_assert((uint64_t)WRITERS *SLOTS *SLOT <= PART, "the slots fit a part");

typedef struct head {
  uint64_t sequence; /* odd: the block is being written; 0: there was none yet */
  uint64_t block, checksum;
} head_t;

/* What the members tell the picture. */
typedef struct board {
  atomic_int stop, came, went, present[WORLD];
  atomic_ullong written[WORLD], verified[WORLD], gone[WORLD], torn[WORLD], wrong, lives;
} board_t;

static board_t *board;
static char url[64];
static uint32_t rank;
static smem_bm_t pool;

static void fail(const char *what) {
  fprintf(stderr, "member %u: %s: %s\n", rank, what, smem_get_last_err_msg());
  exit(1);
}

static char *slot_of(uint32_t member, uint32_t writer, uint64_t block) {
  char *part = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)member);
  return part + ((uint64_t)writer * SLOTS + block / WORLD % SLOTS) * SLOT;
}

/* False: that member is not there. Any other failure ends the program. */
static int copy(const void *from, void *to, uint64_t bytes) {
  smem_copy_params params = {.src = from, .dest = to, .dataSize = bytes};
  int32_t code = smem_bm_copy(pool, &params, SMEMB_COPY_AUTO, 0);
  if (code == GONE) atomic_fetch_add(&board->gone[rank], 1);
  if (code != 0 && code != GONE) fail("a copy");
  return code == 0;
}

static uint64_t checksum(const uint64_t *words) {
  uint64_t sum = 14695981039346656037u;
  for (int i = 0; i < BLOCK / 8; i++) sum = (sum ^ words[i]) * 1099511628211u;
  return sum;
}

/* What a model would have computed: words that tell the writer and the block. */
static void compute(uint64_t *words, uint64_t block) {
  for (int i = 0; i < BLOCK / 8; i++) words[i] = block * 2654435761u + (uint64_t)i * (rank + 1);
}

static void write_blocks(void) {
  static uint64_t words[BLOCK / 8];
  for (uint64_t block = 0; !atomic_load(&board->stop); block++) {
    uint32_t member = (uint32_t)(block % WORLD);
    char *slot = slot_of(member, rank, block);
    compute(words, block);
    head_t head = {.sequence = 2 * block + 1, .block = block, .checksum = checksum(words)};
    if (!copy(&head, slot, sizeof(head)) || !copy(words, slot + 64, BLOCK)) continue;
    head.sequence++;
    if (copy(&head, slot, sizeof(head))) atomic_fetch_add(&board->written[rank], 1);
  }
}

static void read_blocks(void) {
  static uint64_t words[BLOCK / 8];
  uint64_t at = rank;
  while (!atomic_load(&board->stop)) {
    uint32_t writer = (uint32_t)(at / 7 % WRITERS);
    head_t before, after;
    at = at * 6364136223846793005u + 1442695040888963407u;
    uint64_t block = (at >> 33) % (WORLD * SLOTS);
    char *slot = slot_of((uint32_t)(block % WORLD), writer, block);
    if (!copy(slot, &before, sizeof(before)) || before.sequence == 0 || before.sequence % 2 == 1) continue;
    if (!copy(slot + 64, words, BLOCK) || !copy(slot, &after, sizeof(after))) continue;
    if (memcmp(&before, &after, sizeof(before)) != 0) {
      atomic_fetch_add(&board->torn[rank], 1); /* it was written meanwhile: there is another one now */
    } else if (checksum(words) != before.checksum) {
      atomic_fetch_add(&board->wrong, 1);
    } else {
      atomic_fetch_add(&board->verified[rank], 1);
    }
  }
}

/* Comes with fresh memory, stays a while, and goes again. */
static void visit(void) {
  while (!atomic_load(&board->stop)) {
    usleep(300000);
    if (smem_bm_leave(pool, 0) != 0) fail("leaving");
    atomic_store(&board->present[rank], 0);
    usleep(200000);
    memset(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)rank), 0, PART);
    if (smem_bm_join(pool, 0) != 0) fail("joining");
    atomic_store(&board->present[rank], 1);
    atomic_fetch_add(&board->lives, 1);
  }
}

static int be_member(void) {
  smem_bm_config_t config;
  smem_bm_config_init(&config);
  config.rankId = (uint16_t)rank;
  if (smem_bm_init(url, WORLD, 0, &config) != 0) fail("the pool");
  pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, PART, 0, 0);
  if (pool == NULL || smem_bm_join(pool, 0) != 0) fail("the pool");
  atomic_store(&board->present[rank], 1);
  for (atomic_fetch_add(&board->came, 1); atomic_load(&board->came) < WORLD;) usleep(1000);
  if (rank < WRITERS) {
    write_blocks();
  } else if (rank < VISITOR) {
    read_blocks();
  } else {
    visit();
  }
  smem_bm_destroy(pool);
  atomic_store(&board->present[rank], 0);
  atomic_fetch_add(&board->went, 1);
  while (rank == 0 && atomic_load(&board->went) < WORLD) usleep(1000); /* it serves the store, and goes last */
  smem_bm_uninit(0);
  return 0;
}

/* ---- the picture ------------------------------------------------------------------------------------------------- */

enum { COLUMNS = 79, BEFORE_BAR = 66, BAR_MOST = 60 };

/* How long a bar can be here: a line has 79 columns, or as many as the terminal. */
static int bar_room(void) {
  struct winsize size = {.ws_col = COLUMNS};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0) size.ws_col = COLUMNS + 1;
  int room = size.ws_col - 1 - BEFORE_BAR;
  return room < 0 ? 0 : room > BAR_MOST ? BAR_MOST : room;
}

/* One line for each member, in place of the last picture; bars are parts of the highest rate so far. */
static void draw(double seconds, int is_first) {
  static unsigned long long last[WORLD];
  static double before, highest = 1;
  const char line[BAR_MOST + 1] = "############################################################";
  int room = bar_room();
  if (!is_first) printf("\033[%dA", WORLD + 2);
  printf(
      "\033[?7l\033[K  # member   in   written  verified rewritten    gone  blocks/s\n"); /* ?7l: no line is wrapped */
  for (int i = 0; i < WORLD; i++) {
    unsigned long long done = board->written[i] + board->verified[i];
    double rate = (double)(done - last[i]) / (seconds - before);
    highest = rate > highest ? rate : highest;
    printf("\033[K%3d %-7s  %-3s %9llu %9llu %9llu %7llu %9.0f  %.*s\n", i,
           i < WRITERS   ? "writer"
           : i < VISITOR ? "reader"
                         : "visitor",
           board->present[i] ? "yes" : "no", board->written[i], board->verified[i], board->torn[i], board->gone[i],
           rate, (int)(rate * room / highest), line);
    last[i] = done;
  }
  before = seconds;
  printf("\033[K%6.1f s; blocks that were wrong: %llu\033[?7h\n", seconds, board->wrong);
  fflush(stdout);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

/* A free port below the range that the kernel hands out for port 0, so that no other program gets it meanwhile. */
static int choose_port(void) {
  for (int i = 0; i < 100; i++) {
    int port = 10000 + ((int)getpid() * 7 + i) % 20000;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM, 0);
    int is_free = descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (descriptor >= 0) close(descriptor);
    snprintf(url, sizeof(url), "tcp://127.0.0.1:%d", port);
    if (is_free) return 1;
  }
  return 0;
}

static unsigned long long sum(const atomic_ullong *counts) {
  unsigned long long all = 0;
  for (int i = 0; i < WORLD; i++) all += counts[i];
  return all;
}

int main(int count, char **arguments) {
  double seconds = count > 1 ? strtod(arguments[1], NULL) : 10;
  board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (seconds <= 0 || board == MAP_FAILED || !choose_port()) {
    fprintf(stderr, "usage: kv_pool [SECONDS]\n");
    return 2;
  }
  pid_t members[WORLD];
  for (rank = 0; rank < WORLD; rank++) {
    members[rank] = fork();
    if (members[rank] == 0) exit(be_member());
  }
  int bad = 0, ended = 0, is_first = 1;
  for (double begin = now(); now() - begin < seconds && ended == 0;) {
    usleep(250000);
    if (board->came < WORLD) {
      begin = now(); /* the time begins when all are there */
    } else if (isatty(STDOUT_FILENO)) {
      draw(now() - begin, is_first);
      is_first = 0;
    }
    int status = 0;
    ended = waitpid(-1, &status, WNOHANG); /* a member that fails ends the whole */
    bad = ended > 0;
  }
  atomic_store(&board->stop, 1);
  for (int i = 0; i < WORLD; i++) {
    int status = 0;
    if (bad) kill(members[i], SIGKILL);
    if (members[i] != ended && waitpid(members[i], &status, 0) == members[i]) bad = bad || status != 0;
  }
  printf("%llu blocks written, %llu read and verified, %llu wrong, %llu copies to a member that was gone, "
         "%llu visits\n",
         sum(board->written), sum(board->verified), (unsigned long long)board->wrong, sum(board->gone),
         (unsigned long long)board->lives);
  return bad || board->wrong > 0 || sum(board->verified) == 0;
}
