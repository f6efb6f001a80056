/* The service loop (see loop.h).
 *
 * A watch is known to epoll by slot number and the slot's use count, never by pointer, so that an event that was
 * fetched before its watch was removed finds nobody.
 *
 * Lock order: dispatch before table. `table` guards slots and timers and is held for a few instructions only. */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64, CALLED_AT_ONCE = 64, POLLS_PER_LOOK = 8, FIRST_SLOTS = 16 };
enum { MOVES_IN_A_ROW = 32 }; /* of the hot watch, before it is set aside */
enum { SOON_NANOSECONDS = 200000 };

/* What epoll knows the loop's own descriptors by: no watch has slot 0. */
#define WAKE_KEY UINT64_C(0)
#define SOON_KEY (UINT64_C(1) << 32)

typedef struct slot {
  hmci_watch_t *watch; /* NULL: free */
  uint32_t uses;       /* counts the watches that had this slot */
  uint32_t next_free;
} slot_t;

struct hmci_loop {
  int epoll, wake, soon; /* soon: a timer, set while a watch is due */
  uint64_t spin;
  pthread_t thread;
  _Atomic bool stopping;
  _Atomic int others; /* threads that wait for `dispatch`; the loop's own lets them go first */

  pthread_mutex_t dispatch;
  pthread_mutex_t table;
  slot_t *slots;                 /* table; slot 0 is never used */
  uint32_t slot_count;           /* table */
  uint32_t free_slot;            /* table; 0: none */
  _Atomic uint32_t polled_count; /* written under table */
  bool soon_is_set;              /* table */
  hmci_list_t timers;            /* table */
  hmci_watch_t *hot;             /* dispatch; the watch that moved last */
  hmci_watch_t *aside;           /* table; a watch that epoll does not have while spin() polls it */
};

/* The loop whose `dispatch` this thread holds, and the loop whose thread this is. */
static _Thread_local const hmci_loop_t *held_loop, *own_loop;

bool hmci_loop_is_held(const hmci_loop_t *loop) { return held_loop == loop; }

/* The loop takes `dispatch` again right after it let go; without the count of others a mutex would never hand it
 * over. */
void hmci_loop_lock(hmci_loop_t *loop) {
  atomic_fetch_add(&loop->others, 1);
  pthread_mutex_lock(&loop->dispatch);
  atomic_fetch_sub(&loop->others, 1);
  held_loop = loop;
}

void hmci_loop_unlock(hmci_loop_t *loop) {
  held_loop = NULL;
  pthread_mutex_unlock(&loop->dispatch);
}

static void begin_dispatch(hmci_loop_t *loop) {
  while (HMCI_UNLIKELY(atomic_load(&loop->others) > 0)) sched_yield();
  pthread_mutex_lock(&loop->dispatch);
  held_loop = loop;
}

static void end_dispatch(hmci_loop_t *loop) { hmci_loop_unlock(loop); }

static uint64_t watch_key(const hmci_loop_t *loop, uint32_t slot) {
  return (uint64_t)loop->slots[slot].uses << 32 | slot;
}

static void wake_up(hmci_loop_t *loop) {
  uint64_t one = 1;
  ssize_t written = write(loop->wake, &one, sizeof one);
  (void)written; /* a full counter wakes as well */
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

static bool grow_slots(hmci_loop_t *loop) {
  uint32_t count = loop->slot_count ? loop->slot_count * 2 : FIRST_SLOTS;
  slot_t *slots = realloc(loop->slots, count * sizeof *slots);
  if (!slots) return false;
  for (uint32_t i = loop->slot_count; i < count; i++) {
    slots[i] = (slot_t){.next_free = i + 1 < count ? i + 1 : 0};
  }
  loop->free_slot = loop->slot_count ? loop->slot_count : 1;
  loop->slots = slots;
  loop->slot_count = count;
  return true;
}

hmc_status_t hmci_loop_add(hmci_loop_t *loop, hmci_watch_t *watch, int descriptor, uint32_t events) {
  pthread_mutex_lock(&loop->table);
  if (!loop->free_slot && !grow_slots(loop)) {
    pthread_mutex_unlock(&loop->table);
    return hmci_fail(HMC_NO_MEMORY, "no memory to watch another descriptor");
  }
  uint32_t slot = loop->free_slot;
  loop->free_slot = loop->slots[slot].next_free;
  loop->slots[slot].watch = watch;
  loop->slots[slot].uses++;
  watch->slot = slot;
  watch->polled = watch->due = false;
  watch->descriptor = descriptor;
  watch->events = events;
  struct epoll_event event = {.events = events, .data.u64 = watch_key(loop, slot)};
  int failed = epoll_ctl(loop->epoll, EPOLL_CTL_ADD, descriptor, &event);
  if (failed) {
    loop->slots[slot].watch = NULL;
    loop->slots[slot].next_free = loop->free_slot;
    loop->free_slot = slot;
    watch->slot = 0;
  }
  pthread_mutex_unlock(&loop->table);
  return failed ? hmci_fail(HMC_NO_MEMORY, "watching a descriptor failed: %s", strerror(errno)) : HMC_SUCCESS;
}

void hmci_loop_modify(hmci_loop_t *loop, hmci_watch_t *watch, uint32_t events) {
  pthread_mutex_lock(&loop->table);
  watch->events = events;
  if (watch->slot && watch != loop->aside) {
    struct epoll_event event = {.events = events, .data.u64 = watch_key(loop, watch->slot)};
    epoll_ctl(loop->epoll, EPOLL_CTL_MOD, watch->descriptor, &event);
  }
  pthread_mutex_unlock(&loop->table);
}

/* Takes the hot watch out of the epoll set; in spin() only, which polls it. */
static bool set_aside(hmci_loop_t *loop) {
  begin_dispatch(loop);
  pthread_mutex_lock(&loop->table);
  hmci_watch_t *watch = loop->hot;
  bool fits = watch && watch->slot && !(watch->events & EPOLLONESHOT); /* putting one back would arm it */
  if (fits && epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->descriptor, NULL) == 0) loop->aside = watch;
  bool done = loop->aside;
  pthread_mutex_unlock(&loop->table);
  end_dispatch(loop);
  return done;
}

/* False: the kernel has no memory for it just now. */
static bool put_back(hmci_loop_t *loop) {
  pthread_mutex_lock(&loop->table);
  hmci_watch_t *watch = loop->aside;
  if (watch) {
    struct epoll_event event = {.events = watch->events, .data.u64 = watch_key(loop, watch->slot)};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, watch->descriptor, &event) == 0) loop->aside = NULL;
  }
  bool done = !loop->aside;
  pthread_mutex_unlock(&loop->table);
  return done;
}

void hmci_loop_set_polled(hmci_loop_t *loop, hmci_watch_t *watch, bool polled) {
  pthread_mutex_lock(&loop->table);
  bool changed = watch->slot && watch->polled != polled;
  if (changed) {
    watch->polled = polled;
    polled ? loop->polled_count++ : loop->polled_count--;
  }
  pthread_mutex_unlock(&loop->table);
  if (changed && polled && own_loop != loop) wake_up(loop);
}

void hmci_loop_call_soon(hmci_loop_t *loop, hmci_watch_t *watch) {
  pthread_mutex_lock(&loop->table);
  watch->due = watch->slot;
  if (watch->due && !loop->soon_is_set) {
    struct itimerspec soon = {.it_value.tv_nsec = SOON_NANOSECONDS};
    loop->soon_is_set = timerfd_settime(loop->soon, 0, &soon, NULL) == 0;
  }
  pthread_mutex_unlock(&loop->table);
}

void hmci_loop_silence(hmci_loop_t *loop, hmci_watch_t *watch) {
  pthread_mutex_lock(&loop->table);
  if (watch->slot && watch != loop->aside) epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->descriptor, NULL);
  if (watch == loop->aside) loop->aside = NULL;
  pthread_mutex_unlock(&loop->table);
}

void hmci_loop_remove(hmci_loop_t *loop, hmci_watch_t *watch) {
  bool take = !hmci_loop_is_held(loop);
  if (take) hmci_loop_lock(loop);
  pthread_mutex_lock(&loop->table);
  if (watch->slot) {
    epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->descriptor, NULL);
    if (watch == loop->aside) loop->aside = NULL;
    loop->slots[watch->slot].watch = NULL;
    loop->slots[watch->slot].next_free = loop->free_slot;
    loop->free_slot = watch->slot;
    watch->slot = 0;
    if (watch->polled) loop->polled_count--;
    watch->polled = watch->due = false;
  }
  pthread_mutex_unlock(&loop->table);
  if (loop->hot == watch) loop->hot = NULL;
  if (take) hmci_loop_unlock(loop);
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

void hmci_timer_init(hmci_timer_t *timer, void (*expired)(hmci_timer_t *timer)) {
  hmci_list_init(&timer->link);
  timer->deadline = HMCI_NEVER;
  timer->expired = expired;
}

void hmci_loop_set_timer(hmci_loop_t *loop, hmci_timer_t *timer, uint64_t deadline) {
  pthread_mutex_lock(&loop->table);
  timer->deadline = deadline;
  hmci_list_remove(&timer->link);
  hmci_list_append(&loop->timers, &timer->link);
  pthread_mutex_unlock(&loop->table);
  if (own_loop != loop) wake_up(loop);
}

void hmci_loop_clear_timer(hmci_loop_t *loop, hmci_timer_t *timer) {
  bool take = !hmci_loop_is_held(loop);
  if (take) hmci_loop_lock(loop);
  pthread_mutex_lock(&loop->table);
  hmci_list_remove(&timer->link);
  pthread_mutex_unlock(&loop->table);
  if (take) hmci_loop_unlock(loop);
}

/* The earliest timer's deadline; a timer that has expired is taken out and given back in `expired`. */
static uint64_t next_timer(hmci_loop_t *loop, hmci_timer_t **expired) {
  uint64_t earliest = HMCI_NEVER, now = 0;
  *expired = NULL;
  pthread_mutex_lock(&loop->table);
  for (hmci_list_t *link = loop->timers.next; link != &loop->timers; link = link->next) {
    hmci_timer_t *timer = HMCI_CONTAINER(link, hmci_timer_t, link);
    if (!now) now = hmci_now();
    if (timer->deadline <= now) {
      hmci_list_remove(&timer->link);
      *expired = timer;
      break;
    }
    if (timer->deadline < earliest) earliest = timer->deadline;
  }
  pthread_mutex_unlock(&loop->table);
  return earliest;
}

static uint64_t run_timers(hmci_loop_t *loop) {
  for (;;) {
    hmci_timer_t *expired;
    begin_dispatch(loop);
    uint64_t earliest = next_timer(loop, &expired);
    if (expired) expired->expired(expired);
    end_dispatch(loop);
    if (!expired) return earliest;
  }
}

/* ---- the thread -------------------------------------------------------------------------------------------------- */

static hmci_watch_t *watch_of(hmci_loop_t *loop, uint64_t key) {
  uint32_t slot = (uint32_t)key, uses = (uint32_t)(key >> 32);
  hmci_watch_t *watch = NULL;
  pthread_mutex_lock(&loop->table);
  if (slot < loop->slot_count && loop->slots[slot].uses == uses) watch = loop->slots[slot].watch;
  pthread_mutex_unlock(&loop->table);
  return watch;
}

static void drain(int descriptor) {
  uint64_t value;
  ssize_t got = read(descriptor, &value, sizeof value);
  (void)got;
}

/* Calls the watches that are due. They are taken by their keys, some at once: one may go while another one is
 * called. */
static bool dispatch_due(hmci_loop_t *loop) {
  uint64_t keys[CALLED_AT_ONCE];
  uint32_t count;
  bool moved = false;
  drain(loop->soon);
  do {
    count = 0;
    pthread_mutex_lock(&loop->table);
    loop->soon_is_set = false;
    for (uint32_t slot = 1; slot < loop->slot_count && count < CALLED_AT_ONCE; slot++) {
      hmci_watch_t *watch = loop->slots[slot].watch;
      if (!watch || !watch->due) continue;
      watch->due = false;
      keys[count++] = watch_key(loop, slot);
    }
    pthread_mutex_unlock(&loop->table);
    for (uint32_t i = 0; i < count; i++) {
      begin_dispatch(loop);
      hmci_watch_t *watch = watch_of(loop, keys[i]);
      if (watch) moved |= watch->ready(watch, HMCI_SOON);
      end_dispatch(loop);
    }
  } while (count == CALLED_AT_ONCE);
  return moved;
}

static bool dispatch_events(hmci_loop_t *loop, int timeout) {
  struct epoll_event events[EVENTS_AT_ONCE];
  bool moved = false;
  int count = epoll_wait(loop->epoll, events, EVENTS_AT_ONCE, timeout);
  for (int i = 0; i < count; i++) {
    if (events[i].data.u64 == WAKE_KEY) {
      drain(loop->wake);
      continue;
    }
    if (events[i].data.u64 == SOON_KEY) {
      moved |= dispatch_due(loop);
      continue;
    }
    /* Taken anew for each event, so that a thread that waits to remove a watch gets its turn. */
    begin_dispatch(loop);
    hmci_watch_t *watch = watch_of(loop, events[i].data.u64);
    if (watch && watch->ready(watch, events[i].events)) {
      moved = true;
      if (watch_of(loop, events[i].data.u64) == watch) loop->hot = watch;
    }
    end_dispatch(loop);
  }
  return moved;
}

static bool poll_hot(hmci_loop_t *loop) {
  begin_dispatch(loop);
  bool moved = loop->hot && loop->hot->ready(loop->hot, 0);
  end_dispatch(loop);
  return moved;
}

/* Calls the watches that are polled, by their keys: one may go while another one is called. */
static bool dispatch_polled(hmci_loop_t *loop) {
  uint64_t keys[CALLED_AT_ONCE];
  uint32_t count = 0;
  pthread_mutex_lock(&loop->table);
  for (uint32_t slot = 1; slot < loop->slot_count && count < CALLED_AT_ONCE; slot++) {
    hmci_watch_t *watch = loop->slots[slot].watch;
    if (watch && watch->polled) keys[count++] = watch_key(loop, slot);
  }
  pthread_mutex_unlock(&loop->table);
  bool moved = false;
  for (uint32_t i = 0; i < count; i++) {
    begin_dispatch(loop);
    hmci_watch_t *watch = watch_of(loop, keys[i]);
    if (watch) moved |= watch->ready(watch, 0);
    end_dispatch(loop);
  }
  if (!moved) sched_yield();
  return moved;
}

/* Polls until nothing moved for `spin`. */
static void spin(hmci_loop_t *loop) {
  uint64_t until = hmci_now() + loop->spin, now;
  uint32_t in_a_row = 0;
  bool aside = false;
  do {
    bool moved = false, others;
    for (int i = 0; i < POLLS_PER_LOOK && !moved; i++) moved = poll_hot(loop);
    in_a_row += moved;
    others = dispatch_events(loop, 0);
    if (others) { /* one of them is hot now */
      in_a_row = 0;
      aside = aside && !put_back(loop);
    } else if (in_a_row == MOVES_IN_A_ROW && !aside) {
      aside = set_aside(loop);
    }
    now = hmci_now();
    if (moved || others) until = now + loop->spin;
  } while (now < until && !atomic_load_explicit(&loop->polled_count, memory_order_relaxed) &&
           !atomic_load_explicit(&loop->stopping, memory_order_relaxed));
  while (!put_back(loop)) sched_yield();
}

static void *run(void *argument) {
  hmci_loop_t *loop = argument;
  own_loop = loop;
  while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
    uint64_t deadline = run_timers(loop);
    if (atomic_load_explicit(&loop->polled_count, memory_order_relaxed)) { /* set_polled wakes the loop */
      dispatch_polled(loop);
      dispatch_events(loop, 0);
    } else if (dispatch_events(loop, hmci_poll_timeout(deadline)) && loop->spin) {
      spin(loop);
    }
  }
  return NULL;
}

/* With all signals blocked: they are the program's, and its handlers run in its own threads. */
static int create_thread(hmci_loop_t *loop) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int failed = pthread_create(&loop->thread, NULL, run, loop);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return failed;
}

static void close_descriptors(hmci_loop_t *loop) {
  int descriptors[] = {loop->epoll, loop->wake, loop->soon};
  for (int i = 0; i < 3; i++) {
    if (descriptors[i] >= 0) close(descriptors[i]);
  }
}

hmc_status_t hmci_loop_create(uint64_t spin_time, const char *name, hmci_loop_t **out) {
  hmc_status_t status = HMC_NO_MEMORY;
  hmci_loop_t *loop = calloc(1, sizeof *loop);
  if (!loop || !grow_slots(loop)) {
    hmci_fail(status, "no memory for a service loop");
    goto err_free;
  }
  loop->spin = spin_time;
  hmci_list_init(&loop->timers);
  pthread_mutex_init(&loop->dispatch, NULL);
  pthread_mutex_init(&loop->table, NULL);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  loop->soon = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  struct epoll_event wake = {.events = EPOLLIN, .data.u64 = WAKE_KEY}, soon = {.events = EPOLLIN, .data.u64 = SOON_KEY};
  if (loop->epoll < 0 || loop->wake < 0 || loop->soon < 0 || epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->wake, &wake) ||
      epoll_ctl(loop->epoll, EPOLL_CTL_ADD, loop->soon, &soon)) {
    hmci_fail(status, "no descriptors for a service loop: %s", strerror(errno));
    goto err_descriptors;
  }
  int failed = create_thread(loop);
  if (failed) {
    hmci_fail(status, "no service thread: %s", strerror(failed));
    goto err_descriptors;
  }
  char title[16];
  snprintf(title, sizeof title, "%s", name);
  pthread_setname_np(loop->thread, title);
  *out = loop;
  return HMC_SUCCESS;

err_descriptors:
  close_descriptors(loop);
  pthread_mutex_destroy(&loop->table);
  pthread_mutex_destroy(&loop->dispatch);
err_free:
  if (loop) free(loop->slots);
  free(loop);
  return status;
}

static void release(hmci_loop_t *loop) {
  close_descriptors(loop);
  free(loop->slots);
  free(loop);
}

void hmci_loop_destroy(hmci_loop_t *loop) {
  if (!loop) return;
  atomic_store_explicit(&loop->stopping, true, memory_order_release); /* partner: run() */
  wake_up(loop);
  pthread_join(loop->thread, NULL);
  pthread_mutex_destroy(&loop->table);
  pthread_mutex_destroy(&loop->dispatch);
  release(loop);
}

void hmci_loop_abandon(hmci_loop_t *loop) {
  if (loop) release(loop);
}
