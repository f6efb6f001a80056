/* Memory: allocating on a device and copying to and from it.
 *
 * A Memory is a small value: a kind, a device, and whether both work here. It owns none of the buffers it allocates.
 * MemoryBase is what programs know as the class behind it; createMemoryClass makes one. */
#ifndef HMC_CPP_MEMORY_HPP
#define HMC_CPP_MEMORY_HPP

#include <hmc/cpp/status.hpp>
#include <hmc/memory.h>

#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>

#define ACCEL_PAGE_SIZE (64 * 1024)

namespace hmc {
inline namespace v0 {

using CNaddr = uint64_t; /* an address of a Cambricon MLU */

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

/* A kind that this machine lacks altogether is a fault of the program's configuration, and constructors have always
 * thrown for it. Where a kind works but has no such device, getInitStatus says so. */
inline void expect_supported(MemoryType type, hmc_status_t status) {
  if (status != HMC_UNSUPPORT || type == MemoryType::DEFAULT || type == MemoryType::CPU) return;
  const char *name = "The accelerator";
  switch (type) {
  case MemoryType::NVIDIA_GPU: name = "NVIDIA GPU"; break;
  case MemoryType::AMD_GPU: name = "AMD GPU"; break;
  case MemoryType::CAMBRICON_MLU: name = "Cambricon MLU"; break;
  case MemoryType::HUAWEI_ASCEND_NPU: name = "Huawei Ascend NPU"; break;
  case MemoryType::MOORE_GPU: name = "Moore GPU"; break;
  default: break;
  }
  throw std::runtime_error(std::string(name) + " is not supported");
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

/* True where this build exports device memory as dma-buf by CUDA. HMC asks the driver when it needs it; for programs
 * that only want to know whether such a device is here. Threads: any. */
inline bool memory_dmabuf_supported() {
  int devices = 0;
  return hmc_memory_devices(HMC_MEMORY_NVIDIA_GPU, &devices) == HMC_SUCCESS && devices > 0;
}

/* The operations of one memory, as a class to derive from. Threads: as Memory. */
class MemoryBase {
public:
  MemoryBase(int device_id_, MemoryType mem_type_) : device_id(device_id_), mem_type(mem_type_) {}
  virtual ~MemoryBase() = default;

  virtual status_t init() = 0;
  virtual status_t free() = 0;
  virtual status_t allocateBuffer(void **addr, size_t size) = 0;
  virtual status_t allocatePeerableBuffer(void **addr, size_t size) = 0;
  virtual status_t freeBuffer(void *addr) = 0;
  virtual status_t copyHostToDevice(void *dest, const void *src, size_t size) = 0;
  virtual status_t copyDeviceToHost(void *dest, const void *src, size_t size) = 0;
  virtual status_t copyDeviceToDevice(void *dest, const void *src, size_t size) = 0;

protected:
  int device_id;
  MemoryType mem_type;
};

/* A kind of memory on one device. Where the machine has no such device every call answers what getInitStatus says,
 * NOT_FOUND as a rule; where it does not know the kind at all, the constructor throws std::runtime_error. Threads: any,
 * but for init, free and setDeviceIdAndMemoryType, which no other call may overlap. */
class Memory {
public:
  Memory(int device_id, MemoryType mem_type = MemoryType::DEFAULT) : device_id_(device_id), type_(mem_type) {
    look_for();
  }

  /* The memory of a kind on the same device. Throws as the constructor. */
  std::unique_ptr<MemoryBase> createMemoryClass(MemoryType mem_type);

  /* Looks for the device again; the constructor did it once.
   * Errors: UNSUPPORT (the kind does not work here), NOT_FOUND (no such device). */
  status_t init() { return hmc_detail::answer(find()); }

  /* Kept for programs that end by it: a Memory holds nothing. Buffers stay allocated, and calls go on working. */
  status_t free() { return status_t::SUCCESS; }

  /* Makes this the memory of another kind or device. Throws as the constructor. Errors: as init; getInitStatus says the
   * same then. */
  status_t setDeviceIdAndMemoryType(int device_id, MemoryType mem_type = MemoryType::DEFAULT) {
    device_id_ = device_id;
    type_ = mem_type;
    look_for();
    return hmc_detail::answer(status_);
  }

  /* Allocates `size` bytes on the device; at least one, so that size 0 gives an address too. *addr is a device address:
   * the host cannot read or write through it unless the kind is CPU. Ownership: the caller's, until freeBuffer. Errors:
   * ERROR (addr NULL, no memory), UNSUPPORT, NOT_FOUND. */
  status_t allocateBuffer(void **addr, size_t size) {
    if (status_ != status_t::SUCCESS) return unusable();
    if (!addr) return missing("allocateBuffer");
    return hmc_detail::answer(hmc_detail::check(hmc_memory_allocate(memory_, size ? size : 1, addr)));
  }

  /* As allocateBuffer, for memory that other processes of this host are to map, and devices and network cards to reach, as
   * far as the platform can. */
  status_t allocatePeerableBuffer(void **addr, size_t size) {
    if (status_ != status_t::SUCCESS) return unusable();
    if (!addr) return missing("allocatePeerableBuffer");
    return hmc_detail::answer(hmc_detail::check(hmc_memory_allocate_peerable(memory_, size ? size : 1, addr)));
  }

  /* Frees what allocateBuffer gave. Errors: ERROR (NULL), NOT_FOUND (not a live allocation of this memory). */
  status_t freeBuffer(void *addr) {
    if (status_ != status_t::SUCCESS) return unusable();
    if (!addr) return missing("freeBuffer");
    return hmc_detail::answer(hmc_detail::check(hmc_memory_free(memory_, addr)));
  }

  /* Copy `size` bytes; complete when the call returns. The ranges of the first two must not overlap.
   * Errors: ERROR (NULL, also with size 0; past the device's allocation), UNSUPPORT. */
  status_t copyHostToDevice(void *dest, const void *src, size_t size) {
    return copy("copyHostToDevice", dest, memory_, src, hmc_detail::host_memory(), size);
  }
  status_t copyDeviceToHost(void *dest, const void *src, size_t size) {
    return copy("copyDeviceToHost", dest, hmc_detail::host_memory(), src, memory_, size);
  }
  status_t copyDeviceToDevice(void *dest, const void *src, size_t size) {
    return copy("copyDeviceToDevice", dest, memory_, src, memory_, size);
  }

  /* The kind in use: for DEFAULT the one it stood for; where it does not work here, the one that was asked for. */
  MemoryType getMemoryType() const {
    return status_ == status_t::SUCCESS ? static_cast<MemoryType>(memory_.kind) : type_;
  }

  /* SUCCESS, or why this memory cannot be used. */
  status_t getInitStatus() const { return hmc_detail::answer(status_); }

  int getDeviceId() const { return device_id_; }

  /* The same memory for the C API; meaningful while getInitStatus is SUCCESS. */
  hmc_memory_t handle() const { return memory_; }

private:
  friend class ConnBuffer;

  status_t find() {
    hmc_memory_t resolved;
    status_ = hmc_detail::check(hmc_detail::resolve_memory(type_, device_id_, &resolved));
    if (status_ == status_t::SUCCESS) memory_ = resolved;
    return status_;
  }

  void look_for() { hmc_detail::expect_supported(type_, static_cast<hmc_status_t>(find())); }

  static status_t missing(const char *call) {
    return hmc_detail::answer_error(hmc_detail::fail(status_t::INVALID_CONFIG, "%s: the address is NULL", call));
  }

  status_t copy(const char *call, void *dest, hmc_memory_t dest_memory, const void *src, hmc_memory_t src_memory,
                size_t size) {
    if (status_ != status_t::SUCCESS) return unusable();
    if (!dest || !src) return missing(call);
    return hmc_detail::answer(hmc_detail::check(hmc_memory_copy(dest, dest_memory, src, src_memory, size)));
  }

  /* Asks again, so that the text says what is missing. */
  status_t unusable() const {
    hmc_memory_t resolved;
    status_t status = hmc_detail::check(hmc_detail::resolve_memory(type_, device_id_, &resolved));
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    return hmc_detail::answer(hmc_detail::fail(status_, "memory %s, device %d: not in use, call init() first",
                                               hmc_memory_kind_name(static_cast<hmc_memory_kind_t>(type_)),
                                               device_id_));
  }

  int device_id_;
  MemoryType type_;
  hmc_memory_t memory_ = {HMC_MEMORY_CPU, 0}; /* meaningful while status_ is SUCCESS */
  status_t status_ = status_t::INVALID_CONFIG;
};

namespace hmc_detail {

/* What createMemoryClass makes: a Memory behind the operations of MemoryBase. */
class MemoryClass : public MemoryBase {
public:
  MemoryClass(int device_id_, MemoryType mem_type_)
      : MemoryBase(device_id_, mem_type_), memory_(device_id_, mem_type_) {}

  status_t init() override { return memory_.init(); }
  status_t free() override { return memory_.free(); }
  status_t allocateBuffer(void **addr, size_t size) override { return memory_.allocateBuffer(addr, size); }
  status_t allocatePeerableBuffer(void **addr, size_t size) override {
    return memory_.allocatePeerableBuffer(addr, size);
  }
  status_t freeBuffer(void *addr) override { return memory_.freeBuffer(addr); }
  status_t copyHostToDevice(void *dest, const void *src, size_t size) override {
    return memory_.copyHostToDevice(dest, src, size);
  }
  status_t copyDeviceToHost(void *dest, const void *src, size_t size) override {
    return memory_.copyDeviceToHost(dest, src, size);
  }
  status_t copyDeviceToDevice(void *dest, const void *src, size_t size) override {
    return memory_.copyDeviceToDevice(dest, src, size);
  }

private:
  Memory memory_;
};

} // namespace hmc_detail

inline std::unique_ptr<MemoryBase> Memory::createMemoryClass(MemoryType mem_type) {
  return std::unique_ptr<MemoryBase>(new hmc_detail::MemoryClass(device_id_, mem_type));
}

} // namespace v0
} // namespace hmc
#endif
