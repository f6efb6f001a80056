/* Modules that are none: WRONG_BUILD is of another build than the library; without it there is no module at all. */
#include <stdint.h>

#ifdef WRONG_BUILD
extern const uint32_t hmci_transport_module[16];
__attribute__((visibility("default"))) const uint32_t hmci_transport_module[16] = {99};
#else
int nothing_of_ours(void);
__attribute__((visibility("default"))) int nothing_of_ours(void) { return 0; }
#endif
