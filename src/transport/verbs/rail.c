/* What a rail has for as long as its connection: a device, a number that completions name, room for its entries and for
 * the pieces it lost. */
#include "connection.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_NUMBERS = 64 };

/* A number that no completion names yet. */
static bool take_number(verbs_transport_t *transport, verbs_rail_t *rail) {
  uint32_t number = 0;
  while (number < transport->number_room && transport->numbers[number]) number++;
  if (number == transport->number_room) {
    uint32_t room = number ? number * 2 : FIRST_NUMBERS;
    verbs_rail_t **numbers = realloc(transport->numbers, room * sizeof *numbers);
    if (!numbers) return false;
    memset(numbers + number, 0, (room - number) * sizeof *numbers);
    transport->numbers = numbers;
    transport->number_room = room;
  }
  transport->numbers[number] = rail;
  rail->number = number;
  return true;
}

hmc_status_t hmci_verbs_rail_open(verbs_rail_t *rail, verbs_device_t *device) {
  verbs_transport_t *transport = rail->connection->transport;
  hmc_status_t status = hmci_verbs_device_start(device);
  if (status == HMC_SUCCESS) status = hmci_verbs_device_grow(device);
  if (status != HMC_SUCCESS) return status;
  rail->entries = calloc(2 * VERBS_SEND_QUEUE, sizeof *rail->entries);
  if (!rail->entries || !take_number(transport, rail)) goto err_memory;
  rail->lost = rail->entries + VERBS_SEND_QUEUE;
  rail->device = device;
  return HMC_SUCCESS;

err_memory:
  free(rail->entries);
  rail->entries = NULL;
  hmci_verbs_device_shrink(device);
  return hmci_fail(HMC_NO_MEMORY, "no memory for a connection");
}

void hmci_verbs_rail_close(verbs_rail_t *rail) {
  if (!rail->device) return;
  hmci_verbs_pair_destroy(rail);
  rail->connection->transport->numbers[rail->number] = NULL;
  hmci_verbs_device_shrink(rail->device);
  free(rail->entries);
  rail->device = NULL;
}

/* ---- lost pieces ----------------------------------------------------------------------------------------------------- */

void hmci_verbs_rail_lose(verbs_rail_t *rail, const verbs_entry_t *entry) {
  rail->lost[rail->lost_count++] =
      (verbs_entry_t){.operation = entry->operation, .begin = entry->begin, .end = entry->end};
  rail->connection->lost++;
}

void hmci_verbs_rail_forget(verbs_connection_t *connection, hmci_operation_t *operation) {
  for (uint32_t i = 0; i < connection->rail_count; i++) {
    verbs_rail_t *rail = &connection->rails[i];
    uint32_t kept = 0;
    for (uint32_t k = 0; k < rail->lost_count; k++) {
      if (rail->lost[k].operation == operation) {
        hmci_verbs_state(operation)->outstanding--;
        connection->lost--;
      } else {
        rail->lost[kept++] = rail->lost[k];
      }
    }
    rail->lost_count = kept;
  }
}
