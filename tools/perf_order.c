/* Orders and answers of a staged mode as the text that travels (see perf.h). */
#include "perf.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { ORDER_MS = 30000 };

static const struct {
  const char *word;
  perf_order_kind_t kind;
  unsigned numbers; /* behind the word */
} words[] = {
    {"stage", PERF_ORDER_STAGE, 1}, {"load", PERF_ORDER_LOAD, 3},     {"store", PERF_ORDER_STORE, 3},
    {"done", PERF_ORDER_DONE, 1},   {"failed", PERF_ORDER_FAILED, 1},
};
enum { WORDS = sizeof words / sizeof words[0] };

size_t perf_order_format(const perf_order_t *order, char *text, size_t size) {
  size_t i = 0;
  while (i + 1 < WORDS && words[i].kind != order->kind) i++;
  unsigned long long number = order->number, offset = order->offset, length = order->length;
  int used;
  if (words[i].numbers == 3)
    used = snprintf(text, size, "%s %llu %llu %llu", words[i].word, number, offset, length);
  else if (order->kind == PERF_ORDER_FAILED)
    used = snprintf(text, size, "%s %llu %s", words[i].word, number, order->text);
  else
    used = snprintf(text, size, "%s %llu", words[i].word, number);
  return (size_t)used < size ? (size_t)used : size - 1;
}

/* Reads " 123"; answers what follows, or NULL. */
static const char *scan_number(const char *at, uint64_t *number) {
  if (*at != ' ' || !isdigit((unsigned char)at[1])) return NULL;
  char *end;
  errno = 0;
  *number = strtoull(at + 1, &end, 10);
  return errno ? NULL : end;
}

bool perf_order_parse(const char *text, size_t size, perf_order_t *order) {
  char line[sizeof order->text + 64];
  if (size >= sizeof line || memchr(text, '\0', size)) return false;
  memcpy(line, text, size);
  line[size] = '\0';
  size_t length = strcspn(line, " "), i = 0;
  while (i < WORDS && (strlen(words[i].word) != length || strncmp(line, words[i].word, length) != 0)) i++;
  if (i == WORDS) return false;
  perf_order_t found = {.kind = words[i].kind};
  uint64_t *const numbers[] = {&found.number, &found.offset, &found.length};
  const char *at = line + length;
  for (unsigned n = 0; at && n < words[i].numbers && n < sizeof numbers / sizeof *numbers; n++)
    at = scan_number(at, numbers[n]);
  if (!at) return false;
  if (found.kind == PERF_ORDER_FAILED && *at == ' ')
    snprintf(found.text, sizeof found.text, "%s", at + 1);
  else if (*at)
    return false;
  *order = found;
  return true;
}

hmc_status_t perf_order_send(hmc_region_t *any, hmc_remote_t *door, const perf_order_t *order) {
  char text[sizeof order->text + 64];
  size_t size = perf_order_format(order, text, sizeof text);
  hmc_operation_options_t options = {
      .size = sizeof(hmc_operation_options_t), .timeout_ms = ORDER_MS, .notification = text, .notification_size = size};
  hmc_request_t *request;
  hmc_status_t status = hmc_put_nb(any, 0, door, 0, 0, &options, &request);
  if (status != HMC_SUCCESS) return status;
  status = hmc_request_wait(request);
  hmc_request_free(request);
  return status;
}
