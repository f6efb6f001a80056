/* The process's objects are made once, also by several threads at once and from one another; threads have states of their
 * own. */
#include <hmc/state.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { THREADS = 8 };

static _Atomic int made;
static int inner, outer;

static void *make_inner(void) {
  atomic_fetch_add(&made, 1);
  return &inner;
}

static void *make_outer(void) {
  assert_ptr_equal(hmc_state_object("inner", make_inner), &inner);
  return &outer;
}

static void *make_nothing(void) { return NULL; }

static void *ask(void *argument) {
  (void)argument;
  return hmc_state_object("inner", make_inner);
}

static void objects_are_made_once(void **state) {
  (void)state;
  pthread_t threads[THREADS];
  assert_null(hmc_state_object("outer", make_nothing)); /* not kept */
  for (int i = 0; i < THREADS; i++) assert_int_equal(pthread_create(&threads[i], NULL, ask, NULL), 0);
  for (int i = 0; i < THREADS; i++) {
    void *object = NULL;
    pthread_join(threads[i], &object);
    assert_ptr_equal(object, &inner);
  }
  assert_ptr_equal(hmc_state_object("outer", make_outer), &outer);
  assert_ptr_equal(hmc_state_object("outer", make_inner), &outer);
  assert_int_equal(made, 1);
}

static void *look(void *argument) {
  hmc_state_thread_t *mine = hmc_state_of_thread();
  assert_ptr_not_equal(mine, argument);
  assert_int_equal(mine->status, 0);
  assert_int_equal(mine->text[0], 0);
  assert_true(mine->stop == NULL);
  return NULL;
}

static void threads_have_their_own(void **state) {
  (void)state;
  pthread_t thread;
  hmc_state_thread_t *mine = hmc_state_of_thread();
  mine->status = 3;
  mine->text[0] = 'x';
  assert_ptr_equal(hmc_state_of_thread(), mine);
  assert_int_equal(pthread_create(&thread, NULL, look, mine), 0);
  pthread_join(thread, NULL);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(objects_are_made_once),
      cmocka_unit_test(threads_have_their_own),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
