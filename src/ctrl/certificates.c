/* Certificates (see certificates.h). The files are read when a stream's OpenSSL context is made, in tls.c. */
#include "certificates.h"

#include "certificates_tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct hmci_certificates {
  char *authorities, *certificate, *key, *key_file, *password, *revocations;
};

/* NULL and "" are nothing. */
static bool copy_text(const char *text, char **copy) {
  *copy = NULL;
  if (text != NULL && text[0] != '\0') {
    *copy = strdup(text);
    return *copy != NULL;
  }
  return true;
}

static void wipe(char *text) {
  if (text != NULL) {
    explicit_bzero(text, strlen(text));
    free(text);
  }
}

void hmci_certificates_free(hmci_certificates_t *certificates) {
  if (certificates != NULL) {
    free(certificates->authorities);
    free(certificates->certificate);
    free(certificates->key_file);
    free(certificates->revocations);
    wipe(certificates->key);
    wipe(certificates->password);
    free(certificates);
  }
}

hmc_status_t hmci_certificates_create(const hmc_store_certificates_t *options, hmci_certificates_t **made) {
  *made = NULL;
  if (options == NULL) {
    return HMC_SUCCESS;
  }
  if (options->size < sizeof(*options) || options->authorities == NULL || options->certificate == NULL ||
      (options->key == NULL && options->key_file == NULL)) {
    return hmci_fail(HMC_INVALID_CONFIG, "certificates need the authorities' file, one's own certificate, and its key");
  }
  hmci_certificates_t *certificates = calloc(1, sizeof(*certificates));
  if (certificates == NULL || !copy_text(options->authorities, &certificates->authorities) ||
      !copy_text(options->certificate, &certificates->certificate) || !copy_text(options->key, &certificates->key) ||
      !copy_text(options->key_file, &certificates->key_file) ||
      !copy_text(options->key_password, &certificates->password) ||
      !copy_text(options->revocations, &certificates->revocations)) {
    hmci_certificates_free(certificates);
    return hmci_fail(HMC_NO_MEMORY, "no memory for certificates");
  }
  *made = certificates;
  return HMC_SUCCESS;
}

void hmci_certificates_use(hmci_secret_t *secret, const hmci_certificates_t *certificates) {
  if (certificates != NULL) {
    secret->certificates = certificates;
    secret->insecure = false;
    hmci_random(secret->key, sizeof(secret->key)); /* tells this secret's OpenSSL context from others; no key of TLS */
    snprintf(secret->source, sizeof(secret->source), "certificate %.200s", certificates->certificate);
  }
}

/* ---- for OpenSSL ------------------------------------------------------------------------------------------------- */

/* `remedy`: what would do instead. */
static hmc_status_t fail_file(const char *what, const char *file, const char *remedy) {
  unsigned long error = ERR_get_error();
  const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;
  if (ERR_SYSTEM_ERROR(error)) {
    reason = strerror(ERR_GET_REASON(error)); /* OpenSSL 3 leaves these to the system */
  }
  ERR_clear_error();
  return hmci_fail(HMC_INVALID_CONFIG, "%s %s cannot be used (%s): %s", what, file,
                   reason != NULL ? reason : "OpenSSL gives no reason", remedy);
}

static const char pem_file[] = "give a PEM file that this process may read";

/* Gives each name of a list to `take`; the first status that is not HMC_SUCCESS. */
static hmc_status_t each_file(const char *list, hmc_status_t (*take)(SSL_CTX *context, const char *file),
                              SSL_CTX *context) {
  hmc_status_t status = HMC_SUCCESS;
  char *names = strdup(list), *rest = NULL;
  if (names == NULL) {
    return hmci_fail(HMC_NO_MEMORY, "no memory for certificates");
  }
  for (char *name = strtok_r(names, ",", &rest); name != NULL && status == HMC_SUCCESS;
       name = strtok_r(NULL, ",", &rest)) {
    status = take(context, name + strspn(name, " "));
  }
  free(names);
  return status;
}

static hmc_status_t take_authority(SSL_CTX *context, const char *file) {
  return SSL_CTX_load_verify_locations(context, file, NULL) == 1 ? HMC_SUCCESS
                                                                 : fail_file("the authorities' file", file, pem_file);
}

static hmc_status_t take_revocations(SSL_CTX *context, const char *file) {
  X509_STORE *store = SSL_CTX_get_cert_store(context);
  X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
  if (lookup == NULL || X509_load_crl_file(lookup, file, X509_FILETYPE_PEM) < 1) {
    return fail_file("the list of revoked certificates", file, pem_file);
  }
  X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
  return HMC_SUCCESS;
}

static int give_password(char *room, int size, int is_writing, void *user) {
  const hmci_certificates_t *certificates = user;
  (void)is_writing;
  if (certificates->password == NULL || strlen(certificates->password) >= (size_t)size) {
    return 0;
  }
  return snprintf(room, (size_t)size, "%s", certificates->password);
}

static hmc_status_t take_key(SSL_CTX *context, const hmci_certificates_t *certificates) {
  const char *name = certificates->key_file != NULL ? certificates->key_file : "given as text";
  BIO *bio = certificates->key_file != NULL ? BIO_new_file(certificates->key_file, "r")
                                            : BIO_new_mem_buf(certificates->key, -1);
  EVP_PKEY *key =
      bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, give_password, (void *)(uintptr_t)certificates) : NULL;
  bool is_read = key != NULL;
  bool fits = is_read && SSL_CTX_use_PrivateKey(context, key) == 1 && SSL_CTX_check_private_key(context) == 1;
  EVP_PKEY_free(key);
  BIO_free(bio);
  if (fits) {
    return HMC_SUCCESS;
  }
  return fail_file("the private key", name,
                   is_read       ? "give the key that the certificate was made for"
                   : bio == NULL ? pem_file
                                 : "give it as PEM, and the password that it is encrypted with");
}

hmc_status_t hmci_certificates_apply(const hmci_certificates_t *certificates, SSL_CTX *context) {
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
  hmc_status_t status = each_file(certificates->authorities, take_authority, context);
  if (status == HMC_SUCCESS && SSL_CTX_use_certificate_chain_file(context, certificates->certificate) != 1) {
    status = fail_file("the certificate", certificates->certificate, pem_file);
  }
  if (status == HMC_SUCCESS) {
    status = take_key(context, certificates);
  }
  if (status == HMC_SUCCESS && certificates->revocations != NULL) {
    status = each_file(certificates->revocations, take_revocations, context);
  }
  return status;
}
