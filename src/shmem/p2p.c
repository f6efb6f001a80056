/* Waiting for and testing words of this PE's memory. */
#include "alias.h"
#include "state.h"

/* One search over `n` words, as all forms of a family need it. `values` steps by 0 or 1 element. */
#define DEFINE_FAMILY(a, NAME, TYPE)                                                                                   \
  static bool NAME##_compares(TYPE left, int cmp, TYPE right) {                                                        \
    switch (cmp) {                                                                                                     \
    case SHMEM_CMP_EQ: return left == right;                                                                           \
    case SHMEM_CMP_NE: return left != right;                                                                           \
    case SHMEM_CMP_GT: return left > right;                                                                            \
    case SHMEM_CMP_GE: return left >= right;                                                                           \
    case SHMEM_CMP_LT: return left < right;                                                                            \
    case SHMEM_CMP_LE: return left <= right;                                                                           \
    default: hmci_die("shmem_" #NAME "_wait_until or _test: %d is not a comparison: give one of SHMEM_CMP_*", cmp);    \
    }                                                                                                                  \
  }                                                                                                                    \
  typedef struct NAME##_search {                                                                                       \
    TYPE *ivars;                                                                                                       \
    size_t n;                                                                                                          \
    const int *status;                                                                                                 \
    int cmp;                                                                                                           \
    const TYPE *values;                                                                                                \
    size_t step;                                                                                                       \
  } NAME##_search_t;                                                                                                   \
  static bool NAME##_holds_at(const NAME##_search_t *search, size_t i) {                                               \
    const TYPE *at = &search->ivars[i];                                                                                \
    TYPE now = __builtin_expect(hmci_is_device(at), 0)                                                                 \
                   ? (TYPE)hmci_device_word(at, sizeof now)                                                            \
                   : __atomic_load_n(at, __ATOMIC_ACQUIRE); /* partner: who writes the word */                         \
    return NAME##_compares(now, search->cmp, search->values[i * search->step]);                                        \
  }                                                                                                                    \
  static bool NAME##_is_left_out(const NAME##_search_t *search, size_t i) {                                            \
    return search->status && search->status[i];                                                                        \
  }                                                                                                                    \
  static bool NAME##_is_empty(const NAME##_search_t *search) {                                                         \
    for (size_t i = 0; i < search->n; i++) {                                                                           \
      if (!NAME##_is_left_out(search, i)) return false;                                                                \
    }                                                                                                                  \
    return true;                                                                                                       \
  }                                                                                                                    \
  static bool NAME##_all(const void *argument) {                                                                       \
    const NAME##_search_t *search = argument;                                                                          \
    for (size_t i = 0; i < search->n; i++) {                                                                           \
      if (!NAME##_is_left_out(search, i) && !NAME##_holds_at(search, i)) return false;                                 \
    }                                                                                                                  \
    return true;                                                                                                       \
  }                                                                                                                    \
  static size_t NAME##_first(const NAME##_search_t *search) {                                                          \
    for (size_t i = 0; i < search->n; i++) {                                                                           \
      if (!NAME##_is_left_out(search, i) && NAME##_holds_at(search, i)) return i;                                      \
    }                                                                                                                  \
    return SIZE_MAX;                                                                                                   \
  }                                                                                                                    \
  static bool NAME##_any(const void *argument) { return NAME##_first(argument) != SIZE_MAX; }                          \
  static size_t NAME##_list(const NAME##_search_t *search, size_t *indices) {                                          \
    size_t count = 0;                                                                                                  \
    for (size_t i = 0; i < search->n; i++) {                                                                           \
      if (!NAME##_is_left_out(search, i) && NAME##_holds_at(search, i)) indices[count++] = i;                          \
    }                                                                                                                  \
    return count;                                                                                                      \
  }                                                                                                                    \
  static void NAME##_check(NAME##_search_t search) {                                                                   \
    if (hmci_pe.checks) hmci_check("shmem_" #NAME "_wait_until", search.ivars, search.n * sizeof(TYPE), hmci_pe.me);   \
  }                                                                                                                    \
  static void NAME##_wait_all(NAME##_search_t search) {                                                                \
    NAME##_check(search);                                                                                              \
    if (!NAME##_all(&search)) hmci_wait(NAME##_all, &search);                                                          \
  }                                                                                                                    \
  static size_t NAME##_wait_any(NAME##_search_t search) {                                                              \
    if (NAME##_is_empty(&search)) return SIZE_MAX;                                                                     \
    NAME##_check(search);                                                                                              \
    for (;;) {                                                                                                         \
      size_t found = NAME##_first(&search);                                                                            \
      if (found != SIZE_MAX) return found;                                                                             \
      if (!hmci_wait(NAME##_any, &search)) return SIZE_MAX;                                                            \
    }                                                                                                                  \
  }                                                                                                                    \
  static size_t NAME##_wait_some(NAME##_search_t search, size_t *indices) {                                            \
    if (NAME##_is_empty(&search)) return 0;                                                                            \
    NAME##_check(search);                                                                                              \
    for (;;) {                                                                                                         \
      size_t count = NAME##_list(&search, indices);                                                                    \
      if (count) return count;                                                                                         \
      if (!hmci_wait(NAME##_any, &search)) return 0;                                                                   \
    }                                                                                                                  \
  }                                                                                                                    \
                                                                                                                       \
  void shmem_##NAME##_wait_until(TYPE *ivar, int cmp, TYPE cmp_value) {                                                \
    NAME##_wait_all((NAME##_search_t){ivar, 1, NULL, cmp, &cmp_value, 0});                                             \
  }                                                                                                                    \
  void shmem_##NAME##_wait_until_all(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {         \
    NAME##_wait_all((NAME##_search_t){ivars, nelems, status, cmp, &cmp_value, 0});                                     \
  }                                                                                                                    \
  size_t shmem_##NAME##_wait_until_any(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {       \
    return NAME##_wait_any((NAME##_search_t){ivars, nelems, status, cmp, &cmp_value, 0});                              \
  }                                                                                                                    \
  size_t shmem_##NAME##_wait_until_some(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,       \
                                        TYPE cmp_value) {                                                              \
    return NAME##_wait_some((NAME##_search_t){ivars, nelems, status, cmp, &cmp_value, 0}, indices);                    \
  }                                                                                                                    \
  void shmem_##NAME##_wait_until_all_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                    \
                                            const TYPE *cmp_values) {                                                  \
    NAME##_wait_all((NAME##_search_t){ivars, nelems, status, cmp, cmp_values, 1});                                     \
  }                                                                                                                    \
  size_t shmem_##NAME##_wait_until_any_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                  \
                                              const TYPE *cmp_values) {                                                \
    return NAME##_wait_any((NAME##_search_t){ivars, nelems, status, cmp, cmp_values, 1});                              \
  }                                                                                                                    \
  size_t shmem_##NAME##_wait_until_some_vector(TYPE *ivars, size_t nelems, size_t *indices, const int *status,         \
                                               int cmp, const TYPE *cmp_values) {                                      \
    return NAME##_wait_some((NAME##_search_t){ivars, nelems, status, cmp, cmp_values, 1}, indices);                    \
  }                                                                                                                    \
  int shmem_##NAME##_test(TYPE *ivar, int cmp, TYPE cmp_value) {                                                       \
    return NAME##_all(&(NAME##_search_t){ivar, 1, NULL, cmp, &cmp_value, 0});                                          \
  }                                                                                                                    \
  int shmem_##NAME##_test_all(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {                \
    return NAME##_all(&(NAME##_search_t){ivars, nelems, status, cmp, &cmp_value, 0});                                  \
  }                                                                                                                    \
  size_t shmem_##NAME##_test_any(TYPE *ivars, size_t nelems, const int *status, int cmp, TYPE cmp_value) {             \
    return NAME##_first(&(NAME##_search_t){ivars, nelems, status, cmp, &cmp_value, 0});                                \
  }                                                                                                                    \
  size_t shmem_##NAME##_test_some(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,             \
                                  TYPE cmp_value) {                                                                    \
    return NAME##_list(&(NAME##_search_t){ivars, nelems, status, cmp, &cmp_value, 0}, indices);                        \
  }                                                                                                                    \
  int shmem_##NAME##_test_all_vector(TYPE *ivars, size_t nelems, const int *status, int cmp, const TYPE *cmp_values) { \
    return NAME##_all(&(NAME##_search_t){ivars, nelems, status, cmp, cmp_values, 1});                                  \
  }                                                                                                                    \
  size_t shmem_##NAME##_test_any_vector(TYPE *ivars, size_t nelems, const int *status, int cmp,                        \
                                        const TYPE *cmp_values) {                                                      \
    return NAME##_first(&(NAME##_search_t){ivars, nelems, status, cmp, cmp_values, 1});                                \
  }                                                                                                                    \
  size_t shmem_##NAME##_test_some_vector(TYPE *ivars, size_t nelems, size_t *indices, const int *status, int cmp,      \
                                         const TYPE *cmp_values) {                                                     \
    return NAME##_list(&(NAME##_search_t){ivars, nelems, status, cmp, cmp_values, 1}, indices);                        \
  }                                                                                                                    \
  PROFILED(shmem_##NAME##_wait_until);                                                                                 \
  PROFILED(shmem_##NAME##_wait_until_all);                                                                             \
  PROFILED(shmem_##NAME##_wait_until_any);                                                                             \
  PROFILED(shmem_##NAME##_wait_until_some);                                                                            \
  PROFILED(shmem_##NAME##_wait_until_all_vector);                                                                      \
  PROFILED(shmem_##NAME##_wait_until_any_vector);                                                                      \
  PROFILED(shmem_##NAME##_wait_until_some_vector);                                                                     \
  PROFILED(shmem_##NAME##_test);                                                                                       \
  PROFILED(shmem_##NAME##_test_all);                                                                                   \
  PROFILED(shmem_##NAME##_test_any);                                                                                   \
  PROFILED(shmem_##NAME##_test_some);                                                                                  \
  PROFILED(shmem_##NAME##_test_all_vector);                                                                            \
  PROFILED(shmem_##NAME##_test_any_vector);                                                                            \
  PROFILED(shmem_##NAME##_test_some_vector);

HMC_SHMEM_SYNC_TYPES(DEFINE_FAMILY, )

uint64_t shmem_signal_wait_until(uint64_t *sig_addr, int cmp, uint64_t cmp_value) {
  uint64_search_t search = {sig_addr, 1, NULL, cmp, &cmp_value, 0};
  hmci_check("shmem_signal_wait_until", sig_addr, sizeof *sig_addr, hmci_pe.me);
  for (;;) {
    uint64_t now = shmem_signal_fetch(sig_addr);
    if (uint64_compares(now, cmp, cmp_value)) return now;
    if (!hmci_wait(uint64_all, &search)) return now;
  }
}

PROFILED(shmem_signal_wait_until);
