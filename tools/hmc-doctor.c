/* hmc-doctor: what is wrong here, and what to do about it. This file is the command line and the printing; the checks are
 * in doctor_*.c. */
#include "doctor.h"
#include "interrupt.h"
#include "options.h"

#include <stdarg.h>
#include <string.h>

enum { FINDINGS_MOST = 256 };

typedef struct finding {
  doctor_level_t level;
  char check[32], figure[1024], remedy[512];
} finding_t;

static finding_t findings[FINDINGS_MOST];
static size_t finding_count;
static bool as_json, quiet;

static const char *const level_names[] = {"ok", "note", "warn", "FAIL"};
static const char *const level_words[] = {"ok", "note", "warning", "failure"};
static const tool_color_t level_colors[] = {TOOL_GREEN, TOOL_PLAIN, TOOL_YELLOW, TOOL_RED};

static void show(const finding_t *finding) {
  int width = tool_columns();
  if (quiet && finding->level < DOCTOR_WARN) return;
  printf("%s%-4s%s  %-10s ", tool_color(level_colors[finding->level]), level_names[finding->level],
         tool_color(TOOL_PLAIN), finding->check);
  tool_wrap(stdout, finding->figure, 17, 17, width);
  printf("\n");
  if (!finding->remedy[0]) return;
  printf("%17s%s-> ", "", tool_color(TOOL_BOLD));
  tool_wrap(stdout, finding->remedy, 20, 20, width);
  printf("%s\n", tool_color(TOOL_PLAIN));
}

void doctor_say(doctor_level_t level, const char *check, const char *remedy, const char *format, ...) {
  if (finding_count == FINDINGS_MOST) return;
  finding_t *finding = &findings[finding_count++];
  finding->level = level;
  snprintf(finding->check, sizeof finding->check, "%s", check);
  snprintf(finding->remedy, sizeof finding->remedy, "%s", remedy ? remedy : "");
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(finding->figure, sizeof finding->figure, format, arguments);
  va_end(arguments);
  if (!as_json) show(finding);
  if (!as_json) fflush(stdout);
}

static size_t count_of(doctor_level_t level) {
  size_t count = 0;
  for (size_t i = 0; i < finding_count; i++) count += findings[i].level == level;
  return count;
}

static void show_sum(void) {
  size_t warnings = count_of(DOCTOR_WARN), failures = count_of(DOCTOR_FAIL);
  printf("\n%zu checks, %zu warning%s, %zu failure%s\n", finding_count, warnings, warnings == 1 ? "" : "s", failures,
         failures == 1 ? "" : "s");
}

static void json_member(const char *key, const char *value, const char *end) {
  printf("\"%s\":", key);
  tool_print_json(stdout, value);
  printf("%s", end);
}

static void show_json(void) {
  printf("{\"version\":\"%s\",\"checks\":[", hmc_version_text());
  for (size_t i = 0; i < finding_count; i++) {
    printf("%s{", i ? "," : "");
    json_member("check", findings[i].check, ",");
    json_member("level", level_words[findings[i].level], ",");
    json_member("figure", findings[i].figure, ",");
    json_member("remedy", findings[i].remedy, "}");
  }
  printf("],\"warnings\":%zu,\"failures\":%zu}\n", count_of(DOCTOR_WARN), count_of(DOCTOR_FAIL));
}

static const tool_option_t options[] = {
    {'j', "json", NULL, NULL, "all findings as one JSON object"},
    {'q', "quiet", NULL, NULL, "only what is wrong"},
    {'s', "strict", NULL, NULL, "exit with 1 for warnings, too"},
    {'l', "listen", NULL, NULL, "be the other end: wait at HOST:PORT for an hmc-doctor elsewhere (0.0.0.0:2025)"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-doctor",
    .purpose = "find what keeps HMC from working well on this machine, or between two",
    .synopses = (const char *const[]){"[OPTION]...                  this machine",
                                      "[OPTION]... HOST[:PORT]      and the way to another",
                                      "--listen [HOST][:PORT]       be that other", NULL},
    .description =
        "\nLooks at all that programs with HMC depend on: the secret, the variables, limits, memory, network, devices, "
        "and real transfers over every route. One line per check: ok, note, warn (slower, or not everywhere) or "
        "FAIL (programs will fail), with the figure and, where something is wrong, the remedy.",
    .options = options,
    .examples =
        (const char *const[]){"hmc-doctor", "hmc-doctor --listen        on one host, and then on another:",
                              "hmc-doctor node7", "hmc-doctor --quiet --strict || echo 'look at this machine'", NULL},
    .notes = "Exit status: 0 nothing is wrong, 1 something failed (with --strict: or there was a warning), 2 the "
             "command line is wrong.",
};

static void check_all(const char *where) {
  if (doctor_check_settings())
    doctor_check_secret();
  else
    doctor_say(DOCTOR_NOTE, "secret", NULL, "not looked for: no program starts with the settings above");
  doctor_check_limits();
  doctor_check_attach();
  doctor_check_memory();
  bool has_loopback = doctor_check_network();
  doctor_check_rdma();
  doctor_check_modules();
  if (has_loopback) {
    doctor_check_routes();
    doctor_check_devices();
  } else {
    doctor_say(DOCTOR_NOTE, "route", NULL, "no transfer is tried inside this program: that takes the loopback");
  }
  if (where) doctor_check_pair(where);
}

int main(int count, char **arguments) {
  bool strict = false, listen = false;
  tool_begin("hmc-doctor");
  for (int letter; (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    switch (letter) {
    case 'j': as_json = true; break;
    case 'q': quiet = true; break;
    case 's': strict = true; break;
    case 'l': listen = true; break;
    case TOOL_OPTIONS_DONE: return tool_finish_output();
    default: return TOOL_USAGE;
    }
  }
  const char *where = optind < count ? arguments[optind] : NULL;
  if (optind + 1 < count) return tool_usage_error("one host is expected: what is '%s'?", arguments[optind + 1]);
  if (listen) return doctor_listen(where);
  if (where && !*where)
    return tool_usage_error("'': HOST or HOST:PORT is expected; without one, this machine is looked at");
  hmc_log_set_level(HMC_LOG_NONE); /* what is wrong here is what this program is asked for */
  check_all(where);
  if (as_json) {
    show_json();
  } else {
    show_sum();
  }
  int output = tool_finish_output();
  bool wrong = count_of(DOCTOR_FAIL) || (strict && count_of(DOCTOR_WARN));
  return wrong ? TOOL_FAILED : output;
}
