#include "ranges.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static const void *at(uintptr_t address) { return (const void *)address; }

static void insert(hmci_ranges_t *ranges, uintptr_t start, size_t size) {
  assert_int_equal(hmci_ranges_insert(ranges, at(start), size, (void *)start), HMC_SUCCESS);
}

static void remove_at(hmci_ranges_t *ranges, uintptr_t address) {
  hmci_range_t *range = hmci_ranges_find(ranges, at(address));
  assert_non_null(range);
  hmci_ranges_remove(ranges, range);
}

static void test_find_looks_inside_and_at_the_edges(void **state) {
  (void)state;
  hmci_ranges_t ranges = {0};
  assert_null(hmci_ranges_find(&ranges, at(100)));
  insert(&ranges, 300, 50);
  insert(&ranges, 100, 100);
  insert(&ranges, 200, 1); /* touches the one before */
  static const struct {
    uintptr_t address, start; /* 0: in none */
  } cases[] = {{99, 0},  {100, 100}, {150, 100}, {199, 100}, {200, 200}, {201, 0},
               {299, 0}, {300, 300}, {349, 300}, {350, 0},   {0, 0},     {UINTPTR_MAX, 0}};
  for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
    hmci_range_t *range = hmci_ranges_find(&ranges, at(cases[i].address));
    assert_int_equal(range == NULL ? 0 : range->start, cases[i].start);
    assert_ptr_equal(range == NULL ? NULL : range->item, at(cases[i].start));
  }
  remove_at(&ranges, 150);
  assert_null(hmci_ranges_find(&ranges, at(150)));
  assert_non_null(hmci_ranges_find(&ranges, at(200)));
  remove_at(&ranges, 200);
  remove_at(&ranges, 320);
  assert_null(ranges.sorted);
  assert_int_equal(ranges.capacity, 0);
}

static void test_many_in_any_order(void **state) {
  (void)state;
  enum { COUNT = 1000, STEP = 16, PRIME = 389 };
  hmci_ranges_t ranges = {0};
  for (uintptr_t i = 0; i < COUNT; i++) {
    insert(&ranges, (i * PRIME % COUNT + 1) * STEP, STEP / 2);
  }
  assert_int_equal(ranges.count, COUNT);
  for (uintptr_t i = 0; i < COUNT; i += 2) {
    remove_at(&ranges, (i * PRIME % COUNT + 1) * STEP + 3);
  }
  for (uintptr_t i = 0; i < COUNT; i++) {
    uintptr_t start = (i * PRIME % COUNT + 1) * STEP;
    const hmci_range_t *range = hmci_ranges_find(&ranges, at(start + 7));
    assert_int_equal(range == NULL ? 0 : range->start, i % 2 == 0 ? 0 : start);
  }
  while (ranges.count > 0) {
    hmci_ranges_remove(&ranges, &ranges.sorted[ranges.count / 2]);
  }
  assert_null(ranges.sorted);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_find_looks_inside_and_at_the_edges),
      cmocka_unit_test(test_many_in_any_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
