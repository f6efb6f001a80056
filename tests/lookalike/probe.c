/* What one kind of memory can do here, a line each: "<what>: yes[: more]" or "<what>: no: <HMC's text>". missing.py looks
 * at which lines change when the vendor's library lacks a symbol.
 *
 *     lookalike_probe KIND
 *
 * Looks at hidden symbols, so it links the archive. */
#include "../../src/memory/memory.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SIZE = 65536 };

static hmc_memory_kind_t kind;
static const hmci_memory_ops_t *ops;

static void say(const char *what, hmc_status_t status) {
  printf("%s: %s%s\n", what, status == HMC_SUCCESS ? "yes" : "no: ", status == HMC_SUCCESS ? "" : hmc_last_error());
}

static hmc_memory_t on(int device) { return (hmc_memory_t){kind, device}; }

/* There and back; bytes that did not come back the same end the program. */
static hmc_status_t move(int device, void *first, int other, void *second) {
  static char out[SIZE], back[SIZE];
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  for (size_t i = 0; i < SIZE; i++) out[i] = (char)(i * 7 + (size_t)other);
  hmc_status_t status = hmc_memory_copy(first, on(device), out, cpu, SIZE);
  if (status == HMC_SUCCESS) status = hmc_memory_copy(second, on(other), first, on(device), SIZE);
  if (status == HMC_SUCCESS) status = hmc_memory_copy(back, cpu, second, on(other), SIZE);
  if (status == HMC_SUCCESS && memcmp(out, back, SIZE) != 0) exit(3);
  return status;
}

static hmc_status_t batch(char *pointer) {
  static char out[SIZE], back[SIZE];
  hmci_copy_piece_t pieces[100];
  hmci_copy_t copy;
  for (size_t i = 0; i < SIZE; i++) out[i] = (char)(i * 5);
  for (size_t i = 0; i < 100; i++) pieces[i] = (hmci_copy_piece_t){pointer + i * 600, out + i * 600, 500 + i};
  hmc_status_t status = ops->copy_batch_start(0, pieces, 100, HMCI_COPY_FROM_HOST, &copy);
  while (status == HMC_SUCCESS && (status = ops->copy_done(&copy)) == HMC_IN_PROGRESS) {
    status = HMC_SUCCESS;
    sched_yield();
  }
  if (status == HMC_SUCCESS) status = ops->copy_to_host(0, back, pointer, SIZE);
  for (size_t i = 0; status == HMC_SUCCESS && i < 100; i++)
    if (memcmp(out + i * 600, back + i * 600, 500 + i) != 0) exit(3);
  return status;
}

static void look_at_memory(void) {
  void *first = NULL, *second = NULL, *other = NULL;
  hmc_status_t status = hmc_memory_allocate(on(0), SIZE, &first);
  if (status == HMC_SUCCESS) status = hmc_memory_allocate(on(0), SIZE, &second);
  if (status == HMC_SUCCESS) status = hmc_memory_allocate(on(1), SIZE, &other);
  say("allocating", status);
  if (status != HMC_SUCCESS) return;
  say("copying", move(0, first, 0, second));
  say("copying between devices", move(0, first, 1, other));
  say("a batch", batch(first));
  hmci_memory_export_t exported = {.descriptor = -1};
  say("sharing", ops->export_range(0, first, SIZE, &exported));
  if (exported.descriptor >= 0) close(exported.descriptor);
  int descriptor = -1;
  uint64_t offset = 0;
  say("dma-buf", ops->export_dmabuf(0, first, SIZE, &descriptor, &offset));
  if (descriptor >= 0) close(descriptor);
  say("freeing", hmc_memory_free(on(0), first));
  hmc_memory_free(on(0), second);
  hmc_memory_free(on(1), other);
}

static void look_at_host_memory(void) {
  void *host = NULL, *mine = aligned_alloc(4096, SIZE);
  hmc_status_t status = hmc_memory_host_allocate(on(0), SIZE, &host);
  if (status == HMC_SUCCESS) status = hmc_memory_host_free(on(0), host);
  say("host memory", status);
  status = hmc_memory_pin(on(0), mine, SIZE);
  if (status == HMC_SUCCESS) status = hmc_memory_unpin(on(0), mine);
  say("pinning", status);
  free(mine);
}

int main(int argc, char **argv) {
  int devices = 0;
  if (argc != 2 || hmc_memory_kind_parse(argv[1], &kind) != HMC_SUCCESS) return 2;
  hmc_status_t status = hmc_memory_devices(kind, &devices);
  say("devices", status);
  if (status != HMC_SUCCESS) return 0;
  if (hmci_memory_find(on(1), &ops) != HMC_SUCCESS) return 1;
  look_at_memory();
  look_at_host_memory();
  hmc_memory_properties_t properties = HMC_MEMORY_PROPERTIES_INIT;
  say("properties", hmc_memory_get_properties(on(1), &properties));
  printf("features: yes: %x\n", properties.features);
  printf("description: yes: %s %s %d\n", properties.name, properties.pci, properties.total_bytes > 0);
  hmc_memory_link_t link = HMC_MEMORY_LINK_SELF;
  say("link", hmc_memory_get_link(on(0), on(1), &link));
  printf("link is: yes: %s\n", hmc_memory_link_name(link));
  return 0;
}
