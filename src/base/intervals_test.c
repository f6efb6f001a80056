/* Intervals against a plain list: the same answers whatever is added and removed, in whatever order. */
#include "intervals.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { MEMBERS = 300, ROUNDS = 3000, SPACE = 500 };

static void none_is_found_in_the_empty_set(void **state) {
  (void)state;
  assert_null(hmci_intervals_find(NULL, 0, 1));
}

static void overlapping_ones_are_found_by_what_they_hold(void **state) {
  (void)state;
  hmci_interval_t *root = NULL, wide, left, right, same;
  hmci_intervals_add(&root, &wide, 100, 200);
  hmci_intervals_add(&root, &left, 100, 150);
  hmci_intervals_add(&root, &right, 140, 180);
  hmci_intervals_add(&root, &same, 140, 180);
  assert_ptr_equal(hmci_intervals_find(root, 190, 200), &wide);
  assert_ptr_equal(hmci_intervals_find(root, 130, 160), &wide);
  assert_null(hmci_intervals_find(root, 190, 201));
  assert_null(hmci_intervals_find(root, 99, 100));
  hmci_interval_t *inner = hmci_intervals_find(root, 150, 170);
  assert_true(inner == &right || inner == &same);
  hmci_intervals_remove(&root, &right);
  assert_ptr_equal(hmci_intervals_find(root, 150, 170), &same);
  hmci_intervals_remove(&root, &same);
  assert_ptr_equal(hmci_intervals_find(root, 150, 170), &wide);
  hmci_intervals_remove(&root, &wide);
  assert_null(hmci_intervals_find(root, 150, 170));
  assert_ptr_equal(hmci_intervals_find(root, 100, 150), &left);
  hmci_intervals_remove(&root, &left);
  assert_null(root);
}

/* Where the best answer begins, by looking at all; UINT64_MAX: there is none. */
static uint64_t best(const hmci_interval_t *members, const bool *in, uint64_t start, uint64_t end) {
  uint64_t found = UINT64_MAX;
  for (int i = 0; i < MEMBERS; i++) {
    bool holds = in[i] && members[i].start <= start && members[i].end >= end;
    if (holds && (found == UINT64_MAX || members[i].start > found)) found = members[i].start;
  }
  return found;
}

static void answers_as_a_plain_list_does(void **state) {
  (void)state;
  static hmci_interval_t members[MEMBERS];
  static bool in[MEMBERS];
  hmci_interval_t *root = NULL;
  srand(7);
  for (int round = 0; round < ROUNDS; round++) {
    int i = rand() % MEMBERS;
    if (in[i]) {
      hmci_intervals_remove(&root, &members[i]);
    } else {
      uint64_t start = (uint64_t)(rand() % SPACE);
      hmci_intervals_add(&root, &members[i], start, start + 1 + (uint64_t)(rand() % SPACE));
    }
    in[i] = !in[i];
    uint64_t from = (uint64_t)(rand() % SPACE), to = from + 1 + (uint64_t)(rand() % 50);
    const hmci_interval_t *found = hmci_intervals_find(root, from, to);
    assert_int_equal(found ? found->start : UINT64_MAX, best(members, in, from, to));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(none_is_found_in_the_empty_set),
      cmocka_unit_test(overlapping_ones_are_found_by_what_they_hold),
      cmocka_unit_test(answers_as_a_plain_list_does),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
