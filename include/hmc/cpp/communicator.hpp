/* Communicator: moves bytes between the ConnBuffers of two programs, and small messages beside them.
 *
 * Two generations of calls live side by side. The second names a peer's buffer by (ip, port) and both offsets (put,
 * get), and knows ranks for the control channel. The first names the peer by its ip alone, means one offset at both
 * ends (writeTo, readFrom), and takes the peer that connected last where several are at that address.
 *
 * Whose buffer is meant is settled by the port: see endpoint.hpp. A server reaches back to those that dialled it by the
 * ip-keyed calls; or by put and get with port 0, or with the port of its own listener, for the latest peer at that ip,
 * or with the port the peer came from. Peers that dialled in are taken in when an address is not known yet, by
 * checkConn, and by the first ip-keyed call after a control message was received, since a message is how programs tell
 * each other that they are there.
 *
 * The control channel is by default the process's own, CtrlSocketManager::instance(), because a rank names a process.
 * Programs that are several ranks at once give each Communicator a manager of its own.
 *
 * Locking: State::mutex guards what it says there; nothing that can block is called under it. */
#ifndef HMC_CPP_COMMUNICATOR_HPP
#define HMC_CPP_COMMUNICATOR_HPP

#include <hmc/context.h>
#include <hmc/cpp/buffer.hpp>
#include <hmc/cpp/connection_type.hpp>
#include <hmc/cpp/control.hpp>
#include <hmc/cpp/exchange.hpp>
#include <hmc/log.h>
#include <hmc/operation.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace hmc {
inline namespace v0 {

/* One end of the transfers of a ConnBuffer. The peers' programs do nothing for a put or a get, and when one returns, or
 * wait does, the bytes are visible where they went; no control message that is sent then overtakes them. Every call
 * ends by the deadline that HMC_TIMEOUT sets (30 s).
 *
 * Ownership: keeps the buffer alive. The destructor cancels what is in flight, stops the servers it started and hangs
 * up. An object that was moved from can only be destroyed or assigned to. Threads: any, but for moving and destroying.
 * Errors common to all: what the buffer's getInitStatus says where it could not be made. */
class Communicator {
public:
  using CtrlId = CtrlSocketManager::CtrlId;

  enum class CtrlTransport : uint8_t { TCP = 0, UDS = 1 };

  /* Where a peer's control channel is. */
  struct CtrlLink {
    CtrlTransport transport = CtrlTransport::TCP;
    std::string ip;       /* TCP; "": where the data goes */
    uint16_t port = 0;    /* TCP */
    std::string uds_path; /* UDS: the socket file, not its directory */
  };

  /* `num_chs` is kept for programs that pass it; how many sockets a peer gets is the setting HMC_TCP_STREAMS. `control`
   * must outlive the Communicator. */
  explicit Communicator(std::shared_ptr<ConnBuffer> buffer, size_t num_chs = 1,
                        CtrlSocketManager &control = CtrlSocketManager::instance())
      : state_(new State(std::move(buffer), num_chs, control)) {}

  Communicator(Communicator &&) = default;
  Communicator &operator=(Communicator &&) = default;

  /* ---- connecting ------------------------------------------------------------------------------------------------ */

  /* A connectTo or initServer of a Communicator that fails is also logged, as a warning, once: programs written for the
   * first HMC do not look at what they answer. */

  /* Lets peers connect to the buffer on an address from now on. Port 0 picks a free one, see dataPort. Can be called
   * again for further addresses; an address that is served already stays so. It is the peers who choose how they
   * connect: `type` need not even work here, which is logged once. Errors: ERROR (the address is in use, or not of this
   * host). */
  status_t initServer(const std::string &bind_ip, uint16_t port, ConnType type = ConnType::AUTO) {
    status_t status = warn("initServer", bind_ip, port, hmc_detail::answer_error(serve(bind_ip, port)));
    if (status == status_t::SUCCESS) warn_of_type(type);
    return status;
  }

  /* The same, and accepts control links: on `ctrl_tcp_port` of the same address (0: a free port, see ctrlPort) and,
   * unless `ctrl_uds_path` is "", on that UNIX socket. */
  status_t initServer(const std::string &bind_ip, uint16_t data_port, uint16_t ctrl_tcp_port,
                      const std::string &ctrl_uds_path = "", ConnType type = ConnType::AUTO) {
    uint16_t former_port = state_->data_port;
    bool is_new = !data_port || state_->buffer == nullptr || !endpoint().listens(state_.get(), bind_ip, data_port);
    status_t status = initServer(bind_ip, data_port, type);
    if (status != status_t::SUCCESS) return status;
    status = initCtrlServer(bind_ip, ctrl_tcp_port, ctrl_uds_path);
    if (status != status_t::SUCCESS && is_new)
      endpoint().stop_listening(state_.get(), state_->data_port.exchange(former_port));
    return warn("initServer", bind_ip, ctrl_tcp_port, hmc_detail::answer_error(status));
  }

  /* Stops accepting, control links included where this Communicator serves them. Peers stay connected. */
  status_t closeServer() {
    status_t status = ready();
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    endpoint().stop_listening(state_.get(), 0);
    state_->data_port = 0;
    if (state_->serves_control.exchange(false)) state_->control->stop();
    return status_t::SUCCESS;
  }

  /* The data port that was opened last, and the control port; 0 when there is none. */
  uint16_t dataPort() const { return state_->data_port; }
  uint16_t ctrlPort() const { return state_->control->tcpPort(); }

  /* Connects to the buffer behind a server's address; fine when that connection exists.
   * Errors: ERROR (nobody listens there, or it is not a Communicator, or the secrets differ), TIMEOUT, UNSUPPORT (`type`
   * does not work between the two). */
  status_t connectTo(const std::string &peer_ip, uint16_t port, ConnType type = ConnType::AUTO) {
    status_t status = ready();
    if (status == status_t::SUCCESS)
      status = endpoint().connect(state_.get(), peer_ip, port, hmc_detail::connection_type(type));
    return warn("connectTo", peer_ip, port,
                status == status_t::NOT_FOUND ? status_t::ERROR : hmc_detail::answer(status));
  }

  /* Links to the control channel of rank `peer_id` as `self_id` first, which waits for the server to come up, then as
   * above. */
  status_t connectTo(CtrlId peer_id, CtrlId self_id, const std::string &peer_ip, uint16_t data_port,
                     const CtrlLink &link, ConnType type = ConnType::AUTO) {
    status_t status = ready();
    if (status == status_t::SUCCESS && checkConn(peer_ip, data_port, type) == status_t::SUCCESS &&
        endpoint().has_dialled(state_.get(), peer_ip, data_port, hmc_detail::connection_type(type)))
      return status;
    if (status == status_t::SUCCESS) status = probe(type);
    if (status == status_t::SUCCESS) {
      CtrlLink complete = link;
      if (complete.ip.empty()) complete.ip = peer_ip;
      status = connectCtrl(peer_id, self_id, complete);
    }
    if (status != status_t::SUCCESS) return warn("connectTo", peer_ip, data_port, hmc_detail::answer(status));
    status = connectTo(peer_ip, data_port, type);
    if (status == status_t::SUCCESS) return status;
    std::string cause = last_error(); /* which closing the link must not overwrite */
    status_t finer = last_status();
    static_cast<void>(closeCtrlPeer(peer_id));
    static_cast<void>(hmc_detail::fail(finer, "%s", cause.c_str()));
    return status;
  }

  /* Hangs up on all peers at an address, also those that dialled in; there may be none. Operations in flight to them end
   * with ERROR (CANCELLED). */
  status_t disConnect(const std::string &ip, ConnType type = ConnType::AUTO) { return hang_up(ip, 0, type); }
  status_t disConnect(const std::string &ip, uint16_t port, ConnType type = ConnType::AUTO) {
    return hang_up(ip, port, type);
  }

  /* SUCCESS while the (latest) peer at an address is connected. Errors: NOT_FOUND (there is none), ERROR (it is gone). */
  status_t checkConn(const std::string &ip, ConnType type = ConnType::AUTO) { return check_connection(ip, 0, type); }
  status_t checkConn(const std::string &ip, uint16_t port, ConnType type = ConnType::AUTO) {
    return check_connection(ip, port, type);
  }

  /* How a peer is reached: transport, device, staging, and why not the faster ways. "" when there is no such peer. */
  std::string explain(const std::string &ip, uint16_t port = 0, ConnType type = ConnType::AUTO) {
    std::shared_ptr<hmc_detail::Peer> peer;
    size_t needed = 0;
    if (find("explain", ip, port, type, &peer) != status_t::SUCCESS ||
        hmc_peer_explain(peer->handle(), nullptr, 0, &needed) != HMC_SUCCESS)
      return std::string();
    std::vector<char> text(needed + 1);
    HMC_IGNORE(hmc_peer_explain(peer->handle(), text.data(), text.size(), nullptr));
    return std::string(text.data());
  }

  /* ---- moving bytes ---------------------------------------------------------------------------------------------- */

  /* Write `size` bytes of the local buffer at `local_off` to the peer's at `remote_off`, and read them from there.
   * `type` names the connection where there are several. Errors: NOT_FOUND (not connected so), TIMEOUT,
   * ERROR: past either buffer, the peer is gone or has given up its buffer, hung up here (see last_status). */
  status_t put(const std::string &ip, uint16_t port, size_t local_off, size_t remote_off, size_t size,
               ConnType type = ConnType::AUTO) {
    return transfer("put", hmc_put, ip, port, local_off, remote_off, size, type);
  }
  status_t get(const std::string &ip, uint16_t port, size_t local_off, size_t remote_off, size_t size,
               ConnType type = ConnType::AUTO) {
    return transfer("get", hmc_get, ip, port, local_off, remote_off, size, type);
  }

  /* The same, started only: *wr_id names the operation for wait. Until that has returned, the local bytes must stay as
   * they are (put) or untouched (get). An operation that is never waited for, or that nobody can wait for (wr_id is
   * NULL), is kept until the Communicator goes. Ids begin with 1: 0 is one that is complete. */
  status_t putNB(const std::string &ip, uint16_t port, size_t local_off, size_t remote_off, size_t size,
                 uint64_t *wr_id, ConnType type = ConnType::AUTO) {
    return start("putNB", hmc_put_nb, ip, port, local_off, remote_off, size, wr_id, type);
  }
  status_t getNB(const std::string &ip, uint16_t port, size_t local_off, size_t remote_off, size_t size,
                 uint64_t *wr_id, ConnType type = ConnType::AUTO) {
    return start("getNB", hmc_get_nb, ip, port, local_off, remote_off, size, wr_id, type);
  }

  /* Waits until the operation is complete and returns its final status. An id that was waited for before, and 0, are
   * SUCCESS. Errors: those of put, and NOT_FOUND (there never was such an operation). */
  status_t wait(uint64_t wr_id) {
    Started started;
    {
      std::lock_guard<std::mutex> lock(state_->mutex);
      auto found = state_->requests.find(wr_id);
      if (found != state_->requests.end()) started = found->second;
      if (!started.request && wr_id <= state_->last_request) return status_t::SUCCESS;
    }
    if (!started.request)
      return hmc_detail::fail(status_t::NOT_FOUND, "wait: no operation %llu was started",
                              static_cast<unsigned long long>(wr_id));
    status_t status = hmc_detail::check(hmc_request_wait(started.request.get()));
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->requests.erase(wr_id);
    return hmc_detail::answer(status);
  }

  /* True when wait would not block: the operation is complete, or there is none with that id. Moves things on. */
  bool isDone(uint64_t wr_id) {
    std::shared_ptr<hmc_request_t> request;
    {
      std::lock_guard<std::mutex> lock(state_->mutex);
      auto found = state_->requests.find(wr_id);
      if (found != state_->requests.end()) request = found->second.request;
    }
    return !request || hmc_request_test(request.get()) != HMC_IN_PROGRESS;
  }

  /* Ends an operation that will not be waited for; its id is used up. When this returns, local bytes are not touched by
   * it any more. */
  void cancel(uint64_t wr_id) {
    Started started;
    {
      std::lock_guard<std::mutex> lock(state_->mutex);
      auto found = state_->requests.find(wr_id);
      if (found == state_->requests.end()) return;
      started = found->second;
    }
    hmc_request_cancel(started.request.get());
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->requests.erase(wr_id);
  }

  /* Waits for all; answers the first failure in their order, or SUCCESS. */
  status_t wait(const std::vector<uint64_t> &wr_ids) {
    status_t first = status_t::SUCCESS, finer = status_t::SUCCESS;
    std::string text;
    for (uint64_t wr_id : wr_ids) {
      status_t status = wait(wr_id);
      if (first == status_t::SUCCESS && status != status_t::SUCCESS) {
        first = status;
        finer = last_status();
        text = last_error();
      }
    }
    if (first != status_t::SUCCESS) static_cast<void>(hmc_detail::fail(finer, "%s", text.c_str()));
    return first;
  }

  /* put and get in chunks of `chunk_size` bytes (0: 1 MiB), at most `max_inflight` of them at a time. HMC cuts large
   * transfers by itself; these are for programs that were written for it. */
  status_t putPipeline(const std::string &ip, uint16_t port, size_t local_off, size_t remote_off, size_t size,
                       size_t chunk_size = 0, size_t max_inflight = 64, ConnType type = ConnType::AUTO) {
    return pipeline("putPipeline", hmc_put_nb, ip, port, local_off, remote_off, size, chunk_size, max_inflight, type);
  }
  status_t getPipeline(const std::string &ip, uint16_t port, size_t local_off, size_t remote_off, size_t size,
                       size_t chunk_size = 0, size_t max_inflight = 64, ConnType type = ConnType::AUTO) {
    return pipeline("getPipeline", hmc_get_nb, ip, port, local_off, remote_off, size, chunk_size, max_inflight, type);
  }

  /* The first generation: `size` bytes at offset `bias` of both buffers, to and from the latest peer at that ip. */
  status_t writeTo(const std::string &ip, size_t bias, size_t size, ConnType type = ConnType::AUTO) {
    return transfer("writeTo", hmc_put, ip, 0, bias, bias, size, type);
  }
  status_t readFrom(const std::string &ip, size_t bias, size_t size, ConnType type = ConnType::AUTO) {
    return transfer("readFrom", hmc_get, ip, 0, bias, bias, size, type);
  }

  /* Two-sided, of the first generation: each send meets one recv of the peer; `size` bytes at `bias` of either buffer,
   * which need not be the same. Errors: as sendDataTo. */
  status_t send(const std::string &ip, size_t bias, size_t size, ConnType type = ConnType::AUTO) {
    status_t status = within_buffer("send", bias, size);
    if (status != status_t::SUCCESS) return status;
    return sendDataTo(ip, static_cast<char *>(state_->buffer->ptr) + bias, size, MemoryType::DEFAULT, type);
  }
  status_t recv(const std::string &ip, size_t bias, size_t size, ConnType type = ConnType::AUTO) {
    status_t status = within_buffer("recv", bias, size);
    if (status != status_t::SUCCESS) return status;
    return recvDataFrom(ip, static_cast<char *>(state_->buffer->ptr) + bias, size, MemoryType::DEFAULT, nullptr, type);
  }

  /* Move `size` bytes of any size between memory of the two programs' own, of any kind at either end and apart from the
   * buffers: each sendDataTo meets one recvDataFrom of the peer, in the order they are called; either may come first.
   * `buf_type` is the kind of memory that buf is in; DEFAULT: what it is. Where this side listens, both wait for a peer
   * that has yet to dial; of several peers at an address the receiver takes the one that sends first.
   * Completion: sendDataTo returns when the receiver has the bytes. recvDataFrom has `size` bytes of room, and *flag
   * (may be NULL) gets how many came; nothing is written past them. On failure a part of buf may be written. Errors:
   * TIMEOUT (the other side has not made its call), NOT_FOUND (not connected), ERROR: larger than the receiver's room,
   * at both ends, and nothing moved; the peer is gone; hung up here; the sender's deadline passed meanwhile; buf is NULL
   * or of another kind (see last_status). */
  status_t sendDataTo(const std::string &ip, const void *buf, size_t size, MemoryType buf_type,
                      ConnType type = ConnType::AUTO) {
    return sendDataTo(ip, 0, buf, size, buf_type, type);
  }
  status_t sendDataTo(const std::string &ip, uint16_t port, const void *buf, size_t size, MemoryType buf_type,
                      ConnType type = ConnType::AUTO) {
    status_t status = ready_for(type);
    if (status == status_t::SUCCESS) status = exchange("sendDataTo", ip, port, type).send(buf, size, buf_type);
    return answer_exchange(status);
  }
  status_t recvDataFrom(const std::string &ip, void *buf, size_t size, MemoryType buf_type, size_t *flag,
                        ConnType type = ConnType::AUTO) {
    return recvDataFrom(ip, 0, buf, size, buf_type, flag, type);
  }
  status_t recvDataFrom(const std::string &ip, uint16_t port, void *buf, size_t size, MemoryType buf_type, size_t *flag,
                        ConnType type = ConnType::AUTO) {
    status_t status = ready_for(type);
    if (status == status_t::SUCCESS)
      status = exchange("recvDataFrom", ip, port, type).receive(buf, size, buf_type, flag);
    return answer_exchange(status);
  }

  /* ---- the control channel --------------------------------------------------------------------------------------- */

  /* Accepts control links: see CtrlSocketManager::start. */
  status_t initCtrlServer(const std::string &bind_ip, uint16_t tcp_port, const std::string &uds_path = "") {
    status_t status = state_->control->start(bind_ip, tcp_port, uds_path);
    if (status == status_t::SUCCESS) state_->serves_control = true;
    return hmc_detail::answer_error(status);
  }

  /* Links to the control channel of rank `peer_id`, greeting as `self_id`. Errors: TIMEOUT, ERROR (an empty address, a
   * port 0; turned away). */
  status_t connectCtrl(CtrlId peer_id, CtrlId self_id, const CtrlLink &link) {
    bool is_empty = link.transport == CtrlTransport::UDS ? link.uds_path.empty() : link.ip.empty() || !link.port;
    if (is_empty)
      return hmc_detail::answer_error(
          hmc_detail::fail(status_t::INVALID_CONFIG, "connectCtrl: the link to rank %u has no address", peer_id));
    note_rank(peer_id);
    if (link.transport == CtrlTransport::UDS) return state_->control->connectUds(peer_id, link.uds_path, self_id);
    return state_->control->connectTcp(peer_id, link.ip, link.port, self_id);
  }

  /* One number to a rank, and the next one from it: the tag by which programs tell each other what lies where. Both
   * wait for the link to come up where this side can be dialled, at most `timeout_ms` (0: HMC_TIMEOUT). Errors:
   * ERROR: no link, and none can come up; it was lost; the next message was not a tag, and is gone (see last_status). */
  status_t ctrlSend(CtrlId peer_id, uint64_t tag, uint64_t timeout_ms = 0) {
    note_rank(peer_id);
    status_t status = state_->control->sendU64(peer_id, tag, timeout_ms);
    return timeout_ms && last_status() == status_t::TIMEOUT ? status : hmc_detail::answer_error(status);
  }
  status_t ctrlRecv(CtrlId peer_id, uint64_t *tag, uint64_t timeout_ms = 0) {
    note_rank(peer_id);
    status_t status = state_->control->recvU64(peer_id, tag, timeout_ms);
    return timeout_ms && last_status() == status_t::TIMEOUT ? status : hmc_detail::answer_error(status);
  }

  /* Closes the control links that this Communicator has used, and stops accepting where it serves them. */
  status_t closeCtrl() {
    state_->close_control();
    return status_t::SUCCESS;
  }

  /* Closes one control link. */
  status_t closeCtrlPeer(CtrlId peer_id) {
    state_->control->close(peer_id);
    return status_t::SUCCESS;
  }

  static std::string udsPathFor(const std::string &directory, CtrlId id) {
    return CtrlSocketManager::udsPathFor(directory, id);
  }

private:
  struct FreeRequest {
    void operator()(hmc_request_t *request) const { hmc_request_free(request); }
  };

  /* An operation in flight, and its peer, which it needs until it is complete. */
  struct Started {
    std::shared_ptr<hmc_detail::Peer> peer;
    std::shared_ptr<hmc_request_t> request; /* goes first */
  };

  /* Apart from the object, which moves. Its address is the Communicator's name as an owner in the endpoint. */
  struct State {
    State(std::shared_ptr<ConnBuffer> buffer_, size_t channels_, CtrlSocketManager &control_)
        : buffer(std::move(buffer_)), channels(channels_), control(&control_) {
      if (buffer) buffer->endpoint_.attach();
    }

    ~State() {
      requests.clear();
      close_control();
      if (buffer) buffer->endpoint_.detach(this);
    }

    void close_control() {
      std::set<CtrlId> closing;
      {
        std::lock_guard<std::mutex> lock(mutex);
        closing.swap(ranks);
      }
      for (CtrlId rank : closing) control->close(rank);
      if (serves_control.exchange(false)) control->stop();
    }

    const std::shared_ptr<ConnBuffer> buffer;
    const size_t channels;
    CtrlSocketManager *const control;
    std::atomic<bool> serves_control{false};
    std::atomic<bool> has_warned{false};
    std::atomic<uint16_t> data_port{0};
    std::atomic<uint64_t> messages_seen{0}; /* of control->received_, when peers were last taken in */
    std::mutex mutex;                       /* the fields below */
    std::unordered_map<uint64_t, Started> requests;
    uint64_t last_request = 0;
    std::set<CtrlId> ranks; /* whose control links were used here */
  };

  /* Hands a status on; the first failure is logged, because many programs do not look. */
  status_t warn(const char *call, const std::string &ip, uint16_t port, status_t status) {
    if (status == status_t::SUCCESS || state_->has_warned.exchange(true)) return status;
    std::string text = std::string(call) + "(" + ip + ", " + std::to_string(port) + ") failed: " + last_error();
    hmc_log_write(HMC_LOG_WARNING, text.c_str());
    return status;
  }

  /* Peers that require the same type will be refused. */
  void warn_of_type(ConnType type) {
    char reason[256];
    hmc_connection_type_t wanted = hmc_detail::connection_type(type);
    if (hmc_connection_type_probe(wanted, reason, sizeof(reason)) == HMC_SUCCESS || state_->has_warned.exchange(true))
      return;
    std::string text = std::string("initServer asks for ") + hmc_connection_type_name(wanted) +
                       ", which does not work here, so peers that ask for it are refused: " + reason;
    hmc_log_write(HMC_LOG_WARNING, text.c_str());
  }

  hmc_detail::Endpoint &endpoint() const { return state_->buffer->endpoint_; }

  status_t ready() const {
    if (!state_->buffer)
      return hmc_detail::fail(status_t::INVALID_CONFIG, "the Communicator was made without a ConnBuffer");
    status_t status = state_->buffer->status_;
    return status == status_t::SUCCESS ? status : state_->buffer->unusable();
  }

  status_t serve(const std::string &bind_ip, uint16_t port) {
    status_t status = ready();
    if (status != status_t::SUCCESS) return status;
    if (port && endpoint().listens(state_.get(), bind_ip, port)) return status_t::SUCCESS;
    uint16_t bound_port = 0;
    status = endpoint().listen(state_.get(), bind_ip, port, &bound_port);
    if (status == status_t::SUCCESS) state_->data_port = bound_port;
    return status;
  }

  /* NULL and the wrong kind of memory have always been an ERROR. */
  static status_t answer_exchange(status_t status) {
    return status == status_t::INVALID_CONFIG ? status_t::ERROR : hmc_detail::answer(status);
  }

  status_t within_buffer(const char *call, size_t bias, size_t size) const {
    status_t status = ready();
    if (status == status_t::SUCCESS) status = state_->buffer->check_range(call, bias, size);
    return hmc_detail::answer(status);
  }

  static status_t probe(ConnType type) {
    if (type == ConnType::AUTO) return status_t::SUCCESS;
    return hmc_detail::check(hmc_connection_type_probe(hmc_detail::connection_type(type), nullptr, 0));
  }

  status_t ready_for(ConnType type) const {
    status_t status = ready();
    return status == status_t::SUCCESS ? probe(type) : status;
  }

  hmc_detail::Exchange exchange(const char *call, const std::string &ip, uint16_t port, ConnType type) const {
    return hmc_detail::Exchange(call, endpoint(), state_->buffer->region(), state_.get(), ip, port,
                                hmc_detail::connection_type(type));
  }

  void note_rank(CtrlId rank) {
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->ranks.insert(rank);
  }

  /* The peer that a call means; port 0: by ip alone. */
  status_t find(const char *call, const std::string &ip, uint16_t port, ConnType type,
                std::shared_ptr<hmc_detail::Peer> *found) {
    status_t status = ready();
    if (status != status_t::SUCCESS) return status;
    hmc_connection_type_t wanted = hmc_detail::connection_type(type);
    if (!port && is_news()) endpoint().take_in(1);
    *found = endpoint().find(state_.get(), ip, port, wanted);
    if (*found) return status_t::SUCCESS;
    if (endpoint().was_listening()) {
      endpoint().take_in(ARRIVAL_MS);
      *found = endpoint().find(state_.get(), ip, port, wanted);
      if (*found) return status_t::SUCCESS;
    }
    return not_connected(call, ip, port, type);
  }

  /* True once after each control message that came in, where peers can dial in at all. */
  bool is_news() {
    uint64_t received = state_->control->received_.load();
    return received != state_->messages_seen.exchange(received) && endpoint().was_listening();
  }

  status_t not_connected(const char *call, const std::string &ip, uint16_t port, ConnType type) {
    std::string at = port ? ip + ":" + std::to_string(port) : ip;
    std::shared_ptr<hmc_detail::Peer> other = endpoint().find(state_.get(), ip, port, HMC_CONNECTION_AUTO);
    if (other)
      return hmc_detail::fail(status_t::NOT_FOUND, "%s: %s is connected by %s, not by %s", call, at.c_str(),
                              hmc_connection_type_name(other->type()),
                              hmc_connection_type_name(hmc_detail::connection_type(type)));
    return hmc_detail::fail(status_t::NOT_FOUND, "%s: no connection with %s: call connectTo first", call, at.c_str());
  }

  status_t hang_up(const std::string &ip, uint16_t port, ConnType type) {
    std::shared_ptr<hmc_detail::Peer> peer;
    status_t status = find("disConnect", ip, port, type, &peer);
    if (status == status_t::NOT_FOUND) return status_t::SUCCESS;
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    for (const auto &lost : endpoint().take_out(state_.get(), ip, port, hmc_detail::connection_type(type)))
      cancel_all(lost);
    return status_t::SUCCESS;
  }

  /* Ends what is in flight to a peer, and only then lets go of it: who waits for an operation meanwhile holds the peer.
   */
  void cancel_all(const std::shared_ptr<hmc_detail::Peer> &peer) {
    std::unordered_map<uint64_t, Started> ended;
    {
      std::lock_guard<std::mutex> lock(state_->mutex);
      for (const auto &each : state_->requests)
        if (each.second.peer == peer) ended.insert(each);
    }
    for (const auto &each : ended) hmc_request_cancel(each.second.request.get());
    std::lock_guard<std::mutex> lock(state_->mutex);
    for (auto &each : state_->requests)
      if (ended.count(each.first)) each.second.peer.reset();
  }

  status_t check_connection(const std::string &ip, uint16_t port, ConnType type) {
    status_t status = ready();
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    if (endpoint().was_listening()) endpoint().take_in(1);
    std::shared_ptr<hmc_detail::Peer> peer;
    status = find("checkConn", ip, port, type, &peer);
    if (status == status_t::SUCCESS && !peer->is_connected())
      status = hmc_detail::fail(status_t::PEER_LOST, "checkConn: the peer at %s has hung up", ip.c_str());
    return hmc_detail::answer(status);
  }

  status_t find_buffer(const char *call, const std::string &ip, uint16_t port, ConnType type,
                       std::shared_ptr<hmc_detail::Peer> *peer, hmc_remote_t **remote) {
    status_t status = find(call, ip, port, type, peer);
    return status == status_t::SUCCESS ? (*peer)->open_buffer(remote) : status;
  }

  template <typename Operation>
  status_t transfer(const char *call, Operation operation, const std::string &ip, uint16_t port, size_t local_off,
                    size_t remote_off, size_t size, ConnType type) {
    std::shared_ptr<hmc_detail::Peer> peer;
    hmc_remote_t *remote;
    status_t status = find_buffer(call, ip, port, type, &peer, &remote);
    if (status == status_t::SUCCESS)
      status = hmc_detail::check(operation(state_->buffer->region(), local_off, remote, remote_off, size));
    return hmc_detail::answer(status);
  }

  template <typename Operation>
  status_t start(const char *call, Operation operation, const std::string &ip, uint16_t port, size_t local_off,
                 size_t remote_off, size_t size, uint64_t *wr_id, ConnType type) {
    std::shared_ptr<hmc_detail::Peer> peer;
    hmc_remote_t *remote;
    status_t status = find_buffer(call, ip, port, type, &peer, &remote);
    hmc_request_t *started = nullptr;
    if (status == status_t::SUCCESS)
      status = hmc_detail::check(
          operation(state_->buffer->region(), local_off, remote, remote_off, size, nullptr, &started));
    if (status != status_t::SUCCESS) return hmc_detail::answer(status);
    std::shared_ptr<hmc_request_t> request(started, FreeRequest());
    Started entry = {std::move(peer), std::move(request)};
    std::lock_guard<std::mutex> lock(state_->mutex);
    state_->requests[state_->last_request + 1] = std::move(entry);
    uint64_t id = ++state_->last_request;
    if (wr_id) *wr_id = id;
    return status_t::SUCCESS;
  }

  template <typename Operation>
  status_t pipeline(const char *call, Operation operation, const std::string &ip, uint16_t port, size_t local_off,
                    size_t remote_off, size_t size, size_t chunk_size, size_t max_inflight, ConnType type) {
    std::shared_ptr<hmc_detail::Peer> peer;
    hmc_remote_t *remote;
    status_t status = find_buffer(call, ip, port, type, &peer, &remote);
    if (status == status_t::SUCCESS) status = state_->buffer->check_range(call, local_off, size);
    size_t chunk = chunk_size ? chunk_size : size_t{1} << 20;
    std::queue<std::unique_ptr<hmc_request_t, FreeRequest>> started;
    for (size_t done = 0; status == status_t::SUCCESS && done < size; done += chunk) {
      hmc_request_t *request = nullptr;
      status = hmc_detail::check(operation(state_->buffer->region(), local_off + done, remote, remote_off + done,
                                           std::min(chunk, size - done), nullptr, &request));
      if (status != status_t::SUCCESS) break;
      started.emplace(request);
      if (started.size() < std::max<size_t>(max_inflight, 1)) continue;
      status = hmc_detail::check(hmc_request_wait(started.front().get()));
      started.pop();
    }
    while (status == status_t::SUCCESS && !started.empty()) {
      status = hmc_detail::check(hmc_request_wait(started.front().get()));
      started.pop();
    }
    return hmc_detail::answer(status);
  }

  /* How long a call waits for a peer whose handshake is not over. */
  enum : uint64_t { ARRIVAL_MS = 50 };

  std::unique_ptr<State> state_;
};

} // namespace v0
} // namespace hmc
#endif
