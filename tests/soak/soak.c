/* Everything at once: mixed sizes and transports, cancels, reconnects, servers that are killed, strangers at the door,
 * two hundred peers, and every byte looked at.
 *
 *   soak SECONDS
 *
 * The parent starts servers, clients and a stranger, kills a server every few seconds and starts its successor, and
 * watches that each client gets on. Beside them members of SMEM's pool come, go and are killed, with their store killed
 * and restarted (tests/smem/churn.c). It ends with one line, and with status 1 for a wrong byte, an unexpected status, or
 * a client that stands still. */
#include "soak.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { STUCK_SECONDS = 90, LIFE_SECONDS = 5 };

static board_t *board;

static uint64_t now_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec;
}

static void nap(unsigned milliseconds) {
  nanosleep(&(struct timespec){milliseconds / 1000, milliseconds % 1000 * 1000000L}, NULL);
}

/* ---- the roles */

static int serve(uint32_t number) {
  const uint64_t size = (uint64_t)CLIENTS * LINKS * SLOT;
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  hmc_context_t *context;
  hmc_region_t *made, *registered;
  uint16_t port;
  void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return 1;
  hmc_status_t status = hmc_context_create(NULL, &context);
  if (status == HMC_SUCCESS) status = hmc_region_allocate(context, cpu, size, "made", HMC_REMOTE_ALL, &made);
  if (status == HMC_SUCCESS)
    status = hmc_region_register(context, memory, size, "registered", HMC_REMOTE_ALL, &registered);
  if (status == HMC_SUCCESS) status = hmc_context_listen(context, "127.0.0.1", 0, &port);
  if (status != HMC_SUCCESS) {
    fprintf(stderr, "soak: server %u: %s\n", number, hmc_last_error());
    return 1;
  }
  atomic_store(&board->servers[number].port, port);
  while (atomic_load(&board->stop) < 2) nap(50);
  hmc_context_destroy(context);
  return 0;
}

/* Somebody who does not know the secret: says nothing, or nonsense, or leaves in the middle of it. */
static int disturb(uint32_t number) {
  unsigned seed = number + 1;
  int kept[64];
  for (size_t i = 0; i < 64; i++) kept[i] = -1;
  for (size_t turn = 0; !atomic_load(&board->stop); turn++) {
    uint32_t port = atomic_load(&board->servers[turn % SERVERS].port);
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int *slot = &kept[turn % 64];
    if (*slot >= 0) close(*slot);
    *slot = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (*slot < 0) return 1;
    if (port && connect(*slot, (struct sockaddr *)&to, sizeof to) == 0 && turn % 3) {
      char nonsense[256];
      for (size_t i = 0; i < sizeof nonsense; i++) nonsense[i] = (char)rand_r(&seed);
      if (send(*slot, nonsense, 1 + turn % sizeof nonsense, MSG_NOSIGNAL) < 0 && errno != EPIPE && errno != ECONNRESET)
        return 1;
    }
    nap(20);
  }
  return 0;
}

static int work(uint32_t number) { return client_run(board, number); }

/* ---- the parent */

static pid_t start(int (*role)(uint32_t), uint32_t number) {
  fflush(NULL);
  pid_t parent = getpid(), process = fork();
  if (process) return process;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  exit(role(number));
}

/* SMEM's members, a program of their own; its arguments are from the build. */
static int churn(uint32_t seconds) {
  char text[16];
  snprintf(text, sizeof text, "%u", seconds);
  execl(SMEM_CHURN, SMEM_CHURN, HMC_STORE, text, (char *)NULL);
  return 127;
}

static void start_server(uint32_t number, pid_t *process) {
  *process = start(serve, number);
  while (!atomic_load(&board->servers[number].port) && waitpid(*process, NULL, WNOHANG) == 0) nap(5);
  atomic_fetch_add(&board->servers[number].life, 1);
}

static void replace_server(uint32_t number, pid_t *process) {
  atomic_fetch_add(&board->servers[number].life, 1); /* from here on clients expect failures */
  atomic_store(&board->servers[number].port, 0);
  kill(*process, SIGKILL);
  waitpid(*process, NULL, 0);
  start_server(number, process);
}

/* Has each client done something since? The number of one that has not, or CLIENTS. */
static uint32_t stuck_client(uint64_t seen[CLIENTS], uint64_t since[CLIENTS]) {
  for (uint32_t i = 0; i < CLIENTS; i++) {
    uint64_t done = atomic_load(&board->clients[i].operations);
    if (done != seen[i]) since[i] = now_s();
    seen[i] = done;
    if (now_s() - since[i] > STUCK_SECONDS) return i;
  }
  return CLIENTS;
}

/* Waits until a process has ended by itself; one that does not is killed. */
static bool has_ended_well(pid_t process, uint64_t deadline_s) {
  int status = 0;
  pid_t ended;
  while ((ended = waitpid(process, &status, WNOHANG)) == 0 && now_s() < deadline_s) nap(10);
  if (ended == process && WIFEXITED(status) && WEXITSTATUS(status) == 0) return true;
  fprintf(stderr, "soak: process %d %s\n", (int)process, ended ? "ended with a fault" : "does not end");
  if (ended) return false;
  kill(process, SIGKILL);
  waitpid(process, &status, 0);
  return false;
}

static int report(uint64_t seconds, unsigned deaths, bool stuck) {
  uint64_t sum[6] = {0};
  for (uint32_t i = 0; i < CLIENTS; i++) {
    client_t *client = &board->clients[i];
    _Atomic uint64_t *counters[] = {&client->operations, &client->bytes, &client->cancelled,
                                    &client->lost,       &client->wrong, &client->unexpected};
    for (size_t k = 0; k < 6; k++) sum[k] += atomic_load(counters[k]);
  }
  bool failed = stuck || sum[4] || sum[5] || !sum[0];
  printf("soak: %llu s: %llu exchanges, %.1f GiB, %llu cancelled, %u servers killed, %llu operations ended by that; "
         "%llu with wrong bytes, %llu unexpected failures%s\n",
         (unsigned long long)seconds, (unsigned long long)sum[0], (double)sum[1] / (1 << 30),
         (unsigned long long)sum[2], deaths, (unsigned long long)sum[3], (unsigned long long)sum[4],
         (unsigned long long)sum[5], failed ? ": FAILED" : "");
  return failed;
}

int main(int argc, char **argv) {
  uint64_t seconds = argc == 2 ? strtoull(argv[1], NULL, 10) : 0;
  if (!seconds) {
    fprintf(stderr, "usage: soak SECONDS\n");
    return 2;
  }
  setenv("HMC_SECRET", "the soak's own secret, of some length", 1);
  setenv("HMC_LOG", "none", 0); /* strangers and deaths would fill it */
  board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (board == MAP_FAILED) return 1;
  pid_t servers[SERVERS], others[CLIENTS + 2];
  uint64_t seen[CLIENTS] = {0}, since[CLIENTS];
  for (uint32_t i = 0; i < SERVERS; i++) start_server(i, &servers[i]);
  for (uint32_t i = 0; i < CLIENTS; i++) {
    others[i] = start(work, i);
    since[i] = now_s();
  }
  others[CLIENTS] = start(disturb, 0);
  others[CLIENTS + 1] = start(churn, (uint32_t)seconds);

  uint64_t begin = now_s(), next_death = begin + LIFE_SECONDS;
  unsigned deaths = 0;
  bool stuck = false;
  while (now_s() - begin < seconds && !stuck) {
    nap(100);
    uint32_t who = stuck_client(seen, since);
    stuck = who < CLIENTS;
    if (stuck) fprintf(stderr, "soak: client %u has done nothing for %d s\n", who, STUCK_SECONDS);
    if (now_s() < next_death) continue;
    replace_server(deaths % SERVERS, &servers[deaths % SERVERS]);
    deaths++;
    next_death = now_s() + LIFE_SECONDS;
  }
  atomic_store(&board->stop, 1);
  uint64_t end = now_s();
  for (uint32_t i = 0; i < CLIENTS + 2; i++) stuck = !has_ended_well(others[i], end + 2 * STUCK_SECONDS) || stuck;
  atomic_store(&board->stop, 2);
  for (uint32_t i = 0; i < SERVERS; i++) stuck = !has_ended_well(servers[i], end + STUCK_SECONDS) || stuck;
  return report(end - begin, deaths, stuck);
}
