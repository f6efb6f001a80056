/* The modes in which a benchmark between two devices can be forced to move its bytes, as hmc-perf, hmc-demo, uhm_server
 * and uhm_client know them. This file says what a mode means; how its steps are done is the program's.
 *
 * A staged mode has host memory at both ends beside the device's, the stage, and takes three steps one after the other:
 * from the device to the stage, from stage to stage, from the stage to the device. Nothing overlaps, which is what the
 * library's own pipeline is compared with. */
#ifndef HMC_TOOL_MODE_H
#define HMC_TOOL_MODE_H

#include <hmc.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tool_mode {
  const char *name;
  const char *summary;
  hmc_connection_type_t type; /* the one that the mode requires; AUTO: any will do */
  bool is_host;               /* between the hosts' memories; else the devices' */
  bool is_staged;
  bool is_chunked; /* staged, one chunk after the other */
} tool_mode_t;

/* All of them, in the order in which to show them. */
const tool_mode_t *tool_modes(size_t *count);

/* The mode of that name, or NULL. */
const tool_mode_t *tool_mode_find(const char *name);

/* "uhm, rdma_cpu, g2h2g, serial or ucx". */
const char *tool_mode_names(void);

/* True where this end has what the mode requires. Else `reason` (at most `size` bytes with the end) says what is
 * missing. */
bool tool_mode_works(const tool_mode_t *mode, char *reason, size_t size);

/* What helps where the connection type does not work; a text that follows on the reason. */
const char *tool_type_remedy(hmc_connection_type_t type);

/* One step for `length` bytes at `offset`, complete when it returns. */
typedef hmc_status_t (*tool_step_t)(void *user, uint64_t offset, uint64_t length);

typedef struct tool_steps {
  void *user;
  tool_step_t load;  /* from the device that has the bytes to its stage */
  tool_step_t carry; /* from stage to stage; where the mode has no stages, from memory to memory */
  tool_step_t store; /* from the stage to the device that shall have the bytes */
} tool_steps_t;

/* Moves `length` bytes, those from 0 on, by the steps of the mode; `chunk` (above 0) is for one that is chunked. Ends
 * with the first step that fails, and its status. */
hmc_status_t tool_mode_move(const tool_mode_t *mode, const tool_steps_t *steps, uint64_t length, uint64_t chunk);

/* The devices at the two ends: of `kind`, or for DEFAULT of the first kind of accelerator that works here, else sim;
 * the second is another where the kind has several. Errors: as of hmc_memory_resolve. */
hmc_status_t tool_choose_devices(hmc_memory_kind_t kind, hmc_memory_t *first, hmc_memory_t *second);

#ifdef __cplusplus
}
#endif
#endif
