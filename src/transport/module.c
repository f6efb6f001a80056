/* Loading transports (see module.h). */
#include "module.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

/* What modules need, and how to get it. */
static const struct {
  const char *library, *package;
} packages[] = {
    {"libibverbs.so", "libibverbs1"},
    {"libucp.so", "libucx0"},
    {"libucs.so", "libucx0"},
};

/* What a build without a module lacked. */
static const struct {
  const char *name, *called, *package;
} modules[] = {
#define LACKED(folder, TYPE, called, package) {#folder, called, package},
    HMCI_TRANSPORT_LIST(HMCI_TRANSPORT_NONE, LACKED)
#undef LACKED
};

/* The folder of the library, or of the program that it is linked into, and hmc/ in it. */
static bool beside_library(char folder[PATH_MAX]) {
  Dl_info library;
  if (!dladdr((const void *)(uintptr_t)hmci_log, &library) || !library.dli_fname) return false;
  const char *slash = strrchr(library.dli_fname, '/');
  int length = slash ? (int)(slash - library.dli_fname) : 1;
  int written = snprintf(folder, PATH_MAX, "%.*s/hmc", length, slash ? library.dli_fname : ".");
  return written > 0 && written < PATH_MAX;
}

/* A program that runs with more rights than its user takes no code from where the user says. */
static bool find_folder(const char *folder, char found[PATH_MAX]) {
  hmci_settings_t settings;
  bool trusted = !getauxval(AT_SECURE);
  if (!folder && trusted && hmci_settings_read(&settings) == HMC_SUCCESS && settings.module_path[0])
    folder = settings.module_path;
  if (!folder) return beside_library(found);
  return (size_t)snprintf(found, PATH_MAX, "%s", folder) < PATH_MAX;
}

/* Says in terms of packages what dlopen said. */
static void explain(const char *name, char *reason, size_t size) {
  const char *said = dlerror();
  if (!said) said = "unknown reason";
  for (size_t i = 0; i < sizeof packages / sizeof *packages; i++) {
    if (strncmp(said, packages[i].library, strlen(packages[i].library)) != 0) continue;
    snprintf(reason, size, "%.*s is missing: apt-get install %s", (int)strcspn(said, ":"), said, packages[i].package);
    return;
  }
  snprintf(reason, size, "libhmc-%s.so cannot be loaded: %s", name, said);
}

static void explain_absence(const char *name, const char *path, char *reason, size_t size) {
  for (size_t i = 0; i < sizeof modules / sizeof *modules; i++) {
    if (strcmp(name, modules[i].name) != 0) continue;
    snprintf(reason, size, "no %s: %s is not there. HMC was built without %s, or HMC_MODULE_PATH leads elsewhere",
             modules[i].called, path, modules[i].package);
    return;
  }
  snprintf(reason, size, "%s is not there: this build of HMC has no %s, or HMC_MODULE_PATH leads elsewhere", path,
           name);
}

static hmc_status_t check(const hmci_module_t *module, const char *path, char *reason, size_t size) {
  bool same = module->version == HMCI_MODULE_VERSION && module->library_version == HMC_VERSION &&
              module->ops_size == sizeof(hmci_transport_ops_t) && module->operation_size == sizeof(hmci_operation_t) &&
              module->settings_size == sizeof(hmci_settings_t) && module->host_size == sizeof(hmci_host_t);
  if (!same) {
    snprintf(reason, size, "%s belongs to another build of HMC: install both from one", path);
  } else if (module->library != hmci_log) {
    snprintf(reason, size, "%s works with libhmc.so only, and this program has HMC linked into it", path);
  } else {
    return HMC_SUCCESS;
  }
  return HMC_UNSUPPORT;
}

hmc_status_t hmci_module_load(const char *name, const char *folder, const hmci_transport_ops_t **ops, char *reason,
                              size_t size) {
  char found[PATH_MAX], path[PATH_MAX + 64];
  if (!find_folder(folder, found)) {
    snprintf(reason, size, "the folder of transport modules cannot be found (HMC_MODULE_PATH)");
    return HMC_UNSUPPORT;
  }
  snprintf(path, sizeof path, "%s/libhmc-%s.so", found, name);
  if (access(path, R_OK)) {
    explain_absence(name, path, reason, size);
    return HMC_UNSUPPORT;
  }
  void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    explain(name, reason, size);
    return HMC_UNSUPPORT;
  }
  const hmci_module_t *module = dlsym(handle, HMCI_MODULE_SYMBOL);
  if (!module) {
    snprintf(reason, size, "%s is not a module of HMC", path);
    dlclose(handle);
    return HMC_UNSUPPORT;
  }
  hmc_status_t status = check(module, path, reason, size);
  if (status != HMC_SUCCESS) {
    dlclose(handle);
    return status;
  }
  *ops = module->ops;
  return HMC_SUCCESS;
}
