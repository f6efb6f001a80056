/* The arguments of hmcrun, and binding. */
#include "hmcrun.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HMC_HAVE_HWLOC
#include <hwloc.h>
#endif

static bool is_one_of(const char *word, const char *names) {
  size_t length = strlen(word);
  for (const char *at = names; (at = strstr(at, word)) != NULL; at++) {
    if ((at == names || at[-1] == ' ') && (at[length] == ' ' || at[length] == 0)) return true;
  }
  return false;
}

static bool set_variable(const char *text) {
  const char *equals = strchr(text, '=');
  if (!equals) return true;
  char name[256];
  size_t length = (size_t)(equals - text);
  if (length == 0 || length >= sizeof name) return false;
  memcpy(name, text, length);
  name[length] = 0;
  return setenv(name, equals + 1, 1) == 0;
}

static bool set_count(const char *text, int *n) {
  char *end;
  long value = strtol(text, &end, 10);
  if (*end || value < 1 || value > 65536) {
    fprintf(stderr, "hmcrun: %s is no number of ranks\n", text);
    return false;
  }
  *n = (int)value;
  return true;
}

/* An option with a value, "-n 4", "-n4" or "--np=4": the value, and how many words were used. */
static const char *value_of(char **argv, const char *names, int *used) {
  const char *word = argv[0], *equals = strchr(word, '=');
  char name[32];
  size_t length = equals ? (size_t)(equals - word) : strlen(word);
  if (length >= sizeof name) return NULL;
  memcpy(name, word, length);
  name[length] = 0;
  if (is_one_of(name, names)) {
    *used = equals ? 1 : 2;
    return equals ? equals + 1 : argv[1];
  }
  if (strncmp(word, "-n", 2) == 0 && word[2] >= '0' && word[2] <= '9' && is_one_of("-n", names)) {
    *used = 1;
    return word + 2;
  }
  return NULL;
}

static int take_flag(const char *word, hmcrun_options_t *options) {
  if (is_one_of(word, "-l --label --tag-output")) {
    options->label = true;
  } else if (is_one_of(word, "--bind --bind-to-core")) {
    options->bind = true;
  } else if (is_one_of(word, "-v --verbose")) {
    options->verbose = true;
  } else if (!is_one_of(word, "--oversubscribe --allow-run-as-root --")) { /* taken from other launchers, always so */
    return 0;
  }
  return 1;
}

bool hmcrun_parse(int argc, char **argv, hmcrun_options_t *options) {
  *options = (hmcrun_options_t){.n = (int)sysconf(_SC_NPROCESSORS_ONLN)};
  int at = 1;
  while (at < argc && argv[at][0] == '-') {
    int used = 0;
    const char *value;
    if (is_one_of(argv[at], "-h --help")) {
      options->help = true;
      return false;
    }
    if ((value = value_of(argv + at, "-n -np -c --np --n", &used)) != NULL) {
      if (!set_count(value, &options->n)) return false;
    } else if ((value = value_of(argv + at, "-x --env", &used)) != NULL) {
      if (!set_variable(value)) return false;
    } else {
      used = take_flag(argv[at], options);
    }
    if (used == 0) {
      fprintf(stderr, "hmcrun: %s is no option\n", argv[at]);
      return false;
    }
    at += used;
  }
  if (at >= argc) {
    fprintf(stderr, "hmcrun: which program?\n");
    return false;
  }
  options->program = argv + at;
  return true;
}

#ifdef HMC_HAVE_HWLOC
void hmcrun_bind(int number) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology) || hwloc_topology_load(topology)) return;
  int cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE);
  hwloc_obj_t core = cores > 0 ? hwloc_get_obj_by_type(topology, HWLOC_OBJ_CORE, (unsigned)(number % cores)) : NULL;
  if (core) hwloc_set_cpubind(topology, core->cpuset, HWLOC_CPUBIND_PROCESS);
  hwloc_topology_destroy(topology);
}
#else
/* Without hwloc: the processors that this process may use, one after the other. */
void hmcrun_bind(int number) {
  cpu_set_t all, one;
  if (sched_getaffinity(0, sizeof all, &all)) return;
  int wanted = number % CPU_COUNT(&all);
  for (int i = 0; i < CPU_SETSIZE; i++) {
    if (!CPU_ISSET(i, &all) || wanted-- > 0) continue;
    CPU_ZERO(&one);
    CPU_SET(i, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}
#endif
