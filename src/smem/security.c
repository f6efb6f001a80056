/* The store's TLS by certificates (smem.h): what was set, for links that are made afterwards.
 *
 * Locking: `lock` guards what was set; who makes a link works on a copy. */
#include "common.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TEXT_MOST = 4096, PASSWORD_MOST = 1024 };

typedef struct setting {
  bool enabled;
  char authorities[TEXT_MOST], certificate[TEXT_MOST], revocations[TEXT_MOST], key_file[TEXT_MOST];
  char key[4 * TEXT_MOST], cipher[PASSWORD_MOST];
  smem_decrypt_handler decrypt;
  char decrypter[SMEM_TLS_PATH_SIZE]; /* a library with DecryptPassword, instead */
} setting_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static setting_t *current; /* NULL: by the secret */

/* What a key of "key: value;" pairs has; "" where it is not there. */
static void find_value(const char *text, const char *key, char value[TEXT_MOST]) {
  size_t length = strlen(key);
  value[0] = '\0';
  for (const char *at = text; at != NULL && *at != '\0'; at = strchr(at, ';') != NULL ? strchr(at, ';') + 1 : NULL) {
    at += strspn(at, " \n\t");
    if (strncmp(at, key, length) == 0 && at[length + strspn(at + length, " ")] == ':') {
      const char *begin = strchr(at, ':') + 1;
      begin += strspn(begin, " ");
      snprintf(value, TEXT_MOST, "%.*s", (int)strcspn(begin, ";"), begin);
    }
  }
}

/* Puts the folder before each name of a list. False: it does not fit. */
static bool join_paths(const char *folder, const char *names, char paths[TEXT_MOST]) {
  size_t used = 0;
  paths[0] = '\0';
  for (const char *at = names; *at != '\0';) {
    at += strspn(at, " ,");
    size_t length = strcspn(at, ",");
    bool is_whole = at[0] == '/' || folder[0] == '\0';
    int written = snprintf(paths + used, TEXT_MOST - used, "%s%s%s%.*s", used > 0 ? "," : "", is_whole ? "" : folder,
                           is_whole ? "" : "/", (int)length, at);
    if (written < 0 || used + (size_t)written >= TEXT_MOST) {
      return false;
    }
    used += (size_t)written;
    at += length;
  }
  return true;
}

static int32_t read_info(const char *text, setting_t *setting) {
  char folder[TEXT_MOST], names[TEXT_MOST];
  find_value(text, "tlsCaPath", folder);
  find_value(text, "tlsCaFile", names);
  find_value(text, "tlsCert", setting->certificate);
  if (names[0] == '\0' || setting->certificate[0] == '\0' || !join_paths(folder, names, setting->authorities)) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "the text needs tlsCaPath, tlsCaFile and tlsCert, as \"key: value;\" pairs");
  }
  find_value(text, "tlsCrlPath", folder);
  find_value(text, "tlsCrlFile", names);
  return join_paths(folder, names, setting->revocations)
             ? SM_OK
             : hmci_smem_fail(SM_INVALID_PARAM, "the names of the revoked certificates are too long");
}

static void put_setting(setting_t *setting) {
  pthread_mutex_lock(&lock);
  setting_t *former = current;
  current = setting;
  pthread_mutex_unlock(&lock);
  if (former != NULL) {
    explicit_bzero(former, sizeof(*former));
    free(former);
  }
}

/* A copy of what is set, or an empty one; NULL: no memory. */
static setting_t *copy_setting(void) {
  setting_t *setting = calloc(1, sizeof(*setting));
  pthread_mutex_lock(&lock);
  if (setting != NULL && current != NULL) {
    *setting = *current;
  }
  pthread_mutex_unlock(&lock);
  return setting;
}

static int32_t set_info(bool enable, const char *text, const char *key_file, const char *password) {
  if (!enable) {
    put_setting(NULL);
    return SM_OK;
  }
  if (text == NULL) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "no text that names certificates: \"tlsCaPath: ..; tlsCaFile: ..; tlsCert: ..;\" is taken");
  }
  setting_t *setting = copy_setting();
  if (setting == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for certificates");
  }
  int32_t code = read_info(text, setting);
  if (code != SM_OK) {
    free(setting);
    return code;
  }
  setting->enabled = true;
  if (key_file != NULL) {
    snprintf(setting->key_file, sizeof(setting->key_file), "%s", key_file);
    snprintf(setting->cipher, sizeof(setting->cipher), "%s", password != NULL ? password : "");
  }
  put_setting(setting);
  return SM_OK;
}

int32_t smem_set_conf_store_tls(bool enable, const char *tls_info, const uint32_t tls_info_len) {
  char *text = NULL;
  if (enable && (tls_info == NULL || tls_info_len == 0 || tls_info_len > TEXT_MOST)) {
    return hmci_smem_fail(
        SM_INVALID_PARAM,
        "a text of %u B: 1 to %d are taken, such as \"tlsCaPath: /ca; tlsCaFile: ca.pem; tlsCert: /me.pem;\"",
        tls_info_len, TEXT_MOST);
  }
  if (enable) {
    text = strndup(tls_info, tls_info_len);
  }
  int32_t code = set_info(enable, text, NULL, NULL);
  free(text);
  return code;
}

int32_t smem_set_conf_store_tls_files(bool enable, const char *tls_info, const char *key_file,
                                      const char *key_password) {
  return set_info(enable, tls_info, key_file, key_password);
}

int32_t smem_set_config_store_tls_key(const char *tls_pk, const uint32_t tls_pk_len, const char *tls_pk_pw,
                                      const uint32_t tls_pk_pw_len, const smem_decrypt_handler h) {
  if (tls_pk == NULL || tls_pk_len == 0 || tls_pk_len >= sizeof(((setting_t *)0)->key) ||
      tls_pk_pw_len >= PASSWORD_MOST || (tls_pk_pw == NULL && tls_pk_pw_len > 0)) {
    return hmci_smem_fail(SM_INVALID_PARAM,
                          "a key of %u B with a password of %u B: a key is needed, and its password where it has one",
                          tls_pk_len, tls_pk_pw_len);
  }
  setting_t *setting = copy_setting();
  if (setting == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for a key");
  }
  memcpy(setting->key, tls_pk, tls_pk_len);
  setting->key[tls_pk_len] = '\0';
  memset(setting->cipher, 0, sizeof(setting->cipher));
  if (tls_pk_pw_len > 0) {
    memcpy(setting->cipher, tls_pk_pw, tls_pk_pw_len);
  }
  setting->decrypt = h;
  put_setting(setting);
  return SM_OK;
}

/* ---- the pool's own struct --------------------------------------------------------------------------------------- */

/* The text of a small file, without the end of its line. */
static int32_t read_password(const char *path, char text[PASSWORD_MOST]) {
  FILE *file = fopen(path, "re");
  size_t size = file != NULL ? fread(text, 1, PASSWORD_MOST, file) : 0;
  if (file != NULL) {
    fclose(file);
  }
  if (size == 0 || size == PASSWORD_MOST) {
    return hmci_smem_fail(SM_INVALID_PARAM, "keyPassPath %s: %s", path,
                          file == NULL ? "cannot be read" : "a password of 1 to 1023 B is expected");
  }
  text[size] = '\0';
  text[strcspn(text, "\r\n")] = '\0';
  return SM_OK;
}

int32_t hmci_smem_security_use(const smem_tls_config *config) {
  const char *const texts[] = {config->caPath,      config->crlPath,     config->certPath,        config->keyPath,
                               config->keyPassPath, config->packagePath, config->decrypterLibPath};
  for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
    if (memchr(texts[i], '\0', SMEM_TLS_PATH_SIZE) == NULL) {
      return hmci_smem_fail(SM_INVALID_PARAM, "a path of storeTlsConfig has no end");
    }
  }
  if (config->caPath[0] == '\0' || config->certPath[0] == '\0' || config->keyPath[0] == '\0') {
    return hmci_smem_fail(SM_INVALID_PARAM, "storeTlsConfig needs caPath, certPath and keyPath");
  }
  setting_t *setting = calloc(1, sizeof(*setting));
  if (setting == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for certificates");
  }
  int32_t code = config->keyPassPath[0] != '\0' ? read_password(config->keyPassPath, setting->cipher) : SM_OK;
  if (code != SM_OK) {
    free(setting);
    return code;
  }
  setting->enabled = true;
  snprintf(setting->authorities, sizeof(setting->authorities), "%s", config->caPath);
  snprintf(setting->certificate, sizeof(setting->certificate), "%s", config->certPath);
  snprintf(setting->revocations, sizeof(setting->revocations), "%s", config->crlPath);
  snprintf(setting->key_file, sizeof(setting->key_file), "%s", config->keyPath);
  snprintf(setting->decrypter, sizeof(setting->decrypter), "%s", config->decrypterLibPath);
  put_setting(setting);
  return SM_OK;
}

bool hmci_smem_security_is_set(void) {
  pthread_mutex_lock(&lock);
  bool is_set = current != NULL && current->enabled;
  pthread_mutex_unlock(&lock);
  return is_set;
}

/* ---- for links --------------------------------------------------------------------------------------------------- */

struct hmci_smem_security {
  setting_t setting;
  char password[PASSWORD_MOST];
  hmc_store_certificates_t certificates;
};

/* By the library that decrypterLibPath names, which stays loaded. It learns of as much room as the cipher text has and
 * an end: handlers are known that fill all they learn of. */
static int32_t decrypt_by_library(hmci_smem_security_t *security) {
  const setting_t *setting = &security->setting;
  int (*handler)(const char *, size_t, char *, int32_t) = NULL;
  void *library = dlopen(setting->decrypter, RTLD_NOW | RTLD_LOCAL);
  void *symbol = library != NULL ? dlsym(library, "DecryptPassword") : NULL;
  if (symbol == NULL) {
    return hmci_smem_fail(SM_ERROR, "decrypterLibPath %s has no DecryptPassword: %s", setting->decrypter, dlerror());
  }
  memcpy(&handler, &symbol, sizeof(handler));
  size_t size = strlen(setting->cipher);
  if (handler(setting->cipher, size, security->password, (int32_t)size + 1) != 0) {
    return hmci_smem_fail(SM_ERROR, "%s does not decrypt the private key's password", setting->decrypter);
  }
  return SM_OK;
}

static int32_t decrypt(hmci_smem_security_t *security) {
  const setting_t *setting = &security->setting;
  size_t size = sizeof(security->password) - 1;
  if (setting->decrypter[0] != '\0') {
    return decrypt_by_library(security);
  }
  if (setting->decrypt == NULL) {
    memcpy(security->password, setting->cipher, sizeof(security->password));
    return SM_OK;
  }
  if (setting->decrypt(setting->cipher, strlen(setting->cipher), security->password, &size) != 0 ||
      size >= sizeof(security->password)) {
    return hmci_smem_fail(SM_ERROR, "the handler does not decrypt the private key's password");
  }
  security->password[size] = '\0';
  return SM_OK;
}

int32_t hmci_smem_security_get(hmci_smem_security_t **got) {
  hmci_smem_security_t *security = calloc(1, sizeof(*security));
  if (security == NULL) {
    return hmci_smem_fail(SM_MALLOC_FAILED, "no memory for certificates");
  }
  pthread_mutex_lock(&lock);
  if (current != NULL) {
    security->setting = *current;
  }
  pthread_mutex_unlock(&lock);
  const setting_t *setting = &security->setting;
  int32_t code = setting->enabled ? decrypt(security) : SM_OK;
  if (code != SM_OK) {
    hmci_smem_security_free(security);
    return code;
  }
  security->certificates =
      (hmc_store_certificates_t){.size = sizeof(security->certificates),
                                 .authorities = setting->authorities,
                                 .certificate = setting->certificate,
                                 .key = setting->key[0] != '\0' ? setting->key : NULL,
                                 .key_file = setting->key_file[0] != '\0' ? setting->key_file : NULL,
                                 .key_password = security->password,
                                 .revocations = setting->revocations};
  *got = security;
  return SM_OK;
}

const hmc_store_certificates_t *hmci_smem_security_certificates(const hmci_smem_security_t *security) {
  return security->setting.enabled ? &security->certificates : NULL;
}

void hmci_smem_security_free(hmci_smem_security_t *security) {
  if (security != NULL) {
    explicit_bzero(security, sizeof(*security));
    free(security);
  }
}
