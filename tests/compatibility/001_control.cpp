#include <hmc.h>
using namespace hmc;

CtrlSocketManager& ctrl = CtrlSocketManager::instance();

// Start server
ctrl.startServer("0.0.0.0", 5555);

// Client side
int sock_fd = ctrl.getCtrlSockFd("192.168.2.100", 5555);
ctrl.sendCtrlInt("192.168.2.100", 42);

// Receive control integer
int value;
ctrl.recvCtrlInt("192.168.2.100", value);
printf("Received control value: %d\n", value);

// Clean up
ctrl.closeConnection("192.168.2.100");
