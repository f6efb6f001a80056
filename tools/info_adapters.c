/* How far the RDMA adapters of this machine are from a device, by hwloc's topology, which HWLOC_XMLFILE may give.
 *
 * The topology is loaded once, when the first device has a PCI address, and lives as long as the program. One thread. */
#include "info.h"

#ifdef HMC_HAVE_HWLOC

#include <hwloc.h>

/* The topology with what hangs on PCI, or NULL. */
static hwloc_topology_t load(void) {
  hwloc_topology_t topology;
  if (hwloc_topology_init(&topology)) return NULL;
#if HWLOC_API_VERSION >= 0x00020100
  /* Plug-ins that would start the vendors' runtimes once more. */
  static const char *const needless[] = {"cuda", "gl", "levelzero", "nvml", "opencl", "rsmi"};
  for (size_t i = 0; i < sizeof needless / sizeof *needless; i++)
    hwloc_topology_set_components(topology, HWLOC_TOPOLOGY_COMPONENTS_FLAG_BLACKLIST, needless[i]);
#endif
  hwloc_topology_set_io_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
  if (hwloc_topology_load(topology) == 0) return topology;
  hwloc_topology_destroy(topology);
  return NULL;
}

/* hwloc's own search for a common ancestor goes by depths, which devices and bridges do not have. */
static hwloc_obj_t common_ancestor(hwloc_obj_t one, hwloc_obj_t other) {
  for (; one; one = one->parent) {
    for (hwloc_obj_t at = other; at; at = at->parent) {
      if (at == one) return one;
    }
  }
  return NULL;
}

static const char *distance(hwloc_topology_t topology, hwloc_obj_t device, hwloc_obj_t adapter) {
  hwloc_obj_t common = common_ancestor(device, adapter);
  if (!common) return "system";
  if (common->type == HWLOC_OBJ_PCI_DEVICE) return "switch"; /* two functions of one card */
  if (common->type == HWLOC_OBJ_BRIDGE)
    return common->attr->bridge.upstream_type == HWLOC_OBJ_BRIDGE_PCI ? "switch" : "complex";
  hwloc_obj_t here = hwloc_get_non_io_ancestor_obj(topology, device);
  hwloc_obj_t there = hwloc_get_non_io_ancestor_obj(topology, adapter);
  bool same = here && there && hwloc_bitmap_isequal(here->nodeset, there->nodeset);
  return same && hwloc_bitmap_weight(here->nodeset) == 1 ? "node" : "system";
}

bool info_visit_adapters(const char *pci, info_adapter_visit_t *visit, void *argument) {
  static hwloc_topology_t topology;
  static bool is_loaded;
  if (!pci[0]) return true;
  if (!is_loaded) topology = load();
  is_loaded = true;
  if (!topology) return false;
  hwloc_obj_t device = hwloc_get_pcidev_by_busidstring(topology, pci);
  if (!device) return false;
  for (hwloc_obj_t adapter = NULL; (adapter = hwloc_get_next_osdev(topology, adapter)) != NULL;) {
    if (adapter->attr->osdev.type != HWLOC_OBJ_OSDEV_OPENFABRICS) continue;
    visit(adapter->name, distance(topology, device, adapter), argument);
  }
  return true;
}

#else

bool info_visit_adapters(const char *pci, info_adapter_visit_t *visit, void *argument) {
  (void)visit;
  (void)argument;
  return !pci[0];
}

#endif
