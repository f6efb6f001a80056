/* Random bytes and little-endian fields. */
#include "base.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

/* A sandbox may forbid getrandom() and still have the device. Returns the bytes that it filled. */
static size_t random_from_device(uint8_t *data, size_t size) {
  int device = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
  if (device < 0) {
    return 0;
  }
  size_t filled = 0;
  while (filled < size) {
    ssize_t got = read(device, data + filled, size - filled);
    if (got > 0) {
      filled += (size_t)got;
    } else if (got == 0 || errno != EINTR) {
      break;
    }
  }
  close(device);
  return filled;
}

void hmci_random(void *data, size_t size) {
  uint8_t *bytes = data;
  size_t filled = 0;
  while (filled < size) {
    ssize_t got = getrandom(bytes + filled, size - filled, 0);
    if (got > 0) {
      filled += (size_t)got;
    } else if (got < 0 && errno != EINTR) {
      break;
    }
  }
  if (filled < size) {
    filled += random_from_device(bytes + filled, size - filled);
  }
  if (filled < size) {
    hmci_log(HMC_LOG_ERROR, "neither getrandom() nor /dev/urandom gives random bytes here: %s", strerror(errno));
  }
}

/* Wire fields lie at any address: memcpy is one unaligned move here. */
void hmci_store16(void *to, uint16_t value) {
  value = htole16(value);
  memcpy(to, &value, sizeof(value));
}

void hmci_store32(void *to, uint32_t value) {
  value = htole32(value);
  memcpy(to, &value, sizeof(value));
}

void hmci_store64(void *to, uint64_t value) {
  value = htole64(value);
  memcpy(to, &value, sizeof(value));
}

uint16_t hmci_load16(const void *from) {
  uint16_t value;
  memcpy(&value, from, sizeof(value));
  return le16toh(value);
}

uint32_t hmci_load32(const void *from) {
  uint32_t value;
  memcpy(&value, from, sizeof(value));
  return le32toh(value);
}

uint64_t hmci_load64(const void *from) {
  uint64_t value;
  memcpy(&value, from, sizeof(value));
  return le64toh(value);
}
