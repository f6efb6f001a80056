/* The secret by which contexts know each other (architecture: security). */
#ifndef HMCI_SECRET_H
#define HMCI_SECRET_H

#include "../base/settings.h"

struct hmci_certificates; /* certificates.h */

typedef struct hmci_secret {
  const struct hmci_certificates *certificates; /* NULL: the key counts; else they do, over TCP */
  bool insecure;                                /* HMC_INSECURE: no authentication */
  uint8_t key[32];  /* SHA-256 over a fixed label and the secret's bytes: what TLS takes as the pre-shared key */
  char source[300]; /* for people: "HMC_SECRET_FILE=/path", "HMC_SECRET", "/home/me/.hmc/secret" */
} hmci_secret_t;

/* Finds the secret: HMC_SECRET_FILE, HMC_SECRET, else ~/.hmc/secret (HOME, else the password database), which is made
 * on first use: 32 random bytes, mode 0600, directory 0700, safely when several processes do so at once. Errors:
 * HMC_INVALID_CONFIG: the file is missing (HMC_SECRET_FILE), empty, readable by others (the text gives the chmod), or
 * of another user; or the secret is too easy to guess (shorter than 16 bytes, or hardly two of them differ);
 * HMC_ERROR: it cannot be made. */
hmc_status_t hmci_secret_load(const hmci_settings_t *settings, hmci_secret_t *secret);

/* Overwrites the key. */
void hmci_secret_wipe(hmci_secret_t *secret);

#endif
