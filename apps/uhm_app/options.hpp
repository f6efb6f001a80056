/* What uhm_server and uhm_client share: their command line, the messages between them, and the memory of a mode. */
#ifndef UHM_APP_OPTIONS_HPP
#define UHM_APP_OPTIONS_HPP

#include <hmc.h>

enum class Mode : uint32_t {
  UHM,      /* device to device, by the library */
  RDMA_CPU, /* host to host */
  G2H2G,    /* device to host, host to host, host to device: each for the whole buffer */
  SERIAL,   /* the same for one chunk after the other */
  UCX,      /* as UHM, with UCX required */
};

/* How the programs end. */
enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_UNSUPPORTED = 3 };

struct Options {
  Mode mode = Mode::UHM;
  std::string ip = "127.0.0.1";
  uint16_t port = 2025, control_port = 5001;
  hmc::MemoryType memory = hmc::MemoryType::DEFAULT; /* of the device */
  int device = 0;
  hmc::ConnType type = hmc::ConnType::AUTO;
  bool is_type_given = false;
  std::vector<size_t> sizes = {64u << 10, 1u << 20, 4u << 20, 16u << 20}; /* client */
  size_t buffer = 64u << 20;                                              /* server: the largest size it takes */
  size_t chunk = 1u << 20;                                                /* client, SERIAL */
  size_t rounds = 0;                                                      /* client; 0: as the size suggests */
};

/* Reads the command line; on a fault or --help, says so and ends the program. */
Options read_options(int argc, char **argv, const char *program);

const char *mode_name(Mode mode);

/* True where the transfers are from and to the host's memory, with the device's apart from it. */
inline bool has_host_stage(Mode mode) { return mode == Mode::G2H2G || mode == Mode::SERIAL; }

/* The kind of memory that peers move bytes between in a mode. */
hmc::MemoryType transfer_memory(const Options &options);

/* From the client to the server, which answers each but END with a Reply. */
struct Command {
  enum Kind : uint32_t { BEGIN, COPY, VERIFY, END } kind;
  Mode mode;             /* BEGIN */
  uint64_t offset, size; /* COPY: from the host's stage to the device; VERIFY: `size` from 0 */
  uint64_t seed;         /* VERIFY */
};

struct Reply {
  uint32_t is_good; /* BEGIN: the modes agree; VERIFY: the bytes are right */
  Mode mode;
  uint64_t room; /* bytes of the server's buffer */
  uint32_t memory;
};

enum : hmc::CtrlSocketManager::CtrlId { SERVER_RANK = 0, CLIENT_RANK = 1 };

/* The bytes that a size is tested with. */
std::vector<char> pattern(size_t size, uint64_t seed);

/* Ends the program with what the library says when a call has failed. */
void require(hmc::status_t status, const char *what);

#endif
