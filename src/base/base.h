/* What every room of the library uses: failing with a text, logging, the clock, small containers, checked arithmetic.
 *
 * libc only. Nothing here allocates but where it says so; nothing here blocks. */
#ifndef HMCI_BASE_H
#define HMCI_BASE_H

#include <hmc/log.h>
#include <hmc/status.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default) /* modules call these: see hmc.map */

#define HMCI_PRINTF(text, first) __attribute__((format(printf, text, first)))
#define HMCI_LIKELY(x) __builtin_expect(!!(x), 1)
#define HMCI_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define HMCI_CACHE_LINE 64

/* ---- status ------------------------------------------------------------------------------------------------------ */

/* Sets the thread's error text and returns `status`, so that a failing line reads `return hmci_fail(HMC_..., "...")`.
 */
hmc_status_t hmci_fail(hmc_status_t status, const char *format, ...) HMCI_PRINTF(2, 3);

/* A status that came from a peer: what a newer one says that is unknown here counts as HMC_ERROR, because
 * it is not an answer. */
hmc_status_t hmci_status_known(uint32_t status);

/* Puts `format` before the text that is there already: "put to 10.0.0.2:2025: " + what the lower room said. */
hmc_status_t hmci_fail_prefix(hmc_status_t status, const char *format, ...) HMCI_PRINTF(2, 3);

#ifdef __clang_analyzer__
/* The analyzer looks at one file at a time: this shows it that the status comes back. */
#define hmci_fail(status, ...) (hmci_fail(status, __VA_ARGS__), (status))
#define hmci_fail_prefix(status, ...) (hmci_fail_prefix(status, __VA_ARGS__), (status))
#endif

/* Room for the error text with its end; longer ones are cut. Who calls something that may fail without failing itself
 * keeps a copy of hmc_last_error() in so many bytes, and puts it back by hmci_fail(status, "%s", copy). */
#define HMCI_ERROR_TEXT 1024

/* The same where it happens often: while it is set, the thread's failures make no text, and the present one stays. Returns
 * what was set before, to be set again afterwards. */
bool hmci_fail_silently(bool silently);

/* Makes one line of a text: control characters become spaces, and a UTF-8 character cut off at the end is dropped. */
void hmci_text_clean(char *text);

/* ---- log --------------------------------------------------------------------------------------------------------- */

/* Never blocks, with any lock held. Of one format, some records pass in some seconds, and the rest is counted. */
void hmci_log(hmc_log_level_t level, const char *format, ...) HMCI_PRINTF(2, 3);

/* Waits until all records are written, or taken by the callback; false: not within that time. */
bool hmci_log_flush(uint64_t timeout_ms);

/* The level with that name ("none" ... "debug"); false, and nothing written, where there is none. */
bool hmci_log_level_parse(const char *name, hmc_log_level_t *level);

/* ---- public structs that grow ------------------------------------------------------------------------------------ */

/* Copies the caller's struct, which may be NULL or of another version, into `own`; `own_size` becomes its size.
 * HMC_INVALID_CONFIG: it has no size. HMC_UNSUPPORT: it sets a field that this library does not know. A failure
 * leaves `own` alone. `name` is the object of the error text. */
hmc_status_t hmci_sized_read(void *own, size_t own_size, const void *given, const char *name);

/* The same where the defaults are not zero: `own` holds them, and keeps those of the fields that the caller lacks. `least`
 * is the size of the struct in the first release that had it. */
hmc_status_t hmci_sized_take(void *own, size_t own_size, size_t least, const void *given, const char *name);

/* The two for structs that the library fills in: does it have a size? Then: fills in what the caller's version has. */
hmc_status_t hmci_sized_check(const void *given, const char *name);
void hmci_sized_write(void *given, const void *own, size_t own_size);

/* ---- clock ------------------------------------------------------------------------------------------------------- */

#define HMCI_NEVER UINT64_MAX /* a deadline that does not come */

/* Nanoseconds of CLOCK_MONOTONIC. */
uint64_t hmci_now(void);

/* now + timeout, saturating at HMCI_NEVER; from a second on to within some milliseconds. */
uint64_t hmci_deadline(uint64_t timeout_ms);

/* Milliseconds until `deadline` for poll() and epoll_wait(): rounded up, 0 when passed, -1 for HMCI_NEVER. */
int hmci_poll_timeout(uint64_t deadline);

/* Tells the processor that this is a spin loop. */
static inline void hmci_pause(void) {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield" ::: "memory");
#endif
}

/* ---- containers -------------------------------------------------------------------------------------------------- */

/* A doubly linked ring; the head is an element that is not a member. Not thread-safe. */
typedef struct hmci_list {
  struct hmci_list *next, *previous;
} hmci_list_t;

static inline void hmci_list_init(hmci_list_t *head) { head->next = head->previous = head; }
static inline bool hmci_list_is_empty(const hmci_list_t *head) { return head->next == head; }
static inline void hmci_list_append(hmci_list_t *head, hmci_list_t *item) {
  item->previous = head->previous;
  item->next = head;
  head->previous->next = item;
  head->previous = item;
}
/* Leaves `item` as an empty ring, so that removing twice does no harm. */
static inline void hmci_list_remove(hmci_list_t *item) {
  item->previous->next = item->next;
  item->next->previous = item->previous;
  hmci_list_init(item);
}

#define HMCI_CONTAINER(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* Zeroed memory at the start of a cache line, for free(); NULL when there is none. */
void *hmci_allocate_aligned(size_t size);

/* ---- bytes ------------------------------------------------------------------------------------------------------- */

/* True where [offset, offset + length) lies inside [0, size); cannot overflow. */
static inline bool hmci_range_fits(uint64_t offset, uint64_t length, uint64_t size) {
  return offset <= size && length <= size - offset;
}

/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78; RFC 3720 appendix B.4 has test values). Start with crc = 0;
 * feeding the result back continues. Uses the processor's instruction where there is one. */
uint32_t hmci_crc32c(uint32_t crc, const void *data, size_t size);

/* Fills with bytes from the kernel's random generator; never fails on kernels that have getrandom(). */
void hmci_random(void *data, size_t size);

/* Little-endian fixed-width fields of wire formats. */
void hmci_store16(void *to, uint16_t value);
void hmci_store32(void *to, uint32_t value);
void hmci_store64(void *to, uint64_t value);
uint16_t hmci_load16(const void *from);
uint32_t hmci_load32(const void *from);
uint64_t hmci_load64(const void *from);

#pragma GCC visibility pop

#endif
