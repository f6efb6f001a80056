/* Mapping files, anywhere or in a range of addresses that a program has reserved. */
#ifndef HMCI_MAP_H
#define HMCI_MAP_H

#include "base.h"

/* The size of the pages that a memfd is made of; the system's for anything else. */
uint64_t hmci_map_page(int descriptor);

static inline uint64_t hmci_round_up(uint64_t size, uint64_t unit) { return (size + unit - 1) / unit * unit; }

/* True where the range can be replaced by a mapping: all of it is mapped, to whatever. */
bool hmci_map_is_reserved(void *address, uint64_t length);

/* Maps `length` bytes of a file (-1: of nothing, private and zero) shared, with `protection` (PROT_*). `address` NULL:
 * anywhere; else there, where offset and address are multiples of `page` and the range is reserved. Errors:
 * HMC_INVALID_CONFIG (the address), HMC_NO_MEMORY. */
hmc_status_t hmci_map(int descriptor, uint64_t offset, uint64_t length, uint64_t page, int protection, void *address,
                      void **pointer);

/* Undoes it; `placed`: it was made at an address of the program's choice, which is reserved again. */
void hmci_unmap(void *pointer, uint64_t length, bool placed);

/* As ftruncate, but EFBIG is an answer (file_limit.h); a memfd counts as a file. */
int hmci_map_resize(int descriptor, uint64_t size);

#endif
