#include "base.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void test_fields_are_little_endian_at_any_address(void **state) {
  (void)state;
  uint8_t bytes[12];
  memset(bytes, 0xee, sizeof(bytes));
  hmci_store16(bytes + 1, 0x0102);
  assert_memory_equal(bytes, "\xee\x02\x01\xee", 4);
  assert_int_equal(hmci_load16(bytes + 1), 0x0102);

  hmci_store32(bytes + 1, 0x01020384);
  assert_memory_equal(bytes, "\xee\x84\x03\x02\x01\xee", 6);
  assert_int_equal(hmci_load32(bytes + 1), 0x01020384);

  hmci_store64(bytes + 3, UINT64_C(0xf102030405060708));
  assert_memory_equal(bytes + 2, "\x03\x08\x07\x06\x05\x04\x03\x02\xf1\xee", 10);
  assert_true(hmci_load64(bytes + 3) == UINT64_C(0xf102030405060708));
}

static void test_random_fills_exactly_and_differs(void **state) {
  (void)state;
  uint8_t first[600], second[600];
  memset(first, 0, sizeof(first));
  memset(second, 0, sizeof(second));
  hmci_random(first + 1, sizeof(first) - 2);
  hmci_random(second + 1, sizeof(second) - 2);
  assert_int_equal(first[0], 0);
  assert_int_equal(first[599], 0);
  for (size_t i = 1; i + 32 < sizeof(first) - 1; i += 32) { /* 32 equal bytes do not happen by chance */
    assert_memory_not_equal(first + i, second + i, 32);
  }
  hmci_random(NULL, 0);
  uint8_t single[32] = {0}, zeros[32] = {0};
  for (size_t i = 0; i < sizeof(single); i++) {
    hmci_random(single + i, 1);
  }
  assert_memory_not_equal(single, zeros, sizeof(single));
}

static void test_range_fits_does_not_overflow(void **state) {
  (void)state;
  assert_true(hmci_range_fits(0, 0, 0));
  assert_true(hmci_range_fits(4, 6, 10));
  assert_true(hmci_range_fits(10, 0, 10));
  assert_false(hmci_range_fits(4, 7, 10));
  assert_false(hmci_range_fits(11, 0, 10));
  assert_false(hmci_range_fits(8, UINT64_MAX - 4, 10));
  assert_false(hmci_range_fits(UINT64_MAX, 2, 10));
  assert_true(hmci_range_fits(0, UINT64_MAX, UINT64_MAX));
}

static void test_list_keeps_order_and_removes_twice(void **state) {
  (void)state;
  hmci_list_t head, first, second, third;
  hmci_list_init(&head);
  assert_true(hmci_list_is_empty(&head));
  hmci_list_append(&head, &first);
  hmci_list_append(&head, &second);
  hmci_list_append(&head, &third);
  hmci_list_remove(&second);
  hmci_list_remove(&second);
  assert_ptr_equal(head.next, &first);
  assert_ptr_equal(first.next, &third);
  assert_ptr_equal(third.next, &head);
  assert_ptr_equal(head.previous, &third);
  assert_ptr_equal(third.previous, &first);
  hmci_list_remove(&first);
  hmci_list_remove(&third);
  assert_true(hmci_list_is_empty(&head));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_fields_are_little_endian_at_any_address),
      cmocka_unit_test(test_random_fills_exactly_and_differs),
      cmocka_unit_test(test_range_fits_does_not_overflow),
      cmocka_unit_test(test_list_keeps_order_and_removes_twice),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
