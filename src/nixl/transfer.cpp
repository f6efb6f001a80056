#include "transfer.hpp"

#include <algorithm>

namespace hmc_nixl {
namespace {

struct Pair {
  hmc_region_t *local;
  hmc_remote_t *remote;
  std::vector<hmc_segment_t> blocks;
};

/* The blocks of one pair usually follow each other, so the last pair is tried first. */
Pair &pair_of(std::vector<Pair> &pairs, hmc_region_t *local, hmc_remote_t *remote) {
  for (size_t i = pairs.size(); i-- > 0;) {
    if (pairs[i].local == local && pairs[i].remote == remote) return pairs[i];
  }
  pairs.push_back({local, remote, {}});
  return pairs.back();
}

} // namespace

Transfer::~Transfer() {
  cancel();
  forget_requests();
  for (hmc_batch_t *batch : batches_) hmc_batch_free(batch);
}

hmc_status_t Transfer::prepare(const nixl_abi::MetaList &local, const nixl_abi::MetaList &remote) {
  for (hmc_batch_t *batch : batches_) hmc_batch_free(batch);
  batches_.clear();
  std::vector<Pair> pairs;
  for (size_t i = 0; i < local.size(); i++) {
    const auto *here = static_cast<const Local *>(local[i].metadata);
    const auto *there = static_cast<const Remote *>(remote[i].metadata);
    if (local[i].length != remote[i].length) return HMC_INVALID_CONFIG;
    hmc_segment_t block = {local[i].address - here->base, remote[i].address - there->base, local[i].length};
    pair_of(pairs, here->region, there->handle).blocks.push_back(block);
  }
  for (const Pair &pair : pairs) {
    hmc_batch_t *batch = nullptr;
    hmc_status_t status = hmc_batch_create(pair.local, pair.remote, pair.blocks.data(), pair.blocks.size(), &batch);
    if (status != HMC_SUCCESS) return status;
    batches_.push_back(batch);
  }
  connection_ = agent_->connections;
  return HMC_SUCCESS;
}

void Transfer::forget_requests() {
  for (hmc_request_t *request : requests_) hmc_request_free(request);
  requests_.clear();
  hmc_request_free(note_request_);
  note_request_ = nullptr;
}

void Transfer::note_failure(hmc_status_t status) {
  int none = HMC_SUCCESS;
  failure_.compare_exchange_strong(none, status);
}

void Transfer::on_data(hmc_request_t *, hmc_status_t status, void *user) {
  auto *transfer = static_cast<Transfer *>(user);
  if (status != HMC_SUCCESS) transfer->note_failure(status);
  transfer->leave();
}

void Transfer::on_note(hmc_request_t *, hmc_status_t status, void *user) {
  static_cast<Transfer *>(user)->status_.store(status_of(status), std::memory_order_release);
}

/* One operation less is under way; the last one goes on. */
void Transfer::leave() {
  if (under_way_.fetch_sub(1) > 1) return;
  auto failure = static_cast<hmc_status_t>(failure_.load());
  if (failure != HMC_SUCCESS || note_.empty())
    status_.store(status_of(failure), std::memory_order_release);
  else
    send_note();
}

void Transfer::send_note() {
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = deadline_ms_;
  options.notification = note_.data();
  options.notification_size = note_.size();
  options.callback = on_note;
  options.user = this;
  hmc_status_t status = hmc_put_nb(mailbox_, 0, agent_->mailbox, 0, 0, &options, &note_request_);
  if (status != HMC_SUCCESS) status_.store(status_of(status), std::memory_order_release);
}

Status Transfer::post(const std::string &note, hmc_region_t *mailbox, uint64_t deadline_ms) {
  if (status() == nixl_abi::IN_PROGRESS) return nixl_abi::REPOST_ACTIVE;
  forget_requests();
  note_ = note;
  mailbox_ = mailbox;
  deadline_ms_ = deadline_ms;
  failure_ = HMC_SUCCESS;
  under_way_ = static_cast<int>(batches_.size()) + 1;
  status_ = nixl_abi::IN_PROGRESS;
  requests_.assign(batches_.size(), nullptr);
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.timeout_ms = deadline_ms;
  options.callback = on_data;
  options.user = this;
  for (size_t i = 0; i < batches_.size(); i++) {
    hmc_status_t status = operation_ == nixl_abi::WRITE ? hmc_batch_put_nb(batches_[i], &options, &requests_[i])
                                                        : hmc_batch_get_nb(batches_[i], &options, &requests_[i]);
    if (status == HMC_SUCCESS) continue;
    note_failure(status); /* what has started still ends by itself */
    under_way_ -= static_cast<int>(batches_.size() - i);
    break;
  }
  leave();
  return status();
}

Status Transfer::fail(hmc_status_t status) {
  status_.store(status_of(status), std::memory_order_release);
  return status_of(status);
}

void Transfer::progress() {
  for (hmc_request_t *request : requests_) {
    if (request && hmc_request_test(request) == HMC_IN_PROGRESS) return;
  }
}

void Transfer::cancel() {
  for (hmc_request_t *request : requests_) {
    if (request) hmc_request_cancel(request);
  }
  if (note_request_) hmc_request_cancel(note_request_);
}

} // namespace hmc_nixl
