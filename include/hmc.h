/* HMC: moves bytes between any two memories.
 *
 * The whole C API; under a C++ compiler also `namespace hmc` with the classes Memory, ConnBuffer, Communicator and
 * CtrlSocketManager. */
#ifndef HMC_H
#define HMC_H

#include <hmc/batch.h>
#include <hmc/context.h>
#include <hmc/control.h>
#include <hmc/export.h>
#include <hmc/lease.h>
#include <hmc/log.h>
#include <hmc/mapping.h>
#include <hmc/memory.h>
#include <hmc/operation.h>
#include <hmc/poll.h>
#include <hmc/queue.h>
#include <hmc/recorder.h>
#include <hmc/region.h>
#include <hmc/request.h>
#include <hmc/settings.h>
#include <hmc/signal.h>
#include <hmc/stats.h>
#include <hmc/status.h>
#include <hmc/store.h>
#include <hmc/version.h>

#ifdef __cplusplus
#include <hmc/hmc.hpp>
#endif

#endif
