/* A program of the first generation, in C: the same names with their old argument lists. */
#include "ranks.h"

#include "smem.h"
#include "smem_bm.h"

static int sample(void) {
  smem_bm_config_t config;
  char sent[5000], got[5000] = "";
  void *own = NULL;
  ANSWERS(0, smem_bm_config_init(&config));
  config.startConfigStore = true;
  config.rankId = (uint16_t)my_rank;
  ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_ROCE | SMEMB_DATA_OP_SDMA, 0, 2u << 20, 0);
  CHECK(pool != NULL);
  ANSWERS(0, smem_bm_join(pool, 0, &own));
  CHECK(own == smem_bm_ptr(pool, (uint16_t)my_rank));
  fence();
  void *next = smem_bm_ptr(pool, (uint16_t)((my_rank + 1) % rank_count));
  fill(sent, sizeof(sent), my_rank);
  ANSWERS(0, smem_bm_copy(pool, sent, next, sizeof(sent), SMEMB_COPY_H2G, 0));
  ANSWERS(0, smem_bm_copy(pool, next, got, sizeof(got), SMEMB_COPY_G2H, 0));
  CHECK(is_filled(got, sizeof(got), my_rank));
  ANSWERS(0, smem_bm_copy_2d(pool, sent, 100, next, 200, 50, 40, SMEMB_COPY_H2G, 0));
  fence();
  smem_bm_destroy(pool);
  fence();
  smem_bm_uninit(0);
  return 0;
}

int main(void) {
  ranks_set_up();
  return ranks_run("a sample of the first generation", 2, sample) ? 0 : 1;
}
