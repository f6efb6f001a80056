/* Copies to and from memory that is there, that is not, and that ends in the middle. */
#include "guarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <cmocka.h>

static void test_there_and_not(void **state) {
  (void)state;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 8 * page;
  uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uint8_t *bytes = malloc(size);
  assert_true(memory != MAP_FAILED && bytes);
  memset(bytes, 7, size);
  assert_true(hmci_guarded_write(memory, bytes, size));
  memset(bytes, 0, size);
  assert_true(hmci_guarded_read(bytes, memory, size));
  for (size_t i = 0; i < size; i++) assert_int_equal(bytes[i], 7);
  assert_true(hmci_guarded_is_there(memory + 1, size - 1));

  munmap(memory + 4 * page, page);
  assert_false(hmci_guarded_is_there(memory, size));
  assert_true(hmci_guarded_is_there(memory + 10, 4 * page - 10));
  assert_true(hmci_guarded_is_mapped(memory + 10, 4 * page - 10));
  assert_false(hmci_guarded_is_mapped(memory + 10, 4 * page - 9));
  assert_false(hmci_guarded_is_mapped(memory + 4 * page + 7, 1));
  assert_false(hmci_guarded_read(bytes, memory, size));
  assert_false(hmci_guarded_write(memory, bytes, size));
  assert_false(hmci_guarded_read(bytes, memory + 4 * page, 1));
  assert_true(hmci_guarded_read(bytes, memory + 4 * page - 1, 1));

  mprotect(memory, page, PROT_READ);
  assert_false(hmci_guarded_write(memory, bytes, 1));
  assert_true(hmci_guarded_read(bytes, memory, 1));
  assert_true(hmci_guarded_read(bytes, memory, 0));
  uint64_t word = 5;
  assert_true(hmci_guarded_is_word(&word));
  assert_int_equal(word, 5);
  assert_true(hmci_guarded_is_word(memory + page));
  assert_false(hmci_guarded_is_word(memory)); /* may be read only */
  assert_false(hmci_guarded_is_word(memory + 4 * page));
  munmap(memory, size);
  assert_false(hmci_guarded_read(bytes, NULL, 1));
  free(bytes);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_not)};
  return cmocka_run_group_tests_name("base.guarded", tests, NULL, NULL);
}
