/* What the tests of the software accelerator share. Included by them only, after nothing but this. */
#ifndef HMCI_SIM_TEST_H
#define HMCI_SIM_TEST_H

#include "sim.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#define NS_PER_MS UINT64_C(1000000)

static const hmci_memory_ops_t *const sim = &hmci_memory_sim;

static inline void configure(const char *devices, const char *bandwidth, const char *latency) {
  setenv("HMC_SIM_DEVICES", devices, 1);
  setenv("HMC_SIM_BANDWIDTH", bandwidth, 1);
  setenv("HMC_SIM_LATENCY", latency, 1);
  assert_int_equal(hmci_sim_reread(), HMC_SUCCESS);
}

static inline int two_fast_devices(void **state) {
  (void)state;
  configure("2", "0", "0");
  return 0;
}

static inline char *allocate(int device, size_t size) {
  void *pointer = NULL;
  assert_int_equal(sim->allocate(device, size, &pointer), HMC_SUCCESS);
  return pointer;
}

static inline void release(int device, void *pointer) { assert_int_equal(sim->free(device, pointer), HMC_SUCCESS); }

static inline void fill(int device, char *pointer, char value, size_t size) {
  char *bytes = malloc(size);
  assert_non_null(bytes);
  memset(bytes, value, size);
  assert_int_equal(sim->copy_from_host(device, pointer, bytes, size), HMC_SUCCESS);
  free(bytes);
}

static inline void assert_filled(int device, const char *pointer, char value, size_t size) {
  char *bytes = malloc(size);
  assert_non_null(bytes);
  memset(bytes, ~value, size);
  assert_int_equal(sim->copy_to_host(device, bytes, pointer, size), HMC_SUCCESS);
  for (size_t i = 0; i < size; i++) {
    assert_int_equal(bytes[i], value);
  }
  free(bytes);
}

/* Ends one copy; the number of times it was asked does not matter. */
static inline hmc_status_t finish(hmci_copy_t *copy) {
  hmc_status_t status;
  while ((status = sim->copy_done(copy)) == HMC_IN_PROGRESS) {
    struct timespec pause = {.tv_nsec = 200000};
    nanosleep(&pause, NULL);
  }
  return status;
}

static inline int clear_environment(void **state) {
  (void)state;
  for (char **entry = environ; *entry != NULL;) {
    char name[64];
    if (strncmp(*entry, "HMC_", 4) == 0 && sscanf(*entry, "%63[^=]", name) == 1) {
      unsetenv(name);
      entry = environ;
    } else {
      entry++;
    }
  }
  return 0;
}

static inline void assert_host_access_faults(char *pointer) {
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0});
    *(volatile char *)pointer = 1;
    _exit(0);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGSEGV);
}

#endif
