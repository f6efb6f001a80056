/* The service loop (see loop.h).
 *
 * A watch is known to epoll by slot number and the slot's use count, never by pointer, so that an event that was
 * fetched before its watch was removed finds nobody.
 */
#include "loop_internal.h"

#include "processor.h"
#include "thread.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 64, CALLED_AT_ONCE = 64, BULK_AT_ONCE = 16 };
enum { POLLS_PER_LOOK = 8, FIRST_SLOTS = 16 };
enum { BULK_COST = 40000, EXPRESS_COST = 15000, COST_MOST = 1000000 }; /* nanoseconds of a call */
enum { MOVES_IN_A_ROW = 32 };                                          /* of the hot watch, before it is set aside */
enum { SOON_NANOSECONDS = 200000, LATER_NANOSECONDS = 2000000, SHARED_NANOSECONDS = 1000000 };
enum { DRIVER_POLLS = 3 };            /* of the hot watch, between two looks at all */
enum { DRIVEN_NANOSECONDS = 200000 }; /* after a call that drives the loop; a program that waits calls again before */
enum { EARLY_NANOSECONDS = 1000000 }; /* what waking the loop's thread is worth */

/* What epoll knows the loop's own descriptors by: no watch has slot 0. */
#define WAKE_KEY UINT64_C(0)
#define SOON_KEY (UINT64_C(1) << 32)
#define BULK_KEY (UINT64_C(2) << 32)

/* Its address names the thread. */
static _Thread_local char mark;
static _Thread_local const hmci_loop_t *own_loop; /* the loop whose thread this is */
static _Thread_local bool driving; /* in hmci_loop_drive: another thread's loop, for the time of the call */

bool hmci_loop_is_held(const hmci_loop_t *loop) {
  return atomic_load_explicit(&loop->holder, memory_order_relaxed) == &mark; /* only this thread writes its mark */
}

bool hmci_loop_is_own(const hmci_loop_t *loop) { return own_loop == loop; }

static void take_dispatch(hmci_loop_t *loop) {
  pthread_mutex_lock(&loop->dispatch);
  atomic_store_explicit(&loop->holder, &mark, memory_order_relaxed);
}

/* The loop takes `dispatch` again right after it let go; without the count of others a mutex would never hand it
 * over. */
void hmci_loop_lock(hmci_loop_t *loop) {
  atomic_fetch_add(&loop->others, 1);
  take_dispatch(loop);
  atomic_fetch_sub(&loop->others, 1);
}

void hmci_loop_unlock(hmci_loop_t *loop) {
  atomic_store_explicit(&loop->holder, NULL, memory_order_relaxed);
  pthread_mutex_unlock(&loop->dispatch);
}

void hmci_loop_begin(hmci_loop_t *loop) {
  while (HMCI_UNLIKELY(atomic_load(&loop->others) > 0)) sched_yield();
  take_dispatch(loop);
}

static uint64_t watch_key(const hmci_loop_t *loop, uint32_t slot) {
  return (uint64_t)loop->slots[slot].uses << 32 | slot;
}

void hmci_loop_wake(hmci_loop_t *loop) {
  uint64_t one = 1;
  ssize_t written = write(loop->wake, &one, sizeof one);
  (void)written; /* a full counter wakes as well */
}

static struct timespec time_of(uint64_t nanoseconds) {
  return (struct timespec){.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};
}

/* ---- watches ----------------------------------------------------------------------------------------------------- */

/* The epoll set that a watch is in. */
static int set_of(const hmci_loop_t *loop, const hmci_watch_t *watch) { return watch->bulk ? loop->bulk : loop->epoll; }

/* With `table` held: epoll has the watch. */
static bool is_in_set(const hmci_loop_t *loop, const hmci_watch_t *watch) {
  return watch->slot && !watch->silent && watch != loop->aside;
}

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
  watch->polled = watch->due = watch->bulk = watch->silent = false;
  watch->cost = 0;
  hmci_list_init(&watch->polled_link);
  hmci_list_init(&watch->due_link);
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
  bool changes = watch->events != events || events & EPOLLONESHOT; /* one of those has to be armed again */
  watch->events = events;
  if (changes && is_in_set(loop, watch)) {
    struct epoll_event event = {.events = events, .data.u64 = watch_key(loop, watch->slot)};
    epoll_ctl(set_of(loop, watch), EPOLL_CTL_MOD, watch->descriptor, &event);
  }
  pthread_mutex_unlock(&loop->table);
}

/* Takes the hot watch out of the epoll set; in spin() only, which polls it. */
static bool set_aside(hmci_loop_t *loop) {
  hmci_loop_begin(loop);
  pthread_mutex_lock(&loop->table);
  hmci_watch_t *watch = loop->hot;
  bool fits = watch && is_in_set(loop, watch) && !(watch->events & EPOLLONESHOT); /* putting one back would arm it */
  if (fits && epoll_ctl(set_of(loop, watch), EPOLL_CTL_DEL, watch->descriptor, NULL) == 0) loop->aside = watch;
  bool done = loop->aside;
  pthread_mutex_unlock(&loop->table);
  hmci_loop_unlock(loop);
  return done;
}

/* False: the kernel has no memory for it just now. */
static bool put_back(hmci_loop_t *loop) {
  pthread_mutex_lock(&loop->table);
  hmci_watch_t *watch = loop->aside;
  if (watch) {
    struct epoll_event event = {.events = watch->events, .data.u64 = watch_key(loop, watch->slot)};
    if (epoll_ctl(set_of(loop, watch), EPOLL_CTL_ADD, watch->descriptor, &event) == 0) loop->aside = NULL;
  }
  bool done = !loop->aside;
  pthread_mutex_unlock(&loop->table);
  return done;
}

/* Has another thread had the processor since this was asked last? */
static bool was_preempted(hmci_loop_t *loop) {
  struct rusage usage;
  if (getrusage(RUSAGE_THREAD, &usage)) return false;
  bool was = usage.ru_nivcsw != loop->preempted;
  loop->preempted = usage.ru_nivcsw;
  return was;
}

static uint64_t own_time(void) {
  struct timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* When a call began, by the clock, and by this thread's own time where the watch is suspected of long calls. */
typedef struct beginning {
  uint64_t clock, own;
  bool suspected;
} beginning_t;

static beginning_t begin_call(const hmci_watch_t *watch) {
  bool suspected = watch->cost > EXPRESS_COST;
  return (beginning_t){hmci_now(), suspected ? own_time() : 0, suspected};
}

/* What a call took of its thread's time. The clock alone is wrong where others had the processor meanwhile, as who is
 * answered by the call and runs on this very processor; asking for the thread's time at each call would cost too much. So
 * a call that seems long makes its watch suspected first. */
static uint64_t cost_of(hmci_loop_t *loop, const beginning_t *beginning) {
  uint64_t took = hmci_now() - beginning->clock;
  if (took <= EXPRESS_COST) return took;
  if (!beginning->suspected) return 4 * (EXPRESS_COST + 1);
  return was_preempted(loop) ? own_time() - beginning->own : took;
}

/* Moves a watch to the other set where its calls have become long, or short. In the loop's thread. */
static void weigh(hmci_loop_t *loop, hmci_watch_t *watch, uint64_t took) {
  uint64_t cost = took < COST_MOST ? took : COST_MOST;
  watch->cost = (uint32_t)((UINT64_C(3) * watch->cost + cost) / 4);
  bool bulk = watch->bulk ? watch->cost > EXPRESS_COST : watch->cost > BULK_COST;
  if (HMCI_LIKELY(bulk == watch->bulk)) return;
  pthread_mutex_lock(&loop->table);
  if (is_in_set(loop, watch) && !(watch->events & EPOLLONESHOT)) {
    struct epoll_event event = {.events = watch->events, .data.u64 = watch_key(loop, watch->slot)};
    if (epoll_ctl(bulk ? loop->bulk : loop->epoll, EPOLL_CTL_ADD, watch->descriptor, &event) == 0) {
      epoll_ctl(set_of(loop, watch), EPOLL_CTL_DEL, watch->descriptor, NULL);
      watch->bulk = bulk;
    }
  }
  pthread_mutex_unlock(&loop->table);
}

void hmci_loop_set_polled(hmci_loop_t *loop, hmci_watch_t *watch, bool polled) {
  pthread_mutex_lock(&loop->table);
  bool changed = watch->slot && watch->polled != polled;
  if (changed) {
    watch->polled = polled;
    hmci_list_remove(&watch->polled_link);
    if (polled) hmci_list_append(&loop->polled, &watch->polled_link);
    polled ? loop->polled_count++ : loop->polled_count--;
  }
  pthread_mutex_unlock(&loop->table);
  if (changed && polled && (own_loop != loop || driving))
    hmci_loop_wake(loop); /* a driver takes events, and polls not */
}

/* With `table` held. */
static void set_soon(hmci_loop_t *loop, uint64_t at, uint64_t now) {
  struct itimerspec soon = {.it_value = time_of(at > now ? at - now : 1)};
  if (timerfd_settime(loop->soon, 0, &soon, NULL) == 0) loop->soon_at = at;
}

void hmci_loop_call_within(hmci_loop_t *loop, hmci_watch_t *watch, uint32_t nanoseconds) {
  uint64_t now = hmci_now(), at = now + nanoseconds;
  pthread_mutex_lock(&loop->table);
  if (watch->slot && !watch->due) {
    watch->due = true;
    watch->due_at = at;
    hmci_list_append(&loop->due, &watch->due_link);
  }
  if (watch->due && at < watch->due_at) watch->due_at = at;
  if (watch->due && (!loop->soon_at || watch->due_at < loop->soon_at)) set_soon(loop, watch->due_at, now);
  pthread_mutex_unlock(&loop->table);
}

void hmci_loop_call_soon(hmci_loop_t *loop, hmci_watch_t *watch) {
  hmci_loop_call_within(loop, watch, SOON_NANOSECONDS);
}

void hmci_loop_call_later(hmci_loop_t *loop, hmci_watch_t *watch) {
  hmci_loop_call_within(loop, watch, LATER_NANOSECONDS);
}

void hmci_loop_silence(hmci_loop_t *loop, hmci_watch_t *watch) {
  pthread_mutex_lock(&loop->table);
  if (is_in_set(loop, watch)) epoll_ctl(set_of(loop, watch), EPOLL_CTL_DEL, watch->descriptor, NULL);
  if (watch->slot) watch->silent = true;
  if (watch == loop->aside) loop->aside = NULL;
  pthread_mutex_unlock(&loop->table);
}

void hmci_loop_remove(hmci_loop_t *loop, hmci_watch_t *watch) {
  bool take = !hmci_loop_is_held(loop);
  if (take) hmci_loop_lock(loop);
  pthread_mutex_lock(&loop->table);
  if (watch->slot) {
    if (is_in_set(loop, watch)) epoll_ctl(set_of(loop, watch), EPOLL_CTL_DEL, watch->descriptor, NULL);
    if (watch == loop->aside) loop->aside = NULL;
    loop->slots[watch->slot].watch = NULL;
    loop->slots[watch->slot].next_free = loop->free_slot;
    loop->free_slot = watch->slot;
    watch->slot = 0;
    if (watch->polled) loop->polled_count--;
    hmci_list_remove(&watch->polled_link);
    hmci_list_remove(&watch->due_link);
    watch->polled = watch->due = false;
  }
  pthread_mutex_unlock(&loop->table);
  if (loop->hot == watch) loop->hot = NULL;
  if (take) hmci_loop_unlock(loop);
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

/* The keys of the first watches that are polled, at most CALLED_AT_ONCE, which go to the end of their list. By key, because
 * one may go while another one is called. With `table` held. */
static uint32_t take_polled(hmci_loop_t *loop, uint64_t keys[CALLED_AT_ONCE]) {
  hmci_list_t *list = &loop->polled, *last = list->previous;
  uint32_t count = 0;
  while (count < CALLED_AT_ONCE && !hmci_list_is_empty(list)) {
    hmci_list_t *link = list->next;
    hmci_list_remove(link);
    hmci_list_append(list, link);
    keys[count++] = watch_key(loop, HMCI_CONTAINER(link, hmci_watch_t, polled_link)->slot);
    if (link == last) break; /* all had their turn */
  }
  return count;
}

/* Those whose time has come, which leave the list; the timer is set for the first of the others. With `table` held. */
static uint32_t take_due(hmci_loop_t *loop, uint64_t keys[CALLED_AT_ONCE]) {
  uint64_t now = hmci_now(), first = HMCI_NEVER;
  uint32_t count = 0;
  for (hmci_list_t *link = loop->due.next, *next; link != &loop->due; link = next) {
    hmci_watch_t *watch = HMCI_CONTAINER(link, hmci_watch_t, due_link);
    next = link->next;
    if (watch->due_at > now || count == CALLED_AT_ONCE) {
      if (watch->due_at < first) first = watch->due_at;
      continue;
    }
    hmci_list_remove(link);
    watch->due = false;
    keys[count++] = watch_key(loop, watch->slot);
  }
  loop->soon_at = 0;
  if (first != HMCI_NEVER) set_soon(loop, first, now);
  return count;
}

/* Calls the watch of that key, if it is still there. */
static bool call_watch(hmci_loop_t *loop, uint64_t key, uint32_t events) {
  hmci_loop_begin(loop);
  hmci_watch_t *watch = watch_of(loop, key);
  beginning_t beginning = {0};
  if (watch) beginning = begin_call(watch);
  bool moved = watch && watch->ready(watch, events);
  bool stays = watch && watch_of(loop, key) == watch;
  if (stays) weigh(loop, watch, cost_of(loop, &beginning));
  if (stays && moved && events != HMCI_SOON) loop->hot = watch;
  hmci_loop_unlock(loop);
  return moved;
}

/* Calls the watches that are due. */
static bool dispatch_due(hmci_loop_t *loop) {
  uint64_t keys[CALLED_AT_ONCE];
  uint32_t count;
  bool moved = false;
  drain(loop->soon);
  do {
    pthread_mutex_lock(&loop->table);
    count = take_due(loop, keys);
    pthread_mutex_unlock(&loop->table);
    for (uint32_t i = 0; i < count; i++) moved |= call_watch(loop, keys[i], HMCI_SOON);
  } while (count == CALLED_AT_ONCE);
  return moved;
}

/* The events of all but the bulk watches; `bulk`: some of those are ready. */
static bool dispatch_express(hmci_loop_t *loop, int timeout, bool *bulk) {
  struct epoll_event events[EVENTS_AT_ONCE];
  bool moved = false;
  int count = epoll_wait(loop->epoll, events, EVENTS_AT_ONCE, timeout);
  for (int i = 0; i < count; i++) {
    switch (events[i].data.u64) {
    case WAKE_KEY:
      if (!driving) drain(loop->wake); /* else it is for the loop's own thread */
      break;
    case SOON_KEY: moved |= dispatch_due(loop); break;
    case BULK_KEY: *bulk = true; break;
    default: moved |= call_watch(loop, events[i].data.u64, events[i].events);
    }
  }
  return moved;
}

bool hmci_loop_turn(hmci_loop_t *loop) {
  if (own_loop != loop || hmci_loop_is_held(loop)) return false;
  struct epoll_event event;
  bool bulk = false;
  put_back(loop); /* spin() may be what this was called by */
  dispatch_express(loop, 0, &bulk);
  if (bulk && epoll_wait(loop->bulk, &event, 1, 0) == 1) call_watch(loop, event.data.u64, event.events);
  return true;
}

static bool dispatch_events(hmci_loop_t *loop, int timeout) {
  struct epoll_event events[BULK_AT_ONCE];
  bool bulk = false, moved = dispatch_express(loop, timeout, &bulk);
  int count = bulk ? epoll_wait(loop->bulk, events, BULK_AT_ONCE, 0) : 0;
  for (int i = 0; i < count; i++) {
    if (i) {
      moved |= dispatch_express(loop, 0, &bulk);
      if (!driving) hmci_loop_run_timers(loop, hmci_now()); /* which call the program's callbacks, one at a time */
    }
    moved |= call_watch(loop, events[i].data.u64, events[i].events);
  }
  return moved;
}

static bool poll_hot(hmci_loop_t *loop) {
  hmci_loop_begin(loop);
  bool moved = loop->hot && loop->hot->ready(loop->hot, 0);
  hmci_loop_unlock(loop);
  return moved;
}

/* Calls the watches that are polled, each in its turn. */
static bool dispatch_polled(hmci_loop_t *loop) {
  uint64_t keys[CALLED_AT_ONCE];
  pthread_mutex_lock(&loop->table);
  uint32_t count = take_polled(loop, keys);
  pthread_mutex_unlock(&loop->table);
  bool moved = false;
  for (uint32_t i = 0; i < count; i++) {
    hmci_loop_begin(loop);
    hmci_watch_t *watch = watch_of(loop, keys[i]);
    if (watch) moved |= watch->ready(watch, 0);
    hmci_loop_unlock(loop);
  }
  if (!moved) sched_yield();
  return moved;
}

/* The other end of the watch that moved last runs on this processor, or would if it were let. */
static bool shares_processor(hmci_loop_t *loop, uint64_t now) {
  hmci_loop_lock(loop);
  int descriptor = loop->hot ? loop->hot->descriptor : -1;
  hmci_loop_unlock(loop);
  if (descriptor == loop->shared && now < loop->shared_until) return true;
  loop->shared = hmci_processor_is_shared(descriptor) ? descriptor : -1;
  loop->shared_until = now + SHARED_NANOSECONDS;
  return loop->shared >= 0;
}

/* Another thread takes the events, see hmci_loop_drive. */
static bool is_driven(const hmci_loop_t *loop, uint64_t now) {
  return now < atomic_load_explicit(&loop->driven_until, memory_order_relaxed);
}

/* Polls until nothing moved for `spin`; not where that keeps what it waits for from coming, and not beside a driver. */
static void spin(hmci_loop_t *loop) {
  if (hmci_processor_is_single()) return;
  uint64_t since = hmci_now(), look_after = hmci_processor_look_after();
  bool looked = false;
  uint64_t until = hmci_now() + loop->spin, now;
  uint32_t in_a_row = 0;
  bool aside = false;
  do {
    bool moved = false, others;
    if (!looked && !in_a_row && (now = hmci_now()) - since > look_after) {
      looked = true;
      if (shares_processor(loop, now)) break;
    }
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
    hmci_loop_run_timers(loop, now);
    if (moved || others) until = now + loop->spin;
  } while (now < until && !is_driven(loop, now) && !atomic_load_explicit(&loop->polled_count, memory_order_relaxed) &&
           !atomic_load_explicit(&loop->stopping, memory_order_relaxed));
  while (!put_back(loop)) sched_yield();
}

/* Waits for events without taking any. */
static void wait_for_events(const hmci_loop_t *loop, uint64_t nanoseconds) {
  struct pollfd set = {.fd = loop->epoll, .events = POLLIN};
  struct timespec limit = time_of(nanoseconds);
  ppoll(&set, 1, &limit, NULL);
}

/* A driver is back that said it might be away until then: the loop's thread sleeps as long, and is called where that is
 * far off. */
static void come_back(hmci_loop_t *loop, uint64_t until) {
  uint64_t end = hmci_now() + DRIVEN_NANOSECONDS;
  if (end + EARLY_NANOSECONDS > until) return;
  atomic_store_explicit(&loop->driven_until, end, memory_order_relaxed);
  hmci_loop_wake(loop);
}

bool hmci_loop_drive(hmci_loop_t *loop, uint64_t nanoseconds) {
  const hmci_loop_t *before = own_loop;
  uint64_t until = hmci_now() + nanoseconds + DRIVEN_NANOSECONDS;
  if (!atomic_exchange_explicit(&loop->driven_until, until, memory_order_relaxed)) hmci_loop_wake(loop);
  own_loop = loop;
  driving = true;
  bool moved = false;
  for (int i = 0; i < DRIVER_POLLS && !moved; i++) moved = poll_hot(loop);
  if (!moved || atomic_fetch_add_explicit(&loop->driven_in_a_row, 1, memory_order_relaxed) >= MOVES_IN_A_ROW) {
    atomic_store_explicit(&loop->driven_in_a_row, 0, memory_order_relaxed); /* the others have their turn */
    if (nanoseconds && !moved) wait_for_events(loop, nanoseconds);
    moved |= dispatch_events(loop, 0);
  }
  if (HMCI_UNLIKELY(nanoseconds > EARLY_NANOSECONDS)) come_back(loop, until);
  driving = false;
  own_loop = before;
  return moved;
}

void hmci_loop_hand_back(hmci_loop_t *loop) {
  if (HMCI_LIKELY(!atomic_load_explicit(&loop->driven_until, memory_order_relaxed))) return;
  if (atomic_exchange(&loop->driven_until, 0)) hmci_loop_wake(loop); /* which sleeps until then */
}

/* Another thread takes the events: sleeps until it has not for a while, a timer is due, or the loop is woken. */
static bool leave_to_driver(hmci_loop_t *loop, uint64_t deadline) {
  uint64_t until = atomic_load_explicit(&loop->driven_until, memory_order_relaxed), now;
  if (HMCI_LIKELY(!until)) return false;
  /* Where a driver has just come, it did not wake this thread, because `driven_until` was still set: look again. */
  if ((now = hmci_now()) >= until) return !atomic_compare_exchange_strong(&loop->driven_until, &until, 0);
  if (deadline < until) until = deadline;
  struct pollfd set = {.fd = loop->wake, .events = POLLIN};
  struct timespec limit = time_of(until > now ? until - now : 0);
  if (ppoll(&set, 1, &limit, NULL) > 0) drain(loop->wake);
  return true;
}

static void *run(void *argument) {
  hmci_loop_t *loop = argument;
  own_loop = loop;
  while (!atomic_load_explicit(&loop->stopping, memory_order_acquire)) {
    uint64_t deadline = hmci_loop_run_timers(loop, hmci_now());
    bool polls = atomic_load_explicit(&loop->polled_count, memory_order_relaxed); /* set_polled wakes the loop */
    if (!polls && leave_to_driver(loop, deadline)) continue;
    if (polls) {
      dispatch_polled(loop);
      dispatch_events(loop, 0);
    } else if (dispatch_events(loop, hmci_poll_timeout(deadline)) && loop->spin) {
      spin(loop);
    }
  }
  return NULL;
}

void hmci_loop_close_descriptors(hmci_loop_t *loop) {
  int descriptors[] = {loop->epoll, loop->bulk, loop->wake, loop->soon};
  for (int i = 0; i < 4; i++) {
    if (descriptors[i] >= 0) close(descriptors[i]);
  }
}

/* ---- making and ending ------------------------------------------------------------------------------------------- */

static void init(hmci_loop_t *loop, uint64_t spin_time) {
  loop->spin = spin_time;
  loop->shared = -1;
  hmci_list_t *lists[] = {&loop->timers, &loop->polled, &loop->due, &loop->kept, &loop->all};
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) hmci_list_init(lists[i]);
  atomic_init(&loop->earliest, HMCI_NEVER);
  pthread_mutex_init(&loop->dispatch, NULL);
  pthread_mutex_init(&loop->table, NULL);
  pthread_cond_init(&loop->called, NULL);
}

static void end(hmci_loop_t *loop) {
  hmci_loop_close_descriptors(loop);
  pthread_cond_destroy(&loop->called);
  pthread_mutex_destroy(&loop->table);
  pthread_mutex_destroy(&loop->dispatch);
  free(loop->slots);
  free(loop);
}

/* One of the loop's own descriptors goes into its set. */
static bool add_own(hmci_loop_t *loop, int descriptor, uint64_t key) {
  struct epoll_event event = {.events = EPOLLIN, .data.u64 = key};
  return descriptor >= 0 && epoll_ctl(loop->epoll, EPOLL_CTL_ADD, descriptor, &event) == 0;
}

hmc_status_t hmci_loop_create(uint64_t spin_time, const char *name, hmci_loop_t **out) {
  hmc_status_t status = HMC_NO_MEMORY;
  hmci_loop_t *loop = calloc(1, sizeof *loop);
  if (!loop || !grow_slots(loop)) {
    free(loop);
    return hmci_fail(status, "no memory for a service loop");
  }
  init(loop, spin_time);
  loop->epoll = epoll_create1(EPOLL_CLOEXEC);
  loop->bulk = epoll_create1(EPOLL_CLOEXEC);
  loop->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  loop->soon = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  if (!add_own(loop, loop->wake, WAKE_KEY) || !add_own(loop, loop->soon, SOON_KEY) ||
      !add_own(loop, loop->bulk, BULK_KEY)) {
    hmci_fail(status, "no descriptors for a service loop: %s", strerror(errno));
    goto err_loop;
  }
  int failed = hmci_thread_create(&loop->thread, run, loop);
  if (failed) {
    hmci_fail(status, "no service thread: %s", strerror(failed));
    goto err_loop;
  }
  hmci_loop_enlist(loop);
  char title[16];
  snprintf(title, sizeof title, "%s", name);
  pthread_setname_np(loop->thread, title);
  *out = loop;
  return HMC_SUCCESS;

err_loop:
  end(loop);
  return status;
}

void hmci_loop_destroy(hmci_loop_t *loop) {
  if (!loop || hmci_loop_leave(loop)) return;
  atomic_store_explicit(&loop->stopping, true, memory_order_release); /* partner: run() */
  hmci_loop_wake(loop);
  pthread_join(loop->thread, NULL);
  hmci_loop_delist(loop);
  end(loop);
}
