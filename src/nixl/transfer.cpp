#include "transfer.hpp"

namespace hmc_nixl {

Transfer::~Transfer() {
  forget();
  hmc_batch_free(batch_);
}

hmc_status_t Transfer::prepare(const nixl_abi::MetaList &local, const nixl_abi::MetaList &remote) {
  std::vector<hmc_piece_t> pieces(local.size());
  unsigned flags = operation_ == nixl_abi::WRITE ? 0 : HMC_PIECE_GET;
  for (size_t i = 0; i < pieces.size(); i++) {
    const auto *here = static_cast<const Local *>(local[i].metadata);
    const auto *there = static_cast<const Remote *>(remote[i].metadata);
    if (local[i].length != remote[i].length) return HMC_INVALID_CONFIG;
    pieces[i] = {here->region,    there->handle, local[i].address - here->base, remote[i].address - there->base,
                 local[i].length, flags};
  }
  hmc_batch_t *batch = nullptr;
  hmc_status_t status = hmc_batch_create_pieces(pieces.data(), pieces.size(), &batch);
  if (status != HMC_SUCCESS) return status;
  forget();
  hmc_batch_free(batch_);
  batch_ = batch;
  connection_ = agent_->connections;
  return HMC_SUCCESS;
}

/* Ends what is in progress: nothing of it lands any more then. */
void Transfer::forget() {
  hmc_request_free(request_);
  request_ = nullptr;
}

Status Transfer::post(const std::string &note, uint64_t deadline_ms) {
  if (check() == nixl_abi::IN_PROGRESS) return nixl_abi::REPOST_ACTIVE;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = deadline_ms;
  options.notification = note.data();
  options.notification_size = note.size();
  hmc_status_t status = hmc_batch_start_nb(batch_, &options, &request_);
  if (status != HMC_SUCCESS) return fail(status);
  status_ = nixl_abi::IN_PROGRESS;
  return check();
}

Status Transfer::fail(hmc_status_t status) {
  status_ = status_of(status);
  return status_;
}

Status Transfer::check() {
  if (!request_) return status_;
  status_ = status_of(hmc_request_test(request_));
  if (status_ != nixl_abi::IN_PROGRESS) forget();
  return status_;
}

} // namespace hmc_nixl
