/* What SMEM's tests share: processes that are ranks, what they share, and checks that say where they failed.
 *
 * A scenario is a function that every rank runs in a process of its own. Ranks meet at fences in shared memory; a rank
 * that fails ends its process, and the others' fences give up, so that nothing hangs. */
#ifndef SMEM_TEST_RANKS_H
#define SMEM_TEST_RANKS_H

#ifdef __cplusplus
#include <atomic>
using std::atomic_int;
using std::atomic_uint;
typedef std::atomic<unsigned long long> atomic_ullong;
#define RANKS_NO_RETURN [[noreturn]]
extern "C" {
#else
#include <stdatomic.h>
#define RANKS_NO_RETURN _Noreturn
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

enum { RANKS_MOST = 64, PATIENCE_S = 60 };

typedef struct shared {
  atomic_uint arrived[256]; /* of fences, in the order in which they are met */
  atomic_uint failures;
  atomic_ullong words[64]; /* for scenarios */
  atomic_int processes[RANKS_MOST];
} shared_t;

extern shared_t *shared;
extern uint32_t my_rank, rank_count;
extern char store_url[128];
extern char unserved_url[64]; /* nobody serves a store there, until this run does */

/* A home of its own with a secret, no settings from outside, and a port for the store. Once per program. */
void ranks_set_up(void);

/* What ranks_run does first: shared memory and a port. */
void ranks_share(void);

/* Runs `scenario` in `count` processes; true when all returned 0 in time. */
bool ranks_run(const char *name, uint32_t count, int (*scenario)(void));

/* All of `count` ranks come to the next fence. */
void fence_of(uint32_t count);
void fence(void);

/* A process more, for members that are to be killed: runs `scenario` and never returns from the child. */
pid_t ranks_spawn(uint32_t rank, int (*scenario)(void));

RANKS_NO_RETURN void fail_at(const char *file, int line, const char *what);

const char *smem_get_last_err_msg(void);

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fail_at(__FILE__, __LINE__, #condition);                                                                         \
    }                                                                                                                  \
  } while (0)

/* A call answers that code. */
#define ANSWERS(expected, call)                                                                                        \
  do {                                                                                                                 \
    int answered_ = (int)(call);                                                                                       \
    if (answered_ != (int)(expected)) {                                                                                \
      char text_[1400];                                                                                                \
      snprintf(text_, sizeof(text_), "%s answers %d, not %d: %s", #call, answered_, (int)(expected),                   \
               smem_get_last_err_msg());                                                                               \
      fail_at(__FILE__, __LINE__, text_);                                                                              \
    }                                                                                                                  \
  } while (0)

/* And its text has these words. */
#define SAYS(words) CHECK(strstr(smem_get_last_err_msg(), words) != NULL)

void sleep_ms(int ms);

/* Bytes that differ for each seed and place, and whether they are there. */
void fill(void *data, size_t size, uint64_t seed);
bool is_filled(const void *data, size_t size, uint64_t seed);

#ifdef __cplusplus
}
#endif

#endif
