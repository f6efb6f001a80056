#include "transfer.hpp"

#include <arpa/inet.h>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <ifaddrs.h>
#include <net/if.h>
#include <random>
#include <sstream>
#include <unistd.h>

using namespace nixl_abi;

namespace hmc_nixl {
namespace {

constexpr char GREETING[] = "hmc1";    /* begins the connection information and the public data */
constexpr char MAILBOX[] = "hmc-nixl"; /* the region that notifications of their own are addressed to */
constexpr uint64_t DIAL_MS = 10000;    /* for one address of an agent */
constexpr size_t MAILBOX_BYTES = 64;

void complain(const char *what) { std::fprintf(stderr, "hmc: NIXL backend: %s: %s\n", what, hmc_last_error()); }

std::string random_token() {
  std::random_device random;
  char text[33];
  for (int i = 0; i < 4; i++) std::snprintf(text + 8 * i, 9, "%08x", static_cast<unsigned>(random()));
  return text;
}

std::string host_name() {
  char name[65] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

/* The addresses at which other hosts may reach this one. */
std::vector<std::string> own_addresses() {
  std::vector<std::string> found;
  ifaddrs *list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (ifaddrs *at = list; at; at = at->ifa_next) {
    if (!at->ifa_addr || !(at->ifa_flags & IFF_UP) || at->ifa_flags & IFF_LOOPBACK) continue;
    char text[INET6_ADDRSTRLEN];
    if (at->ifa_addr->sa_family == AF_INET) {
      auto *v4 = reinterpret_cast<sockaddr_in *>(at->ifa_addr);
      found.push_back(inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text));
    }
  }
  freeifaddrs(list);
  return found;
}

/* What travels with a notification: who sent it, then the message. */
std::string note_of(const std::string &agent, const std::string &message) {
  auto length = static_cast<uint16_t>(agent.size());
  std::string note;
  note.reserve(2 + agent.size() + message.size());
  note.push_back(static_cast<char>(length & 0xff));
  note.push_back(static_cast<char>(length >> 8));
  return note.append(agent).append(message);
}

bool read_note(std::string_view note, std::string &agent, std::string &message) {
  if (note.size() < 2) return false;
  size_t length = static_cast<uint8_t>(note[0]) | static_cast<size_t>(static_cast<uint8_t>(note[1])) << 8;
  if (note.size() < 2 + length) return false;
  agent = note.substr(2, length);
  message = note.substr(2 + length);
  return true;
}

/* The agent's information: greeting, token, host, port, then its addresses, one a word. */
struct Address {
  std::string token, host;
  uint16_t port = 0;
  std::vector<std::string> places;
};

bool read_address(const std::string &info, Address &address) {
  std::istringstream words(info);
  std::string greeting, place;
  unsigned port = 0;
  if (!(words >> greeting >> address.token >> address.host >> port) || greeting != GREETING || !port || port > 65535)
    return false;
  address.port = static_cast<uint16_t>(port);
  /* Another host may have this port on its loopback too: only the same host is looked for there. */
  if (address.host == host_name()) address.places.push_back("127.0.0.1");
  while (words >> place) address.places.push_back(place);
  return !address.places.empty();
}

template <typename Number> bool read_number(std::string_view text, Number &number, int base = 10) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  return error == std::errc() && end == text.data() + text.size();
}

} // namespace

Status status_of(hmc_status_t status) {
  switch (status) {
  case HMC_SUCCESS: return SUCCESS;
  case HMC_IN_PROGRESS: return IN_PROGRESS;
  case HMC_PEER_LOST: return REMOTE_DISCONNECT;
  case HMC_CANCELLED: return CANCELED;
  case HMC_STALE:
  case HMC_NOT_FOUND: return NOT_FOUND;
  case HMC_OUT_OF_RANGE:
  case HMC_INVALID_CONFIG: return INVALID_PARAM;
  case HMC_DENIED: return NOT_ALLOWED;
  case HMC_UNSUPPORT: return NOT_SUPPORTED;
  default: return BACKEND; /* a deadline that passed, corrupt data, no memory */
  }
}

const Parameters &default_parameters() {
  static const Parameters parameters = {
      {"transport", "auto"}, /* auto, shm, tcp, rdma, ucx */
      {"deadline_ms", "0"},  /* of each transfer; 0: HMC_TIMEOUT */
      {"address", ""},       /* the IP address to listen on; empty: all of this host */
      {"port", "0"},         /* 0: a free one */
      {"secret", ""},        /* shared by all agents; empty: HMC_SECRET_FILE, HMC_SECRET, else the user's own */
  };
  return parameters;
}

/* ---- making and ending ------------------------------------------------------------------------------------------- */

Engine::Engine(const InitParameters *init) : nixl_abi::Engine(init) { init_error_ = !open(); }

bool Engine::open() {
  auto text = [this](const char *name) {
    auto found = parameters().find(name);
    return found == parameters().end() ? default_parameters().at(name) : found->second;
  };
  if (hmc_connection_type_parse(text("transport").c_str(), &type_) != HMC_SUCCESS) {
    complain("parameter transport");
    return false;
  }
  if (!read_number(text("deadline_ms"), deadline_ms_)) {
    std::fprintf(stderr, "hmc: NIXL backend: deadline_ms=%s is not a number of milliseconds\n",
                 text("deadline_ms").c_str());
    return false;
  }
  std::string token = random_token(), secret = text("secret");
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.name = token.c_str();
  options.timeout_ms = deadline_ms_;
  options.secret = secret.empty() ? nullptr : secret.c_str();
  if (hmc_context_create(&options, &context_) != HMC_SUCCESS) {
    complain("cannot make a context");
    return false;
  }
  hmc_memory_t memory = {HMC_MEMORY_CPU, 0};
  if (hmc_region_allocate(context_, memory, MAILBOX_BYTES, MAILBOX, HMC_REMOTE_WRITE, &mailbox_) != HMC_SUCCESS) {
    complain("cannot make a mailbox");
    return false;
  }
  uint16_t port = 0, bound = 0;
  if (!read_number(text("port"), port)) {
    std::fprintf(stderr, "hmc: NIXL backend: port=%s is not a port\n", text("port").c_str());
    return false;
  }
  std::string address = text("address");
  if (hmc_context_listen(context_, address.empty() ? "0.0.0.0" : address.c_str(), port, &bound) != HMC_SUCCESS) {
    complain("cannot listen");
    return false;
  }
  info_ = std::string(GREETING) + " " + token + " " + host_name() + " " + std::to_string(bound);
  for (const std::string &place : address.empty() ? own_addresses() : std::vector<std::string>{address})
    info_ += " " + place;
  return true;
}

Engine::~Engine() {
  for (auto &[name, agent] : agents_) {
    std::lock_guard<std::mutex> hold(agent->lock);
    hang_up(*agent);
  }
  hmc_context_destroy(context_);
}

std::vector<Segment> Engine::supported_segments() const { return {DRAM, VRAM}; }

/* ---- memory ------------------------------------------------------------------------------------------------------ */

Status Engine::register_memory(const BlobDescriptor &memory, const Segment &segment, Metadata *&out) {
  if (segment != DRAM && segment != VRAM) return NOT_SUPPORTED;
  auto local = std::make_unique<Local>();
  local->base = memory.address;
  local->bytes = memory.length;
  local->name = "nixl-" + std::to_string(next_name_++);
  void *pointer = reinterpret_cast<void *>(memory.address); // NOLINT(performance-no-int-to-ptr)
  hmc_status_t status =
      hmc_region_register(context_, pointer, memory.length, local->name.c_str(), HMC_REMOTE_ALL, &local->region);
  if (status != HMC_SUCCESS) {
    complain("cannot register memory");
    return status_of(status);
  }
  out = local.release();
  return SUCCESS;
}

Status Engine::deregister_memory(Metadata *metadata) {
  auto *local = static_cast<Local *>(metadata);
  hmc_region_close(local->region);
  delete local;
  return SUCCESS;
}

/* Greeting, where the memory lies, and its region's name. */
Status Engine::public_data(const Metadata *metadata, std::string &out) const {
  const auto *local = static_cast<const Local *>(metadata);
  char text[64];
  std::snprintf(text, sizeof text, "%s %zx %zx ", GREETING, static_cast<size_t>(local->base), local->bytes);
  out = text + local->name;
  return SUCCESS;
}

Status Engine::load_remote_metadata(const BlobDescriptor &input, const Segment &, const std::string &agent,
                                    Metadata *&out) {
  std::istringstream words(input.blob);
  std::string greeting, base, bytes;
  auto remote = std::make_unique<Remote>();
  if (!(words >> greeting >> base >> bytes >> remote->name) || greeting != GREETING ||
      !read_number(base, remote->base, 16) || !read_number(bytes, remote->bytes, 16))
    return MISMATCH;
  remote->agent = find(agent);
  if (!remote->agent) return NOT_FOUND;
  out = remote.release();
  return SUCCESS;
}

/* The agent reaches its own memory as it reaches everybody's: it connects to itself. */
Status Engine::load_local_metadata(Metadata *input, Metadata *&out) {
  const auto *local = static_cast<const Local *>(input);
  auto remote = std::make_unique<Remote>();
  remote->name = local->name;
  remote->base = local->base;
  remote->bytes = local->bytes;
  std::lock_guard<std::mutex> hold(lock_);
  auto &agent = agents_[local_agent_];
  if (!agent) agent = std::make_shared<Agent>();
  agent->info = info_;
  remote->agent = agent;
  out = remote.release();
  return SUCCESS;
}

Status Engine::unload_metadata(Metadata *metadata) {
  auto *remote = static_cast<Remote *>(metadata);
  {
    std::lock_guard<std::mutex> hold(remote->agent->lock);
    if (remote->handle && remote->connection == remote->agent->connections && remote->agent->peer)
      hmc_remote_close(remote->handle);
  }
  delete remote;
  return SUCCESS;
}

/* ---- agents ------------------------------------------------------------------------------------------------------ */

Status Engine::connection_info(std::string &out) const {
  out = info_;
  return SUCCESS;
}

Status Engine::load_connection_info(const std::string &name, const std::string &info) {
  Address address;
  if (!read_address(info, address)) return MISMATCH;
  std::shared_ptr<Agent> agent;
  {
    std::lock_guard<std::mutex> hold(lock_);
    auto &entry = agents_[name];
    if (!entry) entry = std::make_shared<Agent>();
    agent = entry;
  }
  std::lock_guard<std::mutex> hold(agent->lock);
  if (agent->info != info) hang_up(*agent); /* a restarted agent is a new one */
  agent->info = info;
  return SUCCESS;
}

std::shared_ptr<Agent> Engine::find(const std::string &name) const {
  std::lock_guard<std::mutex> hold(lock_);
  auto found = agents_.find(name);
  return found == agents_.end() ? nullptr : found->second;
}

void Engine::hang_up(Agent &agent) const {
  hmc_peer_close(agent.peer); /* its remote regions go with it */
  agent.peer = nullptr;
  agent.mailbox = nullptr;
}

hmc_status_t Engine::dial(Agent &agent) const {
  if (agent.peer) {
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    if (hmc_peer_get_info(agent.peer, &info) == HMC_SUCCESS && info.state == HMC_PEER_CONNECTED) return HMC_SUCCESS;
    hang_up(agent);
  }
  Address address;
  if (!read_address(agent.info, address)) return HMC_NOT_FOUND;
  hmc_status_t status = HMC_NOT_FOUND;
  for (const std::string &place : address.places) {
    hmc_peer_t *peer = nullptr;
    status = hmc_context_connect(context_, place.c_str(), address.port, type_, DIAL_MS, &peer);
    if (status != HMC_SUCCESS) continue;
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    hmc_remote_t *mailbox = nullptr;
    status = hmc_peer_get_info(peer, &info);
    if (status == HMC_SUCCESS && address.token != info.name) status = HMC_NOT_FOUND; /* somebody else's context */
    if (status == HMC_SUCCESS) status = hmc_remote_open(peer, MAILBOX, DIAL_MS, &mailbox);
    if (status != HMC_SUCCESS) {
      hmc_peer_close(peer);
      continue;
    }
    agent.peer = peer;
    agent.mailbox = mailbox;
    agent.connections++;
    return HMC_SUCCESS;
  }
  complain("cannot reach an agent");
  return status == HMC_NOT_FOUND || status == HMC_TIMEOUT ? HMC_PEER_LOST : status;
}

hmc_status_t Engine::open_remote(Remote &remote) const {
  if (remote.handle && remote.connection == remote.agent->connections) return HMC_SUCCESS;
  hmc_status_t status = hmc_remote_open(remote.agent->peer, remote.name.c_str(), deadline_ms_, &remote.handle);
  if (status != HMC_SUCCESS) {
    remote.handle = nullptr;
    return status;
  }
  remote.connection = remote.agent->connections;
  return HMC_SUCCESS;
}

Status Engine::connect(const std::string &name) {
  std::shared_ptr<Agent> agent = find(name);
  if (!agent && name == local_agent_) { /* before any memory was registered */
    std::lock_guard<std::mutex> hold(lock_);
    agent = agents_[name] = std::make_shared<Agent>();
    agent->info = info_;
  }
  if (!agent) return NOT_FOUND;
  std::lock_guard<std::mutex> hold(agent->lock);
  return status_of(dial(*agent));
}

Status Engine::disconnect(const std::string &name) {
  std::shared_ptr<Agent> agent = find(name);
  if (!agent) return NOT_FOUND;
  std::lock_guard<std::mutex> hold(agent->lock);
  hang_up(*agent);
  return SUCCESS;
}

/* ---- transfers --------------------------------------------------------------------------------------------------- */

/* Connects, opens every remote region of the list, and makes the transfer's batch of them. agent.lock held. */
hmc_status_t Engine::ready(Transfer &transfer, const MetaList &local, const MetaList &remote) const {
  hmc_status_t status = dial(*transfer.agent());
  for (size_t i = 0; status == HMC_SUCCESS && i < remote.size(); i++)
    status = open_remote(*static_cast<Remote *>(remote[i].metadata));
  return status == HMC_SUCCESS ? transfer.prepare(local, remote) : status;
}

Status Engine::prepare(const Operation &operation, const MetaList &local, const MetaList &remote,
                       const std::string &name, RequestHandle *&handle, const OperationOptions *) const {
  std::shared_ptr<Agent> agent = find(name);
  if (!agent) return NOT_FOUND;
  if (local.size() != remote.size() || !local.size()) return INVALID_PARAM;
  auto transfer = std::make_unique<Transfer>(operation, agent);
  std::lock_guard<std::mutex> hold(agent->lock);
  hmc_status_t status = ready(*transfer, local, remote);
  if (status != HMC_SUCCESS) {
    complain("cannot prepare a transfer");
    return status_of(status);
  }
  handle = transfer.release();
  return SUCCESS;
}

Status Engine::post(const Operation &, const MetaList &local, const MetaList &remote, const std::string &,
                    RequestHandle *&handle, const OperationOptions *options) const {
  auto *transfer = static_cast<Transfer *>(handle);
  if (!transfer) return INVALID_PARAM;
  std::lock_guard<std::mutex> hold(transfer->agent()->lock);
  if (!transfer->is_current()) { /* the connection is another one since: its regions are opened again */
    hmc_status_t status = ready(*transfer, local, remote);
    if (status != HMC_SUCCESS) return transfer->fail(status);
  }
  std::string note = options && options->has_notification ? note_of(local_agent_, options->notification) : "";
  if (note.size() > HMC_NOTIFICATION_MAX) return INVALID_PARAM;
  return transfer->post(note, deadline_ms_);
}

Status Engine::check(RequestHandle *handle) const { return static_cast<Transfer *>(handle)->check(); }

Status Engine::release(RequestHandle *handle) const {
  delete static_cast<Transfer *>(handle);
  return SUCCESS;
}

/* ---- notifications ----------------------------------------------------------------------------------------------- */

Status Engine::notifications(Notifications &list) {
  for (;;) {
    hmc_event_t events[16] = {HMC_EVENT_INIT};
    size_t count = 0;
    hmc_status_t status =
        hmc_poll_kinds(context_, HMC_EVENT_BIT(HMC_EVENT_NOTIFICATION), events, 16, &count, HMC_NO_WAIT);
    if (status == HMC_TIMEOUT) return SUCCESS;
    if (status != HMC_SUCCESS) return status_of(status);
    for (size_t i = 0; i < count; i++) {
      std::string agent, message;
      if (read_note({static_cast<const char *>(events[i].data), events[i].data_size}, agent, message))
        list.emplace_back(std::move(agent), std::move(message));
      hmc_notification_free(events[i].data);
    }
  }
}

Status Engine::notify(const std::string &name, const std::string &message) const {
  std::shared_ptr<Agent> agent = find(name);
  if (!agent) return NOT_FOUND;
  std::string note = note_of(local_agent_, message);
  if (note.size() > HMC_NOTIFICATION_MAX) return INVALID_PARAM;
  std::lock_guard<std::mutex> hold(agent->lock);
  hmc_status_t status = dial(*agent);
  if (status != HMC_SUCCESS) return status_of(status);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = deadline_ms_;
  options.notification = note.data();
  options.notification_size = note.size();
  hmc_request_t *request = nullptr;
  status = hmc_put_nb(mailbox_, 0, agent->mailbox, 0, 0, &options, &request);
  if (status == HMC_SUCCESS) status = hmc_request_wait(request);
  hmc_request_free(request);
  return status_of(status);
}

} // namespace hmc_nixl
