/* Where bytes of this process lie, and copies of them between any memories. */
#include "state.h"

#include <stdlib.h>
#include <string.h>

#define ZEROES (1u << 20) /* bytes that are copied at a time where memory is to be zeroed */

static bool is_in_parts(const void *address) {
  return (uintptr_t)address - (uintptr_t)hmci_pe.part < hmci_pe.part_size ||
         (uintptr_t)address - (uintptr_t)hmci_pe.parts < hmci_pe.part_size * (size_t)hmci_pe.n_locals ||
         (uintptr_t)address - hmc_shmem_here.globals < hmci_pe.globals_size;
}

hmc_memory_t hmci_memory_among_devices(const void *address) {
  hmc_memory_info_t info = HMC_MEMORY_INFO_INIT;
  info.memory = (hmc_memory_t){.kind = HMC_MEMORY_CPU};
  if (!address) return info.memory;
  if (hmci_is_device(address)) return hmci_pe.device.memory;
  if (is_in_parts(address)) return info.memory;
  if (hmc_memory_query(address, &info) != HMC_SUCCESS) info.memory = (hmc_memory_t){.kind = HMC_MEMORY_CPU};
  return info.memory;
}

void hmci_copy(void *dest, hmc_memory_t dest_memory, const void *source, hmc_memory_t source_memory, size_t size) {
  if (size == 0) return;
  if (hmci_is_host(dest_memory) && hmci_is_host(source_memory)) {
    memmove(dest, source, size);
    return;
  }
  hmc_status_t status = hmc_memory_copy(dest, dest_memory, source, source_memory, size);
  if (status != HMC_SUCCESS) {
    hmci_die("copying %zu B from %s to %s memory: %s", size, hmc_memory_kind_name(source_memory.kind),
             hmc_memory_kind_name(dest_memory.kind), hmc_last_error());
  }
}

void hmci_move(void *dest, const void *source, size_t size) {
  if (hmci_pe.device.size == 0) {
    memmove(dest, source, size);
  } else {
    hmci_copy(dest, hmci_memory_of(dest), source, hmci_memory_of(source), size);
  }
}

void hmci_zero(void *dest, size_t size) {
  if (!hmci_is_device(dest)) {
    memset(dest, 0, size);
    return;
  }
  size_t step = size < ZEROES ? size : ZEROES;
  char *zeroes = calloc(1, step);
  if (!zeroes) hmci_die("no memory for %zu B", step);
  for (size_t at = 0; at < size; at += step) {
    hmci_move((char *)dest + at, zeroes, size - at < step ? size - at : step);
  }
  free(zeroes);
}

uint64_t hmci_device_word(const void *address, size_t size) {
  uint64_t word = 0; /* the first bytes: little-endian, as all memories here are */
  hmci_copy(&word, (hmc_memory_t){.kind = HMC_MEMORY_CPU}, address, hmci_pe.device.memory, size);
  return word;
}
