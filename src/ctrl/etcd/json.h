/* What the client of etcd reads and writes of JSON: texts that grow, the values in them, and bytes as base64.
 *
 * cJSON reads, opened at run time as libcurl is, and OpenSSL has the base64. Whatever is missing or malformed reads as
 * "not there". */
#ifndef HMCI_ETCD_JSON_H
#define HMCI_ETCD_JSON_H

#include "../../base/base.h"

/* A value; it lives as long as the text that it was read from is not changed. NULL: none. */
typedef struct hmci_json const *hmci_json_t;

/* Opens cJSON, before anything is read. HMC_UNSUPPORT: this machine has none. */
hmc_status_t hmci_json_load(void);

/* The member of an object with that name, where the path is "a" or "a.b.c"; else none. */
hmci_json_t hmci_json_get(hmci_json_t object, const char *path);

/* The next element of an array after `at`, or the first after none; none at its end. */
hmci_json_t hmci_json_next(hmci_json_t array, hmci_json_t at);

/* A number, written as one or in quotes, as etcd does; 0: it is none. */
int64_t hmci_json_number(hmci_json_t value);
bool hmci_json_is_true(hmci_json_t value);

/* A string; cut to the room. */
void hmci_json_text(hmci_json_t value, char *text, size_t room);

/* The bytes of a base64 string, to be freed, with a NUL behind them; NULL: no memory, or no base64. None has 0 bytes. */
uint8_t *hmci_json_bytes(hmci_json_t value, size_t *size);

/* ---- texts ------------------------------------------------------------------------------------------------------- */

/* A text that grows. Once there was no memory it stays failed. */
typedef struct hmci_text {
  char *data;
  size_t size, room;
  bool has_failed;
  struct hmci_json *tree; /* what was read of it; NULL: nothing */
} hmci_text_t;

void hmci_text_add(hmci_text_t *text, const void *data, size_t size);
void hmci_text_print(hmci_text_t *text, const char *format, ...) HMCI_PRINTF(2, 3);
/* Bytes as a base64 string, with its quotes. */
void hmci_text_bytes(hmci_text_t *text, const void *data, size_t size);
/* Its value, read once; NULL: it is not JSON. */
hmci_json_t hmci_text_read(hmci_text_t *text);
/* Empties it. */
void hmci_text_clear(hmci_text_t *text);
void hmci_text_free(hmci_text_t *text);

#endif
