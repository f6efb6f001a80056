/* A PE that dies while the others wait for it; see deaths.py.
 *
 * usage: deaths WAY PE     WAY: what the others do meanwhile; "exit...": the PE calls shmem_global_exit(5)
 * instead; "slow": its parent learns of its end some time after the others */
#include "check.h"

#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <unistd.h>

enum { MANY = 1000, SLOW_S = 2 };

static long word, words[MANY], lock;

static void wait_for_all(int victim) {
  (void)victim;
  shmem_barrier_all();
}

static void wait_for_word(int victim) {
  (void)victim;
  shmem_long_wait_until(&word, SHMEM_CMP_EQ, 1);
}

static void put_and_quiet(int victim) {
  for (;;) {
    shmem_long_put(words, words, MANY, victim);
    for (int i = 0; i < MANY; i++) shmem_long_put_nbi(&words[i], &word, 1, victim);
    shmem_quiet();
    if (shmem_ptr(words, victim)) shmem_barrier_all(); /* memory that is mapped remains */
  }
}

static void add_up(int victim) {
  (void)victim;
  shmem_long_sum_reduce(SHMEM_TEAM_WORLD, words, &word, 1);
}

static void wait_for_lock(int victim) {
  (void)victim;
  shmem_set_lock(&lock);
}

static void fetch(int victim) {
  for (;;) {
    shmem_long_atomic_fetch_add(&word, 1, victim);
    if (shmem_ptr(&word, victim)) shmem_barrier_all();
  }
}

/* Loops of a program's own, in which it never waits in a call. */
static void test_again(int victim) {
  (void)victim;
  while (!shmem_long_test_all(words, MANY, NULL, SHMEM_CMP_EQ, 1)) continue;
}

static void swap_again(int victim) {
  int home = victim == 0; /* another PE, which lives on */
  while (shmem_long_atomic_compare_swap(&lock, 2, 3, home) != 2) continue;
}

static void look_again(int victim) {
  (void)victim;
  while (!*(volatile long *)&word) continue;
}

static const struct {
  const char *name;
  void (*wait)(int victim);
} ways[] = {{"barrier", wait_for_all}, {"wait", wait_for_word}, {"quiet", put_and_quiet},  {"sum", add_up},
            {"lock", wait_for_lock},   {"fetch", fetch},        {"exit", wait_for_all},    {"test", test_again},
            {"swap", swap_again},      {"look", look_again},    {"exit-look", look_again}, {"slow", wait_for_all}};

/* The parent of a process that is traced learns of its end when the tracer lets go of it: so it may be on a busy host, where a
 * process takes long from closing its sockets to its end. */
static void be_traced(void) {
  int ready[2];
  char byte;
  pid_t own = getpid();
  CHECK(pipe(ready) == 0);
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* needed by some kernels, unknown to others */
  if (fork() == 0) {
    if (ptrace(PTRACE_SEIZE, own, NULL, NULL)) _exit(1);
    close(STDOUT_FILENO);
    close(STDERR_FILENO);
    if (write(ready[1], "", 1) == 1) sleep(SLOW_S);
    _exit(0);
  }
  close(ready[1]);
  CHECK(read(ready[0], &byte, 1) == 1);
}

int main(int argc, char **argv) {
  if (argc != 3) return 2;
  shmem_init();
  int victim = atoi(argv[2]);
  bool is_victim = shmem_my_pe() == victim, exits = strncmp(argv[1], "exit", 4) == 0;
  if (is_victim && strcmp(argv[1], "lock") == 0) shmem_set_lock(&lock);
  shmem_barrier_all();
  if (is_victim) {
    if (strcmp(argv[1], "slow") == 0) be_traced();
    usleep(200000); /* the others wait by then */
    if (exits) shmem_global_exit(5);
    raise(SIGKILL);
  }
  for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
    if (strcmp(argv[1], ways[i].name) == 0) ways[i].wait(victim);
  }
  return 2; /* nobody comes here */
}
