/* Who takes completions (poll.c), and threads that wait (wait.c). */
#ifndef HMCI_VERBS_POLL_H
#define HMCI_VERBS_POLL_H

#include "connection.h"

/* Takes completions and posts what they made possible. True when there were any. */
bool hmci_verbs_poll(verbs_device_t *device);
/* The same on all devices that operations of a connection go by. */
bool hmci_verbs_poll_all(verbs_connection_t *connection);
/* Takes what completed on the main rail, while its caller is here anyway. */
void hmci_verbs_reap(verbs_connection_t *connection);
/* Lets those go on that may, and sees to it that the loop notices what comes; before letting go of the lock, after
 * anything that posts. */
void hmci_verbs_settle(verbs_transport_t *transport);
/* Likewise, but leaves it to the loop to notice what comes within the next 200 us: its caller is likely to wait. */
void hmci_verbs_settle_soon(verbs_transport_t *transport);
/* All connections may be able to go on. */
void hmci_verbs_touch_all(verbs_transport_t *transport);
void hmci_verbs_look(hmci_timer_t *timer);
bool hmci_verbs_on_channel(hmci_watch_t *watch, uint32_t events);

/* wait.c */
/* Nobody may come to look at what is in progress: the loop is to. */
void hmci_verbs_leave_alone(verbs_connection_t *connection);
hmc_status_t hmci_verbs_wait(void *connection, hmci_operation_t *operation, uint64_t spin); /* these without the lock */
void hmci_verbs_progress(void *connection);

#endif
