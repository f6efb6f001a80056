#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digest.h"
#include "openssl.h"
#include "secret.h"

#include <openssl/crypto.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { FAR_ENOUGH = 400, FIRST_USE_IS_FINE = 0, REFUSED = 1, WRONG = 2, NOTHING_FAILED = 3 };

/* One allocation of OpenSSL's fails, or all from it on. */
static int until_failure, failures_left;

static bool fails(void) {
  if (until_failure > 0) {
    until_failure--;
    return false;
  }
  return failures_left > 0 && failures_left-- > 0;
}

static void *take(size_t size, const char *file, int line) {
  (void)file, (void)line;
  return fails() ? NULL : malloc(size);
}

static void *take_again(void *memory, size_t size, const char *file, int line) {
  (void)file, (void)line;
  return fails() ? NULL : realloc(memory, size);
}

static void give(void *memory, const char *file, int line) {
  (void)file, (void)line;
  free(memory);
}

/* In a process that has not used OpenSSL yet. What ends it by a signal is the defect. */
static int use_without_memory(int first, int count) {
  uint8_t key[32] = {1}, digest[HMCI_DIGEST];
  hmci_settings_t settings = {0};
  hmci_secret_t secret;
  snprintf(settings.secret, sizeof(settings.secret), "a secret of the tests, 0123456789");
  if (CRYPTO_set_mem_functions(take, take_again, give) != 1) {
    return WRONG;
  }
  until_failure = first;
  failures_left = count;
  hmc_status_t loaded = hmci_secret_load(&settings, &secret);
  hmc_status_t digested = hmci_digest(key, "text", 4, digest);
  if (failures_left == count) {
    return NOTHING_FAILED;
  }
  if (!hmci_openssl_acquire()) {
    failures_left = 0; /* what did not start does not start later */
    return loaded == HMC_NO_MEMORY && digested == HMC_NO_MEMORY &&
                   hmci_digest(key, "text", 4, digest) == HMC_NO_MEMORY &&
                   strstr(hmc_last_error(), "OpenSSL found no memory when it started") != NULL
               ? REFUSED
               : WRONG;
  }
  hmci_openssl_release();
  return FIRST_USE_IS_FINE;
}

static int run(int first, int count) {
  int how = 0;
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    _exit(use_without_memory(first, count));
  }
  assert_int_equal(waitpid(child, &how, 0), child);
  if (!WIFEXITED(how) || WEXITSTATUS(how) == WRONG) {
    fail_msg("without %d allocations from number %d on: wait status %d", count, first, how);
  }
  return WEXITSTATUS(how);
}

static void test_a_start_without_memory_is_refused(void **state) {
  (void)state;
  static const int counts[] = {1, 1000000};
  for (int i = 0; i < 2; i++) {
    int refused = 0, result = FIRST_USE_IS_FINE;
    for (int first = 0; first < FAR_ENOUGH && result != NOTHING_FAILED; first++) {
      result = run(first, counts[i]);
      refused += result == REFUSED;
    }
    assert_true(refused > 0);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_a_start_without_memory_is_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
