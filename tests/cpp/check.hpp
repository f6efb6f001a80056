/* What the tests of the C++ classes stand on: checks, a clean environment, a second process. */
#ifndef HMC_TEST_CHECK_HPP
#define HMC_TEST_CHECK_HPP

#include <hmc.h>

#include <cerrno>
#include <ftw.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Ends the process when it does not hold: a test of two processes cannot go on with one of them astray. */
#define CHECK(condition) ((condition) ? (void)0 : check_failed(__FILE__, __LINE__, #condition, ""))
#define CHECK_STATUS(expression, expected) check_status(__FILE__, __LINE__, #expression, (expression), (expected))
#define CHECK_OK(expression) CHECK_STATUS(expression, hmc::status_t::SUCCESS)

/* A home directory that is new and goes again, and no settings but the test's own. A test that hangs is ended. */
class Environment {
public:
  Environment() {
    std::vector<std::string> names;
    for (char **entry = environ; *entry; entry++)
      if (!std::strncmp(*entry, "HMC_", 4)) names.push_back(std::string(*entry, std::strcspn(*entry, "=")));
    for (const std::string &name : names) unsetenv(name.c_str());
    unsetenv("CTRL_TRANSPORT");
    char directory[] = "/tmp/hmc-test-cpp-XXXXXX";
    if (!mkdtemp(directory)) std::abort();
    home() = directory;
    setenv("HOME", directory, 1);
    owner() = getpid();
    alarm(280);
  }
  ~Environment() { remove(); }

  static std::string &home() {
    static std::string path;
    return path;
  }

  static void remove() {
    if (owner() == getpid() && !home().empty()) nftw(home().c_str(), remove_entry, 8, FTW_DEPTH | FTW_PHYS);
  }

private:
  static pid_t &owner() {
    static pid_t process = 0;
    return process;
  }
  static int remove_entry(const char *path, const struct stat *, int, struct FTW *) { return std::remove(path); }
};

inline void check_failed(const char *file, int line, const char *what, const char *why) {
  std::fprintf(stderr, "%s:%d: process %d: %s %s\n", file, line, static_cast<int>(getpid()), what, why);
  Environment::remove();
  _exit(1);
}

inline void check_status(const char *file, int line, const char *what, hmc::status_t got, hmc::status_t expected) {
  /* A finer code is an ERROR to programs, and asked for apart; what does not exist is an ERROR to those who connect. */
  if (got == expected || (got == hmc::status_t::ERROR && hmc::last_status() == expected)) return;
  std::string why = std::string("is ") + hmc::status_to_string(got) + ", not " + hmc::status_to_string(expected) +
                    ": \"" + hmc::last_error() + "\"";
  check_failed(file, line, what, why.c_str());
}

/* True where the text of the last failure names something. */
inline bool error_names(const char *what) { return strcasestr(hmc::last_error(), what) != nullptr; }

/* While one lives, the thread sanitizer does not look at what its thread reads and writes: the service thread moves bytes
 * when another process asks it to, and the word of when comes from there, which is an order that the sanitizer cannot
 * see. */
#ifdef __SANITIZE_THREAD__
extern "C" {
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
}

class OrderUnseen {
public:
  OrderUnseen() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~OrderUnseen() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
};
#else
class OrderUnseen {
public:
  OrderUnseen() {}
};
#endif

/* A second process, with a pipe each way for whole values. It is forked where it is declared, which must be before this
 * process has any thread, and goes to work at start(). */
class Process {
public:
  template <typename Body> explicit Process(Body body) {
    int down[2], up[2];
    if (pipe(down) || pipe(up)) std::abort();
    process_ = fork();
    if (process_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      alarm(280);
      close(down[1]);
      close(up[0]);
      in_ = down[0];
      out_ = up[1];
      receive<char>();
      body(*this);
      std::exit(0);
    }
    close(down[0]);
    close(up[1]);
    in_ = up[0];
    out_ = down[1];
  }

  void start() { send('s'); }

  template <typename T> void send(const T &value) { CHECK(write(out_, &value, sizeof value) == sizeof value); }
  template <typename T> T receive() {
    T value;
    ssize_t size;
    do size = read(in_, &value, sizeof value);
    while (size < 0 && errno == EINTR);
    CHECK(size == static_cast<ssize_t>(sizeof value));
    return value;
  }

  /* It does nothing more when this returns. */
  void stop() {
    int status = 0;
    CHECK(kill(process_, SIGSTOP) == 0 && waitpid(process_, &status, WUNTRACED) == process_ && WIFSTOPPED(status));
  }
  void resume() { CHECK(kill(process_, SIGCONT) == 0); }

  void kill_now() {
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
    close(in_);
    close(out_);
  }

  /* Waits for its end, which must be a good one. */
  void join() {
    close(out_);
    int status = 0;
    CHECK(waitpid(process_, &status, 0) == process_);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(in_);
  }

private:
  pid_t process_;
  int in_, out_;
};

#endif
