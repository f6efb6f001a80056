// Kernels of SHM on a GPU: an allreduce over all ranks' parts, by the names that Ascend C has for it.
#include <smem/device/smem_shm_aicore_base_api.h>

#include <cstdio>

struct Context {
  uint64_t count, input, output;
};

__global__ void Sum() {
  const Context *context = static_cast<const Context *>(smem_shm_get_extra_context_addr());
  char *base = static_cast<char *>(smem_shm_device_get(0)->base);
  uint64_t part = smem_shm_get_symmetric_size();
  for (uint64_t i = blockIdx.x * blockDim.x + threadIdx.x; i < context->count; i += gridDim.x * blockDim.x) {
    int sum = 0, theirs;
    for (uint32_t from = 0; from < smem_shm_get_global_rank_size(); from++) {
      smem_shm_copy_gm2ub(&theirs, reinterpret_cast<int *>(base + part * from + context->input) + i, sizeof(theirs));
      sum += theirs;
    }
    char *mine = static_cast<char *>(smem_shm_device_address(0, smem_shm_get_global_rank(), context->output));
    smem_shm_copy_ub2gm(reinterpret_cast<int *>(mine) + i, &sum, sizeof(sum));
  }
}

__global__ void Forward(uint64_t bytes) {
  uint32_t next = (smem_shm_get_global_rank() + 1) % smem_shm_get_global_rank_size();
  smem_shm_device_copy_shared(smem_shm_device_address(0, next, bytes),
                              smem_shm_device_address(0, smem_shm_get_global_rank(), 0), bytes, threadIdx.x, blockDim.x);
}

// The host's side: to be called once the object is made and its context set.
int RunOnDevice(uint64_t bytes) {
  cudaError_t error = smem_shm_device_publish(0);
  if (error == cudaSuccess) {
    Sum<<<8, 256>>>();
    Forward<<<1, 256>>>(bytes);
    error = cudaDeviceSynchronize();
  }
  if (error == cudaSuccess) error = smem_shm_device_withdraw(0);
  if (error != cudaSuccess) std::fprintf(stderr, "%s\n", cudaGetErrorString(error));
  return error != cudaSuccess;
}
