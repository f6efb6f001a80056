/* hmc-top: what processes with HMC_METRICS move at the moment, peer by peer. */
#include "interrupt.h"
#include "options.h"
#include "top.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const double FIRST_PATIENCE_S = 2;

static const tool_option_t options[] = {
    {'i', "interval", "SECONDS", NULL, "seconds between updates (1)"},
    {'1', "once", NULL, NULL, "show the rates once, and end"},
    {'t', "totals", NULL, NULL, "totals instead of rates"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-top",
    .purpose = "show what HMC moves at the moment, peer by peer",
    .synopses = (const char *const[]){"[OPTION]... [ADDRESS]...", NULL},
    .description = "\nAsks processes that were started with HMC_METRICS and shows the operations and bytes per second "
                   "of each of their "
                   "peers, the latencies of puts and gets that were not mere copies in mapped memory, and what failed. "
                   "ADDRESS is what "
                   "HMC_METRICS says there: unix:PATH or HOST:PORT; without one, what HMC_METRICS says here.",
    .options = options,
    .examples = (const char *const[]){"HMC_METRICS=unix:/tmp/hmc.%p ./program &", "hmc-top unix:/tmp/hmc.$!",
                                      "hmc-top --once 127.0.0.1:9400", NULL},
    .notes = "Exit status: 0 done, 1 nobody answered, 2 the command line is wrong.",
};

/* "950", "12.3K", "4.57M". */
static const char *short_number(double value, char text[16]) {
  static const char *const units[] = {"", "K", "M", "G", "T"};
  size_t unit = 0;
  for (; value >= 999.5 && unit < 4; unit++) value /= 1000;
  snprintf(text, 16,
           unit == 0     ? "%.0f%s"
           : value < 10  ? "%.2f%s"
           : value < 100 ? "%.1f%s"
                         : "%.0f%s",
           value, units[unit]);
  return text;
}

static const char *short_time(double seconds, char text[16]) {
  if (seconds <= 0) return "-";
  snprintf(text, 16,
           seconds < 1e-3 ? "%.0fus"
           : seconds < 1  ? "%.1fms"
                          : "%.1fs",
           seconds < 1e-3 ? seconds * 1e6
           : seconds < 1  ? seconds * 1e3
                          : seconds);
  return text;
}

static double total_of(const top_latency_t *latency) {
  return latency->buckets ? latency->below[latency->buckets - 1] : 0;
}

/* How many took less than a limit, by buckets of which the empty ones are left out. */
static double below(const top_latency_t *latency, double limit) {
  double found = 0;
  for (size_t i = 0; i < latency->buckets && latency->limit[i] <= limit; i++) found = latency->below[i];
  return found;
}

/* The limit below which a share of what came since `before` stayed; of puts or of gets, whichever were more. */
static double quantile(const top_row_t *row, const top_row_t *before, double share) {
  double puts = total_of(&row->put) - total_of(&before->put), gets = total_of(&row->get) - total_of(&before->get);
  const top_latency_t *now = puts >= gets ? &row->put : &row->get, *then = puts >= gets ? &before->put : &before->get;
  double total = puts >= gets ? puts : gets;
  for (size_t i = 0; total > 0 && i < now->buckets; i++) {
    if (now->below[i] - below(then, now->limit[i]) >= share * total) return now->limit[i] > 1e6 ? 0 : now->limit[i];
  }
  return 0;
}

static const top_row_t *find(const top_table_t *table, const top_row_t *row) {
  for (size_t i = 0; i < table->count; i++) {
    const top_row_t *other = &table->rows[i];
    if (strcmp(other->process, row->process) == 0 && strcmp(other->context, row->context) == 0 &&
        strcmp(other->peer, row->peer) == 0)
      return other;
  }
  return NULL;
}

/* "context peer"; where both do not fit, the context is cut: peers differ by address and port. */
static void name_row(const top_row_t *row, int room, char *text, size_t size) {
  int left = room - 1 - (int)strlen(row->peer);
  snprintf(text, size, "%.*s %s", left < 3 ? 3 : left, row->context, row->peer);
}

static void show_row(const top_row_t *row, const top_row_t *before, double seconds, int width) {
  static const top_row_t nothing = {0};
  const top_row_t *from = before ? before : &nothing;
  char text[8][16], who[160];
  double divided = seconds > 0 ? seconds : 1;
  name_row(row, width - 58, who, sizeof who);
  if (row->name[0] && width > 100) snprintf(who, sizeof who, "%s %s (%s)", row->context, row->peer, row->name);
  printf("%s%-*.*s %-5s %7s %7s %7s %7s %6s %6s %5s%s\n", row->connected ? "" : tool_color(TOOL_DIM), width - 58,
         width - 58, who, row->route, short_number((row->puts - from->puts) / divided, text[0]),
         short_number((row->put_bytes - from->put_bytes) / divided, text[1]),
         short_number((row->gets - from->gets) / divided, text[2]),
         short_number((row->get_bytes - from->get_bytes) / divided, text[3]),
         short_time(quantile(row, from, 0.5), text[4]), short_time(quantile(row, from, 0.99), text[5]),
         short_number(row->failures + row->timeouts, text[6]), row->connected ? "" : tool_color(TOOL_PLAIN));
}

static int compare(const void *a, const void *b) {
  const top_row_t *one = a, *two = b;
  double left = one->put_bytes + one->get_bytes, right = two->put_bytes + two->get_bytes;
  return left < right ? 1 : left > right ? -1 : strcmp(one->peer, two->peer);
}

static void show(top_table_t *now, const top_table_t *before, double seconds) {
  int width = tool_columns();
  const char *per = seconds > 0 ? "/s" : "";
  char put[16], get[16];
  snprintf(put, sizeof put, "put%s", per);
  snprintf(get, sizeof get, "get%s", per);
  qsort(now->rows, now->count, sizeof now->rows[0], compare);
  printf("%s%-*s %-5s %7s %7s %7s %7s %6s %6s %5s%s\n", tool_color(TOOL_BOLD), width - 58, "context and peer", "route",
         put, seconds > 0 ? "B/s" : "B", get, seconds > 0 ? "B/s" : "B", "p50", "p99", "fail", tool_color(TOOL_PLAIN));
  for (size_t i = 0; i < now->count; i++)
    show_row(&now->rows[i], before && seconds > 0 ? find(before, &now->rows[i]) : NULL, seconds, width);
  if (!now->count) printf("no peers\n");
  fflush(stdout);
}

/* The rows of all that answer. Says why others do not; where nobody is there (yet) it only sets `absent`, unless NULL. */
static bool fetch_all(char *const *addresses, size_t count, top_table_t *table, bool *absent) {
  char problem[256];
  bool some = false;
  table->count = 0;
  for (size_t i = 0; i < count; i++) {
    if (top_fetch(addresses[i], table, problem, sizeof problem))
      some = true;
    else if (absent && (errno == ENOENT || errno == ECONNREFUSED))
      *absent = true;
    else
      tool_fail("%s", problem);
  }
  return some;
}

static void sleep_for(double seconds) {
  struct timespec time = {.tv_sec = (time_t)seconds, .tv_nsec = (long)((seconds - (double)(time_t)seconds) * 1e9)};
  nanosleep(&time, NULL);
}

/* Asks until one answers, for a moment: programs that were started just before this one need it to open their sockets. */
static bool fetch_first(char *const *addresses, size_t count, top_table_t *table) {
  for (double end = tool_clock() + FIRST_PATIENCE_S; tool_clock() < end && !tool_interrupted; sleep_for(0.05)) {
    bool absent = false, some = fetch_all(addresses, count, table, &absent);
    if (!absent) return some;
  }
  return fetch_all(addresses, count, table, NULL);
}

static int watch(char *const *addresses, size_t count, double interval, bool once) {
  static top_table_t tables[2];
  int current = 0;
  if (!fetch_first(addresses, count, &tables[current])) return TOOL_FAILED;
  double since = tool_clock();
  while (!tool_interrupted) {
    sleep_for(interval);
    if (tool_interrupted) break;
    current = !current;
    double now = tool_clock();
    if (!fetch_all(addresses, count, &tables[current], NULL)) return TOOL_FAILED;
    if (!once && isatty(STDOUT_FILENO)) printf("\033[H\033[2J");
    show(&tables[current], &tables[!current], now - since);
    since = now;
    if (once) break;
  }
  return TOOL_DONE;
}

int main(int count, char **arguments) {
  double interval = 1;
  bool once = false, totals = false;
  tool_begin("hmc-top");
  for (int letter; (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    switch (letter) {
    case 'i':
      if (!tool_read_seconds("interval", optarg, &interval)) return TOOL_USAGE;
      break;
    case '1': once = true; break;
    case 't': totals = true; break;
    case TOOL_OPTIONS_DONE: return tool_finish_output();
    default: return TOOL_USAGE;
    }
  }
  char *here = getenv("HMC_METRICS");
  char *const *addresses = optind < count ? arguments + optind : &here;
  size_t address_count = optind < count ? (size_t)(count - optind) : 1;
  if (!addresses[0] || !addresses[0][0])
    return tool_usage_error("an address is expected: what HMC_METRICS says in the process to look at");
  for (size_t i = 0; i < address_count; i++) {
    if (!top_is_address(addresses[i]))
      return tool_usage_error("'%s': unix:PATH or HOST:PORT is expected, as HMC_METRICS has it", addresses[i]);
  }
  tool_catch_interrupts();
  static top_table_t table;
  int code;
  if (totals) {
    code = fetch_first(addresses, address_count, &table) ? TOOL_DONE : TOOL_FAILED;
    if (code == TOOL_DONE) show(&table, NULL, 0);
  } else {
    code = watch(addresses, address_count, interval, once);
  }
  int output = tool_finish_output();
  return code == TOOL_DONE ? output : code;
}
