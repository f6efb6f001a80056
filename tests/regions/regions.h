/* What the files of the suite of regions share. Tests run on a pair (tests/operations): two contexts of this process;
 * what needs an owner that can be stopped or killed starts one in a process of its own. */
#ifndef TESTS_REGIONS_H
#define TESTS_REGIONS_H

#include "suite.h"

#define PAGE UINT64_C(4096)

/* An owner in another process: it has an allocated region of OWNER_BYTES, "owned", one of its own memory, "registered", and
 * one of device memory, "device": of the stamp's kind, or of the software accelerator where that is host memory. */
#define OWNER_BYTES (4 * MIB)
#define OWNER_DEVICE_BYTES (256 * KIB)
/* What byte i of "device" is. */
static inline uint8_t owner_byte(uint64_t i) { return (uint8_t)(i * 7 + i / 251); }
typedef struct owner {
  pid_t process;
  int pipe; /* to it; it ends when this closes */
  uint16_t port;
  hmc_peer_t *peer;
  uint8_t descriptor[HMC_REGION_DESCRIPTOR_MAX]; /* of its region */
  size_t descriptor_size;
} owner_t;

/* Runs the owner when the program was started as one, and does not return then. Comes first in main(). */
void owner_main(int argc, char **argv);
void owner_start(owner_t *owner, context_pair_t *pair); /* asserts */
void owner_stop(const owner_t *owner);                  /* SIGSTOP, and waits until it stands */
void owner_continue(const owner_t *owner);
void owner_kill(owner_t *owner); /* and reaps; also for one that is dead already */
void owners_end(void);           /* for the teardown of a test that failed */

/* Addresses without memory; given back by munmap. */
uint8_t *reserve(uint64_t length);
/* True where the range is mapped and cannot be touched. */
bool is_reserved(const uint8_t *address);

#define REGION_TESTS(X)                                                                                                \
  X(create_allocates_sparsely)                                                                                         \
  X(create_at_an_address)                                                                                              \
  X(create_of_a_descriptor)                                                                                            \
  X(create_lends_a_pointer)                                                                                            \
  X(create_on_nodes_and_pages)                                                                                         \
  X(create_commits)                                                                                                    \
  X(create_refuses)                                                                                                    \
  X(create_under_a_limit_of_files)                                                                                     \
  X(create_for_older_programs)                                                                                         \
  X(retained_regions_stay)                                                                                             \
  X(descriptor_opens_a_region)                                                                                         \
  X(descriptor_of_many)                                                                                                \
  X(descriptors_at_once)                                                                                               \
  X(descriptors_all_or_none)                                                                                           \
  X(descriptor_needs_no_answer)                                                                                        \
  X(descriptor_goes_stale)                                                                                             \
  X(descriptor_refused)                                                                                                \
  X(descriptor_gives_no_more_rights)                                                                                   \
  X(map_lays_out_peers)                                                                                                \
  X(map_of_a_part)                                                                                                     \
  X(map_refused)                                                                                                       \
  X(map_tells_of_the_end)                                                                                              \
  X(map_of_the_dead)                                                                                                   \
  X(map_of_device_memory)                                                                                              \
  X(closed_peer_stops_at_once)                                                                                         \
  X(registered_puts_of_all_sizes)                                                                                      \
  X(registered_puts_of_many_threads)                                                                                   \
  X(registered_put_comes_after_cancelled_ones)                                                                         \
  X(registered_puts_are_shared_by_copiers)                                                                             \
  X(registered_put_ends_though_the_owner_stands)                                                                       \
  X(registered_puts_leave_room_for_questions)                                                                          \
  X(registered_requests_do_not_wait_for_questions)                                                                     \
  X(registered_put_ends_when_the_owner_dies)                                                                           \
  X(registered_memory_that_is_unmapped)                                                                                \
  X(registered_memory_that_is_protected)                                                                               \
  X(registered_batches_need_no_socket)                                                                                 \
  X(registered_puts_tell_after_the_data)                                                                               \
  X(registered_requests_to_unmapped_memory)                                                                            \
  X(registered_requests_end_though_the_owner_stands)                                                                   \
  X(registered_requests_end_with_their_peer)                                                                           \
  X(registered_queues_need_no_socket)                                                                                  \
  X(registered_queues_end_with_their_peer)                                                                             \
  X(unreadable_memory_here)                                                                                            \
  X(unreadable_memory_there)
#define DECLARE(name) void name(void **state);
REGION_TESTS(DECLARE)
#undef DECLARE

#endif
