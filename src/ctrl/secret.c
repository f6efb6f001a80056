/* The job's secret (see secret.h).
 *
 * Invariant: ~/.hmc/secret, once it is there, is complete and never changes: it is written under another name and gets
 * its own by a link that fails where there is one already. The one who comes second reads what the first one made. No
 * locking: no state but a flag.
 *
 * What TLS gets is a digest, so that every secret has the same length; the bytes of the secret are wiped from the
 * stack. */
#include "secret.h"

#include "../base/file_limit.h"
#include "openssl.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <pwd.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  FILE_LIMIT = 4096,
  MADE_SIZE = 32,
  LEAST_SIZE = 16, /* bytes of a secret, and how many different ones */
  LEAST_VALUES = 6,
};

static const char label[] = "HMC secret, version 1"; /* its end is hashed too: no secret continues the label */

/* One who hears a handshake may try secrets at leisure; what a person makes up in a moment is found that way. This
 * keeps out what is found at once, and says what to take instead. */
static hmc_status_t check_strength(const uint8_t *data, size_t size) {
  bool seen[256] = {false};
  unsigned values = 0;
  for (size_t i = 0; i < size; i++) {
    values += !seen[data[i]];
    seen[data[i]] = true;
  }
  if (size >= LEAST_SIZE && values >= LEAST_VALUES) {
    return HMC_SUCCESS;
  }
  return hmci_fail(HMC_INVALID_CONFIG,
                   "it is too easy to guess (length %zu, %u different bytes; it takes at least %d bytes, %d of them "
                   "different): make one by 'openssl rand -hex 16'",
                   size, values, LEAST_SIZE, LEAST_VALUES);
}

/* The key is the digest of the label and the secret. A line end after the secret is not part of it: editors and `echo`
 * add one, and so the same text may come from a file here and from HMC_SECRET there. */
static hmc_status_t make_key(const uint8_t *data, size_t size, uint8_t key[32]) {
  if (size > 0 && data[size - 1] == '\n') {
    size--;
    if (size > 0 && data[size - 1] == '\r') {
      size--;
    }
  }
  if (size == 0) {
    return hmci_fail(HMC_INVALID_CONFIG, "it is empty");
  }
  hmc_status_t strength = check_strength(data, size);
  if (strength != HMC_SUCCESS) {
    return strength;
  }
  if (!hmci_openssl_acquire()) {
    return hmci_openssl_fail();
  }
  EVP_MD_CTX *digest = EVP_MD_CTX_new();
  bool done = digest != NULL && EVP_DigestInit_ex(digest, EVP_sha256(), NULL) == 1 &&
              EVP_DigestUpdate(digest, label, sizeof(label)) == 1 && EVP_DigestUpdate(digest, data, size) == 1 &&
              EVP_DigestFinal_ex(digest, key, NULL) == 1;
  EVP_MD_CTX_free(digest);
  ERR_clear_error();
  hmci_openssl_release();
  return done ? HMC_SUCCESS : hmci_fail(HMC_ERROR, "OpenSSL computes no SHA-256 here");
}

/* ---- files ------------------------------------------------------------------------------------------------------- */

/* Reads at most `capacity` bytes of an open file. */
static hmc_status_t read_all(int file, uint8_t *data, size_t capacity, size_t *size) {
  size_t filled = 0;
  while (filled < capacity) {
    ssize_t got = read(file, data + filled, capacity - filled);
    if (got == 0) {
      break;
    }
    if (got < 0 && errno != EINTR) {
      return hmci_fail(HMC_INVALID_CONFIG, "it cannot be read: %s", strerror(errno));
    }
    filled += got > 0 ? (size_t)got : 0;
  }
  *size = filled;
  return HMC_SUCCESS;
}

/* Reads a secret's file and makes the key. HMC_NOT_FOUND where there is no file. The texts say what is wrong with "it".
 */
static hmc_status_t key_of_file(const char *path, uint8_t key[32]) {
  uint8_t data[FILE_LIMIT + 1];
  size_t size = 0;
  struct stat status_of_file;
  hmc_status_t status;
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (file < 0) {
    status = errno == ENOENT || errno == ENOTDIR  ? HMC_NOT_FOUND
             : errno == EMFILE || errno == ENFILE ? HMC_NO_MEMORY
                                                  : HMC_INVALID_CONFIG;
    return hmci_fail(status, "it cannot be opened: %s", strerror(errno));
  }
  if (fstat(file, &status_of_file) != 0 || !S_ISREG(status_of_file.st_mode)) {
    status = hmci_fail(HMC_INVALID_CONFIG, "it is not a plain file");
    goto out;
  }
  if (status_of_file.st_uid != geteuid() && status_of_file.st_uid != 0) {
    status = hmci_fail(HMC_INVALID_CONFIG, "it belongs to user %u, who may change it: only user %u and root may own it",
                       (unsigned)status_of_file.st_uid, (unsigned)geteuid());
    goto out;
  }
  if ((status_of_file.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    status = hmci_fail(HMC_INVALID_CONFIG, "others than its owner may use it (mode %04o): run chmod 600 %s",
                       (unsigned)(status_of_file.st_mode & 07777), path);
    goto out;
  }
  status = read_all(file, data, sizeof(data), &size);
  if (status != HMC_SUCCESS) {
    goto out;
  }
  status = size > FILE_LIMIT
               ? hmci_fail(HMC_INVALID_CONFIG, "it is larger than the %d B that a secret may have", FILE_LIMIT)
               : make_key(data, size, key);
out:
  explicit_bzero(data, sizeof(data));
  close(file);
  return status;
}

/* Writes a fresh secret to a new file. */
static hmc_status_t write_fresh(const char *path) {
  uint8_t data[MADE_SIZE];
  int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, S_IRUSR | S_IWUSR);
  if (file < 0) {
    return hmci_fail(HMC_ERROR, "making %s: %s", path, strerror(errno));
  }
  do {
    hmci_random(data, sizeof(data));
  } while (data[MADE_SIZE - 1] == '\n'); /* would be taken for a line end */
  bool done = hmci_file_may_have(MADE_SIZE) && fchmod(file, S_IRUSR | S_IWUSR) == 0 &&
              write(file, data, sizeof(data)) == MADE_SIZE && fsync(file) == 0;
  int error = errno;
  explicit_bzero(data, sizeof(data));
  done = close(file) == 0 && done;
  if (!done) {
    unlink(path);
    return hmci_fail(HMC_ERROR, "writing %s: %s", path, strerror(error));
  }
  return HMC_SUCCESS;
}

/* Makes the file `path` in `directory`, unless somebody else does meanwhile. */
static hmc_status_t make_file(const char *directory, const char *path) {
  char fresh[PATH_MAX];
  uint64_t number;
  if (mkdir(directory, S_IRWXU) != 0 && errno != EEXIST) {
    return hmci_fail(HMC_ERROR, "making the directory %s: %s", directory, strerror(errno));
  }
  hmci_random(&number, sizeof(number));
  if (snprintf(fresh, sizeof(fresh), "%s.%016llx", path, (unsigned long long)number) >= (int)sizeof(fresh)) {
    return hmci_fail(HMC_ERROR, "the path %s is too long", path);
  }
  hmc_status_t status = write_fresh(fresh);
  if (status != HMC_SUCCESS) {
    return status;
  }
  /* Some file systems have no hard links; those have renames that replace nothing. */
  if (link(fresh, path) != 0 && errno != EEXIST && renameat2(AT_FDCWD, fresh, AT_FDCWD, path, RENAME_NOREPLACE) != 0 &&
      errno != EEXIST) {
    status = hmci_fail(HMC_ERROR, "making %s: %s", path, strerror(errno));
  }
  unlink(fresh);
  return status;
}

/* ---- the three places -------------------------------------------------------------------------------------------- */

/* The home directory that the environment names, and the one that the system has for this user; "" where there is none. */
typedef struct homes {
  char named[PATH_MAX - 64], own[PATH_MAX - 64];
} homes_t;

static void copy_path(char *to, size_t size, const char *path) {
  if (path == NULL || path[0] != '/' || snprintf(to, size, "%s", strcmp(path, "/") == 0 ? "" : path) >= (int)size) {
    to[0] = '\0';
  }
}

static bool belongs_to_another(const char *directory) {
  struct stat status;
  return stat(directory, &status) == 0 && status.st_uid != geteuid();
}

/* `own` only where `named` is missing or another user's: looking a user up may ask a server, and the C library ends the
 * process when it has no memory for its first look. */
static void find_homes(homes_t *homes) {
  homes->own[0] = '\0';
  copy_path(homes->named, sizeof(homes->named), getenv("HOME"));
  if (homes->named[0] == '\0' || belongs_to_another(homes->named)) {
    struct passwd entry, *found = NULL;
    char buffer[4096];
    getpwuid_r(geteuid(), &entry, buffer, sizeof(buffer), &found);
    copy_path(homes->own, sizeof(homes->own), found != NULL ? found->pw_dir : NULL);
  }
}

/* Loads the secret of a directory, which is made on first use. `usable`: what is there, or the attempt to make it, is to
 * be taken as it is; false: there can be none for this user, and another directory may do. */
static hmc_status_t load_from(const char *directory, hmci_secret_t *secret, bool *usable) {
  char path[PATH_MAX];
  *usable = false;
  if (snprintf(path, sizeof(path), "%s/secret", directory) >= (int)sizeof(path)) {
    return hmci_fail(HMC_ERROR, "the path %.64s... is too long", directory);
  }
  hmc_status_t status = key_of_file(path, secret->key);
  if (status == HMC_NOT_FOUND) {
    status = make_file(directory, path);
    if (status != HMC_SUCCESS) {
      return status;
    }
    status = key_of_file(path, secret->key);
  }
  struct stat file;
  *usable = status == HMC_SUCCESS || (stat(path, &file) == 0 && file.st_uid == geteuid());
  if (status != HMC_SUCCESS) {
    return hmci_fail_prefix(status == HMC_NOT_FOUND ? HMC_ERROR : status, "the secret's file %s: ", path);
  }
  snprintf(secret->source, sizeof(secret->source), "%.*s", (int)sizeof(secret->source) - 1, path);
  return HMC_SUCCESS;
}

/* The user's own: in the home directory; where that is another user's (sudo -E) or cannot be written (a system account,
 * a read-only file system), in the user's own home or in the folder of the session. */
static hmc_status_t load_own(hmci_secret_t *secret) {
  homes_t homes;
  char places[3][PATH_MAX - 32] = {"", "", ""}, first[HMCI_ERROR_TEXT] = "";
  hmc_status_t status = HMC_ERROR;
  bool usable = false;
  find_homes(&homes);
  const char *runtime = getenv("XDG_RUNTIME_DIR");
  if (homes.named[0] != '\0') snprintf(places[0], sizeof(places[0]), "%s/.hmc", homes.named);
  if (homes.own[0] != '\0') snprintf(places[1], sizeof(places[1]), "%s/.hmc", homes.own);
  if (runtime != NULL && runtime[0] == '/' && strlen(runtime) < sizeof(homes.own))
    snprintf(places[2], sizeof(places[2]), "%s/hmc", runtime);
  for (int i = 0; i < 3 && !usable; i++) {
    if (places[i][0] == '\0') continue;
    status = load_from(places[i], secret, &usable);
    if (first[0] == '\0' && status != HMC_SUCCESS) snprintf(first, sizeof(first), "%s", hmc_last_error());
  }
  if (usable) return status; /* also where it is unfit: what is found is not passed over in silence */
  return hmci_fail(
      status,
      "user %u has no place for a secret (%s): set HMC_SECRET_FILE or HMC_SECRET, HOME to a folder that this "
      "user may write, or XDG_RUNTIME_DIR",
      (unsigned)geteuid(), first[0] != '\0' ? first : "no home directory");
}

static hmc_status_t load_file(const char *path, hmci_secret_t *secret) {
  hmc_status_t status = key_of_file(path, secret->key);
  if (status != HMC_SUCCESS) {
    return hmci_fail_prefix(status == HMC_NOT_FOUND ? HMC_INVALID_CONFIG : status, "HMC_SECRET_FILE=%s: ", path);
  }
  snprintf(secret->source, sizeof(secret->source), "HMC_SECRET_FILE=%s", path);
  return HMC_SUCCESS;
}

static hmc_status_t load_text(const char *text, hmci_secret_t *secret) {
  hmc_status_t status = make_key((const uint8_t *)text, strlen(text), secret->key);
  if (status != HMC_SUCCESS) {
    return hmci_fail_prefix(status, "HMC_SECRET: ");
  }
  snprintf(secret->source, sizeof(secret->source), "HMC_SECRET");
  return HMC_SUCCESS;
}

static void load_none(hmci_secret_t *secret) {
  static atomic_flag said = ATOMIC_FLAG_INIT;
  secret->insecure = true;
  snprintf(secret->source, sizeof(secret->source), "HMC_INSECURE");
  if (!atomic_flag_test_and_set(&said)) {
    hmci_log(HMC_LOG_WARNING,
             "HMC_INSECURE is set: anyone who reaches this process may connect to it, and nothing is encrypted");
  }
}

hmc_status_t hmci_secret_load(const hmci_settings_t *settings, hmci_secret_t *secret) {
  hmci_secret_t loaded = {0};
  hmc_status_t status = HMC_SUCCESS;
  if (settings->insecure) {
    load_none(&loaded);
  } else if (settings->secret_file[0] != '\0') {
    status = load_file(settings->secret_file, &loaded);
  } else if (settings->secret[0] != '\0') {
    status = load_text(settings->secret, &loaded);
  } else {
    status = load_own(&loaded);
  }
  if (status == HMC_SUCCESS) {
    *secret = loaded;
  }
  hmci_secret_wipe(&loaded);
  return status;
}

hmc_status_t hmc_secret_source(char *text, size_t size) {
  hmci_settings_t settings;
  hmci_secret_t secret;
  hmc_status_t status = hmci_settings_read(&settings);
  if (status == HMC_SUCCESS) {
    status = hmci_secret_load(&settings, &secret);
  }
  explicit_bzero(&settings, sizeof(settings));
  if (status != HMC_SUCCESS) {
    return status;
  }
  if (text != NULL && size > 0) {
    snprintf(text, size, "%s", secret.source);
  }
  hmci_secret_wipe(&secret);
  return HMC_SUCCESS;
}

void hmci_secret_wipe(hmci_secret_t *secret) { explicit_bzero(secret->key, sizeof(secret->key)); }
