/* hmc-perf --compare FILE: the lines of a former run, as --format json has printed them, beside those of this one. */
#include "perf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FORMER_MOST = 1024 };

typedef struct former {
  char transport[16], op[8], mode[16];
  uint64_t bytes;
  double gbytes, median_us;
} former_t;

static former_t former[FORMER_MOST];
static size_t former_count;

/* The value of a key in a line that this program has printed: one object, no nesting. */
static const char *value_of(const char *line, const char *key) {
  char quoted[48];
  snprintf(quoted, sizeof quoted, "\"%s\":", key);
  const char *at = strstr(line, quoted);
  return at ? at + strlen(quoted) : "";
}

static void text_of(const char *line, const char *key, char *text, size_t size) {
  const char *value = value_of(line, key);
  text[0] = '\0';
  if (*value == '"') snprintf(text, size, "%.*s", (int)strcspn(value + 1, "\""), value + 1);
}

int perf_compare_read(const char *path) {
  char line[2048];
  FILE *file = fopen(path, "re");
  if (!file) return tool_fail("--compare %s: %s", path, strerror(errno));
  while (former_count < FORMER_MOST && fgets(line, sizeof line, file)) {
    former_t *row = &former[former_count];
    text_of(line, "transport", row->transport, sizeof row->transport);
    text_of(line, "op", row->op, sizeof row->op);
    text_of(line, "mode", row->mode, sizeof row->mode);
    row->bytes = strtoull(value_of(line, "bytes"), NULL, 10);
    row->gbytes = strtod(value_of(line, "gbytes_per_second"), NULL);
    row->median_us = strtod(value_of(line, "latency_us_median"), NULL);
    if (row->transport[0] && row->bytes && row->gbytes > 0) former_count++;
  }
  fclose(file);
  return former_count ? TOOL_DONE : tool_fail("--compare %s: there is no line of --format json in it", path);
}

double perf_compare_ratio(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result) {
  double gbytes = (double)result->operations * (double)result->bytes / result->seconds / 1e9;
  const char *mode = options->mode ? options->mode->name : "", *op = options->get ? "get" : "put";
  for (size_t i = 0; i < former_count; i++) {
    const former_t *row = &former[i];
    if (row->bytes != result->bytes || strcmp(row->transport, names->transport) != 0 || strcmp(row->op, op) != 0 ||
        strcmp(row->mode, mode) != 0)
      continue;
    if (options->plot)
      perf_plot_add(*mode ? mode : names->transport, true,
                    &(perf_result_t){.bytes = row->bytes,
                                     .operations = 1,
                                     .seconds = (double)row->bytes / row->gbytes / 1e9,
                                     .median_us = row->median_us});
    return gbytes / row->gbytes;
  }
  return 0;
}
