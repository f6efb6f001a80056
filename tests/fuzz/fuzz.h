/* What the targets share: taking values out of an input, and an abort where something that must hold does not. */
#ifndef TESTS_FUZZ_H
#define TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MUST(condition)                                                                                                \
  do {                                                                                                                 \
    if (!(condition)) abort();                                                                                         \
  } while (0)

typedef struct input {
  const uint8_t *data;
  size_t size;
} input_t;

/* The next byte; 0 at the end. */
static inline uint8_t take(input_t *input) {
  if (!input->size) return 0;
  input->size--;
  return *input->data++;
}

/* At most `size` bytes; `*taken` says how many. */
static inline const uint8_t *take_some(input_t *input, size_t size, size_t *taken) {
  const uint8_t *at = input->data;
  *taken = size < input->size ? size : input->size;
  input->data += *taken;
  input->size -= *taken;
  return at;
}

#endif
