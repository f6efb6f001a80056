/* Many at once. `crowds TRANSPORT [PATTERN]`. */
#ifndef TESTS_CROWDS_SUITE_H
#define TESTS_CROWDS_SUITE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "harness.h"

extern hmc_connection_type_t crowd_type;

/* As many descriptors as the system lets this process have. */
void descriptors_raise(void);

#define CONNECT_TESTS(X)                                                                                               \
  X(all_connect_at_once)                                                                                               \
  X(all_connect_beside_strangers)                                                                                      \
  X(without_descriptors_accepting_pauses)
#define REGION_TESTS(X)                                                                                                \
  X(a_hundred_thousand_regions)                                                                                        \
  X(closing_under_readers_that_stand_still)
#define CONTEXT_TESTS(X)                                                                                               \
  X(hundreds_of_contexts_share_their_threads)                                                                          \
  X(contexts_that_share_come_and_go)
#define IDLE_TESTS(X) X(idle_peers_are_small)
#define ALL_TESTS(X) CONNECT_TESTS(X) REGION_TESTS(X) CONTEXT_TESTS(X) IDLE_TESTS(X)

#define DECLARE_TEST(name) void name(void **state);
ALL_TESTS(DECLARE_TEST)
#undef DECLARE_TEST

#endif
