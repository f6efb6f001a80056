/* Sorting integers in buckets: each PE has a range of values; all send each key to the PE whose range it is in.
 *
 * Where a PE's keys go at another one is taken by a fetch-and-add on that PE's counter. */
#include <shmem.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEYS = 100000, VALUES = 1 << 20 };

/* A linear congruential generator; its upper bits are the better ones. */
static unsigned next_random(unsigned *seed) {
  *seed = *seed * 1103515245u + 12345u;
  return *seed >> 8;
}

static int compare(const void *left, const void *right) {
  int a = *(const int *)left, b = *(const int *)right;
  return (a > b) - (a < b);
}

static void send_keys(const int *keys, int *received, long *count, int n) {
  int *bucket = malloc(KEYS * sizeof *bucket);
  for (int pe = 0; bucket && pe < n; pe++) {
    long size = 0;
    for (int i = 0; i < KEYS; i++) {
      if ((long)keys[i] * n / VALUES == pe) bucket[size++] = keys[i];
    }
    long place = shmem_long_atomic_fetch_add(count, size, pe);
    shmem_int_put(received + place, bucket, (size_t)size, pe);
  }
  free(bucket);
}

int main(void) {
  static long count, total, sorted, all_sorted;
  static int largest;
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  int *keys = malloc(KEYS * sizeof *keys);
  int *received = shmem_malloc((size_t)n * KEYS * sizeof *received); /* all could come to one */
  if (!keys || !received) shmem_global_exit(1);
  unsigned seed = (unsigned)me + 1;
  for (int i = 0; i < KEYS; i++) keys[i] = (int)(next_random(&seed) % VALUES);
  shmem_barrier_all();
  send_keys(keys, received, &count, n);
  shmem_barrier_all();
  qsort(received, (size_t)count, sizeof *received, compare);

  shmem_long_sum_reduce(SHMEM_TEAM_WORLD, &total, &count, 1);
  largest = count ? received[count - 1] : 0;
  shmem_barrier_all();
  sorted = me == 0 || count == 0 || shmem_int_g(&largest, me - 1) <= received[0];
  shmem_long_sum_reduce(SHMEM_TEAM_WORLD, &all_sorted, &sorted, 1);
  if (me == 0) printf("%ld keys of %d PEs are sorted: %s\n", total, n, all_sorted == n ? "yes" : "no");
  free(keys);
  shmem_finalize();
  return all_sorted == n && total == (long)n * KEYS ? 0 : 1;
}
