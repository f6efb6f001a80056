/* What the suites that cross processes stand on: a clean environment, a watchdog, places of memory with patterns in
 * them, and the target: a fresh process of the same program that does what the test tells it.
 *
 * Nothing in here waits without a deadline. Calls that say "asserts" end the running cmocka test when something is
 * wrong and belong to the test's own thread; the others report and may be used in any thread and in the target. */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <hmc.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

#define KIB UINT64_C(1024)
#define MIB (UINT64_C(1024) * KIB)
/* How much later than its deadline a call may return on a busy machine; far less than the 20 s and more after which
 * everything ends by itself. */
#define SLACK_MS 8000u

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* ---- environment ------------------------------------------------------------------------------------------------- */

/* Forgets every HMC_* variable, makes an empty home that is removed at exit, and starts the watchdog. Comes second in a
 * program's main(), after target_main(). */
void environment_open(void);
const char *environment_home(void);
/* Files that were open when the program started and that its children inherit. */
uint64_t environment_files(void);

/* Finds the type behind a transport's name in a stamp ("shm", "tcp_encrypted") and makes the setting that goes with it.
 */
bool transport_parse(const char *name, hmc_connection_type_t *type);

/* ---- clock and watchdog ------------------------------------------------------------------------------------------ */

/* How long a test waits for what must come: on a machine with much else to do, too. Only what hangs takes as long. */
#ifndef PATIENCE_MS /* the programs of the virtual machine have more */
#define PATIENCE_MS 60000u
#endif

uint64_t now_ms(void);
void sleep_ms(uint64_t milliseconds);

/* From now on the program has `seconds` for `what`; when they pass it says where it hangs and ends with status 1. */
void watch(const char *what, unsigned seconds);
void watch_end(void);
void watchdog_start(bool in_target);
struct CMUnitTest;
/* Of a program's cases, those whose names fit the pattern (fnmatch) run; NULL: all. Ends the program, with their names, where
 * none fits. */
void pick_cases(const char *pattern, const struct CMUnitTest *tests, size_t count);

/* From now on a crash ends the program and says where it was. Comes first in every test, because cmocka sets its own.
 */
void crash_handlers_set(void);

/* ---- patterns and places ----------------------------------------------------------------------------------------- */

#define PATTERN_SAME UINT64_MAX
#define FRAME_GUARD 256u /* bytes watched on either side of a transfer */

/* Memory with a region over it. Registered memory reaches `margin` bytes further than its region at both ends, so that
 * a transfer that leaves the region is seen. */
typedef struct test_buffer {
  hmc_region_t *region;
  hmc_memory_t memory;
  uint8_t *whole; /* where the margin before the region starts */
  uint64_t margin, size;
} test_buffer_t;

/* Allocates, or with `registered` registers, a region. */
hmc_status_t test_buffer_open(test_buffer_t *place, hmc_context_t *context, hmc_memory_t memory, uint64_t size,
                              const char *name, unsigned rights, bool registered);
/* Ends the region but keeps registered memory. */
void test_buffer_withdraw(test_buffer_t *place);
void test_buffer_close(test_buffer_t *place);

/* Writes the pattern of `seed` to [offset, offset + length) and a guard pattern to FRAME_GUARD bytes on either side, as
 * far as the place reaches. Works in any memory. */
void frame_write(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed);

/* The index of the first byte that is not as frame_write with the same arguments left it, counted from `offset` and
 * negative in the guard before it, as two's complement; PATTERN_SAME when all are. */
uint64_t frame_check(const test_buffer_t *place, uint64_t offset, uint64_t length, uint64_t seed);

/* Bytes of one value, and the number of bytes in a range that have neither of two values. */
void bytes_fill(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t value);
uint64_t bytes_other(const test_buffer_t *place, uint64_t offset, uint64_t length, uint8_t one, uint8_t two);

/* Around accesses to memory that peers touch as well, where what keeps the two apart lies outside this process: a
 * thread sanitizer sees a service thread send a region's bytes and this thread write there later, but not the messages
 * in between. */
void shared_begin(void);
void shared_end(void);

/* Moves host bytes into or out of a place. */
void test_buffer_store(const test_buffer_t *place, uint64_t offset, const void *data, uint64_t length);
void test_buffer_load(const test_buffer_t *place, uint64_t offset, void *data, uint64_t length);

/* Cheap deterministic numbers. */
uint64_t mix(uint64_t value);

/* Puts fresh patterns of changing sizes and odd offsets, gets each back to another part of the local region and
 * compares, `rounds` times. Uses 2 * room bytes at `offset` of the local and `room` of the remote region. HMC_CORRUPT:
 * other bytes came back. */
#define EXCHANGE_ROOM_MIN (4 * FRAME_GUARD)
hmc_status_t exchange(const test_buffer_t *local, uint64_t offset, hmc_remote_t *remote, uint64_t remote_offset,
                      uint64_t room, uint64_t rounds, uint64_t seed);

/* ---- the target -------------------------------------------------------------------------------------------------- */

#define SLOTS 256

typedef enum verb {
  VERB_QUIT,         /* destroys all and exits */
  VERB_CREATE,       /* context; timeout_ms */
  VERB_LISTEN,       /* text: ip, value: port -> value: bound port */
  VERB_ACCEPT,       /* slot: peer, timeout_ms */
  VERB_CONNECT,      /* slot: peer, text: ip, value: port, type, timeout_ms */
  VERB_PEER_INFO,    /* slot: peer -> info */
  VERB_PEER_CLOSE,   /* slot: peer */
  VERB_PLACE,        /* slot, memory, length: size, text: name, rights, registered */
  VERB_WITHDRAW,     /* slot: ends the region, keeps registered memory */
  VERB_PLACE_CLOSE,  /* slot */
  VERB_FRAME_WRITE,  /* slot, offset, length, value: seed */
  VERB_FRAME_CHECK,  /* slot, offset, length, value: seed -> value: frame_check */
  VERB_BYTES_FILL,   /* slot, offset, length, value: byte */
  VERB_BYTES_OTHER,  /* slot, offset, length, value: one | two << 8 -> value: how many */
  VERB_CLOSE_QUIET,  /* slot, value: milliseconds: ends a registered region, fills it, watches it -> value: bytes that
                        changed */
  VERB_REMOTE_OPEN,  /* slot: remote, peer, text: name */
  VERB_REMOTE_CLOSE, /* slot: remote */
  VERB_PUT,          /* slot: place, remote, offset, remote_offset, length, value: times */
  VERB_GET,          /* as VERB_PUT */
  VERB_EXCHANGE,     /* slot: place, remote, offset, remote_offset, length: room, value: rounds */
  VERB_VISIBLE,      /* slot: place, value: rounds, text: socket path -> value: stale rounds; see visible_* */
  VERB_SIGNALLED,    /* slot: place, value: rounds -> value: stale rounds; see signal_* */
  VERB_OWN_ADD, /* slot: host memory, offset, value: milliseconds: adds 1 to a word by the processor -> value: times */
  VERB_ATOMIC_ADD, /* remote, remote_offset, value: milliseconds: adds 1 by hmc_atomic -> value: times */
  VERB_NOTIFIED,   /* length: capacity, timeout_ms -> value: size, text: the notification */
  VERB_CPU_TIME,   /* value: milliseconds to sleep -> value: microseconds of processor time used meanwhile */
  VERB_FILES,      /* -> value: open file descriptors */
} verb_t;

typedef struct command {
  verb_t verb;
  uint32_t slot, peer, remote;
  hmc_memory_t memory;
  hmc_connection_type_t type;
  unsigned rights;
  bool registered;
  uint64_t offset, remote_offset, length, value, timeout_ms;
  char text[128];
} command_t;

typedef struct answer {
  hmc_status_t status;
  uint64_t value;
  hmc_peer_info_t info;
  char text[512]; /* hmc_last_error() where status is a failure */
} answer_t;

typedef struct target {
  pid_t process; /* 0: none */
  int socket;
  char output[128]; /* the file that its stdout goes to */
} target_t;

/* Runs the target when the program was started as one, and does not return then. Comes first in a program's main(). */
void target_main(int argc, char **argv);

/* Starts a target with `variables` (pairs "NAME", "value", ended by NULL; may be NULL) in its environment besides this
 * process's. It dies with this process. Asserts. */
void target_start(target_t *target, const char *const *variables);

/* Makes it end by itself; true when it did so with status 0 and wrote nothing to stdout, or when there was none. Prints
 * what was wrong. target_stop asserts that it was true. */
bool target_finish(target_t *target);
void target_stop(target_t *target);

/* SIGKILL and reaped; leaves nothing of the target here. Never asserts. */
void target_kill(target_t *target);

/* Kills whatever targets still run: for the teardown of a test that failed. */
void target_kill_all(void);

/* Sends a command; takes the answer to the oldest command that has none yet; does both. Assert that the target lives
 * and answers within a minute, not that the answer is success. */
void target_send(target_t *target, const command_t *command);
answer_t target_receive(target_t *target);
answer_t target_call(target_t *target, command_t command);

/* target_call that asserts success and gives the answer's value. */
uint64_t target_do(target_t *target, command_t command);

/* Asserts that frame_check finds nothing at the target's place `slot`. */
void target_check_frame(target_t *target, uint32_t slot, uint64_t offset, uint64_t length, uint64_t seed);

/* Asserts that a status is the wanted one; shows hmc_last_error() where it is not. */
#define assert_status(call, wanted) assert_status_at((call), (wanted), #call, __FILE__, __LINE__)
#define assert_success(call) assert_status_at((call), HMC_SUCCESS, #call, __FILE__, __LINE__)
void assert_status_at(hmc_status_t status, hmc_status_t wanted, const char *call, const char *file, int line);

/* Asserts that hmc_last_error() holds `part`. */
#define assert_error_names(part) assert_error_names_at((part), __FILE__, __LINE__)
void assert_error_names_at(const char *part, const char *file, int line);
void assert_error_has_number(uint64_t number);

/* ---- visibility -------------------------------------------------------------------------------------------------- */

/* Round n puts a block of equal words n and then sends n over a control channel; the target looks at the block at once.
 * A burst of rounds goes on before the target answers, each to a block of its own. */
#define VISIBLE_BURST 8u
#define VISIBLE_BLOCK 1024u

uint64_t visible_length(uint64_t round);
/* The target's side: joins the channel at `path` as rank 1; *stale gets the number of rounds whose block was not there.
 */
hmc_status_t visible_watch(const test_buffer_t *place, const char *path, uint64_t rounds, uint64_t *stale);

/* Round n puts a block of equal words n at signal_data(n) and sets the word at SIGNAL_WORD to n by its signal; the
 * target waits for the word to change, looks at the blocks of all rounds up to it at once, and says in the word at
 * SIGNAL_SEEN how far it has come. At most VISIBLE_BURST rounds may be ahead of that word, for each has a block of its
 * own. */
#define SIGNAL_WORD 0u
#define SIGNAL_SEEN 64u
#define SIGNAL_DATA 136u
#define SIGNAL_ROOM (SIGNAL_DATA + VISIBLE_BURST * VISIBLE_BLOCK)
uint64_t signal_data(uint64_t round);
hmc_status_t signal_watch(const test_buffer_t *place, uint64_t rounds, uint64_t *stale);

/* ---- looking at this process ------------------------------------------------------------------------------------- */

uint64_t open_files(void);
uint64_t running_threads(void);
/* Lines of /proc/self/maps with `part` in them. */
uint64_t mappings_of(const char *part);

#endif
