/* Certificates for the bootstrap, as the program has set them. */
#ifndef HMCI_SHMEM_CERTIFICATES_H
#define HMCI_SHMEM_CERTIFICATES_H

#include "boot.h"
#include <hmc/store.h>
#include <shmem/ascend.h>
#include <stdint.h>

/* Takes the names of files from "key: value;" pairs: tlsCert and tlsCaFile are needed, tlsCaPath is the folder of the
 * latter; tlsCrlFile, tlsCrlPath. False where some are missing or too long: nothing has changed then. */
bool hmci_certificates_set(const char *info, size_t length);

/* The private key as PEM text, and its password, which `decrypt`, where there is one, makes readable. False where they
 * are too long, or the password cannot be read. */
bool hmci_certificates_set_key(const char *key, size_t length, const char *password, size_t password_length,
                               hmc_shmem_decrypt_t decrypt);
void hmci_certificates_clear(void);

/* NULL: none are set; the secret of the job authenticates. */
const hmc_store_certificates_t *hmci_certificates(void);

/* Serves a store at ip:port (0: a free one, which it gets) for the next hmci_boot_by_store of rank 0. */
bool hmci_store_prepare(const char *ip, uint16_t *port);

/* Meets over a store of the engine at rank 0, authenticated by the certificates; agrees on the job's secret there. False
 * with a text on stderr, by the timeout. */
bool hmci_boot_by_store(hmci_boot_t *boot, int rank, int size, const char *ip, uint16_t port, uint64_t timeout_ms);

#endif
