/* From device to device: the calls are those for host memory. Where no direct way exists the bytes pass through a few
 * staging buffers at both ends, copies and transfer overlapped, and hmc_peer_explain says so.
 *
 * The device here is the software accelerator, so that this runs anywhere; for a GPU say HMC_MEMORY_NVIDIA_GPU, or
 * HMC_MEMORY_DEFAULT for the first accelerator there is. */
#include "example.h"

#include <string.h>

enum { SIZE = 16 << 20 };

static const hmc_memory_t device = {HMC_MEMORY_SIM, 0};
static unsigned char host[SIZE];

static void own(void) {
  hmc_context_t *context;
  hmc_region_t *region;
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, device, SIZE, "tensor", HMC_REMOTE_WRITE, &region));
  example_await_the_end(example_accept(context));
  /* a device's memory is not read through its pointer, but copied */
  check(hmc_memory_copy(host, (hmc_memory_t){HMC_MEMORY_CPU, 0}, hmc_region_pointer(region), device, SIZE));
  printf("the tensor begins with %d and ends with %d\n", host[0], host[SIZE - 1]);
  hmc_context_destroy(context);
}

static void visit(int argc, char **argv) {
  hmc_context_t *context;
  hmc_region_t *here;
  hmc_remote_t *tensor;
  hmc_request_t *request;
  char text[2048];
  check(hmc_context_create(NULL, &context));
  check(hmc_region_allocate(context, device, SIZE, NULL, 0, &here));
  memset(host, 3, SIZE / 2);
  memset(host + SIZE / 2, 4, SIZE / 2);
  check(hmc_memory_copy(hmc_region_pointer(here), device, host, (hmc_memory_t){HMC_MEMORY_CPU, 0}, SIZE));
  hmc_peer_t *peer = example_connect(context, argc, argv);
  check(hmc_remote_open(peer, "tensor", 0, &tensor));
  check(hmc_put_nb(here, 0, tensor, 0, SIZE, NULL, &request));
  while (hmc_request_test(request) == HMC_IN_PROGRESS) continue; /* or hmc_request_wait, which sleeps */
  check(hmc_request_test(request));
  hmc_request_free(request);
  check(hmc_peer_explain(peer, text, sizeof text, NULL));
  printf("%s", text);
  hmc_context_destroy(context);
}

int main(int argc, char **argv) {
  if (argc > 1)
    visit(argc, argv);
  else
    own();
  return 0;
}
