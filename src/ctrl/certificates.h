/* Certificates in place of the secret, for sites that have a public key infrastructure: what a stream authenticates by
 * when its secret has them. */
#ifndef HMCI_CERTIFICATES_H
#define HMCI_CERTIFICATES_H

#include "secret.h"

#include <hmc/store.h>

typedef struct hmci_certificates hmci_certificates_t;

/* Copies what the options say; nothing is read yet. `options` NULL: *made gets NULL. Errors: HMC_INVALID_CONFIG (no
 * authorities, certificate or key), HMC_NO_MEMORY. */
hmc_status_t hmci_certificates_create(const hmc_store_certificates_t *options, hmci_certificates_t **made);
void hmci_certificates_free(hmci_certificates_t *certificates); /* NULL is allowed */

/* Makes a secret stand for certificates, which it does not own; NULL: it stays as it is. */
void hmci_certificates_use(hmci_secret_t *secret, const hmci_certificates_t *certificates);

#endif
