/* See interrupt.h. */
#include "interrupt.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

atomic_bool tool_interrupted;

static void interrupt(int number) {
  (void)number;
  atomic_store(&tool_interrupted, true);
}

void tool_catch_interrupts(void) {
  struct sigaction action = {.sa_handler = interrupt, .sa_flags = SA_RESETHAND};
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, NULL);
  sigaction(SIGTERM, &action, NULL);
}
