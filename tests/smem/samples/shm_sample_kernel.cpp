// The kernel of shm_sample.cpp, by the names that Ascend C has for it; compiled apart, as kernels are.
#include <cstdint>
#include <thread>
#include <vector>

#include "smem_shm_aicore_base_api.h"

int RunKernels(unsigned threads);

struct Context {
  uint64_t count, input, output;
};

static void Sum(unsigned block, unsigned blocks) {
  const uint64_t tile = 256;
  int32_t mine[256], theirs[256];
  const Context *context = static_cast<const Context *>(smem_shm_get_extra_context_addr());
  char *base = static_cast<char *>(smem_shm_device_get(0)->base);
  uint64_t part = smem_shm_get_symmetric_size();
  uint32_t rank = smem_shm_get_global_rank(), ranks = smem_shm_get_global_rank_size();
  for (uint64_t first = block * tile; first < context->count; first += blocks * tile) {
    uint32_t count = static_cast<uint32_t>(context->count - first < tile ? context->count - first : tile);
    for (uint32_t i = 0; i < count; i++) mine[i] = 0;
    for (uint32_t from = 0; from < ranks; from++) {
      int32_t *input = reinterpret_cast<int32_t *>(base + part * from + context->input) + first;
      smem_shm_copy_gm2ub(theirs, input, count * 4);
      for (uint32_t i = 0; i < count; i++) mine[i] += theirs[i];
    }
    int32_t *output = reinterpret_cast<int32_t *>(base + part * rank + context->output) + first;
    smem_shm_copy_ub2gm(output, mine, count * 4);
  }
}

int RunKernels(unsigned threads) {
  if (smem_shm_get_extra_context_size() != sizeof(Context)) return 1;
  std::vector<std::thread> blocks;
  for (unsigned i = 0; i < threads; i++) blocks.emplace_back(Sum, i, threads);
  for (std::thread &block : blocks) block.join();
  return 0;
}
