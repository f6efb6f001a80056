/* Memory and ConnBuffer on the host and on the software accelerator, and what they answer where a device is missing. */
#include "check.hpp"

using namespace hmc;

static const size_t SIZE = 70001;

static std::vector<char> pattern(size_t size, unsigned seed) {
  std::vector<char> bytes(size);
  for (size_t i = 0; i < size; i++) bytes[i] = static_cast<char>((i * 31 + seed * 7) >> 3 ^ i);
  return bytes;
}

static void test_status() {
#define SAME_VALUE(name, value, text)                                                                                  \
  CHECK(static_cast<int>(status_t::name) == value);                                                                    \
  CHECK(value <= 5 || !std::strcmp(status_to_string(status_t::name), #name));
  HMC_STATUS_LIST(SAME_VALUE)
#undef SAME_VALUE
  CHECK(!std::strcmp(status_to_string(status_t::SUCCESS), "Succeeded"));
  CHECK(!std::strcmp(status_to_string(status_t::NOT_FOUND), "Not Found"));
  CHECK(!std::strcmp(status_to_string(static_cast<status_t>(99)), "Unknown Status"));
  /* Programs may have stored these. */
  const status_t historical[] = {status_t::SUCCESS,        status_t::ERROR,   status_t::UNSUPPORT,
                                 status_t::INVALID_CONFIG, status_t::TIMEOUT, status_t::NOT_FOUND};
  for (int i = 0; i < 6; i++) CHECK(static_cast<int>(historical[i]) == i);
  CHECK(static_cast<int>(ConnType::RDMA) == 0 && static_cast<int>(ConnType::UCX) == 1);
  CHECK(static_cast<int>(MemoryType::SIM) == HMC_MEMORY_SIM);
}

static void test_memory(MemoryType type, int device) {
  Memory memory(device, type);
  CHECK_OK(memory.getInitStatus());
  CHECK(memory.getMemoryType() == type && memory.getDeviceId() == device);
  std::vector<char> sent = pattern(SIZE, 1), received(SIZE);
  void *first = nullptr, *second = nullptr;
  CHECK_OK(memory.allocateBuffer(&first, SIZE));
  CHECK_OK(memory.allocatePeerableBuffer(&second, SIZE));
  CHECK(first && second && first != second);
  CHECK_OK(memory.copyHostToDevice(first, sent.data(), SIZE));
  CHECK_OK(memory.copyDeviceToDevice(second, first, SIZE));
  CHECK_OK(memory.copyDeviceToHost(received.data(), second, SIZE));
  CHECK(sent == received);
  CHECK_STATUS(memory.copyHostToDevice(first, nullptr, 1), status_t::INVALID_CONFIG);
  CHECK_STATUS(memory.allocateBuffer(nullptr, 1), status_t::INVALID_CONFIG);
  CHECK_OK(memory.freeBuffer(first));
  CHECK_OK(memory.freeBuffer(second));
  CHECK(memory.freeBuffer(nullptr) == status_t::ERROR && last_status() == status_t::INVALID_CONFIG);
  CHECK_STATUS(memory.freeBuffer(second), status_t::NOT_FOUND);

  CHECK_OK(memory.allocateBuffer(&first, 0));
  CHECK(first != nullptr && memory.copyHostToDevice(first, nullptr, 0) == status_t::ERROR);
  CHECK_OK(memory.free());
  CHECK_OK(memory.freeBuffer(first)); /* which free() does not keep from */
  CHECK_OK(memory.init());

  std::unique_ptr<MemoryBase> base = memory.createMemoryClass(type);
  CHECK_OK(base->init());
  CHECK_OK(base->allocateBuffer(&first, SIZE));
  CHECK_OK(base->copyHostToDevice(first, sent.data(), SIZE));
  CHECK_OK(base->copyDeviceToHost(received.data(), first, SIZE));
  CHECK_OK(base->freeBuffer(first));
}

/* A kind that the machine lacks is refused by the constructors, in words that programs know. */
static void expect_throw(MemoryType type) {
  unsigned thrown = 0;
  Memory memory = {0, MemoryType::CPU};
  try {
    Memory other(0, type);
  } catch (const std::runtime_error &error) {
    thrown += std::strstr(error.what(), " is not supported") != nullptr;
    thrown += type != MemoryType::AMD_GPU || !std::strcmp(error.what(), "AMD GPU is not supported");
  }
  try {
    ConnBuffer buffer(0, SIZE, type);
  } catch (const std::runtime_error &) {
    thrown++;
  }
  try {
    static_cast<void>(memory.setDeviceIdAndMemoryType(0, type));
  } catch (const std::runtime_error &) {
    thrown++;
  }
  CHECK(thrown == 4);
}

/* Whatever accelerators this machine has, it has not a thousand of them. */
static void test_missing_device() {
  for (MemoryType type : {MemoryType::NVIDIA_GPU, MemoryType::AMD_GPU, MemoryType::CAMBRICON_MLU,
                          MemoryType::HUAWEI_ASCEND_NPU, MemoryType::MOORE_GPU, MemoryType::SIM}) {
    int devices;
    bool works = hmc_memory_devices(static_cast<hmc_memory_kind_t>(type), &devices) == HMC_SUCCESS;
    status_t expected = status_t::NOT_FOUND;
    if (!works) {
      expect_throw(type);
      continue;
    }
    Memory memory(1000, type);
    char byte = 0;
    void *untouched = &byte;
    CHECK_STATUS(memory.getInitStatus(), expected);
    CHECK(memory.getMemoryType() == type && memory.getDeviceId() == 1000);
    HMC_IGNORE(hmc_memory_copy(nullptr, memory.handle(), nullptr, memory.handle(), 1)); /* another text in between */
    CHECK_STATUS(memory.allocateBuffer(&untouched, 16), expected);
    CHECK(untouched == &byte && !error_names("init()") && last_error()[0]);
    CHECK_STATUS(memory.copyHostToDevice(&byte, &byte, 1), expected);
    CHECK_STATUS(memory.copyDeviceToHost(&byte, &byte, 1), expected);
    CHECK_STATUS(memory.copyDeviceToDevice(&byte, &byte, 1), expected);
    CHECK_STATUS(memory.freeBuffer(&byte), expected);
    CHECK_STATUS(memory.init(), expected);
    CHECK_OK(memory.setDeviceIdAndMemoryType(0, MemoryType::CPU));
    CHECK(memory.getMemoryType() == MemoryType::CPU);

    ConnBuffer buffer(1000, SIZE, type);
    CHECK_STATUS(buffer.getInitStatus(), expected);
    CHECK(!buffer.ptr && !buffer.buffer_size && buffer.mem_ops && !buffer.region());
    last_error();
    CHECK_STATUS(buffer.writeFromCpu(&byte, 1), expected);
    CHECK(last_error()[0]);
    CHECK_STATUS(buffer.readToGpu(&byte, 1), expected);
    CHECK_STATUS(buffer.copyWithin(0, 0, 0), expected);
  }
}

static void test_default() {
  MemoryType best = memory_supported();
  CHECK(best != MemoryType::DEFAULT && best != MemoryType::SIM);
  Memory memory(0);
  CHECK_OK(memory.getInitStatus());
  CHECK(memory.getMemoryType() == best);
  if (best == MemoryType::CPU) /* a program that numbers its devices runs where there are none */
    CHECK(Memory(5).getInitStatus() == status_t::SUCCESS);
  CHECK_OK(Memory(5, MemoryType::CPU).getInitStatus());
  ConnBuffer buffer(0, 4096);
  CHECK_OK(buffer.getInitStatus());
  CHECK(buffer.mem_ops->getMemoryType() == best);
}

static void test_buffer(MemoryType type) {
  ConnBuffer buffer(0, SIZE, type);
  CHECK_OK(buffer.getInitStatus());
  CHECK(buffer.ptr && buffer.buffer_size == SIZE && buffer.mem_ops->getMemoryType() == type);
  std::vector<char> received(SIZE, 1), sent = pattern(SIZE, 2);
  CHECK_OK(buffer.readToCpu(received.data(), SIZE));
  CHECK(received == std::vector<char>(SIZE)); /* zeroed */

  const char *constant = sent.data();
  CHECK_OK(buffer.writeFromCpu(constant, SIZE));
  CHECK_OK(buffer.writeFromCpu(constant, 100, 333));
  CHECK_OK(buffer.readToCpu(received.data(), 433, 0));
  CHECK(!std::memcmp(received.data(), constant, 333) && !std::memcmp(&received[333], constant, 100));

  CHECK_OK(buffer.writeFromCpu(constant, SIZE));
  CHECK_OK(buffer.copyWithin(1000, 500, 4000)); /* overlapping */
  CHECK_OK(buffer.readToCpu(received.data(), SIZE));
  CHECK(!std::memcmp(&received[1000], &sent[500], 4000) && !std::memcmp(&received[5000], &sent[5000], SIZE - 5000));
}

static void test_bounds(MemoryType type) {
  ConnBuffer buffer(0, SIZE, type);
  std::vector<char> sent = pattern(SIZE, 3), received(SIZE + 1, 9);
  CHECK_OK(buffer.writeFromCpu(sent.data(), SIZE));
  const size_t ranges[][2] = {{SIZE + 1, 0}, {1, SIZE}, {SIZE, 1}, {0, SIZE + 1}, {SIZE_MAX, 1}, {2, SIZE_MAX}};
  for (const auto &range : ranges) {
    CHECK_STATUS(buffer.writeFromCpu(received.data(), range[0], range[1]), status_t::OUT_OF_RANGE);
    CHECK(error_names("writeFromCpu") && error_names("70001") && error_names(std::to_string(range[1]).c_str()));
    CHECK_STATUS(buffer.readToCpu(received.data(), range[0], range[1]), status_t::OUT_OF_RANGE);
    CHECK_STATUS(buffer.writeFromGpu(received.data(), range[0], range[1]), status_t::OUT_OF_RANGE);
    CHECK_STATUS(buffer.readToGpu(received.data(), range[0], range[1]), status_t::OUT_OF_RANGE);
    CHECK_STATUS(buffer.copyWithin(range[1], 0, range[0]), status_t::OUT_OF_RANGE);
    CHECK_STATUS(buffer.copyWithin(0, range[1], range[0]), status_t::OUT_OF_RANGE);
  }
  CHECK(received == std::vector<char>(SIZE + 1, 9));
  CHECK_STATUS(buffer.writeFromCpu(nullptr, 0, SIZE), status_t::ERROR); // as the first HMC
  CHECK_STATUS(buffer.readToGpu(nullptr, 0, SIZE), status_t::ERROR);
  CHECK_STATUS(buffer.writeFromCpu(nullptr, 1), status_t::INVALID_CONFIG);
  CHECK_STATUS(buffer.writeFromGpu(nullptr, 1), status_t::INVALID_CONFIG);
  CHECK_STATUS(buffer.readToGpu(nullptr, 1), status_t::INVALID_CONFIG);
  received.resize(SIZE);
  CHECK_OK(buffer.readToCpu(received.data(), SIZE));
  CHECK(received == sent);
  ConnBuffer nothing(0, 0, type);
  CHECK(nothing.getInitStatus() == status_t::SUCCESS && nothing.ptr && !nothing.buffer_size);
  CHECK_STATUS(nothing.writeFromCpu(sent.data(), 1), status_t::OUT_OF_RANGE);
  CHECK(buffer.mem_type == type && buffer.device_id == 0);
}

/* writeFromGpu and readToGpu find out by themselves where the pointer belongs. */
static void test_gpu_copies(MemoryType type) {
  Memory device(1, MemoryType::SIM);
  void *source = nullptr, *destination = nullptr;
  CHECK_OK(device.allocateBuffer(&source, SIZE));
  CHECK_OK(device.allocateBuffer(&destination, SIZE));
  std::vector<char> sent = pattern(SIZE, 4), received(SIZE);
  CHECK_OK(device.copyHostToDevice(source, sent.data(), SIZE));
  ConnBuffer buffer(0, SIZE, type);
  CHECK_OK(buffer.writeFromGpu(static_cast<char *>(source) + 11, SIZE - 11, 11));
  CHECK_OK(buffer.writeFromGpu(sent.data(), 11)); /* host memory is taken as well */
  CHECK_OK(buffer.readToGpu(destination, SIZE));
  CHECK_OK(device.copyDeviceToHost(received.data(), destination, SIZE));
  CHECK(sent == received);
  CHECK_OK(device.freeBuffer(source));
  CHECK_OK(device.freeBuffer(destination));
}

/* The last error is the last one, whether it was born in the headers or in the library. */
static void test_last_error() {
  ConnBuffer buffer(0, 64, MemoryType::CPU);
  char byte;
  CHECK_STATUS(buffer.readToCpu(&byte, 1, 64), status_t::OUT_OF_RANGE);
  CHECK(error_names("readToCpu"));
  CHECK_STATUS(buffer.readToCpu(nullptr, 1), status_t::INVALID_CONFIG);
  CHECK(error_names("NULL") && last_status() == status_t::INVALID_CONFIG);
  CHECK_STATUS(buffer.readToCpu(&byte, 1, 64), status_t::OUT_OF_RANGE);
  CHECK(error_names("readToCpu"));
}

int main() {
  Environment environment;
  test_status();
  test_memory(MemoryType::CPU, 0);
  test_memory(MemoryType::SIM, 1);
  test_missing_device();
  test_default();
  for (MemoryType type : {MemoryType::CPU, MemoryType::SIM}) {
    test_buffer(type);
    test_bounds(type);
    test_gpu_copies(type);
  }
  test_last_error();
  return 0;
}
