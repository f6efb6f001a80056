/* The end that is written to. It serves one client of its mode and ends with it. */
#include "options.hpp"

#include <unistd.h>

using namespace hmc;

class Server {
public:
  explicit Server(const Options &options)
      : options_(options),
        buffer_(std::make_shared<ConnBuffer>(options.device, options.buffer, transfer_memory(options))), comm_(buffer_),
        device_(options.device, options.memory) {}

  ~Server() {
    if (block_) static_cast<void>(device_.freeBuffer(block_));
  }

  void listen() {
    char reason[512];
    require(buffer_->getInitStatus(), "the buffer");
    if (options_.mode->is_staged) require(device_.allocateBuffer(&block_, options_.buffer), "the device's memory");
    /* A server serves whatever way its clients choose; this one was asked for one that must work. */
    status_t status = static_cast<status_t>(hmc_connection_type_probe(options_.type, reason, sizeof reason));
    if (status != status_t::SUCCESS) {
      tool_fail("listening: %s: %s", reason, tool_type_remedy(options_.type));
      std::exit(EXIT_UNSUPPORTED);
    }
    status = comm_.initServer(options_.ip, options_.port, options_.control_port, "", connection_type(options_.type));
    const char *remedy = "";
    if (last_status() == status_t::ADDRESS_IN_USE)
      remedy = "choose other ports with --port and --ctrl-port (0: a free one)";
    require(status, "listening", remedy);
    std::printf("mode %s, %s memory: listening on %s, port %u, control port %u\n", options_.mode->name, memory_name(),
                options_.ip.c_str(), comm_.dataPort(), comm_.ctrlPort());
    std::fflush(stdout);
  }

  /* Does what the client asks for until it says that it is done. */
  void serve() {
    Command command = {};
    while (receive(&command)) {
      Reply reply = {1, mode_number(options_.mode), options_.buffer, static_cast<uint32_t>(memory().getMemoryType())};
      if (command.kind == Command::BEGIN) {
        is_served_ = command.mode == mode_number(options_.mode);
        reply.is_good = is_served_;
        if (!is_served_)
          tool_fail("a client of mode %s was turned away; this server goes on in mode %s", mode_name(command.mode),
                    options_.mode->name);
      } else if (command.kind == Command::COPY)
        copy(command.offset, command.size);
      else
        reply.is_good = holds(command.size, command.seed);
      require(control_.sendStruct(CLIENT_RANK, reply), "answering the client");
    }
    std::printf("done\n");
  }

private:
  const Memory &memory() const { return options_.mode->is_staged ? device_ : *buffer_->mem_ops; }
  const char *memory_name() const {
    return hmc_memory_kind_name(static_cast<hmc_memory_kind_t>(memory().getMemoryType()));
  }

  /* False when the client is through. It may be long in coming, and busy for long; one of another mode does not count. */
  bool receive(Command *command) {
    for (;;) {
      status_t status = control_.recvStruct(CLIENT_RANK, *command);
      bool is_gone = status != status_t::SUCCESS && status != status_t::TIMEOUT;
      if (is_gone && is_served_) require(status, "waiting for the client");
      if (is_gone) usleep(10000); /* until another one comes */
      if (status != status_t::SUCCESS) continue;
      if (command->kind != Command::END) return true;
      if (is_served_) return false;
    }
  }

  /* From the stage that the client has written to. */
  void copy(uint64_t offset, uint64_t size) {
    if (offset > options_.buffer || size > options_.buffer - offset) {
      std::exit(tool_fail("the client asks for bytes past the buffer"));
    }
    const char *stage = static_cast<const char *>(buffer_->ptr) + offset;
    require(device_.copyHostToDevice(static_cast<char *>(block_) + offset, stage, size), "copying to the device");
  }

  bool holds(uint64_t size, uint64_t seed) {
    if (size > options_.buffer) return false;
    std::vector<char> bytes(size);
    if (block_)
      require(device_.copyDeviceToHost(bytes.data(), block_, size), "copying from the device");
    else
      require(buffer_->readToCpu(bytes.data(), size, 0), "reading the buffer");
    return bytes == pattern(size, seed);
  }

  Options options_;
  std::shared_ptr<ConnBuffer> buffer_;
  Communicator comm_;
  CtrlSocketManager &control_ = CtrlSocketManager::instance();
  Memory device_;
  bool is_served_ = false; /* a client of this mode is there */
  void *block_ = nullptr;  /* the device's memory, where the buffer is a stage before it */
};

int main(int argc, char **argv) try {
  Options options = read_options(argc, argv, "uhm_server");
  require_room(options, options.buffer);
  Server server(options);
  server.listen();
  server.serve();
  return EXIT_DONE;
} catch (const std::runtime_error &error) {
  tool_fail("%s: %s", error.what(), last_error()); /* memory of a kind that does not exist here */
  return EXIT_UNSUPPORTED;
}
