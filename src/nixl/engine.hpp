/* The engine behind NIXL's agent: one HMC context, its connections, its registered memory, its transfers.
 *
 * How it maps. An agent's connection information is the list of addresses at which its context listens, with a token that
 * the context carries as its name: so a dialler knows that it has reached that agent and not another one at the same
 * address. Registered memory becomes a region, and its public data that region's name and where it lies. A transfer is
 * one batch over all its regions, with its notification behind it; nobody has to poll for it to be sent.
 *
 * What a status means. A transfer only reports an end, good or bad, when all its operations have ended; HMC promises that
 * nothing lands or is read afterwards. So every error of a transfer also means that its memory may be used again.
 *
 * Locking. `lock_` guards the tables of agents; it is never held while a call waits for a peer, but for the dialling of
 * one agent, which has a lock of its own. Transfers are independent of each other; NIXL serialises calls on one. */
#ifndef HMC_NIXL_ENGINE_HPP
#define HMC_NIXL_ENGINE_HPP

#include "abi.hpp"

#include <atomic>
#include <hmc.h>
#include <map>
#include <memory>
#include <string_view>

namespace hmc_nixl {

using nixl_abi::Status;

/* What NIXL is to hear of a status of HMC's. */
Status status_of(hmc_status_t status);

/* How another agent, or this one, is reached. */
struct Agent {
  std::string info;           /* as it came */
  std::mutex lock;            /* held while one dials; guards what follows */
  hmc_peer_t *peer = nullptr; /* nullptr: not connected */
  hmc_remote_t *mailbox = nullptr;
  uint64_t connections = 0; /* counts: remote regions belong to one of them */
};

/* Memory of this agent. */
struct Local : nixl_abi::Metadata {
  Local() : Metadata(true) {}
  hmc_region_t *region = nullptr;
  uintptr_t base = 0;
  size_t bytes = 0;
  std::string name;
};

/* Memory of some agent, as its public data say; opened when a transfer needs it first. */
struct Remote : nixl_abi::Metadata {
  Remote() : Metadata(false) {}
  std::shared_ptr<Agent> agent;
  std::string name;
  uintptr_t base = 0;
  size_t bytes = 0;
  hmc_remote_t *handle = nullptr; /* agent->lock */
  uint64_t connection = 0;        /* agent->lock; the one that `handle` belongs to */
};

class Engine final : public nixl_abi::Engine {
public:
  explicit Engine(const nixl_abi::InitParameters *init);
  ~Engine() override;

  bool supports_remote() const override { return true; }
  bool supports_local() const override { return true; }
  bool supports_notifications() const override { return true; }
  std::vector<nixl_abi::Segment> supported_segments() const override;

  Status register_memory(const nixl_abi::BlobDescriptor &memory, const nixl_abi::Segment &segment,
                         nixl_abi::Metadata *&out) override;
  Status deregister_memory(nixl_abi::Metadata *metadata) override;
  Status connect(const std::string &agent) override;
  Status disconnect(const std::string &agent) override;
  Status unload_metadata(nixl_abi::Metadata *metadata) override;
  Status prepare(const nixl_abi::Operation &operation, const nixl_abi::MetaList &local,
                 const nixl_abi::MetaList &remote, const std::string &agent, nixl_abi::RequestHandle *&handle,
                 const nixl_abi::OperationOptions *options) const override;
  Status post(const nixl_abi::Operation &operation, const nixl_abi::MetaList &local, const nixl_abi::MetaList &remote,
              const std::string &agent, nixl_abi::RequestHandle *&handle,
              const nixl_abi::OperationOptions *options) const override;
  Status check(nixl_abi::RequestHandle *handle) const override;
  Status release(nixl_abi::RequestHandle *handle) const override;
  Status public_data(const nixl_abi::Metadata *metadata, std::string &out) const override;
  Status connection_info(std::string &out) const override;
  Status load_connection_info(const std::string &agent, const std::string &info) override;
  Status load_remote_metadata(const nixl_abi::BlobDescriptor &input, const nixl_abi::Segment &segment,
                              const std::string &agent, nixl_abi::Metadata *&out) override;
  Status load_local_metadata(nixl_abi::Metadata *input, nixl_abi::Metadata *&out) override;
  Status notifications(nixl_abi::Notifications &list) override;
  Status notify(const std::string &agent, const std::string &message) const override;

private:
  bool open();
  bool listen();
  std::shared_ptr<Agent> find(const std::string &name) const;
  hmc_status_t dial(Agent &agent) const;          /* agent.lock held; HMC_SUCCESS: it is connected */
  hmc_status_t open_remote(Remote &remote) const; /* agent->lock held and connected */
  void hang_up(Agent &agent) const;               /* agent.lock held */
  hmc_status_t ready(class Transfer &transfer, const nixl_abi::MetaList &local, const nixl_abi::MetaList &remote) const;

  hmc_context_t *context_ = nullptr;
  hmc_region_t *mailbox_ = nullptr; /* a word that nobody reads: notifications of their own are puts of nothing to it */
  hmc_connection_type_t type_ = HMC_CONNECTION_AUTO;
  uint64_t deadline_ms_ = 0;
  std::string info_;
  mutable std::mutex lock_;
  std::map<std::string, std::shared_ptr<Agent>> agents_; /* lock_ */
  std::atomic<uint64_t> next_name_{1};
};

/* How the plug-in is set, with its defaults. */
const nixl_abi::Parameters &default_parameters();

} // namespace hmc_nixl
#endif
