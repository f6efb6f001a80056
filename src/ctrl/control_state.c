/* The control channel's table of links, and what brackets and delays its public calls (see control_state.h).
 *
 * Invariant: each rank has at most one entry, which has one link, alive or lost. */
#include "control_state.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_MS UINT64_C(1000000)

/* ---- the table --------------------------------------------------------------------------------------------------- */

static hmci_list_t *bucket_of(hmc_control_t *control, uint32_t rank) {
  return &control->buckets[rank % HMCI_CONTROL_BUCKETS];
}

hmci_entry_t *hmci_control_entry(hmc_control_t *control, uint32_t rank) {
  hmci_list_t *head = bucket_of(control, rank);
  for (hmci_list_t *at = head->next; at != head; at = at->next) {
    hmci_entry_t *entry = HMCI_CONTAINER(at, hmci_entry_t, bucket);
    if (entry->rank == rank) {
      return entry;
    }
  }
  return NULL;
}

hmci_link_t *hmci_control_remove_entry(hmci_entry_t *entry) {
  hmci_link_t *link = entry->link;
  hmci_list_remove(&entry->order);
  hmci_list_remove(&entry->bucket);
  free(entry);
  return link;
}

static hmci_entry_t *add_entry(hmc_control_t *control, uint32_t rank) {
  hmci_entry_t *entry = calloc(1, sizeof(*entry));
  if (entry != NULL) {
    entry->rank = rank;
    hmci_list_init(&entry->order);
    hmci_list_append(bucket_of(control, rank), &entry->bucket);
  }
  return entry;
}

hmc_status_t hmci_control_adopt(hmc_control_t *control, const hmci_entry_t *peer, hmci_secure_t *stream,
                                const char *address, const void *first, size_t first_size, hmci_link_t **former) {
  char name[HMCI_ADDRESS_TEXT];
  hmci_link_t *link;
  snprintf(name, sizeof(name), "rank %u (%.100s)", peer->rank, address);
  hmci_entry_t *entry = hmci_control_entry(control, peer->rank);
  hmci_link_t *old = entry != NULL ? entry->link : NULL;
  if (entry == NULL) {
    entry = add_entry(control, peer->rank);
    if (entry == NULL) {
      return hmci_fail(HMC_NO_MEMORY, "no memory for a link to %s", name);
    }
  }
  hmc_status_t status = hmci_link_create(control->loop, stream, name, control->settings.spin, first, first_size, &link);
  if (status != HMC_SUCCESS) {
    goto err_entry;
  }
  if (old != NULL) {
    hmci_link_end(old, HMC_STALE, "a newer link took its place");
    hmci_link_inherit(link, old);
  }
  entry->is_unix = peer->is_unix;
  memcpy(entry->ip, peer->ip, sizeof(entry->ip));
  entry->link = link;
  entry->incarnation = peer->incarnation;
  entry->floor = peer->floor;
  entry->arrival = ++control->arrivals;
  hmci_list_remove(&entry->order);
  hmci_list_append(&control->entries, &entry->order);
  pthread_cond_broadcast(&control->changed);
  *former = old;
  return HMC_SUCCESS;

err_entry:
  if (old == NULL) {
    hmci_control_remove_entry(entry);
  }
  return status;
}

void hmci_control_plain_ip(const char *ip, char plain[INET6_ADDRSTRLEN]) {
  char text[HMCI_ADDRESS_TEXT];
  struct in6_addr v6;
  bool is_bracketed = ip[0] == '[';
  snprintf(text, sizeof(text), "%s", ip + is_bracketed);
  text[strcspn(text, "]%")] = '\0';
  if (inet_pton(AF_INET6, text, &v6) == 1) {
    bool is_v4 = IN6_IS_ADDR_V4MAPPED(&v6);
    inet_ntop(is_v4 ? AF_INET : AF_INET6, is_v4 ? &v6.s6_addr[12] : &v6.s6_addr[0], plain, INET6_ADDRSTRLEN);
  } else {
    text[strcspn(text, ":")] = '\0';
    snprintf(plain, INET6_ADDRSTRLEN, "%.*s", INET6_ADDRSTRLEN - 1, text);
  }
}

/* ---- entering and waiting ---------------------------------------------------------------------------------------- */

hmc_status_t hmci_control_enter(hmc_control_t *control) {
  if (control == NULL) {
    return hmci_fail(HMC_INVALID_CONFIG, "no control channel given");
  }
  if (getpid() != control->process) {
    return hmci_fail(HMC_UNSUPPORT,
                     "this control channel was made before fork(), by process %d: the child makes its own",
                     (int)control->process);
  }
  pthread_mutex_lock(&control->lock);
  bool closing = control->closing;
  control->callers += !closing;
  pthread_mutex_unlock(&control->lock);
  return closing ? hmci_fail(HMC_CANCELLED, "the control channel is being destroyed") : HMC_SUCCESS;
}

void hmci_control_leave(hmc_control_t *control) {
  pthread_mutex_lock(&control->lock);
  control->callers--;
  if (control->closing) {
    pthread_cond_broadcast(&control->changed);
  }
  pthread_mutex_unlock(&control->lock);
}

uint64_t hmci_control_deadline(const hmc_control_t *control, uint64_t timeout_ms) {
  uint64_t deadline;
  if (timeout_ms != 0) {
    return hmci_deadline(timeout_ms);
  }
  return __builtin_add_overflow(hmci_now(), control->settings.timeout, &deadline) ? HMCI_NEVER : deadline;
}

hmc_status_t hmci_control_wait(hmc_control_t *control, uint64_t deadline) {
  int result = 0;
  if (!control->closing && deadline == HMCI_NEVER) {
    pthread_cond_wait(&control->changed, &control->lock);
  } else if (!control->closing) {
    struct timespec until = {.tv_sec = (time_t)(deadline / (1000 * NS_PER_MS)),
                             .tv_nsec = (long)(deadline % (1000 * NS_PER_MS))};
    result = pthread_cond_timedwait(&control->changed, &control->lock, &until);
  }
  if (control->closing) {
    return hmci_fail(HMC_CANCELLED, "the control channel is being destroyed");
  }
  return result == ETIMEDOUT ? HMC_TIMEOUT : HMC_SUCCESS;
}
