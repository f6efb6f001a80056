/* How bytes go, for people. */
#include "verbs.h"

#include <stdarg.h>
#include <stdio.h>

typedef struct sheet {
  char *text;
  size_t size, used;
} sheet_t;

__attribute__((format(printf, 2, 3))) static void add(sheet_t *sheet, const char *format, ...) {
  va_list arguments;
  if (sheet->used >= sheet->size) return;
  va_start(arguments, format);
  int length = vsnprintf(sheet->text + sheet->used, sheet->size - sheet->used, format, arguments);
  va_end(arguments);
  if (length > 0) sheet->used += (size_t)length;
}

static void add_rail(sheet_t *sheet, const verbs_rail_t *rail) {
  const verbs_transport_t *transport = rail->connection->transport;
  char here[VERBS_GID_TEXT], there[VERBS_GID_TEXT];
  if (!rail->device) {
    add(sheet, "a device that cannot be used here");
    return;
  }
  hmci_verbs_gid_text(transport->gids[rail->mine].raw, here);
  hmci_verbs_gid_text(rail->peer_gid.raw, there);
  add(sheet, "from %s (%s port %u) to %s", here, ibv_get_device_name(rail->device->context->device),
      transport->ports[rail->mine].number, there);
  if (rail->mtu) add(sheet, ", path MTU %u", 128u << rail->mtu);
  if (rail->phase != VERBS_UP) add(sheet, rail->dead ? ", device failed" : ", being made again");
}

static uint32_t count_pairs(const verbs_connection_t *connection) {
  uint32_t pairs = 0;
  for (uint32_t i = 0; i < connection->rail_count; i++) pairs += connection->rails[i].pair != NULL;
  return pairs;
}

static uint32_t count_all_pairs(const verbs_transport_t *transport) {
  uint32_t pairs = 0;
  const hmci_list_t *head = &transport->connections;
  for (const hmci_list_t *link = head->next; link != head; link = link->next)
    pairs += count_pairs(HMCI_CONTAINER(link, verbs_connection_t, link));
  return pairs;
}

static void add_pinned(sheet_t *sheet, const verbs_transport_t *transport) {
  uint64_t most = transport->host->settings->verbs_pinned_max;
  add(sheet, "%llu B registered", (unsigned long long)transport->pinned);
  if (most) {
    add(sheet, " of at most %llu B (HMC_RDMA_PINNED_MAX)", (unsigned long long)most);
  } else {
    add(sheet, ", without a ceiling (HMC_RDMA_PINNED_MAX)");
  }
}

void hmci_verbs_explain(void *block, char *text, size_t size) {
  verbs_connection_t *connection = block;
  verbs_transport_t *transport = connection->transport;
  sheet_t sheet = {text, size, 0};
  pthread_mutex_lock(&transport->lock);
  add(&sheet, "rdma ");
  if (connection->rail_count > 1) add(&sheet, "over %u rails: ", connection->rail_count);
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    if (i) add(&sheet, " | ");
    add_rail(&sheet, &connection->rails[i]);
  }
  const verbs_rail_t *main = &connection->rails[connection->main_before];
  add(&sheet, "; %s; queue pairs: %u to this peer, %u in all; ",
      main->peer_stores_at_once ? "what is acknowledged is visible" : "a read behind each put makes it visible",
      count_pairs(connection), count_all_pairs(transport));
  if (main->device) add(&sheet, "receive buffers: %u; ", main->device->buffer_count);
  add_pinned(&sheet, transport);
  pthread_mutex_unlock(&transport->lock);
}
