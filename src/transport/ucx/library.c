/* Loading libucp (see library.h).
 *
 * The second environment is an array of its own that shares its strings with the first one, and `environ` points to it
 * only while the library is opened. A thread that calls getenv meanwhile is right with either array, which setenv would
 * not promise; one that calls setenv meanwhile makes a third array, and that one stays. */
#include "library.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAJOR = 1, OLDEST_MINOR = 13 };

static const char *const additions[] = {"UCX_MEM_EVENTS=n", "UCX_HANDLE_ERRORS=none", "UCX_LOG_FILE=stderr"};
enum { ADDITIONS = sizeof additions / sizeof *additions };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum { NOT_TRIED, LOADED, FAILED } state; /* lock */
static hmci_ucx_library_t library;               /* lock until `state` is LOADED; constant then */
static char reason[256];                         /* lock; why it failed */
static char **second_environment;                /* lock; kept, for a getenv of another thread may still read it */

/* ---- the environment it is loaded in ----------------------------------------------------------------------------- */

bool hmci_ucx_library_is_set(const char *setting) {
  size_t name = strcspn(setting, "=");
  for (char **variable = environ; variable && *variable; variable++) {
    if (strncmp(*variable, setting, name) == 0 && (*variable)[name] == '=') return true;
  }
  return false;
}

static char **extend_environment(void) {
  size_t count = 0;
  while (environ && environ[count]) count++;
  char **extended = malloc((count + ADDITIONS + 1) * sizeof *extended);
  if (!extended) return NULL;
  if (count) memcpy(extended, environ, count * sizeof *extended);
  for (size_t i = 0; i < ADDITIONS; i++) {
    if (!hmci_ucx_library_is_set(additions[i])) extended[count++] = (char *)(uintptr_t)additions[i];
  }
  extended[count] = NULL;
  return extended;
}

/* Where those have put UCX who followed the first HMC's guide, and what of it is not on the linker's path. */
#define CUSTOMARY_FOLDER "/usr/local/ucx/lib/"

static void *open_customary(const char *name) {
  char path[128];
  int length = snprintf(path, sizeof path, CUSTOMARY_FOLDER "%s", name);
  if (length < 0 || (size_t)length >= sizeof path || access(path, R_OK)) return NULL;
  return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static void *open_quietly(const char *name) {
  char **before = environ;
  second_environment = extend_environment();
  if (!second_environment) return NULL;
  environ = second_environment;
  void *handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!handle) handle = open_customary(name);
  if (environ == second_environment) environ = before;
  return handle;
}

/* ---- its messages ------------------------------------------------------------------------------------------------ */

/* What fails for good is described by our own texts, with the peer's name: an error of UCX is news, not an alarm. */
static ucs_log_func_rc_t on_message(const char *file, unsigned line, const char *function, ucs_log_level_t level,
                                    const ucs_log_component_config_t *component, const char *message,
                                    va_list arguments) {
  (void)file, (void)line, (void)function, (void)component;
  char text[512];
  vsnprintf(text, sizeof text, message, arguments);
  hmci_log(level <= UCS_LOG_LEVEL_WARN ? HMC_LOG_INFO : HMC_LOG_DEBUG, "UCX: %s", text);
  return UCS_LOG_FUNC_RC_STOP;
}

/* ---- loading ----------------------------------------------------------------------------------------------------- */

typedef struct function {
  const char *name;
  size_t offset;
} function_t;

#define FUNCTION(name) {#name, offsetof(hmci_ucx_library_t, name)},
static const function_t functions[] = {HMCI_UCX_FUNCTIONS(FUNCTION)};
static const function_t lane_functions[] = {HMCI_UCX_LANE_FUNCTIONS(FUNCTION)};
#undef FUNCTION

/* The name of what is missing, or NULL. */
static const char *resolve_all(void *handle, const function_t *list, size_t count) {
  for (size_t i = 0; i < count; i++) {
    void *symbol = dlsym(handle, list[i].name);
    if (!symbol) return list[i].name;
    memcpy((char *)&library + list[i].offset, &symbol, sizeof symbol);
  }
  return NULL;
}

static bool resolve(void *handle) {
  const char *missing = resolve_all(handle, functions, sizeof functions / sizeof *functions);
  if (missing) {
    snprintf(reason, sizeof reason, "libucp.so has no %s: UCX 1.13 or newer is needed", missing);
    return false;
  }
  unsigned release;
  library.ucp_get_version(&library.major, &library.minor, &release);
  snprintf(library.version, sizeof library.version, "%u.%u.%u", library.major, library.minor, release);
  library.has_lanes = library.major == UCP_API_MAJOR && library.minor == UCP_API_MINOR &&
                      !resolve_all(handle, lane_functions, sizeof lane_functions / sizeof *lane_functions);
  if (library.major == MAJOR && library.minor >= OLDEST_MINOR) return true;
  snprintf(reason, sizeof reason, "UCX %s is installed; 1.13 or newer is needed", library.version);
  return false;
}

/* What was opened stays, also where it is of no use: UCX is not made to be unloaded. */
static bool load(const char *name) {
  void *handle = open_quietly(name);
  if (!handle) {
    const char *cause = dlerror();
    snprintf(reason, sizeof reason, "UCX is not installed (%s): apt-get install libucx0", cause ? cause : "no memory");
    return false;
  }
  if (!resolve(handle)) return false;
  library.ucs_log_push_handler(on_message);
  return true;
}

hmc_status_t hmci_ucx_library_load_from(const char *name, const hmci_ucx_library_t **out) {
  hmc_status_t status = HMC_SUCCESS;
  pthread_mutex_lock(&lock);
  if (state == NOT_TRIED) state = load(name) ? LOADED : FAILED;
  if (state == FAILED) status = hmci_fail(HMC_UNSUPPORT, "%s", reason);
  pthread_mutex_unlock(&lock);
  if (status == HMC_SUCCESS) *out = &library;
  return status;
}

hmc_status_t hmci_ucx_library_load(const hmci_ucx_library_t **out) {
  return hmci_ucx_library_load_from("libucp.so.0", out);
}
