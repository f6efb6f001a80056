/* Topics: wait_until and test, for one word, all, any, some, and with a value for each. */
#include "topic.h"

#include <stdlib.h>

int main(void) {
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  size_t many = (size_t)n;
  int *flags = shmem_calloc(many, sizeof *flags), *data = shmem_calloc(many, sizeof *data);
  int *status = calloc(many, sizeof *status), *values = malloc(many * sizeof *values);
  size_t *which = malloc(many * sizeof *which);
  CHECK(flags && data && status && values && which);
  for (int pe = 0; pe < n; pe++) shmem_p(&data[me], me * me, pe);
  shmem_fence();
  for (int pe = 0; pe < n; pe++) shmem_p(&flags[me], 1, pe);
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
    shmem_p(&flags[me], me + 10, pe);
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
  shmem_free(flags);
  shmem_free(data);
  free(status);
  free(values);
  free(which);
  shmem_finalize();
  return 0;
}
