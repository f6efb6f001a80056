/* The copy engines of the software accelerators: one timeline each, on which copies queue.
 *
 * Threads: any, at once. */
#ifndef HMCI_SIM_ENGINE_H
#define HMCI_SIM_ENGINE_H

#include "../../base/base.h"

#define HMCI_SIM_ENGINES 8

/* Sets the bandwidth (bytes per second, 0: without limit) and latency (ns) of all engines and empties their timelines.
 */
void hmci_sim_engine_configure(uint64_t bandwidth, uint64_t latency);

/* Books engine `device` (below HMCI_SIM_ENGINES) for latency + size / bandwidth, from now or from when it is free.
 * Returns when the copy is over on the clock of hmci_now(); 0 where nothing throttles. */
uint64_t hmci_sim_engine_book(int device, size_t size);

/* How many bytes of what was booked with `size`, and is over at `due`, have had their time at `now`. */
uint64_t hmci_sim_engine_moved(uint64_t due, uint64_t size, uint64_t now);

/* Returns when `due` has passed: sleeps, and spins for the short rest. */
void hmci_sim_engine_wait(uint64_t due);

#endif
