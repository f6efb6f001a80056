#include "table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

enum { MANY = 5000 };

typedef struct number {
  uint64_t value;
  hmci_member_t member;
} number_t;

static number_t numbers[MANY];

static number_t *find(const hmci_table_t *table, uint64_t value, uint64_t hash) {
  for (hmci_member_t *at = NULL; (at = hmci_table_next(table, hash, at));) {
    number_t *number = HMCI_CONTAINER(at, number_t, member);
    if (number->value == value) return number;
  }
  return NULL;
}

/* With good hashes, and with so few that all share chains. */
static void add_find_remove(uint64_t mask) {
  hmci_table_t table = {0};
  assert_null(hmci_table_next(&table, 7, NULL));
  for (uint64_t i = 0; i < MANY; i++) {
    numbers[i].value = i;
    assert_true(hmci_table_add(&table, &numbers[i].member, hmci_hash_number(i) & mask));
  }
  assert_int_equal(table.count, MANY);
  for (uint64_t i = 0; i < MANY; i++) assert_ptr_equal(find(&table, i, hmci_hash_number(i) & mask), &numbers[i]);
  assert_null(find(&table, MANY, hmci_hash_number(MANY) & mask));
  for (uint64_t i = 0; i < MANY; i += 2) hmci_table_remove(&table, &numbers[i].member);
  for (uint64_t i = 0; i < MANY; i++) {
    number_t *found = find(&table, i, hmci_hash_number(i) & mask);
    assert_ptr_equal(found, i % 2 ? &numbers[i] : NULL);
  }
  hmci_table_close(&table);
  assert_int_equal(table.count, 0);
}

static void test_members_are_found(void **state) {
  (void)state;
  add_find_remove(UINT64_MAX);
}

static void test_members_share_hashes(void **state) {
  (void)state;
  add_find_remove(7);
}

static void test_texts_spread(void **state) {
  (void)state;
  enum { BUCKETS = 256 };
  uint32_t in_bucket[BUCKETS] = {0}, most = 0;
  for (int i = 0; i < 16 * BUCKETS; i++) {
    char text[32];
    snprintf(text, sizeof text, "region %d", i);
    uint32_t count = ++in_bucket[hmci_hash_text(text) % BUCKETS];
    if (count > most) most = count;
  }
  assert_in_range(most, 16, 48);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_members_are_found),
      cmocka_unit_test(test_members_share_hashes),
      cmocka_unit_test(test_texts_spread),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
