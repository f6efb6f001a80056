/* verbs: RDMA over InfiniBand, RoCE and their likes. How it works, and the entries of its table.
 *
 * Between two peers there are rails, one or (HMC_RDMA_RAILS) several, each a reliable connected queue pair between
 * devices of its own; and a link: an authenticated pipe on which they agree on them (notes.c). Everything goes over one
 * of them, the main rail, which is any that is up; only the pieces of large puts and gets are handed to whichever has
 * room (stripe.c). No order holds between rails: what follows on a striped operation is held until that is complete.
 *
 * How bytes go, per region of the owner: straight, by RDMA write and read, where its memory can be registered; else
 * staged, as messages that the owner's service thread answers (message.c, answer.c), which is also how atomics and
 * notifications go: hardware atomics are not atomic towards processors. Local memory that cannot be registered goes
 * through slots of registered host memory. Slots, and the buffers that messages arrive in, are bounded per context
 * (slots.c, stage.c).
 *
 * Complete means visible. The acknowledgement of an RDMA write says that the peer's adapter has the bytes
 * (InfiniBand Architecture Specification, volume 1, 9.7.5.1.6 and 10.8.3.3), not that a processor there sees them:
 * they may be on their way across the PCIe bus. A read through the same adapter cannot overtake them there, since
 * PCIe completions push posted writes before them. So behind the last write of a put goes an RDMA read of eight
 * bytes of the peer's memory, its flush word, in the same submission, and the put is complete with the read. It
 * costs a bus round trip at the peer, no network one. A message needs no such read: a receive completion comes after
 * all data before it. Devices in software, Soft-RoCE and Soft-iWARP, store by a processor of the peer before they
 * acknowledge, and need none either (HMC_RDMA_FLUSH says otherwise). Memory is never registered with relaxed
 * ordering.
 *
 * The send queue is a ring of entries, in the order they were posted and in which the hardware completes them; only
 * some are signalled, and one completion retires all up to it (ring.c, retire.c). Operations wait in a queue (queue.c)
 * and go out in parts (pump.c, straight.c).
 *
 * When a queue pair fails, or is failed to take an operation back from the hardware, all that is in progress is
 * flushed; each end says when its own is gone, and only when both are, for packets may still be on their way to the
 * other one, what was not retired is posted again: over another rail that is up, or once both ends have made new queue
 * pairs. Puts and gets may be done twice that way, messages are known by their numbers.
 *
 * Locking: `verbs_transport.lock` guards everything but what is constant once a connection is open. It is held
 * across posting and polling, across device copies, and across the making of queue pairs; never while a region's memory
 * is registered or deregistered (memory.c, registrar.c), and never while anything waits: who waits for the hardware to
 * let go of memory (recall.c) gives others the lock between two looks. */
#ifndef HMCI_VERBS_H
#define HMCI_VERBS_H

#include "connection.h"

/* region.c */
/* Tells those peers that asked what their region's key is, where that is known now. With the lock. */
void hmci_verbs_asks_answer(verbs_transport_t *transport);
/* A peer that asked is gone. With the lock. */
void hmci_verbs_asks_forget(verbs_connection_t *connection);
hmc_status_t hmci_verbs_region_export(void *connection, hmci_region_view_t *region, hmci_blob_t *key);
void hmci_verbs_region_revoke(void *connection, hmci_region_view_t *region);
void hmci_verbs_lease_revoke(void *connection, uint64_t number);
hmc_status_t hmci_verbs_remote_open(void *connection, void *remote, const hmci_remote_view_t *view,
                                    const hmci_blob_t *key, uint64_t deadline, void **mapped,
                                    const _Atomic uint32_t **generation);
void hmci_verbs_remote_close(void *connection, void *remote);
void hmci_verbs_remote_explain(void *connection, void *remote, char *text, size_t size);
unsigned hmci_verbs_remote_is_staged(void *connection, void *remote, const hmci_memory_ops_t *local);
void hmci_verbs_take_note(verbs_connection_t *connection, const verbs_note_t *note); /* with the lock */

/* explain.c */
void hmci_verbs_explain(void *connection, char *text, size_t size);

/* events.c */
bool hmci_verbs_on_event(hmci_watch_t *watch, uint32_t events);

/* recall.c */
void hmci_verbs_cancel(void *connection, hmci_operation_t *operation, hmc_status_t status);
void hmci_verbs_fail(void *connection, hmc_status_t status);
void hmci_verbs_on_retry(hmci_timer_t *timer);
/* Does what the loop would do for a connection: for a callback in the loop's own thread, which waits for it. Elsewhere
 * it does nothing. Without the lock. */
void hmci_verbs_stand_in(verbs_connection_t *connection);

#endif
