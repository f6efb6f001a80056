/* hmc-doctor between two hosts: the way there (route, port, MTU), who is let in, and transfers by every connection type;
 * and being the other end. */
#include "doctor.h"
#include "interrupt.h"
#include "mode.h"

#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECT_MS = 5000, TIMEOUT_MS = 20000, HALVED = 16384 };

/* ---- the way there ----------------------------------------------------------------------------------------------- */

/* The interface that has an address of this host. */
static void name_interface(const struct sockaddr *own, char name[IF_NAMESIZE]) {
  struct ifaddrs *list;
  snprintf(name, IF_NAMESIZE, "?");
  if (getifaddrs(&list) != 0) return;
  for (struct ifaddrs *at = list; at; at = at->ifa_next) {
    if (!at->ifa_addr || at->ifa_addr->sa_family != own->sa_family) continue;
    bool same = own->sa_family == AF_INET ? ((const struct sockaddr_in *)(const void *)own)->sin_addr.s_addr ==
                                                ((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr.s_addr
                                          : memcmp(&((const struct sockaddr_in6 *)(const void *)own)->sin6_addr,
                                                   &((struct sockaddr_in6 *)(void *)at->ifa_addr)->sin6_addr, 16) == 0;
    if (same) snprintf(name, IF_NAMESIZE, "%s", at->ifa_name);
  }
  freeifaddrs(list);
}

/* Connects within CONNECT_MS; 0 or an errno. */
static int dial(int socket_, const struct addrinfo *address) {
  if (connect(socket_, address->ai_addr, address->ai_addrlen) == 0) return 0;
  if (errno != EINPROGRESS) return errno;
  struct pollfd ready = {.fd = socket_, .events = POLLOUT};
  if (poll(&ready, 1, CONNECT_MS) <= 0) return ETIMEDOUT;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(socket_, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

/* The other end announces what it takes; less than this end's MTU has room for means that the two differ. Beyond HALVED
 * the kernel may fill only half of a window that is not open yet, as it does on the loopback: that says nothing. */
static void check_mtu(int connection, const char *interface) {
  struct tcp_info info;
  socklen_t size = sizeof info;
  if (getsockopt(connection, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return;
  unsigned here = info.tcpi_advmss, there = info.tcpi_snd_mss;
  if (there + 12 < here && there < HALVED) /* time stamps take 12 bytes of a segment */
    doctor_say(DOCTOR_WARN, "mtu",
               "give both interfaces and all switches between them one MTU (ip link set dev ... mtu ...)",
               "MTUs differ: %s of this end takes segments of %u B, the other end or the way there %u B", interface,
               here, there);
  else
    doctor_say(DOCTOR_OK, "mtu", NULL, "segments of %u B go through (%s)", there, interface);
}

static void explain_port(const char *where, int error) {
  switch (error) {
  case ETIMEDOUT:
    doctor_say(DOCTOR_FAIL, "port",
               "open the port in the firewalls of both hosts, and check that the other host is up (ping)",
               "%s does not answer within %d s: the packets are dropped on the way", where, CONNECT_MS / 1000);
    break;
  case ECONNREFUSED:
    doctor_say(DOCTOR_FAIL, "port",
               "start 'hmc-doctor --listen' there, or correct the port; a firewall may refuse, too",
               "%s refuses connections: nobody listens there", where);
    break;
  case EHOSTUNREACH:
  case ENETUNREACH:
    doctor_say(DOCTOR_FAIL, "port", "check the address, the routes (ip route get) and the firewall that rejects",
               "%s is not reached: %s", where, strerror(error));
    break;
  default: doctor_say(DOCTOR_FAIL, "port", NULL, "%s: %s", where, strerror(error));
  }
}

/* True where a connection can be made. */
static bool check_port(const char *host, const char *port, const char *where) {
  const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  struct addrinfo *list;
  int failure = getaddrinfo(host, port, &hints, &list);
  if (failure) {
    doctor_say(DOCTOR_FAIL, "host", "correct the name, or give the address", "%s: %s", host, gai_strerror(failure));
    return false;
  }
  int error = EADDRNOTAVAIL;
  for (const struct addrinfo *at = list; at && error; at = at->ai_next) {
    int connection = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connection < 0) continue;
    error = dial(connection, at);
    if (!error) {
      struct sockaddr_storage own = {0};
      socklen_t size = sizeof own;
      char interface[IF_NAMESIZE];
      getsockname(connection, (struct sockaddr *)&own, &size);
      name_interface((struct sockaddr *)&own, interface);
      doctor_say(DOCTOR_OK, "port", NULL, "%s answers; the way there begins at %s", where, interface);
      check_mtu(connection, interface);
    }
    close(connection);
  }
  freeaddrinfo(list);
  if (error) explain_port(where, error);
  return !error;
}

/* ---- who is let in, and how -------------------------------------------------------------------------------------- */

static void check_type(hmc_context_t *context, const char *host, uint16_t port, hmc_connection_type_t type) {
  hmc_peer_t *peer = NULL;
  const char *name = hmc_connection_type_name(type);
  hmc_status_t status = hmc_context_connect(context, host, port, type, 0, &peer);
  if (status == HMC_UNSUPPORT) {
    doctor_say(DOCTOR_NOTE, "pair", NULL, "not by %s: %s", name, hmc_last_error());
    return;
  }
  if (status != HMC_SUCCESS) {
    doctor_say(DOCTOR_FAIL, "pair", tool_type_remedy(type), "%s: %s", name, hmc_last_error());
    return;
  }
  doctor_try_peer("pair", context, peer, (hmc_memory_t){HMC_MEMORY_CPU, 0});
  hmc_peer_close(peer);
}

/* The first connection says whether the two know one secret. */
static bool check_secret(hmc_context_t *context, const char *host, uint16_t port) {
  hmc_peer_t *peer = NULL;
  hmc_status_t status = hmc_context_connect(context, host, port, HMC_CONNECTION_AUTO, 0, &peer);
  if (status == HMC_SUCCESS) {
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    HMC_IGNORE(hmc_peer_get_info(peer, &info));
    doctor_say(DOCTOR_OK, "pair", NULL, "%s on %s, process %d, lets this user in; auto takes %s", info.name, info.host,
               info.process, hmc_connection_type_name(info.type));
    hmc_peer_close(peer);
    return true;
  }
  const char *text = hmc_last_error();
  doctor_say(DOCTOR_FAIL, "pair",
             strstr(text, "is not HMC: ") ? "correct the port, or start 'hmc-doctor --listen' there at another one"
             : status == HMC_DENIED
                 ? "copy this end's ~/.hmc/secret to the other, mode 600, or set HMC_SECRET_FILE at both"
                 : "see the text",
             "%s", text);
  return false;
}

/* Another program with HMC has no region to try, by no type. */
static bool check_region(hmc_context_t *context, const char *host, uint16_t port) {
  hmc_peer_t *peer = NULL;
  hmc_remote_t *remote = NULL;
  hmc_status_t status = hmc_context_connect(context, host, port, HMC_CONNECTION_AUTO, 0, &peer);
  if (status == HMC_SUCCESS) status = hmc_remote_open(peer, DOCTOR_REGION, 0, &remote);
  if (status == HMC_NOT_FOUND)
    doctor_say(DOCTOR_NOTE, "pair", NULL,
               "no transfers are tried, because that is another program with HMC: 'hmc-doctor --listen' takes them");
  hmc_peer_close(peer);
  return status != HMC_NOT_FOUND;
}

/* "node7:2025", "[fe80::1]:2025", "node7", "fe80::1", ":2025"; the parts that are missing stay as they are. */
static void split(const char *where, char host[256], char port[16]) {
  const char *colon = strrchr(where, ':'), *end = where + strlen(where), *begin = where;
  if (*where == '[' && strchr(where, ']')) {
    end = strchr(where, ']');
    begin++;
    colon = end[1] == ':' ? end + 1 : NULL;
  } else if (colon && strchr(where, ':') != colon) {
    colon = NULL;
  } else if (colon) {
    end = colon;
  }
  if (end > begin) snprintf(host, 256, "%.*s", (int)(end - begin), begin);
  if (colon) snprintf(port, 16, "%.15s", colon + 1);
}

void doctor_check_pair(const char *where) {
  char host[256] = "", port[16];
  snprintf(port, sizeof port, "%d", DOCTOR_PORT);
  split(where, host, port);
  uint64_t number;
  if (!host[0] || !tool_parse_count(port, 1, UINT16_MAX, &number)) {
    doctor_say(DOCTOR_FAIL, "host", "say HOST or HOST:PORT", "'%s' names no host", where);
    return;
  }
  if (!check_port(host, port, where)) return;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.name = "hmc-doctor";
  options.timeout_ms = TIMEOUT_MS;
  hmc_context_t *context;
  if (hmc_context_create(&options, &context) != HMC_SUCCESS) {
    doctor_say(DOCTOR_FAIL, "pair", NULL, "%s", hmc_last_error());
    return;
  }
  if (check_secret(context, host, (uint16_t)number) && check_region(context, host, (uint16_t)number)) {
    for (size_t i = 1; i < TOOL_TYPES; i++) /* the first one is AUTO */
      check_type(context, host, (uint16_t)number, tool_types[i]);
  }
  hmc_context_destroy(context);
}

/* ---- the other end ----------------------------------------------------------------------------------------------- */

int doctor_listen(const char *where) {
  char host[256] = "0.0.0.0", port[16];
  uint16_t bound = 0;
  uint64_t number = 0;
  snprintf(port, sizeof port, "%d", DOCTOR_PORT);
  if (where) split(where, host, port);
  if (!tool_parse_count(port, 0, UINT16_MAX, &number)) return tool_usage_error("'%s' is not a port", port);
  tool_catch_interrupts();
  hmc_context_t *context;
  hmc_region_t *region;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.name = "hmc-doctor";
  hmc_status_t status = hmc_context_create(&options, &context);
  if (status != HMC_SUCCESS) return tool_fail_hmc("the context", status);
  status = hmc_region_allocate(context, (hmc_memory_t){HMC_MEMORY_CPU, 0}, DOCTOR_BYTES, DOCTOR_REGION, HMC_REMOTE_ALL,
                               &region);
  if (status == HMC_SUCCESS) status = hmc_context_listen(context, host, (uint16_t)number, &bound);
  if (status != HMC_SUCCESS) {
    if (status == HMC_ADDRESS_IN_USE)
      tool_fail("listening: %s: choose another port with --listen HOST:PORT, or port 0 for a free one",
                hmc_last_error());
    else
      tool_fail_hmc("listening", status);
    hmc_context_destroy(context);
    return TOOL_FAILED;
  }
  printf("listening at %s, port %u; now run 'hmc-doctor THIS_HOST:%u' elsewhere; Ctrl-C ends this\n", host, bound,
         bound);
  fflush(stdout);
  while (!tool_interrupted) {
    hmc_event_t event = HMC_EVENT_INIT;
    size_t count = 0;
    status = hmc_poll(context, &event, 1, &count, 200);
    if (status != HMC_SUCCESS || !count) continue;
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    if (event.kind == HMC_EVENT_ARRIVAL && hmc_peer_get_info(event.peer, &info) == HMC_SUCCESS)
      printf("%s on %s came by %s\n", info.name, info.host, hmc_connection_type_name(info.type));
    if (event.kind == HMC_EVENT_PEER_LOST) hmc_peer_close(event.peer);
    if (event.kind == HMC_EVENT_NOTIFICATION) hmc_notification_free(event.data);
    fflush(stdout);
  }
  hmc_context_destroy(context);
  return TOOL_DONE;
}
