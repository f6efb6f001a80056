/* hmcrun: starts N ranks of a program on this host and looks after them.
 *
 * What a rank finds in its environment: HMC_JOB_RANK, HMC_JOB_SIZE, HMC_JOB_DIR (a folder of the job's own, removed at
 * its end), and HMC_SECRET, made for the job unless the user has set one. A rank that writes a number into
 * HMC_JOB_DIR/exit and ends, ends all with that status. One that dies, or ends with another status than 0, ends all too.
 * The ranks end with hmcrun, however it ends.
 *
 * One thread: a loop over signals (by a descriptor) and the ranks' output. */
#include "hmcrun.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 3000 /* between asking the ranks to end and killing them */
#define LINE 4096        /* bytes of a labelled line; longer ones are cut into several */

typedef struct stream {
  int descriptor; /* the end to read; -1: none */
  FILE *to;
  size_t filled;
  char line[LINE];
} stream_t;

typedef struct rank {
  pid_t process; /* 0: has ended */
  stream_t output[2];
} rank_t;

static struct {
  hmcrun_options_t options;
  char folder[64];
  rank_t *ranks;
  int running;
  int status;       /* of the job; -1: not decided */
  bool is_ending;   /* the ranks have been asked to end */
  uint64_t kill_at; /* ms; when they are killed */
} job = {.status = -1};

static void say(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fflush(stdout);
  fputs("hmcrun: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
}

static void fail(const char *what) {
  say("%s: %s", what, strerror(errno));
  exit(1);
}

static uint64_t now_ms(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- the folder and the secret ---------------------------------------------------------------------------------------- */

static void make_folder(void) {
  const char *temporary = getenv("TMPDIR");
  int length = snprintf(job.folder, sizeof job.folder, "%s/hmc-run-XXXXXX", temporary ? temporary : "/tmp");
  if (length >= (int)sizeof job.folder - 8) { /* the paths of UNIX sockets are short */
    snprintf(job.folder, sizeof job.folder, "/tmp/hmc-run-XXXXXX");
  }
  if (!mkdtemp(job.folder)) fail("a folder for the job");
}

/* With what the ranks have left in it: sockets, and the status of the job. */
static void remove_folder(void) {
  DIR *folder = opendir(job.folder);
  struct dirent *entry;
  while (folder && (entry = readdir(folder))) {
    if (entry->d_name[0] != '.') unlinkat(dirfd(folder), entry->d_name, 0);
  }
  if (folder) closedir(folder);
  rmdir(job.folder);
}

static void make_secret(void) {
  if (getenv("HMC_SECRET") || getenv("HMC_SECRET_FILE")) return;
  unsigned char bytes[32];
  char text[2 * sizeof bytes + 1];
  if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes) fail("random bytes");
  for (size_t i = 0; i < sizeof bytes; i++) snprintf(text + 2 * i, 3, "%02x", bytes[i]);
  setenv("HMC_SECRET", text, 1);
}

/* The status that a rank has asked for, or -1. */
static int wanted_status(void) {
  char path[128];
  snprintf(path, sizeof path, "%s/exit", job.folder);
  FILE *file = fopen(path, "r");
  if (!file) return -1;
  int status = -1;
  if (fscanf(file, "%d", &status) != 1) status = -1;
  fclose(file);
  return status < 0 ? -1 : status & 0xff;
}

/* ---- starting --------------------------------------------------------------------------------------------------------- */

/* What keeps one rank from starting mostly keeps all: it is said once. */
static bool is_first_to_fail(void) {
  char path[128];
  snprintf(path, sizeof path, "%s/failed", job.folder);
  int made = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  return made >= 0 || errno != EEXIST;
}

static void become_rank(int number, int pipes[2][2], const sigset_t *mask) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigprocmask(SIG_SETMASK, mask, NULL);
  char text[16];
  snprintf(text, sizeof text, "%d", number);
  setenv("HMC_JOB_RANK", text, 1);
  if (number != 0) {
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (nothing >= 0) dup2(nothing, 0);
  }
  if (job.options.label) {
    dup2(pipes[0][1], 1);
    dup2(pipes[1][1], 2);
  }
  if (job.options.bind) hmcrun_bind(number);
  execvp(job.options.program[0], job.options.program);
  int error = errno;
  if (is_first_to_fail()) fprintf(stderr, "hmcrun: %s: %s\n", job.options.program[0], strerror(error));
  _exit(127);
}

static void start_rank(int number, const sigset_t *mask) {
  rank_t *rank = &job.ranks[number];
  int pipes[2][2] = {{-1, -1}, {-1, -1}};
  for (int i = 0; i < 2; i++) {
    rank->output[i] = (stream_t){.descriptor = -1, .to = i ? stderr : stdout};
    if (!job.options.label) continue;
    if (pipe2(pipes[i], O_CLOEXEC)) fail("a pipe");
    rank->output[i].descriptor = pipes[i][0];
  }
  rank->process = fork();
  if (rank->process < 0) fail("a process");
  if (rank->process == 0) become_rank(number, pipes, mask);
  for (int i = 0; i < 2; i++) {
    if (pipes[i][1] >= 0) close(pipes[i][1]);
  }
  job.running++;
  if (job.options.verbose) say("rank %d is process %d", number, (int)rank->process);
}

/* ---- output ----------------------------------------------------------------------------------------------------------- */

static void put_line(int number, stream_t *stream) {
  fprintf(stream->to, "[%d] %.*s\n", number, (int)stream->filled, stream->line);
  fflush(stream->to);
  stream->filled = 0;
}

static void take_output(int number, stream_t *stream) {
  char bytes[LINE];
  ssize_t got = read(stream->descriptor, bytes, sizeof bytes);
  if (got < 0 && errno == EINTR) return;
  for (ssize_t i = 0; i < got; i++) {
    if (bytes[i] != '\n') stream->line[stream->filled++] = bytes[i];
    if (bytes[i] == '\n' || stream->filled == sizeof stream->line) put_line(number, stream);
  }
  if (got > 0) return;
  if (stream->filled) put_line(number, stream);
  close(stream->descriptor);
  stream->descriptor = -1;
}

/* ---- ending ----------------------------------------------------------------------------------------------------------- */

static void signal_all(int number) {
  for (int i = 0; i < job.options.n; i++) {
    if (job.ranks[i].process > 0) kill(job.ranks[i].process, number);
  }
}

static void end_all(int status) {
  if (job.status < 0) job.status = status;
  if (job.is_ending) return;
  job.is_ending = true;
  job.kill_at = now_ms() + PATIENCE_MS;
  signal_all(SIGTERM);
}

static void has_ended(int number, pid_t process, int how) {
  job.ranks[number].process = 0;
  job.running--;
  int wanted = wanted_status();
  if (job.options.verbose) {
    say("rank %d has ended with %s %d", number, WIFSIGNALED(how) ? "signal" : "status",
        WIFSIGNALED(how) ? WTERMSIG(how) : WEXITSTATUS(how));
  }
  if (job.is_ending) return;
  if (WIFSIGNALED(how)) { /* before what others want, who may have seen it earlier */
    say("rank %d (process %d) died by signal %d (%s); the others end with it", number, (int)process, WTERMSIG(how),
        strsignal(WTERMSIG(how)));
    end_all(128 + WTERMSIG(how));
  } else if (wanted >= 0) {
    end_all(wanted);
  } else if (WEXITSTATUS(how)) {
    say("rank %d (process %d) ended with status %d; the others end with it", number, (int)process, WEXITSTATUS(how));
    end_all(WEXITSTATUS(how));
  }
}

/* All that have ended up to now, those first that died by a signal: others end because of them. */
static void collect_ended(void) {
  int how;
  siginfo_t ended;
  pid_t process;
  for (int i = 0; i < job.options.n; i++) {
    process = job.ranks[i].process;
    ended.si_pid = 0;
    if (!process || waitid(P_PID, (id_t)process, &ended, WEXITED | WNOHANG | WNOWAIT) || !ended.si_pid) continue;
    if (ended.si_code != CLD_EXITED && waitpid(process, &how, 0) == process) has_ended(i, process, how);
  }
  while ((process = waitpid(-1, &how, WNOHANG)) > 0) {
    for (int i = 0; i < job.options.n; i++) {
      if (job.ranks[i].process == process) has_ended(i, process, how);
    }
  }
}

static void take_signal(int descriptor) {
  struct signalfd_siginfo info;
  if (read(descriptor, &info, sizeof info) != (ssize_t)sizeof info) return;
  if (info.ssi_signo == SIGCHLD) {
    collect_ended();
  } else if (info.ssi_signo == SIGPIPE) { /* nobody reads the ranks' lines any more */
    end_all(128 + SIGPIPE);
  } else if (info.ssi_signo == SIGINT || info.ssi_signo == SIGTERM || info.ssi_signo == SIGHUP) {
    bool again = job.is_ending;
    end_all(128 + (int)info.ssi_signo);
    if (again) job.kill_at = 0; /* the second time is meant */
  } else {
    signal_all((int)info.ssi_signo);
  }
}

/* ---- the loop ---------------------------------------------------------------------------------------------------------- */

static int fill(struct pollfd *polled, int signals) {
  polled[0] = (struct pollfd){.fd = signals, .events = POLLIN};
  int count = 1;
  for (int i = 0; i < job.options.n; i++) {
    for (int j = 0; j < 2; j++) {
      int descriptor = job.ranks[i].output[j].descriptor;
      if (descriptor >= 0) polled[count++] = (struct pollfd){.fd = descriptor, .events = POLLIN};
    }
  }
  return count;
}

static void look_after(int signals) {
  struct pollfd *polled = calloc((size_t)job.options.n * 2 + 1, sizeof *polled);
  if (!polled) fail("memory");
  for (;;) {
    int count = fill(polled, signals);
    if (job.running == 0 && count == 1) break;
    int patience = job.is_ending && job.running ? 50 : -1;
    if (job.running == 0) patience = 100; /* a grandchild may hold the pipe: it is not waited for */
    int ready = poll(polled, (nfds_t)count, patience);
    if (ready == 0 && job.running == 0) break;
    if (polled[0].revents) take_signal(signals);
    int at = 1;
    for (int i = 0; i < job.options.n; i++) {
      for (int j = 0; j < 2; j++) {
        if (job.ranks[i].output[j].descriptor < 0) continue;
        if (at < count && polled[at].fd == job.ranks[i].output[j].descriptor && polled[at].revents) {
          take_output(i, &job.ranks[i].output[j]);
        }
        at++;
      }
    }
    if (job.is_ending && job.running && now_ms() >= job.kill_at) signal_all(SIGKILL);
  }
  free(polled);
}

int main(int argc, char **argv) {
  int code = hmcrun_parse(argc, argv, &job.options);
  if (code != 0) return code;
  job.ranks = calloc((size_t)job.options.n, sizeof *job.ranks);
  if (!job.ranks) fail("memory");
  make_folder();
  atexit(remove_folder);
  make_secret();
  char text[16];
  snprintf(text, sizeof text, "%d", job.options.n);
  setenv("HMC_JOB_SIZE", text, 1);
  setenv("HMC_JOB_DIR", job.folder, 1);

  static const int watched[] = {SIGCHLD, SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGUSR1, SIGUSR2, SIGCONT};
  sigset_t set, old;
  sigemptyset(&set);
  for (size_t i = 0; i < sizeof watched / sizeof watched[0]; i++) sigaddset(&set, watched[i]);
  sigprocmask(SIG_BLOCK, &set, &old);
  int signals = signalfd(-1, &set, SFD_CLOEXEC);
  if (signals < 0) fail("a descriptor for signals");
  for (int i = 0; i < job.options.n; i++) start_rank(i, &old);
  look_after(signals);
  return job.status < 0 ? 0 : job.status;
}
