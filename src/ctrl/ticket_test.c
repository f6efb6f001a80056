/* Tickets: what makes two ends sure of each other, and what does not. */
#include "ticket.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const uint8_t key[HMCI_TICKET_KEY] = {1, 2, 3}, other[HMCI_TICKET_KEY] = {1, 2, 4};
static const hmci_ticket_t ticket = {0x1122334455667788, 77, 3};

static void test_both_ends_agree(void **state) {
  (void)state;
  uint8_t hello[HMCI_TICKET_HELLO], challenge[HMCI_TICKET_CHALLENGE], proof[HMCI_TICKET_MAC];
  uint8_t ours[2][HMCI_RECORD_SECRET], theirs[2][HMCI_RECORD_SECRET];
  hmci_ticket_t read;
  hmci_ticket_hello(&ticket, hello);
  assert_true(hmci_ticket_is_hello(hello, 1));
  assert_true(hmci_ticket_is_hello(hello, sizeof hello));
  assert_int_equal(hmci_ticket_read(hello, &read), HMC_SUCCESS);
  assert_true(read.token == ticket.token && read.incarnation == 77 && read.purpose == 3);
  assert_int_equal(hmci_ticket_challenge(key, hello, challenge), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_prove(key, hello, challenge, proof), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_check(key, hello, challenge, proof), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_secrets(key, hello, challenge, ours[0], ours[1]), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_secrets(key, hello, challenge, theirs[0], theirs[1]), HMC_SUCCESS);
  assert_memory_equal(ours, theirs, sizeof ours);
  assert_memory_not_equal(ours[0], ours[1], HMCI_RECORD_SECRET);
}

/* One who lacks the key, changes a byte on the way, or says again what was said before. */
static void test_nobody_else_does(void **state) {
  (void)state;
  uint8_t hello[HMCI_TICKET_HELLO], challenge[HMCI_TICKET_CHALLENGE], proof[HMCI_TICKET_MAC];
  uint8_t again[HMCI_TICKET_CHALLENGE];
  hmci_ticket_hello(&ticket, hello);
  assert_int_equal(hmci_ticket_challenge(other, hello, challenge), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_prove(key, hello, challenge, proof), HMC_DENIED);
  assert_int_equal(hmci_ticket_challenge(key, hello, challenge), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_check(key, hello, challenge, challenge + HMCI_TICKET_NONCE), HMC_DENIED); /* mirrored */
  assert_int_equal(hmci_ticket_prove(key, hello, challenge, proof), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_check(other, hello, challenge, proof), HMC_DENIED);
  assert_int_equal(hmci_ticket_challenge(key, hello, again), HMC_SUCCESS);
  assert_int_equal(hmci_ticket_check(key, hello, again, proof), HMC_DENIED);
  for (size_t i = 0; i < sizeof hello; i++) {
    hello[i] ^= 1;
    assert_int_equal(hmci_ticket_check(key, hello, challenge, proof), HMC_DENIED);
    hello[i] ^= 1;
  }
  for (size_t i = 0; i < sizeof proof; i++) {
    proof[i] ^= 0x80;
    assert_int_equal(hmci_ticket_check(key, hello, challenge, proof), HMC_DENIED);
    proof[i] ^= 0x80;
  }
  assert_int_equal(hmci_ticket_check(key, hello, challenge, proof), HMC_SUCCESS);
}

static void test_other_hellos(void **state) {
  (void)state;
  uint8_t hello[HMCI_TICKET_HELLO];
  hmci_ticket_t read;
  hmci_ticket_hello(&ticket, hello);
  hello[4] = 2;
  assert_int_equal(hmci_ticket_read(hello, &read), HMC_UNSUPPORT);
  hello[4] = 1;
  hello[6] = 1;
  assert_int_equal(hmci_ticket_read(hello, &read), HMC_CORRUPT);
  assert_false(hmci_ticket_is_hello((const uint8_t *)"HMCG", 4));
  assert_false(hmci_ticket_is_hello((const uint8_t *)"\x16\x03", 2));
  assert_true(hmci_ticket_is_hello((const uint8_t *)"HM", 2));
}

static void test_verdicts(void **state) {
  (void)state;
  uint8_t answer[HMCI_TICKET_ANSWER];
  char text[400];
  hmci_ticket_answer(HMC_SUCCESS, "", answer);
  assert_int_equal(hmci_ticket_judged(answer), HMC_SUCCESS);
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = 0;
  hmci_ticket_answer(HMC_STALE, text, answer);
  assert_int_equal(hmci_ticket_judged(answer), HMC_STALE);
  assert_non_null(strstr(hmc_last_error(), "the peer says: xxx"));
  memset(answer, 0xff, sizeof answer); /* of a newer end, with a text that does not end */
  assert_int_equal(hmci_ticket_judged(answer), HMC_ERROR);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_both_ends_agree),
      cmocka_unit_test(test_nobody_else_does),
      cmocka_unit_test(test_other_hellos),
      cmocka_unit_test(test_verdicts),
  };
  return cmocka_run_group_tests_name("ctrl.ticket", tests, NULL, NULL);
}
