/* The lines that hmc-perf prints on stdout: text for people, JSON (one object per line) and CSV for programs.
 * The keys and columns of JSON and CSV stay as they are; new ones are added at the end. */
#include "perf.h"

void perf_report_begin(const perf_options_t *options) {
  if (options->format == PERF_CSV)
    printf("transport,op,memory,peer_memory,bytes,depth,threads,iterations,seconds,latency_us_median,latency_us_p99,"
           "gbytes_per_second,operations_per_second,verified,mode\n");
  if (options->format == PERF_TEXT)
    printf("%s%-9s %-3s %-20s %11s %10s %10s %10s %8s %11s%s\n", options->mode ? "mode     " : "", "transport", "op",
           "memory", "bytes", "iterations", "median us", "p99 us", "GB/s", "ops/s",
           options->verify ? "  verified" : "");
  fflush(stdout);
}

static void print_text(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result,
                       double gbytes, double rate) {
  char memories[72], median[32] = "-", p99[32] = "-";
  snprintf(memories, sizeof memories, options->get ? "%s <- %s" : "%s -> %s", names->memory, names->peer_memory);
  if (!options->bandwidth) {
    snprintf(median, sizeof median, "%.3f", result->median_us);
    snprintf(p99, sizeof p99, "%.3f", result->p99_us);
  }
  if (options->mode) printf("%-8s ", options->mode->name);
  printf("%-9s %-3s %-20s %11llu %10llu %10s %10s %8.3f %11.0f%s\n", names->transport, options->get ? "get" : "put",
         memories, (unsigned long long)result->bytes, (unsigned long long)result->operations, median, p99, gbytes, rate,
         result->verified ? "       yes" : "");
}

static void print_json(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result,
                       double gbytes, double rate) {
  printf("{\"transport\":\"%s\",\"op\":\"%s\",\"memory\":\"%s\",\"peer_memory\":\"%s\",\"bytes\":%llu,\"depth\":%u,"
         "\"threads\":%u,\"iterations\":%llu,\"seconds\":%.9f,",
         names->transport, options->get ? "get" : "put", names->memory, names->peer_memory,
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
  printf("}\n");
}

static void print_csv(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result,
                      double gbytes, double rate) {
  printf("%s,%s,%s,%s,%llu,%u,%u,%llu,%.9f,", names->transport, options->get ? "get" : "put", names->memory,
         names->peer_memory, (unsigned long long)result->bytes, options->depth, options->threads,
         (unsigned long long)result->operations, result->seconds);
  if (options->bandwidth)
    printf(",,");
  else
    printf("%.4f,%.4f,", result->median_us, result->p99_us);
  printf("%.9f,%.3f,%s,%s\n", gbytes, rate, result->verified ? "yes" : "", options->mode ? options->mode->name : "");
}

void perf_report(const perf_options_t *options, const perf_names_t *names, const perf_result_t *result) {
  double rate = (double)result->operations / result->seconds;
  double gbytes = rate * (double)result->bytes / 1e9;
  if (options->format == PERF_JSON)
    print_json(options, names, result, gbytes, rate);
  else if (options->format == PERF_CSV)
    print_csv(options, names, result, gbytes, rate);
  else
    print_text(options, names, result, gbytes, rate);
  fflush(stdout);
}
