/* A put with a signal: a word at the target is changed once the data are there. A thread that sees the word sees the
 * data. */
#include "example.h"

#include <sched.h>
#include <stdatomic.h>
#include <string.h>

enum { SIZE = 1 << 20, ROUNDS = 3 };

/* What the owner's region holds. */
typedef struct mailbox {
  _Atomic uint64_t arrived; /* the signal's word: a multiple of 8 from the region's start */
  unsigned char data[SIZE];
} mailbox_t;

static void own(void) {
  hmc_context_t *context;
  hmc_region_t *region;
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, sizeof(mailbox_t), "mailbox",
                            HMC_REMOTE_WRITE | HMC_REMOTE_ATOMIC, &region));
  mailbox_t *mailbox = hmc_region_pointer(region);
  hmc_peer_t *peer = example_accept(context);
  while (atomic_load(&mailbox->arrived) < ROUNDS) sched_yield();
  printf("after %d signals the last byte is %d\n", ROUNDS, mailbox->data[SIZE - 1]);
  example_await_the_end(peer);
  hmc_context_destroy(context);
}

static void visit(int argc, char **argv) {
  hmc_context_t *context;
  hmc_region_t *here;
  hmc_remote_t *mailbox;
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SIZE, NULL, 0, &here));
  check(hmc_remote_open(example_connect(context, argc, argv), "mailbox", 0, &mailbox));
  const hmc_signal_t signal = {
      .remote = mailbox, .offset = offsetof(mailbox_t, arrived), .operation = HMC_ATOMIC_ADD, .value = 1};
  const hmc_operation_options_t options = {.size = sizeof(hmc_operation_options_t), .signal = &signal};
  for (int round = 1; round <= ROUNDS; round++) {
    hmc_request_t *request;
    memset(hmc_region_pointer(here), 10 * round, SIZE);
    check(hmc_put_nb(here, 0, mailbox, offsetof(mailbox_t, data), SIZE, &options, &request));
    /* other work goes here; the bytes must stay as they are meanwhile */
    check(hmc_request_wait(request));
    hmc_request_free(request);
  }
  printf("sent %d times\n", ROUNDS);
  hmc_context_destroy(context);
}

int main(int argc, char **argv) {
  if (argc > 1)
    visit(argc, argv);
  else
    own();
  return 0;
}
