#include "resolve.h"

#include <dirent.h>
#include <dlfcn.h>
#include <hmc/state.h>
#include <netdb.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static atomic_bool is_over; /* what asks for silent.test may go */

/* Stands before the C library's; the name server of silent.test does not answer. */
int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
  int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
  void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
  memcpy(&next, &symbol, sizeof symbol);
  if (strcmp(node, "silent.test") != 0) return next(node, service, hints, found);
  while (!atomic_load(&is_over)) poll(NULL, 0, 1);
  return EAI_AGAIN;
}

static void assert_split(const char *text, uint16_t port, const char *host, uint16_t expected) {
  char got[HMCI_HOST_TEXT];
  if (hmci_address_split(text, got, &port) != HMC_SUCCESS) fail_msg("%s: %s", text, hmc_last_error());
  assert_string_equal(got, host);
  assert_int_equal(port, expected);
}

static void test_addresses_are_split(void **state) {
  (void)state;
  assert_split("10.0.0.2", 7, "10.0.0.2", 7);
  assert_split("10.0.0.2:2025", 0, "10.0.0.2", 2025);
  assert_split("10.0.0.2:2025", 2025, "10.0.0.2", 2025);
  assert_split("node7", 0, "node7", 0);
  assert_split("node7.lan:1", 0, "node7.lan", 1);
  assert_split("fe80::1%eth0", 9, "fe80::1%eth0", 9);
  assert_split("::1", 9, "::1", 9);
  assert_split("[::1]", 9, "::1", 9);
  assert_split("[fe80::1%eth0]:65535", 0, "fe80::1%eth0", 65535);
}

static void test_what_is_no_address_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {"", ":1", "[]:1", "[::1", "[::1]x", "host:", "host:65536", "host:12x", "host:-1"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char host[HMCI_HOST_TEXT] = "untouched";
    uint16_t port = 0;
    if (hmci_address_split(bad[i], host, &port) != HMC_INVALID_CONFIG) fail_msg("\"%s\" was taken", bad[i]);
    assert_string_equal(host, "untouched");
  }
  char host[HMCI_HOST_TEXT];
  uint16_t port = 4;
  assert_int_equal(hmci_address_split("host:5", host, &port), HMC_INVALID_CONFIG); /* which one is meant? */
}

static void test_numbers_are_taken_as_they_are(void **state) {
  (void)state;
  hmci_addresses_t found;
  static const char *const good[] = {"127.0.0.1", "::1", "fe80::1%lo", "::ffff:10.0.0.1"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    assert_int_equal(hmci_resolve(good[i], 0, &found), HMC_SUCCESS);
    assert_int_equal(found.count, 1);
    assert_string_equal(found.ip[0], good[i]);
  }
  static const char *const bad[] = {"", "10.1", "300.0.0.1", "10.0.0.1.5", "not a host", "a/b", "1.2.3.4%eth0"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    if (hmci_resolve(bad[i], HMCI_NEVER, &found) != HMC_INVALID_CONFIG) fail_msg("\"%s\" was taken", bad[i]);
  }
}

static void test_names_are_looked_up(void **state) {
  (void)state;
  hmci_addresses_t found;
  if (hmci_resolve("localhost", hmci_deadline(60000), &found) != HMC_SUCCESS) fail_msg("%s", hmc_last_error());
  bool is_loopback = false;
  for (size_t i = 0; i < found.count; i++)
    is_loopback |= strcmp(found.ip[i], "127.0.0.1") == 0 || strcmp(found.ip[i], "::1") == 0;
  assert_true(is_loopback);
}

static int count_threads(void) {
  int threads = 0;
  DIR *folder = opendir("/proc/self/task");
  assert_non_null(folder);
  while (readdir(folder)) threads++;
  closedir(folder);
  return threads;
}

/* A look-up that was given up goes on in its thread; the sanitizers count what it holds when the program ends first. */
static void await_threads(int before) {
  for (int i = 0; i < 60000 && count_threads() > before; i++) poll(NULL, 0, 1);
  assert_true(count_threads() <= before);
}

static void test_a_name_that_nobody_has_ends(void **state) {
  (void)state;
  hmci_addresses_t found = {.count = 77};
  int before = count_threads();
  hmc_status_t status = hmci_resolve("no-such-host.invalid", hmci_deadline(60000), &found);
  assert_true(status == HMC_NOT_FOUND || status == HMC_TIMEOUT);
  assert_non_null(strstr(hmc_last_error(), "no-such-host.invalid"));
  assert_int_equal(found.count, 77);
  status = hmci_resolve("no-such-host.invalid", 0, &found); /* no time at all, while the thread still asks */
  assert_true(status == HMC_TIMEOUT || status == HMC_NOT_FOUND);
  await_threads(before);
}

static int asks;

static bool wants_after_three(void) { return ++asks > 3; }

/* The thread's program may give up while a name server is silent. */
static void test_a_program_that_stops_looking_up(void **state) {
  (void)state;
  hmci_addresses_t found = {.count = 77};
  int before = count_threads();
  hmc_state_of_thread()->stop = wants_after_three;
  hmc_status_t status = hmci_resolve("silent.test", hmci_deadline(10000), &found);
  hmc_state_of_thread()->stop = NULL;
  atomic_store(&is_over, true);
  assert_int_equal(status, HMC_CANCELLED);
  assert_int_equal(asks, 4);
  assert_int_equal(found.count, 77);
  await_threads(before);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_addresses_are_split),           cmocka_unit_test(test_what_is_no_address_is_refused),
      cmocka_unit_test(test_numbers_are_taken_as_they_are), cmocka_unit_test(test_names_are_looked_up),
      cmocka_unit_test(test_a_name_that_nobody_has_ends),   cmocka_unit_test(test_a_program_that_stops_looking_up),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
