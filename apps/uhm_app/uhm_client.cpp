/* The end that writes, measures and prints. */
#include "options.hpp"

#include "options.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <thread>

using namespace hmc;

/* Says what is being waited for, once it takes longer than a moment. */
class Patience {
public:
  explicit Patience(const std::string &what) : thread_([this, what] { run(what); }) {}

  ~Patience() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      over_ = true;
    }
    changed_.notify_one();
    thread_.join();
  }

private:
  void run(const std::string &what) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(1), [this] { return over_; }))
      std::fprintf(stderr, "uhm_client: waiting for %s\n", what.c_str());
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  bool over_ = false; /* mutex_ */
  std::thread thread_;
};

class Client {
public:
  explicit Client(const Options &options)
      : options_(options), room_(largest(options)),
        buffer_(std::make_shared<ConnBuffer>(options.device, room_, transfer_memory(options))), comm_(buffer_),
        device_(options.device, options.memory) {}

  ~Client() {
    if (block_) static_cast<void>(device_.freeBuffer(block_));
  }

  void connect() {
    const char *remedy = "";
    require(buffer_->getInitStatus(), "the buffer");
    if (options_.mode->is_staged) require(device_.allocateBuffer(&block_, room_), "the device's memory");
    Communicator::CtrlLink link;
    link.ip = options_.ip;
    link.port = options_.control_port;
    std::unique_ptr<Patience> patience(new Patience("uhm_server at " + options_.ip + ", port " +
                                                    std::to_string(options_.port) + ", control port " +
                                                    std::to_string(options_.control_port)));
    status_t status =
        comm_.connectTo(SERVER_RANK, CLIENT_RANK, options_.ip, options_.port, link, connection_type(options_.type));
    if (status == status_t::UNSUPPORT && options_.type == HMC_CONNECTION_RDMA && !options_.is_type_given) {
      tool_fail("not by RDMA: %s", last_error());
      status = comm_.connectTo(SERVER_RANK, CLIENT_RANK, options_.ip, options_.port, link, ConnType::AUTO);
    }
    patience.reset();
    if (status == status_t::TIMEOUT || last_status() == status_t::NOT_FOUND)
      remedy = "start uhm_server first, with the same --mode, --ip, --port and --ctrl-port";
    else if (status == status_t::UNSUPPORT)
      remedy = tool_type_remedy(options_.type);
    require(status, "connecting", remedy);
    begin();
  }

  /* True where all that arrived was right. */
  bool measure() {
    bool is_good = true;
    std::printf("%12s %8s %12s %10s  %s\n", "bytes", "rounds", "seconds", "GB/s", "content");
    for (size_t size : options_.sizes) is_good = measure_size(size) && is_good;
    Command end = {Command::END, mode_number(options_.mode), 0, 0, 0};
    require(control_.sendStruct(SERVER_RANK, end), "telling the server");
    return is_good;
  }

private:
  Reply ask(const Command &command) {
    Reply reply = {};
    require(control_.sendStruct(SERVER_RANK, command), "asking the server");
    require(control_.recvStruct(SERVER_RANK, reply), "the server's answer");
    return reply;
  }

  void begin() {
    Reply reply = ask(Command{Command::BEGIN, mode_number(options_.mode), 0, 0, 0});
    if (!reply.is_good)
      give_up("the server runs mode " + std::string(mode_name(reply.mode)) + ", not " + options_.mode->name +
              ": start both with one --mode");
    if (reply.room < room_)
      give_up("the server takes at most " + std::to_string(reply.room) + " B: start it with a larger --buffer");
    MemoryType here = block_ ? device_.getMemoryType() : buffer_->mem_ops->getMemoryType();
    std::string route = comm_.explain(options_.ip, options_.port);
    std::printf("mode %s, %s memory to %s memory\nroute: ", options_.mode->name,
                hmc_memory_kind_name(static_cast<hmc_memory_kind_t>(here)),
                hmc_memory_kind_name(static_cast<hmc_memory_kind_t>(reply.memory)));
    tool_wrap(stdout, route.substr(0, route.find('\n')).c_str(), 7, 7, tool_columns());
    std::printf("\n");
    std::fflush(stdout);
  }

  [[noreturn]] void give_up(const std::string &why) {
    tool_fail("%s", why.c_str());
    static_cast<void>(control_.sendStruct(SERVER_RANK, Command{Command::END, mode_number(options_.mode), 0, 0, 0}));
    std::exit(EXIT_FAILED);
  }

  bool measure_size(size_t size) {
    const size_t target = 256u << 20;
    size_t rounds = options_.rounds ? options_.rounds : std::min<size_t>(std::max<size_t>(target / size, 3), 1000);
    uint64_t seed = ++last_seed_;
    std::vector<char> bytes = pattern(size, seed);
    if (block_)
      require(device_.copyHostToDevice(block_, bytes.data(), size), "filling the device's memory");
    else
      require(buffer_->writeFromCpu(bytes.data(), size, 0), "filling the buffer");
    transfer(size); /* warms up */
    auto begin = std::chrono::steady_clock::now();
    for (size_t i = 0; i < rounds; i++) transfer(size);
    std::chrono::duration<double> took = std::chrono::steady_clock::now() - begin;
    bool is_good = ask(Command{Command::VERIFY, mode_number(options_.mode), 0, size, seed}).is_good;
    double rate = static_cast<double>(size) * static_cast<double>(rounds) / took.count() / 1e9;
    std::printf("%12zu %8zu %12.9f %10.3f  %s\n", size, rounds, took.count(), rate, is_good ? "verified" : "WRONG");
    std::fflush(stdout);
    return is_good;
  }

  /* Once from the memory here to the memory there, complete when it returns: a step that fails ends the program. */
  void transfer(size_t size) {
    const tool_steps_t steps = {this, load, carry, store};
    tool_mode_move(options_.mode, &steps, size, options_.chunk);
  }

  static hmc_status_t load(void *user, uint64_t offset, uint64_t size) {
    Client *client = static_cast<Client *>(user);
    char *stage = static_cast<char *>(client->buffer_->ptr) + offset;
    const char *device = static_cast<const char *>(client->block_) + offset;
    require(client->device_.copyDeviceToHost(stage, device, size), "copying from the device");
    return HMC_SUCCESS;
  }

  static hmc_status_t carry(void *user, uint64_t offset, uint64_t size) {
    Client *client = static_cast<Client *>(user);
    const Options &options = client->options_;
    require(client->comm_.put(options.ip, options.port, offset, offset, size), "put");
    return HMC_SUCCESS;
  }

  static hmc_status_t store(void *user, uint64_t offset, uint64_t size) {
    Client *client = static_cast<Client *>(user);
    client->ask(Command{Command::COPY, mode_number(client->options_.mode), offset, size, 0});
    return HMC_SUCCESS;
  }

  static size_t largest(const Options &options) {
    size_t room = *std::max_element(options.sizes.begin(), options.sizes.end());
    require_room(options, room);
    return room;
  }

  Options options_;
  size_t room_;
  std::shared_ptr<ConnBuffer> buffer_;
  Communicator comm_;
  CtrlSocketManager &control_ = CtrlSocketManager::instance();
  Memory device_;
  void *block_ = nullptr; /* the device's memory, where the buffer is a stage behind it */
  uint64_t last_seed_ = 0;
};

int main(int argc, char **argv) try {
  Client client(read_options(argc, argv, "uhm_client"));
  client.connect();
  return client.measure() ? EXIT_DONE : EXIT_FAILED;
} catch (const std::runtime_error &error) {
  tool_fail("%s: %s", error.what(), last_error()); /* memory of a kind that does not exist here */
  return EXIT_UNSUPPORTED;
}
