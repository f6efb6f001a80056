/* Lanes: how they are made, and the keys of regions (see lane.h). */
#include "lane.h"

#include <stdio.h>
#include <string.h>

/* A region's key: u8 1 where puts must be followed by a read, else 0; u8[7] 0; u64 address; UCT's packed key. */
enum { KEY_HEAD = 16 };

/* ---- making one -------------------------------------------------------------------------------------------------- */

/* Opens the device that UCX has chosen for the pipe, and an end of a connection there. False, with a reason: there is
 * none. */
static bool prepare(hmci_ucx_lane_t *lane, const char *name, hmci_ucx_lane_address_t *address) {
  hmci_ucx_fabric_t *fabric = lane->fabric;
  const hmci_ucx_library_t *ucx = fabric->ucx;
  hmci_ucx_device_t *device = hmci_ucx_fabric_device(fabric, name);
  if (!device) {
    snprintf(lane->reason, sizeof lane->reason, "%s", hmc_last_error());
    return false;
  }
  uct_ep_params_t params = {.field_mask = UCT_EP_PARAM_FIELD_IFACE, .iface = device->interface};
  ucs_status_t status = ucx->uct_ep_create(&params, &lane->endpoint);
  if (status != UCS_OK) goto err_reason;
  *address = (hmci_ucx_lane_address_t){
      .major = (uint8_t)ucx->major,
      .minor = (uint8_t)ucx->minor,
      .device_size = device->address_size,
      .endpoint_size = device->endpoint_size,
  };
  snprintf(address->name, sizeof address->name, "%.*s", (int)strcspn(name, "/"), name);
  status = ucx->uct_iface_get_device_address(device->interface, (uct_device_addr_t *)address->device);
  if (status == UCS_OK) status = ucx->uct_ep_get_address(lane->endpoint, (uct_ep_addr_t *)address->endpoint);
  if (status != UCS_OK) goto err_endpoint;
  if (lane->device != device) {
    if (lane->device && --lane->device->lanes == 0) hmci_ucx_fabric_drop(fabric, lane->device);
    device->lanes++;
    lane->device = device;
  }
  return true;

err_endpoint:
  ucx->uct_ep_destroy(lane->endpoint);
err_reason:
  lane->endpoint = NULL;
  snprintf(lane->reason, sizeof lane->reason, "UCX makes no connection of %s: %s", name,
           ucx->ucs_status_string(status));
  return false;
}

/* Connects this end with the peer's. */
static bool connect_to(hmci_ucx_lane_t *lane, const hmci_ucx_message_t *message) {
  const hmci_ucx_library_t *ucx = lane->fabric->ucx;
  const hmci_ucx_device_t *device = lane->device;
  hmci_ucx_lane_address_t peer;
  ucs_status_t status = UCS_ERR_UNREACHABLE;
  if (!message->size || hmci_ucx_lane_address_decode(message->bytes, message->size, &peer) != HMC_SUCCESS) {
    snprintf(lane->reason, sizeof lane->reason, "the peer has none");
    return false;
  }
  size_t name = strcspn(device->name, "/");
  if (peer.major != ucx->major || peer.minor != ucx->minor || strlen(peer.name) != name ||
      memcmp(peer.name, device->name, name) != 0 || peer.endpoint_size != device->endpoint_size) {
    snprintf(lane->reason, sizeof lane->reason, "the peer has UCX %u.%u and %s", peer.major, peer.minor, peer.name);
    hmci_text_clean(lane->reason);
    return false;
  }
  const uct_device_addr_t *address = (const uct_device_addr_t *)peer.device;
  if (ucx->uct_iface_is_reachable(device->interface, address, NULL))
    status = ucx->uct_ep_connect_to_ep(lane->endpoint, address, (const uct_ep_addr_t *)peer.endpoint);
  if (status == UCS_OK) return true;
  snprintf(lane->reason, sizeof lane->reason, "UCX does not connect %s: %s", device->name,
           ucx->ucs_status_string(status));
  return false;
}

static void tell_address(hmci_ucx_pipe_t *pipe, uint64_t number, const hmci_ucx_lane_address_t *address) {
  uint8_t bytes[HMCI_UCX_LANE_MOST];
  hmci_ucx_pipe_tell(pipe, HMCI_UCX_LANE, number, bytes, hmci_ucx_lane_address_encode(bytes, address));
}

void hmci_ucx_lane_offer(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe) {
  hmci_ucx_lane_address_t address;
  pthread_mutex_lock(&lane->fabric->lock);
  bool offered = atomic_load(&lane->state) == HMCI_UCX_LANE_NONE && prepare(lane, pipe->way, &address);
  if (offered) atomic_store(&lane->state, HMCI_UCX_LANE_MAKING);
  uint64_t number = offered ? ++lane->number : 0;
  pthread_mutex_unlock(&lane->fabric->lock);
  lane->answered = !offered;
  lane->pipe = pipe;
  if (offered) tell_address(pipe, number, &address);
}

void hmci_ucx_lane_go_on(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe) {
  pthread_mutex_lock(&lane->fabric->lock);
  bool parting = lane->parting;
  uint64_t number = lane->number;
  lane->silent = false;
  pthread_mutex_unlock(&lane->fabric->lock);
  if (parting) {
    hmci_ucx_pipe_tell(pipe, HMCI_UCX_LOST, number, NULL, 0);
  } else if (lane->dialled) {
    hmci_ucx_lane_offer(lane, pipe);
  }
}

/* The other half: answers an offer. */
static void answer(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe, const hmci_ucx_message_t *message) {
  hmci_ucx_lane_address_t address;
  pthread_mutex_lock(&lane->fabric->lock);
  bool ended = atomic_load(&lane->state) == HMCI_UCX_LANE_ENDED;
  if (!ended) {
    atomic_store(&lane->state, HMCI_UCX_LANE_NONE);
    hmci_ucx_lane_disconnect(lane, false); /* who offers another one has none */
    hmci_ucx_lane_part(lane);
  }
  bool made = !ended && prepare(lane, pipe->way, &address);
  if (made && !connect_to(lane, message)) {
    hmci_ucx_lane_disconnect(lane, false);
    made = false;
  }
  if (made) {
    atomic_store(&lane->state, HMCI_UCX_LANE_MAKING);
    lane->number = message->position;
  }
  pthread_mutex_unlock(&lane->fabric->lock);
  if (made) {
    tell_address(pipe, message->position, &address);
  } else {
    hmci_ucx_pipe_tell(pipe, HMCI_UCX_LANE, message->position, NULL, 0);
  }
}

static void be_ready(hmci_ucx_lane_t *lane) {
  lane->proven = true;
  atomic_store(&lane->state, HMCI_UCX_LANE_READY);
}

/* The half that has offered: takes the answer. */
static void finish(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe, const hmci_ucx_message_t *message) {
  pthread_mutex_lock(&lane->fabric->lock);
  bool due = atomic_load(&lane->state) == HMCI_UCX_LANE_MAKING && lane->number == message->position;
  bool made = due && connect_to(lane, message);
  if (made) be_ready(lane);
  if (due && !made) {
    atomic_store(&lane->state, HMCI_UCX_LANE_NONE);
    hmci_ucx_lane_disconnect(lane, false);
  }
  pthread_mutex_unlock(&lane->fabric->lock);
  if (due) lane->answered = true;
  if (made) hmci_ucx_pipe_tell(pipe, HMCI_UCX_READY, message->position, NULL, 0);
}

/* The peer's end is gone: ours goes too, or is gone already. */
static void lost(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe, uint64_t number) {
  pthread_mutex_lock(&lane->fabric->lock);
  hmci_ucx_lane_state_t state = atomic_load(&lane->state);
  bool there = state == HMCI_UCX_LANE_MAKING || state == HMCI_UCX_LANE_READY;
  if (number == lane->number && (there || lane->parting)) {
    if (there) {
      atomic_store(&lane->state, HMCI_UCX_LANE_NONE);
      snprintf(lane->reason, sizeof lane->reason, "the connection of the devices broke at the peer");
      hmci_ucx_lane_disconnect(lane, false);
    }
    hmci_ucx_lane_part(lane);
  }
  pthread_mutex_unlock(&lane->fabric->lock);
  hmci_ucx_pipe_tell(pipe, HMCI_UCX_GONE, number, NULL, 0);
}

static void revoked(hmci_ucx_lane_t *lane, uint32_t id, uint32_t generation) {
  for (hmci_list_t *link = lane->remotes.next; link != &lane->remotes; link = link->next) {
    hmci_ucx_remote_t *remote = HMCI_CONTAINER(link, hmci_ucx_remote_t, link);
    if (remote->id == id && atomic_load(&remote->generation) == generation) hmci_ucx_lane_revoke(lane, remote);
  }
}

void hmci_ucx_lane_take(hmci_ucx_lane_t *lane, hmci_ucx_pipe_t *pipe, const hmci_ucx_message_t *message) {
  if (message->type == HMCI_UCX_LANE && !lane->dialled) {
    answer(lane, pipe, message);
  } else if (message->type == HMCI_UCX_LANE && pipe == lane->pipe) {
    finish(lane, pipe, message);
  } else if (message->type == HMCI_UCX_LOST) {
    lost(lane, pipe, message->position);
  }
  pthread_mutex_lock(&lane->fabric->lock);
  bool current = lane->number == message->position;
  if (message->type == HMCI_UCX_REVOKED) {
    revoked(lane, (uint32_t)(message->position >> 32), (uint32_t)message->position);
  } else if (message->type == HMCI_UCX_READY && current && !lane->dialled) {
    if (atomic_load(&lane->state) == HMCI_UCX_LANE_MAKING) be_ready(lane);
  } else if (message->type == HMCI_UCX_GONE && current && lane->parting) {
    hmci_ucx_lane_part(lane);
  }
  pthread_mutex_unlock(&lane->fabric->lock);
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* With fabric->lock held: there is a lane, or there may be one soon. */
static bool is_expected(const hmci_ucx_lane_t *lane) {
  hmci_ucx_lane_state_t state = atomic_load(&lane->state);
  return state == HMCI_UCX_LANE_MAKING || (lane->proven && state != HMCI_UCX_LANE_ENDED);
}

bool hmci_ucx_lane_has_keys(hmci_ucx_lane_t *lane) {
  pthread_mutex_lock(&lane->fabric->lock);
  bool expected = is_expected(lane);
  pthread_mutex_unlock(&lane->fabric->lock);
  return expected;
}

void hmci_ucx_lane_export(hmci_ucx_lane_t *lane, const hmci_region_view_t *region, hmci_blob_t *key) {
  hmci_ucx_fabric_t *fabric = lane->fabric;
  unsigned needed = HMC_REMOTE_READ | HMC_REMOTE_WRITE; /* UCX registers for both alike */
  key->size = 0;
  if (!region->ops->host_accessible || (region->rights & needed) != needed) return;
  pthread_mutex_lock(&fabric->lock);
  hmci_ucx_device_t *device = is_expected(lane) ? lane->device : NULL;
  uct_mem_h handle = device ? hmci_ucx_fabric_register(fabric, device, region) : NULL;
  bool expected = handle && is_expected(lane) && lane->device == device; /* others had the lock meanwhile */
  if (expected && fabric->ucx->uct_md_mkey_pack(device->domain, handle, key->data + KEY_HEAD) == UCS_OK) {
    memset(key->data, 0, 8);
    key->data[0] = !device->stores_at_once;
    hmci_store64(key->data + 8, (uintptr_t)region->base);
    key->size = (uint16_t)(KEY_HEAD + device->key_size);
  }
  pthread_mutex_unlock(&fabric->lock);
}

void hmci_ucx_lane_forget(hmci_ucx_lane_t *lane, const hmci_region_view_t *region) {
  hmci_ucx_fabric_forget(lane->fabric, region);
}

hmc_status_t hmci_ucx_lane_remote_open(hmci_ucx_lane_t *lane, hmci_ucx_remote_t *remote, const hmci_remote_view_t *view,
                                       const hmci_blob_t *key) {
  hmci_ucx_fabric_t *fabric = lane->fabric;
  hmc_status_t status = HMC_SUCCESS;
  remote->id = view->id;
  atomic_store(&remote->generation, view->generation);
  pthread_mutex_lock(&fabric->lock);
  hmci_ucx_device_t *device = key->size ? lane->device : NULL;
  if (key->size && (!device || key->size != KEY_HEAD + device->key_size)) {
    status = hmci_fail(HMC_CORRUPT, "malformed key of a region");
  } else if (device) {
    remote->follow = key->data[0];
    remote->address = hmci_load64(key->data + 8);
    _Alignas(8) uint8_t packed[HMCI_UCX_KEY];
    memcpy(packed, key->data + KEY_HEAD, device->key_size);
    if (fabric->ucx->uct_rkey_unpack(device->component, packed, &remote->key) == UCS_OK) remote->device = device;
  }
  if (status == HMC_SUCCESS) hmci_list_append(&lane->remotes, &remote->link);
  pthread_mutex_unlock(&fabric->lock);
  return status;
}

void hmci_ucx_lane_remote_close(hmci_ucx_lane_t *lane, hmci_ucx_remote_t *remote) {
  pthread_mutex_lock(&lane->fabric->lock);
  hmci_list_remove(&remote->link);
  if (remote->device) lane->fabric->ucx->uct_rkey_release(remote->device->component, &remote->key);
  pthread_mutex_unlock(&lane->fabric->lock);
}

/* ---- for people -------------------------------------------------------------------------------------------------- */

void hmci_ucx_lane_explain(hmci_ucx_lane_t *lane, char *text, size_t size) {
  pthread_mutex_lock(&lane->fabric->lock);
  if (atomic_load(&lane->state) == HMCI_UCX_LANE_READY) {
    snprintf(text, size, "puts and gets of host memory from %d KiB on by RDMA of %s", HMCI_UCX_LANE_LEAST >> 10,
             lane->device->name);
  } else {
    snprintf(text, size, "no RDMA: %s", lane->reason);
  }
  pthread_mutex_unlock(&lane->fabric->lock);
}
