/* Certificates as tls.c needs them. Who calls holds OpenSSL (hmci_openssl_acquire). */
#ifndef HMCI_CERTIFICATES_TLS_H
#define HMCI_CERTIFICATES_TLS_H

#include "certificates.h"

#include <openssl/ssl.h>

/* Makes the context authenticate both ends by certificates. HMC_INVALID_CONFIG: a file cannot be used. */
hmc_status_t hmci_certificates_apply(const hmci_certificates_t *certificates, SSL_CTX *context);

#endif
