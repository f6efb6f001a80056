/* A program as those of SHMEM for Ascend: started by address, by unique id or by the launcher; old and new names. */
#include <shmem.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      std::fprintf(stderr, "%s:%d: PE %d: %s\n", __FILE__, __LINE__, aclshmem_my_pe(), #condition);                    \
      aclshmem_global_exit(1);                                                                                         \
    }                                                                                                                  \
  } while (0)

static const uint64_t MEMORY = 64UL << 20;

static aclshmemx_init_attr_t attributes_of(int pe, int n, const char *address) {
  aclshmemx_init_attr_t attributes = {pe, n, "", MEMORY, {0, ACLSHMEM_DATA_OP_MTE, 120, 120, 120}};
  std::snprintf(attributes.ip_port, sizeof attributes.ip_port, "%s", address);
  return attributes;
}

static void test_refusals() {
  CHECK(aclshmemx_init_status() == ACLSHMEM_STATUS_NOT_INITIALIZED);
  CHECK(aclshmem_malloc(8) == nullptr);
  CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, nullptr) == ACLSHMEM_INVALID_PARAM);
  aclshmemx_init_attr_t bad = attributes_of(-1, 2, "");
  CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &bad) == ACLSHMEM_INVALID_VALUE);
  bad = attributes_of(2, 2, "tcp://127.0.0.1:8666");
  CHECK(shmem_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &bad) == ACLSHMEM_INVALID_PARAM);
  bad = attributes_of(0, 16385, "");
  CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &bad) == ACLSHMEM_INVALID_VALUE);
  bad = attributes_of(0, 1, "");
  bad.local_mem_size = 0;
  CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &bad) == ACLSHMEM_INVALID_VALUE);
  bad.local_mem_size = (40UL << 30) + 1;
  CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &bad) == ACLSHMEM_INVALID_VALUE);
  CHECK(shmem_init_status() == ACLSHMEM_STATUS_NOT_INITIALIZED);
  CHECK(shmem_set_conf_store_tls(true, NULL, 0) == 0 && aclshmemx_set_log_level(-1) == 0);
}

static void test_heap() {
  CHECK(aclshmem_malloc(0) == nullptr && aclshmem_malloc(MEMORY + 1) == nullptr);
  void *all = aclshmem_malloc(MEMORY);
  CHECK(all && all == aclshmemx_get_heap_base());
  aclshmem_free(all);
  aclshmem_free(all); /* twice: nothing happens */
  CHECK(aclshmem_align(3, 8) == nullptr);
  void *block = aclshmemx_align(4096, 10, HOST_SIDE);
  CHECK(block && reinterpret_cast<uintptr_t>(block) % 4096 == 0);
  CHECK(aclshmem_ptr(block, 0) != nullptr);
  aclshmemx_free(block, HOST_SIDE);
  char *zeroed = static_cast<char *>(aclshmem_calloc(10, 3));
  for (int i = 0; i < 30; i++) CHECK(zeroed[i] == 0);
  aclshmem_free(zeroed);
}

static void test_teams() {
  int n = aclshmem_n_pes(), me = aclshmem_my_pe();
  aclshmem_team_t even, row, column;
  CHECK(aclshmem_team_split_strided(ACLSHMEM_TEAM_WORLD, 0, 2, (n + 1) / 2, &even) == 0);
  CHECK((even != ACLSHMEM_TEAM_INVALID) == (me % 2 == 0));
  if (even != ACLSHMEM_TEAM_INVALID) {
    CHECK(aclshmem_team_my_pe(even) == me / 2 && aclshmem_team_n_pes(even) == (n + 1) / 2);
    aclshmem_team_config_t config;
    CHECK(aclshmem_team_get_config(even, &config) == 0 && config.num_contexts == 0);
    aclshmem_barrier(even);
    shmem_sync(even);
    aclshmem_team_destroy(even);
  }
  CHECK(aclshmem_team_split_strided(ACLSHMEM_TEAM_WORLD, 0, 0, 1, &even) == ACLSHMEM_INVALID_PARAM);
  CHECK(even == ACLSHMEM_TEAM_INVALID);
  CHECK(shmem_team_split_2d(ACLSHMEM_TEAM_WORLD, 2, &row, &column) == 0);
  CHECK(aclshmem_team_translate_pe(row, aclshmem_team_my_pe(row), ACLSHMEM_TEAM_WORLD) == me);
  aclshmem_team_destroy(row);
  aclshmem_team_destroy(column);
  CHECK(aclshmem_team_n_pes(ACLSHMEM_TEAM_INVALID) == -1);
}

template <typename T> static T *fresh(size_t count) {
  T *block = static_cast<T *>(aclshmem_calloc(count, sizeof(T)));
  CHECK(block != nullptr);
  return block;
}

#define TEST_TYPE(NAME, TYPE)                                                                                          \
  static void test_##NAME() {                                                                                          \
    int n = aclshmem_n_pes(), me = aclshmem_my_pe(), next = (me + 1) % n, before = (me + n - 1) % n;                   \
    TYPE *heap = fresh<TYPE>(16), mine[16];                                                                            \
    for (int i = 0; i < 16; i++) mine[i] = static_cast<TYPE>(me * 10 + i);                                             \
    aclshmem_##NAME##_put(heap, mine, 8, next);                                                                        \
    aclshmem_put_##NAME##_mem_nbi(heap + 8, mine + 8, 8, next);                                                        \
    aclshmem_barrier_all();                                                                                            \
    for (int i = 0; i < 16; i++) CHECK(heap[i] == static_cast<TYPE>(before * 10 + i));                                 \
    TYPE got[16];                                                                                                      \
    shmem_get_##NAME##_mem(got, heap, 16, next);                                                                       \
    for (int i = 0; i < 16; i++) CHECK(got[i] == static_cast<TYPE>(me * 10 + i));                                      \
    CHECK(aclshmem_##NAME##_g(heap + 3, next) == static_cast<TYPE>(me * 10 + 3));                                      \
    aclshmem_barrier_all();                                                                                            \
    aclshmem_##NAME##_p(heap + 3, static_cast<TYPE>(7), next);                                                         \
    aclshmem_##NAME##_iput(heap + 4, mine, 2, 1, 4, next);                                                             \
    aclshmem_barrier_all();                                                                                            \
    CHECK(heap[3] == static_cast<TYPE>(7) && heap[10] == static_cast<TYPE>(before * 10 + 3));                          \
    aclshmem_##NAME##_iget(got, heap + 4, 1, 2, 4, me);                                                                \
    CHECK(got[2] == static_cast<TYPE>(before * 10 + 2));                                                               \
    int32_t *word = fresh<int32_t>(2);                                                                                 \
    aclshmem_##NAME##_put_signal(heap, mine, 4, word, 5, ACLSHMEM_SIGNAL_SET, next);                                   \
    aclshmem_signal_wait_until(word, ACLSHMEM_CMP_GE, 5);                                                              \
    CHECK(heap[3] == static_cast<TYPE>(before * 10 + 3) && word[1] == 0); /* four bytes, not eight */                  \
    aclshmem_put_##NAME##_mem_signal(heap, mine, 4, reinterpret_cast<uint8_t *>(word), 2, ACLSHMEM_SIGNAL_ADD, next);  \
    shmem_signal_wait_until(word, ACLSHMEM_CMP_EQ, 7);                                                                 \
    aclshmem_barrier_all();                                                                                            \
    aclshmem_free(word);                                                                                               \
    aclshmem_free(heap);                                                                                               \
  }
HMC_SHMEM_ASCEND_TYPES(TEST_TYPE)

#define TEST_WAIT(NAME, TYPE)                                                                                          \
  static void test_wait_##NAME() {                                                                                     \
    int n = aclshmem_n_pes(), me = aclshmem_my_pe(), next = (me + 1) % n, holds = -1;                                  \
    TYPE *words = fresh<TYPE>(4), wanted[4] = {1, 2, 3, 4};                                                            \
    size_t found = 9, places[4];                                                                                       \
    aclshmem_##NAME##_test(words, ACLSHMEM_CMP_EQ, 1, &holds);                                                         \
    CHECK(holds == 0);                                                                                                 \
    aclshmem_##NAME##_test_any(words, 4, nullptr, ACLSHMEM_CMP_EQ, 1, &found);                                         \
    CHECK(found == SIZE_MAX);                                                                                          \
    aclshmem_barrier_all();                                                                                            \
    aclshmem_##NAME##_p(words + 2, 3, next);                                                                           \
    aclshmem_##NAME##_wait_until_any(words, 4, nullptr, ACLSHMEM_CMP_EQ, 3, &found);                                   \
    CHECK(found == 2);                                                                                                 \
    aclshmem_##NAME##_wait_until_some_vector(words, 4, places, nullptr, ACLSHMEM_CMP_EQ, wanted, &found);              \
    CHECK(found == 1 && places[0] == 2);                                                                               \
    aclshmem_##NAME##_wait(words + 2, 0);                                                                              \
    aclshmem_barrier_all();                                                                                            \
    aclshmem_##NAME##_put(words, wanted, 4, next);                                                                     \
    aclshmem_##NAME##_wait_until_all_vector(words, 4, nullptr, ACLSHMEM_CMP_EQ, wanted);                               \
    aclshmem_##NAME##_test_all_vector(words, 4, nullptr, ACLSHMEM_CMP_GE, wanted, &holds);                             \
    CHECK(holds == 1);                                                                                                 \
    aclshmem_##NAME##_wait_until_all(words, 4, nullptr, ACLSHMEM_CMP_GT, 0);                                           \
    aclshmem_##NAME##_wait_until_some(words, 4, places, nullptr, ACLSHMEM_CMP_LE, 2, &found);                          \
    CHECK(found == 2);                                                                                                 \
    aclshmem_##NAME##_test_some(words, 4, places, nullptr, ACLSHMEM_CMP_LT, 2, &found);                                \
    CHECK(found == 1);                                                                                                 \
    aclshmem_barrier_all();                                                                                            \
    aclshmem_free(words);                                                                                              \
  }

HMC_SHMEM_ASCEND_WAIT_TYPES(TEST_WAIT)

static void test_streams() {
  int n = aclshmem_n_pes(), me = aclshmem_my_pe(), next = (me + 1) % n, before = (me + n - 1) % n;
  char *heap = fresh<char>(32), mine[8];
  std::memset(mine, me + 1, sizeof mine);
  aclshmemx_putmem_on_stream(heap, mine, 8, next, nullptr);
  aclshmemx_barrier_all_on_stream(nullptr);
  for (int i = 0; i < 8; i++) CHECK(heap[i] == before + 1);
  aclshmemx_getmem_on_stream(mine, heap, 8, next, nullptr);
  for (int i = 0; i < 8; i++) CHECK(mine[i] == me + 1);
  int32_t *word = reinterpret_cast<int32_t *>(heap + 16);
  aclshmemx_signal_op_on_stream(word, 3, ACLSHMEM_SIGNAL_SET, next, nullptr);
  aclshmemx_signal_wait_until_on_stream(word, ACLSHMEM_CMP_GE, 3, nullptr);
  aclshmemx_putmem_signal(heap, mine, 8, word, 4, ACLSHMEM_SIGNAL_ADD, next);
  aclshmem_signal_wait_until(word, ACLSHMEM_CMP_EQ, 7);
  aclshmemx_handle_wait(aclshmem_handle_t{ACLSHMEM_TEAM_WORLD}, nullptr);
  aclshmemx_barrier_on_stream(ACLSHMEM_TEAM_WORLD, nullptr);
  aclshmemx_quiet_on_stream(nullptr);
  aclshmem_put32(heap, mine, 2, next);
  aclshmem_barrier_all();
  aclshmem_free(heap);
}

static void test_info() {
  char name[ACLSHMEM_MAX_NAME_LEN];
  int major = 0, minor = 0;
  aclshmem_info_get_name(name);
  aclshmem_info_get_version(&major, &minor);
  aclshmem_info_get_name(nullptr);
  CHECK(std::string(name) == "ACLSHMEM v1.1.1" && major == 1 && minor == 1);
  CHECK(aclshmemx_instance_ctx_get()->id == 0 && aclshmemx_instance_ctx_set(1) == ACLSHMEM_NOT_SUPPORTED);
  aclshmemx_init_attr_t again = attributes_of(0, 1, "");
  CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &again) == ACLSHMEM_INNER_ERROR);
  CHECK(shmem_set_conf_store_tls(false, NULL, 0) != 0); /* too late */
}

/* With a device heap the sides differ, and the host must not touch what lies on the device's. */
static void test_sides() {
  int n = aclshmem_n_pes(), me = aclshmem_my_pe(), next = (me + 1) % n, before = (me + n - 1) % n;
  long *device = static_cast<long *>(aclshmem_malloc(64)), *host = static_cast<long *>(aclshmemx_malloc(64, HOST_SIDE));
  CHECK(shmemx_space_of(device) == SHMEMX_SPACE_DEVICE && device == aclshmemx_get_heap_base());
  CHECK(shmemx_space_of(host) == SHMEMX_SPACE_HOST && host == aclshmemx_get_heap_base(HOST_SIDE));
  int32_t *word = static_cast<int32_t *>(aclshmemx_calloc(1, 4, DEVICE_SIDE));
  int64_t mine[8], got[8];
  for (int i = 0; i < 8; i++) mine[i] = me * 10 + i;
  int64_t *at = reinterpret_cast<int64_t *>(device);
  aclshmem_int64_put(at, mine, 8, next);
  aclshmem_barrier_all();
  aclshmem_getmem(host, device, 64, me);
  for (int i = 0; i < 8; i++) CHECK(host[i] == before * 10 + i);
  CHECK(aclshmem_int64_g(at + 5, next) == me * 10 + 5);
  aclshmem_barrier_all();
  aclshmem_int64_put_signal(at, mine + 4, 4, word, 3, ACLSHMEM_SIGNAL_SET, next);
  aclshmem_signal_wait_until(word, ACLSHMEM_CMP_EQ, 3);
  int holds = 0;
  aclshmem_int32_test(word, ACLSHMEM_CMP_GT, 2, &holds);
  CHECK(holds);
  aclshmem_int64_get(got, at, 4, me);
  CHECK(got[0] == before * 10 + 4 && got[3] == before * 10 + 7);
  void *aligned = aclshmem_align(4096, 8);
  CHECK(shmemx_space_of(aligned) == SHMEMX_SPACE_DEVICE && reinterpret_cast<uintptr_t>(aligned) % 4096 == 0);
  aclshmem_free(aligned);
  aclshmem_free(word);
  aclshmemx_free(host, HOST_SIDE);
  aclshmemx_free(device);
  CHECK(aclshmem_finalize() == 0);
}

static void run_all() {
  CHECK(aclshmemx_init_status() == ACLSHMEM_STATUS_IS_INITIALIZED);
  test_heap();
  test_teams();
#define RUN(NAME, TYPE) test_##NAME();
  HMC_SHMEM_ASCEND_TYPES(RUN)
#define RUN_WAIT(NAME, TYPE) test_wait_##NAME();
  HMC_SHMEM_ASCEND_WAIT_TYPES(RUN_WAIT)
  test_streams();
  test_info();
  CHECK(aclshmem_finalize() == 0 && shmem_init_status() == ACLSHMEM_STATUS_NOT_INITIALIZED);
}

/* The id travels through a file here; programs bring it by MPI_Bcast. */
static aclshmemx_uniqueid_t exchange_id(int pe, const char *path) {
  aclshmemx_uniqueid_t uid = ACLSHMEM_UNIQUEID_INITIALIZER;
  std::string complete = std::string(path) + ".id";
  if (pe == 0) {
    CHECK(aclshmemx_get_uniqueid(&uid) == 0);
    std::FILE *file = std::fopen(path, "wb");
    CHECK(file && std::fwrite(&uid, sizeof uid, 1, file) == 1 && std::fclose(file) == 0);
    CHECK(std::rename(path, complete.c_str()) == 0);
    return uid;
  }
  std::FILE *file;
  while (!(file = std::fopen(complete.c_str(), "rb"))) shmem_set_log_level(-1);
  CHECK(std::fread(&uid, sizeof uid, 1, file) == 1);
  std::fclose(file);
  return uid;
}

/* The password is written backwards. */
static int read_backwards(const char *cipher, size_t size, char *plain, size_t &plain_size) {
  if (size >= plain_size) return 1;
  for (size_t i = 0; i < size; i++) plain[i] = cipher[size - 1 - i];
  plain_size = size;
  return 0;
}

/* TLS=FOLDER: there are ca.pem, own.pem and the key with a password in own.key. */
static void set_certificates(const char *folder) {
  std::string info = "tlsCaPath: " + std::string(folder) + ";tlsCaFile: ca.pem;tlsCert: " + folder + "/own.pem;";
  CHECK(aclshmemx_set_conf_store_tls(true, "tlsCert: here;", 14) == ACLSHMEM_INVALID_PARAM);
  CHECK(aclshmemx_set_conf_store_tls(true, info.c_str(), (uint32_t)info.size()) == 0);
  std::ifstream file(std::string(folder) + "/own.key");
  std::string key((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  CHECK(!key.empty());
  CHECK(aclshmemx_set_config_store_tls_key(key.c_str(), (uint32_t)key.size(), "terces", 6, read_backwards) == 0);
}

/* usage: ascend launcher | device | uid PE N FILE | address PE N tcp://IP:PORT */
int main(int argc, char **argv) {
  std::string way = argc > 1 ? argv[1] : "launcher";
  int pe = argc > 2 ? std::atoi(argv[2]) : 0, n = argc > 3 ? std::atoi(argv[3]) : 1;
  test_refusals();
  if (std::getenv("TLS")) set_certificates(std::getenv("TLS"));
  if (way == "device") CHECK(shmemx_set_device_heap(MEMORY, "sim") == 0);
  if (way == "uid") {
    aclshmemx_uniqueid_t uid = exchange_id(pe, argv[4]);
    aclshmemx_init_attr_t attributes;
    CHECK(aclshmemx_set_attr_uniqueid_args(pe, n, MEMORY, &uid, &attributes) == 0);
    CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_UNIQUEID, &attributes) == 0);
  } else if (way == "address") {
    aclshmemx_init_attr_t attributes = attributes_of(pe, n, argv[4]);
    CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_DEFAULT, &attributes) == 0);
  } else {
    const char *rank = std::getenv("HMC_JOB_RANK"), *size = std::getenv("HMC_JOB_SIZE");
    aclshmemx_init_attr_t attributes = attributes_of(rank ? std::atoi(rank) : 0, size ? std::atoi(size) : 1, "");
    CHECK(aclshmemx_init_attr(ACLSHMEMX_INIT_WITH_MPI, &attributes) == 0);
  }
  CHECK(way == "launcher" || way == "device" || (aclshmem_my_pe() == pe && aclshmem_n_pes() == n));
  if (way == "device") {
    test_sides();
  } else {
    run_all();
  }
  std::puts("passed");
  return 0;
}
