/* SMEM's common calls: set-up, the texts of errors, the log.
 *
 * Locking: `lock` guards the logger; the level is atomic. */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { TEXT = 1024, LEAST_PORT = 1025 };

static _Thread_local char last_error[TEXT];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void (*logger)(int level, const char *text);
static atomic_int least_level = HMCI_SMEM_WARNING;

/* ---- log and errors ---------------------------------------------------------------------------------------------- */

static void log_text(int level, const char *text) {
  static const char *const names[] = {"debug", "info", "warning", "error"};
  if (level < atomic_load(&least_level)) {
    return;
  }
  pthread_mutex_lock(&lock);
  void (*chosen)(int, const char *) = logger;
  pthread_mutex_unlock(&lock);
  if (chosen != NULL) {
    chosen(level, text);
  } else {
    fprintf(stderr, "smem: %s: %s\n", names[level], text);
  }
}

void hmci_smem_log(int level, const char *format, ...) {
  char text[TEXT];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  log_text(level, text);
}

/* What the analyzer sees in their place (common.h). */
#undef hmci_smem_fail
#undef hmci_smem_fail_hmc

int32_t hmci_smem_fail(int32_t code, const char *format, ...) {
  char text[TEXT];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  memcpy(last_error, text, sizeof(last_error));
  log_text(HMCI_SMEM_INFO, text);
  return code;
}

int32_t hmci_smem_code(hmc_status_t status) {
  switch (status) {
  case HMC_SUCCESS: return SM_OK;
  case HMC_TIMEOUT: return SM_TIMEOUT;
  case HMC_INVALID_CONFIG:
  case HMC_OUT_OF_RANGE: return SM_INVALID_PARAM;
  case HMC_NOT_FOUND:
  case HMC_STALE:
  case HMC_CANCELLED:
  case HMC_PEER_LOST: return SM_OBJECT_NOT_EXISTS;
  case HMC_NO_MEMORY: return SM_MALLOC_FAILED;
  case HMC_ADDRESS_IN_USE: return SM_RESOURCE_IN_USE;
  default: return SM_ERROR;
  }
}

int32_t hmci_smem_fail_hmc(hmc_status_t status, const char *format, ...) {
  char text[TEXT / 2];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return hmci_smem_fail(hmci_smem_code(status), "%s: %s", text, hmc_last_error());
}

const char *smem_get_last_err_msg(void) { return last_error; }

const char *smem_get_and_clear_last_err_msg(void) {
  static _Thread_local char taken[TEXT];
  memcpy(taken, last_error, sizeof(taken));
  last_error[0] = '\0';
  return taken;
}

void hmc_smem_set_last_err_msg(const char *text) { snprintf(last_error, sizeof(last_error), "%s", text); }

int32_t smem_set_extern_logger(void (*func)(int level, const char *msg)) {
  if (func == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM, "no function given for the log: give one; smem_uninit takes it back");
  }
  pthread_mutex_lock(&lock);
  logger = func;
  pthread_mutex_unlock(&lock);
  return SM_OK;
}

int32_t smem_set_log_level(int level) {
  if (level < HMCI_SMEM_DEBUG || level > HMCI_SMEM_ERROR) {
    return hmci_smem_fail(SM_INVALID_PARAM, "log level %d: takes 0 (debug), 1 (info), 2 (warning) or 3 (error)", level);
  }
  atomic_store(&least_level, level);
  return SM_OK;
}

int32_t smem_init(uint32_t flags) {
  (void)flags;
  return SM_OK;
}

void smem_uninit(void) {
  pthread_mutex_lock(&lock);
  logger = NULL;
  pthread_mutex_unlock(&lock);
}

/* ---- addresses of hosts ------------------------------------------------------------------------------------------ */

static int is_ip(const char *text) {
  struct in6_addr address;
  return inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1;
}

int32_t hmci_smem_parse_address(const char *text, hmci_smem_url_t *url) {
  const char *colon = text != NULL ? strrchr(text, ':') : NULL;
  char ip[64] = "", *end = NULL;
  int is_six = text != NULL && text[0] == '[';
  size_t length = colon != NULL ? (size_t)(colon - text) : 0;
  if (is_six && length >= 2 && colon[-1] == ']') {
    text++;
    length -= 2;
  }
  if (colon != NULL && length < sizeof(ip)) {
    memcpy(ip, text, length);
  }
  unsigned long port = colon != NULL ? strtoul(colon + 1, &end, 10) : 0;
  if (colon == NULL || !is_ip(ip) || (strchr(ip, ':') != NULL) != is_six || end == colon + 1 || *end != '\0' ||
      port < LEAST_PORT || port > UINT16_MAX) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "\"%.80s\" is not an address: IP:PORT or [IPV6]:PORT is, with a port from %d on",
                          text != NULL ? text : "", LEAST_PORT);
  }
  snprintf(url->ip, sizeof(url->ip), "%s", ip);
  url->port = (uint16_t)port;
  snprintf(url->text, sizeof(url->text), is_six ? "tcp://[%s]:%u" : "tcp://%s:%u", url->ip, url->port);
  return SM_OK;
}

int32_t hmci_smem_parse_url(const char *text, hmci_smem_url_t *url) {
  if (text != NULL && strncmp(text, "etcd://", 7) == 0 && strlen(text) < sizeof(url->text)) {
    snprintf(url->text, sizeof(url->text), "%s", text);
    snprintf(url->ip, sizeof(url->ip), "%.*s", (int)strcspn(text + 7, ":,/"), text + 7); /* of its first member */
    url->port = 0;                                                                       /* nobody here serves it */
    return SM_OK;
  }
  size_t scheme = text == NULL ? 0 : strncmp(text, "tcp://", 6) == 0 ? 6 : strncmp(text, "tcp6://[", 8) == 0 ? 7 : 0;
  if (scheme == 0) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "\"%.80s\" is not the URL of a store: tcp://IP:PORT and etcd://HOST:PORT,... are",
                          text != NULL ? text : "");
  }
  return hmci_smem_parse_address(text + scheme, url);
}

/* Fills in a socket address; its size, or 0. */
static socklen_t make_address(const char *ip, uint16_t port, struct sockaddr_storage *address) {
  struct sockaddr_in *four = (struct sockaddr_in *)address;
  struct sockaddr_in6 *six = (struct sockaddr_in6 *)address;
  memset(address, 0, sizeof(*address));
  if (inet_pton(AF_INET, ip, &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(port);
    return sizeof(*four);
  }
  if (inet_pton(AF_INET6, ip, &six->sin6_addr) == 1) {
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(port);
    return sizeof(*six);
  }
  return 0;
}

/* The same for the name of a host, as the members of an etcd cluster may have. */
static socklen_t resolve(const char *host, struct sockaddr_storage *address) {
  struct addrinfo *found = NULL;
  const struct addrinfo wanted = {.ai_socktype = SOCK_DGRAM};
  socklen_t size = make_address(host, 9, address);
  if (size == 0 && host[0] != '\0' && getaddrinfo(host, "9", &wanted, &found) == 0 &&
      found->ai_addrlen <= sizeof(*address)) {
    memcpy(address, found->ai_addr, found->ai_addrlen);
    size = found->ai_addrlen;
  }
  if (found != NULL) {
    freeaddrinfo(found);
  }
  return size;
}

void hmci_smem_own_ip(const char *ip, char own[64]) {
  struct sockaddr_storage address;
  socklen_t size = resolve(ip, &address);
  snprintf(own, 64, "127.0.0.1");
  int descriptor = size > 0 ? socket(address.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0) : -1;
  if (descriptor < 0) {
    return;
  }
  /* A datagram socket that is connected has the address of the interface that leads there; nothing is sent. */
  if (connect(descriptor, (struct sockaddr *)&address, size) == 0) {
    size = sizeof(address);
    if (getsockname(descriptor, (struct sockaddr *)&address, &size) == 0) {
      const void *bytes = address.ss_family == AF_INET ? (const void *)&((struct sockaddr_in *)&address)->sin_addr
                                                       : (const void *)&((struct sockaddr_in6 *)&address)->sin6_addr;
      inet_ntop(address.ss_family, bytes, own, 64);
    }
  }
  close(descriptor);
}

int hmci_smem_is_own(const char *ip) {
  struct sockaddr_storage address;
  socklen_t size = make_address(ip, 0, &address);
  int descriptor = size > 0 ? socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;
  int is_own = descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, size) == 0;
  if (descriptor >= 0) {
    close(descriptor);
  }
  return is_own;
}

hmc_status_t hmci_smem_connect(hmc_context_t *context, const char *ip, uint16_t port, hmc_connection_type_t type,
                               hmc_peer_t **peer) {
  hmc_status_t status = hmc_context_connect(context, ip, port, type, 0, peer);
  return status == HMC_DENIED ? HMC_PEER_LOST : status;
}

/* ---- devices ----------------------------------------------------------------------------------------------------- */

int32_t hmci_smem_choose_device(uint16_t device_id, hmc_memory_t *device) {
  hmc_memory_t wanted = {.kind = HMC_MEMORY_DEFAULT, .device = 0};
  int devices = 0;
  hmc_status_t status = hmc_memory_resolve(wanted, &wanted);
  if (status == HMC_SUCCESS && wanted.kind == HMC_MEMORY_CPU) {
    wanted.kind = HMC_MEMORY_SIM;
  }
  if (status == HMC_SUCCESS) {
    status = hmc_memory_devices(wanted.kind, &devices);
  }
  if (status != HMC_SUCCESS) {
    return hmci_smem_fail_hmc(status, "device memory cannot be had");
  }
  if (wanted.kind != HMC_MEMORY_SIM && device_id >= devices) {
    return hmci_smem_fail(SM_INVALID_PARAM, "device %u: there are %d, counted from 0", device_id, devices);
  }
  wanted.device = devices > 0 ? device_id % devices : 0; /* software accelerators stand in for as many as are named */
  *device = wanted;
  return SM_OK;
}
