/* Processors (see processor.h).
 *
 * What the kernel says is kept for LOOK_AGAIN: a program may be moved to other processors at any time, and who polls
 * asks all the time. The quota of a control group is read once, because it comes with the container. */
#include "processor.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_AGAIN UINT64_C(100000000) /* nanoseconds */
#define LOOK_AFTER UINT64_C(8000) /* nanoseconds: what comes from another processor of this host has come by then */

static _Atomic uint64_t next_look;
static _Atomic bool is_single, is_bound;
static bool has_small_quota;
static pthread_once_t quota_once = PTHREAD_ONCE_INIT;

/* "200000 100000": microseconds of processor time in a period; "max 100000": as many as there are. */
static bool allows_less_than_two(const char *path) {
  unsigned long long quota, period;
  FILE *file = fopen(path, "re");
  if (!file) return false;
  bool small = fscanf(file, "%llu %llu", &quota, &period) == 2 && period && quota < 2 * period;
  fclose(file);
  return small;
}

/* The control group of this process and all above it; those of the first version are not looked at. */
static void read_quota(void) {
  char line[512], path[600];
  FILE *file = fopen("/proc/self/cgroup", "re");
  if (!file) return;
  while (fgets(line, sizeof line, file)) {
    if (strncmp(line, "0::/", 4) != 0) continue;
    line[strcspn(line, "\n")] = 0;
    for (char *end = line + strlen(line); end > line + 3; *end = 0) {
      snprintf(path, sizeof path, "/sys/fs/cgroup%s/cpu.max", line + 3);
      if (allows_less_than_two(path)) has_small_quota = true;
      end = strrchr(line, '/');
    }
  }
  fclose(file);
  if (allows_less_than_two("/sys/fs/cgroup/cpu.max")) has_small_quota = true; /* a container sees its own as the root */
}

static void look(void) {
  cpu_set_t processors;
  pthread_once(&quota_once, read_quota);
  bool bound = sched_getaffinity(0, sizeof processors, &processors) == 0 && CPU_COUNT(&processors) == 1;
  atomic_store_explicit(&is_bound, bound, memory_order_relaxed);
  atomic_store_explicit(&is_single, has_small_quota || sysconf(_SC_NPROCESSORS_ONLN) == 1, memory_order_relaxed);
}

static void look_now_and_then(void) {
  uint64_t now = hmci_now();
  if (HMCI_LIKELY(now < atomic_load_explicit(&next_look, memory_order_relaxed))) return;
  atomic_store_explicit(&next_look, now + LOOK_AGAIN, memory_order_relaxed);
  look();
}

bool hmci_processor_is_single(void) {
  look_now_and_then();
  return atomic_load_explicit(&is_single, memory_order_relaxed);
}

uint64_t hmci_processor_look_after(void) {
  look_now_and_then();
  return atomic_load_explicit(&is_bound, memory_order_relaxed) ? 0 : LOOK_AFTER;
}

/* Within a host the sender's own processor takes a packet to the receiving socket. */
bool hmci_processor_is_shared(int descriptor) {
  int processor = -1;
  socklen_t size = sizeof processor;
  if (getsockopt(descriptor, SOL_SOCKET, SO_INCOMING_CPU, &processor, &size) != 0 || processor < 0) return false;
  return processor == sched_getcpu();
}
