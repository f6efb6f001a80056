/* Messages, the owner's end: puts and gets of memory that adapters do not reach, atomics, notifications.
 *
 * A message is done when it arrives, in the order of arrival, and its answer is queued; a get's bytes are looked for
 * when there is room to send them. The last answers are kept: after a rail failed the peer sends again what it has no
 * answer to, and gets that of the first time. Over whichever rail a message comes, all before it are done: what is sent
 * over a rail begins with the oldest that has no answer and goes on without a gap.
 *
 * A region counts as in use only while a message is being done, under the lock that closing it takes too. */
#include "message.h"

static verbs_message_t answer_to(const verbs_message_t *message, hmc_status_t status) {
  return (verbs_message_t){.type = VERBS_DONE, .status = (uint16_t)status, .number = message->number};
}

static verbs_message_t *job_at(verbs_connection_t *connection, uint32_t place) {
  return &connection->jobs[(connection->job_first + place) % VERBS_WINDOW];
}

static void end_job(verbs_connection_t *connection) {
  connection->job_first = (connection->job_first + 1) % VERBS_WINDOW;
  connection->job_count--;
  connection->transport->expected--;
}

/* Adds a job, unless the same message waits already. Those that the peer has an answer to go: it sends a message only
 * when the one a window before it has been answered. */
static hmc_status_t add_job(verbs_connection_t *connection, const verbs_message_t *job) {
  for (uint32_t count = connection->job_count, i = 0; i < count; i++) {
    verbs_message_t other = *job_at(connection, 0);
    end_job(connection);
    if ((int32_t)(job->number - other.number) >= VERBS_WINDOW || other.number == job->number) continue;
    *job_at(connection, connection->job_count++) = other;
    connection->transport->expected++;
  }
  if (connection->job_count == VERBS_WINDOW)
    return hmci_fail(HMC_CORRUPT, "more than %d messages at a time", VERBS_WINDOW);
  *job_at(connection, connection->job_count++) = *job;
  connection->transport->expected++;
  hmci_verbs_touch(connection);
  return HMC_SUCCESS;
}

void hmci_verbs_answer_forget(verbs_connection_t *connection) {
  while (connection->job_count) end_job(connection);
}

/* ---- doing ------------------------------------------------------------------------------------------------------- */

/* Finds the region of a message and checks what it wants; the caller releases it. */
static hmc_status_t acquire(verbs_connection_t *connection, const verbs_message_t *message, uint32_t right,
                            hmci_region_view_t **region) {
  const hmci_host_t *host = connection->transport->host;
  if (message->lease) {
    hmci_segment_t place = {.local = message->offset, .length = message->length};
    hmci_lease_use_t use = {message->lease, message->region, message->generation, right, &place, 1};
    return host->lease_acquire(host, connection, &use, region);
  }
  hmc_status_t status = host->region_acquire(host, message->region, message->generation, right, region);
  if (status != HMC_SUCCESS || hmci_range_fits(message->offset, message->length, (*region)->size)) return status;
  host->region_release(host, *region);
  return HMC_OUT_OF_RANGE;
}

/* Memory of the owner's that is not there any more is a region of the past to who asks. */
static hmc_status_t status_of_copy(hmc_status_t status) { return status == HMC_INVALID_CONFIG ? HMC_STALE : status; }

static hmc_status_t do_put(verbs_connection_t *connection, const verbs_message_t *message, const uint8_t *payload) {
  const hmci_host_t *host = connection->transport->host;
  hmci_region_view_t *region;
  if (message->checksum && message->value != hmci_crc32c(0, payload, message->length)) return HMC_CORRUPT;
  hmc_status_t status = acquire(connection, message, HMC_REMOTE_WRITE, &region);
  if (status != HMC_SUCCESS) return status;
  status = hmci_verbs_copy_in(region, region->base + message->offset, payload, message->length);
  if (status == HMC_SUCCESS) hmci_region_tell(region);
  host->region_release(host, region);
  return status_of_copy(status);
}

static hmc_status_t do_atomic(verbs_connection_t *connection, const verbs_message_t *message, uint64_t *fetched) {
  const hmci_host_t *host = connection->transport->host;
  hmci_region_view_t *region;
  hmc_status_t status = acquire(connection, message, HMC_REMOTE_ATOMIC, &region);
  if (status != HMC_SUCCESS) return status;
  hmci_atomic_t atomic = {
      .operation = (hmc_atomic_operation_t)message->operation, .operand = message->value, .compare = message->compare};
  status = hmci_atomic_on_region(region, message->offset, (unsigned)message->length, &atomic);
  if (status == HMC_SUCCESS) hmci_region_tell(region);
  host->region_release(host, region);
  *fetched = atomic.fetched;
  return status;
}

/* Does a message and says what to answer; a GET stays one. */
static verbs_message_t perform(verbs_connection_t *connection, const verbs_message_t *message, const uint8_t *payload) {
  const hmci_host_t *host = connection->transport->host;
  if (!message->chained) connection->chain_status = HMC_SUCCESS;
  hmc_status_t status = connection->chain_status;
  uint64_t fetched = 0;
  if (status == HMC_SUCCESS) {
    switch (message->type) {
    case VERBS_PUT: status = do_put(connection, message, payload); break;
    case VERBS_ATOMIC: status = do_atomic(connection, message, &fetched); break;
    case VERBS_NOTIFY: status = host->notify(host, connection, payload, message->length); break;
    default: return *message;
    }
  }
  connection->chain_status = status;
  verbs_message_t answer = answer_to(message, status);
  answer.value = fetched;
  return answer;
}

hmc_status_t hmci_verbs_answer_take(verbs_connection_t *connection, const uint8_t *data, size_t size) {
  verbs_message_t message;
  hmc_status_t status = hmci_verbs_message_decode(data, size, &message);
  if (status != HMC_SUCCESS) return status;
  const uint8_t *payload = data + VERBS_HEADER;
  if (message.type >= VERBS_DONE) return hmci_verbs_message_answered(connection, &message, payload);
  verbs_message_t *kept = &connection->answers[message.number % VERBS_WINDOW];
  if ((int32_t)(message.number - connection->done_number) > 0) {
    *kept = perform(connection, &message, payload);
    connection->done_number = message.number;
  } else if (kept->number != message.number) {
    return HMC_SUCCESS; /* a late copy, over another rail, of one that has its answer */
  }
  return add_job(connection, kept);
}

/* ---- answering --------------------------------------------------------------------------------------------------- */

static hmc_status_t do_get(verbs_connection_t *connection, const verbs_message_t *message, uint8_t *to) {
  const hmci_host_t *host = connection->transport->host;
  hmci_region_view_t *region;
  hmc_status_t status = acquire(connection, message, HMC_REMOTE_READ, &region);
  if (status != HMC_SUCCESS) return status;
  status = hmci_verbs_copy_out(region, region->base + message->offset, to, message->length);
  host->region_release(host, region);
  return status_of_copy(status);
}

/* Sends the oldest answer. False: no slot is free. */
static bool send_answer(verbs_connection_t *connection) {
  verbs_rail_t *rail = connection->main;
  verbs_message_t answer = connection->jobs[connection->job_first];
  bool get = answer.type == VERBS_GET;
  verbs_entry_t entry = {.kind = VERBS_ENTRY_ANSWER};
  if ((get || rail->inline_most < VERBS_HEADER) && !(entry.slot = hmci_verbs_slot_take(connection, VERBS_FOR_ANSWERS)))
    return false;
  uint32_t size = VERBS_HEADER;
  if (get) {
    hmc_status_t status = do_get(connection, &answer, entry.slot->data + VERBS_HEADER);
    if (status == HMC_SUCCESS) {
      answer = (verbs_message_t){
          .type = VERBS_DATA, .checksum = answer.checksum, .number = answer.number, .length = answer.length};
      if (answer.checksum) answer.value = hmci_crc32c(0, entry.slot->data + VERBS_HEADER, answer.length);
      size += (uint32_t)answer.length;
    } else {
      answer = answer_to(&answer, status);
    }
  }
  struct ibv_send_wr *request = hmci_verbs_ring_add(rail, &entry);
  uint8_t *data = entry.slot ? entry.slot->data : rail->post.copied[request - rail->post.requests];
  hmci_verbs_message_encode(data, &answer);
  *request->sg_list =
      (struct ibv_sge){(uint64_t)(uintptr_t)data, size, entry.slot ? hmci_verbs_slot_key(entry.slot, rail->device) : 0};
  request->opcode = IBV_WR_SEND;
  if (!entry.slot) request->send_flags |= IBV_SEND_INLINE;
  return true;
}
_Static_assert((int)VERBS_HEADER <= (int)VERBS_COPIED, "a header can be copied");

void hmci_verbs_answer_send(verbs_connection_t *connection) {
  while (connection->job_count && hmci_verbs_ring_room(connection->main) >= 3 && send_answer(connection))
    end_job(connection);
}
