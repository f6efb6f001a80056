/* What the files of the responder share: responder.c (the service), responder_request.c, responder_reply.c. */
#ifndef HMCI_STREAM_RESPONDER_INTERNAL_H
#define HMCI_STREAM_RESPONDER_INTERNAL_H

#include "responder.h"

enum {
  HMCI_RESPONDER_JOBS = 16384,       /* answers waiting to be sent; more than credits allow a peer */
  HMCI_RESPONDER_LEASED = 128 << 10, /* bytes that one system call moves under a lease */
  HMCI_RESPONDER_ROUND = 1 << 20,    /* bytes served before other watches get their turn */
  HMCI_RESPONDER_PARTS = 66,         /* of one system call */
  HMCI_RESPONDER_EASY = 64,          /* operations that may wait for one acknowledgement */
};

/* A get that waits for its answer, the result of an atomic, or a refusal. */
struct hmci_responder_job {
  hmci_list_t link;
  uint64_t sequence, lease;
  hmc_status_t status; /* not HMC_SUCCESS: a NAK */
  bool last;           /* the operation ends with this job */
  bool checksum;
  bool is_fine;   /* of host memory, in pieces that are copied: see hmci_pieces_are_fine */
  uint64_t value; /* of a result */
  uint64_t done;  /* what was done and is due to be acknowledged before it: a chain ends with its last operation */
  hmci_region_view_t *region;
  hmci_cursor_t cursor; /* where the next frame starts, or the next chunk that the device copies */
  uint64_t left;        /* to be sent */
  uint64_t to_copy;     /* to be copied by the device */
  uint32_t count;       /* 0: a refusal, or a result */
  hmci_segment_t entries[];
};

static inline hmci_responder_job_t *hmci_responder_first_job(hmci_responder_t *responder) {
  return HMCI_CONTAINER(responder->jobs.next, hmci_responder_job_t, link);
}

static inline void hmci_responder_release(hmci_responder_t *responder, hmci_region_view_t **region) {
  if (*region) responder->host->region_release(responder->host, *region);
  *region = NULL;
}

/* Another thread has `lock` to be let to. */
static inline bool hmci_responder_is_wanted(const hmci_responder_t *responder) {
  return atomic_load(&responder->callers) > 0; /* partner: take_first */
}

void hmci_responder_free_job(hmci_responder_t *responder, hmci_responder_job_t *job);

/* The peer is gone, or broke the protocol (the thread's error text says how): ends the service and tells the host. */
void hmci_responder_lose(hmci_responder_t *responder, const char *reason);
void hmci_responder_break_off(hmci_responder_t *responder);

/* Receives what is there, up to a round. True when something moved. */
bool hmci_responder_receive(hmci_responder_t *responder);
/* Notes why the current operation fails. */
void hmci_responder_refuse(hmci_responder_t *responder, hmc_status_t status);
/* The frame that comes in goes into device memory by the stage. */
bool hmci_responder_is_staged(const hmci_responder_t *responder);
/* Ends what the device has copied; all of it, waiting, when `wait` is set. False when the stream is broken. */
bool hmci_responder_end_chunks(hmci_responder_t *responder, bool wait, bool *moved);

/* Sends answers until all are gone, the pipe is full, or a device has to copy first. True when something moved. */
bool hmci_responder_send(hmci_responder_t *responder);
/* Gives up the room for answers in fine pieces, where nothing lies in it. */
void hmci_responder_narrow(hmci_responder_t *responder);
/* Drops the chunks of the oldest job; the device has finished when it returns. */
void hmci_responder_drop_chunks(hmci_responder_t *responder);

#endif
