/* Types of TRANS (smem_trans.h). */
#ifndef SMEM_TRANS_DEF_H
#define SMEM_TRANS_DEF_H

#include "smem_bm_def.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef void *smem_trans_t;

/* Senders reach the memory of receivers, and receivers that of senders; BOTH both. */
typedef enum {
  SMEM_TRANS_NONE = 0,
  SMEM_TRANS_SENDER = 1,
  SMEM_TRANS_RECEIVER = 2,
  SMEM_TRANS_BOTH = 3,
  SMEM_TRANS_BUTT
} smem_trans_role_t;

typedef struct {
  smem_trans_role_t role;
  uint32_t initTimeout; /* seconds, of create and of every operation */
  uint32_t deviceId;
  uint32_t flags;
  smem_bm_data_op_type dataOpType;
  bool startConfigServer;
} smem_trans_config_t;

#ifdef __cplusplus
}
#endif

#endif
