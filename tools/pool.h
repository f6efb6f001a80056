/* hmc-perf pool: measures copies of SMEM's pool, in every direction by the names of the pool's own benchmark: H and D are
 * this member's host and device part, RH and RD another's.
 *
 * perf_pool.c is the command line and the members; perf_pool_run.c measures a direction. A world of two is forked here,
 * or each member is started by hand, on any host, with --store, --world and --rank. Member 0 measures against member 1;
 * the others wait. */
#ifndef HMC_TOOL_POOL_H
#define HMC_TOOL_POOL_H

#include "tool.h"

#include <smem/host/smem_bm.h>
#include <smem/host/smem_shm.h>

enum { POOL_TYPES = 10, POOL_KV_BLOCKS = 122, POOL_BATCH_MOST = 65536 };

typedef struct pool_options {
  bool types[POOL_TYPES];
  uint64_t bytes, batch; /* of a piece; pieces of a copy */
  bool kv;               /* the block list of a KV cache instead: 61 of 128 KiB and 61 of 16 KiB */
  uint64_t iterations;   /* 0: go by `seconds` */
  double seconds;
  bool verify, compare, json;
  int op; /* smem_bm_data_op_type */
  const char *store;
  uint64_t world, rank;
} pool_options_t;

typedef struct pool_result {
  uint64_t bytes, iterations;
  double median_us, gbytes_per_second;
  double put_us; /* the same bytes by hmc_put or a batch, in turns with the copies; 0: not asked, or there is none */
  double of_hmc; /* its time over the copy's, of each turn, in which the machine is equally fast for both; the median */
  bool is_verified;
} pool_result_t;

/* What the measuring member has. */
typedef struct pool {
  const pool_options_t *options;
  smem_bm_t handle;
  char *part[4]; /* H, D, RH, RD */
  uint64_t part_bytes;
  hmc_peer_t *peer; /* for --compare: the other member by HMC itself */
  hmc_context_t *context;
  hmc_region_t *local[2];  /* host and device memory, as large as a part */
  hmc_remote_t *remote[2]; /* the same at the other member */
} pool_t;

const char *pool_type_name(unsigned type);
/* The type of that name, in any case; POOL_TYPES: none. */
unsigned pool_type_of(const char *name, size_t length);

/* The bytes that the parts need. */
uint64_t pool_part_bytes(const pool_options_t *options);

/* Measures one direction. False, with a text as of tool_fail: a copy failed, or brought other bytes. */
bool pool_measure(pool_t *pool, unsigned type, pool_result_t *result);

/* The program; what follows the word "pool". */
int pool_main(int count, char **arguments);

#endif
