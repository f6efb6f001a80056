/* Topics: wait_until and test, for one word, all, any, some, and with a value for each. */
#include "topic.h"

#include <stdlib.h>

/* Looks at one after the other until one has come, and then, with work of its own in between, for the rest. */
static void each_and_then_all(int me, int n) {
  size_t many = (size_t)n, place = 0;
  long *flags = shmem_calloc(many, sizeof *flags);
  int *status = calloc(many, sizeof *status);
  size_t *which = malloc(many * sizeof *which);
  CHECK(flags && status && which);
  for (int pe = 0; pe < n; pe++) shmem_atomic_set(&flags[me], (long)me + 1, pe);
  while (!shmem_test(&flags[place], SHMEM_CMP_NE, 0)) place = (place + 1) % many;
  CHECK(flags[place] == (long)place + 1);
  for (int left = n, turns = 0; left > 0; turns++) {
    size_t count = 0;
    if (turns % 2) {
      count = shmem_test_some(flags, many, which, status, SHMEM_CMP_NE, 0);
    } else if ((place = shmem_test_any(flags, many, status, SHMEM_CMP_NE, 0)) != SIZE_MAX) {
      which[0] = place;
      count = 1;
    }
    for (size_t i = 0; i < count; i++) {
      CHECK(!status[which[i]] && flags[which[i]] == (long)which[i] + 1);
      status[which[i]] = 1;
    }
    left -= (int)count;
  }
  free(which);
  free(status);
  shmem_barrier_all();
  shmem_free(flags);
}

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  size_t many = (size_t)n;
  int *flags = shmem_calloc(many, sizeof *flags), *data = shmem_calloc(many, sizeof *data);
  int *status = calloc(many, sizeof *status), *values = malloc(many * sizeof *values);
  size_t *which = malloc(many * sizeof *which);
  CHECK(flags && data && status && values && which);
  each_and_then_all(me, n);
  int *square = shmem_malloc(sizeof *square);
  CHECK(square);
  *square = me * me;
  for (int pe = 0; pe < n; pe++) shmem_put_nbi(&data[me], square, 1, pe);
  shmem_fence();
  for (int pe = 0; pe < n; pe++) shmem_atomic_set(&flags[me], 1, pe);
  int sum = 0;
  for (int left = n; left > 0;) { /* the one who has come */
    size_t count = shmem_wait_until_some(flags, many, which, status, SHMEM_CMP_NE, 0);
    for (size_t i = 0; i < count; i++) {
      sum += data[which[i]];
      status[which[i]] = 1;
    }
    left -= (int)count;
  }
  CHECK(sum == (n - 1) * n * (2 * n - 1) / 6);
  CHECK(shmem_wait_until_some(flags, many, which, status, SHMEM_CMP_NE, 0) == 0); /* all are left out */
  CHECK(shmem_test_any(flags, many, NULL, SHMEM_CMP_GT, 1) == SIZE_MAX && shmem_test(&flags[0], SHMEM_CMP_EQ, 1));
  shmem_barrier_all();
  for (int pe = 0; pe < n; pe++) {
    shmem_atomic_set(&flags[me], me + 10, pe);
    values[pe] = pe + 10;
    status[pe] = 0;
  }
  shmem_wait_until_all_vector(flags, many, NULL, SHMEM_CMP_EQ, values);
  CHECK(shmem_wait_until_any_vector(flags, many, status, SHMEM_CMP_EQ, values) < many);
  shmem_wait_until_all(flags, many, NULL, SHMEM_CMP_GE, 10);
  CHECK(shmem_test_all(flags, many, NULL, SHMEM_CMP_GE, 10));
  CHECK(shmem_test_some(flags, many, which, NULL, SHMEM_CMP_LT, 12) == (many < 2 ? many : 2));
  CHECK(shmem_wait_until_any(flags, many, NULL, SHMEM_CMP_EQ, n + 9) == many - 1);
  shmem_barrier_all();
  shmem_free(square);
  shmem_free(flags);
  shmem_free(data);
  free(status);
  free(values);
  free(which);
  shmem_finalize();
  return 0;
}
