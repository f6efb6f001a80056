/* Data connections that a peer is made without: the accepting side asks for one over the session, and a thread of the
 * dialling side's context (setup.h) makes it, or says why not.
 *
 * One at a time for each peer, so that a peer that asks again and again costs no more than one that asks once. */
#include "handshake.h"
#include "setup_internal.h"

#include <stdlib.h>

hmc_status_t hmci_data_want(const hmci_host_t *host, void *connection, uint32_t purpose) {
  (void)host;
  hmc_peer_t *peer = HMCI_CONTAINER(connection, hmci_connection_t, state)->peer;
  uint8_t body[4];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_write_u32(&writer, purpose);
  return hmci_channel_send(&peer->channel, HMCI_DIAL, body, writer.size);
}

static void refuse(hmc_peer_t *peer, uint32_t purpose, hmc_status_t status) {
  uint8_t body[2 * HMCI_REASON_SIZE];
  hmci_writer_t writer = {.data = body, .capacity = sizeof body};
  hmci_log(HMC_LOG_WARNING, "%s wants a data connection, which cannot be made: %s", peer->where, hmc_last_error());
  hmci_write_u32(&writer, purpose);
  hmci_write_u32(&writer, (uint32_t)status);
  hmci_write_text(&writer, hmc_last_error());
  if (hmci_channel_send(&peer->channel, HMCI_UNDIALLED, body, writer.size) != HMC_SUCCESS)
    /* its deadline ends what waits */
    hmci_log(HMC_LOG_INFO, "%s cannot be informed of that: %s", peer->where, hmc_last_error());
}

/* In a setup's thread; closing the peer waits for it. */
static hmc_status_t run_dial(hmci_setup_t *setup, hmci_setup_result_t *result) {
  (void)result;
  hmc_peer_t *peer = setup->peer;
  hmc_status_t status =
      peer->transport->ops->dial_late(peer->connection->state, setup->purpose, hmci_context_deadline(peer->context, 0));
  atomic_store(&peer->dials_late, false);
  /* Where this side stops it, it closes the peer, which the other side sees. */
  if (status != HMC_SUCCESS && status != HMC_CANCELLED && atomic_load(&peer->connected))
    refuse(peer, setup->purpose, status);
  return status;
}

static void drop_nothing(const hmci_setup_result_t *result) { (void)result; }

hmc_status_t hmci_data_dial(hmc_peer_t *peer, hmci_reader_t *reader) {
  uint32_t purpose = hmci_read_u32(reader);
  if (reader->failed) return hmci_fail(HMC_CORRUPT, "malformed request for a data connection");
  if (peer->role != HMCI_DIALLED || !peer->transport->ops->dial_late)
    return hmci_fail(HMC_CORRUPT, "a data connection is wanted where none is missing");
  if (atomic_exchange(&peer->dials_late, true)) return HMC_SUCCESS; /* it comes */
  hmci_setup_t *setup = calloc(1, sizeof *setup);
  hmc_status_t status = setup ? HMC_SUCCESS : hmci_fail(HMC_NO_MEMORY, "no memory to dial");
  if (setup) {
    hmci_list_init(&setup->link);
    setup->context = peer->context;
    setup->peer = peer;
    setup->purpose = purpose;
    setup->run = run_dial;
    setup->drop = drop_nothing;
    status = hmci_setup_enqueue(setup, "dialling");
  }
  if (status == HMC_SUCCESS) return HMC_SUCCESS;
  free(setup);
  atomic_store(&peer->dials_late, false);
  refuse(peer, purpose, status);
  return HMC_SUCCESS; /* the peer keeps what it had */
}

hmc_status_t hmci_data_undialled(hmc_peer_t *peer, hmci_reader_t *reader) {
  char text[HMCI_REASON_SIZE];
  uint32_t purpose = hmci_read_u32(reader), result = hmci_read_u32(reader);
  hmci_read_text(reader, text, sizeof text);
  if (reader->failed || result == HMC_SUCCESS || peer->role != HMCI_ACCEPTED || !peer->transport->ops->dial_failed)
    return hmci_fail(HMC_CORRUPT, "malformed answer to a request for a data connection");
  hmci_log(HMC_LOG_WARNING, "%s cannot make the data connection that carries what goes there: %s", peer->where, text);
  peer->transport->ops->dial_failed(peer->connection->state, purpose, hmci_status_known(result));
  return HMC_SUCCESS;
}
