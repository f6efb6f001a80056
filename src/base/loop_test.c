#include "loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#define PATIENCE UINT64_C(20000000000)

/* A watch that counts its calls. */
typedef struct probe {
  hmci_watch_t watch;
  int event;
  _Atomic int calls, soon;
} probe_t;

static hmci_loop_t *loop;

/* Stands before the C library's, and counts. */
static _Atomic int changes; /* that epoll was asked for by EPOLL_CTL_MOD */

int epoll_ctl(int epoll, int what, int descriptor, struct epoll_event *event) {
  if (what == EPOLL_CTL_MOD) atomic_fetch_add(&changes, 1);
  return (int)syscall(SYS_epoll_ctl, epoll, what, descriptor, event);
}

static bool count_call(hmci_watch_t *watch, uint32_t events) {
  probe_t *probe = HMCI_CONTAINER(watch, probe_t, watch);
  uint64_t value;
  if (events & EPOLLIN) assert_int_equal(read(probe->event, &value, sizeof value), sizeof value);
  if (events & HMCI_SOON) atomic_fetch_add(&probe->soon, 1);
  atomic_fetch_add(&probe->calls, 1);
  return false;
}

static void probe_open_with(probe_t *probe, bool (*ready)(hmci_watch_t *watch, uint32_t events)) {
  *probe = (probe_t){.watch.ready = ready, .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  assert_true(probe->event >= 0);
  assert_int_equal(hmci_loop_add(loop, &probe->watch, probe->event, EPOLLIN), HMC_SUCCESS);
}

static void probe_open(probe_t *probe) { probe_open_with(probe, count_call); }

static void probe_close(probe_t *probe) {
  hmci_loop_remove(loop, &probe->watch);
  close(probe->event);
}

static void probe_tell(probe_t *probe) {
  uint64_t one = 1;
  assert_int_equal(write(probe->event, &one, sizeof one), sizeof one);
}

static void await(_Atomic int *count, int value) {
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(count) < value;) {
    assert_true(hmci_now() < until);
    usleep(100);
  }
  assert_int_equal(atomic_load(count), value);
}

static void test_events_are_told(void **state) {
  (void)state;
  probe_t probe;
  probe_open(&probe);
  for (int round = 1; round <= 3; round++) {
    probe_tell(&probe);
    await(&probe.calls, round);
  }
  assert_int_equal(probe.soon, 0);
  probe_close(&probe);
}

/* A caller who says at each turn what it waits for costs a system call only where that is something else. */
static void test_asking_for_the_same_is_free(void **state) {
  (void)state;
  probe_t probe;
  probe_open(&probe);
  int before = atomic_load(&changes);
  for (int i = 0; i < 100; i++) hmci_loop_modify(loop, &probe.watch, EPOLLIN);
  assert_int_equal(atomic_load(&changes), before);
  hmci_loop_modify(loop, &probe.watch, 0);
  probe_tell(&probe);
  hmci_loop_modify(loop, &probe.watch, EPOLLIN); /* what came meanwhile is still there */
  await(&probe.calls, 1);
  assert_int_equal(atomic_load(&changes), before + 2);
  for (int round = 2; round <= 3; round++) { /* each event uses the wish up */
    hmci_loop_modify(loop, &probe.watch, EPOLLIN | EPOLLONESHOT);
    probe_tell(&probe);
    await(&probe.calls, round);
  }
  probe_close(&probe);
}

static void test_soon_comes_once(void **state) {
  (void)state;
  probe_t first, second, other;
  probe_open(&first);
  probe_open(&second);
  probe_open(&other);
  for (int round = 1; round <= 3; round++) {
    hmci_loop_call_soon(loop, &first.watch);
    hmci_loop_call_soon(loop, &second.watch);
    hmci_loop_call_soon(loop, &first.watch); /* within the same moment, or the moment after */
    await(&second.soon, round);
    for (uint64_t until = hmci_now() + 2000000; hmci_now() < until;) usleep(100);
    assert_in_range(atomic_load(&first.soon), round, 2 * round);
  }
  assert_int_equal(other.calls, 0);
  probe_close(&first);
  probe_close(&second);
  probe_close(&other);
}

/* Later is not soon; what is asked for later and then soon comes soon, at least once in a while on a busy machine. */
static void test_later_gives_way_to_soon(void **state) {
  (void)state;
  probe_t probe;
  probe_open(&probe);
  uint64_t least = UINT64_MAX;
  for (int round = 1; round <= 50; round++) {
    bool hurries = round > 5;
    uint64_t begin = hmci_now();
    hmci_loop_call_later(loop, &probe.watch);
    if (hurries) hmci_loop_call_soon(loop, &probe.watch);
    await(&probe.soon, round);
    uint64_t took = hmci_now() - begin;
    if (hurries && took < least) least = took;
    if (!hurries) assert_true(took > 1500000);
  }
  assert_true(least < 1500000);
  probe_close(&probe);
}

/* The time of one is not that of another, which the same timer serves. */
static void test_each_has_its_time(void **state) {
  (void)state;
  enum { TIME = 30000000 };
  probe_t hasty, patient;
  probe_open(&hasty);
  probe_open(&patient);
  for (int round = 1, calls = 0; round <= 3; round++) {
    uint64_t begin = hmci_now();
    hmci_loop_call_within(loop, &patient.watch, TIME);
    for (int i = 0; i < 10; i++) {
      hmci_loop_call_soon(loop, &hasty.watch);
      await(&hasty.soon, ++calls);
    }
    await(&patient.soon, round);
    assert_true(hmci_now() - begin >= TIME);
  }
  probe_close(&hasty);
  probe_close(&patient);
}

static void test_many_are_due(void **state) {
  (void)state;
  enum { MANY = 200 };
  static probe_t probes[MANY];
  for (int i = 0; i < MANY; i++) probe_open(&probes[i]);
  for (int i = 0; i < MANY; i++) hmci_loop_call_soon(loop, &probes[i].watch);
  for (int i = 0; i < MANY; i++) await(&probes[i].soon, 1);
  for (int i = 0; i < MANY; i++) probe_close(&probes[i]);
}

static void test_removed_watches_are_left_alone(void **state) {
  (void)state;
  for (int round = 0; round < 200; round++) {
    probe_t probe, after;
    probe_open(&probe);
    probe_tell(&probe);
    hmci_loop_call_soon(loop, &probe.watch);
    if (round % 2) usleep(150);
    probe_close(&probe);
    int calls = atomic_load(&probe.calls);
    probe_open(&after);                      /* gets the same slot, and none of the calls */
    hmci_loop_call_soon(loop, &probe.watch); /* has no slot any more */
    usleep(round % 8 ? 0 : 500);
    assert_int_equal(atomic_load(&probe.calls), calls);
    assert_int_equal(atomic_load(&after.calls), 0);
    probe_close(&after);
  }
}

typedef struct alarm {
  hmci_timer_t timer;
  _Atomic int rings;
} alarm_t;

/* ---- watches that move again and again --------------------------------------------------------------------------- */

/* Moves by itself, call after call, until `busy` is unset. */
typedef struct runner {
  probe_t probe;
  _Atomic bool busy;
} runner_t;

static bool run_on(hmci_watch_t *watch, uint32_t events) {
  runner_t *runner = HMCI_CONTAINER(watch, runner_t, probe.watch);
  count_call(watch, events);
  return atomic_load(&runner->busy);
}

/* Calls until the loop must have set it aside. */
static void runner_start(runner_t *runner) {
  atomic_store(&runner->busy, true);
  probe_open_with(&runner->probe, run_on);
  probe_tell(&runner->probe);
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&runner->probe.calls) < 1000;)
    assert_true(hmci_now() < until);
}

/* No loop's thread has a processor or waits for one: 'S' behind their names says so. */
static bool loops_sleep(void) {
  bool awake = false;
  DIR *tasks = opendir("/proc/self/task");
  assert_non_null(tasks);
  for (struct dirent *task; (task = readdir(tasks));) {
    char path[300], text[100] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    awake |= got > 0 && strstr(text, "(loop-test)") && !strstr(text, "(loop-test) S");
  }
  closedir(tasks);
  return !awake;
}

/* Waits until the loop sleeps again. */
static void runner_rest(runner_t *runner) {
  atomic_store(&runner->busy, false);
  for (uint64_t until = hmci_now() + PATIENCE; !loops_sleep();) {
    assert_true(hmci_now() < until);
    usleep(1000);
  }
}

static void test_a_runner_is_told_when_it_rests(void **state) {
  (void)state;
  runner_t runner;
  probe_t other;
  probe_open(&other);
  runner_start(&runner);
  probe_tell(&other); /* those beside it are served meanwhile */
  await(&other.calls, 1);
  runner_rest(&runner);
  for (int i = 0; i < 3; i++) {
    int before = atomic_load(&runner.probe.calls);
    probe_tell(&runner.probe);
    for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&runner.probe.calls) == before;)
      assert_true(hmci_now() < until);
    usleep(20000);
  }
  probe_close(&runner.probe);
  probe_close(&other);
}

static void test_a_runner_may_change_or_go(void **state) {
  (void)state;
  runner_t runner;
  runner_start(&runner);
  hmci_loop_modify(loop, &runner.probe.watch, 0);
  runner_rest(&runner);
  int before = atomic_load(&runner.probe.calls);
  probe_tell(&runner.probe); /* not asked for any more */
  usleep(20000);
  assert_int_equal(atomic_load(&runner.probe.calls), before);
  hmci_loop_modify(loop, &runner.probe.watch, EPOLLIN);
  await(&runner.probe.calls, before + 1);
  probe_close(&runner.probe);

  runner_start(&runner);
  hmci_loop_silence(loop, &runner.probe.watch);
  runner_rest(&runner);
  before = atomic_load(&runner.probe.calls);
  probe_tell(&runner.probe);
  usleep(20000);
  assert_int_equal(atomic_load(&runner.probe.calls), before);
  probe_close(&runner.probe);

  runner_start(&runner);
  probe_close(&runner.probe);
  before = atomic_load(&runner.probe.calls);
  usleep(20000);
  assert_int_equal(atomic_load(&runner.probe.calls), before);
}

/* ---- timers ------------------------------------------------------------------------------------------------------ */

static void ring(hmci_timer_t *timer) { atomic_fetch_add(&HMCI_CONTAINER(timer, alarm_t, timer)->rings, 1); }

static void test_timers(void **state) {
  (void)state;
  alarm_t early = {.rings = 0}, late = {.rings = 0};
  hmci_timer_init(&early.timer, ring);
  hmci_timer_init(&late.timer, ring);
  hmci_loop_set_timer(loop, &late.timer, hmci_now() + PATIENCE);
  hmci_loop_set_timer(loop, &early.timer, hmci_now() + 1000000);
  await(&early.rings, 1);
  hmci_loop_clear_timer(loop, &late.timer);
  assert_int_equal(late.rings, 0);
}

static void test_timers_run_beside_a_runner(void **state) {
  (void)state;
  runner_t runner;
  alarm_t alarm = {.rings = 0};
  hmci_timer_init(&alarm.timer, ring);
  runner_start(&runner);
  hmci_loop_set_timer(loop, &alarm.timer, hmci_now() + 1000000);
  await(&alarm.rings, 1);
  runner_rest(&runner);
  probe_close(&runner.probe);
}

static void ring_again(hmci_timer_t *timer) {
  ring(timer);
  hmci_loop_set_timer(loop, timer, 0);
}

static void test_a_timer_that_sets_itself_lets_others_in(void **state) {
  (void)state;
  alarm_t tireless = {.rings = 0}, other = {.rings = 0};
  probe_t probe;
  hmci_timer_init(&tireless.timer, ring_again);
  hmci_timer_init(&other.timer, ring);
  probe_open(&probe);
  hmci_loop_set_timer(loop, &tireless.timer, 0);
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&tireless.rings) < 10;) assert_true(hmci_now() < until);
  probe_tell(&probe);
  await(&probe.calls, 1);
  hmci_loop_set_timer(loop, &other.timer, 0);
  await(&other.rings, 1);
  hmci_loop_clear_timer(loop, &tireless.timer);
  int rings = atomic_load(&tireless.rings);
  usleep(5000);
  assert_int_equal(atomic_load(&tireless.rings), rings);
  probe_close(&probe);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

static void test_all_that_are_polled_get_their_turn(void **state) {
  (void)state;
  enum { MANY = 200 };
  static probe_t probes[MANY];
  for (int i = 0; i < MANY; i++) probe_open(&probes[i]);
  for (int i = 0; i < MANY; i++) hmci_loop_set_polled(loop, &probes[i].watch, true);
  for (int i = 0; i < MANY; i++) {
    for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&probes[i].calls) < 3;) assert_true(hmci_now() < until);
  }
  for (int i = 0; i < MANY; i++) probe_close(&probes[i]);
}

/* Always ready, and each call takes a while. */
static _Atomic int bulk_calls;
static bool move_bulk(hmci_watch_t *watch, uint32_t events) {
  (void)watch, (void)events;
  for (uint64_t until = hmci_now() + 300000; hmci_now() < until;) {
  }
  atomic_fetch_add(&bulk_calls, 1);
  return true;
}

static _Atomic int seen_at_call;
static bool see_bulk_calls(hmci_watch_t *watch, uint32_t events) {
  if (events & EPOLLIN) atomic_store(&seen_at_call, atomic_load(&bulk_calls));
  return count_call(watch, events);
}

/* Its call lets another thread have the processor, which keeps it for some milliseconds. */
static _Atomic int preempted_calls;
static bool let_others_run(hmci_watch_t *watch, uint32_t events) {
  (void)watch;
  if (!(events & EPOLLIN)) return false;
  sched_yield();
  atomic_fetch_add(&preempted_calls, 1);
  return false;
}

static _Atomic bool rivals_end;
static void *compete(void *unused) {
  while (!atomic_load(&rivals_end)) continue;
  return unused;
}

/* The time of a call that was interrupted by others is not the call's: it does not go to the bulk. */
static void test_a_preempted_call_is_no_bulk(void **state) {
  (void)state;
  cpu_set_t all, one;
  pthread_t rival;
  assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
  int processor = sched_getcpu();
  CPU_ZERO(&one);
  CPU_SET((size_t)processor, &one);
  assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0); /* threads that this one starts inherit it */
  assert_int_equal(pthread_create(&rival, NULL, compete, NULL), 0);
  hmci_loop_t *alone;
  hmci_watch_t watch = {.ready = let_others_run};
  assert_int_equal(hmci_loop_create(0, "alone", &alone), HMC_SUCCESS);
  int event = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK); /* stays readable */
  assert_int_equal(hmci_loop_add(alone, &watch, event, EPOLLIN), HMC_SUCCESS);
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&preempted_calls) < 20;) {
    assert_true(hmci_now() < until);
    sched_yield();
  }
  bool bulk = true; /* at each of some looks: a busy machine may make one call take long */
  for (int i = 0; i < 30 && bulk; i++) {
    hmci_loop_lock(alone);
    bulk = watch.bulk;
    hmci_loop_unlock(alone);
    usleep(3000);
  }
  hmci_loop_remove(alone, &watch);
  atomic_store(&rivals_end, true);
  pthread_join(rival, NULL);
  hmci_loop_destroy(alone);
  close(event);
  sched_setaffinity(0, sizeof all, &all);
  assert_false(bulk);
}

/* The machine may be busy: the best of some tries counts. Without turns all tries see all of them pass. */
static void test_a_small_message_waits_for_one_bulk_call(void **state) {
  (void)state;
  enum { BULK = 40, TRIES = 30 };
  static probe_t bulk[BULK];
  probe_t small;
  probe_open_with(&small, see_bulk_calls);
  for (int i = 0; i < BULK; i++) {
    probe_open_with(&bulk[i], move_bulk);
    probe_tell(&bulk[i]);
  }
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&bulk_calls) < 10 * BULK;) assert_true(hmci_now() < until);
  int best = BULK;
  for (int i = 0; i < TRIES; i++) {
    int before = atomic_load(&bulk_calls), calls = atomic_load(&small.calls);
    probe_tell(&small);
    for (uint64_t until = hmci_now() + PATIENCE; atomic_load(&small.calls) == calls;) assert_true(hmci_now() < until);
    int passed = atomic_load(&seen_at_call) - before;
    if (passed < best) best = passed;
    usleep(3000);
  }
  for (int i = 0; i < BULK; i++) probe_close(&bulk[i]);
  probe_close(&small);
  assert_in_range(best, 0, 3);
}

/* ---- turns ------------------------------------------------------------------------------------------------------- */

/* Runs the program's code, which waits for a call of a watch. */
typedef struct waiter {
  hmci_timer_t timer;
  probe_t *probe;
  _Atomic int *calls;
  _Atomic bool was_called, has_ended;
} waiter_t;

static void wait_for_call(hmci_timer_t *timer) {
  waiter_t *waiter = HMCI_CONTAINER(timer, waiter_t, timer);
  int before = atomic_load(waiter->calls);
  probe_tell(waiter->probe);
  for (uint64_t until = hmci_now() + PATIENCE / 4; atomic_load(waiter->calls) == before && hmci_now() < until;)
    assert_true(hmci_loop_turn(loop));
  atomic_store(&waiter->was_called, atomic_load(waiter->calls) != before);
  atomic_store(&waiter->has_ended, true);
}

static void assert_turns_call(probe_t *probe, _Atomic int *calls) {
  waiter_t waiter = {.timer = {.outside = true, .expired = wait_for_call}, .probe = probe, .calls = calls};
  hmci_list_init(&waiter.timer.link);
  probe_tell(probe);
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(calls) < 300;) assert_true(hmci_now() < until);
  for (int round = 0; round < 10; round++) {
    atomic_store(&waiter.has_ended, false);
    hmci_loop_set_timer(loop, &waiter.timer, 0);
    for (uint64_t until = hmci_now() + PATIENCE; !atomic_load(&waiter.has_ended);) assert_true(hmci_now() < until);
    assert_true(atomic_load(&waiter.was_called));
  }
  hmci_loop_clear_timer(loop, &waiter.timer);
  probe_close(probe);
}

/* Moves whenever it is polled. */
static bool move_fast(hmci_watch_t *watch, uint32_t events) {
  (void)count_call(watch, events);
  return true;
}

/* A turn calls also a watch whose calls take long, and one that moves so often that the loop polls it. */
static void test_a_turn_calls_all_that_are_ready(void **state) {
  (void)state;
  static probe_t slow, fast;
  probe_open_with(&slow, move_bulk);
  atomic_store(&bulk_calls, 0);
  assert_turns_call(&slow, &bulk_calls);
  probe_open_with(&fast, move_fast);
  assert_turns_call(&fast, &fast.calls);
}

/* ---- two loops --------------------------------------------------------------------------------------------------- */

/* Runs the program's code, which removes a watch of the other loop. */
typedef struct closer {
  hmci_timer_t timer;
  hmci_loop_t *other;
  hmci_watch_t *victim;
  _Atomic int *inside;
  _Atomic int done;
} closer_t;

static void close_the_others(hmci_timer_t *timer) {
  closer_t *closer = HMCI_CONTAINER(timer, closer_t, timer);
  atomic_fetch_add(closer->inside, 1);
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(closer->inside) < 2 && hmci_now() < until;) {
  }
  hmci_loop_remove(closer->other, closer->victim);
  atomic_store(&closer->done, 1);
}

static void test_two_loops_close_each_others_watches(void **state) {
  (void)state;
  hmci_loop_t *second = NULL;
  assert_int_equal(hmci_loop_create(50000, "second", &second), HMC_SUCCESS);
  probe_t here, there = {.watch.ready = count_call, .event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  probe_open(&here);
  assert_int_equal(hmci_loop_add(second, &there.watch, there.event, EPOLLIN), HMC_SUCCESS);
  _Atomic int inside = 0;
  closer_t closers[2] = {{.other = second, .victim = &there.watch, .inside = &inside},
                         {.other = loop, .victim = &here.watch, .inside = &inside}};
  for (int i = 0; i < 2; i++) {
    hmci_timer_init(&closers[i].timer, close_the_others);
    closers[i].timer.outside = true;
    hmci_loop_set_timer(i ? second : loop, &closers[i].timer, 0);
  }
  await(&closers[0].done, 1);
  await(&closers[1].done, 1);
  hmci_loop_clear_timer(loop, &closers[0].timer); /* waits for the call's last steps */
  hmci_loop_clear_timer(second, &closers[1].timer);
  hmci_loop_destroy(second);
  close(here.event);
  close(there.event);
}

/* ---- fork -------------------------------------------------------------------------------------------------------- */

static void test_a_child_closes_what_the_loop_has(void **state) {
  (void)state;
  probe_t probe;
  hmci_kept_t kept;
  int ends[2], mine = eventfd(0, EFD_CLOEXEC), status;
  assert_int_equal(pipe(ends), 0);
  probe_open(&probe);
  hmci_loop_keep(loop, &kept, ends[0]);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (child == 0) {
    bool closed = fcntl(probe.event, F_GETFD) < 0 && fcntl(ends[0], F_GETFD) < 0;
    syscall(SYS_exit_group, closed && fcntl(ends[1], F_GETFD) >= 0 && fcntl(mine, F_GETFD) >= 0 ? 0 : 1);
  }
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  hmci_loop_drop(loop, &kept);
  probe_tell(&probe); /* the parent's goes on */
  await(&probe.calls, 1);
  probe_close(&probe);
  close(ends[0]);
  close(ends[1]);
  close(mine);
}

static pthread_t driver;

/* Moves at each call of the loop's own thread, which polls it then. */
static bool move_again(hmci_watch_t *watch, uint32_t events) {
  bool is_driver = pthread_equal(pthread_self(), driver);
  probe_t *probe = HMCI_CONTAINER(watch, probe_t, watch);
  uint64_t value;
  if (events & EPOLLIN) assert_int_equal(read(probe->event, &value, sizeof value), sizeof value);
  if (!is_driver) atomic_fetch_add(&probe->calls, 1);
  return !is_driver;
}

/* The loop's thread polls as long as something moves: it leaves that to a thread that drives the loop. */
static void test_the_thread_does_not_poll_beside_a_driver(void **state) {
  (void)state;
  hmci_loop_t *shared = loop;
  assert_int_equal(hmci_loop_create(100 * PATIENCE, "loop-test", &loop), HMC_SUCCESS);
  driver = pthread_self();
  probe_t probe;
  probe_open_with(&probe, move_again);
  probe_tell(&probe);
  uint64_t until = hmci_now() + PATIENCE;
  while (!atomic_load(&probe.calls) && hmci_now() < until) sched_yield();
  assert_true(atomic_load(&probe.calls) > 0);
  int quiet = 0;
  for (int before = 0; quiet < 200 && hmci_now() < until;) {
    hmci_loop_drive(loop, 0);
    int calls = atomic_load(&probe.calls);
    quiet = calls == before ? quiet + 1 : 0;
    before = calls;
    usleep(1000);
  }
  assert_int_equal(quiet, 200);
  probe_close(&probe);
  hmci_loop_destroy(loop);
  loop = shared;
}

/* An event goes to the driver or to the loop's thread, whichever is there first: with event after event, a driver that
 * waits gets one at last. */
typedef struct teller {
  probe_t *probe;
  _Atomic bool enough;
  pthread_t thread;
} teller_t;

static void *tell_now_and_then(void *argument) {
  teller_t *teller = argument;
  while (!atomic_load(&teller->enough)) {
    usleep(10000);
    probe_tell(teller->probe);
  }
  return NULL;
}

static void teller_start(teller_t *teller, probe_t *probe) {
  teller->probe = probe;
  atomic_init(&teller->enough, false);
  assert_int_equal(pthread_create(&teller->thread, NULL, tell_now_and_then, teller), 0);
}

static void teller_stop(teller_t *teller) {
  atomic_store(&teller->enough, true);
  pthread_join(teller->thread, NULL);
}

static void await_more(_Atomic int *count, int before) {
  for (uint64_t until = hmci_now() + PATIENCE; atomic_load(count) == before;) {
    assert_true(hmci_now() < until);
    usleep(100);
  }
}

typedef struct polled_probe {
  probe_t probe;
  bool is_taken; /* by the driver; its thread's */
  int before;    /* calls until then */
} polled_probe_t;

/* What a driver takes is to be polled, which is the loop's thread's. */
static bool want_polling(hmci_watch_t *watch, uint32_t events) {
  probe_t *probe = HMCI_CONTAINER(watch, probe_t, watch);
  bool is_driver = pthread_equal(pthread_self(), driver);
  uint64_t value;
  if (events & EPOLLIN && read(probe->event, &value, sizeof value) < 0) return false; /* the other thread had it */
  if (is_driver) {
    polled_probe_t *polled = HMCI_CONTAINER(probe, polled_probe_t, probe);
    polled->is_taken = true;
    polled->before = atomic_load(&probe->calls);
  }
  hmci_loop_set_polled(loop, watch, is_driver);
  if (!is_driver) atomic_fetch_add(&probe->calls, 1);
  return false;
}

/* It is woken for that, however long it would have left the loop to the driver. */
static void test_the_thread_polls_what_a_driver_leaves_to_it(void **state) {
  (void)state;
  hmci_loop_t *shared = loop;
  assert_int_equal(hmci_loop_create(0, "loop-test", &loop), HMC_SUCCESS);
  driver = pthread_self();
  polled_probe_t polled;
  probe_open_with(&polled.probe, want_polling);
  for (int round = 1; round <= 3; round++) {
    teller_t teller;
    teller_start(&teller, &polled.probe);
    for (polled.is_taken = false; !polled.is_taken;)
      hmci_loop_drive(loop, 2 * PATIENCE); /* returns with each event, and has said until when it may come back */
    teller_stop(&teller);
    await_more(&polled.probe.calls, polled.before);
  }
  probe_close(&polled.probe);
  hmci_loop_destroy(loop);
  loop = shared;
}

static bool count_if_told(hmci_watch_t *watch, uint32_t events) {
  probe_t *probe = HMCI_CONTAINER(watch, probe_t, watch);
  uint64_t value;
  (void)events;
  if (read(probe->event, &value, sizeof value) < 0) return false; /* the other thread had it */
  atomic_fetch_add(&probe->calls, 1);
  return false;
}

/* It goes on at once where the driver says that it will not be back, whatever that one has said before. */
static void test_the_thread_goes_on_for_a_driver_that_leaves(void **state) {
  (void)state;
  probe_t probe;
  teller_t teller;
  probe_open_with(&probe, count_if_told);
  hmci_loop_hand_back(loop); /* nobody drives */
  teller_start(&teller, &probe);
  while (atomic_load(&probe.calls) < 3) hmci_loop_drive(loop, 2 * PATIENCE); /* returns with each event */
  teller_stop(&teller);
  int before = atomic_load(&probe.calls);
  hmci_loop_hand_back(loop);
  probe_tell(&probe);
  await_more(&probe.calls, before);
  probe_close(&probe);
}

static int start(void **state) {
  (void)state;
  return hmci_loop_create(50000, "loop-test", &loop) != HMC_SUCCESS;
}

static int stop(void **state) {
  (void)state;
  hmci_loop_destroy(loop);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_events_are_told),
      cmocka_unit_test(test_asking_for_the_same_is_free),
      cmocka_unit_test(test_soon_comes_once),
      cmocka_unit_test(test_later_gives_way_to_soon),
      cmocka_unit_test(test_each_has_its_time),
      cmocka_unit_test(test_many_are_due),
      cmocka_unit_test(test_removed_watches_are_left_alone),
      cmocka_unit_test(test_a_runner_is_told_when_it_rests),
      cmocka_unit_test(test_a_runner_may_change_or_go),
      cmocka_unit_test(test_timers),
      cmocka_unit_test(test_timers_run_beside_a_runner),
      cmocka_unit_test(test_a_timer_that_sets_itself_lets_others_in),
      cmocka_unit_test(test_all_that_are_polled_get_their_turn),
      cmocka_unit_test(test_a_small_message_waits_for_one_bulk_call),
      cmocka_unit_test(test_a_preempted_call_is_no_bulk),
      cmocka_unit_test(test_a_turn_calls_all_that_are_ready),
      cmocka_unit_test(test_two_loops_close_each_others_watches),
      cmocka_unit_test(test_the_thread_does_not_poll_beside_a_driver),
      cmocka_unit_test(test_the_thread_polls_what_a_driver_leaves_to_it),
      cmocka_unit_test(test_the_thread_goes_on_for_a_driver_that_leaves),
      cmocka_unit_test(test_a_child_closes_what_the_loop_has),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
