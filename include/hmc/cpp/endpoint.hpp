/* What lies under ConnBuffer and Communicator: one context, its listeners and its peers. Not for programs.
 *
 * A ConnBuffer has an Endpoint to itself, and its memory is the one region of that context which peers can open, named
 * "hmc.buffer". So a program that connects to a port of a Communicator, or was connected to from one, means its buffer by that
 * name, however many buffers and Communicators the process has; nothing else need be exchanged. A context for each
 * buffer also lets the buffer be allocated by the context, before any Communicator is there, which is what lets peers
 * on the same host map it.
 *
 * Several Communicators may share a buffer, and then its Endpoint. Each is an `owner` here: it sees the peers it
 * dialled, and all share those that dialled in.
 *
 * Locking: peers_, listeners_ and was_listening_ belong to mutex_, which is never held over a call that can block on
 * the network; listen_mutex_ makes changes of the listeners one after another and is taken first. */
#ifndef HMC_CPP_ENDPOINT_HPP
#define HMC_CPP_ENDPOINT_HPP

#include <hmc/context.h>
#include <hmc/cpp/mailbox.hpp>
#include <hmc/cpp/status.hpp>
#include <hmc/operation.h>
#include <hmc/region.h>
#include <hmc/settings.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace hmc {
inline namespace v0 {
namespace hmc_detail {

inline const char *buffer_region_name() { return "hmc.buffer"; }

struct CloseHandle {
  void operator()(hmc_context_t *context) const { hmc_context_destroy(context); }
  void operator()(hmc_region_t *region) const { hmc_region_close(region); }
  void operator()(hmc_peer_t *peer) const { hmc_peer_close(peer); }
};

/* What a thread that waits here asks now and then: true ends the wait with CANCELLED. For bindings of languages that
 * handle signals by themselves; NULL, as it is at first: nothing is asked. One for each thread. */
using StopCheck = bool (*)();

inline StopCheck &stop_check() { return hmc_state_of_thread()->stop; }

inline bool is_stopped() { return stop_check() && stop_check()(); }

/* Waits for a request, and cancels it where is_stopped() says so. */
inline hmc_status_t wait_or_stop(hmc_request_t *request) {
  if (!stop_check()) return hmc_request_wait(request);
  hmc_status_t status;
  do {
    status = hmc_request_wait_for(request, 20);
  } while (status == HMC_IN_PROGRESS && !is_stopped());
  return status == HMC_IN_PROGRESS ? hmc_request_cancel(request) : status;
}

inline hmc_status_t finish_setup(hmc_request_t *request) {
  hmc_status_t status = wait_or_stop(request);
  hmc_request_free(request);
  return status;
}

/* hmc_context_connect and hmc_remote_open, which block the thread in C where nothing is to be asked meanwhile. */
inline hmc_status_t connect_peer(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                                 hmc_peer_t **peer) {
  if (!stop_check()) return hmc_context_connect(context, ip, port, type, 0, peer);
  hmc_request_t *request = nullptr;
  hmc_status_t status = hmc_context_connect_nb(context, ip, port, type, nullptr, peer, &request);
  return status == HMC_SUCCESS ? finish_setup(request) : status;
}

inline hmc_status_t open_remote(hmc_peer_t *peer, const char *name, uint64_t timeout_ms, hmc_remote_t **remote) {
  if (!stop_check()) return hmc_remote_open(peer, name, timeout_ms, remote);
  hmc_request_t *request = nullptr;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = timeout_ms;
  hmc_status_t status = hmc_remote_open_nb(peer, name, &options, remote, &request);
  return status == HMC_SUCCESS ? finish_setup(request) : status;
}

/* Without the prefix that an IPv4 address has on an IPv6 socket. */
inline std::string plain_ip(const std::string &ip) {
  return ip.compare(0, 7, "::ffff:") == 0 && ip.find('.') != std::string::npos ? ip.substr(7) : ip;
}

/* The deadline of operations that have none of their own: HMC_TIMEOUT, in milliseconds. */
inline uint64_t default_timeout_ms() {
  hmc_setting_t setting = HMC_SETTING_INIT;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    if (hmc_settings_get(i, &setting) != HMC_SUCCESS || std::strcmp(setting.name, "HMC_TIMEOUT") != 0) continue;
    char *unit = nullptr;
    uint64_t value = std::strtoull(setting.value, &unit, 10);
    switch (*unit | 0x20) { /* "30s", "5ms", "20us", "100ns" */
    case 's': return value * 1000;
    case 'u': return value / 1000 + 1;
    case 'n': return value / 1000000 + 1;
    default: return value ? value : 1;
    }
  }
  return 30000;
}

/* A connected Communicator. Operations hold a shared_ptr to it: it hangs up when the last of them is through. */
class Peer {
public:
  /* `owner` is the one who dialled `ip` and `port`, or NULL for a peer that dialled in. */
  Peer(std::unique_ptr<hmc_peer_t, CloseHandle> handle, Mailbox &mailbox, const void *owner, const std::string &ip,
       uint16_t port)
      : handle_(std::move(handle)), mailbox_(mailbox), owner_(owner) {
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    HMC_IGNORE(hmc_peer_get_info(handle_.get(), &info));
    type_ = info.type;
    ip_ = owner ? ip : plain_ip(info.ip);
    port_ = owner ? port : info.port;
  }

  Peer(const Peer &) = delete;
  Peer &operator=(const Peer &) = delete;

  /* Before the handle is closed, and its address free for another one. */
  ~Peer() { mailbox_.forget(handle_.get()); }

  bool is_visible_to(const void *owner) const { return !owner_ || owner_ == owner; }
  bool has_dialled_in() const { return !owner_; }
  bool is_owned_by(const void *owner) const { return owner_ == owner; }
  bool is_at(const std::string &ip) const { return ip_ == ip; }
  bool is_at(const std::string &ip, uint16_t port) const { return port_ == port && ip_ == ip; }
  bool is_reached_by(hmc_connection_type_t type) const { return type == HMC_CONNECTION_AUTO || type == type_; }
  const std::string &ip() const { return ip_; }
  hmc_connection_type_t type() const { return type_; }
  hmc_peer_t *handle() const { return handle_.get(); }

  bool is_connected() const {
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    return hmc_peer_get_info(handle_.get(), &info) == HMC_SUCCESS && info.state == HMC_PEER_CONNECTED;
  }

  /* The peer's buffer, opened when it is first asked for. It goes with the peer. */
  status_t open_buffer(hmc_remote_t **remote) {
    hmc_remote_t *opened = remote_.load(std::memory_order_acquire); /* with the release below */
    if (!opened) {
      std::lock_guard<std::mutex> lock(mutex_);
      opened = remote_.load(std::memory_order_relaxed); /* written under this lock only */
      if (!opened) {
        status_t status = check(open_remote(handle_.get(), buffer_region_name(), 0, &opened));
        if (status != status_t::SUCCESS) return status;
        remote_.store(opened, std::memory_order_release);
      }
    }
    *remote = opened;
    return status_t::SUCCESS;
  }

private:
  std::unique_ptr<hmc_peer_t, CloseHandle> handle_;
  Mailbox &mailbox_;
  const void *owner_;
  std::string ip_;
  uint16_t port_;
  hmc_connection_type_t type_;
  std::mutex mutex_; /* opening remote_ */
  std::atomic<hmc_remote_t *> remote_{nullptr};
};

using PeerList = std::vector<std::shared_ptr<Peer>>;

class Endpoint {
public:
  hmc_status_t open() {
    hmc_context_t *context = nullptr;
    hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
    options.flags = HMC_CONTEXT_SHARE_THREADS; /* a process may have hundreds of endpoints, and none has callbacks */
    hmc_status_t status = hmc_context_create(&options, &context);
    if (status != HMC_SUCCESS) return status;
    context_.reset(context);
    timeout_ms_ = default_timeout_ms();
    return status;
  }

  hmc_context_t *context() const { return context_.get(); }
  Mailbox &mailbox() { return mailbox_; }
  uint64_t timeout_ms() const { return timeout_ms_; }

  status_t listen(const void *owner, const std::string &ip, uint16_t port, uint16_t *bound_port) {
    std::lock_guard<std::mutex> change(listen_mutex_);
    std::vector<Listener> changed = listeners_;
    changed.push_back(Listener{owner, ip, 0});
    hmc_status_t status = hmc_context_listen(context_.get(), ip.c_str(), port, &changed.back().port);
    if (status != HMC_SUCCESS) return check(status);
    *bound_port = changed.back().port;
    std::lock_guard<std::mutex> lock(mutex_);
    listeners_.swap(changed);
    was_listening_ = true;
    return status_t::SUCCESS;
  }

  /* True where the owner listens there already. */
  bool listens(const void *owner, const std::string &ip, uint16_t port) const {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const Listener &listener : listeners_)
      if (listener.owner == owner && listener.port == port && listener.ip == ip) return true;
    return false;
  }

  /* True where the owner dialled that address and the connection lives. */
  bool has_dialled(const void *owner, const std::string &ip, uint16_t port, hmc_connection_type_t type) const {
    std::shared_ptr<Peer> known = find_dialled(owner, ip, port, type);
    return known && known->is_connected();
  }

  /* Ends the owner's listening, on one port or, with 0, on all. The C API stops all listeners of a context at once:
   * those of other owners are taken up again. */
  void stop_listening(const void *owner, uint16_t port) {
    std::lock_guard<std::mutex> change(listen_mutex_);
    std::vector<Listener> kept;
    for (const Listener &listener : listeners_)
      if (listener.owner != owner || (port && listener.port != port)) kept.push_back(listener);
    if (kept.size() == listeners_.size()) return;
    hmc_context_stop_listening(context_.get());
    for (const Listener &listener : kept)
      HMC_IGNORE(hmc_context_listen(context_.get(), listener.ip.c_str(), listener.port, nullptr));
    std::lock_guard<std::mutex> lock(mutex_);
    listeners_.swap(kept);
  }

  /* Connects unless the owner has a live connection of that kind already. */
  status_t connect(const void *owner, const std::string &ip, uint16_t port, hmc_connection_type_t type) {
    std::shared_ptr<Peer> known = find_dialled(owner, ip, port, type);
    if (known && known->is_connected()) return status_t::SUCCESS;
    hmc_peer_t *handle = nullptr;
    status_t status = check(connect_peer(context_.get(), ip.c_str(), port, type, &handle));
    if (status != status_t::SUCCESS) return status;
    std::unique_ptr<hmc_peer_t, CloseHandle> guard(handle);
    auto peer = std::make_shared<Peer>(std::move(guard), mailbox_, owner, ip, port);
    hmc_remote_t *remote;
    status = peer->open_buffer(&remote);
    if (status != status_t::SUCCESS) return status;
    std::lock_guard<std::mutex> lock(mutex_);
    peers_.push_back(std::move(peer));
    if (known) erase(known);
    return status_t::SUCCESS;
  }

  /* Takes in the peers that have dialled in since, waiting `wait_ms` for the first, and forgets lost ones that have a
   * successor. */
  void take_in(uint64_t wait_ms) {
    hmc_peer_t *handle = nullptr;
    while (hmc_context_accept(context_.get(), wait_ms, &handle) == HMC_SUCCESS) {
      std::unique_ptr<hmc_peer_t, CloseHandle> guard(handle);
      auto peer = std::make_shared<Peer>(std::move(guard), mailbox_, nullptr, std::string(), 0);
      forget_lost(peer->ip());
      std::lock_guard<std::mutex> lock(mutex_);
      peers_.push_back(std::move(peer));
      wait_ms = 1;
    }
  }

  /* The latest peer that fits. Port 0: any. A peer that dialled in has the port it came from, and goes by the ports of
   * our own listeners too, because it is those that its program knows. */
  std::shared_ptr<Peer> find(const void *owner, const std::string &ip, uint16_t port,
                             hmc_connection_type_t type) const {
    std::lock_guard<std::mutex> lock(mutex_);
    for (size_t i = peers_.size(); i-- > 0;)
      if (fits(*peers_[i], owner, ip, port, type)) return peers_[i];
    if (port && listens_on(port))
      for (size_t i = peers_.size(); i-- > 0;)
        if (peers_[i]->has_dialled_in() && fits(*peers_[i], owner, ip, 0, type)) return peers_[i];
    return nullptr;
  }

  /* All peers that a call can mean, the latest first. */
  PeerList find_all(const void *owner, const std::string &ip, uint16_t port, hmc_connection_type_t type) const {
    PeerList found;
    std::lock_guard<std::mutex> lock(mutex_);
    bool is_own_port = port && listens_on(port);
    for (size_t i = peers_.size(); i-- > 0;) {
      const Peer &peer = *peers_[i];
      if (fits(peer, owner, ip, port, type) || (is_own_port && peer.has_dialled_in() && fits(peer, owner, ip, 0, type)))
        found.push_back(peers_[i]);
    }
    return found;
  }

  /* True while nobody here has hung up on the peer. */
  bool has(const hmc_peer_t *handle) const {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const std::shared_ptr<Peer> &peer : peers_)
      if (peer->handle() == handle) return true;
    return false;
  }

  /* Takes out all peers that fit, which hang up when the caller and pending calls let go of them. */
  PeerList take_out(const void *owner, const std::string &ip, uint16_t port, hmc_connection_type_t type) {
    PeerList removed = remove_if([&](const Peer &peer) { return fits(peer, owner, ip, port, type); });
    if (!removed.empty() || !port) return removed;
    return remove_if(
        [&](const Peer &peer) { return listens_on(port) && peer.has_dialled_in() && fits(peer, owner, ip, 0, type); });
  }

  /* An owner comes or goes; its listeners and peers go with it, and with the last one those that dialled in. */
  void attach() {
    std::lock_guard<std::mutex> lock(mutex_);
    owners_++;
  }

  void detach(const void *owner) {
    stop_listening(owner, 0);
    remove_if([&](const Peer &peer) { return peer.is_owned_by(owner); });
    bool is_last;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      is_last = --owners_ == 0;
    }
    if (is_last && was_listening()) take_in(1);
    if (is_last) remove_if([](const Peer &) { return true; });
  }

  bool was_listening() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return was_listening_;
  }

private:
  struct Listener {
    const void *owner;
    std::string ip;
    uint16_t port;
  };

  static bool fits(const Peer &peer, const void *owner, const std::string &ip, uint16_t port,
                   hmc_connection_type_t type) {
    return (port ? peer.is_at(ip, port) : peer.is_at(ip)) && peer.is_visible_to(owner) && peer.is_reached_by(type);
  }

  bool listens_on(uint16_t port) const {
    for (const Listener &listener : listeners_)
      if (listener.port == port) return true;
    return false;
  }

  std::shared_ptr<Peer> find_dialled(const void *owner, const std::string &ip, uint16_t port,
                                     hmc_connection_type_t type) const {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const std::shared_ptr<Peer> &peer : peers_)
      if (peer->is_owned_by(owner) && fits(*peer, owner, ip, port, type)) return peer;
    return nullptr;
  }

  void forget_lost(const std::string &ip) {
    remove_if([&](const Peer &peer) { return peer.has_dialled_in() && peer.is_at(ip) && !peer.is_connected(); });
  }

  /* Under mutex_. The caller holds the peer, so that it is not closed here. */
  void erase(const std::shared_ptr<Peer> &peer) {
    for (size_t i = 0; i < peers_.size(); i++)
      if (peers_[i] == peer) {
        peers_.erase(peers_.begin() + static_cast<std::ptrdiff_t>(i));
        return;
      }
  }

  /* Hanging up can take a while: the caller lets go of them, after the lock was given back. */
  template <typename Predicate> PeerList remove_if(Predicate predicate) {
    PeerList kept, removed;
    std::lock_guard<std::mutex> lock(mutex_);
    for (const std::shared_ptr<Peer> &peer : peers_) (predicate(*peer) ? removed : kept).push_back(peer);
    peers_.swap(kept);
    return removed;
  }

  std::unique_ptr<hmc_context_t, CloseHandle> context_;
  uint64_t timeout_ms_ = 0; /* of the context */
  Mailbox mailbox_;         /* outlives the peers */
  std::mutex listen_mutex_;
  mutable std::mutex mutex_;
  std::vector<Listener> listeners_; /* read under mutex_, changed under both */
  PeerList peers_;                  /* in the order they were connected */
  size_t owners_ = 0;
  bool was_listening_ = false;
};

} // namespace hmc_detail
} // namespace v0
} // namespace hmc
#endif
