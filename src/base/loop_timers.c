/* The timers of the service loop: a list by deadline (see loop.h). `table` guards it. */
#include "loop_internal.h"

enum { TIMERS_AT_ONCE = 64 };

void hmci_timer_init(hmci_timer_t *timer, void (*expired)(hmci_timer_t *timer)) {
  hmci_list_init(&timer->link);
  timer->deadline = HMCI_NEVER;
  timer->expired = expired;
}

/* With `table` held. */
static void note_earliest(hmci_loop_t *loop) {
  bool none = hmci_list_is_empty(&loop->timers);
  atomic_store(&loop->earliest, none ? HMCI_NEVER : HMCI_CONTAINER(loop->timers.next, hmci_timer_t, link)->deadline);
}

/* Into its place by deadline, behind its equals; most are set for a time that comes after all others. */
static void insert_timer(hmci_loop_t *loop, hmci_timer_t *timer) {
  hmci_list_t *before = loop->timers.next;
  bool first = before == &loop->timers || timer->deadline < HMCI_CONTAINER(before, hmci_timer_t, link)->deadline;
  if (!first) {
    hmci_list_t *after = loop->timers.previous;
    while (HMCI_CONTAINER(after, hmci_timer_t, link)->deadline > timer->deadline) after = after->previous;
    before = after->next;
  }
  hmci_list_append(before, &timer->link);
}

/* One that is due already comes after those that were due at the last look: a timer that sets itself again and again
 * keeps nobody from his turn. */
void hmci_loop_set_timer(hmci_loop_t *loop, hmci_timer_t *timer, uint64_t deadline) {
  pthread_mutex_lock(&loop->table);
  uint64_t earliest = atomic_load_explicit(&loop->earliest, memory_order_relaxed);
  timer->deadline = deadline > loop->clock ? deadline : loop->clock + 1;
  hmci_list_remove(&timer->link);
  insert_timer(loop, timer);
  note_earliest(loop);
  bool sooner = timer->deadline < earliest;
  pthread_mutex_unlock(&loop->table);
  if (sooner && !hmci_loop_is_own(loop)) hmci_loop_wake(loop);
}

uint64_t hmci_timer_lateness(const hmci_timer_t *timer) {
  uint64_t now = hmci_now();
  return now > timer->deadline ? now - timer->deadline : 0;
}

void hmci_loop_clear_timer(hmci_loop_t *loop, hmci_timer_t *timer) {
  bool runs;
  do {
    bool take = !hmci_loop_is_held(loop);
    if (take) hmci_loop_lock(loop);
    pthread_mutex_lock(&loop->table);
    hmci_list_remove(&timer->link);
    note_earliest(loop);
    pthread_mutex_unlock(&loop->table);
    if (take) hmci_loop_unlock(loop);
    pthread_mutex_lock(&loop->table);
    runs = loop->outside == timer && !hmci_loop_is_own(loop);
    if (runs) pthread_cond_wait(&loop->called, &loop->table); /* and it may have set itself again */
    pthread_mutex_unlock(&loop->table);
  } while (runs);
}

/* Takes out the first timer that has expired by `now`; NULL. */
static hmci_timer_t *take_expired(hmci_loop_t *loop, uint64_t now) {
  hmci_timer_t *timer = NULL;
  pthread_mutex_lock(&loop->table);
  loop->clock = now;
  if (!hmci_list_is_empty(&loop->timers)) {
    hmci_timer_t *first = HMCI_CONTAINER(loop->timers.next, hmci_timer_t, link);
    if (first->deadline <= now) timer = first;
  }
  if (timer) {
    hmci_list_remove(&timer->link);
    note_earliest(loop);
    if (timer->outside) loop->outside = timer;
  }
  pthread_mutex_unlock(&loop->table);
  return timer;
}

static void call_outside(hmci_loop_t *loop, hmci_timer_t *timer) {
  timer->expired(timer);
  pthread_mutex_lock(&loop->table);
  loop->outside = NULL;
  pthread_cond_broadcast(&loop->called);
  pthread_mutex_unlock(&loop->table);
}

uint64_t hmci_loop_run_timers(hmci_loop_t *loop, uint64_t now) {
  for (int i = 0; i < TIMERS_AT_ONCE && atomic_load(&loop->earliest) <= now; i++) {
    hmci_loop_begin(loop);
    hmci_timer_t *timer = take_expired(loop, now);
    bool outside = timer && timer->outside;
    if (timer && !outside) timer->expired(timer);
    hmci_loop_unlock(loop);
    if (outside) call_outside(loop, timer);
    if (!timer) break;
  }
  return atomic_load(&loop->earliest);
}
