/* Host names (see resolve.h).
 *
 * getaddrinfo knows no deadline, so it runs in a thread of its own: the later one of the thread and the caller frees
 * what they share. Locking: `lock` of a query guards its fields. */
#include "resolve.h"

#include "stop.h"
#include "thread.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* ---- what people write ------------------------------------------------------------------------------------------- */

static bool read_port(const char *text, uint16_t *port) {
  char *end;
  if (*text < '0' || *text > '9') return false;
  errno = 0;
  unsigned long number = strtoul(text, &end, 10);
  if (errno || *end || number > UINT16_MAX) return false;
  *port = (uint16_t)number;
  return true;
}

hmc_status_t hmci_address_split(const char *text, char host[HMCI_HOST_TEXT], uint16_t *port) {
  if (!text || !*text) return hmci_fail(HMC_INVALID_CONFIG, "no address given");
  const char *begin = text, *end = text + strlen(text), *colon = strrchr(text, ':');
  if (*text == '[') {
    end = strchr(text, ']');
    if (!end || (end[1] && end[1] != ':'))
      return hmci_fail(HMC_INVALID_CONFIG, "\"%s\" is not an address such as [fe80::1]:2025", text);
    begin++;
    colon = end[1] ? end + 1 : NULL;
  } else if (colon && strchr(text, ':') != colon) {
    colon = NULL; /* an IPv6 address alone */
  } else if (colon) {
    end = colon;
  }
  uint16_t named = 0;
  if (colon && !read_port(colon + 1, &named))
    return hmci_fail(HMC_INVALID_CONFIG, "\"%s\": a port from 0 to 65535 is expected after the colon", text);
  if (colon && named && *port && named != *port)
    return hmci_fail(HMC_INVALID_CONFIG, "\"%s\" names another port than %u, which was given too", text, *port);
  if (end == begin || end - begin >= HMCI_HOST_TEXT)
    return hmci_fail(HMC_INVALID_CONFIG, "\"%.64s\" names no host", text);
  memcpy(host, begin, (size_t)(end - begin));
  host[end - begin] = '\0';
  if (named) *port = named;
  return HMC_SUCCESS;
}

/* ---- asking the system ------------------------------------------------------------------------------------------- */

typedef struct query {
  pthread_mutex_t lock;
  pthread_cond_t changed;
  bool done, abandoned; /* lock */
  int error;            /* lock; of getaddrinfo */
  hmci_addresses_t found;
  char host[HMCI_HOST_TEXT];
} query_t;

static void query_free(query_t *query) {
  pthread_cond_destroy(&query->changed);
  pthread_mutex_destroy(&query->lock);
  free(query);
}

static bool is_known(const hmci_addresses_t *found, const char *ip) {
  for (size_t i = 0; i < found->count; i++) {
    if (strcmp(found->ip[i], ip) == 0) return true;
  }
  return false;
}

static int look_up(const char *host, hmci_addresses_t *found) {
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *list;
  int error = getaddrinfo(host, NULL, &hints, &list);
  if (error) return error;
  for (const struct addrinfo *at = list; at && found->count < HMCI_ADDRESSES; at = at->ai_next) {
    char ip[HMCI_IP_TEXT];
    if (getnameinfo(at->ai_addr, at->ai_addrlen, ip, sizeof ip, NULL, 0, NI_NUMERICHOST) == 0 && !is_known(found, ip))
      memcpy(found->ip[found->count++], ip, sizeof ip);
  }
  freeaddrinfo(list);
  return found->count ? 0 : EAI_NONAME;
}

static void *run_query(void *argument) {
  query_t *query = argument;
  hmci_addresses_t found = {0};
  int error = look_up(query->host, &found);
  pthread_mutex_lock(&query->lock);
  query->error = error;
  query->found = found;
  query->done = true;
  bool abandoned = query->abandoned;
  pthread_cond_signal(&query->changed);
  pthread_mutex_unlock(&query->lock);
  if (abandoned) query_free(query);
  return NULL;
}

static bool start_query(query_t *query) {
  pthread_t thread;
  bool started = hmci_thread_create(&thread, run_query, query) == 0;
  if (started) pthread_detach(thread);
  return started;
}

static query_t *query_new(const char *host) {
  query_t *query = calloc(1, sizeof *query);
  if (!query) return NULL;
  pthread_condattr_t attributes;
  pthread_condattr_init(&attributes);
  pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  pthread_cond_init(&query->changed, &attributes);
  pthread_condattr_destroy(&attributes);
  pthread_mutex_init(&query->lock, NULL);
  snprintf(query->host, sizeof query->host, "%s", host);
  return query;
}

/* HMC_SUCCESS where the thread has answered; else, as HMC_TIMEOUT or HMC_CANCELLED, it frees the query. */
static hmc_status_t await_query(query_t *query, uint64_t deadline) {
  hmc_status_t status = HMC_IN_PROGRESS;
  pthread_mutex_lock(&query->lock);
  while (!query->done && status == HMC_IN_PROGRESS) {
    uint64_t now = hmci_now(), look = now + HMCI_STOP_ASK_NS, next = look < deadline ? look : deadline;
    if (now >= deadline) {
      status = HMC_TIMEOUT;
      break;
    }
    struct timespec until = {.tv_sec = (time_t)(next / 1000000000u), .tv_nsec = (long)(next % 1000000000u)};
    pthread_cond_timedwait(&query->changed, &query->lock, &until);
    pthread_mutex_unlock(&query->lock); /* the program may have a say, and that takes its time */
    if (hmci_stop_is_wanted()) status = HMC_CANCELLED;
    pthread_mutex_lock(&query->lock);
  }
  if (query->done) status = HMC_SUCCESS;
  query->abandoned = !query->done;
  pthread_mutex_unlock(&query->lock);
  return status;
}

static hmc_status_t explain(const char *host, int error) {
  switch (error) {
  case EAI_MEMORY: return hmci_fail(HMC_NO_MEMORY, "no memory to look up the host \"%s\"", host);
  case EAI_AGAIN:
    return hmci_fail(HMC_NOT_FOUND, "the host name \"%s\" cannot be looked up now: %s (or give its IP address)", host,
                     gai_strerror(error));
  default:
    return hmci_fail(HMC_NOT_FOUND, "\"%s\" is neither an IP address nor the name of a host: %s", host,
                     gai_strerror(error));
  }
}

/* An interface name may stand after '%'; whether there is such an interface the socket will say. */
static bool is_numeric(const char *host) {
  char plain[INET6_ADDRSTRLEN];
  struct in6_addr any;
  size_t length = strcspn(host, "%");
  if (length >= sizeof plain) return false;
  memcpy(plain, host, length);
  plain[length] = '\0';
  return inet_pton(AF_INET6, plain, &any) == 1 || (!host[length] && inet_pton(AF_INET, plain, &any) == 1);
}

/* Digits and dots alone are meant as an address: a resolver would take "10.1" for one of its own making. */
static bool is_broken_number(const char *host) { return host[strspn(host, "0123456789.")] == '\0'; }

hmc_status_t hmci_resolve(const char *host, uint64_t deadline, hmci_addresses_t *addresses) {
  if (!host || !*host) return hmci_fail(HMC_INVALID_CONFIG, "no IP address or host name given");
  if (is_numeric(host) && strlen(host) < HMCI_IP_TEXT) {
    addresses->count = 1;
    snprintf(addresses->ip[0], HMCI_IP_TEXT, "%s", host);
    return HMC_SUCCESS;
  }
  if (is_broken_number(host) || strlen(host) >= HMCI_HOST_TEXT || strpbrk(host, " /:%"))
    return hmci_fail(HMC_INVALID_CONFIG, "\"%s\" is neither an IP address nor the name of a host", host);
  query_t *query = query_new(host);
  if (!query || !start_query(query)) {
    if (query) query_free(query);
    return hmci_fail(HMC_NO_MEMORY, "no memory or thread to look up the host \"%s\"", host);
  }
  hmc_status_t status = await_query(query, deadline);
  if (status == HMC_CANCELLED) return hmci_fail(status, "cancelled");
  if (status == HMC_TIMEOUT)
    return hmci_fail(status, "looking up the host \"%s\" took too long: is the name server there?", host);
  int error = query->error;
  if (!error) *addresses = query->found;
  query_free(query);
  return error ? explain(host, error) : HMC_SUCCESS;
}

uint64_t hmci_address_turn(uint64_t each_ms, size_t more, uint64_t deadline) {
  uint64_t now = hmci_now(), left = deadline > now ? deadline - now : 0, limit = hmci_deadline(each_ms);
  uint64_t end = more > 0 ? now + left / (more + 1) : deadline;
  return limit < end ? limit : end;
}
