/* Opening a vendor's library and finding its symbols. */
#include "driver_internal.h"

#include <dlfcn.h>
#include <hmc/settings.h>
#include <stdio.h>
#include <string.h>

void hmci_driver_setting(const char *variable, char text[256]) {
  hmc_setting_t setting = HMC_SETTING_INIT;
  text[0] = '\0';
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    if (hmc_settings_get(i, &setting) != HMC_SUCCESS) continue; /* making a context tells of what does not parse */
    if (strcmp(setting.name, variable) == 0) snprintf(text, 256, "%s", setting.value);
  }
}

static void *open_first(hmci_driver_t *driver, const char *const *files) {
  for (; *files; files++) {
    void *library = dlopen(*files, RTLD_NOW | RTLD_LOCAL);
    if (library) {
      snprintf(driver->file, sizeof driver->file, "%s", *files);
      return library;
    }
  }
  return NULL;
}

/* What the library has under the first of these names that it knows. */
static void *find_symbol(void *library, const char *names) {
  char name[64];
  for (const char *at = names; at; at = strchr(at, '|')) {
    at += *at == '|';
    snprintf(name, sizeof name, "%.*s", (int)strcspn(at, "|"), at);
    void *address = dlsym(library, name);
    if (address) return address;
  }
  return NULL;
}

static hmc_status_t fill_in(hmci_driver_t *driver, void *library) {
  for (const hmci_symbol_t *symbol = driver->ops->symbols; symbol->name; symbol++) {
    void *address = find_symbol(library, symbol->name);
    memcpy((char *)driver->ops->functions + symbol->slot, &address, sizeof address);
    char *lacking = driver->lacking[symbol->need];
    if (address || lacking[0]) continue;
    snprintf(lacking, sizeof driver->lacking[0], "%.*s", (int)strcspn(symbol->name, "|"), symbol->name);
  }
  const char *base = driver->lacking[HMCI_NEED_BASE];
  if (!base[0]) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT, "%s memory: %s has no %s: is it of the right version?", driver->ops->name,
                   driver->file, base);
}

hmc_status_t hmci_driver_load(hmci_driver_t *driver) {
  char path[256];
  const char *set[] = {path, NULL};
  hmci_driver_setting(driver->ops->variable, path);
  if (strcmp(path, "none") == 0) {
    return hmci_fail(HMC_UNSUPPORT, "%s memory: switched off by %s=none", driver->ops->name, driver->ops->variable);
  }
  void *library = open_first(driver, path[0] ? set : driver->ops->files);
  if (!library) {
    const char *why = dlerror();
    return hmci_fail(HMC_UNSUPPORT, "%s memory: no driver: %s (%s names its library)", driver->ops->name,
                     why ? why : driver->ops->files[0], driver->ops->variable);
  }
  hmc_status_t status = fill_in(driver, library);
  if (status != HMC_SUCCESS) dlclose(library);
  return status; /* an opened one stays: vendors' libraries do not like to be unloaded */
}

hmc_status_t hmci_driver_need(hmci_driver_t *driver, hmci_need_t need, const char *what) {
  const char *lacking = driver->lacking[need];
  if (!lacking[0]) return HMC_SUCCESS;
  return hmci_fail(HMC_UNSUPPORT, "%s memory cannot %s: %s has no %s", driver->ops->name, what, driver->file, lacking);
}
