/* hmc-info's devices: what each is, how they reach each other, and how far the network adapters are from them. */
#include "info.h"
#include "tool.h"

#include <stdio.h>

enum { DEVICES_MOST = 64 };

/* All kinds; DEFAULT and CPU are not devices. */
static const hmc_memory_kind_t kinds[] = {
#define KIND(NAME, value, name) HMC_MEMORY_##NAME,
    HMC_MEMORY_LIST(KIND)
#undef KIND
};

/* All devices but the host. */
static size_t find_devices(hmc_memory_properties_t *devices) {
  size_t found = 0;
  for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
    const hmc_memory_kind_t kind = kinds[i];
    int count;
    if (kind == HMC_MEMORY_DEFAULT || kind == HMC_MEMORY_CPU) continue;
    if (hmc_memory_devices(kind, &count) != HMC_SUCCESS) continue;
    for (int device = 0; device < count && found < DEVICES_MOST; device++) {
      devices[found] = (hmc_memory_properties_t)HMC_MEMORY_PROPERTIES_INIT;
      hmc_memory_t memory = {kind, device};
      if (hmc_memory_get_properties(memory, &devices[found]) == HMC_SUCCESS) found++;
    }
  }
  return found;
}

static const struct {
  unsigned feature;
  const char *name;
} features[] = {
    {HMC_MEMORY_IPC, "ipc"},         {HMC_MEMORY_DMABUF, "dmabuf"},   {HMC_MEMORY_PEERABLE, "peerable"},
    {HMC_MEMORY_STREAMS, "streams"}, {HMC_MEMORY_PINNING, "pinning"}, {HMC_MEMORY_BATCHES, "batches"},
};
enum { FEATURES = sizeof features / sizeof *features };

/* ---- for people -------------------------------------------------------------------------------------------------- */

static void show_adapter(const char *name, const char *near, void *argument) {
  (void)argument;
  printf("             adapter %s: %s\n", name, near);
}

static void show_device(const hmc_memory_properties_t *device) {
  char name[32];
  tool_format_memory(device->memory, name, sizeof name);
  printf("  %-10s %s%s%s", name, device->name, device->driver[0] ? ", " : "", device->driver);
  if (device->pci[0]) printf(", %s", device->pci);
  if (device->numa_node >= 0) printf(", NUMA node %d", device->numa_node);
  if (device->total_bytes) printf(", %.1f GiB", (double)device->total_bytes / (1 << 30));
  printf("\n            ");
  for (int i = 0; i < FEATURES; i++) {
    if (device->features & features[i].feature) printf(" %s", features[i].name);
  }
  printf("\n");
  if (!info_visit_adapters(device->pci, show_adapter, NULL)) printf("             adapters: not known\n");
}

static void show_link(const char *from, const char *to, hmc_memory_link_t link) {
  printf("  %-10s %-10s %s\n", from, to, hmc_memory_link_name(link));
}

/* Devices of two kinds have the host between them, as a rule: one line for all of those. */
static void show_links(const hmc_memory_properties_t *devices, size_t count) {
  bool are_apart = false;
  printf("\nLinks (direct: reads and writes the other's memory; else through the host's)\n");
  for (size_t i = 0; i < count; i++) {
    for (size_t j = i + 1; j < count; j++) {
      char from[32], to[32];
      hmc_memory_link_t link;
      if (hmc_memory_get_link(devices[i].memory, devices[j].memory, &link) != HMC_SUCCESS) continue;
      if (devices[i].memory.kind != devices[j].memory.kind && link == HMC_MEMORY_LINK_SYSTEM) {
        are_apart = true;
        continue;
      }
      tool_format_memory(devices[i].memory, from, sizeof from);
      tool_format_memory(devices[j].memory, to, sizeof to);
      show_link(from, to, link);
    }
  }
  if (are_apart) show_link("others", "", HMC_MEMORY_LINK_SYSTEM);
}

void info_show_devices(void) {
  static hmc_memory_properties_t devices[DEVICES_MOST];
  size_t count = find_devices(devices);
  if (!count) return;
  printf("\nDevices\n");
  for (size_t i = 0; i < count; i++) show_device(&devices[i]);
  if (count > 1) show_links(devices, count);
}

/* ---- for programs ------------------------------------------------------------------------------------------------ */

static void json_text(const char *key, const char *text) {
  printf("\"%s\":", key);
  tool_print_json(stdout, text);
}

static void json_memory(const char *key, hmc_memory_t memory) {
  char name[32];
  tool_format_memory(memory, name, sizeof name);
  json_text(key, name);
}

static void json_adapter(const char *name, const char *near, void *argument) {
  const char **comma = argument;
  printf("%s{", *comma);
  json_text("name", name);
  printf(",");
  json_text("distance", near);
  printf("}");
  *comma = ",";
}

static void json_device(const hmc_memory_properties_t *device) {
  const char *comma = "";
  printf("{");
  json_memory("memory", device->memory);
  printf(",");
  json_text("name", device->name);
  printf(",");
  json_text("driver", device->driver);
  printf(",");
  json_text("pci", device->pci);
  printf(",\"numa_node\":%d,\"total_bytes\":%llu,\"free_bytes\":%llu,\"features\":[", device->numa_node,
         (unsigned long long)device->total_bytes, (unsigned long long)device->free_bytes);
  for (int i = 0; i < FEATURES; i++) {
    if (!(device->features & features[i].feature)) continue;
    printf("%s\"%s\"", comma, features[i].name);
    comma = ",";
  }
  printf("],\"adapters\":[");
  comma = "";
  bool known = info_visit_adapters(device->pci, json_adapter, &comma);
  printf("],\"adapters_known\":%s}", known ? "true" : "false");
}

void info_json_devices(void) {
  static hmc_memory_properties_t devices[DEVICES_MOST];
  size_t count = find_devices(devices);
  const char *comma = "";
  printf(",\"devices\":[");
  for (size_t i = 0; i < count; i++) {
    printf("%s", i ? "," : "");
    json_device(&devices[i]);
  }
  printf("],\"links\":[");
  for (size_t i = 0; i < count; i++) {
    for (size_t j = i + 1; j < count; j++) {
      hmc_memory_link_t link;
      if (hmc_memory_get_link(devices[i].memory, devices[j].memory, &link) != HMC_SUCCESS) continue;
      printf("%s{", comma);
      comma = ",";
      json_memory("from", devices[i].memory);
      printf(",");
      json_memory("to", devices[j].memory);
      printf(",");
      json_text("link", hmc_memory_link_name(link));
      printf("}");
    }
  }
  printf("]");
}
