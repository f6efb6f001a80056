/* The C++ classes of HMC: Memory, ConnBuffer, Communicator and CtrlSocketManager, header-only over the C API, C++14.
 *
 * Programs include <hmc.h>. No call throws anything but std::bad_alloc, and none ends the program: failures come back
 * as status_t, with a text for people in hmc::last_error(). */
#ifndef HMC_HMC_HPP
#define HMC_HMC_HPP

#include <hmc/cpp/buffer.hpp>
#include <hmc/cpp/communicator.hpp>
#include <hmc/cpp/control.hpp>
#include <hmc/cpp/memory.hpp>
#include <hmc/cpp/status.hpp>

/* Programs written for HMC have always had these from <hmc.h>. */
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#endif
