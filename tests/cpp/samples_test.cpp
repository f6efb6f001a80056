/* Runs a sample of the seed documents as it was written, but for its addresses, against a server of this process.
 *
 * usage: samples PROGRAM memory | control | first TYPE | second TYPE
 *
 * `first` and `second` are the generations of Communicator, TYPE the connection that the sample requires. Where the
 * machine cannot have it, the sample must end well all the same, and nothing may arrive. */
#include "check.hpp"
#include "port.h"

#include <algorithm>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>

using namespace hmc;

static const char *const LOOPBACK = "127.0.0.1";

/* What a sample finds in its environment before ours: setenv() here would change what the server's thread may read. */
static std::vector<std::string> ports;

/* Runs the sample to its good end; gives what it printed. */
static std::string run(const char *program) {
  int output[2];
  CHECK(pipe(output) == 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  posix_spawn_file_actions_addclose(&actions, output[0]);
  pid_t process;
  std::string name = program;
  char *arguments[] = {&name[0], nullptr};
  std::vector<char *> variables;
  variables.reserve(ports.size());
  for (std::string &port : ports) variables.push_back(&port[0]);
  for (char **variable = environ; *variable; variable++) variables.push_back(*variable);
  variables.push_back(nullptr);
  CHECK(posix_spawn(&process, program, &actions, nullptr, arguments, variables.data()) == 0);
  posix_spawn_file_actions_destroy(&actions);
  close(output[1]);
  std::string printed;
  char bytes[512];
  for (ssize_t size; (size = read(output[0], bytes, sizeof bytes)) > 0;)
    printed.append(bytes, static_cast<size_t>(size));
  close(output[0]);
  int status = 0;
  CHECK(waitpid(process, &status, 0) == process);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  return printed;
}

static void set_port(const char *name, uint16_t port) {
  ports.push_back(std::string(name) + '=' + std::to_string(port));
}

/* True where the buffer starts with `size` bytes of one value, and all others are as the server left them. */
static bool holds(ConnBuffer &buffer, size_t size, char value) {
  std::vector<char> bytes(buffer.buffer_size), expected(buffer.buffer_size, '\xff');
  OrderUnseen unseen;
  CHECK_OK(buffer.readToCpu(bytes.data(), bytes.size()));
  std::fill_n(expected.begin(), size, value);
  return bytes == expected;
}

static void run_communicator(const char *program, bool is_second, const std::string &type) {
  auto buffer = std::make_shared<ConnBuffer>(0, 1 << 20, MemoryType::CPU);
  std::vector<char> before(buffer->buffer_size, '\xff');
  CHECK_OK(buffer->writeFromCpu(before.data(), before.size()));
  Communicator server(buffer);
  CHECK_OK(server.initServer(LOOPBACK, 0, 0));
  set_port("SEED_DATA_PORT", server.dataPort());
  set_port("SEED_CTRL_PORT", server.ctrlPort());
  CHECK(run(program).empty());

  hmc_connection_type_t required;
  bool arrives = hmc_connection_type_parse(type.c_str(), &required) == HMC_SUCCESS &&
                 hmc_connection_type_probe(required, nullptr, 0) == HMC_SUCCESS;
  CHECK(holds(*buffer, !arrives ? 0 : is_second ? 1024 : 4096, is_second ? 'A' : 0));
  uint64_t tag;
  if (is_second && arrives) /* it linked as rank 1, and went */
    CHECK_STATUS(server.ctrlRecv(1, &tag), status_t::PEER_LOST);
}

int main(int argc, char **argv) {
  CHECK(argc >= 3);
  Environment environment;
  std::string what = argv[2];
  if (what == "memory") {
    CHECK(run(argv[1]).empty());
  } else if (what == "control") {
    set_port("SEED_CTRL_PORT", free_port(AF_INET));
    CHECK(run(argv[1]) == "Received control value: 42\n");
  } else {
    CHECK(argc == 4 && (what == "first" || what == "second"));
    run_communicator(argv[1], what == "second", argv[3]);
  }
  return 0;
}
