/* Memory: allocating on a device and copying to and from it.
 *
 * A Memory is a small value: a kind, a device, and whether both work here. It owns none of the buffers it allocates. */
#ifndef HMC_CPP_MEMORY_HPP
#define HMC_CPP_MEMORY_HPP

#include <hmc/cpp/status.hpp>
#include <hmc/memory.h>

#include <cstddef>

namespace hmc {

/* The kinds of memory, with the values of hmc_memory_kind_t. */
enum class MemoryType : int {
  DEFAULT = HMC_MEMORY_DEFAULT, /* the first accelerator that works here, else CPU */
  CPU = HMC_MEMORY_CPU,
  NVIDIA_GPU = HMC_MEMORY_NVIDIA_GPU,
  AMD_GPU = HMC_MEMORY_AMD_GPU,
  CAMBRICON_MLU = HMC_MEMORY_CAMBRICON_MLU,
  HUAWEI_ASCEND_NPU = HMC_MEMORY_HUAWEI_ASCEND_NPU,
  MOORE_GPU = HMC_MEMORY_MOORE_GPU,
  SIM = HMC_MEMORY_SIM, /* the accelerator in software; never the default */
};

namespace hmc_detail {

/* Finds the memory that a kind and a device number stand for here. The host has one memory: every device number means
 * it, so that a program that numbers its processes' devices runs on a machine without any. */
inline hmc_status_t resolve_memory(MemoryType type, int device, hmc_memory_t *resolved) {
  hmc_memory_t wanted = {static_cast<hmc_memory_kind_t>(type), type == MemoryType::CPU ? 0 : device};
  hmc_status_t status = hmc_memory_resolve(wanted, resolved);
  if (status == HMC_SUCCESS || type != MemoryType::DEFAULT) return status;
  hmc_memory_t first = {HMC_MEMORY_DEFAULT, 0}, found;
  if (hmc_memory_resolve(first, &found) == HMC_SUCCESS && found.kind == HMC_MEMORY_CPU) {
    *resolved = found;
    return HMC_SUCCESS;
  }
  return hmc_memory_resolve(wanted, resolved); /* again, for its text */
}

inline hmc_memory_t host_memory() {
  hmc_memory_t memory = {HMC_MEMORY_CPU, 0};
  return memory;
}

} // namespace hmc_detail

/* The kind that MemoryType::DEFAULT stands for on this machine. Threads: any. */
inline MemoryType memory_supported() {
  hmc_memory_t resolved;
  if (hmc_detail::resolve_memory(MemoryType::DEFAULT, 0, &resolved) != HMC_SUCCESS) return MemoryType::CPU;
  return static_cast<MemoryType>(resolved.kind);
}

/* A kind of memory on one device. Where it does not work on this machine the object can still be made, and every call
 * on it answers what getInitStatus says, UNSUPPORT as a rule. Threads: any, but for init, free and
 * setDeviceIdAndMemoryType, which no other call may overlap. */
class Memory {
public:
  explicit Memory(int device_id, MemoryType type = MemoryType::DEFAULT) : device_id_(device_id), type_(type) { init(); }

  /* Looks for the device again; the constructor did it once.
   * Errors: UNSUPPORT (the kind does not work here), NOT_FOUND (no such device). */
  status_t init() {
    hmc_memory_t resolved;
    status_ = hmc_detail::check(hmc_detail::resolve_memory(type_, device_id_, &resolved));
    if (status_ == status_t::SUCCESS) memory_ = resolved;
    return status_;
  }

  /* Lets go of the device: calls answer INVALID_CONFIG until init. Buffers stay allocated. */
  status_t free() {
    status_ = status_t::INVALID_CONFIG;
    return status_t::SUCCESS;
  }

  /* Makes this the memory of another kind or device. Errors: as init; getInitStatus says the same then. */
  status_t setDeviceIdAndMemoryType(int device_id, MemoryType type = MemoryType::DEFAULT) {
    device_id_ = device_id;
    type_ = type;
    return init();
  }

  /* Allocates `size` bytes on the device. *addr is a device address: the host cannot read or write through it unless
   * the kind is CPU. Ownership: the caller's, until freeBuffer. Errors: INVALID_CONFIG (size 0, addr NULL), UNSUPPORT,
   * NOT_FOUND, NO_MEMORY. */
  status_t allocateBuffer(void **addr, size_t size) {
    if (status_ != status_t::SUCCESS) return unusable();
    return hmc_detail::check(hmc_memory_allocate(memory_, size, addr));
  }

  /* As allocateBuffer, for memory that devices and network cards are to reach. All memory of HMC is such memory. */
  status_t allocatePeerableBuffer(void **addr, size_t size) { return allocateBuffer(addr, size); }

  /* Frees what allocateBuffer gave; NULL is allowed. Errors: NOT_FOUND (not a live allocation of this memory). */
  status_t freeBuffer(void *addr) {
    if (status_ != status_t::SUCCESS) return unusable();
    return hmc_detail::check(hmc_memory_free(memory_, addr));
  }

  /* Copy `size` bytes; complete when the call returns. The ranges of the first two must not overlap.
   * Errors: INVALID_CONFIG (NULL with size > 0), OUT_OF_RANGE (past the device's allocation), UNSUPPORT. */
  status_t copyHostToDevice(void *dest, const void *src, size_t size) {
    return copy(dest, memory_, src, hmc_detail::host_memory(), size);
  }
  status_t copyDeviceToHost(void *dest, const void *src, size_t size) {
    return copy(dest, hmc_detail::host_memory(), src, memory_, size);
  }
  status_t copyDeviceToDevice(void *dest, const void *src, size_t size) {
    return copy(dest, memory_, src, memory_, size);
  }

  /* The kind in use: for DEFAULT the one it stood for; where it does not work here, the one that was asked for. */
  MemoryType getMemoryType() const {
    return status_ == status_t::SUCCESS ? static_cast<MemoryType>(memory_.kind) : type_;
  }

  /* SUCCESS, or why this memory cannot be used. */
  status_t getInitStatus() const { return status_; }

  int getDeviceId() const { return device_id_; }

  /* The same memory for the C API; meaningful while getInitStatus is SUCCESS. */
  hmc_memory_t handle() const { return memory_; }

private:
  status_t copy(void *dest, hmc_memory_t dest_memory, const void *src, hmc_memory_t src_memory, size_t size) {
    if (status_ != status_t::SUCCESS) return unusable();
    return hmc_detail::check(hmc_memory_copy(dest, dest_memory, src, src_memory, size));
  }

  /* Asks again, so that the text says what is missing. */
  status_t unusable() const {
    hmc_memory_t resolved;
    if (hmc_detail::check(hmc_detail::resolve_memory(type_, device_id_, &resolved)) == status_) return status_;
    return hmc_detail::fail(status_, "memory %s, device %d: not in use, call init() first",
                            hmc_memory_kind_name(static_cast<hmc_memory_kind_t>(type_)), device_id_);
  }

  int device_id_;
  MemoryType type_;
  hmc_memory_t memory_ = {HMC_MEMORY_CPU, 0}; /* meaningful while status_ is SUCCESS */
  status_t status_ = status_t::INVALID_CONFIG;
};

} // namespace hmc
#endif
