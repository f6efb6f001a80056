/* JSON for the client of etcd (see json.h). */
#include "json.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static const char *skip_space(const char *at, const char *end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t')) {
    at++;
  }
  return at;
}

/* Behind a string that begins at `at`; NULL: it has no end. */
static const char *skip_string(const char *at, const char *end) {
  for (at++; at < end && *at != '"'; at++) {
    if (*at == '\\') {
      at++;
    }
  }
  return at < end ? at + 1 : NULL;
}

/* Behind the value that begins at `at`; NULL: it has no end. Brackets are counted, not matched by kind. */
static const char *skip_value(const char *at, const char *end) {
  size_t depth = 0;
  do {
    at = skip_space(at, end);
    if (at >= end) {
      return NULL;
    }
    if (*at == '"') {
      at = skip_string(at, end);
      if (at == NULL) {
        return NULL;
      }
    } else if (*at == '{' || *at == '[') {
      depth++;
      at++;
    } else if (*at == '}' || *at == ']') {
      if (depth == 0) {
        return NULL;
      }
      depth--;
      at++;
    } else if (*at == ',' || *at == ':') {
      if (depth == 0) {
        return NULL;
      }
      at++;
    } else {
      while (at < end && strchr(",:{}[]\" \n\r\t", *at) == NULL) {
        at++;
      }
    }
  } while (depth > 0);
  return at;
}

static hmci_json_t value_at(const char *at, const char *end) {
  at = skip_space(at, end);
  const char *behind = at < end ? skip_value(at, end) : NULL;
  return behind != NULL ? (hmci_json_t){.text = at, .size = (size_t)(behind - at)} : (hmci_json_t){.text = NULL};
}

static hmci_json_t member_of(hmci_json_t object, const char *name, size_t length) {
  const hmci_json_t none = {.text = NULL};
  if (object.text == NULL || object.size < 2 || object.text[0] != '{') {
    return none;
  }
  const char *at = object.text + 1, *end = object.text + object.size - 1;
  for (at = skip_space(at, end); at < end && *at == '"'; at = skip_space(at, end)) {
    const char *key = at + 1, *behind = skip_string(at, end);
    if (behind == NULL) {
      return none;
    }
    at = skip_space(behind, end);
    if (at >= end || *at != ':') {
      return none;
    }
    hmci_json_t value = value_at(at + 1, end);
    if (value.text == NULL || ((size_t)(behind - 1 - key) == length && memcmp(key, name, length) == 0)) {
      return value;
    }
    at = skip_space(value.text + value.size, end);
    at += at < end && *at == ',';
  }
  return none;
}

hmci_json_t hmci_json_get(hmci_json_t object, const char *path) {
  for (const char *name = path; name != NULL && object.text != NULL;) {
    const char *dot = strchr(name, '.');
    object = member_of(object, name, dot != NULL ? (size_t)(dot - name) : strlen(name));
    name = dot != NULL ? dot + 1 : NULL;
  }
  return object;
}

hmci_json_t hmci_json_next(hmci_json_t array, hmci_json_t before) {
  if (array.text == NULL || array.size < 2 || array.text[0] != '[') {
    return (hmci_json_t){.text = NULL};
  }
  const char *end = array.text + array.size - 1;
  const char *at = skip_space(before.text != NULL ? before.text + before.size : array.text + 1, end);
  at += before.text != NULL && at < end && *at == ',';
  return value_at(at, end);
}

int64_t hmci_json_number(hmci_json_t value) {
  char text[32];
  size_t quote = value.size > 0 && value.text[0] == '"' ? 1 : 0;
  if (value.text == NULL || value.size <= 2 * quote || value.size - 2 * quote >= sizeof(text)) {
    return 0;
  }
  memcpy(text, value.text + quote, value.size - 2 * quote);
  text[value.size - 2 * quote] = '\0';
  return strtoll(text, NULL, 10);
}

bool hmci_json_is_true(hmci_json_t value) { return value.size == 4 && memcmp(value.text, "true", 4) == 0; }

void hmci_json_text(hmci_json_t value, char *text, size_t room) {
  bool is_string = value.size >= 2 && value.text[0] == '"';
  snprintf(text, room, "%.*s", is_string ? (int)value.size - 2 : 0, is_string ? value.text + 1 : "");
}

uint8_t *hmci_json_bytes(hmci_json_t value, size_t *size) {
  size_t length = value.size >= 2 && value.text[0] == '"' ? value.size - 2 : 0, used = 0;
  uint8_t *bytes = malloc(length / 4 * 3 + 4);
  uint32_t word = 0;
  if (bytes == NULL) {
    return NULL;
  }
  for (size_t i = 0; i < length; i++) {
    char letter = value.text[1 + i];
    const char *found = letter != '=' && letter != '\0' ? strchr(letters, letter) : NULL;
    bool is_padding = letter == '=' && i + 2 >= length;
    if ((found == NULL && !is_padding) || (found != NULL && i > 0 && value.text[i] == '=')) {
      free(bytes);
      return NULL;
    }
    word = (word << 6) | (found != NULL ? (uint32_t)(found - letters) : 0);
    if (i % 4 == 3) {
      bytes[used++] = (uint8_t)(word >> 16);
      bytes[used++] = (uint8_t)(word >> 8);
      bytes[used++] = (uint8_t)word;
    }
  }
  if (length % 4 != 0) {
    free(bytes);
    return NULL;
  }
  for (size_t i = length; i > 0 && length - i < 2 && value.text[i] == '='; i--) {
    used--;
  }
  bytes[used] = 0;
  *size = used;
  return bytes;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Room for `more` bytes and a NUL. */
static bool reserve(hmci_text_t *text, size_t more) {
  if (text->has_failed) {
    return false;
  }
  if (text->room - text->size <= more) {
    size_t room = (text->size + more + 1) * 3 / 2 + 64;
    char *data = realloc(text->data, room);
    if (data == NULL) {
      text->has_failed = true;
      return false;
    }
    text->data = data;
    text->room = room;
  }
  return true;
}

void hmci_text_add(hmci_text_t *text, const void *data, size_t size) {
  if (reserve(text, size)) {
    memcpy(text->data + text->size, data, size);
    text->size += size;
    text->data[text->size] = '\0';
  }
}

void hmci_text_print(hmci_text_t *text, const char *format, ...) {
  va_list arguments, again;
  va_start(arguments, format);
  va_copy(again, arguments);
  int size = vsnprintf(NULL, 0, format, arguments);
  if (size >= 0 && reserve(text, (size_t)size)) {
    vsnprintf(text->data + text->size, (size_t)size + 1, format, again);
    text->size += (size_t)size;
  }
  va_end(again);
  va_end(arguments);
}

void hmci_text_bytes(hmci_text_t *text, const void *data, size_t size) {
  const uint8_t *bytes = data;
  if (!reserve(text, (size + 2) / 3 * 4 + 2)) {
    return;
  }
  char *to = text->data + text->size;
  *to++ = '"';
  for (size_t i = 0; i < size; i += 3) {
    uint32_t word = (uint32_t)bytes[i] << 16 | (i + 1 < size ? (uint32_t)bytes[i + 1] << 8 : 0) |
                    (i + 2 < size ? (uint32_t)bytes[i + 2] : 0);
    *to++ = letters[word >> 18];
    *to++ = letters[(word >> 12) & 63];
    *to++ = i + 1 < size ? letters[(word >> 6) & 63] : '=';
    *to++ = i + 2 < size ? letters[word & 63] : '=';
  }
  *to++ = '"';
  *to = '\0';
  text->size = (size_t)(to - text->data);
}

void hmci_text_free(hmci_text_t *text) {
  free(text->data);
  *text = (hmci_text_t){.data = NULL};
}
