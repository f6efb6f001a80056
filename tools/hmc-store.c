/* hmc-store: serves a store, or looks at and changes one that another process serves. */
#include "interrupt.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char help[] = "Usage: hmc-store [OPTION]...\n"
                           "       hmc-store --at URL COMMAND [ARGUMENT]...\n"
                           "Serves a store until it is ended by Ctrl-C or SIGTERM; prints its URL.\n"
                           "With --at it is a client of the store that is there.\n"
                           "\n"
                           "  -i, --ip ADDRESS     where to listen; 127.0.0.1 unless it is given\n"
                           "  -p, --port PORT      0, the default, takes a free one\n"
                           "  -j, --journal FILE   keep everything in FILE, also over a kill and a restart\n"
                           "  -m, --memory SIZE    most bytes of keys and values that are taken (1G)\n"
                           "  -g, --grace SECONDS  how long a client that is gone keeps its leases (1)\n"
                           "  -a, --at URL         be a client: tcp://10.0.0.2:4100\n"
                           "  -t, --timeout SECONDS  deadline of a command (30)\n"
                           "  -h, --help           this text\n"
                           "  -V, --version        the version\n"
                           "\n"
                           "Commands: get KEY, set KEY VALUE, delete KEY, add KEY NUMBER, wait KEY, list [PREFIX],\n"
                           "watch [PREFIX], barrier NAME COUNT\n"
                           "\n"
                           "Examples:\n"
                           "  hmc-store --ip 10.0.0.2 --port 4100 --journal /var/lib/hmc/store\n"
                           "  hmc-store --at tcp://10.0.0.2:4100 list smem/\n";

enum { MOST_WORDS = 3 };

typedef struct order {
  hmc_store_server_options_t server;
  const char *at;
  uint64_t timeout_ms;
  const char *words[MOST_WORDS]; /* the command and its arguments */
  int word_count;
} order_t;

/* ---- a client ---------------------------------------------------------------------------------------------------- */

static int fail(const order_t *order, hmc_status_t status) { return tool_fail_hmc(order->words[0], status); }

static int print_value(const order_t *order, hmc_store_t *store, bool waits) {
  char *value = malloc(HMC_STORE_VALUE_MAX);
  size_t size = 0;
  if (value == NULL) {
    return tool_fail("no memory");
  }
  hmc_status_t status =
      waits ? hmc_store_wait(store, order->words[1], value, HMC_STORE_VALUE_MAX, &size, order->timeout_ms)
            : hmc_store_get(store, order->words[1], value, HMC_STORE_VALUE_MAX, &size, order->timeout_ms);
  if (status == HMC_SUCCESS) {
    fwrite(value, 1, size, stdout);
    putchar('\n');
  }
  free(value);
  return status == HMC_SUCCESS ? TOOL_DONE : fail(order, status);
}

static int add(const order_t *order, hmc_store_t *store) {
  char *end;
  long long sum_before = strtoll(order->words[2], &end, 10);
  int64_t sum = 0;
  if (end == order->words[2] || *end != '\0') {
    return tool_usage_error("\"%s\" is no number", order->words[2]);
  }
  hmc_status_t status = hmc_store_add(store, order->words[1], sum_before, &sum, order->timeout_ms);
  if (status != HMC_SUCCESS) {
    return fail(order, status);
  }
  printf("%lld\n", (long long)sum);
  return TOOL_DONE;
}

static void print_entry(const char *key, const void *value, size_t size, void *user) {
  (void)user;
  printf("%s\t", key);
  fwrite(value, 1, size, stdout);
  putchar('\n');
}

static int list(const order_t *order, hmc_store_t *store) {
  hmc_status_t status =
      hmc_store_list(store, order->word_count > 1 ? order->words[1] : "", print_entry, NULL, order->timeout_ms);
  return status == HMC_SUCCESS ? TOOL_DONE : fail(order, status);
}

static int watch(const order_t *order, hmc_store_t *store) {
  hmc_store_watch_t *watched;
  hmc_status_t status =
      hmc_store_watch_start(store, order->word_count > 1 ? order->words[1] : "", order->timeout_ms, &watched);
  while ((status == HMC_SUCCESS || status == HMC_TIMEOUT) && !atomic_load(&tool_interrupted)) {
    hmc_store_event_t event;
    status = hmc_store_watch_next(watched, &event, 200);
    if (status == HMC_SUCCESS && event.kind == HMC_STORE_SYNCED) {
      puts("synced");
    } else if (status == HMC_SUCCESS) {
      printf("%s\t", event.kind == HMC_STORE_PUT ? "put" : "delete");
      print_entry(event.key, event.value, event.value_size, NULL);
    }
    fflush(stdout);
  }
  if (status != HMC_SUCCESS && status != HMC_TIMEOUT) {
    return fail(order, status);
  }
  hmc_store_watch_stop(watched);
  return TOOL_INTERRUPTED;
}

static int barrier(const order_t *order, hmc_store_t *store) {
  uint64_t count;
  if (!tool_parse_count(order->words[2], 1, UINT32_MAX, &count)) {
    return tool_usage_error("\"%s\" is no count", order->words[2]);
  }
  hmc_status_t status = hmc_store_barrier(store, order->words[1], (uint32_t)count, order->timeout_ms);
  return status == HMC_SUCCESS ? TOOL_DONE : fail(order, status);
}

static int run_command(const order_t *order, hmc_store_t *store) {
  const char *command = order->words[0];
  if (strcmp(command, "get") == 0 || strcmp(command, "wait") == 0) {
    return print_value(order, store, command[0] == 'w');
  }
  if (strcmp(command, "set") == 0) {
    hmc_status_t status =
        hmc_store_set(store, order->words[1], order->words[2], strlen(order->words[2]), NULL, order->timeout_ms);
    return status == HMC_SUCCESS ? TOOL_DONE : fail(order, status);
  }
  if (strcmp(command, "delete") == 0) {
    hmc_status_t status = hmc_store_delete(store, order->words[1], order->timeout_ms);
    return status == HMC_SUCCESS ? TOOL_DONE : fail(order, status);
  }
  if (strcmp(command, "add") == 0) {
    return add(order, store);
  }
  if (strcmp(command, "list") == 0) {
    return list(order, store);
  }
  return strcmp(command, "watch") == 0 ? watch(order, store) : barrier(order, store);
}

/* False, with a text, where the command is none or has the wrong number of arguments. */
static bool check_command(const order_t *order) {
  static const struct {
    const char *name;
    int least, most;
  } commands[] = {{"get", 2, 2},  {"set", 3, 3},  {"delete", 2, 2}, {"add", 3, 3},
                  {"wait", 2, 2}, {"list", 1, 2}, {"watch", 1, 2},  {"barrier", 3, 3}};
  for (size_t i = 0; order->word_count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
    if (strcmp(order->words[0], commands[i].name) == 0) {
      if (order->word_count >= commands[i].least && order->word_count <= commands[i].most) {
        return true;
      }
      tool_usage_error("%s takes %d to %d arguments", commands[i].name, commands[i].least - 1, commands[i].most - 1);
      return false;
    }
  }
  tool_usage_error("\"%s\" is no command", order->word_count > 0 ? order->words[0] : "");
  return false;
}

static int be_client(const order_t *order) {
  hmc_store_t *store;
  if (!check_command(order)) {
    return TOOL_USAGE;
  }
  hmc_status_t status = hmc_store_connect(order->at, NULL, order->timeout_ms, &store);
  if (status != HMC_SUCCESS) {
    return tool_fail_hmc(order->at, status);
  }
  int code = run_command(order, store);
  hmc_store_close(store);
  int printed = tool_finish_output();
  return code != TOOL_DONE ? code : printed;
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

static int serve(const order_t *order) {
  hmc_store_server_t *server;
  const char *ip = order->server.ip != NULL ? order->server.ip : "127.0.0.1";
  hmc_status_t status = hmc_store_server_start(&order->server, &server);
  if (status != HMC_SUCCESS) {
    return tool_fail_hmc("no store", status);
  }
  printf(strchr(ip, ':') != NULL ? "tcp://[%s]:%u\n" : "tcp://%s:%u\n", ip, hmc_store_server_port(server));
  int code = tool_finish_output();
  const struct timespec pause = {.tv_nsec = 100000000};
  while (code == TOOL_DONE && !atomic_load(&tool_interrupted)) {
    nanosleep(&pause, NULL); /* a signal ends it early */
  }
  hmc_store_server_stop(server);
  return code;
}

/* ---- the command line -------------------------------------------------------------------------------------------- */

static int take_option(int option, const char *value, order_t *order) {
  uint64_t count;
  double seconds;
  switch (option) {
  case 'i': order->server.ip = value; return TOOL_DONE;
  case 'j': order->server.journal = value; return TOOL_DONE;
  case 'a': order->at = value; return TOOL_DONE;
  case 'p':
    if (!tool_parse_count(value, 0, UINT16_MAX, &count)) {
      return tool_usage_error("\"%s\" is no port", value);
    }
    order->server.port = (uint16_t)count;
    return TOOL_DONE;
  case 'm':
    return tool_parse_size(value, &order->server.memory_max) ? TOOL_DONE : tool_usage_error("\"%s\" is no size", value);
  default:
    if (!tool_parse_seconds(value, &seconds)) {
      return tool_usage_error("\"%s\" is no number of seconds", value);
    }
    *(option == 'g' ? &order->server.grace_ms : &order->timeout_ms) = (uint64_t)(seconds * 1000);
    return TOOL_DONE;
  }
}

static int read_order(int count, char **arguments, order_t *order, bool *is_done) {
  static const struct option options[] = {
      {"ip", required_argument, NULL, 'i'},      {"port", required_argument, NULL, 'p'},
      {"journal", required_argument, NULL, 'j'}, {"memory", required_argument, NULL, 'm'},
      {"grace", required_argument, NULL, 'g'},   {"at", required_argument, NULL, 'a'},
      {"timeout", required_argument, NULL, 't'}, {"help", no_argument, NULL, 'h'},
      {"version", no_argument, NULL, 'V'},       {NULL, 0, NULL, 0}};
  int option, code = TOOL_DONE;
  opterr = 0;
  while (code == TOOL_DONE && (option = getopt_long(count, arguments, "+:i:p:j:m:g:a:t:hV", options, NULL)) != -1) {
    if (option == 'h' || option == 'V') {
      fputs(option == 'h' ? help : hmc_version_text(), stdout);
      fputs(option == 'h' ? "" : "\n", stdout);
      *is_done = true;
      return tool_finish_output();
    }
    code = option == '?' || option == ':' ? tool_option_error(option, arguments, options)
                                          : take_option(option, optarg, order);
  }
  for (; optind < count && code == TOOL_DONE; optind++) {
    if (order->word_count == MOST_WORDS) {
      return tool_usage_error("\"%s\" is one argument too many", arguments[optind]);
    }
    order->words[order->word_count++] = arguments[optind];
  }
  if (code == TOOL_DONE && order->at == NULL && order->word_count > 0) {
    return tool_usage_error("\"%s\" is a command: --at URL says for which store", order->words[0]);
  }
  return code;
}

int main(int count, char **arguments) {
  order_t order = {.server = HMC_STORE_SERVER_OPTIONS_INIT, .timeout_ms = 30000};
  bool is_done = false;
  tool_begin("hmc-store");
  int code = read_order(count, arguments, &order, &is_done);
  if (code != TOOL_DONE || is_done) {
    return code;
  }
  tool_catch_interrupts();
  return order.at != NULL ? be_client(&order) : serve(&order);
}
