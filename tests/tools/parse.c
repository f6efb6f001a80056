/* What the tools read from a command line: sizes, lists of sizes, counts, seconds, memories; what they print; the steps
 * of the modes, and the orders that hmc-perf sends for them. */
#include "mode.h"
#include "perf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static uint64_t size_of(const char *text) {
  uint64_t size = 0;
  assert_true(tool_parse_size(text, &size));
  return size;
}

static void test_sizes(void **state) {
  (void)state;
  assert_int_equal(size_of("0"), 0);
  assert_int_equal(size_of("8"), 8);
  assert_int_equal(size_of("8B"), 8);
  assert_int_equal(size_of("4K"), 4096);
  assert_int_equal(size_of("4k"), 4096);
  assert_int_equal(size_of("4KiB"), 4096);
  assert_int_equal(size_of("64MB"), 64 << 20);
  assert_true(size_of("16777215T") == UINT64_C(16777215) << 40);
  assert_true(size_of("18446744073709551615") == UINT64_MAX);
}

static void test_no_sizes(void **state) {
  static const char *const wrong[] = {"",    " 8",  "-8",   "+8",   "8 K", "K",         "8Q",
                                      "8Ki", "8KK", "0x10", "1.5M", "8,",  "16777216T", "18446744073709551616"};
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    uint64_t size = 77;
    if (tool_parse_size(wrong[i], &size)) fail_msg("'%s' was taken for %llu", wrong[i], (unsigned long long)size);
    assert_int_equal(size, 77); /* a refusal writes nothing */
  }
}

static void check_sizes(const char *text, const uint64_t *expected, size_t expected_count) {
  uint64_t sizes[16];
  size_t count = 0;
  assert_true(tool_parse_sizes(text, sizes, 16, &count));
  assert_int_equal(count, expected_count);
  assert_memory_equal(sizes, expected, count * sizeof *sizes);
}

static void test_lists(void **state) {
  (void)state;
  check_sizes("8", (uint64_t[]){8}, 1);
  check_sizes("8,4K,1M", (uint64_t[]){8, 4096, 1 << 20}, 3);
  check_sizes("8..64", (uint64_t[]){8, 16, 32, 64}, 4);
  check_sizes("8..50", (uint64_t[]){8, 16, 32, 50}, 4);
  check_sizes("8..8", (uint64_t[]){8}, 1);
  check_sizes("1,4..8,3", (uint64_t[]){1, 4, 8, 3}, 4);
  check_sizes("9223372036854775808..18446744073709551615", (uint64_t[]){UINT64_C(1) << 63, UINT64_MAX}, 2);
}

static void test_no_lists(void **state) {
  static const char *const wrong[] = {
      "",       ",",          "8,", ",8",  "8,,9", "8..", "..8",   "64..8",
      "8...64", "8..64..128", "0",  "8,0", "0..8", "8;9", "1..64K" /* 17 sizes, one too many */};
  (void)state;
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
    uint64_t sizes[16];
    size_t count = 77;
    if (tool_parse_sizes(wrong[i], sizes, 16, &count)) fail_msg("'%s' was taken for %zu sizes", wrong[i], count);
    assert_int_equal(count, 77);
  }
}

static void test_counts(void **state) {
  uint64_t count = 0;
  (void)state;
  assert_true(tool_parse_count("1", 1, 9, &count) && count == 1);
  assert_true(tool_parse_count("9", 1, 9, &count) && count == 9);
  assert_false(tool_parse_count("0", 1, 9, &count));
  assert_false(tool_parse_count("10", 1, 9, &count));
  assert_false(tool_parse_count("-1", 0, 9, &count));
  assert_false(tool_parse_count("3x", 0, 9, &count));
  assert_false(tool_parse_count("", 0, 9, &count));
  assert_false(tool_parse_count("18446744073709551616", 0, UINT64_MAX, &count));
  assert_int_equal(count, 9);
}

static void test_seconds(void **state) {
  static const char *const wrong[] = {"", "0", "-1", "nan", "inf", "1s", "0x", "1e10", "1e300"};
  double seconds = 0;
  (void)state;
  assert_true(tool_parse_seconds("0.5", &seconds) && seconds == 0.5);
  assert_true(tool_parse_seconds("2", &seconds) && seconds == 2);
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(tool_parse_seconds(wrong[i], &seconds));
  assert_true(seconds == 2);
}

static void test_memories(void **state) {
  hmc_memory_t memory = {HMC_MEMORY_DEFAULT, 5};
  (void)state;
  assert_true(tool_parse_memory("sim", &memory));
  assert_int_equal(memory.kind, HMC_MEMORY_SIM);
  assert_int_equal(memory.device, 5); /* --device may have come first */
  assert_true(tool_parse_memory("nvidia:1", &memory));
  assert_int_equal(memory.kind, HMC_MEMORY_NVIDIA_GPU);
  assert_int_equal(memory.device, 1);
  assert_false(tool_parse_memory("tape", &memory));
  assert_false(tool_parse_memory("sim:", &memory));
  assert_false(tool_parse_memory("sim:-1", &memory));
  assert_false(tool_parse_memory("sim:1:2", &memory));
  assert_false(tool_parse_memory("", &memory));
  assert_false(tool_parse_memory("a name that is longer than any kind of memory has", &memory));
  assert_int_equal(memory.kind, HMC_MEMORY_NVIDIA_GPU);
}

static void test_formats(void **state) {
  char text[32];
  (void)state;
  tool_format_memory((hmc_memory_t){HMC_MEMORY_SIM, 1}, text, sizeof text);
  assert_string_equal(text, "sim:1");
  tool_format_memory((hmc_memory_t){HMC_MEMORY_CPU, 0}, text, sizeof text);
  assert_string_equal(text, "cpu");
  tool_format_bytes(1023, text, sizeof text);
  assert_string_equal(text, "1023 B");
  tool_format_bytes(64 << 20, text, sizeof text);
  assert_string_equal(text, "64 MiB");
  tool_format_bytes(1536, text, sizeof text);
  assert_string_equal(text, "1.50 KiB");
  tool_format_bytes(UINT64_C(5) << 50, text, sizeof text);
  assert_string_equal(text, "5120 TiB");
}

static void test_json(void **state) {
  char *text = NULL;
  size_t size = 0;
  (void)state;
  FILE *file = open_memstream(&text, &size);
  assert_non_null(file);
  tool_print_json(file, "a \"b\" \\ \n\x01");
  fclose(file);
  assert_string_equal(text, "\"a \\\"b\\\" \\\\ \\u000a\\u0001\"");
  free(text);
}

static void test_secret(void **state) {
  (void)state;
  unsetenv("HMC_SECRET");
  unsetenv("HMC_SECRET_FILE");
  unsetenv("HMC_INSECURE");
  assert_true(tool_make_secret());
  const char *made = getenv("HMC_SECRET");
  char first[128] = "";
  assert_non_null(made);
  snprintf(first, sizeof first, "%s", made);
  assert_int_equal(strlen(first), 64);
  assert_true(tool_make_secret()); /* there is one: it stays */
  assert_string_equal(getenv("HMC_SECRET"), first);
  unsetenv("HMC_SECRET");
  setenv("HMC_SECRET_FILE", "/a/file", 1);
  assert_true(tool_make_secret());
  assert_null(getenv("HMC_SECRET"));
  unsetenv("HMC_SECRET_FILE");
}

/* What a mode did, as text: "l0+4 c0+4 s0+4". */
typedef struct trace {
  char text[256];
  unsigned steps, fail_at;
} trace_t;

static hmc_status_t note(trace_t *trace, char step, uint64_t offset, uint64_t length) {
  size_t used = strlen(trace->text);
  snprintf(trace->text + used, sizeof trace->text - used, "%c%llu+%llu ", step, (unsigned long long)offset,
           (unsigned long long)length);
  return ++trace->steps == trace->fail_at ? HMC_PEER_LOST : HMC_SUCCESS;
}
static hmc_status_t note_load(void *user, uint64_t offset, uint64_t length) { return note(user, 'l', offset, length); }
static hmc_status_t note_carry(void *user, uint64_t offset, uint64_t length) { return note(user, 'c', offset, length); }
static hmc_status_t note_store(void *user, uint64_t offset, uint64_t length) { return note(user, 's', offset, length); }

static void check_mode(const char *name, uint64_t length, unsigned fail_at, const char *expected) {
  trace_t trace = {.fail_at = fail_at};
  const tool_steps_t steps = {.user = &trace, .load = note_load, .carry = note_carry, .store = note_store};
  const tool_mode_t *mode = tool_mode_find(name);
  assert_non_null(mode);
  assert_int_equal(tool_mode_move(mode, &steps, length, 4), fail_at ? HMC_PEER_LOST : HMC_SUCCESS);
  assert_string_equal(trace.text, expected);
}

static void test_modes(void **state) {
  size_t count;
  (void)state;
  const tool_mode_t *modes = tool_modes(&count);
  assert_int_equal(count, 5);
  for (size_t i = 0; i < count; i++) {
    assert_ptr_equal(tool_mode_find(modes[i].name), &modes[i]);
    assert_non_null(strstr(tool_mode_names(), modes[i].name));
  }
  assert_null(tool_mode_find("uh"));
  assert_null(tool_mode_find(""));
  check_mode("uhm", 10, 0, "c0+10 ");
  check_mode("rdma_cpu", 10, 0, "c0+10 ");
  check_mode("ucx", 10, 0, "c0+10 ");
  check_mode("g2h2g", 10, 0, "l0+10 c0+10 s0+10 ");
  check_mode("serial", 10, 0, "l0+4 c0+4 s0+4 l4+4 c4+4 s4+4 l8+2 c8+2 s8+2 ");
  check_mode("serial", 3, 0, "l0+3 c0+3 s0+3 ");
  check_mode("serial", 10, 5, "l0+4 c0+4 s0+4 l4+4 c4+4 ");
  check_mode("g2h2g", 0, 0, "");
}

static void test_orders(void **state) {
  static const perf_order_t orders[] = {
      {.kind = PERF_ORDER_STAGE, .number = 1},
      {.kind = PERF_ORDER_LOAD, .number = 2, .offset = 3, .length = UINT64_MAX},
      {.kind = PERF_ORDER_STORE, .number = UINT64_MAX, .offset = UINT64_MAX, .length = UINT64_MAX},
      {.kind = PERF_ORDER_DONE, .number = 7},
      {.kind = PERF_ORDER_FAILED, .number = 8, .text = "no 9 10 memory"},
  };
  static const char *const texts[] = {
      "stage 1",
      "load 2 3 18446744073709551615",
      "store 18446744073709551615 18446744073709551615 18446744073709551615",
      "done 7",
      "failed 8 no 9 10 memory",
  };
  (void)state;
  for (size_t i = 0; i < sizeof orders / sizeof *orders; i++) {
    char text[600];
    perf_order_t read = {0};
    size_t size = perf_order_format(&orders[i], text, sizeof text);
    assert_string_equal(text, texts[i]);
    assert_int_equal(size, strlen(text));
    memset(text + size, '9', 5); /* what lies behind does not count */
    assert_true(perf_order_parse(text, size, &read));
    assert_memory_equal(&read, &orders[i], sizeof read);
  }
}

static void test_no_orders(void **state) {
  static const char *const wrong[] = {
      "",         "done",    "done ",        "done x",     "done -1",
      "done 1 2", "load 1",  "load 1 2",     "load 1 2 x", "Done 1",
      "done  1",  "don 1",   "stage 1x",     "failed 1x",  "store 1 2 18446744073709551616",
      "welcome",  " done 1", "load 1 2 3 4",
  };
  char endless[2000];
  (void)state;
  perf_order_t read = {.number = 77};
  for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
    if (perf_order_parse(wrong[i], strlen(wrong[i]), &read)) fail_msg("'%s' was taken for an order", wrong[i]);
  memset(endless, '1', sizeof endless);
  memcpy(endless, "failed ", 7);
  assert_false(perf_order_parse(endless, sizeof endless, &read));
  assert_false(perf_order_parse("done 1\0", 7, &read));
  assert_int_equal(read.number, 77); /* a refusal writes nothing */
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_sizes),     cmocka_unit_test(test_no_sizes), cmocka_unit_test(test_lists),
      cmocka_unit_test(test_no_lists),  cmocka_unit_test(test_counts),   cmocka_unit_test(test_seconds),
      cmocka_unit_test(test_memories),  cmocka_unit_test(test_formats),  cmocka_unit_test(test_json),
      cmocka_unit_test(test_secret),    cmocka_unit_test(test_modes),    cmocka_unit_test(test_orders),
      cmocka_unit_test(test_no_orders),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
