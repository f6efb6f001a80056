/* The service loop: one thread, one epoll set, that runs what must happen without the application.
 *
 * Adaptive waiting: after a watch made progress the loop polls for `spin` nanoseconds (the watch that moved last
 * directly, the others through epoll) and only then sleeps in the kernel; an idle loop uses no processor time. A watch
 * that keeps moving is out of the epoll set meanwhile, because a thread that writes to its socket would pay for telling
 * epoll.
 *
 * Turns: a watch whose calls take long is a bulk one, by measurement. Between the calls of any two bulk watches the loop
 * looks at all others, and at the timers: however many move bulk, a small message waits for one such call at most.
 *
 * Fork: a child closes its copies of all descriptors that a loop watches or keeps (hmci_loop_keep), so that a peer sees
 * its process end although the child lives on.
 *
 * Locking: `dispatch` is held while a callback runs, but for a timer that is `outside`: that one runs the program's own
 * code, which may close something of another loop whose thread does the same with this one. add, modify and remove may be called from any thread; remove takes
 * `dispatch` unless the thread holds it, so that when it returns no callback of that watch runs or will run. Callbacks
 * may call everything here, remove of themselves included. */
#ifndef HMCI_LOOP_H
#define HMCI_LOOP_H

#include "base.h"

#include <pthread.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

typedef struct hmci_loop hmci_loop_t;
typedef struct hmci_watch hmci_watch_t;
typedef struct hmci_timer hmci_timer_t;

/* Watches a descriptor. The owner embeds it and keeps it alive until removed. */
struct hmci_watch {
  /* `events`: those of epoll, or 0 when the loop polls by itself. Returns true when it moved something. */
  bool (*ready)(hmci_watch_t *watch, uint32_t events);
  int descriptor;
  uint32_t events;                   /* the loop's */
  uint32_t slot;                     /* the loop's; 0: not added */
  bool polled, due, bulk, silent;    /* the loop's */
  uint32_t cost;                     /* the loop's; nanoseconds of a call, smoothed */
  hmci_list_t polled_link, due_link; /* the loop's */
  uint64_t due_at;                   /* the loop's */
};

/* What `ready` gets for a call that hmci_loop_call_soon asked for; no event of epoll. */
#define HMCI_SOON (1u << 20)

/* Runs `expired` in the loop's thread once `deadline` has come. */
struct hmci_timer {
  hmci_list_t link;  /* the loop's */
  uint64_t deadline; /* the loop's */
  bool outside;      /* called without `dispatch` */
  void (*expired)(hmci_timer_t *timer);
};

/* A descriptor that no loop watches, and that a forked child closes all the same. */
typedef struct hmci_kept {
  hmci_list_t link; /* the loop's */
  int descriptor;
} hmci_kept_t;

/* Starts the thread. `spin` in nanoseconds. Errors: HMC_NO_MEMORY. */
hmc_status_t hmci_loop_create(uint64_t spin, const char *name, hmci_loop_t **loop);

/* The same, or one that this function has made with that `spin` and `index`, for another user in this process; each
 * user destroys it, and the last one ends the thread. A child of fork() gets loops of its own. */
hmc_status_t hmci_loop_share(uint64_t spin, const char *name, uint32_t index, hmci_loop_t **loop);

/* Ends the thread; all watches must have been removed. Not from the loop's own thread. */
void hmci_loop_destroy(hmci_loop_t *loop);

/* `events` are epoll's (EPOLLIN, EPOLLOUT, EPOLLONESHOT ...); 0 waits for errors and hang-ups only. HMC_NO_MEMORY. */
hmc_status_t hmci_loop_add(hmci_loop_t *loop, hmci_watch_t *watch, int descriptor, uint32_t events);
void hmci_loop_modify(hmci_loop_t *loop, hmci_watch_t *watch, uint32_t events);
void hmci_loop_remove(hmci_loop_t *loop, hmci_watch_t *watch);
/* While it is polled, the loop calls the watch again and again, without sleeping: for what no descriptor tells, such as
 * a device's copies. */
void hmci_loop_set_polled(hmci_loop_t *loop, hmci_watch_t *watch, bool polled);
/* Calls the watch within 200 us, with HMCI_SOON: for work that is the loop's only where nobody else has done it by
 * then. Costs no thread switch by itself, and next to nothing while such a call is due. */
void hmci_loop_call_soon(hmci_loop_t *loop, hmci_watch_t *watch);
/* The same within 2 ms: where the last such call came in vain. A timer that is set, fires and wakes the loop's thread costs
 * tens of microseconds of the processor that it is to relieve, most of all in a virtual machine. */
void hmci_loop_call_later(hmci_loop_t *loop, hmci_watch_t *watch);
/* The same within a time of the caller's. */
void hmci_loop_call_within(hmci_loop_t *loop, hmci_watch_t *watch, uint32_t nanoseconds);
/* Calls the watches that are ready, in the calling thread, which is not the loop's own; waits for one at most that long.
 * The loop's thread leaves them alone meanwhile and for 200 us after the last such call, and goes on with its timers. True
 * where something moved. */
bool hmci_loop_drive(hmci_loop_t *loop, uint64_t nanoseconds);
/* The calling thread, which may have driven the loop, is going to sleep until the loop brings something: the loop's thread
 * takes the events from now on. */
void hmci_loop_hand_back(hmci_loop_t *loop);
/* No more events, not even hang-ups, until it is removed; takes no lock that a callback holds. */
void hmci_loop_silence(hmci_loop_t *loop, hmci_watch_t *watch);

/* Until it is dropped, which comes before it is closed. NULL: it belongs to a thread that has no loop. */
void hmci_loop_keep(hmci_loop_t *loop, hmci_kept_t *kept, int descriptor);
void hmci_loop_drop(hmci_loop_t *loop, hmci_kept_t *kept);

/* Sets or moves a timer; the struct must have been initialised with hmci_timer_init. Any thread. */
void hmci_timer_init(hmci_timer_t *timer, void (*expired)(hmci_timer_t *timer));
void hmci_loop_set_timer(hmci_loop_t *loop, hmci_timer_t *timer, uint64_t deadline);
/* For the timer's callback: by how many nanoseconds it is late, because the loop's thread or its whole host stood still. */
uint64_t hmci_timer_lateness(const hmci_timer_t *timer);
/* When it returns, the timer's callback does not run and will not. */
void hmci_loop_clear_timer(hmci_loop_t *loop, hmci_timer_t *timer);

/* Takes `dispatch`: keeps callbacks away while the caller looks at what they change. Not recursive; a callback holds it
 * already. */
void hmci_loop_lock(hmci_loop_t *loop);
void hmci_loop_unlock(hmci_loop_t *loop);

/* Calls the watches that are ready, once: for the program's own code in the loop's thread, which waits for something that
 * only such a call brings. It runs no timers, so no more code of the program's. False, and nothing is called, in another
 * thread and where `dispatch` is held. */
bool hmci_loop_turn(hmci_loop_t *loop);

/* True where this thread holds `dispatch`: in callbacks, and between lock and unlock. */
bool hmci_loop_is_held(const hmci_loop_t *loop);
/* True in the loop's own thread, in callbacks of both sorts. */
bool hmci_loop_is_own(const hmci_loop_t *loop);

#pragma GCC visibility pop

#endif
