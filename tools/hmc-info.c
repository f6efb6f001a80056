/* hmc-info: what HMC finds on this machine: memories, connection types, settings. */
#include "info.h"
#include "options.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const tool_option_t options[] = {
    {'c', "config", NULL, NULL, "the settings (HMC_* variables): value, default, what each does"},
    {'j', "json", NULL, NULL, "all of it as one JSON object"},
    {'t', "try", "TYPE", "auto rdma shm tcp ucx",
     "make a connection of that type (auto, rdma, shm, tcp or ucx) and show how bytes go by it: devices, queue pairs, "
     "pinned memory; to a context that listens at HOST:PORT, else inside this program"},
    {'r', "recorder", "FILE", NULL, "the events that a process kept there (HMC_RECORDER), also when it was killed"},
    {'T', "trace", NULL, NULL, "with --recorder: as a trace for chrome://tracing or ui.perfetto.dev"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_section_t sections[] = {
    {"OUTPUT", NULL,
     "A device's line names the vendor's library with its version, the PCI address and the NUMA node; the next one "
     "what "
     "HMC can do with its memory, and then come the RDMA adapters by their distance: switch (a bridge below the root "
     "complex is common to both), complex, node (of NUMA), system. Where hwloc does not show the device, they are not "
     "known.\n\n"
     "--config prints for each HMC_* variable its kind, its default, the value in force for a program started from "
     "this "
     "environment, and what it does. The value of HMC_SECRET is not shown. Variables that begin with HMC_ and are not "
     "settings are named on standard error.\n\n"
     "--json has the keys version, default_memory, memories (kind, devices, reason), devices (memory, name, driver, "
     "pci, "
     "numa_node, total_bytes, free_bytes, features, adapters, adapters_known), links (from, to, link), "
     "connection_types (type, works, reason) and settings (name, kind, default, value, is_set, documentation).\n\n"
     "--try rdma names the devices and addresses, the queue pairs to that peer and in all, and the bytes registered "
     "with "
     "the devices (which pins them) with their ceiling, HMC_RDMA_PINNED_MAX. The other end has to know the same "
     "secret; "
     "inside this program one MiB is put."},
    {"SEE ALSO", NULL, "hmc-doctor(1), hmc-perf(1), hmc-top(1)"},
    {NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-info",
    .purpose = "show the memories, connection types and settings of HMC on this machine",
    .synopses = (const char *const[]){"[OPTION]...", "--try TYPE [HOST:PORT]", "--recorder FILE [--trace]", NULL},
    .description = "\nShows the memories, devices and connection types that work here, and why others do not.",
    .options = options,
    .examples = (const char *const[]){"hmc-info", "HMC_TIMEOUT=5s hmc-info --config", "hmc-info --try rdma",
                                      "hmc-info --try auto node7:2025",
                                      "HMC_RECORDER=/tmp/last ./program; hmc-info --recorder /tmp/last",
                                      "hmc-info --json | python3 -m json.tool", NULL},
    .notes = "Exit status: 0 done, 1 a variable holds a value that is not understood (the rest is printed), or the "
             "connection could not be made, 2 the command line is wrong.",
    .sections = sections,
};

/* The first one is DEFAULT, which is not shown. */
static const hmc_memory_kind_t kinds[] = {
#define KIND(NAME, value, name) HMC_MEMORY_##NAME,
    HMC_MEMORY_LIST(KIND)
#undef KIND
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* One kind of memory as asked at present. */
typedef struct found_memory {
  int devices; /* 0 where it does not work */
  char reason[512];
} found_memory_t;

static found_memory_t find_memory(hmc_memory_kind_t kind) {
  found_memory_t found = {0};
  hmc_status_t status = hmc_memory_devices(kind, &found.devices);
  if (status != HMC_SUCCESS) {
    const char *text = hmc_last_error();
    found.devices = 0;
    snprintf(found.reason, sizeof found.reason, "%s", text[0] ? text : hmc_status_text(status));
  }
  return found;
}

static void find_default(char *name, size_t size) {
  hmc_memory_t memory;
  if (hmc_memory_resolve((hmc_memory_t){HMC_MEMORY_DEFAULT, 0}, &memory) == HMC_SUCCESS)
    snprintf(name, size, "%s", hmc_memory_kind_name(memory.kind));
  else
    snprintf(name, size, "none");
}

/* One setting; true when the environment holds something that does not parse, `problem` then has the text. */
static bool find_setting(size_t index, hmc_setting_t *setting, char *problem, size_t size) {
  *setting = (hmc_setting_t)HMC_SETTING_INIT;
  problem[0] = '\0';
  hmc_status_t status = hmc_settings_get(index, setting);
  if (status != HMC_SUCCESS) {
    snprintf(problem, size, "%s", hmc_last_error());
    return true;
  }
  if (strcmp(setting->name, "HMC_SECRET") == 0 && setting->is_set) /* this output ends up in bug reports */
    snprintf(setting->value, sizeof setting->value, "(set, not shown)");
  return false;
}

/* Says which variables hold what is not understood. */
static int check_settings(void) {
  int code = TOOL_DONE;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting;
    char problem[512];
    if (find_setting(i, &setting, problem, sizeof problem)) code = tool_fail("%s", problem);
  }
  return code;
}

/* What a program will meet before all else. */
static void show_secret(void) {
  char source[300];
  bool works = hmc_secret_source(source, sizeof source) == HMC_SUCCESS;
  printf("\nSecret   %s", works ? "" : "no: ");
  tool_wrap(stdout, works ? source : hmc_last_error(), works ? 9 : 13, 9, tool_columns());
  printf("\n");
}

/* "  name     no: why", broken where it is long. */
static void show_line(const char *name, const char *answer, const char *reason) {
  char text[600];
  char named[64];
  int prefix = snprintf(named, sizeof named, "%s memory: ", name); /* the line says that name already */
  if (prefix > 0 && strncmp(reason, named, (size_t)prefix) == 0) reason += prefix;
  snprintf(text, sizeof text, "%s%s%s", answer, reason[0] ? ": " : "", reason);
  printf("  %-8s ", name);
  tool_wrap(stdout, text, 11, 11, tool_columns());
  printf("\n");
}

static int show_machine(void) {
  char memory[32];
  find_default(memory, sizeof memory);
  printf("hmc %s\n\nMemories (default: %s)\n", hmc_version_text(), memory);
  for (size_t i = 1; i < COUNT(kinds); i++) {
    found_memory_t found = find_memory(kinds[i]);
    char count[32];
    snprintf(count, sizeof count, "%d device%s", found.devices, found.devices == 1 ? "" : "s");
    show_line(hmc_memory_kind_name(kinds[i]), found.devices > 0 ? count : "no",
              found.devices > 0 ? ""
              : found.reason[0] ? found.reason
                                : "no device");
  }
  info_show_devices();
  printf("\nConnection types (auto takes the fastest that both ends have)\n");
  for (size_t i = 1; i < TOOL_TYPES; i++) {
    char reason[512] = "";
    hmc_status_t status = hmc_connection_type_probe(tool_types[i], reason, sizeof reason);
    show_line(hmc_connection_type_name(tool_types[i]), status == HMC_SUCCESS ? "yes" : "no", reason);
  }
  show_secret();
  return check_settings();
}

static void show_wrapped(const char *text, int indent) {
  printf("%*s", indent, "");
  tool_wrap(stdout, text, indent, indent, tool_columns());
  printf("\n");
}

/* Of the column of names. */
static int longest_setting(void) {
  size_t longest = 0;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    char problem[512];
    if (find_setting(i, &setting, problem, sizeof problem)) continue;
    if (strlen(setting.name) > longest) longest = strlen(setting.name);
  }
  return (int)longest;
}

/* Variables that look like settings and that nothing reads: mistyped, or of another version. */
static void show_unknown(void) {
  char text[256];
  for (size_t i = 0; hmc_settings_unknown(i, text, sizeof text) == HMC_SUCCESS; i++)
    fprintf(stderr, "hmc-info: %s\n", text);
}

static int show_settings(void) {
  int code = TOOL_DONE, width = longest_setting();
  printf("%-*s %-9s %-8s %s\n", width, "setting", "kind", "default", "value");
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    char problem[512];
    if (find_setting(i, &setting, problem, sizeof problem)) {
      code = tool_fail("%s", problem);
      continue;
    }
    printf("%-*s %-9s %-8s %s%s\n", width, setting.name, setting.kind,
           setting.default_value[0] ? setting.default_value : "-", setting.value[0] ? setting.value : "-",
           setting.is_set ? "  (from the environment)" : "");
    show_wrapped(setting.documentation, 4);
  }
  return code;
}

static void json_text(const char *key, const char *text) {
  printf("\"%s\":", key);
  tool_print_json(stdout, text);
}

static void json_machine(void) {
  char memory[32];
  find_default(memory, sizeof memory);
  json_text("version", hmc_version_text());
  printf(",");
  json_text("default_memory", memory);
  printf(",\"memories\":[");
  for (size_t i = 1; i < COUNT(kinds); i++) {
    found_memory_t found = find_memory(kinds[i]);
    printf("%s{", i > 1 ? "," : "");
    json_text("kind", hmc_memory_kind_name(kinds[i]));
    printf(",\"devices\":%d,", found.devices);
    json_text("reason", found.reason);
    printf("}");
  }
  printf("],\"connection_types\":[");
  for (size_t i = 1; i < TOOL_TYPES; i++) {
    char reason[512] = "";
    hmc_status_t status = hmc_connection_type_probe(tool_types[i], reason, sizeof reason);
    printf("%s{", i > 1 ? "," : "");
    json_text("type", hmc_connection_type_name(tool_types[i]));
    printf(",\"works\":%s,", status == HMC_SUCCESS ? "true" : "false");
    json_text("reason", reason);
    printf("}");
  }
  printf("]");
  info_json_devices();
}

static int json_settings(void) {
  int code = TOOL_DONE;
  const char *comma = "";
  printf(",\"settings\":[");
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    char problem[512];
    if (find_setting(i, &setting, problem, sizeof problem)) {
      code = tool_fail("%s", problem);
      continue;
    }
    printf("%s{", comma);
    comma = ",";
    json_text("name", setting.name);
    printf(",");
    json_text("kind", setting.kind);
    printf(",");
    json_text("default", setting.default_value);
    printf(",");
    json_text("value", setting.value);
    printf(",\"is_set\":%s,", setting.is_set ? "true" : "false");
    json_text("documentation", setting.documentation);
    printf("}");
  }
  printf("]");
  return code;
}

static int show_json(void) {
  printf("{");
  json_machine();
  int code = json_settings();
  printf("}\n");
  return code;
}

int main(int count, char **arguments) {
  bool config = false, json = false, try = false, trace = false;
  const char *recorder = NULL;
  hmc_connection_type_t type = HMC_CONNECTION_AUTO;
  tool_begin("hmc-info");
  for (int letter; (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    switch (letter) {
    case 'c': config = true; break;
    case 'j': json = true; break;
    case 't':
      try = true;
      if (hmc_connection_type_parse(optarg, &type) != HMC_SUCCESS)
        return tool_usage_error("--try '%s': auto, rdma, shm, tcp or ucx is expected", optarg);
      break;
    case 'r': recorder = optarg; break;
    case 'T': trace = true; break;
    case TOOL_OPTIONS_DONE: return tool_finish_output();
    default: return TOOL_USAGE;
    }
  }
  if (optind + try < count) return tool_usage_error("no argument is expected: what is '%s'?", arguments[optind + try]);
  hmc_log_set_level(HMC_LOG_NONE); /* what is missing here is what this program is asked for, not a warning */
  if (trace && !recorder) return tool_usage_error("--trace goes with --recorder FILE");
  if (recorder && (try || json || config)) return tool_usage_error("--recorder goes with nothing but --trace");
  if (try && (json || config)) return tool_usage_error("--try goes with neither --json nor --config");
  int code = TOOL_DONE;
  if (recorder)
    code = info_recorder(recorder, trace);
  else if (try)
    code = info_try(type, arguments[optind]);
  else if (json)
    code = show_json();
  else if (config)
    code = show_settings();
  else
    code = show_machine();
  if (!recorder) show_unknown();
  int output = tool_finish_output();
  return code == TOOL_DONE ? output : code;
}
