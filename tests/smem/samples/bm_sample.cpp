// A program of the first generation as its users write them, over the vendor's runtime: processes that fork first, an
// automatic or a given rank, device memory of their own, a pool of device memory, and a barrier by SHM on the same store.
//
// usage: bm_sample WORLD LOCAL FIRST tcp://IP:PORT [AUTO]
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "acl/acl.h"
#include "smem.h"
#include "smem_bm.h"
#include "smem_shm.h"

static const uint64_t poolBytes = 64ULL << 20;
static const size_t copyBytes = 4096;
static const size_t rows = 2;

#define OR_RETURN(call)                                                                                                \
  do {                                                                                                                 \
    int returned = static_cast<int>(call);                                                                             \
    if (returned != 0) {                                                                                               \
      std::fprintf(stderr, "rank %u: %s: %d %s\n", rank, #call, returned, smem_get_last_err_msg());                    \
      return returned;                                                                                                 \
    }                                                                                                                  \
  } while (0)

class Barrier {
public:
  int Init(uint32_t rank, uint32_t world, const std::string &url) {
    smem_shm_config_t config;
    smem_shm_config_init(&config);
    config.startConfigStore = false;
    OR_RETURN(smem_shm_init(url.c_str(), world, rank, static_cast<uint16_t>(rank), &config));
    void *base = nullptr;
    object = smem_shm_create(0, world, rank, 2ULL << 20, SMEMS_DATA_OP_MTE, 0, &base);
    return object == nullptr;
  }
  int Wait() { return smem_shm_control_barrier(object); }
  ~Barrier() {
    smem_shm_destroy(object, 0);
    smem_shm_uninit(0);
  }

private:
  smem_shm_t object = nullptr;
};

static std::vector<int32_t> Numbers(uint32_t rank, size_t count) {
  std::vector<int32_t> numbers(count);
  int32_t base = static_cast<int32_t>(rank);
  for (size_t i = 0; i < count; i++) {
    base = (base * 23 + 17) % INT16_MAX;
    numbers[i] = (i + rank) % 3 == 0 ? -base : base;
  }
  return numbers;
}

static int Copy(Barrier &barrier, smem_bm_t pool, void *gva, uint32_t rank, uint32_t world) {
  const size_t bytes = copyBytes * rows;
  std::vector<int32_t> mine = Numbers(rank, bytes / 4), before = Numbers((rank + world - 1) % world, bytes / 4);
  std::vector<int32_t> got(bytes / 4);
  char *remote = static_cast<char *>(smem_bm_ptr(pool, static_cast<uint16_t>((rank + 1) % world)));
  void *device = nullptr;
  OR_RETURN(aclrtMalloc(&device, bytes, ACL_MEM_MALLOC_HUGE_FIRST));
  OR_RETURN(aclrtMemcpy(device, bytes, mine.data(), bytes, ACL_MEMCPY_HOST_TO_DEVICE));
  OR_RETURN(smem_bm_copy(pool, mine.data(), remote, copyBytes, SMEMB_COPY_H2G, 0));
  OR_RETURN(smem_bm_copy(pool, device, remote + copyBytes, copyBytes, SMEMB_COPY_L2G, 0));
  OR_RETURN(smem_bm_copy_2d(pool, mine.data(), copyBytes, remote + 4 * copyBytes, 2 * copyBytes, copyBytes, rows,
                            SMEMB_COPY_H2G, 0));
  OR_RETURN(smem_bm_copy_2d(pool, device, copyBytes, remote + 8 * copyBytes, 2 * copyBytes, copyBytes, rows,
                            SMEMB_COPY_L2G, 0));
  OR_RETURN(barrier.Wait());
  char *own = static_cast<char *>(gva);
  OR_RETURN(smem_bm_copy(pool, own, got.data(), copyBytes, SMEMB_COPY_G2H, 0));
  OR_RETURN(!std::equal(got.begin(), got.begin() + copyBytes / 4, before.begin()));
  OR_RETURN(smem_bm_copy(pool, own + copyBytes, device, copyBytes, SMEMB_COPY_G2L, 0));
  OR_RETURN(aclrtMemcpy(got.data(), bytes, device, copyBytes, ACL_MEMCPY_DEVICE_TO_HOST));
  OR_RETURN(!std::equal(got.begin(), got.begin() + copyBytes / 4, before.begin()));
  OR_RETURN(smem_bm_copy_2d(pool, own + 4 * copyBytes, 2 * copyBytes, got.data(), copyBytes, copyBytes, rows,
                            SMEMB_COPY_G2H, 0));
  OR_RETURN(got != before);
  OR_RETURN(
      smem_bm_copy_2d(pool, own + 8 * copyBytes, 2 * copyBytes, device, copyBytes, copyBytes, rows, SMEMB_COPY_G2L, 0));
  OR_RETURN(aclrtMemcpy(got.data(), bytes, device, bytes, ACL_MEMCPY_DEVICE_TO_HOST));
  OR_RETURN(got != before);
  OR_RETURN(barrier.Wait());
  OR_RETURN(aclrtFree(device));
  return 0;
}

static int Run(uint32_t device, uint32_t rank, uint32_t world, const std::string &url, bool isAutomatic) {
  aclrtStream stream = nullptr;
  OR_RETURN(aclInit(nullptr));
  OR_RETURN(aclrtSetDevice(static_cast<int32_t>(device)));
  OR_RETURN(aclrtCreateStream(&stream));
  OR_RETURN(smem_init(0));
  smem_bm_config_t config;
  (void)smem_bm_config_init(&config);
  if (isAutomatic) {
    config.autoRanking = true;
  } else {
    config.rankId = static_cast<uint16_t>(rank);
  }
  OR_RETURN(smem_bm_init(url.c_str(), world, static_cast<uint16_t>(device), &config));
  rank = smem_bm_get_rank_id();
  auto *barrier = new Barrier;
  OR_RETURN(barrier->Init(rank, world, url));
  smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, 0, poolBytes, 0);
  OR_RETURN(pool == nullptr);
  void *gva = nullptr;
  OR_RETURN(smem_bm_join(pool, 0, &gva));
  OR_RETURN(barrier->Wait());
  OR_RETURN(Copy(*barrier, pool, gva, rank, world));
  smem_bm_destroy(pool);
  OR_RETURN(barrier->Wait());
  delete barrier;
  smem_bm_uninit(0);
  aclrtDestroyStream(&stream); // the address of the handle, as programs are known to give it: an error, and no crash
  OR_RETURN(aclrtResetDevice(static_cast<int32_t>(device)));
  OR_RETURN(aclFinalize());
  std::printf("rank %u: all copies are right\n", rank);
  return 0;
}

int main(int count, char **arguments) {
  if (count < 5) {
    return 2;
  }
  uint32_t world = static_cast<uint32_t>(std::atoi(arguments[1])),
           local = static_cast<uint32_t>(std::atoi(arguments[2]));
  uint32_t first = static_cast<uint32_t>(std::atoi(arguments[3]));
  bool isAutomatic = count > 5 && std::atoi(arguments[5]) != 0;
  std::vector<pid_t> children;
  for (uint32_t i = 0; i < local; i++) {
    pid_t child = fork();
    if (child == 0) {
      int code = Run(i, first + i, world, arguments[4], isAutomatic);
      std::fflush(nullptr);
      _exit(code != 0);
    }
    children.push_back(child);
  }
  int bad = 0;
  for (pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    bad |= status;
  }
  return bad != 0;
}
