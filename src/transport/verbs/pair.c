/* Making and connecting a queue pair. */
#include "connection.h"

#include <errno.h>
#include <string.h>

enum {
  PACKET_MASK = 0xffffff,
  ACKNOWLEDGE_TIME = 14, /* 4.096 us * 2^14: 67 ms; hardware may take up to four times as long */
  RETRIES = 7,           /* together about half a second, after which the path counts as broken */
  RECEIVER_RETRIES = 7,  /* without end: a full receiver is flow control, no failure */
  RECEIVER_DELAY = 12,   /* 0.64 ms */
  READS_MOST = 16,
  HOPS = 64,
};

static uint8_t least(uint64_t a, uint64_t b) { return (uint8_t)(a < b ? a : b); }

static hmc_status_t fail(const verbs_rail_t *rail, const char *what, int error) {
  char peer[VERBS_GID_TEXT];
  hmci_verbs_gid_text(rail->peer_gid.raw, peer);
  return hmci_fail(HMC_UNSUPPORT, "%s on %s towards %s failed: %s", what,
                   ibv_get_device_name(rail->device->context->device), peer, strerror(error));
}

/* The table of a port may have changed since it was offered: its GID is looked for again. */
static hmc_status_t find_index(verbs_rail_t *rail, verbs_port_t *port) {
  const verbs_gid_t *gid = &rail->connection->transport->gids[rail->mine];
  *port = rail->connection->transport->ports[rail->mine];
  struct ibv_gid_entry entries[256];
  ssize_t count = ibv_query_gid_table(port->device->context, entries, sizeof entries / sizeof *entries, 0);
  for (ssize_t i = 0; i < count; i++) {
    bool same = memcmp(entries[i].gid.raw, gid->raw, sizeof gid->raw) == 0;
    if (!same || entries[i].port_num != port->number || entries[i].gid_type != gid->type) continue;
    port->index = (uint16_t)entries[i].gid_index;
    return HMC_SUCCESS;
  }
  char text[VERBS_GID_TEXT];
  hmci_verbs_gid_text(gid->raw, text);
  return hmci_fail(HMC_UNSUPPORT, "%s has lost its address %s", ibv_get_device_name(port->device->context->device),
                   text);
}

/* Devices differ in how many bytes a send queue takes inline: the most of a few choices. */
static struct ibv_qp *create(verbs_device_t *device, uint32_t *inline_most) {
  static const uint32_t choices[] = {220, 128, 64, 0};
  struct ibv_qp *pair = NULL;
  for (size_t i = 0; i < sizeof choices / sizeof *choices && !pair; i++) {
    struct ibv_qp_init_attr wanted = {
        .send_cq = device->sent,
        .recv_cq = device->received,
        .srq = device->receives,
        .qp_type = IBV_QPT_RC,
        .cap = {.max_send_wr = VERBS_SEND_QUEUE + 1, .max_send_sge = 1, .max_inline_data = choices[i]},
    };
    pair = ibv_create_qp(device->domain, &wanted);
    *inline_most = choices[i];
  }
  return pair;
}

hmc_status_t hmci_verbs_pair_make(verbs_rail_t *rail) {
  verbs_port_t port;
  hmc_status_t status = find_index(rail, &port);
  if (status != HMC_SUCCESS) return status;
  rail->pair = create(rail->device, &rail->inline_most);
  if (!rail->pair) return fail(rail, "a queue pair", errno);
  struct ibv_qp_attr wanted = {
      .qp_state = IBV_QPS_INIT,
      .port_num = port.number,
      .qp_access_flags = IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE,
  };
  int error = ibv_modify_qp(rail->pair, &wanted, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
  if (error) {
    hmci_verbs_pair_destroy(rail);
    return fail(rail, "a queue pair", error);
  }
  hmci_random(&rail->packet, sizeof rail->packet);
  rail->packet &= PACKET_MASK;
  rail->spoilt = false;
  return HMC_SUCCESS;
}

void hmci_verbs_pair_destroy(verbs_rail_t *rail) {
  if (!rail->pair) return;
  int error = ibv_destroy_qp(rail->pair);
  if (error) hmci_log(HMC_LOG_ERROR, "destroying a queue pair failed: %s", strerror(error));
  rail->pair = NULL;
}

void hmci_verbs_pair_describe(const verbs_rail_t *rail, verbs_note_t *note) {
  const verbs_device_t *device = rail->device;
  const verbs_gid_t *gid = &rail->connection->transport->gids[rail->mine];
  note->epoch = rail->epoch;
  note->queue_pair = rail->pair->qp_num;
  note->packet = rail->packet;
  note->flush_key = device->flush_memory->rkey;
  note->flush_address = device->flush_address;
  note->rights = device->stores_at_once;
  note->lid = gid->lid;
  note->mtu = gid->mtu;
  note->reads = least((uint64_t)device->attributes.max_qp_rd_atom, READS_MOST);
  note->from = (uint8_t)rail->mine;
  note->to = (uint8_t)rail->theirs;
  memcpy(note->gid, gid->raw, sizeof note->gid);
}

static hmc_status_t ready_to_receive(verbs_rail_t *rail, const verbs_port_t *port) {
  const verbs_note_t *peer = &rail->peer;
  const verbs_gid_t *gid = &rail->connection->transport->gids[rail->mine];
  bool infiniband = gid->layer == IBV_LINK_LAYER_INFINIBAND;
  struct ibv_qp_attr wanted = {
      .qp_state = IBV_QPS_RTR,
      .path_mtu = (enum ibv_mtu)rail->mtu,
      .dest_qp_num = peer->queue_pair,
      .rq_psn = peer->packet,
      .max_dest_rd_atomic = least((uint64_t)rail->device->attributes.max_qp_rd_atom, READS_MOST),
      .min_rnr_timer = RECEIVER_DELAY,
      .ah_attr = {.port_num = port->number, .dlid = peer->lid, .is_global = !infiniband},
  };
  memcpy(wanted.ah_attr.grh.dgid.raw, peer->gid, sizeof peer->gid);
  wanted.ah_attr.grh.sgid_index = (uint8_t)port->index;
  wanted.ah_attr.grh.hop_limit = HOPS;
  wanted.ah_attr.grh.traffic_class = (uint8_t)rail->connection->transport->host->settings->verbs_traffic_class;
  int error = ibv_modify_qp(rail->pair, &wanted,
                            IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                                IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER);
  return error ? fail(rail, "connecting a queue pair", error) : HMC_SUCCESS;
}

static hmc_status_t ready_to_send(verbs_rail_t *rail) {
  struct ibv_qp_attr wanted = {
      .qp_state = IBV_QPS_RTS,
      .sq_psn = rail->packet,
      .timeout = ACKNOWLEDGE_TIME,
      .retry_cnt = RETRIES,
      .rnr_retry = RECEIVER_RETRIES,
      .max_rd_atomic = rail->reads,
  };
  int error = ibv_modify_qp(rail->pair, &wanted,
                            IBV_QP_STATE | IBV_QP_SQ_PSN | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
                                IBV_QP_MAX_QP_RD_ATOMIC);
  return error ? fail(rail, "starting a queue pair", error) : HMC_SUCCESS;
}

hmc_status_t hmci_verbs_pair_connect(verbs_rail_t *rail) {
  const verbs_note_t *peer = &rail->peer;
  const verbs_gid_t *gid = &rail->connection->transport->gids[rail->mine];
  verbs_port_t port;
  hmc_status_t status = find_index(rail, &port);
  if (status != HMC_SUCCESS) return status;
  if (!hmci_verbs_port_is_up(&port)) return fail(rail, "the port", ENETDOWN);
  rail->mtu = least(gid->mtu, peer->mtu);
  rail->reads = least(least((uint64_t)rail->device->attributes.max_qp_init_rd_atom, READS_MOST), peer->reads);
  rail->peer_stores_at_once = peer->rights & 1;
  status = ready_to_receive(rail, &port);
  return status == HMC_SUCCESS ? ready_to_send(rail) : status;
}
