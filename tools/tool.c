/* The parts that the tools share; see tool.h. */
#include "tool.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static const char *program = "hmc";

const hmc_connection_type_t tool_types[TOOL_TYPES] = {
#define TYPE(NAME, value, name) HMC_CONNECTION_##NAME,
    HMC_CONNECTION_LIST(TYPE)
#undef TYPE
};

void tool_begin(const char *name) { program = name; }

/* One write per line, so that lines of two processes do not mix. */
static void say(const char *format, va_list arguments, const char *end) {
  char line[1024];
  int used = snprintf(line, sizeof line, "%s: ", program);
  vsnprintf(line + used, sizeof line - (size_t)used, format, arguments);
  fprintf(stderr, "%s%s\n", line, end);
}

int tool_fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments, "");
  va_end(arguments);
  return TOOL_FAILED;
}

int tool_fail_hmc(const char *what, hmc_status_t status) {
  const char *text = hmc_last_error();
  return tool_fail("%s: %s", what, text[0] ? text : hmc_status_text(status));
}

int tool_usage_error(const char *format, ...) {
  char help[128];
  snprintf(help, sizeof help, "\nTry '%s --help'.", program);
  va_list arguments;
  va_start(arguments, format);
  say(format, arguments, help);
  va_end(arguments);
  return TOOL_USAGE;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Edits between two words: insertions, deletions, changes, and two letters that changed places. Words longer than the
 * table count as far apart. */
size_t tool_word_distance(const char *a, const char *b) {
  enum { LONGEST = 32 };
  size_t edits[LONGEST + 1][LONGEST + 1], la = strlen(a), lb = strlen(b);
  if (la > LONGEST || lb > LONGEST) return LONGEST;
  for (size_t i = 0; i <= la; i++) edits[i][0] = i;
  for (size_t j = 0; j <= lb; j++) edits[0][j] = j;
  for (size_t i = 1; i <= la; i++)
    for (size_t j = 1; j <= lb; j++) {
      size_t best = least(edits[i - 1][j], edits[i][j - 1]) + 1;
      best = least(best, edits[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = least(best, edits[i - 2][j - 2] + 1);
      edits[i][j] = best;
    }
  return edits[la][lb];
}

static const char *closest_option(const char *word, const struct option *options) {
  const char *best = NULL;
  size_t length = strlen(word), distance = length < 2 ? 0 : length < 5 ? 2 : 3; /* further is a guess, no correction */
  for (const struct option *option = options; option->name; option++) {
    size_t d = tool_word_distance(word, option->name);
    if (d < distance) {
      distance = d;
      best = option->name;
    }
  }
  return best;
}

static const char *option_of_value(int value, const struct option *options) {
  for (const struct option *option = options; option->name; option++)
    if (option->val == value) return option->name;
  return NULL;
}

int tool_option_error(int answer, char *const *arguments, const struct option *options) {
  const char *name = optopt ? option_of_value(optopt, options) : NULL;
  if (answer == ':') {
    bool in_full = strncmp(arguments[optind - 1], "--", 2) == 0;
    return name && in_full ? tool_usage_error("option '--%s' needs a value", name)
                           : tool_usage_error("option '-%c' needs a value", optopt);
  }
  if (name) /* known, so it was refused for a value that it does not take */
    return tool_usage_error("option '--%s' takes no value", name);
  if (optopt && isprint(optopt)) return tool_usage_error("unknown option '-%c'", optopt);
  char typed[64];
  snprintf(typed, sizeof typed, "%s", arguments[optind - 1]);
  typed[strcspn(typed, "=")] = '\0';
  const char *word = typed + strspn(typed, "-");
  size_t meant = 0, length = strlen(word);
  for (const struct option *option = options; option->name; option++)
    meant += length > 0 && strncmp(option->name, word, length) == 0;
  if (meant > 1) return tool_usage_error("option '%s' is ambiguous: write it in full", typed);
  const char *near = closest_option(word, options);
  return near ? tool_usage_error("unknown option '%s'; did you mean '--%s'?", typed, near)
              : tool_usage_error("unknown option '%s'", typed);
}

int tool_finish_output(void) {
  errno = 0;
  if (fflush(stdout) == 0 && !ferror(stdout)) return TOOL_DONE;
  return tool_fail("the output could not be written: %s",
                   errno ? strerror(errno) : "the disk is full, or its reader is gone");
}

bool tool_make_secret(void) {
  if (getenv("HMC_SECRET") || getenv("HMC_SECRET_FILE") || getenv("HMC_INSECURE")) return true;
  unsigned char bytes[32];
  char text[2 * sizeof bytes + 1];
  if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) return false;
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  return setenv("HMC_SECRET", text, 1) == 0;
}

double tool_clock(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Reads a size at the start of `text`; answers what follows it, or NULL. */
static const char *scan_size(const char *text, uint64_t *size) {
  if (!isdigit((unsigned char)*text)) return NULL;
  char *end;
  errno = 0;
  unsigned long long number = strtoull(text, &end, 10);
  if (errno) return NULL;
  static const char units[] = "KMGT";
  const char *unit = *end ? strchr(units, toupper((unsigned char)*end)) : NULL;
  unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
  if (number > (UINT64_MAX >> shift)) return NULL;
  if (unit) end++;
  if (unit && end[0] == 'i' && end[1] == 'B')
    end += 2;
  else if (*end == 'B')
    end++;
  *size = (uint64_t)number << shift;
  return end;
}

bool tool_parse_size(const char *text, uint64_t *size) {
  uint64_t value;
  const char *end = scan_size(text, &value);
  if (!end || *end) return false;
  *size = value;
  return true;
}

bool tool_parse_sizes(const char *text, uint64_t *sizes, size_t capacity, size_t *count) {
  size_t used = 0;
  for (const char *at = text;; at++) {
    uint64_t first, last;
    at = scan_size(at, &first);
    if (!at || first == 0) return false;
    last = first;
    if (at[0] == '.' && at[1] == '.') {
      at = scan_size(at + 2, &last);
      if (!at || last < first) return false;
    }
    for (uint64_t size = first;;) {
      if (used == capacity) return false;
      sizes[used++] = size;
      if (size == last) break;
      size = size > last / 2 ? last : size * 2;
    }
    if (*at == '\0') break;
    if (*at != ',') return false;
  }
  *count = used;
  return true;
}

bool tool_parse_count(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *count) {
  if (!isdigit((unsigned char)*text)) return false;
  char *end;
  errno = 0;
  unsigned long long number = strtoull(text, &end, 10);
  if (errno || *end || number < minimum || number > maximum) return false;
  *count = number;
  return true;
}

bool tool_parse_seconds(const char *text, double *seconds) {
  char *end;
  double number = strtod(text, &end);
  if (end == text || *end || !(number > 0 && number <= TOOL_SECONDS_MOST)) return false;
  *seconds = number;
  return true;
}

bool tool_read_count(const char *name, const char *text, uint64_t minimum, uint64_t maximum, uint64_t *count) {
  if (tool_parse_count(text, minimum, maximum, count)) return true;
  if (maximum >= INT64_MAX)
    tool_usage_error("--%s '%s': a number of at least %llu is expected", name, text, (unsigned long long)minimum);
  else
    tool_usage_error("--%s '%s': a number from %llu to %llu is expected", name, text, (unsigned long long)minimum,
                     (unsigned long long)maximum);
  return false;
}

bool tool_read_size(const char *name, const char *text, uint64_t *size) {
  uint64_t read;
  if (tool_parse_size(text, &read) && read > 0) {
    *size = read;
    return true;
  }
  tool_usage_error("--%s '%s': a size above 0 is expected: 64K or 1M", name, text);
  return false;
}

bool tool_read_seconds(const char *name, const char *text, double *seconds) {
  if (tool_parse_seconds(text, seconds)) return true;
  tool_usage_error("--%s '%s': a number above 0 is expected, of seconds, and at most 1e9", name, text);
  return false;
}

bool tool_parse_memory(const char *text, hmc_memory_t *memory) {
  char name[32];
  const char *colon = strchr(text, ':');
  size_t length = colon ? (size_t)(colon - text) : strlen(text);
  if (length >= sizeof name) return false;
  memcpy(name, text, length);
  name[length] = '\0';
  uint64_t device = (uint64_t)memory->device;
  hmc_memory_kind_t kind;
  if (colon && !tool_parse_count(colon + 1, 0, INT32_MAX, &device)) return false;
  if (hmc_memory_kind_parse(name, &kind) != HMC_SUCCESS) return false;
  *memory = (hmc_memory_t){kind, (int)device};
  return true;
}

void tool_format_memory(hmc_memory_t memory, char *text, size_t size) {
  if (memory.kind == HMC_MEMORY_CPU)
    snprintf(text, size, "%s", hmc_memory_kind_name(memory.kind));
  else
    snprintf(text, size, "%s:%d", hmc_memory_kind_name(memory.kind), memory.device);
}

void tool_format_bytes(uint64_t bytes, char *text, size_t size) {
  static const char *const units[] = {"KiB", "MiB", "GiB", "TiB"};
  if (bytes < 1024) {
    snprintf(text, size, "%d B", (int)bytes);
    return;
  }
  double value = (double)bytes / 1024;
  size_t unit = 0;
  for (; value >= 1024 && unit < 3; unit++) value /= 1024;
  bool whole = value == (double)(uint64_t)value;
  snprintf(text, size, whole ? "%.0f %s" : "%.2f %s", value, units[unit]);
}

bool tool_is_host_memory(hmc_memory_t memory) {
  return hmc_memory_resolve(memory, &memory) == HMC_SUCCESS &&
         (memory.kind == HMC_MEMORY_CPU || memory.kind == HMC_MEMORY_SIM);
}

uint64_t tool_host_bytes(void) { return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE); }

bool tool_fits_host(uint64_t bytes) {
  if (bytes <= tool_host_bytes()) return true;
  char wanted[32], there[32];
  tool_format_bytes(bytes, wanted, sizeof wanted);
  tool_format_bytes(tool_host_bytes(), there, sizeof there);
  tool_fail("%s of memory is needed in all, and this host has %s", wanted, there);
  return false;
}

void tool_print_json(FILE *file, const char *text) {
  fputc('"', file);
  for (const char *c = text; *c; c++) {
    if (*c == '"' || *c == '\\')
      fprintf(file, "\\%c", *c);
    else if ((unsigned char)*c < 0x20)
      fprintf(file, "\\u%04x", (unsigned)*c);
    else
      fputc(*c, file);
  }
  fputc('"', file);
}

#ifdef __SANITIZE_THREAD__
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);

void tool_shared_begin(void) {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

void tool_shared_end(void) {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}
#else
void tool_shared_begin(void) {}
void tool_shared_end(void) {}
#endif
