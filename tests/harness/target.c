/* The target: a process with a context of its own that does, one after the other, what the test's process tells it.
 *
 * Between commands its only thread of our own sleeps in recv(), so that whatever its peers get done meanwhile is done
 * by HMC's service thread. Commands come over a UNIX socket that the target dials: a thread sanitizer then sees that
 * what came before a command happened before it. */
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static hmc_context_t *context;
static hmc_peer_t *peers[SLOTS];
static hmc_remote_t *remotes[SLOTS];
static test_buffer_t places[SLOTS];

static answer_t quit(const command_t *command, answer_t answer) {
  (void)command;
  hmc_context_destroy(context);
  context = NULL;
  for (size_t i = 0; i < SLOTS; i++) {
    places[i].region = NULL; /* went with the context */
    if (places[i].margin == 0) places[i].whole = NULL;
    test_buffer_close(&places[i]);
  }
  return answer;
}

static answer_t create(const command_t *command, answer_t answer) {
  hmc_context_options_t options = {
      .size = sizeof(hmc_context_options_t), .name = "target", .timeout_ms = command->timeout_ms};
  answer.status = hmc_context_create(&options, &context);
  return answer;
}

static answer_t listen_on(const command_t *command, answer_t answer) {
  uint16_t port = 0;
  answer.status = hmc_context_listen(context, command->text, (uint16_t)command->value, &port);
  answer.value = port;
  return answer;
}

static answer_t accept_peer(const command_t *command, answer_t answer) {
  answer.status = hmc_context_accept(context, command->timeout_ms, &peers[command->slot]);
  return answer;
}

static answer_t connect_to(const command_t *command, answer_t answer) {
  answer.status = hmc_context_connect(context, command->text, (uint16_t)command->value, command->type,
                                      command->timeout_ms, &peers[command->slot]);
  return answer;
}

static answer_t peer_info(const command_t *command, answer_t answer) {
  answer.info.size = sizeof answer.info;
  answer.status = hmc_peer_get_info(peers[command->slot], &answer.info);
  return answer;
}

static answer_t peer_close(const command_t *command, answer_t answer) {
  hmc_peer_close(peers[command->slot]);
  peers[command->slot] = NULL;
  return answer;
}

static answer_t open_place(const command_t *command, answer_t answer) {
  answer.status = test_buffer_open(&places[command->slot], context, command->memory, command->length, command->text,
                                   command->rights, command->registered);
  return answer;
}

static answer_t withdraw(const command_t *command, answer_t answer) {
  test_buffer_withdraw(&places[command->slot]);
  return answer;
}

static answer_t close_place(const command_t *command, answer_t answer) {
  test_buffer_close(&places[command->slot]);
  return answer;
}

static answer_t write_frame(const command_t *command, answer_t answer) {
  shared_begin();
  frame_write(&places[command->slot], command->offset, command->length, command->value);
  shared_end();
  return answer;
}

static answer_t check_frame(const command_t *command, answer_t answer) {
  shared_begin();
  answer.value = frame_check(&places[command->slot], command->offset, command->length, command->value);
  shared_end();
  return answer;
}

static answer_t fill_bytes(const command_t *command, answer_t answer) {
  shared_begin();
  bytes_fill(&places[command->slot], command->offset, command->length, (uint8_t)command->value);
  shared_end();
  return answer;
}

static answer_t other_bytes(const command_t *command, answer_t answer) {
  shared_begin();
  answer.value = bytes_other(&places[command->slot], command->offset, command->length, (uint8_t)command->value,
                             (uint8_t)(command->value >> 8));
  shared_end();
  return answer;
}

static answer_t close_quiet(const command_t *command, answer_t answer) {
  test_buffer_t *place = &places[command->slot];
  test_buffer_withdraw(place);
  for (uint64_t end = place->size, piece; end > 0; end -= piece) { /* a copy in progress is overtaken from its end */
    piece = end < 64 * KIB ? end : 64 * KIB;
    bytes_fill(place, end - piece, piece, 0xa5);
  }
  sleep_ms(command->value);
  answer.value = bytes_other(place, 0, place->size, 0xa5, 0xa5);
  return answer;
}

static answer_t open_remote(const command_t *command, answer_t answer) {
  answer.status = hmc_remote_open(peers[command->peer], command->text, command->timeout_ms, &remotes[command->slot]);
  return answer;
}

static answer_t close_remote(const command_t *command, answer_t answer) {
  hmc_remote_close(remotes[command->slot]);
  remotes[command->slot] = NULL;
  return answer;
}

static answer_t move(const command_t *command, answer_t answer) {
  hmc_region_t *local = places[command->slot].region;
  hmc_remote_t *remote = remotes[command->remote];
  for (uint64_t i = 0; i < command->value && answer.status == HMC_SUCCESS; i++)
    answer.status = command->verb == VERB_PUT
                        ? hmc_put(local, command->offset, remote, command->remote_offset, command->length)
                        : hmc_get(local, command->offset, remote, command->remote_offset, command->length);
  return answer;
}

static answer_t run_exchange(const command_t *command, answer_t answer) {
  answer.status = exchange(&places[command->slot], command->offset, remotes[command->remote], command->remote_offset,
                           command->length, command->value, (uint64_t)getpid() << 32);
  return answer;
}

static answer_t watch_visible(const command_t *command, answer_t answer) {
  answer.status = visible_watch(&places[command->slot], command->text, command->value, &answer.value);
  return answer;
}

static answer_t watch_signalled(const command_t *command, answer_t answer) {
  answer.status = signal_watch(&places[command->slot], command->value, &answer.value);
  return answer;
}

static answer_t own_add(const command_t *command, answer_t answer) {
  uint64_t *word = hmc_region_pointer(places[command->slot].region);
  shared_begin();
  for (uint64_t end = now_ms() + command->value; now_ms() < end; answer.value += 100)
    for (int i = 0; i < 100; i++) __atomic_fetch_add(&word[command->offset / 8], 1, __ATOMIC_SEQ_CST);
  shared_end();
  return answer;
}

static answer_t atomic_add(const command_t *command, answer_t answer) {
  for (uint64_t end = now_ms() + command->value; now_ms() < end && answer.status == HMC_SUCCESS; answer.value++)
    answer.status = hmc_atomic(remotes[command->remote], command->remote_offset, HMC_ATOMIC_ADD, 8, 1, 0, NULL);
  return answer;
}

static answer_t take_notification(const command_t *command, answer_t answer) {
  static uint8_t data[HMC_NOTIFICATION_MAX];
  size_t size = 0;
  answer.status = hmc_notification_receive(context, data, command->length, &size, NULL, command->timeout_ms);
  answer.value = size;
  if (answer.status == HMC_SUCCESS) memcpy(answer.text, data, size < sizeof answer.text ? size : sizeof answer.text);
  return answer;
}

static uint64_t processor_us(void) {
  struct timespec used;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

static answer_t cpu_time(const command_t *command, answer_t answer) {
  uint64_t before = processor_us();
  sleep_ms(command->value);
  answer.value = processor_us() - before;
  return answer;
}

static answer_t files(const command_t *command, answer_t answer) {
  (void)command;
  answer.value = open_files();
  return answer;
}

typedef answer_t action_t(const command_t *command, answer_t answer);

static const struct {
  const char *name;
  action_t *run;
} actions[] = {
    [VERB_QUIT] = {"quit", quit},
    [VERB_CREATE] = {"create", create},
    [VERB_LISTEN] = {"listen", listen_on},
    [VERB_ACCEPT] = {"accept", accept_peer},
    [VERB_CONNECT] = {"connect", connect_to},
    [VERB_PEER_INFO] = {"peer info", peer_info},
    [VERB_PEER_CLOSE] = {"peer close", peer_close},
    [VERB_PLACE] = {"place", open_place},
    [VERB_WITHDRAW] = {"withdraw", withdraw},
    [VERB_PLACE_CLOSE] = {"place close", close_place},
    [VERB_FRAME_WRITE] = {"frame write", write_frame},
    [VERB_FRAME_CHECK] = {"frame check", check_frame},
    [VERB_BYTES_FILL] = {"bytes fill", fill_bytes},
    [VERB_BYTES_OTHER] = {"bytes other", other_bytes},
    [VERB_CLOSE_QUIET] = {"close quiet", close_quiet},
    [VERB_REMOTE_OPEN] = {"remote open", open_remote},
    [VERB_REMOTE_CLOSE] = {"remote close", close_remote},
    [VERB_PUT] = {"put", move},
    [VERB_GET] = {"get", move},
    [VERB_EXCHANGE] = {"exchange", run_exchange},
    [VERB_VISIBLE] = {"visible", watch_visible},
    [VERB_SIGNALLED] = {"signalled", watch_signalled},
    [VERB_OWN_ADD] = {"own add", own_add},
    [VERB_ATOMIC_ADD] = {"atomic add", atomic_add},
    [VERB_NOTIFIED] = {"notified", take_notification},
    [VERB_CPU_TIME] = {"cpu time", cpu_time},
    [VERB_FILES] = {"files", files},
};

static int dial_home(const char *path) {
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
  int descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
    perror("target: connect");
    _exit(1);
  }
  return descriptor;
}

void target_main(int argc, char **argv) {
  if (argc != 3 || strcmp(argv[1], "--target") != 0) return;
  int descriptor = dial_home(argv[2]);
  watchdog_start(true);
  crash_handlers_set();
  for (command_t command;;) {
    ssize_t size = recv(descriptor, &command, sizeof command, 0);
    if (size < 0 && errno == EINTR) continue;
    if (size != sizeof command || command.verb >= COUNT_OF(actions) || command.slot >= SLOTS)
      _exit(2); /* the test's process is gone */
    watch(actions[command.verb].name, 300);
    answer_t answer = actions[command.verb].run(&command, (answer_t){.status = HMC_SUCCESS});
    watch_end();
    if (answer.status != HMC_SUCCESS) snprintf(answer.text, sizeof answer.text, "%s", hmc_last_error());
    if (send(descriptor, &answer, sizeof answer, MSG_NOSIGNAL) != sizeof answer) _exit(2);
    if (command.verb == VERB_QUIT) break;
  }
  close(descriptor);
  exit(0);
}
