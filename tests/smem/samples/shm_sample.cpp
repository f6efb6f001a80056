// A program of SHM as its users write them: a symmetric object over the vendor's runtime, an extra context for kernels,
// and a kernel, here one that runs as threads of the host, which sums all ranks' parts (an allreduce by loads).
//
// usage: shm_sample WORLD RANK tcp://IP:PORT
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <thread>
#include <vector>

#include "acl/acl.h"
#include "smem.h"
#include "smem_shm.h"

int RunKernels(unsigned threads); // shm_sample_kernel.cpp

struct Context {
  uint64_t count, input, output; // numbers, and where they lie in each part
};

#define OR_FAIL(call)                                                                                                  \
  do {                                                                                                                 \
    int returned = static_cast<int>(call);                                                                             \
    if (returned != 0) {                                                                                               \
      std::fprintf(stderr, "%s: %d %s\n", #call, returned, smem_get_last_err_msg());                                   \
      return 1;                                                                                                        \
    }                                                                                                                  \
  } while (0)

int main(int count, char **arguments) {
  if (count != 4) {
    return 2;
  }
  uint32_t world = static_cast<uint32_t>(std::atoi(arguments[1])),
           rank = static_cast<uint32_t>(std::atoi(arguments[2]));
  const uint64_t part = 4ULL << 20;
  smem_shm_config_t config;
  OR_FAIL(aclInit(nullptr));
  OR_FAIL(aclrtSetDevice(0));
  OR_FAIL(smem_init(0));
  OR_FAIL(smem_shm_config_init(&config));
  OR_FAIL(smem_shm_init(arguments[3], world, rank, 0, &config));
  void *gva = nullptr;
  smem_shm_t object = smem_shm_create(0, world, rank, part, SMEMS_DATA_OP_MTE, 0, &gva);
  OR_FAIL(object == nullptr);
  OR_FAIL(smem_shm_get_global_rank(object) != rank || smem_shm_get_global_rank_size(object) != world);
  const Context context = {100000, 0, 2ULL << 20};
  OR_FAIL(smem_shm_set_extra_context(object, &context, sizeof(context)));
  int32_t *input = reinterpret_cast<int32_t *>(static_cast<char *>(gva) + part * rank + context.input);
  for (uint64_t i = 0; i < context.count; i++) {
    input[i] = static_cast<int32_t>(i * (rank + 1));
  }
  OR_FAIL(smem_shm_control_barrier(object));
  OR_FAIL(RunKernels(4));
  OR_FAIL(smem_shm_control_barrier(object));
  const int32_t *output = reinterpret_cast<int32_t *>(static_cast<char *>(gva) + part * rank + context.output);
  int32_t factor = static_cast<int32_t>(world * (world + 1) / 2);
  for (uint64_t i = 0; i < context.count; i++) {
    OR_FAIL(output[i] != static_cast<int32_t>(i) * factor);
  }
  OR_FAIL(smem_shm_control_barrier(object));
  OR_FAIL(smem_shm_destroy(object, 0));
  smem_shm_uninit(0);
  smem_uninit();
  OR_FAIL(aclrtResetDevice(0));
  OR_FAIL(aclFinalize());
  std::printf("rank %u: the sums are right\n", rank);
  return 0;
}
