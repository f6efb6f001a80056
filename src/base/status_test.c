#include "base.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_every_code_has_name_and_text(void **state) {
  (void)state;
#define CHECK(name, value, text)                                                                                       \
  assert_int_equal(HMC_##name, value);                                                                                 \
  assert_string_equal(hmc_status_name((hmc_status_t)value), #name);                                                    \
  assert_string_equal(hmc_status_text((hmc_status_t)value), text);
  HMC_STATUS_LIST(CHECK)
#undef CHECK
  assert_string_equal(hmc_status_name((hmc_status_t)999), "UNKNOWN");
  assert_string_equal(hmc_status_text((hmc_status_t)-1), "unknown status");
}

static void test_text_is_kept_until_the_next_failure(void **state) {
  (void)state;
  assert_int_equal(hmci_fail(HMC_TIMEOUT, "put to %s: %d ms", "10.0.0.2:2025", 30), HMC_TIMEOUT);
  assert_string_equal(hmc_last_error(), "put to 10.0.0.2:2025: 30 ms");
  assert_int_equal(hmci_fail(HMC_ERROR, "other"), HMC_ERROR);
  assert_string_equal(hmc_last_error(), "other");
}

static void test_errno_stays_and_a_bad_format_gives_no_text(void **state) {
  (void)state;
  errno = EBADF;
  hmci_fail(HMC_ERROR, "%ls", L"\u20ac"); /* no such character in the C locale: EILSEQ */
  assert_int_equal(errno, EBADF);
  assert_string_equal(hmc_last_error(), "");
  hmci_fail_prefix(HMC_ERROR, "%ls", L"\u20ac");
  assert_int_equal(errno, EBADF);
}

static void test_silent_failures_leave_the_text(void **state) {
  (void)state;
  hmci_fail(HMC_ERROR, "mine");
  assert_false(hmci_fail_silently(true));
  assert_int_equal(hmci_fail(HMC_TIMEOUT, "other"), HMC_TIMEOUT);
  assert_int_equal(hmci_fail_prefix(HMC_STALE, "other "), HMC_STALE);
  assert_string_equal(hmc_last_error(), "mine");
  assert_true(hmci_fail_silently(false));
  hmci_fail(HMC_ERROR, "other");
  assert_string_equal(hmc_last_error(), "other");
}

static void test_prefix_goes_before(void **state) {
  (void)state;
  hmci_fail(HMC_NOT_FOUND, "nobody listens");
  assert_int_equal(hmci_fail_prefix(HMC_PEER_LOST, "connect to %s: ", "rank 3"), HMC_PEER_LOST);
  assert_string_equal(hmc_last_error(), "connect to rank 3: nobody listens");
}

static void test_text_may_be_built_from_itself(void **state) {
  (void)state;
  hmci_fail(HMC_ERROR, "inner");
  hmci_fail(HMC_ERROR, "outer (%s)", hmc_last_error());
  assert_string_equal(hmc_last_error(), "outer (inner)");
  hmci_fail_prefix(HMC_ERROR, "%s and ", hmc_last_error());
  assert_string_equal(hmc_last_error(), "outer (inner) and outer (inner)");
}

static void test_text_is_one_line(void **state) {
  (void)state;
  hmci_fail(HMC_ERROR, "a\nb\tc\x7f"
                       "d\r");
  assert_string_equal(hmc_last_error(), "a b c d ");
}

static void test_long_text_is_cut_between_characters(void **state) {
  (void)state;
  char two_bytes[HMCI_ERROR_TEXT * 2 + 1] = "";
  for (int i = 0; i < HMCI_ERROR_TEXT; i++) {
    memcpy(two_bytes + 2 * i, "\xc3\xa9", 3);
  }
  hmci_fail(HMC_ERROR, "%s", two_bytes); /* room for 1023 bytes: the last character does not fit */
  assert_int_equal(strlen(hmc_last_error()), HMCI_ERROR_TEXT - 2);
  hmci_fail(HMC_ERROR, "x%s", two_bytes);
  assert_int_equal(strlen(hmc_last_error()), HMCI_ERROR_TEXT - 1);
  hmci_fail_prefix(HMC_ERROR, "%s", two_bytes);
  assert_int_equal(strlen(hmc_last_error()), HMCI_ERROR_TEXT - 2);
}

static void test_clean_drops_cut_characters_only(void **state) {
  (void)state;
  static const struct {
    const char *before, *after;
  } cases[] = {
      {"", ""},
      {"plain", "plain"},
      {"\xe2\x82\xac", "\xe2\x82\xac"},
      {"x\xe2\x82", "x"},
      {"x\xe2", "x"},
      {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"},
      {"y\xf0\x9f\x98", "y"},
      {"\xc3", ""},
  };
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    char text[16];
    memcpy(text, cases[i].before, strlen(cases[i].before) + 1);
    hmci_text_clean(text);
    assert_string_equal(text, cases[i].after);
  }
}

static void *fail_in_thread(void *result) {
  *(bool *)result = hmc_last_error()[0] == '\0';
  hmci_fail(HMC_ERROR, "of the other thread");
  return NULL;
}

static void test_each_thread_has_its_own(void **state) {
  (void)state;
  hmci_fail(HMC_ERROR, "mine");
  bool was_empty = false;
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, &was_empty), 0);
  assert_int_equal(pthread_join(thread, NULL), 0);
  assert_true(was_empty);
  assert_string_equal(hmc_last_error(), "mine");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_every_code_has_name_and_text),
      cmocka_unit_test(test_text_is_kept_until_the_next_failure),
      cmocka_unit_test(test_errno_stays_and_a_bad_format_gives_no_text),
      cmocka_unit_test(test_silent_failures_leave_the_text),
      cmocka_unit_test(test_prefix_goes_before),
      cmocka_unit_test(test_text_may_be_built_from_itself),
      cmocka_unit_test(test_text_is_one_line),
      cmocka_unit_test(test_long_text_is_cut_between_characters),
      cmocka_unit_test(test_clean_drops_cut_characters_only),
      cmocka_unit_test(test_each_thread_has_its_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
