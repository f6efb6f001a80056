/* One transfer: what NIXL calls a request handle.
 *
 * Invariant: `under_way_` counts the operations that have not ended, and one more while they are being started. Whoever
 * brings it to zero, in the thread that posts or in HMC's service thread, sends the notification or, where there is none
 * or something failed, sets the final status. `status_` is only final when nothing is under way. */
#ifndef HMC_NIXL_TRANSFER_HPP
#define HMC_NIXL_TRANSFER_HPP

#include "engine.hpp"

namespace hmc_nixl {

class Transfer final : public nixl_abi::RequestHandle {
public:
  Transfer(nixl_abi::Operation operation, std::shared_ptr<Agent> agent)
      : operation_(operation), agent_(std::move(agent)) {}
  ~Transfer() override;

  /* Sorts the blocks into one batch per pair of regions. agent's lock held. */
  hmc_status_t prepare(const nixl_abi::MetaList &local, const nixl_abi::MetaList &remote);
  /* True where the batches belong to the connection that the agent has now. agent's lock held. */
  bool is_current() const { return connection_ == agent_->connections && agent_->peer; }
  const std::shared_ptr<Agent> &agent() const { return agent_; }

  /* Ends it without starting; as post. */
  Status fail(hmc_status_t status);
  /* Starts it; `note` is the notification as it travels, empty for none. agent's lock held. */
  Status post(const std::string &note, hmc_region_t *mailbox, uint64_t deadline_ms);
  Status status() const { return status_.load(std::memory_order_acquire); }
  /* Lets the calling thread move on what it can; whoever polls is not to wait for a thread that sleeps. */
  void progress();
  /* Ends what is under way. Afterwards nothing of it lands any more. */
  void cancel();

private:
  static void on_data(hmc_request_t *request, hmc_status_t status, void *user);
  static void on_note(hmc_request_t *request, hmc_status_t status, void *user);
  void note_failure(hmc_status_t status);
  void leave();
  void send_note();
  void forget_requests();

  const nixl_abi::Operation operation_;
  std::shared_ptr<Agent> agent_;
  uint64_t connection_ = 0;
  std::vector<hmc_batch_t *> batches_;
  std::vector<hmc_request_t *> requests_; /* of the data; freed before the next post and at the end */
  hmc_request_t *note_request_ = nullptr;
  std::string note_;
  hmc_region_t *mailbox_ = nullptr;
  uint64_t deadline_ms_ = 0;
  std::atomic<int> under_way_{0};
  std::atomic<int> failure_{HMC_SUCCESS};
  std::atomic<Status> status_{nixl_abi::NOT_POSTED};
};

} // namespace hmc_nixl
#endif
