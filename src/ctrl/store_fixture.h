/* What the tests of the store share: a server, clients, and short forms of the calls. Included once per program. */
#ifndef HMCI_STORE_FIXTURE_H
#define HMCI_STORE_FIXTURE_H

#include "control_fixture.h"

#include <hmc/store.h>
#include <port.h>

static char address[64], journal[96];

static inline hmc_store_server_t *serve(uint16_t port, const char *file) {
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  hmc_store_server_t *server = NULL;
  options.port = port;
  options.journal = file;
  options.grace_ms = 300;
  GOOD(hmc_store_server_start(&options, &server));
  snprintf(address, sizeof(address), "tcp://127.0.0.1:%u", hmc_store_server_port(server));
  snprintf(journal, sizeof(journal), "%s/journal", folder);
  return server;
}

static inline hmc_store_t *join(void) {
  hmc_store_t *store = NULL;
  GOOD(hmc_store_connect(address, NULL, PATIENCE_MS, &store));
  return store;
}

static inline void set(hmc_store_t *store, const char *key, const char *value, hmc_store_lease_t *lease) {
  GOOD(hmc_store_set(store, key, value, strlen(value), lease, PATIENCE_MS));
}

static inline void assert_value(hmc_store_t *store, const char *key, const char *expected) {
  char value[128] = "";
  size_t size = 0;
  GOOD(hmc_store_get(store, key, value, sizeof(value) - 1, &size, PATIENCE_MS));
  value[size] = '\0';
  assert_string_equal(value, expected);
}

static inline void assert_absent(hmc_store_t *store, const char *key) {
  char value[8];
  assert_int_equal(hmc_store_get(store, key, value, sizeof(value), NULL, PATIENCE_MS), HMC_NOT_FOUND);
}

static inline void await_absent(hmc_store_t *store, const char *key) {
  char value[128];
  hmc_status_t status = HMC_SUCCESS;
  for (int i = 0; i < PATIENCE_MS && status != HMC_NOT_FOUND; i++) {
    sleep_ms(2);
    status = hmc_store_get(store, key, value, sizeof(value), NULL, PATIENCE_MS);
  }
  assert_int_equal(status, HMC_NOT_FOUND);
}

static inline void assert_event(hmc_store_watch_t *watch, hmc_store_event_kind_t kind, const char *key,
                                const char *value) {
  hmc_store_event_t event;
  GOOD(hmc_store_watch_next(watch, &event, PATIENCE_MS));
  assert_int_equal(event.kind, kind);
  if (key != NULL) {
    assert_string_equal(event.key, key);
  }
  if (value != NULL) {
    assert_int_equal(event.value_size, strlen(value));
    assert_memory_equal(event.value, value, strlen(value));
  }
}

#endif
