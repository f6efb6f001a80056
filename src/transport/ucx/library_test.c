/* Tests of loading libucp: what it does to the program, and whether it says so when it cannot. Each test loads it in a
 * child of its own. */
#include "library.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CODE = 16 };

static const int crash_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
enum { CRASH_SIGNALS = sizeof crash_signals / sizeof *crash_signals };

/* Runs `what` in a child: what it returns, 100 when it crashed. */
static int in_child(int (*what)(void)) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) _exit(what());
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 100;
}

static bool load(void) {
  const hmci_ucx_library_t *ucx = NULL, *again = NULL;
  return hmci_ucx_library_load(&ucx) == HMC_SUCCESS && hmci_ucx_library_load(&again) == HMC_SUCCESS && ucx == again &&
         ucx->version[0] == '1';
}

/* The first bytes of the functions that UCX likes to patch. */
static void read_code(uint8_t code[4][CODE]) {
  static const char *const names[] = {"mmap", "munmap", "madvise", "sbrk"};
  for (int i = 0; i < 4; i++) memcpy(code[i], dlsym(RTLD_DEFAULT, names[i]), CODE);
}

/* What a connection needs, and then some: UCX patches when the first of its parts wants to know of unmapped memory. */
static bool start(void) {
  const hmci_ucx_library_t *ucx = NULL;
  ucp_config_t *config = NULL;
  ucp_context_h context = NULL;
  ucp_worker_h worker = NULL;
  ucp_params_t params = {.field_mask = UCP_PARAM_FIELD_FEATURES,
                         .features = UCP_FEATURE_AM | UCP_FEATURE_RMA | UCP_FEATURE_WAKEUP};
  ucp_worker_params_t worker_params = {0};
  return hmci_ucx_library_load(&ucx) == HMC_SUCCESS && ucx->ucp_config_read(NULL, NULL, &config) == UCS_OK &&
         ucx->ucp_init_version(UCP_API_MAJOR, UCP_API_MINOR, &params, config, &context) == UCS_OK &&
         ucx->ucp_worker_create(context, &worker_params, &worker) == UCS_OK;
}

static int code_is_untouched(void) {
  uint8_t before[4][CODE], after[4][CODE];
  read_code(before);
  if (!start()) return 1;
  read_code(after);
  return memcmp(before, after, sizeof before) == 0 ? 0 : 2;
}

static int handlers_are_untouched(void) {
  struct sigaction before[CRASH_SIGNALS], after;
  for (int i = 0; i < CRASH_SIGNALS; i++) sigaction(crash_signals[i], NULL, &before[i]);
  if (!load()) return 1;
  for (int i = 0; i < CRASH_SIGNALS; i++) {
    sigaction(crash_signals[i], NULL, &after);
    if (after.sa_handler != before[i].sa_handler) return 2;
  }
  return 0;
}

static int environment_is_untouched(void) {
  char **before = environ;
  unsetenv("UCX_MEM_EVENTS");
  if (!load()) return 1;
  return environ == before && !getenv("UCX_MEM_EVENTS") && !getenv("UCX_LOG_FILE") ? 0 : 2;
}

/* A handler that the user wants from UCX is installed. */
static int settings_pass_through(void) {
  struct sigaction after;
  setenv("UCX_HANDLE_ERRORS", "bt", 1);
  setenv("UCX_ERROR_SIGNALS", "FPE", 1);
  if (!load()) return 1;
  sigaction(SIGFPE, NULL, &after);
  return after.sa_handler != SIG_DFL ? 0 : 2;
}

/* What HMC sets at loading where the user does not, and what a user may want instead. */
static const struct {
  const char *name, *ours, *theirs;
} defaults[] = {{"UCX_MEM_EVENTS", "n", "y"}, {"UCX_HANDLE_ERRORS", "none", "bt"}, {"UCX_LOG_FILE", "stderr", ""}};
enum { DEFAULTS = sizeof defaults / sizeof *defaults };

static char seen[DEFAULTS][16]; /* their values when a library was opened last */
static int set_by_user;         /* a place in `defaults`, or none */

/* Stands before the C library's. */
void *dlopen(const char *name, int mode) {
  void *(*next)(const char *, int);
  void *symbol = dlsym(RTLD_NEXT, "dlopen");
  memcpy(&next, &symbol, sizeof symbol);
  for (int i = 0; i < DEFAULTS; i++) {
    const char *value = getenv(defaults[i].name);
    snprintf(seen[i], sizeof seen[i], "%s", value ? value : "unset");
  }
  return next(name, mode);
}

/* The library comes up with HMC's values, but for the one that the user has set. */
static int defaults_give_way(void) {
  const hmci_ucx_library_t *untouched = NULL;
  if (set_by_user < DEFAULTS) setenv(defaults[set_by_user].name, defaults[set_by_user].theirs, 1);
  if (hmci_ucx_library_load_from("libnothing-of-this-name.so.0", &untouched) != HMC_UNSUPPORT) return 1;
  for (int i = 0; i < DEFAULTS; i++) {
    if (strcmp(seen[i], i == set_by_user ? defaults[i].theirs : defaults[i].ours) != 0) return 10 + i;
  }
  return 0;
}

static void test_defaults_give_way(void **state) {
  (void)state;
  for (set_by_user = 0; set_by_user <= DEFAULTS; set_by_user++) assert_int_equal(in_child(defaults_give_way), 0);
}

static int stdout_stays_empty(void) {
  char name[] = "/tmp/hmc-test-XXXXXX";
  int file = mkstemp(name);
  if (file < 0) return 1;
  unlink(name);
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  setenv("UCX_ZCOPY_THRESH", "nonsense", 1); /* UCX complains about it */
  const hmci_ucx_library_t *ucx;
  ucp_config_t *config;
  if (hmci_ucx_library_load(&ucx) != HMC_SUCCESS) return 2;
  if (ucx->ucp_config_read(NULL, NULL, &config) == UCS_OK) return 3;
  fflush(NULL);
  return lseek(file, 0, SEEK_END) == 0 ? 0 : 4;
}

/* With another library in its place. */
static int another_library_is_refused(void) {
  const hmci_ucx_library_t *untouched = NULL;
  if (!dlopen("libm.so.6", RTLD_NOW)) return 1;
  if (hmci_ucx_library_load_from("libm.so.6", &untouched) != HMC_UNSUPPORT || untouched) return 2;
  return strstr(hmc_last_error(), "1.13") ? 0 : 3;
}

static int a_missing_library_is_named(void) {
  const hmci_ucx_library_t *untouched = NULL;
  if (hmci_ucx_library_load_from("libnothing-of-this-name.so.0", &untouched) != HMC_UNSUPPORT || untouched) return 1;
  if (hmci_ucx_library_load(&untouched) != HMC_UNSUPPORT) return 2; /* it is not tried again */
  return strstr(hmc_last_error(), "libnothing") && strstr(hmc_last_error(), "apt-get install") ? 0 : 3;
}

#define CHILD_TEST(name)                                                                                               \
  static void test_##name(void **state) {                                                                              \
    (void)state;                                                                                                       \
    assert_int_equal(in_child(name), 0);                                                                               \
  }
CHILD_TEST(code_is_untouched)
CHILD_TEST(handlers_are_untouched)
CHILD_TEST(environment_is_untouched)
CHILD_TEST(settings_pass_through)
CHILD_TEST(stdout_stays_empty)
CHILD_TEST(another_library_is_refused)
CHILD_TEST(a_missing_library_is_named)

int main(void) {
  unsetenv("UCX_MEM_EVENTS");
  unsetenv("UCX_HANDLE_ERRORS");
  unsetenv("UCX_LOG_FILE");
  unsetenv("UCX_LOG_LEVEL");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_code_is_untouched),          cmocka_unit_test(test_handlers_are_untouched),
      cmocka_unit_test(test_environment_is_untouched),   cmocka_unit_test(test_settings_pass_through),
      cmocka_unit_test(test_stdout_stays_empty),         cmocka_unit_test(test_another_library_is_refused),
      cmocka_unit_test(test_a_missing_library_is_named), cmocka_unit_test(test_defaults_give_way),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
