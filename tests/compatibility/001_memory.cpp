#include <hmc.h>
using namespace hmc;

int main() {
    Memory gpu_mem(0, MemoryType::NVIDIA_GPU);
    void* gpu_ptr = nullptr;

    // Allocate 1MB on GPU
    gpu_mem.allocateBuffer(&gpu_ptr, 1024 * 1024);

    // Copy data from CPU to GPU
    std::vector<char> host_data(1024 * 1024, 'A');
    gpu_mem.copyHostToDevice(gpu_ptr, host_data.data(), host_data.size());

    // Free GPU memory
    gpu_mem.freeBuffer(gpu_ptr);
}
