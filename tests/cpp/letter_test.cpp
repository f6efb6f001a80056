/* To the letter: what programs written for the first HMC compile with, and what its calls answered them, both
 * generations. The expected values were observed on that library. */
#include <hmc.h>
#include <mem.h>
#include <status.h>

#include "../src/memories/mem_type.h"
#include "../src/resource_manager/gpu_interface.h"

#include "check.hpp"

using namespace hmc;

static const char *const LOOPBACK = "127.0.0.1";
static const size_t SIZE = 1 << 20;

/* What <hmc.h> brings along, and names that need no more than to be there. */
static void test_names() {
  std::deque<int> numbers(3);
  std::queue<int> queue;
  std::mutex mutex;
  std::thread([&] { std::lock_guard<std::mutex> lock(mutex); }).join();
  std::unordered_map<int, std::string> map;
  std::sig_atomic_t flag = 0;
  CHECK(flag == 0 && queue.empty() && map.empty() && numbers.size() == 3 && getpid() > 0);
  std::cout << "";
  static_assert(sizeof(Communicator::CtrlTransport) == 1 && ACCEL_PAGE_SIZE == 65536, "");
  static_assert(sizeof(CtrlMsgHeader) == 8 && sizeof(CNaddr) == 8, "");
  static_assert(std::is_abstract<MemoryBase>::value, "");
  Memory memory = 0;
  Memory listed = {0, MemoryType::CPU};
  CHECK(listed.getDeviceId() == 0 && memory.getDeviceId() == 0 && Memory(1, MemoryType::CPU).getDeviceId() == 1);
  memory_dmabuf_supported();
  CHECK(!std::strcmp(status_to_string(status_t::UNSUPPORT), "Unsupported"));
  CHECK(!std::strcmp(status_to_string(status_t::INVALID_CONFIG), "Invalid Config"));
}

static void test_memory() {
  Memory memory(0, MemoryType::CPU);
  void *address = nullptr;
  char byte = 0;
  CHECK(memory.allocateBuffer(nullptr, 1) == status_t::ERROR);
  CHECK(memory.allocatePeerableBuffer(nullptr, 1) == status_t::ERROR);
  CHECK(memory.allocatePeerableBuffer(&address, 0) == status_t::SUCCESS && address);
  CHECK(memory.freeBuffer(address) == status_t::SUCCESS);
  CHECK(memory.freeBuffer(nullptr) == status_t::ERROR);
  CHECK(memory.copyHostToDevice(nullptr, &byte, 1) == status_t::ERROR);
  CHECK(memory.copyDeviceToHost(&byte, nullptr, 1) == status_t::ERROR);
  CHECK(memory.copyDeviceToDevice(nullptr, nullptr, 0) == status_t::ERROR);
  CHECK(memory.allocateBuffer(&address, 0) == status_t::SUCCESS && memory.free() == status_t::SUCCESS);
  CHECK(memory.copyHostToDevice(address, &byte, 1) == status_t::SUCCESS);
  CHECK(memory.freeBuffer(address) == status_t::SUCCESS);

  ConnBuffer buffer(1, 64, MemoryType::CPU);
  CHECK(buffer.device_id == 1 && buffer.mem_type == MemoryType::CPU &&
        ConnBuffer(0, 64).mem_type == MemoryType::DEFAULT);
  CHECK(buffer.writeFromCpu(&byte, 1, 64) == status_t::ERROR && buffer.readToCpu(&byte, 65) == status_t::ERROR);
  CHECK(buffer.writeFromCpu(nullptr, 1) == status_t::ERROR && buffer.copyWithin(64, 0, 1) == status_t::ERROR);
  CHECK(buffer.writeFromCpu(nullptr, 0) == status_t::ERROR && buffer.readToCpu(nullptr, 0) == status_t::ERROR);
  CHECK(buffer.writeFromGpu(nullptr, 1) == status_t::ERROR && buffer.readToGpu(nullptr, 0) == status_t::ERROR);
  CHECK(buffer.writeFromCpu(&byte, 0) == status_t::SUCCESS && buffer.copyWithin(64, 64, 0) == status_t::SUCCESS);
  ConnBuffer nothing(0, 0);
  CHECK(nothing.getInitStatus() == status_t::SUCCESS && nothing.ptr && !nothing.buffer_size);
}

/* A kind that this machine lacks: whichever of the three that is. */
static void test_missing_kind() {
  unsigned thrown = 0, missing = 0;
  for (MemoryType kind : {MemoryType::NVIDIA_GPU, MemoryType::AMD_GPU, MemoryType::CAMBRICON_MLU}) {
    hmc_memory_t wanted = {static_cast<hmc_memory_kind_t>(kind), 0}, resolved;
    if (hmc_memory_resolve(wanted, &resolved) != HMC_UNSUPPORT) continue;
    missing++;
    Memory memory(0, MemoryType::CPU);
    try {
      ConnBuffer buffer(0, 64, kind);
    } catch (const std::runtime_error &error) {
      thrown += std::strstr(error.what(), " is not supported") != nullptr;
    }
    try {
      static_cast<void>(memory.setDeviceIdAndMemoryType(0, kind));
    } catch (const std::runtime_error &) {
      thrown++;
    }
  }
  CHECK(missing && thrown == 2 * missing);
}

/* The calls as its uhm_app makes them: three namespaces opened, a Context of its own, sockets beside it. */
namespace as_uhm_app_does {
using namespace hmc;
using namespace std;
using namespace std::chrono;

struct Context {
  void *cpu_data_ptr;
  void *gpu_data_ptr;
  size_t size;
  std::mutex *log_mutex;
};

static status_t stream(Communicator *comm, shared_ptr<ConnBuffer> buffer, Context ctx, const string &ip) {
  const size_t chunk_size = buffer->buffer_size / 2;
  size_t remaining = ctx.size;
  auto start = high_resolution_clock::now();
  while (remaining) {
    size_t send_size = min(chunk_size, remaining);
    if (buffer->writeFromGpu(static_cast<char *>(ctx.gpu_data_ptr) + (ctx.size - remaining), send_size, 0) !=
        status_t::SUCCESS)
      return status_t::ERROR;
    if (comm->writeTo(ip, 0, send_size, ConnType::TCP) != status_t::SUCCESS) return status_t::ERROR;
    remaining -= send_size;
  }
  lock_guard<mutex> lock(*ctx.log_mutex);
  return duration_cast<microseconds>(high_resolution_clock::now() - start).count() < 0 ? status_t::TIMEOUT
                                                                                       : status_t::SUCCESS;
}
} // namespace as_uhm_app_does

static void test_uhm_app() {
  using namespace as_uhm_app_does;
  const int device_id = 0, gpu_port = 0;
  mutex log_mutex;
  CtrlSocketManager controls[2];
  auto there = make_shared<ConnBuffer>(device_id, 4096, MemoryType::CPU);
  auto here = make_shared<ConnBuffer>(device_id, 4096, MemoryType::CPU);
  Communicator *server = new Communicator(there, 1, controls[0]), *client = new Communicator(here, 1, controls[1]);
  vector<uint8_t> data(10000, 'A'), found(4096);
  Memory *memory = new Memory(0, MemoryType::CPU);
  void *device_ptr;
  CHECK(server->initServer(LOOPBACK, gpu_port, ConnType::TCP) == status_t::SUCCESS);
  CHECK(client->connectTo(LOOPBACK, server->dataPort(), ConnType::TCP) == status_t::SUCCESS);
  CHECK(memory->allocateBuffer(&device_ptr, data.size()) == status_t::SUCCESS);
  CHECK(memory->copyHostToDevice(device_ptr, data.data(), data.size()) == status_t::SUCCESS);
  as_uhm_app_does::Context ctx = {data.data(), device_ptr, data.size(), &log_mutex};
  CHECK(stream(client, here, ctx, LOOPBACK) == status_t::SUCCESS);
  CHECK(there->readToCpu(found.data(), 2048) == status_t::SUCCESS && found[2047] == 'A' && !found[2048]);
  size_t flag = 0;
  thread sender([&] { CHECK(client->sendDataTo(LOOPBACK, device_ptr, 100, MemoryType::CPU) == status_t::SUCCESS); });
  CHECK(server->recvDataFrom(LOOPBACK, found.data(), 4096, MemoryType::CPU, &flag) == status_t::SUCCESS && flag == 100);
  sender.join();
  thread second([&] {
    CHECK(client->sendDataTo(LOOPBACK, server->dataPort(), device_ptr, 10, MemoryType::CPU, ConnType::TCP) ==
          status_t::SUCCESS);
  });
  CHECK(server->recvDataFrom(LOOPBACK, 0, found.data(), 10, MemoryType::CPU, &flag, ConnType::TCP) ==
        status_t::SUCCESS);
  second.join();
  CHECK(memory->freeBuffer(device_ptr) == status_t::SUCCESS);
  CHECK(client->disConnect(LOOPBACK, ConnType::TCP) == status_t::SUCCESS);
  CHECK(server->closeServer() == status_t::SUCCESS);
  delete client;
  delete server;
  delete memory;
}

static void test_unconnected() {
  Communicator comm(std::make_shared<ConnBuffer>(0, SIZE, MemoryType::CPU));
  uint64_t id = 0, tag = 0;
  CHECK(comm.checkConn(LOOPBACK, 1) == status_t::NOT_FOUND && comm.put(LOOPBACK, 1, 0, 0, 1) == status_t::NOT_FOUND);
  CHECK(comm.get(LOOPBACK, 1, 0, 0, 1) == status_t::NOT_FOUND);
  CHECK(comm.putNB(LOOPBACK, 1, 0, 0, 1, &id) == status_t::NOT_FOUND);
  CHECK(comm.disConnect(LOOPBACK, 1) == status_t::SUCCESS);
  CHECK(comm.wait(0) == status_t::SUCCESS && comm.wait(77) == status_t::NOT_FOUND);
  CHECK(comm.wait(std::vector<uint64_t>{0}) == status_t::SUCCESS);
  auto begin = std::chrono::steady_clock::now();
  CHECK(comm.ctrlSend(7, 1) == status_t::ERROR && comm.ctrlRecv(7, &tag) == status_t::ERROR);
  CHECK(comm.ctrlRecv(7, nullptr) == status_t::ERROR);
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(10)); /* the deadline is 30 s away */
  Communicator::CtrlLink link;
  CHECK(comm.connectCtrl(1, 0, link) == status_t::ERROR);
  link.transport = Communicator::CtrlTransport::UDS;
  CHECK(comm.connectCtrl(1, 0, link) == status_t::ERROR);
  CHECK(comm.closeCtrlPeer(1) == status_t::SUCCESS && comm.closeCtrl() == status_t::SUCCESS);
  CHECK(comm.closeServer() == status_t::SUCCESS);
  CHECK(comm.connectTo(LOOPBACK, 1) == status_t::ERROR && last_status() == status_t::NOT_FOUND);
  CHECK(comm.initServer("192.0.2.1", 0) == status_t::ERROR);
}

/* The cause is what kept from connecting, not that the link was closed because of it. */
static void test_cause(CtrlSocketManager &server) {
  CtrlSocketManager control;
  Communicator comm(std::make_shared<ConnBuffer>(0, SIZE, MemoryType::CPU), 1, control);
  Communicator::CtrlLink link;
  link.ip = LOOPBACK;
  link.port = server.tcpPort();
  CHECK(comm.connectTo(3, 4, LOOPBACK, 1, link, ConnType::TCP) == status_t::ERROR);
  CHECK(last_status() == status_t::NOT_FOUND && std::strstr(last_error(), "listens"));
}

static void test_messages(CtrlSocketManager &server) {
  CtrlSocketManager client;
  CtrlMsgHeader header = {};
  std::vector<uint8_t> payload;
  int number = 5;
  CHECK(client.connectTcp(0, LOOPBACK, server.tcpPort(), 1) && server.is_server_ && !client.is_server_);
  CHECK(client.sendU64(0, 9) && server.recv(1, header, payload));
  CHECK(header.type == CTRL_INT && header.flags == 0 && header.length == 8 && payload.size() == 8);
  CHECK(client.send(0, CTRL_STRUCT, "abc", 3, 0x1234) && server.recv(1, header, payload));
  CHECK(header.type == CTRL_STRUCT && header.flags == 0x1234 && header.length == 3 && payload[2] == 'c');
  CHECK(client.send(0, static_cast<CtrlMsgType>(0x301), nullptr, 0) && server.recv(1, header, payload));
  CHECK(header.type == 0x301 && payload.empty());
  CHECK(client.sendU64(0, 9) && client.sendInt(0, 6));
  CHECK(!server.recvInt(1, number) && number == 5); /* taken, and not kept */
  CHECK(server.recvInt(1, number) && number == 6);
  uint64_t kept = 0;
  CHECK(client.sendU64(0, 10) && !server.recvU64(1, nullptr) && !client.send(0, CTRL_STRUCT, nullptr, 3));
  CHECK(!client.send(0, CTRL_STRUCT, nullptr, 3, 7) && server.recvU64(1, kept) && kept == 10);
  CtrlSocketManager first_server, first_client;
  CHECK(first_server.startServer(LOOPBACK, 0) && first_client.getCtrlSockFd(LOOPBACK, first_server.tcpPort()) >= 0);
  CHECK(first_client.sendCtrlMsg(LOOPBACK, CTRL_STRUCT, "de", 2, 3));
  CHECK(first_server.recvCtrlMsg(LOOPBACK, header, payload));
  CHECK(header.flags == 3 && header.length == 2 && payload[0] == 'd');
}

static void test_transfers(ConnType type) {
  CtrlSocketManager controls[2];
  auto there = std::make_shared<ConnBuffer>(0, SIZE, MemoryType::CPU);
  auto here = std::make_shared<ConnBuffer>(0, SIZE, MemoryType::CPU);
  Communicator server(there, 1, controls[0]), client(here, 1, controls[1]);
  CHECK(server.initServer(LOOPBACK, 0, 0, "", type) == status_t::SUCCESS);
  uint16_t port = server.dataPort();
  CHECK(server.initServer(LOOPBACK, port, type) == status_t::SUCCESS && server.dataPort() == port);
  CHECK(server.initServer(LOOPBACK, port, server.ctrlPort(), "", ConnType::RDMA) == status_t::SUCCESS);
  Communicator::CtrlLink link;
  link.ip = LOOPBACK;
  link.port = server.ctrlPort();
  CHECK(client.connectTo(0, 1, LOOPBACK, port, link, type) == status_t::SUCCESS);
  CHECK(client.connectTo(0, 1, LOOPBACK, port, link, type) == status_t::SUCCESS);
  ConnType other = type == ConnType::SHM ? ConnType::TCP : ConnType::SHM;
  CHECK(client.checkConn(LOOPBACK, port, other) == status_t::NOT_FOUND);
  CHECK(client.checkConn(LOOPBACK, port, ConnType::RDMA) == status_t::NOT_FOUND);
  CHECK(client.put(LOOPBACK, port, 0, 0, 0, type) == status_t::SUCCESS);
  CHECK(client.put(LOOPBACK, port, SIZE, 0, 1, type) == status_t::ERROR);
  CHECK(client.put(LOOPBACK, port, 0, SIZE, 1, type) == status_t::ERROR);
  CHECK(client.putNB(LOOPBACK, port, 0, 0, 8, nullptr, type) == status_t::SUCCESS);

  std::vector<char> bytes(SIZE);
  for (size_t i = 0; i < SIZE; i++) bytes[i] = static_cast<char>(i * 7 >> 3);
  CHECK(here->writeFromCpu(bytes.data(), SIZE) == status_t::SUCCESS);
  CHECK(client.putPipeline(LOOPBACK, port, 0, 0, SIZE, 10000, 4, type) == status_t::SUCCESS);
  std::vector<char> found(SIZE);
  CHECK(there->readToCpu(found.data(), SIZE) == status_t::SUCCESS && found == bytes);
  CHECK(here->writeFromCpu(std::vector<char>(SIZE).data(), SIZE) == status_t::SUCCESS);
  CHECK(client.getPipeline(LOOPBACK, port, 0, 0, SIZE, 0, 64, type) == status_t::SUCCESS);
  CHECK(here->readToCpu(found.data(), SIZE) == status_t::SUCCESS && found == bytes);
  CHECK(client.putPipeline(LOOPBACK, port, 1, 0, SIZE, 0, 64, type) == status_t::ERROR);

  std::thread receiver([&] { CHECK(server.recv(LOOPBACK, 100, 50) == status_t::SUCCESS); });
  CHECK(client.send(LOOPBACK, 500, 50, type) == status_t::SUCCESS);
  receiver.join();
  CHECK(there->readToCpu(found.data(), 50, 100) == status_t::SUCCESS && !std::memcmp(found.data(), &bytes[500], 50));
  CHECK(client.send(LOOPBACK, SIZE, 1, type) == status_t::ERROR);
}

/* A socket that the first HMC's naming made is found by ours. */
static void test_uds_path() {
  std::string directory = Environment::home(), first = directory + "/hmc_ctrl_rank_7.sock";
  std::string ours = Communicator::udsPathFor(directory, 7);
  CHECK(ours != first && ours.compare(0, directory.size(), directory) == 0);
  FILE *file = std::fopen(first.c_str(), "w");
  CHECK(file && !std::fclose(file));
  CHECK(Communicator::udsPathFor(directory, 7) == first && Communicator::udsPathFor(directory + "/", 7) == first);
}

int main() {
  Environment environment;
  test_names();
  test_memory();
  test_missing_kind();
  test_uhm_app();
  test_unconnected();
  CtrlSocketManager server;
  CHECK(server.start(LOOPBACK, 0) && server.isServer());
  test_messages(server);
  test_cause(server);
  server.stopServer();
  CHECK(!server.is_server_);
  for (ConnType type : {ConnType::TCP, ConnType::SHM}) test_transfers(type);
  test_uds_path();
}
