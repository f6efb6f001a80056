/* Sockets (see socket.h).
 *
 * Invariant: every descriptor that leaves this file is non-blocking and close-on-exec. No locking: no state.
 *
 * A UNIX socket file is made under a lock on its directory, so that of two processes that find the same stale file only
 * one replaces it, and so that nobody takes a file for stale between another one's bind() and listen(). */
#include "socket.h"
#include "stop.h"

#include "resolve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { RETRY_MS = 5, DIRECTORY_LOCK_TRIES = 100, LOOK_UP_MS = 10000 };

typedef union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
  struct sockaddr_un local;
  struct sockaddr_storage storage;
} address_t;

/* ---- addresses --------------------------------------------------------------------------------------------------- */

static void local_text(const struct sockaddr_un *address, socklen_t size, char text[HMCI_ADDRESS_TEXT]) {
  size_t start = offsetof(struct sockaddr_un, sun_path);
  size_t length = size > start ? size - start : 0;
  bool is_abstract = length > 0 && address->sun_path[0] == '\0';
  if (is_abstract) {
    snprintf(text, HMCI_ADDRESS_TEXT, "unix:@%.*s", (int)(length - 1), address->sun_path + 1);
  } else {
    snprintf(text, HMCI_ADDRESS_TEXT, "unix:%.*s", (int)strnlen(address->sun_path, length), address->sun_path);
  }
}

void hmci_address_text(const struct sockaddr *address, socklen_t size, char text[HMCI_ADDRESS_TEXT]) {
  address_t any = {0};
  char ip[INET6_ADDRSTRLEN] = "?", scope[IF_NAMESIZE + 1] = "";
  memcpy(&any, address, size < sizeof(any) ? size : sizeof(any));
  if (any.any.sa_family == AF_INET) {
    inet_ntop(AF_INET, &any.v4.sin_addr, ip, sizeof(ip));
    snprintf(text, HMCI_ADDRESS_TEXT, "%s:%u", ip, ntohs(any.v4.sin_port));
  } else if (any.any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&any.v6.sin6_addr)) {
    inet_ntop(AF_INET, any.v6.sin6_addr.s6_addr + 12, ip, sizeof(ip));
    snprintf(text, HMCI_ADDRESS_TEXT, "%s:%u", ip, ntohs(any.v6.sin6_port));
  } else if (any.any.sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &any.v6.sin6_addr, ip, sizeof(ip));
    if (any.v6.sin6_scope_id != 0) {
      scope[0] = '%';
      if (if_indextoname(any.v6.sin6_scope_id, scope + 1) == NULL) {
        snprintf(scope, sizeof(scope), "%%%u", any.v6.sin6_scope_id);
      }
    }
    snprintf(text, HMCI_ADDRESS_TEXT, "[%s%s]:%u", ip, scope, ntohs(any.v6.sin6_port));
  } else if (any.any.sa_family == AF_UNIX) {
    local_text(&any.local, size, text);
  } else {
    snprintf(text, HMCI_ADDRESS_TEXT, "address family %d", any.any.sa_family);
  }
}

/* "fe80::1%eth0": the part after the sign as an interface number; 0 where there is none of that name. */
static uint32_t scope_number(const char *scope) {
  char *end;
  unsigned long number = strtoul(scope, &end, 10);
  return *scope != '\0' && *end == '\0' && number <= UINT32_MAX ? (uint32_t)number : if_nametoindex(scope);
}

static hmc_status_t parse_ip(const char *ip, uint16_t port, address_t *address, socklen_t *size) {
  char plain[INET6_ADDRSTRLEN];
  const char *percent = ip != NULL ? strchr(ip, '%') : NULL;
  address_t parsed = {0};
  if (ip == NULL || ip[0] == '\0') {
    return hmci_fail(HMC_INVALID_CONFIG, "no IP address given");
  }
  size_t length = percent != NULL ? (size_t)(percent - ip) : strlen(ip);
  snprintf(plain, sizeof(plain), "%.*s", length < sizeof(plain) ? (int)length : 0, ip);
  if (percent == NULL && inet_pton(AF_INET, ip, &parsed.v4.sin_addr) == 1) {
    parsed.v4.sin_family = AF_INET;
    parsed.v4.sin_port = htons(port);
    *size = sizeof(parsed.v4);
  } else if (inet_pton(AF_INET6, plain, &parsed.v6.sin6_addr) == 1) {
    parsed.v6.sin6_family = AF_INET6;
    parsed.v6.sin6_port = htons(port);
    parsed.v6.sin6_scope_id = percent != NULL ? scope_number(percent + 1) : 0;
    if (percent != NULL && parsed.v6.sin6_scope_id == 0) {
      return hmci_fail(HMC_INVALID_CONFIG, "\"%s\" names a network interface that this host does not have", ip);
    }
    *size = sizeof(parsed.v6);
  } else {
    return hmci_fail(HMC_INVALID_CONFIG, "\"%s\" is not an IPv4 or IPv6 address", ip);
  }
  *address = parsed;
  return HMC_SUCCESS;
}

static hmc_status_t parse_path(const char *path, address_t *address, socklen_t *size) {
  size_t length = path != NULL ? strlen(path) : 0;
  bool is_abstract = length > 0 && path[0] == '@';
  if (length == 0 || (is_abstract && length == 1)) {
    return hmci_fail(HMC_INVALID_CONFIG, "no path given for a UNIX socket");
  }
  if (length + (is_abstract ? 0 : 1) > sizeof(address->local.sun_path)) {
    return hmci_fail(HMC_INVALID_CONFIG,
                     "the UNIX socket path \"%s\" has %zu characters, the system takes %zu: use a shorter one", path,
                     length, sizeof(address->local.sun_path) - 1);
  }
  *address = (address_t){0};
  address->local.sun_family = AF_UNIX;
  memcpy(address->local.sun_path, path, length);
  if (is_abstract) {
    address->local.sun_path[0] = '\0';
  }
  *size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + (is_abstract ? 0 : 1));
  return HMC_SUCCESS;
}

/* A new socket, or a status with its text. */
static hmc_status_t new_socket(int family, int *descriptor) {
  *descriptor = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (*descriptor >= 0) {
    return HMC_SUCCESS;
  }
  if (errno == EAFNOSUPPORT) {
    return hmci_fail(HMC_INVALID_CONFIG, "this host has no sockets of that kind: %s", strerror(errno));
  }
  return hmci_fail(HMC_NO_MEMORY, "no socket: %s", strerror(errno));
}

static void set_nodelay(int descriptor) {
  int one = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one,
             sizeof(one)); /* fails on UNIX sockets, where nothing is delayed */
}

/* ---- listening --------------------------------------------------------------------------------------------------- */

static hmc_status_t listen_failure(int error, const char *where) {
  switch (error) {
  case EADDRINUSE: return hmci_fail(HMC_ADDRESS_IN_USE, "%s is in use by another listener", where);
  case EADDRNOTAVAIL: return hmci_fail(HMC_INVALID_CONFIG, "%s is not an address of this host", where);
  case EACCES:
  case EPERM: return hmci_fail(HMC_INVALID_CONFIG, "listening at %s is not permitted: %s", where, strerror(error));
  case ENOMEM:
  case ENOBUFS: return hmci_fail(HMC_NO_MEMORY, "listening at %s: %s", where, strerror(error));
  default: return hmci_fail(HMC_INVALID_CONFIG, "listening at %s: %s", where, strerror(error));
  }
}

static hmc_status_t listen_at(const char *ip, uint16_t port, int *descriptor, uint16_t *bound_port) {
  address_t address;
  socklen_t size;
  char where[HMCI_ADDRESS_TEXT];
  int listener, one = 1;
  hmc_status_t status = parse_ip(ip, port, &address, &size);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = new_socket(address.any.sa_family, &listener);
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmci_address_text(&address.any, size, where);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (bind(listener, &address.any, size) != 0 || listen(listener, SOMAXCONN) != 0 ||
      getsockname(listener, &address.any, &size) != 0) {
    status = listen_failure(errno, where);
    goto err_close;
  }
  *descriptor = listener;
  if (bound_port != NULL) {
    *bound_port = ntohs(address.any.sa_family == AF_INET ? address.v4.sin_port : address.v6.sin6_port);
  }
  return HMC_SUCCESS;

err_close:
  close(listener);
  return status;
}

hmc_status_t hmci_socket_listen_tcp(const char *where, uint16_t port, int *descriptor, uint16_t *bound_port) {
  char host[HMCI_HOST_TEXT];
  hmci_addresses_t addresses = {0};
  hmc_status_t status = hmci_address_split(where, host, &port);
  if (status == HMC_SUCCESS) status = hmci_resolve(host, hmci_deadline(LOOK_UP_MS), &addresses);
  if (status != HMC_SUCCESS) return status;
  for (size_t i = 0; i < addresses.count; i++) {
    status = listen_at(addresses.ip[i], port, descriptor, bound_port);
    if (status == HMC_SUCCESS) break;
  }
  return status;
}

/* Takes the lock on the directory of `path`; -1 where it cannot be had: then two processes that start on one stale file
 * at the same instant may both replace it, which is what they would do anyway. */
static int lock_directory(const char *path) {
  char directory[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
  const char *slash = strrchr(path, '/');
  if (slash == NULL) {
    snprintf(directory, sizeof(directory), ".");
  } else {
    snprintf(directory, sizeof(directory), "%.*s", slash == path ? 1 : (int)(slash - path), path);
  }
  int lock = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock < 0) {
    return -1;
  }
  /* Never for long: others may hold a lock on a shared directory for reasons of their own. */
  for (int i = 0; i < DIRECTORY_LOCK_TRIES; i++) {
    if (flock(lock, LOCK_EX | LOCK_NB) == 0) {
      return lock;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) {
      break;
    }
    poll(NULL, 0, RETRY_MS);
  }
  close(lock);
  return -1;
}

/* Removes a socket file that nobody listens on. HMC_ADDRESS_IN_USE where the path is anything else. */
static hmc_status_t remove_stale(const address_t *address, socklen_t size) {
  const char *path = address->local.sun_path;
  struct stat file;
  int probe;
  if (lstat(path, &file) == 0 && !S_ISSOCK(file.st_mode)) {
    return hmci_fail(HMC_ADDRESS_IN_USE, "unix:%s: there is a file of that name that is not a socket", path);
  }
  hmc_status_t status = new_socket(AF_UNIX, &probe);
  if (status != HMC_SUCCESS) {
    return status;
  }
  bool is_refused = connect(probe, &address->any, size) != 0 && errno == ECONNREFUSED;
  close(probe);
  if (!is_refused) {
    return hmci_fail(HMC_ADDRESS_IN_USE, "unix:%s is in use by another listener", path);
  }
  if (unlink(path) != 0 && errno != ENOENT) {
    return hmci_fail(HMC_ADDRESS_IN_USE, "unix:%s is a stale socket file that cannot be removed: %s", path,
                     strerror(errno));
  }
  return HMC_SUCCESS;
}

hmc_status_t hmci_socket_listen_unix(const char *path, int *descriptor) {
  address_t address;
  socklen_t size;
  char where[HMCI_ADDRESS_TEXT];
  int listener, lock = -1;
  hmc_status_t status = parse_path(path, &address, &size);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = new_socket(AF_UNIX, &listener);
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmci_address_text(&address.any, size, where);
  bool is_file = address.local.sun_path[0] != '\0';
  if (is_file) {
    fchmod(listener,
           S_IRUSR | S_IWUSR); /* the file gets it; others are turned away by their credentials all the same */
    lock = lock_directory(path);
  }
  bool bound = bind(listener, &address.any, size) == 0;
  if (!bound && errno == EADDRINUSE && is_file) {
    status = remove_stale(&address, size);
    if (status != HMC_SUCCESS) {
      goto err_close;
    }
    bound = bind(listener, &address.any, size) == 0;
  }
  if (!bound || listen(listener, SOMAXCONN) != 0) {
    status = listen_failure(errno, where);
    goto err_close;
  }
  if (lock >= 0) {
    close(lock);
  }
  *descriptor = listener;
  return HMC_SUCCESS;

err_close:
  if (bound && is_file) {
    unlink(path);
  }
  if (lock >= 0) {
    close(lock);
  }
  close(listener);
  return status;
}

/* ---- connecting -------------------------------------------------------------------------------------------------- */

/* What to do where the network has no way; "" where that is not known. */
static const char *way_remedy(int error, const char *where) {
  if (error != ENETUNREACH) {
    return "";
  }
  bool is_own = strncmp(where, "127.", 4) == 0 || strncmp(where, "[::1]", 5) == 0;
  return is_own ? ": the loopback is down (ip link set lo up)" : ": this host has no route there (ip route)";
}

static hmc_status_t connect_failure(int error, const char *where) {
  switch (error) {
  case ECONNREFUSED:
  case ENOENT: return hmci_fail(HMC_NOT_FOUND, "nobody listens at %s", where);
  case ETIMEDOUT: return hmci_fail(HMC_TIMEOUT, "%s does not answer", where);
  case EHOSTUNREACH:
  case ENETUNREACH:
  case EHOSTDOWN:
  case ENETDOWN:
  case ECONNRESET:
  case EPIPE:
    return hmci_fail(HMC_PEER_LOST, "no connection to %s: %s%s", where, strerror(error), way_remedy(error, where));
  case EACCES:
  case EPERM: return hmci_fail(HMC_DENIED, "connecting to %s is not permitted: %s", where, strerror(error));
  case EADDRNOTAVAIL:
  case ENOMEM:
  case ENOBUFS: return hmci_fail(HMC_NO_MEMORY, "connecting to %s: %s", where, strerror(error));
  default: return hmci_fail(HMC_INVALID_CONFIG, "connecting to %s: %s", where, strerror(error));
  }
}

/* Waits for a connect() that is in progress. */
static hmc_status_t connect_finish(int descriptor, const char *where, uint64_t deadline) {
  int ready, error;
  do {
    ready = hmci_stop_poll(descriptor, POLLOUT, hmci_poll_timeout(deadline));
    error = ready < 0 ? errno : 0;
    if (hmci_stop_is_wanted()) return hmci_fail(HMC_CANCELLED, "cancelled");
  } while (error == EINTR);
  if (ready == 0) {
    return hmci_fail(HMC_TIMEOUT, "%s did not answer in time", where);
  }
  socklen_t size = sizeof(error);
  if (ready > 0) {
    getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
  }
  return error != 0 ? connect_failure(error, where) : HMC_SUCCESS;
}

/* One connect() from begin to end. A UNIX socket whose queue is full answers EAGAIN, and nothing tells when it has
 * room. */
static hmc_status_t connect_by(int descriptor, const address_t *address, socklen_t size, const char *where,
                               uint64_t deadline) {
  for (;;) {
    if (connect(descriptor, &address->any, size) == 0) {
      return HMC_SUCCESS;
    }
    if (errno == EINPROGRESS || errno == EINTR) {
      return connect_finish(descriptor, where, deadline);
    }
    if (errno != EAGAIN) {
      return connect_failure(errno, where);
    }
    if (hmci_now() >= deadline) {
      return hmci_fail(HMC_TIMEOUT, "%s did not take the connection in time", where);
    }
    if (hmci_stop_is_wanted()) return hmci_fail(HMC_CANCELLED, "cancelled");
    hmci_stop_poll(-1, 0, RETRY_MS);
  }
}

/* A connect() to a free port of this host's ephemeral range may meet itself: TCP then connects the socket to its own
 * end. */
static bool is_connected_to_itself(int descriptor) {
  address_t here = {0}, there = {0};
  socklen_t here_size = sizeof(here), there_size = sizeof(there);
  return getsockname(descriptor, &here.any, &here_size) == 0 && getpeername(descriptor, &there.any, &there_size) == 0 &&
         here_size == there_size && memcmp(&here, &there, here_size) == 0;
}

static hmc_status_t connect_to(const char *ip, uint16_t port, uint64_t deadline, int *descriptor) {
  address_t address;
  socklen_t size;
  char where[HMCI_ADDRESS_TEXT];
  int connection;
  hmc_status_t status = parse_ip(ip, port, &address, &size);
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (port == 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "no port given to connect to at %s", ip);
  }
  status = new_socket(address.any.sa_family, &connection);
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmci_address_text(&address.any, size, where);
  status = connect_by(connection, &address, size, where, deadline);
  if (status == HMC_SUCCESS && is_connected_to_itself(connection)) {
    status = connect_failure(ECONNREFUSED, where);
  }
  if (status != HMC_SUCCESS) {
    goto err_close;
  }
  set_nodelay(connection);
  *descriptor = connection;
  return HMC_SUCCESS;

err_close:
  close(connection);
  return status;
}

hmc_status_t hmci_socket_connect_each(const char *where, uint16_t port, uint64_t each_ms, uint64_t deadline,
                                      int *descriptor) {
  char host[HMCI_HOST_TEXT];
  hmci_addresses_t addresses = {0};
  hmc_status_t status = hmci_address_split(where, host, &port);
  if (status == HMC_SUCCESS) status = hmci_resolve(host, deadline, &addresses);
  if (status != HMC_SUCCESS) return status;
  for (size_t i = 0; i < addresses.count; i++) {
    uint64_t limit = hmci_address_turn(each_ms, addresses.count - i - 1, deadline);
    status = connect_to(addresses.ip[i], port, limit, descriptor);
    if (status == HMC_SUCCESS || status == HMC_CANCELLED) break;
  }
  return status;
}

hmc_status_t hmci_socket_connect_tcp(const char *where, uint16_t port, uint64_t deadline, int *descriptor) {
  return hmci_socket_connect_each(where, port, UINT64_MAX, deadline, descriptor);
}

hmc_status_t hmci_socket_connect_unix(const char *path, uint64_t deadline, int *descriptor) {
  address_t address;
  socklen_t size;
  char where[HMCI_ADDRESS_TEXT];
  int connection;
  hmc_status_t status = parse_path(path, &address, &size);
  if (status != HMC_SUCCESS) {
    return status;
  }
  status = new_socket(AF_UNIX, &connection);
  if (status != HMC_SUCCESS) {
    return status;
  }
  hmci_address_text(&address.any, size, where);
  status = connect_by(connection, &address, size, where, deadline);
  if (status != HMC_SUCCESS) {
    close(connection);
    return status;
  }
  *descriptor = connection;
  return HMC_SUCCESS;
}

/* An address belongs to a user who may bind a socket to it. */
static bool is_own(const char *ip) {
  address_t address;
  socklen_t size;
  if (parse_ip(ip, 0, &address, &size) != HMC_SUCCESS) {
    return false;
  }
  int probe = socket(address.any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  bool bound = probe >= 0 && bind(probe, &address.any, size) == 0;
  if (probe >= 0) {
    close(probe);
  }
  return bound;
}

bool hmci_socket_is_local(const char *where, uint64_t deadline) {
  char host[HMCI_HOST_TEXT];
  uint16_t port = 0;
  hmci_addresses_t addresses;
  uint64_t limit = hmci_deadline(LOOK_UP_MS);
  return hmci_address_split(where, host, &port) == HMC_SUCCESS &&
         hmci_resolve(host, limit < deadline ? limit : deadline, &addresses) == HMC_SUCCESS && is_own(addresses.ip[0]);
}

/* ---- accepting --------------------------------------------------------------------------------------------------- */

hmc_status_t hmci_socket_accept(int listener, int *descriptor, char peer[HMCI_ADDRESS_TEXT]) {
  address_t address = {0};
  socklen_t size;
  int connection;
  for (;;) {
    size = sizeof(address);
    connection = accept4(listener, &address.any, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection >= 0) {
      break;
    }
    switch (errno) {
    case EAGAIN: return HMC_IN_PROGRESS;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM: return hmci_fail(HMC_NO_MEMORY, "accepting a connection: %s", strerror(errno));
    case EBADF:
    case EINVAL:
    case ENOTSOCK:
    case EOPNOTSUPP:
    case EPERM: /* a sandbox forbids it, as the two below, and will the next time */
    case EACCES:
    case ENOSYS:
    case EFAULT: return hmci_fail(HMC_ERROR, "accepting a connection: %s", strerror(errno));
    default: /* the connection at hand failed before it was taken, or a signal came: there may be more */ continue;
    }
  }
  if (address.any.sa_family == AF_UNIX) { /* the other end has no name as a rule, but it dialled ours */
    size = sizeof(address);
    getsockname(connection, &address.any, &size);
  }
  set_nodelay(connection);
  hmci_address_text(&address.any, size, peer);
  *descriptor = connection;
  return HMC_SUCCESS;
}

/* True for a connection of this host to itself. */
static bool is_within_host(int descriptor) {
  address_t here = {0}, there = {0};
  socklen_t size = sizeof(here), peer_size = sizeof(there);
  if (getsockname(descriptor, &here.any, &size) != 0 || getpeername(descriptor, &there.any, &peer_size) != 0)
    return false;
  if (here.any.sa_family != there.any.sa_family) return false;
  if (here.any.sa_family == AF_INET) return here.v4.sin_addr.s_addr == there.v4.sin_addr.s_addr;
  return here.any.sa_family == AF_INET6 &&
         memcmp(&here.v6.sin6_addr, &there.v6.sin6_addr, sizeof(here.v6.sin6_addr)) == 0;
}

/* Idle connections are probed after a third of the time, and again after each further third; TCP_USER_TIMEOUT ends both
 * those and the ones with data in progress. */
void hmci_socket_set_liveness(int descriptor, uint64_t timeout_ms) {
  unsigned timeout = timeout_ms > UINT_MAX ? UINT_MAX : (unsigned)timeout_ms;
  int one = 1, third = (int)(timeout / 3000), probes = 2;
  third = third < 1 ? 1 : third > 32767 ? 32767 : third; /* seconds; the kernel's upper bound */
  if (is_within_host(descriptor)) return;
  setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout, sizeof(timeout));
  setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPIDLE, &third, sizeof(third));
  setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPINTVL, &third, sizeof(third));
  setsockopt(descriptor, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
  setsockopt(descriptor, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
}

void hmci_socket_delay_acks(int descriptor) {
  int none = 0;
  setsockopt(descriptor, IPPROTO_TCP, TCP_QUICKACK, &none, sizeof none);
}

void hmci_socket_let_be_slow(int descriptor) {
  unsigned none = 0;
  setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &none, sizeof(none));
}

/* The time between retries doubles, so that what has passed is about the time until the next one. */
bool hmci_socket_is_deserted(int descriptor, uint64_t timeout_ms) {
  struct tcp_info info = {0};
  socklen_t size = sizeof(info);
  if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return false;
  return info.tcpi_unacked > 0 && info.tcpi_retransmits > 0 && info.tcpi_rto / 1000u >= timeout_ms &&
         info.tcpi_last_ack_recv >= timeout_ms && info.tcpi_last_data_recv >= timeout_ms;
}

const char *hmci_socket_loss(int error, const char *otherwise) {
  bool silent = error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH;
  if (error == EBADMSG) return "a sealed record failed its check: its bytes were changed on the way";
  return silent ? "its host has acknowledged nothing for the time of HMC_PEER_TIMEOUT" : otherwise;
}

bool hmci_socket_stays_here(int descriptor) {
  address_t here = {0}, there = {0};
  socklen_t here_size = sizeof here, there_size = sizeof there;
  if (getsockname(descriptor, &here.any, &here_size) != 0 || getpeername(descriptor, &there.any, &there_size) != 0)
    return false;
  if (here.any.sa_family != there.any.sa_family) return false;
  if (here.any.sa_family == AF_INET) return here.v4.sin_addr.s_addr == there.v4.sin_addr.s_addr;
  return here.any.sa_family == AF_INET6 && IN6_ARE_ADDR_EQUAL(&here.v6.sin6_addr, &there.v6.sin6_addr);
}

hmc_status_t hmci_socket_set_congestion(int descriptor, const char *name) {
  if (setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0) return HMC_SUCCESS;
  return hmci_fail(HMC_INVALID_CONFIG,
                   "HMC_TCP_CONGESTION: the kernel does not let this process use '%s' (%s); those it does are in "
                   "/proc/sys/net/ipv4/tcp_allowed_congestion_control",
                   name, strerror(errno));
}
