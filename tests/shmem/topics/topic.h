/* The programs of this folder: what the examples of the OpenSHMEM specification are about, topic by topic. */
#ifndef TOPIC_H
#define TOPIC_H

#include <shmem.h>
#include <stdint.h>
#include <stdio.h>

#define CHECK(condition)                                                                                               \
  do {                                                                                                                 \
    if (!(condition)) {                                                                                                \
      fprintf(stderr, "%s:%d: PE %d: %s\n", __FILE__, __LINE__, shmem_my_pe(), #condition);                            \
      shmem_global_exit(1);                                                                                            \
    }                                                                                                                  \
  } while (0)

#endif
