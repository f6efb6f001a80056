/* Memory that the kernel does not pin by its address, as a device registers it: an accelerator's, and what a region made
 * of a dma-buf maps. */
#include "memory_test.h"

#include <fcntl.h>
#include <unistd.h>

static uint32_t dmabufs, exports;
static int dmabuf_error; /* 0: they are taken */

static struct ibv_mr *register_dmabuf(struct ibv_pd *domain, uint64_t offset, size_t size, uint64_t address,
                                      int descriptor, int access) {
  assert_true(descriptor >= 0);
  assert_int_equal(offset % 4096, address % 4096);
  dmabufs++;
  if (!dmabuf_error) return ibv_reg_mr_iova(domain, NULL, size, address, access);
  errno = dmabuf_error;
  return NULL;
}

/* An accelerator's memory, which this device knows of as far as the test lets it. */
static hmc_status_t open_devices(int *devices) {
  *devices = 1;
  return HMC_SUCCESS;
}

static hmc_status_t export_dmabuf(int device, void *pointer, size_t size, int *descriptor, uint64_t *offset) {
  (void)device, (void)size;
  exports++;
  *offset = (uint64_t)(uintptr_t)pointer & 4095;
  *descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
  return HMC_SUCCESS;
}

static const hmci_memory_ops_t foreign = {
    .kind = HMC_MEMORY_NVIDIA_GPU, .name = "foreign", .open = open_devices, .export_dmabuf = export_dmabuf};

static hmci_region_view_t foreign_region(uint32_t id, uint32_t rights) {
  hmci_region_view_t region = region_of(id, MIB, rights);
  region.memory = (hmc_memory_t){HMC_MEMORY_NVIDIA_GPU, 0};
  region.ops = &foreign;
  return region;
}

static int open_device_scene(void **state) {
  dmabufs = exports = 0;
  dmabuf_error = 0;
  return open_scene(state);
}

static void test_device_memory_by_dmabuf(void **state) {
  scene_t *scene = *state;
  verbs_cause_t cause;
  char why[VERBS_WHY];
  const hmci_memory_ops_t *before = hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &foreign);
  scene->transport.register_dmabuf = register_dmabuf;
  hmci_region_view_t own = foreign_region(1, 0), lent = foreign_region(2, HMC_REMOTE_READ | HMC_REMOTE_WRITE);
  verbs_memory_t *used = use(scene, &own, 0, KIB), *exported = lend(scene, &lent, &cause);
  assert_non_null(used);
  assert_non_null(exported);
  assert_int_equal(used->way, VERBS_BY_DMABUF);
  assert_int_equal(exported->way, VERBS_BY_DMABUF);
  assert_int_equal(dmabufs, 2);
  assert_int_equal(exports, 2);
  hmci_verbs_memory_why(scene->device, &foreign, why, sizeof why);
  assert_string_equal(why, "");
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, before);
}

/* Host memory that the kernel does not pin by its address, of a region that was made of a dma-buf. */
static void test_mapped_memory_by_its_descriptor(void **state) {
  scene_t *scene = *state;
  verbs_cause_t cause;
  scene->transport.register_dmabuf = register_dmabuf;
  refuse_mapped = true;
  for (int i = 0; i < 2; i++) {
    hmci_region_view_t region = region_of((uint32_t)i + 1, MIB, i ? HMC_REMOTE_WRITE : HMC_REMOTE_ALL);
    region.base -= 0x123;
    region.descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    region.descriptor_offset = 8192;
    verbs_memory_t *memory = lend(scene, &region, &cause);
    close(region.descriptor);
    assert_int_equal(dmabufs, i + 1);
    assert_int_equal(last.size, MIB);
    if (i) {
      assert_null(memory); /* nothing makes visible what is written there */
    } else {
      assert_non_null(memory);
      assert_int_equal(memory->way, VERBS_BY_DMABUF);
      assert_int_equal(scene->transport.pinned, MIB);
    }
  }
}

/* What a kind does not take is tried once. */
static void test_device_memory_as_peer_memory(void **state) {
  scene_t *scene = *state;
  char why[VERBS_WHY];
  const hmci_memory_ops_t *before = hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &foreign);
  scene->transport.register_dmabuf = register_dmabuf;
  dmabuf_error = EOPNOTSUPP;
  for (uint32_t i = 1; i < 4; i++) {
    hmci_region_view_t region = foreign_region(i, HMC_REMOTE_READ);
    verbs_memory_t *memory = use(scene, &region, 0, KIB);
    assert_non_null(memory);
    assert_int_equal(memory->way, VERBS_BY_PEER_MEMORY);
    assert_ptr_equal(last.base, region.base);
  }
  assert_int_equal(dmabufs, 1);
  hmci_verbs_memory_why(scene->device, &foreign, why, sizeof why);
  assert_string_equal(why, "dma-buf: Operation not supported");
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, before);
}

static void test_device_memory_that_is_not_reached(void **state) {
  scene_t *scene = *state;
  verbs_cause_t cause;
  char why[VERBS_WHY];
  const hmci_memory_ops_t *before = hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &foreign);
  refuse_foreign = true; /* and there is no call for dma-bufs */
  assert_true(hmci_verbs_memory_is_reached(scene->device, &foreign));
  for (uint32_t i = 1; i < 4; i++) {
    hmci_region_view_t region = foreign_region(i, HMC_REMOTE_READ);
    assert_null(lend(scene, &region, &cause));
    assert_int_equal(cause, VERBS_DEVICE_MEMORY);
  }
  assert_int_equal(attempts, 1);
  assert_false(hmci_verbs_memory_is_reached(scene->device, &foreign));
  hmci_verbs_memory_why(scene->device, &foreign, why, sizeof why);
  assert_string_equal(why, "dma-buf: libibverbs is too old; peer memory: Bad address");
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, before);
}

/* A lack of memory says nothing about the kind; and what makes puts visible there is a read. */
static void test_device_memory_later(void **state) {
  scene_t *scene = *state;
  verbs_cause_t cause;
  const hmci_memory_ops_t *before = hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, &foreign);
  scene->transport.register_dmabuf = register_dmabuf;
  refuse_all = true;
  hmci_region_view_t first = foreign_region(1, HMC_REMOTE_READ), second = foreign_region(2, HMC_REMOTE_READ),
                     written = foreign_region(3, HMC_REMOTE_WRITE);
  assert_null(lend(scene, &first, &cause));
  refuse_all = false;
  assert_non_null(lend(scene, &second, &cause));
  assert_null(lend(scene, &written, &cause));
  scene->device->stores_at_once = true;
  assert_non_null(lend(scene, &written, &cause));
  hmci_memory_replace(HMC_MEMORY_NVIDIA_GPU, before);
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_device_scene, close_scene)
  const struct CMUnitTest tests[] = {
      TEST(test_mapped_memory_by_its_descriptor),
      TEST(test_device_memory_by_dmabuf),
      TEST(test_device_memory_as_peer_memory),
      TEST(test_device_memory_that_is_not_reached),
      TEST(test_device_memory_later),
  };
#undef TEST
  return cmocka_run_group_tests(tests, NULL, NULL);
}
