/* The C++ classes of HMC: Memory, ConnBuffer, Communicator and CtrlSocketManager, header-only over the C API, C++14.
 *
 * Programs include <hmc.h>. None ends the program: failures come back as status_t, one of the six codes that programs
 * know, with the finer code in hmc::last_status() and a text for people in hmc::last_error(). Nothing throws but
 * std::bad_alloc, and std::runtime_error where a constructor is asked for memory of a kind that does not exist here. */
#ifndef HMC_HMC_HPP
#define HMC_HMC_HPP

#include <hmc/cpp/buffer.hpp>
#include <hmc/cpp/communicator.hpp>
#include <hmc/cpp/control.hpp>
#include <hmc/cpp/memory.hpp>
#include <hmc/cpp/status.hpp>

/* Programs written for HMC have always had these from <hmc.h>. */
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <memory>
#include <mutex>
#include <queue>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include <unistd.h>

#endif
