/* Showing the counters to all who ask: the text of metrics.c, over HTTP, at a UNIX socket or a port of the loopback.
 *
 * One thread per process, while there are contexts that want it; it answers one question after the other, each within a
 * second, and never touches a context but through hmc_metrics_text. Locking: `lock` guards all but what the thread reads, which
 * does not change while it runs; the thread takes no lock but those of metrics.c. */
#include "exporter.h"

#include "../base/loop.h"
#include "../base/recorder.h"
#include "../base/socket.h"
#include "../base/thread.h"

#include <errno.h>
#include <hmc/stats.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { ANSWER_MS = 1000, REQUEST_MOST = 4096 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
  uint32_t users;
  pthread_t thread;
  int listener, stop;                                     /* descriptors */
  char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of the UNIX socket; "": a port */
} exporter = {.listener = -1, .stop = -1};

/* The whole of it, before ANSWER_MS have passed. */
static bool send_all(int connection, const char *text, size_t size, uint64_t deadline) {
  while (size > 0) {
    ssize_t sent = send(connection, text, size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent > 0) {
      text += sent;
      size -= (size_t)sent;
      continue;
    }
    if (sent < 0 && errno != EAGAIN && errno != EINTR) return false;
    struct pollfd room = {.fd = connection, .events = POLLOUT};
    if (hmci_now() >= deadline || poll(&room, 1, hmci_poll_timeout(deadline)) <= 0) return false;
  }
  return true;
}

/* What is asked does not matter; that the question is over does. */
static bool take_request(int connection, uint64_t deadline) {
  char text[REQUEST_MOST + 1];
  size_t used = 0;
  while (used < REQUEST_MOST) {
    struct pollfd ready = {.fd = connection, .events = POLLIN};
    if (hmci_now() >= deadline || poll(&ready, 1, hmci_poll_timeout(deadline)) <= 0) return false;
    ssize_t got = recv(connection, text + used, REQUEST_MOST - used, MSG_DONTWAIT);
    if (got == 0) return false;
    if (got < 0 && errno != EAGAIN && errno != EINTR) return false;
    used += got > 0 ? (size_t)got : 0;
    text[used] = '\0';
    if (strstr(text, "\r\n\r\n") || strstr(text, "\n\n")) return true;
  }
  return false;
}

static void answer(int connection) {
  uint64_t deadline = hmci_deadline(ANSWER_MS);
  size_t needed = 0;
  if (!take_request(connection, deadline) || hmc_metrics_text(NULL, 0, &needed) != HMC_SUCCESS) return;
  size_t room = needed + needed / 4 + 1024; /* peers may come meanwhile */
  char *text = malloc(room), head[160];
  if (!text) return;
  if (hmc_metrics_text(text, room, NULL) == HMC_SUCCESS) {
    int length = snprintf(head, sizeof head,
                          "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %zu\r\n\r\n",
                          strlen(text));
    if (send_all(connection, head, (size_t)length, deadline)) send_all(connection, text, strlen(text), deadline);
  }
  free(text);
}

static void *run(void *unused) {
  (void)unused;
  for (;;) {
    struct pollfd ready[] = {{.fd = exporter.listener, .events = POLLIN}, {.fd = exporter.stop, .events = POLLIN}};
    if (poll(ready, 2, -1) < 0 && errno != EINTR) return NULL;
    if (ready[1].revents) return NULL;
    int connection;
    char from[HMCI_ADDRESS_TEXT];
    if (!(ready[0].revents & POLLIN)) continue;
    hmc_status_t status = hmci_socket_accept(exporter.listener, &connection, from);
    if (status == HMC_SUCCESS) {
      answer(connection);
      close(connection);
    } else if (status != HMC_IN_PROGRESS) {
      poll(NULL, 0, 50); /* out of descriptors: others need time to give some back */
    }
  }
}

/* "unix:PATH", or an address of the loopback with its port. */
static hmc_status_t listen_at(const char *where) {
  if (strncmp(where, "unix:", 5) == 0) {
    hmc_status_t status = hmci_path_expand(where + 5, exporter.path, sizeof exporter.path);
    if (status == HMC_SUCCESS) status = hmci_socket_listen_unix(exporter.path, &exporter.listener);
    if (status == HMC_SUCCESS && exporter.path[0] != '@') chmod(exporter.path, 0600);
    return status;
  }
  exporter.path[0] = '\0';
  bool is_ipv4 = strncmp(where, "127.", 4) == 0 && strchr(where, ':'); /* a scraper has to know the port */
  if (!is_ipv4 && strncmp(where, "[::1]:", 6) != 0 && strncmp(where, "localhost:", 10) != 0)
    return hmci_fail(HMC_INVALID_CONFIG, "takes unix:PATH or an address of the loopback, such as 127.0.0.1:9400");
  return hmci_socket_listen_tcp(where, 0, &exporter.listener, NULL);
}

static void end_listening(void) {
  if (exporter.listener >= 0) close(exporter.listener);
  if (exporter.stop >= 0) close(exporter.stop);
  if (exporter.path[0] && exporter.path[0] != '@') unlink(exporter.path);
  exporter.listener = exporter.stop = -1;
  exporter.path[0] = '\0';
}

static hmc_status_t start(const char *where) {
  hmc_status_t status = listen_at(where);
  if (status == HMC_SUCCESS) {
    exporter.stop = eventfd(0, EFD_CLOEXEC);
    if (exporter.stop < 0) status = hmci_fail(HMC_NO_MEMORY, "no descriptor: %s", strerror(errno));
  }
  if (status == HMC_SUCCESS && hmci_thread_create(&exporter.thread, run, NULL) != 0)
    status = hmci_fail(HMC_NO_MEMORY, "no thread");
  if (status != HMC_SUCCESS) end_listening();
  return status;
}

/* The child of a fork has neither the thread nor a right to the socket. */
static void begin_child(void) {
  pthread_mutex_init(&lock, NULL);
  if (exporter.listener >= 0) close(exporter.listener);
  if (exporter.stop >= 0) close(exporter.stop);
  exporter.listener = exporter.stop = -1;
  exporter.path[0] = '\0';
  exporter.users = 0;
}
static void watch_fork(void) { pthread_atfork(NULL, NULL, begin_child); }

bool hmci_exporter_enter(const char *where) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  if (!*where) return false;
  pthread_once(&once, watch_fork);
  pthread_mutex_lock(&lock);
  hmc_status_t status = exporter.users ? HMC_SUCCESS : start(where);
  exporter.users += status == HMC_SUCCESS;
  pthread_mutex_unlock(&lock);
  if (status != HMC_SUCCESS)
    hmci_log(HMC_LOG_WARNING, "HMC_METRICS=%s: nothing is shown there: %s", where, hmc_last_error());
  return status == HMC_SUCCESS;
}

void hmci_exporter_leave(void) {
  pthread_mutex_lock(&lock);
  bool last = --exporter.users == 0;
  pthread_t thread = exporter.thread;
  uint64_t one = 1;
  if (last && write(exporter.stop, &one, sizeof one) < 0) hmci_log(HMC_LOG_ERROR, "%s", strerror(errno));
  if (last) pthread_join(thread, NULL); /* it takes none of our locks but those of the contexts */
  if (last) end_listening();
  pthread_mutex_unlock(&lock);
}
