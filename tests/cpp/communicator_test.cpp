/* Communicator between two processes: both generations of its calls, over the connection and with the client's memory
 * that the arguments name.
 *
 * usage: communicator shm|tcp cpu|sim */
#include "check.hpp"

#include <thread>

using namespace hmc;

static const size_t SIZE = 1 << 20;
static const char *const LOOPBACK = "127.0.0.1";

static ConnType connection;
static const char *connection_name;
static MemoryType client_memory;

static std::shared_ptr<ConnBuffer> make_buffer(MemoryType type) {
  auto buffer = std::make_shared<ConnBuffer>(0, SIZE, type);
  CHECK_OK(buffer->getInitStatus());
  return buffer;
}

static void fill(ConnBuffer &buffer, char value) {
  std::vector<char> bytes(buffer.buffer_size, value);
  OrderUnseen unseen;
  CHECK_OK(buffer.writeFromCpu(bytes.data(), bytes.size()));
}

/* True where `size` bytes at `offset` have one value, and the bytes around have `outside`. */
static bool holds(ConnBuffer &buffer, size_t offset, size_t size, char value, char outside) {
  std::vector<char> expected(buffer.buffer_size, outside), bytes(buffer.buffer_size);
  std::memset(&expected[offset], value, size);
  OrderUnseen unseen;
  CHECK_OK(buffer.readToCpu(bytes.data(), bytes.size()));
  return bytes == expected;
}

/* The other side's end is noticed at once, but not before it has happened. */
static void check_is_lost(Communicator &comm) {
  for (int i = 0; i < 1000 && comm.checkConn(LOOPBACK) == status_t::SUCCESS; i++) usleep(5000);
  CHECK_STATUS(comm.checkConn(LOOPBACK), status_t::PEER_LOST);
}

/* ---- the second generation --------------------------------------------------------------------------------------- */

struct Ports {
  uint16_t data, control;
};

static void serve_second(Process &parent) {
  auto buffer = make_buffer(MemoryType::CPU);
  Communicator comm(buffer);
  std::string path = Communicator::udsPathFor(Environment::home(), 0);
  CHECK_OK(comm.initServer(LOOPBACK, 0, 0, path, connection));
  Ports ports = {comm.dataPort(), comm.ctrlPort()};
  CHECK(ports.data && ports.control);
  parent.send(ports);

  uint64_t tag = 0;
  CHECK_OK(comm.ctrlRecv(1, &tag));
  CHECK(tag == 7 && holds(*buffer, 4097, 65537, 'a', 0));
  fill(*buffer, 'b');
  CHECK_OK(comm.ctrlSend(1, 8));
  CHECK_OK(comm.ctrlRecv(1, &tag)); /* the link over the UNIX socket by now */
  CHECK(tag == 9 && holds(*buffer, 0, SIZE / 2, 'c', 'b'));

  /* The way back, by the port the client knows us by. */
  CHECK_OK(comm.put(LOOPBACK, ports.data, 0, SIZE - 100, 100));
  CHECK_OK(comm.checkConn(LOOPBACK, ports.data));
  CHECK_OK(comm.ctrlSend(1, 10));
  parent.receive<char>();
  CHECK_OK(comm.closeServer());
  CHECK(access(path.c_str(), F_OK) != 0 && comm.dataPort() == 0);
  parent.send('c');
  parent.receive<char>();
}

static void move_without_blocking(Communicator &comm, ConnBuffer &buffer, uint16_t port) {
  const size_t count = 64, each = SIZE / 2 / count;
  fill(buffer, 'c');
  std::vector<uint64_t> ids(count);
  for (size_t i = 0; i < count; i++)
    CHECK_OK(comm.putNB(LOOPBACK, port, i * each, i * each, each, &ids[i], connection));
  CHECK_OK(comm.wait(ids));
  CHECK_OK(comm.wait(ids[0])); /* known to be complete */
  CHECK_OK(comm.wait(ids));
  CHECK_OK(comm.wait(0));
  CHECK(comm.wait(1u << 30) == status_t::NOT_FOUND);
  CHECK(error_names("operation 1073741824 "));
  uint64_t id = 12345;
  CHECK_OK(comm.getNB(LOOPBACK, port, 10, SIZE / 2 - 50, 100, &id));
  CHECK_OK(comm.wait(id));
  char bytes[102];
  CHECK_OK(buffer.readToCpu(bytes, sizeof bytes, 9));
  CHECK(std::string(bytes, sizeof bytes) == std::string(51, 'c') + std::string(50, 'b') + "c");
  CHECK_OK(comm.putNB(LOOPBACK, port, 0, 0, 1, nullptr));
  id = 12345;
  CHECK_STATUS(comm.getNB(LOOPBACK, port, SIZE, 0, 1, &id), status_t::OUT_OF_RANGE);
  CHECK(id == 12345);
}

static void check_refusals(Communicator &comm, uint16_t port) {
  CHECK_STATUS(comm.put(LOOPBACK, port, SIZE - 1, 0, 2), status_t::OUT_OF_RANGE);
  CHECK_STATUS(comm.put(LOOPBACK, port, 0, SIZE - 1, 2), status_t::OUT_OF_RANGE);
  CHECK_STATUS(comm.get(LOOPBACK, port, SIZE_MAX, 0, 2), status_t::OUT_OF_RANGE);
  CHECK(last_error()[0]);
  CHECK_STATUS(comm.put("192.0.2.1", port, 0, 0, 1), status_t::NOT_FOUND);
  CHECK(error_names("192.0.2.1") && error_names("connectTo"));
  CHECK_STATUS(comm.put(LOOPBACK, 1, 0, 0, 1), status_t::NOT_FOUND);
  ConnType other = connection == ConnType::TCP ? ConnType::SHM : ConnType::TCP;
  CHECK_STATUS(comm.put(LOOPBACK, port, 0, 0, 1, other), status_t::NOT_FOUND);
  CHECK(error_names(connection_name) && error_names(other == ConnType::TCP ? "tcp" : "shm"));
}

static void test_second_generation(Process &server) {
  server.start();
  Ports ports = server.receive<Ports>();
  auto buffer = make_buffer(client_memory);
  Communicator made(buffer, 2);
  Communicator comm(std::move(made));

  Communicator::CtrlLink link;
  link.transport = Communicator::CtrlTransport::TCP;
  link.ip = LOOPBACK;
  link.port = ports.control;
  CHECK_OK(comm.connectTo(/*peer_id=*/0, /*self_id=*/1, LOOPBACK, ports.data, link, connection));
  CHECK_OK(comm.checkConn(LOOPBACK, ports.data, connection));
  CHECK(comm.explain(LOOPBACK, ports.data).find(connection_name) != std::string::npos);
  CHECK(comm.explain("192.0.2.1").empty());

  fill(*buffer, 'a');
  CHECK_OK(comm.put(LOOPBACK, ports.data, 3, 4097, 65537, connection));
  CHECK_OK(comm.ctrlSend(0, 7));
  uint64_t tag = 0;
  CHECK_OK(comm.ctrlRecv(0, &tag));
  CHECK(tag == 8);
  CHECK_OK(comm.get(LOOPBACK, ports.data, 77, 1, 100000));
  CHECK(holds(*buffer, 77, 100000, 'b', 'a'));
  check_refusals(comm, ports.data);
  move_without_blocking(comm, *buffer, ports.data);

  Communicator::CtrlLink local;
  local.transport = Communicator::CtrlTransport::UDS;
  local.uds_path = Communicator::udsPathFor(Environment::home(), 0);
  CHECK_OK(comm.connectCtrl(0, 1, local));
  fill(*buffer, 'd');
  CHECK_OK(comm.ctrlSend(0, 9));
  CHECK_OK(comm.ctrlRecv(0, &tag));
  CHECK(tag == 10);
  std::vector<char> bytes(101);
  OrderUnseen unseen;
  CHECK_OK(buffer->readToCpu(bytes.data(), bytes.size(), SIZE - 101));
  CHECK(bytes[0] == 'd' && std::string(&bytes[1], 100) == std::string(100, 'c'));

  /* Connecting again to where one is connected is not a second connection. */
  CHECK_OK(comm.connectTo(LOOPBACK, ports.data));
  CHECK_OK(comm.disConnect(LOOPBACK, ports.data, connection));
  CHECK_STATUS(comm.checkConn(LOOPBACK), status_t::NOT_FOUND);
  CHECK_OK(comm.disConnect(LOOPBACK));
  CHECK_OK(comm.connectTo(LOOPBACK, ports.data, connection));
  server.send('c');
  server.receive<char>();
  CHECK_OK(comm.checkConn(LOOPBACK)); /* closeServer keeps its peers */
  Communicator late(make_buffer(MemoryType::CPU));
  CHECK_STATUS(late.connectTo(LOOPBACK, ports.data, connection), status_t::NOT_FOUND);
  static_cast<void>(comm.closeCtrlPeer(0));
  static_cast<void>(comm.closeCtrl());
  uint64_t given_up; /* ends with the Communicator */
  CHECK_OK(comm.putNB(LOOPBACK, ports.data, 0, 0, SIZE, &given_up));
  server.send('q');
  server.join();
}

/* ---- the first generation ---------------------------------------------------------------------------------------- */

static void serve_first(Process &parent) {
  auto buffer = make_buffer(MemoryType::CPU);
  Communicator comm(buffer);
  CHECK_STATUS(comm.writeTo(LOOPBACK, 0, 1), status_t::NOT_FOUND);
  CHECK_OK(comm.initServer(LOOPBACK, 0, connection));
  CHECK_STATUS(comm.checkConn(LOOPBACK), status_t::NOT_FOUND);
  parent.send(comm.dataPort());
  parent.receive<char>();
  CHECK(holds(*buffer, 5000, 6000, 'f', 0));
  fill(*buffer, 'g');
  CHECK_OK(comm.writeTo(LOOPBACK, 100, 50, connection));
  CHECK_OK(comm.readFrom(LOOPBACK, 20000, 1000));
  CHECK(holds(*buffer, 20000, 1000, 'f', 'g'));
  parent.send('w');
  parent.receive<char>();
  check_is_lost(comm);
  CHECK_STATUS(comm.writeTo(LOOPBACK, 0, 1), status_t::PEER_LOST);
  CHECK_OK(comm.disConnect(LOOPBACK, connection));
  CHECK_STATUS(comm.checkConn(LOOPBACK), status_t::NOT_FOUND);
}

static void test_first_generation(Process &server) {
  server.start();
  uint16_t port = server.receive<uint16_t>();
  auto buffer = make_buffer(client_memory);
  {
    Communicator comm(buffer);
    CHECK_STATUS(comm.writeTo(LOOPBACK, 0, 4096), status_t::NOT_FOUND);
    CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
    CHECK_OK(comm.checkConn(LOOPBACK, connection));
    fill(*buffer, 'f');
    CHECK_OK(comm.writeTo(LOOPBACK, 5000, 6000, connection));
    CHECK_STATUS(comm.writeTo(LOOPBACK, SIZE, 1), status_t::OUT_OF_RANGE);
    server.send('w');
    server.receive<char>();
    CHECK(holds(*buffer, 100, 50, 'g', 'f'));
    CHECK_OK(comm.readFrom(LOOPBACK, 0, 100));
    CHECK(holds(*buffer, 0, 150, 'g', 'f'));
  }
  server.send('q'); /* the Communicator has hung up */
  server.join();
}

/* ---- several of them --------------------------------------------------------------------------------------------- */

/* Two buffers in one process, and two Communicators on one of them: the port says which buffer is meant. */
static void serve_several(Process &parent) {
  auto left = make_buffer(MemoryType::CPU), right = make_buffer(MemoryType::CPU);
  CtrlSocketManager manager;
  Communicator first(left), second(right, 1, manager), third(right, 1, manager);
  CHECK_OK(first.initServer(LOOPBACK, 0));
  CHECK_OK(second.initServer(LOOPBACK, 0, 0));
  CHECK_OK(third.initServer(LOOPBACK, 0));
  CHECK_STATUS(third.initServer(LOOPBACK, first.dataPort()), status_t::ADDRESS_IN_USE);
  CHECK_OK(second.closeServer()); /* leaves the third listening */
  CHECK_OK(second.initServer(LOOPBACK, 0, 0));
  uint16_t port = first.dataPort(); /* stays the only one where the control port is taken */
  CHECK_STATUS(first.initServer(LOOPBACK, 0, second.ctrlPort()), status_t::ADDRESS_IN_USE);
  CHECK(first.dataPort() == port);
  for (Communicator *comm : {&first, &second, &third}) parent.send(comm->dataPort());
  parent.send(second.ctrlPort());
  parent.receive<char>();
  CHECK(holds(*left, 0, 10, 'l', 0));
  CHECK(holds(*right, 10, 20, 'r', 0));

  /* The latest of several peers at one address, also when it comes while an older one is known. */
  uint64_t tag;
  CHECK_OK(second.writeTo(LOOPBACK, 10, 1));
  CHECK_OK(second.ctrlSend(1, 1));
  CHECK_OK(second.ctrlRecv(1, &tag));
  CHECK_OK(second.writeTo(LOOPBACK, 11, 2));
  CHECK_OK(second.ctrlSend(1, 2));
  parent.receive<char>();
}

static void test_several(Process &server) {
  server.start();
  uint16_t ports[4];
  for (uint16_t &port : ports) port = server.receive<uint16_t>();
  auto buffer = make_buffer(client_memory), later = make_buffer(client_memory);
  Communicator::CtrlLink link;
  link.port = ports[3]; /* its address is the data's */
  Communicator comm(buffer), last(later);
  fill(*buffer, 'l');
  CHECK_OK(comm.connectTo(LOOPBACK, ports[0], connection));
  CHECK_OK(comm.put(LOOPBACK, ports[0], 0, 0, 10));
  CHECK_OK(comm.connectTo(0, 1, LOOPBACK, ports[1], link, connection));
  fill(*buffer, 'r');
  CHECK_OK(comm.put(LOOPBACK, ports[1], 0, 10, 10));
  CHECK_OK(comm.connectTo(LOOPBACK, ports[2], connection));
  CHECK_OK(comm.writeTo(LOOPBACK, 20, 10)); /* the one connected last */
  fill(*buffer, 0);
  server.send('w');
  uint64_t tag;
  CHECK_OK(comm.ctrlRecv(0, &tag));
  CHECK(holds(*buffer, 10, 1, 'r', 0));
  CHECK_OK(last.connectTo(LOOPBACK, ports[1], connection));
  CHECK_OK(comm.ctrlSend(0, 1));
  CHECK_OK(comm.ctrlRecv(0, &tag));
  CHECK(holds(*buffer, 10, 1, 'r', 0));
  CHECK(holds(*later, 11, 2, 'r', 0));
  server.send('q');
  server.join();
}

/* ---- what goes wrong --------------------------------------------------------------------------------------------- */

static void serve_victim(Process &parent) {
  Communicator comm(make_buffer(MemoryType::CPU));
  CHECK_OK(comm.initServer(LOOPBACK, 0));
  parent.send(comm.dataPort());
  parent.receive<char>();
}

static void test_lost_peer(Process &victim) {
  victim.start();
  uint16_t port = victim.receive<uint16_t>();
  auto buffer = make_buffer(client_memory);
  Communicator comm(buffer);
  CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
  CHECK_OK(comm.put(LOOPBACK, port, 0, 0, 1000));
  victim.kill_now();
  check_is_lost(comm);
  CHECK_STATUS(comm.put(LOOPBACK, port, 0, 0, 1000), status_t::PEER_LOST);
  CHECK_STATUS(comm.connectTo(LOOPBACK, port, connection), status_t::NOT_FOUND);
}

/* Disconnecting while other threads put: each call ends with a status that says what happened. */
static void test_threads(Process &server) {
  server.start();
  uint16_t port = server.receive<uint16_t>();
  auto buffer = make_buffer(client_memory);
  Communicator comm(buffer);
  CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < 4; i++)
    threads.emplace_back([&comm, port, i] {
      for (int round = 0; round < 200; round++) {
        uint64_t id;
        status_t status = comm.put(LOOPBACK, port, i * 1000, i * 1000, 1000);
        if (status == status_t::SUCCESS &&
            (status = comm.getNB(LOOPBACK, port, i * 1000, i * 1000, 100, &id)) == status_t::SUCCESS)
          status = comm.wait(id);
        if (status != status_t::NOT_FOUND && last_status() != status_t::CANCELLED)
          CHECK_STATUS(status, status_t::SUCCESS);
      }
    });
  for (int round = 0; round < 5; round++) {
    usleep(2000);
    CHECK_OK(comm.disConnect(LOOPBACK));
    CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
  }
  for (std::thread &thread : threads) thread.join();
  CHECK_OK(comm.put(LOOPBACK, port, 0, 0, SIZE));
  server.send('q');
  server.join();
}

/* Hanging up ends what is in flight: of a thread that waits already, and of one that comes later. A mapped put is
 * through at once. */
static void test_hang_up_in_flight(Process &server) {
  server.start();
  uint16_t port = server.receive<uint16_t>();
  auto buffer = make_buffer(client_memory);
  Communicator comm(buffer);
  CHECK_OK(comm.connectTo(LOOPBACK, port, connection));
  CHECK_OK(comm.put(LOOPBACK, port, 0, 0, 1));
  server.stop();
  uint64_t waited, unwaited;
  CHECK_OK(comm.putNB(LOOPBACK, port, 0, 0, SIZE / 2, &waited));
  CHECK_OK(comm.putNB(LOOPBACK, port, SIZE / 2, SIZE / 2, SIZE / 2, &unwaited));
  status_t ended = status_t::ERROR;
  std::thread waiter([&] {
    ended = comm.wait(waited);
    if (ended == status_t::ERROR) ended = last_status();
  });
  usleep(20000);
  CHECK_OK(comm.disConnect(LOOPBACK, port));
  waiter.join();
  status_t later = comm.wait(unwaited);
  if (connection == ConnType::TCP) {
    CHECK_STATUS(ended, status_t::CANCELLED);
    CHECK_STATUS(later, status_t::CANCELLED);
  }
  CHECK_OK(comm.wait(waited));
  server.resume();
  server.send('q');
  server.join();
}

/* Required connection types that this machine lacks answer with a reason that names them, and nothing falls back. */
static void test_unsupported(Process &server) {
  server.start();
  uint16_t port = server.receive<uint16_t>();
  Communicator comm(make_buffer(MemoryType::CPU));
  const struct {
    ConnType type;
    const char *name;
  } types[] = {{ConnType::UCX, "UCX"}, {ConnType::RDMA, "RDMA"}};
  for (const auto &each : types) {
    char reason[256];
    hmc_connection_type_t type = each.type == ConnType::UCX ? HMC_CONNECTION_UCX : HMC_CONNECTION_RDMA;
    if (hmc_connection_type_probe(type, reason, sizeof reason) == HMC_SUCCESS) {
      CHECK_OK(comm.connectTo(LOOPBACK, port, each.type));
      continue;
    }
    Communicator::CtrlLink link;
    link.port = 1;
    CHECK_STATUS(comm.connectTo(LOOPBACK, port, each.type), status_t::UNSUPPORT);
    CHECK(error_names(each.name));
    CHECK_STATUS(comm.connectTo(0, 1, LOOPBACK, port, link, each.type), status_t::UNSUPPORT);
    CHECK(error_names(each.name));
    CHECK_OK(comm.initServer(LOOPBACK, 0, each.type)); /* its peers choose */
    CHECK_OK(comm.connectTo(LOOPBACK, port));
    CHECK_STATUS(comm.put(LOOPBACK, port, 0, 0, 1, each.type), status_t::NOT_FOUND);
    CHECK(error_names(each.name));
  }
  server.send('q');
  server.join();
}

/* The first failure is also logged, because programs written for the first HMC do not read what connectTo answers. */
static void count_line(hmc_log_level_t level, const char *text, void *user) {
  if (level == HMC_LOG_WARNING && std::strstr(text, "failed: "))
    static_cast<std::vector<std::string> *>(user)->push_back(text);
}

static void test_failure_is_logged_once() {
  std::vector<std::string> lines;
  Communicator comm(make_buffer(client_memory));
  hmc_log_set_callback(count_line, &lines);
  for (int i = 0; i < 3; i++) CHECK_STATUS(comm.connectTo(LOOPBACK, 1, connection), status_t::NOT_FOUND);
  hmc_log_set_callback(nullptr, nullptr); /* has had all by then */
  CHECK(lines.size() == 1 && lines[0].find("connectTo(127.0.0.1, 1) failed: ") != std::string::npos);
}

static void test_without_buffer() {
  Communicator none(nullptr);
  CHECK_STATUS(none.connectTo(LOOPBACK, 1), status_t::INVALID_CONFIG);
  CHECK_STATUS(none.put(LOOPBACK, 1, 0, 0, 1), status_t::INVALID_CONFIG);
  CHECK_STATUS(none.closeServer(), status_t::INVALID_CONFIG);
  Communicator failed(std::make_shared<ConnBuffer>(1000, SIZE, MemoryType::SIM));
  CHECK_STATUS(failed.initServer(LOOPBACK, 0), status_t::NOT_FOUND);
  CHECK_STATUS(failed.writeTo(LOOPBACK, 0, 1), status_t::NOT_FOUND);
  CHECK(error_names("1000"));
}

int main(int argc, char **argv) {
  CHECK(argc == 3);
  connection_name = argv[1];
  connection = !std::strcmp(argv[1], "tcp") ? ConnType::TCP : ConnType::SHM;
  client_memory = !std::strcmp(argv[2], "sim") ? MemoryType::SIM : MemoryType::CPU;
  Environment environment;
  Process second(serve_second), first(serve_first), several(serve_several), victim(serve_victim);
  Process threads(serve_victim), in_flight(serve_victim), unsupported(serve_victim);
  test_second_generation(second);
  test_first_generation(first);
  test_several(several);
  test_lost_peer(victim);
  test_threads(threads);
  test_hang_up_in_flight(in_flight);
  test_unsupported(unsupported);
  test_failure_is_logged_once();
  test_without_buffer();
  return 0;
}
