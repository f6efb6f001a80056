/* ConnBuffer: the memory that all transfers of a Communicator go through.
 *
 * It is allocated by the engine as a region that peers may read and write, so that peers on the same host can map it;
 * see endpoint.hpp for how they find it. */
#ifndef HMC_CPP_BUFFER_HPP
#define HMC_CPP_BUFFER_HPP

#include <hmc/cpp/endpoint.hpp>
#include <hmc/cpp/memory.hpp>
#include <hmc/memory.h>
#include <hmc/region.h>

#include <cstddef>
#include <memory>
#include <string>

namespace hmc {
inline namespace v0 {

/* A registered buffer on one device. Every call takes `bias`, the offset in the buffer in bytes, and is complete when
 * it returns; a copy that would run past the buffer moves nothing. Errors common to the copies: ERROR (bias + size
 * past the buffer; NULL, also with size 0), and what getInitStatus says where the buffer could not be made. Threads: any;
 * copies to overlapping ranges at the same time are not ordered. */
class ConnBuffer {
public:
  /* Allocates `buffer_size` zeroed bytes. Throws as Memory does for a kind that does not exist here; whether the rest
   * worked, getInitStatus says. */
  ConnBuffer(int device_id_, size_t buffer_size_, MemoryType mem_type_ = MemoryType::DEFAULT)
      : mem_ops(&memory_), mem_type(mem_type_), device_id(device_id_), memory_(device_id_, mem_type_) {
    status_ = allocate(buffer_size_);
    if (status_ != status_t::SUCCESS) failure_ = last_error();
  }

  ConnBuffer(const ConnBuffer &) = delete;
  ConnBuffer &operator=(const ConnBuffer &) = delete;

  /* To be read, not set. */
  void *ptr = nullptr;    /* where the memory is, a device address for device memory; NULL where it could not be had */
  size_t buffer_size = 0; /* bytes at ptr */
  Memory *mem_ops;        /* allocates and copies on the buffer's device; the buffer's own */
  MemoryType mem_type;    /* as asked for; mem_ops->getMemoryType() says what DEFAULT stands for */
  int device_id;

  /* SUCCESS, or why there is no buffer: UNSUPPORT, NOT_FOUND (no such device), ERROR (no memory), INVALID_CONFIG (a
   * setting). */
  status_t getInitStatus() const { return hmc_detail::answer(status_); }

  /* Copies `size` bytes of host memory into the buffer, and out of it. */
  status_t writeFromCpu(const void *src, size_t size, size_t bias = 0) {
    return copy_in("writeFromCpu", src, hmc_detail::host_memory(), size, bias);
  }
  status_t readToCpu(void *dest, size_t size, size_t bias = 0) {
    return copy_out("readToCpu", dest, hmc_detail::host_memory(), size, bias);
  }

  /* The same for memory of an accelerator; which one is asked of the pointer. */
  status_t writeFromGpu(const void *src, size_t size, size_t bias = 0) {
    hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
    info.memory = hmc_detail::host_memory();
    if (src && size && status_ == status_t::SUCCESS) {
      status_t status = hmc_detail::check(hmc_memory_query(src, &info));
      if (status != status_t::SUCCESS) return hmc_detail::answer_error(status);
    }
    return copy_in("writeFromGpu", src, info.memory, size, bias);
  }
  status_t readToGpu(void *dest, size_t size, size_t bias = 0) {
    hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
    info.memory = hmc_detail::host_memory();
    if (dest && size && status_ == status_t::SUCCESS) {
      status_t status = hmc_detail::check(hmc_memory_query(dest, &info));
      if (status != status_t::SUCCESS) return hmc_detail::answer_error(status);
    }
    return copy_out("readToGpu", dest, info.memory, size, bias);
  }

  /* Copies `size` bytes inside the buffer; the ranges may overlap. */
  status_t copyWithin(size_t dst_bias, size_t src_bias, size_t size) {
    status_t status = check_range("copyWithin, source", src_bias, size);
    if (status == status_t::SUCCESS) status = check_range("copyWithin, destination", dst_bias, size);
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    hmc_memory_t memory = hmc_region_memory(region_.get());
    return hmc_detail::answer(hmc_detail::check(hmc_memory_copy(at(dst_bias), memory, at(src_bias), memory, size)));
  }

  /* The buffer as the C API knows it; NULL where it could not be made. Ownership: the buffer's. */
  hmc_context_t *context() const { return endpoint_.context(); }
  hmc_region_t *region() const { return region_.get(); }

private:
  friend class Communicator;

  status_t allocate(size_t size) {
    if (memory_.status_ != status_t::SUCCESS) return memory_.find();
    status_t status = hmc_detail::check(endpoint_.open());
    if (status != status_t::SUCCESS) return status;
    hmc_region_t *region = nullptr;
    status = hmc_detail::check(hmc_region_allocate(endpoint_.context(), memory_.handle(), size ? size : 1,
                                                   hmc_detail::buffer_region_name(), HMC_REMOTE_ALL, &region));
    if (status != status_t::SUCCESS) return status;
    region_.reset(region);
    ptr = hmc_region_pointer(region);
    buffer_size = size; /* of a buffer of nothing too, which has an address */
    return status_t::SUCCESS;
  }

  status_t unusable() const { return hmc_detail::fail(status_, "%s", failure_.c_str()); }

  status_t check_range(const char *call, size_t bias, size_t size) const {
    if (status_ != status_t::SUCCESS) return unusable();
    if (bias <= buffer_size && size <= buffer_size - bias) return status_t::SUCCESS;
    return hmc_detail::fail(status_t::OUT_OF_RANGE, "%s: %zu B at offset %zu run past the buffer's %zu B", call, size,
                            bias, buffer_size);
  }

  void *at(size_t bias) const { return static_cast<char *>(ptr) + bias; }

  status_t copy_in(const char *call, const void *src, hmc_memory_t src_memory, size_t size, size_t bias) {
    status_t status = check_range(call, bias, size);
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    if (!src) return Memory::missing(call);
    return hmc_detail::answer(
        hmc_detail::check(hmc_memory_copy(at(bias), hmc_region_memory(region_.get()), src, src_memory, size)));
  }

  status_t copy_out(const char *call, void *dest, hmc_memory_t dest_memory, size_t size, size_t bias) {
    status_t status = check_range(call, bias, size);
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    if (!dest) return Memory::missing(call);
    return hmc_detail::answer(
        hmc_detail::check(hmc_memory_copy(dest, dest_memory, at(bias), hmc_region_memory(region_.get()), size)));
  }

  Memory memory_;
  hmc_detail::Endpoint endpoint_;
  std::unique_ptr<hmc_region_t, hmc_detail::CloseHandle> region_; /* goes before the endpoint whose context it is of */
  status_t status_ = status_t::SUCCESS;
  std::string failure_; /* the text for status_ */
};

} // namespace v0
} // namespace hmc
#endif
