/* What uhm_server and uhm_client share: their command line, the messages between them, and the memory of a mode. */
#ifndef UHM_APP_OPTIONS_HPP
#define UHM_APP_OPTIONS_HPP

#include <hmc.h>

#include "mode.h"
#include "tool.h"

/* How the programs end. */
enum { EXIT_DONE = TOOL_DONE, EXIT_FAILED = TOOL_FAILED, EXIT_USAGE = TOOL_USAGE, EXIT_UNSUPPORTED = 3 };

struct Options {
  const tool_mode_t *mode = tool_mode_find("uhm");
  std::string ip = "127.0.0.1";
  uint16_t port = 2025, control_port = 5001;
  hmc::MemoryType memory = hmc::MemoryType::DEFAULT; /* of the device */
  int device = 0;
  hmc_connection_type_t type = HMC_CONNECTION_AUTO;
  bool is_type_given = false;
  std::vector<size_t> sizes = {64u << 10, 1u << 20, 4u << 20, 16u << 20}; /* client */
  size_t buffer = 64u << 20;                                              /* server: the largest size it takes */
  size_t chunk = 1u << 20;                                                /* client, serial */
  size_t rounds = 0;                                                      /* client; 0: as the size suggests */
};

/* Reads the command line; on a fault or --help, says so and ends the program. */
Options read_options(int argc, char **argv, const char *program);

/* The kind of memory that peers move bytes between in a mode. */
hmc::MemoryType transfer_memory(const Options &options);

/* The type as the classes name it. */
hmc::ConnType connection_type(hmc_connection_type_t type);

/* A mode as it travels, and the name of one that has. */
uint32_t mode_number(const tool_mode_t *mode);
const char *mode_name(uint32_t number);

/* From the client to the server, which answers each but END with a Reply. */
struct Command {
  enum Kind : uint32_t { BEGIN, COPY, VERIFY, END } kind;
  uint32_t mode;         /* BEGIN */
  uint64_t offset, size; /* COPY: from the host's stage to the device; VERIFY: `size` from 0 */
  uint64_t seed;         /* VERIFY */
};

struct Reply {
  uint32_t is_good; /* BEGIN: the modes agree; VERIFY: the bytes are right */
  uint32_t mode;
  uint64_t room; /* bytes of the server's buffer */
  uint32_t memory;
};

enum : hmc::CtrlSocketManager::CtrlId { SERVER_RANK = 0, CLIENT_RANK = 1 };

/* The bytes that a size is tested with. */
std::vector<char> pattern(size_t size, uint64_t seed);

/* Ends the program when a call has failed, with what the library says and, where there is one, a remedy. */
void require(hmc::status_t status, const char *what, const char *remedy = "");

/* Ends the program when the host has not the memory for buffers of `size` bytes in this mode. */
void require_room(const Options &options, size_t size);

#endif
