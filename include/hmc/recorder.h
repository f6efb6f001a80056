/* The flight recorder: the last events of a process, kept in a file that outlives it, also when it is killed.
 *
 * With HMC_RECORDER a process writes one; hmc-info --recorder prints it. What the calling thread does by itself in mapped
 * memory is not recorded. */
#ifndef HMC_RECORDER_H
#define HMC_RECORDER_H

#include <hmc/export.h>
#include <hmc/status.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum hmc_record_kind {
  HMC_RECORD_CONTEXT = 1, /* a context was created, or destroyed */
  HMC_RECORD_PEER = 2,    /* a peer came, or went */
  HMC_RECORD_PUT = 3,     /* an operation ended */
  HMC_RECORD_GET = 4,
  HMC_RECORD_ATOMIC = 5,
  HMC_RECORD_LOG = 6, /* a warning or an error */
} hmc_record_kind_t;

/* One event. */
typedef struct hmc_record {
  size_t size;
  uint64_t nanoseconds; /* when it ended, since 1970 */
  uint64_t duration;    /* nanoseconds; 0: it has none */
  uint64_t bytes;       /* of an operation */
  hmc_record_kind_t kind;
  hmc_status_t status;
  int process, thread;
  char text[64]; /* the peer, or what happened, cut where longer */
} hmc_record_t;

typedef void (*hmc_record_visit_t)(const hmc_record_t *record, void *user);

/**
 * Reads a recorder's file, the oldest event first. The process that writes it may be running, or gone.
 *
 * \param path The file that HMC_RECORDER named.
 * \param visit Is called for each event; the record is valid during the call only.
 * \param user Handed to `visit`.
 * \return HMC_SUCCESS
 * \return HMC_NOT_FOUND There is no such file, or it cannot be read.
 * \return HMC_CORRUPT It is not a recorder's, or of another version.
 * \return HMC_INVALID_CONFIG NULL.
 */
HMC_API HMC_CHECKED hmc_status_t hmc_recorder_read(const char *path, hmc_record_visit_t visit, void *user);

#ifdef __cplusplus
}
#endif
#endif
