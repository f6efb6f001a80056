/* What the SHMEM tests share: a check that ends the whole job with a text. */
#ifndef CHECK_H
#define CHECK_H

#include <shmem.h>
#include <stdio.h>

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: PE %d of %d: %s\n", __FILE__, __LINE__, shmem_my_pe(), shmem_n_pes(), #condition);       \
      shmem_global_exit(1);                                                                                            \
    }                                                                                                                  \
  } while (0)

#endif
