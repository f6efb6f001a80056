/* Tests of a store's journal: who has it, while it is written again and again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "store_journal.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[96];
static atomic_bool is_over;

static hmc_status_t replay(void *user, const hmci_store_message_t *record) {
  (void)user, (void)record;
  return HMC_SUCCESS;
}

/* As the server that has it, and finds it grown. */
static void *write_again(void *had) {
  hmci_store_journal_t **journal = had, *fresh;
  while (!atomic_load(&is_over)) {
    if (hmci_store_journal_begin(*journal, &fresh) != HMC_SUCCESS ||
        hmci_store_journal_end(journal, fresh, true) != HMC_SUCCESS) {
      return NULL;
    }
  }
  return had;
}

static void nobody_gets_one_that_is_written_again(void **state) {
  (void)state;
  enum { ATTEMPTS = 30000 };
  hmci_store_journal_t *journal, *second = NULL;
  pthread_t thread;
  void *result;
  int got = 0;
  snprintf(folder, sizeof(folder), "/tmp/hmc-test-journal-XXXXXX");
  assert_non_null(mkdtemp(folder));
  snprintf(path, sizeof(path), "%s/journal", folder);
  assert_int_equal(hmci_store_journal_open(path, replay, NULL, &journal), HMC_SUCCESS);
  assert_int_equal(pthread_create(&thread, NULL, write_again, &journal), 0);
  for (int i = 0; i < ATTEMPTS; i++) {
    hmc_status_t status = hmci_store_journal_open(path, replay, NULL, &second);
    got += status != HMC_ADDRESS_IN_USE;
    if (status == HMC_SUCCESS) {
      hmci_store_journal_close(second);
    }
  }
  atomic_store(&is_over, true);
  pthread_join(thread, &result);
  assert_ptr_equal(result, &journal);
  assert_int_equal(got, 0);
  hmci_store_journal_close(journal);
  unlink(path);
  rmdir(folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(nobody_gets_one_that_is_written_again)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
