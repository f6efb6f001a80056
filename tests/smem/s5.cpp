// A program of the newest generation, in C++: parameter structs with either sort of lists, default flags.
#include "ranks.h"

#include "smem.h"
#include "smem_bm.h"
#include "smem_shm.h"
#include "smem_trans.h"

static int sample() {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.startConfigStoreServer = true;
  config.autoRanking = true;
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  smem_bm_t pool = smem_bm_create(1, 0, SMEMB_DATA_OP_SDMA, 2u << 20, 0, 0);
  CHECK(pool != nullptr);
  ANSWERS(0, smem_bm_join(pool, 0));
  fence();
  char sent[1000], got[1000];
  uint32_t rank = smem_bm_get_rank_id();
  char *next =
      static_cast<char *>(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)((rank + 1) % rank_count)));
  fill(sent, sizeof(sent), rank);
  const void *constant[] = {sent};
  void *plain[] = {next}, *back[] = {got};
  uint64_t sizes[] = {sizeof(sent)};
  smem_batch_copy_params out = {constant, plain, sizes, 1}, in = {plain, back, sizes, 1};
  ANSWERS(0, smem_bm_copy_batch(pool, &out, SMEMB_COPY_H2G, 0));
  ANSWERS(0, smem_bm_copy_batch(pool, &in, SMEMB_COPY_G2H, COPY_EXTEND_FLAG));
  CHECK(is_filled(got, sizeof(got), rank));
  smem_copy_2d_params rows = {sent, 100, next, 200, 100, 5};
  ANSWERS(0, smem_bm_copy_2d(pool, &rows, SMEMB_COPY_H2G, 0));
  ANSWERS(-2000, smem_trans_write(nullptr, sent, "x", got, 1));
  ANSWERS(-2000, smem_trans_read_submit(nullptr, sent, "x", got, 1, nullptr));
  fence();
  smem_bm_destroy(pool);
  fence();
  smem_bm_uninit(0);
  return 0;
}

int main() {
  ranks_set_up();
  return ranks_run("a sample of the newest generation, in C++", 2, sample) ? 0 : 1;
}
