#include "settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* Before each test: no HMC_* variable is set. */
static int clear_environment(void **state) {
  (void)state;
  for (char **entry = environ; *entry != NULL;) {
    char name[64];
    if (strncmp(*entry, "HMC_", 4) == 0 && sscanf(*entry, "%63[^=]", name) == 1) {
      unsetenv(name);
      entry = environ;
    } else {
      entry++;
    }
  }
  return 0;
}

static void assert_refused(const char *variable, const char *value, const char *takes) {
  setenv(variable, value, 1);
  hmci_settings_t settings, before;
  memset(&settings, 0x5a, sizeof(settings));
  before = settings;
  if (hmci_settings_read(&settings) != HMC_INVALID_CONFIG) {
    fail_msg("%s=%s was taken", variable, value);
  }
  assert_memory_equal(&settings, &before, sizeof(settings));
  if (strstr(hmc_last_error(), variable) == NULL || strstr(hmc_last_error(), takes) == NULL) {
    fail_msg("%s=%s: unhelpful text: %s", variable, value, hmc_last_error());
  }
  unsetenv(variable);
}

static hmci_settings_t read_with(const char *variable, const char *value) {
  hmci_settings_t settings;
  setenv(variable, value, 1);
  if (hmci_settings_read(&settings) != HMC_SUCCESS) {
    fail_msg("%s=%s: %s", variable, value, hmc_last_error());
  }
  unsetenv(variable);
  return settings;
}

static void test_defaults(void **state) {
  (void)state;
  hmci_settings_t settings;
  assert_int_equal(hmci_settings_read(&settings), HMC_SUCCESS);
  assert_true(settings.timeout == UINT64_C(30000000000));
  assert_int_equal(settings.spin, 50000);
  assert_string_equal(settings.log_level, "warning");
  assert_string_equal(settings.secret, "");
  assert_false(settings.insecure);
  assert_true(settings.shm_cma);
  assert_int_equal(settings.tcp_streams, 1);
  assert_int_equal(settings.sim_devices, 2);
  assert_int_equal(settings.sim_bandwidth, 0);
}

static void test_durations(void **state) {
  (void)state;
  assert_true(read_with("HMC_TIMEOUT", "2s").timeout == UINT64_C(2000000000));
  assert_int_equal(read_with("HMC_TIMEOUT", "5ms").timeout, 5000000);
  assert_int_equal(read_with("HMC_TIMEOUT", "20us").timeout, 20000);
  assert_int_equal(read_with("HMC_TIMEOUT", "100ns").timeout, 100);
  assert_refused("HMC_TIMEOUT", "7", "say 7s or 7ms");
  assert_refused("HMC_SPIN", "50", "say 50s or 50ms");
  assert_int_equal(read_with("HMC_PEER_TIMEOUT", "0").peer_timeout, 0);
  assert_refused("HMC_TIMEOUT", "0", "a time above 0"); /* nothing would ever come in time */
  assert_refused("HMC_TIMEOUT", "0s", "a time above 0");
  assert_true(read_with("HMC_TIMEOUT", "18446744073709551615ns").timeout == UINT64_MAX);
  static const char *const bad[] = {"18446744073709551616ns",
                                    "18446744073s9",
                                    "18446744074s",
                                    "-1s",
                                    "+1s",
                                    "1.5s",
                                    " 1s",
                                    "1s ",
                                    "s",
                                    "1h",
                                    "ms",
                                    "1e3",
                                    "0x10"};
  for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
    assert_refused("HMC_TIMEOUT", bad[i], bad[i]);
    assert_refused("HMC_TIMEOUT", bad[i], "30s");
  }
}

static void test_unknown_variables_are_named(void **state) {
  (void)state;
  char text[192];
  assert_int_equal(hmc_settings_unknown(0, text, sizeof text), HMC_NOT_FOUND);
  setenv("HMC_TIMOUT", "5s", 1);
  assert_int_equal(hmc_settings_unknown(0, text, sizeof text), HMC_SUCCESS);
  assert_string_equal(text, "HMC_TIMOUT is not a setting; did you mean HMC_TIMEOUT?");
  assert_int_equal(hmc_settings_unknown(1, text, sizeof text), HMC_NOT_FOUND);
  unsetenv("HMC_TIMOUT");
  setenv("HMC_PIGEONS", "many", 1);
  assert_int_equal(hmc_settings_unknown(0, text, sizeof text), HMC_SUCCESS);
  assert_string_equal(text, "HMC_PIGEONS is not a setting; hmc-info --config lists them");
  unsetenv("HMC_PIGEONS");
  setenv("HMC_JOB_RANK", "1", 1); /* the launcher's */
  setenv("HMC_PIGEON", "", 1);    /* not set */
  assert_int_equal(hmc_settings_unknown(0, text, sizeof text), HMC_NOT_FOUND);
  unsetenv("HMC_JOB_RANK");
  unsetenv("HMC_PIGEON");
}

static void test_sizes_and_rates(void **state) {
  (void)state;
  assert_int_equal(read_with("HMC_RDMA_PINNED_MAX", "4096").verbs_pinned_max, 4096);
  assert_int_equal(read_with("HMC_RDMA_PINNED_MAX", "64K").verbs_pinned_max, 65536);
  assert_int_equal(read_with("HMC_RDMA_PINNED_MAX", "16m").verbs_pinned_max, 16 << 20);
  assert_int_equal(read_with("HMC_RDMA_PINNED_MAX", "1G").verbs_pinned_max, 1 << 30);
  assert_true(read_with("HMC_SIM_BANDWIDTH", "8G").sim_bandwidth == UINT64_C(8) << 30);
  assert_true(read_with("HMC_SIM_BANDWIDTH", "2T").sim_bandwidth == UINT64_C(2) << 40);
  assert_refused("HMC_RDMA_PINNED_MAX", "16777216T", "64K");
  assert_refused("HMC_RDMA_PINNED_MAX", "K", "64K");
  assert_refused("HMC_RDMA_PINNED_MAX", "-5", "64K");
  assert_refused("HMC_RDMA_PINNED_MAX", "64KB", "64K");
  assert_refused("HMC_SIM_BANDWIDTH", "fast", "bytes per second");
}

static void test_counts_have_ranges(void **state) {
  (void)state;
  assert_int_equal(read_with("HMC_TCP_STREAMS", "16").tcp_streams, 16);
  assert_int_equal(read_with("HMC_SIM_DEVICES", "0").sim_devices, 0);
  assert_refused("HMC_TCP_STREAMS", "0", "from 1 to 16");
  assert_refused("HMC_TCP_STREAMS", "17", "from 1 to 16");
  assert_refused("HMC_SIM_DEVICES", "9", "from 0 to 8");
  assert_refused("HMC_SIM_DEVICES", "-1", "from 0 to 8");
  assert_refused("HMC_SIM_DEVICES", "2K", "from 0 to 8");
  assert_refused("HMC_SIM_DEVICES", "18446744073709551617", "from 0 to 8");
}

static void test_sizes_have_ranges(void **state) {
  (void)state;
  assert_int_equal(read_with("HMC_CHUNK", "0").chunk, 0);
  assert_int_equal(read_with("HMC_CHUNK", "64K").chunk, 64 << 10);
  assert_int_equal(read_with("HMC_CHUNK", "1M").chunk, 1 << 20);
  assert_refused("HMC_CHUNK", "65535", "from 64K to 1M, or 0");
  assert_refused("HMC_CHUNK", "1048577", "from 64K to 1M, or 0");
  assert_refused("HMC_STAGING", "0", "from 1M to 1T");
  assert_int_equal(read_with("HMC_TCP_BUFFER", "0").tcp_buffer, 0);
  assert_int_equal(read_with("HMC_TCP_BUFFER", "64K").tcp_buffer, 64 << 10);
  assert_refused("HMC_TCP_BUFFER", "65535", "from 64K to 1G, or 0");
  assert_refused("HMC_TCP_BUFFER", "2G", "from 64K to 1G, or 0");
}

static void test_times_have_ranges(void **state) {
  (void)state;
  assert_true(read_with("HMC_STORE_LEASE", "100ms").store_lease == UINT64_C(100000000));
  assert_true(read_with("HMC_STORE_LEASE", "3600s").store_lease == UINT64_C(3600000000000));
  assert_int_equal(read_with("HMC_STORE_HEARTBEAT", "0").store_heartbeat, 0);
  assert_int_equal(read_with("HMC_STORE_HEARTBEAT", "10ms").store_heartbeat, 10000000);
  assert_refused("HMC_STORE_LEASE", "99ms", "from 100ms to 3600s");
  assert_refused("HMC_STORE_LEASE", "3601s", "from 100ms to 3600s");
  assert_refused("HMC_STORE_LEASE", "0", "from 100ms to 3600s");
  assert_refused("HMC_STORE_LEASE", "3", "say 3s or 3ms");
  assert_refused("HMC_STORE_HEARTBEAT", "9ms", "from 10ms to 3600s");
  assert_refused("HMC_STORE_GRACE", "0", "from 1ms to 3600s");
  setenv("HMC_STORE_LEASES", "3s", 1);
  char text[160];
  assert_int_equal(hmc_settings_unknown(0, text, sizeof text), HMC_SUCCESS);
  assert_string_equal(text, "HMC_STORE_LEASES is not a setting; did you mean HMC_STORE_LEASE?");
  unsetenv("HMC_STORE_LEASES");
}

static void test_words(void **state) {
  (void)state;
  assert_string_equal(read_with("HMC_RDMA_FLUSH", "no").verbs_flush, "no");
  assert_refused("HMC_RDMA_FLUSH", "never", "auto, yes or no");
  assert_refused("HMC_RDMA_FLUSH", "yess", "auto, yes or no");
  assert_refused("HMC_CIPHER", "rot13", "auto, gcm or ocb");
}

static bool is_taken(const char *variable, const char *value) {
  hmci_settings_t settings;
  setenv(variable, value, 1);
  bool taken = hmci_settings_read(&settings) == HMC_SUCCESS;
  unsetenv(variable);
  return taken;
}

/* The number of "64K", and what lies beside it on the side that `step` says. */
static void beside(const char *number, int step, char *text, size_t size) {
  char *unit;
  unsigned long long value = strtoull(number, &unit, 10);
  const char *at = strchr("KMGT", *unit);
  unsigned shift = *unit && at ? 10u * (unsigned)(at - "KMGT" + 1) : 0;
  snprintf(text, size, "%llu", (value << shift) + (unsigned long long)(long long)step);
}

/* What the documentation says of a range "(1 to 16)" holds: its ends are taken and what lies beyond is not. */
static void test_documented_ranges_hold(void **state) {
  (void)state;
  size_t seen = 0;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    char least[16], most[16], text[32];
    assert_int_equal(hmc_settings_get(i, &setting), HMC_SUCCESS);
    const char *range = strrchr(setting.documentation, '(');
    if (range == NULL || sscanf(range, "(%15[0-9KMGT] to %15[0-9KMGT])", least, most) != 2) {
      continue;
    }
    seen++;
    beside(most, 1, text, sizeof(text));
    if (!is_taken(setting.name, least) || !is_taken(setting.name, most) || is_taken(setting.name, text)) {
      fail_msg("%s does not take %s to %s", setting.name, least, most);
    }
    beside(least, -1, text, sizeof(text));
    bool is_default = strcmp(text, setting.default_value) == 0;
    if (strcmp(least, "0") != 0 && !is_default && is_taken(setting.name, text)) {
      fail_msg("%s takes %s, less than %s", setting.name, text, least);
    }
  }
  assert_true(seen >= 7);
}

static void test_switches(void **state) {
  (void)state;
  static const char *const on[] = {"1", "yes", "on", "true", "YES", "True"};
  static const char *const off[] = {"0", "no", "off", "false", "NO", "Off"};
  for (size_t i = 0; i < sizeof(on) / sizeof(on[0]); i++) {
    assert_true(read_with("HMC_INSECURE", on[i]).insecure);
    assert_false(read_with("HMC_SHM_CMA", off[i]).shm_cma);
  }
  assert_refused("HMC_INSECURE", "2", "yes, on");
  assert_refused("HMC_INSECURE", "y", "yes, on");
}

static void test_texts(void **state) {
  (void)state;
  char text[300];
  memset(text, 'x', sizeof(text));
  text[255] = '\0';
  assert_string_equal(read_with("HMC_SECRET", text).secret, text);
  text[255] = 'x';
  text[256] = '\0';
  assert_refused("HMC_SECRET", text, "255 bytes");
  assert_refused("HMC_SECRET_FILE", text, "xxxx");
  assert_string_equal(read_with("HMC_LOG", "debug").log_level, "debug");
  assert_refused("HMC_LOG", "verbose", "none, error, warning, info or debug");
}

static void test_an_empty_variable_is_not_set(void **state) {
  (void)state;
  assert_true(read_with("HMC_TIMEOUT", "").timeout == UINT64_C(30000000000));
  assert_int_equal(read_with("HMC_TCP_STREAMS", "").tcp_streams, 1);
}

static void test_a_refused_secret_is_not_told(void **state) {
  (void)state;
  char secret[300];
  memset(secret, 'q', sizeof(secret));
  secret[299] = '\0';
  setenv("HMC_SECRET", secret, 1);
  hmci_settings_t settings;
  assert_int_equal(hmci_settings_read(&settings), HMC_INVALID_CONFIG);
  assert_null(strstr(hmc_last_error(), "qqqq"));
}

static size_t index_of(const char *variable) {
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    assert_int_equal(hmc_settings_get(i, &setting), HMC_SUCCESS);
    if (strcmp(setting.name, variable) == 0) {
      return i;
    }
  }
  fail_msg("%s is not in the table", variable);
  return 0;
}

static void test_the_table_describes_itself(void **state) {
  (void)state;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    assert_int_equal(hmc_settings_get(i, &setting), HMC_SUCCESS);
    assert_int_equal(strncmp(setting.name, "HMC_", 4), 0);
    assert_true(strlen(setting.documentation) > 10);
    assert_string_equal(setting.value, setting.default_value);
    assert_int_equal(setting.is_set, 0);
  }
  hmc_setting_t setting = HMC_SETTING_INIT;
  size_t at = index_of("HMC_SIM_BANDWIDTH");
  setenv("HMC_SIM_BANDWIDTH", "8G", 1);
  assert_int_equal(hmc_settings_get(at, &setting), HMC_SUCCESS);
  assert_string_equal(setting.kind, "rate");
  assert_string_equal(setting.value, "8G");
  assert_string_equal(setting.default_value, "0");
  assert_int_equal(setting.is_set, 1);
}

static void test_a_secret_in_the_table_is_hidden(void **state) {
  (void)state;
  size_t at = index_of("HMC_SECRET");
  setenv("HMC_SECRET", "hunter2", 1);
  hmc_setting_t setting = HMC_SETTING_INIT;
  assert_int_equal(hmc_settings_get(at, &setting), HMC_SUCCESS);
  assert_string_equal(setting.value, "(hidden)");
  assert_int_equal(setting.is_set, 1);
}

static void test_getting_refuses_and_writes_nothing(void **state) {
  (void)state;
  size_t at = index_of("HMC_TIMEOUT");
  hmc_setting_t setting = HMC_SETTING_INIT, before;
  memset(&setting, 0x5a, sizeof(setting));
  setting.size = sizeof(setting);
  before = setting;
  setenv("HMC_TIMEOUT", "soon", 1);
  assert_int_equal(hmc_settings_get(at, &setting), HMC_INVALID_CONFIG);
  assert_non_null(strstr(hmc_last_error(), "HMC_TIMEOUT=soon"));
  assert_int_equal(hmc_settings_get(hmc_settings_count(), &setting), HMC_OUT_OF_RANGE);
  assert_int_equal(hmc_settings_get(at, NULL), HMC_INVALID_CONFIG);
  assert_memory_equal(&setting, &before, sizeof(setting));
}

static void test_long_values_are_cut_in_the_table(void **state) {
  (void)state;
  size_t at = index_of("HMC_SECRET_FILE");
  char path[201];
  memset(path, 'p', sizeof(path));
  path[200] = '\0';
  setenv("HMC_SECRET_FILE", path, 1);
  hmc_setting_t setting = HMC_SETTING_INIT;
  assert_int_equal(hmc_settings_get(at, &setting), HMC_SUCCESS);
  assert_int_equal(strlen(setting.value), sizeof(setting.value) - 1);
}

int main(void) {
#define WITH_CLEAR_ENVIRONMENT(test) cmocka_unit_test_setup_teardown(test, clear_environment, clear_environment)
  const struct CMUnitTest tests[] = {
      WITH_CLEAR_ENVIRONMENT(test_defaults),
      WITH_CLEAR_ENVIRONMENT(test_durations),
      WITH_CLEAR_ENVIRONMENT(test_unknown_variables_are_named),
      WITH_CLEAR_ENVIRONMENT(test_sizes_and_rates),
      WITH_CLEAR_ENVIRONMENT(test_counts_have_ranges),
      WITH_CLEAR_ENVIRONMENT(test_sizes_have_ranges),
      WITH_CLEAR_ENVIRONMENT(test_times_have_ranges),
      WITH_CLEAR_ENVIRONMENT(test_words),
      WITH_CLEAR_ENVIRONMENT(test_documented_ranges_hold),
      WITH_CLEAR_ENVIRONMENT(test_switches),
      WITH_CLEAR_ENVIRONMENT(test_texts),
      WITH_CLEAR_ENVIRONMENT(test_an_empty_variable_is_not_set),
      WITH_CLEAR_ENVIRONMENT(test_a_refused_secret_is_not_told),
      WITH_CLEAR_ENVIRONMENT(test_the_table_describes_itself),
      WITH_CLEAR_ENVIRONMENT(test_a_secret_in_the_table_is_hidden),
      WITH_CLEAR_ENVIRONMENT(test_getting_refuses_and_writes_nothing),
      WITH_CLEAR_ENVIRONMENT(test_long_values_are_cut_in_the_table),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
