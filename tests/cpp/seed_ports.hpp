/* The ports that stand in for those written in the samples: the test that runs a sample names them. */
#ifndef HMC_TEST_SEED_PORTS_HPP
#define HMC_TEST_SEED_PORTS_HPP

#include <stdint.h>
#include <stdlib.h>

static inline uint16_t seed_port(const char *name) {
  const char *text = getenv(name);
  return text ? static_cast<uint16_t>(atoi(text)) : uint16_t(1);
}

#define SEED_DATA_PORT seed_port("SEED_DATA_PORT")
#define SEED_CTRL_PORT seed_port("SEED_CTRL_PORT")

#endif
