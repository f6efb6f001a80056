/* Puts with notifications: small messages that the owner takes from a queue, each after the data that it tells of. The
 * one who sends has several in progress at a time. */
#include "example.h"

#include <string.h>

enum { SLOT = 64 << 10, SLOTS = 4 };

/* The notification: what has come, and where. */
typedef struct note {
  uint32_t slot;
  char name[28];
} note_t;

static void own(void) {
  hmc_context_t *context;
  hmc_region_t *region;
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SLOTS * SLOT, "slots", HMC_REMOTE_WRITE,
                            &region));
  const unsigned char *slots = hmc_region_pointer(region);
  hmc_peer_t *peer = example_accept(context);
  int sum = 0;
  for (int i = 0; i < SLOTS; i++) {
    note_t note;
    size_t size;
    hmc_peer_t *sender;
    check(hmc_notification_receive(context, &note, sizeof note, &size, &sender, 0));
    sum += slots[note.slot * SLOT + SLOT - 1]; /* the data are there: the notification came after them */
    printf("%s is in slot %u\n", note.name, note.slot);
  }
  printf("the slots add up to %d\n", sum);
  example_await_the_end(peer);
  hmc_context_destroy(context);
}

static void visit(int argc, char **argv) {
  hmc_context_t *context;
  hmc_region_t *here;
  hmc_remote_t *slots;
  hmc_request_t *requests[SLOTS];
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SLOTS * SLOT, NULL, 0, &here));
  check(hmc_remote_open(example_connect(context, argc, argv), "slots", 0, &slots));
  unsigned char *data = hmc_region_pointer(here);
  for (uint32_t i = 0; i < SLOTS; i++) {
    note_t note = {.slot = i};
    snprintf(note.name, sizeof note.name, "piece %u", i);
    const hmc_operation_options_t options = {
        .size = sizeof(hmc_operation_options_t), .notification = &note, .notification_size = sizeof note}; /* copied */
    memset(data + i * SLOT, (int)i + 1, SLOT);
    check(hmc_put_nb(here, i * SLOT, slots, i * SLOT, SLOT, &options, &requests[i]));
  }
  check(hmc_request_wait_all(requests, SLOTS));
  for (int i = 0; i < SLOTS; i++) hmc_request_free(requests[i]);
  printf("sent %d pieces\n", SLOTS);
  hmc_context_destroy(context);
}

int main(int argc, char **argv) {
  if (argc > 1)
    visit(argc, argv);
  else
    own();
  return 0;
}
