/* The proxy (see proxy.h): one thread that polls all sockets. It writes blocking, which is fine as long as both peers
 * read. */
#include "proxy.h"
#include "suite.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINKS = 48, CHUNK = 64 << 10 };

/* One direction of one connection. */
typedef struct way {
  int from, to;
  uint32_t matched; /* bytes of the mark seen at the end of the last chunk */
} way_t;

struct proxy {
  pthread_t thread;
  int listener;
  uint16_t to;
  way_t ways[2 * LINKS];
  size_t count;
  _Atomic bool stopping;
  _Atomic uint32_t marks_left, chunk, damages, skipped, hang_ups, pause_ms;
  _Atomic bool ends_all;
  uint8_t data[CHUNK];
};

static int loopback_socket(struct sockaddr_in *address, uint16_t port) {
  *address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static bool must_hang_up(proxy_t *proxy) {
  if (atomic_load(&proxy->skipped) > 0) {
    atomic_fetch_sub(&proxy->skipped, 1);
    return false;
  }
  if (atomic_load(&proxy->hang_ups) == 0) return false;
  atomic_fetch_sub(&proxy->hang_ups, 1);
  return true;
}

static void end_way(way_t *way) {
  if (way->from < 0) return;
  shutdown(way->to, SHUT_WR);
  shutdown(way->from, SHUT_RD);
  way->from = -1;
}

static void hang_up(proxy_t *proxy, int descriptor) {
  if (atomic_load(&proxy->ends_all)) {
    for (size_t i = 0; i < proxy->count; i++) end_way(&proxy->ways[i]);
  }
  sleep_ms(atomic_load(&proxy->pause_ms));
  close(descriptor);
}

static void take_connection(proxy_t *proxy) {
  struct sockaddr_in address;
  int near = accept4(proxy->listener, NULL, NULL, SOCK_CLOEXEC);
  if (must_hang_up(proxy)) {
    hang_up(proxy, near);
    return;
  }
  int far = loopback_socket(&address, proxy->to);
  if (near < 0 || far < 0 || proxy->count + 2 > COUNT_OF(proxy->ways) ||
      connect(far, (struct sockaddr *)&address, sizeof address) != 0) {
    close(near);
    close(far);
    return;
  }
  proxy->ways[proxy->count++] = (way_t){.from = near, .to = far};
  proxy->ways[proxy->count++] = (way_t){.from = far, .to = near};
}

static void flip(proxy_t *proxy, uint8_t *byte) {
  *byte ^= 0x10;
  atomic_fetch_add(&proxy->damages, 1);
}

/* Finds marks, those that lie across two chunks included. The mark's first letter does not occur in it again at a place
 * where a match could restart, but for the start itself. */
static void damage(proxy_t *proxy, way_t *way, uint8_t *data, size_t size) {
  uint32_t least = atomic_load(&proxy->chunk);
  if (least && size >= least) {
    atomic_store(&proxy->chunk, 0);
    flip(proxy, &data[size / 2]);
  }
  for (size_t i = 0; i < size; i++) {
    if (way->matched == PROXY_MARK_SIZE) {
      way->matched = 0;
      if (atomic_load(&proxy->marks_left) > 0) {
        atomic_fetch_sub(&proxy->marks_left, 1);
        flip(proxy, &data[i]);
      }
    } else if (data[i] == (uint8_t)PROXY_MARK[way->matched]) {
      way->matched++;
    } else {
      way->matched = data[i] == (uint8_t)PROXY_MARK[0];
    }
  }
}

static void forward(proxy_t *proxy, way_t *way) {
  ssize_t got = recv(way->from, proxy->data, sizeof proxy->data, 0);
  if (got <= 0) {
    end_way(way);
    return;
  }
  damage(proxy, way, proxy->data, (size_t)got);
  for (ssize_t sent = 0, more; sent < got; sent += more) {
    more = send(way->to, proxy->data + sent, (size_t)(got - sent), MSG_NOSIGNAL);
    if (more <= 0) {
      end_way(way);
      return;
    }
  }
}

static void *run_proxy(void *argument) {
  proxy_t *proxy = argument;
  while (!atomic_load(&proxy->stopping)) {
    struct pollfd ready[1 + COUNT_OF(proxy->ways)] = {{.fd = proxy->listener, .events = POLLIN}};
    size_t count = proxy->count;
    for (size_t i = 0; i < count; i++) ready[1 + i] = (struct pollfd){.fd = proxy->ways[i].from, .events = POLLIN};
    if (poll(ready, 1 + count, 20) <= 0) continue;
    for (size_t i = 0; i < count; i++)
      if (ready[1 + i].revents) forward(proxy, &proxy->ways[i]);
    if (ready[0].revents) take_connection(proxy);
  }
  return NULL;
}

proxy_t *proxy_start(uint16_t to, uint16_t *port) {
  proxy_t *proxy = calloc(1, sizeof *proxy);
  assert_non_null(proxy);
  struct sockaddr_in address;
  socklen_t size = sizeof address;
  proxy->to = to;
  proxy->listener = loopback_socket(&address, 0);
  assert_int_equal(bind(proxy->listener, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(proxy->listener, 16), 0);
  assert_int_equal(getsockname(proxy->listener, (struct sockaddr *)&address, &size), 0);
  *port = ntohs(address.sin_port);
  assert_int_equal(pthread_create(&proxy->thread, NULL, run_proxy, proxy), 0);
  return proxy;
}

void proxy_stop(proxy_t *proxy) {
  atomic_store(&proxy->stopping, true);
  pthread_join(proxy->thread, NULL);
  for (size_t i = 0; i < proxy->count; i++) close(proxy->ways[i].to); /* each socket is the other way's end, too */
  close(proxy->listener);
  free(proxy);
}

void proxy_damage_marked(proxy_t *proxy, uint32_t count) { atomic_store(&proxy->marks_left, count); }
void proxy_damage_chunk(proxy_t *proxy, uint32_t size) { atomic_store(&proxy->chunk, size); }
uint32_t proxy_damages(const proxy_t *proxy) { return atomic_load(&proxy->damages); }

void proxy_hang_up_late(proxy_t *proxy, uint32_t skip, uint32_t count, uint32_t pause_ms, bool all) {
  atomic_store(&proxy->pause_ms, pause_ms);
  atomic_store(&proxy->ends_all, all);
  atomic_store(&proxy->skipped, skip);
  atomic_store(&proxy->hang_ups, count);
}

void proxy_hang_up(proxy_t *proxy, uint32_t skip, uint32_t count) { proxy_hang_up_late(proxy, skip, count, 0, false); }
