/* HMAC-SHA256 by OpenSSL (see digest.h). No state. */
#include "digest.h"

#include "openssl.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

hmc_status_t hmci_digest(const uint8_t key[32], const void *data, size_t size, uint8_t digest[HMCI_DIGEST]) {
  unsigned made = 0;
  if (!hmci_openssl_acquire()) {
    return hmci_openssl_fail();
  }
  bool done = HMAC(EVP_sha256(), key, 32, data, size, digest, &made) && made == HMCI_DIGEST;
  ERR_clear_error();
  hmci_openssl_release();
  return done ? HMC_SUCCESS : hmci_fail(HMC_ERROR, "OpenSSL computes no HMAC-SHA256 here");
}

bool hmci_digest_is_equal(const uint8_t one[HMCI_DIGEST], const uint8_t two[HMCI_DIGEST]) {
  return CRYPTO_memcmp(one, two, HMCI_DIGEST) == 0;
}
