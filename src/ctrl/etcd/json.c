/* JSON for the client of etcd (see json.h). The struct is that of cJSON's stable ABI (SONAME 1, since 2016): cJSON.h. */
#include "json.h"

#include <openssl/evp.h>

#include <dlfcn.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIND_TRUE = 2, KIND_NUMBER = 8, KIND_STRING = 16, KIND_ARRAY = 32, KIND_OBJECT = 64, KIND_MASK = 255 };

/* cJSON itself. */
struct hmci_json {
  struct hmci_json *next, *prev, *child;
  int kind;
  char *text;
  int number; /* cut to an int: `real` has it all */
  double real;
  char *name;
};

static struct {
  struct hmci_json *(*parse)(const char *text, size_t size);
  void (*free)(struct hmci_json *tree);
  struct hmci_json *(*member)(const struct hmci_json *object, const char *name);
} json;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char fault[256]; /* why it cannot be used; written once */

static void load(void) {
  static const struct {
    const char *name;
    void *to;
  } symbols[] = {
      {"cJSON_ParseWithLength", &json.parse},
      {"cJSON_Delete", &json.free},
      {"cJSON_GetObjectItemCaseSensitive", &json.member},
  };
  void *library = dlopen("libcjson.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    snprintf(fault, sizeof(fault), "an etcd cluster as the store needs libcjson.so.1 (Debian: libcjson1)");
    return;
  }
  for (size_t i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
    void *symbol = dlsym(library, symbols[i].name);
    if (symbol == NULL) {
      snprintf(fault, sizeof(fault), "the libcjson here is too old: it has no %s (1.7.13 has)", symbols[i].name);
      return;
    }
    memcpy(symbols[i].to, &symbol, sizeof(symbol));
  }
}

hmc_status_t hmci_json_load(void) {
  pthread_once(&once, load);
  return fault[0] == '\0' ? HMC_SUCCESS : hmci_fail(HMC_UNSUPPORT, "%s", fault);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static bool is_kind(hmci_json_t value, int kind) { return value != NULL && (value->kind & KIND_MASK) == kind; }

hmci_json_t hmci_text_read(hmci_text_t *text) {
  if (text->tree == NULL && text->size > 0) {
    text->tree = json.parse(text->data, text->size);
  }
  return text->tree;
}

hmci_json_t hmci_json_get(hmci_json_t object, const char *path) {
  char name[64];
  for (; is_kind(object, KIND_OBJECT); path++) {
    size_t length = strcspn(path, ".");
    snprintf(name, sizeof(name), "%.*s", (int)length, path);
    object = json.member(object, name);
    path += length;
    if (*path == '\0') {
      return object;
    }
  }
  return NULL;
}

hmci_json_t hmci_json_next(hmci_json_t array, hmci_json_t before) {
  if (!is_kind(array, KIND_ARRAY)) {
    return NULL;
  }
  return before != NULL ? before->next : array->child;
}

int64_t hmci_json_number(hmci_json_t value) {
  if (is_kind(value, KIND_STRING)) {
    return strtoll(value->text, NULL, 10);
  }
  return is_kind(value, KIND_NUMBER) && value->real > -9e15 && value->real < 9e15 ? (int64_t)value->real : 0;
}

bool hmci_json_is_true(hmci_json_t value) { return is_kind(value, KIND_TRUE); }

void hmci_json_text(hmci_json_t value, char *text, size_t room) {
  snprintf(text, room, "%s", is_kind(value, KIND_STRING) ? value->text : "");
}

uint8_t *hmci_json_bytes(hmci_json_t value, size_t *size) {
  const char *text = is_kind(value, KIND_STRING) ? value->text : "";
  const char *end = text + strcspn(text, "=");
  size_t length = strlen(text), padding = strlen(end);
  if (length > INT_MAX || length % 4 != 0 || padding > 2 || (padding == 2 && end[1] != '=')) {
    return NULL;
  }
  uint8_t *bytes = malloc(length / 4 * 3 + 1);
  if (bytes != NULL && length > 0 && EVP_DecodeBlock(bytes, (const uint8_t *)text, (int)length) < 0) {
    free(bytes);
    bytes = NULL;
  }
  if (bytes != NULL) {
    *size = length / 4 * 3 - padding;
    bytes[*size] = 0;
  }
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
    if (size > 0) {
      memcpy(text->data + text->size, data, size); /* no bytes may be at NULL, which memcpy does not take */
    }
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
  if (size > INT_MAX / 2 || !reserve(text, (size + 2) / 3 * 4 + 2)) {
    text->has_failed = true;
    return;
  }
  char *to = text->data + text->size;
  *to = '"';
  text->size += 2 + (size_t)EVP_EncodeBlock((uint8_t *)to + 1, data, (int)size);
  memcpy(text->data + text->size - 1, "\"", 2);
}

void hmci_text_clear(hmci_text_t *text) {
  if (text->tree != NULL) {
    json.free(text->tree);
  }
  text->tree = NULL;
  text->size = 0;
}

void hmci_text_free(hmci_text_t *text) {
  hmci_text_clear(text);
  free(text->data);
  *text = (hmci_text_t){.data = NULL};
}
