/* An etcd of one member for unit tests: what the store's client uses of it, with a clock that only the test moves. Leases
 * end when the test says so, and single requests are refused or cut off. Included once per test program. */
#ifndef HMCI_FAKE_ETCD_FIXTURE_H
#define HMCI_FAKE_ETCD_FIXTURE_H

#include "../../base/socket.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { FAKE_KEYS = 32, FAKE_CHANGES = 1024, FAKE_KEY = 128, FAKE_LEASES = 32, FAKE_CONNECTIONS = 4096 };

typedef struct fake_key {
  char name[FAKE_KEY];
  uint8_t *value; /* ended; NULL: the key is gone */
  int64_t lease, revision;
} fake_key_t;

static struct {
  pthread_t thread, connections[FAKE_CONNECTIONS];
  int listener;
  uint16_t port;
  atomic_bool is_over;

  pthread_mutex_t lock; /* all below */
  int connection_count;
  fake_key_t changes[FAKE_CHANGES]; /* the last one of each name is the key now */
  unsigned change_count;
  bool lives[FAKE_LEASES]; /* by number */
  unsigned keeps[FAKE_LEASES];
  int64_t lease_count, revision, compacted;
  char refused[FAKE_KEY]; /* a key that no transaction may put */
  unsigned refusals;
  unsigned streams;     /* in progress */
  unsigned cut_streams; /* so many of them are to be ended */
  bool goes_away;       /* with the next key that a transaction puts, which it keeps; it answers nothing from then on */
  bool is_away;
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .revision = 1};

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* With the lock. */
static fake_key_t *fake_find(const char *name) {
  for (unsigned i = fake.change_count; i > 0; i--) {
    fake_key_t *last = &fake.changes[i - 1];
    if (strcmp(last->name, name) == 0) return last->value != NULL ? last : NULL;
  }
  return NULL;
}

/* With the lock. */
static void fake_change(const char *name, const char *value, int64_t lease) {
  if (fake.change_count == FAKE_CHANGES) abort();
  fake_key_t *key = &fake.changes[fake.change_count++];
  *key = (fake_key_t){.lease = lease, .revision = ++fake.revision};
  snprintf(key->name, sizeof(key->name), "%s", name);
  key->value = value != NULL ? (uint8_t *)strdup(value) : NULL;
}

/* With the lock. */
static void fake_end_lease(int64_t lease) {
  fake.lives[lease] = false;
  for (unsigned i = 0, count = fake.change_count; i < count; i++) {
    const fake_key_t *key = &fake.changes[i];
    if (key->lease == lease && fake_find(key->name) == key) fake_change(key->name, NULL, 0);
  }
}

/* The lease of a key; 0: it has none, -1: there is no such key. */
static inline int64_t fake_lease_of(const char *name) {
  pthread_mutex_lock(&fake.lock);
  const fake_key_t *key = fake_find(name);
  int64_t lease = key != NULL ? key->lease : -1;
  pthread_mutex_unlock(&fake.lock);
  return lease;
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void fake_text_of(hmci_json_t value, char text[FAKE_KEY]) {
  size_t size = 0;
  uint8_t *bytes = hmci_json_bytes(value, &size);
  snprintf(text, FAKE_KEY, "%s", bytes != NULL ? (const char *)bytes : "");
  free(bytes);
}

static void fake_print_key(hmci_text_t *to, const fake_key_t *key) {
  const char *value = key->value != NULL ? (const char *)key->value : "";
  hmci_text_print(to, "{\"key\":");
  hmci_text_bytes(to, key->name, strlen(key->name));
  hmci_text_print(to, ",\"value\":");
  hmci_text_bytes(to, value, strlen(value));
  hmci_text_print(to, ",\"mod_revision\":\"%lld\",\"lease\":\"%lld\"}", (long long)key->revision,
                  (long long)key->lease);
}

static void fake_range(hmci_json_t request, hmci_text_t *to) {
  char name[FAKE_KEY];
  bool is_prefix = hmci_json_get(request, "range_end") != NULL;
  int shown = 0;
  fake_text_of(hmci_json_get(request, "key"), name);
  hmci_text_print(to, "{\"header\":{\"revision\":\"%lld\"},\"kvs\":[", (long long)fake.revision);
  for (unsigned i = 0; i < fake.change_count; i++) {
    const fake_key_t *key = &fake.changes[i];
    bool fits = is_prefix ? strncmp(key->name, name, strlen(name)) == 0 : strcmp(key->name, name) == 0;
    if (!fits || fake_find(key->name) != key) continue;
    hmci_text_print(to, shown++ > 0 ? "," : "");
    fake_print_key(to, key);
  }
  hmci_text_print(to, "]}");
}

/* False: the lease of a key that it puts is not known. */
static bool fake_knows_lease(hmci_json_t put) {
  int64_t lease = hmci_json_number(hmci_json_get(put, "lease"));
  return lease == 0 || fake.lives[lease];
}

static bool fake_put(hmci_json_t put) {
  char name[FAKE_KEY];
  size_t size = 0;
  int64_t lease = hmci_json_number(hmci_json_get(put, "lease"));
  fake_text_of(hmci_json_get(put, "key"), name);
  if (!fake_knows_lease(put)) return false;
  uint8_t *value = hmci_json_bytes(hmci_json_get(put, "value"), &size);
  fake_change(name, (const char *)value, lease);
  free(value);
  return true;
}

/* Removes a key, or all from it to the end of a range. */
static void fake_delete(hmci_json_t request) {
  char name[FAKE_KEY], end[FAKE_KEY];
  fake_text_of(hmci_json_get(request, "key"), name);
  fake_text_of(hmci_json_get(request, "range_end"), end);
  for (unsigned i = 0, count = fake.change_count; i < count; i++) {
    const fake_key_t *key = &fake.changes[i];
    bool fits =
        end[0] == '\0' ? strcmp(key->name, name) == 0 : strcmp(key->name, name) >= 0 && strcmp(key->name, end) < 0;
    if (fits && fake_find(key->name) == key) fake_change(key->name, NULL, 0);
  }
}

/* A condition on a revision or a version, or on there being no key in a range. */
static bool fake_holds(hmci_json_t compare) {
  char name[FAKE_KEY], end[FAKE_KEY], result[16];
  int64_t expected =
      hmci_json_number(hmci_json_get(compare, "mod_revision")); /* the version 0 is that of no key, too */
  fake_text_of(hmci_json_get(compare, "key"), name);
  fake_text_of(hmci_json_get(compare, "range_end"), end);
  hmci_json_text(hmci_json_get(compare, "result"), result, sizeof(result));
  const fake_key_t *key = fake_find(name);
  for (unsigned i = 0; end[0] != '\0' && i < fake.change_count; i++) {
    const fake_key_t *at = &fake.changes[i];
    if (strcmp(at->name, name) >= 0 && strcmp(at->name, end) < 0 && fake_find(at->name) == at) return false;
  }
  return strcmp(result, "GREATER") == 0 ? key != NULL : (key != NULL ? key->revision : 0) == expected;
}

/* All changes have one revision. False: the lease of one is not known, and nothing is changed. */
static bool fake_change_all(hmci_json_t changes) {
  int64_t revision = fake.revision;
  for (hmci_json_t at = hmci_json_next(changes, NULL); at != NULL; at = hmci_json_next(changes, at)) {
    if (!fake_knows_lease(hmci_json_get(at, "request_put"))) return false;
  }
  for (hmci_json_t at = hmci_json_next(changes, NULL); at != NULL; at = hmci_json_next(changes, at)) {
    hmci_json_t put = hmci_json_get(at, "request_put"), gone = hmci_json_get(at, "request_delete_range");
    fake.revision = revision;
    if (put != NULL) (void)fake_put(put);
    if (gone != NULL) fake_delete(gone);
  }
  fake.revision = revision + 1;
  return true;
}

/* What is changed where all conditions hold, and one key that is read else. The HTTP status. */
static int fake_transact(hmci_json_t request, hmci_text_t *to) {
  hmci_json_t conditions = hmci_json_get(request, "compare"), changes = hmci_json_get(request, "success");
  bool holds = true;
  for (hmci_json_t at = hmci_json_next(changes, NULL); at != NULL; at = hmci_json_next(changes, at)) {
    char name[FAKE_KEY];
    fake_text_of(hmci_json_get(at, "request_put.key"), name);
    if (name[0] == '\0' || strcmp(name, fake.refused) != 0) continue;
    fake.refusals++;
    hmci_text_print(to, "{\"error\":\"no leader\",\"code\":14}");
    return 503;
  }
  for (hmci_json_t at = hmci_json_next(conditions, NULL); at != NULL; at = hmci_json_next(conditions, at)) {
    holds = holds && fake_holds(at);
  }
  if (!holds) {
    char name[FAKE_KEY];
    fake_text_of(hmci_json_get(hmci_json_next(hmci_json_get(request, "failure"), NULL), "request_range.key"), name);
    const fake_key_t *key = fake_find(name);
    hmci_text_print(to, "{\"responses\":[{\"response_range\":{\"kvs\":[");
    if (key != NULL) fake_print_key(to, key);
    hmci_text_print(to, "]}}]}");
    return 200;
  }
  if (!fake_change_all(changes)) {
    hmci_text_print(to, "{\"error\":\"requested lease not found\",\"code\":5}");
    return 404;
  }
  hmci_text_print(to, "{\"header\":{\"revision\":\"%lld\"},\"succeeded\":true}", (long long)fake.revision);
  fake.is_away = fake.is_away || fake.goes_away;
  fake.goes_away = false;
  return 200;
}

static int fake_serve(const char *path, hmci_json_t request, hmci_text_t *to) {
  int64_t id = hmci_json_number(hmci_json_get(request, "ID"));
  if (hmci_json_number(hmci_json_get(request, "TTL")) > INT64_C(9000000000)) {
    hmci_text_print(to, "{\"error\":\"too large lease TTL\",\"code\":11}");
    return 400;
  }
  if (strcmp(path, "lease/grant") == 0) {
    fake.lives[++fake.lease_count] = true;
    hmci_text_print(to, "{\"ID\":\"%lld\",\"TTL\":\"2\"}", (long long)fake.lease_count);
  } else if (strcmp(path, "lease/keepalive") == 0) {
    fake.keeps[id]++;
    hmci_text_print(to, "{\"result\":{\"ID\":\"%lld\"%s}}", (long long)id, fake.lives[id] ? ",\"TTL\":\"2\"" : "");
  } else if (strcmp(path, "lease/revoke") == 0) {
    fake_end_lease(id);
    hmci_text_print(to, "{}");
  } else if (strcmp(path, "kv/range") == 0) {
    fake_range(request, to);
  } else if (strcmp(path, "kv/txn") == 0) {
    return fake_transact(request, to);
  } else if (strcmp(path, "kv/put") == 0 && fake_put(request)) {
    hmci_text_print(to, "{}");
  } else {
    hmci_text_print(to, "{\"error\":\"requested lease not found\",\"code\":5}");
    return 404;
  }
  return 200;
}

/* ---- HTTP -------------------------------------------------------------------------------------------------------- */

static bool fake_say(int connection, const char *text, size_t size) {
  return send(connection, text, size, MSG_NOSIGNAL) == (ssize_t)size;
}

/* The events of one key or prefix, until the test or the client ends. */
static void fake_stream(int connection, hmci_json_t request) {
  char name[FAKE_KEY], byte;
  static const char head[] = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{\"result\":{\"created\":true}}\n";
  int64_t from = hmci_json_number(hmci_json_get(request, "create_request.start_revision"));
  bool goes_on = fake_say(connection, head, sizeof(head) - 1);
  fake_text_of(hmci_json_get(request, "create_request.key"), name);
  bool is_new = true, is_cut = false;
  for (unsigned i = 0; goes_on && !is_cut && !atomic_load(&fake.is_over); usleep(2000)) {
    hmci_text_t text = {.data = NULL};
    pthread_mutex_lock(&fake.lock);
    is_cut = fake.cut_streams > 0;
    fake.cut_streams -= is_cut;
    if (is_new && from <= fake.compacted) {
      hmci_text_print(&text, "{\"result\":{\"canceled\":true,\"compact_revision\":\"%lld\"}}\n",
                      (long long)fake.compacted);
      is_cut = true;
    }
    for (; i < fake.change_count && !is_cut; i++) {
      const fake_key_t *key = &fake.changes[i];
      if (key->revision < from || strcmp(key->name, name) != 0) continue;
      hmci_text_print(&text, "{\"result\":{\"events\":[{%s\"kv\":", key->value != NULL ? "" : "\"type\":\"DELETE\",");
      fake_print_key(&text, key);
      hmci_text_print(&text, "}]}}\n");
    }
    pthread_mutex_unlock(&fake.lock);
    is_new = false;
    goes_on = text.size == 0 || fake_say(connection, text.data, text.size);
    goes_on = goes_on && recv(connection, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0;
    hmci_text_free(&text);
  }
}

static void fake_count_streams(int change) {
  pthread_mutex_lock(&fake.lock);
  fake.streams += (unsigned)change;
  pthread_mutex_unlock(&fake.lock);
}

/* Reads one request. False: the connection or the test is over. */
static bool fake_read(int connection, char *text, size_t room, char **body) {
  size_t size = 0;
  for (;;) {
    ssize_t got = recv(connection, text + size, room - 1 - size, 0);
    bool is_idle = got < 0 && (errno == EAGAIN || errno == EINTR) && !atomic_load(&fake.is_over);
    if (got <= 0 && !is_idle) return false;
    size += got > 0 ? (size_t)got : 0;
    text[size] = '\0';
    const char *length = strcasestr(text, "Content-Length:");
    *body = strstr(text, "\r\n\r\n");
    if (*body == NULL || length == NULL) continue;
    *body += 4;
    if (size >= (size_t)(*body - text) + strtoul(length + 15, NULL, 10)) return true;
  }
}

static void *fake_connection(void *argument) {
  int connection = (int)(intptr_t)argument;
  const struct timeval patience = {.tv_usec = 20000};
  char text[8192], path[32], *body;
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  while (fake_read(connection, text, sizeof(text), &body) && sscanf(text, "POST /v3/%31s", path) == 1) {
    hmci_text_t request = {.data = NULL}, answer = {.data = NULL}, all = {.data = NULL};
    hmci_text_add(&request, body, strlen(body));
    bool is_stream = strcmp(path, "watch") == 0, goes_on = !is_stream;
    if (is_stream) {
      fake_count_streams(1);
      fake_stream(connection, hmci_text_read(&request));
      fake_count_streams(-1);
    } else {
      pthread_mutex_lock(&fake.lock);
      int code = fake.is_away ? 0 : fake_serve(path, hmci_text_read(&request), &answer);
      goes_on = !fake.is_away;
      pthread_mutex_unlock(&fake.lock);
      hmci_text_print(&all, "HTTP/1.1 %d X\r\nContent-Length: %zu\r\n\r\n%s", code, answer.size,
                      answer.size > 0 ? answer.data : "");
      goes_on = goes_on && fake_say(connection, all.data, all.size);
    }
    hmci_text_free(&request);
    hmci_text_free(&answer);
    hmci_text_free(&all);
    if (!goes_on) break;
  }
  close(connection);
  return NULL;
}

static void *fake_run(void *unused) {
  char address[HMCI_ADDRESS_TEXT];
  (void)unused;
  while (!atomic_load(&fake.is_over)) {
    int connection;
    if (hmci_socket_accept(fake.listener, &connection, address) != HMC_SUCCESS) {
      usleep(1000);
      continue;
    }
    int flags = fcntl(connection, F_GETFL);
    fcntl(connection, F_SETFL, flags & ~O_NONBLOCK);
    if (fake.connection_count == FAKE_CONNECTIONS) abort();
    if (pthread_create(&fake.connections[fake.connection_count++], NULL, fake_connection,
                       (void *)(intptr_t)connection) != 0)
      abort();
  }
  return NULL;
}

static void fake_start(void) {
  if (hmci_json_load() != HMC_SUCCESS ||
      hmci_socket_listen_tcp("127.0.0.1", 0, &fake.listener, &fake.port) != HMC_SUCCESS ||
      pthread_create(&fake.thread, NULL, fake_run, NULL) != 0)
    abort();
}

/* Forgets everything, so that the next test starts afresh. */
static void fake_stop(void) {
  atomic_store(&fake.is_over, true);
  pthread_join(fake.thread, NULL);
  for (int i = 0; i < fake.connection_count; i++) pthread_join(fake.connections[i], NULL);
  close(fake.listener);
  for (unsigned i = 0; i < fake.change_count; i++) free(fake.changes[i].value);
  memset(fake.lives, 0, sizeof(fake.lives));
  memset(fake.keeps, 0, sizeof(fake.keeps));
  fake.connection_count = fake.change_count = 0;
  fake.lease_count = fake.compacted = 0;
  fake.revision = 1;
  fake.refused[0] = '\0';
  fake.refusals = fake.cut_streams = 0;
  fake.goes_away = fake.is_away = false;
  atomic_store(&fake.is_over, false);
}

#endif
