/* What the two ends of sendDataTo and recvDataFrom tell each other, and where it is kept until its call comes. Not for
 * programs.
 *
 * A message is a notification of the context below, which has one queue for all peers and calls. A thread that waits
 * takes the next one out of that queue for everybody, one thread at a time, and sorts it in here; so there is no thread
 * of ours, and a program that never receives pays nothing.
 *
 * Transfers are named by ids that are drawn at random, so that a message of a connection that is gone, whose handle's
 * address may be in use again, names nothing.
 *
 * Locking: mutex_ guards all fields and is not held over a call that can block. */
#ifndef HMC_CPP_MAILBOX_HPP
#define HMC_CPP_MAILBOX_HPP

#include <hmc/context.h>
#include <hmc/cpp/status.hpp>
#include <hmc/operation.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <random>
#include <vector>

namespace hmc {
inline namespace v0 {
namespace hmc_detail {

enum class MessageKind : uint8_t {
  OFFER = 1,  /* sender to receiver: `size` bytes lie ready */
  ANSWER = 2, /* receiver to sender: what came of it; `size` is the room that the receiver had */
};

struct Message {
  MessageKind kind;
  status_t status; /* of an ANSWER */
  uint64_t id;     /* of the transfer */
  uint64_t size;
};

/* On the wire: "hmx1", kind, status, two zero bytes, id and size in little-endian order. */
enum : size_t { MESSAGE_BYTES = 24 };

inline void encode(const Message &message, uint8_t *bytes) {
  const uint8_t head[8] = {'h', 'm', 'x', '1', static_cast<uint8_t>(message.kind), static_cast<uint8_t>(message.status),
                           0,   0};
  std::copy(head, head + sizeof head, bytes);
  for (unsigned i = 0; i < 8; i++) {
    bytes[8 + i] = static_cast<uint8_t>(message.id >> (8 * i));
    bytes[16 + i] = static_cast<uint8_t>(message.size >> (8 * i));
  }
}

/* False for anything else than a message of ours. */
inline bool decode(const uint8_t *bytes, size_t size, Message *message) {
  static const uint8_t magic[4] = {'h', 'm', 'x', '1'};
  if (size != MESSAGE_BYTES || !std::equal(magic, magic + sizeof magic, bytes) || bytes[6] || bytes[7]) return false;
  if (bytes[4] != static_cast<uint8_t>(MessageKind::OFFER) && bytes[4] != static_cast<uint8_t>(MessageKind::ANSWER))
    return false;
  Message decoded = {static_cast<MessageKind>(bytes[4]), static_cast<status_t>(bytes[5]), 0, 0};
  for (unsigned i = 8; i-- > 0;) {
    decoded.id = decoded.id << 8 | bytes[8 + i];
    decoded.size = decoded.size << 8 | bytes[16 + i];
  }
  *message = decoded;
  return true;
}

class Mailbox {
public:
  /* An id that no other transfer has. */
  uint64_t new_id() {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!next_id_) {
      std::random_device random;
      next_id_ = static_cast<uint64_t>(random()) << 32 | random();
    }
    return next_id_++;
  }

  /* Counts what has come in; to be asked before looking for a message, and given to wait_for_news. */
  uint64_t news() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return news_;
  }

  /* Waits until something has come in since `seen`, at most `wait_ms`. */
  void wait_for_news(hmc_context_t *context, uint64_t seen, uint64_t wait_ms) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (news_ != seen) return;
    if (is_pulling_) {
      changed_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return news_ != seen || !is_pulling_; });
      return;
    }
    is_pulling_ = true;
    lock.unlock();
    uint8_t bytes[4096]; /* longer ones are not ours */
    size_t size = 0;
    hmc_peer_t *from = nullptr;
    Entry entry = {nullptr, {}, Clock::now()};
    bool is_ours = hmc_notification_receive(context, bytes, sizeof bytes, &size, &from, wait_ms) == HMC_SUCCESS &&
                   decode(bytes, size, &entry.message);
    lock.lock();
    is_pulling_ = false;
    entry.from = from;
    /* An offer of a peer that is closed has nobody who waits; an answer is good wherever it comes from. */
    if (is_ours && (from || entry.message.kind == MessageKind::ANSWER)) {
      entries_.push_back(entry);
      news_++;
    }
    changed_.notify_all();
  }

  /* Takes the answer to a transfer. */
  bool take_answer(uint64_t id, Message *answer) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry &entry) {
      return entry.message.kind == MessageKind::ANSWER && entry.message.id == id;
    });
    if (found == entries_.end()) return false;
    *answer = found->message;
    entries_.erase(found);
    return true;
  }

  /* Takes the oldest offer of a peer for which fits(handle) is true, which must not block. */
  template <typename Fits> bool take_offer(Fits fits, Message *offer, hmc_peer_t **from) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry &entry) {
      return entry.message.kind == MessageKind::OFFER && fits(entry.from);
    });
    if (found == entries_.end()) return false;
    *offer = found->message;
    *from = found->from;
    entries_.erase(found);
    return true;
  }

  bool has_offers() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::any_of(entries_.begin(), entries_.end(),
                       [](const Entry &entry) { return entry.message.kind == MessageKind::OFFER; });
  }

  /* The peer is about to be closed; and its offers are nothing to anybody. */
  void forget(const hmc_peer_t *peer) {
    std::lock_guard<std::mutex> lock(mutex_);
    remove([&](const Entry &entry) { return entry.from == peer; });
  }

  /* Drops what nobody can want: offers of peers that are not known, and answers nobody waits for, after a while. */
  template <typename IsKnown> void drop_orphans(IsKnown is_known, std::chrono::milliseconds age) {
    std::lock_guard<std::mutex> lock(mutex_);
    Clock::time_point limit = Clock::now() - age;
    remove([&](const Entry &entry) {
      return entry.came < limit && (entry.message.kind == MessageKind::ANSWER || !is_known(entry.from));
    });
  }

private:
  using Clock = std::chrono::steady_clock;

  struct Entry {
    hmc_peer_t *from;
    Message message;
    Clock::time_point came;
  };

  template <typename Predicate> void remove(Predicate predicate) {
    entries_.erase(std::remove_if(entries_.begin(), entries_.end(), predicate), entries_.end());
  }

  mutable std::mutex mutex_;
  std::condition_variable changed_; /* entries_ or is_pulling_ */
  std::vector<Entry> entries_;      /* the oldest first */
  uint64_t news_ = 0;
  uint64_t next_id_ = 0;
  bool is_pulling_ = false; /* a thread waits in the context's queue */
};

} // namespace hmc_detail
} // namespace v0
} // namespace hmc
#endif
