#include <hmc.h>
#include <memory>
#include <vector>
#include <string>
using namespace hmc;
int main() {
auto buf = std::make_shared<ConnBuffer>(0, 128ull * 1024 * 1024, MemoryType::CPU);
Communicator comm(buf);
std::string server_ip = "192.168.2.244";
uint16_t data_port = 2025;
uint16_t ctrl_tcp_port = 5001;
Communicator::CtrlLink link;
link.transport = Communicator::CtrlTransport::TCP;
link.ip = server_ip;
link.port = ctrl_tcp_port;
comm.connectTo(/*peer_id=*/0, /*self_id=*/1, server_ip, data_port, link, ConnType::UCX);
std::vector<char> payload(1024, 'A');
buf->writeFromCpu(payload.data(), payload.size(), 0);
comm.put(server_ip, data_port, /*local_off=*/0, /*remote_off=*/0, payload.size(), ConnType::UCX);
return 0;
}
