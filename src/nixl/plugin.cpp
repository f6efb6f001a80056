/* The two symbols that NIXL looks for in libplugin_HMC.so. */
#include "engine.hpp"

#include <hmc/version.h>

using namespace nixl_abi;

namespace {

nixl_abi::Engine *create(const InitParameters *init) {
  try {
    return new hmc_nixl::Engine(init);
  } catch (const std::bad_alloc &) {
    return nullptr; /* NIXL reports that the backend could not be made */
  }
}

Plugin plugin = {PLUGIN_VERSION,
                 create,
                 [](nixl_abi::Engine *engine) { delete engine; },
                 []() { return "HMC"; },
                 []() { return hmc_version_text(); },
                 []() { return hmc_nixl::default_parameters(); },
                 []() {
                   return std::vector<Segment>{DRAM, VRAM};
                 }};

} // namespace

extern "C" {
__attribute__((visibility("default"))) Plugin *nixl_plugin_init() { return &plugin; }
__attribute__((visibility("default"))) void nixl_plugin_fini() {}
}
