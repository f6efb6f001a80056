/* What the Cython modules need of C that Cython writes badly: structs of the API with their size filled in, and waits
 * that a signal can end.
 *
 * Nothing here touches Python objects; all of it runs with the GIL released. */
#ifndef HMC_PYTHON_GLUE_H
#define HMC_PYTHON_GLUE_H

#include <errno.h>
#include <hmc/context.h>
#include <hmc/operation.h>
#include <hmc/state.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

/* Structs that grow begin with their size and have a macro for their first value. */
static inline hmc_status_t hmcpy_context_create(const char *name, uint64_t timeout_ms, const char *secret,
                                                hmc_context_t **context) {
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.name = name;
  options.timeout_ms = timeout_ms;
  options.secret = secret;
  return hmc_context_create(&options, context);
}

static inline hmc_status_t hmcpy_peer_info(hmc_peer_t *peer, hmc_peer_info_t *info) {
  hmc_peer_info_t empty = HMC_PEER_INFO_INIT;
  *info = empty;
  return hmc_peer_get_info(peer, info);
}

static inline void hmcpy_operation_options(hmc_operation_options_t *options) {
  hmc_operation_options_t empty = HMC_OPERATION_OPTIONS_INIT;
  *options = empty;
}

static inline uint64_t hmcpy_now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

enum {
  HMCPY_GLANCE_NS = 30000,     /* how long an awaited request is looked at before the loop goes on */
  HMCPY_SPIN_NS = 100000,      /* how long a wait polls before it sleeps */
  HMCPY_NAP_LEAST_NS = 20000,  /* its sleeps grow with what it has waited, */
  HMCPY_NAP_MOST_NS = 2000000, /* up to this */
  HMCPY_ROUND_NS = 20000000,   /* after which Python looks for signals */
};

/* Sleeps a fiftieth of what was waited so far: the end is seen at most 2 % late. False when a signal came. */
static inline int hmcpy_sleep(uint64_t waited_ns) {
  uint64_t nap = waited_ns / 50;
  if (nap < HMCPY_NAP_LEAST_NS) nap = HMCPY_NAP_LEAST_NS;
  if (nap > HMCPY_NAP_MOST_NS) nap = HMCPY_NAP_MOST_NS;
  struct timespec span = {0, (long)nap};
  return clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL) == 0;
}

/* How long one step of a wait may take that ends after `most_ns` (0: never), in milliseconds. */
static inline uint64_t hmcpy_round_ms(uint64_t most_ns, uint64_t waited_ns) {
  uint64_t left = most_ns ? most_ns - waited_ns : HMCPY_ROUND_NS;
  return ((left < HMCPY_ROUND_NS ? left : HMCPY_ROUND_NS) + 999999) / 1000000;
}

/* Waits for a request in the thread that Python delivers signals to, at most `most_ns` (more than `waited_ns`, or 0:
 * without a limit): HMC_IN_PROGRESS when a round is over. `waited_ns` goes from call to call. The wait is the library's
 * own, in which this thread copies and receives. */
static inline hmc_status_t hmcpy_wait_a_while(hmc_request_t *request, uint64_t most_ns, uint64_t *waited_ns) {
  uint64_t begin = hmcpy_now_ns();
  hmc_status_t status = hmc_request_wait_for(request, hmcpy_round_ms(most_ns, *waited_ns));
  *waited_ns += hmcpy_now_ns() - begin;
  return status;
}

/* Likewise for the first of several; `index` gets its place, or `count`. */
static inline void hmcpy_wait_any_a_while(hmc_request_t *const *requests, size_t count, uint64_t most_ns,
                                          uint64_t *waited_ns, size_t *index) {
  uint64_t begin = hmcpy_now_ns();
  *index = count;
  hmc_status_t status = hmc_request_wait_any_for(requests, count, index, hmcpy_round_ms(most_ns, *waited_ns));
  (void)status; /* each request has its own */
  *waited_ns += hmcpy_now_ns() - begin;
}

/* A blocking call in the making. The library asks, while it sleeps, whether it should go on. */
typedef struct hmcpy_call {
  const int *stop;  /* not 0: another thread closes what it uses */
  int (*ask)(void); /* not 0: the handler of a signal has raised something; NULL in threads that handle none */
} hmcpy_call_t;

static __thread const hmcpy_call_t *hmcpy_current;

static inline bool hmcpy_stops(void) {
  const hmcpy_call_t *call = hmcpy_current;
  return __atomic_load_n(call->stop, __ATOMIC_RELAXED) || (call->ask && call->ask());
}

/* A put or get by this thread, without a request; `options` may be NULL. The handler of a signal may make one inside
 * another. */
static inline hmc_status_t hmcpy_transfer(const hmcpy_call_t *call, int is_put, hmc_region_t *local, uint64_t offset,
                                          hmc_remote_t *remote, uint64_t remote_offset, uint64_t length,
                                          const hmc_operation_options_t *options) {
  hmc_state_thread_t *thread = hmc_state_of_thread();
  bool (*former_stop)(void) = thread->stop;
  const hmcpy_call_t *former = hmcpy_current;
  hmcpy_current = call;
  thread->stop = hmcpy_stops;
  hmc_status_t status;
  if (!options) {
    status = is_put ? hmc_put(local, offset, remote, remote_offset, length)
                    : hmc_get(local, offset, remote, remote_offset, length);
  } else {
    status = is_put ? hmc_put_with(local, offset, remote, remote_offset, length, options)
                    : hmc_get_with(local, offset, remote, remote_offset, length, options);
  }
  thread->stop = former_stop;
  hmcpy_current = former;
  return status;
}

/* Looks at a request for a moment: what is about to be complete costs an event loop less so than by a descriptor. */
static inline hmc_status_t hmcpy_glance(hmc_request_t *request) {
  uint64_t end = hmcpy_now_ns() + HMCPY_GLANCE_NS;
  hmc_status_t status = hmc_request_test(request);
  while (status == HMC_IN_PROGRESS && hmcpy_now_ns() < end) status = hmc_request_test(request);
  return status;
}

/* One step of a wait for a word in memory. */
static inline void hmcpy_nap(uint64_t *waited_ns) {
  uint64_t begin = hmcpy_now_ns();
  if (*waited_ns >= HMCPY_SPIN_NS) hmcpy_sleep(*waited_ns);
  *waited_ns += hmcpy_now_ns() - begin + 50;
}

/* The word that peers change by signals and atomics: what they wrote before it is visible after this. */
static inline uint64_t hmcpy_load(const void *word, unsigned width) {
  return width == 4 ? __atomic_load_n((const uint32_t *)word, __ATOMIC_ACQUIRE)
                    : __atomic_load_n((const uint64_t *)word, __ATOMIC_ACQUIRE);
}

#endif
