/* What the command line tools share: texts on stderr, sizes and counts from the command line, JSON strings, the clock.
 *
 * Exit codes of all tools: 0 done, 1 it failed (the text says what), 2 the command line is wrong, 130 ended by Ctrl-C.
 * Threads: the parsing functions are for the main thread; tool_fail and tool_clock for any. C++ may include this. */
#ifndef HMC_TOOL_H
#define HMC_TOOL_H

#include <hmc.h>

#include <getopt.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { TOOL_DONE = 0, TOOL_FAILED = 1, TOOL_USAGE = 2, TOOL_INTERRUPTED = 130 };

/* The types of connection, in the order in which people see them; the first one is AUTO. */
#define TOOL_ONE(NAME, value, name) +1
enum { TOOL_TYPES = 0 HMC_CONNECTION_LIST(TOOL_ONE) };
#undef TOOL_ONE
extern const hmc_connection_type_t tool_types[TOOL_TYPES];

/* Names the program in its messages; `name` must stay valid. */
void tool_begin(const char *name);

/* One line to stderr: "<program>: <text>". Answers TOOL_FAILED. */
int tool_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As tool_fail, with the library's own text about the call that failed last on this thread. */
int tool_fail_hmc(const char *what, hmc_status_t status);

/* As tool_fail, for a command line that is wrong: adds where help is. Answers TOOL_USAGE. */
int tool_usage_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Says what is wrong with the option that getopt_long just refused (answer '?' or ':', with opterr = 0 and an option
 * string that starts with ':'), and which one was probably meant. Answers TOOL_USAGE. */
int tool_option_error(int answer, char *const *arguments, const struct option *options);

/* How many letters of a word have to be typed differently to get the other one. */
size_t tool_word_distance(const char *word, const char *other);

/* Flushes stdout. Answers TOOL_DONE, or TOOL_FAILED with a text when what was printed did not get out. */
int tool_finish_output(void);

/* Makes this process and the children it forks share a secret of their own, unless the environment has settled the
 * matter. */
bool tool_make_secret(void);

/* Seconds on the monotonic clock. */
double tool_clock(void);

/* "8", "4K", "1M", "2G", also "4KiB" and "4KB": binary units. False when it is none or does not fit. */
bool tool_parse_size(const char *text, uint64_t *size);

/* A list of sizes and ranges, "8,4K,1M" or "8..64M" (every power of two in between, both ends included) or both mixed.
 * Sets the number of sizes; false when the text is none or gives more than `capacity`, or a size of 0. */
bool tool_parse_sizes(const char *text, uint64_t *sizes, size_t capacity, size_t *count);

/* A decimal count from `minimum` to `maximum`. */
bool tool_parse_count(const char *text, uint64_t minimum, uint64_t maximum, uint64_t *count);

/* A positive number of seconds, "2" or "0.5"; more than these are a slip, and do not fit into what counts time. */
#define TOOL_SECONDS_MOST 1e9
bool tool_parse_seconds(const char *text, double *seconds);

/* The value of the option --`name`, by the three functions above; a size must be above 0. False, with the text of a usage
 * error, when it is none. */
bool tool_read_count(const char *name, const char *text, uint64_t minimum, uint64_t maximum, uint64_t *count);
bool tool_read_size(const char *name, const char *text, uint64_t *size);
bool tool_read_seconds(const char *name, const char *text, double *seconds);

/* The name of a kind of memory, with a device where the text has one ("sim:1"), which leaves *memory's device alone
 * otherwise. */
bool tool_parse_memory(const char *text, hmc_memory_t *memory);

/* "sim:1"; for "cpu", which has one device, just the name. */
void tool_format_memory(hmc_memory_t memory, char *text, size_t size);

/* True for the kinds whose bytes come out of the host's memory: cpu, sim, and the default where it is one of them. */
bool tool_is_host_memory(hmc_memory_t memory);

/* The bytes of memory that this host has. */
uint64_t tool_host_bytes(void);

/* False, with a text as of tool_fail, when `bytes` in host memory are more than all of it: the system would grant them,
 * and end somebody's process once they are used. */
bool tool_fits_host(uint64_t bytes);

/* "4.57 MiB". */
void tool_format_bytes(uint64_t bytes, char *text, size_t size);

/* A string literal of JSON, with its quotes. */
void tool_print_json(FILE *file, const char *text);

/* Around a thread's accesses to a region that the other process reads or writes too, at another time: what keeps the
 * two apart are messages between the processes, and a thread sanitizer, which sees the service thread do the other
 * one's, looks into one process only. */
void tool_shared_begin(void);
void tool_shared_end(void);

#ifdef __cplusplus
}
#endif
#endif
