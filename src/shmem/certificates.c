/* Starting with certificates, as SHMEM for Ascend sets them: the PEs meet over a store at rank 0, both ends of each
 * connection show certificates, and the secret by which the PEs authenticate to each other afterwards comes from there.
 *
 * Locking: none. The settings change before init only, in one thread, and init reads them. */
#include "certificates.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { TEXT = 4096, KEY = 16384, PASSWORD = 1024, SECRET = 32 };

static struct {
  bool set;
  char authorities[TEXT], certificate[TEXT], revocations[TEXT], key[KEY], password[PASSWORD];
  hmc_store_certificates_t certificates;
} chosen;

/* ---- settings -------------------------------------------------------------------------------------------------------- */

/* The value of a key of "key: value;" pairs; false where it does not fit. One that is not there is "". */
static bool find_value(const char *text, const char *key, char value[TEXT]) {
  size_t length = strlen(key);
  value[0] = 0;
  for (const char *at = text; at && *at; at = strchr(at, ';')) {
    at += strspn(at, "; \n\t");
    if (strncmp(at, key, length) != 0 || at[length + strspn(at + length, " ")] != ':') continue;
    const char *begin = strchr(at, ':') + 1;
    begin += strspn(begin, " ");
    return snprintf(value, TEXT, "%.*s", (int)strcspn(begin, ";"), begin) < TEXT;
  }
  return true;
}

/* The names of a list, separated by commas, in their folder. */
static bool find_files(const char *text, const char *folder_key, const char *names_key, char paths[TEXT]) {
  char folder[TEXT], names[TEXT];
  size_t used = 0;
  paths[0] = 0;
  if (!find_value(text, folder_key, folder) || !find_value(text, names_key, names)) return false;
  for (const char *at = names + strspn(names, " ,"); *at; at += strspn(at, " ,")) {
    int length = (int)strcspn(at, ",");
    bool whole = at[0] == '/' || !folder[0];
    int written = snprintf(paths + used, TEXT - used, "%s%s%s%.*s", used ? "," : "", whole ? "" : folder,
                           whole ? "" : "/", length, at);
    if (written < 0 || (size_t)written >= TEXT - used) return false;
    used += (size_t)written;
    at += length;
  }
  return true;
}

bool hmci_certificates_set(const char *info, size_t length) {
  char authorities[TEXT], certificate[TEXT], revocations[TEXT];
  char *text = strndup(info, length);
  bool fits = text && find_files(text, "tlsCaPath", "tlsCaFile", authorities) &&
              find_files(text, "tlsCrlPath", "tlsCrlFile", revocations) && find_value(text, "tlsCert", certificate);
  free(text);
  if (!fits || !authorities[0] || !certificate[0]) return false;
  memcpy(chosen.authorities, authorities, TEXT);
  memcpy(chosen.certificate, certificate, TEXT);
  memcpy(chosen.revocations, revocations, TEXT);
  chosen.set = true;
  return true;
}

bool hmci_certificates_set_key(const char *key, size_t length, const char *password, size_t password_length,
                               hmc_shmem_decrypt_t decrypt) {
  char readable[PASSWORD] = "";
  size_t size = PASSWORD - 1;
  if (length >= KEY || password_length >= PASSWORD || (password_length && !password)) return false;
  if (decrypt && password_length) {
    if (decrypt(password, password_length, readable, &size) != 0 || size >= PASSWORD) return false;
    readable[size] = 0;
  } else if (password_length) {
    memcpy(readable, password, password_length);
    readable[password_length] = 0;
  }
  memcpy(chosen.key, key, length);
  chosen.key[length] = 0;
  memcpy(chosen.password, readable, PASSWORD);
  explicit_bzero(readable, sizeof readable);
  return true;
}

void hmci_certificates_clear(void) { explicit_bzero(&chosen, sizeof chosen); }

const hmc_store_certificates_t *hmci_certificates(void) {
  if (!chosen.set) return NULL;
  chosen.certificates = (hmc_store_certificates_t){.size = sizeof chosen.certificates,
                                                   .authorities = chosen.authorities,
                                                   .certificate = chosen.certificate,
                                                   .key = chosen.key[0] ? chosen.key : NULL,
                                                   .key_password = chosen.password[0] ? chosen.password : NULL,
                                                   .revocations = chosen.revocations[0] ? chosen.revocations : NULL};
  return &chosen.certificates;
}

/* ---- meeting --------------------------------------------------------------------------------------------------------- */

typedef struct meeting {
  hmc_store_server_t *server; /* at rank 0 */
  hmc_store_t *store;
  uint64_t timeout_ms;
  int gathers; /* each has a name of its own */
} meeting_t;

static hmc_store_server_t *prepared;

bool hmci_store_prepare(const char *ip, uint16_t *port) {
  hmc_store_server_stop(prepared);
  prepared = NULL;
  hmc_store_server_options_t options = HMC_STORE_SERVER_OPTIONS_INIT;
  options.ip = ip;
  options.port = *port;
  options.certificates = hmci_certificates();
  if (hmc_store_server_start(&options, &prepared) != HMC_SUCCESS) return false;
  *port = hmc_store_server_port(prepared);
  return true;
}

static bool gather(hmci_boot_t *boot, const void *mine, size_t bytes, void *all) {
  meeting_t *meeting = boot->state;
  char name[32];
  snprintf(name, sizeof name, "shmem.%d", meeting->gathers++);
  return hmc_store_gather(meeting->store, name, (uint32_t)boot->size, (uint32_t)boot->rank, mine, bytes, all,
                          meeting->timeout_ms) == HMC_SUCCESS;
}

static void abort_nobody(hmci_boot_t *boot, int status) {
  (void)boot;
  (void)status;
}

/* The server stays until all have said that they leave; who says so last sets a key, whose answer it does not need. */
static void leave(hmci_boot_t *boot) {
  enum { LAST_WORD_MS = 2000 };
  meeting_t *meeting = boot->state;
  int64_t left = 0;
  char byte = 1;
  size_t size;
  hmc_status_t status = hmc_store_add(meeting->store, "shmem.left", 1, &left, 0);
  if (status == HMC_SUCCESS && left == boot->size) {
    status = hmc_store_set(meeting->store, "shmem.empty", &byte, 1, NULL, LAST_WORD_MS);
  } else if (status == HMC_SUCCESS && meeting->server) {
    status = hmc_store_wait(meeting->store, "shmem.empty", &byte, 1, &size, 0);
  }
  (void)status; /* an end that is not orderly is an end too */
  hmc_store_close(meeting->store);
  hmc_store_server_stop(meeting->server);
  free(meeting);
  boot->state = NULL;
}

/* The certificates have shown who all are, so the first one's secret is the job's. */
static bool agree_on_secret(hmci_boot_t *boot) {
  if (getenv("HMC_SECRET") || getenv("HMC_SECRET_FILE")) return true;
  unsigned char mine[SECRET];
  unsigned char *all = malloc((size_t)boot->size * SECRET);
  bool works = all && getrandom(mine, sizeof mine, 0) == SECRET && gather(boot, mine, SECRET, all);
  char text[2 * SECRET + 1];
  for (int i = 0; works && i < SECRET; i++) snprintf(text + 2 * i, 3, "%02x", all[i]);
  free(all);
  return works && setenv("HMC_SECRET", text, 1) == 0;
}

bool hmci_boot_by_store(hmci_boot_t *boot, int rank, int size, const char *ip, uint16_t port, uint64_t timeout_ms) {
  meeting_t *meeting = calloc(1, sizeof *meeting);
  if (!meeting) return false;
  meeting->timeout_ms = timeout_ms;
  if (rank == 0 && !prepared && !hmci_store_prepare(ip, &port)) goto err_server;
  if (rank == 0) {
    meeting->server = prepared;
    prepared = NULL;
  }
  char address[300];
  snprintf(address, sizeof address, "tcp://%s:%u", ip, (unsigned)port);
  hmc_store_options_t options = HMC_STORE_OPTIONS_INIT;
  options.certificates = hmci_certificates();
  if (hmc_store_connect(address, &options, timeout_ms, &meeting->store) != HMC_SUCCESS) goto err_server;
  *boot = (hmci_boot_t){.name = "certificates",
                        .rank = rank,
                        .size = size,
                        .gather = gather,
                        .abort = abort_nobody,
                        .close = leave,
                        .state = meeting};
  if (agree_on_secret(boot)) {
    meeting->timeout_ms = 0;
    return true;
  }
  hmc_store_close(meeting->store);

err_server:
  fprintf(stderr,
          "shmem: PE %d of %d does not meet the others at %s:%u by certificates: %s: PE 0 serves that port, and each "
          "PE needs "
          "a number of its own and a certificate of the same authority\n",
          rank, size, ip, (unsigned)port, hmc_last_error());
  hmc_store_server_stop(meeting->server);
  free(meeting);
  *boot = (hmci_boot_t){0};
  return false;
}
