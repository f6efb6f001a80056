/* hmc-doctor's checks of this machine, and of this process's place in it. Each says one line or more; none of them needs
 * another end. */
#include "doctor.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20, PINNED = 64 * MIB, SHARED_LEAST = 64 * MIB, FILES_LEAST = 1024 };

/* ---- settings and secret ----------------------------------------------------------------------------------------- */

/* False, with a finding, where a context does not take values that parse: names of transports, for one. */
static bool makes_context(void) {
  hmc_context_t *context;
  hmc_context_options_t options = HMC_CONTEXT_OPTIONS_INIT;
  options.name = "hmc-doctor";
  options.secret = "hmc-doctor's own, for its settings";
  hmc_status_t status = hmc_context_create(&options, &context);
  if (status == HMC_SUCCESS) hmc_context_destroy(context);
  if (status != HMC_INVALID_CONFIG) return true;
  doctor_say(DOCTOR_FAIL, "settings", "correct the variable; hmc-info --config says what it takes", "%s",
             hmc_last_error());
  return false;
}

bool doctor_check_settings(void) {
  char text[256];
  size_t failed = 0, unknown = 0, set = 0;
  for (size_t i = 0; i < hmc_settings_count(); i++) {
    hmc_setting_t setting = HMC_SETTING_INIT;
    if (hmc_settings_get(i, &setting) == HMC_SUCCESS) {
      set += setting.is_set != 0;
      continue;
    }
    doctor_say(DOCTOR_FAIL, "settings", "correct the variable; hmc-info --config lists them", "%s", hmc_last_error());
    failed++;
  }
  for (; hmc_settings_unknown(unknown, text, sizeof text) == HMC_SUCCESS; unknown++)
    doctor_say(DOCTOR_WARN, "settings", "correct its name, or unset it", "%s", text);
  if (!failed && makes_context() && !unknown)
    doctor_say(DOCTOR_OK, "settings", NULL, "%zu of %zu set, all understood", set, hmc_settings_count());
  return !failed;
}

static bool is_set(const char *name) {
  const char *value = getenv(name);
  return value && *value;
}

/* Where several places name one, people change the one that does not count. */
static void check_other_secrets(const char *source) {
  const char *home = getenv("HOME");
  char own[4096];
  struct stat file;
  if (is_set("HMC_SECRET_FILE") && is_set("HMC_SECRET"))
    doctor_say(DOCTOR_WARN, "secret", "unset one of the two",
               "two secrets: HMC_SECRET_FILE counts, HMC_SECRET is ignored");
  snprintf(own, sizeof own, "%s/.hmc/secret", home ? home : "");
  if (strcmp(source, own) != 0 && strncmp(source, "HMC_INSECURE", 12) != 0 && stat(own, &file) == 0)
    doctor_say(DOCTOR_WARN, "secret",
               "peers that find their secret in ~/.hmc/secret are turned away: use one of the two everywhere",
               "two secrets: %s counts, and %s is there, too", source, own);
}

void doctor_check_secret(void) {
  char source[300];
  if (hmc_secret_source(source, sizeof source) != HMC_SUCCESS) {
    const char *text = hmc_last_error();
    doctor_say(DOCTOR_FAIL, "secret",
               strstr(text, "chmod") ? "chmod 600 that file, and make a new secret, because others may have read it"
                                     : "set HMC_SECRET_FILE to a file that only this user may read",
               "%s", text);
    return;
  }
  if (strcmp(source, "HMC_INSECURE") == 0) {
    doctor_say(DOCTOR_WARN, "secret", "unset HMC_INSECURE",
               "HMC_INSECURE is set: anyone who reaches this process gets in");
    return;
  }
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  if (runtime && *runtime && strncmp(source, runtime, strlen(runtime)) == 0)
    doctor_say(DOCTOR_WARN, "secret", "set HOME to a folder that this user may write, or HMC_SECRET_FILE",
               "%s, because no home directory of user %u can be written; it ends with the session", source,
               (unsigned)geteuid());
  else
    doctor_say(DOCTOR_OK, "secret", NULL, "%s, of user %u", source, (unsigned)geteuid());
  check_other_secrets(source);
}

/* ---- limits ------------------------------------------------------------------------------------------------------ */

static void format_limit(rlim_t limit, char *text, size_t size) {
  if (limit == RLIM_INFINITY)
    snprintf(text, size, "unlimited");
  else
    tool_format_bytes(limit, text, size);
}

/* What counts is whether it works: a process may be allowed to go beyond the limit. */
static void check_pinning(void) {
  struct rlimit limit = {0, 0};
  char figure[32];
  getrlimit(RLIMIT_MEMLOCK, &limit);
  format_limit(limit.rlim_cur, figure, sizeof figure);
  void *memory = mmap(NULL, PINNED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return;
  size_t pinned = 0;
  while (pinned < PINNED && mlock((char *)memory + pinned, MIB) == 0) pinned += MIB;
  munmap(memory, PINNED);
  if (pinned == PINNED)
    doctor_say(DOCTOR_OK, "memlock", NULL, "%d MiB can be pinned (limit: %s)", PINNED / MIB, figure);
  else
    doctor_say(
        DOCTOR_WARN, "memlock",
        "ulimit -l unlimited; for good: 'memlock unlimited' in /etc/security/limits.d, LimitMEMLOCK=infinity for "
        "systemd, --ulimit memlock=-1 for containers",
        "%zu of %d MiB can be pinned (limit: %s): RDMA registers little, staging is slower", pinned / MIB, PINNED / MIB,
        figure);
}

void doctor_check_limits(void) {
  struct rlimit files = {0, 0};
  check_pinning();
  getrlimit(RLIMIT_NOFILE, &files);
  bool few = files.rlim_cur < FILES_LEAST;
  doctor_say(few ? DOCTOR_WARN : DOCTOR_OK, "files", few ? "ulimit -n 65536" : NULL,
             "%llu descriptors (about four per peer)", (unsigned long long)files.rlim_cur);
}

/* ---- other processes' memory ------------------------------------------------------------------------------------- */

static int read_word(const char *path, char *word, size_t size) {
  FILE *file = fopen(path, "re");
  if (!file) return -1;
  bool got = fgets(word, (int)size, file);
  fclose(file);
  if (!got) return -1;
  word[strcspn(word, "\n")] = '\0';
  return 0;
}

/* 0, or the errno with which a child fails to read this process's memory. A child is not an ancestor, nor are peers. */
static int try_attach(void) {
  static volatile int words[2] = {4711, 0};
  pid_t parent = getpid(), child = fork();
  if (child < 0) return errno;
  if (child == 0) {
    int found = 0;
    struct iovec here = {&found, sizeof found}, there = {(void *)(uintptr_t)&words[0], sizeof found};
    ssize_t got = process_vm_readv(parent, &here, 1, &there, 1, 0);
    _exit(got == (ssize_t)sizeof found && found == 4711 ? 0 : errno ? errno : EIO);
  }
  int status;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return EIO;
  return WEXITSTATUS(status);
}

void doctor_check_attach(void) {
  char scope[16] = "";
  bool has_scope = read_word("/proc/sys/kernel/yama/ptrace_scope", scope, sizeof scope) == 0;
  int error = try_attach();
  if (!error)
    doctor_say(DOCTOR_OK, "attach", NULL, "processes of this user read each other's memory%s%s",
               has_scope ? ", ptrace_scope " : "", scope);
  else
    doctor_say(DOCTOR_WARN, "attach",
               "sysctl kernel.yama.ptrace_scope=0; in containers --cap-add SYS_PTRACE and one pid namespace",
               "process_vm_readv: %s%s%s: registered memory between processes of this host takes another copy through "
               "a socket",
               strerror(error), has_scope ? ", ptrace_scope " : "", scope);
}

/* ---- shared memory and huge pages -------------------------------------------------------------------------------- */

static void check_shared(void) {
  struct statvfs found;
  char figure[32];
  if (statvfs("/dev/shm", &found) != 0) {
    doctor_say(DOCTOR_NOTE, "shm size", "mount -t tmpfs tmpfs /dev/shm",
               "there is no /dev/shm; HMC needs none, other libraries do");
    return;
  }
  uint64_t bytes = (uint64_t)found.f_bavail * found.f_frsize;
  tool_format_bytes(bytes, figure, sizeof figure);
  bool small = bytes < SHARED_LEAST;
  doctor_say(small ? DOCTOR_WARN : DOCTOR_OK, "shm size",
             small ? "mount -o remount,size=2G /dev/shm; for containers --shm-size=2g" : NULL, "%s free in /dev/shm%s",
             figure, small ? ": HMC needs none, but UCX, NCCL and Open MPI beside it do" : "");
}

static void check_shared_mapping(void) {
  int file = memfd_create("hmc-doctor", MFD_CLOEXEC);
  bool made = file >= 0 && ftruncate(file, MIB) == 0;
  void *memory = made ? mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) : MAP_FAILED;
  if (memory == MAP_FAILED)
    doctor_say(DOCTOR_FAIL, "shm", "allow memfd_create and mmap to this process (seccomp, memory limit of the cgroup)",
               "no shared memory can be made: %s", strerror(errno));
  else
    munmap(memory, MIB);
  if (file >= 0) close(file);
}

static void check_huge_pages(void) {
  char total[32] = "0", free_pages[32] = "0", shmem[128] = "unknown";
  read_word("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", total, sizeof total);
  read_word("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", free_pages, sizeof free_pages);
  read_word("/sys/kernel/mm/transparent_hugepage/shmem_enabled", shmem, sizeof shmem);
  char *mode = strchr(shmem, '[');
  char *end = mode ? strchr(mode, ']') : NULL;
  if (end) *end = '\0';
  doctor_say(DOCTOR_NOTE, "huge pages", NULL,
             "2 MiB pages reserved: %s, free: %s; transparent ones for shared memory: %s", total, free_pages,
             mode ? mode + 1 : shmem);
}

void doctor_check_memory(void) {
  check_shared_mapping();
  check_shared();
  check_huge_pages();
}

/* ---- network ----------------------------------------------------------------------------------------------------- */

static int mtu_of(const char *interface) {
  struct ifreq request = {0};
  int probe = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
  int mtu = probe >= 0 && ioctl(probe, SIOCGIFMTU, &request) == 0 ? request.ifr_mtu : -1;
  if (probe >= 0) close(probe);
  return mtu;
}

/* A port of the loopback, there and back. */
static int try_loopback(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
      caller = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct timeval patience = {.tv_sec = 5};
  setsockopt(caller, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  int error = 0;
  if (listener < 0 || caller < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
      listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &size) != 0 ||
      connect(caller, (struct sockaddr *)&address, sizeof address) != 0)
    error = errno;
  if (listener >= 0) close(listener);
  if (caller >= 0) close(caller);
  return error;
}

static void check_addresses(void) {
  struct ifaddrs *list;
  size_t shown = 0;
  if (getifaddrs(&list) != 0) return;
  for (struct ifaddrs *at = list; at; at = at->ifa_next) {
    char ip[INET6_ADDRSTRLEN];
    if (!at->ifa_addr || at->ifa_addr->sa_family != AF_INET || at->ifa_flags & IFF_LOOPBACK ||
        !(at->ifa_flags & IFF_UP))
      continue;
    inet_ntop(AF_INET, &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr, ip, sizeof ip);
    doctor_say(DOCTOR_OK, "network", NULL, "%s at %s, MTU %d", ip, at->ifa_name, mtu_of(at->ifa_name));
    shown++;
  }
  freeifaddrs(list);
  if (!shown) doctor_say(DOCTOR_NOTE, "network", NULL, "no IPv4 address but the loopback's: peers on this host only");
}

bool doctor_check_network(void) {
  int error = try_loopback();
  if (error)
    doctor_say(DOCTOR_FAIL, "loopback", "ip link set lo up; and let the firewall pass what comes from lo",
               "no connection over 127.0.0.1: %s", strerror(error));
  else
    doctor_say(DOCTOR_OK, "loopback", NULL, "127.0.0.1 is up, and ports are free");
  check_addresses();
  return !error;
}

/* ---- RDMA -------------------------------------------------------------------------------------------------------- */

static unsigned count_gids(const char *port) {
  char path[512], gid[64];
  unsigned count = 0;
  for (int i = 0; i < 256; i++) {
    snprintf(path, sizeof path, "%s/gids/%d", port, i);
    if (read_word(path, gid, sizeof gid) != 0) break;
    count += strspn(gid, "0:") != strlen(gid) && strcmp(gid + 20, "0000:0000:0000:0000") != 0;
  }
  return count;
}

static void check_port(const char *device, const char *number) {
  char port[256], path[320], state[32] = "?", layer[32] = "?";
  snprintf(port, sizeof port, "/sys/class/infiniband/%.64s/ports/%.16s", device, number);
  snprintf(path, sizeof path, "%s/state", port);
  read_word(path, state, sizeof state);
  snprintf(path, sizeof path, "%s/link_layer", port);
  read_word(path, layer, sizeof layer);
  bool active = strstr(state, "ACTIVE") != NULL;
  unsigned gids = count_gids(port);
  if (!active)
    doctor_say(DOCTOR_WARN, "rdma", "connect the cable, or bring the network card's interface up (ip link set ... up)",
               "%s port %s is %s (%s)", device, number, state, layer);
  else if (!gids)
    doctor_say(DOCTOR_WARN, "rdma", "give the network card's interface an address",
               "%s port %s is active and has no GID", device, number);
  else
    doctor_say(DOCTOR_OK, "rdma", NULL, "%s port %s is active (%s), %u GIDs", device, number, layer, gids);
}

void doctor_check_rdma(void) {
  DIR *devices = opendir("/sys/class/infiniband");
  size_t found = 0;
  for (struct dirent *device; devices && (device = readdir(devices)) != NULL;) {
    char path[320];
    if (device->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "/sys/class/infiniband/%.64s/ports", device->d_name);
    DIR *ports = opendir(path);
    for (struct dirent *port; ports && (port = readdir(ports)) != NULL;) {
      if (port->d_name[0] == '.') continue;
      check_port(device->d_name, port->d_name);
      found++;
    }
    if (ports) closedir(ports);
  }
  if (devices) closedir(devices);
  if (!found) doctor_say(DOCTOR_NOTE, "rdma", NULL, "no RDMA device in this kernel; other hosts are reached by tcp");
}

/* ---- modules ----------------------------------------------------------------------------------------------------- */

void doctor_check_modules(void) {
  static const struct {
    hmc_connection_type_t type;
    const char *package;
  } modules[] = {{HMC_CONNECTION_RDMA, "libibverbs-dev"}, {HMC_CONNECTION_UCX, "libucx-dev"}};
  for (size_t i = 0; i < sizeof modules / sizeof modules[0]; i++) {
    char reason[512] = "", remedy[256];
    const char *name = hmc_connection_type_name(modules[i].type);
    hmc_status_t status = hmc_connection_type_probe(modules[i].type, reason, sizeof reason);
    snprintf(remedy, sizeof remedy, "install %s and build HMC again, or correct HMC_MODULE_PATH", modules[i].package);
    if (status != HMC_SUCCESS && strstr(reason, "libhmc-"))
      doctor_say(DOCTOR_WARN, "modules", remedy, "%s: %s", name, reason);
    else if (strstr(reason, "HMC_TRANSPORTS"))
      doctor_say(DOCTOR_NOTE, "modules", NULL, "%s: %s", name, reason);
    else
      doctor_say(DOCTOR_OK, "modules", NULL, "%s: the module is there", name);
  }
}
