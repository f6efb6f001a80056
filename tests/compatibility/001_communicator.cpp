#include <hmc.h>
using namespace hmc;

// Shared RDMA buffer
auto buffer = std::make_shared<ConnBuffer>(0, 64 * 1024 * 1024);
Communicator comm(buffer);

std::string server_ip = "192.168.2.100";

// Client
comm.connectTo(server_ip, 2025, ConnType::RDMA);
comm.writeTo(server_ip, 0, 4096);
comm.disConnect(server_ip, ConnType::RDMA);

// Server
comm.initServer(server_ip, 2025, ConnType::RDMA);
comm.closeServer();
