/* hmc-bench-gpu: what HMC costs beside the device's own copies, in one run and one table.
 *
 *   hmc-bench-gpu [KIND [MIB]]     KIND: nvidia (the default), sim, or another kind of device memory
 *
 *   h2d, d2h, d2d   hmc_memory_copy between pinned host memory and the device, and inside it, against the raw copy: the
 *                   driver's own calls where they are known here (nvidia), else the copy that the device queues on a stream
 *   put_d2d         a put from device memory to device memory of another process, against the raw copy inside the device
 *   put_kv          61 pieces of 128 KiB and 61 of 16 KiB as one batch, against one put of as many bytes
 *   put_4k          4,096 pieces of 4 KiB, likewise
 *   put_8           a put of 8 bytes to the other process's device memory, in microseconds: the median
 *
 * The other process is forked before the driver is opened; it owns the target and sleeps. Both sides of a line alternate, and
 * each shows its best round. The last column is what the project wants to reach; the exit code says only whether everything
 * ran. */
#include <hmc.h>

#include <dlfcn.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, KV = 61, KV_LARGE = 128 << 10, KV_SMALL = 16 << 10, BLOCKS = 4096, BLOCK = 4 << 10, PUTS = 2000 };

static hmc_memory_t device = {HMC_MEMORY_NVIDIA_GPU, 0};
static uint64_t bytes = UINT64_C(256) << 20;

static _Noreturn void give_up(const char *what) {
  fprintf(stderr, "hmc-bench-gpu: %s: %s\n", what, hmc_last_error());
  exit(1);
}

static void must(hmc_status_t status, const char *what) {
  if (status != HMC_SUCCESS) give_up(what);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static void keep_least(double *least, double start) {
  double time = now() - start;
  if (*least == 0 || time < *least) *least = time;
}

/* ---- raw copies -------------------------------------------------------------------------------------------------- */

typedef int copy_call_t(void *to, const void *from, size_t size, void *stream);

static struct {
  copy_call_t *h2d, *d2h, *d2d;
  int (*wait)(void *stream);
  void *stream;
} driver;
static bool has_driver;
static hmc_memory_stream_t stream; /* where the driver's calls are not known */

static bool find(void *library, const char *name, void *slot) {
  void *address = dlsym(library, name);
  memcpy(slot, &address, sizeof address);
  return address;
}

/* HMC has opened the driver already, and made the device's primary context. */
static bool open_driver(void) {
  const char *path = getenv("HMC_CUDA_LIBRARY");
  int (*retain)(void **, int), (*push)(void *), (*create)(void **, unsigned);
  void *context, *library = dlopen(path && *path ? path : "libcuda.so.1", RTLD_NOW);
  if (!library || device.kind != HMC_MEMORY_NVIDIA_GPU) return false;
  return find(library, "cuDevicePrimaryCtxRetain", &retain) && find(library, "cuCtxPushCurrent_v2", &push) &&
         find(library, "cuStreamCreate", &create) && find(library, "cuMemcpyHtoDAsync_v2", &driver.h2d) &&
         find(library, "cuMemcpyDtoHAsync_v2", &driver.d2h) && find(library, "cuMemcpyDtoDAsync_v2", &driver.d2d) &&
         find(library, "cuStreamSynchronize", &driver.wait) && retain(&context, device.device) == 0 &&
         push(context) == 0 && create(&driver.stream, 1) == 0;
}

static void open_raw(void) {
  has_driver = open_driver();
  if (!has_driver) must(hmc_memory_stream_create(device, &stream), "hmc_memory_stream_create");
}

static void copy_raw(void *to, hmc_memory_t to_memory, const void *from, hmc_memory_t from_memory) {
  if (has_driver) {
    copy_call_t *call = to_memory.kind == HMC_MEMORY_CPU     ? driver.d2h
                        : from_memory.kind == HMC_MEMORY_CPU ? driver.h2d
                                                             : driver.d2d;
    if (call(to, from, bytes, driver.stream) != 0 || driver.wait(driver.stream) != 0) give_up("the driver's own copy");
    return;
  }
  must(hmc_memory_copy_async(to, to_memory, from, from_memory, bytes, stream), "hmc_memory_copy_async");
  must(hmc_memory_stream_wait(device, stream), "hmc_memory_stream_wait");
}

/* ---- the table --------------------------------------------------------------------------------------------------- */

static double rate(double seconds, uint64_t size) { return (double)size / seconds / 1e9; }

static void show(const char *name, double seconds, uint64_t size, double beside, double wanted) {
  double ratio = beside / seconds;
  printf("%-9s %9.2f GB/s %9.2f GB/s   ratio %.3f   wanted %.2f%s\n", name, rate(seconds, size), rate(beside, size),
         ratio, wanted, ratio < wanted ? " MISSED" : "");
  fflush(stdout);
}

/* Answers how long the raw copy takes. */
static double compare_copies(const char *name, void *to, hmc_memory_t to_memory, const void *from,
                             hmc_memory_t from_memory) {
  double ours = 0, raw = 0;
  for (int i = 0; i < ROUNDS; i++) {
    double start = now();
    copy_raw(to, to_memory, from, from_memory);
    keep_least(&raw, start);
    start = now();
    must(hmc_memory_copy(to, to_memory, from, from_memory, bytes), "hmc_memory_copy");
    keep_least(&ours, start);
  }
  show(name, ours, bytes, raw, 0.98);
  return raw;
}

/* Answers how long a raw copy inside the device takes. */
static double copies(void) {
  hmc_memory_t cpu = {HMC_MEMORY_CPU, 0};
  void *host, *first, *second;
  must(hmc_memory_host_allocate(device, bytes, &host), "hmc_memory_host_allocate");
  must(hmc_memory_allocate(device, bytes, &first), "hmc_memory_allocate");
  must(hmc_memory_allocate(device, bytes, &second), "hmc_memory_allocate");
  memset(host, 1, bytes);
  open_raw();
  compare_copies("h2d", first, device, host, cpu);
  compare_copies("d2h", host, cpu, first, device);
  double within = compare_copies("d2d", second, device, first, device);
  hmc_memory_free(device, first);
  hmc_memory_free(device, second);
  hmc_memory_host_free(device, host);
  return within;
}

/* ---- the other process ------------------------------------------------------------------------------------------- */

/* Owns the target until the parent is gone. */
static _Noreturn void own_target(int socket) {
  hmc_context_t *context;
  hmc_region_t *region;
  uint16_t port;
  char byte;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  must(hmc_context_create(NULL, &context), "the target's context");
  must(hmc_context_listen(context, "127.0.0.1", 0, &port), "listening");
  must(hmc_region_allocate(context, device, bytes, "target", HMC_REMOTE_ALL, &region), "the target's region");
  if (write(socket, &port, sizeof port) != sizeof port) exit(1);
  if (read(socket, &byte, 1) < 0) exit(1);
  hmc_region_close(region);
  hmc_context_destroy(context);
  exit(0);
}

static double time_put(hmc_region_t *local, hmc_remote_t *remote, uint64_t size) {
  double least = 0;
  for (int i = 0; i < ROUNDS; i++) {
    double start = now();
    must(hmc_put(local, 0, remote, 0, size), "hmc_put");
    keep_least(&least, start);
  }
  return least;
}

/* A list of pieces against one put of as many bytes. */
static void compare_list(const char *name, hmc_region_t *local, hmc_remote_t *remote, const hmc_segment_t *pieces,
                         size_t count, double wanted) {
  hmc_batch_t *batch;
  double list = 0, whole = 0;
  must(hmc_batch_create(local, remote, pieces, count, &batch), "hmc_batch_create");
  uint64_t size = hmc_batch_size(batch);
  for (int i = 0; i < ROUNDS; i++) {
    double start = now();
    must(hmc_batch_put(batch), "hmc_batch_put");
    keep_least(&list, start);
    start = now();
    must(hmc_put(local, 0, remote, 0, size), "hmc_put");
    keep_least(&whole, start);
  }
  hmc_batch_free(batch);
  show(name, list, size, whole, wanted);
}

/* Pieces at even distances, here and there in another order, so that no two of them join. */
static void lists(hmc_region_t *local, hmc_remote_t *remote) {
  static hmc_segment_t pieces[BLOCKS];
  for (int i = 0; i < 2 * KV; i++) {
    uint64_t place = (uint64_t)i * 2 * KV_LARGE, other = (uint64_t)(i * 53 % (2 * KV)) * 2 * KV_LARGE;
    pieces[i] = (hmc_segment_t){place, other, i % 2 ? KV_SMALL : KV_LARGE};
  }
  compare_list("put_kv", local, remote, pieces, 2 * KV, 0.9);
  for (int i = 0; i < BLOCKS; i++) {
    pieces[i] = (hmc_segment_t){(uint64_t)i * 2 * BLOCK, (uint64_t)(i * 1021 % BLOCKS) * 2 * BLOCK, BLOCK};
  }
  compare_list("put_4k", local, remote, pieces, BLOCKS, 0.6);
}

static int compare_times(const void *one, const void *other) {
  double a = *(const double *)one, b = *(const double *)other;
  return (a > b) - (a < b);
}

static void small_puts(hmc_region_t *local, hmc_remote_t *remote) {
  static double times[PUTS];
  for (int i = 0; i < 100; i++) must(hmc_put(local, 0, remote, 0, 8), "hmc_put");
  for (int i = 0; i < PUTS; i++) {
    double start = now();
    must(hmc_put(local, 0, remote, 0, 8), "hmc_put");
    times[i] = now() - start;
  }
  qsort(times, PUTS, sizeof *times, compare_times);
  double each = times[PUTS / 2] * 1e6;
  printf("%-9s %9.2f us                          wanted 8.00%s\n", "put_8", each, each > 8 ? " MISSED" : "");
}

static void between_processes(int socket, double within) {
  hmc_context_t *context;
  hmc_region_t *local;
  hmc_remote_t *remote;
  hmc_peer_t *peer;
  uint16_t port;
  char text[4096];
  if (read(socket, &port, sizeof port) != sizeof port) give_up("the other process did not start");
  must(hmc_context_create(NULL, &context), "a context");
  must(hmc_context_connect(context, "127.0.0.1", port, HMC_CONNECTION_AUTO, 0, &peer), "connecting");
  must(hmc_remote_open(peer, "target", 0, &remote), "opening the target");
  must(hmc_region_allocate(context, device, bytes, NULL, 0, &local), "a region");
  show("put_d2d", time_put(local, remote, bytes), bytes, within, 0.97);
  lists(local, remote);
  small_puts(local, remote);
  must(hmc_peer_explain(peer, text, sizeof text, NULL), "explaining");
  printf("\n%s\n", text);
  hmc_remote_close(remote);
  hmc_peer_close(peer);
  hmc_region_close(local);
  hmc_context_destroy(context);
}

int main(int count, char **arguments) {
  int sockets[2], status = 1;
  if (count > 1) must(hmc_memory_kind_parse(arguments[1], &device.kind), "the kind of memory");
  if (count > 2) bytes = strtoull(arguments[2], NULL, 10) << 20;
  if (bytes < UINT64_C(64) << 20) bytes = UINT64_C(64) << 20;
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) return 1;
  pid_t owner = fork();
  if (owner == 0) {
    close(sockets[0]);
    own_target(sockets[1]);
  }
  close(sockets[1]);
  hmc_memory_properties_t properties = HMC_MEMORY_PROPERTIES_INIT;
  must(hmc_memory_get_properties(device, &properties), "the device");
  printf("%s, %s; %llu MiB; HMC %s\n\n%-9s %14s %14s\n", properties.name, properties.driver,
         (unsigned long long)(bytes >> 20), hmc_version_text(), "", "HMC", "beside");
  between_processes(sockets[0], copies());
  close(sockets[0]);
  waitpid(owner, &status, 0);
  return status == 0 ? 0 : 1;
}
