/* Tests of the store's TLS by certificates: members that have them meet, and others are turned away. */
#include "ranks.h"

#include <smem/host/smem_bm.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[64];
static const char *decrypter; /* a library: decrypter.c */

typedef struct identity {
  EVP_PKEY *key;
  X509 *certificate;
} identity_t;

static const char *path_of(const char *name) {
  static char path[4][128];
  static unsigned turn;
  char *chosen = path[turn++ % 4];
  snprintf(chosen, sizeof(path[0]), "%s/%s", folder, name);
  return chosen;
}

/* A certificate signed by `issuer`, or by itself. */
static identity_t make_identity(const char *name, const identity_t *issuer) {
  identity_t made = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
  const identity_t *signer = issuer != NULL ? issuer : &made;
  X509_NAME *subject = X509_NAME_new();
  CHECK(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0) == 1);
  X509_set_version(made.certificate, 2);
  ASN1_INTEGER_set(X509_get_serialNumber(made.certificate), (long)(name[0]));
  X509_gmtime_adj(X509_getm_notBefore(made.certificate), -60);
  X509_gmtime_adj(X509_getm_notAfter(made.certificate), 3600);
  X509_set_subject_name(made.certificate, subject);
  X509_set_issuer_name(made.certificate, issuer != NULL ? X509_get_subject_name(issuer->certificate) : subject);
  X509_set_pubkey(made.certificate, made.key);
  X509_EXTENSION *may_sign =
      X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, issuer == NULL ? "critical,CA:TRUE" : "CA:FALSE");
  CHECK(may_sign != NULL && X509_add_ext(made.certificate, may_sign, -1) == 1);
  X509_EXTENSION_free(may_sign);
  CHECK(X509_sign(made.certificate, signer->key, EVP_sha256()) > 0);
  X509_NAME_free(subject);
  return made;
}

static void write_certificate(const identity_t *identity, const char *name) {
  FILE *file = fopen(path_of(name), "w");
  CHECK(file != NULL && PEM_write_X509(file, identity->certificate) == 1);
  fclose(file);
}

/* The key as PEM text, encrypted where there is a password. */
static size_t write_key(const identity_t *identity, const char *password, char *text, size_t room) {
  BIO *bio = BIO_new(BIO_s_mem());
  char *data;
  CHECK(PEM_write_bio_PKCS8PrivateKey(bio, identity->key, password != NULL ? EVP_aes_256_cbc() : NULL, password,
                                      password != NULL ? (int)strlen(password) : 0, NULL, NULL) == 1);
  long size = BIO_get_mem_data(bio, &data);
  CHECK(size > 0 && (size_t)size < room);
  memcpy(text, data, (size_t)size);
  text[size] = '\0';
  BIO_free(bio);
  return (size_t)size;
}

static void free_identity(identity_t *identity) {
  EVP_PKEY_free(identity->key);
  X509_free(identity->certificate);
}

/* What stands in for a cipher: each letter moved by one. */
static int decrypt(const char *cipher, size_t size, char *plain, size_t *plain_size) {
  if (size >= *plain_size) {
    return 1;
  }
  for (size_t i = 0; i < size; i++) {
    plain[i] = (char)(cipher[i] - 1);
  }
  *plain_size = size;
  return 0;
}

static int fail_to_decrypt(const char *cipher, size_t size, char *plain, size_t *plain_size) {
  (void)cipher, (void)size, (void)plain, (void)plain_size;
  return 1;
}

static void set_certificates(const char *authority, const char *certificate) {
  char text[512];
  int size = snprintf(text, sizeof(text), "tlsCaPath: %s; tlsCaFile: %s;tlsCert: %s; packagePath: /none;", folder,
                      authority, path_of(certificate));
  ANSWERS(0, smem_set_conf_store_tls(true, text, (uint32_t)size));
}

static int32_t enter(uint32_t rank, uint32_t timeout) {
  smem_bm_config_t config;
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = timeout;
  config.rankId = (uint16_t)rank;
  return smem_bm_init(store_url, rank_count, 0, &config);
}

/* Ranks 0 and 1 have certificates of one authority; 2 has one of another; 3 has only the secret, which the store of the
 * others does not take. */
static int certificates_let_in(void) {
  char key[4096];
  size_t size;
  if (my_rank == 0) {
    identity_t good = make_identity("good", NULL), bad = make_identity("bad", NULL);
    identity_t members[3] = {make_identity("zero", &good), make_identity("one", &good), make_identity("two", &bad)};
    write_certificate(&good, "good.pem");
    write_certificate(&bad, "bad.pem");
    for (int i = 0; i < 3; i++) {
      char name[16];
      snprintf(name, sizeof(name), "%d.pem", i);
      write_certificate(&members[i], name);
      size = write_key(&members[i], "secret", key, sizeof(key));
      snprintf(name, sizeof(name), "%d.key", i);
      FILE *file = fopen(path_of(name), "w");
      CHECK(file != NULL && fwrite(key, 1, size, file) == size);
      fclose(file);
      free_identity(&members[i]);
    }
    free_identity(&good);
    free_identity(&bad);
  }
  fence();
  if (my_rank < 3) {
    char name[16];
    snprintf(name, sizeof(name), "%u.key", my_rank);
    FILE *file = fopen(path_of(name), "r");
    CHECK(file != NULL);
    size = fread(key, 1, sizeof(key), file);
    fclose(file);
    snprintf(name, sizeof(name), "%u.pem", my_rank);
    set_certificates(my_rank == 2 ? "bad.pem,good.pem" : "good.pem", name);
    ANSWERS(0, smem_set_config_store_tls_key(key, (uint32_t)size, "tfdsfu", 6, fail_to_decrypt));
    ANSWERS(-1, enter(my_rank, 2));
    SAYS("decrypt");
    ANSWERS(0, smem_set_config_store_tls_key(key, (uint32_t)size, "wrong", 5, NULL));
    ANSWERS(-2000, enter(my_rank, 2));
    SAYS("the password that it is encrypted with");
    ANSWERS(0, smem_set_config_store_tls_key(key, (uint32_t)size, "tfdsfu", 6, decrypt));
  }
  if (my_rank == 0) {
    ANSWERS(0, enter(0, PATIENCE_S));
  }
  fence();
  if (my_rank == 1) {
    ANSWERS(0, enter(1, PATIENCE_S));
    smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_SDMA, 2u << 20, 0, 0);
    CHECK(pool != NULL);
    ANSWERS(0, smem_bm_join(pool, 0));
    smem_bm_uninit(0);
  } else if (my_rank >= 2) {
    int32_t code = enter(my_rank, 5);
    CHECK(code == -1 || code == -2004);
    CHECK(my_rank == 3 || code == -1);
    if (my_rank == 2) {
      SAYS("both must be signed by an authority");
    }
  }
  fence();
  smem_bm_uninit(0);
  return 0;
}

/* The same by the pool's own struct, whose library decrypts the password; member 2 has the secret of the world's members,
 * and no certificate: neither the store nor they take it. */
static void put_path(char field[SMEM_TLS_PATH_SIZE], const char *path) {
  snprintf(field, SMEM_TLS_PATH_SIZE, "%s", path);
}

static int a_struct_names_certificates(void) {
  smem_bm_config_t config;
  char name[16];
  ANSWERS(0, smem_bm_config_init(&config));
  config.initTimeout = my_rank < 2 ? PATIENCE_S : 5;
  config.rankId = (uint16_t)my_rank;
  if (my_rank < 2) {
    smem_tls_config *tls = &config.storeTlsConfig;
    tls->tlsEnable = config.hcomTlsConfig.tlsEnable = true;
    ANSWERS(-2000, smem_bm_init(store_url, rank_count, 0, &config));
    SAYS("caPath");
    put_path(tls->caPath, path_of("good.pem"));
    snprintf(name, sizeof(name), "%u.pem", my_rank);
    put_path(tls->certPath, path_of(name));
    snprintf(name, sizeof(name), "%u.key", my_rank);
    put_path(tls->keyPath, path_of(name));
    put_path(tls->keyPassPath, path_of("password"));
    ANSWERS(-2000, smem_bm_init(store_url, rank_count, 0, &config));
    SAYS("keyPassPath");
    fence();
    if (my_rank == 0) {
      FILE *file = fopen(path_of("password"), "w");
      CHECK(file != NULL && fputs("terces\n", file) >= 0 && fclose(file) == 0);
    }
    fence();
    put_path(tls->decrypterLibPath, "/none/libdecrypt.so");
    ANSWERS(-1, smem_bm_init(store_url, rank_count, 0, &config));
    SAYS("/none/libdecrypt.so");
    put_path(tls->decrypterLibPath, decrypter);
  } else {
    fence();
    fence();
    config.hcomTlsConfig.tlsEnable = true;
    ANSWERS(-2000, smem_bm_init(store_url, rank_count, 0, &config));
    SAYS("storeTlsConfig");
    config.hcomTlsConfig.tlsEnable = false;
  }
  if (my_rank == 0) {
    ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  }
  fence();
  if (my_rank == 1) {
    ANSWERS(0, smem_bm_init(store_url, rank_count, 0, &config));
  } else if (my_rank == 2) {
    int32_t code = smem_bm_init(store_url, rank_count, 0, &config);
    CHECK(code == -1 || code == -2004);
  }
  if (my_rank < 2) {
    char bytes[100] = "a secret of two";
    smem_bm_t pool = smem_bm_create(0, 0, SMEMB_DATA_OP_HOST_TCP, 2u << 20, 0, 0);
    CHECK(pool != NULL);
    ANSWERS(0, smem_bm_join(pool, 0));
    fence_of(2);
    void *there = smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)(1 - my_rank));
    ANSWERS(0, smem_bm_copy(pool, bytes, there, sizeof(bytes), SMEMB_COPY_H2G, 0));
    fence_of(2);
    CHECK(strcmp(smem_bm_ptr_by_mem_type(pool, SMEM_MEM_TYPE_HOST, (uint16_t)my_rank), bytes) == 0);
    fence_of(2);
    smem_bm_destroy(pool);
    fence_of(2);
  }
  smem_bm_uninit(0);
  return 0;
}

static int bad_settings_are_named(void) {
  const char *text = "tlsCaPath: /none;tlsCaFile: a.pem;tlsCert: /none/c.pem;";
  ANSWERS(-2000, smem_set_conf_store_tls(true, NULL, 0));
  ANSWERS(-2000, smem_set_conf_store_tls(true, "tlsCert: x;", 11));
  ANSWERS(-2000, smem_set_config_store_tls_key(NULL, 0, NULL, 0, NULL));
  ANSWERS(0, smem_set_conf_store_tls(true, text, (uint32_t)strlen(text)));
  ANSWERS(0, smem_set_config_store_tls_key("no key", 6, NULL, 0, NULL));
  ANSWERS(-1, smem_create_config_store(store_url));
  SAYS("/none/a.pem");
  ANSWERS(0, smem_set_conf_store_tls(false, NULL, 0));
  ANSWERS(0, smem_create_config_store(store_url)); /* by the secret again */
  return 0;
}

int main(int count, char **arguments) {
  static const char *const names[] = {"good.pem", "bad.pem", "0.pem", "1.pem",   "2.pem",
                                      "0.key",    "1.key",   "2.key", "password"};
  if (count != 2) {
    fprintf(stderr, "usage: smem_security DECRYPTER\n");
    return 2;
  }
  decrypter = arguments[1];
  ranks_set_up();
  snprintf(folder, sizeof(folder), "/tmp/hmc-test-smem-pki-XXXXXX");
  CHECK(mkdtemp(folder) != NULL);
  bool good = ranks_run("bad settings are named", 1, bad_settings_are_named);
  good = ranks_run("certificates let in", 4, certificates_let_in) && good;
  good = ranks_run("a struct names certificates", 3, a_struct_names_certificates) && good;
  for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
    unlink(path_of(names[i]));
  }
  rmdir(folder);
  return good ? 0 : 1;
}
