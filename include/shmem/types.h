/* Constants, handles and the type tables of SHMEM.
 *
 * Each typed family of routines comes from one of the tables HMC_SHMEM_*_TYPES: X(a, NAME, TYPE), where `a` is handed
 * through from the table's user. The tables follow those of OpenSHMEM 1.6. */
#ifndef SHMEM_TYPES_H
#define SHMEM_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SHMEM_API __attribute__((visibility("default")))
#define SHMEM_NORETURN __attribute__((noreturn))
#else
#define SHMEM_API
#define SHMEM_NORETURN
#endif

/* ---- constants --------------------------------------------------------------------------------------------------- */

#define SHMEM_MAJOR_VERSION 1
#define SHMEM_MINOR_VERSION 6
#define SHMEM_MAX_NAME_LEN 256
#define SHMEM_VENDOR_STRING "HMC SHMEM"

#define SHMEM_THREAD_SINGLE 0
#define SHMEM_THREAD_FUNNELED 1
#define SHMEM_THREAD_SERIALIZED 2
#define SHMEM_THREAD_MULTIPLE 3

#define SHMEM_TEAM_NUM_CONTEXTS 1L

#define SHMEM_CTX_SERIALIZED 1L
#define SHMEM_CTX_PRIVATE 2L
#define SHMEM_CTX_NOSTORE 4L
#define SHMEM_CTX_SESSION_TOTAL_OPS 1L
#define SHMEM_CTX_SESSION_BATCH 1L
#define SHMEM_CTX_SESSION_SAME_AMO 2L /* of drafts; a hint like the other */

#define SHMEM_SIGNAL_SET 0
#define SHMEM_SIGNAL_ADD 1

#define SHMEM_MALLOC_ATOMICS_REMOTE 1L
#define SHMEM_MALLOC_SIGNAL_REMOTE 2L

/* The comparisons of the wait and test families. */
enum shmem_cmp {
  SHMEM_CMP_EQ = 0,
  SHMEM_CMP_NE = 1,
  SHMEM_CMP_GT = 2,
  SHMEM_CMP_GE = 3,
  SHMEM_CMP_LT = 4,
  SHMEM_CMP_LE = 5,
};

#define SHMEM_SYNC_VALUE 0L
#define SHMEM_SYNC_SIZE 8
#define SHMEM_BCAST_SYNC_SIZE 8
#define SHMEM_REDUCE_SYNC_SIZE 8
#define SHMEM_BARRIER_SYNC_SIZE 8
#define SHMEM_COLLECT_SYNC_SIZE 8
#define SHMEM_ALLTOALL_SYNC_SIZE 8
#define SHMEM_ALLTOALLS_SYNC_SIZE 8
#define SHMEM_REDUCE_MIN_WRKDATA_SIZE 1

/* Deprecated spellings. */
/* NOLINTBEGIN(bugprone-reserved-identifier): the specification gives these names */
#define _SHMEM_MAJOR_VERSION SHMEM_MAJOR_VERSION
#define _SHMEM_MINOR_VERSION SHMEM_MINOR_VERSION
#define _SHMEM_MAX_NAME_LEN SHMEM_MAX_NAME_LEN
#define _SHMEM_VENDOR_STRING SHMEM_VENDOR_STRING
#define _SHMEM_CMP_EQ SHMEM_CMP_EQ
#define _SHMEM_CMP_NE SHMEM_CMP_NE
#define _SHMEM_CMP_GT SHMEM_CMP_GT
#define _SHMEM_CMP_GE SHMEM_CMP_GE
#define _SHMEM_CMP_LT SHMEM_CMP_LT
#define _SHMEM_CMP_LE SHMEM_CMP_LE
#define _SHMEM_SYNC_VALUE SHMEM_SYNC_VALUE
#define _SHMEM_SYNC_SIZE SHMEM_SYNC_SIZE
#define _SHMEM_BCAST_SYNC_SIZE SHMEM_BCAST_SYNC_SIZE
#define _SHMEM_REDUCE_SYNC_SIZE SHMEM_REDUCE_SYNC_SIZE
#define _SHMEM_BARRIER_SYNC_SIZE SHMEM_BARRIER_SYNC_SIZE
#define _SHMEM_COLLECT_SYNC_SIZE SHMEM_COLLECT_SYNC_SIZE
#define _SHMEM_ALLTOALL_SYNC_SIZE SHMEM_ALLTOALL_SYNC_SIZE
#define _SHMEM_ALLTOALLS_SYNC_SIZE SHMEM_ALLTOALLS_SYNC_SIZE
#define _SHMEM_REDUCE_MIN_WRKDATA_SIZE SHMEM_REDUCE_MIN_WRKDATA_SIZE
/* NOLINTEND(bugprone-reserved-identifier) */

/* ---- handles ----------------------------------------------------------------------------------------------------- */

/* A team. An integer, so that programs for SHMEM for Ascend compile too; handles are local to a PE. */
typedef int shmem_team_t;

#define SHMEM_TEAM_INVALID ((shmem_team_t)-1)
#define SHMEM_TEAM_WORLD ((shmem_team_t)0)
#define SHMEM_TEAM_SHARED ((shmem_team_t)1)

/* A context: an own stream of operations with its own completion and order. */
typedef struct hmc_shmem_ctx *shmem_ctx_t;

#define SHMEM_CTX_DEFAULT ((shmem_ctx_t)0)
#define SHMEM_CTX_INVALID ((shmem_ctx_t)(intptr_t)-1)

/* 64 bytes in all. OpenSHMEM knows num_contexts; the other fields are those of SHMEM for Ascend. */
typedef struct shmem_team_config_t {
  int32_t version;
  int32_t num_contexts; /* how many contexts the team is expected to make at a time */
  uint64_t uniqueid;
  char padding[48];
} shmem_team_config_t;

typedef struct shmem_ctx_session_config_t {
  size_t total_ops; /* how many operations the session is expected to have */
} shmem_ctx_session_config_t;

/* ---- type tables ------------------------------------------------------------------------------------------------- */

#ifdef __GNUC__
__extension__ typedef double _Complex hmc_shmem_complexd_t;
__extension__ typedef float _Complex hmc_shmem_complexf_t;
#else
typedef double _Complex hmc_shmem_complexd_t;
typedef float _Complex hmc_shmem_complexf_t;
#endif

#define HMC_SHMEM_REAL_TYPES(X, a)                                                                                     \
  X(a, float, float)                                                                                                   \
  X(a, double, double)                                                                                                 \
  X(a, longdouble, long double)

#define HMC_SHMEM_COMPLEX_TYPES(X, a)                                                                                  \
  X(a, complexd, hmc_shmem_complexd_t)                                                                                 \
  X(a, complexf, hmc_shmem_complexf_t)

/* Integers that have no bitwise reductions, and those that do. */
#define HMC_SHMEM_SIGNED_TYPES(X, a)                                                                                   \
  X(a, char, char)                                                                                                     \
  X(a, schar, signed char)                                                                                             \
  X(a, short, short)                                                                                                   \
  X(a, int, int)                                                                                                       \
  X(a, long, long)                                                                                                     \
  X(a, longlong, long long)                                                                                            \
  X(a, ptrdiff, ptrdiff_t)

#define HMC_SHMEM_BITWISE_TYPES(X, a)                                                                                  \
  X(a, uchar, unsigned char)                                                                                           \
  X(a, ushort, unsigned short)                                                                                         \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)                                                                                  \
  X(a, int8, int8_t)                                                                                                   \
  X(a, int16, int16_t)                                                                                                 \
  X(a, int32, int32_t)                                                                                                 \
  X(a, int64, int64_t)                                                                                                 \
  X(a, uint8, uint8_t)                                                                                                 \
  X(a, uint16, uint16_t)                                                                                               \
  X(a, uint32, uint32_t)                                                                                               \
  X(a, uint64, uint64_t)                                                                                               \
  X(a, size, size_t)

/* Standard RMA types; those of broadcast, collect, fcollect, alltoall and alltoalls too. */
#define HMC_SHMEM_RMA_TYPES(X, a) HMC_SHMEM_REAL_TYPES(X, a) HMC_SHMEM_SIGNED_TYPES(X, a) HMC_SHMEM_BITWISE_TYPES(X, a)

#define HMC_SHMEM_BITWISE_REDUCE_TYPES(X, a) HMC_SHMEM_BITWISE_TYPES(X, a)
#define HMC_SHMEM_MINMAX_REDUCE_TYPES(X, a) HMC_SHMEM_RMA_TYPES(X, a)
#define HMC_SHMEM_ARITHMETIC_REDUCE_TYPES(X, a) HMC_SHMEM_RMA_TYPES(X, a) HMC_SHMEM_COMPLEX_TYPES(X, a)

#define HMC_SHMEM_AMO_TYPES(X, a)                                                                                      \
  X(a, int, int)                                                                                                       \
  X(a, long, long)                                                                                                     \
  X(a, longlong, long long)                                                                                            \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)                                                                                  \
  X(a, int32, int32_t)                                                                                                 \
  X(a, int64, int64_t)                                                                                                 \
  X(a, uint32, uint32_t)                                                                                               \
  X(a, uint64, uint64_t)                                                                                               \
  X(a, size, size_t)                                                                                                   \
  X(a, ptrdiff, ptrdiff_t)

#define HMC_SHMEM_EXTENDED_AMO_TYPES(X, a) X(a, float, float) X(a, double, double) HMC_SHMEM_AMO_TYPES(X, a)

#define HMC_SHMEM_BITWISE_AMO_TYPES(X, a)                                                                              \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)                                                                                  \
  X(a, int32, int32_t)                                                                                                 \
  X(a, int64, int64_t)                                                                                                 \
  X(a, uint32, uint32_t)                                                                                               \
  X(a, uint64, uint64_t)

#define HMC_SHMEM_SYNC_TYPES(X, a)                                                                                     \
  X(a, short, short)                                                                                                   \
  X(a, ushort, unsigned short)                                                                                         \
  HMC_SHMEM_AMO_TYPES(X, a)

/* The deprecated reductions over active sets. */
#define HMC_SHMEM_OLD_INTEGER_TYPES(X, a)                                                                              \
  X(a, short, short)                                                                                                   \
  X(a, int, int)                                                                                                       \
  X(a, long, long)                                                                                                     \
  X(a, longlong, long long)
#define HMC_SHMEM_OLD_ORDERED_TYPES(X, a) HMC_SHMEM_OLD_INTEGER_TYPES(X, a) HMC_SHMEM_REAL_TYPES(X, a)
#define HMC_SHMEM_OLD_NUMBER_TYPES(X, a) HMC_SHMEM_OLD_ORDERED_TYPES(X, a) HMC_SHMEM_COMPLEX_TYPES(X, a)

/* The deprecated atomics. */
#define HMC_SHMEM_OLD_AMO_TYPES(X, a)                                                                                  \
  X(a, int, int)                                                                                                       \
  X(a, long, long)                                                                                                     \
  X(a, longlong, long long)
#define HMC_SHMEM_OLD_EXTENDED_AMO_TYPES(X, a) X(a, float, float) X(a, double, double) HMC_SHMEM_OLD_AMO_TYPES(X, a)

/* Each type of C once, for selection by type: fixed-width names are other names of these. */
#define HMC_SHMEM_C_INTEGERS(X, a)                                                                                     \
  X(a, char, char)                                                                                                     \
  X(a, schar, signed char)                                                                                             \
  X(a, short, short)                                                                                                   \
  X(a, int, int)                                                                                                       \
  X(a, long, long)                                                                                                     \
  X(a, longlong, long long)                                                                                            \
  X(a, uchar, unsigned char)                                                                                           \
  X(a, ushort, unsigned short)                                                                                         \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)
#define HMC_SHMEM_C_TYPES(X, a) HMC_SHMEM_REAL_TYPES(X, a) HMC_SHMEM_C_INTEGERS(X, a)
#define HMC_SHMEM_C_NUMBERS(X, a) HMC_SHMEM_C_TYPES(X, a) HMC_SHMEM_COMPLEX_TYPES(X, a)
#define HMC_SHMEM_C_AMO_TYPES(X, a)                                                                                    \
  X(a, int, int)                                                                                                       \
  X(a, long, long)                                                                                                     \
  X(a, longlong, long long)                                                                                            \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)
#define HMC_SHMEM_C_EXTENDED_AMO_TYPES(X, a) X(a, float, float) X(a, double, double) HMC_SHMEM_C_AMO_TYPES(X, a)
/* int32 and int64 have bitwise atomics; int, long do not by name, but are what those are. */
#define HMC_SHMEM_C_BITWISE_AMO_TYPES(X, a)                                                                            \
  X(a, int32, int32_t)                                                                                                 \
  X(a, int64, int64_t)                                                                                                 \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)
#define HMC_SHMEM_C_SYNC_TYPES(X, a)                                                                                   \
  X(a, short, short)                                                                                                   \
  X(a, ushort, unsigned short)                                                                                         \
  HMC_SHMEM_C_AMO_TYPES(X, a)
#define HMC_SHMEM_C_BITWISE_REDUCE_TYPES(X, a)                                                                         \
  X(a, int8, int8_t)                                                                                                   \
  X(a, int16, int16_t)                                                                                                 \
  X(a, int32, int32_t)                                                                                                 \
  X(a, int64, int64_t)                                                                                                 \
  X(a, uchar, unsigned char)                                                                                           \
  X(a, ushort, unsigned short)                                                                                         \
  X(a, uint, unsigned int)                                                                                             \
  X(a, ulong, unsigned long)                                                                                           \
  X(a, ulonglong, unsigned long long)

/* Sizes of the calls without type, in bits. */
#define HMC_SHMEM_SIZES(X, a) X(a, 8, 1) X(a, 16, 2) X(a, 32, 4) X(a, 64, 8) X(a, 128, 16)

#endif
