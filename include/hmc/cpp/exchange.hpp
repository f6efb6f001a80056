/* Two-sided transfers between memory of the two programs' own. Not for programs: see Communicator::sendDataTo.
 *
 * The sender registers its bytes as a region that peers may read, offers it by a message, and waits for the answer. The
 * receiver takes the oldest offer of its peer, reads the bytes straight into its own memory, by whatever pipeline the
 * two memories need, and answers what came of it. So either side may come first, and only the receiver decides: what
 * is too large for it is refused before a byte has moved. An offer whose sender has given up is known by its region,
 * which is gone, and passed over. */
#ifndef HMC_CPP_EXCHANGE_HPP
#define HMC_CPP_EXCHANGE_HPP

#include <hmc/cpp/endpoint.hpp>
#include <hmc/cpp/mailbox.hpp>
#include <hmc/cpp/memory.hpp>
#include <hmc/operation.h>
#include <hmc/region.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

namespace hmc {
inline namespace v0 {
namespace hmc_detail {

/* One call of sendDataTo or recvDataFrom. */
class Exchange {
public:
  /* `own` is a region of the endpoint, for messages; `port` 0: by ip alone. */
  Exchange(const char *call, Endpoint &endpoint, hmc_region_t *own, const void *owner, const std::string &ip,
           uint16_t port, hmc_connection_type_t type)
      : call_(call), endpoint_(endpoint), own_(own), owner_(owner), ip_(ip), port_(port), type_(type),
        end_(Clock::now() + std::chrono::milliseconds(endpoint.timeout_ms())) {}

  status_t send(const void *data, size_t size, MemoryType memory) {
    Region registered;
    Message offer = {MessageKind::OFFER, status_t::SUCCESS, endpoint_.mailbox().new_id(), size};
    status_t status = register_region(const_cast<void *>(data), size, memory, name_of(offer.id).c_str(),
                                      HMC_REMOTE_READ, &registered);
    std::shared_ptr<Peer> peer;
    if (status == status_t::SUCCESS) status = find_peer(&peer);
    if (status == status_t::SUCCESS) status = post(*peer, offer);
    Message answer = {MessageKind::ANSWER, status_t::ERROR, 0, 0};
    if (status == status_t::SUCCESS) status = wait_for_answer(*peer, offer.id, &answer);
    if (status != status_t::SUCCESS || answer.status == status_t::SUCCESS) return status;
    if (answer.status == status_t::OUT_OF_RANGE)
      return fail(answer.status, "%s: the receiver at %s has room for %llu B, not for %zu", call_, ip_.c_str(),
                  static_cast<unsigned long long>(answer.size), size);
    return fail(answer.status, "%s: the receiver at %s could not read the data: %s", call_, ip_.c_str(),
                hmc_status_text(static_cast<hmc_status_t>(answer.status)));
  }

  status_t receive(void *data, size_t capacity, MemoryType memory, size_t *received) {
    Region room;
    status_t status = register_region(data, capacity, memory, nullptr, 0, &room);
    while (status == status_t::SUCCESS) {
      std::shared_ptr<Peer> peer;
      Message offer;
      status = wait_for_offer(&peer, &offer);
      if (status != status_t::SUCCESS) break;
      bool is_given_up = false;
      status = fetch(*peer, offer, room.get(), capacity, &is_given_up);
      if (is_given_up) {
        status = status_t::SUCCESS;
        continue;
      }
      std::string text = status == status_t::SUCCESS ? "" : last_error();
      /* What came is here, whether the sender learns of it or not. */
      static_cast<void>(post(*peer, Message{MessageKind::ANSWER, status, offer.id, capacity}));
      if (status != status_t::SUCCESS) return fail(status, "%s", text.c_str());
      if (received) *received = static_cast<size_t>(offer.size);
      return status;
    }
    return status;
  }

private:
  using Clock = std::chrono::steady_clock;
  using Region = std::unique_ptr<hmc_region_t, CloseHandle>;

  struct CloseRemote {
    void operator()(hmc_remote_t *remote) const { hmc_remote_close(remote); }
  };
  struct FreeRequest {
    void operator()(hmc_request_t *request) const { hmc_request_free(request); }
  };

  /* How often a call that waits looks whether its peer is still there. */
  enum : uint64_t { LOOK_MS = 20 };

  static std::string name_of(uint64_t id) {
    char name[HMC_REGION_NAME_SIZE];
    std::snprintf(name, sizeof name, "hmc.offer.%016llx", static_cast<unsigned long long>(id));
    return name;
  }

  bool is_late() const { return Clock::now() >= end_; }

  /* At least 1: the C API takes 0 for its default. */
  uint64_t left_ms() const {
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end_ - Clock::now()).count();
    return left > 0 ? static_cast<uint64_t>(left) : 1;
  }

  uint64_t look_ms() const { return std::min<uint64_t>(left_ms(), LOOK_MS); }

  /* Makes a region of the program's memory, none where it has no bytes; `memory` says what it takes it for. */
  status_t register_region(void *data, size_t size, MemoryType memory, const char *name, unsigned rights,
                           Region *registered) {
    if (!size) return status_t::SUCCESS;
    if (!data) return fail(status_t::INVALID_CONFIG, "%s: %zu B at NULL", call_, size);
    hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
    status_t status = check(hmc_memory_query(data, &info));
    if (status != status_t::SUCCESS) return status;
    if (memory != MemoryType::DEFAULT && static_cast<hmc_memory_kind_t>(memory) != info.memory.kind)
      return fail(status_t::INVALID_CONFIG, "%s: buf is %s memory, not %s", call_,
                  hmc_memory_kind_name(info.memory.kind), hmc_memory_kind_name(static_cast<hmc_memory_kind_t>(memory)));
    hmc_region_t *region = nullptr;
    status = check(hmc_region_register(endpoint_.context(), data, size, name, rights, &region));
    registered->reset(region);
    return status;
  }

  status_t nobody() const {
    if (endpoint_.was_listening())
      return fail(status_t::TIMEOUT, "%s: nobody at %s has connected within the deadline", call_, ip_.c_str());
    return fail(status_t::NOT_FOUND, "%s: no connection with %s: call connectTo first", call_, ip_.c_str());
  }

  status_t stopped() const { return fail(status_t::CANCELLED, "%s: a signal ended the wait", call_); }

  status_t hung_up() const {
    return fail(status_t::CANCELLED, "%s: disConnect was called for %s meanwhile", call_, ip_.c_str());
  }

  /* The latest peer that the call means; where peers can dial in, it is waited for. */
  status_t find_peer(std::shared_ptr<Peer> *found) {
    if (endpoint_.was_listening()) endpoint_.take_in(1);
    while (!(*found = endpoint_.find(owner_, ip_, port_, type_))) {
      if (is_stopped()) return stopped();
      if (!endpoint_.was_listening() || is_late()) return nobody();
      endpoint_.take_in(look_ms());
    }
    return status_t::SUCCESS;
  }

  /* Sends a message, as the notification of a put of nothing. */
  status_t post(Peer &peer, const Message &message) {
    uint8_t bytes[MESSAGE_BYTES];
    encode(message, bytes);
    hmc_remote_t *remote;
    status_t status = peer.open_buffer(&remote);
    if (status != status_t::SUCCESS) return status;
    hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
    options.timeout_ms = left_ms();
    options.notification = bytes;
    options.notification_size = sizeof bytes;
    hmc_request_t *started = nullptr;
    status = check(hmc_put_nb(own_, 0, remote, 0, 0, &options, &started));
    std::unique_ptr<hmc_request_t, FreeRequest> request(started);
    return status == status_t::SUCCESS ? check(wait_or_stop(started)) : status;
  }

  status_t wait_for_answer(Peer &peer, uint64_t id, Message *answer) {
    Mailbox &mailbox = endpoint_.mailbox();
    for (;;) {
      bool is_connected = peer.is_connected(), is_over = is_late();
      if (!is_connected || is_over) empty_queue();
      uint64_t seen = mailbox.news();
      if (mailbox.take_answer(id, answer)) return status_t::SUCCESS;
      if (is_stopped()) return stopped();
      if (!endpoint_.has(peer.handle())) return hung_up();
      if (!is_connected) return fail(status_t::PEER_LOST, "%s: the receiver at %s is gone", call_, ip_.c_str());
      if (is_over)
        return fail(status_t::TIMEOUT, "%s: the receiver at %s has not taken the data within the deadline", call_,
                    ip_.c_str());
      mailbox.wait_for_news(endpoint_.context(), seen, look_ms());
    }
  }

  /* Waits for the oldest offer of any peer that the call means; where several are at one address, an offer says better
   * than the order of their coming which is meant. */
  status_t wait_for_offer(std::shared_ptr<Peer> *from, Message *offer) {
    Mailbox &mailbox = endpoint_.mailbox();
    for (bool was_there = false;;) {
      if (endpoint_.was_listening() && mailbox.has_offers())
        endpoint_.take_in(1); /* it may be of a peer who dialled in just now */
      PeerList peers = endpoint_.find_all(owner_, ip_, port_, type_);
      bool is_connected = false, is_over = is_late();
      for (const std::shared_ptr<Peer> &peer : peers) is_connected = is_connected || peer->is_connected();
      if (is_over || (!peers.empty() && !is_connected)) empty_queue();
      uint64_t seen = mailbox.news();
      if (take_offer(peers, from, offer)) return status_t::SUCCESS;
      if (is_stopped()) return stopped();
      if (peers.empty() && was_there) return hung_up();
      if (peers.empty() && (!endpoint_.was_listening() || is_over)) return nobody();
      if (!peers.empty() && !is_connected)
        return fail(status_t::PEER_LOST, "%s: the sender at %s is gone", call_, ip_.c_str());
      if (is_over) return fail(status_t::TIMEOUT, "%s: %s has sent nothing within the deadline", call_, ip_.c_str());
      was_there = !peers.empty();
      if (was_there)
        mailbox.wait_for_news(endpoint_.context(), seen, look_ms());
      else
        endpoint_.take_in(look_ms());
      mailbox.drop_orphans([&](const hmc_peer_t *peer) { return endpoint_.has(peer); },
                           std::chrono::milliseconds(endpoint_.timeout_ms()));
    }
  }

  bool take_offer(const PeerList &peers, std::shared_ptr<Peer> *from, Message *offer) {
    hmc_peer_t *handle = nullptr;
    auto is_wanted = [&](const hmc_peer_t *each) {
      for (const std::shared_ptr<Peer> &peer : peers)
        if (peer->handle() == each) return true;
      return false;
    };
    if (!endpoint_.mailbox().take_offer(is_wanted, offer, &handle)) return false;
    for (const std::shared_ptr<Peer> &peer : peers)
      if (peer->handle() == handle) *from = peer;
    return true;
  }

  /* Sorts in what has come already, before a call ends without it. */
  void empty_queue() {
    Mailbox &mailbox = endpoint_.mailbox();
    uint64_t seen;
    do {
      seen = mailbox.news();
      mailbox.wait_for_news(endpoint_.context(), seen, 1);
    } while (mailbox.news() != seen);
  }

  /* Reads what is offered. `is_given_up`: its sender does not wait any more, and nothing was read. */
  status_t fetch(Peer &peer, const Message &offer, hmc_region_t *room, size_t capacity, bool *is_given_up) {
    if (offer.size > capacity)
      return fail(status_t::OUT_OF_RANGE, "%s: %s sends %llu B, there is room for %zu", call_, ip_.c_str(),
                  static_cast<unsigned long long>(offer.size), capacity);
    if (!offer.size) return status_t::SUCCESS;
    hmc_remote_t *opened = nullptr;
    status_t status = check(open_remote(peer.handle(), name_of(offer.id).c_str(), left_ms(), &opened));
    *is_given_up = status == status_t::NOT_FOUND;
    if (status != status_t::SUCCESS) return status;
    std::unique_ptr<hmc_remote_t, CloseRemote> remote(opened);
    hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
    options.timeout_ms = left_ms();
    hmc_request_t *started = nullptr;
    status = check(hmc_get_nb(room, 0, opened, 0, offer.size, &options, &started));
    std::unique_ptr<hmc_request_t, FreeRequest> request(started);
    return status == status_t::SUCCESS ? check(wait_or_stop(started)) : status;
  }

  const char *call_;
  Endpoint &endpoint_;
  hmc_region_t *own_;
  const void *owner_;
  std::string ip_;
  uint16_t port_;
  hmc_connection_type_t type_;
  Clock::time_point end_;
};

} // namespace hmc_detail
} // namespace v0
} // namespace hmc
#endif
