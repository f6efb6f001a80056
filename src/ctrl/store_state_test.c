/* Tests of what a store's server knows, without sockets: what a broken connection leaves of a client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "store_state.h"

#include <cmocka.h>

static uint8_t answered; /* the status of the last answer */

static void note_answer(hmci_store_session_t *session, const hmci_store_message_t *message,
                        hmci_store_shared_t *shared) {
  (void)session, (void)shared;
  answered = message->status;
}

static void cut(hmci_store_session_t *session) { (void)session; }

static bool make_room(hmci_store_state_t *state) {
  (void)state;
  return false;
}

static const hmci_store_wires_t wires = {.send = note_answer, .cut = cut, .make_room = make_room};
static uint64_t sequence = 1;

static void ask(hmci_store_session_t *session, hmci_store_message_t request, const char *key, hmc_status_t expected) {
  request.sequence = ++sequence;
  request.floor = sequence;
  request.key = key;
  request.key_size = (uint16_t)strlen(key);
  request.value = "v";
  request.value_size = 1;
  assert_int_equal(hmci_store_serve(session, &request), HMC_SUCCESS);
  assert_int_equal(answered, expected);
}

enum { LEASE = 5, TTL_MS = 60000 };

static void take_lease_up(hmci_store_session_t *session) {
  ask(session, (hmci_store_message_t){.type = HMCI_STORE_LEASE, .lease = LEASE, .number = TTL_MS}, "", HMC_SUCCESS);
}

static void put_back(hmci_store_session_t *session, const char *key, hmc_status_t expected) {
  ask(session, (hmci_store_message_t){.type = HMCI_STORE_RESTORE, .lease = LEASE}, key, expected);
}

static bool has(const hmci_store_state_t *state, const char *key) {
  return hmci_store_map_find(&state->map, key, strlen(key)) != NULL;
}

/* The connection breaks between two keys that the client puts back, and it begins again: all of them are there. */
static void what_was_begun_is_put_back_by_the_next_connection(void **unused) {
  (void)unused;
  hmci_store_state_t state;
  hmci_store_state_init(&state, &wires);
  state.memory_max = UINT64_MAX;
  hmci_store_session_t *session = hmci_store_session(&state, 1);
  for (int i = 0; i < 3; i++) { /* it breaks more than once */
    hmci_store_session_join(session, &state);
    take_lease_up(session);
    put_back(session, "a", HMC_SUCCESS);
    hmci_store_session_part(session);
  }
  hmci_store_session_join(session, &state);
  take_lease_up(session);
  put_back(session, "a", HMC_SUCCESS);
  put_back(session, "b", HMC_SUCCESS);
  assert_true(has(&state, "a") && has(&state, "b"));
  hmci_store_state_clear(&state);
}

/* A lease that the store has all the time keeps what others did to its keys. */
static void what_others_removed_is_not_put_back(void **unused) {
  (void)unused;
  hmci_store_state_t state;
  hmci_store_state_init(&state, &wires);
  state.memory_max = UINT64_MAX;
  hmci_store_session_t *session = hmci_store_session(&state, 1), *other = hmci_store_session(&state, 2);
  hmci_store_session_join(session, &state);
  hmci_store_session_join(other, &state);
  take_lease_up(session);
  put_back(session, "a", HMC_SUCCESS);
  put_back(session, "b", HMC_SUCCESS);
  ask(session, (hmci_store_message_t){.type = HMCI_STORE_KEEP}, "", HMC_SUCCESS);
  ask(other, (hmci_store_message_t){.type = HMCI_STORE_DELETE}, "a", HMC_SUCCESS);
  ask(other, (hmci_store_message_t){.type = HMCI_STORE_SET}, "b", HMC_SUCCESS);
  for (int i = 0; i < 2; i++) {
    hmci_store_session_part(session);
    hmci_store_session_join(session, &state);
    take_lease_up(session);
    put_back(session, "a", HMC_SUCCESS);
    put_back(session, "b", HMC_SUCCESS);
  }
  assert_false(has(&state, "a"));
  hmci_store_state_clear(&state);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_begun_is_put_back_by_the_next_connection),
      cmocka_unit_test(what_others_removed_is_not_put_back),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
