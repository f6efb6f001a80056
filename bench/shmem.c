/* hmc-bench-shmem: what operations of OpenSHMEM take. One source for HMC and for another library, which is why it keeps
 * to what OpenSHMEM 1.4 has.
 *
 *   line       one cache line each way between two processes, by plain loads and stores; one way
 *   put        the same by shmem_long_p and shmem_long_wait_until
 *   p, g       shmem_long_p in a stream, with a quiet at its end; shmem_long_g
 *   fetch_add  shmem_long_atomic_fetch_add
 *   random     shmem_long_atomic_add on random words of 8 MiB
 *   stores, xadd, random_xadd
 *              the same as p, fetch_add and random by the processor's own instructions on the same memory
 *   barrier    shmem_barrier_all; barrier1: each timed by itself, for networks, whose round trips are timed so
 *   sum8       a sum of one double over all; sum1m: of 1 MiB
 *   put1m      shmem_putmem of 1 MiB with its quiet; copy1m: memcpy onto the same pages
 *   start      nothing: starting and ending is what is measured from outside
 *
 * PE 0 prints "ok <median ns> <mean ns> <operations>" as the other measuring programs do (bench.h). Two PEs take part. */
#include <shmem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCHES = 101, SINGLES = 20001, MIB = 1 << 20, TABLE = MIB, DOUBLES = MIB / 8 };

static struct {
  long *word, *table;
  char *to;
  double *sums, *numbers;
  char *from;
  int me, other;
  long turn; /* grows over all batches */
  uint64_t seed;
} bench;

static long *mapped(long *mine) {
  long *theirs = shmem_ptr(mine, bench.other);
  if (!theirs) exit(3);
  return theirs;
}

static void line(long count) {
  volatile long *mine = bench.word, *theirs = mapped(bench.word);
  for (long i = 0; i < count; i++) {
    long turn = ++bench.turn;
    if (bench.me == 0) *theirs = turn;
    while (*mine != turn) continue;
    if (bench.me == 1) *theirs = turn;
  }
}

static void put(long count) {
  for (long i = 0; i < count; i++) {
    long turn = ++bench.turn;
    if (bench.me == 0) shmem_long_p(bench.word, turn, 1);
    shmem_long_wait_until(bench.word, SHMEM_CMP_GE, turn);
    if (bench.me == 1) shmem_long_p(bench.word, turn, 0);
  }
}

static void p(long count) {
  if (bench.me) return;
  for (long i = 0; i < count; i++) shmem_long_p(&bench.table[i & 1023], i, 1);
  shmem_quiet();
}

static void g(long count) {
  if (bench.me) return;
  for (long i = 0; i < count; i++) bench.turn += shmem_long_g(&bench.table[i & 1023], 1);
}

static void fetch_add(long count) {
  if (bench.me) return;
  for (long i = 0; i < count; i++) bench.turn += shmem_long_atomic_fetch_add(bench.word, 1, 1);
}

static uint64_t next_random(void) {
  bench.seed ^= bench.seed << 13;
  bench.seed ^= bench.seed >> 7;
  bench.seed ^= bench.seed << 17;
  return bench.seed;
}

static void add_at_random(long count) {
  if (bench.me) return;
  for (long i = 0; i < count; i++) shmem_long_atomic_add(&bench.table[next_random() % TABLE], 1, 1);
  shmem_quiet();
}

static void stores(long count) {
  volatile long *theirs = mapped(bench.table);
  if (bench.me) return;
  for (long i = 0; i < count; i++) theirs[i & 1023] = i;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void xadd(long count) {
  long *theirs = mapped(bench.word);
  if (bench.me) return;
  for (long i = 0; i < count; i++) bench.turn += __atomic_fetch_add(theirs, 1, __ATOMIC_SEQ_CST);
}

static void random_xadd(long count) {
  long *theirs = mapped(bench.table);
  if (bench.me) return;
  for (long i = 0; i < count; i++) __atomic_fetch_add(&theirs[next_random() % TABLE], 1, __ATOMIC_SEQ_CST);
}

static void barrier(long count) {
  for (long i = 0; i < count; i++) shmem_barrier_all();
}

#if SHMEM_MAJOR_VERSION > 1 || SHMEM_MINOR_VERSION > 4
static void sum(long count, size_t doubles) {
  for (long i = 0; i < count; i++) shmem_double_sum_reduce(SHMEM_TEAM_WORLD, bench.sums, bench.numbers, doubles);
}
#else
/* Arrays in turn, as its active sets want it. */
static void sum(long count, size_t doubles) {
  static long sync[2][SHMEM_REDUCE_SYNC_SIZE];
  static double *work;
  static long calls;
  if (!work) {
    work = shmem_malloc((DOUBLES / 2 + 1 + SHMEM_REDUCE_MIN_WRKDATA_SIZE) * sizeof *work);
    for (int i = 0; i < 2 * SHMEM_REDUCE_SYNC_SIZE; i++) sync[0][i] = SHMEM_SYNC_VALUE;
    shmem_barrier_all();
  }
  for (long i = 0; i < count; i++) {
    shmem_double_sum_to_all(bench.sums, bench.numbers, (int)doubles, 0, 0, 2, work, sync[calls++ & 1]);
  }
}
#endif

static void sum8(long count) { sum(count, 1); }
static void sum1m(long count) { sum(count, DOUBLES); }

static void put1m(long count) {
  if (bench.me) return;
  for (long i = 0; i < count; i++) {
    shmem_putmem(bench.to, bench.from, MIB, 1);
    shmem_quiet();
  }
}

static void copy1m(long count) {
  if (bench.me) return;
  char *to = shmem_ptr(bench.to, 1);
  if (!to) exit(3);
  for (long i = 0; i < count; i++) {
    memcpy(to, bench.from, MIB);
    __asm__ volatile("" ::: "memory");
  }
}

static const struct {
  const char *name;
  void (*run)(long count);
  long count;  /* of a batch; 1: many single ones */
  double each; /* operations that one stands for */
} operations[] = {
    {"line", line, 2000, 2},
    {"put", put, 500, 2},
    {"p", p, 10000, 1},
    {"g", g, 5000, 1},
    {"fetch_add", fetch_add, 3000, 1},
    {"random", add_at_random, 5000, 1},
    {"stores", stores, 10000, 1},
    {"xadd", xadd, 3000, 1},
    {"random_xadd", random_xadd, 5000, 1},
    {"barrier", barrier, 300, 1},
    {"barrier1", barrier, 1, 1},
    {"sum8", sum8, 200, 1},
    {"sum1m", sum1m, 3, 1},
    {"put1m", put1m, 5, 1},
    {"copy1m", copy1m, 5, 1},
};

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void measure(void (*run)(long), long count, double each) {
  const int batches = count == 1 ? SINGLES : BATCHES;
  static double took[SINGLES];
  double total = 0;
  run(count); /* connections are made, pages touched */
  for (int i = 0; i < batches; i++) {
    if (count > 1) shmem_barrier_all(); /* a single barrier begins when the one before has ended */
    double before = now();
    run(count);
    took[i] = (now() - before) / ((double)count * each);
    total += took[i];
  }
  shmem_barrier_all();
  qsort(took, (size_t)batches, sizeof *took, compare);
  if (bench.me == 0) printf("ok %.4f %.4f %ld\n", took[batches / 2], total / batches, count * batches);
}

static void prepare(void) {
  bench.me = shmem_my_pe();
  bench.other = 1 - bench.me;
  bench.seed = 88172645463325252u;
  bench.word = shmem_malloc(64);
  bench.table = shmem_malloc(TABLE * sizeof(long));
  bench.to = shmem_malloc(MIB);
  bench.sums = shmem_malloc(MIB);
  bench.numbers = shmem_malloc(MIB);
  bench.from = malloc(MIB);
  if (!bench.word || !bench.table || !bench.to || !bench.sums || !bench.numbers || !bench.from) exit(3);
  *bench.word = 0;
  memset(bench.table, 0, TABLE * sizeof(long));
  memset(bench.to, 0, MIB);
  memset(bench.sums, 0, MIB);
  memset(bench.numbers, 0, MIB);
  memset(bench.from, 1, MIB);
  shmem_barrier_all();
}

int main(int argc, char **argv) {
  const char *what = argc > 1 ? argv[1] : "";
  shmem_init();
  int found = strcmp(what, "start") == 0;
  if (!found && shmem_n_pes() == 2) {
    prepare();
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++) {
      if (strcmp(what, operations[i].name) != 0) continue;
      measure(operations[i].run, operations[i].count, operations[i].each);
      found = 1;
    }
  }
  if (!found && shmem_my_pe() == 0) printf("error no such operation, or not two PEs: %s\n", what);
  fflush(stdout);
  shmem_finalize();
  return 0;
}
