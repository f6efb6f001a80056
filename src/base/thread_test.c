#include "thread.h"

#include "base.h"
#include "futex.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void *look_at_signals(void *blocked) {
  sigset_t now;
  pthread_sigmask(SIG_SETMASK, NULL, &now);
  *(int *)blocked = sigismember(&now, SIGTERM) && sigismember(&now, SIGINT) && sigismember(&now, SIGUSR1);
  return NULL;
}

static void threads_block_signals(void **state) {
  (void)state;
  pthread_t thread;
  int blocked = 0;
  sigset_t before, after;
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  assert_int_equal(hmci_thread_create(&thread, look_at_signals, &blocked), 0);
  pthread_join(thread, NULL);
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  assert_true(blocked);
  assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM));
}

static void *change_word(void *argument) {
  _Atomic uint32_t *word = argument;
  atomic_store(word, 1);
  hmci_futex_wake(word, HMCI_FUTEX_PRIVATE);
  return NULL;
}

static void sleepers_are_woken(void **state) {
  (void)state;
  _Atomic uint32_t word = 0;
  pthread_t thread;
  assert_int_equal(hmci_thread_create(&thread, change_word, &word), 0);
  while (!atomic_load(&word)) hmci_futex_wait(&word, 0, HMCI_NEVER, HMCI_FUTEX_PRIVATE);
  pthread_join(thread, NULL);
  uint64_t since = hmci_now();
  hmci_futex_wait(&word, 0, HMCI_NEVER, HMCI_FUTEX_PRIVATE); /* it is another value: no sleep */
  hmci_futex_wait(&word, 1, 2000000, HMCI_FUTEX_SHARED);     /* for a time */
  assert_true(hmci_now() - since >= 1000000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(threads_block_signals),
      cmocka_unit_test(sleepers_are_woken),
  };
  return cmocka_run_group_tests_name("thread", tests, NULL, NULL);
}
