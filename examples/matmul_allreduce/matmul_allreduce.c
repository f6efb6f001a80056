/* C = sum over the PEs of A_pe x B_pe, on all PEs, with the reduction under the multiplication.
 *
 *   multiply | tile 0 | tile 1 | tile 2 | ...
 *   reduce            | tile 0 | tile 1 | ...       tile t belongs to PE t mod n
 *
 * C is cut into tiles of rows. Who has multiplied a tile puts it to the tile's owner, with a signal, and goes on. An
 * owner looks between its own tiles for some that have come from all; it adds them up and puts the sum to all PEs.
 *
 * usage: matmul_allreduce FOLDER M K N BITS; reads FOLDER/a_<pe>.bin and b_<pe>.bin, PE 0 writes output.bin. BITS: 16 or
 * 32 of a floating point number; sums are of 32. */
#include "half.h"

#include <shmem.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 64 }; /* of a tile */

typedef struct shape {
  size_t m, k, n, tile; /* tile: elements of one */
  int tiles, bits;
} shape_t;

static float *read_matrix(const char *folder, const char *name, int pe, size_t count, int bits) {
  char path[512];
  snprintf(path, sizeof path, "%s/%s_%d.bin", folder, name, pe);
  FILE *file = fopen(path, "rb");
  float *matrix = malloc(count * sizeof *matrix);
  uint16_t *halves = bits == 16 ? malloc(count * sizeof *halves) : NULL;
  void *into = halves ? (void *)halves : matrix;
  if (!file || !matrix || !into || fread(into, (size_t)bits / 8, count, file) != count) {
    fprintf(stderr, "%s cannot be read\n", path);
    shmem_global_exit(1);
  }
  for (size_t i = 0; halves && i < count; i++) matrix[i] = float_of_half(halves[i]);
  free(halves);
  fclose(file);
  return matrix;
}

static void write_matrix(const char *folder, const float *matrix, size_t count, int bits) {
  char path[512];
  snprintf(path, sizeof path, "%s/output.bin", folder);
  FILE *file = fopen(path, "wb");
  size_t written = 0;
  for (size_t i = 0; file && i < count; i++) {
    uint16_t half = half_of_float(matrix[i]);
    written += bits == 16 ? fwrite(&half, sizeof half, 1, file) : fwrite(&matrix[i], sizeof matrix[i], 1, file);
  }
  if (!file || fclose(file) || written != count) {
    fprintf(stderr, "%s cannot be written\n", path);
    shmem_global_exit(1);
  }
}

/* Rows of C: row by row of B, which the compiler turns into vector code; in blocks of columns that stay in the cache. */
static void multiply(const shape_t *shape, const float *a, const float *b, size_t first_row, size_t rows, float *c) {
  enum { COLUMNS = 1024 };
  memset(c, 0, rows * shape->n * sizeof *c);
  for (size_t start = 0; start < shape->n; start += COLUMNS) {
    size_t end = start + COLUMNS < shape->n ? start + COLUMNS : shape->n;
    for (size_t k = 0; k < shape->k; k++) {
      const float *restrict from = b + k * shape->n;
      for (size_t row = 0; row < rows; row++) {
        float factor = a[(first_row + row) * shape->k + k];
        float *restrict to = c + row * shape->n;
        for (size_t j = start; j < end; j++) to[j] += factor * from[j];
      }
    }
  }
}

/* Symmetric memory. parts: at a tile's owner, one of each PE; arrived: how many parts of the owner's i-th tile. */
static float *parts, *result;
static uint64_t *arrived;
static uint64_t *finished; /* tiles whose sum is here */

static size_t rows_of(const shape_t *shape, int tile) {
  size_t first = (size_t)tile * ROWS;
  return shape->m - first < ROWS ? shape->m - first : ROWS;
}

static void send_part(const shape_t *shape, int tile, const float *part) {
  int me = shmem_my_pe(), n = shmem_n_pes(), owner = tile % n;
  size_t place = ((size_t)(tile / n) * (size_t)n + (size_t)me) * shape->tile;
  shmem_float_put_signal(parts + place, part, rows_of(shape, tile) * shape->n, &arrived[tile / n], 1, SHMEM_SIGNAL_ADD,
                         owner);
}

static void reduce_tile(const shape_t *shape, int tile) {
  int n = shmem_n_pes();
  size_t count = rows_of(shape, tile) * shape->n;
  float *sum = parts + (size_t)(tile / n) * (size_t)n * shape->tile;
  for (int pe = 1; pe < n; pe++) {
    const float *part = sum + (size_t)pe * shape->tile;
    for (size_t i = 0; i < count; i++) sum[i] += part[i];
  }
  for (int pe = 0; pe < n; pe++) {
    shmem_float_put_signal_nbi(result + (size_t)tile * shape->tile, sum, count, finished, 1, SHMEM_SIGNAL_ADD, pe);
  }
}

/* Reduces the own tiles that have come from all, from `next` on; with `wait`, all that are left. */
static int reduce_ready(const shape_t *shape, int next, bool wait) {
  uint64_t n = (uint64_t)shmem_n_pes();
  for (; next < shape->tiles; next += (int)n) {
    uint64_t *word = &arrived[next / (int)n];
    if (wait) shmem_signal_wait_until(word, SHMEM_CMP_GE, n);
    if (shmem_signal_fetch(word) < n) break;
    reduce_tile(shape, next);
  }
  return next;
}

int main(int argc, char **argv) {
  if (argc != 6) {
    fprintf(stderr, "usage: matmul_allreduce FOLDER M K N BITS\n");
    return 2;
  }
  shape_t shape = {.m = strtoul(argv[2], NULL, 10),
                   .k = strtoul(argv[3], NULL, 10),
                   .n = strtoul(argv[4], NULL, 10),
                   .bits = atoi(argv[5])};
  shape.tiles = (int)((shape.m + ROWS - 1) / ROWS);
  shape.tile = ROWS * shape.n;
  shmem_init();
  int me = shmem_my_pe(), n = shmem_n_pes();
  size_t own_tiles = ((size_t)shape.tiles + (size_t)n - 1) / (size_t)n;
  parts = shmem_malloc(own_tiles * (size_t)n * shape.tile * sizeof *parts);
  result = shmem_malloc((size_t)shape.tiles * shape.tile * sizeof *result);
  arrived = shmem_calloc(own_tiles, sizeof *arrived);
  finished = shmem_calloc(1, sizeof *finished);
  float *tile = malloc(shape.tile * sizeof *tile);
  if (!parts || !result || !arrived || !finished || !tile) shmem_global_exit(1);
  float *a = read_matrix(argv[1], "a", me, shape.m * shape.k, shape.bits);
  float *b = read_matrix(argv[1], "b", me, shape.k * shape.n, shape.bits);
  shmem_barrier_all();
  int next = me;
  for (int i = 0; i < shape.tiles; i++) {
    multiply(&shape, a, b, (size_t)i * ROWS, rows_of(&shape, i), tile);
    send_part(&shape, i, tile);
    next = reduce_ready(&shape, next, false);
  }
  reduce_ready(&shape, next, true);
  shmem_signal_wait_until(finished, SHMEM_CMP_GE, (uint64_t)shape.tiles);
  if (me == 0) {
    write_matrix(argv[1], result, shape.m * shape.n, shape.bits);
    printf("%zu x %zu x %zu on %d PEs, %d tiles\n", shape.m, shape.k, shape.n, n, shape.tiles);
  }
  free(a);
  free(b);
  free(tile);
  shmem_finalize();
  return 0;
}
