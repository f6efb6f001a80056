/* The limit of the size of files (see file_limit.h). No state. */
#include "file_limit.h"

#include <errno.h>
#include <sys/resource.h>

bool hmci_file_may_have(uint64_t size) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && size > limit.rlim_cur) {
    errno = EFBIG;
    return false;
  }
  return true;
}
