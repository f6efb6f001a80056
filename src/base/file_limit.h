/* The limit of the size of files (ulimit -f). */
#ifndef HMCI_FILE_LIMIT_H
#define HMCI_FILE_LIMIT_H

#include <stdbool.h>
#include <stdint.h>

/* False, with EFBIG, where a file of that size is above the limit of the process: the kernel ends a process that makes it
 * so large, by write or ftruncate, by SIGXFSZ. */
bool hmci_file_may_have(uint64_t size);

#endif
