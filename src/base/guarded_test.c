/* Copies to and from memory that is there, that is not, and that ends in the middle. */
#include "guarded.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
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
  assert_false(hmci_guarded_is_there(memory + 10, 4 * page - 9));
  assert_true(hmci_guarded_is_writable(memory + 3, 4 * page - 3));
  assert_false(hmci_guarded_is_writable(memory, 4 * page + 1));
  assert_false(hmci_guarded_read(bytes, memory, size));
  assert_false(hmci_guarded_write(memory, bytes, size));
  assert_false(hmci_guarded_read(bytes, memory + 4 * page, 1));
  assert_true(hmci_guarded_read(bytes, memory + 4 * page - 1, 1));

  mprotect(memory, page, PROT_READ);
  assert_false(hmci_guarded_write(memory, bytes, 1));
  assert_true(hmci_guarded_read(bytes, memory, 1));
  assert_true(hmci_guarded_read(bytes, memory, 0));
  assert_true(hmci_guarded_is_there(memory, page));
  assert_false(hmci_guarded_is_writable(memory, page));
  assert_true(hmci_guarded_is_writable(memory + page, page));
  mprotect(memory + page, page, PROT_NONE); /* still mapped */
  assert_false(hmci_guarded_read(bytes, memory + 2 * page - 1, 1));
  assert_false(hmci_guarded_write(memory + page, bytes, 1));
  assert_false(hmci_guarded_is_there(memory, 3 * page));
  assert_false(hmci_guarded_is_writable(memory + page, 1));
  mprotect(memory + page, page, PROT_READ | PROT_WRITE);
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

/* What other calls than read() and write() do not reach, with a gap behind it. Ordinary memory where there is none. */
static void test_secret(void **state) {
  (void)state;
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 40 * page;
  uint8_t *memory = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uint8_t *bytes = malloc(size + page);
  int descriptor = (int)syscall(447, 0); /* memfd_secret */
  assert_true(memory != MAP_FAILED && bytes);
  if (descriptor >= 0 && ftruncate(descriptor, (off_t)size) == 0) {
    void *there = mmap(memory, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0);
    assert_ptr_equal(there, memory);
  }
  close(descriptor);
  for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(i % 251);
  assert_true(hmci_guarded_write(memory, bytes, size));
  assert_memory_equal(memory, bytes, size);
  memset(bytes, 0, size);
  assert_true(hmci_guarded_read(bytes, memory, size));
  assert_memory_equal(memory, bytes, size);
  struct iovec parts[2] = {{memory + page, 100}, {memory + 5, page}};
  assert_true(hmci_guarded_gather(bytes, parts, 2));
  assert_memory_equal(bytes, memory + page, 100);
  assert_memory_equal(bytes + 100, memory + 5, page);
  assert_true(hmci_guarded_is_there(memory, size));
  assert_true(hmci_guarded_is_writable(memory, size));
  munmap(memory + size, page);
  assert_false(hmci_guarded_read(bytes, memory, size + 1));
  assert_false(hmci_guarded_write(memory, bytes, size + 1));
  munmap(memory, size);
  free(bytes);
}

static void test_gather(void **state) {
  (void)state;
  enum { PARTS = 600 };
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 8 * page;
  uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uint8_t bytes[2 * PARTS];
  struct iovec parts[PARTS];
  assert_true(memory != MAP_FAILED);
  for (int i = 0; i < PARTS; i++) { /* from the end on, of 1, 2, 3, 1, ... bytes */
    parts[i] = (struct iovec){memory + size - 8 * (size_t)(i + 1), (size_t)i % 3 + 1};
    memset(parts[i].iov_base, i % 251, parts[i].iov_len);
  }
  assert_true(hmci_guarded_gather(bytes, parts, PARTS));
  const uint8_t *at = bytes;
  for (int i = 0; i < PARTS; i++) {
    for (size_t k = 0; k < parts[i].iov_len; k++) assert_int_equal(*at++, i % 251);
  }
  assert_true(hmci_guarded_gather(bytes, parts, 0));
  mprotect(memory + 7 * page, page, PROT_NONE);
  assert_false(hmci_guarded_gather(bytes, parts, PARTS));
  assert_false(hmci_guarded_gather(bytes, parts, 1));
  assert_true(hmci_guarded_gather(bytes, parts + page / 8, 20)); /* below it */
  munmap(memory, size);
}

static void test_scatter(void **state) {
  (void)state;
  enum { PARTS = 600 };
  size_t page = (size_t)sysconf(_SC_PAGESIZE), size = 8 * page;
  uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  uint8_t bytes[2 * PARTS], *at = bytes;
  struct iovec parts[PARTS];
  assert_true(memory != MAP_FAILED);
  for (int i = 0; i < PARTS; i++) { /* from the end on, of 1, 2, 3, 1, ... bytes */
    parts[i] = (struct iovec){memory + size - 8 * (size_t)(i + 1), (size_t)i % 3 + 1};
    for (size_t k = 0; k < parts[i].iov_len; k++) *at++ = (uint8_t)(i % 250 + 1);
  }
  assert_true(hmci_guarded_scatter(parts, PARTS, bytes));
  for (int i = 0; i < PARTS; i++) {
    const uint8_t *part = parts[i].iov_base;
    for (size_t k = 0; k < 8; k++) assert_int_equal(part[k], k < parts[i].iov_len ? i % 250 + 1 : 0);
  }
  assert_true(hmci_guarded_scatter(parts, 0, bytes));
  mprotect(memory + 7 * page, page, PROT_READ);
  assert_false(hmci_guarded_scatter(parts, PARTS, bytes));
  assert_false(hmci_guarded_scatter(parts, 1, bytes));
  assert_true(hmci_guarded_scatter(parts + page / 8, 20, bytes)); /* below it */
  munmap(memory, size);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_there_and_not), cmocka_unit_test(test_secret),
                                     cmocka_unit_test(test_gather), cmocka_unit_test(test_scatter)};
  return cmocka_run_group_tests_name("base.guarded", tests, NULL, NULL);
}
