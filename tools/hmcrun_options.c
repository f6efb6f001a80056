/* The arguments of hmcrun, and binding. */
#include "hmcrun.h"
#include "options.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#ifdef HMC_HAVE_HWLOC
#include <hwloc.h>
#endif

enum { IGNORED = 256, ELSEWHERE };

static const tool_option_t options_table[] = {
    {'n', "np", "N", NULL, "how many ranks (one per processor)"},
    {'l', "label", NULL, NULL, "put the rank before each line of output"},
    {'b', "bind", NULL, NULL, "bind each rank to a core"},
    {'x', "env", "NAME[=VALUE]", NULL, "set a variable for the ranks; NAME alone is passed on anyway"},
    {'v', "verbose", NULL, NULL, "say what is started, and how it ended"},
    /* As other launchers spell them. */
    {'n', "n", "N", NULL, NULL},
    {'c', "c", "N", NULL, NULL},
    {'l', "tag-output", NULL, NULL, NULL},
    {'b', "bind-to-core", NULL, NULL, NULL},
    {IGNORED, "oversubscribe", NULL, NULL, NULL},
    {IGNORED, "allow-run-as-root", NULL, NULL, NULL},
    {ELSEWHERE, "host", "LIST", NULL, NULL},
    {ELSEWHERE, "H", "LIST", NULL, NULL},
    {ELSEWHERE, "hosts", "LIST", NULL, NULL},
    {ELSEWHERE, "hostfile", "FILE", NULL, NULL},
    {ELSEWHERE, "machinefile", "FILE", NULL, NULL},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_section_t sections[] = {
    {"ENVIRONMENT", NULL,
     "A rank finds HMC_JOB_RANK, HMC_JOB_SIZE, HMC_JOB_DIR (a folder of the job, which is removed at its end) and "
     "HMC_SECRET, which is made for the job unless it is set. A rank that writes a number into HMC_JOB_DIR/exit and "
     "ends, ends all of them with that status. A rank that dies, or ends with a status other than 0, ends all of them "
     "too. The ranks end with hmcrun, however it ends."},
    {"SEE ALSO", NULL, "hmc-info(1)"},
    {NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmcrun",
    .purpose = "start the ranks of a program on this host",
    .synopses = (const char *const[]){"[OPTION]... PROGRAM [ARGUMENT]...", NULL},
    .description =
        "\nStarts N ranks of PROGRAM on this host, and looks after them. Long options are taken behind one dash "
        "too (-np 4), and those of mpirun that mean the same or nothing here.",
    .options = options_table,
    .examples = (const char *const[]){"hmcrun -n 4 ./program", "hmcrun -n 2 --label ./program one two", NULL},
    .notes = "Exit status: that of the first rank that failed, else 0; 2 when the command line is wrong.",
    .sections = sections,
    .stops_at_words = true,
    .single_dash = true,
};

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
  uint64_t count;
  if (!tool_parse_count(text, 1, 65536, &count)) {
    tool_usage_error("-n '%s': a number of ranks from 1 to 65536 is expected", text);
    return false;
  }
  *n = (int)count;
  return true;
}

static bool take_option(int letter, hmcrun_options_t *options) {
  switch (letter) {
  case 'n':
  case 'c': return set_count(optarg, &options->n);
  case 'l': return options->label = true;
  case 'b': return options->bind = true;
  case 'v': return options->verbose = true;
  case 'x':
    if (set_variable(optarg)) return true;
    tool_usage_error("-x '%s': NAME=VALUE is expected", optarg);
    return false;
  case ELSEWHERE:
    tool_usage_error("hosts '%s': all ranks start on this host; on several, srun or mpirun starts them", optarg);
    return false;
  default: return true;
  }
}

int hmcrun_parse(int argc, char **argv, hmcrun_options_t *options) {
  *options = (hmcrun_options_t){.n = (int)sysconf(_SC_NPROCESSORS_ONLN)};
  tool_begin("hmcrun");
  for (int letter; (letter = tool_options_next(&usage, argc, argv)) != TOOL_OPTIONS_END;) {
    if (letter == TOOL_OPTIONS_DONE) exit(tool_finish_output());
    if (letter == TOOL_OPTIONS_WRONG || !take_option(letter, options)) return TOOL_USAGE;
  }
  if (optind >= argc) return tool_usage_error("name the PROGRAM to start");
  options->program = argv + optind;
  return TOOL_DONE;
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
