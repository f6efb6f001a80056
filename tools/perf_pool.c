/* hmc-perf pool: the command line and the members (see pool.h). */
#include "options.h"
#include "pool.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGION "hmc-perf pool"

enum { OPTION_STORE = 256, OPTION_WORLD, OPTION_RANK, NO_RANK = 1 << 20, PATIENCE_S = 60 };

static const tool_option_t options_table[] = {
    {'t', "type", "LIST", "all H2D D2H H2RD H2RH D2RH D2RD RH2D RH2H RD2D RD2H",
     "all, or of H2D D2H H2RD H2RH D2RH D2RD RH2D RH2H RD2D RD2H, with commas (all)"},
    {'s', "size", "SIZE", NULL, "bytes of a piece (1M)"},
    {'b', "batch", "N", NULL, "pieces of one copy (1)"},
    {'k', "kv", NULL, NULL, "the block list of a KV cache: 61 pieces of 128 KiB and 61 of 16 KiB, in turns"},
    {'o', "op", "OP", "auto tcp rdma", "how members may reach each other: auto, tcp or rdma (auto)"},
    {'n', "iterations", "N", NULL, "copies of each type, instead of --seconds"},
    {'d', "seconds", "S", NULL, "seconds for each type (0.5)"},
    {'c', "compare", NULL, NULL,
     "move the same bytes by HMC's own calls as well, in turns with the copies, and print the ratio: above 1 the pool "
     "is faster (two members here)"},
    {'v', "verify", NULL, NULL, "check the bytes afterwards"},
    {'f', "format", "FORMAT", "text json", "text or json, one object per line (text)"},
    {0, NULL, NULL, NULL, "Members that are started by hand"},
    {OPTION_STORE, "store", "URL", NULL, "the store they meet in, tcp://IP:PORT; member 0 serves it"},
    {OPTION_WORLD, "world", "N", NULL, "how many members there are (2)"},
    {OPTION_RANK, "rank", "N", NULL, "which one this is; member 0 measures against member 1, the others wait"},
    {0, NULL, NULL, NULL, "About this program"},
    {0, NULL, NULL, NULL, NULL},
};

static const tool_section_t sections[] = {
    {"SEE ALSO", NULL, "hmc-perf(1)"},
    {NULL, NULL, NULL},
};

static const tool_usage_t usage = {
    .program = "hmc-perf pool",
    .purpose = "measure copies of SMEM's pool",
    .synopses = (const char *const[]){"[OPTION]...", NULL},
    .description =
        "\nTwo members make a pool of host and device memory, and the first one measures copies between its four "
        "parts: "
        "H and D are its own host and device part, RH and RD those of the other one. Each direction is one line. Both "
        "members are forked here, with a secret made for this run, unless --store says where they meet: then each is "
        "started by hand, on any host, and all need the same secret.",
    .options = options_table,
    .examples = (const char *const[]){"hmc-perf pool", "hmc-perf pool --kv --type H2RH,RH2H --compare --op tcp",
                                      "hmc-perf pool --store tcp://10.0.0.2:4100 --rank 0  here; elsewhere:",
                                      "hmc-perf pool --store tcp://10.0.0.2:4100 --rank 1", NULL},
    .notes = "Exit status: 0 done, 1 it failed, 2 the command line is wrong.",
    .sections = sections,
};

static bool read_types(const char *text, pool_options_t *options) {
  memset(options->types, 0, sizeof(options->types));
  for (const char *at = text; *at != '\0';) {
    size_t length = strcspn(at, ",");
    unsigned type = pool_type_of(at, length);
    bool is_all = length == 3 && strncmp(at, "all", 3) == 0;
    if (type == POOL_TYPES && !is_all) {
      tool_usage_error("--type '%.*s': all, or names like H2RH and RD2D are expected", (int)length, at);
      return false;
    }
    for (unsigned i = 0; i < POOL_TYPES; i++) options->types[i] = options->types[i] || is_all || i == type;
    at += length + (at[length] == ',');
  }
  return true;
}

static bool read_op(const char *text, pool_options_t *options) {
  options->op = strcmp(text, "auto") == 0   ? SMEMB_DATA_OP_SDMA
                : strcmp(text, "tcp") == 0  ? SMEMB_DATA_OP_HOST_TCP
                : strcmp(text, "rdma") == 0 ? SMEMB_DATA_OP_HOST_RDMA
                                            : 0;
  if (options->op == 0) tool_usage_error("--op '%s': auto, tcp or rdma is expected", text);
  return options->op != 0;
}

static bool read_format(const char *text, pool_options_t *options) {
  options->json = strcmp(text, "json") == 0;
  if (!options->json && strcmp(text, "text") != 0) {
    tool_usage_error("--format '%s': text or json is expected", text);
    return false;
  }
  return true;
}

static bool read_option(int letter, const char *text, pool_options_t *options) {
  switch (letter) {
  case 't': return read_types(text, options);
  case 's': return tool_read_size("size", text, &options->bytes);
  case 'b': return tool_read_count("batch", text, 1, POOL_BATCH_MOST, &options->batch);
  case 'k': return options->kv = true;
  case 'o': return read_op(text, options);
  case 'n': return tool_read_count("iterations", text, 1, UINT32_MAX, &options->iterations);
  case 'd': return tool_read_seconds("seconds", text, &options->seconds);
  case 'c': return options->compare = true;
  case 'v': return options->verify = true;
  case 'f': return read_format(text, options);
  case OPTION_STORE: options->store = text; return true;
  case OPTION_WORLD: return tool_read_count("world", text, 2, SMEM_WORLD_SIZE_MAX, &options->world);
  default: return tool_read_count("rank", text, 0, SMEM_WORLD_SIZE_MAX - 1, &options->rank);
  }
}

/* ---- a member ---------------------------------------------------------------------------------------------------- */

static bool fail_smem(const char *what) {
  tool_fail("%s: %s", what, smem_get_last_err_msg());
  return false;
}

static bool enter(const pool_options_t *options, smem_shm_t *meeting) {
  smem_bm_config_t config;
  smem_shm_config_t shm_config;
  smem_bm_config_init(&config);
  smem_shm_config_init(&shm_config);
  config.initTimeout = shm_config.shmInitTimeout = PATIENCE_S;
  config.rankId = (uint16_t)options->rank;
  if (smem_bm_init(options->store, (uint32_t)options->world, 0, &config) != 0) return fail_smem("the pool");
  void *base;
  if (smem_shm_init(options->store, (uint32_t)options->world, (uint32_t)options->rank, 0, &shm_config) != 0) {
    return fail_smem("the meeting");
  }
  *meeting =
      smem_shm_create(0, (uint32_t)options->world, (uint32_t)options->rank, 2 << 20, SMEMS_DATA_OP_MTE, 0, &base);
  return *meeting != NULL ? true : fail_smem("the meeting");
}

/* Regions of HMC's own, like the parts; member 1 shows them, member 0 opens them. */
static bool open_beside(pool_t *pool, smem_shm_t meeting) {
  const pool_options_t *options = pool->options;
  const hmc_memory_t memories[2] = {{HMC_MEMORY_CPU, 0}, {HMC_MEMORY_SIM, 0}};
  struct {
    uint16_t port;
  } mine = {0}, all[2];
  hmc_context_options_t context_options = HMC_CONTEXT_OPTIONS_INIT;
  hmc_status_t status = hmc_context_create(&context_options, &pool->context);
  for (int kind = 0; kind < 2 && status == HMC_SUCCESS; kind++) {
    char name[HMC_REGION_NAME_SIZE];
    snprintf(name, sizeof(name), REGION "/%d", kind);
    status = hmc_region_allocate(pool->context, memories[kind], pool->part_bytes, options->rank == 1 ? name : NULL,
                                 options->rank == 1 ? HMC_REMOTE_ALL : 0, &pool->local[kind]);
  }
  if (status == HMC_SUCCESS && options->rank == 1) {
    status = hmc_context_listen(pool->context, "127.0.0.1", 0, &mine.port);
  }
  if (status == HMC_SUCCESS &&
      smem_shm_control_allgather(meeting, (const char *)&mine, sizeof(mine), (char *)all, sizeof(all)) != 0) {
    return fail_smem("the meeting");
  }
  if (status == HMC_SUCCESS && options->rank == 0) {
    hmc_connection_type_t type = options->op == SMEMB_DATA_OP_HOST_TCP    ? HMC_CONNECTION_TCP
                                 : options->op == SMEMB_DATA_OP_HOST_RDMA ? HMC_CONNECTION_RDMA
                                                                          : HMC_CONNECTION_AUTO;
    status = hmc_context_connect(pool->context, "127.0.0.1", all[1].port, type, 0, &pool->peer);
    for (int kind = 0; kind < 2 && status == HMC_SUCCESS; kind++) {
      char name[HMC_REGION_NAME_SIZE];
      snprintf(name, sizeof(name), REGION "/%d", kind);
      status = hmc_remote_open(pool->peer, name, 0, &pool->remote[kind]);
    }
  }
  if (status != HMC_SUCCESS) tool_fail_hmc("what the pool is compared with", status);
  return status == HMC_SUCCESS;
}

static int decimals(double microseconds) { return microseconds < 1 ? 4 : 2; }

static void print_result(const pool_t *pool, unsigned type, const pool_result_t *result) {
  const pool_options_t *options = pool->options;
  unsigned pieces = options->kv ? POOL_KV_BLOCKS : (unsigned)options->batch;
  if (options->json) {
    printf("{\"type\": \"%s\", \"bytes\": %llu, \"pieces\": %u, \"iterations\": %llu, \"latency_us_median\": %.5f, "
           "\"gbytes_per_second\": %.3f, \"of_hmc\": ",
           pool_type_name(type), (unsigned long long)result->bytes, pieces, (unsigned long long)result->iterations,
           result->median_us, result->gbytes_per_second);
    if (result->put_us > 0) {
      printf("%.3f", result->of_hmc);
    } else {
      printf("null");
    }
    printf(", \"verified\": %s}\n", result->is_verified ? "true" : "false");
  } else {
    printf("%-5s %12llu %7u %12.*f %9.3f", pool_type_name(type), (unsigned long long)result->bytes, pieces,
           decimals(result->median_us), result->median_us, result->gbytes_per_second);
    if (result->put_us > 0) {
      printf(" %12.*f %6.2f", decimals(result->put_us), result->put_us, result->of_hmc);
    }
    printf("%s\n", result->is_verified ? "  verified" : "");
  }
  fflush(stdout);
}

static bool measure_all(pool_t *pool) {
  const pool_options_t *options = pool->options;
  bool is_good = true;
  if (!options->json) {
    printf("%-5s %12s %7s %12s %9s%s\n", "type", "bytes", "pieces", "us (median)", "GB/s",
           options->compare ? "  us (by HMC)  ratio" : "");
  }
  for (unsigned type = 0; type < POOL_TYPES && is_good; type++) {
    pool_result_t result;
    if (options->types[type]) {
      is_good = pool_measure(pool, type, &result);
      if (is_good) print_result(pool, type, &result);
    }
  }
  return is_good;
}

static bool join(pool_t *pool, smem_shm_t meeting) {
  const pool_options_t *options = pool->options;
  pool->part_bytes = pool_part_bytes(options);
  pool->handle = smem_bm_create(0, 0, (smem_bm_data_op_type)options->op, pool->part_bytes, pool->part_bytes, 0);
  if (pool->handle == NULL || smem_bm_join(pool->handle, 0) != 0) return fail_smem("the pool");
  if (smem_shm_control_barrier(meeting) != 0) return fail_smem("the meeting");
  for (int i = 0; i < 4; i++) {
    pool->part[i] = smem_bm_ptr_by_mem_type(pool->handle, i % 2 == 0 ? SMEM_MEM_TYPE_HOST : SMEM_MEM_TYPE_DEVICE,
                                            (uint16_t)(options->rank == 0 ? (uint64_t)i / 2 : options->rank));
  }
  return !options->compare || open_beside(pool, meeting);
}

/* A member's life. One who fails ends at once, and the others' meeting fails by its deadline. */
static int be_member(const pool_options_t *options) {
  smem_shm_t meeting = NULL;
  pool_t pool = {.options = options};
  bool is_good = enter(options, &meeting) && join(&pool, meeting) && (options->rank != 0 || measure_all(&pool));
  if (is_good && smem_shm_control_barrier(meeting) != 0) is_good = fail_smem("the meeting");
  hmc_context_destroy(pool.context);
  if (is_good) {
    smem_bm_destroy(pool.handle);
    (void)smem_shm_control_barrier(meeting); /* who serves the store ends last */
    smem_shm_destroy(meeting, 0);
    smem_bm_uninit(0);
    smem_shm_uninit(0);
  }
  return is_good ? tool_finish_output() : TOOL_FAILED;
}

/* ---- two members here -------------------------------------------------------------------------------------------- */

/* A free port below the range that the kernel hands out for port 0 and for connections, so that no other program gets it
 * before the first member listens there. */
static bool choose_store(char url[64]) {
  for (unsigned i = 0; i < 100; i++) {
    unsigned port = 10000 + ((unsigned)getpid() * 7 + i) % 20000;
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_free = descriptor >= 0 && bind(descriptor, (struct sockaddr *)&address, sizeof(address)) == 0;
    if (descriptor >= 0) close(descriptor);
    snprintf(url, 64, "tcp://127.0.0.1:%u", port);
    if (is_free) return true;
  }
  return false;
}

static int run_both(const pool_options_t *wanted) {
  char url[64];
  pool_options_t options = *wanted;
  if (!tool_make_secret() || !choose_store(url)) return tool_fail("two members cannot be started here");
  options.store = url;
  fflush(NULL);
  pid_t parent = getpid(), other = fork();
  if (other < 0) return tool_fail("the other member cannot be started");
  if (other == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(TOOL_FAILED);
    options.rank = 1;
    int code = be_member(&options);
    fflush(NULL);
    _exit(code);
  }
  options.rank = 0;
  int code = be_member(&options), status = 0;
  if (code != TOOL_DONE) kill(other, SIGKILL);
  waitpid(other, &status, 0);
  bool is_good = WIFEXITED(status) && WEXITSTATUS(status) == TOOL_DONE;
  return code != TOOL_DONE ? code : is_good ? TOOL_DONE : tool_fail("the other member failed");
}

int pool_main(int count, char **arguments) {
  pool_options_t options = {
      .bytes = 1 << 20, .batch = 1, .seconds = 0.5, .op = SMEMB_DATA_OP_SDMA, .world = 2, .rank = NO_RANK};
  tool_begin("hmc-perf pool");
  memset(options.types, 1, sizeof(options.types));
  for (int letter; (letter = tool_options_next(&usage, count, arguments)) != TOOL_OPTIONS_END;) {
    if (letter == TOOL_OPTIONS_DONE) return tool_finish_output();
    if (letter == TOOL_OPTIONS_WRONG || !read_option(letter, optarg, &options)) return TOOL_USAGE;
  }
  if (optind < count) return tool_usage_error("what is '%s'?", arguments[optind]);
  if (options.kv && options.batch != 1) return tool_usage_error("--kv is a list by itself, without --batch");
  if ((options.store == NULL) != (options.rank == NO_RANK)) {
    return tool_usage_error("members started by hand need --store and --rank both");
  }
  if (options.store != NULL && options.rank >= options.world) {
    return tool_usage_error("--rank %llu in a --world of %llu", (unsigned long long)options.rank,
                            (unsigned long long)options.world);
  }
  if (options.store != NULL && options.compare) return tool_usage_error("--compare is for two members here");
  if (!tool_fits_host(pool_part_bytes(&options) * 8)) return TOOL_FAILED;
  return options.store != NULL ? be_member(&options) : run_both(&options);
}
