/* Batches: many pieces moved as one operation. Blocks of a cache that lie apart are gathered from the owner by a list,
 * and a column of a matrix is written by a strided form. A batch is prepared once and started as often as wanted. */
#include "example.h"

enum { BLOCK = 16 << 10, BLOCKS = 61, ROWS = 100, COLUMNS = 50 };

static void own(void) {
  hmc_context_t *context;
  hmc_region_t *cache, *matrix;
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, cpu, 2 * BLOCKS * BLOCK, "cache", HMC_REMOTE_READ, &cache));
  check(hmc_region_allocate(context, cpu, ROWS * COLUMNS * sizeof(int), "matrix", HMC_REMOTE_WRITE, &matrix));
  unsigned char *blocks = hmc_region_pointer(cache);
  for (int i = 0; i < 2 * BLOCKS; i++)
    blocks[i * BLOCK] = (unsigned char)i; /* the number of a block is its first byte */
  example_await_the_end(example_accept(context));
  const int *numbers = hmc_region_pointer(matrix);
  int sum = 0;
  for (int row = 0; row < ROWS; row++) sum += numbers[row * COLUMNS + 7];
  printf("column 7 adds up to %d\n", sum);
  hmc_context_destroy(context);
}

static void gather_blocks(hmc_context_t *context, hmc_peer_t *peer) {
  hmc_region_t *here;
  hmc_remote_t *cache;
  hmc_batch_t *batch;
  hmc_segment_t pieces[BLOCKS];
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, BLOCKS * BLOCK, NULL, 0, &here));
  check(hmc_remote_open(peer, "cache", 0, &cache));
  for (uint64_t i = 0; i < BLOCKS; i++) /* every other block there, one behind the other here */
    pieces[i] = (hmc_segment_t){.local_offset = i * BLOCK, .remote_offset = (2 * i + 1) * BLOCK, .length = BLOCK};
  check(hmc_batch_create(here, cache, pieces, BLOCKS, &batch));
  check(hmc_batch_get(batch));
  const unsigned char *blocks = hmc_region_pointer(here);
  printf("gathered blocks %d to %d\n", blocks[0], blocks[(BLOCKS - 1) * BLOCK]);
  hmc_batch_free(batch);
}

static void write_column(hmc_context_t *context, hmc_peer_t *peer) {
  int column[ROWS];
  hmc_region_t *here;
  hmc_remote_t *matrix;
  hmc_batch_t *batch;
  check(hmc_region_register(context, column, sizeof column, NULL, 0, &here));
  check(hmc_remote_open(peer, "matrix", 0, &matrix));
  for (int row = 0; row < ROWS; row++) column[row] = row;
  const hmc_strided_t shape = {
      .element = sizeof(int),
      .count = {1, ROWS}, /* rows of one element */
      .local_stride = {sizeof(int)},
      .remote_offset = 7 * sizeof(int),
      .remote_stride = {COLUMNS * sizeof(int)},
  };
  check(hmc_batch_create_strided(here, matrix, &shape, &batch));
  check(hmc_batch_put(batch));
  hmc_batch_free(batch);
  hmc_region_close(here);
}

static void visit(int argc, char **argv) {
  hmc_context_t *context;
  check(hmc_context_create(NULL, &context));
  hmc_peer_t *peer = example_connect(context, argc, argv);
  gather_blocks(context, peer);
  write_column(context, peer);
  hmc_context_destroy(context);
}

int main(int argc, char **argv) {
  if (argc > 1)
    visit(argc, argv);
  else
    own();
  return 0;
}
