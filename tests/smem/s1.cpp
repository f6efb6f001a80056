// A program of the first generation, in C++: plain arguments, join with an address, the TLS struct, startConfigStore.
#include "ranks.h"

#include "smem.h"
#include "smem_bm.h"
#include "smem_shm.h"

#include <cstring>
#include <vector>

static const uint64_t part = 2u << 20;

static int sample() {
  smem_bm_config_t config;
  smem_shm_config_t shm_config;
  ANSWERS(0, smem_init(0));
  ANSWERS(0, smem_bm_config_init(&config));
  config.startConfigStore = true;
  config.startConfigStoreOnly = false;
  config.dynamicWorldSize = false;
  config.rankId = (uint16_t)my_rank;
  config.flags = 0;
  ANSWERS(0, smem_bm_init(store_url, rank_count, (uint16_t)my_rank, &config));
  ANSWERS(0, smem_shm_config_init(&shm_config));
  shm_config.startConfigStore = false;
  ANSWERS(0, smem_shm_init(store_url, rank_count, my_rank, 0, &shm_config));
  void *gva = nullptr, *own = nullptr;
  smem_shm_t shm = smem_shm_create(0, rank_count, my_rank, part, SMEMS_DATA_OP_MTE, 0, &gva);
  smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, 0, part, 0);
  CHECK(shm != nullptr && pool != nullptr);
  ANSWERS(0, smem_bm_join(pool, 0, &own));
  CHECK(own == smem_bm_ptr(pool, (uint16_t)my_rank));
  ANSWERS(0, smem_shm_control_barrier(shm));
  std::vector<char> sent(5000), got(5000);
  fill(sent.data(), sent.size(), my_rank);
  void *next = smem_bm_ptr(pool, (uint16_t)((my_rank + 1) % rank_count));
  ANSWERS(0, smem_bm_copy(pool, sent.data(), next, sent.size(), SMEMB_COPY_H2G, 0));
  ANSWERS(0, smem_bm_copy(pool, next, got.data(), got.size(), SMEMB_COPY_G2H, 0));
  CHECK(got == sent);
  ANSWERS(0, smem_bm_copy_2d(pool, sent.data(), 100, next, 200, 50, 40, SMEMB_COPY_H2G, 0));
  ANSWERS(0, smem_bm_copy_2d(pool, next, 200, got.data(), 100, 50, 40, SMEMB_COPY_G2H, 0));
  CHECK(std::memcmp(got.data() + 3900, sent.data() + 3900, 50) == 0);
  ANSWERS(0, smem_shm_control_barrier(shm));
  ANSWERS(0, smem_bm_leave(pool, 0));
  smem_bm_destroy(pool);
  smem_bm_uninit(0);
  ANSWERS(0, smem_shm_destroy(shm, 0));
  fence();
  smem_shm_uninit(0);
  smem_uninit();
  return 0;
}

static int tls_options_are_taken() {
  smem_tls_option option;
  ANSWERS(-2000, smem_set_ssl_option(nullptr));
  ANSWERS(0, smem_set_ssl_option(&option));
  option.enableTls = true;
  ANSWERS(-2000, smem_set_ssl_option(&option));
  option.tlsTopPath = "/top";
  option.tlsCert = "cert.pem";
  option.tlsCaPath = "ca";
  option.tlsCaFile = {"one.pem", "two.pem"};
  option.tlsCrlPath = "crl";
  option.tlsCrlFile = {"crl.pem"};
  option.tlsPk = "key.pem";
  option.tlsPkPwd = "password";
  option.kmcKsfMaster = option.kmcKsfStandby = option.packagePath = "";
  ANSWERS(0, smem_set_ssl_option(&option));
  ANSWERS(-1, smem_create_config_store(store_url)); // there are no such files
  SAYS("/top/ca/one.pem");
  return 0;
}

int main() {
  ranks_set_up();
  bool good = ranks_run("a sample of the first generation", 3, sample);
  good = ranks_run("TLS options are taken", 1, tls_options_are_taken) && good;
  return good ? 0 : 1;
}
