#include "crc32c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* The definition, bit by bit. */
static uint32_t crc_by_bits(uint32_t crc, const uint8_t *data, size_t size) {
  crc = ~crc;
  for (size_t i = 0; i < size; i++) {
    crc ^= data[i];
    for (int bit = 0; bit < 8; bit++) {
      crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82F63B78) : 0);
    }
  }
  return ~crc;
}

static const hmci_crc32c_variant_t public_call = {"hmci_crc32c", NULL, hmci_crc32c};

/* Steps through the variants that this processor has, the public call last; NULL at the end. */
static const hmci_crc32c_variant_t *next_variant(const hmci_crc32c_variant_t *variant) {
  if (variant == &public_call) {
    return NULL;
  }
  variant = variant == NULL ? hmci_crc32c_variants : variant + 1;
  while (variant->name != NULL && !variant->is_available()) {
    variant++;
  }
  return variant->name == NULL ? &public_call : variant;
}

static void assert_crc(const hmci_crc32c_variant_t *variant, uint32_t got, uint32_t expected, size_t size) {
  if (got != expected) {
    fail_msg("%s: %08x instead of %08x over %zu bytes", variant->name, got, expected, size);
  }
}

static void test_known_values(void **state) {
  (void)state;
  uint8_t zeros[32], ones[32], rising[32], falling[32];
  for (int i = 0; i < 32; i++) {
    zeros[i] = 0;
    ones[i] = 0xff;
    rising[i] = (uint8_t)i;
    falling[i] = (uint8_t)(31 - i);
  }
  /* RFC 3720 appendix B.4 lists the 32-byte ones, least significant byte first. */
  const struct {
    const void *data;
    size_t size;
    uint32_t crc;
  } cases[] = {
      {zeros, 32, 0x8a9136aa},
      {ones, 32, 0x62a8ab43},
      {rising, 32, 0x46dd794e},
      {falling, 32, 0x113fdb5c},
      {"", 0, 0},
      {"123456789", 9, 0xe3069283},
  };
  for (const hmci_crc32c_variant_t *variant = NULL; (variant = next_variant(variant)) != NULL;) {
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
      assert_crc(variant, variant->update(0, cases[i].data, cases[i].size), cases[i].crc, cases[i].size);
    }
  }
}

static void test_variants_agree_at_all_sizes_and_alignments(void **state) {
  (void)state;
  static const size_t sizes[] = {1, 7, 8, 9, 63, 64, 511, 512, 1535, 1536, 1537, 1544, 3071, 3072, 3073, 5000, 16384};
  static const size_t largest = 16384;
  uint8_t *data = malloc(largest + 8);
  assert_non_null(data);
  hmci_random(data, largest + 8);
  for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
    for (size_t shift = 0; shift < 8; shift += 1 + sizes[i] / 8192) {
      uint32_t expected = crc_by_bits(0x1badcafe, data + shift, sizes[i]);
      for (const hmci_crc32c_variant_t *variant = NULL; (variant = next_variant(variant)) != NULL;) {
        assert_crc(variant, variant->update(0x1badcafe, data + shift, sizes[i]), expected, sizes[i]);
      }
    }
  }
  free(data);
}

static void test_feeding_back_continues(void **state) {
  (void)state;
  static uint8_t data[9000];
  hmci_random(data, sizeof(data));
  uint32_t expected = crc_by_bits(0, data, sizeof(data));
  static const size_t cuts[] = {0, 1, 100, 1536, 4097, 8999, 9000};
  for (const hmci_crc32c_variant_t *variant = NULL; (variant = next_variant(variant)) != NULL;) {
    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
      uint32_t crc = variant->update(0, data, cuts[i]);
      assert_crc(variant, variant->update(crc, data + cuts[i], sizeof(data) - cuts[i]), expected, cuts[i]);
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_known_values),
      cmocka_unit_test(test_variants_agree_at_all_sizes_and_alignments),
      cmocka_unit_test(test_feeding_back_continues),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
