/* Five hundred ConnBuffers in one process, over the descriptor limit that most systems have, and with as many threads as
 * one. */
#include "check.hpp"

#include <fstream>
#include <string>
#include <sys/resource.h>

using namespace hmc;

static const int COUNT = 500;
static const size_t SIZE = 4096;
static const char *const LOOPBACK = "127.0.0.1";

static int count_threads() {
  std::ifstream status("/proc/self/status");
  std::string word;
  int count = 0;
  while (status >> word)
    if (word == "Threads:") status >> count;
  return count;
}

static std::shared_ptr<ConnBuffer> make_buffer(char value) {
  auto buffer = std::make_shared<ConnBuffer>(0, SIZE, MemoryType::CPU);
  CHECK_OK(buffer->getInitStatus());
  std::vector<char> bytes(SIZE, value);
  CHECK_OK(buffer->writeFromCpu(bytes.data(), SIZE));
  return buffer;
}

static bool holds(ConnBuffer &buffer, char value) {
  std::vector<char> bytes(SIZE);
  CHECK_OK(buffer.readToCpu(bytes.data(), SIZE));
  return bytes == std::vector<char>(SIZE, value);
}

/* Two of one process, whose buffers have the same name, each on a port of its own. */
static void move(std::shared_ptr<ConnBuffer> from, std::shared_ptr<ConnBuffer> to, char value) {
  Communicator server(to), client(from);
  CHECK_OK(server.initServer(LOOPBACK, 0));
  uint16_t port = server.dataPort();
  CHECK_OK(client.connectTo(LOOPBACK, port));
  CHECK_OK(client.put(LOOPBACK, port, 0, 0, SIZE));
  CHECK(holds(*to, value));
}

int main() {
  Environment environment;
  struct rlimit files;
  CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
  files.rlim_cur = 1024;
  CHECK(setrlimit(RLIMIT_NOFILE, &files) == 0);
  std::vector<std::shared_ptr<ConnBuffer>> buffers;
  buffers.push_back(make_buffer('a'));
  int threads = count_threads();
  while (buffers.size() < COUNT) buffers.push_back(make_buffer(static_cast<char>('a' + buffers.size() % 26)));
  CHECK(count_threads() == threads);
  for (int i = 0; i < COUNT; i++) CHECK(holds(*buffers[i], static_cast<char>('a' + i % 26)));
  buffers.resize(COUNT / 2); /* the others go on */
  for (int i = 0; i < 8; i++) move(buffers[i], buffers[i + 100], static_cast<char>('a' + i % 26));
  return 0;
}
