/* Status codes and the thread's error text.
 *
 * Invariant: error_text is one ended line of UTF-8. No locking: the text is thread-local. */
#include "base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char error_text[HMCI_ERROR_TEXT];
static _Thread_local bool is_silent;

const char *hmc_status_name(hmc_status_t status) {
  switch (status) {
#define STATUS_NAME(name, value, text)                                                                                 \
  case HMC_##name: return #name;
    HMC_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
  }
  return "UNKNOWN";
}

const char *hmc_status_text(hmc_status_t status) {
  switch (status) {
#define STATUS_TEXT(name, value, text)                                                                                 \
  case HMC_##name: return text;
    HMC_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
  }
  return "unknown status";
}

hmc_status_t hmci_status_known(uint32_t status) {
  if (status == HMC_IN_PROGRESS) return HMC_ERROR; /* is never an answer */
  switch (status) {
#define STATUS_KNOWN(name, value, text)                                                                                \
  case HMC_##name: return HMC_##name;
    HMC_STATUS_LIST(STATUS_KNOWN)
#undef STATUS_KNOWN
  }
  return HMC_ERROR;
}

const char *hmc_last_error(void) { return error_text; }

/* Texts carry names and values from outside: where one was cut in the middle of a character, the piece is dropped. */
static void drop_partial_character(char *text) {
  size_t length = strlen(text);
  size_t start = length;
  while (start > 0 && length - start < 4) {
    unsigned char byte = (unsigned char)text[--start];
    if (byte < 0x80) {
      return;
    }
    if (byte >= 0xc0) {
      size_t needed = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      if (length - start < needed) {
        text[start] = '\0';
      }
      return;
    }
  }
}

void hmci_text_clean(char *text) {
  for (char *at = text; *at != '\0'; at++) {
    if ((unsigned char)*at < 0x20 || *at == 0x7f) {
      *at = ' ';
    }
  }
  drop_partial_character(text);
}

/* Takes what was formatted as the thread's text; `written` is negative where formatting failed. Formatting goes through
 * a buffer of its own because the arguments may be the present text. */
static void set_text(char *formatted, int written) {
  if (written < 0) {
    formatted[0] = '\0';
  }
  hmci_text_clean(formatted);
  memcpy(error_text, formatted, strlen(formatted) + 1);
}

bool hmci_fail_silently(bool silently) {
  bool before = is_silent;
  is_silent = silently;
  return before;
}

/* The names stand in brackets because the analyzer has macros of the same names (base.h). */
hmc_status_t(hmci_fail)(hmc_status_t status, const char *format, ...) {
  if (is_silent) {
    return status;
  }
  int saved_errno = errno;
  char formatted[HMCI_ERROR_TEXT];
  va_list arguments;
  va_start(arguments, format);
  int written = vsnprintf(formatted, sizeof(formatted), format, arguments);
  va_end(arguments);
  set_text(formatted, written);
  errno = saved_errno;
  return status;
}

hmc_status_t(hmci_fail_prefix)(hmc_status_t status, const char *format, ...) {
  if (is_silent) {
    return status;
  }
  int saved_errno = errno;
  char formatted[HMCI_ERROR_TEXT];
  va_list arguments;
  va_start(arguments, format);
  int written = vsnprintf(formatted, sizeof(formatted), format, arguments);
  va_end(arguments);
  if (written >= 0 && written < HMCI_ERROR_TEXT) {
    snprintf(formatted + written, sizeof(formatted) - (size_t)written, "%s", error_text);
  }
  set_text(formatted, written);
  errno = saved_errno;
  return status;
}
