/* CRC-32C by the processor's instruction, or by tables.
 *
 * In all variants bit 31 of the remainder is the coefficient of x^0 (reflected), and the remainder is kept inverted
 * between calls as RFC 3720 has it. No locking: tables and choice are made once. */
#include "crc32c.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define POLYNOMIAL UINT32_C(0x82F63B78)

/* ---- tables: eight bytes a step ---------------------------------------------------------------------------------- */

/* tables[k][b]: the remainder of byte b followed by k zero bytes. */
static uint32_t tables[8][256];
static pthread_once_t tables_once = PTHREAD_ONCE_INIT;

static void make_tables(void) {
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; bit++) {
      crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
    }
    tables[0][byte] = crc;
  }
  for (int zeros = 1; zeros < 8; zeros++) {
    for (int byte = 0; byte < 256; byte++) {
      uint32_t crc = tables[zeros - 1][byte];
      tables[zeros][byte] = crc >> 8 ^ tables[0][crc & 0xff];
    }
  }
}

static bool always(void) { return true; }

static uint32_t update_by_tables(uint32_t crc, const void *data, size_t size) {
  pthread_once(&tables_once, make_tables);
  const uint8_t *at = data;
  crc = ~crc;
  for (; size >= 8; size -= 8, at += 8) {
    uint64_t word = hmci_load64(at) ^ crc;
    crc = 0;
    for (int i = 0; i < 8; i++) {
      crc ^= tables[7 - i][word >> (8 * i) & 0xff];
    }
  }
  for (; size > 0; size--, at++) {
    crc = crc >> 8 ^ tables[0][(crc ^ *at) & 0xff];
  }
  return ~crc;
}

/* ---- x86: the SSE 4.2 instruction -------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>

static bool has_sse42(void) { return __builtin_cpu_supports("sse4.2"); }
static bool has_sse42_and_pclmul(void) { return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul"); }

static inline uint64_t load_word(const uint8_t *from) {
  uint64_t word;
  memcpy(&word, from, sizeof(word));
  return word;
}

__attribute__((target("sse4.2"))) static uint32_t update_by_sse42(uint32_t crc, const void *data, size_t size) {
  const uint8_t *at = data;
  uint64_t remainder = (uint32_t)~crc;
  for (; size >= 8; size -= 8, at += 8) {
    remainder = _mm_crc32_u64(remainder, load_word(at));
  }
  for (; size > 0; size--, at++) {
    remainder = _mm_crc32_u8((uint32_t)remainder, *at);
  }
  return ~(uint32_t)remainder;
}

/* The instruction takes three cycles but one can start in each: three neighbouring blocks go through it at the same
 * time.
 *
 * Joining them means multiplying a remainder by x^(8n) for the n bytes that follow. A carry-less product of two
 * reflected 32-bit values, fed through the instruction, comes out times x^33: so the factors are x^(8n - 33) mod P. */
#define BLOCK 512
#define SHIFT_1_BLOCK UINT32_C(0xdd7e3b0c)  /* x^(8 * 512 - 33) mod P */
#define SHIFT_2_BLOCKS UINT32_C(0x170076fa) /* x^(8 * 1024 - 33) mod P */

__attribute__((target("sse4.2,pclmul"))) static uint64_t join_blocks(uint64_t first, uint64_t second, uint64_t third) {
  __m128i shifts = _mm_set_epi64x(SHIFT_1_BLOCK, SHIFT_2_BLOCKS);
  __m128i product = _mm_xor_si128(_mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)first), shifts, 0x00),
                                  _mm_clmulepi64_si128(_mm_cvtsi64_si128((int64_t)second), shifts, 0x10));
  return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(product)) ^ third;
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t update_by_sse42_x3(uint32_t crc, const void *data,
                                                                            size_t size) {
  const uint8_t *at = data;
  while (size >= 3 * BLOCK) {
    uint64_t first = (uint32_t)~crc, second = 0, third = 0;
    for (const uint8_t *end = at + BLOCK; at < end; at += 8) {
      first = _mm_crc32_u64(first, load_word(at));
      second = _mm_crc32_u64(second, load_word(at + BLOCK));
      third = _mm_crc32_u64(third, load_word(at + 2 * BLOCK));
    }
    crc = ~(uint32_t)join_blocks(first, second, third);
    at += 2 * BLOCK;
    size -= 3 * BLOCK;
  }
  return update_by_sse42(crc, at, size);
}
#endif

/* ---- ARMv8: the CRC extension ------------------------------------------------------------------------------------ */

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>

static bool has_armv8_crc(void) { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }

/* By assembler: the compilers' intrinsics want the extension switched on for the whole file. */
static uint32_t update_by_armv8(uint32_t crc, const void *data, size_t size) {
  const uint8_t *at = data;
  crc = ~crc;
  for (; size >= 8; size -= 8, at += 8) {
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(hmci_load64(at)));
  }
  for (; size > 0; size--, at++) {
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*at));
  }
  return ~crc;
}
#endif

/* ---- choice ------------------------------------------------------------------------------------------------------ */

const hmci_crc32c_variant_t hmci_crc32c_variants[] = {
    {"tables", always, update_by_tables},
#if defined(__x86_64__)
    {"sse4.2", has_sse42, update_by_sse42},
    {"sse4.2 x3", has_sse42_and_pclmul, update_by_sse42_x3},
#endif
#if defined(__aarch64__)
    {"armv8", has_armv8_crc, update_by_armv8},
#endif
    {NULL, NULL, NULL},
};

/* Relaxed: a thread that finds it unset makes the same choice, and nothing else is published by it. */
static const hmci_crc32c_variant_t *_Atomic chosen;

uint32_t hmci_crc32c(uint32_t crc, const void *data, size_t size) {
  const hmci_crc32c_variant_t *variant = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (HMCI_UNLIKELY(variant == NULL)) {
    variant = hmci_crc32c_variants;
    for (const hmci_crc32c_variant_t *other = variant; other->name != NULL; other++) {
      variant = other->is_available() ? other : variant;
    }
    atomic_store_explicit(&chosen, variant, memory_order_relaxed);
  }
  return variant->update(crc, data, size);
}
