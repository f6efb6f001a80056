/* hmc-perf: measures puts and gets between two processes. Without a host it is the server; see perf.h for the parts.
 *
 * This file is the command line, and the fork of --self. */
#include "options.h"
#include "perf.h"
#include "pool.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LATENCY_DEPTH = 1, BANDWIDTH_DEPTH = 8 };

enum {
  OPTION_DEVICE = 256,
  OPTION_PEER_MEMORY,
  OPTION_BIND,
  OPTION_REGION,
  OPTION_CHUNK,
  OPTION_PLOT,
  OPTION_COMPARE,
  OPTION_OWN_MEMORY,
  OPTION_PEERS,
  OPTION_PROCESSOR,
  OPTION_BLOCKS
};
#define DEFAULT_CHUNK (1ull << 20)
#define KINDS "cpu sim nvidia amd mlu ascend moore default"

static const tool_option_t options_table[] = {
    {0, NULL, NULL, NULL, "What is measured (client)"},
    {'o', "op", "OP", "put get mix", "put: write to the server's memory; get: read from it; mix: both at once (put)"},
    {'s', "size", "LIST", NULL,
     "bytes of one operation: 8 or 8,4K,1M or 8..64M, powers of two (8..1M; with --mode: 64K,1M,4M,16M)"},
    {OPTION_BLOCKS, "blocks", "NAME", "deepseek llama-8b llama-70b",
     "instead of one piece: the block list of that model's KV cache, one block of tokens: deepseek (61 x 128 KiB and "
     "61 x 16 KiB), llama-8b (64 x 32 KiB), llama-70b (160 x 32 KiB)"},
    {'t', "transport", "TYPE", "auto shm tcp rdma ucx",
     "auto, shm, tcp, rdma or ucx; all but auto are required: no other is taken instead (auto)"},
    {'l', "latency", NULL, NULL, "one at a time, median and 99th percentile (default)"},
    {'b', "bandwidth", NULL, NULL, "several in flight, bytes per second"},
    {'D', "depth", "N", NULL, "in flight per thread; more than 1: --bandwidth (8)"},
    {'T', "threads", "N", NULL, "threads that do so at the same time (1)"},
    {'n', "iterations", "N", NULL, "operations per size and thread, instead of --seconds"},
    {'d', "seconds", "S", NULL, "seconds per size (0.5)"},
    {'w', "warmup", "N", NULL, "operations before the clock starts (16)"},
    {'v', "verify", NULL, NULL, "give each operation in flight bytes of its own, and compare them afterwards"},
    {'M', "mode", "MODE", "uhm rdma_cpu g2h2g serial ucx all",
     "force how the bytes go between two devices, to compare: uhm, rdma_cpu, g2h2g, serial, ucx; or all that work here "
     "(with --self). At the server: offer the memory that the mode needs"},
    {OPTION_CHUNK, "chunk", "SIZE", NULL, "the chunks of --mode serial (1M)"},
    {'f', "format", "FORMAT", "text json csv", "text, json (one object per line) or csv (text)"},
    {OPTION_PLOT, "plot", "FILE", NULL, "bandwidth and latency over size, as a picture: .svg or .png"},
    {OPTION_COMPARE, "compare", "FILE", NULL,
     "the ratio to a former run, whose json lines FILE has; with --plot its lines too, dashed"},
    {0, NULL, NULL, NULL, "Where it happens"},
    {'m', "memory", "KIND[:N]", KINDS,
     "memory at this end: cpu, sim, nvidia, amd, mlu, ascend, moore, default (cpu; with --mode: an accelerator of this "
     "machine, else sim)"},
    {OPTION_DEVICE, "device", "N", NULL, "its device number (0)"},
    {OPTION_OWN_MEMORY, "own-memory", NULL, NULL,
     "register memory that this program allocated itself, instead of having HMC allocate it"},
    {'S', "self", NULL, NULL, "fork the server: both ends on this host"},
    {OPTION_PEERS, "peers", "N", NULL, "fork this many servers, and use all of them in turn (1)"},
    {OPTION_PEER_MEMORY, "peer-memory", "KIND[:N]", KINDS, "memory of the server that --self forks"},
    {OPTION_PROCESSOR, "processor", "N[,M]", NULL, "run on processor N, the forked server on M (N too)"},
    {'p', "port", "N", NULL, "the server's port (2025)"},
    {OPTION_BIND, "bind", "IP", NULL, "the address the server listens on (0.0.0.0)"},
    {OPTION_REGION, "region", "SIZE", NULL, "bytes of the server's region (64M)"},
    {'1', "once", NULL, NULL, "the server ends when its first client leaves"},
    {0, NULL, NULL, NULL, "About this program"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_section_t sections[] = {
    {"MODES", NULL,
     "A transfer in a mode is one operation of as many bytes as --size says, from the memory at this end to that at "
     "the "
     "other (put) or back (get)."},
    {NULL, "uhm",
     "Device to device, by the library. Where there is no direct way, the bytes pass through small buffers in host "
     "memory at both ends, copies and network overlapped."},
    {NULL, "rdma_cpu", "Host to host, by RDMA: what the network does when no device takes part."},
    {NULL, "g2h2g", "Device to host, host to host, host to device, one after the other, each for the whole transfer."},
    {NULL, "serial", "The same for one chunk after the other."},
    {NULL, "ucx", "As uhm, by UCX."},
    {NULL, NULL,
     "In g2h2g and serial one transfer takes place at a time, and both ends keep host memory of the size of their "
     "device's. A server knows all modes. A mode that cannot run here ends the program with status 1, and the text "
     "says "
     "what is missing. HMC_SIM_BANDWIDTH and HMC_SIM_LATENCY give the accelerator in software the copies of a real "
     "one."},
    {"OUTPUT", NULL,
     "Results go to standard output, one line per size; everything else goes to standard error. A put is complete, and "
     "its time is taken, when its bytes are visible at the other end. Where one operation takes less than two "
     "microseconds, a latency sample is the mean of a small batch of operations, because reading the clock would cost "
     "as much as the operation. GB/s are 10^9 bytes per second. With several threads the iterations, GB/s and ops/s "
     "are "
     "those of all threads together.\n\n"
     "JSON lines have the keys transport, op, memory, peer_memory, bytes, depth, threads, iterations, seconds, "
     "latency_us_median, latency_us_p99 (both null when operations overlap), gbytes_per_second, operations_per_second, "
     "verified (true, or null without --verify), mode (null when none was forced), cpu_seconds_per_gib, ratio (null "
     "without --compare), peers, blocks (null without --blocks) and own_memory. CSV has the same columns in the same "
     "order, under a line with their names. Later versions add keys and columns at the end only."},
    {"ENVIRONMENT", NULL, "All HMC_* settings apply; hmc-info --config lists them."},
    {"SEE ALSO", NULL, "hmc-perf-pool(1), hmc-info(1), hmc-doctor(1)"},
    {NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-perf",
    .purpose = "measure puts and gets between two processes",
    .synopses = (const char *const[]){"[OPTION]...                    be the server: offer a region",
                                      "[OPTION]... HOST[:PORT]...     be the client: measure against it",
                                      "[OPTION]... --self             both at once, on this host",
                                      "pool [OPTION]...               SMEM's pool: hmc-perf pool --help", NULL},
    .description =
        "\nThe server offers one region of memory and does nothing else: operations are one-sided. The client writes "
        "to "
        "that region or reads from it, and prints one line per size. Both ends need the same secret: one user on one "
        "host has it; elsewhere copy ~/.hmc/secret.",
    .options = options_table,
    .examples = (const char *const[]){"hmc-perf --self                                 what this host does",
                                      "hmc-perf --self --transport tcp --op get -s 8..16M --verify",
                                      "hmc-perf --self --memory sim:0 --peer-memory sim:1 --bandwidth",
                                      "hmc-perf --self --op mix --peers 4              four servers, both directions",
                                      "hmc-perf --self --blocks deepseek --processor 0 one processor for both ends",
                                      "HMC_SIM_BANDWIDTH=10G hmc-perf --self --mode g2h2g --transport tcp",
                                      "hmc-perf --self --mode all --plot modes.svg     the figure of the manual",
                                      "hmc-perf                                        on one host; on another:",
                                      "hmc-perf --size 1M --depth 16 --format json HOST", NULL},
    .notes = "Exit status: 0 done (a server also when Ctrl-C ended it), 1 it failed, 2 the command line is wrong, 130 "
             "Ctrl-C ended the client.",
    .sections = sections,
};

/* What the command line said, beyond the options themselves. */
typedef struct said {
  bool latency, memory, peer_memory, size, client_only, every_mode, peers;
  uint64_t depth;
} said_t;

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
  options->mix = strcmp(text, "mix") == 0;
  if (options->get || options->mix || strcmp(text, "put") == 0) return true;
  tool_usage_error("--op '%s': put, get or mix is expected", text);
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
  tool_usage_error("--mode '%s': %s is expected; or all, with --self", text, tool_mode_names());
  return false;
}

static bool read_blocks(const char *text, perf_options_t *options) {
  options->blocks = perf_blocks_find(text);
  if (options->blocks) return true;
  tool_usage_error("--blocks '%s': deepseek, llama-8b or llama-70b is expected", text);
  return false;
}

static bool read_processors(const char *value, perf_options_t *options) {
  const char *text = value;
  int used = 0, *n = options->processors;
  bool good = sscanf(text, "%d%n", &n[0], &used) == 1 && (text[used] == 0 || text[used] == ',');
  n[1] = n[0];
  if (good && text[used]) {
    text += used + 1;
    good = sscanf(text, "%d%n", &n[1], &used) == 1 && text[used] == 0;
  }
  options->pinned = good && n[0] >= 0 && n[1] >= 0 && n[0] < CPU_SETSIZE && n[1] < CPU_SETSIZE;
  if (!options->pinned) tool_usage_error("--processor '%s': one number is expected, or two: 0 or 0,1", value);
  return options->pinned;
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
  case 'D': return tool_read_count("depth", value, 1, PERF_DEPTH_MAX, &said->depth);
  case 'T':
    if (!tool_read_count("threads", value, 1, PERF_THREADS_MAX, &number)) return false;
    options->threads = (unsigned)number;
    return true;
  case 'n': return tool_read_count("iterations", value, 1, UINT64_MAX / 2, &options->iterations);
  case 'd': return tool_read_seconds("seconds", value, &options->seconds);
  case 'w': return tool_read_count("warmup", value, 0, UINT64_MAX / 2, &options->warmup);
  case 'v': return options->verify = true;
  case 'f': return read_format(value, options);
  case 'M': return (said->every_mode = strcmp(value, "all") == 0) || read_mode(value, options);
  case OPTION_CHUNK: return tool_read_size("chunk", value, &options->chunk);
  case 'm': return said->memory = read_memory("memory", value, &options->memory);
  case OPTION_DEVICE:
    if (!tool_read_count("device", value, 0, INT32_MAX, &number)) return false;
    options->memory.device = (int)number;
    return true;
  case 'S': return options->self = true;
  case OPTION_PEER_MEMORY: return said->peer_memory = read_memory("peer-memory", value, &options->peer_memory);
  case 'p':
    if (!tool_read_count("port", value, 0, 65535, &number)) return false;
    options->port = (uint16_t)number;
    return true;
  case OPTION_BIND: options->bind = value; return true;
  case OPTION_PLOT: options->plot = value; return (said->client_only = true) && perf_plot_check(value);
  case OPTION_COMPARE: options->compare = value; return said->client_only = true;
  case OPTION_REGION: return tool_read_size("region", value, &options->region);
  case OPTION_OWN_MEMORY: return options->own_memory = true;
  case OPTION_PROCESSOR: return read_processors(value, options);
  case OPTION_BLOCKS: return (said->client_only = true) && read_blocks(value, options);
  case OPTION_PEERS:
    if (!tool_read_count("peers", value, 1, PERF_PEERS_MAX, &number)) return false;
    options->peers = (unsigned)number;
    return said->peers = true;
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
  if (options->blocks || options->mix || options->target_count > 1)
    return tool_usage_error("--mode %s is one piece, one way, to one server: leave --blocks, --op mix and --peers out",
                            mode->name);
  if (mode->is_staged && (options->bandwidth || said->depth > 1 || options->threads > 1))
    return tool_usage_error("--mode %s is one transfer at a time: leave --bandwidth, --depth and --threads out",
                            mode->name);
  return TOOL_DONE;
}

/* How many operations are in flight: all servers have some, and each of them both ways where that is asked for. */
static int settle_depth(perf_options_t *options, const said_t *said) {
  unsigned least = options->target_count * (options->mix ? 2 : 1);
  bool alternates = options->target_count > 1 || options->mix;
  if (said->latency && (options->bandwidth || said->depth > 1 || alternates))
    return tool_usage_error(
        "--latency is one operation at a time: leave --bandwidth, --depth, --op mix and --peers out");
  if (said->depth > 1 || alternates) options->bandwidth = true;
  options->depth = said->depth ? (unsigned)said->depth : options->bandwidth ? BANDWIDTH_DEPTH : LATENCY_DEPTH;
  if (alternates && said->depth && said->depth < least)
    return tool_usage_error("--depth %u: at least %u are expected, so that each way to each server has one",
                            options->depth, least);
  if (options->depth < least) options->depth = least;
  return TOOL_DONE;
}

static int settle_blocks(perf_options_t *options, const said_t *said) {
  if (!options->blocks) return TOOL_DONE;
  if (said->size) return tool_usage_error("--blocks says how many bytes an operation has: leave --size out");
  options->sizes[0] = perf_blocks_bytes(options->blocks);
  options->size_count = 1;
  return TOOL_DONE;
}

/* What fits together and what does not. */
static int settle(perf_options_t *options, const said_t *said) {
  const char *host = options->target_count ? options->targets[0].host : NULL;
  bool client = host || options->self;
  if (host && options->self) return tool_usage_error("--self brings its own server: leave '%s' out", host);
  if (said->peers && !options->self) return tool_usage_error("--peers goes with --self; else name several HOSTs");
  if (options->own_memory && (options->memory.kind != HMC_MEMORY_CPU || said->peer_memory || options->mode))
    return tool_usage_error("--own-memory is host memory: leave --memory, --peer-memory and --mode out");
  if (!client && said->client_only)
    return tool_usage_error("without a HOST this is the server, which measures nothing; add a HOST or --self");
  if (said->peer_memory && !options->self)
    return tool_usage_error("--peer-memory goes with --self; elsewhere the server's own --memory decides");
  if (host && options->once) return tool_usage_error("--once is for the server");
  if (options->self) options->target_count = options->peers;
  int code = settle_mode(options, said);
  if (code == TOOL_DONE) code = settle_blocks(options, said);
  if (code == TOOL_DONE) code = settle_depth(options, said);
  if (code != TOOL_DONE) return code;
  uint64_t slots = (uint64_t)options->depth * options->threads;
  for (size_t i = 0; i < options->size_count; i++)
    if (options->sizes[i] > (UINT64_MAX >> 8) / slots)
      return tool_usage_error("--size: %llu bytes are more than any memory holds",
                              (unsigned long long)options->sizes[i]);
  return TOOL_DONE;
}

/* Bytes that the forked server offers: a slot of its own for each operation in flight, but no more than the default
 * offers unless --verify needs them or one slot per thread is larger. */
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

/* Forks a server; its port, or an exit code with the text out. */
/* Variables that are mistyped are named once, by the client. */
static void drop_unknown_variables(void) {
  char text[256];
  while (hmc_settings_unknown(0, text, sizeof text) == HMC_SUCCESS) {
    text[strcspn(text, " ")] = '\0';
    if (unsetenv(text) != 0) return;
  }
}

static int fork_server(const perf_options_t *options, pid_t *child, uint16_t *port) {
  int ready[2];
  if (pipe(ready) != 0) return tool_fail("the server could not be started");
  *child = fork();
  if (*child == 0) {
    close(ready[0]);
    drop_unknown_variables();
    exit(serve_for_parent(options, ready[1]));
  }
  close(ready[1]);
  int code = *child > 0 ? TOOL_FAILED : tool_fail("the server could not be forked");
  /* Where nothing comes, the server has said why. */
  if (*child > 0 && read(ready[0], port, sizeof *port) == (ssize_t)sizeof *port) code = TOOL_DONE;
  if (code != TOOL_DONE && tool_interrupted) code = TOOL_INTERRUPTED;
  close(ready[0]);
  return code;
}

static int run_self(perf_options_t *options) {
  pid_t children[PERF_PEERS_MAX] = {0};
  unsigned started = 0;
  int code = tool_make_secret() ? TOOL_DONE : tool_fail("the server could not be started");
  while (code == TOOL_DONE && started < options->peers) {
    options->targets[started].host = "127.0.0.1";
    code = fork_server(options, &children[started], &options->targets[started].port);
    started += children[started] > 0;
  }
  if (code == TOOL_DONE) code = perf_measure(options);
  for (unsigned i = 0; i < started; i++) kill(children[i], SIGTERM);
  for (unsigned i = 0; i < started; i++) waitpid(children[i], NULL, 0);
  return code;
}

/* Each mode that works here, one after the other, each with a server of its own. */
static int run_modes(const perf_options_t *options, const said_t *said) {
  size_t count;
  const tool_mode_t *modes = tool_modes(&count);
  int code = TOOL_DONE;
  bool begun = false;
  if (!options->self) return tool_usage_error("--mode all goes with --self");
  for (size_t i = 0; i < count && code == TOOL_DONE; i++) {
    char reason[512];
    perf_options_t own = *options;
    own.mode = &modes[i];
    own.goes_on = begun;
    if (!tool_mode_works(own.mode, reason, sizeof reason)) {
      tool_fail("mode %s is left out: %s", own.mode->name, reason);
      continue;
    }
    code = settle(&own, said);
    if (code == TOOL_DONE) code = run_self(&own);
    begun = true;
  }
  return code;
}

/* HOSTs, each perhaps with a port of its own; false, with a text, when there are too many. */
static bool read_targets(int count, char **arguments, perf_options_t *options) {
  for (; optind < count; optind++) {
    if (options->target_count == PERF_PEERS_MAX) {
      tool_usage_error("at most %d HOSTs are expected", PERF_PEERS_MAX);
      return false;
    }
    options->targets[options->target_count++] = (perf_target_t){arguments[optind], options->port};
  }
  return true;
}

static int run(perf_options_t *options, const said_t *said) {
  if (options->compare && perf_compare_read(options->compare) != TOOL_DONE) return TOOL_FAILED;
  int code;
  if (said->every_mode)
    code = run_modes(options, said);
  else if (options->self)
    code = run_self(options);
  else if (options->target_count)
    code = perf_measure(options);
  else
    code = perf_serve(options, -1);
  return code == TOOL_DONE && options->plot ? perf_plot_write(options->plot) : code;
}

int main(int count, char **arguments) {
  perf_options_t options = {.bind = "0.0.0.0",
                            .port = PERF_DEFAULT_PORT,
                            .memory = {HMC_MEMORY_CPU, 0},
                            .peer_memory = {HMC_MEMORY_CPU, 0},
                            .peers = 1,
                            .threads = 1,
                            .seconds = 0.5,
                            .warmup = 16};
  said_t said = {0};
  if (count > 1 && strcmp(arguments[1], "pool") == 0) return pool_main(count - 1, arguments + 1);
  tool_begin("hmc-perf");
  for (int letter; (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    if (letter == TOOL_OPTIONS_DONE) return tool_finish_output();
    if (letter == TOOL_OPTIONS_WRONG || !read_option(letter, optarg, &options, &said)) return TOOL_USAGE;
  }
  if (!read_targets(count, arguments, &options)) return TOOL_USAGE;
  int code = said.every_mode ? TOOL_DONE : settle(&options, &said); /* run_modes settles each */
  if (code != TOOL_DONE) return code;
  tool_catch_interrupts();
  code = run(&options, &said);
  int output = tool_finish_output();
  return code == TOOL_DONE ? output : code;
}
