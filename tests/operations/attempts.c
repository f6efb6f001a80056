/* A connection of UCX's that is broken while it is made. This program's connect() hides the system's, for UCX as well: what
 * goes to a port of UCX's is led to a listener of the test, which resets it or stays silent, or is cut a moment later. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef enum fault { RESET, SILENCE, CUT } fault_t;
enum { TRAPS = 2, BACKLOG = 256 };

static _Atomic uint16_t hmc_port;      /* where connections are HMC's own: left alone */
static _Atomic uint32_t fault, faults; /* how connections are broken, and how many still are to be */
static _Atomic uint32_t spared;        /* how many come through before those */
static _Atomic uint32_t cut_after_us;
static _Atomic uint16_t trap_ports[TRAPS]; /* by fault */
static int traps[TRAPS];
static int cuts[2]; /* a pipe: copies of sockets that are to be cut */

static bool take_one(_Atomic uint32_t *count) {
  for (uint32_t left = atomic_load(count); left;) {
    if (atomic_compare_exchange_weak(count, &left, left - 1)) return true;
  }
  return false;
}

static bool take_fault(void) { return atomic_load(&faults) && !take_one(&spared) && take_one(&faults); }

int connect(int descriptor, const struct sockaddr *address, socklen_t size) {
  struct sockaddr_in there = {0};
  if (address->sa_family == AF_INET && size >= sizeof there) memcpy(&there, address, sizeof there);
  bool broken = there.sin_port && there.sin_port != htons(atomic_load(&hmc_port)) && take_fault();
  uint32_t how = atomic_load(&fault);
  if (!broken) return (int)syscall(SYS_connect, descriptor, address, size);
  if (how < TRAPS) there.sin_port = htons(atomic_load(&trap_ports[how]));
  int result = (int)syscall(SYS_connect, descriptor, &there, sizeof there), error = errno;
  if (how == CUT) {
    int copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
    if (write(cuts[1], &copy, sizeof copy) != sizeof copy) abort();
  }
  errno = error;
  return result;
}

/* ---- what breaks them -------------------------------------------------------------------------------------------- */

static _Atomic bool stopping;
static pthread_t thread;

static void reset_one(fault_t trap) {
  int descriptor = accept(traps[trap], NULL, NULL);
  setsockopt(descriptor, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
  close(descriptor);
}

static void cut_one(void) {
  int descriptor;
  if (read(cuts[0], &descriptor, sizeof descriptor) != sizeof descriptor) abort();
  usleep(atomic_load(&cut_after_us));
  shutdown(descriptor, SHUT_RDWR);
  close(descriptor);
}

/* Nobody accepts what comes to the other trap. */
static void *break_all(void *argument) {
  (void)argument;
  struct pollfd waits[] = {{.fd = traps[RESET], .events = POLLIN}, {.fd = cuts[0], .events = POLLIN}};
  while (!atomic_load(&stopping)) {
    if (poll(waits, 2, 20) <= 0) continue;
    if (waits[0].revents) reset_one(RESET);
    if (waits[1].revents) cut_one();
  }
  return NULL;
}

static void start_breaking(void) {
  for (int i = 0; i < TRAPS; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    traps[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(traps[i], (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(traps[i], BACKLOG), 0);
    assert_int_equal(getsockname(traps[i], (struct sockaddr *)&address, &size), 0);
    atomic_store(&trap_ports[i], ntohs(address.sin_port));
  }
  assert_int_equal(pipe2(cuts, O_CLOEXEC), 0);
  assert_int_equal(pthread_create(&thread, NULL, break_all, NULL), 0);
}

static void stop_breaking(void) {
  atomic_store(&stopping, true);
  pthread_join(thread, NULL);
  for (int i = 0; i < 2; i++) {
    close(traps[i]);
    close(cuts[i]);
  }
}

/* ---- the cases --------------------------------------------------------------------------------------------------- */

typedef struct scene {
  hmc_context_t *here, *there;
  uint16_t port;
} scene_t;

static void open_scene(scene_t *scene) {
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.timeout_ms = PATIENCE_MS;
  options.name = "here";
  assert_success(hmc_context_create(&options, &scene->here));
  options.name = "there";
  assert_success(hmc_context_create(&options, &scene->there));
  assert_success(hmc_context_listen(scene->there, "127.0.0.1", 0, &scene->port));
  atomic_store(&hmc_port, scene->port);
}

static void close_scene(scene_t *scene) {
  hmc_context_destroy(scene->here);
  hmc_context_destroy(scene->there);
}

static void break_next(fault_t how, uint32_t count) {
  atomic_store(&fault, how);
  atomic_store(&faults, count);
}

/* Those that were to stay without an answer are reset now. */
static void end_silence(void) {
  struct pollfd waits = {.fd = traps[SILENCE], .events = POLLIN};
  while (poll(&waits, 1, 0) > 0) reset_one(SILENCE);
}

static void check_explanation(hmc_peer_t *peer, const char *fragment) {
  char text[4096];
  assert_success(hmc_peer_explain(peer, text, sizeof text, NULL));
  if (!strstr(text, fragment)) fail_msg("'%s' is not in: %s", fragment, text);
}

/* Bytes go both ways over what the two ends have agreed on in the end. */
static void check_connection(const scene_t *scene, hmc_peer_t *peer, hmc_peer_t *back) {
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  hmc_context_t *const contexts[] = {scene->here, scene->there};
  hmc_peer_t *const peers[] = {peer, back};
  for (int i = 0; i < 2; i++) {
    hmc_peer_info_t info = HMC_PEER_INFO_INIT;
    hmc_region_t *target = NULL, *local = NULL;
    hmc_remote_t *remote = NULL;
    assert_success(hmc_peer_get_info(peers[i], &info));
    assert_int_equal(info.type, HMC_CONNECTION_UCX);
    assert_success(hmc_region_allocate(contexts[!i], cpu, 64, "target", HMC_REMOTE_ALL, &target));
    assert_success(hmc_region_allocate(contexts[i], cpu, 64, NULL, 0, &local));
    assert_success(hmc_remote_open(peers[i], "target", 0, &remote));
    memset(hmc_region_pointer(local), i + 1, 64);
    assert_success(hmc_put(local, 0, remote, 0, 64));
    assert_memory_equal(hmc_region_pointer(target), hmc_region_pointer(local), 64);
    hmc_region_close(local);
    hmc_region_close(target);
  }
}

/* One that is broken some times gets through within its deadline, and both ends say why it did not at first. */
static void a_connection_that_is_reset_is_made_again(void **state) {
  (void)state;
  scene_t scene;
  open_scene(&scene);
  for (uint32_t count = 1; count <= 5; count += 2) {
    hmc_peer_t *peer = NULL, *back = NULL;
    break_next(RESET, count);
    assert_success(hmc_context_connect(scene.here, "127.0.0.1", scene.port, HMC_CONNECTION_UCX, 0, &peer));
    assert_int_equal(atomic_load(&faults), 0);
    assert_success(hmc_context_accept(scene.there, 0, &back));
    check_connection(&scene, peer, back);
    check_explanation(peer, "not at first by ucx: UCX does not get through");
    check_explanation(back, "not at first by ucx: UCX does not get through");
    hmc_peer_close(peer);
    hmc_peer_close(back);
  }
  close_scene(&scene);
}

/* One attempt that hears nothing leaves half of the time to the next one. */
static void a_connection_without_an_answer_is_made_again(void **state) {
  (void)state;
  scene_t scene;
  hmc_peer_t *peer = NULL, *back = NULL;
  open_scene(&scene);
  break_next(SILENCE, 1);
  assert_success(hmc_context_connect(scene.here, "127.0.0.1", scene.port, HMC_CONNECTION_UCX, 16000, &peer));
  assert_success(hmc_context_accept(scene.there, 0, &back));
  check_connection(&scene, peer, back);
  check_explanation(peer, "not at first by ucx: no answer");
  close_scene(&scene);
}

/* A connection that breaks when both ends have a half of it. Cut sooner or later, none of the two loses its wits. */
static void a_connection_that_is_cut_is_made_again(void **state) {
  (void)state;
  scene_t scene;
  char text[4096];
  uint32_t again = 0;
  open_scene(&scene);
  for (uint32_t round = 0; round < 24; round++) {
    hmc_peer_t *peer = NULL, *back = NULL;
    atomic_store(&cut_after_us, round * 50);
    break_next(CUT, 1 + round % 4);
    assert_success(hmc_context_connect(scene.here, "127.0.0.1", scene.port, HMC_CONNECTION_UCX, 0, &peer));
    break_next(CUT, 0);
    assert_success(hmc_context_accept(scene.there, 0, &back));
    assert_success(hmc_peer_explain(peer, text, sizeof text, NULL));
    again += strstr(text, "not at first by ucx") != NULL;
    hmc_peer_close(peer);
    hmc_peer_close(back);
  }
  assert_int_not_equal(again, 0);
  close_scene(&scene);
}

/* One that never gets through ends by its deadline, says why, and leaves nothing behind at either end. */
static void a_connection_that_never_gets_through(void **state) {
  (void)state;
  static const struct {
    fault_t fault;
    const char *fragment;
  } cases[] = {{RESET, "UCX does not get through to the peer ("},
               {SILENCE, "no answer through UCX within the deadline"}};
  enum { LIMIT_MS = 2500, CONNECTS = 3 };
  scene_t scene;
  hmc_peer_t *peer = NULL;
  uint64_t files = 0;
  open_scene(&scene);
  for (size_t i = 0; i < COUNT_OF(cases); i++) {
    break_next(cases[i].fault, UINT32_MAX);
    for (int round = 0; round < CONNECTS; round++) {
      uint64_t start = now_ms();
      assert_int_not_equal(
          hmc_context_connect(scene.here, "127.0.0.1", scene.port, HMC_CONNECTION_UCX, LIMIT_MS, &peer), HMC_SUCCESS);
      assert_in_range(now_ms() - start, LIMIT_MS / 2, LIMIT_MS + SLACK_MS);
      assert_null(peer);
      if (!strstr(hmc_last_error(), cases[i].fragment)) fail_msg("%s", hmc_last_error());
      if (!files) files = open_files(); /* UCX itself has started */
    }
  }
  for (uint64_t start = now_ms(); open_files() > files + 4 && now_ms() - start < PATIENCE_MS;) usleep(10000);
  assert_in_range(open_files(), 0, files + 4); /* of some 30 attempts */
  break_next(RESET, 0);
  close_scene(&scene);
}

typedef struct dialler {
  pthread_t thread;
  scene_t *scene;
  hmc_peer_t *peer;
  hmc_status_t status;
  _Atomic bool over;
} dialler_t;

static void *dial(void *argument) {
  dialler_t *dialler = argument;
  dialler->status = hmc_context_connect(dialler->scene->here, "127.0.0.1", dialler->scene->port, HMC_CONNECTION_UCX,
                                        PATIENCE_MS, &dialler->peer);
  atomic_store(&dialler->over, true);
  return NULL;
}

static void note_end(hmc_request_t *request, hmc_status_t status, void *user) {
  (void)request;
  if (status == HMC_SUCCESS) atomic_store((_Atomic bool *)user, true);
}

/* A put that reports its end, and some that are waited for. */
static void put_some(hmc_region_t *local, hmc_remote_t *remote) {
  _Atomic bool ended = false;
  hmc_request_t *request = NULL;
  hmc_operation_options_t options = HMC_OPERATION_OPTIONS_INIT;
  options.callback = note_end;
  options.user = &ended;
  assert_success(hmc_put_nb(local, 0, remote, 0, 64, &options, &request));
  for (uint64_t start = now_ms(); !atomic_load(&ended) && now_ms() - start < PATIENCE_MS;) usleep(1000);
  assert_true(atomic_load(&ended));
  hmc_request_free(request);
  for (int i = 0; i < 10; i++) assert_success(hmc_put(local, 0, remote, 0, 64));
}

/* While a thread waits for the answer to one of its two connections, everybody else's operations go on, and peers are
 * served. */
static void a_connection_without_an_answer_holds_up_nobody(void **state) {
  (void)state;
  const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  for (uint32_t first = 0; first < 2; first++) {
    scene_t scene;
    hmc_region_t *regions[2];
    hmc_peer_t *peers[2] = {NULL, NULL};
    hmc_remote_t *remotes[2];
    dialler_t dialler = {.scene = &scene};
    open_scene(&scene);
    hmc_context_t *const contexts[] = {scene.here, scene.there};
    assert_success(hmc_context_connect(scene.here, "127.0.0.1", scene.port, HMC_CONNECTION_UCX, 0, &peers[0]));
    assert_success(hmc_context_accept(scene.there, 0, &peers[1]));
    for (int i = 0; i < 2; i++)
      assert_success(hmc_region_allocate(contexts[i], cpu, 64, "target", HMC_REMOTE_ALL, &regions[i]));
    for (int i = 0; i < 2; i++) assert_success(hmc_remote_open(peers[i], "target", 0, &remotes[i]));
    atomic_store(&spared, first);
    break_next(SILENCE, 1);
    assert_int_equal(pthread_create(&dialler.thread, NULL, dial, &dialler), 0);
    while (atomic_load(&faults) && !atomic_load(&dialler.over)) usleep(1000);
    usleep(50000);
    for (int round = 0; round < 3; round++) {
      for (int i = 0; i < 2; i++) put_some(regions[i], remotes[i]);
    }
    assert_false(atomic_load(&dialler.over)); /* it waits for an answer still */
    end_silence();
    pthread_join(dialler.thread, NULL);
    assert_success(dialler.status);
    close_scene(&scene);
  }
}

static int open_case(void **state) {
  (void)state;
  crash_handlers_set();
  watch("attempts", 250);
  return 0;
}

static int close_case(void **state) {
  (void)state;
  watch_end();
  return 0;
}

int main(void) {
  hmc_connection_type_t type;
  environment_open();
  if (!transport_parse("ucx-tcp", &type)) return 2;
  start_breaking();
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(a_connection_that_is_reset_is_made_again, open_case, close_case),
      cmocka_unit_test_setup_teardown(a_connection_without_an_answer_is_made_again, open_case, close_case),
      cmocka_unit_test_setup_teardown(a_connection_without_an_answer_holds_up_nobody, open_case, close_case),
      cmocka_unit_test_setup_teardown(a_connection_that_is_cut_is_made_again, open_case, close_case),
      cmocka_unit_test_setup_teardown(a_connection_that_never_gets_through, open_case, close_case),
  };
  int failed = _cmocka_run_group_tests("operations.ucx-tcp.attempts", tests, COUNT_OF(tests), NULL, NULL);
  stop_breaking();
  return failed ? 1 : 0;
}
