/* The service threads of a context (see core.h): the first one runs the sessions, the handshakes, the timers and what
 * transports share; the streams of peers are dealt to all of them. Contexts that share them have the same threads: each
 * of those is a loop that several contexts have watches and timers in, and knows nothing of contexts. */
#include "core.h"

#include <sched.h>
#include <stdlib.h>

/* Of contexts that share: so that their peers are dealt evenly, though each has few. */
static _Atomic uint32_t next_sharing;

static hmc_status_t open_service(hmc_context_t *context, hmci_host_t *host, uint32_t index) {
  host->scratch = malloc(HMCI_SCRATCH);
  if (!host->scratch) return hmci_fail(HMC_NO_MEMORY, "no memory for a service thread");
  if (context->shares) return hmci_loop_share(context->settings.spin, "hmc-service", index, &host->loop);
  return hmci_loop_create(context->settings.spin, "hmc-service", &host->loop);
}

static void close_service(hmci_host_t *host) {
  hmci_loop_destroy(host->loop);
  free(host->scratch);
}

/* HMC_SERVICE_THREADS; else by the processors that this process may use. */
static uint32_t count_services(const hmc_context_t *context) {
  if (context->settings.service_threads) return (uint32_t)context->settings.service_threads;
  cpu_set_t processors;
  int count = sched_getaffinity(0, sizeof processors, &processors) == 0 ? CPU_COUNT(&processors) : 1;
  return count < 8 ? 1 : count > 32 ? 8 : (uint32_t)count / 4;
}

/* What fails is left for hmci_services_close. */
hmc_status_t hmci_services_open(hmc_context_t *context) {
  uint32_t others = count_services(context) - 1;
  hmc_status_t status = open_service(context, &context->host, 0);
  if (status != HMC_SUCCESS) return status;
  context->loop = context->host.loop;
  if (context->shares) atomic_init(&context->next_service, atomic_fetch_add(&next_sharing, 1));
  if (!others) return HMC_SUCCESS;
  context->services = calloc(others, sizeof *context->services);
  if (!context->services) return hmci_fail(HMC_NO_MEMORY, "no memory for %u service threads", others);
  for (; context->service_count < others; context->service_count++) {
    hmci_host_t *host = &context->services[context->service_count];
    *host = context->host;
    host->loop = NULL;
    host->scratch = NULL;
    status = open_service(context, host, context->service_count + 1);
    if (status != HMC_SUCCESS) {
      close_service(host);
      return status;
    }
  }
  return HMC_SUCCESS;
}

/* The thread may outlive the context. */
static void clear_timers(hmc_context_t *context) {
  hmci_timer_t *timers[] = {&context->request_timer,  &context->lease.timer, &context->callback.timer,
                            &context->checksum.timer, &context->delay.timer, &context->accept.timer,
                            &context->accept.stop};
  for (size_t i = 0; i < sizeof timers / sizeof *timers; i++) hmci_loop_clear_timer(context->loop, timers[i]);
}

void hmci_services_close(hmc_context_t *context) {
  if (context->loop) clear_timers(context);
  for (uint32_t i = 0; i < context->service_count; i++) close_service(&context->services[i]);
  free(context->services);
  close_service(&context->host);
}
