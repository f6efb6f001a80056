/* The command line of uhm_server and uhm_client, and the bytes that they move. */
#include "options.hpp"

#include <algorithm>

namespace {

const char usage[] =
    "Moves buffers between the memories of two programs and prints how fast: start uhm_server, then uhm_client, with\n"
    "the same mode.\n"
    "\n"
    "  --mode MODE     uhm       device to device, staged and overlapped by the library (default)\n"
    "                  rdma_cpu  host to host, by RDMA (or by what --type says)\n"
    "                  g2h2g     device to host, host to host, host to device, each for the whole buffer\n"
    "                  serial    the same for one chunk after the other\n"
    "                  ucx       as uhm, by UCX\n"
    "  --ip IP         the server's address (default 127.0.0.1)\n"
    "  --port N        its data port (default 2025; 0 for the server: a free one)\n"
    "  --ctrl-port N   its control port (default 5001; 0 likewise)\n"
    "  --memory KIND   the device: nvidia, amd, mlu, ascend, moore, sim (default: the first that works, else sim)\n"
    "  --device N      its number (default 0)\n"
    "  --type TYPE     auto, rdma, ucx, tcp or shm (default: rdma where it works, else auto)\n"
    "  --buffer SIZE   server: the largest size it takes (default 64M)\n"
    "  --sizes LIST    client: sizes such as 64K,1M or 64K..16M (default 64K,1M,4M,16M)\n"
    "  --chunk SIZE    client: of serial (default 1M)\n"
    "  --rounds N      client: transfers of each size (default: about 256 MiB in all)\n"
    "  --help          this text\n"
    "  --version       the version\n"
    "\n"
    "Examples:\n"
    "  uhm_server --mode g2h2g & uhm_client --mode g2h2g\n"
    "  HMC_SIM_BANDWIDTH=10G uhm_client --type tcp      (the server also with HMC_SIM_BANDWIDTH=10G)\n";

enum { MODE = 1, IP, PORT, CTRL_PORT, MEMORY, DEVICE, TYPE, BUFFER, SIZES, CHUNK, ROUNDS, HELP, VERSION };

const struct option table[] = {
    {"mode", required_argument, nullptr, MODE},     {"ip", required_argument, nullptr, IP},
    {"port", required_argument, nullptr, PORT},     {"ctrl-port", required_argument, nullptr, CTRL_PORT},
    {"memory", required_argument, nullptr, MEMORY}, {"device", required_argument, nullptr, DEVICE},
    {"type", required_argument, nullptr, TYPE},     {"buffer", required_argument, nullptr, BUFFER},
    {"sizes", required_argument, nullptr, SIZES},   {"chunk", required_argument, nullptr, CHUNK},
    {"rounds", required_argument, nullptr, ROUNDS}, {"help", no_argument, nullptr, HELP},
    {"version", no_argument, nullptr, VERSION},     {nullptr, 0, nullptr, 0},
};

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
  opterr = 0;
  for (int option; (option = getopt_long(argc, argv, ":", table, nullptr)) != -1;) {
    if (option == '?' || option == ':') std::exit(tool_option_error(option, argv, table));
    if (option == HELP || option == VERSION) {
      if (option == HELP)
        std::printf("Usage: %s [OPTION]...\n\n%s", program, usage);
      else
        std::puts(hmc_version_text());
      std::exit(tool_finish_output());
    }
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
