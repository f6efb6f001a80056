#include "loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
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

/* The loop's thread has none of the processors, and waits for none: 'S' behind its name says so. */
static bool loop_sleeps(void) {
  bool sleeps = false;
  DIR *tasks = opendir("/proc/self/task");
  assert_non_null(tasks);
  for (struct dirent *task; (task = readdir(tasks));) {
    char path[300], text[100] = "";
    snprintf(path, sizeof path, "/proc/self/task/%s/stat", task->d_name);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) continue;
    ssize_t got = read(file, text, sizeof text - 1);
    close(file);
    sleeps |= got > 0 && strstr(text, "(loop-test) S");
  }
  closedir(tasks);
  return sleeps;
}

/* Waits until the loop sleeps again. */
static void runner_rest(runner_t *runner) {
  atomic_store(&runner->busy, false);
  for (uint64_t until = hmci_now() + PATIENCE; !loop_sleeps();) {
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
      cmocka_unit_test(test_soon_comes_once),
      cmocka_unit_test(test_many_are_due),
      cmocka_unit_test(test_removed_watches_are_left_alone),
      cmocka_unit_test(test_a_runner_is_told_when_it_rests),
      cmocka_unit_test(test_a_runner_may_change_or_go),
      cmocka_unit_test(test_timers),
  };
  return cmocka_run_group_tests(tests, start, stop);
}
