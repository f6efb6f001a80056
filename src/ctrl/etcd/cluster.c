/* Requests to an etcd cluster (see cluster.h). */
#include "cluster.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_MOST (UINT64_C(256) << 20)
#define NS_PER_MS UINT64_C(1000000)

enum { ATTEMPT_MS = 3000, ROUND_PAUSE_MS = 50, NOT_FOUND = 5, EXHAUSTED = 8, UNAVAILABLE = 14 };

/* ---- the address ------------------------------------------------------------------------------------------------- */

static hmc_status_t add_member(hmci_etcd_cluster_t *cluster, const char *text, size_t size) {
  const char *colon = memrchr(text, ':', size);
  char *end = NULL;
  unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
  if (cluster->count == HMCI_ETCD_MEMBERS || size >= sizeof(cluster->members[0]) || colon == NULL || colon == text ||
      port == 0 || port > UINT16_MAX || end != text + size) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "\"%.*s\" is not a member of an etcd cluster: etcd://HOST:PORT,... has up to %d", (int)size, text,
                     HMCI_ETCD_MEMBERS);
  }
  memcpy(cluster->members[cluster->count], text, size);
  cluster->members[cluster->count++][size] = '\0';
  return HMC_SUCCESS;
}

static hmc_status_t read_address(hmci_etcd_cluster_t *cluster, const char *address) {
  size_t hosts = strcspn(address, "/");
  const char *prefix = address[hosts] == '/' && address[hosts + 1] != '\0' ? address + hosts + 1 : "hmc";
  if (snprintf(cluster->prefix, sizeof(cluster->prefix), "%s/", prefix) >= (int)sizeof(cluster->prefix)) {
    return hmci_fail(HMC_INVALID_CONFIG, "a prefix of etcd keys of %zu B: at most %d B are taken", strlen(prefix),
                     HMCI_ETCD_PREFIX - 2);
  }
  snprintf(cluster->name, sizeof(cluster->name), "etcd://%.*s", (int)hosts, address);
  hmc_status_t status = HMC_SUCCESS;
  for (size_t at = 0; at <= hosts && status == HMC_SUCCESS;) {
    size_t size = strcspn(address + at, ",/");
    status = add_member(cluster, address + at, size);
    at += size + 1;
  }
  return status;
}

static hmc_status_t copy_certificates(hmci_etcd_cluster_t *cluster, const hmc_store_certificates_t *given) {
  const char *texts[] = {given->authorities, given->certificate,  given->key,
                         given->key_file,    given->key_password, given->revocations};
  const char **fields[] = {&cluster->secure.authorities, &cluster->secure.certificate,  &cluster->secure.key,
                           &cluster->secure.key_file,    &cluster->secure.key_password, &cluster->secure.revocations};
  if (given->authorities == NULL || given->certificate == NULL || (given->key == NULL && given->key_file == NULL)) {
    return hmci_fail(HMC_INVALID_CONFIG, "certificates need authorities, a certificate and its key");
  }
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    cluster->certificates[i] = texts[i] != NULL ? strdup(texts[i]) : NULL;
    if (texts[i] != NULL && cluster->certificates[i] == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for certificates");
    }
    *fields[i] = cluster->certificates[i];
  }
  cluster->is_secure = true;
  return HMC_SUCCESS;
}

hmc_status_t hmci_etcd_cluster_init(hmci_etcd_cluster_t *cluster, const char *address,
                                    const hmc_store_certificates_t *certificates) {
  *cluster = (hmci_etcd_cluster_t){.count = 0};
  pthread_mutex_init(&cluster->lock, NULL);
  hmc_status_t status = read_address(cluster, address);
  if (status == HMC_SUCCESS) {
    status = hmci_json_load();
  }
  return status == HMC_SUCCESS && certificates != NULL ? copy_certificates(cluster, certificates) : status;
}

void hmci_etcd_cluster_clear(hmci_etcd_cluster_t *cluster) {
  while (cluster->idle_count > 0) {
    hmci_curl_free(cluster->idle[--cluster->idle_count]);
  }
  for (size_t i = 0; i < sizeof(cluster->certificates) / sizeof(cluster->certificates[0]); i++) {
    if (cluster->certificates[i] != NULL) {
      explicit_bzero(cluster->certificates[i], strlen(cluster->certificates[i]));
      free(cluster->certificates[i]);
    }
  }
  pthread_mutex_destroy(&cluster->lock);
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_etcd_handle_take(hmci_etcd_cluster_t *cluster, hmci_curl_t **handle) {
  pthread_mutex_lock(&cluster->lock);
  *handle = cluster->idle_count > 0 ? cluster->idle[--cluster->idle_count] : NULL;
  pthread_mutex_unlock(&cluster->lock);
  return *handle != NULL ? HMC_SUCCESS : hmci_curl_create(cluster->is_secure ? &cluster->secure : NULL, handle);
}

void hmci_etcd_handle_give(hmci_etcd_cluster_t *cluster, hmci_curl_t *handle, bool is_good) {
  pthread_mutex_lock(&cluster->lock);
  if (is_good && handle != NULL && cluster->idle_count < sizeof(cluster->idle) / sizeof(cluster->idle[0])) {
    cluster->idle[cluster->idle_count++] = handle;
    handle = NULL;
  }
  pthread_mutex_unlock(&cluster->lock);
  hmci_curl_free(handle);
}

void hmci_etcd_pause(uint64_t ms, uint64_t deadline) {
  uint64_t now = hmci_now(), until = now + ms * NS_PER_MS;
  until = until < deadline ? until : deadline;
  uint64_t left = until > now ? until - now : 0;
  const struct timespec pause = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
  nanosleep(&pause, NULL);
}

/* ---- one request ------------------------------------------------------------------------------------------------- */

static bool keep_answer(const char *data, size_t size, void *user) {
  hmci_text_t *answer = user;
  hmci_text_add(answer, data, size);
  return !answer->has_failed && answer->size < ANSWER_MOST;
}

/* What an answer says that is none of HTTP 200. HMC_PEER_LOST: another member may do it. */
static hmc_status_t judge(hmci_text_t *answer, long code) {
  hmci_json_t error = hmci_text_read(answer);
  char text[256];
  hmci_json_text(hmci_json_get(error, "error"), text, sizeof(text));
  if (text[0] == '\0') {
    snprintf(text, sizeof(text), "%.*s", (int)(answer->size < 200 ? answer->size : 200),
             answer->data != NULL ? answer->data : "");
  }
  bool is_too_busy = strstr(text, "too many requests") != NULL; /* of the same code: the disk's quota is used up */
  switch (hmci_json_number(hmci_json_get(error, "code"))) {
  case NOT_FOUND: return hmci_fail(HMC_NOT_FOUND, "etcd says: %s", text);
  case EXHAUSTED: return hmci_fail(is_too_busy ? HMC_PEER_LOST : HMC_NO_MEMORY, "etcd says: %s", text);
  case 3: /* an invalid argument: among them a request that is too large */
  case 11: return hmci_fail(HMC_OUT_OF_RANGE, "etcd says: %s", text);
  case 7:
  case 16: return hmci_fail(HMC_DENIED, "etcd says: %s", text);
  case 1: /* a member that is shut down */
  case 2: /* what the leader lost on its way */
  case 4:
  case UNAVAILABLE: return hmci_fail(HMC_PEER_LOST, "etcd says: %s", text);
  default:
    return code == 502 || code == 503 || code == 504
               ? hmci_fail(HMC_PEER_LOST, "etcd answers HTTP %ld: %s", code, text)
               : hmci_fail(HMC_ERROR, "etcd answers HTTP %ld, not v3 of its interface: %s", code, text);
  }
}

/* One attempt at one member. HMC_PEER_LOST, HMC_TIMEOUT: the next one may do it. */
static hmc_status_t attempt(hmci_etcd_cluster_t *cluster, unsigned member, const char *path, const hmci_text_t *body,
                            uint64_t deadline, hmci_text_t *answer, bool *may_have_arrived) {
  char url[256];
  hmci_curl_t *handle;
  long code = 0;
  hmc_status_t status = hmci_etcd_handle_take(cluster, &handle);
  if (status != HMC_SUCCESS) {
    return status;
  }
  uint64_t soon = hmci_deadline(ATTEMPT_MS);
  snprintf(url, sizeof(url), "%s://%s/v3/%s", cluster->is_secure ? "https" : "http", cluster->members[member], path);
  status = hmci_curl_post(handle, url, body->data, body->size, soon < deadline ? soon : deadline, keep_answer, answer,
                          &code);
  hmci_etcd_handle_give(cluster, handle, status == HMC_SUCCESS);
  *may_have_arrived = status != HMC_PEER_LOST;
  if (status == HMC_SUCCESS) {
    return code == 200 ? HMC_SUCCESS : judge(answer, code);
  }
  if (status != HMC_CANCELLED) {
    return HMC_PEER_LOST;
  }
  bool is_kept =
      !answer->has_failed && answer->size < ANSWER_MOST; /* then it is this thread's program that wants it so */
  return is_kept ? status : hmci_fail(HMC_NO_MEMORY, "no memory for etcd's answer");
}

hmc_status_t hmci_etcd_call(hmci_etcd_cluster_t *cluster, const char *path, const hmci_text_t *body, uint64_t deadline,
                            hmci_text_t *answer, bool *is_doubtful) {
  char why[HMCI_ERROR_TEXT] = "the deadline has passed";
  if (body->has_failed) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for a request to etcd");
  }
  for (unsigned tries = 0; tries == 0 || hmci_now() < deadline; tries++) {
    unsigned member = atomic_load(&cluster->current) % cluster->count;
    bool may_have_arrived = false;
    hmci_text_clear(answer);
    hmc_status_t status = attempt(cluster, member, path, body, deadline, answer, &may_have_arrived);
    if (status != HMC_PEER_LOST) {
      return answer->has_failed ? hmci_fail(HMC_NO_MEMORY, "no memory for etcd's answer") : status;
    }
    if (may_have_arrived && is_doubtful != NULL) {
      *is_doubtful = true;
    }
    snprintf(why, sizeof(why), "%s: %.900s", cluster->members[member], hmc_last_error());
    unsigned expected = member;
    (void)atomic_compare_exchange_strong(&cluster->current, &expected, (member + 1) % cluster->count);
    if ((tries + 1) % cluster->count == 0) {
      hmci_etcd_pause(ROUND_PAUSE_MS, deadline);
    }
  }
  return hmci_fail(HMC_TIMEOUT, "the store %s is away; %s", cluster->name, why);
}

/* ---- streams ----------------------------------------------------------------------------------------------------- */

typedef struct stream {
  hmci_text_t line;
  hmci_etcd_event_t event;
  void *user;
  bool is_over;
} stream_t;

/* One message of the stream; false where it is to end. */
static bool take_line(stream_t *stream, hmci_json_t line) {
  hmci_json_t result = hmci_json_get(line, "result"), events = hmci_json_get(result, "events");
  if (result == NULL || hmci_json_is_true(hmci_json_get(result, "canceled"))) {
    stream->is_over = true; /* an error, or compacted */
    return false;
  }
  for (hmci_json_t at = hmci_json_next(events, NULL); at != NULL; at = hmci_json_next(events, at)) {
    char type[16];
    hmci_json_text(hmci_json_get(at, "type"), type, sizeof(type));
    if (!stream->event(hmci_json_get(at, "kv"), strcmp(type, "DELETE") == 0, stream->user)) {
      return false;
    }
  }
  return true;
}

static bool take_data(const char *data, size_t size, void *user) {
  stream_t *stream = user;
  while (size > 0) {
    const char *end = memchr(data, '\n', size);
    size_t part = end != NULL ? (size_t)(end - data) + 1 : size;
    hmci_text_add(&stream->line, data, part);
    if (stream->line.has_failed || stream->line.size > ANSWER_MOST) {
      stream->is_over = true;
      return false;
    }
    data += part;
    size -= part;
    if (end != NULL) {
      bool goes_on = take_line(stream, hmci_text_read(&stream->line));
      hmci_text_clear(&stream->line);
      if (!goes_on) {
        return false;
      }
    }
  }
  return true;
}

hmc_status_t hmci_etcd_stream(hmci_etcd_cluster_t *cluster, hmci_curl_t *handle, const char *key, size_t key_size,
                              bool is_prefix, int64_t revision, uint64_t deadline, hmci_etcd_event_t event,
                              void *user) {
  hmci_text_t body = {.data = NULL};
  stream_t stream = {.event = event, .user = user};
  char url[256], end[1024];
  long code = 0;
  unsigned member = atomic_load(&cluster->current) % cluster->count;
  hmci_text_print(&body, "{\"create_request\":{\"key\":");
  hmci_text_bytes(&body, key, key_size);
  if (is_prefix && key_size > 0 && key_size < sizeof(end)) {
    memcpy(end, key, key_size);
    end[key_size - 1]++; /* a prefix ends in one of our own characters, or in a text's */
    hmci_text_print(&body, ",\"range_end\":");
    hmci_text_bytes(&body, end, key_size);
  }
  hmci_text_print(&body, ",\"start_revision\":\"%lld\"}}", (long long)revision);
  if (body.has_failed) {
    hmci_text_free(&body);
    return hmci_fail(HMC_NO_MEMORY, "no memory for a request to etcd");
  }
  snprintf(url, sizeof(url), "%s://%s/v3/watch", cluster->is_secure ? "https" : "http", cluster->members[member]);
  hmc_status_t status = hmci_curl_post(handle, url, body.data, body.size, deadline, take_data, &stream, &code);
  hmci_text_free(&body);
  hmci_text_free(&stream.line);
  if (status == HMC_SUCCESS || (status == HMC_CANCELLED && stream.is_over)) {
    status = hmci_fail(HMC_PEER_LOST, "etcd ended the stream");
  }
  if (status != HMC_CANCELLED && status != HMC_TIMEOUT) {
    unsigned expected = member;
    (void)atomic_compare_exchange_strong(&cluster->current, &expected, (member + 1) % cluster->count);
  }
  return status;
}
