/* The lines that hmc-perf prints on stdout: text for people, JSON (one object per line) and CSV for programs.
 * The keys and columns of JSON and CSV stay as they are; new ones are added at the end. */
#include "options.h"
#include "perf.h"

#include <string.h>
#include <unistd.h>

#define BAR_FULL "━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━"

/* The rows of several modes are between memories whose names differ in length. */
static int memory_width(const perf_options_t *options, const perf_names_t *names) {
  int width = (int)(strlen(names->memory) + strlen(names->peer_memory)) + 4, least = options->mode ? 14 : 0;
  return width > least ? width : least;
}

const char *perf_operation(const perf_options_t *options) {
  return options->mix ? "mix" : options->get ? "get" : "put";
}

void perf_report_progress(const perf_options_t *options, size_t number) {
  enum { BAR = 30 };
  char bytes[32];
  if (options->format != PERF_TEXT || options->size_count < 2 || !isatty(STDERR_FILENO) || !isatty(STDOUT_FILENO))
    return;
  int done = (int)(BAR * number / options->size_count);
  tool_format_bytes(options->sizes[number], bytes, sizeof bytes);
  fprintf(stderr, "  %s%.*s%s%.*s%s %zu of %zu: %s", tool_color(TOOL_GREEN), done * 3, BAR_FULL, tool_color(TOOL_DIM),
          (BAR - done) * 3, BAR_FULL, tool_color(TOOL_PLAIN), number + 1, options->size_count, bytes);
}

/* The cursor goes back to where the line begins, and what stands there goes. */
static void wipe_progress(const perf_options_t *options) {
  if (options->format == PERF_TEXT && options->size_count > 1 && isatty(STDERR_FILENO) && isatty(STDOUT_FILENO))
    fputs("\r\033[K", stderr);
}

void perf_report_first(const perf_options_t *options, double connect_seconds, double first_seconds) {
  if (options->format != PERF_TEXT || options->goes_on) return;
  printf("connected in %.2f ms", connect_seconds * 1e3);
  if (first_seconds > 0) printf("; the first transfer took %.1f us", first_seconds * 1e6);
  printf("\n");
}

/* Text fits into 80 columns. */
void perf_report_begin(const perf_options_t *options, const perf_names_t *names) {
  if (options->goes_on) return;
  if (options->format == PERF_CSV)
    printf("transport,op,memory,peer_memory,bytes,depth,threads,iterations,seconds,latency_us_median,latency_us_p99,"
           "gbytes_per_second,operations_per_second,verified,mode,cpu_seconds_per_gib,ratio,peers,blocks,own_memory\n");
  if (options->format == PERF_TEXT)
    printf("%s%s%-9s %-3s %-*s %8s %9s %8s %7s%s%s%s%s\n", tool_color(TOOL_BOLD), options->mode ? "mode     " : "",
           "transport", "op", memory_width(options, names), "memory", "bytes", "median us", "p99 us", "GB/s",
           options->mode ? "" : "    ops/s CPU/GiB", options->verify ? "  right" : "",
           options->compare ? "  ratio" : "", tool_color(TOOL_PLAIN));
  fflush(stdout);
}

static double cpu_per_gib(const perf_result_t *result) {
  return result->cpu_seconds / ((double)result->operations * (double)result->bytes / (1 << 30));
}

/* `value` with as many decimals, at most three, as leave it within `width` characters: a busy machine makes figures long. */
static void format_figure(char *text, size_t size, double value, int width) {
  int decimals = 3;
  while (snprintf(text, size, "%.*f", decimals, value) > width && decimals > 0) decimals--;
}

static void print_text(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result,
                       double gbytes, double rate) {
  char memories[72], median[32] = "-", p99[32] = "-", rates[72] = "", cpu[32] = "-";
  char speed[32], ratio[32] = "";
  snprintf(memories, sizeof memories,
           options->mix   ? "%s <> %s"
           : options->get ? "%s <- %s"
                          : "%s -> %s",
           names->memory, names->peer_memory);
  if (!options->bandwidth) {
    format_figure(median, sizeof median, result->median_us, 9);
    format_figure(p99, sizeof p99, result->p99_us, 8);
  }
  if (options->mode) printf("%-8s ", options->mode->name);
  double used = cpu_per_gib(result);
  if (used > 0) snprintf(cpu, sizeof cpu, used < 100 ? "%.3f s" : used < 99999 ? "%.0f s" : "-", used);
  if (!options->mode) snprintf(rates, sizeof rates, " %8.0f %7s", rate, cpu);
  format_figure(speed, sizeof speed, gbytes, 7);
  if (options->compare) snprintf(ratio, sizeof ratio, result->ratio > 0 ? "  %5.2f" : "      -", result->ratio);
  printf("%-9s %-3s %-*s %8llu %9s %8s %7s%s%s%s\n", names->transport, perf_operation(options),
         memory_width(options, names), memories, (unsigned long long)result->bytes, median, p99, speed, rates,
         result->verified  ? "    yes"
         : options->verify ? "      -"
                           : "",
         ratio);
}

static void print_json(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result,
                       double gbytes, double rate) {
  printf("{\"transport\":\"%s\",\"op\":\"%s\",\"memory\":\"%s\",\"peer_memory\":\"%s\",\"bytes\":%llu,\"depth\":%u,"
         "\"threads\":%u,\"iterations\":%llu,\"seconds\":%.9f,",
         names->transport, perf_operation(options), names->memory, names->peer_memory,
         (unsigned long long)result->bytes, options->depth, options->threads, (unsigned long long)result->operations,
         result->seconds);
  if (options->bandwidth)
    printf("\"latency_us_median\":null,\"latency_us_p99\":null,");
  else
    printf("\"latency_us_median\":%.4f,\"latency_us_p99\":%.4f,", result->median_us, result->p99_us);
  printf("\"gbytes_per_second\":%.9f,\"operations_per_second\":%.3f,\"verified\":%s,\"mode\":", gbytes, rate,
         result->verified ? "true" : "null");
  if (options->mode)
    tool_print_json(stdout, options->mode->name);
  else
    printf("null");
  printf(",\"cpu_seconds_per_gib\":%.6f,", cpu_per_gib(result));
  printf(result->ratio > 0 ? "\"ratio\":%.4f," : "\"ratio\":null,", result->ratio);
  printf("\"peers\":%u,\"blocks\":", options->target_count);
  if (options->blocks)
    tool_print_json(stdout, options->blocks->name);
  else
    printf("null");
  printf(",\"own_memory\":%s}\n", options->own_memory ? "true" : "false");
}

static void print_csv(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result,
                      double gbytes, double rate) {
  printf("%s,%s,%s,%s,%llu,%u,%u,%llu,%.9f,", names->transport, perf_operation(options), names->memory,
         names->peer_memory, (unsigned long long)result->bytes, options->depth, options->threads,
         (unsigned long long)result->operations, result->seconds);
  if (options->bandwidth)
    printf(",,");
  else
    printf("%.4f,%.4f,", result->median_us, result->p99_us);
  printf("%.9f,%.3f,%s,%s,%.6f,", gbytes, rate, result->verified ? "yes" : "", options->mode ? options->mode->name : "",
         cpu_per_gib(result));
  printf(result->ratio > 0 ? "%.4f," : ",", result->ratio);
  printf("%u,%s,%s\n", options->target_count, options->blocks ? options->blocks->name : "",
         options->own_memory ? "yes" : "");
}

void perf_report(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result) {
  double rate = (double)result->operations / result->seconds;
  double gbytes = rate * (double)result->bytes / 1e9;
  wipe_progress(options);
  if (options->format == PERF_JSON)
    print_json(options, names, result, gbytes, rate);
  else if (options->format == PERF_CSV)
    print_csv(options, names, result, gbytes, rate);
  else
    print_text(options, names, result, gbytes, rate);
  fflush(stdout);
}
