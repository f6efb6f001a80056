/* What stays behind: nothing. After contexts, after killed processes, in forked children, in programs that are started,
 * on stdout. */
#include "suite.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- fork -------------------------------------------------------------------------------------------------------- */

/* Runs in the child: the number of the first call that does not answer HMC_UNSUPPORT, 0 when all do. */
static int first_call_that_works(scene_t *scene) {
  static uint8_t bytes[64];
  side_t *side = &scene->subject;
  hmc_region_t *region = NULL, *local = scene->local.region;
  hmc_remote_t *remote = NULL;
  hmc_peer_t *peer = NULL;
  hmc_request_t *request = NULL;
  hmc_peer_info_t info = HMC_PEER_INFO_INIT;
  size_t size = 0;
  const hmc_status_t answers[] = {
      hmc_put(local, 0, side->remote, 0, 64),
      hmc_get(local, 0, side->remote, 0, 64),
      hmc_put_nb(local, 0, side->remote, 0, 64, NULL, &request),
      hmc_get_nb(local, 0, side->remote, 0, 64, NULL, &request),
      hmc_atomic(side->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL),
      hmc_atomic_nb(side->remote, 0, HMC_ATOMIC_ADD, 8, 1, 0, NULL, NULL, &request),
      hmc_peer_flush(side->peer, 100),
      hmc_notification_receive(scene->context, bytes, sizeof bytes, &size, NULL, 100),
      hmc_region_allocate(scene->context, cpu, 64, "child", 0, &region),
      hmc_region_register(scene->context, bytes, 64, "child", 0, &region),
      hmc_remote_open(side->peer, "region", 1000, &remote),
      hmc_context_listen(scene->context, "127.0.0.1", 0, NULL),
      hmc_context_connect(scene->context, "127.0.0.1", side->port, stamp.type, 1000, &peer),
      hmc_context_accept(scene->context, 100, &peer),
      hmc_peer_get_info(side->peer, &info),
      hmc_peer_explain(side->peer, NULL, 0, &size),
  };
  for (size_t i = 0; i < COUNT_OF(answers); i++)
    if (answers[i] != HMC_UNSUPPORT) return (int)i + 1;
  if (strstr(hmc_last_error(), "fork") == NULL) return 100;
  hmc_context_destroy(scene->context);
  return 0;
}

void forked_child(void **state) {
  scene_t *scene = *state;
  traffic_start(scene, scene->subject.remote);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    alarm(100);
    _exit(first_call_that_works(scene));
  }
  int status = -1;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) fail_msg("the child ended with status 0x%x", status);
  traffic_end(scene);
  assert_success(exchange(&scene->local, 0, scene->bystander.remote, 0, TRAFFIC_ROOM, 3, 1));
  hmc_remote_t *again = NULL;
  assert_success(hmc_remote_open(scene->subject.peer, "region", 0, &again));
  hmc_remote_close(again);
}

/* ---- contexts ---------------------------------------------------------------------------------------------------- */

typedef struct footprint {
  uint64_t files, threads, mappings, target_files;
} footprint_t;

static footprint_t footprint_of(scene_t *scene) {
  return (footprint_t){open_files(), running_threads(), mappings_of("memfd"),
                       target_do(&scene->subject.target, (command_t){.verb = VERB_FILES})};
}

static bool is_larger(const footprint_t *one, const footprint_t *other) {
  return one->files > other->files || one->threads > other->threads || one->mappings > other->mappings ||
         one->target_files > other->target_files;
}

/* Everything a context can have, left for hmc_context_destroy to clear. */
static void live_and_die(scene_t *scene) {
  static uint8_t bytes[4096];
  const hmc_memory_t sim = {HMC_MEMORY_SIM, 1};
  hmc_context_t *context = NULL;
  hmc_region_t *region = NULL, *local = NULL;
  hmc_peer_t *peer = NULL, *self = NULL, *accepted = NULL;
  hmc_remote_t *remote = NULL, *own = NULL;
  hmc_request_t *request = NULL;
  uint16_t port = 0;
  void *pointer = NULL;
  assert_success(hmc_context_create(NULL, &context));
  assert_success(hmc_context_listen(context, "127.0.0.1", 0, &port));
  assert_success(hmc_context_listen(context, "127.0.0.1", 0, NULL));
  assert_success(hmc_region_allocate(context, cpu, 9000, "own", HMC_REMOTE_ALL, &region));
  assert_success(hmc_region_register(context, bytes, sizeof bytes, "lent", HMC_REMOTE_ALL, &local));
  assert_success(hmc_region_allocate(context, sim, 9000, "sim", HMC_REMOTE_ALL, &region));
  assert_success(hmc_context_connect(context, "127.0.0.1", scene->subject.port, stamp.type, 0, &peer));
  assert_success(hmc_context_connect(context, "127.0.0.1", port, stamp.type, 0, &self));
  assert_success(hmc_context_accept(context, 0, &accepted));
  assert_success(hmc_remote_open(peer, "region", 0, &remote));
  assert_success(hmc_remote_open(self, "own", 0, &own));
  assert_success(hmc_put(local, 0, remote, 0, sizeof bytes));
  assert_success(hmc_put(local, 0, own, 0, sizeof bytes));
  assert_success(hmc_remote_open(self, "sim", 0, &own));
  assert_success(hmc_get(local, 0, own, 0, sizeof bytes));
  hmc_status_t status = hmc_remote_map(remote, &pointer);
  assert_status(status, stamp.maps ? HMC_SUCCESS : HMC_UNSUPPORT);
  assert_success(hmc_put_nb(local, 0, remote, 0, sizeof bytes, NULL, &request));
  assert_success(hmc_request_wait(request));
  hmc_request_free(request);
  hmc_context_destroy(context);
}

/* The target notices a moment later that somebody left. */
static footprint_t footprint_settled(scene_t *scene, const footprint_t *wanted, uint64_t patience_ms) {
  uint64_t limit = now_ms() + patience_ms;
  footprint_t now = footprint_of(scene);
  while (is_larger(&now, wanted) && now_ms() < limit) {
    sleep_ms(10);
    now = footprint_of(scene);
  }
  return now;
}

void nothing_left_by_contexts(void **state) {
  scene_t *scene = *state;
  footprint_t start = footprint_of(scene);
  live_and_die(scene); /* what the C library and others open once stays open */
  const footprint_t allowed = {start.files + 2, start.threads, UINT64_MAX, start.target_files + 1};
  footprint_settled(scene, &allowed, PATIENCE_MS);
  footprint_t first = footprint_settled(scene, &start, 200);
  for (int i = 0; i < 8; i++) live_and_die(scene);
  footprint_t last = footprint_settled(scene, &first, PATIENCE_MS);
  if (is_larger(&last, &first))
    fail_msg("after 1 and 9 contexts: files %d %d, threads %d %d, memfd mappings %d %d, the target's files %d %d",
             (int)first.files, (int)last.files, (int)first.threads, (int)last.threads, (int)first.mappings,
             (int)last.mappings, (int)first.target_files, (int)last.target_files);
  if (is_larger(&first, &allowed))
    fail_msg("one context left: files %d, threads %d, files at the target %d", (int)(first.files - start.files),
             (int)(first.threads - start.threads), (int)(first.target_files - start.target_files));
}

/* ---- shared memory ----------------------------------------------------------------------------------------------- */

static bool is_ours(const char *name) { return strcasestr(name, "hmc") != NULL; }

static void expect_no_names_in(const char *path) {
  DIR *directory = opendir(path);
  assert_non_null(directory);
  for (struct dirent *entry; (entry = readdir(directory));)
    if (is_ours(entry->d_name)) {
      print_error("%s/%s\n", path, entry->d_name);
      fail();
    }
  closedir(directory);
}

void nothing_in_dev_shm(void **state) {
  scene_t *scene = *state;
  expect_no_names_in("/dev/shm");
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 3, 1));
  expect_no_names_in("/dev/shm");
  target_kill(&scene->subject.target);
  assert_gone(scene->subject.peer);
  side_drop(&scene->subject);
  expect_no_names_in("/dev/shm");
}

/* ---- other programs ---------------------------------------------------------------------------------------------- */

/* Our sockets that are bound or connected to that port; asserts that a program started now gets none of them. */
static int guarded_sockets(uint16_t port) {
  int count = 0;
  for (int file = 0; file < 1024; file++) {
    struct sockaddr_in ends[2] = {{0}};
    socklen_t sizes[2] = {sizeof ends[0], sizeof ends[1]};
    if (getsockname(file, (struct sockaddr *)&ends[0], &sizes[0])) continue;
    bool connected = getpeername(file, (struct sockaddr *)&ends[1], &sizes[1]) == 0;
    if (ntohs(ends[0].sin_port) != port && !(connected && ntohs(ends[1].sin_port) == port)) continue;
    assert_true(fcntl(file, F_GETFD) & FD_CLOEXEC);
    count++;
  }
  return count;
}

/* UCX marks none of the descriptors that it opens, and HMC cannot: there, only ours are looked at. */
void nothing_inherited_by_programs(void **state) {
  scene_t *scene = *state;
  target_t program;
  uint16_t port = 0;
  assert_success(exchange(&scene->local, 0, scene->subject.remote, 0, TRAFFIC_ROOM, 3, 1));
  assert_success(hmc_context_listen(scene->context, "127.0.0.1", 0, &port));
  assert_int_equal(guarded_sockets(port), 1);
  assert_true(guarded_sockets(scene->subject.port) > 0);
  target_start(&program, NULL);
  uint64_t files = target_do(&program, (command_t){.verb = VERB_FILES});
  if (stamp.type != HMC_CONNECTION_UCX)
    assert_int_equal(files, environment_files() + 1); /* the one it listens to us by */
  target_stop(&program);
}

/* ---- stdout ------------------------------------------------------------------------------------------------------ */

/* The targets' stdout is checked whenever one is stopped; here it is this process's, with the log at its loudest. */
void nothing_on_stdout(void **state) {
  scene_t *scene = *state;
  char path[128];
  snprintf(path, sizeof path, "%s/stdout", environment_home());
  fflush(stdout);
  int output = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600), quiet = open("/dev/null", O_WRONLY | O_CLOEXEC);
  int former = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10), former_error = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
  assert_true(output >= 0 && quiet >= 0 && former >= 0 && former_error >= 0);
  dup2(output, STDOUT_FILENO);
  dup2(quiet, STDERR_FILENO);
  hmc_log_level_t level = hmc_log_get_level();
  hmc_log_set_level(HMC_LOG_DEBUG);
  hmc_context_t *context = NULL;
  hmc_peer_t *peer = NULL;
  hmc_status_t status = hmc_context_create(NULL, &context);
  if (status == HMC_SUCCESS)
    status = hmc_context_connect(context, "127.0.0.1", scene->subject.port, stamp.type, 0, &peer);
  hmc_status_t refused = hmc_context_listen(context, "127.0.0.1", scene->subject.port, NULL);
  hmc_context_destroy(context);
  hmc_log_set_level(level);
  fflush(stdout);
  dup2(former, STDOUT_FILENO);
  dup2(former_error, STDERR_FILENO);
  close(former), close(former_error), close(quiet);

  struct stat written;
  assert_int_equal(fstat(output, &written), 0);
  close(output);
  assert_status(status, HMC_SUCCESS);
  assert_int_equal(refused, HMC_ADDRESS_IN_USE);
  assert_int_equal(written.st_size, 0);
}
