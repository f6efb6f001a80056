/* Reading without a lock: who waits, for whom, and what becomes of a thread's count. */
#include "bm.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct other {
  pthread_t thread;
  atomic_int has_begun, may_end;
  hmci_smem_reader_t *reader;
} other_t;

static void *read_until_asked(void *argument) {
  other_t *other = argument;
  other->reader = hmci_smem_read_begin();
  atomic_store(&other->has_begun, 1);
  while (!atomic_load(&other->may_end)) {
    hmci_smem_nap();
  }
  hmci_smem_read_end(other->reader);
  return NULL;
}

static void begin_other(other_t *other) {
  assert_int_equal(pthread_create(&other->thread, NULL, read_until_asked, other), 0);
  while (!atomic_load(&other->has_begun)) {
    hmci_smem_nap();
  }
}

static void end_other(other_t *other) {
  atomic_store(&other->may_end, 1);
  assert_int_equal(pthread_join(other->thread, NULL), 0);
}

static atomic_int has_waited;

static void *wait_for_readers(void *argument) {
  (void)argument;
  hmci_smem_read_wait();
  atomic_store(&has_waited, 1);
  return NULL;
}

static void test_waits_for_those_who_read(void **state) {
  (void)state;
  other_t other = {.reader = NULL};
  pthread_t waiter;
  begin_other(&other);
  uint64_t epoch = atomic_load(&hmci_smem_read_epoch);
  assert_int_equal(pthread_create(&waiter, NULL, wait_for_readers, NULL), 0);
  while (atomic_load(&hmci_smem_read_epoch) == epoch) {
    hmci_smem_nap();
  }
  for (int i = 0; i < 500; i++) {
    hmci_smem_nap();
  }
  assert_int_equal(atomic_load(&has_waited), 0);
  end_other(&other);
  assert_int_equal(pthread_join(waiter, NULL), 0);
  assert_int_equal(atomic_load(&has_waited), 1);
}

static void test_a_count_goes_to_another_thread(void **state) {
  (void)state;
  other_t first = {.reader = NULL}, second = {.reader = NULL}, beside = {.reader = NULL};
  begin_other(&first);
  begin_other(&beside);
  assert_ptr_not_equal(first.reader, beside.reader);
  end_other(&first);
  begin_other(&second);
  assert_ptr_equal(first.reader, second.reader);
  end_other(&beside);
  end_other(&second);
}

static void test_a_child_waits_for_nobody(void **state) {
  (void)state;
  other_t other = {.reader = NULL};
  begin_other(&other);
  pid_t child = fork();
  if (child == 0) {
    alarm(60); /* ends a hang */
    hmci_smem_read_wait();
    hmci_smem_reader_t *reader = hmci_smem_read_begin();
    hmci_smem_read_end(reader);
    hmci_smem_read_wait();
    _exit(reader != NULL ? 0 : 1);
  }
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  end_other(&other);
}

/* More threads than there are slots: each goes on with its own count, though others used its slot meanwhile. */
typedef struct crowd {
  pthread_t thread;
  pthread_barrier_t *barrier;
  hmci_smem_reader_t *reader;
  int is_kept;
} crowd_t;

enum { CROWD = 3 * HMCI_SMEM_SLOTS, TURNS = 100 };

static void *read_in_a_crowd(void *argument) {
  crowd_t *one = argument;
  pthread_barrier_wait(one->barrier);
  one->reader = hmci_smem_reader_get();
  one->is_kept = 1;
  for (int i = 0; i < TURNS; i++) {
    hmci_smem_reader_t *reader = hmci_smem_read_begin();
    one->is_kept = one->is_kept && reader == one->reader && atomic_load(&reader->count) % 2 == 1;
    hmci_smem_read_end(reader);
  }
  pthread_barrier_wait(one->barrier); /* so that no count is handed on */
  return NULL;
}

static void test_threads_share_slots_but_no_counts(void **state) {
  static crowd_t crowd[CROWD];
  pthread_barrier_t barrier;
  (void)state;
  assert_int_equal(pthread_barrier_init(&barrier, NULL, CROWD), 0);
  for (int i = 0; i < CROWD; i++) {
    crowd[i].barrier = &barrier;
    assert_int_equal(pthread_create(&crowd[i].thread, NULL, read_in_a_crowd, &crowd[i]), 0);
  }
  for (int i = 0; i < CROWD; i++) {
    assert_int_equal(pthread_join(crowd[i].thread, NULL), 0);
    assert_true(crowd[i].is_kept);
    for (int j = 0; j < i; j++) {
      assert_ptr_not_equal(crowd[i].reader, crowd[j].reader);
    }
  }
  pthread_barrier_destroy(&barrier);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_waits_for_those_who_read),
      cmocka_unit_test(test_a_count_goes_to_another_thread),
      cmocka_unit_test(test_a_child_waits_for_nobody),
      cmocka_unit_test(test_threads_share_slots_but_no_counts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
