/* One transfer: what NIXL calls a request handle. It is one batch over as many regions as its blocks lie in, with its
 * notification behind it; HMC moves it on and sends the notification whether anybody polls or not.
 *
 * Invariant: the status is only final when the request is complete, and nothing of it lands or is read after that.
 * NIXL serialises the calls on one handle. */
#ifndef HMC_NIXL_TRANSFER_HPP
#define HMC_NIXL_TRANSFER_HPP

#include "engine.hpp"

namespace hmc_nixl {

class Transfer final : public nixl_abi::RequestHandle {
public:
  Transfer(nixl_abi::Operation operation, std::shared_ptr<Agent> agent)
      : operation_(operation), agent_(std::move(agent)) {}
  ~Transfer() override;

  /* Makes the batch of the blocks, whose regions are open. agent's lock held. */
  hmc_status_t prepare(const nixl_abi::MetaList &local, const nixl_abi::MetaList &remote);
  /* True where the batch belongs to the connection that the agent has now. agent's lock held. */
  bool is_current() const { return batch_ && connection_ == agent_->connections && agent_->peer; }
  const std::shared_ptr<Agent> &agent() const { return agent_; }

  /* Ends it without starting; as post. */
  Status fail(hmc_status_t status);
  /* Starts it; `note` is the notification as it travels, empty for none. agent's lock held. */
  Status post(const std::string &note, uint64_t deadline_ms);
  /* How it stands; the calling thread moves on what it can. */
  Status check();

private:
  void forget();

  const nixl_abi::Operation operation_;
  std::shared_ptr<Agent> agent_;
  uint64_t connection_ = 0;
  hmc_batch_t *batch_ = nullptr;
  hmc_request_t *request_ = nullptr; /* of the last post, while it is not known to be complete */
  Status status_ = nixl_abi::NOT_POSTED;
};

} // namespace hmc_nixl
#endif
