/* CtrlSocketManager: both generations of its calls, several ranks in one process, and two processes. */
#include "check.hpp"

#include <poll.h>
#include <thread>

using namespace hmc;

struct Point {
  int x;
  double y;
};

struct Other {
  char bytes[40];
};

static const char *const LOOPBACK = "127.0.0.1";

/* Rank 0 serves, rank 1 dials. */
static void exchange(CtrlSocketManager &server, CtrlSocketManager &client) {
  int number = 0;
  uint64_t large = 0;
  Point point = {0, 0};
  CHECK(client.sendInt(0, -5));
  CHECK(client.sendU64(0, UINT64_MAX));
  CHECK(client.sendStruct(0, Point{3, 0.5}));
  CHECK(server.recvInt(1, number) && number == -5);
  CHECK(server.recvU64(1, &large) && large == UINT64_MAX);
  CHECK(server.recvStruct(1, point) && point.x == 3 && point.y == 0.5);

  /* The wrong type leaves the object; the message is gone. */
  CHECK(server.sendInt(1, 77));
  CHECK_STATUS(client.recvU64(0, large), status_t::CORRUPT);
  CHECK(large == UINT64_MAX);
  Other other;
  CHECK(server.sendStruct(1, point));
  CHECK_STATUS(client.recvStruct(0, other), status_t::CORRUPT);
  CHECK(server.sendInt(1, 78) && client.recvInt(0, &number) && number == 78);

  /* Messages of any type and size. */
  CtrlMsgHeader header = {0, 0, 0};
  std::vector<uint8_t> payload, big(300000);
  for (size_t i = 0; i < big.size(); i++) big[i] = static_cast<uint8_t>(i * 7);
  std::thread sender([&] {
    CHECK(client.send(0, 300, big));
    CHECK(client.send(0, 256, nullptr, 0));
    CHECK(client.sendInt(0, 1));
  });
  CHECK(server.recv(1, header, payload));
  CHECK(header.type == 300 && header.length == big.size() && payload == big);
  CHECK(server.recv(1, header, payload) && header.type == 256 && payload.empty());
  CHECK(server.recv(1, header, payload) && header.type == CTRL_INT && header.length == 4);
  sender.join();
}

static void test_ranks() {
  CtrlSocketManager server, client;
  std::string path = CtrlSocketManager::udsPathFor(Environment::home(), 0);
  CHECK(!path.empty() && CtrlSocketManager::udsPathFor(Environment::home(), 1) != path);
  CHECK(CtrlSocketManager::udsPathFor(std::string(500, 'x'), 1).empty());
  CHECK(!server.isServer() && server.tcpPort() == 0);
  CHECK(server.start(LOOPBACK, 0, path));
  uint16_t port = server.tcpPort();
  CHECK(server.isServer() && port);
  CHECK(server.start(LOOPBACK, port, path)); /* again */

  CHECK(client.connectTcp(0, LOOPBACK, port, 1));
  exchange(server, client);
  CHECK(client.connectUds(0, path, 1));
  exchange(server, client);

  client.close(0);
  int number;
  CHECK_STATUS(server.recvInt(1, number), status_t::PEER_LOST);
  server.stop();
  CHECK(!server.isServer() && access(path.c_str(), F_OK) != 0);
}

static void test_results() {
  CtrlSocketManager server, client;
  CHECK(server.start(LOOPBACK, 0));
  CHECK(client.connectTcp(0, LOOPBACK, server.tcpPort(), 1));
  bool is_sent = client.sendInt(0, 1);
  status_t status = client.sendInt(0, 2);
  CHECK(is_sent && status == status_t::SUCCESS && client.sendInt(0, 3) == status_t::SUCCESS);

  CtrlSocketManager second;
  CtrlResult taken = second.start(LOOPBACK, server.tcpPort());
  CHECK(!taken && taken == status_t::ERROR && last_status() == status_t::ADDRESS_IN_USE && !second.isServer());
  CHECK(last_error()[0]);
}

/* Nobody links: the call ends at the deadline, or at once where nobody can. */
static void test_deadline() {
  setenv("HMC_TIMEOUT", "150ms", 1);
  CtrlSocketManager lonely;
  int number = 6;
  CHECK_STATUS(lonely.recvInt(9, number), status_t::NOT_FOUND);
  CHECK(lonely.start(LOOPBACK, 0));
  CHECK_STATUS(lonely.recvInt(9, number), status_t::TIMEOUT);
  CHECK_STATUS(lonely.sendCtrlInt(LOOPBACK, 1), status_t::TIMEOUT);
  CHECK(number == 6);
  unsetenv("HMC_TIMEOUT");
}

/* A program that dials its own server gets its own messages back. */
static void test_own_server() {
  CtrlSocketManager &manager = CtrlSocketManager::instance();
  CHECK(&manager == &CtrlSocketManager::instance());
  CHECK(manager.startServer("0.0.0.0", 0));
  int descriptor = manager.getCtrlSockFd(LOOPBACK, manager.tcpPort());
  CHECK(descriptor >= 0 && manager.getCtrlSockFd(LOOPBACK, manager.tcpPort()) == descriptor);
  for (int i = 0; i < 3; i++) {
    int value = 0;
    Point point = {0, 0};
    CHECK(manager.sendCtrlInt(LOOPBACK, 42 + i));
    CHECK(manager.sendCtrlStruct(LOOPBACK, Point{i, 1.5}));
    CHECK(manager.recvCtrlInt(LOOPBACK, value) && value == 42 + i);
    CHECK(manager.recvCtrlStruct(LOOPBACK, point) && point.x == i && point.y == 1.5);
  }
  manager.closeConnection(LOOPBACK);
  manager.closeConnection("192.0.2.1");
  CHECK(manager.getCtrlSockFd(LOOPBACK, manager.tcpPort()) >= 0);
  manager.closeAll();
  manager.stop();
}

/* closeAll ends the links and the waits on them, and leaves the server up. */
static void test_close_all() {
  CtrlSocketManager server, first, second;
  CHECK(server.start(LOOPBACK, 0));
  uint16_t port = server.tcpPort();
  CHECK(first.connectTcp(0, LOOPBACK, port, 1));
  CHECK(second.connectTcp(0, LOOPBACK, port, 2));
  int number;
  CHECK(first.sendInt(0, 1));
  CHECK(server.recvInt(1, number));
  std::thread receiver([&] { CHECK_STATUS(server.recvInt(1, number), status_t::PEER_LOST); });
  usleep(20000);
  server.closeAll();
  receiver.join();
  CHECK(server.isServer() && server.tcpPort() == port);
  CHECK_STATUS(first.recvInt(0, number), status_t::PEER_LOST);
  CHECK_STATUS(second.recvInt(0, number), status_t::PEER_LOST); /* a link that rank 0 never used */
  CHECK(first.connectTcp(0, LOOPBACK, port, 1));
  CHECK(first.sendInt(0, 8) && server.recvInt(1, number) && number == 8);
}

/* Keyed by address, as two programs of the first generation use it. */
static void serve_first_generation(Process &parent) {
  CtrlSocketManager &manager = CtrlSocketManager::instance();
  CHECK(manager.startServer(LOOPBACK, 0));
  parent.send(manager.tcpPort());
  int value = 0;
  Point point;
  CHECK(manager.recvCtrlInt(LOOPBACK, value) && value == 42);
  CHECK(manager.sendCtrlInt(LOOPBACK, 43));
  CHECK(manager.recvCtrlStruct(LOOPBACK, point) && point.x == 9);
  CHECK(manager.sendCtrlStruct(LOOPBACK, point));
  parent.receive<char>();
}

static void test_two_processes() {
  Process server(serve_first_generation);
  server.start();
  CtrlSocketManager client;
  int descriptor = client.getCtrlSockFd(LOOPBACK, server.receive<uint16_t>());
  CHECK(descriptor >= 0);
  CHECK(client.sendCtrlInt(LOOPBACK, 42));
  struct pollfd ready = {descriptor, POLLIN, 0};
  CHECK(poll(&ready, 1, 20000) == 1);
  int value = 0;
  Point point = {0, 0};
  CHECK(client.recvCtrlInt(LOOPBACK, value) && value == 43);
  CHECK(client.sendCtrlStruct(LOOPBACK, Point{9, 9}));
  CHECK(client.recvCtrlStruct(LOOPBACK, point) && point.x == 9);
  server.send('q');
  server.join();
  CHECK_STATUS(client.recvCtrlInt(LOOPBACK, value), status_t::PEER_LOST);
}

/* Clients of the first generation have no ranks, and still do not take each other's place. */
static void test_several_clients() {
  CtrlSocketManager server, first, second;
  CHECK(server.startServer(LOOPBACK, 0));
  CHECK(first.getCtrlSockFd(LOOPBACK, server.tcpPort()) >= 0);
  CHECK(second.getCtrlSockFd(LOOPBACK, server.tcpPort()) >= 0);
  int value = 0;
  CHECK(server.sendCtrlInt(LOOPBACK, 5)); /* to the oldest */
  CHECK(first.recvCtrlInt(LOOPBACK, value) && value == 5);
  first.closeConnection(LOOPBACK);
  CHECK(second.sendCtrlInt(LOOPBACK, 6));
}

int main() {
  Environment environment;
  test_two_processes(); /* first: it forks */
  test_ranks();
  test_results();
  test_deadline();
  test_own_server();
  test_close_all();
  test_several_clients();
  return 0;
}
