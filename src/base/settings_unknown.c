/* Variables that begin with HMC_ and are not settings: most are a setting mistyped, which would otherwise be ignored in
 * silence. No locking: no state but a flag. */
#include "settings.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What belongs to the faces, the launcher and the tests, which know their own. */
static const char *const others[] = {"HMC_JOB_",  "HMC_SHMEM_", "HMC_SMEM_",     "HMC_NIXL_",
                                     "HMC_TEST_", "HMC_VM_",    "HMC_LOOKALIKE_"};

enum { NAME_SIZE = 64 };

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* How many letters have to be typed differently: left out, put in, changed, or two in the wrong order. */
static size_t distance(const char *a, const char *b) {
  size_t edits[NAME_SIZE + 1][NAME_SIZE + 1], la = strlen(a), lb = strlen(b);
  for (size_t i = 0; i <= la; i++) edits[i][0] = i;
  for (size_t j = 0; j <= lb; j++) edits[0][j] = j;
  for (size_t i = 1; i <= la; i++) {
    for (size_t j = 1; j <= lb; j++) {
      size_t best = least(edits[i - 1][j], edits[i][j - 1]) + 1;
      best = least(best, edits[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = least(best, edits[i - 2][j - 2] + 1);
      edits[i][j] = best;
    }
  }
  return edits[la][lb];
}

static const char *const names[] = {
#define NAME(kind, field, variable, default_value, documentation) variable,
    HMCI_SETTINGS_LIST(NAME)
#undef NAME
};
enum { NAMES = sizeof names / sizeof names[0] };

static bool is_known(const char *name) {
  for (size_t i = 0; i < NAMES; i++) {
    if (strcmp(names[i], name) == 0) return true;
  }
  for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
    if (strncmp(name, others[i], strlen(others[i])) == 0) return true;
  }
  return false;
}

/* Further away than a third of its letters is a guess, no correction. */
static const char *closest(const char *name) {
  const char *best = NULL;
  size_t limit = (strlen(name) - strlen("HMC_")) / 3 + 1;
  for (size_t i = 0; i < NAMES; i++) {
    size_t away = distance(name, names[i]);
    if (away > limit || away > 4) continue;
    limit = away - 1;
    best = names[i];
  }
  return best;
}

hmc_status_t hmc_settings_unknown(size_t index, char *text, size_t size) {
  size_t seen = 0;
  for (char **entry = environ; entry && *entry; entry++) {
    char name[NAME_SIZE];
    size_t length = strcspn(*entry, "=");
    if (strncmp(*entry, "HMC_", 4) != 0 || length >= sizeof name || !(*entry)[length] || !(*entry)[length + 1])
      continue;
    memcpy(name, *entry, length);
    name[length] = '\0';
    if (is_known(name) || seen++ < index) continue;
    const char *meant = closest(name);
    if (text && size && meant) snprintf(text, size, "%s is not a setting; did you mean %s?", name, meant);
    if (text && size && !meant) snprintf(text, size, "%s is not a setting; hmc-info --config lists them", name);
    if (text && size) hmci_text_clean(text);
    return HMC_SUCCESS;
  }
  return hmci_fail(HMC_NOT_FOUND, "%zu variables begin with HMC_ and are not settings, not %zu", seen, index + 1);
}

void hmci_settings_warn(void) {
  static atomic_flag done = ATOMIC_FLAG_INIT;
  if (atomic_flag_test_and_set(&done)) return;
  char text[192];
  for (size_t i = 0; hmc_settings_unknown(i, text, sizeof text) == HMC_SUCCESS; i++) {
    hmci_log(HMC_LOG_WARNING, "%s", text);
  }
}
