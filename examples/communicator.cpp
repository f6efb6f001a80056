// The C++ face: a Communicator over one buffer. The owner's buffer is written by the other one while it does nothing;
// then both take part in one transfer of memory that is not a buffer.
#include <hmc.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

using namespace hmc;

static const size_t size = 1 << 20;
static const std::string ip = "127.0.0.1";

static void check(status_t status) {
  if (status == status_t::SUCCESS) return;
  std::fprintf(stderr, "%s: %s\n", status_to_string(last_status()), last_error());
  std::exit(1);
}

static void own() {
  auto buffer = std::make_shared<ConnBuffer>(0, size, MemoryType::CPU);
  check(buffer->getInitStatus());
  Communicator comm(buffer);
  check(comm.initServer(ip, 0));
  std::printf("waiting on port %u\n", comm.dataPort());
  std::fflush(stdout);

  std::vector<char> list(100);
  size_t came = 0;
  check(comm.recvDataFrom(ip, list.data(), list.size(), MemoryType::CPU, &came)); // waits for the sender
  char text[6] = "";
  check(buffer->readToCpu(text, 5, 4096)); // what was put before is there
  std::printf("received %zu B; the buffer says: %s\n", came, text);
}

static void visit(uint16_t port) {
  auto buffer = std::make_shared<ConnBuffer>(0, size, MemoryType::CPU);
  check(buffer->getInitStatus());
  Communicator comm(buffer);
  check(comm.connectTo(ip, port));
  check(buffer->writeFromCpu("hello", 5, 0));
  check(comm.put(ip, port, 0, 4096, 5)); // local offset, remote offset, size

  std::vector<char> list(42, 'x');
  check(comm.sendDataTo(ip, port, list.data(), list.size(), MemoryType::CPU)); // returns when the receiver has it
  std::printf("sent %zu B\n", list.size());
  check(comm.disConnect(ip, port));
}

int main(int argc, char **argv) {
  if (argc < 2) {
    own();
    return 0;
  }
  char *end;
  long port = std::strtol(argv[1], &end, 10);
  if (*end || port < 1 || port > UINT16_MAX) {
    std::fprintf(stderr, "'%s' is not a port: the owner, started without an argument, prints its own\n", argv[1]);
    return 2;
  }
  visit(static_cast<uint16_t>(port));
  return 0;
}
