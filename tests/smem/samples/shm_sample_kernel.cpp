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

// Where its elements lie, as tensors of Ascend C tell.
struct Tensor {
  int32_t *at;
  int32_t *GetPhyAddr() const { return at; }
};

// The calls by tensors, and those of RDMA, on memory that no other rank looks at yet: what is read here and written back
// is as it was.
static bool OtherCalls() {
  const Context *context = static_cast<const Context *>(smem_shm_get_extra_context_addr());
  uint32_t rank = smem_shm_get_global_rank();
  int32_t *mine = static_cast<int32_t *>(smem_shm_device_address(0, rank, context->output));
  int32_t copy[16] = {0}, other[16] = {0}, space[8];
  smem_shm_copy_gm2ub(Tensor{copy}, Tensor{mine}, sizeof(copy));
  smem_shm_roce_read(mine, other, rank, 0, sizeof(other), space, space);
  for (int i = 0; i < 16; i++) {
    if (copy[i] != mine[i] || other[i] != mine[i]) return false;
    other[i] = ~other[i];
  }
  smem_shm_roce_write(other, mine, rank, 0, sizeof(other), space, space);
  smem_shm_roce_quiet(rank, 0, space, space);
  if (mine[15] != ~copy[15]) return false;
  smem_shm_copy_ub2gm(Tensor{mine}, Tensor{copy}, sizeof(copy));
  return mine[15] == copy[15];
}

int RunKernels(unsigned threads) {
  if (smem_shm_get_extra_context_size() != sizeof(Context) || !OtherCalls()) return 1;
  std::vector<std::thread> blocks;
  for (unsigned i = 0; i < threads; i++) blocks.emplace_back(Sum, i, threads);
  for (std::thread &block : blocks) block.join();
  return 0;
}
