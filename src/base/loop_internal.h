/* What the files of the service loop share: loop.c (watches, the thread), loop_timers.c, loop_fork.c.
 *
 * Lock order: the list of all loops; dispatch; table. `table` guards slots and timers and is held for a few instructions
 * only. */
#ifndef HMCI_LOOP_INTERNAL_H
#define HMCI_LOOP_INTERNAL_H

#include "loop.h"

#include <stdatomic.h>

typedef struct slot {
  hmci_watch_t *watch; /* NULL: free */
  uint32_t uses;       /* counts the watches that had this slot */
  uint32_t next_free;
} slot_t;

struct hmci_loop {
  hmci_list_t all;       /* all_lock */
  uint32_t users, index; /* all_lock; of one that is shared: who has it, and which one it is; else 0 */
  int epoll, bulk;       /* bulk: the set of those whose calls take long; lies in the other one */
  int wake, soon;        /* soon: a timer, set while a watch is due */
  uint64_t spin;
  pthread_t thread;
  _Atomic bool stopping;
  _Atomic int others; /* threads that wait for `dispatch`; the loop's own lets them go first */

  pthread_mutex_t dispatch;
  _Atomic(const void *) holder; /* of dispatch: the mark of its thread */
  pthread_mutex_t table;
  pthread_cond_t called;            /* with table: `outside` has changed */
  slot_t *slots;                    /* table; slot 0 is never used */
  uint32_t slot_count;              /* table */
  uint32_t free_slot;               /* table; 0: none */
  _Atomic uint32_t polled_count;    /* written under table */
  hmci_list_t polled, due, kept;    /* table */
  uint64_t soon_at;                 /* table; when the timer `soon` fires, 0 where it is not set */
  _Atomic uint64_t driven_until;    /* until then another thread takes the events (hmci_loop_drive) */
  _Atomic uint32_t driven_in_a_row; /* times that such threads have moved the hot watch alone */
  hmci_list_t timers;               /* table; by deadline */
  uint64_t clock;                   /* table; when the timers were looked at last */
  hmci_timer_t *outside;            /* table; the one that runs without dispatch */
  _Atomic uint64_t earliest;        /* written under table; the first timer's deadline */
  hmci_watch_t *hot;                /* dispatch; the watch that moved last */
  long preempted;                   /* the loop's thread, as the next ones: how often others took its processor */
  int shared;                       /* the descriptor whose other end was seen on this processor, */
  uint64_t shared_until;            /* and how long that is believed */
  hmci_watch_t *aside;              /* table; a watch that epoll does not have while spin() polls it */
};

/* Around one callback, in the loop's thread: lets others that wait for `dispatch` go first. */
void hmci_loop_begin(hmci_loop_t *loop);
void hmci_loop_wake(hmci_loop_t *loop);
/* Calls the timers that have expired by `now`, a bounded number; returns when the next one is due. */
uint64_t hmci_loop_run_timers(hmci_loop_t *loop, uint64_t now);

/* A forked child closes what the loop has, from enlist to delist. */
void hmci_loop_enlist(hmci_loop_t *loop);
void hmci_loop_delist(hmci_loop_t *loop);
/* True where it was shared, and others use it still. */
bool hmci_loop_leave(hmci_loop_t *loop);
void hmci_loop_close_descriptors(hmci_loop_t *loop);

#endif
