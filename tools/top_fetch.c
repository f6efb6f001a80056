/* hmc-top's side of the socket: asks by HTTP, and reads the lines of Prometheus' text format. */
#include "top.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_S = 5 };

static int dial_unix(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  size_t length = strlen(path);
  if (length >= sizeof address.sun_path) return errno = ENAMETOOLONG, -1;
  memcpy(address.sun_path, path, length);
  if (*path == '@') address.sun_path[0] = '\0';
  int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (*path != '@'));
  if (connection >= 0 && connect(connection, (struct sockaddr *)&address, size) != 0) {
    int error = errno;
    close(connection);
    return errno = error, -1;
  }
  return connection;
}

static int dial_port(const char *where) {
  char host[256];
  const char *colon = strrchr(where, ':');
  bool brackets = where[0] == '[';
  if (!colon || colon - where >= (ptrdiff_t)sizeof host) return errno = EINVAL, -1;
  snprintf(host, sizeof host, "%.*s", (int)(colon - where) - 2 * brackets, where + brackets);
  const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
  struct addrinfo *list;
  if (getaddrinfo(host, colon + 1, &hints, &list) != 0) return errno = EINVAL, -1;
  int connection = -1;
  for (struct addrinfo *at = list; at && connection < 0; at = at->ai_next) {
    connection = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, at->ai_addr, at->ai_addrlen) == 0) continue;
    int error = errno;
    close(connection);
    connection = -1;
    errno = error;
  }
  freeaddrinfo(list);
  return connection;
}

/* The whole answer, for free(); NULL with errno. */
static char *ask(const char *where) {
  static const char question[] = "GET /metrics HTTP/1.0\r\n\r\n";
  int connection = strncmp(where, "unix:", 5) == 0 ? dial_unix(where + 5) : dial_port(where);
  if (connection < 0) return NULL;
  struct timeval patience = {.tv_sec = PATIENCE_S};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  size_t used = 0, room = 1 << 16;
  char *text = malloc(room);
  ssize_t got = send(connection, question, sizeof question - 1, MSG_NOSIGNAL);
  while (text && got > 0 && (got = recv(connection, text + used, room - used - 1, 0)) > 0) {
    used += (size_t)got;
    if (room - used > 1) continue;
    char *more = realloc(text, room *= 2);
    if (!more) free(text);
    text = more;
  }
  int error = got < 0 ? errno : 0;
  close(connection);
  if (text && error) {
    free(text);
    text = NULL;
  }
  if (text) text[used] = '\0';
  errno = error;
  return text;
}

/* The value of a label inside braces, its escapes undone. */
static void take_label(const char *line, const char *name, char *value, size_t size) {
  char key[32];
  size_t used = 0;
  snprintf(key, sizeof key, "%s=\"", name);
  value[0] = '\0';
  const char *at = strstr(line, key);
  while (at && at != line && at[-1] != '{' && at[-1] != ',') at = strstr(at + 1, key);
  if (!at) return;
  for (at += strlen(key); *at && *at != '"' && used + 1 < size; at++) {
    if (*at == '\\' && at[1]) at++;
    value[used++] = *at;
  }
  value[used] = '\0';
}

static top_row_t *row_of(top_table_t *table, const char *process, const char *line) {
  char context[64], peer[80], name[64];
  take_label(line, "context", context, sizeof context);
  take_label(line, "peer", peer, sizeof peer);
  take_label(line, "name", name, sizeof name);
  if (!peer[0]) return NULL;
  for (size_t i = 0; i < table->count; i++) {
    top_row_t *row = &table->rows[i];
    if (strcmp(row->process, process) == 0 && strcmp(row->context, context) == 0 && strcmp(row->peer, peer) == 0)
      return row;
  }
  if (table->count == TOP_ROWS) return NULL;
  top_row_t *row = &table->rows[table->count++];
  *row = (top_row_t){0};
  snprintf(row->process, sizeof row->process, "%s", process);
  memcpy(row->context, context, sizeof context);
  memcpy(row->peer, peer, sizeof peer);
  memcpy(row->name, name, sizeof name);
  take_label(line, "route", row->route, sizeof row->route);
  return row;
}

static void take_bucket(top_latency_t *latency, const char *line, double value) {
  char limit[32];
  if (latency->buckets == TOP_BUCKETS) return;
  take_label(line, "le", limit, sizeof limit);
  latency->limit[latency->buckets] = strtod(limit, NULL); /* "+Inf" too */
  latency->below[latency->buckets++] = value;
}

static void take_line(top_table_t *table, const char *process, const char *line) {
  const char *end = strrchr(line, ' ');
  top_row_t *row = line[0] == '#' || !end ? NULL : row_of(table, process, line);
  if (!row) return;
  double value = strtod(end, NULL);
  char operation[16];
  take_label(line, "operation", operation, sizeof operation);
  bool put = operation[0] == 'p', get = operation[0] == 'g';
  if (strncmp(line, "hmc_operations_total{", 21) == 0) *(put ? &row->puts : get ? &row->gets : &row->atomics) = value;
  if (strncmp(line, "hmc_bytes_total{", 16) == 0) *(put ? &row->put_bytes : &row->get_bytes) = value;
  if (strncmp(line, "hmc_failures_total{", 19) == 0) row->failures = value;
  if (strncmp(line, "hmc_timeouts_total{", 19) == 0) row->timeouts = value;
  if (strncmp(line, "hmc_peer_connected{", 19) == 0) row->connected = value > 0;
  if ((put || get) && strncmp(line, "hmc_latency_seconds_bucket{", 27) == 0)
    take_bucket(put ? &row->put : &row->get, line, value);
}

bool top_is_address(const char *text) {
  const char *colon = strrchr(text, ':');
  return colon && colon > text && colon[1];
}

bool top_fetch(const char *where, top_table_t *table, char *problem, size_t size) {
  char *text = ask(where);
  char *body = text ? strstr(text, "\r\n\r\n") : NULL;
  if (!body || !strstr(body, "\n# HELP hmc_")) { /* which HMC_METRICS begins with, and shows without a peer too */
    int error = text ? 0 : errno;
    bool nobody = error == ENOENT || error == ECONNREFUSED;
    snprintf(problem, size, "%s: %s%s", where,
             error == EINVAL ? "no host of that name, or not a port"
             : error         ? strerror(error)
                             : "what answers there is not HMC_METRICS of a process",
             nobody ? " (does the process run, and was it started with this HMC_METRICS?)" : "");
    free(text);
    errno = error;
    return false;
  }
  char *rest = body + 4;
  for (char *line; (line = strsep(&rest, "\n")) != NULL;) take_line(table, where, line);
  free(text);
  return true;
}
