/* A program that ends while its contexts live: they are closed by destructors of static objects, or not at all.
 *
 * `exit` runs itself once per case, as `exit CASE`; the program so run must end by itself with status 0, and the
 * destructors must have done their work, which they say on the standard output. */
#include "check.hpp"

#include <atomic>
#include <dlfcn.h>
#include <openssl/ssl.h>
#include <thread>

/* ---- OpenSSL, watched: what is called once it is no more would work by luck, mostly */

static std::atomic<bool> is_over{false};

template <typename Function> static Function watched(const char *name) {
  if (is_over) check_failed(__FILE__, __LINE__, name, "is called after OpenSSL's end");
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

extern "C" {
void SSL_free(SSL *ssl) { watched<void (*)(SSL *)>("SSL_free")(ssl); }
int SSL_shutdown(SSL *ssl) { return watched<int (*)(SSL *)>("SSL_shutdown")(ssl); }
int SSL_read_ex(SSL *ssl, void *data, size_t size, size_t *done) {
  return watched<int (*)(SSL *, void *, size_t, size_t *)>("SSL_read_ex")(ssl, data, size, done);
}
int SSL_write_ex(SSL *ssl, const void *data, size_t size, size_t *done) {
  return watched<int (*)(SSL *, const void *, size_t, size_t *)>("SSL_write_ex")(ssl, data, size, done);
}
}

static void note_end() { is_over = true; }

/* ---- what lives when the program ends */

/* Two contexts of this process, connected by tcp. */
class Couple {
public:
  explicit Couple(const char *name) : name_(name) {}
  ~Couple() {
    if (!here_) return;
    hmc_context_destroy(here_);
    hmc_context_destroy(there_);
    std::printf("%s closed\n", name_);
    std::fflush(stdout);
  }

  void open() {
    hmc_peer_t *peer = nullptr;
    uint16_t port = 0;
    const hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
    CHECK(hmc_context_create(nullptr, &here_) == HMC_SUCCESS);
    CHECK(hmc_context_create(nullptr, &there_) == HMC_SUCCESS);
    CHECK(hmc_context_listen(there_, "127.0.0.1", 0, &port) == HMC_SUCCESS);
    CHECK(hmc_region_allocate(there_, cpu, 4096, "there", HMC_REMOTE_ALL, &far_) == HMC_SUCCESS);
    CHECK(hmc_region_allocate(here_, cpu, 4096, nullptr, 0, &near_) == HMC_SUCCESS);
    CHECK(hmc_context_connect(here_, "127.0.0.1", port, HMC_CONNECTION_TCP, 0, &peer) == HMC_SUCCESS);
    peer_ = peer;
    CHECK(use() == HMC_SUCCESS);
  }

  /* Asks through the session, which TLS encrypts, and puts. */
  hmc_status_t use() {
    hmc_remote_t *remote = nullptr;
    hmc_status_t status = hmc_remote_open(peer_, "there", 0, &remote);
    if (status == HMC_SUCCESS) status = hmc_put(near_, 0, remote, 0, 4096);
    hmc_remote_close(remote);
    return status;
  }

private:
  const char *name_;
  hmc_context_t *here_ = nullptr, *there_ = nullptr;
  hmc_peer_t *peer_ = nullptr;
  hmc_region_t *near_ = nullptr, *far_ = nullptr;
};

/* Made before main, so that it goes last. */
static Couple early("early");

/* ---- cases */

/* The program has used OpenSSL before HMC, which adds itself later and so hears earlier of the end. */
static void use_openssl() {
  CHECK(OPENSSL_init_ssl(0, nullptr) == 1);
  CHECK(OPENSSL_atexit(note_end) == 1);
}

/* The contexts are the program's first use of OpenSSL. */
static void run_first() {
  early.open();
  CHECK(OPENSSL_atexit(note_end) == 1);
}

/* The program has used OpenSSL before; its exit handler comes before the destructors. */
static void run_after_openssl() {
  use_openssl();
  early.open();
}

/* So does it here, while threads are at work, and nobody closes the contexts. */
static void run_busy() {
  use_openssl();
  early.open();
  for (int i = 0; i < 3; i++) {
    Couple *endless = new Couple("endless");
    endless->open();
    std::thread([endless] {
      while (endless->use() == HMC_SUCCESS) {
      }
      pause(); /* what failed is that the process is ending */
    }).detach();
  }
  usleep(10000);
}

struct Case {
  const char *name;
  void (*run)();
  bool ends_openssl; /* which then leaks what it keeps for threads that live still */
};

static const Case cases[] = {
    {"first", run_first, false}, {"after_openssl", run_after_openssl, true}, {"busy", run_busy, true}};

static std::string output_of(int descriptor) {
  std::string text;
  char bytes[256];
  ssize_t size;
  while ((size = read(descriptor, bytes, sizeof bytes)) > 0) text.append(bytes, static_cast<size_t>(size));
  return text;
}

static void run_program(const char *program, const Case &one) {
  int ends[2], status = 0;
  CHECK(pipe(ends) == 0);
  pid_t process = fork();
  CHECK(process >= 0);
  if (process == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    alarm(100);
    if (one.ends_openssl) {
      const char *options = getenv("ASAN_OPTIONS");
      setenv("ASAN_OPTIONS", (std::string(options ? options : "") + ":detect_leaks=0").c_str(), 1);
    }
    execl(program, program, one.name, static_cast<char *>(nullptr));
    _exit(127);
  }
  close(ends[1]);
  std::string output = output_of(ends[0]);
  close(ends[0]);
  CHECK(waitpid(process, &status, 0) == process);
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0 || output != "early closed\n") {
    std::fprintf(stderr, "%s: wait status 0x%x, output \"%s\"\n", one.name, status, output.c_str());
    CHECK(!"the program ended well");
  }
}

int main(int argc, char **argv) {
  if (argc == 2) {
    for (const Case &one : cases)
      if (!std::strcmp(one.name, argv[1])) {
        one.run();
        return 0;
      }
    return 2;
  }
  Environment environment;
  for (const Case &one : cases)
    for (int round = 0; round < 5; round++) run_program("/proc/self/exe", one);
  return 0;
}
