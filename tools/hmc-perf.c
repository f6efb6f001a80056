/* hmc-perf: measures puts and gets between two processes. Without a host it is the server; see perf.h for the parts.
 *
 * This file is the command line, and the fork of --self. */
#include "perf.h"
#include "pool.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LATENCY_DEPTH = 1, BANDWIDTH_DEPTH = 8 };

static const char help[] = "Usage: hmc-perf [OPTION]...              be the server: lend a region to clients\n"
                           "       hmc-perf [OPTION]... HOST[:PORT]  be the client: measure against that one\n"
                           "       hmc-perf [OPTION]... --self       both at once, on this host\n"
                           "       hmc-perf pool [OPTION]...         SMEM's pool: see hmc-perf pool --help\n"
                           "\n"
                           "What is measured (client):\n"
                           "  -o, --op put|get          write to the server's memory, or read from it (put)\n"
                           "  -s, --size LIST           bytes of one operation: 8 or 8,4K,1M or 8..64M,\n"
                           "                            powers of two (8..1M; with --mode: 64K,1M,4M,16M)\n"
                           "  -t, --transport TYPE      auto, shm, tcp, rdma or ucx; all but auto are\n"
                           "                            required: no falling back (auto)\n"
                           "  -l, --latency             one at a time, median and 99th percentile (default)\n"
                           "  -b, --bandwidth           several in flight, bytes per second\n"
                           "  -D, --depth N             in flight per thread; more than 1: --bandwidth (8)\n"
                           "  -T, --threads N           threads that do so side by side (1)\n"
                           "  -n, --iterations N        so many operations per size and thread, instead of\n"
                           "  -d, --seconds S           so long per size (0.5)\n"
                           "  -w, --warmup N            operations before the clock starts (16)\n"
                           "  -v, --verify              look at the bytes afterwards\n"
                           "  -M, --mode MODE           force how the bytes go between two devices, to\n"
                           "                            compare (server: lend what it needs):\n"
                           "                              uhm       device to device by the library\n"
                           "                              rdma_cpu  host to host by RDMA, for comparison\n"
                           "                              g2h2g     device, host, host, device, at once\n"
                           "                              serial    chunk by chunk (--chunk SIZE: 1M)\n"
                           "                              ucx       as uhm, by UCX\n"
                           "                              all       each of them that works here (--self)\n"
                           "  -f, --format FORMAT       text, json (one object per line) or csv (text)\n"
                           "      --plot FILE           bandwidth and latency over size, as an SVG picture\n"
                           "      --compare FILE        the ratio to a former run, whose json lines FILE has\n"
                           "\n"
                           "Where it happens:\n"
                           "  -m, --memory KIND[:N]     memory at this end: cpu, sim, nvidia, amd, mlu,\n"
                           "                            ascend, moore, default (cpu; with --mode: an\n"
                           "                            accelerator of this machine, else sim)\n"
                           "      --device N            its device number (0)\n"
                           "  -S, --self                fork the server; --peer-memory KIND[:N]: its memory\n"
                           "  -p, --port N              the server's port (2025)\n"
                           "      --bind IP             the address the server listens on (0.0.0.0)\n"
                           "      --region SIZE         bytes the server lends (64M)\n"
                           "  -1, --once                the server ends when its first client leaves\n"
                           "\n"
                           "  -h, --help                this text\n"
                           "  -V, --version             the version\n"
                           "\n"
                           "Examples:\n"
                           "  hmc-perf --self                                    what this host does\n"
                           "  hmc-perf --self --transport tcp --op get -s 8..16M --verify\n"
                           "  hmc-perf --self --memory sim:0 --peer-memory sim:1 --bandwidth\n"
                           "  HMC_SIM_BANDWIDTH=10G hmc-perf --self --mode g2h2g --transport tcp\n"
                           "  hmc-perf --self --mode all --plot modes.svg        the figure of the manual\n"
                           "  hmc-perf                                           on one host; on another:\n"
                           "  hmc-perf --size 1M --depth 16 --format json HOST\n"
                           "\n"
                           "Both ends need the same secret: one user on one host has it; elsewhere copy\n"
                           "~/.hmc/secret.\n";

enum { OPTION_DEVICE = 256, OPTION_PEER_MEMORY, OPTION_BIND, OPTION_REGION, OPTION_CHUNK, OPTION_PLOT, OPTION_COMPARE };
#define DEFAULT_CHUNK (1ull << 20)

static const struct option options_table[] = {
    {"op", required_argument, NULL, 'o'},
    {"size", required_argument, NULL, 's'},
    {"transport", required_argument, NULL, 't'},
    {"latency", no_argument, NULL, 'l'},
    {"bandwidth", no_argument, NULL, 'b'},
    {"depth", required_argument, NULL, 'D'},
    {"threads", required_argument, NULL, 'T'},
    {"iterations", required_argument, NULL, 'n'},
    {"seconds", required_argument, NULL, 'd'},
    {"warmup", required_argument, NULL, 'w'},
    {"verify", no_argument, NULL, 'v'},
    {"mode", required_argument, NULL, 'M'},
    {"chunk", required_argument, NULL, OPTION_CHUNK},
    {"format", required_argument, NULL, 'f'},
    {"memory", required_argument, NULL, 'm'},
    {"device", required_argument, NULL, OPTION_DEVICE},
    {"self", no_argument, NULL, 'S'},
    {"peer-memory", required_argument, NULL, OPTION_PEER_MEMORY},
    {"port", required_argument, NULL, 'p'},
    {"bind", required_argument, NULL, OPTION_BIND},
    {"region", required_argument, NULL, OPTION_REGION},
    {"once", no_argument, NULL, '1'},
    {"plot", required_argument, NULL, OPTION_PLOT},
    {"compare", required_argument, NULL, OPTION_COMPARE},
    {"help", no_argument, NULL, 'h'},
    {"version", no_argument, NULL, 'V'},
    {NULL, 0, NULL, 0},
};

/* What the command line said, beyond the options themselves. */
typedef struct said {
  bool latency, memory, peer_memory, size, client_only, every_mode;
  uint64_t depth;
} said_t;

static bool read_count(const char *name, const char *text, uint64_t minimum, uint64_t maximum, uint64_t *value) {
  if (tool_parse_count(text, minimum, maximum, value)) return true;
  tool_usage_error("--%s '%s': a number from %llu to %llu is expected", name, text, (unsigned long long)minimum,
                   (unsigned long long)maximum);
  return false;
}

static bool read_memory(const char *name, const char *text, hmc_memory_t *memory) {
  if (tool_parse_memory(text, memory)) return true;
  tool_usage_error("--%s '%s': cpu, sim, nvidia, amd, mlu, ascend, moore or default is expected, with a device: sim:1",
                   name, text);
  return false;
}

static bool read_sizes(const char *text, perf_options_t *options) {
  if (tool_parse_sizes(text, options->sizes, PERF_SIZES_MAX, &options->size_count)) return true;
  tool_usage_error("--size '%s': sizes above 0 are expected: 8 or 8,4K,1M or 8..64M", text);
  return false;
}

static bool read_op(const char *text, perf_options_t *options) {
  options->get = strcmp(text, "get") == 0;
  if (options->get || strcmp(text, "put") == 0) return true;
  tool_usage_error("--op '%s': put or get is expected", text);
  return false;
}

static bool read_transport(const char *text, perf_options_t *options) {
  if (hmc_connection_type_parse(text, &options->transport) == HMC_SUCCESS) return true;
  tool_usage_error("--transport '%s': auto, shm, tcp, rdma or ucx is expected", text);
  return false;
}

static bool read_format(const char *text, perf_options_t *options) {
  static const char *const names[] = {[PERF_TEXT] = "text", [PERF_JSON] = "json", [PERF_CSV] = "csv"};
  for (unsigned i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(text, names[i]) == 0) {
      options->format = (perf_format_t)i;
      return true;
    }
  tool_usage_error("--format '%s': text, json or csv is expected", text);
  return false;
}

static bool read_mode(const char *text, perf_options_t *options) {
  options->mode = tool_mode_find(text);
  if (options->mode) return true;
  tool_usage_error("--mode '%s': %s, or all, is expected", text, tool_mode_names());
  return false;
}

static bool read_chunk(const char *text, perf_options_t *options) {
  if (tool_parse_size(text, &options->chunk) && options->chunk > 0) return true;
  tool_usage_error("--chunk '%s': a size above 0 is expected: 1M", text);
  return false;
}

static bool read_seconds(const char *text, perf_options_t *options) {
  if (tool_parse_seconds(text, &options->seconds)) return true;
  tool_usage_error("--seconds '%s': a number above 0 is expected", text);
  return false;
}

static bool read_region(const char *text, perf_options_t *options) {
  if (tool_parse_size(text, &options->region) && options->region > 0) return true;
  tool_usage_error("--region '%s': a size above 0 is expected: 64M", text);
  return false;
}

/* One option. False when its value is wrong; the text is out then. */
static bool read_option(int letter, const char *value, perf_options_t *options, said_t *said) {
  uint64_t number;
  said->client_only |= letter < 128 && strchr("ostlbDTndwvf", letter) != NULL;
  switch (letter) {
  case 'o': return read_op(value, options);
  case 's': return said->size = read_sizes(value, options);
  case 't': return read_transport(value, options);
  case 'l': return said->latency = true;
  case 'b': return options->bandwidth = true;
  case 'D': return read_count("depth", value, 1, PERF_DEPTH_MAX, &said->depth);
  case 'T':
    if (!read_count("threads", value, 1, PERF_THREADS_MAX, &number)) return false;
    options->threads = (unsigned)number;
    return true;
  case 'n': return read_count("iterations", value, 1, UINT64_MAX / 2, &options->iterations);
  case 'd': return read_seconds(value, options);
  case 'w': return read_count("warmup", value, 0, UINT64_MAX / 2, &options->warmup);
  case 'v': return options->verify = true;
  case 'f': return read_format(value, options);
  case 'M': return (said->every_mode = strcmp(value, "all") == 0) || read_mode(value, options);
  case OPTION_CHUNK: return read_chunk(value, options);
  case 'm': return said->memory = read_memory("memory", value, &options->memory);
  case OPTION_DEVICE:
    if (!read_count("device", value, 0, INT32_MAX, &number)) return false;
    options->memory.device = (int)number;
    return true;
  case 'S': return options->self = true;
  case OPTION_PEER_MEMORY: return said->peer_memory = read_memory("peer-memory", value, &options->peer_memory);
  case 'p':
    if (!read_count("port", value, 0, 65535, &number)) return false;
    options->port = (uint16_t)number;
    return true;
  case OPTION_BIND: options->bind = value; return true;
  case OPTION_PLOT: options->plot = value; return said->client_only = true;
  case OPTION_COMPARE: options->compare = value; return said->client_only = true;
  case OPTION_REGION: return read_region(value, options);
  default: /* '1' */ return options->once = true;
  }
}

/* What a mode wants of the rest; without one, the defaults. */
static int settle_mode(perf_options_t *options, const said_t *said) {
  const tool_mode_t *mode = options->mode;
  if (options->chunk && !(mode && mode->is_chunked)) return tool_usage_error("--chunk goes with --mode serial");
  options->chunk = options->chunk ? options->chunk : DEFAULT_CHUNK;
  if (!said->size)
    tool_parse_sizes(mode ? "64K,1M,4M,16M" : "8..1M", options->sizes, PERF_SIZES_MAX, &options->size_count);
  hmc_memory_kind_t kind = mode && !mode->is_host ? HMC_MEMORY_DEFAULT : HMC_MEMORY_CPU;
  if (!said->memory) options->memory.kind = kind;
  if (!said->peer_memory) options->peer_memory.kind = kind;
  if (!mode) return TOOL_DONE;
  if (mode->type != HMC_CONNECTION_AUTO && options->transport != HMC_CONNECTION_AUTO &&
      options->transport != mode->type)
    return tool_usage_error("--mode %s goes by %s: leave --transport out", mode->name,
                            hmc_connection_type_name(mode->type));
  if (mode->type != HMC_CONNECTION_AUTO) options->transport = mode->type;
  bool host = options->memory.kind == HMC_MEMORY_CPU, peer_host = options->peer_memory.kind == HMC_MEMORY_CPU;
  if (host != mode->is_host || peer_host != mode->is_host)
    return tool_usage_error("--mode %s is between %s memory: leave --memory and --peer-memory out, or say %s",
                            mode->name, mode->is_host ? "host" : "device",
                            mode->is_host ? "cpu" : "a device's, such as sim:0");
  if (mode->is_staged && (options->bandwidth || said->depth > 1 || options->threads > 1))
    return tool_usage_error("--mode %s is one transfer at a time: leave --bandwidth, --depth and --threads out",
                            mode->name);
  return TOOL_DONE;
}

/* What fits together and what does not. */
static int settle(perf_options_t *options, const said_t *said) {
  bool client = options->host || options->self;
  if (options->host && options->self)
    return tool_usage_error("--self brings its own server: leave '%s' out", options->host);
  if (!client && said->client_only)
    return tool_usage_error("without a HOST this is the server, which measures nothing; add a HOST or --self");
  if (said->peer_memory && !options->self)
    return tool_usage_error("--peer-memory goes with --self; elsewhere the server's own --memory decides");
  if (options->host && options->once) return tool_usage_error("--once is for the server");
  if (said->latency && (options->bandwidth || said->depth > 1))
    return tool_usage_error("--latency is one operation at a time: leave --bandwidth and --depth out");
  int code = settle_mode(options, said);
  if (code != TOOL_DONE) return code;
  if (said->depth > 1) options->bandwidth = true;
  options->depth = said->depth ? (unsigned)said->depth : options->bandwidth ? BANDWIDTH_DEPTH : LATENCY_DEPTH;
  uint64_t slots = (uint64_t)options->depth * options->threads;
  for (size_t i = 0; i < options->size_count; i++)
    if (options->sizes[i] > (UINT64_MAX >> 8) / slots)
      return tool_usage_error("--size: %llu bytes are beyond every memory", (unsigned long long)options->sizes[i]);
  return TOOL_DONE;
}

/* Bytes that the forked server lends: a slot of its own for each operation in flight, but no more than the default
 * lends unless --verify needs them or one slot per thread is larger. */
static uint64_t region_for_self(const perf_options_t *options) {
  uint64_t largest = 0;
  for (size_t i = 0; i < options->size_count; i++) largest = options->sizes[i] > largest ? options->sizes[i] : largest;
  uint64_t least = largest * options->threads, most = least * options->depth;
  if (options->verify || most < PERF_DEFAULT_REGION) return most;
  return least > PERF_DEFAULT_REGION ? least : PERF_DEFAULT_REGION;
}

static int serve_for_parent(const perf_options_t *options, int ready) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  signal(SIGINT, SIG_IGN); /* Ctrl-C reaches both: the client ends first, and then ends this */
  perf_options_t own = *options;
  own.memory = options->peer_memory;
  own.bind = "127.0.0.1";
  own.port = 0;
  if (!own.region) own.region = region_for_self(options);
  return perf_serve(&own, ready);
}

static int run_self(const perf_options_t *options) {
  int ready[2];
  uint16_t port;
  if (!tool_make_secret() || pipe(ready) != 0) return tool_fail("the server could not be started");
  pid_t child = fork();
  if (child < 0) {
    close(ready[0]);
    close(ready[1]);
    return tool_fail("the server could not be forked");
  }
  if (child == 0) {
    close(ready[0]);
    exit(serve_for_parent(options, ready[1]));
  }
  close(ready[1]);
  int code = TOOL_FAILED; /* the server has said why, when nothing comes */
  if (read(ready[0], &port, sizeof port) == (ssize_t)sizeof port)
    code = perf_measure(options, "127.0.0.1", port);
  else if (tool_interrupted)
    code = TOOL_INTERRUPTED;
  close(ready[0]);
  kill(child, SIGTERM);
  waitpid(child, NULL, 0);
  return code;
}

/* Each mode that works here, one after the other, each with a server of its own. */
static int run_modes(const perf_options_t *options, const said_t *said) {
  size_t count;
  const tool_mode_t *modes = tool_modes(&count);
  int code = TOOL_DONE;
  if (!options->self) return tool_usage_error("--mode all goes with --self");
  for (size_t i = 0; i < count && code == TOOL_DONE; i++) {
    char reason[512];
    perf_options_t own = *options;
    own.mode = &modes[i];
    if (!tool_mode_works(own.mode, reason, sizeof reason)) {
      tool_fail("mode %s is left out: %s", own.mode->name, reason);
      continue;
    }
    code = settle(&own, said);
    if (code == TOOL_DONE) code = run_self(&own);
  }
  return code;
}

int main(int count, char **arguments) {
  perf_options_t options = {.bind = "0.0.0.0",
                            .port = PERF_DEFAULT_PORT,
                            .memory = {HMC_MEMORY_CPU, 0},
                            .peer_memory = {HMC_MEMORY_CPU, 0},
                            .threads = 1,
                            .seconds = 0.5,
                            .warmup = 16};
  said_t said = {0};
  if (count > 1 && strcmp(arguments[1], "pool") == 0) return pool_main(count - 1, arguments + 1);
  tool_begin("hmc-perf");
  opterr = 0;
  for (int letter;
       (letter = getopt_long(count, arguments, ":o:s:t:lbD:T:n:d:w:vf:M:m:Sp:1hV", options_table, NULL)) != -1;) {
    if (letter == '?' || letter == ':') return tool_option_error(letter, arguments, options_table);
    if (letter == 'h' || letter == 'V') {
      printf("%s%s", letter == 'h' ? help : hmc_version_text(), letter == 'h' ? "" : "\n");
      return tool_finish_output();
    }
    if (!read_option(letter, optarg, &options, &said)) return TOOL_USAGE;
  }
  if (optind < count) options.host = arguments[optind++];
  if (optind < count) return tool_usage_error("one HOST is enough: what is '%s'?", arguments[optind]);
  int code = said.every_mode ? TOOL_DONE : settle(&options, &said); /* run_modes settles each */
  if (code != TOOL_DONE) return code;
  tool_catch_interrupts();
  if (options.compare && perf_compare_read(options.compare) != TOOL_DONE) return TOOL_FAILED;
  if (said.every_mode)
    code = run_modes(&options, &said);
  else if (options.self)
    code = run_self(&options);
  else if (options.host)
    code = perf_measure(&options, options.host, options.port);
  else
    code = perf_serve(&options, -1);
  if (code == TOOL_DONE && options.plot) code = perf_plot_write(options.plot);
  int output = tool_finish_output();
  return code == TOOL_DONE ? output : code;
}
