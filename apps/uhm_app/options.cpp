/* The command line of uhm_server and uhm_client, and the bytes that they move. */
#include "options.hpp"

#include <algorithm>
#include <cctype>
#include <cerrno>

static const struct {
  const char *name;
  Mode mode;
} modes[] = {{"uhm", Mode::UHM},
             {"rdma_cpu", Mode::RDMA_CPU},
             {"g2h2g", Mode::G2H2G},
             {"serial", Mode::SERIAL},
             {"ucx", Mode::UCX}};

static const struct {
  const char *name;
  hmc::ConnType type;
} types[] = {{"auto", hmc::ConnType::AUTO},
             {"rdma", hmc::ConnType::RDMA},
             {"ucx", hmc::ConnType::UCX},
             {"tcp", hmc::ConnType::TCP},
             {"shm", hmc::ConnType::SHM}};

static const char *const usage =
    "Moves buffers between the memories of two programs and prints how fast: start uhm_server, then uhm_client, with "
    "the\n"
    "same mode.\n"
    "\n"
    "  --mode MODE     uhm       device to device, staged and overlapped by the library (default)\n"
    "                  rdma_cpu  host to host\n"
    "                  g2h2g     device to host, host to host, host to device, each for the whole buffer\n"
    "                  serial    the same for one chunk after the other\n"
    "                  ucx       as uhm, by UCX\n"
    "  --ip IP         the server's address (default 127.0.0.1)\n"
    "  --port N        its data port (default 2025; 0 for the server: a free one)\n"
    "  --ctrl-port N   its control port (default 5001; 0 likewise)\n"
    "  --memory KIND   the device: nvidia, amd, mlu, ascend, moore, sim (default: the first that works here, else "
    "sim)\n"
    "  --device N      its number (default 0)\n"
    "  --type TYPE     auto, rdma, ucx, tcp or shm (default: rdma where it works, else auto)\n"
    "  --buffer SIZE   server: the largest size it takes (default 64M)\n"
    "  --sizes LIST    client: sizes such as 64K,1M (default 64K,1M,4M,16M)\n"
    "  --chunk SIZE    client: of serial (default 1M)\n"
    "  --rounds N      client: transfers of each size (default: about 256 MiB in all)\n";

[[noreturn]] static void refuse(const char *program, const std::string &what) {
  std::fprintf(stderr, "%s: %s (see --help)\n", program, what.c_str());
  std::exit(EXIT_USAGE);
}

static uint64_t number(const char *program, const std::string &option, const std::string &text, uint64_t most,
                       bool has_unit = false) {
  char *end = nullptr;
  errno = 0;
  uint64_t value = std::strtoull(text.c_str(), &end, 10);
  unsigned shift = 0;
  if (has_unit && *end) {
    int unit = std::toupper(static_cast<unsigned char>(*end));
    shift = unit == 'K' ? 10 : unit == 'M' ? 20 : unit == 'G' ? 30 : 0;
    end += shift ? 1 : 0;
  }
  if (!std::isdigit(static_cast<unsigned char>(text[0])) || *end || errno || value > most >> shift)
    refuse(program, option + " " + text + ": not a number from 0 to " + std::to_string(most));
  return value << shift;
}

static size_t size_of(const char *program, const std::string &option, const std::string &text) {
  uint64_t size = number(program, option, text, uint64_t{1} << 40, true);
  if (!size)
    refuse(program, option + ": a size of 0");
  return static_cast<size_t>(size);
}

static std::vector<size_t> sizes_of(const char *program, const std::string &option, const std::string &text) {
  std::vector<size_t> sizes;
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = std::min(text.find(',', begin), text.size());
    sizes.push_back(size_of(program, option, text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return sizes;
}

template <typename Table> static size_t find(const Table &table, const std::string &name) {
  size_t i = 0;
  for (const auto &row : table) {
    if (name == row.name)
      break;
    i++;
  }
  return i;
}

Options read_options(int argc, char **argv, const char *program) {
  Options options;
  for (int i = 1; i < argc; i++) {
    std::string option = argv[i];
    if (option == "--help") {
      std::printf("Usage: %s [OPTION]...\n\n%s", program, usage);
      std::exit(EXIT_DONE);
    }
    if (i + 1 == argc)
      refuse(program, option + ": unknown, or its value is missing");
    std::string value = argv[++i];
    if (option == "--mode") {
      size_t at = find(modes, value);
      if (at == sizeof modes / sizeof *modes)
        refuse(program, "--mode " + value + ": there are uhm, rdma_cpu, g2h2g, serial and ucx");
      options.mode = modes[at].mode;
    } else if (option == "--type") {
      size_t at = find(types, value);
      if (at == sizeof types / sizeof *types)
        refuse(program, "--type " + value + ": there are auto, rdma, ucx, tcp and shm");
      options.type = types[at].type;
      options.is_type_given = true;
    } else if (option == "--memory") {
      hmc_memory_kind_t kind;
      if (hmc_memory_kind_parse(value.c_str(), &kind) != HMC_SUCCESS)
        refuse(program, "--memory " + value + ": " + hmc_last_error());
      options.memory = static_cast<hmc::MemoryType>(kind);
    } else if (option == "--ip") {
      options.ip = value;
    } else if (option == "--port") {
      options.port = static_cast<uint16_t>(number(program, option, value, 65535));
    } else if (option == "--ctrl-port") {
      options.control_port = static_cast<uint16_t>(number(program, option, value, 65535));
    } else if (option == "--device") {
      options.device = static_cast<int>(number(program, option, value, 1000));
    } else if (option == "--buffer") {
      options.buffer = size_of(program, option, value);
    } else if (option == "--chunk") {
      options.chunk = size_of(program, option, value);
    } else if (option == "--sizes") {
      options.sizes = sizes_of(program, option, value);
    } else if (option == "--rounds") {
      options.rounds = static_cast<size_t>(number(program, option, value, 1000000000));
    } else {
      refuse(program, option + ": unknown");
    }
  }
  if (options.memory == hmc::MemoryType::DEFAULT && hmc::memory_supported() == hmc::MemoryType::CPU)
    options.memory = hmc::MemoryType::SIM;
  if (options.mode == Mode::UCX)
    options.type = hmc::ConnType::UCX;
  else if (!options.is_type_given && hmc_connection_type_probe(HMC_CONNECTION_RDMA, nullptr, 0) == HMC_SUCCESS)
    options.type = hmc::ConnType::RDMA;
  return options;
}

const char *mode_name(Mode mode) {
  for (const auto &row : modes)
    if (row.mode == mode)
      return row.name;
  return "unknown";
}

hmc::MemoryType transfer_memory(const Options &options) {
  return options.mode == Mode::UHM || options.mode == Mode::UCX ? options.memory : hmc::MemoryType::CPU;
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

void require(hmc::status_t status, const char *what) {
  if (status == hmc::status_t::SUCCESS)
    return;
  std::fprintf(stderr, "%s: %s: %s\n", what, hmc::status_to_string(status), hmc::last_error());
  std::exit(status == hmc::status_t::UNSUPPORT ? EXIT_UNSUPPORTED : EXIT_FAILED);
}
