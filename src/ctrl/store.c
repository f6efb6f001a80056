/* The public calls of a store's client: they check what they are given, and call the backend. */
#include "../base/settings.h"
#include "store_backend.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

static hmc_status_t check_store(const hmc_store_t *store) {
  if (store == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no store given");
  }
  if (store->process != getpid()) {
    return hmci_fail(HMC_UNSUPPORT, "this client of the store belongs to process %d: connect again after fork()",
                     (int)store->process);
  }
  return HMC_SUCCESS;
}

static hmc_status_t check_key(const hmc_store_t *store, const char *key, bool may_be_empty) {
  hmc_status_t status = check_store(store);
  if (status != HMC_SUCCESS) {
    return status;
  }
  size_t size = key != NULL ? strnlen(key, HMC_STORE_KEY_MAX + 1) : 0;
  if (key == NULL || (size == 0 && !may_be_empty) || size > HMC_STORE_KEY_MAX) {
    return hmci_fail(HMC_INVALID_CONFIG, "a key of %s: 1 to %d B are taken",
                     key == NULL || size == 0 ? "no bytes" : "too many bytes", HMC_STORE_KEY_MAX);
  }
  return HMC_SUCCESS;
}

static hmc_status_t check_value(const void *value, size_t size) {
  if (size > HMC_STORE_VALUE_MAX || (value == NULL && size > 0)) {
    return hmci_fail(HMC_INVALID_CONFIG, "a value of %zu B%s: at most %u B are taken", size,
                     value == NULL ? " at NULL" : "", HMC_STORE_VALUE_MAX);
  }
  return HMC_SUCCESS;
}

static uint64_t deadline_of(const hmc_store_t *store, uint64_t timeout_ms) {
  return hmci_deadline(timeout_ms != 0 ? timeout_ms : store->times.timeout_ms);
}

static hmc_status_t call(hmc_store_t *store, hmci_store_message_t *request, const char *key, hmc_store_lease_t *lease,
                         uint64_t timeout_ms, hmci_store_result_t *result) {
  *result = (hmci_store_result_t){.number = 0};
  hmci_store_map_init(&result->entries);
  request->key = key;
  request->key_size = (uint16_t)strlen(key);
  if (lease != NULL && lease->store != store) {
    return hmci_fail(HMC_INVALID_CONFIG, "the lease belongs to another client");
  }
  return store->backend->call(store, request, lease, deadline_of(store, timeout_ms), result);
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_store_connect(const char *address, const hmc_store_options_t *options, uint64_t timeout_ms,
                               hmc_store_t **store) {
  hmci_settings_t settings;
  if (address == NULL || store == NULL || (options != NULL && options->size < sizeof(*options))) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "no address, no place for the store, or options without HMC_STORE_OPTIONS_INIT");
  }
  hmc_status_t status = hmci_settings_read(&settings);
  if (status != HMC_SUCCESS) {
    return status;
  }
  const hmci_store_times_t times = {
      .timeout_ms = options != NULL && options->timeout_ms != 0 ? options->timeout_ms : settings.timeout / NS_PER_MS,
      .lease_ms = settings.store_lease / NS_PER_MS,
      .heartbeat = settings.store_heartbeat,
  };
  explicit_bzero(settings.secret, sizeof(settings.secret));
  uint64_t deadline = hmci_deadline(timeout_ms != 0 ? timeout_ms : times.timeout_ms);
  const char *scheme = strstr(address, "://");
  if (strncmp(address, "etcd://", 7) == 0) {
    return hmci_store_etcd_connect(address + 7, options != NULL ? options->certificates : NULL, &times, deadline,
                                   store);
  }
  if (scheme != NULL && strncmp(address, "tcp", (size_t)(scheme - address)) != 0) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "\"%s\" is not the address of a store: tcp://IP:PORT and etcd://HOST:PORT,... are", address);
  }
  return hmci_store_client_connect(scheme != NULL ? scheme + 3 : address,
                                   options != NULL ? options->certificates : NULL, &times, deadline, store);
}

void hmc_store_close(hmc_store_t *store) {
  if (store != NULL && store->process == getpid()) {
    store->backend->close(store);
  }
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

hmc_status_t hmc_store_set(hmc_store_t *store, const char *key, const void *value, size_t value_size,
                           hmc_store_lease_t *lease, uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_SET, .value = value, .value_size = (uint32_t)value_size};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, key, false);
  if (status == HMC_SUCCESS) {
    status = check_value(value, value_size);
  }
  return status == HMC_SUCCESS ? call(store, &request, key, lease, timeout_ms, &result) : status;
}

static hmc_status_t read_value(hmc_store_t *store, uint16_t type, const char *key, void *value, size_t capacity,
                               size_t *value_size, uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = type};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, key, false);
  if (status == HMC_SUCCESS && value == NULL && capacity > 0) {
    status = hmci_fail(HMC_INVALID_CONFIG, "no room given for the value of \"%s\"", key);
  }
  if (status == HMC_SUCCESS) {
    status = call(store, &request, key, NULL, timeout_ms, &result);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (value_size != NULL) {
    *value_size = result.value_size;
  }
  if (result.value_size > capacity) {
    status = hmci_fail(HMC_OUT_OF_RANGE, "the value of \"%s\" has %u B, and there is room for %zu B", key,
                       result.value_size, capacity);
  } else if (result.value_size > 0) {
    memcpy(value, result.value, result.value_size);
  }
  free(result.value);
  return status;
}

hmc_status_t hmc_store_get(hmc_store_t *store, const char *key, void *value, size_t capacity, size_t *value_size,
                           uint64_t timeout_ms) {
  return read_value(store, HMCI_STORE_GET, key, value, capacity, value_size, timeout_ms);
}

hmc_status_t hmc_store_wait(hmc_store_t *store, const char *key, void *value, size_t capacity, size_t *value_size,
                            uint64_t timeout_ms) {
  return read_value(store, HMCI_STORE_WAIT, key, value, capacity, value_size, timeout_ms);
}

hmc_status_t hmc_store_add(hmc_store_t *store, const char *key, int64_t amount, int64_t *sum, uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_ADD, .number = amount};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, key, false);
  if (status == HMC_SUCCESS) {
    status = call(store, &request, key, NULL, timeout_ms, &result);
  }
  if (status == HMC_SUCCESS && sum != NULL) {
    *sum = result.number;
  }
  return status;
}

hmc_status_t hmc_store_compare_swap(hmc_store_t *store, const char *key, const void *expected, size_t expected_size,
                                    const void *value, size_t value_size, hmc_store_lease_t *lease, int *swapped,
                                    uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_SWAP, .flags = expected == NULL ? HMCI_STORE_ABSENT : 0};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, key, false);
  if (status == HMC_SUCCESS) {
    status = check_value(value, value_size);
  }
  if (status == HMC_SUCCESS) {
    status = check_value(expected, expected_size);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  uint8_t *both = malloc(expected_size + value_size + 1);
  if (both == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a value of %zu B", value_size);
  }
  if (expected_size > 0) {
    memcpy(both, expected, expected_size);
  }
  if (value_size > 0) {
    memcpy(both + expected_size, value, value_size);
  }
  request.index = (uint32_t)expected_size;
  request.value = both;
  request.value_size = (uint32_t)(expected_size + value_size);
  status = call(store, &request, key, lease, timeout_ms, &result);
  free(both);
  if (status == HMC_SUCCESS && swapped != NULL) {
    *swapped = (int)result.number;
  }
  return status;
}

hmc_status_t hmc_store_delete(hmc_store_t *store, const char *key, uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_DELETE};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, key, false);
  return status == HMC_SUCCESS ? call(store, &request, key, NULL, timeout_ms, &result) : status;
}

hmc_status_t hmc_store_list(hmc_store_t *store, const char *prefix, hmc_store_list_callback_t callback, void *user,
                            uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_LIST};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, prefix, true);
  if (status == HMC_SUCCESS && callback == NULL) {
    status = hmci_fail(HMC_INVALID_CONFIG, "no callback given for the list of \"%s\"", prefix);
  }
  if (status == HMC_SUCCESS) {
    status = call(store, &request, prefix, NULL, timeout_ms, &result);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  for (const hmci_store_entry_t *entry = result.entries.first[0]; entry != NULL; entry = entry->next[0]) {
    callback(entry->key, entry->value, entry->value_size, user);
  }
  hmci_store_map_clear(&result.entries);
  return HMC_SUCCESS;
}

/* ---- leases and watches ------------------------------------------------------------------------------------------ */

hmc_status_t hmc_store_lease_create(hmc_store_t *store, uint64_t ttl_ms, uint64_t timeout_ms,
                                    hmc_store_lease_t **lease) {
  hmc_status_t status = check_store(store);
  if (status == HMC_SUCCESS && (lease == NULL || (ttl_ms > 0 && ttl_ms < 100) || ttl_ms > UINT32_MAX)) {
    status = hmci_fail(HMC_INVALID_CONFIG,
                       "a lease of %" PRIu64 " ms: 100 to %u, or 0 (HMC_STORE_LEASE), and a place for it, are needed",
                       ttl_ms, UINT32_MAX);
  }
  if (status == HMC_SUCCESS && ttl_ms == 0) {
    ttl_ms = store->times.lease_ms;
  }
  return status == HMC_SUCCESS ? store->backend->lease_create(store, ttl_ms, deadline_of(store, timeout_ms), lease)
                               : status;
}

uint64_t hmc_store_lease_ttl(const hmc_store_lease_t *lease) { return lease != NULL ? lease->ttl_ms : 0; }

hmc_status_t hmc_store_lease_state(hmc_store_lease_t *lease) {
  if (lease == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no lease given");
  }
  hmc_status_t status = check_store(lease->store);
  return status == HMC_SUCCESS ? lease->store->backend->lease_state(lease) : status;
}

void hmc_store_lease_release(hmc_store_lease_t *lease, uint64_t timeout_ms) {
  if (lease != NULL && check_store(lease->store) == HMC_SUCCESS) {
    lease->store->backend->lease_release(lease, deadline_of(lease->store, timeout_ms));
  }
}

hmc_status_t hmc_store_watch_start(hmc_store_t *store, const char *prefix, uint64_t timeout_ms,
                                   hmc_store_watch_t **watch) {
  hmc_status_t status = check_key(store, prefix, true);
  if (status == HMC_SUCCESS && watch == NULL) {
    status = hmci_fail(HMC_INVALID_CONFIG, "no place given for the watch");
  }
  return status == HMC_SUCCESS ? store->backend->watch_start(store, prefix, deadline_of(store, timeout_ms), watch)
                               : status;
}

hmc_status_t hmc_store_watch_next(hmc_store_watch_t *watch, hmc_store_event_t *event, uint64_t timeout_ms) {
  if (watch == NULL || event == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no watch, or no place for its event, given");
  }
  hmc_status_t status = check_store(watch->store);
  return status == HMC_SUCCESS ? watch->store->backend->watch_next(watch, event, deadline_of(watch->store, timeout_ms))
                               : status;
}

void hmc_store_watch_interrupt(hmc_store_watch_t *watch) {
  if (watch != NULL && check_store(watch->store) == HMC_SUCCESS) {
    watch->store->backend->watch_interrupt(watch);
  }
}

void hmc_store_watch_stop(hmc_store_watch_t *watch) {
  if (watch != NULL && check_store(watch->store) == HMC_SUCCESS) {
    watch->store->backend->watch_stop(watch);
  }
}

/* ---- meeting ----------------------------------------------------------------------------------------------------- */

static hmc_status_t check_count(uint32_t count) {
  return count > 0 ? HMC_SUCCESS : hmci_fail(HMC_INVALID_CONFIG, "a barrier of nobody: the count is 0");
}

hmc_status_t hmc_store_barrier(hmc_store_t *store, const char *name, uint32_t count, uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_ARRIVE, .number = count};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, name, false);
  if (status == HMC_SUCCESS) {
    status = check_count(count);
  }
  if (status == HMC_SUCCESS) {
    status = call(store, &request, name, NULL, timeout_ms, &result);
    free(result.value);
  }
  return status;
}

static hmc_status_t check_gather(uint32_t count, uint32_t index, const void *data, size_t size, const void *all) {
  hmc_status_t status = check_count(count);
  if (status == HMC_SUCCESS && (index >= count || ((data == NULL || all == NULL) && size > 0))) {
    status = hmci_fail(HMC_INVALID_CONFIG,
                       "index %u of %u with a piece of %zu B: an index below the count, the piece, "
                       "and room for all, are needed",
                       index, count, size);
  }
  if (status == HMC_SUCCESS && (size > HMC_STORE_VALUE_MAX || (uint64_t)count * size > HMC_STORE_GATHER_MAX)) {
    status = hmci_fail(HMC_OUT_OF_RANGE, "%u pieces of %zu B: a piece has at most %u B, and all of them %u B", count,
                       size, HMC_STORE_VALUE_MAX, HMC_STORE_GATHER_MAX);
  }
  return status;
}

hmc_status_t hmc_store_gather(hmc_store_t *store, const char *name, uint32_t count, uint32_t index, const void *data,
                              size_t size, void *all, uint64_t timeout_ms) {
  hmci_store_message_t request = {.type = HMCI_STORE_ARRIVE,
                                  .flags = HMCI_STORE_GATHER,
                                  .number = count,
                                  .index = index,
                                  .value = data,
                                  .value_size = (uint32_t)size};
  hmci_store_result_t result;
  hmc_status_t status = check_key(store, name, false);
  if (status == HMC_SUCCESS) {
    status = check_gather(count, index, data, size, all);
  }
  if (status == HMC_SUCCESS) {
    status = call(store, &request, name, NULL, timeout_ms, &result);
  }
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (result.value_size != (uint64_t)count * size) {
    status = hmci_fail(HMC_CORRUPT, "the store gathered %u B instead of %" PRIu64 " B", result.value_size,
                       (uint64_t)count * size);
  } else if (result.value_size > 0) {
    memcpy(all, result.value, result.value_size);
  }
  free(result.value);
  return status;
}
