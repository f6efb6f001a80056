/* How a peer is reached, as text: hmc_peer_explain. */
#include "core.h"

#include <stdarg.h>
#include <stdio.h>

/* Appends a line; `used` counts on past the end of the room. Peers choose their names, and those of their regions: what
 * would move a terminal's cursor is not shown. */
static void HMCI_PRINTF(4, 5) append(char *text, size_t size, size_t *used, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  bool room = text && *used < size;
  int length = vsnprintf(room ? text + *used : NULL, room ? size - *used : 0, format, arguments);
  va_end(arguments);
  for (char *at = room ? text + *used : NULL; at && *at; at++) {
    bool ends_line = *at == '\n' && !at[1];
    if (((unsigned char)*at < 0x20 && !ends_line) || *at == 0x7f) *at = ' ';
  }
  if (length > 0) *used += (size_t)length;
}

/* The kinds of memory that this context has regions of, as bits. */
static unsigned local_kinds(hmc_context_t *context, uint64_t chunk_of[32]) {
  unsigned kinds = 1u << HMC_MEMORY_CPU;
  pthread_mutex_lock(&context->region_lock);
  for (uint32_t id = 1; id < context->region_room; id++) {
    const hmc_region_t *region = context->regions[id].region;
    if (!region || (unsigned)region->view.memory.kind >= 32) continue;
    kinds |= 1u << region->view.memory.kind;
    chunk_of[region->view.memory.kind] = region->view.chunk;
  }
  pthread_mutex_unlock(&context->region_lock);
  return kinds;
}

/* What an operation between local memory of a kind and that region costs. */
static void explain_cost(hmc_remote_t *remote, hmc_memory_kind_t kind, uint64_t chunk, char *line, size_t size) {
  bool host = kind == HMC_MEMORY_CPU, remote_host = remote->view.memory.kind == HMC_MEMORY_CPU;
  unsigned staged = hmci_remote_staging(remote, kind);
  const char *by = host && remote_host ? "by the calling thread" : "by the device";
  bool put = hmci_remote_is_direct(remote, kind, HMCI_PUT), get = hmci_remote_is_direct(remote, kind, HMCI_GET);
  if (put && get) {
    snprintf(line, size, "one copy, %s; no other process takes part", by);
  } else if (get) {
    snprintf(line, size, "get: one copy, %s; put: the peer's service thread fetches it", by);
  } else if (!staged) {
    snprintf(line, size, "no staging: straight from and to the memory at both ends");
  } else {
    const char *where = staged == HMCI_STAGED_THERE  ? "at the peer"
                        : staged == HMCI_STAGED_HERE ? "here"
                                                     : "at both ends";
    snprintf(line, size, "staged %s, in chunks of %llu KiB here (HMC_CHUNK, HMC_DEPTH), copies and transfer overlapped",
             where, (unsigned long long)((chunk ? chunk : HMCI_CHUNK_LEAST) >> 10));
  }
}

/* How bytes of the region go by the handle's own transport. */
static void explain_route(hmc_remote_t *remote, char *line, size_t size) {
  const hmc_peer_t *peer = remote->peer;
  line[0] = '\0';
  if (peer->transport->ops->remote_explain)
    peer->transport->ops->remote_explain(peer->connection->state, remote->state, line, size);
}

static void explain_remotes(hmc_peer_t *peer, char *text, size_t size, size_t *used) {
  uint64_t chunk_of[32] = {0};
  unsigned kinds = local_kinds(peer->context, chunk_of);
  pthread_mutex_lock(&peer->lock);
  for (hmci_list_t *link = peer->remotes.next; link != &peer->remotes; link = link->next) {
    hmc_remote_t *remote = HMCI_CONTAINER(link, hmc_remote_t, link);
    char line[HMCI_REASON_SIZE] = "";
    explain_route(remote, line, sizeof line);
    append(text, size, used, "  region '%s' (%llu B, %s %d): %s\n", remote->name, (unsigned long long)remote->view.size,
           hmc_memory_kind_name(remote->view.memory.kind), remote->view.memory.device, line);
    if (remote->second) {
      remote = remote->second;
      explain_route(remote, line, sizeof line);
      append(text, size, used, "    puts and gets by %s: %s\n", hmci_transport_text(remote->peer->transport->ops),
             line);
    }
    for (unsigned kind = 0; kind < 32; kind++) {
      if (!(kinds >> kind & 1)) continue;
      explain_cost(remote, (hmc_memory_kind_t)kind, chunk_of[kind], line, sizeof line);
      append(text, size, used, "    with local %s: %s\n", hmc_memory_kind_name((hmc_memory_kind_t)kind), line);
    }
  }
  pthread_mutex_unlock(&peer->lock);
}

hmc_status_t hmc_peer_explain(hmc_peer_t *peer, char *text, size_t size, size_t *needed) {
  if (!peer) return hmci_fail(HMC_INVALID_CONFIG, "hmc_peer_explain: peer is NULL");
  if (hmci_context_is_foreign(peer->context)) return HMC_UNSUPPORT;
  size_t used = 0;
  char line[HMCI_REASON_SIZE] = "";
  if (text && size) text[0] = 0;
  peer->transport->ops->explain(peer->connection->state, line, sizeof line);
  append(text, size, &used, "%s (%s on %s, process %d) is reached by %s: %s\n", peer->where, peer->name, peer->host,
         peer->process, hmci_transport_text(peer->transport->ops), line);
  const hmc_peer_t *second = hmci_peer_second(peer);
  if (second) {
    second->transport->ops->explain(second->connection->state, line, sizeof line);
    append(text, size, &used, "  and, where a region says so, by %s: %s\n", hmci_transport_text(second->transport->ops),
           line);
  }
  if (!atomic_load(&peer->connected)) append(text, size, &used, "  it is gone: %s\n", hmci_peer_lost_reason(peer));
  explain_remotes(peer, text, size, &used);
  for (size_t i = 0; i < hmci_transport_count; i++) {
    const char *when = hmci_transports[i] == peer->transport->ops ? " at first" : "";
    if (peer->refused[i])
      append(text, size, &used, "  not%s by %s: %s\n", when, hmci_transport_text(hmci_transports[i]), peer->refused[i]);
  }
  if (needed) *needed = used + 1;
  return HMC_SUCCESS;
}
