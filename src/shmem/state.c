/* What every file of the library stands on: its state, the settings, and the end of a job that cannot go on. Calls none of
 * the others. */
#include "state.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Before init there is no job to end. */
static void leave(int status) {
  fflush(NULL);
  _exit(status);
}

#define FIRST_STATE                                                                                                    \
  { .end = leave, .far_lock = PTHREAD_MUTEX_INITIALIZER }

hmci_pe_t hmci_pe = FIRST_STATE;

void hmci_state_reset(void) { hmci_pe = (hmci_pe_t)FIRST_STATE; }

void hmci_die(const char *format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  fflush(stdout);
  fprintf(stderr, "shmem: PE %d: %s\n", hmci_pe.me, text);
  hmci_pe.end(1);
  abort();
}

/* ---- settings ---------------------------------------------------------------------------------------------------------- */

static const char *setting(const char *name, const char *old_name) {
  const char *value = getenv(name);
  return value ? value : old_name ? getenv(old_name) : NULL;
}

bool hmci_is_on(const char *name, const char *old_name) {
  static const char *const offs[] = {"", "0", "no", "off", "false"};
  const char *value = setting(name, old_name);
  for (size_t i = 0; value && i < sizeof offs / sizeof offs[0]; i++) {
    if (strcmp(value, offs[i]) == 0) return false;
  }
  return value;
}

bool hmci_wants_checks(void) { return hmci_is_on("SHMEM_DEBUG", "SMA_DEBUG") || hmci_is_on("HMC_SHMEM_CHECK", NULL); }

/* "64M", "1.5G", "1024"; suffixes K, M, G, T as powers of 1024. */
size_t hmci_size_setting(const char *name, const char *old_name, size_t normal) {
  const char *text = setting(name, old_name);
  if (!text || !*text) return normal;
  char *end;
  double value = strtod(text, &end);
  static const char suffixes[] = "KMGT";
  const char *suffix = *end ? strchr(suffixes, *end & ~0x20) : NULL;
  if (suffix) {
    for (const char *at = suffixes; at <= suffix; at++) value *= 1024;
    end++;
  }
  if (*end == 'B' || *end == 'b') end++;
  bool is_none = normal == 0 && value == 0 && end > text;
  if (*end || (value < 1 && !is_none) || value > 1e15)
    hmci_die("%s=%s is not a size: give bytes, or a number with K, M, G or T behind", name, text);
  return (size_t)value;
}
