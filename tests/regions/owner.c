/* An owner in a process of its own: this program again, started with "owner", the number of a socket, and the kind of memory
 * of its region "device". */
#include "regions.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { OWNERS = 8 };
static owner_t *running[OWNERS];

/* ---- the owner's process ----------------------------------------------------------------------------------------- */

typedef struct hello {
  uint16_t port;
  size_t size;
  uint8_t descriptor[HMC_REGION_DESCRIPTOR_MAX];
} hello_t;

static bool make_device(hmc_context_t *context, const char *kind) {
  static uint8_t bytes[OWNER_DEVICE_BYTES];
  hmc_memory_t memory = {.device = 0}, cpu = {HMC_MEMORY_CPU, 0};
  hmc_region_t *region;
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = owner_byte(i);
  return hmc_memory_kind_parse(kind, &memory.kind) == HMC_SUCCESS &&
         hmc_region_allocate(context, memory, sizeof bytes, "device", HMC_REMOTE_ALL, &region) == HMC_SUCCESS &&
         hmc_memory_copy(hmc_region_pointer(region), memory, bytes, cpu, sizeof bytes) == HMC_SUCCESS;
}

static int run(int socket, const char *kind) {
  static uint8_t memory[OWNER_BYTES];
  hmc_context_t *context;
  hmc_region_t *region, *registered;
  hello_t hello = {0};
  hmc_region_options_t options = HMC_REGION_OPTIONS_INIT;
  options.bytes = OWNER_BYTES;
  options.name = "owned";
  options.rights = HMC_REMOTE_ALL;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (hmc_context_create(NULL, &context) != HMC_SUCCESS ||
      hmc_context_listen(context, "127.0.0.1", 0, &hello.port) != HMC_SUCCESS ||
      hmc_region_create(context, &options, &region) != HMC_SUCCESS ||
      hmc_region_register(context, memory, sizeof memory, "registered", HMC_REMOTE_ALL, &registered) != HMC_SUCCESS ||
      hmc_region_export(region, hello.descriptor, sizeof hello.descriptor, &hello.size) != HMC_SUCCESS ||
      !make_device(context, kind)) {
    fprintf(stderr, "owner: %s\n", hmc_last_error());
    return 1;
  }
  char end;
  if (write(socket, &hello, sizeof hello) != sizeof hello) return 1;
  while (read(socket, &end, 1) > 0) continue;
  hmc_context_destroy(context);
  return 0;
}

void owner_main(int argc, char **argv) {
  if (argc != 4 || strcmp(argv[1], "owner") != 0) return;
  _exit(run(atoi(argv[2]), argv[3]));
}

/* ---- the test's side --------------------------------------------------------------------------------------------- */

void owner_start(owner_t *owner, context_pair_t *pair) {
  int ends[2];
  char number[16];
  hello_t hello;
  *owner = (owner_t){.process = 0};
  assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], 3); /* also where it is 3: the flag goes */
  snprintf(number, sizeof number, "%d", 3);
  const char *kind = stamp_is_host() ? "sim" : hmc_memory_kind_name(stamp.near.kind);
  char *arguments[] = {"regions", "owner", number, (char *)kind, NULL};
  assert_int_equal(posix_spawn(&owner->process, "/proc/self/exe", &actions, NULL, arguments, environ), 0);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  owner->pipe = ends[0];
  for (size_t i = 0; i < OWNERS; i++) {
    if (running[i]) continue;
    running[i] = owner;
    break;
  }
  assert_int_equal(recv(owner->pipe, &hello, sizeof hello, MSG_WAITALL), sizeof hello);
  owner->descriptor_size = hello.size;
  memcpy(owner->descriptor, hello.descriptor, sizeof hello.descriptor);
  owner->port = hello.port;
  assert_success(hmc_context_connect(pair->here, "127.0.0.1", hello.port, stamp.type, 0, &owner->peer));
}

void owner_stop(const owner_t *owner) {
  int status = 0;
  assert_int_equal(kill(owner->process, SIGSTOP), 0);
  assert_int_equal(waitpid(owner->process, &status, WUNTRACED), owner->process);
  assert_true(WIFSTOPPED(status));
}

void owner_continue(const owner_t *owner) { assert_int_equal(kill(owner->process, SIGCONT), 0); }

void owner_kill(owner_t *owner) {
  for (size_t i = 0; i < OWNERS; i++)
    if (running[i] == owner) running[i] = NULL;
  if (!owner->process) return;
  kill(owner->process, SIGKILL);
  while (waitpid(owner->process, NULL, 0) < 0 && errno == EINTR) continue;
  close(owner->pipe);
  owner->process = 0;
}

void owners_end(void) {
  for (size_t i = 0; i < OWNERS; i++) {
    if (!running[i]) continue;
    kill(running[i]->process, SIGKILL); /* the struct may be gone with the test's stack, but not before its frame was */
    running[i] = NULL;
  }
}
