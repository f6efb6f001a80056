/* Processors: one that is all there is, and one that both ends share. */
#include "processor.h"

#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "socket.h"

static cpu_set_t all;

static int keep(void **state) {
  (void)state;
  return sched_getaffinity(0, sizeof all, &all);
}

static int restore(void **state) {
  (void)state;
  return sched_setaffinity(0, sizeof all, &all);
}

static int nth(int number) {
  for (int i = 0; i < CPU_SETSIZE; i++)
    if (CPU_ISSET(i, &all) && number-- == 0) return i;
  return -1;
}

static void run_on(int processor) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(processor, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
}

/* What was seen is kept for a tenth of a second. */
static bool becomes(bool bound) {
  for (int i = 0; i < 60000 && (hmci_processor_look_after() == 0) != bound; i++) poll(NULL, 0, 1);
  return (hmci_processor_look_after() == 0) == bound;
}

/* A process that is bound looks for the other end at once, and polls on where that is elsewhere. */
static void test_bound_is_seen(void **state) {
  (void)state;
  bool single = hmci_processor_is_single();
  run_on(nth(0));
  assert_true(becomes(true));
  assert_int_equal(hmci_processor_is_single(), single);
  assert_int_equal(hmci_processor_spin(50000), single ? 0 : 50000);
  assert_int_equal(sched_setaffinity(0, sizeof all, &all), 0);
  assert_true(becomes(CPU_COUNT(&all) == 1));
  assert_int_equal(hmci_processor_spin(0), 0);
}

static void test_shared_is_seen(void **state) {
  (void)state;
  int listener, here, there;
  uint16_t port;
  char text[HMCI_ADDRESS_TEXT], byte = 1;
  assert_int_equal(hmci_socket_listen_tcp("127.0.0.1", 0, &listener, &port), HMC_SUCCESS);
  assert_int_equal(hmci_socket_connect_tcp("127.0.0.1", port, hmci_deadline(60000), &here), HMC_SUCCESS);
  struct pollfd wait = {.fd = listener, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(hmci_socket_accept(listener, &there, text), HMC_SUCCESS);
  run_on(nth(0));
  assert_int_equal(send(here, &byte, 1, 0), 1);
  wait = (struct pollfd){.fd = there, .events = POLLIN};
  assert_int_equal(poll(&wait, 1, 60000), 1);
  assert_int_equal(recv(there, &byte, 1, 0), 1);
  assert_true(hmci_processor_is_shared(there));
  if (nth(1) >= 0) {
    run_on(nth(1));
    assert_false(hmci_processor_is_shared(there));
  }
  assert_false(hmci_processor_is_shared(-1));
  close(here);
  close(there);
  close(listener);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_bound_is_seen, keep, restore),
      cmocka_unit_test_setup_teardown(test_shared_is_seen, keep, restore),
  };
  return cmocka_run_group_tests_name("base.processor", tests, NULL, NULL);
}
