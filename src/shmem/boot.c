/* Which launcher started this process, by its environment: hmcrun, PMIx, torchrun, or none. */
#include "boot.h"
#include "state.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

hmci_boot_t hmci_boot;

void hmci_end_job(int status) {
  if (hmci_boot.abort) hmci_boot.abort(&hmci_boot, status);
  fflush(NULL);
  _exit(status);
}

static bool number_of(const char *name, int *value) {
  const char *text = getenv(name);
  if (!text || !*text) return false;
  char *end;
  long number = strtol(text, &end, 10);
  if (*end || number < 0 || number > 1 << 24) hmci_die("%s=%s is not a number from 0 to %d", name, text, 1 << 24);
  *value = (int)number;
  return true;
}

static bool gather_alone(hmci_boot_t *boot, const void *mine, size_t bytes, void *all) {
  (void)boot;
  memcpy(all, mine, bytes);
  return true;
}

static void abort_alone(hmci_boot_t *boot, int status) {
  (void)boot;
  (void)status;
}

static void close_alone(hmci_boot_t *boot) { (void)boot; }

static void be_alone(hmci_boot_t *boot) {
  *boot = (hmci_boot_t){.name = "no launcher",
                        .rank = 0,
                        .size = 1,
                        .one_host = true,
                        .gather = gather_alone,
                        .abort = abort_alone,
                        .close = close_alone};
}

/* ---- hmcrun ---------------------------------------------------------------------------------------------------------- */

/* hmcrun looks for the file `exit` when a PE ends: then all end, with the status in it. Several PEs may write it, the first
 * one's stays, and none is seen half written. */
static void abort_by_file(hmci_boot_t *boot, int status) {
  const char *folder = getenv("HMC_JOB_DIR");
  char path[512], own[540];
  if (!folder || snprintf(path, sizeof path, "%s/exit", folder) >= (int)sizeof path) return;
  snprintf(own, sizeof own, "%s.%d", path, boot->rank);
  FILE *file = fopen(own, "w");
  if (!file) return;
  fprintf(file, "%d\n", status);
  fclose(file);
  HMC_IGNORE(link(own, path)); /* it fails where another one was first */
  unlink(own);
}

static bool by_hmcrun(hmci_boot_t *boot) {
  int rank, size;
  const char *folder = getenv("HMC_JOB_DIR");
  if (!folder || !number_of("HMC_JOB_RANK", &rank) || !number_of("HMC_JOB_SIZE", &size)) return false;
  if (rank >= size)
    hmci_die("HMC_JOB_RANK=%d of HMC_JOB_SIZE=%d: ranks are numbered from 0 to %d", rank, size, size - 1);
  char address[512];
  snprintf(address, sizeof address, "unix:%s/boot", folder);
  if (size == 1) {
    be_alone(boot);
  } else if (!hmci_boot_by_rendezvous(boot, rank, size, address, 0)) {
    hmci_pe.me = rank; /* for the text */
    hmci_die("the job of hmcrun does not start");
  }
  boot->one_host = true;
  boot->abort = abort_by_file;
  return true;
}

/* ---- torchrun -------------------------------------------------------------------------------------------------------- */

#define TORCHRUN_PORT_OFFSET 11 /* MASTER_PORT itself is torch's store */

static bool by_torchrun(hmci_boot_t *boot) {
  int rank, size, port;
  const char *ip = getenv("MASTER_ADDR");
  if (!number_of("RANK", &rank) || !number_of("WORLD_SIZE", &size)) return false;
  if (!ip || !*ip || !number_of("MASTER_PORT", &port)) {
    if (size < 2) return false;
    hmci_die("RANK=%d of WORLD_SIZE=%d, but no %s: set MASTER_ADDR and MASTER_PORT to where PE 0 runs, or unset both",
             rank, size, ip && *ip ? "MASTER_PORT" : "MASTER_ADDR");
  }
  if (rank >= size) hmci_die("RANK=%d of WORLD_SIZE=%d: ranks are numbered from 0 to %d", rank, size, size - 1);
  char address[300];
  int own_port;
  if (!number_of("SHMEM_MASTER_PORT", &own_port)) own_port = port + TORCHRUN_PORT_OFFSET;
  snprintf(address, sizeof address, "tcp://%s:%d", ip, own_port);
  if (size == 1) {
    be_alone(boot);
  } else if (!hmci_boot_by_rendezvous(boot, rank, size, address, 0)) {
    hmci_pe.me = rank; /* for the text */
    hmci_die("the job of torchrun does not start; its PEs meet at port SHMEM_MASTER_PORT (default: MASTER_PORT + %d)",
             TORCHRUN_PORT_OFFSET);
  }
  boot->name = "torchrun";
  return true;
}

bool hmci_boot_is_launched(void) {
  return getenv("HMC_JOB_DIR") || getenv("PMIX_RANK") || (getenv("MASTER_ADDR") && getenv("WORLD_SIZE"));
}

void hmci_boot_open(hmci_boot_t *boot) {
  if (!by_hmcrun(boot) && !hmci_boot_by_pmix(boot) && !by_torchrun(boot)) be_alone(boot);
}

bool hmci_boot_open_as(hmci_boot_t *boot, const hmci_boot_wish_t *wish) {
  if (wish->size > 1) return hmci_boot_by_rendezvous(boot, wish->rank, wish->size, wish->address, wish->timeout_ms);
  be_alone(boot);
  return true;
}
