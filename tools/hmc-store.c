/* hmc-store: serves a store, or looks at and changes one that another process serves. */
#include "interrupt.h"
#include "options.h"
#include "tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const tool_option_t options[] = {
    {'i', "ip", "ADDRESS", NULL, "where to listen (127.0.0.1)"},
    {'p', "port", "PORT", NULL, "0 takes a free one (0)"},
    {'j', "journal", "FILE", NULL,
     "keep everything in FILE, which is made with mode 0600, so that a store that was killed comes back with it"},
    {'m', "memory", "SIZE", NULL, "most bytes of keys and values that are taken (HMC_STORE_MEMORY: 1G)"},
    {'c', "clients", "COUNT", NULL, "most clients at a time; the others wait (HMC_STORE_CLIENTS: 16384)"},
    {'g', "grace", "SECONDS", NULL,
     "how long a client that is gone may take to come back before its leases end (HMC_STORE_GRACE: 1)"},
    {'a', "at", "URL", NULL, "be a client of the store there: tcp://10.0.0.2:4100"},
    {'t', "timeout", "SECONDS", NULL, "deadline of a command (30)"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_section_t sections[] = {
    {"SEE ALSO", NULL, "hmc-info(1)"},
    {NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-store",
    .purpose = "serve a store of keys, or look at one",
    .synopses = (const char *const[]){"[OPTION]...", "--at URL COMMAND [ARGUMENT]...", NULL},
    .description =
        "\nServes a store until Ctrl-C or SIGTERM ends it, and prints its URL. Clients authenticate by the "
        "secret that all HMC processes use. With --at it is a client of the store that is there, and runs one "
        "command: get KEY, set KEY VALUE, delete KEY, add KEY NUMBER, wait KEY, list [PREFIX], watch [PREFIX] "
        "or barrier NAME COUNT.",
    .options = options,
    .examples = (const char *const[]){"hmc-store --ip 10.0.0.2 --port 4100 --journal /var/lib/hmc/store",
                                      "hmc-store --at tcp://10.0.0.2:4100 list smem/", NULL},
    .notes = "Exit status: 0 done, 1 it failed, 2 the command line is wrong, 130 Ctrl-C ended a watch.",
    .sections = sections,
    .stops_at_words = true, /* values may begin with a dash */
};

enum { MOST_WORDS = 3, MOMENT_MS = 1000, CLIENTS_MOST = 1 << 20 }; /* as HMC_STORE_CLIENTS takes */
#define MEMORY_LEAST UINT64_C(4096)                                /* as HMC_STORE_MEMORY takes */
#define MEMORY_MOST (UINT64_C(64) << 40)

typedef struct order {
  hmc_store_server_options_t server;
  const char *at;
  uint64_t timeout_ms;
  const char *words[MOST_WORDS]; /* the command and its arguments */
  int word_count;
  int64_t number; /* of add and barrier */
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
  int64_t sum = 0;
  hmc_status_t status = hmc_store_add(store, order->words[1], order->number, &sum, order->timeout_ms);
  if (status != HMC_SUCCESS) {
    return fail(order, status);
  }
  printf("%lld\n", (long long)sum);
  return TOOL_DONE;
}

static void print_entry(const char *key, const void *value, size_t size, void *user) {
  (void)user;
  printf("%s\t", key);
  if (size > 0) { /* a deleted key has no value at all */
    fwrite(value, 1, size, stdout);
  }
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
  hmc_status_t status = hmc_store_barrier(store, order->words[1], (uint32_t)order->number, order->timeout_ms);
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
    const char *name, *form;
    int least, most;
  } commands[] = {{"get", "get KEY", 2, 2},          {"set", "set KEY VALUE", 3, 3},
                  {"delete", "delete KEY", 2, 2},    {"add", "add KEY NUMBER", 3, 3},
                  {"wait", "wait KEY", 2, 2},        {"list", "list [PREFIX]", 1, 2},
                  {"watch", "watch [PREFIX]", 1, 2}, {"barrier", "barrier NAME COUNT", 3, 3}};
  for (size_t i = 0; order->word_count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
    if (strcmp(order->words[0], commands[i].name) == 0) {
      if (order->word_count >= commands[i].least && order->word_count <= commands[i].most) {
        return true;
      }
      tool_usage_error("'%s' with %d argument%s: '%s' is expected", commands[i].name, order->word_count - 1,
                       order->word_count == 2 ? "" : "s", commands[i].form);
      return false;
    }
  }
  tool_usage_error(order->word_count > 0 ? "'%s': get, set, delete, add, wait, list, watch or barrier is expected"
                                         : "--at URL goes with a command%s: get, set, delete, add, wait, list, watch "
                                           "or barrier",
                   order->word_count > 0 ? order->words[0] : "");
  return false;
}

/* Reads the number that add and barrier take. False, with a text, where there is another word. */
static bool read_number(order_t *order) {
  const char *command = order->words[0], *word = order->words[2];
  char *end;
  if (strcmp(command, "add") == 0) {
    errno = 0;
    order->number = strtoll(word, &end, 10);
    if (end != word && *end == '\0' && errno == 0) {
      return true;
    }
    tool_usage_error("add '%s': a whole number is expected", word);
    return false;
  }
  uint64_t count = 0;
  if (strcmp(command, "barrier") == 0 && !tool_parse_count(word, 1, UINT32_MAX, &count)) {
    tool_usage_error("barrier '%s': the number of calls that meet there is expected", word);
    return false;
  }
  order->number = (int64_t)count;
  return true;
}

/* Says what is waited for, once that takes longer than a moment. */
static hmc_status_t reach(const order_t *order, hmc_store_t **store) {
  uint64_t moment = order->timeout_ms < MOMENT_MS ? order->timeout_ms : MOMENT_MS;
  hmc_status_t status = hmc_store_connect(order->at, NULL, moment, store);
  if (status != HMC_TIMEOUT || moment == order->timeout_ms) {
    return status;
  }
  fprintf(stderr, "hmc-store: waiting, up to --timeout: %s\n", hmc_last_error());
  return hmc_store_connect(order->at, NULL, order->timeout_ms - moment, store);
}

static int be_client(order_t *order) {
  hmc_store_t *store;
  if (!check_command(order) || !read_number(order)) {
    return TOOL_USAGE;
  }
  hmc_status_t status = reach(order, &store);
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
    return status == HMC_ADDRESS_IN_USE && order->server.journal == NULL
               ? tool_fail("%s: choose another port with --port, or --port 0 for a free one", hmc_last_error())
               : tool_fail_hmc("no store", status);
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

/* The name of an option, for texts. */
static const char *name_of(int letter) {
  const tool_option_t *option = options;
  while (option->letter != letter) option++;
  return option->name;
}

static bool take_count(int letter, const char *value, order_t *order) {
  uint64_t count;
  if (!tool_read_count(name_of(letter), value, letter == 'c', letter == 'c' ? CLIENTS_MOST : UINT16_MAX, &count)) {
    return false;
  }
  if (letter == 'c') {
    order->server.clients_max = count;
  } else {
    order->server.port = (uint16_t)count;
  }
  return true;
}

static bool take_memory(const char *value, order_t *order) {
  uint64_t *most = &order->server.memory_max;
  if (tool_parse_size(value, most) && *most >= MEMORY_LEAST && *most <= MEMORY_MOST) {
    return true;
  }
  tool_usage_error("--memory '%s': a size from 4K to 64T is expected", value);
  return false;
}

static int take_option(int option, const char *value, order_t *order) {
  double seconds;
  switch (option) {
  case 'i': order->server.ip = value; return TOOL_DONE;
  case 'j': order->server.journal = value; return TOOL_DONE;
  case 'a': order->at = value; return TOOL_DONE;
  case 'p':
  case 'c': return take_count(option, value, order) ? TOOL_DONE : TOOL_USAGE;
  case 'm': return take_memory(value, order) ? TOOL_DONE : TOOL_USAGE;
  default:
    if (!tool_read_seconds(name_of(option), value, &seconds)) {
      return TOOL_USAGE;
    }
    if (seconds < 0.001) seconds = 0.001; /* 0 would be the usual time */
    *(option == 'g' ? &order->server.grace_ms : &order->timeout_ms) = (uint64_t)(seconds * 1000);
    return TOOL_DONE;
  }
}

static int read_order(int count, char **arguments, order_t *order, bool *is_done) {
  int code = TOOL_DONE;
  for (int letter; code == TOOL_DONE && (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    *is_done = letter == TOOL_OPTIONS_DONE;
    if (*is_done) return tool_finish_output();
    code = letter == TOOL_OPTIONS_WRONG ? TOOL_USAGE : take_option(letter, optarg, order);
  }
  for (; optind < count && code == TOOL_DONE; optind++) {
    if (order->word_count == MOST_WORDS) {
      return tool_usage_error("'%s' is one argument too many", arguments[optind]);
    }
    order->words[order->word_count++] = arguments[optind];
  }
  if (code == TOOL_DONE && order->at == NULL && order->word_count > 0) {
    return tool_usage_error("'%s' is a command of a client: --at URL says for which store", order->words[0]);
  }
  return code;
}

int main(int count, char **arguments) {
  order_t order = {.server = HMC_STORE_SERVER_OPTIONS_INIT, .timeout_ms = 30000, .words = {"", "", ""}};
  bool is_done = false;
  tool_begin("hmc-store");
  int code = read_order(count, arguments, &order, &is_done);
  if (code != TOOL_DONE || is_done) {
    return code;
  }
  tool_catch_interrupts();
  return order.at != NULL ? be_client(&order) : serve(&order);
}
