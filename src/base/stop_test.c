/* Ending waits: asked before, asked meanwhile, followed by another thread, used again. */
#include "stop.h"

#include <errno.h>
#include <hmc/state.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <unistd.h>

#include <cmocka.h>

static void without_one_poll_is_poll(void **state) {
  (void)state;
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  assert_int_equal(hmci_stop_poll(ends[0], POLLIN, 0), 0);
  assert_int_equal(write(ends[1], "x", 1), 1);
  assert_int_equal(hmci_stop_poll(ends[0], POLLIN, -1), 1);
  assert_false(hmci_stop_is_asked());
  close(ends[0]);
  close(ends[1]);
}

static void asked_before_it_does_not_wait(void **state) {
  (void)state;
  hmci_stop_t stop;
  assert_int_equal(hmci_stop_open(&stop), HMC_SUCCESS);
  hmci_stop_ask(&stop);
  assert_false(hmci_stop_is_asked()); /* nobody follows it */
  hmci_stop_follow(&stop);
  assert_true(hmci_stop_is_asked());
  assert_int_not_equal(hmci_stop_poll(-1, 0, -1), 0);
  hmci_stop_clear(&stop);
  assert_false(hmci_stop_is_asked());
  assert_int_equal(hmci_stop_poll(-1, 0, 0), 0);
  hmci_stop_follow(NULL);
  hmci_stop_close(&stop);
}

static void *wait_long(void *argument) {
  hmci_stop_follow(argument);
  while (!hmci_stop_is_asked()) hmci_stop_poll(-1, 0, -1);
  hmci_stop_follow(NULL);
  return NULL;
}

static void ends_what_waits_already(void **state) {
  (void)state;
  hmci_stop_t stop;
  pthread_t thread;
  assert_int_equal(hmci_stop_open(&stop), HMC_SUCCESS);
  for (int i = 0; i < 3; i++) {
    assert_int_equal(pthread_create(&thread, NULL, wait_long, &stop), 0);
    hmci_stop_ask(&stop);
    pthread_join(thread, NULL);
    hmci_stop_clear(&stop);
  }
  hmci_stop_close(&stop);
}

static int asks;

static bool wants_after_three(void) { return ++asks > 3; }

/* A program's own say is asked from time to time, and only in threads that follow nothing. */
static void a_program_has_a_say(void **state) {
  (void)state;
  hmci_stop_t stop;
  assert_false(hmci_stop_is_wanted());
  hmc_state_of_thread()->stop = wants_after_three;
  while (!hmci_stop_is_wanted()) {
    errno = 0;
    assert_int_equal(hmci_stop_poll(-1, 0, -1), -1);
    assert_int_equal(errno, EINTR);
  }
  assert_int_equal(asks, 4);
  assert_false(hmci_stop_is_asked());
  assert_int_equal(hmci_stop_poll(-1, 0, 0), 0); /* a deadline of its own is kept */
  assert_int_equal(hmci_stop_open(&stop), HMC_SUCCESS);
  hmci_stop_follow(&stop);
  assert_false(hmci_stop_is_wanted());
  assert_int_equal(asks, 4);
  hmci_stop_follow(NULL);
  hmci_stop_close(&stop);
  hmc_state_of_thread()->stop = NULL;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_program_has_a_say),
      cmocka_unit_test(without_one_poll_is_poll),
      cmocka_unit_test(asked_before_it_does_not_wait),
      cmocka_unit_test(ends_what_waits_already),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
