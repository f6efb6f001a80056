/* What the measuring programs share that run by themselves and print one line: `ok ...` or `error <text>`. */
#ifndef HMC_BENCH_ALONE_H
#define HMC_BENCH_ALONE_H

#include <hmc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline uint64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Ends the program with the error where a call failed. */
static inline void must(hmc_status_t status) {
  if (status == HMC_SUCCESS) return;
  printf("error %s\n", hmc_last_error());
  exit(1);
}

#endif
