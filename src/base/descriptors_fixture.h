/* For tests that leave no descriptor open: counting them, and a set-up and tear-down that do. Included once per test
 * program. */
#ifndef HMCI_DESCRIPTORS_FIXTURE_H
#define HMCI_DESCRIPTORS_FIXTURE_H

#include <dirent.h>
#include <stddef.h>

static inline int open_descriptors(void) {
  int count = 0;
  DIR *directory = opendir("/proc/self/fd");
  while (readdir(directory) != NULL) {
    count++;
  }
  closedir(directory);
  return count;
}

static int descriptors_before;
static inline int count_before(void **state) {
  (void)state;
  descriptors_before = open_descriptors();
  return 0;
}
static inline int count_after(void **state) {
  (void)state;
  return open_descriptors() == descriptors_before ? 0 : -1;
}

#endif
