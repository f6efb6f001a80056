/* sendDataTo and recvDataFrom between two processes: over the connection, from the sender's and into the receiver's
 * memory that the arguments name.
 *
 * usage: exchange shm|tcp cpu|sim cpu|sim */
#include "check.hpp"

#include <atomic>
#include <thread>

using namespace hmc;

static const char *const LOOPBACK = "127.0.0.1";
static const size_t ROOM = (5 << 20) + 77, GUARD = 4096;

static ConnType connection;
static MemoryType send_memory, receive_memory;

/* Memory of one kind, with bytes of the host's on the other side of a copy. */
class Block {
public:
  Block(MemoryType type, size_t size) : memory_(0, type), size_(size) { CHECK_OK(memory_.allocateBuffer(&at_, size)); }
  ~Block() { CHECK_OK(memory_.freeBuffer(at_)); }
  void *at() const { return at_; }
  char *at(size_t offset) const { return static_cast<char *>(at_) + offset; }
  MemoryType type() const { return memory_.getMemoryType(); }
  void write(const std::vector<char> &bytes) { CHECK_OK(memory_.copyHostToDevice(at_, bytes.data(), bytes.size())); }
  std::vector<char> read() {
    std::vector<char> bytes(size_);
    CHECK_OK(memory_.copyDeviceToHost(bytes.data(), at_, size_));
    return bytes;
  }

private:
  Memory memory_;
  size_t size_;
  void *at_ = nullptr;
};

static std::vector<char> pattern(size_t size, unsigned seed) {
  std::vector<char> bytes(size);
  uint32_t state = seed * 2654435761u + 1;
  for (char &byte : bytes) {
    state = state * 1664525u + 1013904223u;
    byte = static_cast<char>(state >> 24);
  }
  return bytes;
}

static std::shared_ptr<ConnBuffer> make_buffer() {
  auto buffer = std::make_shared<ConnBuffer>(0, 4096, MemoryType::CPU);
  CHECK_OK(buffer->getInitStatus());
  return buffer;
}

/* True where the block has the pattern at its beginning and 'g' behind it. */
static bool holds(Block &block, size_t size, unsigned seed) {
  std::vector<char> bytes = block.read(), sent = pattern(size, seed);
  return std::equal(sent.begin(), sent.end(), bytes.begin()) &&
         std::all_of(bytes.begin() + static_cast<std::ptrdiff_t>(size), bytes.end(), [](char c) { return c == 'g'; });
}

/* ---- moving data, in either order and in a row */

static const size_t sizes[] = {1, 4096, 0, 65537, 3, 1 << 20, ROOM};

static void receive_all(Process &parent) {
  Communicator comm(make_buffer());
  CHECK_OK(comm.initServer(LOOPBACK, 0, connection));
  parent.send(comm.dataPort());
  Block block(receive_memory, ROOM + GUARD);
  unsigned seed = 0;
  for (size_t size : sizes) {
    block.write(std::vector<char>(ROOM + GUARD, 'g'));
    if (seed % 2) {
      parent.receive<char>(); /* the sender is waiting by now */
      usleep(30000);
    }
    size_t flag = 12345;
    CHECK_OK(comm.recvDataFrom(LOOPBACK, block.at(), ROOM, receive_memory, &flag, connection));
    CHECK(flag == size && holds(block, size, seed));
    seed++;
  }

  /* Too large: an error here and there, and nothing is written. */
  block.write(std::vector<char>(ROOM + GUARD, 'g'));
  size_t flag = 12345;
  CHECK_STATUS(comm.recvDataFrom(LOOPBACK, block.at(), 1000, receive_memory, &flag), status_t::OUT_OF_RANGE);
  CHECK(flag == 12345 && error_names("1001") && error_names("room for 1000") && holds(block, 0, 0));

  /* And what comes next is not disturbed by it; the way back as well, and another kind of memory. */
  CHECK_OK(comm.recvDataFrom(LOOPBACK, block.at(), 1000, MemoryType::DEFAULT, nullptr));
  CHECK(holds(block, 1000, 50));
  CHECK_OK(comm.sendDataTo(LOOPBACK, block.at(), 900, receive_memory));
  std::vector<char> host(100000);
  CHECK_OK(comm.recvDataFrom(LOOPBACK, host.data(), host.size(), MemoryType::CPU, &flag));
  CHECK(flag == 70000 && std::vector<char>(host.begin(), host.begin() + 70000) == pattern(70000, 51));
  parent.receive<char>();
}

static void test_moving(Process &receiver) {
  receiver.start();
  uint16_t port = receiver.receive<uint16_t>();
  Communicator comm(make_buffer());
  CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
  Block block(send_memory, ROOM);
  unsigned seed = 0;
  for (size_t size : sizes) {
    std::vector<char> bytes = pattern(ROOM, seed);
    bytes = pattern(size, seed);
    if (size) block.write(bytes);
    if (seed % 2)
      receiver.send('w');
    else
      usleep(30000); /* the receiver is waiting by now */
    if (seed % 3 == 2)
      CHECK_OK(comm.sendDataTo(LOOPBACK, block.at(), size, send_memory, connection));
    else
      CHECK_OK(comm.sendDataTo(LOOPBACK, port, block.at(), size, send_memory, connection));
    seed++;
  }
  CHECK_STATUS(comm.sendDataTo(LOOPBACK, port, block.at(), 1001, send_memory), status_t::OUT_OF_RANGE);
  CHECK(error_names("1001") && error_names("1000"));
  block.write(pattern(1000, 50));
  CHECK_OK(comm.sendDataTo(LOOPBACK, port, block.at(), 1000, MemoryType::DEFAULT));
  block.write(pattern(1000, 0));
  size_t flag = 0;
  CHECK_OK(comm.recvDataFrom(LOOPBACK, port, block.at(), 1000, send_memory, &flag, connection));
  std::vector<char> back = block.read(), there = pattern(1000, 50);
  CHECK(flag == 900 && std::equal(there.begin(), there.begin() + 900, back.begin()));
  CHECK(std::equal(back.begin() + 900, back.begin() + 1000, pattern(1000, 0).begin() + 900));
  std::vector<char> host = pattern(70000, 51);
  CHECK_OK(comm.sendDataTo(LOOPBACK, host.data(), host.size(), MemoryType::CPU));
  receiver.send('q');
  receiver.join();
}

/* ---- what goes wrong */

/* The kind is checked, and a required connection is not replaced by another. */
static void test_refusals() {
  Communicator comm(make_buffer());
  Block block(send_memory, 4096);
  MemoryType other = send_memory == MemoryType::CPU ? MemoryType::SIM : MemoryType::CPU;
  CHECK_STATUS(comm.sendDataTo(LOOPBACK, block.at(), 10, other), status_t::INVALID_CONFIG);
  CHECK(error_names("cpu") && error_names("sim"));
  CHECK_STATUS(comm.recvDataFrom(LOOPBACK, block.at(), 10, other, nullptr), status_t::INVALID_CONFIG);
  CHECK_STATUS(comm.sendDataTo(LOOPBACK, nullptr, 10, send_memory), status_t::INVALID_CONFIG);
  CHECK_STATUS(comm.sendDataTo(LOOPBACK, block.at(), 10, send_memory), status_t::NOT_FOUND);
  CHECK(error_names("connectTo"));
  CHECK_STATUS(comm.recvDataFrom(LOOPBACK, 1, block.at(), 10, send_memory, nullptr), status_t::NOT_FOUND);
  char reason[256];
  if (hmc_connection_type_probe(HMC_CONNECTION_UCX, reason, sizeof reason) != HMC_SUCCESS)
    CHECK_STATUS(comm.sendDataTo(LOOPBACK, block.at(), 10, send_memory, ConnType::UCX), status_t::UNSUPPORT);
  Communicator none(nullptr);
  CHECK_STATUS(none.sendDataTo(LOOPBACK, block.at(), 10, send_memory), status_t::INVALID_CONFIG);
}

static void serve_quietly(Process &parent) {
  Communicator comm(make_buffer());
  CHECK_OK(comm.initServer(LOOPBACK, 0));
  parent.send(comm.dataPort());
  parent.receive<char>();
  /* Two offers were given up meanwhile: they are passed over, and the third one comes. */
  Block block(receive_memory, 4096);
  size_t flag = 0;
  CHECK_OK(comm.recvDataFrom(LOOPBACK, block.at(), 4096, receive_memory, &flag));
  block.write([&] {
    std::vector<char> bytes = block.read();
    std::fill(bytes.begin() + 300, bytes.end(), 'g');
    return bytes;
  }());
  CHECK(flag == 300 && holds(block, 300, 9));

  /* What a waiting sender has taken out of the queue meanwhile keeps its order. */
  parent.receive<char>();
  char byte = 'b';
  std::thread sender([&] { CHECK_OK(comm.sendDataTo(LOOPBACK, &byte, 1, MemoryType::CPU)); });
  usleep(100000);
  CHECK_OK(comm.recvDataFrom(LOOPBACK, block.at(), 4096, receive_memory, &flag));
  CHECK(flag == 400);
  CHECK_OK(comm.recvDataFrom(LOOPBACK, block.at(), 4096, receive_memory, &flag));
  CHECK(flag == 401);
  parent.send('r');
  sender.join();
  parent.receive<char>();
}

/* Waits until that thread of this process waits for something itself, however long it takes to get there. */
static void await_sleep(const std::atomic<pid_t> &thread) {
  for (int looks = 0; looks < 10; usleep(5000)) {
    char state = 0;
    std::string name = "/proc/self/task/" + std::to_string(thread.load()) + "/stat";
    FILE *file = thread.load() ? fopen(name.c_str(), "r") : nullptr;
    if (file) {
      CHECK(fscanf(file, "%*d (%*[^)]) %c", &state) == 1);
      fclose(file);
    }
    looks = state == 'S' ? looks + 1 : 0;
  }
}

/* A call whose other half does not come ends at its deadline. */
static void test_deadline(Process &receiver) {
  receiver.start();
  uint16_t port = receiver.receive<uint16_t>();
  setenv("HMC_TIMEOUT", "150ms", 1);
  Communicator comm(make_buffer()), alone(make_buffer());
  unsetenv("HMC_TIMEOUT");
  for (int i = 0; i < 50 && comm.connectTo(LOOPBACK, port, connection) == status_t::TIMEOUT; i++)
    usleep(10000); /* a machine with much to do needs longer than that for a handshake */
  CHECK_OK(comm.checkConn(LOOPBACK, port));
  Block block(send_memory, 4096);
  auto begin = std::chrono::steady_clock::now();
  CHECK_STATUS(comm.sendDataTo(LOOPBACK, port, block.at(), 100, send_memory), status_t::TIMEOUT);
  CHECK_STATUS(comm.sendDataTo(LOOPBACK, port, block.at(), 200, send_memory), status_t::TIMEOUT);
  CHECK_STATUS(comm.recvDataFrom(LOOPBACK, port, block.at(), 200, send_memory, nullptr), status_t::TIMEOUT);
  auto took = std::chrono::steady_clock::now() - begin;
  CHECK(took >= std::chrono::milliseconds(400) && took < std::chrono::seconds(15)); /* the default deadline is 30 s */
  CHECK_OK(alone.initServer(LOOPBACK, 0));
  CHECK_STATUS(alone.recvDataFrom(LOOPBACK, block.at(), 200, send_memory, nullptr), status_t::TIMEOUT);
  CHECK(error_names("connected"));

  Communicator patient(make_buffer());
  CHECK_OK(patient.connectTo(LOOPBACK, port, connection));
  std::vector<char> bytes = pattern(300, 9);
  block.write(bytes);
  receiver.send('w');
  CHECK_OK(patient.sendDataTo(LOOPBACK, port, block.at(), 300, send_memory));

  std::vector<std::thread> senders;
  for (size_t size : {400, 401}) {
    std::atomic<pid_t> thread{0};
    senders.emplace_back([&, size] {
      thread = gettid();
      CHECK_OK(patient.sendDataTo(LOOPBACK, port, block.at(size), size, send_memory));
    });
    await_sleep(thread); /* its offer is on its way */
  }
  receiver.send('o');
  receiver.receive<char>();
  for (std::thread &sender : senders) sender.join();
  char byte = 0;
  CHECK_OK(patient.recvDataFrom(LOOPBACK, port, &byte, 1, MemoryType::CPU, nullptr));
  CHECK(byte == 'b');
  receiver.send('q');
  receiver.join();
}

static void serve_victim(Process &parent) {
  Communicator comm(make_buffer());
  CHECK_OK(comm.initServer(LOOPBACK, 0));
  parent.send(comm.dataPort());
  parent.receive<char>();
}

/* A call that waits for a peer which dies, or is hung up on, ends well before its deadline. */
static void test_lost(Process &first, Process &second) {
  Block block(send_memory, 4096);
  for (Process *victim : {&first, &second}) {
    bool is_killed = victim == &first;
    victim->start();
    uint16_t port = victim->receive<uint16_t>();
    Communicator comm(make_buffer());
    CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
    status_t sent = status_t::SUCCESS, received = status_t::SUCCESS;
    std::atomic<int> started{0};
    /* last_status is a thread's own: the answer is ERROR, and this the finer code */
    std::thread sender([&] {
      started++;
      CHECK(comm.sendDataTo(LOOPBACK, port, block.at(), 1000, send_memory) == status_t::ERROR);
      sent = last_status();
    });
    std::thread receiver([&] {
      started++;
      CHECK(comm.recvDataFrom(LOOPBACK, port, block.at(2000), 1000, send_memory, nullptr) == status_t::ERROR);
      received = last_status();
    });
    while (started < 2) usleep(1000);
    usleep(150000); /* both are waiting by now */
    auto begin = std::chrono::steady_clock::now();
    if (is_killed)
      victim->kill_now();
    else
      CHECK_OK(comm.disConnect(LOOPBACK, port));
    sender.join();
    receiver.join();
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(15));
    CHECK_STATUS(sent, is_killed ? status_t::PEER_LOST : status_t::CANCELLED);
    CHECK_STATUS(received, is_killed ? status_t::PEER_LOST : status_t::CANCELLED);
    if (!is_killed) {
      victim->send('q');
      victim->join();
    }
  }
}

/* ---- several at once */

/* What both ends do: threads that send and threads that receive, all over one connection. */
static void exchange_with_threads(Communicator &comm, MemoryType memory, unsigned mine, unsigned theirs) {
  const int rounds = 20;
  const size_t size = 20000;
  std::vector<std::thread> threads;
  std::vector<char> seen(64, 0);
  std::mutex mutex;
  for (unsigned i = 0; i < 2; i++) {
    threads.emplace_back([&, i] {
      Block block(memory, size);
      for (int round = 0; round < rounds; round++) {
        block.write(pattern(size, mine + i));
        CHECK_OK(comm.sendDataTo(LOOPBACK, block.at(), size - i, memory));
      }
    });
    threads.emplace_back([&] {
      Block block(memory, size + GUARD);
      for (int round = 0; round < rounds; round++) {
        block.write(std::vector<char>(size + GUARD, 'g'));
        size_t flag = 0;
        CHECK_OK(comm.recvDataFrom(LOOPBACK, block.at(), size, memory, &flag));
        unsigned from = static_cast<unsigned>(size - flag);
        CHECK(from < 2 && holds(block, flag, theirs + from));
        std::lock_guard<std::mutex> lock(mutex);
        seen[from]++;
      }
    });
  }
  for (std::thread &thread : threads) thread.join();
  CHECK(seen[0] == rounds && seen[1] == rounds);
}

static void serve_threads(Process &parent) {
  Communicator comm(make_buffer());
  CHECK_OK(comm.initServer(LOOPBACK, 0));
  parent.send(comm.dataPort());
  exchange_with_threads(comm, receive_memory, 20, 10); /* before the peer has dialled */
  parent.receive<char>();
}

static void test_threads(Process &server) {
  server.start();
  uint16_t port = server.receive<uint16_t>();
  usleep(30000);
  Communicator comm(make_buffer());
  CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
  exchange_with_threads(comm, send_memory, 10, 20);
  server.send('q');
  server.join();
}

/* ---- the bytes of a message */

static void test_messages() {
  using namespace hmc_detail;
  uint8_t bytes[MESSAGE_BYTES + 1] = {0};
  Message message = {MessageKind::ANSWER, status_t::OUT_OF_RANGE, 0x0123456789abcdefu, 0xfedcba9876543210u}, read;
  encode(message, bytes);
  static const uint8_t wire[MESSAGE_BYTES] = {'h',  'm',  'x',  '1',  2,    9,    0,    0,    0xef, 0xcd, 0xab, 0x89,
                                              0x67, 0x45, 0x23, 0x01, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe};
  CHECK(!std::memcmp(bytes, wire, sizeof wire));
  CHECK(decode(bytes, MESSAGE_BYTES, &read) && read.kind == message.kind && read.status == message.status);
  CHECK(read.id == message.id && read.size == message.size);
  for (size_t size = 0; size <= MESSAGE_BYTES + 1; size++) CHECK(decode(bytes, size, &read) == (size == MESSAGE_BYTES));
  for (size_t i = 0; i < 8; i++) {
    bytes[i] ^= 0x40;
    CHECK(decode(bytes, MESSAGE_BYTES, &read) == (i == 5)); /* any status is one */
    bytes[i] ^= 0x40;
  }
  CHECK(default_timeout_ms() == 30000);
  const struct {
    const char *text;
    uint64_t ms;
  } durations[] = {{"2s", 2000}, {"5ms", 5}, {"1500us", 2}, {"10ns", 1}};
  for (const auto &each : durations) {
    setenv("HMC_TIMEOUT", each.text, 1);
    CHECK(default_timeout_ms() == each.ms);
  }
  unsetenv("HMC_TIMEOUT");
}

int main(int argc, char **argv) {
  CHECK(argc == 4);
  connection = !std::strcmp(argv[1], "tcp") ? ConnType::TCP : ConnType::SHM;
  send_memory = !std::strcmp(argv[2], "sim") ? MemoryType::SIM : MemoryType::CPU;
  receive_memory = !std::strcmp(argv[3], "sim") ? MemoryType::SIM : MemoryType::CPU;
  Environment environment;
  Process moving(receive_all), quiet(serve_quietly), killed(serve_victim), left(serve_victim), threads(serve_threads);
  test_messages();
  test_moving(moving);
  test_refusals();
  test_deadline(quiet);
  test_lost(killed, left);
  test_threads(threads);
  return 0;
}
