/* The command line of uhm_server and uhm_client, and the bytes that they move. */
#include "options.hpp"

#include "options.h"

#include <algorithm>

namespace {

enum { MODE = 256, IP, PORT, CTRL_PORT, MEMORY, DEVICE, TYPE, BUFFER, SIZES, CHUNK, ROUNDS };

const tool_option_t table[] = {
    {MODE, "mode", "MODE", "uhm rdma_cpu g2h2g serial ucx", "how the bytes go, see above (uhm)"},
    {IP, "ip", "HOST", nullptr, "the server's address or name (127.0.0.1)"},
    {PORT, "port", "N", nullptr, "its data port (2025); 0 for the server: a free one"},
    {CTRL_PORT, "ctrl-port", "N", nullptr, "its control port (5001); 0 likewise"},
    {MEMORY, "memory", "KIND", "nvidia amd mlu ascend moore sim cpu",
     "the device: nvidia, amd, mlu, ascend, moore or sim (the first that works, else sim)"},
    {DEVICE, "device", "N", nullptr, "its number (0)"},
    {TYPE, "type", "TYPE", "auto rdma ucx tcp shm", "auto, rdma, ucx, tcp or shm (rdma where it works, else auto)"},
    {BUFFER, "buffer", "SIZE", nullptr, "server: the largest size that it takes (64M)"},
    {SIZES, "sizes", "LIST", nullptr, "client: sizes such as 64K,1M or 64K..16M (64K,1M,4M,16M)"},
    {CHUNK, "chunk", "SIZE", nullptr, "client: the chunk of serial (1M)"},
    {ROUNDS, "rounds", "N", nullptr, "client: transfers of each size (about 256 MiB in all)"},
    {0, nullptr, nullptr, nullptr, nullptr},
};

const char *const synopses[] = {"[OPTION]...", nullptr};

const char description[] =
    "\nMoves buffers between the memories of two programs and prints how fast: start uhm_server, then uhm_client, with "
    "the "
    "same mode.\n\n"
    "Mode uhm goes from device to device, staged and overlapped by the library; ucx does the same by UCX. rdma_cpu "
    "goes "
    "from host to host, by RDMA or by what --type says. g2h2g copies the whole buffer from the device to the host, "
    "from "
    "host to host and from the host to the device; serial does so with one chunk after the other.";

const char *const examples[] = {"uhm_server --mode g2h2g & uhm_client --mode g2h2g",
                                "HMC_SIM_BANDWIDTH=10G uhm_client --type tcp      the server likewise", nullptr};

const char notes[] = "Exit status: 0 all bytes were right, 1 something failed, 2 the command line is wrong, 3 what was "
                     "asked for does not exist here.";

tool_usage_t usage_of(const char *program) {
  tool_usage_t usage = {};
  usage.program = program;
  usage.purpose = "move buffers between the memories of two programs, by the C++ classes, and print how fast";
  usage.synopses = synopses;
  usage.description = description;
  usage.options = table;
  usage.examples = examples;
  usage.notes = notes;
  return usage;
}

uint64_t count_of(const char *option, const char *text, uint64_t most) {
  uint64_t value = 0;
  if (!tool_parse_count(text, 0, most, &value))
    std::exit(tool_usage_error("--%s '%s': a number from 0 to %llu is expected", option, text,
                               static_cast<unsigned long long>(most)));
  return value;
}

size_t size_of(const char *option, const char *text) {
  uint64_t value = 0;
  if (!tool_parse_size(text, &value) || !value)
    std::exit(tool_usage_error("--%s '%s': a size above 0 is expected: 64K, 1M or 2G", option, text));
  return static_cast<size_t>(value);
}

std::vector<size_t> sizes_of(const char *text) {
  uint64_t sizes[64];
  size_t count = 0;
  if (!tool_parse_sizes(text, sizes, sizeof sizes / sizeof *sizes, &count))
    std::exit(tool_usage_error("--sizes '%s': sizes above 0 are expected: 64K or 64K,1M or 64K..16M", text));
  return std::vector<size_t>(sizes, sizes + count);
}

const tool_mode_t *mode_of(const char *text) {
  const tool_mode_t *mode = tool_mode_find(text);
  if (!mode) std::exit(tool_usage_error("--mode '%s': %s is expected", text, tool_mode_names()));
  return mode;
}

hmc_connection_type_t type_of(const char *text) {
  hmc_connection_type_t type;
  if (hmc_connection_type_parse(text, &type) != HMC_SUCCESS)
    std::exit(tool_usage_error("--type '%s': auto, rdma, ucx, tcp or shm is expected", text));
  return type;
}

hmc::MemoryType memory_of(const char *text) {
  hmc_memory_kind_t kind;
  if (hmc_memory_kind_parse(text, &kind) != HMC_SUCCESS)
    std::exit(tool_usage_error("--memory '%s': nvidia, amd, mlu, ascend, moore, sim or cpu is expected", text));
  return static_cast<hmc::MemoryType>(kind);
}

void read_option(int option, const char *value, Options &options) {
  switch (option) {
  case MODE: options.mode = mode_of(value); break;
  case IP: options.ip = value; break;
  case PORT: options.port = static_cast<uint16_t>(count_of("port", value, 65535)); break;
  case CTRL_PORT: options.control_port = static_cast<uint16_t>(count_of("ctrl-port", value, 65535)); break;
  case MEMORY: options.memory = memory_of(value); break;
  case DEVICE: options.device = static_cast<int>(count_of("device", value, 1000)); break;
  case TYPE:
    options.type = type_of(value);
    options.is_type_given = true;
    break;
  case BUFFER: options.buffer = size_of("buffer", value); break;
  case SIZES: options.sizes = sizes_of(value); break;
  case CHUNK: options.chunk = size_of("chunk", value); break;
  default: options.rounds = static_cast<size_t>(count_of("rounds", value, 1000000000));
  }
}

void settle(Options &options) {
  if (options.memory == hmc::MemoryType::DEFAULT && hmc::memory_supported() == hmc::MemoryType::CPU)
    options.memory = hmc::MemoryType::SIM;
  if (options.mode->type == HMC_CONNECTION_UCX) {
    if (options.is_type_given && options.type != HMC_CONNECTION_UCX)
      std::exit(tool_usage_error("--mode ucx goes by ucx: leave --type out"));
    options.type = HMC_CONNECTION_UCX;
  } else if (options.mode->type == HMC_CONNECTION_RDMA && !options.is_type_given) {
    /* What it is for is to compare with RDMA: nothing slower takes its place in silence. */
    options.type = HMC_CONNECTION_RDMA;
    options.is_type_given = true;
  } else if (!options.is_type_given && hmc_connection_type_probe(HMC_CONNECTION_RDMA, nullptr, 0) == HMC_SUCCESS) {
    options.type = HMC_CONNECTION_RDMA;
  }
}

} // namespace

Options read_options(int argc, char **argv, const char *program) {
  Options options;
  tool_begin(program);
  const tool_usage_t usage = usage_of(program);
  for (int option; (option = tool_options_next(&usage, argc, argv)) != TOOL_OPTIONS_END;) {
    if (option == TOOL_OPTIONS_WRONG) std::exit(TOOL_USAGE);
    if (option == TOOL_OPTIONS_DONE) std::exit(tool_finish_output());
    read_option(option, optarg, options);
  }
  if (optind < argc) std::exit(tool_usage_error("options only: what is '%s'?", argv[optind]));
  settle(options);
  if (!std::getenv("HMC_LOG")) hmc_log_set_level(HMC_LOG_ERROR); /* the program says by itself what fails */
  return options;
}

hmc::MemoryType transfer_memory(const Options &options) {
  return options.mode->is_host || options.mode->is_staged ? hmc::MemoryType::CPU : options.memory;
}

hmc::ConnType connection_type(hmc_connection_type_t type) {
  switch (type) {
  case HMC_CONNECTION_RDMA: return hmc::ConnType::RDMA;
  case HMC_CONNECTION_UCX: return hmc::ConnType::UCX;
  case HMC_CONNECTION_TCP: return hmc::ConnType::TCP;
  case HMC_CONNECTION_SHM: return hmc::ConnType::SHM;
  default: return hmc::ConnType::AUTO;
  }
}

uint32_t mode_number(const tool_mode_t *mode) {
  size_t count = 0;
  return static_cast<uint32_t>(mode - tool_modes(&count));
}

const char *mode_name(uint32_t number) {
  size_t count = 0;
  const tool_mode_t *modes = tool_modes(&count);
  return number < count ? modes[number].name : "unknown";
}

std::vector<char> pattern(size_t size, uint64_t seed) {
  std::vector<char> bytes(size);
  uint64_t state = seed * 0x9e3779b97f4a7c15u + 1;
  for (char &byte : bytes) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    byte = static_cast<char>(state >> 56);
  }
  return bytes;
}

void require(hmc::status_t status, const char *what, const char *remedy) {
  if (status == hmc::status_t::SUCCESS) return;
  tool_fail("%s: %s: %s%s%s", what, hmc::status_to_string(hmc::last_status()), hmc::last_error(), *remedy ? ": " : "",
            remedy);
  std::exit(hmc::last_status() == hmc::status_t::UNSUPPORT ? EXIT_UNSUPPORTED : EXIT_FAILED);
}

void require_room(const Options &options, size_t size) {
  hmc_memory_t device = {static_cast<hmc_memory_kind_t>(options.memory), options.device};
  uint64_t one = std::min<uint64_t>(size, UINT64_MAX / 2);
  uint64_t wanted = options.mode->is_host || tool_is_host_memory(device) ? one : 0;
  if (!tool_fits_host(options.mode->is_staged ? wanted + one : wanted)) std::exit(EXIT_FAILED);
}
