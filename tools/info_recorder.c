/* hmc-info --recorder: what a process has kept in its last moments. */
#include "info.h"

#include "tool.h"

#include <time.h>

static const char *const kinds[] = {"?", "context", "peer", "put", "get", "atomic", "log"};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *kind_of(const hmc_record_t *record) {
  return (unsigned)record->kind < KINDS ? kinds[record->kind] : "?";
}

static const char *moment_of(const hmc_record_t *record) {
  bool begins = record->status == HMC_SUCCESS;
  if (record->kind == HMC_RECORD_CONTEXT) return begins ? "made" : "destroyed";
  if (record->kind == HMC_RECORD_PEER) return begins ? "connected" : "lost";
  return "";
}

static bool is_operation(const hmc_record_t *record) {
  return record->kind >= HMC_RECORD_PUT && record->kind <= HMC_RECORD_ATOMIC;
}

static void show_line(const hmc_record_t *record, void *user) {
  (void)user;
  time_t second = (time_t)(record->nanoseconds / 1000000000u);
  struct tm time;
  gmtime_r(&second, &time);
  printf("%02d:%02d:%02d.%06u %7d  %-7s ", time.tm_hour, time.tm_min, time.tm_sec,
         (unsigned)(record->nanoseconds % 1000000000u / 1000), record->thread, kind_of(record));
  if (is_operation(record)) {
    char bytes[32];
    tool_format_bytes(record->bytes, bytes, sizeof bytes);
    printf("%s, %s in %.1f us: %s\n", record->text, bytes, (double)record->duration / 1000,
           hmc_status_name(record->status));
  } else {
    printf("%s%s%s\n", record->text, *moment_of(record) ? " " : "", moment_of(record));
  }
}

/* One event of the trace event format: an operation is a bar from its beginning, all else a mark. */
static void show_event(const hmc_record_t *record, void *user) {
  const char **comma = user;
  double end = (double)record->nanoseconds / 1000, length = (double)record->duration / 1000;
  printf("%s{\"name\":\"%s\",\"cat\":\"hmc\",\"ph\":\"%s\",\"ts\":%.3f,", *comma, kind_of(record),
         is_operation(record) ? "X" : "i", end - length);
  if (is_operation(record)) printf("\"dur\":%.3f,", length);
  if (!is_operation(record)) printf("\"s\":\"p\",");
  printf("\"pid\":%d,\"tid\":%d,\"args\":{\"bytes\":%llu,\"status\":\"%s\",\"text\":", record->process, record->thread,
         (unsigned long long)record->bytes, hmc_status_name(record->status));
  tool_print_json(stdout, record->text);
  printf("}}");
  *comma = ",\n";
}

int info_recorder(const char *path, bool trace) {
  const char *comma = "";
  if (trace) printf("{\"traceEvents\":[");
  hmc_status_t status = hmc_recorder_read(path, trace ? show_event : show_line, &comma);
  if (trace) printf("]}\n");
  return status == HMC_SUCCESS ? TOOL_DONE : tool_fail_hmc("--recorder", status);
}
