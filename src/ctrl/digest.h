/* HMAC-SHA256, for what is proved without TLS. */
#ifndef HMCI_DIGEST_H
#define HMCI_DIGEST_H

#include "../base/base.h"

enum { HMCI_DIGEST = 32 };

/* HMC_ERROR: OpenSSL does not compute it, or has ended already. */
hmc_status_t hmci_digest(const uint8_t key[32], const void *data, size_t size, uint8_t digest[HMCI_DIGEST]);
/* In a time that does not depend on the bytes. */
bool hmci_digest_is_equal(const uint8_t one[HMCI_DIGEST], const uint8_t two[HMCI_DIGEST]);

#endif
