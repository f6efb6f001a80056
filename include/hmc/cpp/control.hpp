/* CtrlSocketManager: small messages between ranks, over TCP or a UNIX socket.
 *
 * A rank names a process on the control channel, so a process has one manager as a rule, instance(); several ranks in
 * one process take a manager each.
 *
 * The address-keyed calls of the first generation (startServer, getCtrlSockFd, sendCtrlInt ...) know no ranks. A side
 * that dials gives both ends of its link a random rank from the upper half of the numbers, and keeps them in dialled_;
 * for an address that was not dialled the channel is asked whose link comes from there. Such dials have a channel of
 * their own, dialler_, so that a program can dial its own server: it gets its own messages back.
 *
 * Locking: mutex_ guards all fields and is not held over a call that can block. A call works on a shared_ptr to its
 * channel, so that closeAll can put a new one in its place at any time. */
#ifndef HMC_CPP_CONTROL_HPP
#define HMC_CPP_CONTROL_HPP

#include <hmc/control.h>
#include <hmc/cpp/status.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <unistd.h>

namespace hmc {
inline namespace v0 {

/* The types that messages of the first generation have. */
enum CtrlMsgType : uint16_t {
  CTRL_INT = HMC_CONTROL_INT,
  CTRL_STRUCT = HMC_CONTROL_STRUCT,
};

/* What is known of a message besides its bytes. */
struct CtrlMsgHeader {
  uint16_t type;   /* CtrlMsgType, or a value of the program's own from 256 on */
  uint16_t flags;  /* as sent */
  uint32_t length; /* bytes of the message */
};

/* What a control call answers: true for success, and the status_t, one of six, with more detail. */
class CtrlResult {
public:
  CtrlResult(status_t status) : status_(status) {}
  operator bool() const { return status_ == status_t::SUCCESS; }
  operator status_t() const { return status(); }
  status_t status() const { return hmc_detail::answer(status_); }

private:
  status_t status_;
};

namespace hmc_detail {

/* A message with flags has a type of its own on the wire, and its type and flags in front of the payload, in
 * little-endian order. */
enum : uint16_t { FLAGGED = 0x10f };
enum : size_t { FLAGGED_HEAD = 4 };

inline hmc_status_t send_flagged(hmc_control_t *control, uint32_t rank, uint16_t type, const void *payload, size_t size,
                                 uint16_t flags) {
  if (!flags || (size && !payload)) { /* which is refused */
    return hmc_control_send(control, rank, type, payload, size, 0);
  }
  std::vector<uint8_t> bytes(FLAGGED_HEAD + size);
  const uint8_t head[FLAGGED_HEAD] = {static_cast<uint8_t>(type), static_cast<uint8_t>(type >> 8),
                                      static_cast<uint8_t>(flags), static_cast<uint8_t>(flags >> 8)};
  std::copy(head, head + FLAGGED_HEAD, bytes.begin());
  if (size) std::memcpy(&bytes[FLAGGED_HEAD], payload, size);
  return hmc_control_send(control, rank, FLAGGED, bytes.data(), bytes.size(), 0);
}

/* A message that was taken from a link. */
struct Incoming {
  uint16_t type = 0, flags = 0;
  std::vector<uint8_t> bytes;

  /* To a program: a number of 64 bits has the type of other numbers there, and its length tells. */
  template <typename Result, typename Header>
  Result give(Result result, Header &header, std::vector<uint8_t> &payload) {
    if (!result) return result;
    header.type = type == HMC_CONTROL_U64 ? static_cast<uint16_t>(HMC_CONTROL_INT) : type;
    header.flags = flags;
    header.length = static_cast<uint32_t>(bytes.size());
    payload.swap(bytes);
    return result;
  }

  status_t give_typed(uint16_t wanted, void *data, size_t size) const {
    bool is_number = wanted == HMC_CONTROL_INT || wanted == HMC_CONTROL_U64;
    bool fits = type == wanted || (is_number && type == HMC_CONTROL_INT);
    if (!fits || bytes.size() != size)
      return fail(status_t::CORRUPT, "the message has type %u and %zu B, not type %u and %zu B", type, bytes.size(),
                  wanted, size);
    std::memcpy(data, bytes.data(), size);
    return status_t::SUCCESS;
  }
};

inline hmc_status_t receive_any(hmc_control_t *control, uint32_t rank, uint64_t timeout_ms, Incoming *message) {
  std::vector<uint8_t> buffer(1024);
  size_t size = 0;
  hmc_status_t status;
  while ((status = hmc_control_receive(control, rank, &message->type, buffer.data(), buffer.size(), &size,
                                       timeout_ms)) == HMC_OUT_OF_RANGE &&
         size > buffer.size())
    buffer.resize(size);
  if (status != HMC_SUCCESS) return status;
  buffer.resize(size);
  if (message->type == FLAGGED && size >= FLAGGED_HEAD) {
    message->type = static_cast<uint16_t>(buffer[0] | buffer[1] << 8);
    message->flags = static_cast<uint16_t>(buffer[2] | buffer[3] << 8);
    buffer.erase(buffer.begin(), buffer.begin() + FLAGGED_HEAD);
  }
  message->bytes.swap(buffer);
  return status;
}

} // namespace hmc_detail

/* The control channel of one rank. Every blocking call ends by the deadline that HMC_TIMEOUT sets (30 s).
 * Threads: any; two threads that receive from one rank each get whole messages.
 * Errors common to all: INVALID_CONFIG (a setting or the secret), TIMEOUT, PEER_LOST, DENIED (the secrets differ). */
class CtrlSocketManager {
public:
  using CtrlId = uint32_t;

  CtrlSocketManager() : is_process_wide_(false) {}
  CtrlSocketManager(const CtrlSocketManager &) = delete;
  CtrlSocketManager &operator=(const CtrlSocketManager &) = delete;

  /* The process's own manager. Lives until the program ends. */
  static CtrlSocketManager &instance() {
    static CtrlSocketManager &manager = *static_cast<CtrlSocketManager *>(
        hmc_state_object("hmc::v0::CtrlSocketManager", []() -> void * { return new CtrlSocketManager(true); }));
    return manager;
  }

  /* Accepts links on a TCP address (bind_ip "": no TCP; port 0: a free one, see tcpPort) and on a UNIX socket (uds_path
   * "": none). Asking again for what is served already is fine. Errors: ADDRESS_IN_USE, INVALID_CONFIG. */
  CtrlResult start(const std::string &bind_ip, uint16_t tcp_port, const std::string &uds_path = "") {
    std::lock_guard<std::mutex> change(server_mutex_);
    for (const Server &server : servers_)
      if (server.ip == bind_ip && server.uds_path == uds_path &&
          (server.asked_port == tcp_port || server.bound_port == tcp_port))
        return status_t::SUCCESS;
    return listen(Server{bind_ip, uds_path, tcp_port, 0});
  }

  /* Stops accepting; links stay. */
  void stop() {
    std::lock_guard<std::mutex> change(server_mutex_);
    std::shared_ptr<hmc_control_t> control = current(control_);
    if (control) hmc_control_stop_listening(control.get());
    std::lock_guard<std::mutex> lock(mutex_);
    servers_.clear();
    is_server_ = false;
  }
  void stopServer() { stop(); }

  /* True between start and stop. */
  bool isServer() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return !servers_.empty();
  }

  /* The same as a field, as the first generation had it; to be read. */
  std::atomic<bool> is_server_{false};

  /* The port of the TCP address that was started last; 0 when there is none. */
  uint16_t tcpPort() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return servers_.empty() ? uint16_t{0} : servers_.back().bound_port;
  }

  /* Links to rank `peer_id`, greeting as `self_id`. Dials until the peer listens or the deadline passes. A link to that
   * rank that exists already is replaced. */
  CtrlResult connectTcp(CtrlId peer_id, const std::string &ip, uint16_t port, CtrlId self_id) {
    return dial(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_control_connect(control, rank, self_id, ip.c_str(), port, nullptr, 0);
    });
  }
  CtrlResult connectUds(CtrlId peer_id, const std::string &uds_path, CtrlId self_id) {
    return dial(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_control_connect(control, rank, self_id, nullptr, 0, uds_path.c_str(), 0);
    });
  }

  /* The customary socket path of a rank in `directory`; "" when it would be too long for a socket address. It names the
   * user, for directories that several share; where a socket has the name that the first HMC gave it, that is taken. */
  static std::string udsPathFor(const std::string &directory, CtrlId id) {
    std::string first = directory;
    if (!first.empty() && first.back() == '/') first.pop_back();
    first += "/hmc_ctrl_rank_" + std::to_string(id) + ".sock";
    if (access(first.c_str(), W_OK) == 0) return first;
    char path[256];
    status_t status = hmc_detail::check(hmc_control_uds_path(directory.c_str(), id, path, sizeof path));
    return status == status_t::SUCCESS ? std::string(path) : std::string();
  }

  /* Sends one message of a type of the program's choice (256 and up are free), and receives the next one of any type.
   * Both wait for the link to come up where the peer can dial this side; else a rank without a link is an ERROR at once.
   * Errors: ERROR (over HMC_CONTROL_MESSAGE_MAX). */
  CtrlResult send(CtrlId peer_id, uint16_t type, const void *payload, size_t size, uint16_t flags = 0) {
    return call(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_detail::send_flagged(control, rank, type, payload, size, flags);
    });
  }
  CtrlResult send(CtrlId peer_id, uint16_t type, const std::vector<uint8_t> &payload) {
    return send(peer_id, type, payload.data(), payload.size());
  }
  CtrlResult recv(CtrlId peer_id, CtrlMsgHeader &header, std::vector<uint8_t> &payload) {
    hmc_detail::Incoming message;
    CtrlResult result = receive(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_detail::receive_any(control, rank, 0, &message);
    });
    return message.give(result, header, payload);
  }

  /* Typed messages. The receiving calls take the next message, and answer ERROR when it is of another type or size
   * (last_status: CORRUPT); it is gone then. */
  CtrlResult sendInt(CtrlId peer_id, int value) {
    return call(peer_id,
                [&](hmc_control_t *control, CtrlId rank) { return hmc_control_send_int(control, rank, value, 0); });
  }
  CtrlResult recvInt(CtrlId peer_id, int *value) { return receive_typed(peer_id, HMC_CONTROL_INT, value, 4, 0); }
  CtrlResult recvInt(CtrlId peer_id, int &value) { return recvInt(peer_id, &value); }

  CtrlResult sendU64(CtrlId peer_id, uint64_t value, uint64_t timeout_ms = 0) {
    return call(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_control_send_u64(control, rank, value, timeout_ms);
    });
  }
  CtrlResult recvU64(CtrlId peer_id, uint64_t *value, uint64_t timeout_ms = 0) {
    return receive_typed(peer_id, HMC_CONTROL_U64, value, 8, timeout_ms);
  }
  CtrlResult recvU64(CtrlId peer_id, uint64_t &value) { return recvU64(peer_id, &value); }

  /* The bytes of a struct as they lie in memory: both ends must have it alike. */
  template <typename T> CtrlResult sendStruct(CtrlId peer_id, const T &object) {
    static_assert(std::is_trivially_copyable<T>::value, "only plain structs travel as bytes");
    return call(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_control_send_struct(control, rank, &object, sizeof object, 0);
    });
  }
  template <typename T> CtrlResult recvStruct(CtrlId peer_id, T &object) {
    static_assert(std::is_trivially_copyable<T>::value, "only plain structs travel as bytes");
    return receive_typed(peer_id, HMC_CONTROL_STRUCT, &object, sizeof object, 0);
  }

  /* Closes the link to one rank; waits on it end with PEER_LOST. */
  void close(CtrlId peer_id) {
    std::shared_ptr<hmc_control_t> control = current(control_);
    if (control) hmc_control_close(control.get(), peer_id);
  }

  /* Closes all links; what is listened on stays so. A call that waits for a link which has yet to come up ends at its
   * own deadline. */
  void closeAll() {
    std::lock_guard<std::mutex> change(server_mutex_);
    std::vector<Server> servers = servers_;
    shut();
    for (const Server &server : servers)
      static_cast<void>(listen(Server{server.ip, server.uds_path, server.bound_port, 0}));
  }

  /* The first generation: keyed by the peer's address. Where several links lead to an address, the one dialled last is
   * meant, else the oldest. The calls wait for a link from that address to come up. */
  CtrlResult startServer(const std::string &bind_ip, uint16_t port) { return start(bind_ip, port); }

  /* Dials, until the peer listens or the deadline passes, unless there is a live link to that address and port. Gives
   * its socket, for poll() only, or -1. */
  int getCtrlSockFd(const std::string &ip, uint16_t port) {
    std::shared_ptr<hmc_control_t> control;
    if (open(dialler_, &control) != status_t::SUCCESS) return -1;
    Dialled link = {ip, port, random_rank(), random_rank()};
    const char *transport;
    bool is_known = find_dialled(ip, port, &link);
    if (!is_known || hmc_control_transport(control.get(), link.peer, &transport) != HMC_SUCCESS) {
      hmc_status_t status = hmc_control_connect(control.get(), link.peer, link.self, ip.c_str(), port, nullptr, 0);
      if (hmc_detail::check(status) != status_t::SUCCESS) return -1;
      std::lock_guard<std::mutex> lock(mutex_);
      if (!is_known) dialled_.push_back(link);
    }
    int descriptor = -1;
    if (hmc_detail::check(hmc_control_socket(control.get(), link.peer, &descriptor)) != status_t::SUCCESS) return -1;
    return descriptor;
  }

  CtrlResult sendCtrlInt(const std::string &ip, int value) {
    return call(ip, [&](hmc_control_t *control, CtrlId rank) { return hmc_control_send_int(control, rank, value, 0); });
  }
  CtrlResult recvCtrlInt(const std::string &ip, int &value) { return receive_typed(ip, HMC_CONTROL_INT, &value, 4, 0); }
  CtrlResult sendCtrlMsg(const std::string &ip, CtrlMsgType type, const void *payload, size_t size,
                         uint16_t flags = 0) {
    return call(ip, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_detail::send_flagged(control, rank, type, payload, size, flags);
    });
  }
  CtrlResult recvCtrlMsg(const std::string &ip, CtrlMsgHeader &header, std::vector<uint8_t> &payload) {
    hmc_detail::Incoming message;
    CtrlResult result = receive(
        ip, [&](hmc_control_t *control, CtrlId rank) { return hmc_detail::receive_any(control, rank, 0, &message); });
    return message.give(result, header, payload);
  }
  template <typename T> CtrlResult sendCtrlStruct(const std::string &ip, const T &object) {
    static_assert(std::is_trivially_copyable<T>::value, "only plain structs travel as bytes");
    return call(ip, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_control_send_struct(control, rank, &object, sizeof object, 0);
    });
  }
  template <typename T> CtrlResult recvCtrlStruct(const std::string &ip, T &object) {
    static_assert(std::is_trivially_copyable<T>::value, "only plain structs travel as bytes");
    return receive_typed(ip, HMC_CONTROL_STRUCT, &object, sizeof object, 0);
  }

  /* Closes the links to and from an address. */
  void closeConnection(const std::string &ip) {
    Dialled link;
    std::shared_ptr<hmc_control_t> dialler = current(dialler_), control = current(control_);
    while (find_dialled(ip, 0, &link)) {
      hmc_control_close(dialler.get(), link.peer);
      forget_dialled(link);
    }
    std::set<CtrlId> closed;
    CtrlId rank;
    while (control && hmc_control_find(control.get(), ip.c_str(), 1, &rank) == HMC_SUCCESS &&
           closed.insert(rank).second)
      hmc_control_close(control.get(), rank);
  }

private:
  friend class Communicator;

  struct Server {
    std::string ip, uds_path;
    uint16_t asked_port, bound_port;
  };

  struct Dialled {
    std::string ip;
    uint16_t port;
    CtrlId peer, self; /* what each end calls the other: we the peer, the peer us */
  };

  /* Ends the process's own manager when the program ends, and before the libraries that it stands on: these have made
   * ready to end themselves when its first channel was made, and what was made ready later comes sooner. */
  struct AtExit {
    ~AtExit() { instance().shut(); }
  };

  explicit CtrlSocketManager(bool is_process_wide) : is_process_wide_(is_process_wide) {}

  /* Under server_mutex_. */
  status_t listen(Server server) {
    std::shared_ptr<hmc_control_t> control;
    status_t status = open(control_, &control);
    if (status != status_t::SUCCESS) return status;
    std::vector<Server> changed = servers_;
    const char *ip = server.ip.empty() ? nullptr : server.ip.c_str();
    const char *uds_path = server.uds_path.empty() ? nullptr : server.uds_path.c_str();
    status = hmc_detail::check(hmc_control_listen(control.get(), ip, server.asked_port, uds_path, &server.bound_port));
    if (status != status_t::SUCCESS) return status;
    changed.push_back(std::move(server));
    std::lock_guard<std::mutex> lock(mutex_);
    servers_.swap(changed);
    is_server_ = true;
    return status_t::SUCCESS;
  }

  /* Closes all links, and the channels with them when the last call that uses them ends. Links that no call has
   * named can only be closed so. */
  void shut() {
    std::shared_ptr<hmc_control_t> control, dialler;
    std::set<CtrlId> ranks;
    std::vector<Dialled> dialled;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      control.swap(control_);
      dialler.swap(dialler_);
      ranks.swap(ranks_);
      dialled.swap(dialled_);
      servers_.clear();
      is_server_ = false;
    }
    if (control) hmc_control_stop_listening(control.get());
    for (CtrlId rank : ranks) hmc_control_close(control.get(), rank);
    for (const Dialled &link : dialled) hmc_control_close(dialler.get(), link.peer);
  }

  std::shared_ptr<hmc_control_t> current(const std::shared_ptr<hmc_control_t> &channel) const {
    std::lock_guard<std::mutex> lock(mutex_);
    return channel;
  }

  /* One of the two channels, made when it is first needed. */
  status_t open(std::shared_ptr<hmc_control_t> &channel, std::shared_ptr<hmc_control_t> *opened) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!channel) {
      hmc_control_t *created = nullptr;
      status_t status = hmc_detail::check(hmc_control_create(&created));
      if (status != status_t::SUCCESS) return status;
      channel.reset(created, hmc_control_destroy);
      if (is_process_wide_) static AtExit at_exit;
    }
    *opened = channel;
    return status_t::SUCCESS;
  }

  /* Does an operation on the link to a rank. Where there is none, and nobody can dial this side, it fails at once. */
  template <typename Operation> CtrlResult call(CtrlId peer_id, Operation operation) {
    return dial(peer_id, [&](hmc_control_t *control, CtrlId rank) {
      const char *transport;
      if (!isServer() && hmc_control_transport(control, rank, &transport) == HMC_NOT_FOUND) return HMC_NOT_FOUND;
      return operation(control, rank);
    });
  }

  /* The same for what makes the link. */
  template <typename Operation> CtrlResult dial(CtrlId peer_id, Operation operation) {
    std::shared_ptr<hmc_control_t> control;
    status_t status = open(control_, &control);
    if (status != status_t::SUCCESS) return status;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ranks_.insert(peer_id);
    }
    return hmc_detail::check(operation(control.get(), peer_id));
  }

  /* Does an operation on the link that an address stands for. What one sends to one's own server arrives there, from
   * the rank that the dialling end gave itself. */
  template <typename Operation> CtrlResult call(const std::string &ip, Operation operation, bool is_receiving = false) {
    std::shared_ptr<hmc_control_t> control, dialler;
    status_t status = open(control_, &control);
    if (status != status_t::SUCCESS) return status;
    Dialled link;
    if (find_dialled(ip, 0, &link)) {
      const char *transport;
      if (is_receiving && hmc_control_transport(control.get(), link.self, &transport) == HMC_SUCCESS)
        return call(link.self, operation);
      status = open(dialler_, &dialler);
      return status == status_t::SUCCESS ? hmc_detail::check(operation(dialler.get(), link.peer)) : status;
    }
    CtrlId rank;
    status = hmc_detail::check(hmc_control_find(control.get(), ip.c_str(), isServer() ? 0 : 1, &rank));
    return status == status_t::SUCCESS ? call(rank, operation) : CtrlResult(status);
  }

  template <typename Operation> CtrlResult receive(CtrlId peer_id, Operation operation) {
    return note_received(call(peer_id, operation));
  }
  template <typename Operation> CtrlResult receive(const std::string &ip, Operation operation) {
    return note_received(call(ip, operation, true));
  }

  template <typename Key>
  CtrlResult receive_typed(const Key &key, uint16_t type, void *data, size_t size, uint64_t timeout_ms) {
    if (!data) return hmc_detail::fail(status_t::INVALID_CONFIG, "no place given for %zu B of a message", size);
    hmc_detail::Incoming message;
    CtrlResult result = receive(key, [&](hmc_control_t *control, CtrlId rank) {
      return hmc_detail::receive_any(control, rank, timeout_ms, &message);
    });
    return result ? CtrlResult(message.give_typed(type, data, size)) : result;
  }

  CtrlResult note_received(CtrlResult result) {
    if (result) received_.fetch_add(1);
    return result;
  }

  /* The link dialled last to an address; port 0: any. */
  bool find_dialled(const std::string &ip, uint16_t port, Dialled *link) const {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = dialled_.size(); i-- > 0;)
      if (dialled_[i].ip == ip && (!port || dialled_[i].port == port)) {
        *link = dialled_[i];
        return true;
      }
    return false;
  }

  void forget_dialled(const Dialled &link) {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = 0; i < dialled_.size(); i++)
      if (dialled_[i].peer == link.peer) {
        dialled_.erase(dialled_.begin() + static_cast<std::ptrdiff_t>(i));
        return;
      }
  }

  /* Ranks that no program numbers its processes with. Two of a thousand clients of one server get the same one with a
   * probability of about 1 in 4000. */
  static CtrlId random_rank() {
    static std::atomic<uint64_t> &count = *static_cast<std::atomic<uint64_t> *>(
        hmc_state_object("hmc::v0::random_rank", []() -> void * { return new std::atomic<uint64_t>{0}; }));
    uint64_t mixed = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
    mixed ^= reinterpret_cast<uintptr_t>(&count) ^ (static_cast<uint64_t>(getpid()) << 32);
    mixed += count.fetch_add(1) * 0x9e3779b97f4a7c15u;
    mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9u; /* the finalizer of splitmix64 */
    mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111ebu;
    return static_cast<CtrlId>(mixed >> 32) | 0x80000000u;
  }

  const bool is_process_wide_;
  std::mutex server_mutex_; /* starting and stopping, one after another; taken before mutex_ */
  mutable std::mutex mutex_;
  std::shared_ptr<hmc_control_t> control_, dialler_;
  std::vector<Server> servers_; /* read under either mutex, changed under both */
  std::vector<Dialled> dialled_;
  std::set<CtrlId> ranks_; /* that calls have named since the last closeAll */
  std::atomic<uint64_t> received_{0};
};

} // namespace v0
} // namespace hmc
#endif
