/* hmc-demo: what HMC is for. A real file lies in the accelerator of one process; another process receives it into its
 * own, over each transport of this host, and checks every byte. See demo.h for the parts. */
#include "demo.h"
#include "options.h"

#include <link.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const tool_option_t options_table[] = {
    {'m', "memory", "KIND", "sim cpu nvidia amd mlu ascend moore",
     "sim, cpu, nvidia, amd, mlu, ascend, moore (an accelerator of this machine, else sim)"},
    {'r', "rounds", "N", NULL, "how often each way is taken, 1 to 1000 (5, fewer when that takes long)"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_section_t sections[] = {
    {"SEE ALSO", NULL, "hmc-perf(1), hmc-info(1)"},
    {NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-demo",
    .purpose = "move a file between the accelerators of two processes",
    .synopses = (const char *const[]){"[OPTION]... [FILE]", NULL},
    .description =
        "\nMoves FILE from the accelerator of one process into that of another, by each way that works on this host, "
        "then once more in each mode of the benchmark (hmc-perf --mode), and checks the SHA-256 of what arrived. "
        "Without "
        "a FILE: the largest shared library that this program has loaded. A software accelerator copies 2 GB/s here, "
        "unless HMC_SIM_BANDWIDTH says something else.",
    .options = options_table,
    .examples = (const char *const[]){"hmc-demo", "hmc-demo --rounds 20 /usr/bin/python3",
                                      "HMC_SIM_BANDWIDTH=10G hmc-demo model.safetensors", NULL},
    .notes = "Exit status: 0 every byte arrived, 1 it failed, 2 the command line is wrong.",
    .sections = sections,
};

typedef struct largest {
  off_t size;
  char path[4096];
} largest_t;

static int look_at_object(struct dl_phdr_info *info, size_t size, void *argument) {
  (void)size;
  largest_t *largest = argument;
  struct stat status;
  if (info->dlpi_name[0] == '/' && strlen(info->dlpi_name) < sizeof largest->path &&
      stat(info->dlpi_name, &status) == 0 && status.st_size > largest->size) {
    largest->size = status.st_size;
    snprintf(largest->path, sizeof largest->path, "%s", info->dlpi_name);
  }
  return 0;
}

/* Every machine that runs this has loaded libraries of several MB. */
static const char *default_file(void) {
  static largest_t largest;
  dl_iterate_phdr(look_at_object, &largest);
  return largest.size ? largest.path : "/proc/self/exe";
}

static int read_memory(const char *text, hmc_memory_kind_t *kind) {
  if (hmc_memory_kind_parse(text, kind) == HMC_SUCCESS) return TOOL_DONE;
  return tool_usage_error("--memory '%s': sim, cpu, nvidia, amd, mlu, ascend or moore is expected", text);
}

static int read_rounds(const char *text, unsigned *rounds) {
  uint64_t number;
  if (!tool_parse_count(text, 1, 1000, &number))
    return tool_usage_error("--rounds '%s': a number from 1 to 1000 is expected", text);
  *rounds = (unsigned)number;
  return TOOL_DONE;
}

/* Forks before anything of HMC is touched: a vendor's runtime does not survive a fork. */
static int run(const demo_options_t *options) {
  int sockets[2];
  if (!tool_make_secret() || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0)
    return tool_fail("the two processes could not be connected");
  pid_t child = fork();
  if (child < 0) return tool_fail("the second process could not be forked");
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    close(sockets[0]);
    exit(demo_hold(sockets[1], options->file));
  }
  close(sockets[1]);
  int code = demo_receive_file(sockets[0], options), state = 0;
  close(sockets[0]);                           /* which the holder takes as the end */
  if (code != TOOL_DONE) kill(child, SIGTERM); /* it may be in the middle of a put */
  waitpid(child, &state, 0);
  if (code == TOOL_DONE && (!WIFEXITED(state) || WEXITSTATUS(state) != 0))
    code = tool_fail("the process that holds the file failed (status 0x%x)", (unsigned)state);
  return code;
}

int main(int count, char **arguments) {
  demo_options_t options = {.kind = HMC_MEMORY_DEFAULT};
  int code = TOOL_DONE;
  tool_begin("hmc-demo");
  for (int letter; (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    switch (letter) {
    case 'm': code = read_memory(optarg, &options.kind); break;
    case 'r': code = read_rounds(optarg, &options.rounds); break;
    case TOOL_OPTIONS_DONE: return tool_finish_output();
    default: return TOOL_USAGE;
    }
    if (code != TOOL_DONE) return code;
  }
  options.file = optind < count ? arguments[optind++] : default_file();
  if (optind < count) return tool_usage_error("one FILE at a time: what is '%s'?", arguments[optind]);
  setenv("HMC_SIM_BANDWIDTH", "2G", 0); /* an accelerator whose copies take their time, as a real one's */
  code = run(&options);
  int output = tool_finish_output();
  return code == TOOL_DONE ? output : code;
}
