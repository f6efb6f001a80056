/* What both processes of hmc-demo do: messages over the socket pair, the progress bar, the transfer itself. */
#include "demo.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REDRAW_SECONDS 0.05
enum { BAR_WIDTH = 30 };

bool demo_send(int socket, const demo_message_t *message) {
  return send(socket, message, sizeof *message, MSG_NOSIGNAL) == (ssize_t)sizeof *message;
}

bool demo_receive(int socket, demo_message_t *message) {
  ssize_t got;
  do got = recv(socket, message, sizeof *message, 0);
  while (got < 0 && errno == EINTR);
  return got == (ssize_t)sizeof *message;
}

void demo_progress_begin(demo_progress_t *progress, const char *label, uint64_t bytes, unsigned steps) {
  *progress = (demo_progress_t){.label = label,
                                .total = bytes * steps,
                                .steps = steps,
                                .begin = tool_clock(),
                                .shown = isatty(STDERR_FILENO) == 1};
}

void demo_progress_add(demo_progress_t *progress, uint64_t bytes) {
  progress->done += bytes;
  if (!progress->shown) return;
  double now = tool_clock();
  if (now - progress->drawn < REDRAW_SECONDS && progress->done < progress->total) return;
  progress->drawn = now;
  char bar[BAR_WIDTH + 1];
  double part = (double)progress->done / (double)progress->total, elapsed = now - progress->begin;
  int filled = (int)(BAR_WIDTH * part);
  memset(bar, '#', (size_t)filled);
  memset(bar + filled, '.', (size_t)(BAR_WIDTH - filled));
  bar[BAR_WIDTH] = '\0';
  fprintf(stderr, "\r%-28.28s [%s] %3d%%  %6.2f GB/s\033[K", progress->label, bar, (int)(100 * part),
          elapsed > 0 ? (double)progress->done / progress->steps / elapsed / 1e9 : 0.0);
}

void demo_progress_end(demo_progress_t *progress) {
  if (progress->shown) fprintf(stderr, "\r\033[K");
}

static hmc_status_t explain(hmc_status_t status, char why[DEMO_WHY]) {
  if (status != HMC_SUCCESS)
    snprintf(why, DEMO_WHY, "%s", hmc_last_error()[0] ? hmc_last_error() : hmc_status_text(status));
  return status;
}

hmc_status_t demo_transfer(hmc_region_t *local, hmc_remote_t *remote, bool get, uint64_t offset, uint64_t length,
                           demo_progress_t *progress, char why[DEMO_WHY]) {
  hmc_request_t *ring[DEMO_IN_FLIGHT];
  uint64_t end = offset + length, next = offset, done = offset;
  size_t first = 0, last = 0; /* requests first .. last - 1 are in flight */
  hmc_status_t status = HMC_SUCCESS;
  while (done < end) {
    for (; next < end && last - first < DEMO_IN_FLIGHT; last++) {
      uint64_t part = end - next < DEMO_CHUNK ? end - next : DEMO_CHUNK;
      hmc_request_t **slot = &ring[last % DEMO_IN_FLIGHT];
      status = explain(get ? hmc_get_nb(local, next, remote, next, part, NULL, slot)
                           : hmc_put_nb(local, next, remote, next, part, NULL, slot),
                       why);
      if (status != HMC_SUCCESS) goto out;
      next += part;
    }
    hmc_request_t *oldest = ring[first++ % DEMO_IN_FLIGHT];
    status = explain(hmc_request_wait(oldest), why); /* before the free, which may leave a text of its own */
    hmc_request_free(oldest);
    if (status != HMC_SUCCESS) goto out;
    uint64_t part = end - done < DEMO_CHUNK ? end - done : DEMO_CHUNK;
    done += part;
    demo_progress_add(progress, part);
  }
out:
  for (; first < last; first++) hmc_request_free(ring[first % DEMO_IN_FLIGHT]);
  return status;
}
