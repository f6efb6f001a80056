#include "sim_test.h"

enum { SIZE = 5000 };

static void test_a_batch_is_one_submission(void **state) {
  (void)state;
  configure("2", "0", "5ms");
  char *from = allocate(0, SIZE), *to = allocate(1, SIZE);
  fill(0, from, 7, SIZE);
  hmci_copy_piece_t pieces[50];
  for (int i = 0; i < 50; i++) pieces[i] = (hmci_copy_piece_t){to + i * 100, from + i * 100, 100};
  hmci_copy_t copy;
  uint64_t start = hmci_now();
  assert_int_equal(sim->copy_batch_start(0, pieces, 50, HMCI_COPY_WITHIN, &copy), HMC_SUCCESS);
  assert_int_equal(sim->copy_done(&copy), HMC_IN_PROGRESS);
  assert_int_equal(finish(&copy), HMC_SUCCESS);
  assert_true(hmci_now() - start >= 5 * NS_PER_MS);
  assert_int_equal(sim->copy_done(&copy), HMC_INVALID_CONFIG);
  configure("2", "0", "0");
  assert_filled(1, to, 7, SIZE);
  release(0, from);
  release(1, to);
}

static void test_a_batch_fails_as_a_whole(void **state) {
  (void)state;
  char *device = allocate(0, SIZE), host[64];
  fill(0, device, 1, SIZE);
  memset(host, 2, sizeof host);
  hmci_copy_piece_t pieces[] = {{device, host, 64}, {device + SIZE - 63, host, 64}};
  hmci_copy_t copy;
  assert_int_equal(sim->copy_batch_start(0, pieces, 2, HMCI_COPY_FROM_HOST, &copy), HMC_OUT_OF_RANGE);
  assert_filled(0, device, 1, SIZE);
  assert_int_equal(sim->copy_batch_start(0, pieces, 1, HMCI_COPY_TO_HOST, &copy), HMC_INVALID_CONFIG);
  release(0, device);
}

static void test_a_stream_keeps_order(void **state) {
  (void)state;
  char *device = allocate(0, SIZE), first[SIZE], second[SIZE], back[SIZE] = {0};
  void *stream;
  memset(first, 1, SIZE);
  memset(second, 2, SIZE);
  assert_int_equal(sim->stream_create(0, &stream), HMC_SUCCESS);
  assert_int_equal(sim->copy_on_stream(0, device, first, SIZE, stream), HMC_SUCCESS);
  assert_int_equal(sim->copy_on_stream(0, back, device, SIZE, stream), HMC_SUCCESS);
  hmci_event_t event;
  assert_int_equal(sim->event_record(0, stream, &event), HMC_SUCCESS);
  assert_int_equal(sim->copy_on_stream(0, device, second, SIZE, stream), HMC_SUCCESS);
  assert_int_equal(back[0], 0); /* nobody asked yet */
  hmc_status_t status;
  while ((status = sim->event_done(&event)) == HMC_IN_PROGRESS) hmci_pause();
  assert_int_equal(status, HMC_SUCCESS);
  assert_int_equal(back[SIZE - 1], 1);
  assert_filled(0, device, 1, SIZE); /* what came behind the event has not begun */
  assert_int_equal(sim->stream_wait(0, stream), HMC_SUCCESS);
  assert_filled(0, device, 2, SIZE);
  assert_int_equal(sim->event_done(&event), HMC_INVALID_CONFIG);
  assert_int_equal(sim->stream_destroy(0, stream), HMC_SUCCESS);
  assert_int_equal(sim->stream_destroy(0, stream), HMC_NOT_FOUND);
  release(0, device);
}

static void test_a_stream_tells_of_a_failure_once(void **state) {
  (void)state;
  char *device = allocate(0, SIZE), host[SIZE] = {0};
  void *stream;
  assert_int_equal(sim->stream_create(1, &stream), HMC_SUCCESS);
  assert_int_equal(sim->copy_on_stream(0, device, host, SIZE, stream), HMC_NOT_FOUND); /* another device's */
  assert_int_equal(sim->copy_on_stream(0, device, host, SIZE, NULL), HMC_SUCCESS);
  release(0, device); /* under the copy */
  assert_int_equal(sim->stream_wait(0, NULL), HMC_OUT_OF_RANGE);
  assert_int_equal(sim->stream_wait(0, NULL), HMC_SUCCESS);
  assert_int_equal(sim->stream_destroy(0, NULL), HMC_INVALID_CONFIG);
  assert_int_equal(sim->stream_destroy(1, stream), HMC_SUCCESS);
}

static void test_public_copies_on_streams(void **state) {
  (void)state;
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, device = {HMC_MEMORY_SIM, 1};
  char *there = allocate(1, SIZE), here[SIZE], back[SIZE] = {0};
  hmc_memory_stream_t stream;
  memset(here, 3, SIZE);
  assert_int_equal(hmc_memory_stream_create(device, &stream), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy_async(there, device, here, cpu, SIZE, stream), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy_async(back, cpu, there, device, SIZE, stream), HMC_SUCCESS);
  assert_int_equal(hmc_memory_copy_async(back, cpu, here, cpu, SIZE, stream), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_copy_async(NULL, device, here, cpu, 1, stream), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_stream_wait(device, stream), HMC_SUCCESS);
  assert_memory_equal(here, back, SIZE);
  assert_int_equal(hmc_memory_stream_destroy(device, stream), HMC_SUCCESS);
  assert_int_equal(hmc_memory_stream_create(cpu, &stream), HMC_UNSUPPORT);
  release(1, there);
}

static void test_pinning(void **state) {
  (void)state;
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, device = {HMC_MEMORY_SIM, 0};
  static char bytes[3 * 4096];
  void *pinned;
  assert_int_equal(hmc_memory_pin(device, bytes, 8192), HMC_SUCCESS);
  assert_int_equal(hmc_memory_pin(device, bytes + 4096, 8192), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_unpin(device, bytes + 1), HMC_NOT_FOUND);
  assert_int_equal(hmc_memory_unpin(device, bytes), HMC_SUCCESS);
  assert_int_equal(hmc_memory_unpin(device, bytes), HMC_NOT_FOUND);
  assert_int_equal(hmc_memory_pin(cpu, bytes, 1), HMC_UNSUPPORT);
  assert_int_equal(hmc_memory_host_allocate(device, SIZE, &pinned), HMC_SUCCESS);
  memset(pinned, 1, SIZE);
  assert_int_equal(hmc_memory_pin(device, pinned, SIZE), HMC_INVALID_CONFIG);
  assert_int_equal(hmc_memory_host_free(device, (char *)pinned + 1), HMC_NOT_FOUND);
  assert_int_equal(hmc_memory_host_free(device, pinned), HMC_SUCCESS);
  assert_int_equal(hmc_memory_host_allocate(cpu, SIZE, &pinned), HMC_SUCCESS);
  assert_int_equal(hmc_memory_host_free(cpu, pinned), HMC_SUCCESS);
  assert_int_equal(hmc_memory_host_allocate(device, 0, &pinned), HMC_INVALID_CONFIG);
}

static void test_properties_and_links(void **state) {
  (void)state;
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, first = {HMC_MEMORY_SIM, 0}, second = {HMC_MEMORY_SIM, 1};
  hmc_memory_properties_t properties = HMC_MEMORY_PROPERTIES_INIT;
  assert_int_equal(hmc_memory_get_properties(second, &properties), HMC_SUCCESS);
  assert_int_equal(properties.memory.device, 1);
  assert_string_equal(properties.name, "software accelerator");
  assert_true(properties.features & HMC_MEMORY_STREAMS);
  assert_int_equal(hmc_memory_get_properties(cpu, &properties), HMC_SUCCESS);
  assert_int_equal(properties.features, 0);
  /* a caller that knows less of the struct gets what it knows */
  hmc_memory_properties_t old;
  memset(&old, 0x55, sizeof old);
  old.size = offsetof(hmc_memory_properties_t, driver);
  assert_int_equal(hmc_memory_get_properties(first, &old), HMC_SUCCESS);
  assert_string_equal(old.name, "software accelerator");
  assert_int_equal(old.driver[0], 0x55);
  assert_int_equal(old.size, offsetof(hmc_memory_properties_t, driver));
  old.size = 0;
  assert_int_equal(hmc_memory_get_properties(first, &old), HMC_INVALID_CONFIG);

  hmc_memory_link_t link;
  assert_int_equal(hmc_memory_get_link(first, first, &link), HMC_SUCCESS);
  assert_int_equal(link, HMC_MEMORY_LINK_SELF);
  assert_int_equal(hmc_memory_get_link(first, second, &link), HMC_SUCCESS);
  assert_int_equal(link, HMC_MEMORY_LINK_DIRECT);
  assert_int_equal(hmc_memory_get_link(first, cpu, &link), HMC_SUCCESS);
  assert_int_equal(link, HMC_MEMORY_LINK_SYSTEM);
  assert_string_equal(hmc_memory_link_name(link), "system");
  assert_string_equal(hmc_memory_link_name((hmc_memory_link_t)9), "unknown");
}

static void test_peerable_memory(void **state) {
  (void)state;
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0}, device = {HMC_MEMORY_SIM, 0};
  void *pointer;
  assert_int_equal(hmc_memory_allocate_peerable(device, SIZE, &pointer), HMC_SUCCESS);
  hmci_memory_export_t exported;
  assert_int_equal(sim->export_range(0, pointer, SIZE, &exported), HMC_SUCCESS);
  close(exported.descriptor);
  assert_int_equal(hmc_memory_free(device, pointer), HMC_SUCCESS);
  assert_int_equal(hmc_memory_allocate_peerable(cpu, SIZE, &pointer), HMC_SUCCESS);
  assert_int_equal(hmc_memory_free(cpu, pointer), HMC_SUCCESS);
  assert_int_equal(hmc_memory_allocate_peerable(device, 0, &pointer), HMC_INVALID_CONFIG);
}

int main(void) {
#define WITH_TWO_DEVICES(test) cmocka_unit_test_setup(test, two_fast_devices)
  const struct CMUnitTest tests[] = {
      WITH_TWO_DEVICES(test_a_batch_is_one_submission), WITH_TWO_DEVICES(test_a_batch_fails_as_a_whole),
      WITH_TWO_DEVICES(test_a_stream_keeps_order),      WITH_TWO_DEVICES(test_a_stream_tells_of_a_failure_once),
      WITH_TWO_DEVICES(test_public_copies_on_streams),  WITH_TWO_DEVICES(test_pinning),
      WITH_TWO_DEVICES(test_properties_and_links),      WITH_TWO_DEVICES(test_peerable_memory),
  };
  return cmocka_run_group_tests_name("sim.stream", tests, clear_environment, NULL) ? 1 : 0;
}
